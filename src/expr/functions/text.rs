//! Functions of text. Positions and lengths count characters of valid UTF-8, else bytes.

use std::borrow::Cow;

use super::super::error::{EvalError, Excess};
use super::super::value::Value;
use super::Arguments;

type Result = std::result::Result<Value, EvalError>;

pub(super) fn lower(arguments: &Arguments<'_>) -> Result {
    let text = arguments.text(0)?;
    Ok(Value::text(lowered(&text).into_owned()))
}

pub(super) fn upper(arguments: &Arguments<'_>) -> Result {
    let text = arguments.text(0)?;
    if text.is_ascii() {
        return Ok(Value::text(text.to_ascii_uppercase()));
    }
    Ok(Value::text(match std::str::from_utf8(&text) {
        Ok(text) => text.to_uppercase().into_bytes(),
        Err(_) => text.to_ascii_uppercase(),
    }))
}

/// A text in small letters: all letters of valid UTF-8, else those of ASCII.
pub(in super::super) fn lowered(text: &[u8]) -> Cow<'_, [u8]> {
    let changes = |byte: &u8| byte.is_ascii_uppercase() || !byte.is_ascii();
    if !text.iter().any(changes) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(match std::str::from_utf8(text) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => text.to_ascii_lowercase(),
    })
}

pub(super) fn strip(arguments: &Arguments<'_>) -> Result {
    Ok(copy(arguments.text(0)?.trim_ascii()))
}

pub(super) fn strip_left(arguments: &Arguments<'_>) -> Result {
    Ok(copy(arguments.text(0)?.trim_ascii_start()))
}

pub(super) fn strip_right(arguments: &Arguments<'_>) -> Result {
    Ok(copy(arguments.text(0)?.trim_ascii_end()))
}

/// Characters of a text, items of a list, entries of a dictionary.
pub(super) fn length(arguments: &Arguments<'_>) -> Result {
    let length = match arguments.value(0) {
        Value::List(list) => list.items().len(),
        Value::Dictionary(dictionary) => dictionary.entries().len(),
        other => count(&other.to_text()),
    };
    Ok(integer(length))
}

/// `$substr(s, start[, end])`.
pub(super) fn substring(arguments: &Arguments<'_>) -> Result {
    let text = arguments.text(0)?;
    let length = count(&text);
    let start = position(arguments.integer(1)?, length);
    let end = match arguments.optional_integer(2)? {
        Some(end) => position(end, length),
        None => length,
    };
    let (from, to) = (byte_offset(&text, start), byte_offset(&text, end));
    Ok(copy(text.get(from..to).unwrap_or_default()))
}

pub(super) fn first_index(arguments: &Arguments<'_>) -> Result {
    let (text, part) = (arguments.text(0)?, arguments.text(1)?);
    Ok(found(&text, memchr::memmem::find(&text, &part)))
}

pub(super) fn last_index(arguments: &Arguments<'_>) -> Result {
    let (text, part) = (arguments.text(0)?, arguments.text(1)?);
    Ok(found(&text, memchr::memmem::rfind(&text, &part)))
}

/// `$replace(s, from, to[, count])`, from the front; nothing to look for changes nothing.
pub(super) fn replace(arguments: &Arguments<'_>) -> Result {
    let (text, from, to) = (arguments.text(0)?, arguments.text(1)?, arguments.text(2)?);
    let most = match arguments.optional_integer(3)? {
        Some(count) => usize::try_from(count).unwrap_or(0),
        None => usize::MAX,
    };
    if from.is_empty() {
        return Ok(copy(&text));
    }
    let mut out = Vec::new();
    let mut copied = 0;
    for place in memchr::memmem::find_iter(&text, &from[..]).take(most) {
        out.extend_from_slice(&text[copied..place]);
        out.extend_from_slice(&to);
        copied = place + from.len();
        Excess::check_bytes(out.len(), arguments.limits)?;
    }
    out.extend_from_slice(&text[copied..]);
    Ok(Value::text(out))
}

/// A result is a copy, so that a small part does not keep a large text alive.
pub(super) fn copy(text: &[u8]) -> Value {
    Value::text(text.to_vec())
}

fn integer(count: usize) -> Value {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

fn found(text: &[u8], place: Option<usize>) -> Value {
    match place {
        // In valid UTF-8 a part is found at the border of a character, unless it starts with half a one.
        Some(place) if std::str::from_utf8(text).is_ok() => integer(count(&text[..place])),
        Some(place) => integer(place),
        None => Value::Integer(-1),
    }
}

/// Characters of valid UTF-8, else bytes.
fn count(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Ok(text) => text.chars().count(),
        Err(_) => text.len(),
    }
}

/// Where a position falls in a text of this length: from the end when negative, cut at both ends.
fn position(asked: i64, length: usize) -> usize {
    let size = usize::try_from(asked.unsigned_abs()).unwrap_or(usize::MAX);
    if asked < 0 {
        length.saturating_sub(size)
    } else {
        size.min(length)
    }
}

/// The byte at which a position starts.
fn byte_offset(text: &[u8], position: usize) -> usize {
    match std::str::from_utf8(text) {
        Ok(text) => text
            .char_indices()
            .nth(position)
            .map_or(text.len(), |(offset, _)| offset),
        Err(_) => position,
    }
}
