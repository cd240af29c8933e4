//! Joins the parts of a running gateway: observer, cache, upstreams, routes, listeners. The one place where each part of a
//! configuration is moved into the module that needs it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Notify, Semaphore};

use crate::admin::Admin;
use crate::admin::access::{Token, TokenError};
use crate::admin::operate::{Operator, Refused, ServerOrder, WantedState};
use crate::admin::purge::Purger;
use crate::cache::Cache;
use crate::cache::order::Order;
use crate::cli::balancers::{Balancers, Reserved};
use crate::config::{AccessLog as AccessLogConfig, Config};
use crate::gateway::Gateway;
use crate::gateway::reload::Current;
use crate::message::deadline::Deadline;
use crate::observe::Observer;
use crate::observe::access_log::AccessLog;
use crate::observe::status::{
    CacheStatus, ProbeStatus, ServerState, ServerStatus, Status, UpstreamStatus,
};
use crate::observe::text::{Moment, Seconds};
use crate::server::drain::Drain;
use crate::server::tls::{self, TlsError};
use crate::server::{DESCRIPTORS, LimitHit, Limits, Listener};
use crate::upstream::Upstream;
use crate::upstream::operate::{PoolStatus, ServerStatus as PoolServerStatus, UnknownServer};
use crate::upstream::probe::CheckError;
use crate::upstream::standing::ServerState as PoolServerState;

/// How often connections that have rested for too long are closed.
const SWEEP: Duration = Duration::from_secs(15);

/// Connections that the admin listener takes at a time, apart from those of clients.
const ADMIN_CONNECTIONS: usize = 256;

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The admin token cannot be used.
    #[error("admin token: {0}")]
    Token(#[from] TokenError),
    /// The access log cannot be opened.
    #[error("access log: {0}")]
    AccessLog(io::Error),
}

/// A gateway whose listeners are bound and do not accept yet.
pub struct Bound {
    /// What is drained in the end.
    pub drain: Drain,
    /// Who hears of everything.
    pub observer: Observer,
    gateway: Arc<Current>,
    main: Vec<Listener>,
    tls: Option<Listener>,
    balancers: Balancers,
    admin: Option<(Listener, Admin)>,
    addresses: Addresses,
    config: Config,
    /// Notified when clients wait for want of descriptors.
    scarce: Arc<Notify>,
}

/// Where a gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Cleartext.
    pub http: Vec<SocketAddr>,
    /// TLS.
    pub https: Option<SocketAddr>,
    /// The balancers, each with the name of its upstream.
    pub balancers: Vec<(String, SocketAddr)>,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
}

/// A gateway that serves.
pub struct Running {
    /// Where.
    pub addresses: Addresses,
    /// What is drained in the end.
    pub drain: Drain,
    /// Who hears of everything.
    pub observer: Observer,
    /// What answers, to be exchanged at a reload.
    pub gateway: Arc<Current>,
    /// What it was started with.
    pub config: Config,
    /// Drained after the rest: requests under way may still need the page cache, and that the balancers.
    balancers: Balancers,
}

