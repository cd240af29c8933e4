//! What is stored and past its freshness is asked about, and the client's own copy is told apart here: validators, 304, ranges,
//! HEAD, and what ends a stored answer.

mod support;

use std::sync::Arc;

use marquetry::cache::Cache;
use marquetry::cache::key::CacheKey;
use marquetry::cache::object::Attachment;
use marquetry::config::pattern::ServerAddress;
use marquetry::config::{CacheConfig, ServerEntry, UpstreamConfig};
use marquetry::fetch::{self, Fetcher, Prepare};
use marquetry::message::deadline::Deadline;
use marquetry::observe::Observer;
use marquetry::observe::access_log::AccessLog;
use marquetry::observe::span::Notes;
use marquetry::upstream::Upstream;
use support::{Answer, Gateway, Origin, Recorded, Reply, Setup, ask};

const CHANGED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

async fn passing(origin: &Origin) -> Gateway {
    Setup::new()
        .upstream("app", origin, "")
        .route("/", "app", "compose = \"off\"")
        .start()
        .await
}

/// An answer with a tag that is as old as it may be when it comes, so that each use of it asks.
fn stale(body: &str, tag: &str) -> Reply {
    Reply::text(body)
        .header("ETag", tag)
        .header("Cache-Control", "public, max-age=60")
        .header("Age", "60")
}

fn not_modified() -> Reply {
    Reply::bare("").status(304)
}

/// Answers the tag with 304, and all else with the body.
fn validating(body: &'static str, tag: &'static str) -> impl Fn(&Recorded) -> Reply {
    move |request| {
        if request.head.first("if-none-match") == Some(tag) {
            not_modified()
                .header("ETag", tag)
                .header("Cache-Control", "public, max-age=60")
        } else {
            stale(body, tag)
        }
    }
}

fn status_of(answer: &Answer) -> &str {
    answer.header("cache-status").unwrap_or_default()
}

