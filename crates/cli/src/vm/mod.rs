//! `ireko vm …`: the operations as verbs of the command line, the console, and the worker process.

pub mod console;
mod define;
mod log;
mod surface;
mod worker;

pub use define::VmCommand;
pub use surface::TerminalSurface;
pub use worker::{host_side, worker};

use crate::image;
use crate::output::out;
use crate::progress::Progress;
use crate::say;
use anyhow::{Context, Result};
use ireko_manage::operation::View;
use ireko_manage::store::config::StartWith;
use ireko_manage::store::{Config, Store, default_home};
use ireko_manage::worker::ProcessLauncher;
use ireko_manage::{Answer, Host, Record, Value, invoke, render};
use std::process::ExitCode;

/// This host with its store, whose VMs run in workers of this binary.
pub fn host() -> Result<Host> {
    let program = std::env::current_exe().context("cannot find our own binary")?;
    let mut host = Host::new(Store::open(default_home()?)?, Box::new(ProcessLauncher { program }));
    // Where the person can see it: the worker would download in silence.
    host.prepare = Box::new(|config| prepare(config).map_err(|error| format!("{error:#}")));
    Ok(host)
}

/// Of what is downloaded, only what this machine starts with.
fn prepare(config: &Config) -> Result<()> {
    let progress = Progress::new();
    match (config.boot.start_with, &config.boot.kernel) {
        (StartWith::Firmware, _) => {
            image::firmware::know(config.generation, worker::starts_from_network(config), &progress)
        }
        (StartWith::Kernel, Some(_)) => Ok(()),
        (StartWith::Kernel, None) => image::ensure(false, &progress).map(drop),
    }
}

pub fn run(command: &VmCommand) -> Result<ExitCode> {
    let host = host()?;
    let call = match command {
        VmCommand::Console(name) => return console::attach(&host, name),
        VmCommand::Log(log) => return log::show(&host, log),
        VmCommand::Operation(call) => call,
    };
    let mut surface = TerminalSurface::default();
    let answer = invoke(&host, call.operation, &call.arguments, &mut surface);
    show(&answer, call.view, call.json)?;
    let done = answer.errors.is_empty() && !surface.declined;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(answer: &Answer, view: View, json: bool) -> Result<()> {
    for warning in &answer.warnings {
        say!("ireko: warning: {}", lines(warning));
    }
    for error in &answer.errors {
        say!("ireko: {}", lines(&error.message));
    }
    let text = if json {
        serde_json::to_string_pretty(&answer.records)? + "\n"
    } else if view != View::Table {
        answer.records.iter().map(|record| shown(record, view)).collect::<Vec<_>>().join("\n")
    } else {
        render::default_view(&answer.records)
    };
    Ok(out(text.as_bytes())?)
}

fn shown(record: &Record, view: View) -> String {
    let text = (view == View::Text).then(|| record.property("Text").and_then(Value::as_text)).flatten();
    text.map_or_else(|| render::list(record), |text| lines(text.trim_end()) + "\n")
}

/// Lines stay lines; nothing else moves the cursor.
fn lines(text: &str) -> String {
    text.split('\n').map(render::printable).collect::<Vec<_>>().join("\n")
}
