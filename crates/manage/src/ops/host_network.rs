//! This host's own network: Get-NetAdapter, Get-, New- and Remove-NetIPAddress, Set-DnsClientServerAddress.

use crate::host_network::{HostNetwork, RESOLV};
use crate::operation::parameter::{boolean, int, one_of, switch, text};
use crate::operation::{
    Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest, Verb, View,
};
use crate::select;
use crate::value::{Kind, Record, Value};
use ireko_net::host::{Address, Interface};
use std::io::{self, ErrorKind};
use std::net::IpAddr;

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Get-NetAdapter",
        aliases: &[],
        verbs: &[Verb {
            name: "host-adapters",
            doc: "List this host's network adapters.",
            view: View::Table,
            needs_name: false,
        }],
        rest: Rest { method: Method::Get, route: "/host/adapters" },
        doc: "Gives the network adapters of this host: Ethernet, Ethernet 2 …, and vEthernet (NAME) of Internal switches.",
        parameters: &[GET_ADAPTER],
        prints: Prints::Always,
        result: Some(Kind::NetAdapter),
        impact: Impact::None,
        run: show_adapters,
    },
    Operation {
        cmdlet: "Get-NetIPAddress",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Get, route: "/host/addresses" },
        doc: "Gives the addresses of this host's network adapters.",
        parameters: &[WHICH_ADDRESS],
        prints: Prints::Always,
        result: Some(Kind::NetIPAddress),
        impact: Impact::None,
        run: show_addresses,
    },
    Operation {
        cmdlet: "New-NetIPAddress",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Post, route: "/host/addresses" },
        doc: "Gives a network adapter of this host an address, and a gateway if asked for. It lasts until the host restarts.",
        parameters: &[NEW_ADDRESS],
        prints: Prints::Always,
        result: Some(Kind::NetIPAddress),
        impact: Impact::Change,
        run: new_address,
    },
    Operation {
        cmdlet: "Remove-NetIPAddress",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Delete, route: "/host/addresses" },
        doc: "Takes addresses away from network adapters of this host.",
        parameters: &[WHICH_ADDRESS],
        prints: Prints::Passthru,
        result: Some(Kind::NetIPAddress),
        impact: Impact::Danger,
        run: remove_addresses,
    },
    Operation {
        cmdlet: "Set-DnsClientServerAddress",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Patch, route: "/host/dns" },
        doc: "Says which DNS servers this host asks. The host has one list of them for all its adapters.",
        parameters: &[DNS],
        prints: Prints::Never,
        result: None,
        impact: Impact::Change,
        run: set_dns,
    },
];

const ALIAS: Parameter =
    text("InterfaceAlias", "The adapter's name.").alias(&["ifAlias"]).pipe(Pipeline::ByPropertyName);
const INDEX: Parameter = int("InterfaceIndex", 1, i32::MAX as i64, "The adapter's number.")
    .alias(&["ifIndex"])
    .pipe(Pipeline::ByPropertyName);

const GET_ADAPTER: &[Parameter] = &[
    text("Name", "Names; wildcards count.").alias(&["ifAlias", "InterfaceAlias"]).many().at(0).positional(),
    text("InterfaceDescription", "Descriptions; wildcards count.").alias(&["ifDesc"]).many(),
    int("InterfaceIndex", 1, i32::MAX as i64, "The number.").alias(&["ifIndex"]),
    switch("IncludeHidden", "The loopback adapter, too."),
    switch("Physical", "Only those with a device."),
];
const WHICH_ADDRESS: &[Parameter] = &[
    text("IPAddress", "Addresses; wildcards count.")
        .alias(&["LocalAddress"])
        .many()
        .at(0)
        .pipe(Pipeline::ByPropertyName)
        .positional(),
    ALIAS,
    INDEX,
    one_of("AddressFamily", FAMILIES, "Only those of this family."),
];
const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const NEW_ADDRESS: &[Parameter] = &[
    text("IPAddress", "The address.")
        .alias(&["LocalAddress"])
        .required()
        .at(0)
        .pipe(Pipeline::ByPropertyName)
        .positional(),
    ALIAS,
    INDEX,
    int("PrefixLength", 0, 128, "How many bits are the network's; by default all."),
    text("DefaultGateway", "The way to everywhere else."),
    one_of("AddressFamily", FAMILIES, "Must be the address's; it is seen without this, too."),
    one_of("Type", &["Unicast"], "Only Unicast."),
    boolean("SkipAsSource", "Only $false."),
    one_of("PolicyStore", &["ActiveStore"], "Only ActiveStore."),
];
const DNS: &[Parameter] = &[
    ALIAS.at(0),
    INDEX,
    text("ServerAddresses", "The servers' addresses.").alias(&["Addresses", "ServerAddress"]).many(),
    switch("ResetServerAddresses", "No server."),
    switch("Append", "Behind those that are there (Ireko's own, for netsh)."),
];

