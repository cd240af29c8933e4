//! What becomes of a page when its parts fail: `alt`, then `onerror`, then the policy; the origin's error body never enters a page,
//! and a page that was cut looks cut.

mod support;

use std::net::SocketAddr;

use support::{Answer, End, Gate, Origin, Reply, Setup, ask, contains};

/// Ways in which a fragment fails.
fn failures() -> Vec<(&'static str, Reply)> {
    vec![
        ("400", Reply::error(400)),
        ("401", Reply::error(401).header("WWW-Authenticate", "Basic")),
        ("403", Reply::error(403)),
        ("404", Reply::error(404)),
        ("410", Reply::error(410)),
        ("500", Reply::error(500)),
        ("502", Reply::error(502)),
        ("503", Reply::error(503).header("Retry-After", "9")),
        ("a redirect", Reply::error(302).header("Location", "/login")),
        ("a redirect that may be stored", Reply::error(301).header("Location", "/login")),
        ("304 unasked", Reply::raw("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n").then_close()),
        ("cut before its length", Reply::html("ERROR BODY").cut()),
        ("cut before its last chunk", Reply::html("ERROR BODY").chunked().cut()),
        ("cut within a chunk", Reply::raw(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nERROR BODY",
        ).then_close()),
        ("a chunk size that is none", Reply::raw(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nERROR BODY\r\n0\r\n\r\n",
        ).then_close()),
        ("no answer at all", Reply::slam()),
        ("no HTTP", Reply::raw("ERROR BODY\r\n\r\n").then_close()),
        ("two lengths", Reply::raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 5\r\n\r\nERROR BODY",
        ).then_close()),
        ("silence", Reply::hang()),
        ("silence within the body", Reply::html("ERROR BODY").stall()),
        ("too large", Reply::html("ERROR BODY".repeat(200))),
        ("too large and chunked", Reply::html("ERROR BODY".repeat(200)).chunked()),
        ("announced too large", Reply::html("ERROR BODY").announcing(1 << 40).then_close()),
        ("an unknown encoding", Reply::html("ERROR BODY").header("Content-Encoding", "x-rot13")),
    ]
}

/// A page for each failure and for each way to cope.
async fn failing_site() -> (Origin, Vec<&'static str>, Setup) {
    let origin = Origin::start().await;
    let mut names = Vec::new();
    for (index, (name, reply)) in failures().into_iter().enumerate() {
        origin.on(&format!("/bad/{index}"), reply);
        let page = |attributes: &str| {
            Reply::html(format!(
                "<esi:include src=\"/good\"/>[<esi:include src=\"/bad/{index}\"{attributes}/>]<esi:include src=\"/good\"/>"
            ))
        };
        origin.on(&format!("/plain/{index}"), page(""));
        origin.on(&format!("/alt/{index}"), page(" alt=\"/spare\""));
        origin.on(
            &format!("/badalt/{index}"),
            page(&format!(" alt=\"/bad/{index}\" onerror=\"continue\"")),
        );
        origin.on(&format!("/continue/{index}"), page(" onerror=\"continue\""));
        names.push(name);
    }
    origin.on("/good", Reply::html("good"));
    origin.on("/spare", Reply::html("SPARE"));
    origin.on("/login", Reply::html("LOGIN FORM"));
    let setup = Setup::new()
        .compose("fragment_timeout = \"500ms\"\nmax_document = \"1KiB\"")
        .upstream("app", &origin, "retries = 0")
        .route("/", "app", "compose = \"always\"");
    (origin, names, setup)
}

#[tokio::test]
async fn a_failed_fragment_takes_its_alt_and_else_leaves_a_hole() {
    let (_origin, names, setup) = failing_site().await;
    let gateway = setup.start().await;
    for (index, name) in names.iter().enumerate() {
        for (kind, hole) in [
            ("plain", ""),
            ("alt", "SPARE"),
            ("badalt", ""),
            ("continue", ""),
        ] {
            let answer = gateway.get(&format!("/{kind}/{index}")).await;
            let wanted = format!("good[{hole}]good");
            let found = (answer.status, answer.text(), answer.end);
            assert_eq!(found, (200, wanted, End::Complete), "{name}, {kind}");
        }
    }
}

#[tokio::test]
async fn a_failed_fragment_fails_the_page_where_that_is_wished() {
    let (_origin, names, setup) = failing_site().await;
    let gateway = setup.compose("on_error = \"fail\"").start().await;
    for (index, name) in names.iter().enumerate() {
        let answer = gateway.get(&format!("/plain/{index}")).await;
        assert_eq!((answer.status, answer.end), (502, End::Complete), "{name}");
        for part in ["good", "ERROR BODY", "127.0.0.1"] {
            assert!(!answer.text().contains(part), "{name}: {}", answer.text());
        }
        gateway
            .get(&format!("/alt/{index}"))
            .await
            .is(200, "good[SPARE]good");
        gateway
            .get(&format!("/continue/{index}"))
            .await
            .is(200, "good[]good");
    }
}

