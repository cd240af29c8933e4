//! A page while it travels: the handles by which the walk hands over facts.
//!
//! A [`Page`] belongs to whoever answers the request and is told its end. [`PageTrace`] is its cheap clone for the rooms below.
//! Each fetch of it has a [`Span`].
//! Facts that come after the end of a page change nothing: its record is finished.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use http::{HeaderMap, Method, header};
use tokio::time::Instant;

use crate::observe::Observer;
use crate::observe::hits::{self, HitList, Hits};
use crate::observe::metrics::{RouteMetrics, UpstreamMetrics};
use crate::observe::open::Ticket;
use crate::observe::outcome::{CacheUse, Outcome, PageEnd};
use crate::observe::request_id::RequestId;
use crate::observe::server_timing;
use crate::observe::span::{FragmentStart, Served, Span, SpanId};
use crate::observe::text::{Moment, Name, Seconds, cut, recorded_url};
use crate::observe::waterfall::{FragmentCounts, PageHead, SpanRecord, Waterfall};

/// Spans that are recorded of one page.
const MAX_SPANS: usize = 600;

/// The status of a request whose client left before there was one; nginx and those who read its logs call it so.
const CLIENT_LEFT: u16 = 499;

/// Longest `User-Agent`, host or reason of a record, in bytes.
pub(super) const MAX_TEXT: usize = 512;

/// What a request's head says.
#[derive(Debug)]
pub struct PageStart<'a> {
    /// When it came.
    pub came: Instant,
    /// Its id.
    pub id: &'a RequestId,
    /// Who asks, as read behind trusted proxies.
    pub client: IpAddr,
    /// The method.
    pub method: &'a Method,
    /// The host, lower case.
    pub host: &'a str,
    /// Path and query.
    pub url: &'a str,
    /// Of these only `User-Agent` and `Referer` are read.
    pub headers: &'a HeaderMap,
}

/// A page under way. Dropped without [`Page::finish`], it counts as one whose client has left.
#[derive(Debug)]
pub struct Page {
    trace: PageTrace,
}

/// A page under way, for those who only add to its record. Cheap to clone.
#[derive(Clone, Default)]
pub struct PageTrace(Option<Arc<OpenPage>>);

/// What a page under way shares among its handles.
pub struct OpenPage {
    observer: Observer,
    started: Instant,
    head: Arc<PageHead>,
    state: Mutex<State>,
    /// Its place among those under way.
    ticket: OnceLock<Ticket>,
}

/// The record in the making.
#[derive(Default)]
pub(super) struct State {
    finished: bool,
    route: Option<RouteMetrics>,
    upstream: Option<Name>,
    status: u16,
    reason: Option<Box<str>>,
    cache: Option<CacheUse>,
    composed: bool,
    first_byte: Option<Seconds>,
    bytes: u64,
    template_errors: u64,
    pub(super) spans: Vec<SpanRecord>,
    folded: Vec<Hits>,
    pub(super) fragments: FragmentCounts,
}

impl Page {
    /// A page that begins now.
    ///
    /// It is not among those [under way](Observer::open) before it [waits](PageTrace::waits) for something.
    pub(super) fn start(observer: &Observer, start: &PageStart<'_>) -> Self {
        let text = |name| {
            let value = start.headers.get(name)?;
            let plain = value.to_str().map(Cow::Borrowed);
            Some(plain.unwrap_or_else(|_| String::from_utf8_lossy(value.as_bytes())))
        };
        let open = Arc::new(OpenPage {
            observer: observer.clone(),
            started: start.came,
            head: Arc::new(PageHead {
                id: start.id.clone(),
                time: Moment(SystemTime::now()),
                client: start.client,
                method: cut(start.method.as_str(), MAX_TEXT),
                host: cut(start.host, MAX_TEXT),
                url: recorded_url(start.url),
                user_agent: text(header::USER_AGENT).map(|agent| cut(&agent, MAX_TEXT)),
                referer: text(header::REFERER).map(|referer| recorded_url(&referer)),
            }),
            state: Mutex::default(),
            ticket: OnceLock::new(),
        });
        Self {
            trace: PageTrace(Some(open)),
        }
    }

    /// A page of which nothing is recorded: for tests, and for composing without a listener.
    pub fn unobserved() -> Self {
        Self {
            trace: PageTrace::default(),
        }
    }

    /// The handle for the rooms below.
    pub fn trace(&self) -> &PageTrace {
        &self.trace
    }

    /// The page has ended.
    pub fn finish(mut self, end: PageEnd) {
        self.end(end, 0);
    }

    /// All of its body, so many bytes, is handed to the listener at once, and the page has ended.
    pub fn finish_whole(mut self, bytes: usize) {
        self.end(PageEnd::Complete, bytes);
    }

