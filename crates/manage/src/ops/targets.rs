//! Which VMs an operation is about, and how they are changed.

use crate::guid::Guid;
use crate::operation::parameter::{object, text};
use crate::operation::{Call, Failure, Parameter, Pipeline};
use crate::ops::records;
use crate::select;
use crate::state::{self, Action, State, Verdict};
use crate::store::Config;
use crate::value::{Kind, Value};

const NAMES: &str = "Names or ids of virtual machines; wildcards count.";

const fn names(name: &'static str) -> Parameter {
    text(name, NAMES).many().required().at(0).pipe(Pipeline::ByValueOrPropertyName).set("Name").positional()
}

const fn of_vm(kind: Kind, name: &'static str) -> Parameter {
    object(name, kind, "What the pipeline gives.").many().required().at(0).set(name)
}

const VM: Parameter = of_vm(Kind::VirtualMachine, "VM");

/// For what is done with whole VMs.
pub static STD: [Parameter; 2] = [names("Name").alias(&["VMName"]), VM];
/// For what is done with parts of VMs, whose own name is `-Name`.
pub static VSTD: [Parameter; 2] = [names("VMName"), VM];
/// The same behind the part's name.
pub static VSTD_SECOND: [Parameter; 2] = [names("VMName").at(1), VM.at(1)];
pub static PROCESSOR: [Parameter; 1] = [of_vm(Kind::VMProcessor, "VMProcessor")];
pub static MEMORY: [Parameter; 1] = [of_vm(Kind::VMMemory, "VMMemory")];
pub static FIRMWARE: [Parameter; 1] = [of_vm(Kind::VMFirmware, "VMFirmware")];
pub static SWITCH: [Parameter; 2] = [
    text("Name", "Names or ids; wildcards count.")
        .alias(&["SwitchName"])
        .many()
        .required()
        .at(0)
        .pipe(Pipeline::ByValue)
        .set("Name")
        .positional(),
    of_vm(Kind::VMSwitch, "VMSwitch"),
];
pub static ADAPTER: [Parameter; 1] = [of_vm(Kind::VMNetworkAdapter, "VMNetworkAdapter")];
pub static DRIVE: [Parameter; 1] = [of_vm(Kind::HardDiskDrive, "VMHardDiskDrive")];
pub static DVD: [Parameter; 1] = [of_vm(Kind::DvdDrive, "VMDvdDrive")];

/// The parameters that take objects of VMs or their parts; each has the property VMId.
const OBJECTS: [&str; 7] =
    ["VM", "VMProcessor", "VMMemory", "VMFirmware", "VMNetworkAdapter", "VMHardDiskDrive", "VMDvdDrive"];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ambiguity {
    /// A name that several VMs have means them all: for looking.
    Allowed,
    /// It is an error: for changing.
    Refused,
}

/// The VMs that the arguments mean; what means none is noted as an error of its own.
pub fn vms(call: &mut Call<'_>, ambiguity: Ambiguity) -> Result<Vec<Config>, Failure> {
    let all = call.host.configs()?;
    let mut found: Vec<Config> = Vec::new();
    let mut add = |configs: Vec<&Config>| {
        for config in configs {
            if !found.iter().any(|known| known.id == config.id) {
                found.push(config.clone());
            }
        }
    };
    let names = call.operation.parameter("VMName").map_or("Name", |parameter| parameter.name);
    let mut errors = Vec::new();
    for name in call.arguments.items(names).iter().map(Value::to_string) {
        let select = if ambiguity == Ambiguity::Allowed { select::by_name } else { select::one_by_name };
        match select(&all, &name) {
            Ok(configs) => add(configs),
            Err(failure) => errors.push(failure),
        }
    }
    for id in object_ids(call) {
        match all.iter().find(|config| config.id == id) {
            Some(config) => add(vec![config]),
            None => errors.push(select::not_found(&id.to_string())),
        }
    }
    call.answer.errors.extend(errors);
    Ok(found)
}

fn object_ids(call: &Call<'_>) -> Vec<Guid> {
    let objects = OBJECTS.iter().flat_map(|name| call.arguments.items(name));
    objects
        .filter_map(|value| if let Value::Record(record) = value { record.guid("VMId") } else { None })
        .collect()
}

/// Whether `action` is to go on; `Already` is a warning and no more.
pub fn permit(call: &mut Call<'_>, action: Action, state: State, name: &str) -> Result<bool, Failure> {
    match state::verdict(action, state) {
        Verdict::Go => Ok(true),
        Verdict::Already => {
            call.warn(state::ALREADY);
            Ok(false)
        }
        Verdict::Refused(what) => {
            Err(Failure::refused(format!("{} '{name}' is {state}. {what}", state::WRONG_STATE)).about(name))
        }
    }
}

/// Changes each meant VM's configuration under its lock; `-Passthru` gives what `record` makes of it.
pub fn change(
    call: &mut Call<'_>,
    action: &str,
    body: impl Fn(&mut Call<'_>, &mut Config, State) -> Result<(), Failure>,
    record: fn(&crate::host::Vm, &crate::host::HostFacts) -> Vec<crate::value::Record>,
) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Refused)?;
    call.each(configs, |call, config| {
        if !call.should(action, &config.name) {
            return Ok(());
        }
        let (lock, before) = call.host.store.lock(config.id)?;
        let state = call.host.vm(before.clone()).state;
        let mut after = before.clone();
        body(call, &mut after, state)?;
        if after != before {
            call.host.store.save(&lock, &after)?;
        }
        drop(lock);
        let records = record(&call.host.vm(after), &call.host.system.host());
        records.into_iter().for_each(|record| call.give(record));
        Ok(())
    });
    Ok(())
}

/// Whether a machine is there that can take a change.
pub fn runs(state: State) -> bool {
    matches!(state, State::Running | State::Paused | State::PausedCritical | State::Stopping)
}

/// As a function for [`change`].
pub fn whole_vm(vm: &crate::host::Vm, facts: &crate::host::HostFacts) -> Vec<crate::value::Record> {
    vec![records::vm(vm, facts)]
}

/// For settings that the running machine cannot take over.
pub fn only_off(state: State, name: &str, what: &str) -> Result<(), Failure> {
    if state == State::Off {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{} {what} changes only while '{name}' is Off, and it is {state}; use Stop-VM first.",
        state::WRONG_STATE
    ))
    .about(name))
}
