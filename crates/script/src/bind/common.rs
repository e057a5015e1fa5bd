//! Parameters that every cmdlet has (about_CommonParameters).

use super::{Bound, Parameter, specification};
use crate::interpret::ErrorAction;
use std::rc::Rc;

const COMMON: &str = "\
Verbose/vb:switch Shows verbose messages.
Debug/db:switch Shows debug messages.
ErrorAction/ea:any What is done with errors that do not end the statement.
WarningAction/wa:any Whether warnings are shown.
InformationAction/infa:any Whether messages of Write-Information are shown.
ErrorVariable/ev:string The variable that gets the errors.
WarningVariable/wv:string The variable that gets the warnings.
InformationVariable/iv:string The variable that gets the messages of Write-Information.
OutVariable/ov:string The variable that gets the output.
OutBuffer/ob:int Accepted.
PipelineVariable/pv:string The variable that holds each object while it goes down the pipeline.
ProgressAction/proga:any Accepted.";

const RISK: &str = "\
WhatIf/wi:switch Says what would be done, and does nothing.
Confirm/cf:switch Asks before doing it.";

fn marked(text: &str) -> Vec<Parameter> {
    let all = specification::parameters(text);
    all.into_iter().map(|parameter| Parameter { common: true, ..parameter }).collect()
}

pub fn common_parameters() -> Vec<Parameter> {
    marked(COMMON)
}

/// Of those that change something.
pub fn risk_parameters() -> Vec<Parameter> {
    marked(RISK)
}

/// What the common parameters of a call say; they are taken out of it.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    pub errors: Option<ErrorAction>,
    pub warnings: Option<ErrorAction>,
    pub information: Option<ErrorAction>,
    pub verbose: Option<bool>,
    pub debug: Option<bool>,
    pub error_variable: Option<Rc<str>>,
    pub warning_variable: Option<Rc<str>>,
    pub information_variable: Option<Rc<str>>,
    pub out_variable: Option<Rc<str>>,
    pub pipeline_variable: Option<Rc<str>>,
}

impl Behaviour {
    pub fn of(bound: &mut Bound) -> Self {
        let signature = bound.signature.clone();
        let is_common = |name: &str| {
            signature.parameters.iter().any(|parameter| parameter.common && &*parameter.name == name)
        };
        let mut word = |name: &str| if is_common(name) { bound.take(name) } else { None };
        let mut action =
            |name: &str| word(name).and_then(|value| ErrorAction::word(&crate::types::text(&value)));
        let (errors, warnings, information) =
            (action("ErrorAction"), action("WarningAction"), action("InformationAction"));
        action("ProgressAction");
        let mut name = |name: &str| word(name).map(|value| Rc::from(crate::types::text(&value)));
        let behaviour = Self {
            errors,
            warnings,
            information,
            error_variable: name("ErrorVariable"),
            warning_variable: name("WarningVariable"),
            information_variable: name("InformationVariable"),
            out_variable: name("OutVariable"),
            pipeline_variable: name("PipelineVariable"),
            verbose: word("Verbose").map(|value| value.is_true()),
            debug: word("Debug").map(|value| value.is_true()),
        };
        word("OutBuffer");
        behaviour
    }
}
