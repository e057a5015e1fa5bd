//! Litmus tests: what two or four processors may see of each other's writes, and what the x86 memory model forbids (SDM vol. 3, "Memory Ordering").
//!
//! Each thread runs its half of many small races in a row, on variables of their own; what the threads read is looked at afterwards. Run in a guest with
//! several processors, it is the engine's accesses that race: plain ones, locked ones, over lines and pages, and beside code.

// UNSAFETY: races on shared memory by machine instructions, at addresses where Rust has no atomics.
#![allow(unsafe_code)]

use crate::out;
use anyhow::{Result, bail};
use std::arch::asm;
use std::process::ExitCode;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[derive(clap::Args)]
pub struct LitmusArgs {
    /// Races of each kind.
    #[arg(long, default_value_t = 100_000)]
    rounds: usize,
}

/// Races between two meetings of the threads.
const BATCH: usize = 256;
/// Bytes from one race's variables to the next one's: two pages.
const STRIDE: usize = 8192;

/// How variables are written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Plain,
    /// MFENCE between the two accesses.
    Fenced,
    /// Written by XCHG, read by LOCK XADD.
    Locked,
}

/// Where a variable lies in its 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    Aligned,
    Line,
    Page,
    /// In a page that holds code which runs between the races.
    Code,
}

