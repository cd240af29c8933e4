//! Who belongs to a pool: the servers of the configuration, and those that have left it and still work on something.
//!
//! A server that stays in the configuration keeps its standing and with it what it has in flight, its connections and its state, so
//! a limit holds across a reload: nobody is counted twice, nobody is forgotten.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::pattern::ServerAddress;
use crate::config::{ServerEntry, UpstreamConfig};
use crate::upstream::resolve::Resolution;
use crate::upstream::server::Server;
use crate::upstream::standing::{Change, Standing};

/// The servers of a pool, in the order of the configuration.
pub struct Members {
    entries: Vec<Entry>,
    serving: Vec<Standing>,
    leaving: Vec<Standing>,
}

/// A server of the configuration with what operators said of it.
struct Entry {
    address: ServerAddress,
    weight: u32,
    drained: bool,
    set_weight: Option<u32>,
    /// Of a host name.
    resolution: Resolution,
}

impl Members {
    /// Those of a configuration; all of them start together.
    pub fn new(config: &UpstreamConfig) -> Self {
        let mut members = Self {
            entries: config.servers.iter().map(Entry::new).collect(),
            serving: Vec::new(),
            leaving: Vec::new(),
        };
        members.arrange(None);
        members
    }

    /// Those of a new configuration take the place of the old ones. What changed, for operators.
    pub fn configure(&mut self, servers: &[ServerEntry], now: Instant) -> Vec<Change> {
        let mut old = std::mem::take(&mut self.entries);
        self.entries = servers
            .iter()
            .map(|server| {
                let known = old.iter().position(|it| it.address == server.address);
                let mut entry = known.map_or_else(|| Entry::new(server), |at| old.swap_remove(at));
                entry.configure(server.weight);
                entry
            })
            .collect();
        self.arrange(Some(now))
    }

    /// The standing of a server, also of one that is leaving.
    pub fn find(&mut self, server: &Arc<Server>) -> Option<&mut Standing> {
        self.serving
            .iter_mut()
            .chain(&mut self.leaving)
            .find(|it| Arc::ptr_eq(&it.server, server))
    }

    /// Those that left the configuration and still have something in flight.
    pub fn leaving(&self) -> &[Standing] {
        &self.leaving
    }

    /// What operators may call them.
    pub fn known(&self) -> Vec<String> {
        let labels = self.serving.iter().map(|it| it.server.label().to_owned());
        let mut known: Vec<_> = self
            .entries
            .iter()
            .map(|it| it.address.to_string())
            .collect();
        known.extend(labels);
        known.sort();
        known.dedup();
        known
    }

    /// Does something to the servers of that name: an address as configured, or one of those that a host name stands for. `None` where
    /// there is no such server.
    pub fn named(&mut self, name: &str, order: Order, now: Instant) -> Option<Vec<Change>> {
        let mut found = false;
        for entry in &mut self.entries {
            if entry.address.to_string() == name {
                found = true;
                entry.obey(order);
            }
        }
        let mut changes = Vec::new();
        for standing in &mut self.serving {
            if standing.server.is_called(name) {
                found = true;
                changes.extend(order.carry_out(standing, now));
            }
        }
        found.then_some(changes)
    }

    /// A request of a server has ended; one that was leaving goes with its last.
    pub fn give_back(&mut self, server: &Arc<Server>, now: Instant) -> Option<Change> {
        let change = self.find(server)?.give_back(now);
        self.leaving.retain(|it| it.in_flight > 0);
        change
    }

    /// The names that should be asked for now.
    pub fn names_due(&self, interval: Duration, now: Instant) -> Vec<ServerAddress> {
        self.entries
            .iter()
            .filter(|entry| entry.is_name() && entry.resolution.is_due(interval, now))
            .map(|entry| entry.address.clone())
            .collect()
    }

    /// Names of which it is not known what they stand for.
    pub fn unresolved(&self) -> Vec<(&ServerAddress, &Resolution)> {
        self.entries
            .iter()
            .filter(|entry| entry.is_name() && entry.resolution.servers.is_none())
            .map(|entry| (&entry.address, &entry.resolution))
            .collect()
    }

