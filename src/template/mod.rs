//! From bytes to a compiled [`Template`]; a broken page gives a template and its issues, never an error.
//!
//! ```text
//! bytes -> scan (tokens) -> outline (which end belongs to which start) -> build (nodes; esi and ssi read single tags)
//! ```
//!
//! Everything that does not depend on a request is done here, once: tags, expressions, constant text. A template serves all
//! requests for its document; `compose` reads it. This module knows text and values, no HTTP.

mod attributes;
mod build;
pub mod condition;
mod directive;
mod directives;
mod elements;
mod esi;
mod grammar;
pub mod issue;
mod json;
pub mod memo;
mod outline;
mod plain;
mod scan;
mod ssi;
pub mod ssi_text;
pub mod survey;
pub mod tree;
mod weight;

use bytes::{Bytes, BytesMut};

pub use issue::{Issue, IssueKind};
pub use tree::Template;

use crate::expr::{self, Escape};
use issue::Issues;

/// What decides how a document is read.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which tags are seen.
    pub dialects: Dialects,
    /// How values from the request are escaped: the document's type decides. JSON also lets tags stand inside strings.
    pub escape: Escape,
    /// Longest tag in bytes.
    pub longest_tag: usize,
    /// Deepest nesting of elements.
    pub nesting: usize,
    /// The bounds of expressions.
    pub expressions: expr::Limits,
}

/// The tag languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialects {
    /// `<esi:…>`.
    pub esi: bool,
    /// `<!--#…-->`.
    pub ssi: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dialects: Dialects {
                esi: true,
                ssi: true,
            },
            escape: Escape::Html,
            longest_tag: 64 * 1024,
            nesting: 64,
            expressions: expr::Limits::default(),
        }
    }
}

impl Settings {
    fn is_json(&self) -> bool {
        self.escape == Escape::Json
    }
}

/// How a document of this media type (with or without parameters) escapes what comes from the request: HTML and XML, JSON,
/// or nothing.
pub fn escape_of(media_type: &str) -> Escape {
    let essence = media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") {
        Escape::Json
    } else if essence == "text/html" || essence.ends_with("/xml") || essence.ends_with("+xml") {
        Escape::Html
    } else {
        Escape::None
    }
}

/// Compiles a whole document. Linear in its length, whatever it holds.
pub fn compile(document: Bytes, settings: &Settings) -> Template {
    let mut issues = Issues::default();
    if u32::try_from(document.len()).is_err() {
        issues.add(0, 1, IssueKind::TooLarge);
        return untagged(document, settings, issues);
    }
    let shared = document.clone();
    let tokens = scan::scan(&shared, settings, &mut issues);
    let roles = outline::roles(&tokens, &mut issues);
    build::build(document, settings, &tokens, &roles, issues)
}

/// A document that is copied as it is. Its single node spans what a span can hold; the composer copies untagged documents whole.
fn untagged(document: Bytes, settings: &Settings, issues: Issues) -> Template {
    Template {
        nodes: Vec::new(),
        dynamics: Vec::new(),
        assigns: Vec::new(),
        branches: Vec::new(),
        root: tree::Body::default(),
        issues: issues.finish(),
        has_tags: false,
        writes_head: false,
        reads_values: false,
        escape: settings.escape,
        document,
        runs: memo::Memo::default(),
        url: memo::Memo::default(),
    }
}

/// Compiles a document that arrives in pieces. However it is cut, the template is the same: the pieces are joined, and read
/// once the last one is there; its size is for the caller to bound.
#[derive(Debug)]
pub struct Compiler {
    settings: Settings,
    received: BytesMut,
}

impl Compiler {
    /// A document of which nothing has come yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            received: BytesMut::new(),
        }
    }

    /// The next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.received.extend_from_slice(piece);
    }

    /// There is no more.
    pub fn finish(self) -> Template {
        compile(self.received.freeze(), &self.settings)
    }
}
