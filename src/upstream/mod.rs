//! Named groups of servers: a request goes to one of them, as soon as one is free, and comes back as an answer.
//!
//! [`pool`] counts and queues, [`standing`] knows how each server is, [`balance`] chooses, [`client`] speaks with one server, [`resting`]
//! keeps connections between exchanges, [`operate`] is what operators see and do. This module joins them: acquire, connect, exchange, and once more elsewhere where that is safe.

pub mod affinity;
pub mod balance;
pub mod client;
pub mod connection;
pub mod error;
pub mod members;
pub mod operate;
pub mod pace;
pub mod pool;
pub mod probe;
pub mod queue;
pub mod resolve;
pub mod resting;
pub mod server;
pub mod socket;
pub mod standing;
pub mod stream;
pub mod transport;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri};
use tokio::time::Instant;

use crate::config::UpstreamConfig;
use crate::message::deadline::Deadline;
use crate::message::outgoing::OutgoingRequest;
use crate::message::{Body, Response};
use crate::observe::span::Notes;
use crate::upstream::affinity::UrlKey;
use crate::upstream::balance::Wish;
use crate::upstream::client::{ExchangeLimits, Failed, Outbound};
use crate::upstream::connection::{ConnectError, Connection};
use crate::upstream::error::UpstreamError;
use crate::upstream::operate::PoolStatus;
use crate::upstream::pool::{Permit, Pool};
use crate::upstream::resolve::{Lookup, Names, System};
use crate::upstream::server::Server;
use crate::upstream::transport::Transport;

/// All upstreams, by name.
#[derive(Clone, Default)]
pub struct Upstreams {
    by_name: BTreeMap<String, Arc<Upstream>>,
    /// The pools of those that left the configuration, as long as one of their requests is in flight: who comes back counts on.
    left: BTreeMap<String, Weak<Pool>>,
}

impl Upstreams {
    /// One upstream for each configured. Those of `before` go on with their pools, so that servers that stay keep their counts,
    /// connections and states.
    pub fn new(configs: &BTreeMap<String, UpstreamConfig>, before: Option<&Self>) -> Self {
        let upstream = |name: &String, config: &UpstreamConfig| {
            let kept = before.and_then(|before| before.get(name));
            if let Some(kept) = kept.filter(|kept| kept.config == *config) {
                return Arc::clone(kept);
            }
            let left = || before?.left.get(name)?.upgrade();
            let upstream = Arc::new(match (kept, left()) {
                (Some(changed), _) => changed.succeeded_by(config),
                (None, Some(pool)) => Upstream::over(pool, config),
                (None, None) => Upstream::new(name, config),
            });
            upstream.watch();
            upstream
        };
        let by_name: BTreeMap<_, _> = configs
            .iter()
            .map(|(name, config)| (name.clone(), upstream(name, config)))
            .collect();
        let mut left = BTreeMap::new();
        if let Some(before) = before {
            left.clone_from(&before.left);
            let pools = before.by_name.iter();
            left.extend(pools.map(|(name, it)| (name.clone(), Arc::downgrade(&it.pool))));
        }
        left.retain(|name, pool| !by_name.contains_key(name) && pool.strong_count() > 0);
        Self { by_name, left }
    }

    /// The upstream of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.by_name.get(name)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// What all of them are at now, by name.
    pub fn status(&self) -> Vec<PoolStatus> {
        self.by_name
            .values()
            .map(|upstream| upstream.pool.status())
            .collect()
    }

    /// Closes connections that have rested for too long.
    pub fn sweep(&self) {
        for upstream in self.by_name.values() {
            for server in upstream.pool.servers() {
                server.resting().sweep();
            }
        }
    }

    /// Closes all connections that rest: their descriptors are needed.
    pub fn close_resting(&self) {
        for upstream in self.by_name.values() {
            for server in upstream.pool.servers() {
                server.resting().clear();
            }
        }
    }
}

/// One group of servers.
pub struct Upstream {
    pool: Arc<Pool>,
    transport: Arc<Transport>,
    names: Names,
    config: UpstreamConfig,
    budget: Arc<RetryBudget>,
}

