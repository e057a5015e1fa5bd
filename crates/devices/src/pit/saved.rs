//! What is saved of the interval timer. Ticks are those of its clock since the machine's time 0.

use super::channel::Channel;
use super::regs::{ACCESS_BOTH, ACCESS_LOW, CHANNELS, PORT_61_WRITABLE};
use super::{Counters, FREQUENCY, Pit, SECOND};
use crate::lock;
use ireko_vmcore::saved::{RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPit {
    pub channels: [SavedChannel; CHANNELS],
    pub port_61: u8,
    /// The tick at which counter 0's OUT rises next.
    pub next_rise: Option<u64>,
}

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedChannel {
    /// 0 to 5.
    pub mode: u8,
    pub bcd: bool,
    /// 1: low byte, 2: high byte, 3: both.
    pub access: u8,
    pub gate: bool,
    /// The initial count, 1 to 65536.
    pub count: u64,
    /// The tick at which the count was loaded.
    pub start: Option<u64>,
    /// Ticks that were counted when a closed gate stopped the count.
    pub paused: Option<u64>,
    /// The first of two bytes of a count.
    pub written: Option<u8>,
    pub read_high: bool,
    pub latched: Option<u16>,
    pub status: Option<u8>,
}

impl Saved for SavedPit {
    const NAME: &'static str = "pit";
    const VERSION: u32 = 1;
}

/// Later than any tick there is: what is added to it must not wrap around.
const END: u64 = 1 << 60;

fn channel(saved: SavedChannel) -> Result<Channel, RestoreError> {
    let ticks = [saved.start, saved.paused].into_iter().flatten().max();
    ensure::<SavedPit>(saved.mode <= 5, format!("a counter in mode {}", saved.mode))?;
    ensure::<SavedPit>(
        (ACCESS_LOW..=ACCESS_BOTH).contains(&saved.access),
        format!("access {}", saved.access),
    )?;
    ensure::<SavedPit>((1..=0x1_0000).contains(&saved.count), format!("a count of {}", saved.count))?;
    ensure::<SavedPit>(ticks.unwrap_or(0) < END, format!("tick {ticks:?}"))?;
    let SavedChannel { mode, bcd, access, gate, count, start, paused, written, read_high, latched, status } =
        saved;
    Ok(Channel { mode, bcd, access, gate, count, start, paused, written, read_high, latched, status })
}

impl From<&Channel> for SavedChannel {
    fn from(channel: &Channel) -> Self {
        let Channel { mode, bcd, access, gate, count, start, paused, written, read_high, latched, status } =
            *channel;
        Self { mode, bcd, access, gate, count, start, paused, written, read_high, latched, status }
    }
}

impl SaveRestore for Pit {
    type Saved = SavedPit;

    fn save(&self) -> SavedPit {
        let state = lock(&self.state);
        SavedPit {
            channels: state.counters.channels.each_ref().map(SavedChannel::from),
            port_61: state.counters.port_61,
            next_rise: state.next_rise,
        }
    }

    /// The wire's level is for who is at its end.
    fn restore(&mut self, saved: SavedPit) -> Result<(), RestoreError> {
        let [a, b, c] = saved.channels;
        let channels = [channel(a)?, channel(b)?, channel(c)?];
        ensure::<SavedPit>(saved.next_rise.unwrap_or(0) < END, format!("a rise at {:?}", saved.next_rise))?;
        let mut state = lock(&self.state);
        state.counters = Counters { channels, port_61: saved.port_61 & PORT_61_WRITABLE };
        state.next_rise = saved.next_rise;
        match saved.next_rise {
            Some(rise) => state.timer.arm((u128::from(rise) * SECOND).div_ceil(u128::from(FREQUENCY)) as u64),
            None => state.timer.cancel(),
        }
        Ok(())
    }
}
