//! The host's own processor: runs strings in a forked child.
//!
//! A signal handler enters the string by changing the state that its return restores, and every end of a string is a
//! signal, whose frame holds the state. So the kernel loads and saves everything, and no register is ours.

// UNSAFETY: forks, maps memory at fixed addresses, runs arbitrary instructions and edits signal frames.
#![allow(unsafe_code)]

use super::arena::{self, Kind, PAGE, PAGES};
use super::state::{End, Outcome, State, XSAVE};
use anyhow::{Context, Result, bail};
use std::sync::atomic::{AtomicPtr, Ordering};

/// What parent and child share.
#[repr(C)]
struct Shared {
    start: State,
    /// 64 or 32.
    bits: u64,
    end: End,
    state: State,
    /// The child's own context while a string runs.
    kept_registers: [i64; 23],
    kept_fpu: [u8; XSAVE],
    kept_fs: u64,
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// Selectors of Linux's user segments.
pub const CS64: u64 = 0x33;
pub const CS32: u64 = 0x23;
pub const SS: u64 = 0x2b;

const ARCH_SET_GS: u64 = 0x1001;
const ARCH_SET_FS: u64 = 0x1002;
/// Flags that the kernel lets a signal return change.
const LOADED_FLAGS: i64 = 0x0005_0dd5;

/// The child process and the memory shared with it.
pub struct Native {
    memory_fd: i32,
    /// The parent's view of the arena.
    memory: *mut u8,
    shared: *mut Shared,
    child: Option<Child>,
    /// Children that a string took down.
    pub lost: usize,
}

struct Child {
    pid: i32,
    to: i32,
    from: i32,
}

// SAFETY: the pointers are to mappings that live as long as the value, used by one thread at a time.
unsafe impl Send for Native {}

impl Native {
    pub fn new() -> Result<Self> {
        // SAFETY: fresh mappings; results are checked.
        unsafe {
            let fd = libc::memfd_create(c"arena".as_ptr(), 0);
            if fd < 0 || libc::ftruncate(fd, arena::SIZE as i64) != 0 {
                return Err(std::io::Error::last_os_error()).context("memory for the arena");
            }
            let memory = map(std::ptr::null_mut(), arena::SIZE, libc::MAP_SHARED, fd, 0, false)?;
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let shared = map(std::ptr::null_mut(), size_of::<Shared>(), flags, -1, 0, false)?;
            Ok(Self { memory_fd: fd, memory, shared: shared.cast(), child: None, lost: 0 })
        }
    }

    /// Runs one string from `start`; `None` if the child did not survive or did not come back.
    pub fn run(&mut self, start: &State, bits: u32, memory: &[u8]) -> Result<Option<Outcome>> {
        if self.child.is_none() {
            self.child = Some(self.fork()?);
        }
        let Some(child) = &self.child else { bail!("no child process") };
        // SAFETY: both mappings are ours and large enough; the child waits.
        unsafe {
            std::ptr::copy_nonoverlapping(memory.as_ptr(), self.memory, arena::SIZE);
            (*self.shared).start = start.clone();
            (*self.shared).bits = bits.into();
        }
        if !child.go() {
            self.bury();
            return Ok(None);
        }
        let mut image = vec![0; arena::SIZE];
        // SAFETY: as above; the child has written its answer.
        unsafe {
            std::ptr::copy_nonoverlapping(self.memory, image.as_mut_ptr(), arena::SIZE);
            let mut state = (*self.shared).state.clone();
            state.normalise();
            Ok(Some(Outcome { end: (*self.shared).end, state, memory: image }))
        }
    }

