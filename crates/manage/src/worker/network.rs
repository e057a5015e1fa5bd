//! The network adapters of a worker's VM: their plugs outlive the machine's resets, and change while it runs.

use crate::guid::Guid;
use crate::store::config::{PortMirroring, Vlan};
use crate::store::{Adapter, Store};
use ireko_machine::{NicSpec, Rates};
use ireko_net::traffic::Report;
use ireko_net::vlan::Ids;
use ireko_net::{Mirroring, Policy};
use ireko_vmcore::{Broker, Port};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

type Plugs = Vec<(Guid, Arc<ireko_net::Adapter>)>;

pub struct Network {
    store: Mutex<(Store, Broker)>,
    plugs: Mutex<Plugs>,
    settings: Mutex<Option<Vec<Adapter>>>,
}

impl Network {
    pub fn new(store: Store) -> Self {
        Self {
            store: Mutex::new((store, Broker::default())),
            plugs: Mutex::default(),
            settings: Mutex::default(),
        }
    }

    /// The store has another name from now on, and who uses names in it is this one.
    pub fn moved(&self, store: Store, broker: Broker) {
        *self.store.lock().unwrap_or_else(|e| e.into_inner()) = (store, broker);
    }

    /// Where the store is.
    pub fn home(&self) -> PathBuf {
        self.place().0.home().to_owned()
    }

    fn place(&self) -> (Store, Broker) {
        self.store.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Plugs> {
        self.plugs.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What a machine with these adapters has.
    pub fn nics(&self, adapters: &[Adapter]) -> Result<Vec<NicSpec>, String> {
        let broker = self.place().1;
        let mut plugs = self.lock();
        let mut nics = Vec::new();
        for adapter in adapters {
            let policy = policy(adapter)?;
            let mac = policy.mac;
            let known = plugs.iter().find(|(id, _)| *id == adapter.id).map(|(_, plug)| plug.clone());
            let plug = known.unwrap_or_else(|| {
                let plug =
                    Arc::new(ireko_net::Adapter::with(broker.clone(), &adapter.id.to_string(), policy));
                plugs.push((adapter.id, plug.clone()));
                plug
            });
            nics.push(NicSpec { mac, port: plug });
        }
        drop(plugs);
        self.apply(adapters)?;
        Ok(nics)
    }

    /// What each adapter has counted.
    pub fn reports(&self) -> Vec<(Guid, Report)> {
        self.lock().iter().map(|(id, plug)| (*id, plug.report())).collect()
    }

    /// What counts now: what was taken over while the machine ran.
    pub fn settings(&self) -> Option<Vec<Adapter>> {
        self.settings.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Takes over what is set of adapters that the machine has.
    pub fn apply(&self, adapters: &[Adapter]) -> Result<(), String> {
        *self.settings.lock().unwrap_or_else(|e| e.into_inner()) = Some(adapters.to_vec());
        let (store, broker) = self.place();
        let is_there = |ports: &PathBuf| {
            let ports = ports.clone();
            broker.ask(move || ports.is_dir()) == Some(true)
        };
        for (id, plug) in self.lock().iter() {
            let Some(adapter) = adapters.iter().find(|adapter| adapter.id == *id) else { continue };
            plug.set_policy(policy(adapter)?);
            plug.throttle().set(Rates {
                bytes: adapter.maximum_bandwidth.div_ceil(8),
                operations: adapter.maximum_frames_per_second,
            });
            // A switch that has been removed is a plug in nothing.
            let ports = adapter.switch.map(|switch| store.ports(switch)).filter(is_there);
            plug.connect(ports.as_deref()).map_err(|error| {
                format!("the adapter '{}' cannot be plugged into its switch: {error}", adapter.name)
            })?;
        }
        Ok(())
    }
}

fn policy(adapter: &Adapter) -> Result<Policy, String> {
    let mac = adapter.address().ok_or_else(|| {
        format!("the adapter '{}' has the MAC address '{}', which is none", adapter.name, adapter.mac)
    })?;
    Ok(Policy {
        mac,
        spoofing: adapter.mac_address_spoofing,
        dhcp_guard: adapter.dhcp_guard,
        router_guard: adapter.router_guard,
        vlan: vlan(&adapter.vlan).map_err(|why| format!("the adapter '{}': {why}", adapter.name))?,
        mirroring: match adapter.port_mirroring {
            PortMirroring::None => Mirroring::None,
            PortMirroring::Source => Mirroring::Source,
            PortMirroring::Destination => Mirroring::Destination,
        },
    })
}

/// As the wire has it.
pub fn vlan(vlan: &Vlan) -> Result<ireko_net::vlan::Vlan, String> {
    Ok(match vlan {
        Vlan::Untagged => ireko_net::vlan::Vlan::Untagged,
        Vlan::Access(id) => ireko_net::vlan::Vlan::Access(*id),
        Vlan::Trunk { native, allowed } => {
            let allowed = Ids::parse(allowed).map_err(|wrong| format!("'{wrong}' is no VLAN"))?;
            ireko_net::vlan::Vlan::Trunk { native: *native, allowed }
        }
    })
}
