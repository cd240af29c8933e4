//! The application behind every peer of `benches/peers/run.sh`, and the ceiling that all of them are measured against.
//!
//! ```text
//! cargo run --release --example peers_origin             # the application
//! cargo run --release --example peers_origin FILE [gzip] # bare hyper, sending the bytes of FILE whatever is asked
//! ```
//!
//! Prints `listening ADDRESS`. One thread, nothing but hyper: what is measured is who stands before it.
//!
//! | path | what |
//! | --- | --- |
//! | `/plain` | a shared page without includes |
//! | `/esi/N`, `/ssi/N` | a shared page with N includes of shared fragments; composed it is as long as `/plain` |
//! | `/esi/fan/N/MS`, `/ssi/fan/N/MS` | a shared page with N personal fragments, each of MS milliseconds |
//! | `/esi/mix`, `/ssi/mix` | eight shared fragments and two personal ones of 5 ms |
//! | `/esi/size/N`, `/ssi/size/N` | a shared page of N bytes, with five shared includes |
//! | `/esi/nest/D`, `/ssi/nest/D` | a shared page with an include in which is an include, and so on, D deep |
//! | `/f/I` | a shared fragment |
//! | `/u/MS/I` | a personal fragment: the visitor's cookie, after MS milliseconds |
//! | `/tail/I` | a shared object of 2 KB |
//! | `/count` | how many other requests have come so far |

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, COOKIE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Length of a composed page, of a shared fragment, and of an object of the long tail, in bytes.
const PAGE: usize = 20_000;
const FRAGMENT: usize = 120;
const TAIL: usize = 2_000;

/// Words of which pages are made, so that they compress as text does.
const WORDS: &[&str] = &[
    "the",
    "book",
    "of",
    "a",
    "reader",
    "and",
    "shelf",
    "who",
    "lends",
    "story",
    "to",
    "novel",
    "review",
    "by",
    "author",
    "in",
    "paper",
    "list",
    "new",
    "with",
    "price",
    "title",
    "for",
    "club",
    "page",
    "is",
    "chapter",
    "old",
    "translation",
    "print",
    "five",
    "stars",
];

struct Tags {
    open: &'static str,
    close: &'static str,
}

const ESI: Tags = Tags {
    open: "<esi:include src=\"",
    close: "\"/>",
};
const SSI: Tags = Tags {
    open: "<!--#include virtual=\"",
    close: "\" -->",
};

/// `length` bytes of text, always the same for the same seed.
fn text(length: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(WORDS[state as usize % WORDS.len()]);
        text.push(' ');
    }
    text.truncate(length);
    text
}

/// A page of these includes whose own text is `own` bytes long.
fn page(tags: &Tags, includes: &[String], own: usize) -> String {
    let pieces = includes.len() + 1;
    let mut page = String::new();
    for at in 0..pieces {
        let length = own / pieces + if at == 0 { own % pieces } else { 0 };
        page.push_str(&text(length, at as u64 + 1));
        if let Some(url) = includes.get(at) {
            page.extend([tags.open, url, tags.close]);
        }
    }
    page
}

enum Answer {
    Shared(String),
    Page(String),
    Personal(String, Duration),
    Unknown,
}

fn answer(path: &str, cookie: &str) -> Answer {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let tags = if parts[0] == "ssi" { &SSI } else { &ESI };
    let number = |at: usize| parts.get(at).and_then(|part| part.parse::<usize>().ok());
    let personal = |count: usize, ms: usize| (0..count).map(move |at| format!("/u/{ms}/{at}"));
    let shared = |count: usize| (0..count).map(|at| format!("/f/{at}"));
    match (parts[0], parts.get(1).copied(), number(1)) {
        ("plain", ..) => Answer::Shared(text(PAGE, 1)),
        ("esi" | "ssi", Some("fan"), _) => {
            let urls: Vec<_> = personal(number(2).unwrap_or(0), number(3).unwrap_or(0)).collect();
            Answer::Page(page(tags, &urls, 5_000))
        }
        ("esi" | "ssi", Some("mix"), _) => {
            let urls: Vec<_> = shared(8).chain(personal(2, 5)).collect();
            Answer::Page(page(tags, &urls, PAGE - 10 * FRAGMENT))
        }
        ("esi" | "ssi", Some("size"), _) => {
            let urls: Vec<_> = shared(5).collect();
            let own = number(2).unwrap_or(0).saturating_sub(5 * FRAGMENT);
            Answer::Page(page(tags, &urls, own))
        }
        ("esi" | "ssi", Some("nest"), _) => {
            let below = match number(2).unwrap_or(1) {
                0 | 1 => "/f/0".to_owned(),
                depth => format!("/{}/nest/{}", parts[0], depth - 1),
            };
            Answer::Page(page(tags, &[below], 2_000))
        }
        ("esi" | "ssi", _, Some(count)) => {
            let urls: Vec<_> = shared(count).collect();
            Answer::Page(page(tags, &urls, PAGE.saturating_sub(count * FRAGMENT)))
        }
        ("f", _, Some(at)) => Answer::Shared(text(FRAGMENT, 1_000 + at as u64)),
        ("u", _, Some(ms)) => {
            let mut body = text(FRAGMENT, 5_000 + number(2).unwrap_or(0) as u64);
            let _ = write!(body, "[{cookie}]");
            Answer::Personal(body, Duration::from_millis(ms as u64))
        }
        ("tail", _, Some(at)) => Answer::Shared(text(TAIL, at as u64)),
        _ => Answer::Unknown,
    }
}

async fn serve(request: Request<Incoming>, count: Arc<AtomicU64>) -> Response<Full<Bytes>> {
    if request.uri().path() == "/count" {
        return Response::new(Full::new(count.load(Ordering::Relaxed).to_string().into()));
    }
    count.fetch_add(1, Ordering::Relaxed);
    let cookie = request
        .headers()
        .get(COOKIE)
        .and_then(|cookie| cookie.to_str().ok())
        .unwrap_or_default();
    let (body, fields): (_, &[(&str, &str)]) = match answer(request.uri().path(), cookie) {
        Answer::Shared(body) => (body, &[("cache-control", "public, max-age=3600")]),
        Answer::Page(body) => (
            body,
            &[
                ("cache-control", "public, max-age=3600"),
                ("surrogate-control", "content=\"ESI/1.0\""),
                ("x-esi", "1"),
            ],
        ),
        Answer::Personal(body, wait) => {
            tokio::time::sleep(wait).await;
            (body, &[("cache-control", "private, no-store")])
        }
        Answer::Unknown => {
            let mut response = Response::new(Full::new("Not here\n".into()));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
    };
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    for (name, value) in fields {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    response
}

fn ceiling(bytes: &Bytes, gzip: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(bytes.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let fixed = arguments.next().map(std::fs::read).transpose()?;
    let fixed = fixed.map(Bytes::from);
    let gzip = arguments.next().is_some();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening {}", listener.local_addr()?);
    let count = Arc::new(AtomicU64::new(0));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (count, fixed) = (Arc::clone(&count), fixed.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (count, fixed) = (Arc::clone(&count), fixed.clone());
                async move {
                    Ok::<_, Infallible>(match &fixed {
                        Some(bytes) => ceiling(bytes, gzip),
                        None => serve(request, count).await,
                    })
                }
            });
            // A peer that closes a connection is none of the application's business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
