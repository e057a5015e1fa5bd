//! `ireko shell`: PowerShell's language for the operations, at a prompt, in files, and in one line.
//!
//! The language is `ireko_script`'s. Here it gets the table of operations as its commands ([`module`], [`operation`]), records as
//! its objects ([`value`]), and a person ([`session`], [`terminal`], [`interactive`]). Nothing here knows a cmdlet of the table by
//! name.

mod complete;
mod enter;
mod help;
mod interactive;
mod module;
mod native;
mod operation;
mod reference;
mod session;
mod signature;
mod surface;
mod terminal;
#[cfg(test)]
mod tests;
mod value;

use anyhow::{Context, Result};
use clap::Args;
use ireko_script::interpret::{read_script, script_file};
use session::Session;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use terminal::{Activity, Standard};

#[derive(Args)]
pub struct ShellArgs {
    /// Run this line instead of a prompt.
    #[arg(short, long, value_name = "LINE")]
    pub command: bool,
    /// Print which cmdlets and parameters of Hyper-V's module are there, as docs/cmdlets.md has them.
    #[arg(long, exclusive = true)]
    pub cmdlets: bool,
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
    if args.cmdlets {
        crate::output::out(reference::markdown().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let host = crate::vm::host()?;
    // Before there is a second thread, so that the first one holds them too.
    crate::sys::hold_ending_signals();
    let name = |stack| std::thread::Builder::new().name("shell".into()).stack_size(stack);
    std::thread::scope(|scope| {
        // A machine with less memory than that refuses it.
        let large = name(STACK).spawn_scoped(scope, || on_own_stack(&host, args, STACK));
        let shell = large
            .or_else(|_| name(SMALL_STACK).spawn_scoped(scope, || on_own_stack(&host, args, SMALL_STACK)));
        let shell = shell.context("no thread for the shell")?;
        shell.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn on_own_stack(host: &ireko_manage::Host, args: &ShellArgs, stack: usize) -> Result<ExitCode> {
    let terminal = Standard::default();
    let activity = terminal.activity.clone();
    let mut session = Session::new(host, Box::new(terminal));
    session.allow_stack(stack / 4 * 3);
    if !args.is_prompt() {
        activity.reading.store(true, Ordering::Relaxed);
        interactive::heed_interrupts(session.interrupted.clone(), activity.clone());
    }
    let code = read_and_run(&mut session, args, &activity)?;
    match session.terminal.failure() {
        Some(unwritten) => Err(unwritten.into()),
        None => Ok(ExitCode::from(code)),
    }
}

/// The exit code.
fn read_and_run(session: &mut Session<'_>, args: &ShellArgs, activity: &Activity) -> Result<u8> {
    let (first, rest) = match args.script.split_first() {
        Some((first, rest)) => (Some(first), rest),
        None => (None, &[][..]),
    };
    let mut path = String::new();
    let text = match first {
        Some(line) if args.command => line.clone(),
        Some(name) => {
            let found = script_file(name).unwrap_or_else(|| name.into());
            path = found.display().to_string();
            std::fs::File::open(&found)
                .and_then(read_script)
                .with_context(|| format!("cannot read the script {name}"))?
        }
        None if args.command => anyhow::bail!("say what to run: ireko shell -c \"Get-VM\""),
        None if args.is_prompt() => {
            return interactive::run(session).context("the prompt cannot be shown");
        }
        None => read_script(std::io::stdin()).context("cannot read the script on standard input")?,
    };
    activity.reading.store(false, Ordering::Relaxed);
    Ok(session.script_of(&path, &text, rest))
}
