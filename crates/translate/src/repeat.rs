//! REP MOVS and REP STOS of bytes and quadwords within one page on each side, in assembly: the kernel's copies and fills.
//!
//! Longer ones, pages that the TLB does not know and overlapping copies are the routine's.

// UNSAFETY: machine code that runs between two guest instructions, with translated code's registers.
#![allow(unsafe_code)]

use crate::layout::{Hot, TLB, TLB_ENTRIES, TLB_MODE_BYTES, TLB_MODES, TlbEntry};
use core::arch::global_asm;
use core::mem::offset_of;

// At entry RCX, R13 and R14 are scratch, all else is the guest's, whose RCX is in R11. RCX is 0 afterwards if it is done.
// The return address lies at RSP, so the bank is 8 further up.
global_asm!(
    ".macro ireko_repeat name, mode, shift, copy",
    ".globl \\name",
    "\\name:",
    "mov [rsp + 8 + {spill}], rax",
    "mov [rsp + 8 + {spill} + 8], rdx",
    "lahf",
    "seto al",
    "mov [rsp + 8 + {spill} + 16], rax",
    "cmp r11, 4096 >> \\shift",
    "ja 9f",
    // RDX: bytes. RAX: the last offset in a page from where they fit.
    "mov rdx, r11",
    "shl edx, \\shift",
    "mov eax, 4096",
    "sub eax, edx",
    "mov ecx, edi",
    "shr ecx, 10",
    "and ecx, ({entries} - 1) * 4",
    "mov r13, rdi",
    "add r13, [rsp + 8 * rcx + 8 + {tlb} + {tlb_mode} * \\mode + {write}]",
    "cmp r13, rax",
    "ja 9f",
    "add r13, [rsp + 8 * rcx + 8 + {tlb} + {tlb_mode} * \\mode + {host}]",
    ".if \\copy",
    "mov ecx, esi",
    "shr ecx, 10",
    "and ecx, ({entries} - 1) * 4",
    "mov r14, rsi",
    "add r14, [rsp + 8 * rcx + 8 + {tlb} + {tlb_mode} * \\mode + {read}]",
    "cmp r14, rax",
    "ja 9f",
    "add r14, [rsp + 8 * rcx + 8 + {tlb} + {tlb_mode} * \\mode + {host}]",
    "mov rax, r13",
    "sub rax, r14",
    "cmp rax, rdx",
    "jb 9f",
    "xchg rsi, r14",
    "xchg rdi, r13",
    // An element is stored once and whole: by the guest's own instruction.
    ".if \\shift",
    "mov ecx, r11d",
    "rep movsq",
    ".else",
    "mov ecx, edx",
    "rep movsb",
    ".endif",
    "lea rsi, [r14 + rdx]",
    "lea rdi, [r13 + rdx]",
    ".else",
    "xchg rdi, r13",
    "mov rax, [rsp + 8 + {spill}]",
    "mov ecx, r11d",
    ".if \\shift",
    "rep stosq",
    ".else",
    "rep stosb",
    ".endif",
    "lea rdi, [r13 + rdx]",
    ".endif",
    "xor r11d, r11d",
    "mov rax, [rsp + 8 + {spill} + 16]",
    "add al, 0x7f",
    "sahf",
    "mov rax, [rsp + 8 + {spill}]",
    "mov rdx, [rsp + 8 + {spill} + 8]",
    "mov ecx, 0",
    "ret",
    "9:",
    "mov rax, [rsp + 8 + {spill} + 16]",
    "add al, 0x7f",
    "sahf",
    "mov rax, [rsp + 8 + {spill}]",
    "mov rdx, [rsp + 8 + {spill} + 8]",
    "mov ecx, 1",
    "ret",
    ".endm",
    ".pushsection .text.ireko_thunks,\"ax\",@progbits",
    "ireko_repeat ireko_movsb_0, 0, 0, 1",
    "ireko_repeat ireko_movsq_0, 0, 3, 1",
    "ireko_repeat ireko_stosb_0, 0, 0, 0",
    "ireko_repeat ireko_stosq_0, 0, 3, 0",
    "ireko_repeat ireko_movsb_1, 1, 0, 1",
    "ireko_repeat ireko_movsq_1, 1, 3, 1",
    "ireko_repeat ireko_stosb_1, 1, 0, 0",
    "ireko_repeat ireko_stosq_1, 1, 3, 0",
    "ireko_repeat ireko_movsb_2, 2, 0, 1",
    "ireko_repeat ireko_movsq_2, 2, 3, 1",
    "ireko_repeat ireko_stosb_2, 2, 0, 0",
    "ireko_repeat ireko_stosq_2, 2, 3, 0",
    ".globl ireko_repeat_routine",
    "ireko_repeat_routine:",
    "mov ecx, 1",
    "ret",
    ".popsection",
    spill = const offset_of!(Hot, spill),
    entries = const TLB_ENTRIES,
    tlb = const TLB,
    tlb_mode = const TLB_MODE_BYTES,
    read = const offset_of!(TlbEntry, read),
    write = const offset_of!(TlbEntry, write),
    host = const offset_of!(TlbEntry, host),
);

type Thunk = unsafe extern "C" fn();

unsafe extern "C" {
    fn ireko_movsb_0();
    fn ireko_movsq_0();
    fn ireko_stosb_0();
    fn ireko_stosq_0();
    fn ireko_movsb_1();
    fn ireko_movsq_1();
    fn ireko_stosb_1();
    fn ireko_stosq_1();
    fn ireko_movsb_2();
    fn ireko_movsq_2();
    fn ireko_stosb_2();
    fn ireko_stosq_2();
    fn ireko_repeat_routine();
}

/// Kinds of thunks: MOVSB, MOVSQ, STOSB, STOSQ.
pub const KINDS: usize = 4;

/// Lets these instructions be done here, or (if not `on`) by their routines.
pub fn prepare(hot: &mut Hot, on: bool) {
    let thunks: [[Thunk; KINDS]; TLB_MODES] = [
        [ireko_movsb_0, ireko_movsq_0, ireko_stosb_0, ireko_stosq_0],
        [ireko_movsb_1, ireko_movsq_1, ireko_stosb_1, ireko_stosq_1],
        [ireko_movsb_2, ireko_movsq_2, ireko_stosb_2, ireko_stosq_2],
    ];
    let routine: Thunk = ireko_repeat_routine;
    let pick = |thunk: Thunk| (if on { thunk } else { routine }) as usize as u64;
    hot.repeat_thunk = thunks.map(|mode| mode.map(pick));
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};

    /// The string instruction of a thunk.
    fn string_instruction(thunk: Thunk) -> Mnemonic {
        // SAFETY: a thunk is longer than that, or others are behind it.
        let bytes = unsafe { std::slice::from_raw_parts(thunk as *const u8, 200) };
        let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
        let repeated = decoder.iter().find(|insn| insn.has_rep_prefix() && insn.is_string_instruction());
        repeated.expect("there is one").mnemonic()
    }

    #[test]
    fn an_element_is_stored_by_the_instruction_of_its_size() {
        let thunks: [(Thunk, Mnemonic); KINDS] = [
            (ireko_movsb_0, Mnemonic::Movsb),
            (ireko_movsq_1, Mnemonic::Movsq),
            (ireko_stosb_2, Mnemonic::Stosb),
            (ireko_stosq_0, Mnemonic::Stosq),
        ];
        for (thunk, mnemonic) in thunks {
            assert_eq!(string_instruction(thunk), mnemonic);
        }
    }
}
