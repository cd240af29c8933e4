//! What a page would fetch, without fetching it: every include of it, with the URLs that it has for this request, and when it is fetched.
//!
//! The page is composed twice by the composer itself, over a source that records what is asked for: once with every fragment
//! given, once with every fragment failing. What the first one asks for is fetched; what only the second asks for (`alt`,
//! `except`, stubs) is fetched when something fails; an include that neither asks for is in a branch that this request does not take.
//! Files below `--fragments` are read, so what they include is known too; of all else nothing is known before it is fetched.

mod outline;
mod recorder;
mod show;

use std::collections::HashMap;
use std::sync::Arc;

use crate::cli::compose::plan::outline::{Condition, Tag};
use crate::cli::compose::plan::recorder::{Asked, Recorder, Run};
use crate::cli::compose::reports::Known;
use crate::cli::compose::source::{Fragments, Offline};
use crate::cli::compose::{Bench, reports::Reports};
use crate::compose::url::Url;
use crate::compose::{Composer, Skeleton};
use crate::message::deadline::Deadline;

pub use show::Plan;

/// When an include is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// For this request.
    Now,
    /// For this request, if another one fails.
    OnFailure,
    /// Not for this request.
    Never,
}

/// One include of a document.
#[derive(Debug)]
struct Step {
    tag: Tag,
    /// Name of the document for people.
    file: String,
    line: usize,
    column: usize,
    depth: usize,
    when: When,
    conditions: Vec<Condition>,
    /// What is asked for: one in most cases, several in a loop, none when it never is.
    requests: Vec<Asked>,
    /// The second URL, resolved where it can be; where it cannot, as it is written.
    alts: Vec<String>,
    /// Whether its fragment was read, so that what it includes is known.
    read: bool,
    /// Whether what its fragment includes stands below another step.
    shown_before: bool,
    /// What its fragment includes, where that is known.
    steps: Vec<Step>,
}

/// Plans the page of a bench.
pub async fn make(bench: &Bench) -> Result<Plan, String> {
    let planner = Planner {
        composer: &bench.composer,
        source: bench.source(),
        bench,
    };
    let first = planner
        .run(bench.skeleton(), Run::Given, Arc::clone(&bench.reports))
        .await?;
    let mut documents = HashMap::new();
    for url in first.documents() {
        let Some(known) = bench.reports.documents.get(&url) else {
            continue;
        };
        let document = planner.document(&url, known, &first).await?;
        documents.insert(url, Document::Steps(document));
    }
    let page = bench.client.url.to_string();
    let steps = steps_of(&page, 1, &mut documents);
    Ok(Plan {
        page: bench.label.clone(),
        url: page,
        steps,
        read_ahead: matches!(bench.fragments, Fragments::Folder(_)),
    })
}

struct Planner<'b> {
    composer: &'b Composer,
    source: Offline,
    bench: &'b Bench,
}

/// The steps of one document.
enum Document {
    /// Not yet put below the include that brings it.
    Steps(Vec<Step>),
    /// They are below another one; whether there are any.
    Shown(bool),
}

impl Planner<'_> {
    /// Composes once and gives what was asked for.
    async fn run(
        &self,
        skeleton: Skeleton,
        run: Run,
        reports: Arc<Reports>,
    ) -> Result<Recorder, String> {
        let recorder = Recorder::new(self.source.clone(), run, reports);
        let composed = self
            .composer
            .compose(skeleton, recorder.clone(), Arc::new(recorder.clone()))
            .await;
        let composed = composed.map_err(|error| error.to_string())?;
        let limit = self.bench.config.max_page.as_usize();
        let body = composed.body.collect(limit).await;
        body.map_err(|error| error.to_string())?;
        Ok(recorder)
    }

    /// The steps of a document that the first run has met.
    async fn document(
        &self,
        url: &str,
        known: Known,
        first: &Recorder,
    ) -> Result<Vec<Step>, String> {
        let base = self.url(url)?;
        let skeleton = Skeleton {
            template: Arc::clone(&known.template),
            url: Arc::clone(&base),
            deadline: Deadline::after(self.bench.config.page_timeout),
            reservation: None,
        };
        // What fails here, fails on purpose: nobody is told.
        let failing = self.run(skeleton, Run::Failing, Arc::default()).await?;
        let mut steps = Vec::new();
        for (tag, conditions) in outline::tags(&known.template) {
            let given = first.at(url, tag.offset);
            let failed = failing.at(url, tag.offset);
            let (when, requests) = match (given.is_empty(), failed.is_empty()) {
                (false, _) => (When::Now, given),
                (true, false) => (When::OnFailure, failed.clone()),
                (true, true) => (When::Never, Vec::new()),
            };
            let alts = alts(&tag, &base, &failed);
            let (line, column) =
                crate::template::issue::line_and_column(known.template.document(), tag.offset);
            steps.push(Step {
                tag,
                file: known.label.clone(),
                line,
                column,
                depth: 0,
                when,
                conditions,
                requests,
                alts,
                read: false,
                shown_before: false,
                steps: Vec::new(),
            });
        }
        Ok(steps)
    }

    fn url(&self, url: &str) -> Result<Arc<Url>, String> {
        let joined = self.bench.client.url.join(url.as_bytes());
        joined.map(Arc::new).map_err(|error| error.to_string())
    }
}

/// The second URLs: those that were asked for when all failed, else the one that is written.
fn alts(tag: &Tag, base: &Url, failed: &[Asked]) -> Vec<String> {
    let asked: Vec<String> = failed
        .iter()
        .filter_map(|asked| asked.alt.clone())
        .collect();
    match (&tag.alt, asked.is_empty()) {
        (None, _) => Vec::new(),
        (Some(_), false) => asked,
        (Some(written), true) => {
            let resolved = tag
                .alt_is_constant
                .then(|| base.join(written.as_bytes()).ok());
            vec![
                resolved
                    .flatten()
                    .map_or_else(|| written.clone(), |url| url.to_string()),
            ]
        }
    }
}

/// The steps of a document with those of its fragments below them. Each document is shown once: below the first include that
/// brings it. Documents include no ancestors, so this ends at the depth that composition allows.
fn steps_of(url: &str, depth: usize, documents: &mut HashMap<String, Document>) -> Vec<Step> {
    let mut steps = match documents.get_mut(url) {
        Some(Document::Steps(steps)) => std::mem::take(steps),
        Some(Document::Shown(_)) | None => return Vec::new(),
    };
    documents.insert(url.to_owned(), Document::Shown(!steps.is_empty()));
    for step in &mut steps {
        step.depth = depth;
        let brought: Vec<String> = step.requests.iter().filter_map(Asked::shown_url).collect();
        for url in brought {
            match documents.get(&url) {
                None => {}
                Some(Document::Shown(any)) => {
                    step.read = true;
                    step.shown_before |= *any && step.steps.is_empty();
                }
                Some(Document::Steps(_)) => {
                    step.read = true;
                    step.steps.extend(steps_of(&url, depth + 1, documents));
                }
            }
        }
    }
    steps
}
