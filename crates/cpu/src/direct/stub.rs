//! A process that has nothing but a guest program's pages, in which its code runs as it stands.
//!
//! Each signal there is told to the engine, who reads and changes the interrupted state where the kernel has put it, in memory
//! that both have. What is mapped there is said by the engine and done by the process between two of the guest's stretches. Its
//! filter lets none but the stub's own system calls through: the guest's own are signals like all else.

// UNSAFETY: makes a process, and reads and writes memory that it shares.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Where the stub lies: no system puts its programs there by itself, and what a guest would have in the same 512 GiB is looked for
/// before its code runs.
pub const BASE: u64 = 0x2f00_0000_0000;
/// Its code, a page; then what it shares with the engine.
const CONTROL: u64 = BASE + 0x1000;
const CONTROL_BYTES: usize = 96 << 10;
const END: u64 = CONTROL + CONTROL_BYTES as u64;
/// Behind the commands is the stack that signals come on.
const STACK: usize = 64 << 10;
/// Where programs' addresses end.
const USER_END: u64 = 0x7fff_ffff_f000;

/// Descriptors of the process.
const REQUESTS: i32 = 3;
const REPORTS: i32 = 4;
const MEMORY: i32 = 5;
const COPIES: i32 = 6;

/// What both sides know, at the start of the shared memory.
#[repr(C)]
struct Control {
    /// Where the interrupted state is.
    context: u64,
    signal: u32,
    unused: u32,
    address: u64,
    fs_base: u64,
    gs_base: u64,
    selectors: [u16; 4],
    count: u32,
    /// It reports again once the commands are done.
    again: u32,
    /// The result of the command that failed, and the number of those that were left with it.
    failed: u64,
    left: u64,
}

/// A system call, and what it must give.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Command {
    number: u64,
    arguments: [u64; 6],
    expected: u64,
}

/// What a page is mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Guest memory, by its offset in the file.
    Memory(u64),
    /// A copy, by its number.
    Copy(u32),
}

impl Command {
    /// Whether both map what lies side by side, here and there, alike.
    pub fn goes_on_with(&self, next: &Self) -> bool {
        let [address, bytes, rights, .., offset] = self.arguments;
        self.number == libc::SYS_mmap as u64
            && next.number == self.number
            && next.arguments[0] == address + bytes
            && next.arguments[5] == offset + bytes
            && next.arguments[2] == rights
            && next.arguments[4] == self.arguments[4]
    }

    pub fn add(&mut self, next: &Self) {
        self.arguments[1] += next.arguments[1];
    }
}

/// Milliseconds for a program to report after a signal.
const PATIENCE: i32 = 1000;

/// What it costs to come and go is the mean of so many.
const VISITS: u64 = 64;

const COMMANDS: usize = 128;
const MOST: usize = (STACK - COMMANDS) / size_of::<Command>() - 1;

std::arch::global_asm!(
    ".pushsection .text",
    ".globl ireko_stub_start, ireko_stub_signal, ireko_stub_wrote, ireko_stub_read, ireko_stub_exit, ireko_stub_command, ireko_stub_return, ireko_stub_end",
    ".balign 16",
    "ireko_stub_start:",
    "ud2",
    ".balign 16",
    "ireko_stub_signal:",
    "movabs rbx, {control}",
    "mov [rbx], rdx",
    "mov [rbx + 8], edi",
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
    // Report: the byte's value says nothing.
    "2:",
    "mov eax, 1",
    "mov edi, {reports}",
    "lea rsi, [rip + ireko_stub_start]",
    "mov edx, 1",
    "syscall",
    "ireko_stub_wrote:",
    "xor eax, eax",
    "mov edi, {requests}",
    "lea rsi, [rbx + 80]",
    "mov edx, 1",
    "syscall",
    "ireko_stub_read:",
    "cmp eax, 1",
    "je 3f",
    "cmp eax, -4",
    "je 2b",
    "mov eax, 231",
    "xor edi, edi",
    "syscall",
    "ireko_stub_exit:",
    "ud2",
    "3:",
    // Whoever came to the calls above from elsewhere may have had anything there.
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
    "mov [rbx + 56], r14",
    "mov [rbx + 64], r12",
    "lea rdi, [rbx + {commands}]",
    "mov ecx, [rbx + 48]",
    "shl ecx, 3",
    "xor eax, eax",
    "cld",
    "rep stosq",
    "test r12d, r12d",
    "jnz 2b",
    "cmp dword ptr [rbx + 52], 0",
    "jne 2b",
    // What the program loads is its guest's from here on: the processor's own are empty.
    "xor eax, eax",
    "mov ds, eax",
    "mov es, eax",
    "mov fs, eax",
    "mov gs, eax",
    "mov rax, [rbx + 24]",
    "wrfsbase rax",
    "mov rax, [rbx + 32]",
    "wrgsbase rax",
    "mov rsp, [rbx]",
    "mov eax, 15",
    "syscall",
    "ireko_stub_return:",
    "ud2",
    "ireko_stub_end:",
    ".popsection",
    control = const CONTROL,
    reports = const REPORTS,
    requests = const REQUESTS,
    commands = const COMMANDS,
);

