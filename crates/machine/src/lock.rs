//! A file that two machines write to is lost: whoever has one open keeps a lock on it (flock(2)), many to read or one to
//! write. Anybody's lock counts, whichever way the machine was made.

use rustix::fs::{FlockOperation, flock, major, minor};
use rustix::io::Errno;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;

/// Who has a file, as far as the kernel tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub process: Option<u32>,
    /// What it was started with.
    pub words: Vec<String>,
}

/// Locks a file for as long as it is open. A file system without locks is no reason not to use it.
pub fn lock(file: &File, read_only: bool) -> Result<(), User> {
    let operation = match read_only {
        true => FlockOperation::NonBlockingLockShared,
        false => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(file, operation) {
        Err(Errno::WOULDBLOCK) => Err(user(file)),
        _ => Ok(()),
    }
}

/// How the kernel's list names a file.
fn place(file: &Metadata) -> String {
    format!("{:02x}:{:02x}:{}", major(file.dev()), minor(file.dev()), file.ino())
}

/// Whether anybody has a lock on a file, as far as the kernel tells.
pub fn is_held(file: &Metadata) -> bool {
    let (locks, place) = (fs::read_to_string("/proc/locks").unwrap_or_default(), place(file));
    locks.lines().any(|line| line.contains("FLOCK") && line.split_whitespace().any(|word| word == place))
}

fn user(file: &File) -> User {
    let Ok(file) = file.metadata() else { return User::default() };
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let place = place(&file);
    let Some(process) = holder(&locks, &place) else { return User::default() };
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&line).split_terminator('\0').map(str::to_owned).collect();
    User { process: Some(process), words }
}

/// The first process with a lock on a file (proc_locks(5)). Who only waits for it has an arrow; 0 is a process that cannot be seen from here.
fn holder(locks: &str, file: &str) -> Option<u32> {
    let holder = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, "FLOCK", _, _, process, place, ..] if place == file => process.parse().ok().filter(|id| *id != 0),
        _ => None,
    };
    locks.lines().find_map(holder)
}

/// What of a command line is shown.
const SHOWN: usize = 80;

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(process) = self.process else { return f.write_str("another program") };
        if process == std::process::id() {
            return f.write_str("this virtual machine itself, which has it twice");
        }
        let line = self.words.join(" ");
        let shown: String = line.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
        match shown.as_str() {
            "" => write!(f, "process {process}"),
            _ if shown.len() < line.len() => write!(f, "process {process} (`{shown}...`)"),
            _ => write!(f, "process {process} (`{shown}`)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opened twice, as by two programs.
    fn twice() -> (File, File) {
        let path = std::env::temp_dir().join(format!("ireko-lock-{:?}", std::thread::current().id()));
        fs::write(&path, "disk").unwrap();
        let files = (File::open(&path).unwrap(), File::open(&path).unwrap());
        fs::remove_file(&path).unwrap();
        files
    }

    #[test]
    fn one_writes_and_nobody_reads_then() {
        let (one, other) = twice();
        assert_eq!(lock(&one, false), Ok(()));
        assert!(lock(&other, true).is_err());
    }

    #[test]
    fn many_read_and_nobody_writes_then() {
        let (one, other) = twice();
        assert_eq!((lock(&one, true), lock(&other, true)), (Ok(()), Ok(())));
        assert!(lock(&other, false).is_err());
    }

    #[test]
    fn a_file_that_is_closed_is_free() {
        let (one, other) = twice();
        lock(&one, false).unwrap();
        drop(one);
        assert_eq!(lock(&other, false), Ok(()));
    }

    #[test]
    fn the_first_who_has_the_file_is_told_of() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 fe:00:12 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 9 fe:00:12 0 EOF\n\
            3: FLOCK  ADVISORY  READ  10 fe:00:12 0 EOF\n4: FLOCK  ADVISORY  WRITE 0 fe:00:13 0 EOF\n";
        assert_eq!((holder(locks, "fe:00:12"), holder(locks, "fe:00:13")), (Some(10), None));
    }

    #[test]
    fn a_long_command_line_is_cut() {
        let words = vec!["ireko".into(), "x".repeat(200)];
        let said = User { process: Some(1), words }.to_string();
        assert!(said.len() < 110 && said.ends_with("...`)"), "{said}");
    }
}
