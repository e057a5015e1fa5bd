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
    Flat(Flat),
}

/// A file whose header says what of it goes where.
#[derive(Debug)]
pub struct Flat {
    pub entry: u64,
    load: u64,
    file_start: usize,
    file_size: usize,
    end: u64,
}

/// The address fields of a header at `header` in the file (Multiboot 0.6.96, 3.1.3; Multiboot 2.0, 3.1.5).
pub struct Addresses {
    pub header: usize,
    /// Of the header, once loaded.
    pub header_address: u32,
    pub load: u32,
    /// Zero means the whole file.
    pub load_end: u32,
    /// Zero means no bss.
    pub bss_end: u32,
    pub entry: u32,
}

impl Flat {
    pub fn new(name: &str, bytes: &[u8], fields: &Addresses) -> Result<Self, MachineError> {
        let bad = || MachineError::BadKernel {
            name: name.into(),
            why: "the addresses in its multiboot header contradict each other".into(),
        };
        let before_header = fields.header_address.checked_sub(fields.load).ok_or_else(bad)? as usize;
        let file_start = fields.header.checked_sub(before_header).ok_or_else(bad)?;
        let rest = bytes.len() - file_start;
        let file_size = match fields.load_end {
            0 => rest,
            end => end.checked_sub(fields.load).ok_or_else(bad)? as usize,
        };
        if file_size > rest {
            return Err(MachineError::CutShort {
                name: name.into(),
                has: bytes.len() as u64,
                needs: (file_start + file_size) as u64,
            });
        }
        let (load, entry) = (u64::from(fields.load), u64::from(fields.entry));
        let end = (load + file_size as u64).max(u64::from(fields.bss_end));
        if !(load..end).contains(&entry) {
            return Err(bad());
        }
        Ok(Self { entry, load, file_start, file_size, end })
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<Piece<'a>> {
        let data = bytes.get(self.file_start..self.file_start + self.file_size).unwrap_or_default();
        vec![Piece { address: self.load, data, size: self.end - self.load }]
    }
}

impl Multiboot {
    pub fn parse(name: &str, bytes: &[u8], header: usize) -> Result<Self, MachineError> {
        let flags = u32_at(bytes, header + 4).unwrap_or(0);
        if flags & HAS_ADDRESSES != 0 {
            return Ok(Self::Flat(Flat::new(name, bytes, &addresses(name, bytes, header)?)?));
        }
        if elf::is(bytes) {
            return Ok(Self::Elf(Elf::parse(name, bytes)?));
        }
        let why = "its multiboot header has no addresses and it is no ELF file".into();
        Err(MachineError::BadKernel { name: name.into(), why })
    }

    /// The physical address to start at, in 32-bit protected mode.
    pub fn entry(&self) -> u64 {
        match self {
            Self::Elf(elf) => elf.entry,
            Self::Flat(flat) => flat.entry,
        }
    }

    pub fn end(&self) -> u64 {
        match self {
            Self::Elf(elf) => elf.end(),
            Self::Flat(flat) => flat.end(),
        }
    }

    pub fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<Piece<'a>> {
        match self {
            Self::Elf(elf) => elf.pieces(bytes),
            Self::Flat(flat) => flat.pieces(bytes),
        }
    }
}

fn addresses(name: &str, bytes: &[u8], header: usize) -> Result<Addresses, MachineError> {
    let short =
        || MachineError::CutShort { name: name.into(), has: bytes.len() as u64, needs: header as u64 + 32 };
    let field = |offset| u32_at(bytes, header + offset).ok_or_else(short);
    Ok(Addresses {
        header,
        header_address: field(12)?,
        load: field(16)?,
        load_end: field(20)?,
        bss_end: field(24)?,
        entry: field(28)?,
    })
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
