//! The state of the house for programs and for monitors: `/status`, `/status.txt`, `/requests`.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::observe::Observer;
use crate::observe::metrics::CacheCounts;
use crate::observe::status::{CacheStatus, ServerStatus, UpstreamStatus};
use crate::observe::text::{Moment, Seconds};
use crate::observe::waterfall::{SpanRecord, Waterfall};

/// The state of the house, as JSON.
#[derive(Debug, Serialize)]
pub struct House {
    version: &'static str,
    uptime_seconds: Seconds,
    ready: bool,
    connections: usize,
    requests_open: usize,
    upstreams: Vec<Upstream>,
    cache: Cache,
}

#[derive(Debug, Serialize)]
struct Upstream {
    name: String,
    servers: Vec<ServerStatus>,
    working: usize,
    waiting: usize,
    in_flight: usize,
    max_in_flight: usize,
    queued: usize,
}

#[derive(Debug, Serialize)]
struct Cache {
    bytes: u64,
    objects: u64,
    evictions: u64,
    #[serde(flatten)]
    counts: CacheCounts,
}

impl House {
    /// As it is now.
    pub fn of(observer: &Observer) -> Self {
        let state = State::of(observer);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: Seconds(observer.uptime()),
            ready: state.ready,
            connections: state.connections,
            requests_open: observer.open().count(),
            upstreams: state.upstreams.into_iter().map(Upstream::from).collect(),
            cache: Cache {
                bytes: state.cache.bytes,
                objects: state.cache.objects,
                evictions: state.cache.evictions,
                counts: observer.cache().counts(),
            },
        }
    }
}

impl From<UpstreamStatus> for Upstream {
    fn from(upstream: UpstreamStatus) -> Self {
        Self {
            working: upstream.working(),
            waiting: upstream.waiting(),
            in_flight: upstream.in_flight(),
            max_in_flight: upstream.max_in_flight,
            queued: upstream.queued,
            name: upstream.name,
            servers: upstream.servers,
        }
    }
}

/// What the house says of itself; nothing of anything before it stands.
pub struct State {
    /// Its upstreams.
    pub upstreams: Vec<UpstreamStatus>,
    /// Its store.
    pub cache: CacheStatus,
    /// Its open client connections.
    pub connections: usize,
    /// Whether it takes traffic.
    pub ready: bool,
}

impl State {
    /// As it is now.
    pub fn of(observer: &Observer) -> Self {
        match observer.status() {
            Some(status) => Self {
                upstreams: status.upstreams(),
                cache: status.cache(),
                connections: status.connections(),
                ready: status.ready(),
            },
            None => Self {
                upstreams: Vec::new(),
                cache: CacheStatus::default(),
                connections: 0,
                ready: false,
            },
        }
    }
}

/// One line for each upstream, in the words that monitors of the old balancer read: all servers, those with something to do,
/// active ones with nothing to do, requests that wait.
pub fn lines(upstreams: &[UpstreamStatus]) -> String {
    upstreams.iter().fold(String::new(), |mut lines, upstream| {
        // Writing to a string does not fail.
        let _ = writeln!(
            lines,
            "{}: servers={}; working={}; waiter={}; queue={}",
            upstream.name,
            upstream.servers.len(),
            upstream.working(),
            upstream.waiting(),
            upstream.queued,
        );
        lines
    })
}

/// A request under way, as JSON.
#[derive(Debug, Serialize)]
struct OpenRequest<'a> {
    id: &'a str,
    time: Moment,
    age_seconds: Seconds,
    method: &'a str,
    host: &'a str,
    url: &'a str,
    route: Option<&'a str>,
    phase: &'static str,
    waits_for: Option<String>,
    fragments: Vec<OpenFetch<'a>>,
}

/// A fetch under way of a request under way, as JSON.
#[derive(Debug, Serialize)]
struct OpenFetch<'a> {
    url: &'a str,
    depth: u16,
    upstream: Option<&'a str>,
    server: Option<&'a str>,
    phase: &'static str,
    waits_for: Option<String>,
    age_seconds: Seconds,
}

/// The requests under way that are at least so old, oldest first, as a JSON value.
pub fn open_requests(
    observer: &Observer,
    older_than: Duration,
) -> Result<serde_json::Value, serde_json::Error> {
    let pages = oldest(observer, older_than);
    let requests: Vec<_> = pages.iter().map(OpenRequest::of).collect();
    serde_json::to_value(requests)
}

/// The requests under way that are at least so old, oldest first.
pub fn oldest(observer: &Observer, older_than: Duration) -> Vec<Waterfall> {
    let open = observer.open().list();
    let mut pages: Vec<_> = open.iter().map(|page| page.so_far()).collect();
    pages.retain(|page| page.seconds.0 >= older_than);
    pages.sort_by_key(|page| std::cmp::Reverse(page.seconds));
    pages
}

/// What a request under way is doing: what its skeleton does, until that is there; then waiting for fragments, or sending.
pub fn phase(page: &Waterfall) -> &'static str {
    let mut open = page.spans.iter().filter(|span| span.outcome.is_none());
    match open.next() {
        Some(span) if span.depth == 0 => span.phase(),
        Some(_) => "fragments",
        None if page.first_byte.is_some() => "sending",
        None if page.spans.is_empty() => "started",
        None => "composing",
    }
}

/// Whom a fetch waits for, in words: a place in an upstream, or a server's answer. Nothing where it waits for neither, as one that takes
/// part in somebody else's fetch.
pub fn waits_for(span: &SpanRecord) -> Option<String> {
    let upstream = span.upstream.as_deref().unwrap_or_default();
    let server = span.server.as_deref().unwrap_or_default();
    match span.phase() {
        "queued" => Some(format!("a free server of {upstream}")),
        "sent" => Some(format!("{server} of {upstream} to answer")),
        "receiving" => Some(format!("the rest of the answer of {server} of {upstream}")),
        _ => None,
    }
}

impl<'a> OpenRequest<'a> {
    fn of(page: &'a Waterfall) -> Self {
        let open = |span: &&SpanRecord| span.outcome.is_none();
        Self {
            id: page.head.id.as_str(),
            time: page.head.time,
            age_seconds: page.seconds,
            method: &page.head.method,
            host: &page.head.host,
            url: &page.head.url,
            route: page.route.as_deref(),
            phase: phase(page),
            waits_for: page.spans.iter().find(open).and_then(waits_for),
            fragments: page
                .spans
                .iter()
                .filter(open)
                .map(|span| OpenFetch {
                    url: &span.url,
                    depth: span.depth,
                    upstream: span.upstream.as_deref(),
                    server: span.server.as_deref(),
                    phase: span.phase(),
                    waits_for: waits_for(span),
                    age_seconds: Seconds(page.seconds.0.saturating_sub(span.started.0)),
                })
                .collect(),
        }
    }
}
