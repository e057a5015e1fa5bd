//! XSAVEC, XSAVES (the same without supervisor components), XRSTOR and XRSTORS of 64-bit code straight between the registers, where the guest's state is, and guest memory.
//! PKRU, which is not in a register of the host's, is added to what XSAVEC writes; what loads it is the routine's.
//!
//! Only in the ordinary case: one page that the TLB knows, aligned, and for XRSTOR a header and MXCSR that cannot fault and name
//! no component that guests do not have. Everything else is the routine's.

// UNSAFETY: machine code that runs between two guest instructions, with translated code's registers.
#![allow(unsafe_code)]

use crate::layout::{Hot, TLB, TLB_ENTRIES, TLB_MODE_BYTES, TLB_MODES, TlbEntry, X87Pointers};
use core::arch::global_asm;
use core::mem::offset_of;
use ireko_x86::Registers;

/// Bytes of an area with x87, SSE and AVX, in either form, and PKRU in the compacted one; and what AVX-512 adds.
const AREA: u64 = 832 + 8;
const AREA_512: u64 = 64 + 512 + 1024;
/// XCR0's bit of PKRU.
const PKRU: u64 = 1 << 9;
/// x87, SSE and AVX: what every guest has, and host code leaves in registers.
pub const BASE: u64 = 7;
/// Opmask, ZMM_Hi256 and Hi16_ZMM: the same where both host and guest have AVX-512.
pub const AVX512: u64 = 0xe0;
/// Save, restore, and restore of the compacted form only.
pub const KINDS: usize = 3;

// At entry: R14 the linear address; RCX and R13 are scratch, all else is the guest's. RCX is 0 afterwards if it is done.
// The return address lies at RSP, so the bank is 8 further up.
global_asm!(
    ".macro ireko_state name, mode, restore",
    ".globl \\name",
    "\\name:",
    "mov [rsp + 8 + {spill}], rax",
    "mov [rsp + 8 + {spill} + 8], rdx",
    "lahf",
    "seto al",
    "mov [rsp + 8 + {spill} + 16], rax",
    "test r14b, 63",
    "jnz 9f",
    "mov ecx, r14d",
    "shr ecx, 10",
    "and ecx, ({entries} - 1) * 4",
    "mov r13, r14",
    ".if \\restore",
    "add r13, [rsp + 8 * rcx + 8 + {tlb} + {tlb_mode} * \\mode + {read}]",
    ".else",
    "add r13, [rsp + 8 * rcx + 8 + {tlb} + {tlb_mode} * \\mode + {write}]",
    ".endif",
    "cmp r13, [rsp + 8 + {room}]",
    "ja 9f",
    "add r13, [rsp + 8 * rcx + 8 + {tlb} + {tlb_mode} * \\mode + {host}]",
    // x87 pointers are kept by software (see crate::x87). While no exception is pending those in memory are 0 (APM vol. 2,
    // 11.5.10): that is all that is done here.
    "test byte ptr [rsp + 8 + {spill}], 1",
    "jz 3f",
    ".if \\restore",
    "test byte ptr [r13 + 512], 1",
    "jz 3f",
    "movzx ecx, word ptr [r13 + 6]",
    "or rcx, [r13 + 8]",
    "or rcx, [r13 + 16]",
    "jnz 9f",
    ".else",
    "fnstsw ax",
    "test al, 0x80",
    "jnz 9f",
    ".endif",
    "3:",
    ".if \\restore",
    "mov eax, [rsp + 8 + {spill}]",
    "and eax, [rsp + 8 + {xcr0}]",
    "test eax, {pkru_bit}",
    "jnz 9f",
    "mov rax, [r13 + 512]",
    "mov rdx, [r13 + 520]",
    // XRSTORS takes the compacted form only.
    ".if \\restore == 2",
    "test rdx, rdx",
    "jz 9f",
    ".endif",
    "test [rsp + 8 + {foreign}], rax",
    "jnz 9f",
    "mov rcx, [r13 + 528]",
    "test rdx, rdx",
    "jz 6f",
    "btr rdx, 63",
    "jnc 9f",
    "test [rsp + 8 + {foreign}], rdx",
    "jnz 9f",
    "andn rax, rdx, rax",
    "or rcx, rax",
    "or rcx, [r13 + 536]",
    "or rcx, [r13 + 544]",
    "or rcx, [r13 + 552]",
    "or rcx, [r13 + 560]",
    "or rcx, [r13 + 568]",
    "jmp 2f",
    "6:",
    "mov eax, [rsp + 8 + {spill}]",
    "test [rsp + 8 + {moved}], eax",
    "jnz 9f",
    "2:",
    "test rcx, rcx",
    "jnz 9f",
    "test dword ptr [r13 + 24], 0xffff0000",
    "jnz 9f",
    ".endif",
    "mov eax, [rsp + 8 + {spill}]",
    "and eax, [rsp + 8 + {components}]",
    "xor edx, edx",
    ".if \\restore",
    "xrstor64 [r13]",
    "test al, 1",
    "jz 4f",
    "mov [rsp + 8 + {x87}], rdx",
    "mov [rsp + 8 + {x87} + 8], rdx",
    "mov [rsp + 8 + {x87} + 16], rdx",
    ".else",
    "xsavec64 [r13]",
    "test byte ptr [r13 + 512], 1",
    "jz 4f",
    "mov [r13 + 6], dx",
    "mov [r13 + 8], rdx",
    "mov [r13 + 16], rdx",
    ".endif",
    "4:",
    // RFBM's PKRU: it is in XCOMP_BV, and if it is not in its initial state, which is 0, saved behind the others.
    ".if \\restore == 0",
    "mov ecx, [rsp + 8 + {spill}]",
    "and ecx, [rsp + 8 + {xcr0}]",
    "and ecx, {pkru_bit}",
    "jz 5f",
    "or [r13 + 520], rcx",
    "mov rdx, [rsp + 8 + {regs}]",
    "mov edx, [rdx + {pkru}]",
    "test edx, edx",
    "jz 5f",
    "or [r13 + 512], rcx",
    // Behind AVX (256 bytes), the mask registers (64), and the rest of AVX-512 (512 and 1024), as far as they are asked for.
    "mov r14d, eax",
    "and r14d, 4",
    "shl r14d, 6",
    "add r13, r14",
    "mov r14d, eax",
    "and r14d, 0x20",
    "shl r14d, 1",
    "add r13, r14",
    "and eax, 0xc0",
    "shl eax, 3",
    "mov [r13 + rax + 576], rdx",
    "5:",
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
    "mov ecx, 1",
    "ret",
    ".endm",
    ".pushsection .text.ireko_thunks,\"ax\",@progbits",
    "ireko_state ireko_state_0_save, 0, 0",
    "ireko_state ireko_state_0_restore, 0, 1",
    "ireko_state ireko_state_0_compacted, 0, 2",
    "ireko_state ireko_state_1_save, 1, 0",
    "ireko_state ireko_state_1_restore, 1, 1",
    "ireko_state ireko_state_1_compacted, 1, 2",
    "ireko_state ireko_state_2_save, 2, 0",
    "ireko_state ireko_state_2_restore, 2, 1",
    "ireko_state ireko_state_2_compacted, 2, 2",
    ".globl ireko_state_routine",
    "ireko_state_routine:",
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
    room = const offset_of!(Hot, state_room),
    components = const offset_of!(Hot, guest_components),
    moved = const offset_of!(Hot, moved_components),
    x87 = const offset_of!(Hot, x87),
    foreign = const offset_of!(Hot, foreign_components),
    xcr0 = const offset_of!(Hot, xcr0),
    regs = const offset_of!(Hot, regs),
    pkru = const offset_of!(Registers, pkru),
    pkru_bit = const PKRU,
);

