//! The child process of [`super::native`]: after the fork it does nothing but system calls and runs of strings.

// UNSAFETY: maps memory at fixed addresses, runs arbitrary instructions and edits signal frames.
#![allow(unsafe_code)]

use super::arena::{self, Kind, PAGE, PAGES};
use super::native::{ENDLESS, SYSTEM_CALL, Shared};
use super::state::{End, used};
use anyhow::{Context, Result};
use ireko_cpu::direct::frame::GENERAL;
use std::sync::atomic::{AtomicPtr, Ordering};

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// Selectors of Linux's user segments.
pub const CS64: u64 = 0x33;
pub const CS32: u64 = 0x23;
pub const SS: u64 = 0x2b;

const ARCH_SET_GS: u64 = 0x1001;
const ARCH_SET_FS: u64 = 0x1002;
/// Flags that the kernel lets a signal return change.
const LOADED_FLAGS: i64 = 0x0005_0dd5;
/// RFLAGS.AC and RFLAGS.ID, which the kernel leaves as the string has them.
const LEFT_FLAGS: i32 = 1 << 18 | 1 << 21;
/// Processor time after which a string that still runs may be ended.
const TICK_MICROSECONDS: i64 = 4000;

/// The arena's memory: its descriptor, and a mapping in which all of it may be written.
#[derive(Clone, Copy)]
pub struct Arena {
    pub fd: i32,
    pub memory: *mut u8,
}

/// # Safety
/// With an address, nothing that is in use may be there.
pub unsafe fn map(at: *mut u8, size: usize, flags: i32, fd: i32, offset: i64, run: bool) -> Result<*mut u8> {
    let access = libc::PROT_READ | libc::PROT_WRITE | if run { libc::PROT_EXEC } else { 0 };
    // SAFETY: the caller's promise.
    let place = unsafe { libc::mmap(at.cast(), size, access, flags | libc::MAP_POPULATE, fd, offset) };
    if place == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error()).context("mmap");
    }
    Ok(place.cast())
}

/// # Safety
/// In the forked child only.
pub unsafe fn serve(shared: *mut Shared, arena: Arena, from: i32, to: i32) -> ! {
    SHARED.store(shared, Ordering::SeqCst);
    // SAFETY: the child is alone; a failure ends it, which the parent sees.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if !place_pages(arena.fd) || !take_signals() || !tick_on() {
            libc::_exit(1);
        }
        restrict();
        let mut byte = [0u8];
        while libc::read(from, byte.as_mut_ptr().cast(), 1) == 1 {
            for job in 0..(*shared).count {
                run(shared, arena, job as usize);
                (*shared).done.store(job + 1, Ordering::SeqCst);
            }
            libc::write(to, byte.as_ptr().cast(), 1);
        }
        libc::_exit(0)
    }
}

/// One job, from a fresh image to the image that it leaves.
unsafe fn run(shared: *mut Shared, arena: Arena, job: usize) {
    // SAFETY: both mappings are as large as they say, and the parent waits.
    unsafe {
        let slot = &raw mut (*shared).slots[job];
        let (at, length) = ((*slot).patch_at as usize, (*slot).patch_length as usize);
        std::ptr::copy_nonoverlapping((&raw const (*shared).image).cast(), arena.memory, arena::SIZE);
        std::ptr::copy_nonoverlapping((&raw const (*slot).patch).cast(), arena.memory.add(at), length);
        core::arch::asm!("mov ds, {0:e}", "mov es, {0:e}", in(reg) SS);
        libc::raise(libc::SIGUSR1);
        std::ptr::copy_nonoverlapping(arena.memory, (&raw mut (*slot).memory).cast(), arena::SIZE);
    }
}

