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
mod facts;
mod image;
mod jail;
mod level;
mod manual;
mod nest;
mod output;
mod progress;
mod report;
mod run;
mod saved;
mod serve;
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

use anyhow::{Context, Result};
use args::{Arguments, Command, ImageArgs};
use clap::Parser;
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
        Command::Image(args) => image_command(args),
        Command::Bench(args) => suite::run(args),
        Command::Vm(args) => vm::run(args),
        Command::Disk(args) => vm::run_disk(args),
        Command::Tree(args) => tree::run(args),
        Command::Shell(args) => shell::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man(args) => manual::man(args),
        Command::Worker { id } => vm::worker(*id),
        Command::HostSide { id } => vm::host_side(*id),
        Command::Saved(args) => saved::run(args),
        Command::Jail { home } => jail::run(home),
    }
}

fn image_command(args: &ImageArgs) -> Result<ExitCode> {
    if args.xen {
        return xen_image_command(args);
    }
    let parts = image::ensure(args.refresh, &progress::Progress::new())?;
    let state = image::state()?;
    if let Some(directory) = &args.write {
        let archive = parts.archive(&image::own_binary()?, true);
        for (name, data) in [("vmlinuz", &parts.kernel), ("initramfs", &archive)] {
            let path = directory.join(name);
            std::fs::write(&path, data).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    out!("image    {}", state.image.unwrap_or(state.cache).display())?;
    out!("kernel   {}", size::show(parts.kernel.len() as u64))?;
    out!("busybox  {}", size::show(parts.busybox.len() as u64))?;
    let modules: Vec<_> = parts.modules.iter().map(|(name, _)| name.as_str()).collect();
    out!("modules  {}", modules.join(" "))?;
    Ok(ExitCode::SUCCESS)
}

fn xen_image_command(args: &ImageArgs) -> Result<ExitCode> {
    let made = image::xen::ensure_made(args.refresh, &progress::Progress::new())?;
    for name in image::xen::FILES {
        let file = made.join(name);
        if let Some(directory) = &args.write {
            let path = directory.join(name);
            std::fs::copy(&file, &path).with_context(|| format!("cannot write {}", path.display()))?;
        }
        out!("{name:<9}  {}", size::show(file.metadata()?.len()))?;
    }
    out!("kept in    {}", made.display())?;
    Ok(ExitCode::SUCCESS)
}
