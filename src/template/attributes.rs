//! One tag -> its attributes, by quick-xml in its HTML mode, which takes unquoted values and bare names.
//!
//! The tag has passed the [grammar](super::grammar) before it comes here, because quick-xml is laxer; what it reads is held
//! against the grammar once more. Entities are decoded by the language's own rule: the five of XML and numbers; any other `&`
//! stays, since URLs are full of them.

use bytes::Bytes;
use memchr::memchr;
use quick_xml::events::attributes::{AttrError, Attributes};

use super::grammar::{Writing, is_name_byte};
use super::issue::TagFault;
use super::json;

/// The attributes of one tag, in order of writing, values decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AttributeList(Vec<(Bytes, Bytes)>);

impl AttributeList {
    /// The value of an attribute; empty when it is written without one.
    pub(super) fn get(&self, name: &str) -> Option<&Bytes> {
        self.0
            .iter()
            .find(|(known, _)| known == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// Names and values, in order of writing.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

/// Reads the attributes that stand in `text`, which lies between a tag's name and its `/>` or `>`.
pub(super) fn read(text: &Bytes, writing: Writing) -> Result<AttributeList, TagFault> {
    if text.trim_ascii().is_empty() {
        return Ok(AttributeList::default());
    }
    let text = match writing {
        Writing::Plain => text.clone(),
        Writing::JsonString => Bytes::from(json::unescape(text)),
    };
    if let Ok(utf8) = std::str::from_utf8(&text) {
        return read_text(utf8, |slice| text.slice_ref(slice.as_bytes()));
    }
    // Bytes that are no UTF-8 are read as the characters of ISO-8859-1, and turned back.
    let mapped: String = text.iter().copied().map(char::from).collect();
    read_text(&mapped, |slice| {
        // Every character came from one byte, so each fits into one.
        slice.chars().map(|c| c as u8).collect::<Vec<u8>>().into()
    })
}

fn read_text(text: &str, take: impl Fn(&str) -> Bytes) -> Result<AttributeList, TagFault> {
    let mut list = Vec::new();
    for attribute in Attributes::html(text, 0) {
        let attribute = attribute.map_err(|error| match error {
            AttrError::Duplicated(..) => TagFault::Duplicate,
            _ => TagFault::Grammar,
        })?;
        let key = attribute.key.0;
        let fits =
            key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.bytes().all(is_name_byte);
        if !fits {
            return Err(TagFault::Grammar);
        }
        // An attribute without a value comes as an empty literal of the library, not as a slice of the text.
        let written = attribute.value.as_ref();
        let value = if written.is_empty() {
            Bytes::new()
        } else {
            decode_entities(&take(written))
        };
        list.push((take(key), value));
    }
    Ok(AttributeList(list))
}

/// Decodes `&amp; &lt; &gt; &quot; &apos; &#N; &#xN;`; any other `&` stays. Without any it is the same slice.
fn decode_entities(value: &Bytes) -> Bytes {
    let Some(first) = memchr(b'&', value) else {
        return value.clone();
    };
    let mut out = Vec::with_capacity(value.len());
    out.extend_from_slice(&value[..first]);
    let mut rest = &value[first..];
    while let Some(at) = memchr(b'&', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        if let Some((character, length)) = entity(rest) {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[length..];
        } else {
            out.push(b'&');
            rest = &rest[1..];
        }
    }
    out.extend_from_slice(rest);
    out.into()
}

/// The character that the reference at the start of `text` stands for, and the reference's length.
fn entity(text: &[u8]) -> Option<(char, usize)> {
    const NAMED: [(&[u8], char); 5] = [
        (b"&amp;", '&'),
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
        let list = read(&Bytes::copy_from_slice(text), Writing::Plain)?;
        Ok(list
            .0
            .into_iter()
            .map(|(name, value)| (String::from_utf8_lossy(&name).into_owned(), value.to_vec()))
            .collect())
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
    }

    #[test]
    fn tags_in_json_strings_are_unescaped_first() {
        let text = Bytes::from_static(br#" src=\"\/box?a=\u0026b\""#);
        let list = read(&text, Writing::JsonString).expect("one attribute");
        assert_eq!(list.get("src").expect("src"), "/box?a=&b");
    }
}
