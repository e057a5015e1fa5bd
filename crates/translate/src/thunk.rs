//! The passages between Rust and translated code.
//!
//! `enter` leaves Rust's stack for the bank; the thunks go back to Rust for one routine and return, or leave.
//! While Rust runs, the XMM registers and MXCSR lie in the XSAVE area; x87, the upper halves of YMM and what AVX-512 adds stay
//! where they are, in the host's registers, until [`save_rest`] or the word [`IN_MEMORY`] says otherwise: Rust code leaves them
//! alone.

// UNSAFETY: this is machine code that changes stacks and all registers; nothing else can do that.
#![allow(unsafe_code)]

use crate::layout::Hot;
use core::arch::global_asm;
use core::mem::offset_of;

/// Offset of a word behind the XSAVE area: not 0 if all state is in the area and none in registers.
pub const IN_MEMORY: usize = 4088;

/// Why translated code left, in [`Hot::reason`].
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A direct jump that is not linked yet: link in `Hot::site`.
    Link = 0,
    /// A jump that the jump table does not know: target in `Hot::rip`, host address behind the jump in `Hot::back`.
    Lookup = 1,
    /// `Hot::attention` was 0: target in `Hot::rip`.
    Attention = 2,
    /// A Rust routine said so and has set the processor's state.
    Routine = 3,
    /// A host signal at the host address in `Hot::rip`, signal number in `Hot::site`.
    Signal = 4,
    /// As `Link`, but to the block without shared checks.
    Ungrouped = 5,
    /// As `Attention`, from an indirect jump; as with `Lookup`, `Hot::back` is where from.
    IndirectAttention = 6,
    /// As `Attention`, from a direct jump: link in `Hot::site`.
    LinkAttention = 7,
}

impl Reason {
    pub fn of(value: u64) -> Self {
        match value {
            0 => Self::Link,
            1 => Self::Lookup,
            2 => Self::Attention,
            3 => Self::Routine,
            5 => Self::Ungrouped,
            6 => Self::IndirectAttention,
            7 => Self::LinkAttention,
            _ => Self::Signal,
        }
    }
}

