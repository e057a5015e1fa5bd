//! Start-, Stop-, Restart-, Suspend-, Resume-, Save-, Remove-VM and Update-VMVersion.

use super::targets::{Ambiguity, STD, change, only_off, permit, vms, whole_vm};
use super::wait::FOR;
use crate::guid::Guid;
use crate::host;
use crate::operation::parameter::{int, switch};
use crate::operation::{
    Call, Category, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::rules;
use crate::state::{self, Action};
use crate::store::{Config, ConfigVersion};
use crate::value::Kind;
use crate::worker::lifecycle::ANOTHER;
use crate::worker::protocol::Request;
use std::cell::RefCell;
use std::time::{Duration, Instant};

const fn verb(name: &'static str, doc: &'static str) -> Verb {
    Verb { name, doc, view: View::Table, needs_name: true }
}

/// What all of them have in common.
const VM: Operation = Operation {
    cmdlet: "",
    aliases: &[],
    verbs: &[],
    rest: Rest { method: Method::Post, route: "" },
    doc: "",
    parameters: &[&STD],
    prints: Prints::Passthru,
    result: Some(Kind::VirtualMachine),
    impact: Impact::Change,
    run: |_| Ok(()),
};

const fn post(route: &'static str) -> Rest {
    Rest { method: Method::Post, route }
}

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Start-VM",
        aliases: &["savm"],
        verbs: &[verb("start", "Start virtual machines.")],
        rest: post("/vms/{Name}/start"),
        doc: "Starts virtual machines; each runs in a process of its own that outlives this one.",
        run: start,
        ..VM
    },
    Operation {
        cmdlet: "Stop-VM",
        aliases: &["spvm"],
        verbs: &[verb("stop", "Shut virtual machines down, or turn them off.")],
        rest: post("/vms/{Name}/stop"),
        doc: "Shuts virtual machines down through their power button, or turns them off.",
        parameters: &[&STD, STOP],
        run: stop,
        ..VM
    },
    Operation {
        cmdlet: "Restart-VM",
        verbs: &[verb("restart", "Reset virtual machines, as with the reset button.")],
        rest: post("/vms/{Name}/restart"),
        doc: "Resets virtual machines. What their systems have not written is lost.",
        parameters: &[
            &STD,
            FORCE,
            &[switch("Wait", "Wait until the guest is there again.").flag("wait")],
            FOR,
        ],
        impact: Impact::Danger,
        run: restart,
        ..VM
    },
    Operation {
        cmdlet: "Suspend-VM",
        verbs: &[verb("pause", "Hold virtual machines.")],
        rest: post("/vms/{Name}/suspend"),
        doc: "Holds virtual machines; they keep their memory.",
        run: |call| tell(call, Action::Suspend, "suspend", Request::Pause),
        ..VM
    },
    Operation {
        cmdlet: "Resume-VM",
        verbs: &[verb("resume", "Let held virtual machines go on.")],
        rest: post("/vms/{Name}/resume"),
        doc: "Lets held virtual machines go on.",
        run: |call| tell(call, Action::Resume, "resume", Request::Resume),
        ..VM
    },
    Operation {
        cmdlet: "Save-VM",
        rest: post("/vms/{Name}/save"),
        doc: "Not there yet: saving a virtual machine.",
        run: save,
        ..VM
    },
    Operation {
        cmdlet: "Remove-VM",
        aliases: &["rvm"],
        verbs: &[verb("remove", "Remove virtual machines that are off; their disks stay.")],
        rest: Rest { method: Method::Delete, route: "/vms/{Name}" },
        doc: "Removes virtual machines that are Off. The files of their disks stay.",
        parameters: &[&STD, FORCE],
        impact: Impact::Danger,
        run: remove,
        ..VM
    },
    Operation {
        cmdlet: "Update-VMVersion",
        aliases: &["Update-VMConfigurationVersion"],
        verbs: &[verb("update-version", "Raise the configuration version to the newest.")],
        rest: post("/vms/{Name}/update-version"),
        doc: "Raises the configuration version to the newest. There is no way back.",
        parameters: &[&STD, FORCE],
        impact: Impact::Danger,
        run: update,
        ..VM
    },
];

