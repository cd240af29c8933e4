//! A stored response with its times. It never changes; what takes its place is another object.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, DATE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::cache::epochs::Labels;
use crate::cache::freshness::{Freshness, Times};
use crate::cache::key::{Asker, Variant};
use crate::cache::storable::Grant;

/// What is counted of what a map of fields needs for one, beyond its name and value: less than the 104 bytes that it is, so that small objects
/// take somewhat more memory than they count.
const FIELD_OVERHEAD: usize = 64;

/// What somebody above the cache made of a body and wants to find again with it; the cache does not look inside.
#[derive(Clone)]
pub struct Attachment {
    /// The thing itself.
    pub value: Arc<dyn Any + Send + Sync>,
    /// Its bytes, beyond the body that it shares.
    pub weight: usize,
}

/// A response that may be shared.
pub struct Object {
    /// Its status.
    pub status: StatusCode,
    /// Its fields, hop-by-hop fields and those of its asker alone removed.
    pub headers: HeaderMap,
    /// The whole body, encoded as it came.
    pub body: Bytes,
    /// What was made of the body.
    pub attachment: Option<Attachment>,
    /// When it came, by the wall clock.
    pub came: SystemTime,
    stored: Instant,
    times: Times,
    explicit: bool,
    variant: Variant,
    labels: Labels,
    /// The newest prefix purge that is known not to concern it.
    pub(super) checked: AtomicU64,
    /// How long it had been here, in milliseconds and one, when a soft purge was found to concern it; 0: none was.
    ended: AtomicU64,
    /// What somebody above the cache has read out of its head.
    reading: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// What an object is made of besides its terms.
pub struct Parts {
    /// Status.
    pub status: StatusCode,
    /// Fields, hop-by-hop fields removed.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// What was made of the body.
    pub attachment: Option<Attachment>,
    /// By what it is purged.
    pub labels: Labels,
}

impl Object {
    /// Keeps a response by the terms of its grant; `request` is what it answered.
    pub fn new(parts: Parts, grant: Grant, request: &HeaderMap) -> Self {
        let came = SystemTime::now();
        let mut headers = parts.headers;
        for name in grant.withheld {
            headers.remove(name);
        }
        headers.remove(CONTENT_LENGTH);
        // One who has a clock adds the date that is missing (RFC 9110 6.6.1): ages are counted from it.
        if !headers.contains_key(DATE)
            && let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(came))
        {
            headers.insert(DATE, date);
        }
        Self {
            status: parts.status,
            headers: own(&headers),
            body: parts.body,
            attachment: parts.attachment,
            came,
            stored: Instant::now(),
            times: grant.times,
            explicit: grant.explicit,
            variant: Variant::of(&grant.vary, request),
            labels: parts.labels,
            checked: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            reading: OnceLock::new(),
        }
    }

    /// The same with its body, which arrived after its head; `labels` are for the object that is stored.
    #[must_use]
    pub fn with_body(&self, body: Bytes, attachment: Option<Attachment>, labels: Labels) -> Self {
        Self {
            status: self.status,
            headers: self.headers.clone(),
            body,
            attachment,
            came: self.came,
            stored: self.stored,
            times: self.times,
            explicit: self.explicit,
            variant: self.variant.clone(),
            labels,
            checked: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            reading: OnceLock::new(),
        }
    }

    /// What somebody above the cache reads out of its head: read once, found again at each hit. Small: it is not weighed.
    pub fn reading<T: Any + Send + Sync>(&self, read: impl Fn(&Self) -> T) -> Arc<T> {
        let known = self.reading.get_or_init(|| Arc::new(read(self)));
        // One who reads something else than the first reader reads anew.
        Arc::downcast(Arc::clone(known)).unwrap_or_else(|_| Arc::new(read(self)))
    }

    /// How old it is now (RFC 9111 4.2.3).
    pub fn age(&self) -> Duration {
        self.age_at(Instant::now())
    }

    /// How old it is at `now`.
    pub fn age_at(&self, now: Instant) -> Duration {
        self.times.age(now.saturating_duration_since(self.stored))
    }

