//! The interrupt controllers (ACPI 6.5, 5.2.12).

use super::{OEM, OEM_REVISION, OEM_TABLE, SCI};
use acpi_tables::sdt::Sdt;

const LOCAL_APIC: u32 = 0xfee0_0000;
const IOAPIC: u32 = 0xfec0_0000;
const IOAPIC_ID: u8 = 0;
/// There is a PIC pair too.
const PCAT_COMPAT: u32 = 1;
const ENABLED: u32 = 1;
/// MPS INTI flags (table 5.26): active high; edge or level.
const HIGH_EDGE: u16 = 1 | 1 << 2;
const HIGH_LEVEL: u16 = 1 | 3 << 2;
const REVISION: u8 = 5;
const HEADER: u32 = 36;

pub fn table(vcpus: u32) -> Vec<u8> {
    let mut madt = Sdt::new(*b"APIC", HEADER, REVISION, OEM, OEM_TABLE, OEM_REVISION);
    madt.append_slice(&LOCAL_APIC.to_le_bytes());
    madt.append_slice(&PCAT_COMPAT.to_le_bytes());
    (0..vcpus).for_each(|id| madt.append_slice(&processor(id as u8)));
    madt.append_slice(&ioapic());
    madt.append_slice(&interrupt_override(0, 2, HIGH_EDGE));
    madt.append_slice(&interrupt_override(SCI as u8, SCI, HIGH_LEVEL));
    madt.append_slice(&lint1_is_nmi());
    madt.as_slice().to_vec()
}

fn processor(id: u8) -> Vec<u8> {
    [&[0, 8, id, id][..], &ENABLED.to_le_bytes()].concat()
}

fn ioapic() -> Vec<u8> {
    [&[1, 12, IOAPIC_ID, 0][..], &IOAPIC.to_le_bytes(), &0u32.to_le_bytes()].concat()
}

/// An ISA interrupt that is not the GSI of its number, or not edge-triggered.
fn interrupt_override(irq: u8, gsi: u32, flags: u16) -> Vec<u8> {
    [&[2, 10, 0, irq][..], &gsi.to_le_bytes(), &flags.to_le_bytes()].concat()
}

fn lint1_is_nmi() -> Vec<u8> {
    const ALL_PROCESSORS: u8 = 0xff;
    vec![4, 6, ALL_PROCESSORS, 0, 0, 1]
}
