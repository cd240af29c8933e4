//! The admin listener: what operators, monitors and Prometheus ask for.
//!
//! It reads the [`Observer`]; what it changes (purges, the states of servers) it asks of others. It stands on a listener of its own, never on the public one. What it shows
//! comes from clients and origins, so all of it is escaped: by serde in JSON, by maud in HTML.

pub mod access;
pub mod answer;
pub mod bars;
pub mod dashboard;
pub mod events;
pub mod operate;
pub mod purge;
pub mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};

use crate::admin::access::Token;
use crate::admin::operate::Operator;
use crate::admin::purge::Purger;
use crate::admin::status::{House, State};
use crate::config::size::parse_duration;
use crate::message::client::Connection;
use crate::message::{Request, Response};
use crate::observe::Observer;
use crate::observe::exposition::Exposition;
use crate::server::drain::Drain;
use crate::server::handler::Handler;

/// Answers the requests of the admin listener.
pub struct Admin {
    observer: Observer,
    /// The address that the configuration names; its port may differ from the real one.
    listen: SocketAddr,
    token: Option<Token>,
    purger: Option<Arc<dyn Purger>>,
    operator: Option<Arc<dyn Operator>>,
    /// Of the gateway: the admin listener itself goes on while clients are drained.
    drain: Drain,
}

impl Admin {
    /// The admin paths over what `observer` has seen, for a listener at `listen`.
    pub fn new(observer: Observer, listen: SocketAddr, token: Option<Token>) -> Self {
        Self {
            observer,
            listen,
            token,
            purger: None,
            operator: None,
            drain: Drain::new(),
        }
    }

    /// The same, with one who carries out purges.
    #[must_use]
    pub fn with_purger(mut self, purger: Arc<dyn Purger>) -> Self {
        self.purger = Some(purger);
        self
    }

    /// The same, with one who carries out orders for servers.
    #[must_use]
    pub fn with_operator(mut self, operator: Arc<dyn Operator>) -> Self {
        self.operator = Some(operator);
        self
    }

    /// The same, of a gateway whose draining ends what is streamed.
    #[must_use]
    pub fn with_drain(mut self, drain: Drain) -> Self {
        self.drain = drain;
        self
    }

    /// The change that a request wants, where it is one and may; else the request again.
    async fn change(&self, request: Request, from: &Connection) -> Result<Response, Request> {
        let local = Some(from.local.ip());
        let meant = access::is_meant(request.uri(), request.headers(), self.listen, local);
        let carried = self
            .token
            .as_ref()
            .is_none_or(|token| token.is_carried_by(request.headers()));
        if !meant || !carried {
            return Err(request);
        }
        let open = self.token.is_none();
        match request.uri().path() {
            "/purge" => Ok(purge::answer(request, self.purger.as_deref(), open).await),
            path if operate::target(path).is_some() => {
                Ok(operate::answer(request, self.operator.as_deref(), open).await)
            }
            _ => Err(request),
        }
    }

    /// The life of an admin request: is it meant for us, is it a probe, may it read, what does it want.
    fn answer(&self, request: &Request, from: &Connection) -> Response {
        let local = Some(from.local.ip());
        if !access::is_meant(request.uri(), request.headers(), self.listen, local) {
            return answer::text(
                StatusCode::MISDIRECTED_REQUEST,
                "this is not the host that you asked for: use the address of the admin listener",
            );
        }
        let Some(page) = Page::of(request.uri().path()) else {
            return self.guarded(request, |_| {
                answer::text(StatusCode::NOT_FOUND, "there is nothing here")
            });
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.guarded(request, |_| not_allowed());
        }
        match page {
            Page::Alive => answer::text(StatusCode::OK, "ok"),
            Page::Ready => self.ready(),
            page => self.guarded(request, |request| self.show(page, request)),
        }
    }

    /// What `inside` says, to those who carry the token if there is one.
    fn guarded(&self, request: &Request, inside: impl FnOnce(&Request) -> Response) -> Response {
        match &self.token {
            Some(token) if !token.is_carried_by(request.headers()) => unauthorized(request),
            _ => inside(request),
        }
    }

