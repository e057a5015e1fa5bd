//! Random operands for a form.

use super::arena::{BEFORE_READ_ONLY, CODE, DATA, DEVICE, HIGH, READ_ONLY};
use super::state::ArchitecturalState;
use crate::rng::Rng;
use iced_x86::{
    Code, EncodingKind, Instruction, Mnemonic, OpCodeOperandKind as Operand, OpKind, Register,
    RoundingControl,
};

pub struct Operands<'a> {
    pub rng: &'a mut Rng,
    pub bits: u32,
    pub start: &'a ArchitecturalState,
    /// Registers that still have their starting values.
    pub fixed: u16,
    pub ip: u64,
    /// Bytes from the start that the string may take.
    pub room: usize,
    /// The access is a locked one. It stays in its cache line: hosts punish split locks with long delays.
    pub locked: bool,
    /// There are 32 vector registers.
    pub evex: bool,
}

impl Operands<'_> {
    /// Mask register, zeroing, broadcast, rounding: what EVEX has besides operands.
    fn decorate(&mut self, insn: &mut Instruction, code: Code) {
        let op = code.op_code();
        let memory = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
        if op.can_use_op_mask_register() && (op.require_op_mask_register() || self.rng.percent(70)) {
            insn.set_op_mask(self.register(Register::K1, 7));
            let store = insn.op0_kind() == OpKind::Memory;
            insn.set_zeroing_masking(op.can_use_zeroing_masking() && !store && self.rng.percent(40));
        }
        if memory || !self.rng.percent(30) {
            return;
        }
        if op.can_use_rounding_control() {
            use RoundingControl::*;
            let ways = [RoundToNearest, RoundDown, RoundUp, RoundTowardZero];
            insn.set_rounding_control(self.rng.pick(&ways));
        } else if op.can_suppress_all_exceptions() {
            insn.set_suppress_all_exceptions(true);
        }
    }

    /// An instruction of this form; `None` if the dice gave what cannot be encoded.
    pub fn instruction(&mut self, code: Code) -> Option<Instruction> {
        let op = code.op_code();
        let mut insn = Instruction::default();
        insn.set_code(code);
        let lock = op.can_use_lock_prefix() && !by_register_bit(code) && self.rng.percent(40);
        self.locked = lock || op.mnemonic() == Mnemonic::Xchg;
        self.evex = op.encoding() == EncodingKind::EVEX;
        insn.set_is_broadcast(self.evex && op.can_broadcast() && self.rng.percent(35));
        for (n, &kind) in op.op_kinds().iter().enumerate() {
            self.operand(&mut insn, n as u32, kind)?;
        }
        if self.evex {
            self.decorate(&mut insn, code);
            let memory = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
            insn.set_is_broadcast(insn.is_broadcast() && memory);
        }
        if lock && insn.op0_kind() == OpKind::Memory {
            insn.set_has_lock_prefix(true);
        }
        if insn.is_string_instruction() && self.rng.percent(60) {
            insn.set_has_rep_prefix(op.can_use_rep_prefix());
            if op.can_use_repne_prefix() && self.rng.percent(40) {
                insn.set_has_rep_prefix(false);
                insn.set_has_repne_prefix(true);
            }
        }
        Some(insn)
    }

    fn register(&mut self, first: Register, count: usize) -> Register {
        first + self.rng.below(count) as u32
    }

    fn count(&self) -> usize {
        if self.bits == 64 { 16 } else { 8 }
    }

    fn vectors(&self) -> usize {
        if self.bits == 64 && self.evex { 32 } else { self.count() }
    }

    fn byte_register(&mut self) -> Register {
        // AL CL DL BL AH CH DH BH, SPL BPL SIL DIL, R8L..R15L.
        let count = if self.bits == 64 { 20 } else { 8 };
        self.register(Register::AL, count)
    }

    fn operand(&mut self, insn: &mut Instruction, n: u32, kind: Operand) -> Option<()> {
        use Operand::*;
        let count = self.count();
        let memory = self.rng.percent(60);
        let register = match kind {
            r8_or_mem | r16_or_mem | r32_or_mem | r64_or_mem | mm_or_mem | xmm_or_mem | ymm_or_mem
            | zmm_or_mem | k_or_mem
                if memory =>
            {
                return self.memory(insn, n, Option::None);
            }
            mem | mem_mib => return self.memory(insn, n, Option::None),
            mem_vsib32x | mem_vsib64x => return self.memory(insn, n, Some(Register::XMM0)),
            mem_vsib32y | mem_vsib64y => return self.memory(insn, n, Some(Register::YMM0)),
            mem_vsib32z | mem_vsib64z => return self.memory(insn, n, Some(Register::ZMM0)),
            mem_offs => return self.absolute(insn, n),
            r8_or_mem | r8_reg | r8_opcode => self.byte_register(),
            r16_or_mem | r16_reg | r16_rm | r16_opcode => self.register(Register::AX, count),
            r32_or_mem | r32_reg | r32_rm | r32_opcode | r32_vvvv => self.register(Register::EAX, count),
            r64_or_mem | r64_reg | r64_rm | r64_opcode | r64_vvvv => self.register(Register::RAX, count),
            mm_or_mem | mm_reg | mm_rm => self.register(Register::MM0, 8),
            xmm_or_mem | xmm_reg | xmm_rm | xmm_vvvv | xmm_is4 | xmm_is5 => {
                self.register(Register::XMM0, self.vectors())
            }
            ymm_or_mem | ymm_reg | ymm_rm | ymm_vvvv | ymm_is4 | ymm_is5 => {
                self.register(Register::YMM0, self.vectors())
            }
            zmm_or_mem | zmm_reg | zmm_rm | zmm_vvvv => self.register(Register::ZMM0, self.vectors()),
            k_or_mem | k_reg | k_rm | k_vvvv => self.register(Register::K0, 8),
            seg_reg => self.register(Register::ES, 6),
            es => Register::ES,
            cs => Register::CS,
            ss => Register::SS,
            ds => Register::DS,
            fs => Register::FS,
            gs => Register::GS,
            al => Register::AL,
            cl => Register::CL,
            ax => Register::AX,
            dx => Register::DX,
            eax => Register::EAX,
            rax => Register::RAX,
            st0 => Register::ST0,
            sti_opcode => self.register(Register::ST0, 8),
            _ => return self.constant(insn, n, kind),
        };
        insn.set_op_kind(n, OpKind::Register);
        insn.set_op_register(n, register);
        Some(())
    }

    fn constant(&mut self, insn: &mut Instruction, n: u32, kind: Operand) -> Option<()> {
        use Operand::*;
        let wide = self.bits == 64;
        let value = self.rng.value();
        let (op, value) = match kind {
            imm4_m2z => (OpKind::Immediate8, value & 3),
            imm8_const_1 => (OpKind::Immediate8, 1),
            imm8 if n > 0 && insn.op_kind(n - 1) == OpKind::Immediate16 => {
                (OpKind::Immediate8_2nd, value & 3)
            }
            imm8 => (OpKind::Immediate8, value & 0xff),
            imm8sex16 => (OpKind::Immediate8to16, value as i8 as u64),
            imm8sex32 => (OpKind::Immediate8to32, value as i8 as u64),
            imm8sex64 => (OpKind::Immediate8to64, value as i8 as u64),
            imm16 if matches!(insn.mnemonic(), Mnemonic::Enter | Mnemonic::Ret) => {
                (OpKind::Immediate16, value & 0x3f8)
            }
            imm16 => (OpKind::Immediate16, value & 0xffff),
            imm32 => (OpKind::Immediate32, value & 0xffff_ffff),
            imm32sex64 => (OpKind::Immediate32to64, value as i32 as u64),
            imm64 => (OpKind::Immediate64, value),
            seg_rSI => (if wide { OpKind::MemorySegRSI } else { OpKind::MemorySegESI }, 0),
            es_rDI => (if wide { OpKind::MemoryESRDI } else { OpKind::MemoryESEDI }, 0),
            seg_rDI => (if wide { OpKind::MemorySegRDI } else { OpKind::MemorySegEDI }, 0),
            seg_rBX_al => {
                insn.set_op_kind(n, OpKind::Memory);
                insn.set_memory_base(if wide { Register::RBX } else { Register::EBX });
                insn.set_memory_index(Register::AL);
                return Some(());
            }
            _ => return Option::None,
        };
        insn.set_op_kind(n, op);
        match op {
            OpKind::Immediate64 => insn.set_immediate64(value),
            OpKind::Immediate8_2nd => insn.set_immediate8_2nd(value as u8),
            OpKind::MemorySegRSI | OpKind::MemoryESRDI | OpKind::MemorySegRDI => {}
            OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI => {}
            _ => insn.set_immediate32(value as u32),
        }
        Some(())
    }

    /// A linear address for an operand of `size` bytes: mostly where it works, sometimes where it hurts.
    pub fn address(&mut self, size: usize) -> u64 {
        let size = size.clamp(1, 512);
        if self.locked {
            let page =
                self.rng.pick(&[DATA, DATA + 0x1000, DEVICE, DEVICE + 0x1000, READ_ONLY, BEFORE_READ_ONLY]);
            return page + (self.rng.below(0x1000) as u64 & !(size.next_power_of_two() as u64 - 1));
        }
        let inside = |rng: &mut Rng, base: u64, length: usize| base + rng.below(length - size) as u64;
        let across = |rng: &mut Rng, edge: u64| edge - size as u64 + 1 + rng.below(size.max(2) - 1) as u64;
        let rng = &mut *self.rng;
        let address = match rng.below(100) {
            0..12 => return across(rng, DATA + 0x1000),
            12..15 => return across(rng, DEVICE),
            15..17 => return across(rng, READ_ONLY),
            17..19 => return across(rng, DEVICE + 0x1000),
            19..22 if self.bits == 64 => return across(rng, HIGH + 0x1000),
            22..23 if self.bits == 64 => return across(rng, HIGH + 0x2000),
            23..33 => self.near_code(size),
            33..42 => inside(rng, DEVICE, 0x1000),
            42..46 => inside(rng, READ_ONLY, 0x1000),
            46..48 => inside(rng, DEVICE + 0x1000, 0x1000),
            48..50 => inside(rng, BEFORE_READ_ONLY, 0x1000),
            50..60 if self.bits == 64 => inside(rng, HIGH, 0x2000),
            _ => inside(rng, DATA, 0x2000),
        };
        let align = size.next_power_of_two().min(32) as u64;
        let aligned = self.rng.percent(if size >= 16 { 85 } else { 50 });
        if aligned { address & !(align - 1) } else { address }
    }

    /// In the pages of the string, but not in it.
    fn near_code(&mut self, size: usize) -> u64 {
        let (from, to) = (self.start.rip - 64, self.start.rip + self.room as u64 + 64);
        loop {
            let address = CODE + self.rng.below(0x2000 - size) as u64;
            if address + (size as u64) < from || address > to {
                return address;
            }
        }
    }

    fn absolute(&mut self, insn: &mut Instruction, n: u32) -> Option<()> {
        let address = self.address(insn.memory_size().size());
        insn.set_op_kind(n, OpKind::Memory);
        insn.set_memory_displacement64(address);
        insn.set_memory_displ_size(if self.bits == 64 { 8 } else { 4 });
        Some(())
    }

    fn fixed_register(&mut self) -> Option<usize> {
        if self.rng.percent(4) {
            return Some(self.rng.below(self.count()));
        }
        let known: Vec<usize> = (0..16).filter(|n| self.fixed >> n & 1 != 0).collect();
        (!known.is_empty()).then(|| self.rng.pick(&known))
    }

    /// A memory operand at a chosen address by a random addressing form.
    fn memory(&mut self, insn: &mut Instruction, n: u32, vector_index: Option<Register>) -> Option<()> {
        insn.set_op_kind(n, OpKind::Memory);
        let size = insn.memory_size().size().max(1);
        let mut target = self.address(size);
        if self.bits == 64 && self.rng.percent(12) {
            let (segment, base) =
                self.rng.pick(&[(Register::FS, self.start.fs), (Register::GS, self.start.gs)]);
            insn.set_segment_prefix(segment);
            target = target.wrapping_sub(base);
        }
        if let Some(first) = vector_index {
            let index = self.register(first, self.vectors());
            return self.based(insn, target, Some(index), self.bits == 64);
        }
        let low = target < 0x7000_0000;
        match self.rng.below(10) {
            0 | 1 if self.bits == 64 => {
                let far = (target as i64).wrapping_sub(self.ip as i64);
                if i32::try_from(far).is_err() || insn.segment_prefix() != Register::None {
                    return self.based(insn, target, None, true);
                }
                insn.set_memory_base(Register::RIP);
                insn.set_memory_displ_size(8);
                insn.set_memory_displacement64(target);
                Some(())
            }
            2 if low => {
                insn.set_memory_displ_size(if self.bits == 64 && self.rng.percent(70) { 8 } else { 4 });
                insn.set_memory_displacement64(target);
                Some(())
            }
            3 if low && self.bits == 64 => self.indexed(insn, target, false),
            4..7 => self.indexed(insn, target, self.bits == 64),
            _ => self.based(insn, target, None, self.bits == 64),
        }
    }

    fn value(&self, register: usize, wide: bool) -> u64 {
        let value = self.start.gpr[register];
        if wide { value } else { value & 0xffff_ffff }
    }

    fn based(
        &mut self,
        insn: &mut Instruction,
        target: u64,
        index: Option<Register>,
        wide: bool,
    ) -> Option<()> {
        let base = self.fixed_register()?;
        let first = if wide { Register::RAX } else { Register::EAX };
        insn.set_memory_base(first + base as u32);
        if let Some(index) = index {
            insn.set_memory_index(index);
            insn.set_memory_index_scale(self.rng.pick(&[1, 2, 4, 8]));
        }
        self.displace(insn, target.wrapping_sub(self.value(base, wide)), wide)
    }

    fn indexed(&mut self, insn: &mut Instruction, target: u64, wide: bool) -> Option<()> {
        let index = self.fixed_register().filter(|&n| n != 4)?;
        let scale = self.rng.pick(&[1, 2, 4, 8]);
        let first = if wide { Register::RAX } else { Register::EAX };
        insn.set_memory_index(first + index as u32);
        insn.set_memory_index_scale(scale);
        let mut rest = target.wrapping_sub(self.value(index, wide).wrapping_mul(scale.into()));
        if self.rng.percent(85) {
            let base = self.fixed_register()?;
            insn.set_memory_base(first + base as u32);
            rest = rest.wrapping_sub(self.value(base, wide));
        }
        self.displace(insn, rest, wide)
    }

    fn displace(&mut self, insn: &mut Instruction, displacement: u64, wide: bool) -> Option<()> {
        let value = if wide {
            i32::try_from(displacement as i64).ok()? as i64 as u64
        } else {
            displacement & 0xffff_ffff
        };
        let short = i8::try_from(value as i32).is_ok() && self.rng.percent(70);
        let plain = short && insn.memory_base() != Register::None;
        insn.set_memory_displ_size(if plain {
            1
        } else if wide {
            8
        } else {
            4
        });
        insn.set_memory_displacement64(value);
        Some(())
    }
}

/// BTS and their like, whose address moves with a register.
fn by_register_bit(code: Code) -> bool {
    use Mnemonic::{Btc, Btr, Bts};
    let register =
        [Operand::r16_reg, Operand::r32_reg, Operand::r64_reg].contains(&code.op_code().op1_kind());
    matches!(code.mnemonic(), Btc | Btr | Bts) && register
}
