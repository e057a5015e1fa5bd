//! Kernels that start in real mode and ask a BIOS for all they need: Linux's boot protocol before 2.12, which iPXE, memdisk and
//! Linux before 3.8 speak (Documentation/arch/x86/boot.rst).

use super::bytes::{u8_at, u16_at, u32_at};
use super::bzimage::{self, field};
use crate::MachineError;

const SECTOR: usize = 512;
/// What is in front of the first structure that grows upwards: more setup code there cannot be.
const MOST_SETUP: usize = 0x8000;
/// Protocols with these numbers and later ones have ...
pub mod since {
    /// ... a heap.
    pub const HEAP: u16 = 0x201;
    /// ... a command line anywhere below 1 MiB.
    pub const COMMAND_LINE: u16 = 0x202;
    /// ... a highest address for the initrd.
    pub const INITRD_MAX: u16 = 0x203;
    /// ... a longest command line.
    pub const COMMAND_LINE_SIZE: u16 = 0x206;
}
/// What the protocols took before they said it.
const INITRD_MAX: u32 = 0x37ff_ffff;
const COMMAND_LINE_MAX: u32 = 255;

/// Whether a kernel has no other entry than that of real mode.
pub fn is(bytes: &[u8]) -> bool {
    bzimage::is(bytes) && !bzimage::is_recent(bytes)
}

/// A kernel's parts, by its setup header.
#[derive(Debug)]
pub struct RealMode {
    pub version: u16,
    /// What runs in protected mode lies at 1 MiB, else at 64 KiB.
    pub high: bool,
    pub initrd_max: u64,
    pub command_line_max: usize,
    /// Bytes of real-mode code at the start of the file; the rest runs in protected mode.
    pub setup_size: usize,
}

impl RealMode {
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, MachineError> {
        let short = |needs| MachineError::CutShort { name: name.into(), has: bytes.len() as u64, needs };
        let missing = || short(0x23c);
        let version = u16_at(bytes, field::VERSION).ok_or_else(missing)?;
        let high = u8_at(bytes, field::LOADFLAGS).ok_or_else(missing)? & 1 != 0;
        // Zero sectors mean four.
        let sectors = match u8_at(bytes, field::SETUP_SECTS).ok_or_else(missing)? {
            0 => 4,
            sectors => usize::from(sectors),
        };
        let setup_size = (sectors + 1) * SECTOR;
        if setup_size > MOST_SETUP {
            let why = format!("its {sectors} sectors of real-mode code do not fit in their segment");
            return Err(MachineError::BadKernel { name: name.into(), why });
        }
        if bytes.len() <= setup_size {
            return Err(short(setup_size as u64 + 1));
        }
        let field = |since, offset, before| match version >= since {
            true => u32_at(bytes, offset).ok_or_else(missing),
            false => Ok(before),
        };
        let initrd_max = field(since::INITRD_MAX, field::INITRD_ADDR_MAX, INITRD_MAX)?;
        let longest = field(since::COMMAND_LINE_SIZE, field::CMDLINE_SIZE, COMMAND_LINE_MAX)?;
        Ok(Self {
            version,
            high,
            initrd_max: u64::from(initrd_max),
            command_line_max: longest as usize,
            setup_size,
        })
    }
}

/// A kernel of protocol 2.3 with one sector of setup and 64 bytes behind, for tests.
#[cfg(test)]
pub(crate) fn sample() -> Vec<u8> {
    let mut bytes = bzimage::sample();
    bytes.truncate(2 * SECTOR + 64);
    bytes[field::SETUP_SECTS] = 1;
    bytes[field::VERSION..][..2].copy_from_slice(&since::INITRD_MAX.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_protocol_starts_in_real_mode_and_a_new_one_does_not() {
        assert!(is(&sample()) && !is(&bzimage::sample()));
    }

    #[test]
    fn what_an_old_protocol_does_not_say_has_its_old_value() {
        let kernel = RealMode::parse("k", &sample()).unwrap();
        assert_eq!((kernel.setup_size, kernel.command_line_max), (1024, 255));
        assert_eq!(kernel.initrd_max, 0x7fff_ffff);
    }

    #[test]
    fn a_file_without_a_kernel_behind_its_setup_is_cut_short() {
        let bytes = sample();
        let error = RealMode::parse("k", &bytes[..1024]).unwrap_err();
        assert!(matches!(error, MachineError::CutShort { has: 1024, needs: 1025, .. }), "{error:?}");
    }

    #[test]
    fn more_setup_than_its_segment_holds_is_refused() {
        let mut bytes = sample();
        bytes[field::SETUP_SECTS] = 64;
        assert!(RealMode::parse("k", &bytes).unwrap_err().to_string().contains("64 sectors"));
    }
}
