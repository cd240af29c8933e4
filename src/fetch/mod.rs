//! One door for skeletons and fragments: a request goes in, a response comes out, from the cache or from an upstream.
//!
//! Here cache and upstream are joined, and nowhere else. What a body means is not known here: [`Prepare`] makes of it what is
//! to be kept with the stored object.

pub mod error;
pub mod gather;

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
    RANGE, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cache::coalesce::{self, Interest, Landed, Lead, Role, Wait};
use crate::cache::key::CacheKey;
use crate::cache::object::{Attachment, Object, has_credentials};
use crate::cache::storable::{self, Answered, Asked, Grant, Reason, Verdict};
use crate::cache::{Cache, Lookup};
use crate::fetch::error::FetchError;
use crate::fetch::gather::{Gathered, gather};
use crate::message::cache_control::CacheControl;
use crate::message::deadline::Deadline;
use crate::message::{Body, Request, Response, headers};
use crate::observe::Observer;
use crate::observe::outcome::CacheUse;
use crate::observe::span::Notes;
use crate::upstream::{Answer, Upstream};

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
}

/// What is asked for.
pub struct Ask {
    /// Names the stored response.
    pub key: CacheKey,
    /// As it goes upstream: method, path and query, all its fields, its body.
    pub request: Request,
    /// Who answers what the cache cannot.
    pub upstream: Arc<Upstream>,
    /// Whether the cache may be read and written for this request at all.
    pub cacheable: bool,
    /// A lifetime in place of the response's own.
    pub ttl: Option<std::time::Duration>,
    /// When it is too late.
    pub deadline: Deadline,
    /// What is made of a body that is stored.
    pub prepare: Arc<dyn Prepare>,
    /// Where the fetch's times are told.
    pub notes: Notes,
}

/// What was found.
#[derive(Debug)]
pub enum Fetched {
    /// A stored object, just now or before.
    Stored(Arc<Object>, CacheUse),
    /// An answer for this asker alone, its body on its way.
    Streamed(Streamed),
}

/// An answer that is nobody else's.
#[derive(Debug)]
pub struct Streamed {
    /// Hop-by-hop fields are gone.
    pub response: Response,
    /// What the store had to do with it.
    pub cache: CacheUse,
    /// Why it is not shared; `None` when it could be and is only too large.
    pub personal: Option<Reason>,
    /// When its head came.
    pub came: SystemTime,
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

