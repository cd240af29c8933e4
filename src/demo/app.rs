//! An app instance: makes parts, takes orders, and does one thing at a time.
//!
//! It stands for the application servers of the real world: each request holds the whole instance for 20 to 300 ms of real
//! waiting. All instances share one [`Shop`]; which of them answers makes no difference but to the label.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CACHE_CONTROL, ETAG, SET_COOKIE};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::demo::catalogue::{Catalogue, Review};
use crate::demo::counter;
use crate::demo::form::{self, Form};
use crate::demo::fragments::{self, Fragment, Missing};
use crate::demo::layout::{self, Dialect, Kind};
use crate::demo::reply::{self, HTML, Stamp};
use crate::demo::seed::Seed;
use crate::demo::shop::{MAX_NAME, MAX_REVIEW, SessionId, Shop};
use crate::message::client::Connection;
use crate::message::{Request, Response, cookie};
use crate::server::handler::Handler;

/// The cookie that names a session.
pub const SESSION_COOKIE: &str = "session";
/// Largest form, in bytes.
const MAX_FORM: usize = 8 * 1024;

/// One of several equal servers.
#[derive(Debug)]
pub struct AppInstance {
    /// `app 2`: as labels say it.
    name: String,
    catalogue: Arc<Catalogue>,
    shop: Arc<Shop>,
    /// Held by the request that is being served.
    turn: Mutex<()>,
    /// Requests taken so far; varies how long they take.
    served: AtomicU64,
}

/// What a request comes to.
enum Answer {
    /// A part, to be labelled once it is made.
    Part(Fragment),
    /// A page of the app's own; the function is given the stamp.
    Page(Box<dyn FnOnce(Stamp) -> String + Send>, (u32, u32)),
    /// Anything else, and how long it takes.
    Other(Response, (u32, u32)),
}

impl Handler for AppInstance {
    /// A client that leaves gives the turn back; what a POST has changed stays changed.
    async fn handle(&self, request: Request, _: &Connection) -> Response {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect(MAX_FORM).await else {
            return reply::refusal(StatusCode::PAYLOAD_TOO_LARGE, "That is too much at once.");
        };
        let _turn = self.turn.lock().await;
        let begun = Instant::now();
        let answer = self.answer(&head, &Form::read(&body));
        tokio::time::sleep(self.work(&head, &answer)).await;
        let stamp = Stamp::now(&self.name, begun.elapsed());
        reply::finished(&head.method, &head.headers, finish(&head, answer, stamp))
    }
}

impl AppInstance {
    /// The instance of that number, counted from 1.
    pub fn new(number: usize, catalogue: Arc<Catalogue>, shop: Arc<Shop>) -> Self {
        Self {
            name: format!("app {number}"),
            catalogue,
            shop,
            turn: Mutex::new(()),
            served: AtomicU64::new(number as u64 * 1_000_003),
        }
    }

    fn answer(&self, head: &Parts, form: &Form) -> Answer {
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        let posts = head.method == Method::POST;
        let path = head.uri.path();
        if posts && !form::from_own_page(&head.headers) {
            return refused(
                StatusCode::FORBIDDEN,
                "This form was sent from another site.",
            );
        }
        match path {
            "/login" if reads => login_page(head),
            "/login" if posts => self.log_in(head, form),
            "/basket" if reads => self.basket_page(head),
            "/basket/add" if posts => self.add_to_basket(head, form),
            "/basket/remove" if posts => self.remove_from_basket(head, form),
            "/logout" if posts => self.log_out(head, form),
            "/reviews" if posts => self.review(head, form),
            "/login" | "/basket" => Answer::Other(reply::wrong_method("GET, HEAD, POST"), (1, 2)),
            "/basket/add" | "/basket/remove" | "/logout" | "/reviews" => {
                Answer::Other(reply::wrong_method("POST"), (1, 2))
            }
            _ => match path.strip_prefix("/fragments/") {
                Some(name) if reads => self.part(head, name),
                Some(_) => Answer::Other(reply::wrong_method("GET, HEAD"), (1, 2)),
                None => refused(StatusCode::NOT_FOUND, "There is nothing here."),
            },
        }
    }

