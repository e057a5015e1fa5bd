//! Switches, plugs and the host's own network, against fakes.

use super::tests::World;
use crate::host::Host;
use crate::host_network::HostNetwork;
use crate::store::SwitchType;
use crate::value::Value;
use ireko_net::host::{Address, Interface};
use ireko_net::nat::Prefix;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;

/// A machine with one adapter, and one of a switch.
#[derive(Default)]
pub struct FakeNetwork {
    addresses: Mutex<Vec<Address>>,
    routes: Mutex<Vec<(u32, IpAddr)>>,
    resolv: Mutex<String>,
    nat: Mutex<Vec<String>>,
}

impl HostNetwork for FakeNetwork {
    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let one = |index, name: &str, driver: Option<&str>, alias: &str| Interface {
            index,
            name: name.into(),
            alias: alias.into(),
            mac: "00:15:5d:00:00:01".into(),
            driver: driver.map(str::to_owned),
            up: true,
            carrier: true,
            speed: Some(10_000),
            ..Interface::default()
        };
        Ok(vec![one(2, "eth0", Some("virtio_net"), ""), one(3, "veth-0", None, "vEthernet (VmNAT)")])
    }
    fn addresses(&self) -> io::Result<Vec<Address>> {
        Ok(self.addresses.lock().unwrap().clone())
    }
    fn add_address(&self, one: &Address) -> io::Result<()> {
        let mut all = self.addresses.lock().unwrap();
        if all.contains(one) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        all.push(*one);
        Ok(())
    }
    fn remove_address(&self, one: &Address) -> io::Result<()> {
        self.addresses.lock().unwrap().retain(|own| own != one);
        Ok(())
    }
    fn bring_up(&self, _: u32) -> io::Result<()> {
        Ok(())
    }
    fn add_default_route(&self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut routes = self.routes.lock().unwrap();
        if !routes.is_empty() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        routes.push((index, gateway));
        Ok(())
    }
    fn resolv(&self) -> String {
        self.resolv.lock().unwrap().clone()
    }
    fn set_resolv(&self, text: &str) -> io::Result<()> {
        text.clone_into(&mut self.resolv.lock().unwrap());
        Ok(())
    }
    fn set_nat(&self, _: &str, prefixes: &[Prefix]) -> io::Result<()> {
        *self.nat.lock().unwrap() = prefixes.iter().map(ToString::to_string).collect();
        Ok(())
    }
    fn nat_active(&self, _: &str) -> io::Result<bool> {
        Ok(true)
    }
}

fn with_switch() -> World {
    let world = World::with(&["vm"]);
    world.ok("New-VMSwitch", &[("Name", "Wire".into()), ("SwitchType", "Private".into())]);
    world
}

fn adapter(world: &World, name: &str) -> String {
    world.property("Get-VMNetworkAdapter", name)
}

#[test]
fn a_switch_is_created_found_in_any_case_renamed_and_removed() {
    let world = with_switch();
    let switch = world.ok("Get-VMSwitch", &[("Name", "wIRE".into())]).records.remove(0);
    assert_eq!(switch.property("SwitchType"), Some(&"Private".into()));
    world.ok("Rename-VMSwitch", &[("VMSwitch", switch.into()), ("NewName", "Line".into())]);
    assert!(world.error("Get-VMSwitch", &[("Name", "Wire".into())]).contains("with name \"Wire\""));
    world.ok("Remove-VMSwitch", &[("Name", "Line".into()), ("Force", true.into())]);
    let left = world.ok("Get-VMSwitch", &[]).records;
    assert_eq!((left.len(), left[0].property("Name")), (1, Some(&"Default Switch".into())));
}

fn external(world: &World, name: &str, interface: &str) -> crate::Record {
    let given = [("Name", name.into()), ("NetAdapterName", interface.into())];
    world.ok("New-VMSwitch", &given).records.remove(0)
}

fn word(record: &crate::Record, property: &str) -> String {
    record.property(property).map(ToString::to_string).unwrap_or_default()
}

