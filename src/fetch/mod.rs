//! One door for skeletons and fragments: a request goes in, a response comes out, from the cache or from an upstream.
//!
//! Here cache and upstream are joined, and nowhere else. This file tells which way a request takes; `bring` goes to the
//! upstream and stores what may be stored; [`validate`] asks whether what is stored is still good; [`invalidate`] takes out what a
//! request has changed. What a body means is not known here: [`Prepare`] makes of it what is to be kept with the stored object.

mod bring;
pub mod error;
pub mod gather;
pub mod invalidate;
pub mod validate;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cache::coalesce::{self, Interest, Landed, Lead, Role, Wait};
use crate::cache::filling::Filling;
use crate::cache::freshness::Defaults;
use crate::cache::key::{Asker, CacheKey, Fields};
use crate::cache::object::{Attachment, Object};
use crate::cache::storable::Reason;
use crate::cache::{Cache, Lookup, Missing};
use crate::fetch::error::FetchError;
use crate::message::cache_control::RequestControl;
use crate::message::deadline::Deadline;
use crate::message::outgoing::OutgoingRequest;
use crate::message::{Body, Response};
use crate::observe::Observer;
use crate::observe::outcome::{CacheUse, Why};
use crate::observe::span::Notes;
use crate::upstream::Upstream;

/// How often an asker joins a fetch that then fails, before it fetches for itself.
const JOINS: usize = 3;

/// Makes something of a body before it is stored, to be found again with it.
pub trait Prepare: Send + Sync + 'static {
    /// What is kept with the object; `None` when there is nothing to keep.
    fn prepare(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &bytes::Bytes,
    ) -> Option<Attachment>;

    /// Whether everybody who asks for such a response wants to have it whole.
    fn wants_whole(&self, status: StatusCode, headers: &HeaderMap) -> bool;
}

/// What is asked for.
pub struct Ask {
    /// Names the stored response.
    pub key: CacheKey,
    /// As it goes upstream.
    pub request: OutgoingRequest,
    /// Who answers what the cache cannot.
    pub upstream: Arc<Upstream>,
    /// How the cache may be used.
    pub policy: Policy,
    /// A lifetime in place of the response's own.
    pub ttl: Option<Duration>,
    /// When it is too late.
    pub deadline: Deadline,
    /// What is made of a body that is stored.
    pub prepare: Arc<dyn Prepare>,
    /// Where the fetch's times are told.
    pub notes: Notes,
}

/// How the cache may be used for one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// It may be read and written at all.
    pub cacheable: bool,
    /// Every cookie that goes upstream is part of the key.
    pub keyed: bool,
    /// The user may be given what is stale.
    pub stale: bool,
    /// The asker can use the body only when all of it is there.
    pub whole: bool,
    /// What the route gives responses that do not say for themselves.
    pub defaults: Defaults,
    /// What the client asks of caches, where that is heeded.
    pub control: RequestControl,
}

impl Ask {
    /// The request as the cache judges it.
    pub fn asker(&self) -> Asker<'_> {
        Asker {
            fields: &*self.request.fields,
            keyed: self.policy.keyed,
        }
    }
}

/// What was found.
#[derive(Debug)]
pub enum Fetched {
    /// A stored object, just now or before.
    Stored(Arc<Object>, CacheUse),
    /// An answer whose body is on its way.
    Streamed(Streamed),
}

/// An answer on its way: this asker's alone, or one that is stored as it arrives.
#[derive(Debug)]
pub struct Streamed {
    /// Hop-by-hop fields are gone.
    pub response: Response,
    /// What the store had to do with it.
    pub cache: CacheUse,
    /// Why it is not shared; `None` when it could be.
    pub personal: Option<Reason>,
    /// When its head came.
    pub came: SystemTime,
    /// Its terms, where it is being stored.
    pub stored: Option<Arc<Object>>,
}

/// Fetches.
#[derive(Clone)]
pub struct Fetcher {
    cache: Arc<Cache>,
    observer: Observer,
}

impl Fetcher {
    /// Fetches through this cache, and tells the observer how often it helped.
    pub fn new(cache: Arc<Cache>, observer: Observer) -> Self {
        Self { cache, observer }
    }

