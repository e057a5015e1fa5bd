//! What UEFI's firmware finds its variables by: the header of a firmware volume and, in it, that of a variable store.

use crate::image::bytes::{u16_at, u32_at, u64_at};
use std::fmt;

/// EFI_FIRMWARE_VOLUME_HEADER (PI specification, vol. 3, 3.2.1): offsets.
mod volume {
    pub const FILE_SYSTEM: usize = 16;
    pub const LENGTH: usize = 32;
    pub const SIGNATURE: usize = 40;
    pub const HEADER_LENGTH: usize = 48;
    pub const REVISION: usize = 55;
    /// Without a block map.
    pub const SIZE: usize = 56;
}

/// VARIABLE_STORE_HEADER (edk2's Guid/VariableFormat.h): offsets.
mod store {
    pub const LENGTH: usize = 16;
    pub const FORMAT: usize = 20;
    pub const STATE: usize = 21;
    pub const SIZE: usize = 28;
}

/// EFI_SYSTEM_NV_DATA_FV_GUID.
const VARIABLES: [u8; 16] = guid(0xfff1_2b8d, 0x7696, 0x4c8b, 0xa985_2747_075b_4f50);
/// EFI_AUTHENTICATED_VARIABLE_GUID and EFI_VARIABLE_GUID.
const STORES: [[u8; 16]; 2] = [
    guid(0xaaf3_2c78, 0x947b, 0x439a, 0xa180_2e14_4ec3_7792),
    guid(0xddcf_3616, 0x3275, 0x4164, 0x98b6_fe85_707f_fe7d),
];
const REVISION: u8 = 2;
const FORMATTED: u8 = 0x5a;
const HEALTHY: u8 = 0xfe;

/// As in memory.
const fn guid(first: u32, second: u16, third: u16, rest: u64) -> [u8; 16] {
    let (a, b, c, d) = (first.to_le_bytes(), second.to_le_bytes(), third.to_le_bytes(), rest.to_be_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

/// What is wrong with a file of variables.
#[derive(Debug, PartialEq, Eq)]
pub enum Damage {
    NoVolume,
    VolumeLength { says: u64, has: usize },
    VolumeHeader,
    NoStore,
    StoreLength { says: u32, room: usize },
    StoreState,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVolume => {
                f.write_str("it does not begin with the header of a firmware volume for variables")
            }
            Self::VolumeLength { says, has } => {
                write!(f, "its firmware volume has {says} bytes and the file {has}")
            }
            Self::VolumeHeader => f.write_str("the header of its firmware volume is damaged"),
            Self::NoStore => f.write_str("there is no variable store in its firmware volume"),
            Self::StoreLength { says, room } => {
                write!(f, "its variable store has {says} bytes, for which there are {room}")
            }
            Self::StoreState => f.write_str("its variable store is not marked as formatted and healthy"),
        }
    }
}

/// Whether firmware finds its variables here, or can put them back. Of zeros alone OVMF makes a store that it does not keep; on anything
/// else it ends in an exception.
pub fn check(data: &[u8]) -> Result<(), Damage> {
    if data.iter().all(|&byte| byte == 0) {
        return Ok(());
    }
    let (first, spare) = data.split_at(data.len() / 2);
    // A write of the first block that was broken off: the second half holds what it was to be (edk2's fault tolerant write).
    let erased = first.iter().take(volume::SIZE).all(|&byte| byte == 0xff);
    if erased && check_volume(spare, data.len()).is_ok() {
        return Ok(());
    }
    let header = check_volume(data, data.len())?;
    check_store(&data[header..])
}

/// Of a file of so many bytes. Gives the length of its header.
fn check_volume(data: &[u8], size: usize) -> Result<usize, Damage> {
    let is = |at: usize, what: &[u8]| data.get(at..at + what.len()) == Some(what);
    if !is(volume::SIGNATURE, b"_FVH") || !is(volume::FILE_SYSTEM, &VARIABLES) {
        return Err(Damage::NoVolume);
    }
    let says = u64_at(data, volume::LENGTH).unwrap_or(0);
    if says != size as u64 {
        return Err(Damage::VolumeLength { says, has: size });
    }
    let length = u16_at(data, volume::HEADER_LENGTH).map_or(0, usize::from);
    let header = data.get(..length).filter(|_| length >= volume::SIZE && length.is_multiple_of(2));
    let sum = |header: &[u8]| {
        header
            .chunks_exact(2)
            .fold(0u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])))
    };
    match header {
        Some(header) if sum(header) == 0 && header[volume::REVISION] == REVISION => Ok(length),
        _ => Err(Damage::VolumeHeader),
    }
}

