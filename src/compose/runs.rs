//! Runs: stretches of a document that are text and fragments at hand, whose composed bytes are remembered while none of the fragments
//! has changed. Long text alone is a run too: its bytes cost nothing, but what is made of them (a content coding) does.
//!
//! A run stands in the outermost content of a document, or in a branch there, between two nodes that are something else: a fragment
//! that is fetched, a value, a block. Branches that a visitor has not taken keep the runs of those who have. A `try` whose attempt is text and fragments at hand is a part of it: there was nothing to fail. Its bytes are those that composing it would give, and they are used again only when the source says of this
//! page's request that every fragment of the run would be given at hand just as it was ([`FragmentSource::still`]). What a source
//! gives no [`Ticket`] for is in no run.
//!
//! Runs are kept in a budget of their own ([`Kept`]); the template of the document only knows where they are.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

use crate::compose::evaluate::Thread;
use crate::compose::output::Piece;
use crate::compose::page::{Page, Rules};
use crate::compose::source::{Bundle, FragmentSource, Part, Ticket};
use crate::compose::url::Url;
use crate::template::Template;
use crate::template::memo::Memo;
use crate::template::tree::{Body, Node, Try};

/// What is needed around the bytes of a run and around one of its fragments, about.
const RUN_OVERHEAD: usize = 256;
const FRAGMENT_OVERHEAD: usize = 384;

/// Shorter text between two other things is not remembered by itself.
const LONG_TEXT: usize = 256;

/// The runs of one document may take this part of the budget.
const LARGEST_SHARE: usize = 8;

/// The composed bytes of a stretch of a document.
#[derive(Debug)]
pub struct Run {
    /// Its nodes: the first, and the one behind the last.
    start: u32,
    end: u32,
    bytes: Bytes,
    /// The URLs of its fragments.
    urls: Box<[Arc<Url>]>,
    /// None: it is text alone, remembered for what is made of it.
    bundle: Option<Bundle>,
    /// What somebody made of the bytes and wants to find again with them.
    memo: Memo,
}

impl Run {
    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where a note may be left that is true of these bytes.
    pub fn memo(&self) -> &Memo {
        &self.memo
    }

    fn weight(&self) -> usize {
        // What is made of the bytes in several codings is about half as large. Text alone stays where it is in its document.
        let bytes = self.bytes.len();
        let own = self.bundle.as_ref().map_or(0, |_| bytes);
        own + bytes / 2 + self.urls.len() * FRAGMENT_OVERHEAD + RUN_OVERHEAD
    }
}

/// The runs of one document, in the order of their nodes.
#[derive(Debug)]
pub(super) struct Runs {
    /// What its references were relative to, and whether it was the page itself: then the bytes are the same again.
    base: Arc<Url>,
    is_page: bool,
    list: Vec<Arc<Run>>,
    weight: usize,
    /// Since the last time that room was looked for.
    used: AtomicBool,
}

/// What a template knows of its runs.
enum Note {
    /// It was composed lately; the next time its runs are recorded, beside those that there were.
    Seen(Arc<Url>, bool, Weak<Runs>),
    /// They are there, unless room was needed.
    Recorded(Weak<Runs>),
}

/// The runs of all documents, within a budget of bytes. Clones are one store.
#[derive(Debug, Clone)]
pub struct Kept(Arc<Mutex<Shelf>>);

#[derive(Debug)]
struct Shelf {
    most: usize,
    held: usize,
    /// Oldest first; what was used meanwhile goes round once more.
    all: VecDeque<Arc<Runs>>,
}

impl Kept {
    /// At most so many bytes of composed pages.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Shelf {
            most,
            held: 0,
            all: VecDeque::new(),
        })))
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.shelf().held
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, runs: Runs) -> Option<Weak<Runs>> {
        let mut shelf = self.shelf();
        if runs.weight > shelf.most / LARGEST_SHARE {
            return None;
        }
        let mut gone = Vec::new();
        while shelf.held + runs.weight > shelf.most {
            let oldest = shelf.all.pop_front()?;
            // Nobody can find what no template knows any more.
            if Arc::weak_count(&oldest) > 0 && oldest.used.swap(false, Ordering::Relaxed) {
                shelf.all.push_back(oldest);
            } else {
                shelf.held -= oldest.weight;
                gone.push(oldest);
            }
        }
        shelf.held += runs.weight;
        let runs = Arc::new(runs);
        let place = Arc::downgrade(&runs);
        shelf.all.push_back(runs);
        drop(shelf);
        // Bytes are given back after the lock is.
        drop(gone);
        Some(place)
    }
}