    /// Whether the child has something mapped at `address` (so that a stray access there does not fault).
    pub fn has_mapped(&self, address: u64) -> bool {
        let Some(child) = &self.child else { return false };
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.pid)).unwrap_or_default();
        maps.lines().any(|line| {
            let mut range = line.split([' ', '-']).map(|n| u64::from_str_radix(n, 16).unwrap_or(0));
            let (start, end) = (range.next().unwrap_or(0), range.next().unwrap_or(0));
            start <= address.saturating_add(64) && address < end
        })
    }

    fn bury(&mut self) {
        self.lost += 1;
        if let Some(child) = self.child.take() {
            child.kill();
        }
    }

    fn fork(&self) -> Result<Child> {
        let (mut down, mut up) = ([0; 2], [0; 2]);
        // SAFETY: plain system calls; the child does nothing but system calls and string runs.
        unsafe {
            if libc::pipe(down.as_mut_ptr()) != 0 || libc::pipe(up.as_mut_ptr()) != 0 {
                return Err(std::io::Error::last_os_error()).context("a pipe");
            }
            SHARED.store(self.shared, Ordering::SeqCst);
            let pid = libc::fork();
            if pid < 0 {
                return Err(std::io::Error::last_os_error()).context("fork");
            }
            if pid == 0 {
                libc::close(down[1]);
                libc::close(up[0]);
                serve(self.memory_fd, down[0], up[1]);
            }
            libc::close(down[0]);
            libc::close(up[1]);
            Ok(Child { pid, to: down[1], from: up[0] })
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            child.kill();
        }
        // SAFETY: our mappings and descriptor, used no more.
        unsafe {
            libc::munmap(self.memory.cast(), arena::SIZE);
            libc::munmap(self.shared.cast(), size_of::<Shared>());
            libc::close(self.memory_fd);
        }
    }
}

impl Child {
    /// Lets the child run the string; `false` if no answer comes.
    fn go(&self) -> bool {
        let mut byte = [0u8];
        // SAFETY: reads and writes one byte of ours.
        unsafe {
            if libc::write(self.to, byte.as_ptr().cast(), 1) != 1 {
                return false;
            }
            let mut wait = libc::pollfd { fd: self.from, events: libc::POLLIN, revents: 0 };
            libc::poll(&mut wait, 1, 1000) == 1 && libc::read(self.from, byte.as_mut_ptr().cast(), 1) == 1
        }
    }

    fn kill(&self) {
        // SAFETY: our own child and descriptors.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
            libc::close(self.to);
            libc::close(self.from);
        }
    }
}

/// # Safety
/// With an address, nothing that is in use may be there.
unsafe fn map(at: *mut u8, size: usize, flags: i32, fd: i32, offset: i64, run: bool) -> Result<*mut u8> {
    let access = libc::PROT_READ | libc::PROT_WRITE | if run { libc::PROT_EXEC } else { 0 };
    // SAFETY: the caller's promise.
    let place = unsafe { libc::mmap(at.cast(), size, access, flags | libc::MAP_POPULATE, fd, offset) };
    if place == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error()).context("mmap");
    }
    Ok(place.cast())
}

// ---- the child: system calls only ----

/// # Safety
/// In the forked child only.
unsafe fn serve(memory: i32, from: i32, to: i32) -> ! {
    // SAFETY: the child is alone; a failure ends it, which the parent sees.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if !place_pages(memory) || !take_signals() {
            libc::_exit(1);
        }
        core::arch::asm!("mov ds, {0:e}", "mov es, {0:e}", in(reg) SS);
        restrict();
        let mut byte = [0u8];
        while libc::read(from, byte.as_mut_ptr().cast(), 1) == 1 {
            core::arch::asm!("mov ds, {0:e}", "mov es, {0:e}", in(reg) SS);
            libc::raise(libc::SIGUSR1);
            libc::write(to, byte.as_ptr().cast(), 1);
        }
        libc::_exit(0)
    }
}

unsafe fn place_pages(memory: i32) -> bool {
    PAGES.iter().enumerate().all(|(n, &(linear, kind))| {
        let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: MAP_FIXED_NOREPLACE does not touch what is there.
        let placed = unsafe { map(linear as *mut u8, PAGE, flags, memory, (n * PAGE) as i64, true) };
        let read_only = kind == Kind::ReadOnly;
        // SAFETY: the page just mapped.
        placed.is_ok()
            && (!read_only
                || unsafe { libc::mprotect(linear as *mut libc::c_void, PAGE, libc::PROT_READ) } == 0)
    })
}

