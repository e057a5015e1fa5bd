//! A disk that two VMs write to is lost: who has it open is kept in a lock on its file.

use crate::store::config::Place;
use crate::store::{Config, Store, WorkerLock};
use ireko_machine::lock::{self, User};
use ireko_machine::open_file;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fs::{File, metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// The drives' files, open once. Locked for as long as they are in; many may read, or one may write.
#[derive(Default)]
pub struct DiskLocks(Mutex<BTreeMap<Place, Arc<File>>>);

impl DiskLocks {
    /// The error is a sentence with the disk and who has it.
    pub fn take(store: &Store, config: &Config) -> Result<Self, String> {
        let take = |(place, path, read_only)| Ok((place, Arc::new(take(store, config, path, read_only)?)));
        config.drive_files().map(take).collect::<Result<_, _>>().map(|files| Self(Mutex::new(files)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Arc<File>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn file(&self, place: Place) -> Option<Arc<File>> {
        self.lock().get(&place).cloned()
    }

    /// Another file is there from now on, or none; whoever wants the one before can have it.
    pub fn put(&self, place: Place, file: Option<Arc<File>>) {
        let mut files = self.lock();
        let before = match file {
            Some(file) => files.insert(place, file),
            None => files.remove(&place),
        };
        before.iter().for_each(unlock);
    }

    /// Whoever else has the files still, as the machines of a process that is about to end, holds nobody up.
    pub fn release(&self) {
        std::mem::take(&mut *self.lock()).values().for_each(unlock);
    }
}

fn unlock(file: &Arc<File>) {
    let _ = flock(file, FlockOperation::Unlock);
}

/// A drive's file, open and locked for whoever has it open. `config`: the machine that is to have it, as it is to be then. The
/// error is a sentence with the disk and who has it.
pub fn take(store: &Store, config: &Config, path: &Path, read_only: bool) -> Result<File, String> {
    let shown = path.display();
    let file = open_file(path, read_only)
        .map_err(|error| format!("the disk '{shown}' cannot be opened: {error}; check the path"))?;
    match lock::lock(&file, read_only) {
        Ok(()) => Ok(file),
        Err(other) => Err(format!(
            "the disk '{shown}' is in use by {}; turn that off, or give this virtual machine a disk of its own",
            user(store, config, path, &other)
        )),
    }
}

/// Who has the disk, as far as this store and the kernel tell.
fn user(store: &Store, config: &Config, path: &Path, listed: &User) -> String {
    let times = |config: &Config| config.drive_files().filter(|(_, other, _)| same_file(other, path)).count();
    if times(config) > 1 {
        return "this virtual machine itself, which has it twice".into();
    }
    let runs = |other: &Config| other.id != config.id && WorkerLock::held(&store.directory(other.id));
    let all = store.all().unwrap_or_default();
    match all.iter().flatten().find(|other| runs(other) && times(other) > 0) {
        Some(other) => format!("the virtual machine '{}'", other.name),
        None if listed.process.is_some() => listed.to_string(),
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
