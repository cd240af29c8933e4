//! The page cache: pages without personal content, covers, the stylesheet.
//!
//! It stands for the long-tail cached layer (a Varnish, say) that a gateway is put behind or in front of. It keeps a page for
//! `LIFETIME` and says by `Age` how long it has kept it; it looks at no cookie. Kept pages are not kept as bytes but made
//! again from the catalogue, which takes less than a millisecond and gives the same bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{AGE, CACHE_CONTROL, DATE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use tokio::time::Instant;

use crate::demo::catalogue::Catalogue;
use crate::demo::form::Form;
use crate::demo::layout::{Dialect, STYLE, mark};
use crate::demo::reply::{self, HTML};
use crate::demo::seed::Seed;
use crate::demo::{about, cover, pages};
use crate::message::client::Connection;
use crate::message::{Request, Response};
use crate::server::handler::Handler;

/// How long a page is kept.
const LIFETIME: Duration = Duration::from_secs(300);

/// The cached layer in front of the shop.
#[derive(Debug)]
pub struct PageCache {
    catalogue: Arc<Catalogue>,
    /// Where the about page says that the dashboard is.
    dashboard: Option<SocketAddr>,
    opened: Instant,
}

impl Handler for PageCache {
    async fn handle(&self, request: Request, _: &Connection) -> Response {
        let (head, _) = request.into_parts();
        if head.method != Method::GET && head.method != Method::HEAD {
            return reply::wrong_method("GET, HEAD");
        }
        let query = Form::read(head.uri.query().unwrap_or_default().as_bytes());
        let response = self.answer(head.uri.path(), &query, &head.headers);
        reply::finished(&head.method, &head.headers, response)
    }
}

impl PageCache {
    /// A cache of the pages of this catalogue.
    pub fn new(catalogue: Arc<Catalogue>, dashboard: Option<SocketAddr>) -> Self {
        Self {
            catalogue,
            dashboard,
            opened: Instant::now(),
        }
    }

    fn answer(&self, path: &str, query: &Form, request: &HeaderMap) -> Response {
        let esi = |text| self.page(path, text, Dialect::Esi, request);
        match path {
            "/" => esi(pages::front(&self.catalogue)),
            "/ssi" => self.page(
                path,
                pages::reading_room(&self.catalogue),
                Dialect::Ssi,
                request,
            ),
            "/about-this-demo" => esi(about::page(self.dashboard)),
            "/assets/shop.css" => file("text/css; charset=utf-8", STYLE),
            "/assets/mark.svg" => file("image/svg+xml", mark().into_string()),
            _ => self.below(path, query, request).unwrap_or_else(not_found),
        }
    }

    /// Shelves, books and covers.
    fn below(&self, path: &str, query: &Form, request: &HeaderMap) -> Option<Response> {
        if let Some(slug) = path.strip_prefix("/genres/") {
            let number = query
                .text("page")
                .map_or(Some(1), |text| text.parse().ok())?;
            let text = pages::genre(&self.catalogue, slug, number)?;
            return Some(self.page(path, text, Dialect::Esi, request));
        }
        if let Some(name) = path.strip_prefix("/books/") {
            let number = name.split('-').next()?;
            let book = self.catalogue.book(number.parse().ok()?)?;
            if path != book.url() {
                return Some(moved(&book.url()));
            }
            let text = pages::book(&self.catalogue, book);
            let mut response = self.page(path, text, Dialect::Esi, request);
            let key = format!("page book-{}", book.number);
            reply::set(
                &mut response,
                HeaderName::from_static("surrogate-key"),
                &key,
            );
            return Some(response);
        }
        let number = path.strip_prefix("/covers/")?.strip_suffix(".svg")?;
        let book = self.catalogue.book(number.parse().ok()?)?;
        Some(file("image/svg+xml", cover::svg(book)))
    }

    fn page(&self, path: &str, text: String, dialect: Dialect, request: &HeaderMap) -> Response {
        let tag = reply::tag(text.as_bytes());
        let age = self.age(path);
        let mut response = reply::ok(HTML, text);
        let keep = format!("public, max-age={}", LIFETIME.as_secs());
        reply::set(&mut response, CACHE_CONTROL, &keep);
        reply::set(&mut response, ETAG, &tag);
        reply::set(&mut response, AGE, &age.as_secs().to_string());
        let made = SystemTime::now()
            .checked_sub(age)
            .unwrap_or_else(SystemTime::now);
        reply::set(&mut response, DATE, &httpdate::fmt_http_date(made));
        reply::set(
            &mut response,
            HeaderName::from_static("surrogate-key"),
            "page",
        );
        reply::guard_document(&mut response);
        reply::declare(request, &mut response, dialect.token());
        response
    }

    /// How long the page has been kept. Each was first asked for at some time before the shop opened, each at another, and is
    /// made anew whenever its lifetime has passed.
    fn age(&self, path: &str) -> Duration {
        let sum = path.bytes().fold(7, |sum: u64, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let head_start = Seed::of(sum, 0).below(LIFETIME.as_secs() as usize) as u64;
        let kept = self.opened.elapsed().as_secs().wrapping_add(head_start);
        Duration::from_secs(kept % LIFETIME.as_secs())
    }
}

/// Something that never changes while the shop is open.
fn file(content_type: &'static str, body: impl Into<bytes::Bytes>) -> Response {
    let body = body.into();
    let tag = reply::tag(&body);
    let mut response = reply::ok(content_type, body);
    reply::set(&mut response, CACHE_CONTROL, "public, max-age=3600");
    reply::set(&mut response, ETAG, &tag);
    response
}

fn moved(url: &str) -> Response {
    let mut response = reply::refusal(StatusCode::MOVED_PERMANENTLY, "The book stands elsewhere.");
    reply::set(&mut response, LOCATION, url);
    reply::set(&mut response, CACHE_CONTROL, "public, max-age=3600");
    response
}

fn not_found() -> Response {
    let mut response = reply::ok(HTML, pages::not_found());
    *response.status_mut() = StatusCode::NOT_FOUND;
    reply::set(&mut response, CACHE_CONTROL, "public, max-age=10");
    reply::guard_document(&mut response);
    response
}
