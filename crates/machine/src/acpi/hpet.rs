//! The event timer (IA-PC HPET specification 1.0a, 3.2.4).

use super::{OEM, OEM_REVISION, OEM_TABLE};
use acpi_tables::sdt::Sdt;
use ireko_devices::hpet;

const HEADER: u32 = 36;
const REVISION: u8 = 1;
/// A generic address: memory, 64 bits, no offset.
const ADDRESS: [u8; 4] = [0, 64, 0, 0];
/// The shortest period of a periodic timer that loses nothing, in ticks: 100 microseconds.
const SHORTEST: u16 = 10_000;

pub fn table() -> Vec<u8> {
    let mut table = Sdt::new(*b"HPET", HEADER, REVISION, OEM, OEM_TABLE, OEM_REVISION);
    table.append_slice(&hpet::regs::BLOCK_ID.to_le_bytes());
    table.append_slice(&ADDRESS);
    table.append_slice(&hpet::PLACES[0].to_le_bytes());
    // Its number, and no word of what lies beside it.
    table.append_slice(&[0]);
    table.append_slice(&SHORTEST.to_le_bytes());
    table.append_slice(&[0]);
    table.as_slice().to_vec()
}
