//! `max_in_flight` under load: servers with one thread that count what is in them, clients that leave, servers that cut answers, health
//! checks, operators and reloads, all at once. No server ever has two.
//!
//! `MARQUETRY_LOAD` is the number of requests, 3,000 where it is not set; the README tells the figures of 100,000.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use http::Method;
use marquetry::config::pattern::ServerAddress;
use marquetry::config::{Balance, HealthConfig, ServerEntry, UpstreamConfig};
use marquetry::message::deadline::Deadline;
use marquetry::message::{Body, Request};
use marquetry::observe::span::Notes;
use marquetry::upstream::{Upstream, Upstreams};
use support::meter::{Manner, Meter, Work};

const CLIENTS: usize = 12;

fn requests() -> usize {
    let wanted = std::env::var("MARQUETRY_LOAD").ok();
    wanted.and_then(|it| it.parse().ok()).unwrap_or(3000)
}

/// What a server does is written into the target: `/job/NUMBER`.
fn script(target: &str) -> Work {
    let number: usize = target
        .rsplit('/')
        .next()
        .and_then(|it| it.parse().ok())
        .unwrap_or(0);
    Work {
        time: Duration::from_micros(if number.is_multiple_of(7) { 3000 } else { 200 }),
        cut: number % 53 == 1,
        status: (number % 31 == 2).then_some(500),
        ..Work::default()
    }
}

fn config(meters: &[Meter], round: usize, http2: bool) -> UpstreamConfig {
    let modes = [
        Balance::LeastConnections,
        Balance::Affinity,
        Balance::RoundRobin,
    ];
    // Each reload leaves out another server.
    let stays = |at: &usize| round == 0 || *at != round % meters.len();
    let entries = (0..meters.len()).filter(stays).map(|at| ServerEntry {
        address: ServerAddress::Socket(meters[at].address),
        weight: 1 + (at as u32 % 2),
    });
    UpstreamConfig {
        max_in_flight: 1,
        balance: modes[round % modes.len()],
        queue: 10_000,
        queue_timeout: Duration::from_secs(20),
        http2,
        health: Some(HealthConfig {
            interval: Duration::from_millis(20),
            ..HealthConfig::new("/job/0")
        }),
        ..UpstreamConfig::new(entries.collect())
    }
}

#[derive(Default)]
struct Tally {
    next: AtomicUsize,
    answered: AtomicUsize,
    failed: AtomicUsize,
    left: AtomicUsize,
}

async fn client(current: Arc<RwLock<Upstreams>>, tally: Arc<Tally>, all: usize) {
    loop {
        let number = tally.next.fetch_add(1, Ordering::SeqCst);
        if number >= all {
            return;
        }
        let upstreams = current.read().expect("no panic holds it").clone();
        let upstream: Arc<Upstream> = Arc::clone(upstreams.get("app").expect("it is configured"));
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = format!("/job/{number}").parse().expect("a target");
        if number.is_multiple_of(5) {
            *request.method_mut() = Method::POST;
        }
        let asked = async {
            let deadline = Deadline::after(Duration::from_secs(30));
            let answer = upstream.send(request, deadline, &Notes::unobserved()).await;
            match answer {
                Ok(answer) => answer.response.into_body().collect(1 << 20).await.is_ok(),
                Err(_) => false,
            }
        };
        // Every ninth leaves, at any point of its way.
        let patience = if number.is_multiple_of(9) {
            Duration::from_micros((number as u64 * 977) % 8_000)
        } else {
            Duration::from_secs(60)
        };
        let count = match tokio::time::timeout(patience, asked).await {
            Err(_) => &tally.left,
            Ok(true) => &tally.answered,
            Ok(false) => &tally.failed,
        };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

async fn load(http2: bool, all: usize) {
    let manner = Manner {
        threads: 1,
        http2,
        tls: None,
    };
    let mut meters = Vec::new();
    for _ in 0..4 {
        meters.push(Meter::with(manner.clone(), script).await);
    }
    let configs = |round| BTreeMap::from([("app".to_owned(), config(&meters, round, http2))]);
    let first = Upstreams::new(&configs(0), None);
    let pool = Arc::clone(first.get("app").expect("it is configured").pool());
    let current = Arc::new(RwLock::new(first));
    let tally = Arc::new(Tally::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(client(current.clone(), tally.clone(), all)))
        .collect();
    let mut round = 0;
    while !clients.iter().all(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(15)).await;
        round += 1;
        let before = current.read().expect("no panic holds it").clone();
        let after = Upstreams::new(&configs(round), Some(&before));
        *current.write().expect("no panic holds it") = after;
        // An operator is at work too; servers come and go, so not every order finds its server.
        let server = meters[(round + 1) % meters.len()].address.to_string();
        let _ = if round.is_multiple_of(2) {
            pool.drain(&server)
        } else {
            pool.ready(&server)
        };
        let _ = pool.set_weight(&server, 1 + round as u32 % 3);
        for meter in &meters {
            let _ = pool.ready(&meter.address.to_string());
        }
    }
    for client in clients {
        client.await.expect("no client panics");
    }
    let (answered, failed, left) = (
        tally.answered.load(Ordering::SeqCst),
        tally.failed.load(Ordering::SeqCst),
        tally.left.load(Ordering::SeqCst),
    );
    let most: Vec<_> = meters.iter().map(Meter::most).collect();
    println!(
        "http2 {http2}: {answered} answered, {failed} failed, {left} left, {round} reloads; most in flight at a server {most:?}"
    );
    assert_eq!(most, [1; 4], "in flight at a server that takes one");
    assert_eq!(answered + failed + left, all);
    // Only what servers cut may fail, and not all of that does: what is idempotent is tried again.
    assert!(
        failed <= all / 53 + 1 && answered > all / 2,
        "{answered} {failed} {left}"
    );
    assert_eq!(pool.status().queued, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_server_ever_has_more_than_it_takes() {
    load(false, requests()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_server_on_http2_ever_has_more_than_it_takes() {
    load(true, requests()).await;
}
