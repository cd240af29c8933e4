//! What is remembered of fragments that stand together in pages: enough to tell, for the request of a later page, that a look-up
//! would find each of them just as it was, without looking them up.
//!
//! A bundle answers for a request only of the same gateway (a reload makes another one), scheme and host; while all its objects
//! are fresh; as long as nothing has changed under their keys and nothing was purged, else they are looked up again; and when this
//! asker may have each of them: by the cookies that its route would send, and by the fields that it varies by. Objects whose key
//! holds cookies, that are personal to those behind us, or that were asked for with fields of their include's are in no bundle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::changes::{Changes, Place};
use crate::cache::key::{Asker, CacheKey, Fields, Variant};
use crate::cache::object::Object;
use crate::cache::{Cache, Lookup};
use crate::compose::source::{FragmentMethod, FragmentRequest};
use crate::gateway::cache_policy::{self, Keyed};
use crate::gateway::fragments::PageFragments;
use crate::gateway::origin_request::Outgoing;
use crate::gateway::page_head::PartPolicy;
use crate::gateway::route::Route;
use crate::gateway::visit::Visit;
use crate::message::cache_control::RequestControl;
use crate::observe::hits::HitList;
use crate::observe::outcome::{CacheUse, Outcome};
use crate::observe::span::{FragmentStart, Served};

/// After so long all are looked up again: the store keeps what is asked for.
const LOOKED_UP: Duration = Duration::from_secs(1);

/// One fragment that was found at hand.
pub(super) struct Ticket {
    /// How often something had changed under its key before it was looked up.
    pub(super) seen: u64,
    pub(super) key: CacheKey,
    pub(super) object: Arc<Object>,
    pub(super) route: Arc<Route>,
    pub(super) host: String,
    pub(super) request: FragmentRequest,
    pub(super) policy: PartPolicy,
}

/// Several fragments.
pub(super) struct Bundle {
    asked: Asked,
    parts: Box<[Part]>,
    doors: Vec<Door>,
    /// What they mean for a head, together, at that time.
    policy: PartPolicy,
    joined: Instant,
    /// Until then all are fresh.
    fresh_until: Instant,
    /// When all were looked up the last time, in milliseconds since they were joined.
    looked_up: AtomicU64,
    hits: Arc<HitList>,
    /// The URL of the document that holds their tags.
    document: String,
}

/// What a request has in common with all that a bundle answers for.
#[derive(PartialEq, Eq)]
struct Asked {
    gateway: u64,
    scheme: &'static str,
    host: String,
    public_host: Option<String>,
}

/// One of them.
struct Part {
    key: CacheKey,
    place: Place,
    seen: AtomicU64,
    /// Not kept alive: what the store has thrown out is looked up again.
    object: Weak<Object>,
    /// By its index.
    door: usize,
}

/// Those that are asked for by one route, of one host.
struct Door {
    route: Weak<Route>,
    host: String,
    /// All of them say themselves that everybody may have them.
    explicit: bool,
    /// What they vary by.
    variants: Vec<Variant>,
}

/// Whether a fragment can be remembered: what its key and its fields hold is known from its URL and the visit.
pub(super) fn keeps(request: &FragmentRequest, route: &Route) -> bool {
    request.keeps
        && request.method == FragmentMethod::Get
        && request.headers.is_empty()
        && !route.tells_by_cookie()
}

