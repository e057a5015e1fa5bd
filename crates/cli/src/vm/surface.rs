//! The person at the terminal, as operations see one.

use super::words::for_command_line;
use crate::progress::{Progress, Step};
use crate::say;
use ireko_manage::operation::Operation;
use ireko_manage::{Question, Surface};
use std::io::{self, BufRead, IsTerminal};

/// Says on standard error, asks on the terminal. Without a terminal the answer is no.
#[derive(Default)]
pub struct TerminalSurface {
    /// Somebody or nobody has said no.
    pub declined: bool,
    /// The operation that a verb of the command line is of.
    pub of: Option<&'static Operation>,
    /// What is under way.
    pub step: Option<Step>,
}

impl TerminalSurface {
    fn words(&self, text: &str) -> String {
        self.of.map_or_else(|| text.to_owned(), |operation| for_command_line(text, operation))
    }
}

impl Surface for TerminalSurface {
    fn say(&mut self, text: &str) {
        say!("{}", self.words(text));
    }

    fn progress(&mut self, what: &str, done: u64, of: u64) {
        if done >= of {
            self.step = None;
            return;
        }
        let step = self.step.get_or_insert_with(|| Progress::new().percent(what));
        step.percent(done as f64 * 100.0 / of as f64);
    }

    fn confirm(&mut self, question: &Question) -> bool {
        if !io::stdin().is_terminal() {
            say!("ireko: {} There is nobody to ask; use --force.", self.words(&question.text));
            self.declined = true;
            return false;
        }
        crate::output::say(format_args!("{}", self.words(&question.text)), " [y/N] ");
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        let yes = read.is_ok() && matches!(line.trim().to_lowercase().as_str(), "y" | "yes");
        self.declined |= !yes;
        yes
    }

    fn offer(&mut self, question: &Question) -> bool {
        let declined = self.declined;
        let yes = self.confirm(question);
        self.declined = declined;
        yes
    }
}
