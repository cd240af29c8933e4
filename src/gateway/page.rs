//! From a fetched skeleton to the answer: composed when it is a document that holds tags, else passed on.

use std::borrow::Cow;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE,
    ETAG, EXPIRES, IF_NONE_MATCH, LOCATION, SET_COOKIE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::cache::object::Object;
use crate::compose::coder::Coded;
use crate::compose::limits::Reservation;
use crate::compose::source::{FragmentError, Part, Place};
use crate::compose::url::{Url, UrlError};
use crate::compose::watch::{Fallback, Watcher};
use crate::compose::{ComposeError, Composed, Composer, HeadEdits, Skeleton};
use crate::config::{DownstreamAge, RouteConfig};
use crate::fetch::Streamed;
use crate::gateway::answer::{Answer, insert_age};
use crate::gateway::cache_status::Told;
use crate::gateway::documents::Documents;
use crate::gateway::error::GatewayError;
use crate::gateway::fragment_fetch::{self, Promised};
use crate::gateway::fragments::PageFragments;
use crate::gateway::gzip::{self, Gzip};
use crate::gateway::origin_request::{Coding, preferred, preferred_of};
use crate::gateway::page_head::{ByCapability, Manner, PageHead, PartPolicy};
use crate::gateway::range::Wanted;
use crate::gateway::route::Route;
use crate::gateway::visit::Visit;
use crate::gateway::{Gateway, coding, conditional, delegate, page_head, page_tag, range};
use crate::message::cache_control::CacheControl;
use crate::message::date;
use crate::message::deadline::Deadline;
use crate::message::headers::{CDN_CACHE_CONTROL, MARQUETRY_CACHE_CONTROL, SURROGATE_CONTROL};
use crate::message::{Body, BodyError, Response};
use crate::observe::Observer;
use crate::observe::outcome::CacheUse;
use crate::observe::page::PageTrace;
use crate::template::Template;

/// A body at hand that is smaller than this, in bytes, is sent plain: with the head it fits into one packet anyway.
const WORTH_ENCODING: usize = 1000;

/// What has become of a skeleton.
pub(super) enum Made {
    /// It is the answer.
    Answer(Answer),
    /// It is to be composed.
    Page(Page),
}

/// A document that is to be composed.
pub(super) struct Page {
    status: StatusCode,
    /// The head of the skeleton.
    headers: HeaderMap,
    template: Arc<Template>,
    /// What the skeleton allows those behind us.
    policy: PartPolicy,
    reservation: Option<Reservation>,
    told: Told,
    /// What is made of the parts' policies.
    manner: Manner,
}

impl Gateway {
    /// What becomes of a skeleton at hand.
    pub(super) fn stored(
        &self,
        visit: &Visit,
        route: &Route,
        object: &Object,
        used: CacheUse,
        now: Instant,
    ) -> Result<Made, GatewayError> {
        let told = Told {
            cache: used,
            ttl: Some(object.ttl(now)),
            forwarded: Some(object.status),
            personal: None,
        };
        let known = route.documents.known(object);
        if known.is_none() && !route.documents.is_document(object.status, &object.headers) {
            return Ok(Made::Answer(pass_stored(visit, route, object, told, now)));
        }
        if let Some(control) = delegate::delegated(visit, &route.config, &object.headers) {
            let answer = pass_stored(visit, route, object, told, now);
            return Ok(Made::Answer(handed_down(answer, control)));
        }
        let document = route
            .documents
            .of(object)
            .map_err(|error| GatewayError::Document(error.to_string()))?;
        Ok(
            match document.template.filter(|template| template.has_tags()) {
                None => Made::Answer(negotiated(
                    route,
                    pass_stored(visit, route, object, told, now),
                )),
                Some(template) => Made::Page(Page {
                    status: object.status,
                    headers: with_room(&object.headers),
                    template,
                    policy: PartPolicy::of_stored(object, now).or_personal(route.tells_by_cookie()),
                    reservation: None,
                    told,
                    manner: self.manner(visit, &route.config),
                }),
            },
        )
    }

