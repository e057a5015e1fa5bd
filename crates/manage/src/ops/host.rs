//! Get-VMHost and Get-VMHostSupportedVersion.

use crate::operation::parameter::switch;
use crate::operation::{Call, Failure, Impact, Method, Operation, Prints, Rest, Verb, View};
use crate::store::ConfigVersion;
use crate::value::{Kind, Record};

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

fn host(call: &mut Call<'_>) -> Result<(), Failure> {
    let facts = call.host.system.host();
    let engine = call.host.system.engine("auto", true);
    let store = call.host.store.home().display().to_string();
    let record = Record::new(Kind::VMHost)
        .with("LogicalProcessorCount", facts.logical_processors)
        .with("MemoryCapacity", facts.memory)
        .with("MemoryAvailable", facts.memory_free)
        .with("MacAddressMinimum", "00155D000000")
        .with("MacAddressMaximum", "00155DFFFFFF")
        .with("VirtualMachinePath", store.as_str())
        .with("VirtualHardDiskPath", store.as_str())
        .with("VirtualMachineMigrationEnabled", false)
        .with("EnableEnhancedSessionMode", false)
        .with("NumaSpanningEnabled", true)
        .with("IovSupport", false)
        .with("ProcessorVendor", facts.vendor.as_str())
        .with("ProcessorName", facts.brand.as_str())
        .with("NestedEngine", engine.as_ref().map_or_else(Clone::clone, |engine| engine.name.clone()))
        .with("Name", facts.name.as_str())
        .with("ComputerName", facts.name.as_str());
    call.give(record);
    Ok(())
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
