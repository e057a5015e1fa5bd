//! A process that has nothing but a guest program's pages, in which its code runs as it stands.
//!
//! Each signal there is told to the engine, who finds the interrupted state where the kernel has put it, in memory that both have,
//! and puts there what is gone on from. What is mapped is said by the engine and done by the process between two of the guest's
//! stretches. Its filter lets none but the stub's own system calls through: the guest's own are signals like all else.
//!
//! Whatever comes from there may be a program's: that it stands still is known by its answer to the last request, a number that it
//! could not know before and gets by waiting only. Who answers anything else is ended.

// UNSAFETY: reads and writes memory that it shares with a process.
#![allow(unsafe_code)]

use super::child::{self, Child, check, memory_file};
use super::filter::MESSAGE;
use super::frame::{self, Frame, Left};
use super::layout::*;
use crate::wake;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What both sides know, at the start of the shared memory.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    /// Where the interrupted state is.
    context: u64,
    signal: u32,
    /// `si_code`.
    code: u32,
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
    /// The last request; a report says it again.
    nonce: u64,
    /// What the return from a signal wants: halves of the secret. The stub takes them away before it returns.
    secret: [u64; 2],
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
            && bytes < MOST_BYTES
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

/// Milliseconds until it is looked at what a process does of which a report is wanted; those that it may run until it has heard
/// the signal, or until commands are done, too; and the looks at one that hardly runs.
const LOOK: i32 = 20;
const RUNS: u64 = 20;
const SLOW: u64 = 1000;
const LOOKS: u32 = 250;
/// And at one that prepares itself.
const FIRST_LOOKS: u32 = 500;

/// Commands that are left, before it is known how many.
const NOT_DONE: u64 = u64::MAX;

/// Pages of neighbours are one mapping up to so many bytes: the filter lets none of 4 GiB through.
pub const MOST_BYTES: u64 = 1 << 30;

/// What it costs to come and go is the mean of so many.
const VISITS: u64 = 64;

const MOST: usize = (RETURN - COMMANDS) / size_of::<Command>();

/// What came of a process that was to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// Its program has left something: [`Stub::left`].
    Left,
    /// A command has failed, or something has come in between. The program has not run.
    NotBegun,
}

pub struct Stub {
    process: i32,
    /// For signals to it.
    handle: OwnedFd,
    requests: OwnedFd,
    reports: OwnedFd,
    control: *mut u8,
    secret: u64,
    /// Requests are numbers that nobody can know before: a report that does not say the last one is another's.
    nonces: RandomState,
    count: u64,
    nonce: u64,
    /// Of FS and GS.
    bases: [u64; 2],
    left: Left,
    /// What its program goes on from.
    next: Frame,
    /// Nanoseconds of its own that it takes to come and go.
    pub visit_costs: u64,
}

// SAFETY: the shared memory is this one's alone on this side.
unsafe impl Send for Stub {}

fn broken(why: &str) -> io::Error {
    io::Error::other(format!("a program's process is of no use any more: {why}"))
}

/// Both ends, of which the engine's (the one to read, or that to write) does not wait.
fn pipe(reads: bool) -> io::Result<[OwnedFd; 2]> {
    let mut ends = [0; 2];
    // SAFETY: two descriptors are written, which are nobody's yet; then one is changed.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC).into())?;
        let ends = ends.map(|end| OwnedFd::from_raw_fd(end));
        let own = ends[usize::from(!reads)].as_raw_fd();
        check(libc::fcntl(own, libc::F_SETFL, libc::O_NONBLOCK).into())?;
        Ok(ends)
    }
}

