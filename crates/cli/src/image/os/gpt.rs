//! A disk's table of partitions (UEFI specification, 5.3), as Debian's cloud images have it: what the boot loader of a BIOS
//! needs, the EFI system partition, and the root file system behind both, so that it can grow.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub const SECTOR: u64 = 512;
/// Partitions begin at multiples of 1 MiB.
const ALIGNMENT: u64 = (1 << 20) / SECTOR;
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
const HEADER: u32 = 92;
/// Sectors of the entries.
const TABLE: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;

/// A number as it stands in a text: its first three fields are little-endian on the disk.
type Guid = [u8; 16];

const BIOS_BOOT: Guid = *b"Hah!IdontNeedEFI";
const EFI_SYSTEM: Guid =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
/// The root file system of an x86-64 machine (Discoverable Partitions Specification).
const ROOT: Guid =
    [0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09];

/// Numbers as Debian's cloud images have them.
struct Partition {
    number: usize,
    kind: Guid,
    name: &'static str,
    /// In sectors; none: all that is left.
    size: Option<u64>,
}

const PARTITIONS: [Partition; 3] = [
    Partition { number: 14, kind: BIOS_BOOT, name: "bios", size: Some(3 * ALIGNMENT) },
    Partition { number: 15, kind: EFI_SYSTEM, name: "efi", size: Some(124 * ALIGNMENT) },
    Partition { number: 1, kind: ROOT, name: "root", size: None },
];

/// Writes the tables of a disk of `size` bytes. `unique` gives numbers that nothing else has.
pub fn write(disk: &File, size: u64, unique: impl Fn() -> io::Result<Guid>) -> io::Result<()> {
    let sectors = size / SECTOR;
    let entries = entries(sectors, &unique)?;
    let id = unique()?;
    let (first, last) = (1, sectors - 1);
    let behind = last - TABLE;
    disk.write_all_at(&protective(sectors), 0)?;
    disk.write_all_at(&header(first, last, 2, &entries, &id), first * SECTOR)?;
    disk.write_all_at(&entries, 2 * SECTOR)?;
    disk.write_all_at(&entries, behind * SECTOR)?;
    disk.write_all_at(&header(last, first, behind, &entries, &id), last * SECTOR)
}

/// What tells those who know no GPT that the disk is in use.
fn protective(sectors: u64) -> [u8; SECTOR as usize] {
    let mut record = [0; SECTOR as usize];
    record[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    record[454..458].copy_from_slice(&1u32.to_le_bytes());
    record[458..462].copy_from_slice(&u32::try_from(sectors - 1).unwrap_or(u32::MAX).to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    record
}

fn entries(sectors: u64, unique: impl Fn() -> io::Result<Guid>) -> io::Result<Vec<u8>> {
    let mut entries = vec![0; ENTRIES * ENTRY];
    let mut next = ALIGNMENT;
    for partition in &PARTITIONS {
        let end = partition.size.map_or(last_usable(sectors) + 1, |size| next + size);
        let entry = &mut entries[(partition.number - 1) * ENTRY..][..ENTRY];
        entry[..16].copy_from_slice(&partition.kind);
        entry[16..32].copy_from_slice(&unique()?);
        entry[32..40].copy_from_slice(&next.to_le_bytes());
        entry[40..48].copy_from_slice(&(end - 1).to_le_bytes());
        for (place, unit) in entry[56..].chunks_exact_mut(2).zip(partition.name.encode_utf16()) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
        next = end;
    }
    Ok(entries)
}

fn last_usable(sectors: u64) -> u64 {
    sectors - TABLE - 2
}

fn header(own: u64, other: u64, table: u64, entries: &[u8], id: &Guid) -> Vec<u8> {
    let sectors = own.max(other) + 1;
    let mut header = b"EFI PART".to_vec();
    for field in [0x1_0000, HEADER, 0, 0] {
        header.extend(field.to_le_bytes());
    }
    for field in [own, other, 2 + TABLE, last_usable(sectors)] {
        header.extend(field.to_le_bytes());
    }
    header.extend(id);
    header.extend(table.to_le_bytes());
    for field in [ENTRIES as u32, ENTRY as u32, sum(entries)] {
        header.extend(field.to_le_bytes());
    }
    let sum = sum(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    header.resize(SECTOR as usize, 0);
    header
}

/// CRC-32 (UEFI specification, 4.2).
fn sum(data: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(data);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 30;

    fn field(data: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(data[at..at + 8].try_into().unwrap())
    }

    fn table() -> Vec<u8> {
        entries(SIZE / SECTOR, || Ok([7; 16])).unwrap()
    }

    #[test]
    fn the_root_file_system_is_last_and_ends_with_the_disk() {
        let table = table();
        let [efi, root] = [14, 0].map(|entry| &table[entry * ENTRY..][..ENTRY]);
        assert_eq!(field(root, 32), field(efi, 40) + 1);
        assert_eq!(field(root, 40), last_usable(SIZE / SECTOR));
    }

    #[test]
    fn partitions_begin_at_multiples_of_a_mebibyte() {
        let table = table();
        let starts = PARTITIONS.iter().map(|one| field(&table, (one.number - 1) * ENTRY + 32));
        assert!(starts.into_iter().all(|start| start > 0 && start.is_multiple_of(ALIGNMENT)));
    }

    #[test]
    fn a_header_is_right_by_its_own_sum() {
        let mut header = header(1, SIZE / SECTOR - 1, 2, &table(), &[1; 16]);
        header.truncate(HEADER as usize);
        let told = u32::from_le_bytes(header[16..20].try_into().unwrap());
        header[16..20].fill(0);
        assert_eq!(sum(&header), told);
    }
}
