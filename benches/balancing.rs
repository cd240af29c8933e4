//! Four servers with one thread each, one slow request in seven: what each way of balancing makes of them, and `HAProxy` where it is installed, in
//! one run, in turns.
//!
//! `cargo bench --bench balancing`. The servers count what waits in them for their thread: that is the queue that nobody sees. The
//! gateway, and `HAProxy`, run as processes of their own; all of it on loopback, a bounded number of requests.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::meter::{Meter, Work};
use support::{Client, Gateway, Setup, ask};

const CLIENTS: usize = 16;
const REQUESTS: usize = 700;
const ROUNDS: usize = 3;
const FAST: Duration = Duration::from_millis(15);
const SLOW: Duration = Duration::from_millis(100);

/// One request in seven is slow; which, is random, and the same in each run.
fn script(target: &str) -> Work {
    let number: u64 = target.trim_start_matches('/').parse().unwrap_or(0);
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    Work {
        time: if mixed.is_multiple_of(7) { SLOW } else { FAST },
        ..Work::default()
    }
}

/// What stands before the servers.
enum Front {
    Marquetry(&'static str),
    /// The words of a backend, and those of its servers.
    HaProxy(&'static str, &'static str),
}

struct Running {
    address: SocketAddr,
    _gateway: Option<Gateway>,
    haproxy: Option<Child>,
    _folder: Option<tempfile::TempDir>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.haproxy {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Front {
    async fn start(&self, servers: &[Meter]) -> Running {
        let addresses: Vec<_> = servers.iter().map(|it| it.address).collect();
        match self {
            Self::Marquetry(lines) => {
                let gateway = Setup::new()
                    .servers("app", &addresses, lines)
                    .route("/", "app", "cache = false\ncompose = \"off\"")
                    .start()
                    .await;
                Running {
                    address: gateway.http,
                    _gateway: Some(gateway),
                    haproxy: None,
                    _folder: None,
                }
            }
            Self::HaProxy(backend, server) => haproxy(&addresses, backend, server).await,
        }
    }
}

async fn haproxy(servers: &[SocketAddr], backend: &str, server: &str) -> Running {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    drop(listener);
    let mut file = format!(
        "global\n  nbthread 2\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n  timeout queue 30s\n\
         frontend f\n  bind {address}\n  default_backend b\nbackend b\n  {backend}\n"
    );
    for (at, address) in servers.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(file, "  server s{at} {address} {server}");
    }
    let folder = tempfile::TempDir::new().expect("a folder of our own");
    let path = folder.path().join("haproxy.cfg");
    std::fs::write(&path, file).expect("a file in our own folder");
    let child = Command::new("haproxy")
        .arg("-f")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is installed");
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Running {
        address,
        _gateway: None,
        haproxy: Some(child),
        _folder: Some(folder),
    }
}

#[derive(Default)]
struct Figures {
    rates: Vec<f64>,
    times: Vec<Duration>,
    queued: usize,
}

async fn measure(front: &Front, figures: &mut Figures) {
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(Meter::start(script).await);
    }
    let running = front.start(&servers).await;
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (next, address) = (next.clone(), running.address);
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= REQUESTS {
                        return times;
                    }
                    let sent = Instant::now();
                    let answer = client.fetch(&ask("GET", &format!("/{number}"))).await;
                    assert_eq!(answer.status, 200);
                    times.push(sent.elapsed());
                }
            })
        })
        .collect();
    for client in clients {
        figures
            .times
            .extend(client.await.expect("every request is answered"));
    }
    figures
        .rates
        .push(REQUESTS as f64 / began.elapsed().as_secs_f64());
    let queued = servers.iter().map(Meter::longest_queue).max();
    figures.queued = figures.queued.max(queued.unwrap_or_default());
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut fronts = vec![
        (
            "marquetry round-robin, no limit",
            Front::Marquetry("balance = \"round-robin\""),
        ),
        (
            "marquetry round-robin, 1",
            Front::Marquetry("balance = \"round-robin\"\nmax_in_flight = 1"),
        ),
        (
            "marquetry least-connections, no limit",
            Front::Marquetry(""),
        ),
        (
            "marquetry least-connections, 1",
            Front::Marquetry("max_in_flight = 1"),
        ),
        (
            "marquetry affinity, no limit",
            Front::Marquetry("balance = \"affinity\""),
        ),
        (
            "marquetry affinity, 1",
            Front::Marquetry("balance = \"affinity\"\nmax_in_flight = 1"),
        ),
    ];
    let installed = Command::new("haproxy")
        .arg("-v")
        .stdout(Stdio::null())
        .status();
    if installed.is_ok_and(|status| status.success()) {
        fronts.extend([
            (
                "haproxy roundrobin, no limit",
                Front::HaProxy("balance roundrobin", ""),
            ),
            (
                "haproxy roundrobin, maxconn 1",
                Front::HaProxy("balance roundrobin", "maxconn 1"),
            ),
            (
                "haproxy leastconn, no limit",
                Front::HaProxy("balance leastconn", ""),
            ),
            (
                "haproxy leastconn, maxconn 1",
                Front::HaProxy("balance leastconn", "maxconn 1"),
            ),
        ]);
    } else {
        println!("haproxy is not installed (apt-get install haproxy): it is left out");
    }
    let mut all: Vec<Figures> = fronts.iter().map(|_| Figures::default()).collect();
    for _ in 0..ROUNDS {
        for ((_, front), figures) in fronts.iter().zip(&mut all) {
            measure(front, figures).await;
        }
    }
    println!(
        "4 servers with one thread; {} ms, one request in seven {} ms; {CLIENTS} clients; {ROUNDS} runs of {REQUESTS} requests, in turns",
        FAST.as_millis(),
        SLOW.as_millis()
    );
    println!(
        "{:<38} {:>18} {:>8} {:>8} {:>22}",
        "", "req/s (median)", "p50 ms", "p99 ms", "most queued in a server"
    );
    for ((name, _), mut figures) in fronts.iter().zip(all) {
        figures.rates.sort_by(f64::total_cmp);
        figures.times.sort_unstable();
        let at = |part: usize| figures.times[figures.times.len() * part / 100].as_secs_f64() * 1e3;
        println!(
            "{name:<38} {:>18.0} {:>8.0} {:>8.0} {:>22}",
            figures.rates[ROUNDS / 2],
            at(50),
            at(99),
            figures.queued
        );
    }
}
