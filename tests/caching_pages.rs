//! What a composed page promises caches and clients: no more than its parts, and a tag that is its own.

mod support;

use support::{Ask, Gate, Gateway, Origin, Reply, Setup, ask};

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

/// The promise of a page whose fragment is still being fetched when its head leaves, and the page itself. What was stored of the
/// fragment is gone before.
async fn page_before_its_fragment(
    gateway: &Gateway,
    origin: &Origin,
    fragment: Reply,
    asked: &Ask,
) -> (String, String) {
    origin.on("/f", Reply::text("changed"));
    gateway.fetch(&ask("POST", "/f").body("x")).await;
    let gate = Gate::new();
    origin.on("/f", fragment.behind(&gate));
    let mut client = gateway.client().await;
    let page = client.begin(asked).await;
    gate.open();
    let page = page.finish().await;
    let control = page.header("cache-control").unwrap_or_default();
    (control.to_owned(), page.text())
}

#[tokio::test]
async fn a_fragment_that_was_for_everybody_makes_no_page_private_and_promises_no_lifetime() {
    let origin = Origin::start().await;
    let gateway = page(&origin, public("a", 60)).await;
    let guest = ask("GET", "/page");
    let user = ask("GET", "/page").header("Cookie", "session=1");
    // The first time nothing is known of it.
    let (control, _) = page_before_its_fragment(&gateway, &origin, public("a", 60), &guest).await;
    assert_eq!(control, "private, no-cache");
    // The second time it is known to be for everybody.
    let (control, text) =
        page_before_its_fragment(&gateway, &origin, public("b", 60), &guest).await;
    assert_eq!((control.as_str(), text.as_str()), ("no-cache", "[b]"));
    let head = gateway.fetch(&ask("HEAD", "/page")).await;
    assert_eq!(head.header("vary"), Some("accept-encoding"));
    // What a user's own cookies bring may be that user's, whatever a guest was given.
    let (control, _) = page_before_its_fragment(&gateway, &origin, public("c", 60), &user).await;
    assert_eq!(control, "private, no-cache");
    // It changes its mind: nothing was promised that could harm, it is counted, and from now on the page is private again.
    let mine = || Reply::html("mine").header("Cache-Control", "private");
    let (control, text) = page_before_its_fragment(&gateway, &origin, mine(), &guest).await;
    assert_eq!((control.as_str(), text.as_str()), ("no-cache", "[mine]"));
    gateway
        .metric_reaches("marquetry_overpromised_total", "", 1.0)
        .await;
    let (control, _) = page_before_its_fragment(&gateway, &origin, mine(), &guest).await;
    assert_eq!(control, "private, no-cache");
}

#[tokio::test]
async fn a_fragment_that_becomes_a_document_takes_no_users_part_into_a_page_for_all() {
    let origin = Origin::start().await;
    origin.on("/page", public("[<esi:include src=\"/f\"/>]", 3600));
    origin.on("/f", public("a", 60));
    origin.answer("/me", |request| {
        Reply::html(request.head.first("cookie").unwrap_or("nobody"))
            .header("Cache-Control", "private")
    });
    // The fragment itself never sees a cookie, what it includes does.
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route(
            "/page",
            "app",
            "compose = \"always\"\nforward_cookies = false",
        )
        .route("/f", "app", "compose = \"always\"\nforward_cookies = false")
        .route("/me", "app", "forward_cookies = true")
        .start()
        .await;
    gateway.get("/page").await.is(200, "[a]");
    let becomes = public("<esi:include src=\"/me\"/>", 60);
    let user = ask("GET", "/page").header("Cookie", "session=ann");
    let (control, text) = page_before_its_fragment(&gateway, &origin, becomes, &user).await;
    assert_eq!(
        (control.as_str(), text.as_str()),
        ("private, no-cache", "[session=ann]")
    );
}

#[tokio::test]
async fn a_document_is_never_expected_to_be_for_everybody() {
    let origin = Origin::start().await;
    let gateway = page(&origin, public("<esi:include src=\"/own\"/>", 60)).await;
    origin.on(
        "/own",
        Reply::html("mine").header("Cache-Control", "private"),
    );
    let document = || public("<esi:include src=\"/own\"/>", 60);
    let guest = ask("GET", "/page");
    for _ in 0..3 {
        let (control, text) = page_before_its_fragment(&gateway, &origin, document(), &guest).await;
        assert_eq!(
            (control.as_str(), text.as_str()),
            ("private, no-cache", "[mine]")
        );
    }
}

#[tokio::test]
async fn a_failed_fragment_that_was_for_everybody_leaves_a_page_that_nobody_keeps() {
    let origin = Origin::start().await;
    let gateway = page(&origin, public("a", 60)).await;
    gateway.get("/page").await.is(200, "[a]");
    let guest = ask("GET", "/page");
    let (control, text) =
        page_before_its_fragment(&gateway, &origin, Reply::error(500), &guest).await;
    assert_eq!((control.as_str(), text.as_str()), ("no-cache", "[]"));
}

