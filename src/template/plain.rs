//! Tags as nearly all of them are written: short, in letters as they are, each attribute as `name="value"` or `name='value'`.
//!
//! They are read in one look, and what is read here is what the [grammar](super::grammar) and the [attribute reader](super::attributes)
//! would read between them, which take everything else. A tag that is not plain costs no more than [`LONGEST`] bytes before
//! that is known, so reading stays linear whatever the input holds.

use std::ops::Range;

use memchr::{memchr, memchr2};

use super::attributes::{Attribute, FEW, decode_from};

/// Longer tags are not plain.
const LONGEST: usize = 512;

/// How many bytes from its name on a plain tag may have, when a tag may have so many.
pub(super) fn longest(tag: usize) -> usize {
    tag.saturating_sub("</esi:".len()).min(LONGEST)
}

/// A start tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlainTag {
    /// Behind its name.
    pub(super) name_end: usize,
    /// Behind its `>`.
    pub(super) end: usize,
    /// Whether `/` stands before its `>`.
    pub(super) closed: bool,
    /// Where its attributes stand among those of the document.
    pub(super) attributes: Range<usize>,
}

/// The start tag whose name is at `name`, its attributes added to those of earlier tags; none when it is not plain. It
/// ends within `longest` bytes of its name.
#[inline]
pub(super) fn start_tag<'d>(
    document: &'d [u8],
    name: usize,
    longest: usize,
    list: &mut Vec<Attribute<'d>>,
) -> Option<PlainTag> {
    let first = list.len();
    let tag = read(document, name, longest, list);
    if tag.is_none() {
        list.truncate(first);
    }
    tag
}

/// Behind the name and behind the `>` of the end tag whose name is at `name`; none when it is not plain.
pub(super) fn end_tag(document: &[u8], name: usize, longest: usize) -> Option<(usize, usize)> {
    let text = window(document, name, longest);
    let length = name_length(text)?;
    (text.get(length) == Some(&b'>')).then_some((name + length, name + length + 1))
}

#[inline]
fn read<'d>(
    document: &'d [u8],
    name: usize,
    longest: usize,
    list: &mut Vec<Attribute<'d>>,
) -> Option<PlainTag> {
    let text = window(document, name, longest);
    let name_length = name_length(text)?;
    let first = list.len();
    let mut at = name_length;
    let closed = loop {
        match text.get(at)? {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'>' => break false,
            b'/' if text.get(at + 1) == Some(&b'>') => break true,
            _ => at += attribute(&text[at..], first, list)?,
        }
    };
    Some(PlainTag {
        name_end: name + name_length,
        end: name + at + 1 + usize::from(closed),
        closed,
        attributes: first..list.len(),
    })
}

/// Adds the attribute at the start of a text to those from `first` on; gives its length.
fn attribute<'d>(text: &'d [u8], first: usize, list: &mut Vec<Attribute<'d>>) -> Option<usize> {
    let name_length = name_length(text)?;
    let (name, rest) = text.split_at(name_length);
    let (quote, value) = match rest {
        [b'=', quote @ (b'"' | b'\''), value @ ..] => (*quote, value),
        _ => return None,
    };
    let earlier = list.get(first..)?;
    if earlier.len() == FEW || earlier.iter().any(|attribute| *attribute.name == *name) {
        return None;
    }
    let stop = memchr2(quote, b'&', value)?;
    let (length, value) = if value.get(stop) == Some(&quote) {
        (stop, (&value[..stop]).into())
    } else {
        let length = stop + memchr(quote, &value[stop..])?;
        (length, decode_from(stop, &value[..length]).into())
    };
    list.push(Attribute {
        name: name.into(),
        value,
    });
    Some(name_length + 2 + length + 1)
}

/// What of a document may belong to a plain tag.
fn window(document: &[u8], from: usize, longest: usize) -> &[u8] {
    let rest = document.get(from..).unwrap_or_default();
    &rest[..rest.len().min(longest)]
}

/// The length of the name at the start of a text.
fn name_length(text: &[u8]) -> Option<usize> {
    if !text.first()?.is_ascii_alphabetic() {
        return None;
    }
    let mut length = 1;
    while let Some(byte) = text.get(length)
        && IN_NAMES[usize::from(*byte)]
    {
        length += 1;
    }
    Some(length)
}

