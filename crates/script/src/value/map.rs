//! Hashtables and ordered dictionaries: keys of any kind, text in any case, in the order in which they came.

use super::{Number, Value};
use std::cell::RefCell;
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    Hashtable,
    Ordered,
    /// `Dictionary<,>`: text in its own case.
    Dictionary,
}

/// What keys are compared by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    Text(String),
    Integer(i128),
    /// Anything else, by how it is written.
    Other(String),
}

#[derive(Debug, Default)]
struct Entries {
    /// Removed ones leave a hole.
    list: Vec<Option<(Value, Value)>>,
    index: HashMap<Key, usize>,
}

#[derive(Debug)]
pub struct Map {
    entries: RefCell<Entries>,
    pub kind: MapKind,
}

impl Map {
    pub fn new(kind: MapKind) -> Self {
        Self { entries: RefCell::default(), kind }
    }

    pub fn key(&self, key: &Value) -> Key {
        match key {
            Value::Text(text) if self.kind == MapKind::Dictionary => Key::Text(text.to_string()),
            Value::Text(text) => Key::Text(text.to_lowercase()),
            Value::Number(Number::Integer(value, _)) => Key::Integer(*value),
            other => {
                Key::Other(format!("{}\u{0}{}", crate::types::type_name(other), crate::types::text(other)))
            }
        }
    }

    pub fn len(&self) -> usize {
        self.entries.borrow().index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.borrow().index.is_empty()
    }

    pub fn value(&self, key: &Value) -> Option<Value> {
        let entries = self.entries.borrow();
        let at = *entries.index.get(&self.key(key))?;
        entries.list[at].as_ref().map(|(_, value)| value.clone())
    }

    pub fn by_name(&self, name: &str) -> Option<Value> {
        self.value(&Value::text(name))
    }

    /// What was there before.
    pub fn set(&self, key: Value, value: Value) -> Option<Value> {
        let looked_up = self.key(&key);
        let mut entries = self.entries.borrow_mut();
        match entries.index.get(&looked_up).copied() {
            Some(at) => entries.list[at].as_mut().map(|(_, own)| std::mem::replace(own, value)),
            None => {
                let at = entries.list.len();
                entries.list.push(Some((key, value)));
                entries.index.insert(looked_up, at);
                None
            }
        }
    }

    pub fn contains(&self, key: &Value) -> bool {
        self.entries.borrow().index.contains_key(&self.key(key))
    }

    pub fn remove(&self, key: &Value) -> Option<Value> {
        let looked_up = self.key(key);
        let mut entries = self.entries.borrow_mut();
        let at = entries.index.remove(&looked_up)?;
        let removed = entries.list[at].take().map(|(_, value)| value);
        if entries.list.len() > 32 && entries.index.len() * 2 < entries.list.len() {
            entries.list.retain(Option::is_some);
            let keys: Vec<Key> = entries.list.iter().flatten().map(|(key, _)| self.key(key)).collect();
            entries.index = keys.into_iter().enumerate().map(|(at, key)| (key, at)).collect();
        }
        removed
    }

    pub fn clear(&self) {
        *self.entries.borrow_mut() = Entries::default();
    }

    pub fn pairs(&self) -> Vec<(Value, Value)> {
        self.entries.borrow().list.iter().flatten().cloned().collect()
    }

    /// All that it held.
    pub(super) fn take(&self) -> Vec<Value> {
        let Entries { list, .. } = self.entries.take();
        list.into_iter().flatten().map(|(_, value)| value).collect()
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        super::drop::release(&mut self.take());
    }
}
