//! Warnings that follow from what a page means: includes for which nothing stands in, URLs that always fail, tests that always
//! give the same, variables that are never set.

use std::collections::HashSet;
use std::ops::Range;

use super::explain::FAILED;
use super::finding::Finding;
use super::page::Page;
use super::{Warnings, dialects};
use crate::compose::url::{Url, UrlError};
use crate::diagnostic::nearest;
use crate::expr::{Piece as TextPiece, Reference};
use crate::template::ssi_text::{Comparison, Condition};
use crate::template::tree::{Assigned, Body, Choose, FragmentMethod, Include, Node, Text};

/// Looks at every node of the page.
pub(super) fn warn(page: &Page, warnings: &mut Warnings) {
    let blocks = page.template.nodes().iter().filter_map(|node| match node {
        Node::Block(block) => Some(&block.name[..]),
        _ => None,
    });
    let mut walk = Walk {
        page,
        warnings,
        blocks: blocks.collect(),
        bodies: vec![(page.template.root(), false)],
    };
    // Bodies wait on a list and not on the stack of the thread: the page decides how deep they nest.
    while let Some((body, guarded)) = walk.bodies.pop() {
        for node in page.template.body(body) {
            walk.node(node, guarded);
        }
    }
}

struct Walk<'p, 'w> {
    page: &'p Page,
    warnings: &'w mut Warnings,
    /// The names of `#block`.
    blocks: HashSet<&'p [u8]>,
    /// Bodies still to be seen, and whether an attempt stands around them.
    bodies: Vec<(Body, bool)>,
}

impl Walk<'_, '_> {
    fn node(&mut self, node: &Node, guarded: bool) {
        match node {
            Node::Include(include) | Node::Eval(include) => self.include(include, guarded),
            Node::Choose(choose) => self.choose(choose, guarded),
            Node::Try(attempt) => {
                self.bodies.push((attempt.attempt, true));
                self.bodies
                    .extend(attempt.except.map(|body| (body, guarded)));
            }
            Node::If(choice) => {
                for branch in &choice.branches {
                    if let Some(truth) = branch.condition.as_ref().and_then(constant) {
                        let span = self.page.value_span(branch.offset, "expr");
                        self.constant_test(span, truth, SSI_TEST);
                    }
                    self.bodies.push((branch.body, guarded));
                }
                self.bodies
                    .extend(choice.otherwise.map(|body| (body, guarded)));
            }
            Node::Inline(inline) => self.bodies.push((inline.body, guarded)),
            Node::Function(function) => self.bodies.push((function.body, guarded)),
            Node::Block(block) => self.bodies.push((block.body, guarded)),
            Node::Foreach(foreach) => {
                self.references(foreach.offset, foreach.collection.references());
                self.bodies.push((foreach.body, guarded));
            }
            Node::Assign(assign) => match &assign.value {
                Assigned::Expression(value) => self.references(assign.offset, value.references()),
                Assigned::Content(body) => self.bodies.push((*body, guarded)),
                Assigned::Empty => {}
            },
            Node::Return(value) => self.references(value.offset, value.value.references()),
            Node::Dynamic(dynamic) => {
                for piece in &dynamic.pieces {
                    if let TextPiece::Dynamic { offset, expr } = piece {
                        self.references(dynamic.offset + offset, expr.references());
                    }
                }
            }
            _ => {}
        }
    }

    fn choose(&mut self, choose: &Choose, guarded: bool) {
        for when in &choose.branches {
            if let Some(test) = &when.test {
                self.references(when.offset, test.references());
                if let Some(value) = test.as_constant() {
                    let span = self.page.value_span(when.offset, "test");
                    let written = self.page.bytes(span.clone());
                    let quoted = [&b"'$("[..], b"\"$("]
                        .iter()
                        .any(|opener| memchr::memmem::find(written, opener).is_some());
                    let help = if quoted { QUOTED_TEST } else { ESI_TEST };
                    self.constant_test(span, value.is_true(), help);
                }
            }
            self.bodies.push((when.body, guarded));
        }
        self.bodies
            .extend(choose.otherwise.map(|body| (body, guarded)));
    }

