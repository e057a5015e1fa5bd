//! A disk that two VMs write to is lost: who has it open is kept in a lock on its file.

use crate::mount;
use crate::store::config::{DriveAddress, DriveFiles};
use crate::store::{Config, Store, WorkerLock};
use ireko_machine::lock::User;
use ireko_machine::{DiskCounts, DiskErrors, DiskFiles, Layer, open_layers};
use std::collections::BTreeMap;
use std::fs::metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// Who has an image that is mounted.
const MOUNTED: &str = "Mount-VHD, which made its disk a file of this host";

/// The drives' files, open once, and what the host could not do with them. Locked for as long as they are in; many may read, or one may
/// write.
#[derive(Default)]
pub struct DiskLocks {
    files: Mutex<BTreeMap<DriveAddress, Arc<DiskFiles>>>,
    errors: DiskErrors,
}

impl DiskLocks {
    /// The error is a sentence with the disk and who has it.
    pub fn take(store: &Store, config: &Config) -> Result<Self, String> {
        let own = Self::default();
        for (place, drive) in config.drive_files() {
            let files = Arc::new(take(store, config, &drive)?);
            if let Some(layer) = drive.layers.first() {
                own.hear_of(&layer.path, &files);
            }
            own.lock().insert(place, files);
        }
        Ok(own)
    }

    pub fn errors(&self) -> &DiskErrors {
        &self.errors
    }

    /// What the host cannot do with these files is heard of here.
    pub fn hear_of(&self, path: &Path, files: &DiskFiles) {
        files.errors().tell(&path.display().to_string(), &self.errors);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DriveAddress, Arc<DiskFiles>>> {
        self.files.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn of(&self, place: DriveAddress) -> Option<Arc<DiskFiles>> {
        self.lock().get(&place).cloned()
    }

    /// What the guest has done with all of them.
    pub fn traffic(&self) -> DiskCounts {
        self.lock().values().map(|files| files.traffic()).fold(DiskCounts::default(), |all, one| all + one)
    }

    /// Other files are there from now on, or none; whoever wants those before can have them.
    pub fn put(&self, place: DriveAddress, files: Option<Arc<DiskFiles>>) {
        let mut all = self.lock();
        let before = match files {
            Some(files) => all.insert(place, files),
            None => all.remove(&place),
        };
        drop(all);
        before.iter().for_each(release);
    }

    /// Whoever else has the files still, as the machines of a process that is about to end, holds nobody up.
    pub fn release(&self) {
        std::mem::take(&mut *self.lock()).values().for_each(release);
    }
}

/// What cannot be written now, the guest was never told to be there.
fn release(files: &Arc<DiskFiles>) {
    let _ = files.release();
}

/// A drive's files, open and locked for whoever has them open. `config`: the machine that is to have them, as it is to be then. The
/// error is a sentence with the disk and who has it.
pub fn take(store: &Store, config: &Config, drive: &DriveFiles) -> Result<DiskFiles, String> {
    let layers: Vec<Layer> = drive.layers.iter().cloned().map(Into::into).collect();
    let files = open_layers(&layers, drive.read_only).map_err(|(number, error)| {
        format!("the disk '{}' cannot be opened: {error}; check the path", layers[number].path.display())
    })?;
    match files.lock() {
        Ok(()) => Ok(files),
        Err((number, other)) => Err(format!(
            "the disk '{}' is in use by {}; turn that off, or give this virtual machine a disk of its own",
            layers[number].path.display(),
            user(store, config, &layers[number].path, &other)
        )),
    }
}

/// Who has the disk, as far as this store and the kernel tell.
fn user(store: &Store, config: &Config, path: &Path, listed: &User) -> String {
    let same = |drive: &DriveFiles| drive.layers.iter().filter(|layer| same_file(&layer.path, path)).count();
    let times = |config: &Config| config.drive_files().map(|(_, drive)| same(&drive)).sum::<usize>();
    if times(config) > 1 {
        return "this virtual machine itself, which has it twice".into();
    }
    let runs = |other: &Config| other.id != config.id && WorkerLock::held(&store.directory(other.id));
    let all = store.all().unwrap_or_default();
    match all.iter().flatten().find(|other| runs(other) && times(other) > 0) {
        Some(other) => format!("the virtual machine '{}'", other.name),
        None if mount::of(store, path).is_some() => MOUNTED.into(),
        None if listed.process.is_some() => listed.to_string(),
        None => "a virtual machine of another store, or another program".into(),
    }
}

/// The same for whoever is no machine.
pub fn take_alone(store: &Store, drive: &DriveFiles) -> Result<DiskFiles, String> {
    let layers: Vec<Layer> = drive.layers.iter().cloned().map(Into::into).collect();
    let name = |number: usize| layers[number].path.display().to_string();
    let files = open_layers(&layers, drive.read_only).map_err(|(number, error)| {
        format!("the disk '{}' cannot be opened: {error}; check the path", name(number))
    })?;
    files.lock().map_err(|(number, user)| {
        let user = who(store, &layers[number].path, &user);
        format!("the disk '{}' is in use by {user}", name(number))
    })?;
    Ok(files)
}

/// The same of an image that no machine is to have.
pub fn who(store: &Store, path: &Path, listed: &User) -> String {
    let has = |config: &Config| {
        let mut drives = config.drive_files();
        drives.any(|(_, drive)| drive.layers.iter().any(|layer| same_file(&layer.path, path)))
    };
    let runs = |config: &Config| WorkerLock::held(&store.directory(config.id));
    match store.all().unwrap_or_default().iter().flatten().find(|config| runs(config) && has(config)) {
        Some(config) => format!("the virtual machine '{}'; turn that off", config.name),
        None if mount::of(store, path).is_some() => format!("{MOUNTED}; use Dismount-VHD"),
        None => format!("{listed}; end that"),
    }
}

/// By any path.
fn same_file(one: &Path, other: &Path) -> bool {
    match (metadata(one), metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => one == other,
    }
}