unsafe fn place_pages(memory: i32) -> bool {
    PAGES.iter().enumerate().all(|(n, &(linear, kind))| {
        let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: MAP_FIXED_NOREPLACE does not touch what is there.
        let placed = unsafe { map(linear as *mut u8, PAGE, flags, memory, (n * PAGE) as i64, true) };
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        // SAFETY: the page just mapped.
        let protect = || unsafe { libc::mprotect(linear as *mut libc::c_void, PAGE, protection) == 0 };
        placed.is_ok() && (kind != Kind::ReadOnly || protect())
    })
}

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

unsafe fn take_signals() -> bool {
    static mut STACK: [u8; 256 << 10] = [0; 256 << 10];
    let stack = libc::stack_t { ss_sp: &raw mut STACK as *mut libc::c_void, ss_flags: 0, ss_size: 256 << 10 };
    // SAFETY: the stack is static, and nothing else uses it.
    if unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) } != 0 {
        return false;
    }
    let ends = [libc::SIGTRAP, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSYS];
    let set = |signal, handler: Handler| {
        // SAFETY: a handler of the right signature. No signal comes while one runs.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigfillset(&mut action.sa_mask);
            libc::sigaction(signal, &action, std::ptr::null_mut()) == 0
        }
    };
    ends.iter().all(|&signal| set(signal, end)) && set(libc::SIGUSR1, begin) && set(libc::SIGVTALRM, tick)
}

/// A signal by processor time, which ends what does not end by itself.
unsafe fn tick_on() -> bool {
    let every = libc::timeval { tv_sec: 0, tv_usec: TICK_MICROSECONDS };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: a plain system call.
    unsafe { libc::setitimer(libc::ITIMER_VIRTUAL, &timer, std::ptr::null_mut()) == 0 }
}

/// From now on only the system calls of `serve`, and none from the arena (there a system call is a signal): a string that
/// goes astray must not reach the host's kernel.
unsafe fn restrict() {
    const ALLOWED: [i64; 9] = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_arch_prctl,
        libc::SYS_tgkill,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_exit_group,
    ];
    const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
    // Offsets in the kernel's `seccomp_data`.
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const POINTER: u32 = 8;
    const CHECKS: usize = 8;
    const LAST: usize = CHECKS + ALLOWED.len();
    let statement = |code: u32, jt: usize, jf: usize, k| libc::sock_filter {
        code: code as u16,
        jt: jt as u8,
        jf: jf as u8,
        k,
    };
    let load = |what| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, what);
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let at_least = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    let give = |what| statement(libc::BPF_RET | libc::BPF_K, 0, 0, what);
    let (killed, trapped, allowed) = (LAST, LAST + 1, LAST + 2);
    let to = |from: usize, place: usize| place - from - 1;
    let mut program = [statement(0, 0, 0, 0); LAST + 3];
    program[0] = load(ARCHITECTURE);
    program[1] = statement(equal, 0, to(1, trapped), AUDIT_ARCH_X86_64);
    program[2] = load(POINTER + 4);
    program[3] = statement(equal, to(3, trapped), 0, (arena::HIGH >> 32) as u32);
    program[4] = statement(equal, 0, to(4, 7), 0);
    program[5] = load(POINTER);
    program[6] = statement(at_least, to(6, trapped), 0, arena::CODE as u32);
    program[7] = load(NUMBER);
    for (n, &call) in ALLOWED.iter().enumerate() {
        program[CHECKS + n] = statement(equal, to(CHECKS + n, allowed), 0, call as u32);
    }
    program[killed] = give(libc::SECCOMP_RET_KILL_PROCESS);
    program[trapped] = give(libc::SECCOMP_RET_TRAP);
    program[allowed] = give(libc::SECCOMP_RET_ALLOW);
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: a well-formed filter. Where the kernel refuses it, strings run without.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter);
    }
}

/// arch_prctl without the C library, which may want FS.
unsafe fn set_base(what: u64, base: u64) {
    // SAFETY: sets a segment base; the caller knows what it does with it.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_arch_prctl => _,
            in("rdi") what,
            in("rsi") base,
            out("rcx") _,
            out("r11") _,
        );
    }
}

