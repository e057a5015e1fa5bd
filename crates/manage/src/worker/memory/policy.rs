//! How much memory a VM with dynamic memory should have: a function of what is known, and nothing else.

use crate::store::Memory;
use crate::store::config::MIB;

/// Amounts move in steps of 2 MiB.
pub const STEP: u64 = 2 * MIB;

/// What is left to the host itself: a twentieth, and this at least.
const RESERVE: u64 = 128 * MIB;
/// Percent of the last ten seconds in which somebody on the host waited for memory: more is strain (psi(5), `some`).
const STRAIN: f64 = 10.0;
/// Less than this above what is wanted is not worth moving; nor is a twentieth of what the VM has.
const SLACK: u64 = 16 * MIB;
/// The most that is taken at a time, or a twentieth of what the VM has: demand that comes back finds memory still there.
const BITE: u64 = 16 * MIB;
/// Answers of the guest after memory was given, until some is taken again.
const CALM: u32 = 8;

/// The host's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostMemory {
    pub total: u64,
    pub available: u64,
    /// Percent of time in which somebody waited for memory.
    pub stalled: f64,
}

impl HostMemory {
    /// What may still be given to VMs.
    pub fn spare(&self) -> u64 {
        self.available.saturating_sub((self.total / 20).max(RESERVE))
    }
    pub fn strained(&self) -> bool {
        self.stalled > STRAIN || self.spare() == 0
    }
}

/// What the decision is made from.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    pub settings: &'a Memory,
    pub assigned: u64,
    /// What the guest's kernel uses and cannot easily free; `None`: it does not say.
    pub demand: Option<u64>,
    /// How much more that is than it was at the last answer: as much again may come before the next.
    pub rise: u64,
    /// Answers since memory was given.
    pub answers: u32,
    /// What the VM can have at most, as its devices are now.
    pub reachable: u64,
    pub host: HostMemory,
    /// One runs inside the VM.
    pub hypervisor: bool,
}

/// The amount that the VM should have; `None`: what it has is right, or has to stay.
pub fn policy(now: &Inputs<'_>) -> Option<u64> {
    if now.hypervisor {
        return None;
    }
    let demand = now.demand?;
    let (strained, settings) = (now.host.strained(), now.settings);
    // Where memory is short, who has priority keeps more of its buffer.
    let share = if strained { settings.priority.min(100) } else { 100 };
    let buffer = u128::from(demand) * u128::from(settings.buffer) * u128::from(share) / 10_000;
    let most = settings.maximum.min(now.reachable);
    let wanted = demand.saturating_add(u64::try_from(buffer).unwrap_or(u64::MAX)).saturating_add(now.rise);
    let wanted =
        wanted.min(most).div_ceil(STEP).saturating_mul(STEP).min(most).max(settings.minimum.min(most));
    let target = if wanted > now.assigned {
        let room = if strained { 0 } else { now.host.spare() };
        now.assigned.saturating_add(room).min(wanted) / STEP * STEP
    } else {
        lower(now.assigned, wanted, strained, now.answers >= CALM)
    };
    let better = if wanted > now.assigned { target > now.assigned } else { target < now.assigned };
    better.then_some(target)
}