#[test]
fn an_external_switch_has_an_interface_by_either_name_and_an_adapter_of_the_host() {
    for interface in ["Ethernet", "eth0"] {
        let world = World::new();
        let switch = external(&world, "Out", interface);
        let told = ["SwitchType", "NetAdapterInterfaceDescription", "AllowManagementOS", "NetAdapterName"];
        let told = told.map(|property| word(&switch, property));
        assert_eq!(told, ["External", "virtio_net network adapter", "True", "eth0"]);
        let own = world.ok("Get-VMNetworkAdapter", &[("ManagementOS", true.into())]).records;
        assert_eq!((own.len(), word(&own[0], "SwitchName")), (1, "Out".into()));
    }
}

#[test]
fn without_the_management_os_an_external_switch_has_no_adapter_of_the_host() {
    let world = World::new();
    let given =
        [("Name", "Out".into()), ("NetAdapterName", "eth0".into()), ("AllowManagementOS", false.into())];
    world.ok("New-VMSwitch", &given);
    assert!(world.ok("Get-VMNetworkAdapter", &[("ManagementOS", true.into())]).records.is_empty());
    world.ok("Set-VMSwitch", &[("Name", "Out".into()), ("AllowManagementOS", true.into())]);
    assert_eq!(world.ok("Get-VMNetworkAdapter", &[("ManagementOS", true.into())]).records.len(), 1);
}

#[test]
fn what_cannot_be_in_an_external_switch_is_refused() {
    let world = World::new();
    external(&world, "Out", "eth0");
    for (interface, why) in [
        ("eth0", "already in the virtual switch 'Out'"),
        ("eth7", "No MSFT_NetAdapter objects found with property 'Name' equal to 'eth7'"),
        ("vEthernet (VmNAT)", "is a virtual switch's own adapter"),
    ] {
        let told = world.error("New-VMSwitch", &[("Name", "x".into()), ("NetAdapterName", interface.into())]);
        assert!(told.contains(why), "{told}");
    }
    let allow = [("Name", "x".into()), ("SwitchType", "Private".into()), ("AllowManagementOS", true.into())];
    assert!(world.error("New-VMSwitch", &allow).contains("-AllowManagementOS is for an External switch"));
    assert!(world.error("New-VMSwitch", &[("Name", "x".into())]).contains("-NetAdapterName"));
}

#[test]
fn a_switch_becomes_external_and_private_again() {
    let world = with_switch();
    world.ok("Set-VMSwitch", &[("Name", "Wire".into()), ("NetAdapterName", "Ethernet".into())]);
    let all = world.ok("Get-VMSwitch", &[("Name", "Wire".into())]).records;
    assert_eq!(word(&all[0], "SwitchType"), "External");
    world.ok("Set-VMSwitch", &[("Name", "Wire".into()), ("SwitchType", "Private".into())]);
    let switch = world.ok("Get-VMSwitch", &[("Name", "Wire".into())]).records.remove(0);
    assert_eq!(
        (word(&switch, "SwitchType"), word(&switch, "NetAdapterInterfaceDescription")),
        ("Private".into(), String::new())
    );
    external(&world, "Out", "eth0");
}

fn set_vlan(world: &World, more: &[(&str, Value)]) -> crate::Record {
    let given = [&[("VMName", "vm".into()), ("Passthru", true.into())], more].concat();
    world.ok("Set-VMNetworkAdapterVlan", &given).records.remove(0)
}

#[test]
fn an_adapter_is_put_into_vlans_and_taken_out() {
    let world = World::with(&["vm"]);
    let vlan = set_vlan(&world, &[("Access", true.into()), ("VlanId", 7.into())]);
    assert_eq!((word(&vlan, "OperationMode"), word(&vlan, "AccessVlanId")), ("Access".into(), "7".into()));
    let trunk = [("Trunk", true.into()), ("AllowedVlanIdList", "1-10,20".into()), ("NativeVlanId", 5.into())];
    let vlan = set_vlan(&world, &trunk);
    assert_eq!((word(&vlan, "Mode"), word(&vlan, "VlanList")), ("Trunk".into(), "5,1-10,20".into()));
    assert_eq!(adapter(&world, "VlanSetting"), "Trunk 5,1-10,20");
    let vlan = set_vlan(&world, &[("Untagged", true.into())]);
    assert_eq!(word(&vlan, "Mode"), "Untagged");
}

