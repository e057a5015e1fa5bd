//! One case: a string of instructions, the state and memory that it starts from, and what of the result counts.

use super::arena;
use super::state::ArchitecturalState;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// One instruction of the string.
#[derive(Clone)]
pub struct Piece {
    pub insn: Instruction,
    pub bytes: Vec<u8>,
    /// Only prepares the next one (a pointer, a count).
    pub prelude: bool,
}

#[derive(Clone)]
pub struct Case {
    pub seed: u64,
    /// 64 or 32.
    pub bits: u32,
    pub pieces: Vec<Piece>,
    pub start: ArchitecturalState,
    /// The arena without the string.
    pub memory: Vec<u8>,
}

/// What ends a string.
pub const INT3: u8 = 0xcc;

impl Case {
    /// The arena with the string and INT3 behind it.
    pub fn image(&self) -> Vec<u8> {
        let mut image = self.memory.clone();
        let mut at = arena::offset(self.start.rip).unwrap_or(0);
        for piece in &self.pieces {
            image[at..at + piece.bytes.len()].copy_from_slice(&piece.bytes);
            at += piece.bytes.len();
        }
        image[at..at + 16].fill(INT3);
        image
    }

    /// Flags (as RFLAGS has them) whose values do not count if the string ended at `rip`.
    pub fn undefined_at(&self, rip: u64) -> u64 {
        let (mut ip, mut undefined, mut branched) = (self.start.rip, 0, false);
        for piece in &self.pieces {
            if rip <= ip {
                break;
            }
            let insn = &piece.insn;
            let certain = !branched && !may_skip(insn);
            let written = insn.rflags_modified() & !insn.rflags_undefined();
            undefined = (if certain { undefined & !written } else { undefined }) | insn.rflags_undefined();
            branched |= insn.flow_control() != iced_x86::FlowControl::Next;
            ip += piece.bytes.len() as u64;
        }
        rflags(undefined)
    }
}

impl Case {
    /// The instruction at `rip` is a string instruction.
    pub fn in_string_instruction(&self, rip: u64) -> bool {
        self.pieces.iter().any(|p| p.insn.ip() == rip && p.insn.is_string_instruction())
    }

    /// The string itself was overwritten: when a processor notices that within an instruction is its own affair.
    pub fn overwritten(&self, memory: &[u8]) -> bool {
        let at = arena::offset(self.start.rip).unwrap_or(0);
        let length: usize = self.pieces.iter().map(|p| p.bytes.len()).sum();
        memory[at..at + length + 1] != self.image()[at..at + length + 1]
    }

    /// No instruction reads a flag that an earlier one left undefined.
    pub fn is_defined(&self) -> bool {
        self.pieces.iter().all(|p| rflags(p.insn.rflags_read()) & self.undefined_at(p.insn.ip()) == 0)
    }

    /// Flags that the code from `rip` on writes before it reads them: the fast path need not have them at a fault.
    pub fn dead_at(&self, rip: u64) -> u64 {
        let (mut read, mut written) = (0, 0);
        for piece in self.pieces.iter().filter(|p| p.insn.ip() >= rip) {
            let insn = &piece.insn;
            read |= insn.rflags_read() & !written;
            if insn.flow_control() != iced_x86::FlowControl::Next {
                // Both ways would have to be followed.
                return u64::MAX;
            }
            written |= if may_skip(insn) { 0 } else { insn.rflags_modified() };
        }
        rflags(written & !read)
    }
}

/// An instruction that may leave flags alone which it otherwise writes.
pub fn may_skip(insn: &Instruction) -> bool {
    use Mnemonic::*;
    let last = insn.op_count().wrapping_sub(1);
    let by_cl = insn.op_count() > 0
        && insn.op_kind(last) == OpKind::Register
        && insn.op_register(last) == Register::CL;
    let shift = matches!(insn.mnemonic(), Rol | Ror | Rcl | Rcr | Shl | Sal | Shr | Sar | Shld | Shrd);
    insn.has_rep_prefix() || insn.has_repne_prefix() || shift && by_cl
}

/// Flags as iced numbers them, as RFLAGS has them.
fn rflags(bits: u32) -> u64 {
    const MAP: [(u32, u64); 6] = [(1, 0x800), (2, 0x80), (4, 0x40), (8, 0x10), (16, 1), (32, 4)];
    MAP.iter().filter(|m| bits & m.0 != 0).map(|m| m.1).sum()
}
