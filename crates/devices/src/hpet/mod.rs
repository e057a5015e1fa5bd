//! The high-precision event timer: a counter of 64 bits, and three timers that compare with it.

mod block;
mod legacy;
pub mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

pub use legacy::Legacy;

use crate::{MsiSink, lock};
use block::{Block, Interrupt, Pin};
use ireko_vmcore::{Clock, Device, Line, Msi, SavedState, Space, Timer, Timers};
use regs::*;
use std::sync::{Arc, Mutex};

pub const PLACES: [u64; 1] = [0xfed0_0000];
/// The interrupts of the timers that it may stand for: the interval timer's and the clock's.
pub const IRQS: [u32; 2] = [0, 8];
/// Nanoseconds between two interrupts of one timer, at least: what follows sooner nothing could serve.
const SHORTEST: u64 = 20_000;

/// Where interrupts go.
pub struct Wires {
    /// In place of the interval timer's and the clock's.
    pub legacy: [Arc<Legacy>; 2],
    /// To the interrupts of [`regs::ROUTES`].
    pub routes: [Line; 4],
    pub msi: MsiSink,
}

struct HpetState {
    block: Block,
    clock: Clock,
    wires: Wires,
    timers: Vec<Timer>,
    /// When each timer matches next, in nanoseconds of the clock.
    due: [Option<u64>; TIMERS],
    /// What levels assert.
    shown: Vec<Pin>,
}

impl HpetState {
    fn tick(&self) -> u64 {
        self.clock.now() / NANOSECONDS
    }

    /// After registers were written.
    fn update(&mut self) {
        let legacy = self.block.legacy();
        self.wires.legacy.iter().for_each(|wire| wire.replace(legacy));
        self.wires.legacy.iter().for_each(|wire| wire.replacement().forget_ticks());
        self.show_levels();
        let tick = self.tick();
        (0..TIMERS).for_each(|number| self.arm(number, tick, 0));
    }

    fn arm(&mut self, number: usize, tick: u64, least: u64) {
        let next = self.block.next(number, tick).and_then(|left| tick.checked_add(left));
        self.due[number] = next.and_then(|tick| tick.checked_mul(NANOSECONDS));
        let Some(timer) = self.timers.get(number) else { return };
        match self.due[number] {
            Some(due) => timer.arm(due.max(least)),
            None => timer.cancel(),
        }
    }

    fn fired(&mut self, number: usize) {
        let now = self.clock.now();
        // A callback that was on its way when the timer was programmed anew comes too early.
        let Some(due) = self.due[number].filter(|due| now >= *due) else { return };
        let late = (now - due) / NANOSECONDS;
        let matches = self.block.matches(number, late);
        match self.block.matched(number, late) {
            None => {}
            Some(Interrupt::Message { address, data }) => (self.wires.msi)(Msi { address, data }),
            Some(Interrupt::Level) => self.show_levels(),
            // As the interval timer's, whose output stays up until the next one.
            Some(Interrupt::Edge(pin @ Pin::Legacy(_))) => {
                let wire = self.wire(pin);
                match matches {
                    Some(count) => wire.ticks(count),
                    None => {
                        wire.set(false);
                        wire.set(true);
                    }
                }
            }
            // Others share this wire.
            Some(Interrupt::Edge(pin)) => self.wire(pin).pulse(),
        }
        self.arm(number, now / NANOSECONDS, now + SHORTEST);
    }

    fn wire(&self, pin: Pin) -> Line {
        match pin {
            Pin::Legacy(number) => self.wires.legacy[number].replacement(),
            Pin::Gsi(gsi) => self.wires.routes[(gsi - ROUTES.start) as usize].clone(),
        }
    }

    fn show_levels(&mut self) {
        let asserted: Vec<Pin> = self.block.asserted().collect();
        let before = std::mem::replace(&mut self.shown, asserted.clone());
        before.iter().filter(|pin| !asserted.contains(pin)).for_each(|pin| self.wire(*pin).set(false));
        asserted.iter().for_each(|pin| self.wire(*pin).set(true));
    }
}

/// A handle to the timers.
#[derive(Clone)]
pub struct Hpet {
    state: Arc<Mutex<HpetState>>,
}

impl Hpet {
    pub fn new(clock: Clock, timers: &Timers, wires: Wires) -> Self {
        let state = Arc::new_cyclic(|weak: &std::sync::Weak<Mutex<HpetState>>| {
            let timer = |number| {
                let weak = weak.clone();
                timers.timer(move || {
                    if let Some(state) = weak.upgrade() {
                        lock(&state).fired(number);
                    }
                })
            };
            let timers = (0..TIMERS).map(timer).collect();
            Mutex::new(HpetState {
                block: Block::default(),
                clock,
                wires,
                timers,
                due: [None; TIMERS],
                shown: Vec::new(),
            })
        });
        Self { state }
    }
}

impl Device for Hpet {
    fn name(&self) -> &'static str {
        "hpet"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Mmio, SIZE)]
    }
    fn read(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        let state = lock(&self.state);
        state.block.read(offset, data, state.tick());
    }
    fn write(&mut self, _: usize, offset: u64, data: &[u8]) {
        let mut state = lock(&self.state);
        let tick = state.tick();
        state.block.write(offset, data, tick);
        state.update();
    }
    fn reset(&mut self) {
        let mut state = lock(&self.state);
        state.block = Block::default();
        state.update();
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
