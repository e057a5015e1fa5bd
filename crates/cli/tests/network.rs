//! Frames between virtual machines: the built-in image on the software CPU, and one level further down.

mod home;
mod viewer;

use home::Home;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
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

/// The first way of the documentation: the innermost is bridged by an External switch of the one in the middle.
#[test]
fn a_nested_vm_gets_its_lease_through_two_switches_with_spoofing_only() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("mac");
    home.shell("New-VM middle -MemoryStartupBytes 1GB -Engine soft -ExposeVirtualizationExtensions $true | Out-Null; Start-VM middle");
    let mut middle = home.at_prompt("middle");
    middle.ok(LEASE);
    let said = middle.script("outside.ps1", "New-VMSwitch -Name Outside -NetAdapterName eth0");
    assert!(said.contains("External"), "{said}");
    middle
        .script("nested.ps1", "New-VM nested -MemoryStartupBytes 256MB -SwitchName Outside; Start-VM nested");
    // Its own traffic does not suffer.
    assert!(middle.run("ping -c 3 -W 2 $(cat /router)").0);
    middle.type_in("ireko vm console nested");
    middle.until("built-in shell");
    let own = middle.ok("ip link set eth0 up; tr -d : </sys/class/net/eth0/address").to_uppercase();
    let own = own.split_whitespace().find(|word| word.starts_with("00155D")).expect("an address").to_owned();
    assert!(!middle.run("udhcpc -i eth0 -s /bin/true -n -q -t 2 -T 2").0);
    let dropped =
        home.shell("Get-VMNetworkAdapter middle | Format-List FramesDropped, DropCauses, ForeignAddresses");
    assert!(dropped.contains("foreign source address: ") && dropped.contains(&own), "{dropped}");
    let shown = String::from_utf8(home.run(&["switch", "show"]).stdout).unwrap();
    assert!(shown.lines().any(|line| line.contains("refused of middle") && line.contains(&own)), "{shown}");
    home.shell("Set-VMNetworkAdapter -VMName middle -MacAddressSpoofing On");
    middle.ok(LEASE);
    // Two levels down, beside other tests, an answer may be late.
    assert!((0..5).any(|_| middle.hears("$(cat /router)")));
    let shown = String::from_utf8(home.run(&["switch", "show"]).stdout).unwrap();
    assert!(shown.lines().any(|line| line.contains("behind middle") && line.contains(&own)), "{shown}");
    home.shell("Set-VMNetworkAdapter -VMName middle -MacAddressSpoofing Off");
    assert!(!middle.hears("$(cat /router)"));
}

/// Runs a script as root in a network of its own; `None`, with the reason told, where that cannot be.
fn in_own_network(home: &Home, script: &str) -> Option<String> {
    let words = ["-n", "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "out0"];
    let able = Command::new("unshare").args(words).output();
    if !able.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("not tried: no network namespace with interfaces can be made here: {able:?}");
        return None;
    }
    let setup = "set -e; ip link set lo up; ip link add eth0 type veth peer name out0; ip link set eth0 up; ip link set out0 up";
    let output = Command::new("unshare")
        .args(["-n", "sh", "-c", &format!("{setup}\n{script}")])
        .env("IREKO_HOME", &home.0)
        .env("IREKO", env!("CARGO_BIN_EXE_ireko"))
        .output()
        .expect("unshare");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stdout));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_comes_by_an_interface_is_captured_and_read_by_tshark() {
    let home = Home::new("capture");
    let file = std::env::temp_dir().join(format!("ireko-capture-{}.pcapng", std::process::id()));
    let script = format!(
        "$IREKO shell -c \"New-VMSwitch Out -NetAdapterName eth0 -AllowManagementOS \\$false | Out-Null\"
         $IREKO switch capture Out -o {0} --seconds 60 --count 1 &
         sleep 1
         ip link set out0 down; ip link set out0 up; wait
         $IREKO switch show Out; $IREKO shell -c 'Remove-VMSwitch Out -Force'",
        file.display()
    );
    let Some(shown) = in_own_network(&home, &script) else { return };
    assert!(shown.contains("(outside, by eth0)"), "{shown}");
    match Command::new("tshark").arg("-r").arg(&file).output() {
        Ok(output) => {
            let read = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && read.lines().count() == 1, "{read}");
        }
        Err(error) => eprintln!("not tried: tshark does not run here: {error}"),
    }
    let bytes = std::fs::read(&file).unwrap();
    let _ = std::fs::remove_file(&file);
    assert!(bytes.len() > 100, "{}", bytes.len());
}

#[test]
fn an_interface_that_goes_away_is_told_and_used_again_when_it_is_back() {
    let home = Home::new("gone");
    let script = "$IREKO shell -c \"New-VMSwitch Out -NetAdapterName eth0 -AllowManagementOS \\$false | Out-Null\"
         ip link del eth0; sleep 2; $IREKO switch show Out
         ip link add eth0 type veth peer name out0; ip link set eth0 up; ip link set out0 up; sleep 3; echo back
         $IREKO switch show Out; $IREKO shell -c 'Remove-VMSwitch Out -Force'";
    let Some(shown) = in_own_network(&home, script) else { return };
    let (gone, back) = shown.split_once("back").expect("both");
    assert!(gone.contains("the interface eth0 is gone") && !back.contains("is gone"), "{shown}");
}

