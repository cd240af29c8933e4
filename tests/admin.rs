//! What operators see: health, metrics, status, waterfalls, the access log, and the fields that tell how an answer came about.
//! No cookie and no credential stands in any of it.

mod support;

use serde_json::Value;
use support::{Client, Gate, Gateway, Origin, Reply, Setup, ask, within};

const SECRETS: &[&str] = &["s3cret-session", "czNjcmV0"];

/// A page with a shared, a personal and a failing fragment.
async fn site(server: &str) -> (Origin, Gateway) {
    let origin = Origin::start().await;
    let page = "<esi:include src=\"/f/top\"/><esi:include src=\"/f/me\"/><esi:include src=\"/f/bad\" onerror=\"continue\"/>";
    origin.on(
        "/page",
        Reply::html(page).header("Cache-Control", "public, s-maxage=60"),
    );
    origin.on(
        "/f/top",
        Reply::html("top").header("Cache-Control", "public, s-maxage=60"),
    );
    origin.on(
        "/f/me",
        Reply::html("me").header("Cache-Control", "private"),
    );
    origin.on("/f/bad", Reply::error(500));
    let gateway = Setup::new()
        .server(server)
        .upstream("app", &origin, "")
        .route("/", "app", "compose = \"always\"")
        .start()
        .await;
    (origin, gateway)
}

