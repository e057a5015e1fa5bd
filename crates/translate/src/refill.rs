//! The second level of the TLB: what misses the first looks here, in assembly, before Rust is asked to walk.
//!
//! Two tables, of 2 MiB and of 4 KiB translations, without ways. An entry is valid if its key is the page and one of the
//! two words that [`Hot::wanted`] has for the mode; so a flush is a change of those words. Whether a page is watched is looked
//! up at each refill: nobody has to find entries of a page that becomes watched.

// UNSAFETY: machine code that runs between translated code and Rust, with translated code's registers.
#![allow(unsafe_code)]

use crate::layout::{
    FILLED, FILLED_MODE_BYTES, HOSTS, HOSTS_MODE_BYTES, Hot, LARGE, LARGE_ENTRIES, OTHER_ENTRY,
    SECOND_READ_ONLY, SKEW_ROTATE, SMALL, SMALL_ENTRIES, SMALL_MIX, TLB, TLB_ENTRIES, TLB_MODE_BYTES,
    TLB_MODES,
};
use core::arch::global_asm;
use core::mem::offset_of;

// At entry: R14 the linear address, RCX 4096 minus the access's size, Hot::site; all else but R13 is the guest's. As
// `ireko_access` it gives the host address in R14, and RCX = 0. The return address lies at RSP, so the bank is 8 further up.
// For a check at the skewed index, which names no site, R14 stays, and RCX is 1 if nothing was filled.
global_asm!(
    ".macro ireko_refill name, mode, write, skewed",
    ".globl \\name",
    "\\name:",
    "mov [rsp + 8 + {spill}], rax",
    "mov [rsp + 8 + {spill} + 8], rdx",
    "lahf",
    "seto al",
    "mov [rsp + 8 + {spill} + 16], rax",
    // An access that crosses into the next page is Rust's.
    "mov eax, r14d",
    "and eax, 4095",
    "cmp eax, ecx",
    "ja 9f",
    // RAX: the entry. RCX: the page's host address. RDX: where its watch byte is.
    "mov rax, r14",
    "shr rax, 21",
    "mov rdx, rax",
    "shl rdx, 21",
    "and eax, {large_entries} - 1",
    "shl eax, 5",
    "lea rax, [rsp + rax + 8 + {large}]",
    "xor rdx, [rax]",
    "cmp rdx, [rsp + 8 + {wanted} + 16 * \\mode]",
    "je 2f",
    "cmp rdx, [rsp + 8 + {wanted} + 16 * \\mode + 8]",
    "je 2f",
    "mov rax, r14",
    "shr rax, 12",
    "mov rdx, rax",
    "shl rdx, 12",
    "mov r13, r14",
    "shr r13, {small_mix}",
    "xor eax, r13d",
    "and eax, {small_entries} - 1",
    "shl eax, 5",
    "lea rax, [rsp + rax + 8 + {small}]",
    "xor rdx, [rax]",
    "cmp rdx, [rsp + 8 + {wanted} + 16 * \\mode]",
    "je 3f",
    "cmp rdx, [rsp + 8 + {wanted} + 16 * \\mode + 8]",
    "jne 9f",
    "3:",
    "mov rcx, [rax + 8]",
    "mov rdx, [rax + 16]",
    "jmp 4f",
    "2:",
    "mov ecx, r14d",
    "and ecx, 0x1ff000",
    "mov edx, ecx",
    "shr edx, 12",
    "add rcx, [rax + 8]",
    "add rdx, [rax + 16]",
    "4:",
    "movzx edx, byte ptr [rdx]",
    "mov eax, [rax + 24]",
    // EDX: not 0 if the page must not be written without a look. R13: the write tag.
    "mov r13, r14",
    "and r13, -4096",
    "neg r13",
    "test eax, {read_only}",
    "setnz ah",
    "or dl, ah",
    ".if \\write",
    "jnz 9f",
    ".endif",
    "and eax, 2",
    "shr eax, 1",
    // The first level's entry.
    "mov [rsp + 8 + {spill} + 24], rax",
    ".if \\skewed",
    "rorx rax, r14, {skew_rotate}",
    "xor rax, r14",
    ".else",
    "mov rax, r14",
    ".endif",
    "shr rax, 12",
    "and eax, {entries} - 1",
    "bts [rsp + 8 + {filled} + {filled_mode} * \\mode], rax",
    "mov [rsp + rax * 4 + 8 + {hosts} + {hosts_mode} * \\mode], ecx",
    "shl eax, 5",
    "lea rax, [rsp + rax + 8 + {tlb} + {tlb_mode} * \\mode]",
    "mov [rax], r13",
    "mov [rax + 8], rcx",
    ".if \\write",
    ".else",
    // No writing: the tag of a page that is looked up at another entry ([`crate::layout::tlb_no_tag`]), from the entry's offset.
    "test dl, dl",
    "jz 5f",
    "lea r13, [rsp + 8 + {tlb} + {tlb_mode} * \\mode]",
    "neg r13",
    "add r13, rax",
    "shl r13, 7",
    "xor r13, {other_entry}",
    "neg r13",
    "5:",
    ".endif",
    "mov [rax + 16], r13",
    "mov rdx, [rsp + 8 + {spill} + 24]",
    "mov [rax + 24], rdx",
    ".if \\skewed",
    ".else",
    "and r14d, 4095",
    "add r14, rcx",
    ".endif",
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
    ".if \\skewed",
    "mov ecx, 1",
    "ret",
    ".else",
    "jmp [rsp + 8 + {access_thunk}]",
    ".endif",
    ".endm",
    ".pushsection .text.ireko_thunks,\"ax\",@progbits",
    "ireko_refill ireko_refill_0_read, 0, 0, 0",
    "ireko_refill ireko_refill_0_write, 0, 1, 0",
    "ireko_refill ireko_refill_1_read, 1, 0, 0",
    "ireko_refill ireko_refill_1_write, 1, 1, 0",
    "ireko_refill ireko_refill_2_read, 2, 0, 0",
    "ireko_refill ireko_refill_2_write, 2, 1, 0",
    "ireko_refill ireko_skewed_0_read, 0, 0, 1",
    "ireko_refill ireko_skewed_0_write, 0, 1, 1",
    "ireko_refill ireko_skewed_1_read, 1, 0, 1",
    "ireko_refill ireko_skewed_1_write, 1, 1, 1",
    "ireko_refill ireko_skewed_2_read, 2, 0, 1",
    "ireko_refill ireko_skewed_2_write, 2, 1, 1",
    ".globl ireko_skewed_none",
    "ireko_skewed_none:",
    "mov ecx, 1",
    "ret",
    ".popsection",
    spill = const offset_of!(Hot, spill),
    wanted = const offset_of!(Hot, wanted),
    access_thunk = const offset_of!(Hot, access_thunk),
    large = const LARGE,
    large_entries = const LARGE_ENTRIES,
    small = const SMALL,
    small_entries = const SMALL_ENTRIES,
    small_mix = const SMALL_MIX,
    read_only = const SECOND_READ_ONLY,
    entries = const TLB_ENTRIES,
    filled = const FILLED,
    filled_mode = const FILLED_MODE_BYTES,
    hosts = const HOSTS,
    hosts_mode = const HOSTS_MODE_BYTES,
    tlb = const TLB,
    tlb_mode = const TLB_MODE_BYTES,
    other_entry = const OTHER_ENTRY,
    skew_rotate = const SKEW_ROTATE,
);

