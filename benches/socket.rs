//! A gateway over sockets, all parts cached, against a bare hyper server that sends the same bodies.
//!
//! Each of the two is a process of its own with one worker; the client is a third. What counts is the CPU time that the kernel
//! books on the servers, in seconds for 1,000 answers, and the ratio of the two: they are asked in turns, round by round, and of
//! the rounds the median is told. Wall time on shared cores says little.
//!
//! ```text
//! cargo bench --bench socket                 the table
//! cargo bench --bench socket -- idle         memory of idle kept connections
//! cargo bench --bench socket -- connections  cost by number of connections
//! cargo bench --bench socket -- fanout       how long pages of personal fragments take
//! ```

#[path = "support/fan_out.rs"]
mod fan_out;
mod support;

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use marquetry::cli::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

// As in the program.
#[global_allocator]
static ALLOCATOR: marquetry::allocator::Mimalloc = marquetry::allocator::Mimalloc;

/// Rounds of each case, and answers of one server in a round.
const ROUNDS: usize = 7;
const ANSWERS: usize = 4000;

/// Connections at a time, unless it is told.
const CONNECTIONS: usize = 8;

/// Kept connections that are opened to see what one takes.
const IDLE: usize = 10_000;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Both ends of many connections need descriptors.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    match arguments[..] {
        ["serve", "gateway"] => serve(|| async { serve_gateway(support::app()) }),
        ["serve", "origin"] => serve(fan_out::origin),
        ["serve", "floor", app] => {
            let app = app.parse().expect("an address");
            serve(|| fan_out::floor(app));
        }
        ["serve", "gateway", app] => {
            let app = app.parse().expect("an address");
            serve(|| async move { serve_gateway(app) });
        }
        ["serve", "bare"] => {
            let mut body = Vec::new();
            let mut length = String::new();
            let mut input = BufReader::new(std::io::stdin());
            input.read_line(&mut length).expect("a length");
            let length = length.trim().parse().expect("a length");
            input.take(length).read_to_end(&mut body).expect("a body");
            serve(|| serve_bare(body.into()));
        }
        ["idle"] => idle(),
        ["connections"] => by_connections(),
        ["fanout"] => fanned_out(),
        [] => table(),
        _ => eprintln!("nothing, `idle`, `connections` or `fanout`"),
    }
}

// The servers.

/// Serves in one worker until its standard input ends; tells its address first.
fn serve<F: Future<Output = SocketAddr>>(start: impl FnOnce() -> F) {
    let runtime = one_worker();
    let address = runtime.block_on(start());
    println!("{address}");
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
}

fn one_worker() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn serve_gateway(app: SocketAddr) -> SocketAddr {
    let bound = wire::bind(&support::config(app)).expect("loopback can be listened on");
    bound.start().addresses.http[0]
}

/// Sends these bytes, whatever is asked.
async fn serve_bare(bytes: Bytes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback can be listened on");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let service = service_fn(move |_| {
                    let response = Response::new(Full::new(bytes.clone()));
                    async move { Ok::<_, Infallible>(response) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// A server in a process of its own; ended with its value.
struct Server {
    child: Child,
    /// It serves until this is closed.
    input: Option<ChildStdin>,
    address: SocketAddr,
}

impl Server {
    fn start(kind: &[&str], body: Option<&[u8]>) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .arg("serve")
            .args(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut input = child.stdin.take().expect("it is piped");
        if let Some(body) = body {
            let _ = writeln!(input, "{}", body.len());
            input.write_all(body).expect("it reads its body");
        }
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut address)
            .expect("it tells its address");
        Self {
            child,
            input: Some(input),
            address: address.trim().parse().expect("an address"),
        }
    }

    /// CPU time of all its threads so far, in seconds.
    fn cpu(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let times = tasks.expect("it runs").flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        });
        times.sum::<f64>() / 1e9
    }

    /// Resident memory, in bytes.
    fn resident(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()));
        let text = text.expect("it runs");
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        pages.unwrap_or(0.0) * 4096.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

// The client.

struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream,
            answer: Vec::with_capacity(64 * 1024),
        }
    }

    /// Asks, and reads the answer; gives where its body starts.
    async fn get(&mut self, request: &[u8]) -> usize {
        self.answer.clear();
        self.stream.write_all(request).await.expect("it listens");
        loop {
            let read = self.stream.read_buf(&mut self.answer).await;
            assert!(read.expect("it answers") > 0, "it was cut");
            let Some(end) = memchr::memmem::find(&self.answer, b"\r\n\r\n") else {
                continue;
            };
            let (head, body) = self.answer.split_at(end + 4);
            assert!(head.starts_with(b"HTTP/1.1 200"), "not 200");
            let whole = is_whole(head, body);
            if whole {
                return end + 4;
            }
        }
    }
}

