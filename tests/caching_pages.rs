//! What a composed page promises caches and clients: no more than its parts, and a tag that is its own.

mod support;

use support::{Gateway, Origin, Reply, Setup, ask};

fn public(body: &str, seconds: u32) -> Reply {
    Reply::html(body).header("Cache-Control", &format!("public, max-age={seconds}"))
}

async fn page(origin: &Origin, fragment: Reply) -> Gateway {
    let skeleton = public("[<esi:include src=\"/f\"/>]", 3600).header("ETag", "\"skeleton\"");
    origin.on("/page", skeleton);
    origin.on("/f", fragment);
    Setup::composing(origin).start().await
}

#[tokio::test]
async fn a_page_of_parts_at_hand_has_a_tag_and_is_told_unchanged() {
    let origin = Origin::start().await;
    let gateway = page(&origin, public("a", 60)).await;
    // While a part is on its way nothing is known of the page.
    assert_eq!(gateway.get("/page").await.header("etag"), None);
    let whole = gateway.get("/page").await;
    whole.is(200, "[a]");
    let tag = whole
        .header("etag")
        .expect("all parts are at hand")
        .to_owned();
    assert!(
        tag.starts_with("W/\"") && !tag.contains("skeleton"),
        "{tag}"
    );
    let has = |tag: &str| ask("GET", "/page").header("If-None-Match", tag);
    let unchanged = gateway.fetch(&has(&tag)).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), Some(tag.as_str()));
    gateway.fetch(&has("\"skeleton\"")).await.is(200, "[a]");
    let since = ask("GET", "/page").header("If-Modified-Since", "Fri, 31 Dec 2100 23:59:59 GMT");
    gateway.fetch(&since).await.is(200, "[a]");
    let head = gateway.fetch(&ask("HEAD", "/page")).await;
    assert_eq!(head.header("etag"), Some(tag.as_str()));

    // The fragment changes, and with it the page.
    origin.on("/f", public("b", 60));
    gateway.fetch(&ask("POST", "/f").body("x")).await;
    gateway.get("/page").await.is(200, "[b]");
    gateway.fetch(&has(&tag)).await.is(200, "[b]");
}

#[tokio::test]
async fn a_page_with_a_personal_or_failed_part_has_no_tag() {
    let personal = Reply::html("me").header("Cache-Control", "private");
    for fragment in [personal, Reply::error(500)] {
        let origin = Origin::start().await;
        let gateway = page(&origin, fragment).await;
        for _ in 0..2 {
            let answer = gateway.get("/page").await;
            assert_eq!((answer.status, answer.header("etag")), (200, None));
        }
    }
}

#[tokio::test]
async fn a_page_lives_no_longer_than_its_shortest_part_and_tells_no_age() {
    let origin = Origin::start().await;
    let gateway = page(&origin, public("a", 100).header("Age", "40")).await;
    gateway.get("/page").await.is(200, "[a]");
    let answer = gateway.get("/page").await;
    let control = answer.header("cache-control").unwrap_or_default();
    let left = control
        .strip_prefix("public, max-age=")
        .and_then(|left| left.parse::<u32>().ok());
    assert!(
        left.is_some_and(|left| (1..=60).contains(&left)),
        "{control}"
    );
    assert_eq!(
        (answer.header("age"), answer.header("accept-ranges")),
        (None, None)
    );
}

#[tokio::test]
async fn a_stale_part_lets_nobody_keep_the_page() {
    let origin = Origin::start().await;
    let spent = Reply::html("a")
        .header("Cache-Control", "public, max-age=600, stale-if-error=600")
        .header(
            "CDN-Cache-Control",
            "max-age=60, stale-while-revalidate=600",
        )
        .header("Age", "60");
    let gateway = page(&origin, spent).await;
    gateway.get("/page").await.is(200, "[a]");
    let answer = gateway.get("/page").await;
    answer.is(200, "[a]");
    let control = answer.header("cache-control").unwrap_or_default();
    assert!(!control.contains("max-age"), "{control}");
}

#[tokio::test]
async fn forms_for_surrogates_and_for_others_are_kept_apart() {
    let origin = Origin::start().await;
    origin.answer("/page", |request| {
        let capability = request
            .head
            .first("surrogate-capability")
            .unwrap_or_default();
        let form = if capability.contains("before=") {
            "through"
        } else {
            "direct"
        };
        public(form, 60).header("Vary", "Surrogate-Capability")
    });
    let gateway = Setup::composing(&origin)
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let through = ask("GET", "/page").header("Surrogate-Capability", "before=\"Surrogate/1.0\"");
    for _ in 0..2 {
        gateway.get("/page").await.is(200, "direct");
        gateway.fetch(&through).await.is(200, "through");
    }
    assert_eq!(origin.count("/page"), 2);
}

#[tokio::test]
async fn a_surrogate_in_front_is_told_the_keys_of_all_parts_and_nobody_else_is() {
    let origin = Origin::start().await;
    let skeleton = public("<esi:include src=\"/f\"/>", 60).header("xkey", "page, shop");
    origin.on("/page", skeleton);
    origin.on("/f", public("a", 60).header("Surrogate-Key", "basket shop"));
    let gateway = Setup::composing(&origin)
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let surrogate = ask("GET", "/page").header("Surrogate-Capability", "front=\"Surrogate/1.0\"");
    gateway.get("/page").await.is(200, "a");
    let told = gateway.fetch(&surrogate).await;
    assert_eq!(told.header("surrogate-key"), Some("basket page shop"));
    let plain = gateway.get("/page").await;
    for name in ["surrogate-key", "xkey"] {
        assert_eq!((plain.header(name), told.header("xkey")), (None, None));
    }
}
