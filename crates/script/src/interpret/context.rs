//! What holds while a command runs: its scope, where its messages go, and what is done with its errors.

use super::Interpreter;
use crate::characters::printable;
use crate::error::{ErrorRecord, Flow, Outcome};
use crate::scope::Scope;
use crate::source::{Position, Source};
use crate::syntax::Stream;
use crate::value::{Object, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// What is done with errors that do not end a statement, and with other messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorAction {
    Continue,
    Stop,
    SilentlyContinue,
    Ignore,
    Inquire,
}

impl ErrorAction {
    pub fn word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "continue" | "2" => Self::Continue,
            "inquire" | "3" => Self::Inquire,
            "stop" | "1" => Self::Stop,
            "silentlycontinue" | "0" => Self::SilentlyContinue,
            "ignore" | "4" => Self::Ignore,
            _ => return None,
        })
    }
}

pub type Noted = Rc<RefCell<Vec<Value>>>;

/// What `-ErrorAction` and its kin say.
#[derive(Clone, Debug, Default)]
pub struct Preferences {
    pub errors: Option<ErrorAction>,
    pub warnings: Option<ErrorAction>,
    pub verbose: Option<bool>,
    pub debug: Option<bool>,
    pub information: Option<ErrorAction>,
    /// For `-ErrorVariable`, `-WarningVariable`, `-InformationVariable`: all of those around.
    pub noted_errors: Vec<Noted>,
    pub noted_warnings: Vec<Noted>,
    pub noted_information: Vec<Noted>,
}

/// Where one stream goes.
#[derive(Clone, Debug, Default)]
pub enum Destination {
    #[default]
    Host,
    Nowhere,
    File(Rc<str>),
    /// Into the pipeline, in order.
    Merged(Noted),
}

/// Where messages go, by the stream.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    pub error: Destination,
    pub warning: Destination,
    pub verbose: Destination,
    pub debug: Destination,
    pub information: Destination,
}

