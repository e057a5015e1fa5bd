//! The walls around a worker: what of the store it keeps, and how the host's side reaches that.

use super::gauges::Gauges;
use crate::guid::Guid;
use crate::store::{Config, Store};
pub use ireko_jail::Layers;
use ireko_jail::enter::{self, Plan};
use ireko_jail::identity::Identity;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, lchown};
use std::path::Path;

/// What a worker has after it has opened everything.
pub struct Opened {
    /// The store, as far as it is left and by its name from now on.
    pub store: Store,
    /// The process, as the host sees it.
    pub pid: u32,
    pub layers: Layers,
    pub gauges: Gauges,
}

impl Opened {
    /// Without walls: a thread of somebody else's process.
    pub fn open(store: &Store) -> Self {
        let gauges = Gauges::open();
        Self { store: store.clone(), pid: std::process::id(), layers: Layers::default(), gauges }
    }

    /// Behind all walls that can be had. Everything must be open, and there must be one thread.
    pub fn behind_walls(store: &Store, config: &Config, mut layers: Layers) -> io::Result<Self> {
        let on_switches = !config.adapters.is_empty();
        if on_switches {
            DirBuilder::new().recursive(true).mode(0o700).create(store.all_switches())?;
        }
        let plan = Plan {
            id: config.id.0,
            home: store.home().to_owned(),
            files: Some(store.run_directory(config.id)),
            sockets: on_switches.then(|| store.all_switches()),
            network: false,
        };
        tell_environment(&mut layers);
        let lend = |identity: &Identity, by_names: bool| lend(store, config.id, identity, by_names);
        let jailed = enter::enter(&plan, layers, &lend, Gauges::open)?;
        Ok(Self {
            store: Store::at(jailed.home),
            pid: jailed.pid,
            layers: jailed.layers,
            gauges: jailed.opened,
        })
    }
}

/// What a worker may know of its starter's environment.
pub const ENVIRONMENT: [&str; 5] = ["IREKO_HOME", "IREKO_CACHE", "XDG_CACHE_HOME", "HOME", "PATH"];

pub fn tell_environment(layers: &mut Layers) {
    let strange = std::env::vars_os().find(|(name, _)| !ENVIRONMENT.iter().any(|known| name == known));
    match strange {
        None => layers.stands("clean environment", "paths only"),
        Some((name, _)) => {
            let name = crate::render::printable(&name.to_string_lossy());
            layers.missing("clean environment", format!("it was started by hand, and has {name}"));
        }
    }
}

/// Gives the VM's user what it writes to. Configurations, locks and the names above stay root's: what a worker could
/// change would be believed at the next start. `by_names`: it will look up names from the home down.
fn lend(store: &Store, id: Guid, identity: &Identity, by_names: bool) -> io::Result<()> {
    let files = store.run_directory(id);
    chown(&files, Some(identity.own), Some(identity.own))?;
    share_switches(store, identity.switches)?;
    let above = [store.home().to_owned(), store.directory(id).join(".."), store.directory(id)];
    match by_names {
        true => above.iter().try_for_each(|path| fs::set_permissions(path, Permissions::from_mode(0o711))),
        false => Ok(()),
    }
}

/// The group of VMs on switches may make and reach ports in every switch; each can remove its own only.
pub fn share_switches(store: &Store, group: u32) -> io::Result<()> {
    let all = store.all_switches();
    if !all.is_dir() {
        return Ok(());
    }
    share(&all, group, 0o710)?;
    // The one that is always there may not have been used yet.
    let switches = store.switches().map_err(io::Error::other)?;
    for switch in switches.into_iter().filter(|switch| store.switch_directory(switch.id).is_dir()) {
        share(&store.switch_directory(switch.id), group, 0o710)?;
        let ports = store.ports(switch.id);
        if ports.is_dir() {
            share(&ports, group, 0o3770)?;
            adopt(&ports, group)?;
        }
    }
    Ok(())
}

/// Ports that were made before the directory was shared: the host's side of the switch.
fn adopt(ports: &Path, group: u32) -> io::Result<()> {
    for port in fs::read_dir(ports)?.flatten() {
        match lchown(port.path(), None, Some(group)) {
            // It has just been closed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            other => other?,
        }
    }
    Ok(())
}

fn share(path: &Path, group: u32, mode: u32) -> io::Result<()> {
    chown(path, None, Some(group))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}
