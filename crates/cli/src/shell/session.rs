//! One session: its variables, functions, errors, and the person at the other end.

use super::fault::{Fault, Flow};
use super::item::{Item, NULL};
use super::show;
use super::syntax::Block;
use crate::output::OutputError;
use ireko_manage::{Host, Value, render};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who reads and answers.
pub trait Terminal {
    /// False when nobody reads any more.
    fn output(&mut self, text: &str) -> bool;
    /// Why nobody reads any more.
    fn failure(&mut self) -> Option<OutputError> {
        None
    }
    fn error(&mut self, text: &str);
    /// A line, or nothing where there is nobody to ask.
    fn ask(&mut self, prompt: &str) -> Option<String>;
    /// Gives the terminal to a VM's console until the person leaves it.
    fn console(&mut self, host: &Host, name: &str) -> anyhow::Result<()>;
    fn clear(&mut self) {}
}

/// What is done with errors that do not end a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorAction {
    Continue,
    Stop,
    SilentlyContinue,
    Ignore,
}

impl ErrorAction {
    pub fn word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "continue" | "inquire" | "2" | "3" => Self::Continue,
            "stop" | "1" => Self::Stop,
            "silentlycontinue" | "0" => Self::SilentlyContinue,
            "ignore" | "4" => Self::Ignore,
            _ => return None,
        })
    }
}

/// What holds while one command runs.
#[derive(Default)]
pub struct Preferences {
    pub errors: Option<ErrorAction>,
    pub silent_warnings: bool,
    /// Errors and warnings for `-ErrorVariable` and `-WarningVariable`.
    pub noted: Vec<Item>,
    pub warned: Vec<Item>,
}

pub struct Session<'a> {
    pub host: &'a Host,
    pub terminal: Box<dyn Terminal + 'a>,
    pub scopes: Vec<BTreeMap<String, Item>>,
    pub functions: BTreeMap<String, Rc<Block>>,
    /// The newest first.
    pub errors: Vec<Item>,
    /// `$?`: no error in the last pipeline.
    pub fine: bool,
    /// Errors that were printed.
    pub printed: usize,
    /// Inside `try`.
    pub trying: usize,
    /// Calls within calls.
    pub depth: usize,
    pub preferences: Vec<Preferences>,
    /// The script's name, for messages.
    pub source: String,
    pub interactive: bool,
    /// Somebody has pressed Ctrl-C.
    pub interrupted: Arc<AtomicBool>,
}

/// Where results go.
pub enum Output {
    Print,
    Collect(Vec<Item>),
}

/// How many errors `$Error` keeps.
const KEPT: usize = 256;

impl<'a> Session<'a> {
    pub fn new(host: &'a Host, terminal: Box<dyn Terminal + 'a>) -> Self {
        Self {
            host,
            terminal,
            scopes: vec![BTreeMap::new()],
            functions: BTreeMap::new(),
            errors: Vec::new(),
            fine: true,
            printed: 0,
            trying: 0,
            depth: 0,
            preferences: Vec::new(),
            source: String::new(),
            interactive: false,
            interrupted: Arc::default(),
        }
    }

    /// Whether to go on.
    pub fn heed(&self) -> Result<(), Flow> {
        if self.interrupted.load(Ordering::Relaxed) { Err(Flow::Interrupted) } else { Ok(()) }
    }

