//! What is kept of virtual switches: one directory each under the home directory.
//!
//! ```text
//! HOME/switches/<id>/config.json   what the switch is
//!                    lock          held by whoever changes it
//!                    ports/        the sockets of those who are plugged in
//!                    worker.lock   held by the process of the host's side for as long as it lives
//! ```

use super::{Adapter, Store, StoreError, VmLock, atomic, config};
use crate::guid::Guid;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwitchType {
    /// Virtual machines only.
    Private,
    /// The host has an adapter, too.
    Internal,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Switch {
    pub schema: u32,
    pub id: Guid,
    pub name: String,
    pub kind: SwitchType,
    #[serde(default)]
    pub notes: String,
    /// Seconds since 1970.
    pub created: u64,
}

impl Switch {
    /// The host's adapter has an address of the same range as those of virtual machines.
    pub fn mac_address(&self) -> String {
        Adapter::new(self.id, "").mac
    }
    pub fn address(&self) -> [u8; 6] {
        Adapter::new(self.id, "").address().unwrap_or([2, 0, 0, 0, 0, 1])
    }
}

impl Store {
    pub fn all_switches(&self) -> PathBuf {
        self.home().join("switches")
    }
    pub fn switch_directory(&self, id: Guid) -> PathBuf {
        self.all_switches().join(id.to_string())
    }
    /// Where the sockets of those who are plugged in are.
    pub fn ports(&self, id: Guid) -> PathBuf {
        self.switch_directory(id).join("ports")
    }

    /// Every switch that can be read, by name, then creation.
    pub fn switches(&self) -> Result<Vec<Switch>, StoreError> {
        let directory = self.all_switches();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(StoreError::io(&directory))?,
        };
        let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut all: Vec<Switch> = ids.filter_map(|id| self.switch(id).ok()).collect();
        all.sort_by_cached_key(|switch| (switch.name.to_lowercase(), switch.created));
        Ok(all)
    }

    pub fn switch(&self, id: Guid) -> Result<Switch, StoreError> {
        let path = self.switch_directory(id).join(config::FILE);
        let text = match atomic::read_own(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::Gone(id)),
            other => other.map_err(StoreError::io(&path))?,
        };
        let switch: Switch = config::parse(&text, &path)?;
        if switch.id == id {
            return Ok(switch);
        }
        let why = format!("it is that of {}", switch.id);
        Err(StoreError::Damaged { path, why })
    }

    /// A new switch: it is there as a whole or not at all.
    pub fn create_switch(&self, switch: &Switch) -> Result<(), StoreError> {
        let (all, target) = (self.all_switches(), self.switch_directory(switch.id));
        let draft = all.join(format!(".new-{}-{}", std::process::id(), switch.id));
        let ports = draft.join("ports");
        DirBuilder::new().recursive(true).mode(0o700).create(&ports).map_err(StoreError::io(&ports))?;
        let made = write(draft.join(config::FILE), switch)
            .and_then(|()| fs::rename(&draft, &target).map_err(StoreError::io(&target)));
        if made.is_err() {
            let _ = fs::remove_dir_all(&draft);
        }
        made
    }

    /// Waits until nobody else changes this switch, and reads it.
    pub fn lock_switch(&self, id: Guid) -> Result<(VmLock, Switch), StoreError> {
        let lock = VmLock::take(&self.switch_directory(id), id)?;
        let switch = self.switch(id)?;
        Ok((lock, switch))
    }

    pub fn save_switch(&self, lock: &VmLock, switch: &Switch) -> Result<(), StoreError> {
        debug_assert_eq!(lock.id(), switch.id, "the lock is this switch's");
        write(self.switch_directory(switch.id).join(config::FILE), switch)
    }

    /// Whoever is plugged in sees it go.
    pub fn remove_switch(&self, lock: VmLock) -> Result<(), StoreError> {
        let directory = self.switch_directory(lock.id());
        let trash = self.all_switches().join(format!(".removed-{}-{}", std::process::id(), lock.id()));
        fs::rename(&directory, &trash).map_err(StoreError::io(&directory))?;
        fs::remove_dir_all(&trash).map_err(StoreError::io(&trash))
    }
}

fn write(path: PathBuf, switch: &Switch) -> Result<(), StoreError> {
    let mut text = serde_json::to_vec_pretty(switch)
        .map_err(|error| StoreError::Io { path: path.clone(), why: io::Error::other(error) })?;
    text.push(b'\n');
    atomic::write(&path, &text).map_err(StoreError::io(&path))
}