#[tokio::test]
async fn what_is_past_its_freshness_is_asked_about_and_renewed() {
    let origin = Origin::start().await;
    origin.answer("/a", validating("body", "\"v1\""));
    let gateway = passing(&origin).await;
    gateway.get("/a").await.is(200, "body");
    let renewed = gateway.get("/a").await;
    renewed.is(200, "body");
    assert!(
        status_of(&renewed).contains("fwd=stale; fwd-status=304"),
        "{}",
        status_of(&renewed)
    );
    assert_eq!(
        origin.last("/a").head.first("if-none-match"),
        Some("\"v1\"")
    );
    // Its clock has started again, and its old age has gone.
    let hit = gateway.get("/a").await;
    hit.is(200, "body");
    assert!(status_of(&hit).contains("hit"), "{}", status_of(&hit));
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_304_renews_fields_and_sets_its_cookie_for_its_asker_alone() {
    let origin = Origin::start().await;
    origin.on_each(
        "/a",
        vec![
            stale("body", "\"v1\"")
                .header("X-Both", "1")
                .header("X-Old", "1"),
            not_modified()
                .header("ETag", "\"v1\"")
                .header("X-Both", "2")
                .header("Cache-Control", "public, max-age=60")
                .header("Age", "60"),
            not_modified()
                .header("ETag", "\"v1\"")
                .header("X-Both", "of a=1")
                .header("Set-Cookie", "a=1")
                .header("Cache-Control", "public, max-age=60"),
        ],
    );
    let gateway = passing(&origin).await;
    gateway.get("/a").await.is(200, "body");
    gateway.get("/a").await.is(200, "body");
    let asker = gateway.get("/a").await;
    asker.is(200, "body");
    assert_eq!(asker.header("set-cookie"), Some("a=1"));
    let other = gateway.get("/a").await;
    other.is(200, "body");
    assert_eq!(other.header("set-cookie"), None);
    assert_eq!(
        (other.header("x-both"), other.header("x-old")),
        (Some("2"), Some("1"))
    );
    assert_eq!(origin.count("/a"), 3);
}

#[tokio::test]
async fn a_304_that_speaks_of_something_else_renews_nothing() {
    let origin = Origin::start().await;
    origin.on_each(
        "/a",
        vec![
            stale("old", "\"v1\""),
            not_modified().header("ETag", "\"v2\""),
            stale("new", "\"v2\""),
        ],
    );
    let gateway = passing(&origin).await;
    gateway.get("/a").await.is(200, "old");
    gateway.get("/a").await.is(200, "new");
    assert_eq!(origin.last("/a").head.first("if-none-match"), None);
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_a_fault_of_the_upstream() {
    let origin = Origin::start().await;
    origin.on("/a", not_modified());
    let gateway = passing(&origin).await;
    assert_eq!(gateway.get("/a").await.status, 502);
}

#[tokio::test]
async fn what_has_no_body_is_stored_too() {
    let origin = Origin::start().await;
    let control = "Cache-Control: max-age=60\r\n";
    let empty = Reply::text("").header("Cache-Control", "max-age=60");
    let rows = [
        (
            "/204",
            Reply::raw(format!("HTTP/1.1 204 No Content\r\n{control}\r\n")),
        ),
        ("/200", empty.clone()),
        ("/301", empty.clone().status(301).header("Location", "/b")),
        ("/chunked", empty.chunked()),
    ];
    for (path, reply) in rows {
        origin.on(path, reply);
        let gateway = passing(&origin).await;
        let first = gateway.get(path).await;
        let again = gateway.get(path).await;
        assert_eq!((again.status, again.text()), (first.status, String::new()));
        let told = again.header("cache-status").unwrap_or_default();
        assert!(told.contains("; hit"), "{path}: {told}");
        assert_eq!(origin.count(path), 1, "{path}");
    }
}

#[tokio::test]
async fn no_cache_with_a_validator_is_asked_about_each_time() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        let reply = match request.head.first("if-none-match") {
            Some("\"v1\"") => not_modified(),
            _ => Reply::text("body"),
        };
        reply
            .header("ETag", "\"v1\"")
            .header("Cache-Control", "no-cache")
    });
    let gateway = passing(&origin).await;
    for asked in 1..=3 {
        gateway.get("/a").await.is(200, "body");
        assert_eq!(origin.count("/a"), asked);
    }
    assert_eq!(
        origin.last("/a").head.first("if-none-match"),
        Some("\"v1\"")
    );
    // A user's request is none that takes part.
    gateway.get_as("/a", "session=1").await.is(200, "body");
    assert_eq!(origin.last("/a").head.first("if-none-match"), None);
}

#[tokio::test]
async fn the_clients_own_copy_is_told_here() {
    let origin = Origin::start().await;
    let reply = Reply::text("body")
        .header("ETag", "\"v1\"")
        .header("Last-Modified", CHANGED)
        .header("Cache-Control", "max-age=60");
    origin.on("/a", reply);
    let gateway = passing(&origin).await;
    let has = |tag: &str| ask("GET", "/a").header("If-None-Match", tag);
    // What fills the store is fetched whole, whatever its asker has.
    gateway.fetch(&has("\"v0\"")).await.is(200, "body");
    assert_eq!(origin.last("/a").head.first("if-none-match"), None);
    for tag in ["\"v1\"", "W/\"v1\"", "\"x\", \"v1\"", "*"] {
        let answer = gateway.fetch(&has(tag)).await;
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{tag}");
        assert_eq!(answer.header("etag"), Some("\"v1\""));
        assert!(answer.header("age").is_some() && answer.header("cache-control").is_some());
    }
    gateway.fetch(&has("\"x\"")).await.is(200, "body");
    let since = ask("GET", "/a").header("If-Modified-Since", CHANGED);
    assert_eq!(gateway.fetch(&since).await.status, 304);
    assert_eq!(origin.count("/a"), 1);
    // These are the origin's to decide.
    gateway
        .fetch(&ask("GET", "/a").header("If-Match", "\"v0\""))
        .await;
    assert_eq!(origin.last("/a").head.first("if-match"), Some("\"v0\""));
}

