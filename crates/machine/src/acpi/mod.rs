//! The ACPI tables: what a PC tells its operating system about itself (ACPI 6.5, chapter 5).

mod dsdt;
mod fadt;
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

/// A table at its place.
struct Placed {
    bytes: Vec<u8>,
    next: u64,
}

impl Placed {
    /// Puts a table at the next 64-byte boundary (the FACS wants that: ACPI 6.5, 5.2.10) and gives its address.
    fn add(&mut self, table: &[u8]) -> u64 {
        let at = self.next;
        self.bytes.extend(table);
        self.next = (at + table.len() as u64).next_multiple_of(64);
        self.bytes.resize((self.next - layout::ACPI.start) as usize, 0);
        at
    }
}

fn serialized(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// All tables, to be put at the start of [`layout::ACPI`], where the RSDP is first.
pub fn tables(layout: &Layout, vcpus: u32) -> Result<Vec<u8>, MachineError> {
    let mut placed = Placed { bytes: vec![0; 64], next: layout::ACPI.start + 64 };
    let dsdt = placed.add(&dsdt::table(layout));
    let facs = placed.add(&fadt::facs());
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(placed.add(&fadt::table(dsdt, facs)));
    xsdt.add_entry(placed.add(&madt::table(vcpus)));
    let mut mcfg = MCFG::new(OEM, OEM_TABLE, OEM_REVISION);
    mcfg.add_ecam(layout::PCI_ECAM, 0, 0, 0);
    xsdt.add_entry(placed.add(&serialized(&mcfg)));
    let xsdt = placed.add(&serialized(&xsdt));
    let rsdp = serialized(&Rsdp::new(OEM, xsdt));
    placed.bytes[..rsdp.len()].copy_from_slice(&rsdp);
    let room = (layout::ACPI.end - layout::ACPI.start) as usize;
    if placed.bytes.len() > room {
        return Err(MachineError::TablesTooLarge { what: "the ACPI tables", size: placed.bytes.len(), room });
    }
    Ok(placed.bytes)
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
    fn every_table_sums_to_zero() {
        let bytes = made();
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
        assert!(tables(&Layout::new(512 * MIB).unwrap(), 254).is_ok());
    }
}
