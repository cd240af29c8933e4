//! The latest pages, kept in memory for operators.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::observe::waterfall::Waterfall;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentLimits {
    /// Composed pages.
    pub composed: usize,
    /// Other answers; kept apart, so that images and style sheets do not push out the pages.
    pub others: usize,
    /// Bytes of all records of one of the two kinds.
    pub bytes: usize,
}

impl Default for RecentLimits {
    fn default() -> Self {
        Self {
            composed: 300,
            others: 100,
            bytes: 16 * 1024 * 1024,
        }
    }
}

/// Two rings of records: of composed pages and of all other answers.
#[derive(Debug)]
pub struct Recent {
    composed: Mutex<Ring>,
    others: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    /// Oldest first, each with its weight.
    pages: VecDeque<(Arc<Waterfall>, usize)>,
    weight: usize,
    most_pages: usize,
    most_bytes: usize,
}

impl Recent {
    /// Empty rings.
    pub fn new(limits: RecentLimits) -> Self {
        let ring = |most_pages| {
            Mutex::new(Ring {
                pages: VecDeque::new(),
                weight: 0,
                most_pages,
                most_bytes: limits.bytes,
            })
        };
        Self {
            composed: ring(limits.composed),
            others: ring(limits.others),
        }
    }

    /// Keeps a page; the oldest ones leave when there are too many.
    pub fn push(&self, page: Arc<Waterfall>) {
        let ring = if page.composed {
            &self.composed
        } else {
            &self.others
        };
        let left = ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(page);
        // Records are freed after the lock is given back.
        drop(left);
    }

    /// All that are kept, latest first.
    pub fn list(&self) -> Vec<Arc<Waterfall>> {
        let mut pages = Vec::new();
        for ring in [&self.composed, &self.others] {
            let ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
            pages.extend(ring.pages.iter().map(|(page, _)| page.clone()));
        }
        pages.sort_by_key(|page| std::cmp::Reverse(page.head.time));
        pages.iter().map(Waterfall::unfolded).collect()
    }

    /// The latest page with this id.
    pub fn find(&self, id: &str) -> Option<Arc<Waterfall>> {
        self.list()
            .into_iter()
            .find(|page| page.head.id.as_str() == id)
    }
}

impl Ring {
    /// Adds one and gives back those that had to leave.
    fn push(&mut self, page: Arc<Waterfall>) -> Vec<Arc<Waterfall>> {
        let weight = page.weight();
        self.weight += weight;
        self.pages.push_back((page, weight));
        let mut left = Vec::new();
        while self.pages.len() > self.most_pages || self.weight > self.most_bytes {
            let Some((page, weight)) = self.pages.pop_front() else {
                break;
            };
            self.weight -= weight;
            left.push(page);
        }
        left
    }
}