    /// What becomes of a skeleton that streams.
    pub(super) async fn streamed(
        &self,
        visit: &Visit,
        route: &Route,
        streamed: Streamed,
        deadline: Deadline,
    ) -> Result<Made, GatewayError> {
        let Streamed {
            response,
            cache,
            personal,
            came,
            stored,
        } = streamed;
        let now = Instant::now();
        let told = Told {
            cache,
            ttl: stored.as_ref().map(|object| object.ttl(now)),
            forwarded: Some(response.status()),
            personal,
        };
        let (mut head, body) = response.into_parts();
        if let Some(object) = stored.filter(|object| !object.age_at(now).is_zero()) {
            tell_age(&mut head.headers, &route.config, &object, now);
        }
        if !route.documents.is_document(head.status, &head.headers) {
            let undeclared = route.documents.is_undeclared(head.status, &head.headers);
            let body = if undeclared {
                noticing(body, &route.documents)
            } else {
                body
            };
            let answer = Answer::told(Response::from_parts(head, body), told);
            return Ok(Made::Answer(answer));
        }
        if let Some(control) = delegate::delegated(visit, &route.config, &head.headers) {
            let answer = Answer::told(Response::from_parts(head, body), told);
            return Ok(Made::Answer(handed_down(answer, control)));
        }
        if visit.method == Method::HEAD {
            // It is not here to be looked into, so it counts as holding tags.
            page_head::unknown(&mut head.headers, self.manner(visit, &route.config));
            let response = Response::from_parts(head, Body::empty());
            return Ok(Made::Answer(Answer::told(response, told)));
        }
        let collected =
            fragment_fetch::collect(body, self.compose.max_document.as_usize(), &self.memory);
        let (bytes, reservation) = deadline
            .bound(collected)
            .await
            .map_err(|_| GatewayError::Deadline)?
            .map_err(|error| unreadable(&error))?;
        let document = route
            .documents
            .read(head.status, &head.headers, &bytes)
            .map_err(|error| GatewayError::Document(error.to_string()))?;
        let Some(template) = document.template.filter(|template| template.has_tags()) else {
            head.headers.remove(CONTENT_LENGTH);
            let answer = Answer::told(Response::from_parts(head, Body::full(bytes)), told);
            return Ok(Made::Answer(negotiated(route, answer)));
        };
        let mut reservation = reservation;
        if coding::is_encoded(&head.headers) && !reservation.grow(document.body.len() as u64) {
            return Err(GatewayError::Memory);
        }
        let policy = PartPolicy::of_fetched(&head.headers, personal, came)
            .or_personal(route.tells_by_cookie());
        Ok(Made::Page(Page {
            status: head.status,
            headers: head.headers,
            template,
            policy,
            reservation: Some(reservation),
            told,
            manner: self.manner(visit, &route.config),
        }))
    }

    /// What is made of the policies of a page's parts. It is another page for surrogates of other capabilities where the origin was
    /// told of them: what those say of whom nobody trusts goes to no origin.
    fn manner(&self, visit: &Visit, route: &RouteConfig) -> Manner {
        Manner {
            by_capability: if route.delegate {
                ByCapability::Always
            } else if visit.from_proxy {
                ByCapability::AsPartsSay
            } else {
                ByCapability::Never
            },
            failed: self.compose.failed_max_age,
            unsaid: self.compose.default_max_age,
            private: self.compose.private_max_age,
        }
    }

    /// Begins to compose a page; most that are asked for again and again are done with it.
    pub(super) fn begun(
        &self,
        visit: &Arc<Visit>,
        page: Page,
        deadline: Deadline,
        trace: &PageTrace,
    ) -> Result<Begun, GatewayError> {
        trace.composed();
        let promised = Arc::new(Mutex::new(None));
        let refused = Arc::new(AtomicBool::new(false));
        let head_only = visit.method == Method::HEAD;
        let url = page_url(visit, &page.template)
            .map_err(|error| GatewayError::Document(error.to_string()))?;
        if head_only && page.template.writes_head() {
            // What its functions would say is known only when all of it is composed.
            let mut response = Response::new(Body::empty());
            *response.headers_mut() = page.headers;
            page_head::unknown(response.headers_mut(), page.manner);
            return Ok(Begun::Answer(Answer::told(response, page.told)));
        }
        let source = PageFragments {
            visit: Arc::clone(visit),
            routes: Arc::clone(&self.routes),
            fetcher: self.fetcher.clone(),
            compose: Arc::clone(&self.compose),
            readable: Arc::clone(&self.readable),
            memory: self.memory.clone(),
            remembered: Arc::clone(&self.remembered),
            deadline,
            trace: trace.clone(),
            documents: Arc::default(),
            promised: Arc::clone(&promised),
            refused: Arc::clone(&refused),
            plain: Mutex::default(),
            carrier: Default::default(),
            gateway: self.number,
            head_only,
        };
        let headless = Headless {
            status: page.status,
            headers: page.headers,
            policy: page.policy,
            told: page.told,
            manner: page.manner,
            reads_request: page.template.reads_values(),
            promised,
            refused,
        };
        let skeleton = Skeleton {
            template: page.template,
            url,
            deadline,
            reservation: page.reservation,
        };
        Ok(match self.composer(head_only).at_hand(&skeleton, &source) {
            Some(composed) => Begun::Answer(headless.finish(visit, composed)),
            None => Begun::Page(Box::new(Composing {
                headless,
                skeleton,
                source,
            })),
        })
    }

