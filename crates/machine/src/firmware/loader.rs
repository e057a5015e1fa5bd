//! The ACPI tables as firmware takes them: as files with a list of what to allocate, link and sum (QEMU's
//! `bios-linker-loader.c`; SeaBIOS' `romfile_loader`).

use crate::acpi::{self, Tables};
use crate::layout::Layout;

pub const TABLES_FILE: &str = "etc/acpi/tables";
pub const RSDP_FILE: &str = "etc/acpi/rsdp";

const ENTRY_SIZE: usize = 128;
const NAME_SIZE: usize = 56;
const ALLOCATE: u32 = 1;
const ADD_POINTER: u32 = 2;
const ADD_CHECKSUM: u32 = 3;
const ZONE_HIGH: u8 = 1;
const ZONE_F_SEGMENT: u8 = 2;

/// Where the fields are (ACPI 6.5, 5.2.5.3, 5.2.6, 5.2.9).
const HEADER_SIZE: usize = 36;
const HEADER_LENGTH: usize = 4;
const HEADER_SUM: usize = 9;
const FADT_FACS: usize = 36;
const FADT_DSDT: usize = 40;
const FADT_X_DSDT: usize = 140;
const RSDP_SUM: usize = 8;
const RSDP_LENGTH_1: u32 = 20;
const RSDP_XSDT: usize = 24;
const RSDP_EXTENDED_SUM: usize = 32;

/// The three files.
pub struct Files {
    pub tables: Vec<u8>,
    pub rsdp: Vec<u8>,
    pub loader: Vec<u8>,
}

#[derive(Default)]
struct Script(Vec<u8>);

fn name(text: &str) -> [u8; NAME_SIZE] {
    let mut field = [0; NAME_SIZE];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}

impl Script {
    fn entry(&mut self, command: u32, fields: &[&[u8]]) {
        let end = self.0.len() + ENTRY_SIZE;
        self.0.extend(command.to_le_bytes());
        fields.iter().for_each(|field| self.0.extend(*field));
        self.0.resize(end, 0);
    }
    fn allocate(&mut self, file: &str, align: u32, zone: u8) {
        self.entry(ALLOCATE, &[&name(file), &align.to_le_bytes(), &[zone]]);
    }
    /// The field at `at` of `file` becomes an address: what it holds, counted from the start of the tables.
    fn point(&mut self, file: &str, at: usize, size: u8) {
        self.entry(ADD_POINTER, &[&name(file), &name(TABLES_FILE), &(at as u32).to_le_bytes(), &[size]]);
    }
    fn sum(&mut self, file: &str, at: usize, start: u32, length: u32) {
        let numbers = [at as u32, start, length].map(u32::to_le_bytes);
        self.entry(ADD_CHECKSUM, &[&name(file), &numbers[0], &numbers[1], &numbers[2]]);
    }
}

pub fn files(layout: &Layout, vcpus: u32) -> Files {
    let tables = Tables::new(layout, vcpus, 0);
    let mut script = Script::default();
    script.allocate(RSDP_FILE, 16, ZONE_F_SEGMENT);
    script.allocate(TABLES_FILE, 64, ZONE_HIGH);
    let fadt = tables.fadt as usize;
    [(FADT_FACS, 4), (FADT_DSDT, 4), (FADT_X_DSDT, 8)]
        .into_iter()
        .for_each(|(field, size)| script.point(TABLES_FILE, fadt + field, size));
    let entries = (0..tables.listed.len()).map(|n| tables.xsdt as usize + HEADER_SIZE + 8 * n);
    entries.for_each(|at| script.point(TABLES_FILE, at, 8));
    let summed = tables.listed.iter().chain([&tables.dsdt, &tables.xsdt]).map(|table| *table as usize);
    let mut bytes = tables.bytes.clone();
    for table in summed {
        let length = &bytes[table + HEADER_LENGTH..table + HEADER_LENGTH + 4];
        let length = length.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        // Who sums takes what is there for a part of the table.
        bytes[table + HEADER_SUM] = 0;
        script.sum(TABLES_FILE, table + HEADER_SUM, table as u32, length);
    }
    let mut rsdp = acpi::rsdp(tables.xsdt);
    (rsdp[RSDP_SUM], rsdp[RSDP_EXTENDED_SUM]) = (0, 0);
    script.point(RSDP_FILE, RSDP_XSDT, 8);
    script.sum(RSDP_FILE, RSDP_SUM, 0, RSDP_LENGTH_1);
    script.sum(RSDP_FILE, RSDP_EXTENDED_SUM, 0, rsdp.len() as u32);
    Files { tables: bytes, rsdp, loader: script.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::bytes::{u32_at, u64_at};
    use crate::layout::Board;

    const PLACE: u64 = 0x7f00_0000;

    fn made() -> Files {
        files(&Layout::new(512 << 20).unwrap().with_firmware(Board::I440fx, 256 << 10), 2)
    }

    /// What firmware does.
    fn execute(files: &mut Files) {
        for entry in files.loader.clone().chunks(ENTRY_SIZE) {
            let number = |at| u32_at(entry, at).unwrap() as usize;
            let file = if entry[4..].starts_with(RSDP_FILE.as_bytes()) {
                &mut files.rsdp
            } else {
                &mut files.tables
            };
            match number(0) as u32 {
                ADD_POINTER => {
                    let (at, size) = (number(4 + 2 * NAME_SIZE), usize::from(entry[8 + 2 * NAME_SIZE]));
                    let mut bytes = [0; 8];
                    bytes[..size].copy_from_slice(&file[at..at + size]);
                    let address = (u64::from_le_bytes(bytes) + PLACE).to_le_bytes();
                    file[at..at + size].copy_from_slice(&address[..size]);
                }
                ADD_CHECKSUM => {
                    let [at, start, length] = [0, 4, 8].map(|n| number(4 + NAME_SIZE + n));
                    let sum =
                        file[start..start + length].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                    file[at] = file[at].wrapping_sub(sum);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn the_executed_script_makes_a_tree_of_tables_with_right_sums() {
        let mut files = made();
        execute(&mut files);
        let table = |address: u64| {
            let rest = &files.tables[(address - PLACE) as usize..];
            &rest[..u32_at(rest, 4).unwrap() as usize]
        };
        let xsdt = table(u64_at(&files.rsdp, RSDP_XSDT).unwrap());
        let listed: Vec<_> = (0..2).map(|n| table(u64_at(xsdt, HEADER_SIZE + 8 * n).unwrap())).collect();
        let dsdt = table(u64_at(listed[0], FADT_X_DSDT).unwrap());
        let facs = table(u32_at(listed[0], FADT_FACS).unwrap().into());
        let names: Vec<_> = [xsdt, listed[0], listed[1], dsdt, facs].map(|table| table[..4].to_vec()).into();
        assert_eq!(names, [b"XSDT", b"FACP", b"APIC", b"DSDT", b"FACS"]);
        for table in [xsdt, listed[0], listed[1], dsdt, &files.rsdp, &files.rsdp[..20]] {
            assert_eq!(table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        }
    }

    #[test]
    fn without_memory_mapped_configuration_space_there_is_no_mcfg() {
        assert!(!made().tables.windows(4).any(|bytes| bytes == b"MCFG"));
    }
}
