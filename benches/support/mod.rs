//! The site that the benches ask: pages with so many includes, and fragments, all of them shared for an hour; and pages whose
//! fragments are each user's own and take their time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use marquetry::config::pattern::ServerAddress;
use marquetry::config::{AccessLog, ComposeMode, Config, RouteConfig, ServerEntry, UpstreamConfig};
use marquetry::message::client::Connection;
use marquetry::message::{Body, Request, Response};
use marquetry::server::drain::Drain;
use marquetry::server::handler::Handler;
use marquetry::server::{Limits, Listener};
use tokio::sync::Semaphore;

/// A page's own text, in bytes, that of each fragment, and that of a page without includes.
const PAGE_TEXT: usize = 10_000;
const FRAGMENT_TEXT: usize = 500;
const PLAIN_TEXT: usize = 20_000;

/// How long a personal fragment takes.
pub const SLOW: Duration = Duration::from_millis(20);

/// Answers `/page/N` with N shared includes, `/fan/N` with N personal ones, `/slow/...` with a personal fragment after a while, anything
/// else with a fragment that is shared for an hour.
pub struct App;

impl Handler for App {
    async fn handle(&self, request: Request, _: &Connection) -> Response {
        let path = request.uri().path();
        let count = |prefix| Some(path.strip_prefix(prefix)?.parse().unwrap_or(0));
        let personal = path.starts_with("/slow/");
        let text = match (count("/page/"), count("/fan/")) {
            (Some(0), _) => words(path, PLAIN_TEXT),
            (Some(count), _) => page(count, "/f/"),
            (_, Some(count)) => fan(count),
            (None, None) => fragment(path),
        };
        if personal {
            tokio::time::sleep(SLOW).await;
        }
        let mut response = Response::new(Body::full(text));
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("text/html"));
        let control = if personal {
            "private"
        } else {
            "public, max-age=3600"
        };
        headers.insert("cache-control", HeaderValue::from_static(control));
        response
    }
}

/// An answer as it goes over the wire, for origins that are bare sockets: to `/slow/...` a personal fragment, to anything else a page of
/// so many of them as its path ends in.
pub fn bytes_of(path: &str) -> Vec<u8> {
    let (control, body) = if path.starts_with("/slow/") {
        ("private", fragment("/slow/"))
    } else {
        let count = path.rsplit('/').next().and_then(|last| last.parse().ok());
        ("public, max-age=3600", fan(count.unwrap_or(0)))
    };
    let length = body.len();
    let date = httpdate::fmt_http_date(SystemTime::now());
    format!(
        "HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-type: text/html\r\ncache-control: {control}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A page of so many personal fragments.
fn fan(fragments: usize) -> String {
    page(fragments, "/slow/")
}

/// The text of a fragment.
fn fragment(path: &str) -> String {
    words(path, FRAGMENT_TEXT)
}

fn page(includes: usize, fragments: &str) -> String {
    let each = PAGE_TEXT / (includes + 1);
    let mut text = words("/", each);
    for include in 0..includes {
        let number = include.to_string();
        text.extend(["<esi:include src=\"", fragments, &number, "\"/>"]);
        text += &words(&format!("/{include}"), each);
    }
    text
}

/// Markup as pages have it: words of a shop between a few tags, other ones for another seed.
fn words(seed: &str, length: usize) -> String {
    const WORDS: [&str; 24] = [
        "book", "author", "price", "euro", "delivery", "the", "and", "of", "new", "used", "cover",
        "paper", "order", "today", "basket", "stock", "edition", "review", "stars", "page",
        "shelf", "reader", "letter", "ink",
    ];
    let mut state = seed.bytes().fold(0x9e37_79b9_u32, |state, byte| {
        state.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    let mut text = String::with_capacity(length + 64);
    while text.len() < length {
        text.push_str("<p class=\"item\">");
        for _ in 0..8 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(WORDS[(state >> 16) as usize % WORDS.len()]);
            text.push(' ');
        }
        text.push_str("</p>\n");
    }
    text.truncate(length);
    text
}

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Starts [`App`]; it needs the runtime that it is called in.
pub fn app() -> SocketAddr {
    let connections = Arc::new(Semaphore::new(10_000));
    let listener = Listener::bind(LOOPBACK, Limits::default(), connections)
        .expect("loopback can be listened on");
    let address = listener.address().expect("it is bound");
    tokio::spawn(listener.run(Arc::new(App), Drain::new()));
    address
}

/// The configuration of a gateway before an application.
pub fn config(address: SocketAddr) -> Config {
    let server = ServerEntry {
        address: ServerAddress::Socket(address),
        weight: 1,
    };
    let mut config = Config {
        server: marquetry::config::ServerConfig {
            listen: vec![LOOPBACK],
            ..Default::default()
        },
        admin: None,
        log: marquetry::config::LogConfig {
            access: AccessLog::Off,
            ..Default::default()
        },
        identity: Default::default(),
        cache: Default::default(),
        compose: Default::default(),
        upstreams: [("app".to_owned(), UpstreamConfig::new(vec![server]))].into(),
        balancers: Vec::new(),
        routes: vec![RouteConfig {
            compose: ComposeMode::Always,
            ..RouteConfig::new("app")
        }],
    };
    config.server.max_connections = 20_000;
    config
}
