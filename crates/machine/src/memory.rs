//! Memory that moves while the VM runs: taken back by the balloon, added by the memory device.

use crate::pause::Pause;
pub use ireko_devices::virtio::Statistics;
use ireko_devices::virtio::{BalloonControl, MEM_BLOCK, MemControl};
use ireko_vmcore::memory::PAGE;

/// What the process of a VM needs beside `memory` bytes of guest memory: translated code and what is noted of it, banks,
/// devices' buffers, the host's page tables, the kernel and initrd while they are loaded.
pub fn overhead(memory: u64) -> u64 {
    const FIXED: u64 = 256 << 20;
    FIXED + memory / 8
}

/// What a VM has of its memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    /// At the start.
    pub base: u64,
    /// Added since.
    pub plugged: u64,
    /// All that could be added.
    pub room: u64,
    /// Given back to the host.
    pub ballooned: u64,
    /// The guest has a driver that takes memory.
    pub can_grow: bool,
    /// The guest has a driver that gives memory.
    pub can_shrink: bool,
    /// What the guest's kernel says, if it has a driver that does.
    pub statistics: Option<Statistics>,
}

impl MemoryState {
    /// What the guest can use.
    pub fn assigned(&self) -> u64 {
        (self.base + self.plugged).saturating_sub(self.ballooned)
    }
}

/// What is asked of the two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requested {
    pub plugged: u64,
    pub ballooned: u64,
}

impl Requested {
    /// For `target` bytes in all. Above `base` memory is added, below it is given to the balloon. What stays plugged
    /// although it was not wanted (`stuck` bytes: the guest's kernel cannot free it) goes to the balloon as well.
    pub fn of(base: u64, target: u64, room: u64, stuck: u64) -> Self {
        let plugged = (target.saturating_sub(base).min(room)).next_multiple_of(MEM_BLOCK);
        let have = base + plugged.max(stuck);
        Self { plugged, ballooned: have.saturating_sub(target) / PAGE * PAGE }
    }
}

/// Takes and gives memory. Cheap to clone.
#[derive(Clone)]
pub struct MemoryControl {
    base: u64,
    balloon: BalloonControl,
    hot: Option<MemControl>,
    /// Of the machine, which is asked for nothing while it is paused.
    pause: Option<Pause>,
}

impl MemoryControl {
    pub(crate) fn new(base: u64, balloon: BalloonControl, hot: Option<MemControl>) -> Self {
        Self { base, balloon, hot, pause: None }
    }

    pub(crate) fn of(self, pause: Pause) -> Self {
        Self { pause: Some(pause), ..self }
    }

    pub fn state(&self) -> MemoryState {
        let hot = self.hot.as_ref().map(MemControl::plugged).unwrap_or_default();
        MemoryState {
            base: self.base,
            plugged: hot.plugged,
            room: hot.region,
            ballooned: self.balloon.size(),
            can_grow: self.hot.as_ref().is_some_and(MemControl::driven),
            can_shrink: self.balloon.driven(),
            statistics: self.balloon.statistics(),
        }
    }

    /// Asks the guest to have `target` bytes. It takes its time, and may not get there: [`MemoryControl::state`] tells.
    /// `insist`: what the guest has not unplugged by now goes to the balloon.
    pub fn aim(&self, target: u64, insist: bool) {
        let state = self.state();
        let stuck = if insist { state.plugged } else { 0 };
        self.request(Requested::of(self.base, target, state.room, stuck));
    }

    fn request(&self, requested: Requested) {
        let (balloon, hot) = (self.balloon.clone(), self.hot.clone());
        let ask = move || {
            hot.iter().for_each(|hot| hot.request(requested.plugged));
            balloon.want(requested.ballooned);
        };
        match &self.pause {
            Some(pause) => drop(pause.input(1, ask)),
            None => ask(),
        }
    }

    /// Ends whatever is under way: the guest keeps what it has now.
    pub fn hold(&self) {
        let MemoryState { plugged, ballooned, .. } = self.state();
        self.request(Requested { plugged, ballooned });
    }

    /// Asks for new statistics.
    pub fn poll(&self) {
        self.balloon.poll();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn growth_is_plugged_and_shrinking_is_ballooned() {
        let requested = |target| Requested::of(512 * MIB, target * MIB, 1024 * MIB, 0);
        assert_eq!(requested(512), Requested { plugged: 0, ballooned: 0 });
        assert_eq!(requested(768), Requested { plugged: 256 * MIB, ballooned: 0 });
        assert_eq!(requested(300), Requested { plugged: 0, ballooned: 212 * MIB });
    }

    #[test]
    fn no_more_is_plugged_than_there_is_room() {
        assert_eq!(
            Requested::of(512 * MIB, 4096 * MIB, 64 * MIB, 0),
            Requested { plugged: 64 * MIB, ballooned: 0 }
        );
    }

    #[test]
    fn what_stays_plugged_goes_to_the_balloon() {
        let requested = Requested::of(512 * MIB, 600 * MIB, 1024 * MIB, 256 * MIB);
        assert_eq!(requested, Requested { plugged: 88 * MIB, ballooned: 168 * MIB });
    }
}
