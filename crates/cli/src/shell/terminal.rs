//! Standard input, output and error as the session's terminal.

use super::session::Terminal;
use crate::output::{OutputError, out};
use ireko_manage::Host;
use std::io::{self, BufRead, IsTerminal, Write};

#[derive(Default)]
pub struct Standard {
    failure: Option<OutputError>,
}

impl Terminal for Standard {
    fn output(&mut self, text: &str) -> bool {
        if self.failure.is_none() {
            self.failure = out(text.as_bytes()).err();
        }
        self.failure.is_none()
    }

    fn failure(&mut self) -> Option<OutputError> {
        self.failure.take()
    }

    fn error(&mut self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    fn ask(&mut self, prompt: &str) -> Option<String> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let _ = io::stderr().lock().write_all(prompt.as_bytes());
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(1..) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
            _ => None,
        }
    }

    fn console(&mut self, host: &Host, name: &str) -> anyhow::Result<()> {
        crate::vm::console::attach(host, name).map(drop)
    }

    fn clear(&mut self) {
        if io::stdout().is_terminal() {
            self.output("\x1b[2J\x1b[H");
        }
    }
}
