//! Memory that moves while a VM runs, and stays while a hypervisor runs inside: the built-in image on the software CPU.

mod home;
mod viewer;

use home::Home;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use viewer::{Console, PATIENCE};

const MIB: u64 = 1 << 20;

impl Home {
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{arguments:?}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    /// The published lines.
    fn memory_rules(&self) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/memory-rules.ps1");
        self.run(&["shell", &script.display().to_string()])
    }
    fn property(&self, name: &str) -> Value {
        let text = self.ok(&["vm", "show", "TestVM", "--json"]);
        let records: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        records[0][name].clone()
    }
    fn wait_for(&self, name: &str, wanted: impl Fn(&Value) -> bool) {
        let since = Instant::now();
        while !wanted(&self.property(name)) {
            assert!(since.elapsed() < PATIENCE, "{name} stays {}", self.property(name));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    /// In MiB.
    fn assigned(&self) -> u64 {
        self.property("MemoryAssigned").as_u64().expect("bytes") / MIB
    }
    /// What the worker uses of the host's memory, in MiB.
    fn resident(&self) -> u64 {
        let worker = self.property("WorkerProcessId");
        let status = fs::read_to_string(format!("/proc/{worker}/status")).expect("a worker");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }
    fn resize(&self, mib: u64) {
        self.ok(&["shell", "-c", &format!("Set-VMMemory TestVM -StartupBytes {mib}MB")]);
        assert_eq!((self.assigned(), self.property("MemoryStartup")), (mib, (mib * MIB).into()));
    }
}

impl Console {
    /// Runs a line to its end.
    fn run(&mut self, line: &str) {
        // Not what is echoed.
        self.type_in(&format!("{line}\necho done-$((6 * 7))"));
        self.until("done-42");
    }
    /// A line of the guest's /proc/meminfo, in MiB.
    fn meminfo(&mut self, name: &str) -> u64 {
        self.run(&format!("grep {name}: /proc/meminfo"));
        let seen = self.seen();
        let line = seen.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }
    /// A virtual machine inside, as small as they come: its kernel finds no root and waits for ever. It has begun: what tried
    /// whether KVM works before, and ended, was no hypervisor yet that stays.
    fn start_hypervisor(&mut self) {
        self.run("ireko run --kernel /boot/vmlinuz --engine kvm --memory 96M --append console=ttyS0 >/tmp/inside 2>&1 </dev/null &");
        self.run("until grep -q 'Linux version' /tmp/inside; do sleep 0.2; done");
    }
    fn unload_hypervisor(&mut self) {
        self.run("kill %1; wait; rmmod kvm_amd");
    }
}

/// One VM at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_running_vm_shrinks_and_grows_but_not_with_a_hypervisor_inside() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("static");
    home.ok(&["vm", "create", "TestVM", "--memory", "512M", "--engine", "soft", "--nested"]);
    home.ok(&["vm", "start", "TestVM"]);
    let mut console = home.console("TestVM");
    console.until("built-in shell");
    it_shrinks(&home, &mut console);
    home.resize(768);
    assert!(console.meminfo("MemTotal") > 640);
    console.start_hypervisor();
    home.wait_for("HypervisorRunning", |running| *running == true);
    let refused = home.memory_rules();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(
        why.contains("Failed to modify device 'Memory'") && why.contains("hypervisor runs inside"),
        "{why}"
    );
    assert!(why.contains("unload that hypervisor") && why.contains("Stop-VM"), "{why}");
    assert_eq!((home.assigned(), home.property("MemoryStartup")), (768, (768 * MIB).into()));
    console.unload_hypervisor();
    home.wait_for("HypervisorRunning", |running| *running == false);
    let done = home.memory_rules();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(home.assigned(), 4096);
    assert!(console.meminfo("MemTotal") > 3900);
}

/// Its memory has been touched, so that the host sees it go.
fn it_shrinks(home: &Home, console: &mut Console) {
    console.run("dd if=/dev/zero of=/tmp/x bs=1M count=200; rm /tmp/x");
    let (resident, free) = (home.resident(), console.meminfo("MemAvailable"));
    home.resize(192);
    assert!(home.resident() + 100 < resident, "{} MiB of {resident} are left", home.resident());
    assert!(console.meminfo("MemAvailable") + 250 < free);
    let demand = home.property("MemoryDemand").as_u64().expect("bytes") / MIB;
    assert!((1..192).contains(&demand), "{demand}");
}

#[test]
fn dynamic_memory_follows_the_guest_and_stays_while_a_hypervisor_runs_inside() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("dynamic");
    home.ok(&["vm", "create", "TestVM", "--memory", "2G", "--engine", "soft", "--nested"]);
    home.ok(&[
        "vm",
        "set",
        "TestVM",
        "--dynamic-memory",
        "--memory-minimum",
        "256M",
        "--memory-maximum",
        "3G",
    ]);
    home.ok(&["vm", "start", "TestVM"]);
    let mut console = home.console("TestVM");
    console.until("built-in shell");
    // An idle guest needs little.
    home.wait_for("MemoryAssigned", |assigned| assigned.as_u64() < Some(1900 * MIB));
    console.start_hypervisor();
    home.wait_for("HypervisorRunning", |running| *running == true);
    let stays = stays_at(&home);
    assert!(stays > 256, "{stays}");
    console.unload_hypervisor();
    home.wait_for("MemoryAssigned", |assigned| assigned.as_u64() < Some(stays * MIB));
    assert!(home.resident() < 2048);
}

/// The amount that memory stays at for twelve looks of the policy, after what was under way has ended.
fn stays_at(home: &Home) -> u64 {
    let since = Instant::now();
    let (mut amount, mut times) = (home.assigned(), 0);
    while times < 12 {
        assert!(since.elapsed() < PATIENCE, "still moving, at {amount}");
        std::thread::sleep(Duration::from_millis(500));
        let now = home.assigned();
        times = if now == amount { times + 1 } else { 0 };
        amount = now;
    }
    amount
}