#[tokio::test]
async fn a_fragment_ends_with_its_time_wherever_it_is_then() {
    let origin = Origin::start().await;
    origin.on("/head", Reply::hang());
    origin.on("/body", Reply::html("ERROR BODY").stall());
    origin.on(
        "/shared",
        Reply::html("ERROR BODY")
            .header("Cache-Control", "public, max-age=60")
            .stall(),
    );
    origin.on(
        "/page",
        Reply::html("[<esi:include src=\"/head\"/>][<esi:include src=\"/body\"/>][<esi:include src=\"/shared\"/>]"),
    );
    // No other time runs out before the test's own.
    let patient = "first_byte_timeout = \"1h\"\nbody_idle_timeout = \"1h\"\nretries = 0";
    let gateway = Setup::new()
        .compose("fragment_timeout = \"500ms\"\npage_timeout = \"1h\"")
        .upstream("app", &origin, patient)
        .route("/", "app", "compose = \"always\"")
        .start()
        .await;
    gateway.get("/page").await.is(200, "[][][]");
    gateway
        .get_as("/page", "session=ada")
        .await
        .is(200, "[][][]");
}

#[tokio::test]
async fn an_upstream_without_a_server_that_listens_leaves_a_hole() {
    let origin = Origin::start().await;
    let closed = closed_port().await;
    origin.on(
        "/page",
        Reply::html(
            "[<esi:include src=\"/dead/x\"/>][<esi:include src=\"/dead/y\" alt=\"/spare\"/>]",
        ),
    );
    origin.on("/spare", Reply::html("SPARE"));
    let gateway = Setup::composing(&origin)
        .servers("dead", &[closed], "")
        .route("/dead", "dead", "")
        .start()
        .await;
    gateway.get("/page").await.is(200, "[][SPARE]");
}

#[tokio::test]
async fn a_nested_failure_stays_in_its_fragment() {
    let origin = Origin::start().await;
    origin.on(
        "/page",
        Reply::html("a<esi:include src=\"/outer\" alt=\"/spare\"/>b"),
    );
    origin.on("/outer", Reply::html("(<esi:include src=\"/bad\"/>)"));
    origin.on("/bad", Reply::error(500));
    origin.on("/spare", Reply::html("SPARE"));
    let gateway = Setup::composing(&origin).start().await;
    gateway.get("/page").await.is(200, "a()b");
    assert_eq!(origin.count("/spare"), 0);
}

#[tokio::test]
async fn alt_is_asked_for_only_after_src_has_failed() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/page",
        Reply::html("[<esi:include src=\"/src\" alt=\"/spare\"/>]"),
    );
    origin.on("/src", Reply::error(500).behind(&gate));
    origin.on("/spare", Reply::html("SPARE"));
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/page").bytes()).await;
    origin.arrived("/src", 1).await;
    assert_eq!(origin.count("/spare"), 0);
    gate.open();
    client.answer().await.is(200, "[SPARE]");
}

#[tokio::test]
async fn the_others_of_a_failed_attempt_are_left_to_finish() {
    let origin = Origin::start().await;
    let (bad, slow) = (Gate::new(), Gate::new());
    origin.on(
        "/page",
        Reply::html(
            "[<esi:try><esi:attempt><esi:include src=\"/slow\"/><esi:include src=\"/bad\"/></esi:attempt>\
             <esi:except>plain</esi:except></esi:try>]",
        ),
    );
    origin.on("/slow", Reply::html("SLOW").behind(&slow));
    origin.on("/bad", Reply::error(500).behind(&bad));
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/page").bytes()).await;
    origin.arrived("/slow", 1).await;
    origin.arrived("/bad", 1).await;
    bad.open();
    client.answer().await.is(200, "[plain]");
    // The page is complete, and its server is still let to say what it was asked for.
    slow.open();
    origin.has_answered(3).await;
}

#[tokio::test]
async fn a_failing_ssi_include_takes_its_stub_or_says_so() {
    let origin = Origin::start().await;
    origin.on(
        "/page",
        Reply::html(
            "<!--#block name=\"b\" -->stub<!--#endblock -->[<!--#include virtual=\"/bad\" stub=\"b\" -->]\
             [<!--#include virtual=\"/empty\" stub=\"b\" -->][<!--#include virtual=\"/bad\" -->]",
        ),
    );
    origin.on("/bad", Reply::error(503));
    origin.on("/empty", Reply::html(""));
    let gateway = Setup::composing(&origin).start().await;
    gateway.get("/page").await.is(
        200,
        "[stub][stub][[an error occurred while processing the directive]]",
    );
}

