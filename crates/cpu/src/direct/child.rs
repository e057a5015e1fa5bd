//! The process of a stub: its code, and how a fresh process becomes one. Each signal there is told to the engine, who has the
//! interrupted state in memory that both have; then it waits for a request, which may come with commands (what to map), and goes
//! on with what the engine has put there. A program may jump to any of its instructions: whatever it does then, it waits for a
//! request in the end, or is told of as a program that was here.

// UNSAFETY: a fresh process makes itself a stub by system calls, and copies its code.
#![allow(unsafe_code)]

use super::filter::{self, Places};
use super::layout::{
    BASE, COMMANDS, CONTROL, CONTROL_BYTES, COPIES, MEMORY, NONCE, REPORTS, REQUESTS, RETURN, STACK,
};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

std::arch::global_asm!(
    ".pushsection .text",
    ".globl ireko_stub_start, ireko_stub_signal, ireko_stub_wrote, ireko_stub_read, ireko_stub_command, ireko_stub_return, ireko_stub_end",
    ".balign 16",
    "ireko_stub_start:",
    ".byte 0xf1",
    "ud2",
    ".balign 16",
    "ireko_stub_signal:",
    "movabs rbx, {control}",
    "mov [rbx], rdx",
    "mov [rbx + 8], edi",
    "mov eax, [rsi + 8]",
    "mov [rbx + 12], eax",
    "mov rax, [rsi + 16]",
    "mov [rbx + 16], rax",
    "rdfsbase rax",
    "mov [rbx + 24], rax",
    "rdgsbase rax",
    "mov [rbx + 32], rax",
    "mov eax, ds",
    "mov [rbx + 40], ax",
    "mov eax, es",
    "mov [rbx + 42], ax",
    "mov eax, fs",
    "mov [rbx + 44], ax",
    "mov eax, gs",
    "mov [rbx + 46], ax",
    // Report. From here to the request each argument is made anew: whoever came from elsewhere waits there, too.
    "2:",
    "mov eax, 1",
    "mov edi, {reports}",
    "movabs rsi, {nonce}",
    "mov edx, 8",
    "syscall",
    "ireko_stub_wrote:",
    "xor eax, eax",
    "mov edi, {requests}",
    "movabs rsi, {nonce}",
    "mov edx, 8",
    "syscall",
    "ireko_stub_read:",
    "cmp eax, 8",
    "je 3f",
    "ud2",
    "3:",
    "movabs rbx, {control}",
    "mov r12d, [rbx + 48]",
    "lea r13, [rbx + {commands}]",
    "xor r14d, r14d",
    "4:",
    "test r12d, r12d",
    "jz 5f",
    "mov rax, [r13]",
    "mov rdi, [r13 + 8]",
    "mov rsi, [r13 + 16]",
    "mov rdx, [r13 + 24]",
    "mov r10, [r13 + 32]",
    "mov r8, [r13 + 40]",
    "mov r9, [r13 + 48]",
    "syscall",
    "ireko_stub_command:",
    "cmp rax, [r13 + 56]",
    "jne 7f",
    "add r13, 64",
    "dec r12d",
    "jmp 4b",
    "7:",
    "mov r14, rax",
    "5:",
    // The secret is nobody's to read.
    "lea rdi, [rbx + {commands}]",
    "mov ecx, [rbx + 48]",
    "shl ecx, 3",
    "xor eax, eax",
    "cld",
    "rep stosq",
    "mov r10, [rbx + 80]",
    "mov r8, [rbx + 88]",
    "mov [rbx + 80], rax",
    "mov [rbx + 88], rax",
    "mov [rbx + 56], r14",
    "mov [rbx + 64], r12",
    "test r12d, r12d",
    "jnz 2b",
    "cmp dword ptr [rbx + 52], 0",
    "jne 2b",
    // What the program loads is its guest's from here on: the processor's own are empty.
    "mov ds, eax",
    "mov es, eax",
    "mov fs, eax",
    "mov gs, eax",
    "mov rax, [rbx + 24]",
    "wrfsbase rax",
    "mov rax, [rbx + 32]",
    "wrgsbase rax",
    "lea rsp, [rbx + {frame}]",
    "mov eax, 15",
    "syscall",
    "ireko_stub_return:",
    "ud2",
    "ireko_stub_end:",
    ".popsection",
    control = const CONTROL,
    nonce = const NONCE,
    reports = const REPORTS,
    requests = const REQUESTS,
    commands = const COMMANDS,
    frame = const RETURN,
);

