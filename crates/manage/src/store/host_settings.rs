//! What is set for the whole host: `HOME/host.json`, and `HOME/host.lock`, held by whoever changes it.

use super::{Store, StoreError, atomic, config};
use crate::guid::Guid;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::path::PathBuf;

const FILE: &str = "host.json";
const LOCK: &str = "host.lock";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostSettings {
    pub schema: u32,
    /// Where new disks go whose names say no directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_disk_path: Option<PathBuf>,
    /// What new adapters have their addresses of: the first and the last, as numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_addresses: Option<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self { schema: config::SCHEMA, hard_disk_path: None, mac_addresses: None, groups: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupType {
    /// Of virtual machines.
    VMCollectionType,
    /// Of groups.
    ManagementCollectionType,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub id: Guid,
    pub name: String,
    pub kind: GroupType,
    /// Of virtual machines, or of groups. Who is gone counts no more.
    #[serde(default)]
    pub members: Vec<Guid>,
}

impl Store {
    pub fn host_settings(&self) -> Result<HostSettings, StoreError> {
        let path = self.home().join(FILE);
        match atomic::read_own(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HostSettings::default()),
            read => config::parse(&read.map_err(StoreError::io(&path))?, &path),
        }
    }

    /// Changes them, one after the other; an error of `change` leaves them as they are.
    pub fn change_host_settings<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut HostSettings) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = self.home().join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(StoreError::io(&path))?;
        lock.lock().map_err(StoreError::io(&path))?;
        let before = self.host_settings()?;
        let mut after = before.clone();
        let changed = change(&mut after)?;
        if after != before {
            let path = self.home().join(FILE);
            let text = serde_json::to_vec_pretty(&after).unwrap_or_default();
            atomic::write(&path, &text).map_err(StoreError::io(&path))?;
        }
        Ok(changed)
    }
}