    /// The cache.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Who hears of what is fetched.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// What is at hand `now` for a GET with these fields, without waiting.
    pub fn at_hand(
        &self,
        key: &CacheKey,
        fields: &dyn Fields,
        policy: Policy,
        now: Instant,
    ) -> Lookup {
        let asker = Asker {
            fields,
            keyed: policy.keyed,
        };
        let found = self.cache.look_up_at(key, asker, policy.stale, now);
        let found = heeded(found, policy.control);
        match found {
            Lookup::Hit(_) => self.observer.cache().used(CacheUse::Hit),
            Lookup::Stale(_) => self.observer.cache().used(CacheUse::Stale),
            _ => {}
        }
        found
    }

    /// Fetches from the cache, or from the upstream.
    ///
    /// Dropping the future ends the fetch, unless others wait for it.
    ///
    /// # Errors
    /// [`FetchError`], after the retries that the upstream allows.
    pub async fn fetch(&self, ask: Ask) -> Result<Fetched, FetchError> {
        let found = may_look_up(&ask)
            .then(|| self.at_hand(&ask.key, &*ask.request.fields, ask.policy, Instant::now()));
        self.fetch_after(ask, found).await
    }

    /// The same when the cache has been looked up already ([`at_hand`](Self::at_hand)).
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    #[expect(
        clippy::manual_async_fn,
        reason = "a function keeps its arguments twice"
    )]
    pub fn fetch_after(
        &self,
        ask: Ask,
        found: Option<Lookup>,
    ) -> impl Future<Output = Result<Fetched, FetchError>> + Send {
        async move {
            match found {
                Some(Lookup::Hit(object)) => {
                    ask.notes.cache(CacheUse::Hit);
                    Ok(Fetched::Stored(object, CacheUse::Hit))
                }
                Some(Lookup::Stale(object)) => {
                    ask.notes.cache(CacheUse::Stale);
                    self.refresh(ask);
                    Ok(Fetched::Stored(object, CacheUse::Stale))
                }
                _ if ask.policy.control.only_if_cached => Err(FetchError::NotCached),
                // What a hit does not need is not carried through it.
                found => Box::pin(self.fetch_anew(ask, found)).await,
            }
        }
    }

    /// By way of the upstream, or of somebody else's fetch.
    #[expect(
        clippy::manual_async_fn,
        reason = "a function keeps its arguments twice"
    )]
    fn fetch_anew(
        &self,
        ask: Ask,
        found: Option<Lookup>,
    ) -> impl Future<Output = Result<Fetched, FetchError>> + Send {
        async move {
            let used = match found {
                // Boxed, so that what is one user's alone does not carry them along.
                Some(Lookup::Expired(object)) => return Box::pin(self.renewed(ask, object)).await,
                Some(Lookup::Miss(missing)) if may_lead(&ask.request) => {
                    let joined = self.coalesced(unconditional(ask), None, why(missing));
                    return Box::pin(joined).await;
                }
                Some(Lookup::Miss(missing)) => CacheUse::Miss(why(missing)),
                Some(Lookup::HitForMiss { .. }) => CacheUse::HitForMiss,
                _ => CacheUse::Pass,
            };
            self.bring(ask, used, None, None).await
        }
    }

    /// Asks the upstream about what is stored and past its freshness; serves it all the same where the upstream fails and its
    /// terms allow (RFC 5861 4).
    async fn renewed(&self, ask: Ask, object: Arc<Object>) -> Result<Fetched, FetchError> {
        let may_cover = ask.policy.stale;
        let why = if object.is_fresh() {
            Why::Request
        } else {
            Why::Stale
        };
        let notes = ask.notes.clone();
        let deadline = if may_cover && object.covers_errors() {
            // Some of the time is kept, so that what is stored can still be given when the upstream is too late.
            ask.deadline.within(ask.deadline.left().mul_f32(0.95))
        } else {
            ask.deadline
        };
        let stored = Arc::clone(&object);
        let fetching = async {
            if !validate::is_plain(&ask.request) {
                return self
                    .bring(ask, CacheUse::Miss(why), None, Some(stored))
                    .await;
            }
            let leads = may_lead(&ask.request);
            let ask = unconditional(ask);
            if object.is_asked_always() || !leads {
                // Nobody may have what this asking brings, so nobody waits for it.
                return self
                    .bring(ask, CacheUse::Miss(why), None, Some(stored))
                    .await;
            }
            self.coalesced(ask, Some(stored), why).await
        };
        let fetched = deadline
            .bound(fetching)
            .await
            .unwrap_or(Err(FetchError::Deadline));
        let failed = match &fetched {
            Ok(Fetched::Streamed(streamed)) => is_failure(streamed.response.status()),
            Ok(Fetched::Stored(..)) => false,
            Err(error) => !error.is_clients(),
        };
        if failed && may_cover && object.covers_errors() {
            self.observer.cache().used(CacheUse::Covered);
            notes.cache(CacheUse::Covered);
            return Ok(Fetched::Stored(object, CacheUse::Covered));
        }
        fetched.map_err(|error| {
            if object.must_revalidate() && !error.is_clients() {
                FetchError::NotRevalidated(Box::new(error))
            } else {
                error
            }
        })
    }

    /// Waits for a fetch of the same key, or makes it; `stored` is what the upstream is asked about.
    async fn coalesced(
        &self,
        ask: Ask,
        mut stored: Option<Arc<Object>>,
        why: Why,
    ) -> Result<Fetched, FetchError> {
        let (missed, coalesced) = (CacheUse::Miss(why), CacheUse::Coalesced(why));
        for _ in 0..JOINS {
            match coalesce::join(&self.cache, &ask.key, ask.asker()) {
                Role::Leader(lead, interest) => {
                    return self
                        .lead_unless_landed(ask, lead, interest, stored, why)
                        .await;
                }
                Role::Waiter(wait) => match wait_until(ask.deadline, wait).await? {
                    Landed::Shared(object) if object.is_fresh() && object.is_for(ask.asker()) => {
                        self.observer.cache().used(coalesced);
                        ask.notes.cache(coalesced);
                        return Ok(Fetched::Stored(object, coalesced));
                    }
                    Landed::Shared(object) => {
                        // It may still be asked about, instead of fetched whole.
                        if object.is_for(ask.asker()) && object.has_validator() {
                            stored = Some(object);
                        }
                        return self.bring(ask, missed, None, stored).await;
                    }
                    Landed::Filling(filling) => {
                        let Some(filling) = filling.upgrade() else {
                            continue;
                        };
                        let head = filling.head();
                        let current = self.cache.is_current(&ask.key, head);
                        if !current || !head.is_fresh() || !head.is_for(ask.asker()) {
                            return self.bring(ask, missed, None, stored).await;
                        }
                        let whole = ask.policy.whole;
                        let read = read_along(ask.deadline, whole, filling, coalesced);
                        let Some(fetched) = read.await? else {
                            return self.bring(ask, missed, None, stored).await;
                        };
                        self.observer.cache().used(coalesced);
                        ask.notes.cache(coalesced);
                        return Ok(fetched);
                    }
                    Landed::Personal => {
                        return self.bring(ask, missed, None, stored).await;
                    }
                    Landed::Failed => {}
                },
            }
        }
        self.bring(ask, missed, None, stored).await
    }

    /// Leads, unless an earlier leader stored an answer and left between the look-up and the joining: then that answer is told.
    async fn lead_unless_landed(
        &self,
        ask: Ask,
        lead: Lead,
        interest: Arc<Interest>,
        stored: Option<Arc<Object>>,
        why: Why,
    ) -> Result<Fetched, FetchError> {
        let found = self.cache.look_again(&ask.key, ask.asker());
        match heeded(found, ask.policy.control) {
            Lookup::Hit(object) => {
                lead.land(Landed::Shared(Arc::clone(&object)));
                self.observer.cache().used(CacheUse::Hit);
                ask.notes.cache(CacheUse::Hit);
                Ok(Fetched::Stored(object, CacheUse::Hit))
            }
            Lookup::HitForMiss { .. } => {
                lead.land(Landed::Personal);
                self.bring(ask, CacheUse::HitForMiss, None, None).await
            }
            Lookup::Expired(object) | Lookup::Stale(object) => {
                self.lead(ask, lead, interest, Some(object), why).await
            }
            Lookup::Miss(_) => self.lead(ask, lead, interest, stored, why).await,
        }
    }

    /// Fetches for oneself and for those who wait, as a task that lives while anybody wants it.
    async fn lead(
        &self,
        ask: Ask,
        lead: Lead,
        interest: Arc<Interest>,
        stored: Option<Arc<Object>>,
        why: Why,
    ) -> Result<Fetched, FetchError> {
        let used = CacheUse::Miss(why);
        let (teller, told) = oneshot::channel();
        let fetcher = self.clone();
        let task = tokio::spawn(async move {
            let fetched = fetcher.bring(ask, used, Some(lead), stored).await;
            // Whoever asked may have left; those who wait are told through the lead.
            let _ = teller.send(fetched);
        });
        interest.ends(task.abort_handle());
        let fetched = told.await;
        drop(interest);
        // A task that ends without a word has panicked.
        fetched.unwrap_or(Err(FetchError::Deadline))
    }

    /// Asks the upstream about something stale while its asker has been served already: one fetch a key, and only because
    /// somebody asked whose answer can be stored.
    pub fn refresh(&self, ask: Ask) {
        if validate::forbids_storing(&ask.request) {
            return;
        }
        let Role::Leader(lead, interest) = coalesce::join(&self.cache, &ask.key, ask.asker())
        else {
            return;
        };
        let (Lookup::Expired(stored) | Lookup::Stale(stored)) =
            self.cache.look_up(&ask.key, ask.asker(), false)
        else {
            return;
        };
        let deadline = Deadline::after(ask.deadline.left());
        let ask = Ask {
            request: validate::get_like(&ask.request),
            deadline,
            notes: Notes::unobserved(),
            policy: Policy {
                whole: true,
                ..ask.policy
            },
            ..ask
        };
        let fetcher = self.clone();
        tokio::spawn(async move {
            // Those who come meanwhile may wait for it; that they leave does not end it.
            let _interest = interest;
            let url = ask.key.url().to_owned();
            let used = CacheUse::Miss(Why::Stale);
            let fetching = fetcher.bring(ask, used, Some(lead), Some(stored));
            match deadline.bound(fetching).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(url, %error, "not refreshed, the stale copy stays");
                }
                Err(_) => tracing::warn!(url, "not refreshed in time, the stale copy stays"),
            }
        });
    }
}

