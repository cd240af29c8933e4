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
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;

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
    counts: Counts,
}

/// What has happened in the cache since the start.
#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    stores: AtomicU64,
    coalesced: AtomicU64,
    hit_for_miss: AtomicU64,
}

/// The counts and sizes at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatus {
    /// Served from store.
    pub hits: u64,
    /// Looked up in vain.
    pub misses: u64,
    /// Objects stored.
    pub stores: u64,
    /// Served by somebody else's fetch.
    pub coalesced: u64,
    /// Looked up, and remembered not to be shareable.
    pub hit_for_miss: u64,
    /// Objects thrown out for room.
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
            counts: Counts::default(),
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
        if let Some(object) = self.memory.get(key, request) {
            self.counts.hits.fetch_add(1, Ordering::Relaxed);
            return Lookup::Hit(object);
        }
        self.counts.misses.fetch_add(1, Ordering::Relaxed);
        if self.memory.is_marked(key, request) {
            self.counts.hit_for_miss.fetch_add(1, Ordering::Relaxed);
            Lookup::HitForMiss
        } else {
            Lookup::Miss
        }
    }

    /// Stores an object; what was remembered against its key is forgotten.
    pub fn store(&self, key: &CacheKey, object: &Arc<Object>) {
        self.counts.stores.fetch_add(1, Ordering::Relaxed);
        self.memory.insert(key, object);
    }

    /// The answer to such a request was not shareable: for a while nobody waits for another one's, and what was stored for it
    /// is served no more.
    pub fn mark(&self, key: &CacheKey, request: &HeaderMap) {
        self.memory.mark(key, request);
    }

    /// An asker was served by somebody else's fetch.
    pub fn count_coalesced(&self) {
        self.counts.coalesced.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets `key` with all its variants.
    pub fn remove(&self, key: &CacheKey) {
        self.memory.remove(key);
    }

    /// Counts and sizes.
    pub fn status(&self) -> CacheStatus {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheStatus {
            hits: read(&self.counts.hits),
            misses: read(&self.counts.misses),
            stores: read(&self.counts.stores),
            coalesced: read(&self.counts.coalesced),
            hit_for_miss: read(&self.counts.hit_for_miss),
            evictions: self.memory.evictions(),
            objects: self.memory.len(),
            bytes: self.memory.bytes(),
        }
    }
}
