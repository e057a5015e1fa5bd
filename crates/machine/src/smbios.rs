//! The SMBIOS tables: who made the machine that the guest finds itself in.

use crate::spec::Smbios;

/// Where the structures lie, seen from the entry point.
const STRUCTURES: u64 = 0x20;
const VERSION: (u8, u8) = (3, 0);

/// One structure: its formatted part, then its strings (SMBIOS 3.6, 6.1).
struct Structure {
    bytes: Vec<u8>,
    strings: Vec<String>,
}

impl Structure {
    fn new(kind: u8, handle: u16) -> Self {
        let [low, high] = handle.to_le_bytes();
        Self { bytes: vec![kind, 0, low, high], strings: Vec::new() }
    }
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }
    /// A reference to a string: its number, from 1; 0 is no string. Zero bytes would end it early.
    fn string(mut self, text: &str) -> Self {
        let text: String = text.chars().filter(|c| *c != '\0').take(64).collect();
        if text.is_empty() {
            return self.raw(&[0]);
        }
        self.strings.push(text);
        let number = self.strings.len() as u8;
        self.raw(&[number])
    }
    fn finish(mut self) -> Vec<u8> {
        self.bytes[1] = self.bytes.len() as u8;
        for text in &self.strings {
            self.bytes.extend(text.as_bytes());
            self.bytes.push(0);
        }
        if self.strings.is_empty() {
            self.bytes.push(0);
        }
        self.bytes.push(0);
        self.bytes
    }
}

/// Type 0 (SMBIOS 3.6, 7.1).
fn bios(smbios: &Smbios) -> Vec<u8> {
    const CHARACTERISTICS_NOT_SUPPORTED: u64 = 1 << 3;
    /// "Is a virtual machine", in the second extension byte.
    const VIRTUAL_MACHINE: u8 = 1 << 4;
    Structure::new(0, 0)
        .string(&smbios.bios_vendor)
        .string(&smbios.bios_version)
        .raw(&0u16.to_le_bytes())
        .string("01/01/2026")
        .raw(&[0])
        .raw(&CHARACTERISTICS_NOT_SUPPORTED.to_le_bytes())
        .raw(&[0, VIRTUAL_MACHINE, 0xff, 0xff, 0xff, 0xff])
        .finish()
}

/// Type 1 (SMBIOS 3.6, 7.2).
fn system(smbios: &Smbios) -> Vec<u8> {
    const WAKE_UP_POWER_SWITCH: u8 = 6;
    Structure::new(1, 1)
        .string(&smbios.manufacturer)
        .string(&smbios.product)
        .string(&smbios.version)
        .string(&smbios.serial)
        .raw(&wire_uuid(smbios.uuid))
        .raw(&[WAKE_UP_POWER_SWITCH, 0, 0])
        .finish()
}

/// The first three fields of a UUID are little-endian here (SMBIOS 3.6, 7.2.1).
fn wire_uuid(u: [u8; 16]) -> [u8; 16] {
    [u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]]
}

fn end() -> Vec<u8> {
    Structure::new(127, 0x7f).finish()
}

/// The 64-bit entry point (SMBIOS 3.6, 5.2.2).
fn entry_point(structures: u64, size: u32) -> Vec<u8> {
    const LENGTH: u8 = 24;
    let mut entry = b"_SM3_".to_vec();
    entry.extend([0, LENGTH, VERSION.0, VERSION.1, 0, 1, 0]);
    entry.extend(size.to_le_bytes());
    entry.extend(structures.to_le_bytes());
    entry[5] = entry.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    entry
}

fn structures(smbios: &Smbios) -> [Vec<u8>; 3] {
    [bios(smbios), system(smbios), end()]
}

/// The 32-bit entry point (SMBIOS 3.6, 5.2.1) and the structures, for firmware that puts them where it likes and sets the
/// address and both sums.
pub fn for_firmware(smbios: &Smbios) -> (Vec<u8>, Vec<u8>) {
    const LENGTH: u8 = 31;
    const VERSION: (u8, u8) = (2, 8);
    let structures = structures(smbios);
    let largest = structures.iter().map(Vec::len).max().unwrap_or(0) as u16;
    let all = structures.concat();
    let mut entry = b"_SM_".to_vec();
    entry.extend([0, LENGTH, VERSION.0, VERSION.1]);
    entry.extend(largest.to_le_bytes());
    entry.extend([0; 6]);
    entry.extend(b"_DMI_\0");
    entry.extend((all.len() as u16).to_le_bytes());
    entry.extend(0u32.to_le_bytes());
    entry.extend((structures.len() as u16).to_le_bytes());
    entry.push(VERSION.0 << 4 | VERSION.1);
    (entry, all)
}

/// Entry point and structures, to be put at `address`.
pub fn tables(smbios: &Smbios, address: u64) -> Vec<u8> {
    let structures = structures(smbios).concat();
    let mut bytes = entry_point(address + STRUCTURES, structures.len() as u32);
    bytes.resize(STRUCTURES as usize, 0);
    bytes.extend(structures);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(bytes: &[u8], text: &str) -> bool {
        bytes.windows(text.len()).any(|w| w == text.as_bytes())
    }

    #[test]
    fn the_entry_point_sums_to_zero() {
        let bytes = tables(&Smbios::default(), 0xf0000);
        assert_eq!(bytes[..24].iter().fold(0u8, |sum, b| sum.wrapping_add(*b)), 0);
    }

    #[test]
    fn the_entry_point_for_firmware_says_how_much_there_is() {
        let (entry, structures) = for_firmware(&Smbios::default());
        assert_eq!((entry.len(), &entry[16..21]), (31, &b"_DMI_"[..]));
        assert_eq!(
            (entry[22..24].to_vec(), entry[28]),
            ((structures.len() as u16).to_le_bytes().to_vec(), 3)
        );
    }

    #[test]
    fn the_level_is_in_the_product_name() {
        assert!(contains(&tables(&Smbios::level(3), 0xf0000), "Ireko VM level 3\0"));
    }

    #[test]
    fn the_system_structure_has_the_length_of_version_2_4_and_later() {
        assert_eq!(system(&Smbios::default())[1], 0x1b);
    }

    #[test]
    fn the_bios_structure_has_the_length_of_version_2_4_and_later() {
        assert_eq!(bios(&Smbios::default())[1], 0x18);
    }

    #[test]
    fn a_zero_byte_in_a_string_cannot_end_it() {
        let smbios = Smbios { product: "a\0b".into(), ..Smbios::default() };
        assert!(contains(&system(&smbios), "ab\0"));
    }
}