/// Builds a gateway and binds its listeners.
///
/// # Errors
/// The [`StartError`] of the first part that cannot be had.
pub fn bind(config: &Config) -> Result<Bound, StartError> {
    let drain = Drain::new();
    let observer = Observer::new(access_log(&config.log.access).map_err(StartError::AccessLog)?);
    let cache = Arc::new(Cache::new(&config.cache));
    let gateway = Arc::new(Current::new(Gateway::new(
        config,
        Arc::clone(&cache),
        observer.clone(),
        None,
    )));
    let heard = observer.clone();
    let scarce = Arc::new(Notify::new());
    let wanted = Arc::clone(&scarce);
    let hit = LimitHit::new(move |setting| {
        heard.limit_hit(setting);
        if setting == DESCRIPTORS {
            wanted.notify_one();
        }
    });
    let limits = Limits {
        hit,
        ..Limits::from(&config.server)
    };
    let connections = Arc::new(Semaphore::new(connections(config.server.max_connections)));
    let listen = |address: SocketAddr, limits: Limits, connections: &Arc<Semaphore>| {
        Listener::bind(address, limits, Arc::clone(connections))
            .map_err(|source| StartError::Listen { address, source })
    };
    let mut main = Vec::new();
    for address in &config.server.listen {
        main.push(listen(*address, limits.clone(), &connections)?);
    }
    let tls = match &config.server.tls {
        None => None,
        Some(tls) => {
            let acceptor = tls::acceptor(&tls.certificate, &tls.key)?;
            Some(listen(tls.listen, limits.clone(), &connections)?.with_tls(acceptor))
        }
    };
    let mut balancers = Balancers::new(
        Arc::clone(&gateway),
        observer.clone(),
        limits.clone(),
        connections.available_permits(),
    );
    for balancer in &config.balancers {
        balancers.bind(balancer)?;
    }
    let admin = match &config.admin {
        None => None,
        Some(admin) => {
            let token = admin.token_file.as_deref().map(Token::read).transpose()?;
            let listener = listen(
                admin.listen,
                Limits::default(),
                &Arc::new(Semaphore::new(ADMIN_CONNECTIONS)),
            )?;
            let purger = Arc::new(Purges(Arc::clone(&gateway)));
            let admin = Admin::new(observer.clone(), admin.listen, token)
                .with_purger(purger)
                .with_operator(Arc::new(Servers(Arc::clone(&gateway))))
                .with_drain(drain.clone());
            Some((listener, admin))
        }
    };
    let address = |listener: &Listener, asked: SocketAddr| {
        listener.address().map_err(|source| StartError::Listen {
            address: asked,
            source,
        })
    };
    let addresses = Addresses {
        http: main
            .iter()
            .zip(&config.server.listen)
            .map(|(listener, asked)| address(listener, *asked))
            .collect::<Result<_, _>>()?,
        https: tls
            .as_ref()
            .zip(config.server.tls.as_ref())
            .map(|(listener, tls)| address(listener, tls.listen))
            .transpose()?,
        balancers: balancers.addresses(),
        admin: admin
            .as_ref()
            .zip(config.admin.as_ref())
            .map(|((listener, _), admin)| address(listener, admin.listen))
            .transpose()?,
    };
    observer.watch(Arc::new(House {
        gateway: Arc::clone(&gateway),
        cache,
        drain: drain.clone(),
    }));
    Ok(Bound {
        drain,
        observer,
        gateway,
        main,
        tls,
        balancers,
        admin,
        addresses,
        config: config.clone(),
        scarce,
    })
}

/// How many client connections there is room for: each may need a descriptor of its own and one towards a server.
fn connections(wanted: usize) -> usize {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let room = usize::try_from(descriptors / 2)
        .unwrap_or(usize::MAX)
        .max(1);
    if wanted > room {
        tracing::warn!(
            wanted,
            room,
            descriptors,
            "server.max_connections is more than the limit of descriptors has room for"
        );
    }
    wanted.min(room)
}

fn access_log(config: &AccessLogConfig) -> io::Result<AccessLog> {
    match config {
        AccessLogConfig::Off => Ok(AccessLog::Off),
        AccessLogConfig::Stdout => AccessLog::stdout(),
        AccessLogConfig::File(path) => AccessLog::file(path.clone()),
    }
}

impl Bound {
    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Begins to accept.
    pub fn start(mut self) -> Running {
        self.balancers.start();
        for listener in self.main.into_iter().chain(self.tls) {
            tokio::spawn(listener.run(Arc::clone(&self.gateway), self.drain.clone()));
        }
        if let Some((listener, admin)) = self.admin {
            // Operators watch while clients drain: the admin listener ends with the process.
            tokio::spawn(listener.run(Arc::new(admin), Drain::new()));
        }
        tokio::spawn(sweep(
            Arc::clone(&self.gateway),
            self.drain.clone(),
            self.scarce,
        ));
        Running {
            addresses: self.addresses,
            drain: self.drain,
            observer: self.observer,
            gateway: self.gateway,
            config: self.config,
            balancers: self.balancers,
        }
    }
}

async fn sweep(gateway: Arc<Current>, drain: Drain, scarce: Arc<Notify>) {
    loop {
        tokio::select! {
            // A client waits to be accepted: what merely rests makes room.
            () = scarce.notified() => gateway.now().upstreams().close_resting(),
            () = tokio::time::sleep(SWEEP) => gateway.now().upstreams().sweep(),
            () = drain.started() => return,
        }
    }
}

impl Running {
    /// Binds what a new configuration listens on beside.
    ///
    /// # Errors
    /// An address that cannot be had; nothing has changed then.
    pub fn reserve(&self, config: &Config) -> Result<Reserved, StartError> {
        self.balancers.reserve(&config.balancers)
    }

    /// Makes the balancers those of a new configuration; those that are new, with where they listen.
    pub async fn follow(
        &mut self,
        config: &Config,
        reserved: Reserved,
    ) -> Vec<(String, SocketAddr)> {
        self.balancers.follow(&config.balancers, reserved).await
    }

