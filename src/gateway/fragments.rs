//! Gives the fragments of one page: by route and fetch, with this visitor's credentials as the route allows.
//!
//! An include reaches what the routing table names, and nothing else: no route, no connection.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::Instant;

use crate::cache::Lookup;
use crate::cache::changes::Changes;
use crate::cache::key::{Asker, CacheKey};
use crate::cache::object::Object;
use crate::compose::limits::Memory;
use crate::compose::request_scope::{ReadableCookies, facts};
use crate::compose::source::{
    self, Dca, Fetched, Fragment, FragmentError, FragmentMethod, FragmentRequest, FragmentSource,
    HeaderEdit, Part,
};
use crate::config::ComposeConfig;
use crate::expr::RequestFacts;
use crate::fetch::{Ask, Fetcher, Policy};
use crate::gateway::bundle::{self, Bundle, Ticket};
use crate::gateway::cache_policy;
use crate::gateway::carrier::Carrier;
use crate::gateway::fragment_fetch::{Pending, Promised, Spans, Waited, stored};
use crate::gateway::origin_request::{self, Outgoing, Purpose};
use crate::gateway::page_head::PartPolicy;
use crate::gateway::remembered::Remembered;
use crate::gateway::route::Route;
use crate::gateway::visit::{Visit, without_default_port};
use crate::message::Body;
use crate::message::cache_control::RequestControl;
use crate::message::deadline::Deadline;
use crate::message::outgoing::OutgoingRequest;
use crate::observe::outcome::{CacheUse, Outcome};
use crate::observe::page::PageTrace;
use crate::observe::span::{FragmentStart, Notes, Served, Span, SpanId};
use crate::routing::Router;
use crate::template::memo::Memo;

/// The fragments of one page.
pub struct PageFragments {
    pub(super) visit: Arc<Visit>,
    pub(super) routes: Arc<Router<Arc<Route>>>,
    pub(super) fetcher: Fetcher,
    pub(super) compose: Arc<ComposeConfig>,
    pub(super) memory: Memory,
    /// Which fragments were for everybody the last time.
    pub(super) remembered: Arc<Remembered>,
    /// When the page must be done.
    pub(super) deadline: Deadline,
    pub(super) trace: PageTrace,
    /// The spans of documents that hold includes, by their URL.
    pub(super) documents: Spans,
    /// What the head of the page has promised, once it has left.
    pub(super) promised: Promised,
    /// Whether a fragment was refused to this visitor, and perhaps to no other one.
    pub(super) refused: Arc<AtomicBool>,
    /// Which cookies templates may read.
    pub(super) readable: Arc<ReadableCookies>,
    /// The fields of plain requests, made once for each route and host: most includes of a page ask alike.
    pub(super) plain: Mutex<Vec<Plain>>,
    /// Carries out what must be fetched.
    pub(super) carrier: Carrier,
    /// Tells the gateway that answers from those before and after a reload.
    pub(super) gateway: u64,
    /// Only the head is wanted (HEAD): what is not at hand is not fetched.
    pub(super) head_only: bool,
}

/// The fields of a GET to one host by one route.
pub struct Plain {
    route: Arc<Route>,
    host: String,
    fields: Arc<HeaderMap>,
}

impl FragmentSource for PageFragments {
    type Policy = PartPolicy;

    fn is_personal(policy: &PartPolicy) -> bool {
        !policy.is_shared()
    }

