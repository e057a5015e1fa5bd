//! The person at the prompt, as operations see one: what PowerShell's host asks and says.

use ireko_manage::{Question, Surface};
use ireko_script::Interpreter;
use ireko_script::host::Terminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What has been answered for one command, whatever number of objects it is about.
#[derive(Default)]
pub struct Asking {
    for_all: Option<bool>,
    /// A question that nobody was there to answer.
    pub unasked: Option<String>,
}

pub struct Asked<'a> {
    asking: &'a mut Asking,
    terminal: &'a mut dyn Terminal,
    interrupted: Arc<AtomicBool>,
}

impl Asking {
    pub fn on<'a>(&'a mut self, interpreter: &'a mut Interpreter<'_>) -> Asked<'a> {
        let interrupted = interpreter.interrupted.clone();
        Asked { asking: self, terminal: interpreter.terminal.as_mut(), interrupted }
    }
}

const CHOICES: &str = "[Y] Yes  [A] Yes to All  [N] No  [L] No to All  [?] Help (default is \"Y\"): ";
const HELP: &str = "Y - Do this one.\nA - Do this one and all that follow.\nN - Leave this one out.\n\
                    L - Leave this one out and all that follow.\n";

impl Surface for Asked<'_> {
    fn say(&mut self, text: &str) {
        let lines: String = text.lines().map(|line| ireko_manage::render::printable(line) + "\n").collect();
        self.terminal.output(&lines);
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn confirm(&mut self, question: &Question) -> bool {
        if let Some(answer) = self.asking.for_all {
            return answer;
        }
        let text = ireko_manage::render::printable(&question.text);
        let mut prompt = format!("\n{}\n{text}\n{CHOICES}", question.title);
        loop {
            let Some(line) = self.terminal.ask(&prompt) else {
                self.asking.unasked = Some(question.text.clone());
                return false;
            };
            let (answer, all) = match line.trim().to_lowercase().as_str() {
                "" | "y" | "yes" => (true, false),
                "a" | "yes to all" => (true, true),
                "n" | "no" => (false, false),
                "l" | "no to all" => (false, true),
                _ => {
                    prompt = format!("{HELP}{CHOICES}");
                    continue;
                }
            };
            self.asking.for_all = all.then_some(answer);
            return answer;
        }
    }
}
