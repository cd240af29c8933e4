//! One tag -> its attributes, by quick-xml in its HTML mode, which takes unquoted values and bare names.
//!
//! The tag has passed the [grammar](super::grammar) before it comes here, because quick-xml is laxer; what it reads is held
//! against the grammar once more. Entities are decoded by the language's own rule: the five of XML and numbers; any other `&`
//! stays, since URLs are full of them.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;
use quick_xml::events::attributes::{AttrError, Attributes};

use super::grammar::{Writing, is_name_byte};
use super::issue::TagFault;
use super::json;

/// An attribute: slices of the document wherever it stands there as it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute<'d> {
    pub(super) name: Cow<'d, [u8]>,
    /// Decoded; empty when it is written without one.
    pub(super) value: Cow<'d, [u8]>,
}

/// The attributes of one tag, in order of writing.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttributeList<'t>(pub(super) &'t [Attribute<'t>]);

impl<'t> AttributeList<'t> {
    /// The value of an attribute; empty when it is written without one.
    pub(super) fn get(self, name: &str) -> Option<&'t [u8]> {
        self.0
            .iter()
            .find(|attribute| *attribute.name == *name.as_bytes())
            .map(|attribute| &*attribute.value)
    }
}

/// Reads the attributes that stand in `text`, which lies between a tag's name and its `/>` or `>`, and adds them to those of
/// earlier tags; gives their places there.
pub(super) fn read<'d>(
    text: &'d [u8],
    writing: Writing,
    list: &mut Vec<Attribute<'d>>,
) -> Result<Range<usize>, TagFault> {
    let start = list.len();
    match read_written(text, writing, list) {
        Ok(()) => Ok(start..list.len()),
        Err(fault) => {
            list.truncate(start);
            Err(fault)
        }
    }
}

fn read_written<'d>(
    text: &'d [u8],
    writing: Writing,
    list: &mut Vec<Attribute<'d>>,
) -> Result<(), TagFault> {
    if text.trim_ascii().is_empty() {
        return Ok(());
    }
    let text = match writing {
        Writing::Plain => Cow::Borrowed(text),
        Writing::JsonString => Cow::Owned(json::unescape(text)),
    };
    if let Cow::Borrowed(text) = text
        && let Ok(utf8) = std::str::from_utf8(text)
    {
        return read_text(utf8, list, |slice| Cow::Borrowed(slice.as_bytes()));
    }
    if let Ok(utf8) = std::str::from_utf8(&text) {
        return read_text(utf8, list, |slice| Cow::Owned(slice.as_bytes().to_vec()));
    }
    // Bytes that are no UTF-8 are read as the characters of ISO-8859-1, and turned back.
    let mapped: String = text.iter().copied().map(char::from).collect();
    read_text(&mapped, list, |slice| {
        // Every character came from one byte, so each fits into one.
        Cow::Owned(slice.chars().map(|c| c as u8).collect())
    })
}

/// So few names are held against each other here; quick-xml remembers them in memory of its own.
pub(super) const FEW: usize = 8;

