//! What is past its freshness is served where its terms and its user allow: while the upstream is asked behind it, and where
//! the upstream fails. Never to a logged-in user.

mod support;

use support::{Gate, Gateway, Origin, Reply, Setup, ask, within};

async fn with(origin: &Origin, lines: &str) -> Gateway {
    Setup::new()
        .upstream("app", origin, "retries = 0")
        .route("/", "app", &format!("compose = \"off\"\n{lines}"))
        .start()
        .await
}

/// An answer that has been on its way for as long as it was fresh.
fn spent(body: &str, control: &str) -> Reply {
    Reply::text(body)
        .header("Cache-Control", control)
        .header("Age", "60")
}

fn fresh(body: &str) -> Reply {
    Reply::text(body).header("Cache-Control", "public, max-age=60")
}

#[tokio::test]
async fn what_is_stale_answers_at_once_and_is_asked_for_once_behind() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on_each(
        "/a",
        vec![
            spent("old", "public, max-age=60, stale-while-revalidate=600"),
            fresh("new").behind(&gate),
        ],
    );
    let gateway = with(&origin, "").await;
    gateway.get("/a").await.is(200, "old");
    for _ in 0..5 {
        let stale = gateway.get("/a").await;
        stale.is(200, "old");
        let status = stale.header("cache-status").unwrap_or_default();
        assert!(
            status.contains("hit; ttl=0") || status.contains("hit; ttl=-"),
            "{status}"
        );
        assert!(stale.header("age").is_some_and(|age| age >= "60"));
    }
    origin.arrived("/a", 2).await;
    gate.open();
    origin.has_answered(2).await;
    gateway
        .metric_reaches("marquetry_cache_stores_total", "", 2.0)
        .await;
    gateway.get("/a").await.is(200, "new");
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_logged_in_user_never_gets_what_is_stale() {
    let origin = Origin::start().await;
    let control = "public, max-age=60, stale-while-revalidate=600, stale-if-error=600";
    for target in ["/a", "/b"] {
        origin.on_each(target, vec![spent("old", control), Reply::error(503)]);
    }
    let gateway = with(&origin, "").await;
    gateway.get("/a").await.is(200, "old");
    let user = gateway.get_as("/a", "session=1").await;
    assert_eq!(user.status, 503);
    gateway.get("/a").await.is(200, "old");

    // Unless the route says so.
    let gateway = with(&origin, "stale_for_sessions = true").await;
    gateway.get("/b").await.is(200, "old");
    gateway.get_as("/b", "session=1").await.is(200, "old");
}

#[tokio::test]
async fn who_is_logged_in_is_told_by_the_cookies_that_the_file_names() {
    let origin = Origin::start().await;
    let control = "public, max-age=60, stale-if-error=600";
    origin.on_each("/a", vec![spent("old", control), Reply::error(500)]);
    let gateway = Setup::new()
        .upstream("app", &origin, "retries = 0")
        .route("/", "app", "compose = \"off\"\nforward_cookies = false")
        .more("[identity]\nsession_cookies = [\"sid\"]")
        .start()
        .await;
    gateway.get("/a").await.is(200, "old");
    gateway.get_as("/a", "lang=de").await.is(200, "old");
    // The cookie does not go upstream, and it is a user's request all the same.
    assert_eq!(gateway.get_as("/a", "sid=1").await.status, 500);
}

#[tokio::test]
async fn a_failing_upstream_is_covered_as_long_as_the_terms_say() {
    let origin = Origin::start().await;
    let rows = [
        ("/sie", "public, max-age=60, stale-if-error=600", 200),
        ("/none", "public, max-age=60", 503),
        ("/over", "public, max-age=30, stale-if-error=20", 503),
        (
            "/must",
            "public, max-age=60, must-revalidate, stale-if-error=600",
            503,
        ),
        (
            "/proxy",
            "public, max-age=60, proxy-revalidate, stale-if-error=600",
            503,
        ),
        ("/shared", "s-maxage=60, stale-if-error=600", 503),
    ];
    for (target, control, _) in rows {
        let first = spent("old", control).header("ETag", "\"v1\"");
        origin.on_each(target, vec![first, Reply::error(503)]);
    }
    let gateway = with(&origin, "").await;
    for (target, control, status) in rows {
        gateway.get(target).await.is(200, "old");
        assert_eq!(gateway.get(target).await.status, status, "{control}");
    }
}