impl Bundle {
    /// Joins what was found for one page; `None` when not all may be remembered.
    pub(super) fn join(page: &PageFragments, tickets: &[Ticket]) -> Option<Self> {
        let first = tickets.first()?;
        if !tickets.iter().all(|ticket| ticket.policy.is_for_all()) {
            return None;
        }
        let mut doors: Vec<Door> = Vec::new();
        let mut parts = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            let door = Self::door(&mut doors, ticket);
            parts.push(Part {
                key: ticket.key.clone(),
                place: Changes::place(&ticket.key),
                seen: AtomicU64::new(ticket.seen),
                object: Arc::downgrade(&ticket.object),
                door,
            });
        }
        let joined = Instant::now();
        let fresh_for = tickets
            .iter()
            .map(|ticket| ticket.object.fresh_for())
            .min()?;
        let mut policy = first.policy.clone();
        for ticket in &tickets[1..] {
            policy.join(&ticket.policy);
        }
        let hits = HitList::new(tickets.iter().map(|ticket| {
            let start = FragmentStart {
                url: ticket.request.url.as_str(),
                depth: ticket.request.depth,
                parent: None,
                offset: Some(ticket.request.place.offset),
            };
            let served = Served {
                route: &ticket.route.metrics,
                upstream: &ticket.route.upstream_metrics,
                outcome: Outcome::Hit,
                cache: CacheUse::Hit,
                bytes: ticket.object.body.len(),
            };
            (start, served)
        }));
        Some(Self {
            asked: Asked::by(page),
            parts: parts.into(),
            doors,
            policy,
            joined,
            fresh_until: joined.checked_add(fresh_for)?,
            looked_up: AtomicU64::new(0),
            hits: Arc::new(hits),
            document: first.request.place.document.as_str().to_owned(),
        })
    }

    /// The door that a fragment is asked for at.
    fn door(doors: &mut Vec<Door>, ticket: &Ticket) -> usize {
        let route = Arc::downgrade(&ticket.route);
        let same = |door: &Door| door.route.ptr_eq(&route) && door.host == ticket.host;
        let index = doors.iter().position(same).unwrap_or_else(|| {
            doors.push(Door {
                route,
                host: ticket.host.clone(),
                explicit: true,
                variants: Vec::new(),
            });
            doors.len() - 1
        });
        let door = &mut doors[index];
        door.explicit &= ticket.object.is_explicit();
        let variant = ticket.object.varied();
        // No request for a fragment says which codings it takes.
        if !variant.is_for_plain_requests() && !door.variants.contains(variant) {
            door.variants.push(variant.clone());
        }
        index
    }

    /// What the fragments mean for a head now, if this page's request would be given all of them; then they count as given.
    pub(super) fn still(&self, page: &PageFragments) -> Option<PartPolicy> {
        let now = Instant::now();
        let may = now < self.fresh_until
            && self.asked.is_by(page)
            && self.doors.iter().all(|door| door.opens(page))
            && self.is_unchanged(page, now);
        if !may {
            return None;
        }
        page.fetcher
            .observer()
            .cache()
            .hits(self.parts.len() as u64);
        page.trace.hits(&self.hits, page.span_of(&self.document));
        Some(self.policy.aged(now.saturating_duration_since(self.joined)))
    }

    /// Whether look-ups would find the same objects.
    fn is_unchanged(&self, page: &PageFragments, now: Instant) -> bool {
        let cache = page.fetcher.cache();
        let age = now.saturating_duration_since(self.joined).as_millis();
        let age = u64::try_from(age).unwrap_or(u64::MAX);
        let before = self.looked_up.load(Ordering::Relaxed);
        let all = age.saturating_sub(before) >= LOOKED_UP.as_millis() as u64
            && self
                .looked_up
                .compare_exchange(before, age, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        self.parts.iter().all(|part| {
            let seen = cache.changes().at(part.place);
            (seen == part.seen.load(Ordering::Relaxed) && !all) || self.is_found(page, part, seen)
        })
    }

    /// Whether a look-up finds the same object; `seen` was read before it.
    fn is_found(&self, page: &PageFragments, part: &Part, seen: u64) -> bool {
        let Some((door, route)) = self
            .doors
            .get(part.door)
            .and_then(|door| Some((door, door.route.upgrade()?)))
        else {
            return false;
        };
        let outgoing = Outgoing::new(&page.visit, &route.config, &door.host, || {
            page.plain_fields(&route, &door.host)
        });
        let found = look_up(page.fetcher.cache(), &part.key, &outgoing);
        let same =
            found.is_some_and(|object| std::ptr::eq(Arc::as_ptr(&object), part.object.as_ptr()));
        if same {
            part.seen.store(seen, Ordering::Relaxed);
        }
        same
    }
}

fn look_up(cache: &Cache, key: &CacheKey, fields: &dyn Fields) -> Option<Arc<Object>> {
    match cache.look_up(key, Asker::new(fields), false) {
        Lookup::Hit(object) => Some(object),
        _ => None,
    }
}

impl Asked {
    fn by(page: &PageFragments) -> Self {
        let Visit {
            scheme,
            host,
            public_host,
            ..
        } = &*page.visit;
        Self {
            gateway: page.gateway,
            scheme,
            host: host.clone(),
            public_host: public_host.clone(),
        }
    }

    fn is_by(&self, page: &PageFragments) -> bool {
        let visit = &*page.visit;
        self.gateway == page.gateway
            && self.scheme == visit.scheme
            && self.host == visit.host
            && self.public_host == visit.public_host
    }
}

impl Door {
    /// Whether the objects behind it may be given to this page's request.
    fn opens(&self, page: &PageFragments) -> bool {
        let Some(route) = self.route.upgrade() else {
            return false;
        };
        let policy = cache_policy::policy(&page.visit, &route.config, Keyed::Partly);
        if policy.control != RequestControl::default() {
            return false;
        }
        let outgoing = Outgoing::new(&page.visit, &route.config, &self.host, || {
            page.plain_fields(&route, &self.host)
        });
        (self.explicit || !outgoing.has_cookie())
            && self
                .variants
                .iter()
                .all(|variant| variant.matches(outgoing.all()))
    }
}