    /// Composes a page up to its head, and writes what the head may promise.
    pub(super) async fn composed(
        &self,
        visit: &Visit,
        composing: Box<Composing>,
        trace: &PageTrace,
    ) -> Result<Answer, GatewayError> {
        let Composing {
            headless,
            skeleton,
            source,
        } = *composing;
        let watcher = Arc::new(PageWatcher {
            trace: trace.clone(),
            observer: self.observer.clone(),
        });
        let composed = self
            .composer(source.head_only)
            .compose_coded(skeleton, source, watcher, coded(visit))
            .await
            .map_err(failed)?;
        Ok(headless.finish(visit, composed))
    }

    fn composer(&self, head_only: bool) -> &Composer {
        if head_only {
            &self.peeking
        } else {
            &self.composer
        }
    }
}

/// What has become of a page that was begun.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the common one, and moved once"
)]
pub(super) enum Begun {
    /// All of it was at hand.
    Answer(Answer),
    /// It is evaluated, and perhaps waits.
    Page(Box<Composing>),
}

/// A page that is about to be evaluated.
pub(super) struct Composing {
    headless: Headless,
    skeleton: Skeleton,
    source: PageFragments,
}

/// What is needed for the head of a page.
struct Headless {
    status: StatusCode,
    /// The head of the skeleton.
    headers: HeaderMap,
    policy: PartPolicy,
    told: Told,
    manner: Manner,
    /// Whether the template reads what the request says.
    reads_request: bool,
    /// What the head promises, for fragments that come later.
    promised: Promised,
    /// Whether a fragment was refused to this visitor.
    refused: Arc<AtomicBool>,
}

impl Headless {
    /// The answer, once it is known what the head may promise.
    fn finish(self, visit: &Visit, composed: Composed<PartPolicy>) -> Answer {
        let mut head = PageHead::new(&self.policy, self.manner);
        composed.parts.iter().for_each(|part| match part {
            Part::Here(policy) | Part::Expected(policy) => head.add(policy),
            Part::Unknown => head.add_unknown(),
            Part::Failed => head.add_failed(),
        });
        let sets_cookies = composed
            .edits
            .headers
            .iter()
            .any(|(name, _)| name == SET_COOKIE);
        let refused = self.refused.load(Ordering::Relaxed);
        if self.reads_request || sets_cookies || refused || !composed.set_cookies.is_empty() {
            head.add_unknown();
        }
        let response = written(visit, self.status, self.headers, &head, composed);
        *self.promised.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        Answer::told(response, self.told)
    }
}

/// The URL of a page. Most requests for a stored skeleton are for the same one, so its template remembers it.
fn page_url(visit: &Visit, template: &Template) -> Result<Arc<Url>, UrlError> {
    let known = template.url().read(|known: &Arc<Url>| {
        let same = known.is_of(visit.scheme, &visit.host, visit.target());
        same.then(|| Arc::clone(known))
    });
    if let Some(Some(known)) = known {
        return Ok(known);
    }
    let https = visit.scheme == "https";
    let url = Arc::new(Url::new(
        https,
        visit.host.as_bytes(),
        visit.target().as_bytes(),
    )?);
    template.url().leave(Arc::clone(&url));
    Ok(url)
}

