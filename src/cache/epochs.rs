//! Purges as epochs: what is purged costs nothing to purge, and everything is compared when it is looked up.
//!
//! Each fetch notes the epoch at which it began. A purge begins a new epoch and writes it beside what it names: a label, a
//! prefix, everything. An object whose fetch began before that is purged (hard: gone; soft: stale), also when it is
//! stored only afterwards. Epochs that would be forgotten for room raise a floor instead, so that forgetting never revives.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Prefixes that look-ups compare; when there are more, the oldest purges everything that is as old as it.
const MOST_PREFIXES: usize = 256;

/// URLs whose purge is remembered for fetches under way; when there are more, such fetches are not stored.
const MOST_URLS: usize = 16 * 1024;

/// Labels beyond those in use, before unused ones are swept out.
const SPARE_LABELS: usize = 4096;

/// When a fetch began, or a purge was made. Later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Epoch(u64);

/// What purges make of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purged {
    /// Nothing.
    Not,
    /// It is stale.
    Soft,
    /// It is gone.
    Hard,
}

/// The latest purges of one name.
#[derive(Debug, Default)]
struct Marks {
    hard: AtomicU64,
    soft: AtomicU64,
}

impl Marks {
    fn raise(&self, epoch: u64, soft: bool) {
        let mark = if soft { &self.soft } else { &self.hard };
        mark.fetch_max(epoch, Ordering::SeqCst);
    }

    fn of(&self, begun: Epoch) -> Purged {
        if self.hard.load(Ordering::Acquire) > begun.0 {
            Purged::Hard
        } else if self.soft.load(Ordering::Acquire) > begun.0 {
            Purged::Soft
        } else {
            Purged::Not
        }
    }

    fn latest(&self) -> u64 {
        self.hard
            .load(Ordering::Acquire)
            .max(self.soft.load(Ordering::Acquire))
    }
}

/// A name that objects share, with a count of those that a purge of it would hit.
#[derive(Debug, Default)]
pub struct Label {
    marks: Marks,
    objects: Mutex<u64>,
}

/// An object's labels. While it is in store it counts for each of them.
#[derive(Debug, Default)]
pub struct Labels {
    all: Box<[Arc<Label>]>,
    begun: Epoch,
    /// Whether it counts.
    counts: AtomicBool,
}

impl Labels {
    /// What purges of these labels make of the object.
    fn purged(&self) -> Purged {
        let each = self.all.iter().map(|label| label.marks.of(self.begun));
        each.max().unwrap_or(Purged::Not)
    }

    /// When the fetch of the object began.
    pub fn begun(&self) -> Epoch {
        self.begun
    }

    /// Bytes of the list.
    pub fn weight(&self) -> usize {
        self.all.len() * size_of::<Arc<Label>>()
    }
}

impl Labels {
    /// The object is in store.
    pub fn enter(&self) {
        if !self.counts.swap(true, Ordering::SeqCst) {
            self.count(|objects| objects + 1);
        }
    }

    /// The object is in store no more.
    pub fn leave(&self) {
        if self.counts.swap(false, Ordering::SeqCst) {
            self.count(|objects| objects.saturating_sub(1));
        }
    }

    fn count(&self, change: impl Fn(u64) -> u64) {
        for label in &self.all {
            let mut objects = lock(&label.objects);
            // A hard purge has counted it out already.
            if label.marks.hard.load(Ordering::Acquire) <= self.begun.0 {
                *objects = change(*objects);
            }
        }
    }
}

impl Drop for Labels {
    fn drop(&mut self) {
        self.leave();
    }
}

/// All purges so far.
#[derive(Debug, Default)]
pub struct Epochs {
    now: AtomicU64,
    /// Everything.
    all: Marks,
    /// The epoch of the newest prefix.
    prefixed: AtomicU64,
    /// Oldest first.
    prefixes: Mutex<Vec<Prefix>>,
    labels: Mutex<Table>,
    urls: Mutex<HashMap<Box<str>, (u64, bool)>>,
    /// Fetches that began before this are not stored: a purge that might concern them has been forgotten.
    floor: AtomicU64,
}

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    epoch: u64,
    soft: bool,
}

#[derive(Debug, Default)]
struct Table {
    labels: HashMap<Box<str>, Arc<Label>>,
    /// How many labels may stand before unused ones are swept out.
    most: usize,
}

impl Epochs {
    /// The epoch of a fetch that begins now.
    pub fn begin(&self) -> Epoch {
        Epoch(self.now.load(Ordering::SeqCst))
    }