/// An answer and when it came.
#[derive(Debug)]
pub struct Answer {
    /// Its body is still on its way; the server is in flight until it has been read or dropped.
    pub response: Response,
    /// How long it took from the request, sent the last time, to the head.
    pub delay: Duration,
}

impl Upstream {
    /// An upstream by its configuration.
    pub fn new(name: &str, config: &UpstreamConfig) -> Self {
        Self::with_lookup(name, config, Arc::new(System))
    }

    /// The same with a resolver other than the system's.
    pub fn with_lookup(name: &str, config: &UpstreamConfig, lookup: Arc<dyn Lookup>) -> Self {
        Self {
            pool: Pool::new(name, config),
            transport: Transport::new(name, config),
            names: Self::names(config, lookup),
            config: config.clone(),
            budget: Arc::new(RetryBudget::new()),
        }
    }

    /// An upstream that left the configuration, and is there again while one of its requests is in flight.
    fn over(pool: Arc<Pool>, config: &UpstreamConfig) -> Self {
        pool.configure(config);
        Self {
            transport: Transport::new(pool.name(), config),
            pool,
            names: Self::names(config, Arc::new(System)),
            config: config.clone(),
            budget: Arc::new(RetryBudget::new()),
        }
    }

    fn names(config: &UpstreamConfig, lookup: Arc<dyn Lookup>) -> Names {
        let addresses = config.servers.iter().map(|server| &server.address);
        Names::new(addresses, config.resolve_interval, lookup)
    }

    /// The same servers by a new configuration; requests under way go on by the old one, and are counted with the new.
    fn succeeded_by(&self, config: &UpstreamConfig) -> Self {
        self.pool.configure(config);
        let same = self.config.tls == config.tls && self.config.http2 == config.http2;
        Self {
            pool: Arc::clone(&self.pool),
            transport: if same {
                Arc::clone(&self.transport)
            } else {
                Transport::new(self.name(), config)
            },
            names: Self::names(config, Arc::clone(self.names.lookup())),
            config: config.clone(),
            budget: Arc::clone(&self.budget),
        }
    }

    /// Its servers and the line before them: what operators see and order.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// What is configured of it.
    pub fn config(&self) -> &UpstreamConfig {
        &self.config
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.pool.name()
    }

    /// Whether its servers take a bounded number of requests at a time.
    pub fn is_bounded(&self) -> bool {
        self.pool.is_bounded()
    }

    /// Sends a request and waits for the head of its answer. The request's target is its path and query; framing is written anew.
    ///
    /// Dropping the future takes the request out of the line, or breaks the exchange off.
    ///
    /// # Errors
    /// The [`UpstreamError`] of the last try. Another server is tried where nothing of an answer came and the request is
    /// idempotent, or nothing of the request was sent.
    pub fn send(
        &self,
        request: impl Into<OutgoingRequest>,
        deadline: Deadline,
        notes: &Notes,
    ) -> impl Future<Output = Result<Answer, UpstreamError>> + Send {
        let mut outgoing = Outgoing::new(request.into());
        async move {
            self.names.ensure(&self.pool, deadline).await?;
            self.budget.earn();
            let mut repeats = Repeats {
                retries: self.config.retries,
                connects: self.pool.len(),
            };
            let mut wish = Wish {
                url: outgoing.url(),
                avoid: None,
            };
            loop {
                notes.queued(Instant::now());
                let permit = self.pool.acquire(deadline, wish.clone()).await?;
                let server = Arc::clone(permit.server());
                let again = Again::Anywhere(&wish);
                let tried = self.attempt(permit, again, &mut outgoing, deadline, notes);
                let error = match tried.await {
                    Ok(tried) => {
                        let delay = tried.came.saturating_duration_since(tried.sent);
                        notes.first_byte(tried.response.status(), tried.came);
                        tried.server.answered(delay, tried.came);
                        if tried.server.is_suspect() {
                            // It refused a connection, and answers on one that was kept.
                            self.pool.connection_made(&tried.server);
                        }
                        return Ok(Answer {
                            response: tried.response,
                            delay,
                        });
                    }
                    Err(error) => error,
                };
                if error.is_servers() {
                    server.failed();
                }
                if deadline.left() == Duration::ZERO
                    || !repeats.allow(&error, &outgoing, &self.budget)
                {
                    return Err(error);
                }
                tracing::debug!(upstream = self.name(), %error, "another try");
                wish.avoid = Some(server);
            }
        }
    }

