//! Get-, Enable- and Disable-VMIntegrationService: what a VM and its guest do for each other, by QEMU's guest agent; and what a guest
//! tells of itself.

use super::targets::{Ambiguity, VSTD, VSTD_SECOND, change, runs, vms};
use crate::host::Vm;
use crate::operation::parameter::text;
use crate::operation::{
    Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest, Verb, View,
};
use crate::state::State;
use crate::store::Config;
use crate::store::config::Integration;
use crate::value::{Kind, Record};
use crate::worker::guest::{Contact, Facts};
use crate::worker::protocol::Request;

const fn verb(name: &'static str, doc: &'static str) -> Verb {
    Verb { name, doc, view: View::Table, needs_name: true }
}

const SERVICE: Operation = Operation {
    cmdlet: "",
    aliases: &[],
    verbs: &[],
    rest: Rest { method: Method::Post, route: "" },
    doc: "",
    parameters: &[&VSTD_SECOND, NAME],
    prints: Prints::Passthru,
    result: Some(Kind::VMIntegrationService),
    impact: Impact::Change,
    run: |_| Ok(()),
};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Get-VMIntegrationService",
        verbs: &[verb("services", "List integration services.")],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/services" },
        doc: "Gives the integration services of virtual machines: what they and their guests do for each other. In the guest QEMU's guest agent does its part.",
        parameters: &[&VSTD, NAMES],
        prints: Prints::Always,
        impact: Impact::None,
        run: get,
        ..SERVICE
    },
    Operation {
        cmdlet: "Enable-VMIntegrationService",
        verbs: &[verb("service-enable", "Switch an integration service on.")],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/services/enable" },
        doc: "Switches integration services of virtual machines on, also of those that run.",
        run: |call| switch(call, true),
        ..SERVICE
    },
    Operation {
        cmdlet: "Disable-VMIntegrationService",
        verbs: &[verb("service-disable", "Switch an integration service off.")],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/services/disable" },
        doc: "Switches integration services of virtual machines off, also of those that run: the guest is not asked for what they are any more.",
        run: |call| switch(call, false),
        ..SERVICE
    },
    Operation {
        cmdlet: "Get-VMKeyValuePair",
        verbs: &[verb("guest", "Show what the guest tells of itself.")],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/key-value-pairs" },
        doc: "Gives what guests of running virtual machines tell of themselves, by the names of Hyper-V's key-value pairs (Ireko's own).",
        parameters: &[&VSTD],
        prints: Prints::Always,
        result: Some(Kind::VMKeyValuePair),
        impact: Impact::None,
        run: pairs,
        ..SERVICE
    },
];

const WHICH: &str = "Which services, by their names; wildcards count.";
const NAMES: &[Parameter] = &[text("Name", WHICH).many().at(1).flag("name")];
const NAME: &[Parameter] =
    &[text("Name", WHICH).many().required().at(0).pipe(Pipeline::ByPropertyName).flag("name")];

/// One of them: its name, whether it is on, and where that is kept.
struct Service {
    name: &'static str,
    /// Whether something here and in the guest does it.
    works: bool,
    setting: fn(&mut Integration) -> &mut bool,
}

/// In Hyper-V's order.
static SERVICES: [Service; 6] = [
    Service { name: "Guest Service Interface", works: true, setting: |all| &mut all.guest_service_interface },
    Service { name: "Heartbeat", works: true, setting: |all| &mut all.heartbeat },
    Service { name: "Key-Value Pair Exchange", works: true, setting: |all| &mut all.key_value_pairs },
    Service { name: "Shutdown", works: true, setting: |all| &mut all.shutdown },
    Service { name: "Time Synchronization", works: true, setting: |all| &mut all.time_synchronization },
    Service { name: "VSS", works: false, setting: |all| &mut all.vss },
];

