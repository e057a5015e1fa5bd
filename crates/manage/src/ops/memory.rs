//! Get-VMMemory and Set-VMMemory.

use super::targets::{Ambiguity, MEMORY, VSTD, change, vms};
use crate::operation::parameter::{boolean, bytes, int};
use crate::operation::{Call, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View};
use crate::ops::records;
use crate::rules;
use crate::state::State;
use crate::store::Config;
use crate::store::config::MIB;
use crate::value::Kind;
use crate::worker::protocol::Request;
use std::time::{Duration, Instant};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Get-VMMemory",
        aliases: &[],
        verbs: &[Verb { name: "memory", doc: "Show memory settings.", view: View::Table, needs_name: true }],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/memory" },
        doc: "Gives the memory settings of virtual machines.",
        parameters: &[&VSTD],
        prints: Prints::Always,
        result: Some(Kind::VMMemory),
        impact: Impact::None,
        run: get,
    },
    Operation {
        cmdlet: "Set-VMMemory",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Patch, route: "/vms/{VMName}/memory" },
        doc: "Changes the memory settings of virtual machines.",
        parameters: &[&VSTD, &MEMORY, SET],
        prints: Prints::Passthru,
        result: Some(Kind::VMMemory),
        impact: Impact::Change,
        run: set,
    },
];

const SET: &[Parameter] = &[
    bytes("StartupBytes", "Memory at start; of a static virtual machine, all it has."),
    boolean("DynamicMemoryEnabled", "Whether memory follows the demand."),
    bytes("MinimumBytes", "The least that dynamic memory leaves."),
    bytes("MaximumBytes", "The most that dynamic memory gives."),
    int("Buffer", 5, 2000, "Dynamic memory above the demand, in percent."),
    int("Priority", 0, 100, "Who gets memory first where it is short."),
];

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let (configs, facts) = (vms(call, Ambiguity::Allowed)?, call.host.system.host());
    for vm in call.host.vms(configs) {
        let record = records::memory(&vm, &facts);
        call.give(record);
    }
    Ok(())
}

fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    let body = |call: &mut Call<'_>, config: &mut Config, state| apply(call, config, state);
    change(call, "change the memory of", body, |vm, facts| vec![records::memory(vm, facts)])?;
    wait_for_guests(call)
}

/// The longest that a resize is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for guests that are on their way to another amount of memory. Who does not get there is a warning: the
/// configuration stands, and the guest is still asked.
pub fn wait_for_guests(call: &mut Call<'_>) -> Result<(), Failure> {
    let since = Instant::now();
    let asked = ["StartupBytes", "MemoryStartupBytes"].iter().any(|name| call.arguments.int(name).is_some());
    if !asked || call.arguments.switch("WhatIf") {
        return Ok(());
    }
    let known = call.answer.errors.len();
    let configs = vms(call, Ambiguity::Refused)?;
    // The change has told those already.
    call.answer.errors.truncate(known);
    let failed: Vec<String> = call.answer.errors.iter().filter_map(|error| error.target.clone()).collect();
    for config in configs {
        if config.memory.dynamic || failed.contains(&config.name) {
            continue;
        }
        let status = loop {
            match call.host.vm(config.clone()).status {
                Some(status) if status.memory_adjusting && since.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                status => break status,
            }
        };
        if let Some(status) = status.filter(|status| status.memory_assigned != status.memory_target) {
            call.warn(format!(
                "The guest of '{}' has {} MB so far, on its way to {} MB; it is still asked to get there.",
                config.name,
                status.memory_assigned / MIB,
                status.memory_target / MIB
            ));
        }
    }
    Ok(())
}

/// Memory settings of Set-VMMemory, Set-VM and New-VM.
pub fn apply(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let arguments = call.arguments;
    let old = &config.memory;
    let mut new = old.clone();
    let amount =
        |one, other, old| arguments.int(one).or_else(|| arguments.int(other)).map_or(old, |n| n as u64);
    new.startup = amount("StartupBytes", "MemoryStartupBytes", old.startup);
    new.minimum = amount("MinimumBytes", "MemoryMinimumBytes", old.minimum);
    new.maximum = amount("MaximumBytes", "MemoryMaximumBytes", old.maximum);
    new.buffer = arguments.int("Buffer").map_or(old.buffer, |n| n as u32);
    new.priority = arguments.int("Priority").map_or(old.priority, |n| n as u32);
    new.dynamic = arguments.bool("DynamicMemoryEnabled").unwrap_or(old.dynamic);
    match (arguments.switch("DynamicMemory"), arguments.switch("StaticMemory")) {
        (true, true) => return Err(Failure::invalid("DynamicMemory and StaticMemory exclude each other.")),
        (true, false) => new.dynamic = true,
        (false, true) => new.dynamic = false,
        (false, false) => (),
    }
    let refuse = |why| Failure::refused(why).about(&config.name);
    rules::memory::check_change(old, &new, state, None).map_err(refuse)?;
    rules::memory::check(&new).map_err(|why| Failure::invalid(why).about(&config.name))?;
    if state != State::Off && new != *old {
        // The worker knows what runs inside, and what the guest can do.
        call.host.ask(config, &Request::Memory { settings: new.clone() })?;
    }
    if new.maximum > old.maximum
        && let Some(status) = call.host.vm(config.clone()).status
        && let Some(told) =
            rules::memory::beyond(&new, status.memory_reachable, call.host.system.host().memory)
    {
        call.warn(told);
    }
    config.memory = new;
    Ok(())
}
