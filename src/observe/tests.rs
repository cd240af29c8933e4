//! The walk of a page past the observer: what is told on one side, what is seen on the other.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::advance;

use super::exposition::Exposition;
use super::outcome::{CacheUse, Outcome, PageEnd, Why};
use super::page::{Page, PageStart};
use super::recent::RecentLimits;
use super::request_id::RequestId;
use super::span::{FragmentStart, Served};
use super::status::{CacheStatus, ServerState, ServerStatus, Status, UpstreamStatus};
use super::*;

fn page(observer: &Observer, id: &str, url: &str) -> Page {
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", HeaderValue::from_static("a \"browser\""));
    headers.insert(
        "referer",
        HeaderValue::from_static("http://me:secret@example.com/"),
    );
    headers.insert("cookie", HeaderValue::from_static("session=secret"));
    headers.insert("authorization", HeaderValue::from_static("Bearer secret"));
    observer.page(&PageStart {
        came: Instant::now(),
        id: &RequestId::parse(id).unwrap(),
        client: [192, 0, 2, 7].into(),
        method: &Method::GET,
        host: "www.example.com",
        url,
        headers: &headers,
    })
}

fn fragment(url: &str) -> FragmentStart<'_> {
    FragmentStart {
        url,
        depth: 1,
        parent: None,
        offset: Some(120),
    }
}

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn silent() -> Observer {
    Observer::new(AccessLog::Off)
}

/// The page with this id as operators see it.
fn seen(observer: &Observer, id: &str) -> Value {
    serde_json::to_value(observer.recent().find(id).unwrap().whole()).unwrap()
}

fn has_sample(observer: &Observer, line: &str) -> bool {
    let text = observer.metrics(Exposition::Prometheus);
    text.lines().any(|sample| sample == line)
}

