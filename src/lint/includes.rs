//! Includes that always fail, and those for which nothing stands in when they do.

use std::collections::BTreeMap;
use std::ops::Range;

use super::explain::FAILED;
use super::finding::Finding;
use super::nodes::Walk;
use super::page::Page;
use crate::compose::url::{Url, UrlError};
use crate::diagnostic::nearest;
use crate::expr::Piece as TextPiece;
use crate::template::survey::PieceKind;
use crate::template::tree::{FragmentMethod, Include, Text};

impl Walk<'_, '_> {
    /// An include or eval; `guarded` when an attempt stands around it.
    pub(super) fn include(&mut self, include: &Include, guarded: bool) {
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
                && self.blocks.get(&stub[..]).is_none_or(|at| *at > tag)
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
        let known = self.blocks.keys().take(100);
        let known = known.filter_map(|name| std::str::from_utf8(name).ok());
        let help = match nearest(&name, known) {
            Some(meant) if meant == name => "move the block before it".to_owned(),
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("write `<!--#block name={name:?} -->…<!--#endblock -->` before it"),
        };
        let message = format!("no `#block` before this is named {name:?}");
        let finding = Finding::warning("unknown-stub", span, message)
            .emitted("on a failure the error message");
        self.warnings.add(finding.help(help));
    }
}

/// The names of blocks, each with the place of the first.
pub(super) fn blocks(page: &Page) -> BTreeMap<&[u8], usize> {
    let mut blocks = BTreeMap::new();
    for piece in &page.pieces {
        if let PieceKind::Directive(command, _) = &piece.kind
            && command == "block"
            && let Some(name) = piece.attribute("name")
        {
            blocks.entry(&name.value[..]).or_insert(piece.span.start);
        }
    }
    blocks
}

/// A page against which constant URLs are resolved: whether they can be is the same for all.
fn page_url() -> Option<Url> {
    Url::new(false, b"page.example", b"/").ok()
}
