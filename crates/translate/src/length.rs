//! How many bytes an instruction that is undefined takes: they are fetched before it is #UD, and more than fifteen are #GP,
//! whatever they would be (APM vol. 3, 1.1). The decoder calls both invalid, and reads a ModRM byte that some do not have.

use crate::block::DECODER_OPTIONS;
use iced_x86::{Decoder, DecoderError, DecoderOptions};

/// Bytes that may stand before an opcode in any mode.
pub(crate) const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];

/// Prefixes of which the last one counts.
const GROUPS: [&[u8]; 5] = [&[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65], &[0x66], &[0x67], &[0xf0], &[0xf2, 0xf3]];

/// Bytes of the longest instruction.
pub(crate) const LONGEST: usize = 15;

/// Opcodes of one byte that 64-bit mode does not have, and that have no operands elsewhere.
const GONE: [u8; 15] =
    [0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0xce, 0xd6];

/// Bytes that an instruction takes which the decoder calls invalid, or cut off at the end of `bytes`: more than there are if it
/// goes on behind them. As silicon has it (family 1Ah), an opcode that stands for nothing takes no operands.
pub(crate) fn invalid(bitness: u32, bytes: &[u8]) -> usize {
    let rex = |byte: &u8| bitness == 64 && byte & 0xf0 == 0x40;
    let count = bytes.iter().take(LONGEST).take_while(|byte| PREFIXES.contains(byte) || rex(byte)).count();
    let (prefixes, rest) = bytes.split_at(count);
    let opcode = opcode_at(bitness, rest);
    if rest.is_empty() {
        return count + 1;
    }
    let map = Map::of(rest, opcode);
    if map.extended && prefixes.last().is_some_and(rex) {
        return count + 2;
    }
    if count + opcode >= LONGEST || rest.len() <= opcode {
        return count + opcode + 1;
    }
    if map.stands_alone(bitness, rest[opcode]) {
        return count + opcode + 1;
    }
    if map.number == 0
        && matches!(rest[opcode], 0xd8..=0xdf)
        && rest.get(opcode + 1).is_some_and(|m| m >> 6 == 3)
    {
        return count + opcode + 2;
    }
    // It takes more prefixes than mean anything: without the others the decoder sees its end. Its length comes before what its
    // prefixes are allowed to; where they choose nothing, others of them may have.
    let mut some: Vec<u8> = GROUPS.iter().filter_map(|group| last(prefixes, group)).collect();
    some.extend(prefixes.last().filter(|byte| rex(byte)));
    let chosen = [&[][..], &[0xf2, 0xf3], &[0x66], &[0x66, 0xf2, 0xf3]];
    let mut lengths = chosen.iter().map(|without| {
        let kept = some.iter().filter(|byte| !without.contains(byte));
        let short: Vec<u8> = kept.chain(rest).copied().collect();
        Some(bytes.len() - short.len() + decoded_length(bitness, &short)?)
    });
    let operands = &rest[opcode + 1..];
    let formal = || count + opcode + 1 + map.operands(bitness, prefixes, rest[opcode], operands);
    lengths.next().flatten().or_else(|| lengths.flatten().max()).unwrap_or_else(formal)
}

/// A map of opcodes (APM vol. 3, appendix A), and whether an extended prefix chose it.
#[derive(Clone, Copy)]
struct Map {
    number: u8,
    extended: bool,
}

impl Map {
    /// That of the opcode at `opcode`, behind its escapes.
    fn of(rest: &[u8], opcode: usize) -> Self {
        let next = rest.get(1).copied().unwrap_or(0);
        let legacy = |number| Self { number, extended: false };
        let by_prefix = |number| Self { number, extended: true };
        match (rest[0], opcode) {
            (_, 0) => legacy(0),
            (0x0f, 1) => legacy(1),
            (0x0f, 2) => legacy(2 + u8::from(next == 0x3a)),
            (0xc5, _) => by_prefix(1),
            (0x62, _) => by_prefix(next & 7),
            _ => by_prefix(next & 0x1f),
        }
    }

    /// Undefined, or at least without a ModRM byte, whatever follows.
    fn stands_alone(self, bitness: u32, opcode: u8) -> bool {
        match (self.number, opcode) {
            (0, _) => bitness == 64 && GONE.contains(&opcode),
            (1, 0x04 | 0x0a | 0x0b | 0x0c | 0x0e | 0x24..=0x27 | 0x36 | 0x37 | 0x39 | 0x3b..=0x3f) => true,
            (1, 0x77 | 0xa6 | 0xa7 | 0xaa | 0xb9 | 0xff) => true,
            (1, 0x7a | 0x7b) => !self.extended,
            (1, 0x05..=0x09 | 0x30..=0x3a | 0xa0..=0xa2 | 0xa8 | 0xa9 | 0xc8..=0xcf) => self.extended,
            _ => false,
        }
    }