    /// One try at one server, on a kept connection if there is one that still lives.
    #[expect(
        clippy::manual_async_fn,
        reason = "a function keeps its arguments twice"
    )]
    fn attempt(
        &self,
        mut permit: Permit,
        again: Again<'_>,
        outgoing: &mut Outgoing,
        deadline: Deadline,
        notes: &Notes,
    ) -> impl Future<Output = Result<Tried, UpstreamError>> + Send {
        async move {
            let resting = permit.server().resting();
            let mut kept = resting.wake(&self.transport).await;
            loop {
                let slot = match &kept {
                    Some(Connection::Alone(alone)) => Some(alone.slot().clone()),
                    Some(Connection::Shared(_)) | None => None,
                };
                let is_kept = kept.is_some();
                let connection = match kept.take() {
                    Some(connection) => connection,
                    // Boxed, as all that is not done for each request: what every request carries along stays small.
                    None => Box::pin(self.connect(permit.server(), deadline)).await?,
                };
                let server = Arc::clone(permit.server());
                let sent = Instant::now();
                let limits = self.limits(sent, deadline);
                notes.sent(server.label(), sent);
                let keep = self.config.keep_alive;
                let request = outgoing.next();
                let exchanged = client::exchange(connection, permit, request, limits, keep).await;
                let error = match exchanged {
                    Ok(response) => {
                        return Ok(Tried {
                            response,
                            sent,
                            came: Instant::now(),
                            server,
                        });
                    }
                    Err(Failed::Unsent(request)) => {
                        outgoing.take_back(*request);
                        UpstreamError::Closed {
                            server: server.label().to_owned(),
                            reason: "closed before use".to_owned(),
                        }
                    }
                    Err(Failed::Error(error)) => error,
                };
                let is_closed = matches!(error, UpstreamError::Closed { .. });
                if !is_kept || !is_closed || !outgoing.can_repeat() {
                    return Err(error);
                }
                // The server had closed it meanwhile: it is replaced once. The permit is here, or on its way back.
                permit = match slot.and_then(|slot| slot.take()) {
                    Some(permit) => permit,
                    None => Box::pin(self.once_more(again, deadline)).await?,
                };
            }
        }
    }

    fn limits(&self, sent: Instant, deadline: Deadline) -> ExchangeLimits {
        ExchangeLimits {
            sent,
            first_byte: self.config.first_byte_timeout,
            body_idle: self.config.body_idle_timeout,
            deadline,
            linger: self.linger(),
        }
    }

    async fn once_more(
        &self,
        again: Again<'_>,
        deadline: Deadline,
    ) -> Result<Permit, UpstreamError> {
        match again {
            Again::Anywhere(wish) => self.pool.acquire(deadline, wish.clone()).await,
            Again::Here(server) => {
                let permit = self.pool.acquire_at(server, deadline).await;
                permit.ok_or_else(|| UpstreamError::Deadline {
                    upstream: self.name().to_owned(),
                })
            }
        }
    }

    /// A new connection to a server, or a place on one that somebody else has just opened.
    async fn connect(
        &self,
        server: &Arc<Server>,
        deadline: Deadline,
    ) -> Result<Connection, UpstreamError> {
        let within = deadline.left().min(self.config.connect_timeout);
        match Connection::open(server, &self.transport, within, self.linger()).await {
            Ok(connection) => {
                self.pool.connection_made(server);
                Ok(connection)
            }
            Err(ConnectError::Server(reason)) => {
                self.pool.connection_failed(server, &reason);
                Err(UpstreamError::Connect {
                    server: server.label().to_owned(),
                    reason,
                })
            }
            Err(ConnectError::Ours(reason)) => Err(UpstreamError::Exhausted {
                server: server.label().to_owned(),
                reason,
            }),
        }
    }

    /// How long a server with a limit may take to end what was broken off.
    fn linger(&self) -> Option<Duration> {
        self.pool
            .is_bounded()
            .then_some(self.config.first_byte_timeout)
    }
}

