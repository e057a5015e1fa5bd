//! The I/O and MSR permission maps (APM vol. 2, 15.10.1 and 15.11; SDM vol. 3, 25.6.4 and 25.6.9). They are in the
//! hypervisor's memory and are looked at on each access, as the processor does. Where there is no memory, everything exits.

use crate::control::MsrLayout;
use crate::{Control, Intercept, IoExit};

/// First MSR, and byte offset of its vector in the map of pairs: 2 KiB each for 8192 MSRs.
const PAIRS: [(u32, u64); 3] = [(0x0000_0000, 0x000), (0xc000_0000, 0x800), (0xc001_0000, 0x1000)];
/// The same for reading in the map of quarters, 1 KiB each; those for writing are 2 KiB behind.
const QUARTERS: [(u32, u64); 2] = [(0x0000_0000, 0x000), (0xc000_0000, 0x400)];
const WRITING: u64 = 0x800;
const MSRS: u32 = 0x2000;

/// Byte offset and bit in the MSR permission map; `None`: the MSR is in no range, and always exits.
pub fn msr_bit(layout: MsrLayout, msr: u32, write: bool) -> Option<(u64, u8)> {
    let ranges: &[(u32, u64)] = match layout {
        MsrLayout::Pairs => &PAIRS,
        MsrLayout::Quarters => &QUARTERS,
    };
    let (first, offset) = *ranges.iter().find(|(first, _)| msr.wrapping_sub(*first) < MSRS)?;
    let (offset, bit) = match layout {
        MsrLayout::Pairs => (offset, (msr - first) * 2 + u32::from(write)),
        MsrLayout::Quarters => (offset + if write { WRITING } else { 0 }, msr - first),
    };
    Some((offset + u64::from(bit / 8), 1 << (bit % 8)))
}

/// Whether RDMSR or WRMSR exits. `read` gives system-physical memory, and leaves alone what there is none for.
pub fn msr_exits(control: &Control, msr: u32, write: bool, read: impl Fn(u64, &mut [u8])) -> bool {
    if !control.has(Intercept::Msr) {
        return false;
    }
    let Some((offset, bit)) = msr_bit(control.msr_layout, msr, write) else { return true };
    let mut byte = [0xff];
    read(control.msr_map.wrapping_add(offset), &mut byte);
    byte[0] & bit != 0
}

/// As [`msr_exits`], for a port access.
pub fn io_exits(control: &Control, access: &IoExit, read: impl Fn(u64, &mut [u8])) -> bool {
    if !control.has(Intercept::Io) {
        return false;
    }
    let (at, mask) = control.io_bits(access);
    // Byte by byte: the two can lie on two pages, of which the second may be no memory.
    let mut bytes = [0xff; 2];
    let (first, second) = bytes.split_at_mut(1);
    read(at, first);
    if mask >> 8 == 0 {
        return u16::from(bytes[0]) & mask != 0;
    }
    let next = access.port as u32 / 8 * 8 + 8;
    let second_at = if next == 0x8000 { control.io_maps[1] } else { at.wrapping_add(1) };
    read(second_at, second);
    u16::from_le_bytes(bytes) & mask != 0
}
