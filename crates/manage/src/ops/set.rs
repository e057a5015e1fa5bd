//! Set-VM and Rename-VM; and the settings that New-VM and Set-VM share.

use super::targets::{STD, change, only_off, runs, whole_vm};
use crate::operation::parameter::{boolean, bytes, int, one_of, path, switch, text};
use crate::operation::{
    Arguments, Call, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View,
};
use crate::rules;
use crate::state::State;
use crate::store::Config;
use crate::store::config::{AutomaticCrash, AutomaticStart, AutomaticStop, CheckpointType};
use crate::value::Kind;
use crate::worker::protocol::Request;
use ireko_machine::ErrorPolicy;

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Set-VM",
        aliases: &[],
        verbs: &[Verb { name: "set", doc: "Change virtual machines.", view: View::Table, needs_name: true }],
        rest: Rest { method: Method::Patch, route: "/vms/{Name}" },
        doc: "Changes settings of virtual machines.",
        parameters: &[&STD, SET, &IREKO],
        prints: Prints::Passthru,
        result: Some(Kind::VirtualMachine),
        impact: Impact::Change,
        run: set,
    },
    Operation {
        cmdlet: "Rename-VM",
        aliases: &[],
        verbs: &[Verb {
            name: "rename",
            doc: "Rename a virtual machine.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms/{Name}/rename" },
        doc: "Gives a virtual machine another name.",
        parameters: &[&STD, RENAME],
        prints: Prints::Passthru,
        result: Some(Kind::VirtualMachine),
        impact: Impact::Change,
        run: rename,
    },
];

const SET: &[Parameter] = &[
    bytes("MemoryStartupBytes", "Memory at start.").flag("memory"),
    bytes("MemoryMinimumBytes", "The least that dynamic memory leaves.").flag("memory-minimum"),
    bytes("MemoryMaximumBytes", "The most that dynamic memory gives.").flag("memory-maximum"),
    switch("DynamicMemory", "Dynamic memory.").flag("dynamic-memory"),
    switch("StaticMemory", "Static memory.").flag("static-memory"),
    one_of(
        "AutomaticStartAction",
        &["Nothing", "StartIfRunning", "Start"],
        "When the host has started: done by `ireko serve` at its first start in each boot of the host.",
    )
    .flag("automatic-start"),
    int("AutomaticStartDelay", 0, i32::MAX as i64, "Seconds until then.").flag("automatic-start-delay"),
    one_of("AutomaticStopAction", &["TurnOff", "Save", "ShutDown"], "When the host stops."),
    one_of(
        "AutomaticCriticalErrorAction",
        &["None", "Pause"],
        "When the host cannot read or write its disks. None: the guest is told; Pause: it is held until that can be done. Set-VMHardDiskDrive -ErrorPolicy says it for each disk.",
    ),
    one_of(
        "AutomaticCrashAction",
        &["Restart", "TurnOff", "Pause"],
        "When its guest crashes (Ireko's own). Restart: a triple fault is a reset, as on a PC. TurnOff: it is Off, with the reason. Pause: it stays as it is for a look, until Restart-VM or Stop-VM -TurnOff.",
    )
    .flag("automatic-crash"),
    boolean("AutomaticCheckpointsEnabled", "Only $false: there are no checkpoints yet."),
    one_of("CheckpointType", CheckpointType::NAMES, "What a checkpoint will be; there are none yet."),
    switch("AllowUnverifiedPaths", "Accepted: paths are verified for no cluster."),
    text("Notes", "Words for people.").flag("notes"),
    text("NewVMName", "Another name.").flag("name"),
];

/// What Hyper-V does not have, or has elsewhere.
pub static IREKO: [Parameter; 12] = [
    int("ProcessorCount", 1, 2048, "How many virtual processors.").flag("processors"),
    boolean("ExposeVirtualizationExtensions", "Whether it may hold virtual machines itself.").flag("nested"),
    super::firmware::START_WITH,
    path("Kernel", "A kernel (bzImage, ELF, multiboot); empty, it is the built-in image.").flag("kernel"),
    path("Initrd", "The initial root file system; empty, there is none.").flag("initrd"),
    text("CommandLine", "The kernel's command line, or more of the built-in image's.").flag("command-line"),
    super::firmware::MODULE,
    super::firmware::BOOT_PROTOCOL,
    one_of("Engine", &["auto", "soft", "kvm"], "What executes its code.").flag("engine"),
    super::processor::MODEL.flag("cpu"),
    super::publish::PUBLISH,
    super::share::SHARE,
];