#[tokio::test]
async fn a_fragment_in_its_grace_is_at_hand() {
    let origin = Origin::start().await;
    let spent = Reply::html("old")
        .header(
            "Cache-Control",
            "public, max-age=60, stale-while-revalidate=600",
        )
        .header("Age", "60");
    let gateway = page(&origin, spent).await;
    gateway.get("/page").await.is(200, "[old]");
    let gate = Gate::new();
    origin.on("/f", public("new", 60).behind(&gate));
    // The page need not wait, is whole, and asks for the fragment behind it once.
    for _ in 0..3 {
        let answer = gateway.get("/page").await;
        answer.is(200, "[old]");
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert!(answer.header("content-length").is_some());
    }
    origin.arrived("/f", 2).await;
    gate.open();
    gateway
        .metric_reaches("marquetry_cache_stores_total", "", 3.0)
        .await;
    gateway.get("/page").await.is(200, "[new]");
    assert_eq!(origin.count("/f"), 2);
}

#[tokio::test]
async fn a_page_belongs_to_the_groups_of_its_parts() {
    let origin = Origin::start().await;
    let skeleton = public(
        "<esi:include src=\"/f\"/><esi:include src=\"http://other.example/f\"/>",
        60,
    );
    origin.on("/page", skeleton.header("Cache-Groups", "\"pages\""));
    origin.on("/f", public("a", 60).header("Cache-Groups", "\"reviews\""));
    let gateway = Setup::composing(&origin).start().await;
    gateway.get("/page").await.is(200, "aa");
    let page = gateway.get("/page").await;
    assert_eq!(page.header("cache-groups"), Some("\"pages\", \"reviews\""));
    // Groups have their meaning within an origin: those of another one's parts are not the page's.
    let elsewhere = ask("GET", "/page").host("third.example");
    origin.on("/f", public("b", 60).header("Cache-Groups", "\"foreign\""));
    origin.on(
        "/page",
        public("<esi:include src=\"http://fourth.example/f\"/>", 60),
    );
    gateway.fetch(&elsewhere).await.is(200, "b");
    let page = gateway.fetch(&elsewhere).await;
    assert_eq!((page.status, page.header("cache-groups")), (200, None));
}

fn esi_page(body: &str) -> Reply {
    public(body, 60).header(
        "Surrogate-Control",
        "max-age=60, content=\"ESI/1.0\", no-store;else",
    )
}

fn by(capability: &str) -> Ask {
    ask("GET", "/page").header("Surrogate-Capability", capability)
}

const COMPOSES: &str = "front=\"Surrogate/1.0 ESI/1.0\"";

#[tokio::test]
async fn a_surrogate_that_composes_is_given_the_tags_where_the_route_says_so() {
    let origin = Origin::start().await;
    let markup = "[<esi:include src=\"/f\"/>]";
    origin.on("/page", esi_page(markup));
    origin.on("/f", public("a", 60));
    let with = |lines: &'static str, server: &'static str| {
        Setup::new()
            .upstream("app", &origin, "")
            .route("/", "app", lines)
            .server(server)
            .start()
    };
    let trusted = "trusted_proxies = [\"127.0.0.1\"]";
    let gateway = with("delegate = true", trusted).await;
    // First, from store, and as HEAD; those who cannot compose get the page, whoever came before.
    for _ in 0..2 {
        let handed = gateway.fetch(&by(COMPOSES)).await;
        handed.is(200, markup);
        let control = handed.header("surrogate-control");
        assert_eq!(
            control,
            Some("max-age=60, content=\"ESI/1.0\", no-store;else")
        );
        assert_eq!(handed.header("vary"), Some("surrogate-capability"));
        let plain = [
            ask("GET", "/page"),
            by("front=\"Surrogate/1.0\""),
            by("front=\"SSI/1.0\""),
        ];
        for asked in &plain {
            let page = gateway.fetch(asked).await;
            page.is(200, "[a]");
            assert_eq!(page.header("surrogate-control"), None);
            assert!(page.lists("vary", "surrogate-capability"));
        }
    }
    let head = gateway
        .fetch(&ask("HEAD", "/page").header("Surrogate-Capability", COMPOSES))
        .await;
    assert!(head.header("surrogate-control").is_some());
    assert_eq!(origin.count("/page"), 1);
    // From nobody else, and not unless the route says so.
    let strict = with("delegate = true", "").await;
    strict.fetch(&by(COMPOSES)).await.is(200, "[a]");
    let composing = with("", trusted).await;
    let page = composing.fetch(&by(COMPOSES)).await;
    page.is(200, "[a]");
    assert_eq!(page.header("surrogate-control"), None);
}

#[tokio::test]
async fn a_document_that_is_addressed_to_us_is_composed_here() {
    let origin = Origin::start().await;
    let page = public("[<esi:include src=\"/f\"/>]", 60)
        .header("Surrogate-Control", "content=\"ESI/1.0\";marquetry");
    origin.on("/page", page);
    origin.on("/f", public("a", 60));
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route("/", "app", "delegate = true")
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    gateway.fetch(&by(COMPOSES)).await.is(200, "[a]");
}

