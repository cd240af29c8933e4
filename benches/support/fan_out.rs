//! The two ends of the fan-out bench that are not measured: an origin whose fragments are each user's own and take their time, as cheap as
//! can be, so that it is not what is waited for; and the floor, a bare hyper process that fetches as many fragments from it and knows
//! nothing of pages.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures::stream::{FuturesUnordered, StreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support;

type Sender = SendRequest<Empty<Bytes>>;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("loopback can be listened on");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Answers `/slow/...` after a while, anything else at once with the page of so many fragments that its path ends in. It reads no more of a
/// request than that.
pub async fn origin() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let slow = support::bytes_of("/slow/");
    let mut head = Vec::with_capacity(4096);
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut head).await {
                Ok(1..) => {}
                _ => return,
            }
        }
        let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let written = if path.starts_with(b"/slow/") {
            tokio::time::sleep(support::SLOW).await;
            stream.write_all(&slow).await
        } else {
            let path = String::from_utf8_lossy(path);
            stream.write_all(&support::bytes_of(&path)).await
        };
        if written.is_err() {
            return;
        }
    }
}

/// Answers `/fan/N` with N fragments of `app`, one after the other, when it has all of them.
pub async fn floor(app: SocketAddr) -> SocketAddr {
    let (listener, address) = listen().await;
    let resting = Arc::new(Mutex::new(VecDeque::new()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let resting = Arc::clone(&resting);
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let path = request.uri().path();
                    let count = path.rsplit('/').next().and_then(|last| last.parse().ok());
                    let resting = Arc::clone(&resting);
                    async move {
                        let body = fetch_all(app, &resting, count.unwrap_or(0)).await;
                        Ok::<_, Infallible>(Response::new(Full::new(body)))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

async fn fetch_all(app: SocketAddr, resting: &Mutex<VecDeque<Sender>>, count: usize) -> Bytes {
    let mut fetches: FuturesUnordered<_> = (0..count)
        .map(|number| async move {
            let rested = resting.lock().expect("no panic").pop_back();
            let mut sender = match rested {
                Some(sender) => sender,
                None => connect(app).await,
            };
            let request = Request::get(format!("/slow/{number}"))
                .header("host", "www.example.com")
                .body(Empty::new())
                .expect("a request");
            sender.ready().await.expect("it is kept open");
            let response = sender.send_request(request).await.expect("an answer");
            let body = response.collect().await.expect("a body").to_bytes();
            resting.lock().expect("no panic").push_back(sender);
            body
        })
        .collect();
    let mut all = BytesMut::new();
    while let Some(body) = fetches.next().await {
        all.extend_from_slice(&body);
    }
    all.freeze()
}

async fn connect(app: SocketAddr) -> Sender {
    let stream = TcpStream::connect(app).await.expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    sender
}
