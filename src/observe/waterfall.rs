//! The record of one page: when it and each of its fragments waited, was sent, began to answer, was done.
//!
//! A [`Waterfall`] is finished and never changes. [`page`](crate::observe::page) makes it while the page travels; the ring of
//! recent pages, the access log and `Server-Timing` read it. All moments are told in seconds since the page's start.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::observe::hits::Hits;
use crate::observe::outcome::{CacheUse, Outcome, PageEnd};
use crate::observe::request_id::RequestId;
use crate::observe::text::{Moment, Name, Seconds};

/// What is known of a page from its request's head.
#[derive(Debug, Clone)]
pub struct PageHead {
    /// The value of `X-Request-Id`.
    pub id: RequestId,
    /// When it came.
    pub time: Moment,
    /// Who asked, as read behind trusted proxies.
    pub client: IpAddr,
    /// The method.
    pub method: Box<str>,
    /// The host, lower case.
    pub host: Box<str>,
    /// Path and query, as sent.
    pub url: Box<str>,
    /// `User-Agent`.
    pub user_agent: Option<Box<str>>,
    /// `Referer`, without credentials.
    pub referer: Option<Box<str>>,
}

/// One page, finished.
#[derive(Debug, Clone)]
pub struct Waterfall {
    /// What its request said.
    pub head: Arc<PageHead>,
    /// The route, if one was found.
    pub route: Option<Name>,
    /// The upstream of the route.
    pub upstream: Option<Name>,
    /// The status that the client was sent; 499 when it left before there was one, 0 while the page is under way.
    pub status: u16,
    /// Why it was not a better one.
    pub reason: Option<Box<str>>,
    /// What the store had to do with the skeleton.
    pub cache: Option<CacheUse>,
    /// Whether it was scanned for tags and composed.
    pub composed: bool,
    /// How it ended.
    pub end: PageEnd,
    /// Until it had ended.
    pub seconds: Seconds,
    /// Until the first byte of its body, or its head if it has none, was handed to the listener.
    pub first_byte: Option<Seconds>,
    /// Bytes of body that were handed to the listener.
    pub bytes: u64,
    /// Faults found in its documents.
    pub template_errors: u64,
    /// The fetch of the skeleton (depth 0) and of the fragments (depth 1 and more), in the order of their starts; those beyond
    /// the first few hundred are counted only.
    pub spans: Vec<SpanRecord>,
    /// Fragments that were at hand together, without spans of their own yet.
    pub(super) folded: Vec<Hits>,
    /// The counts of all fragments, recorded or not.
    pub fragments: FragmentCounts,
}

/// How many fragments a page had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FragmentCounts {
    /// All tries to fetch one.
    pub count: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those of which no span was kept.
    pub unrecorded: usize,
}

/// One fetch of a page: of its skeleton, or of a fragment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SpanRecord {
    /// What was asked for, without credentials.
    pub url: Box<str>,
    /// 0: the skeleton; 1: a fragment of the page; 2: a fragment of a fragment; ...
    pub depth: u16,
    /// The span, by its place in the list, of the document whose tag led here.
    pub parent: Option<usize>,
    /// Where the tag stands in that document, in bytes.
    pub offset: Option<u64>,
    /// The route that the URL led to.
    pub route: Option<Name>,
    /// The upstream of that route.
    pub upstream: Option<Name>,
    /// The server that was asked last.
    pub server: Option<Box<str>>,
    /// What became of it; nothing while it is under way.
    pub outcome: Option<Outcome>,
    /// Why it failed.
    pub reason: Option<Box<str>>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// What the store had to do with it.
    pub cache: Option<CacheUse>,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// How many servers were asked.
    pub tries: u32,
    /// When it was started.
    pub started: Seconds,
    /// When it first began to wait for a server.
    pub queued: Option<Seconds>,
    /// When a server was found and the request went out, the last time.
    pub sent: Option<Seconds>,
    /// When the head of the answer came.
    pub first_byte: Option<Seconds>,
    /// When it was done.
    pub done: Option<Seconds>,
    /// How long it waited for servers, all tries together.
    pub queue_seconds: Seconds,
    /// What it cost: how long it held servers, all tries together.
    pub cost_seconds: Seconds,
    /// Since when it waits for a server, while it does.
    #[serde(skip)]
    pub asked: Option<Seconds>,
    /// Since when it holds a server, while it does.
    #[serde(skip)]
    pub held: Option<Seconds>,
}

