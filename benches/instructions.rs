//! A fixed script of requests, for counting: how many instructions and allocations one answer takes when all its parts are
//! cached, or when its fragments are the visitor's own and fetched from another thread. One thread, no sockets towards the client;
//! `benches/instructions.sh` runs it under callgrind and holds the counts against those that are kept in the repository.
//!
//! `instructions WAY CASE COUNT`: the way is `gateway` (from request to response, `Gateway::answer` alone), `wire` (bytes in,
//! bytes out, through a listener's connection) or `bare` (a hyper service that sends the same bytes, by the same wire).

#[path = "support/in_step.rs"]
mod in_step;
mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use marquetry::cache::Cache;
use marquetry::gateway::Gateway;
use marquetry::message::client::Connection;
use marquetry::message::{Body, Request};
use marquetry::observe::Observer;
use marquetry::observe::access_log::AccessLog;
use marquetry::server::drain::Drain;
use marquetry::server::handler::Handler;
use marquetry::server::{Limits, connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: marquetry::allocator::Mimalloc = marquetry::allocator::Mimalloc;

/// Answers before the counting begins: they fill the cache and whatever is remembered.
const WARM: usize = 10;

/// Bytes that the wire holds: more than an answer, so that it is written at once.
const WIRE: usize = 4 * 1024 * 1024;

/// What is asked for.
struct Case {
    includes: usize,
    /// The fragments are the visitor's own.
    personal: bool,
    cookie: bool,
    gzip: bool,
}

const CASES: [(&str, Case); 10] = [
    ("plain", case(0)),
    ("1", case(1)),
    ("5", case(5)),
    ("20", case(20)),
    ("100", case(100)),
    ("400", case(400)),
    (
        "20-cookie",
        Case {
            cookie: true,
            ..case(20)
        },
    ),
    (
        "20-personal",
        Case {
            personal: true,
            cookie: true,
            ..case(20)
        },
    ),
    (
        "plain-gzip",
        Case {
            gzip: true,
            ..case(0)
        },
    ),
    (
        "20-gzip",
        Case {
            gzip: true,
            ..case(20)
        },
    ),
];

const fn case(includes: usize) -> Case {
    Case {
        includes,
        personal: false,
        cookie: false,
        gzip: false,
    }
}

impl Case {
    /// What a browser would say, shortened.
    fn fields(&self) -> Vec<(&'static str, &'static str)> {
        let mut fields = vec![
            ("host", "www.example.com"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) bench"),
            ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
            ("accept-language", "en-GB,en;q=0.5"),
        ];
        if self.cookie {
            fields.push(("cookie", "session=0123456789abcdef; theme=dark"));
        }
        if self.gzip {
            fields.push(("accept-encoding", "gzip"));
        }
        fields
    }

    fn target(&self) -> String {
        let kind = if self.personal { "fan" } else { "page" };
        format!("/{kind}/{}", self.includes)
    }

    fn request(&self) -> Request {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.target().parse().expect("a path is a target");
        for (name, value) in self.fields() {
            let name = HeaderName::from_static(name);
            request
                .headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        request
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("GET {} HTTP/1.1\r\n", self.target());
        for (name, value) in self.fields() {
            bytes.extend([name, ": ", value, "\r\n"]);
        }
        bytes += "\r\n";
        bytes.into_bytes()
    }
}

fn facts() -> Connection {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    Connection {
        peer: address,
        local: address,
        tls: false,
    }
}

fn gateway(app: SocketAddr) -> Arc<Gateway> {
    let config = support::config(app);
    let cache = Arc::new(Cache::new(&config.cache));
    let observer = Observer::new(AccessLog::Off);
    Arc::new(Gateway::new(&config, cache, observer, None))
}

/// The requests that are counted.
#[inline(never)]
fn counted_answers(runtime: &Runtime, gateway: &Gateway, requests: Vec<Request>) -> usize {
    runtime.block_on(answers(gateway, requests))
}

async fn answers(gateway: &Gateway, requests: Vec<Request>) -> usize {
    let (mut length, from) = (0, facts());
    for request in requests {
        let mut body = gateway.answer(request, &from).await.into_body();
        while let Some(bytes) = body.next().await {
            length += bytes.expect("the body is whole").len();
        }
    }
    length
}

/// The exchanges that are counted.
#[inline(never)]
fn counted_exchanges(runtime: &Runtime, client: &mut Client, count: usize) -> usize {
    runtime.block_on(async {
        let mut length = 0;
        for _ in 0..count {
            length += client.exchange().await;
        }
        length
    })
}

struct Client {
    wire: DuplexStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    fn new(wire: DuplexStream, case: &Case) -> Self {
        Self {
            wire,
            request: case.bytes(),
            answer: Vec::with_capacity(WIRE),
        }
    }

    /// Sends the request and reads the answer; gives the length of its body.
    async fn exchange(&mut self) -> usize {
        self.answer.clear();
        self.wire
            .write_all(&self.request)
            .await
            .expect("the other end is there");
        loop {
            let read = self.wire.read_buf(&mut self.answer).await;
            assert!(read.expect("the other end is there") > 0, "it was cut");
            if let Some((head, length)) = sizes(&self.answer)
                && self.answer.len() >= head + length
            {
                return length;
            }
        }
    }

    fn body(&self) -> Bytes {
        let (head, _) = sizes(&self.answer).expect("an answer was read");
        Bytes::copy_from_slice(&self.answer[head..])
    }
}

/// The lengths of an answer's head and body, once the head is there; of a chunked one, which only comes before all is cached, once
/// all is there.
fn sizes(answer: &[u8]) -> Option<(usize, usize)> {
    let head = memchr::memmem::find(answer, b"\r\n\r\n")? + 4;
    let name = b"content-length: ";
    let Some(at) = memchr::memmem::find(&answer[..head], name) else {
        let whole = answer.ends_with(b"\r\n0\r\n\r\n");
        return whole.then(|| (head, answer.len() - head));
    };
    let digits = answer[at + name.len()..].iter();
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    Some((head, length))
}

/// A client on the wire of a listener's connection.
fn through_listener(runtime: &Runtime, app: SocketAddr, case: &Case) -> Client {
    struct Answers(Arc<Gateway>);
    impl Handler for Answers {
        async fn handle(
            &self,
            request: Request,
            from: &Connection,
        ) -> marquetry::message::Response {
            self.0.answer(request, from).await
        }
    }
    let _within = runtime.enter();
    let (ours, theirs) = tokio::io::duplex(WIRE);
    let handler = Arc::new(Answers(gateway(app)));
    let limits = Arc::new(Limits::default());
    runtime.spawn(connection::serve(
        theirs,
        facts(),
        limits,
        handler,
        Drain::new(),
    ));
    Client::new(ours, case)
}

/// A client of a bare service that sends these bytes.
fn through_hyper(runtime: &Runtime, case: &Case, bytes: Bytes) -> Client {
    let (ours, theirs) = tokio::io::duplex(WIRE);
    runtime.spawn(async move {
        let service = service_fn(move |_| {
            let response = Response::new(Full::new(bytes.clone()));
            async move { Ok::<_, Infallible>(response) }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(theirs), service)
            .await;
    });
    Client::new(ours, case)
}

/// Runs one case; gives the bytes of an answer's body.
fn run(way: &str, case: &Case, count: usize) -> usize {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let personal = case.personal.then(|| {
        let origin = in_step::Origin::begin();
        let address = origin.address;
        runtime.on_thread_park(move || origin.step());
        address
    });
    let runtime = runtime.enable_all().build().expect("a runtime");
    let app = personal.unwrap_or_else(|| runtime.block_on(async { support::app() }));
    let asked = |count: usize| (0..count).map(|_| case.request()).collect::<Vec<_>>();
    let warm = |client: &mut Client| {
        for _ in 0..WARM {
            runtime.block_on(client.exchange());
        }
    };
    let length = match way {
        "gateway" => {
            let gateway = runtime.block_on(async { gateway(app) });
            runtime.block_on(answers(&gateway, asked(WARM)));
            counted_answers(&runtime, &gateway, asked(count))
        }
        "wire" => {
            let mut client = through_listener(&runtime, app, case);
            warm(&mut client);
            counted_exchanges(&runtime, &mut client, count)
        }
        "bare" => {
            let mut client = through_listener(&runtime, app, case);
            warm(&mut client);
            let mut client = through_hyper(&runtime, case, client.body());
            warm(&mut client);
            counted_exchanges(&runtime, &mut client, count)
        }
        other => panic!("no way {other:?}: gateway, wire or bare"),
    };
    length / count
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [way, name, count] = &arguments[..] {
        let (_, case) = CASES
            .iter()
            .find(|(known, _)| known == name)
            .expect("a case that there is");
        let count = count.parse().expect("a number of answers");
        println!("{way} {name}: {} bytes", run(way, case, count));
        return;
    }
    // Without arguments: that all cases run.
    for (name, case) in &CASES {
        for way in ["gateway", "wire", "bare"] {
            println!("{way} {name}: {} bytes", run(way, case, 10));
        }
    }
}
