//! Where tags begin and end in a document (language reference, section 2): bytes -> tokens, in one pass.
//!
//! The scanner knows the five openers and nothing of what elements mean, but for `esi:text`, in which nothing is recognised.
//! Tokens are spans of the document; what is dropped has no token. Whatever the input, each byte is looked at a bounded
//! number of times.

use std::sync::LazyLock;

use aho_corasick::packed::{self, Searcher};
use aho_corasick::{AhoCorasick, Input, MatchKind, Span};
use bytes::Bytes;
use memchr::{memchr, memchr3, memmem};

use super::attributes::{self, Attribute, AttributeList};
use super::directive::{self, Directive};
use super::grammar::{TagReader, Writing};
use super::issue::{DirectiveFault, IssueKind, Issues, TagFault};
use super::outline::Paired;
use super::{Dialects, Settings, plain};

/// The pieces of a document.
#[derive(Debug)]
pub(super) struct Tokens<'d> {
    /// In order.
    pub(super) list: Vec<Token<'d>>,
    /// The attributes of all start tags.
    attributes: Vec<Attribute<'d>>,
    directives: Vec<DirectiveToken>,
    /// How many bytes are text.
    pub(super) copied: usize,
}

impl Tokens<'_> {
    /// The attributes of one of its tags.
    #[inline]
    pub(super) fn attributes(&self, tag: &StartTag<'_>) -> AttributeList<'_> {
        let places = tag.attributes.0 as usize..tag.attributes.1 as usize;
        AttributeList(self.attributes.get(places).unwrap_or_default())
    }

    /// What a token of this kind is.
    pub(super) fn directive(&self, index: u32) -> &DirectiveToken {
        &self.directives[index as usize]
    }
}

/// A piece of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'d> {
    /// Where it starts.
    pub(super) start: usize,
    /// Behind its last byte.
    pub(super) end: usize,
    pub(super) kind: TokenKind<'d>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind<'d> {
    /// Bytes that are copied, and interpolated where the elements around them say so.
    Text,
    /// Bytes that are copied whatever stands around them: comments, CDATA, the content of `esi:text`.
    Verbatim,
    /// A start tag.
    Start(StartTag<'d>),
    /// An end tag: its name, and which element it ends.
    End(&'d [u8], Option<Paired>),
    /// A directive: [`Tokens::directive`] of this number.
    Directive(u32),
}

/// A start tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StartTag<'d> {
    pub(super) name: &'d [u8],
    /// Which element with content it names.
    pub(super) paired: Option<Paired>,
    /// Where its attributes stand among those of the document: the first, and behind the last.
    attributes: (u32, u32),
    /// Whether `/` stands before its `>`.
    pub(super) closed: bool,
    /// Whether it stands in a string of a JSON document.
    pub(super) in_string: bool,
}

/// A directive, or the place of one that breaks the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DirectiveToken {
    pub(super) directive: Result<Directive, DirectiveFault>,
    pub(super) in_string: bool,
}

/// Reads a whole document. What is wrong with single tags goes to `issues`.
pub(super) fn scan<'d>(
    document: &'d Bytes,
    settings: &Settings,
    issues: &mut Issues,
) -> Tokens<'d> {
    // A token to so many bytes is much for small pages; large ones have fewer, and room grows.
    let room = (document.len() / 16).clamp(4, 1024);
    let mut scanner = Scanner {
        document,
        dialects: settings.dialects,
        json: settings.is_json(),
        plain: plain::longest(settings.longest_tag),
        longest: settings.longest_tag,
        reader: TagReader::new(document, settings.longest_tag),
        issues,
        tokens: Vec::with_capacity(room),
        attributes: Vec::with_capacity(room / 3),
        directives: Vec::new(),
        copied: 0,
        blocks: Vec::new(),
        no_text_end: false,
        next_special: 0,
        next_backslash: 0,
    };
    scanner.document();
    Tokens {
        list: scanner.tokens,
        attributes: scanner.attributes,
        directives: scanner.directives,
        copied: scanner.copied,
    }
}

/// What is searched for in text, in the order of the patterns.
#[derive(Clone, Copy)]
enum Opener {
    Start,
    End,
    Comment,
    Cdata,
    JsonEnd,
    BlockEnd,
}

const OPENERS: [Opener; 6] = [
    Opener::Start,
    Opener::End,
    Opener::Comment,
    Opener::Cdata,
    Opener::JsonEnd,
    Opener::BlockEnd,
];

/// Finds the first of a few literals. The packed searcher compares many bytes at once, which on common pages is ten times
/// as fast as the automaton; where the machine has no such instructions, the automaton does it.
pub(super) struct Finder {
    packed: Option<Searcher>,
    automaton: Option<AhoCorasick>,
}

