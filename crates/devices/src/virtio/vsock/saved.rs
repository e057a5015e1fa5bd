//! What is saved of the socket device. Connections are not: a guest that goes on elsewhere is told that they are lost.

use super::Vsock;
use super::connection::{Connection, Ports};
use super::state::MOST_RESETS;
use crate::lock;
use ireko_vmcore::saved::{RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedVsock {
    /// Resets that wait for the driver's buffers: the host's port, the guest's, the kind of socket.
    pub resets: Vec<(u32, u32, u16)>,
    /// The guest is to hear that its connections are lost.
    pub interrupted: bool,
}

impl Saved for SavedVsock {
    const NAME: &'static str = "virtio-vsock";
    const VERSION: u32 = 1;
}

impl SaveRestore for Vsock {
    type Saved = SavedVsock;

    fn save(&self) -> SavedVsock {
        let state = lock(&self.shared.state);
        SavedVsock {
            resets: state.resets.iter().map(|(ports, kind)| (ports.host, ports.guest, *kind)).collect(),
            interrupted: state.interrupted || state.connections.values().any(Connection::is_known),
        }
    }

    fn restore(&mut self, saved: SavedVsock) -> Result<(), RestoreError> {
        let count = saved.resets.len();
        ensure::<SavedVsock>(count <= MOST_RESETS, format!("{count} resets wait"))?;
        let mut state = lock(&self.shared.state);
        state.forget();
        let reset = |(host, guest, kind)| (Ports { host, guest }, kind);
        state.resets = saved.resets.into_iter().map(reset).collect();
        state.interrupted = saved.interrupted;
        Ok(())
    }
}
