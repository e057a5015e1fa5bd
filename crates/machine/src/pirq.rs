//! Interrupts of PCI slots for systems that use the PIC: without a chipset INTA# is wired to one of two ISA interrupts, and a
//! routing table says so (Microsoft, "PCI IRQ Routing Table Specification" 1.0).

/// The ISA interrupts that slots take in turn.
pub const IRQS: [u32; 2] = [10, 11];
/// The PIC pair's register of the slave's level-triggered inputs (82371SB, 2.5.4).
pub const ELCR_SLAVE: u64 = 0x4d1;

const HEADER: usize = 32;
const ENTRY: usize = 16;
const SLOTS: u8 = 32;
const CHECKSUM: usize = 31;
/// A link whose upper half is this is a wire, and its lower half the interrupt: no router has to be asked.
const WIRED: u8 = 0xf0;

/// What the ELCR must say: PCI's interrupts are level-triggered.
pub fn level_triggered() -> u8 {
    IRQS.iter().fold(0, |bits, irq| bits | 1 << (irq - 8))
}

pub fn irq(slot: u8) -> u8 {
    IRQS[usize::from(slot) % IRQS.len()] as u8
}

pub fn table() -> Vec<u8> {
    let size = HEADER + ENTRY * usize::from(SLOTS - 1);
    let exclusive: u16 = IRQS.iter().map(|irq| 1 << irq).sum();
    let mut table =
        [&b"$PIR\0\x01"[..], &(size as u16).to_le_bytes(), &[0, 0], &exclusive.to_le_bytes()].concat();
    table.resize(HEADER, 0);
    table.extend((1..SLOTS).flat_map(entry));
    table[CHECKSUM] = table.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    table
}

/// Bus, device, four times a link and the interrupts that it may have, the slot's number on the case.
fn entry(slot: u8) -> [u8; ENTRY] {
    let irq = irq(slot);
    let [low, high] = (1u16 << irq).to_le_bytes();
    let mut entry = [0; ENTRY];
    entry[1..5].copy_from_slice(&[slot << 3, WIRED | irq, low, high]);
    entry[14] = slot;
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_sums_up_to_nothing_and_has_its_size() {
        let table = table();
        assert_eq!(table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        assert_eq!(u16::from_le_bytes([table[6], table[7]]) as usize, table.len());
    }

    #[test]
    fn neighbours_have_different_interrupts() {
        assert_eq!((irq(3), irq(4)), (11, 10));
        assert_eq!(table()[HEADER + 2 * ENTRY..][..5], [0, 3 << 3, 0xfb, 0, 8]);
    }
}