fn secret(target: &str) -> support::Ask {
    ask("GET", target)
        .header("Cookie", "session=s3cret-session")
        .header("Authorization", "Basic czNjcmV0")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn holds_no_secret(text: &str) {
    for word in SECRETS {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[tokio::test]
async fn it_says_that_it_lives_and_is_ready() {
    let (_origin, gateway) = site("").await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(gateway.admin(path).await.status, 200, "{path}");
    }
    assert_eq!(gateway.admin("/no/such/path").await.status, 404);
}

#[tokio::test]
async fn metrics_have_the_names_that_were_promised() {
    let (_origin, gateway) = site("").await;
    for _ in 0..3 {
        gateway
            .fetch(&secret("/page?q=in-the-query"))
            .await
            .is(200, "topme");
    }
    gateway
        .metric_reaches("marquetry_requests_total", "status=\"200\"", 3.0)
        .await;
    for (name, label, least) in [
        ("marquetry_requests_total", "route=", 3.0),
        ("marquetry_fragments_total", "upstream=\"app\"", 3.0),
        ("marquetry_cache_hits_total", "", 2.0),
        ("marquetry_cache_misses_total", "", 1.0),
        ("marquetry_cache_bytes", "", 1.0),
        ("marquetry_upstream_servers", "app", 1.0),
    ] {
        let found = gateway.metric(name, label).await;
        assert!(found >= least, "{name}{{{label}}} is {found}");
    }
    let text = gateway.admin("/metrics").await.text();
    for name in ["marquetry_upstream_in_flight", "marquetry_upstream_queued"] {
        assert!(text.contains(name), "{name} in {text}");
    }
    holds_no_secret(&text);
    assert!(!text.contains("in-the-query"), "names, never URLs: {text}");
}

#[tokio::test]
async fn status_tells_what_works_and_what_waits() {
    let (origin, gateway) = site("").await;
    let gate = Gate::new();
    origin.on("/held", Reply::text("held").behind(&gate));
    let mut client = gateway.client().await;
    client.send(ask("GET", "/held").bytes()).await;
    origin.arrived("/held", 1).await;
    let line = gateway.admin("/status.txt").await.text();
    assert!(
        line.starts_with("app: servers=1; working=1; waiter="),
        "{line}"
    );
    json(&gateway.admin("/status").await.text());
    gate.open();
    client.answer().await.is(200, "held");
}

#[tokio::test]
async fn a_page_is_remembered_with_all_its_fragments() {
    let (_origin, gateway) = site("").await;
    gateway.fetch(&secret("/page?q=%3Cscript%3E")).await;
    support::within("the page to be told of", async {
        while !gateway.admin("/pages").await.text().contains("/page") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let pages = json(&gateway.admin("/pages").await.text());
    let id = pages[0]["id"].as_str().expect("a page with its id");
    let text = gateway.admin(&format!("/pages/{id}")).await.text();
    json(&text);
    for part in ["/f/top", "/f/me", "/f/bad"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    holds_no_secret(&text);
}

#[tokio::test]
async fn each_request_leaves_one_line_of_json() {
    let (origin, gateway) = site("").await;
    let odd = secret("/page?line=1{").header("User-Agent", "\"quoted\\");
    gateway.fetch(&odd).await;
    let line = gateway.printed("/page?line=1").await;
    let line = json(&line);
    assert!(line.is_object(), "{line}");
    assert!(line.to_string().contains("200"), "{line}");
    gateway.get("/another").await;
    gateway.printed("/another").await;
    // Whoever has got all of a body has not left before its end.
    let free = Reply::text("free").header("Cache-Control", "public, s-maxage=60");
    origin.on("/free", free.clone());
    origin.on("/free-chunks", free.chunked());
    origin.on("/mine", Reply::text("mine"));
    for target in ["/free", "/free-chunks", "/mine"] {
        gateway.fetch(&secret(target)).await;
        let line = json(&gateway.printed(target).await);
        assert_eq!(line["end"], "complete", "{line}");
    }
    for line in gateway.stdout().iter().chain(&gateway.stderr()) {
        holds_no_secret(line);
    }
}

#[tokio::test]
async fn so_does_one_that_is_refused_for_its_head() {
    let limits = "max_request_head = \"32KiB\"\nmax_request_body = \"1KiB\"";
    let (_origin, gateway) = site(limits).await;
    let host = "Host: www.example.com\r\n";
    // `-`: it could not be read; nothing: that depends on how much of it came at once.
    let rows = [
        ("/no-host", 400, "GET /no-host HTTP/1.1\r\n".to_owned()),
        ("/two", 400, format!("GET /two HTTP/1.1\r\n{host}{host}")),
        ("/%2e%2f", 400, format!("GET /%2e%2f HTTP/1.1\r\n{host}")),
        ("/trace", 405, format!("TRACE /trace HTTP/1.1\r\n{host}")),
        (
            "/long",
            413,
            format!("POST /long HTTP/1.1\r\n{host}Content-Length: 1025\r\n"),
        ),
        (
            "",
            431,
            format!("GET / HTTP/1.1\r\n{host}X: {}\r\n", "x".repeat(33_000)),
        ),
        (
            "host:443",
            405,
            "CONNECT user:hunter2@host:443 HTTP/1.1\r\nHost: host:443\r\n".to_owned(),
        ),
        (
            "/user",
            400,
            "GET /user HTTP/1.1\r\nHost: user:hunter2@host\r\n".to_owned(),
        ),
        ("-", 400, format!("GET / HTTP/1.1\r\n{host}X Y: z\r\n")),
    ];
    for (path, status, head) in rows {
        let mut client = gateway.client().await;
        client.send(format!("{head}\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{head:.60}");
        let line = within(&format!("the line of {head:.40}"), async {
            loop {
                let lines = gateway.stdout();
                let mut lines = lines
                    .iter()
                    .filter(|line| line.starts_with('{'))
                    .map(|line| json(line));
                let fits = |line: &serde_json::Value| {
                    let named =
                        [&line["path"], &line["method"]].contains(&&serde_json::json!(path));
                    line["status"] == status && (path.is_empty() || named)
                };
                if let Some(line) = lines.find(fits) {
                    break line;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(line["reason"].is_string(), "{line}");
        if !matches!(path, "" | "-") {
            assert_eq!(answer.header("x-request-id"), line["request_id"].as_str());
            assert!(answer.lists("via", "1.1 marquetry"), "{answer:?}");
        }
        assert_eq!(answer.header("allow").is_some(), status == 405);
    }
    let refused = gateway.metric("marquetry_requests_total", "status=\"400\"");
    let refused = refused.await;
    assert!((refused - 5.0).abs() < 0.5, "{refused}");
    for line in gateway.stdout() {
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[tokio::test]
async fn cache_status_tells_how_the_answer_came() {
    let (_origin, gateway) = site("").await;
    let first = gateway.get("/f/top").await;
    let second = gateway.get("/f/top").await;
    let status = |answer: &support::Answer| answer.header("cache-status").unwrap_or("").to_owned();
    assert!(
        status(&first).starts_with("marquetry; fwd="),
        "{}",
        status(&first)
    );
    assert!(
        status(&second).starts_with("marquetry; hit"),
        "{}",
        status(&second)
    );
    assert!(second.header("age").is_some());
    let personal = gateway.get_as("/f/me", "session=ann").await;
    assert!(
        status(&personal).starts_with("marquetry; fwd="),
        "{}",
        status(&personal)
    );
}

#[tokio::test]
async fn only_those_who_may_see_it_are_shown_what_a_page_cost() {
    let (_origin, shut) = site("").await;
    assert_eq!(shut.get("/page").await.header("server-timing"), None);
    let (_origin, open) = site("debug_from = [\"127.0.0.0/8\"]").await;
    let answer = open.fetch(&secret("/page")).await;
    let timing = answer.header("server-timing").unwrap_or("").to_owned();
    assert!(timing.contains("dur="), "{timing}");
    holds_no_secret(&timing);
}

#[tokio::test]
async fn one_id_runs_through_a_request() {
    let (origin, gateway) = site("").await;
    let answer = gateway.get("/page").await;
    let id = answer.header("x-request-id").expect("an id").to_owned();
    assert!(!id.is_empty());
    for request in origin.requests() {
        assert_eq!(
            request.head.all("x-request-id"),
            [id.as_str()],
            "{}",
            request.target
        );
    }
    assert_ne!(
        gateway.get("/page").await.header("x-request-id"),
        Some(id.as_str())
    );
}

#[tokio::test]
async fn the_admin_listener_answers_to_its_own_name_only() {
    let (_origin, gateway) = site("").await;
    for host in [
        "evil.example.com",
        "127.0.0.1.evil.example.com",
        "www.example.com:9090",
    ] {
        let mut client = Client::connect(gateway.admin).await;
        let answer = client.fetch(&ask("GET", "/status").host(host)).await;
        assert!(
            (400..500).contains(&answer.status),
            "{host}: {}",
            answer.status
        );
        assert!(!answer.text().contains("app"), "{host}");
    }
}

#[tokio::test]
async fn pages_are_told_live_until_the_gateway_drains() {
    let (origin, gateway) = site("").await;
    let gate = Gate::new();
    origin.on("/held", Reply::text("held").behind(&gate));
    let events = ask("GET", "/events").host(&gateway.admin.to_string());
    // More readers come and leave than there are places.
    for _ in 0..20 {
        support::within("a place among the readers", async {
            while Client::connect(gateway.admin)
                .await
                .begin(&events)
                .await
                .status
                != 200
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    let mut first = Client::connect(gateway.admin).await;
    let mut second = Client::connect(gateway.admin).await;
    let mut readers = [first.begin(&events).await, second.begin(&events).await];
    gateway.fetch(&secret("/page?q=live")).await;
    for reader in &mut readers {
        assert_eq!(reader.status, 200);
        let text = String::from_utf8_lossy(reader.until("\n\n").await).into_owned();
        assert!(text.starts_with("event: page\nid: "), "{text}");
        let data = text.lines().find_map(|line| line.strip_prefix("data: "));
        let page = json(data.expect("data"));
        assert_eq!(page["url"], "/page?q=live");
        for part in ["/f/top", "/f/me", "/f/bad"] {
            assert!(page["spans"].to_string().contains(part), "{part}: {page}");
        }
        holds_no_secret(&text);
    }
    let mut client = gateway.client().await;
    client.send(ask("GET", "/held").bytes()).await;
    origin.arrived("/held", 1).await;
    gateway.signal("TERM");
    for reader in readers {
        assert_eq!(reader.finish().await.end, support::End::Complete);
    }
    assert_eq!(gateway.admin("/healthz").await.status, 200);
    gate.open();
    client.answer().await.is(200, "held");
}
