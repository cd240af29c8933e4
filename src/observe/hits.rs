//! Fragments that are at hand together again and again: their spans are made once and shared by the records of all pages that
//! show them.
//!
//! A record holds them folded; whoever reads it is given it [unfolded](crate::observe::waterfall::Waterfall::unfolded), with spans
//! like those of fragments that were looked up one by one.

use std::sync::Arc;

use crate::observe::metrics::UpstreamMetrics;
use crate::observe::span::{FragmentStart, Served};
use crate::observe::text::{Seconds, recorded_url};
use crate::observe::waterfall::{SpanRecord, span_weight};

/// The spans of fragments that were at hand together, but for their times.
#[derive(Debug)]
pub struct HitList {
    spans: Box<[SpanRecord]>,
    weight: usize,
    /// Each upstream, and how many of them are its.
    upstreams: Vec<(UpstreamMetrics, u64)>,
}

impl HitList {
    /// Of these fragments, in the order of the page.
    pub fn new<'a>(all: impl Iterator<Item = (FragmentStart<'a>, Served<'a>)>) -> Self {
        let mut upstreams: Vec<(UpstreamMetrics, u64)> = Vec::new();
        let spans: Box<[SpanRecord]> = all
            .map(|(start, served)| {
                let same = |(known, _): &&mut (UpstreamMetrics, u64)| {
                    known.name() == served.upstream.name()
                };
                match upstreams.iter_mut().find(same) {
                    Some((_, count)) => *count += 1,
                    None => upstreams.push((served.upstream.clone(), 1)),
                }
                record(&start, &served)
            })
            .collect();
        Self {
            weight: spans.iter().map(span_weight).sum(),
            spans,
            upstreams,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// They were at hand once more.
    pub(super) fn count(&self) {
        for (upstream, count) in &self.upstreams {
            upstream.hits(*count);
        }
    }
}

/// Such fragments on one page.
#[derive(Debug, Clone)]
pub(super) struct Hits {
    pub(super) list: Arc<HitList>,
    /// Of so many a span is kept.
    pub(super) shown: usize,
    /// The span of the document that holds their tags.
    pub(super) parent: Option<usize>,
    pub(super) at: Seconds,
}

impl Hits {
    /// Their spans on this page.
    pub(super) fn spans(&self) -> impl Iterator<Item = SpanRecord> {
        let shown = self.list.spans.iter().take(self.shown);
        shown.map(|span| SpanRecord {
            parent: self.parent,
            started: self.at,
            done: Some(self.at),
            ..span.clone()
        })
    }

    pub(super) fn weight(&self) -> usize {
        self.list.weight + size_of::<Self>()
    }
}

/// The span of a fragment that was at hand, but for its times.
pub(super) fn record(start: &FragmentStart<'_>, served: &Served<'_>) -> SpanRecord {
    SpanRecord {
        url: recorded_url(start.url),
        depth: u16::try_from(start.depth).unwrap_or(u16::MAX),
        parent: start.parent.map(|id| id.0),
        offset: start.offset.map(|offset| offset as u64),
        route: Some(served.route.name().clone()),
        upstream: Some(served.upstream.name().clone()),
        outcome: Some(served.outcome),
        cache: Some(served.cache),
        bytes: served.bytes as u64,
        ..SpanRecord::default()
    }
}
