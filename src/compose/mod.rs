//! From a compiled page to its bytes: evaluated, its fragments fetched all at once, streamed in page order.
//!
//! A [`Composer`] takes a [`Skeleton`] and a [`FragmentSource`] and gives a [`Composed`] page. Evaluation runs ahead of output
//! and asks for every fragment as it meets it; what is at hand costs no task and no future; what is not becomes a future that the
//! page's body polls. Nothing is spawned: dropping the composition, or the body, drops all that is in flight. Compose knows
//! neither cache nor sockets.

mod attempt;
pub mod coder;
mod document;
mod elements;
mod emit;
pub mod error;
mod evaluate;
mod fallback;
mod flight;
pub mod head;
mod host;
mod include;
pub mod limits;
mod output;
mod page;
pub mod request_scope;
pub mod runs;
pub mod source;
mod ssi;
mod stream;
#[cfg(test)]
mod tests;
pub mod url;
pub mod watch;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

pub use error::ComposeError;
pub use head::HeadEdits;

use crate::compose::coder::Coded;
use crate::compose::document::Unit;
use crate::compose::limits::Reservation;
use crate::compose::output::{collect, collect_coded, length, only_run};
use crate::compose::page::{Page, Rules};
use crate::compose::runs::{Kept, Run};
use crate::compose::source::{FragmentSource, Part};
use crate::compose::stream::Stream;
use crate::compose::url::Url;
use crate::compose::watch::Watcher;
use crate::config::{ComposeConfig, LanguageLimits, OnError};
use crate::expr;
use crate::message::Body;
use crate::message::deadline::Deadline;
use crate::template::{Settings, Template};

/// So many fragments of which nothing is known are met before the head of their page leaves, unless it has to wait for them. A page with fewer
/// is evaluated in one go.
const BEFORE_HEAD: usize = 4;

/// Composes pages under one set of bounds and choices.
#[derive(Debug, Clone)]
pub struct Composer {
    rules: Arc<Rules>,
}

/// The page to be composed.
#[derive(Debug)]
pub struct Skeleton {
    /// Its compiled body.
    pub template: Arc<Template>,
    /// Its URL, by the client's request: references are relative to it, and it must not include itself.
    pub url: Arc<Url>,
    /// By when its last byte must be there.
    pub deadline: Deadline,
    /// The share of `compose.memory` that its body holds.
    pub reservation: Option<Reservation>,
}

/// A page whose head can be written now.
#[derive(Debug)]
pub struct Composed<P> {
    /// What its tags change in the head.
    pub edits: HeadEdits,
    /// What is known of its fragments by now, in no particular order.
    pub parts: Vec<Part<P>>,
    /// With `merge_set_cookie`: what its fragments set, in page order.
    pub set_cookies: Vec<HeaderValue>,
    /// All of it when everything was at hand; else what is there, and the rest as it comes.
    pub body: Body,
    /// Whether the body went through the coder.
    pub is_coded: bool,
    /// The run that the whole body is, when it is one.
    pub run: Option<Arc<Run>>,
}

impl Composer {
    /// A composer with these settings.
    pub fn new(config: ComposeConfig) -> Self {
        let expressions = expression_limits(&config.limits);
        Self {
            rules: Arc::new(Rules {
                config,
                expressions,
                kept: None,
            }),
        }
    }

    /// The same, remembering there what need not be composed again.
    #[must_use]
    pub fn remembering(self, kept: Kept) -> Self {
        let config = self.rules.config.clone();
        Self {
            rules: Arc::new(Rules {
                config,
                expressions: self.rules.expressions,
                kept: Some(kept),
            }),
        }
    }

    /// How documents of this media type are to be compiled for this composer.
    pub fn settings(&self, media_type: &str, dialects: crate::config::Dialects) -> Settings {
        Settings {
            dialects: crate::template::Dialects {
                esi: dialects.esi,
                ssi: dialects.ssi,
            },
            escape: crate::template::escape_of(media_type),
            longest_tag: self.rules.config.limits.tag.as_usize(),
            nesting: self.rules.config.limits.nesting,
            expressions: self.rules.expressions,
        }
    }

