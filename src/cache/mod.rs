//! What is kept for everybody: knows keys and responses; knows no ESI and no sockets.
//!
//! Three questions, three rooms of pure functions: may it be stored and shared ([`storable`]), how long is it fresh
//! ([`freshness`]), under which key ([`key`]). [`memory`] keeps what was found storable, [`coalesce`] lets many askers wait for
//! one fetch. [`Cache`] joins them.

pub mod coalesce;
pub mod freshness;
pub mod key;
pub mod memory;
pub mod object;
pub mod storable;

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;

use crate::cache::coalesce::Flights;
use crate::cache::key::CacheKey;
use crate::cache::memory::Memory;
use crate::cache::object::Object;
use crate::config::CacheConfig;

/// The store, its remembered refusals, and the fetches in flight.
pub struct Cache {
    memory: Memory,
    flights: Flights,
    /// Largest body that is stored, in bytes.
    max_object: usize,
}

/// Sizes at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatus {
    /// Objects thrown out for room since the start.
    pub evictions: u64,
    /// Keys in store.
    pub objects: u64,
    /// Bytes in store, bookkeeping included.
    pub bytes: u64,
}

/// What a look-up found.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// Fresh, and this asker may have it.
    Hit(Arc<Object>),
    /// Nothing that this asker may have.
    Miss,
    /// Nothing, and the answers were not shareable lately: it is of no use to wait for somebody else's.
    HitForMiss,
}

impl Cache {
    /// An empty cache by its configuration.
    pub fn new(config: &CacheConfig) -> Self {
        Self {
            memory: Memory::new(config.memory.as_u64()),
            flights: Flights::default(),
            max_object: config.max_object.as_usize(),
        }
    }

    /// Largest body that is stored, in bytes.
    pub fn max_object(&self) -> usize {
        self.max_object
    }

    /// The fetches in flight.
    pub fn flights(&self) -> &Flights {
        &self.flights
    }

    /// Looks `key` up for a request that would go upstream with these fields.
    pub fn look_up(&self, key: &CacheKey, request: &HeaderMap) -> Lookup {
        match self.memory.get(key, request) {
            Some(object) => Lookup::Hit(object),
            None if self.memory.is_marked(key, request) => Lookup::HitForMiss,
            None => Lookup::Miss,
        }
    }

    /// Stores an object whose fetch began at `began`; what was remembered against its key is forgotten. Where the key was forgotten
    /// since then, the object may be what was true before, and is not stored: that is what `false` says.
    pub fn store(&self, key: &CacheKey, object: &Arc<Object>, began: Instant) -> bool {
        self.memory.insert_unless_removed(key, object, began)
    }

    /// The answer to such a request was not shareable: for a while nobody waits for another one's, and what was stored for it
    /// is served no more.
    pub fn mark(&self, key: &CacheKey, request: &HeaderMap) {
        self.memory.mark(key, request);
    }

    /// Forgets `key` with all its variants.
    pub fn remove(&self, key: &CacheKey) {
        self.memory.remove(key);
    }

    /// Sizes.
    pub fn status(&self) -> CacheStatus {
        CacheStatus {
            evictions: self.memory.evictions(),
            objects: self.memory.len(),
            bytes: self.memory.bytes(),
        }
    }
}
