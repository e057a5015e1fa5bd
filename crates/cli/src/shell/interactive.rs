//! The prompt: editing, history in the store's directory, completion, statements over several lines.

use super::complete::{Known, complete};
use super::session::Session;
use super::terminal::Activity;
use crate::sys;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PROMPT: &str = "ireko> ";
const HISTORY: &str = "shell_history";
const KEPT: usize = 2000;

const WELCOME: &str =
    "Ireko's shell. Get-Help says what there is, Get-Help Start-VM explains one cmdlet, exit ends.\n";

/// Reads and runs until `exit` or the end of input; gives the exit code.
pub fn run(session: &mut Session<'_>) -> rustyline::Result<u8> {
    session.interactive = true;
    heed_interrupts(session.interrupted.clone(), Arc::default());
    let config = Config::builder().completion_type(CompletionType::List).max_history_size(KEPT)?.build();
    let mut editor: Editor<Line, FileHistory> = Editor::with_config(config)?;
    let history = session.host.store.home().join(HISTORY);
    // The first time there is none.
    let _ = editor.load_history(&history);
    session.terminal.error(WELCOME);
    loop {
        editor.set_helper(Some(Line { known: known(session) }));
        match editor.readline(PROMPT) {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                let _ = editor.add_history_entry(line.as_str());
                // Now, because the terminal may be closed at any time.
                let _ = editor.append_history(&history);
                session.interrupted.store(false, Ordering::Relaxed);
                if let Some(code) = session.line(&line) {
                    return Ok(code);
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(u8::from(!session.fine)),
            Err(error) => return Err(error),
        }
    }
}

fn known(session: &Session<'_>) -> Known {
    Known {
        vms: session.host.names(),
        variables: session.context.scope.names().iter().map(|name| name.to_string()).collect(),
        functions: session
            .context
            .scope
            .own_functions()
            .iter()
            .map(|function| function.name.to_string())
            .collect(),
    }
}

/// Ctrl-C ends what runs, at its next statement; a second one ends the shell, and so does the first one while the shell waits for
/// its input. All threads hold these signals.
pub fn heed_interrupts(interrupted: Arc<AtomicBool>, activity: Arc<Activity>) {
    const PATIENCE: Duration = Duration::from_millis(500);
    let watch = move || {
        loop {
            let signal = sys::next_ending_signal();
            let again = interrupted.swap(true, Ordering::Relaxed);
            let writes = activity.writes.load(Ordering::Relaxed);
            if writes % 2 == 1 && !again {
                std::thread::sleep(PATIENCE);
            }
            // Nobody reads what it writes.
            let stuck = writes % 2 == 1 && activity.writes.load(Ordering::Relaxed) == writes;
            if again || stuck || signal != libc::SIGINT || activity.reading.load(Ordering::Relaxed) {
                std::process::exit(128 + signal);
            }
        }
    };
    // Without it Ctrl-C does nothing; that is no reason to give up the shell.
    let _ = std::thread::Builder::new().name("signals".into()).spawn(watch);
}

struct Line {
    known: Known,
}

impl Helper for Line {}
impl Highlighter for Line {}

impl Hinter for Line {
    type Hint = String;
}

impl Completer for Line {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(line, at, &self.known))
    }
}

impl Validator for Line {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match ireko_script::parse::script(context.input(), "") {
            Err(error) if error.incomplete => ValidationResult::Incomplete,
            // What is wrong is told when it runs.
            _ => ValidationResult::Valid(None),
        })
    }
}
