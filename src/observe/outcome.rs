//! What can become of a fragment, of a look-up in the cache, and of a page: words that metrics, pages and the access log share.

use serde::{Serialize, Serializer};

/// What became of one try to fetch a fragment. Every try of a URL is told on its own: an include whose `src` failed and whose
/// `alt` answered is one [`Outcome::Failed`] and one [`Outcome::Alt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A server answered.
    Ok,
    /// The store answered.
    Hit,
    /// The store answered with what is past its freshness.
    Stale,
    /// The second URL of an include answered in place of the first.
    Alt,
    /// It failed and `onerror` said to go on without it.
    OnError,
    /// It failed: no server, a bad answer, a cut body.
    Failed,
    /// It was not there in time.
    Timeout,
    /// A bound of ours forbade it: too deep, too many, no route.
    Refused,
    /// Nobody waited for it any more.
    Cancelled,
}

impl Outcome {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Hit,
        Self::Stale,
        Self::Alt,
        Self::OnError,
        Self::Failed,
        Self::Timeout,
        Self::Refused,
        Self::Cancelled,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Alt => "alt",
            Self::OnError => "onerror",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the page lacks the fragment through a fault (a cancelled one is nobody's fault).
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::OnError | Self::Failed | Self::Timeout | Self::Refused
        )
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why the store did not answer by itself (RFC 9211 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// Nothing was stored for the URL.
    UriMiss,
    /// Only other variants were.
    VaryMiss,
    /// What was stored is not for such an asker.
    Miss,
    /// It had to be asked about first.
    Stale,
    /// The request wanted more of it than it was.
    Request,
}

impl Why {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

/// What the store had to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheUse {
    /// Served from store.
    Hit,
    /// Served from store past its freshness.
    Stale,
    /// Served from store past its freshness, because the origin failed.
    Covered,
    /// Served from store after the origin said that it is still good.
    Revalidated(Why),
    /// Fetched, may be stored.
    Miss(Why),
    /// Fetched once together with others who asked.
    Coalesced(Why),
    /// Fetched; the store remembers that it is not storable.
    HitForMiss,
    /// Fetched, not looked up.
    Pass,
}

impl CacheUse {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale | Self::Covered => "stale",
            Self::Revalidated(_) => "revalidated",
            Self::Miss(_) => "miss",
            Self::Coalesced(_) => "coalesced",
            Self::HitForMiss => "hit-for-miss",
            Self::Pass => "pass",
        }
    }
}

impl Serialize for CacheUse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageEnd {
    /// All of it was handed to the listener.
    Complete,
    /// It was cut on our side or the origin's: the client sees a broken transfer.
    Cut,
    /// The client left before its end.
    ClientLeft,
}

impl PageEnd {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cut => "cut",
            Self::ClientLeft => "client-left",
        }
    }
}

impl Serialize for PageEnd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_stand_in_the_order_of_their_discriminants() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index, "{}", outcome.as_str());
        }
    }
}
