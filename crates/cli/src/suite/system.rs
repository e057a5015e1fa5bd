//! Kernels that are the operating system's work, and the one that is the hypervisor's.

// UNSAFETY: fork, exec, mmap, pipes and processor affinity are raw system calls.
#![allow(unsafe_code)]

use super::kernels::{Ran, Timer};
use std::fs::File;
use std::hint::black_box;
use std::io::{self, Error, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

/// As the only argument, makes the program end at once: what `fork_exec` starts.
pub const END: &str = "--end-at-once";

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

pub fn syscall(timer: &mut Timer, calls: u64) -> Ran {
    timer.run(|| {
        for _ in 0..calls {
            black_box(crate::sys::trivial_call());
        }
    });
    Ok(calls)
}

const PAGE: usize = 4096;
/// Pages of one mapping: 32 MiB.
const MAPPED: u64 = 8192;

pub fn page_fault(timer: &mut Timer, pages: u64) -> Ran {
    let mut left = pages;
    let mut touched = 0;
    while left > 0 {
        let part = left.min(MAPPED);
        touched += touch(timer, part as usize)?;
        left -= part;
    }
    Ok(touched)
}

/// Maps fresh memory, touches each page and gives the memory back. Gives the pages that were zero, as they must be.
fn touch(timer: &mut Timer, pages: usize) -> Ran {
    let (read_write, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh private mapping at an address of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), pages * PAGE, read_write, private, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(Error::last_os_error());
    }
    // SAFETY: our own mapping; large pages would make one fault of many.
    unsafe { libc::madvise(start, pages * PAGE, libc::MADV_NOHUGEPAGE) };
    // SAFETY: the mapping is ours alone, has this length, and is unmapped only below.
    let bytes = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), pages * PAGE) };
    let mut fresh = 0;
    timer.run(|| {
        for page in black_box(bytes).chunks_exact_mut(PAGE) {
            fresh += u64::from(std::mem::replace(&mut page[0], 1) == 0);
        }
    });
    // SAFETY: nobody has a reference into the mapping any more.
    check(unsafe { libc::munmap(start, pages * PAGE) })?;
    Ok(fresh)
}

/// Starts ourselves again with the word that ends at once.
pub fn fork_exec(timer: &mut Timer, times: u64) -> Ran {
    let arguments = [c"ireko".as_ptr(), c"--end-at-once".as_ptr(), std::ptr::null()];
    let exec = move || {
        // SAFETY: strings with an end, and a list with an end.
        unsafe { libc::execv(c"/proc/self/exe".as_ptr(), arguments.as_ptr()) };
        127
    };
    timer.run(|| (0..times).map(|_| wait(fork(exec)?)).sum())
}

/// Starts a process that does `work` and ends with its result. Work must only make system calls.
fn fork(work: impl FnOnce() -> i32) -> io::Result<libc::pid_t> {
    // SAFETY: the child makes system calls only, and leaves by _exit.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(work());
        }
        check(child)
    }
}

/// 1 if the child ended well.
fn wait(child: libc::pid_t) -> Ran {
    let mut status = 0;
    // SAFETY: our own child and a valid place for its status.
    check(unsafe { libc::waitpid(child, &mut status, 0) })?;
    if status == 0 { Ok(1) } else { Err(Error::other(format!("a child ended with status {status:#x}"))) }
}

/// Both ends of a new pipe: to read from, to write to.
fn open_pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: a valid place for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both are fresh and nobody else's.
    Ok(unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) })
}

/// Keeps this process and those that it starts on one processor, until dropped: elsewhere than in a VM with one
/// processor, two processes would run side by side, and nothing would be switched.
struct OneProcessor(libc::cpu_set_t);

impl OneProcessor {
    fn enter() -> io::Result<Self> {
        let size = size_of::<libc::cpu_set_t>();
        // SAFETY: a cpu_set_t is plain bits, for which all zeros is a value; the calls get valid places.
        unsafe {
            let (mut before, mut one): (libc::cpu_set_t, libc::cpu_set_t) =
                (std::mem::zeroed(), std::mem::zeroed());
            check(libc::sched_getaffinity(0, size, &mut before))?;
            libc::CPU_SET(check(libc::sched_getcpu())? as usize, &mut one);
            check(libc::sched_setaffinity(0, size, &one))?;
            Ok(Self(before))
        }
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        // SAFETY: the set that was given to us before.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.0) };
    }
}

pub fn switch(timer: &mut Timer, trips: u64) -> Ran {
    let _one = OneProcessor::enter()?;
    let ((mut our_in, mut their_out), (mut their_in, mut our_out)) = (open_pipe()?, open_pipe()?);
    let child = fork(|| {
        let mut byte = [0];
        for _ in 0..trips {
            if their_in.read_exact(&mut byte).and_then(|()| their_out.write_all(&byte)).is_err() {
                return 1;
            }
        }
        0
    })?;
    let mut byte = [7];
    let mut sum = 0;
    timer.run(|| {
        for _ in 0..trips {
            our_out.write_all(&byte)?;
            our_in.read_exact(&mut byte)?;
            sum += u64::from(byte[0]);
        }
        io::Result::Ok(())
    })?;
    wait(child)?;
    Ok(sum)
}

const CHUNK: usize = 64 << 10;

pub fn pipe(timer: &mut Timer, chunks: u64) -> Ran {
    let _one = OneProcessor::enter()?;
    let (mut input, mut output) = open_pipe()?;
    let mut buffer = vec![1u8; CHUNK];
    let child = fork(|| {
        let whole = (0..chunks).all(|_| input.read_exact(&mut buffer).is_ok());
        i32::from(!whole)
    })?;
    let data = vec![7u8; CHUNK];
    timer.run(|| {
        (0..chunks).try_for_each(|_| output.write_all(&data))?;
        wait(child)
    })?;
    Ok(chunks)
}

const FILE: u64 = 4 << 20;

pub fn read(timer: &mut Timer, reads: u64) -> Ran {
    // SAFETY: a name with an end; the descriptor is fresh and nobody else's.
    let file = unsafe { File::from_raw_fd(check(libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC))?) };
    let data: Vec<u8> = (0..FILE).map(|i| (i >> 12) as u8).collect();
    file.write_all_at(&data, 0)?;
    let mut page = [0u8; PAGE];
    let mut sum = 0;
    timer.run(|| {
        for i in 0..reads {
            file.read_exact_at(&mut page, (i * 37 % (FILE / PAGE as u64)) * PAGE as u64)?;
            sum += u64::from(page[i as usize % PAGE]);
        }
        io::Result::Ok(())
    })?;
    Ok(sum)
}

pub fn cpuid(timer: &mut Timer, times: u64) -> Ran {
    timer.run(|| {
        for _ in 0..times {
            black_box(crate::facts::cpuid(black_box(0)));
        }
    });
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_pages_were_fresh() {
        assert_eq!(touch(&mut Timer::default(), 10).unwrap(), 10);
    }

    #[test]
    fn a_child_that_fails_is_an_error() {
        assert!(wait(fork(|| 3).unwrap()).is_err());
    }
}
