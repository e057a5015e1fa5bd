//! What is saved of the network device.

use super::{BACKLOG, Net};
use crate::lock;
use ireko_vmcore::port::{LONGEST_FRAME, SHORTEST_FRAME};
use ireko_vmcore::saved::{Blob, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedNet {
    /// Frames that wait for the driver's buffers.
    pub frames: Vec<Blob>,
    /// What the driver was told of the plug.
    pub connected: bool,
}

impl Saved for SavedNet {
    const NAME: &'static str = "virtio-net";
    const VERSION: u32 = 1;
}

impl SaveRestore for Net {
    type Saved = SavedNet;

    fn save(&self) -> SavedNet {
        let state = lock(&self.state);
        SavedNet { frames: state.frames.iter().cloned().map(Blob).collect(), connected: state.connected }
    }

    fn restore(&mut self, saved: SavedNet) -> Result<(), RestoreError> {
        let known = |frame: &Blob| (SHORTEST_FRAME..=LONGEST_FRAME).contains(&frame.0.len());
        let fit = saved.frames.len() <= BACKLOG && saved.frames.iter().all(known);
        ensure::<SavedNet>(fit, format!("{} frames wait, or one is none", saved.frames.len()))?;
        let mut state = lock(&self.state);
        state.frames = saved.frames.into_iter().map(|frame| frame.0).collect();
        state.connected = saved.connected;
        Ok(())
    }
}