unsafe extern "C" {
    fn ireko_stub_start();
    fn ireko_stub_signal();
    fn ireko_stub_wrote();
    fn ireko_stub_read();
    fn ireko_stub_command();
    fn ireko_stub_return();
    fn ireko_stub_end();
}

/// Where a place of the stub's code is in its process.
fn placed(symbol: unsafe extern "C" fn()) -> u64 {
    BASE + (symbol as usize - ireko_stub_start as *const () as usize) as u64
}

/// Whether an address is in the page of its code.
pub fn is_code(address: u64) -> bool {
    address >> 12 == BASE >> 12
}

fn places() -> Places {
    Places {
        write: placed(ireko_stub_wrote),
        read: placed(ireko_stub_read),
        command: placed(ireko_stub_command),
        sigreturn: placed(ireko_stub_return),
    }
}

pub fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Fresh memory that can be mapped in several processes.
pub fn memory_file(bytes: usize) -> io::Result<OwnedFd> {
    // SAFETY: a fresh descriptor.
    unsafe {
        let file = check(libc::memfd_create(c"stub".as_ptr(), libc::MFD_CLOEXEC).into())? as i32;
        let file = OwnedFd::from_raw_fd(file);
        check(libc::ftruncate(file.as_raw_fd(), bytes as i64).into())?;
        Ok(file)
    }
}

/// What the fresh process needs, made before it is there: it allocates nothing.
pub struct Child {
    requests: i32,
    reports: i32,
    memory: i32,
    copies: i32,
    shared: i32,
    filter: Vec<libc::sock_filter>,
    parent: u32,
}

/// What comes to a stub: a program's exceptions, its system calls, and who wants attention.
pub const SIGNALS: [i32; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS, libc::SIGURG];

impl Child {
    /// Its ends of the pipes, guest memory, copies, and what it shares with the engine.
    pub fn new(
        [requests, reports]: [i32; 2],
        memory: BorrowedFd<'_>,
        copies: BorrowedFd<'_>,
        shared: BorrowedFd<'_>,
        secret: u64,
    ) -> Self {
        let (memory, copies, shared) = (memory.as_raw_fd(), copies.as_raw_fd(), shared.as_raw_fd());
        let filter = filter::program(secret, &places());
        Self { requests, reports, memory, copies, shared, filter, parent: std::process::id() }
    }

    /// Number of the process.
    pub fn start(&self) -> io::Result<i32> {
        // SAFETY: the child makes system calls only, on what was readied before.
        let process = unsafe { libc::fork() };
        if process == 0 {
            // SAFETY: this is the fresh process.
            unsafe { self.become_stub() }
        }
        check(process.into())?;
        Ok(process)
    }

    /// # Safety
    /// In a fresh process alone. Never comes back.
    unsafe fn become_stub(&self) -> ! {
        // SAFETY: system calls, and memory that is this process' own.
        unsafe {
            if self.prepare().is_none() {
                libc::_exit(1);
            }
            let stack = CONTROL + CONTROL_BYTES as u64 - 64;
            let start = placed(ireko_stub_start);
            std::arch::asm!("mov rsp, {}", "jmp {}", in(reg) stack, in(reg) start, options(noreturn));
        }
    }

