//! Arrays and .NET's lists.

use super::Value;
use crate::types::Type;
use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

/// What kind of list it is: what may be done to it, and what its elements are converted to.
#[derive(Clone, Debug)]
pub enum ArrayKind {
    /// `Object[]`
    Fixed,
    /// `int[]` and the like.
    Typed(Rc<Type>),
    ArrayList,
    /// `List<T>`
    List(Rc<Type>),
    Queue,
    Stack,
    HashSet,
}

#[derive(Debug)]
pub struct Array {
    items: RefCell<Vec<Value>>,
    pub kind: ArrayKind,
}

impl Array {
    pub fn new(items: Vec<Value>, kind: ArrayKind) -> Self {
        Self { items: RefCell::new(items), kind }
    }

    pub fn items(&self) -> Ref<'_, Vec<Value>> {
        self.items.borrow()
    }

    pub fn items_mut(&self) -> RefMut<'_, Vec<Value>> {
        self.items.borrow_mut()
    }

    pub fn len(&self) -> usize {
        self.items.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.borrow().is_empty()
    }

    pub fn is_fixed(&self) -> bool {
        matches!(self.kind, ArrayKind::Fixed | ArrayKind::Typed(_))
    }

    /// What counts by its elements in a condition: all that have an order.
    pub fn is_list_like(&self) -> bool {
        !matches!(self.kind, ArrayKind::Queue | ArrayKind::Stack | ArrayKind::HashSet)
    }

    /// What its elements must be.
    pub fn element(&self) -> Option<&Rc<Type>> {
        match &self.kind {
            ArrayKind::Typed(kind) | ArrayKind::List(kind) => Some(kind),
            _ => None,
        }
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        super::drop::release(self.items.get_mut());
    }
}
