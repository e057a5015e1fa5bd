//! One 8259A.

use super::regs::*;

/// Which initialization command word comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expect {
    #[default]
    Operation,
    Icw2,
    Icw3,
    Icw4,
}

/// All that one chip remembers.
#[derive(Clone, Debug)]
pub(super) struct Chip {
    pub(super) expect: Expect,
    pub(super) icw1: u8,
    pub(super) icw4: u8,
    /// The vector of pin 0.
    pub(super) base: u8,
    pub(super) imr: u8,
    pub(super) isr: u8,
    /// Edges seen and not yet acknowledged.
    pub(super) edges: u8,
    /// The pins' present levels.
    pub(super) lines: u8,
    pub(super) elcr: u8,
    pub(super) elcr_mask: u8,
    /// The pin with the lowest priority; the next one has the highest.
    pub(super) lowest: u8,
    pub(super) rotate_on_aeoi: bool,
    pub(super) special_mask: bool,
    pub(super) read_isr: bool,
    pub(super) poll: bool,
}

impl Chip {
    pub fn new(elcr_mask: u8) -> Self {
        Self {
            expect: Expect::Operation,
            icw1: 0,
            icw4: 0,
            base: 0,
            imr: 0,
            isr: 0,
            edges: 0,
            lines: 0,
            elcr: 0,
            elcr_mask,
            lowest: 7,
            rotate_on_aeoi: false,
            special_mask: false,
            read_isr: false,
            poll: false,
        }
    }

    /// After RESET; the pins keep their levels.
    pub fn reset(&mut self) {
        *self = Self { lines: self.lines, ..Self::new(self.elcr_mask) };
    }

    pub fn set(&mut self, pin: u8, level: bool) {
        let bit = 1 << (pin & 7);
        if level && self.lines & bit == 0 {
            self.edges |= bit;
        }
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
    }

    /// The cascade pin follows the slave's INT, which falls and rises again between two acknowledge cycles.
    pub fn follow(&mut self, pin: u8, level: bool) {
        let bit = 1 << pin;
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
        self.edges = if level { self.edges | bit } else { self.edges & !bit };
    }

    fn level_triggered(&self) -> u8 {
        if self.icw1 & ICW1_LTIM != 0 { 0xff } else { self.elcr }
    }

    fn irr(&self) -> u8 {
        let level = self.level_triggered();
        self.edges & !level | self.lines & level
    }

    pub fn open(&self, pin: u8) -> bool {
        self.imr & 1 << (pin & 7) == 0
    }

    pub fn waits(&self, pin: u8) -> bool {
        self.irr() & !self.imr & 1 << (pin & 7) != 0
    }

    /// The pin of highest priority among `pins`.
    fn highest(&self, pins: u8) -> Option<u8> {
        (1..=8).map(|i| (self.lowest + i) & 7).find(|pin| pins & 1 << pin != 0)
    }

    fn rank(&self, pin: u8) -> u8 {
        pin.wrapping_sub(self.lowest).wrapping_sub(1) & 7
    }

    /// The pin that INT asks service for.
    pub fn request(&self) -> Option<u8> {
        let pin = self.highest(self.irr() & !self.imr)?;
        let mut serving = self.isr;
        if self.special_mask {
            serving &= !self.imr;
        }
        if self.icw4 & ICW4_SFNM != 0 {
            serving &= !(1 << CASCADE);
        }
        match self.highest(serving) {
            Some(current) if self.rank(pin) >= self.rank(current) => None,
            _ => Some(pin),
        }
    }

    /// The acknowledge cycle for `pin`.
    pub fn acknowledge(&mut self, pin: u8) {
        let bit = 1 << pin;
        self.edges &= !bit;
        if self.icw4 & ICW4_AEOI == 0 {
            self.isr |= bit;
        } else if self.rotate_on_aeoi {
            self.lowest = pin;
        }
    }

    pub fn vector(&self, pin: u8) -> u8 {
        self.base | pin
    }

    /// A read of either port after a poll command is an acknowledge cycle.
    fn poll_word(&mut self) -> u8 {
        self.poll = false;
        match self.request() {
            Some(pin) => {
                self.acknowledge(pin);
                0x80 | pin
            }
            None => 0,
        }
    }

    pub fn read(&mut self, port: u64) -> u8 {
        match port {
            _ if self.poll => self.poll_word(),
            COMMAND if self.read_isr => self.isr,
            COMMAND => self.irr(),
            _ => self.imr,
        }
    }

    pub fn write(&mut self, port: u64, value: u8) {
        match port {
            COMMAND if value & ICW1 != 0 => self.initialize(value),
            COMMAND if value & OCW3 != 0 => self.ocw3(value),
            COMMAND => self.ocw2(value >> 5, value & 7),
            _ => self.data(value),
        }
    }

    /// ICW1 (data sheet, "Initialization Command Words 1 and 2").
    fn initialize(&mut self, value: u8) {
        let (lines, elcr, base) = (self.lines, self.elcr, self.base);
        *self = Self { lines, elcr, base, icw1: value, expect: Expect::Icw2, ..Self::new(self.elcr_mask) };
    }

    fn data(&mut self, value: u8) {
        match self.expect {
            Expect::Operation => self.imr = value,
            Expect::Icw2 => self.base = value & 0xf8,
            Expect::Icw3 => {}
            Expect::Icw4 => self.icw4 = value,
        }
        let icw4 = if self.icw1 & ICW1_IC4 != 0 { Expect::Icw4 } else { Expect::Operation };
        self.expect = match self.expect {
            Expect::Icw2 if self.icw1 & ICW1_SNGL == 0 => Expect::Icw3,
            Expect::Icw2 | Expect::Icw3 => icw4,
            _ => Expect::Operation,
        };
    }

    fn ocw2(&mut self, command: u8, level: u8) {
        match command {
            OCW2_ROTATE_AEOI_CLEAR => self.rotate_on_aeoi = false,
            OCW2_ROTATE_AEOI_SET => self.rotate_on_aeoi = true,
            OCW2_EOI => drop(self.end_highest()),
            OCW2_ROTATE_EOI => self.lowest = self.end_highest().unwrap_or(self.lowest),
            OCW2_SPECIFIC_EOI => self.isr &= !(1 << level),
            OCW2_ROTATE_SPECIFIC_EOI => {
                self.isr &= !(1 << level);
                self.lowest = level;
            }
            OCW2_SET_PRIORITY => self.lowest = level,
            _ => {}
        }
    }

    /// Non-specific EOI; in special mask mode a masked level is not ended by it.
    fn end_highest(&mut self) -> Option<u8> {
        let serving = if self.special_mask { self.isr & !self.imr } else { self.isr };
        let pin = self.highest(serving)?;
        self.isr &= !(1 << pin);
        Some(pin)
    }

    fn ocw3(&mut self, value: u8) {
        if value & OCW3_ESMM != 0 {
            self.special_mask = value & OCW3_SMM != 0;
        }
        if value & OCW3_POLL != 0 {
            self.poll = true;
        } else if value & OCW3_RR != 0 {
            self.read_isr = value & OCW3_RIS != 0;
        }
    }

    pub fn elcr(&self) -> u8 {
        self.elcr
    }

    pub fn set_elcr(&mut self, value: u8) {
        self.elcr = value & self.elcr_mask;
    }
}