/// The run that a whole page is, if it is one that still holds; and what it means for the head. What evaluating the page would check
/// and count is checked here, so that it need not be begun.
pub(super) fn whole_page<S: FragmentSource>(
    rules: &Rules,
    template: &Template,
    url: &Arc<Url>,
    source: &S,
) -> Option<(Arc<Run>, S::Policy)> {
    rules.kept.as_ref()?;
    let runs = template.runs().read(|note: &Note| match note {
        Note::Recorded(runs) => runs.upgrade(),
        Note::Seen(..) => None,
    })??;
    let [run] = &runs.list[..] else { return None };
    let root = template.root();
    let config = &rules.config;
    // Most requests for a page bring the very URL that its run was recorded for.
    let same = Arc::ptr_eq(&runs.base, url);
    let fits = runs.is_page
        && (same || runs.base.resolves_like(url))
        && (run.start, run.end) == (root.start, root.end)
        && template.issues().is_empty()
        && run.urls.len() <= config.max_includes
        && config.max_depth > 0
        && run.bytes.len() as u64 <= config.max_page.as_u64()
        && (same || !run.urls.iter().any(|include| include.names_the_same(url)));
    if !fits {
        return None;
    }
    // One that does not hold is found out again, and replaced, by evaluation.
    let policy = source.still(run.bundle.as_ref()?)?;
    if !runs.used.load(Ordering::Relaxed) {
        runs.used.store(true, Ordering::Relaxed);
    }
    Some((Arc::clone(run), policy))
}

/// What evaluation of one document does with its runs.
#[derive(Debug)]
pub(super) struct Runner {
    way: Way,
    open: Option<Open>,
    done: Vec<Arc<Run>>,
}

#[derive(Debug)]
enum Way {
    /// They are used, as far as they still hold, and recorded where there are none yet.
    Using {
        runs: Arc<Runs>,
        /// One does not hold any more, or could be longer.
        outdated: bool,
    },
    /// They are recorded.
    Recording {
        /// Those that there were, where no node that begins one has been met yet.
        earlier: BTreeMap<u32, Arc<Run>>,
    },
    /// It is composed for the first time in a while: only that is noted.
    Passing,
}

/// A place in content that may hold runs, and in its output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    node: u32,
    list: usize,
    pieces: usize,
}

/// A run being recorded.
#[derive(Debug)]
pub(super) struct Open {
    start: u32,
    first_piece: usize,
    fragments: Vec<(Arc<Url>, Ticket)>,
}

/// Whether the content of a branch may hold runs.
pub(super) fn may_be_in(template: &Template, body: Body) -> bool {
    template.body(body).iter().any(|node| match node {
        Node::Text(span) => (span.end - span.start) as usize >= LONG_TEXT,
        Node::Include(_) | Node::Try(_) | Node::Choose(_) | Node::If(_) => true,
        _ => false,
    })
}

/// A `try` that is being evaluated, and what was shown in its attempt.
#[derive(Debug)]
pub(super) struct Tried {
    mark: Mark,
    fragments: Vec<(Arc<Url>, Ticket)>,
}

impl Tried {
    /// One that begins at a mark.
    pub(super) fn at(mark: Mark) -> Self {
        Self {
            mark,
            fragments: Vec::new(),
        }
    }
}

impl Thread {
    /// The nodes of the content that it is in.
    fn content(&self) -> Range<u32> {
        self.frames
            .last()
            .map_or(0..0, |frame| frame.start..frame.end)
    }

    /// Whether a `try` that it has just entered may become a part of a run.
    pub(super) fn may_record(&self, template: &Template, tried: &Try) -> bool {
        let mut nodes = template.body(tried.attempt).iter();
        self.runner.as_ref().is_some_and(Runner::wants_tickets)
            && nodes.all(|node| matches!(node, Node::Text(_) | Node::Include(_)))
    }
}