    fn next(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Labels an object whose fetch began at `begun`.
    pub fn label(&self, names: &[String], begun: Epoch) -> Labels {
        if names.is_empty() {
            return Labels {
                all: Box::default(),
                begun,
                counts: AtomicBool::new(false),
            };
        }
        let mut table = lock(&self.labels);
        self.sweep(&mut table);
        let label =
            |name: &String| Arc::clone(table.labels.entry(name.as_str().into()).or_default());
        Labels {
            all: names.iter().map(label).collect(),
            begun,
            counts: AtomicBool::new(false),
        }
    }

    /// Drops labels that no object has; their purges stay true for fetches under way through the floor.
    fn sweep(&self, table: &mut Table) {
        if table.labels.len() < table.most.max(SPARE_LABELS) {
            return;
        }
        table.labels.retain(|_, label| {
            let used = Arc::strong_count(label) > 1;
            if !used {
                self.floor.fetch_max(label.marks.latest(), Ordering::SeqCst);
            }
            used
        });
        table.most = table.labels.len() * 2;
    }

    /// Purges what has this label; how many objects that were.
    pub fn purge_label(&self, name: &str, soft: bool) -> u64 {
        let mut table = lock(&self.labels);
        self.sweep(&mut table);
        let label = table.labels.entry(name.into()).or_default();
        let mut objects = lock(&label.objects);
        label.marks.raise(self.next(), soft);
        if soft {
            *objects
        } else {
            std::mem::take(&mut *objects)
        }
    }

    /// The same for a label that objects have; one that none has is left alone, because its fetches under way are told
    /// otherwise.
    pub fn purge_known_label(&self, name: &str, soft: bool) -> u64 {
        let known = lock(&self.labels).labels.contains_key(name);
        if known {
            self.purge_label(name, soft)
        } else {
            0
        }
    }

    /// Purges everything.
    pub fn purge_all(&self, soft: bool) {
        self.all.raise(self.next(), soft);
    }

    /// Purges the URLs that begin with `text`: `/path` on every host, or `host/path`, or `scheme://host/path`.
    pub fn purge_prefix(&self, text: &str, soft: bool) {
        let mut prefixes = lock(&self.prefixes);
        let epoch = self.next();
        // What begins with the new prefix and is no harder is said by it already.
        prefixes.retain(|known| !(known.text.starts_with(text) && (!soft || known.soft)));
        if prefixes.len() >= MOST_PREFIXES {
            let oldest = prefixes.remove(0);
            self.all.raise(oldest.epoch, false);
        }
        prefixes.push(Prefix {
            text: text.into(),
            epoch,
            soft,
        });
        self.prefixed.store(epoch, Ordering::SeqCst);
    }

    /// Remembers for fetches under way that a URL was purged.
    pub fn purge_url(&self, url: &str, soft: bool) {
        let mut urls = lock(&self.urls);
        if urls.len() >= MOST_URLS {
            urls.clear();
            self.floor
                .fetch_max(self.now.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        let epoch = self.next();
        let entry = urls.entry(url.into()).or_insert((epoch, soft));
        // A soft purge after a hard one does not soften that.
        entry.1 = soft && entry.1;
        entry.0 = epoch;
    }

    /// What the purge of its URL makes of an answer whose fetch began at `begun`.
    pub fn url_purged(&self, url: &str, begun: Epoch) -> Purged {
        if self.floor.load(Ordering::SeqCst) > begun.0 {
            return Purged::Hard;
        }
        match lock(&self.urls).get(url) {
            Some((epoch, soft)) if *epoch > begun.0 => {
                if *soft {
                    Purged::Soft
                } else {
                    Purged::Hard
                }
            }
            _ => Purged::Not,
        }
    }

    /// What purges by label, prefix and of everything make of an object under `url`. `checked` remembers up to which prefix it
    /// has been compared.
    pub fn purged(&self, url: &str, labels: &Labels, checked: &AtomicU64) -> Purged {
        let mut worst = self.all.of(labels.begun).max(labels.purged());
        let newest = self.prefixed.load(Ordering::Acquire);
        let seen = checked.load(Ordering::Relaxed);
        if newest > labels.begun.0 && newest > seen && worst < Purged::Hard {
            let prefixes = lock(&self.prefixes);
            let newer = prefixes
                .iter()
                .rev()
                .take_while(|prefix| prefix.epoch > labels.begun.0.max(seen));
            for prefix in newer.filter(|prefix| begins(url, &prefix.text)) {
                worst = worst.max(if prefix.soft {
                    Purged::Soft
                } else {
                    Purged::Hard
                });
            }
            // Only what was found untouched need not be compared again.
            if worst == Purged::Not {
                checked.fetch_max(newest, Ordering::Relaxed);
            }
        }
        worst
    }
}

/// Whether a key's URL begins with a prefix.
pub fn begins(url: &str, prefix: &str) -> bool {
    if prefix.contains("://") {
        return url.starts_with(prefix);
    }
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    if prefix.starts_with('/') {
        let path = after_scheme.find('/').map_or("", |at| &after_scheme[at..]);
        return path.starts_with(prefix);
    }
    after_scheme.starts_with(prefix)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://a.example/shop/1";

    fn purged(epochs: &Epochs, labels: &Labels) -> Purged {
        epochs.purged(URL, labels, &AtomicU64::new(0))
    }

    fn named(epochs: &Epochs, begun: Epoch) -> Labels {
        epochs.label(&["ka".to_owned(), "kb".to_owned()], begun)
    }

    #[test]
    fn a_purge_hits_what_began_before_it_and_nothing_else() {
        type Purge = fn(&Epochs, bool);
        let rows: &[(&str, Purge, bool)] = &[
            (
                "label",
                |epochs, soft| {
                    epochs.purge_label("kb", soft);
                },
                true,
            ),
            (
                "other label",
                |epochs, soft| {
                    epochs.purge_label("kc", soft);
                },
                false,
            ),
            ("all", |epochs, soft| epochs.purge_all(soft), true),
            (
                "path",
                |epochs, soft| epochs.purge_prefix("/shop/", soft),
                true,
            ),
            (
                "host and path",
                |epochs, soft| epochs.purge_prefix("a.example/sh", soft),
                true,
            ),
            (
                "scheme",
                |epochs, soft| epochs.purge_prefix("http://a.example/", soft),
                true,
            ),
            (
                "other scheme",
                |epochs, soft| epochs.purge_prefix("https://a.example/", soft),
                false,
            ),
            (
                "other path",
                |epochs, soft| epochs.purge_prefix("/shops", soft),
                false,
            ),
        ];
        for (name, purge, hits) in rows {
            for soft in [false, true] {
                let epochs = Epochs::default();
                let stored = named(&epochs, epochs.begin());
                let under_way = epochs.begin();
                purge(&epochs, soft);
                let wanted = match (hits, soft) {
                    (false, _) => Purged::Not,
                    (true, true) => Purged::Soft,
                    (true, false) => Purged::Hard,
                };
                assert_eq!(purged(&epochs, &stored), wanted, "{name} {soft}");
                assert_eq!(
                    purged(&epochs, &named(&epochs, under_way)),
                    wanted,
                    "{name} {soft}"
                );
                let later = named(&epochs, epochs.begin());
                assert_eq!(purged(&epochs, &later), Purged::Not, "{name} {soft}");
            }
        }
    }

    #[test]
    fn a_label_counts_the_objects_that_a_purge_of_it_hits() {
        let epochs = Epochs::default();
        let stored = || {
            let labels = named(&epochs, epochs.begin());
            labels.enter();
            labels
        };
        let first = stored();
        let second = stored();
        let arriving = named(&epochs, epochs.begin());
        assert_eq!(epochs.purge_label("ka", true), 2);
        drop(arriving);
        first.leave();
        drop(first);
        assert_eq!(epochs.purge_label("ka", false), 1);
        assert_eq!(epochs.purge_label("ka", false), 0);
        let third = stored();
        drop(second);
        assert_eq!(epochs.purge_label("ka", false), 1);
        third.leave();
        drop(third);
        assert_eq!(epochs.purge_label("kb", false), 0);
    }

    #[test]
    fn a_purge_before_its_label_is_known_holds() {
        let epochs = Epochs::default();
        let begun = epochs.begin();
        epochs.purge_label("ka", false);
        assert_eq!(purged(&epochs, &named(&epochs, begun)), Purged::Hard);
    }

    #[test]
    fn what_is_forgotten_revives_nothing() {
        let epochs = Epochs::default();
        let begun = epochs.begin();
        epochs.purge_label("ka", false);
        for number in 0..2 * SPARE_LABELS {
            epochs.purge_label(&format!("k{number}"), false);
        }
        assert_eq!(epochs.url_purged(URL, begun), Purged::Hard);

        let epochs = Epochs::default();
        let stored = named(&epochs, epochs.begin());
        epochs.purge_prefix("/shop", false);
        for number in 0..MOST_PREFIXES {
            epochs.purge_prefix(&format!("/other/{number}/"), false);
        }
        assert_eq!(purged(&epochs, &stored), Purged::Hard);

        let epochs = Epochs::default();
        let begun = epochs.begin();
        epochs.purge_url(URL, false);
        for number in 0..MOST_URLS {
            epochs.purge_url(&format!("http://a.example/{number}"), false);
        }
        assert_eq!(epochs.url_purged(URL, begun), Purged::Hard);
        assert_eq!(epochs.url_purged(URL, epochs.begin()), Purged::Not);
    }

    #[test]
    fn a_soft_purge_does_not_soften_a_hard_one() {
        let epochs = Epochs::default();
        let begun = epochs.begin();
        epochs.purge_url(URL, false);
        epochs.purge_url(URL, true);
        assert_eq!(epochs.url_purged(URL, begun), Purged::Hard);
        let stored = named(&epochs, begun);
        epochs.purge_prefix("/shop/1", false);
        epochs.purge_prefix("/shop/", true);
        assert_eq!(purged(&epochs, &stored), Purged::Hard);
    }

    #[test]
    fn a_prefix_is_compared_once() {
        let epochs = Epochs::default();
        let stored = named(&epochs, epochs.begin());
        let checked = AtomicU64::new(0);
        epochs.purge_prefix("/elsewhere", false);
        assert_eq!(epochs.purged(URL, &stored, &checked), Purged::Not);
        assert_eq!(checked.load(Ordering::Relaxed), epochs.begin().0);
        epochs.purge_prefix("/shop", true);
        assert_eq!(epochs.purged(URL, &stored, &checked), Purged::Soft);
    }
}
