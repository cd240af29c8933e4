//! What is wrong with a page, and what in it works but will surprise its author: every finding at once, each with its place,
//! what is emitted instead and what to write.
//!
//! Errors are what the compiler of templates told (`explain`, with `malformed`, `expressions` and `directives`); warnings come
//! from the compiled tree (`nodes`, with `includes` and `variables`) and from what is written (`writing`, `text`). Nothing here serves a request, and nothing is fetched. `cli/lint` reads the
//! files and prints what a [`Report`] draws.

mod dialects;
mod directives;
mod elements;
mod explain;
mod expressions;
mod finding;
mod includes;
mod malformed;
mod nodes;
mod page;
mod report;
mod shown;
mod text;
mod variables;
mod writing;

use bytes::Bytes;

pub use finding::Finding;
pub use report::{Report, Row};

use crate::template::Settings;
use page::Page;

/// All findings about a page, in its order.
pub fn lint(document: Bytes, settings: &Settings) -> Vec<Finding> {
    let page = Page::read(document, settings);
    let mut findings = explain::errors(&page);
    let mut warnings = Warnings::default();
    nodes::warn(&page, &mut warnings);
    writing::warn(&page, &mut warnings);
    text::warn(&page, &mut warnings);
    findings.extend(warnings.finish());
    findings.sort_by_key(|finding| (finding.span.start, finding.span.end));
    findings
}

/// How many warnings of one page are kept, like the issues of a template: nobody reads more, and a hostile page could hold a
/// million.
const KEPT: usize = 1000;

/// Warnings while they are collected.
#[derive(Debug, Default)]
struct Warnings {
    kept: Vec<Finding>,
    more: usize,
}

impl Warnings {
    fn add(&mut self, finding: Finding) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.kept.push(finding);
        }
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= KEPT
    }

    fn finish(mut self) -> Vec<Finding> {
        if self.more > 0 {
            let last = self.kept.iter().map(|finding| finding.span.start).max();
            let at = last.unwrap_or_default();
            let message = format!("{} more warnings", self.more);
            self.kept
                .push(Finding::warning("more-warnings", at..at + 1, message));
        }
        self.kept
    }
}
