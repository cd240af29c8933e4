//! Which way of balancing keeps the servers' own caches warm: a simulation in stopped time, so that the figures are the same on every machine.
//!
//! Four servers with a pool before them, each with a cache of its own that has room for a part of the URLs. What a server has in its cache
//! takes it 2 ms, anything else 40 ms. Requests come at random moments for URLs of which few are popular. `cargo bench --bench affinity` prints for
//! each way of balancing the work of the servers and what clients wait.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use marquetry::config::pattern::ServerAddress;
use marquetry::config::{Balance, ServerEntry, UpstreamConfig};
use marquetry::message::deadline::Deadline;
use marquetry::upstream::affinity::UrlKey;
use marquetry::upstream::balance::Wish;
use marquetry::upstream::pool::Pool;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

const SERVERS: usize = 4;
const URLS: usize = 2000;
const ROOM: usize = 400;
const REQUESTS: usize = 40_000;
const WARM: Duration = Duration::from_millis(2);
const COLD: Duration = Duration::from_millis(40);

/// What a server has at hand: the URLs that it was asked for last.
#[derive(Default)]
struct Store {
    order: VecDeque<usize>,
    uses: HashMap<usize, usize>,
}

impl Store {
    /// Whether it has this one; it has it from now on.
    fn has(&mut self, url: usize) -> bool {
        let had = self.uses.contains_key(&url);
        *self.uses.entry(url).or_default() += 1;
        self.order.push_back(url);
        // Least recently used: places in the order that were used again since are passed over.
        while self.uses.len() > ROOM {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(uses) = self.uses.get_mut(&oldest) {
                *uses -= 1;
                if *uses == 0 {
                    self.uses.remove(&oldest);
                }
            }
        }
        had
    }
}

struct Outcome {
    misses: usize,
    work: Duration,
    times: Vec<Duration>,
}

/// URLs by Zipf's law.
struct Popularity(Vec<f64>);

impl Popularity {
    fn new() -> Self {
        let mut sum = 0.0;
        let sums = (1..=URLS).map(|rank| {
            sum += 1.0 / (rank as f64).powf(0.9);
            sum
        });
        let sums: Vec<_> = sums.collect();
        Self(sums.into_iter().map(|it| it / sum).collect())
    }

    fn pick(&self, random: &mut StdRng) -> usize {
        let at: f64 = random.random();
        self.0.partition_point(|sum| *sum < at).min(URLS - 1)
    }
}

async fn run(balance: Balance, max_in_flight: usize, rate: f64) -> Outcome {
    let entries = (0..SERVERS).map(|at| ServerEntry {
        address: ServerAddress::parse(&format!("127.0.0.1:{}", 8110 + at)).expect("an address"),
        weight: 1,
    });
    let config = UpstreamConfig {
        balance,
        max_in_flight,
        queue: REQUESTS,
        queue_timeout: Duration::from_secs(3600),
        ..UpstreamConfig::new(entries.collect())
    };
    let pool = Pool::new("app", &config);
    let stores: Arc<Vec<Mutex<Store>>> = Arc::new((0..SERVERS).map(|_| Mutex::default()).collect());
    let servers = pool.servers();
    let outcome = Arc::new(Mutex::new(Outcome {
        misses: 0,
        work: Duration::ZERO,
        times: Vec::with_capacity(REQUESTS),
    }));
    let popularity = Popularity::new();
    let mut random = StdRng::seed_from_u64(7);
    let mut tasks = JoinSet::new();
    let mut next = Instant::now();
    for _ in 0..REQUESTS {
        // Arrivals of a Poisson process.
        let gap: f64 = -(1.0 - random.random::<f64>()).ln() / rate;
        next += Duration::from_secs_f64(gap);
        tokio::time::sleep_until(next).await;
        let url = popularity.pick(&mut random);
        let (pool, stores, outcome) = (pool.clone(), stores.clone(), outcome.clone());
        let servers = servers.clone();
        tasks.spawn(async move {
            let came = Instant::now();
            let wish = Wish {
                url: UrlKey::of(b"www.example.com", format!("/page/{url}").as_bytes()),
                avoid: None,
            };
            let deadline = Deadline::after(Duration::from_secs(3600));
            let permit = pool
                .acquire(deadline, wish)
                .await
                .expect("there is room in line");
            let at = servers
                .iter()
                .position(|it| Arc::ptr_eq(it, permit.server()));
            let at = at.expect("it is one of them");
            let had = stores[at].lock().expect("no panic holds it").has(url);
            let time = if had { WARM } else { COLD };
            tokio::time::sleep(time).await;
            drop(permit);
            let mut outcome = outcome.lock().expect("no panic holds it");
            outcome.misses += usize::from(!had);
            outcome.work += time;
            outcome.times.push(came.elapsed());
        });
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
    let mut outcome = outcome.lock().expect("no panic holds it");
    let times = std::mem::take(&mut outcome.times);
    Outcome {
        misses: outcome.misses,
        work: outcome.work,
        times,
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    println!(
        "{SERVERS} servers, each with room for {ROOM} of {URLS} URLs; {} ms where it has it, {} ms where not; {REQUESTS} requests",
        WARM.as_millis(),
        COLD.as_millis()
    );
    println!(
        "{:>5} {:>10} {:<18} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "req/s", "in flight", "balance", "hits", "work s", "mean ms", "p50 ms", "p99 ms"
    );
    for (rate, max_in_flight) in [(100.0, 1), (180.0, 1), (180.0, 4)] {
        for (name, balance) in [
            ("round-robin", Balance::RoundRobin),
            ("least-connections", Balance::LeastConnections),
            ("affinity", Balance::Affinity),
        ] {
            let mut outcome = runtime.block_on(run(balance, max_in_flight, rate));
            outcome.times.sort_unstable();
            let at = |part: f64| {
                let times = &outcome.times;
                times[((times.len() as f64 * part) as usize).min(times.len() - 1)].as_secs_f64()
                    * 1e3
            };
            let mean = outcome.times.iter().sum::<Duration>().as_secs_f64() / REQUESTS as f64 * 1e3;
            println!(
                "{rate:>5} {max_in_flight:>10} {name:<18} {:>6.1}% {:>9.1} {mean:>9.1} {:>9.1} {:>9.1}",
                100.0 - outcome.misses as f64 * 100.0 / REQUESTS as f64,
                outcome.work.as_secs_f64(),
                at(0.5),
                at(0.99),
            );
        }
    }
}
