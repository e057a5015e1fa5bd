//! Multiboot 2 kernels (Multiboot2 Specification 2.0).

use super::Piece;
use super::bytes::{u16_at, u32_at};
use super::elf::{self, Elf};
use super::multiboot::{Addresses, Flat, Multiboot};
use crate::MachineError;

const HEADER_MAGIC: u32 = 0xe852_50d6;
/// 32-bit protected mode of i386 (3.1.2).
const ARCHITECTURE_I386: u32 = 0;
/// The header lies in the first 32768 bytes, at a multiple of 8 (3.1).
const SEARCHED: usize = 32768;
const HEADER_SIZE: usize = 16;

/// Types of header tags (3.1.3 to 3.1.13).
mod tag {
    pub const END: u16 = 0;
    pub const INFORMATION_REQUEST: u16 = 1;
    pub const ADDRESS: u16 = 2;
    pub const ENTRY: u16 = 3;
    pub const CONSOLE: u16 = 4;
    pub const FRAMEBUFFER: u16 = 5;
    pub const MODULE_ALIGNMENT: u16 = 6;
    pub const EFI_BOOT_SERVICES: u16 = 7;
    pub const EFI_ENTRY_I386: u16 = 8;
    pub const EFI_ENTRY_AMD64: u16 = 9;
    pub const RELOCATABLE: u16 = 10;
}
/// A tag that a loader may do without.
const OPTIONAL: u16 = 1;

/// Types of boot information tags that kernels are given: command line, loader, modules, memory (two kinds), both RSDPs and where the
/// kernel is.
const GIVEN: [u32; 8] = [1, 2, 3, 4, 6, 14, 15, 21];

/// The offset of a header whose checksum is right.
pub fn find(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len().min(SEARCHED)).step_by(8).find(|&at| {
        let fields = [0, 4, 8, 12].map(|field| u32_at(bytes, at + field));
        let [Some(HEADER_MAGIC), Some(ARCHITECTURE_I386), Some(length), Some(sum)] = fields else {
            return false;
        };
        [ARCHITECTURE_I386, length, sum].iter().fold(HEADER_MAGIC, |all, field| all.wrapping_add(*field)) == 0
    })
}

#[derive(Debug)]
pub struct Multiboot2 {
    kernel: Multiboot,
    entry: Option<u32>,
}

/// What its header's tags say.
#[derive(Default)]
struct Header {
    /// header_addr, load_addr, load_end_addr, bss_end_addr.
    addresses: Option<[u32; 4]>,
    entry: Option<u32>,
}

impl Multiboot2 {
    pub fn parse(name: &str, bytes: &[u8], at: usize) -> Result<Self, MachineError> {
        let header = read_tags(name, bytes, at)?;
        let kernel = match header.addresses {
            Some(addresses) => Multiboot::Flat(flat(name, bytes, at, addresses, header.entry)?),
            None if elf::is(bytes) => Multiboot::Elf(Elf::parse(name, bytes)?),
            None => return Err(bad(name, "its multiboot 2 header has no addresses and it is no ELF file")),
        };
        let entry = header.entry;
        if entry.is_some_and(|entry| !kernel.pieces(bytes).iter().any(|piece| holds(piece, entry))) {
            return Err(bad(name, "the entry in its multiboot 2 header is not in what it loads"));
        }
        Ok(Self { kernel, entry })
    }

    /// The physical address to start at, in 32-bit protected mode.
    pub fn entry(&self) -> u64 {
        self.entry.map_or(self.kernel.entry(), u64::from)
    }

    pub fn end(&self) -> u64 {
        self.kernel.end()
    }

    pub fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<Piece<'a>> {
        self.kernel.pieces(bytes)
    }
}

fn holds(piece: &Piece, address: u32) -> bool {
    u64::from(address).checked_sub(piece.address).is_some_and(|offset| offset < piece.size)
}

fn bad(name: &str, why: &str) -> MachineError {
    MachineError::BadKernel { name: name.into(), why: why.into() }
}

fn flat(
    name: &str,
    bytes: &[u8],
    header: usize,
    [header_address, load, load_end, bss_end]: [u32; 4],
    entry: Option<u32>,
) -> Result<Flat, MachineError> {
    // "The file is loaded from its start" (3.1.5).
    const FROM_THE_START: u32 = u32::MAX;
    let before = u32::try_from(header).unwrap_or(u32::MAX);
    let load = if load == FROM_THE_START { header_address.wrapping_sub(before) } else { load };
    let entry = entry.ok_or_else(|| bad(name, "its multiboot 2 header has addresses and no entry"))?;
    Flat::new(name, bytes, &Addresses { header, header_address, load, load_end, bss_end, entry })
}

fn read_tags(name: &str, bytes: &[u8], at: usize) -> Result<Header, MachineError> {
    let length = u32_at(bytes, at + 8).map_or(0, |length| length as usize);
    let end = at.saturating_add(length);
    if end > bytes.len() {
        return Err(MachineError::CutShort { name: name.into(), has: bytes.len() as u64, needs: end as u64 });
    }
    let mut header = Header::default();
    let mut rest = bytes.get(at + HEADER_SIZE..end).unwrap_or_default();
    loop {
        let (Some(kind), Some(flags), Some(size)) = (u16_at(rest, 0), u16_at(rest, 2), u32_at(rest, 4))
        else {
            return Ok(header);
        };
        if kind == tag::END {
            return Ok(header);
        }
        let size = size as usize;
        let Some(content) = rest.get(8..size) else {
            return Err(bad(
                name,
                "a tag of its multiboot 2 header is longer than the header or has no length",
            ));
        };
        header.heed(name, kind, flags & OPTIONAL != 0, content)?;
        rest = rest.get(size.next_multiple_of(8)..).unwrap_or_default();
    }
}

