//! The APIC timer: one-shot, periodic and TSC-deadline (APM vol. 2, 16.4.1; SDM vol. 3, 11.5.4).

use super::Apic;
use crate::processor::apic::{ApicTimer, entry};
use ireko_x86::apic::lvt;

/// The count's rate before division, in kHz: one tick is a nanosecond.
pub const BUS_KHZ: u32 = 1_000_000;

/// Shorter periods are stretched to this, so that a guest cannot drown itself and its host.
const SHORTEST_PERIOD: u64 = 50_000;

impl ApicTimer {
    /// Nanoseconds of `count` ticks at the current division.
    fn ticks(&self, count: u32) -> u64 {
        u64::from(count) << self.divide_shift()
    }

    /// Divide by 2, 4, 8, 16, 32, 64, 128 or 1, in bits 3, 1 and 0.
    fn divide_shift(&self) -> u32 {
        ((self.divide >> 1 & 4 | self.divide & 3) + 1) & 7
    }

    /// The count at this time.
    fn count(&self, now: u64) -> u32 {
        let Some(at) = self.zero_at else { return 0 };
        (at.saturating_sub(now) >> self.divide_shift()).min(self.initial.into()) as u32
    }
}

impl Apic<'_> {
    pub(super) fn stop_timer(&mut self) {
        self.regs.timer = ApicTimer { divide: self.regs.timer.divide, ..ApicTimer::default() };
        self.wires.alarm.cancel();
    }

    /// Arms for a TSC value, or disarms with 0. Gives whether that has passed already.
    pub(super) fn arm_deadline(&mut self, deadline: u64) -> bool {
        self.regs.timer.deadline = deadline;
        if deadline == 0 {
            self.wires.alarm.cancel();
        }
        self.deadline_passed()
    }

    /// Whether the deadline has come; then it is disarmed. If not, sees to it that it is noticed.
    fn deadline_passed(&mut self) -> bool {
        let deadline = self.regs.timer.deadline;
        if deadline == 0 {
            return false;
        }
        let now = self.tsc.read();
        if now >= deadline {
            self.regs.timer.deadline = 0;
            return true;
        }
        let wait = self.tsc.counter.nanoseconds(deadline - now);
        self.wires.alarm.arm(self.wires.clock.now().saturating_add(wait));
        false
    }

    /// A write of the initial count starts counting, or with 0 stops it.
    pub(super) fn start_timer(&mut self, initial: u32) {
        let now = self.wires.clock.now();
        let timer = &mut self.regs.timer;
        timer.initial = initial;
        timer.zero_at = (initial != 0).then(|| now + timer.ticks(initial));
        self.arm_count();
    }

    pub(super) fn arm_count(&self) {
        match self.regs.timer.zero_at {
            Some(at) => self.wires.alarm.arm(at),
            None => self.wires.alarm.cancel(),
        }
    }

    /// A new division takes effect at once, on what is left of the count.
    pub(super) fn set_divide(&mut self, divide: u32) {
        let now = self.wires.clock.now();
        let timer = &mut self.regs.timer;
        let left = timer.count(now);
        timer.divide = divide & 0xb;
        if timer.zero_at.is_some() {
            timer.zero_at = Some(now + timer.ticks(left));
            self.arm_count();
        }
    }

    pub(super) fn timer_count(&self) -> u32 {
        self.regs.timer.count(self.wires.clock.now())
    }

    /// The alarm rang: whether the timer's interrupt is due.
    pub(super) fn timer_due(&mut self) -> bool {
        let local = self.regs.lvt[entry::TIMER];
        if local & lvt::TIMER_MODE == lvt::TSC_DEADLINE {
            return self.deadline_passed();
        }
        let Some(at) = self.regs.timer.zero_at else { return false };
        let now = self.wires.clock.now();
        if now < at {
            self.arm_count();
            return false;
        }
        let period = self.regs.timer.ticks(self.regs.timer.initial).max(SHORTEST_PERIOD);
        // Periods that nobody saw are gone, but the count has gone on in step.
        let next = at + ((now - at) / period + 1) * period;
        self.regs.timer.zero_at = (local & lvt::PERIODIC != 0).then_some(next);
        self.arm_count();
        true
    }
}
