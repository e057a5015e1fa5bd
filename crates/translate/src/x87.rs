//! The guest's x87 pointers: what translated code keeps of each x87 instruction, because the processor's own pointers are of
//! the copy, not of the guest's instruction.

use crate::asm::{Mem, reg};
use crate::block::Emitter;
use crate::ea::{self, Address};
use crate::key::Key;
use crate::layout::{Hot, X87Pointers};
use crate::length::PREFIXES;
use core::mem::offset_of;
use iced_x86::{Code, Instruction, OpKind};

const fn word(field: usize) -> Mem {
    Mem::state(offset_of!(Hot, x87) + field)
}
const PAGE: Mem = word(offset_of!(X87Pointers, page));
const PAGE_HIGH: Mem = word(offset_of!(X87Pointers, page) + 4);
const CODE: Mem = word(offset_of!(X87Pointers, code));
const SEGMENT: Mem = word(offset_of!(X87Pointers, segment));
const DATA: Mem = word(offset_of!(X87Pointers, data));
const IGNORES: Mem = word(offset_of!(X87Pointers, ignores));

/// The 11 bits of an x87 instruction's opcode: of its first byte the low three, and its ModRM byte.
fn opcode(bytes: &[u8], long: bool) -> Option<u32> {
    let prefix = |byte: &u8| PREFIXES.contains(byte) || long && byte & 0xf0 == 0x40;
    let at = bytes.iter().position(|byte| !prefix(byte))?;
    let (first, modrm) = (u32::from(bytes[at]), u32::from(*bytes.get(at + 1)?));
    (first & 0xf8 == 0xd8).then_some((first & 7) << 8 | modrm)
}

/// The pointers are of instructions that compute, not of those that control the unit (APM vol. 1, 6.2.6).
fn controls(code: Code) -> bool {
    use Code::*;
    matches!(
        code,
        Fnclex | Fneni | Fndisi | Fnsetpm | Fldcw_m2byte | Fnstcw_m2byte | Fnstsw_m2byte | Fnstsw_AX
    )
}

impl Emitter<'_> {
    /// Behind the copy of an instruction: keeps its pointers, if it is one of x87. Flags stay; R14 and RCX are lost.
    pub(crate) fn note_x87(&mut self, insn: &Instruction) {
        let start = usize::from(self.current);
        let bytes = &self.request.bytes[start..start + insn.len()];
        let Some(opcode) = opcode(bytes, self.key.has(Key::CODE64)) else { return };
        if matches!(insn.code(), Code::Fninit | Code::Fnclex) {
            self.asm.store_imm64(IGNORES, 0);
        }
        if insn.code() == Code::Fninit {
            return self.clear_x87();
        }
        if controls(insn.code()) {
            return;
        }
        if (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory) {
            if let Address::Constant(value) = ea::offset(self.asm, insn, self.key) {
                self.asm.imm(reg::R14, value);
            }
            self.asm.store(DATA, reg::R14);
            self.asm.store_imm32(SEGMENT, ea::segment(insn) as i32);
        }
        if self.key.relative() {
            self.asm.load(reg::RCX, Mem::state(offset_of!(Hot, page)));
            self.asm.store(PAGE, reg::RCX);
        } else {
            self.place_x87(insn.ip() & !0xfff);
        }
        self.asm.store_imm32(CODE, ((insn.ip() & 0xfff) as u32 | opcode << 12) as i32);
    }

    fn place_x87(&mut self, page: u64) {
        match i32::try_from(page as i64) {
            Ok(page) => self.asm.store_imm64(PAGE, page),
            Err(_) => {
                self.asm.store_imm32(PAGE, page as i32);
                self.asm.store_imm32(PAGE_HIGH, (page >> 32) as i32);
            }
        }
    }

    fn clear_x87(&mut self) {
        for word in [PAGE, CODE, DATA] {
            // CODE and SEGMENT are one quadword.
            self.asm.store_imm64(word, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::opcode;

    #[test]
    fn the_opcode_is_behind_all_prefixes() {
        assert_eq!(opcode(&[0x65, 0x48, 0xdd, 0x04, 0x25, 0, 0, 0, 0], true), Some(0x504));
        assert_eq!(opcode(&[0xd9, 0xe8], false), Some(0x1e8));
    }

    #[test]
    fn in_32_bit_code_there_is_no_rex() {
        assert_eq!(opcode(&[0x48, 0xd9], false), None);
    }

    #[test]
    fn others_have_none() {
        assert_eq!(opcode(&[0x0f, 0xfc, 0xc8], true), None);
    }
}
