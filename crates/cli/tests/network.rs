//! Frames between virtual machines: the built-in image on the software CPU, and one level further down.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Nothing here takes a minute on an idle machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// The published lines.
const NAT: &str = include_str!("scripts/nat-in-the-middle-vm.ps1");
const ADDRESS: &str = include_str!("scripts/address-in-the-nested-vm.ps1");

/// A home of its own, whose VMs are turned off at the end.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ireko-network-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ireko"));
        command.args(arguments).env("IREKO_HOME", &self.0).stdin(Stdio::null());
        command
    }
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the ireko binary")
    }
    fn shell(&self, lines: &str) -> String {
        let output = self.run(&["shell", "-c", lines]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{lines}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    fn console(&self, vm: &str) -> Console {
        let mut viewer = self
            .command(&["vm", "console", vm])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a viewer");
        let (mut output, keys) = (viewer.stdout.take().unwrap(), viewer.stdin.take().unwrap());
        let seen: Arc<Mutex<String>> = Arc::default();
        let kept = seen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        let console = Console { viewer, keys, seen };
        console.until("built-in shell");
        console
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.run(&["vm", "stop", "*", "--turn-off"]);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A viewer of a VM's console.
struct Console {
    viewer: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<String>>,
}

impl Console {
    fn until(&self, text: &str) {
        let since = Instant::now();
        while !self.seen.lock().unwrap().contains(text) {
            assert!(since.elapsed() < PATIENCE, "no {text:?} on the console: {}", self.seen.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    fn type_in(&mut self, line: &str) {
        self.seen.lock().unwrap().clear();
        self.keys.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    /// Runs a line to its end; what it said, and whether all was well.
    fn run(&mut self, line: &str) -> (bool, String) {
        // Not what is echoed.
        self.type_in(&format!("{line}\necho ended-$((6 * 7))-$?-"));
        self.until("ended-42-");
        let seen = self.seen.lock().unwrap().clone();
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

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.viewer.kill();
        let _ = self.viewer.wait();
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
    let (mut peer, mut other) = (home.console("peer"), home.console("other"));
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
fn a_nested_vm_reaches_the_outside_through_nat_in_the_middle_vm() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("nat");
    home.shell(PEER);
    home.shell(
        "New-VM middle -MemoryStartupBytes 1GB -SwitchName Wire -Engine soft -ExposeVirtualizationExtensions $true |
         Out-Null; Start-VM peer, middle",
    );
    let (mut peer, mut middle) = (home.console("peer"), home.console("middle"));
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
