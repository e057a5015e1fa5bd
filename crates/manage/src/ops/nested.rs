//! Enable-NestedVm and Get-NestedVmStatus (reference: 3.1 with its suggestions, 3.2).

use super::processor::blockers;
use super::targets::{Ambiguity, STD, vms};
use crate::operation::parameter::{boolean, object, switch, text};
use crate::operation::{
    Arguments, Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Question, Rest,
    Surface, Verb, View, invoke,
};
use crate::ops::find;
use crate::rules::nesting;
use crate::state::State;
use crate::store::Config;
use crate::value::{Kind, Record, Value};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Enable-NestedVm",
        aliases: &[],
        verbs: &[Verb {
            name: "nest",
            doc: "Make a virtual machine ready to hold virtual machines.",
            view: View::List,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms/{Name}/nest" },
        doc: "Makes virtual machines ready to hold virtual machines: shows the plan, asks, does it step by step.",
        parameters: &[&STD, ENABLE],
        prints: Prints::Always,
        result: Some(Kind::NestedVmStatus),
        impact: Impact::Danger,
        run: enable,
    },
    Operation {
        cmdlet: "Get-NestedVmStatus",
        aliases: &["Get-NestedVirtStatus"],
        verbs: &[Verb {
            name: "nested-status",
            doc: "Say what keeps the host or virtual machines from nesting.",
            view: View::List,
            needs_name: false,
        }],
        rest: Rest { method: Method::Get, route: "/nested" },
        doc: "Says whether the host and virtual machines can nest, and what blocks it.",
        parameters: &[STATUS],
        prints: Prints::Always,
        result: Some(Kind::NestedVmStatus),
        impact: Impact::None,
        run: status,
    },
];

const ENABLE: &[Parameter] = &[
    switch("Force", "Do not ask.").flag("force"),
    switch("DisableDynamicMemory", "Also make the memory static, which is advice only.")
        .flag("static-memory"),
    boolean("MacAddressSpoofing", "Let frames of inner machines out; $true unless said otherwise.")
        .flag("spoofing"),
];

const STATUS: &[Parameter] = &[
    text("Name", "Names or ids; none is the host and all.")
        .positional()
        .alias(&["VMName"])
        .many()
        .at(0)
        .pipe(Pipeline::ByValueOrPropertyName)
        .set("Name"),
    object("VM", Kind::VirtualMachine, "Virtual machines.").many().set("VM"),
];

/// One thing to do, in the order of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Stop(State),
    Expose,
    StaticMemory,
    Spoofing,
}

impl Step {
    fn line(self, name: &str) -> String {
        match self {
            Self::Stop(state) => format!("  Vm State: {state}; {name} will be turned off"),
            Self::Expose => "  Virtualization extensions will be enabled".into(),
            Self::StaticMemory => "  Dynamic memory will be disabled".into(),
            Self::Spoofing => "  Mac address spoofing will be enabled".into(),
        }
    }
}

/// What is to be done: processor before memory before network, and the VM off before all if something needs that.
pub fn plan(config: &Config, state: State, static_memory: bool, spoofing: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    if !config.processor.expose_virtualization_extensions {
        steps.push(Step::Expose);
    }
    if static_memory && config.memory.dynamic {
        steps.push(Step::StaticMemory);
    }
    if !steps.is_empty() && state != State::Off {
        steps.insert(0, Step::Stop(state));
    }
    if spoofing && config.adapters.iter().any(|adapter| !adapter.mac_address_spoofing) {
        steps.push(Step::Spoofing);
    }
    steps
}

fn enable(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Refused)?;
    call.each(configs, |call, config| {
        enable_one(call, &config)?;
        let record = vm_status(call, &call.host.store.load(config.id)?);
        call.give(record);
        Ok(())
    });
    Ok(())
}

fn enable_one(call: &mut Call<'_>, config: &Config) -> Result<(), Failure> {
    let name = config.name.as_str();
    let state = call.host.vm(config.clone()).state;
    let spoofing = call.arguments.bool("MacAddressSpoofing").unwrap_or(true);
    let steps = plan(config, state, call.arguments.switch("DisableDynamicMemory"), spoofing);
    if steps.is_empty() {
        call.surface.say("None, vm is already setup for nesting");
        return Ok(());
    }
    // Before anything is stopped or changed.
    if let Some(blocker) = blockers(call, config).first() {
        return Err(Failure::refused(format!("'{name}' cannot nest: {}.", blocker.0)).about(name));
    }
    call.surface.say(&format!("This will set the following for {name} in order to enable nesting:"));
    steps.iter().for_each(|step| call.surface.say(&step.line(name)));
    if !call.should_ask("enable nesting for", name, "Do you want to make these changes?") {
        return Ok(());
    }
    steps.into_iter().try_for_each(|step| apply(call, config, step))
}