impl Placement {
    /// Offsets of both variables, in one page or over its end.
    fn offsets(self) -> [usize; 2] {
        match self {
            Self::Aligned | Self::Code => [1024, 2048],
            Self::Line => [1024 + 60, 2048 + 60],
            Self::Page => [4092, 2048 + 60],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    MessagePassing,
    StoreBuffering,
    LoadBuffering,
    IndependentReads,
    TwoWrites,
    Coherence,
}

const TESTS: [Test; 6] = [
    Test::MessagePassing,
    Test::StoreBuffering,
    Test::LoadBuffering,
    Test::IndependentReads,
    Test::TwoWrites,
    Test::Coherence,
];

fn store(at: *mut u64, value: u64, how: How) {
    // SAFETY: the place is in the memory of the race, which outlives its threads.
    unsafe {
        match how {
            How::Locked => asm!("xchg [{0}], {1}", in(reg) at, inout(reg) value => _, options(nostack)),
            _ => asm!("mov [{0}], {1}", in(reg) at, in(reg) value, options(nostack, preserves_flags)),
        }
    }
}

fn load(at: *mut u64, how: How) -> u64 {
    let mut value = 0u64;
    // SAFETY: as in `store`.
    unsafe {
        match how {
            How::Locked => asm!("lock xadd [{0}], {1}", in(reg) at, inout(reg) value, options(nostack)),
            _ => asm!("mov {1}, [{0}]", in(reg) at, out(reg) value, options(nostack, preserves_flags)),
        }
    }
    value
}

fn between(how: How) {
    if how == How::Fenced {
        // SAFETY: a fence.
        unsafe { asm!("mfence", options(nostack, preserves_flags)) };
    }
}

impl Test {
    fn threads(self) -> usize {
        if self == Self::IndependentReads { 4 } else { 2 }
    }

    /// What one thread does with x and y; what it reads, in order.
    fn run(self, thread: usize, x: *mut u64, y: *mut u64, how: How) -> [u64; 2] {
        let write_read = |first, second| {
            store(first, 1, how);
            between(how);
            [load(second, how), 0]
        };
        let read_both = |first, second| {
            let one = load(first, how);
            between(how);
            [one, load(second, how)]
        };
        let write_both = |first, one, second, two| {
            store(first, one, how);
            between(how);
            store(second, two, how);
            [0; 2]
        };
        match (self, thread) {
            (Self::MessagePassing, 0) => write_both(x, 1, y, 1),
            (Self::MessagePassing, _) => read_both(y, x),
            (Self::StoreBuffering, 0) => write_read(x, y),
            (Self::StoreBuffering, _) => write_read(y, x),
            (Self::LoadBuffering, thread) => {
                let (from, to) = if thread == 0 { (x, y) } else { (y, x) };
                let read = load(from, how);
                between(how);
                store(to, 1, how);
                [read, 0]
            }
            (Self::IndependentReads, 0) => write_both(x, 1, x, 1),
            (Self::IndependentReads, 1) => write_both(y, 1, y, 1),
            (Self::IndependentReads, 2) => read_both(x, y),
            (Self::IndependentReads, _) => read_both(y, x),
            (Self::TwoWrites, 0) => write_both(x, 1, y, 2),
            (Self::TwoWrites, _) => write_both(y, 1, x, 2),
            (Self::Coherence, 0) => write_both(x, 1, x, 1),
            (Self::Coherence, _) => read_both(x, x),
        }
    }

    /// The outcome that is looked for: what the threads have read, and what x and y are at the end.
    fn shows(self, read: &[[u64; 2]], last: [u64; 2]) -> bool {
        match self {
            Self::MessagePassing | Self::Coherence => read[1] == [1, 0],
            Self::StoreBuffering => read[0][0] == 0 && read[1][0] == 0,
            Self::LoadBuffering => read[0][0] == 1 && read[1][0] == 1,
            Self::IndependentReads => read[2] == [1, 0] && read[3] == [1, 0],
            Self::TwoWrites => last == [1, 1],
        }
    }

    /// Whether it may show: a load may overtake an older store to another place, and nothing else may overtake.
    fn allowed(self, how: How) -> bool {
        self == Self::StoreBuffering && how == How::Plain
    }
}

/// Memory for a batch, executable, and zero.
struct Arena(*mut u8);

// SAFETY: it is only raced on by machine instructions.
unsafe impl Sync for Arena {}

impl Arena {
    fn new() -> Result<Self> {
        let (rights, flags) =
            (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping.
        let at = unsafe { libc::mmap(ptr::null_mut(), BATCH * STRIDE, rights, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            bail!("no memory for the races: {}", std::io::Error::last_os_error());
        }
        Ok(Self(at.cast()))
    }

    fn variables(&self, race: usize, place: Placement) -> [*mut u64; 2] {
        place.offsets().map(|offset| {
            assert!(offset + 8 <= STRIDE);
            self.0.wrapping_add(race * STRIDE + offset).cast()
        })
    }

    /// Writes RET to the page of a race and calls it.
    fn run_code(&self, race: usize) {
        let at = self.0.wrapping_add(race * STRIDE);
        // SAFETY: the mapping is executable, and RET comes back.
        unsafe {
            at.write_volatile(0xc3);
            std::mem::transmute::<*mut u8, extern "C" fn()>(at)();
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours.
        unsafe { libc::munmap(self.0.cast(), BATCH * STRIDE) };
    }
}

/// Waits until all threads are here.
struct Meeting {
    threads: usize,
    come: AtomicUsize,
}

impl Meeting {
    fn meet(&self) {
        let number = self.come.fetch_add(1, Ordering::SeqCst) + 1;
        let all = number.next_multiple_of(self.threads);
        let mut spins = 0u32;
        while self.come.load(Ordering::SeqCst) < all {
            spins += 1;
            if spins > 1000 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

/// How often the outcome that is looked for has shown.
fn race(test: Test, how: How, place: Placement, rounds: usize) -> Result<u64> {
    let (arena, threads, shown) = (Arena::new()?, test.threads(), AtomicU64::new(0));
    let meeting = Meeting { threads, come: AtomicUsize::new(0) };
    let read: Vec<[[AtomicU64; 2]; BATCH]> =
        (0..threads).map(|_| std::array::from_fn(|_| Default::default())).collect();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (arena, meeting, read, shown) = (&arena, &meeting, &read, &shown);
            scope.spawn(move || {
                for batch in 0..rounds.div_ceil(BATCH) {
                    if thread == 0 {
                        for race in 0..BATCH {
                            arena.variables(race, place).iter().for_each(|&at| store(at, 0, How::Plain));
                            if place == Placement::Code {
                                arena.run_code(race);
                            }
                        }
                    }
                    meeting.meet();
                    // Threads that go through the races from different places meet in some of them.
                    let shift = if thread == 0 { batch % 7 } else { 0 };
                    for step in 0..BATCH {
                        let race = (step + shift) % BATCH;
                        let [x, y] = arena.variables(race, place);
                        let values = test.run(thread, x, y, how);
                        for (to, value) in read[thread][race].iter().zip(values) {
                            to.store(value, Ordering::Relaxed);
                        }
                    }
                    meeting.meet();
                    if thread == 0 {
                        let count = (0..BATCH).filter(|&race| {
                            let read: Vec<[u64; 2]> = read
                                .iter()
                                .map(|of| [0, 1].map(|n| of[race][n].load(Ordering::Relaxed)))
                                .collect();
                            let last = arena.variables(race, place).map(|at| load(at, How::Plain));
                            test.shows(&read, last)
                        });
                        shown.fetch_add(count.count() as u64, Ordering::Relaxed);
                    }
                    meeting.meet();
                }
            });
        }
    });
    Ok(shown.into_inner())
}

/// Locked additions by four threads to one number at each place: how many are missing.
fn lost(place: Placement, rounds: usize) -> Result<u64> {
    let arena = Arena::new()?;
    let at = arena.variables(0, place)[0] as usize;
    let meeting = Meeting { threads: 4, come: AtomicUsize::new(0) };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let meeting = &meeting;
            scope.spawn(move || {
                meeting.meet();
                for _ in 0..rounds {
                    // SAFETY: as in `store`.
                    unsafe { asm!("lock inc qword ptr [{0}]", in(reg) at as *mut u64, options(nostack)) };
                }
            });
        }
        if place == Placement::Code {
            (0..rounds / 100).for_each(|_| arena.run_code(0));
        }
    });
    Ok((4 * rounds as u64).abs_diff(load(at as *mut u64, How::Plain)))
}

/// One thread writes a function and then its number; another sees the number, serializes, and calls it (SDM vol. 3, "Handling Self- and Cross-Modifying
/// Code"). How often it was an older function. Its first byte lies at an offset in a page; over the page's end an immediate does.
fn old_code(offset: usize, rounds: usize) -> Result<u64> {
    let (arena, old) = (Arena::new()?, AtomicU64::new(0));
    let (written, called) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (arena, written, called, old) = (&arena, &written, &called, &old);
        let wait = |of: &AtomicU64, number: u64| {
            let mut spins = 0u32;
            while of.load(Ordering::Relaxed) != number {
                spins += 1;
                if spins > 1000 { std::thread::yield_now() } else { std::hint::spin_loop() }
            }
        };
        scope.spawn(move || {
            let at = arena.0.wrapping_add(offset);
            for number in 1..=rounds as u64 {
                // SAFETY: in the arena. MOV EAX, number; RET.
                unsafe {
                    at.write_volatile(0xb8);
                    at.wrapping_add(1).cast::<u32>().write_unaligned(number as u32);
                    at.wrapping_add(5).write_volatile(0xc3);
                }
                written.store(number, Ordering::Release);
                wait(called, number);
            }
        });
        scope.spawn(move || {
            let at = arena.0.wrapping_add(offset);
            for number in 1..=rounds as u64 {
                wait(written, number);
                std::arch::x86_64::__cpuid(0);
                // SAFETY: the function is there whole: its number was seen.
                let said = unsafe { std::mem::transmute::<*mut u8, extern "C" fn() -> u32>(at)() };
                old.fetch_add(u64::from(u64::from(said) != number), Ordering::Relaxed);
                called.store(number, Ordering::Release);
            }
        });
    });
    Ok(old.into_inner())
}

