//! Why a tag is malformed, and where.
//!
//! The compiler only says that a tag breaks the grammar, since that is all that serving needs. Here the tag is read once more,
//! slowly, up to the byte that is to blame. Which tags are malformed is decided there, never here.

use std::collections::HashSet;
use std::ops::Range;

use super::explain::shortened;
use super::finding::Finding;
use super::page::Page;
use crate::template::issue::TagFault;

/// A malformed tag.
pub(super) fn explain(page: &Page, span: Range<usize>, fault: TagFault) -> Finding {
    let document = page.document();
    let rest = document.get(span.start..).unwrap_or_default();
    let read = read(&rest[..rest.len().min(page.settings.longest_tag)]);
    let (code, why) = match (fault, read) {
        (_, Some(why)) if why.missing_quote => ("malformed-tag", why),
        (TagFault::TooLong(limit), _) => {
            let message = format!("this tag is longer than {limit} bytes");
            let help = "shorten it; `compose.limits.tag` sets the limit";
            ("tag-too-long", Why::new(0..span.len(), message, help))
        }
        (TagFault::Unfinished, None) => {
            let message = "the document ends inside this tag".to_owned();
            (
                "unfinished-tag",
                Why::new(0..span.len(), message, "write `>` or `/>` where it ends"),
            )
        }
        (TagFault::Duplicate, Some(why)) => ("duplicate-attribute", why),
        (_, Some(why)) => ("malformed-tag", why),
        (_, None) => {
            let message = "this tag breaks the grammar of tags".to_owned();
            let help = "write `<esi:name attribute=\"value\"/>`";
            ("malformed-tag", Why::new(0..span.len(), message, help))
        }
    };
    let emitted = if document
        .get(..span.end)
        .is_some_and(|read| read.ends_with(b">"))
    {
        "nothing; reading goes on behind the first `>` of the tag"
    } else {
        "nothing, to the end of the document"
    };
    let place = span.start + why.span.start..span.start + why.span.end.max(why.span.start + 1);
    Finding::error(code, place, why.message)
        .emitted(emitted)
        .help(why.help)
}

/// What is to blame, counted from the start of the tag.
struct Why {
    span: Range<usize>,
    message: String,
    help: String,
    missing_quote: bool,
}

impl Why {
    fn new(span: Range<usize>, message: String, help: impl Into<String>) -> Self {
        Self {
            span,
            message,
            help: help.into(),
            missing_quote: false,
        }
    }
}

/// Reads a tag up to what breaks it; nothing when the bytes end before.
fn read(text: &[u8]) -> Option<Why> {
    let name = text.iter().position(|byte| *byte == b':')? + 1;
    let end_tag = text.get(1) != Some(&b'e');
    let mut reader = Reader {
        text,
        at: name,
        suspect: None,
    };
    if reader.word().is_empty() {
        let message = "a tag without the name of its element".to_owned();
        return Some(Why::new(0..name, message, "write `<esi:name …>`"));
    }
    if end_tag {
        reader.space();
        return match reader.peek()? {
            b'>' => None,
            _ => Some(reader.unexpected("an end tag holds nothing but its name")),
        };
    }
    let mut names = HashSet::new();
    loop {
        reader.space();
        match reader.peek()? {
            b'>' => return None,
            b'/' if reader.text.get(reader.at + 1) == Some(&b'>') => return None,
            byte if byte.is_ascii_alphabetic() => {
                let start = reader.at;
                let name = reader.word();
                if !names.insert(name) {
                    return Some(duplicate(start, name));
                }
                if let Some(why) = reader.value(name, start) {
                    return Some(why);
                }
            }
            _ => {
                return Some(
                    reader.unexpected("between attributes stand white space, letters, `/>` or `>`"),
                );
            }
        }
    }
}

fn duplicate(start: usize, name: &[u8]) -> Why {
    let name = String::from_utf8_lossy(name);
    let message = format!("the attribute `{name}` stands here twice");
    Why::new(start..start + name.len(), message, "remove one of the two")
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    /// The last quoted value that looks as if its quote was forgotten: where it opens, which quote, the attribute.
    suspect: Option<(usize, u8, &'t [u8])>,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, skipped: impl Fn(u8) -> bool) -> &'t [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| skipped(**byte)).count();
        self.at += length;
        &rest[..length]
    }

    fn space(&mut self) {
        self.skip(is_space);
    }

    fn word(&mut self) -> &'t [u8] {
        self.skip(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    }

    /// What may follow the name of an attribute.
    fn value(&mut self, name: &'t [u8], start: usize) -> Option<Why> {
        self.space();
        if self.peek() != Some(b'=') {
            return None;
        }
        self.at += 1;
        self.space();
        let quote = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => quote,
            Some(b'>') | None => return Some(self.without_value(name, start)),
            Some(_) => {
                let value =
                    self.skip(|byte| !is_space(byte) && !matches!(byte, b'>' | b'\'' | b'"'));
                // The `/` of `/>` belongs to the end of the tag.
                let empty = value == b"/" && self.peek() == Some(b'>');
                return empty.then(|| self.without_value(name, start));
            }
        };
        let opening = self.at;
        self.at += 1;
        let value = self.skip(|byte| byte != quote);
        // `src="/a onerror="continue"`: the next attribute's quote has closed this one.
        let ran_on = value.iter().any(|byte| matches!(byte, b'>' | b'\n')) || value.ends_with(b"=");
        if ran_on || self.peek().is_none() {
            self.suspect = Some((opening, quote, name));
        }
        if self.peek().is_none() {
            return self.missing_quote();
        }
        self.at += 1;
        None
    }

    fn without_value(&self, name: &[u8], start: usize) -> Why {
        let name = shortened(&String::from_utf8_lossy(name));
        let message = format!("`{name}=` without its value");
        let help = format!("write `{name}=\"…\"`");
        Why::new(start..self.at, message, help)
    }

    fn missing_quote(&self) -> Option<Why> {
        let (opening, quote, name) = self.suspect?;
        let name = shortened(&String::from_utf8_lossy(name));
        let quote = char::from(quote);
        let message = format!("the value of `{name}` lacks its closing `{quote}`");
        let help = format!("write `{quote}` where the value ends");
        let mut why = Why::new(opening..opening + 1, message, help);
        why.missing_quote = true;
        Some(why)
    }

    /// A byte that cannot stand here; after a value that runs on over what should have ended it, the value is to blame.
    fn unexpected(&self, accepted: &str) -> Why {
        if let Some(why) = self.missing_quote() {
            return why;
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let text = String::from_utf8_lossy(&rest[..rest.len().min(4)]);
        let found = text.chars().next().unwrap_or('\u{fffd}');
        let message = if found.is_control() {
            format!("U+{:04X} cannot stand here in a tag", found as u32)
        } else {
            format!("`{found}` cannot stand here in a tag")
        };
        // A byte that is no text is shown as U+FFFD, and is one byte all the same.
        let length = if rest.starts_with(found.to_string().as_bytes()) {
            found.len_utf8()
        } else {
            1
        };
        Why::new(self.at..self.at + length.min(rest.len()), message, accepted)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}
