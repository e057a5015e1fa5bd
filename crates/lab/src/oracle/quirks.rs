//! Where silicon is freer than the manuals, or differs by model: what is not compared at such an end.

use super::case::Case;
use super::state::Outcome;
use iced_x86::{EncodingKind, FlowControl, Instruction, Mnemonic, Register};

/// What of an outcome counts.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// The ends may differ in kind (the whole case is left alone).
    pub end: bool,
    /// The address in CR2 within its page.
    pub cr2_offset: bool,
    pub x87: bool,
    pub mxcsr: bool,
    pub memory: bool,
}

/// What counts for a case that ended so.
pub fn counts(case: &Case, native: &Outcome) -> Counts {
    let all = Counts { end: true, cr2_offset: true, x87: true, mxcsr: true, memory: true };
    if native.end.vector == 3 {
        return all;
    }
    let Some(piece) = case.pieces.iter().find(|p| p.insn.ip() == native.state.rip) else { return all };
    let insn = &piece.insn;
    Counts {
        // Whether an access with no byte selected faults depends on the model (SDM vol. 2, MASKMOVDQU); and whether a jump
        // to a non-canonical address faults before or after it: Intel's do before, AMD's after; and which operand of CMPS
        // is read first.
        end: !(masked_move(insn) || compares_two(insn) || jumps(insn) && native.end.vector == 13),
        // Which byte of a large or partial operand is reported depends on how the access is split.
        cr2_offset: !(masked_move(insn)
            || large(insn)
            || compares_two(insn)
            || insn.code().encoding() == EncodingKind::EVEX),
        // An MMX instruction may have made its transition of the x87 state before its operand faults.
        x87: !uses_mmx(insn),
        // The conversion may have set its flags before its store faults.
        mxcsr: insn.mnemonic() != Mnemonic::Vcvtps2ph,
        // Ten bytes are two stores, of which one may have happened.
        memory: !matches!(insn.mnemonic(), Mnemonic::Fstp | Mnemonic::Fbstp),
    }
}

fn masked_move(insn: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(
        insn.mnemonic(),
        Maskmovq | Maskmovdqu | Vmaskmovdqu | Vmaskmovps | Vmaskmovpd | Vpmaskmovd | Vpmaskmovq
    )
}

fn jumps(insn: &Instruction) -> bool {
    matches!(
        insn.flow_control(),
        FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Return
    )
}

fn compares_two(insn: &Instruction) -> bool {
    matches!(insn.mnemonic(), Mnemonic::Cmpsb | Mnemonic::Cmpsw | Mnemonic::Cmpsd | Mnemonic::Cmpsq)
        && insn.is_string_instruction()
}

fn large(insn: &Instruction) -> bool {
    insn.is_vsib()
        || insn.memory_size().size() > 10 && insn.code().encoding() == iced_x86::EncodingKind::Legacy
}

fn uses_mmx(insn: &Instruction) -> bool {
    (0..insn.op_count()).any(|n| Register::is_mm(insn.op_register(n)))
}
