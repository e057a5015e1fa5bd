//! What the language needs of the world around it: somebody who reads and answers, and whoever brings commands of his own.

use crate::bind::{Bound, Signature};
use crate::error::Outcome;
use crate::interpret::{Interpreter, Sink, Stage};
use crate::value::{EnumType, Value};
use std::rc::Rc;

/// Who reads and answers.
pub trait Terminal {
    /// False when nobody reads any more.
    fn output(&mut self, text: &str) -> bool;
    fn error(&mut self, text: &str);
    /// A person's answer to a question, or nothing where there is nobody to ask.
    fn ask(&mut self, prompt: &str) -> Option<String>;
    /// A line for Read-Host, also where it comes from a pipe; nothing at its end.
    fn read_line(&mut self, prompt: &str) -> Option<String> {
        self.ask(prompt)
    }
    /// A line that is not shown.
    fn read_secret(&mut self, prompt: &str) -> Option<String> {
        self.read_line(prompt)
    }
    fn clear(&mut self) {}
    fn set_title(&mut self, title: &str) {
        let _ = title;
    }
    fn progress(&mut self, progress: &Progress<'_>) {
        let _ = progress;
    }
    /// In characters.
    fn width(&self) -> usize {
        120
    }
    /// Whether programs may write to it themselves.
    fn is_screen(&self) -> bool {
        false
    }
}

/// One Write-Progress.
pub struct Progress<'a> {
    pub activity: &'a str,
    pub status: &'a str,
    /// From 0 to 100.
    pub percent: Option<u8>,
    pub completed: bool,
}

/// One column of a host's own tables.
#[derive(Clone, Debug)]
pub struct Cell {
    pub title: String,
    pub text: String,
    /// Numbers stand on the right.
    pub is_number: bool,
}

/// What a command is called and takes.
#[derive(Clone, Debug)]
pub struct CommandInfo {
    pub name: String,
    pub aliases: Vec<String>,
    pub synopsis: String,
    pub module: String,
}

/// A command of a module.
pub trait Command<'h> {
    fn signature(&self) -> Rc<Signature>;
    /// Ready for a pipeline.
    fn start(&self, interpreter: &mut Interpreter<'_>, bound: Bound) -> Outcome<Box<dyn Stage + 'h>>;
}

/// Whoever brings commands: the language knows no subject of its own.
pub trait Module<'h> {
    /// By name or alias, in any case.
    fn command(&self, name: &str) -> Option<Rc<dyn Command<'h> + 'h>>;
    fn commands(&self) -> Vec<CommandInfo>;
    /// The manual of one of its commands.
    fn help(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
    /// The name under which `Import-Module` finds it.
    fn is_called(&self, name: &str) -> bool {
        let _ = name;
        false
    }
    /// Why a command that scripts know from elsewhere is not there, and what to use.
    fn instead_of(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
    /// Runs a command line in a machine that the host knows by this name, with its words, and puts what it writes; nothing: the
    /// module has no machines.
    fn run_in(
        &self,
        interpreter: &mut Interpreter<'_>,
        machine: &str,
        command: (&str, &[String]),
        out: &mut dyn Sink,
    ) -> Option<Outcome> {
        let _ = (interpreter, machine, command, out);
        None
    }
    /// An enumeration by a whole or short name.
    fn enumeration(&self, name: &str) -> Option<Rc<EnumType>> {
        let _ = name;
        None
    }
    /// The whole name of a type of its objects.
    fn class(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
    /// The cells that one of its objects shows in a table by itself.
    fn cells(&self, value: &Value) -> Option<Vec<Cell>> {
        let _ = value;
        None
    }
    /// Whether the user is what scripts call an administrator.
    fn is_administrator(&self) -> bool {
        false
    }
}