impl SpanRecord {
    /// It neither waits for a server nor holds one any more.
    pub(super) fn release(&mut self, now: Seconds) {
        if let Some(asked) = self.asked.take() {
            self.queue_seconds.0 += now.0.saturating_sub(asked.0);
        }
        if let Some(held) = self.held.take() {
            self.cost_seconds.0 += now.0.saturating_sub(held.0);
        }
    }

    /// What it is doing, in one word, for as long as it is under way.
    pub fn phase(&self) -> &'static str {
        match (self.outcome, self.asked, self.held, self.first_byte) {
            (Some(outcome), ..) => outcome.as_str(),
            (None, Some(_), ..) => "queued",
            (None, None, Some(_), None) => "sent",
            (None, None, Some(_), Some(_)) => "receiving",
            (None, None, None, _) => "started",
        }
    }

    /// From its start to its end; nothing while it is under way.
    pub fn seconds(&self) -> Option<Seconds> {
        let done = self.done?;
        Some(Seconds(done.0.saturating_sub(self.started.0)))
    }
}

impl Waterfall {
    /// The same with a span for each fragment; those that were at hand together stand behind the others.
    #[must_use]
    pub fn unfolded(self: &Arc<Self>) -> Arc<Self> {
        if self.folded.is_empty() {
            return Arc::clone(self);
        }
        let mut page = Self::clone(self);
        page.unfold();
        Arc::new(page)
    }

    pub(super) fn unfold(&mut self) {
        for hits in std::mem::take(&mut self.folded) {
            self.spans.extend(hits.spans());
        }
    }

    /// The fragments that have a span, each with its place in the list.
    pub fn recorded_fragments(&self) -> impl Iterator<Item = (usize, &SpanRecord)> {
        self.spans
            .iter()
            .enumerate()
            .filter(|(_, span)| span.depth > 0)
    }

    /// The fragment that took longest.
    pub fn slowest_fragment(&self) -> Option<&SpanRecord> {
        self.recorded_fragments()
            .map(|(_, span)| span)
            .max_by_key(|span| span.seconds())
    }

    /// What the record takes in memory, roughly, in bytes.
    pub fn weight(&self) -> usize {
        let spans: usize = self.spans.iter().map(span_weight).sum();
        let folded: usize = self.folded.iter().map(Hits::weight).sum();
        let head = &self.head;
        let texts = [&head.user_agent, &head.referer, &self.reason];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        size_of::<Self>() + head.url.len() + head.host.len() + texts + spans + folded
    }

    /// The line of this page in the list of recent pages.
    pub fn summary(&self) -> Summary<'_> {
        Summary {
            id: self.head.id.as_str(),
            time: self.head.time,
            method: &self.head.method,
            host: &self.head.host,
            url: &self.head.url,
            route: self.route.as_ref(),
            status: self.status,
            reason: self.reason.as_deref(),
            cache: self.cache,
            composed: self.composed,
            end: self.end,
            seconds: self.seconds,
            first_byte_seconds: self.first_byte,
            bytes: self.bytes,
            fragments: self.fragments.count,
            fragments_failed: self.fragments.failed,
            slowest_fragment: self.slowest_fragment().map(|span| Slowest {
                url: &span.url,
                seconds: span.seconds(),
            }),
        }
    }

    /// The page with all its spans.
    pub fn whole(&self) -> Whole<'_> {
        Whole {
            summary: self.summary(),
            client: self.head.client,
            upstream: self.upstream.as_ref(),
            template_errors: self.template_errors,
            spans_unrecorded: self.fragments.unrecorded,
            spans: &self.spans,
        }
    }
}

pub(super) fn span_weight(span: &SpanRecord) -> usize {
    let texts = [&span.server, &span.reason];
    let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
    size_of::<SpanRecord>() + span.url.len() + texts
}

/// A page in the list of recent pages, as JSON.
#[derive(Debug, Serialize)]
pub struct Summary<'a> {
    id: &'a str,
    time: Moment,
    method: &'a str,
    host: &'a str,
    url: &'a str,
    route: Option<&'a Name>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    cache: Option<CacheUse>,
    composed: bool,
    end: PageEnd,
    seconds: Seconds,
    first_byte_seconds: Option<Seconds>,
    bytes: u64,
    fragments: usize,
    fragments_failed: usize,
    slowest_fragment: Option<Slowest<'a>>,
}

#[derive(Debug, Serialize)]
struct Slowest<'a> {
    url: &'a str,
    seconds: Option<Seconds>,
}

/// A page with all its spans, as JSON.
#[derive(Debug, Serialize)]
pub struct Whole<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    client: IpAddr,
    upstream: Option<&'a Name>,
    template_errors: u64,
    spans_unrecorded: usize,
    spans: &'a [SpanRecord],
}
