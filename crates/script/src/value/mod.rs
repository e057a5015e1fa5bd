//! What variables hold and pipelines carry.

mod array;
mod decimal;
mod drop;
mod enumeration;
mod map;
mod number;
mod object;

pub use array::{Array, ArrayKind};
pub use decimal::Decimal;
pub use enumeration::{EnumType, EnumValue};
pub use map::{Key, Map, MapKind};
pub use number::{IntegerKind, Number};
pub use object::{CUSTOM, Object, Property, Reference};

use crate::error::{ErrorRecord, Exception};
use crate::scope::Scope;
use crate::syntax::ScriptBlock;
use crate::types::{DateTime, Guid, Pattern, TimeSpan, Type, Version};
use std::net::IpAddr;
use std::rc::Rc;

#[derive(Clone, Debug, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Char(char),
    Number(Number),
    Text(Rc<str>),
    Array(Rc<Array>),
    Map(Rc<Map>),
    Object(Rc<Object>),
    Block(Rc<Closure>),
    Enum(EnumValue),
    Date(DateTime),
    Span(TimeSpan),
    Guid(Guid),
    Version(Version),
    Address(IpAddr),
    Type(Rc<Type>),
    Error(Rc<ErrorRecord>),
    Exception(Rc<Exception>),
    Regex(Rc<Pattern>),
    Reference(Rc<Reference>),
    /// What Format-Table and the like made.
    Formatted(Rc<str>),
}

/// A script block, and the scope that GetNewClosure gave it or that its module has.
#[derive(Debug)]
pub struct Closure {
    pub block: Rc<ScriptBlock>,
    pub scope: Option<Rc<Scope>>,
}

impl Value {
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    pub fn int(number: i64) -> Self {
        Self::Number(Number::of(i128::from(number)))
    }

    pub fn double(number: f64) -> Self {
        Self::Number(Number::Double(number))
    }

    pub fn array(items: Vec<Value>) -> Self {
        Self::Array(Rc::new(Array::new(items, ArrayKind::Fixed)))
    }

    /// None is null, one is itself, more are an array.
    pub fn of(mut items: Vec<Value>) -> Self {
        match items.len() {
            0 => Self::Null,
            1 => items.remove(0),
            _ => Self::array(items),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// What a pipeline, `foreach` and `@( )` take one by one; nothing of null for `foreach`.
    pub fn elements(&self) -> Vec<Value> {
        match self {
            Self::Array(array) => array.items().clone(),
            other => vec![other.clone()],
        }
    }

    /// As [`Value::elements`]; null has none.
    pub fn some_elements(&self) -> Vec<Value> {
        if self.is_null() { Vec::new() } else { self.elements() }
    }

    /// What `if` sees (about_Booleans).
    pub fn is_true(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Number(number) => !number.is_zero(),
            Self::Text(text) => !text.is_empty(),
            Self::Char(c) => *c != '\0',
            Self::Array(array) if array.is_list_like() => match array.items().as_slice() {
                [] => false,
                [one] => one.is_true_inside(),
                _ => true,
            },
            _ => true,
        }
    }

    /// The one element of an array: an array inside counts by itself.
    fn is_true_inside(&self) -> bool {
        match self {
            Self::Array(inside) => !inside.items().is_empty(),
            other => other.is_true(),
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The same object, or equal as a plain value; what `-Unique` and `IndexOf` compare by.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(one), Self::Array(other)) => Rc::ptr_eq(one, other),
            (Self::Map(one), Self::Map(other)) => Rc::ptr_eq(one, other),
            (Self::Object(one), Self::Object(other)) => Rc::ptr_eq(one, other),
            (Self::Block(one), Self::Block(other)) => Rc::ptr_eq(&one.block, &other.block),
            (Self::Error(one), Self::Error(other)) => Rc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::int(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Number(Number::of(value as i128))
    }
}
