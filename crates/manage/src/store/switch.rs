//! What is kept of virtual switches: one directory each under the home directory.
//!
//! ```text
//! HOME/switches/<id>/config.json   what the switch is
//!                    lock          held by whoever changes it
//!                    ports/        the sockets of those who are plugged in
//!                    worker.lock   held by the process of the host's side, or of the router, for as long as it lives
//!                    side.json     what the host's side has counted
//!                    router.json   what the router says of itself
//! ```

use super::config::Vlan;
use super::{Adapter, Config, Store, StoreError, VmLock, atomic, config};
use crate::guid::Guid;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwitchType {
    /// Virtual machines only.
    Private,
    /// The host has an adapter, too.
    Internal,
    /// An interface of the host is in it.
    External,
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
    /// The host's interface that is in it, by the kernel's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
    /// What people know that interface by.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uplink_description: String,
    /// Of an External one: the host has an adapter in it, too.
    #[serde(default)]
    pub allow_management_os: bool,
    /// Of the host's adapter in it.
    #[serde(default, skip_serializing_if = "Vlan::is_untagged")]
    pub host_vlan: Vlan,
    /// What its router gives addresses of, once it has been there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<RouterNetwork>,
    /// What its router forwards from the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mappings: Vec<Mapping>,
    /// Ports of the host's loopback that guests reach at the router's address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_loopback: Vec<u16>,
}

/// The router's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterNetwork {
    pub router: Ipv4Addr,
    pub length: u8,
    pub six: Option<Ipv6Addr>,
}

/// A port of the host that leads to one of an adapter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    #[serde(default)]
    pub udp: bool,
    pub address: IpAddr,
    pub host_port: u16,
    pub guest_port: u16,
}

/// A port of the host that leads to an address of a guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    pub id: u32,
    #[serde(default)]
    pub udp: bool,
    pub external_address: IpAddr,
    pub external_port: u16,
    pub internal_address: IpAddr,
    pub internal_port: u16,
}

/// The switch that is always there, with a router: as Windows calls it, and with its id there.
pub const DEFAULT: Guid = crate::guid::guid(0xc08c_b7b8_9b3c_408e_8e30_5e16_a3ae_b444);
pub const DEFAULT_NAME: &str = "Default Switch";
/// What names of its guests end in.
pub const DOMAIN: &str = "ireko";

/// The networks that the router may have: 172.16.0.0/12 in pieces of 4096 addresses, as Windows takes them.
const FIRST: u32 = 0xac10_0000;
const PIECES: u32 = 256;
const LENGTH: u8 = 20;

impl RouterNetwork {
    /// The first that overlaps none of these addresses, from a place on that `seed` says. `None`: all do.
    pub fn choose(seed: u64, taken: &[IpAddr]) -> Option<Self> {
        let [_, a, b, c, d, e, ..] = seed.to_be_bytes();
        // Machines inside one another may come with the same seed.
        let all = (0..PIECES).map(|n| {
            let mut six = [0; 16];
            six[..6].copy_from_slice(&[0xfd, a, b, c, d, e.wrapping_add(n as u8)]);
            six[15] = 1;
            let number = FIRST | ((seed as u32).wrapping_add(n) % PIECES) << (32 - LENGTH);
            Self { router: Ipv4Addr::from(number | 1), length: LENGTH, six: Some(six.into()) }
        });
        all.into_iter().find(|one| !taken.iter().any(|address| one.overlaps(*address)))
    }

    /// Whether an address of the host's is in it.
    pub fn overlaps(&self, address: IpAddr) -> bool {
        let shift = 32 - u32::from(self.length.min(31));
        match address {
            IpAddr::V4(four) => u32::from(four) >> shift == u32::from(self.router) >> shift,
            IpAddr::V6(six) => self.six.is_some_and(|own| own.segments()[..4] == six.segments()[..4]),
        }
    }
}

impl Switch {
    /// With nothing but that.
    pub fn new(id: Guid, name: &str, kind: SwitchType, created: u64) -> Self {
        Self {
            schema: 1,
            id,
            name: name.to_owned(),
            kind,
            notes: String::new(),
            created,
            uplink: None,
            uplink_description: String::new(),
            allow_management_os: false,
            host_vlan: Vlan::Untagged,
            network: None,
            mappings: Vec::new(),
            host_loopback: Vec::new(),
        }
    }

    /// The one that is always there, as it is before anybody has used it.
    fn default_one() -> Self {
        Self::new(DEFAULT, DEFAULT_NAME, SwitchType::Internal, 0)
    }

    /// Its router is a process of its own, and needs no rights.
    pub fn has_router(&self) -> bool {
        self.id == DEFAULT
    }

    /// The host has an adapter in it.
    pub fn has_host_adapter(&self) -> bool {
        match self.kind {
            SwitchType::Private => false,
            SwitchType::Internal => !self.has_router(),
            SwitchType::External => self.allow_management_os,
        }
    }

    /// What its process is made of: another is needed when this changes.
    pub fn side(&self) -> (SwitchType, Option<&str>, bool) {
        (self.kind, self.uplink.as_deref(), self.has_host_adapter())
    }

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
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![Switch::default_one()]),
            other => other.map_err(StoreError::io(&directory))?,
        };
        let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ids = ids.filter(|id| *id != DEFAULT).chain([DEFAULT]);
        let mut all: Vec<Switch> = ids.filter_map(|id| self.switch(id).ok()).collect();
        all.sort_by_cached_key(|switch| (switch.name.to_lowercase(), switch.created));
        Ok(all)
    }

    pub fn switch(&self, id: Guid) -> Result<Switch, StoreError> {
        let path = self.switch_directory(id).join(config::FILE);
        let text = match atomic::read_own(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && id == DEFAULT => {
                return Ok(Switch::default_one());
            }
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

    /// Makes the switch that is always there, if nobody has yet.
    pub fn make_default_switch(&self) -> Result<(), StoreError> {
        if self.switch_directory(DEFAULT).join(config::FILE).is_file() {
            return Ok(());
        }
        match self.create_switch(&Switch::default_one()) {
            Err(_) if self.switch_directory(DEFAULT).join(config::FILE).is_file() => Ok(()),
            other => other,
        }
    }

    /// The files that say what virtual machines are.
    pub fn configuration_files(&self) -> Vec<PathBuf> {
        let ids = self.ids().unwrap_or_default().into_iter();
        ids.map(|id| self.directory(id).join(config::FILE)).collect()
    }

    /// Who has published this port of the host: the names of virtual machines.
    pub fn publishers(&self, configs: &[Config], udp: bool, address: IpAddr, port: u16) -> Vec<String> {
        let same = |one: &Published| {
            let both = one.address == address || one.address.is_unspecified() || address.is_unspecified();
            one.udp == udp && one.host_port == port && both && one.address.is_ipv4() == address.is_ipv4()
        };
        let has = |config: &&Config| config.adapters.iter().flat_map(|a| &a.published).any(same);
        configs.iter().filter(has).map(|config| config.name.clone()).collect()
    }

    /// Waits until nobody else changes this switch, and reads it.
    pub fn lock_switch(&self, id: Guid) -> Result<(VmLock, Switch), StoreError> {
        if id == DEFAULT {
            self.make_default_switch()?;
        }
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