#[tokio::test]
async fn one_range_of_what_is_stored_is_given() {
    let origin = Origin::start().await;
    let reply = Reply::text("0123456789")
        .header("ETag", "\"v1\"")
        .header("Cache-Control", "max-age=60");
    origin.on("/a", reply);
    let gateway = passing(&origin).await;
    gateway.get("/a").await.is(200, "0123456789");
    let range = |range: &str| ask("GET", "/a").header("Range", range);
    for (asked, status, body, content_range) in [
        ("bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("bytes=10-", 416, "", Some("bytes */10")),
        ("bytes=0-1,3-4", 200, "0123456789", None),
    ] {
        let answer = gateway.fetch(&range(asked)).await;
        answer.is(status, body);
        assert_eq!(answer.header("content-range"), content_range, "{asked}");
    }
    let holds = range("bytes=0-0").header("If-Range", "\"v1\"");
    gateway.fetch(&holds).await.is(206, "0");
    let holds_not = range("bytes=0-0").header("If-Range", "\"v0\"");
    gateway.fetch(&holds_not).await.is(200, "0123456789");
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn head_is_answered_from_a_stored_get_and_ends_one_that_has_changed() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::text("body").header("Cache-Control", "max-age=60"),
    );
    origin.on_each(
        "/b",
        vec![
            stale("old", "\"v1\""),
            stale("newer", "\"v2\""),
            stale("newer", "\"v2\""),
        ],
    );
    let gateway = passing(&origin).await;
    gateway.get("/a").await.is(200, "body");
    let head = gateway.fetch(&ask("HEAD", "/a")).await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("4"))
    );
    assert_eq!(origin.count("/a"), 1);

    gateway.get("/b").await.is(200, "old");
    assert_eq!(gateway.fetch(&ask("HEAD", "/b")).await.status, 200);
    gateway.get("/b").await.is(200, "newer");
    assert_eq!(origin.last("/b").head.first("if-none-match"), None);
}

#[tokio::test]
async fn a_request_that_changes_something_ends_what_is_stored_for_its_url_and_those_it_names() {
    let origin = Origin::start().await;
    let public = |body: &str| Reply::text(body).header("Cache-Control", "public, max-age=60");
    let gets = |body: &'static str| {
        move |request: &Recorded| match request.method.as_str() {
            "GET" => public(body),
            "FAIL" => Reply::error(500),
            _ => Reply::text("done")
                .header("Location", "/b")
                .header("Content-Location", "http://www.example.com/c?x=1"),
        }
    };
    for target in ["/a", "/b", "/c?x=1", "/d"] {
        origin.answer(target, gets("body"));
    }
    let gateway = passing(&origin).await;
    for method in ["POST", "DELETE", "M-SEARCH"] {
        for target in ["/a", "/b", "/c?x=1", "/d"] {
            gateway.get(target).await.is(200, "body");
        }
        let before = ["/a", "/b", "/c?x=1", "/d"].map(|target| origin.count(target));
        gateway
            .fetch(&ask(method, "/a").body("x"))
            .await
            .is(200, "done");
        for (target, before) in ["/b", "/c?x=1", "/d"].into_iter().zip(&before[1..]) {
            gateway.get(target).await.is(200, "body");
            let fetched = origin.count(target) - before;
            assert_eq!(fetched, usize::from(target != "/d"), "{method} {target}");
        }
        gateway.get("/a").await.is(200, "body");
        assert_eq!(origin.count("/a"), before[0] + 2, "{method}");
    }
    let before = origin.count("/a");
    assert_eq!(gateway.fetch(&ask("FAIL", "/a")).await.status, 500);
    gateway.get("/a").await.is(200, "body");
    assert_eq!(origin.count("/a"), before + 1);
}

