//! Kernel files: which kind one is, and what of it goes where.

pub mod bytes;
pub mod bzimage;
pub mod elf;
pub mod foreign;
pub mod gzip;
pub mod multiboot;
pub mod multiboot2;
pub mod real_mode;

use crate::MachineError;
use bzimage::BzImage;
use elf::Elf;
use multiboot::Multiboot;
use multiboot2::Multiboot2;
use std::fmt;
use std::str::FromStr;

/// The contract by which a kernel is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Linux's, at the entry of 64 or 32 bits.
    Linux,
    /// Xen's for guests without firmware: an ELF note names the entry.
    Pvh,
    Multiboot,
    Multiboot2,
}

const PROTOCOLS: [(&str, Protocol); 4] = [
    ("linux", Protocol::Linux),
    ("pvh", Protocol::Pvh),
    ("multiboot", Protocol::Multiboot),
    ("multiboot2", Protocol::Multiboot2),
];

impl FromStr for Protocol {
    type Err = MachineError;
    fn from_str(text: &str) -> Result<Self, MachineError> {
        let found = PROTOCOLS.iter().find(|(name, _)| *name == text);
        found.map(|(_, protocol)| *protocol).ok_or_else(|| MachineError::UnknownProtocol(text.into()))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = PROTOCOLS.iter().find(|(_, protocol)| protocol == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// A kernel that can be started, checked against its own bytes.
#[derive(Debug)]
pub enum Image {
    BzImage(BzImage),
    /// A 64-bit Linux kernel, not compressed.
    Vmlinux(Elf),
    /// With the physical address of its entry.
    Pvh(Elf, u64),
    Multiboot(Multiboot),
    Multiboot2(Multiboot2),
}

/// A run of bytes for guest memory: `data` from the file, then zeros up to `size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    pub address: u64,
    pub data: &'a [u8],
    pub size: u64,
}

impl Image {
    /// Tells what `bytes` are; `name` is for errors. Of several protocols that a kernel knows it is started by the one that is
    /// `wanted`, else by the first of multiboot, multiboot 2, PVH and Linux's.
    pub fn parse(name: &str, bytes: &[u8], wanted: Option<Protocol>) -> Result<Self, MachineError> {
        let may = |protocol| wanted.is_none_or(|wanted| wanted == protocol);
        if let Some(header) = multiboot::find(bytes).filter(|_| may(Protocol::Multiboot)) {
            return Ok(Self::Multiboot(Multiboot::parse(name, bytes, header)?));
        }
        if let Some(header) = multiboot2::find(bytes).filter(|_| may(Protocol::Multiboot2)) {
            return Ok(Self::Multiboot2(Multiboot2::parse(name, bytes, header)?));
        }
        if let Some(entry) = elf::pvh_entry(bytes).filter(|_| may(Protocol::Pvh)) {
            return Self::pvh(name, bytes, entry);
        }
        if bzimage::is(bytes) && may(Protocol::Linux) {
            return Ok(Self::BzImage(BzImage::parse(name, bytes)?));
        }
        if elf::is(bytes) && may(Protocol::Linux) {
            return Ok(Self::Vmlinux(Elf::parse_vmlinux(name, bytes)?));
        }
        match wanted {
            Some(wanted) => Err(MachineError::ProtocolMissing { name: name.into(), wanted }),
            None => {
                Err(MachineError::NotAKernel { name: name.into(), found: foreign::describe(bytes).into() })
            }
        }
    }

    fn pvh(name: &str, bytes: &[u8], entry: u64) -> Result<Self, MachineError> {
        let elf = Elf::parse(name, bytes)?;
        if !elf.holds(entry) {
            let why = format!("its PVH entry {entry:#x} is not in what it loads");
            return Err(MachineError::BadKernel { name: name.into(), why });
        }
        Ok(Self::Pvh(elf, entry))
    }

    pub fn protocol(&self) -> Protocol {
        match self {
            Self::BzImage(_) | Self::Vmlinux(_) => Protocol::Linux,
            Self::Pvh(..) => Protocol::Pvh,
            Self::Multiboot(_) => Protocol::Multiboot,
            Self::Multiboot2(_) => Protocol::Multiboot2,
        }
    }

    /// What goes to memory.
    pub fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<Piece<'a>> {
        match self {
            Self::BzImage(image) => vec![image.piece(bytes)],
            Self::Vmlinux(elf) | Self::Pvh(elf, _) => elf.pieces(bytes),
            Self::Multiboot(image) => image.pieces(bytes),
            Self::Multiboot2(image) => image.pieces(bytes),
        }
    }

    /// The first address that the kernel does not need while it starts.
    pub fn end(&self) -> u64 {
        match self {
            Self::BzImage(image) => image.end(),
            Self::Vmlinux(elf) | Self::Pvh(elf, _) => elf.end(),
            Self::Multiboot(image) => image.end(),
            Self::Multiboot2(image) => image.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Image, MachineError> {
        Image::parse("x", bytes, None)
    }

    #[test]
    fn what_is_no_kernel_is_named_for_what_it_is() {
        let error = parse(b"#!/bin/sh\necho").unwrap_err();
        assert!(error.to_string().contains("a script"), "{error}");
    }

    #[test]
    fn an_empty_file_is_no_kernel() {
        assert!(parse(b"").unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn no_prefix_of_a_kernel_panics() {
        let whole = bzimage::sample();
        // The last paragraph may be partly there, so its last 15 bytes are not missed.
        for length in 0..whole.len() - 15 {
            assert!(parse(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_kernel_is_started_by_the_protocol_that_is_asked_for() {
        let bytes = elf::sample_pvh(0x100_0010);
        assert!(matches!(parse(&bytes), Ok(Image::Pvh(_, 0x100_0010))));
        assert!(matches!(Image::parse("x", &bytes, Some(Protocol::Linux)), Ok(Image::Vmlinux(_))));
        let error = Image::parse("x", &bytes, Some(Protocol::Multiboot2)).unwrap_err().to_string();
        assert!(error.contains("cannot be started by the protocol multiboot2"), "{error}");
    }

    #[test]
    fn a_pvh_entry_outside_is_refused() {
        let error = parse(&elf::sample_pvh(0x200_0000)).unwrap_err().to_string();
        assert!(error.contains("PVH entry 0x2000000"), "{error}");
    }

    #[test]
    fn an_unknown_protocol_is_named() {
        assert!("efi".parse::<Protocol>().unwrap_err().to_string().contains("`efi`"));
    }

    /// Behind each kind's magic number, and over good kernels.
    #[test]
    fn fuzz_kernels() {
        const MAGIC: [&[u8]; 4] =
            [b"\x7fELF\x02\x01\x01", b"\x7fELF\x01\x01\x01", &[0x02, 0xb0, 0xad, 0x1b], &[]];
        bolero::check!().with_test_time(std::time::Duration::from_secs(2)).for_each(|input: &[u8]| {
            let (Some(&kind), rest) = (input.first(), input.get(1..).unwrap_or_default()) else { return };
            let mut bytes = match kind % 8 {
                4 => changed(bzimage::sample(), rest),
                5 => changed(multiboot2::sample(), rest),
                6 => changed(elf::sample_pvh(0x100_0010), rest),
                7 => gzip::unpack("x", &changed(gzip::pack(&bzimage::sample()), rest), 1 << 16)
                    .unwrap_or_default(),
                kind => [MAGIC[usize::from(kind)], rest].concat(),
            };
            bytes.truncate(1 << 16);
            let protocols = PROTOCOLS.map(|(_, protocol)| Some(protocol));
            drop(real_mode::RealMode::parse("x", &bytes));
            for image in protocols.into_iter().chain([None]).flat_map(|p| Image::parse("x", &bytes, p)) {
                let end = image.end();
                let inside = |piece: &Piece| piece.data.len() as u64 <= piece.size || end == 0;
                assert!(image.pieces(&bytes).iter().all(inside));
            }
        });
    }

    /// Three bytes of a change: where, and what is there.
    fn changed(mut bytes: Vec<u8>, changes: &[u8]) -> Vec<u8> {
        for change in changes.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
            bytes[at] = change[2];
        }
        bytes
    }
}
