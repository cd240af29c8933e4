//! `[upstreams.NAME]`: groups of servers.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use toml::de::DeValue;

use crate::config::file::faults::{Faults, error, warning};
use crate::config::file::place::Place;
use crate::config::file::setting::{Setting, boolean, count, delay, timeout};
use crate::config::file::table::Table;
use crate::config::pattern::ServerAddress;
use crate::config::{Balance, HealthConfig, Roots, ServerEntry, UpstreamConfig, UpstreamTls};

/// The upstreams of a file, and where each is named.
#[derive(Default)]
pub(super) struct Upstreams {
    pub(super) read: BTreeMap<String, UpstreamConfig>,
    /// Also of those that were refused, so that a route to one of them is not called wrong as well.
    pub(super) names: BTreeMap<String, Range<usize>>,
}

/// All `[upstreams.NAME]`.
pub(super) fn upstreams(
    setting: Option<Setting<'_>>,
    place: &Place,
    faults: &Faults<'_>,
) -> Upstreams {
    let accepted = "sections `[upstreams.NAME]`, each with `servers`";
    let mut upstreams = Upstreams::default();
    let Some(setting) = setting else {
        let fault = error(
            0..0,
            "`upstreams` is missing: there is nobody to ask for a page",
        );
        faults.report_absent(fault.help(format!("accepted: at least one of the {accepted}")));
        return upstreams;
    };
    let Some(table) = Table::of(&setting, accepted) else {
        return upstreams;
    };
    for (name, span, setting) in table.named() {
        upstreams.names.insert(name.to_owned(), span.clone());
        check_name(name, &span, faults);
        let table = Table::of(&setting, accepted);
        if let Some(upstream) = table.and_then(|it| upstream(it, place, faults)) {
            upstreams.read.insert(name.to_owned(), upstream);
        }
    }
    if upstreams.names.is_empty() {
        let fault = error(table.span.clone(), "`upstreams` names no upstream");
        faults.report_absent(fault.help(format!("accepted: {accepted}")));
    }
    upstreams
}

/// Names become labels of metrics and parts of paths of the admin listener.
fn check_name(name: &str, span: &Range<usize>, faults: &Faults<'_>) {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if name.is_empty() || !name.bytes().all(letter) {
        let fault = error(span.clone(), format!("{name:?} cannot name an upstream"));
        faults.report(fault.help("accepted: letters, digits, `_`, `.` and `-`"));
    }
}

/// One `[upstreams.NAME]`.
fn upstream(mut table: Table<'_>, place: &Place, faults: &Faults<'_>) -> Option<UpstreamConfig> {
    let servers = table
        .required("servers", SERVERS)
        .and_then(|it| servers(&it));
    let refused = servers.is_none();
    let mut upstream = UpstreamConfig::new(servers.unwrap_or_default());
    table.set("balance", &mut upstream.balance, balance);
    table.set(
        "max_in_flight",
        &mut upstream.max_in_flight,
        count(0..=1_000_000),
    );
    table.set("queue", &mut upstream.queue, count(0..=1_000_000));
    table.set("queue_timeout", &mut upstream.queue_timeout, timeout);
    table.set("connect_timeout", &mut upstream.connect_timeout, timeout);
    table.set(
        "first_byte_timeout",
        &mut upstream.first_byte_timeout,
        timeout,
    );
    table.set(
        "body_idle_timeout",
        &mut upstream.body_idle_timeout,
        timeout,
    );
    table.set("retries", &mut upstream.retries, count(0..=16));
    table.set("slow_start", &mut upstream.slow_start, delay);
    table.set("http2", &mut upstream.http2, boolean);
    table.set("keep_alive", &mut upstream.keep_alive, boolean);
    table.set("resolve_interval", &mut upstream.resolve_interval, timeout);
    if let Some(setting) = table.setting("tls") {
        upstream.tls = tls(&setting, &upstream.servers, place);
    }
    upstream.health = table.setting("health").as_ref().and_then(health);
    let all_drained = !refused && upstream.servers.iter().all(|server| server.weight == 0);
    if let Some(setting) = table.setting("servers").filter(|_| all_drained) {
        let message = format!("every server of `{}` is drained", table.name);
        let warning = warning(setting.span, message);
        faults.report(
            warning.help("with weight 0 a server takes no requests: all of them are answered 503"),
        );
    }
    table.close();
    (!refused).then_some(upstream)
}

