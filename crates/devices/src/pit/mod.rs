//! 8254 interval timer with three counters, and port 0x61, where counter 2's gate and output are.

mod channel;
mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use crate::lock;
use channel::Channel;
use ireko_vmcore::{Clock, Device, Line, SavedState, Space, Timer, Timers};
use regs::*;
use std::sync::{Arc, Mutex};

/// Counters and control word; port 0x61.
pub const PLACES: [u64; 2] = [0x40, 0x61];
const PORT_61: usize = 1;
const SECOND: u128 = 1_000_000_000;
/// Ticks (20 µs) between two interrupts, at least.
const SHORTEST: u64 = 24;

/// The registers, as functions of the tick.
struct Counters {
    channels: [Channel; CHANNELS],
    port_61: u8,
}

impl Counters {
    fn new() -> Self {
        // The gates of counters 0 and 1 are tied high.
        Self { channels: [Channel::new(true), Channel::new(true), Channel::new(false)], port_61: 0 }
    }

    fn read(&mut self, region: usize, port: u64, tick: u64) -> u8 {
        match (region, self.channels.get_mut(port as usize)) {
            (PORT_61, _) => self.read_61(tick),
            (_, Some(channel)) => channel.read(tick),
            // The control word cannot be read.
            (_, None) => 0xff,
        }
    }

    fn read_61(&self, tick: u64) -> u8 {
        let refresh = if (tick / REFRESH_TICKS) & 1 != 0 { REFRESH } else { 0 };
        let out = if self.channels[2].out(tick) { OUT_2 } else { 0 };
        self.port_61 | refresh | out
    }

    fn write(&mut self, region: usize, port: u64, value: u8, tick: u64) {
        match (region, self.channels.get_mut(port as usize)) {
            (PORT_61, _) => {
                self.port_61 = value & PORT_61_WRITABLE;
                self.channels[2].set_gate(value & GATE_2 != 0, tick);
            }
            (_, Some(channel)) => channel.write(value, tick),
            (_, None) => self.control(value, tick),
        }
    }

    fn control(&mut self, word: u8, tick: u64) {
        match word >> SELECT_SHIFT {
            READ_BACK => self.read_back(word, tick),
            channel => self.channels[usize::from(channel)].control(word, tick),
        }
    }

    fn read_back(&mut self, word: u8, tick: u64) {
        let chosen = |i: &usize| word & 2 << i != 0;
        for i in (0..CHANNELS).filter(chosen) {
            let channel = &mut self.channels[i];
            if word & READ_BACK_NO_COUNT == 0 {
                channel.latch_count(tick);
            }
            if word & READ_BACK_NO_STATUS == 0 {
                channel.latch_status(tick);
            }
        }
    }
}

struct PitState {
    counters: Counters,
    clock: Clock,
    line: Line,
    timer: Timer,
    /// The tick at which counter 0's OUT rises next.
    next_rise: Option<u64>,
}

impl PitState {
    fn tick(&self) -> u64 {
        (u128::from(self.clock.now()) * u128::from(FREQUENCY) / SECOND) as u64
    }

    /// Looks at counter 0 again after it was programmed.
    fn programmed(&mut self, tick: u64) {
        self.line.forget_ticks();
        self.line.set(self.counters.channels[0].out(tick));
        self.arm(tick);
    }

    fn arm(&mut self, tick: u64) {
        self.next_rise = self.counters.channels[0].next_rise(tick);
        match self.next_rise {
            Some(rise) => self.timer.arm((u128::from(rise) * SECOND).div_ceil(u128::from(FREQUENCY)) as u64),
            None => self.timer.cancel(),
        }
    }

    fn fired(&mut self) {
        let tick = self.tick();
        // A callback that was on its way when the counter was programmed anew comes too early.
        let Some(rise) = self.next_rise.filter(|rise| tick >= *rise) else { return };
        match self.counters.channels[0].rises(rise, tick) {
            Some(count) => self.line.ticks(count),
            None => {
                self.line.set(false);
                self.line.set(true);
            }
        }
        // Rises that follow sooner than anything could serve them are left out.
        let hasty = self.counters.channels[0].hasty();
        self.arm(if hasty { tick + SHORTEST } else { tick });
    }
}

/// A handle to the timer. Its line is counter 0's OUT.
#[derive(Clone)]
pub struct Pit {
    state: Arc<Mutex<PitState>>,
}

impl Pit {
    pub fn new(clock: Clock, timers: &Timers, line: Line) -> Self {
        let state = Arc::new_cyclic(|weak: &std::sync::Weak<Mutex<PitState>>| {
            let weak = weak.clone();
            let timer = timers.timer(move || {
                if let Some(state) = weak.upgrade() {
                    lock(&state).fired();
                }
            });
            Mutex::new(PitState { counters: Counters::new(), clock, line, timer, next_rise: None })
        });
        Self { state }
    }
}

impl Device for Pit {
    fn name(&self) -> &'static str {
        "pit"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, PORTS), (Space::Port, 1)]
    }
    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        let mut state = lock(&self.state);
        let tick = state.tick();
        for (port, byte) in (offset..).zip(data) {
            *byte = state.counters.read(region, port, tick);
        }
    }
    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        let mut state = lock(&self.state);
        let tick = state.tick();
        for (port, &byte) in (offset..).zip(data) {
            state.counters.write(region, port, byte, tick);
            let counter_0 = port == 0 || port == CONTROL && byte >> SELECT_SHIFT == 0;
            if region != PORT_61 && counter_0 {
                state.programmed(tick);
            }
        }
    }
    fn reset(&mut self) {
        let mut state = lock(&self.state);
        state.counters = Counters::new();
        let tick = state.tick();
        state.programmed(tick);
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
