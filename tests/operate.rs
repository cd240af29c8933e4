//! What operators do to a running gateway by command: look at servers, take them out and put them back, and restart all of them one after the
//! other without a request that fails.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Ask, Gate, Gateway, Origin, Reply, Setup, ask, within};
use tempfile::TempDir;

/// What a command did.
struct Ran {
    code: i32,
    out: String,
    told: String,
}

fn command(gateway: &Gateway, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marquetry"));
    let admin = gateway.admin.to_string();
    command.args(arguments).args(["--admin", &admin]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

async fn ran(gateway: &Gateway, arguments: &[&str]) -> Ran {
    let child = command(gateway, arguments)
        .spawn()
        .expect("the binary runs");
    ended(child).await
}

async fn ended(child: Child) -> Ran {
    let waiting = tokio::task::spawn_blocking(|| child.wait_with_output());
    let output: Output = within("the command to end", waiting)
        .await
        .expect("no panic")
        .expect("its output");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        told: text(output.stderr),
    }
}

/// A gateway with two servers for everything.
async fn two(upstream: &str) -> (Origin, Origin, Gateway) {
    let (left, right) = (Origin::start().await, Origin::start().await);
    for origin in [&left, &right] {
        origin.on("/x", Reply::text("fine").header("Cache-Control", "private"));
    }
    let gateway = Setup::new()
        .servers("app", &[left.address, right.address], upstream)
        .route("/", "app", "")
        .start()
        .await;
    (left, right, gateway)
}

#[tokio::test]
async fn a_server_is_taken_out_and_put_back() {
    let (left, right, gateway) = two("max_in_flight = 1").await;
    let server = left.address.to_string();
    let ran_drain = ran(&gateway, &["drain", "app", &server, "--wait"]).await;
    let wanted = format!("app {server}: drained, weight 1, 0 in flight\n");
    assert_eq!(
        (
            ran_drain.code,
            ran_drain.out.as_str(),
            ran_drain.told.as_str()
        ),
        (0, wanted.as_str(), "")
    );
    for _ in 0..6 {
        gateway.get("/x").await.is(200, "fine");
    }
    assert_eq!((left.count("/x"), right.count("/x")), (0, 6));
    let states = gateway
        .metric("marquetry_upstream_servers", "state=\"drained\"")
        .await;
    assert!((states - 1.0).abs() < 0.1);
    gateway.logged("drained by an operator").await;
    let weighed = ran(&gateway, &["weight", "app", &server, "3", "--json"]).await;
    let row: serde_json::Value = serde_json::from_str(&weighed.out).expect("a row");
    assert_eq!(
        (&row["weight"], &row["state"]),
        (&3.into(), &"drained".into())
    );
    let back = ran(&gateway, &["ready", "app", &server]).await;
    assert_eq!(
        back.out,
        format!("app {server}: active, weight 3, 0 in flight\n")
    );
    for _ in 0..8 {
        gateway.get("/x").await.is(200, "fine");
    }
    assert!(
        left.count("/x") > 3,
        "{} of 8 with three times the weight",
        left.count("/x")
    );
}

#[tokio::test]
async fn a_drain_waits_for_what_is_in_flight_and_no_longer_than_told() {
    let (left, right, gateway) = two("max_in_flight = 1").await;
    let gate = Gate::new();
    for origin in [&left, &right] {
        origin.on("/held", Reply::text("held").behind(&gate));
    }
    let mut client = gateway.client().await;
    client.send(ask("GET", "/held").bytes()).await;
    let busy = within("the request to arrive", async {
        loop {
            for origin in [&left, &right] {
                if origin.count("/held") > 0 {
                    return origin.address.to_string();
                }
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let late = ran(
        &gateway,
        &["drain", "app", &busy, "--wait", "--timeout", "200ms"],
    )
    .await;
    assert_eq!(late.code, 1);
    assert_eq!(
        late.out,
        format!("app {busy}: draining, weight 1, 1 in flight\n")
    );
    assert_eq!(
        late.told,
        "marquetry: not idle after 0.2 s; it goes on draining\n"
    );
    let waiting = command(&gateway, &["drain", "app", &busy, "--wait"])
        .spawn()
        .expect("it runs");
    gate.open();
    client.answer().await.is(200, "held");
    let done = ended(waiting).await;
    assert_eq!(
        (done.code, done.out),
        (0, format!("app {busy}: drained, weight 1, 0 in flight\n"))
    );
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let (left, right, gateway) = two("").await;
    let server = left.address.to_string();
    let mut known = [left.address.to_string(), right.address.to_string()];
    known.sort();
    let known = known.join(", ");
    for (arguments, code, told) in [
        (
            vec!["drain", "app", "127.0.0.1:1"],
            2,
            format!("marquetry: app has no server 127.0.0.1:1; it has {known}\n"),
        ),
        (
            vec!["ready", "ap", &server],
            2,
            "marquetry: there is no upstream ap; there are app\n".to_owned(),
        ),
        (
            vec!["status", "ap"],
            2,
            "marquetry: there is no upstream ap; there are app\n".to_owned(),
        ),
        (
            vec!["roll", "ap", "--exec", "true"],
            2,
            "marquetry: there is no upstream ap; there are app\n".to_owned(),
        ),
    ] {
        let ran = ran(&gateway, &arguments).await;
        assert_eq!((ran.code, ran.told), (code, told), "{arguments:?}");
        assert_eq!(ran.out, "", "{arguments:?}");
    }
    for (address, told) in [
        (
            gateway.http.to_string(),
            "is no admin listener; --admin says where it is\n",
        ),
        ("127.0.0.1:1".to_owned(), "--admin says where it is\n"),
    ] {
        let child = Command::new(env!("CARGO_BIN_EXE_marquetry"))
            .args(["status", "--admin", &address])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let ran = ended(child.expect("the binary runs")).await;
        assert_eq!(ran.code, 1);
        assert!(ran.told.ends_with(told), "{}", ran.told);
    }
}

/// The addresses and times of a text, made the same for every run.
fn settled(text: &str, servers: &[SocketAddr]) -> String {
    let mut text = text.to_owned();
    for (server, name) in servers.iter().zip(["127.0.0.1:A", "127.0.0.1:B"]) {
        text = text.replace(&server.to_string(), name);
    }
    text
}

#[tokio::test]
async fn status_shows_each_server_in_a_row() {
    let (left, right, gateway) = two("max_in_flight = 1").await;
    ran(&gateway, &["drain", "app", &left.address.to_string()]).await;
    gateway.get("/x").await.is(200, "fine");
    let status = ran(&gateway, &["status"]).await;
    assert_eq!((status.code, status.told.as_str()), (0, ""));
    let lines: Vec<_> = status.out.lines().collect();
    assert!(
        lines[0].starts_with(concat!(
            "marquetry ",
            env!("CARGO_PKG_VERSION"),
            ", ready, up "
        )),
        "{}",
        lines[0]
    );
    assert_eq!(
        lines[2].split_whitespace().collect::<Vec<_>>().join(" "),
        "UPSTREAM WEIGHT STATE IN FLIGHT QUEUED SERVED ERRORS P50 P99 LAST PROBE NOTE"
    );
    assert!(lines[3].starts_with("app"), "{}", lines[3]);
    assert!(lines[3].contains("1/2 active"), "{}", lines[3]);
    let row = |at: usize| settled(lines[at], &[left.address, right.address]);
    assert!(row(4).starts_with("  -> 127.0.0.1:A"), "{}", row(4));
    assert!(
        row(4).contains("drained") && row(4).contains("drained by an operator, for "),
        "{}",
        row(4)
    );
    assert!(
        row(5).starts_with("  -> 127.0.0.1:B") && row(5).contains(" active "),
        "{}",
        row(5)
    );
    let json = ran(&gateway, &["status", "--json"]).await;
    let house: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(house["upstreams"][0]["servers"][1]["served"], 1);
    assert_eq!(
        gateway.admin("/status.txt").await.text(),
        "app: servers=2; working=0; waiter=1; queue=0\n"
    );
}

#[tokio::test]
async fn status_is_shown_again_and_again() {
    let (_left, _right, gateway) = two("").await;
    let mut child = command(&gateway, &["status", "--watch", "--every", "10ms"])
        .spawn()
        .expect("it runs");
    let out = child.stdout.take().expect("a pipe");
    let headings = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        lines
            .filter(|line| line.starts_with("UPSTREAM"))
            .take(3)
            .count()
    });
    assert_eq!(within("three tables", headings).await.expect("no panic"), 3);
    // Its reader has gone: it ends by itself, and well.
    assert_eq!(ended(child).await.code, 0);
}

#[tokio::test]
async fn open_requests_say_whom_they_wait_for() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/page",
        Reply::html("<esi:include src=\"/held\"/><esi:include src=\"/second\"/>"),
    );
    origin.on("/held", Reply::text("1").behind(&gate));
    origin.on("/second", Reply::text("2").behind(&gate));
    let gateway = Setup::new()
        .upstream("app", &origin, "max_in_flight = 1")
        .route("/", "app", "compose = \"always\"")
        .start()
        .await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/page").bytes()).await;
    // The page, and one of the two: which of them comes first is not said.
    origin.arrived_in_all(2).await;
    gateway
        .metric_reaches("marquetry_upstream_queued", "app", 1.0)
        .await;
    let told: serde_json::Value =
        serde_json::from_str(&gateway.admin("/requests").await.text()).expect("JSON");
    assert_eq!(told[0]["phase"], "fragments");
    let fragments = told[0]["fragments"].as_array().expect("a list").iter();
    let mut waits: Vec<_> = fragments.map(|it| it["waits_for"].to_string()).collect();
    waits.sort();
    let answers = format!("\"{} of app to answer\"", origin.address);
    assert_eq!(waits, [answers.as_str(), "\"a free server of app\""]);
    gate.open();
    client.answer().await.is(200, "12");
}

// ---- A rolling restart of real processes.

/// Which of the processes of these tests this one is; they are this binary again.
const ROLE: &str = "MARQUETRY_TEST_ROLE";
const FOLDER: &str = "MARQUETRY_TEST_FOLDER";

/// A part that tests play as processes of their own: it does nothing where none gave it a role.
#[test]
#[ignore = "played by processes that other tests start"]
fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let address = std::env::var("MARQUETRY_ADDRESS").expect("the server's address");
    let folder = std::env::var(FOLDER).expect("the folder of the pids");
    match role.as_str() {
        "serve" => serve(&address),
        "restart" => restart(&address, Path::new(&folder)),
        "stop" => stop(&address, Path::new(&folder)),
        role => panic!("no such role: {role}"),
    }
}