fn why(missing: Missing) -> Why {
    match missing {
        Missing::Url => Why::UriMiss,
        Missing::Variant => Why::VaryMiss,
        Missing::Asker => Why::Miss,
    }
}

/// What the store gave, as a request that asks more of it takes it (RFC 9111 5.2.1).
fn heeded(found: Lookup, control: RequestControl) -> Lookup {
    if control == RequestControl::default() {
        return found;
    }
    match found {
        Lookup::Hit(object) | Lookup::Stale(object) => {
            let too_old = control.max_age.is_some_and(|most| object.age() > most);
            let too_short = control
                .min_fresh
                .is_some_and(|least| object.fresh_for() < least);
            if control.no_cache || too_old || too_short {
                Lookup::Expired(object)
            } else if object.is_fresh() {
                Lookup::Hit(object)
            } else if control.max_age.is_some() || control.min_fresh.is_some() {
                Lookup::Expired(object)
            } else {
                Lookup::Stale(object)
            }
        }
        other => other,
    }
}

/// The answer that others fetch, for one who reads along.
fn arriving(head: &Arc<Object>, body: Body, cache: CacheUse) -> Streamed {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers.clone();
    Streamed {
        response,
        cache,
        personal: None,
        came: head.came,
        stored: Some(Arc::clone(head)),
    }
}