#[test]
fn what_is_no_vlan_is_refused() {
    let world = World::with(&["vm"]);
    let vm = ("VMName", Value::from("vm"));
    let trunk = |list: &str| {
        world.error(
            "Set-VMNetworkAdapterVlan",
            &[vm.clone(), ("Trunk", true.into()), ("AllowedVlanIdList", list.into())],
        )
    };
    assert!(trunk("1-4095").contains("'1-4095' is no VLAN"));
    assert!(trunk("x").contains("'x' is no VLAN"));
    let two = [vm.clone(), ("Trunk", true.into()), ("Access", true.into())];
    assert!(world.error("Set-VMNetworkAdapterVlan", &two).contains("Which mode?"));
    let none = [vm.clone(), ("Access", true.into())];
    assert!(world.error("Set-VMNetworkAdapterVlan", &none).contains("Give -VlanId"));
    let later = [vm, ("Isolated", true.into())];
    assert!(world.error("Set-VMNetworkAdapterVlan", &later).contains("not there yet"));
}

#[test]
fn the_hosts_own_adapter_is_put_into_a_vlan() {
    let world = World::new();
    external(&world, "Out", "eth0");
    let given = [("ManagementOS", true.into()), ("Access", true.into()), ("VlanId", 7.into())];
    world.ok("Set-VMNetworkAdapterVlan", &given);
    let own = world.ok("Get-VMNetworkAdapterVlan", &[("ManagementOS", true.into())]).records.remove(0);
    assert_eq!((word(&own, "AccessVlanId"), word(&own, "IsManagementOs")), ("7".into(), "True".into()));
}

#[test]
fn the_hosts_adapter_in_an_external_switch_comes_and_goes() {
    let world = World::new();
    external(&world, "Out", "eth0");
    let of_host = [("ManagementOS", true.into()), ("SwitchName", "Out".into())];
    let count = || world.ok("Get-VMNetworkAdapter", &[("ManagementOS", true.into())]).records.len();
    world.ok("Remove-VMNetworkAdapter", &of_host);
    assert_eq!(count(), 0);
    world.ok("Add-VMNetworkAdapter", &of_host);
    assert_eq!(count(), 1);
    world.ok("New-VMSwitch", &[("Name", "In".into()), ("SwitchType", "Internal".into())]);
    let internal = [("ManagementOS", true.into()), ("SwitchName", "In".into())];
    assert!(world.error("Remove-VMNetworkAdapter", &internal).contains("is Internal"));
    assert!(world.error("Add-VMNetworkAdapter", &[]).contains("Whose?"));
}

#[test]
fn a_second_gateway_is_refused_and_leaves_no_address() {
    let world = World::new();
    let address = |one: &str| {
        [
            ("IPAddress", one.into()),
            ("InterfaceAlias", "Ethernet".into()),
            ("DefaultGateway", "10.0.0.1".into()),
        ]
    };
    world.ok("New-NetIPAddress", &address("10.0.0.2"));
    assert!(world.error("New-NetIPAddress", &address("10.0.0.3")).contains("already exists"));
    assert_eq!(world.ok("Get-NetIPAddress", &[]).records.len(), 1);
}

#[test]
fn mirroring_is_set_and_shown() {
    let world = World::with(&["vm"]);
    world.ok("Set-VMNetworkAdapter", &[("VMName", "vm".into()), ("PortMirroring", "Source".into())]);
    assert_eq!(adapter(&world, "PortMirroringMode"), "Source");
}

#[test]
fn ports_of_a_switch_are_told() {
    let world = with_switch();
    world.ok("Connect-VMNetworkAdapter", &[("VMName", "vm".into()), ("SwitchName", "Wire".into())]);
    assert!(world.ok("Get-VMSwitchPort", &[("Name", "Wire".into())]).records.is_empty());
    world.ok("Start-VM", &[("Name", "vm".into())]);
    let ports = world.ok("Get-VMSwitchPort", &[("Name", "Wire".into())]).records;
    assert_eq!(
        (ports.len(), word(&ports[0], "Owner"), word(&ports[0], "Level")),
        (1, "vm".into(), "1".into())
    );
}

