//! The I/O and MSR permission maps (APM vol. 2, 15.10.1 and 15.11). They are in the hypervisor's memory and are looked
//! at on each access, as the processor does. Where there is no memory, everything exits.

use crate::{Control, Intercept, IoExit};

/// First MSR, and byte offset of its vector in the map: 2 KiB each for 8192 MSRs.
const MSR_VECTORS: [(u32, u64); 3] = [(0x0000_0000, 0x000), (0xc000_0000, 0x800), (0xc001_0000, 0x1000)];
const MSRS_PER_VECTOR: u32 = 0x2000;

/// Byte offset and bit in the MSR permission map; `None`: the MSR is in no vector, and always exits.
pub fn msr_bit(msr: u32, write: bool) -> Option<(u64, u8)> {
    let (first, offset) =
        *MSR_VECTORS.iter().find(|(first, _)| msr.wrapping_sub(*first) < MSRS_PER_VECTOR)?;
    let bit = (msr - first) * 2 + u32::from(write);
    Some((offset + u64::from(bit / 8), 1 << (bit % 8)))
}

/// Whether RDMSR or WRMSR exits. `read` gives system-physical memory, and leaves alone what there is none for.
pub fn msr_exits(control: &Control, msr: u32, write: bool, read: impl Fn(u64, &mut [u8])) -> bool {
    if !control.has(Intercept::Msr) {
        return false;
    }
    let Some((offset, bit)) = msr_bit(msr, write) else { return true };
    let mut byte = [0xff];
    read(control.msr_map.wrapping_add(offset), &mut byte);
    byte[0] & bit != 0
}

/// As [`msr_exits`], for a port access.
pub fn io_exits(control: &Control, access: &IoExit, read: impl Fn(u64, &mut [u8])) -> bool {
    if !control.has(Intercept::Io) {
        return false;
    }
    let (offset, mask) = Control::io_bits(access);
    // Byte by byte: the two can lie on two pages, of which the second may be no memory.
    let mut bytes = [0xff; 2];
    let (first, second) = bytes.split_at_mut(1);
    read(control.io_map.wrapping_add(offset), first);
    if mask >> 8 == 0 {
        return u16::from(bytes[0]) & mask != 0;
    }
    read(control.io_map.wrapping_add(offset + 1), second);
    u16::from_le_bytes(bytes) & mask != 0
}
