//! An include: from its tag to what stands in its place. What a failed one may do to the page is told here and nowhere else.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use crate::compose::document::Ssi;
use crate::compose::evaluate::{Late, Thread, Wait};
use crate::compose::flight::Flight;
use crate::compose::head;
use crate::compose::output::Piece;
use crate::compose::page::Page;
use crate::compose::source::{
    Dca, Fetched, Fragment, FragmentError, FragmentMethod, FragmentRequest, FragmentSource,
    HeaderEdit, Part,
};
use crate::compose::url::Url;
use crate::compose::watch::Fallback;
use crate::expr::Scope;
use crate::template::Template;
use crate::template::tree::{HeaderChange, Include, SsiInclude, Text};

/// The place in the output that an include fills, and what is needed until it is filled.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    pub(super) purpose: Purpose,
    pub(super) unit: usize,
    pub(super) document: usize,
    pub(super) attempt: Option<usize>,
    pub(super) in_string: bool,
    /// What its failure does when nothing around it copes.
    pub(super) otherwise: Fallback,
    /// `eval` with `dca="esi"`: composed before it is evaluated.
    pub(super) compose_first: bool,
    /// What to ask for once `src` has failed.
    pub(super) alt: Option<Box<(Bytes, FragmentRequest)>>,
    pub(super) request: FragmentRequest,
    /// Its place among the parts of the page.
    pub(super) part: Option<usize>,
    pub(super) cookies: Vec<HeaderValue>,
    /// For a directive of SSI: what the fragment inherits, and the message for its failure.
    pub(super) ssi: Ssi,
    pub(super) stub: Option<Box<Late>>,
}

/// What stands in a slot.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing yet.
    Waiting,
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// The output of a document, a stub.
    List(usize),
    /// What `eval` will evaluate in the document that holds it.
    Template(Arc<Template>),
    /// Bytes that are not shown: they become a variable.
    KeptBytes(Bytes),
    /// Output that is not shown: it becomes a variable, or is evaluated once more.
    KeptList(usize),
}

/// What a fragment is fetched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To stand in the page.
    Show,
    /// To be evaluated in the document: `eval`.
    Evaluate,
    /// To become a variable: `set` of `#include`.
    Assign,
}

/// An include that evaluation has reached: all that the request decides is settled.
struct Call<'i> {
    include: &'i Include,
    unit: usize,
    purpose: Purpose,
}

impl<S: FragmentSource> Page<S> {
    /// Evaluation has reached an include; gives what it must wait for, if anything.
    pub(super) fn include(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        unit: usize,
        include: &Include,
        purpose: Purpose,
    ) -> Option<Wait> {
        let call = Call {
            include,
            unit,
            purpose,
        };
        self.includes += 1;
        let url = self.resolve(thread, scope, &call, include.src.as_ref());
        if let Ok(url) = &url
            && purpose == Purpose::Show
            && let Some(list) = self.inline_named(thread.document, url)
        {
            return Some(Wait::Inline(list));
        }
        let fetched = url.and_then(|url| {
            self.admit(unit, &url)?;
            Ok(self.request(thread, scope, &call, url))
        });
        match fetched {
            Ok(request) => self.fetch(thread, scope, &call, request),
            Err(error) => {
                let url = Arc::clone(self.url(unit));
                let request = self.unsent(&call, url);
                let slot = self.slot(thread, scope, &call, request);
                self.deliver(slot, Err(error));
                wait_for(&call, slot)
            }
        }
    }

    /// The content that answers for this URL in a document.
    fn inline_named(&self, document: usize, url: &Url) -> Option<usize> {
        let inlines = &self.documents[document].inlines;
        inlines
            .iter()
            .rev()
            .find(|(name, _)| **name == *url)
            .map(|(_, list)| *list)
    }

