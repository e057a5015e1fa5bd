//! The process of a switch's host side: the host's adapter in it, and of an External switch the host's interface. It lives
//! until the switch is removed or is to be another.

use super::protocol::Started;
use crate::guid::Guid;
use crate::store::{Store, Switch, SwitchType, WorkerLock, atomic};
use ireko_net::tap::{self, Side, Tap};
use ireko_net::traffic::Report;
use ireko_net::uplink::Uplink;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// How long a switch that was renamed, changed or removed may go unnoticed.
const LOOK: Duration = Duration::from_millis(500);

/// What the process says of itself, for who looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SideState {
    /// Of the host's adapter.
    #[serde(default)]
    pub host: Option<Report>,
    /// Of the host's interface.
    #[serde(default)]
    pub uplink: Option<Report>,
    /// Why nothing goes out.
    #[serde(default)]
    pub trouble: Option<String>,
}

fn path(store: &Store, id: Guid) -> PathBuf {
    store.switch_directory(id).join("side.json")
}

/// What the host's side of a switch said last, if it is there.
pub fn state(store: &Store, id: Guid) -> Option<SideState> {
    if !WorkerLock::held(&store.switch_directory(id)) {
        return None;
    }
    serde_json::from_slice(&atomic::read_own(&path(store, id)).ok()?).ok()
}

/// What the process has open.
struct Parts {
    tap: Option<Tap>,
    uplink: Option<Uplink>,
}

impl Parts {
    fn open(store: &Store, switch: &Switch) -> Result<Self, String> {
        let (ports, name) = (store.ports(switch.id), interface_name(switch.id));
        let uplink = switch.uplink.as_deref().filter(|_| switch.kind == SwitchType::External);
        let uplink = uplink.map(|interface| Uplink::start(&ports, interface)).transpose()?;
        let side = Side { ports: &ports, name: &name, mac: switch.address() };
        let tap = match switch.has_host_adapter() {
            true => Some(Tap::start(&side, policy(switch)?, &alias(switch))?),
            false => None,
        };
        if uplink.is_some() && tap.is_some() {
            tap::answer_for_itself(&name);
        }
        Ok(Self { tap, uplink })
    }

    fn follow(&mut self, switch: &Switch) {
        if let Some(tap) = &mut self.tap {
            tap.set_alias(&alias(switch));
            if let Ok(policy) = policy(switch) {
                tap.adapter().set_policy(policy);
            }
        }
    }

    fn state(&self) -> SideState {
        SideState {
            host: self.tap.as_ref().map(|tap| tap.adapter().report()),
            uplink: self.uplink.as_ref().map(Uplink::report),
            trouble: self.uplink.as_ref().and_then(Uplink::trouble),
        }
    }
}

fn policy(switch: &Switch) -> Result<ireko_net::Policy, String> {
    let vlan = super::network::vlan(&switch.host_vlan)?;
    Ok(ireko_net::Policy { vlan, ..ireko_net::Policy::of(switch.address()) })
}

/// Is the host's side of the switch to its end. `report` is called once: when it is there, or with the error why it
/// is not.
pub fn run(store: &Store, id: Guid, report: impl FnOnce(Started)) {
    let lock = match WorkerLock::take(&store.switch_directory(id)) {
        Ok(Some(lock)) => lock,
        // Somebody else was faster.
        Ok(None) => return report(Started::Running { pid: 0, engine: String::new() }),
        Err(error) => return report(Started::Error(format!("its lock cannot be had: {error}"))),
    };
    let opened = store
        .switch(id)
        .map_err(|error| error.to_string())
        .and_then(|switch| Ok((Parts::open(store, &switch)?, switch)));
    let (mut parts, first) = match opened {
        Ok(opened) => opened,
        Err(why) => return report(Started::Error(why)),
    };
    report(Started::Running { pid: std::process::id(), engine: String::new() });
    let mut last = None;
    // A switch that is gone, or is to be another, has no use for this one.
    while let Some(switch) = store.switch(id).ok().filter(|switch| switch.side() == first.side()) {
        parts.follow(&switch);
        let state = parts.state();
        if last.as_ref() != Some(&state)
            && let Ok(text) = serde_json::to_vec(&state)
        {
            let _ = atomic::write(&path(store, id), &text);
            last = Some(state);
        }
        std::thread::sleep(LOOK);
    }
    drop((parts, lock));
}

/// The kernel's name of the interface, of 15 characters at most: nobody needs to know it.
pub fn interface_name(switch: Guid) -> String {
    let [a, b, c, d, ..] = switch.0;
    format!("veth-{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// What it is called: as on Hyper-V hosts.
pub fn alias(switch: &Switch) -> String {
    format!("vEthernet ({})", switch.name)
}
