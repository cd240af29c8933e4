//! A page leaves in page order, its first bytes before its slowest fragment is there; nothing is held that could go, and nothing is
//! read that nobody takes.

mod support;

use support::{End, Gate, Origin, Reply, Setup, ask, each};

#[tokio::test]
async fn what_stands_before_the_slowest_fragment_leaves_first() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/page",
        Reply::html("<head>early</head><esi:include src=\"/fast\"/> middle <esi:include src=\"/slow\"/> late"),
    );
    origin.on("/fast", Reply::html("fast"));
    origin.on("/slow", Reply::html("slow").behind(&gate));
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    let mut page = client.begin(&ask("GET", "/page")).await;
    let early = page.until("<head>early</head>fast middle ").await;
    assert_eq!(early, b"<head>early</head>fast middle ");
    origin.arrived("/slow", 1).await;
    gate.open();
    page.finish()
        .await
        .is(200, "<head>early</head>fast middle slow late");
}

/// The compiled page knows whether it may write its head: the head of such a page waits for the last call, and no other's does.
#[tokio::test]
async fn only_a_page_that_writes_its_head_is_held_back() {
    let call = "<esi:vars>$add_header('X-Late', 'yes')</esi:vars>";
    let looks_alike = "<esi:vars>$add_headers('X-Late', 'yes')$upper('late')</esi:vars>";
    for (path, end, said) in [("/writes", call, Some("yes")), ("/does-not", "late", None)] {
        let origin = Origin::start().await;
        let gate = Gate::new();
        let page = format!("early<esi:include src=\"/slow\"/>{end}");
        origin.on(path, Reply::html(page));
        origin.on("/slow", Reply::html("slow").behind(&gate));
        let gateway = Setup::composing(&origin).start().await;
        let mut client = gateway.client().await;
        let answer = if said.is_some() {
            client.send(ask("GET", path).bytes()).await;
            origin.arrived("/slow", 1).await;
            gate.open();
            client.answer().await
        } else {
            let mut page = client.begin(&ask("GET", path)).await;
            page.until("early").await;
            gate.open();
            page.finish().await
        };
        assert_eq!(answer.header("x-late"), said, "{path}");
    }
    // A name that only starts alike is held back too, for it is the bytes that decide; nothing is said then.
    let origin = Origin::start().await;
    origin.on("/alike", Reply::html(looks_alike));
    let gateway = Setup::composing(&origin).start().await;
    let answer = gateway.client().await.fetch(&ask("GET", "/alike")).await;
    answer.is(200, "LATE");
    assert_eq!(answer.header("x-late"), None);
}

#[tokio::test]
async fn output_stands_in_page_order_whatever_comes_first() {
    let origin = Origin::start().await;
    let gates: Vec<Gate> = (0..8).map(|_| Gate::new()).collect();
    let page = each(0..8, |index| {
        format!("{index}[<esi:include src=\"/f/{index}\"/>]")
    });
    let wanted = each(0..8, |index| format!("{index}[fragment {index}]"));
    for (index, gate) in gates.iter().enumerate() {
        let reply = Reply::html(format!("fragment {index}"));
        origin.on(&format!("/f/{index}"), reply.behind(gate));
    }
    origin.on("/page", Reply::html(page));
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/page").bytes()).await;
    origin.arrived_in_all(9).await;
    for (number, gate) in gates.iter().rev().enumerate() {
        gate.open();
        origin.has_answered(number + 2).await;
    }
    client.answer().await.is(200, &wanted);
}

#[tokio::test]
async fn all_fragments_are_asked_for_before_any_has_answered() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let page =
        "<esi:include src=\"/f/1\"/>-<!--#include virtual=\"/f/2\" -->-<esi:include src=\"/f/3\"/>";
    origin.on("/page", Reply::html(page.repeat(5)));
    origin.on(
        "/f/*",
        Reply::html("x")
            .header("Cache-Control", "private")
            .behind(&gate),
    );
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    client
        .send(ask("GET", "/page").header("Cookie", "session=ann").bytes())
        .await;
    // The page and each distinct fragment at least once, none of them answered.
    for target in ["/f/1", "/f/2", "/f/3"] {
        origin.arrived(target, 1).await;
    }
    gate.open();
    client.answer().await.is(200, &"x-x-x".repeat(5));
}

