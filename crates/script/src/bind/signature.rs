//! What a command takes.

use crate::types::Type;
use crate::value::Value;
use std::fmt;
use std::rc::Rc;

#[derive(Clone, Debug)]
pub struct Signature {
    /// As messages name it.
    pub name: Rc<str>,
    /// Behind the comma of error ids.
    pub class: Rc<str>,
    pub parameters: Vec<Parameter>,
    pub default_set: Option<Rc<str>>,
    /// What finds no parameter is for `$args`.
    pub loose: bool,
    pub words: Words,
}

/// What a command's words are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    Parameters,
    /// Its own business, like a program's.
    Program,
}

#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: Rc<str>,
    pub aliases: Vec<Rc<str>>,
    pub accepts: Accepts,
    pub doc: Rc<str>,
    /// Never empty; the set `""` is all of them.
    pub sets: Vec<Membership>,
    /// Every command has it.
    pub common: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Membership {
    pub set: Rc<str>,
    pub position: Option<i64>,
    pub mandatory: bool,
    pub by_value: bool,
    pub by_name: bool,
    /// Takes all that is left over.
    pub remaining: bool,
}

#[derive(Clone, Debug)]
pub enum Accepts {
    Anything,
    Switch,
    Type(Type),
    Host(Rc<dyn HostType>),
}

/// A type that only a host knows.
pub trait HostType: fmt::Debug {
    /// The .NET name, for messages.
    fn name(&self) -> String;
    fn is_switch(&self) -> bool;
    /// Whether it takes only objects of one kind.
    fn is_object(&self) -> bool;
    /// Whether it takes just this kind of object.
    fn takes_object(&self, value: &Value) -> bool;
    /// Whether a property's value may be meant for it.
    fn fits(&self, value: &Value) -> bool;
}

impl Signature {
    pub fn sets(&self) -> Vec<Rc<str>> {
        let mut sets: Vec<Rc<str>> = Vec::new();
        for membership in self.parameters.iter().flat_map(|parameter| &parameter.sets) {
            if !membership.set.is_empty() && !sets.iter().any(|own| own.eq_ignore_ascii_case(&membership.set))
            {
                sets.push(membership.set.clone());
            }
        }
        sets
    }

    pub(super) fn remaining(&self, possible: &[Rc<str>]) -> Option<usize> {
        self.parameters.iter().position(|parameter| {
            parameter
                .sets
                .iter()
                .any(|own| own.remaining && (own.set.is_empty() || possible.contains(&own.set)))
        })
    }
}

impl Parameter {
    pub fn new(name: &str, accepts: Accepts) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            accepts,
            doc: "".into(),
            sets: vec![Membership::default()],
            common: false,
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &Rc<str>> {
        std::iter::once(&self.name).chain(&self.aliases)
    }

    pub fn is_called(&self, name: &str) -> bool {
        self.names().any(|own| own.eq_ignore_ascii_case(name))
    }

    pub fn starts_with(&self, prefix: &str) -> bool {
        self.names()
            .any(|own| own.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
    }

    pub fn is_switch(&self) -> bool {
        match &self.accepts {
            Accepts::Switch | Accepts::Type(Type::Switch) => true,
            Accepts::Host(kind) => kind.is_switch(),
            _ => false,
        }
    }

    pub fn is_object(&self) -> bool {
        matches!(&self.accepts, Accepts::Host(kind) if kind.is_object())
    }

    pub fn takes_object(&self, value: &Value) -> bool {
        matches!(&self.accepts, Accepts::Host(kind) if kind.takes_object(value))
    }

    pub(super) fn fits(&self, value: &Value) -> bool {
        match &self.accepts {
            Accepts::Host(kind) => kind.fits(value),
            Accepts::Type(kind) => crate::types::convert_or_none(value, kind).is_some(),
            _ => true,
        }
    }

    pub fn in_all_sets(&self) -> bool {
        self.sets.iter().any(|membership| membership.set.is_empty())
    }

    pub fn membership(&self, set: &str) -> Option<&Membership> {
        let own = self
            .sets
            .iter()
            .find(|membership| !membership.set.is_empty() && membership.set.eq_ignore_ascii_case(set));
        own.or_else(|| self.sets.iter().find(|membership| membership.set.is_empty()))
    }

    /// The lowest of its positions in these sets.
    pub(super) fn position(&self, possible: &[Rc<str>]) -> Option<i64> {
        let counts = |own: &&Membership| {
            own.set.is_empty() || possible.iter().any(|set| set.eq_ignore_ascii_case(&own.set))
        };
        self.sets.iter().filter(counts).filter(|own| !own.remaining).filter_map(|own| own.position).min()
    }

    pub(super) fn any(&self, has: impl Fn(&Membership) -> bool) -> bool {
        self.sets.iter().any(has)
    }

    pub fn type_name(&self) -> String {
        match &self.accepts {
            Accepts::Anything => "System.Object".into(),
            Accepts::Switch => "System.Management.Automation.SwitchParameter".into(),
            Accepts::Type(kind) => kind.full_name(),
            Accepts::Host(kind) => kind.name(),
        }
    }
}
