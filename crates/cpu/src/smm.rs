//! System-management mode: SMI, the state save area, RSM, and who sees the memory of it (APM vol. 2, chapter 10).

use crate::control_registers::load_pdpte;
use crate::cpu::World;
use crate::event::shutdown;
use crate::processor::OutsideSmm;
use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;
use ireko_nested::{Flush, Intercept};
use ireko_x86::bits::{cr0, dr7, efer, rflags};
use ireko_x86::regs::seg;
use ireko_x86::smram::{self, AREA, AREA_AT};
use ireko_x86::{Registers, Segment};

/// Where the handler starts, in its segment.
const ENTRY: u64 = 0x8000;

impl Cpu {
    /// An SMI is due: to the hypervisor, or into the mode.
    pub(crate) fn smi(&mut self) -> Result<(), Fault> {
        if let Some(exit) = crate::intercept::smi_exit(self) {
            return Err(Fault::Exit(exit));
        }
        self.apic().smi_take();
        self.enter_smm();
        Ok(())
    }

    pub(crate) fn enter_smm(&mut self) {
        // MWAIT's wait is over (APM vol. 3, MWAIT).
        let halted = std::mem::take(&mut self.processor.halted) && self.processor.wait.is_none();
        let area = saved(&self.processor.regs, halted, self.control().is_some());
        self.processor.smm = Some(Box::new(OutsideSmm {
            world: std::mem::replace(&mut self.processor.world, World::Host),
            gif: std::mem::replace(&mut self.processor.gif, true),
            nmi_blocked: std::mem::replace(&mut self.processor.nmi_blocked, true),
            shadow: std::mem::take(&mut self.processor.shadow),
        }));
        self.see_smram();
        self.write_physical(self.processor.regs.smbase + AREA_AT, &area);
        begin(&mut self.processor.regs);
        self.address_space_changed();
    }

    fn address_space_changed(&mut self) {
        self.flush_asid(Flush::All);
        self.world_switched();
        self.flush_tlb(false);
    }
}

/// The state at the handler's first instruction (APM vol. 2, table 10-3).
fn begin(regs: &mut Registers) {
    let data = Segment { base: 0, limit: u32::MAX, attr: 0x893, selector: 0 };
    regs.seg = [data; 6];
    let selector = (regs.smbase >> 4) as u16;
    regs.seg[seg::CS] = Segment { base: regs.smbase, attr: 0x89b, selector, ..data };
    regs.cr0 &= !(cr0::PE | cr0::EM | cr0::TS | cr0::PG);
    (regs.cr4, regs.efer, regs.rflags, regs.dr7, regs.cpl) = (0, 0, 2, dr7::FIXED, 0);
    regs.rip = ENTRY;
}

fn put(area: &mut [u8; AREA], at: u64, bytes: &[u8]) {
    let at = (at - AREA_AT) as usize;
    area[at..at + bytes.len()].copy_from_slice(bytes);
}