/// Which bytes stand in names: letters, digits, `_` and `-`.
static IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = super::grammar::is_name_byte(byte as u8);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::attributes;
    use super::super::grammar::{TagReader, Writing};
    use super::*;

    type Read = (usize, usize, bool, Vec<(Vec<u8>, Vec<u8>)>);

    fn rows(list: Vec<Attribute<'_>>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let row =
            |attribute: Attribute<'_>| (attribute.name.into_owned(), attribute.value.into_owned());
        list.into_iter().map(row).collect()
    }

    fn plain(text: &[u8]) -> Option<Read> {
        let mut list = Vec::new();
        let tag = start_tag(text, 5, 200, &mut list)?;
        assert_eq!(tag.attributes, 0..list.len());
        Some((tag.name_end, tag.end, tag.closed, rows(list)))
    }

    fn general(text: &[u8]) -> Option<Read> {
        let mut reader = TagReader::new(text, 205);
        let tag = reader.start_tag(0, 5, Writing::Plain).ok()?;
        let mut list = Vec::new();
        let written = &text[tag.name_end..tag.attributes_end];
        attributes::read(written, Writing::Plain, &mut list).ok()?;
        Some((tag.name_end, tag.end, tag.closed, rows(list)))
    }

    #[test]
    fn common_tags_are_plain_and_others_are_left_alone() {
        for (text, is_plain) in [
            ("<esi:vars>", true),
            ("<esi:include src=\"/a?b&amp;c\"/>", true),
            ("<esi:include\n src='/a'\talt=\"\" />", true),
            ("<esi:include src=\"/a\"onerror='continue'>", true),
            ("<esi:include src=/a>", false),
            ("<esi:include src = \"/a\">", false),
            ("<esi:include src>", false),
            ("<esi:include src=\"a\" src=\"b\">", false),
            ("<esi:include src=\"a\" / >", false),
            ("<esi:include src=\"a", false),
            ("<esi:1>", false),
            ("<esi:a a='' b='' c='' d='' e='' f='' g='' h=''>", true),
            (
                "<esi:a a='' b='' c='' d='' e='' f='' g='' h='' i=''>",
                false,
            ),
        ] {
            let read = plain(text.as_bytes());
            assert_eq!(read.is_some(), is_plain, "{text}");
            assert!(!is_plain || read == general(text.as_bytes()), "{text}");
        }
        assert_eq!(end_tag(b"</esi:vars>x", 6, 100), Some((10, 11)));
        assert_eq!(end_tag(b"</esi:vars >", 6, 100), None);
        assert_eq!(end_tag(b"</esi:vars>", 6, 4), None);
    }

    #[test]
    fn a_tag_longer_than_the_limit_is_not_plain() {
        let tag = |length: usize| format!("<esi:a b='{}'>", "x".repeat(length - 12));
        for (length, is_plain) in [(205, true), (206, false)] {
            let text = tag(length);
            assert_eq!(plain(text.as_bytes()).is_some(), is_plain, "{length}");
            assert_eq!(general(text.as_bytes()).is_some(), is_plain, "{length}");
        }
    }

    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a", "b", "src", "-", "_", "1", "=", "=\"", "='", "\"", "'", " ", "\t", "\n", "/", ">",
            "/>", "&", "&amp;", "&#65;", "ü", "<", "a=\"x\"", " b='y'",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_is_plain_is_read_as_the_grammar_says(inside in pieces(), end in "/?>?") {
            let text = format!("<esi:a{inside}{end}");
            if let Some(read) = plain(text.as_bytes()) {
                prop_assert_eq!(general(text.as_bytes()), Some(read));
            }
            let text = format!("</esi:a{inside}{end}");
            if let Some((name_end, end)) = end_tag(text.as_bytes(), 6, 200) {
                let tag = TagReader::new(text.as_bytes(), 206).end_tag(0, 6, Writing::Plain).unwrap();
                prop_assert_eq!((tag.name_end, tag.end), (name_end, end));
            }
        }
    }
}