    pub fn variable(&self, name: &str) -> Item {
        let name = name.to_lowercase();
        if let Some((scope, own)) = name.split_once(':') {
            return match scope {
                "env" => own_environment(own),
                "global" | "script" | "local" | "private" | "variable" => self.variable(own),
                _ => NULL,
            };
        }
        match name.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            "null" => NULL,
            "?" => self.fine.into(),
            "error" => Item::List(self.errors.clone()),
            "psitem" => self.variable("_"),
            "home" => own_environment("home"),
            "pid" => i64::from(std::process::id()).into(),
            "pwd" => std::env::current_dir().map_or(NULL, |path| path.display().to_string().into()),
            _ => {
                let found = self.scopes.iter().rev().find_map(|scope| scope.get(&name));
                found.cloned().unwrap_or_else(|| preset(&name))
            }
        }
    }

    pub fn set_variable(&mut self, name: &str, item: Item) -> Result<(), Flow> {
        let name = name.to_lowercase();
        let (scope, own) = name.split_once(':').unwrap_or(("", &name));
        if matches!(own, "true" | "false" | "null" | "?" | "error" | "psitem" | "pid" | "home")
            || scope == "env"
        {
            let message = format!("Cannot overwrite variable {name} because it is read-only or constant.");
            return Err(Fault::runtime("VariableNotWritable", message).into());
        }
        let at = if matches!(scope, "global" | "script") { 0 } else { self.scopes.len() - 1 };
        self.scopes[at].insert(own.to_owned(), item);
        Ok(())
    }

    /// A variable of our own making.
    pub fn note_variable(&mut self, name: &str, item: Item) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_lowercase(), item);
        }
    }

    pub fn print(&mut self, text: &str) -> Result<(), Flow> {
        if text.is_empty() || self.terminal.output(text) { Ok(()) } else { Err(Flow::Unheard) }
    }

    pub fn put(&mut self, out: &mut Output, items: Vec<Item>) -> Result<(), Flow> {
        match out {
            Output::Collect(all) => {
                all.extend(items);
                Ok(())
            }
            Output::Print => self.print(&show::default_view(&items)),
        }
    }

    pub fn warn(&mut self, text: &str) {
        let silent = self.preferences.iter().any(|preference| preference.silent_warnings)
            || ErrorAction::word(&self.variable("WarningPreference").text())
                .is_some_and(|action| matches!(action, ErrorAction::SilentlyContinue | ErrorAction::Ignore));
        if let Some(preference) = self.preferences.last_mut() {
            preference.warned.push(text.into());
        }
        if !silent {
            let lines: String = text.lines().map(|line| render::printable(line) + "\n").collect();
            self.terminal.error(&format!("WARNING: {lines}"));
        }
    }

    pub fn preference(&self) -> ErrorAction {
        ErrorAction::word(&self.variable("ErrorActionPreference").text()).unwrap_or(ErrorAction::Continue)
    }

    /// An error that does not end the statement, unless somebody wants that.
    pub fn report(&mut self, fault: Fault) -> Result<(), Flow> {
        let asked_for = self.preferences.iter().rev().find_map(|preference| preference.errors);
        let action = asked_for.unwrap_or_else(|| self.preference());
        if let Some(preference) = self.preferences.last_mut() {
            preference.noted.push(fault.record().into());
        }
        match action {
            ErrorAction::Stop => Err(Fault { ends_script: true, ..fault }.into()),
            ErrorAction::Continue => {
                self.remember(&fault);
                self.show(&fault);
                Ok(())
            }
            ErrorAction::SilentlyContinue => {
                self.remember(&fault);
                Ok(())
            }
            ErrorAction::Ignore => {
                self.fine = false;
                Ok(())
            }
        }
    }

    pub fn remember(&mut self, fault: &Fault) {
        self.fine = false;
        self.errors.insert(0, fault.record().into());
        self.errors.truncate(KEPT);
    }

    pub fn show(&mut self, fault: &Fault) {
        self.fine = false;
        self.printed += 1;
        let text = fault.print(&self.source);
        self.terminal.error(&text);
    }
}

/// The environment in any case, as on Windows.
fn own_environment(name: &str) -> Item {
    let found = std::env::vars_os().find(|(own, _)| own.to_string_lossy().eq_ignore_ascii_case(name));
    found.map_or(NULL, |(_, value)| value.to_string_lossy().into_owned().into())
}

/// What preference variables say before somebody sets them.
fn preset(name: &str) -> Item {
    match name {
        "erroractionpreference" | "warningpreference" => "Continue".into(),
        "confirmpreference" => "High".into(),
        "whatifpreference" => false.into(),
        "psversiontable" => Item::Map(vec![
            ("PSVersion".into(), "5.1".into()),
            ("PSEdition".into(), "Ireko".into()),
            ("IrekoVersion".into(), env!("CARGO_PKG_VERSION").into()),
        ]),
        "lastexitcode" => Item::Value(Value::Int(0)),
        _ => NULL,
    }
}
