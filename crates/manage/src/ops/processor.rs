//! Get-VMProcessor and Set-VMProcessor.

use super::targets::{Ambiguity, PROCESSOR, VSTD, change, only_off, runs, vms};
use crate::operation::parameter::{boolean, int, text};
use crate::operation::{
    Arguments, Call, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::rules::nesting::{self, Vendor};
use crate::state::State;
use crate::store::{Config, Processor};
use crate::value::Kind;
use crate::worker::limits::weight::unreached;
use crate::worker::protocol::Request;

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Get-VMProcessor",
        aliases: &[],
        verbs: &[Verb { name: "processor", doc: "Show processors.", view: View::List, needs_name: true }],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/processor" },
        doc: "Gives the processor settings of virtual machines.",
        parameters: &[&VSTD],
        prints: Prints::Always,
        result: Some(Kind::VMProcessor),
        impact: Impact::None,
        run: get,
    },
    Operation {
        cmdlet: "Set-VMProcessor",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Patch, route: "/vms/{VMName}/processor" },
        doc: "Changes the processor settings of virtual machines.",
        parameters: &[&VSTD, &PROCESSOR, SET],
        prints: Prints::Passthru,
        result: Some(Kind::VMProcessor),
        impact: Impact::Change,
        run: set,
    },
];

/// Of Set-VMProcessor, Set-VM and New-VM.
pub const MODEL: Parameter = text(
    "ProcessorModel",
    "The processor that it sees: auto or a name of `ireko cpus`, with features more and less as in amd,+la57.",
);

const SET: &[Parameter] = &[
    int("Count", 1, 2048, "How many virtual processors."),
    boolean(
        "ExposeVirtualizationExtensions",
        "Whether the virtual machine may hold virtual machines itself.",
    ),
    int("HwThreadCountPerCore", 0, 8, "Threads a core; 0 is as the host."),
    int(
        "Maximum",
        0,
        100,
        "The most that each of its processors takes of one of the host's, in percent; 0 is as little as can be.",
    ),
    int("Reserve", 0, 100, "What is kept for it, in percent."),
    int("RelativeWeight", 1, 10_000, "Its weight where processors are short."),
    int("MaximumCountPerNumaNode", 1, 2048, "Processors a NUMA node."),
    int("MaximumCountPerNumaSocket", 1, 64, "NUMA nodes a socket."),
    boolean("CompatibilityForMigrationEnabled", "Fewer features, so that it may move."),
    boolean("CompatibilityForOlderOperatingSystemsEnabled", "Fewer features, for old systems."),
    boolean("EnableHostResourceProtection", "Guard the host from it."),
    MODEL,
];

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let (configs, facts) = (vms(call, Ambiguity::Allowed)?, call.host.system.host());
    for vm in call.host.vms(configs) {
        let record = records::processor(&vm, &facts);
        call.give(record);
    }
    Ok(())
}

fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    change(call, "change the processor of", apply, |vm, facts| vec![records::processor(vm, facts)])
}

/// Processor settings of Set-VMProcessor, Set-VM and New-VM.
pub fn apply(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let arguments = call.arguments;
    let maximum = config.processor.maximum;
    live(arguments, &mut config.processor)?;
    told(call, config);
    let before = config.processor.clone();
    fixed(arguments, &mut config.processor)?;
    if config.processor != before {
        only_off(state, &config.name, "The processor's count, model, topology and compatibility")
            .inspect_err(|_| config.processor = before)?;
    }
    let wanted = arguments.bool("ExposeVirtualizationExtensions");
    match wanted {
        Some(on) => expose(call, config, state, on)?,
        // What is exposed already must stay possible with what was changed.
        None if config.processor.expose_virtualization_extensions
            && (arguments.has("ProcessorModel") || arguments.has("Engine")) =>
        {
            expose(call, config, state, true)?;
        }
        None => {}
    }
    // The last: what is refused is not in force.
    if !runs(state) {
        return Ok(());
    }
    if config.processor.maximum != maximum {
        call.host.ask(config, &Request::Processor { maximum: config.processor.maximum })?;
    }
    let weight = config.processor.relative_weight;
    if arguments.has("RelativeWeight") && call.host.ask(config, &Request::Weight { weight }).is_err() {
        call.warn(format!("RelativeWeight of '{}' counts from its next start on.", config.name));
    }
    Ok(())
}

