//! Who is where on a switch: Get-VMSwitchPort, which is Ireko's own.

use super::switch::switches;
use super::targets::SWITCH;
use crate::host::Vm;
use crate::operation::{Call, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View};
use crate::ops::records;
use crate::state::State;
use crate::store::{Switch, SwitchType};
use crate::value::Kind;
use crate::worker::{host_side, router};
use std::net::IpAddr;

pub static OPERATIONS: &[Operation] = &[Operation {
    cmdlet: "Get-VMSwitchPort",
    aliases: &[],
    verbs: &[Verb {
        name: "show",
        doc: "Show who is where on virtual switches, and what each port carried and dropped.",
        view: View::Table,
        needs_name: false,
    }],
    rest: Rest { method: Method::Get, route: "/switches/{Name}/ports" },
    doc: "Gives the ports of virtual switches: adapters with what they carried and dropped and why, the machines behind \
          them, and addresses whose frames were dropped.",
    parameters: &[&WHICH],
    prints: Prints::Always,
    result: Some(Kind::VMSwitchPort),
    impact: Impact::None,
    run: get,
}];

static WHICH: [Parameter; 2] = [SWITCH[0].optional(), SWITCH[1].optional()];

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let asked = ["Name", "VMSwitch"].iter().any(|name| call.arguments.has(name));
    let found = if asked { switches(call)? } else { call.host.store.switches()? };
    let configs = call.host.configs()?;
    let vms = call.host.vms(configs);
    for switch in &found {
        of(call, switch, &vms);
    }
    Ok(())
}

fn of(call: &mut Call<'_>, switch: &Switch, vms: &[Vm]) {
    let side = host_side::state(&call.host.store, switch.id).unwrap_or_default();
    if switch.kind == SwitchType::External {
        let name = switch.uplink.as_deref().unwrap_or_default();
        let owner = format!("(outside, by {name})");
        records::switch_ports(switch, &owner, side.uplink.as_ref(), None, &[], side.trouble.as_deref())
            .into_iter()
            .for_each(|record| call.give(record));
    }
    if switch.has_router() {
        let state = router::state::read(&call.host.store, switch.id).unwrap_or_default();
        let addresses: Vec<IpAddr> = switch.network.map(|own| own.router.into()).into_iter().collect();
        let record = records::router_port(switch, &addresses, &state.problems);
        call.give(record);
    }
    if switch.has_host_adapter() {
        let own = Some((switch.mac_address(), &switch.host_vlan));
        records::switch_ports(switch, "(this host)", side.host.as_ref(), own, &[], None)
            .into_iter()
            .for_each(|record| call.give(record));
    }
    for vm in vms.iter().filter(|vm| vm.state != State::Off) {
        for own in vm.config.adapters.iter().filter(|own| own.switch == Some(switch.id)) {
            let addresses = records::addresses(vm, own);
            let report = records::traffic(vm, own);
            let given = Some((own.mac.clone(), &own.vlan));
            records::switch_ports(switch, &vm.config.name, report, given, &addresses, None)
                .into_iter()
                .for_each(|record| call.give(record));
        }
    }
}
