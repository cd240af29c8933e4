//! Everything has a bound, and what is beyond it is refused at once and costs nobody else anything.

mod support;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::{Answer, Client, End, Gate, Gateway, Origin, Reply, Setup, ask, each, within};

/// How often a slow peer sends its next byte. It is what makes it slow, not a wait for something to happen.
const DRIBBLE: Duration = Duration::from_millis(100);

async fn limited(origin: &Origin, server: &str) -> Gateway {
    Setup::composing(origin).server(server).start().await
}

/// Sends one byte after the other until the other side has had enough; what it answered.
async fn dribble(mut client: Client) -> Vec<u8> {
    within("a slow client to be cut off", async {
        let mut ticks = tokio::time::interval(DRIBBLE);
        loop {
            ticks.tick().await;
            if client.try_send("x").await.is_err() {
                return client.closed().await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_request_head_that_is_too_large_is_refused() {
    let origin = Origin::start().await;
    origin.on("*", Reply::text("fine"));
    let gateway = limited(&origin, "max_request_head = \"8KiB\"").await;
    let many = "X-One: 1\r\n".repeat(2000);
    for (what, request) in [
        (
            "one field",
            format!(
                "GET /x HTTP/1.1\r\nHost: a\r\nX-Huge: {}\r\n\r\n",
                "x".repeat(20_000)
            ),
        ),
        (
            "many fields",
            format!("GET /x HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
        ),
        (
            "the target",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000)),
        ),
    ] {
        let mut client = gateway.client().await;
        let _ = client.try_send(request).await;
        if let Some(incoming) = client.try_incoming("GET").await {
            let status = incoming.status;
            assert!((400..500).contains(&status), "{what}: {status}");
        }
        client.closed().await;
    }
    assert_eq!(origin.requests().len(), 0);
    gateway.get("/x").await.is(200, "fine");
}

#[tokio::test]
async fn a_request_body_that_is_too_large_is_refused() {
    let origin = Origin::start().await;
    origin.on("*", Reply::text("fine"));
    let gateway = limited(&origin, "max_request_body = \"1KiB\"").await;
    gateway
        .fetch(&ask("POST", "/x").body("x".repeat(1024)))
        .await
        .is(200, "fine");
    let answer = gateway
        .fetch(&ask("POST", "/long").body("x".repeat(1025)))
        .await;
    assert_eq!(answer.status, 413);
    assert_eq!(origin.count("/long"), 0, "its length was told");
    let mut client = gateway.client().await;
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunks = chunk.repeat(3);
    let _ = client
        .try_send(format!(
            "POST /chunks HTTP/1.1\r\nHost: www.example.com\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        ))
        .await;
    let status = client.answer().await.status;
    assert!(status == 413 || status == 502, "{status}");
    assert!(origin.requests_to("/chunks").iter().all(|it| !it.whole));
}

#[tokio::test]
async fn a_head_that_dribbles_is_cut_off() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "header_timeout = \"1s\"").await;
    let mut client = gateway.client().await;
    client
        .send("GET /x HTTP/1.1\r\nHost: www.example.com\r\nX-Slow: ")
        .await;
    dribble(client).await;
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn a_head_that_stops_is_cut_off() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "header_timeout = \"500ms\"").await;
    for bytes in ["G", "GET /x HTTP/1.1\r\n", "GET /x HTTP/1.1\r\nHost: a\r\n"] {
        let mut client = gateway.client().await;
        client.send(bytes).await;
        client.closed().await;
    }
}

#[tokio::test]
async fn a_body_that_dribbles_is_cut_off() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "body_timeout = \"1s\"").await;
    let mut client = gateway.client().await;
    client
        .send("POST /x HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 100000\r\n\r\nhello")
        .await;
    let answer = String::from_utf8_lossy(&dribble(client).await).into_owned();
    assert!(!answer.contains(" 200 "), "{answer}");
    assert!(origin.requests().iter().all(|it| !it.whole));
}

#[tokio::test]
async fn a_body_that_stops_is_cut_off() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "body_idle_timeout = \"500ms\"").await;
    let mut client = gateway.client().await;
    client
        .send("POST /x HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 100\r\n\r\nhello")
        .await;
    let answer = String::from_utf8_lossy(&client.closed().await).into_owned();
    assert!(!answer.contains(" 200 "), "{answer}");
    assert!(origin.requests().iter().all(|it| !it.whole));
}

