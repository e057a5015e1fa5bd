//! Errors as PowerShell records and prints them.

use super::parse::ParseError;
use super::syntax::Position;
use ireko_manage::{Failure, Kind, Record, render};

/// Why a statement ends before its end.
#[derive(Debug)]
pub enum Flow {
    Error(Box<Fault>),
    Exit(u8),
    Break,
    Continue,
    Return,
    /// Ctrl-C.
    Interrupted,
    /// Who reads our output has gone.
    Unheard,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub message: String,
    pub category: Box<str>,
    /// What it was about, and its type.
    pub target: Option<Box<(String, String)>>,
    /// The cmdlet.
    pub activity: &'static str,
    pub exception: &'static str,
    /// Fully qualified.
    pub id: String,
    pub place: Option<Box<Position>>,
    /// Ends the script, not only the statement.
    pub ends_script: bool,
}

impl From<Fault> for Flow {
    fn from(fault: Fault) -> Self {
        Self::Error(Box::new(fault))
    }
}

impl Fault {
    /// What an operator, a loop or a conversion has against something.
    pub fn runtime(id: &str, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            category: "InvalidOperation".into(),
            target: None,
            activity: "",
            exception: "RuntimeException",
            id: id.into(),
            place: None,
            ends_script: false,
        }
    }

    /// What a cmdlet of ours that is in no table of operations has to say.
    pub fn builtin(cmdlet: &'static str, id: &str, message: impl Into<String>) -> Self {
        Self {
            category: "InvalidArgument".into(),
            activity: cmdlet,
            exception: "PSArgumentException",
            id: qualified(id, cmdlet),
            ..Self::runtime(id, message)
        }
    }

    pub fn not_found(name: &str) -> Self {
        Self {
            category: "ObjectNotFound".into(),
            target: Some(Box::new((name.into(), "String".into()))),
            exception: "CommandNotFoundException",
            ..Self::runtime(
                "CommandNotFoundException",
                format!(
                    "The term '{name}' is not recognized as the name of a cmdlet, function, script file, or operable \
                     program. Check the spelling of the name, or if a path was included, verify that the path is \
                     correct and try again."
                ),
            )
        }
    }

    /// What an operation gave.
    pub fn of(failure: &Failure, cmdlet: &'static str) -> Self {
        Self {
            message: failure.message.clone(),
            category: format!("{:?}", failure.category).into(),
            target: failure.target.clone().map(|target| Box::new((target, "String".into()))),
            activity: cmdlet,
            exception: failure.exception(),
            id: failure.qualified_id(cmdlet),
            place: None,
            ends_script: false,
        }
    }

    pub fn parsing(error: &ParseError) -> Self {
        Self {
            category: "ParserError".into(),
            exception: "ParentContainsErrorRecordException",
            place: Some(Box::new(error.place.clone())),
            ends_script: true,
            ..Self::runtime("ParserError", error.message.as_str())
        }
    }

    /// The error record, for `$Error` and `$_` in `catch`.
    pub fn record(&self) -> Record {
        let target = self.target.as_ref().map(|target| target.0.as_str());
        Record::new(Kind::Custom)
            .with("Exception", Record::new(Kind::Custom).with("Message", self.message.as_str()))
            .with("TargetObject", target)
            .with(
                "CategoryInfo",
                Record::new(Kind::Custom)
                    .with("Category", self.category.as_ref())
                    .with("Activity", self.activity)
                    .with("Reason", self.exception)
                    .with("TargetName", target),
            )
            .with("FullyQualifiedErrorId", self.id.as_str())
    }

    /// As it is printed; `source` is the script's name, or nothing.
    pub fn print(&self, source: &str) -> String {
        let head = match (&self.target, self.activity) {
            (Some(target), "") if self.exception == "CommandNotFoundException" => format!("{} : ", target.0),
            (_, "") => String::new(),
            (_, activity) => format!("{activity} : "),
        };
        let mut text: String =
            (head + &self.message).lines().map(|line| render::printable(line) + "\n").collect();
        if let Some(place) = &self.place {
            text += &position(place, source);
        }
        let (target, kind) = self.target.as_deref().cloned().unwrap_or_default();
        let about = render::printable(&format!("({target}:{kind}) [{}], {}", self.activity, self.exception));
        text + &format!(
            "    + CategoryInfo          : {}: {about}\n    + FullyQualifiedErrorId : {}\n",
            self.category,
            render::printable(&self.id)
        )
    }
}

pub fn qualified(id: &str, cmdlet: &str) -> String {
    format!("{id},Microsoft.PowerShell.Commands.{}Command", cmdlet.replace('-', ""))
}

fn position(place: &Position, source: &str) -> String {
    let at = if source.is_empty() { "At line".to_owned() } else { format!("At {source}") };
    let indent = " ".repeat(place.column - 1);
    format!(
        "{at}:{} char:{}\n+ {}\n+ {indent}{}\n",
        place.line,
        place.column,
        render::printable(&place.text),
        "~".repeat(place.length)
    )
}
