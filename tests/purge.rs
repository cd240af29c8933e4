//! Purges: by URL, key, prefix and all; hard and soft; from those who may; against fetches under way. And an application that
//! purges by its own answers, so that a user reads what that user has just written.

mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Answer, Ask, Client, Gate, Gateway, Origin, Recorded, Reply, Setup, ask};

fn shared(body: &str) -> Reply {
    Reply::text(body).header("Cache-Control", "public, max-age=60")
}

async fn site(origin: &Origin) -> Gateway {
    Setup::new()
        .upstream("app", origin, "")
        .route("/", "app", "compose = \"off\"\nignore_query = [\"utm_*\"]")
        .more("[cache]\npurge_from = [\"127.0.0.1\"]")
        .start()
        .await
}

async fn purge(gateway: &Gateway, order: &str) -> Answer {
    let host = gateway.admin.to_string();
    let mut client = Client::connect(gateway.admin).await;
    let ask = ask("POST", "/purge")
        .host(&host)
        .header("Content-Type", "application/json");
    client.fetch(&ask.body(order)).await
}

/// Asks for each target, and holds how many of them went to the origin.
async fn fetched(gateway: &Gateway, origin: &Origin, targets: &[&str]) -> usize {
    let before = origin.requests().len();
    for target in targets {
        assert_eq!(gateway.get(target).await.status, 200, "{target}");
    }
    origin.requests().len() - before
}

const PAGES: [&str; 4] = ["/a/1", "/a/2", "/b/1", "/b/2?utm_x=1"];

fn answer_pages(origin: &Origin) {
    origin.on("/a/1", shared("1").header("Surrogate-Key", "one all-a"));
    origin.on("/a/2", shared("2").header("xkey", "two, all-a"));
    origin.on("/b/1", shared("3").header("Cache-Tag", "three,all b"));
    let tagged = shared("4")
        .header("X-Magento-Tags", "cat_p_4")
        .header("Vary", "X-Kind");
    origin.on("/b/2", tagged);
}

#[tokio::test]
async fn each_way_to_purge_hits_what_it_names() {
    let origin = Origin::start().await;
    answer_pages(&origin);
    let gateway = site(&origin).await;
    let by_field = |name: &str, value: &str| ask("PURGE", "/nowhere").header(name, value);
    let rows: Vec<(Ask, &str, &[&str])> = vec![
        (ask("PURGE", "/a/1"), "1", &["/a/1"]),
        (ask("PURGE", "/b/2?utm_y=2"), "1", &["/b/2"]),
        (ask("PURGE", "/nowhere"), "0", &[]),
        (by_field("Surrogate-Key", "one"), "1", &["/a/1"]),
        (by_field("xkey-purge", "all-a"), "2", &["/a/1", "/a/2"]),
        (by_field("xkey", "two three"), "2", &["/a/2", "/b/1"]),
        (
            by_field("X-Cache-Tags", "(three|none)(,.+)?$"),
            "1",
            &["/b/1"],
        ),
        (
            by_field("X-Magento-Tags-Pattern", "((^|,)cat_p_4(,|$))"),
            "1",
            &["/b/2"],
        ),
        (by_field("X-Magento-Tags-Pattern", ".*"), "4", &PAGES),
    ];
    for (asked, count, hit) in rows {
        fetched(&gateway, &origin, &PAGES).await;
        assert_eq!(fetched(&gateway, &origin, &PAGES).await, 0);
        let answer = gateway.fetch(&asked).await;
        answer.is(200, &format!("{{\"purged\":{count}}}\n"));
        assert_eq!(
            fetched(&gateway, &origin, hit).await,
            hit.len(),
            "{asked:?}"
        );
        assert_eq!(fetched(&gateway, &origin, &PAGES).await, 0, "{asked:?}");
    }
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| request.method == "GET")
    );
}