fn network<'a>(call: &Call<'a>) -> &'a dyn HostNetwork {
    call.host.system.network()
}

/// An interface with the name that people know it by.
pub struct Named {
    pub name: String,
    pub interface: Interface,
}

fn named(call: &Call<'_>) -> Result<Vec<Named>, Failure> {
    let all = network(call).interfaces().map_err(|error| denied("seeing", &error))?;
    Ok(name(all))
}

/// `Ethernet`, `Ethernet 2` … are those with a device, in the kernel's order; what was written on an interface of a
/// switch is its name; others keep the kernel's.
fn name(all: Vec<Interface>) -> Vec<Named> {
    let (mut wired, mut wireless) = (0, 0);
    let mut number = |wifi: bool| {
        let (count, word) = if wifi { (&mut wireless, "Wi-Fi") } else { (&mut wired, "Ethernet") };
        *count += 1;
        if *count == 1 { word.to_owned() } else { format!("{word} {count}") }
    };
    let one = |interface: Interface| {
        let name = match &interface {
            switch if switch.alias.starts_with("vEthernet (") => switch.alias.clone(),
            Interface { driver: Some(_), wireless, .. } => number(*wireless),
            other => other.name.clone(),
        };
        Named { name, interface }
    };
    all.into_iter().map(one).collect()
}

impl Named {
    fn is_called(&self, pattern: &str) -> bool {
        select::wildcard(pattern, &self.name) || self.interface.name.eq_ignore_ascii_case(pattern)
    }
    pub fn description(&self) -> String {
        match &self.interface {
            switch if switch.alias.starts_with("vEthernet (") => "Hyper-V Virtual Ethernet Adapter".into(),
            Interface { driver: Some(driver), .. } => format!("{driver} network adapter"),
            Interface { loopback: true, .. } => "Loopback".into(),
            _ => "Virtual network interface".into(),
        }
    }
    fn status(&self) -> &'static str {
        match &self.interface {
            Interface { up: false, .. } => "Disabled",
            Interface { carrier: true, .. } => "Up",
            _ => "Disconnected",
        }
    }
    fn speed(&self) -> String {
        match self.interface.speed {
            Some(mega) if mega >= 1000 && mega % 1000 == 0 => format!("{} Gbps", mega / 1000),
            Some(mega) => format!("{mega} Mbps"),
            None => String::new(),
        }
    }
    fn record(&self) -> Record {
        let index = self.interface.index;
        Record::new(Kind::NetAdapter)
            .with("Name", self.name.as_str())
            .with("InterfaceDescription", self.description())
            .with("ifIndex", index)
            .with("Status", self.status())
            .with("MacAddress", self.interface.mac.replace(':', "-").to_uppercase())
            .with("LinkSpeed", self.speed())
            .with("InterfaceAlias", self.name.as_str())
            .with("InterfaceIndex", index)
            .with("InterfaceName", self.interface.name.as_str())
            .with("Virtual", self.interface.driver.is_none())
    }
}

fn denied(what: &str, error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::new(
            crate::operation::Category::PermissionDenied,
            "OperationFailed",
            format!("Access is denied: {what} takes the capability CAP_NET_ADMIN; run this as root."),
        ),
        _ => Failure::failed(format!("{what} failed: {error}.")),
    }
}

fn no_adapter(property: &str, value: &str) -> Failure {
    Failure::invalid(format!(
        "No MSFT_NetAdapter objects found with property '{property}' equal to '{value}'. Verify the value of the \
         property and retry."
    ))
    .about(value)
}

fn texts(call: &Call<'_>, name: &str) -> Vec<String> {
    call.arguments.items(name).iter().map(Value::to_string).collect()
}

fn show_adapters(call: &mut Call<'_>) -> Result<(), Failure> {
    let (names, descriptions) = (texts(call, "Name"), texts(call, "InterfaceDescription"));
    let index = call.arguments.int("InterfaceIndex");
    let (hidden, physical) = (call.arguments.switch("IncludeHidden"), call.arguments.switch("Physical"));
    let asked = !names.is_empty() || index.is_some();
    let mut all = named(call)?;
    all.retain(|one| {
        (hidden || asked || !one.interface.loopback) && (!physical || one.interface.driver.is_some())
    });
    for name in &names {
        if !select::has_wildcard(name) && !all.iter().any(|one| one.is_called(name)) {
            call.answer.errors.push(no_adapter("Name", name));
        }
    }
    all.retain(|one| names.is_empty() || names.iter().any(|name| one.is_called(name)));
    let described = |one: &Named| descriptions.iter().any(|word| select::wildcard(word, &one.description()));
    all.retain(|one| descriptions.is_empty() || described(one));
    all.retain(|one| index.is_none_or(|index| index == i64::from(one.interface.index)));
    if let Some(index) = index.filter(|_| all.is_empty()) {
        return Err(no_adapter("InterfaceIndex", &index.to_string()));
    }
    all.iter().for_each(|one| call.give(one.record()));
    Ok(())
}

