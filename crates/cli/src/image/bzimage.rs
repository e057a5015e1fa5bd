//! The kernel inside a bzImage, unpacked here once and not by every level for itself: a level that starts the ELF
//! kernel directly saves the decompressor's page faults, copies and relocations.
//!
//! Debian compresses with LZ4 (its legacy frame, as the kernel's build makes it). What is compressed otherwise
//! stays as it is: the kernel can always unpack itself.

/// Linux's `vmlinux` holds less than this.
const LARGEST: usize = 512 << 20;
/// The legacy LZ4 frame's magic number, and what one of its blocks holds at most.
const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
const BLOCK: usize = 8 << 20;

/// The ELF kernel of a bzImage; `None` for what is no bzImage, is not compressed by LZ4, or is damaged.
pub fn elf_kernel(image: &[u8]) -> Option<Vec<u8>> {
    let kernel = unpack(payload(image)?)?;
    kernel.starts_with(b"\x7fELF").then_some(kernel)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?) as usize)
}

/// The compressed kernel (Linux x86 boot protocol: `payload_offset` and `payload_length`, since 2.08).
fn payload(image: &[u8]) -> Option<&[u8]> {
    let version = word(image, 0x206)? & 0xffff;
    if image.get(0x202..0x206)? != b"HdrS" || version < 0x208 {
        return None;
    }
    let sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = ((sectors + 1) * 512).checked_add(word(image, 0x248)?)?;
    image.get(start..start.checked_add(word(image, 0x24c)?)?)
}

/// A legacy frame, behind which the kernel's build puts the unpacked size.
fn unpack(payload: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, size) = (payload.strip_prefix(&MAGIC)?, word(payload, payload.len().checked_sub(4)?)?);
    if size > LARGEST {
        return None;
    }
    let mut out = Vec::with_capacity(size);
    while out.len() < size {
        let length = word(rest, 0)?;
        let block = rest.get(4..length.checked_add(4)?)?;
        unpack_block(block, &mut out)?;
        rest = &rest[4 + length..];
    }
    (out.len() == size).then_some(out)
}

/// One block (LZ4 block format): literals and matches in turn, ending in literals.
fn unpack_block(block: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let mut at = 0;
    loop {
        let token = *block.get(at)?;
        at += 1;
        let literals = length(block, &mut at, token >> 4)?;
        out.extend_from_slice(block.get(at..at.checked_add(literals)?)?);
        at += literals;
        if at == block.len() {
            return (out.len() - start <= BLOCK).then_some(());
        }
        let offset = usize::from(u16::from_le_bytes(block.get(at..at + 2)?.try_into().ok()?));
        at += 2;
        let matched = length(block, &mut at, token & 0xf)? + 4;
        if offset == 0 || offset > out.len() - start || out.len() - start + matched > BLOCK {
            return None;
        }
        copy_match(out, offset, matched);
    }
}

/// A nibble of the token, continued by further bytes when it is 15.
fn length(block: &[u8], at: &mut usize, nibble: u8) -> Option<usize> {
    let mut length = usize::from(nibble);
    if nibble == 15 {
        loop {
            let more = *block.get(*at)?;
            *at += 1;
            length += usize::from(more);
            if more != 255 {
                break;
            }
        }
    }
    Some(length)
}

/// Repeats what is `offset` bytes back; a match may overlap itself.
fn copy_match(out: &mut Vec<u8>, offset: usize, length: usize) {
    let mut left = length;
    while left > 0 {
        let start = out.len() - offset;
        let step = left.min(offset);
        out.extend_from_within(start..start + step);
        left -= step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(block: &[u8], size: u32) -> Vec<u8> {
        [&MAGIC[..], &(block.len() as u32).to_le_bytes(), block, &size.to_le_bytes()].concat()
    }

    #[test]
    fn literals_and_an_overlapping_match_unpack() {
        // Two literals "ab", a match of 6 at offset 2, one literal "c".
        let frame = framed(&[0x22, b'a', b'b', 2, 0, 0x10, b'c'], 9);
        assert_eq!(unpack(&frame).unwrap(), b"ababababc");
    }

    #[test]
    fn long_lengths_go_on_in_more_bytes() {
        let mut block = vec![0xf0, 255, 10];
        block.extend(vec![7; 15 + 255 + 10]);
        assert_eq!(unpack(&framed(&block, 280)).unwrap(), vec![7; 280]);
    }

    #[test]
    fn damage_gives_nothing_and_no_panic() {
        let frame = framed(&[0x22, b'a', b'b', 2, 0, 0x10, b'c'], 9);
        for end in 0..frame.len() {
            assert_eq!(unpack(&frame[..end]), None);
        }
        let far_match = framed(&[0x12, b'a', 9, 0, 0x10, b'c'], 8);
        assert_eq!(unpack(&far_match), None);
    }

    #[test]
    fn what_is_no_bzimage_has_no_payload() {
        assert_eq!(payload(&[0; 0x400]), None);
        assert_eq!(payload(b"short"), None);
    }
}