    fn fetch(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        call: &Call<'_>,
        request: FragmentRequest,
    ) -> Option<Wait> {
        let include = call.include;
        let memo = matches!(include.src, Some(Text::Constant(_))).then_some(&include.memo);
        self.watcher.fragment_started(&request.place, &request.url);
        match self.source.fetch(request.clone(), memo) {
            // The common case takes the shortest way: no slot, nothing to wait for.
            Fetched::Now(Ok(fragment)) if is_plain(call, &fragment) => {
                self.show(thread.list, &request, fragment);
                None
            }
            Fetched::Kept(fragment, ticket) if is_plain(call, &fragment) => {
                self.show(thread.list, &request, fragment);
                self.shown = Some((request.url, ticket));
                None
            }
            Fetched::Kept(fragment, _) => {
                let slot = self.slot(thread, scope, call, request);
                self.deliver(slot, Ok(fragment));
                wait_for(call, slot)
            }
            Fetched::Now(result) => {
                let slot = self.slot(thread, scope, call, request);
                self.deliver(slot, result);
                wait_for(call, slot)
            }
            Fetched::Later { expected, fragment } => {
                let max_wait = request.max_wait;
                let slot = self.slot(thread, scope, call, request);
                let unknown = expected.as_ref().is_none_or(S::is_personal);
                self.slots[slot].part = self.expect_part(expected);
                self.take_off(Flight::new(slot, fragment, max_wait));
                wait_for(call, slot).or_else(|| unknown.then(|| self.let_head_leave()).flatten())
            }
        }
    }

    /// One more fragment of which nothing is known, or that is personal: the head counts it so, and no further one would change that. So
    /// after a few of them it leaves, with the text before them, and the others are evaluated behind it.
    fn let_head_leave(&mut self) -> Option<Wait> {
        let left = self.before_head?.saturating_sub(1);
        self.before_head = Some(left);
        (left == 0 && self.parts.is_some()).then_some(Wait::Head)
    }

    /// A fragment stands in the page as it came.
    fn show(&mut self, list: usize, request: &FragmentRequest, fragment: Fragment<S::Policy>) {
        self.watcher
            .fragment_done(&request.place, &request.url, fragment.body.len());
        self.reservations.extend(fragment.reservation);
        self.push_shared(list, without_mark(fragment.body));
        self.settle_part(None, Part::Here(fragment.policy));
    }

    /// The URL of `src` or `alt`.
    fn resolve(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        call: &Call<'_>,
        link: Option<&Text>,
    ) -> Result<Arc<Url>, FragmentError> {
        let base = Arc::clone(self.url(call.unit));
        let include = call.include;
        match link {
            None => Err(FragmentError::NoUrl),
            Some(Text::Constant(reference)) => {
                if let Some(Some(url)) = include
                    .resolved
                    .read(|known: &Resolved| known.from(&base, reference))
                {
                    return Ok(url);
                }
                let url = Arc::new(checked_join(&base, reference, include)?);
                include.resolved.leave(Resolved {
                    base,
                    reference: reference.clone(),
                    url: Arc::clone(&url),
                });
                Ok(url)
            }
            Some(text) => {
                let reference = self.link(thread, scope, call.unit, include.offset, text);
                Ok(Arc::new(checked_join(&base, &reference, include)?))
            }
        }
    }

    /// Whether one more include of this URL is within the bounds of the page.
    fn admit(&self, unit: usize, url: &Url) -> Result<(), FragmentError> {
        let config = &self.rules.config;
        if self.includes > config.max_includes {
            return Err(FragmentError::TooMany(config.max_includes));
        }
        if self.units[unit].depth >= config.max_depth {
            return Err(FragmentError::Depth(config.max_depth));
        }
        self.refuse_ancestor(unit, url)
    }

    pub(super) fn refuse_ancestor(&self, unit: usize, url: &Url) -> Result<(), FragmentError> {
        let mut ancestor = Some(unit);
        while let Some(unit) = ancestor {
            let unit = &self.units[unit];
            if unit.url.names_the_same(url) {
                return Err(FragmentError::Ancestor);
            }
            ancestor = unit.parent;
        }
        Ok(())
    }