    fn fetch(&self, request: FragmentRequest, _memo: Option<&Memo>) -> Fetched<PartPolicy> {
        let url = Arc::clone(&request.url);
        let host = without_default_port(url.authority(), url.scheme());
        let Some(route) = self.routes.find(host, url.path()) else {
            return Fetched::Now(Err(FragmentError::NoRoute));
        };
        let foreign = host != self.visit.host || url.scheme() != self.visit.scheme;
        // A header that the include sets is part of what is asked for and not of the key: such an answer is nobody else's.
        let sets_headers = request
            .headers
            .iter()
            .any(|edit| !matches!(edit, HeaderEdit::Remove(_)));
        let outgoing = Outgoing::new(&self.visit, &route.config, host, || {
            self.headers(&request, route, host)
        });
        let target = url.target();
        let (key, told) = cache_policy::key(&self.visit, &route.config, host, target, &outgoing);
        let of_route = cache_policy::policy(&self.visit, &route.config, told);
        let policy = Policy {
            cacheable: of_route.cacheable && !request.no_store && !sets_headers,
            whole: true,
            ..of_route
        };
        let now = Instant::now();
        let mut found = None;
        // What is not to be stored by anybody is known before it comes.
        let mut expected = request
            .no_store
            .then(|| PartPolicy::personal().or_no_store(true));
        if policy.cacheable && request.method == FragmentMethod::Get {
            let keeps =
                bundle::keeps(&request, route) && policy.control == RequestControl::default();
            // Read before the look-up: what changes later is seen.
            let seen = keeps.then(|| {
                let place = Changes::place(&key);
                self.fetcher.cache().changes().at(place)
            });
            let at_hand = self.fetcher.at_hand(&key, &outgoing, policy, now);
            match &at_hand {
                Lookup::Hit(object) => {
                    let fragment = self.at_hand(&request, route, object, CacheUse::Hit, foreign);
                    drop(outgoing);
                    return match (fragment, seen) {
                        (Ok(fragment), Some(seen)) => {
                            let ticket = Ticket {
                                seen,
                                key,
                                object: Arc::clone(object),
                                route: Arc::clone(route),
                                host: host.to_owned(),
                                policy: fragment.policy.clone(),
                                request,
                            };
                            Fetched::Kept(fragment, Box::new(ticket))
                        }
                        (fragment, _) => Fetched::Now(fragment),
                    };
                }
                Lookup::Stale(object) => {
                    let fragment = self.at_hand(&request, route, object, CacheUse::Stale, foreign);
                    if !self.head_only {
                        let headers = outgoing.into_fields();
                        self.refresh(request, route, key, headers, policy);
                    }
                    return Fetched::Now(fragment);
                }
                Lookup::Miss(_) | Lookup::Expired(_) => {
                    let asker = Asker {
                        fields: &outgoing,
                        keyed: policy.keyed,
                    };
                    // What comes may be a document now, whose includes take the visitor's credentials elsewhere; and one that
                    // others show as it came is a document for an include that says so.
                    if !self.visit.has_credentials() && request.dca != Dca::Esi {
                        expected = self.remembered.expected(&key, asker);
                    }
                }
                // Not shareable lately: it counts as personal.
                Lookup::HitForMiss { no_store } => {
                    expected = no_store.then(|| PartPolicy::personal().or_no_store(true));
                }
            }
            found = Some(at_hand);
        }
        if self.head_only {
            return Fetched::Later {
                expected,
                fragment: Box::pin(std::future::pending()),
            };
        }
        let headers = outgoing.into_fields();
        let span = self.begin(&request, route);
        let mut fetch = self.pending(request, route, key, headers, found, policy, span);
        fetch.foreign = foreign;
        // In a box of its own on its way to where it is carried out: it is large.
        let fetch = Box::pin(fetch.run());
        Fetched::Later {
            expected,
            fragment: Box::pin(self.carrier.clone().carry(fetch)),
        }
    }

    fn request(&self) -> Arc<RequestFacts> {
        let visit = &*self.visit;
        Arc::new(facts(
            &visit.method,
            &visit.uri,
            &visit.client_headers,
            visit.client,
            &self.readable,
        ))
    }

    fn join(&self, tickets: Vec<source::Ticket>) -> Option<source::Bundle> {
        let tickets: Vec<Ticket> = tickets
            .into_iter()
            .filter_map(|ticket| ticket.downcast().ok())
            .map(|ticket: Box<Ticket>| *ticket)
            .collect();
        Some(Arc::new(Bundle::join(self, &tickets)?))
    }

    fn still(&self, bundle: &source::Bundle) -> Option<PartPolicy> {
        bundle.downcast_ref::<Bundle>()?.still(self)
    }

    fn let_finish(&self, rest: BoxFuture<'static, ()>) {
        // Each fetch has a time of its own; none outlives the page's.
        let deadline = self.deadline;
        tokio::spawn(async move { deadline.bound(rest).await });
    }

    fn late_part(&self, part: &Part<PartPolicy>) {
        let Part::Here(policy) = part else { return };
        let promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        if promised
            .as_ref()
            .is_some_and(|head| head.promised_more_than(policy))
        {
            self.fetcher.observer().overpromised();
            tracing::warn!(
                request = %self.visit.id,
                path = self.visit.path(),
                "a part came that is less cacheable than what the head of its page has promised"
            );
        }
    }
}

impl PageFragments {
    /// The fields of the fragment's request.
    fn headers(&self, request: &FragmentRequest, route: &Arc<Route>, host: &str) -> Arc<HeaderMap> {
        if request.method != FragmentMethod::Get || !request.headers.is_empty() {
            return Arc::new(self.own_headers(request, route, host));
        }
        self.plain_fields(route, host)
    }

    /// The fields of a plain GET to a host by a route.
    pub(super) fn plain_fields(&self, route: &Arc<Route>, host: &str) -> Arc<HeaderMap> {
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = plain
            .iter()
            .find(|known| Arc::ptr_eq(&known.route, route) && known.host == host)
        {
            return Arc::clone(&known.fields);
        }
        let fields = origin_request::fields(&self.visit, &route.config, host, Purpose::Fragment);
        let fields = Arc::new(fields);
        plain.push(Plain {
            route: Arc::clone(route),
            host: host.to_owned(),
            fields: Arc::clone(&fields),
        });
        fields
    }

    /// The fields of one fragment's request, with the include's own changes last.
    fn own_headers(&self, request: &FragmentRequest, route: &Route, host: &str) -> HeaderMap {
        let mut fields =
            origin_request::fields(&self.visit, &route.config, host, Purpose::Fragment);
        if request.method == FragmentMethod::Post {
            fields.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
        }
        for edit in &request.headers {
            match edit {
                HeaderEdit::Set(name, value) if may_edit(name) => {
                    fields.insert(name.clone(), value.clone());
                }
                HeaderEdit::Append(name, value) if may_edit(name) => {
                    fields.append(name.clone(), value.clone());
                }
                HeaderEdit::Remove(name) if may_edit(name) => {
                    fields.remove(name);
                }
                HeaderEdit::Set(..) | HeaderEdit::Append(..) | HeaderEdit::Remove(_) => {}
            }
        }
        fields
    }

