//! A processor of plain fields, and a VMCB that VMRUN takes.

use super::{Caps, State, enter};
use crate::core::InstructionBytes;
use crate::{Control, Core, ExitContext, Flush, Shadow, Vendor};
use ireko_x86::bits::{cr0, cr4, efer, rflags};
use ireko_x86::regs::{gpr, seg};
use ireko_x86::vmcb::{control, save};
use ireko_x86::{Registers, Segment, Table};
use std::collections::BTreeMap;

pub const VMCB: u64 = 0x3000;
pub const NEXT: u64 = 0xffff_8000_0010_0003;
const MEMORY: usize = 0x2_0000;

pub struct Mock {
    pub regs: Registers,
    pub memory: Vec<u8>,
    pub shadow: Shadow,
    pub nmi_blocked: bool,
    pub tpr: u8,
    pub gif: bool,
    pub flushes: Vec<Flush>,
    /// Those that there are.
    pub msrs: BTreeMap<u32, u64>,
    /// The instruction's bytes, as far as they can be had.
    pub code: Vec<u8>,
    pub state: State,
    /// Of the instruction behind the one that exits.
    pub next_rip: u64,
}

impl Core for Mock {
    fn linear_bits(&self) -> u32 {
        ireko_x86::paging::LINEAR_BITS
    }
    fn regs(&mut self) -> &mut Registers {
        &mut self.regs
    }
    fn read_physical(&mut self, address: u64, data: &mut [u8]) -> bool {
        let start = address as usize;
        match start.checked_add(data.len()).and_then(|end| self.memory.get(start..end)) {
            Some(bytes) => data.copy_from_slice(bytes),
            None => return false,
        }
        true
    }
    fn write_physical(&mut self, address: u64, data: &[u8]) -> bool {
        let start = address as usize;
        match start.checked_add(data.len()).and_then(|end| self.memory.get_mut(start..end)) {
            Some(bytes) => bytes.copy_from_slice(data),
            None => return false,
        }
        true
    }
    fn flush(&mut self, what: Flush) {
        self.flushes.push(what);
    }
    fn shadow(&self) -> Shadow {
        self.shadow
    }
    fn set_shadow(&mut self, shadow: Shadow) {
        self.shadow = shadow;
    }
    fn read_msr(&mut self, number: u32) -> Option<u64> {
        self.msrs.get(&number).copied()
    }
    fn write_msr(&mut self, number: u32, value: u64) -> bool {
        self.msrs.get_mut(&number).map(|msr| *msr = value).is_some()
    }
    fn nmi_blocked(&self) -> bool {
        self.nmi_blocked
    }
    fn set_nmi_blocked(&mut self, on: bool) {
        self.nmi_blocked = on;
    }
    fn tpr(&mut self) -> u8 {
        self.tpr
    }
    fn set_tpr(&mut self, tpr: u8) {
        self.tpr = tpr;
    }
    fn set_gif(&mut self, on: bool) {
        self.gif = on;
    }
}

pub fn code64() -> Segment {
    Segment { selector: 0x10, attr: 0xa9b, limit: u32::MAX, base: 0 }
}
pub fn data() -> Segment {
    Segment { selector: 0x18, attr: 0xc93, limit: u32::MAX, base: 0 }
}

/// A 64-bit kernel about to do VMRUN, in the shadow of STI.
fn host() -> Registers {
    let mut regs = Registers::reset();
    regs.seg = [data(); 6];
    regs.seg[seg::CS] = code64();
    regs.gdtr = Table { base: 0xffff_8000_0000_1000, limit: 0x7f };
    regs.idtr = Table { base: 0xffff_8000_0000_2000, limit: 0xfff };
    regs.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::ET;
    regs.cr3 = 0x9000;
    regs.cr4 = cr4::PAE | cr4::PGE;
    regs.efer = efer::SVME | efer::LME | efer::LMA | efer::NXE | efer::SCE;
    regs.rflags = rflags::IF | 2;
    regs.rip = NEXT - 3;
    regs.gpr[gpr::RSP] = 0xffff_8000_0020_0000;
    regs.gpr[gpr::RAX] = VMCB;
    regs.gpr[gpr::RBX] = 0xb;
    regs.dr7 = 0x4aa;
    regs.cpl = 0;
    regs
}

