//! The rules of nesting on real running VMs: the built-in image on the software CPU, and a VM that it holds.

mod home;
mod viewer;

use home::Home;
use serde_json::Value;
use std::time::{Duration, Instant};
use viewer::{Console, PATIENCE};

impl Home {
    /// Standard output, then standard error.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{arguments:?}: {}", text.concat());
        text.concat()
    }
    fn error(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }
    fn property(&self, name: &str) -> Value {
        self.json(&["vm", "show", "lab", "--json"])[0][name].clone()
    }
    fn wait_for(&self, name: &str, wanted: &Value) {
        let since = Instant::now();
        while self.property(name) != *wanted {
            assert!(since.elapsed() < PATIENCE, "{name} never was {wanted}: {}", self.property(name));
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Console {
    /// Types a line; `answer` must not be what is typed, as that is echoed.
    fn ask(&mut self, line: &str, answer: &str) {
        self.type_in(line);
        self.until(answer);
    }
}

/// One boot for what a running VM refuses and how it is made ready, one for what it can then do.
#[test]
fn a_running_vm_is_made_ready_holds_a_vm_and_shows_what_runs_inside() {
    let home = Home::new("story");
    home.ok(&["vm", "create", "lab", "--memory", "1536M", "--engine", "soft"]);
    home.ok(&["vm", "start", "lab"]);
    running_it_keeps_its_extensions(&home);
    home.console("lab").until("built-in shell");
    the_flow_makes_it_ready(&home);
    home.ok(&["vm", "start", "lab"]);
    let mut console = home.console("lab");
    console.until("built-in shell");
    nothing_runs_inside_yet(&home);
    the_same_binary_runs_a_vm_inside(&mut console);
    it_is_seen_from_outside(&home);
    what_does_not_fit_inside_says_the_numbers(&mut console);
    console.ask("ireko vm stop inner --turn-off; echo off-$((6 * 7))", "off-42");
    home.wait_for("HypervisorRunning", &false.into());
    home.ok(&["vm", "stop", "lab", "--turn-off"]);
}

fn running_it_keeps_its_extensions(home: &Home) {
    for value in ["$true", "$false"] {
        let line = format!("Set-VMProcessor -VMName lab -ExposeVirtualizationExtensions {value}");
        let error = home.error(&["shell", "-c", &line]);
        assert!(
            error.contains("Failed to modify device 'Processor'") && error.contains("Stop-VM"),
            "{error}"
        );
    }
    let status = &home.json(&["vm", "nested-status", "lab", "--json"])[0];
    let why = status["VmCfgErrors"].to_string();
    assert!(status["SupportsNesting"] == false && why.contains("not exposed"), "{status:#}");
}

fn the_flow_makes_it_ready(home: &Home) {
    let told = home.ok(&["vm", "nest", "lab", "--force"]);
    let steps = ["Vm State: Running", "lab will be turned off", "extensions will be enabled", "spoofing"];
    let places: Vec<_> = steps.iter().map(|step| told.find(step)).collect();
    assert!(places.is_sorted() && places[0].is_some(), "{told}");
    assert_eq!(
        (home.property("State"), home.property("ExposeVirtualizationExtensions")),
        ("Off".into(), true.into())
    );
    assert!(home.ok(&["vm", "nest", "lab", "--force"]).contains("already setup"));
}

fn nothing_runs_inside_yet(home: &Home) {
    home.wait_for("HypervisorRunning", &false.into());
    let status = &home.json(&["vm", "nested-status", "lab", "--json"])[0];
    assert_eq!(status["SupportsNesting"], true, "{status:#}");
    let processor = &home.json(&["vm", "processor", "lab", "--json"])[0];
    assert_eq!(processor["ExposeVirtualizationExtensions"], true, "{processor:#}");
}

fn the_same_binary_runs_a_vm_inside(console: &mut Console) {
    console
        .ask("ireko vm create inner --memory 384M && ireko vm start inner && ireko vm list", "inner Running");
    console.ask("ireko vm console inner", "built-in shell");
    console.ask("echo from-level-$((1 + 1))", "from-level-2");
    // What is typed together with it would be the inner console's, too.
    console.ask("\u{1}x", "detached");
    console.ask("echo back-$((6 * 7))", "back-42");
}

fn it_is_seen_from_outside(home: &Home) {
    home.wait_for("HypervisorRunning", &true.into());
    home.wait_for("NestedWorlds", &1.into());
    let tree = home.json(&["tree", "lab", "--json"]);
    let inner = &tree[0]["Below"][0];
    assert_eq!((&inner["Level"], &inner["HypervisorRunning"]), (&2.into(), &false.into()), "{tree:#}");
    assert!(inner["Exits"].as_u64() > Some(0), "{tree:#}");
    let table = home.ok(&["shell", "-c", "Get-VM lab -Nested"]);
    assert!(table.contains("VMEXIT_"), "{table}");
}

fn what_does_not_fit_inside_says_the_numbers(console: &mut Console) {
    console.ask(
        "ireko vm create wide --processors 64 >/dev/null; ireko vm start wide",
        "has 64 virtual processors and this host has 1 logical processor;",
    );
    console.ask(
        "ireko vm create large --memory 64G >/dev/null; ireko vm start large",
        "Not enough memory in the system to start the virtual machine large with ram size 65536 megabytes.",
    );
}

#[test]
fn a_configuration_version_below_9_3_is_refused_when_the_extensions_are_set() {
    let home = Home::new("version");
    home.ok(&["vm", "create", "lab", "--config-version", "9.2", "--engine", "soft"]);
    let error = home.error(&["vm", "set", "lab", "--nested"]);
    assert!(error.contains("9.2 is below 9.3") && error.contains("use ireko vm update-version"), "{error}");
    home.ok(&["vm", "update-version", "lab", "--force"]);
    home.ok(&["vm", "set", "lab", "--nested"]);
}

#[test]
fn intels_personality_is_not_there_yet() {
    let home = Home::new("intel");
    home.ok(&["vm", "create", "lab", "--engine", "soft"]);
    let error = home.error(&["vm", "set", "lab", "--cpu", "intel", "--nested"]);
    assert!(error.contains("not there yet") && error.contains("use amd"), "{error}");
}
