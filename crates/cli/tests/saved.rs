//! A nest that is saved at random moments, and each time goes on in a new machine of the same process: every level checks its memory
//! all the time, and answers in the end.

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
fn a_nest_goes_on_wherever_its_first_machine_is_saved() {
    let document =
        saved(&["--depth", "2", "--memory", "1G", "--rounds", "15", "--most-ms", "600", "--timeout", "300"]);
    assert!(document["rounds"].as_u64().is_some_and(|rounds| rounds >= 5), "{document:#}");
}