impl Client {
    /// Milliseconds until the first byte of the body, and until all of it is there.
    async fn timed(&mut self, request: &[u8]) -> (f64, f64) {
        let start = std::time::Instant::now();
        let since = || start.elapsed().as_secs_f64() * 1000.0;
        self.answer.clear();
        self.stream.write_all(request).await.expect("it listens");
        let (mut first, mut body) = (None, None);
        loop {
            let read = self.stream.read_buf(&mut self.answer).await;
            assert!(read.expect("it answers") > 0, "it was cut");
            let end = || memchr::memmem::find(&self.answer, b"\r\n\r\n");
            let Some(start) = body.or_else(|| Some(end()? + 4)) else {
                continue;
            };
            body = Some(start);
            if self.answer.len() > start {
                first.get_or_insert_with(since);
            }
            if is_whole(&self.answer[..start], &self.answer[start..]) {
                return (first.unwrap_or_default(), since());
            }
        }
    }
}

/// Whether all of a body has come.
fn is_whole(head: &[u8], body: &[u8]) -> bool {
    let name = b"content-length: ";
    match memchr::memmem::find(head, name) {
        Some(at) => {
            let digits = head[at + name.len()..].iter();
            let digits = digits.take_while(|byte| byte.is_ascii_digit());
            let length = digits.fold(0, |all, digit| all * 10 + usize::from(digit - b'0'));
            body.len() >= length
        }
        None => body.ends_with(b"\r\n0\r\n\r\n"),
    }
}

fn request(target: &str, gzip: bool) -> Vec<u8> {
    let coding = if gzip {
        "accept-encoding: gzip\r\n"
    } else {
        ""
    };
    format!(
        "GET {target} HTTP/1.1\r\nhost: www.example.com\r\nuser-agent: bench\r\naccept: */*\r\n{coding}\r\n"
    )
    .into_bytes()
}