#[tokio::test]
async fn fields_that_are_named_private_are_their_askers_alone() {
    let origin = Origin::start().await;
    let reply = Reply::text("body")
        .header("Cache-Control", "private=\"x-user\", s-maxage=60")
        .header("X-User", "a");
    origin.on("/a", reply);
    let gateway = passing(&origin).await;
    let asker = gateway.get("/a").await;
    assert_eq!(asker.header("x-user"), Some("a"));
    let other = gateway.get("/a").await;
    other.is(200, "body");
    assert_eq!(other.header("x-user"), None);
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn those_who_may_can_ask_past_the_store_and_others_cannot() {
    let origin = Origin::start().await;
    origin.on(
        "/*",
        Reply::text("body").header("Cache-Control", "max-age=60"),
    );
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route("/", "app", "compose = \"off\"")
        .route(
            "/all/",
            "app",
            "compose = \"off\"\nrequest_cache_control = \"everybody\"",
        )
        .start()
        .await;
    let with = |target, control| ask("GET", target).header("Cache-Control", control);
    gateway.get("/a").await.is(200, "body");
    gateway.fetch(&with("/a", "no-cache")).await.is(200, "body");
    assert_eq!(origin.count("/a"), 1);
    gateway.get("/all/a").await.is(200, "body");
    gateway
        .fetch(&with("/all/a", "no-cache"))
        .await
        .is(200, "body");
    gateway
        .fetch(&with("/all/a", "min-fresh=100"))
        .await
        .is(200, "body");
    assert_eq!(origin.count("/all/a"), 3);
    gateway
        .fetch(&with("/all/a", "only-if-cached"))
        .await
        .is(200, "body");
    assert_eq!(
        gateway
            .fetch(&with("/all/b", "only-if-cached"))
            .await
            .status,
        504
    );
    assert_eq!(origin.count("/all/b"), 0);
}

#[tokio::test]
async fn the_key_holds_what_the_route_counts_and_nothing_that_it_ignores() {
    let origin = Origin::start().await;
    origin.answer("/*", |request| {
        let cookie = request.head.first("cookie").unwrap_or("none");
        Reply::text(cookie).header("Cache-Control", "max-age=60")
    });
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route("/", "app", "compose = \"off\"\nignore_query = [\"utm_*\"]")
        .route(
            "/sorted/",
            "app",
            "compose = \"off\"\nignore_query = [\"utm_*\"]\nsort_query = true",
        )
        .route(
            "/group/",
            "app",
            "compose = \"off\"\nforward_cookies = [\"group\"]\nkey_cookies = [\"group\"]",
        )
        .route(
            "/loose/",
            "app",
            "compose = \"off\"\nkey_cookies = [\"group\"]",
        )
        .start()
        .await;
    gateway.get("/a?x=1&utm_source=y").await.is(200, "none");
    gateway.get("/a?utm_medium=z&x=1").await.is(200, "none");
    // What does not count is not sent, so that one asker cannot choose with it what all others get.
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(origin.requests()[0].target, "/a?x=1");
    let post = ask("POST", "/a?x=1&utm_source=y").body("");
    gateway.fetch(&post).await.is(200, "none");
    assert_eq!(origin.requests()[1].target, "/a?x=1&utm_source=y");
    gateway
        .get("/sorted/a?y=2&x=1&utm_source=y&x=0")
        .await
        .is(200, "none");
    gateway.get("/sorted/a?x=1&y=2&x=0").await.is(200, "none");
    assert_eq!(origin.count("/sorted/a?x=1&x=0&y=2"), 1);
    assert_eq!(origin.requests().len(), 3);

    gateway
        .get_as("/group/a", "group=1; session=a")
        .await
        .is(200, "group=1");
    gateway
        .get_as("/group/a", "session=b; group=1")
        .await
        .is(200, "group=1");
    assert_eq!(origin.count("/group/a"), 1);
    gateway
        .get_as("/group/a", "group=2")
        .await
        .is(200, "group=2");
    gateway.get("/group/a").await.is(200, "none");
    assert_eq!(origin.count("/group/a"), 3);

    // A cookie that goes upstream and is not in the key: its answers stay its user's.
    gateway
        .get_as("/loose/a", "group=1; session=a")
        .await
        .is(200, "group=1; session=a");
    gateway
        .get_as("/loose/a", "group=1; session=b")
        .await
        .is(200, "group=1; session=b");
    gateway
        .get_as("/loose/a", "group=1")
        .await
        .is(200, "group=1");
    gateway
        .get_as("/loose/a", "group=1; session=c")
        .await
        .is(200, "group=1; session=c");
}

#[tokio::test]
async fn languages_of_the_site_are_the_variants_that_there_are() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        let language = request.head.first("accept-language").unwrap_or("none");
        Reply::text(language)
            .header("Cache-Control", "max-age=60")
            .header("Vary", "Accept-Language")
    });
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route(
            "/",
            "app",
            "compose = \"off\"\nlanguages = [\"en\", \"de\"]",
        )
        .start()
        .await;
    for (wish, wanted) in [
        ("en, de", "en"),
        ("de, en", "en"),
        ("de-CH,de;q=0.9,fr;q=0.8", "de"),
        ("fr;q=0.5, DE;q=1.0", "de"),
        ("fr", "none"),
    ] {
        let asked = ask("GET", "/a").header("Accept-Language", wish);
        gateway.fetch(&asked).await.is(200, wanted);
    }
    gateway.get("/a").await.is(200, "none");
    assert_eq!(origin.count("/a"), 3);
}

