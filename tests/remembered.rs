//! Composed bytes are remembered while nothing of them has changed. Each test makes a page that is remembered, changes one thing,
//! and sees the page change; and sees that what is one user's is never among what is remembered.

mod support;

use support::{Answer, Ask, Client, Gateway, Origin, Reply, Setup, ask, within};

fn public(body: &str, seconds: u32) -> Reply {
    Reply::html(body).header("Cache-Control", &format!("public, max-age={seconds}"))
}

const PAGE: &str = "<p>[<esi:include src=\"/a\"/>|<esi:include src=\"/b\"/>]</p>";

/// A page of two shared fragments before a gateway, asked for so often that it is remembered.
async fn remembered(origin: &Origin) -> Gateway {
    origin.on("/page", public(PAGE, 3600));
    origin.on("/a", public("a1", 3600).header("Surrogate-Key", "key-a"));
    origin.on("/b", public("b1", 3600));
    let gateway = Setup::composing(origin)
        .more("[cache]\npurge_from = [\"127.0.0.1\"]")
        .start()
        .await;
    warm(&gateway, &ask("GET", "/page"), "<p>[a1|b1]</p>").await;
    gateway
}

/// Asks so often that what can be remembered is.
async fn warm(gateway: &Gateway, asked: &Ask, body: &str) {
    for _ in 0..5 {
        gateway.fetch(asked).await.is(200, body);
    }
}

async fn purge(gateway: &Gateway, order: &str) -> Answer {
    let host = gateway.admin.to_string();
    let mut client = Client::connect(gateway.admin).await;
    let asked = ask("POST", "/purge")
        .host(&host)
        .header("Content-Type", "application/json");
    client.fetch(&asked.body(order)).await
}

#[tokio::test]
async fn every_way_to_purge_a_fragment_changes_the_page() {
    let origin = Origin::start().await;
    let gateway = remembered(&origin).await;
    let orders = [
        r#"{"urls": ["http://www.example.com/a"]}"#,
        r#"{"keys": ["key-a"]}"#,
        r#"{"prefix": "/a"}"#,
        r#"{"all": true}"#,
        r#"{"keys": ["key-a"], "soft": true}"#,
        r#"{"all": true, "soft": true}"#,
    ];
    for (round, order) in orders.into_iter().enumerate() {
        let text = format!("a{}", round + 2);
        let fresh = public(&text, 3600).header("Surrogate-Key", "key-a");
        origin.on("/a", fresh);
        assert_eq!(purge(&gateway, order).await.status, 200, "{order}");
        let body = format!("<p>[{text}|b1]</p>");
        warm(&gateway, &ask("GET", "/page"), &body).await;
    }
    origin.on("/a", public("last", 3600));
    gateway.fetch(&ask("PURGE", "/a")).await;
    gateway.get("/page").await.is(200, "<p>[last|b1]</p>");
    // What was not purged was not asked for again, but for what everything and its softness hit.
    assert!(origin.count("/b") <= 3, "{}", origin.count("/b"));
}

#[tokio::test]
async fn a_write_to_a_fragment_changes_the_page() {
    let origin = Origin::start().await;
    let gateway = remembered(&origin).await;
    origin.on("/b", public("b2", 3600));
    gateway.fetch(&ask("POST", "/b").body("x")).await;
    gateway.get("/page").await.is(200, "<p>[a1|b2]</p>");
}

#[tokio::test]
async fn an_expired_fragment_changes_the_page() {
    let origin = Origin::start().await;
    let gateway = remembered(&origin).await;
    origin.on("/b", public("short", 100).header("Age", "98"));
    gateway.fetch(&ask("POST", "/b").body("x")).await;
    gateway.get("/page").await.is(200, "<p>[a1|short]</p>");
    origin.on("/b", public("later", 3600));
    within("the fragment to expire", async {
        loop {
            let text = gateway.get("/page").await.text();
            if text == "<p>[a1|later]</p>" {
                break;
            }
            assert_eq!(text, "<p>[a1|short]</p>");
        }
    })
    .await;
}