#[tokio::test]
async fn a_skeleton_that_fails_is_answered_without_the_inside() {
    let origin = Origin::start().await;
    let cases: Vec<(&str, Reply, &[u16])> = vec![
        ("cut", Reply::html("half a page").cut(), &[502]),
        (
            "cut chunks",
            Reply::html("half a page").chunked().cut(),
            &[502],
        ),
        ("slammed", Reply::slam(), &[502]),
        (
            "no HTTP",
            Reply::raw("garbage\r\n\r\n").then_close(),
            &[502],
        ),
        ("silent", Reply::hang(), &[504]),
        (
            "silent within",
            Reply::html("half a page").stall(),
            &[502, 504],
        ),
        ("too large", Reply::html("half a page".repeat(1000)), &[502]),
        (
            "announced too large",
            Reply::html("half a page").announcing(1 << 40),
            &[502],
        ),
    ];
    for (index, (_, reply, _)) in cases.iter().enumerate() {
        origin.on(&format!("/{index}"), reply.clone());
    }
    let gateway = Setup::new()
        .compose("max_document = \"4KiB\"")
        .upstream(
            "app",
            &origin,
            "first_byte_timeout = \"500ms\"\nbody_idle_timeout = \"500ms\"\nretries = 0",
        )
        .route("/", "app", "compose = \"always\"")
        .start()
        .await;
    for (index, (what, _, statuses)) in cases.iter().enumerate() {
        let answer = gateway.get(&format!("/{index}")).await;
        assert!(
            statuses.contains(&answer.status),
            "{what}: {}",
            answer.status
        );
        assert_eq!(answer.end, End::Complete, "{what}");
        tells_nothing(&answer, &origin);
    }
}

#[tokio::test]
async fn an_error_page_of_the_skeletons_origin_passes() {
    let origin = Origin::start().await;
    origin.on(
        "/missing",
        Reply::html("<esi:include src=\"/f\"/> not here").status(404),
    );
    origin.on(
        "/moved",
        Reply::html("").status(302).header("Location", "/there"),
    );
    let gateway = Setup::composing(&origin).start().await;
    gateway
        .get("/missing")
        .await
        .is(404, "<esi:include src=\"/f\"/> not here");
    let moved = gateway.get("/moved").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (302, Some("/there"))
    );
}

#[tokio::test]
async fn an_answer_that_was_cut_on_its_way_looks_cut() {
    let origin = Origin::start().await;
    origin.on("/length", Reply::text("half").cut());
    origin.on("/chunks", Reply::text("half").chunked().cut());
    origin.on("/stall", Reply::text("half").stall());
    let gateway = Setup::new()
        .upstream("app", &origin, "body_idle_timeout = \"500ms\"")
        .route("/", "app", "compose = \"off\"")
        .start()
        .await;
    for target in ["/length", "/chunks", "/stall"] {
        let answer = gateway.get(target).await;
        let honest = answer.end == End::Cut || answer.status >= 500;
        assert!(honest, "{target}: {answer:?}");
    }
}

#[tokio::test]
async fn without_chunks_a_whole_answer_ends_and_a_cut_one_is_reset() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/whole",
        Reply::text("all ").chunked().repeated("of it ", 1000),
    );
    origin.on("/cut", Reply::text("half").chunked().cut());
    origin.on(
        "/slow",
        Reply::text("half")
            .chunked()
            .and(" of")
            .then_behind(&gate)
            .and(" it"),
    );
    let page = "begin <esi:include src=\"/slow\"/> end";
    origin.on("/page", Reply::html(page));
    let mut gateway = Setup::composing(&origin).start().await;
    let old = |target: &str| format!("GET {target} HTTP/1.0\r\nHost: www.example.com\r\n\r\n");

    let mut client = gateway.client().await;
    client.send(old("/whole")).await;
    let answer = client.answer().await;
    assert!(answer.header("transfer-encoding").is_none());
    answer.is(200, &format!("all {}", "of it ".repeat(1000)));

    let mut client = gateway.client().await;
    client.send(old("/cut")).await;
    let answer = client.answer().await;
    assert!(answer.end == End::Cut || answer.status >= 500, "{answer:?}");

    // What is there goes out at once, and a gateway that dies does not make the rest look whole.
    let mut client = gateway.client().await;
    client.send(old("/page")).await;
    let mut page = client.incoming("GET").await;
    page.until("begin ").await;
    gateway.signal("INT");
    assert_eq!(page.finish().await.end, End::Cut);
    gateway.exited().await;
}