/// A line for each kind of race; an error if something showed that must not.
pub fn run(args: &LitmusArgs) -> Result<ExitCode> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        bail!("races want two processors, and there is one");
    }
    let mut wrong = 0;
    for test in TESTS {
        for how in [How::Plain, How::Fenced, How::Locked] {
            for place in [Placement::Aligned, Placement::Line, Placement::Page, Placement::Code] {
                // Over a line's end only locked accesses are done in one.
                if how != How::Locked && matches!(place, Placement::Line | Placement::Page) {
                    continue;
                }
                // Those are slow everywhere: the whole bus, or all processors, stand still.
                let rounds = if matches!(place, Placement::Line | Placement::Page) {
                    args.rounds / 20
                } else {
                    args.rounds
                };
                let shown = race(test, how, place, rounds)?;
                let allowed = test.allowed(how);
                wrong += u64::from(shown > 0 && !allowed);
                let verdict = match (allowed, shown) {
                    (true, _) => "allowed",
                    (false, 0) => "never",
                    (false, _) => "WRONG",
                };
                out!("{test:?} {how:?} {place:?}: {shown} of {rounds}, {verdict}")?;
            }
        }
    }
    for place in [Placement::Aligned, Placement::Line, Placement::Page, Placement::Code] {
        let rounds =
            if matches!(place, Placement::Line | Placement::Page) { args.rounds / 20 } else { args.rounds };
        let missing = lost(place, rounds)?;
        wrong += u64::from(missing > 0);
        out!("LockedIncrements {place:?}: {missing} of {} missing", 4 * rounds)?;
    }
    for offset in [64, 4093] {
        let (rounds, old) = (args.rounds / 4, old_code(offset, args.rounds / 4)?);
        wrong += u64::from(old > 0);
        out!("WrittenCode at {offset}: {old} of {rounds} old")?;
    }
    if wrong > 0 {
        bail!("{wrong} kinds of race show what the memory model forbids");
    }
    Ok(ExitCode::SUCCESS)
}