#[tokio::test]
async fn a_remembered_page_promises_only_what_is_left() {
    let origin = Origin::start().await;
    let gateway = remembered(&origin).await;
    origin.on("/b", public("b2", 3600).header("Age", "3000"));
    gateway.fetch(&ask("POST", "/b").body("x")).await;
    warm(&gateway, &ask("GET", "/page"), "<p>[a1|b2]</p>").await;
    let first = left(&gateway).await;
    assert!((590..=600).contains(&first), "{first}");
    within("a second to pass", async {
        while left(&gateway).await >= first {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The seconds that the page may be kept.
async fn left(gateway: &Gateway) -> u64 {
    let answer = gateway.get("/page").await;
    let control = answer.header("cache-control").unwrap_or_default();
    let left = control.strip_prefix("public, max-age=");
    left.and_then(|left| left.parse().ok())
        .unwrap_or_else(|| panic!("{control}"))
}

#[tokio::test]
async fn a_fragment_that_varies_is_each_asker_s_own() {
    let origin = Origin::start().await;
    origin.on("/page", public(PAGE, 3600));
    origin.on("/b", public("b", 3600).header("Vary", "Accept-Encoding"));
    origin.answer("/a", |request| {
        let language = request.head.first("accept-language").unwrap_or("none");
        public(language, 3600).header("Vary", "Accept-Language")
    });
    let gateway = Setup::composing(&origin).start().await;
    for _ in 0..4 {
        for language in ["de", "en"] {
            let asked = ask("GET", "/page").header("Accept-Language", language);
            let body = format!("<p>[{language}|b]</p>");
            gateway.fetch(&asked).await.is(200, &body);
        }
        gateway.get("/page").await.is(200, "<p>[none|b]</p>");
    }
    for language in ["de", "en"] {
        let asked = ask("GET", "/page").header("Accept-Language", language);
        warm(&gateway, &asked, &format!("<p>[{language}|b]</p>")).await;
    }
    gateway.get("/page").await.is(200, "<p>[none|b]</p>");
    assert_eq!((origin.count("/a"), origin.count("/b")), (3, 1));
}

#[tokio::test]
async fn a_new_skeleton_changes_the_page() {
    let origin = Origin::start().await;
    let gateway = remembered(&origin).await;
    origin.on("/page", public("<b><esi:include src=\"/b\"/></b>", 3600));
    gateway.fetch(&ask("PURGE", "/page")).await;
    warm(&gateway, &ask("GET", "/page"), "<b>b1</b>").await;
}

#[tokio::test]
async fn a_reload_changes_the_page() {
    let origin = Origin::start().await;
    let other = Origin::start().await;
    other.on("/a", public("other", 3600));
    origin.on("/page", public(PAGE, 3600));
    origin.on("/a", public("a1", 3600));
    origin.on("/b", public("b1", 3600));
    let setup = || Setup::composing(&origin).upstream("other", &other, "");
    let mut gateway = setup().start().await;
    warm(&gateway, &ask("GET", "/page"), "<p>[a1|b1]</p>").await;
    // From now on the fragment is never stored, and comes from elsewhere.
    gateway
        .reload(setup().route("/a", "other", "cache = false"))
        .await;
    within("the new route", async {
        while gateway.get("/page").await.text() != "<p>[other|b1]</p>" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let before = other.count("/a");
    warm(&gateway, &ask("GET", "/page"), "<p>[other|b1]</p>").await;
    assert_eq!(other.count("/a"), before + 5);
}

#[tokio::test]
async fn what_a_guest_may_have_is_not_given_to_who_takes_cookies_upstream() {
    let origin = Origin::start().await;
    origin.on("/page", public(PAGE, 3600));
    origin.on("/b", public("b1", 3600));
    // Stored for those without cookies only: it does not say that everybody may have it.
    origin.answer("/a", |request| {
        let user = request.head.first("cookie").unwrap_or("guest");
        Reply::html(user).header("Cache-Control", "max-age=3600")
    });
    let gateway = Setup::composing(&origin).start().await;
    warm(&gateway, &ask("GET", "/page"), "<p>[guest|b1]</p>").await;
    for user in ["user=1", "user=2"] {
        let body = format!("<p>[{user}|b1]</p>");
        for _ in 0..3 {
            gateway.get_as("/page", user).await.is(200, &body);
        }
    }
    gateway.get("/page").await.is(200, "<p>[guest|b1]</p>");
}

#[tokio::test]
async fn a_personal_part_between_remembered_ones_is_its_users() {
    let origin = Origin::start().await;
    let page = "<p><esi:include src=\"/a\"/>, <esi:include src=\"/me\"/>; <esi:include src=\"/b\"/> <esi:vars>$(HTTP_COOKIE{user})</esi:vars></p>";
    origin.on("/page", public(page, 3600));
    origin.on("/a", public("a1", 3600));
    origin.on("/b", public("b1", 3600));
    origin.answer("/me", |request| {
        let user = request.head.first("cookie").unwrap_or("guest");
        Reply::html(user).header("Cache-Control", "private")
    });
    let gateway = Setup::composing(&origin)
        .compose("readable_cookies = [\"user\"]")
        .start()
        .await;
    for round in 0..12 {
        let user = format!("user={}", round % 3);
        let body = format!("<p>a1, {user}; b1 {}</p>", round % 3);
        let answer = gateway.get_as("/page", &user).await;
        answer.is(200, &body);
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
        assert_eq!(answer.header("etag"), None);
    }
    assert_eq!(
        (origin.count("/a"), origin.count("/b"), origin.count("/me")),
        (1, 1, 12)
    );
}

#[tokio::test]
async fn a_fragment_whose_url_a_cookie_tells_is_each_visitor_s_own() {
    let origin = Origin::start().await;
    let include = "<esi:include src=\"/group/$(HTTP_COOKIE{user})\"/>";
    let tried = format!("<esi:try><esi:attempt>{include}</esi:attempt></esi:try>");
    let chosen = format!(
        "<esi:choose><esi:when test=\"$(HTTP_COOKIE{{user}})\">{include}</esi:when></esi:choose>"
    );
    let pages = [
        ("/plain", include.to_owned()),
        (
            "/with",
            format!("<esi:include src=\"/a\"/>{include}<esi:include src=\"/a\"/>"),
        ),
        ("/tried", tried.clone()),
        ("/chosen", chosen.clone()),
        ("/all", format!("{include}{tried}{chosen}")),
    ];
    for (path, page) in &pages {
        origin.on(path, public(&format!("<p>{page}</p>"), 3600));
    }
    origin.on("/a", public("", 3600));
    for group in ["gold", "silver", "x"] {
        origin.on(
            &format!("/group/{group}"),
            public(&format!("[{group}]"), 3600),
        );
    }
    let gateway = Setup::composing(&origin)
        .compose("readable_cookies = [\"user\"]")
        .start()
        .await;
    for round in 0..12 {
        for (start, (path, page)) in pages.iter().enumerate() {
            let user = ["gold", "silver", "x"][(start + round) % 3];
            let times = page.matches("/group/").count();
            let body = format!("<p>{}</p>", format!("[{user}]").repeat(times));
            let answer = gateway.get_as(path, &format!("user={user}")).await;
            answer.is(200, &body);
        }
    }
}

#[tokio::test]
async fn what_is_remembered_begins_and_ends_where_values_do() {
    let origin = Origin::start().await;
    // Values that are nothing for one user and something for the next, at every edge of a stretch that is remembered.
    let value = "<esi:vars>$(HTTP_COOKIE{user})</esi:vars>";
    let choice = format!(
        "<esi:choose><esi:when test=\"$(HTTP_COOKIE{{user}})\">{value}!</esi:when></esi:choose>"
    );
    let fragment = "<esi:include src=\"/a\"/>";
    let page = format!(
        "{value}<p>{fragment}{value}{value}b{fragment}{choice}c{fragment}d{choice}{value}</p>{value}"
    );
    let pages = ["/0", "/1", "/2"];
    for path in pages {
        origin.on(path, public(&page, 3600));
    }
    origin.on("/a", public("a1", 3600));
    let gateway = Setup::composing(&origin)
        .compose("readable_cookies = [\"user\"]")
        .start()
        .await;
    // Each page is noted, recorded and used for another user.
    for (round, (start, path)) in
        (0..12).flat_map(|round| pages.iter().enumerate().map(move |page| (round, page)))
    {
        let user = ["", "7", "xy"][(start + round) % 3];
        let chosen = if user.is_empty() {
            String::new()
        } else {
            format!("{user}!")
        };
        let body = format!("{user}<p>a1{user}{user}ba1{chosen}ca1d{chosen}{user}</p>{user}");
        let answer = gateway.get_as(path, &format!("user={user}")).await;
        answer.is(200, &body);
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_fragment_that_becomes_personal_is_not_remembered_on() {
    let origin = Origin::start().await;
    let gateway = remembered(&origin).await;
    origin.answer("/a", |request| {
        let user = request.head.first("cookie").unwrap_or("guest");
        Reply::html(user).header("Cache-Control", "private")
    });
    gateway.fetch(&ask("PURGE", "/a")).await;
    for round in 0..6 {
        let user = format!("user={round}");
        let body = format!("<p>[{user}|b1]</p>");
        gateway.get_as("/page", &user).await.is(200, &body);
    }
}

#[tokio::test]
async fn one_template_asked_for_at_two_urls_keeps_their_references_apart() {
    let origin = Origin::start().await;
    origin.on("/x/page", public("<esi:include src=\"f?q\"/>", 3600));
    origin.on("/x/f", public("x", 3600));
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route(
            "/",
            "app",
            "compose = \"always\"\nignore_query = [\"utm_*\"]",
        )
        .start()
        .await;
    for _ in 0..5 {
        gateway.get("/x/page?utm_a=1").await.is(200, "x");
        gateway.get("/x/page").await.is(200, "x");
    }
    assert_eq!((origin.requests().len(), origin.count("/x/f?q")), (2, 1));
}

#[tokio::test]
async fn fragments_that_are_remembered_are_counted_and_shown_like_others() {
    let origin = Origin::start().await;
    let gateway = remembered(&origin).await;
    let hits = |gateway: &Gateway| {
        let label = "outcome=\"hit\"";
        let gateway = gateway.admin;
        async move {
            let host = gateway.to_string();
            let mut client = Client::connect(gateway).await;
            let text = client
                .fetch(&ask("GET", "/metrics").host(&host))
                .await
                .text();
            let line = text
                .lines()
                .find(|line| line.starts_with("marquetry_fragments_total") && line.contains(label));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            value.expect("the counter is there")
        }
    };
    let before = hits(&gateway).await;
    for _ in 0..10 {
        gateway.get("/page").await.is(200, "<p>[a1|b1]</p>");
    }
    assert!((hits(&gateway).await - before - 20.0).abs() < 0.5);
    let pages = gateway.admin("/pages").await.text();
    let id = pages
        .split("\"id\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let page = gateway
        .admin(&format!("/pages/{}", id.expect("a page")))
        .await
        .text();
    for url in ["/a\"", "/b\""] {
        assert!(page.contains(url), "{page}");
    }
    assert_eq!(page.matches("\"outcome\":\"hit\"").count(), 2, "{page}");
}

#[tokio::test]
async fn a_fragment_whose_header_the_request_tells_is_each_visitor_s_own() {
    let origin = Origin::start().await;
    // For some visitors what is to be set is no header, and the fragment is asked for plain.
    let include = "<esi:include src=\"/a\" setheader=\"$(HTTP_COOKIE{user})\"/>";
    let tried = format!("<esi:try><esi:attempt>{include}</esi:attempt></esi:try>");
    for (path, page) in [("/plain", include), ("/tried", &tried)] {
        origin.on(path, public(&format!("<p>{page}</p>"), 3600));
    }
    origin.answer("/a", |request| {
        let group = request.head.first("x-group").unwrap_or("none");
        public(&format!("[{group}]"), 3600)
    });
    let gateway = Setup::composing(&origin)
        .compose("readable_cookies = [\"user\"]")
        .start()
        .await;
    for path in ["/plain", "/tried"] {
        for _ in 0..5 {
            gateway
                .get_as(path, "user=none")
                .await
                .is(200, "<p>[none]</p>");
        }
        for group in ["gold", "none", "silver"] {
            let user = match group {
                "none" => "user=none".to_owned(),
                group => format!("user=X-Group: {group}"),
            };
            let body = format!("<p>[{group}]</p>");
            gateway.get_as(path, &user).await.is(200, &body);
        }
    }
}