impl Header {
    fn heed(&mut self, name: &str, kind: u16, optional: bool, content: &[u8]) -> Result<(), MachineError> {
        let cut = || bad(name, "a tag of its multiboot 2 header is too short");
        let field = |at| u32_at(content, at).ok_or_else(cut);
        match kind {
            tag::ADDRESS => self.addresses = Some([field(0)?, field(4)?, field(8)?, field(12)?]),
            tag::ENTRY => self.entry = Some(field(0)?),
            tag::INFORMATION_REQUEST if !optional => {
                let wanted = (0..content.len() / 4).filter_map(|n| u32_at(content, 4 * n));
                if let Some(kind) = wanted.into_iter().find(|kind| !GIVEN.contains(kind)) {
                    let why = format!(
                        "it asks for multiboot 2 information of type {kind}, which there is not here"
                    );
                    return Err(bad(name, &why));
                }
            }
            // What they ask for is so anyway, is for other firmware, or is a preference.
            tag::INFORMATION_REQUEST
            | tag::CONSOLE
            | tag::FRAMEBUFFER
            | tag::MODULE_ALIGNMENT
            | tag::EFI_BOOT_SERVICES
            | tag::EFI_ENTRY_I386
            | tag::EFI_ENTRY_AMD64
            | tag::RELOCATABLE => (),
            _ if optional => (),
            _ => {
                let why = format!("its multiboot 2 header needs a loader that knows tags of type {kind}");
                return Err(bad(name, &why));
            }
        }
        Ok(())
    }
}

/// A flat kernel at 1 MiB that is its header and 16 bytes, for tests.
#[cfg(test)]
pub(crate) fn sample() -> Vec<u8> {
    sample_with(&[])
}

/// The same with more tags in front: type, flags and content.
#[cfg(test)]
pub(crate) fn sample_with(more: &[(u16, u16, &[u32])]) -> Vec<u8> {
    const LOAD: u32 = 0x10_0000;
    let address = [LOAD, LOAD, 0, LOAD + 4096];
    let entry = [LOAD + 24];
    let tags = more.iter().copied().chain([
        (tag::ADDRESS, 0, &address[..]),
        (tag::ENTRY, 0, &entry),
        (tag::END, 0, &[]),
    ]);
    let mut bytes = Vec::new();
    for (kind, flags, content) in tags {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend((8 + 4 * content.len() as u32).to_le_bytes());
        content.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    let length = (HEADER_SIZE + bytes.len()) as u32;
    let sum = 0u32.wrapping_sub(HEADER_MAGIC).wrapping_sub(length);
    let header = [HEADER_MAGIC, ARCHITECTURE_I386, length, sum].into_iter().flat_map(|f| f.to_le_bytes());
    header.chain(bytes).chain([0xf4; 16]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Multiboot2, MachineError> {
        Multiboot2::parse("k", bytes, find(bytes).unwrap())
    }

    #[test]
    fn a_flat_kernel_is_loaded_where_its_header_says() {
        let bytes = sample();
        let image = parse(&bytes).unwrap();
        assert_eq!(image.pieces(&bytes), [Piece { address: 0x10_0000, data: &bytes, size: 4096 }]);
        assert_eq!(image.entry(), 0x10_0018);
    }

    #[test]
    fn a_wrong_checksum_is_no_header() {
        let mut bytes = sample();
        bytes[12] ^= 1;
        assert_eq!(find(&bytes), None);
    }

    #[test]
    fn a_header_that_lost_its_end_is_cut_short() {
        assert!(matches!(parse(&sample()[..40]), Err(MachineError::CutShort { has: 40, .. })));
    }

    #[test]
    fn a_tag_that_nobody_knows_is_refused_unless_it_is_optional() {
        let error = parse(&sample_with(&[(77, 0, &[])])).unwrap_err().to_string();
        assert!(error.contains("tags of type 77"), "{error}");
        assert!(parse(&sample_with(&[(77, OPTIONAL, &[])])).is_ok());
    }

    #[test]
    fn information_that_there_is_not_is_refused() {
        let error = parse(&sample_with(&[(1, 0, &[6, 9])])).unwrap_err().to_string();
        assert!(error.contains("information of type 9"), "{error}");
        assert!(parse(&sample_with(&[(1, 0, &[1, 6, 15])])).is_ok());
    }

    #[test]
    fn a_tag_without_length_is_refused() {
        let mut bytes = sample_with(&[(4, 0, &[0])]);
        bytes[HEADER_SIZE + 4] = 0;
        assert!(parse(&bytes).unwrap_err().to_string().contains("has no length"));
    }

    #[test]
    fn no_prefix_panics() {
        let whole = sample();
        for length in 0..whole.len() - 16 {
            if let Some(at) = find(&whole[..length]) {
                assert!(Multiboot2::parse("k", &whole[..length], at).is_err(), "{length}");
            }
        }
    }
}
