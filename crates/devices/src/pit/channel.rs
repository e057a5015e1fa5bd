//! One 8254 counter as a function of time: what it reads and what OUT is at a tick follow from when it was started.

use super::SHORTEST;
use super::regs::*;

/// All that one counter remembers. Ticks are those of the 1.19 MHz clock.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) mode: u8,
    pub(super) bcd: bool,
    pub(super) access: u8,
    pub(super) gate: bool,
    /// The initial count: 1 to 65536.
    pub(super) count: u64,
    /// When the count was (or will be) loaded; `None` before a count was written, or in a mode that waits for its gate.
    pub(super) start: Option<u64>,
    /// Ticks already counted when a closed gate stopped the count.
    pub(super) paused: Option<u64>,
    pub(super) written: Option<u8>,
    pub(super) read_high: bool,
    pub(super) latched: Option<u16>,
    pub(super) status: Option<u8>,
}

impl Channel {
    pub fn new(gate: bool) -> Self {
        Self {
            mode: 0,
            bcd: false,
            access: 3,
            gate,
            count: 0x10000,
            start: None,
            paused: None,
            written: None,
            read_high: false,
            latched: None,
            status: None,
        }
    }

    /// A control word for this counter.
    pub fn control(&mut self, word: u8, tick: u64) {
        let access = word >> ACCESS_SHIFT & 3;
        if access == ACCESS_LATCH {
            return self.latch_count(tick);
        }
        let mode = word >> MODE_SHIFT & 7;
        // Modes 6 and 7 are 2 and 3.
        let mode = if mode > 5 { mode - 4 } else { mode };
        *self = Self { mode, access, bcd: word & BCD != 0, ..Self::new(self.gate) };
    }

    pub fn latch_count(&mut self, tick: u64) {
        if self.latched.is_none() {
            self.latched = Some(self.reading(tick));
        }
    }

    pub fn latch_status(&mut self, tick: u64) {
        let null = self.start.is_none_or(|start| tick < start);
        let bits = self.access << ACCESS_SHIFT | self.mode << MODE_SHIFT | self.bcd as u8;
        let out = if self.out(tick) { STATUS_OUT } else { 0 };
        self.status.get_or_insert(bits | out | if null { STATUS_NULL } else { 0 });
    }

    /// Ticks counted since the count was loaded; `None` when it does not count.
    fn elapsed(&self, tick: u64) -> Option<u64> {
        self.paused.or(self.start.map(|start| tick.saturating_sub(start)))
    }

    /// The state of OUT (data sheet, "Mode Definitions").
    pub fn out(&self, tick: u64) -> bool {
        let Some(elapsed) = self.elapsed(tick) else { return self.mode != 0 };
        match self.mode {
            0 | 1 => elapsed >= self.count,
            2 => !self.gate || elapsed % self.count != self.count - 1,
            3 => !self.gate || elapsed % self.count < self.count.div_ceil(2),
            _ => elapsed != self.count,
        }
    }

    /// What the counting element holds.
    fn reading(&self, tick: u64) -> u16 {
        let elapsed = self.elapsed(tick).unwrap_or(0);
        let count = match self.mode {
            2 => self.count - elapsed % self.count,
            // Counts down by two, twice a period.
            3 => (self.count & !1) - 2 * elapsed % (self.count & !1).max(2),
            _ => self.count.wrapping_sub(elapsed),
        };
        if self.bcd { to_bcd(count) } else { count as u16 }
    }

    pub fn read(&mut self, tick: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let word = self.latched.unwrap_or_else(|| self.reading(tick));
        let high = match self.access {
            ACCESS_LOW => false,
            ACCESS_HIGH => true,
            _ => {
                self.read_high = !self.read_high;
                !self.read_high
            }
        };
        if high || self.access == ACCESS_LOW {
            self.latched = None;
        }
        if high { (word >> 8) as u8 } else { word as u8 }
    }

    pub fn write(&mut self, value: u8, tick: u64) {
        match (self.access, self.written.take()) {
            (ACCESS_LOW, _) => self.load(u16::from(value), tick),
            (ACCESS_HIGH, _) => self.load(u16::from(value) << 8, tick),
            (_, Some(low)) => self.load(u16::from_le_bytes([low, value]), tick),
            (_, None) => {
                self.written = Some(value);
                // In mode 0 the first byte stops the count.
                if self.mode == 0 {
                    (self.start, self.paused) = (None, None);
                }
            }
        }
    }

    /// A new count goes to the counting element with the next clock pulse.
    fn load(&mut self, word: u16, tick: u64) {
        let count = if self.bcd { from_bcd(word) } else { u64::from(word) };
        let full = if self.bcd { 10000 } else { 0x10000 };
        self.count = if count == 0 { full } else { count };
        self.start = match self.mode {
            // These wait for a rising gate; a running one goes on.
            1 | 5 => self.start,
            _ => Some(tick + 1),
        };
        self.paused = (!self.gate && !matches!(self.mode, 1 | 5)).then_some(0);
    }

    pub fn set_gate(&mut self, gate: bool, tick: u64) {
        if gate == self.gate {
            return;
        }
        self.gate = gate;
        match (self.mode, gate) {
            (0 | 4, false) => self.paused = self.elapsed(tick),
            (0 | 4, true) => self.start = self.paused.take().map(|counted| tick.saturating_sub(counted)),
            (2 | 3, false) => self.paused = self.elapsed(tick),
            (2 | 3, true) if self.paused.take().is_some() => self.start = Some(tick + 1),
            (1 | 5, true) => self.start = Some(tick + 1),
            _ => {}
        }
    }

    /// A period that is too short for anything to serve.
    pub fn hasty(&self) -> bool {
        self.count < SHORTEST
    }

    /// How often OUT has risen up to now in a mode that goes on by itself, if it rose first at `rise`. A hasty
    /// one's have all been missed anyway.
    pub fn rises(&self, rise: u64, tick: u64) -> Option<u64> {
        let missed = if self.hasty() { 0 } else { tick.saturating_sub(rise) / self.count };
        matches!(self.mode, 2 | 3).then_some(missed + 1)
    }

    /// The first tick after `tick` at which OUT rises.
    pub fn next_rise(&self, tick: u64) -> Option<u64> {
        if self.paused.is_some() {
            return None;
        }
        let start = self.start?;
        let rise = match self.mode {
            0 | 1 => start + self.count,
            2 | 3 => start + (tick.saturating_sub(start) / self.count + 1) * self.count,
            _ => start + self.count + 1,
        };
        (rise > tick).then_some(rise)
    }
}

fn to_bcd(count: u64) -> u16 {
    (0..4).fold(0, |word, digit| word | ((count / 10u64.pow(digit) % 10) as u16) << (4 * digit))
}

fn from_bcd(word: u16) -> u64 {
    (0..4).rev().fold(0, |count, digit| count * 10 + u64::from(word >> (4 * digit) & 0xf))
}
