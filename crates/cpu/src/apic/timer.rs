//! The APIC timer: one-shot, periodic and TSC-deadline (APM vol. 2, 16.4.1; SDM vol. 3, 11.5.4).

use crate::tsc::Tsc;
use ireko_vmcore::{Clock, Timer};
use ireko_x86::apic::lvt;

/// The count's rate before division, in kHz: one tick is a nanosecond.
pub const BUS_KHZ: u32 = 1_000_000;

/// Shorter periods are stretched to this, so that a guest cannot drown itself and its host.
const SHORTEST_PERIOD: u64 = 50_000;

pub(super) struct Countdown {
    clock: Clock,
    pub(super) tsc: Tsc,
    alarm: Timer,
    pub(super) initial: u32,
    /// The divide configuration register.
    pub(super) divide: u32,
    /// When the count reaches zero, in nanoseconds of the clock.
    zero_at: Option<u64>,
    /// IA32_TSC_DEADLINE; 0: not armed.
    deadline: u64,
}

impl Countdown {
    pub(super) fn new(clock: Clock, tsc: Tsc, alarm: Timer) -> Self {
        Self { clock, tsc, alarm, initial: 0, divide: 0, zero_at: None, deadline: 0 }
    }

    pub(super) fn stop(&mut self) {
        (self.initial, self.zero_at, self.deadline) = (0, None, 0);
        self.alarm.cancel();
    }

    #[cfg(test)]
    pub(super) fn zero_at(&self) -> Option<u64> {
        self.zero_at
    }

    pub(super) fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Arms for a TSC value, or disarms with 0. Gives whether that has passed already.
    pub(super) fn set_deadline(&mut self, deadline: u64) -> bool {
        self.deadline = deadline;
        if deadline == 0 {
            self.alarm.cancel();
        }
        self.deadline_passed()
    }

    /// Whether the deadline has come; then it is disarmed. If not, sees to it that it is noticed.
    fn deadline_passed(&mut self) -> bool {
        if self.deadline == 0 {
            return false;
        }
        let now = self.tsc.read();
        if now >= self.deadline {
            self.deadline = 0;
            return true;
        }
        let wait = self.tsc.nanoseconds(self.deadline - now);
        self.alarm.arm(self.clock.now().saturating_add(wait));
        false
    }

    /// A write of the initial count starts counting, or with 0 stops it.
    pub(super) fn start(&mut self, initial: u32) {
        self.initial = initial;
        self.zero_at = (initial != 0).then(|| self.clock.now() + self.ticks(initial));
        self.arm();
    }

    fn arm(&self) {
        match self.zero_at {
            Some(at) => self.alarm.arm(at),
            None => self.alarm.cancel(),
        }
    }

    /// Nanoseconds of `count` ticks at the current division.
    fn ticks(&self, count: u32) -> u64 {
        u64::from(count) << self.divide_shift()
    }

    /// Divide by 2, 4, 8, 16, 32, 64, 128 or 1, in bits 3, 1 and 0.
    fn divide_shift(&self) -> u32 {
        ((self.divide >> 1 & 4 | self.divide & 3) + 1) & 7
    }

    /// A new division takes effect at once, on what is left of the count.
    pub(super) fn set_divide(&mut self, divide: u32) {
        let left = self.current();
        self.divide = divide & 0xb;
        if self.zero_at.is_some() {
            self.zero_at = Some(self.clock.now() + self.ticks(left));
            self.arm();
        }
    }

    pub(super) fn current(&self) -> u32 {
        let Some(at) = self.zero_at else { return 0 };
        let left = at.saturating_sub(self.clock.now()) >> self.divide_shift();
        left.min(self.initial.into()) as u32
    }

    /// The alarm rang: whether the timer's interrupt is due, with the entry of the local vector table.
    pub(super) fn due(&mut self, entry: u32) -> bool {
        if entry & lvt::TIMER_MODE == lvt::TSC_DEADLINE {
            return self.deadline_passed();
        }
        let Some(at) = self.zero_at else { return false };
        let now = self.clock.now();
        if now < at {
            self.arm();
            return false;
        }
        let period = self.ticks(self.initial).max(SHORTEST_PERIOD);
        // Periods that nobody saw are gone, but the count has gone on in step.
        let next = at + ((now - at) / period + 1) * period;
        self.zero_at = (entry & lvt::PERIODIC != 0).then_some(next);
        self.arm();
        true
    }
}