const RENAME: &[Parameter] = &[text("NewName", "The new name.").required().at(1).positional()];

fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    change(call, "change the virtual machine", apply, whole_vm)?;
    super::memory::wait_for_guests(call)
}

fn rename(call: &mut Call<'_>) -> Result<(), Failure> {
    let body = |call: &mut Call<'_>, config: &mut Config, _| {
        name(config, call.arguments.text("NewName").unwrap_or_default())
    };
    change(call, "rename the virtual machine", body, whole_vm)
}

fn name(config: &mut Config, name: &str) -> Result<(), Failure> {
    rules::name::check(name).map_err(Failure::invalid)?;
    config.name = name.to_owned();
    Ok(())
}

/// All settings that are given, with the rules of each.
pub fn apply(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let arguments = call.arguments;
    super::memory::apply(call, config, state)?;
    super::firmware::apply(arguments, config, state)?;
    engine(arguments, config, state)?;
    super::firmware::check_engine(arguments, config)?;
    super::processor::apply(call, config, state)?;
    crash(call, config, state)?;
    critical_error(call, config, state)?;
    super::publish::apply(call, config)?;
    super::share::apply(call, config, state)?;
    checkpoints(call, config)?;
    plain(call, config)
}

/// What does nothing yet is said.
fn checkpoints(call: &mut Call<'_>, config: &mut Config) -> Result<(), Failure> {
    if call.arguments.bool("AutomaticCheckpointsEnabled") == Some(true) {
        return Err(Failure::later("Checkpoints are not there yet, so none are made by themselves.")
            .about(&config.name));
    }
    if let Some(kind) = call.arguments.text("CheckpointType").and_then(CheckpointType::named) {
        config.checkpoint_type = kind;
        if kind != CheckpointType::Disabled {
            call.warn(format!(
                "Checkpoints are not there yet: CheckpointType {} of '{}' is kept, and does nothing until then.",
                kind.name(),
                config.name
            ));
        }
    }
    Ok(())
}

/// Counts at once.
fn crash(call: &Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let action = match call.arguments.text("AutomaticCrashAction") {
        Some("TurnOff") => AutomaticCrash::TurnOff,
        Some("Pause") => AutomaticCrash::Pause,
        Some(_) => AutomaticCrash::Restart,
        None => return Ok(()),
    };
    config.automatic_crash = action;
    if runs(state) { call.host.ask(config, &Request::Crash { action }) } else { Ok(()) }
}

/// Of all disks that it has; counts at once.
fn critical_error(call: &Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let policy = match call.arguments.text("AutomaticCriticalErrorAction") {
        Some("Pause") => ErrorPolicy::Stop,
        Some(_) => ErrorPolicy::Report,
        None => return Ok(()),
    };
    if config.disks.is_empty() && policy == ErrorPolicy::Stop {
        return Err(Failure::refused(format!(
            "'{}' has no disks whose errors could hold it; give it one first.",
            config.name
        ))
        .about(&config.name));
    }
    config.disks.iter_mut().for_each(|disk| disk.error_policy = policy);
    if runs(state) { call.host.ask(config, &Request::Disks { disks: config.disks.clone() }) } else { Ok(()) }
}

fn engine(arguments: &Arguments, config: &mut Config, state: State) -> Result<(), Failure> {
    if let Some(engine) = arguments.text("Engine").filter(|engine| *engine != config.engine) {
        only_off(state, &config.name, "The engine")?;
        config.engine = engine.to_owned();
    }
    Ok(())
}

fn plain(call: &mut Call<'_>, config: &mut Config) -> Result<(), Failure> {
    let arguments = call.arguments;
    if let Some(notes) = arguments.text("Notes") {
        config.notes = notes.to_owned();
    }
    config.automatic_start = match arguments.text("AutomaticStartAction") {
        Some("Nothing") => AutomaticStart::Nothing,
        Some("Start") => AutomaticStart::Start,
        Some(_) => AutomaticStart::StartIfRunning,
        None => config.automatic_start,
    };
    if let Some(seconds) = arguments.int("AutomaticStartDelay") {
        config.automatic_start_delay = seconds as u32;
    }
    config.automatic_stop = match arguments.text("AutomaticStopAction") {
        Some("TurnOff") => AutomaticStop::TurnOff,
        Some("Save") => {
            call.warn(format!(
                "Saved states are not there yet: when the host stops, '{}' is shut down.",
                config.name
            ));
            AutomaticStop::Save
        }
        Some(_) => AutomaticStop::ShutDown,
        None => config.automatic_stop,
    };
    arguments.text("NewVMName").map_or(Ok(()), |new| name(config, new))
}
