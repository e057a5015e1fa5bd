//! The host's own processor: runs strings in a forked child, many at a time.
//!
//! A signal handler enters the string by changing the state that its return restores, and every end of a string is a
//! signal, whose frame holds the state. So the kernel loads and saves everything, and no register is ours.

// UNSAFETY: forks, and shares memory with the child that runs arbitrary instructions.
#![allow(unsafe_code)]

use super::arena;
use super::child;
use super::state::{self, ArchitecturalState, End, Outcome, XSAVE};
use anyhow::{Context, Result, bail};
use std::sync::atomic::{AtomicU64, Ordering};

/// Strings that one message to the child runs.
pub const BATCH: usize = 64;
/// Bytes that a job may put over the common image.
pub const PATCH: usize = 64;

/// Ends that are no exceptions: the string did a system call, or went on for too long.
pub const SYSTEM_CALL: u64 = 100;
pub const ENDLESS: u64 = 101;

/// What parent and child share.
#[repr(C)]
pub(super) struct Shared {
    /// Jobs of this message, and how many of them are done.
    pub count: u64,
    pub done: AtomicU64,
    /// A string runs.
    pub running: AtomicU64,
    /// The job that ran at the last tick, plus one.
    pub ticked: u64,
    /// The child's own context while a string runs.
    pub kept_registers: [i64; 23],
    pub kept_fpu: [u8; XSAVE],
    pub kept_fs: u64,
    /// What the arena holds at the start of each job.
    pub image: [u8; arena::SIZE],
    pub slots: [Slot; BATCH],
}

/// One job and its outcome.
#[repr(C)]
pub(super) struct Slot {
    pub start: ArchitecturalState,
    /// 64 or 32.
    pub bits: u64,
    pub patch_at: u64,
    pub patch_length: u64,
    pub patch: [u8; PATCH],
    pub end: End,
    pub state: ArchitecturalState,
    pub memory: [u8; arena::SIZE],
}

/// One string to run: where it starts from, and what it changes in the image.
#[derive(Clone)]
pub struct Job {
    pub start: ArchitecturalState,
    pub bits: u32,
    /// Offset in the image, and at most [`PATCH`] bytes.
    pub patch_at: usize,
    pub patch: Vec<u8>,
}