fn quad(area: &[u8; AREA], at: u64) -> u64 {
    let at = (at - AREA_AT) as usize;
    area[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn put_segment(area: &mut [u8; AREA], at: u64, segment: &Segment) {
    put(area, at, &segment.selector.to_le_bytes());
    put(area, at + 2, &(segment.attr & 0xff | (segment.attr & 0xf00) << 4).to_le_bytes());
    put(area, at + 4, &segment.limit.to_le_bytes());
    put(area, at + 8, &segment.base.to_le_bytes());
}

fn segment(area: &[u8; AREA], at: u64) -> Segment {
    let (low, base) = (quad(area, at), quad(area, at + 8));
    let attr = (low >> 16) as u16;
    let attr = attr & 0xff | attr >> 4 & 0xf00;
    Segment { selector: low as u16, attr, limit: (low >> 32) as u32, base }
}

/// A register, and where it is in the area.
type Field<T> = (u64, fn(&mut Registers) -> &mut T);

const SEGMENTS: [Field<Segment>; 8] = [
    (smram::ES, |r| &mut r.seg[seg::ES]),
    (smram::CS, |r| &mut r.seg[seg::CS]),
    (smram::SS, |r| &mut r.seg[seg::SS]),
    (smram::DS, |r| &mut r.seg[seg::DS]),
    (smram::FS, |r| &mut r.seg[seg::FS]),
    (smram::GS, |r| &mut r.seg[seg::GS]),
    (smram::LDTR, |r| &mut r.ldtr),
    (smram::TR, |r| &mut r.tr),
];

const WORDS: [Field<u64>; 8] = [
    (smram::EFER, |r| &mut r.efer),
    (smram::CR4, |r| &mut r.cr4),
    (smram::CR3, |r| &mut r.cr3),
    (smram::CR0, |r| &mut r.cr0),
    (smram::DR7, |r| &mut r.dr7),
    (smram::DR6, |r| &mut r.dr6),
    (smram::RFLAGS, |r| &mut r.rflags),
    (smram::RIP, |r| &mut r.rip),
];

/// General register `n` is the `n`th from the area's end.
fn general(n: usize) -> u64 {
    smram::RAX - 8 * n as u64
}

/// APM vol. 2, table 10-1.
fn saved(regs: &Registers, halted: bool, guest: bool) -> [u8; AREA] {
    let mut area = [0; AREA];
    let mut regs = *regs;
    for (at, field) in SEGMENTS {
        put_segment(&mut area, at, field(&mut regs));
    }
    for (at, field) in WORDS {
        put(&mut area, at, &field(&mut regs).to_le_bytes());
    }
    for (at, table) in [(smram::GDTR, regs.gdtr), (smram::IDTR, regs.idtr)] {
        put(&mut area, at + 4, &u32::from(table.limit).to_le_bytes());
        put(&mut area, at + 8, &table.base.to_le_bytes());
    }
    for n in 0..16 {
        put(&mut area, general(n), &regs.gpr[n].to_le_bytes());
    }
    put(&mut area, smram::AUTO_HALT, &[halted.into()]);
    put(&mut area, smram::SVM_GUEST, &[guest.into()]);
    put(&mut area, smram::REVISION, &smram::REVISION_ID.to_le_bytes());
    put(&mut area, smram::SMBASE, &(regs.smbase as u32).to_le_bytes());
    area
}

/// The registers that an area makes of those in the mode; `None` if they could not be (APM vol. 2, 10.3.5).
fn restored(regs: &Registers, area: &[u8; AREA], cr4: u64, efer_bits: u64) -> Option<Registers> {
    let mut new = *regs;
    for (at, field) in SEGMENTS {
        *field(&mut new) = segment(area, at);
    }
    for (at, field) in WORDS {
        *field(&mut new) = quad(area, at);
    }
    for (at, table) in [(smram::GDTR, &mut new.gdtr), (smram::IDTR, &mut new.idtr)] {
        (table.limit, table.base) = ((quad(area, at) >> 32) as u16, quad(area, at + 8));
    }
    for n in 0..16 {
        new.gpr[n] = quad(area, general(n));
    }
    new.rflags = new.rflags & rflags::DEFINED | 2;
    new.smbase = quad(area, smram::SMBASE) & 0xffff_ffff;
    let (paging, protected) = (new.cr0 & cr0::PG != 0, new.cr0 & cr0::PE != 0);
    let long = new.efer & efer::LMA != 0;
    new.cpl = match (protected, new.v86()) {
        (false, _) => 0,
        (true, true) => 3,
        _ => new.seg[seg::SS].dpl(),
    };
    let refused = paging && !protected
        || new.cr0 >> 32 != 0
        || new.cr0 & cr0::NW != 0 && new.cr0 & cr0::CD == 0
        || new.cr4 & !cr4 != 0
        || new.efer & !efer_bits != 0
        || long && !(paging && new.efer & efer::LME != 0)
        || (new.dr6 | new.dr7) >> 32 != 0;
    (!refused).then_some(new)
}

/// RSM: #UD outside the mode, after a hypervisor's word; a state that cannot be is a shutdown.
pub fn rsm(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.intercept(Intercept::Rsm)?;
    if cpu.processor.smm.is_none() {
        return Err(Fault::ud());
    }
    let mut area = [0; AREA];
    cpu.read_physical(cpu.processor.regs.smbase + AREA_AT, &mut area);
    let new = restored(&cpu.processor.regs, &area, cpu.processor.model.cr4(), cpu.processor.model.efer())
        .ok_or_else(|| shutdown(cpu))?;
    let Some(outside) = cpu.processor.smm.take() else { return Err(Fault::ud()) };
    cpu.processor.regs = new;
    cpu.processor.world = outside.world;
    (cpu.processor.gif, cpu.processor.nmi_blocked, cpu.processor.shadow) =
        (outside.gif, outside.nmi_blocked, outside.shadow);
    if quad(&area, smram::AUTO_HALT) & 0xff != 0 {
        cpu.halt(None);
    }
    cpu.see_smram();
    cpu.address_space_changed();
    load_pdpte(cpu)?;
    Ok(Next::Jump)
}

#[cfg(test)]
#[path = "smm_tests.rs"]
mod tests;
