//! Get-VMHost, Set-VMHost, Get-VMHostNumaNode and Get-VMHostSupportedVersion.

use crate::host::{HostFacts, NumaNode};
use crate::operation::parameter::{boolean, int, path, switch, text};
use crate::operation::{Call, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View};
use crate::store::{ConfigVersion, HostSettings};
use crate::value::{Kind, Record, Value};
use std::path::Path;

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Get-VMHost",
        aliases: &[],
        verbs: &[Verb { name: "host", doc: "Show this host.", view: View::List, needs_name: false }],
        rest: Rest { method: Method::Get, route: "/host" },
        doc: "Gives this host.",
        parameters: &[],
        prints: Prints::Always,
        result: Some(Kind::VMHost),
        impact: Impact::None,
        run: host,
    },
    Operation {
        cmdlet: "Set-VMHost",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Patch, route: "/host" },
        doc: "Changes settings of this host.",
        parameters: &[SET],
        prints: Prints::Passthru,
        result: Some(Kind::VMHost),
        impact: Impact::Change,
        run: set,
    },
    Operation {
        cmdlet: "Get-VMHostNumaNode",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Get, route: "/host/numa" },
        doc: "Gives the NUMA nodes of this host.",
        parameters: &[&[int("Id", 0, i32::MAX as i64, "The node's number.").at(0)]],
        prints: Prints::Always,
        result: Some(Kind::VMHostNumaNode),
        impact: Impact::None,
        run: numa_nodes,
    },
    Operation {
        cmdlet: "Get-VMHostSupportedVersion",
        aliases: &[],
        verbs: &[Verb {
            name: "versions",
            doc: "List configuration versions.",
            view: View::Table,
            needs_name: false,
        }],
        rest: Rest { method: Method::Get, route: "/host/versions" },
        doc: "Gives the configuration versions that this host runs.",
        parameters: &[&[switch("Default", "Only that of new virtual machines.")]],
        prints: Prints::Always,
        result: Some(Kind::VMHostSupportedVersion),
        impact: Impact::None,
        run: versions,
    },
];

const SET: &[Parameter] = &[
    path(
        "VirtualHardDiskPath",
        "The directory of new disks whose names say none (New-VM -NewVHDPath); empty: that of the caller.",
    ),
    path(
        "VirtualMachinePath",
        "Where virtual machines are kept: IREKO_HOME says that, so nothing else is taken.",
    ),
    text("MacAddressMinimum", "The first address of new network adapters."),
    text("MacAddressMaximum", "The last one."),
    boolean("NumaSpanningEnabled", "Only $true: the host's kernel spreads virtual machines over its nodes."),
    boolean("EnableEnhancedSessionMode", "Only $false: a screen is reached by VNC."),
];

/// The range that Hyper-V uses (reference: 2.3), of which addresses follow from ids.
pub const MAC_ADDRESSES: (u64, u64) = (0x0015_5d00_0000, 0x0015_5dff_ffff);

fn record(call: &Call<'_>) -> Result<Record, Failure> {
    let settings = call.host.store.host_settings()?;
    let facts = call.host.system.host();
    let engine = call.host.system.engine("auto", true);
    let store = call.host.store.home().display().to_string();
    let disks = settings.hard_disk_path.map_or_else(|| store.clone(), |path| path.display().to_string());
    let (first, last) = settings.mac_addresses.unwrap_or(MAC_ADDRESSES);
    Ok(Record::new(Kind::VMHost)
        .with("LogicalProcessorCount", facts.logical_processors)
        .with("MemoryCapacity", facts.memory)
        .with("MemoryAvailable", facts.memory_free)
        .with("MacAddressMinimum", format!("{first:012X}"))
        .with("MacAddressMaximum", format!("{last:012X}"))
        .with("VirtualMachinePath", store)
        .with("VirtualHardDiskPath", disks)
        .with("VirtualMachineMigrationEnabled", false)
        .with("EnableEnhancedSessionMode", false)
        .with("NumaSpanningEnabled", true)
        .with("IovSupport", false)
        .with("ProcessorVendor", facts.vendor.as_str())
        .with("ProcessorName", facts.brand.as_str())
        .with("NestedEngine", engine.as_ref().map_or_else(Clone::clone, |engine| engine.name.clone()))
        .with("Name", facts.name.as_str())
        .with("ComputerName", facts.name.as_str()))
}

fn host(call: &mut Call<'_>) -> Result<(), Failure> {
    let record = record(call)?;
    call.give(record);
    Ok(())
}

fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    let name = call.host.system.host().name;
    refuse_what_stands(call)?;
    if !call.should("change the settings of the host", &name) {
        return Ok(());
    }
    call.host.store.change_host_settings(|settings| apply(call, settings))?;
    let record = record(call)?;
    call.give(record);
    Ok(())
}

/// What is as it is.
fn refuse_what_stands(call: &Call<'_>) -> Result<(), Failure> {
    let arguments = call.arguments;
    let home = call.host.store.home();
    if let Some(path) = arguments.text("VirtualMachinePath").filter(|path| Path::new(path) != home) {
        return Err(Failure::later(format!(
            "Virtual machines are kept in '{}', which IREKO_HOME says; set that to '{path}' where ireko is called.",
            home.display()
        )));
    }
    if arguments.bool("NumaSpanningEnabled") == Some(false) {
        return Err(Failure::later(
            "The host's kernel spreads a virtual machine over its NUMA nodes; numactl binds the program that starts one.",
        ));
    }
    match arguments.bool("EnableEnhancedSessionMode") {
        Some(true) => Err(Failure::later("There is no enhanced session mode: a screen is reached by VNC.")),
        _ => Ok(()),
    }
}

fn apply(call: &Call<'_>, settings: &mut HostSettings) -> Result<(), Failure> {
    let arguments = call.arguments;
    match arguments.text("VirtualHardDiskPath") {
        None => (),
        Some("") => settings.hard_disk_path = None,
        Some(path) => {
            let path = super::disk::absolute(path)?;
            if !path.is_dir() {
                return Err(Failure::invalid(format!(
                    "'{}' is no directory; make it, or give one that is there.",
                    path.display()
                )));
            }
            settings.hard_disk_path = Some(path);
        }
    }
    let end = |name: &str, old: u64| match arguments.text(name) {
        Some(text) => Ok(u64::from_str_radix(&super::network::mac(text)?, 16).unwrap_or(old)),
        None => Ok::<u64, Failure>(old),
    };
    let old = settings.mac_addresses.unwrap_or(MAC_ADDRESSES);
    let new = (end("MacAddressMinimum", old.0)?, end("MacAddressMaximum", old.1)?);
    if new.0 > new.1 {
        return Err(Failure::invalid(format!(
            "MacAddressMinimum ({:012X}) must not be above MacAddressMaximum ({:012X}).",
            new.0, new.1
        )));
    }
    settings.mac_addresses = (new != MAC_ADDRESSES).then_some(new);
    Ok(())
}

fn numa_nodes(call: &mut Call<'_>) -> Result<(), Failure> {
    let facts = call.host.system.host();
    let mut nodes = call.host.system.numa_nodes();
    if nodes.is_empty() {
        nodes.push(NumaNode {
            id: 0,
            processors: (0..facts.logical_processors).collect(),
            memory: facts.memory,
            memory_free: facts.memory_free,
        });
    }
    if let Some(id) = call.arguments.int("Id") {
        nodes.retain(|node| i64::from(node.id) == id);
        if nodes.is_empty() {
            return Err(Failure::invalid(format!(
                "This host has no NUMA node {id}; see Get-VMHostNumaNode."
            ))
            .absent());
        }
    }
    nodes.iter().for_each(|node| call.give(numa_node(node, &facts)));
    Ok(())
}

/// Megabytes, as Hyper-V has them there.
fn numa_node(node: &NumaNode, facts: &HostFacts) -> Record {
    Record::new(Kind::VMHostNumaNode)
        .with("NodeId", node.id)
        .with("ProcessorsAvailability", Value::list(node.processors.iter().map(|_| 100_i64)))
        .with("LogicalProcessors", Value::list(node.processors.iter().map(|number| i64::from(*number))))
        .with("MemoryAvailable", i64::try_from(node.memory_free >> 20).unwrap_or(i64::MAX))
        .with("MemoryTotal", i64::try_from(node.memory >> 20).unwrap_or(i64::MAX))
        .with("ComputerName", facts.name.as_str())
}

/// The host that brought each version (reference: 1.2).
const NAMES: &[(ConfigVersion, &str)] = &[
    (ConfigVersion(8, 0), "Microsoft Windows 10 Anniversary Update/Server 2016"),
    (ConfigVersion(9, 0), "Microsoft Windows 10 October 2018 Update/Server 2019"),
    (ConfigVersion(9, 1), "Microsoft Windows 10 April 2019 Update"),
    (ConfigVersion(9, 2), "Microsoft Windows 10 21H2"),
    (ConfigVersion(9, 3), "Microsoft Windows 10 21H2/Server 2022 Preview"),
    (ConfigVersion(10, 0), "Microsoft Windows 11 21H2/Server 2022"),
    (ConfigVersion(11, 0), "Microsoft Windows 11 22H2"),
    (ConfigVersion(12, 0), "Microsoft Windows 11 24H2/Server 2025"),
];

