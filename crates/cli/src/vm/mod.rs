//! `ireko vm …`: the operations as verbs of the command line, the console, and the worker process.

mod capture;
pub mod console;
mod define;
mod ip;
mod log;
pub mod ssh;
mod surface;
mod vsock;
mod words;
mod worker;

use define::{Call, Then};
pub use define::{DiskCommand, SwitchCommand, VmCommand};
pub use surface::TerminalSurface;
pub use worker::{folder, host_side, mount, router, router_sandboxed, worker};

use words::for_command_line;

use crate::image;
use crate::output::out;
use crate::progress::Progress;
use crate::say;
use anyhow::{Context, Result};
use ireko_manage::operation::{Operation, View};
use ireko_manage::store::config::StartWith;
use ireko_manage::store::{Config, Store, default_home};
use ireko_manage::value::Kind;
use ireko_manage::worker::ProcessLauncher;
use ireko_manage::{Answer, Failure, Host, Record, Value, invoke, render};
use std::process::ExitCode;

/// This host with its store, whose VMs run in workers of this binary.
pub fn host() -> Result<Host> {
    let program = std::env::current_exe().context("cannot find our own binary")?;
    let mut host = Host::new(Store::open(default_home()?)?, Box::new(ProcessLauncher { program }));
    // Where the person can see it: the worker would download in silence.
    host.prepare = Box::new(|config| prepare(config).map_err(|error| format!("{error:#}")));
    host.systems = Box::new(|name, directory| image::os::ensure(name, directory, &Progress::new()));
    host.installers =
        Box::new(|name, answers, more| image::os::installer::files(name, answers, more, &Progress::new()));
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
    match command {
        VmCommand::Console(name) => console::attach(&host, name),
        VmCommand::Log(log) => log::show(&host, log),
        VmCommand::Ssh(session) => ssh::begin(&host, session),
        VmCommand::Ip(asked) => ip::show(&host, asked),
        VmCommand::Vsock(port) => vsock::join(&host, port),
        VmCommand::Operation(call) => operate(&host, call),
    }
}

/// `ireko disk …`.
pub fn run_disk(DiskCommand(call): &DiskCommand) -> Result<ExitCode> {
    operate(&host()?, call)
}

/// `ireko switch …`.
pub fn run_switch(command: &SwitchCommand) -> Result<ExitCode> {
    let host = host()?;
    match command {
        SwitchCommand::Operation(call) => operate(&host, call),
        SwitchCommand::Capture(capture) => capture::run(&host, capture),
    }
}

fn operate(host: &Host, call: &Call) -> Result<ExitCode> {
    let mut surface = TerminalSurface { of: Some(call.operation), ..TerminalSurface::default() };
    let answer = invoke(host, call.operation, &call.arguments, &mut surface);
    show(&answer, call)?;
    let done = answer.errors.is_empty() && !surface.declined;
    let id = answer.records.first().and_then(|record| record.property("Id"));
    let id = id.map(ToString::to_string).unwrap_or_default();
    match call.then {
        Some(Then::Console) if done => console::attach(host, &id),
        Some(Then::Ssh) if done => {
            say!("ireko: waiting for its system to listen; Ctrl-C ends the wait, and not the machine");
            let (user, command) = (None, Vec::new());
            ssh::begin(host, &ssh::Session { name: id, user, wait: TO_START, command })
        }
        _ if done => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Seconds for a new system to listen: it does much at its first start, on whatever host.
const TO_START: u64 = 900;
fn show(answer: &Answer, &Call { operation, view, json, .. }: &Call) -> Result<()> {
    for warning in &answer.warnings {
        say!("ireko: warning: {}", lines(&for_command_line(warning, operation)));
    }
    for error in &answer.errors {
        say!("ireko: {}{}", lines(&for_command_line(&error.message, operation)), hint(error, operation));
    }
    let text = if json {
        serde_json::to_string_pretty(&answer.records)? + "\n"
    } else if view != View::Table {
        answer.records.iter().map(|record| shown(record, view, operation)).collect::<Vec<_>>().join("\n")
    } else {
        render::default_view(&answer.records)
    };
    Ok(out(text.as_bytes())?)
}

fn shown(record: &Record, view: View, operation: &'static Operation) -> String {
    let text = (view == View::Text).then(|| record.property("Text").and_then(Value::as_text)).flatten();
    match text {
        Some(text) => lines(text.trim_end()) + "\n",
        // It says what to do.
        None if record.kind == Kind::NestedVmStatus => for_command_line(&render::list(record), operation),
        None => render::list(record),
    }
}

/// More to somebody who named a file where only names of virtual machines are taken.
fn hint(error: &Failure, operation: &'static Operation) -> String {
    let is_file = error.absent && error.target.as_ref().is_some_and(|name| name.contains('/'));
    let more = operation.parameter("ControllerLocation").filter(|_| is_file);
    let place = " Give -ControllerType, -ControllerNumber and -ControllerLocation.";
    let place = more.map_or_else(String::new, |_| for_command_line(place, operation));
    if is_file { format!(" A file is no name of one.{place}") } else { String::new() }
}

/// Lines stay lines; nothing else moves the cursor.
fn lines(text: &str) -> String {
    text.split('\n').map(render::printable).collect::<Vec<_>>().join("\n")
}
