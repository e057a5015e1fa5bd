//! A machine's weight where processors are short: its control group's where there is one with a weight, else its worker's nice value, of
//! which the kernel gives 1.25 times as much to the next lower one (sched(7), "The nice value").

use rustix::process::{Resource, getrlimit, nice};

/// What a machine has of which nobody said anything.
const USUAL: f64 = 100.0;
const STEP: f64 = 1.25;
/// The highest, which is the least weight, and the lowest.
const HIGHEST: i32 = 19;
const LOWEST: i32 = -20;
/// CAP_SYS_NICE (capabilities(7)).
const MAY_RAISE: u64 = 1 << 23;

/// How machines get their weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighing {
    /// By control groups: as it is set.
    Group,
    /// By nice values, down to this one.
    Nice(i32),
}

/// The nice value that is nearest.
pub fn nice_of(weight: u32) -> i32 {
    let steps = (USUAL / f64::from(weight.max(1))).ln() / STEP.ln();
    (steps.round() as i32).clamp(LOWEST, HIGHEST)
}

fn weight_of(nice: i32) -> u32 {
    (USUAL * STEP.powi(-nice)).round() as u32
}

/// What a weight comes to if it cannot be had, and why.
pub fn unreached(weight: u32, weighing: Weighing) -> Option<String> {
    let Weighing::Nice(lowest) = weighing else { return None };
    let most = lowest.min(0);
    (nice_of(weight) < most).then(|| {
        format!(
            "acts as {}: more takes a control group with a weight (cgroup v2 with its controller cpu, which systemd gives by Delegate=yes), or the right to raise priorities (CAP_SYS_NICE, or a limit of nice below {most}); give others less instead.",
            weight_of(most)
        )
    })
}

/// The lowest nice value that a process of the caller's may have (setrlimit(2): the limit is 20 less that).
pub fn lowest() -> i32 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    lowest_of(&status, getrlimit(Resource::Nice).current)
}

fn lowest_of(status: &str, limit: Option<u64>) -> i32 {
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let rights = rights.and_then(|rights| u64::from_str_radix(rights.trim(), 16).ok()).unwrap_or(0);
    match limit {
        Some(limit) if rights & MAY_RAISE == 0 => 20 - i32::try_from(limit.min(40)).unwrap_or(0),
        _ => LOWEST,
    }
}

/// Of this process, before it has other threads and walls. What cannot be had is left, and the nearest taken: who set it was told.
pub fn take(weight: u32) {
    let wanted = nice_of(weight);
    if wanted == 0 {
        return;
    }
    let wanted = match nice(wanted) {
        Ok(_) => wanted,
        Err(_) => {
            let nearest = lowest().min(0);
            let _ = nice(nearest);
            nearest
        }
    };
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
        assert_eq!(unreached(50, Weighing::Nice(20)), None);
        assert!(unreached(200, Weighing::Nice(20)).is_some_and(|why| why.starts_with("acts as 100: ")));
        assert_eq!(unreached(200, Weighing::Nice(LOWEST)), None);
    }

    #[test]
    fn a_limit_of_nice_bounds_the_weight() {
        assert_eq!(unreached(200, Weighing::Nice(-3)), None);
        assert!(unreached(1000, Weighing::Nice(-3)).is_some_and(|why| why.starts_with("acts as 195: ")));
    }

    #[test]
    fn a_group_takes_every_weight() {
        assert_eq!(unreached(10_000, Weighing::Group), None);
    }

    #[test]
    fn root_without_the_right_to_raise_priorities_has_its_limit() {
        assert_eq!(lowest_of("CapEff:\t00000000a80425fb\n", Some(0)), 20);
        assert_eq!(lowest_of("CapEff:\t00000000a80425fb\n", Some(25)), -5);
        assert_eq!(lowest_of("CapEff:\t000001ffffffffff\n", Some(0)), LOWEST);
    }
}
