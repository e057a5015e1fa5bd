//! A machine's weight where processors are short: its worker's nice value. The kernel gives 1.25 times as much to the next lower one
//! (sched(7), "The nice value").

use rustix::process::{Resource, getrlimit, nice};

/// What a machine has of which nobody said anything.
const USUAL: f64 = 100.0;
const STEP: f64 = 1.25;
/// The highest, which is the least weight, and the lowest.
const HIGHEST: i32 = 19;
const LOWEST: i32 = -20;

/// The nice value that is nearest.
pub fn nice_of(weight: u32) -> i32 {
    let steps = (USUAL / f64::from(weight.max(1))).ln() / STEP.ln();
    (steps.round() as i32).clamp(LOWEST, HIGHEST)
}

/// Why a weight cannot be had.
pub fn unreached(weight: u32, can_raise: bool) -> Option<&'static str> {
    (nice_of(weight) < 0 && !can_raise).then_some(
        "more takes the right to raise priorities (CAP_SYS_NICE, or a limit of nice below 0); give others less instead.",
    )
}

/// Whether a process of the caller's may have a nice value below 0 (setrlimit(2): the limit is 20 less the lowest).
pub fn can_raise() -> bool {
    rustix::process::geteuid().is_root() || getrlimit(Resource::Nice).current.is_none_or(|limit| limit > 20)
}

/// Of this process, before it has other threads and walls. What cannot be had is left: who set it was told.
pub fn take(weight: u32) {
    let wanted = nice_of(weight);
    if wanted == 0 {
        return;
    }
    let _ = nice(wanted);
    // Between sessions it is the session's that counts, where the kernel groups them (sched(7), "The autogroup feature").
    let _ = std::fs::write("/proc/self/autogroup", wanted.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_weight_is_three_steps_and_the_usual_none() {
        assert_eq!([100, 50, 200, 1, 10_000].map(nice_of), [0, 3, -3, 19, -20]);
    }

    #[test]
    fn less_weight_can_always_be_had() {
        assert_eq!(unreached(50, false), None);
        assert!(unreached(200, false).is_some() && unreached(200, true).is_none());
    }
}
