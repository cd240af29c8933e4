//! The whole walk: the life of one request, told in order.
//!
//! Find the route; fetch the skeleton, from the cache or its upstream; if it asks to be composed, compose it, and with it the fragments that
//! come through the same door; else pass it on. The rooms below do the work, this one tells the story.

pub mod answer;
pub mod balancer;
mod bundle;
pub mod cache_policy;
pub mod cache_status;
mod carrier;
pub mod coding;
pub mod conditional;
pub mod delegate;
pub mod documents;
pub mod error;
pub mod explain;
mod fragment_fetch;
pub mod fragments;
pub mod gzip;
pub mod language;
pub mod origin_request;
mod page;
pub mod page_head;
pub mod page_tag;
pub mod purge;
pub mod range;
mod refused;
pub mod reload;
pub mod remembered;
pub mod respond;
pub mod route;
pub mod visit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::COOKIE;
use tokio::time::Instant;

use crate::cache::key::{CacheKey, Fields};
use crate::cache::object::Object;
use crate::cache::{Cache, Lookup};
use crate::compose::Composer;
use crate::compose::limits::Memory;
use crate::compose::request_scope::ReadableCookies;
use crate::compose::runs::Kept;
use crate::config::pattern::Network;
use crate::config::{ComposeConfig, Config, OnError, ServerConfig};
use crate::fetch::gather::{Gathered, gather};
use crate::fetch::validate::is_on_the_origins_conditions;
use crate::fetch::{Ask, Fetched, Fetcher, Policy};
use crate::gateway::answer::Answer;
use crate::gateway::documents::Documents;
use crate::gateway::error::GatewayError;
use crate::gateway::origin_request::{Outgoing, Purpose};
use crate::gateway::page::{Begun, Made};
use crate::gateway::remembered::Remembered;
use crate::gateway::route::Route;
use crate::gateway::visit::{Trust, Visit};
use crate::message::client::Connection;
use crate::message::deadline::Deadline;
use crate::message::outgoing::OutgoingRequest;
use crate::message::{Body, Request, Response, headers};
use crate::observe::Observer;
use crate::observe::outcome::{CacheUse, Outcome};
use crate::observe::page::PageTrace;
use crate::observe::span::Served;
use crate::routing::Router;
use crate::upstream::Upstreams;

/// A request body of at most so many bytes is read whole before it goes upstream.
const SETTLED: usize = 64 * 1024;

/// Answers the requests of the main listeners.
pub struct Gateway {
    routes: Arc<Router<Arc<Route>>>,
    upstreams: Upstreams,
    fetcher: Fetcher,
    trust: Trust,
    compose: Arc<ComposeConfig>,
    server: ServerConfig,
    composer: Composer,
    /// The same, but it waits for nothing: for HEAD.
    peeking: Composer,
    /// Which cookies templates may read.
    readable: Arc<ReadableCookies>,
    /// `compose.memory`.
    memory: Memory,
    /// Which fragments were for everybody the last time.
    remembered: Arc<Remembered>,
    /// `cache.purge_from`.
    purge_from: Vec<Network>,
    observer: Observer,
    /// Tells this gateway from those before and after a reload.
    number: u64,
    /// What of composed pages is remembered; a reload takes it over, so that its bound holds.
    kept: Kept,
}

/// How many gateways there were.
static GATEWAYS: AtomicU64 = AtomicU64::new(0);

/// The part of `cache.memory` that composed pages may take beside what is stored.
const KEPT_SHARE: usize = 8;

impl Gateway {
    /// A gateway by its configuration; upstreams of `before` that have not changed go on as they are, with their counts and
    /// connections.
    pub fn new(
        config: &Config,
        cache: Arc<Cache>,
        observer: Observer,
        before: Option<&Upstreams>,
    ) -> Self {
        let kept = Kept::new(config.cache.memory.as_usize() / KEPT_SHARE);
        Self::keeping(config, cache, observer, before, kept)
    }

