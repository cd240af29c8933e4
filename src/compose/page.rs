//! One page being composed: its documents, what they emit, and the fragments in flight.
//!
//! No task is spawned: whoever polls the page (the composer before its head, the body afterwards) drives it, and dropping it drops
//! all fetches; those that a page no longer needs when it is complete are handed to its source. Evaluation runs ahead in *threads*, one for each document and a few for content whose turn comes late
//! (`except`, `stub`); nesting is this queue of threads, not recursion.

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use crate::compose::attempt::Attempt;
use crate::compose::document::{Document, Ssi, Unit};
use crate::compose::error::ComposeError;
use crate::compose::evaluate::Thread;
use crate::compose::flight::Flight;
use crate::compose::head::HeadEdits;
use crate::compose::include::{Slot, without_mark};
use crate::compose::limits::Reservation;
use crate::compose::output::{List, Pages};
use crate::compose::runs::Kept;
use crate::compose::source::{FragmentSource, Part, Place, Ticket};
use crate::compose::url::Url;
use crate::compose::watch::Watcher;
use crate::config::ComposeConfig;
use crate::expr::{self, Escape, RequestFacts, Scope};
use crate::template::{IssueKind, Template};

/// How many issues of one document are logged for one page.
const LOGGED_ISSUES: usize = 16;

/// How many template errors of one page are logged: a loop could repeat one thousands of times.
const LOGGED_ERRORS: usize = 100;

/// Bounds and choices, and those of expressions among them.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) config: ComposeConfig,
    pub(super) expressions: expr::Limits,
    /// Where runs are remembered, if they are.
    pub(super) kept: Option<Kept>,
}

/// A page being composed.
pub(super) struct Page<S: FragmentSource> {
    pub(super) rules: Arc<Rules>,
    pub(super) source: S,
    pub(super) watcher: Arc<dyn Watcher>,
    request: Option<Arc<RequestFacts>>,
    pub(super) units: Vec<Unit>,
    pub(super) documents: Vec<Document>,
    pub(super) lists: Vec<List>,
    pub(super) slots: Vec<Slot>,
    pub(super) attempts: Vec<Attempt>,
    runnable: VecDeque<Thread>,
    blocked: Vec<Thread>,
    /// None until the first fetch.
    flying: Option<FuturesUnordered<Flight<S::Policy>>>,
    waiting: VecDeque<Flight<S::Policy>>,
    /// What the parts mean for the head, while it has not left.
    pub(super) parts: Option<Vec<Part<S::Policy>>>,
    pub(super) head: HeadEdits,
    /// How many more fragments of which nothing is known may be met before the head leaves; `None`: any number.
    pub(super) before_head: Option<usize>,
    pub(super) includes: usize,
    pub(super) rounds: usize,
    /// Bytes emitted so far, dropped ones too.
    size: u64,
    /// Includes of the page itself that have not been answered.
    pub(super) unanswered: usize,
    pub(super) failure: Option<ComposeError>,
    /// When it was first asked for the time.
    now: OnceCell<i64>,
    /// Template errors told so far.
    errors: Cell<usize>,
    /// Shares of the memory for documents, held until the page is done.
    pub(super) reservations: Vec<Reservation>,
    /// Whether values that follow each other may become one piece: no coder looks at them.
    joins: bool,
    /// The fragment that was just shown as it came, with its ticket.
    pub(super) shown: Option<(Arc<Url>, Ticket)>,
}

/// The request of documents that read nothing of it.
static NO_REQUEST: LazyLock<Arc<RequestFacts>> = LazyLock::new(Arc::default);

impl<S: FragmentSource> Page<S> {
    pub(super) fn new(
        rules: Arc<Rules>,
        source: S,
        watcher: Arc<dyn Watcher>,
        joins: bool,
    ) -> Self {
        Self {
            rules,
            source,
            watcher,
            request: None,
            units: Vec::new(),
            documents: Vec::new(),
            lists: Vec::new(),
            slots: Vec::new(),
            attempts: Vec::new(),
            runnable: VecDeque::new(),
            blocked: Vec::new(),
            flying: None,
            waiting: VecDeque::new(),
            parts: Some(Vec::new()),
            head: HeadEdits::default(),
            before_head: None,
            includes: 0,
            rounds: 0,
            size: 0,
            unanswered: 0,
            failure: None,
            now: OnceCell::new(),
            errors: Cell::new(0),
            reservations: Vec::new(),
            joins,
            shown: None,
        }
    }

