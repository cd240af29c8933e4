//! Lists and dictionaries: bounded when they are made, counted once, so that neither printing nor dropping one can run
//! deep or long.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::error::Excess;
use super::limits::Limits;
use super::value::Value;

/// What an entry counts beside its text: more than any separator in a text form, about what it takes in memory.
const ENTRY_WEIGHT: usize = 24;

/// Dictionaries up to this size are searched from the front; larger ones keep an index.
const INDEXED_FROM: usize = 17;

/// Values in order; each keeps its own taint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct List {
    items: Vec<Value>,
    weight: usize,
    nesting: usize,
    tainted: bool,
}

impl List {
    /// A list of these items, unless there are too many, they are too large or nest too deeply.
    pub fn new(items: Vec<Value>, limits: &Limits) -> Result<Self, Excess> {
        let list = Self::counted(items);
        Excess::check(list.items.len(), list.weight, list.nesting, limits)?;
        Ok(list)
    }

    fn counted(items: Vec<Value>) -> Self {
        Self {
            weight: items.iter().fold(0, |sum, item| {
                sum.saturating_add(ENTRY_WEIGHT + item.weight())
            }),
            nesting: 1 + items.iter().map(Value::nesting).max().unwrap_or(0),
            tainted: items.iter().any(Value::is_tainted),
            items,
        }
    }

    /// The items in order.
    pub fn items(&self) -> &[Value] {
        &self.items
    }

    /// Whether any item is tainted, or the list was made by an operation on something tainted.
    pub fn is_tainted(&self) -> bool {
        self.tainted
    }

    /// See [`Value::weight`].
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// See [`Value::nesting`].
    pub fn nesting(&self) -> usize {
        self.nesting
    }

    /// The same items in a list that counts as tainted whatever they are.
    pub fn tainted_as_whole(mut self) -> Self {
        self.tainted = true;
        self
    }

    /// Replaces the item at `index`; gives whether there is one. On an error nothing is changed.
    pub(super) fn set(
        &mut self,
        index: usize,
        value: Value,
        limits: &Limits,
    ) -> Result<bool, Excess> {
        let count = self.items.len();
        let Some(item) = self.items.get_mut(index) else {
            return Ok(false);
        };
        let weight = (self.weight - item.weight()).saturating_add(value.weight());
        let nesting = self.nesting.max(1 + value.nesting());
        Excess::check(count, weight, nesting, limits)?;
        self.weight = weight;
        self.nesting = nesting;
        self.tainted |= value.is_tainted();
        *item = value;
        Ok(true)
    }

    pub(super) fn append_text(&self, out: &mut Vec<u8>) {
        for (place, item) in self.items.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            item.append_text(out);
        }
    }

    pub(super) fn marked(&self, tainted: bool) -> Self {
        Self {
            items: self
                .items
                .iter()
                .map(|item| item.clone().marked(tainted))
                .collect(),
            tainted,
            ..*self
        }
    }
}

/// Text keys with values, in order of writing; keys and values keep their own taint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dictionary {
    entries: Vec<(Value, Value)>,
    index: Option<HashMap<Bytes, usize>>,
    weight: usize,
    nesting: usize,
    tainted: bool,
}

impl Dictionary {
    /// A dictionary of these entries; keys become text, and of two equal keys the later value stands in the earlier place.
    pub fn new(pairs: Vec<(Value, Value)>, limits: &Limits) -> Result<Self, Excess> {
        let mut dictionary = Self {
            nesting: 1,
            ..Self::default()
        };
        for (key, value) in pairs {
            dictionary.set(&key, value, limits)?;
        }
        Ok(dictionary)
    }

    /// Key (always text) and value, in order of writing.
    pub fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Value> {
        let place = self.place(key)?;
        self.entries.get(place).map(|(_, value)| value)
    }

    /// Sets one entry; on an error nothing is changed.
    pub fn set(&mut self, key: &Value, value: Value, limits: &Limits) -> Result<(), Excess> {
        let text = Bytes::from(key.to_text().into_owned());
        let place = self.place(&text);
        let former = place
            .and_then(|place| self.entries.get(place))
            .map_or(0, |(_, old)| old.weight());
        let added = if place.is_some() {
            0
        } else {
            2 * ENTRY_WEIGHT + text.len()
        };
        let weight = (self.weight - former)
            .saturating_add(added)
            .saturating_add(value.weight());
        let nesting = self.nesting.max(1 + value.nesting());
        let count = self.entries.len() + usize::from(place.is_none());
        Excess::check(count, weight, nesting, limits)?;

        self.weight = weight;
        self.nesting = nesting;
        self.tainted |= key.is_tainted() || value.is_tainted();
        match place.and_then(|place| self.entries.get_mut(place)) {
            Some((_, old)) => *old = value,
            None => self.push(text, key.is_tainted(), value),
        }
        Ok(())
    }

