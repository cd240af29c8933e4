//! `[[balancers]]`: the page cache's own misses stand in one line with the fragments, and pass unchanged.

mod support;

use std::net::SocketAddr;

use futures::future::join_all;
use serde_json::Value;
use support::{Answer, Ask, Client, End, Gate, Gateway, Origin, Reply, Setup, ask, within};

const BALANCER: &str = "[[balancers]]\nlisten = \"127.0.0.1:0\"\nupstream = \"app\"";

/// A gateway with a balancer onto the upstream `app` of this origin, and where the balancer listens.
async fn balanced(origin: &Origin, server: &str, upstream: &str) -> (Gateway, SocketAddr) {
    let setup = Setup::new()
        .server(server)
        .upstream("app", origin, upstream)
        .route("/", "app", "compose = \"always\"")
        .more(BALANCER);
    let gateway = setup.start().await;
    let address = gateway.listening("balancer app").await;
    (gateway, address)
}

async fn fetch(address: SocketAddr, ask: &Ask) -> Answer {
    Client::connect(address).await.fetch(ask).await
}

/// The line of the access log for this path, once it is written.
async fn logged(gateway: &Gateway, path: &str) -> Value {
    let line = gateway.printed(&format!("\"path\":\"{path}\"")).await;
    serde_json::from_str(&line).expect("a line of JSON")
}

#[tokio::test]
async fn misses_and_fragments_share_the_slots_of_a_server() {
    let origin = Origin::start().await;
    let page = "<esi:include src=\"/f/1\"/><esi:include src=\"/f/2\"/><esi:include src=\"/f/3\"/>";
    origin.on("/page", Reply::html(page));
    for path in ["/f/1", "/f/2", "/f/3", "/miss"] {
        // Not storable, so that each asker is a request.
        let reply = Reply::html("x").header("Cache-Control", "private");
        origin.on(path, reply.late(std::time::Duration::from_millis(2)));
    }
    let (gateway, address) = balanced(&origin, "", "max_in_flight = 1").await;
    let pages = (0..20).map(|_| async { gateway.get("/page").await.is(200, "xxx") });
    let misses = (0..40).map(|_| async { fetch(address, &ask("GET", "/miss")).await.is(200, "x") });
    futures::join!(join_all(pages), join_all(misses));
    assert_eq!(origin.answered(), 20 * 4 + 40);
    assert_eq!(origin.most_in_flight(), 1);
    let line = logged(&gateway, "/miss").await;
    assert_eq!(line["route"], "balancer app");
    assert_eq!(line["upstream"], "app");
    let waited = line["skeleton"]["queue_seconds"].as_f64();
    let worked = line["skeleton"]["cost_seconds"].as_f64();
    assert!(waited.is_some() && worked > Some(0.001), "{line}");
    let counted = gateway
        .metric("marquetry_requests_total", "route=\"balancer app\"")
        .await;
    assert!((counted - 40.0).abs() < 0.5, "{counted}");
}

#[tokio::test]
async fn an_answer_passes_as_it_is() {
    let origin = Origin::start().await;
    let page = "<esi:include src=\"/f\"/><!--#include virtual=\"/f\" -->";
    let reply = Reply::html(page)
        .header("Surrogate-Control", "content=\"ESI/1.0\", max-age=60")
        .header("Surrogate-Key", "a b")
        .header("xkey", "c")
        .header("Cache-Control", "public, s-maxage=60")
        .header("Server-Timing", "db;dur=1")
        .header("Connection", "keep-alive, X-Hop")
        .header("X-Hop", "1");
    origin.on("/page", reply);
    let (_gateway, address) = balanced(&origin, "", "").await;
    for _ in 0..2 {
        let answer = fetch(address, &ask("GET", "/page")).await;
        answer.is(200, page);
        for (name, value) in [
            ("surrogate-control", Some("content=\"ESI/1.0\", max-age=60")),
            ("surrogate-key", Some("a b")),
            ("xkey", Some("c")),
            ("cache-control", Some("public, s-maxage=60")),
            ("server-timing", Some("db;dur=1")),
            ("via", Some("1.1 marquetry")),
            ("x-hop", None),
            ("cache-status", None),
            ("age", None),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        assert!(answer.header("x-request-id").is_some());
    }
    assert_eq!(origin.count("/page"), 2, "nothing is stored");
    assert_eq!(origin.count("/f"), 0, "nothing is composed");
}

/// What a page cache sends along.
fn cached_ask() -> Ask {
    ask("GET", "/page?b=2&a=1")
        .header("Surrogate-Capability", "cache=\"ESI/1.0\"")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "public.example.com")
        .header("X-Request-Id", "from-outside")
        .header("Cookie", "session=1")
        .header("Authorization", "Basic x")
        .header("If-None-Match", "\"1\"")
        .header("Range", "bytes=0-1")
        .header("Accept-Encoding", "gzip, x-odd")
        .header("Connection", "close, X-Hop")
        .header("X-Hop", "1")
}

