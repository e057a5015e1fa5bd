//! A nest that is saved at random moments, and each time goes on in a new machine of the same process: every level checks its memory
//! all the time, and answers in the end. On KVM in a guest of ours, which has it by our AMD-V.

mod home;

use home::Home;
use serde_json::Value;
use std::process::Command;

fn saved(args: &[&str]) -> Value {
    let run =
        Command::new(env!("CARGO_BIN_EXE_ireko")).arg("saved").args(args).output().expect("the ireko binary");
    let text = String::from_utf8_lossy(&run.stdout);
    let document: Value = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}\n{}", String::from_utf8_lossy(&run.stderr)));
    assert!(run.status.success(), "{document:#}\n{}", String::from_utf8_lossy(&run.stderr));
    document
}

#[test]
fn a_nest_goes_on_wherever_its_first_machine_of_two_processors_is_saved() {
    let document = saved(&[
        "--depth",
        "2",
        "--processors",
        "2",
        "--memory",
        "1G",
        "--rounds",
        "15",
        "--most-ms",
        "600",
        "--timeout",
        "300",
    ]);
    assert!(document["rounds"].as_u64().is_some_and(|rounds| rounds >= 5), "{document:#}");
}

/// In a guest whose kernel has KVM.
fn saved_on_kvm(name: &str, args: &str) -> Value {
    let home = Home::new(name);
    let line = format!("ireko saved --engine kvm {args} || echo {{failed}}");
    let run = ["run", "--image", "--nested", "--memory", "2G", "--engine", "soft", "--exec", &line];
    let output = home.run(&run);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (start, end) = (said.find('{').unwrap_or(0), said.rfind('}').map_or(0, |end| end + 1));
    serde_json::from_str(&said[start..end.max(start)])
        .unwrap_or_else(|e| panic!("{e}: {said}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn machines_of_two_processors_go_on_on_kvm_and_damaged_states_harm_nobody() {
    let document = saved_on_kvm(
        "kvm",
        "--depth 1 --processors 2 --memory 256M --rounds 6 --most-ms 200 --bench-ms 20 --damaged 60",
    );
    assert!(document["rounds"].as_u64().is_some_and(|rounds| rounds >= 3), "{document:#}");
    assert!(document["refused"].as_u64() > Some(0), "{document:#}");
}

#[test]
fn a_nest_on_kvm_goes_on() {
    // Moments at which the second level mostly runs.
    let moments = "--rounds 3 --most-ms 9000 --seed 179";
    let document = saved_on_kvm("nest", &format!("--depth 2 --memory 512M --bench-ms 10 {moments}"));
    assert!(document["rounds"].as_u64().is_some_and(|rounds| rounds >= 2), "{document:#}");
}