/// An answer, and whose.
struct Tried {
    response: Response,
    sent: Instant,
    /// When the head came.
    came: Instant,
    server: Arc<Server>,
}

/// Where a request goes whose kept connection turned out to be closed, and whose permit went with it.
#[derive(Clone, Copy)]
enum Again<'a> {
    Anywhere(&'a Wish),
    Here(&'a Arc<Server>),
}

/// A request that may have to be sent again.
struct Outgoing {
    method: Method,
    uri: Uri,
    fields: Arc<HeaderMap>,
    body: Content,
    /// The last try ended before the request was written.
    unsent: bool,
}

enum Content {
    /// Can be sent any number of times.
    Bytes(Bytes),
    /// A stream that nobody has read from yet.
    Unread(Body),
    /// A stream that has been given away.
    Gone,
}

impl Outgoing {
    fn new(request: OutgoingRequest) -> Self {
        let body = match request.body.as_full() {
            Some(bytes) => Content::Bytes(bytes.clone()),
            None => Content::Unread(request.body),
        };
        Self {
            method: request.method,
            uri: request.uri,
            fields: request.fields,
            body,
            unsent: false,
        }
    }

    /// What is asked for, for those who keep the same together.
    fn url(&self) -> UrlKey {
        let host = self.fields.get(HOST).map(HeaderValue::as_bytes);
        let target = self.uri.path_and_query().map(PathAndQuery::as_str);
        UrlKey::of(
            host.unwrap_or_default(),
            target.unwrap_or_default().as_bytes(),
        )
    }

    fn next(&mut self) -> http::Request<Outbound> {
        self.unsent = false;
        let body = match std::mem::replace(&mut self.body, Content::Gone) {
            Content::Bytes(bytes) => {
                self.body = Content::Bytes(bytes.clone());
                Body::full(bytes)
            }
            Content::Unread(body) => body,
            Content::Gone => Body::empty(),
        };
        let mut request = http::Request::new(Outbound::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = HeaderMap::clone(&self.fields);
        request
    }

    /// The request was not written: its body is whole again.
    fn take_back(&mut self, request: http::Request<Outbound>) {
        self.unsent = true;
        if matches!(self.body, Content::Gone) {
            self.body = Content::Unread(request.into_body().into_body());
        }
    }

    fn has_body(&self) -> bool {
        !matches!(self.body, Content::Gone)
    }

    /// Whether it may be sent once more: it was not sent, or doing it twice does no harm.
    fn can_repeat(&self) -> bool {
        self.unsent || (self.has_body() && self.method.is_idempotent())
    }
}

/// What is left of one request's further tries.
struct Repeats {
    /// As configured: for requests that were sent.
    retries: usize,
    /// Servers that may still refuse a connection: nothing was sent to them.
    connects: usize,
}

impl Repeats {
    fn allow(&mut self, error: &UpstreamError, outgoing: &Outgoing, budget: &RetryBudget) -> bool {
        if self.retries == 0 || !outgoing.has_body() {
            return false;
        }
        if error.nothing_was_sent() {
            self.connects = self.connects.saturating_sub(1);
            return self.connects > 0;
        }
        if error.may_repeat() && outgoing.can_repeat() && budget.spend() {
            self.retries -= 1;
            return true;
        }
        false
    }
}

/// Retries are at most a tenth of the requests, beyond the first few: a fault that hits all requests is not doubled.
struct RetryBudget(AtomicI64);

impl RetryBudget {
    const RETRY: i64 = 10;
    const MOST: i64 = 100;

    fn new() -> Self {
        Self(AtomicI64::new(Self::MOST))
    }

    fn earn(&self) {
        if self.0.load(Ordering::Relaxed) < Self::MOST {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn spend(&self) -> bool {
        let spent = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left >= Self::RETRY).then_some(left - Self::RETRY)
            });
        spent.is_ok()
    }
}
