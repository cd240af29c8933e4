//! Who can give a fragment: the one turn upward in the house, as a trait that compose owns.
//!
//! The gateway implements it by routing and fetch, `marquetry compose` by files, tests by a map. A source belongs to one
//! page request: it knows whose request it is, and with that which cookies may go where.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue};

use crate::compose::limits::Reservation;
use crate::compose::url::{Url, UrlError};
use crate::expr::RequestFacts;
use crate::template::Template;
use crate::template::memo::Memo;
pub use crate::template::tree::{Dca, FragmentMethod};

/// Gives fragments to one page.
pub trait FragmentSource: Send + Sync + 'static {
    /// What a fragment means for the head of the page (its lifetime, whether it is personal). Opaque here: it is handed
    /// back with [`Part`], and whoever writes the head folds it.
    type Policy: Send + Sync + 'static;

    /// Whether a part of this policy makes the page its visitor's, so that it matters less what others are.
    fn is_personal(_: &Self::Policy) -> bool {
        false
    }

    /// Gives the fragment at once when it is at hand, else a future that fetches it.
    ///
    /// The future does nothing before it is polled for the first time: compose polls at most `concurrency` of them at a
    /// time, and drops them when the client leaves. It ends within the time that the request's `maxwait` or the source's own
    /// default allows. `memo` belongs to the include in the compiled template (none when its URL is not constant).
    fn fetch(&self, request: FragmentRequest, memo: Option<&Memo>) -> Fetched<Self::Policy>;

    /// What the client's request offers to expressions; asked once a page at most, and not for pages that read nothing of it.
    fn request(&self) -> Arc<RequestFacts>;

    /// Joins what was kept of fragments that stand together in a page, so that their composed bytes can be used again; `None`
    /// when that is not to be. A fragment that is not for everybody is in no bundle.
    fn join(&self, tickets: Vec<Ticket>) -> Option<Bundle> {
        let _ = tickets;
        None
    }

    /// Whether this page's request would be given all fragments of a bundle at hand, each just as it was, and what they mean for its
    /// head by now. They count as given; watchers are not told of them one by one.
    fn still(&self, bundle: &Bundle) -> Option<Self::Policy> {
        let _ = bundle;
        None
    }

    /// The page is complete, and these fetches are not: an attempt that asked for them has failed by another one, and they are left
    /// to finish (language reference, section 9). They end within their own time; dropping the future breaks them off.
    fn let_finish(&self, rest: BoxFuture<'static, ()>) {
        drop(rest);
    }

    /// A part that became known only after the head had left: it may be stricter than what the head promised.
    fn late_part(&self, part: &Part<Self::Policy>) {
        let _ = part;
    }
}

/// What a source knows of one fragment that it gave at hand, and wants to find again; opaque here.
pub type Ticket = Box<dyn Any + Send + Sync>;

/// The same of several.
pub type Bundle = Arc<dyn Any + Send + Sync>;

/// What an include asks for. Depth, ancestors and the number of includes have been checked.
#[derive(Debug, Clone)]
pub struct FragmentRequest {
    /// Absolute, dot segments removed, the query as it is written.
    pub url: Arc<Url>,
    /// GET or POST.
    pub method: FragmentMethod,
    /// The body of a POST.
    pub entity: Option<Bytes>,
    /// Changes to the request's header fields, to be made in this order after all others.
    pub headers: Vec<HeaderEdit>,
    /// Lifetime in the shared cache instead of the one that the response gives.
    pub ttl: Option<Duration>,
    /// Neither read from nor written to any cache.
    pub no_store: bool,
    /// Whether the fragment is to be composed.
    pub dca: Dca,
    /// `maxwait`. Compose drops the future once it has passed, so a source needs no clock for it.
    pub max_wait: Option<Duration>,
    /// The page's own includes are at depth 1.
    pub depth: usize,
    /// The tag that asks.
    pub place: Place,
    /// Whether its bytes may be used again in later pages: then a source that can tell whether they still hold gives a [`Ticket`].
    pub keeps: bool,
}

/// One change to the header fields of a fragment's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Replaces all fields of this name.
    Set(HeaderName, HeaderValue),
    /// Adds a field.
    Append(HeaderName, HeaderValue),
    /// Takes all fields of this name away.
    Remove(HeaderName),
}

/// Where a tag stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The document that holds it.
    pub document: Arc<Url>,
    /// Bytes from the start of that document.
    pub offset: usize,
}

/// The answer of a source.
pub enum Fetched<P> {
    /// It was at hand: costs no task, no channel, no boxed future.
    Now(Result<Fragment<P>, FragmentError>),
    /// The same, and later requests can be told whether they would be given it too.
    Kept(Fragment<P>, Ticket),
    /// It must be fetched.
    Later {
        /// What the last fetch of this fragment meant for a page's head, when that is remembered and bound to hold again
        /// until the fragment is here. Give none for a document: its own includes may be stricter.
        expected: Option<P>,
        /// The fetch.
        fragment: BoxFuture<'static, Result<Fragment<P>, FragmentError>>,
    },
}

/// A fragment that was read to its proper end.
#[derive(Debug)]
pub struct Fragment<P> {
    /// Outside 200 to 299 the fragment has failed and its body is never shown.
    pub status: u16,
    /// The decoded body.
    pub body: Bytes,
    /// The compiled body when the fragment is a document; compiled by the source so that it can be kept with a stored object.
    pub template: Option<Arc<Template>>,
    /// What it means for the page's head.
    pub policy: P,
    /// Its `Set-Cookie` lines in order; only those that may be given to this client, so none of a stored response.
    pub set_cookies: Vec<HeaderValue>,
    /// The share of `compose.memory` that its body holds, given back when the page is done.
    pub reservation: Option<Reservation>,
}

/// Why a fragment failed. Names what an operator needs to find the fault; never the value of a cookie.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// No `src`, or an empty one.
    #[error("the include has no URL")]
    NoUrl,
    /// The URL cannot be used.
    #[error("{0}")]
    Url(#[from] UrlError),
    /// No route leads there.
    #[error("no route for this URL")]
    NoRoute,
    /// A status outside 200 to 299.
    #[error("status {0}")]
    Status(u16),
    /// No connection, or broken off.
    #[error("{0}")]
    Connection(String),
    /// Not in time.
    #[error("timed out")]
    TimedOut,
    /// Larger than a fragment may be (in bytes).
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// It could not be read or decoded.
    #[error("{0}")]
    Broken(String),
    /// A queue is full, or the memory for documents is used up.
    #[error("{0}")]
    Overloaded(String),
    /// Nested deeper than allowed.
    #[error("includes nest deeper than {0}")]
    Depth(usize),
    /// The URL is that of the document itself or of one that includes it.
    #[error("the document would include itself")]
    Ancestor,
    /// The page has more includes than allowed.
    #[error("more than {0} includes in one page")]
    TooMany(usize),
}

/// What is known of one part of a page when its head is written.
#[derive(Debug)]
pub enum Part<P> {
    /// It is here.
    Here(P),
    /// It is not here yet; this is what its last fetch said.
    Expected(P),
    /// Nothing is known yet: it counts as personal.
    Unknown,
    /// It failed and something else, or nothing, stands in its place.
    Failed,
}
