//! What variables hold and pipelines carry: the operations' values, and what only a script has.

use super::syntax::Block;
use ireko_manage::{Kind, Record, Value};
use std::rc::Rc;

#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Never a list: that is [`Item::List`].
    Value(Value),
    /// A number as it was typed as an argument; it may be meant as text.
    Written(Value, Rc<str>),
    List(Vec<Item>),
    Map(Vec<(String, Item)>),
    Block(Rc<Block>),
    /// What Format-Table and the like made.
    Formatted(String),
}

pub const NULL: Item = Item::Value(Value::Null);

impl From<Value> for Item {
    fn from(value: Value) -> Self {
        match value {
            Value::List(items) => Self::List(items.into_iter().map(Self::from).collect()),
            value => Self::Value(value),
        }
    }
}

impl From<Record> for Item {
    fn from(record: Record) -> Self {
        Self::Value(record.into())
    }
}

macro_rules! from {
    ($($type:ty),*) => {
        $(impl From<$type> for Item { fn from(value: $type) -> Self { Self::Value(value.into()) } })*
    };
}
from!(bool, i64, &str, String);

impl Item {
    /// None is null, one is itself, more are a list.
    pub fn of(mut items: Vec<Item>) -> Self {
        match items.len() {
            0 => NULL,
            1 => items.remove(0),
            _ => Self::List(items),
        }
    }

    /// As the pipeline takes it: a list is its elements.
    pub fn elements(self) -> Vec<Item> {
        match self {
            Self::List(items) => items,
            other => vec![other],
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Value(Value::Null))
    }

    /// As the operations take it.
    pub fn value(&self) -> Value {
        match self {
            Self::Value(value) | Self::Written(value, _) => value.clone(),
            Self::List(items) => Value::List(items.iter().map(Item::value).collect()),
            Self::Map(pairs) => record(pairs).into(),
            Self::Block(block) => Value::text(block.text.as_str()),
            Self::Formatted(text) => Value::text(text.as_str()),
        }
    }

    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Value(Value::Record(record)) => Some(record),
            _ => None,
        }
    }

    /// What `-eq 0` and `if` see.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Value(value) | Self::Written(value, _) => match value {
                Value::Null => false,
                Value::Bool(value) => *value,
                Value::Int(number) => *number != 0,
                Value::Float(number) => *number != 0.0,
                Value::Text(text) => !text.is_empty(),
                _ => true,
            },
            Self::List(items) => match items.as_slice() {
                [] => false,
                [one] => one.is_true(),
                _ => true,
            },
            _ => true,
        }
    }

    /// What a string with this in it says.
    pub fn text(&self) -> String {
        match self {
            Self::Written(_, typed) => typed.to_string(),
            Self::Value(Value::Record(record)) => record_text(record),
            Self::Value(value) => value.to_string(),
            Self::List(items) => items.iter().map(Item::text).collect::<Vec<_>>().join(" "),
            Self::Map(_) => "System.Collections.Hashtable".into(),
            Self::Block(block) => block.text.clone(),
            Self::Formatted(text) => text.clone(),
        }
    }

    /// What a cell of a table says: lists have braces.
    pub fn cell(&self) -> String {
        match self {
            Self::List(items) => {
                format!("{{{}}}", items.iter().map(Item::cell).collect::<Vec<_>>().join(", "))
            }
            Self::Map(pairs) => {
                let words: Vec<String> = pairs.iter().map(|(name, _)| name.clone()).collect();
                format!("{{{}}}", words.join(", "))
            }
            Self::Value(value) => value.to_string(),
            other => other.text(),
        }
    }

    /// The .NET name of its type, for messages and Get-Member.
    pub fn type_name(&self) -> String {
        match self {
            Self::Value(value) | Self::Written(value, _) => match value {
                Value::Null => "Null".into(),
                Value::Bool(_) => "Boolean".into(),
                Value::Int(number) if i32::try_from(*number).is_ok() => "Int32".into(),
                Value::Int(_) => "Int64".into(),
                Value::Float(_) => "Double".into(),
                Value::Text(_) => "String".into(),
                Value::Guid(_) => "Guid".into(),
                Value::Duration(_) => "TimeSpan".into(),
                Value::Time(_) => "DateTime".into(),
                Value::List(_) => "Object[]".into(),
                Value::Record(record) if record.kind == Kind::Custom => "PSCustomObject".into(),
                Value::Record(record) => format!("{:?}", record.kind),
            },
            Self::List(_) => "Object[]".into(),
            Self::Map(_) => "Hashtable".into(),
            Self::Block(_) => "ScriptBlock".into(),
            Self::Formatted(_) => "FormatEntryData".into(),
        }
    }

    /// `.name`; a list gives what its elements have.
    pub fn member(&self, name: &str) -> Item {
        self.own_member(name).unwrap_or_else(|| match self {
            Self::List(items) => Item::of(
                items
                    .iter()
                    .map(|item| item.member(name))
                    .filter(|item| !item.is_null())
                    .flat_map(Item::elements)
                    .collect(),
            ),
            _ => NULL,
        })
    }

    fn own_member(&self, name: &str) -> Option<Item> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match self {
            Self::Map(pairs) => {
                let found = pairs.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
                if let Some((_, item)) = found {
                    return Some(item.clone());
                }
                if is("Keys") {
                    return Some(Self::List(pairs.iter().map(|(name, _)| name.as_str().into()).collect()));
                }
                if is("Values") {
                    return Some(Self::List(pairs.iter().map(|(_, item)| item.clone()).collect()));
                }
            }
            Self::Value(Value::Record(record)) => {
                if let Some(value) = record.property(name) {
                    return Some(value.clone().into());
                }
            }
            Self::Value(Value::Text(text)) if is("Length") => {
                return Some((text.chars().count() as i64).into());
            }
            Self::Value(Value::Duration(duration)) => {
                if let Some(item) = duration_member(*duration, name) {
                    return Some(item);
                }
            }
            _ => {}
        }
        if !is("Count") && !is("Length") {
            return None;
        }
        let count = match self {
            Self::List(items) => items.len(),
            Self::Map(pairs) => pairs.len(),
            item => usize::from(!item.is_null()),
        };
        Some((count as i64).into())
    }

    /// The names of its properties, in order.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Map(pairs) => pairs.iter().map(|(name, _)| name.clone()).collect(),
            Self::Value(Value::Record(record)) => {
                record.properties.iter().map(|(name, _)| name.to_string()).collect()
            }
            Self::Value(Value::Text(_)) => vec!["Length".into()],
            _ => Vec::new(),
        }
    }
}