impl Mock {
    /// With a VMCB at [`VMCB`] that enters a 64-bit guest with nested paging at CPL 3.
    pub fn new() -> Self {
        let mut mock = Self {
            regs: host(),
            memory: vec![0; MEMORY],
            shadow: Shadow::Sti,
            nmi_blocked: false,
            tpr: 5,
            gif: false,
            flushes: Vec::new(),
            msrs: BTreeMap::new(),
            code: Vec::new(),
            state: State::new(Caps::default()),
            next_rip: 0,
        };
        mock.put32(control::INTERCEPTS_4, 1);
        mock.put32(control::ASID, 7);
        mock.put(control::NESTED, 1);
        mock.put(control::N_CR3, 0xa000);
        mock.put(save::G_PAT, 0x0007_0406_0007_0406);
        mock.put(save::EFER, efer::SVME | efer::LME | efer::LMA);
        mock.put(save::CR0, cr0::PE | cr0::PG | cr0::ET);
        mock.put(save::CR3, 0x5000);
        mock.put(save::CR4, cr4::PAE);
        mock.put(save::CR2, 0x1234);
        mock.put(save::DR6, 0xffff_0ff0);
        mock.put(save::DR7, 0x400);
        mock.put(save::RFLAGS, 2);
        mock.put(save::RIP, 0x40_0000);
        mock.put(save::RSP, 0x7fff_0000);
        mock.put(save::RAX, 0xaaaa);
        mock.put8(save::CPL, 3);
        mock.put_segment(save::CS, Segment { selector: 0x33, attr: 0xafb, limit: u32::MAX, base: 0 });
        for field in [save::ES, save::SS, save::DS] {
            mock.put_segment(field, Segment { selector: 0x2b, attr: 0xcf3, limit: u32::MAX, base: 0 });
        }
        mock
    }

    pub fn put(&mut self, offset: usize, value: u64) {
        self.write_physical(VMCB + offset as u64, &value.to_le_bytes());
    }
    pub fn put32(&mut self, offset: usize, value: u32) {
        self.write_physical(VMCB + offset as u64, &value.to_le_bytes());
    }
    pub fn put8(&mut self, offset: usize, value: u8) {
        self.write_physical(VMCB + offset as u64, &[value]);
    }
    pub fn put_segment(&mut self, offset: usize, segment: Segment) {
        self.put(
            offset,
            u64::from(segment.selector) | u64::from(segment.attr) << 16 | u64::from(segment.limit) << 32,
        );
        self.put(offset + 8, segment.base);
    }
    pub fn get(&self, offset: usize) -> u64 {
        let start = VMCB as usize + offset;
        u64::from_le_bytes(self.memory[start..start + 8].try_into().unwrap())
    }
    pub fn get8(&self, offset: usize) -> u8 {
        self.memory[VMCB as usize + offset]
    }

    /// Its memory, as permission maps are read.
    pub fn reader(&self) -> impl Fn(u64, &mut [u8]) + '_ {
        |address, data| {
            let start = address as usize;
            if let Some(bytes) = start.checked_add(data.len()).and_then(|end| self.memory.get(start..end)) {
                data.copy_from_slice(bytes);
            }
        }
    }

    /// VMRUN; the name of the check that refuses it.
    pub fn vmrun(&mut self) -> Result<Control, &'static str> {
        let mut state = self.state.clone();
        let result = enter::enter(self, &mut state, VMCB, NEXT);
        self.state = state;
        result.ok_or_else(|| self.state.refused().unwrap())
    }

    pub fn exit(&mut self, control: &Control, why: crate::Exit, in_flight: Option<crate::Event>) {
        let mut state = self.state.clone();
        let mut instruction = InstructionBytes { count: self.code.len(), ..Default::default() };
        instruction.bytes[..self.code.len()].copy_from_slice(&self.code);
        let context = ExitContext { why: &why, in_flight, next_rip: self.next_rip, instruction };
        super::exit::exit(self, &mut state, control, &context);
        self.state = state;
    }

    /// VMRUN and at once an exit.
    pub fn through(&mut self, why: crate::Exit) {
        let control = self.vmrun().unwrap();
        self.exit(&control, why, None);
    }
}