/// The response of a composed page.
fn written(
    visit: &Visit,
    status: StatusCode,
    mut headers: HeaderMap,
    head: &PageHead,
    mut composed: Composed<PartPolicy>,
) -> Response {
    head.write(&mut headers);
    let known = |part: &Part<_>| matches!(part, Part::Here(_));
    let all_known = composed.parts.iter().all(known) && composed.set_cookies.is_empty();
    for cookie in std::mem::take(&mut composed.set_cookies) {
        headers.append(SET_COOKIE, cookie);
    }
    let edits = std::mem::take(&mut composed.edits);
    let status = edited(status, &mut headers, edits, head.is_for_all());
    let coding = encoded(visit, &mut composed);
    if coding != Coding::Identity {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    }
    let whole = composed.body.as_full().cloned();
    let mut body = composed.body;
    let tagged = all_known && head.is_for_all() && status == StatusCode::OK;
    let mut status = status;
    if let Some(bytes) = whole.filter(|_| tagged) {
        let tag = match &composed.run {
            Some(run) => page_tag::of_run(run, coding),
            None => page_tag::tag(&bytes, coding.as_str().as_bytes()),
        };
        headers.insert(ETAG, tag);
        // The client's dates are not asked: no date tells when one of the parts has changed.
        let asked = &visit.client_headers;
        if asked.contains_key(IF_NONE_MATCH) && conditional::not_modified(asked, status, &headers) {
            status = StatusCode::NOT_MODIFIED;
            conditional::strip_for_304(&mut headers);
            body = Body::empty();
        }
    }
    if visit.method == Method::HEAD {
        // A length would be of what this moment has at hand; the next GET may be another one's, or longer.
        body = Body::empty();
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What the page's own functions change in its head.
///
/// A template is written once for all, so it does not know whose parts are in the page: nothing that it adds makes a page cacheable
/// that is one user's.
fn edited(
    status: StatusCode,
    headers: &mut HeaderMap,
    edits: HeadEdits,
    for_all: bool,
) -> StatusCode {
    let wanted = edits
        .final_status()
        .and_then(|code| StatusCode::from_u16(code).ok());
    let mut added = HeaderMap::new();
    for (name, value) in edits.headers {
        added.append(name, value);
    }
    if !for_all {
        let forbids = CacheControl::read(&added).no_store;
        page_head::remove_promises(&mut added);
        if forbids {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        }
    }
    for (name, value) in &added {
        if is_single(name) {
            headers.insert(name, value.clone());
        } else {
            headers.append(name, value.clone());
        }
    }
    if let Some(url) = edits.redirect {
        headers.insert(LOCATION, url);
    }
    wanted.unwrap_or(status)
}

/// Whether a field has one value, or one set of terms, so that what a template adds stands in the place of what was there.
fn is_single(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "access-control-allow-credentials"
            | "access-control-allow-origin"
            | "access-control-max-age"
            | "age"
            | "cache-control"
            | "content-disposition"
            | "content-language"
            | "content-location"
            | "content-type"
            | "cross-origin-embedder-policy"
            | "cross-origin-opener-policy"
            | "cross-origin-resource-policy"
            | "date"
            | "etag"
            | "expires"
            | "last-modified"
            | "location"
            | "referrer-policy"
            | "refresh"
            | "retry-after"
            | "server"
            | "strict-transport-security"
            | "x-content-type-options"
            | "x-frame-options"
    )
}

/// The codings that the client takes, in one line.
fn wish(visit: &Visit) -> Option<Cow<'_, str>> {
    let mut lines = visit
        .client_headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let first = Cow::Borrowed(lines.next()?);
    Some(lines.fold(first, |all, line| Cow::Owned(format!("{all}, {line}"))))
}

/// How a page is coded that is not remembered as a whole: only gzip can be stitched.
fn coded(visit: &Visit) -> Option<Coded> {
    let gzip = preferred_of(&wish(visit)?, &[Coding::Gzip]) == Coding::Gzip;
    gzip.then(|| Coded {
        coder: Box::new(Gzip::new()),
        worth: WORTH_ENCODING,
    })
}

/// The coding of a composed page; where it is remembered as a whole, the one that the client likes best. Small ones are plain.
fn encoded(visit: &Visit, composed: &mut Composed<PartPolicy>) -> Coding {
    if composed.is_coded {
        return Coding::Gzip;
    }
    let run = composed.run.as_ref();
    let (Some(run), Some(wish)) = (
        run.filter(|run| run.bytes().len() >= WORTH_ENCODING),
        wish(visit),
    ) else {
        return Coding::Identity;
    };
    let best = preferred(&wish);
    match gzip::Made::of(run).body(run, best) {
        Some(body) => {
            composed.body = Body::full(body);
            best
        }
        None => Coding::Identity,
    }
}

/// What a surrogate in front composes itself.
fn handed_down(mut answer: Answer, control: HeaderValue) -> Answer {
    delegate::vary(answer.response.headers_mut());
    answer.surrogate_control = Some(control);
    answer
}

/// A document without tags, which a surrogate in front would have been handed down.
fn negotiated(route: &Route, mut answer: Answer) -> Answer {
    if route.config.delegate {
        delegate::vary(answer.response.headers_mut());
    }
    answer
}

