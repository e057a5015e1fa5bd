//! Scopes: variables and functions, and where those that are not here are looked for (about_Scopes).

use crate::syntax::{Attribute, ScriptBlock};
use crate::types::Type;
use crate::value::{Closure, Value};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub value: Value,
    /// `[int]$x`
    pub kind: Option<Rc<Type>>,
    pub frozen: Frozen,
    /// `[ValidateRange(1, 5)]$x`
    pub validated: Option<Validated>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frozen {
    #[default]
    No,
    ReadOnly,
    Constant,
}

/// The attributes that every new value is checked by, and the script that they stand in.
#[derive(Clone, Debug)]
pub struct Validated {
    pub block: Rc<ScriptBlock>,
    pub parameter: usize,
}

impl Validated {
    pub fn attributes(&self) -> &[Attribute] {
        self.block.parameters.get(self.parameter).map_or(&[], |parameter| &parameter.attributes)
    }

    pub fn name(&self) -> &str {
        self.block.parameters.get(self.parameter).map_or("", |parameter| &parameter.name)
    }
}

#[derive(Clone, Debug)]
pub struct Function {
    pub name: Rc<str>,
    pub closure: Rc<Closure>,
}

#[derive(Debug)]
pub struct Scope {
    slots: RefCell<HashMap<Rc<str>, Slot>>,
    functions: RefCell<HashMap<String, Function>>,
    aliases: RefCell<HashMap<String, Rc<str>>>,
    pub parent: Option<Rc<Scope>>,
    /// A script's or a module's own scope, which `$script:` means.
    pub is_script: bool,
    /// What runs here, for `$MyInvocation`, `$PSScriptRoot` and messages.
    pub running: Option<Running>,
}

/// What a scope was made for.
#[derive(Clone, Debug)]
pub struct Running {
    /// The function's name, or the script's path.
    pub name: Rc<str>,
    pub closure: Rc<Closure>,
    pub line: Rc<str>,
    /// Started by its name alone, and not with `&` or a dot.
    pub is_function: bool,
    /// How often `$MyInvocation.InvocationName` and the like say it was called.
    pub invocation: Rc<str>,
}

impl Scope {
    pub fn global() -> Rc<Self> {
        Rc::new(Self::made(None, true, None))
    }

    pub fn within(parent: &Rc<Self>, is_script: bool, running: Option<Running>) -> Rc<Self> {
        Rc::new(Self::made(Some(parent.clone()), is_script, running))
    }

    fn made(parent: Option<Rc<Self>>, is_script: bool, running: Option<Running>) -> Self {
        let (slots, functions, aliases) = Default::default();
        Self { slots, functions, aliases, parent, is_script, running }
    }

    pub fn own(&self, name: &str) -> Option<Slot> {
        self.slots.borrow().get(name).cloned()
    }

    /// In any of the scopes around.
    pub fn find(self: &Rc<Self>, name: &str) -> Option<Value> {
        let mut scope = Some(self);
        while let Some(own) = scope {
            if let Some(slot) = own.slots.borrow().get(name) {
                return Some(slot.value.clone());
            }
            scope = own.parent.as_ref();
        }
        None
    }

    pub fn holder(self: &Rc<Self>, name: &str) -> Option<Rc<Self>> {
        let mut scope = Some(self);
        while let Some(own) = scope {
            if own.slots.borrow().contains_key(name) {
                return Some(own.clone());
            }
            scope = own.parent.as_ref();
        }
        None
    }

    pub fn put(&self, name: &str, slot: Slot) {
        self.slots.borrow_mut().insert(name.into(), slot);
    }

    /// Without regard to types and constants.
    pub fn note(&self, name: &str, value: Value) {
        let mut slots = self.slots.borrow_mut();
        match slots.get_mut(name) {
            Some(slot) => slot.value = value,
            None => {
                slots.insert(name.into(), Slot { value, ..Slot::default() });
            }
        }
    }

    pub fn forget(&self, name: &str) -> Option<Slot> {
        self.slots.borrow_mut().remove(name)
    }

    pub fn names(&self) -> Vec<Rc<str>> {
        self.slots.borrow().keys().cloned().collect()
    }

    pub fn script(self: &Rc<Self>) -> Rc<Self> {
        let mut scope = self;
        while !scope.is_script {
            match &scope.parent {
                Some(parent) => scope = parent,
                None => break,
            }
        }
        scope.clone()
    }

    pub fn outermost(self: &Rc<Self>) -> Rc<Self> {
        let mut scope = self;
        while let Some(parent) = &scope.parent {
            scope = parent;
        }
        scope.clone()
    }

    pub fn define(&self, name: &str, function: Function) {
        self.functions.borrow_mut().insert(name.to_lowercase(), function);
    }

    pub fn function(self: &Rc<Self>, name: &str) -> Option<Function> {
        let name = name.to_lowercase();
        let mut scope = Some(self);
        while let Some(own) = scope {
            if let Some(function) = own.functions.borrow().get(&name) {
                return Some(function.clone());
            }
            scope = own.parent.as_ref();
        }
        None
    }

    pub fn own_functions(&self) -> Vec<Function> {
        self.functions.borrow().values().cloned().collect()
    }

    pub fn undefine(&self, name: &str) -> bool {
        self.functions.borrow_mut().remove(&name.to_lowercase()).is_some()
    }

    pub fn set_alias(&self, name: &str, to: &str) {
        self.aliases.borrow_mut().insert(name.to_lowercase(), to.into());
    }

    pub fn own_aliases(&self) -> Vec<(String, Rc<str>)> {
        self.aliases.borrow().iter().map(|(name, to)| (name.clone(), to.clone())).collect()
    }

    pub fn alias(self: &Rc<Self>, name: &str) -> Option<Rc<str>> {
        let name = name.to_lowercase();
        let mut scope = Some(self);
        while let Some(own) = scope {
            if let Some(to) = own.aliases.borrow().get(&name) {
                return Some(to.clone());
            }
            scope = own.parent.as_ref();
        }
        None
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        // A chain of scopes that only its last one holds goes link by link.
        let mut parent = self.parent.take();
        while let Some(scope) = parent {
            match Rc::try_unwrap(scope) {
                Ok(mut scope) => parent = scope.parent.take(),
                Err(_) => break,
            }
        }
    }
}
