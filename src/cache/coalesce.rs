//! One fetch in flight for a key; the others wait for it (RFC 9111 4, collapsed requests).
//!
//! The fetch is a task of its own: it goes on while anybody waits for it, and ends with the last of them. What it brings is
//! handed to those who wait only once it is known to be shareable, and each of them checks it against its own request; an answer that is
//! not goes to the one who asked first and to nobody else. Those who may have it read along while it arrives ([`Filling`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::cache::filling::Filling;
use crate::cache::key::{Asker, CacheKey};
use crate::cache::object::Object;

/// What became of a fetch, as far as it concerns those who wait.
#[derive(Clone)]
pub enum Landed {
    /// It may be shared; each waiter checks it against its own request.
    Shared(Arc<Object>),
    /// It may be shared and still arrives; each waiter checks its head against its own request.
    Filling(Weak<Filling>),
    /// It is its asker's alone: the waiters ask for themselves, all at once.
    Personal,
    /// It failed, or nobody was left: the next may lead.
    Failed,
}

/// The fetches in flight, by key and, where it is known by what a response varies, by variant. Those with credentials and those
/// without do not wait for one another.
#[derive(Default)]
pub struct Flights(Mutex<HashMap<FlightKey, Flight>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FlightKey(CacheKey, bool, u64);

struct Flight {
    interest: Weak<Interest>,
    landed: watch::Receiver<Option<Landed>>,
}

/// Somebody wants the answer. When the last one has gone, the fetch is ended.
#[derive(Default)]
pub struct Interest(OnceLock<AbortHandle>);

impl Interest {
    /// Names the task that ends with the interest in it.
    pub fn ends(&self, task: AbortHandle) {
        // It is called once, by whoever leads.
        let _ = self.0.set(task);
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        if let Some(task) = self.0.get() {
            task.abort();
        }
    }
}

/// What one who asks becomes.
pub enum Role {
    /// Nobody fetches it yet: fetch it, and tell through the [`Lead`].
    Leader(Lead, Arc<Interest>),
    /// Somebody does: wait.
    Waiter(Wait),
}

/// The duty to tell those who wait. Dropped without a word, it tells them that it failed.
pub struct Lead {
    flights: Arc<crate::cache::Cache>,
    key: FlightKey,
    teller: watch::Sender<Option<Landed>>,
}

/// A place among those who wait.
pub struct Wait {
    landed: watch::Receiver<Option<Landed>>,
    _interest: Option<Arc<Interest>>,
}

/// Joins the fetch of `key`, or becomes the one who makes it.
pub fn join(cache: &Arc<crate::cache::Cache>, key: &CacheKey, asker: Asker<'_>) -> Role {
    let variant = cache.variant(key, asker);
    let key = FlightKey(key.clone(), asker.has_credentials(), variant);
    let mut flights = cache.flights().lock();
    if let Entry::Occupied(entry) = flights.entry(key.clone()) {
        let flight = entry.get();
        let interest = flight.interest.upgrade();
        // Its first asker has what it wanted; the rest may still read along.
        let arrives = match &*flight.landed.borrow() {
            Some(Landed::Filling(filling)) => filling.strong_count() > 0,
            _ => false,
        };
        if interest.is_some() || arrives {
            return Role::Waiter(Wait {
                landed: flight.landed.clone(),
                _interest: interest,
            });
        }
    }
    let (teller, landed) = watch::channel(None);
    let interest = Arc::new(Interest::default());
    flights.insert(
        key.clone(),
        Flight {
            interest: Arc::downgrade(&interest),
            landed,
        },
    );
    Role::Leader(
        Lead {
            flights: Arc::clone(cache),
            key,
            teller,
        },
        interest,
    )
}

impl Flights {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<FlightKey, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// It is shareable and arrives: those who wait, and those who still come, may read along. The fetch stays on the table
    /// until it has [landed](Self::land), or until this is dropped.
    pub fn arrives(&self, filling: &Arc<Filling>) {
        self.teller
            .send_replace(Some(Landed::Filling(Arc::downgrade(filling))));
    }

    /// Tells those who wait; from now on the next one who asks leads anew.
    pub fn land(self, landed: Landed) {
        self.leave();
        self.teller.send_replace(Some(landed));
    }

    /// Takes this flight, and no later one of the same key, off the table.
    fn leave(&self) {
        let mut flights = self.flights.flights().lock();
        if flights
            .get(&self.key)
            .is_some_and(|flight| flight.landed.same_channel(&self.teller.subscribe()))
        {
            flights.remove(&self.key);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Wait {
    /// What became of the fetch.
    pub async fn landed(mut self) -> Landed {
        match self.landed.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().unwrap_or(Landed::Failed),
            Err(_) => Landed::Failed,
        }
    }
}
