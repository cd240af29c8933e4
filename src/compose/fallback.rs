//! What becomes of an include once its fragment is here, or has failed: its second URL, its stub, the attempt around it, the
//! page. It is told here and nowhere else.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use crate::compose::document::{Code, Unit};
use crate::compose::error::ComposeError;
use crate::compose::evaluate::{Late, Thread};
use crate::compose::flight::Flight;
use crate::compose::include::{Purpose, State, without_mark};
use crate::compose::page::Page;
use crate::compose::source::{
    Dca, Fetched, Fragment, FragmentError, FragmentRequest, FragmentSource, Part,
};
use crate::compose::url::Url;
use crate::compose::watch::Fallback;
use crate::config::OnError;
use crate::expr::Scope;
use crate::template::{self, Template};

impl<S: FragmentSource> Page<S> {
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
            let Some(alt) = self.slots[slot].alt.take() else {
                self.failed(slot, error);
                return;
            };
            match self.fetch_alt(slot, *alt, &error) {
                Some(answer) => result = answer,
                None => return,
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
            keeps: false,
            ..request
        };
        self.watcher.fragment_started(&request.place, &request.url);
        let fetched = self.source.fetch(request.clone(), None);
        let max_wait = request.max_wait;
        self.slots[slot].request = request;
        match fetched {
            Fetched::Now(result) => Some(result),
            Fetched::Kept(fragment, _) => Some(Ok(fragment)),
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
        let fallback = if asked.otherwise == Fallback::Continue {
            Fallback::Continue
        } else if asked.stub.is_some() {
            Fallback::Stub
        } else if asked.purpose == Purpose::Assign {
            Fallback::Empty
        } else if asked.attempt.is_some() {
            Fallback::Except
        } else if on_page && self.rules.config.on_error == OnError::Fail {
            Fallback::Page
        } else {
            asked.otherwise
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
                tracing::info!(%document, offset, fragment = told, ?fallback, "include failed: {error}");
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
            self.unanswered -= 1;
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
