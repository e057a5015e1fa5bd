//! Kernel files: which kind one is, and what of it goes where.

pub mod bytes;
pub mod bzimage;
pub mod elf;
pub mod foreign;
pub mod multiboot;

use crate::MachineError;
use bzimage::BzImage;
use elf::Elf;
use multiboot::Multiboot;

/// A kernel that can be started, checked against its own bytes.
#[derive(Debug)]
pub enum Image {
    BzImage(BzImage),
    /// A 64-bit Linux kernel, not compressed.
    Vmlinux(Elf),
    Multiboot(Multiboot),
}

/// A run of bytes for guest memory: `data` from the file, then zeros up to `size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    pub address: u64,
    pub data: &'a [u8],
    pub size: u64,
}

impl Image {
    /// Tells what `bytes` are; `name` is for errors.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, MachineError> {
        if let Some(header) = multiboot::find(bytes) {
            return Ok(Self::Multiboot(Multiboot::parse(name, bytes, header)?));
        }
        if bzimage::is(bytes) {
            return Ok(Self::BzImage(BzImage::parse(name, bytes)?));
        }
        if elf::is(bytes) {
            return Ok(Self::Vmlinux(Elf::parse_vmlinux(name, bytes)?));
        }
        Err(MachineError::NotAKernel { name: name.into(), found: foreign::describe(bytes).into() })
    }

    /// What goes to memory.
    pub fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<Piece<'a>> {
        match self {
            Self::BzImage(image) => vec![image.piece(bytes)],
            Self::Vmlinux(elf) => elf.pieces(bytes),
            Self::Multiboot(image) => image.pieces(bytes),
        }
    }

    /// The first address that the kernel does not need while it starts.
    pub fn end(&self) -> u64 {
        match self {
            Self::BzImage(image) => image.end(),
            Self::Vmlinux(elf) => elf.end(),
            Self::Multiboot(image) => image.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_kernel_is_named_for_what_it_is() {
        let error = Image::parse("x", b"#!/bin/sh\necho").unwrap_err();
        assert!(error.to_string().contains("a script"), "{error}");
    }

    #[test]
    fn an_empty_file_is_no_kernel() {
        assert!(Image::parse("x", b"").unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn no_prefix_of_a_kernel_panics() {
        let whole = bzimage::sample();
        // The last paragraph may be partly there, so its last 15 bytes are not missed.
        for length in 0..whole.len() - 15 {
            assert!(Image::parse("x", &whole[..length]).is_err(), "{length}");
        }
    }

    /// Behind each kind's magic number, and over a good bzImage.
    #[test]
    fn fuzz_kernels() {
        const MAGIC: [&[u8]; 4] =
            [b"\x7fELF\x02\x01\x01", b"\x7fELF\x01\x01\x01", &[0x02, 0xb0, 0xad, 0x1b], &[]];
        bolero::check!().with_test_time(std::time::Duration::from_secs(2)).for_each(|input: &[u8]| {
            let (Some(&kind), rest) = (input.first(), input.get(1..).unwrap_or_default()) else { return };
            let mut bytes = match kind % 5 {
                4 => changed(bzimage::sample(), rest),
                kind => [MAGIC[usize::from(kind)], rest].concat(),
            };
            bytes.truncate(1 << 16);
            if let Ok(image) = Image::parse("x", &bytes) {
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
