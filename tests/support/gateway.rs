//! The gateway, as an operator runs it: the binary with a configuration file, in a process of its own.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::sync::watch;

use super::client::{Answer, Ask, Client, ask};
use super::origin::Origin;
use super::within;

/// A configuration being written. Listeners take free ports.
#[derive(Default)]
pub struct Setup {
    server: String,
    compose: String,
    rest: String,
    https: bool,
    descriptors: Option<usize>,
    files: Vec<(String, String)>,
}

impl Setup {
    /// Nothing but listeners.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every path of every host to this origin, every answer composed.
    pub fn composing(origin: &Origin) -> Self {
        Self::new()
            .upstream("app", origin, "")
            .route("/", "app", "compose = \"always\"")
    }

    /// Lines of `[server]`.
    pub fn server(mut self, lines: &str) -> Self {
        let _ = writeln!(self.server, "{lines}");
        self
    }

    /// The process may open so many descriptors.
    pub fn descriptors(mut self, most: usize) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Lines of `[compose]`.
    pub fn compose(mut self, lines: &str) -> Self {
        let _ = writeln!(self.compose, "{lines}");
        self
    }

    /// An upstream with this origin as its only server.
    pub fn upstream(self, name: &str, origin: &Origin, lines: &str) -> Self {
        self.servers(name, &[origin.address], lines)
    }

    /// An upstream with these servers.
    pub fn servers(self, name: &str, servers: &[SocketAddr], lines: &str) -> Self {
        let servers: Vec<String> = servers.iter().map(|it| format!("\"{it}\"")).collect();
        let servers = servers.join(", ");
        self.more(&format!(
            "[upstreams.{name}]\nservers = [{servers}]\n{lines}"
        ))
    }

    /// A route for every host.
    pub fn route(self, path: &str, upstream: &str, lines: &str) -> Self {
        self.more(&format!(
            "[[routes]]\npath = \"{path}\"\nupstream = \"{upstream}\"\n{lines}"
        ))
    }

    /// A route for one host, or `*.` and what hosts end with.
    pub fn host_route(self, host: &str, path: &str, upstream: &str, lines: &str) -> Self {
        self.route(path, upstream, &format!("host = \"{host}\"\n{lines}"))
    }

    /// Any other part of the file.
    pub fn more(mut self, text: &str) -> Self {
        let _ = writeln!(self.rest, "{text}\n");
        self
    }

    /// A TLS listener with this certificate and key (PEM).
    pub fn https(mut self, certificate: &str, key: &str) -> Self {
        self.https = true;
        self.files
            .push(("cert.pem".to_owned(), certificate.to_owned()));
        self.files.push(("key.pem".to_owned(), key.to_owned()));
        self
    }

    /// A file beside the configuration.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Starts it.
    pub async fn start(self) -> Gateway {
        Gateway::start(self).await
    }

    fn write(&self, folder: &TempDir) -> std::path::PathBuf {
        for (name, text) in &self.files {
            std::fs::write(folder.path().join(name), text).expect("a file in our own folder");
        }
        let mut text = format!("[server]\nlisten = \"127.0.0.1:0\"\n{}\n", self.server);
        if self.https {
            let path = |name| folder.path().join(name).display().to_string();
            let (certificate, key) = (path("cert.pem"), path("key.pem"));
            let _ = writeln!(
                text,
                "[server.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"
            );
        }
        text.push_str("[admin]\nlisten = \"127.0.0.1:0\"\n\n");
        if !self.compose.is_empty() {
            let _ = writeln!(text, "[compose]\n{}", self.compose);
        }
        text.push_str(&self.rest);
        let file = folder.path().join("marquetry.toml");
        std::fs::write(&file, text).expect("a file in our own folder");
        file
    }
}

/// A running gateway; killed with its value.
pub struct Gateway {
    /// The cleartext listener.
    pub http: SocketAddr,
    /// The listener for operators.
    pub admin: SocketAddr,
    /// The TLS listener, if there is one.
    pub https: Option<SocketAddr>,
    setup: Setup,
    folder: TempDir,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// What a process printed so far.
#[derive(Clone)]
struct Lines(Arc<(Mutex<Vec<String>>, watch::Sender<Printed>)>);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Printed {
    lines: usize,
    ended: bool,
}

impl Gateway {
    async fn start(setup: Setup) -> Self {
        let folder = TempDir::new().expect("a folder of our own");
        let (child, stdout, stderr) = spawn(&setup, &folder);
        let mut gateway = Self {
            http: SocketAddr::from(([0, 0, 0, 0], 0)),
            admin: SocketAddr::from(([0, 0, 0, 0], 0)),
            https: None,
            setup,
            folder,
            child,
            stdout,
            stderr,
        };
        gateway.await_listeners().await;
        gateway
    }

    /// Starts the same configuration again, on new ports, after the process ended.
    pub async fn start_again(&mut self) {
        (self.child, self.stdout, self.stderr) = spawn(&self.setup, &self.folder);
        self.await_listeners().await;
    }

    /// Puts another configuration in the place of the file and has it read; listeners stay.
    pub async fn reload(&mut self, setup: Setup) {
        let reloads =
            |lines: Vec<String>| lines.iter().filter(|it| it.contains("reloaded")).count();
        let before = reloads(self.stderr());
        setup.write(&self.folder);
        self.setup = setup;
        self.signal("HUP");
        let mut printed = self.stderr.0.1.subscribe();
        within("a reload", async {
            while reloads(self.stderr()) == before {
                let _ = printed.changed().await;
            }
        })
        .await;
    }

