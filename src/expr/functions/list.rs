//! Functions that take or give lists.

use std::sync::Arc;

use super::super::collection::List;
use super::super::error::{EvalError, Excess};
use super::super::value::Value;
use super::Arguments;
use super::text::copy;

type Result = std::result::Result<Value, EvalError>;

const SPACE: &[u8] = b" ";

/// `$join(list[, sep])`.
pub(super) fn join(arguments: &Arguments<'_>) -> Result {
    let items = arguments.items(0)?;
    let separator = arguments.text_or(1, SPACE)?;
    let mut out = Vec::new();
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.extend_from_slice(&separator);
        }
        item.append_text(&mut out);
        Excess::check_bytes(out.len(), arguments.limits)?;
    }
    Ok(Value::text(out))
}

/// `$string_split(s[, sep[, max]])`: `max` separators are used, the rest stays in the last item. An empty separator splits
/// every character.
pub(super) fn split(arguments: &Arguments<'_>) -> Result {
    let text = arguments.text(0)?;
    let separator = arguments.text_or(1, SPACE)?;
    let most = match arguments.optional_integer(2)? {
        Some(most) => usize::try_from(most).unwrap_or(0),
        None => usize::MAX,
    };
    let mut parts = Parts::new(&text, arguments);
    if separator.is_empty() {
        let lengths = character_lengths(&text);
        let borders = lengths.iter().scan(0, |sum, length| {
            *sum += length;
            Some(*sum)
        });
        for border in borders.take(lengths.len().saturating_sub(1)).take(most) {
            parts.cut(border, border)?;
        }
    } else {
        for place in memchr::memmem::find_iter(&text, &separator[..]).take(most) {
            parts.cut(place, place + separator.len())?;
        }
    }
    parts.finish()
}

/// `$list_delitem(list, i)`; a position that is not there deletes nothing.
pub(super) fn delete_item(arguments: &Arguments<'_>) -> Result {
    let mut items = arguments.items(0)?.to_vec();
    let index = usize::try_from(arguments.integer(1)?).unwrap_or(usize::MAX);
    if index < items.len() {
        items.remove(index);
    }
    Ok(Value::List(Arc::new(List::new(items, arguments.limits)?)))
}

/// The parts of a text, counted while they are cut so that their number is bounded before they are all there.
struct Parts<'a> {
    text: &'a [u8],
    arguments: &'a Arguments<'a>,
    items: Vec<Value>,
    from: usize,
}

impl<'a> Parts<'a> {
    fn new(text: &'a [u8], arguments: &'a Arguments<'a>) -> Self {
        Self {
            text,
            arguments,
            items: Vec::new(),
            from: 0,
        }
    }

    /// Ends a part at `end`; the next starts at `next`.
    fn cut(&mut self, end: usize, next: usize) -> std::result::Result<(), Excess> {
        let limit = self.arguments.limits.entries;
        if self.items.len() >= limit {
            return Err(Excess::Entries { limit });
        }
        self.items.push(copy(&self.text[self.from..end]));
        self.from = next;
        Ok(())
    }

    fn finish(mut self) -> Result {
        self.cut(self.text.len(), self.text.len())?;
        let list = List::new(self.items, self.arguments.limits)?;
        Ok(Value::List(Arc::new(list)))
    }
}

/// How many bytes each character of valid UTF-8 takes, else one each.
fn character_lengths(text: &[u8]) -> Vec<usize> {
    match std::str::from_utf8(text) {
        Ok(text) => text.chars().map(char::len_utf8).collect(),
        Err(_) => vec![1; text.len()],
    }
}