    /// Starts a document of its own; gives the list that will hold its output.
    pub(super) fn start_document(
        &mut self,
        unit: Unit,
        ssi: Option<Ssi>,
        around: Option<Escape>,
    ) -> usize {
        let template = Arc::clone(&unit.template);
        let list = self.new_list();
        let is_page = unit.parent.is_none();
        let unit = self.add_unit(unit);
        if !template.has_tags() {
            let whole = template.document().clone();
            self.push_shared(list, if is_page { whole } else { without_mark(whole) });
            self.lists[list].complete = true;
            return list;
        }
        // A type of which nothing is known is shown inside its page: what is escaped there must be escaped here.
        let escape = match (template.escape(), around) {
            (Escape::None, Some(around)) => around,
            (own, _) => own,
        };
        let scope = self.scope(&template);
        let silent = self.rules.config.ssi_silent_errors;
        self.documents.push(Document {
            scope: Some(scope),
            functions: None,
            inlines: Vec::new(),
            ssi: ssi.unwrap_or_else(|| Ssi::new(silent)),
            escape,
            is_page,
            writes_head: is_page && template.writes_head(),
        });
        let document = self.documents.len() - 1;
        let mut thread = Thread::new(document, list, None, unit, template.root());
        thread.runner = self.runner(&template, self.url(unit), is_page);
        self.runnable.push_back(thread);
        list
    }

    fn scope(&mut self, template: &Template) -> Scope {
        let request = if template.reads_values() {
            let source = &self.source;
            Arc::clone(self.request.get_or_insert_with(|| source.request()))
        } else {
            Arc::clone(&NO_REQUEST)
        };
        Scope::new(request, self.rules.expressions)
    }

    /// The request, as the directives of SSI see it.
    pub(super) fn request_facts(&self) -> &Arc<RequestFacts> {
        self.request.as_ref().unwrap_or(&NO_REQUEST)
    }

    /// Adds a text and logs what is wrong in it.
    pub(super) fn add_unit(&mut self, unit: Unit) -> usize {
        let template = Arc::clone(&unit.template);
        self.units.push(unit);
        let unit = self.units.len() - 1;
        // What only looks wrong is told when evaluation meets it: a function may be the document's own, a branch not taken.
        let issues = template
            .issues()
            .iter()
            .filter(|issue| !matches!(issue.kind, IssueKind::Suspect(_)));
        let mut rest = issues.clone().skip(LOGGED_ISSUES);
        for issue in issues.take(LOGGED_ISSUES) {
            self.template_error(unit, issue.offset, &issue.kind);
        }
        if let Some(next) = rest.next() {
            let more = 1 + rest.count();
            self.template_error(
                unit,
                next.offset,
                &format_args!("{more} more issues from here on"),
            );
        }
        unit
    }

    pub(super) fn new_list(&mut self) -> usize {
        self.lists.push(List::new(self.joins));
        self.lists.len() - 1
    }

    /// Evaluation of something goes on when its turn comes.
    pub(super) fn spawn(&mut self, thread: Thread) {
        self.runnable.push_back(thread);
    }

    /// A fetch that must be waited for.
    pub(super) fn take_off(&mut self, flight: Flight<S::Policy>) {
        let flying = self.flying.get_or_insert_default();
        if flying.len() < self.rules.config.concurrency.max(1) {
            flying.push(flight);
        } else {
            self.waiting.push_back(flight);
        }
    }

    /// Evaluates all that can be evaluated without waiting.
    pub(super) fn run(&mut self) {
        let mut ended = false;
        while self.failure.is_none() {
            match self.runnable.pop_front() {
                Some(thread) => match self.run_thread(thread) {
                    Some(thread) => {
                        self.lists[thread.list].seal();
                        self.blocked.push(thread);
                    }
                    None => ended = true,
                },
                // One that waits may wait for one that has just ended.
                None if ended && !self.blocked.is_empty() => {
                    ended = false;
                    self.runnable.extend(self.blocked.drain(..));
                }
                None => break,
            }
        }
    }

    /// The head has left: what has waited for that goes on.
    pub(super) fn go_on(&mut self) {
        self.runnable.extend(self.blocked.drain(..));
    }