// Register order in `Registers`: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15, RIP, RFLAGS. See layout::PINNED.
global_asm!(
    // Guest registers and flags from the bank's processor; clobbers RCX, R13. The flags are set first: MOV keeps them.
    ".macro ireko_restore",
    "mov rcx, [rsp + {fpu}]",
    "cmp qword ptr [rcx + {in_memory}], 0",
    "je 2f",
    "mov qword ptr [rcx + {in_memory}], 0",
    "mov eax, [rsp + {components}]",
    "xor edx, edx",
    "xrstor64 [rcx]",
    "jmp 3f",
    "2:",
    "movaps xmm0, [rcx + 160]",
    "movaps xmm1, [rcx + 176]",
    "movaps xmm2, [rcx + 192]",
    "movaps xmm3, [rcx + 208]",
    "movaps xmm4, [rcx + 224]",
    "movaps xmm5, [rcx + 240]",
    "movaps xmm6, [rcx + 256]",
    "movaps xmm7, [rcx + 272]",
    "movaps xmm8, [rcx + 288]",
    "movaps xmm9, [rcx + 304]",
    "movaps xmm10, [rcx + 320]",
    "movaps xmm11, [rcx + 336]",
    "movaps xmm12, [rcx + 352]",
    "movaps xmm13, [rcx + 368]",
    "movaps xmm14, [rcx + 384]",
    "movaps xmm15, [rcx + 400]",
    "ldmxcsr [rcx + 24]",
    "3:",
    "mov r13, [rsp + {regs}]",
    "mov rax, [r13 + 17*8]",
    "mov ecx, eax",
    "and ecx, 0x200",
    "mov [rsp + {interrupt_flag}], rcx",
    "mov ecx, eax",
    "and ecx, 0x40000",
    "mov [rsp + {alignment_check}], rcx",
    "mov ecx, eax",
    "shr ecx, 11",
    "and ecx, 1",
    "shl eax, 8",
    "or eax, ecx",
    "add al, 0x7f",
    "sahf",
    "mov rcx, [r13 + 11*8]",
    "mov [rsp + {parked}], rcx",
    "mov rcx, [r13 + 13*8]",
    "mov [rsp + {parked} + 8], rcx",
    "mov rcx, [r13 + 14*8]",
    "mov [rsp + {parked} + 16], rcx",
    "mov rcx, [r13 + 15*8]",
    "mov [rsp + {parked} + 24], rcx",
    "mov rax, [r13]",
    "mov r11, [r13 + 1*8]",
    "mov rdx, [r13 + 2*8]",
    "mov rbx, [r13 + 3*8]",
    "mov r10, [r13 + 4*8]",
    "mov rbp, [r13 + 5*8]",
    "mov rsi, [r13 + 6*8]",
    "mov rdi, [r13 + 7*8]",
    "mov r8, [r13 + 8*8]",
    "mov r9, [r13 + 9*8]",
    "mov r15, [r13 + 10*8]",
    "mov r12, [r13 + 12*8]",
    ".endm",
    // The reverse. Keeps R14; afterwards RBX is the bank and RSP Rust's stack.
    ".macro ireko_save",
    "mov r13, [rsp + {regs}]",
    "mov [r13], rax",
    "lahf",
    "seto al",
    "mov [r13 + 1*8], r11",
    "mov [r13 + 2*8], rdx",
    "mov [r13 + 3*8], rbx",
    "mov [r13 + 4*8], r10",
    "mov [r13 + 5*8], rbp",
    "mov [r13 + 6*8], rsi",
    "mov [r13 + 7*8], rdi",
    "mov [r13 + 8*8], r8",
    "mov [r13 + 9*8], r9",
    "mov [r13 + 10*8], r15",
    "mov [r13 + 12*8], r12",
    "mov rcx, [rsp + {parked}]",
    "mov [r13 + 11*8], rcx",
    "mov rcx, [rsp + {parked} + 8]",
    "mov [r13 + 13*8], rcx",
    "mov rcx, [rsp + {parked} + 16]",
    "mov [r13 + 14*8], rcx",
    "mov rcx, [rsp + {parked} + 24]",
    "mov [r13 + 15*8], rcx",
    "movzx ecx, al",
    "shl ecx, 11",
    "movzx eax, ah",
    "and eax, 0xd5",
    "or eax, ecx",
    "mov rcx, [r13 + 17*8]",
    "and rcx, -0x40ad6",
    "or rcx, rax",
    "or rcx, [rsp + {interrupt_flag}]",
    "or rcx, [rsp + {alignment_check}]",
    "mov [r13 + 17*8], rcx",
    "mov rcx, [rsp + {fpu}]",
    "movaps [rcx + 160], xmm0",
    "movaps [rcx + 176], xmm1",
    "movaps [rcx + 192], xmm2",
    "movaps [rcx + 208], xmm3",
    "movaps [rcx + 224], xmm4",
    "movaps [rcx + 240], xmm5",
    "movaps [rcx + 256], xmm6",
    "movaps [rcx + 272], xmm7",
    "movaps [rcx + 288], xmm8",
    "movaps [rcx + 304], xmm9",
    "movaps [rcx + 320], xmm10",
    "movaps [rcx + 336], xmm11",
    "movaps [rcx + 352], xmm12",
    "movaps [rcx + 368], xmm13",
    "movaps [rcx + 384], xmm14",
    "movaps [rcx + 400], xmm15",
    "stmxcsr [rcx + 24]",
    // Flags aside, which Rust does not read, it is Rust's mostly, and loading it is slow.
    "mov eax, [rcx + 24]",
    "xor eax, [rsp + {host_mxcsr}]",
    "test eax, -0x40",
    "jz 2f",
    "ldmxcsr [rsp + {host_mxcsr}]",
    "2: mov rbx, rsp",
    "mov rsp, [rbx + {host_rsp}]",
    ".endm",
    ".pushsection .text.ireko_thunks,\"ax\",@progbits",
    ".globl ireko_enter",
    "ireko_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 8",
    "mov [rdi + {host_rsp}], rsp",
    "mov rsp, rdi",
    "mov r14, rsi",
    "ireko_restore",
    "mov r13, r14",
    "mov r14, [rsp + {rip}]",
    "jmp r13",
    ".globl ireko_link",
    "ireko_link:",
    "mov qword ptr [rsp + {reason}], 0",
    "jmp ireko_leave",
    ".globl ireko_ungrouped",
    "ireko_ungrouped:",
    "mov qword ptr [rsp + {reason}], 5",
    "jmp ireko_leave",
    ".globl ireko_link_attention",
    "ireko_link_attention:",
    "mov qword ptr [rsp + {reason}], 7",
    ".globl ireko_leave",
    "ireko_leave:",
    "ireko_save",
    "jmp 9f",
    // R14: effective address. Gives the host address in R14, and RCX = 0.
    ".globl ireko_access",
    "ireko_access:",
    "pop qword ptr [rsp + {back}]",
    "ireko_save",
    "mov rdi, [rbx + {context}]",
    "mov rsi, [rbx + {site}]",
    "mov rdx, r14",
    "call [rbx + {access_routine}]",
    "mov r14, rax",
    "test rax, rax",
    "jz 8f",
    "mov rsp, rbx",
    "ireko_restore",
    "mov ecx, 0",
    "push qword ptr [rsp + {back}]",
    "ret",
    ".globl ireko_commit",
    "ireko_commit:",
    "pop qword ptr [rsp + {back}]",
    "ireko_save",
    "mov rdi, [rbx + {context}]",
    "mov rsi, [rbx + {site}]",
    "call [rbx + {commit_routine}]",
    "jmp 7f",
    ".globl ireko_system",
    "ireko_system:",
    "pop qword ptr [rsp + {back}]",
    // For instructions that never go on behind themselves: jumped to.
    ".globl ireko_system_exit",
    "ireko_system_exit:",
    "ireko_save",
    "mov rdi, [rbx + {context}]",
    "mov rsi, [rbx + {site}]",
    "call [rbx + {system_routine}]",
    "7: test eax, eax",
    "jnz 8f",
    "mov rsp, rbx",
    "ireko_restore",
    "push qword ptr [rsp + {back}]",
    "ret",
    "8: mov qword ptr [rbx + {reason}], 3",
    "9: mov rax, [rbx + {reason}]",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".popsection",
    fpu = const offset_of!(Hot, fpu),
    components = const offset_of!(Hot, components),
    in_memory = const IN_MEMORY,
    regs = const offset_of!(Hot, regs),
    parked = const offset_of!(Hot, parked),
    host_mxcsr = const offset_of!(Hot, host_mxcsr),
    host_rsp = const offset_of!(Hot, host_rsp),
    back = const offset_of!(Hot, back),
    rip = const offset_of!(Hot, rip),
    context = const offset_of!(Hot, context),
    site = const offset_of!(Hot, site),
    reason = const offset_of!(Hot, reason),
    access_routine = const offset_of!(Hot, access_routine),
    commit_routine = const offset_of!(Hot, commit_routine),
    system_routine = const offset_of!(Hot, system_routine),
    interrupt_flag = const offset_of!(Hot, interrupt_flag),
    alignment_check = const offset_of!(Hot, alignment_check),
);