unsafe extern "C" {
    fn ireko_stub_start();
    fn ireko_stub_signal();
    fn ireko_stub_wrote();
    fn ireko_stub_read();
    fn ireko_stub_exit();
    fn ireko_stub_command();
    fn ireko_stub_return();
    fn ireko_stub_end();
}

/// Where a place of the stub's code is in its process.
fn placed(symbol: unsafe extern "C" fn()) -> u64 {
    BASE + (symbol as usize - ireko_stub_start as *const () as usize) as u64
}

/// What was interrupted, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    pub signal: i32,
    pub vector: u64,
    pub error: u64,
    /// CR2.
    pub address: u64,
    /// Where a system call was.
    pub call: u64,
    /// CS, and DS, ES, FS and GS.
    pub code_selector: u16,
    pub selectors: [u16; 4],
}

/// The general registers in the kernel's context, by their numbers.
pub const GENERAL: [i32; 16] = [
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

/// The registers of the program, as the kernel lays them out.
pub type Registers = [i64; 23];

pub struct Stub {
    process: i32,
    /// For signals to it.
    handle: OwnedFd,
    requests: OwnedFd,
    reports: OwnedFd,
    control: *mut u8,
    secret: u64,
    /// Nanoseconds of its own that it takes to come and go.
    pub visit_costs: u64,
}

// SAFETY: the shared memory is this one's alone on this side.
unsafe impl Send for Stub {}

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn pipe() -> io::Result<[OwnedFd; 2]> {
    let mut ends = [0; 2];
    // SAFETY: two descriptors are written, which are nobody's yet.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC).into())?;
        Ok(ends.map(|end| OwnedFd::from_raw_fd(end)))
    }
}

