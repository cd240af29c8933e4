//! Variables that are always empty: nothing sets them, or they are read without the key that they need.

use std::collections::HashSet;
use std::ops::Range;

use super::dialects;
use super::finding::Finding;
use super::nodes::Walk;
use crate::diagnostic::nearest;
use crate::expr::Reference;

impl Walk<'_, '_> {
    /// What an expression that stands at or behind `from` reads.
    pub(super) fn references<'r>(
        &mut self,
        from: usize,
        references: impl Iterator<Item = Reference<'r>>,
    ) {
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
