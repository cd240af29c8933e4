//! `[[balancers]]`: a plain listener onto the servers of an upstream, for the page cache's own misses.
//!
//! What comes here takes its place in the same line as fragments and skeletons, and the same slots: `max_in_flight` stays one number. Nothing
//! is looked up, stored, scanned or composed. Framing is written anew and hop-by-hop fields end here, as on every other way; all else passes in both
//! directions, `Surrogate-Control` and surrogate keys among it: they are meant for the cache that asks. What that says of itself and of its clients
//! (`Surrogate-Capability`, `X-Forwarded-*`, `X-Request-Id`, `traceparent`) counts when it is a trusted proxy, as anywhere.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Version};
use tokio::time::Instant;

use crate::config::UpstreamConfig;
use crate::gateway::answer::{head_only, watched};
use crate::gateway::error::GatewayError;
use crate::gateway::reload::Current;
use crate::gateway::visit::Visit;
use crate::gateway::{Gateway, drop_body, origin_request, respond, settle_body, tell};
use crate::message::client::Connection;
use crate::message::deadline::Deadline;
use crate::message::{Body, Request, Response, headers};
use crate::observe::Observer;
use crate::observe::metrics::{RouteMetrics, UpstreamMetrics};
use crate::observe::outcome::Outcome;
use crate::observe::span::Notes;
use crate::server::handler::{Handler, Refused};
use crate::upstream::error::UpstreamError;

/// Answers the requests of one balancer's listener.
pub struct Balancer {
    gateway: Arc<Current>,
    upstream: String,
    /// Stands in the place of a route in metrics and the access log.
    route: RouteMetrics,
    upstream_metrics: UpstreamMetrics,
}

impl Balancer {
    /// Balances over the upstream of that name, as whichever gateway answers then knows it.
    pub fn new(gateway: Arc<Current>, observer: &Observer, upstream: &str) -> Self {
        Self {
            gateway,
            route: observer.route(&format!("balancer {upstream}")),
            upstream_metrics: observer.upstream(upstream),
            upstream: upstream.to_owned(),
        }
    }

    async fn answer(&self, gateway: &Gateway, request: Request, from: &Connection) -> Response {
        let (visit, body) = match Visit::new(request, from, &gateway.trust) {
            Ok(visit) => visit,
            Err(turned) => return gateway.turn_away(*turned, from, Some(self.by())),
        };
        let page = gateway.observer.page(&visit.start(Instant::now()));
        let trace = page.trace();
        trace.waits();
        trace.routed(&self.route, &self.upstream_metrics);
        let span = trace.skeleton();
        span.routed(&self.route, &self.upstream_metrics);
        let sent = self.send(gateway, &visit, body, span.notes()).await;
        let (response, span) = match sent {
            Ok(response) => (response, Some(span)),
            Err(error) => {
                tell(&error, &visit);
                trace.failed(&error);
                if let Some(setting) = error.limit() {
                    gateway.observer.limit_hit(setting);
                }
                let outcome = if error.is_timeout() {
                    Outcome::Timeout
                } else {
                    Outcome::Failed
                };
                span.fail(outcome, &error);
                (respond::error(&error), None)
            }
        };
        let mut response = finished(&visit, response);
        page.trace().status(response.status());
        headers::append_via(response.headers_mut(), Version::HTTP_11);
        if let Ok(id) = HeaderValue::from_str(visit.id.as_str()) {
            response.headers_mut().insert(headers::X_REQUEST_ID, id);
        }
        response.map(|body| watched(body, page, span))
    }

    /// What stands in the place of a route in records.
    fn by(&self) -> (&RouteMetrics, &UpstreamMetrics) {
        (&self.route, &self.upstream_metrics)
    }

    /// To a server, as soon as one is free.
    async fn send(
        &self,
        gateway: &Gateway,
        visit: &Visit,
        body: Body,
        notes: &Notes,
    ) -> Result<Response, GatewayError> {
        let Some(upstream) = gateway.upstreams.get(&self.upstream) else {
            // A reload took it away, and this came on a connection of before.
            let upstream = self.upstream.clone();
            return Err(UpstreamError::NoServer { upstream }.into());
        };
        let body = if visit.is_safe() {
            drop_body(body).await?
        } else if upstream.is_bounded() {
            settle_body(body).await?
        } else {
            body
        };
        let upload = if body.as_full().is_some() {
            Duration::ZERO
        } else {
            gateway.server.body_timeout
        };
        let mut request = Request::new(body);
        *request.method_mut() = visit.method.clone();
        *request.headers_mut() = origin_request::balanced_fields(visit);
        *request.uri_mut() = visit.uri.clone();
        let deadline = Deadline::after(patience(upstream.config()) + upload);
        let answer = upstream.send(request, deadline, notes).await?;
        let mut response = answer.response;
        headers::remove_connection_fields(response.headers_mut());
        Ok(response)
    }
}

/// The answer as this client's method wants it.
fn finished(visit: &Visit, response: Response) -> Response {
    if visit.method == Method::HEAD {
        head_only(response)
    } else {
        response
    }
}

/// The longest that a request may take to the head of its answer, as the upstream's own times say, all tries together. The time of
/// a page is none of its business: what is slow here may be an administrator's export.
fn patience(config: &UpstreamConfig) -> Duration {
    let tries = u32::try_from(config.retries)
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let one = config.queue_timeout + config.connect_timeout + config.first_byte_timeout;
    one.saturating_mul(tries)
}

impl Handler for Balancer {
    async fn handle(&self, request: Request, from: &Connection) -> Response {
        let gateway = self.gateway.now();
        self.answer(&gateway, request, from).await
    }

    fn refused(&self, refused: &Refused<'_>, response: &mut Response, from: &Connection) {
        let by = Some(self.by());
        self.gateway.now().refused(refused, response, from, by);
    }
}