#[tokio::test]
async fn a_trusted_page_cache_speaks_for_its_clients() {
    let origin = Origin::start().await;
    origin.on("/page", Reply::text("fine"));
    let trust = "trusted_proxies = [\"127.0.0.1\"]";
    let (_gateway, address) = balanced(&origin, trust, "").await;
    fetch(address, &cached_ask()).await.is(200, "fine");
    let request = origin.last("/page?b=2&a=1");
    for (name, values) in [
        ("host", vec!["www.example.com"]),
        ("surrogate-capability", vec!["cache=\"ESI/1.0\""]),
        ("x-forwarded-for", vec!["203.0.113.9, 127.0.0.1"]),
        ("x-forwarded-proto", vec!["https"]),
        ("x-forwarded-host", vec!["public.example.com"]),
        ("x-request-id", vec!["from-outside"]),
        ("cookie", vec!["session=1"]),
        ("authorization", vec!["Basic x"]),
        ("if-none-match", vec!["\"1\""]),
        ("range", vec!["bytes=0-1"]),
        ("accept-encoding", vec!["gzip, x-odd"]),
        ("via", vec!["1.1 marquetry"]),
        ("x-hop", vec![]),
    ] {
        assert_eq!(request.head.all(name), values, "{name}");
    }
}

#[tokio::test]
async fn a_stranger_speaks_for_itself_alone() {
    let origin = Origin::start().await;
    origin.on("/page", Reply::text("fine"));
    let (gateway, address) = balanced(&origin, "", "").await;
    fetch(address, &cached_ask()).await.is(200, "fine");
    let request = origin.last("/page?b=2&a=1");
    for (name, values) in [
        ("surrogate-capability", vec![]),
        ("x-forwarded-for", vec!["127.0.0.1"]),
        ("x-forwarded-proto", vec!["http"]),
        ("x-forwarded-host", vec!["www.example.com"]),
    ] {
        assert_eq!(request.head.all(name), values, "{name}");
    }
    assert_ne!(request.head.all("x-request-id"), ["from-outside"]);
    let warned = gateway
        .logged("what a page cache says of itself and its clients is dropped")
        .await;
    assert!(warned.contains("trusted_proxies"), "{warned}");
}

#[tokio::test]
async fn a_body_reaches_a_server_whole_and_once() {
    let origin = Origin::start().await;
    origin.answer("/form", |request| {
        Reply::text(format!("{} {}", request.body.len(), request.whole))
    });
    origin.on("/slammed", Reply::slam());
    let (_gateway, address) = balanced(&origin, "", "max_in_flight = 1\nretries = 3").await;
    for length in [0, 10, 64 * 1024, 1_000_000] {
        let form = ask("POST", "/form").body(vec![b'x'; length]);
        fetch(address, &form)
            .await
            .is(200, &format!("{length} true"));
    }
    let slammed = fetch(address, &ask("POST", "/slammed").body("x")).await;
    assert_eq!(slammed.status, 502);
    assert_eq!(origin.count("/slammed"), 1, "it may have had an effect");
    assert_eq!(origin.most_in_flight(), 1);
}