    /// The page has ended, with so many bytes of its body that were not told of before.
    fn end(&mut self, end: PageEnd, bytes: usize) {
        if let Some(open) = &self.trace.0 {
            if let Some(ticket) = open.ticket.get() {
                open.observer.open().leave(ticket);
            }
            open.end(end, bytes);
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.end(PageEnd::ClientLeft, 0);
    }
}

impl PageTrace {
    /// A trace of which nothing is recorded.
    pub fn unobserved() -> Self {
        Self::default()
    }

    /// The page waits for something: it is seen among those under way from now on.
    pub fn waits(&self) {
        if let Some(page) = &self.0 {
            page.ticket
                .get_or_init(|| page.observer.open().enter(Arc::clone(page)));
        }
    }

    /// The route that was found for the page, and its upstream.
    pub fn routed(&self, route: &RouteMetrics, upstream: &UpstreamMetrics) {
        self.note(|state| {
            state.route = Some(route.clone());
            state.upstream = Some(upstream.name().clone());
        });
    }

    /// The status that the client is sent.
    pub fn status(&self, status: http::StatusCode) {
        self.note(|state| state.status = status.as_u16());
    }

    /// Why the client is sent no better answer.
    pub fn failed(&self, reason: &dyn fmt::Display) {
        self.note(|state| state.reason = Some(cut(&reason.to_string(), MAX_TEXT)));
    }

    /// What the store had to do with the skeleton.
    pub fn cache(&self, cache: CacheUse) {
        self.note(|state| state.cache = Some(cache));
    }

    /// The page is scanned for tags and composed.
    pub fn composed(&self) {
        self.note(|state| state.composed = true);
    }

    /// So many faults were found in one of its documents.
    pub fn template_errors(&self, number: usize) {
        if let Some(page) = &self.0 {
            page.observer.template_errors(number);
            page.note(|state| state.template_errors += number as u64);
        }
    }

    /// So many bytes of body are handed to the listener; 0 with the head alone. The first call is the first byte.
    pub fn sent(&self, bytes: usize) {
        let Some(page) = &self.0 else { return };
        let now = page.now();
        page.note(|state| {
            state.first_byte.get_or_insert(now);
            state.bytes += bytes as u64;
        });
    }

    /// The skeleton is fetched.
    pub fn skeleton(&self) -> Span {
        let url = self.0.as_ref().map_or("", |page| &page.head.url);
        self.span(&FragmentStart {
            url,
            depth: 0,
            parent: None,
            offset: None,
        })
    }

    /// The skeleton came from the store on the spot, `now`: where it was routed, what the store had to do with it, and its whole span,
    /// at the cost of one lock.
    pub fn skeleton_hit(&self, served: &Served<'_>, now: Instant) {
        let Some(page) = &self.0 else { return };
        let now = page.at(now);
        page.note(|state| {
            state.cache = Some(served.cache);
            state.enter(
                &FragmentStart {
                    url: &page.head.url,
                    depth: 0,
                    parent: None,
                    offset: None,
                },
                served,
                now,
            );
        });
    }

    /// A fragment is asked for.
    pub fn fragment(&self, start: &FragmentStart<'_>) -> Span {
        self.span(start)
    }

    /// A fragment came from the store on the spot: the same as a span that is told so and finished, at the cost of one lock.
    pub fn hit(&self, start: &FragmentStart<'_>, served: &Served<'_>) {
        let Some(page) = &self.0 else { return };
        let now = page.now();
        page.note(|state| state.enter(start, served, now));
        served.upstream.fragment(served.outcome, Seconds::default());
    }

    /// Fragments that are remembered together came from the store on the spot, for the document with that span.
    pub fn hits(&self, list: &Arc<HitList>, parent: Option<SpanId>) {
        let Some(page) = &self.0 else { return };
        let at = page.now();
        page.note(|state| state.fold(list, parent, at));
        list.count();
    }

    /// The value of `Server-Timing` for what is known by now.
    pub fn server_timing(&self) -> Option<http::HeaderValue> {
        let page = self.0.as_ref()?;
        let now = page.now();
        let state = page.state();
        let folded = state.folded.iter().flat_map(Hits::spans);
        let spans: Vec<SpanRecord> = state.spans.iter().cloned().chain(folded).collect();
        drop(state);
        let value = server_timing::value(now, &spans);
        http::HeaderValue::try_from(value).ok()
    }

    /// The request's id, for the log; nothing when unobserved.
    pub fn id(&self) -> Option<&RequestId> {
        self.0.as_ref().map(|page| &page.head.id)
    }

    fn span(&self, start: &FragmentStart<'_>) -> Span {
        let now = self.0.as_ref().map(|page| page.now());
        let index = self.0.as_ref().zip(now).and_then(|(page, now)| {
            let mut index = None;
            page.note(|state| index = state.start(start, now));
            index
        });
        Span::begun(
            self.clone(),
            index,
            now.unwrap_or_default(),
            start.depth > 0,
        )
    }