    /// The span of the document with this URL.
    pub(super) fn span_of(&self, document: &str) -> Option<SpanId> {
        let documents = self
            .documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        documents.get(document).copied()
    }

    fn start<'a>(&self, request: &'a FragmentRequest) -> FragmentStart<'a> {
        FragmentStart {
            url: request.url.as_str(),
            depth: request.depth,
            parent: self.span_of(request.place.document.as_str()),
            offset: Some(request.place.offset),
        }
    }

    fn begin(&self, request: &FragmentRequest, route: &Route) -> Span {
        let span = self.trace.fragment(&self.start(request));
        span.routed(&route.metrics, &route.upstream_metrics);
        span
    }

    /// A stored fragment: no task, no channel, no boxed future.
    fn at_hand(
        &self,
        request: &FragmentRequest,
        route: &Route,
        object: &Object,
        used: CacheUse,
        foreign: bool,
    ) -> Result<Fragment<PartPolicy>, FragmentError> {
        let fragment = stored(route, object, request.dca, foreign);
        let served = Served {
            route: &route.metrics,
            upstream: &route.upstream_metrics,
            outcome: match (&fragment, used) {
                (Err(_), _) => Outcome::Failed,
                (Ok(_), CacheUse::Stale) => Outcome::Stale,
                (Ok(_), _) => Outcome::Hit,
            },
            cache: used,
            bytes: object.body.len(),
        };
        self.trace.hit(&self.start(request), &served);
        fragment
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each part is moved into the fetch once"
    )]
    fn pending(
        &self,
        request: FragmentRequest,
        route: &Arc<Route>,
        key: CacheKey,
        headers: Arc<HeaderMap>,
        found: Option<Lookup>,
        policy: Policy,
        span: Span,
    ) -> Pending {
        let (dca, no_store) = (request.dca, request.no_store);
        let url = Arc::clone(&request.url);
        let ask = self.ask(request, route, key, headers, policy, span.notes().clone());
        let deadline = ask.as_ref().map_or(self.deadline, |asked| asked.deadline);
        Pending {
            ask,
            found,
            fetcher: self.fetcher.clone(),
            route: Arc::clone(route),
            dca,
            foreign: false,
            no_store,
            limit: self.compose.max_document.as_usize(),
            merges: self.compose.merge_set_cookie,
            memory: self.memory.clone(),
            remembered: Arc::clone(&self.remembered),
            promised: Arc::clone(&self.promised),
            refused: Arc::clone(&self.refused),
            documents: Arc::clone(&self.documents),
            url,
            span: Waited {
                span: Some(span),
                deadline,
            },
        }
    }

    /// What is asked of the cache and the upstream.
    fn ask(
        &self,
        request: FragmentRequest,
        route: &Route,
        key: CacheKey,
        headers: Arc<HeaderMap>,
        policy: Policy,
        notes: Notes,
    ) -> Result<Ask, FragmentError> {
        let default = route
            .config
            .timeout
            .unwrap_or(self.compose.fragment_timeout);
        let deadline = self.deadline.within(request.max_wait.unwrap_or(default));
        let method = match request.method {
            FragmentMethod::Get => Method::GET,
            FragmentMethod::Post => Method::POST,
        };
        let target = cache_policy::sent(&method, request.url.target(), &route.config);
        let target = target.parse();
        Ok(Ask {
            key,
            request: OutgoingRequest {
                method,
                uri: target
                    .map_err(|_| FragmentError::Broken("not a request target".to_owned()))?,
                fields: headers,
                body: request.entity.map_or_else(Body::empty, Body::full),
            },
            upstream: Arc::clone(&route.upstream),
            policy,
            ttl: request.ttl,
            deadline,
            prepare: Arc::clone(&route.documents) as Arc<_>,
            notes,
        })
    }

    /// What is stale has been given; the upstream is asked for it anew.
    fn refresh(
        &self,
        request: FragmentRequest,
        route: &Route,
        key: CacheKey,
        headers: Arc<HeaderMap>,
        policy: Policy,
    ) {
        let notes = Notes::unobserved();
        if let Ok(ask) = self.ask(request, route, key, headers, policy, notes) {
            self.fetcher.refresh(ask);
        }
    }
}

/// Fields that an include never changes (language reference, section 4).
fn may_edit(name: &HeaderName) -> bool {
    let name = name.as_str();
    !matches!(
        name,
        "host"
            | "cookie"
            | "authorization"
            | "content-length"
            | "transfer-encoding"
            | "connection"
            | "te"
            | "trailer"
            | "upgrade"
            | "keep-alive"
            | "expect"
            | "http2-settings"
    ) && !name.starts_with("proxy-")
        && !name.starts_with("x-forwarded-")
}
