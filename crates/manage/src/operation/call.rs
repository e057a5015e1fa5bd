//! One call of an operation: consent, results, and errors that do not end the rest.

use super::{Arguments, Category, Failure, Impact, Operation, Prints};
use crate::host::Host;
use crate::value::Record;
use std::time::{Duration, Instant};

/// What a call gives. Errors are per object: other objects may have succeeded.
#[derive(Debug, Default)]
pub struct Answer {
    pub records: Vec<Record>,
    pub warnings: Vec<String>,
    pub errors: Vec<Failure>,
}

/// A decision for the person at the surface.
pub struct Question {
    pub title: String,
    pub text: String,
}

/// Who asked: can be told something at once, and asked.
pub trait Surface {
    /// A line for people, now (`What if: …`, a plan).
    fn say(&mut self, text: &str);
    /// How far something long has come, in bytes of `of`; the last time `done` is `of`.
    fn progress(&mut self, what: &str, done: u64, of: u64) {
        let _ = (what, done, of);
    }
    /// The longest that something is waited for which may never come.
    fn longest_wait(&self) -> Duration {
        Duration::MAX
    }
    /// Whether who asked wants an end: what waits gives up, and undoes what it can.
    fn interrupted(&self) -> bool {
        false
    }
    /// Yes or no. A surface without a person says no, or yes where its user has said so beforehand.
    fn confirm(&mut self, question: &Question) -> bool;
    /// As [`Surface::confirm`], for something extra: a no takes nothing back.
    fn offer(&mut self, question: &Question) -> bool {
        self.confirm(question)
    }
}

/// What an operation's function works with.
pub struct Call<'a> {
    pub host: &'a Host,
    pub operation: &'static Operation,
    pub arguments: &'a Arguments,
    pub surface: &'a mut dyn Surface,
    pub answer: Answer,
}

/// Runs an operation. Missing required parameters are an error of the answer.
pub fn invoke(
    host: &Host,
    operation: &'static Operation,
    arguments: &Arguments,
    surface: &mut dyn Surface,
) -> Answer {
    let mut call = Call { host, operation, arguments, surface, answer: Answer::default() };
    let result = match arguments.missing(operation) {
        Some(parameter) => Err(Failure {
            id: "MissingMandatoryParameter",
            ..Failure::invalid(format!(
                "Cannot process command because of one or more missing mandatory parameters: {}.",
                parameter.name
            ))
        }),
        None => (operation.run)(&mut call),
    };
    if let Err(failure) = result {
        call.answer.errors.push(failure);
    }
    call.answer
}

impl Call<'_> {
    /// Whether to do `action` to `target`: says `What if: …` or asks where that is wanted.
    pub fn should(&mut self, action: &str, target: &str) -> bool {
        let question = format!("Are you sure you want to {action} \"{target}\"?");
        self.should_ask(action, target, &question)
    }

    /// As [`Call::should`], with a question of its own.
    pub fn should_ask(&mut self, action: &str, target: &str, question: &str) -> bool {
        if self.arguments.switch("WhatIf") {
            let cmdlet = self.operation.cmdlet;
            self.surface.say(&format!("What if: {cmdlet} will {action} \"{target}\"."));
            return false;
        }
        let asks = match self.arguments.bool("Confirm") {
            Some(asked_for) => asked_for,
            None => self.operation.impact == Impact::Danger && !self.arguments.switch("Force"),
        };
        !asks || self.surface.confirm(&Question { title: "Confirm".into(), text: question.to_owned() })
    }

    /// Waits for so long, unless who asked wants an end.
    pub fn pause(&self, time: Duration) -> Result<(), Failure> {
        const LOOK: Duration = Duration::from_millis(100);
        let began = Instant::now();
        loop {
            if self.surface.interrupted() {
                return Err(Failure::new(Category::OperationStopped, "OperationStopped", "It was stopped."));
            }
            let left = time.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    pub fn warn(&mut self, text: impl Into<String>) {
        self.answer.warnings.push(text.into());
    }

    /// Gives a record, as far as the operation prints and `-Passthru` asks for it.
    pub fn give(&mut self, record: Record) {
        let wanted = match self.operation.prints {
            Prints::Always => true,
            Prints::Passthru => self.arguments.switch("Passthru"),
            Prints::Never => false,
        };
        if wanted {
            self.answer.records.push(record);
        }
    }

    /// Does `body` for each; what fails is noted, and the rest goes on.
    pub fn each<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut body: impl FnMut(&mut Self, T) -> Result<(), Failure>,
    ) {
        for item in items {
            if self.surface.interrupted() {
                return;
            }
            if let Err(failure) = body(self, item) {
                self.answer.errors.push(failure);
            }
        }
    }
}