/// The seconds, which a slow machine makes fewer, left out.
fn without_ttl(told: &str) -> String {
    match told.split_once("ttl=") {
        None => told.to_owned(),
        Some((before, rest)) => {
            let rest = rest.trim_start_matches(|byte: char| byte == '-' || byte.is_ascii_digit());
            format!("{before}ttl=N{rest}")
        }
    }
}

#[tokio::test]
async fn every_answer_tells_how_the_cache_came_to_it() {
    let origin = Origin::start().await;
    let kept = |body: &str| Reply::text(body).header("Cache-Control", "max-age=60");
    origin.on("/a", kept("a"));
    origin.on("/b", kept("b").header("Vary", "X-Kind"));
    let spent = kept("c").header("Age", "60").header("ETag", "\"v1\"");
    let gone = "Cache-Control: max-age=60, stale-if-error=600\r\nAge: 60\r\n";
    let gone = format!("HTTP/1.1 200 OK\r\n{gone}Content-Length: 1\r\n\r\nd");
    origin.on_each(
        "/c",
        vec![spent, not_modified().header("Cache-Control", "max-age=60")],
    );
    origin.on_each("/d", vec![Reply::raw(gone), Reply::error(503)]);
    origin.on("/e", Reply::text("e").header("Cache-Control", "private"));
    let setup = || {
        Setup::new().upstream("app", &origin, "").route(
            "/",
            "app",
            "compose = \"off\"\nrequest_cache_control = \"everybody\"",
        )
    };
    let gateway = setup().start().await;
    let get = |target: &str| ask("GET", target);
    let rows = [
        (get("/a"), "fwd=uri-miss; fwd-status=200; stored; ttl=N"),
        (get("/a"), "hit; ttl=N"),
        (
            get("/a").header("Cookie", "u=1"),
            "fwd=miss; fwd-status=200; detail=\"the request had Cookie",
        ),
        (
            get("/a").header("Cache-Control", "no-cache"),
            "fwd=request; fwd-status=200; stored",
        ),
        (get("/b").header("X-Kind", "1"), "fwd=uri-miss"),
        (
            get("/b").header("X-Kind", "2"),
            "fwd=vary-miss; fwd-status=200; stored",
        ),
        (get("/c"), "fwd=uri-miss; fwd-status=200; stored; ttl=N"),
        (get("/c"), "fwd=stale; fwd-status=304; stored; ttl=N"),
        (get("/d"), "fwd=uri-miss"),
        (get("/d"), "fwd=stale; ttl=N; detail=stale-if-error"),
        (
            get("/e"),
            "fwd=uri-miss; fwd-status=200; detail=\"it says private\"",
        ),
        (get("/e"), "fwd=miss; fwd-status=200; detail=hit-for-miss"),
        (
            get("/a").header("If-Match", "\"x\""),
            "fwd=bypass; fwd-status=200",
        ),
        (ask("POST", "/a").body("x"), "fwd=method; fwd-status=200"),
    ];
    for (asked, wanted) in rows {
        let answer = gateway.fetch(&asked).await;
        let told = without_ttl(status_of(&answer));
        let wanted = format!("marquetry; {wanted}");
        assert!(told.starts_with(&wanted), "{asked:?}: {told}, not {wanted}");
        assert!(!told.contains("key="), "{told}");
    }
    // Whoever may see keys sees the URL alone.
    let debugged = setup().server("debug_from = [\"127.0.0.1\"]").start().await;
    let told = debugged.get("/a?x=1").await;
    assert!(
        status_of(&told).ends_with("; key=\"http://www.example.com/a?x=1\""),
        "{}",
        status_of(&told)
    );
}

fn age_of(answer: &Answer) -> Option<u64> {
    answer.header("age").and_then(|age| age.parse().ok())
}

