//! A composed page over a socket, all its parts cached, against a bare hyper server that sends the same bytes.
//!
//! Both answer the same client on one kept connection in the same run; what counts is the ratio of the two.

use std::convert::Infallible;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use marquetry::cli::wire;
use marquetry::config::pattern::ServerAddress;
use marquetry::config::{AccessLog, ComposeMode, Config, RouteConfig, ServerEntry, UpstreamConfig};
use marquetry::message::{Body, Request as AppRequest, Response as AppResponse};
use marquetry::server::drain::Drain;
use marquetry::server::handler::Handler;
use marquetry::server::{Limits, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// The page's own text, about 10 KB, and that of each fragment.
const PAGE_TEXT: usize = 10_000;
const FRAGMENT_TEXT: usize = 500;

/// Answers `/page/N` with N includes, anything else with a fragment; all of it shared for an hour.
struct App;

impl Handler for App {
    async fn handle(&self, request: AppRequest) -> AppResponse {
        let includes = request
            .uri()
            .path()
            .strip_prefix("/page/")
            .map(|count| count.parse().unwrap_or(0));
        let text = includes.map_or_else(|| "x".repeat(FRAGMENT_TEXT), page);
        let mut response = AppResponse::new(Body::full(text));
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("text/html"));
        headers.insert(
            "cache-control",
            HeaderValue::from_static("public, max-age=3600"),
        );
        response
    }
}

fn page(includes: usize) -> String {
    let between = "<p>text</p>\n".repeat(PAGE_TEXT / 12 / (includes + 1));
    let mut text = between.clone();
    for include in 0..includes {
        text.extend(["<esi:include src=\"/f/", &include.to_string(), "\"/>"]);
        text += &between;
    }
    text
}

/// A gateway before [`App`]; it needs the runtime that it is called in.
fn gateway() -> SocketAddr {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let connections = Arc::new(Semaphore::new(100));
    let listener = Listener::bind(loopback, Limits::default(), connections)
        .expect("loopback can be listened on");
    let address = listener.address().expect("it is bound");
    tokio::spawn(listener.run(Arc::new(App), Drain::new()));
    let server = ServerEntry {
        address: ServerAddress::Socket(address),
        weight: 1,
    };
    let mut config = Config {
        server: marquetry::config::ServerConfig {
            listen: vec![loopback],
            ..Default::default()
        },
        admin: None,
        log: marquetry::config::LogConfig {
            access: AccessLog::Off,
            ..Default::default()
        },
        identity: Default::default(),
        cache: Default::default(),
        compose: Default::default(),
        upstreams: [("app".to_owned(), UpstreamConfig::new(vec![server]))].into(),
        balancers: Vec::new(),
        routes: vec![RouteConfig {
            compose: ComposeMode::Always,
            ..RouteConfig::new("app")
        }],
    };
    config.server.max_connections = 100;
    let bound = wire::bind(&config).expect("loopback can be listened on");
    bound.start().addresses.http[0]
}

/// A server that sends these bytes, whatever is asked.
async fn bare(bytes: Bytes) -> SocketAddr {
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

struct Client(SendRequest<Empty<Bytes>>);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .expect("it speaks HTTP");
        tokio::spawn(connection);
        Self(sender)
    }

    async fn get(&mut self, target: &str) -> Bytes {
        let request = Request::get(target)
            .header("host", "www.example.com")
            .body(Empty::new())
            .expect("a request");
        self.0.ready().await.expect("the connection is kept");
        let response = self.0.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        response
            .into_body()
            .collect()
            .await
            .expect("a whole body")
            .to_bytes()
    }
}

fn socket(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let address = runtime.block_on(async { gateway() });
    for includes in [0, 1, 5, 20, 100] {
        let target = format!("/page/{includes}");
        let mut ours = runtime.block_on(Client::connect(address));
        // The first answers fill the cache.
        let bytes = runtime.block_on(async {
            ours.get(&target).await;
            ours.get(&target).await
        });
        assert!(
            !bytes.windows(5).any(|five| five == b"<esi:"),
            "it is composed"
        );
        let mut theirs =
            runtime.block_on(async { Client::connect(bare(bytes.clone()).await).await });
        let mut group = criterion.benchmark_group(format!("socket/{includes} includes"));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("composed", |bencher| {
            bencher.iter(|| black_box(runtime.block_on(ours.get(&target))));
        });
        group.bench_function("bare hyper", |bencher| {
            bencher.iter(|| black_box(runtime.block_on(theirs.get(&target))));
        });
        group.finish();
    }
}

criterion_group!(benches, socket);
criterion_main!(benches);
