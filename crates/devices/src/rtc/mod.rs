//! MC146818 real-time clock with its CMOS memory.

mod calendar;
mod chip;
mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use crate::lock;
use chip::Chip;
use ireko_vmcore::{Clock, Device, Line, SavedState, Space, Timer, Timers};
use regs::*;
use std::sync::{Arc, Mutex, Weak};

pub const PLACES: [u64; 1] = [0x70];

struct RtcState {
    chip: Chip,
    clock: Clock,
    line: Line,
    /// Pulses at each alarm, for who wakes the machine.
    alarm: Line,
    timer: Timer,
    level: bool,
}

impl RtcState {
    fn alarm_flag(&self) -> bool {
        self.chip.bytes[usize::from(C)] & ALARM != 0
    }

    /// Works out flags up to now, sets the line, and arms for what comes next.
    fn update(&mut self) {
        let now = self.clock.now();
        let before = self.alarm_flag();
        let level = self.chip.advance(now);
        if std::mem::take(&mut self.chip.again) && self.level {
            self.line.set(false);
            self.level = false;
        }
        if self.alarm_flag() && !before {
            self.alarm.pulse();
        }
        if level != self.level {
            self.level = level;
            self.line.set(level);
        }
        self.arm();
    }

    /// For what comes next: once the line is asserted, nothing more can happen to it until register C is read.
    fn arm(&self) {
        match self.chip.next_event(self.chip.seen).filter(|_| !self.level) {
            Some(at) => self.timer.arm(at),
            None => self.timer.cancel(),
        }
    }
}

/// A handle to the clock.
#[derive(Clone)]
pub struct Rtc {
    state: Arc<Mutex<RtcState>>,
}

impl Rtc {
    /// `unix_seconds` is the present time in UTC.
    pub fn new(clock: Clock, timers: &Timers, line: Line, unix_seconds: u64) -> Self {
        let state = Arc::new_cyclic(|weak: &Weak<Mutex<RtcState>>| {
            let weak = weak.clone();
            let timer = timers.timer(move || {
                if let Some(state) = weak.upgrade() {
                    lock(&state).update();
                }
            });
            let chip = Chip::new(unix_seconds, clock.now());
            Mutex::new(RtcState { chip, clock, line, alarm: Line::unconnected(), timer, level: false })
        });
        Self { state }
    }

    /// Where alarms are told, beside the interrupt.
    pub fn connect_alarm(&self, line: Line) {
        lock(&self.state).alarm = line;
    }

    /// Sets a byte of CMOS memory.
    pub fn set_cmos(&self, index: u8, value: u8) {
        if let Some(byte) = lock(&self.state).chip.bytes.get_mut(usize::from(index)) {
            *byte = value;
        }
    }

    /// Sets the bytes that tell firmware how much memory there is below and from 4 GiB, in bytes.
    pub fn set_memory_size(&self, below_4g: u64, above_4g: u64) {
        let units = |bytes: u64, unit: u64, most: u64| (bytes / unit).min(most).to_le_bytes();
        let extended = units(below_4g.saturating_sub(1 << 20), 1 << 10, 0xffff);
        let high = units(below_4g.saturating_sub(16 << 20), 64 << 10, 0xffff);
        let above = units(above_4g, 64 << 10, 0xff_ffff);
        let base = units(below_4g, 1 << 10, 640);
        self.set_word(BASE_MEMORY, &base[..2]);
        EXTENDED_MEMORY.iter().for_each(|&index| self.set_word(index, &extended[..2]));
        self.set_word(HIGH_MEMORY, &high[..2]);
        self.set_word(ABOVE_4G, &above[..3]);
        // A coprocessor, no floppy.
        self.set_cmos(EQUIPMENT, 0x02);
    }

    /// The calendar goes on by so many nanoseconds that did not pass for the machine: a battery drives it. An alarm that falls into them is set off.
    pub fn pass(&self, nanoseconds: u64) {
        let mut state = lock(&self.state);
        let (now, before) = (state.clock.now(), state.alarm_flag());
        state.chip.pass(nanoseconds, now);
        if state.alarm_flag() && !before {
            state.alarm.pulse();
        }
        state.update();
    }

    fn set_word(&self, index: u8, bytes: &[u8]) {
        for (i, &byte) in (index..).zip(bytes) {
            self.set_cmos(i, byte);
        }
    }
}

impl Device for Rtc {
    fn name(&self) -> &'static str {
        "rtc"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, PORTS)]
    }
    fn read(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        let mut state = lock(&self.state);
        let now = state.clock.now();
        for (port, byte) in (offset..).zip(data) {
            // The index cannot be read.
            *byte = if port == INDEX { 0xff } else { state.chip.read(now) };
        }
        state.update();
    }
    fn write(&mut self, _: usize, offset: u64, data: &[u8]) {
        let mut state = lock(&self.state);
        let now = state.clock.now();
        for (port, &byte) in (offset..).zip(data) {
            if port == INDEX { state.chip.select(byte) } else { state.chip.write(byte, now) }
        }
        state.update();
    }
    /// The battery keeps time and memory; RESET clears interrupt enables and flags (data sheet, "RESET").
    fn reset(&mut self) {
        let mut state = lock(&self.state);
        state.chip.bytes[usize::from(B)] &= !ENABLES;
        state.chip.bytes[usize::from(C)] = 0;
        state.update();
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
