//! One fragment's fetch: from what cache or upstream give to what compose takes. Bodies are read whole, within the memory for
//! documents; what went wrong is told in compose's words.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use tokio::time::Instant;

use crate::cache::Lookup;
use crate::cache::object::Object;
use crate::compose::limits::{Memory, Reservation};
use crate::compose::source::{Dca, Fragment, FragmentError};
use crate::compose::url::Url;
use crate::fetch::error::FetchError;
use crate::fetch::{self, Ask, Fetcher, Streamed};
use crate::gateway::coding;
use crate::gateway::documents::Document;
use crate::gateway::page_head::{PageHead, PartPolicy};
use crate::gateway::remembered::Remembered;
use crate::gateway::route::Route;
use crate::message::deadline::Deadline;
use crate::message::{Body, BodyError};
use crate::observe::outcome::{CacheUse, Outcome};
use crate::observe::span::{Span, SpanId};

/// As much of an error's body is read as lets the connection be used again; it is never shown.
const ERROR_BODY: usize = 64 * 1024;

/// A body of at most so many bytes is copied out of what was read.
const SMALL: usize = 4096;

/// What the head of a page has promised, once it has left.
pub(super) type Promised = Arc<Mutex<Option<PageHead>>>;

/// The spans of a page's documents, by their URL.
pub(super) type Spans = Arc<Mutex<HashMap<String, SpanId>>>;

/// A fragment from store.
pub(super) fn stored(
    route: &Route,
    object: &Object,
    dca: Dca,
    foreign: bool,
) -> Result<Fragment<PartPolicy>, FragmentError> {
    if !object.status.is_success() {
        return Err(FragmentError::Status(object.status.as_u16()));
    }
    let document = route
        .documents
        .of(object)
        .map_err(|error| FragmentError::Broken(error.to_string()))?;
    let template = wanted(route, &object.headers, &document, dca);
    let reads_request = template
        .as_ref()
        .is_some_and(|template| template.reads_values());
    Ok(Fragment {
        status: object.status.as_u16(),
        template,
        body: document.body,
        policy: PartPolicy::of_stored(object, Instant::now())
            .or_personal(reads_request || route.tells_by_cookie())
            .or_foreign(foreign),
        set_cookies: Vec::new(),
        reservation: None,
    })
}

/// The template of a fragment as its include wants it.
fn wanted(
    route: &Route,
    headers: &HeaderMap,
    document: &Document,
    dca: Dca,
) -> Option<Arc<crate::template::Template>> {
    match dca {
        Dca::None => None,
        // What holds no tags, and nothing to tell its author, is shown as it came.
        Dca::Declared => document
            .template
            .clone()
            .filter(|template| template.has_tags() || !template.issues().is_empty()),
        Dca::Esi => Some(
            document
                .template
                .clone()
                .unwrap_or_else(|| route.documents.compile(headers, document.body.clone())),
        ),
    }
}

/// A fetch that begins when it is polled.
pub(super) struct Pending {
    pub(super) ask: Result<Ask, FragmentError>,
    pub(super) found: Option<Lookup>,
    pub(super) fetcher: Fetcher,
    pub(super) route: Arc<Route>,
    pub(super) dca: Dca,
    /// Whether it is of another origin than the page.
    pub(super) foreign: bool,
    /// Its include says that no cache may keep it.
    pub(super) no_store: bool,
    pub(super) limit: usize,
    /// `compose.merge_set_cookie`.
    pub(super) merges: bool,
    pub(super) memory: Memory,
    pub(super) remembered: Arc<Remembered>,
    /// What the head of the page has promised, once it has left.
    pub(super) promised: Promised,
    /// Set when it is refused to this visitor, and perhaps to no other one.
    pub(super) refused: Arc<AtomicBool>,
    /// The spans of documents that hold includes, and what this one is called among them.
    pub(super) documents: Spans,
    pub(super) url: Arc<Url>,
    pub(super) span: Waited,
}