#[test]
fn an_adapter_is_plugged_in_and_out_by_name() {
    let world = with_switch();
    let vm = ("VMName", Value::from("vm"));
    world.ok("Connect-VMNetworkAdapter", &[vm.clone(), ("SwitchName", "wire".into())]);
    assert_eq!((adapter(&world, "SwitchName"), adapter(&world, "Connected")), ("Wire".into(), "True".into()));
    world.ok("Disconnect-VMNetworkAdapter", &[vm]);
    assert_eq!(adapter(&world, "Connected"), "False");
}

#[test]
fn a_switch_that_is_removed_leaves_adapters_disconnected() {
    let world = with_switch();
    world.ok("Connect-VMNetworkAdapter", &[("VMName", "vm".into()), ("SwitchName", "Wire".into())]);
    world.ok("Remove-VMSwitch", &[("Name", "Wire".into()), ("Force", true.into())]);
    assert_eq!(
        (adapter(&world, "Connected"), adapter(&world, "SwitchName")),
        ("False".into(), String::new())
    );
    world.ok("Start-VM", &[("Name", "vm".into())]);
}

#[test]
fn a_switch_of_two_of_a_name_is_ambiguous() {
    let world = with_switch();
    world.ok("New-VMSwitch", &[("Name", "Wire".into()), ("SwitchType", "Private".into())]);
    let told =
        world.error("Connect-VMNetworkAdapter", &[("VMName", "vm".into()), ("SwitchName", "Wire".into())]);
    assert!(told.contains("use one of their ids"), "{told}");
}

#[test]
fn an_object_from_the_pipeline_means_that_adapter_alone() {
    let world = World::with(&["vm"]);
    world.ok("Add-VMNetworkAdapter", &[("VMName", "vm".into()), ("Name", "second".into())]);
    let all = world.ok("Get-VMNetworkAdapter", &[("VMName", "vm".into())]).records;
    let second = all.into_iter().find(|one| one.property("Name") == Some(&"second".into())).unwrap();
    let on = ("MacAddressSpoofing", Value::from("On"));
    world.ok("Set-VMNetworkAdapter", &[("VMNetworkAdapter", second.into()), on]);
    let spoofing = |record: &crate::Record| record.property("MacAddressSpoofing").unwrap().to_string();
    let all = world.ok("Get-VMNetworkAdapter", &[("VMName", "vm".into())]).records;
    assert_eq!(all.iter().map(spoofing).collect::<Vec<_>>(), ["Off", "On"]);
}

#[test]
fn adapters_come_and_go_only_while_the_vm_is_off_and_plugs_always() {
    let world = with_switch();
    world.ok("Start-VM", &[("Name", "vm".into())]);
    assert!(world.error("Add-VMNetworkAdapter", &[("VMName", "vm".into())]).contains("Stop-VM"));
    world.ok("Connect-VMNetworkAdapter", &[("VMName", "vm".into()), ("SwitchName", "Wire".into())]);
    assert_eq!(adapter(&world, "Connected"), "True");
}

#[test]
fn an_internal_switch_is_an_adapter_of_the_host() {
    let world = World::new();
    world.ok("New-VMSwitch", &[("Name", "VmNAT".into()), ("SwitchType", "Internal".into())]);
    let found = world.ok("Get-VMNetworkAdapter", &[("ManagementOS", true.into())]).records;
    assert_eq!(found[0].property("SwitchName"), Some(&"VmNAT".into()));
    let all = world.host.store.switches().unwrap();
    assert_eq!(all.iter().find(|one| one.name == "VmNAT").map(|one| one.kind), Some(SwitchType::Internal));
}

#[test]
fn an_address_goes_to_the_adapter_that_is_named_in_any_case() {
    let world = World::new();
    let given = [
        ("InterfaceAlias", Value::from("vethernet (vmnat)")),
        ("IPAddress", "192.168.100.1".into()),
        ("PrefixLength", 24.into()),
    ];
    let record = world.ok("New-NetIPAddress", &given).records.remove(0);
    assert_eq!(record.property("InterfaceIndex"), Some(&3.into()));
    assert_eq!(world.error("New-NetIPAddress", &given), "Instance MSFT_NetIPAddress already exists");
    let address = ("IPAddress", Value::from("192.168.100.1"));
    world.ok("Remove-NetIPAddress", &[address.clone(), ("Confirm", false.into())]);
    assert!(world.error("Get-NetIPAddress", &[address]).starts_with("No matching MSFT_NetIPAddress"));
}

