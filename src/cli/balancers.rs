//! The balancers that listen: made at the start, and made equal to the file again at each reload.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::cli::wire::StartError;
use crate::config::BalancerConfig;
use crate::gateway::balancer::Balancer;
use crate::gateway::reload::Current;
use crate::message::deadline::Deadline;
use crate::observe::Observer;
use crate::server::drain::Drain;
use crate::server::{Limits, Listener};

/// How often an address is asked for that a balancer of before is about to leave, and how long between two times.
const TRIES: usize = 20;
const BETWEEN: Duration = Duration::from_millis(50);

/// All balancers of a gateway.
pub struct Balancers {
    gateway: Arc<Current>,
    observer: Observer,
    limits: Limits,
    /// Their connections, apart from those of clients: clients that fill the rest wait for the page cache, which waits for these.
    room: Arc<Semaphore>,
    standing: Vec<Standing>,
    /// Of those that a reload has ended, for as long as something is under way there.
    leaving: Vec<Drain>,
}

/// Balancers that are bound for a configuration that is not followed yet.
pub struct Reserved(Vec<Standing>);

struct Standing {
    config: BalancerConfig,
    address: SocketAddr,
    drain: Drain,
    /// Bound, and not yet accepting.
    listener: Option<Listener>,
}

impl Balancers {
    /// None yet.
    pub fn new(
        gateway: Arc<Current>,
        observer: Observer,
        limits: Limits,
        connections: usize,
    ) -> Self {
        Self {
            gateway,
            observer,
            limits,
            room: Arc::new(Semaphore::new(connections)),
            standing: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// Binds one more.
    ///
    /// # Errors
    /// What the system says of its address.
    pub fn bind(&mut self, config: &BalancerConfig) -> Result<(), StartError> {
        let bound = self.bound(config)?;
        self.standing.push(bound);
        Ok(())
    }

    fn bound(&self, config: &BalancerConfig) -> Result<Standing, StartError> {
        let address = config.listen;
        let failed = |source| StartError::Listen { address, source };
        let room = Arc::clone(&self.room);
        let listener = Listener::bind(address, self.limits.clone(), room).map_err(failed)?;
        Ok(Standing {
            config: config.clone(),
            address: listener.address().map_err(failed)?,
            drain: Drain::new(),
            listener: Some(listener),
        })
    }

    /// Binds those that are new, but for those at an address that one of before is about to leave.
    ///
    /// # Errors
    /// What the system says of the first address that cannot be had; then none is bound, and the others stand as before.
    pub fn reserve(&self, wanted: &[BalancerConfig]) -> Result<Reserved, StartError> {
        let is_held = |config: &BalancerConfig| {
            let mut standing = self.standing.iter();
            // At another address of the same port it may be in the way as well.
            standing.any(|it| it.config == *config || it.address.port() == config.listen.port())
        };
        let new = wanted.iter().filter(|config| !is_held(config));
        let bound: Result<_, _> = new.map(|config| self.bound(config)).collect();
        bound.map(Reserved)
    }

    /// Lets all that are bound accept.
    pub fn start(&mut self) {
        for it in &mut self.standing {
            if let Some(listener) = it.listener.take() {
                let gateway = Arc::clone(&self.gateway);
                let balancer = Balancer::new(gateway, &self.observer, &it.config.upstream);
                tokio::spawn(listener.run(Arc::new(balancer), it.drain.clone()));
            }
        }
    }

    /// Where they listen, each with the name of its upstream.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let named = |it: &Standing| (it.config.upstream.clone(), it.address);
        self.standing.iter().map(named).collect()
    }

    /// Ends those that are not wanted any more (what is under way there goes on) and starts those that are new; these are returned. One
    /// whose address is not left in time is told in the log.
    pub async fn follow(
        &mut self,
        wanted: &[BalancerConfig],
        Reserved(reserved): Reserved,
    ) -> Vec<(String, SocketAddr)> {
        let mut new = wanted.to_vec();
        let mut stay = Vec::new();
        for it in self.standing.drain(..) {
            if let Some(at) = new.iter().position(|config| *config == it.config) {
                new.swap_remove(at);
                stay.push(it);
            } else {
                it.drain.start();
                tracing::info!(upstream = it.config.upstream, address = %it.address, "a balancer has ended");
                self.leaving.push(it.drain);
            }
        }
        self.standing = stay;
        self.leaving.retain(|drain| drain.open() > 0);
        let before = self.standing.len();
        new.retain(|config| reserved.iter().all(|it| it.config != *config));
        self.standing.extend(reserved);
        for config in &new {
            if let Err(error) = self.bind_when_left(config).await {
                tracing::error!(upstream = config.upstream, %error, "no balancer");
            }
        }
        self.start();
        self.addresses().split_off(before)
    }

    async fn bind_when_left(&mut self, config: &BalancerConfig) -> Result<(), StartError> {
        for _ in 1..TRIES {
            if self.bind(config).is_ok() {
                return Ok(());
            }
            tokio::time::sleep(BETWEEN).await;
        }
        self.bind(config)
    }

    /// Accepts no more and lets what runs end; says whether all of it did in time.
    pub async fn drain(&self, deadline: Deadline) -> bool {
        let standing = self.standing.iter().map(|it| &it.drain);
        let drains: Vec<_> = standing.chain(&self.leaving).collect();
        for drain in &drains {
            drain.start();
        }
        let mut all = true;
        for drain in drains {
            all &= drain.finished(deadline.left()).await;
        }
        all
    }
}