    /// Bytes behind the opcode: ModRM, SIB and displacement, and an immediate.
    fn operands(self, bitness: u32, prefixes: &[u8], opcode: u8, operands: &[u8]) -> usize {
        let word = if prefixes.contains(&0x66) != (bitness == 16) { 2 } else { 4 };
        let immediate = match (self.number, opcode) {
            (8.., _) => 0,
            (0, _) if self.extended => 0,
            (0, 0x9a | 0xea) => return word + 2,
            (0, 0xd4 | 0xd5) => return 1,
            (1, 0x80..=0x8f) => return word,
            (1, 0x20..=0x23) if !self.extended => return 1,
            (0, 0x80 | 0x82 | 0x83 | 0xc0 | 0xc1 | 0xc6) => 1,
            (0, 0x81 | 0xc7) => word,
            (1, 0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6) | (3, _) => 1,
            _ => 0,
        };
        // As far as a MOV with the same ModRM byte goes.
        let size = prefixes.iter().filter(|&&byte| byte == 0x67).take(1);
        let code: Vec<u8> = size.chain(&[0x8b]).chain(operands).copied().collect();
        let before = code.len() - operands.len();
        decoded_length(bitness, &code).unwrap_or(before + 1) - before + immediate
    }
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

/// Where the opcode's own byte is, behind escapes or a VEX, EVEX or XOP prefix.
fn opcode_at(bitness: u32, bytes: &[u8]) -> usize {
    let next = bytes.get(1).copied().unwrap_or(0);
    // In 32-bit code these are LDS, LES and BOUND if a memory operand follows.
    let extended = bitness == 64 || bytes.get(1).is_none_or(|next| next >> 6 == 3);
    match (bytes.first(), next) {
        (Some(0x0f), 0x38 | 0x3a) => 2,
        (Some(0x0f), _) => 1,
        (Some(0xc5), _) if extended => 2,
        (Some(0xc4), _) if extended => 3,
        (Some(0x8f), next) if next & 0x38 != 0 => 3,
        (Some(0x62), _) if extended => 4,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, invalid};

    fn of(bitness: u32, prefixes: &[u8], rest: &[u8]) -> bool {
        invalid(bitness, &[prefixes, rest, &[0xcc; 15]].concat()) > LONGEST
    }

    #[test]
    fn an_opcode_that_stands_for_nothing_takes_no_operands() {
        let alone: [&[u8]; 9] = [
            &[0x06],
            &[0x66, 0xce],
            &[0x0f, 0x04],
            &[0x0f, 0xff],
            &[0xc5, 0xf8, 0x04],
            &[0xc4, 0xe1, 0x79, 0xc8],
            &[0x62, 0xf1, 0x7c, 0x08, 0x04],
            &[0xf2, 0x0f, 0x77],
            &[0x48, 0xc4, 0xe1],
        ];
        for bytes in alone {
            assert_eq!(invalid(64, bytes), bytes.len(), "{bytes:x?}");
        }
    }

    #[test]
    fn an_undefined_element_of_a_group_takes_the_groups_operands() {
        // C6 /1 and 0F BA /0 have an immediate byte, C7 /1 four or two; 9A a far pointer; maps 2 and 3 a ModRM byte.
        assert_eq!(invalid(64, &[0xc6, 0xc8]), 3);
        assert_eq!(invalid(64, &[0xc6, 0x48, 0x10]), 4);
        assert_eq!(invalid(64, &[0xc7, 0xc8]), 6);
        assert_eq!(invalid(64, &[0x66, 0xc7, 0xc8]), 5);
        assert_eq!(invalid(64, &[0x0f, 0xba, 0xc0]), 4);
        assert_eq!(invalid(64, &[0x9a, 0, 0, 0, 0, 0, 0]), 7);
        assert_eq!(invalid(64, &[0xc4, 0xe2, 0x79, 0xff]), 5);
        assert_eq!(invalid(64, &[0xc4, 0xe3, 0x79, 0xff, 0xc0]), 6);
        assert_eq!(invalid(64, &[0xfe, 0xd0]), 2);
        assert_eq!(invalid(64, &[0xdf, 0xe1]), 2);
        assert_eq!(invalid(64, &[0xf0, 0x66, 0xe9, 0, 0]), 5);
    }

    #[test]
    fn a_defined_instruction_that_is_cut_off_goes_on() {
        for bytes in [&[0x8b][..], &[0x0f], &[0x0f, 0x38], &[0x48], &[0xc5, 0xf8], &[0xb8, 1], &[0x8f, 0x08]]
        {
            assert!(invalid(64, bytes) > bytes.len(), "{bytes:x?}");
        }
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
        assert!(!of(64, &[&[0xf3][..], &[0x2e; 12]].concat(), &[0x0f, 0xff]));
    }

    #[test]
    fn an_operand_behind_the_fifteenth_byte_is_too_long_with_a_lock_that_is_not_allowed() {
        assert!(of(64, &[0xf0; 14], &[0x8b, 0x00]));
    }
}
