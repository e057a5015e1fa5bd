//! Get-VM -Nested: the levels below a running VM, as its engine sees them from outside.

use crate::host::Vm;
use crate::operation::{Call, Failure};
use crate::state::State;
use crate::store::Config;
use crate::value::{Kind, Record, Value};
use crate::worker::introspection::{InnerWorld, Introspection};
use std::time::Duration;

/// A record for each world of each VM; those that do not run are left out, or refused where they were named.
pub fn give(call: &mut Call<'_>, configs: Vec<Config>, named: bool) -> Result<(), Failure> {
    let vms = call.host.vms(configs);
    call.each(vms, |call, vm| {
        if vm.state == State::Off && !named {
            return Ok(());
        }
        let name = vm.config.name.as_str();
        let inside = call.host.inside(&vm)?;
        if !inside.sees_worlds && inside.hypervisor != Some(false) {
            call.warn(format!(
                "The {} engine does not tell what '{name}' runs inside; with the software CPU (Set-VM -Engine soft) it is seen.",
                vm.status.as_ref().map_or("", |status| status.engine.as_str())
            ));
        }
        records(&vm, &inside).into_iter().for_each(|record| call.give(record));
        Ok(())
    });
    Ok(())
}

/// One record a world, outermost first.
pub fn records(vm: &Vm, inside: &Introspection) -> Vec<Record> {
    let own = [InnerWorld { level: 1, share: 1.0, ..InnerWorld::default() }];
    let worlds = if inside.worlds.is_empty() { &own[..] } else { &inside.worlds };
    let holds = |number: usize| worlds.iter().any(|world| world.parent == Some(number));
    let one = |(number, world): (usize, &InnerWorld)| {
        let hypervisor = match world.level {
            1 => inside.hypervisor,
            _ => Some(holds(number)),
        };
        record(vm, number, world, hypervisor)
    };
    worlds.iter().enumerate().map(one).collect()
}

fn record(vm: &Vm, number: usize, world: &InnerWorld, hypervisor: Option<bool>) -> Record {
    let reasons = world.reasons.iter().map(|(name, times)| format!("{name} {times}"));
    Record::new(Kind::NestedWorld)
        .with("VMName", vm.config.name.as_str())
        .with("Level", world.level)
        .with("World", number as u64)
        .with("Parent", world.parent.map(|parent| parent as u64))
        .with("HypervisorRunning", hypervisor)
        .with("ProcessorShare", tenths(world.share * 100.0))
        .with("ProcessorTime", duration(world.seconds - world.idle_seconds))
        .with("IdleTime", duration(world.idle_seconds))
        .with("LastRun", duration(world.quiet_seconds))
        .with("Entries", world.entries)
        .with("Exits", world.exits)
        .with("ExitsPerSecond", world.exits_per_second.round() as u64)
        .with("ExitReasons", Value::list(reasons))
        .with(
            "ControlBlock",
            (world.level > 1).then(|| format!("{} {:#x}", world.structure, world.control_block)),
        )
        .with("Asid", (world.level > 1).then_some(world.asid))
        .with("NestedRoot", world.nested_root.map(hexadecimal))
        .with("LastRip", hexadecimal(world.rip))
        .with("VMId", vm.config.id)
}

fn tenths(number: f64) -> Value {
    Value::Float((number * 10.0).round() / 10.0)
}

fn hexadecimal(number: u64) -> String {
    format!("{number:#x}")
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()
}
