//! Connections to servers at rest, and who moves them: what comes while nobody waits for anything, and bodies that go out while nobody reads
//! the answer.

mod support;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use marquetry::config::pattern::ServerAddress;
use marquetry::config::{ServerEntry, UpstreamConfig};
use marquetry::message::deadline::Deadline;
use marquetry::message::{Body, BodyError, Request};
use marquetry::observe::span::Notes;
use marquetry::upstream::{Answer, Upstream};
use support::within;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";

/// An upstream of one server, and where that server listens.
async fn upstream() -> (Upstream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    (upstream_at(&address), listener)
}

fn upstream_at(address: &str) -> Upstream {
    let address = ServerAddress::parse(address).expect("an address");
    let config = UpstreamConfig::new(vec![ServerEntry { address, weight: 1 }]);
    Upstream::new("app", &config)
}

async fn send(upstream: &Upstream, method: &str, body: Body) -> Answer {
    let mut request = Request::new(body);
    *request.method_mut() = method.parse().expect("a method");
    *request.uri_mut() = "/x".parse().expect("a target");
    let deadline = Deadline::after(Duration::from_secs(20));
    let answer = upstream.send(request, deadline, &Notes::unobserved()).await;
    answer.expect("an answer")
}

async fn get(upstream: &Upstream) -> Bytes {
    let answer = send(upstream, "GET", Body::empty()).await;
    let body = answer.response.into_body().collect(1024).await;
    body.expect("a whole answer")
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    listener.accept().await.expect("it listens").0
}

/// Reads the head of a request, and no more than has come with it.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.windows(4).any(|four| four == b"\r\n\r\n") {
        let more = stream.read_buf(&mut read).await.expect("a request");
        assert!(more > 0, "it ended before its head");
    }
    read
}

/// The server's end of a connection that rests after one exchange.
async fn rested(upstream: &Upstream, listener: &TcpListener) -> TcpStream {
    let server = async {
        let mut stream = accepted(listener).await;
        head(&mut stream).await;
        stream.write_all(ANSWER).await.expect("it is read");
        stream
    };
    let (body, stream) = tokio::join!(get(upstream), server);
    assert_eq!(body, "fine");
    stream
}

#[tokio::test]
async fn a_connection_at_rest_ends_with_what_comes_on_it() {
    // The end, or bytes that nobody has asked for: a whole answer among them, which would be taken for that to the next request.
    for unasked in [None, Some(&b"x"[..]), Some(ANSWER)] {
        let (upstream, listener) = upstream().await;
        let mut stream = rested(&upstream, &listener).await;
        match unasked {
            None => stream.shutdown().await.expect("it is open"),
            Some(bytes) => stream.write_all(bytes).await.expect("it is open"),
        }
        let left = within("the other side to be closed", async {
            let mut rest = Vec::new();
            // Closed with bytes unread it may end in a reset.
            let _ = stream.read_to_end(&mut rest).await;
            rest
        })
        .await;
        assert_eq!(left, b"", "{unasked:?}");
        let server = async {
            let mut stream = accepted(&listener).await;
            head(&mut stream).await;
            let other = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother";
            stream.write_all(other).await.expect("it is read");
        };
        let (body, ()) = tokio::join!(get(&upstream), server);
        assert_eq!(body, "other", "{unasked:?}");
    }
}

