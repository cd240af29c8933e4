//! SIGHUP: servers that stay keep their counts, connections and states, and no request fails.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::meter::{Meter, Work, quick};
use support::{Gate, Setup, ask, within};

fn setup(servers: &[&Meter], lines: &str) -> Setup {
    let addresses: Vec<_> = servers.iter().map(|it| it.address).collect();
    Setup::new()
        .servers("app", &addresses, lines)
        .route("/", "app", "cache = false")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_fail_no_request() {
    let script = |_: &str| Work {
        time: Duration::from_millis(1),
        ..Work::default()
    };
    let servers = [
        Meter::start(script).await,
        Meter::start(script).await,
        Meter::start(script).await,
    ];
    let all = [&servers[0], &servers[1], &servers[2]];
    let mut gateway = setup(&all, "max_in_flight = 1").start().await;
    let (stop, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let (stop, answered, http) = (stop.clone(), answered.clone(), gateway.http);
            tokio::spawn(async move {
                let mut client = support::Client::connect(http).await;
                while !stop.load(Ordering::SeqCst) {
                    client.fetch(&ask("GET", "/x")).await.is(200, "/x");
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 1..=100_usize {
        // Each time something else changes: who is there, how one chooses, how long one may wait.
        let there = if round.is_multiple_of(3) {
            &all[..]
        } else {
            &all[round % 3 - 1..=round % 3]
        };
        let balance = ["least-connections", "affinity", "round-robin"][round % 3];
        let lines = format!(
            "max_in_flight = 1\nbalance = \"{balance}\"\nqueue = {}",
            100 + round
        );
        gateway.reload(setup(there, &lines)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no request failed");
    }
    println!(
        "{} answers over 100 reloads",
        answered.load(Ordering::SeqCst)
    );
    assert!(answered.load(Ordering::SeqCst) > 100);
    for server in &servers {
        assert_eq!(server.most(), 1);
    }
}

#[tokio::test]
async fn what_is_in_flight_counts_across_a_reload() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = Meter::start(move |target| Work {
        gate: (target == "/held").then(|| held.clone()),
        ..Work::default()
    })
    .await;
    let other = Meter::start(quick).await;
    let mut gateway = setup(&[&server], "max_in_flight = 1").start().await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/held").bytes()).await;
    server.arrived(1).await;
    // It stays with other settings; it leaves; it comes back.
    gateway
        .reload(setup(&[&server], "max_in_flight = 1\nqueue = 7"))
        .await;
    gateway.reload(setup(&[&other], "max_in_flight = 1")).await;
    gateway.get("/other").await.is(200, "/other");
    gateway.reload(setup(&[&server], "max_in_flight = 1")).await;
    let mut waits = gateway.client().await;
    waits.send(ask("GET", "/next").bytes()).await;
    gateway
        .metric_reaches("marquetry_upstream_queued", "app", 1.0)
        .await;
    assert_eq!(server.requests(), ["/held"]);
    gate.open();
    client.answer().await.is(200, "/held");
    waits.answer().await.is(200, "/next");
    assert_eq!(server.most(), 1);
}

#[tokio::test]
async fn an_upstream_that_leaves_and_comes_back_has_its_counts() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = Meter::start(move |target| Work {
        gate: (target == "/held").then(|| held.clone()),
        ..Work::default()
    })
    .await;
    let other = Meter::start(quick).await;
    let elsewhere =
        Setup::new()
            .servers("other", &[other.address], "")
            .route("/", "other", "cache = false");
    let mut gateway = setup(&[&server], "max_in_flight = 1").start().await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/held").bytes()).await;
    server.arrived(1).await;
    gateway.reload(elsewhere).await;
    gateway.get("/other").await.is(200, "/other");
    gateway.reload(setup(&[&server], "max_in_flight = 1")).await;
    let mut waits = gateway.client().await;
    waits.send(ask("GET", "/next").bytes()).await;
    gateway
        .metric_reaches("marquetry_upstream_queued", "app", 1.0)
        .await;
    gate.open();
    client.answer().await.is(200, "/held");
    waits.answer().await.is(200, "/next");
    assert_eq!(server.most(), 1);
}

#[tokio::test]
async fn kept_connections_and_states_outlive_a_reload() {
    let server = Meter::start(quick).await;
    let mut dead = Meter::start(quick).await;
    let mut gateway = setup(&[&dead, &server], "").start().await;
    dead.stop().await;
    for _ in 0..3 {
        gateway.get("/x").await.is(200, "/x");
    }
    let connections = server.connections();
    let down = |text: &str| text.contains("connect") && text.contains("\"down\"");
    let before = gateway.admin("/status").await.text();
    assert!(down(&before), "{before}");
    gateway.reload(setup(&[&dead, &server], "queue = 5")).await;
    let after = gateway.admin("/status").await.text();
    assert!(down(&after), "{after}");
    gateway.get("/x").await.is(200, "/x");
    assert_eq!(server.connections(), connections, "the kept one is used");
    dead.restart().await;
    within("the other to be back", async {
        while dead.count("/y") == 0 {
            gateway.get("/y").await.is(200, "/y");
        }
    })
    .await;
}
