//! `ireko shell`: PowerShell's language for the operations, at a prompt, in files, and in one line.
//!
//! Text becomes statements in [`parse`], statements are done in [`execute`], a command's name is found in [`command`]
//! and its arguments go to parameters in [`bind`]. Nothing here knows a cmdlet of the table of operations by name.

mod bind;
mod builtin;
mod command;
mod complete;
mod evaluate;
mod execute;
mod fault;
mod interactive;
mod item;
mod operate;
mod parse;
mod session;
mod show;
mod surface;
mod syntax;
mod terminal;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result};
use clap::Args;
use session::Session;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use terminal::Standard;

#[derive(Args)]
pub struct ShellArgs {
    /// Run this line instead of a prompt.
    #[arg(short, long, value_name = "LINE")]
    pub command: bool,
    /// A script and its arguments; with -c, the line and its arguments. Without any, a prompt, or a script on standard input.
    #[arg(value_name = "FILE", trailing_var_arg = true, allow_hyphen_values = true)]
    pub script: Vec<String>,
}

impl ShellArgs {
    fn is_prompt(&self) -> bool {
        !self.command && self.script.is_empty() && std::io::stdin().is_terminal()
    }
}

/// Scripts may nest deeply; each level is some frames.
const STACK: usize = 256 << 20;
const SMALL_STACK: usize = 32 << 20;

pub fn run(args: &ShellArgs) -> Result<ExitCode> {
    let host = crate::vm::host()?;
    if args.is_prompt() {
        // Before there is a second thread, so that the first one holds them too.
        crate::sys::hold_ending_signals();
    }
    let name = |stack| std::thread::Builder::new().name("shell".into()).stack_size(stack);
    let body = || on_own_stack(&host, args);
    std::thread::scope(|scope| {
        // A machine with less memory than that refuses it.
        let shell =
            name(STACK).spawn_scoped(scope, body).or_else(|_| name(SMALL_STACK).spawn_scoped(scope, body));
        let shell = shell.context("no thread for the shell")?;
        shell.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn on_own_stack(host: &ireko_manage::Host, args: &ShellArgs) -> Result<ExitCode> {
    let mut session = Session::new(host, Box::<Standard>::default());
    let code = read_and_run(&mut session, args)?;
    match session.terminal.failure() {
        Some(unwritten) => Err(unwritten.into()),
        None => Ok(ExitCode::from(code)),
    }
}

/// The exit code.
fn read_and_run(session: &mut Session<'_>, args: &ShellArgs) -> Result<u8> {
    let (first, rest) = match args.script.split_first() {
        Some((first, rest)) => (Some(first), rest),
        None => (None, &[][..]),
    };
    let text = match first {
        Some(line) if args.command => line.clone(),
        Some(path) => {
            session.source = path.clone();
            std::fs::File::open(path)
                .and_then(script)
                .with_context(|| format!("cannot read the script {path}"))?
        }
        None if args.command => anyhow::bail!("say what to run: ireko shell -c \"Get-VM\""),
        None if args.is_prompt() => {
            return interactive::run(session).context("the prompt cannot be shown");
        }
        None => script(std::io::stdin()).context("cannot read the script on standard input")?,
    };
    Ok(session.script(&text, rest))
}

/// A script's text, of what has an end.
pub(crate) fn script(from: impl Read) -> std::io::Result<String> {
    const LONGEST: u64 = 16 << 20;
    let mut text = String::new();
    match from.take(LONGEST + 1).read_to_string(&mut text)? as u64 {
        0..=LONGEST => Ok(text),
        _ => Err(std::io::Error::other("it is longer than 16 MiB, which no script is")),
    }
}