impl Finder {
    pub(super) fn new(patterns: &[&str]) -> Self {
        let packed = packed::Config::new().builder().extend(patterns).build();
        // A handful of short literals is far within the limits of the crate.
        let automaton = match packed {
            Some(_) => None,
            None => AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostFirst)
                .build(patterns)
                .ok(),
        };
        Self { packed, automaton }
    }

    /// The first literal from `from` on: which, and where it starts and ends.
    pub(super) fn find(&self, document: &[u8], from: usize) -> Option<(usize, usize, usize)> {
        let found = match (&self.packed, &self.automaton) {
            (Some(packed), _) => packed.find_in(document, Span::from(from..document.len()))?,
            (None, Some(automaton)) => automaton.find(Input::new(document).range(from..))?,
            (None, None) => return None,
        };
        Some((found.pattern().as_usize(), found.start(), found.end()))
    }
}

/// Outside ESI blocks.
static IN_TEXT: LazyLock<Finder> =
    LazyLock::new(|| Finder::new(&["<esi:", "</esi:", "<!--", "<![CDATA["]));
static IN_JSON: LazyLock<Finder> =
    LazyLock::new(|| Finder::new(&["<esi:", "</esi:", "<!--", "<![CDATA[", "<\\/esi:"]));
static IN_BLOCK: LazyLock<Finder> =
    LazyLock::new(|| Finder::new(&["<esi:", "</esi:", "<!--", "<![CDATA[", "<\\/esi:", "-->"]));
static IN_COMMENT: LazyLock<Finder> = LazyLock::new(|| Finder::new(&["-->", "<!--#"]));
static IN_CDATA: LazyLock<Finder> = LazyLock::new(|| Finder::new(&["]]>", "<!--#"]));
static AFTER_ERROR: LazyLock<Finder> = LazyLock::new(|| Finder::new(&["-->", "<!--"]));

struct Scanner<'d, 'i> {
    document: &'d Bytes,
    dialects: Dialects,
    json: bool,
    /// How many bytes from its name on a plain tag may have.
    plain: usize,
    longest: usize,
    reader: TagReader<'d>,
    issues: &'i mut Issues,
    tokens: Vec<Token<'d>>,
    attributes: Vec<Attribute<'d>>,
    directives: Vec<DirectiveToken>,
    /// How many bytes are text.
    copied: usize,
    /// Where the open ESI blocks were opened.
    blocks: Vec<usize>,
    /// Once no `</esi:text>` follows, none will follow later.
    no_text_end: bool,
    /// The first quote or `>`, and the first `\`, of those searched for last.
    next_special: usize,
    next_backslash: usize,
}

