//! What the admin listener answers, asked as a listener asks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::message::Body;
use crate::observe::access_log::AccessLog;
use crate::observe::live::{KEPT, LISTENERS};
use crate::observe::outcome::{CacheUse, Outcome, PageEnd, Why};
use crate::observe::page::{Page as OpenPage, PageStart};
use crate::observe::request_id::RequestId;
use crate::observe::span::FragmentStart;
use crate::observe::status::{CacheStatus, ServerState, ServerStatus, Status, UpstreamStatus};

/// What a client would do harm with, if it were printed as it is.
const EVIL: &str = "/x?q=\"><script>alert(1)</script>&<img src=x onerror='x'>";

struct FourServers(AtomicBool);

impl Status for FourServers {
    fn upstreams(&self) -> Vec<UpstreamStatus> {
        let server = |port: u16| ServerStatus {
            address: format!("127.0.0.1:{port}"),
            weight: 1,
            state: ServerState::Active,
            in_flight: usize::from(port < 8113),
            served: 7,
            ..ServerStatus::default()
        };
        vec![UpstreamStatus {
            name: "app".to_owned(),
            servers: (8110..8114).map(server).collect(),
            queued: 0,
            max_in_flight: 1,
        }]
    }

    fn cache(&self) -> CacheStatus {
        CacheStatus {
            bytes: 1000,
            objects: 10,
            evictions: 0,
        }
    }

    fn connections(&self) -> usize {
        3
    }