fn balance(setting: &Setting<'_>) -> Option<Balance> {
    setting.choice(&[
        ("least-connections", Balance::LeastConnections),
        ("round-robin", Balance::RoundRobin),
        ("affinity", Balance::Affinity),
    ])
}

const TLS: &str = "true, false, or { ca = \"roots.pem\", server_name = \"app.internal\" } with one of these, or both";

/// `tls`: whether, or by which roots and name.
fn tls(setting: &Setting<'_>, servers: &[ServerEntry], place: &Place) -> Option<UpstreamTls> {
    let tls = match setting.value {
        DeValue::Boolean(false) => return None,
        DeValue::Boolean(true) => UpstreamTls::default(),
        _ => {
            let mut table = Table::of(setting, TLS)?;
            let ca = table.setting("ca");
            let name = table.setting("server_name");
            table.close();
            UpstreamTls {
                ca: ca.as_ref().and_then(|it| roots(it, place)),
                server_name: name.as_ref().and_then(server_name),
            }
        }
    };
    let nameless = |server: &ServerEntry| matches!(server.address, ServerAddress::Unix(_));
    if tls.server_name.is_none()
        && let Some(server) = servers.iter().find(|server| nameless(server))
    {
        let message = format!(
            "`{}` says no name that the certificate of {} must have",
            setting.name, server.address
        );
        let help =
            "accepted: { server_name = \"app.internal\" }; a Unix socket has no name of its own";
        setting.faults.report(setting.error(message).help(help));
    }
    Some(tls)
}

/// A PEM file of certificates.
fn roots(setting: &Setting<'_>, place: &Place) -> Option<Roots> {
    let accepted = "a PEM file: the certificates that are trusted";
    let path = place.readable(setting, accepted)?;
    let pem = std::fs::read(&path).unwrap_or_default();
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let reason = match certificates {
        Ok(found) if !found.is_empty() => return Some(Roots { path, pem }),
        Ok(_) => "it holds no certificate".to_owned(),
        Err(error) => error.to_string(),
    };
    let message = format!("`{}`: {}: {reason}", setting.name, path.display());
    let fault = setting.error(message);
    setting
        .faults
        .report(fault.help(format!("accepted: {accepted}")));
    None
}

fn server_name(setting: &Setting<'_>) -> Option<String> {
    let accepted = "the name in the servers' certificate, such as \"app.internal\"";
    setting.parsed(accepted, |text| {
        ServerName::try_from(text).is_ok().then(|| text.to_owned())
    })
}

const HEALTH: &str = "a table with the path that is asked for, such as { path = \"/healthz\", interval = \"5s\", timeout = \"1s\", fall = 3, rise = 2 }";

/// `health`.
fn health(setting: &Setting<'_>) -> Option<HealthConfig> {
    let mut table = Table::of(setting, HEALTH)?;
    let accepted = "a path with or without a query, such as \"/healthz\"";
    let path = table.required("path", accepted);
    let path =
        path.and_then(|it| it.parsed(accepted, |text| is_target(text).then(|| text.to_owned())));
    let mut health = HealthConfig::new(path.as_deref().unwrap_or("/"));
    table.set("interval", &mut health.interval, timeout);
    table.set("timeout", &mut health.timeout, timeout);
    let mut times = |key, field: &mut u32| {
        let mut count_of = *field as usize;
        table.set(key, &mut count_of, count(1..=100));
        *field = count_of as u32;
    };
    times("fall", &mut health.fall);
    times("rise", &mut health.rise);
    table.close();
    path.map(|_| health)
}