#[tokio::test]
async fn orders_of_the_admin_listener_are_carried_out() {
    let origin = Origin::start().await;
    answer_pages(&origin);
    let gateway = site(&origin).await;
    let rows: &[(&str, &[&str])] = &[
        (r#"{"urls": ["http://www.example.com/a/1"]}"#, &["/a/1"]),
        (
            r#"{"urls": ["https://WWW.example.com:443/a/1?utm_x=1"]}"#,
            &["/a/1"],
        ),
        (r#"{"keys": ["all-a", "three"]}"#, &["/a/1", "/a/2", "/b/1"]),
        (r#"{"prefix": "/b/"}"#, &["/b/1", "/b/2"]),
        (r#"{"prefix": "www.example.com/a"}"#, &["/a/1", "/a/2"]),
        (r#"{"all": true}"#, &PAGES),
    ];
    for (order, hit) in rows {
        fetched(&gateway, &origin, &PAGES).await;
        let answer = purge(&gateway, order).await;
        let wanted = format!("{{\"purged\":{}}}", hit.len());
        assert_eq!(
            (answer.status, answer.text().trim()),
            (200, wanted.as_str()),
            "{order}"
        );
        assert_eq!(
            fetched(&gateway, &origin, &PAGES).await,
            hit.len(),
            "{order}"
        );
    }
    for order in [
        "",
        "{}",
        "[]",
        r#"{"url": "x"}"#,
        r#"{"urls": ["/a"]}"#,
        r#"{"keys": [""]}"#,
    ] {
        assert_eq!(purge(&gateway, order).await.status, 400, "{order}");
    }
    assert_eq!(fetched(&gateway, &origin, &PAGES).await, 0);
}

#[tokio::test]
async fn a_soft_purge_makes_stale_and_a_hard_one_takes_away() {
    let origin = Origin::start().await;
    let graced = |body: &str| {
        Reply::text(body)
            .header("Cache-Control", "public, max-age=60, stale-if-error=600")
            .header("Surrogate-Key", "k")
    };
    for target in ["/a", "/b", "/c", "/d"] {
        origin.on_each(target, vec![graced("old"), Reply::error(503)]);
    }
    let gateway = site(&origin).await;
    for target in ["/a", "/b", "/c", "/d"] {
        gateway.get(target).await.is(200, "old");
    }
    let soft = ask("PURGE", "/a").header("Soft-Purge", "1");
    gateway.fetch(&soft).await.is(200, "{\"purged\":1}\n");
    // It is asked for, and covers the failure.
    gateway.get("/a").await.is(200, "old");
    assert_eq!(origin.count("/a"), 2);
    let soft = ask("PURGE", "/")
        .header("Surrogate-Key", "k")
        .header("Fastly-Soft-Purge", "1");
    gateway.fetch(&soft).await.is(200, "{\"purged\":4}\n");
    gateway.get("/b").await.is(200, "old");
    assert_eq!(origin.count("/b"), 2);
    purge(&gateway, r#"{"prefix": "/c", "soft": true}"#).await;
    gateway.get("/c").await.is(200, "old");
    assert_eq!(origin.count("/c"), 2);
    gateway.fetch(&ask("PURGE", "/d")).await;
    assert_eq!(gateway.get("/d").await.status, 503);
}

#[tokio::test]
async fn a_purge_holds_against_a_fetch_under_way() {
    let origin = Origin::start().await;
    let orders = [
        ("/url", r#"{"urls": ["http://www.example.com/url"]}"#),
        ("/key", r#"{"keys": ["k"]}"#),
        ("/prefix", r#"{"prefix": "/pre"}"#),
        ("/all", r#"{"all": true}"#),
    ];
    for (target, _) in orders {
        let gate = Gate::new();
        let tagged = |body: &str| shared(body).header("Surrogate-Key", "k");
        origin.on_each(target, vec![tagged("old").behind(&gate), tagged("new")]);
        let held = (target, gate);
        let gateway = site(&origin).await;
        let order = orders
            .iter()
            .find(|(name, _)| *name == target)
            .expect("a row")
            .1;
        let mut first = gateway.client().await;
        first.send(ask("GET", target).bytes()).await;
        origin.arrived(target, 1).await;
        assert_eq!(purge(&gateway, order).await.status, 200);
        held.1.open();
        first.answer().await.is(200, "old");
        gateway.get(target).await.is(200, "new");
        gateway.get(target).await.is(200, "new");
        assert_eq!(origin.count(target), 2, "{target}");
    }
}

#[tokio::test]
async fn purge_from_others_is_a_method_like_any_unknown_one() {
    let origin = Origin::start().await;
    origin.answer("/a", |request: &Recorded| match request.method.as_str() {
        "GET" => shared("body"),
        _ => Reply::error(405),
    });
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route("/", "app", "compose = \"off\"")
        .start()
        .await;
    gateway.get("/a").await.is(200, "body");
    assert_eq!(gateway.fetch(&ask("PURGE", "/a")).await.status, 405);
    gateway.get("/a").await.is(200, "body");
    let methods: Vec<_> = origin.requests().into_iter().map(|it| it.method).collect();
    assert_eq!(methods, ["GET", "PURGE"]);
}

#[tokio::test]
async fn no_other_site_can_purge_through_an_operators_browser() {
    let origin = Origin::start().await;
    origin.on("/a", shared("body"));
    let gateway = site(&origin).await;
    gateway.get("/a").await.is(200, "body");
    let host = gateway.admin.to_string();
    let json = |ask: Ask| ask.header("Content-Type", "application/json");
    let post = || ask("POST", "/purge").host(&host);
    for (asked, status) in [
        (post(), 403),
        (post().header("Content-Type", "text/plain"), 403),
        (json(post()).header("Origin", "http://evil.example"), 403),
        (json(post()).header("Sec-Fetch-Site", "cross-site"), 403),
        (json(ask("POST", "/purge").host("evil.example")), 421),
        (json(ask("GET", "/purge").host(&host)), 405),
    ] {
        let mut client = Client::connect(gateway.admin).await;
        let answer = client.fetch(&asked.body(r#"{"all": true}"#)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    gateway.get("/a").await.is(200, "body");
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn the_command_purges_a_running_gateway() {
    let origin = Origin::start().await;
    answer_pages(&origin);
    let gateway = site(&origin).await;
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_marquetry"))
            .arg("purge")
            .args(["--admin", &gateway.admin.to_string()])
            .args(arguments)
            .output()
            .expect("the binary runs")
    };
    fetched(&gateway, &origin, &PAGES).await;
    let done = run(&["--key", "all-a", "http://www.example.com/b/1"]);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "purged 3\n");
    let done = run(&["--all", "--json"]);
    assert!(String::from_utf8_lossy(&done.stdout).starts_with("{\"purged\":"));
    assert_eq!(fetched(&gateway, &origin, &PAGES).await, 4);
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["/no/host"]).status.code(), Some(2));
}

/// An application that counts, and whose answer to a POST names the group that it has changed.
fn counting(origin: &Origin, group_of_answer: &'static str) {
    let count = Arc::new(AtomicUsize::new(0));
    let read = Arc::clone(&count);
    origin.on("/page", Reply::html("<esi:include src=\"/f/basket\"/>"));
    origin.answer("/f/basket", move |_| {
        let now = read.load(Ordering::SeqCst);
        Reply::html(format!("basket {now}"))
            .header("Cache-Control", "public, s-maxage=600")
            .header("Cache-Groups", "\"basket\"")
    });
    origin.answer("/add", move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Reply::text("added").header("Cache-Group-Invalidation", group_of_answer)
    });
}

#[tokio::test]
async fn a_user_reads_what_that_user_has_just_written() {
    let origin = Origin::start().await;
    counting(&origin, "\"other\", \"basket\"");
    let gateway = Setup::composing(&origin).start().await;
    let mut user = gateway.client().await;
    user.fetch(&ask("GET", "/page")).await.is(200, "basket 0");
    for added in 1..=3 {
        user.fetch(&ask("POST", "/add").body("x"))
            .await
            .is(200, "added");
        user.fetch(&ask("GET", "/page"))
            .await
            .is(200, &format!("basket {added}"));
        user.fetch(&ask("GET", "/page"))
            .await
            .is(200, &format!("basket {added}"));
        assert_eq!(origin.count("/f/basket"), added + 1);
    }
    // Groups are those of their origin, and a safe request purges none.
    let elsewhere = ask("POST", "/add").host("shop.example.com").body("x");
    user.fetch(&elsewhere).await.is(200, "added");
    user.fetch(&ask("GET", "/add")).await.is(200, "added");
    user.fetch(&ask("GET", "/page")).await.is(200, "basket 3");
}

#[tokio::test]
async fn a_group_that_is_no_list_of_strings_purges_nothing() {
    let origin = Origin::start().await;
    counting(&origin, "basket");
    let gateway = Setup::composing(&origin).start().await;
    gateway.get("/page").await.is(200, "basket 0");
    gateway
        .fetch(&ask("POST", "/add").body("x"))
        .await
        .is(200, "added");
    gateway.get("/page").await.is(200, "basket 0");
}

#[tokio::test]
async fn what_was_read_before_a_write_is_not_kept_after_it() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let behind = gate.clone();
    let written = Arc::new(AtomicUsize::new(0));
    let (read, write) = (Arc::clone(&written), written);
    origin.answer("/basket", move |_| {
        let now = read.load(Ordering::SeqCst);
        let reply = shared(&format!("basket {now}")).header("Cache-Groups", "\"basket\"");
        // What is read before the write arrives after it.
        if now == 0 {
            reply.behind(&behind)
        } else {
            reply
        }
    });
    origin.answer("/add", move |_| {
        write.fetch_add(1, Ordering::SeqCst);
        Reply::text("added").header("Cache-Group-Invalidation", "\"basket\"")
    });
    let gateway = site(&origin).await;
    let mut early = gateway.client().await;
    early.send(ask("GET", "/basket").bytes()).await;
    origin.arrived("/basket", 1).await;
    gateway
        .fetch(&ask("POST", "/add").body("x"))
        .await
        .is(200, "added");
    // Whoever comes now waits for nobody who asked before the write.
    let mut late = gateway.client().await;
    late.send(ask("GET", "/basket").bytes()).await;
    gate.open();
    early.answer().await.is(200, "basket 0");
    late.answer().await.is(200, "basket 1");
    gateway.get("/basket").await.is(200, "basket 1");
}

#[tokio::test]
async fn an_application_names_what_has_changed_by_the_host_that_the_client_named() {
    let origin = Origin::start().await;
    origin.on("/list", shared("list"));
    let named = "http://shop.example.com/list";
    origin.on(
        "/buy",
        Reply::text("").status(303).header("Location", named),
    );
    let gateway = Setup::new()
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .upstream("app", &origin, "")
        .route("/", "app", "compose = \"off\"")
        .start()
        .await;
    let by_proxy = |method: &str, target: &str| {
        let asked = ask(method, target).header("X-Forwarded-Host", "shop.example.com");
        asked.host("inside.example.com:8080")
    };
    for count in [1, 2] {
        for _ in 0..2 {
            gateway
                .fetch(&by_proxy("GET", "/list"))
                .await
                .is(200, "list");
        }
        assert_eq!(origin.count("/list"), count);
        assert_eq!(gateway.fetch(&by_proxy("POST", "/buy")).await.status, 303);
    }
}