    fn push(&mut self, text: Bytes, tainted: bool, value: Value) {
        if let Some(index) = &mut self.index {
            index.insert(text.clone(), self.entries.len());
        }
        self.entries.push((
            Value::Text {
                bytes: text,
                tainted,
            },
            value,
        ));
        if self.index.is_none() && self.entries.len() >= INDEXED_FROM {
            let keys = self.entries.iter().enumerate();
            self.index = Some(
                keys.map(|(place, (key, _))| (Bytes::from(key.to_text().into_owned()), place))
                    .collect(),
            );
        }
    }

    fn place(&self, key: &[u8]) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(key).copied(),
            None => self
                .entries
                .iter()
                .position(|(known, _)| known.to_text() == key),
        }
    }

    /// `[key, value]` for each entry.
    pub(super) fn pairs(&self) -> Vec<Value> {
        self.entries
            .iter()
            .map(|(key, value)| {
                Value::List(Arc::new(List::counted(vec![key.clone(), value.clone()])))
            })
            .collect()
    }

    /// Whether any key or value is tainted.
    pub fn is_tainted(&self) -> bool {
        self.tainted
    }

    /// See [`Value::weight`].
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// See [`Value::nesting`].
    pub fn nesting(&self) -> usize {
        self.nesting
    }

    pub(super) fn append_text(&self, out: &mut Vec<u8>) {
        for (place, (key, value)) in self.entries.iter().enumerate() {
            if place > 0 {
                out.push(b'&');
            }
            key.append_text(out);
            out.push(b'=');
            value.append_text(out);
        }
    }

    pub(super) fn marked(&self, tainted: bool) -> Self {
        let mut marked = self.clone();
        marked.tainted = tainted;
        for (key, value) in &mut marked.entries {
            *key = key.clone().marked(tainted);
            *value = value.clone().marked(tainted);
        }
        marked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_keeps_the_order_of_writing_past_its_index() {
        let limits = Limits::default();
        let mut dictionary = Dictionary::new(Vec::new(), &limits).unwrap();
        for number in 0..100 {
            dictionary
                .set(&Value::Integer(number), Value::Integer(number * 2), &limits)
                .unwrap();
        }
        dictionary
            .set(&Value::text("7"), Value::text("x"), &limits)
            .unwrap();
        assert_eq!(dictionary.entries().len(), 100);
        assert_eq!(dictionary.get(b"7"), Some(&Value::text("x")));
        assert_eq!(dictionary.get(b"99"), Some(&Value::Integer(198)));
        assert_eq!(dictionary.get(b"100"), None);
        assert_eq!(dictionary.entries()[7].0, Value::text("7"));
    }

    #[test]
    fn the_weight_is_the_same_however_a_dictionary_came_to_be() {
        let limits = Limits::default();
        let once = Dictionary::new(vec![(Value::text("k"), Value::text("long text"))], &limits);
        let twice = Dictionary::new(
            vec![
                (Value::text("k"), Value::text("x")),
                (Value::text("k"), Value::text("long text")),
            ],
            &limits,
        );
        assert_eq!(once, twice);
    }

    #[test]
    fn collections_are_bounded_in_number_size_and_nesting() {
        let limits = Limits {
            entries: 3,
            value_bytes: 200,
            depth: 2,
            ..Limits::default()
        };
        let text = |length| Value::text(vec![b'x'; length]);
        assert!(List::new(vec![text(1); 3], &limits).is_ok());
        assert_eq!(
            List::new(vec![text(1); 4], &limits),
            Err(Excess::Entries { limit: 3 })
        );
        assert_eq!(
            List::new(vec![text(190)], &limits),
            Err(Excess::Bytes { limit: 200 })
        );
        let mut nested = Value::List(Arc::new(List::new(vec![], &limits).unwrap()));
        nested = Value::List(Arc::new(List::new(vec![nested], &limits).unwrap()));
        assert_eq!(
            List::new(vec![nested.clone()], &limits),
            Err(Excess::Nesting { limit: 2 })
        );
        assert_eq!(
            Dictionary::new(vec![(text(1), nested)], &limits),
            Err(Excess::Nesting { limit: 2 })
        );
    }
}