    fn show(&self, page: Page<'_>, request: &Request) -> Response {
        let observer = &self.observer;
        match page {
            Page::Dashboard => answer::html(StatusCode::OK, dashboard::page(observer)),
            Page::Alive => answer::text(StatusCode::OK, "ok"),
            Page::Ready => self.ready(),
            Page::Metrics => self.metrics(request),
            Page::Status => answer::json(&House::of(observer)),
            Page::StatusLines => answer::typed(
                StatusCode::OK,
                "text/plain; charset=utf-8",
                status::lines(&State::of(observer).upstreams),
            ),
            Page::Requests => self.requests(request),
            Page::Pages => {
                let pages = observer.recent().list();
                let list: Vec<_> = pages.iter().map(|page| page.whole()).collect();
                answer::json(&list)
            }
            Page::Events => events::answer(observer.live(), &self.drain),
            Page::One(id) => match observer.recent().find(id) {
                Some(page) => answer::json(&page.whole()),
                None => answer::text(StatusCode::NOT_FOUND, "no such page among the recent ones"),
            },
        }
    }

    fn ready(&self) -> Response {
        match self.observer.status() {
            Some(status) if status.ready() => answer::text(StatusCode::OK, "ready"),
            Some(_) => answer::text(StatusCode::SERVICE_UNAVAILABLE, "draining"),
            None => answer::text(StatusCode::SERVICE_UNAVAILABLE, "starting"),
        }
    }

    fn metrics(&self, request: &Request) -> Response {
        let accept = request.headers().get(header::ACCEPT);
        let format = Exposition::accepted(accept.and_then(|accept| accept.to_str().ok()));
        answer::typed(
            StatusCode::OK,
            format.content_type(),
            self.observer.metrics(format),
        )
    }

    fn requests(&self, request: &Request) -> Response {
        let Some(older_than) = older_than(request.uri().query().unwrap_or_default()) else {
            return answer::text(
                StatusCode::BAD_REQUEST,
                "older_than takes a duration such as 250ms, 1s or 5m",
            );
        };
        match status::open_requests(&self.observer, older_than) {
            Ok(requests) => answer::json(&requests),
            Err(error) => {
                tracing::error!(%error, "open requests could not be written as JSON");
                answer::text(StatusCode::INTERNAL_SERVER_ERROR, "no answer")
            }
        }
    }
}

impl Handler for Admin {
    async fn handle(&self, request: Request, from: &Connection) -> Response {
        let request = match self.change(request, from).await {
            Ok(response) => return response,
            Err(request) => request,
        };
        let response = self.answer(&request, from);
        if request.method() == Method::HEAD {
            answer::without_body(response)
        } else {
            response
        }
    }
}

/// What there is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page<'a> {
    Dashboard,
    Alive,
    Ready,
    Metrics,
    Status,
    StatusLines,
    Requests,
    Pages,
    Events,
    One(&'a str),
}

impl<'a> Page<'a> {
    fn of(path: &'a str) -> Option<Self> {
        Some(match path {
            "/" => Self::Dashboard,
            "/healthz" => Self::Alive,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/status" => Self::Status,
            "/status.txt" => Self::StatusLines,
            "/requests" => Self::Requests,
            "/pages" => Self::Pages,
            "/events" => Self::Events,
            _ => Self::One(path.strip_prefix("/pages/")?),
        })
    }
}

/// The age that a query `older_than=...` asks for, none by default; `None` when it is no duration.
fn older_than(query: &str) -> Option<Duration> {
    let mut fields = query.split('&');
    match fields.find_map(|field| field.strip_prefix("older_than=")) {
        Some(text) => parse_duration(text),
        None => Some(Duration::ZERO),
    }
}

fn not_allowed() -> Response {
    let mut response = answer::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
    let allow = HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// A browser gets a page that asks for the token, others a line.
fn unauthorized(request: &Request) -> Response {
    let accept = request.headers().get(header::ACCEPT);
    let browser = accept.is_some_and(|accept| accept.as_bytes().starts_with(b"text/html"));
    let mut response = if browser && request.uri().path() == "/" {
        answer::html(StatusCode::UNAUTHORIZED, dashboard::sign_in())
    } else {
        answer::text(StatusCode::UNAUTHORIZED, "this needs the token")
    };
    let challenge = HeaderValue::from_static("Bearer realm=\"marquetry\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

#[cfg(test)]
mod tests;
