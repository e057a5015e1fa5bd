//! Operations' parameters as the language binds them.

use super::reference;
use ireko_manage::operation::parameter::{switch, text};
use ireko_manage::{Kind, Operation, Parameter, Pipeline, Type};
use ireko_script::Value;
use ireko_script::bind::{self, Accepts, HostType, Membership, Signature, Words, common_parameters};
use std::rc::Rc;

/// What Hyper-V's cmdlets have for other hosts and for jobs.
pub static REMOTE: [Parameter; 4] = [
    text("ComputerName", "Only this host: localhost or a dot.").many(),
    text("CimSession", "Not here: use this host's own shell.").many(),
    text("Credential", "Not here: you are who you are logged in as."),
    switch("AsJob", "Give a job: the cmdlet runs to its end first, and Receive-Job gives what it gave."),
];

/// All that an operation takes: its own, those for other hosts, those of Hyper-V's that it refuses, those that every cmdlet has.
pub struct Parameters {
    pub own: Vec<&'static Parameter>,
    pub risk: Vec<&'static Parameter>,
}

impl Parameters {
    pub fn of(operation: &'static Operation) -> Self {
        let risk = |parameter: &&'static Parameter| matches!(parameter.name, "WhatIf" | "Confirm");
        let (risk, mut own): (Vec<_>, Vec<_>) = operation.all_parameters().partition(risk);
        own.extend(REMOTE.iter().filter(|remote| operation.parameter(remote.name).is_none()));
        own.extend(reference::absent(operation));
        Self { own, risk }
    }

    /// The one at an index of the signature, if it is not one that every cmdlet has.
    pub fn at(&self, index: usize) -> Option<&'static Parameter> {
        self.own.iter().chain(&self.risk).nth(index).copied()
    }
}

pub fn is_remote(parameter: &Parameter) -> bool {
    REMOTE.iter().any(|remote| std::ptr::eq(parameter, remote))
}

/// Under a name that the operation has.
pub fn signature(operation: &'static Operation, name: &str) -> Rc<Signature> {
    let parameters = Parameters::of(operation);
    let mut all: Vec<bind::Parameter> =
        parameters.own.iter().map(|parameter| of_parameter(parameter, false)).collect();
    all.extend(parameters.risk.iter().map(|parameter| of_parameter(parameter, true)));
    all.extend(common_parameters());
    let cmdlet = operation.called(name);
    let class = format!("Microsoft.HyperV.PowerShell.Commands.{}", cmdlet.replace('-', ""));
    Rc::new(Signature {
        name: cmdlet.into(),
        class: class.into(),
        parameters: all,
        default_set: None,
        loose: false,
        words: Words::Parameters,
    })
}

fn of_parameter(parameter: &'static Parameter, common: bool) -> bind::Parameter {
    let membership = Membership {
        set: parameter.set.into(),
        position: parameter.position.map(i64::from),
        mandatory: parameter.required,
        by_value: matches!(parameter.pipeline, Pipeline::ByValue | Pipeline::ByValueOrPropertyName),
        by_name: matches!(parameter.pipeline, Pipeline::ByPropertyName | Pipeline::ByValueOrPropertyName),
        remaining: false,
    };
    bind::Parameter {
        name: parameter.name.into(),
        aliases: parameter.aliases.iter().map(|alias| Rc::from(*alias)).collect(),
        accepts: Accepts::Host(Rc::new(OfOperation(parameter))),
        doc: parameter.doc.into(),
        sets: vec![membership],
        common,
    }
}

/// The type of an operation's parameter.
#[derive(Debug)]
struct OfOperation(&'static Parameter);

impl HostType for OfOperation {
    fn name(&self) -> String {
        let many = if self.0.many { "[]" } else { "" };
        format!("{}{many}", self.0.type_name())
    }

    fn is_switch(&self) -> bool {
        self.0.kind == Type::Switch
    }

    fn is_object(&self) -> bool {
        matches!(self.0.kind, Type::Object(kind) if kind != Kind::Custom)
    }

    fn takes_object(&self, value: &Value) -> bool {
        let Type::Object(kind) = self.0.kind else { return false };
        let fits = |value: &Value| super::value::record(value).is_some_and(|record| record.kind == kind);
        match value {
            Value::Array(array) => self.0.many && !array.items().is_empty() && array.items().iter().all(fits),
            one => fits(one),
        }
    }

    fn fits(&self, value: &Value) -> bool {
        self.0.convert(super::value::typed(self.0, value, None)).is_ok()
    }
}
