//! The text of a file of cases -> [`Vector`]s: what cannot be sent or expected is refused before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::header::{CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use toml::{Spanned, Table};

use crate::cli::case::vector::{Asked, Canned, Expected, ExpectedRequest, Vector};

/// What answers have that say nothing of their type.
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// The cases of a file, each checked; an error when the text is no file of cases.
pub fn read(text: &str) -> Result<Vec<Result<Vector, String>>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let checked = |case: Case| {
        let name = case.name.clone();
        case.check()
            .map_err(|fault| format!("case {name}: {fault}"))
    };
    Ok(file.case.into_iter().map(checked).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(rename = "feature")]
    _feature: String,
    #[serde(rename = "source")]
    _source: String,
    template: String,
    #[serde(default)]
    template_headers: BTreeMap<String, String>,
    chunk_bytes: Option<usize>,
    #[serde(default)]
    options: Table,
    #[serde(default)]
    request: Request,
    #[serde(default)]
    fragments: BTreeMap<String, Fragment>,
    expected_status: Option<u16>,
    expected_body: Option<String>,
    expected_fetches: BTreeSet<String>,
    #[serde(default)]
    expected_requests: BTreeMap<String, ExpectedRequest>,
    #[serde(default)]
    expected_headers: BTreeMap<String, String>,
    #[serde(default)]
    absent_response_headers: Vec<String>,
    max_ms: Option<u64>,
    #[serde(default)]
    flags: Vec<Flag>,
    #[serde(default, rename = "confirmed_on")]
    _confirmed_on: Vec<String>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Flag {
    ErrorLogged,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Request {
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    query: Option<String>,
    headers: BTreeMap<String, String>,
    /// Their places in the file tell in which order they are given.
    cookies: BTreeMap<String, Spanned<String>>,
    body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    delay_ms: u64,
}

impl Case {
    fn check(self) -> Result<Vector, String> {
        let page = canned(None, &self.template_headers, self.template, 0)
            .map_err(|fault| format!("template_headers: {fault}"))?;
        let request = self
            .request
            .check()
            .map_err(|fault| format!("request: {fault}"))?;
        let mut fragments = BTreeMap::new();
        for (key, fragment) in self.fragments {
            let answer = fragment
                .check()
                .map_err(|fault| format!("fragments.{key:?}: {fault}"))?;
            fragments.insert(key, answer);
        }
        let vector = Vector {
            name: self.name,
            page,
            piece: self.chunk_bytes.filter(|bytes| *bytes > 0),
            options: self.options,
            request,
            fragments,
            expected: Expected {
                status: self.expected_status.unwrap_or(200),
                body: self.expected_body,
                fetches: self.expected_fetches,
                requests: self.expected_requests,
                headers: self.expected_headers,
                absent: self.absent_response_headers,
                error: self.flags.contains(&Flag::ErrorLogged),
            },
            within: self.max_ms.map(Duration::from_millis),
        };
        // The address is another one when it runs; all else is as it will be.
        vector
            .config("127.0.0.1:1")
            .map_err(|fault| format!("options: {fault}"))?;
        Ok(vector)
    }
}

impl Request {
    fn check(self) -> Result<Asked, String> {
        let method = self.method.unwrap_or_else(|| "GET".to_owned());
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| format!("method {method:?}"))?;
        let host = self.host.unwrap_or_else(|| "www.example.com".to_owned());
        let path = self.path.unwrap_or_else(|| "/page".to_owned());
        let target = match self.query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        if !target.starts_with('/') {
            return Err(format!("path {target:?} does not start with /"));
        }
        let target = target
            .parse()
            .map_err(|_| format!("{target:?} cannot be asked for"))?;
        let mut headers = headers(&self.headers)?;
        let host_value = HeaderValue::from_str(&host).map_err(|_| format!("host {host:?}"))?;
        headers.insert(HOST, host_value);
        if !self.cookies.is_empty() {
            headers.insert(COOKIE, cookie_line(self.cookies)?);
        }
        Ok(Asked {
            method,
            host: host.to_ascii_lowercase(),
            target,
            headers,
            body: self.body.into(),
        })
    }
}

