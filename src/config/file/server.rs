//! `[server]`, `[server.tls]`, `[admin]`, `[log]`: where Marquetry listens and what it tells.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use toml::de::DeValue;
use tracing_subscriber::EnvFilter;

use crate::config::file::faults::{Faults, error};
use crate::config::file::place::Place;
use crate::config::file::setting::{
    LISTENER, Setting, count, delay, listener, networks, size, timeout,
};
use crate::config::file::table::Table;
use crate::config::size::ByteSize;
use crate::config::{AccessLog, AdminConfig, LogConfig, ServerConfig, TlsConfig};

/// `[server]`.
pub(super) fn server(
    table: Option<Table<'_>>,
    place: &Place,
    taken: &mut Listeners,
) -> ServerConfig {
    let mut server = ServerConfig::default();
    let Some(mut table) = table else {
        taken.add("server.listen", 0..0, &server.listen);
        return server;
    };
    let listen = table.setting("listen");
    let tls = table.section("tls");
    if let Some(addresses) = listen
        .as_ref()
        .and_then(|it| listeners(it, tls.is_some(), taken))
    {
        server.listen = addresses;
    } else if listen.is_none() {
        taken.add("server.listen", 0..0, &server.listen);
    }
    server.tls = tls.and_then(|section| self::tls(section, place, taken));
    table.set(
        "max_connections",
        &mut server.max_connections,
        count(1..=1_000_000),
    );
    table.set("header_timeout", &mut server.header_timeout, timeout);
    table.set("idle_timeout", &mut server.idle_timeout, timeout);
    table.set("body_idle_timeout", &mut server.body_idle_timeout, timeout);
    table.set("body_timeout", &mut server.body_timeout, timeout);
    table.set("write_timeout", &mut server.write_timeout, timeout);
    // The HTTP/1 reader keeps a buffer of at least 8 KiB.
    let head = ByteSize::kibibytes(8)..=ByteSize::mebibytes(1);
    table.set("max_request_head", &mut server.max_request_head, size(head));
    let body = ByteSize::bytes(0)..=ByteSize::mebibytes(1 << 20);
    table.set("max_request_body", &mut server.max_request_body, size(body));
    let proxies = networks("any client may then claim another's address, host and scheme");
    table.set("trusted_proxies", &mut server.trusted_proxies, proxies);
    let debug = networks("any client is then shown cache keys and the addresses of fragments");
    table.set("debug_from", &mut server.debug_from, debug);
    table.set("drain_timeout", &mut server.drain_timeout, delay);
    table.set("threads", &mut server.threads, count(0..=1024));
    table.close();
    server
}

/// `server.listen`: one address or a list of them; empty only where TLS is listened for.
fn listeners(setting: &Setting<'_>, tls: bool, taken: &mut Listeners) -> Option<Vec<SocketAddr>> {
    let accepted = "an IP address and port, such as \"127.0.0.1:8080\", or a list of them";
    let DeValue::Array(values) = setting.value else {
        setting.text(accepted)?;
        let address = listener(setting)?;
        taken.add(&setting.name, setting.span.clone(), &[address]);
        return Some(vec![address]);
    };
    if values.is_empty() && !tls {
        return setting.refuse(accepted);
    }
    setting.list(accepted, |item| {
        let address = listener(item)?;
        taken.add(&item.name, item.span.clone(), &[address]);
        Some(address)
    })
}

/// `[server.tls]`: all of it is wanted.
fn tls(mut table: Table<'_>, place: &Place, taken: &mut Listeners) -> Option<TlsConfig> {
    let listen = table.required("listen", LISTENER).and_then(|it| {
        let address = listener(&it)?;
        taken.add(&it.name, it.span.clone(), &[address]);
        Some(address)
    });
    let mut pem = |key, what: &str| place.readable(&table.required(key, what)?, what);
    let certificate = pem("certificate", "a PEM file: the certificate and its chain");
    let key = pem("key", "a PEM file: the private key");
    table.close();
    Some(TlsConfig {
        listen: listen?,
        certificate: certificate?,
        key: key?,
    })
}

