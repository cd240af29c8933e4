//! One line before an upstream, one number of requests in flight at each of its servers, whoever asks for what.

mod support;

use std::time::{Duration, Instant};

use support::meter::{Meter, Work, quick};
use support::{Client, Gate, Gateway, Origin, Reply, Setup, ask, within};

const ONE: &str = "max_in_flight = 1";

/// A gateway before these servers; nothing is stored or composed.
async fn before(servers: &[&Meter], lines: &str) -> Gateway {
    let addresses: Vec<_> = servers.iter().map(|it| it.address).collect();
    Setup::new()
        .servers("app", &addresses, lines)
        .route("/", "app", "cache = false")
        .start()
        .await
}

/// Waits until so many requests are in line.
async fn queued(gateway: &Gateway, count: usize) {
    within(&format!("{count} in line"), async {
        while gateway.metric("marquetry_upstream_queued", "app").await < count as f64 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A server that works on `/held` until the gate opens.
async fn held_by(gate: &Gate) -> Meter {
    let gate = gate.clone();
    Meter::start(move |target| Work {
        gate: (target == "/held").then(|| gate.clone()),
        ..Work::default()
    })
    .await
}

#[tokio::test]
async fn who_waits_is_served_in_order_of_arrival() {
    let gate = Gate::new();
    let server = held_by(&gate).await;
    let gateway = before(&[&server], ONE).await;
    let mut clients: Vec<Client> = Vec::new();
    for (at, target) in ["/held", "/1", "/2", "/3", "/4", "/5"].iter().enumerate() {
        let mut client = gateway.client().await;
        client.send(ask("GET", target).bytes()).await;
        if at == 0 {
            server.arrived(1).await;
        }
        queued(&gateway, at).await;
        clients.push(client);
    }
    // The third leaves, and is passed over.
    drop(clients.remove(3));
    within("the client that left to be missed", async {
        while gateway.metric("marquetry_upstream_queued", "app").await > 4.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(server.requests(), ["/held", "/1", "/2", "/4", "/5"]);
    assert_eq!(server.most(), 1);
}

#[tokio::test]
async fn beyond_the_line_there_is_503_at_once() {
    let gate = Gate::new();
    let server = held_by(&gate).await;
    let gateway = before(
        &[&server],
        "max_in_flight = 1\nqueue = 1\nqueue_timeout = \"20s\"",
    )
    .await;
    let mut first = gateway.client().await;
    first.send(ask("GET", "/held").bytes()).await;
    server.arrived(1).await;
    let mut second = gateway.client().await;
    second.send(ask("GET", "/1").bytes()).await;
    queued(&gateway, 1).await;
    let began = Instant::now();
    let answer = gateway.get("/2").await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it did not wait in line"
    );
    gate.open();
    second.answer().await.is(200, "/1");
    assert_eq!(server.count("/2"), 0);
}

#[tokio::test]
async fn the_line_has_an_end_in_time() {
    let gate = Gate::new();
    let server = held_by(&gate).await;
    let gateway = before(&[&server], "max_in_flight = 1\nqueue_timeout = \"100ms\"").await;
    let mut first = gateway.client().await;
    first.send(ask("GET", "/held").bytes()).await;
    server.arrived(1).await;
    let answer = gateway.get("/1").await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    gate.open();
    first.answer().await.is(200, "/held");
    assert_eq!(server.requests(), ["/held"]);
}

#[tokio::test]
async fn a_document_gives_its_place_back_before_its_children_need_one() {
    let origin = Origin::start().await;
    let include = |target: &str| format!("<esi:include src=\"{target}\"/>");
    let two = |left: &str, right: &str| format!("({}{})", include(left), include(right));
    origin.on("/page", Reply::html(two("/a", "/b")));
    origin.on("/a", Reply::html(two("/a/a", "/a/b")));
    origin.on("/b", Reply::html(two("/b/a", "/b/b")));
    origin.on("/a/a", Reply::html(two("/x", "/y")));
    for leaf in ["/a/b", "/b/a", "/b/b", "/x", "/y"] {
        origin.on(leaf, Reply::html(leaf));
    }
    let gateway = Setup::new()
        .upstream("app", &origin, ONE)
        .route("/", "app", "compose = \"always\"\ncache = false")
        .start()
        .await;
    let pages = (0..8).map(|_| gateway.get("/page"));
    for page in futures::future::join_all(pages).await {
        page.is(200, "(((/x/y)/a/b)(/b/a/b/b))");
    }
    assert_eq!(origin.most_in_flight(), 1);
}

#[tokio::test]
async fn an_idle_server_is_found_while_another_is_slow() {
    let gate = Gate::new();
    let slow = held_by(&gate).await;
    let other = Meter::start(quick).await;
    let gateway = before(&[&slow, &other], ONE).await;
    let mut held = gateway.client().await;
    held.send(ask("GET", "/held").bytes()).await;
    slow.arrived(1).await;
    for number in 0..20 {
        let target = format!("/{number}");
        gateway.get(&target).await.is(200, &target);
    }
    assert_eq!((slow.requests().len(), other.requests().len()), (1, 20));
    gate.open();
    held.answer().await.is(200, "/held");
}

#[tokio::test]
async fn affinity_sends_a_url_to_the_same_server_and_past_it_when_that_is_busy() {
    let gate = Gate::new();
    let servers = [
        held_by(&gate).await,
        held_by(&gate).await,
        held_by(&gate).await,
    ];
    let all: Vec<_> = servers.iter().collect();
    let gateway = before(&all, "max_in_flight = 1\nbalance = \"affinity\"").await;
    for _ in 0..4 {
        for number in 0..30 {
            gateway.get(&format!("/{number}?q=1")).await;
        }
    }
    let mut used = [0; 3];
    for number in 0..30 {
        let target = format!("/{number}?q=1");
        let counts = all.iter().map(|it| it.count(&target));
        let home = counts.clone().position(|count| count == 4);
        used[home.unwrap_or_else(|| panic!("{target} at {:?}", counts.collect::<Vec<_>>()))] += 1;
    }
    assert!(used.iter().all(|urls| *urls > 2), "{used:?}");
    // The first is held at its home, the second goes on to the next server.
    let mut first = gateway.client().await;
    first.send(ask("GET", "/held").bytes()).await;
    let mut second = gateway.client().await;
    within("the first to arrive", async {
        while all.iter().all(|it| it.count("/held") == 0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    second.send(ask("GET", "/held").bytes()).await;
    within("the second to arrive elsewhere", async {
        while all.iter().filter(|it| it.count("/held") == 1).count() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.open();
    first.answer().await.is(200, "/held");
    second.answer().await.is(200, "/held");
    assert!(all.iter().all(|it| it.most() <= 1));
}

#[tokio::test]
async fn what_does_no_harm_is_tried_once_more_elsewhere_and_a_post_is_not() {
    let broken = Meter::start(|_| Work {
        cut: true,
        ..Work::default()
    })
    .await;
    let sound = Meter::start(quick).await;
    let gateway = before(
        &[&broken, &sound],
        "max_in_flight = 1\nbalance = \"round-robin\"",
    )
    .await;
    for number in 0..6 {
        let target = format!("/{number}");
        gateway.get(&target).await.is(200, &target);
    }
    assert!(broken.requests().len() >= 2, "its turn came");
    let mut failed = 0;
    for number in 0..8 {
        let target = format!("/post/{number}");
        let answer = gateway.fetch(&ask("POST", &target).body("x")).await;
        failed += usize::from(answer.status == 502);
        assert_eq!(broken.count(&target) + sound.count(&target), 1, "{target}");
    }
    assert!(failed >= 2, "{failed}");
}

#[tokio::test]
async fn retries_are_a_tenth_of_the_requests_beyond_the_first_few() {
    let cut = |_: &str| Work {
        cut: true,
        ..Work::default()
    };
    let servers = [Meter::start(cut).await, Meter::start(cut).await];
    let gateway = before(&[&servers[0], &servers[1]], "").await;
    let mut client = gateway.client().await;
    for _ in 0..300 {
        assert_eq!(client.fetch(&ask("GET", "/x")).await.status, 502);
    }
    let sent = servers[0].requests().len() + servers[1].requests().len();
    // Ten of the first few, and a tenth of three hundred.
    assert!((300 + 30..=300 + 10 + 30).contains(&sent), "{sent}");
}

#[tokio::test]
async fn while_one_server_lives_gets_do_not_fail_and_the_other_comes_back() {
    let mut dies = Meter::start(quick).await;
    let lives = Meter::start(quick).await;
    let gateway = before(&[&dies, &lives], "max_in_flight = 4").await;
    let mut client = gateway.client().await;
    for _ in 0..10 {
        assert_eq!(client.fetch(&ask("GET", "/before")).await.status, 200);
    }
    dies.stop().await;
    let mut failed = Vec::new();
    for number in 0..200 {
        if client.fetch(&ask("GET", "/while")).await.status != 200 {
            failed.push(number);
        }
    }
    assert!(
        failed.len() <= 2 && failed.iter().all(|it| *it < 4),
        "{failed:?}"
    );
    dies.restart().await;
    let recovered = Instant::now();
    within("the server to be back", async {
        while dies.count("/after") == 0 {
            assert_eq!(client.fetch(&ask("GET", "/after")).await.status, 200);
        }
    })
    .await;
    assert!(
        recovered.elapsed() < Duration::from_secs(15),
        "{:?}",
        recovered.elapsed()
    );
}

#[tokio::test]
async fn a_url_that_always_fails_puts_nobody_out() {
    let script = |target: &str| Work {
        status: (target == "/fails").then_some(500),
        cut: target == "/cut",
        ..Work::default()
    };
    let servers = [Meter::start(script).await, Meter::start(script).await];
    let gateway = before(&[&servers[0], &servers[1]], "balance = \"round-robin\"").await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/fails").await.status, 500);
        assert_eq!(gateway.get("/cut").await.status, 502);
    }
    let down = gateway
        .metric("marquetry_upstream_servers", "state=\"down\"")
        .await;
    assert!(down.abs() < f64::EPSILON, "{down} are down");
    let before = servers.each_ref().map(|it| it.requests().len());
    for _ in 0..10 {
        gateway.get("/fine").await.is(200, "/fine");
    }
    for (server, before) in servers.iter().zip(before) {
        assert_eq!(server.requests().len() - before, 5);
    }
}