#[tokio::test]
async fn a_dead_upstream_is_covered_or_told_as_its_terms_say() {
    let mut origin = Origin::start().await;
    let rows = [
        ("/sie", "public, max-age=60, stale-if-error=600", 200),
        ("/none", "public, max-age=60", 502),
        (
            "/must",
            "public, max-age=60, must-revalidate, stale-if-error=600",
            504,
        ),
        ("/shared", "s-maxage=60, stale-if-error=600", 504),
        ("/ask", "no-cache, stale-if-error=600", 504),
    ];
    for (target, control, _) in rows {
        origin.on(target, spent("old", control).header("ETag", "\"v1\""));
    }
    // What cannot be asked about is told by its terms all the same. It is stored only while it is fresh: for a second.
    let bare = [
        ("/must/bare", "public, max-age=61, must-revalidate", 504),
        ("/shared/bare", "s-maxage=61", 504),
        ("/none/bare", "public, max-age=61", 502),
    ];
    for (target, control, _) in bare {
        origin.on(target, spent("old", control));
    }
    let rows = rows.into_iter().chain(bare).collect::<Vec<_>>();
    let gateway = with(&origin, "").await;
    for (target, ..) in &rows {
        gateway.get(target).await.is(200, "old");
    }
    origin.stop().await;
    for (target, control, status) in rows {
        let answer = within("what is stored to run out", async {
            loop {
                let answer = gateway.get(target).await;
                if status == 200 || answer.status != 200 {
                    break answer;
                }
            }
        })
        .await;
        // No server may be told in either way: gone, or none left to ask.
        let told = answer.status == status || (status == 502 && answer.status == 503);
        assert!(told, "{control}: {}", answer.status);
    }
}

#[tokio::test]
async fn the_routes_own_grace_is_for_answers_that_do_not_say() {
    let origin = Origin::start().await;
    origin.on_each(
        "/a",
        vec![spent("old", "public, max-age=60"), Reply::error(500)],
    );
    origin.on_each(
        "/b",
        vec![
            spent("old", "s-maxage=60").header("ETag", "\"a\""),
            Reply::error(500),
        ],
    );
    let gateway = with(&origin, "stale_if_error = \"1h\"").await;
    gateway.get("/a").await.is(200, "old");
    gateway.get("/a").await.is(200, "old");
    gateway.get("/b").await.is(200, "old");
    assert_eq!(gateway.get("/b").await.status, 500);
}

#[tokio::test]
async fn what_is_gone_is_not_brought_back() {
    let origin = Origin::start().await;
    let control = "public, max-age=60, stale-while-revalidate=600, stale-if-error=600";
    origin.on_each("/a", vec![spent("old", control), Reply::error(404)]);
    let gateway = with(&origin, "").await;
    gateway.get("/a").await.is(200, "old");
    gateway.get("/a").await.is(200, "old");
    origin.has_answered(2).await;
    support::within("the stale copy to go", async {
        while gateway.get("/a").await.status != 404 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_fragment_that_fails_is_covered_for_guests() {
    let origin = Origin::start().await;
    origin.on(
        "/page",
        Reply::html("[<esi:include src=\"/f\" onerror=\"continue\"/>]"),
    );
    let control = "public, max-age=60, stale-if-error=600";
    origin.on_each("/f", vec![spent("old", control), Reply::error(500)]);
    let gateway = Setup::composing(&origin).start().await;
    gateway.get("/page").await.is(200, "[old]");
    gateway.get("/page").await.is(200, "[old]");
    let user = ask("GET", "/page").header("Cookie", "session=1");
    gateway.fetch(&user).await.is(200, "[]");
}

#[tokio::test]
async fn the_end_of_freshness_costs_one_request() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on_each(
        "/a",
        vec![
            spent("old", "public, max-age=60").header("ETag", "\"v1\""),
            fresh("new").behind(&gate),
        ],
    );
    let gateway = with(&origin, "").await;
    gateway.get("/a").await.is(200, "old");
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = gateway.client().await;
        client.send(ask("GET", "/a").bytes()).await;
        clients.push(client);
    }
    origin.arrived("/a", 2).await;
    gate.open();
    for mut client in clients {
        client.answer().await.is(200, "new");
    }
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_full_queue_is_a_failure_that_is_covered_too() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/a", spent("old", "public, max-age=60, stale-if-error=600"));
    origin.on("/hangs", Reply::text("x").behind(&gate));
    let gateway = Setup::new()
        .upstream("app", &origin, "retries = 0\nmax_in_flight = 1\nqueue = 0")
        .route("/", "app", "compose = \"off\"")
        .start()
        .await;
    gateway.get("/a").await.is(200, "old");
    let mut busy = gateway.client().await;
    busy.send(ask("GET", "/hangs").bytes()).await;
    origin.arrived("/hangs", 1).await;
    gateway.get("/a").await.is(200, "old");
    assert_eq!(gateway.get_as("/a", "session=1").await.status, 503);
    gate.open();
    busy.answer().await.is(200, "x");
}