    /// What the handles share, when there is something to share.
    pub(super) fn open(&self) -> Option<&OpenPage> {
        self.0.as_deref()
    }

    fn note(&self, fact: impl FnOnce(&mut State)) {
        if let Some(page) = &self.0 {
            page.note(fact);
        }
    }
}

impl fmt::Debug for PageTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id().map(RequestId::as_str);
        f.debug_tuple("PageTrace").field(&id).finish()
    }
}

impl OpenPage {
    /// What its request said.
    pub fn head(&self) -> &PageHead {
        &self.head
    }

    /// The record as it would be, had the page ended now.
    pub fn so_far(&self) -> Waterfall {
        let state = self.state();
        let spans = state.spans.clone();
        let mut page = self.record(&state, spans, PageEnd::ClientLeft, self.now());
        drop(state);
        page.unfold();
        page
    }

    /// Since the page's start.
    pub(super) fn now(&self) -> Seconds {
        self.at(Instant::now())
    }

    /// The same for one who knows what time it is.
    pub(super) fn at(&self, now: Instant) -> Seconds {
        Seconds(now.saturating_duration_since(self.started))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a fact into the record, unless that is finished.
    pub(super) fn note(&self, fact: impl FnOnce(&mut State)) {
        let mut state = self.state();
        if !state.finished {
            fact(&mut state);
        }
    }

    /// Closes the record and hands it out.
    fn end(&self, end: PageEnd, bytes: usize) {
        let mut state = self.state();
        if state.finished {
            return;
        }
        state.finished = true;
        let now = self.now();
        if bytes > 0 || end == PageEnd::Complete {
            state.first_byte.get_or_insert(now);
            state.bytes += bytes as u64;
        }
        let spans = std::mem::take(&mut state.spans);
        let mut page = self.record(&state, spans, end, now);
        let route = state.route.take();
        drop(state);
        for span in &mut page.spans {
            span.release(page.seconds);
            span.outcome.get_or_insert(Outcome::Cancelled);
        }
        if page.status == 0 {
            page.status = CLIENT_LEFT;
        }
        self.observer.ended(route.as_ref(), page);
    }

    fn record(
        &self,
        state: &State,
        spans: Vec<SpanRecord>,
        end: PageEnd,
        now: Seconds,
    ) -> Waterfall {
        Waterfall {
            head: self.head.clone(),
            route: state.route.as_ref().map(|route| route.name().clone()),
            upstream: state.upstream.clone(),
            status: state.status,
            reason: state.reason.clone(),
            cache: state.cache,
            composed: state.composed,
            end,
            seconds: now,
            first_byte: state.first_byte,
            bytes: state.bytes,
            template_errors: state.template_errors,
            spans,
            folded: state.folded.clone(),
            fragments: state.fragments,
        }
    }
}

impl State {
    /// A whole span of what was at hand.
    fn enter(&mut self, start: &FragmentStart<'_>, served: &Served<'_>, now: Seconds) {
        if self.admits(start.depth) {
            // Most pages at hand have no other span than that of their skeleton.
            self.spans.reserve_exact(usize::from(self.spans.is_empty()));
            self.spans.push(SpanRecord {
                started: now,
                done: Some(now),
                ..hits::record(start, served)
            });
        }
    }

    /// Spans of what was at hand together.
    fn fold(&mut self, list: &Arc<HitList>, parent: Option<SpanId>, at: Seconds) {
        let shown = list.len().min(MAX_SPANS.saturating_sub(self.recorded()));
        self.fragments.count += list.len();
        self.fragments.unrecorded += list.len() - shown;
        self.folded.push(Hits {
            list: Arc::clone(list),
            shown,
            parent: parent.map(|SpanId(index)| index),
            at,
        });
    }

    fn recorded(&self) -> usize {
        let folded: usize = self.folded.iter().map(|hits| hits.shown).sum();
        self.spans.len() + folded
    }

    /// Counts a fetch; whether there is room for its span.
    fn admits(&mut self, depth: usize) -> bool {
        self.fragments.count += usize::from(depth > 0);
        let room = self.recorded() < MAX_SPANS;
        self.fragments.unrecorded += usize::from(!room);
        room
    }

    /// Begins a span; nothing when the page has enough of them.
    fn start(&mut self, start: &FragmentStart<'_>, now: Seconds) -> Option<usize> {
        if !self.admits(start.depth) {
            return None;
        }
        self.spans.push(SpanRecord {
            url: recorded_url(start.url),
            depth: u16::try_from(start.depth).unwrap_or(u16::MAX),
            parent: start.parent.map(|SpanId(index)| index),
            offset: start.offset.map(|offset| offset as u64),
            started: now,
            ..SpanRecord::default()
        });
        Some(self.spans.len() - 1)
    }
}