    fn constant_test(&mut self, span: Range<usize>, truth: bool, help: &str) {
        let (code, message, emitted) = if truth {
            (
                "test-always-true",
                "this test is always true",
                "its content, for everybody; branches after it are never taken",
            )
        } else {
            (
                "test-always-false",
                "this test is always false",
                "nothing: its content is never shown",
            )
        };
        let finding = Finding::warning(code, span, message).emitted(emitted);
        self.warnings.add(finding.help(help));
    }

    // Includes.

    fn include(&mut self, include: &Include, guarded: bool) {
        let tag = include.offset;
        let urls = [("src", &include.src), ("alt", &include.alt)];
        for (attribute, text) in urls {
            let Some(text) = text else { continue };
            let attribute = match &include.ssi {
                None => attribute,
                Some(ssi) if ssi.file => "file",
                Some(_) => "virtual",
            };
            let ssi = include.ssi.is_some();
            self.url(self.page.value_span(tag, attribute), text, ssi);
            if attribute == "file" {
                self.file(tag, text);
            }
        }
        let texts = [&include.src, &include.alt, &include.entity].into_iter();
        let headers = include.headers.iter().map(|rule| &rule.text);
        for text in texts.flatten().chain(headers) {
            if let Text::Esi(text) = text {
                self.references(tag, text.references());
            }
        }
        if let Some(ssi) = &include.ssi {
            if let Some(stub) = &ssi.stub
                && !self.blocks.contains(&stub[..])
            {
                self.no_such_block(tag, stub);
            }
            return;
        }
        if include.entity.is_some() && include.method == FragmentMethod::Get {
            let span = self.page.value_span(tag, "entity");
            let message = "`entity` is the body of a POST, and this include is a GET";
            let finding = Finding::warning("entity-without-post", span, message);
            self.warnings
                .add(finding.help("write `method=\"POST\"` too"));
        }
        let stands_in = guarded || include.on_error_continue || include.alt.is_some();
        if !stands_in && include.src.is_some() {
            self.unguarded(tag);
        }
    }

    fn unguarded(&mut self, tag: usize) {
        let Some(piece) = self.page.piece(tag) else {
            return;
        };
        let element = piece.element().unwrap_or_default();
        let help = if element == "eval" {
            "write `onerror=\"continue\"` if the page can do without it, or put it into `<esi:try>`"
        } else {
            "write `onerror=\"continue\"` if the page can do without it, `alt=\"URL\"`, or put it into `<esi:try>`"
        };
        let message = "nothing stands in for this fragment when it fails";
        let finding = Finding::warning("unguarded-include", piece.span.clone(), message);
        self.warnings.add(
            finding
                .emitted(
                    "on a failure nothing here; with `on_error = \"fail\"` the whole page fails",
                )
                .help(help),
        );
    }

    fn url(&mut self, span: Range<usize>, text: &Text, ssi: bool) {
        let constant = match text {
            Text::Constant(url) => url,
            Text::Esi(text) => {
                // What stands before the first reference decides the scheme, unless the scheme itself is one.
                if let Some(TextPiece::Literal(start)) = text.pieces().first()
                    && memchr::memmem::find(start, b"://").is_some()
                    && let Err(UrlError::Scheme) =
                        page_url().map_or(Ok(()), |url| url.join(start).map(drop))
                {
                    self.bad_url(span, UrlError::Scheme, false);
                }
                return;
            }
            Text::Ssi(_) => return,
        };
        let refused = page_url().and_then(|page| page.join(constant).err());
        if let Some(error) = refused {
            return self.bad_url(span, error, ssi);
        }
        if constant.iter().any(u8::is_ascii_whitespace) {
            let inside = constant.trim_ascii().iter().any(u8::is_ascii_whitespace);
            let (message, help) = if inside {
                (
                    "white space in a URL is percent-encoded",
                    "write `%20` if it is meant, else remove it",
                )
            } else {
                ("white space around a URL is taken away", "remove it")
            };
            let finding = Finding::warning("white-space-in-url", span, message);
            self.warnings.add(finding.help(help));
        }
    }

