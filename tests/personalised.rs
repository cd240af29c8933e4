//! No response for one user reaches another: whatever the origin says or leaves out, whoever asks at the same time, whatever a
//! connection carries besides.

mod support;

use support::{Answer, Client, End, Gate, Gateway, Origin, Recorded, Reply, Setup, ask, contains};

/// Heads of answers that belong to their asker alone, when the request went upstream with a cookie.
const PERSONAL: &[(&str, &[(&str, &str)])] = &[
    ("nothing said", &[]),
    ("private", &[("Cache-Control", "private")]),
    (
        "private for a time",
        &[("Cache-Control", "private, max-age=60")],
    ),
    (
        "private against public",
        &[("Cache-Control", "public, private, max-age=60")],
    ),
    (
        "private on a line of its own",
        &[
            ("Cache-Control", "public, s-maxage=60"),
            ("Cache-Control", "private"),
        ],
    ),
    ("no-store", &[("Cache-Control", "no-store")]),
    (
        "no-store with a lifetime",
        &[("Cache-Control", "public, max-age=60, no-store")],
    ),
    ("no-cache", &[("Cache-Control", "no-cache")]),
    (
        "Set-Cookie",
        &[
            ("Set-Cookie", "seen=1"),
            ("Cache-Control", "public, s-maxage=60"),
        ],
    ),
    (
        "Vary: Cookie",
        &[("Vary", "Cookie"), ("Cache-Control", "public, s-maxage=60")],
    ),
    (
        "Vary: Cookie in a list",
        &[
            ("Vary", "Accept-Language, cookie"),
            ("Cache-Control", "public, s-maxage=60"),
        ],
    ),
    (
        "Vary: *",
        &[("Vary", "*"), ("Cache-Control", "public, s-maxage=60")],
    ),
    ("max-age alone", &[("Cache-Control", "max-age=60")]),
    (
        "Expires alone",
        &[("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")],
    ),
    ("upper case", &[("Cache-Control", "PRIVATE, MAX-AGE=60")]),
    (
        "declared and private",
        &[
            ("Surrogate-Control", "content=\"ESI/1.0\""),
            ("Cache-Control", "private, max-age=60"),
        ],
    ),
    (
        "a broken targeted field",
        &[
            ("CDN-Cache-Control", "max-age=\"60"),
            ("Cache-Control", "private"),
        ],
    ),
];

const USERS: usize = 20;

fn cookie_of(request: &Recorded) -> String {
    request.head.first("cookie").unwrap_or("nobody").to_owned()
}

/// An answer that shows whose it is.
fn mine(request: &Recorded, fields: &[(&str, &str)]) -> Reply {
    let mut reply = Reply::html(format!("<{}>", cookie_of(request)));
    for (name, value) in fields {
        reply = reply.header(name, value);
    }
    reply
}

/// An origin with `/me/N`, personal by the N-th way, `/page/N`, which includes it, and a gateway in front of it.
async fn personal_site() -> (Origin, Gateway) {
    let origin = Origin::start().await;
    for (index, (_, fields)) in PERSONAL.iter().enumerate() {
        origin.answer(&format!("/me/{index}"), move |request| {
            mine(request, fields)
        });
        let page = format!("<p>[<esi:include src=\"/me/{index}\"/>]</p>");
        let page = Reply::html(page).header("Cache-Control", "public, s-maxage=600");
        origin.on(&format!("/page/{index}"), page);
    }
    let gateway = Setup::composing(&origin).start().await;
    (origin, gateway)
}

#[tokio::test]
async fn a_personal_fragment_is_seen_by_its_user_alone() {
    let (_origin, gateway) = personal_site().await;
    for (index, (what, _)) in PERSONAL.iter().enumerate() {
        for user in ["session=ann", "session=bob", "session=ann"] {
            let answer = gateway.get_as(&format!("/page/{index}"), user).await;
            assert_eq!(answer.text(), format!("<p>[<{user}>]</p>"), "{what}");
        }
        let answer = gateway.get(&format!("/page/{index}")).await;
        assert_eq!(answer.text(), "<p>[<nobody>]</p>", "{what}");
    }
}

