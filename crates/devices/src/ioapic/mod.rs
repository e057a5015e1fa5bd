//! I/O APIC: 24 pins, each with a redirection entry that makes a message of it.

mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use crate::access::{fill, value};
use crate::{MsiSink, lock};
use ireko_vmcore::{Device, LineSink, Msi, SavedState, Space};
use regs::*;
use std::sync::{Arc, Mutex};

pub const PLACES: [u64; 1] = [0xfec0_0000];

struct IoApicState {
    id: u32,
    select: u8,
    entries: [u64; PINS],
    lines: u32,
}

impl IoApicState {
    fn new(id: u8) -> Self {
        Self { id: u32::from(id & 0xf) << 24, select: 0, entries: [MASKED; PINS], lines: 0 }
    }

    fn asserted(&self, pin: usize) -> bool {
        self.lines & 1 << pin != 0
    }

    /// Only fixed and lowest-priority interrupts have levels; the other delivery modes are edges by nature.
    fn is_level(&self, pin: usize) -> bool {
        let mode = self.entries[pin] & DELIVERY_MODE;
        self.entries[pin] & LEVEL != 0 && (mode == DELIVERY_FIXED || mode == DELIVERY_LOWEST)
    }

    fn set(&mut self, pin: usize, level: bool) -> Option<Msi> {
        let rising = level && !self.asserted(pin);
        self.lines = if level { self.lines | 1 << pin } else { self.lines & !(1 << pin) };
        match self.is_level(pin) {
            true => self.serve_level(pin),
            // An edge at a masked pin is not held pending (data sheet, 3.2.4, "Interrupt Mask").
            false if rising && self.entries[pin] & MASKED == 0 => Some(message(self.entries[pin], false)),
            false => None,
        }
    }

    /// Sends an asserted level that no processor has in service.
    fn serve_level(&mut self, pin: usize) -> Option<Msi> {
        let ready =
            self.is_level(pin) && self.asserted(pin) && self.entries[pin] & (MASKED | REMOTE_IRR) == 0;
        if !ready {
            return None;
        }
        self.entries[pin] |= REMOTE_IRR;
        Some(message(self.entries[pin], true))
    }

    fn eoi(&mut self, vector: u8) -> Vec<Msi> {
        let mut again = Vec::new();
        for pin in 0..PINS {
            let entry = self.entries[pin];
            if entry & REMOTE_IRR != 0 && entry & VECTOR == u64::from(vector) {
                self.entries[pin] &= !REMOTE_IRR;
                again.extend(self.serve_level(pin));
            }
        }
        again
    }

    fn read_selected(&self) -> u32 {
        match self.select {
            ID | ARBITRATION => self.id,
            VERSION => VERSION_VALUE,
            _ => match self.entry_half() {
                Some((pin, shift)) => (self.entries[pin] >> shift) as u32,
                None => 0,
            },
        }
    }

    /// Pin and shift of the redirection register that is selected.
    fn entry_half(&self) -> Option<(usize, u32)> {
        let index = usize::from(self.select.checked_sub(REDIRECTION)?);
        (index < 2 * PINS).then_some((index / 2, 32 * (index as u32 & 1)))
    }

    fn write_selected(&mut self, value: u32) -> Option<Msi> {
        if self.select == ID {
            self.id = value & SAVED_ID;
        }
        let (pin, shift) = self.entry_half()?;
        let mask = (0xffff_ffff << shift) & WRITABLE;
        let entry = &mut self.entries[pin];
        *entry = *entry & !mask | u64::from(value) << shift & mask;
        if *entry & LEVEL == 0 {
            *entry &= !REMOTE_IRR;
        }
        self.serve_level(pin)
    }
}

/// The entry as the message that it stands for.
fn message(entry: u64, level: bool) -> Msi {
    let logical = if entry & LOGICAL != 0 { MSI_LOGICAL } else { 0 };
    let trigger = if level { MSI_LEVEL | MSI_ASSERT } else { 0 };
    Msi {
        address: MSI_ADDRESS | (entry >> DESTINATION_SHIFT) << MSI_DESTINATION_SHIFT | logical,
        data: (entry & (VECTOR | DELIVERY_MODE)) as u32 | trigger,
    }
}

/// A handle to the I/O APIC. Lines carry logical levels, so an entry's polarity is kept but means nothing.
#[derive(Clone)]
pub struct IoApic {
    state: Arc<Mutex<IoApicState>>,
    deliver: MsiSink,
}

impl IoApic {
    /// `deliver` is called without a lock of this device.
    pub fn new(id: u8, deliver: MsiSink) -> Self {
        Self { state: Arc::new(Mutex::new(IoApicState::new(id))), deliver }
    }

    /// A processor ended a level-triggered interrupt with this vector.
    pub fn eoi(&self, vector: u8) {
        let again = lock(&self.state).eoi(vector);
        again.into_iter().for_each(|msi| (self.deliver)(msi));
    }

    /// The vector that an edge at a pin comes out as, if it does.
    pub fn edge(&self, pin: u32) -> Option<u8> {
        let state = lock(&self.state);
        let entry = *state.entries.get(pin as usize)?;
        let mode = entry & DELIVERY_MODE;
        let vectored = mode == DELIVERY_FIXED || mode == DELIVERY_LOWEST;
        (vectored && entry & (MASKED | LEVEL) == 0).then_some((entry & VECTOR) as u8)
    }

    fn write_register(&self, register: u64, value: u32) {
        let msi = match register {
            IOREGSEL => {
                lock(&self.state).select = value as u8;
                None
            }
            IOWIN => lock(&self.state).write_selected(value),
            EOI => return self.eoi(value as u8),
            _ => None,
        };
        if let Some(msi) = msi {
            (self.deliver)(msi);
        }
    }
}

impl LineSink for IoApic {
    fn set(&self, pin: u32, level: bool) {
        let msi = match pin as usize {
            pin @ 0..PINS => lock(&self.state).set(pin, level),
            _ => None,
        };
        if let Some(msi) = msi {
            (self.deliver)(msi);
        }
    }
}

impl Device for IoApic {
    fn name(&self) -> &'static str {
        "ioapic"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Mmio, SIZE)]
    }
    fn read(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        let state = lock(&self.state);
        let register = match offset & !3 {
            IOREGSEL => u32::from(state.select),
            IOWIN => state.read_selected(),
            _ => 0,
        };
        fill(data, u64::from(register) >> (8 * (offset & 3)));
    }
    fn write(&mut self, _: usize, offset: u64, data: &[u8]) {
        self.write_register(offset, value(data) as u32);
    }
    fn reset(&mut self) {
        let mut state = lock(&self.state);
        *state = IoApicState { id: state.id, lines: state.lines, ..IoApicState::new(0) };
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