fn check_store(data: &[u8]) -> Result<(), Damage> {
    if data.len() < store::SIZE || !STORES.iter().any(|guid| data.starts_with(guid)) {
        return Err(Damage::NoStore);
    }
    let says = u32_at(data, store::LENGTH).unwrap_or(0);
    if !(store::SIZE..=data.len()).contains(&(says as usize)) {
        return Err(Damage::StoreLength { says, room: data.len() });
    }
    match (data[store::FORMAT], data[store::STATE]) {
        (FORMATTED, HEALTHY) => Ok(()),
        _ => Err(Damage::StoreState),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a variable, of so many bytes.
    fn formatted(size: usize) -> Vec<u8> {
        const HEADER: u16 = 72;
        let mut data = vec![0xff; size];
        data[..usize::from(HEADER)].fill(0);
        let mut put = |at: usize, bytes: &[u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
        put(volume::FILE_SYSTEM, &VARIABLES);
        put(volume::LENGTH, &(size as u64).to_le_bytes());
        put(volume::SIGNATURE, b"_FVH");
        put(volume::HEADER_LENGTH, &HEADER.to_le_bytes());
        put(volume::REVISION, &[REVISION]);
        let store = usize::from(HEADER);
        put(store, &STORES[0]);
        put(store + store::LENGTH, &0xdfb8u32.to_le_bytes());
        put(store + store::FORMAT, &[FORMATTED, HEALTHY]);
        sign(&mut data);
        data
    }

    /// Makes the checksum right.
    fn sign(data: &mut [u8]) {
        const CHECKSUM: usize = 50;
        data[CHECKSUM..CHECKSUM + 2].fill(0);
        let words = data[..72].chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
        let sum = words.fold(0u16, u16::wrapping_add).wrapping_neg();
        data[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_le_bytes());
    }

    /// What is said of a store in which these bytes are others.
    fn with(at: usize, bytes: &[u8], signed: bool) -> Result<(), Damage> {
        let mut data = formatted(0x2_0000);
        data[at..at + bytes.len()].copy_from_slice(bytes);
        if signed {
            sign(&mut data);
        }
        check(&data)
    }

    #[test]
    fn a_formatted_store_is_sound() {
        assert_eq!(check(&formatted(0x2_0000)), Ok(()));
    }

    #[test]
    fn a_store_without_authentication_is_sound() {
        assert_eq!(with(72, &STORES[1], false), Ok(()));
    }

    #[test]
    fn zeros_are_left_to_firmware() {
        assert_eq!(check(&[0; 0x2_0000]), Ok(()));
    }

    #[test]
    fn an_erased_file_has_no_store() {
        assert_eq!(check(&[0xff; 0x2_0000]), Err(Damage::NoVolume));
    }

    #[test]
    fn a_first_block_that_is_erased_is_left_to_firmware_if_the_spare_has_it() {
        let mut data = formatted(0x2_0000);
        data.copy_within(..4096, 0x1_0000);
        data[..4096].fill(0xff);
        assert_eq!(check(&data), Ok(()));
        data[0x1_0000..].fill(0xff);
        assert_eq!(check(&data), Err(Damage::NoVolume));
    }

    #[test]
    fn noise_is_no_volume() {
        let noise: Vec<u8> = (0..0x2_0000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert_eq!(check(&noise), Err(Damage::NoVolume));
    }

    #[test]
    fn the_start_of_a_larger_store_is_told_by_its_length() {
        let damage = Damage::VolumeLength { says: 0x8_4000, has: 0x2_0000 };
        assert_eq!(check(&formatted(0x8_4000)[..0x2_0000]), Err(damage));
    }

    #[test]
    fn a_volume_of_another_kind_holds_no_variables() {
        assert_eq!(with(volume::FILE_SYSTEM, &[0; 16], true), Err(Damage::NoVolume));
    }

    #[test]
    fn a_header_has_its_checksum() {
        assert_eq!(with(60, &[1], false), Err(Damage::VolumeHeader));
    }

    #[test]
    fn a_header_has_its_revision() {
        assert_eq!(with(volume::REVISION, &[1], true), Err(Damage::VolumeHeader));
    }

    #[test]
    fn no_length_of_a_header_goes_beyond_the_file() {
        for length in [0u16, 2, 73, 0xfffe] {
            let said = with(volume::HEADER_LENGTH, &length.to_le_bytes(), true);
            assert_eq!(said, Err(Damage::VolumeHeader), "{length}");
        }
    }

    #[test]
    fn a_store_is_told_by_its_guid() {
        assert_eq!(with(72, &[0], false), Err(Damage::NoStore));
    }

    #[test]
    fn a_store_fits_into_its_volume() {
        let room = 0x2_0000 - 72;
        for says in [0, room as u32 + 1] {
            let said = with(72 + store::LENGTH, &says.to_le_bytes(), false);
            assert_eq!(said, Err(Damage::StoreLength { says, room }));
        }
    }

    #[test]
    fn a_store_is_formatted_and_healthy() {
        assert_eq!(with(72 + store::FORMAT, &[0xff], false), Err(Damage::StoreState));
        assert_eq!(with(72 + store::STATE, &[0xff], false), Err(Damage::StoreState));
    }

    #[test]
    fn however_little_there_is_nothing_is_read_beyond_it() {
        let data = formatted(0x2_0000);
        (0..200).for_each(|length| drop(check(&data[..length])));
    }
}
