//! Get-VMNetworkAdapter and Set-VMNetworkAdapter: what a port allows.

use super::targets::{ADAPTER, Ambiguity, VSTD, change, only_off, vms};
use crate::operation::parameter::{ON_OFF, one_of, switch, text};
use crate::operation::{Call, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View};
use crate::ops::records;
use crate::select;
use crate::state::State;
use crate::store::{Adapter, Config};
use crate::value::{Kind, Record};

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
        doc: "Gives the network adapters of virtual machines.",
        parameters: &[&VSTD, NAME],
        prints: Prints::Always,
        result: Some(Kind::VMNetworkAdapter),
        impact: Impact::None,
        run: get,
    },
    Operation {
        cmdlet: "Set-VMNetworkAdapter",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Patch, route: "/vms/{VMName}/adapters" },
        doc: "Changes network adapters: all of the virtual machine, or those of the given name.",
        parameters: &[&VSTD, &ADAPTER, NAME, SET],
        prints: Prints::Passthru,
        result: Some(Kind::VMNetworkAdapter),
        impact: Impact::Change,
        run: |call| change(call, "change the network adapters of", set, adapters),
    },
];

const NAME: &[Parameter] =
    &[text("Name", "The adapter's name; wildcards count.").alias(&["VMNetworkAdapterName"])];
const SET: &[Parameter] = &[
    one_of("MacAddressSpoofing", ON_OFF, "Whether frames may leave with addresses of other machines."),
    one_of("DhcpGuard", ON_OFF, "Whether DHCP servers' answers from it are dropped."),
    one_of("RouterGuard", ON_OFF, "Whether router advertisements from it are dropped."),
    text("StaticMacAddress", "12 hexadecimal digits."),
    switch("DynamicMacAddress", "An address of the host's range."),
];

fn adapters(vm: &crate::host::Vm, _: &crate::host::HostFacts) -> Vec<Record> {
    records::network_adapters(vm)
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let wanted = call.arguments.text("Name").unwrap_or("*").to_owned();
    for config in vms(call, Ambiguity::Allowed)? {
        for record in records::network_adapters(&call.host.vm(config)) {
            let name = record.property("Name").map(ToString::to_string).unwrap_or_default();
            if select::wildcard(&wanted, &name) {
                call.give(record);
            }
        }
    }
    Ok(())
}

fn set(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let arguments = call.arguments;
    let wanted = arguments.text("Name").unwrap_or("*");
    let mac = arguments.text("StaticMacAddress").map(mac).transpose()?;
    if mac.is_some() {
        only_off(state, &config.name, "The MAC address")?;
    }
    let flag = |name, old| arguments.text(name).map_or(old, |word| word == "On");
    for adapter in config.adapters.iter_mut().filter(|adapter| select::wildcard(wanted, &adapter.name)) {
        adapter.mac_address_spoofing = flag("MacAddressSpoofing", adapter.mac_address_spoofing);
        adapter.dhcp_guard = flag("DhcpGuard", adapter.dhcp_guard);
        adapter.router_guard = flag("RouterGuard", adapter.router_guard);
        if let Some(mac) = &mac {
            Adapter { dynamic_mac: false, mac: mac.clone(), ..adapter.clone() }.clone_into(adapter);
        }
        adapter.dynamic_mac |= arguments.switch("DynamicMacAddress");
    }
    Ok(())
}

fn mac(text: &str) -> Result<String, Failure> {
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
