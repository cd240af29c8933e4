//! What one visitor's request says, and what an origin says to it, is nothing to the next one: not by a confirmation (304), not by
//! fields that are taken for one another, not while a purge passes, not behind another cache.

mod support;

use support::{Gate, Gateway, Origin, Recorded, Reply, Setup, ask};

async fn passing(origin: &Origin, route: &str) -> Gateway {
    Setup::new()
        .upstream("app", origin, "")
        .route("/", "app", &format!("compose = \"off\"\n{route}"))
        .more("[cache]\npurge_from = [\"127.0.0.1\"]")
        .start()
        .await
}

fn field<'r>(request: &'r Recorded, name: &str) -> &'r str {
    request.head.first(name).unwrap_or("-")
}

/// Public, with a tag, and past its freshness when it comes.
fn expired(body: &str) -> Reply {
    Reply::text(body)
        .header("ETag", "\"1\"")
        .header("Cache-Control", "public, max-age=60")
        .header("Age", "60")
}

fn unchanged() -> Reply {
    Reply::bare("")
        .status(304)
        .header("ETag", "\"1\"")
        .header("Cache-Control", "public, max-age=60")
}

#[tokio::test]
async fn a_confirmation_that_begins_a_session_tells_the_next_visitor_nothing_of_it() {
    for method in ["GET", "HEAD"] {
        let origin = Origin::start().await;
        origin.answer("/a", move |request| {
            let own = |reply: Reply| {
                reply
                    .header("Set-Cookie", "session=new")
                    .header("X-Csrf-Token", "of session=new")
            };
            match &*request.method {
                "HEAD" => own(Reply::text("body")
                    .header("ETag", "\"1\"")
                    .header("Cache-Control", "public, max-age=60")),
                _ if request.head.has("if-none-match") => own(unchanged()),
                _ => expired("body"),
            }
        });
        let gateway = passing(&origin, "").await;
        gateway.get("/a").await.is(200, "body");
        let first = gateway.fetch(&ask(method, "/a")).await;
        assert_eq!(first.header("set-cookie"), Some("session=new"), "{method}");
        let next = gateway.get("/a").await;
        next.is(200, "body");
        assert_eq!(next.header("set-cookie"), None, "{method}");
        assert_eq!(next.header("x-csrf-token"), None, "{method}");
        assert_eq!(origin.requests().len(), 2, "{method}");
    }
}

#[tokio::test]
async fn what_was_purged_while_others_asked_about_it_is_not_confirmed_into_the_store() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let behind = gate.clone();
    let before = std::sync::atomic::AtomicBool::new(true);
    origin.answer("/a", move |request| {
        if request.head.has("if-none-match") {
            unchanged().behind(&behind)
        } else if before.swap(false, std::sync::atomic::Ordering::SeqCst) {
            expired("before")
        } else {
            Reply::text("after").header("Cache-Control", "public, max-age=60")
        }
    });
    origin.on("/settle", Reply::text(""));
    let gateway = passing(&origin, "").await;
    gateway.get("/a").await.is(200, "before");
    let mut first = gateway.client().await;
    first.send(ask("GET", "/a").bytes()).await;
    origin.arrived("/a", 2).await;
    let mut waits = gateway.client().await;
    waits.send(ask("GET", "/a").bytes()).await;
    for _ in 0..10 {
        gateway.get("/settle").await;
    }
    assert_eq!(gateway.fetch(&ask("PURGE", "/a")).await.status, 200);
    gate.open();
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(waits.answer().await.status, 200);
    gateway.get("/a").await.is(200, "after");
}