impl Pending {
    /// Fetches.
    pub(super) fn run(
        self,
    ) -> impl Future<Output = Result<Fragment<PartPolicy>, FragmentError>> + Send {
        let Self {
            ask,
            found,
            fetcher,
            route,
            dca,
            foreign,
            no_store,
            limit,
            merges,
            memory,
            remembered,
            promised,
            refused,
            documents,
            url,
            span,
        } = self;
        let deadline = span.deadline;
        async move {
            let fetched = async {
                let observer = fetcher.observer();
                let ask = ask?;
                let key = ask.key.clone();
                let is_users = ask.asker().has_credentials();
                // All that comes before the body ends by the same deadline.
                let fetched = fetcher.fetch_after(ask, found).await.map_err(|error| {
                    error
                        .limit()
                        .into_iter()
                        .for_each(|setting| observer.limit_hit(setting));
                    failure(&error)
                })?;
                match fetched {
                    fetch::Fetched::Stored(object, used) => {
                        let fragment = stored(&route, &object, dca, foreign)?;
                        // One that this include shows as it came may be composed for the next.
                        let known = route.documents.known(&object);
                        let template = known.and_then(|document| document.template.as_ref());
                        let mut templates = fragment.template.iter().chain(template);
                        if fragment.policy.is_shared() && !templates.any(|it| it.has_tags()) {
                            remembered.shared(&key, &object);
                        } else if !is_users {
                            remembered.personal(&key);
                        }
                        Ok((fragment, used))
                    }
                    fetch::Fetched::Streamed(streamed) => {
                        let used = streamed.cache;
                        // A failure says nothing of what comes after it.
                        if !is_users && streamed.response.status().is_success() {
                            remembered.personal(&key);
                        }
                        if !merges && streamed.response.headers().contains_key(SET_COOKIE) {
                            route.drops_cookie();
                        }
                        if is_refusal(&streamed, is_users) {
                            refused.store(true, Ordering::Relaxed);
                        }
                        let read = read(streamed, &route, dca, limit, &memory, &promised);
                        let read = deadline.bound(read).await;
                        let read = read.unwrap_or(Err(FragmentError::TimedOut));
                        if matches!(read, Err(FragmentError::Overloaded(_))) {
                            observer.limit_hit("compose.memory");
                        }
                        let mut fragment = read?;
                        fragment.policy = fragment.policy.or_foreign(foreign).or_no_store(no_store);
                        Ok((fragment, used))
                    }
                }
            };
            let ended = fetched.await;
            if let (Ok((fragment, _)), Some(id)) = (&ended, span.id())
                && fragment.template.is_some()
            {
                let mut documents = documents.lock().unwrap_or_else(PoisonError::into_inner);
                documents.insert(url.as_str().to_owned(), id);
            }
            span.end(&ended);
            ended.map(|(fragment, _)| fragment)
        }
    }
}

/// Whether an answer that is not for everybody refuses a fragment to one user: another user, or one who is known, may be given it, so
/// what stands in its place is this visitor's.
fn is_refusal(streamed: &Streamed, is_users: bool) -> bool {
    let status = streamed.response.status();
    let wants_user = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    streamed.personal.is_some() && (wants_user || (is_users && status.is_client_error()))
}

/// Reads the body of an answer that is this visitor's alone.
fn read(
    streamed: Streamed,
    route: &Route,
    dca: Dca,
    limit: usize,
    memory: &Memory,
    promised: &Promised,
) -> impl Future<Output = Result<Fragment<PartPolicy>, FragmentError>> + Send {
    let Streamed {
        response,
        personal,
        came,
        ..
    } = streamed;
    let (head, body) = response.into_parts();
    async move {
        if !head.status.is_success() {
            // Its words are for nobody; read to its end it leaves a connection that can be used again.
            let _ = body.collect(ERROR_BODY).await;
            return Err(FragmentError::Status(head.status.as_u16()));
        }
        let (body, reservation) = collect(body, limit, memory).await?;
        let document = route
            .documents
            .read(head.status, &head.headers, &body)
            .map_err(|error| FragmentError::Broken(error.to_string()))?;
        let mut reservation = reservation;
        if coding::is_encoded(&head.headers) && !reservation.grow(document.body.len() as u64) {
            return Err(FragmentError::Overloaded(
                "compose.memory is used up".to_owned(),
            ));
        }
        let template = wanted(route, &head.headers, &document, dca);
        let policy = if is_personal(promised) {
            PartPolicy::personal()
        } else {
            let reads_request = template
                .as_ref()
                .is_some_and(|template| template.reads_values());
            PartPolicy::of_fetched(&head.headers, personal, came)
                .or_personal(reads_request || route.tells_by_cookie())
        };
        Ok(Fragment {
            status: head.status.as_u16(),
            template,
            body: document.body,
            policy,
            set_cookies: head.headers.get_all(SET_COOKIE).iter().cloned().collect(),
            reservation: Some(reservation),
        })
    }
}