const FORCE: &[Parameter] = &[switch("Force", "Do not ask.").flag("force")];

const STOP: &[Parameter] = &[
    switch("TurnOff", "Cut the power.").flag("turn-off"),
    switch("Force", "Give the guest its time, then cut the power.").flag("force"),
    switch("Save", "Save its state instead; not there yet."),
    int("TimeoutSeconds", 0, 86_400, "How long the guest may take: 60, or 300 with -Force (Ireko's own).")
        .flag("timeout"),
];

fn give(call: &mut Call<'_>, config: Config) {
    let record = records::vm(&call.host.vm(config), &call.host.system.host());
    call.give(record);
}

/// For each meant VM, if it may be done and is to be done.
fn each(
    call: &mut Call<'_>,
    action: Action,
    words: &str,
    body: impl Fn(&mut Call<'_>, &Config) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Refused)?;
    // All at once: those that do not answer hold up nobody.
    let silent: Vec<Guid> =
        call.host.vms(configs.clone()).into_iter().filter(|vm| vm.silent).map(|vm| vm.config.id).collect();
    let kills = action == Action::TurnOff || action == Action::ShutDown && call.arguments.switch("Force");
    call.each(configs, |call, config| {
        if silent.contains(&config.id) && !kills {
            return Err(host::silent(&config));
        }
        let state = call.host.vm(config.clone()).state;
        if !permit(call, action, state, &config.name)? {
            give(call, config);
            return Ok(());
        }
        if call.should(words, &config.name) {
            body(call, &config)?;
            give(call, config);
        }
        Ok(())
    });
    Ok(())
}

fn start(call: &mut Call<'_>) -> Result<(), Failure> {
    each(call, Action::Start, "start the virtual machine", start_one)
}

/// Under the VM's lock, so that of two starts one finds it running.
pub fn start_one(call: &mut Call<'_>, config: &Config) -> Result<(), Failure> {
    let failed = |why: String| {
        let id = config.id.to_string().to_uppercase();
        let message = format!("'{}' failed to start. (Virtual machine ID {id})\n{why}", config.name);
        Failure::new(Category::ResourceUnavailable, "OperationFailed", message).about(&config.name)
    };
    let (lock, mut config) = call.host.store.lock(config.id)?;
    let state = call.host.vm(config.clone()).state;
    if !permit(call, Action::Start, state, &config.name)? {
        return Ok(());
    }
    super::installer::leave_if_done(&call.host.store, &lock, &mut config)?;
    let system = &call.host.system;
    let engine = system.engine(&config.engine, config.processor.expose_virtualization_extensions);
    rules::start::check(&config, &system.host(), &engine).map_err(failed)?;
    (call.host.prepare)(&config).map_err(failed)?;
    super::switch::host_sides(call, &config)?;
    match call.host.launcher.launch(&call.host.store, config.id) {
        // A start that was killed had left one that was on its way.
        Err(why) if why == ANOTHER => call.warn(state::ALREADY),
        other => other.map_err(failed)?,
    }
    drop(lock);
    // It was told when it was set, but the host may be another since.
    if config.processor.relative_weight > 100 {
        let told = super::processor::unreached_weight(call, config.processor.relative_weight, &config.name);
        told.into_iter().for_each(|told| call.warn(told));
    }
    Ok(())
}

fn stop(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.arguments.switch("Save") {
        return save(call);
    }
    if call.arguments.switch("TurnOff") {
        return each(call, Action::TurnOff, "turn off", turn_off);
    }
    each(call, Action::ShutDown, "shut down", shut_down)
}

fn turn_off(call: &mut Call<'_>, config: &Config) -> Result<(), Failure> {
    call.host.turn_off(config).map_err(|why| {
        let message = format!("'{}' could not be turned off: {why}.", config.name);
        Failure::new(Category::OperationTimeout, "OperationTimeout", message).about(&config.name)
    })
}

fn shut_down(call: &mut Call<'_>, config: &Config) -> Result<(), Failure> {
    let force = call.arguments.switch("Force");
    let seconds = call.arguments.int("TimeoutSeconds").map_or(if force { 300 } else { 60 }, |s| s as u64);
    let outer = call.host.outer(config);
    let asked = call.host.ask(config, &Request::ShutDown { seconds });
    if force && asked.is_err() {
        return turn_off(call, config);
    }
    asked?;
    if wait_until_off(call, config, Duration::from_secs(seconds))? {
        outer.iter().for_each(|outer| outer.end());
        return Ok(());
    }
    if force {
        return turn_off(call, config);
    }
    Err(Failure::new(
        Category::OperationTimeout,
        "OperationTimeout",
        format!(
            "'{}' did not shut down within {seconds} seconds; its system may not heed the power button. Use Stop-VM -TurnOff, or -Force.",
            config.name
        ),
    )
    .about(&config.name))
}

fn wait_until_off(call: &Call<'_>, config: &Config, most: Duration) -> Result<bool, Failure> {
    const LOOK: Duration = Duration::from_millis(200);
    let began = Instant::now();
    loop {
        let left = most.saturating_sub(began.elapsed());
        if call.host.wait_until_off(config.id, left.min(LOOK)) {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
        call.pause(Duration::ZERO).map_err(|failure| failure.about(&config.name))?;
    }
}

fn restart(call: &mut Call<'_>) -> Result<(), Failure> {
    if !call.arguments.switch("Wait") || call.arguments.switch("WhatIf") {
        return tell(call, Action::Restart, "restart", Request::Reset);
    }
    // What the guest said before is no answer of the one that starts.
    let meant = RefCell::new(Vec::new());
    each(call, Action::Restart, "restart", |call, config| {
        let before = super::wait::start_of(&call.host.vm(config.clone()));
        call.host.ask(config, &Request::Reset)?;
        meant.borrow_mut().push((config.clone(), before));
        Ok(())
    })?;
    call.answer.records.clear();
    let (configs, before) = meant
        .into_inner()
        .into_iter()
        .map(|(own, start)| (own.clone(), (own.id, start)))
        .unzip::<_, _, Vec<_>, Vec<_>>();
    super::wait::until_there(call, configs, &before)
}

fn tell(call: &mut Call<'_>, action: Action, words: &str, request: Request) -> Result<(), Failure> {
    each(call, action, words, |call, config| call.host.ask(config, &request))
}

fn save(_: &mut Call<'_>) -> Result<(), Failure> {
    Err(Failure::later(
        "Saving a virtual machine is not there yet; use Suspend-VM to hold it, or Stop-VM to shut it down.",
    ))
}

fn remove(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Refused)?;
    call.each(configs, |call, config| {
        let state = call.host.vm(config.clone()).state;
        permit(call, Action::Remove, state, &config.name)?;
        let question = format!("Are you sure you want to remove virtual machine \"{}\"?", config.name);
        if !call.should_ask("remove virtual machine", &config.name, &question) {
            return Ok(());
        }
        let (lock, config) = call.host.store.lock(config.id)?;
        let vm = call.host.vm(config);
        permit(call, Action::Remove, vm.state, &vm.config.name)?;
        call.host.store.remove(lock)?;
        let record = records::vm(&vm, &call.host.system.host());
        call.give(record);
        Ok(())
    });
    Ok(())
}

fn update(call: &mut Call<'_>) -> Result<(), Failure> {
    let body = |call: &mut Call<'_>, config: &mut Config, state| {
        only_off(state, &config.name, "The configuration version")?;
        if config.version >= ConfigVersion::NEWEST {
            call.warn(format!("'{}' has configuration version {} already.", config.name, config.version));
        }
        config.version = config.version.max(ConfigVersion::NEWEST);
        Ok(())
    };
    change(call, "update the configuration version of", body, whole_vm)
}
