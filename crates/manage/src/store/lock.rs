//! Locks that the kernel drops when their holder dies.

use super::StoreError;
use super::atomic::NO_LINK;
use crate::guid::Guid;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(NO_LINK);
    options.open(path)
}

/// The right to change one VM.
#[derive(Debug)]
pub struct VmLock {
    id: Guid,
    _file: File,
}

impl VmLock {
    pub(super) fn take(directory: &Path, id: Guid) -> Result<Self, StoreError> {
        let path = directory.join("lock");
        let file = match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::Gone(id)),
            other => other.map_err(StoreError::io(&path))?,
        };
        flock(&file, FlockOperation::LockExclusive).map_err(|e| StoreError::io(&path)(e.into()))?;
        // Whoever held it may have removed the VM.
        if !directory.join(super::config::FILE).exists() {
            return Err(StoreError::Gone(id));
        }
        Ok(Self { id, _file: file })
    }

    pub fn id(&self) -> Guid {
        self.id
    }
}

/// Held by the worker for as long as it lives.
#[derive(Debug)]
pub struct WorkerLock(File);

impl WorkerLock {
    pub const FILE: &str = "worker.lock";

    /// `None`: another worker has it. Those who only look hold it for moments, so it is tried more than once.
    pub fn take(directory: &Path) -> io::Result<Option<Self>> {
        let lock = Self(open(&directory.join(Self::FILE))?);
        Ok(lock.exclusive()?.then_some(lock))
    }

    fn exclusive(&self) -> io::Result<bool> {
        for _ in 0..100 {
            match flock(&self.0, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// For a child that has it from its parent: from now on the kernel lists the child as its holder. False: another worker
    /// was faster.
    pub fn inherit(&self) -> io::Result<bool> {
        // A lock of the same kind would stay as it is.
        flock(&self.0, FlockOperation::NonBlockingLockShared)?;
        self.exclusive()
    }

    /// Whether a worker lives.
    pub fn held(directory: &Path) -> bool {
        let Ok(file) = File::open(directory.join(Self::FILE)) else { return false };
        matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
    }
}
