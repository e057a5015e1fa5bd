//! Enable-NestedVm and Get-NestedVmStatus (reference: 3.1 with its suggestions, 3.2).

use super::processor::blockers;
use super::targets::{Ambiguity, STD, vms};
use crate::operation::parameter::{boolean, bytes, object, switch, text};
use crate::operation::{
    Arguments, Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Question, Rest,
    Surface, Verb, View, invoke,
};
use crate::ops::find;
use crate::rules::nesting;
use crate::state::State;
use crate::store::Config;
use crate::store::config::MIB;
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
    switch("Force", "Do not ask: the plan is done with MAC address spoofing, and the memory stays.")
        .flag("force"),
    switch("DisableDynamicMemory", "Also make the memory static, which is advice only.")
        .flag("static-memory"),
    boolean("MacAddressSpoofing", "Let frames of inner machines out, or not; asked for unless it is said.")
        .flag("spoofing"),
    bytes("MemoryStartupBytes", "Have at least this much memory; 4GB is offered unless it is said.")
        .flag("memory"),
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

/// What Microsoft's script advises for a VM that holds VMs (reference: 3.1).
const ADVISED_MEMORY: u64 = 4 << 30;

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Stop(State),
    Expose,
    StaticMemory,
    Memory(u64),
    Spoofing,
}

/// What the person said beforehand. `None`: asked, where there is somebody to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub static_memory: bool,
    pub spoofing: Option<bool>,
    pub memory: Option<u64>,
    /// Nobody is asked.
    pub forced: bool,
}

/// Steps in their order: the VM off before all, then processor, memory and network. Those of `optional` are asked for one
/// by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub optional: Vec<Step>,
}

impl Plan {
    pub fn new(config: &Config, state: State, options: &Options) -> Self {
        let mut plan = Self::default();
        if !config.processor.expose_virtualization_extensions {
            plan.steps.push(Step::Expose);
        }
        if options.static_memory && config.memory.dynamic {
            plan.steps.push(Step::StaticMemory);
        }
        match options.memory {
            Some(memory) if config.memory.startup < memory => plan.steps.push(Step::Memory(memory)),
            None if config.memory.startup < ADVISED_MEMORY && !options.forced => {
                plan.optional.push(Step::Memory(ADVISED_MEMORY));
            }
            _ => (),
        }
        // A change of memory is possible while it runs, but not what goes with it.
        if !plan.steps.is_empty() && state != State::Off {
            plan.steps.insert(0, Step::Stop(state));
        }
        if config.adapters.iter().any(|adapter| !adapter.mac_address_spoofing) {
            match options.spoofing {
                Some(true) => plan.steps.push(Step::Spoofing),
                None if options.forced => plan.steps.push(Step::Spoofing),
                None => plan.optional.push(Step::Spoofing),
                Some(false) => (),
            }
        }
        plan
    }

    /// For people, a line or two for each step.
    fn lines(&self, name: &str) -> Vec<String> {
        let certain = self.steps.iter().flat_map(|step| step.lines(name));
        certain.chain(self.optional.iter().map(Step::offer)).map(|line| format!("  {line}")).collect()
    }
}

impl Step {
    fn lines(&self, name: &str) -> Vec<String> {
        match self {
            Self::Stop(state) => vec![format!("Vm State: {state}"), format!("{name} will be turned off")],
            Self::Expose => vec!["Virtualization extensions will be enabled".into()],
            Self::StaticMemory => vec!["Dynamic memory will be disabled".into()],
            Self::Memory(memory) => vec![format!("Vm memory will be set to {} MB", memory / MIB)],
            Self::Spoofing => vec!["Mac address spoofing will be enabled".into()],
        }
    }

    fn offer(&self) -> String {
        match self {
            Self::Spoofing => "Optionally enable mac address spoofing".into(),
            _ => "Optionally set vm memory to 4GB".into(),
        }
    }

    /// What is said before an optional step, its question, and what is said after a no.
    fn question(&self, free: u64) -> [String; 3] {
        match self {
            Self::Spoofing => [
                "Mac address spoofing isn't enabled (nested guests won't have network).".into(),
                "Would you like to enable MAC address spoofing?".into(),
                "Not enabling Mac address spoofing.".into(),
            ],
            _ => [
                format!(
                    "Vm memory is set less than 4GB, without 4GB or more, you may not be able to start VMs. This host has {} MB free.",
                    free / MIB
                ),
                "Would you like to set Vm memory to 4GB?".into(),
                "Not setting Vm Memory to 4GB.".into(),
            ],
        }
    }

    /// Whether it shows in the VM as it is now.
    fn is_done(&self, config: &Config, state: State) -> bool {
        match self {
            Self::Stop(_) => state == State::Off,
            Self::Expose => config.processor.expose_virtualization_extensions,
            Self::StaticMemory => !config.memory.dynamic,
            Self::Memory(memory) => config.memory.startup >= *memory,
            Self::Spoofing => config.adapters.iter().all(|adapter| adapter.mac_address_spoofing),
        }
    }
}

