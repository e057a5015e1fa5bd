//! The measured side: a process that runs one kernel when a line asks for it, and, level by level, starts the VM
//! in which the next such process runs.
//!
//! A request is a line `DEPTH WORD`. Depth 0 is this machine; others go to the next level, one less. A word is a
//! kernel's or program's name or `hello`. An answer is one line: a prefix and JSON.

use super::kernels::{self, Timer};
use super::peer::{Conversation, Setting};
use super::programs::{self, Inside};
use crate::facts::{self, Facts};
use crate::sys;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What every answer begins with, so that other lines on the same console are told apart.
pub const PREFIX: &str = "@bench ";
/// Asks for a level's `Ready`; starts the level if it does not run.
pub const HELLO: &str = "hello";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    Ready {
        facts: Box<Facts>,
    },
    /// `check` is a kernel's number, or what a program said.
    Measured {
        kernel: String,
        nanoseconds: u64,
        check: String,
    },
    Failed {
        error: String,
    },
}

impl Answer {
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self).expect("answers have only string keys and plain values");
        format!("{PREFIX}{json}")
    }

    /// The answer in a console line; `None` for lines that are something else.
    pub fn from_line(line: &str) -> Option<Self> {
        let start = line.find(PREFIX)?;
        serde_json::from_str(line[start + PREFIX.len()..].trim()).ok()
    }
}

/// Serves requests from standard input until it ends. `levels` may be asked, this one included. Programs run in `root`, a directory or
/// a disk.
pub fn serve(levels: u32, root: Option<&Path>) -> ExitCode {
    let stdin = io::stdin();
    if let Ok(modes) = sys::terminal_modes(stdin.as_raw_fd()) {
        let _ = sys::set_terminal_modes(stdin.as_raw_fd(), &modes.raw());
    }
    let mut probe = match Probe::new(levels, root) {
        Ok(probe) => probe,
        Err(error) => {
            say(&failed(&error));
            return ExitCode::FAILURE;
        }
    };
    say(&ready());
    for line in stdin.lock().lines().map_while(Result::ok) {
        say(&probe.answer(line.trim()).unwrap_or_else(|error| failed(&error)));
    }
    ExitCode::SUCCESS
}

fn failed(error: &anyhow::Error) -> Answer {
    Answer::Failed { error: format!("{error:#}") }
}

fn say(answer: &Answer) {
    let mut stdout = io::stdout().lock();
    // Nobody to tell it to if this fails.
    let _ = stdout.write_all(format!("{}\n", answer.to_line()).as_bytes()).and_then(|()| stdout.flush());
}

fn ready() -> Answer {
    Answer::Ready { facts: Box::new(facts::read()) }
}

/// Nobody waits here for ever: who asked us gives up first.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// What serves requests.
struct Probe {
    levels: u32,
    programs: Option<Inside>,
    /// The disk with programs, for the next level.
    disk: Option<PathBuf>,
    next: Option<Conversation>,
}

impl Probe {
    fn new(levels: u32, root: Option<&Path>) -> Result<Self> {
        let programs = root.map(Inside::enter).transpose()?;
        let disk = root.filter(|root| !root.is_dir()).map(Path::to_owned);
        if programs.is_some() {
            // As many as guests have.
            sys::keep_to_one_processor().context("cannot keep to one processor")?;
        }
        Ok(Self { levels, programs, disk, next: None })
    }

    fn answer(&mut self, request: &str) -> Result<Answer> {
        let (depth, word) = request.split_once(' ').with_context(|| format!("{request:?} is no request"))?;
        match depth.parse::<u32>()? {
            0 if word == HELLO => Ok(ready()),
            0 => self.measure(word),
            depth if depth >= self.levels => {
                bail!("level +{depth} was asked, but this one has {} below it", self.levels - 1)
            }
            depth => self.forward(depth - 1, word),
        }
    }

    fn measure(&self, name: &str) -> Result<Answer> {
        let answer = |taken: Duration, check| Answer::Measured {
            kernel: name.to_owned(),
            nanoseconds: taken.as_nanos() as u64,
            check,
        };
        if let Some(script) = programs::find(name) {
            let inside = self.programs.as_ref().with_context(|| format!("there is no {name:?} here"))?;
            let (taken, said) = inside.run(script)?;
            return Ok(answer(taken, said));
        }
        let (run, operations) =
            kernels::find(name).with_context(|| format!("there is no kernel {name:?}"))?;
        let mut timer = Timer::default();
        let check = run(&mut timer, operations).with_context(|| name.to_owned())?;
        Ok(answer(timer.elapsed, format!("{check:#x}")))
    }

    fn forward(&mut self, depth: u32, word: &str) -> Result<Answer> {
        if self.next.is_none() {
            let setting = Setting::inner(self.levels - 1, self.disk.as_deref());
            let child = Conversation::start(&setting, PATIENCE).context("the next level")?;
            let first = child.ready();
            self.next = Some(child);
            if (depth, word) == (0, HELLO) {
                return Ok(first);
            }
        }
        let child = self.next.as_mut().context("the next level does not run")?;
        child.ask(depth, word, PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_survives_its_line() {
        let answer = Answer::Measured { kernel: "sieve".into(), nanoseconds: 7, check: "a \"b\"\n".into() };
        assert_eq!(Answer::from_line(&format!("[ 1.0] x {}\r", answer.to_line())), Some(answer));
    }

    fn refused(request: &str, levels: u32) -> bool {
        Probe::new(levels, None).unwrap().answer(request).is_err()
    }

    #[test]
    fn a_level_that_is_not_there_is_refused() {
        assert!(refused("1 sieve", 1));
    }

    #[test]
    fn a_program_without_its_root_is_refused() {
        assert!(refused("0 gcc", 1));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for request in ["", "sieve", "x sieve", "0 nothing", "-1 sieve"] {
            assert!(refused(request, 2), "{request:?}");
        }
    }
}