type Thunk = unsafe extern "C" fn();

unsafe extern "C" {
    fn ireko_refill_0_read();
    fn ireko_refill_0_write();
    fn ireko_refill_1_read();
    fn ireko_refill_1_write();
    fn ireko_refill_2_read();
    fn ireko_refill_2_write();
    fn ireko_skewed_0_read();
    fn ireko_skewed_0_write();
    fn ireko_skewed_1_read();
    fn ireko_skewed_1_write();
    fn ireko_skewed_2_read();
    fn ireko_skewed_2_write();
    fn ireko_skewed_none();
}

/// Lets misses look at the second level first, or (if not `on`) go to Rust at once; those of unrolled loops then fail.
pub fn prepare(hot: &mut Hot, on: bool) {
    let refill: [[Thunk; 2]; TLB_MODES] = [
        [ireko_refill_0_read, ireko_refill_0_write],
        [ireko_refill_1_read, ireko_refill_1_write],
        [ireko_refill_2_read, ireko_refill_2_write],
    ];
    let skewed: [[Thunk; 2]; TLB_MODES] = [
        [ireko_skewed_0_read, ireko_skewed_0_write],
        [ireko_skewed_1_read, ireko_skewed_1_write],
        [ireko_skewed_2_read, ireko_skewed_2_write],
    ];
    let access = hot.access_thunk;
    let or = |thunk: Thunk, off: u64| if on { thunk as usize as u64 } else { off };
    hot.miss_thunk = refill.map(|mode| mode.map(|thunk| or(thunk, access)));
    hot.skewed_thunk = skewed.map(|mode| mode.map(|thunk| or(thunk, ireko_skewed_none as *const () as u64)));
}