impl Runner {
    /// Whether the source is asked for tickets.
    pub(super) fn wants_tickets(&self) -> bool {
        !matches!(self.way, Way::Passing)
    }

    /// The run being recorded, or one that begins at a mark; none where nothing is recorded in this content.
    fn open_at(&mut self, content: Range<u32>, mark: Mark) -> Option<&mut Open> {
        let records = match &self.way {
            Way::Passing => false,
            Way::Recording { .. } => true,
            Way::Using { runs, .. } => {
                let first = runs.list.partition_point(|run| run.start < content.start);
                runs.list
                    .get(first)
                    .is_none_or(|run| run.start >= content.end)
            }
        };
        records.then(|| self.open.get_or_insert_with(|| Open::at(mark)))
    }

    /// Fragments were shown as they came.
    fn shown(
        &mut self,
        content: Range<u32>,
        mark: Mark,
        fragments: impl IntoIterator<Item = (Arc<Url>, Ticket)>,
    ) {
        if let Some(open) = self.open_at(content, mark) {
            open.fragments.extend(fragments);
        } else if let Way::Using { outdated, .. } = &mut self.way {
            // More could be remembered here than is.
            *outdated |= fragments.into_iter().next().is_some();
        }
    }
}

impl<S: FragmentSource> Page<S> {
    /// How a document that begins is run through.
    pub(super) fn runner(
        &self,
        template: &Template,
        base: &Arc<Url>,
        is_page: bool,
    ) -> Option<Runner> {
        self.rules.kept.as_ref()?;
        let same = |known: &Arc<Url>, page: bool| page == is_page && known.resolves_like(base);
        let known = template.runs().read(|note: &Note| match note {
            Note::Seen(known, page, earlier) if same(known, *page) => {
                let earlier = earlier.upgrade();
                let earlier = earlier.iter().flat_map(|runs| &runs.list);
                let earlier = earlier.map(|run| (run.start, Arc::clone(run))).collect();
                Some(Way::Recording { earlier })
            }
            Note::Seen(..) => None,
            Note::Recorded(runs) => {
                let runs = runs.upgrade()?;
                if !same(&runs.base, runs.is_page) {
                    return None;
                }
                if !runs.used.load(Ordering::Relaxed) {
                    runs.used.store(true, Ordering::Relaxed);
                }
                let outdated = false;
                Some(Way::Using { runs, outdated })
            }
        });
        Some(Runner {
            way: known.flatten().unwrap_or(Way::Passing),
            open: None,
            done: Vec::new(),
        })
    }

    /// Takes the run that begins at a node, if there is one and it still holds; gives the node behind it.
    pub(super) fn take_run(&mut self, thread: &mut Thread, unit: usize, node: u32) -> Option<u32> {
        let (runs, outdated) = match &mut thread.runner.as_mut()?.way {
            Way::Using { runs, outdated } => (runs, outdated),
            Way::Recording { earlier } => {
                earlier.remove(&node);
                return None;
            }
            Way::Passing => return None,
        };
        let place = runs.list.binary_search_by_key(&node, |run| run.start);
        let run = Arc::clone(runs.list.get(place.ok()?)?);
        if let Some(bundle) = &run.bundle {
            let policy = self
                .may_take(thread.document, unit, &run)
                .then(|| self.source.still(bundle))
                .flatten();
            let Some(policy) = policy else {
                *outdated = true;
                return None;
            };
            self.includes += run.urls.len();
            self.settle_part(None, Part::Here(policy));
        }
        self.count(run.bytes.len());
        let end = run.end;
        self.lists[thread.list].push(Piece::Run(run));
        Some(end)
    }

    /// Whether each include of a run would be let through and answered by nothing else.
    fn may_take(&self, document: usize, unit: usize, run: &Run) -> bool {
        let config = &self.rules.config;
        self.documents[document].inlines.is_empty()
            && self.includes + run.urls.len() <= config.max_includes
            && self.units[unit].depth < config.max_depth
            && run
                .urls
                .iter()
                .all(|url| self.refuse_ancestor(unit, url).is_ok())
    }