    fn request(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        call: &Call<'_>,
        url: Arc<Url>,
    ) -> FragmentRequest {
        let include = call.include;
        // Only a POST has a body (section 4).
        let entity = include
            .entity
            .as_ref()
            .filter(|_| include.method == FragmentMethod::Post);
        let entity = entity.map(|text| self.plain(thread, scope, call.unit, include.offset, text));
        let headers = self.header_edits(thread, scope, call);
        FragmentRequest {
            entity,
            // Where the URL is asked of the request, another visitor's is another; and what sets no header for one may set one
            // for another.
            keeps: thread.wants_tickets()
                && include.headers.is_empty()
                && matches!(include.src, Some(Text::Constant(_))),
            headers,
            // What `eval` brings is evaluated, so it is a document.
            dca: match (call.purpose, include.dca) {
                (Purpose::Evaluate, Dca::Declared) => Dca::Esi,
                (_, dca) => dca,
            },
            ..self.unsent(call, url)
        }
    }

    /// A request of which nothing is evaluated yet; for an include that asks nobody, what its log lines need.
    fn unsent(&self, call: &Call<'_>, url: Arc<Url>) -> FragmentRequest {
        let include = call.include;
        FragmentRequest {
            url,
            method: include.method,
            entity: None,
            headers: Vec::new(),
            ttl: include.ttl,
            no_store: include.no_store,
            dca: include.dca,
            max_wait: include.max_wait,
            depth: self.units[call.unit].depth + 1,
            place: self.place(call.unit, include.offset),
            keeps: false,
        }
    }

    fn header_edits(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        call: &Call<'_>,
    ) -> Vec<HeaderEdit> {
        let include = call.include;
        let mut edits = Vec::new();
        for rule in &include.headers {
            let line = self.plain(thread, scope, call.unit, include.offset, &rule.text);
            let edit = match rule.change {
                HeaderChange::Remove => http::HeaderName::from_bytes(line.trim_ascii())
                    .ok()
                    .map(HeaderEdit::Remove),
                HeaderChange::Set => {
                    head::field(&line).map(|(name, value)| HeaderEdit::Set(name, value))
                }
                HeaderChange::Append => {
                    head::field(&line).map(|(name, value)| HeaderEdit::Append(name, value))
                }
            };
            match edit {
                Some(edit) if !head::is_refused_in_requests(edit.name()) => edits.push(edit),
                Some(edit) => {
                    let refused = format!("an include cannot change the header {}", edit.name());
                    self.template_error(call.unit, include.offset, &refused);
                }
                None => self.template_error(call.unit, include.offset, &"not a header field"),
            }
        }
        edits
    }

    fn slot(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        call: &Call<'_>,
        request: FragmentRequest,
    ) -> usize {
        let include = call.include;
        // Its text means what it meant when the include was reached. Without `src` there is nothing that it stands in for.
        let alt = include
            .alt
            .as_ref()
            .filter(|_| include.src.is_some())
            .map(|alt| {
                let reference = self.link(thread, scope, call.unit, include.offset, alt);
                Box::new((reference, request.clone()))
            });
        let document = &self.documents[thread.document];
        let stub = include.ssi.as_ref().and_then(|ssi| {
            let code = document.ssi.blocks.get(ssi.stub.as_ref()?)?;
            Some(self.late(thread, scope, *code))
        });
        if let Some(SsiInclude { stub: Some(_), .. }) = &include.ssi
            && stub.is_none()
        {
            self.template_error(call.unit, include.offset, &"stub names no block before it");
        }
        let document = &self.documents[thread.document];
        let slot = Slot {
            state: State::Waiting,
            purpose: call.purpose,
            unit: call.unit,
            document: thread.document,
            attempt: thread.attempt,
            in_string: include.in_string,
            otherwise: match &include.ssi {
                _ if include.on_error_continue => Fallback::Continue,
                Some(_) => Fallback::Message,
                None => Fallback::Empty,
            },
            compose_first: include.dca == Dca::Esi,
            alt,
            request,
            part: None,
            cookies: Vec::new(),
            ssi: document.ssi.clone(),
            stub,
        };
        if document.is_page {
            self.unanswered += 1;
        }
        if let Some(attempt) = thread.attempt {
            self.attempts[attempt].pending += 1;
        }
        self.slots.push(slot);
        let slot = self.slots.len() - 1;
        self.lists[thread.list].push(Piece::Slot(slot));
        slot
    }
}