fn lower(assigned: u64, wanted: u64, strained: bool, calm: bool) -> u64 {
    let excess = assigned - wanted;
    if strained {
        return wanted;
    }
    if !calm || excess <= SLACK.max(assigned / 20) {
        return assigned;
    }
    (assigned - excess.min(BITE.max(assigned / 20))).div_ceil(STEP) * STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Memory = Memory {
        startup: 1024 * MIB,
        dynamic: true,
        minimum: 512 * MIB,
        maximum: 4096 * MIB,
        buffer: 20,
        priority: 50,
    };
    const EASY: HostMemory = HostMemory { total: 32 << 30, available: 16 << 30, stalled: 0.0 };
    const SHORT: HostMemory = HostMemory { available: 1 << 30, ..EASY };
    const STALLED: HostMemory = HostMemory { stalled: 25.0, ..EASY };

    /// Assigned, demand, what can be had (MiB), host, and what comes out.
    type Row = (u64, u64, u64, HostMemory, Option<u64>);

    #[test]
    fn memory_follows_the_demand() {
        let rows: &[Row] = &[
            // Demand and buffer are met at once.
            (1024, 1500, 8192, EASY, Some(1800)),
            (1024, 1001, 8192, EASY, Some(1202)),
            // Never above Maximum, nor above what the devices can do.
            (1024, 9000, 8192, EASY, Some(4096)),
            (1024, 3000, 2048, EASY, Some(2048)),
            (4096, 9000, 8192, EASY, None),
            // Taken slowly, and never below Minimum.
            (2048, 600, 8192, EASY, Some(1946)),
            (600, 100, 8192, EASY, Some(570)),
            (540, 100, 8192, EASY, Some(514)),
            (536, 100, 8192, EASY, None),
            (512, 100, 8192, EASY, None),
            // Small differences are left.
            (1024, 850, 8192, EASY, None),
            (1024, 820, 8192, EASY, None),
            // A host without memory gives none, and takes the excess at once with half of the buffer.
            (1024, 1500, 8192, SHORT, None),
            (1024, 1500, 8192, STALLED, None),
            (2048, 1000, 8192, SHORT, Some(1100)),
            (2048, 1000, 8192, STALLED, Some(1100)),
            // No more is given than the host can spare.
            (1024, 3000, 8192, HostMemory { available: (32 << 30) / 20 + 100 * MIB, ..EASY }, Some(1124)),
        ];
        for &(assigned, demand, reachable, host, expected) in rows {
            let now = Inputs {
                settings: &SETTINGS,
                assigned: assigned * MIB,
                demand: Some(demand * MIB),
                rise: 0,
                answers: CALM,
                reachable: reachable * MIB,
                host,
                hypervisor: false,
            };
            let target = policy(&now).map(|target| target / MIB);
            assert_eq!(target, expected, "assigned {assigned}, demand {demand}, {host:?}");
        }
    }

    fn busy() -> Inputs<'static> {
        Inputs {
            settings: &SETTINGS,
            assigned: 1024 * MIB,
            demand: Some(2000 * MIB),
            rise: 0,
            answers: CALM,
            reachable: 1 << 40,
            host: EASY,
            hypervisor: false,
        }
    }

    #[test]
    fn memory_stays_while_a_hypervisor_runs_inside() {
        assert_eq!(policy(&Inputs { hypervisor: true, ..busy() }), None);
        assert!(policy(&busy()).is_some());
    }

    #[test]
    fn memory_stays_while_the_guest_says_nothing() {
        assert_eq!(policy(&Inputs { demand: None, ..busy() }), None);
    }

    #[test]
    fn demand_that_rises_is_met_before_it_has_risen() {
        assert_eq!(policy(&Inputs { rise: 300 * MIB, ..busy() }), Some(2700 * MIB));
    }

    #[test]
    fn what_was_given_just_now_is_not_taken_unless_the_host_needs_it() {
        let idle = Inputs { assigned: 2048 * MIB, demand: Some(100 * MIB), answers: CALM - 1, ..busy() };
        assert_eq!(policy(&idle), None);
        assert!(policy(&Inputs { answers: CALM, ..idle.clone() }).is_some());
        assert!(policy(&Inputs { host: SHORT, ..idle }).is_some());
    }

    #[test]
    fn priority_keeps_the_buffer() {
        for (priority, expected) in [(0, 1000), (100, 1200)] {
            let settings = Memory { priority, ..SETTINGS };
            let now = Inputs {
                settings: &settings,
                assigned: 2048 * MIB,
                demand: Some(1000 * MIB),
                host: SHORT,
                ..busy()
            };
            assert_eq!(policy(&now), Some(expected * MIB));
        }
    }

    #[test]
    fn absurd_numbers_harm_nobody() {
        let settings = Memory { buffer: u32::MAX, priority: u32::MAX, maximum: u64::MAX, ..SETTINGS };
        for demand in [0, 1, u64::MAX] {
            for assigned in [0, u64::MAX] {
                let now =
                    Inputs { settings: &settings, demand: Some(demand), rise: demand, assigned, ..busy() };
                let _ = policy(&now);
            }
        }
    }
}