#[tokio::test]
async fn languages_are_taken_for_each_other_only_where_they_say_the_same() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        let wish = field(request, "accept-language");
        let body = if wish.split([',', ';', ' ', '\t']).next() == Some("de") && !wish.contains("d ")
        {
            "deutsch"
        } else {
            "english"
        };
        Reply::text(body)
            .header("Vary", "Accept-Language")
            .header("Cache-Control", "public, max-age=60")
    });
    let gateway = passing(&origin, "").await;
    let asked = |wish: &str| ask("GET", "/a").header("Accept-Language", wish);
    gateway
        .fetch(&asked("d e,en;q=0.5"))
        .await
        .is(200, "english");
    gateway
        .fetch(&asked("de,en;q=0.5"))
        .await
        .is(200, "deutsch");
    gateway
        .fetch(&asked("de , en; q=0.5"))
        .await
        .is(200, "deutsch");
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn an_answer_that_a_cookie_of_the_key_tells_says_so_to_those_behind_us() {
    let origin = Origin::start().await;
    for (target, vary) in [
        ("/a", None),
        ("/b", Some("Accept")),
        ("/c", Some("accept, cookie")),
    ] {
        origin.answer(target, move |request| {
            let reply = Reply::html(field(request, "cookie"))
                .header("ETag", "\"1\"")
                .header("Cache-Control", "public, max-age=60");
            match vary {
                Some(vary) => reply.header("Vary", vary),
                None => reply,
            }
        });
    }
    let keyed = "forward_cookies = [\"group\"]\nkey_cookies = [\"group\"]";
    for compose in ["off", "always"] {
        let gateway = Setup::new()
            .upstream("app", &origin, "")
            .route("/", "app", &format!("compose = \"{compose}\"\n{keyed}"))
            .start()
            .await;
        for target in ["/a", "/b", "/c"] {
            for group in ["group=1", "group=2", "group=1"] {
                let plain = ask("GET", target).header("Cookie", group);
                let condition = plain.clone().header("If-None-Match", "\"1\"");
                for (asked, status) in [(plain, 200), (condition, 304)] {
                    let answer = gateway.fetch(&asked).await;
                    assert_eq!(answer.status, status, "{target} {group}");
                    assert!(
                        answer.lists("vary", "cookie"),
                        "{compose} {target} {answer:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn cookies_that_others_may_read_otherwise_fill_no_group() {
    // Each of these reads as `group=1` to some, and as no group, or another one, to others.
    let odd = [
        "group =1",
        "group= 1",
        "group=1;",
        ";group=1",
        "a=1;group=1",
        "a=\"; group=1; b=\"",
        "odd; group=1",
    ];
    for compose in ["off", "always"] {
        for cookie in odd {
            let origin = Origin::start().await;
            origin.answer("/a", |request| {
                Reply::html(field(request, "cookie"))
                    .header("Vary", "Cookie")
                    .header("Cache-Control", "public, max-age=60")
            });
            let keyed = format!("compose = \"{compose}\"\nkey_cookies = [\"group\"]");
            let gateway = Setup::new()
                .upstream("app", &origin, "")
                .route("/", "app", &keyed)
                .start()
                .await;
            let asked = |cookie| ask("GET", "/a").header("Cookie", cookie);
            for cookie in [cookie, "group=1", cookie, "group=1"] {
                let answer = gateway.fetch(&asked(cookie)).await;
                assert_eq!(answer.text(), cookie, "{compose}");
            }
            // The odd one twice, the plain one once.
            assert_eq!(origin.count("/a"), 3, "{compose} {cookie}");
        }
    }
}

#[tokio::test]
async fn what_a_guest_must_ask_for_each_time_is_no_answer_to_one_with_credentials() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        if request.head.has("if-none-match") {
            return Reply::bare("").status(304).header("ETag", "\"1\"");
        }
        Reply::text(field(request, "authorization"))
            .header("ETag", "\"1\"")
            .header("Cache-Control", "no-cache")
    });
    let gateway = passing(&origin, "").await;
    let user = ask("GET", "/a").header("Authorization", "Basic YTpi");
    for _ in 0..2 {
        gateway.get("/a").await.is(200, "-");
        gateway.fetch(&user).await.is(200, "Basic YTpi");
    }
    assert_eq!(
        origin
            .requests_to("/a")
            .iter()
            .filter(|request| request.head.has("if-none-match"))
            .count(),
        1
    );
}

#[tokio::test]
async fn who_wants_a_part_takes_nothing_out_of_the_store() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        if request.head.has("if-none-match") {
            return unchanged();
        }
        if request.head.has("range") {
            return Reply::text("b")
                .status(206)
                .header("Content-Range", "bytes 0-0/4");
        }
        expired("body")
    });
    let gateway = passing(&origin, "").await;
    gateway.get("/a").await.is(200, "body");
    let part = ask("GET", "/a").header("Range", "bytes=0-0");
    assert_eq!(gateway.fetch(&part).await.status, 206);
    gateway.get("/a").await.is(200, "body");
    assert!(origin.last("/a").head.has("if-none-match"));
}

