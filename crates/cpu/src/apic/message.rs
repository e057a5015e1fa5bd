//! Interrupt messages: what an ICR, an IOAPIC or a PCI function sends to local APICs.

use ireko_vmcore::Msi;

/// How an interrupt is delivered (APM vol. 2, 16.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Fixed,
    Lowest,
    Smi,
    Nmi,
    Init,
    Startup,
    ExtInt,
    Reserved,
}

impl Delivery {
    /// From the three bits 10:8 of an ICR, an LVT entry or MSI data.
    pub fn from_bits(bits: u32) -> Self {
        use Delivery::*;
        [Fixed, Lowest, Smi, Reserved, Nmi, Init, Startup, ExtInt][(bits >> 8 & 7) as usize]
    }
}

/// To whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Physical(u32),
    Logical(u32),
    All,
    AllBut(u32),
    Only(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub vector: u8,
    pub delivery: Delivery,
    pub to: Destination,
    /// Level-triggered: the EOI is told to the IOAPIC.
    pub level: bool,
}

impl Message {
    /// SDM vol. 3, 11.11.
    pub fn from_msi(msi: Msi) -> Self {
        let target = (msi.address >> 12 & 0xff) as u32;
        let to = match (msi.address >> 2 & 1 != 0, target) {
            (false, 0xff) => Destination::All,
            (false, id) => Destination::Physical(id),
            (true, mask) => Destination::Logical(mask),
        };
        let level = msi.data >> 15 & 1 != 0;
        Self { vector: msi.data as u8, delivery: Delivery::from_bits(msi.data), to, level }
    }

    /// From an ICR's low half, its destination (32 bits in x2APIC mode, else 8) and the sender's ID (16.5, 16.13).
    pub fn from_icr(low: u32, target: u32, x2apic: bool, sender: u32) -> Self {
        let everyone = if x2apic { u32::MAX } else { 0xff };
        let to = match (low >> 18 & 3, low >> 11 & 1 != 0) {
            (1, _) => Destination::Only(sender),
            (2, _) => Destination::All,
            (3, _) => Destination::AllBut(sender),
            (_, true) => Destination::Logical(target),
            _ if target == everyone => Destination::All,
            _ => Destination::Physical(target),
        };
        Self { vector: low as u8, delivery: Delivery::from_bits(low), to, level: low >> 15 & 1 != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_msi_names_vector_mode_and_destination() {
        let message = Message::from_msi(Msi { address: 0xfee0_3004, data: 0xc141 });
        let expected =
            Message { vector: 0x41, delivery: Delivery::Lowest, to: Destination::Logical(3), level: true };
        assert_eq!(message, expected);
    }

    #[test]
    fn an_icr_shorthand_overrides_the_destination() {
        assert_eq!(Message::from_icr(3 << 18 | 0x30, 7, false, 2).to, Destination::AllBut(2));
    }

    #[test]
    fn all_ones_is_everyone_by_the_width_of_the_mode() {
        assert_eq!(Message::from_icr(0x30, 0xff, false, 0).to, Destination::All);
        assert_eq!(Message::from_icr(0x30, 0xff, true, 0).to, Destination::Physical(0xff));
    }
}