#[tokio::test]
async fn an_origin_that_writes_for_each_capability_never_has_its_forms_mixed() {
    let origin = Origin::start().await;
    origin.answer("/page", |request| {
        let capability = request.head.first("surrogate-capability").unwrap_or("");
        let form = if capability.contains("front=") {
            "for two"
        } else {
            "for one"
        };
        esi_page(&format!("{form}: <esi:include src=\"/f\"/>"))
            .header("Vary", "Surrogate-Capability")
    });
    origin.on("/f", public("a", 60));
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route("/", "app", "delegate = true")
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    for _ in 0..2 {
        let handed = gateway.fetch(&by(COMPOSES)).await;
        handed.is(200, "for two: <esi:include src=\"/f\"/>");
        gateway.get("/page").await.is(200, "for one: a");
    }
    assert_eq!(origin.count("/page"), 2);
}

#[tokio::test]
async fn head_is_told_what_get_would_begin_with() {
    let origin = Origin::start().await;
    let gateway = page(&origin, public("a", 60)).await;
    let told = |answer: &support::Answer| -> Vec<String> {
        let names = [
            "cache-control",
            "vary",
            "etag",
            "content-type",
            "last-modified",
            "accept-ranges",
            "content-encoding",
        ];
        // A second may pass between the two: what is left of a lifetime is not compared.
        let field = |name| {
            answer
                .header(name)
                .map(|value| value.trim_end_matches(|c: char| c.is_ascii_digit()))
        };
        names
            .map(|name| format!("{name}: {:?}", field(name)))
            .into()
    };
    // Nothing in store: it asks for no fragment, and all of them count as not known.
    let head = gateway.fetch(&ask("HEAD", "/page")).await;
    assert_eq!(
        (head.status, head.header("cache-control")),
        (200, Some("private, no-cache"))
    );
    assert_eq!(origin.count("/f"), 0);
    // The skeleton is in store, the fragment is not; then both are.
    gateway.get("/page").await.is(200, "[a]");
    for known in [false, true] {
        if !known {
            gateway.fetch(&ask("POST", "/f").body("x")).await;
        }
        let before = origin.count("/f");
        let head = gateway.fetch(&ask("HEAD", "/page")).await;
        assert_eq!(
            origin.count("/f"),
            before,
            "no fragment is fetched for HEAD"
        );
        let page = gateway.get("/page").await;
        page.is(200, "[a]");
        assert_eq!(told(&head), told(&page), "{known}");
        assert_eq!(page.header("etag").is_some(), known);
    }
}

#[tokio::test]
async fn a_skeleton_for_an_hour_with_a_fragment_for_a_second_is_a_page_for_a_second() {
    let origin = Origin::start().await;
    let gateway = page(&origin, public("a", 1)).await;
    gateway.get("/page").await.is(200, "[a]");
    let control = gateway.get("/page").await;
    let control = control
        .header("cache-control")
        .unwrap_or_default()
        .to_owned();
    assert!(
        ["public, max-age=1", "no-cache"].contains(&control.as_str()),
        "{control}"
    );
}

#[tokio::test]
async fn what_surrogates_are_told_of_a_skeleton_never_goes_with_a_personal_part() {
    let origin = Origin::start().await;
    let skeleton = public("[<esi:include src=\"/f\"/>]", 3600)
        .header("CDN-Cache-Control", "max-age=3600")
        .header("Surrogate-Control", "max-age=3600, content=\"ESI/1.0\"")
        .header("Cloudflare-CDN-Cache-Control", "max-age=3600");
    origin.on("/page", skeleton);
    origin.on("/f", Reply::html("mine").header("Cache-Control", "private"));
    let gateway = Setup::composing(&origin)
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    for asked in [ask("GET", "/page"), by(COMPOSES)] {
        for _ in 0..2 {
            let page = gateway.fetch(&asked).await;
            page.is(200, "[mine]");
            assert_eq!(page.header("cache-control"), Some("private, no-cache"));
            for name in [
                "cdn-cache-control",
                "surrogate-control",
                "cloudflare-cdn-cache-control",
                "expires",
            ] {
                assert_eq!(page.header(name), None, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn the_head_may_wait_for_what_the_parts_say() {
    let origin = Origin::start().await;
    origin.on("/page", public("[<esi:include src=\"/f\"/>]", 3600));
    origin.on("/f", public("a", 60));
    let gateway = Setup::composing(&origin)
        .compose("head_wait = \"20s\"")
        .start()
        .await;
    let first = gateway.get("/page").await;
    first.is(200, "[a]");
    // A part that took a millisecond to come has less than a minute left, in whole seconds.
    let said = first.header("cache-control").expect("it says how long");
    let seconds = said.strip_prefix("public, max-age=");
    let seconds: u64 = seconds
        .expect("it is for everybody")
        .parse()
        .expect("seconds");
    assert!((50..=60).contains(&seconds), "{said}");
    assert!(first.header("etag").is_some());
}
