//! bzImage, by its entry of 64 or 32 bits (Linux boot protocol: Documentation/arch/x86/boot.rst).

use super::Piece;
use super::bytes::{u8_at, u16_at, u32_at, u64_at};
use crate::MachineError;

/// Offsets in the file of the setup header's fields.
pub(crate) mod field {
    pub const SETUP_SECTS: usize = 0x1f1;
    pub const SYSSIZE: usize = 0x1f4;
    pub const BOOT_FLAG: usize = 0x1fe;
    pub const JUMP_OFFSET: usize = 0x201;
    pub const HEADER: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const TYPE_OF_LOADER: usize = 0x210;
    pub const LOADFLAGS: usize = 0x211;
    pub const SETUP_MOVE_SIZE: usize = 0x212;
    pub const RAMDISK_IMAGE: usize = 0x218;
    pub const RAMDISK_SIZE: usize = 0x21c;
    pub const HEAP_END_PTR: usize = 0x224;
    pub const CMD_LINE_PTR: usize = 0x228;
    pub const INITRD_ADDR_MAX: usize = 0x22c;
    pub const XLOADFLAGS: usize = 0x236;
    pub const CMDLINE_SIZE: usize = 0x238;
    pub const PREF_ADDRESS: usize = 0x258;
    pub const INIT_SIZE: usize = 0x260;
}

const HDRS: u32 = u32::from_le_bytes(*b"HdrS");
/// The setup header starts here, in the file as in the zero page.
const HEADER_START: usize = 0x1f1;
const LOADED_HIGH: u8 = 1;
/// XLF_KERNEL_64: there is a 64-bit entry, 0x200 bytes into the kernel.
const XLF_KERNEL_64: u16 = 1;
const ENTRY_64: u64 = 0x200;
/// xloadflags came with protocol 2.12.
const LEAST_VERSION: u16 = 0x20c;

pub fn is(bytes: &[u8]) -> bool {
    u32_at(bytes, field::HEADER) == Some(HDRS) && u16_at(bytes, field::BOOT_FLAG) == Some(0xaa55)
}

/// Whether a bzImage has entries for loaders that know no BIOS.
pub fn is_recent(bytes: &[u8]) -> bool {
    u16_at(bytes, field::VERSION).is_some_and(|version| version >= LEAST_VERSION)
        && u8_at(bytes, field::LOADFLAGS).is_some_and(|flags| flags & LOADED_HIGH != 0)
}

#[derive(Debug)]
pub struct BzImage {
    /// The setup header, to be copied to the zero page at 0x1f1.
    pub header: Vec<u8>,
    pub load: u64,
    /// Memory that it needs from `load` on until it has its own map.
    pub init_size: u64,
    pub initrd_max: u64,
    pub command_line_max: usize,
    /// It has the 64-bit entry; else it is started at that of 32 bits.
    pub is_64: bool,
    body: usize,
    body_size: usize,
}

impl BzImage {
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, MachineError> {
        let has = bytes.len() as u64;
        let short = |needs: u64| MachineError::CutShort { name: name.into(), has, needs };
        let bad = |why: &str| MachineError::BadKernel { name: name.into(), why: why.into() };
        let header_missing = || short(0x268);
        let flags = u16_at(bytes, field::XLOADFLAGS).ok_or_else(header_missing)?;
        let init_size = u32_at(bytes, field::INIT_SIZE).ok_or_else(header_missing)?;
        if !is_recent(bytes) {
            return Err(MachineError::NeedsBios { name: name.into() });
        }
        let header = Self::header(bytes).ok_or_else(header_missing)?;
        // Zero sectors mean four, for very old kernels.
        let sectors = match u8_at(bytes, field::SETUP_SECTS) {
            Some(0) | None => 4,
            Some(n) => usize::from(n),
        };
        let body = (sectors + 1) * 512;
        let body_size = u32_at(bytes, field::SYSSIZE).ok_or_else(header_missing)? as usize * 16;
        // The last paragraph may be partly there.
        let needs = (body + body_size.saturating_sub(15)) as u64;
        if has < needs || bytes.len() <= body {
            return Err(short(needs.max(body as u64 + 1)));
        }
        let load = u64_at(bytes, field::PREF_ADDRESS).ok_or_else(header_missing)?;
        if !(0x10_0000..=1 << 31).contains(&load) {
            return Err(bad("its load address is not between 1 MiB and 2 GiB"));
        }
        Ok(Self {
            header,
            load,
            init_size: u64::from(init_size).max(body_size as u64),
            initrd_max: u64::from(u32_at(bytes, field::INITRD_ADDR_MAX).ok_or_else(header_missing)?),
            command_line_max: u32_at(bytes, field::CMDLINE_SIZE).ok_or_else(header_missing)? as usize,
            is_64: flags & XLF_KERNEL_64 != 0,
            body,
            body_size: body_size.min(bytes.len() - body),
        })
    }