fn read_text<'t, 'd>(
    text: &'t str,
    list: &mut Vec<Attribute<'d>>,
    take: impl Fn(&'t str) -> Cow<'d, [u8]>,
) -> Result<(), TagFault> {
    let start = list.len();
    let mut attributes = Attributes::html(text, 0);
    attributes.with_checks(false);
    let unchecked = read_all(attributes.take(FEW + 1), list, &take);
    if unchecked.is_ok() && are_few_and_distinct(list.get(start..).unwrap_or_default()) {
        return Ok(());
    }
    // Too many to compare, or a fault: quick-xml tells which comes first.
    list.truncate(start);
    read_all(Attributes::html(text, 0), list, &take)
}

fn are_few_and_distinct(attributes: &[Attribute<'_>]) -> bool {
    let is_new = |index: usize, name: &[u8]| {
        let mut earlier = attributes.iter().take(index);
        earlier.all(|attribute| *attribute.name != *name)
    };
    let mut each = attributes.iter().enumerate();
    attributes.len() <= FEW && each.all(|(index, attribute)| is_new(index, &attribute.name))
}

fn read_all<'t, 'd>(
    attributes: impl Iterator<Item = Result<quick_xml::events::attributes::Attribute<'t>, AttrError>>,
    list: &mut Vec<Attribute<'d>>,
    take: &impl Fn(&'t str) -> Cow<'d, [u8]>,
) -> Result<(), TagFault> {
    for attribute in attributes {
        let attribute = attribute.map_err(|error| match error {
            AttrError::Duplicated(..) => TagFault::Duplicate,
            _ => TagFault::Grammar,
        })?;
        let key = attribute.key.0;
        let fits =
            key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.bytes().all(is_name_byte);
        // The library gives slices of the text, decoding is ours.
        let Cow::Borrowed(written) = attribute.value else {
            return Err(TagFault::Grammar);
        };
        if !fits {
            return Err(TagFault::Grammar);
        }
        list.push(Attribute {
            name: take(key),
            // An attribute without a value comes as an empty literal of the library, not as a slice of the text.
            value: match written {
                "" => Cow::Borrowed(&[]),
                written => decode_entities(take(written)),
            },
        });
    }
    Ok(())
}

/// Decodes `&amp; &lt; &gt; &quot; &apos; &#N; &#xN;`; any other `&` stays. Without any it is the same slice.
pub(super) fn decode_entities(value: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match memchr(b'&', &value) {
        Some(first) => Cow::Owned(decode_from(first, &value)),
        None => value,
    }
}

/// The same of a value whose first `&` is at `first`.
pub(super) fn decode_from(first: usize, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    out.extend_from_slice(&value[..first]);
    let mut rest = &value[first..];
    // Here the rest starts with `&`; as an author writes the operator, two stand together.
    loop {
        if let Some(behind) = rest.strip_prefix(b"&amp;") {
            out.push(b'&');
            rest = behind;
        } else if let Some((character, length)) = entity(rest) {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[length..];
        } else {
            out.push(b'&');
            rest = &rest[1..];
        }
        if rest.first() == Some(&b'&') {
            continue;
        }
        let Some(at) = memchr(b'&', rest) else {
            out.extend_from_slice(rest);
            return out;
        };
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
    }
}

/// The character that the reference at the start of `text` stands for, `&amp;` excepted, and the reference's length.
fn entity(text: &[u8]) -> Option<(char, usize)> {
    const NAMED: [(&[u8], char); 4] = [
        (b"&lt;", '<'),
        (b"&gt;", '>'),
        (b"&quot;", '"'),
        (b"&apos;", '\''),
    ];
    if let Some((name, character)) = NAMED.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((*character, name.len()));
    }
    // The largest code point has seven decimal digits; a few leading zeros are let pass.
    let end = text.iter().take(14).position(|byte| *byte == b';')?;
    let digits = text[..end].strip_prefix(b"&#")?;
    let (digits, radix) = match digits {
        [b'x' | b'X', hexadecimal @ ..] => (hexadecimal, 16),
        decimal => (decimal, 10),
    };
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
    let character = char::from_u32(number).filter(|c| *c != '\0')?;
    Some((character, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> Result<Vec<(String, Vec<u8>)>, TagFault> {
        let mut list = Vec::new();
        read(text, Writing::Plain, &mut list)?;
        let row = |attribute: Attribute<'_>| {
            let name = String::from_utf8_lossy(&attribute.name).into_owned();
            (name, attribute.value.into_owned())
        };
        Ok(list.into_iter().map(row).collect())
    }

    #[test]
    fn attributes_are_read_as_the_grammar_says() {
        type Case = (&'static [u8], &'static [(&'static str, &'static [u8])]);
        let cases: [Case; 9] = [
            (b" src=\"/x\"", &[("src", b"/x")]),
            (b" src='/x' alt=\"\"", &[("src", b"/x"), ("alt", b"")]),
            (
                b" src=\"/x\"onerror='continue'",
                &[("src", b"/x"), ("onerror", b"continue")],
            ),
            (
                b" src = /x?a=b&c  bare",
                &[("src", b"/x?a=b&c"), ("bare", b"")],
            ),
            (b" a=\"1 > '2' <\n\"", &[("a", b"1 > '2' <\n")]),
            (
                b" a='&amp;&lt;&gt;&quot;&apos;&#65;&#x42;'",
                &[("a", b"&<>\"'AB")],
            ),
            (
                b" a='&amp;amp; &nbsp; & &#; &#xD800; &#0; &#x110000; &#99999999999999;'",
                &[(
                    "a",
                    b"&amp; &nbsp; & &#; &#xD800; &#0; &#x110000; &#99999999999999;",
                )],
            ),
            (
                b" a='\xff\xe9&amp;' b=\xfc",
                &[("a", b"\xff\xe9&"), ("b", b"\xfc")],
            ),
            (b" data-x=\"1\" a_b='2'", &[("data-x", b"1"), ("a_b", b"2")]),
        ];
        for (text, wanted) in cases {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|(n, v)| ((*n).to_owned(), v.to_vec()))
                .collect();
            assert_eq!(rows(text), Ok(wanted), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn an_attribute_twice_is_a_fault() {
        assert_eq!(rows(b" src='a' src='b'"), Err(TagFault::Duplicate));
        assert_eq!(rows(b" src=a alt src"), Err(TagFault::Duplicate));
        assert_eq!(
            rows(b" a b c d e f g h i j k l m k"),
            Err(TagFault::Duplicate)
        );
        assert_eq!(rows(b" a b c d e f g h i j k l m").map(|r| r.len()), Ok(13));
    }

    #[test]
    fn a_tag_at_fault_adds_nothing() {
        let mut list = Vec::new();
        assert_eq!(read(b" a=1", Writing::Plain, &mut list), Ok(0..1));
        let twice = read(b" b=1 b=2", Writing::Plain, &mut list);
        assert_eq!(twice, Err(TagFault::Duplicate));
        assert_eq!(list.len(), 1);
        assert_eq!(read(b" b c", Writing::Plain, &mut list), Ok(1..3));
    }

    #[test]
    fn tags_in_json_strings_are_unescaped_first() {
        let text = br#" src=\"\/box?a=\u0026b\""#;
        let mut list = Vec::new();
        assert_eq!(read(text, Writing::JsonString, &mut list), Ok(0..1));
        let value = AttributeList(&list).get("src");
        assert_eq!(value, Some(&b"/box?a=&b"[..]));
    }
}