    fn ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

fn open_page(observer: &Observer, id: &str) -> OpenPage {
    let page = observer.page(&PageStart {
        came: Instant::now(),
        id: &RequestId::parse(id).unwrap(),
        client: [192, 0, 2, 7].into(),
        method: &Method::GET,
        host: "www.example.com",
        url: EVIL,
        headers: &HeaderMap::new(),
    });
    page.trace().waits();
    page.trace().composed();
    let start = FragmentStart {
        url: EVIL,
        depth: 1,
        parent: None,
        offset: None,
    };
    page.trace()
        .fragment(&start)
        .fail(Outcome::Failed, &"<b>broken</b>");
    page
}

fn house() -> (Observer, Arc<FourServers>) {
    let observer = Observer::new(AccessLog::Off);
    let status = Arc::new(FourServers(AtomicBool::new(true)));
    observer.watch(status.clone());
    observer.cache().used(CacheUse::Hit);
    observer.cache().used(CacheUse::Miss(Why::UriMiss));
    open_page(&observer, "done").finish(PageEnd::Complete);
    (observer, status)
}

fn admin(token: Option<&str>) -> Admin {
    let listen = SocketAddr::from(([127, 0, 0, 1], 9090));
    let token = token.map(|token| Token::new(token.as_bytes()));
    Admin::new(house().0, listen, token)
}

fn request(method: Method, path: &str) -> Request {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    let host = HeaderValue::from_static("127.0.0.1:9090");
    request.headers_mut().insert(header::HOST, host);
    request
}

fn with(mut request: Request, name: &'static str, value: &'static str) -> Request {
    let value = HeaderValue::from_static(value);
    request.headers_mut().insert(name, value);
    request
}

fn body(response: &Response) -> &str {
    std::str::from_utf8(response.body().as_full().unwrap()).unwrap()
}

async fn get(admin: &Admin, path: &str) -> Response {
    admin
        .handle(request(Method::GET, path), &Connection::NONE)
        .await
}

async fn value(admin: &Admin, path: &str) -> Value {
    let response = get(admin, path).await;
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_str(body(&response)).unwrap()
}

#[tokio::test]
async fn every_path_answers_as_it_should() {
    let admin = admin(None);
    let rows = [
        ("/", 200, "text/html; charset=utf-8"),
        ("/healthz", 200, "text/plain; charset=utf-8"),
        ("/readyz", 200, "text/plain; charset=utf-8"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/status", 200, "application/json"),
        ("/status.txt", 200, "text/plain; charset=utf-8"),
        ("/requests", 200, "application/json"),
        ("/requests?older_than=1s", 200, "application/json"),
        (
            "/requests?older_than=soon",
            400,
            "text/plain; charset=utf-8",
        ),
        ("/pages", 200, "application/json"),
        ("/pages/done", 200, "application/json"),
        ("/pages/other", 404, "text/plain; charset=utf-8"),
        ("/pages/", 404, "text/plain; charset=utf-8"),
        ("/nothing", 404, "text/plain; charset=utf-8"),
        ("//", 404, "text/plain; charset=utf-8"),
        ("/healthz/", 404, "text/plain; charset=utf-8"),
    ];
    for (path, status, content_type) in rows {
        let response = get(&admin, path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], content_type, "{path}");
    }
}

#[tokio::test]
async fn every_answer_is_guarded_against_browsers() {
    let admin = admin(Some("right"));
    let foreign = with(request(Method::GET, "/"), "host", "evil.example");
    let answers = [
        get(&admin, "/").await,
        get(&admin, "/healthz").await,
        get(&admin, "/nothing").await,
        admin.handle(foreign, &Connection::NONE).await,
    ];
    for response in answers {
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-frame-options"], "DENY");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn a_foreign_host_is_refused_everywhere() {
    let admin = admin(None);
    for path in [
        "/", "/healthz", "/metrics", "/status", "/pages", "/events", "/nothing",
    ] {
        let request = with(request(Method::GET, path), "host", "evil.example:9090");
        let response = admin.handle(request, &Connection::NONE).await;
        assert_eq!(response.status(), 421, "{path}");
        assert!(!body(&response).contains("evil"));
    }
}

#[tokio::test]
async fn a_token_opens_all_but_the_probes() {
    let admin = admin(Some("right"));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(&admin, path).await.status(), 200, "{path}");
    }
    for path in [
        "/",
        "/metrics",
        "/status",
        "/status.txt",
        "/pages",
        "/pages/done",
        "/events",
        "/requests",
        "/nothing",
    ] {
        let response = get(&admin, path).await;
        assert_eq!(response.status(), 401, "{path}");
        assert!(
            response.headers().contains_key("www-authenticate"),
            "{path}"
        );
        let wrong = with(request(Method::GET, path), "authorization", "Bearer wrong");
        assert_eq!(
            admin.handle(wrong, &Connection::NONE).await.status(),
            401,
            "{path}"
        );
        let right = with(request(Method::GET, path), "authorization", "Bearer right");
        assert_ne!(
            admin.handle(right, &Connection::NONE).await.status(),
            401,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_browser_without_the_token_is_asked_for_it() {
    let admin = admin(Some("right"));
    let browser = with(request(Method::GET, "/"), "accept", "text/html,*/*");
    let response = admin.handle(browser, &Connection::NONE).await;
    assert_eq!(response.status(), 401);
    assert!(body(&response).contains("<form>"));
    assert!(
        !body(&response).contains("127.0.0.1"),
        "it tells nothing of the house"
    );
}

#[tokio::test]
async fn nothing_but_reading_is_allowed() {
    let admin = admin(None);
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
    ] {
        for path in ["/", "/status", "/healthz"] {
            let response = admin
                .handle(request(method.clone(), path), &Connection::NONE)
                .await;
            assert_eq!(response.status(), 405, "{method} {path}");
            assert_eq!(response.headers()["allow"], "GET, HEAD");
        }
    }
    let response = admin
        .handle(request(Method::POST, "/nothing"), &Connection::NONE)
        .await;
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let admin = admin(None);
    let response = admin
        .handle(request(Method::HEAD, "/healthz"), &Connection::NONE)
        .await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-length"], "3");
    assert_eq!(body(&response), "");
}

#[tokio::test]
async fn readiness_ends_with_draining() {
    let (observer, status) = house();
    let admin = Admin::new(observer, SocketAddr::from(([127, 0, 0, 1], 9090)), None);
    assert_eq!(get(&admin, "/readyz").await.status(), 200);
    status.0.store(false, Ordering::Relaxed);
    let response = get(&admin, "/readyz").await;
    assert_eq!(
        (response.status().as_u16(), body(&response)),
        (503, "draining\n")
    );
    assert_eq!(get(&admin, "/healthz").await.status(), 200);
    assert_eq!(value(&admin, "/status").await["ready"], false);
    let before = Admin::new(
        Observer::new(AccessLog::Off),
        SocketAddr::from(([127, 0, 0, 1], 9090)),
        None,
    );
    assert_eq!(body(&get(&before, "/readyz").await), "starting\n");
}

#[tokio::test]
async fn the_state_is_told_to_programs() {
    let admin = admin(None);
    let status = value(&admin, "/status").await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime_seconds"].is_f64());
    assert_eq!(status["connections"], 3);
    let app = &status["upstreams"][0];
    for (name, wanted) in [
        ("working", 3),
        ("waiting", 1),
        ("in_flight", 3),
        ("queued", 0),
    ] {
        assert_eq!(app[name], wanted, "{name}");
    }
    assert_eq!(
        app["servers"][0],
        json!({
            "address": "127.0.0.1:8110", "weight": 1, "effective_weight": 1.0, "state": "active", "reason": "configured",
            "since_seconds": 0.0, "healthy": true, "in_flight": 1, "served": 7, "errors": 0, "p50_seconds": null,
            "p99_seconds": null, "last_probe": null
        })
    );
    let cache = &status["cache"];
    for (name, wanted) in [("bytes", 1000), ("objects", 10), ("hits", 1), ("misses", 1)] {
        assert_eq!(cache[name], wanted, "{name}");
    }
}

#[tokio::test]
async fn the_state_is_told_to_the_old_monitor() {
    let response = get(&admin(None), "/status.txt").await;
    assert_eq!(
        body(&response),
        "app: servers=4; working=3; waiter=1; queue=0\n"
    );
}

#[tokio::test]
async fn metrics_are_told_in_the_language_that_is_accepted() {
    let admin = admin(None);
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let response = admin
        .handle(
            with(request(Method::GET, "/metrics"), "accept", accept),
            &Connection::NONE,
        )
        .await;
    let content_type = response.headers()["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("application/openmetrics-text"));
    assert!(body(&response).ends_with("# EOF\n"));
}

#[tokio::test]
async fn pages_are_listed_and_shown() {
    let admin = admin(None);
    let list = value(&admin, "/pages").await;
    assert_eq!(list[0]["id"], "done");
    assert_eq!(list[0]["fragments"], 1);
    let page = value(&admin, "/pages/done").await;
    assert_eq!(page["spans"][0]["url"], EVIL);
    assert_eq!(page["spans"][0]["reason"], "<b>broken</b>");
}

#[tokio::test(start_paused = true)]
async fn open_requests_are_told_by_age() {
    let (observer, _) = house();
    let admin = Admin::new(
        observer.clone(),
        SocketAddr::from(([127, 0, 0, 1], 9090)),
        None,
    );
    let old = open_page(&observer, "old");
    let span = old.trace().skeleton();
    span.routed(&observer.route("/"), &observer.upstream("app"));
    span.notes().queued(Instant::now());
    tokio::time::advance(Duration::from_secs(2)).await;
    let _young = open_page(&observer, "young");
    let all = value(&admin, "/requests").await;
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(all[0]["id"], "old", "the oldest stands first");
    let old = value(&admin, "/requests?older_than=1s").await;
    assert_eq!(old.as_array().unwrap().len(), 1);
    assert_eq!(old[0]["phase"], "queued");
    assert_eq!(old[0]["age_seconds"], 2.0);
    assert_eq!(old[0]["fragments"][0]["phase"], "queued");
    assert_eq!(old[0]["fragments"][0]["waits_for"], "a free server of app");
    assert_eq!(old[0]["waits_for"], "a free server of app");
    span.notes().sent("127.0.0.1:8110", Instant::now());
    let old = value(&admin, "/requests?older_than=1s").await;
    assert_eq!(old[0]["phase"], "sent");
    assert_eq!(old[0]["waits_for"], "127.0.0.1:8110 of app to answer");
    let dashboard = get(&admin, "/").await;
    assert!(body(&dashboard).contains("Under way"));
}

#[tokio::test]
async fn the_dashboard_escapes_what_clients_send() {
    let response = get(&admin(None), "/").await;
    let page = body(&response);
    for wanted in [
        "127.0.0.1:8110",
        "page-done",
        "rect class=\"failed\"",
        "50.0 %",
        "&lt;script&gt;",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    for evil in ["<script>alert", "<img", "<b>broken", "q=\">"] {
        assert!(!page.contains(evil), "{evil}");
    }
    assert_eq!(page.matches("<script>").count(), 1, "our own");
}

/// Carries out nothing and remembers what it was told.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<String>>);

impl operate::Operator for Told {
    fn order<'a>(
        &'a self,
        upstream: &'a str,
        server: &'a str,
        order: operate::ServerOrder,
    ) -> futures::future::BoxFuture<'a, Result<Vec<ServerStatus>, operate::Refused>> {
        let told = format!(
            "{upstream} {server} {:?} {:?} {}",
            order.state, order.weight, order.check
        );
        self.0.lock().unwrap().push(told);
        let row = || ServerStatus {
            address: server.to_owned(),
            ..ServerStatus::default()
        };
        let answer = match server {
            "two" => Ok(vec![row(), row()]),
            "none" => Err(operate::Refused::Unknown(
                "app has no server none; it has a".to_owned(),
            )),
            "sick" => Err(operate::Refused::Unwell("sick: refused".to_owned())),
            _ => Ok(vec![row()]),
        };
        Box::pin(std::future::ready(answer))
    }
}

fn order(server: &str, json: &'static str) -> Request {
    let path = format!("/upstreams/app/servers/{server}");
    let request = with(
        request(Method::POST, &path),
        "content-type",
        "application/json",
    );
    request.map(|_| Body::full(json))
}

#[tokio::test]
async fn servers_are_steered_by_those_who_may() {
    let told = Arc::new(Told::default());
    let open = admin(None).with_operator(told.clone());
    for (request, status, text) in [
        (
            order("a:1", r#"{"state": "drain"}"#),
            200,
            r#"{"address":"a:1","#,
        ),
        (
            order("unix:%2Fa", r#"{"state": "ready", "weight": 3}"#),
            200,
            r#"{"address":"unix:/a","#,
        ),
        (
            order("two", r#"{"weight": 0}"#),
            200,
            r#"[{"address":"two","#,
        ),
        (order("sick", r#"{"check": true}"#), 502, "sick: refused\n"),
        (
            order("none", r#"{"weight": 1}"#),
            404,
            "app has no server none; it has a\n",
        ),
        (order("a:1", "{}"), 400, "an order names"),
        (
            order("a:1", r#"{"weight": 65536}"#),
            400,
            "`weight` is a whole number from 0 to 65535",
        ),
        (order("a:1", r#"{"weight": -1}"#), 400, "not an order"),
        (order("a:1", r#"{"state": "up"}"#), 400, "not an order"),
        (order("a:1", r#"{"sate": "drain"}"#), 400, "not an order"),
        (
            order("%zz", r#"{"weight": 1}"#),
            404,
            "there is nothing here",
        ),
        (
            with(
                order("a:1", r#"{"weight": 1}"#),
                "origin",
                "http://evil.example",
            ),
            403,
            "without a token",
        ),
        (
            with(
                order("a:1", r#"{"weight": 1}"#),
                "sec-fetch-site",
                "cross-site",
            ),
            403,
            "without a token",
        ),
        (
            with(
                order("a:1", r#"{"weight": 1}"#),
                "content-type",
                "text/plain",
            ),
            403,
            "without a token",
        ),
        (
            with(order("a:1", r#"{"weight": 1}"#), "host", "evil.example"),
            421,
            "this is not the host",
        ),
        (
            request(Method::GET, "/upstreams/app/servers/a:1"),
            405,
            "only POST",
        ),
    ] {
        let what = format!("{request:?}");
        let response = open.handle(request, &Connection::NONE).await;
        assert_eq!(response.status(), status, "{what}: {}", body(&response));
        assert!(
            body(&response).starts_with(text),
            "{what}: {}",
            body(&response)
        );
    }
    let wanted = [
        "app a:1 Some(Drain) None false",
        "app unix:/a Some(Ready) Some(3) false",
        "app two None Some(0) false",
        "app sick None None true",
        "app none None Some(1) false",
    ];
    assert_eq!(
        *told.0.lock().unwrap(),
        wanted,
        "nothing else was carried out"
    );
}

#[tokio::test]
async fn with_a_token_servers_are_steered_by_it_alone() {
    let told = Arc::new(Told::default());
    let guarded = admin(Some("secret")).with_operator(told.clone());
    let asked = || order("a:1", r#"{"state": "drain"}"#);
    assert_eq!(
        guarded.handle(asked(), &Connection::NONE).await.status(),
        401
    );
    let wrong = with(asked(), "authorization", "Bearer other");
    assert_eq!(guarded.handle(wrong, &Connection::NONE).await.status(), 401);
    assert!(told.0.lock().unwrap().is_empty());
    let right = with(asked(), "authorization", "Bearer secret");
    assert_eq!(guarded.handle(right, &Connection::NONE).await.status(), 200);
}

/// The next event of a stream.
async fn event(response: &mut Response) -> Option<String> {
    let bytes = response.body_mut().next().await?.unwrap();
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_page_is_called_out_as_it_ends() {
    let admin = admin(None);
    let mut readers = [get(&admin, "/events").await, get(&admin, "/events").await];
    open_page(&admin.observer, "live").finish(PageEnd::Complete);
    let told = get(&admin, "/pages/live").await;
    for response in &mut readers {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let expected = format!("event: page\nid: live\ndata: {}\n", body(&told));
        assert_eq!(event(response).await.unwrap(), expected);
        let quiet = Instant::now();
        assert_eq!(event(response).await.unwrap(), ": keep-alive\n\n");
        assert_eq!(quiet.elapsed(), Duration::from_secs(15));
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed_and_goes_on() {
    let admin = admin(None);
    let mut reader = get(&admin, "/events").await;
    for _ in 0..KEPT + 3 {
        open_page(&admin.observer, "many").finish(PageEnd::Complete);
    }
    let missed = event(&mut reader).await.unwrap();
    assert_eq!(missed, "event: lagged\ndata: 3\n\n");
    for _ in 0..KEPT {
        let page = event(&mut reader).await.unwrap();
        assert!(page.starts_with("event: page\nid: many\n"), "{page}");
    }
}

#[tokio::test]
async fn readers_are_bounded_and_give_their_places_back() {
    let admin = admin(None);
    let mut readers = Vec::new();
    for _ in 0..LISTENERS {
        readers.push(get(&admin, "/events").await);
    }
    assert_eq!(get(&admin, "/events").await.status(), 503);
    readers.pop();
    // HEAD looks and leaves.
    let head = admin
        .handle(request(Method::HEAD, "/events"), &Connection::NONE)
        .await;
    assert_eq!(head.status(), 200);
    assert_eq!(get(&admin, "/events").await.status(), 200);
}

#[tokio::test]
async fn draining_ends_the_events() {
    let drain = Drain::new();
    let admin = admin(None).with_drain(drain.clone());
    let mut reader = get(&admin, "/events").await;
    drain.start();
    assert_eq!(event(&mut reader).await, None);
    assert_eq!(get(&admin, "/events").await.status(), 503);
}