/// This binary in a role, for this server.
fn play(role: &str, address: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command
        .args(["role", "--exact", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .env(FOLDER, folder)
        .env("MARQUETRY_ADDRESS", address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// An application that serves one request at a time, and takes a moment to start.
fn serve(address: &str) {
    // It ends by itself where the test was ended without a chance to end it.
    std::thread::spawn(|| {
        std::thread::sleep(support::PATIENCE * 4);
        std::process::exit(0);
    });
    std::thread::sleep(Duration::from_millis(150));
    let listener = TcpListener::bind(address).expect("the port is free");
    let busy = Arc::new(AtomicBool::new(false));
    for stream in listener.incoming().map_while(Result::ok) {
        let busy = Arc::clone(&busy);
        std::thread::spawn(move || answer(stream, &busy));
    }
}

fn answer(mut stream: TcpStream, busy: &AtomicBool) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let second = busy.swap(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        let body = if second {
            "two at a time".to_owned()
        } else {
            std::process::id().to_string()
        };
        busy.store(false, Ordering::SeqCst);
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
    }
}

/// Ends the server's process and starts another one, as an operator's script does.
#[expect(
    clippy::zombie_processes,
    reason = "the new one outlives this process, which is about to end"
)]
fn restart(address: &str, folder: &Path) {
    stop(address, folder);
    start(address, folder);
}

/// Ends the server's process; returns when it is gone.
fn stop(address: &str, folder: &Path) {
    let pid = fs::read_to_string(pid_file(address, folder)).expect("its pid");
    kill(pid.trim());
    while TcpStream::connect(address).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(address: &str, folder: &Path) -> Child {
    let child = play("serve", address, folder)
        .spawn()
        .expect("this binary runs");
    fs::write(pid_file(address, folder), child.id().to_string()).expect("a file of our own");
    child
}

fn pid_file(address: &str, folder: &Path) -> std::path::PathBuf {
    folder.join(address.replace(':', "-"))
}

fn kill(pid: &str) {
    let _ = Command::new("kill")
        .args(["-KILL", pid])
        .stderr(Stdio::null())
        .status();
}

/// Four of them; ended with their value.
struct Fleet {
    folder: TempDir,
    addresses: Vec<SocketAddr>,
    first: Vec<Child>,
}

impl Fleet {
    fn start() -> Self {
        let folder = TempDir::new().expect("a folder of our own");
        let addresses: Vec<_> = (0..4).map(|_| support::address_of_ours()).collect();
        let first = addresses
            .iter()
            .map(|address| start(&address.to_string(), folder.path()))
            .collect();
        let guard = Instant::now() + support::PATIENCE;
        for address in &addresses {
            while TcpStream::connect(address).is_err() {
                assert!(
                    Instant::now() < guard,
                    "the server at {address} does not start"
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Self {
            folder,
            addresses,
            first,
        }
    }

    /// The pids of the servers now, in their order.
    fn pids(&self) -> Vec<String> {
        let read = |address: &SocketAddr| {
            fs::read_to_string(pid_file(&address.to_string(), self.folder.path()))
        };
        self.addresses
            .iter()
            .map(|it| read(it).expect("its pid"))
            .collect()
    }

    /// What an operator says after `--exec`.
    fn exec(&self, role: &str) -> String {
        let binary = std::env::current_exe().expect("this binary");
        format!(
            "{ROLE}={role} {FOLDER}='{}' '{}' role --exact --ignored >/dev/null 2>&1",
            self.folder.path().display(),
            binary.display()
        )
    }

    async fn gateway(&self, upstream: &str) -> Gateway {
        Setup::new()
            .servers(
                "app",
                &self.addresses,
                &format!("max_in_flight = 1\n{upstream}"),
            )
            .route("/", "app", "")
            .start()
            .await
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for pid in self.pids() {
            kill(&pid);
        }
        for child in &mut self.first {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks without a pause until told to stop; how many were answered, and all that was no good answer.
async fn load(
    gateway: &Gateway,
    stop: &AtomicBool,
    answered: &AtomicUsize,
    asks: Ask,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut client = gateway.client().await;
    while !stop.load(Ordering::SeqCst) {
        let answer = client.fetch(&asks).await;
        let text = answer.text();
        let from_one = text.parse::<u32>().is_ok();
        if answer.status != 200 || !from_one {
            faults.push(format!("{} {text}", answer.status));
        }
        answered.fetch_add(1, Ordering::SeqCst);
    }
    faults
}

#[tokio::test]
async fn four_processes_are_restarted_under_load_and_no_request_fails() {
    let fleet = Fleet::start();
    // A health check of their own, a slow start, and no second chance: a POST is sent once.
    let gateway = fleet
        .gateway("slow_start = \"300ms\"\nhealth = { path = \"/healthz\", interval = \"100ms\" }")
        .await;
    let before = fleet.pids();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let loads = (0..6).map(|number| {
        let asks = match number % 2 {
            0 => ask("GET", "/x"),
            _ => ask("POST", "/x").body("form"),
        };
        load(&gateway, &stop, &answered, asks)
    });
    let exec = fleet.exec("restart");
    let roll = async {
        let ran = ran(&gateway, &["roll", "app", "--exec", &exec]).await;
        stop.store(true, Ordering::SeqCst);
        ran
    };
    let (ran, faults) = futures::join!(roll, futures::future::join_all(loads));
    assert_eq!(ran.code, 0, "{}", ran.told);
    assert_eq!(faults.concat(), Vec::<String>::new());
    let answered = answered.load(Ordering::SeqCst);
    assert!(answered > 200, "{answered}");
    for (before, after) in before.iter().zip(fleet.pids()) {
        assert_ne!(*before, after, "it was restarted");
    }
    for (number, address) in fleet.addresses.iter().enumerate() {
        let prefix = format!("{}/4 {address}: ", number + 1);
        let said: Vec<_> = ran
            .told
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .collect();
        let steps = [
            "draining, ",
            "idle; running: ",
            "the command took ",
            "does well and is in service",
            "starts slowly",
            "has its whole share after ",
        ];
        assert_eq!(said.len(), steps.len(), "{said:?}");
        for (said, step) in said.iter().zip(steps) {
            assert!(said.starts_with(step), "{said} / {step}");
        }
    }
    assert!(
        ran.told.contains("app: all 4 servers are done, in "),
        "{}",
        ran.told
    );
}

#[tokio::test]
async fn a_roll_stops_at_the_first_failure_and_says_what_is_left() {
    let (left, right, gateway) = two("").await;
    let (first, second) = (left.address.to_string(), right.address.to_string());
    let exec = format!("test {{port}} != {}", right.address.port());
    let stopped = ran(&gateway, &["roll", "app", "--exec", &exec]).await;
    assert_eq!(stopped.code, 1);
    let said: Vec<_> = stopped
        .told
        .lines()
        .filter(|line| line.starts_with("marquetry: "))
        .collect();
    let admin = gateway.admin;
    assert_eq!(
        said,
        [
            format!("marquetry: {second}: the command ended with exit code 1"),
            format!("marquetry: {second} is drained: drained by an operator"),
            format!("marquetry: to put it back: marquetry ready app {second} --admin {admin}"),
            format!("marquetry: 1 of 2 servers of app done; left: {second}"),
        ]
    );
    let status = gateway.admin("/status").await.text();
    let house: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let states = house["upstreams"][0]["servers"]
        .as_array()
        .expect("rows")
        .iter();
    assert_eq!(
        states.map(|row| row["state"].as_str()).collect::<Vec<_>>(),
        [Some("active"), Some("drained")]
    );
    // Once more: the other one must not leave now, and is put back untouched.
    let refused = ran(&gateway, &["roll", "app", "--exec", "true"]).await;
    assert_eq!(refused.code, 1);
    assert!(
        refused.told.starts_with(&format!(
            "marquetry: {first}: no other server is in service"
        )),
        "{}",
        refused.told
    );
    gateway.get("/x").await.is(200, "fine");
    ran(&gateway, &["ready", "app", &second]).await;
    let done = ran(&gateway, &["roll", "app", "--exec", "true"]).await;
    assert_eq!(done.code, 0, "{}", done.told);
}

#[tokio::test]
async fn a_server_that_does_not_come_back_stays_out() {
    let fleet = Fleet::start();
    let gateway = fleet.gateway("").await;
    let exec = fleet.exec("stop");
    let stopped = ran(
        &gateway,
        &["roll", "app", "--exec", &exec, "--healthy-timeout", "300ms"],
    )
    .await;
    assert_eq!(stopped.code, 1);
    let first = fleet.addresses[0];
    assert!(
        stopped.told.contains(&format!(
            "marquetry: {first}: it does not do well after 0.3 s: cannot connect: "
        )),
        "{}",
        stopped.told
    );
    assert!(
        stopped
            .told
            .contains(&format!("marquetry: {first} is drained")),
        "{}",
        stopped.told
    );
    assert!(
        stopped
            .told
            .contains("marquetry: 0 of 4 servers of app done; left: "),
        "{}",
        stopped.told
    );
    for _ in 0..10 {
        assert_eq!(gateway.get("/x").await.status, 200);
    }
}

#[tokio::test]
async fn a_roll_that_is_broken_off_says_how_things_stand() {
    let (left, right, gateway) = two("").await;
    let (first, second) = (left.address, right.address);
    let mut child = command(
        &gateway,
        &["roll", "app", "--exec", "echo begun; exec sleep 60"],
    )
    .spawn()
    .expect("it runs");
    let out = child.stdout.take().expect("a pipe");
    let begun = tokio::task::spawn_blocking(move || BufReader::new(out).lines().next());
    within("the command to begin", begun)
        .await
        .expect("no panic");
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupted.is_ok_and(|status| status.success()));
    let ran = ended(child).await;
    assert_eq!(ran.code, 1);
    for line in [
        format!("marquetry: {first}: broken off"),
        format!("marquetry: {first} is drained: drained by an operator"),
        format!("marquetry: 0 of 2 servers of app done; left: {first}, {second}"),
    ] {
        assert!(
            ran.told.lines().any(|it| it == line),
            "{line} in {}",
            ran.told
        );
    }
}