#[tokio::test]
async fn what_stands_in_the_place_of_a_refusal_is_its_visitors_alone() {
    let origin = Origin::start().await;
    let public = |body: &str| Reply::html(body).header("Cache-Control", "public, max-age=600");
    for name in ["refused", "missing", "failing"] {
        let include = format!("<esi:include src='/{name}' alt='/instead'/>");
        origin.on(&format!("/page/{name}"), public(&include));
    }
    origin.on("/instead", public("instead"));
    origin.answer("/refused", |request| match field(request, "cookie") {
        "user=bob" => Reply::html("for bob").header("Cache-Control", "private"),
        _ => Reply::error(403),
    });
    origin.on("/missing", Reply::error(404));
    origin.on("/failing", Reply::error(503));
    let gateway = Setup::composing(&origin)
        .compose("failed_max_age = \"5s\"\nhead_wait = \"5s\"")
        .start()
        .await;
    let rows = [
        ("refused", None, "private, no-cache"),
        ("refused", Some("user=ann"), "private, no-cache"),
        ("missing", Some("user=ann"), "private, no-cache"),
        ("missing", None, "public, max-age=5"),
        ("failing", Some("user=ann"), "public, max-age=5"),
        ("failing", None, "public, max-age=5"),
    ];
    for (name, visitor, wanted) in rows {
        let asked = ask("GET", &format!("/page/{name}"));
        let asked = match visitor {
            Some(cookie) => asked.header("Cookie", cookie),
            None => asked,
        };
        let answer = gateway.fetch(&asked).await;
        answer.is(200, "instead");
        assert_eq!(answer.header("cache-control"), Some(wanted), "{asked:?}");
    }
}

#[tokio::test]
async fn who_wants_nothing_stored_takes_nothing_out_of_the_store() {
    let origin = Origin::start().await;
    let numbered = |number: usize| {
        let control = "public, max-age=60, stale-while-revalidate=600";
        let reply = Reply::text(number.to_string()).header("Cache-Control", control);
        reply.header("Age", "60")
    };
    origin.on_each("/a", (1..9).map(numbered).collect());
    origin.on("/settle", Reply::text(""));
    let gateway = passing(&origin, "").await;
    gateway.get("/a").await.is(200, "1");
    let wary = ask("GET", "/a").header("Cache-Control", "no-store");
    gateway.fetch(&wary).await.is(200, "1");
    for _ in 0..10 {
        gateway.get("/settle").await;
    }
    gateway.get("/a").await.is(200, "1");
    origin.arrived("/a", 2).await;
}

#[tokio::test]
async fn an_answer_to_a_bad_request_takes_nothing_out_of_the_store() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        if request.head.has("x-bad") {
            return Reply::error(431);
        }
        if request.head.has("if-none-match") {
            return unchanged();
        }
        expired("body")
    });
    let gateway = passing(&origin, "").await;
    gateway.get("/a").await.is(200, "body");
    let bad = ask("GET", "/a").header("X-Bad", "1");
    assert_eq!(gateway.fetch(&bad).await.status, 431);
    gateway.get("/a").await.is(200, "body");
    assert!(origin.last("/a").head.has("if-none-match"));
}