unsafe extern "C" {
    fn ireko_enter(hot: *mut Hot, code: *const u8) -> u64;
    fn ireko_leave();
    fn ireko_link();
    fn ireko_ungrouped();
    fn ireko_link_attention();
    fn ireko_access();
    fn ireko_commit();
    fn ireko_system();
}

/// Rust behind the access thunk: context, site, effective address; gives a host address, or 0 to leave.
pub type AccessRoutine = extern "C" fn(u64, u64, u64) -> u64;
/// Rust behind the commit and system thunks: context, site; not 0 leaves.
pub type SiteRoutine = extern "C" fn(u64, u64) -> u32;

/// Host address of the thunk that leaves, for the signal handler.
pub fn leave_address() -> usize {
    ireko_leave as *const () as usize
}

/// Fills in the thunks of a fresh bank.
pub fn prepare(hot: &mut Hot, access: AccessRoutine, commit: SiteRoutine, system: SiteRoutine) {
    hot.access_thunk = ireko_access as *const () as u64;
    hot.commit_thunk = ireko_commit as *const () as u64;
    hot.system_thunk = ireko_system as *const () as u64;
    hot.leave_thunk = ireko_leave as *const () as u64;
    hot.link_thunk = [ireko_link, ireko_ungrouped, ireko_link_attention]
        .map(|thunk: unsafe extern "C" fn()| thunk as usize as u64);
    hot.access_routine = access as *const () as u64;
    hot.commit_routine = commit as *const () as u64;
    hot.system_routine = system as *const () as u64;
    hot.host_mxcsr = 0x1f80;
    hot.components = crate::state::BASE;
    crate::lookup::prepare(hot, false);
    crate::privilege::prepare(hot, false);
    crate::state::prepare(hot, false);
    crate::repeat::prepare(hot, false);
}

/// Puts x87, the upper halves of YMM and what else is among `components` (as XCR0 has them) into the XSAVE area, where XMM and
/// MXCSR are already.
///
/// # Safety
/// `area` is 4096 bytes, aligned to 64, whose registers this thread holds (its [`IN_MEMORY`] word is 0); the host has the
/// components.
pub unsafe fn save_rest(area: *mut u8, components: u64) {
    let rest = components as u32 & !2;
    // SAFETY: the area is large and aligned enough. XSAVE stores MXCSR with the AVX component: the guest's is kept.
    unsafe {
        let mxcsr = area.add(24).cast::<u32>().read();
        core::arch::asm!("xsave64 [{}]", in(reg) area, in("eax") rest, in("edx") 0, options(nostack, preserves_flags));
        area.add(24).cast::<u32>().write(mxcsr);
        *area.add(512) |= 2;
        area.add(IN_MEMORY).cast::<u64>().write(1);
    }
}

/// Runs translated code until it leaves.
///
/// # Safety
/// `hot` is a whole bank that [`prepare`] filled, whose `regs`, `fpu` and `context` are valid for the routines; `code` is
/// the entry of a block made for the current key.
pub unsafe fn enter(hot: *mut Hot, code: *const u8) -> Reason {
    // SAFETY: the caller's promise is ireko_enter's precondition.
    Reason::of(unsafe { ireko_enter(hot, code) })
}