impl Streams {
    pub fn slot(&mut self, stream: Stream) -> Option<&mut Destination> {
        match stream {
            Stream::Error => Some(&mut self.error),
            Stream::Warning => Some(&mut self.warning),
            Stream::Verbose => Some(&mut self.verbose),
            Stream::Debug => Some(&mut self.debug),
            Stream::Information => Some(&mut self.information),
            Stream::All | Stream::Output => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Context {
    pub scope: Rc<Scope>,
    pub streams: Rc<Streams>,
    pub preferences: Rc<Preferences>,
    /// The command that runs.
    pub position: Option<Position>,
    /// Which pipeline it is in, and which of its stages it is.
    pub stage: (u64, usize),
    /// The text that is run.
    pub source: Option<Rc<Source>>,
}

impl Context {
    pub fn new(scope: Rc<Scope>) -> Self {
        Self {
            scope,
            streams: Rc::default(),
            preferences: Rc::default(),
            position: None,
            stage: (0, 0),
            source: None,
        }
    }

    pub fn in_scope(&self, scope: Rc<Scope>) -> Self {
        Self { scope, ..self.clone() }
    }

    pub fn of_source(self, source: &Rc<Source>) -> Self {
        Self { source: Some(source.clone()), ..self }
    }
}

impl Interpreter<'_> {
    fn preference(&self, name: &str) -> Option<ErrorAction> {
        let value = self.context.scope.find(name)?;
        ErrorAction::word(&crate::types::text(&value))
    }

    pub fn error_preference(&self) -> ErrorAction {
        self.preference("erroractionpreference").unwrap_or(ErrorAction::Continue)
    }

    /// An error that does not end the statement, unless somebody wants that.
    pub fn report(&mut self, record: ErrorRecord) -> Outcome {
        let mut record = record.at(self.context.position.clone());
        let preferences = self.context.preferences.clone();
        let action = preferences.errors.unwrap_or_else(|| self.error_preference());
        for noted in &preferences.noted_errors {
            noted.borrow_mut().push(Value::Error(Rc::new(record.clone())));
        }
        match action {
            ErrorAction::Stop => {
                record.ends_script = true;
                return Err(record.into());
            }
            ErrorAction::Inquire if !self.asked_to_go_on(&record) => {
                record.ends_script = true;
                return Err(record.into());
            }
            ErrorAction::Continue | ErrorAction::Inquire => {
                self.remember(&record);
                self.show(&record);
            }
            ErrorAction::SilentlyContinue => self.remember(&record),
            ErrorAction::Ignore => self.fine = false,
        }
        Ok(())
    }

    fn asked_to_go_on(&mut self, record: &ErrorRecord) -> bool {
        let prompt = format!(
            "\nConfirm\n{}\n[Y] Yes  [H] Halt Command  (default is \"Y\"): ",
            printable(record.message())
        );
        let answer = self.terminal.ask(&prompt);
        answer.is_some_and(|line| !line.trim().to_lowercase().starts_with('h'))
    }

    pub fn remember(&mut self, record: &ErrorRecord) {
        self.fine = false;
        let mut errors = self.errors.items_mut();
        errors.insert(0, Value::Error(Rc::new(record.clone())));
        errors.truncate(super::KEPT_ERRORS);
    }

    /// Prints an error, or sends it where the error stream goes.
    pub fn show(&mut self, record: &ErrorRecord) {
        self.fine = false;
        let text = record.print();
        let value = Value::Error(Rc::new(record.clone()));
        let streams = self.context.streams.clone();
        if matches!(streams.error, Destination::Host) {
            self.printed += 1;
        }
        self.message(&streams.error, &text, value);
    }

    fn message(&mut self, to: &Destination, text: &str, value: Value) {
        match to {
            Destination::Host => self.terminal.error(text),
            Destination::Nowhere => {}
            Destination::File(path) => {
                // A file that cannot be written was told when it was opened.
                let _ = super::files::append(path, text);
            }
            Destination::Merged(values) => values.borrow_mut().push(value),
        }
    }

    fn lines(prefix: &str, text: &str) -> String {
        let lines: String = text.lines().map(|line| printable(line) + "\n").collect();
        format!("{prefix}{}", if lines.is_empty() { "\n" } else { &lines })
    }

    pub fn warn(&mut self, text: &str) -> Outcome {
        let preferences = self.context.preferences.clone();
        let record = || {
            Object::new("System.Management.Automation.WarningRecord")
                .with("Message", text)
                .shown_as(text)
                .into_value()
        };
        for noted in &preferences.noted_warnings {
            noted.borrow_mut().push(record());
        }
        let action = preferences
            .warnings
            .or_else(|| self.preference("warningpreference"))
            .unwrap_or(ErrorAction::Continue);
        match action {
            ErrorAction::SilentlyContinue | ErrorAction::Ignore => Ok(()),
            _ => {
                let destination = self.context.streams.warning.clone();
                self.message(&destination, &Self::lines("WARNING: ", text), record());
                if action == ErrorAction::Stop {
                    Err(self.stopped("WarningPreference", text))
                } else {
                    Ok(())
                }
            }
        }
    }

    fn stopped(&self, preference: &str, text: &str) -> Flow {
        let message = format!(
            "The running command stopped because the preference variable \"{preference}\" or common parameter is set to Stop: {text}"
        );
        let record = ErrorRecord::runtime("ActionPreferenceStop", message).in_category("OperationStopped");
        ErrorRecord {
            ends_script: true,
            ..record.of_type("System.Management.Automation.ActionPreferenceStopException")
        }
        .into()
    }

    pub fn verbose(&mut self, text: &str) -> Outcome {
        let shown = self.context.preferences.verbose.unwrap_or_else(|| self.says("verbosepreference"));
        let destination = self.context.streams.verbose.clone();
        self.quiet_message(shown, &destination, "VERBOSE: ", "Verbose", text)
    }

    pub fn debug(&mut self, text: &str) -> Outcome {
        let shown = self.context.preferences.debug.unwrap_or_else(|| self.says("debugpreference"));
        let destination = self.context.streams.debug.clone();
        self.quiet_message(shown, &destination, "DEBUG: ", "Debug", text)
    }

    fn says(&self, preference: &str) -> bool {
        matches!(
            self.preference(preference),
            Some(ErrorAction::Continue | ErrorAction::Inquire | ErrorAction::Stop)
        )
    }

    fn quiet_message(
        &mut self,
        shown: bool,
        to: &Destination,
        prefix: &str,
        kind: &str,
        text: &str,
    ) -> Outcome {
        if shown {
            let type_name = format!("System.Management.Automation.{kind}Record");
            let record = Object::new(&type_name).with("Message", text).shown_as(text).into_value();
            self.message(to, &Self::lines(prefix, text), record);
        }
        Ok(())
    }

    /// Write-Host and Write-Information: lines that are no output.
    pub fn inform(&mut self, text: &str, end: &str, shown: bool) -> Outcome {
        self.inform_in_style(text, end, shown, "")
    }

    /// With a sequence of the terminal's before it, which is taken back behind it.
    pub fn inform_in_style(&mut self, text: &str, end: &str, shown: bool, style: &str) -> Outcome {
        let record = || {
            Object::new("System.Management.Automation.InformationRecord")
                .with("MessageData", text)
                .shown_as(text)
                .into_value()
        };
        for noted in &self.context.preferences.clone().noted_information {
            noted.borrow_mut().push(record());
        }
        let destination = self.context.streams.information.clone();
        match destination {
            Destination::Host if shown => {
                let lines: Vec<String> =
                    text.split('\n').map(|line| printable(line.trim_end_matches('\r'))).collect();
                let reset = if style.is_empty() { "" } else { "\x1b[0m" };
                self.print(&format!("{style}{}{reset}{end}", lines.join("\n")))
            }
            Destination::Host | Destination::Nowhere => Ok(()),
            other => {
                self.message(&other, &format!("{text}{end}"), record());
                Ok(())
            }
        }
    }

    pub fn print(&mut self, text: &str) -> Outcome {
        if text.is_empty() || self.terminal.output(text) { Ok(()) } else { Err(Flow::Unheard) }
    }
}