/// Takes part in an answer that still arrives; `None` when its beginning is not there any more, or it is not stored whole.
async fn read_along(
    deadline: Deadline,
    whole: bool,
    filling: Arc<Filling>,
    used: CacheUse,
) -> Result<Option<Fetched>, FetchError> {
    if whole {
        let object = deadline.bound(filling.whole()).await;
        let object = object.map_err(|_| FetchError::Deadline)??;
        return Ok(object.map(|object| Fetched::Stored(object, used)));
    }
    let body = filling.body();
    Ok(body.map(|body| Fetched::Streamed(arriving(filling.head(), body, used))))
}

/// Without the client's own validators: what comes is to be stored whole, and the client's copy compared here.
fn unconditional(mut ask: Ask) -> Ask {
    validate::unconditional(&mut ask.request.fields);
    ask
}

/// Whether the answer can be somebody else's too.
fn may_lead(request: &OutgoingRequest) -> bool {
    validate::is_plain(request) && !validate::forbids_storing(request)
}

/// The statuses that what is stale may stand in for (RFC 5861 4).
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

async fn wait_until(deadline: Deadline, wait: Wait) -> Result<Landed, FetchError> {
    deadline
        .bound(wait.landed())
        .await
        .map_err(|_| FetchError::Deadline)
}

fn may_look_up(ask: &Ask) -> bool {
    ask.policy.cacheable
        && matches!(ask.request.method, Method::GET | Method::HEAD)
        && !validate::is_for_the_origin(&ask.request)
}