/// So many answers over so many connections; seconds of the server's CPU for 1,000 of them.
fn cost(
    runtime: &Runtime,
    server: &Server,
    request: &[u8],
    connections: usize,
    answers: usize,
) -> f64 {
    let each = answers / connections;
    let clients = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..connections {
            let mut client = Client::connect(server.address).await;
            client.get(request).await;
            clients.push(client);
        }
        clients
    });
    let before = server.cpu();
    runtime.block_on(async {
        let tasks: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let request = request.to_vec();
                tokio::spawn(async move {
                    for _ in 0..each {
                        client.get(&request).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no client fails");
        }
    });
    (server.cpu() - before) / (each * connections) as f64 * 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One line: both servers in turns.
fn compare(
    runtime: &Runtime,
    gateway: &Server,
    name: &str,
    target: &str,
    gzip: bool,
    connections: usize,
) {
    let request = request(target, gzip);
    let body = runtime.block_on(async {
        let mut client = Client::connect(gateway.address).await;
        let mut start = 0;
        // The first answers fill the cache and what is remembered.
        for _ in 0..10 {
            start = client.get(&request).await;
        }
        client.answer[start..].to_vec()
    });
    let bare = Server::start(&["bare"], Some(&body));
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let answers = ANSWERS.max(connections * 4);
    for _ in 0..ROUNDS {
        let our = cost(runtime, gateway, &request, connections, answers);
        let their = cost(runtime, &bare, &request, connections, answers);
        ours.push(our);
        theirs.push(their);
        ratios.push(our / their);
    }
    println!(
        "{name:<16} {:>9} {:>9.4} {:>9.4} {:>6.2}",
        body.len(),
        median(ours),
        median(theirs),
        median(ratios)
    );
}

fn heading() {
    println!(
        "{:<16} {:>9} {:>9} {:>9} {:>6}   CPU seconds of the server for 1,000 answers",
        "", "bytes", "gateway", "bare", "ratio"
    );
}

fn table() {
    let runtime = one_worker();
    let gateway = Server::start(&["gateway"], None);
    heading();
    for (name, includes, gzip) in [
        ("plain 20 KB", 0, false),
        ("1 include", 1, false),
        ("5 includes", 5, false),
        ("20 includes", 20, false),
        ("100 includes", 100, false),
        ("400 includes", 400, false),
        ("20, gzip", 20, true),
        ("100, gzip", 100, true),
    ] {
        let target = format!("/page/{includes}");
        compare(&runtime, &gateway, name, &target, gzip, CONNECTIONS);
    }
}

fn by_connections() {
    let runtime = one_worker();
    let gateway = Server::start(&["gateway"], None);
    heading();
    for connections in [1, 64, 1000] {
        let name = format!("20 at c={connections}");
        compare(&runtime, &gateway, &name, "/page/20", false, connections);
    }
}

/// Rounds of the fan-out, in turns with the floor.
const TURNS: usize = 5;

/// Pages of personal fragments, each of which takes 20 ms: until the first byte of the body, and in all, beside a bare hyper process that
/// fetches as many from the same origin; the medians of a few turns.
fn fanned_out() {
    let runtime = one_worker();
    let app = Server::start(&["origin"], None);
    let gateway = Server::start(&["gateway", &app.address.to_string()], None);
    let floor = Server::start(&["floor", &app.address.to_string()], None);
    let alone = median(times(&runtime, app.address, "/slow/alone", 1).1);
    println!("one fragment alone: {alone:.2} ms (median)");
    println!(
        "{:<20} {:>10} {:>8} {:>8} {:>12} {:>8} {:>12}   milliseconds; microseconds of the server's CPU",
        "fragments", "first byte", "all", "more", "CPU/fragment", "floor", "CPU/fragment"
    );
    for fragments in [10, 50] {
        for connections in [1, 16] {
            let target = format!("/fan/{fragments}");
            let (mut firsts, mut wholes, mut floors) = (Vec::new(), Vec::new(), Vec::new());
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..TURNS {
                let asked = (connections * EACH * fragments) as f64 / 1e6;
                let before = gateway.cpu();
                let (first, whole) = times(&runtime, gateway.address, &target, connections);
                ours.push((gateway.cpu() - before) / asked);
                firsts.push(median(first));
                wholes.push(median(whole));
                let before = floor.cpu();
                floors.push(median(
                    times(&runtime, floor.address, &target, connections).1,
                ));
                theirs.push((floor.cpu() - before) / asked);
            }
            let whole = median(wholes);
            println!(
                "{:<20} {:>10.2} {whole:>8.2} {:>+8.2} {:>12.1} {:>+8.2} {:>12.1}",
                format!("{fragments}, c={connections}"),
                median(firsts),
                whole - alone,
                median(ours),
                median(floors) - alone,
                median(theirs),
            );
        }
    }
}

/// Answers of each connection in one turn of the fan-out.
const EACH: usize = 50;

/// Milliseconds until the first bytes of answers, and in all.
fn times(
    runtime: &Runtime,
    server: SocketAddr,
    target: &str,
    connections: usize,
) -> (Vec<f64>, Vec<f64>) {
    let mut request = request(target, false);
    // A visitor who is known: before the empty line at the end.
    let end = request.len() - 2;
    request.splice(end..end, *b"cookie: session=abcdef0123456789\r\n");
    runtime.block_on(async {
        let tasks: Vec<_> = (0..connections)
            .map(|_| {
                let request = request.clone();
                tokio::spawn(async move {
                    let mut client = Client::connect(server).await;
                    let mut times = Vec::new();
                    for round in 0..EACH {
                        let time = client.timed(&request).await;
                        // The first ones open connections and fill the cache.
                        if round >= 5 {
                            times.push(time);
                        }
                    }
                    times
                })
            })
            .collect();
        let mut all = (Vec::new(), Vec::new());
        for task in tasks {
            for (first, whole) in task.await.expect("no client fails") {
                all.0.push(first);
                all.1.push(whole);
            }
        }
        all
    })
}

/// What a kept connection takes that rests after one answer.
fn idle() {
    let runtime = one_worker();
    let gateway = Server::start(&["gateway"], None);
    let bare = Server::start(&["bare"], Some(&[b'x'; 1000]));
    for (name, server) in [("gateway", &gateway), ("bare hyper", &bare)] {
        let request = request("/page/20", false);
        let kept = runtime.block_on(async {
            let mut kept = Vec::new();
            for _ in 0..100 {
                let mut client = Client::connect(server.address).await;
                client.get(&request).await;
                kept.push(client.stream);
            }
            kept
        });
        let before = server.resident();
        let more = runtime.block_on(async {
            let mut more = Vec::new();
            for _ in 0..IDLE {
                let mut client = Client::connect(server.address).await;
                client.get(&request).await;
                more.push(client.stream);
            }
            more
        });
        let each = (server.resident() - before) / more.len() as f64;
        println!(
            "{name:<12} {} idle connections, {:.1} KiB each",
            more.len(),
            each / 1024.0
        );
        drop((kept, more));
    }
}
