//! A running VM's memory: what it should have, and seeing to it.

pub mod policy;
#[cfg(test)]
mod tests;

use self::policy::{HostMemory, Inputs, STEP, policy};
use super::gauges::Gauges;
use super::machine::Remote;
use super::server::Control;
use crate::rules;
use crate::state::State;
use crate::store::Memory;
use crate::store::config::MIB;
use ireko_machine::MemoryState;
use std::sync::Weak;
use std::time::Duration;

/// Between two looks.
const ROUND: Duration = Duration::from_millis(250);
/// Looks without any movement until what the guest does not unplug is asked of its balloon: 1 s.
const INSIST_AFTER: u32 = 4;
/// Looks without any movement until nobody waits for it any more: 30 s. What was requested stands.
const GIVE_UP_AFTER: u32 = 120;
/// Looks without any movement after which the guest is asked what it has of it: 0.5 s.
const MOVED_BEFORE: u32 = 2;
/// Looks between two questions for statistics: half a second where memory follows them, otherwise ten.
const POLL_DYNAMIC: u32 = 2;
const POLL_STATIC: u32 = 40;

/// What the VM should have.
pub struct Balancer {
    pub settings: Memory,
    target: u64,
    /// As of the last look.
    assigned: u64,
    /// Looks since it moved.
    still: u32,
    /// A hypervisor runs inside: nothing moves.
    held: bool,
    rounds: u32,
    /// What the VM had when statistics were asked for, and which answer was the last then; `None`: nothing is open.
    asked: Option<(u64, u64)>,
    demand: Option<u64>,
    /// Of what it started with, what the guest's kernel does not count as memory; `None`: it has not said.
    uncounted: Option<u64>,
    /// Of what was added, what the guest has not taken into use.
    offline: u64,
    rise: u64,
    /// Since memory was given.
    answers: u32,
}

impl Balancer {
    pub fn new(settings: Memory) -> Self {
        let target = settings.startup;
        Self {
            settings,
            target,
            assigned: target,
            still: 0,
            held: false,
            rounds: 0,
            asked: None,
            demand: None,
            uncounted: None,
            offline: 0,
            rise: 0,
            answers: 0,
        }
    }

    /// After a reset the VM has what it starts with.
    pub fn restart(&mut self) {
        *self = Self::new(self.settings.clone());
    }

    /// What the guest uses and could not free, if it says so.
    pub fn demand(&self) -> Option<u64> {
        self.demand
    }

    /// Of what was added, what the guest has not taken into use, as far as it says so.
    pub fn offline(&self) -> u64 {
        self.offline
    }

    pub fn target(&self) -> u64 {
        self.target
    }

    /// The guest is on its way to the target.
    pub fn adjusting(&self, assigned: u64) -> bool {
        assigned != self.target && self.still < GIVE_UP_AFTER && !self.held
    }

    fn aim(&mut self, target: u64, remote: &dyn Remote) {
        self.target = target;
        self.still = 0;
        remote.aim(target, false);
    }

    /// Takes new settings over; a running static VM gets what it starts with.
    pub fn change(
        &mut self,
        new: Memory,
        hypervisor: Option<bool>,
        host: HostMemory,
        remote: &dyn Remote,
    ) -> Result<(), String> {
        self.check(&new, hypervisor, host, remote)?;
        if self.resizes(&new) {
            self.aim(new.startup, remote);
        }
        self.settings = new;
        Ok(())
    }

    fn resizes(&self, new: &Memory) -> bool {
        !new.dynamic && new.startup != self.target
    }

    /// Whether new settings can be taken over.
    fn check(
        &self,
        new: &Memory,
        hypervisor: Option<bool>,
        host: HostMemory,
        remote: &dyn Remote,
    ) -> Result<(), String> {
        rules::memory::check(new)?;
        rules::memory::check_change(&self.settings, new, State::Running, hypervisor)?;
        match self.resizes(new) {
            true => rules::memory::check_resize(new.startup, &remote.memory(), host.available),
            false => Ok(()),
        }
    }

    /// Whether something may move at the next look. Then it matters whether a hypervisor runs inside; that question
    /// stops the VM's processors for a moment.
    fn asks(&self) -> bool {
        let follows = self.settings.dynamic && self.asked.is_some();
        follows || self.held || self.assigned != self.target
    }

    /// One look.
    fn round(&mut self, hypervisor: bool, host: HostMemory, remote: &dyn Remote) {
        let state = remote.memory();
        let assigned = state.assigned();
        self.still = if assigned == self.assigned { self.still.saturating_add(1) } else { 0 };
        self.assigned = assigned;
        self.rounds = self.rounds.wrapping_add(1);
        let told = self.hear(&state);
        let pause = if self.settings.dynamic { POLL_DYNAMIC } else { POLL_STATIC };
        if state.statistics.is_none() || self.rounds.is_multiple_of(pause) || self.still == MOVED_BEFORE {
            self.asked = Some((assigned, number(&state)));
            remote.poll_memory();
        }
        if hypervisor {
            if !self.held {
                remote.hold_memory();
            }
            self.held = true;
            return;
        }
        if std::mem::take(&mut self.held) {
            // What was under way when it came goes on.
            self.aim(self.target, remote);
        }
        if self.settings.dynamic && told {
            self.follow(&state, host, remote);
        }
        if self.still >= INSIST_AFTER && assigned != self.target {
            remote.aim(self.target, true);
        }
    }