impl<'d> Scanner<'d, '_> {
    fn document(&mut self) {
        let mut at = 0;
        if self.dialects.esi {
            while at < self.document.len() {
                at = self.text(at);
            }
        } else if self.dialects.ssi {
            at = self.directives_only();
        }
        self.push(at, self.document.len(), TokenKind::Text);
        for block in std::mem::take(&mut self.blocks) {
            self.issues
                .add(block, "<!--esi".len(), IssueKind::UnclosedBlock);
        }
    }

    /// With SSI alone, comments mean nothing: directives run everywhere.
    fn directives_only(&mut self) -> usize {
        let opener = memmem::Finder::new("<!--#");
        let mut at = 0;
        while let Some(found) = self.document.get(at..).and_then(|rest| opener.find(rest)) {
            self.push(at, at + found, TokenKind::Text);
            at = self.directive(at + found);
        }
        at
    }

    /// From `at` through the next tag; gives where to go on.
    fn text(&mut self, at: usize) -> usize {
        if let Some((opener, start, end)) = self.tag_next(at) {
            self.push(at, start, TokenKind::Text);
            return self.opened(opener, start, end);
        }
        let finder = match (self.blocks.is_empty(), self.json) {
            (false, _) => &IN_BLOCK,
            (true, true) => &IN_JSON,
            (true, false) => &IN_TEXT,
        };
        let Some((pattern, start, end)) = finder.find(self.document, at) else {
            self.push(at, self.document.len(), TokenKind::Text);
            return self.document.len();
        };
        let opener = OPENERS[pattern];
        if matches!(opener, Opener::JsonEnd) && !self.json {
            self.push(at, end, TokenKind::Text);
            return end;
        }
        self.push(at, start, TokenKind::Text);
        self.opened(opener, start, end)
    }

    /// The tag that one of the next few `<` starts, when it stands close by: which opener, and its start and end. Where there are many
    /// tags they stand close together, and to start the search for all openers costs more than to look.
    fn tag_next(&self, at: usize) -> Option<(Opener, usize, usize)> {
        const CLOSE: usize = 64;
        // In a block its `-->` may come first, in JSON an end tag that is written another way.
        if self.json || !self.blocks.is_empty() {
            return None;
        }
        let rest = self.document.get(at..)?;
        let mut start = 0;
        for _ in 0..3 {
            if rest.get(start) != Some(&b'<') {
                start += memchr(b'<', rest.get(start..rest.len().min(CLOSE))?)?;
            }
            let tag = &rest[start..];
            start += 1;
            if tag.starts_with(b"<esi:") {
                return Some((Opener::Start, at + start - 1, at + start + 4));
            }
            if tag.starts_with(b"</esi:") {
                return Some((Opener::End, at + start - 1, at + start + 5));
            }
            if tag.starts_with(b"<!") {
                return None;
            }
        }
        None
    }

    /// What an opener that reaches from `start` to `end` opens; gives where to go on.
    fn opened(&mut self, opener: Opener, start: usize, end: usize) -> usize {
        match opener {
            Opener::Start => self.start_tag(start, end),
            Opener::End | Opener::JsonEnd => self.end_tag(start, end),
            Opener::Comment => self.comment(start),
            Opener::Cdata => self.verbatim(start, end, &IN_CDATA),
            Opener::BlockEnd => {
                self.blocks.pop();
                end
            }
        }
    }

    fn start_tag(&mut self, start: usize, name: usize) -> usize {
        let document: &'d [u8] = self.document;
        let plain = if self.json {
            None
        } else {
            plain::start_tag(document, name, self.plain, &mut self.attributes)
        };
        let Some(tag) = plain else {
            return self.any_start_tag(start, name);
        };
        let name = &document[name..tag.name_end];
        let read = StartTag {
            name,
            paired: Paired::of_tag(name),
            attributes: (tag.attributes.start as u32, tag.attributes.end as u32),
            closed: tag.closed,
            in_string: false,
        };
        self.start_tag_read(start, tag.end, read)
    }

    #[inline(never)]
    fn any_start_tag(&mut self, start: usize, name: usize) -> usize {
        let document: &'d [u8] = self.document;
        let writing = self.writing(name);
        let tag = match self.reader.start_tag(start, name, writing) {
            Ok(tag) => tag,
            Err(fault) => return self.malformed(start, fault),
        };
        let text = &document[tag.name_end..tag.attributes_end];
        let attributes = match attributes::read(text, writing, &mut self.attributes) {
            Ok(attributes) => attributes,
            Err(fault) => return self.malformed(start, fault),
        };
        let name = &document[name..tag.name_end];
        let read = StartTag {
            name,
            paired: Paired::of_tag(name),
            attributes: (attributes.start as u32, attributes.end as u32),
            closed: tag.closed,
            in_string: writing == Writing::JsonString,
        };
        self.start_tag_read(start, tag.end, read)
    }

    /// A start tag that has been read; gives where to go on.
    #[inline]
    fn start_tag_read(&mut self, start: usize, end: usize, tag: StartTag<'d>) -> usize {
        if tag.name == b"text" {
            return self.verbatim_text(start, end, tag.closed);
        }
        self.push(start, end, TokenKind::Start(tag));
        end
    }

    fn end_tag(&mut self, start: usize, name: usize) -> usize {
        let document: &'d [u8] = self.document;
        let plain = if self.json {
            None
        } else {
            plain::end_tag(document, name, self.plain)
        };
        let Some((name_end, end)) = plain else {
            return self.any_end_tag(start, name);
        };
        let name = &document[name..name_end];
        self.push(start, end, TokenKind::End(name, Paired::of_tag(name)));
        end
    }

    #[inline(never)]
    fn any_end_tag(&mut self, start: usize, name: usize) -> usize {
        let document: &'d [u8] = self.document;
        let writing = self.writing(name);
        let tag = match self.reader.end_tag(start, name, writing) {
            Ok(tag) => tag,
            Err(fault) => return self.malformed(start, fault),
        };
        let name = &document[name..tag.name_end];
        self.push(start, tag.end, TokenKind::End(name, Paired::of_tag(name)));
        tag.end
    }

    /// A tag whose first character of `\`, `"`, `'`, `>` is the `\` stands in a string of a JSON document. Tags are met in
    /// order, so the places found for one are remembered for the next.
    fn writing(&mut self, from: usize) -> Writing {
        if !self.json {
            return Writing::Plain;
        }
        let rest = &self.document[from..];
        if self.next_special < from {
            self.next_special = from + memchr3(b'"', b'\'', b'>', rest).unwrap_or(rest.len());
        }
        if self.next_backslash < from {
            self.next_backslash = from + memchr(b'\\', rest).unwrap_or(rest.len());
        }
        if self.next_backslash < self.next_special {
            Writing::JsonString
        } else {
            Writing::Plain
        }
    }

    /// Drops a tag that breaks the grammar, through the first `>` behind its opener.
    #[inline(never)]
    fn malformed(&mut self, start: usize, fault: TagFault) -> usize {
        let end =
            memchr(b'>', &self.document[start..]).map_or(self.document.len(), |at| start + at + 1);
        self.issues
            .add(start, end - start, IssueKind::MalformedTag(fault));
        // The `>` may be that of the block's own end: a tag that is not whole does not hide it.
        if !self.blocks.is_empty() && self.document[..end].ends_with(b"-->") {
            self.blocks.pop();
        }
        end
    }

    /// `esi:text`: its content leaves unchanged, up to the first `</esi:text>`.
    #[inline(never)]
    fn verbatim_text(&mut self, start: usize, end: usize, closed: bool) -> usize {
        if closed {
            return end;
        }
        if let Some((content_end, after)) = self.text_end(end) {
            self.push(end, content_end, TokenKind::Verbatim);
            return after;
        }
        self.no_text_end = true;
        self.issues
            .add(start, end - start, IssueKind::Unclosed("esi:text"));
        end
    }

    fn text_end(&self, from: usize) -> Option<(usize, usize)> {
        if self.no_text_end {
            return None;
        }
        let mut at = from;
        loop {
            let found = at + memmem::find(&self.document[at..], b"/esi:text")?;
            at = found + "/esi:text".len();
            let opener = match &self.document[from..found] {
                [.., b'<'] => 1,
                [.., b'<', b'\\'] if self.json => 2,
                _ => continue,
            };
            let space = self.document[at..]
                .iter()
                .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
                .count();
            at += space;
            if self.document.get(at) == Some(&b'>') {
                return Some((found - opener, at + 1));
            }
        }
    }

    /// `<!--`: a directive, an ESI block, or a comment.
    #[inline(never)]
    fn comment(&mut self, start: usize) -> usize {
        let inside = start + "<!--".len();
        let rest = &self.document[inside..];
        if self.dialects.ssi && rest.starts_with(b"#") {
            return self.directive(start);
        }
        if let Some(block) = rest.strip_prefix(b"esi") {
            let opens = matches!(block.first(), Some(b' ' | b'\t' | b'\r' | b'\n' | b'<'))
                || block.starts_with(b"-->");
            if opens {
                self.blocks.push(start);
                return inside + "esi".len();
            }
        }
        for whole in [&b">"[..], b"->"] {
            if rest.starts_with(whole) {
                self.push(start, inside + whole.len(), TokenKind::Verbatim);
                return inside + whole.len();
            }
        }
        self.verbatim(start, inside, &IN_COMMENT)
    }

    /// A comment or CDATA section, whose content starts at `from`: copied up to and with its end, directives in it carried out.
    /// Without an end it reaches to the end of the document.
    #[inline(never)]
    fn verbatim(&mut self, start: usize, from: usize, finder: &Finder) -> usize {
        let (mut copied, mut at) = (start, from);
        while let Some((pattern, found, end)) = finder.find(self.document, at) {
            if pattern == 0 {
                self.push(copied, end, TokenKind::Verbatim);
                return end;
            }
            if self.dialects.ssi {
                self.push(copied, found, TokenKind::Verbatim);
                at = self.directive(found);
                copied = at;
            } else {
                at = end;
            }
        }
        self.push(copied, self.document.len(), TokenKind::Verbatim);
        self.document.len()
    }

    #[inline(never)]
    fn directive(&mut self, start: usize) -> usize {
        let inside = start + "<!--#".len();
        let writing = self.writing(inside);
        let (directive, end) = match directive::read(self.document, inside, self.longest, writing) {
            Ok(directive) => {
                let end = directive.end;
                (Ok(directive), end)
            }
            Err(broken) => {
                let end = match AFTER_ERROR.find(self.document, broken.at) {
                    Some((0, _, end)) => end,
                    _ => broken.at,
                };
                (Err(broken.fault), end)
            }
        };
        let in_string = writing == Writing::JsonString;
        let number = self.directives.len() as u32;
        self.directives.push(DirectiveToken {
            directive,
            in_string,
        });
        self.push(start, end, TokenKind::Directive(number));
        end
    }

    #[inline]
    fn push(&mut self, start: usize, end: usize, kind: TokenKind<'d>) {
        if start < end {
            if matches!(kind, TokenKind::Text | TokenKind::Verbatim) {
                self.copied += end - start;
            }
            self.tokens.push(Token { start, end, kind });
        }
    }
}