    /// Where the output of content that may hold runs stands before a node of it.
    pub(super) fn mark(&self, thread: &Thread, node: u32) -> Mark {
        Mark {
            node,
            list: thread.list,
            pieces: self.lists[thread.list].pieces().len(),
        }
    }

    /// The node at the mark was a text.
    pub(super) fn record_text(thread: &mut Thread, mark: Mark) {
        let content = thread.content();
        if let Some(runner) = &mut thread.runner {
            runner.open_at(content, mark);
        }
    }

    /// The node at the mark was another one: a fragment that stands in the page as it came, with its ticket, or anything else.
    pub(super) fn record_node(&mut self, thread: &mut Thread, mark: Mark) {
        let content = thread.content();
        match (&mut thread.runner, self.shown.take()) {
            (Some(runner), Some(shown)) => runner.shown(content, mark, [shown]),
            (Some(_), None) => self.close_run(thread, mark),
            (None, _) => {}
        }
    }

    /// A node in the attempt of a `try`, which is a fragment: unless it stands in the page as it came, the `try` is in no run.
    pub(super) fn record_within_try(&mut self, thread: &mut Thread) {
        let Some(tried) = &mut thread.tried else {
            return;
        };
        if let Some(shown) = self.shown.take() {
            tried.fragments.push(shown);
        } else {
            let mark = tried.mark;
            thread.tried = None;
            self.close_run(thread, mark);
        }
    }

    /// Evaluation has left a `try` all of whose fragments stand in the page as they came.
    pub(super) fn record_try(&mut self, thread: &mut Thread, tried: Tried) {
        let output = self.lists[tried.mark.list].pieces().get(tried.mark.pieces);
        let let_go = match output {
            Some(Piece::List(list)) => self.lists[*list].complete && !self.lists[*list].held,
            _ => false,
        };
        if !let_go {
            return self.close_run(thread, tried.mark);
        }
        let content = thread.content();
        if let Some(runner) = &mut thread.runner {
            runner.shown(content, tried.mark, tried.fragments);
        }
    }

    /// The run being recorded ends at a mark.
    fn close_run(&self, thread: &mut Thread, mark: Mark) {
        let Some(runner) = &mut thread.runner else {
            return;
        };
        let Some(open) = runner.open.take() else {
            return;
        };
        let pieces = &self.lists[mark.list].pieces()[open.first_piece..mark.pieces];
        if open.fragments.is_empty() {
            let run = self.text_run(pieces, open.start..mark.node);
            runner.done.extend(run.map(Arc::new));
            return;
        }
        let (urls, tickets): (Vec<_>, Vec<_>) = open.fragments.into_iter().unzip();
        let Some(bundle) = self.source.join(tickets) else {
            return;
        };
        let Some(bytes) = self.shared(pieces) else {
            return;
        };
        runner.done.push(Arc::new(Run {
            start: open.start,
            end: mark.node,
            bytes,
            urls: urls.into(),
            bundle: Some(bundle),
            memo: Memo::default(),
        }));
    }

    /// Text between two other things, where it is long enough that what is made of it is worth remembering.
    fn text_run(&self, pieces: &[Piece], nodes: Range<u32>) -> Option<Run> {
        let [Piece::Text(unit, span)] = pieces else {
            return None;
        };
        let document = self.units[*unit as usize].template.document();
        let bytes = document.slice(span.start as usize..span.end as usize);
        (bytes.len() >= LONG_TEXT).then(|| Run {
            start: nodes.start,
            end: nodes.end,
            bytes,
            urls: Box::default(),
            bundle: None,
            memo: Memo::default(),
        })
    }

