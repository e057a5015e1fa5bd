//! One session of the shell: the language, the operations as its commands, and the person at the other end.

use super::module::HyperV;
use crate::output::OutputError;
use crate::vm::ssh;
use ireko_manage::Host;
use ireko_script::Interpreter;
use ireko_script::host::{self, Progress};
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// Who reads and answers.
pub trait Terminal {
    /// False when nobody reads any more.
    fn output(&mut self, text: &str) -> bool;
    /// Why nobody reads any more.
    fn failure(&mut self) -> Option<OutputError> {
        None
    }
    fn error(&mut self, text: &str);
    /// A person's answer, or nothing where there is nobody to ask.
    fn ask(&mut self, prompt: &str) -> Option<String>;
    /// A line for Read-Host, from whoever writes it.
    fn read_line(&mut self, prompt: &str) -> Option<String> {
        self.ask(prompt)
    }
    fn read_secret(&mut self, prompt: &str) -> Option<String> {
        self.read_line(prompt)
    }
    /// Gives the terminal to a VM's console until the person leaves it.
    fn console(&mut self, host: &Host, name: &str) -> anyhow::Result<()>;
    /// Gives the terminal to a shell in a VM; its exit code.
    fn enter(&mut self, host: &Host, session: &ssh::Session) -> anyhow::Result<i32>;
    fn clear(&mut self) {}
    fn set_title(&mut self, title: &str) {
        let _ = title;
    }
    fn progress(&mut self, progress: &Progress<'_>) {
        let _ = progress;
    }
    fn is_screen(&self) -> bool {
        false
    }
}

/// The language and our own commands write to the same one.
pub struct SharedTerminal<'h>(RefCell<Box<dyn Terminal + 'h>>);

impl SharedTerminal<'_> {
    pub fn failure(&self) -> Option<OutputError> {
        self.0.borrow_mut().failure()
    }

    pub fn console(&self, host: &Host, name: &str) -> anyhow::Result<()> {
        self.0.borrow_mut().console(host, name)
    }

    pub fn enter(&self, host: &Host, session: &ssh::Session) -> anyhow::Result<i32> {
        self.0.borrow_mut().enter(host, session)
    }

    pub fn error(&self, text: &str) {
        self.0.borrow_mut().error(text);
    }
}

struct Lent<'h>(Rc<SharedTerminal<'h>>);

impl host::Terminal for Lent<'_> {
    fn output(&mut self, text: &str) -> bool {
        self.0.0.borrow_mut().output(text)
    }
    fn error(&mut self, text: &str) {
        self.0.0.borrow_mut().error(text);
    }
    fn ask(&mut self, prompt: &str) -> Option<String> {
        self.0.0.borrow_mut().ask(prompt)
    }
    fn read_line(&mut self, prompt: &str) -> Option<String> {
        self.0.0.borrow_mut().read_line(prompt)
    }
    fn read_secret(&mut self, prompt: &str) -> Option<String> {
        self.0.0.borrow_mut().read_secret(prompt)
    }
    fn clear(&mut self) {
        self.0.0.borrow_mut().clear();
    }
    fn set_title(&mut self, title: &str) {
        self.0.0.borrow_mut().set_title(title);
    }
    fn progress(&mut self, progress: &Progress<'_>) {
        self.0.0.borrow_mut().progress(progress);
    }
    fn is_screen(&self) -> bool {
        self.0.0.borrow().is_screen()
    }
}

pub struct Session<'h> {
    pub host: &'h Host,
    pub terminal: Rc<SharedTerminal<'h>>,
    interpreter: Interpreter<'h>,
}

impl<'h> Session<'h> {
    pub fn new(host: &'h Host, terminal: Box<dyn Terminal + 'h>) -> Self {
        let terminal = Rc::new(SharedTerminal(RefCell::new(terminal)));
        let mut interpreter = Interpreter::new(Box::new(Lent(terminal.clone())));
        interpreter.modules.push(Rc::new(HyperV { host, terminal: terminal.clone() }));
        Self { host, terminal, interpreter }
    }

    /// A script of a file or of a line, with its arguments; gives the exit code.
    pub fn script_of(&mut self, path: &str, text: &str, arguments: &[String]) -> u8 {
        self.interpreter.script(text, path, arguments)
    }

    #[cfg(test)]
    pub fn script(&mut self, text: &str, arguments: &[String]) -> u8 {
        self.script_of("", text, arguments)
    }
}

impl<'h> Deref for Session<'h> {
    type Target = Interpreter<'h>;

    fn deref(&self) -> &Self::Target {
        &self.interpreter
    }
}

impl DerefMut for Session<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.interpreter
    }
}
