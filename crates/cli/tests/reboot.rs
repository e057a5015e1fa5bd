//! What becomes of a machine that is started with a kernel when its guest resets it or crashes: Debian's Linux by every way that it
//! has.

mod home;
mod viewer;

use home::Home;
use std::time::{Duration, Instant};
use viewer::{Console, PATIENCE};

impl Home {
    fn property(&self, name: &str) -> String {
        let text = self.vm_ok(&["show", "pc", "--json"]);
        let records: serde_json::Value = serde_json::from_str(&text).unwrap();
        records[0][name].as_str().unwrap_or_default().to_owned()
    }
    fn wait_for(&self, state: &str) {
        let since = Instant::now();
        while self.property("State") != state {
            assert!(since.elapsed() < PATIENCE, "it stays {}", self.property("State"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Once it has started again, its viewers are still there.
fn reboots(home: &Home, console: &mut Console, line: &str) {
    console.type_in(line);
    console.until("built-in shell");
    assert_eq!(home.property("State"), "Running", "{line}");
}

fn machine(home: &Home, command_line: &str) -> Console {
    home.vm_ok(&["create", "pc", "--memory", "512M", "--engine", "soft", "--command-line", command_line]);
    home.vm_ok(&["start", "pc"]);
    let console = home.console("pc");
    console.until("built-in shell");
    console
}

#[test]
fn a_machine_that_is_reset_in_any_way_stays_running() {
    let home = Home::new("ways");
    let mut console = machine(&home, "panic=1");
    // By ACPI's reset register, which is port CF9h; by a panic; and from outside.
    reboots(&home, &mut console, "reboot -f");
    reboots(&home, &mut console, "echo c > /proc/sysrq-trigger");
    console.type_in("");
    home.vm_ok(&["restart", "pc", "--force"]);
    console.until("built-in shell");
    assert_eq!(home.property("State"), "Running");
}

#[test]
fn a_triple_fault_does_what_the_crash_action_says() {
    let home = Home::new("triple");
    let mut console = machine(&home, "reboot=t");
    reboots(&home, &mut console, "reboot -f");
    home.vm_ok(&["set", "pc", "--automatic-crash", "Pause"]);
    console.type_in("reboot -f");
    home.wait_for("Paused");
    assert!(home.property("Status").starts_with("Crashed: the guest shut down by a triple fault"));
    home.vm_ok(&["restart", "pc", "--force"]);
    console.until("built-in shell");
    home.vm_ok(&["set", "pc", "--automatic-crash", "TurnOff"]);
    console.type_in("reboot -f");
    home.wait_for("Off");
    assert!(home.property("EndReason").contains("triple fault"));
}

#[test]
fn a_kernel_that_is_started_directly_resets_by_bios_keyboard_and_pci() {
    let home = Home::new("direct");
    for way in ["b", "k", "p"] {
        let append = format!("reboot={way}");
        let reset = "echo b > /proc/sysrq-trigger";
        let arguments = ["run", "--image", "--engine", "soft", "--append", &append, "--exec", reset];
        let output = home.run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("asked for a reset before the command had ended"), "{way}: {said}");
    }
}
