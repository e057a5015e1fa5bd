//! The measured side: a process that runs one kernel when a line asks for it, and, level by level, starts the VM
//! in which the next such process runs.
//!
//! A request is a line `DEPTH WORD`. Depth 0 is this machine; others go to the next level, one less. A word is a
//! kernel's name or `hello`. An answer is one line: a prefix and JSON.

use super::kernels::{self, Timer};
use super::peer::{Conversation, Setting};
use crate::facts::{self, Facts};
use crate::sys;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Duration;

/// What every answer begins with, so that other lines on the same console are told apart.
pub const PREFIX: &str = "@bench ";
/// Asks for a level's `Ready`; starts the level if it does not run.
pub const HELLO: &str = "hello";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    Ready { facts: Box<Facts> },
    Measured { kernel: String, nanoseconds: u64, check: u64 },
    Failed { error: String },
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

/// Serves requests from standard input until it ends. `levels` may be asked, this one included.
pub fn serve(levels: u32) -> ExitCode {
    let stdin = io::stdin();
    if let Ok(modes) = sys::terminal_modes(stdin.as_raw_fd()) {
        let _ = sys::set_terminal_modes(stdin.as_raw_fd(), &modes.raw());
    }
    let mut next = None;
    say(&ready());
    for line in stdin.lock().lines().map_while(Result::ok) {
        let answer = answer(line.trim(), levels, &mut next)
            .unwrap_or_else(|error| Answer::Failed { error: format!("{error:#}") });
        say(&answer);
    }
    ExitCode::SUCCESS
}

fn say(answer: &Answer) {
    let mut stdout = io::stdout().lock();
    // Nobody to tell it to if this fails.
    let _ = stdout.write_all(format!("{}\n", answer.to_line()).as_bytes()).and_then(|()| stdout.flush());
}

fn ready() -> Answer {
    Answer::Ready { facts: Box::new(facts::read()) }
}

fn answer(request: &str, levels: u32, next: &mut Option<Conversation>) -> Result<Answer> {
    let (depth, word) = request.split_once(' ').with_context(|| format!("{request:?} is no request"))?;
    match depth.parse::<u32>()? {
        0 if word == HELLO => Ok(ready()),
        0 => measure(word),
        depth if depth >= levels => {
            bail!("level +{depth} was asked, but this one has {} below it", levels - 1)
        }
        depth => forward(depth - 1, word, levels - 1, next),
    }
}

fn measure(name: &str) -> Result<Answer> {
    let kernel = kernels::find(name).with_context(|| format!("there is no kernel {name:?}"))?;
    let mut timer = Timer::default();
    let check = (kernel.run)(&mut timer, kernel.operations).with_context(|| kernel.name.to_owned())?;
    Ok(Answer::Measured { kernel: name.to_owned(), nanoseconds: timer.elapsed.as_nanos() as u64, check })
}

/// Nobody waits here for ever: who asked us gives up first.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

fn forward(depth: u32, word: &str, levels: u32, next: &mut Option<Conversation>) -> Result<Answer> {
    if next.is_none() {
        let child = Conversation::start(&Setting::inner(levels), PATIENCE).context("the next level")?;
        let first = child.ready();
        *next = Some(child);
        if (depth, word) == (0, HELLO) {
            return Ok(first);
        }
    }
    let child = next.as_mut().context("the next level does not run")?;
    child.ask(depth, word, PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_survives_its_line() {
        let answer = Answer::Measured { kernel: "sieve".into(), nanoseconds: 7, check: u64::MAX };
        assert_eq!(Answer::from_line(&format!("[ 1.0] x {}\r", answer.to_line())), Some(answer));
    }

    #[test]
    fn a_level_that_is_not_there_is_refused() {
        assert!(answer("1 sieve", 1, &mut None).is_err());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for request in ["", "sieve", "x sieve", "0 nothing", "-1 sieve"] {
            assert!(answer(request, 2, &mut None).is_err(), "{request:?}");
        }
    }
}