impl Stub {
    /// Makes the process. `memory` is the guest's.
    pub fn new(memory: BorrowedFd<'_>, copies: BorrowedFd<'_>) -> io::Result<Self> {
        let shared = memory_file(CONTROL_BYTES)?;
        // SAFETY: a fresh shared mapping.
        let control = unsafe {
            let rights = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), CONTROL_BYTES, rights, libc::MAP_SHARED, shared.as_raw_fd(), 0)
        };
        if control == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let (requests, reports) = (pipe()?, pipe()?);
        let mut secret = [0; 8];
        // SAFETY: eight bytes are written.
        check(unsafe { libc::getrandom(secret.as_mut_ptr().cast(), 8, 0) } as i64)?;
        let secret = u64::from_le_bytes(secret);
        let child = Child {
            requests: requests[0].as_raw_fd(),
            reports: reports[1].as_raw_fd(),
            memory: memory.as_raw_fd(),
            copies: copies.as_raw_fd(),
            shared: shared.as_raw_fd(),
            filter: filter(secret),
            parent: std::process::id(),
        };
        // SAFETY: the child makes system calls only, on what was readied before.
        let process = unsafe { libc::fork() };
        if process == 0 {
            // SAFETY: this is the fresh process.
            unsafe { child.become_stub() }
        }
        check(process.into())?;
        // SAFETY: a fresh descriptor, of a child that nobody has waited for.
        let handle =
            unsafe { OwnedFd::from_raw_fd(check(libc::syscall(libc::SYS_pidfd_open, process, 0))? as i32) };
        let ([_, requests], [reports, _]) = (requests, reports);
        let mut stub =
            Self { process, handle, requests, reports, control: control.cast(), secret, visit_costs: 0 };
        stub.wait(|| false)?;
        stub.forget_all()?;
        let before = stub.processor_time();
        (0..VISITS).try_for_each(|_| stub.perform_none())?;
        // A signal and the return from it cost about as much again.
        stub.visit_costs = 2 * (stub.processor_time().saturating_sub(before) / VISITS);
        Ok(stub)
    }

    /// By which signals reach it.
    pub fn handle(&self) -> i32 {
        self.handle.as_raw_fd()
    }

    fn control(&self) -> *mut Control {
        self.control.cast()
    }

    /// What is at an address of the process, if so many bytes are in the stack that signals come on.
    fn shared(&self, address: u64, bytes: usize) -> io::Result<*mut u8> {
        let offset = address.wrapping_sub(CONTROL);
        let inside = (STACK as u64..CONTROL_BYTES as u64).contains(&offset)
            && CONTROL_BYTES - offset as usize >= bytes;
        match inside && address.is_multiple_of(8) {
            true => Ok(self.control.wrapping_add(offset as usize)),
            false => Err(io::Error::other("a stub's state is not where it can be")),
        }
    }

    fn context(&self) -> io::Result<*mut libc::ucontext_t> {
        // SAFETY: the shared memory begins with it.
        let at = unsafe { (*self.control()).context };
        Ok(self.shared(at, 304)?.cast())
    }

    /// The registers of its program.
    pub fn registers(&self) -> io::Result<*mut Registers> {
        // SAFETY: the context lies in the shared memory.
        Ok(unsafe { &raw mut (*self.context()?).uc_mcontext.gregs })
    }

    /// Its program's XSAVE area, of `bytes`.
    pub fn area(&self, bytes: usize) -> io::Result<*mut u8> {
        // SAFETY: as for `registers`.
        let at = unsafe { (*self.context()?).uc_mcontext.fpregs } as u64;
        self.shared(at, bytes)
    }

    /// Bases of FS and GS.
    pub fn bases(&self) -> [u64; 2] {
        // SAFETY: the shared memory begins with them.
        unsafe { [(*self.control()).fs_base, (*self.control()).gs_base] }
    }

    pub fn set_bases(&mut self, [fs, gs]: [u64; 2]) {
        // SAFETY: as for `bases`.
        unsafe { ((*self.control()).fs_base, (*self.control()).gs_base) = (fs, gs) }
    }

    /// What ended a stretch of the program. One who was in the stub's own code had no business there.
    pub fn trap(&self) -> io::Result<Trap> {
        // SAFETY: the shared memory begins with it, and has the registers.
        unsafe {
            let (registers, control) = (&*self.registers()?, &*self.control());
            if is_own(registers[libc::REG_RIP as usize] as u64) {
                return Err(io::Error::other("a program ran in the stub"));
            }
            Ok(Trap {
                signal: control.signal as i32,
                vector: registers[libc::REG_TRAPNO as usize] as u64,
                error: registers[libc::REG_ERR as usize] as u64,
                address: registers[libc::REG_CR2 as usize] as u64,
                call: control.address,
                code_selector: registers[libc::REG_CSGSFS as usize] as u16,
                selectors: control.selectors,
            })
        }
    }

    /// Waits until it reports. Who was signalled must soon: a program that has made itself deaf ends.
    fn wait(&self, wanted: impl Fn() -> bool) -> io::Result<()> {
        let mut byte = 0u8;
        loop {
            let mut report = libc::pollfd { fd: self.reports.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let was_wanted = wanted();
            // SAFETY: one descriptor is looked at.
            let ready = unsafe { libc::poll(&mut report, 1, PATIENCE) };
            if ready <= 0 {
                if ready == 0 && was_wanted {
                    self.kill();
                }
                continue;
            }
            // SAFETY: a byte is written.
            match unsafe { libc::read(self.reports.as_raw_fd(), (&raw mut byte).cast(), 1) } {
                1 => return Ok(()),
                0 => return Err(io::Error::other("a stub has ended")),
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn kill(&self) {
        // SAFETY: a signal to our child.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.handle(), libc::SIGKILL, 0, 0) };
    }

    fn go(&mut self, count: usize, again: bool) -> io::Result<()> {
        // SAFETY: the shared memory begins with it.
        unsafe { ((*self.control()).count, (*self.control()).again) = (count as u32, again.into()) }
        let byte = 0u8;
        // SAFETY: a byte is read.
        check(unsafe { libc::write(self.requests.as_raw_fd(), (&raw const byte).cast(), 1) } as i64)?;
        Ok(())
    }

    /// Puts commands where the process finds them.
    fn put(&mut self, commands: &[Command]) {
        // SAFETY: as many as there is room for.
        unsafe {
            let first: *mut Command = self.control.add(COMMANDS).cast();
            assert!(commands.len() <= MOST);
            first.copy_from_nonoverlapping(commands.as_ptr(), commands.len());
        }
    }

    fn perform_none(&mut self) -> io::Result<()> {
        self.go(0, true)?;
        self.wait(|| false)
    }

    /// Nanoseconds that the process has run.
    pub fn processor_time(&self) -> u64 {
        // The clock of a process (linux/posix-timers.h: its number inverted, and which of its clocks).
        let clock = !self.process << 3 | 2;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a time is written.
        unsafe { libc::clock_gettime(clock, &mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    /// Has all commands done.
    pub fn perform(&mut self, commands: &[Command]) -> io::Result<()> {
        for part in commands.chunks(MOST) {
            self.put(part);
            self.go(part.len(), true)?;
            self.wait(|| false)?;
            self.done()?;
        }
        Ok(())
    }

    fn done(&self) -> io::Result<()> {
        // SAFETY: the shared memory begins with it.
        let (left, failed) = unsafe { ((*self.control()).left, (*self.control()).failed) };
        if left == 0 {
            return Ok(());
        }
        Err(io::Error::other(format!("a stub's command failed with {}", failed as i64)))
    }

    /// Has commands done, then the program run until something is to be told.
    /// `wanted` tells whether somebody has signalled.
    pub fn run(&mut self, commands: &[Command], wanted: impl Fn() -> bool) -> io::Result<()> {
        let mut rest = commands;
        if rest.len() > MOST {
            let (first, last) = rest.split_at(rest.len() - MOST);
            self.perform(first)?;
            rest = last;
        }
        self.put(rest);
        self.go(rest.len(), false)?;
        self.wait(wanted)?;
        self.done()
    }

    /// Maps `bytes` of guest memory, or of copies, from `offset` on.
    pub fn map(&self, address: u64, bytes: u64, place: Backing, write: bool, execute: bool) -> Command {
        let (file, offset) = match place {
            Backing::Memory(offset) => (MEMORY, offset),
            Backing::Copy(number) => (COPIES, u64::from(number) << 12),
        };
        let right = |on: bool, right: i32| if on { right } else { 0 };
        let rights = libc::PROT_READ | right(write, libc::PROT_WRITE) | right(execute, libc::PROT_EXEC);
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE) as u64;
        let arguments =
            [address, bytes, rights as u64, flags | self.high(0), file as u64 | self.high(1), offset];
        Command { number: libc::SYS_mmap as u64, arguments, expected: address }
    }

    pub fn unmap(&self, address: u64, bytes: u64) -> Command {
        let arguments = [address, bytes, 0, self.high(0), self.high(1), 0];
        Command { number: libc::SYS_munmap as u64, arguments, expected: 0 }
    }

    /// Half of the secret, where the kernel looks at nothing.
    fn high(&self, half: u32) -> u64 {
        (self.secret >> (32 * half)) << 32
    }

    /// All but the stub goes.
    pub fn unmap_all(&self) -> [Command; 2] {
        [self.unmap(0, BASE), self.unmap(END, USER_END - END)]
    }

    pub fn forget_all(&mut self) -> io::Result<()> {
        self.perform(&self.unmap_all())
    }
}

/// Whether a page is one that the process has for itself.
pub fn is_own(address: u64) -> bool {
    (BASE..END).contains(&address)
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.kill();
        // SAFETY: reaps our child, and unmaps what was mapped for it.
        unsafe {
            libc::waitpid(self.process, std::ptr::null_mut(), 0);
            libc::munmap(self.control.cast(), CONTROL_BYTES);
        }
    }
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
struct Child {
    requests: i32,
    reports: i32,
    memory: i32,
    copies: i32,
    shared: i32,
    filter: Vec<libc::sock_filter>,
    parent: u32,
}

const SIGNALS: [i32; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS, libc::SIGURG];

impl Child {
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
        let well = |result: i64| (result >= 0).then_some(result);
        // SAFETY: as in `become_stub`.
        unsafe {
            well(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into())?;
            if libc::getppid() as u32 != self.parent {
                return None;
            }
            well(libc::setpgid(0, 0).into())?;
            well(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0).into())?;
            // RDTSC and RDTSCP are the engine's.
            well(libc::prctl(libc::PR_SET_TSC, libc::PR_TSC_SIGSEGV, 0, 0, 0).into())?;
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

/// What the process may ask the kernel for: at the stub's own places what is asked there, and mappings of who knows the secret.
fn filter(secret: u64) -> Vec<libc::sock_filter> {
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    const PLACE: u32 = 8;
    let argument = |number: u32| 16 + 8 * number;
    let load = |offset: u32| libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: offset,
    };
    let answer = |k: u32| libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k };
    let equal = |k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt,
        jf,
        k,
    };
    let trap = || answer(libc::SECCOMP_RET_TRAP);
    let mut program = vec![
        load(ARCH),
        equal(0xc000_003e, 1, 0),
        trap(),
        load(PLACE + 4),
        equal((BASE >> 32) as u32, 1, 0),
        trap(),
    ];
    // One byte, of its own pipe: other descriptors are the guest's memory.
    let byte = |file: i32| {
        [
            load(argument(0)),
            equal(file as u32, 1, 0),
            trap(),
            load(argument(2)),
            equal(1, 1, 0),
            trap(),
            load(argument(2) + 4),
            equal(0, 1, 0),
            trap(),
        ]
    };
    let own = [
        (placed(ireko_stub_wrote), libc::SYS_write, byte(REPORTS).to_vec()),
        (placed(ireko_stub_read), libc::SYS_read, byte(REQUESTS).to_vec()),
        (placed(ireko_stub_exit), libc::SYS_exit_group, Vec::new()),
        (placed(ireko_stub_return), libc::SYS_rt_sigreturn, Vec::new()),
    ];
    for (place, number, arguments) in own {
        program.extend([load(PLACE), equal(place as u32, 0, 4 + arguments.len() as u8)]);
        program.extend([load(NUMBER), equal(number as u32, 1, 0), trap()]);
        program.extend(arguments);
        program.push(answer(libc::SECCOMP_RET_ALLOW));
    }
    program.extend([
        load(PLACE),
        equal(placed(ireko_stub_command) as u32, 1, 0),
        trap(),
        load(NUMBER),
        equal(libc::SYS_mmap as u32, 2, 0),
        equal(libc::SYS_munmap as u32, 1, 0),
        trap(),
        load(argument(3) + 4),
        equal(secret as u32, 1, 0),
        trap(),
        load(argument(4) + 4),
        equal((secret >> 32) as u32, 1, 0),
        trap(),
        answer(libc::SECCOMP_RET_ALLOW),
    ]);
    program
}