#[test]
fn an_adapter_that_is_not_there_is_named_as_windows_does() {
    assert_eq!(
        World::new().error("Get-NetAdapter", &[("Name", "x".into())]),
        "No MSFT_NetAdapter objects found with property 'Name' equal to 'x'. Verify the value of the property and retry."
    );
}

#[test]
fn what_does_not_go_with_an_address_is_refused() {
    let world = World::new();
    for (name, value) in [
        ("PrefixLength", Value::from(33)),
        ("AddressFamily", "IPv6".into()),
        ("DefaultGateway", "fe80::1".into()),
    ] {
        let given = [("InterfaceAlias", "Ethernet".into()), ("IPAddress", "10.0.0.1".into()), (name, value)];
        assert!(world.error("New-NetIPAddress", &given).starts_with("The parameter is incorrect"), "{name}");
    }
}

#[test]
fn nats_must_not_overlap_and_go_by_name() {
    let world = World::new();
    let nat = |name: &str, prefix: &str| {
        [("Name", Value::from(name)), ("InternalIPInterfaceAddressPrefix", prefix.into())]
    };
    world.ok("New-NetNat", &nat("a", "192.168.100.0/24"));
    assert!(world.error("New-NetNat", &nat("b", "192.168.0.0/16")).starts_with("The parameter is incorrect"));
    assert!(
        world.error("New-NetNat", &nat("b", "192.168.100.1/24")).starts_with("The parameter is incorrect")
    );
    world.ok("New-NetNat", &nat("b", "10.0.0.0/8"));
    world.ok("Remove-NetNat", &[("Name", "a".into()), ("Confirm", false.into())]);
    assert_eq!(world.ok("Get-NetNat", &[]).records[0].property("Name"), Some(&"b".into()));
}

#[test]
fn dns_servers_come_behind_those_that_are_there() {
    let world = World::new();
    for address in ["10.0.0.1", "10.0.0.2"] {
        let given = [
            ("InterfaceAlias", "Ethernet".into()),
            ("ServerAddresses", address.into()),
            ("Append", true.into()),
        ];
        world.ok("Set-DnsClientServerAddress", &given);
    }
    let host: &Host = &world.host;
    assert_eq!(host.system.network().resolv(), "nameserver 10.0.0.1\nnameserver 10.0.0.2\n");
}

#[test]
fn a_new_vm_is_on_the_default_switch_unless_it_says_otherwise() {
    let world = with_switch();
    let switch = |given: &[(&str, Value)]| {
        let record = world.ok("New-VM", given).records.remove(0);
        let name = record.property("Name").unwrap().to_string();
        let adapters = world.ok("Get-VMNetworkAdapter", &[("VMName", name.as_str().into())]).records;
        adapters[0].property("SwitchName").map(ToString::to_string).unwrap_or_default()
    };
    assert_eq!(switch(&[("Name", "a".into())]), "Default Switch");
    assert_eq!(switch(&[("Name", "b".into()), ("SwitchName", "wire".into())]), "Wire");
    assert_eq!(switch(&[("Name", "c".into()), ("SwitchName", "".into())]), "");
}

#[test]
fn the_default_switch_stays_as_it_is_but_for_its_notes() {
    let world = World::new();
    let name = ("Name", Value::from("Default Switch"));
    for refused in [
        world.error("Remove-VMSwitch", &[name.clone(), ("Force", true.into())]),
        world.error("Rename-VMSwitch", &[name.clone(), ("NewName", "x".into())]),
        world.error("Set-VMSwitch", &[name.clone(), ("SwitchType", "Private".into())]),
    ] {
        assert!(refused.contains("'Default Switch'"), "{refused}");
    }
    world.ok("Set-VMSwitch", &[name.clone(), ("Notes", "mine".into()), ("HostLoopbackPort", 8000.into())]);
    let found = world.host.store.switch(crate::store::switch::DEFAULT).unwrap();
    assert_eq!((found.notes.as_str(), &found.host_loopback[..]), ("mine", &[8000][..]));
}

