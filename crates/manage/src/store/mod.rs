//! What is kept of VMs: one directory each under the home directory.
//!
//! ```text
//! HOME/vms/<id>/config.json   what the VM is; replaced as a whole
//!               lock          held by whoever changes it
//!               worker.lock   held by the worker for as long as it lives
//!               worker.log    what the worker had to say
//!               run/          all that the worker itself writes, and nothing that is believed without a look:
//!                 run.json      the last run: when, which process, how it ended
//!                 meter.json    resource metering
//!                 control.sock  the worker's socket
//!               disk.qcow2    of one that was made with a system: a layer over the system's disk
//!               seed.iso      what that system is told at its first start
//! HOME/systems/<name>/disk.img   disks of systems, which nobody changes
//! ```

pub mod atomic;
pub mod config;
pub mod host_settings;
mod layer;
mod lock;
pub mod run;
pub mod switch;
#[cfg(test)]
mod tests;

pub use config::{Adapter, Boot, Config, ConfigVersion, Disk, DriveAddress, Memory, Processor};
pub use host_settings::{Group, GroupType, HostSettings};
pub use layer::Layer;
pub use lock::{VmLock, WorkerLock};
pub use run::{Meter, Run};
pub use switch::{Switch, SwitchType};

use crate::guid::Guid;
use crate::place::{self, Refused};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no place for VMs: set IREKO_HOME, XDG_DATA_HOME or HOME")]
    NoHome,
    #[error("You do not have the required permission to complete this task: {} belongs to somebody else.", path.display())]
    Denied { path: PathBuf },
    #[error("the store cannot use {}: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error("the home of the virtual machines is not used: {0}")]
    Refused(Refused),
    #[error("there is no virtual machine with the id {0}")]
    Gone(Guid),
    #[error("the configuration {} is damaged ({why}); repair it or remove its directory", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error(
        "the settings of '{name}' come to {size} bytes, and {} are the most; shorten its notes or its command line",
        atomic::LIMIT
    )]
    TooLarge { name: String, size: usize },
    #[error("the configuration {} has schema {schema}, and this Ireko knows {} and older; use a newer Ireko", path.display(), config::SCHEMA)]
    TooNew { path: PathBuf, schema: u32 },
}

impl StoreError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |why| match why.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { path: path.to_owned() },
            _ => Self::Io { path: path.to_owned(), why },
        }
    }
}

/// The directory of a VM that is there as a whole when it is kept, and otherwise gone.
pub struct Begun {
    draft: PathBuf,
    target: PathBuf,
    vms: PathBuf,
    /// Until its configuration names what it is over.
    held: Option<File>,
}

impl Begun {
    pub fn path(&self) -> &Path {
        &self.draft
    }

    /// Keeps this lock until then.
    pub fn hold(&mut self, lock: File) {
        self.held = Some(lock);
    }

    pub fn keep(self, config: &Config) -> Result<(), StoreError> {
        write_config(&self.draft, config)?;
        fs::rename(&self.draft, &self.target).map_err(StoreError::io(&self.target))?;
        atomic::sync_directory(&self.vms).map_err(StoreError::io(&self.vms))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.draft);
    }
}

/// The directory of all VMs.
#[derive(Clone, Debug)]
pub struct Store {
    home: PathBuf,
}

/// `IREKO_HOME`, else /var/lib/ireko for root, else `ireko` in the user's XDG data directory.
pub fn default_home() -> Result<PathBuf, StoreError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = set("IREKO_HOME") {
        return std::path::absolute(&home).map_err(StoreError::io(&home));
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/ireko".into());
    }
    let base = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    base.map(|base| base.join("ireko")).ok_or(StoreError::NoHome)
}

impl Store {
    /// Makes the directories where they are missing, for their owner only. A home in which others have a say is refused.
    pub fn open(home: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self { home: home.into() };
        for directory in [store.home(), &store.vms()] {
            place::claim(directory).map_err(|refused| match refused {
                Refused::Io { path, why } => StoreError::io(&path)(why),
                other => StoreError::Refused(other),
            })?;
        }
        Ok(store)
    }

    /// One that is there.
    pub fn at(home: PathBuf) -> Self {
        Self { home }
    }

    /// Where a VM's worker writes.
    pub fn run_directory(&self, id: Guid) -> PathBuf {
        self.directory(id).join(run::DIRECTORY)
    }

