//! What a router is to be: made of the store and the host's own configuration, and told to it whenever it changes.

use crate::guid::Guid;
use crate::host_network::RESOLV;
use crate::store::switch::{DOMAIN, Mapping, Published};
use crate::store::{Adapter, Config, Store, Switch};
use ireko_nat::{Forward, Network, Protocol, Target};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A line to the process behind the walls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    mac: [u8; 6],
    router: Ipv4Addr,
    length: u8,
    six: Option<Ipv6Addr>,
    names: Vec<(String, [u8; 6])>,
    adapters: Vec<[u8; 6]>,
    resolvers: Vec<IpAddr>,
    search: Vec<String>,
    forwards: Vec<To>,
    host_loopback: Vec<u16>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct To {
    udp: bool,
    at: SocketAddr,
    adapter: Option<[u8; 6]>,
    address: Option<IpAddr>,
    port: u16,
}

impl Settings {
    /// The router's own address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    pub fn config(self) -> ireko_nat::Config {
        let network = Network { router: self.router, length: self.length };
        let mut config = ireko_nat::Config::new(self.mac, network);
        config.six = self.six;
        config.domain = DOMAIN.into();
        config.names = self.names;
        config.adapters = self.adapters;
        config.resolvers = self.resolvers;
        config.search = self.search;
        config.host_loopback = self.host_loopback;
        config.forwards = self.forwards.iter().filter_map(To::forward).collect();
        config
    }
}

impl To {
    fn published(mac: [u8; 6], one: &Published) -> Self {
        let at = SocketAddr::new(one.address, one.host_port);
        Self { udp: one.udp, at, adapter: Some(mac), address: None, port: one.guest_port }
    }

    fn mapping(one: &Mapping) -> Self {
        let at = SocketAddr::new(one.external_address, one.external_port);
        let (address, port) = (Some(one.internal_address), one.internal_port);
        Self { udp: one.udp, at, adapter: None, address, port }
    }

    fn forward(&self) -> Option<Forward> {
        let to = self.adapter.map(Target::Adapter).or_else(|| self.address.map(Target::Address))?;
        let protocol = if self.udp { Protocol::Udp } else { Protocol::Tcp };
        Some(Forward { protocol, at: self.at, to, port: self.port })
    }
}

/// The router's own: locally administered, another for each network.
fn address_of(router: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = router.octets();
    [2, 0x15, a, b, c, d]
}

/// The name that a VM is asked for by: RFC 1123's letters of its own.
fn label(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let label: String = name.chars().map(letter).take(63).collect();
    label.trim_matches('-').to_owned()
}

/// What the settings were made of, to see whether anything has changed.
#[derive(Debug, Default)]
pub struct Watched {
    seen: Option<Vec<(PathBuf, Option<SystemTime>)>>,
    last: Option<Settings>,
}

impl Watched {
    /// New settings, if there are any.
    pub fn look(&mut self, store: &Store, id: Guid) -> Result<Option<Settings>, String> {
        let seen = files(store, id);
        if self.seen.as_ref() == Some(&seen) {
            return Ok(None);
        }
        self.seen = Some(seen);
        // One that has just been removed is seen by its directory.
        let Ok(switch) = store.switch(id) else { return Ok(None) };
        let configs: Vec<Config> =
            store.all().map_err(|error| error.to_string())?.into_iter().flatten().collect();
        let resolv = fs::read_to_string(RESOLV).unwrap_or_default();
        let settings = make(&switch, &configs, &resolv)?;
        if self.last.as_ref() == Some(&settings) {
            return Ok(None);
        }
        self.last = Some(settings.clone());
        Ok(Some(settings))
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

fn files(store: &Store, id: Guid) -> Vec<(PathBuf, Option<SystemTime>)> {
    let own = store.switch_directory(id).join(crate::store::config::FILE);
    let mut paths = vec![own, RESOLV.into()];
    paths.extend(store.configuration_files());
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), changed(&path))).collect()
}

fn make(switch: &Switch, configs: &[Config], resolv: &str) -> Result<Settings, String> {
    let network = switch.network.as_ref().ok_or("the switch has no network yet")?;
    let adapters = |config: &Config| -> Vec<Adapter> {
        config.adapters.iter().filter(|adapter| adapter.switch == Some(switch.id)).cloned().collect()
    };
    let (mut names, mut forwards, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for config in configs {
        for (number, adapter) in adapters(config).iter().enumerate() {
            let Some(mac) = adapter.address() else { continue };
            own.push(mac);
            if number == 0 && !label(&config.name).is_empty() {
                names.push((label(&config.name), mac));
            }
            forwards.extend(adapter.published.iter().map(|one| To::published(mac, one)));
        }
    }
    forwards.extend(switch.mappings.iter().map(To::mapping));
    let (resolvers, search) = ireko_nat::config::resolv(resolv);
    Ok(Settings {
        mac: address_of(network.router),
        router: network.router,
        length: network.length,
        six: network.six,
        names,
        adapters: own,
        resolvers,
        search,
        forwards,
        host_loopback: switch.host_loopback.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vms_name_is_made_one_of_dns() {
        assert_eq!(label("Web server (1)"), "web-server--1");
        assert_eq!(label("–"), "");
    }
}