#[test]
fn an_external_switch_without_rights_says_which_are_missing_and_is_not_made() {
    let home = Home::new("rights");
    let line = "New-VMSwitch Out -NetAdapterName lo0none; New-VMSwitch Out -NetAdapterName eth0 -AllowManagementOS $false";
    let script = format!(
        "setpriv --bounding-set -net_raw --inh-caps -net_raw $IREKO shell -c '{line}' 2>&1 || true; $IREKO vm switches"
    );
    let Some(said) = in_own_network(&home, &script) else { return };
    assert!(
        said.contains("No MSFT_NetAdapter objects found with property 'Name' equal to 'lo0none'"),
        "{said}"
    );
    assert!(said.contains("take the capability CAP_NET_RAW") && !said.contains("External"), "{said}");
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

/// What udhcpc is to do with a lease: what busybox's own script does.
const LEASE: &str = r#"mkdir -p /etc; ip link set eth0 up; cat >/lease <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev $interface
ip route add default via $router
echo nameserver $dns >/etc/resolv.conf
echo $router >/router
END
chmod +x /lease; udhcpc -i eth0 -s /lease -n -q"#;

/// Bytes that tell their place, and their SHA-256.
fn content() -> (Vec<u8>, String) {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    (bytes, digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A server on loopback that gives these bytes to whoever asks for anything by HTTP.
fn serve(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut question = [0; 4096];
            let _ = stream.read(&mut question);
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes));
        }
    });
    port
}

/// A port of loopback that nobody has.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What the guest says at a port of the host's, as soon as it listens.
fn said_at(port: u16) -> String {
    for _ in 0..100 {
        let mut said = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            if stream.read_to_string(&mut said).is_ok() && !said.is_empty() {
                return said;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    String::new()
}

#[test]
fn a_vm_that_asks_for_nothing_has_a_network_with_addresses_names_and_ways_out_and_in() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("default");
    let (bytes, sum) = content();
    let (server, published) = (serve(bytes), free_port());
    home.shell(&format!(
        "Set-VMSwitch 'Default Switch' -HostLoopbackPort {server}
         New-VM web -MemoryStartupBytes 256MB -Engine soft -Publish {published}:80 | Out-Null
         New-VM other -MemoryStartupBytes 256MB -Engine soft | Out-Null; Enable-VMResourceMetering web; Start-VM web, other"
    ));
    let (mut web, mut other) = (home.at_prompt("web"), home.at_prompt("other"));
    web.ok(LEASE);
    other.ok(LEASE);
    let address = home.vm_ok(&["ip", "web", "--wait", "30"]).lines().next().unwrap_or_default().to_owned();
    assert!(web.ok("ip -4 addr show eth0").contains(&format!("{address}/")), "{address}");
    let fetched = web.ok(&format!("wget -q -O - http://$(cat /router):{server}/ | sha256sum"));
    assert!(fetched.contains(&sum), "{fetched}");
    // 3 MB have come in, and less has gone out.
    let metered = home
        .shell("$m = Measure-VM web; \"$($m.NetworkInbound) $($m.NetworkInbound -gt $m.NetworkOutbound)\"");
    assert!(metered.starts_with("3 True"), "{metered}");
    // The other by its name, over the switch.
    let found = other.ok("nslookup web.ireko $(cat /router); ping -c 1 -W 5 web.ireko");
    assert!(found.contains(&address), "{found}");
    web.ok("(while true; do echo from the guest | nc -l -p 80; done) >/dev/null 2>&1 &");
    assert_eq!(said_at(published), "from the guest\n");
    // Another port of the host's loopback is nobody's.
    let (bytes, _) = content();
    let closed = serve(bytes);
    assert!(!web.run(&format!("wget -T 5 -q -O - http://$(cat /router):{closed}/ | grep -q .")).0);
}

#[test]
fn a_port_is_published_while_the_vm_runs_and_taken_back() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("publish");
    let published = free_port();
    home.shell("New-VM web -MemoryStartupBytes 256MB -Engine soft | Out-Null; Start-VM web");
    let mut web = home.at_prompt("web");
    web.ok(LEASE);
    web.ok("(while true; do echo from the guest | nc -l -p 80; done) >/dev/null 2>&1 &");
    home.vm_ok(&["set", "web", "--publish", &format!("{published}:80")]);
    assert_eq!(said_at(published), "from the guest\n");
    let told = home.vm_error(&["create", "second", "--publish", &format!("{published}:80")]);
    assert!(told.contains("is taken by the virtual machine 'web'"), "{told}");
    home.vm_ok(&["set", "web", "--publish", ""]);
    let gone = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        TcpStream::connect(("127.0.0.1", published)).is_err()
    });
    assert!(gone);
}

#[test]
fn a_vm_of_run_has_a_network_if_asked() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("run");
    let (bytes, sum) = content();
    let server = serve(bytes).to_string();
    let fetch = "ip link set eth0 up; ip addr add 172.31.240.9/24 dev eth0; \
                 ip route add default via 172.31.240.1; wget -q -O - http://172.31.240.1:PORT/ | sha256sum";
    let output = home.run(&[
        "run",
        "--image",
        "--engine",
        "soft",
        "--network",
        "user",
        "--host-loopback",
        &server,
        "--exec",
        &fetch.replace("PORT", &server),
    ]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains(&sum),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_is_published_without_a_network_is_refused() {
    let home = Home::new("refused");
    let output = home.run(&["run", "--image", "--publish", "2222:22"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("add --network user"), "{told}");
}