    /// How long it is fresh from its making.
    pub fn lifetime(&self) -> Duration {
        self.times.lifetime()
    }

    /// How long it stays fresh from now; zero once it is stale.
    pub fn fresh_for(&self) -> Duration {
        let now = Instant::now();
        if self.freshness(now) == Freshness::Fresh {
            self.times.lifetime().saturating_sub(self.age_at(now))
        } else {
            Duration::ZERO
        }
    }

    /// Seconds from `now` until it is stale; since when it is, below zero.
    pub fn ttl(&self, now: Instant) -> i64 {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let age = self.age_at(now);
        if self.freshness(now) == Freshness::Fresh {
            return seconds(self.times.lifetime().saturating_sub(age));
        }
        let end = self.ended().map_or(self.times.lifetime(), |ended| {
            self.times.lifetime().min(self.times.age(ended))
        });
        -seconds(age.saturating_sub(end))
    }

    /// What it may be used for at `now`.
    pub fn freshness(&self, now: Instant) -> Freshness {
        let ended = self.ended();
        let resident = now.saturating_duration_since(self.stored);
        // Who has looked at the clock before a purge was found is bound by it too.
        let resident = resident.max(ended.unwrap_or_default());
        self.times.freshness(resident, ended)
    }

    /// Whether it answers by itself now.
    pub fn is_fresh(&self) -> bool {
        self.freshness(Instant::now()) == Freshness::Fresh
    }

    /// Whether it may be used although the origin gave no good answer.
    pub fn covers_errors(&self) -> bool {
        self.times
            .covers_errors(self.stored.elapsed(), self.ended())
    }

    /// Whether, without a good answer of the origin, it must not be used (504).
    pub fn must_revalidate(&self) -> bool {
        self.times.must_revalidate()
    }

    /// Whether it is never fresh: those who want it ask the origin each for themselves.
    pub fn is_asked_always(&self) -> bool {
        self.times.is_never_fresh()
    }

    /// How long it may be of use from its arrival, asking the origin aside.
    pub fn useful(&self) -> Duration {
        self.times.useful().saturating_sub(self.stored.elapsed())
    }

    /// Whether the origin can be asked if it is still good.
    pub fn has_validator(&self) -> bool {
        self.headers.contains_key(ETAG) || self.headers.contains_key(LAST_MODIFIED)
    }

    /// A soft purge concerns it.
    pub fn end(&self) {
        let resident = u64::try_from(self.stored.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        // The first purge that is found counts.
        let _ = self
            .ended
            .compare_exchange(0, resident + 1, Ordering::AcqRel, Ordering::Relaxed);
    }

    fn ended(&self) -> Option<Duration> {
        match self.ended.load(Ordering::Acquire) {
            0 => None,
            ended => Some(Duration::from_millis(ended - 1)),
        }
    }

    /// By what it is purged.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Whether a request may have it.
    ///
    /// One that takes a cookie upstream gets only what says itself that everybody may have it: an answer that was stored because its asker had none may be
    /// what a guest sees. Nor is one who carries `Authorization` given what a guest must ask about each time: whether its validator tells users
    /// apart only the origin knows.
    pub fn is_for(&self, asker: Asker<'_>) -> bool {
        let is_guests =
            || asker.has_cookies() || (self.is_asked_always() && asker.has_credentials());
        (self.explicit || !is_guests()) && self.answers(asker)
    }

    /// Whether it answers such a request by the fields that `Vary` names, whoever asks.
    pub fn answers(&self, asker: Asker<'_>) -> bool {
        self.variant.is_for_all() || self.variant.matches(asker.fields.all())
    }

    /// Whether it says itself that everybody may have it, those with cookies too.
    pub fn is_explicit(&self) -> bool {
        self.explicit
    }

    /// The fields by which it varies, with their values.
    pub fn varied(&self) -> &Variant {
        &self.variant
    }

    /// Whether it answers the same requests as another one, and so takes its place.
    pub fn replaces(&self, other: &Self) -> bool {
        // Variants stored under another Vary no longer match (RFC 9111 4.1).
        self.variant == other.variant || !self.vary().eq(other.vary())
    }

    /// One number for the values of the request that it answered, of the fields by which it varies.
    pub fn variant(&self) -> u64 {
        self.variant.digest()
    }

    /// The fields by which it varies, sorted.
    pub fn vary(&self) -> impl Iterator<Item = &HeaderName> {
        self.variant.names()
    }

    /// Bytes of everything that it holds.
    pub fn weight(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD)
            .sum();
        let attached = self
            .attachment
            .as_ref()
            .map_or(0, |attachment| attachment.weight);
        size_of::<Self>()
            + headers
            + self.body.len()
            + attached
            + self.variant.weight()
            + self.labels.weight()
    }
}

