//! The main job, by the binary itself: Debian's kernel boots, its KVM loads, and Debian boots inside it.

use serde_json::Value;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// One nest at a time: the first one makes the image for all of them.
static NEST: Mutex<()> = Mutex::new(());

/// Runs `ireko nest --json` on the software CPU and gives its document.
fn nest(depth: u32, memory: &str) -> Value {
    nest_with(depth, memory, &[])
}

fn nest_with(depth: u32, memory: &str, more: &[&str]) -> Value {
    let _alone = NEST.lock().unwrap_or_else(PoisonError::into_inner);
    let run = Command::new(env!("CARGO_BIN_EXE_ireko"))
        .args(["nest", "--json", "--engine", "soft", "--timeout", "600"])
        .args(["--memory", memory, "--depth", &depth.to_string()])
        .args(more)
        .output()
        .expect("the ireko binary");
    let text = String::from_utf8_lossy(&run.stdout);
    let document = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}\n{}", String::from_utf8_lossy(&run.stderr)));
    assert!(run.status.success(), "{document:#}\n{}", String::from_utf8_lossy(&run.stderr));
    document
}

fn text<'a>(level: &'a Value, path: &str) -> &'a str {
    level.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("{path} in {level:#}"))
}

#[test]
fn a_debian_kernel_boots_to_user_space_and_answers() {
    let document = nest(1, "1G");
    let level = &document["levels"][0];
    assert_eq!(document["ok"], true);
    assert_eq!(text(level, "/engine"), "soft");
    assert!(text(level, "/kernel").contains("cloud-amd64"), "{level:#}");
}

#[test]
fn debian_boots_inside_the_kvm_of_debian() {
    let document = nest(2, "2G");
    let levels = document["levels"].as_array().expect("levels");
    assert_eq!(document["ok"], true);
    assert_eq!(levels.len(), 2);
    assert_eq!(text(&levels[1], "/engine"), "kvm");
    assert_eq!(text(&levels[1], "/parent_boot_id"), text(&levels[0], "/boot_id"));
    assert_ne!(text(&levels[1], "/boot_id"), text(&levels[0], "/boot_id"));
}

/// The command itself compares the sums of what they fetched with its server's; here, with each other.
fn each_level_fetches(way: &str, cpus: &str) {
    let document = nest_with(3, "2G", &["--network", way, "--cpus", cpus]);
    let levels = document["levels"].as_array().expect("levels");
    assert_eq!((document["ok"].as_bool(), levels.len()), (Some(true), 3), "{document:#}");
    for level in levels {
        assert_eq!(level["fetched"]["bytes"], 4 << 20, "{level:#}");
        assert_eq!(level["processors"].to_string(), cpus, "{level:#}");
        assert_eq!(text(level, "/fetched/sha256"), text(&levels[0], "/fetched/sha256"));
    }
}

#[test]
fn three_levels_fetch_through_two_switches_each_by_mac_address_spoofing() {
    each_level_fetches("mac", "1");
}

#[test]
fn three_levels_of_two_processors_fetch_through_a_router_each() {
    each_level_fetches("nat", "2");
}

/// Two processors of the host run the races of two of the guest, and of four; what they see of each other is what the memory model allows, on pages with
/// code and over pages' ends, too.
#[test]
fn processors_see_of_each_other_what_the_memory_model_allows() {
    let run = Command::new(env!("CARGO_BIN_EXE_ireko"))
        .args(["run", "--image", "--engine", "soft", "--cpus", "2", "--exec", "ireko litmus --rounds 2000"])
        .output()
        .expect("the ireko binary");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("LockedIncrements Code: 0 of 8000 missing"), "{said}");
    assert!(!said.contains("WRONG"), "{said}");
}

/// Interrupts wait there while they are off, and the fast path does system instructions in place.
#[test]
fn debian_boots_with_blocks_of_the_fast_path_compared_to_the_plain_path() {
    let report = std::env::temp_dir().join(format!("ireko-lockstep-{}", std::process::id()));
    let option = format!("report={}", report.display());
    let run = Command::new(env!("CARGO_BIN_EXE_ireko"))
        .args(["run", "--image", "--engine", "soft", "--exec", "true", "--option", "lockstep-every=1000"])
        .args(["--option", "counters=on", "--option", &option])
        .output()
        .expect("the ireko binary");
    let text = std::fs::read_to_string(&report).unwrap_or_default();
    let _ = std::fs::remove_file(&report);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let compared =
        text.lines().find_map(|line| line.strip_prefix("lockstep: ")?.split(' ').next()?.parse().ok());
    assert!(compared.is_some_and(|blocks: u64| blocks > 10_000), "{text}");
}

/// `sha256sum` of 64 MiB of zeros, as Debian's own on any machine has it.
#[test]
fn a_program_that_runs_for_long_runs_as_it_stands_where_that_is_asked_for() {
    let report = std::env::temp_dir().join(format!("ireko-direct-{}", std::process::id()));
    let option = format!("report={}", report.display());
    let run = Command::new(env!("CARGO_BIN_EXE_ireko"))
        .args(["run", "--image", "--engine", "soft", "--exec", "dd if=/dev/zero bs=1M count=64 | sha256sum"])
        .args(["--option", "direct=on", "--option", "counters=on", "--option", &option])
        .output()
        .expect("the ireko binary");
    let text = std::fs::read_to_string(&report).unwrap_or_default();
    let _ = std::fs::remove_file(&report);
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("3b6a07d0d404fab4e23b6d34bc6696a6a312dd92821332385e5af7c01c421351"), "{said}");
    let stretches = text.split("direct_runs: ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
    assert!(stretches.is_some_and(|stretches: u64| stretches > 0), "{text}");
}