    /// A look-up of a name has ended. What changed, for operators; `None` where it stands for the same servers as before.
    pub fn resolved(
        &mut self,
        name: &ServerAddress,
        found: Result<Vec<Vec<SocketAddr>>, String>,
        now: Instant,
    ) -> Option<Vec<Change>> {
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.address == *name)?;
        let resolution = &mut entry.resolution;
        resolution.asked = Some(now);
        match found {
            Err(reason) => {
                resolution.failure = Some(reason);
                return None;
            }
            Ok(servers) => {
                resolution.failure = None;
                let known = resolution.servers.replace(servers);
                if known == resolution.servers {
                    return None;
                }
            }
        }
        Some(self.arrange(Some(now)))
    }

    /// Puts the servers of all entries in order: those known keep their standing, others join, the rest leaves.
    fn arrange(&mut self, now: Option<Instant>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut known = std::mem::take(&mut self.serving);
        known.append(&mut self.leaving);
        // Those that start together are all cold: none of them is spared.
        let now = now.filter(|_| !known.is_empty());
        for entry in &self.entries {
            for server in entry.servers() {
                let same = |it: &Standing| {
                    *it.server.address() == entry.address
                        && it.server.targets() == server.targets()
                        && it.server.label() == server.label()
                };
                let standing = match (known.iter().position(same), now) {
                    (Some(at), Some(now)) => {
                        let mut standing = known.swap_remove(at);
                        changes.extend(standing.configure(entry.weight, now));
                        standing
                    }
                    _ => entry.joining(server, now),
                };
                self.serving.push(standing);
            }
        }
        known.retain(|it| it.in_flight > 0);
        self.leaving = known;
        changes
    }
}

/// What an operator wants of a server.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// No new requests.
    Drain,
    /// New requests again.
    Ready,
    /// Another share.
    Weight(u32),
}

impl Order {
    fn carry_out(self, standing: &mut Standing, now: Instant) -> Option<Change> {
        match self {
            Self::Drain => standing.drain(now),
            Self::Ready => standing.ready(now),
            Self::Weight(weight) => standing.set_weight(weight, now),
        }
    }
}

impl Entry {
    fn new(server: &ServerEntry) -> Self {
        Self {
            address: server.address.clone(),
            weight: server.weight,
            drained: false,
            set_weight: None,
            resolution: Resolution::default(),
        }
    }

    fn is_name(&self) -> bool {
        matches!(self.address, ServerAddress::Name { .. })
    }

    /// The servers that it stands for.
    fn servers(&self) -> Vec<Server> {
        if !self.is_name() {
            return vec![Server::new(self.address.clone())];
        }
        let found = self.resolution.servers.as_deref().unwrap_or_default();
        let alone = found.len() == 1;
        found
            .iter()
            .map(|targets| Server::resolved(self.address.clone(), targets.clone(), alone))
            .collect()
    }

    fn configure(&mut self, weight: u32) {
        if weight != self.weight {
            self.weight = weight;
            self.set_weight = None;
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Drain => self.drained = true,
            Order::Ready => {
                self.drained = false;
                self.set_weight = self.set_weight.filter(|weight| *weight > 0);
            }
            Order::Weight(weight) => self.set_weight = Some(weight),
        }
    }

    /// A server of this entry that was not there before.
    fn joining(&self, server: Server, now: Option<Instant>) -> Standing {
        let mut standing = Standing::new(Arc::new(server), self.weight);
        let at = now.unwrap_or_else(Instant::now);
        if let Some(now) = now {
            standing.joins(now);
        }
        if let Some(weight) = self.set_weight {
            standing.set_weight(weight, at);
        }
        if self.drained {
            standing.drain(at);
        }
        standing
    }
}

impl Deref for Members {
    type Target = [Standing];

    fn deref(&self) -> &[Standing] {
        &self.serving
    }
}

impl DerefMut for Members {
    fn deref_mut(&mut self) -> &mut [Standing] {
        &mut self.serving
    }
}