    /// The bytes between two marks, where all of them are everybody's: text, fragments as they came, the output of a `try` that has
    /// nothing else.
    fn shared(&self, pieces: &[Piece]) -> Option<Bytes> {
        let mut parts = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match piece {
                Piece::List(list) => {
                    for piece in self.lists[*list].pieces() {
                        parts.push(self.shared_bytes(piece)?);
                    }
                }
                piece => parts.push(self.shared_bytes(piece)?),
            }
        }
        Some(parts.concat().into())
    }

    fn shared_bytes<'p>(&'p self, piece: &'p Piece) -> Option<&'p [u8]> {
        match piece {
            Piece::Text(unit, span) => Some(self.units[*unit as usize].template.text(*span)),
            Piece::Bytes(bytes) => Some(bytes),
            Piece::Run(run) => Some(&run.bytes),
            // Values and what is still to come end a run.
            Piece::Value(..) | Piece::Slot(_) | Piece::List(_) => None,
        }
    }

    /// A document, or a branch in it, has been evaluated to its end, which is at `mark`.
    pub(super) fn finish_runs(&self, thread: &mut Thread, unit: usize, mark: Mark) {
        self.close_run(thread, mark);
        if thread.frames.len() > 1 {
            return;
        }
        let (Some(runner), Some(kept)) = (thread.runner.take(), &self.rules.kept) else {
            return;
        };
        let (base, is_page) = (self.url(unit), self.units[unit].parent.is_none());
        let template = &self.units[unit].template;
        let seen = |earlier| Note::Seen(Arc::clone(base), is_page, earlier);
        let Runner { way, done, .. } = runner;
        let nothing_new = done.is_empty();
        let mut list = done;
        let outdated = match way {
            Way::Passing => return template.runs().leave(seen(Weak::new())),
            Way::Using { runs, outdated } if nothing_new => {
                if outdated {
                    template.runs().leave(seen(Arc::downgrade(&runs)));
                }
                return;
            }
            Way::Using { runs, outdated } => {
                list.extend(runs.list.iter().cloned());
                outdated
            }
            Way::Recording { earlier } => {
                list.extend(earlier.into_values());
                false
            }
        };
        if list.is_empty() {
            return;
        }
        list.sort_unstable_by_key(|run| run.start);
        let runs = Runs {
            base: Arc::clone(base),
            is_page,
            weight: list.iter().map(|run| run.weight()).sum(),
            list,
            used: AtomicBool::new(false),
        };
        if let Some(place) = kept.keep(runs) {
            template.runs().leave(if outdated {
                seen(place)
            } else {
                Note::Recorded(place)
            });
        }
    }
}

