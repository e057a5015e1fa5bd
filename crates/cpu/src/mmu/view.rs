//! What of a processor decides on its translations.

use crate::mmu::bank::{Root, Tag};
use crate::mmu::walk::Paging;
use crate::processor::{Processor, World};
use ireko_x86::bits::{cr0, cr4, efer, rflags};

/// Whose rights an access has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The current privilege level, EFLAGS.AC heeded for SMAP.
    Current,
    /// Implicit supervisor access: descriptor tables, TSS, pushes to an inner stack.
    System,
}

/// TLB table of user accesses; supervisor ones with SMAP in force; supervisor ones that may reach user pages.
pub const USER: usize = 0;
pub const SUPERVISOR: usize = 1;
pub const SUPERVISOR_ALL: usize = 2;

/// What of the control registers a translation depends on.
const CR0: u64 = cr0::PG | cr0::WP | cr0::PE;
const CR4: u64 = cr4::PSE | cr4::PAE | cr4::PGE | cr4::LA57 | cr4::SMEP | cr4::SMAP | cr4::PKE;
const EFER: u64 = efer::LME | efer::LMA | efer::NXE;

impl Processor {
    /// The TLB table for an access with these rights.
    pub fn mmu_mode(&self, privilege: Privilege) -> usize {
        let system = privilege == Privilege::System;
        if self.regs.cpl == 3 && !system {
            return USER;
        }
        let smap = self.regs.cr4 & cr4::SMAP != 0 && (system || self.regs.rflags & rflags::AC == 0);
        if smap { SUPERVISOR } else { SUPERVISOR_ALL }
    }

    /// Protection keys are checked: long mode and CR4.PKE (APM vol. 2, 5.6.7).
    pub(crate) fn checks_keys(&self) -> bool {
        self.regs.cr4 & cr4::PKE != 0 && self.regs.long_mode()
    }
}

impl Paging {
    /// What translates linear addresses now.
    pub fn of(processor: &Processor) -> Self {
        let regs = &processor.regs;
        Self {
            cr0: regs.cr0,
            cr3: regs.cr3,
            cr4: regs.cr4,
            efer: regs.efer,
            pdpte: regs.pdpte,
            pkru: processor.checks_keys().then_some(regs.pkru),
            stage2: processor.control().and_then(|c| c.stage2),
        }
    }
}

impl Tag {
    /// Of the current world and address space.
    pub fn of(processor: &Processor) -> Self {
        let (asid, nested_root) = match &processor.world {
            World::Host => (0, 0),
            World::Guest(control) => (control.asid, control.stage2.map_or(0, |s| s.root)),
        };
        let tagged = processor.regs.cr4 & cr4::PCIDE != 0;
        let pcid = if tagged { (processor.regs.cr3 & 0xfff) as u16 } else { 0 };
        Self { asid, nested_root, pcid }
    }
}

impl Root {
    /// What translations of the current world and mode are made with.
    pub fn of(processor: &Processor) -> Self {
        let nested = processor.control().and_then(|c| c.stage2);
        let regs = &processor.regs;
        let cr3 = regs.cr3 & 0x000f_ffff_ffff_f000;
        Self { cr3, cr0: regs.cr0 & CR0, cr4: regs.cr4 & CR4, efer: regs.efer & EFER, nested }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::model::Model;
    use std::sync::Arc;

    /// A world that comes back with another of these has other translations.
    #[test]
    fn a_root_has_what_decides_on_translations() {
        let mut processor = Processor::new(0, Arc::new(Model::default()));
        let before = Root::of(&processor);
        for bit in [cr4::PSE, cr4::PAE, cr4::PGE, cr4::LA57, cr4::SMEP, cr4::SMAP, cr4::PKE] {
            processor.regs.cr4 ^= bit;
            assert_ne!(Root::of(&processor), before, "{bit:#x}");
            processor.regs.cr4 ^= bit;
        }
    }
}