fn enable(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.arguments.items("Name").iter().any(|name| name.to_string().is_empty()) {
        return Err(Failure::invalid("No VM name passed."));
    }
    let configs = vms(call, Ambiguity::Refused)?;
    call.each(configs, |call, config| {
        enable_one(call, &config)?;
        let record = vm_status(call, &call.host.store.load(config.id)?);
        call.give(record);
        Ok(())
    });
    Ok(())
}

fn options(call: &Call<'_>) -> Options {
    let arguments = call.arguments;
    Options {
        static_memory: arguments.switch("DisableDynamicMemory"),
        spoofing: arguments.bool("MacAddressSpoofing"),
        memory: arguments.int("MemoryStartupBytes").map(|bytes| bytes.unsigned_abs()),
        forced: arguments.bool("Confirm").map_or(arguments.switch("Force"), |asked_for| !asked_for),
    }
}

fn enable_one(call: &mut Call<'_>, config: &Config) -> Result<(), Failure> {
    let name = config.name.as_str();
    let plan = Plan::new(config, call.host.vm(config.clone()).state, &options(call));
    if plan == Plan::default() {
        call.surface.say("None, vm is already setup for nesting");
        return Ok(());
    }
    // Before anything is stopped or changed.
    if let Some(blocker) = blockers(call, config).first() {
        return Err(Failure::refused(format!("'{name}' cannot nest: {}.", blocker.0)).about(name));
    }
    call.surface.say(&format!("This will set the following for {name} in order to enable nesting:"));
    plan.lines(name).iter().for_each(|line| call.surface.say(line));
    if !call.should_ask("enable nesting for", name, "Do you want to make these changes?") {
        return Ok(());
    }
    plan.steps.into_iter().try_for_each(|step| apply(call, config, step))?;
    plan.optional.into_iter().try_for_each(|step| offer(call, config, step))
}

fn offer(call: &mut Call<'_>, config: &Config, step: Step) -> Result<(), Failure> {
    let [warning, question, declined] = step.question(call.host.system.host().memory_free);
    call.surface.say(&warning);
    if call.surface.offer(&Question { title: "Confirm".into(), text: question }) {
        return apply(call, config, step);
    }
    call.surface.say(&declined);
    Ok(())
}

/// Each step is the operation that a person would use. Its failure ends the flow, and so does a step that shows no
/// effect.
fn apply(call: &mut Call<'_>, config: &Config, step: Step) -> Result<(), Failure> {
    let vm = config.id.to_string();
    let (cmdlet, name, setting): (_, _, Option<(_, Value)>) = match step {
        Step::Stop(_) => ("Stop-VM", "Name", None),
        Step::Expose => ("Set-VMProcessor", "VMName", Some(("ExposeVirtualizationExtensions", true.into()))),
        Step::StaticMemory => ("Set-VMMemory", "VMName", Some(("DynamicMemoryEnabled", false.into()))),
        Step::Memory(memory) => ("Set-VMMemory", "VMName", Some(("StartupBytes", memory.into()))),
        Step::Spoofing => ("Set-VMNetworkAdapter", "VMName", Some(("MacAddressSpoofing", "On".into()))),
    };
    let given: Vec<_> = std::iter::once((name, Value::from(vm))).chain(setting).collect();
    run(call, cmdlet, &given)?;
    let now = call.host.vm(call.host.store.load(config.id)?);
    if step.is_done(&now.config, now.state) {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{cmdlet} went through, but '{}' does not show it; somebody else may be changing it, so try again.",
        config.name
    ))
    .about(&config.name))
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
    let (facts, hardware) = (call.host.system.host(), call.host.system.hardware());
    let engine = call.host.system.engine("auto", true);
    let kvm = call.host.system.engine("kvm", true);
    let (can, name, reason, why) = match engine {
        Ok(engine) if engine.nested => (true, engine.name, engine.reason, Vec::new()),
        Ok(engine) => (false, engine.name, String::new(), vec![engine.reason]),
        Err(why) => (false, String::new(), String::new(), vec![why]),
    };
    let hardware_nesting = kvm.as_ref().is_ok_and(|kvm| kvm.nested);
    Record::new(Kind::NestedVmStatus)
        .with("Computer", facts.name.as_str())
        .with("Manufacturer", hardware.manufacturer)
        .with("Model", hardware.model)
        .with("ProcessorManufacturer", facts.vendor.as_str())
        .with("ProcessorName", facts.brand.as_str())
        .with("LogicalProcessorCount", facts.logical_processors)
        .with("VirtualizationExtensions", hardware.extensions)
        .with("KvmNestedParameter", hardware.kvm_nested)
        .with("HardwareNesting", hardware_nesting)
        .with("HardwareBlocker", kvm.err())
        .with("Engine", name)
        .with("EngineReason", reason)
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
#[path = "nested_tests.rs"]
mod tests;
