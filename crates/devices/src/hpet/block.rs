//! The registers, as functions of the tick.

use super::SHORTEST;
use super::regs::*;
use crate::access::{copy_in, copy_out};

/// What a timer asks for when it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// An edge at a legacy timer's wire or a route.
    Edge(Pin),
    /// What the status register says is to be shown.
    Level,
    Message {
        address: u64,
        data: u32,
    },
}

/// Where a timer's wire ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// The interval timer's, the clock's.
    Legacy(usize),
    /// A global system interrupt of [`ROUTES`].
    Gsi(u32),
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Comparator {
    pub(super) configuration: u64,
    pub(super) comparator: u64,
    /// Of a periodic timer.
    pub(super) period: u64,
    pub(super) fsb: u64,
}

impl Comparator {
    fn mask(&self) -> u64 {
        if self.configuration & NARROW != 0 { u64::from(u32::MAX) } else { u64::MAX }
    }
    /// How far it goes on when it has matched; 0: it stays.
    fn step(&self) -> u64 {
        if self.configuration & PERIODIC != 0 { self.period & self.mask() } else { 0 }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Block {
    pub(super) configuration: u64,
    pub(super) status: u64,
    /// The counter while it stands; while it runs, what to add to the tick.
    pub(super) counter: u64,
    pub(super) timers: [Comparator; TIMERS],
}

/// Which register is at an offset: of the block, or of a timer.
enum Register {
    Block(u64),
    Timer(usize, u64),
}

fn register(offset: u64) -> Register {
    let at = offset & !7;
    match at.checked_sub(TIMER) {
        Some(behind) if behind / TIMER_SIZE < TIMERS as u64 => {
            Register::Timer((behind / TIMER_SIZE) as usize, behind % TIMER_SIZE)
        }
        _ => Register::Block(at),
    }
}

impl Block {
    fn enabled(&self) -> bool {
        self.configuration & ENABLE != 0
    }

    /// Whether the first two timers stand for interval timer and clock.
    pub fn legacy(&self) -> bool {
        self.configuration & LEGACY != 0
    }

    pub fn counter(&self, tick: u64) -> u64 {
        if self.enabled() { self.counter.wrapping_add(tick) } else { self.counter }
    }

    fn capable(number: usize) -> u64 {
        let periodic = if number == 0 { PERIODIC_CAPABLE } else { 0 };
        periodic | WIDE_CAPABLE | FSB_CAPABLE | ROUTE_CAPABLE
    }

    fn value(&self, offset: u64, tick: u64) -> u64 {
        match register(offset) {
            Register::Block(CAPABILITIES) => PERIOD << 32 | u64::from(BLOCK_ID),
            Register::Block(CONFIGURATION) => self.configuration,
            Register::Block(STATUS) => self.status,
            Register::Block(COUNTER) => self.counter(tick),
            Register::Block(_) => 0,
            Register::Timer(number, TIMER_CONFIGURATION) => {
                self.timers[number].configuration | Self::capable(number)
            }
            Register::Timer(number, COMPARATOR) => self.timers[number].comparator,
            Register::Timer(number, FSB_ROUTE) => self.timers[number].fsb,
            Register::Timer(..) => 0,
        }
    }

    pub fn read(&self, offset: u64, data: &mut [u8], tick: u64) {
        copy_out(&self.value(offset, tick).to_le_bytes(), offset & 7, data);
    }

    /// Whole halves only, as the specification wants it.
    pub fn write(&mut self, offset: u64, data: &[u8], tick: u64) {
        if data.len() < 4 || !offset.is_multiple_of(4) {
            return;
        }
        let mut value = match register(offset) {
            // Ones clear; the other half is not to.
            Register::Block(STATUS) => 0,
            Register::Timer(number, COMPARATOR) if self.timers[number].configuration & PERIODIC != 0 => {
                self.timers[number].period
            }
            _ => self.value(offset, tick),
        }
        .to_le_bytes();
        copy_in(&mut value, offset & 7, data);
        let value = u64::from_le_bytes(value);
        match register(offset) {
            Register::Block(CONFIGURATION) => self.configure(value, tick),
            Register::Block(STATUS) => self.status &= !value,
            Register::Block(COUNTER) => {
                self.counter = if self.enabled() { value.wrapping_sub(tick) } else { value };
            }
            Register::Block(_) => {}
            Register::Timer(number, TIMER_CONFIGURATION) => self.configure_timer(number, value),
            Register::Timer(number, COMPARATOR) => self.compare(number, value),
            Register::Timer(number, FSB_ROUTE) => self.timers[number].fsb = value,
            Register::Timer(..) => {}
        }
    }

    fn configure(&mut self, value: u64, tick: u64) {
        let counter = self.counter(tick);
        self.configuration = value & (ENABLE | LEGACY);
        self.counter = if self.enabled() { counter.wrapping_sub(tick) } else { counter };
    }

    fn configure_timer(&mut self, number: usize, value: u64) {
        let periodic = if number == 0 { PERIODIC | VALUE_SET } else { 0 };
        let timer = &mut self.timers[number];
        timer.configuration = value & (WRITABLE | periodic);
        timer.comparator &= timer.mask();
        timer.period &= timer.mask();
        // What is no level any more is not pending.
        if timer.configuration & LEVEL == 0 {
            self.status &= !(1 << number);
        }
    }

    fn compare(&mut self, number: usize, value: u64) {
        let timer = &mut self.timers[number];
        let value = value & timer.mask();
        if timer.configuration & (PERIODIC | VALUE_SET) != PERIODIC {
            timer.comparator = value;
        }
        if timer.configuration & PERIODIC != 0 {
            timer.period = value;
            timer.configuration &= !VALUE_SET;
        }
    }

    /// In how many ticks a timer matches; `None`: the counter stands, or nobody would see it.
    pub fn next(&self, number: usize, tick: u64) -> Option<u64> {
        let timer = &self.timers[number];
        if timer.configuration & INTERRUPTS == 0 && timer.step() == 0 {
            return None;
        }
        let left = timer.comparator.wrapping_sub(self.counter(tick)) & timer.mask();
        // Its match now has been, or it is a whole round away.
        self.enabled().then_some(if left == 0 { timer.mask() } else { left })
    }

    /// How often a periodic timer has matched, if it did first so many ticks ago. What is too
    /// hasty to be served has been missed anyway.
    pub fn matches(&self, number: usize, late: u64) -> Option<u64> {
        let step = self.timers[number].step();
        let hasty = step.saturating_mul(NANOSECONDS) < SHORTEST;
        late.checked_div(step).map(|times| if hasty { 1 } else { times.saturating_add(1) })
    }

    /// A timer has matched, so many ticks ago: what it asks for. A periodic one goes on, beyond all matches that were missed.
    pub fn matched(&mut self, number: usize, late: u64) -> Option<Interrupt> {
        let legacy = self.legacy();
        let timer = &mut self.timers[number];
        if let Some(times) = late.checked_div(timer.step()) {
            let steps = times.wrapping_add(1).wrapping_mul(timer.step());
            timer.comparator = timer.comparator.wrapping_add(steps) & timer.mask();
        }
        let level = timer.configuration & LEVEL != 0;
        if timer.configuration & INTERRUPTS == 0 {
            return None;
        }
        if level {
            self.status |= 1 << number;
        }
        if timer.configuration & FSB != 0 && !(legacy && number < 2) {
            return Some(Interrupt::Message { address: timer.fsb >> 32, data: timer.fsb as u32 });
        }
        if level { Some(Interrupt::Level) } else { self.pin(number).map(Interrupt::Edge) }
    }

    fn pin(&self, number: usize) -> Option<Pin> {
        if self.legacy() && number < 2 {
            return Some(Pin::Legacy(number));
        }
        let route = ((self.timers[number].configuration & ROUTE) >> ROUTE_SHIFT) as u32;
        ROUTES.contains(&route).then_some(Pin::Gsi(route))
    }

    /// The wires that levels assert.
    pub fn asserted(&self) -> impl Iterator<Item = Pin> + '_ {
        let shown = |number: &usize| {
            let configuration = self.timers[*number].configuration;
            let wanted = configuration & (LEVEL | INTERRUPTS | FSB) == LEVEL | INTERRUPTS;
            wanted && self.status >> number & 1 != 0
        };
        (0..TIMERS).filter(shown).filter_map(|number| self.pin(number))
    }
}
