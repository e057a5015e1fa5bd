//! Hostile kernels on whole machines, for some seconds; for minutes: `cargo run --release -p ireko-lab --bin hostile -- 10`.

use ireko_lab::storm;
use std::time::Duration;

#[test]
fn hostile_kernels_are_paused_and_turned_off_and_the_process_lives() {
    let report =
        storm::run(1, Duration::from_secs(6), Duration::from_secs(2)).expect("no kernel gets through");
    assert!(report.kernels > 0 && report.resident > 0, "{report:?}");
}
