//! Disks of images as files of the host: what is mounted, and by which process.
//!
//! A mount is a regular file over which a file system of one file lies (FUSE): the disk's bytes, whatever the image's format. The process that
//! serves it has the image's lock.

mod kernel;
mod serve;
#[cfg(test)]
mod tests;
mod wire;

pub use kernel::unmount;
pub use serve::run;

use crate::guid::Guid;
use crate::store::config::DriveFiles;

use crate::store::{Layer, Store, WorkerLock, atomic};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What is said to the process that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The image, and those behind it.
    pub layers: Vec<Layer>,
    pub read_only: bool,
    /// The file that is the disk.
    pub point: PathBuf,
    /// The file was made for this, and goes with it.
    pub made: bool,
}

const FILE: &str = "mount.json";

impl Mount {
    pub fn files(&self) -> DriveFiles {
        DriveFiles { layers: self.layers.clone(), read_only: self.read_only }
    }

    /// The image.
    pub fn path(&self) -> &Path {
        self.layers.first().map_or(Path::new(""), |layer| &layer.path)
    }

    /// Notes it under a number of its own.
    pub fn keep(&self, store: &Store) -> io::Result<Guid> {
        let id = Guid::random()?;
        let directory = directory(store, id);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        atomic::write(&directory.join(FILE), &text)?;
        Ok(id)
    }

    pub fn read(store: &Store, id: Guid) -> io::Result<Self> {
        let text = atomic::read(&directory(store, id).join(FILE))?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }
}

/// What a mount has of its own: its note, its log, and its process's lock.
pub fn directory(store: &Store, id: Guid) -> PathBuf {
    store.home().join("mounts").join(id.to_string())
}

/// Nobody serves it any more.
pub fn forget(store: &Store, id: Guid) {
    let _ = fs::remove_dir_all(directory(store, id));
}

/// Those that are served. What others left behind goes.
pub fn all(store: &Store) -> Vec<(Guid, Mount)> {
    let Ok(entries) = fs::read_dir(store.home().join("mounts")) else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<Guid>().ok());
    let lives = |id: &Guid| WorkerLock::held(&directory(store, *id));
    ids.filter(lives).filter_map(|id| Some((id, Mount::read(store, id).ok()?))).collect()
}

/// The one of an image, by any of its names.
pub fn of(store: &Store, image: &Path) -> Option<(Guid, Mount)> {
    let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let wanted = identity(image)?;
    all(store).into_iter().find(|(_, mount)| identity(mount.path()) == Some(wanted))
}