    /// Composes a page up to the point where its head can be written.
    ///
    /// It waits for fragments only as the settings and the page ask: for all of them with `merge_set_cookie` and in pages
    /// that change their response, for those of the page itself with `on_error = "fail"`, for at most `head_wait` otherwise.
    /// Dropping the future, or later the body, ends every fetch.
    ///
    /// # Errors
    /// When the page failed, or its deadline passed, before its head could be written. The body ends in an error when that
    /// happens later.
    pub async fn compose<S: FragmentSource>(
        &self,
        skeleton: Skeleton,
        source: S,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Composed<S::Policy>, ComposeError> {
        match self.at_hand(&skeleton, &source) {
            Some(composed) => Ok(composed),
            None => self.compose_coded(skeleton, source, watcher, None).await,
        }
    }

    /// The page, where all of it is remembered as one [run](Composed::run) that still holds.
    pub fn at_hand<S: FragmentSource>(
        &self,
        skeleton: &Skeleton,
        source: &S,
    ) -> Option<Composed<S::Policy>> {
        let (run, policy) =
            runs::whole_page(&self.rules, &skeleton.template, &skeleton.url, source)?;
        Some(Composed {
            edits: HeadEdits::default(),
            parts: vec![Part::Here(policy)],
            set_cookies: Vec::new(),
            body: Body::full(run.bytes().clone()),
            is_coded: false,
            run: Some(run),
        })
    }

    /// As [`compose`](Self::compose), with a body that is coded; but for one that is a single [run](Composed::run), or that its tags replace.
    ///
    /// # Errors
    /// As [`compose`](Self::compose).
    pub async fn compose_coded<S: FragmentSource>(
        &self,
        skeleton: Skeleton,
        source: S,
        watcher: Arc<dyn Watcher>,
        coded: Option<Coded>,
    ) -> Result<Composed<S::Policy>, ComposeError> {
        let rules = Arc::clone(&self.rules);
        let mut page = Page::new(rules, source, watcher, coded.is_none());
        page.reservations.extend(skeleton.reservation);
        let writes_head = skeleton.template.writes_head();
        let waits = self.waits_for(writes_head);
        page.before_head = (!waits.any()).then_some(BEFORE_HEAD);
        let root = page.start_document(
            Unit {
                template: skeleton.template,
                url: skeleton.url,
                parent: None,
                depth: 0,
            },
            None,
            None,
        );
        page.run();
        self.wait_for_head(&mut page, waits, skeleton.deadline)
            .await?;
        if let Some(failure) = page.failure.take() {
            return Err(failure);
        }
        let idle = page.is_idle();
        let set_cookies = if self.rules.config.merge_set_cookie {
            page.cookies_in_order(root)
        } else {
            Vec::new()
        };
        let edits = std::mem::take(&mut page.head);
        let parts = page.parts.take().unwrap_or_default();
        let run = (idle && edits.is_empty())
            .then(|| only_run(root, page.pages()))
            .flatten();
        let coded = coded.filter(|coded| {
            let replaced = edits.body.is_some() || edits.redirect.is_some();
            let small = || idle && length(root, page.pages()) < coded.worth;
            !replaced && run.is_none() && !small()
        });
        let is_coded = coded.is_some();
        let body = match (&edits.body, edits.redirect.is_some()) {
            (Some(body), _) => Body::full(body.clone()),
            (None, true) => Body::empty(),
            (None, false) if idle => Body::full(match (&run, coded) {
                (Some(run), _) => run.bytes().clone(),
                (None, Some(mut coded)) => collect_coded(root, page.pages(), &mut *coded.coder),
                (None, None) => page.lists[root]
                    .take_values()
                    .unwrap_or_else(|| collect(root, page.pages())),
            }),
            (None, false) => {
                let timer = tokio::time::sleep_until(skeleton.deadline.instant());
                let coder = coded.map(|coded| coded.coder);
                Body::stream(Stream::new(page, root, timer, coder))
            }
        };
        Ok(Composed {
            edits,
            parts,
            set_cookies,
            body,
            is_coded,
            run,
        })
    }

    /// What the head of a page waits for.
    fn waits_for(&self, writes_head: bool) -> HeadWaits {
        let config = &self.rules.config;
        HeadWaits {
            whole: writes_head || config.merge_set_cookie,
            own: config.on_error == OnError::Fail,
            time: config.head_wait,
        }
    }

    async fn wait_for_head<S: FragmentSource>(
        &self,
        page: &mut Page<S>,
        waits: HeadWaits,
        deadline: Deadline,
    ) -> Result<(), ComposeError> {
        if page.is_idle() || page.failure.is_some() {
            return Ok(());
        }
        if waits.whole || waits.own {
            let decided = poll_fn(|context| {
                let idle = page.poll(context);
                if !waits.whole && page.is_decided() {
                    return std::task::Poll::Ready(());
                }
                idle
            });
            let in_time = deadline.bound(decided).await;
            in_time.map_err(|_| ComposeError::TooLate)?;
        }
        if !waits.time.is_zero() && !page.is_idle() {
            let wait = deadline.within(waits.time);
            // Whether all came in time or not, the head leaves now.
            let _ = wait.bound(poll_fn(|context| page.poll(context))).await;
        }
        Ok(())
    }
}

/// What the head of a page waits for.
#[derive(Debug, Clone, Copy)]
struct HeadWaits {
    /// All of the page.
    whole: bool,
    /// The page's own includes.
    own: bool,
    /// All of the page, for at most so long.
    time: Duration,
}

impl HeadWaits {
    fn any(&self) -> bool {
        self.whole || self.own || !self.time.is_zero()
    }
}

fn expression_limits(limits: &LanguageLimits) -> expr::Limits {
    expr::Limits {
        expression_bytes: limits.expression.as_usize(),
        depth: limits.expression_depth,
        entries: limits.list_entries,
        value_bytes: limits.variables.as_usize(),
        function_depth: limits.function_depth,
        regex_bytes: limits.regex.as_usize(),
    }
}