    async fn await_listeners(&mut self) {
        self.http = self.listening("http").await;
        self.admin = self.listening("admin").await;
        if self.setup.https {
            self.https = Some(self.listening("https").await);
        }
    }

    /// Where the listener of this name (`http`, `balancer app`) stands, once it accepts.
    pub async fn listening(&self, name: &str) -> SocketAddr {
        let prefix = format!("listening {name} ");
        let line = self
            .stdout
            .find(&prefix, |line| line.starts_with(&prefix))
            .await;
        let Some(line) = line else {
            panic!(
                "the gateway ended before `{prefix}`: {}",
                self.stderr().join("\n")
            );
        };
        line[prefix.len()..]
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("no address in {line:?}"))
    }

    /// Lines on standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Lines on standard output so far, the access log among them.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Waits for a line on standard error that contains this.
    pub async fn logged(&self, needle: &str) -> String {
        let found = self.stderr.find(needle, |line| line.contains(needle)).await;
        found.unwrap_or_else(|| panic!("the gateway ended without logging {needle:?}"))
    }

    /// Waits for a line on standard output that contains this.
    pub async fn printed(&self, needle: &str) -> String {
        let found = self.stdout.find(needle, |line| line.contains(needle)).await;
        found.unwrap_or_else(|| panic!("the gateway ended without printing {needle:?}"))
    }

    /// A connection to the cleartext listener.
    pub async fn client(&self) -> Client {
        Client::connect(self.http).await
    }

    /// One request on a connection of its own.
    pub async fn fetch(&self, ask: &Ask) -> Answer {
        self.client().await.fetch(ask).await
    }

    /// GET on a connection of its own.
    pub async fn get(&self, target: &str) -> Answer {
        self.fetch(&ask("GET", target)).await
    }

    /// GET with a cookie, on a connection of its own.
    pub async fn get_as(&self, target: &str, cookie: &str) -> Answer {
        self.fetch(&ask("GET", target).header("Cookie", cookie))
            .await
    }

    /// GET from the admin listener.
    pub async fn admin(&self, target: &str) -> Answer {
        let host = self.admin.to_string();
        let mut client = Client::connect(self.admin).await;
        client.fetch(&ask("GET", target).host(&host)).await
    }

    /// The sum of all samples of a metric whose line contains `label` (any for "").
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.admin("/metrics").await.text();
        let mut sum = 0.0;
        for line in text.lines() {
            let named = line
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']));
            if named && line.contains(label) {
                sum += line
                    .rsplit(' ')
                    .next()
                    .and_then(|value| value.parse::<f64>().ok())
                    .unwrap_or(0.0);
            }
        }
        sum
    }

    /// Waits until a metric has reached this.
    pub async fn metric_reaches(&self, name: &str, label: &str, least: f64) {
        within(&format!("{name} to reach {least}"), async {
            while self.metric(name, label).await < least {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Sends a signal by name (`TERM`, `INT`, `HUP`, `KILL`).
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits until the process has ended.
    pub async fn exited(&mut self) -> ExitStatus {
        within("the gateway to exit", self.stdout.ended()).await;
        // Its output has ended, so it is gone or about to be.
        self.child.wait().expect("our own child")
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.stderr().join("\n"));
        }
    }
}

fn spawn(setup: &Setup, folder: &TempDir) -> (Child, Lines, Lines) {
    let file = setup.write(folder);
    let mut command = match setup.descriptors {
        None => Command::new(env!("CARGO_BIN_EXE_marquetry")),
        Some(most) => {
            let mut shell = Command::new("sh");
            shell
                .arg("-c")
                .arg(format!("ulimit -n {most} && exec \"$0\" \"$@\""));
            shell.arg(env!("CARGO_BIN_EXE_marquetry"));
            shell
        }
    };
    let mut child = command
        .args(["run", "--config"])
        .arg(file)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stdout = Lines::of(child.stdout.take().expect("a pipe"));
    let stderr = Lines::of(child.stderr.take().expect("a pipe"));
    (child, stdout, stderr)
}

impl Lines {
    /// Reads a pipe in a thread of its own until it ends.
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let start = Printed {
            lines: 0,
            ended: false,
        };
        let lines = Self(Arc::new((
            Mutex::new(Vec::new()),
            watch::Sender::new(start),
        )));
        let writer = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                writer.0.0.lock().expect("no panic holds it").push(line);
                writer.0.1.send_modify(|printed| printed.lines += 1);
            }
            writer.0.1.send_modify(|printed| printed.ended = true);
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().expect("no panic holds it").clone()
    }

    /// Waits for a line; `None` when the pipe ended without it.
    async fn find(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let mut printed = self.0.1.subscribe();
        within(&format!("the line {what:?}"), async {
            loop {
                let now = *printed.borrow_and_update();
                if let Some(line) = self.all().into_iter().find(|line| wanted(line)) {
                    return Some(line);
                }
                if now.ended {
                    return None;
                }
                let _ = printed.changed().await;
            }
        })
        .await
    }

    async fn ended(&self) {
        let _ = self.0.1.subscribe().wait_for(|printed| printed.ended).await;
    }
}