/// The adapter that the arguments mean.
fn adapter(call: &Call<'_>) -> Result<Named, Failure> {
    let all = named(call)?;
    if let Some(index) = call.arguments.int("InterfaceIndex") {
        let found = all.into_iter().find(|one| i64::from(one.interface.index) == index);
        return found.ok_or_else(|| no_adapter("InterfaceIndex", &index.to_string()));
    }
    let Some(name) = call.arguments.text("InterfaceAlias") else {
        return Err(Failure::invalid("Which adapter? Give -InterfaceAlias or -InterfaceIndex."));
    };
    all.into_iter().find(|one| one.is_called(name)).ok_or_else(|| no_adapter("Name", name))
}

/// The adapter of this name.
pub fn find(call: &Call<'_>, name: &str) -> Result<Named, Failure> {
    named(call)?.into_iter().find(|one| one.is_called(name)).ok_or_else(|| no_adapter("Name", name))
}

/// The one adapter that is described so.
pub fn described(call: &Call<'_>, words: &str) -> Result<Named, Failure> {
    let found = named(call)?.into_iter().find(|one| select::wildcard(words, &one.description()));
    found.ok_or_else(|| no_adapter("InterfaceDescription", words))
}

fn parse(text: &str) -> Result<IpAddr, Failure> {
    text.parse().map_err(|_| {
        Failure::invalid(format!("'{text}' is no IP address; write one like 192.168.100.2.")).about(text)
    })
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn address_record(one: &Address, alias: &str) -> Record {
    Record::new(Kind::NetIPAddress)
        .with("IPAddress", one.address.to_string())
        .with("InterfaceIndex", one.index)
        .with("InterfaceAlias", alias)
        .with("AddressFamily", family(one.address))
        .with("Type", "Unicast")
        .with("PrefixLength", u32::from(one.prefix))
        .with("PrefixOrigin", "Manual")
        .with("SuffixOrigin", "Manual")
        .with("AddressState", "Preferred")
        .with("SkipAsSource", false)
        .with("PolicyStore", "ActiveStore")
}

/// The addresses that the arguments mean, with their adapters' names.
fn addresses(call: &Call<'_>) -> Result<Vec<(Address, String)>, Failure> {
    let (all, wanted) = (named(call)?, texts(call, "IPAddress"));
    let arguments = call.arguments;
    let only = match (arguments.text("InterfaceAlias"), arguments.int("InterfaceIndex")) {
        (None, None) => None,
        _ => Some(adapter(call)?.interface.index),
    };
    let mut found = network(call).addresses().map_err(|error| denied("Reading addresses", &error))?;
    found.retain(|one| {
        let text = one.address.to_string();
        (wanted.is_empty() || wanted.iter().any(|pattern| select::wildcard(pattern, &text)))
            && only.is_none_or(|index| index == one.index)
            && arguments.text("AddressFamily").is_none_or(|wanted| wanted == family(one.address))
    });
    let name = |index| {
        all.iter().find(|one| one.interface.index == index).map_or(String::new(), |one| one.name.clone())
    };
    Ok(found.into_iter().map(|one| (one, name(one.index))).collect())
}

fn none_found(call: &Call<'_>) -> Option<Failure> {
    let wanted = texts(call, "IPAddress").into_iter().find(|text| !select::has_wildcard(text))?;
    Some(
        Failure::invalid(format!(
            "No matching MSFT_NetIPAddress objects found by CIM query for IPAddress = '{wanted}'."
        ))
        .about(wanted),
    )
}

fn show_addresses(call: &mut Call<'_>) -> Result<(), Failure> {
    let found = addresses(call)?;
    if let Some(failure) = none_found(call).filter(|_| found.is_empty()) {
        return Err(failure);
    }
    found.iter().for_each(|(one, alias)| call.give(address_record(one, alias)));
    Ok(())
}

fn new_address(call: &mut Call<'_>) -> Result<(), Failure> {
    let arguments = call.arguments;
    let address = parse(arguments.text("IPAddress").unwrap_or_default())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = arguments.int("PrefixLength").unwrap_or(most);
    let gateway = arguments.text("DefaultGateway").map(parse).transpose()?;
    let fits = arguments.text("AddressFamily").is_none_or(|wanted| wanted == family(address));
    if prefix > most || !fits || gateway.is_some_and(|gateway| gateway.is_ipv4() != address.is_ipv4()) {
        return Err(Failure::invalid(format!(
            "The parameter is incorrect: {address} is of the family {}, and the prefix length or the gateway does not \
             go with it.",
            family(address)
        )));
    }
    let adapter = adapter(call)?;
    if !call.should(&format!("add the address {address}/{prefix} to"), &adapter.name) {
        return Ok(());
    }
    let one = Address { index: adapter.interface.index, address, prefix: prefix as u8 };
    network(call).add_address(&one).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::invalid("Instance MSFT_NetIPAddress already exists").about(address.to_string())
        }
        _ => denied("Adding an address", &error),
    })?;
    network(call).bring_up(one.index).map_err(|error| denied("Switching the adapter on", &error))?;
    if let Some(gateway) = gateway
        && let Err(error) = network(call).add_default_route(one.index, gateway)
    {
        // All of it, or nothing.
        let _ = network(call).remove_address(&one);
        return Err(match error.kind() {
            ErrorKind::AlreadyExists => {
                Failure::invalid("Instance MSFT_NetRoute already exists: the host has a default gateway.")
            }
            _ => denied(&format!("Making {gateway} the gateway"), &error),
        });
    }
    call.give(address_record(&one, &adapter.name));
    Ok(())
}