    fn keeping(
        config: &Config,
        cache: Arc<Cache>,
        observer: Observer,
        before: Option<&Upstreams>,
        kept: Kept,
    ) -> Self {
        let composer = Composer::new(config.compose.clone()).remembering(kept.clone());
        let upstreams = Upstreams::new(&config.upstreams, before);
        let routes = config.routes.iter().filter_map(|route| {
            // The configuration was checked: each route names an upstream.
            let upstream = upstreams.get(&route.upstream)?;
            let metrics = observer.route(&route.name);
            let route = Route {
                config: route.clone(),
                upstream: Arc::clone(upstream),
                upstream_metrics: observer.upstream(upstream.name()),
                documents: Arc::new(Documents::new(
                    route,
                    &config.compose,
                    &composer,
                    metrics.clone(),
                )),
                metrics,
                told_cookie: AtomicBool::new(false),
            };
            Some((
                route.config.host.clone(),
                route.config.path.clone(),
                Arc::new(route),
            ))
        });
        Self {
            routes: Arc::new(Router::new(routes)),
            fetcher: Fetcher::new(cache, observer.clone()),
            trust: Trust::new(&config.server, &config.identity),
            composer,
            peeking: Composer::new(ComposeConfig {
                on_error: OnError::Empty,
                head_wait: Duration::ZERO,
                merge_set_cookie: false,
                ..config.compose.clone()
            }),
            readable: Arc::new(ReadableCookies::new(
                config.compose.readable_cookies.as_deref(),
                &config.identity.session_cookies,
            )),
            compose: Arc::new(config.compose.clone()),
            server: config.server.clone(),
            memory: Memory::new(config.compose.memory.as_u64()),
            remembered: Arc::default(),
            purge_from: config.cache.purge_from.clone(),
            upstreams,
            observer,
            number: GATEWAYS.fetch_add(1, Ordering::Relaxed),
            kept,
        }
    }

    /// A gateway by a new configuration that takes over what `old` holds: stored objects, counts, connections.
    pub fn succeed(old: &Self, config: &Config) -> Self {
        let cache = Arc::clone(old.fetcher.cache());
        let observer = old.observer.clone();
        Self::keeping(
            config,
            cache,
            observer,
            Some(&old.upstreams),
            old.kept.clone(),
        )
    }

    /// What is stored for everybody.
    fn cache(&self) -> &Cache {
        self.fetcher.cache()
    }

    /// The groups of servers.
    pub fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }

    /// Answers one request that came on the connection `from`.
    ///
    /// Answers from store are the many, so what only others need across a wait is boxed: the future is small, and little is moved.
    #[expect(
        clippy::manual_async_fn,
        reason = "a function keeps its arguments twice"
    )]
    pub fn answer(
        &self,
        request: Request,
        from: &Connection,
    ) -> impl Future<Output = Response> + Send {
        async move {
            let (visit, body) = match Visit::new(request, from, &self.trust) {
                Ok(visit) => visit,
                Err(turned) => return self.turn_away(*turned, from, None),
            };
            let visit = Arc::new(visit);
            let came = Instant::now();
            let page = self.observer.page(&visit.start(came));
            let walked = self.walk(&visit, body, page.trace(), came).await;
            let answer = walked.unwrap_or_else(|error| {
                tell(&error, &visit);
                page.trace().failed(&error);
                if let Some(setting) = error.limit() {
                    self.observer.limit_hit(setting);
                }
                Answer::plain(respond::error(&error))
            });
            answer.send(&visit, page)
        }
    }

    /// Route, skeleton, page.
    async fn walk(
        &self,
        visit: &Arc<Visit>,
        body: Body,
        trace: &PageTrace,
        came: Instant,
    ) -> Result<Answer, GatewayError> {
        if self.is_purge(visit) {
            return Ok(Answer::plain(self.purge_for(visit)));
        }
        let route = self
            .routes
            .find(&visit.host, visit.path())
            .ok_or(GatewayError::NoRoute)?;
        trace.routed(&route.metrics, &route.upstream_metrics);
        let (body, now) = if body.as_full().is_some_and(Bytes::is_empty) {
            (body, came)
        } else {
            trace.waits();
            let body = Box::pin(settled(visit, route, body)).await?;
            (body, Instant::now())
        };
        let deadline = self.deadline(&body, now);
        let mut key = None;
        let made = match self.skeleton_at_hand(visit, route, trace, now, &mut key) {
            Ok(object) => self.stored(visit, route, &object, CacheUse::Hit, now)?,
            Err(wanted) => {
                trace.waits();
                let made = self.fetched(wanted, visit, route, body, deadline, trace);
                Box::pin(made).await?
            }
        };
        let answer = match made {
            Made::Answer(mut answer) => {
                if route.tells_by_cookie() {
                    headers::vary_by(answer.response.headers_mut(), &COOKIE);
                }
                answer
            }
            Made::Page(page) => match self.begun(visit, page, deadline, trace)? {
                Begun::Answer(answer) => answer,
                Begun::Page(composing) => {
                    trace.waits();
                    Box::pin(self.composed(visit, composing, trace)).await?
                }
            },
        };
        Ok(Answer { key, ..answer })
    }

    /// A page's time; the time that a body may take to arrive comes on top.
    fn deadline(&self, body: &Body, now: Instant) -> Deadline {
        let upload = if body.as_full().is_some() {
            Duration::ZERO
        } else {
            self.server.body_timeout
        };
        Deadline::from(now, self.compose.page_timeout + upload)
    }

    /// The skeleton, where it is stored and this visitor may have it; else what is asked for.
    fn skeleton_at_hand(
        &self,
        visit: &Visit,
        route: &Route,
        trace: &PageTrace,
        now: Instant,
        told_key: &mut Option<CacheKey>,
    ) -> Result<Arc<Object>, Box<Wanted>> {
        let (config, host) = (&route.config, &visit.host);
        let outgoing = Outgoing::new(visit, config, host, || {
            Arc::new(origin_request::fields(visit, config, host, Purpose::Page))
        });
        let (key, told) = cache_policy::key(visit, config, host, visit.target(), &outgoing);
        let policy = cache_policy::policy(visit, config, told);
        if visit.debug {
            *told_key = Some(key.clone());
        }
        let mut found = None;
        if policy.cacheable && visit.is_safe() && !is_for_the_origin(visit, &outgoing) {
            match self.fetcher.at_hand(&key, &outgoing, policy, now) {
                Lookup::Hit(object) => {
                    let served = Served {
                        route: &route.metrics,
                        upstream: &route.upstream_metrics,
                        outcome: Outcome::Ok,
                        cache: CacheUse::Hit,
                        bytes: object.body.len(),
                    };
                    trace.skeleton_hit(&served, now);
                    return Ok(object);
                }
                other => found = Some(other),
            }
        }
        Err(Box::new(Wanted {
            key,
            policy,
            found,
            fields: outgoing.into_fields(),
        }))
    }

    /// What becomes of a skeleton that is not at hand, and is fetched.
    async fn fetched(
        &self,
        wanted: Box<Wanted>,
        visit: &Visit,
        route: &Route,
        body: Body,
        deadline: Deadline,
        trace: &PageTrace,
    ) -> Result<Made, GatewayError> {
        let request = OutgoingRequest {
            method: visit.method.clone(),
            uri: cache_policy::uri(visit, &route.config),
            fields: wanted.fields,
            body,
        };
        let span = trace.skeleton();
        span.routed(&route.metrics, &route.upstream_metrics);
        let ask = Ask {
            key: wanted.key,
            request,
            upstream: Arc::clone(&route.upstream),
            policy: wanted.policy,
            ttl: None,
            deadline,
            prepare: Arc::clone(&route.documents) as Arc<_>,
            notes: span.notes().clone(),
        };
        match self.fetcher.fetch_after(ask, wanted.found).await {
            Ok(Fetched::Stored(object, used)) => {
                span.notes().received(object.body.len());
                trace.cache(used);
                span.finish(Outcome::Ok);
                self.stored(visit, route, &object, used, Instant::now())
            }
            Ok(Fetched::Streamed(streamed)) => {
                trace.cache(streamed.cache);
                span.finish(Outcome::Ok);
                self.streamed(visit, route, streamed, deadline).await
            }
            Err(error) => {
                let outcome = if error.is_timeout() {
                    Outcome::Timeout
                } else {
                    Outcome::Failed
                };
                span.fail(outcome, &error);
                Err(error.into())
            }
        }
    }
}