fn named(names: &[String]) -> Result<Vec<&'static Service>, Failure> {
    if names.is_empty() {
        return Ok(SERVICES.iter().collect());
    }
    let mut found: Vec<&Service> = Vec::new();
    for name in names {
        let meant = SERVICES.iter().filter(|service| crate::select::wildcard(name, service.name));
        let before = found.len();
        found.extend(meant);
        if found.len() == before {
            let known = SERVICES.iter().map(|service| service.name).collect::<Vec<_>>().join(", ");
            return Err(Failure::invalid(format!(
                "There is no integration service '{}': {known}.",
                name.escape_debug()
            ))
            .about(name));
        }
    }
    Ok(found)
}

fn names(call: &Call<'_>) -> Vec<String> {
    call.arguments.items("Name").iter().map(ToString::to_string).collect()
}

/// What a service that is on comes to.
fn described(vm: &Vm, service: &Service) -> &'static str {
    let contact = vm.status.as_ref().map(|status| status.guest.contact);
    match contact {
        None => "",
        Some(Contact::There) if service.works => "OK",
        Some(Contact::Lost) if service.works => "Lost Communication",
        Some(_) => "No Contact",
    }
}

fn record(vm: &Vm, service: &Service) -> Record {
    let enabled = *(service.setting)(&mut vm.config.integration.clone());
    let described = if enabled { described(vm, service) } else { "" };
    Record::new(Kind::VMIntegrationService)
        .with("VMName", vm.config.name.as_str())
        .with("Name", service.name)
        .with("Enabled", enabled)
        .with("PrimaryStatusDescription", described)
        .with("SecondaryStatusDescription", "")
        .with("OperationalStatus", described)
        .with("VMId", vm.config.id)
}

/// All of a VM's.
pub fn records(vm: &Vm) -> Vec<Record> {
    SERVICES.iter().map(|service| record(vm, service)).collect()
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let services = named(&names(call))?;
    let configs = vms(call, Ambiguity::Allowed)?;
    for vm in call.host.vms(configs) {
        services.iter().for_each(|service| call.give(record(&vm, service)));
    }
    Ok(())
}

fn switch(call: &mut Call<'_>, on: bool) -> Result<(), Failure> {
    let services = named(&names(call))?;
    let body = |call: &mut Call<'_>, config: &mut Config, state: State| {
        let mut settings = config.integration.clone();
        services.iter().for_each(|service| *(service.setting)(&mut settings) = on);
        if settings != config.integration && runs(state) {
            call.host.ask(config, &Request::Integration { settings: settings.clone() })?;
        }
        config.integration = settings;
        Ok(())
    };
    let words = if on { "switch integration services on of" } else { "switch integration services off of" };
    change(call, words, body, |vm, _| records(vm))
}

fn pairs(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Allowed)?;
    for vm in call.host.vms(configs) {
        match vm.status.as_ref().and_then(|status| status.guest.facts.as_ref()) {
            Some(facts) => told(facts).into_iter().for_each(|(name, data)| call.give(pair(&vm, name, &data))),
            None => call.warn(nothing(&vm)),
        }
    }
    Ok(())
}

fn pair(vm: &Vm, name: &str, data: &str) -> Record {
    Record::new(Kind::VMKeyValuePair)
        .with("VMName", vm.config.name.as_str())
        .with("Name", name.to_owned())
        .with("Data", crate::render::printable(data).to_string())
        .with("VMId", vm.config.id)
}

fn nothing(vm: &Vm) -> String {
    let name = &vm.config.name;
    match vm.status {
        None => format!("'{name}' is not running, so its guest tells nothing."),
        Some(_) if !vm.config.integration.key_value_pairs => format!(
            "The service Key-Value Pair Exchange of '{name}' is off; switch it on with Enable-VMIntegrationService."
        ),
        Some(_) => format!(
            "The guest of '{name}' has told nothing (yet): it needs QEMU's guest agent (Debian: package qemu-guest-agent)."
        ),
    }
}

