//! A function's configuration space: bytes, which of their bits can be written, and what its BARs decode.

use super::regs::*;
use crate::access::{copy_in, copy_out, value};
use ireko_vmcore::Space;

/// What a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Ports; the size is a power of two.
    Io(u64),
    /// Memory below 4 GiB.
    Memory32(u64),
    /// Memory anywhere, prefetchable. Takes the next register too.
    Memory64(u64),
}

impl Bar {
    pub fn size(self) -> u64 {
        match self {
            Self::Io(size) => size.max(BAR_IO_LEAST).next_power_of_two(),
            Self::Memory32(size) | Self::Memory64(size) => size.max(BAR_MEMORY_LEAST).next_power_of_two(),
        }
    }
    pub fn space(self) -> Space {
        if matches!(self, Self::Io(_)) { Space::Port } else { Space::Mmio }
    }
    fn flags(self) -> u32 {
        match self {
            Self::Io(_) => BAR_IO,
            Self::Memory32(_) => 0,
            Self::Memory64(_) => BAR_64 | BAR_PREFETCHABLE,
        }
    }
}

/// Who a function is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    pub vendor: u16,
    pub device: u16,
    pub subsystem_vendor: u16,
    pub subsystem: u16,
    pub revision: u8,
    /// Class, subclass and programming interface, from the top byte down.
    pub class: u32,
}

/// Configuration space of a type 0 function.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    pub(super) bytes: [u8; CONFIG_SIZE],
    pub(super) writable: [u8; CONFIG_SIZE],
    pub(super) bars: [Option<Bar>; BARS],
    /// Where the next capability goes, and the pointer that will lead there.
    pub(super) next: usize,
    pub(super) link: usize,
    pub(super) initial: Option<Box<[u8; CONFIG_SIZE]>>,
}

impl ConfigSpace {
    pub fn new(identity: Identity) -> Self {
        let mut config = Self {
            bytes: [0; CONFIG_SIZE],
            writable: [0; CONFIG_SIZE],
            bars: [None; BARS],
            next: HEADER_END,
            link: CAPABILITIES,
            initial: None,
        };
        let words = [
            (VENDOR, identity.vendor),
            (DEVICE, identity.device),
            (SUBSYSTEM_VENDOR, identity.subsystem_vendor),
            (SUBSYSTEM, identity.subsystem),
        ];
        words.into_iter().for_each(|(at, word)| config.put(at, &word.to_le_bytes()));
        config.put(REVISION, &[identity.revision]);
        config.put(CLASS, &identity.class.to_le_bytes()[..3]);
        config.allow(COMMAND, &COMMAND_WRITABLE.to_le_bytes());
        config.allow(CACHE_LINE, &[0xff]);
        config.allow(INTERRUPT_LINE, &[0xff]);
        config
    }

    /// Sets bytes that the guest reads.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        copy_in(&mut self.bytes, at as u64, bytes);
    }

    /// Sets which bits the guest can write.
    pub fn allow(&mut self, at: usize, mask: &[u8]) {
        copy_in(&mut self.writable, at as u64, mask);
    }

    /// Adds base address register `index` (0 to 5).
    pub fn add_bar(&mut self, index: usize, bar: Bar) {
        let Some(slot) = self.bars.get_mut(index) else { return };
        *slot = Some(bar);
        let mask = !(bar.size() - 1);
        let at = BAR0 + 4 * index;
        self.put(at, &bar.flags().to_le_bytes());
        self.allow(at, &(mask as u32).to_le_bytes());
        if matches!(bar, Bar::Memory64(_)) {
            self.allow(at + 4, &((mask >> 32) as u32).to_le_bytes());
        }
    }

    /// The function uses INTA#.
    pub fn use_intx(&mut self) {
        self.put(INTERRUPT_PIN, &[1]);
    }

    /// Adds a capability: its id, then `body` from its third byte on, and that body's writable bits. Returns where
    /// it is. Capabilities that no longer fit are dropped, with `None`.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> Option<usize> {
        let at = self.next;
        let end = (at + 2 + body.len()).next_multiple_of(4);
        if end > CONFIG_SIZE {
            return None;
        }
        self.put(self.link, &[at as u8]);
        self.put(at, &[id, 0]);
        self.put(at + 2, body);
        self.allow(at + 2, writable);
        self.put(STATUS, &STATUS_CAPABILITIES.to_le_bytes());
        (self.next, self.link) = (end, at + 1);
        Some(at)
    }

    pub fn read(&self, offset: u16, data: &mut [u8]) {
        copy_out(&self.bytes, u64::from(offset), data);
    }

    pub fn write(&mut self, offset: u16, data: &[u8]) {
        if self.initial.is_none() {
            self.initial = Some(Box::new(self.bytes));
        }
        for (at, &byte) in (usize::from(offset)..CONFIG_SIZE).zip(data) {
            let mask = self.writable[at];
            self.bytes[at] = self.bytes[at] & !mask | byte & mask;
        }
    }

    /// Back to what it was before the first guest write.
    pub fn reset(&mut self) {
        if let Some(initial) = &self.initial {
            self.bytes = **initial;
        }
    }

    /// The 16-bit register at `at`.
    pub fn word(&self, at: usize) -> u16 {
        self.number(at, 2) as u16
    }

    fn number(&self, at: usize, len: usize) -> u64 {
        self.bytes.get(at..at + len).map_or(0, value)
    }

    pub fn command(&self) -> u16 {
        self.word(COMMAND)
    }

    /// Shows in the status register whether INTx is asserted.
    pub fn set_interrupt_status(&mut self, asserted: bool) {
        let status = self.word(STATUS) & !STATUS_INTERRUPT;
        let bit = if asserted { STATUS_INTERRUPT } else { 0 };
        self.put(STATUS, &(status | bit).to_le_bytes());
    }

    /// The BARs there are.
    pub fn bars(&self) -> impl Iterator<Item = (usize, Bar)> + '_ {
        self.bars.iter().enumerate().filter_map(|(index, bar)| bar.map(|bar| (index, bar)))
    }

    /// Where BAR `index` is, whether or not it is decoded.
    pub fn bar_address(&self, index: usize) -> u64 {
        let at = BAR0 + 4 * index;
        match self.bars.get(index).copied().flatten() {
            Some(Bar::Io(_)) => self.number(at, 4) & !3,
            Some(Bar::Memory32(_)) => self.number(at, 4) & !0xf,
            Some(Bar::Memory64(_)) => self.number(at, 8) & !0xf,
            None => 0,
        }
    }

    /// Moves BAR `index`, as firmware does.
    pub fn set_bar_address(&mut self, index: usize, address: u64) {
        let len = if matches!(self.bars.get(index), Some(Some(Bar::Memory64(_)))) { 8 } else { 4 };
        self.write((BAR0 + 4 * index) as u16, &address.to_le_bytes()[..len]);
    }

    /// The BARs that are decoded now: index, what, where. One at address zero is not placed.
    pub fn decoded(&self) -> impl Iterator<Item = (usize, Bar, u64)> + '_ {
        let command = self.command();
        self.bars().map(|(index, bar)| (index, bar, self.bar_address(index))).filter(
            move |&(_, bar, address)| {
                let enable = if bar.space() == Space::Port { COMMAND_IO } else { COMMAND_MEMORY };
                command & enable != 0 && address != 0
            },
        )
    }
}
