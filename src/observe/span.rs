//! One fetch of a page, while it is under way: of its skeleton, or of a fragment.
//!
//! A [`Span`] belongs to whoever waits for the fetch and is told its end; [`Notes`] are its cheap clone for the rooms that carry
//! it out: the queue, the connection, the reading of the body. Both write into the record of their page; without one, or when
//! the page has more fetches than are recorded, they write nowhere.

use std::fmt;
use std::sync::OnceLock;

use tokio::time::Instant;

use crate::observe::metrics::{RouteMetrics, UpstreamMetrics};
use crate::observe::outcome::{CacheUse, Outcome};
use crate::observe::page::{MAX_TEXT, PageTrace};
use crate::observe::text::{Seconds, cut};
use crate::observe::waterfall::SpanRecord;

/// What is known of a fragment when it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct FragmentStart<'a> {
    /// Its URL.
    pub url: &'a str,
    /// 1 for those of the page itself.
    pub depth: usize,
    /// The span of the document whose tag it is; `None` for the page itself when that has no span.
    pub parent: Option<SpanId>,
    /// Where the tag stands in that document, in bytes.
    pub offset: Option<usize>,
}

/// A fragment that was at hand.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// Its route.
    pub route: &'a RouteMetrics,
    /// The upstream of its route.
    pub upstream: &'a UpstreamMetrics,
    /// [`Outcome::Hit`], [`Outcome::Stale`], or [`Outcome::Alt`] for the second URL of an include.
    pub outcome: Outcome,
    /// What the store had to do with it.
    pub cache: CacheUse,
    /// Bytes of its body.
    pub bytes: usize,
}

/// The place of a span in its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub(super) usize);

/// One fetch under way, of a skeleton or a fragment. Dropped without [`Span::finish`], it counts as cancelled.
#[derive(Debug)]
pub struct Span {
    notes: Notes,
    started: Seconds,
    /// A fragment is counted in the metrics, a skeleton is not.
    counted: bool,
    upstream: OnceLock<UpstreamMetrics>,
    finished: bool,
}

impl Span {
    /// A span of `page` that was entered as its `index`th, if it is recorded; a fragment is counted, a skeleton is not.
    pub(super) fn begun(
        page: PageTrace,
        index: Option<usize>,
        started: Seconds,
        counted: bool,
    ) -> Self {
        Self {
            notes: Notes { page, index },
            started,
            counted,
            upstream: OnceLock::new(),
            finished: false,
        }
    }

    /// A span of which nothing is recorded.
    pub fn unobserved() -> Self {
        Self::begun(PageTrace::unobserved(), None, Seconds::default(), false)
    }

    /// The handle for the rooms that carry the fetch out.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Its place, for the fragments of this fragment; nothing when no more spans of the page are recorded.
    pub fn id(&self) -> Option<SpanId> {
        self.notes.index.map(SpanId)
    }

    /// Where its URL led.
    pub fn routed(&self, route: &RouteMetrics, upstream: &UpstreamMetrics) {
        // A second route (that of a redirect) shows in the record; the fragment is counted where it was first sent.
        let _ = self.upstream.set(upstream.clone());
        self.notes.note(|span| {
            span.route = Some(route.name().clone());
            span.upstream = Some(upstream.name().clone());
        });
    }

    /// It has ended well, or for no reason that needs words.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(outcome, None);
    }

    /// It has ended badly. The reason is for operators, and never holds a cookie or a credential.
    pub fn fail(mut self, outcome: Outcome, reason: &dyn fmt::Display) {
        self.end(outcome, Some(reason));
    }

    fn end(&mut self, outcome: Outcome, reason: Option<&dyn fmt::Display>) {
        self.finished = true;
        let Some(page) = &self.notes.page.open() else {
            return;
        };
        let now = page.now();
        let failed = self.counted && outcome.is_failure();
        let mut waited = None;
        page.note(|state| {
            state.fragments.failed += usize::from(failed);
            if let Some(span) = self.notes.index.and_then(|at| state.spans.get_mut(at)) {
                span.release(now);
                waited = span.queued.map(|_| span.queue_seconds);
                span.outcome = Some(outcome);
                span.reason = reason.map(|reason| cut(&reason.to_string(), MAX_TEXT));
                span.done = Some(now);
            }
        });
        let Some(upstream) = self.upstream.get() else {
            return;
        };
        if let Some(time) = waited {
            upstream.waited(time);
        }
        if self.counted {
            let seconds = Seconds(now.0.saturating_sub(self.started.0));
            upstream.fragment(outcome, seconds);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if !self.finished {
            self.end(Outcome::Cancelled, None);
        }
    }
}

/// One fetch under way, for those who carry it out. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    page: PageTrace,
    index: Option<usize>,
}

impl Notes {
    /// Notes that nobody reads.
    pub fn unobserved() -> Self {
        Self::default()
    }

    /// What the store had to do with it.
    pub fn cache(&self, cache: CacheUse) {
        self.note(|span| span.cache = Some(cache));
    }

    /// It asks for a server `now`, and may have to wait.
    pub fn queued(&self, now: Instant) {
        self.note_at(now, |span, now| {
            span.release(now);
            span.queued.get_or_insert(now);
            span.asked = Some(now);
        });
    }

    /// It has a server, and goes out `now`.
    pub fn sent(&self, server: &str, now: Instant) {
        self.note_at(now, |span, now| {
            if let Some(asked) = span.asked.take() {
                span.queue_seconds.0 += now.0.saturating_sub(asked.0);
            }
            span.server = Some(cut(server, MAX_TEXT));
            span.tries += 1;
            span.sent = Some(now);
            span.held = Some(now);
        });
    }

    /// The head of its answer has come `now`.
    pub fn first_byte(&self, status: http::StatusCode, now: Instant) {
        self.note_at(now, |span, now| {
            span.status = Some(status.as_u16());
            span.first_byte = Some(now);
        });
    }

    /// So many bytes of its answer's body have come.
    pub fn received(&self, bytes: usize) {
        self.note(|span| span.bytes += bytes as u64);
    }

    fn note_at(&self, now: Instant, fact: impl FnOnce(&mut SpanRecord, Seconds)) {
        if let Some(page) = self.page.open() {
            self.note(|span| fact(span, page.at(now)));
        }
    }

    fn note(&self, fact: impl FnOnce(&mut SpanRecord)) {
        let (Some(page), Some(index)) = (self.page.open(), self.index) else {
            return;
        };
        page.note(|state| {
            if let Some(span) = state.spans.get_mut(index) {
                fact(span);
            }
        });
    }
}