/// By the names that Hyper-V has for them (Msvm_KvpExchangeComponent), where there is something.
fn told(facts: &Facts) -> Vec<(&'static str, String)> {
    let all = facts.interfaces.iter().flat_map(|one| &one.addresses);
    let (four, six): (Vec<_>, Vec<_>) = all.partition(|address| address.is_ipv4());
    let joined = |addresses: Vec<&std::net::IpAddr>| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(";")
    };
    let pairs = [
        ("FullyQualifiedDomainName", facts.host_name.clone()),
        ("OSName", facts.os_name.clone()),
        ("OSMajorVersion", facts.os_version.clone()),
        ("OSVersion", facts.kernel.clone()),
        ("ProcessorArchitecture", facts.architecture.clone()),
        ("NetworkAddressIPv4", joined(four)),
        ("NetworkAddressIPv6", joined(six)),
    ];
    pairs.into_iter().filter(|(_, data)| !data.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use crate::ops::tests::World;
    use crate::value::Value;

    fn services(world: &World) -> Vec<(String, bool)> {
        let records = world.ok("Get-VMIntegrationService", &[("VMName", "vm".into())]).records;
        let text = |record: &crate::Record, name: &str| record.property(name).unwrap().to_string();
        records.iter().map(|record| (text(record, "Name"), text(record, "Enabled") == "True")).collect()
    }

    fn switch(world: &World, cmdlet: &str, name: &str) {
        world.ok(cmdlet, &[("VMName", "vm".into()), ("Name", Value::list([name]))]);
    }

    #[test]
    fn all_are_on_but_one() {
        let world = World::with(&["vm"]);
        let off: Vec<_> = services(&world).into_iter().filter(|(_, on)| !on).map(|(name, _)| name).collect();
        assert_eq!((services(&world).len(), off), (6, vec!["Guest Service Interface".to_owned()]));
    }

    #[test]
    fn they_are_switched_by_their_names_also_while_it_runs() {
        let world = World::with(&["vm"]);
        world.ok("Start-VM", &[("Name", "vm".into())]);
        switch(&world, "Disable-VMIntegrationService", "heart*");
        assert!(services(&world).contains(&("Heartbeat".into(), false)));
        assert_eq!(world.property("Get-VM", "Heartbeat"), "Disabled");
        switch(&world, "Enable-VMIntegrationService", "Heartbeat");
        assert!(services(&world).contains(&("Heartbeat".into(), true)));
        assert_eq!(world.property("Get-VM", "Heartbeat"), "NoContact");
    }

    #[test]
    fn one_that_there_is_not_is_said_with_those_that_there_are() {
        let world = World::with(&["vm"]);
        let said = world.error(
            "Disable-VMIntegrationService",
            &[("VMName", "vm".into()), ("Name", Value::list(["Telepathy"]))],
        );
        assert!(said.contains("'Telepathy'") && said.contains("Time Synchronization"), "{said}");
    }

    #[test]
    fn without_the_service_a_guest_is_not_shut_down() {
        let world = World::with(&["vm"]);
        world.ok("Start-VM", &[("Name", "vm".into())]);
        switch(&world, "Disable-VMIntegrationService", "Shutdown");
        let said = world.error("Stop-VM", &[("Name", "vm".into())]);
        assert!(said.contains("Enable-VMIntegrationService") && said.contains("-TurnOff"), "{said}");
        switch(&world, "Enable-VMIntegrationService", "Shutdown");
        world.ok("Stop-VM", &[("Name", "vm".into())]);
    }

    #[test]
    fn a_guest_that_tells_nothing_is_said() {
        let world = World::with(&["vm"]);
        let off = world.ok("Get-VMKeyValuePair", &[("VMName", "vm".into())]);
        assert!(off.warnings[0].contains("not running"), "{:?}", off.warnings);
        world.ok("Start-VM", &[("Name", "vm".into())]);
        let told = world.ok("Get-VMKeyValuePair", &[("VMName", "vm".into())]);
        assert!(told.records.is_empty() && told.warnings[0].contains("guest agent"), "{:?}", told.warnings);
    }
}