/// `[admin]`.
pub(super) fn admin(mut table: Table<'_>, place: &Place, taken: &mut Listeners) -> AdminConfig {
    let mut admin = AdminConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
        token_file: None,
    };
    let listen = table.setting("listen");
    if let Some(address) = listen.as_ref().and_then(listener) {
        admin.listen = address;
    }
    let span = listen
        .as_ref()
        .map_or(table.span.clone(), |it| it.span.clone());
    taken.add("admin.listen", span, &[admin.listen]);
    let token_file = table.setting("token_file");
    if let Some(setting) = &token_file {
        admin.token_file = token(setting, place);
    } else if let Some(setting) = listen.filter(|_| !is_loopback(admin.listen.ip())) {
        let fault = setting.error(format!(
            "`{}` lets others than this machine in, without a token",
            setting.name
        ));
        let help = "accepted: a loopback address such as \"127.0.0.1:9090\", or any address with `admin.token_file`";
        setting.faults.report_absent(fault.help(help));
    }
    table.close();
    admin
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// More of the file than this is not looked at here.
const LONGEST_TOKEN: u64 = 64 * 1024;

/// A file that holds a token: an empty one would let everybody in.
fn token(setting: &Setting<'_>, place: &Place) -> Option<PathBuf> {
    let path = place.readable(setting, "a file that holds the token")?;
    let mut start = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(LONGEST_TOKEN).read_to_end(&mut start));
    if read.is_ok() && start.trim_ascii().is_empty() {
        let fault = setting.error(format!("`{}` names an empty file", setting.name));
        let help = "accepted: a file that holds the token";
        setting.faults.report(fault.help(help));
        return None;
    }
    Some(path)
}

/// `[log]`.
pub(super) fn log(table: Option<Table<'_>>, place: &Place) -> LogConfig {
    let mut log = LogConfig::default();
    if let Some(mut table) = table {
        table.set("level", &mut log.level, level);
        table.set("access", &mut log.access, |it| access(it, place));
        table.close();
    }
    log
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// A level, or directives. A bare word is a level or a target of ours: any other one, `warning` for one, would name a target, and silence
/// all others.
fn level(setting: &Setting<'_>) -> Option<String> {
    let accepted = "\"error\", \"warn\", \"info\", \"debug\", \"trace\", or directives such as \"info,marquetry::cache=debug\"";
    setting.parsed(accepted, |text| {
        let is_meant = |word: &str| {
            word.contains(['=', '['])
                || word.starts_with("marquetry")
                || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
        };
        let filter =
            text.split(',').map(str::trim).all(is_meant) && EnvFilter::try_new(text).is_ok();
        filter.then(|| text.to_owned())
    })
}

/// `"stdout"`, `"off"`, or a file: a bare word is taken for a slip.
fn access(setting: &Setting<'_>, place: &Place) -> Option<AccessLog> {
    let accepted = "\"stdout\", \"off\", or a file, such as \"/var/log/marquetry/access.log\" or \"access.log\"";
    match setting.text(accepted)? {
        "stdout" => Some(AccessLog::Stdout),
        "off" => Some(AccessLog::Off),
        text if text.contains(['/', '.']) => place.creatable(setting, text).map(AccessLog::File),
        _ => setting.refuse(accepted),
    }
}

/// The addresses listened on so far, so that none is asked for twice.
#[derive(Default)]
pub(super) struct Listeners {
    seen: Vec<(SocketAddr, String, Range<usize>)>,
    clashes: Vec<Clash>,
}

struct Clash {
    address: SocketAddr,
    name: String,
    span: Range<usize>,
    first: (String, Range<usize>),
}

impl Listeners {
    /// Adds the addresses that `name` at `span` asks for (0..0: the default). Port 0 takes any free port and never clashes.
    pub(super) fn add(&mut self, name: &str, span: Range<usize>, addresses: &[SocketAddr]) {
        for address in addresses.iter().filter(|address| address.port() != 0) {
            let seen = self.seen.iter().find(|(seen, ..)| seen == address);
            if let Some((_, first, place)) = seen {
                self.clashes.push(Clash {
                    address: *address,
                    name: name.to_owned(),
                    span: span.clone(),
                    first: (first.clone(), place.clone()),
                });
            }
            self.seen.push((*address, name.to_owned(), span.clone()));
        }
    }

    /// Reports every address that was asked for twice.
    pub(super) fn report(self, faults: &Faults<'_>) {
        for clash in self.clashes {
            let (first, place) = clash.first;
            let message = format!("`{}` listens on {} again", clash.name, clash.address);
            let fault = error(clash.span, message);
            let fault = if place.is_empty() {
                fault.help(format!("`{first}` listens there by default"))
            } else {
                fault.also(place, format!("`{first}` listens there already"))
            };
            faults.report_absent(fault.help("accepted: an address of its own"));
        }
    }
}
