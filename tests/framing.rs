//! One reading only: what could be read in two ways is refused on both sides, and what goes to an origin is written anew.

mod support;

use support::{Client, End, Gateway, Origin, Recorded, Reply, Setup, ask, contains};

/// What would be read as a second request by whoever reads the first one differently.
const SECOND: &str = "GET /smuggled HTTP/1.1\r\nHost: www.example.com\r\n\r\n";

async fn site() -> (Origin, Gateway) {
    let origin = Origin::start().await;
    origin.answer("*", |request| {
        Reply::text(format!("{} {}", request.method, request.body.len()))
    });
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route("/", "app", "compose = \"always\"")
        .start()
        .await;
    (origin, gateway)
}

/// Sends the bytes and what could be taken for a second request; the answer is a refusal, the connection ends, and the origin has
/// seen nothing that looks whole.
async fn is_refused(origin: &Origin, gateway: &Gateway, what: &str, bytes: &[u8]) {
    let mut client = gateway.client().await;
    // The gateway may close before it has read all.
    let _ = client.try_send([bytes, SECOND.as_bytes()].concat()).await;
    if let Some(incoming) = client.try_incoming("GET").await {
        let answer = incoming.finish().await;
        assert!(answer.status >= 400, "{what}: {}", answer.status);
    }
    let rest = client.closed().await;
    assert!(!contains(&rest, b"HTTP/1.1 200"), "{what}: a second answer");
    for request in origin.requests() {
        assert_ne!(request.target, "/smuggled", "{what}");
        assert!(
            !request.whole || request.target == "/fine",
            "{what}: {request:?}"
        );
    }
}

fn with_head(lines: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: www.example.com\r\n{lines}\r\n\r\n")
}