#[tokio::test]
async fn a_kept_connection_without_a_request_ends() {
    let origin = Origin::start().await;
    origin.on("/x", Reply::text("fine"));
    let gateway = limited(&origin, "idle_timeout = \"500ms\"").await;
    let mut client = gateway.client().await;
    client.fetch(&ask("GET", "/x")).await.is(200, "fine");
    let rest = client.closed().await;
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let origin = Origin::start().await;
    origin.on("/big", Reply::bare("").repeated(vec![b'x'; 65_536], 2048));
    let gateway = limited(&origin, "write_timeout = \"1s\"").await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/big").bytes()).await;
    origin.abandoned("/big").await;
}

#[tokio::test]
async fn one_that_has_left_is_seen_behind_whatever_it_has_sent() {
    // Behind its request, and some more of that when the request has arrived.
    for (with_it, later) in [
        ("", ""),
        ("G", ""),
        ("", "G"),
        ("G", "ET"),
        ("G", &"x".repeat(100_000)),
    ] {
        let origin = Origin::start().await;
        let gate = Gate::new();
        origin.on("/x", Reply::text("late").behind(&gate));
        // Nothing else ends it in time.
        let gateway = Setup::new()
            .upstream("app", &origin, "first_byte_timeout = \"5m\"")
            .route("/", "app", "")
            .compose("page_timeout = \"5m\"")
            .start()
            .await;
        let mut client = gateway.client().await;
        let mut bytes = ask("GET", "/x").bytes();
        bytes.extend_from_slice(with_it.as_bytes());
        client.send(bytes).await;
        origin.arrived_in_all(1).await;
        client.send(later.as_bytes().to_vec()).await;
        drop(client);
        origin.abandoned("/x").await;
    }
}

#[tokio::test]
async fn nor_may_it_leave_small_answers_untaken_by_http2() {
    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("a short frame");
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
        bytes.extend_from_slice(payload);
        bytes
    }
    let origin = Origin::start().await;
    let kept = Reply::text("fine").header("Cache-Control", "max-age=60");
    origin.on("/x", kept);
    let gateway = limited(&origin, "write_timeout = \"1s\"").await;
    gateway.get("/x").await.is(200, "fine");
    let mut client = within("a connection", TcpStream::connect(gateway.http))
        .await
        .expect("the gateway listens");
    // SETTINGS_INITIAL_WINDOW_SIZE 0: nothing may be sent of any body.
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let head = b"\x82\x86\x44\x02/x\x41\x0fwww.example.com";
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(settings);
    for stream in [1, 3] {
        bytes.extend(frame(1, 5, stream, head));
    }
    let mut written = client.write_all(&bytes).await;
    within("the connection to close", async {
        let mut head = [0; 9];
        while written.is_ok() && client.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            if client.read_exact(&mut payload).await.is_err() {
                break;
            }
            // It is alive: pings are answered.
            if (head[3], head[4]) == (6, 0) {
                written = client.write_all(&frame(6, 1, 0, &payload)).await;
            }
        }
    })
    .await;
    assert_eq!(origin.count("/x"), 1);
    let metrics = gateway.admin("/metrics").await.text();
    assert!(metrics.contains("\"server.write_timeout\"} 1"), "{metrics}");
}

