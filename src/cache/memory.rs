//! The first tier: moka, weighed in bytes. Dull on purpose: what may come in and who may have it is decided elsewhere.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::VARY;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use tokio::time::Instant;

use crate::cache::Missing;
use crate::cache::epochs::{self, Epoch, Epochs, Purged};
use crate::cache::key::{Asker, CacheKey, Variant, VaryRule};
use crate::cache::object::Object;
use crate::message::cache_control::CacheControl;

/// Variants of one key; the oldest gives way.
const MOST_VARIANTS: usize = 64;

/// What moka itself needs for an entry (about 280 bytes, measured), and the counts and the list around an object.
const ENTRY_OVERHEAD: usize = 380;

/// How long what has a validator is kept to be asked for, beyond its use without.
const KEPT_FOR_VALIDATION: Duration = Duration::from_secs(86_400);

/// So long at most is known of what cannot be asked about that it must not be used any more: its origin's failure is told as 504 (RFC 9111
/// 5.2.2.2).
const KEPT_FOR_ITS_TERMS: Duration = Duration::from_secs(600);

/// How long a key is remembered not to be shareable, how many keys, and how many variants of one.
const MARKED_FOR: Duration = Duration::from_secs(120);
const MOST_MARKED: u64 = 100_000;
const MOST_MARKS: usize = 16;

/// Keys that are looked at to estimate what a prefix purges.
const SAMPLE: usize = 1000;

/// Stored objects by key, and keys whose answers were not shareable.
pub struct Memory {
    entries: Cache<CacheKey, Arc<Entry>>,
    marked: Cache<CacheKey, Arc<Vec<Mark>>>,
    evictions: Arc<AtomicU64>,
    /// Held by who inserts, one for many keys.
    inserting: [Mutex<()>; INSERTING],
    hasher: RandomState,
}

const INSERTING: usize = 64;

/// The variants of one key, newest first.
struct Entry(Vec<Arc<Object>>);

/// The answer to such requests was not shareable: to those who come with credentials, or without, so that a logged-in user's
/// personal answers do not make guests stop waiting for one another; and to those of one variant.
#[derive(PartialEq, Clone)]
struct Mark {
    credentials: bool,
    variant: Variant,
    at: Instant,
    /// Nobody is to keep it: it said `no-store`, or varies by what no request tells.
    no_store: bool,
}

impl Mark {
    fn concerns(&self, asker: Asker<'_>, now: Instant) -> bool {
        self.credentials == asker.has_credentials()
            && now.saturating_duration_since(self.at) < MARKED_FOR
            && self.variant.matches(asker.fields.all())
    }
}

fn varies_by_all(response: &HeaderMap) -> bool {
    let mut lines = response.get_all(VARY).iter();
    lines.any(|line| {
        let mut names = line.as_bytes().split(|byte| *byte == b',');
        names.any(|name| name.trim_ascii() == b"*")
    })
}

/// An entry goes when none of its variants is of use any more.
struct UntilUseless;

impl Entry {
    fn useful(&self) -> Option<Duration> {
        let useful = self.0.iter().map(|object| {
            let validation = if object.has_validator() {
                KEPT_FOR_VALIDATION
            } else if object.must_revalidate() {
                object.lifetime().min(KEPT_FOR_ITS_TERMS)
            } else {
                Duration::ZERO
            };
            object.useful() + validation
        });
        useful.max()
    }
}

impl Expiry<CacheKey, Arc<Entry>> for UntilUseless {
    fn expire_after_create(
        &self,
        _: &CacheKey,
        entry: &Arc<Entry>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        entry.useful()
    }