    fn bad_url(&mut self, span: Range<usize>, error: UrlError, ssi: bool) {
        let (code, help) = match error {
            UrlError::Empty => ("empty-url", "write the URL of the fragment"),
            UrlError::Scheme => (
                "unsupported-scheme",
                "write an `http` or `https` URL, or a path; the route that it picks says how its servers are spoken to",
            ),
            UrlError::UserInfo => ("bad-url", "remove what stands before the `@`"),
            UrlError::Host => ("bad-url", "write `http://host/path`, or a path alone"),
            UrlError::EncodedSlash => ("bad-url", "write the path without `%2f` beside dots"),
        };
        let finding = Finding::warning(code, span, format!("this include always fails: {error}"));
        let finding = finding.emitted(if ssi {
            "the error message, or the stub"
        } else {
            FAILED
        });
        self.warnings.add(finding.help(help));
    }

    fn file(&mut self, tag: usize, text: &Text) {
        let Text::Constant(path) = text else { return };
        let outside =
            path.starts_with(b"/") || path.split(|byte| *byte == b'/').any(|part| part == b"..");
        if outside {
            let span = self.page.value_span(tag, "file");
            let message = "this include always fails: `file` is relative and holds no `..`";
            let finding = Finding::warning("file-outside", span, message);
            self.warnings.add(
                finding
                    .emitted("the error message, or the stub")
                    .help("write `virtual=\"/path\"`"),
            );
        }
    }

    fn no_such_block(&mut self, tag: usize, stub: &[u8]) {
        let name = String::from_utf8_lossy(stub).into_owned();
        let span = self.page.value_span(tag, "stub");
        let known = self.blocks.iter().take(100);
        let known = known.filter_map(|name| std::str::from_utf8(name).ok());
        let help = match nearest(&name, known) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("write `<!--#block name={name:?} -->…<!--#endblock -->` before it"),
        };
        let message = format!("no `#block` of this document is named {name:?}");
        let finding = Finding::warning("unknown-stub", span, message);
        self.warnings.add(finding.help(help));
    }

    // Variables.

    /// What an expression that stands at or behind `from` reads.
    fn references<'r>(&mut self, from: usize, references: impl Iterator<Item = Reference<'r>>) {
        let mut seen = HashSet::new();
        for reference in references {
            let Reference::Variable(name) = reference else {
                continue;
            };
            let name = name.as_str();
            if !seen.insert(name.to_owned()) {
                continue;
            }
            if BuiltIn::of(name) == BuiltIn::No {
                if !self.page.evaluates && !self.page.sets(name) {
                    self.never_set(from, name);
                }
            } else if BuiltIn::of(name) == BuiltIn::Empty {
                self.always_empty(from, name);
            }
        }
    }

    fn never_set(&mut self, from: usize, name: &str) {
        let span = self
            .written(from, name, b"{|)")
            .unwrap_or_else(|| self.tag(from));
        let mut help = dialects::variable(name).map(|foreign| foreign.instead.to_owned());
        let known = REQUEST.iter().copied();
        let own = self.page.variables.iter().take(100).map(String::as_str);
        if let (None, Some(meant)) = (&help, nearest(name, own.chain(known))) {
            help = Some(format!("did you mean `$({meant})`?"));
        }
        let message = format!("nothing in this document sets `{name}`");
        let finding = Finding::warning("unset-variable", span, message)
            .emitted("its default, else nothing")
            .maybe_help(help)
            .help("a fragment has none of its page's variables; the URL of its include can carry values");
        self.warnings.add(finding);
    }

    fn always_empty(&mut self, from: usize, name: &str) {
        let secret = name.ends_with("AUTHORIZATION");
        let ends: &[u8] = if secret { b"{|)" } else { b"|)" };
        let Some(span) = self.written(from, name, ends) else {
            return;
        };
        let (message, help) = if secret {
            (format!("`{name}` is never shown to pages"), "remove it")
        } else {
            (
                format!("`{name}` without a key is empty"),
                "write the key, `$(HTTP_COOKIE{name})` or `$(HTTP_HEADER{Name})`",
            )
        };
        let finding = Finding::warning("empty-variable", span, message);
        self.warnings
            .add(finding.emitted("its default, else nothing").help(help));
    }

    /// Where `$(name` stands behind `from` in the same tag or text, followed by one of `ends`.
    fn written(&self, from: usize, name: &str, ends: &[u8]) -> Option<Range<usize>> {
        if self.warnings.is_full() {
            return None;
        }
        let end = self.page.piece(from)?.span.end;
        let end = end.min(from.saturating_add(self.page.settings.longest_tag));
        let bytes = self.page.bytes(from..end);
        let opener = format!("$({name}");
        memchr::memmem::find_iter(bytes, opener.as_bytes())
            .find(|at| {
                let next = bytes.get(at + opener.len());
                next.is_some_and(|byte| ends.contains(byte))
            })
            .map(|at| from + at..from + at + opener.len())
    }

    fn tag(&self, from: usize) -> Range<usize> {
        let piece = self.page.piece(from);
        piece.map_or(from..from + 1, |piece| piece.span.clone())
    }
}

