//! What is saved of a partition: KVM's interrupt controllers, its interval timer and its clock.

use crate::clocks::Pit;
use crate::request;
use crate::shared::Shared;
use crate::state::failed;
use ireko_vmcore::HvError;
use ireko_vmcore::saved::Saved;
use kvm_bindings::{kvm_ioapic_state, kvm_pic_state, kvm_pit_channel_state, kvm_pit_state2};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPartition {
    /// What guests are shown by kvmclock, in nanoseconds.
    pub clock: u64,
    /// Master and slave.
    pub pics: [SavedPic; 2],
    pub ioapic: SavedIoApic,
    pub pit: SavedPit,
}

impl Saved for SavedPartition {
    const NAME: &'static str = "KVM's partition";
    const VERSION: u32 = 1;
}

/// An 8259A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPic {
    /// Levels of the inputs, for edges.
    pub last_irr: u8,
    pub irr: u8,
    pub imr: u8,
    pub isr: u8,
    pub priority_add: u8,
    pub irq_base: u8,
    pub read_reg_select: u8,
    pub poll: u8,
    pub special_mask: u8,
    /// Which initialization command word is next.
    pub init_state: u8,
    pub auto_eoi: u8,
    pub rotate_on_auto_eoi: u8,
    pub special_fully_nested_mode: u8,
    pub init4: u8,
    pub elcr: u8,
    pub elcr_mask: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedIoApic {
    pub base: u64,
    pub select: u32,
    pub id: u32,
    /// Pins that ask and were not served.
    pub irr: u32,
    pub redirection: [u64; 24],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPit {
    pub channels: [SavedChannel; 3],
    /// Of KVM: an HPET is in channel 0's place; the speaker's data is on.
    pub flags: u32,
}

/// A channel of an 8254, which counts anew when it is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedChannel {
    pub count: u32,
    pub latched_count: u16,
    pub count_latched: u8,
    pub status_latched: u8,
    pub status: u8,
    pub read_state: u8,
    pub write_state: u8,
    pub write_latch: u8,
    pub rw_mode: u8,
    pub mode: u8,
    pub bcd: u8,
    pub gate: u8,
}

/// Between structures whose fields have the same names.
macro_rules! same_fields {
    ($from:expr => $to:ident { $($field:ident),* $(,)? } $(..$rest:expr)?) => {{
        let from = $from;
        $to { $($field: from.$field,)* $(..$rest)? }
    }};
}

impl SavedPic {
    fn of(pic: &kvm_pic_state) -> Self {
        same_fields!(pic => Self {
            last_irr, irr, imr, isr, priority_add, irq_base, read_reg_select, poll, special_mask, init_state,
            auto_eoi, rotate_on_auto_eoi, special_fully_nested_mode, init4, elcr, elcr_mask,
        })
    }
    fn pic(&self) -> kvm_pic_state {
        same_fields!(self => kvm_pic_state {
            last_irr, irr, imr, isr, priority_add, irq_base, read_reg_select, poll, special_mask, init_state,
            auto_eoi, rotate_on_auto_eoi, special_fully_nested_mode, init4, elcr, elcr_mask,
        })
    }
}

impl SavedChannel {
    fn of(channel: &kvm_pit_channel_state) -> Self {
        same_fields!(channel => Self {
            count, latched_count, count_latched, status_latched, status, read_state, write_state,
            write_latch, rw_mode, mode, bcd, gate,
        })
    }
    fn channel(&self) -> kvm_pit_channel_state {
        same_fields!(self => kvm_pit_channel_state {
            count, latched_count, count_latched, status_latched, status, read_state, write_state,
            write_latch, rw_mode, mode, bcd, gate,
        } ..Default::default())
    }
}

impl SavedIoApic {
    fn of((chip, redirection): (kvm_ioapic_state, [u64; 24])) -> Self {
        Self { base: chip.base_address, select: chip.ioregsel, id: chip.id, irr: chip.irr, redirection }
    }
    fn chip(&self) -> kvm_ioapic_state {
        kvm_ioapic_state {
            base_address: self.base,
            ioregsel: self.select,
            id: self.id,
            irr: self.irr,
            ..Default::default()
        }
    }
}

impl SavedPit {
    fn of(pit: &kvm_pit_state2) -> Self {
        Self { channels: pit.channels.map(|channel| SavedChannel::of(&channel)), flags: pit.flags }
    }
    fn state(&self) -> kvm_pit_state2 {
        let channels = self.channels.map(|channel| channel.channel());
        kvm_pit_state2 { channels, flags: self.flags, ..Default::default() }
    }
}

impl SavedPartition {
    pub fn of(shared: &Shared) -> Result<Self, HvError> {
        let pic = |n| request::pic(&shared.vm, n).map_err(failed("KVM_GET_IRQCHIP"));
        let ioapic = request::ioapic(&shared.vm).map_err(failed("KVM_GET_IRQCHIP"))?;
        let (clock, pit) = shared.stopped(|stopped| (stopped.clock, stopped.pit.state))?;
        Ok(Self {
            clock,
            pics: [SavedPic::of(&pic(0)?), SavedPic::of(&pic(1)?)],
            ioapic: SavedIoApic::of(ioapic),
            pit: SavedPit::of(&pit),
        })
    }

    /// Clock and interval timer are taken when the machine goes on.
    pub fn restore(&self, shared: &Shared) -> Result<(), HvError> {
        for (number, pic) in (0..).zip(&self.pics) {
            request::set_pic(&shared.vm, number, pic.pic()).map_err(failed("KVM_SET_IRQCHIP"))?;
        }
        request::set_ioapic(&shared.vm, self.ioapic.chip(), self.ioapic.redirection)
            .map_err(failed("KVM_SET_IRQCHIP"))?;
        shared.stopped(|stopped| {
            stopped.clock = self.clock;
            stopped.pit = Pit { state: self.pit.state(), goes: false };
        })
    }
}
