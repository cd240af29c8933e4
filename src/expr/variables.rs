//! The variables that a document has assigned: bounded all together, and copied only when they change while somebody
//! remembers an earlier state.

use std::collections::HashMap;
use std::sync::Arc;

use super::collection::Dictionary;
use super::error::{AssignError, Excess};
use super::limits::Limits;
use super::name::{Name, NameHash};
use super::number;
use super::value::{Kind, Value};

/// What a variable counts beside its name and value.
const VARIABLE_WEIGHT: usize = 24;

/// Names and values, with the sum of their weights. A clone shares them until one of the two changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    /// None until the first is set.
    values: Option<Arc<Table>>,
    weight: usize,
}

/// So many variables are looked for one by one, which is quicker than to look anywhere else.
const FEW: usize = 8;

/// Names and values.
#[derive(Debug, Clone)]
enum Table {
    /// At most [`FEW`], in any order.
    Few(Vec<(Name, Value)>),
    /// As many as there are.
    Many(HashMap<Name, Value, NameHash>),
}

impl Default for Table {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Table {
    #[inline]
    fn get(&self, name: &Name) -> Option<&Value> {
        match self {
            Self::Few(pairs) => {
                let pair = pairs.iter().find(|(known, _)| known == name);
                pair.map(|(_, value)| value)
            }
            Self::Many(values) => values.get(name),
        }
    }

    fn get_mut(&mut self, name: &Name) -> Option<&mut Value> {
        match self {
            Self::Few(pairs) => {
                let pair = pairs.iter_mut().find(|(known, _)| known == name);
                pair.map(|(_, value)| value)
            }
            Self::Many(values) => values.get_mut(name),
        }
    }

    /// Adds a variable that is not there.
    fn add(&mut self, name: Name, value: Value) {
        match self {
            Self::Few(pairs) if pairs.len() < FEW => pairs.push((name, value)),
            Self::Few(pairs) => {
                let mut values: HashMap<_, _, _> = pairs.drain(..).collect();
                values.insert(name, value);
                *self = Self::Many(values);
            }
            Self::Many(values) => drop(values.insert(name, value)),
        }
    }

    fn remove(&mut self, name: &Name) -> Option<Value> {
        match self {
            Self::Few(pairs) => {
                let place = pairs.iter().position(|(known, _)| known == name)?;
                Some(pairs.swap_remove(place).1)
            }
            Self::Many(values) => values.remove(name),
        }
    }
}

/// A variable put aside while a loop uses its name. It keeps its weight, so that it can always come back.
#[derive(Debug)]
#[must_use = "the variable keeps the loop's last item unless it is put back"]
pub struct Shadowed {
    name: Name,
    value: Option<Value>,
}

impl Variables {
    #[inline]
    pub(super) fn get(&self, name: &Name) -> Option<&Value> {
        self.values.as_ref()?.get(name)
    }

    /// Sets a variable; a missing value takes it away. On an error nothing is changed.
    pub(super) fn set(
        &mut self,
        name: &Name,
        value: Value,
        limits: &Limits,
    ) -> Result<(), AssignError> {
        if matches!(value, Value::Missing) {
            let former = self.weight_of(name);
            if former > 0 {
                self.table().remove(name);
            }
            self.weight -= former;
            return Ok(());
        }
        let values = Arc::make_mut(self.values.get_or_insert_default());
        let place = values.get_mut(name);
        let former = place.as_ref().map_or(0, |value| weight_of(name, value));
        let weight = (self.weight - former).saturating_add(weight_of(name, &value));
        Excess::check_bytes(weight, limits)?;
        match place {
            Some(place) => *place = value,
            None => values.add(name.clone(), value),
        }
        self.weight = weight;
        Ok(())
    }

    /// Sets one entry of a list or dictionary. On an error nothing is changed.
    pub(super) fn set_entry(
        &mut self,
        name: &Name,
        key: &Value,
        value: Value,
        limits: &Limits,
    ) -> Result<(), AssignError> {
        let no_entries = |found: Kind| AssignError::NoEntries {
            name: name.to_string(),
            found,
        };
        let former = match self.get(name) {
            None if matches!(key, Value::Integer(_)) => return Err(no_entries(Kind::Missing)),
            None => {
                let pairs = vec![(key.clone(), value)];
                let dictionary = Dictionary::new(pairs, limits)?;
                return self.set(name, Value::Dictionary(Arc::new(dictionary)), limits);
            }
            Some(whole) => whole.weight(),
        };
        // What this variable may grow to while the others stay as they are.
        let room = Limits {
            value_bytes: limits.value_bytes.saturating_sub(self.weight - former),
            ..*limits
        };
        let of_all = |excess| match excess {
            Excess::Bytes { .. } => Excess::Bytes {
                limit: limits.value_bytes,
            },
            other => other,
        };
        let whole = self.table().get_mut(name);
        let weight = match whole {
            Some(Value::Dictionary(dictionary)) => {
                let dictionary = Arc::make_mut(dictionary);
                dictionary.set(key, value, &room).map_err(of_all)?;
                dictionary.weight()
            }
            Some(Value::List(list)) => {
                let list = Arc::make_mut(list);
                let index = index_of(key).unwrap_or(usize::MAX);
                if !list.set(index, value, &room).map_err(of_all)? {
                    return Err(AssignError::OutOfRange {
                        name: name.to_string(),
                        length: list.items().len(),
                    });
                }
                list.weight()
            }
            other => {
                return Err(no_entries(
                    other.map_or(Kind::Missing, |other| other.kind()),
                ));
            }
        };
        self.weight = self.weight - former + weight;
        Ok(())
    }