#[tokio::test]
async fn what_a_server_holds_back_behind_an_answer_is_no_answer() {
    a_server_holds_something_back().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_is_it_where_one_worker_looks_at_sockets_for_the_other() {
    a_server_holds_something_back().await;
}

async fn a_server_holds_something_back() {
    // Whether the next request comes at once, a few turns of the runtime later, or when the connection has been closed.
    for turns in (0..8).map(Some).chain([None]) {
        let (upstream, listener) = upstream().await;
        let upstream = Arc::new(upstream);
        let mut stream = rested(&upstream, &listener).await;
        // The first dozens of segments on a connection are acknowledged at once by the system itself.
        for _ in 0..50 {
            let server = async {
                head(&mut stream).await;
                stream.write_all(ANSWER).await.expect("it is read");
            };
            tokio::join!(get(&upstream), server);
        }
        let server = async {
            // Nagle's algorithm: the second piece waits until the first is acknowledged.
            stream.set_nodelay(false).expect("a TCP socket");
            head(&mut stream).await;
            stream.write_all(ANSWER).await.expect("it is read");
            let more = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong";
            stream.write_all(more).await.expect("it is open");
        };
        let (body, ()) = tokio::join!(get(&upstream), server);
        assert_eq!(body, "fine");
        match turns {
            Some(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            None => {
                within("the other side to be closed", async {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                })
                .await;
            }
        }
        let server = async {
            let mut stream = accepted(&listener).await;
            head(&mut stream).await;
            let other = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother";
            stream.write_all(other).await.expect("it is read");
        };
        // A task of its own: it has its turn behind whoever looks at connections at rest, before the sockets are looked at again.
        let next = tokio::spawn(async move { get(&upstream).await });
        let (body, ()) = tokio::join!(next, within("another connection", server));
        assert_eq!(body.expect("an answer"), "other", "{turns:?}");
    }
}

/// After an exchange with a request of that method, something comes on its connection, and the next request before the runtime has looked
/// at its sockets again: it goes out on another one.
async fn something_comes_unseen<S, W>(
    upstream: &Upstream,
    accept: impl AsyncFn() -> S,
    unseen: impl FnOnce(S) -> W,
    (method, what): (&str, &[u8]),
) where
    S: AsyncRead + AsyncWrite + Unpin,
    W: Write,
{
    let piece = Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"piece")));
    let (body, end) = match method {
        // A body that may wait: a task moves the bytes of its connection.
        "POST" => (
            Body::stream(StreamBody::new(futures::stream::iter([piece]))),
            "\r\n0\r\n\r\n",
        ),
        _ => (Body::empty(), "\r\n\r\n"),
    };
    let server = async {
        let mut stream = accept().await;
        let mut read = head(&mut stream).await;
        while !read.ends_with(end.as_bytes()) {
            assert!(stream.read_buf(&mut read).await.expect("a body") > 0);
        }
        stream.write_all(ANSWER).await.expect("it is read");
        stream
    };
    let (answer, stream) = tokio::join!(send(upstream, method, body), server);
    let body = answer.response.into_body().collect(1024).await;
    assert_eq!(body.expect("a whole answer"), "fine");
    // Whoever tends the connection has done so.
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
    let mut stream = unseen(stream);
    stream.write_all(what).expect("there is room");
    // An empty one stands for the end.
    let stream = (!what.is_empty()).then_some(stream);
    let server = async {
        let mut stream = accept().await;
        head(&mut stream).await;
        let other = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother";
        stream.write_all(other).await.expect("it is read");
    };
    let other = async { tokio::join!(get(upstream), server).0 };
    let body = within("an answer on another connection", other).await;
    assert_eq!(body, "other", "{method}, {}", what.escape_ascii());
    drop(stream);
}

const UNSEEN: [(&str, &[u8]); 4] = [
    ("GET", ANSWER),
    ("GET", b""),
    ("POST", ANSWER),
    ("POST", b""),
];

#[tokio::test]
async fn what_the_runtime_has_not_seen_yet_is_no_answer() {
    for row in UNSEEN {
        let (upstream, listener) = upstream().await;
        let accept = async || accepted(&listener).await;
        let unseen = |stream: TcpStream| stream.into_std().expect("a socket");
        something_comes_unseen(&upstream, accept, unseen, row).await;
    }
}

#[tokio::test]
async fn nor_is_it_on_a_unix_socket() {
    for row in UNSEEN {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("app.sock");
        let listener = UnixListener::bind(&path).expect("a free path");
        let upstream = upstream_at(&format!("unix:{}", path.display()));
        let accept = async || listener.accept().await.expect("it listens").0;
        let unseen = |stream: tokio::net::UnixStream| stream.into_std().expect("a socket");
        something_comes_unseen(&upstream, accept, unseen, row).await;
    }
}

#[tokio::test]
async fn a_body_goes_out_while_nobody_reads_the_answer() {
    const PIECES: usize = 64;
    let (upstream, listener) = upstream().await;
    // The first exchange leaves a connection at rest, which the second one uses.
    let mut stream = rested(&upstream, &listener).await;
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let pieces = futures::stream::unfold((0, Some(begun)), |(at, mut begun)| async move {
        if let Some(begun) = begun.take() {
            begun.await.expect("the answer has begun");
        }
        let piece = Ok::<_, BodyError>(Frame::data(Bytes::from_static(&[b'x'; 16 * 1024])));
        (at < PIECES).then_some((piece, (at + 1, begun)))
    });
    let body = Body::stream(StreamBody::new(Box::pin(pieces)));
    let server = async {
        let read = head(&mut stream).await;
        // The answer begins before the body has come.
        stream
            .write_all(&ANSWER[..ANSWER.len() - 1])
            .await
            .expect("it is read");
        (stream, read)
    };
    let (answer, (mut stream, read)) = tokio::join!(send(&upstream, "POST", body), server);
    begin.send(()).expect("the body waits");
    within("the whole body", async {
        let mut read = read;
        while !read.ends_with(b"\r\n0\r\n\r\n") {
            assert!(stream.read_buf(&mut read).await.expect("a body") > 0);
        }
    })
    .await;
    stream.write_all(b"e").await.expect("it is read");
    let body = answer.response.into_body().collect(1024).await;
    assert_eq!(body.expect("a whole answer"), "fine");
}