/// A stored answer as it is, or 304 when the client has it, or the part of it that is wanted.
fn pass_stored(visit: &Visit, route: &Route, object: &Object, told: Told, now: Instant) -> Answer {
    let mut response = Response::new(Body::full(object.body.clone()));
    *response.status_mut() = object.status;
    *response.headers_mut() = with_room(&object.headers);
    tell_age(response.headers_mut(), &route.config, object, now);
    let asked = &visit.client_headers;
    if visit.is_safe() && conditional::not_modified(asked, object.status, &object.headers) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        conditional::strip_for_304(response.headers_mut());
        *response.body_mut() = Body::empty();
    } else {
        let length = object.body.len();
        let (method, status) = (&visit.method, object.status);
        match range::wanted(method, asked, status, &object.headers, length) {
            Wanted::Whole => {}
            Wanted::Part(bytes) => {
                let range = format!("bytes {}-{}/{length}", bytes.start, bytes.end - 1);
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                insert_range(response.headers_mut(), &range);
                *response.body_mut() = Body::full(object.body.slice(bytes));
            }
            Wanted::Nothing => {
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                conditional::strip_for_304(response.headers_mut());
                insert_range(response.headers_mut(), &format!("bytes */{length}"));
                *response.body_mut() = Body::empty();
            }
        }
    }
    Answer::told(response, told)
}

/// A copy of stored fields that need not grow for those that an answer is given on its way.
fn with_room(fields: &HeaderMap) -> HeaderMap {
    const MORE: usize = 5;
    let mut copy = HeaderMap::with_capacity(fields.len() + MORE);
    for (name, value) in fields {
        copy.append(name.clone(), value.clone());
    }
    copy
}

fn insert_range(headers: &mut HeaderMap, range: &str) {
    // Digits and signs are a value.
    if let Ok(value) = HeaderValue::from_str(range) {
        headers.insert(CONTENT_RANGE, value);
    }
}

/// Its age; or none and the date of today, where the route wants those behind us to count from now although a field that they
/// do not read gave the lifetime (RFC 9213 2.3).
fn tell_age(headers: &mut HeaderMap, route: &RouteConfig, object: &Object, now: Instant) {
    let targeted = || {
        [
            SURROGATE_CONTROL,
            MARQUETRY_CACHE_CONTROL,
            CDN_CACHE_CONTROL,
        ]
        .iter()
        .any(|name| object.headers.contains_key(name))
    };
    if route.downstream_age == DownstreamAge::Keep || !targeted() {
        insert_age(headers, object.age_at(now));
        return;
    }
    headers.remove(AGE);
    headers.remove(EXPIRES);
    headers.insert(DATE, date::now());
}

fn unreadable(error: &FragmentError) -> GatewayError {
    match error {
        FragmentError::Overloaded(_) => GatewayError::Memory,
        FragmentError::TimedOut => GatewayError::Deadline,
        other => GatewayError::Document(other.to_string()),
    }
}

fn failed(error: ComposeError) -> GatewayError {
    match error {
        ComposeError::TooLate => GatewayError::Deadline,
        other => GatewayError::Compose(other.to_string()),
    }
}

/// Tells the page's record what compose finds wrong.
struct PageWatcher {
    trace: PageTrace,
    observer: Observer,
}

impl Watcher for PageWatcher {
    fn template_error(&self, _: &Place, _: &dyn Display) {
        self.trace.template_errors(1);
    }

    fn fragment_failed(
        &self,
        _: &Place,
        _: Option<&Url>,
        error: &FragmentError,
        fallback: Fallback,
    ) {
        let setting = match error {
            FragmentError::Depth(_) => Some("compose.max_depth"),
            FragmentError::TooMany(_) => Some("compose.max_includes"),
            FragmentError::TooLarge(_) => Some("compose.max_document"),
            FragmentError::TimedOut => Some("compose.fragment_timeout"),
            _ => None,
        };
        if let Some(setting) = setting {
            self.observer.limit_hit(setting);
        }
        // A failure that something else makes good is no error.
        if matches!(
            fallback,
            Fallback::Empty | Fallback::Message | Fallback::Page
        ) {
            self.trace.template_errors(1);
        }
    }
}

/// A body that passes undeclared, looked at for tags as it goes by.
fn noticing(body: Body, documents: &Arc<Documents>) -> Body {
    match body.as_full() {
        Some(bytes) => {
            documents.notice_undeclared(bytes);
            body
        }
        None => Body::stream(Noticing {
            body,
            documents: Some(Arc::clone(documents)),
        }),
    }
}

struct Noticing {
    body: Body,
    /// Taken once tags were noticed.
    documents: Option<Arc<Documents>>,
}

impl HttpBody for Noticing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let (Some(Ok(frame)), Some(documents)) = (&frame, &self.documents)
            && frame
                .data_ref()
                .is_some_and(|bytes| documents.notice_undeclared(bytes))
        {
            self.documents = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