/// Copies an XSAVE area, but not the kernel's own words in it (bytes 464 to 511).
unsafe fn copy_fpu(to: *mut u8, from: *const u8) {
    // SAFETY: both are XSAVE areas of at least `used` bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(from, to, 416);
        std::ptr::copy_nonoverlapping(from.add(512), to.add(512), used() - 512);
    }
}

/// Enters the string of the job that is due.
extern "C" fn begin(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let shared = SHARED.load(Ordering::Relaxed);
    // SAFETY: the kernel's frame and our shared memory; nobody else looks at either now.
    unsafe {
        let machine = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        (*shared).kept_registers = machine.gregs;
        copy_fpu((&raw mut (*shared).kept_fpu).cast(), machine.fpregs.cast());
        core::arch::asm!("mov {}, fs:[0]", out(reg)(*shared).kept_fs);
        let slot = &raw const (*shared).slots[(*shared).done.load(Ordering::Relaxed) as usize];
        let start = &(*slot).start;
        for (n, &at) in GENERAL.iter().enumerate() {
            machine.gregs[at as usize] = start.gpr[n] as i64;
        }
        let flags = &mut machine.gregs[libc::REG_EFL as usize];
        *flags = *flags & !LOADED_FLAGS | start.rflags as i64 & LOADED_FLAGS;
        machine.gregs[libc::REG_RIP as usize] = start.rip as i64;
        let code = if (*slot).bits == 64 { CS64 } else { CS32 };
        machine.gregs[libc::REG_CSGSFS as usize] = (code | SS << 48) as i64;
        copy_fpu(machine.fpregs.cast(), start.xsave.as_ptr());
        (*shared).ticked = 0;
        (*shared).running.store(1, Ordering::Relaxed);
        set_base(ARCH_SET_GS, start.gs);
        set_base(ARCH_SET_FS, start.fs);
    }
}

/// The string came to an end: its state becomes the job's outcome, and `raise` returns.
extern "C" fn end(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let shared = SHARED.load(Ordering::Relaxed);
    // SAFETY: as in `begin`; the flags and FS come first, since anything of the C library may use memory.
    unsafe {
        core::arch::asm!("pushfq", "and dword ptr [rsp], {}", "popfq", const !LEFT_FLAGS);
        set_base(ARCH_SET_FS, (*shared).kept_fs);
        (*shared).running.store(0, Ordering::Relaxed);
        let machine = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        let slot = &raw mut (*shared).slots[(*shared).done.load(Ordering::Relaxed) as usize];
        let state = &mut (*slot).state;
        for (n, &at) in GENERAL.iter().enumerate() {
            state.gpr[n] = machine.gregs[at as usize] as u64;
        }
        state.rip = machine.gregs[libc::REG_RIP as usize] as u64;
        state.rflags = machine.gregs[libc::REG_EFL as usize] as u64;
        copy_fpu(state.xsave.as_mut_ptr(), machine.fpregs.cast());
        (*slot).end = End {
            vector: match signal {
                libc::SIGSYS => SYSTEM_CALL,
                libc::SIGVTALRM => ENDLESS,
                _ => machine.gregs[libc::REG_TRAPNO as usize] as u64,
            },
            error: machine.gregs[libc::REG_ERR as usize] as u64,
            cr2: machine.gregs[libc::REG_CR2 as usize] as u64,
        };
        machine.gregs = (*shared).kept_registers;
        copy_fpu(machine.fpregs.cast(), (&raw const (*shared).kept_fpu).cast());
    }
}

/// Ends a string that already ran at the last tick.
extern "C" fn tick(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let shared = SHARED.load(Ordering::Relaxed);
    // SAFETY: shared memory that the parent leaves alone while jobs run.
    let again = unsafe {
        let job = (*shared).done.load(Ordering::Relaxed) + 1;
        let again = (*shared).running.load(Ordering::Relaxed) != 0 && (*shared).ticked == job;
        (*shared).ticked = job;
        again
    };
    if again {
        end(signal, info, context);
    }
}
