//! A case, checked: what its origin answers, what is asked, what must come of it, and the configuration of its gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::Deserialize;
use toml::{Table, Value};

use crate::config::Config;

/// A case.
#[derive(Debug)]
pub struct Vector {
    /// Its name.
    pub name: String,
    /// The page, as its origin answers it.
    pub page: Canned,
    /// The page's origin sends its body in pieces of so many bytes.
    pub piece: Option<usize>,
    /// `[compose]` where it differs from the defaults.
    pub options: Table,
    /// The client's request; its target and `Host` are those of the page.
    pub request: Asked,
    /// The fragments: a path with or without a query on the page's host, or `//host/path`.
    pub fragments: BTreeMap<String, Canned>,
    /// What must come of it.
    pub expected: Expected,
    /// The whole answer must be there within this time.
    pub within: Option<Duration>,
}

/// An answer of the origin.
#[derive(Debug, Clone)]
pub struct Canned {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// How long the origin waits before it answers.
    pub delay: Duration,
}

/// A request.
#[derive(Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Host, in lower case.
    pub host: String,
    /// Path and query.
    pub target: Uri,
    /// All its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// What must come of a case.
#[derive(Debug)]
pub struct Expected {
    /// The status that the client sees.
    pub status: u16,
    /// The bytes that it sees.
    pub body: Option<String>,
    /// The fragments that are asked for, and no others.
    pub fetches: BTreeSet<String>,
    /// What is asked, by fragment.
    pub requests: BTreeMap<String, ExpectedRequest>,
    /// Fields of the answer, each once.
    pub headers: BTreeMap<String, String>,
    /// Fields that it does not have.
    pub absent: Vec<String>,
    /// An error is counted.
    pub error: bool,
}

/// What must be said in a fragment's request.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpectedRequest {
    /// The method.
    pub method: Option<String>,
    /// The body.
    pub body: Option<String>,
    /// Fields and their values.
    pub headers: BTreeMap<String, String>,
    /// Fields that are not there.
    pub absent_headers: Vec<String>,
}

impl Vector {
    /// The configuration of its gateway, with the origin at `origin`.
    ///
    /// # Errors
    /// What is wrong with its options.
    pub fn config(&self, origin: &str) -> Result<Config, String> {
        let text =
            toml::to_string(&self.config_table(origin)).map_err(|error| error.to_string())?;
        match Config::parse(&text, Path::new("options")) {
            Ok((config, _)) => Ok(config),
            Err(error) => {
                let faults = error.diagnostics().iter().map(ToString::to_string);
                Err(faults.collect::<Vec<_>>().join("; "))
            }
        }
    }

    fn config_table(&self, origin: &str) -> Table {
        let table = |rows: &[(&str, Value)]| {
            let row = |(key, value): &(&str, Value)| ((*key).to_owned(), value.clone());
            rows.iter().map(row).collect::<Table>()
        };
        let mut hosts = BTreeSet::from([without_port(&self.request.host)]);
        let others = self.fragments.keys().filter_map(|key| other_host(key));
        hosts.extend(others.map(without_port));
        let route = |host: &str| {
            Value::Table(table(&[
                ("host", host.into()),
                ("upstream", "origin".into()),
                ("compose", "always".into()),
            ]))
        };
        let upstream = table(&[("servers", Value::Array(vec![origin.into()]))]);
        table(&[
            (
                "server",
                table(&[
                    ("listen", "127.0.0.1:0".into()),
                    ("drain_timeout", "5s".into()),
                ])
                .into(),
            ),
            ("log", table(&[("access", "off".into())]).into()),
            ("compose", self.options.clone().into()),
            ("upstreams", table(&[("origin", upstream.into())]).into()),
            (
                "routes",
                hosts.into_iter().map(route).collect::<Vec<_>>().into(),
            ),
        ])
    }
}

/// The host that a fragment's key names, with its port; none for the page's own.
pub fn other_host(key: &str) -> Option<&str> {
    key.strip_prefix("//")?.split('/').next()
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    }
}
