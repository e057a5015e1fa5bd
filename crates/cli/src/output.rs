//! Standard output and error, which may be full, closed, or a pipe whose reader went away. The macros of std panic then.
//!
//! What goes to standard error is for people: if it cannot be written, nothing else changes. What goes to standard output is the
//! result: if it cannot be written, the command has failed; where the reader went away, without a word, as after SIGPIPE.

use crate::closed;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// A line on standard error, if that takes it.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => { $crate::output::say(format_args!($($words)*), "\n") };
}

/// A line on standard output.
#[macro_export]
macro_rules! out {
    ($($words:tt)*) => { $crate::output::out(format!("{}\n", format_args!($($words)*)).as_bytes()) };
}

#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written: {0}")]
pub struct OutputError(#[from] io::Error);

pub fn say(words: Arguments<'_>, end: &str) {
    // In one piece, so that what others write does not come between.
    let _ = io::stderr().lock().write_all(format!("{words}{end}").as_bytes());
}

/// All of it, at once.
pub fn out(bytes: &[u8]) -> Result<(), OutputError> {
    if !bytes.is_empty() {
        is_open()?;
    }
    let mut stdout = io::stdout().lock();
    let mut rest = bytes;
    while !rest.is_empty() {
        match stdout.write(rest) {
            Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
            Ok(count) => rest = &rest[count..],
            Err(error) => wait_or(error)?,
        }
    }
    while let Err(error) = stdout.flush() {
        wait_or(error)?;
    }
    Ok(())
}

fn is_open() -> io::Result<()> {
    if closed::standard_output() { Err(io::Error::from_raw_os_error(libc::EBADF)) } else { Ok(()) }
}

/// What clap has to say instead of arguments: help, the version, or what is wrong.
pub fn instead(words: &clap::Error) -> ExitCode {
    if words.use_stderr() {
        let _ = words.print();
        return ExitCode::from(WRONG_USE);
    }
    match is_open().and_then(|()| words.print()).and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&OutputError(error).into()),
    }
}

/// Somebody who shares the terminal may have told it not to block.
fn wait_or(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::WouldBlock => std::thread::sleep(std::time::Duration::from_millis(1)),
        ErrorKind::Interrupted => (),
        _ => return Err(error),
    }
    Ok(())
}

/// As a shell shows a program that SIGPIPE (13) has ended.
const READER_GONE: u8 = 128 + 13;
/// As clap has it.
const WRONG_USE: u8 = 2;
/// EX_IOERR of sysexits.h.
const NOT_WRITTEN: u8 = 74;

impl OutputError {
    pub fn code(&self) -> ExitCode {
        ExitCode::from(if self.reader_gone() { READER_GONE } else { NOT_WRITTEN })
    }

    fn reader_gone(&self) -> bool {
        self.0.kind() == ErrorKind::BrokenPipe
    }
}

/// Says why a command ends. Of a reader who has seen enough, as `head` in a pipe, only the exit code tells.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<OutputError>() {
        Some(output) if output.reader_gone() => output.code(),
        Some(output) => {
            say!("ireko: {output}");
            output.code()
        }
        None => {
            say!("ireko: {error:#}");
            ExitCode::FAILURE
        }
    }
}