    fn part(&self, head: &Parts, name: &str) -> Answer {
        let session = self.shop.session(session_id(head));
        let query = query(head);
        match fragments::fragment(name, &query, session.as_ref(), &self.catalogue, &self.shop) {
            Ok(fragment) => Answer::Part(fragment),
            Err(Missing::Unknown) => refused(StatusCode::NOT_FOUND, "There is no such part."),
            Err(Missing::Broken) => {
                let text = "This part breaks every third time, on purpose.";
                Answer::Other(
                    reply::refusal(StatusCode::SERVICE_UNAVAILABLE, text),
                    (40, 60),
                )
            }
        }
    }

    fn log_in(&self, head: &Parts, form: &Form) -> Answer {
        let Some(name) = form.line("name", MAX_NAME) else {
            return Answer::Other(reply::see_other("/login?again=1"), (20, 40));
        };
        let id = self.shop.log_in(session_id(head), &name);
        Answer::Other(
            with_session(reply::see_other(back(head, form)), id),
            (60, 90),
        )
    }

    fn log_out(&self, head: &Parts, form: &Form) -> Answer {
        let basket = self.shop.log_out(session_id(head));
        let mut response = reply::see_other(back(head, form));
        let groups: Vec<String> = basket
            .iter()
            .map(|(book, _)| fragments::stock_group(*book))
            .collect();
        reply::changes(&mut response, &groups);
        let ended = format!("{SESSION_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
        reply::set(&mut response, SET_COOKIE, &ended);
        Answer::Other(response, (20, 40))
    }

    fn basket_page(&self, head: &Parts) -> Answer {
        let session = self.shop.session(session_id(head)).unwrap_or_default();
        let catalogue = Arc::clone(&self.catalogue);
        let page = move |stamp| counter::basket(&session, &catalogue, stamp);
        Answer::Page(Box::new(page), (50, 80))
    }

    fn add_to_basket(&self, head: &Parts, form: &Form) -> Answer {
        let Some(book) = form
            .number("book")
            .and_then(|number| self.catalogue.book(number))
        else {
            return refused(StatusCode::BAD_REQUEST, "There is no such book.");
        };
        let mut response = reply::see_other(back(head, form));
        reply::changes(&mut response, &[fragments::stock_group(book.number)]);
        let response = match self.shop.add_to_basket(session_id(head), book.number) {
            Some(guest) => with_session(response, guest),
            None => response,
        };
        Answer::Other(response, (40, 70))
    }

    fn remove_from_basket(&self, head: &Parts, form: &Form) -> Answer {
        let mut response = reply::see_other("/basket");
        if let Some(book) = form.number("book") {
            self.shop.remove_from_basket(session_id(head), book);
            reply::changes(&mut response, &[fragments::stock_group(book)]);
        }
        Answer::Other(response, (40, 70))
    }

    fn review(&self, head: &Parts, form: &Form) -> Answer {
        let book = form
            .number("book")
            .and_then(|number| self.catalogue.book(number));
        let (Some(book), Some(text)) = (book, form.line("text", MAX_REVIEW)) else {
            return refused(
                StatusCode::BAD_REQUEST,
                "A review needs a book and some words.",
            );
        };
        let reader = self
            .shop
            .session(session_id(head))
            .and_then(|session| session.name);
        let review = Review {
            reader: reader.unwrap_or_else(|| "A stranger".to_owned()),
            stars: form.number("stars").unwrap_or(5).clamp(1, 5) as u8,
            text,
        };
        self.shop.review(book.number, review);
        let mut response = reply::see_other(&format!("{}#reviews-title", book.url()));
        reply::changes(&mut response, &[fragments::reviews_group(book.number)]);
        Answer::Other(response, (60, 90))
    }

    /// How long the answer takes: within its bounds, a little different each time; a part that the gateway has already is only
    /// looked at.
    fn work(&self, head: &Parts, answer: &Answer) -> Duration {
        let (low, high) = match answer {
            Answer::Part(part) if reply::has(&head.headers, &tag(part)) => (20, 25),
            Answer::Part(part) => part.work,
            Answer::Page(_, work) | Answer::Other(_, work) => *work,
        };
        let count = self.served.fetch_add(1, Ordering::Relaxed);
        Duration::from_millis(u64::from(Seed::of(0x3a17, count).between(low, high)))
    }
}

/// The login form; it leads back to where the reader came from.
fn login_page(head: &Parts) -> Answer {
    let back = query(head)
        .text("back")
        .and_then(form::local_path)
        .or_else(|| form::referring_path(&head.headers))
        .filter(|path| !path.starts_with("/login"))
        .unwrap_or("/")
        .to_owned();
    let again = query(head).text("again").is_some();
    Answer::Page(
        Box::new(move |stamp| counter::login(&back, again, stamp)),
        (20, 40),
    )
}

/// The answer as it is sent: parts labelled, pages stamped.
fn finish(head: &Parts, answer: Answer, stamp: Stamp) -> Response {
    match answer {
        Answer::Part(part) => labelled(head, &part, &stamp),
        Answer::Page(page, _) => {
            let mut response = reply::ok(HTML, page(stamp));
            reply::set(&mut response, CACHE_CONTROL, "private, no-store");
            reply::guard_document(&mut response);
            reply::declare(&head.headers, &mut response, Dialect::Esi.token());
            response
        }
        Answer::Other(response, _) => response,
    }
}

fn labelled(head: &Parts, part: &Fragment, stamp: &Stamp) -> Response {
    let body = layout::part(part.name, part.kind, stamp, &part.content).into_string();
    let mut response = reply::ok(HTML, body);
    reply::set(&mut response, CACHE_CONTROL, &part.cache_control());
    if let Kind::Shared(_) = part.kind {
        reply::set(&mut response, ETAG, &tag(part));
        let name = HeaderName::from_static("surrogate-key");
        reply::set(&mut response, name, &part.surrogate_key);
        if let Some(group) = &part.group {
            let name = HeaderName::from_static("cache-groups");
            reply::set(&mut response, name, &format!("\"{group}\""));
        }
    }
    if part.composes {
        reply::declare(&head.headers, &mut response, Dialect::Esi.token());
    }
    response
}

/// Weak, because the label (who made it, when) differs where the content is the same. None but shared parts are asked for it.
fn tag(part: &Fragment) -> String {
    match part.kind {
        Kind::Shared(_) => format!("W/{}", reply::tag(part.content.0.as_bytes())),
        Kind::Personal | Kind::Passing => "\"\"".to_owned(),
    }
}

fn refused(status: StatusCode, text: &str) -> Answer {
    Answer::Other(reply::refusal(status, text), (1, 2))
}

fn query(head: &Parts) -> Form {
    Form::read(head.uri.query().unwrap_or_default().as_bytes())
}

/// The first session cookie that is written as ours are.
fn session_id(head: &Parts) -> Option<SessionId> {
    cookie::pairs(&head.headers)
        .filter(|(name, _)| *name == SESSION_COOKIE.as_bytes())
        .find_map(|(_, value)| SessionId::parse(value))
}

fn with_session(mut response: Response, id: SessionId) -> Response {
    let set = format!(
        "{SESSION_COOKIE}={}; Path=/; HttpOnly; SameSite=Lax",
        id.wire()
    );
    reply::set(&mut response, SET_COOKIE, &set);
    response
}

/// Where a form leads: where it says, else where it stood, else the front.
fn back<'a>(head: &'a Parts, form: &'a Form) -> &'a str {
    form.text("back")
        .and_then(form::local_path)
        .or_else(|| form::referring_path(&head.headers))
        .unwrap_or("/")
}