    /// Accepts no more, lets what runs end within `server.drain_timeout`; says whether all of it did.
    pub async fn drain(&self) -> bool {
        let deadline = Deadline::after(self.config.server.drain_timeout);
        self.drain.start();
        let clients = self.drain.finished(deadline.left()).await;
        let balanced = self.balancers.drain(deadline).await;
        self.observer.flush();
        clients && balanced
    }
}

/// Carries out purges by the gateway that answers now, which knows how its routes name what is stored.
struct Purges(Arc<Current>);

impl Purger for Purges {
    fn purge(&self, order: &Order) -> u64 {
        self.0.now().purge(order)
    }
}

/// Carries out orders for servers, of the upstreams that are there now.
struct Servers(Arc<Current>);

impl Operator for Servers {
    fn order<'a>(
        &'a self,
        upstream: &'a str,
        server: &'a str,
        order: ServerOrder,
    ) -> BoxFuture<'a, Result<Vec<ServerStatus>, Refused>> {
        Box::pin(async move {
            let gateway = self.0.now();
            let Some(upstream) = gateway.upstreams().get(upstream) else {
                let known: Vec<_> = gateway.upstreams().names().collect();
                let known = known.join(", ");
                return Err(Refused::Unknown(format!(
                    "there is no upstream {upstream}; there are {known}"
                )));
            };
            carry_out(upstream, server, order).await
        })
    }
}

async fn carry_out(
    upstream: &Upstream,
    server: &str,
    order: ServerOrder,
) -> Result<Vec<ServerStatus>, Refused> {
    let unknown = |error: UnknownServer| Refused::Unknown(error.to_string());
    let pool = upstream.pool();
    if let Some(weight) = order.weight {
        pool.set_weight(server, weight).map_err(unknown)?;
    }
    if order.check {
        upstream.check(server).await.map_err(|error| match error {
            CheckError::Unknown(error) => unknown(error),
            // Some reasons name the server themselves.
            CheckError::Failed { server, reason } if reason.starts_with(&server) => {
                Refused::Unwell(reason)
            }
            CheckError::Failed { .. } => Refused::Unwell(error.to_string()),
        })?;
    }
    match order.state {
        Some(WantedState::Drain) => pool.drain(server).map_err(unknown)?,
        Some(WantedState::Ready) => pool.ready(server).map_err(unknown)?,
        None => {}
    }
    let called = pool.called(server).map_err(unknown)?;
    let mut rows = pool.status().servers;
    rows.retain(|row| called.iter().any(|server| server.label() == row.address));
    Ok(rows.into_iter().map(server_status).collect())
}

/// What the admin listener and the metrics see.
struct House {
    gateway: Arc<Current>,
    cache: Arc<Cache>,
    drain: Drain,
}

impl Status for House {
    fn upstreams(&self) -> Vec<UpstreamStatus> {
        self.gateway
            .now()
            .upstreams()
            .status()
            .into_iter()
            .map(upstream_status)
            .collect()
    }

    fn cache(&self) -> CacheStatus {
        let status = self.cache.status();
        CacheStatus {
            bytes: status.bytes,
            objects: status.objects,
            evictions: status.evictions,
        }
    }

    fn connections(&self) -> usize {
        self.drain.open()
    }

    fn ready(&self) -> bool {
        !self.drain.is_started()
    }
}

fn upstream_status(pool: PoolStatus) -> UpstreamStatus {
    UpstreamStatus {
        name: pool.name,
        servers: pool.servers.into_iter().map(server_status).collect(),
        queued: pool.queued,
        max_in_flight: pool.max_in_flight,
    }
}

fn server_status(server: PoolServerStatus) -> ServerStatus {
    ServerStatus {
        address: server.address,
        weight: server.weight,
        state: match server.state {
            PoolServerState::Active => ServerState::Active,
            PoolServerState::Draining => ServerState::Draining,
            PoolServerState::Drained => ServerState::Drained,
            PoolServerState::Down => ServerState::Down,
        },
        in_flight: server.in_flight,
        served: server.served,
        effective_weight: server.effective_weight,
        reason: server.reason,
        since_seconds: Seconds(server.since),
        healthy: server.healthy,
        errors: server.errors,
        p50_seconds: server.times.map(|times| Seconds(times.p50)),
        p99_seconds: server.times.map(|times| Seconds(times.p99)),
        last_probe: server.last_probe.map(|probe| ProbeStatus {
            time: Moment(probe.at),
            good: probe.good,
            outcome: probe.outcome,
        }),
    }
}