impl Stub {
    /// Makes the process. `memory` is the guest's.
    pub fn new(memory: BorrowedFd<'_>, copies: BorrowedFd<'_>) -> io::Result<Self> {
        let shared = memory_file(CONTROL_BYTES)?;
        let control = share(&shared)?;
        let (requests, reports) = (pipe(false)?, pipe(true)?);
        let secret = random()?;
        let nonces = RandomState::new();
        let nonce = nonces.hash_one(0u64);
        // SAFETY: the shared memory begins with it, and nobody else has it yet.
        unsafe { (*control.cast::<Control>()).nonce = nonce }
        let files = [&requests[0], &reports[1]].map(|end| end.as_raw_fd());
        let child = Child::new(files, memory, copies, shared.as_fd(), secret);
        let process = child.start()?;
        // SAFETY: a fresh descriptor, of a child that nobody has waited for.
        let handle =
            unsafe { OwnedFd::from_raw_fd(check(libc::syscall(libc::SYS_pidfd_open, process, 0))? as i32) };
        let ([_, requests], [reports, _]) = (requests, reports);
        let mut stub = Self {
            process,
            handle,
            requests,
            reports,
            control,
            secret,
            nonces,
            count: 0,
            nonce,
            bases: [0; 2],
            left: Left { area: vec![0; 512], ..Left::default() },
            next: Frame::default(),
            visit_costs: 0,
        };
        stub.begin()?;
        Ok(stub)
    }

    /// The first report, of an ICEBP, tells how frames look here, and where that leaves a program. Then what the process has of this one's goes.
    fn begin(&mut self) -> io::Result<()> {
        self.wait_for_first()?;
        self.take()?;
        let bytes = frame::bytes(&self.left.area).ok_or_else(|| broken("its frames are of another kind"))?;
        self.left.area = vec![0; bytes];
        self.take()?;
        let rip = self.left.context.register(libc::REG_RIP);
        if self.left.signal != libc::SIGTRAP || !(BASE..=BASE + 1).contains(&rip) {
            return Err(broken("its first report is not of its first instruction"));
        }
        self.left.icebp_bytes = u64::from(rip != BASE);
        self.next = Frame::new(&self.left.context, &self.left.area)
            .ok_or_else(|| broken("its frames are of another kind"))?;
        self.forget()?;
        let before = self.processor_time();
        (0..VISITS).try_for_each(|_| self.perform(&[]).map(|_| ()))?;
        // A signal and the return from it cost about as much again.
        self.visit_costs = 2 * (self.processor_time().saturating_sub(before) / VISITS);
        Ok(())
    }

    /// By which signals reach it.
    pub fn handle(&self) -> i32 {
        self.handle.as_raw_fd()
    }

    /// What its program has left.
    pub fn left(&self) -> &Left {
        &self.left
    }

    /// What its program goes on from, and the bases of FS and GS then.
    pub fn begins(&mut self) -> (&mut Frame, &mut [u64; 2]) {
        (&mut self.next, &mut self.bases)
    }

    /// What is at an address of the process, if so many bytes are in the stack that signals come on.
    fn on_stack(&self, address: u64, bytes: usize) -> io::Result<*const u8> {
        let offset = address.wrapping_sub(CONTROL);
        let inside = (STACK as u64..CONTROL_BYTES as u64).contains(&offset)
            && CONTROL_BYTES - offset as usize >= bytes;
        match inside {
            true => Ok(self.control.wrapping_add(offset as usize)),
            false => Err(broken("its state is not where it can be")),
        }
    }

    /// Copies what the program has left: what is looked at from here on changes no more.
    fn take(&mut self) -> io::Result<()> {
        // SAFETY: the shared memory begins with it; any bytes are one.
        let control = unsafe { self.control.cast::<Control>().read_volatile() };
        let context = self.on_stack(control.context, frame::CONTEXT)?;
        // SAFETY: so many bytes lie there.
        unsafe { self.left.context.0.as_mut_ptr().copy_from_nonoverlapping(context, frame::CONTEXT) };
        let area = self.on_stack(self.left.context.area(), self.left.area.len())?;
        let bytes = self.left.area.len();
        // SAFETY: as above.
        unsafe { self.left.area.as_mut_ptr().copy_from_nonoverlapping(area, bytes) };
        (self.left.signal, self.left.code) = (control.signal as i32, control.code as i32);
        (self.left.call, self.left.selectors) = (control.address, control.selectors);
        self.left.bases = [control.fs_base, control.gs_base];
        Ok(())
    }

