//! SYSCALL and SYSRET of 64-bit code, in assembly: what they do to the processor's state, and on to the code that they lead
//! to. Whatever is out of the ordinary (EFER.SCE off, TF or DF in the new flags, an interrupt that waits for IF) is the
//! routine's.
//!
//! Code of another privilege is found in its slot of the bank's jump tables; the tables of one bank are all for the same
//! control registers ([`crate::Key::family`]).

// UNSAFETY: machine code that runs between two blocks, with translated code's registers.
#![allow(unsafe_code)]

use crate::layout::{Hot, JUMP_CODES, JUMP_ROTATE, JUMP_SLOT_BYTES, JUMP_TAGS};
use core::arch::global_asm;
use core::mem::offset_of;
use ireko_x86::bits::{cr4, efer, rflags};
use ireko_x86::descriptor::{ATTR_DPL3, ATTR_FLAT_CODE64, ATTR_FLAT_DATA};
use ireko_x86::regs::seg;
use ireko_x86::{Registers, Segment};

/// The second word of a flat segment, but for the selector: limit and attributes.
const fn flat(attr: u16) -> u64 {
    0xffff_ffff | (attr as u64) << 32
}

const fn segment(index: usize) -> usize {
    offset_of!(Registers, seg) + size_of::<Segment>() * index
}