/// That a machine's weight cannot be had here, if so.
pub fn unreached_weight(call: &Call<'_>, weight: u32, name: &str) -> Option<String> {
    let why = unreached(weight, call.host.system.weighing())?;
    Some(format!("RelativeWeight {weight} of '{name}' {why}"))
}

fn expose(call: &Call<'_>, config: &mut Config, state: State, on: bool) -> Result<(), Failure> {
    let blockers = if on && state == State::Off { blockers(call, config) } else { Vec::new() };
    nesting::check_switch(config, on, state, &blockers)
        .map_err(|why| Failure::refused(why).about(&config.name))?;
    config.processor.expose_virtualization_extensions = on;
    Ok(())
}

/// What keeps this VM from nesting on this host.
pub fn blockers(call: &Call<'_>, config: &Config) -> Vec<nesting::Blocker> {
    let system = &call.host.system;
    let vendor = Vendor::of_host(&system.host().vendor);
    nesting::blockers(config, &system.engine(&config.engine, true), vendor)
}

fn live(arguments: &Arguments, processor: &mut Processor) -> Result<(), Failure> {
    let number = |name, old| arguments.int(name).map_or(old, |value| value as u32);
    processor.maximum = number("Maximum", processor.maximum);
    processor.reserve = number("Reserve", processor.reserve);
    processor.relative_weight = number("RelativeWeight", processor.relative_weight);
    let protect = arguments.bool("EnableHostResourceProtection");
    processor.host_resource_protection = protect.unwrap_or(processor.host_resource_protection);
    if processor.reserve > processor.maximum {
        return Err(Failure::invalid(format!(
            "Failed to modify device 'Processor'. Reserve ({}) must not be above Maximum ({}).",
            processor.reserve, processor.maximum
        )));
    }
    Ok(())
}

/// What does nothing on this host, or not yet, is said.
fn told(call: &mut Call<'_>, config: &Config) {
    let (arguments, name) = (call.arguments, &config.name);
    let more = |setting: &str, than: i64| arguments.int(setting).is_some_and(|value| value > than);
    let mut warnings = Vec::new();
    if more("Reserve", 0) {
        warnings.push(format!(
            "Reserve of '{name}' keeps nothing from others: the host's kernel shares its processors by weight (RelativeWeight); Maximum bounds the others."
        ));
    }
    if let Some(weight) = arguments.int("RelativeWeight") {
        warnings.extend(unreached_weight(call, weight as u32, name));
    }
    if arguments.bool("EnableHostResourceProtection") == Some(true) {
        warnings.push(format!(
            "EnableHostResourceProtection of '{name}' changes nothing: what a guest can take of its host is bounded always (docs/security.md)."
        ));
    }
    if more("HwThreadCountPerCore", 1) {
        warnings.push(format!("'{name}' sees processors of one thread a core all the same."));
    }
    if arguments.has("MaximumCountPerNumaNode") || arguments.has("MaximumCountPerNumaSocket") {
        warnings.push(format!(
            "'{name}' sees one NUMA node whatever MaximumCountPerNumaNode and MaximumCountPerNumaSocket say."
        ));
    }
    if arguments.bool("CompatibilityForOlderOperatingSystemsEnabled") == Some(true) {
        warnings.push(format!(
            "CompatibilityForOlderOperatingSystemsEnabled of '{name}' changes nothing; -ProcessorModel x86-64-v1 shows a processor with few features."
        ));
    }
    warnings.extend(too_many(call, config));
    warnings.into_iter().for_each(|warning| call.warn(warning));
}