    /// Nobody signals it meanwhile: it takes signals before its filter stands.
    fn wait_for_first(&self) -> io::Result<()> {
        for _ in 0..FIRST_LOOKS {
            if self.reports()? {
                return Ok(());
            }
        }
        Err(broken("it does not begin"))
    }

    /// Waits until it reports. Of whom a report is wanted is signalled, and has to be heard of before he has run for so many
    /// milliseconds: nobody waits for a process that has made itself deaf.
    fn wait(&mut self, wanted: impl Fn() -> bool, runs: u64) -> io::Result<()> {
        let (mut signalled, mut looks) = (None, 0);
        loop {
            let was_wanted = wanted();
            if self.reports()? {
                return Ok(());
            }
            if !was_wanted {
                continue;
            }
            let now = self.processor_time();
            let since = *signalled.get_or_insert_with(|| {
                // Who wakes may not have come to that yet.
                self.signal(libc::SIGURG);
                now
            });
            looks += 1;
            if now.saturating_sub(since) > runs * 1_000_000 || looks > LOOKS {
                return Err(broken("it answers no signal"));
            }
        }
    }

    /// Whether it has reported within a look's time: once, and to the last request.
    fn reports(&self) -> io::Result<bool> {
        let mut report = libc::pollfd { fd: self.reports.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor is looked at.
        if unsafe { libc::poll(&mut report, 1, LOOK) } <= 0 {
            return Ok(false);
        }
        let mut bytes = [0u8; 2 * MESSAGE as usize];
        // SAFETY: as many bytes are written as there are.
        let read = unsafe { libc::read(self.reports.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
        match read {
            0 => Err(broken("it has ended")),
            1.. if read == MESSAGE as isize && bytes[..MESSAGE as usize] == self.nonce.to_le_bytes() => {
                Ok(true)
            }
            1.. => Err(broken("its reports are out of step")),
            _ => match io::Error::last_os_error() {
                error if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Ok(false),
                error => Err(error),
            },
        }
    }

    /// Waits until a report is there, and takes none.
    #[cfg(test)]
    fn awaits_report(&self) -> bool {
        let mut report = libc::pollfd { fd: self.reports.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor is looked at.
        unsafe { libc::poll(&mut report, 1, 20_000) == 1 }
    }

    /// What both have.
    #[cfg(test)]
    fn shared(&self) -> Vec<u8> {
        // SAFETY: the shared memory, whose process waits.
        unsafe { std::slice::from_raw_parts(self.control, CONTROL_BYTES) }.to_vec()
    }

    fn signal(&self, signal: i32) {
        wake::signal(self.handle(), signal);
    }

    /// It goes on with these commands, then with its program, or to report again.
    fn go(&mut self, commands: &[Command], again: bool) -> io::Result<()> {
        assert!(commands.len() <= MOST);
        let area = self.next.area();
        assert!(area.len() <= STACK - RETURN_AREA);
        // SAFETY: there is room for all of that, and no program of the process runs.
        unsafe {
            let first: *mut Command = self.control.add(COMMANDS).cast();
            first.copy_from_nonoverlapping(commands.as_ptr(), commands.len());
            let control = &mut *self.control.cast::<Control>();
            (control.count, control.again) = (commands.len() as u32, again.into());
            // The process says otherwise when it has come to their end, and nobody else can meanwhile.
            control.left = NOT_DONE;
            if !again {
                [control.fs_base, control.gs_base] = self.bases;
                control.secret = [self.high(0), self.high(1)];
                let context = self.next.context.0;
                self.control.add(RETURN).copy_from_nonoverlapping(context.as_ptr(), context.len());
                self.control.add(RETURN_AREA).copy_from_nonoverlapping(area.as_ptr(), area.len());
            }
        }
        self.count += 1;
        self.nonce = self.nonces.hash_one(self.count);
        let bytes = self.nonce.to_le_bytes();
        // SAFETY: as many bytes are read.
        let wrote = unsafe { libc::write(self.requests.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        match check(wrote as i64)? {
            wrote if wrote == i64::from(MESSAGE) => Ok(()),
            _ => Err(broken("it takes no request")),
        }
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

    /// Has commands done, at most [`MOST`], and waits for that.
    fn perform(&mut self, commands: &[Command]) -> io::Result<Ran> {
        self.go(commands, true)?;
        self.wait(|| true, SLOW)?;
        Ok(self.done())
    }

    fn done(&self) -> Ran {
        // SAFETY: the shared memory begins with it.
        match unsafe { self.control.cast::<Control>().read_volatile() }.left {
            0 => Ran::Left,
            _ => Ran::NotBegun,
        }
    }

    /// Has commands done, then the program run until something is to be told.
    /// `wanted` tells whether somebody has signalled.
    pub fn run(&mut self, commands: &[Command], wanted: impl Fn() -> bool) -> io::Result<Ran> {
        let last = commands.len().saturating_sub(MOST);
        for part in commands[..last].chunks(MOST) {
            if self.perform(part)? == Ran::NotBegun {
                return Ok(Ran::NotBegun);
            }
        }
        self.go(&commands[last..], false)?;
        self.wait(wanted, if commands.is_empty() { RUNS } else { SLOW })?;
        if self.done() == Ran::NotBegun {
            return Ok(Ran::NotBegun);
        }
        self.take()?;
        Ok(if self.is_returning() { Ran::NotBegun } else { Ran::Left })
    }

    /// Whether it was in its own code with the secret in its registers: on the way to its program, not come from there.
    fn is_returning(&self) -> bool {
        let register = |number| self.left.context.register(number);
        child::is_code(register(libc::REG_RIP))
            && [register(libc::REG_R10), register(libc::REG_R8)] == [self.high(0), self.high(1)]
    }

    /// Maps `bytes` of guest memory, or of copies, from `offset` on.
    pub fn map(&self, address: u64, bytes: u64, place: Backing, write: bool, execute: bool) -> Command {
        let (file, offset) = match place {
            Backing::Memory(offset) => (MEMORY, offset),
            Backing::Copy(number) => (COPIES, u64::from(number) << 12),
        };
        let right = |on: bool, right: i32| if on { right } else { 0 };
        let rights = libc::PROT_READ | right(write, libc::PROT_WRITE) | right(execute, libc::PROT_EXEC);
        let (flags, file) = (u64::from(MAP_FLAGS) | self.high(0), file as u64 | self.high(1));
        let arguments = [address, bytes, rights as u64, flags, file, offset];
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
        [self.unmap(0, SLOT_START), self.unmap(SLOT_END, USER_END - SLOT_END)]
    }

    /// The registers of its program are nowhere any more: neither where the kernel has put them nor where the engine has.
    pub fn wipe(&mut self) {
        const CONTEXT: usize = RETURN_AREA - RETURN;
        let frame = 2 * CONTEXT + self.next.area().len();
        for place in [0..COMMANDS, RETURN..RETURN + frame, CONTROL_BYTES - frame..CONTROL_BYTES] {
            // SAFETY: parts of the shared memory, which its process waits beside.
            unsafe { self.control.add(place.start).write_bytes(0, place.len()) };
        }
    }

    /// Nothing of what it had is left: the next program is another's.
    pub fn forget(&mut self) -> io::Result<()> {
        if self.perform(&self.unmap_all())? == Ran::NotBegun {
            return Err(broken("it unmaps nothing"));
        }
        // SAFETY: all of the shared memory, which its process waits beside.
        unsafe { self.control.write_bytes(0, CONTROL_BYTES) };
        Ok(())
    }
}

/// Whether an address is among those that a process has for itself.
pub fn is_own(address: u64) -> bool {
    (SLOT_START..SLOT_END).contains(&address)
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        // SAFETY: reaps our child, and unmaps what was mapped for it.
        unsafe {
            libc::waitpid(self.process, std::ptr::null_mut(), 0);
            libc::munmap(self.control.cast(), CONTROL_BYTES);
        }
    }
}

fn share(file: &OwnedFd) -> io::Result<*mut u8> {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh shared mapping.
    let memory = unsafe {
        libc::mmap(std::ptr::null_mut(), CONTROL_BYTES, rights, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(memory.cast()) }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    // SAFETY: eight bytes are written.
    check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } as i64)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
#[path = "stub_tests.rs"]
mod tests;