impl Open {
    fn at(mark: Mark) -> Self {
        Self {
            start: mark.node,
            first_piece: mark.pieces,
            fragments: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::compose::source::{Fetched, Fragment, FragmentRequest};
    use crate::compose::watch::Unwatched;
    use crate::compose::{Composed, Composer, Skeleton};
    use crate::config::ComposeConfig;
    use crate::expr::RequestFacts;
    use crate::message::deadline::Deadline;
    use crate::template::{Settings, compile};

    /// Gives each fragment its path as its body, with its version if there was another, and a ticket, unless its path begins with
    /// `/mine`.
    #[derive(Clone, Default)]
    struct Shelf {
        given: Arc<Given>,
        facts: Arc<RequestFacts>,
    }

    #[derive(Default)]
    struct Given {
        asked: AtomicUsize,
        changed: AtomicBool,
        version: AtomicUsize,
    }

    impl FragmentSource for Shelf {
        type Policy = ();

        fn fetch(&self, request: FragmentRequest, _: Option<&Memo>) -> Fetched<()> {
            self.given.asked.fetch_add(1, Ordering::Relaxed);
            let path = request.url.path();
            let version = self.given.version.load(Ordering::Relaxed);
            let fragment = Fragment {
                status: if path == "/fails" { 500 } else { 200 },
                body: Bytes::from(format!("{path}{}", "+".repeat(version))),
                template: None,
                policy: (),
                set_cookies: Vec::new(),
                reservation: None,
            };
            if request.keeps && !path.starts_with("/mine") {
                Fetched::Kept(fragment, Box::new(()))
            } else {
                Fetched::Now(Ok(fragment))
            }
        }

        fn join(&self, tickets: Vec<Ticket>) -> Option<Bundle> {
            assert!(!tickets.is_empty());
            Some(Arc::new(self.given.version.load(Ordering::Relaxed)))
        }

        fn still(&self, bundle: &Bundle) -> Option<()> {
            let version = bundle.downcast_ref::<usize>()?;
            let same = *version == self.given.version.load(Ordering::Relaxed);
            (same && !self.given.changed.load(Ordering::Relaxed)).then_some(())
        }

        fn request(&self) -> Arc<RequestFacts> {
            Arc::clone(&self.facts)
        }
    }

    struct Site {
        composer: Composer,
        template: Arc<Template>,
        shelf: Shelf,
    }

    impl Site {
        fn new(page: &str, config: ComposeConfig, kept: &Kept) -> Self {
            let document = Bytes::copy_from_slice(page.as_bytes());
            Self {
                composer: Composer::new(config).remembering(kept.clone()),
                template: Arc::new(compile(document, &Settings::default())),
                shelf: Shelf::default(),
            }
        }

        fn compose(&self) -> Composed<()> {
            self.compose_for(&self.shelf)
        }

        fn compose_for(&self, shelf: &Shelf) -> Composed<()> {
            let skeleton = Skeleton {
                template: Arc::clone(&self.template),
                url: Arc::new(Url::new(false, b"www.example.com", b"/page").expect("a URL")),
                deadline: Deadline::after(Duration::from_secs(30)),
                reservation: None,
            };
            self.composer
                .compose(skeleton, shelf.clone(), Arc::new(Unwatched))
                .now_or_never()
                .expect("all is at hand")
                .expect("a page")
        }

        /// Composes so many times; each body, and how many fragments were asked for.
        fn bodies(&self, count: usize) -> Vec<(String, usize)> {
            let mut all = Vec::new();
            for _ in 0..count {
                let before = self.shelf.given.asked.load(Ordering::Relaxed);
                let composed = self.compose();
                let body = composed.body.as_full().expect("all is at hand");
                let asked = self.shelf.given.asked.load(Ordering::Relaxed) - before;
                all.push((String::from_utf8_lossy(body).into_owned(), asked));
            }
            all
        }
    }

    const PAGE: &str = "<p><esi:include src='/a'/> and <esi:include src='/b'/></p>";

    #[tokio::test]
    async fn a_page_is_taken_whole_while_it_holds() {
        let kept = Kept::new(1 << 20);
        let site = Site::new(PAGE, ComposeConfig::default(), &kept);
        let body = || "<p>/a and /b</p>".to_owned();
        let wanted = [(body(), 2), (body(), 2), (body(), 0), (body(), 0)];
        assert_eq!(site.bodies(4), wanted);
        assert!(site.compose().run.is_some());
        // It does not hold any more: composed, recorded anew, taken again.
        site.shelf.given.changed.store(true, Ordering::Relaxed);
        assert_eq!(site.bodies(1), [(body(), 2)]);
        site.shelf.given.changed.store(false, Ordering::Relaxed);
        assert_eq!(site.bodies(2), [(body(), 2), (body(), 0)]);
    }

    #[tokio::test]
    async fn what_is_something_else_stands_between_runs() {
        let page = "<esi:include src='/a'/>1<esi:include src='/mine'/>2<esi:include src='/b'/><esi:vars>$(UNKNOWN|'v')</esi:vars>3";
        let kept = Kept::new(1 << 20);
        let site = Site::new(page, ComposeConfig::default(), &kept);
        let body = || "/a1/mine2/bv3".to_owned();
        let wanted = [(body(), 3), (body(), 3), (body(), 1), (body(), 1)];
        assert_eq!(site.bodies(4), wanted);
        assert!(site.compose().run.is_none());
    }

    #[tokio::test]
    async fn a_try_that_could_not_fail_is_a_part_of_a_run() {
        let tried = |attempt: &str| {
            format!(
                "1<esi:try><esi:attempt>{attempt}</esi:attempt><esi:except>failed<esi:include src='/x'/></esi:except></esi:try>2"
            )
        };
        let include = "<esi:include src='/a'/>";
        for (page, body, asked) in [
            (tried(&format!("({include})")), "1(/a)2", 0),
            (tried(&format!("({include})")).repeat(2), "1(/a)21(/a)2", 0),
            (format!("{include}{}", tried(include)), "/a1/a2", 0),
            (tried("text"), "1text2", 0),
            (tried("<esi:include src='/mine'/>"), "1/mine2", 1),
            (
                format!("{include}{}{include}", tried("<esi:include src='/mine'/>")),
                "/a1/mine2/a",
                1,
            ),
            (
                tried(&format!("{include}<esi:include src='/fails'/>")),
                "1failed/x2",
                3,
            ),
            (
                tried(&format!("{include}<esi:vars>$(U|'v')</esi:vars>")),
                "1/av2",
                1,
            ),
        ] {
            let kept = Kept::new(1 << 20);
            let site = Site::new(&page, ComposeConfig::default(), &kept);
            let bodies = site.bodies(4);
            assert!(bodies.iter().all(|one| one.0 == body), "{page}: {bodies:?}");
            assert_eq!(bodies[3].1, asked, "{page}: {bodies:?}");
        }
    }

    #[tokio::test]
    async fn a_try_that_can_be_in_a_run_later_is_recorded_then() {
        let page = "1<esi:try><esi:attempt><esi:include src='/a'/></esi:attempt></esi:try>2";
        let kept = Kept::new(1 << 20);
        let site = Site::new(page, ComposeConfig::default(), &kept);
        assert_eq!(site.bodies(3)[2].1, 0);
        site.shelf.given.changed.store(true, Ordering::Relaxed);
        assert_eq!(site.bodies(1)[0].1, 1);
        site.shelf.given.changed.store(false, Ordering::Relaxed);
        assert_eq!(site.bodies(2)[1].1, 0);
    }

    fn visitor(shelf: &Shelf, query: &'static str) -> Shelf {
        Shelf {
            given: Arc::clone(&shelf.given),
            facts: Arc::new(RequestFacts {
                query: Bytes::from_static(query.as_bytes()),
                ..RequestFacts::default()
            }),
        }
    }

    #[tokio::test]
    async fn each_branch_has_runs_of_its_own() {
        let text = "t".repeat(LONG_TEXT);
        let page = format!(
            "1<esi:choose><esi:when test=\"$(QUERY_STRING)=='a'\">({text}<esi:include src='/a'/>)</esi:when>\
            <esi:when test=\"$(QUERY_STRING)=='b'\"><esi:include src='/b'/><esi:choose><esi:when test='1==1'><esi:include src='/c'/></esi:when></esi:choose></esi:when>\
            <esi:otherwise>{text}</esi:otherwise></esi:choose>2"
        );
        let kept = Kept::new(1 << 20);
        let site = Site::new(&page, ComposeConfig::default(), &kept);
        let mut asked = Vec::new();
        for _ in 0..8 {
            for (query, body) in [
                ("a", format!("1({text}/a)2")),
                ("b", "1/b/c2".to_owned()),
                ("", format!("1{text}2")),
            ] {
                let before = site.shelf.given.asked.load(Ordering::Relaxed);
                let composed = site.compose_for(&visitor(&site.shelf, query));
                assert_eq!(composed.body.as_full().expect("all is at hand"), &body);
                asked.push(site.shelf.given.asked.load(Ordering::Relaxed) - before);
            }
        }
        // In the end nobody is asked: what one has taken is kept when another is recorded.
        assert_eq!(asked.split_off(asked.len() - 6), [0; 6], "{asked:?}");
    }

    /// Pages of everything that may stand in a run or end one.
    fn pages() -> impl Strategy<Value = String> {
        let long = "l".repeat(LONG_TEXT);
        let piece = prop::sample::select(vec![
            "x".to_owned(),
            long,
            "<esi:include src='/a'/>".to_owned(),
            "<esi:include src='/b'/>".to_owned(),
            "<esi:include src='/mine'/>".to_owned(),
            "<esi:include src='/fails'/>".to_owned(),
            "<esi:include src='/q/$(QUERY_STRING)'/>".to_owned(),
            "<esi:vars>$(QUERY_STRING)$(v)</esi:vars>".to_owned(),
            "<esi:assign name='v' value='$(v)+1'/>".to_owned(),
            "<esi:inline name='/b' fetchable='yes'>i</esi:inline>".to_owned(),
        ]);
        piece.prop_recursive(4, 24, 4, |inner| {
            let content = prop::collection::vec(inner, 0..4).prop_map(|pieces| pieces.concat());
            prop_oneof![
                content.clone(),
                (content.clone(), content.clone()).prop_map(|(attempt, except)| format!(
                    "<esi:try><esi:attempt>{attempt}</esi:attempt><esi:except>{except}</esi:except></esi:try>"
                )),
                (content.clone(), content.clone()).prop_map(|(one, other)| format!(
                    "<esi:choose><esi:when test=\"$(QUERY_STRING)=='a'\">{one}</esi:when><esi:otherwise>{other}</esi:otherwise></esi:choose>"
                )),
                content.prop_map(|content| format!(
                    "<esi:foreach collection='[1,2]'>{content}</esi:foreach>"
                )),
            ]
        })
    }

    proptest! {
        #[test]
        fn who_remembers_gives_what_who_does_not_gives(
            page in prop::collection::vec(pages(), 1..5),
            visits in prop::collection::vec((prop::sample::select(vec!["", "a", "b"]), 0..8), 1..16),
        ) {
            let page = page.concat();
            let kept = Kept::new(1 << 20);
            let site = Site::new(&page, ComposeConfig::default(), &kept);
            let forgetful = Site {
                composer: Composer::new(ComposeConfig::default()),
                template: Arc::new(compile(Bytes::from(page.clone()), &Settings::default())),
                shelf: site.shelf.clone(),
            };
            for (query, luck) in visits {
                // Now and then the fragments have changed.
                if luck == 0 {
                    site.shelf.given.version.fetch_add(1, Ordering::Relaxed);
                }
                let shelf = visitor(&site.shelf, query);
                let (body, plain) = (site.compose_for(&shelf).body, forgetful.compose_for(&shelf).body);
                prop_assert_eq!(body.as_full(), plain.as_full(), "{} for {:?}", page, query);
            }
        }
    }

    #[tokio::test]
    async fn a_fragment_whose_url_is_asked_of_the_request_is_in_no_run() {
        for page in [
            "1<esi:include src='/a/$(QUERY_STRING)'/>2",
            "1<esi:try><esi:attempt><esi:include src='/a/$(QUERY_STRING)'/></esi:attempt></esi:try>2",
        ] {
            let kept = Kept::new(1 << 20);
            let site = Site::new(page, ComposeConfig::default(), &kept);
            let bodies = site.bodies(4);
            assert!(bodies.iter().all(|body| body.1 == 1), "{page}: {bodies:?}");
        }
    }

    #[tokio::test]
    async fn bounds_and_what_answers_for_a_url_hold_as_before() {
        let few = ComposeConfig {
            max_includes: 1,
            ..ComposeConfig::default()
        };
        let kept = Kept::new(1 << 20);
        let site = Site::new(PAGE, few, &kept);
        let short = ("<p>/a and </p>".to_owned(), 1);
        assert!(site.bodies(4).iter().all(|body| body.0 == short.0));
        let inline =
            "<esi:inline name='/a' fetchable='yes'>here</esi:inline>1<esi:include src='/a'/>2";
        let site = Site::new(inline, ComposeConfig::default(), &kept);
        let bodies = site.bodies(4);
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    }

    #[tokio::test]
    async fn no_more_is_kept_than_the_budget_and_what_is_used_stays() {
        let kept = Kept::new(16 * 1024);
        let page = |number: usize| {
            let text = "x".repeat(300);
            let page = format!("{text}<esi:include src='/{number}'/>{text}");
            Site::new(&page, ComposeConfig::default(), &kept)
        };
        let used = page(0);
        used.bodies(3);
        let others: Vec<Site> = (1..50).map(page).collect();
        for other in &others {
            // Recorded, and not used since.
            other.bodies(2);
            assert!(kept.held() <= 16 * 1024, "{}", kept.held());
            assert_eq!(used.bodies(1)[0].1, 0, "what is used stays");
        }
        let forgotten = others.iter().filter(|other| other.bodies(1)[0].1 > 0);
        assert!(forgotten.count() > 30);
        // One that would take too large a part is not kept at all.
        let text = "y".repeat(4 * 1024);
        let large = format!("<esi:include src='/a'/>{text}");
        let large = Site::new(&large, ComposeConfig::default(), &kept);
        assert!(large.bodies(4).iter().all(|body| body.1 == 1));
    }
}