#[tokio::test]
async fn those_behind_us_count_the_age_or_begin_anew_as_the_route_says() {
    let origin = Origin::start().await;
    let plain = Reply::text("b").header("Cache-Control", "max-age=100");
    origin.on("/plain", plain.header("Age", "20"));
    for (lines, age, date_stays) in [
        ("", Some(true), true),
        ("downstream_age = \"reset\"", None, false),
    ] {
        let gateway = Setup::new()
            .upstream("app", &origin, "")
            .route("/", "app", &format!("compose = \"off\"\n{lines}"))
            .start()
            .await;
        gateway.get("/plain").await.is(200, "b");
        let hit = gateway.get("/plain").await;
        assert!(status_of(&hit).contains("; hit"), "{}", status_of(&hit));
        assert!(
            age_of(&hit).is_some_and(|age| age >= 20),
            "no field for surrogates: {lines}"
        );
        let fresh = Reply::text("a")
            .header("Cache-Control", "max-age=10")
            .header("CDN-Cache-Control", "max-age=3600")
            .header("Expires", CHANGED)
            .header("Age", "20");
        origin.on("/targeted", fresh);
        gateway.get("/targeted").await.is(200, "a");
        let hit = gateway.get("/targeted").await;
        assert!(status_of(&hit).contains("; hit"), "{}", status_of(&hit));
        assert_eq!(age_of(&hit).map(|age| age >= 20), age, "{lines}");
        assert_eq!(hit.header("expires").is_some(), date_stays, "{lines}");
        assert!(hit.header("date").is_some());
        assert_eq!(hit.header("cdn-cache-control"), Some("max-age=3600"));
    }
}

/// Counts how often something is made of a body.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicUsize);

impl Prepare for Counting {
    fn prepare(
        &self,
        _: http::StatusCode,
        _: &http::HeaderMap,
        body: &bytes::Bytes,
    ) -> Option<Attachment> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let value: Arc<dyn std::any::Any + Send + Sync> = Arc::new(body.clone());
        Some(Attachment { value, weight: 0 })
    }

    fn wants_whole(&self, _: http::StatusCode, _: &http::HeaderMap) -> bool {
        true
    }
}

#[tokio::test]
async fn a_304_keeps_what_was_made_of_the_body() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        let again = request.head.first("if-none-match") == Some("\"v1\"");
        let reply = if again {
            not_modified()
        } else {
            stale("body", "\"v1\"")
        };
        reply
            .header("ETag", "\"v1\"")
            .header("Cache-Control", "public, max-age=60")
            .header("Age", "60")
    });
    let server = ServerEntry {
        address: ServerAddress::Socket(origin.address),
        weight: 1,
    };
    let upstream = Upstream::new("app", &UpstreamConfig::new(vec![server]));
    let upstream = Arc::new(upstream);
    let cache = Arc::new(Cache::new(&CacheConfig::default()));
    let fetcher = Fetcher::new(cache, Observer::new(AccessLog::Off));
    let counting = Arc::new(Counting::default());
    let mut made = Vec::new();
    for _ in 0..3 {
        let mut request = marquetry::message::Request::new(marquetry::message::Body::empty());
        *request.uri_mut() = "/a".parse().expect("a target");
        let host = http::HeaderValue::from_static("a.example");
        request.headers_mut().insert("host", host);
        let asked = fetch::Ask {
            key: CacheKey::new("http", "a.example", "/a"),
            request: request.into(),
            upstream: Arc::clone(&upstream),
            policy: fetch::Policy {
                cacheable: true,
                ..fetch::Policy::default()
            },
            ttl: None,
            deadline: Deadline::after(support::PATIENCE),
            prepare: Arc::clone(&counting) as Arc<_>,
            notes: Notes::unobserved(),
        };
        let fetched = fetcher.fetch(asked).await.expect("the origin answers");
        let fetch::Fetched::Stored(object, _) = fetched else {
            panic!("it is stored");
        };
        made.push(
            object
                .attachment
                .clone()
                .expect("something was made of it")
                .value,
        );
    }
    assert_eq!(origin.count("/a"), 3);
    assert_eq!(counting.0.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(made.iter().all(|value| Arc::ptr_eq(value, &made[0])));
}
