//! Ending a worker that does not end by itself: the very process that holds the VM's lock, and none that has its number by
//! now.

use super::Client;
use crate::guid::Guid;
use crate::store::WorkerLock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{major, minor};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Kills it and gives its number; `None`: there is none any more. The error is a sentence.
pub fn kill(directory: &Path) -> Result<Option<u32>, String> {
    let own = std::process::id();
    for process in holders(directory).into_iter().filter(|process| *process != own) {
        let Some(handle) = handle(process) else { continue };
        // It is the same process before and after it was looked at.
        if holders(directory).contains(&process) {
            return match pidfd_send_signal(&handle, Signal::KILL) {
                Ok(()) => Ok(Some(process)),
                Err(error) => Err(format!("its worker (process {process}) cannot be killed: {error}")),
            };
        }
    }
    if WorkerLock::held(directory) {
        return Err("its worker cannot be found; end the process that holds worker.lock".into());
    }
    Ok(None)
}

/// The process that waits for a worker outside of its pid namespace. It ends as the worker does, unless it has been stopped.
pub struct Outer(OwnedFd);

impl Outer {
    /// Of the worker that runs this VM now. `None`: it has none.
    pub fn of(directory: &Path, id: Guid) -> Option<Self> {
        let worker = holders(directory).into_iter().find(|process| *process != std::process::id())?;
        let parent = parent(worker)?;
        let handle = handle(parent)?;
        // A number that is used anew by now is another's; who only started a worker is not its outer process.
        (parent == self::parent(worker)? && waits_for(parent, id)).then_some(Self(handle))
    }

    /// Once the worker is gone: it has a moment to go by itself.
    pub fn end(&self) {
        const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let gone = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&MOMENT));
        if gone != Ok(1) {
            let _ = pidfd_send_signal(&self.0, Signal::KILL);
        }
    }
}

/// proc_pid_status(5)
fn parent(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Whether it was started as this VM's worker, as the worker itself was.
fn waits_for(process: u32, id: Guid) -> bool {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    matches!(words[..], [_, b"worker", own, ..] if own == id.to_string().as_bytes())
}

fn handle(process: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(process).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Who holds the lock as the kernel lists it, and who listens: on some file systems the list names another device.
fn holders(directory: &Path) -> Vec<u32> {
    let listed = fs::metadata(directory.join(WorkerLock::FILE)).ok().map(|lock| {
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let (device, inode) = (lock.dev(), lock.ino());
        listed(&locks, &format!("{:02x}:{:02x}:{inode}", major(device), minor(device)))
    });
    let listener = Client::connect(directory).ok().and_then(|client| client.listener());
    listed.into_iter().flatten().chain(listener).collect()
}

/// Processes with a lock on a file (proc_locks(5)); who only waits for it has an arrow.
fn listed(locks: &str, file: &str) -> Vec<u32> {
    let holder = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, "WRITE", process, place, ..] if place == file => process.parse().ok(),
            _ => None,
        }
    };
    locks.lines().filter_map(holder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const LOCKS: &str = "1: POSIX  ADVISORY  WRITE 7 fe:00:12 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 fe:00:12 0 EOF\n\
        2: -> FLOCK  ADVISORY  WRITE 9 fe:00:12 0 EOF\n3: FLOCK  ADVISORY  READ  10 fe:00:12 0 EOF\n\
        4: FLOCK  ADVISORY  WRITE 11 fe:00:13 0 EOF\n";

    #[test]
    fn only_who_holds_the_files_lock_is_listed() {
        assert_eq!(listed(LOCKS, "fe:00:12"), [8]);
    }

    #[test]
    fn a_lock_that_this_process_holds_is_found() {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path()).unwrap();
        let _lock = WorkerLock::take(scratch.path()).unwrap().unwrap();
        assert_eq!(holders(scratch.path()), [std::process::id()]);
    }

    #[test]
    fn this_process_is_never_killed() {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path()).unwrap();
        let _lock = WorkerLock::take(scratch.path()).unwrap().unwrap();
        assert!(kill(scratch.path()).is_err());
    }

    #[test]
    fn without_a_lock_there_is_nobody_to_kill() {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path()).unwrap();
        assert_eq!(kill(scratch.path()), Ok(None));
    }
}
