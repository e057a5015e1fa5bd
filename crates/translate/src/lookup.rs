//! The second level of the jump tables: what the bank's table does not know is looked up here, in assembly, before
//! Rust is asked.
//!
//! One table for all banks, in buckets of two. An entry's number says whose it is: a bank's, or (code of global pages)
//! that of all banks of a world. So forgetting is taking a new number, and a new process finds the kernel's code known.
//! Programs' code, which is the same wherever its page is, has entries by physical address: where a bank knows what page was
//! fetched, all that any process has run of it is found.

// UNSAFETY: machine code that runs between two blocks, with translated code's registers.
#![allow(unsafe_code)]

use crate::layout::{
    FETCH, FETCH_BYTES, FETCH_ENTRIES, Hot, JUMP_CODES, JUMP_ENTRIES, JUMP_FILLED, JUMP_FILLED_BYTES,
    JUMP_HASH, JUMP_ROTATE, JUMP_SLOT_BYTES, JUMP_SLOTS, JUMP_TAGS, USER_SLOT,
};
use core::arch::global_asm;
use core::mem::offset_of;

// At entry: R14 the guest address; RCX and R13 are scratch, all else is the guest's. Goes on at its code, which the bank's
// table then knows, or leaves. Never returns to where it was called from, which is kept in Hot::back.
global_asm!(
    // On at 3 if the table has an address under a number that is valid now (the bank's, that of all); RCX is its entry. Clobbers EAX.
    ".macro ireko_find address, slot, own, all",
    "imul rcx, \\address, {hash}",
    "shr rcx, 32",
    "and rcx, [rsp + {buckets}]",
    "shl ecx, 5",
    "add rcx, [rsp + {cache}]",
    "cmp \\address, [rcx]",
    "jne 2f",
    "ireko_valid \\slot, \\own, \\all",
    "2:",
    "add rcx, 16",
    "cmp \\address, [rcx]",
    "jne 2f",
    "ireko_valid \\slot, \\own, \\all",
    "2:",
    ".endm",
    ".macro ireko_valid slot, own, all",
    "mov eax, [rcx + 8]",
    ".if \\own",
    "cmp eax, [rsp + {ids} + 8 * \\slot]",
    "je 3f",
    ".endif",
    ".if \\all",
    "cmp eax, [rsp + {ids} + 8 * \\slot + 4]",
    "je 3f",
    ".endif",
    ".endm",
    ".macro ireko_lookup name, slot",
    ".globl \\name",
    "\\name:",
    "pop qword ptr [rsp + {back}]",
    "mov [rsp + {spill}], rax",
    "lahf",
    "seto al",
    "mov [rsp + {spill} + 16], rax",
    "cmp qword ptr [rsp + {attention}], 0",
    "je 9f",
    ".if \\slot == {user}",
    "mov rcx, r14",
    "shr rcx, 12",
    "and ecx, {fetch_entries} - 1",
    "shl ecx, 4",
    "mov rax, r14",
    "and rax, -4096",
    "or rax, 1",
    "cmp rax, [rsp + rcx + {fetch}]",
    "jne 5f",
    // R13: the physical address.
    "mov r13, [rsp + rcx + {fetch} + 8]",
    "and r13, -4096",
    "mov eax, r14d",
    "and eax, 4095",
    "or r13, rax",
    "ireko_find r13, \\slot, 0, 1",
    "5:",
    "ireko_find r14, \\slot, 1, 0",
    ".else",
    "ireko_find r14, \\slot, 1, 1",
    ".endif",
    "9:",
    "mov rax, [rsp + {spill} + 16]",
    "add al, 0x7f",
    "sahf",
    "mov rax, [rsp + {spill}]",
    "jmp ireko_lookup_out",
    "3:",
    "mov r13d, [rcx + 12]",
    "add r13, [rsp + {base}]",
    "rorx rcx, r14, {rotate}",
    "add rcx, r14",
    // Entry 0 stays empty.
    "and ecx, {entries} - 1",
    "jz 6f",
    "bts [rsp + {filled} + {filled_bytes} * \\slot], rcx",
    "mov rax, r14",
    "neg rax",
    "shl ecx, 4",
    "mov [rsp + rcx + {tags} + {slot_bytes} * \\slot], rax",
    "mov [rsp + rcx + {tags} + {slot_bytes} * \\slot + {codes}], r13",
    "6:",
    "mov rax, [rsp + {spill} + 16]",
    "add al, 0x7f",
    "sahf",
    "mov rax, [rsp + {spill}]",
    "jmp r13",
    ".endm",
    ".pushsection .text.ireko_thunks,\"ax\",@progbits",
    "ireko_lookup ireko_lookup_0, 0",
    "ireko_lookup ireko_lookup_1, 1",
    "ireko_lookup ireko_lookup_2, 2",
    ".globl ireko_lookup_miss",
    "ireko_lookup_miss:",
    "pop qword ptr [rsp + {back}]",
    "ireko_lookup_out:",
    "mov [rsp + {rip}], r14",
    "mov qword ptr [rsp + {reason}], 1",
    "jmp ireko_leave",
    ".globl ireko_lookup_nowhere",
    "ireko_lookup_nowhere:",
    "mov qword ptr [rsp + {back}], 0",
    "jmp ireko_lookup_out",
    ".globl ireko_lookup_attention",
    "ireko_lookup_attention:",
    "pop qword ptr [rsp + {back}]",
    "mov [rsp + {rip}], r14",
    "mov qword ptr [rsp + {reason}], 6",
    "jmp ireko_leave",
    ".popsection",
    back = const offset_of!(Hot, back),
    spill = const offset_of!(Hot, spill),
    attention = const offset_of!(Hot, attention),
    cache = const offset_of!(Hot, jump_cache),
    ids = const offset_of!(Hot, jump_ids),
    base = const offset_of!(Hot, code_base),
    rip = const offset_of!(Hot, rip),
    reason = const offset_of!(Hot, reason),
    hash = const JUMP_HASH,
    user = const USER_SLOT,
    fetch = const FETCH + FETCH_BYTES,
    fetch_entries = const FETCH_ENTRIES,
    buckets = const offset_of!(Hot, jump_buckets),
    entries = const JUMP_ENTRIES,
    rotate = const JUMP_ROTATE,
    filled = const JUMP_FILLED,
    filled_bytes = const JUMP_FILLED_BYTES,
    tags = const JUMP_TAGS,
    slot_bytes = const JUMP_SLOT_BYTES,
    codes = const JUMP_CODES,
);

unsafe extern "C" {
    fn ireko_lookup_0();
    fn ireko_lookup_1();
    fn ireko_lookup_2();
    fn ireko_lookup_miss();
    fn ireko_lookup_nowhere();
    fn ireko_lookup_attention();
}

/// Where an empty entry of a jump table leads: leaves for the address in R14, as if it had not been found.
pub fn nowhere() -> u64 {
    ireko_lookup_nowhere as *const () as u64
}

/// Lets jumps that the bank's table does not know look at the second level, or (if not `on`) leave. What the last slot is
/// for has no second level.
pub fn prepare(hot: &mut Hot, on: bool) {
    let out: unsafe extern "C" fn() = ireko_lookup_miss;
    let thunks: [unsafe extern "C" fn(); JUMP_SLOTS] =
        if on { [ireko_lookup_0, ireko_lookup_1, ireko_lookup_2, out] } else { [out; JUMP_SLOTS] };
    hot.attention_thunk = ireko_lookup_attention as *const () as u64;
    hot.lookup_thunk = thunks.map(|thunk| thunk as usize as u64);
}