    /// What is at hand for a GET with these fields, without waiting.
    pub fn at_hand(&self, key: &CacheKey, request: &HeaderMap) -> Lookup {
        let found = self.cache.look_up(key, request);
        if matches!(found, Lookup::Hit(_)) {
            self.observer.cache().used(CacheUse::Hit);
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
        let found = if may_look_up(&ask) {
            Some(self.at_hand(&ask.key, ask.request.headers()))
        } else {
            None
        };
        self.fetch_after(ask, found).await
    }

    /// The same when the cache has been looked up already ([`at_hand`](Self::at_hand)).
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub async fn fetch_after(
        &self,
        ask: Ask,
        found: Option<Lookup>,
    ) -> Result<Fetched, FetchError> {
        match found {
            Some(Lookup::Hit(object)) => {
                ask.notes.cache(CacheUse::Hit);
                Ok(Fetched::Stored(object, CacheUse::Hit))
            }
            Some(Lookup::Miss) if is_whole(&ask) => self.coalesced(ask).await,
            Some(Lookup::HitForMiss) => self.alone(ask, CacheUse::HitForMiss).await,
            Some(Lookup::Miss) | None => self.alone(ask, CacheUse::Pass).await,
        }
    }

    /// Waits for a fetch of the same key, or makes it.
    async fn coalesced(&self, ask: Ask) -> Result<Fetched, FetchError> {
        for _ in 0..JOINS {
            match coalesce::join(
                &self.cache,
                &ask.key,
                has_credentials(ask.request.headers()),
            ) {
                Role::Leader(lead, interest) => {
                    return self.lead_unless_landed(ask, lead, interest).await;
                }
                Role::Waiter(wait) => match wait_until(ask.deadline, wait).await? {
                    Landed::Shared(object)
                        if object.is_fresh() && object.is_for(ask.request.headers()) =>
                    {
                        self.observer.cache().used(CacheUse::Coalesced);
                        ask.notes.cache(CacheUse::Coalesced);
                        return Ok(Fetched::Stored(object, CacheUse::Coalesced));
                    }
                    Landed::Shared(_) | Landed::Personal => {
                        return self.alone(ask, CacheUse::Miss).await;
                    }
                    Landed::Failed => {}
                },
            }
        }
        self.alone(ask, CacheUse::Miss).await
    }

    /// Leads, unless an earlier leader stored an answer and left between the look-up and the joining: then that answer is told.
    async fn lead_unless_landed(
        &self,
        ask: Ask,
        lead: Lead,
        interest: Arc<Interest>,
    ) -> Result<Fetched, FetchError> {
        match self.cache.look_up(&ask.key, ask.request.headers()) {
            Lookup::Miss => self.lead(ask, lead, interest).await,
            Lookup::Hit(object) => {
                lead.land(Landed::Shared(Arc::clone(&object)));
                self.observer.cache().used(CacheUse::Hit);
                ask.notes.cache(CacheUse::Hit);
                Ok(Fetched::Stored(object, CacheUse::Hit))
            }
            Lookup::HitForMiss => {
                lead.land(Landed::Personal);
                self.alone(ask, CacheUse::HitForMiss).await
            }
        }
    }

    /// Fetches for oneself and for those who wait, as a task that lives while anybody wants it.
    async fn lead(
        &self,
        ask: Ask,
        lead: Lead,
        interest: Arc<Interest>,
    ) -> Result<Fetched, FetchError> {
        let (teller, told) = oneshot::channel();
        let fetcher = self.clone();
        let task = tokio::spawn(async move {
            // Whoever asked may have left; those who wait are told through the lead.
            let _ = teller.send(
                fetcher
                    .fetch_and_tell(ask, CacheUse::Miss, Some(lead))
                    .await,
            );
        });
        interest.ends(task.abort_handle());
        let fetched = told.await;
        drop(interest);
        // A task that ends without a word has panicked.
        fetched.unwrap_or(Err(FetchError::Deadline))
    }

    async fn alone(&self, ask: Ask, cache: CacheUse) -> Result<Fetched, FetchError> {
        self.fetch_and_tell(ask, cache, None).await
    }

    /// Asks the upstream, stores what may be stored, and tells those who wait before anybody uses the answer.
    async fn fetch_and_tell(
        &self,
        ask: Ask,
        used: CacheUse,
        lead: Option<Lead>,
    ) -> Result<Fetched, FetchError> {
        let cache = &*self.cache;
        ask.notes.cache(used);
        self.observer.cache().used(used);
        let method = ask.request.method().clone();
        let asked_with = ask.request.headers().clone();
        let began = Instant::now();
        let answer = ask
            .upstream
            .send(ask.request, ask.deadline, &ask.notes)
            .await?;
        let came = SystemTime::now();
        let delay = answer.sent.elapsed();
        let response = received(answer);
        if !method.is_safe() {
            invalidate(cache, &ask.key, response.status());
        }
        let answered = Answered {
            status: response.status(),
            headers: response.headers(),
            at: came,
            delay,
        };
        let verdict = storable::judge(
            Asked {
                method: &method,
                headers: &asked_with,
                ttl: ask.ttl,
            },
            answered,
        );
        let personal = match verdict {
            Verdict::Share(grant) if ask.cacheable => {
                match store(
                    cache,
                    &ask.key,
                    response,
                    grant,
                    &asked_with,
                    &*ask.prepare,
                    ask.deadline,
                    began,
                )
                .await?
                {
                    Ok(object) => {
                        self.observer.cache().stored();
                        if let Some(lead) = lead {
                            lead.land(Landed::Shared(Arc::clone(&object)));
                        }
                        return Ok(Fetched::Stored(object, used));
                    }
                    Err(larger) => {
                        if let Some(lead) = lead {
                            lead.land(Landed::Personal);
                        }
                        return Ok(Fetched::Streamed(Streamed {
                            response: larger,
                            cache: used,
                            personal: None,
                            came,
                        }));
                    }
                }
            }
            Verdict::Share(_) => None,
            Verdict::Personal(reason) => Some(reason),
        };
        if let Some(lead) = lead {
            if response.status().is_server_error() {
                lead.land(Landed::Failed);
            } else {
                cache.mark(&ask.key, &asked_with);
                lead.land(Landed::Personal);
            }
        }
        Ok(Fetched::Streamed(Streamed {
            response,
            cache: used,
            personal,
            came,
        }))
    }
}

/// Whether the answer can be somebody else's too: a GET without range and conditions, that lets it be stored. One that does not
/// must neither lead those who do nor make the key remembered as personal.
fn is_whole(ask: &Ask) -> bool {
    let fields = ask.request.headers();
    *ask.request.method() == Method::GET
        && !(fields.contains_key(CACHE_CONTROL) && CacheControl::read(fields).no_store)
        && ![
            RANGE,
            IF_NONE_MATCH,
            IF_MODIFIED_SINCE,
            IF_MATCH,
            IF_UNMODIFIED_SINCE,
        ]
        .iter()
        .any(|name| fields.contains_key(name))
}

async fn wait_until(deadline: Deadline, wait: Wait) -> Result<Landed, FetchError> {
    deadline
        .bound(wait.landed())
        .await
        .map_err(|_| FetchError::Deadline)
}

fn may_look_up(ask: &Ask) -> bool {
    ask.cacheable && matches!(*ask.request.method(), Method::GET | Method::HEAD)
}

/// The response without what was meant for one connection.
fn received(answer: Answer) -> Response {
    let mut response = answer.response;
    let fields = response.headers_mut();
    if fields.contains_key(TRANSFER_ENCODING) {
        // A length beside it is a lie (RFC 9112 6.3).
        fields.remove(CONTENT_LENGTH);
    }
    headers::remove_hop_by_hop(fields);
    response
}

/// An unsafe request that was carried out makes what is stored for its URL invalid (RFC 9111 4.4).
fn invalidate(cache: &Cache, key: &CacheKey, status: StatusCode) {
    if status.is_success() || status.is_redirection() {
        cache.remove(key);
    }
}

/// Reads the body to its end and stores the object; gives the response back when it is too large, or when a request that changes
/// things came between.
#[expect(clippy::too_many_arguments, reason = "each is one fact of the fetch")]
async fn store(
    cache: &Cache,
    key: &CacheKey,
    response: Response,
    grant: Grant,
    asked_with: &HeaderMap,
    prepare: &dyn Prepare,
    deadline: Deadline,
    began: Instant,
) -> Result<Result<Arc<Object>, Response>, FetchError> {
    let (mut head, body) = response.into_parts();
    let gathered = deadline
        .bound(gather(body, cache.max_object()))
        .await
        .map_err(|_| FetchError::Deadline)??;
    let body = match gathered {
        Gathered::Whole(body) => body,
        Gathered::Larger(body) => return Ok(Err(Response::from_parts(head, body))),
    };
    head.headers.remove(CONTENT_LENGTH);
    let mut object = Object::new(head.status, head.headers, body, grant, asked_with);
    object.attachment = prepare.prepare(object.status, &object.headers, &object.body);
    let object = Arc::new(object);
    if cache.store(key, &object, began) {
        return Ok(Ok(object));
    }
    let mut response = Response::new(Body::full(object.body.clone()));
    *response.status_mut() = object.status;
    *response.headers_mut() = object.headers.clone();
    Ok(Err(response))
}