    /// Puts a variable aside.
    pub(super) fn shadow(&mut self, name: &Name) -> Shadowed {
        let is_there = self.get(name).is_some();
        let value = is_there.then(|| self.table().remove(name)).flatten();
        Shadowed {
            name: name.clone(),
            value,
        }
    }

    /// Puts it back in place of what its name holds by now.
    pub(super) fn unshadow(&mut self, shadowed: Shadowed) {
        let Shadowed { name, value } = shadowed;
        self.weight -= self.weight_of(&name);
        let values = self.table();
        values.remove(&name);
        if let Some(value) = value {
            values.add(name, value);
        }
    }

    /// The table, of its own from now on.
    fn table(&mut self) -> &mut Table {
        Arc::make_mut(self.values.get_or_insert_default())
    }

    fn weight_of(&self, name: &Name) -> usize {
        self.get(name).map_or(0, |value| weight_of(name, value))
    }
}

fn weight_of(name: &Name, value: &Value) -> usize {
    VARIABLE_WEIGHT + name.as_bytes().len() + value.weight()
}

fn index_of(key: &Value) -> Option<usize> {
    let index = match key {
        Value::Integer(index) => *index,
        other => number::read_integer(&other.to_text())?,
    };
    usize::try_from(index).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_sum_of_weights_follows_every_change() {
        let limits = Limits {
            value_bytes: 100,
            ..Limits::default()
        };
        let mut variables = Variables::default();
        let text = |length| Value::text(vec![b'x'; length]);
        assert!(variables.set(&name("a"), text(70), &limits).is_ok());
        assert!(variables.set(&name("b"), text(1), &limits).is_err());
        assert_eq!(variables.get(&name("b")), None);
        assert!(variables.set(&name("a"), text(75), &limits).is_ok());
        assert!(variables.set(&name("a"), text(76), &limits).is_err());
        assert_eq!(variables.get(&name("a")), Some(&text(75)));
        assert!(variables.set(&name("a"), Value::Missing, &limits).is_ok());
        assert_eq!(variables.weight, 0);
        assert!(variables.set(&name("b"), text(75), &limits).is_ok());
    }

    #[test]
    fn an_entry_that_does_not_fit_changes_nothing() {
        let limits = Limits {
            value_bytes: 200,
            ..Limits::default()
        };
        let mut variables = Variables::default();
        let d = name("d");
        let text = |length| Value::text(vec![b'x'; length]);
        variables.set_entry(&d, &text(1), text(1), &limits).unwrap();
        variables.set(&name("a"), text(60), &limits).unwrap();
        let weight = variables.weight;
        assert!(
            variables
                .set_entry(&d, &text(1), text(60), &limits)
                .is_err()
        );
        assert_eq!(variables.weight, weight);
        assert_eq!(variables.get(&d).unwrap().to_text(), &b"x=x"[..]);
        variables.set_entry(&d, &text(1), text(5), &limits).unwrap();
        assert_eq!(variables.weight, weight + 4);
        variables.set(&d, Value::Missing, &limits).unwrap();
        variables.set(&name("a"), Value::Missing, &limits).unwrap();
        assert_eq!(variables.weight, 0);
    }

    #[test]
    fn a_shadowed_variable_comes_back_even_when_the_room_is_full() {
        let limits = Limits {
            value_bytes: 100,
            ..Limits::default()
        };
        let mut variables = Variables::default();
        let item = name("i");
        variables
            .set(&item, Value::text("before"), &limits)
            .unwrap();
        let weight = variables.weight;
        let shadowed = variables.shadow(&item);
        assert_eq!(variables.get(&item), None);
        variables.set(&item, Value::Integer(1), &limits).unwrap();
        variables.set(&item, Value::Integer(2), &limits).unwrap();
        variables.unshadow(shadowed);
        assert_eq!(variables.get(&item), Some(&Value::text("before")));
        assert_eq!(variables.weight, weight);
    }

    #[test]
    fn many_variables_are_found_as_few_are() {
        let limits = Limits::default();
        let all: Vec<Name> = (0..3 * FEW).map(|n| name(&format!("v{n}"))).collect();
        let mut variables = Variables::default();
        for (place, name) in all.iter().enumerate() {
            assert_eq!(variables.get(name), None);
            let text = |place: usize| Value::text(place.to_string());
            variables.set(name, text(place), &limits).unwrap();
            for (known, name) in all.iter().enumerate().take(place + 1) {
                assert_eq!(variables.get(name), Some(&text(known)));
            }
        }
        let shadowed = variables.shadow(&all[0]);
        assert_eq!(variables.get(&all[0]), None);
        variables.unshadow(shadowed);
        for name in &all {
            assert!(variables.get(name).is_some());
            variables.set(name, Value::Missing, &limits).unwrap();
            assert_eq!(variables.get(name), None);
        }
        assert_eq!(variables.weight, 0);
    }

    #[test]
    fn a_clone_is_a_state_of_its_own() {
        let limits = Limits::default();
        let mut variables = Variables::default();
        let d = name("d");
        variables
            .set_entry(&d, &Value::text("k"), Value::Integer(1), &limits)
            .unwrap();
        let before = variables.clone();
        variables
            .set_entry(&d, &Value::text("k"), Value::Integer(2), &limits)
            .unwrap();
        assert_eq!(before.get(&d).unwrap().to_text(), &b"k=1"[..]);
        assert_eq!(variables.get(&d).unwrap().to_text(), &b"k=2"[..]);
    }
}