pub fn record(pairs: &[(String, Item)]) -> Record {
    pairs
        .iter()
        .fold(Record::new(Kind::Custom), |record, (name, item)| record.with(name.clone(), item.value()))
}

/// Errors are their message, other objects their name or `@{…}`.
fn record_text(record: &Record) -> String {
    if let Some(Value::Record(exception)) = record.property("Exception") {
        return exception.property("Message").map(ToString::to_string).unwrap_or_default();
    }
    if record.kind != Kind::Custom {
        return Value::Record(Box::new(record.clone())).to_string();
    }
    let pairs: Vec<String> =
        record.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("@{{{}}}", pairs.join("; "))
}

fn duration_member(duration: std::time::Duration, name: &str) -> Option<Item> {
    let seconds = duration.as_secs();
    let whole = |n: u64| Some(Item::from(i64::try_from(n).unwrap_or(i64::MAX)));
    let part = |n: f64| Some(Item::Value(Value::Float(n)));
    match name.to_ascii_lowercase().as_str() {
        "days" => whole(seconds / 86400),
        "hours" => whole(seconds / 3600 % 24),
        "minutes" => whole(seconds / 60 % 60),
        "seconds" => whole(seconds % 60),
        "milliseconds" => whole(u64::from(duration.subsec_millis())),
        "ticks" => whole(u64::try_from(duration.as_nanos() / 100).unwrap_or(u64::MAX)),
        "totaldays" => part(duration.as_secs_f64() / 86400.0),
        "totalhours" => part(duration.as_secs_f64() / 3600.0),
        "totalminutes" => part(duration.as_secs_f64() / 60.0),
        "totalseconds" => part(duration.as_secs_f64()),
        "totalmilliseconds" => part(duration.as_secs_f64() * 1000.0),
        _ => None,
    }
}