const QUOTED_TEST: &str = "references are not replaced inside strings; write `$(…)` without quotes";
const ESI_TEST: &str = "compare something of the request, such as `$(HTTP_COOKIE{name}) == 'x'`; to switch content off write `<esi:remove>`";
const SSI_TEST: &str = "compare a variable, such as `$cookie_name = x`";

/// The variables of the request that have one name.
const REQUEST: [&str; 9] = [
    "HTTP_HOST",
    "HTTP_REFERER",
    "HTTP_COOKIE",
    "HTTP_ACCEPT_LANGUAGE",
    "HTTP_USER_AGENT",
    "QUERY_STRING",
    "REQUEST_METHOD",
    "REQUEST_PATH",
    "REMOTE_ADDR",
];

/// Whether a name belongs to the request.
#[derive(PartialEq, Eq)]
enum BuiltIn {
    Yes,
    /// Without a key, or always.
    Empty,
    No,
}

impl BuiltIn {
    fn of(name: &str) -> Self {
        match name {
            "HTTP_COOKIE" | "HTTP_HEADER" | "HTTP_AUTHORIZATION" | "HTTP_PROXY_AUTHORIZATION" => {
                Self::Empty
            }
            _ if crate::expr::Name::parse(name.as_bytes())
                .is_some_and(|name| name.is_built_in()) =>
            {
                Self::Yes
            }
            _ => Self::No,
        }
    }
}

/// A page against which constant URLs are resolved: whether they can be is the same for all.
fn page_url() -> Option<Url> {
    Url::new(false, b"page.example", b"/").ok()
}

/// What a condition gives, when it depends on nothing. It nests within the bounds of conditions.
fn constant(condition: &Condition) -> Option<bool> {
    match condition {
        Condition::Text(text) => Some(!text.as_literal()?.is_empty()),
        Condition::Compare(left, comparison, right) => {
            let (left, right) = (left.as_literal()?, right.as_literal()?);
            Some(match comparison {
                Comparison::Equal => left == right,
                Comparison::NotEqual => left != right,
                Comparison::Less => left < right,
                Comparison::LessOrEqual => left <= right,
                Comparison::Greater => left > right,
                Comparison::GreaterOrEqual => left >= right,
            })
        }
        Condition::Matches {
            text,
            pattern,
            negated,
        } => Some(pattern.regex().is_match(&text.as_literal()?) != *negated),
        Condition::Not(inner) => constant(inner).map(|truth| !truth),
        Condition::All(terms) => fold(terms, false),
        Condition::Any(terms) => fold(terms, true),
    }
}

/// `decisive` as soon as one term gives it, its opposite when all give that.
fn fold(terms: &[Condition], decisive: bool) -> Option<bool> {
    let mut all_known = true;
    for term in terms {
        match constant(term) {
            Some(truth) if truth == decisive => return Some(decisive),
            Some(_) => {}
            None => all_known = false,
        }
    }
    all_known.then_some(!decisive)
}
