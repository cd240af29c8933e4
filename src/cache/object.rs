//! A stored response with its times. It never changes; what takes its place is another object.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::cache::key::Variant;
use crate::cache::storable::Grant;

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
    /// Its fields, hop-by-hop fields removed.
    pub headers: HeaderMap,
    /// The whole body, encoded as it came.
    pub body: Bytes,
    /// What was made of the body.
    pub attachment: Option<Attachment>,
    /// When it came, by the wall clock.
    pub came: SystemTime,
    stored: Instant,
    variant: Variant,
    grant: Grant,
}

impl Object {
    /// Keeps a response by the terms of its grant; `request` is what it answered.
    pub fn new(
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
        grant: Grant,
        request: &HeaderMap,
    ) -> Self {
        let variant = Variant::of(&grant.vary, request);
        let (came, stored) = (SystemTime::now(), Instant::now());
        Self {
            status,
            headers,
            body,
            attachment: None,
            came,
            stored,
            variant,
            grant,
        }
    }

    /// How old it is now (RFC 9111 4.2.3).
    pub fn age(&self) -> Duration {
        self.grant.age + self.stored.elapsed()
    }

    /// How long it is fresh from its making.
    pub fn lifetime(&self) -> Duration {
        self.grant.lifetime
    }

    /// How long it stays fresh from now; zero once it is stale.
    pub fn fresh_for(&self) -> Duration {
        self.grant.lifetime.saturating_sub(self.age())
    }

    /// Fresh means: its lifetime is greater than its age (RFC 9111 4.2).
    pub fn is_fresh(&self) -> bool {
        self.grant.lifetime > self.age()
    }

    /// Whether a request with these fields may have it.
    ///
    /// One that takes a cookie upstream gets only what says itself that everybody may have it: an answer that was stored because its asker had none may be
    /// what a guest sees.
    pub fn is_for(&self, request: &HeaderMap) -> bool {
        (self.grant.explicit || !request.contains_key(COOKIE)) && self.variant.matches(request)
    }

    /// Whether it answers the same requests as another one, and so takes its place.
    pub fn replaces(&self, other: &Self) -> bool {
        // Variants stored under another Vary no longer match (RFC 9111 4.1).
        self.grant.vary != other.grant.vary || self.variant == other.variant
    }

    /// Bytes of everything that it holds.
    pub fn weight(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 72)
            .sum();
        let attached = self
            .attachment
            .as_ref()
            .map_or(0, |attachment| attachment.weight);
        size_of::<Self>() + headers + self.body.len() + attached + self.variant.weight()
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Whether a request carries what tells its user.
pub fn has_credentials(request: &HeaderMap) -> bool {
    request.contains_key(COOKIE) || request.contains_key(AUTHORIZATION)
}
