//! User-level instructions that translated code cannot copy: string, port, BCD, stack and branch instructions outside
//! the fast path, accesses with element-wise faults, and the XSAVE family. One routine each, found by [`routine`].

pub mod branch;
pub mod bulk;
pub mod flags;
pub mod gather;
pub mod io;
pub mod legacy;
pub mod masked;
pub mod misc;
pub mod mxcsr;
pub mod opmask;
pub mod repeat;
pub mod scatter;
pub mod sse4a;
pub mod stack;
pub mod string;
pub mod vector;
pub mod x87;
pub mod xsave;
pub mod xsave_area;

use crate::routine::Routine;
use iced_x86::{Code, EncodingKind, Mnemonic};

/// The routine of a user-level instruction; `None` for what runs natively or belongs to the system level.
pub fn routine(code: Code) -> Option<Routine> {
    match code.encoding() {
        EncodingKind::EVEX => return scatter::routine(code.mnemonic()),
        EncodingKind::MVEX => return None,
        _ => {}
    }
    by_code(code)
        .or_else(|| sse4a::routine(code))
        .or_else(|| by_mnemonic(code.mnemonic()))
        .or_else(|| code.is_jcc_short_or_near().then_some(branch::jcc as Routine))
}

/// Where the mnemonic is shared with another instruction.
fn by_code(code: Code) -> Option<Routine> {
    use Code::*;
    Some(match code {
        Movsb_m8_m8 | Movsw_m16_m16 | Movsd_m32_m32 | Movsq_m64_m64 => string::movs,
        Cmpsb_m8_m8 | Cmpsw_m16_m16 | Cmpsd_m32_m32 | Cmpsq_m64_m64 => string::cmps,
        Call_rel16 | Call_rel32_32 | Call_rel32_64 | Call_rm16 | Call_rm32 | Call_rm64 => branch::call,
        Jmp_rel8_16 | Jmp_rel8_32 | Jmp_rel8_64 | Jmp_rel16 | Jmp_rel32_32 | Jmp_rel32_64 => branch::jmp,
        Jmp_rm16 | Jmp_rm32 | Jmp_rm64 => branch::jmp,
        Push_r16 | Push_r32 | Push_r64 | Push_rm16 | Push_rm32 | Push_rm64 => stack::push,
        Push_imm16 | Pushd_imm32 | Pushq_imm32 | Pushw_imm8 | Pushd_imm8 | Pushq_imm8 => stack::push,
        Pushw_ES | Pushd_ES | Pushw_CS | Pushd_CS | Pushw_SS | Pushd_SS | Pushw_DS | Pushd_DS => {
            stack::push_segment
        }
        Pushw_FS | Pushd_FS | Pushq_FS | Pushw_GS | Pushd_GS | Pushq_GS => stack::push_segment,
        Pop_r16 | Pop_r32 | Pop_r64 | Pop_rm16 | Pop_rm32 | Pop_rm64 => stack::pop,
        _ => return None,
    })
}

fn by_mnemonic(mnemonic: Mnemonic) -> Option<Routine> {
    use Mnemonic::*;
    Some(match mnemonic {
        Stosb | Stosw | Stosd | Stosq => string::stos,
        Lodsb | Lodsw | Lodsd | Lodsq => string::lods,
        Scasb | Scasw | Scasd | Scasq => string::scas,
        In => io::r#in,
        Out => io::out,
        Insb | Insw | Insd => io::ins,
        Outsb | Outsw | Outsd => io::outs,
        Ret => branch::ret,
        Loop | Loope | Loopne => branch::r#loop,
        Jcxz | Jecxz | Jrcxz => branch::jcxz,
        Pusha | Pushad => stack::pusha,
        Popa | Popad => stack::popa,
        Enter => stack::enter,
        Leave => stack::leave,
        Aaa => legacy::aaa,
        Aas => legacy::aas,
        Aam => legacy::aam,
        Aad => legacy::aad,
        Daa => legacy::daa,
        Das => legacy::das,
        Bound => legacy::bound,
        Salc => legacy::salc,
        Xlatb => legacy::xlat,
        Vgatherdps | Vgatherdpd | Vgatherqps | Vgatherqpd => gather::gather,
        Vpgatherdd | Vpgatherdq | Vpgatherqd | Vpgatherqq => gather::gather,
        Vmaskmovps | Vmaskmovpd | Vpmaskmovd | Vpmaskmovq => masked::vmaskmov,
        Maskmovdqu | Vmaskmovdqu => masked::maskmovdqu,
        Maskmovq => masked::maskmovq,
        Xsave | Xsave64 => xsave::xsave,
        Xsaveopt | Xsaveopt64 => xsave::xsaveopt,
        Xsavec | Xsavec64 => xsave::xsavec,
        Xsaves | Xsaves64 => xsave::xsaves,
        Xrstor | Xrstor64 => xsave::xrstor,
        Xrstors | Xrstors64 => xsave::xrstors,
        Fnstenv => x87::fnstenv,
        Fldenv => x87::fldenv,
        Fnsave => x87::fnsave,
        Frstor => x87::frstor,
        Fxsave | Fxsave64 => xsave::fxsave,
        Fxrstor | Fxrstor64 => xsave::fxrstor,
        Clflush | Clflushopt | Clwb => misc::cache_line,
        Clzero => misc::clear_line,
        Cldemote | Prefetch | Prefetchw | Prefetchwt1 => misc::hint,
        Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2 => misc::hint,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
