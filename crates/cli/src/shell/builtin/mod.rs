//! Cmdlets that are the shell's own: they work on objects of any kind, and on the shell.

pub mod about;
mod format;
mod native;
mod objects;
pub mod output;
mod pick;

use super::bind::{AMBIENT, Bound, Given, Signature};
use super::fault::{Fault, Flow};
use super::item::Item;
use super::session::Session;
use ireko_manage::operation::parameter::object;
use ireko_manage::{Kind, Parameter};

pub struct Builtin {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub doc: &'static str,
    pub parameters: &'static [Parameter],
    pub words: Words,
    pub run: fn(&mut Session<'_>, &Call) -> Result<Vec<Item>, Flow>,
}

/// What its words are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Parameters, by name and position.
    Parameters,
    /// As well, and what is left over is the first one's.
    Rest,
    /// Its own business, like a program's.
    Program,
}

/// One call of such a cmdlet.
pub struct Call {
    pub builtin: &'static Builtin,
    pub bound: Bound,
    /// Only for native ones.
    pub given: Vec<Given>,
    pub input: Option<Vec<Item>>,
}

static TABLES: [&[Builtin]; 5] =
    [objects::BUILTINS, format::BUILTINS, output::BUILTINS, about::BUILTINS, native::BUILTINS];

pub fn builtins() -> impl Iterator<Item = &'static Builtin> {
    TABLES.iter().copied().flatten()
}

/// By name or alias, in any case.
pub fn find(name: &str) -> Option<&'static Builtin> {
    builtins().find(|builtin| {
        builtin.name.eq_ignore_ascii_case(name)
            || builtin.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    })
}

impl Builtin {
    pub fn signature(&'static self) -> Signature {
        let ambient = if self.words == Words::Program { Vec::new() } else { AMBIENT.iter().collect() };
        let rest = self.words == Words::Rest;
        Signature { cmdlet: self.name, own: self.parameters.iter().collect(), ambient, rest }
    }
}

impl Call {
    /// What came through the pipeline, or else through the parameter.
    fn objects(&self, parameter: &str) -> Vec<Item> {
        match &self.input {
            Some(items) => items.clone(),
            None => self.bound.items(parameter),
        }
    }

    fn fault(&self, id: &str, message: impl Into<String>) -> Fault {
        Fault::builtin(self.builtin.name, id, message)
    }

    /// A whole number of this parameter.
    fn count(&self, name: &str) -> Result<Option<usize>, Fault> {
        let Some(item) = self.bound.item(name) else { return Ok(None) };
        match item.value().as_int().and_then(|number| usize::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.fault(
                "ParameterArgumentValidationError",
                format!("Cannot validate argument on parameter '{name}'. It takes a whole number that is not negative."),
            )),
        }
    }
}

/// A parameter that takes anything.
const fn any(name: &'static str, doc: &'static str) -> Parameter {
    object(name, Kind::Custom, doc)
}
