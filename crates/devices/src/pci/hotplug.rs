//! Where ACPI's methods learn which slots were filled or are to be emptied, and say that they are empty. The registers are those
//! that QEMU's machines have (docs/specs/acpi_pci_hotplug.rst), for bus 0 alone.

use crate::access::{fill, value};
use crate::lock;
use ireko_vmcore::{Device, SavedState, Space};
use std::sync::{Arc, Mutex};

/// The registers' ports.
pub const PLACES: [u64; 1] = [HotPlug::BASE];
const SIZE: u64 = 0x14;
/// Slots that were filled, and slots that are to be emptied, a bit for each; reading forgets the first.
const UP: u64 = 0x00;
const DOWN: u64 = 0x04;
/// Written: the slot that the system has let go of.
const EJECT: u64 = 0x08;
/// Slots whose device can go.
const REMOVABLE: u64 = 0x0c;

#[derive(Default)]
pub(super) struct Slots {
    pub(super) up: u32,
    pub(super) down: u32,
    pub(super) removable: u32,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct HotPlug {
    pub(super) slots: Arc<Mutex<Slots>>,
    /// The system has let go of a slot: its device is to go, now.
    ejected: Arc<dyn Fn(u8) + Send + Sync>,
}

impl HotPlug {
    pub const BASE: u64 = 0xae00;

    pub fn new(ejected: Arc<dyn Fn(u8) + Send + Sync>) -> Self {
        Self { slots: Arc::default(), ejected }
    }

    /// What is in a slot may go if the system wants to.
    pub fn allow(&self, slot: u8) {
        lock(&self.slots).removable |= bit(slot);
    }

    /// A slot was filled. The system is to be told by its general-purpose event.
    pub fn plugged(&self, slot: u8) {
        lock(&self.slots).up |= bit(slot);
    }

    /// A slot is to be emptied. The system is to be told by its general-purpose event.
    pub fn ask(&self, slot: u8) {
        lock(&self.slots).down |= bit(slot);
    }

    /// A slot is not to be emptied any more.
    pub fn withdraw(&self, slot: u8) {
        lock(&self.slots).down &= !bit(slot);
    }

    /// One slot at a time; what nobody allowed to go stays.
    fn eject(&self, slots: u32) {
        let slot = {
            let mut state = lock(&self.slots);
            let leaving = slots & state.removable;
            if leaving == 0 {
                return;
            }
            let slot = leaving.trailing_zeros() as u8;
            state.up &= !bit(slot);
            state.down &= !bit(slot);
            state.removable &= !bit(slot);
            slot
        };
        (self.ejected)(slot);
    }
}

fn bit(slot: u8) -> u32 {
    1u32.checked_shl(slot.into()).unwrap_or(0)
}

impl Device for HotPlug {
    fn name(&self) -> &'static str {
        "pci-hot-plug"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, SIZE)]
    }
    fn read(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        let mut slots = lock(&self.slots);
        let word = match (offset, data.len()) {
            (UP, 4) => std::mem::take(&mut slots.up),
            (DOWN, 4) => slots.down,
            (REMOVABLE, 4) => slots.removable,
            _ => 0,
        };
        fill(data, word.into());
    }
    fn write(&mut self, _: usize, offset: u64, data: &[u8]) {
        if (offset, data.len()) == (EJECT, 4) {
            self.eject(value(data) as u32);
        }
    }
    fn reset(&mut self) {
        let mut slots = lock(&self.slots);
        (slots.up, slots.down) = (0, 0);
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (HotPlug, Arc<Mutex<Vec<u8>>>) {
        let gone: Arc<Mutex<Vec<u8>>> = Arc::default();
        let told = gone.clone();
        (HotPlug::new(Arc::new(move |slot| lock(&told).push(slot))), gone)
    }

    fn read(hot: &mut HotPlug, register: u64) -> u32 {
        let mut data = [0; 4];
        hot.read(0, register, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn a_filled_slot_is_told_once() {
        let (mut hot, _) = made();
        hot.plugged(3);
        assert_eq!([UP, UP].map(|register| read(&mut hot, register)), [1 << 3, 0]);
    }

    #[test]
    fn a_slot_is_asked_for_until_the_system_lets_it_go() {
        let (mut hot, gone) = made();
        hot.allow(5);
        hot.ask(5);
        assert_eq!([DOWN, DOWN].map(|register| read(&mut hot, register)), [1 << 5; 2]);
        hot.write(0, EJECT, &(1u32 << 5).to_le_bytes());
        assert_eq!((read(&mut hot, DOWN), lock(&gone).clone()), (0, vec![5]));
    }

    #[test]
    fn what_nobody_allowed_to_go_stays() {
        let (mut hot, gone) = made();
        hot.allow(5);
        for wrong in [0u32, 1, !(1 << 5)] {
            hot.write(0, EJECT, &wrong.to_le_bytes());
        }
        hot.write(0, EJECT, &[0x20, 0]);
        assert_eq!(lock(&gone).len(), 0);
    }

    #[test]
    fn of_several_slots_the_lowest_goes() {
        let (mut hot, gone) = made();
        [3, 4].iter().for_each(|slot| hot.allow(*slot));
        hot.write(0, EJECT, &0x18u32.to_le_bytes());
        assert_eq!(lock(&gone).clone(), [3]);
    }
}
