//! Which arithmetic flags matter where.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// OF SF ZF AF CF PF as iced numbers them.
pub const ALL: u8 = 0x3f;
pub const OF: u8 = 1;

/// What one instruction does to the arithmetic flags.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effect {
    pub reads: u8,
    /// Written for certain.
    pub writes: u8,
}

pub fn effect(insn: &Instruction) -> Effect {
    let reads = insn.rflags_read() as u8 & ALL;
    let may_skip = insn.has_rep_prefix() || insn.has_repne_prefix() || shifts_by_cl(insn);
    let writes = if may_skip { 0 } else { insn.rflags_modified() as u8 & ALL };
    Effect { reads, writes }
}

/// A shift by CL leaves the flags alone if CL is 0.
pub fn shifts_by_cl(insn: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(insn.mnemonic(), Rol | Ror | Rcl | Rcr | Shl | Sal | Shr | Sar | Shld | Shrd)
        && insn.op_count() > 0
        && insn.op_kind(insn.op_count() - 1) == OpKind::Register
        && insn.op_register(insn.op_count() - 1) == Register::CL
}

/// Flags that code at `bytes` may read before it writes them, looking a few instructions ahead; and how many bytes were looked at.
pub fn needed_at(bytes: &[u8], bitness: u32, ip: u64) -> (u8, usize) {
    let mut decoder = iced_x86::Decoder::with_ip(bitness, bytes, ip, crate::block::DECODER_OPTIONS);
    let (mut needed, mut written) = (0, 0);
    for _ in 0..10 {
        let insn = decoder.decode();
        if insn.is_invalid() || insn.flow_control() != iced_x86::FlowControl::Next || insn.is_privileged() {
            // A conditional branch reads its own; whatever is not written yet may be read where it leads.
            break;
        }
        if insn.mnemonic() == Mnemonic::Pushfq || insn.mnemonic() == Mnemonic::Pushfd {
            break;
        }
        let effect = effect(&insn);
        needed |= effect.reads & !written;
        written |= effect.writes;
        if written | needed == ALL {
            return (needed, decoder.position());
        }
    }
    (needed | !written & ALL, decoder.position())
}
