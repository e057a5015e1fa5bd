//! Flushes that find nothing changed.
//!
//! A hypervisor in a guest flushes its guest's ASID at every world switch of the next level, mostly for nothing. For banks
//! that are flushed often, the page-table frames behind their translations are watched; as long as none of them is
//! written, the translations are what a new walk would give, and the flush need not happen.

use crate::Cpu;
use crate::mixer::Mixing;
use crate::mmu::bank::Root;
use crate::mmu::walk::Tables;
use ireko_vmcore::memory::Reason;
use ireko_x86::bits::{cr0, cr4, efer};
use std::cell::RefCell;
use std::collections::HashMap;

/// Host TSC ticks: two flushes closer than this make a bank worth tracking.
const OFTEN: u64 = 4_000_000;

/// Frames that a bank's translations may depend on; with more, it forgets all translations and is tracked no more.
pub const MOST_FRAMES: usize = 4096;

/// What of the control registers a translation depends on.
const CR0: u64 = cr0::PG | cr0::WP | cr0::PE;
const CR4: u64 = cr4::PSE | cr4::PAE | cr4::PGE | cr4::LA57 | cr4::SMEP | cr4::SMAP | cr4::PKE;
const EFER: u64 = efer::LME | efer::LMA | efer::NXE;

/// Which banks (by bit) depend on a page-table frame.
pub type Dependents = HashMap<u64, u64, Mixing>;

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

impl Cpu {
    /// The current bank's translations depend on these frames from now on.
    pub(crate) fn track(&mut self, frames: &[u64]) {
        let number = self.mmu.banks.number();
        let bit = 1 << number;
        for &frame in frames {
            let dependents = self.mmu.dependents.entry(frame).or_insert(0);
            if *dependents & bit != 0 {
                continue;
            }
            let fresh = *dependents == 0;
            *dependents |= bit;
            self.mmu.banks.current().frames.insert(frame);
            if fresh {
                self.mmu.physical.memory().watch().set(frame, Reason::Tables, true);
                if let Some(host) = self.mmu.physical.host(frame << 12) {
                    self.mmu.banks.all().for_each(|bank| bank.protect(host));
                }
            }
        }
        if self.mmu.banks.current().frames.len() > MOST_FRAMES {
            self.empty_bank(number);
        }
    }

    /// A page that may hold tables was written.
    pub(crate) fn wrote_table(&mut self, frame: u64) {
        let watch = self.mmu.physical.memory().watch();
        if !watch.watched_for(frame, Reason::Tables) {
            return;
        }
        watch.set(frame, Reason::Tables, false);
        let dependents = self.mmu.dependents.remove(&frame).unwrap_or(0);
        for number in 0..64 {
            if dependents >> number & 1 != 0
                && let Some(bank) = self.mmu.banks.get(number)
            {
                bank.dirty = true;
                // Nobody watches it for the bank any more; a walk that reads it again notes it again.
                bank.frames.remove(&frame);
            }
        }
    }

    /// Ends the tracking of a bank's frames; its translations are about to go.
    fn untrack(&mut self, number: usize) {
        let Some(bank) = self.mmu.banks.get(number) else { return };
        bank.dirty = false;
        let frames = std::mem::take(&mut bank.frames);
        for frame in frames {
            if let Some(dependents) = self.mmu.dependents.get_mut(&frame) {
                *dependents &= !(1 << number);
                if *dependents == 0 {
                    self.mmu.dependents.remove(&frame);
                    self.mmu.physical.memory().watch().set(frame, Reason::Tables, false);
                }
            }
        }
    }

    /// Forgets a bank's translations, and what they depended on.
    pub(crate) fn empty_bank(&mut self, number: usize) {
        self.untrack(number);
        if let Some(bank) = self.mmu.banks.get(number) {
            bank.tracked = false;
            bank.flush(false);
        }
    }

    /// A flush of a whole ASID, for one of its banks.
    pub(crate) fn flush_bank(&mut self, number: usize, keep_global: bool) {
        let (now, always) = (crate::silicon::rdtsc(), !self.tuning.spare_flushes);
        let Some(bank) = self.mmu.banks.get(number) else { return };
        let often = now.wrapping_sub(bank.flushed_at) < OFTEN;
        bank.flushed_at = now;
        if bank.tracked && !bank.dirty {
            self.counters.spared_flushes += 1;
            return;
        }
        if keep_global {
            return bank.flush(true);
        }
        self.untrack(number);
        if let Some(bank) = self.mmu.banks.get(number) {
            bank.flush(false);
            bank.tracked = often && !always;
        }
    }

    /// What translations of the current world and mode are made with.
    pub(crate) fn root(&self) -> Root {
        let nested = self.control().and_then(|c| c.stage2).map_or([0; 3], |s| [s.root, s.cr4, s.efer]);
        let regs = &self.processor.regs;
        let cr3 = regs.cr3 & 0x000f_ffff_ffff_f000;
        Root { cr3, cr0: regs.cr0 & CR0, cr4: regs.cr4 & CR4, efer: regs.efer & EFER, nested }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuSpec;

    fn tracked() -> Cpu {
        let mut cpu = Cpu::new(&CpuSpec::lone(&[(0, 0x8000 << 12)]).unwrap()).unwrap();
        cpu.mmu.banks.current().tracked = true;
        cpu
    }

    /// A world that comes back with another of these has other translations.
    #[test]
    fn a_root_has_what_decides_on_translations() {
        let mut cpu = tracked();
        let before = cpu.root();
        for bit in [cr4::PSE, cr4::PAE, cr4::PGE, cr4::LA57, cr4::SMEP, cr4::SMAP, cr4::PKE] {
            cpu.processor.regs.cr4 ^= bit;
            assert_ne!(cpu.root(), before, "{bit:#x}");
            cpu.processor.regs.cr4 ^= bit;
        }
    }

    #[test]
    fn a_table_that_is_rewritten_for_ever_is_noted_once() {
        let mut cpu = tracked();
        for _ in 0..10_000 {
            cpu.track(&[5, 6]);
            cpu.wrote_table(5);
        }
        assert_eq!((cpu.mmu.banks.current().frames.len(), cpu.mmu.dependents.len()), (1, 1));
        assert!(cpu.mmu.banks.current().dirty);
    }

    #[test]
    fn more_tables_than_are_noted_end_the_tracking() {
        let mut cpu = tracked();
        (0..=MOST_FRAMES as u64).for_each(|frame| cpu.track(&[frame]));
        assert!(!cpu.mmu.banks.current().tracked);
        assert_eq!((cpu.mmu.banks.current().frames.len(), cpu.mmu.dependents.len()), (0, 0));
        assert!(!cpu.mmu.physical.memory().watch().watched(7));
    }
}