    /// The header ends where the jump at its start goes (boot protocol, "Details of header fields": jump).
    fn header(bytes: &[u8]) -> Option<Vec<u8>> {
        let end = field::HEADER + usize::from(u8_at(bytes, field::JUMP_OFFSET)?);
        bytes.get(HEADER_START..end.clamp(field::INIT_SIZE + 4, 0x290)).map(<[u8]>::to_vec)
    }

    /// The 32-bit entry is the kernel's first byte.
    pub fn entry(&self) -> u64 {
        if self.is_64 { self.load + ENTRY_64 } else { self.load }
    }

    pub fn end(&self) -> u64 {
        self.load + self.init_size
    }

    pub fn piece<'a>(&self, bytes: &'a [u8]) -> Piece<'a> {
        let data = bytes.get(self.body..self.body + self.body_size).unwrap_or_default();
        Piece { address: self.load, data, size: data.len() as u64 }
    }
}

/// A small file with a good header, for tests: 5 sectors of setup and 64 bytes of kernel.
#[cfg(test)]
pub(crate) fn sample() -> Vec<u8> {
    let mut bytes = vec![0u8; 5 * 512 + 64];
    let mut put = |offset: usize, data: &[u8]| bytes[offset..offset + data.len()].copy_from_slice(data);
    put(field::SETUP_SECTS, &[4]);
    put(field::SYSSIZE, &4u32.to_le_bytes());
    put(field::BOOT_FLAG, &0xaa55u16.to_le_bytes());
    put(field::JUMP_OFFSET - 1, &[0xeb, 0x66]);
    put(field::HEADER, b"HdrS");
    put(field::VERSION, &0x20fu16.to_le_bytes());
    put(field::LOADFLAGS, &[1]);
    put(field::INITRD_ADDR_MAX, &0x7fff_ffffu32.to_le_bytes());
    put(field::XLOADFLAGS, &0x3fu16.to_le_bytes());
    put(field::CMDLINE_SIZE, &2047u32.to_le_bytes());
    put(field::PREF_ADDRESS, &0x100_0000u64.to_le_bytes());
    put(field::INIT_SIZE, &0x20_0000u32.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_header_says_where_to_load_and_enter() {
        let bytes = sample();
        let image = BzImage::parse("k", &bytes).unwrap();
        assert_eq!((image.load, image.entry(), image.end()), (0x100_0000, 0x100_0200, 0x120_0000));
    }

    #[test]
    fn the_kernel_proper_follows_the_setup_sectors() {
        let mut bytes = sample();
        bytes[5 * 512] = 0x77;
        let image = BzImage::parse("k", &bytes).unwrap();
        assert_eq!((image.piece(&bytes).data[0], image.piece(&bytes).size), (0x77, 64));
    }

    #[test]
    fn a_file_that_lost_its_end_is_cut_short() {
        let bytes = sample();
        let error = BzImage::parse("k", &bytes[..5 * 512 + 40]).unwrap_err();
        assert!(matches!(error, MachineError::CutShort { has: 2600, needs: 2609, .. }), "{error:?}");
    }

    #[test]
    fn a_32_bit_kernel_is_entered_at_its_start() {
        let mut bytes = sample();
        bytes[field::XLOADFLAGS] = 0;
        let image = BzImage::parse("k", &bytes).unwrap();
        assert_eq!((image.is_64, image.entry()), (false, 0x100_0000));
    }

    #[test]
    fn an_old_protocol_is_refused() {
        let mut bytes = sample();
        bytes[field::VERSION] = 0;
        assert!(BzImage::parse("k", &bytes).unwrap_err().to_string().contains("starts in real mode"));
    }

    #[test]
    fn the_header_is_copied_from_its_start() {
        let image = BzImage::parse("k", &sample()).unwrap();
        assert_eq!(image.header[0], 4);
    }
}
