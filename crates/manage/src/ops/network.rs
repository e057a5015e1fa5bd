//! The network adapters of virtual machines: what they are plugged into, and what their ports allow.

use super::switch;
use super::targets::{ADAPTER, Ambiguity, VSTD, change, only_off, vms};
use crate::guid::Guid;
use crate::operation::parameter::{ON_OFF, int, object, one_of, switch as flag, text};
use crate::operation::{
    Call, Category, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::select;
use crate::state::State;
use crate::store::config::PortMirroring;
use crate::store::{Adapter, Config, Switch};
use crate::value::{Kind, Record, Value};
use crate::worker::protocol::Request;
use std::collections::BTreeSet;

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Get-VMNetworkAdapter",
        aliases: &[],
        verbs: &[Verb {
            name: "adapters",
            doc: "List network adapters.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/adapters" },
        doc: "Gives the network adapters of virtual machines, and with -ManagementOS this host's own.",
        parameters: &[GET, NAME],
        prints: Prints::Always,
        result: Some(Kind::VMNetworkAdapter),
        impact: Impact::None,
        run: get,
    },
    Operation {
        cmdlet: "Set-VMNetworkAdapter",
        aliases: &[],
        verbs: &[Verb {
            name: "adapter-set",
            doc: "Change what network adapters may do and send.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Patch, route: "/vms/{VMName}/adapters" },
        doc: "Changes network adapters: all of the virtual machine, or those of the given name.",
        parameters: &[&VSTD, &ADAPTER, NAME, SET],
        prints: Prints::Passthru,
        result: Some(Kind::VMNetworkAdapter),
        impact: Impact::Change,
        run: |call| change(call, "change the network adapters of", set, adapters),
    },
    Operation {
        cmdlet: "Add-VMNetworkAdapter",
        aliases: &[],
        verbs: &[Verb {
            name: "adapter-add",
            doc: "Give a virtual machine a network adapter.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/adapters" },
        doc: "Gives a virtual machine one more network adapter, or with -ManagementOS this host one in an External switch.",
        parameters: &[WHOSE, ADD],
        prints: Prints::Passthru,
        result: Some(Kind::VMNetworkAdapter),
        impact: Impact::Change,
        run: |call| match owner(call)? {
            Owner::Host => switch::manage(call, true),
            Owner::Machines => change(call, "add a network adapter to", add, adapters),
        },
    },
    Operation {
        cmdlet: "Remove-VMNetworkAdapter",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Delete, route: "/vms/{VMName}/adapters" },
        doc: "Takes network adapters away: all of the virtual machine, or those of the given name; with -ManagementOS this host's \
              in an External switch.",
        parameters: &[WHOSE, &ADAPTER, NAME, OF_SWITCH],
        prints: Prints::Passthru,
        result: Some(Kind::VMNetworkAdapter),
        impact: Impact::Change,
        run: |call| match owner(call)? {
            Owner::Host => switch::manage(call, false),
            Owner::Machines => change(call, "remove a network adapter of", remove, adapters),
        },
    },
    Operation {
        cmdlet: "Rename-VMNetworkAdapter",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/adapters/rename" },
        doc: "Gives a network adapter another name.",
        parameters: &[&VSTD, &ADAPTER, NAME_AT_1, RENAME],
        prints: Prints::Passthru,
        result: Some(Kind::VMNetworkAdapter),
        impact: Impact::Change,
        run: |call| change(call, "rename a network adapter of", rename, adapters),
    },
    Operation {
        cmdlet: "Connect-VMNetworkAdapter",
        aliases: &[],
        verbs: &[Verb {
            name: "connect",
            doc: "Plug a virtual machine's network adapters into a virtual switch.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/adapters/connect" },
        doc: "Plugs network adapters into a virtual switch; of a running virtual machine, too.",
        parameters: &[&VSTD, &ADAPTER, NAME, CONNECT],
        prints: Prints::Passthru,
        result: Some(Kind::VMNetworkAdapter),
        impact: Impact::Change,
        run: |call| change(call, "connect the network adapters of", connect, adapters),
    },
    Operation {
        cmdlet: "Disconnect-VMNetworkAdapter",
        aliases: &[],
        verbs: &[Verb {
            name: "disconnect",
            doc: "Pull the plugs of a virtual machine's network adapters.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/adapters/disconnect" },
        doc: "Pulls the plugs of network adapters; of a running virtual machine, too.",
        parameters: &[&VSTD, &ADAPTER, NAME_AT_1],
        prints: Prints::Passthru,
        result: Some(Kind::VMNetworkAdapter),
        impact: Impact::Change,
        run: |call| change(call, "disconnect the network adapters of", disconnect, adapters),
    },
];

pub(super) const NAME_TEXT: Parameter =
    text("Name", "The adapter's name; wildcards count.").alias(&["VMNetworkAdapterName"]);
const NAME: &[Parameter] = &[NAME_TEXT];
const NAME_AT_1: &[Parameter] = &[NAME_TEXT.at(1)];
const GET: &[Parameter] = &[
    VSTD[0].optional(),
    VSTD[1].optional(),
    flag("ManagementOS", "This host's own adapters.").set("ManagementOS"),
    flag("All", "Those of all virtual machines, and this host's own.").set("All"),
];
const SET: &[Parameter] = &[
    one_of("MacAddressSpoofing", ON_OFF, "Whether frames may leave with addresses of other machines."),
    one_of("DhcpGuard", ON_OFF, "Whether DHCP servers' answers from it are dropped."),
    one_of("RouterGuard", ON_OFF, "Whether router advertisements from it are dropped."),
    one_of(
        "PortMirroring",
        MIRRORING,
        "Whether Destination adapters of its switch hear what it sends and hears, too.",
    )
    .flag("port-mirroring"),
    text("StaticMacAddress", "12 hexadecimal digits."),
    flag("DynamicMacAddress", "An address of the host's range."),
    int("MaximumBandwidth", 0, MOST_LIMIT, "Bits that it sends in a second at most; 0 is no limit.")
        .flag("maximum-bandwidth"),
    int(
        "MaximumFramesPerSecond",
        0,
        MOST_LIMIT,
        "Frames that it sends in a second at most; 0 is no limit (Ireko's own).",
    )
    .flag("maximum-frames-per-second"),
];
const MIRRORING: &[&str] = &["None", "Source", "Destination"];
/// More than any host can do.
const MOST_LIMIT: i64 = 1 << 40;
const ADD: &[Parameter] = &[
    text("Name", "The adapter's name.").alias(&["VMNetworkAdapterName"]).flag("name"),
    text("SwitchName", "The virtual switch that it is plugged into.").flag("switch"),
    text("StaticMacAddress", "12 hexadecimal digits.").flag("mac"),
    flag("DynamicMacAddress", "An address of the host's range; so it is without this, too."),
];
const RENAME: &[Parameter] = &[text("NewName", "The new name.").required().at(2)];
const CONNECT: &[Parameter] = &[
    text("SwitchName", "The virtual switch.").at(1).flag("switch"),
    object("VMSwitch", Kind::VMSwitch, "The virtual switch as an object.").at(2),
];

const OF_SWITCH: &[Parameter] = &[text("SwitchName", "With -ManagementOS: the External switch.")];
pub(super) const WHOSE: &[Parameter] = &[
    VSTD[0].optional(),
    VSTD[1].optional(),
    flag("ManagementOS", "This host's own adapters.").set("ManagementOS"),
];

/// Whose adapters are meant.
pub(super) enum Owner {
    Host,
    Machines,
}

pub(super) fn owner(call: &Call<'_>) -> Result<Owner, Failure> {
    if call.arguments.switch("ManagementOS") {
        return Ok(Owner::Host);
    }
    match ["VMName", "VM", "VMNetworkAdapter"].iter().any(|name| call.arguments.has(name)) {
        true => Ok(Owner::Machines),
        false => Err(Failure::invalid("Whose? Give -VMName or -ManagementOS.")),
    }
}

/// As many slots as a machine has for them.
const MOST: usize = 8;

fn adapters(vm: &crate::host::Vm, _: &crate::host::HostFacts) -> Vec<Record> {
    records::network_adapters(vm)
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let arguments = call.arguments;
    let wanted = arguments.text("Name").unwrap_or("*").to_owned();
    let all = arguments.switch("All");
    let configs = if all { call.host.configs()? } else { vms(call, Ambiguity::Allowed)? };
    let mut found: Vec<Record> = call.host.vms(configs).iter().flat_map(records::network_adapters).collect();
    if all || arguments.switch("ManagementOS") {
        // Where a router is, the host has none.
        let store = &call.host.store;
        let with_one = store.switches()?.into_iter().filter(Switch::has_host_adapter);
        let side = |switch: &Switch| crate::worker::host_side::state(store, switch.id);
        found.extend(with_one.map(|switch| records::host_adapter(&switch, side(&switch).as_ref())));
    } else if !["VMName", "VM"].iter().any(|name| arguments.has(name)) {
        return Err(Failure::invalid("Whose? Give -VMName, -ManagementOS or -All."));
    }
    for record in found {
        let name = record.property("Name").map(ToString::to_string).unwrap_or_default();
        if select::wildcard(&wanted, &name) {
            call.give(record);
        }
    }
    Ok(())
}

/// The adapters of this VM that are meant: those of the objects from the pipeline, or those of the name.
pub(super) fn chosen<'a>(call: &Call<'_>, config: &'a mut Config) -> Result<Vec<&'a mut Adapter>, Failure> {
    let of_object = |value: &Value| match value {
        Value::Record(record) if record.guid("VMId") == Some(config.id) => {
            record.property("Id")?.to_string().rsplit('\\').next()?.parse::<Guid>().ok()
        }
        _ => None,
    };
    let objects = call.arguments.items("VMNetworkAdapter");
    let ids: Vec<Guid> = objects.iter().filter_map(of_object).collect();
    let wanted = call.arguments.text("Name").unwrap_or("*");
    let fits = |adapter: &Adapter| {
        (objects.is_empty() || ids.contains(&adapter.id)) && select::wildcard(wanted, &adapter.name)
    };
    let (vm, found): (_, Vec<_>) =
        (config.name.clone(), config.adapters.iter_mut().filter(|adapter| fits(adapter)).collect());
    if found.is_empty() && !select::has_wildcard(wanted) {
        return Err(Failure::invalid(format!(
            "Hyper-V was unable to find a network adapter with name \"{wanted}\" in '{vm}'."
        ))
        .about(vm));
    }
    Ok(found)
}

/// A running VM's worker takes over what is set now.
pub(super) fn tell(call: &Call<'_>, config: &Config, state: State) -> Result<(), Failure> {
    if state == State::Off {
        return Ok(());
    }
    // A switch may be newer than the worker.
    call.host.share_switches();
    call.host.ask(config, &Request::Network { adapters: config.adapters.clone() })
}

fn set(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let arguments = call.arguments;
    let mac = arguments.text("StaticMacAddress").map(mac).transpose()?;
    if mac.is_some() {
        only_off(state, &config.name, "The MAC address")?;
    }
    let limit = |name, old| arguments.int(name).map_or(old, |limit| limit.unsigned_abs());
    let flag = |name, old| arguments.text(name).map_or(old, |word| word == "On");
    for adapter in chosen(call, config)? {
        adapter.mac_address_spoofing = flag("MacAddressSpoofing", adapter.mac_address_spoofing);
        adapter.dhcp_guard = flag("DhcpGuard", adapter.dhcp_guard);
        adapter.router_guard = flag("RouterGuard", adapter.router_guard);
        adapter.port_mirroring = match arguments.text("PortMirroring") {
            Some("Source") => PortMirroring::Source,
            Some("Destination") => PortMirroring::Destination,
            Some(_) => PortMirroring::None,
            None => adapter.port_mirroring,
        };
        if let Some(mac) = &mac {
            adapter.dynamic_mac = false;
            mac.clone_into(&mut adapter.mac);
        }
        adapter.maximum_bandwidth = limit("MaximumBandwidth", adapter.maximum_bandwidth);
        adapter.maximum_frames_per_second =
            limit("MaximumFramesPerSecond", adapter.maximum_frames_per_second);
        adapter.dynamic_mac |= arguments.switch("DynamicMacAddress");
    }
    tell(call, config, state)
}

fn add(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    only_off(state, &config.name, "The set of network adapters")?;
    if config.adapters.len() >= MOST {
        return Err(Failure::invalid(format!(
            "'{}' has {MOST} network adapters, which are the most.",
            config.name
        )));
    }
    let id = Guid::random().map_err(|error| Failure::failed(format!("No random id: {error}")))?;
    let name = call.arguments.text("Name").unwrap_or("Network Adapter");
    crate::rules::name::check(name).map_err(Failure::invalid)?;
    let mut adapter = Adapter::new(id, name);
    if let Some(text) = call.arguments.text("StaticMacAddress") {
        adapter.dynamic_mac = false;
        adapter.mac = mac(text)?;
    } else {
        adapter = addressed(call, adapter, &config.adapters)?;
    }
    if let Some(name) = call.arguments.text("SwitchName") {
        adapter.switch = Some(switch::by_name(call, name)?.id);
    }
    config.adapters.push(adapter);
    Ok(())
}

/// With an address of the host's range that no other adapter has.
pub fn addressed(call: &Call<'_>, mut adapter: Adapter, others: &[Adapter]) -> Result<Adapter, Failure> {
    let all = call.host.configs()?;
    let there = all.iter().flat_map(|config| &config.adapters).filter(|other| other.id != adapter.id);
    let mut taken: BTreeSet<u64> = there.chain(others).filter_map(Adapter::number).collect();
    let switches = call.host.store.switches()?;
    taken.extend(switches.iter().filter_map(|switch| u64::from_str_radix(&switch.mac_address(), 16).ok()));
    let set = call.host.store.host_settings()?.mac_addresses;
    if set.is_none() && adapter.number().is_some_and(|own| !taken.contains(&own)) {
        return Ok(adapter);
    }
    let (first, last) = set.unwrap_or(super::host::MAC_ADDRESSES);
    if adapter.within((first, last), &taken) {
        return Ok(adapter);
    }
    Err(Failure::new(
        Category::ResourceUnavailable,
        "OperationFailed",
        format!(
            "No MAC address from {first:012X} to {last:012X} is free for the adapter '{}'; widen the range by Set-VMHost in ireko shell, or give -StaticMacAddress.",
            adapter.name
        ),
    ))
}

fn remove(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    only_off(state, &config.name, "The set of network adapters")?;
    let ids: Vec<Guid> = chosen(call, config)?.into_iter().map(|adapter| adapter.id).collect();
    config.adapters.retain(|adapter| !ids.contains(&adapter.id));
    Ok(())
}

fn rename(call: &mut Call<'_>, config: &mut Config, _: State) -> Result<(), Failure> {
    let name = call.arguments.text("NewName").unwrap_or_default();
    crate::rules::name::check(name).map_err(Failure::invalid)?;
    for adapter in chosen(call, config)? {
        name.clone_into(&mut adapter.name);
    }
    Ok(())
}

fn connect(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let object = call.arguments.items("VMSwitch").first().map(|value| match value {
        Value::Record(record) => record.guid("Id").map(|id| id.to_string()).unwrap_or_default(),
        other => other.to_string(),
    });
    let name = object.or_else(|| call.arguments.text("SwitchName").map(str::to_owned));
    let Some(name) = name else {
        return Err(Failure::invalid("Which virtual switch? Give -SwitchName."));
    };
    let switch = switch::by_name(call, &name)?;
    switch::host_side(call, &switch)?;
    for adapter in chosen(call, config)? {
        adapter.switch = Some(switch.id);
    }
    tell(call, config, state)
}

fn disconnect(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    for adapter in chosen(call, config)? {
        adapter.switch = None;
    }
    tell(call, config, state)
}

pub fn mac(text: &str) -> Result<String, Failure> {
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let group = u8::from_str_radix(digits.get(..2).unwrap_or("x"), 16);
    let good = digits.len() == 12 && digits.chars().all(|c| c.is_ascii_hexdigit());
    match group {
        Ok(first) if good && first & 1 == 0 => Ok(digits.to_uppercase()),
        _ => Err(Failure::invalid(format!(
            "'{text}' is no MAC address of one machine; write 12 hexadecimal digits like 00155D010203."
        ))),
    }
}