/// A skeleton that is not at hand.
struct Wanted {
    key: CacheKey,
    policy: Policy,
    /// What a look-up has found, where there was one.
    found: Option<Lookup>,
    /// The request's fields.
    fields: Arc<http::HeaderMap>,
}

/// The body of a request that has one, as it goes on.
async fn settled(visit: &Visit, route: &Route, body: Body) -> Result<Body, GatewayError> {
    if visit.is_safe() {
        drop_body(body).await
    } else if route.upstream.is_bounded() {
        settle_body(body).await
    } else {
        Ok(body)
    }
}

/// Whether the request's conditions are the origin's to decide, if they go upstream at all.
fn is_for_the_origin(visit: &Visit, outgoing: &dyn Fields) -> bool {
    is_on_the_origins_conditions(&visit.client_headers)
        && is_on_the_origins_conditions(outgoing.all())
}

/// A body that means nothing (RFC 9110 9.3.1) is read within its bounds and dropped.
async fn drop_body(mut body: Body) -> Result<Body, GatewayError> {
    while let Some(bytes) = body.next().await {
        bytes.map_err(GatewayError::RequestBody)?;
    }
    Ok(Body::empty())
}

/// Where servers take few requests at a time, a small body is read before one is asked for, so that a client that dribbles holds
/// none of their slots; a large one streams.
async fn settle_body(body: Body) -> Result<Body, GatewayError> {
    match gather(body, SETTLED)
        .await
        .map_err(GatewayError::RequestBody)?
    {
        Gathered::Whole(bytes) => Ok(Body::full(bytes)),
        Gathered::Larger(_, body) => Ok(body),
    }
}

/// What users are not told.
fn tell(error: &GatewayError, visit: &Visit) {
    let (id, method, path) = (&visit.id, &visit.method, visit.path());
    if error.is_clients() {
        tracing::debug!(request = %id, %method, host = %visit.host, path, %error, "refused");
    } else {
        tracing::error!(request = %id, %method, host = %visit.host, path, status = error.status().as_u16(), %error, "failed");
    }
}