    /// Goes on as far as what has arrived allows. Ready: nothing is in flight and nothing is left to evaluate, or the page
    /// has failed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            self.run();
            if self.failure.is_some() {
                return Poll::Ready(());
            }
            let next = match &mut self.flying {
                Some(flying) => flying.poll_next_unpin(context),
                None => Poll::Ready(None),
            };
            match next {
                Poll::Ready(Some((slot, result))) => {
                    if let (Some(flying), Some(next)) = (&mut self.flying, self.waiting.pop_front())
                    {
                        flying.push(next);
                    }
                    self.deliver(slot, result);
                    self.go_on();
                }
                Poll::Ready(None) if self.runnable.is_empty() => {
                    if !self.blocked.is_empty() {
                        self.failure = Some(ComposeError::Stuck);
                    }
                    return Poll::Ready(());
                }
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// What is still fetched although the page is complete; afterwards nothing is in flight.
    pub(super) fn rest(&mut self) -> Option<BoxFuture<'static, ()>> {
        let mut flying = self.flying.take()?;
        let mut waiting = std::mem::take(&mut self.waiting);
        if flying.is_empty() {
            return None;
        }
        Some(Box::pin(async move {
            while flying.next().await.is_some() {
                flying.extend(waiting.pop_front());
            }
        }))
    }

    /// The time of the page in seconds since 1970, the same wherever it is asked for.
    pub(super) fn now(&self) -> i64 {
        *self.now.get_or_init(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map_or(0, |since| {
                i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
            })
        })
    }

    /// Whether nothing is in flight and nothing is left to evaluate.
    pub(super) fn is_idle(&self) -> bool {
        self.flying.as_ref().is_none_or(FuturesUnordered::is_empty)
            && self.waiting.is_empty()
            && self.runnable.is_empty()
            && self.blocked.is_empty()
    }

    /// Whether every include of the page itself has been answered, and no further one can come.
    pub(super) fn is_decided(&self) -> bool {
        let of_page = |thread: &Thread| self.documents[thread.document].is_page;
        self.unanswered == 0
            && !self.runnable.iter().any(of_page)
            && !self.blocked.iter().any(of_page)
    }

    pub(super) fn pages(&self) -> Pages<'_> {
        Pages {
            units: &self.units,
            lists: &self.lists,
            slots: &self.slots,
        }
    }

    /// Counts bytes that will be emitted; beyond the limit the page fails.
    #[inline]
    pub(super) fn count(&mut self, bytes: usize) {
        self.size += bytes as u64;
        let limit = self.rules.config.max_page.as_u64();
        if self.size > limit && self.failure.is_none() {
            tracing::error!(limit, "the page is larger than compose.max_page");
            self.failure = Some(ComposeError::TooLarge(limit));
        }
    }

    /// The log line for a tag that could not be carried out.
    pub(super) fn template_error(&self, unit: usize, offset: usize, error: &dyn Display) {
        let place = self.place(unit, offset);
        let told = self.errors.replace(self.errors.get() + 1);
        if told < LOGGED_ERRORS {
            tracing::error!(document = %place.document, offset, "{error}");
        } else if told == LOGGED_ERRORS {
            tracing::error!(document = %place.document, "further errors of this page are only counted");
        }
        self.watcher.template_error(&place, error);
    }

    pub(super) fn place(&self, unit: usize, offset: usize) -> Place {
        Place {
            document: Arc::clone(&self.units[unit].url),
            offset,
        }
    }

    pub(super) fn url(&self, unit: usize) -> &Arc<Url> {
        &self.units[unit].url
    }

    /// What a part turned out to be: for the head, or for whoever must know that the head has left.
    pub(super) fn settle_part(&mut self, index: Option<usize>, part: Part<S::Policy>) {
        match (&mut self.parts, index) {
            (None, _) => self.source.late_part(&part),
            (Some(parts), Some(index)) => parts[index] = part,
            (Some(parts), None) => parts.push(part),
        }
    }

    /// A part that is not here yet; gives its place among the parts.
    pub(super) fn expect_part(&mut self, expected: Option<S::Policy>) -> Option<usize> {
        let parts = self.parts.as_mut()?;
        parts.push(expected.map_or(Part::Unknown, Part::Expected));
        Some(parts.len() - 1)
    }
}