/// Whether it can be asked for as it is written.
fn is_target(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

const SERVERS: &str = "a list of addresses, such as [\"127.0.0.1:8110\", \"127.0.0.1:8112-8115\"]";
const ADDRESSES: &str = "an address, such as \"127.0.0.1:8110\", \"127.0.0.1:8110-8113\", \"app.internal:8080\", \"unix:/run/app.sock\", \
                         or { address = \"127.0.0.1:8110\", weight = 2 }";

/// `servers`, with ranges of ports spelled out; `None` where something in it was refused.
fn servers(setting: &Setting<'_>) -> Option<Vec<ServerEntry>> {
    let items = setting.items(SERVERS)?;
    if items.is_empty() {
        return setting.refuse(SERVERS);
    }
    let mut entries = Some(Vec::new());
    let mut seen = HashMap::new();
    for item in &items {
        let read =
            server(item).filter(|(_, place, addresses)| once(item, place, addresses, &mut seen));
        entries = entries
            .zip(read)
            .map(|(mut entries, (weight, _, addresses))| {
                entries.extend(
                    addresses
                        .into_iter()
                        .map(|address| ServerEntry { address, weight }),
                );
                entries
            });
    }
    entries
}

/// One entry: its weight, where its address stands, and the addresses that it spells.
fn server(item: &Setting<'_>) -> Option<(u32, Range<usize>, Vec<ServerAddress>)> {
    if let DeValue::String(text) = item.value {
        return Some((1, item.span.clone(), addresses(item, text)?));
    }
    let mut table = Table::of(item, ADDRESSES)?;
    let address = table.required("address", ADDRESSES);
    let read = address
        .as_ref()
        .and_then(|it| addresses(it, it.text(ADDRESSES)?));
    let mut weight = 1;
    table.set("weight", &mut weight, count(0..=65_535));
    table.close();
    Some((weight as u32, address?.span, read?))
}

/// Whether no address of this entry was named before; the first that was is reported.
fn once(
    item: &Setting<'_>,
    place: &Range<usize>,
    addresses: &[ServerAddress],
    seen: &mut HashMap<ServerAddress, Range<usize>>,
) -> bool {
    let mut clean = true;
    for address in addresses {
        if let Some(first) = seen.insert(address.clone(), place.clone())
            && clean
        {
            clean = false;
            let fault = error(
                place.clone(),
                format!("`{}` names {address} twice", item.name),
            );
            let fault = fault.also(first, "first named here");
            item.faults
                .report(fault.help("accepted: each server once; its share is its `weight`"));
        }
    }
    clean
}

/// Longest range of ports of one entry.
const LONGEST_RANGE: u16 = 1024;

/// The addresses that one text spells.
fn addresses(setting: &Setting<'_>, text: &str) -> Option<Vec<ServerAddress>> {
    if let Some(address) = ServerAddress::parse(text) {
        return Some(vec![address]);
    }
    let Some((host, first, last)) = port_range(text) else {
        return setting.refuse(ADDRESSES);
    };
    let fault = if first > last {
        Some(format!(
            "`{}`: the ports {first}-{last} run backwards",
            setting.name
        ))
    } else if last - first >= LONGEST_RANGE {
        Some(format!(
            "`{}`: {first}-{last} are {} ports",
            setting.name,
            u32::from(last - first) + 1
        ))
    } else {
        None
    };
    if let Some(message) = fault {
        let help = format!(
            "accepted: a range of at most {LONGEST_RANGE} ports, the lower first, such as \"127.0.0.1:8110-8113\""
        );
        setting.faults.report(setting.error(message).help(help));
        return None;
    }
    let spelled: Option<Vec<_>> = (first..=last)
        .map(|port| ServerAddress::parse(&format!("{host}:{port}")))
        .collect();
    spelled.or_else(|| setting.refuse(ADDRESSES))
}

/// `host:first-last`, whatever the host is.
fn port_range(text: &str) -> Option<(&str, u16, u16)> {
    let (host, ports) = text.rsplit_once(':')?;
    let (first, last) = ports.split_once('-')?;
    let port = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    (host != "unix").then_some((host, port(first)?, port(last)?))
}