/// Whether the head of the page has left and promised nothing.
fn is_personal(promised: &Promised) -> bool {
    let promised = promised.lock().unwrap_or_else(PoisonError::into_inner);
    promised.as_ref().is_some_and(PageHead::is_personal)
}

/// Reads a document whole, within its own limit and that of all documents together.
#[expect(
    clippy::manual_async_fn,
    reason = "a function keeps its arguments twice"
)]
pub(super) fn collect(
    mut body: Body,
    limit: usize,
    memory: &Memory,
) -> impl Future<Output = Result<(Bytes, Reservation), FragmentError>> + Send {
    async move {
        let used_up = || FragmentError::Overloaded("compose.memory is used up".to_owned());
        let announced = body.size_hint().lower();
        if announced > limit as u64 {
            return Err(FragmentError::TooLarge(limit as u64));
        }
        let mut reservation = memory.reserve(announced).ok_or_else(used_up)?;
        let mut reserved = announced;
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        let mut length = 0;
        while let Some(bytes) = body.next().await.transpose().map_err(|error| cut(&error))? {
            length += bytes.len();
            if length > limit {
                return Err(FragmentError::TooLarge(limit as u64));
            }
            let more = (length as u64).saturating_sub(reserved);
            if more > 0 && !reservation.grow(more) {
                return Err(used_up());
            }
            reserved += more;
            match first.take() {
                None if rest.is_empty() => first = Some(bytes),
                Some(before) => {
                    rest.reserve(usize::try_from(reserved).unwrap_or(0).min(limit));
                    rest.extend_from_slice(&before);
                    rest.extend_from_slice(&bytes);
                }
                None => rest.extend_from_slice(&bytes),
            }
        }
        Ok((first.map_or_else(|| rest.freeze(), own), reservation))
    }
}

/// A small body as bytes of its own. Those that came are a part of the buffer that its connection reads into, of 8 KB: held until the page is
/// done they would make the connection take a new one, and the page hold more than it has reserved.
fn own(body: Bytes) -> Bytes {
    if body.len() <= SMALL {
        Bytes::copy_from_slice(&body)
    } else {
        body
    }
}

fn cut(error: &BodyError) -> FragmentError {
    match error {
        BodyError::Stalled | BodyError::TooLate => FragmentError::TimedOut,
        BodyError::TooLarge(limit) => FragmentError::TooLarge(*limit),
        other => FragmentError::Connection(other.to_string()),
    }
}

fn failure(error: &FetchError) -> FragmentError {
    if error.is_timeout() {
        FragmentError::TimedOut
    } else if error.is_overload() {
        FragmentError::Overloaded(error.to_string())
    } else {
        FragmentError::Connection(error.to_string())
    }
}

/// The span of a fetch. Dropped after its deadline it has run out of time, before it nobody wanted it any more.
pub(super) struct Waited {
    pub(super) span: Option<Span>,
    pub(super) deadline: Deadline,
}

impl Waited {
    fn id(&self) -> Option<SpanId> {
        self.span.as_ref().and_then(Span::id)
    }

    fn end(mut self, ended: &Result<(Fragment<PartPolicy>, CacheUse), FragmentError>) {
        let Some(span) = self.span.take() else { return };
        match ended {
            Ok((fragment, used)) => {
                span.notes().received(fragment.body.len());
                span.finish(match used {
                    CacheUse::Hit => Outcome::Hit,
                    CacheUse::Stale | CacheUse::Covered => Outcome::Stale,
                    _ => Outcome::Ok,
                });
            }
            Err(FragmentError::TimedOut) => span.fail(Outcome::Timeout, &FragmentError::TimedOut),
            Err(error) => span.fail(Outcome::Failed, error),
        }
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        if let Some(span) = self.span.take()
            && self.deadline.left() == Duration::ZERO
        {
            span.fail(Outcome::Timeout, &FragmentError::TimedOut);
        }
    }
}
