//! What is kept for everybody: knows keys and responses; knows no ESI and no sockets.
//!
//! Three questions, three rooms of pure functions: may it be stored and shared ([`storable`], by its [`terms`]), how long is it
//! fresh ([`freshness`]), under which key ([`key`]). [`memory`] keeps what was found storable, [`coalesce`] lets many askers wait for
//! one fetch and read along while it arrives ([`filling`]), within the room that there is for what [arrives](arriving). By which labels a response can be purged is read in [`surrogate`]; [`epochs`]
//! makes purges cost nothing. [`Cache`] joins them.

pub mod arriving;
pub mod changes;
pub mod coalesce;
pub mod epochs;
pub mod filling;
pub mod freshness;
pub mod key;
pub mod memory;
pub mod object;
pub mod order;
pub mod storable;
pub mod surrogate;
pub mod terms;

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;

use crate::cache::arriving::{Arriving, Share};
use crate::cache::changes::Changes;
use crate::cache::coalesce::Flights;
use crate::cache::epochs::{Epoch, Epochs, Labels, Purged};
use crate::cache::freshness::Freshness;
use crate::cache::key::{Asker, CacheKey};
use crate::cache::memory::Memory;
use crate::cache::object::Object;
use crate::config::CacheConfig;

/// The store, its remembered refusals, its purges, and the fetches in flight.
pub struct Cache {
    memory: Memory,
    epochs: Epochs,
    flights: Flights,
    changes: Changes,
    arriving: Arriving,
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
    /// Past its freshness, and this asker may have it all the same while the origin is asked behind it.
    Stale(Arc<Object>),
    /// Past its freshness: the origin is to be asked first.
    Expired(Arc<Object>),
    /// Nothing that this asker may have.
    Miss(Missing),
    /// Nothing, and the answers were not shareable lately: it is of no use to wait for somebody else's.
    HitForMiss {
        /// Whether nobody was to keep the last one.
        no_store: bool,
    },
}

/// Why there is nothing for an asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing is stored for the URL.
    Url,
    /// Only variants for other requests are.
    Variant,
    /// What is stored is for those who take no cookie upstream.
    Asker,
}

