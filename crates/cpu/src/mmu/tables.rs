//! Flushes that find nothing changed.
//!
//! A hypervisor in a guest flushes its guest's ASID at every world switch of the next level, mostly for nothing. For banks
//! that are flushed often, the page-table frames behind their translations are watched; as long as none of them is
//! written, the translations are what a new walk would give, and the flush need not happen.

use crate::hash::FastHash;
use crate::mmu::Mmu;
use crate::mmu::walk::Tables;
use crate::siblings::Seat;
use ireko_vmcore::memory::Reason;
use std::cell::RefCell;
use std::collections::HashMap;

/// Host TSC ticks: two flushes closer than this make a bank worth tracking.
const OFTEN: u64 = 4_000_000;

/// Frames that a bank's translations may depend on; with more, it forgets all translations and is tracked no more.
pub const MOST_FRAMES: usize = 4096;

/// Which banks (by bit) depend on a page-table frame.
pub type Dependents = HashMap<u64, u64, FastHash>;

/// Notes which frames a walk reads.
pub struct Recorder<'a, T> {
    tables: &'a T,
    pub frames: RefCell<Vec<u64>>,
}

impl<'a, T: Tables> Recorder<'a, T> {
    pub fn new(tables: &'a T) -> Self {
        Self { tables, frames: RefCell::new(Vec::with_capacity(32)) }
    }
}

impl<T: Tables> Tables for Recorder<'_, T> {
    fn read(&self, address: u64, size: usize) -> Option<u64> {
        self.frames.borrow_mut().push(address >> 12);
        self.tables.read(address, size)
    }
    fn set_bits(&self, address: u64, size: usize, old: u64, bits: u64) -> bool {
        self.tables.set_bits(address, size, old, bits)
    }
}

impl Mmu {
    /// The current bank's translations depend on these frames from now on. Whether one was watched by nobody before.
    pub(crate) fn track(&mut self, frames: &[u64]) -> bool {
        let mut found = false;
        let number = self.banks.number();
        let bit = 1 << number;
        for &frame in frames {
            if self.one_of_many && !self.watched.contains(&frame) {
                // Until it is, what was walked may be other by now: the next flush is not spared.
                self.banks.current().dirty = true;
                if !self.unwatched.contains(&frame) && self.unwatched.len() < MOST_FRAMES {
                    self.unwatched.push(frame);
                }
                continue;
            }
            let dependents = self.dependents.entry(frame).or_insert(0);
            if *dependents & bit != 0 {
                continue;
            }
            let fresh = *dependents == 0;
            *dependents |= bit;
            self.banks.current().frames.insert(frame);
            if fresh && !self.one_of_many {
                found = true;
                self.physical.memory().watch().set(frame, Reason::Tables, true);
                if let Some(host) = self.physical.host(frame << 12) {
                    self.banks.all().for_each(|bank| bank.protect(host));
                }
            }
        }
        if self.banks.current().frames.len() > MOST_FRAMES {
            self.empty_bank(number);
        }
        found
    }

    /// A page that may hold tables was written.
    pub(crate) fn wrote_table(&mut self, frame: u64, seat: &Seat) {
        let watch = self.physical.memory().watch();
        let known = if self.one_of_many {
            self.watched.remove(&frame)
        } else {
            watch.watched_for(frame, Reason::Tables)
        };
        if !known {
            return;
        }
        seat.unwatch(watch, Reason::Tables, frame);
        let dependents = self.dependents.remove(&frame).unwrap_or(0);
        for number in 0..64 {
            if dependents >> number & 1 != 0
                && let Some(bank) = self.banks.get(number)
            {
                bank.dirty = true;
                // Nobody watches it for the bank any more; a walk that reads it again notes it again.
                bank.frames.remove(&frame);
            }
        }
    }

    /// Of frames that are watched without need not too many are.
    pub(crate) fn watch_fewer(&mut self, seat: &Seat) {
        if self.watched.len() < 4 * MOST_FRAMES {
            return;
        }
        let (watch, dependents) = (self.physical.memory().watch(), &self.dependents);
        self.watched.retain(|frame| {
            let needed = dependents.contains_key(frame);
            if !needed {
                seat.unwatch(watch, Reason::Tables, *frame);
            }
            needed
        });
    }

    /// Ends the tracking of a bank's frames; its translations are about to go.
    fn untrack(&mut self, number: usize) {
        let Some(bank) = self.banks.get(number) else { return };
        bank.dirty = false;
        let frames = std::mem::take(&mut bank.frames);
        for frame in frames {
            if let Some(dependents) = self.dependents.get_mut(&frame) {
                *dependents &= !(1 << number);
                if *dependents == 0 {
                    self.dependents.remove(&frame);
                    // With many, that it is watched was dear: it stays so until somebody writes it.
                    if !self.one_of_many {
                        self.physical.memory().watch().set(frame, Reason::Tables, false);
                    }
                }
            }
        }
    }

    /// Forgets a bank's translations, and what they depended on.
    pub(crate) fn empty_bank(&mut self, number: usize) {
        self.untrack(number);
        if let Some(bank) = self.banks.get(number) {
            bank.tracked = false;
            bank.direct = Default::default();
            bank.flush(false);
        }
    }

    /// A flush of a whole ASID, for one of its banks; whether it needed not happen, where those may be spared.
    pub(super) fn flush_bank(&mut self, number: usize, keep_global: bool, spare: bool) -> bool {
        let now = crate::host::rdtsc();
        let Some(bank) = self.banks.get(number) else { return false };
        let often = now.wrapping_sub(bank.flushed_at) < OFTEN;
        bank.flushed_at = now;
        if bank.tracked && !bank.dirty {
            return true;
        }
        if keep_global {
            bank.flush(true);
            return false;
        }
        self.untrack(number);
        if let Some(bank) = self.banks.get(number) {
            bank.flush(false);
            bank.tracked = often && spare;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ireko_vmcore::Memory;
    use std::sync::Arc;

    fn tracked() -> Mmu {
        let mut mmu = Mmu::new(Arc::new(Memory::new(&[(0, 0x8000 << 12)]).unwrap())).unwrap();
        mmu.banks.current().tracked = true;
        mmu
    }

    #[test]
    fn a_table_that_is_rewritten_for_ever_is_noted_once() {
        let mut mmu = tracked();
        let seat = Seat::new(crate::siblings::Siblings::new([Arc::default()]), 0);
        for _ in 0..10_000 {
            mmu.track(&[5, 6]);
            mmu.wrote_table(5, &seat);
        }
        assert_eq!((mmu.banks.current().frames.len(), mmu.dependents.len()), (1, 1));
        assert!(mmu.banks.current().dirty);
    }

    #[test]
    fn more_tables_than_are_noted_end_the_tracking() {
        let mut mmu = tracked();
        (0..=MOST_FRAMES as u64).for_each(|frame| {
            mmu.track(&[frame]);
        });
        assert!(!mmu.banks.current().tracked);
        assert_eq!((mmu.banks.current().frames.len(), mmu.dependents.len()), (0, 0));
        assert!(!mmu.physical.memory().watch().watched(7));
    }
}