/// That a machine with so many processors does not start here.
fn too_many(call: &Call<'_>, config: &Config) -> Option<String> {
    let arguments = call.arguments;
    let count = arguments.int("Count").or(arguments.int("ProcessorCount")).filter(|count| *count > 1)?;
    let (system, nested) = (&call.host.system, config.processor.expose_virtualization_extensions);
    let engine = system.engine(&config.engine, nested).ok()?;
    let most = i64::from(engine.max_vcpus.min(system.host().logical_processors));
    (count > most).then(|| {
        format!(
            "'{}' does not start on this host with {count} virtual processors: the engine {} gives {most} at most.",
            config.name, engine.name
        )
    })
}

fn fixed(arguments: &Arguments, processor: &mut Processor) -> Result<(), Failure> {
    let number = |name, old| arguments.int(name).map_or(old, |value| value as u32);
    let flag = |name, old| arguments.bool(name).unwrap_or(old);
    processor.count = number("Count", number("ProcessorCount", processor.count));
    processor.threads_per_core = number("HwThreadCountPerCore", processor.threads_per_core);
    processor.maximum_per_numa_node = number("MaximumCountPerNumaNode", processor.maximum_per_numa_node);
    processor.maximum_per_numa_socket =
        number("MaximumCountPerNumaSocket", processor.maximum_per_numa_socket);
    processor.compatibility_for_migration =
        flag("CompatibilityForMigrationEnabled", processor.compatibility_for_migration);
    processor.compatibility_for_older_operating_systems = flag(
        "CompatibilityForOlderOperatingSystemsEnabled",
        processor.compatibility_for_older_operating_systems,
    );
    match arguments.text("ProcessorModel") {
        Some("intel") => {
            return Err(Failure::later(
                "The processor model intel is not there yet: no engine has Intel's virtualization extensions of its own; use amd, or host on an Intel machine with KVM.",
            ));
        }
        Some(model) => {
            ireko_machine::cpu_model(model).map_err(|e| Failure::invalid(sentence(&e.to_string())))?;
            processor.model = model.to_owned();
        }
        None => (),
    }
    Ok(())
}

/// As the other errors of operations are written.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    format!("{}{}.", first.map(String::from).unwrap_or_default(), letters.as_str())
}

#[cfg(test)]
mod tests {
    use crate::ops::tests::World;
    use crate::value::Value;

    fn warned(setting: &str, value: Value) -> String {
        let world = World::with(&["vm"]);
        world.ok("Set-VMProcessor", &[("VMName", "vm".into()), (setting, value)]).warnings.join("\n")
    }

    #[test]
    fn what_does_nothing_is_said_when_it_is_set() {
        for (setting, value) in [
            ("Reserve", Value::Int(10)),
            ("RelativeWeight", Value::Int(200)),
            ("EnableHostResourceProtection", true.into()),
            ("HwThreadCountPerCore", Value::Int(2)),
            ("MaximumCountPerNumaNode", Value::Int(2)),
            ("CompatibilityForOlderOperatingSystemsEnabled", true.into()),
        ] {
            assert_ne!(warned(setting, value), "", "{setting}");
        }
    }

    #[test]
    fn what_acts_is_set_without_a_word() {
        for (setting, value) in
            [("Maximum", 20), ("RelativeWeight", 50), ("Reserve", 0), ("HwThreadCountPerCore", 1)]
        {
            assert_eq!(warned(setting, Value::Int(value)), "", "{setting}");
        }
    }

    #[test]
    fn more_processors_than_a_machine_starts_with_here_are_said_when_they_are_set() {
        let said = warned("Count", Value::Int(2000));
        assert!(said.contains("does not start on this host with 2000 virtual processors"), "{said}");
        assert_eq!(warned("Count", Value::Int(1)), "");
    }

    #[test]
    fn a_running_machine_hears_of_its_maximum() {
        let world = World::with(&["vm"]);
        world.ok("Start-VM", &[("Name", "vm".into())]);
        world.ok("Set-VMProcessor", &[("VMName", "vm".into()), ("Maximum", Value::Int(20))]);
        assert_eq!(world.property("Get-VMProcessor", "Maximum"), "20");
    }
}
