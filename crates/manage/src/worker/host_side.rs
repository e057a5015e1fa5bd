//! The process of a switch's host side: it lives until the switch is removed or is to be Private.

use super::protocol::Started;
use crate::guid::Guid;
use crate::store::{Store, Switch, SwitchType, WorkerLock};
use ireko_net::tap::{self, Side};

/// Is the host's side of the switch to its end. `report` is called once: when it is there, or with the error why it
/// is not.
pub fn run(store: &Store, id: Guid, report: impl FnOnce(Started)) {
    let mut report = Some(report);
    let mut tell = |started: Started| report.take().into_iter().for_each(|report| report(started.clone()));
    let lock = match WorkerLock::take(&store.switch_directory(id)) {
        Ok(Some(lock)) => lock,
        // Somebody else was faster.
        Ok(None) => return tell(Started::Running { pid: 0, engine: String::new() }),
        Err(error) => return tell(Started::Error(format!("its lock cannot be had: {error}"))),
    };
    let switch = match store.switch(id) {
        Ok(switch) => switch,
        Err(error) => return tell(Started::Error(error.to_string())),
    };
    let (ports, name) = (store.ports(id), interface_name(id));
    let side = Side { ports: &ports, name: &name, mac: switch.address() };
    let alias = || {
        let switch = store.switch(id).ok()?;
        (switch.kind == SwitchType::Internal).then(|| alias(&switch))
    };
    let ready = || tell(Started::Running { pid: std::process::id(), engine: String::new() });
    if let Err(why) = tap::run(&side, alias, ready) {
        tell(Started::Error(why));
    }
    drop(lock);
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
