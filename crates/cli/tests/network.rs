//! Frames between virtual machines: the built-in image on the software CPU, and one level further down.

mod home;
mod viewer;

use home::Home;
use std::sync::{Mutex, PoisonError};
use viewer::Console;

/// The published lines.
const NAT: &str = include_str!("scripts/nat-in-the-middle-vm.ps1");
const ADDRESS: &str = include_str!("scripts/address-in-the-nested-vm.ps1");

impl Home {
    fn shell(&self, lines: &str) -> String {
        let output = self.run(&["shell", "-c", lines]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{lines}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    fn at_prompt(&self, vm: &str) -> Console {
        let console = self.console(vm);
        console.until("built-in shell");
        console
    }
}

impl Console {
    /// Runs a line to its end; what it said, and whether all was well.
    fn run(&mut self, line: &str) -> (bool, String) {
        // Not what is echoed.
        self.type_in(&format!("{line}\necho ended-$((6 * 7))-$?-"));
        self.until("ended-42-");
        let seen = self.seen();
        (seen.contains("ended-42-0-"), seen)
    }
    fn ok(&mut self, line: &str) -> String {
        let (well, said) = self.run(line);
        assert!(well, "{line}: {said}");
        said
    }
    /// A script that the guest's own ireko runs.
    fn script(&mut self, name: &str, lines: &str) -> String {
        self.ok(&format!("cat >{name} <<'END'\n{lines}\nEND\nireko shell {name}"))
    }
    fn ethernet(&mut self, address: &str) {
        let line = format!(
            "Get-NetAdapter \"Ethernet\" | New-NetIPAddress -IPAddress {address} -AddressFamily IPv4 -PrefixLength 24"
        );
        self.script("address.ps1", &line);
    }
    fn hears(&mut self, address: &str) -> bool {
        self.run(&format!("ping -c 3 -W 2 {address}")).0
    }
}

/// One at a time.
static ALONE: Mutex<()> = Mutex::new(());

const PEER: &str = "New-VMSwitch Wire -SwitchType Private | Out-Null
    New-VM peer -MemoryStartupBytes 256MB -SwitchName Wire -Engine soft | Out-Null";

#[test]
fn two_vms_hear_each_other_and_a_foreign_address_only_with_spoofing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("private");
    home.shell(PEER);
    home.shell("New-VM other -MemoryStartupBytes 256MB -SwitchName wire -Engine soft | Out-Null; Start-VM peer, other");
    let (mut peer, mut other) = (home.at_prompt("peer"), home.at_prompt("other"));
    peer.ethernet("10.0.0.1");
    other.ethernet("10.0.0.2");
    assert!(other.hears("10.0.0.1"));
    other.ok("ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:05; ip link set eth0 up");
    assert!(!other.hears("10.0.0.1"));
    home.shell("Get-VMNetworkAdapter -VMName other | Set-VMNetworkAdapter -MacAddressSpoofing On");
    assert!(other.hears("10.0.0.1"));
    home.shell("Disconnect-VMNetworkAdapter peer");
    assert!(!other.hears("10.0.0.1"));
    home.shell("Connect-VMNetworkAdapter peer -SwitchName Wire");
    assert!(other.hears("10.0.0.1"));
}

#[test]
fn a_vm_that_was_off_is_heard_again() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("again");
    home.shell(PEER);
    home.shell("New-VM other -MemoryStartupBytes 256MB -SwitchName wire -Engine soft | Out-Null; Start-VM peer, other");
    let mut peer = home.at_prompt("peer");
    peer.ethernet("10.0.0.1");
    home.at_prompt("other").ethernet("10.0.0.2");
    assert!(peer.hears("10.0.0.2"));
    home.shell("Stop-VM other -TurnOff; Start-VM other");
    home.at_prompt("other").ethernet("10.0.0.2");
    assert!(peer.hears("10.0.0.2"));
}

#[test]
fn a_nested_vm_reaches_the_outside_through_nat_in_the_middle_vm() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("nat");
    home.shell(PEER);
    home.shell(
        "New-VM middle -MemoryStartupBytes 1GB -SwitchName Wire -Engine soft -ExposeVirtualizationExtensions $true |
         Out-Null; Start-VM peer, middle",
    );
    let (mut peer, mut middle) = (home.at_prompt("peer"), home.at_prompt("middle"));
    peer.ethernet("10.0.0.1");
    middle.ethernet("10.0.0.2");
    let said = middle.script("nat.ps1", NAT);
    assert!(said.contains("vEthernet (VmNAT)") && said.contains("192.168.100.0/24"), "{said}");
    middle.script("nested.ps1", "New-VM nested -MemoryStartupBytes 256MB -SwitchName VmNAT; Start-VM nested");
    // From here on the keys are the nested VM's.
    middle.type_in("ireko vm console nested");
    middle.until("built-in shell");
    middle.script("address.ps1", ADDRESS);
    assert!(middle.hears("192.168.100.1"));
    // The peer knows no way to 192.168.100.0.
    assert!(middle.hears("10.0.0.1"));
    assert!(middle.ok("cat /etc/resolv.conf").contains("nameserver 192.168.100.1"));
}

/// Without a disk: by the adapter, which gets an address and a script's name from the peer, and the script by HTTP.
#[test]
fn a_machine_of_generation_1_starts_from_the_network() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("pxe");
    home.shell(PEER);
    home.shell("New-VM pc -MemoryStartupBytes 128MB -SwitchName Wire -Engine soft -StartWith Firmware | Out-Null; Start-VM peer");
    let mut peer = home.at_prompt("peer");
    peer.ethernet("10.0.0.1");
    peer.ok("mkdir -p /www && printf '#!ipxe\\necho hello from the script.\\nshell\\n' >/www/script && httpd -h /www");
    let leases = ["start 10.0.0.10", "end 10.0.0.20", "interface eth0", "lease_file /leases"];
    let told = ["opt subnet 255.255.255.0", "boot_file http://10.0.0.1/script"];
    peer.ok(&format!(
        "touch /leases && printf '{}\\n' >/dhcp && udhcpd -S /dhcp",
        [&leases[..], &told].concat().join("\\n")
    ));
    home.vm_ok(&["start", "pc"]);
    home.console("pc").until("hello from the script");
}
