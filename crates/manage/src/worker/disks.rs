//! A disk that two VMs write to is lost: who has it open is kept in a lock on its file.

use crate::store::{Config, Store, WorkerLock};
use ireko_machine::open_file;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The disks' files, open once. Locked for as long as the VM runs; many may read, or one may write.
pub struct DiskLocks(Vec<Arc<File>>);

impl DiskLocks {
    /// The error is a sentence with the disk and who has it.
    pub fn take(store: &Store, config: &Config) -> Result<Self, String> {
        let take = |(path, read_only)| take(store, config, path, read_only);
        config.files().map(take).collect::<Result<_, _>>().map(Self)
    }

    /// In the order of [`Config::files`].
    pub fn files(&self) -> &[Arc<File>] {
        &self.0
    }
}

impl Drop for DiskLocks {
    /// Whoever else has the files still, as the machines of a process that is about to end, holds nobody up.
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

fn take(store: &Store, config: &Config, path: &Path, read_only: bool) -> Result<Arc<File>, String> {
    let shown = path.display();
    let file = open_file(path, read_only)
        .map_err(|error| format!("the disk '{shown}' cannot be opened: {error}; check the path"))?;
    let operation = match read_only {
        true => FlockOperation::NonBlockingLockShared,
        false => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(&file, operation) {
        Err(Errno::WOULDBLOCK) => Err(format!(
            "the disk '{shown}' is in use by {}; turn that off, or give this virtual machine a disk of its own",
            user(store, config, path)
        )),
        // File systems without locks are no reason not to start.
        _ => Ok(Arc::new(file)),
    }
}

/// Who has the disk, as far as this store tells.
fn user(store: &Store, config: &Config, path: &Path) -> String {
    let times = |config: &Config| config.files().filter(|(other, _)| same_file(other, path)).count();
    if times(config) > 1 {
        return "this virtual machine itself, which has it twice".into();
    }
    let runs = |other: &Config| other.id != config.id && WorkerLock::held(&store.directory(other.id));
    let all = store.all().unwrap_or_default();
    match all.iter().flatten().find(|other| runs(other) && times(other) > 0) {
        Some(other) => format!("the virtual machine '{}'", other.name),
        None => "a virtual machine of another store, or another program".into(),
    }
}

/// By any path.
fn same_file(one: &Path, other: &Path) -> bool {
    match (metadata(one), metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => one == other,
    }
}