#[tokio::test]
async fn a_personal_answer_asked_for_by_itself_is_seen_by_its_user_alone() {
    let (_origin, gateway) = personal_site().await;
    for (index, (what, _)) in PERSONAL.iter().enumerate() {
        for user in ["session=ann", "session=bob"] {
            let answer = gateway.get_as(&format!("/me/{index}"), user).await;
            assert_eq!(answer.text(), format!("<{user}>"), "{what}");
        }
    }
}

#[tokio::test]
async fn users_who_ask_for_one_address_at_once_get_their_own_answers() {
    for (what, fields) in PERSONAL {
        let origin = Origin::start().await;
        let gate = Gate::new();
        let behind = gate.clone();
        origin.answer("/me", move |request| mine(request, fields).behind(&behind));
        origin.on("/page", Reply::html("<p>[<esi:include src=\"/me\"/>]</p>"));
        let gateway = Setup::composing(&origin).start().await;
        for target in ["/me", "/page"] {
            let mut clients = Vec::new();
            for user in 0..USERS {
                let mut client = gateway.client().await;
                let cookie = format!("session=user-{user}-");
                client
                    .send(ask("GET", target).header("Cookie", &cookie).bytes())
                    .await;
                clients.push((client, cookie));
            }
            origin.arrived("/me", 1).await;
            gate.open();
            for (mut client, cookie) in clients {
                let text = client.answer().await.text();
                assert!(
                    text.contains(&format!("<{cookie}>")),
                    "{what}: {text} for {cookie}"
                );
                assert_eq!(text.matches("session=").count(), 1, "{what}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_for_everybody_is_fetched_once_for_all_users() {
    let shared: &[&[(&str, &str)]] = &[
        &[("Cache-Control", "public, max-age=60")],
        &[("Cache-Control", "s-maxage=60")],
        &[("Surrogate-Control", "max-age=60")],
        &[
            ("CDN-Cache-Control", "max-age=60"),
            ("Cache-Control", "private"),
        ],
    ];
    for fields in shared {
        let origin = Origin::start().await;
        origin.answer("/top", move |request| {
            let mut reply = Reply::html("top");
            for (name, value) in *fields {
                reply = reply.header(name, value);
            }
            let _ = request;
            reply
        });
        let gateway = Setup::composing(&origin).start().await;
        for user in ["session=ann", "session=bob"] {
            gateway.get_as("/top", user).await.is(200, "top");
        }
        assert_eq!(origin.count("/top"), 1, "{fields:?}");
    }
}

#[tokio::test]
async fn users_behind_one_connection_are_kept_apart() {
    let (_origin, gateway) = personal_site().await;
    let mut client = gateway.client().await;
    for user in 0..USERS {
        for index in 0..PERSONAL.len() {
            let cookie = format!("session=user-{user}-");
            let page = ask("GET", &format!("/page/{index}")).header("Cookie", &cookie);
            let answer = client.fetch(&page).await;
            assert_eq!(answer.text(), format!("<p>[<{cookie}>]</p>"));
        }
    }
}

#[tokio::test]
async fn an_answer_to_credentials_is_not_shared_without_a_word() {
    let origin = Origin::start().await;
    origin.answer("/me", |request| {
        let who = request.head.first("authorization").unwrap_or("nobody");
        Reply::html(who).header("Cache-Control", "max-age=60")
    });
    let gateway = Setup::composing(&origin).start().await;
    for who in ["Basic YW5u", "Basic Ym9i"] {
        let answer = gateway
            .fetch(&ask("GET", "/me").header("Authorization", who))
            .await;
        answer.is(200, who);
    }
    // The answer to Bob is not kept for those who name nobody either.
    gateway.get("/me").await.is(200, "nobody");
}

#[tokio::test]
async fn only_a_whole_answer_to_get_fills_the_store() {
    let origin = Origin::start().await;
    origin.answer("/thing*", |request| {
        let reply = match request.method.as_str() {
            "POST" => Reply::text("posted"),
            _ if request.head.has("range") => Reply::text("got ")
                .status(206)
                .header("Content-Range", "bytes 0-3/8"),
            _ => Reply::text("got it. "),
        };
        reply.header("Cache-Control", "public, s-maxage=60")
    });
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route("/", "app", "compose = \"off\"")
        .start()
        .await;
    let first = [
        ("/thing-head", ask("HEAD", "/thing-head")),
        (
            "/thing-range",
            ask("GET", "/thing-range").header("Range", "bytes=0-3"),
        ),
        ("/thing-post", ask("POST", "/thing-post").body("x=1")),
        ("/thing-delete", ask("DELETE", "/thing-delete")),
    ];
    for (target, request) in first {
        gateway.fetch(&request).await;
        gateway.get(target).await.is(200, "got it. ");
    }
    for status in [404, 500, 503] {
        let target = format!("/sometimes-{status}");
        let ok = Reply::text("fine").header("Cache-Control", "public, s-maxage=60");
        origin.on_each(&target, vec![Reply::error(status), ok]);
        assert_eq!(gateway.get(&target).await.status, status);
        gateway.get(&target).await.is(200, "fine");
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_is_not_kept() {
    let origin = Origin::start().await;
    let public = |reply: Reply| reply.header("Cache-Control", "public, s-maxage=60");
    let cuts = [
        ("/length", Reply::text("half").cut()),
        ("/chunks", Reply::text("half").chunked().cut()),
    ];
    for (target, cut) in cuts {
        origin.on_each(
            target,
            vec![public(cut), public(Reply::text("the whole of it"))],
        );
    }
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route("/", "app", "compose = \"off\"")
        .start()
        .await;
    for target in ["/length", "/chunks"] {
        let mut client = gateway.client().await;
        let first = client.fetch(&ask("GET", target)).await;
        assert!(first.status == 502 || first.end == End::Cut, "{first:?}");
        gateway.get(target).await.is(200, "the whole of it");
    }
}

/// A page whose head promises everything, with a personal fragment in it.
async fn promising_page() -> (Origin, Gateway) {
    let origin = Origin::start().await;
    let page = Reply::html("<p>[<esi:include src=\"/me\"/>]</p>")
        .header("Cache-Control", "public, max-age=600, s-maxage=600")
        .header("CDN-Cache-Control", "max-age=3600")
        .header("Surrogate-Control", "max-age=3600, content=\"ESI/1.0\"")
        .header("ETag", "\"skeleton\"")
        .header("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")
        .header("Accept-Ranges", "bytes")
        .header("Expires", "Thu, 01 Jan 2099 00:00:00 GMT");
    origin.on("/page", page);
    origin.answer("/me", |request| {
        mine(request, &[("Cache-Control", "private")])
    });
    let gateway = Setup::composing(&origin).start().await;
    (origin, gateway)
}

fn promises_nothing(answer: &Answer) {
    let head = String::from_utf8_lossy(&answer.head.raw).into_owned();
    let private =
        answer.lists("cache-control", "private") || answer.lists("cache-control", "no-store");
    assert!(private, "{head}");
    for word in ["public", "s-maxage=600", "max-age=600"] {
        assert!(!answer.lists("cache-control", word), "{head}");
    }
    for name in [
        "cdn-cache-control",
        "surrogate-control",
        "etag",
        "last-modified",
        "accept-ranges",
        "expires",
    ] {
        assert!(answer.header(name).is_none(), "{head}");
    }
}

#[tokio::test]
async fn a_page_with_a_personal_part_promises_nothing_to_caches() {
    let (_origin, gateway) = promising_page().await;
    // The skeleton comes from its upstream first, and from the store then.
    for user in ["session=ann", "session=bob"] {
        let answer = gateway.get_as("/page", user).await;
        answer.is(200, &format!("<p>[<{user}>]</p>"));
        promises_nothing(&answer);
    }
}

#[tokio::test]
async fn a_template_cannot_make_a_personal_page_cacheable() {
    let (origin, gateway) = promising_page().await;
    let add = [
        ("CDN-Cache-Control", "max-age=60"),
        ("Cache-Control", "public, max-age=60"),
        ("ETag", "W/'x'"),
        ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
        ("X-Own", "kept"),
    ];
    let add = add.map(|(name, value)| {
        let value = value.replace('\'', "\\'");
        format!("$add_header('{name}', '{value}')")
    });
    let add = add.concat();
    let page = format!("<esi:vars>{add}</esi:vars><esi:include src=\"/me\"/>");
    origin.on("/adding", Reply::html(page));
    let answer = gateway.get_as("/adding", "session=ann").await;
    answer.is(200, "<session=ann>");
    promises_nothing(&answer);
    assert_eq!(answer.header("x-own"), Some("kept"));

    let page =
        "<esi:vars>$add_header('Cache-Control', 'no-store')</esi:vars><esi:include src=\"/me\"/>";
    origin.on("/stricter", Reply::html(page));
    let answer = gateway.get_as("/stricter", "session=ann").await;
    answer.is(200, "<session=ann>");
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));

    // Nor one that sets a cookie.
    let page = "<esi:vars>$add_header('Set-Cookie', 'seen=1')</esi:vars>for all";
    let page = Reply::html(page).header("Cache-Control", "public, max-age=600, s-maxage=600");
    origin.on("/setting", page);
    let answer = gateway.get("/setting").await;
    answer.is(200, "for all");
    assert_eq!(answer.header("set-cookie"), Some("seen=1"));
    promises_nothing(&answer);
}

#[tokio::test]
async fn what_a_page_adds_to_its_head_takes_nothing_out_of_it() {
    let origin = Origin::start().await;
    let add = [
        ("Set-Cookie", "own=1"),
        ("Vary", "X-Own"),
        ("Content-Type", "text/xml"),
    ]
    .map(|(name, value)| format!("$add_header('{name}', '{value}')"))
    .concat();
    let page = format!("<esi:vars>{add}</esi:vars><esi:include src=\"/me\"/>");
    let page = Reply::html(page)
        .header("Set-Cookie", "page=1")
        .header("Vary", "X-Page");
    origin.on("/page", page);
    let part = Reply::bare("part").header("Set-Cookie", "part=1");
    origin.on("/me", part);
    let gateway = Setup::composing(&origin)
        .compose("head_wait = \"10s\"\nmerge_set_cookie = true")
        .start()
        .await;
    let answer = gateway.get_as("/page", "session=ann").await;
    answer.is(200, "part");
    let all = |name: &str| answer.head.all(name);
    assert_eq!(all("set-cookie"), ["page=1", "part=1", "own=1"]);
    assert_eq!(all("content-type"), ["text/xml"]);
    for name in ["x-own", "x-page", "cookie"] {
        assert!(answer.lists("vary", name), "{answer:?}");
    }
}

#[tokio::test]
async fn a_composed_page_is_never_not_modified_nor_partial() {
    let (_origin, gateway) = promising_page().await;
    for _ in 0..2 {
        let conditional = ask("GET", "/page")
            .header("Cookie", "session=ann")
            .header("If-None-Match", "\"skeleton\"")
            .header("If-Modified-Since", "Sat, 21 Nov 2026 10:00:00 GMT");
        gateway
            .fetch(&conditional)
            .await
            .is(200, "<p>[<session=ann>]</p>");
        let any = ask("GET", "/page")
            .header("Cookie", "session=ann")
            .header("If-None-Match", "*");
        gateway.fetch(&any).await.is(200, "<p>[<session=ann>]</p>");
        let range = ask("GET", "/page")
            .header("Cookie", "session=ann")
            .header("Range", "bytes=0-3")
            .header("If-Range", "\"skeleton\"");
        gateway
            .fetch(&range)
            .await
            .is(200, "<p>[<session=ann>]</p>");
    }
}

#[tokio::test]
async fn a_cookie_set_for_one_user_is_never_set_for_another() {
    let origin = Origin::start().await;
    origin.answer("/login*", |request| {
        let cookie = cookie_of(request).replace('=', "-");
        Reply::html("welcome")
            .header("Set-Cookie", &format!("token={cookie}"))
            .header("Cache-Control", "public, s-maxage=60")
    });
    origin.on("/page", Reply::html("<esi:include src=\"/login/part\"/>"));
    let gateway = Setup::composing(&origin).start().await;
    for user in ["session=ann", "session=bob"] {
        let answer = gateway.get_as("/login", user).await;
        let own = format!("token={}", user.replace('=', "-"));
        assert_eq!(answer.head.all("set-cookie"), [own.as_str()]);
        let page = gateway.get_as("/page", user).await;
        page.is(200, "welcome");
        assert_eq!(page.head.all("set-cookie"), Vec::<&str>::new());
    }
    let nobody = gateway.get("/login").await;
    assert_eq!(nobody.head.all("set-cookie"), ["token=nobody"]);
    // Who wonders where it went is told, once.
    gateway
        .logged("a fragment sets a cookie, which is dropped")
        .await;
    let told = |line: &&String| line.contains("which is dropped");
    assert_eq!(gateway.stderr().iter().filter(told).count(), 1);
}

#[tokio::test]
async fn bytes_after_an_answer_never_reach_the_next_user() {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nEVIL";
    let first: &[(&str, &str, String)] = &[
        (
            "a second answer",
            "GET",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{smuggled}"),
        ),
        (
            "more than announced",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEVIL EVIL".to_owned(),
        ),
        (
            "after the last chunk",
            "GET",
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "a body of 204",
            "GET",
            format!("HTTP/1.1 204 No Content\r\n\r\n{smuggled}"),
        ),
        (
            "an answer to HEAD with a body",
            "HEAD",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n{smuggled}"),
        ),
        (
            "a body of 304",
            "GET",
            format!("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n{smuggled}"),
        ),
    ];
    for (what, method, raw) in first {
        let origin = Origin::start().await;
        origin.on("/first", Reply::raw(raw));
        origin.answer("/me", |request| mine(request, &[]));
        let gateway = Setup::composing(&origin).start().await;
        let answer = gateway
            .fetch(&ask(method, "/first").header("Cookie", "session=ann"))
            .await;
        assert!(!contains(&answer.body, b"EVIL"), "{what}: {answer:?}");
        for user in ["session=bob", "session=cid", "session=dan"] {
            let answer = gateway.get_as("/me", user).await;
            assert_eq!(answer.text(), format!("<{user}>"), "{what}");
        }
        let (dirty, next) = (
            origin.requests()[0].connection,
            origin.requests()[1].connection,
        );
        assert_ne!(dirty, next, "{what}: the connection was used again");
    }
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_never_reach_the_next_user() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let late = Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .then_behind(&gate)
        .and("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL");
    origin.on("/first", late);
    origin.answer("/me", |request| mine(request, &[]));
    let gateway = Setup::composing(&origin).start().await;
    gateway.get_as("/first", "session=ann").await.is(200, "ok");
    gate.open();
    origin.has_answered(1).await;
    for user in ["session=bob", "session=cid"] {
        gateway
            .get_as("/me", user)
            .await
            .is(200, &format!("<{user}>"));
    }
}

#[tokio::test]
async fn a_client_that_leaves_does_not_leave_its_answer_to_the_next() {
    let origin = Origin::start().await;
    origin.answer("/me", |request| {
        let cookie = cookie_of(request);
        if cookie == "session=ann" {
            Reply::html("")
                .chunked()
                .and(format!("<{cookie}").repeat(10))
                .stall()
        } else {
            Reply::html(format!("<{cookie}>"))
        }
    });
    let gateway = Setup::new()
        .upstream("app", &origin, "max_in_flight = 1")
        .route("/", "app", "compose = \"off\"")
        .start()
        .await;
    let mut ann: Client = gateway.client().await;
    let mut incoming = ann
        .begin(&ask("GET", "/me").header("Cookie", "session=ann"))
        .await;
    incoming.until("session=ann").await;
    drop(ann);
    origin.abandoned("/me").await;
    for user in ["session=bob", "session=cid"] {
        gateway
            .get_as("/me", user)
            .await
            .is(200, &format!("<{user}>"));
    }
}

#[tokio::test]
async fn cookies_go_only_where_the_route_sends_them() {
    let pages = Origin::start().await;
    let app = Origin::start().await;
    pages.on(
        "/page",
        Reply::html(
            "<esi:include src=\"/all/x\"/><esi:include src=\"/none/x\"/><esi:include src=\"/some/x\"/>\
             <esi:include src=\"http://other.example.com/x\"/><esi:include src=\"http://open.example.com/y\"/>",
        ),
    );
    app.on("*", Reply::html("."));
    let gateway = Setup::new()
        .upstream("pages", &pages, "")
        .upstream("app", &app, "")
        .host_route(
            "www.example.com",
            "/",
            "pages",
            "compose = \"always\"\nforward_cookies = false",
        )
        .host_route("www.example.com", "/all", "app", "forward_cookies = true")
        .host_route("www.example.com", "/none", "app", "forward_cookies = false")
        .host_route(
            "www.example.com",
            "/some",
            "app",
            "forward_cookies = [\"lang\"]",
        )
        .host_route("other.example.com", "/", "app", "")
        .host_route("open.example.com", "/", "app", "forward_cookies = true")
        .start()
        .await;
    let request = ask("GET", "/page")
        .header("Cookie", "session=ann; lang=de")
        .header("Authorization", "Basic YW5u");
    gateway.fetch(&request).await.is(200, ".....");
    let sent = |origin: &Origin, target: &str| {
        let head = origin.last(target).head;
        (
            head.first("cookie").unwrap_or("").to_owned(),
            head.has("authorization"),
        )
    };
    let all = ("session=ann; lang=de".to_owned(), true);
    assert_eq!(sent(&pages, "/page"), (String::new(), false));
    assert_eq!(sent(&app, "/all/x"), all);
    assert_eq!(sent(&app, "/none/x"), (String::new(), false));
    assert_eq!(sent(&app, "/some/x"), ("lang=de".to_owned(), false));
    assert_eq!(sent(&app, "/x"), (String::new(), false), "another host");
    assert_eq!(
        sent(&app, "/y"),
        all,
        "another host that is told to get them"
    );
}

#[tokio::test]
async fn a_variant_is_given_to_those_alone_who_ask_for_it() {
    let origin = Origin::start().await;
    origin.answer("/hello", |request| {
        let language = request.head.first("accept-language").unwrap_or("none");
        Reply::html(format!("in {language}"))
            .header("Vary", "Accept-Language")
            .header("Cache-Control", "public, s-maxage=60")
    });
    let gateway = Setup::composing(&origin).start().await;
    for _ in 0..2 {
        for language in ["de", "en"] {
            let answer = gateway
                .fetch(&ask("GET", "/hello").header("Accept-Language", language))
                .await;
            answer.is(200, &format!("in {language}"));
        }
        gateway.get("/hello").await.is(200, "in none");
    }
    assert_eq!(origin.count("/hello"), 3);
}

#[tokio::test]
async fn another_host_or_query_has_its_own_copy() {
    let origin = Origin::start().await;
    origin.answer("/x*", |request| {
        Reply::html(format!("{}{}", request.host(), request.target))
            .header("Cache-Control", "public, s-maxage=60")
    });
    let gateway = Setup::composing(&origin).start().await;
    for _ in 0..2 {
        for (host, target) in [
            ("a.example.com", "/x"),
            ("b.example.com", "/x"),
            ("a.example.com:8081", "/x"),
            ("a.example.com", "/x?"),
            ("a.example.com", "/x?a"),
            ("a.example.com", "/x?A"),
            ("a.example.com", "/x/"),
            ("a.example.com", "/x%2Fy"),
            ("a.example.com", "/x/y"),
        ] {
            let answer = gateway.fetch(&ask("GET", target).host(host)).await;
            answer.is(200, &format!("{host}{target}"));
        }
    }
}

#[tokio::test]
async fn what_varies_by_cookie_is_for_those_whose_every_cookie_is_in_the_key() {
    let origin = Origin::start().await;
    let mine = |request: &Recorded| {
        let fields = [("Cache-Control", "public, max-age=600"), ("Vary", "Cookie")];
        mine(request, &fields)
    };
    origin.answer("/me", mine);
    origin.on(
        "/page",
        Reply::html("[<esi:include src=\"/me\"/>]").header("Cache-Control", "public, max-age=600"),
    );
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route(
            "/",
            "app",
            "compose = \"always\"\nkey_cookies = [\"group\"]",
        )
        .start()
        .await;
    let users = [
        "group=gold",
        "group=gold; session=ann",
        "session=bob; group=gold",
    ];
    for _ in 0..3 {
        for user in users {
            let me = format!("<{user}>");
            gateway.get_as("/me", user).await.is(200, &me);
            let page = gateway.get_as("/page", user).await;
            page.is(200, &format!("[{me}]"));
            assert_eq!(page.header("cache-control"), Some("private, no-cache"));
        }
        gateway.get("/me").await.is(200, "<nobody>");
    }
    // Who has no other cookie shares it.
    let groups = origin.requests_to("/me");
    let gold = groups
        .iter()
        .filter(|asked| cookie_of(asked) == "group=gold");
    assert_eq!(gold.count(), 1);
}

#[tokio::test]
async fn who_posts_a_page_chooses_no_other_method_for_its_fragments() {
    let origin = Origin::start().await;
    origin.on("/page", Reply::html("[<esi:include src=\"/a\"/>]"));
    let names = [
        "X-HTTP-Method",
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
    ];
    // An application that heeds one of them answers for another request than the key names.
    origin.answer("/a", move |request| {
        let named = names.iter().any(|name| request.head.has(name));
        let body = if named { "chosen" } else { "a" };
        Reply::html(body).header("Cache-Control", "public, max-age=600")
    });
    // A trusted proxy may say more of a page, and that too is about the page.
    let gateway = Setup::composing(&origin)
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let mut posted = ask("POST", "/page").body("x");
    for name in names {
        posted = posted.header(name, "DELETE");
    }
    gateway.fetch(&posted).await.is(200, "[a]");
    gateway.get("/page").await.is(200, "[a]");
    let head = origin.last("/page").head;
    assert!(!head.has("x-http-method-override"), "{head:?}");
    let posted = &origin.requests_to("/page")[0].head;
    assert!(posted.has("x-http-method-override"), "{posted:?}");
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn what_a_confirmation_says_to_one_user_is_told_to_no_other() {
    for method in ["GET", "HEAD"] {
        let origin = Origin::start().await;
        let stale = Reply::text("body")
            .header("ETag", "\"1\"")
            .header("X-User", "nobody")
            .header("Cache-Control", "public, max-age=60")
            .header("Age", "60");
        origin.answer("/a", move |request| {
            let user = cookie_of(request);
            let own = |reply: Reply| reply.header("ETag", "\"1\"").header("X-User", &user);
            match &*request.method {
                "HEAD" => own(Reply::text("body")),
                _ if request.head.has("if-none-match") => own(Reply::bare("").status(304)),
                _ => stale.clone(),
            }
        });
        let gateway = Setup::new()
            .upstream("app", &origin, "")
            .route("/", "app", "compose = \"off\"")
            .start()
            .await;
        gateway.get("/a").await.is(200, "body");
        let asked = ask(method, "/a").header("Cookie", "user=ann");
        assert_eq!(gateway.fetch(&asked).await.status, 200);
        // The copy has been confirmed: it is fresh again.
        let other = gateway.get("/a").await;
        other.is(200, "body");
        assert_eq!(other.header("x-user"), Some("nobody"), "{method}");
        assert_eq!(origin.requests().len(), 2, "{method}");
    }
}

#[tokio::test]
async fn a_document_that_another_page_shows_as_it_came_promises_nothing() {
    let origin = Origin::start().await;
    let public = |body: &str| Reply::html(body).header("Cache-Control", "public, max-age=600");
    origin.on("/raw", public("<esi:include src='/d' dca='none'/>"));
    origin.on("/page", public("<esi:include src='/d'/>"));
    origin.on("/off/raw", public("<esi:include src='/off/d'/>"));
    origin.on("/off/page", public("<esi:include src='/off/d' dca='esi'/>"));
    for document in ["/d", "/off/d"] {
        origin.on(document, public("<esi:include src='/mine'/>"));
    }
    origin.on(
        "/mine",
        Reply::html("mine").header("Cache-Control", "private"),
    );
    let gateway = Setup::composing(&origin)
        .route("/off/d", "app", "compose = \"off\"")
        .more("[cache]\npurge_from = [\"127.0.0.1\"]")
        .start()
        .await;
    for (raw, page, document) in [("/raw", "/page", "/d"), ("/off/raw", "/off/page", "/off/d")] {
        gateway.get(raw).await.is(200, "<esi:include src='/mine'/>");
        // It is fetched again, and the head of the page leaves before it comes.
        gateway.fetch(&ask("PURGE", document)).await;
        let answer = gateway.get(page).await;
        answer.is(200, "mine");
        let control = answer.header("cache-control");
        assert_eq!(control, Some("private, no-cache"), "{page}");
    }
}

#[tokio::test]
async fn what_an_include_lets_no_cache_keep_is_kept_by_none_behind_us() {
    let origin = Origin::start().await;
    let public = |body: &str| Reply::html(body).header("Cache-Control", "public, max-age=600");
    let include = "<esi:include src='/a' no-store='on'/>";
    origin.on("/page", public(include));
    origin.on(
        "/alt",
        public("<esi:include src='/gone' alt='/a' no-store='on'/>"),
    );
    origin.on("/outer", public("<esi:include src='/page'/>"));
    origin.on("/a", public("a"));
    let gateway = Setup::composing(&origin)
        .compose("head_wait = \"10s\"")
        .start()
        .await;
    for _ in 0..3 {
        for page in ["/page", "/alt", "/outer"] {
            let answer = gateway.get(page).await;
            answer.is(200, "a");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{page}");
            assert_eq!(answer.header("etag"), None, "{page}");
        }
    }
    assert_eq!(origin.count("/a"), 9);
}

#[tokio::test]
async fn what_nobody_may_keep_is_known_before_it_comes() {
    let origin = Origin::start().await;
    let public = |body: &str| Reply::html(body).header("Cache-Control", "public, max-age=600");
    origin.on("/asked", public("<esi:include src='/a' no-store='on'/>"));
    origin.on("/a", public("a"));
    origin.on("/said", public("<esi:include src='/b'/>"));
    origin.on("/b", Reply::bare("b").header("Cache-Control", "no-store"));
    origin.on("/varied", public("<esi:include src='/c'/>"));
    origin.on("/c", public("c").header("Vary", "*"));
    let gateway = Setup::composing(&origin).start().await;
    for cookie in [None, Some("session=ann")] {
        for (page, wanted) in [("/asked", "a"), ("/said", "b"), ("/varied", "c")] {
            for round in 0..3 {
                let asked = ask("GET", page);
                let asked = cookie
                    .iter()
                    .fold(asked, |it, cookie| it.header("Cookie", cookie));
                let answer = gateway.fetch(&asked).await;
                answer.is(200, wanted);
                let control = answer.header("cache-control");
                // What an answer says is known from the last one.
                let known = round > 0 || page == "/asked";
                let wanted = ["private, no-cache", "private, no-store"][usize::from(known)];
                assert_eq!(control, Some(wanted), "{page} {cookie:?} {round}");
            }
        }
    }
}

#[tokio::test]
async fn a_page_that_a_cookie_of_the_key_tells_is_its_users_to_those_behind_us() {
    let origin = Origin::start().await;
    // The answers say nothing of the cookie: that they depend on it is known from the route alone.
    let public = |body: &str| Reply::html(body).header("Cache-Control", "public, max-age=600");
    origin.on("/page", public("[<esi:include src='/group/a'/>]"));
    for target in ["/group/a", "/group/page"] {
        let page = target.ends_with("page");
        origin.answer(target, move |request| {
            let include = if page { "<esi:include src='/a'/>" } else { "" };
            public(&format!("<{}>{include}", cookie_of(request)))
        });
    }
    origin.on("/a", public(""));
    let keyed = "compose = \"always\"\nforward_cookies = [\"group\"]\nkey_cookies = [\"group\"]";
    let gateway = Setup::composing(&origin)
        .route("/group/", "app", keyed)
        .start()
        .await;
    for _ in 0..4 {
        for group in ["group=1", "group=2", "nobody"] {
            let body = format!("<{group}>");
            for (target, body) in [
                ("/group/page", body.clone()),
                ("/page", format!("[{body}]")),
            ] {
                let answer = gateway.get_as(target, group).await;
                answer.is(200, &body);
                assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
                assert_eq!(answer.header("etag"), None);
            }
        }
    }
    assert_eq!(origin.count("/group/a"), 3);
}

#[tokio::test]
async fn nobody_chooses_by_another_method_what_others_are_given_for_a_get() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        let method = request.head.first("x-http-method-override");
        Reply::text(method.unwrap_or("GET")).header("Cache-Control", "public, max-age=600")
    });
    // A proxy in front hands on what its clients say.
    let gateway = Setup::composing(&origin)
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let asked = ask("GET", "/a").header("X-HTTP-Method-Override", "DELETE");
    gateway.fetch(&asked).await.is(200, "GET");
    gateway.get("/a").await.is(200, "GET");
    assert_eq!(origin.count("/a"), 1);
}
