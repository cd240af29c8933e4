//! A server of an upstream that meters itself: how many requests are in it, how many of them wait for a thread, in which order they came.
//! It works on a request to its end, whether its client is still there or not, as a server with threads does. HTTP/1.1 or HTTP/2, TCP
//! or a Unix socket, with TLS or not.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::gate::Gate;
use super::wire::Io;
use super::within;

/// What a server does with a request.
#[derive(Clone, Default)]
pub struct Work {
    /// It waits for this.
    pub gate: Option<Gate>,
    /// It takes so long.
    pub time: Duration,
    /// It closes the connection instead of an answer.
    pub cut: bool,
    /// Its status, if not 200.
    pub status: Option<u16>,
    /// Its body, if not the server's name and the target.
    pub body: Option<String>,
}

/// How a server is spoken to.
#[derive(Clone, Default)]
pub struct Manner {
    /// Requests that it works on at a time; 0: no limit.
    pub threads: usize,
    /// HTTP/2 in the clear.
    pub http2: bool,
    /// TLS by this configuration.
    pub tls: Option<Arc<ServerConfig>>,
}

type Script = Arc<dyn Fn(&str) -> Work + Send + Sync>;

/// A server; ends with its value.
pub struct Meter {
    /// Where it listens, if not at a Unix socket.
    pub address: SocketAddr,
    /// The Unix socket.
    pub path: Option<PathBuf>,
    shared: Arc<Shared>,
    task: AbortHandle,
    manner: Manner,
}

struct Shared {
    script: Script,
    threads: Semaphore,
    inside: AtomicUsize,
    most: AtomicUsize,
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
    changes: watch::Sender<u64>,
}

impl Meter {
    /// A server with one thread for HTTP/1.1.
    pub async fn start(script: impl Fn(&str) -> Work + Send + Sync + 'static) -> Self {
        let manner = Manner {
            threads: 1,
            ..Manner::default()
        };
        Self::with(manner, script).await
    }

    /// A server at a free port.
    pub async fn with(
        manner: Manner,
        script: impl Fn(&str) -> Work + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shared = Shared::new(&manner, script);
        let task = tokio::spawn(accept(listener, manner.clone(), shared.clone()));
        Self {
            address,
            path: None,
            shared,
            task: task.abort_handle(),
            manner,
        }
    }

    /// A server at a Unix socket.
    pub fn at(
        path: &Path,
        manner: Manner,
        script: impl Fn(&str) -> Work + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).expect("a free path");
        let shared = Shared::new(&manner, script);
        let (at_work, spoken) = (shared.clone(), manner.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, spoken.clone(), at_work.clone()));
            }
        });
        Self {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            path: Some(path.to_owned()),
            shared,
            task: task.abort_handle(),
            manner,
        }
    }

    /// The most requests that were in it at a time.
    pub fn most(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// Requests in it now.
    pub fn inside(&self) -> usize {
        self.shared.inside.load(Ordering::SeqCst)
    }

    /// The most requests that waited in it for a thread.
    pub fn longest_queue(&self) -> usize {
        self.most().saturating_sub(self.manner.threads)
    }

    /// The targets in the order in which they came.
    pub fn requests(&self) -> Vec<String> {
        self.shared
            .requests
            .lock()
            .expect("no panic holds it")
            .clone()
    }

    /// How often a target has come.
    pub fn count(&self, target: &str) -> usize {
        self.requests().iter().filter(|it| *it == target).count()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have come.
    pub async fn arrived(&self, count: usize) {
        let mut changes = self.shared.changes.subscribe();
        within(&format!("{count} requests"), async {
            while self.requests().len() < count {
                // The sender lives in `self.shared`.
                let _ = changes.changed().await;
            }
        })
        .await;
    }

    /// Dies: its listener and all connections close.
    pub async fn stop(&self) {
        self.task.abort();
        within("a server to end", async {
            while !self.task.is_finished() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Listens again at the same port.
    pub async fn restart(&mut self) {
        self.stop().await;
        let listener = super::listen_again(self.address).await;
        let task = tokio::spawn(accept(listener, self.manner.clone(), self.shared.clone()));
        self.task = task.abort_handle();
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn new(manner: &Manner, script: impl Fn(&str) -> Work + Send + Sync + 'static) -> Arc<Self> {
        let threads = if manner.threads == 0 {
            Semaphore::MAX_PERMITS
        } else {
            manner.threads
        };
        Arc::new(Self {
            script: Arc::new(script),
            threads: Semaphore::new(threads),
            inside: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
            changes: watch::Sender::new(0),
        })
    }

    /// Works on a request to its end.
    async fn work(&self, work: Work) {
        // The semaphore is never closed.
        let thread = self.threads.acquire().await;
        if let Some(gate) = &work.gate {
            gate.passed().await;
        }
        if !work.time.is_zero() {
            tokio::time::sleep(work.time).await;
        }
        drop(thread);
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, manner: Manner, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        connections.spawn(serve(stream, manner.clone(), shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: impl Io + 'static, manner: Manner, shared: Arc<Shared>) {
    shared.connections.fetch_add(1, Ordering::SeqCst);
    match manner.tls.clone() {
        None => speak(Box::new(stream) as Box<dyn Io>, manner.http2, shared).await,
        Some(tls) => {
            let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else {
                return;
            };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            speak(Box::new(stream) as Box<dyn Io>, http2, shared).await;
        }
    }
}

async fn speak(stream: Box<dyn Io>, http2: bool, shared: Arc<Shared>) {
    let service = service_fn(move |request: Request<Incoming>| answer(request, shared.clone()));
    let io = TokioIo::new(stream);
    let _ = if http2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await
    } else {
        // A client that leaves does not stop the work.
        hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(io, service)
            .await
    };
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |it| it.as_str())
        .to_owned();
    let work = (shared.script)(&target);
    let inside = shared.inside.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most.fetch_max(inside, Ordering::SeqCst);
    shared
        .requests
        .lock()
        .expect("no panic holds it")
        .push(target.clone());
    shared.changes.send_modify(|version| *version += 1);
    let (at_work, worked) = (shared.clone(), work.clone());
    // A task of its own: it goes on when the client has left.
    let _ = tokio::spawn(async move { at_work.work(worked).await }).await;
    if work.cut {
        return Err(std::io::Error::other("cut"));
    }
    let text = work.body.unwrap_or(target);
    let mut response = Response::new(Full::new(Bytes::from(text)));
    if let Some(status) = work.status {
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    }
    Ok::<_, std::io::Error>(response)
}

/// A script of one answer.
pub fn quick(_: &str) -> Work {
    Work::default()
}