/// One `Cookie` field, in the order of the file.
fn cookie_line(cookies: BTreeMap<String, Spanned<String>>) -> Result<HeaderValue, String> {
    let mut cookies: Vec<_> = cookies.into_iter().collect();
    cookies.sort_by_key(|(_, value)| value.span().start);
    let pairs: Vec<String> = cookies
        .iter()
        .map(|(name, value)| format!("{name}={}", value.get_ref()))
        .collect();
    let line = pairs.join("; ");
    HeaderValue::from_str(&line).map_err(|_| format!("cookies {line:?}"))
}

impl Fragment {
    fn check(self) -> Result<Canned, String> {
        canned(self.status, &self.headers, self.body, self.delay_ms)
    }
}

fn canned(
    status: Option<u16>,
    fields: &BTreeMap<String, String>,
    body: String,
    delay_ms: u64,
) -> Result<Canned, String> {
    let status = status.unwrap_or(200);
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| !status.is_informational())
        .ok_or_else(|| format!("status {status}"))?;
    let mut headers = headers(fields)?;
    headers.entry(CONTENT_TYPE).or_insert(HTML);
    Ok(Canned {
        status,
        headers,
        body: body.into(),
        delay: Duration::from_millis(delay_ms),
    })
}

fn headers(fields: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let fault = || format!("header {name:?}: {value:?}");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
        let value = HeaderValue::from_str(value).map_err(|_| fault())?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: &str = "[[case]]\nname = 'a'\nfeature = 'f'\nsource = 's'\ntemplate = 't'\nexpected_fetches = []\n";

    fn one(more: &str) -> Result<Vector, String> {
        let mut cases = read(&format!("{REQUIRED}{more}"))?;
        cases.pop().ok_or("no case")?
    }

    #[test]
    fn what_is_left_out_is_as_the_format_says() {
        let vector = one("").expect("a case");
        assert_eq!(vector.request.host, "www.example.com");
        assert_eq!(vector.request.target, "/page");
        assert_eq!(vector.request.method, Method::GET);
        assert_eq!(vector.page.status, 200);
        assert_eq!(
            vector.page.headers[CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        assert_eq!(vector.expected.status, 200);
        let config = vector.config("127.0.0.1:81").expect("a configuration");
        assert_eq!(config.routes.len(), 1);
        assert_eq!(config.compose, crate::config::ComposeConfig::default());
    }

    #[test]
    fn cookies_keep_the_order_of_the_file() {
        let vector = one("[case.request.cookies]\nz = '1'\na = '2'\nm = '3'").expect("a case");
        assert_eq!(vector.request.headers[COOKIE], "z=1; a=2; m=3");
    }

    #[test]
    fn each_host_has_a_route() {
        let vector =
            one("[case.fragments.'//b.example:81/x']\n[case.fragments.'/y']").expect("a case");
        let config = vector.config("127.0.0.1:81").expect("a configuration");
        let hosts: Vec<_> = config.routes.iter().map(|route| &route.name).collect();
        assert_eq!(hosts, ["b.example/", "www.example.com/"], "{hosts:?}");
    }

    #[test]
    fn what_no_case_says_is_refused() {
        for (more, wanted) in [
            ("unknown = 1", "unknown field"),
            ("flags = ['none']", "unknown variant"),
            ("options = { on_error = 'perhaps' }", "options: "),
            ("options = { nothing = 1 }", "options: "),
            ("request = { method = 'a b' }", "method"),
            ("request = { path = 'page' }", "does not start with /"),
            ("request = { headers = { 'a b' = 'c' } }", "header"),
            ("[case.fragments.'/a']\nstatus = 99", "status 99"),
            ("[case.fragments.'/a']\nstate = 200", "unknown field"),
        ] {
            let fault = one(more).expect_err(more);
            assert!(fault.contains(wanted), "{more}: {fault}");
        }
        assert!(read("").is_err());
        assert!(read("[[case]]\nname = 'a'").is_err());
    }
}