    /// Whether the guest has answered. What it said of memory that moved meanwhile counts for nothing.
    fn hear(&mut self, state: &MemoryState) -> bool {
        let told = self.asked.is_some_and(|(_, last)| number(state) > last);
        let valid = told && self.asked.is_some_and(|(assigned, _)| assigned == state.assigned());
        if told {
            self.asked = None;
            self.answers = self.answers.saturating_add(1);
        }
        if valid {
            let now = demand(state);
            self.rise = now.zip(self.demand).map_or(0, |(now, before)| now.saturating_sub(before));
            self.demand = now;
            self.count(state);
        }
        valid
    }

    /// A kernel's total is what it has online, less what it keeps for itself from the start.
    fn count(&mut self, state: &MemoryState) {
        let Some(total) = state.statistics.and_then(|statistics| statistics.total) else { return };
        let missing = state.assigned().saturating_sub(total);
        if state.plugged == 0 {
            self.uncounted = Some(missing);
        }
        let offline = self.uncounted.map_or(0, |usual| missing.saturating_sub(usual)).min(state.plugged);
        // A kernel describes what it gets in what it has, so its total is a little less.
        self.offline = if offline > state.plugged / 2 { offline } else { 0 };
    }

    fn follow(&mut self, state: &MemoryState, host: HostMemory, remote: &dyn Remote) {
        let room = if state.can_grow { state.room } else { 0 };
        let now = Inputs {
            settings: &self.settings,
            assigned: state.assigned(),
            demand: self.demand.filter(|_| state.can_shrink),
            rise: self.rise,
            answers: self.answers,
            reachable: (state.base + room) / STEP * STEP,
            host,
            hypervisor: false,
        };
        if let Some(target) = policy(&now).filter(|target| *target != self.target) {
            if target > state.assigned() {
                self.answers = 0;
            }
            self.aim(target, remote);
        }
    }
}

fn number(state: &MemoryState) -> u64 {
    state.statistics.map_or(0, |statistics| statistics.number)
}

/// All but what the guest's kernel calls available.
fn demand(state: &MemoryState) -> Option<u64> {
    let statistics = state.statistics?;
    let left = statistics.available.or(statistics.free)?;
    Some(state.assigned().saturating_sub(left))
}

/// A request for other settings.
pub fn change(control: &Control, settings: &Memory) -> Result<(), String> {
    let (remote, paused) = {
        let inner = control.lock();
        (inner.remote.clone(), inner.paused)
    };
    if paused {
        return Err(
            "Failed to modify device 'Memory'. The virtual machine is Paused and its guest cannot take part; use Resume-VM first."
                .into(),
        );
    }
    let (hypervisor, host) = (remote.hypervisor(), control.gauges.host());
    // What is refused is not allowed either; what is allowed must be so before the guest takes it.
    control.lock().memory.check(settings, hypervisor, host, &*remote)?;
    if let Some(limits) = &control.limits {
        limits.allow(settings);
    }
    control.lock().memory.change(settings.clone(), hypervisor, host, &*remote)
}

/// Looks again and again, for as long as the VM is there.
pub fn balance(control: &Weak<Control>) {
    loop {
        std::thread::sleep(ROUND);
        let Some(control) = control.upgrade() else { return };
        let (remote, asks) = {
            let inner = control.lock();
            if inner.paused {
                continue;
            }
            (inner.remote.clone(), inner.memory.asks())
        };
        let hypervisor = asks && remote.hypervisor() == Some(true);
        let host = if asks { control.gauges.host() } else { HostMemory::default() };
        control.lock().memory.round(hypervisor, host, &*remote);
    }
}

/// The host's memory as its kernel tells it. One that does not tell strain has none.
pub fn host() -> HostMemory {
    Gauges::open().host()
}

/// From the texts of /proc/meminfo and /proc/pressure/memory.
pub fn told(meminfo: &str, pressure: &str) -> HostMemory {
    HostMemory {
        total: kibibytes(meminfo, "MemTotal:"),
        available: kibibytes(meminfo, "MemAvailable:"),
        stalled: stalled(pressure),
    }
}

fn kibibytes(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) << 10
}

/// `avg10` of the line `some`.
fn stalled(pressure: &str) -> f64 {
    let line = pressure.lines().find(|line| line.starts_with("some ")).unwrap_or_default();
    let average = line.split_whitespace().find_map(|word| word.strip_prefix("avg10="));
    average.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// `OK`, `Low` or `Warning`, as the reference has it: whether a VM has its demand with the buffer, or at least its demand.
pub fn status(assigned: u64, demand: u64, settings: &Memory) -> &'static str {
    let buffer = if settings.dynamic { u128::from(settings.buffer) } else { 0 };
    let wanted = u128::from(demand) * (100 + buffer) / 100;
    // A guest never uses more than it has: one with less than a fiftieth left is short.
    if demand > assigned - assigned / 50 {
        "Warning"
    } else if wanted > u128::from(assigned) + u128::from(16 * MIB) {
        "Low"
    } else {
        "OK"
    }
}
