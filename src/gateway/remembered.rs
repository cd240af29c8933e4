//! Which fragments were for everybody the last time, remembered beyond their bodies: the head of a page leaves before the
//! fragments that are fetched for it arrive, and what is known to be nobody's in particular need not make it `private`.
//!
//! What is remembered is a hint, and an application may change its mind. So no lifetime is ever promised by it (the page gets
//! `no-cache`), and it is asked for visitors alone who sent neither cookies nor `Authorization`: whatever comes, be it a document
//! whose includes go elsewhere, it holds no user's own. It is never asked for what was a document, nor while a key is known not to
//! be shareable.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderName;

use crate::cache::key::{Asker, CacheKey, Variant};
use crate::cache::object::Object;
use crate::gateway::page_head::PartPolicy;

/// Keys of one generation; when it is full it becomes the old one, and the old one is forgotten.
const GENERATION: usize = 32 * 1024;

/// Variants of one key, and fields by which it may vary, that are remembered.
const MOST_VARIANTS: usize = 8;
const MOST_FIELDS: usize = 8;

/// The memory: about 100 bytes a key, at most some ten megabytes.
#[derive(Default)]
pub struct Remembered {
    hasher: RandomState,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<u64, Known>,
    old: HashMap<u64, Known>,
}

/// What was for everybody under one key.
#[derive(Clone)]
struct Known {
    /// By which fields it varied.
    fields: Box<[HeaderName]>,
    /// For which values of them, newest first.
    variants: Vec<u64>,
}

impl Remembered {
    /// What a fragment that is being fetched may be expected to mean for the head of its page.
    pub fn expected(&self, key: &CacheKey, asker: Asker<'_>) -> Option<PartPolicy> {
        if asker.has_credentials() {
            return None;
        }
        let name = self.name(key);
        let generations = self.lock();
        let known = generations
            .young
            .get(&name)
            .or_else(|| generations.old.get(&name))?;
        let variant = Variant::of(&known.fields, asker.fields.all()).digest();
        known
            .variants
            .contains(&variant)
            .then(|| PartPolicy::expected(&known.fields))
    }

    /// A fragment was for everybody.
    pub fn shared(&self, key: &CacheKey, object: &Object) {
        let fields: Box<[HeaderName]> = object.vary().cloned().collect();
        if fields.len() > MOST_FIELDS {
            return;
        }
        let name = self.name(key);
        let variant = object.variant();
        let mut generations = self.lock();
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        let Generations { young, old } = &mut *generations;
        let known = young.entry(name).or_insert_with(|| {
            old.remove(&name).unwrap_or_else(|| Known {
                fields: fields.clone(),
                variants: Vec::new(),
            })
        });
        if known.fields != fields {
            // Under another `Vary` the old values mean nothing.
            *known = Known {
                fields,
                variants: Vec::new(),
            };
        }
        known.variants.retain(|other| *other != variant);
        known.variants.insert(0, variant);
        known.variants.truncate(MOST_VARIANTS);
    }

    /// A fragment was not for everybody, though it was asked for without credentials, or it is a document now.
    pub fn personal(&self, key: &CacheKey) {
        let name = self.name(key);
        let mut generations = self.lock();
        generations.young.remove(&name);
        generations.old.remove(&name);
    }

    /// A number for a key. Two keys with the same one would be taken for each other, which promises nothing that could harm.
    fn name(&self, key: &CacheKey) -> u64 {
        self.hasher.hash_one(key)
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::epochs::Labels;
    use crate::cache::object::tests::{map, object, object_for};

    fn key(number: usize) -> CacheKey {
        CacheKey::new("http", "a.example", &format!("/{number}"))
    }

    #[test]
    fn only_requests_without_credentials_expect_anything() {
        let remembered = Remembered::default();
        let guest = map(&[]);
        assert!(remembered.expected(&key(1), Asker::new(&guest)).is_none());
        remembered.shared(&key(1), &object(&[("cache-control", "public, max-age=60")]));
        assert!(remembered.expected(&key(1), Asker::new(&guest)).is_some());
        assert!(remembered.expected(&key(2), Asker::new(&guest)).is_none());
        for credentials in [[("cookie", "session=1")], [("authorization", "Basic YTpi")]] {
            let user = map(&credentials);
            assert!(remembered.expected(&key(1), Asker::new(&user)).is_none());
        }
        // Cookies that the key holds tell nothing more.
        let keyed = map(&[("cookie", "group=1")]);
        let keyed = Asker {
            fields: &keyed,
            keyed: true,
        };
        assert!(remembered.expected(&key(1), keyed).is_some());
        remembered.personal(&key(1));
        assert!(remembered.expected(&key(1), Asker::new(&guest)).is_none());
    }

    #[test]
    fn each_variant_is_known_for_itself_and_under_its_own_rule() {
        let remembered = Remembered::default();
        let stored = |language: &'static str, vary: &'static str| {
            object_for(
                &[("accept-language", language)],
                &[("cache-control", "max-age=60"), ("vary", vary)],
                Labels::default(),
            )
        };
        let expects = |language: &'static str| {
            let request = map(&[("accept-language", language)]);
            remembered.expected(&key(1), Asker::new(&request)).is_some()
        };
        remembered.shared(&key(1), &stored("de", "accept-language"));
        assert!(expects("de") && !expects("en"));
        remembered.shared(&key(1), &stored("en", "accept-language"));
        assert!(expects("de") && expects("en") && !expects("fr"));
        remembered.shared(&key(1), &stored("en", "accept-language, accept"));
        assert!(expects("en") && !expects("de"));
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let remembered = Remembered::default();
        let stored = object(&[("cache-control", "max-age=60")]);
        let guest = map(&[]);
        for number in 0..3 * GENERATION {
            remembered.shared(&key(number), &stored);
            if number % GENERATION == 0 {
                remembered.shared(&key(0), &stored);
            }
        }
        let generations = remembered.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
        drop(generations);
        let expects = |number| {
            remembered
                .expected(&key(number), Asker::new(&guest))
                .is_some()
        };
        assert!(expects(0) && !expects(1) && expects(3 * GENERATION - 1));
    }
}