#[test]
fn what_is_published_is_kept_with_the_adapter_and_taken_once() {
    let world = World::new();
    let name = |name: &str| ("Name", Value::from(name));
    // Of the ports above those that are given by themselves.
    let publish = |text: &str| ("Publish", Value::list([text]));
    world.ok("New-VM", &[name("a"), publish("64222:22")]);
    let config = world.host.configs().unwrap().remove(0);
    assert_eq!(config.adapters[0].published.len(), 1);
    assert!(
        world.error("New-VM", &[name("b"), publish("64222:80")]).contains("taken by the virtual machine 'a'")
    );
    assert!(world.error("New-VM", &[name("b"), publish("22")]).contains("HOSTPORT:GUESTPORT"));
    let unplugged = world.error("New-VM", &[name("b"), ("SwitchName", "".into()), publish("64223:80")]);
    assert!(unplugged.contains("no adapter on a switch with a router"), "{unplugged}");
    world.ok("Set-VM", &[name("a"), publish("64222:22")]);
    world.ok("Set-VM", &[name("a"), publish("")]);
    assert!(world.host.configs().unwrap()[0].adapters[0].published.is_empty());
}

#[test]
fn a_port_that_a_program_has_is_told_of() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!("{}:22", taken.local_addr().unwrap().port());
    let told = world.error("New-VM", &[("Name", "a".into()), ("Publish", Value::list([text.as_str()]))]);
    assert!(told.contains("is taken by another program; choose another"), "{told}");
}

fn mapping(port: i64, internal: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("NatName", "default switch".into()),
        ("Protocol", "TCP".into()),
        ("ExternalIPAddress", "0.0.0.0/0".into()),
        ("ExternalPort", port.into()),
        ("InternalIPAddress", internal.into()),
        ("InternalPort", 22.into()),
    ]
}

#[test]
fn static_mappings_come_go_and_have_numbers() {
    let world = World::new();
    let router = world.host.store.lock_switch(crate::store::switch::DEFAULT).map(drop);
    router.unwrap();
    let told = world.error("Add-NetNatStaticMapping", &mapping(64224, "8.8.8.8"));
    assert!(told.contains("is not one of 'Default Switch'"), "{told}");
    let network = world.host.store.switch(crate::store::switch::DEFAULT).unwrap().network.unwrap();
    let guest = std::net::Ipv4Addr::from(u32::from(network.router) + 8).to_string();
    let made = world.ok("Add-NetNatStaticMapping", &mapping(64224, &guest)).records.remove(0);
    assert_eq!(made.property("StaticMappingID"), Some(&0.into()));
    let told = world.error("Add-NetNatStaticMapping", &mapping(64224, &guest));
    assert!(told.contains("taken by the static mapping 0"), "{told}");
    let missing = world.error("Get-NetNatStaticMapping", &[("StaticMappingID", Value::list([7]))]);
    assert!(missing.contains("'StaticMappingID' equal to '7'"), "{missing}");
    world.ok(
        "Remove-NetNatStaticMapping",
        &[("StaticMappingID", Value::list([0])), ("Confirm", false.into())],
    );
    assert!(world.ok("Get-NetNatStaticMapping", &[]).records.is_empty());
}

#[test]
fn the_routers_network_holds_no_address_of_the_hosts() {
    use crate::store::switch::RouterNetwork;
    let first = RouterNetwork::choose(7, &[]).unwrap();
    let own: IpAddr = first.router.into();
    let second = RouterNetwork::choose(7, &[own]).unwrap();
    let beside = RouterNetwork::choose(7, &[first.six.unwrap().into()]).unwrap();
    assert_ne!((beside.router, beside.six), (first.router, first.six));
    assert!(first.overlaps(own) && !second.overlaps(own));
    let all: Vec<IpAddr> =
        (0..256u32).map(|n| std::net::Ipv4Addr::from(0xac10_0005 | n << 12).into()).collect();
    assert_eq!(RouterNetwork::choose(7, &all), None);
}