/// The child process and the memory shared with it.
pub struct Native {
    memory_fd: i32,
    /// The parent's view of the arena, through which the child restores it, too.
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
        // Found out before signal handlers ask for it.
        state::used();
        // SAFETY: fresh mappings; results are checked.
        unsafe {
            let fd = libc::memfd_create(c"arena".as_ptr(), 0);
            if fd < 0 || libc::ftruncate(fd, arena::SIZE as i64) != 0 {
                return Err(std::io::Error::last_os_error()).context("memory for the arena");
            }
            let memory = child::map(std::ptr::null_mut(), arena::SIZE, libc::MAP_SHARED, fd, 0, false)?;
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let shared = child::map(std::ptr::null_mut(), size_of::<Shared>(), flags, -1, 0, false)?;
            Ok(Self { memory_fd: fd, memory, shared: shared.cast(), child: None, lost: 0 })
        }
    }

    /// Runs one string from `start`; `None` if the child did not survive or did not come back.
    pub fn run(&mut self, start: &ArchitecturalState, bits: u32, memory: &[u8]) -> Result<Option<Outcome>> {
        let job = Job { start: start.clone(), bits, patch_at: 0, patch: Vec::new() };
        let outcome = self.run_batch(memory, &[job])?.pop().flatten();
        Ok(outcome.filter(|o| o.end.vector < SYSTEM_CALL))
    }

    /// Runs each job on a fresh copy of `image`; `None` for one that the child did not survive.
    pub fn run_batch(&mut self, image: &[u8], jobs: &[Job]) -> Result<Vec<Option<Outcome>>> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        while outcomes.len() < jobs.len() {
            let rest = &jobs[outcomes.len()..];
            let rest = &rest[..rest.len().min(BATCH)];
            self.load(image, rest);
            let done = self.go()?;
            outcomes.extend((0..done).map(|n| Some(self.outcome(n))));
            if done < rest.len() {
                self.bury();
                outcomes.push(None);
            }
        }
        Ok(outcomes)
    }

    /// A new child for the next run: what a stray string changed in the old one goes with it.
    pub fn renew(&mut self) {
        if let Some(child) = self.child.take() {
            child.kill();
        }
    }

    fn load(&mut self, image: &[u8], jobs: &[Job]) {
        // SAFETY: the shared memory is ours, and the child waits.
        let shared = unsafe { &mut *self.shared };
        shared.image.copy_from_slice(image);
        shared.count = jobs.len() as u64;
        shared.done.store(0, Ordering::SeqCst);
        shared.running.store(0, Ordering::SeqCst);
        for (slot, job) in shared.slots.iter_mut().zip(jobs) {
            let length = job.patch.len().min(PATCH).min(arena::SIZE.saturating_sub(job.patch_at));
            slot.start = job.start.clone();
            slot.bits = job.bits.into();
            (slot.patch_at, slot.patch_length) = (job.patch_at as u64, length as u64);
            slot.patch[..length].copy_from_slice(&job.patch[..length]);
        }
    }

    /// Lets the child run the jobs; how many it finished.
    fn go(&mut self) -> Result<usize> {
        if self.child.is_none() {
            self.child = Some(self.fork()?);
        }
        let Some(child) = &self.child else { bail!("no child process") };
        // SAFETY: a word of shared memory that both sides access as an atomic.
        let done = unsafe { &(*self.shared).done };
        child.go(done);
        Ok(done.load(Ordering::SeqCst) as usize)
    }

    fn outcome(&self, slot: usize) -> Outcome {
        // SAFETY: the shared memory is ours, and the child waits or is dead.
        let slot = unsafe { &(&(*self.shared).slots)[slot] };
        let mut state = slot.state.clone();
        state.normalise();
        Outcome { end: slot.end, state, memory: slot.memory.to_vec() }
    }

    /// Whether the child has something mapped at `address` (so that a stray access there does not fault).
    pub fn has_mapped(&mut self, address: u64) -> bool {
        if self.child.is_none() {
            self.child = self.fork().ok();
        }
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
        self.renew();
    }

    fn fork(&self) -> Result<Child> {
        let (mut down, mut up) = ([0; 2], [0; 2]);
        // SAFETY: plain system calls; the child does nothing but system calls and string runs.
        unsafe {
            if libc::pipe(down.as_mut_ptr()) != 0 || libc::pipe(up.as_mut_ptr()) != 0 {
                return Err(std::io::Error::last_os_error()).context("a pipe");
            }
            let pid = libc::fork();
            if pid < 0 {
                return Err(std::io::Error::last_os_error()).context("fork");
            }
            if pid == 0 {
                libc::close(down[1]);
                libc::close(up[0]);
                let arena = child::Arena { fd: self.memory_fd, memory: self.memory };
                child::serve(self.shared, arena, down[0], up[1]);
            }
            libc::close(down[0]);
            libc::close(up[1]);
            Ok(Child { pid, to: down[1], from: up[0] })
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.renew();
        // SAFETY: our mappings and descriptor, used no more.
        unsafe {
            libc::munmap(self.memory.cast(), arena::SIZE);
            libc::munmap(self.shared.cast(), size_of::<Shared>());
            libc::close(self.memory_fd);
        }
    }
}

impl Child {
    /// Lets the child run until it answers, dies, or gets no further within a second.
    fn go(&self, done: &AtomicU64) {
        const A_SECOND: i32 = 1000;
        let mut byte = [0u8];
        // SAFETY: reads and writes one byte of ours.
        unsafe {
            if libc::write(self.to, byte.as_ptr().cast(), 1) != 1 {
                return;
            }
            loop {
                let before = done.load(Ordering::SeqCst);
                let mut wait = libc::pollfd { fd: self.from, events: libc::POLLIN, revents: 0 };
                if libc::poll(&mut wait, 1, A_SECOND) == 1 {
                    libc::read(self.from, byte.as_mut_ptr().cast(), 1);
                    return;
                }
                if done.load(Ordering::SeqCst) == before {
                    return;
                }
            }
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
