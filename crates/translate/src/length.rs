//! Instructions of more than fifteen bytes: #GP, whatever they would be (APM vol. 3, 1.1). The decoder calls them invalid, as
//! it does opcodes that are undefined.

use crate::block::DECODER_OPTIONS;
use iced_x86::{Decoder, DecoderError, DecoderOptions};

/// Bytes that may stand before an opcode in any mode.
pub(crate) const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];

/// Prefixes of which the last one counts.
const GROUPS: [&[u8]; 5] = [&[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65], &[0x66], &[0x67], &[0xf0], &[0xf2, 0xf3]];

/// Bytes of the longest instruction.
const LONGEST: usize = 15;

/// Whether these bytes, which the decoder calls invalid, begin an instruction of more than 15 bytes. Its length comes before
/// what its prefixes are allowed to, or choose.
pub(crate) fn too_long(bitness: u32, bytes: &[u8]) -> bool {
    let rex = |byte: &u8| bitness == 64 && byte & 0xf0 == 0x40;
    let count = bytes.iter().take(LONGEST).take_while(|byte| PREFIXES.contains(byte) || rex(byte)).count();
    let (prefixes, rest) = bytes.split_at(count);
    if count + opcode_at(bitness, rest) >= LONGEST {
        return true;
    }
    // It takes more prefixes than mean anything: without the others the decoder sees its end.
    let mut some: Vec<u8> = GROUPS.iter().filter_map(|group| last(prefixes, group)).collect();
    some.extend(prefixes.last().filter(|byte| rex(byte)));
    let chosen = [&[][..], &[0xf2, 0xf3], &[0x66], &[0x66, 0xf2, 0xf3]];
    let lengths = chosen.iter().filter_map(|without| {
        let kept = some.iter().filter(|byte| !without.contains(byte));
        let short: Vec<u8> = kept.chain(rest).copied().collect();
        Some(bytes.len() - short.len() + decoded_length(bitness, &short)?)
    });
    lengths.max().is_some_and(|length| length > LONGEST)
}

fn last(prefixes: &[u8], group: &[u8]) -> Option<u8> {
    prefixes.iter().copied().rfind(|byte| group.contains(byte))
}

/// None of an opcode that is undefined. What is cut off is longer than what is there.
fn decoded_length(bitness: u32, bytes: &[u8]) -> Option<usize> {
    let mut decoder = Decoder::new(bitness, bytes, DECODER_OPTIONS | DecoderOptions::NO_INVALID_CHECK);
    let insn = decoder.decode();
    match decoder.last_error() {
        DecoderError::NoMoreBytes => Some(bytes.len() + 1),
        _ => (!insn.is_invalid()).then(|| insn.len()),
    }
}

/// Where the opcode's own byte is at the earliest, behind escapes, a VEX, EVEX or XOP prefix, or, of 3DNow!, the operand.
fn opcode_at(bitness: u32, bytes: &[u8]) -> usize {
    let next = bytes.get(1).copied().unwrap_or(0);
    // In 32-bit code these are LDS, LES and BOUND if a memory operand follows.
    let extended = bitness == 64 || bytes.get(1).is_none_or(|next| next >> 6 == 3);
    match (bytes.first(), next) {
        (Some(0x0f), 0x0f) => 3,
        (Some(0x0f), 0x38 | 0x3a) => 2,
        (Some(0x0f), _) => 1,
        (Some(0xc5), _) if extended => 2,
        (Some(0xc4), _) if extended => 3,
        (Some(0x8f), next) if next & 0x1f >= 8 => 3,
        (Some(0x62), _) if extended => 4,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::too_long;

    fn of(bitness: u32, prefixes: &[u8], rest: &[u8]) -> bool {
        too_long(bitness, &[prefixes, rest, &[0xcc; 15]].concat())
    }

    #[test]
    fn fifteen_prefixes_are_too_many() {
        assert!(of(64, &[0x66; 15], &[0x90]));
        assert!(!of(64, &[0x66; 14], &[0x06]));
    }

    #[test]
    fn an_opcode_that_begins_behind_the_fifteenth_byte_is_too_long_whatever_it_is() {
        assert!(of(64, &[0x2e; 14], &[0x0f, 0x6d]));
        assert!(of(32, &[0x2e; 13], &[0xc5, 0xfe, 0x6f]));
        assert!(of(64, &[0x2e; 14], &[0x41]));
    }

    #[test]
    fn a_mandatory_prefix_counts_wherever_it_stands() {
        assert!(of(64, &[&[0x66][..], &[0x2e; 12]].concat(), &[0x0f, 0x6d, 0xc0]));
        assert!(!of(64, &[&[0xf3][..], &[0x2e; 12]].concat(), &[0x0f, 0x6d]));
    }

    #[test]
    fn an_operand_behind_the_fifteenth_byte_is_too_long_with_a_lock_that_is_not_allowed() {
        assert!(of(64, &[0xf0; 14], &[0x8b, 0x00]));
    }
}