/// What is to be purged.
#[derive(Debug, Clone, Copy)]
pub enum Purge<'a> {
    /// A URL with all its variants.
    Url(&'a CacheKey),
    /// Everything that has this surrogate key.
    Key(&'a str),
    /// Everything of this group, of the origin of the URL (RFC 9875).
    Group(&'a CacheKey, &'a str),
    /// Every URL that begins so: `/path` on every host, `host/path`, or `scheme://host/path`.
    Prefix(&'a str),
    /// Everything.
    All,
}

impl Cache {
    /// An empty cache by its configuration.
    pub fn new(config: &CacheConfig) -> Self {
        Self {
            memory: Memory::new(config.memory.as_u64()),
            epochs: Epochs::default(),
            flights: Flights::default(),
            changes: Changes::default(),
            arriving: Arriving::new(config.arriving.as_u64()),
            max_object: config.max_object.as_usize(),
        }
    }

    /// Largest body that is stored, in bytes.
    pub fn max_object(&self) -> usize {
        self.max_object
    }

    /// Room for an answer that is to be stored once it is whole.
    pub fn room(&self) -> Share {
        self.arriving.share()
    }

    /// The fetches in flight.
    pub fn flights(&self) -> &Flights {
        &self.flights
    }

    /// What tells those who remember a look-up whether it still holds.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Looks `key` up for a request that would go upstream so; `stale` says whether its user may be given what is stale.
    pub fn look_up(&self, key: &CacheKey, asker: Asker<'_>, stale: bool) -> Lookup {
        self.look_up_at(key, asker, stale, Instant::now())
    }

    /// The same for one who knows what time it is.
    pub fn look_up_at(
        &self,
        key: &CacheKey,
        asker: Asker<'_>,
        stale: bool,
        now: Instant,
    ) -> Lookup {
        match self.memory.get(key, asker, &self.epochs) {
            Ok(object) => match object.freshness(now) {
                Freshness::Fresh => Lookup::Hit(object),
                Freshness::WhileRevalidating if stale => Lookup::Stale(object),
                Freshness::WhileRevalidating | Freshness::Expired => Lookup::Expired(object),
            },
            Err(missing) => self.nothing(key, asker, missing, now),
        }
    }

    /// The same once more, for one who has looked already: that is no other visit where there is nothing.
    pub fn look_again(&self, key: &CacheKey, asker: Asker<'_>) -> Lookup {
        if self.memory.holds(key) {
            return self.look_up(key, asker, false);
        }
        self.nothing(key, asker, Missing::Url, Instant::now())
    }

    /// There is nothing for such a request; whether it is of use to wait for what another one brings.
    fn nothing(&self, key: &CacheKey, asker: Asker<'_>, missing: Missing, now: Instant) -> Lookup {
        match self.memory.is_marked(key, asker, now) {
            Some(no_store) => Lookup::HitForMiss { no_store },
            None => Lookup::Miss(missing),
        }
    }

    /// One number for what tells such a request from others under `key`, as far as it is known.
    pub fn variant(&self, key: &CacheKey, asker: Asker<'_>) -> u64 {
        self.memory.variant(key, asker)
    }

    /// The epoch of a fetch that begins now: purges from now on concern what it brings.
    pub fn begin(&self) -> Epoch {
        self.epochs.begin()
    }

    /// The labels by which a response to `key` can be purged.
    pub fn labels(&self, key: &CacheKey, response: &HeaderMap, begun: Epoch) -> Labels {
        self.epochs.label(&surrogate::labels(key, response), begun)
    }

    /// Stores an object, unless it was purged since its fetch began; what was remembered against its key is forgotten. Its
    /// labels come from [`labels`](Self::labels). `false`: it may be what was true before, and nobody who asks now may have it.
    pub fn store(&self, key: &CacheKey, object: &Arc<Object>) -> bool {
        let begun = object.labels().begun();
        let stored = self.memory.insert(key, object, begun, &self.epochs);
        self.changes.key(key);
        stored && self.is_current(key, object)
    }

    /// Whether nothing was purged since its fetch began that concerns an object.
    pub fn is_current(&self, key: &CacheKey, object: &Object) -> bool {
        self.purged(key, object) == Purged::Not
    }

    /// Whether an object was purged for good since its fetch began.
    pub fn is_gone(&self, key: &CacheKey, object: &Object) -> bool {
        self.purged(key, object) == Purged::Hard
    }

    fn purged(&self, key: &CacheKey, object: &Object) -> Purged {
        let labels = object.labels();
        let of_url = self.epochs.url_purged(key.url(), labels.begun());
        of_url.max(self.epochs.purged(key.as_str(), labels, &object.checked))
    }

    /// The answer to such a request was not shareable: for a while nobody waits for another one's, and what was stored for it
    /// is served no more.
    pub fn mark(&self, key: &CacheKey, asker: Asker<'_>, response: &HeaderMap) {
        self.memory.mark(key, asker, response);
        self.changes.key(key);
    }

    /// Purges; how many stored objects that hit, counted for a URL and a key, about for a prefix and all. A soft purge makes
    /// stale what a hard one takes away. Both hold against fetches under way.
    pub fn purge(&self, what: Purge<'_>, soft: bool) -> u64 {
        let purged = self.purge_now(what, soft);
        self.changes.purge();
        purged
    }

    fn purge_now(&self, what: Purge<'_>, soft: bool) -> u64 {
        match what {
            Purge::Url(key) => {
                self.epochs.purge_url(key.url(), soft);
                let with_cookies = surrogate::of_url(key.url());
                self.memory.purge(&key.bare(), soft, &self.epochs)
                    + self.epochs.purge_known_label(&with_cookies, soft)
            }
            Purge::Key(name) => self.epochs.purge_label(&surrogate::of_key(name), soft),
            Purge::Group(key, name) => {
                let group = surrogate::of_group(key, name);
                self.epochs.purge_label(&group, soft)
            }
            Purge::Prefix(prefix) => {
                let about = self.memory.estimate(prefix);
                self.epochs.purge_prefix(prefix, soft);
                about
            }
            Purge::All => {
                let about = self.memory.len();
                self.epochs.purge_all(soft);
                about
            }
        }
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
