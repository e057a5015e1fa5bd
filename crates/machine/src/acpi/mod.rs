//! The ACPI tables: what a PC tells its operating system about itself (ACPI 6.5, chapter 5).

mod dsdt;
mod fadt;
mod hot_plug;
mod hpet;
mod madt;

use crate::MachineError;
use crate::layout::{self, Layout};
use acpi_tables::Aml;
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;

const OEM: [u8; 6] = *b"IREKO ";
const OEM_TABLE: [u8; 8] = *b"IREKOVM ";
const OEM_REVISION: u32 = 1;
/// INTA# of slot n ends at this GSI plus n modulo [`PCI_GSIS`].
pub const PCI_GSI: u32 = 16;
pub const PCI_GSIS: u32 = 8;
/// The interrupt of the ACPI fixed hardware.
pub const SCI: u32 = 9;

/// Tables one after the other, made for `base`.
struct Placed {
    bytes: Vec<u8>,
    base: u64,
}

impl Placed {
    /// Puts a table at the next 64-byte boundary (the FACS wants that: ACPI 6.5, 5.2.10) and gives its address.
    fn add(&mut self, table: &[u8]) -> u64 {
        let at = self.base + self.bytes.len() as u64;
        self.bytes.extend(table);
        self.bytes.resize(self.bytes.len().next_multiple_of(64), 0);
        at
    }
}

fn serialized(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// All tables but the RSDP, for a given address.
pub struct Tables {
    pub bytes: Vec<u8>,
    pub dsdt: u64,
    pub facs: u64,
    pub fadt: u64,
    pub xsdt: u64,
    /// What the XSDT lists, the FADT first.
    pub listed: Vec<u64>,
}

impl Tables {
    pub fn new(layout: &Layout, vcpus: u32, base: u64) -> Self {
        let mut placed = Placed { bytes: Vec::new(), base };
        let dsdt = placed.add(&dsdt::table(layout));
        let facs = placed.add(&fadt::facs());
        let fadt = placed.add(&fadt::table(layout, dsdt, facs));
        let mut listed = vec![fadt, placed.add(&madt::table(vcpus))];
        if let Some(ecam) = layout.pci_ecam() {
            let mut mcfg = MCFG::new(OEM, OEM_TABLE, OEM_REVISION);
            mcfg.add_ecam(ecam, 0, 0, 0);
            listed.push(placed.add(&serialized(&mcfg)));
        }
        if layout.hpet {
            listed.push(placed.add(&hpet::table()));
        }
        let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
        listed.iter().for_each(|table| xsdt.add_entry(*table));
        let xsdt = placed.add(&serialized(&xsdt));
        Self { bytes: placed.bytes, dsdt, facs, fadt, xsdt, listed }
    }
}

/// The root pointer to an XSDT.
pub fn rsdp(xsdt: u64) -> Vec<u8> {
    serialized(&Rsdp::new(OEM, xsdt))
}

/// The RSDP's part of what [`tables`] gives.
const RSDP_ROOM: usize = 64;

fn behind_the_rsdp(layout: &Layout, vcpus: u32) -> Tables {
    Tables::new(layout, vcpus, layout::ACPI.start + RSDP_ROOM as u64)
}

/// Where the FACS is, among [`tables`].
pub fn facs(layout: &Layout, vcpus: u32) -> u64 {
    behind_the_rsdp(layout, vcpus).facs
}

/// The root pointer among [`tables`].
pub fn rsdp_of(layout: &Layout, vcpus: u32) -> Vec<u8> {
    rsdp(behind_the_rsdp(layout, vcpus).xsdt)
}

/// All tables, to be put at the start of [`layout::ACPI`], where the RSDP is first.
pub fn tables(layout: &Layout, vcpus: u32) -> Result<Vec<u8>, MachineError> {
    let tables = behind_the_rsdp(layout, vcpus);
    let mut bytes = rsdp(tables.xsdt);
    bytes.resize(RSDP_ROOM, 0);
    bytes.extend(tables.bytes);
    let room = (layout::ACPI.end - layout::ACPI.start) as usize;
    if bytes.len() > room {
        return Err(MachineError::TablesTooLarge { what: "the ACPI tables", size: bytes.len(), room });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::bytes::{u32_at, u64_at};
    use crate::spec::MIB;

    fn made() -> Vec<u8> {
        tables(&Layout::new(512 * MIB).unwrap(), 2).unwrap()
    }

    fn table_at(bytes: &[u8], address: u64) -> &[u8] {
        let start = (address - layout::ACPI.start) as usize;
        &bytes[start..start + u32_at(bytes, start + 4).unwrap() as usize]
    }

    fn entries(bytes: &[u8]) -> Vec<u64> {
        let xsdt = table_at(bytes, u64_at(bytes, 24).unwrap());
        xsdt[36..].chunks_exact(8).map(|e| u64::from_le_bytes(e.try_into().unwrap())).collect()
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn the_rsdp_is_first_and_sums_to_zero() {
        let bytes = made();
        assert_eq!(&bytes[..8], b"RSD PTR ");
        assert_eq!((sum(&bytes[..20]), sum(&bytes[..36])), (0, 0));
    }

    #[test]
    fn the_xsdt_lists_fadt_madt_and_mcfg() {
        let bytes = made();
        let names: Vec<_> = entries(&bytes).iter().map(|e| table_at(&bytes, *e)[..4].to_vec()).collect();
        assert_eq!(names, [b"FACP", b"APIC", b"MCFG"]);
    }

    #[test]
    fn the_xsdt_lists_the_event_timer_where_there_is_one() {
        let layout = Layout { hpet: true, ..Layout::new(512 * MIB).unwrap() };
        let bytes = tables(&layout, 2).unwrap();
        let last = table_at(&bytes, *entries(&bytes).last().unwrap());
        assert_eq!((&last[..4], u64_at(last, 44), last.len()), (&b"HPET"[..], Some(0xfed0_0000), 56));
    }

    #[test]
    fn every_table_sums_to_zero() {
        let layout = Layout { hpet: true, ..Layout::new(512 * MIB).unwrap() };
        let bytes = tables(&layout, 2).unwrap();
        let fadt = table_at(&bytes, entries(&bytes)[0]);
        let dsdt = u64_at(fadt, 140).unwrap();
        let all = entries(&bytes).into_iter().chain([u64_at(&bytes, 24).unwrap(), dsdt]);
        for address in all {
            let table = table_at(&bytes, address);
            assert_eq!(sum(table), 0, "{}", String::from_utf8_lossy(&table[..4]));
        }
    }

    #[test]
    fn every_processor_has_a_madt_entry() {
        let bytes = made();
        let madt = table_at(&bytes, entries(&bytes)[1]);
        let mut rest = &madt[44..];
        let mut processors = 0;
        while let [kind, length, ..] = rest {
            processors += u32::from(*kind == 0);
            rest = &rest[usize::from(*length)..];
        }
        assert_eq!(processors, 2);
    }

    #[test]
    fn the_tables_of_the_most_processors_fit() {
        assert!(tables(&Layout::new(512 * MIB).unwrap().with_hot_plug(true), 254).is_ok());
    }
}