/// Text that a writer on another thread has written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn values(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap();
        let lines = bytes.split(|byte| *byte == b'\n');
        lines
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A page with a skeleton, a fragment that waits and is fetched, a hit, and one that fails after two tries.
async fn composed_page(observer: &Observer) {
    let (route, app) = (observer.route("/"), observer.upstream("app"));
    let pages = observer.upstream("pages");
    let page = page(observer, "one", "/page?q=<b>");
    let trace = page.trace().clone();
    trace.routed(&route, &pages);
    let skeleton = trace.skeleton();
    skeleton.routed(&route, &pages);
    skeleton.notes().queued(Instant::now());
    skeleton.notes().sent("127.0.0.1:6081", Instant::now());
    advance(milliseconds(10)).await;
    skeleton.notes().first_byte(StatusCode::OK, Instant::now());
    skeleton.notes().received(500);
    skeleton.finish(Outcome::Ok);
    trace.cache(CacheUse::Miss(Why::UriMiss));
    trace.composed();
    trace.template_errors(2);
    trace.status(StatusCode::OK);
    let basket = trace.fragment(&fragment("http://me:secret@app/basket"));
    basket.routed(&route, &app);
    let notes = basket.notes().clone();
    notes.queued(Instant::now());
    trace.hit(
        &fragment("/tile"),
        &Served {
            route: &route,
            upstream: &app,
            outcome: Outcome::Hit,
            cache: CacheUse::Hit,
            bytes: 40,
        },
    );
    let broken = trace.fragment(&FragmentStart {
        depth: 2,
        parent: basket.id(),
        ..fragment("/broken")
    });
    broken.routed(&route, &app);
    trace.sent(100);
    advance(milliseconds(20)).await;
    notes.sent("127.0.0.1:8110", Instant::now());
    advance(milliseconds(30)).await;
    notes.first_byte(StatusCode::OK, Instant::now());
    notes.received(60);
    basket.finish(Outcome::Ok);
    for server in ["127.0.0.1:8111", "127.0.0.1:8112"] {
        broken.notes().queued(Instant::now());
        advance(milliseconds(1)).await;
        broken.notes().sent(server, Instant::now());
        advance(milliseconds(2)).await;
    }
    broken.fail(Outcome::OnError, &"the server \"closed\"");
    trace.sent(300);
    page.finish(PageEnd::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_kept_with_all_its_spans() {
    let observer = silent();
    composed_page(&observer).await;
    let page = seen(&observer, "one");
    let expected = json!({
        "id": "one", "method": "GET", "host": "www.example.com", "url": "/page?q=<b>", "client": "192.0.2.7",
        "route": "/", "upstream": "pages", "status": 200, "cache": "miss", "composed": true, "end": "complete",
        "seconds": 0.066, "first_byte_seconds": 0.01, "bytes": 400,
        "fragments": 3, "fragments_failed": 1, "template_errors": 2, "spans_unrecorded": 0,
        "slowest_fragment": {"url": "/broken", "seconds": 0.056},
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&page[name], value, "{name}");
    }
    let spans = page["spans"].as_array().unwrap();
    let rows = [
        json!({"url": "/page?q=<b>", "depth": 0, "outcome": "ok", "server": "127.0.0.1:6081", "status": 200, "bytes": 500,
               "started": 0.0, "queued": 0.0, "sent": 0.0, "first_byte": 0.01, "done": 0.01,
               "queue_seconds": 0.0, "cost_seconds": 0.01, "upstream": "pages", "parent": null}),
        json!({"url": "http://app/basket", "depth": 1, "outcome": "ok", "started": 0.01, "queued": 0.01, "sent": 0.03,
               "first_byte": 0.06, "done": 0.06, "queue_seconds": 0.02, "cost_seconds": 0.03, "offset": 120}),
        json!({"url": "/tile", "outcome": "hit", "cache": "hit", "started": 0.01, "queued": null, "sent": null, "done": 0.01,
               "server": null, "bytes": 40, "cost_seconds": 0.0}),
        json!({"url": "/broken", "depth": 2, "parent": 1, "outcome": "onerror", "reason": "the server \"closed\"",
               "server": "127.0.0.1:8112", "tries": 2, "queue_seconds": 0.002, "cost_seconds": 0.004, "status": null}),
    ];
    assert_eq!(spans.len(), rows.len());
    for (span, row) in spans.iter().zip(&rows) {
        for (name, value) in row.as_object().unwrap() {
            assert_eq!(&span[name], value, "{name} of {}", row["url"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_is_counted() {
    let observer = silent();
    composed_page(&observer).await;
    for line in [
        r#"marquetry_requests_total{route="/",status="200"} 1"#,
        r#"marquetry_page_seconds_sum{route="/"} 0.066"#,
        r#"marquetry_first_byte_seconds_sum{route="/"} 0.01"#,
        r#"marquetry_fragments_total{upstream="app",outcome="ok"} 1"#,
        r#"marquetry_fragments_total{upstream="app",outcome="hit"} 1"#,
        r#"marquetry_fragments_total{upstream="app",outcome="onerror"} 1"#,
        r#"marquetry_fragments_total{upstream="app",outcome="cancelled"} 0"#,
        r#"marquetry_fragments_total{upstream="pages",outcome="ok"} 0"#,
        r#"marquetry_fragment_seconds_count{upstream="app"} 3"#,
        r#"marquetry_upstream_queue_seconds_count{upstream="app"} 2"#,
        r#"marquetry_upstream_queue_seconds_sum{upstream="app"} 0.022"#,
        r#"marquetry_upstream_queue_seconds_count{upstream="pages"} 1"#,
        "marquetry_template_errors_total 2",
    ] {
        assert!(has_sample(&observer, line), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_is_one_line_of_the_access_log() {
    let lines = Lines::default();
    let observer = Observer::new(AccessLog::writer(lines.clone()).unwrap());
    composed_page(&observer).await;
    drop(page(&observer, "two", "/\u{1b}[31m\n"));
    observer.flush();
    let [first, second] = lines.values().try_into().unwrap();
    let expected = json!({
        "client": "192.0.2.7", "method": "GET", "host": "www.example.com", "path": "/page?q=<b>", "status": 200,
        "bytes": 400, "seconds": 0.066, "first_byte_seconds": 0.01, "route": "/", "upstream": "pages", "cache": "miss",
        "request_id": "one", "composed": true, "end": "complete", "user_agent": "a \"browser\"",
        "referer": "http://example.com/",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&first[name], value, "{name}");
    }
    let time = first["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    assert_eq!(first["fragments"]["count"], 3);
    assert_eq!(first["fragments"]["failed"], 1);
    assert_eq!(
        first["fragments"]["each"][0],
        json!({"url": "http://app/basket", "seconds": 0.05, "queue_seconds": 0.02, "cost_seconds": 0.03, "outcome": "ok", "route": "/",
               "upstream": "app", "cache": null})
    );
    assert_eq!(second["end"], "client-left");
    assert_eq!(second["status"], 499);
    assert_eq!(second["path"], "/\u{1b}[31m\n");
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_recorded() {
    let lines = Lines::default();
    let observer = Observer::new(AccessLog::writer(lines.clone()).unwrap());
    composed_page(&observer).await;
    observer.flush();
    let everything = format!("{:?}{}", lines.values(), seen(&observer, "one"));
    assert!(!everything.contains("secret"), "{everything}");
}

#[test]
fn the_log_is_written_when_the_observer_goes() {
    let lines = Lines::default();
    let observer = Observer::new(AccessLog::writer(lines.clone()).unwrap());
    for _ in 0..100 {
        page(&observer, "a", "/").finish(PageEnd::Complete);
    }
    drop(observer);
    assert_eq!(lines.values().len(), 100);
}

#[test]
fn a_file_is_appended_to_and_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access"), folder.path().join("moved"));
    std::fs::write(&path, "before\n").unwrap();
    let observer = Observer::new(AccessLog::file(path.clone()).unwrap());
    page(&observer, "a", "/").finish(PageEnd::Complete);
    observer.flush();
    std::fs::rename(&path, &moved).unwrap();
    observer.reopen_access_log();
    page(&observer, "b", "/").finish(PageEnd::Complete);
    observer.flush();
    let (old, new) = (
        std::fs::read_to_string(&moved).unwrap(),
        std::fs::read_to_string(&path).unwrap(),
    );
    assert!(old.starts_with("before\n{") && old.contains(r#""request_id":"a""#));
    assert!(new.contains(r#""request_id":"b""#) && !new.contains(r#""request_id":"a""#));
}

#[test]
fn a_writer_that_is_stuck_costs_lines_and_nothing_else() {
    /// Blocks until its lock is given back.
    struct Stuck(Arc<Mutex<()>>);
    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _free = self.0.lock().unwrap();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().unwrap();
    let observer = Observer::new(AccessLog::writer(Stuck(lock.clone())).unwrap());
    for _ in 0..20_000 {
        page(&observer, "a", "/").finish(PageEnd::Complete);
    }
    let dropped = observer.limit_hits("access_log");
    assert!(dropped > 0 && dropped < 20_000, "{dropped}");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_cancelled() {
    let observer = silent();
    let (route, app) = (observer.route("/"), observer.upstream("app"));
    let page = page(&observer, "one", "/");
    let early = page.trace().fragment(&fragment("/early"));
    early.routed(&route, &app);
    drop(early);
    let late = page.trace().fragment(&fragment("/late"));
    late.routed(&route, &app);
    late.notes().queued(Instant::now());
    advance(milliseconds(5)).await;
    drop(page);
    let notes = late.notes().clone();
    drop(late);
    notes.received(10);
    let record = seen(&observer, "one");
    assert_eq!(record["end"], "client-left");
    assert_eq!(record["spans"][0]["outcome"], "cancelled");
    assert_eq!(record["spans"][1]["outcome"], "cancelled");
    assert_eq!(record["spans"][1]["queue_seconds"], 0.005);
    assert_eq!(record["spans"][1]["bytes"], 0);
    assert!(has_sample(
        &observer,
        r#"marquetry_fragments_total{upstream="app",outcome="cancelled"} 2"#
    ));
}

#[test]
fn a_page_with_too_many_fragments_is_counted_in_full() {
    let observer = silent();
    let (route, app) = (observer.route("/"), observer.upstream("app"));
    let page = page(&observer, "one", "/");
    for _ in 0..700 {
        let span = page.trace().fragment(&fragment("/f"));
        span.routed(&route, &app);
        span.finish(Outcome::Failed);
    }
    page.finish(PageEnd::Complete);
    let record = seen(&observer, "one");
    assert_eq!(record["spans"].as_array().unwrap().len(), 600);
    assert_eq!(record["fragments"], 700);
    assert_eq!(record["fragments_failed"], 700);
    assert_eq!(record["spans_unrecorded"], 100);
    assert!(has_sample(
        &observer,
        r#"marquetry_fragments_total{upstream="app",outcome="failed"} 700"#
    ));
}

#[test]
fn recent_pages_are_bounded() {
    let limits = RecentLimits {
        composed: 3,
        others: 2,
        bytes: 1024 * 1024,
    };
    let observer = Observer::with_limits(AccessLog::Off, limits);
    for number in 0..5 {
        let page = page(&observer, &format!("p{number}"), "/");
        page.trace().composed();
        page.finish(PageEnd::Complete);
        self::page(&observer, &format!("o{number}"), "/").finish(PageEnd::Complete);
    }
    let list = observer.recent().list();
    let mut ids: Vec<_> = list.iter().map(|page| page.head.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["o3", "o4", "p2", "p3", "p4"]);
    assert!(observer.recent().find("p1").is_none());
}

#[test]
fn recent_pages_are_bounded_in_bytes() {
    let limits = RecentLimits {
        bytes: 64 * 1024,
        ..RecentLimits::default()
    };
    let observer = Observer::with_limits(AccessLog::Off, limits);
    let url = "x".repeat(4000);
    for number in 0..100 {
        page(&observer, &format!("p{number}"), &url).finish(PageEnd::Complete);
    }
    let list = observer.recent().list();
    let weight: usize = list.iter().map(|page| page.weight()).sum();
    assert!(weight <= limits.bytes, "{weight}");
    assert!(list.len() > 10, "{}", list.len());
    assert!(observer.recent().find("p99").is_some());
}

#[tokio::test(start_paused = true)]
async fn open_pages_tell_what_they_wait_for() {
    let observer = silent();
    let page = page(&observer, "one", "/");
    assert_eq!(observer.open().count(), 0, "it waits for nothing yet");
    page.trace().waits();
    let span = page.trace().fragment(&fragment("/f"));
    let phase = || observer.open().list()[0].so_far().spans[0].phase();
    assert_eq!(phase(), "started");
    span.notes().queued(Instant::now());
    assert_eq!(phase(), "queued");
    span.notes().sent("127.0.0.1:1", Instant::now());
    assert_eq!(phase(), "sent");
    span.notes().first_byte(StatusCode::OK, Instant::now());
    assert_eq!(phase(), "receiving");
    span.finish(Outcome::Alt);
    assert_eq!(phase(), "alt");
    page.finish(PageEnd::Complete);
    assert_eq!(observer.open().count(), 0);
}

#[test]
fn an_unobserved_page_costs_nothing() {
    let page = Page::unobserved();
    let span = page.trace().fragment(&fragment("/f"));
    span.notes().queued(Instant::now());
    assert_eq!(span.id(), None);
    span.finish(Outcome::Ok);
    assert_eq!(page.trace().server_timing(), None);
    page.finish(PageEnd::Complete);
}

struct TwoUpstreams;

impl Status for TwoUpstreams {
    fn upstreams(&self) -> Vec<UpstreamStatus> {
        let server = |port: u16, state, in_flight| ServerStatus {
            address: format!("127.0.0.1:{port}"),
            weight: 1,
            state,
            in_flight,
            ..ServerStatus::default()
        };
        vec![
            UpstreamStatus {
                name: "app".to_owned(),
                servers: vec![
                    server(1, ServerState::Active, 2),
                    server(2, ServerState::Draining, 1),
                ],
                queued: 4,
                max_in_flight: 2,
            },
            UpstreamStatus {
                name: "pages".to_owned(),
                servers: vec![server(3, ServerState::Down, 0)],
                queued: 0,
                max_in_flight: 0,
            },
        ]
    }

    fn cache(&self) -> CacheStatus {
        CacheStatus {
            bytes: 1000,
            objects: 10,
            evictions: 1,
        }
    }

    fn connections(&self) -> usize {
        5
    }

    fn ready(&self) -> bool {
        true
    }
}

#[test]
fn the_state_of_upstreams_and_store_is_asked_for_at_each_scrape() {
    let observer = silent();
    observer.watch(Arc::new(TwoUpstreams));
    for line in [
        r#"marquetry_upstream_in_flight{upstream="app"} 3"#,
        r#"marquetry_upstream_in_flight{upstream="pages"} 0"#,
        r#"marquetry_upstream_queued{upstream="app"} 4"#,
        r#"marquetry_upstream_servers{upstream="app",state="active"} 1"#,
        r#"marquetry_upstream_servers{upstream="app",state="draining"} 1"#,
        r#"marquetry_upstream_servers{upstream="app",state="down"} 0"#,
        r#"marquetry_upstream_servers{upstream="pages",state="down"} 1"#,
        "marquetry_connections 5",
        "marquetry_cache_bytes 1000",
        "marquetry_cache_objects 10",
        "marquetry_cache_evictions_total 1",
    ] {
        assert!(has_sample(&observer, line), "{line}");
    }
}

#[test]
fn every_metric_that_users_were_told_of_is_there() {
    let observer = silent();
    observer.watch(Arc::new(TwoUpstreams));
    observer.upstream("app");
    observer.route("/");
    observer.limit_hit("compose.max_depth");
    page(&observer, "one", "/").finish(PageEnd::Complete);
    let text = observer.metrics(Exposition::Prometheus);
    for name in [
        "marquetry_requests_total",
        "marquetry_fragments_total",
        "marquetry_template_errors_total",
        "marquetry_overpromised_total",
        "marquetry_undeclared_total",
        "marquetry_upstream_in_flight",
        "marquetry_upstream_queued",
        "marquetry_upstream_servers",
        "marquetry_cache_hits_total",
        "marquetry_cache_misses_total",
        "marquetry_cache_passes_total",
        "marquetry_cache_stores_total",
        "marquetry_cache_evictions_total",
        "marquetry_cache_coalesced_total",
        "marquetry_cache_hit_for_miss_total",
        "marquetry_cache_bytes",
        "marquetry_cache_objects",
        "marquetry_connections",
        "marquetry_limits_hit_total",
        "marquetry_page_seconds_bucket",
        "marquetry_first_byte_seconds_bucket",
        "marquetry_fragment_seconds_bucket",
    ] {
        let sample = |line: &str| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then_some(())
        };
        assert!(
            text.lines().any(|line| sample(line).is_some()),
            "{name}\n{text}"
        );
    }
    assert!(!text.contains("www.example.com"), "URLs are no labels");
}

#[tokio::test(start_paused = true)]
async fn server_timing_tells_what_is_known_when_the_head_leaves() {
    let observer = silent();
    let page = page(&observer, "one", "/");
    let done = page.trace().fragment(&fragment("/done"));
    let _open = page.trace().fragment(&fragment("/open"));
    advance(milliseconds(4)).await;
    done.finish(Outcome::Ok);
    let value = page.trace().server_timing().unwrap();
    assert_eq!(
        value,
        "page;dur=4.0, f1;desc=\"ok /done\";dur=4.0, f2;desc=\"started /open\""
    );
}

proptest! {
    #[test]
    fn any_url_makes_a_line_of_its_own_and_a_valid_header(url in any::<String>(), reason in any::<String>()) {
        let lines = Lines::default();
        let observer = Observer::new(AccessLog::writer(lines.clone()).unwrap());
        let page = page(&observer, "one", &url);
        page.trace().fragment(&fragment(&url)).fail(Outcome::Failed, &reason);
        prop_assert!(page.trace().server_timing().is_some());
        page.finish(PageEnd::Complete);
        observer.flush();
        prop_assert_eq!(lines.values().len(), 1);
    }
}