// Both are jumped to, with Hot::site; RCX, R13 and R14 are scratch, R14 is SYSCALL's return address. See `thunk` for how
// flags are put together.
global_asm!(
    // Arithmetic flags of the flags in RCX, and IF and AC, to where translated code has them. Clobbers RAX.
    ".macro ireko_new_flags",
    "mov [r13 + {rflags}], rcx",
    "mov eax, ecx",
    "and eax, {iflag}",
    "mov [rsp + {interrupt_flag}], rax",
    "mov eax, ecx",
    "and eax, {ac}",
    "mov [rsp + {alignment_check}], rax",
    "mov eax, ecx",
    "shl eax, 8",
    "shr ecx, 11",
    "and ecx, 1",
    "or eax, ecx",
    ".endm",
    // On at R14 in a slot of the jump tables, with the flags from RAX and RAX from where it was put spill.
    ".macro ireko_go slot",
    "add al, 0x7f",
    "sahf",
    "mov rax, [rsp + {spill}]",
    "rorx rcx, r14, {rotate}",
    "lea rcx, [rcx + r14]",
    "pdep rcx, rcx, [rsp + {attention}]",
    "mov r13, [rsp + 8 * rcx + {tags} + {slot_bytes} * \\slot]",
    "lea r13, [r13 + r14]",
    "xchg rcx, r13",
    "jrcxz 7f",
    "call [rsp + {lookup} + 8 * \\slot]",
    "7: jmp [rsp + 8 * r13 + {tags} + {slot_bytes} * \\slot + {codes}]",
    ".endm",
    ".pushsection .text.ireko_thunks,\"ax\",@progbits",
    ".globl ireko_syscall",
    "ireko_syscall:",
    "mov [rsp + {spill}], rax",
    "lahf",
    "seto al",
    "mov [rsp + {spill} + 8], rdx",
    "mov [rsp + {spill} + 16], rax",
    "mov r13, [rsp + {regs}]",
    "test byte ptr [r13 + {efer}], {sce}",
    "jz 9f",
    // RDX: the old flags. RCX: the new ones.
    "movzx ecx, al",
    "shl ecx, 11",
    "movzx eax, ah",
    "and eax, 0xd5",
    "or eax, ecx",
    "mov rdx, [r13 + {rflags}]",
    "and rdx, -0x40ad6",
    "or rdx, rax",
    "or rdx, [rsp + {interrupt_flag}]",
    "or rdx, [rsp + {alignment_check}]",
    "mov rcx, [r13 + {sfmask}]",
    "or ecx, {resume_virtual}",
    "andn rcx, rcx, rdx",
    "test ecx, {trap_down}",
    "jnz 9f",
    "and edx, {not_resume}",
    "mov [rsp + {parked}], rdx",
    "mov r11, r14",
    "mov rdx, [rsp + {spill} + 8]",
    "ireko_new_flags",
    "mov [rsp + {spill} + 16], rax",
    // The code segment's selector has RPL 0, the stack's is the next.
    "movzx ecx, word ptr [r13 + {star} + 4]",
    "add ecx, 8",
    "and ecx, 0xfffc",
    "shl rcx, 48",
    "movabs rax, {flat_data}",
    "or rax, rcx",
    "mov [r13 + {ss} + 8], rax",
    "movzx ecx, word ptr [r13 + {star} + 4]",
    "and ecx, 0xfffc",
    "shl rcx, 48",
    "movabs rax, {flat_code}",
    "or rax, rcx",
    "mov [r13 + {cs} + 8], rax",
    "xor eax, eax",
    "mov [r13 + {cs}], rax",
    "mov [r13 + {ss}], rax",
    "mov [r13 + {cpl}], al",
    "mov r14, [r13 + {lstar}]",
    // Supervisor code with SMAP in force, or without.
    "test dword ptr [r13 + {cr4}], {smap}",
    "mov rax, [rsp + {spill} + 16]",
    "jz 3f",
    "cmp dword ptr [rsp + {alignment_check}], 0",
    "jne 3f",
    "ireko_go 0",
    "3:",
    "ireko_go 1",
    "9:",
    "mov rdx, [rsp + {spill} + 8]",
    "mov rax, [rsp + {spill} + 16]",
    "add al, 0x7f",
    "sahf",
    "mov rax, [rsp + {spill}]",
    "jmp ireko_system_exit",
    ".globl ireko_sysret",
    "ireko_sysret:",
    "mov [rsp + {spill}], rax",
    "lahf",
    "seto al",
    "mov [rsp + {spill} + 16], rax",
    "mov r13, [rsp + {regs}]",
    "test byte ptr [r13 + {efer}], {sce}",
    "jz 9f",
    "mov ecx, [rsp + {parked}]",
    "and ecx, {returned}",
    "or ecx, 2",
    "test ecx, {trap_down_alignment}",
    "jnz 9f",
    "cmp qword ptr [rsp + {nothing_waits}], 0",
    "je 9f",
    "ireko_new_flags",
    "mov [rsp + {spill} + 16], rax",
    "movzx ecx, word ptr [r13 + {star} + 6]",
    "add ecx, 8",
    "or ecx, 3",
    "shl rcx, 48",
    "movabs rax, {flat_user_data}",
    "or rax, rcx",
    "mov [r13 + {ss} + 8], rax",
    "movzx ecx, word ptr [r13 + {star} + 6]",
    "add ecx, 16",
    "or ecx, 3",
    "shl rcx, 48",
    "movabs rax, {flat_user_code}",
    "or rax, rcx",
    "mov [r13 + {cs} + 8], rax",
    "xor eax, eax",
    "mov [r13 + {cs}], rax",
    "mov [r13 + {ss}], rax",
    "mov byte ptr [r13 + {cpl}], 3",
    "mov r14, r11",
    "mov rax, [rsp + {spill} + 16]",
    "ireko_go 2",
    "9:",
    "mov rax, [rsp + {spill} + 16]",
    "add al, 0x7f",
    "sahf",
    "mov rax, [rsp + {spill}]",
    "jmp ireko_system_exit",
    ".popsection",
    spill = const offset_of!(Hot, spill),
    attention = const offset_of!(Hot, attention),
    regs = const offset_of!(Hot, regs),
    parked = const offset_of!(Hot, parked),
    interrupt_flag = const offset_of!(Hot, interrupt_flag),
    alignment_check = const offset_of!(Hot, alignment_check),
    nothing_waits = const offset_of!(Hot, nothing_waits),
    lookup = const offset_of!(Hot, lookup_thunk),
    rotate = const JUMP_ROTATE,
    tags = const JUMP_TAGS,
    slot_bytes = const JUMP_SLOT_BYTES,
    codes = const JUMP_CODES,
    rflags = const offset_of!(Registers, rflags),
    efer = const offset_of!(Registers, efer),
    cr4 = const offset_of!(Registers, cr4),
    star = const offset_of!(Registers, star),
    lstar = const offset_of!(Registers, lstar),
    sfmask = const offset_of!(Registers, sfmask),
    cpl = const offset_of!(Registers, cpl),
    cs = const segment(seg::CS),
    ss = const segment(seg::SS),
    sce = const efer::SCE,
    smap = const cr4::SMAP,
    iflag = const rflags::IF,
    ac = const rflags::AC,
    resume_virtual = const rflags::RF | rflags::VM,
    not_resume = const !(rflags::RF as i32),
    trap_down = const rflags::TF | rflags::DF,
    // Programs whose alignment is checked run under another key.
    trap_down_alignment = const rflags::TF | rflags::DF | rflags::AC,
    returned = const rflags::DEFINED & !(rflags::RF | rflags::VM),
    flat_code = const flat(ATTR_FLAT_CODE64),
    flat_data = const flat(ATTR_FLAT_DATA),
    flat_user_code = const flat(ATTR_FLAT_CODE64 | ATTR_DPL3),
    flat_user_data = const flat(ATTR_FLAT_DATA | ATTR_DPL3),
);

unsafe extern "C" {
    fn ireko_syscall();
    fn ireko_sysret();
    fn ireko_system_exit();
}

/// Lets SYSCALL and SYSRET be done here, or (if not `on`) by their routines.
pub fn prepare(hot: &mut Hot, on: bool) {
    let routine: unsafe extern "C" fn() = ireko_system_exit;
    let pick = |thunk: unsafe extern "C" fn()| (if on { thunk } else { routine }) as usize as u64;
    hot.syscall_thunk = pick(ireko_syscall);
    hot.sysret_thunk = pick(ireko_sysret);
}