    pub fn home(&self) -> &Path {
        &self.home
    }
    /// Held by who makes a machine over a system's disk, and alone by who removes some.
    pub fn hold_systems(&self, alone: bool) -> io::Result<File> {
        let systems = self.systems();
        DirBuilder::new().recursive(true).mode(0o700).create(&systems)?;
        // The directory itself: a file for it would be one that is kept where nothing is.
        let lock = File::open(&systems)?;
        if alone { lock.lock() } else { lock.lock_shared() }.map(|()| lock)
    }

    /// Disks of systems, over which those of VMs are layers.
    pub fn systems(&self) -> PathBuf {
        self.home.join("systems")
    }
    fn vms(&self) -> PathBuf {
        self.home.join("vms")
    }
    pub fn directory(&self, id: Guid) -> PathBuf {
        self.vms().join(id.to_string())
    }

    /// Every VM's id, in order of the ids.
    pub fn ids(&self) -> Result<Vec<Guid>, StoreError> {
        let vms = self.vms();
        let entries = fs::read_dir(&vms).map_err(StoreError::io(&vms))?;
        let mut ids: Vec<Guid> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Every VM by name, then creation; one that cannot be read is an error of its own.
    pub fn all(&self) -> Result<Vec<Result<Config, StoreError>>, StoreError> {
        let loaded = self.ids()?.into_iter().map(|id| self.load(id));
        // Removed between the list and the look.
        let mut all: Vec<_> = loaded.filter(|one| !matches!(one, Err(StoreError::Gone(_)))).collect();
        all.sort_by_cached_key(|one| {
            one.as_ref().map_or((String::new(), 0), |config| (config.name.to_lowercase(), config.created))
        });
        Ok(all)
    }

    pub fn load(&self, id: Guid) -> Result<Config, StoreError> {
        let path = self.directory(id).join(config::FILE);
        let text = match atomic::read_own(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::Gone(id)),
            other => other.map_err(StoreError::io(&path))?,
        };
        let config: Config = config::parse(&text, &path)?;
        if config.id != id {
            let why = format!("it is that of {}", config.id);
            return Err(StoreError::Damaged { path, why });
        }
        Ok(config)
    }

    /// A new VM: it is there as a whole or not at all.
    pub fn create(&self, config: &Config) -> Result<(), StoreError> {
        self.begin(config.id)?.keep(config)
    }

    /// A directory of a new VM, for files that it is to have from the beginning.
    pub fn begin(&self, id: Guid) -> Result<Begun, StoreError> {
        let vms = self.vms();
        self.sweep();
        let draft = vms.join(format!(".new-{}-{id}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&draft).map_err(StoreError::io(&draft))?;
        Ok(Begun { draft, target: self.directory(id), vms, held: None })
    }

    /// Waits until nobody else changes this VM, and reads it.
    pub fn lock(&self, id: Guid) -> Result<(VmLock, Config), StoreError> {
        let lock = VmLock::take(&self.directory(id), id)?;
        let config = self.load(id)?;
        Ok((lock, config))
    }

    pub fn save(&self, lock: &VmLock, config: &Config) -> Result<(), StoreError> {
        debug_assert_eq!(lock.id(), config.id, "the lock is this VM's");
        write_config(&self.directory(config.id), config)
    }

    /// Removes the directory with everything in it; disks elsewhere stay.
    pub fn remove(&self, lock: VmLock) -> Result<(), StoreError> {
        let (directory, vms) = (self.directory(lock.id()), self.vms());
        let trash = vms.join(format!(".removed-{}-{}", std::process::id(), lock.id()));
        fs::rename(&directory, &trash).map_err(StoreError::io(&directory))?;
        atomic::sync_directory(&vms).map_err(StoreError::io(&vms))?;
        fs::remove_dir_all(&trash).map_err(StoreError::io(&trash))
    }

    /// Drafts and remains of processes that were killed.
    fn sweep(&self) {
        for entry in fs::read_dir(self.vms()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(".new-").or_else(|| name.strip_prefix(".removed-"));
            let pid = owner.and_then(|rest| rest.split('-').next());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn write_config(directory: &Path, config: &Config) -> Result<(), StoreError> {
    let path = directory.join(config::FILE);
    let mut text = serde_json::to_vec_pretty(config)
        .map_err(|error| StoreError::Io { path: path.clone(), why: io::Error::other(error) })?;
    text.push(b'\n');
    // Nobody would read it again.
    if text.len() as u64 > atomic::LIMIT {
        return Err(StoreError::TooLarge { name: config.name.clone(), size: text.len() });
    }
    atomic::write(&path, &text).map_err(StoreError::io(&path))
}