/// The same fields with values of their own, in one piece. Those that came are parts of the buffer that their connection reads into: kept
/// in store they would hold 8 KB and more for each response, and what others sent by the same connection.
fn own(fields: &HeaderMap) -> HeaderMap {
    let length = fields.values().map(HeaderValue::len).sum();
    let mut values = BytesMut::with_capacity(length);
    let mut copy = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        values.extend_from_slice(value.as_bytes());
        let own = values.split().freeze();
        // A value's bytes are a value.
        if let Ok(own) = HeaderValue::from_maybe_shared(own) {
            copy.append(name.clone(), own);
        }
    }
    copy
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cache::freshness::Defaults;
    use crate::cache::storable::{Answered, Asked, Verdict, judge};
    use http::Method;

    pub(crate) fn map(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in rows {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        map
    }

    /// What is stored of a response with these fields to a plain request.
    pub(crate) fn object(response: &[(&'static str, &'static str)]) -> Object {
        object_for(&[], response, Labels::default())
    }

    pub(crate) fn object_for(
        request: &[(&'static str, &'static str)],
        response: &[(&'static str, &'static str)],
        labels: Labels,
    ) -> Object {
        let (request, headers) = (map(request), map(response));
        let asked = Asked {
            method: &Method::GET,
            asker: Asker::new(&request),
            ttl: None,
            defaults: Defaults::default(),
        };
        let answered = Answered {
            status: StatusCode::OK,
            headers: &headers,
            at: SystemTime::now(),
            delay: Duration::ZERO,
        };
        let Verdict::Share(grant) = judge(asked, answered) else {
            panic!("{response:?} is not shared");
        };
        let parts = Parts {
            status: StatusCode::OK,
            headers,
            body: Bytes::from_static(b"body"),
            attachment: None,
            labels,
        };
        Object::new(parts, grant, &request)
    }

    #[test]
    fn what_is_stored_does_not_hold_what_was_read() {
        let read = Bytes::from(b"max-age=60, public; and what else was read".to_vec());
        let value = |range: std::ops::Range<usize>| {
            HeaderValue::from_maybe_shared(read.slice(range)).expect("text is a value")
        };
        let mut headers = HeaderMap::new();
        headers.append("cache-control", value(0..18));
        headers.append("x-one", value(0..7));
        headers.append("x-one", value(8..9));
        let copy = own(&headers);
        assert_eq!(copy, headers);
        drop((headers, value));
        assert!(read.is_unique());
    }

    #[tokio::test(start_paused = true)]
    async fn a_soft_purge_ends_its_freshness_and_begins_its_grace() {
        let stored = object(&[("cache-control", "max-age=60, stale-while-revalidate=30")]);
        let freshness = || stored.freshness(Instant::now());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(freshness(), Freshness::Fresh);
        assert_eq!(stored.ttl(Instant::now()), 50);
        let before = Instant::now() - Duration::from_secs(1);
        stored.end();
        assert_eq!(freshness(), Freshness::WhileRevalidating);
        let late = stored.freshness(before);
        assert_eq!(
            late,
            Freshness::WhileRevalidating,
            "a clock read before the purge was found"
        );
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(freshness(), Freshness::WhileRevalidating);
        assert_eq!(stored.ttl(Instant::now()), -29);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(freshness(), Freshness::Expired);
    }
}