impl HeaderEdit {
    /// The field that it changes.
    pub fn name(&self) -> &http::HeaderName {
        match self {
            Self::Set(name, _) | Self::Append(name, _) | Self::Remove(name) => name,
        }
    }
}

/// Whether a fragment stands in the page as it came.
fn is_plain<P>(call: &Call<'_>, fragment: &Fragment<P>) -> bool {
    let stubbed = call
        .include
        .ssi
        .as_ref()
        .is_some_and(|ssi| ssi.stub.is_some());
    let composed = call.include.dca != Dca::None
        && (fragment.template.is_some() || call.include.dca == Dca::Esi);
    call.purpose == Purpose::Show
        && (200..300).contains(&fragment.status)
        && !composed
        && !call.include.in_string
        && !stubbed
        && fragment.set_cookies.is_empty()
}

/// What evaluation waits for once an include is asked for.
fn wait_for(call: &Call<'_>, slot: usize) -> Option<Wait> {
    match (call.purpose, &call.include.ssi) {
        (Purpose::Evaluate, _) => Some(Wait::Evaluate {
            slot,
            compose_first: call.include.dca == Dca::Esi,
        }),
        (
            Purpose::Assign,
            Some(SsiInclude {
                set: Some(name), ..
            }),
        ) => Some(Wait::Assign {
            slot,
            name: name.clone(),
            offset: call.include.offset,
        }),
        (_, Some(SsiInclude { wait: true, .. })) => Some(Wait::Answer { slot }),
        _ => None,
    }
}

/// What a constant reference resolved to; good for the same base again.
struct Resolved {
    base: Arc<Url>,
    reference: Bytes,
    url: Arc<Url>,
}

impl Resolved {
    fn from(&self, base: &Arc<Url>, reference: &Bytes) -> Option<Arc<Url>> {
        let same_base = Arc::ptr_eq(&self.base, base) || self.base.resolves_like(base);
        (same_base && self.reference == *reference).then(|| Arc::clone(&self.url))
    }
}

fn checked_join(base: &Url, reference: &[u8], include: &Include) -> Result<Url, FragmentError> {
    let url = base.join(reference)?;
    let names_file = include.ssi.as_ref().is_some_and(|ssi| ssi.file);
    if names_file && !is_file_reference(reference) {
        return Err(FragmentError::Broken(
            "`file` must be relative, without `..`".to_owned(),
        ));
    }
    Ok(url)
}

/// Whether a reference is a path that starts where its document stands and never climbs.
fn is_file_reference(reference: &[u8]) -> bool {
    let path = reference
        .split(|byte| matches!(byte, b'?' | b'#'))
        .next()
        .unwrap_or_default();
    let lower = path.trim_ascii().to_ascii_lowercase();
    let decoded = String::from_utf8_lossy(&lower)
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "\\");
    !decoded.starts_with(['/', '\\'])
        && !decoded.contains(':')
        && !decoded.split(['/', '\\']).any(|segment| segment == "..")
}

/// Of UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A fragment stands inside a page, where a byte order mark would be a character.
pub(super) fn without_mark(body: Bytes) -> Bytes {
    match body.strip_prefix(BYTE_ORDER_MARK) {
        Some(_) => body.slice(BYTE_ORDER_MARK.len()..),
        None => body,
    }
}
