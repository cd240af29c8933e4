//! Stop signals: SIGTERM finishes what runs, SIGINT does not wait, and after a kill the gateway serves again.

mod support;

use support::{Client, End, Gate, Gateway, Origin, Reply, Setup, ask, within};
use tokio::net::TcpStream;

/// A gateway with one request that the test holds; its origin, its gate and its client.
async fn holding(server: &str) -> (Gateway, Origin, Gate, Client) {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/held",
        Reply::html("begin <esi:include src=\"/slow\"/> end"),
    );
    origin.on("/slow", Reply::html("slow").behind(&gate));
    origin.on("/x", Reply::text("fine"));
    let gateway = Setup::composing(&origin).server(server).start().await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/held").bytes()).await;
    origin.arrived("/slow", 1).await;
    (gateway, origin, gate, client)
}

/// Waits until the main listener takes nobody any more.
async fn closed_to_new(gateway: &Gateway) {
    within("new connections to be refused", async {
        while TcpStream::connect(gateway.http).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn sigterm_finishes_what_runs_and_takes_no_more() {
    let (mut gateway, _origin, gate, mut client) = holding("").await;
    assert_eq!(gateway.admin("/readyz").await.status, 200);
    gateway.signal("TERM");
    within("/readyz to say no", async {
        while gateway.admin("/readyz").await.status != 503 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    closed_to_new(&gateway).await;
    assert_eq!(
        gateway.admin("/healthz").await.status,
        200,
        "alive all the same"
    );
    gate.open();
    client.answer().await.is(200, "begin slow end");
    assert_eq!(gateway.exited().await.code(), Some(0));
}

#[tokio::test]
async fn sigterm_ends_kept_connections_that_ask_for_nothing() {
    let origin = Origin::start().await;
    origin.on("/x", Reply::text("fine"));
    let mut gateway = Setup::composing(&origin).start().await;
    let mut idle = gateway.client().await;
    idle.fetch(&ask("GET", "/x")).await.is(200, "fine");
    let mut mute = gateway.client().await;
    gateway.get("/x").await.is(200, "fine");
    gateway.signal("TERM");
    assert_eq!(gateway.exited().await.code(), Some(0));
    assert!(idle.closed().await.is_empty());
    assert!(mute.closed().await.is_empty());
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_and_looks_cut() {
    let (mut gateway, _origin, _gate, mut client) = holding("drain_timeout = \"500ms\"").await;
    gateway.signal("TERM");
    let answer = client.answer().await;
    assert_eq!(answer.end, End::Cut);
    assert!(!answer.text().contains("end"));
    gateway.exited().await;
}

#[tokio::test]
async fn sigint_does_not_wait() {
    let (mut gateway, _origin, gate, mut client) = holding("").await;
    gateway.signal("INT");
    gateway.exited().await;
    let answer = client.answer().await;
    assert_eq!(answer.end, End::Cut);
    gate.open();
}

#[tokio::test]
async fn a_second_signal_ends_the_draining() {
    let (mut gateway, _origin, _gate, _client) = holding("").await;
    gateway.signal("TERM");
    closed_to_new(&gateway).await;
    gateway.signal("INT");
    gateway.exited().await;
}

#[tokio::test]
async fn after_a_kill_it_serves_again() {
    let (mut gateway, origin, gate, _client) = holding("").await;
    gateway.signal("KILL");
    gateway.exited().await;
    gate.open();
    gateway.start_again().await;
    gateway.get("/x").await.is(200, "fine");
    gateway.get("/held").await.is(200, "begin slow end");
    assert!(origin.count("/x") == 1);
}
