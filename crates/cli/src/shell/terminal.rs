//! Standard input, output and error as the session's terminal.

use super::session::Terminal;
use crate::output::{OutputError, out};
use crate::sys;
use crate::vm::ssh::Session;
use ireko_manage::Host;
use ireko_script::host::Progress;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the shell may be held up in.
#[derive(Default)]
pub struct Activity {
    /// It waits for somebody's line.
    pub reading: AtomicBool,
    /// How often it has begun or finished to write: odd while it writes.
    pub writes: AtomicU64,
}

#[derive(Default)]
pub struct Standard {
    failure: Option<OutputError>,
    /// The line of a bar is not at its end.
    bar: bool,
    pub activity: Arc<Activity>,
}

impl Standard {
    fn say(&mut self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    fn end_bar(&mut self) {
        if std::mem::take(&mut self.bar) {
            self.say("\r\x1b[K");
        }
    }
}

impl Terminal for Standard {
    fn output(&mut self, text: &str) -> bool {
        self.end_bar();
        if self.failure.is_none() {
            self.activity.writes.fetch_add(1, Ordering::Relaxed);
            self.failure = out(text.as_bytes()).err();
            self.activity.writes.fetch_add(1, Ordering::Relaxed);
        }
        self.failure.is_none()
    }

    fn failure(&mut self) -> Option<OutputError> {
        self.failure.take()
    }

    fn error(&mut self, text: &str) {
        self.end_bar();
        self.say(text);
    }

    fn ask(&mut self, prompt: &str) -> Option<String> {
        if io::stdin().is_terminal() { self.read_line(prompt) } else { None }
    }

    fn read_line(&mut self, prompt: &str) -> Option<String> {
        self.end_bar();
        self.say(prompt);
        let mut line = String::new();
        self.activity.reading.store(true, Ordering::Relaxed);
        let read = io::stdin().lock().read_line(&mut line);
        self.activity.reading.store(false, Ordering::Relaxed);
        match read {
            Ok(1..) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
            _ => None,
        }
    }

    fn read_secret(&mut self, prompt: &str) -> Option<String> {
        let stdin = io::stdin();
        let modes = stdin.is_terminal().then(|| sys::terminal_modes(stdin.as_raw_fd()).ok()).flatten();
        let Some(modes) = modes else { return self.read_line(prompt) };
        let _ = sys::set_terminal_modes(stdin.as_raw_fd(), &modes.silent());
        let line = self.read_line(prompt);
        let _ = sys::set_terminal_modes(stdin.as_raw_fd(), &modes);
        self.say("\n");
        line
    }

    fn console(&mut self, host: &Host, name: &str) -> anyhow::Result<()> {
        crate::vm::console::attach(host, name).map(drop)
    }

    fn enter(&mut self, host: &Host, session: &Session) -> anyhow::Result<i32> {
        let name = session.name.replace('\'', "''");
        if !self.is_screen() {
            anyhow::bail!(
                "A shell in '{}' needs a terminal; Invoke-Command -VMName '{name}' {{ … }} runs a command without one",
                session.name
            );
        }
        self.end_bar();
        crate::vm::ssh::wait(host, session)
    }

    fn clear(&mut self) {
        if io::stdout().is_terminal() {
            self.output("\x1b[2J\x1b[H");
        }
    }

    fn set_title(&mut self, title: &str) {
        if io::stdout().is_terminal() {
            self.output(&format!("\x1b]0;{title}\x07"));
        }
    }

    fn progress(&mut self, progress: &Progress<'_>) {
        const WIDTH: usize = 30;
        if !io::stderr().is_terminal() {
            return;
        }
        self.end_bar();
        if progress.completed {
            return;
        }
        let bar = progress.percent.map_or(String::new(), |percent| {
            let full = WIDTH * usize::from(percent) / 100;
            format!(" [{}{}] {percent}%", "#".repeat(full), " ".repeat(WIDTH - full))
        });
        let text = format!("{} {}{bar}", progress.activity, progress.status);
        self.say(&text.chars().take(100).collect::<String>());
        self.bar = true;
    }

    fn is_screen(&self) -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }
}