#[tokio::test]
async fn a_broken_body_never_looks_whole_to_a_server() {
    let origin = Origin::start().await;
    origin.on("/form", Reply::text("fine"));
    let (_gateway, address) = balanced(&origin, "", "").await;
    let mut client = Client::connect(address).await;
    client
        .send("POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    origin.arrived("/form", 1).await;
    drop(client);
    origin.abandoned("/form").await;
    assert!(!origin.last("/form").whole);
}

#[tokio::test]
async fn bodies_stream_with_back_pressure() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/slow",
        Reply::text("first ")
            .chunked()
            .then_behind(&gate)
            .and("last"),
    );
    origin.on(
        "/large",
        Reply::text("").chunked().repeated(vec![b'x'; 65_536], 4096),
    );
    let (_gateway, address) = balanced(&origin, "", "").await;
    let mut client = Client::connect(address).await;
    let mut answer = client.begin(&ask("GET", "/slow")).await;
    answer.until("first ").await;
    gate.open();
    answer.finish().await.is(200, "first last");
    let mut lazy = Client::connect(address).await;
    lazy.send(ask("GET", "/large").bytes()).await;
    let written = origin.stalled().await;
    assert!(
        written < 64 * 1024 * 1024,
        "{written} bytes for a client that reads none"
    );
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/held", Reply::text("held").behind(&gate));
    origin.on("/waits", Reply::text("waits"));
    origin.on("/next", Reply::text("next"));
    let (gateway, address) = balanced(&origin, "", "max_in_flight = 1").await;
    let mut held = Client::connect(address).await;
    held.send(ask("GET", "/held").bytes()).await;
    origin.arrived("/held", 1).await;
    let mut waits = Client::connect(address).await;
    waits.send(ask("GET", "/waits").bytes()).await;
    gateway
        .metric_reaches("marquetry_upstream_queued", "app", 1.0)
        .await;
    drop(waits);
    within("the line to be empty", async {
        while gateway.metric("marquetry_upstream_queued", "app").await > 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(held);
    origin.abandoned("/held").await;
    fetch(address, &ask("GET", "/next")).await.is(200, "next");
    assert_eq!(origin.count("/waits"), 0, "nobody waited for it any more");
    assert_eq!(origin.most_in_flight(), 1);
    assert_eq!(logged(&gateway, "/held").await["end"], "client-left");
}

#[tokio::test]
async fn a_full_line_is_told_at_once() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/held", Reply::text("held").behind(&gate));
    let (gateway, address) = balanced(&origin, "", "max_in_flight = 1\nqueue = 0").await;
    let mut held = gateway.client().await;
    held.send(ask("GET", "/held").bytes()).await;
    origin.arrived("/held", 1).await;
    let answer = fetch(address, &ask("GET", "/x")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    gate.open();
    held.answer().await.is(200, "held");
}

#[tokio::test]
async fn a_dead_server_is_passed_over() {
    let origin = Origin::start().await;
    origin.on("/x", Reply::text("fine"));
    let nobody = support::address_of_ours();
    let gateway = Setup::new()
        .servers("app", &[nobody, origin.address], "")
        .route("/", "app", "")
        .more(BALANCER)
        .start()
        .await;
    let address = gateway.listening("balancer app").await;
    for _ in 0..10 {
        fetch(address, &ask("GET", "/x")).await.is(200, "fine");
    }
}

#[tokio::test]
async fn what_two_could_read_differently_is_refused() {
    let origin = Origin::start().await;
    let (_gateway, address) = balanced(&origin, "", "").await;
    for head in [
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: +1\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Host: b\r\n",
    ] {
        let mut client = Client::connect(address).await;
        client
            .send(format!("POST /x HTTP/1.1\r\nHost: a\r\n{head}\r\n"))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 400, "{head}");
        client.closed().await;
    }
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn a_head_is_answered_with_a_head() {
    let origin = Origin::start().await;
    origin.on("/x", Reply::text("four"));
    let (_gateway, address) = balanced(&origin, "", "").await;
    let mut client = Client::connect(address).await;
    let answer = client.fetch(&ask("HEAD", "/x")).await;
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some("4"))
    );
    client.fetch(&ask("GET", "/x")).await.is(200, "four");
}

