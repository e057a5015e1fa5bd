//! What is saved of a channel.

use super::{BUFFER, Channel, PortState};
use crate::lock;
use ireko_vmcore::saved::{Blob, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedChannel {
    /// What the driver is to be told: that there is a port, its name, that the host has it open.
    pub add: bool,
    pub name: bool,
    pub open: bool,
    /// A program has opened the port.
    pub opened: bool,
    pub to_guest: Blob,
    pub to_host: Blob,
}

impl Saved for SavedChannel {
    const NAME: &'static str = "virtio-serial";
    const VERSION: u32 = 1;
}

impl SaveRestore for Channel {
    type Saved = SavedChannel;

    fn save(&self) -> SavedChannel {
        let state = lock(&self.shared.state);
        SavedChannel {
            add: state.add,
            name: state.name,
            open: state.open,
            opened: state.opened,
            to_guest: Blob(state.to_guest.iter().copied().collect()),
            to_host: Blob(state.to_host.iter().copied().collect()),
        }
    }

    fn restore(&mut self, saved: SavedChannel) -> Result<(), RestoreError> {
        let (Blob(to_guest), Blob(to_host)) = (saved.to_guest, saved.to_host);
        let fit = to_guest.len() <= BUFFER && to_host.len() < 2 * BUFFER;
        ensure::<SavedChannel>(fit, format!("{} and {} bytes wait", to_guest.len(), to_host.len()))?;
        let (add, name, open, opened) = (saved.add, saved.name, saved.open, saved.opened);
        *lock(&self.shared.state) =
            PortState { add, name, open, opened, to_guest: to_guest.into(), to_host: to_host.into() };
        self.shared.changed.notify_all();
        Ok(())
    }
}
