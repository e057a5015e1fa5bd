//! Objects with named properties: PSCustomObject, what cmdlets give, and what a host brings.

use super::{Closure, Value};
use crate::scope::Scope;
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

#[derive(Clone, Debug)]
pub enum Property {
    Note(Value),
    /// Worked out whenever it is asked for; perhaps settable.
    Script(Rc<Closure>, Option<Rc<Closure>>),
    Alias(Rc<str>),
    Method(Rc<Closure>),
}

#[derive(Debug)]
pub struct Object {
    /// The .NET name of its type.
    pub type_name: Rc<str>,
    properties: RefCell<Vec<(Rc<str>, Property)>>,
    /// What a host needs to know its own objects again.
    pub payload: Option<Rc<dyn Any>>,
    /// What it says as text, instead of its properties.
    pub shown: Option<Rc<str>>,
}

/// `[ref]$variable`
#[derive(Debug)]
pub struct Reference {
    pub scope: Rc<Scope>,
    pub name: Rc<str>,
}

pub const CUSTOM: &str = "System.Management.Automation.PSCustomObject";

impl Object {
    pub fn new(type_name: &str) -> Self {
        Self { type_name: type_name.into(), properties: RefCell::default(), payload: None, shown: None }
    }

    pub fn custom() -> Self {
        Self::new(CUSTOM)
    }

    pub fn is_custom(&self) -> bool {
        &*self.type_name == CUSTOM || self.type_name.starts_with("Selected.")
    }

    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        self.properties.borrow_mut().push((name.into(), Property::Note(value.into())));
        self
    }

    pub fn shown_as(mut self, text: &str) -> Self {
        self.shown = Some(text.into());
        self
    }

    pub fn with_payload(mut self, payload: Rc<dyn Any>) -> Self {
        self.payload = Some(payload);
        self
    }

    pub fn into_value(self) -> Value {
        Value::Object(Rc::new(self))
    }

    pub fn property(&self, name: &str) -> Option<Property> {
        let properties = self.properties.borrow();
        properties
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, property)| property.clone())
    }

    /// Of a note property.
    pub fn note(&self, name: &str) -> Option<Value> {
        match self.property(name)? {
            Property::Note(value) => Some(value),
            _ => None,
        }
    }

    /// Adds it, or puts it in the place of the one that has its name.
    pub fn set(&self, name: &str, property: Property) {
        let mut properties = self.properties.borrow_mut();
        match properties.iter_mut().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
            Some((_, own)) => *own = property,
            None => properties.push((name.into(), property)),
        }
    }

    pub fn remove(&self, name: &str) -> bool {
        let mut properties = self.properties.borrow_mut();
        let before = properties.len();
        properties.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        properties.len() < before
    }

    /// In order, without methods.
    pub fn names(&self) -> Vec<Rc<str>> {
        let properties = self.properties.borrow();
        let shown = properties.iter().filter(|(_, property)| !matches!(property, Property::Method(_)));
        shown.map(|(name, _)| name.clone()).collect()
    }

    pub fn all(&self) -> Vec<(Rc<str>, Property)> {
        self.properties.borrow().clone()
    }

    pub(super) fn take(&self) -> Vec<Value> {
        let taken = self.properties.take();
        taken
            .into_iter()
            .filter_map(|(_, property)| if let Property::Note(value) = property { Some(value) } else { None })
            .collect()
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        super::drop::release(&mut self.take());
    }
}
