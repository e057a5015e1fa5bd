//! The VLANs of network adapters: Get- and Set-VMNetworkAdapterVlan.

use super::network::{NAME_TEXT, Owner, WHOSE, chosen, owner, tell};
use super::targets::{ADAPTER, Ambiguity, change, vms};
use crate::operation::parameter::{int, switch as flag, text};
use crate::operation::{Call, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View};
use crate::ops::records;
use crate::select;
use crate::state::State;
use crate::store::config::Vlan;
use crate::store::{Config, Switch};
use crate::value::{Kind, Record, Value};
use ireko_net::vlan::{Ids, MOST};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Get-VMNetworkAdapterVlan",
        aliases: &[],
        verbs: &[Verb {
            name: "vlans",
            doc: "List which VLANs network adapters are in.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/adapters/vlan" },
        doc: "Gives which VLANs network adapters are in, and with -ManagementOS those of this host's own.",
        parameters: &[WHOSE, NAME],
        prints: Prints::Always,
        result: Some(Kind::VMNetworkAdapterVlan),
        impact: Impact::None,
        run: get,
    },
    Operation {
        cmdlet: "Set-VMNetworkAdapterVlan",
        aliases: &[],
        verbs: &[Verb {
            name: "vlan-set",
            doc: "Put network adapters into a VLAN (--access --vlan N), into several (--trunk --allowed LIST), or into none.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Patch, route: "/vms/{VMName}/adapters/vlan" },
        doc: "Puts network adapters into VLANs, of a running virtual machine, too: all of the virtual machine, or those of \
              the given name.",
        parameters: &[WHOSE, &ADAPTER, NAME, MODES],
        prints: Prints::Passthru,
        result: Some(Kind::VMNetworkAdapterVlan),
        impact: Impact::Change,
        run: set,
    },
];

const NAME: &[Parameter] = &[NAME_TEXT];
const LARGEST: i64 = MOST as i64;
const MODES: &[Parameter] = &[
    flag("Untagged", "In none.").alias(&["u"]).flag("untagged"),
    flag("Access", "In one, of whose tag the machine knows nothing.").alias(&["a"]).flag("access"),
    int("VlanId", 1, LARGEST, "That one, for -Access.").alias(&["AccessVlanId"]).flag("vlan"),
    flag("Trunk", "In several, with their tags.").alias(&["t"]).flag("trunk"),
    text("AllowedVlanIdList", "Those, for -Trunk: ids and ranges, as in 1-100,200.").many().flag("allowed"),
    int("NativeVlanId", 0, LARGEST, "For -Trunk: the one that frames without a tag are in; 0 is none.")
        .flag("native"),
    flag("Isolated", "Private VLANs are not there yet.").alias(&["i"]),
    flag("Community", "Private VLANs are not there yet.").alias(&["c"]),
    flag("Promiscuous", "Private VLANs are not there yet.").alias(&["p"]),
];

fn host_vlan(switch: &Switch) -> Record {
    records::adapter_vlan(None, switch.id.into(), &switch.name, &switch.host_vlan)
}

/// Adapters of this host that are meant.
fn own(call: &Call<'_>) -> Result<Vec<Switch>, Failure> {
    let wanted = call.arguments.text("Name").unwrap_or("*");
    let mut all = call.host.store.switches()?;
    all.retain(|switch| switch.has_host_adapter() && select::wildcard(wanted, &switch.name));
    if all.is_empty() && !select::has_wildcard(wanted) {
        return Err(Failure::invalid(format!(
            "Hyper-V was unable to find a network adapter with name \"{wanted}\" of this host."
        ))
        .about(wanted));
    }
    Ok(all)
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    if let Owner::Host = owner(call)? {
        own(call)?.iter().for_each(|switch| call.give(host_vlan(switch)));
        return Ok(());
    }
    let wanted = call.arguments.text("Name").unwrap_or("*").to_owned();
    let configs = vms(call, Ambiguity::Allowed)?;
    let all = call.host.vms(configs).iter().flat_map(records::adapter_vlans).collect::<Vec<_>>();
    for record in all {
        let name = record.property("VMNetworkAdapterName").map(ToString::to_string).unwrap_or_default();
        if select::wildcard(&wanted, &name) {
            call.give(record);
        }
    }
    Ok(())
}

/// The mode that the arguments say.
fn mode(call: &Call<'_>) -> Result<Vlan, Failure> {
    let arguments = call.arguments;
    let given = |name: &&&str| arguments.switch(name);
    if let Some(name) = ["Isolated", "Community", "Promiscuous"].iter().find(given) {
        return Err(Failure::later(format!("-{name} is not there yet; use -Access, -Trunk or -Untagged.")));
    }
    let modes = ["Untagged", "Access", "Trunk"];
    let mut said = modes.iter().filter(given);
    let (Some(mode), None) = (said.next(), said.next()) else {
        return Err(Failure::invalid("Which mode? Give one of -Untagged, -Access and -Trunk."));
    };
    let id = |name: &str| arguments.int(name).map(|id| id as u16);
    Ok(match *mode {
        "Access" => Vlan::Access(
            id("VlanId").ok_or_else(|| Failure::invalid("Which VLAN? Give -VlanId, from 1 to 4094."))?,
        ),
        "Trunk" => {
            let list: Vec<String> =
                arguments.items("AllowedVlanIdList").iter().map(Value::to_string).collect();
            if list.is_empty() {
                return Err(Failure::invalid("Which VLANs? Give -AllowedVlanIdList, as in 1-100,200."));
            }
            let allowed = Ids::parse(&list.join(",")).map_err(|wrong| {
                Failure::invalid(format!(
                    "'{wrong}' is no VLAN; ids are 1 to {MOST}, in a list as 1-100,200."
                ))
            })?;
            Vlan::Trunk { native: id("NativeVlanId").unwrap_or(0), allowed: allowed.to_string() }
        }
        _ => Vlan::Untagged,
    })
}

fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    let vlan = mode(call)?;
    if let Owner::Machines = owner(call)? {
        return change(call, "change the VLANs of", of_vm, |vm, _| records::adapter_vlans(vm));
    }
    let found = own(call)?;
    call.each(found, |call, switch| {
        if !call.should("change the VLAN of this host in", &switch.name) {
            return Ok(());
        }
        let (lock, mut switch) = call.host.store.lock_switch(switch.id)?;
        switch.host_vlan = vlan.clone();
        call.host.store.save_switch(&lock, &switch)?;
        call.give(host_vlan(&switch));
        Ok(())
    });
    Ok(())
}

fn of_vm(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let vlan = mode(call)?;
    for adapter in chosen(call, config)? {
        adapter.vlan = vlan.clone();
    }
    tell(call, config, state)
}
