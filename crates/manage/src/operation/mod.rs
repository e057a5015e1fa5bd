//! What an operation is: defined once, read by every surface (cmdlet, command line, REST, help).

pub mod arguments;
pub mod call;
pub mod failure;
pub mod parameter;

pub use arguments::Arguments;
pub use call::{Answer, Call, Question, Surface, invoke};
pub use failure::{Category, Failure};
pub use parameter::{Cli, Parameter, Pipeline, Type};

use crate::value::Kind;

/// One thing that can be done with VMs.
pub struct Operation {
    /// Verb-Noun; the operation's name on every surface.
    pub cmdlet: &'static str,
    /// Other names of the cmdlet.
    pub aliases: &'static [&'static str],
    /// `ireko vm VERB …`: none, one, or several views of the same operation.
    pub verbs: &'static [Verb],
    pub rest: Rest,
    /// One line; a longer text may follow after an empty line.
    pub doc: &'static str,
    pub parameters: &'static [&'static [Parameter]],
    pub prints: Prints,
    /// What the records are.
    pub result: Option<Kind>,
    pub impact: Impact,
    pub run: fn(&mut Call<'_>) -> Result<(), Failure>,
}

impl Operation {
    /// The cmdlet's name as it was called: a name of a verb and a noun is a cmdlet of its own to who knows it.
    pub fn called(&self, name: &str) -> &'static str {
        let own = |other: &&&'static str| other.contains('-') && other.eq_ignore_ascii_case(name);
        self.aliases.iter().find(own).copied().unwrap_or(self.cmdlet)
    }
}

/// One verb of the command line.
pub struct Verb {
    pub name: &'static str,
    pub doc: &'static str,
    pub view: View,
    /// The positional parameter must be given although the cmdlet does without.
    pub needs_name: bool,
}

/// How the command line shows records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Table,
    List,
    /// Of a record with the property Text that, where there is one.
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Patch,
    Delete,
}

/// The route may name parameters in braces.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    pub method: Method,
    pub route: &'static str,
}

/// When records come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prints {
    Always,
    /// Only with `-Passthru`, which every such operation has.
    Passthru,
    Never,
}

/// Whether it changes something, and how dangerously.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impact {
    /// Only reads.
    None,
    /// Has `-WhatIf` and `-Confirm`.
    Change,
    /// Also asks before it does it, unless `-Force` or `-Confirm:$false`.
    Danger,
}

impl Operation {
    /// Its own parameters, then those that every such operation has.
    pub fn all_parameters(&self) -> impl Iterator<Item = &'static Parameter> {
        let common: &[Parameter] = if self.impact == Impact::None { &[] } else { &parameter::RISK };
        let passthru: &[Parameter] = if self.prints == Prints::Passthru { &parameter::PASSTHRU } else { &[] };
        self.parameters.iter().copied().flatten().chain(passthru).chain(common)
    }

    /// A parameter by its whole name or alias, in any case.
    pub fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.all_parameters().find(|parameter| parameter.is_called(name))
    }

    /// The exact name, or else every parameter that has a name or alias starting so. More than one is ambiguous.
    pub fn parameters_by_prefix(&self, prefix: &str) -> Vec<&'static Parameter> {
        match self.parameter(prefix) {
            Some(exact) => vec![exact],
            None => self.all_parameters().filter(|parameter| parameter.starts_with(prefix)).collect(),
        }
    }
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}