#[tokio::test]
async fn a_head_that_could_be_read_in_two_ways_is_refused() {
    let (origin, gateway) = site().await;
    let lines = [
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6"),
        ("a list of two lengths", "Content-Length: 5, 6"),
        ("a signed length", "Content-Length: +5"),
        ("a negative length", "Content-Length: -5"),
        ("a hexadecimal length", "Content-Length: 0x5"),
        ("an empty length", "Content-Length:"),
        ("a length with a space in it", "Content-Length: 5 5"),
        ("a length with a point", "Content-Length: 5.0"),
        (
            "a length that overflows",
            "Content-Length: 99999999999999999999",
        ),
        (
            "a length that wraps to 5",
            "Content-Length: 18446744073709551621",
        ),
        ("an unknown coding", "Transfer-Encoding: xchunked"),
        ("gzip before chunked", "Transfer-Encoding: gzip, chunked"),
        ("chunked twice", "Transfer-Encoding: chunked, chunked"),
        (
            "chunked before identity",
            "Transfer-Encoding: chunked, identity",
        ),
        ("identity", "Transfer-Encoding: identity"),
        ("an empty coding", "Transfer-Encoding:"),
        (
            "two codings on two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        ),
        ("a quoted coding", "Transfer-Encoding: \"chunked\""),
        (
            "a vertical tab before the coding",
            "Transfer-Encoding: \x0bchunked",
        ),
        ("a space before the colon", "X-One : 1"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked"),
        ("an empty name", ": 1"),
        ("a line without a colon", "X-One"),
        ("a bare CR in a value", "X-One: a\rb"),
        ("a bare CR before a name", "X-One: a\r\n\rX-Two: b"),
        ("a NUL in a value", "X-One: a\0b"),
        ("a NUL in a name", "X-\0One: a"),
        ("a control byte in a value", "X-One: a\x01b"),
        ("a control byte in a name", "X\x01One: a"),
        ("a name with a space", "X One: a"),
        ("two hosts", "Host: www.example.com"),
        ("another host", "Host: evil.example.com"),
    ];
    for (what, lines) in lines {
        is_refused(&origin, &gateway, what, with_head(lines).as_bytes()).await;
    }
}

#[tokio::test]
async fn a_request_line_or_host_that_is_none_is_refused() {
    let (origin, gateway) = site().await;
    let requests = [
        ("no host", "GET /x HTTP/1.1\r\n\r\n"),
        ("an empty host", "GET /x HTTP/1.1\r\nHost:\r\n\r\n"),
        (
            "a host with a user",
            "GET /x HTTP/1.1\r\nHost: user@www.example.com\r\n\r\n",
        ),
        (
            "a host with a path",
            "GET /x HTTP/1.1\r\nHost: www.example.com/x\r\n\r\n",
        ),
        (
            "a host with a query",
            "GET /x HTTP/1.1\r\nHost: www.example.com?x\r\n\r\n",
        ),
        (
            "a host with a space",
            "GET /x HTTP/1.1\r\nHost: www.example.com x\r\n\r\n",
        ),
        (
            "a list of hosts",
            "GET /x HTTP/1.1\r\nHost: a.example.com, b.example.com\r\n\r\n",
        ),
        (
            "a port that is none",
            "GET /x HTTP/1.1\r\nHost: www.example.com:http\r\n\r\n",
        ),
        (
            "a port that is too large",
            "GET /x HTTP/1.1\r\nHost: www.example.com:99999\r\n\r\n",
        ),
        (
            "a host with a backslash",
            "GET /x HTTP/1.1\r\nHost: www.example.com\\x\r\n\r\n",
        ),
        (
            "HTTP/1.2",
            "GET /x HTTP/1.2\r\nHost: www.example.com\r\n\r\n",
        ),
        (
            "HTTP/2.0",
            "GET /x HTTP/2.0\r\nHost: www.example.com\r\n\r\n",
        ),
        ("HTTP/0.9", "GET /x\r\n\r\n"),
        (
            "lower case http",
            "GET /x http/1.1\r\nHost: www.example.com\r\n\r\n",
        ),
        (
            "a space in the target",
            "GET /x y HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
        ),
        (
            "a NUL in the target",
            "GET /x\0y HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
        ),
        (
            "a relative target",
            "GET x HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
        ),
        ("no method", " /x HTTP/1.1\r\nHost: www.example.com\r\n\r\n"),
        (
            "CONNECT",
            "CONNECT www.example.com:443 HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
        ),
        (
            "an absolute target of another host",
            "GET http://evil.example.com/x HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
        ),
        (
            "a target of another scheme",
            "GET file:///etc/passwd HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
        ),
    ];
    for (what, request) in requests {
        if what == "an absolute target of another host" {
            // May be refused, or be a request to that host; never one to both.
            let mut client = gateway.client().await;
            client.send(request).await;
            let answer = client.answer().await;
            if answer.status < 400 {
                assert_eq!(origin.last("/x").host(), "evil.example.com");
            }
            continue;
        }
        if what == "CONNECT" {
            let mut client = gateway.client().await;
            client.send(request).await;
            let status = client.incoming("CONNECT").await.status;
            assert!(status >= 400, "{what}: {status}");
            continue;
        }
        is_refused(&origin, &gateway, what, request.as_bytes()).await;
    }
}

#[tokio::test]
async fn a_broken_body_never_reaches_an_origin_looking_whole() {
    let (origin, gateway) = site().await;
    let chunks = [
        ("a size that is no number", "zz\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a signed size", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a prefixed size", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        (
            "a size that overflows",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "a size before a space and more",
            "5 5\r\nhello\r\n0\r\n\r\n",
        ),
        ("no end after the data", "5\r\nhello0\r\n\r\n"),
        ("more data than said", "3\r\nhello\r\n0\r\n\r\n"),
        (
            "a line feed in an extension",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
        ),
    ];
    for (what, body) in chunks {
        let request = format!("{}{body}", with_head("Transfer-Encoding: chunked"));
        is_refused(&origin, &gateway, what, request.as_bytes()).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_never_reaches_an_origin_looking_whole() {
    let (origin, gateway) = site().await;
    for head in [
        "Content-Length: 100\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = gateway.client().await;
        client
            .send(format!(
                "POST /x HTTP/1.1\r\nHost: www.example.com\r\n{head}"
            ))
            .await;
        client.shut().await;
        let rest = client.closed().await;
        assert!(
            !contains(&rest, b" 200 "),
            "{}",
            String::from_utf8_lossy(&rest)
        );
    }
    assert!(origin.requests().iter().all(|request| !request.whole));
}

#[tokio::test]
async fn length_and_chunks_together_are_refused_or_end_the_connection() {
    let (origin, gateway) = site().await;
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let mut client = gateway.client().await;
        let _ = client
            .try_send(format!(
                "{}5\r\nhello\r\n0\r\n\r\n{SECOND}",
                with_head(lines)
            ))
            .await;
        let answer = client.answer().await;
        if answer.status < 400 {
            let request = origin.last("/x");
            assert_eq!(request.body, b"hello");
            assert!(
                request.head.all("content-length").len()
                    + request.head.all("transfer-encoding").len()
                    == 1
            );
        }
        client.closed().await;
        assert_eq!(origin.count("/smuggled"), 0, "{lines}");
    }
}

#[tokio::test]
async fn a_folded_line_never_reaches_an_origin() {
    let (origin, gateway) = site().await;
    let mut client = gateway.client().await;
    client
        .send("GET /x HTTP/1.1\r\nHost: www.example.com\r\nX-One: a\r\n folded: b\r\nX-Two: c\r\n\r\n")
        .await;
    let answer = client.answer().await;
    for request in origin.requests() {
        assert!(!contains(&request.head.raw, b"\r\n "), "{:?}", request.head);
    }
    assert!(answer.status >= 400 || origin.last("/x").head.first("x-one") == Some("a folded: b"));
}

/// The request for this target as the origin saw it.
async fn seen(origin: &Origin, gateway: &Gateway, request: &str, target: &str) -> Recorded {
    let mut client = gateway.client().await;
    client.send(request).await;
    assert_eq!(client.answer().await.status, 200);
    origin.last(target)
}

#[tokio::test]
async fn fields_of_one_connection_do_not_pass() {
    let (origin, gateway) = site().await;
    let request = "POST /x HTTP/1.1\r\nHost: WWW.Example.COM\r\nConnection: keep-alive, X-Secret, TE\r\nX-Secret: 1\r\n\
        Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X-Late\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nProxy-Authorization: Basic eA==\r\n\
        X-Kept: yes\r\nX-Kept: twice\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;ext=1\r\nhello\r\n0\r\nX-Late: evil\r\nContent-Length: 3\r\n\r\n";
    let head = seen(&origin, &gateway, request, "/x").await.head;
    for name in [
        "x-secret",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "http2-settings",
        "proxy-authorization",
        "x-late",
    ] {
        assert!(!head.has(name), "{name}: {head:?}");
    }
    assert_eq!(head.all("host"), ["www.example.com"]);
    assert_eq!(head.all("x-kept"), ["yes", "twice"]);
    let framing = head.all("content-length").len() + head.all("transfer-encoding").len();
    assert_eq!(framing, 1, "{head:?}");
    assert_eq!(origin.last("/x").body, b"hello");
}

#[tokio::test]
async fn a_client_cannot_name_away_what_the_gateway_sets() {
    let (origin, gateway) = site().await;
    let request = "GET /x HTTP/1.1\r\nHost: www.example.com\r\n\
        Connection: Host, X-Forwarded-For, X-Forwarded-Proto, X-Request-Id, Via, Surrogate-Capability, Content-Length\r\n\r\n";
    let head = seen(&origin, &gateway, request, "/x").await.head;
    assert_eq!(head.all("host"), ["www.example.com"]);
    for name in [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-request-id",
        "via",
        "surrogate-capability",
    ] {
        assert_eq!(head.all(name).len(), 1, "{name}: {head:?}");
    }
}

#[tokio::test]
async fn fields_that_name_the_request_a_second_time_are_the_gateways_own() {
    let (origin, gateway) = site().await;
    let request = "GET /x HTTP/1.1\r\nHost: www.example.com\r\n\
        Forwarded: for=10.0.0.1;host=evil\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Port: 1\r\nX-Forwarded-Server: evil\r\nX-Forwarded-Scheme: https\r\nX-Forwarded-Prefix: /evil\r\n\
        X-Host: evil\r\nX-HTTP-Host-Override: evil\r\nX-Original-URL: /evil\r\nX-Rewrite-URL: /evil\r\n\
        X-HTTP-Method: DELETE\r\nX-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\n\
        Surrogate-Capability: evil=\"ESI/1.0\"\r\nTraceparent: 00-11111111111111111111111111111111-2222222222222222-01\r\n\r\n";
    let head = seen(&origin, &gateway, request, "/x").await.head;
    for (name, value) in &head.fields {
        for theirs in [
            "evil",
            "10.0.0.1",
            "DELETE",
            "11111111111111111111111111111111",
        ] {
            assert!(!value.contains(theirs), "{name}: {value}");
        }
    }
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-host"), ["www.example.com"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(
        head.all("surrogate-capability"),
        ["marquetry=\"Surrogate/1.0 ESI/1.0 SSI/1.0\""]
    );
}

#[tokio::test]
async fn a_body_of_a_get_is_read_and_dropped() {
    let (origin, gateway) = site().await;
    let mut client = gateway.client().await;
    for _ in 0..3 {
        let get = ask("GET", "/x").body(SECOND);
        client.fetch(&get).await.is(200, "GET 0");
    }
    assert_eq!(origin.count("/smuggled"), 0);
    let head = origin.last("/x").head;
    assert!(
        !head.has("content-length") && !head.has("transfer-encoding"),
        "{head:?}"
    );
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_leaves_no_request_behind() {
    let origin = Origin::start().await;
    origin.on(
        "*",
        Reply::text("fine").header("Cache-Control", "public, s-maxage=60"),
    );
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route("/known", "app", "")
        .start()
        .await;
    gateway.get("/known").await.is(200, "fine");
    let filler = "x".repeat(100_000);
    for (what, head, body) in [
        (
            "no route",
            "POST /unknown HTTP/1.1",
            format!("{filler}{SECOND}"),
        ),
        (
            "refused",
            "POST /a/..%2fb HTTP/1.1",
            format!("{filler}{SECOND}"),
        ),
        ("from the store", "GET /known HTTP/1.1", SECOND.to_owned()),
    ] {
        let mut client = gateway.client().await;
        let length = body.len();
        client
            .send(format!(
                "{head}\r\nHost: www.example.com\r\nContent-Length: {length}\r\n\r\n"
            ))
            .await;
        let _ = client.try_send(&body).await;
        let answer = client.answer().await;
        assert_ne!(answer.status, 500, "{what}");
        // The connection goes on with the next request, or it ends.
        if client
            .try_send(ask("GET", "/known/next").bytes())
            .await
            .is_ok()
            && let Some(next) = client.try_incoming("GET").await
        {
            next.finish().await.is(200, "fine");
        }
        assert!(
            origin
                .requests()
                .iter()
                .all(|it| !it.target.contains("smuggled")),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_before_its_body_gets_one() {
    let (_origin, gateway) = site().await;
    let mut client = gateway.client().await;
    client
        .send("POST /x HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let word = client.incoming("POST").await.status;
    assert!(word == 100 || word == 417, "{word}");
    if word == 100 {
        client.send("hello").await;
        client.answer().await.is(200, "POST 5");
    }
}

#[tokio::test]
async fn an_upgrade_opens_no_tunnel() {
    let (origin, gateway) = site().await;
    for protocol in ["websocket", "h2c", "HTTP/2.0", "TLS/1.0"] {
        let request = ask("GET", "/x")
            .header("Connection", "Upgrade, HTTP2-Settings")
            .header("Upgrade", protocol)
            .header("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        gateway.fetch(&request).await.is(200, "GET 0");
        assert!(!origin.last("/x").head.has("upgrade"), "{protocol}");
    }
}

#[tokio::test]
async fn an_answer_that_could_be_read_in_two_ways_is_refused() {
    let answers = [
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        ),
        (
            "a list of lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
        ),
        (
            "a negative length",
            "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        ),
        (
            "a signed length",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        ),
        (
            "an empty length",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
        ),
        (
            "a length that overflows",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        ),
        (
            "an unknown coding",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nhello",
        ),
        (
            "gzip before chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "chunked before gzip",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "a control byte in a value",
            "HTTP/1.1 200 OK\r\nX-One: a\x01b\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "a NUL in a value",
            "HTTP/1.1 200 OK\r\nX-One: a\0b\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "a bare CR in a value",
            "HTTP/1.1 200 OK\r\nX-One: a\rb\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "a name with a space",
            "HTTP/1.1 200 OK\r\nX One: a\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "a space before the colon",
            "HTTP/1.1 200 OK\r\nX-One : a\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "a line without a colon",
            "HTTP/1.1 200 OK\r\nX-One\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "a status that is none",
            "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "another version",
            "HTTP/3.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        ),
        ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("nothing", ""),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-"),
        (
            "an unasked 101",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
        ),
    ];
    for media in ["compose = \"always\"", "compose = \"off\""] {
        let origin = Origin::start().await;
        for (index, (_, raw)) in answers.iter().enumerate() {
            origin.on(&format!("/{index}"), Reply::raw(raw).then_close());
        }
        let gateway = Setup::new()
            .upstream("app", &origin, "retries = 0")
            .route("/", "app", media)
            .start()
            .await;
        for (index, (what, _)) in answers.iter().enumerate() {
            let answer = gateway.get(&format!("/{index}")).await;
            assert_eq!(answer.status, 502, "{what}");
            assert!(!contains(&answer.body, b"hello"), "{what}");
        }
    }
}

#[tokio::test]
async fn an_answer_with_length_and_chunks_is_read_by_its_chunks_and_its_connection_ends() {
    let origin = Origin::start().await;
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    origin.on("/both", Reply::raw(both));
    origin.on("/next", Reply::text("next"));
    let gateway = Setup::composing(&origin).start().await;
    let answer = gateway.get("/both").await;
    assert!(
        answer.status == 502 || answer.text() == "hello",
        "{answer:?}"
    );
    gateway.get("/next").await.is(200, "next");
    assert_ne!(
        origin.requests()[0].connection,
        origin.requests()[1].connection
    );
}

#[tokio::test]
async fn early_answers_are_skipped_within_a_bound() {
    let origin = Origin::start().await;
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    origin.on(
        "/few",
        Reply::raw(format!(
            "HTTP/1.1 100 Continue\r\n\r\n{}{last}",
            early.repeat(3)
        )),
    );
    origin.on(
        "/many",
        Reply::raw(format!("{}{last}", early.repeat(5000))).then_close(),
    );
    let gateway = Setup::new()
        .upstream("app", &origin, "retries = 0")
        .route("/", "app", "")
        .start()
        .await;
    gateway.get("/few").await.is(200, "ok");
    assert_eq!(gateway.get("/many").await.status, 502);
}

#[tokio::test]
async fn the_head_of_an_answer_is_bounded() {
    let origin = Origin::start().await;
    let huge = format!("X-Huge: {}\r\n", "x".repeat(1 << 20));
    let many = "X-One: 1\r\n".repeat(20_000);
    for (target, lines) in [("/huge", huge), ("/many", many)] {
        let raw = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
        origin.on(target, Reply::raw(raw).then_close());
    }
    let gateway = Setup::composing(&origin).start().await;
    for target in ["/huge", "/many"] {
        assert_eq!(gateway.get(target).await.status, 502, "{target}");
    }
}

#[tokio::test]
async fn fields_of_the_origins_connection_do_not_pass_to_the_client() {
    let origin = Origin::start().await;
    let reply = Reply::text("ok")
        .header("Connection", "X-Secret")
        .header("X-Secret", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Authenticate", "Basic")
        .header("Upgrade", "h2c")
        .header("Surrogate-Key", "a b")
        .header("xkey", "a")
        .header("Cache-Tag", "a")
        .header("X-Magento-Tags", "a")
        .header("Marquetry-Cache-Control", "max-age=1")
        .header("Surrogate-Control", "max-age=1")
        .header("X-Kept", "one")
        .header("X-Kept", "two");
    origin.on("/x", reply);
    let gateway = Setup::composing(&origin).start().await;
    let answer = gateway.get("/x").await;
    answer.is(200, "ok");
    for name in [
        "x-secret",
        "keep-alive",
        "proxy-authenticate",
        "upgrade",
        "surrogate-key",
        "xkey",
        "cache-tag",
        "x-magento-tags",
        "marquetry-cache-control",
        "surrogate-control",
    ] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.head.all("x-kept"), ["one", "two"]);
    for name in ["via", "x-request-id", "cache-status", "date"] {
        assert!(answer.header(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order() {
    let (origin, gateway) = site().await;
    let mut client: Client = gateway.client().await;
    let (get, post) = (
        ask("GET", "/a").bytes(),
        ask("POST", "/b").body("hello").bytes(),
    );
    client
        .send([get.clone(), post.clone(), get, post].concat())
        .await;
    for wanted in ["GET 0", "POST 5", "GET 0", "POST 5"] {
        let answer = client.answer().await;
        answer.is(200, wanted);
        assert_eq!(answer.end, End::Complete);
    }
    assert_eq!(origin.requests().len(), 4);
}