const _: () = assert!(offset_of!(X87Pointers, data) == 16);

unsafe extern "C" {
    fn ireko_state_0_save();
    fn ireko_state_0_restore();
    fn ireko_state_0_compacted();
    fn ireko_state_1_save();
    fn ireko_state_1_restore();
    fn ireko_state_1_compacted();
    fn ireko_state_2_save();
    fn ireko_state_2_restore();
    fn ireko_state_2_compacted();
    fn ireko_state_routine();
}

/// Which components there are, as bits of XCR0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Components {
    /// The guest's XCR0 and the host's.
    pub guest: u64,
    pub host: u64,
    /// Those in the host's registers while translated code runs: [`BASE`], with [`AVX512`] where the guest can have it on.
    pub held: u64,
    /// Those that the host's areas in standard form have elsewhere than the guest's.
    pub moved: u64,
}

/// Tells which there are. An image that names other components than both have is not loaded here.
pub fn components(hot: &mut Hot, which: &Components) {
    hot.xcr0 = which.guest;
    hot.foreign_components = !(which.guest & which.host & (which.held | PKRU));
    hot.components = which.held;
    hot.guest_components = which.held & which.guest;
    hot.moved_components = which.moved & which.held;
    hot.state_room = 4096 - AREA - if which.held & which.guest & AVX512 != 0 { AREA_512 } else { 0 };
}

/// Lets XSAVEC and XRSTOR be done here, or (if not `on`) by their routines. The host must have XSAVEC.
pub fn prepare(hot: &mut Hot, on: bool) {
    let routine: unsafe extern "C" fn() = ireko_state_routine;
    let thunks: [[unsafe extern "C" fn(); KINDS]; TLB_MODES] = [
        [ireko_state_0_save, ireko_state_0_restore, ireko_state_0_compacted],
        [ireko_state_1_save, ireko_state_1_restore, ireko_state_1_compacted],
        [ireko_state_2_save, ireko_state_2_restore, ireko_state_2_compacted],
    ];
    let pick = |thunk: unsafe extern "C" fn()| (if on { thunk } else { routine }) as usize as u64;
    hot.state_thunk = thunks.map(|mode| mode.map(pick));
}
