//! A worker's walls, from inside and from outside.

mod home;

use home::Home;
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};

/// What a process behind the walls says: what stands, and what it could still do.
fn inside(home: &Home) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ireko"));
    let output = command.env_clear().arg("jail").arg(&home.0).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn in_force(layers: &Value, name: &str) -> bool {
    layers.as_array().unwrap().iter().any(|layer| layer["name"] == name && layer["in_force"] == true)
}

#[test]
fn who_runs_guest_code_carries_frames_or_answers_opens_makes_executes_maps_and_signals_nothing() {
    let home = Home::new("vcpu");
    let found = inside(&home);
    for who in ["vcpu_can", "network_can", "control_can"] {
        assert_eq!(found[who], serde_json::json!([]), "{who}");
    }
}

#[test]
fn who_makes_machines_can_do_that_only() {
    let home = Home::new("process");
    let found = inside(&home);
    let names = in_force(&found["layers"], "empty root") || in_force(&found["layers"], "Landlock");
    let code = ["map executable memory", "make memory executable"];
    let files = ["open a file", "make a file"];
    let sockets = ["make a port", "make a local socket"];
    let may = |name: &str| code.contains(&name) || sockets.contains(&name) || !names && files.contains(&name);
    for one in found["process_can"].as_array().unwrap() {
        assert!(may(one.as_str().unwrap()), "{one}");
    }
}

#[test]
fn every_layer_says_what_it_comes_to_or_why_it_is_missing() {
    let home = Home::new("layers");
    let found = inside(&home);
    let layers = found["layers"].as_array().unwrap();
    assert!(layers.len() >= 13, "{layers:?}");
    for layer in layers {
        assert!(!layer["what"].as_str().unwrap().is_empty(), "{layer}");
    }
    assert!(
        ["capabilities", "no new privileges", "seccomp"].iter().all(|name| in_force(&found["layers"], name))
    );
}

/// A root like a container's: one user, without CAP_SYS_ADMIN, where no user namespace can be had.
const POOR: &str =
    "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -sys_admin \"$@\"";

#[test]
fn where_no_namespace_can_be_had_each_is_told_and_the_root_is_changed_by_chroot() {
    let home = Home::new("poor");
    let poor = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", POOR, "sh", program]).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command.output()
    };
    if !poor("true", &[]).is_ok_and(|output| output.status.success()) {
        eprintln!("left out: no user namespace can be had here, or no unshare(1) or setpriv(1)");
        return;
    }
    let output = poor(env!("CARGO_BIN_EXE_ireko"), &["jail", &home.0.display().to_string()]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let layers = &found["layers"];
    for name in ["user", "mount", "IPC", "network", "pid"].map(|kind| format!("{kind} namespace")) {
        let layer = layers.as_array().unwrap().iter().find(|layer| layer["name"] == name.as_str()).unwrap();
        let why = layer["what"].as_str().unwrap();
        assert!(layer["in_force"] == false && (why.contains("EPERM") || why.contains("ENOSPC")), "{layer}");
    }
    for name in ["empty root", "capabilities", "no new privileges", "not dumpable", "seccomp"] {
        assert!(in_force(layers, name), "{name}: {layers}");
    }
    assert_eq!(found["vcpu_can"], serde_json::json!([]));
}

#[test]
fn every_thread_of_a_running_vm_is_confined_and_a_reset_needs_no_way_out() {
    let home = Home::new("worker");
    let ok = |arguments: &[&str]| {
        let output = home.run(&[&["vm"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    ok(&["create", "vm", "--memory", "256M", "--engine", "soft"]);
    ok(&["start", "vm"]);
    ok(&["restart", "vm", "--force"]);
    let records: Value = serde_json::from_slice(&ok(&["show", "vm", "--json"])).unwrap();
    assert_eq!(records[0]["State"], "Running");
    assert!(records[0]["Jail"].as_array().unwrap().len() >= 13);
    let tasks = format!("/proc/{}/task", records[0]["WorkerProcessId"]);
    for task in fs::read_dir(tasks).unwrap().flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        let value = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
                .split_whitespace()
                .next()
                .unwrap()
        };
        let found = ["NoNewPrivs:", "Seccomp:", "CapEff:"].map(value);
        assert_eq!(found, ["1", "2", "0000000000000000"], "{}", value("Name:"));
        let own_user = own_uid() != 0 || value("Uid:") != "0";
        assert!(own_user, "{} runs as root", value("Name:"));
    }
    ok(&["stop", "vm", "--turn-off"]);
    assert!(home.0.join("vms").read_dir().unwrap().flatten().all(|vm| {
        let run: Value = serde_json::from_slice(&fs::read(vm.path().join("run/run.json")).unwrap()).unwrap();
        run["clean"] == true
    }));
}

/// Of this test's process.
fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").map_or(u32::MAX, |own| own.uid())
}