fn remove_addresses(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.arguments.items("IPAddress").is_empty() && !call.arguments.has("InterfaceAlias") {
        return Err(Failure::invalid("Which addresses? Give -IPAddress or -InterfaceAlias."));
    }
    let found = addresses(call)?;
    if let Some(failure) = none_found(call).filter(|_| found.is_empty()) {
        return Err(failure);
    }
    call.each(found, |call, (one, alias)| {
        if call.should("remove the address", &one.address.to_string()) {
            network(call).remove_address(&one).map_err(|error| denied("Removing an address", &error))?;
            call.give(address_record(&one, &alias));
        }
        Ok(())
    });
    Ok(())
}

fn set_dns(call: &mut Call<'_>) -> Result<(), Failure> {
    let servers =
        texts(call, "ServerAddresses").iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    let reset = call.arguments.switch("ResetServerAddresses");
    if servers.is_empty() && !reset {
        return Err(Failure::invalid("Which servers? Give -ServerAddresses or -ResetServerAddresses."));
    }
    let adapter = adapter(call)?;
    if !call.should("set the DNS servers of", &adapter.name) {
        return Ok(());
    }
    let old = network(call).resolv();
    let new = resolv(&old, &servers, call.arguments.switch("Append"));
    network(call)
        .set_resolv(&new)
        .map_err(|error| Failure::failed(format!("{RESOLV} cannot be written: {error}; run this as root.")))
}

/// The file with these servers; `append`: behind its own.
fn resolv(old: &str, servers: &[IpAddr], append: bool) -> String {
    let is_server = |line: &&str| line.trim_start().starts_with("nameserver");
    let mut lines: Vec<String> =
        old.lines().filter(|line| append || !is_server(line)).map(str::to_owned).collect();
    for server in servers.iter().map(|server| format!("nameserver {server}")) {
        if !lines.contains(&server) {
            lines.push(server);
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str, driver: Option<&str>, alias: &str) -> Interface {
        let driver = driver.map(str::to_owned);
        Interface { index, name: name.into(), driver, alias: alias.into(), ..Interface::default() }
    }

    #[test]
    fn adapters_have_the_names_that_windows_gives_them() {
        let all = name(vec![
            interface(1, "lo", None, ""),
            interface(2, "eth0", Some("virtio_net"), ""),
            interface(3, "eth1", Some("virtio_net"), ""),
            interface(4, "veth-00", None, "vEthernet (VmNAT)"),
        ]);
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["lo", "Ethernet", "Ethernet 2", "vEthernet (VmNAT)"]);
        assert!(all[3].is_called("vethernet (VmNat)") && all[1].is_called("ETH0"));
    }

    #[test]
    fn dns_servers_are_replaced_or_come_behind_those_that_are_there() {
        let (old, new) = ("# ours\nnameserver 1.1.1.1\n", [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(resolv(old, &new, false), "# ours\nnameserver 10.0.0.1\n");
        assert_eq!(resolv(old, &new, true), "# ours\nnameserver 1.1.1.1\nnameserver 10.0.0.1\n");
    }
}