#[tokio::test]
async fn more_connections_than_allowed_are_not_served_and_the_gateway_recovers() {
    const LIMIT: usize = 5;
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/held/*", Reply::text("held").behind(&gate));
    origin.on("/x", Reply::text("fine"));
    let gateway = limited(&origin, "max_connections = 5").await;
    let mut clients = Vec::new();
    for number in 0..2 * LIMIT {
        let mut client = gateway.client().await;
        let held = ask("GET", &format!("/held/{number}"));
        let _ = client.try_send(held.bytes()).await;
        clients.push(client);
    }
    origin.arrived_in_all(LIMIT).await;
    gate.open();
    let mut served = 0;
    for mut client in clients {
        if let Some(incoming) = client.try_incoming("GET").await {
            served += usize::from(incoming.finish().await.status == 200);
        }
    }
    assert!(served >= LIMIT, "{served} of {LIMIT}");
    assert!(
        origin.most_in_flight() <= LIMIT,
        "{}",
        origin.most_in_flight()
    );
    gateway.get("/x").await.is(200, "fine");
}

#[tokio::test]
async fn without_descriptors_new_work_is_shed_and_the_gateway_recovers() {
    const DESCRIPTORS: usize = 40;
    let origin = Origin::start().await;
    let gate = Gate::new();
    let page: String = each(0..DESCRIPTORS, |it| {
        format!("<esi:include src=\"/held/{it}\"/>")
    });
    origin.on("/page", Reply::html(page));
    origin.on("/held/*", Reply::html("x").behind(&gate));
    origin.on("/x", Reply::text("fine"));
    let gateway = Setup::composing(&origin)
        .descriptors(DESCRIPTORS)
        .start()
        .await;
    let mut holder = gateway.client().await;
    let mut others = [gateway.client().await, gateway.client().await];
    holder.send(ask("GET", "/page").bytes()).await;
    gateway.logged("can be opened").await;
    // One of them may find a connection that rests, and wait with it.
    for other in &mut others {
        other.send(ask("GET", "/held/more").bytes()).await;
    }
    let [one, another] = &mut others;
    let shed = tokio::select! {
        answer = one.answer() => answer,
        answer = another.answer() => answer,
    };
    is_shed(&shed);
    gate.open();
    assert_eq!(holder.answer().await.status, 200);
    gateway.get("/x").await.is(200, "fine");
}

#[tokio::test]
async fn a_page_has_so_many_includes_and_no_more() {
    let origin = Origin::start().await;
    origin.on("/page", Reply::html(page_of(20)));
    origin.on("/f/*", Reply::html("x"));
    let gateway = Setup::composing(&origin)
        .compose("max_includes = 7")
        .start()
        .await;
    let answer = gateway.get("/page").await;
    assert_eq!((answer.status, answer.end), (200, End::Complete));
    assert_eq!(answer.text().matches('x').count(), 7);
    assert_eq!(origin.requests().len(), 1 + 7);
}

fn page_of(includes: usize) -> String {
    each(0..includes, |index| {
        format!("<esi:include src=\"/f/{index}\"/>")
    })
}

#[tokio::test]
async fn a_tree_of_includes_counts_as_a_whole() {
    let origin = Origin::start().await;
    origin.answer("*", |request| {
        let own = request.target.trim_end_matches('/');
        let branches = each(0..4, |it| format!("<esi:include src=\"{own}/{it}\"/>"));
        Reply::html(format!("({branches})"))
    });
    let gateway = Setup::composing(&origin)
        .compose("max_includes = 50\nmax_depth = 20")
        .start()
        .await;
    let answer = gateway.get("/page").await;
    assert_eq!((answer.status, answer.end), (200, End::Complete));
    assert_eq!(origin.requests().len(), 1 + 50);
}

#[tokio::test]
async fn includes_nest_so_deep_and_no_deeper() {
    let origin = Origin::start().await;
    origin.answer("*", |request| {
        let depth = request.target.len();
        Reply::html(format!(
            "({depth}<esi:include src=\"{}x\"/>)",
            request.target
        ))
    });
    let gateway = Setup::composing(&origin)
        .compose("max_depth = 3")
        .start()
        .await;
    gateway.get("/").await.is(200, "(1(2(3(4))))");
    assert_eq!(origin.requests().len(), 4);
}

#[tokio::test]
async fn a_loop_of_includes_ends_before_it_is_fetched() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::html("a<esi:include src=\"/b?x=1\"/>"));
    origin.on(
        "/b",
        Reply::html("b<esi:include src=\"/a\"/><esi:include src=\"/b?x=2\"/>"),
    );
    let gateway = Setup::composing(&origin).start().await;
    let answer = gateway.get("/a").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "abb"));
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn fragments_in_flight_for_one_page_are_bounded() {
    let origin = Origin::start().await;
    let gates: Vec<Gate> = (0..12).map(|_| Gate::new()).collect();
    origin.on("/page", Reply::html(page_of(12)));
    for (index, gate) in gates.iter().enumerate() {
        origin.on(&format!("/f/{index}"), Reply::html("x").behind(gate));
    }
    let gateway = Setup::composing(&origin)
        .compose("concurrency = 4")
        .start()
        .await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/page").bytes()).await;
    for (index, gate) in gates.iter().enumerate() {
        origin.arrived_in_all(1 + (index + 4).min(12)).await;
        gate.open();
    }
    client.answer().await.is(200, &"x".repeat(12));
    assert_eq!(origin.most_in_flight(), 4);
}

#[tokio::test]
async fn a_page_takes_so_long_and_no_longer() {
    let origin = Origin::start().await;
    origin.on("/page", Reply::html("<esi:include src=\"/slow\"/>"));
    origin.on("/slow", Reply::hang());
    origin.on("/mute", Reply::hang());
    let gateway = Setup::composing(&origin)
        .compose("page_timeout = \"500ms\"\nfragment_timeout = \"60s\"")
        .start()
        .await;
    // Cut, or without its fragment; never a wait of 60 s.
    let page = gateway.get("/page").await;
    assert!(page.status == 200 || page.status == 504, "{}", page.status);
    origin.abandoned("/slow").await;
    assert_eq!(gateway.get("/mute").await.status, 504);
}

/// One server that takes one request at a time.
async fn narrow(origin: &Origin, lines: &str) -> Gateway {
    Setup::new()
        .upstream("app", origin, &format!("max_in_flight = 1\n{lines}"))
        .route("/", "app", "compose = \"always\"")
        .start()
        .await
}

async fn queued(gateway: &Gateway, count: usize) {
    within(&format!("{count} in the queue"), async {
        loop {
            let queued = gateway.metric("marquetry_upstream_queued", "app").await;
            if (queued - count as f64).abs() < 0.5 {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn sent(gateway: &Gateway, target: &str) -> Client {
    let mut client = gateway.client().await;
    client.send(ask("POST", target).body("x").bytes()).await;
    client
}

fn is_shed(answer: &Answer) {
    assert_eq!(answer.status, 503);
    let seconds = answer.header("retry-after").map(str::parse::<u32>);
    assert!(matches!(seconds, Some(Ok(_))), "{:?}", answer.head);
}

#[tokio::test]
async fn beyond_the_queue_it_is_503_at_once() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/held", Reply::text("held").behind(&gate));
    origin.on("/next*", Reply::text("next"));
    let gateway = narrow(&origin, "queue = 2").await;
    let mut held = sent(&gateway, "/held").await;
    origin.arrived("/held", 1).await;
    let mut waiting = vec![
        sent(&gateway, "/next/1").await,
        sent(&gateway, "/next/2").await,
    ];
    queued(&gateway, 2).await;
    is_shed(&gateway.get("/next/3").await);
    gate.open();
    held.answer().await.is(200, "held");
    for client in &mut waiting {
        client.answer().await.is(200, "next");
    }
    assert_eq!(origin.count("/next/3"), 0);
    gateway.get("/next/4").await.is(200, "next");
}

#[tokio::test]
async fn who_waits_too_long_in_the_queue_gets_503() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/held", Reply::text("held").behind(&gate));
    let gateway = narrow(&origin, "queue_timeout = \"300ms\"").await;
    let mut held = sent(&gateway, "/held").await;
    origin.arrived("/held", 1).await;
    is_shed(&gateway.get("/next").await);
    gate.open();
    held.answer().await.is(200, "held");
    assert_eq!(origin.count("/next"), 0);
}

#[tokio::test]
async fn the_queue_serves_in_order_of_arrival() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/held", Reply::text("held").behind(&gate));
    origin.on("/next*", Reply::text("next"));
    let gateway = narrow(&origin, "").await;
    let mut clients = vec![sent(&gateway, "/held").await];
    origin.arrived("/held", 1).await;
    let mut wanted = vec!["/held".to_owned()];
    for number in 1..=8 {
        let target = format!("/next/{number}");
        clients.push(sent(&gateway, &target).await);
        queued(&gateway, number).await;
        wanted.push(target);
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 200);
    }
    let order: Vec<String> = origin.requests().into_iter().map(|it| it.target).collect();
    assert_eq!(order, wanted);
    assert_eq!(origin.most_in_flight(), 1);
}

#[tokio::test]
async fn who_leaves_is_taken_out_of_the_queue() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/held", Reply::text("held").behind(&gate));
    origin.on("/next*", Reply::text("next"));
    let gateway = narrow(&origin, "").await;
    let mut held = sent(&gateway, "/held").await;
    origin.arrived("/held", 1).await;
    let leaving = sent(&gateway, "/next/leaving").await;
    queued(&gateway, 1).await;
    let mut staying = sent(&gateway, "/next/staying").await;
    queued(&gateway, 2).await;
    drop(leaving);
    queued(&gateway, 1).await;
    gate.open();
    held.answer().await.is(200, "held");
    staying.answer().await.is(200, "next");
    assert_eq!(origin.count("/next/leaving"), 0);
}

#[tokio::test]
async fn max_in_flight_is_exact_under_many_who_come_and_leave() {
    const CLIENTS: usize = 200;
    let one = Origin::start().await;
    let two = Origin::start().await;
    for origin in [&one, &two] {
        origin.on("*", Reply::text("fine").late(Duration::from_millis(5)));
    }
    let gateway = Setup::new()
        .servers(
            "app",
            &[one.address, two.address],
            "max_in_flight = 2\nqueue = 1000\nqueue_timeout = \"30s\"",
        )
        .route("/", "app", "compose = \"off\"")
        .start()
        .await;
    let mut staying = Vec::new();
    for number in 0..CLIENTS {
        let client = sent(&gateway, &format!("/{number}")).await;
        if number % 3 == 0 {
            drop(client);
        } else {
            staying.push(client);
        }
    }
    for client in &mut staying {
        client.answer().await.is(200, "fine");
    }
    assert!(one.most_in_flight() <= 2, "{}", one.most_in_flight());
    assert!(two.most_in_flight() <= 2, "{}", two.most_in_flight());
    queued(&gateway, 0).await;
    let in_flight = gateway.metric("marquetry_upstream_in_flight", "app").await;
    assert!(in_flight.abs() < 0.5, "{in_flight}");
}

#[tokio::test]
async fn a_page_with_many_parts_asks_a_narrow_server_one_by_one() {
    let origin = Origin::start().await;
    origin.on("/page", Reply::html(page_of(30)));
    origin.on("/f/*", Reply::html("x").header("Cache-Control", "private"));
    let gateway = narrow(&origin, "").await;
    gateway
        .get_as("/page", "session=ann")
        .await
        .is(200, &"x".repeat(30));
    assert_eq!(origin.most_in_flight(), 1);
}

#[tokio::test]
async fn one_hanging_upstream_slows_nothing_that_does_not_need_it() {
    let (good, bad) = (Origin::start().await, Origin::start().await);
    good.on("*", Reply::text("fine"));
    bad.on("*", Reply::hang());
    let gateway = Setup::new()
        .upstream("good", &good, "max_in_flight = 1")
        .upstream(
            "bad",
            &bad,
            "max_in_flight = 1\nqueue = 500\nqueue_timeout = \"60s\"\nfirst_byte_timeout = \"60s\"",
        )
        .route("/", "good", "")
        .route("/bad", "bad", "timeout = \"60s\"")
        .start()
        .await;
    let mut hanging = Vec::new();
    for number in 0..100 {
        hanging.push(sent(&gateway, &format!("/bad/{number}")).await);
    }
    for _ in 0..20 {
        gateway.get("/x").await.is(200, "fine");
    }
    drop(hanging);
}

#[tokio::test]
async fn a_small_body_that_dribbles_holds_no_server() {
    let origin = Origin::start().await;
    origin.on("/form", Reply::text("taken"));
    origin.on("/other", Reply::text("other"));
    let gateway = Setup::new()
        .upstream("app", &origin, "max_in_flight = 1")
        .route("/", "app", "")
        .start()
        .await;
    let mut slow = gateway.client().await;
    let head = "POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345";
    slow.send(head.as_bytes()).await;
    // The only server is free all the while.
    gateway.get("/other").await.is(200, "other");
    slow.send(b"67890").await;
    slow.answer().await.is(200, "taken");
}
