//! The first tier: moka, weighed in bytes. Dull on purpose: what may come in and who may have it is decided elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::cache::key::CacheKey;
use crate::cache::object::{Object, has_credentials};

/// Variants of one key; the oldest gives way.
const MOST_VARIANTS: usize = 64;

/// What moka itself needs for an entry, about.
const ENTRY_OVERHEAD: usize = 160;

/// How long a key is remembered not to be shareable, and how many of them.
const MARKED_FOR: Duration = Duration::from_secs(120);
const MOST_MARKED: u64 = 100_000;

/// How long it is remembered when a key was forgotten: longer than a fetch that was on its way then can take.
const REMOVED_FOR: Duration = Duration::from_secs(600);

/// Stored objects by key, and keys whose answers were not shareable.
pub struct Memory {
    entries: Cache<CacheKey, Arc<Entry>>,
    marked: Cache<Marked, ()>,
    /// When a key was forgotten last.
    removed: Cache<CacheKey, tokio::time::Instant>,
    evictions: Arc<AtomicU64>,
}

/// The variants of one key, newest first.
struct Entry(Vec<Arc<Object>>);

/// A key as those see it who come with credentials, or without: a logged-in user's personal answers do not make guests stop
/// waiting for one another.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Marked(CacheKey, bool);

/// An entry goes when the last of its variants is stale.
struct UntilStale;

impl Expiry<CacheKey, Arc<Entry>> for UntilStale {
    fn expire_after_create(
        &self,
        _: &CacheKey,
        entry: &Arc<Entry>,
        _: Instant,
    ) -> Option<Duration> {
        entry.0.iter().map(|object| object.fresh_for()).max()
    }

    fn expire_after_update(
        &self,
        _: &CacheKey,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        entry.0.iter().map(|object| object.fresh_for()).max()
    }
}

impl Memory {
    /// Holds at most so many bytes.
    pub fn new(bytes: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&evictions);
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &CacheKey, entry: &Arc<Entry>| {
                let objects: usize = entry.0.iter().map(|object| object.weight()).sum();
                u32::try_from(key.weight() + objects + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
            })
            .expire_after(UntilStale)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        let marked = Cache::builder()
            .max_capacity(MOST_MARKED)
            .time_to_live(MARKED_FOR)
            .build();
        let removed = Cache::builder()
            .max_capacity(MOST_MARKED)
            .time_to_live(REMOVED_FOR)
            .build();
        Self {
            entries,
            marked,
            removed,
            evictions,
        }
    }

    /// The newest fresh object under `key` that such a request may have.
    pub fn get(&self, key: &CacheKey, request: &HeaderMap) -> Option<Arc<Object>> {
        let entry = self.entries.get(key)?;
        entry
            .0
            .iter()
            .find(|object| object.is_fresh() && object.is_for(request))
            .cloned()
    }

    /// Puts an object before the other variants of its key, in the place of those that it replaces.
    pub fn insert(&self, key: &CacheKey, object: &Arc<Object>) {
        self.entries.entry(key.clone()).and_upsert_with(|old| {
            let mut variants = vec![Arc::clone(object)];
            if let Some(old) = old {
                let kept = old
                    .into_value()
                    .0
                    .iter()
                    .filter(|other| other.is_fresh() && !object.replaces(other))
                    .cloned()
                    .collect::<Vec<_>>();
                variants.extend(kept.into_iter().take(MOST_VARIANTS - 1));
            }
            Arc::new(Entry(variants))
        });
        self.marked.invalidate(&Marked(key.clone(), false));
        self.marked.invalidate(&Marked(key.clone(), true));
    }

    /// Remembers that the answer to such a request was not shareable, and forgets what was stored for it.
    pub fn mark(&self, key: &CacheKey, request: &HeaderMap) {
        self.marked
            .insert(Marked(key.clone(), has_credentials(request)), ());
        if !self.entries.contains_key(key) {
            return;
        }
        self.entries.entry(key.clone()).and_compute_with(|old| {
            let Some(old) = old else {
                return moka::ops::compute::Op::Nop;
            };
            let kept: Vec<_> = old
                .into_value()
                .0
                .iter()
                .filter(|object| !object.is_for(request))
                .cloned()
                .collect();
            if kept.is_empty() {
                moka::ops::compute::Op::Remove
            } else {
                moka::ops::compute::Op::Put(Arc::new(Entry(kept)))
            }
        });
    }

    /// Whether the answer to such a request was not shareable lately.
    pub fn is_marked(&self, key: &CacheKey, request: &HeaderMap) -> bool {
        self.marked
            .contains_key(&Marked(key.clone(), has_credentials(request)))
    }

    /// Forgets a key with all its variants, and what fetches on their way will bring for it.
    pub fn remove(&self, key: &CacheKey) {
        self.removed
            .insert(key.clone(), tokio::time::Instant::now());
        self.entries.invalidate(key);
    }

    /// Puts an object in whose fetch began at `began`, unless its key was forgotten since then; says whether it is in.
    pub fn insert_unless_removed(
        &self,
        key: &CacheKey,
        object: &Arc<Object>,
        began: tokio::time::Instant,
    ) -> bool {
        self.insert(key, object);
        // Looked at after the insertion: whoever forgets the key from now on takes the object out too.
        let removed = self.removed.get(key).is_some_and(|at| at >= began);
        if removed {
            self.entries.invalidate(key);
        }
        !removed
    }

    /// Keys in store.
    pub fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }

    /// Whether nothing is in store.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in store, bookkeeping included.
    pub fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }

    /// Objects thrown out for room.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::storable::Grant;
    use bytes::Bytes;

    #[tokio::test(start_paused = true)]
    async fn a_fetch_from_before_its_key_was_forgotten_fills_nothing() {
        let memory = Memory::new(1 << 20);
        let key = CacheKey::new("http", "www.example.com", "/basket");
        let request = HeaderMap::new();
        let grant = Grant {
            vary: Vec::new(),
            lifetime: Duration::from_secs(60),
            age: Duration::ZERO,
            explicit: true,
        };
        let object = Object::new(
            http::StatusCode::OK,
            HeaderMap::new(),
            Bytes::from_static(b"before"),
            grant,
            &request,
        );
        let object = Arc::new(object);
        let before = tokio::time::Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        memory.remove(&key);
        assert!(!memory.insert_unless_removed(&key, &object, before));
        assert!(memory.get(&key, &request).is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        let after = tokio::time::Instant::now();
        assert!(memory.insert_unless_removed(&key, &object, after));
        assert!(memory.get(&key, &request).is_some());
    }
}
