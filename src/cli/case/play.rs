//! Plays one case: an origin and a gateway with an empty cache on loopback, one request, one answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::cli::case::origin::{Origin, Seen};
use crate::cli::case::vector::Vector;
use crate::cli::wire;
use crate::config::pattern::ServerAddress;
use crate::config::{ServerEntry, UpstreamConfig};
use crate::gateway::coding;
use crate::message::deadline::Deadline;
use crate::message::{Body, Request};
use crate::observe::span::Notes;
use crate::server::drain::Drain;
use crate::server::{Limits, Listener};
use crate::upstream::Upstream;

/// How long a case may take before it counts as one that hangs: longer than a page may.
const PATIENCE: Duration = Duration::from_secs(60);

/// Largest answer in bytes.
const ANSWER: usize = 64 * 1024 * 1024;

/// What came of a case.
pub struct Outcome {
    /// The status that the client saw.
    pub status: u16,
    /// The fields that it saw.
    pub headers: HeaderMap,
    /// The body, decoded; or why it is not whole.
    pub body: Result<Bytes, String>,
    /// From the request to the last byte.
    pub took: Duration,
    /// The requests for fragments.
    pub seen: BTreeMap<String, Vec<Seen>>,
    /// Template and include errors that were counted.
    pub errors: u64,
}

/// Plays a case to its end.
///
/// # Errors
/// Why there was no answer.
pub async fn play(vector: &Arc<Vector>) -> Result<Outcome, String> {
    let stage = Drain::new();
    let origin = Arc::new(Origin::new(Arc::clone(vector)));
    let address = open(&origin, &stage).map_err(|error| format!("the origin: {error}"))?;
    let config = vector.config(&address.to_string())?;
    let running = wire::bind(&config)
        .map_err(|error| error.to_string())?
        .start();
    let gateway = running.addresses.http.first().copied();
    let answered = match gateway {
        Some(gateway) => ask(vector, gateway).await,
        None => Err("the gateway does not listen".to_owned()),
    };
    settle(vector, &origin).await;
    // Once the connections are over, so is the account of the page.
    running.drain().await;
    stage.start();
    let answer = answered?;
    let pages = running.observer.recent().list();
    Ok(Outcome {
        status: answer.status,
        headers: answer.headers,
        body: answer.body,
        took: answer.took,
        seen: origin.seen(),
        errors: pages.iter().map(|page| page.template_errors).sum(),
    })
}

/// A page may be complete before the last fetch of an attempt that has failed has come to the origin: it gets a moment.
async fn settle(vector: &Vector, origin: &Origin) {
    for _ in 0..50 {
        let seen = origin.seen();
        if vector
            .expected
            .fetches
            .iter()
            .all(|url| seen.contains_key(url))
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Opens the origin on a free port.
fn open(origin: &Arc<Origin>, stage: &Drain) -> std::io::Result<SocketAddr> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let connections = Arc::new(Semaphore::new(1024));
    let listener = Listener::bind(anywhere, Limits::default(), connections)?;
    let address = listener.address()?;
    tokio::spawn(listener.run(Arc::clone(origin), stage.clone()));
    Ok(address)
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Result<Bytes, String>,
    took: Duration,
}

/// Asks as the client of the case does.
async fn ask(vector: &Vector, gateway: SocketAddr) -> Result<Answer, String> {
    let entry = ServerEntry {
        address: ServerAddress::Socket(gateway),
        weight: 1,
    };
    let client = Upstream::new(
        "gateway",
        &UpstreamConfig {
            first_byte_timeout: PATIENCE,
            body_idle_timeout: PATIENCE,
            retries: 0,
            ..UpstreamConfig::new(vec![entry])
        },
    );
    let asked = &vector.request;
    let mut request = Request::new(Body::full(asked.body.clone()));
    *request.method_mut() = asked.method.clone();
    *request.uri_mut() = asked.target.clone();
    *request.headers_mut() = asked.headers.clone();
    let start = Instant::now();
    let deadline = Deadline::after(PATIENCE);
    let sent = client.send(request, deadline, &Notes::unobserved()).await;
    let answer = sent.map_err(|error| error.to_string())?;
    let (head, body) = answer.response.into_parts();
    let body = body.collect(ANSWER).await;
    let took = start.elapsed();
    let body = body.map_err(|error| error.to_string()).and_then(|body| {
        coding::decode(&head.headers, &body, ANSWER).map_err(|error| error.to_string())
    });
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
        took,
    })
}
