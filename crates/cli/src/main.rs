//! The one binary: the host's tool, and as process 1 the guest's.
//!
//! Knows the commands, the guest image, the agent that runs in guests and the benchmarks. Must never know what an
//! engine or a device does: VMs come from `ireko-machine`. Start reading at [`nest`] and [`agent`].

mod agent;
mod agent_config;
mod args;
mod bench;
mod closed;
mod cpus;
mod doctor;
mod engine_args;
mod facts;
mod image;
mod image_command;
mod jail;
mod level;
mod manual;
mod nest;
mod output;
mod progress;
mod report;
mod run;
mod run_args;
mod run_network;
mod saved;
mod serve;
mod setup;
mod shell;
mod size;
mod suite;
mod sys;
mod table;
mod terminal;
mod tree;
mod unit;
mod user;
mod vm;

use anyhow::Result;
use args::{Arguments, Command};
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 && std::path::Path::new("/init").exists() {
        agent::main();
    }
    if suite::ends_at_once() {
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(words) => return output::instead(&words),
    };
    match command(arguments) {
        Ok(code) => code,
        Err(error) => output::fail(&error),
    }
}

fn command(arguments: Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Nest(args) => nest::run(args),
        Command::Run(args) => run::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Cpus { features } => cpus::run(*features),
        Command::Image(args) => image_command::run(args),
        Command::Bench(args) => suite::run(args),
        Command::Vm(args) => vm::run(args),
        Command::Disk(args) => vm::run_disk(args),
        Command::Switch(args) => vm::run_switch(args),
        Command::Tree(args) => tree::run(args),
        Command::Shell(args) => shell::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Setup(args) => setup::run(args),
        Command::Completions { shell } => manual::completions(Arguments::command(), *shell),
        Command::Man(args) => manual::man(Arguments::command(), args),
        Command::Worker { id } => vm::worker(*id),
        Command::Mount { id } => vm::mount(*id),
        Command::HostSide { id } => vm::host_side(*id),
        Command::Router { id } => vm::router(*id),
        Command::RouterSandboxed { id } => vm::router_sandboxed(*id),
        Command::Folder { access, folder } => vm::folder(folder, *access == args::FolderAccess::Read),
        Command::Saved(args) => saved::run(args),
        Command::Litmus(args) => suite::litmus::run(args),
        Command::Jail { home } => jail::run(home),
    }
}