#[tokio::test]
async fn a_cut_answer_looks_cut() {
    let origin = Origin::start().await;
    origin.on("/x", Reply::text("beginning").chunked().cut());
    let (gateway, address) = balanced(&origin, "", "").await;
    assert_eq!(fetch(address, &ask("GET", "/x")).await.end, End::Cut);
    let line = logged(&gateway, "/x").await;
    assert_eq!(
        (&line["end"], &line["skeleton"]["outcome"]),
        (&"cut".into(), &"failed".into())
    );
}

/// Requests under way when the gateway is stopped may need the page cache, and that the balancer.
#[tokio::test]
async fn balancers_serve_until_the_last_client_has_its_page() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/held", Reply::text("held").behind(&gate));
    origin.on("/miss", Reply::text("miss"));
    let (mut gateway, address) = balanced(&origin, "", "").await;
    let mut held = gateway.client().await;
    held.send(ask("GET", "/held").bytes()).await;
    origin.arrived("/held", 1).await;
    gateway.signal("TERM");
    within("/readyz to say no", async {
        while gateway.admin("/readyz").await.status != 503 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    fetch(address, &ask("GET", "/miss")).await.is(200, "miss");
    gate.open();
    held.answer().await.is(200, "held");
    assert_eq!(gateway.exited().await.code(), Some(0));
}

#[tokio::test]
async fn a_reload_ends_balancers_and_starts_others() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/x", Reply::text("fine"));
    origin.on("/held", Reply::text("held").behind(&gate));
    let (mut gateway, address) = balanced(&origin, "", "").await;
    let mut held = Client::connect(address).await;
    held.send(ask("GET", "/held").bytes()).await;
    origin.arrived("/held", 1).await;
    let with = |balancers: &str| {
        Setup::new()
            .upstream("app", &origin, "max_in_flight = 1")
            .upstream("other", &origin, "")
            .route("/", "app", "")
            .more(balancers)
    };
    // The same, and one more: what stands goes on.
    let second = "[[balancers]]\nlisten = \"127.0.0.1:0\"\nupstream = \"other\"";
    gateway.reload(with(&format!("{BALANCER}\n{second}"))).await;
    let other = gateway.listening("balancer other").await;
    fetch(other, &ask("GET", "/x")).await.is(200, "fine");
    // The first is not wanted any more: nobody new, and what is under way there ends well.
    gateway.reload(with(second)).await;
    within("new connections to be refused", async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.open();
    held.answer().await.is(200, "held");
    // Another upstream at the place of one that stands.
    let moved = format!("[[balancers]]\nlisten = \"{other}\"\nupstream = \"app\"");
    gateway.reload(with(&moved)).await;
    let line = format!("listening balancer app {other}");
    gateway.printed(&line).await;
    fetch(other, &ask("GET", "/x")).await.is(200, "fine");
    assert_eq!(logged(&gateway, "/x").await["route"], "balancer other");
    let both = gateway.metric("marquetry_requests_total", "route=\"balancer app\"");
    assert!(both.await > 0.5);
}

#[tokio::test]
async fn a_reload_that_cannot_have_an_address_changes_nothing() {
    let origin = Origin::start().await;
    origin.on("/x", Reply::text("fine"));
    let (mut gateway, address) = balanced(&origin, "", "").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken
        .local_addr()
        .map(|address| (taken, address))
        .expect("a bound port");
    let balancer = format!(
        "[[balancers]]\nlisten = \"{}\"\nupstream = \"app\"",
        taken.1
    );
    let changed = Setup::new()
        .server("idle_timeout = \"7s\"")
        .upstream("app", &origin, "")
        .route("/new", "app", "")
        .more(&balancer);
    gateway.reload(changed).await;
    let told = gateway.logged("it takes a restart").await;
    assert!(told.contains("the limits of [server]"), "{told}");
    let told = gateway.logged("not reloaded").await;
    assert!(
        told.contains(&format!("cannot listen on {}", taken.1)),
        "{told}"
    );
    gateway.get("/x").await.is(200, "fine");
    fetch(address, &ask("GET", "/x")).await.is(200, "fine");
}