#[tokio::test]
async fn a_page_that_grows_too_large_on_its_way_looks_cut() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/page",
        Reply::html("begin <esi:include src=\"/small\"/><esi:include src=\"/large\"/> end"),
    );
    origin.on("/small", Reply::html("small "));
    origin.on("/large", Reply::html("x".repeat(5000)).behind(&gate));
    let gateway = Setup::composing(&origin)
        .compose("max_page = \"4KiB\"")
        .start()
        .await;
    let mut client = gateway.client().await;
    let mut page = client.begin(&ask("GET", "/page")).await;
    page.until("begin small ").await;
    gate.open();
    let answer = page.finish().await;
    assert_eq!(answer.end, End::Cut, "{}", answer.text());
    assert!(!answer.text().contains("end"));
}

#[tokio::test]
async fn a_dead_server_fails_no_request_while_another_lives() {
    let living = Origin::start().await;
    let mut dying = Origin::start().await;
    for origin in [&living, &dying] {
        origin.on("*", Reply::html("here"));
    }
    let gateway = Setup::new()
        .servers(
            "app",
            &[dying.address, living.address],
            "balance = \"round-robin\"",
        )
        .route("/", "app", "compose = \"always\"")
        .start()
        .await;
    for round in 0..10 {
        gateway.get(&format!("/{round}")).await.is(200, "here");
    }
    assert!(!dying.requests().is_empty(), "both serve");
    dying.stop().await;
    for round in 10..40 {
        gateway.get(&format!("/{round}")).await.is(200, "here");
    }
    dying.restart().await;
    for round in 40..50 {
        gateway.get(&format!("/{round}")).await.is(200, "here");
    }
}

#[tokio::test]
async fn a_request_with_side_effects_is_sent_at_most_once() {
    let one = Origin::start().await;
    let two = Origin::start().await;
    for origin in [&one, &two] {
        origin.on("/order*", Reply::slam());
        origin.on("/look*", Reply::slam());
    }
    let gateway = Setup::new()
        .servers("app", &[one.address, two.address], "retries = 3")
        .route("/", "app", "compose = \"always\"")
        .start()
        .await;
    for method in ["POST", "PATCH", "BREW"] {
        let target = format!("/order/{method}");
        let answer = gateway.fetch(&ask(method, &target).body("n=1")).await;
        assert_eq!(answer.status, 502, "{method}");
        tells_nothing(&answer, &one);
        assert_eq!(one.count(&target) + two.count(&target), 1, "{method}");
    }
    assert_eq!(gateway.get("/look").await.status, 502);
    assert!(
        one.count("/look") > 0 && two.count("/look") > 0,
        "another server was tried"
    );
}

#[tokio::test]
async fn an_error_of_the_application_is_not_tried_again() {
    let one = Origin::start().await;
    let two = Origin::start().await;
    for origin in [&one, &two] {
        origin.on("/x", Reply::html("sorry").status(500));
    }
    let gateway = Setup::new()
        .servers("app", &[one.address, two.address], "retries = 3")
        .route("/", "app", "compose = \"always\"")
        .start()
        .await;
    gateway.get("/x").await.is(500, "sorry");
    assert_eq!(one.count("/x") + two.count("/x"), 1);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_has_closed_is_replaced() {
    let origin = Origin::start().await;
    let shut = Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").then_close();
    origin.on("/x", shut);
    let gateway = Setup::new()
        .upstream("app", &origin, "retries = 0")
        .route("/", "app", "")
        .start()
        .await;
    for _ in 0..20 {
        gateway.get("/x").await.is(200, "ok");
    }
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_answered_with_an_honest_error() {
    let mut origin = Origin::start().await;
    origin.on("/x", Reply::text("here"));
    let gateway = Setup::composing(&origin).start().await;
    gateway.get("/x").await.is(200, "here");
    origin.stop().await;
    let answer = gateway.get("/x").await;
    assert!(matches!(answer.status, 502 | 503), "{}", answer.status);
    assert!(answer.status != 503 || answer.header("retry-after").is_some());
    tells_nothing(&answer, &origin);
    origin.restart().await;
    support::within("the server to be back", async {
        while gateway.get("/x").await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn tells_nothing(answer: &Answer, origin: &Origin) {
    let address = origin.address.to_string();
    for secret in [
        address.as_str(),
        "127.0.0.1",
        "half a page",
        "refused",
        "os error",
    ] {
        assert!(
            !contains(&answer.body, secret.as_bytes()),
            "{}",
            answer.text()
        );
        assert!(
            !contains(&answer.head.raw, secret.as_bytes()),
            "{:?}",
            answer.head
        );
    }
}

/// An address where nothing listens.
async fn closed_port() -> SocketAddr {
    let mut origin = Origin::start().await;
    origin.stop().await;
    origin.address
}