unsafe fn take_signals() -> bool {
    static mut STACK: [u8; 256 << 10] = [0; 256 << 10];
    let stack = libc::stack_t { ss_sp: &raw mut STACK as *mut libc::c_void, ss_flags: 0, ss_size: 256 << 10 };
    // SAFETY: the stack is static, and nothing else uses it.
    if unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) } != 0 {
        return false;
    }
    let ends = [libc::SIGTRAP, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
    let set = |signal, handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void)| {
        // SAFETY: a handler of the right signature.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(signal, &action, std::ptr::null_mut()) == 0
        }
    };
    ends.iter().all(|&signal| set(signal, end)) && set(libc::SIGUSR1, begin)
}

/// From now on only the system calls of `serve`: a string that goes astray must not reach the host's kernel.
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
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [statement(0, 0, 0, 0); ALLOWED.len() + 5];
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let give = libc::BPF_RET | libc::BPF_K;
    const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
    program[0] = statement(load, 0, 0, 4);
    program[1] = statement(equal, 0, ALLOWED.len() as u8 + 1, AUDIT_ARCH_X86_64);
    program[2] = statement(load, 0, 0, 0);
    for (n, &call) in ALLOWED.iter().enumerate() {
        program[3 + n] = statement(equal, (ALLOWED.len() - n) as u8, 0, call as u32);
    }
    program[ALLOWED.len() + 3] = statement(give, 0, 0, libc::SECCOMP_RET_KILL_PROCESS);
    program[ALLOWED.len() + 4] = statement(give, 0, 0, libc::SECCOMP_RET_ALLOW);
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

/// Order of the general registers in a signal frame, by encoding number.
const FRAME: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Copies an XSAVE area, but not the kernel's own words in it (bytes 464 to 511).
unsafe fn copy_fpu(to: *mut u8, from: *const u8) {
    // SAFETY: both are XSAVE areas of at least `XSAVE` bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(from, to, 416);
        std::ptr::copy_nonoverlapping(from.add(512), to.add(512), XSAVE - 512);
    }
}

extern "C" fn begin(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let shared = SHARED.load(Ordering::Relaxed);
    // SAFETY: the kernel's frame and our shared memory; nobody else looks at either now.
    unsafe {
        let machine = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        (*shared).kept_registers = machine.gregs;
        copy_fpu((&raw mut (*shared).kept_fpu).cast(), machine.fpregs.cast());
        core::arch::asm!("mov {}, fs:[0]", out(reg)(*shared).kept_fs);
        let start = &(*shared).start;
        for (n, &at) in FRAME.iter().enumerate() {
            machine.gregs[at as usize] = start.gpr[n] as i64;
        }
        let flags = &mut machine.gregs[libc::REG_EFL as usize];
        *flags = *flags & !LOADED_FLAGS | start.rflags as i64 & LOADED_FLAGS;
        machine.gregs[libc::REG_RIP as usize] = start.rip as i64;
        let code = if (*shared).bits == 64 { CS64 } else { CS32 };
        machine.gregs[libc::REG_CSGSFS as usize] = (code | SS << 48) as i64;
        copy_fpu(machine.fpregs.cast(), start.xsave.as_ptr());
        set_base(ARCH_SET_GS, start.gs);
        set_base(ARCH_SET_FS, start.fs);
    }
}

extern "C" fn end(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let shared = SHARED.load(Ordering::Relaxed);
    // SAFETY: as in `begin`; FS comes first, since anything of the C library may use it.
    unsafe {
        set_base(ARCH_SET_FS, (*shared).kept_fs);
        let machine = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        let state = &mut (*shared).state;
        for (n, &at) in FRAME.iter().enumerate() {
            state.gpr[n] = machine.gregs[at as usize] as u64;
        }
        state.rip = machine.gregs[libc::REG_RIP as usize] as u64;
        state.rflags = machine.gregs[libc::REG_EFL as usize] as u64;
        copy_fpu(state.xsave.as_mut_ptr(), machine.fpregs.cast());
        (*shared).end = End {
            vector: machine.gregs[libc::REG_TRAPNO as usize] as u64,
            error: machine.gregs[libc::REG_ERR as usize] as u64,
            cr2: machine.gregs[libc::REG_CR2 as usize] as u64,
        };
        machine.gregs = (*shared).kept_registers;
        copy_fpu(machine.fpregs.cast(), (&raw const (*shared).kept_fpu).cast());
    }
}
