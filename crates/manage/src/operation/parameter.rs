//! One parameter of an operation.

use crate::value::Kind;

/// A parameter, made by the functions below.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub kind: Type,
    /// Position number without the name.
    pub position: Option<u8>,
    /// Takes a list.
    pub many: bool,
    /// Must be given (where the set is the one in use).
    pub required: bool,
    /// Parameters of different sets exclude each other; `""` belongs to all sets.
    pub set: &'static str,
    pub pipeline: Pipeline,
    pub cli: Cli,
    pub doc: &'static str,
}

/// What values it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    Text,
    /// Resolved against the working directory of whoever asks.
    Path,
    /// Both ends included.
    Int(i64, i64),
    /// An amount of memory or disk, in bytes.
    Bytes,
    Bool,
    Switch,
    /// One of these words, in any case.
    Enum(&'static [&'static str]),
    Guid,
    /// A record of this kind.
    Object(Kind),
    /// A record of one of these kinds, or words that mean one.
    AnyOf(&'static [Kind]),
}

/// What the pipeline may put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipeline {
    No,
    ByValue,
    ByPropertyName,
    ByValueOrPropertyName,
}

/// Its place on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cli {
    Hidden,
    Positional,
    /// `--name`
    Flag(&'static str),
}

pub const ON_OFF: &[&str] = &["On", "Off"];

const fn parameter(name: &'static str, kind: Type, doc: &'static str) -> Parameter {
    Parameter {
        name,
        aliases: &[],
        kind,
        position: None,
        many: false,
        required: false,
        set: "",
        pipeline: Pipeline::No,
        cli: Cli::Hidden,
        doc,
    }
}

pub const fn text(name: &'static str, doc: &'static str) -> Parameter {
    parameter(name, Type::Text, doc)
}
pub const fn path(name: &'static str, doc: &'static str) -> Parameter {
    parameter(name, Type::Path, doc)
}
pub const fn int(name: &'static str, least: i64, most: i64, doc: &'static str) -> Parameter {
    parameter(name, Type::Int(least, most), doc)
}
pub const fn bytes(name: &'static str, doc: &'static str) -> Parameter {
    parameter(name, Type::Bytes, doc)
}
pub const fn boolean(name: &'static str, doc: &'static str) -> Parameter {
    parameter(name, Type::Bool, doc)
}
pub const fn switch(name: &'static str, doc: &'static str) -> Parameter {
    parameter(name, Type::Switch, doc)
}
pub const fn one_of(name: &'static str, words: &'static [&'static str], doc: &'static str) -> Parameter {
    parameter(name, Type::Enum(words), doc)
}
pub const fn guid(name: &'static str, doc: &'static str) -> Parameter {
    parameter(name, Type::Guid, doc)
}
pub const fn object(name: &'static str, kind: Kind, doc: &'static str) -> Parameter {
    parameter(name, Type::Object(kind), doc).pipe(Pipeline::ByValue)
}

pub const fn any_of(name: &'static str, kinds: &'static [Kind], doc: &'static str) -> Parameter {
    parameter(name, Type::AnyOf(kinds), doc)
}

impl Parameter {
    pub const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }
    pub const fn at(mut self, position: u8) -> Self {
        self.position = Some(position);
        self
    }
    pub const fn many(mut self) -> Self {
        self.many = true;
        self
    }
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
    pub const fn optional(mut self) -> Self {
        self.required = false;
        self
    }
    pub const fn set(mut self, set: &'static str) -> Self {
        self.set = set;
        self
    }
    pub const fn pipe(mut self, pipeline: Pipeline) -> Self {
        self.pipeline = pipeline;
        self
    }
    pub const fn flag(mut self, flag: &'static str) -> Self {
        self.cli = Cli::Flag(flag);
        self
    }
    pub const fn positional(mut self) -> Self {
        self.cli = Cli::Positional;
        self
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
    pub fn is_called(&self, name: &str) -> bool {
        self.names().any(|own| own.eq_ignore_ascii_case(name))
    }
    pub fn starts_with(&self, prefix: &str) -> bool {
        self.names()
            .any(|own| own.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
    }
    /// The .NET name of its type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            Type::Text | Type::Path => "System.String",
            Type::Int(..) | Type::Bytes => "System.Int64",
            Type::Bool => "System.Boolean",
            Type::Switch => "System.Management.Automation.SwitchParameter",
            Type::Enum(_) => "System.Enum",
            Type::Guid => "System.Guid",
            Type::Object(_) | Type::AnyOf(_) => "System.Object",
        }
    }
}

pub static RISK: [Parameter; 2] = [
    switch("WhatIf", "Say what would be done, and do nothing.").alias(&["wi"]).flag("what-if"),
    switch("Confirm", "Ask before doing it; `-Confirm:$false` does not ask.").alias(&["cf"]),
];

pub static PASSTHRU: [Parameter; 1] = [switch("Passthru", "Give the changed objects.")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_a_name_or_alias_counts_in_any_case() {
        let name = text("Name", "").alias(&["VMName"]);
        assert!(name.starts_with("nam") && name.starts_with("vm") && !name.starts_with("names"));
    }

    #[test]
    fn a_prefix_that_ends_inside_a_character_is_no_match() {
        assert!(!text("Name", "").starts_with("é"));
    }
}
