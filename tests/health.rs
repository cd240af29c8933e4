//! Active health checks: who fails them is out, who passes them is back, and a check is a request in flight like any other.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::meter::{Meter, Work};
use support::{Gate, Gateway, Setup, ask, within};

const CHECKED: &str = "health = { path = \"/healthz\", interval = \"50ms\", timeout = \"500ms\", fall = 2, rise = 2 }\n";

/// A server whose health can be changed.
async fn server(well: &Arc<AtomicBool>) -> Meter {
    let well = Arc::clone(well);
    Meter::start(move |target| Work {
        status: (target == "/healthz" && !well.load(Ordering::SeqCst)).then_some(503),
        ..Work::default()
    })
    .await
}

fn well() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

async fn before(servers: &[&Meter], lines: &str) -> Gateway {
    let addresses: Vec<_> = servers.iter().map(|it| it.address).collect();
    Setup::new()
        .servers("app", &addresses, &format!("{CHECKED}{lines}"))
        .route("/", "app", "cache = false")
        .start()
        .await
}

async fn down(gateway: &Gateway, count: f64) {
    within(&format!("{count} servers to be down"), async {
        while (gateway
            .metric("marquetry_upstream_servers", "state=\"down\"")
            .await
            - count)
            .abs()
            > 0.1
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_fails_its_checks_is_out_until_it_passes_them() {
    let (one, other) = (well(), well());
    let servers = [server(&one).await, server(&other).await];
    let gateway = before(&[&servers[0], &servers[1]], "").await;
    one.store(false, Ordering::SeqCst);
    down(&gateway, 1.0).await;
    let line = gateway.logged("server down").await;
    assert!(line.contains("health check: 503 in"), "{line}");
    for number in 0..10 {
        let target = format!("/{number}");
        gateway.get(&target).await.is(200, &target);
        assert_eq!(servers[0].count(&target), 0);
    }
    one.store(true, Ordering::SeqCst);
    let recovered = Instant::now();
    down(&gateway, 0.0).await;
    assert!(recovered.elapsed() < Duration::from_secs(15));
    gateway.logged("2 good health checks in a row").await;
}

#[tokio::test]
async fn all_may_fail_their_checks_and_none_is_given_up() {
    let bad = well();
    bad.store(false, Ordering::SeqCst);
    let servers = [server(&bad).await, server(&bad).await];
    let gateway = before(&[&servers[0], &servers[1]], "max_in_flight = 1").await;
    down(&gateway, 2.0).await;
    for number in 0..10 {
        let target = format!("/{number}");
        gateway.get(&target).await.is(200, &target);
    }
}

#[tokio::test]
async fn a_check_waits_until_its_server_is_idle() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = Meter::start(move |target| Work {
        gate: (target == "/held").then(|| held.clone()),
        ..Work::default()
    })
    .await;
    let gateway = before(&[&server], "max_in_flight = 1").await;
    within("the first checks", async {
        while server.count("/healthz") < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/held").bytes()).await;
    within("the request to arrive", async {
        while server.count("/held") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let checks = server.count("/healthz");
    // Several intervals pass: that is what is tested, not waited for.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.count("/healthz"), checks);
    assert_eq!(server.inside(), 1);
    gate.open();
    client.answer().await.is(200, "/held");
    within("the next check", async {
        while server.count("/healthz") == checks {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(server.most(), 1);
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_back_with_its_checks() {
    let (one, other) = (well(), well());
    let mut dies = server(&one).await;
    let lives = server(&other).await;
    let gateway = before(&[&dies, &lives], "").await;
    dies.stop().await;
    down(&gateway, 1.0).await;
    for _ in 0..50 {
        gateway.get("/x").await.is(200, "/x");
    }
    dies.restart().await;
    down(&gateway, 0.0).await;
    within("the server to be used", async {
        while dies.count("/y") == 0 {
            gateway.get("/y").await.is(200, "/y");
        }
    })
    .await;
}