    fn expire_after_update(
        &self,
        _: &CacheKey,
        entry: &Arc<Entry>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        entry.useful()
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
            .expire_after(UntilUseless)
            .eviction_listener(move |_, entry: Arc<Entry>, cause| {
                // What was replaced may live on in its successor.
                if cause != RemovalCause::Replaced {
                    entry.0.iter().for_each(|object| object.labels().leave());
                }
                if cause == RemovalCause::Size {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        let marked = Cache::builder()
            .max_capacity(MOST_MARKED)
            .time_to_live(MARKED_FOR)
            .build();
        Self {
            entries,
            marked,
            evictions,
            inserting: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }

    /// Whether there is anything under a key; to ask that does not make it one that is asked for often.
    pub fn holds(&self, key: &CacheKey) -> bool {
        self.entries.contains_key(key)
    }

    /// The newest object under `key` that such a request may have, unless it was purged.
    pub fn get(
        &self,
        key: &CacheKey,
        asker: Asker<'_>,
        epochs: &Epochs,
    ) -> Result<Arc<Object>, Missing> {
        let entry = self.entries.get(key).ok_or(Missing::Url)?;
        let mut missing = Missing::Url;
        for object in &entry.0 {
            let fits = object.is_for(asker);
            // What fits not is looked at only to say why there is nothing.
            if !fits && missing != Missing::Url {
                continue;
            }
            match epochs.purged(key.as_str(), object.labels(), &object.checked) {
                Purged::Hard => continue,
                Purged::Soft => object.end(),
                Purged::Not => {}
            }
            if fits {
                return Ok(Arc::clone(object));
            }
            missing = if object.answers(asker) {
                Missing::Asker
            } else {
                Missing::Variant
            };
        }
        Err(missing)
    }

    /// Puts an object whose fetch began at `begun` before the other variants of its key, in the place of those that it
    /// replaces; not at all when its URL was purged since.
    pub fn insert(
        &self,
        key: &CacheKey,
        object: &Arc<Object>,
        begun: Epoch,
        epochs: &Epochs,
    ) -> bool {
        if Self::is_purged(key, object, begun, epochs) {
            return false;
        }
        object.labels().enter();
        self.add(key, object);
        self.marked.invalidate(key);
        // A purge that came between the question and the insertion has not found it.
        if Self::is_purged(key, object, begun, epochs) {
            self.purge(key, false, epochs);
            return false;
        }
        true
    }

    /// What is asked for often stays: each question counts, so that one visit must not count as several.
    fn add(&self, key: &CacheKey, object: &Arc<Object>) {
        let place = self.hasher.hash_one(key) as usize % INSERTING;
        let _alone = self.inserting[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !self.entries.contains_key(key) {
            let entry = Arc::new(Entry(vec![Arc::clone(object)]));
            return self.entries.insert(key.clone(), entry);
        }
        self.entries.entry(key.clone()).and_upsert_with(|old| {
            let mut variants = vec![Arc::clone(object)];
            if let Some(old) = old {
                let old = old.into_value();
                for other in &old.0 {
                    if object.replaces(other) || variants.len() >= MOST_VARIANTS {
                        other.labels().leave();
                    } else {
                        variants.push(Arc::clone(other));
                    }
                }
            }
            Arc::new(Entry(variants))
        });
    }

    fn is_purged(key: &CacheKey, object: &Object, begun: Epoch, epochs: &Epochs) -> bool {
        match epochs.url_purged(key.url(), begun) {
            Purged::Hard => true,
            Purged::Soft => {
                object.end();
                false
            }
            Purged::Not => false,
        }
    }

    /// Remembers that the answer to such a request was not shareable, and forgets what was stored for it.
    pub fn mark(&self, key: &CacheKey, asker: Asker<'_>, response: &HeaderMap) {
        let now = Instant::now();
        let mark = Mark {
            credentials: asker.has_credentials(),
            variant: Variant::of(&VaryRule::names(response), asker.fields.all()),
            at: now,
            no_store: CacheControl::read(response).no_store || varies_by_all(response),
        };
        self.marked.entry(key.clone()).and_upsert_with(|old| {
            let mut marks = vec![mark];
            if let Some(old) = old {
                let old = old.into_value();
                let kept = old.iter().filter(|mark| !mark.concerns(asker, now));
                marks.extend(kept.take(MOST_MARKS - 1).cloned());
            }
            Arc::new(marks)
        });
        self.forget(key, asker);
    }

    /// Forgets what was stored for such a request.
    fn forget(&self, key: &CacheKey, asker: Asker<'_>) {
        if !self.entries.contains_key(key) {
            return;
        }
        self.entries.entry(key.clone()).and_compute_with(|old| {
            let Some(old) = old else {
                return moka::ops::compute::Op::Nop;
            };
            let old = old.into_value();
            let (gone, kept): (Vec<_>, Vec<_>) = old
                .0
                .iter()
                .cloned()
                .partition(|object| object.is_for(asker));
            for object in gone {
                object.labels().leave();
            }
            if kept.is_empty() {
                moka::ops::compute::Op::Remove
            } else {
                moka::ops::compute::Op::Put(Arc::new(Entry(kept)))
            }
        });
    }

    /// Whether the answer to such a request was, `now`, not shareable lately; and then, whether nobody was to keep it.
    pub fn is_marked(&self, key: &CacheKey, asker: Asker<'_>, now: Instant) -> Option<bool> {
        let marks = self.marked.get(key)?;
        let mark = marks.iter().find(|mark| mark.concerns(asker, now))?;
        Some(mark.no_store)
    }

    /// One number for what tells such a request from others under `key`, as far as it is known from what is stored.
    pub fn variant(&self, key: &CacheKey, asker: Asker<'_>) -> u64 {
        if !self.holds(key) {
            return 0;
        }
        let Some(entry) = self.entries.get(key) else {
            return 0;
        };
        let Some(newest) = entry.0.first() else {
            return 0;
        };
        let names: Vec<_> = newest.vary().cloned().collect();
        if names.is_empty() {
            return 0;
        }
        Variant::of(&names, asker.fields.all()).digest()
    }

    /// Purges a key with all its variants; how many there were.
    pub fn purge(&self, key: &CacheKey, soft: bool, epochs: &Epochs) -> u64 {
        let Some(entry) = self.entries.get(key) else {
            return 0;
        };
        let live = entry.0.iter().filter(|object| {
            epochs.purged(key.as_str(), object.labels(), &object.checked) != Purged::Hard
        });
        let mut count = 0;
        for object in live {
            count += 1;
            if soft {
                object.end();
            }
        }
        if !soft {
            self.entries.invalidate(key);
            // The tier may keep what is gone for a while; it counts no more.
            entry.0.iter().for_each(|object| object.labels().leave());
        }
        count
    }

    /// About how many keys begin with `prefix`.
    pub fn estimate(&self, prefix: &str) -> u64 {
        let (mut seen, mut hit) = (0_u64, 0_u64);
        for (key, _) in self.entries.iter().take(SAMPLE) {
            seen += 1;
            hit += u64::from(epochs::begins(key.as_str(), prefix));
        }
        if seen == 0 {
            return 0;
        }
        hit * self.entries.entry_count().max(seen) / seen
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
    use crate::cache::epochs::Labels;
    use crate::cache::object::tests::{map, object_for};

    fn varied(value: &'static str) -> Object {
        object_for(
            &[("x-kind", value)],
            &[("cache-control", "max-age=60"), ("vary", "x-kind")],
            Labels::default(),
        )
    }

    #[test]
    fn a_key_has_so_many_variants_and_the_oldest_give_way() {
        let (memory, epochs) = (Memory::new(1 << 20), Epochs::default());
        let key = CacheKey::new("http", "a.example", "/");
        let values: Vec<&'static str> = (0..MOST_VARIANTS + 10)
            .map(|number| &*number.to_string().leak())
            .collect();
        for value in &values {
            memory.insert(&key, &Arc::new(varied(value)), Epoch::default(), &epochs);
        }
        let has = |value: &'static str| {
            let request = map(&[("x-kind", value)]);
            memory.get(&key, Asker::new(&request), &epochs).is_ok()
        };
        let kept: Vec<bool> = values.iter().map(|value| has(value)).collect();
        assert_eq!(kept.iter().filter(|kept| **kept).count(), MOST_VARIANTS);
        assert!(!kept[9] && kept[10] && kept[values.len() - 1]);
        let other = map(&[("x-kind", "other")]);
        let missing = memory.get(&key, Asker::new(&other), &epochs);
        assert_eq!(missing.err(), Some(Missing::Variant));
    }

    #[test]
    fn a_key_is_marked_for_so_many_variants() {
        let memory = Memory::new(1 << 20);
        let key = CacheKey::new("http", "a.example", "/");
        let response = map(&[("vary", "x-kind")]);
        let values: Vec<&'static str> = (0..MOST_MARKS + 5)
            .map(|number| &*number.to_string().leak())
            .collect();
        let request = |value: &'static str| map(&[("x-kind", value)]);
        for value in &values {
            memory.mark(&key, Asker::new(&request(value)), &response);
        }
        let is_marked = |fields: &HeaderMap| {
            memory
                .is_marked(&key, Asker::new(fields), Instant::now())
                .is_some()
        };
        let marked = |value: &&&'static str| is_marked(&request(value));
        assert_eq!(values.iter().filter(marked).count(), MOST_MARKS);
        // A user's personal answer marks the key for users alone.
        let user = map(&[("cookie", "a=1"), ("x-kind", "user")]);
        memory.mark(&key, Asker::new(&user), &response);
        assert!(is_marked(&user));
        assert!(!is_marked(&request("user")));
    }
}
