//! Multiboot 1 kernels (Multiboot Specification 0.6.96).

use super::Piece;
use super::bytes::u32_at;
use super::elf::{self, Elf};
use crate::MachineError;

/// In the kernel's header.
const HEADER_MAGIC: u32 = 0x1bad_b002;
/// The header lies in the first 8192 bytes, at a multiple of 4 (3.1).
const SEARCHED: usize = 8192;
/// The header has addresses, which come before the ELF header's.
const HAS_ADDRESSES: u32 = 1 << 16;

/// The offset of a header whose checksum is right.
pub fn find(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len().min(SEARCHED)).step_by(4).find(|&at| {
        let fields = [0, 4, 8].map(|field| u32_at(bytes, at + field));
        matches!(fields, [Some(HEADER_MAGIC), Some(flags), Some(sum)] if HEADER_MAGIC.wrapping_add(flags).wrapping_add(sum) == 0)
    })
}

#[derive(Debug)]
pub enum Multiboot {
    Elf(Elf),
    Flat { entry: u64, load: u64, file_start: usize, file_size: usize, end: u64 },
}

impl Multiboot {
    pub fn parse(name: &str, bytes: &[u8], header: usize) -> Result<Self, MachineError> {
        let flags = u32_at(bytes, header + 4).unwrap_or(0);
        if flags & HAS_ADDRESSES != 0 {
            return Self::flat(name, bytes, header);
        }
        if elf::is(bytes) {
            return Ok(Self::Elf(Elf::parse(name, bytes)?));
        }
        let why = "its multiboot header has no addresses and it is no ELF file".into();
        Err(MachineError::BadKernel { name: name.into(), why })
    }

    /// The address fields (3.1.3): zero load_end means the whole file, zero bss_end no bss.
    fn flat(name: &str, bytes: &[u8], header: usize) -> Result<Self, MachineError> {
        let [header_address, load, load_end, bss_end, entry] =
            [12, 16, 20, 24, 28].map(|f| u32_at(bytes, header + f));
        let fields = (header_address, load, load_end, bss_end, entry);
        let (Some(header_address), Some(load), Some(load_end), Some(bss_end), Some(entry)) = fields else {
            return Err(MachineError::CutShort {
                name: name.into(),
                has: bytes.len() as u64,
                needs: header as u64 + 32,
            });
        };
        let bad = || MachineError::BadKernel {
            name: name.into(),
            why: "the addresses in its multiboot header contradict each other".into(),
        };
        let before_header = header_address.checked_sub(load).ok_or_else(bad)? as usize;
        let file_start = header.checked_sub(before_header).ok_or_else(bad)?;
        let rest = bytes.len() - file_start;
        let file_size = match load_end {
            0 => rest,
            end => end.checked_sub(load).ok_or_else(bad)? as usize,
        };
        if file_size > rest {
            return Err(MachineError::CutShort {
                name: name.into(),
                has: bytes.len() as u64,
                needs: (file_start + file_size) as u64,
            });
        }
        let end = (u64::from(load) + file_size as u64).max(u64::from(bss_end));
        if !(u64::from(load)..end).contains(&u64::from(entry)) {
            return Err(bad());
        }
        Ok(Self::Flat { entry: u64::from(entry), load: u64::from(load), file_start, file_size, end })
    }

    /// The physical address to start at, in 32-bit protected mode.
    pub fn entry(&self) -> u64 {
        match self {
            Self::Elf(elf) => elf.entry,
            Self::Flat { entry, .. } => *entry,
        }
    }

    pub fn end(&self) -> u64 {
        match self {
            Self::Elf(elf) => elf.end(),
            Self::Flat { end, .. } => *end,
        }
    }

    pub fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<Piece<'a>> {
        match self {
            Self::Elf(elf) => elf.pieces(bytes),
            Self::Flat { load, file_start, file_size, end, .. } => {
                let data = bytes.get(*file_start..*file_start + *file_size).unwrap_or_default();
                vec![Piece { address: *load, data, size: end - load }]
            }
        }
    }
}

/// A flat kernel that is its header and 16 bytes, for tests.
#[cfg(test)]
pub(crate) fn sample(load: u32) -> Vec<u8> {
    let sum = 0u32.wrapping_sub(HEADER_MAGIC).wrapping_sub(HAS_ADDRESSES);
    let fields = [HEADER_MAGIC, HAS_ADDRESSES, sum, load, load, load + 48, load + 4096, load + 32];
    let mut bytes: Vec<u8> = fields.iter().flat_map(|f| f.to_le_bytes()).collect();
    bytes.extend([0xf4; 16]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_kernel_is_loaded_where_its_header_says() {
        let bytes = sample(0x10_0000);
        let image = Multiboot::parse("k", &bytes, find(&bytes).unwrap()).unwrap();
        assert_eq!(image.pieces(&bytes), [Piece { address: 0x10_0000, data: &bytes, size: 4096 }]);
    }

    #[test]
    fn a_wrong_checksum_is_no_header() {
        let mut bytes = sample(0x10_0000);
        bytes[8] ^= 1;
        assert_eq!(find(&bytes), None);
    }

    #[test]
    fn a_kernel_that_lost_its_end_is_cut_short() {
        let bytes = sample(0x10_0000);
        assert!(matches!(
            Multiboot::parse("k", &bytes[..40], 0),
            Err(MachineError::CutShort { needs: 48, .. })
        ));
    }

    #[test]
    fn an_elf_with_a_header_is_a_multiboot_kernel() {
        let mut bytes = elf::sample(0x100_0000, 0x100_0000, 0);
        let sum = 0u32.wrapping_sub(HEADER_MAGIC);
        bytes.extend([HEADER_MAGIC, 0, sum].iter().flat_map(|f| f.to_le_bytes()));
        let at = find(&bytes).unwrap();
        assert_eq!(Multiboot::parse("k", &bytes, at).unwrap().entry(), 0x100_0000);
    }
}