fn versions(call: &mut Call<'_>) -> Result<(), Failure> {
    let only_default = call.arguments.switch("Default");
    for version in ConfigVersion::SUPPORTED {
        let is_default = *version == ConfigVersion::NEWEST;
        if only_default && !is_default {
            continue;
        }
        let name = NAMES.iter().find(|(own, _)| own == version).map_or("", |(_, name)| name);
        let record = Record::new(Kind::VMHostSupportedVersion)
            .with("Name", name)
            .with("Version", version.to_string())
            .with("IsDefault", is_default);
        call.give(record);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::ops::tests::World;
    use crate::value::Value;

    #[test]
    fn new_adapters_have_addresses_of_the_range_that_is_set() {
        let world = World::new();
        let range =
            [("MacAddressMinimum", "02AA00000010".into()), ("MacAddressMaximum", "02AA0000001F".into())];
        world.ok("Set-VMHost", &range);
        world.ok("New-VM", &[("Name", "vm".into())]);
        let mac = world.property("Get-VMNetworkAdapter", "MacAddress");
        assert!(mac.starts_with("02AA0000001"), "{mac}");
    }

    #[test]
    fn no_two_adapters_have_an_address_of_a_range_and_one_too_many_is_refused() {
        let world = World::new();
        let range =
            [("MacAddressMinimum", "02AA00000010".into()), ("MacAddressMaximum", "02AA00000012".into())];
        world.ok("Set-VMHost", &range);
        (0..3).for_each(|n| drop(world.ok("New-VM", &[("Name", format!("vm{n}").as_str().into())])));
        let adapters = world.ok("Get-VMNetworkAdapter", &[("VMName", "*".into())]).records;
        let mut all: Vec<String> =
            adapters.iter().filter_map(|own| Some(own.property("MacAddress")?.to_string())).collect();
        all.sort();
        assert_eq!(all, ["02AA00000010", "02AA00000011", "02AA00000012"]);
        let said = world.error("New-VM", &[("Name", "one more".into())]);
        assert!(said.contains("02AA00000010 to 02AA00000012") && said.contains("Set-VMHost"), "{said}");
    }

    #[test]
    fn a_range_with_addresses_of_many_gives_those_of_one() {
        let world = World::new();
        let range =
            [("MacAddressMinimum", "02FFFFFFFFFF".into()), ("MacAddressMaximum", "040000000000".into())];
        world.ok("Set-VMHost", &range);
        (0..2).for_each(|n| drop(world.ok("New-VM", &[("Name", format!("vm{n}").as_str().into())])));
        for adapter in world.ok("Get-VMNetworkAdapter", &[("VMName", "*".into())]).records {
            let mac = adapter.property("MacAddress").unwrap().to_string();
            assert!(mac == "02FFFFFFFFFF" || mac == "040000000000", "{mac}");
        }
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_refused_and_changes_nothing() {
        let world = World::new();
        let said = world.error("Set-VMHost", &[("MacAddressMinimum", "02AA00000010".into())]);
        assert!(said.contains("02AA00000010") && said.contains("00155DFFFFFF"), "{said}");
        assert_eq!(
            world.ok("Get-VMHost", &[]).records[0].property("MacAddressMinimum"),
            Some(&"00155D000000".into())
        );
    }

    #[test]
    fn a_disk_whose_name_says_no_directory_goes_where_the_host_keeps_disks() {
        let (world, place) = (World::new(), crate::scratch::Scratch::new());
        world.ok("Set-VMHost", &[("VirtualHardDiskPath", place.path().display().to_string().into())]);
        let disk = [("NewVHDPath", "d.vhdx".into()), ("NewVHDSizeBytes", Value::Int(8 << 20))];
        world.ok("New-VM", &[&[("Name", "vm".into())], &disk[..]].concat());
        assert!(place.path().join("d.vhdx").exists());
    }

    #[test]
    fn a_place_for_machines_is_refused_with_what_says_it() {
        assert!(
            World::new().error("Set-VMHost", &[("VirtualMachinePath", "/x".into())]).contains("IREKO_HOME")
        );
    }

    #[test]
    fn a_host_that_does_not_say_has_one_node_with_all_processors() {
        let nodes = World::new().ok("Get-VMHostNumaNode", &[]).records;
        assert_eq!(nodes.len(), 1);
        assert_eq!(nodes[0].property("LogicalProcessors").unwrap().items().len(), 2);
    }
}