#[tokio::test]
async fn fragments_inside_fragments_start_when_these_arrive() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/page",
        Reply::html("(<esi:include src=\"/slow\"/>)(<esi:include src=\"/outer\"/>)"),
    );
    origin.on("/slow", Reply::html("slow").behind(&gate));
    origin.on(
        "/outer",
        Reply::html("[<esi:include src=\"/inner\"/>|<esi:include src=\"/inner2\"/>]"),
    );
    origin.on("/inner", Reply::html("in").behind(&gate));
    origin.on("/inner2", Reply::html("in2"));
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    let mut page = client.begin(&ask("GET", "/page")).await;
    page.until("(").await;
    origin.arrived("/inner", 1).await;
    origin.arrived("/inner2", 1).await;
    gate.open();
    page.finish().await.is(200, "(slow)([in|in2])");
}

#[tokio::test]
async fn a_nested_fragment_holds_no_server_while_its_parts_wait() {
    let origin = Origin::start().await;
    origin.on(
        "/page",
        Reply::html("<esi:include src=\"/a\"/><esi:include src=\"/b\"/>"),
    );
    for name in ["a", "b"] {
        let outer =
            format!("{name}[<esi:include src=\"/{name}/1\"/><esi:include src=\"/{name}/2\"/>]");
        origin.on(&format!("/{name}"), Reply::html(outer));
        origin.on(&format!("/{name}/*"), Reply::html("x"));
    }
    let gateway = Setup::new()
        .upstream("app", &origin, "max_in_flight = 1")
        .route("/", "app", "compose = \"always\"")
        .start()
        .await;
    gateway.get("/page").await.is(200, "a[xx]b[xx]");
    assert_eq!(origin.most_in_flight(), 1);
}

#[tokio::test]
async fn a_page_whose_parts_are_at_hand_has_a_length() {
    let origin = Origin::start().await;
    let shared = |body: &str| Reply::html(body).header("Cache-Control", "public, s-maxage=60");
    origin.on(
        "/page",
        shared("<p>[<esi:include src=\"/a\"/>][<esi:include src=\"/b\"/>]</p>"),
    );
    origin.on("/a", shared("A"));
    origin.on("/b", shared("b<esi:include src=\"/a\"/>"));
    let gateway = Setup::composing(&origin).start().await;
    gateway.get("/page").await.is(200, "<p>[A][bA]</p>");
    let answer = gateway.get("/page").await;
    answer.is(200, "<p>[A][bA]</p>");
    assert_eq!(answer.header("content-length"), Some("14"));
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(origin.requests().len(), 3, "all from the store");
}

#[tokio::test]
async fn a_document_without_tags_keeps_its_head_and_its_bytes() {
    let origin = Origin::start().await;
    let body: Vec<u8> = (0..=255)
        .cycle()
        .take(5000)
        .filter(|byte| *byte != b'<')
        .collect();
    let page = Reply::html(&body)
        .header("ETag", "\"v1\"")
        .header("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")
        .header("Surrogate-Control", "content=\"ESI/1.0\"")
        .header("X-Own", "kept");
    origin.on("/page", page);
    let gateway = Setup::composing(&origin).start().await;
    let answer = gateway.get("/page").await;
    assert_eq!((answer.status, answer.end), (200, End::Complete));
    assert_eq!(answer.body, body);
    assert_eq!(answer.header("etag"), Some("\"v1\""));
    assert_eq!(answer.header("x-own"), Some("kept"));
    assert!(answer.header("last-modified").is_some());
    assert_eq!(answer.header("surrogate-control"), None);
}

#[tokio::test]
async fn what_is_no_document_passes_byte_for_byte() {
    let origin = Origin::start().await;
    let tags = "<esi:include src=\"/x\"/><!--#include virtual=\"/x\" -->";
    let bare = |media_type: &str| Reply::bare(tags).header("Content-Type", media_type);
    origin.on("/text", bare("text/plain"));
    origin.on("/image", bare("image/png"));
    origin.on("/untyped", Reply::bare(tags));
    origin.on("/missing", bare("text/html").status(404));
    origin.on("/undeclared/page", bare("text/html"));
    origin.on(
        "/off/page",
        bare("text/html").header("Surrogate-Control", "content=\"ESI/1.0\""),
    );
    let gateway = Setup::composing(&origin)
        .route("/undeclared", "app", "")
        .route("/off", "app", "compose = \"off\"")
        .start()
        .await;
    for (target, status) in [
        ("/text", 200),
        ("/image", 200),
        ("/untyped", 200),
        ("/missing", 404),
        ("/undeclared/page", 200),
        ("/off/page", 200),
    ] {
        gateway.get(target).await.is(status, tags);
    }
    assert_eq!(origin.count("/x"), 0);
}

