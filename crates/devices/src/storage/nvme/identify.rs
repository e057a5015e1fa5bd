//! What the controller says of itself and of its namespace (5.15.2), and its logs (5.14.1).

use super::regs::*;
use crate::access::copy_in;
use crate::storage::{Drive, SECTOR};

pub const PAGE_SIZE: usize = 4096;

fn page(fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut page = vec![0; PAGE_SIZE];
    fields.iter().for_each(|(at, bytes)| copy_in(&mut page, *at as u64, bytes));
    page
}

fn text<const LEN: usize>(text: &str) -> [u8; LEN] {
    let mut bytes = [b' '; LEN];
    bytes.iter_mut().zip(text.bytes()).for_each(|(byte, letter)| *byte = letter);
    bytes
}

pub fn controller(drive: &Drive) -> Vec<u8> {
    const DATASET_AND_ZEROES: u8 = 1 << 2 | 1 << 3;
    let name = format!("nqn.2014.08.org.nvmexpress:{VENDOR:04x}{VENDOR:04x}{}", drive.serial());
    page(&[
        (0, &VENDOR.to_le_bytes()),
        (2, &VENDOR.to_le_bytes()),
        (4, &text::<20>(drive.serial())),
        (24, &text::<40>("Ireko Virtual NVMe Disk")),
        (64, &text::<8>("1.0")),
        (77, &[MDTS]),
        (80, &VERSION.to_le_bytes()),
        // An I/O controller.
        (111, &[1]),
        // Aborts, events, one read-only slot of firmware.
        (258, &[3, MOST_EVENTS as u8 - 1, 3]),
        // Temperatures of warning and trouble, in kelvins.
        (266, &[0x57, 1, 0x61, 1]),
        (512, &[0x66, 0x44]),
        (516, &1u32.to_le_bytes()),
        (520, &[DATASET_AND_ZEROES]),
        // A write cache that is there.
        (525, &[1]),
        (768, name.as_bytes()),
        (2048, &[0xac, 0x0d]),
    ])
}

pub fn namespace(drive: &Drive) -> Vec<u8> {
    let sectors = drive.sectors().to_le_bytes();
    const SHIFT: u8 = SECTOR.trailing_zeros() as u8;
    page(&[
        (0, &sectors),
        (8, &sectors),
        (16, &sectors),
        // Thin; write protection in the attributes.
        (24, &[1]),
        (99, &[u8::from(drive.read_only())]),
        (104, &identifier(drive)),
        (130, &[SHIFT]),
    ])
}

/// A number that is the disk's by its serial number (FNV-1a, twice).
fn identifier(drive: &Drive) -> [u8; 16] {
    let hash = |seed: u64| {
        drive.serial().bytes().fold(seed, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&hash(0xcbf2_9ce4_8422_2325).to_be_bytes());
    bytes[8..].copy_from_slice(&hash(0x8422_2325_cbf2_9ce4).to_be_bytes());
    bytes
}

/// The namespaces behind `after`: there is number 1.
pub fn namespaces(after: u32) -> Vec<u8> {
    page(&[(0, &[u8::from(after == 0)])])
}

/// One descriptor: a globally unique number.
pub fn descriptors(drive: &Drive) -> Vec<u8> {
    page(&[(0, &[2, 16]), (4, &identifier(drive))])
}

/// Errors: none. Health: all well, at 27 °C. Firmware: what runs is in slot 1.
pub fn log(number: u8) -> Option<Vec<u8>> {
    match number {
        1 => Some(vec![0; 64]),
        2 => Some(page(&[(1, &300u16.to_le_bytes()), (3, &[100, 10])])[..512].to_vec()),
        3 => Some(page(&[(0, &[1]), (8, &text::<8>("1.0"))])[..512].to_vec()),
        _ => None,
    }
}