    unsafe fn prepare(&self) -> Option<()> {
        // SAFETY: as in `become_stub`.
        unsafe {
            well(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into())?;
            if libc::getppid() as u32 != self.parent {
                return None;
            }
            well(libc::setpgid(0, 0).into())?;
            well(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0).into())?;
            // RDTSC and RDTSCP are the engine's; so is CPUID where the processor can make it fault (asm/prctl.h: ARCH_SET_CPUID).
            well(libc::prctl(libc::PR_SET_TSC, libc::PR_TSC_SIGSEGV, 0, 0, 0).into())?;
            libc::syscall(libc::SYS_arch_prctl, 0x1012, 0);
            // First out of the way of the numbers that they become.
            let from = [self.requests, self.reports, self.memory, self.copies, self.shared];
            let mut high = [0; 5];
            for (high, from) in high.iter_mut().zip(from) {
                *high = well(libc::fcntl(from, libc::F_DUPFD, 64).into())? as i32;
            }
            for (high, fixed) in high.into_iter().zip([REQUESTS, REPORTS, MEMORY, COPIES, COPIES + 1]) {
                well(libc::dup2(high, fixed).into())?;
            }
            let fixed = libc::MAP_FIXED_NOREPLACE;
            let rights = libc::PROT_READ | libc::PROT_WRITE;
            let control = CONTROL as *mut libc::c_void;
            let shared = libc::mmap(control, CONTROL_BYTES, rights, libc::MAP_SHARED | fixed, COPIES + 1, 0);
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | fixed;
            let code = libc::mmap(BASE as *mut libc::c_void, 4096, rights, flags, -1, 0);
            if shared != control || code as u64 != BASE {
                return None;
            }
            let source = ireko_stub_start as *const u8;
            let bytes = ireko_stub_end as *const () as usize - source as usize;
            code.cast::<u8>().copy_from_nonoverlapping(source, bytes);
            well(libc::mprotect(code, 4096, libc::PROT_READ | libc::PROT_EXEC).into())?;
            libc::syscall(libc::SYS_close_range, 0, REQUESTS - 1, 0);
            libc::syscall(libc::SYS_close_range, COPIES + 1, u32::MAX, 0);
            forget_rseq();
            take_signals()?;
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            well(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
            let program =
                libc::sock_fprog { len: self.filter.len() as u16, filter: self.filter.as_ptr().cast_mut() };
            well(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program).into())?;
            Some(())
        }
    }
}

fn well(result: i64) -> Option<i64> {
    (result >= 0).then_some(result)
}

/// All signals that a program can come to are the stub's, on a stack of its own, one at a time; the others are nobody's.
unsafe fn take_signals() -> Option<()> {
    // SAFETY: as in `become_stub`.
    unsafe {
        let stack = libc::stack_t {
            ss_sp: (CONTROL + STACK as u64) as *mut libc::c_void,
            ss_flags: 0,
            ss_size: CONTROL_BYTES - STACK,
        };
        well(libc::sigaltstack(&stack, std::ptr::null_mut()).into())?;
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        for signal in SIGNALS {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = placed(ireko_stub_signal) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            action.sa_mask = all;
            well(libc::sigaction(signal, &action, std::ptr::null_mut()).into())?;
        }
        let mut others = all;
        for signal in SIGNALS {
            libc::sigdelset(&mut others, signal);
        }
        well(libc::sigprocmask(libc::SIG_SETMASK, &others, std::ptr::null_mut()).into())?;
        Some(())
    }
}

/// The kernel writes no more into what the C library has told it of.
unsafe fn forget_rseq() {
    let (offset, size): (*const isize, *const u32);
    // SAFETY: null where the C library has none.
    unsafe {
        std::arch::asm!(
            ".weak __rseq_offset",
            ".weak __rseq_size",
            "mov {}, [rip + __rseq_offset@GOTPCREL]",
            "mov {}, [rip + __rseq_size@GOTPCREL]",
            out(reg) offset, out(reg) size,
        );
        if offset.is_null() || size.is_null() || *size == 0 {
            return;
        }
        let thread: *const u8;
        std::arch::asm!("mov {}, fs:[0]", out(reg) thread);
        const SIGNATURE: u32 = 0x5305_3053;
        for bytes in [32u32, *size, 20, 24, 28] {
            let at = thread.offset(*offset);
            if libc::syscall(libc::SYS_rseq, at, bytes, 1, SIGNATURE) == 0 {
                return;
            }
        }
    }
}

/// Where the stub's system calls are: what a hostile program jumps to.
#[cfg(test)]
pub(crate) mod calls {
    use super::*;

    pub(crate) fn write() -> u64 {
        places().write - 2
    }

    pub(crate) fn read() -> u64 {
        places().read - 2
    }

    pub(crate) fn command() -> u64 {
        places().command - 2
    }

    pub(crate) fn sigreturn() -> u64 {
        places().sigreturn - 2
    }

    /// Bytes of a report.
    pub(crate) const REPORT: u64 = filter::MESSAGE as u64;
    pub(crate) const SHARED: u64 = CONTROL;
    pub(crate) const SIGNAL_STACK: u64 = CONTROL + STACK as u64;
    /// Half of the secret in the first command, which has it in the upper half of an argument.
    pub(crate) const SECRET: u64 = CONTROL + COMMANDS as u64 + 8 + 3 * 8 + 4;
}