/// Each step is the operation that a person would use, and its failure ends the flow.
fn apply(call: &mut Call<'_>, config: &Config, step: Step) -> Result<(), Failure> {
    let vm = config.id.to_string();
    match step {
        Step::Stop(_) => run(call, "Stop-VM", &[("Name", vm.into())]),
        Step::Expose => run(
            call,
            "Set-VMProcessor",
            &[("VMName", vm.into()), ("ExposeVirtualizationExtensions", true.into())],
        ),
        Step::StaticMemory => {
            run(call, "Set-VMMemory", &[("VMName", vm.into()), ("DynamicMemoryEnabled", false.into())])
        }
        Step::Spoofing => {
            run(call, "Set-VMNetworkAdapter", &[("VMName", vm.into()), ("MacAddressSpoofing", "On".into())])
        }
    }
}

/// The person has agreed to the whole plan.
struct Agreed<'a>(&'a mut dyn Surface);

impl Surface for Agreed<'_> {
    fn say(&mut self, text: &str) {
        self.0.say(text);
    }
    fn confirm(&mut self, _: &Question) -> bool {
        true
    }
}

fn run(call: &mut Call<'_>, cmdlet: &str, given: &[(&str, Value)]) -> Result<(), Failure> {
    let operation = find(cmdlet).ok_or_else(|| Failure::failed(format!("There is no {cmdlet}.")))?;
    let mut arguments = Arguments::default();
    for (name, value) in given {
        arguments.set(operation, name, value.clone())?;
    }
    let answer = invoke(call.host, operation, &arguments, &mut Agreed(call.surface));
    call.answer.warnings.extend(answer.warnings);
    answer.errors.into_iter().next().map_or(Ok(()), Err)
}

fn status(call: &mut Call<'_>) -> Result<(), Failure> {
    let of_some = call.arguments.has("Name") || call.arguments.has("VM");
    let configs = if of_some { vms(call, Ambiguity::Allowed)? } else { call.host.configs()? };
    if !of_some {
        let record = host_status(call);
        call.give(record);
    }
    for config in configs {
        let record = vm_status(call, &config);
        call.give(record);
    }
    Ok(())
}

fn host_status(call: &Call<'_>) -> Record {
    let facts = call.host.surroundings.host();
    let engine = call.host.surroundings.engine("auto", true);
    let (can, name, why) = match engine {
        Ok(engine) if engine.nested => (true, engine.name, Vec::new()),
        Ok(engine) => (false, engine.name, vec![engine.reason]),
        Err(why) => (false, String::new(), vec![why]),
    };
    Record::new(Kind::NestedVmStatus)
        .with("Computer", facts.name.as_str())
        .with("ProcessorManufacturer", facts.vendor.as_str())
        .with("ProcessorName", facts.brand.as_str())
        .with("LogicalProcessorCount", facts.logical_processors)
        .with("Engine", name)
        .with("HostNestedSupport", can)
        .with("Errors", Value::list(why))
}

fn vm_status(call: &Call<'_>, config: &Config) -> Record {
    let mut why: Vec<String> =
        blockers(call, config).into_iter().map(|nesting::Blocker(text)| text).collect();
    let exposed = config.processor.expose_virtualization_extensions;
    if !exposed {
        why.push("virtualization extensions are not exposed; use Set-VMProcessor -ExposeVirtualizationExtensions $true".into());
    }
    let vm = call.host.vm(config.clone());
    if exposed && vm.status.as_ref().is_some_and(|status| !status.nested) {
        why.push("the extensions come with the next start; use Stop-VM and Start-VM".into());
    }
    Record::new(Kind::NestedVmStatus)
        .with("Name", config.name.as_str())
        .with("SupportsNesting", why.is_empty())
        .with("ExposeVirtualizationExtensions", exposed)
        .with("DynamicMemoryEnabled", config.memory.dynamic)
        .with("SnapshotEnabled", false)
        .with("State", vm.state.to_string())
        .with("Version", config.version.to_string())
        .with("VmCfgErrors", Value::list(why))
        .with("VMId", config.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guid::Guid;

    #[test]
    fn a_running_vm_is_stopped_first() {
        let config = Config::new(Guid::NIL, "vm", 0);
        let steps = plan(&config, State::Running, true, true);
        assert_eq!(steps, [Step::Stop(State::Running), Step::Expose, Step::Spoofing]);
    }

    #[test]
    fn what_is_ready_needs_nothing() {
        let mut config = Config::new(Guid::NIL, "vm", 0);
        config.processor.expose_virtualization_extensions = true;
        config.adapters[0].mac_address_spoofing = true;
        assert!(plan(&config, State::Running, true, true).is_empty());
    }

    #[test]
    fn spoofing_alone_stops_nothing() {
        let mut config = Config::new(Guid::NIL, "vm", 0);
        config.processor.expose_virtualization_extensions = true;
        assert_eq!(plan(&config, State::Running, false, true), [Step::Spoofing]);
    }
}