#[tokio::test]
async fn a_page_declares_itself_in_any_of_the_known_ways() {
    let origin = Origin::start().await;
    let ways = [
        ("Surrogate-Control", "content=\"ESI/1.0\""),
        (
            "Surrogate-Control",
            "max-age=60, content=\"SSI/1.0 ESI/1.0\"",
        ),
        ("Surrogate-Control", "content=\"ESI/1.0\";marquetry"),
        ("X-Esi", "1"),
        ("Edge-Control", "dca=esi"),
    ];
    for (index, (name, value)) in ways.iter().enumerate() {
        let page = Reply::html("[<esi:include src=\"/f\"/><!--#include virtual=\"/f\" -->]");
        origin.on(&format!("/{index}"), page.header(name, value));
    }
    origin.on("/f", Reply::html("F"));
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route("/", "app", "")
        .start()
        .await;
    for (index, way) in ways.iter().enumerate() {
        let answer = gateway.get(&format!("/{index}")).await;
        assert_eq!(answer.text(), "[FF]", "{way:?}");
        assert_eq!(answer.header("surrogate-control"), None, "{way:?}");
    }
}

#[tokio::test]
async fn what_is_not_composed_streams_as_it_comes() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let reply = Reply::text("first ")
        .chunked()
        .then_behind(&gate)
        .and("second");
    origin.on("/events", reply);
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    let mut answer = client.begin(&ask("GET", "/events")).await;
    answer.until("first ").await;
    gate.open();
    answer.finish().await.is(200, "first second");
}

#[tokio::test]
async fn a_request_body_streams_as_it_comes() {
    let origin = Origin::start().await;
    origin.answer("/upload", |request| {
        Reply::text(request.body.len().to_string())
    });
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    client
        .send("POST /upload HTTP/1.1\r\nHost: www.example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    // The head reaches the origin while the body is still being sent.
    origin.arrived("/upload", 1).await;
    client.send("6\r\n world\r\n0\r\n\r\n").await;
    client.answer().await.is(200, "11");
    assert_eq!(origin.last("/upload").body, b"hello world");
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_reading_from_the_origin() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 2048;
    let origin = Origin::start().await;
    origin.on(
        "/big",
        Reply::bare("")
            .header("Content-Type", "video/mp4")
            .repeated(vec![b'x'; PIECE], PIECES),
    );
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    let answer = client.begin(&ask("GET", "/big")).await;
    let written = origin.stalled().await;
    assert!(written < PIECE * PIECES / 2, "{written} bytes were taken");
    let answer = answer.finish().await;
    assert_eq!(
        (answer.body.len(), answer.end),
        (PIECE * PIECES, End::Complete)
    );
}

#[tokio::test]
async fn a_client_that_leaves_cancels_what_only_it_needed() {
    let origin = Origin::start().await;
    let never = Gate::new();
    origin.on("/page", Reply::html("begin <esi:include src=\"/slow\"/>"));
    origin.on(
        "/slow",
        Reply::html("slow")
            .header("Cache-Control", "private")
            .behind(&never),
    );
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    let mut page = client
        .begin(&ask("GET", "/page").header("Cookie", "session=ann"))
        .await;
    page.until("begin").await;
    origin.arrived("/slow", 1).await;
    drop(client);
    origin.abandoned("/slow").await;
}

#[tokio::test]
async fn head_begins_as_get_and_fetches_no_fragment() {
    let origin = Origin::start().await;
    origin.on(
        "/page",
        Reply::html("<esi:include src=\"/f\"/>")
            .header("X-Own", "kept")
            .header("ETag", "\"v1\""),
    );
    origin.on("/f", Reply::html("F"));
    let gateway = Setup::composing(&origin).start().await;
    let head = gateway.fetch(&ask("HEAD", "/page")).await;
    assert_eq!((head.status, head.header("x-own")), (200, Some("kept")));
    assert_eq!(head.header("content-length"), None);
    assert_eq!(head.header("etag"), None);
    assert_eq!(origin.count("/f"), 0);

    // No length either where all parts are at hand.
    let free = |reply: Reply| reply.header("Cache-Control", "public, s-maxage=60");
    origin.on("/free", free(Reply::html("<esi:include src=\"/part\"/>")));
    origin.on("/part", free(Reply::html("part")));
    gateway.get("/free").await.is(200, "part");
    let get = gateway.get("/free").await;
    let head = gateway.fetch(&ask("HEAD", "/free")).await;
    assert_eq!(get.header("content-length"), Some("4"));
    assert_eq!(head.header("content-length"), None);
    for name in ["etag", "cache-control", "vary", "content-type"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
}
