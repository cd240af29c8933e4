//! An include: from its tag to what stands in its place. What a failed one may do to the page is told here and nowhere else.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use crate::compose::document::{Code, Ssi, Unit};
use crate::compose::error::ComposeError;
use crate::compose::evaluate::{Late, Thread, Wait};
use crate::compose::flight::Flight;
use crate::compose::head;
use crate::compose::output::Piece;
use crate::compose::page::Page;
use crate::compose::source::{
    Dca, Fetched, Fragment, FragmentError, FragmentRequest, FragmentSource, HeaderEdit, Part,
};
use crate::compose::url::Url;
use crate::compose::watch::Fallback;
use crate::config::OnError;
use crate::expr::Scope;
use crate::template::tree::{HeaderChange, Include, SsiInclude, Text};
use crate::template::{self, Template};

/// The place in the output that an include fills, and what is needed until it is filled.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    purpose: Purpose,
    unit: usize,
    document: usize,
    attempt: Option<usize>,
    in_string: bool,
    on_error_continue: bool,
    /// `eval` with `dca="esi"`: composed before it is evaluated.
    compose_first: bool,
    /// What to ask for once `src` has failed.
    alt: Option<Box<(Bytes, FragmentRequest)>>,
    request: FragmentRequest,
    /// Its place among the parts of the page.
    part: Option<usize>,
    cookies: Vec<HeaderValue>,
    /// For a directive of SSI: what the fragment inherits, and the message for its failure.
    ssi: Ssi,
    is_directive: bool,
    stub: Option<Box<Late>>,
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
                let request = self.unsent(&call);
                let slot = self.slot(thread, scope, &call, request);
                self.deliver(slot, Err(error));
                self.wait_for(&call, slot)
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
            Fetched::Now(Ok(fragment)) if self.is_plain(call, &fragment) => {
                self.watcher
                    .fragment_done(&request.place, &request.url, fragment.body.len());
                self.reservations.extend(fragment.reservation);
                self.push_shared(thread.list, without_mark(fragment.body));
                self.settle_part(None, Part::Here(fragment.policy));
                None
            }
            Fetched::Now(result) => {
                let slot = self.slot(thread, scope, call, request);
                self.deliver(slot, result);
                self.wait_for(call, slot)
            }
            Fetched::Later { expected, fragment } => {
                let max_wait = request.max_wait;
                let slot = self.slot(thread, scope, call, request);
                self.slots[slot].part = self.expect_part(expected);
                self.take_off(Flight::new(slot, fragment, max_wait));
                self.wait_for(call, slot)
            }
        }
    }

    fn is_plain(&self, call: &Call<'_>, fragment: &Fragment<S::Policy>) -> bool {
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

    fn wait_for(&self, call: &Call<'_>, slot: usize) -> Option<Wait> {
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

    // Before the fetch.

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

    fn refuse_ancestor(&self, unit: usize, url: &Url) -> Result<(), FragmentError> {
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
        let entity = include
            .entity
            .as_ref()
            .map(|text| self.plain(thread, scope, call.unit, include.offset, text));
        let headers = self.header_edits(thread, scope, call);
        FragmentRequest {
            url,
            entity,
            headers,
            // What `eval` brings is evaluated, so it is a document.
            dca: match (call.purpose, include.dca) {
                (Purpose::Evaluate, Dca::Declared) => Dca::Esi,
                (_, dca) => dca,
            },
            ..self.unsent(call)
        }
    }

    /// The request of an include that has none: what its log lines need.
    fn unsent(&self, call: &Call<'_>) -> FragmentRequest {
        let include = call.include;
        FragmentRequest {
            url: Arc::clone(self.url(call.unit)),
            method: include.method,
            entity: None,
            headers: Vec::new(),
            ttl: include.ttl,
            no_store: include.no_store,
            dca: include.dca,
            max_wait: include.max_wait,
            depth: self.units[call.unit].depth + 1,
            place: self.place(call.unit, include.offset),
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
            on_error_continue: include.on_error_continue,
            compose_first: include.dca == Dca::Esi,
            alt,
            request,
            part: None,
            cookies: Vec::new(),
            ssi: document.ssi.clone(),
            is_directive: include.ssi.is_some(),
            stub,
        };
        if document.is_page {
            self.page_unanswered += 1;
        }
        if let Some(attempt) = thread.attempt {
            self.attempts[attempt].pending += 1;
        }
        self.slots.push(slot);
        let slot = self.slots.len() - 1;
        self.lists[thread.list].pieces.push(Piece::Slot(slot));
        slot
    }

    // After the fetch.

    /// The answer for a slot is here.
    pub(super) fn deliver(
        &mut self,
        slot: usize,
        result: Result<Fragment<S::Policy>, FragmentError>,
    ) {
        let mut result = result;
        loop {
            let error = match result {
                Ok(fragment) if (200..300).contains(&fragment.status) => {
                    self.arrived(slot, fragment);
                    return;
                }
                Ok(fragment) => FragmentError::Status(fragment.status),
                Err(error) => error,
            };
            let part = self.slots[slot].part.take();
            self.settle_part(part, Part::Failed);
            match self.slots[slot].alt.take() {
                Some(alt) => match self.fetch_alt(slot, *alt, &error) {
                    Some(answer) => result = answer,
                    None => return,
                },
                None => {
                    self.failed(slot, error);
                    return;
                }
            }
        }
    }

    /// Asks for the second URL; gives its answer when it is at hand.
    #[allow(clippy::type_complexity)] // The answer of a source, once; a name would hide what it is.
    fn fetch_alt(
        &mut self,
        slot: usize,
        (reference, request): (Bytes, FragmentRequest),
        error: &FragmentError,
    ) -> Option<Result<Fragment<S::Policy>, FragmentError>> {
        self.tell(slot, error, Fallback::Alt);
        let unit = self.slots[slot].unit;
        let url = match self.url(unit).join(&reference).map_err(FragmentError::from) {
            Ok(url) => url,
            Err(error) => return Some(Err(error)),
        };
        if let Err(error) = self.refuse_ancestor(unit, &url) {
            return Some(Err(error));
        }
        if self.units[unit].depth >= self.rules.config.max_depth {
            return Some(Err(FragmentError::Depth(self.rules.config.max_depth)));
        }
        let request = FragmentRequest {
            url: Arc::new(url),
            ..request
        };
        self.slots[slot].request = request.clone();
        self.watcher.fragment_started(&request.place, &request.url);
        let max_wait = request.max_wait;
        match self.source.fetch(request, None) {
            Fetched::Now(result) => Some(result),
            Fetched::Later { expected, fragment } => {
                self.slots[slot].part = self.expect_part(expected);
                self.take_off(Flight::new(slot, fragment, max_wait));
                None
            }
        }
    }

    fn arrived(&mut self, slot: usize, fragment: Fragment<S::Policy>) {
        let part = self.slots[slot].part.take();
        self.settle_part(part, Part::Here(fragment.policy));
        self.reservations.extend(fragment.reservation);
        let asked = &mut self.slots[slot];
        self.watcher.fragment_done(
            &asked.request.place,
            &asked.request.url,
            fragment.body.len(),
        );
        asked.cookies = fragment.set_cookies;
        let (dca, attempt) = (asked.request.dca, asked.attempt);
        if self.has_failed(attempt) {
            self.answered(slot, State::Empty);
            return;
        }
        if fragment.body.is_empty()
            && let Some(stub) = self.slots[slot].stub.take()
        {
            self.show_late(slot, *stub);
            return;
        }
        let template = match (dca, fragment.template) {
            (Dca::None, _) => None,
            (Dca::Esi, None) => Some(self.compile(slot, without_mark(fragment.body.clone()))),
            (_, template) => template,
        };
        let state = match template {
            Some(template) => self.compose(slot, template),
            None => State::Bytes(self.shown(slot, without_mark(fragment.body))),
        };
        self.answered(slot, state);
    }

    /// Compiles what its source gave no template for.
    pub(super) fn compile(&self, slot: usize, body: Bytes) -> Arc<Template> {
        let settings = template::Settings {
            escape: self.documents[self.slots[slot].document].escape,
            longest_tag: self.rules.config.limits.tag.as_usize(),
            nesting: self.rules.config.limits.nesting,
            expressions: self.rules.expressions,
            ..template::Settings::default()
        };
        Arc::new(template::compile(body, &settings))
    }

    /// Starts a fragment that is a document.
    fn compose(&mut self, slot: usize, template: Arc<Template>) -> State {
        let asked = &self.slots[slot];
        let url = Arc::clone(&asked.request.url);
        if asked.purpose == Purpose::Evaluate && !asked.compose_first {
            return State::Template(template);
        }
        let unit = Unit {
            template,
            url,
            parent: Some(asked.unit),
            depth: asked.request.depth,
        };
        let escape = self.documents[asked.document].escape;
        let (ssi, in_string) = (asked.ssi.inherited(), asked.in_string);
        let list = self.start_document(unit, Some(ssi), Some(escape));
        self.lists[list].in_string = in_string;
        State::List(list)
    }

    /// What `eval` has brought, as a text of the document that evaluates it.
    pub(super) fn evaluated_unit(&self, slot: usize, template: Arc<Template>) -> Unit {
        let asked = &self.slots[slot];
        Unit {
            template,
            url: Arc::clone(&asked.request.url),
            parent: Some(asked.unit),
            depth: asked.request.depth,
        }
    }

    /// The bytes of a fragment as its slot shows them.
    fn shown(&mut self, slot: usize, body: Bytes) -> Bytes {
        let body = if self.slots[slot].in_string {
            let mut escaped = Vec::with_capacity(body.len() + body.len() / 8);
            crate::expr::escape::append_json(&body, &mut escaped);
            escaped.into()
        } else {
            body
        };
        self.count(body.len());
        body
    }

    /// Both URLs have failed, or the only one.
    fn failed(&mut self, slot: usize, error: FragmentError) {
        // A block may hold includes with stubs of their own: beyond the limit this must end.
        if matches!(error, FragmentError::TooMany(_)) {
            self.slots[slot].stub = None;
        }
        let asked = &mut self.slots[slot];
        let on_page = self.documents[asked.document].is_page;
        let fallback = if asked.on_error_continue {
            Fallback::Continue
        } else if asked.stub.is_some() {
            Fallback::Stub
        } else if asked.purpose == Purpose::Assign {
            Fallback::Empty
        } else if asked.attempt.is_some() {
            Fallback::Except
        } else if on_page && self.rules.config.on_error == OnError::Fail {
            Fallback::Page
        } else if asked.is_directive {
            Fallback::Message
        } else {
            Fallback::Empty
        };
        self.tell(slot, &error, fallback);
        let asked = &mut self.slots[slot];
        match fallback {
            Fallback::Stub => {
                if let Some(stub) = asked.stub.take() {
                    self.show_late(slot, *stub);
                }
                return;
            }
            Fallback::Except => {
                if let Some(attempt) = asked.attempt {
                    self.attempts[attempt].failed = true;
                }
            }
            Fallback::Message => {
                let message = asked.ssi.message.clone();
                let message = self.shown(slot, message);
                self.answered(slot, State::Bytes(message));
                return;
            }
            Fallback::Page => {
                let place = &asked.request.place;
                self.failure = Some(ComposeError::Include {
                    document: place.document.to_string(),
                    offset: place.offset,
                    error,
                });
            }
            Fallback::Continue | Fallback::Alt | Fallback::Empty => {}
        }
        self.answered(slot, State::Empty);
    }

    /// The log line for a failed fragment: an error where the page shows it, else a remark.
    fn tell(&self, slot: usize, error: &FragmentError, fallback: Fallback) {
        let request = &self.slots[slot].request;
        let place = &request.place;
        let url = (*error != FragmentError::NoUrl && !matches!(error, FragmentError::Url(_)))
            .then_some(&*request.url);
        let (document, offset) = (&place.document, place.offset);
        let told = url.map_or("", Url::as_str);
        match fallback {
            Fallback::Empty | Fallback::Message | Fallback::Page => {
                tracing::error!(%document, offset, fragment = told, "include failed: {error}");
            }
            _ => {
                tracing::info!(%document, offset, fragment = told, ?fallback, "include failed: {error}")
            }
        }
        self.watcher.fragment_failed(place, url, error, fallback);
    }

    /// Shows the block that stands in for a fragment.
    fn show_late(&mut self, slot: usize, late: Late) {
        let list = self.new_list();
        self.lists[list].in_string = self.slots[slot].in_string;
        let attempt = self.slots[slot].attempt;
        self.spawn_late(late, list, attempt);
        self.answered(slot, State::List(list));
    }

    fn answered(&mut self, slot: usize, state: State) {
        let asked = &mut self.slots[slot];
        asked.state = match (asked.purpose, state) {
            (Purpose::Assign, State::Bytes(bytes)) => State::KeptBytes(bytes),
            (Purpose::Assign | Purpose::Evaluate, State::List(list)) => State::KeptList(list),
            (_, state) => state,
        };
        let (document, attempt) = (asked.document, asked.attempt);
        if self.documents[document].is_page {
            self.page_unanswered -= 1;
        }
        if let Some(attempt) = attempt {
            self.attempts[attempt].pending -= 1;
            self.settle(attempt);
        }
    }

    /// The `Set-Cookie` lines of all fragments that the page shows, in page order.
    pub(super) fn cookies_in_order(&mut self, list: usize) -> Vec<HeaderValue> {
        let order = crate::compose::output::slots_in_order(list, self.pages());
        order
            .into_iter()
            .flat_map(|slot| std::mem::take(&mut self.slots[slot].cookies))
            .collect()
    }

    /// Content that is evaluated later, with the variables as they are now.
    pub(super) fn late(&self, thread: &Thread, scope: &Scope, code: Code) -> Box<Late> {
        let mut document = self.documents[thread.document].clone();
        document.scope = Some(scope.clone());
        Box::new(Late { document, code })
    }

    /// Evaluates such content into a list of its own.
    pub(super) fn spawn_late(&mut self, late: Late, list: usize, attempt: Option<usize>) {
        self.documents.push(late.document);
        let document = self.documents.len() - 1;
        self.lists[list].complete = false;
        let mut thread = Thread::new(document, list, attempt, late.code.unit, late.code.body);
        if let Some(attempt) = attempt {
            // The attempt around it is not over before this is.
            self.attempts[attempt].pending += 1;
            thread.releases = Some(attempt);
        }
        self.spawn(thread);
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

/// What a constant reference resolved to; good for the same base again.
struct Resolved {
    base: Arc<Url>,
    reference: Bytes,
    url: Arc<Url>,
}

impl Resolved {
    fn from(&self, base: &Arc<Url>, reference: &Bytes) -> Option<Arc<Url>> {
        let same_base = Arc::ptr_eq(&self.base, base) || self.base == *base;
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

/// A fragment stands inside a page, where a byte order mark would be a character.
fn without_mark(body: Bytes) -> Bytes {
    match body.strip_prefix(b"\xef\xbb\xbf") {
        Some(_) => body.slice(3..),
        None => body,
    }
}
