//! Which bytes of its memory operand a masked instruction accesses (SDM vol. 2, 2.7.3 and 2.7.5): only these can fault.

use crate::pending::Chosen;
use iced_x86::{EncodingKind, Instruction, Mnemonic, OpKind, Register};

/// The lowest `count` bits.
fn ones(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// What is accessed with `mask` in the instruction's mask register. `None` for an instruction without one.
pub fn chosen(insn: &Instruction, mask: u64) -> Option<Chosen> {
    let size = insn.memory_size().size();
    if insn.op_mask() == Register::None || !(1..=64).contains(&size) {
        return None;
    }
    let element = element(insn).min(size);
    let whole = ones(size);
    let bytes = match how(insn) {
        How::Each => each(mask, element, size),
        How::Packed => ones((mask & ones(size / element)).count_ones() as usize * element),
        How::Repeated(elements) => repeated(mask & ones(elements), element, size),
        How::Whole if insn.op0_kind() == OpKind::Memory => each(mask, element, size),
        How::Whole => whole,
    };
    let (checked, aligned) = if how(insn) == How::Whole { (whole, size) } else { (bytes, element) };
    Some(Chosen { bytes, element, checked, aligned })
}

fn each(mask: u64, element: usize, size: usize) -> u64 {
    let chosen = (0..size / element).filter(|n| mask >> n & 1 != 0);
    chosen.fold(0, |bytes, n| bytes | ones(element) << (n * element))
}

/// As [`each`], of an operand that is used once for every so many bits.
fn repeated(mask: u64, element: usize, size: usize) -> u64 {
    let count = (size / element).max(1);
    each((0..64).step_by(count).fold(0, |once, n| once | mask >> n) & ones(count), element, size)
}

/// How mask and memory go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// A bit an element.
    Each,
    /// As many elements as bits are set (compress and expand).
    Packed,
    /// So many bits, in turns around the elements that memory has (broadcasts).
    Repeated(usize),
    /// All of it whatever is set, as far as it is read.
    Whole,
}

fn how(insn: &Instruction) -> How {
    use Mnemonic::*;
    let mnemonic = insn.mnemonic();
    match mnemonic {
        _ if !suppresses(insn) => How::Whole,
        _ if insn.is_broadcast() => {
            let mut packed = *insn;
            packed.set_is_broadcast(false);
            How::Repeated(packed.memory_size().size() / element(insn).max(1))
        }
        Vcompressps | Vcompresspd | Vpcompressb | Vpcompressw | Vpcompressd | Vpcompressq => How::Packed,
        Vexpandps | Vexpandpd | Vpexpandb | Vpexpandw | Vpexpandd | Vpexpandq => How::Packed,
        Vbroadcastss | Vbroadcastsd | Vpbroadcastb | Vpbroadcastw | Vpbroadcastd | Vpbroadcastq => {
            to_all(insn)
        }
        Vbroadcastf32x2 | Vbroadcastf32x4 | Vbroadcastf32x8 | Vbroadcastf64x2 | Vbroadcastf64x4 => {
            to_all(insn)
        }
        Vbroadcasti32x2 | Vbroadcasti32x4 | Vbroadcasti32x8 | Vbroadcasti64x2 | Vbroadcasti64x4 => {
            to_all(insn)
        }
        _ => How::Each,
    }
}

fn to_all(insn: &Instruction) -> How {
    How::Repeated(insn.op0_register().size() / element(insn).max(1))
}

/// Bytes of memory that a bit of the mask stands for.
fn element(insn: &Instruction) -> usize {
    use Mnemonic::*;
    match insn.mnemonic() {
        Vpdpbusd | Vpdpbusds | Vpdpwssd | Vpdpwssds | Vdpbf16ps => 4,
        Vfmaddcph | Vfcmaddcph | Vfmulcph | Vfcmulcph | Vfmaddcsh | Vfcmaddcsh | Vfmulcsh | Vfcmulcsh => 4,
        Vpmuldq | Vpmuludq => 8,
        _ => insn.memory_size().element_size().max(1),
    }
}

/// Whether faults of what is masked off are suppressed: not by instructions that put the elements of their operand elsewhere
/// (SDM vol. 2, table 2-64: exception types with NF; each looked up on silicon).
fn suppresses(insn: &Instruction) -> bool {
    use Mnemonic::*;
    let mnemonic = insn.mnemonic();
    let by_count = insn.op_count() > 2 && insn.op2_kind() == OpKind::Memory;
    let permutes =
        matches!(
            mnemonic,
            Valignd
                | Valignq
                | Vpalignr
                | Vpermb
                | Vpermw
                | Vpermd
                | Vpermq
                | Vpermps
                | Vpermpd
                | Vpermilps
                | Vpermilpd
        ) || matches!(
            mnemonic,
            Vpermi2b
                | Vpermi2w
                | Vpermi2d
                | Vpermi2q
                | Vpermi2ps
                | Vpermi2pd
                | Vpermt2b
                | Vpermt2w
                | Vpermt2d
                | Vpermt2q
        ) || matches!(mnemonic, Vpermt2ps | Vpermt2pd | Vshuff32x4 | Vshuff64x2 | Vshufi32x4 | Vshufi64x2);
    let shuffles = matches!(
        mnemonic,
        Vshufps | Vshufpd | Vpshufb | Vpshufd | Vpshufhw | Vpshuflw | Vmovddup | Vmovshdup | Vmovsldup
    );
    let mixes = matches!(
        mnemonic,
        Vpunpckhbw
            | Vpunpckhwd
            | Vpunpckhdq
            | Vpunpckhqdq
            | Vpunpcklbw
            | Vpunpcklwd
            | Vpunpckldq
            | Vpunpcklqdq
    ) || matches!(
        mnemonic,
        Vunpckhps | Vunpckhpd | Vunpcklps | Vunpcklpd | Vpackssdw | Vpacksswb | Vpackusdw | Vpackuswb
    );
    let sums = matches!(
        mnemonic,
        Vpmaddwd | Vpmaddubsw | Vdbpsadbw | Vpconflictd | Vpconflictq | Vpmultishiftqb | Vcvtne2ps2bf16
    ) || matches!(mnemonic, Vgf2p8affineqb | Vgf2p8affineinvqb);
    let shifts =
        matches!(mnemonic, Vpsllw | Vpslld | Vpsllq | Vpsraw | Vpsrad | Vpsraq | Vpsrlw | Vpsrld | Vpsrlq);
    let parts = matches!(
        mnemonic,
        Vinsertf32x4
            | Vinsertf32x8
            | Vinsertf64x2
            | Vinsertf64x4
            | Vinserti32x4
            | Vinserti32x8
            | Vinserti64x2
    ) || matches!(
        mnemonic,
        Vinserti64x4 | Vextractf32x4 | Vextractf32x8 | Vextractf64x2 | Vextractf64x4 | Vextracti32x4
    ) || matches!(mnemonic, Vextracti32x8 | Vextracti64x2 | Vextracti64x4);
    debug_assert!(insn.code().encoding() == EncodingKind::EVEX);
    !(permutes || shuffles || mixes || sums || parts || shifts && by_count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    fn of(bytes: &[u8], mask: u64) -> Option<Chosen> {
        chosen(&Decoder::new(64, bytes, DecoderOptions::AMD).decode(), mask)
    }

    const LOAD: &[u8] = &[0x62, 0xf1, 0x7c, 0x49, 0x10, 0x00]; // VMOVUPS ZMM0 {K1}, [RAX]
    const ADD_ONE: &[u8] = &[0x62, 0xf1, 0x74, 0x59, 0x58, 0x00]; // VADDPS ZMM0 {K1}, ZMM1, [RAX]{1to16}
    const COMPRESS: &[u8] = &[0x62, 0xf2, 0x7d, 0x49, 0x8a, 0x00]; // VCOMPRESSPS [RAX] {K1}, ZMM0
    const PERMUTE: &[u8] = &[0x62, 0xf2, 0x75, 0x49, 0x36, 0x00]; // VPERMD ZMM0 {K1}, ZMM1, [RAX]
    const EXTRACT: &[u8] = &[0x62, 0xf3, 0x7d, 0x49, 0x19, 0x00, 0x01]; // VEXTRACTF32X4 [RAX] {K1}, ZMM0, 1

    #[test]
    fn each_bit_is_an_element() {
        assert_eq!(of(LOAD, 0x8001_0006).and_then(|c| c.hull()), Some(4..12));
    }

    /// As silicon has it, though its bits come from elsewhere in each quadword: VPSHUFBITQMB K2 {K1}, ZMM1, [RAX].
    #[test]
    fn bits_that_are_shuffled_into_a_mask_are_read_by_the_byte() {
        let shuffle = of(&[0x62, 0xf2, 0x75, 0x49, 0x8f, 0x10], 0x30);
        assert_eq!(shuffle, Some(Chosen { bytes: 0x30, element: 1, checked: 0x30, aligned: 1 }));
    }

    #[test]
    fn a_mask_without_bits_accesses_nothing() {
        assert_eq!(
            [LOAD, ADD_ONE, COMPRESS].map(|i| of(i, 0xffff_0000).and_then(|c| c.hull())),
            [const { None }; 3]
        );
    }

    #[test]
    fn an_element_for_all_is_accessed_if_one_wants_it() {
        assert_eq!(of(ADD_ONE, 0x8000).and_then(|c| c.hull()), Some(0..4));
    }

    #[test]
    fn of_a_block_for_all_the_wanted_elements_are_accessed() {
        // VBROADCASTF32X4 ZMM0 {K1}, [RAX], bits 1 of the second turn and 2 of the fourth.
        let block = of(&[0x62, 0xf2, 0x7d, 0x49, 0x1a, 0x00], 1 << 5 | 1 << 14);
        assert_eq!(block, Some(Chosen { bytes: 0xff0, element: 4, checked: 0xff0, aligned: 4 }));
    }

    #[test]
    fn compressed_elements_lie_together() {
        assert_eq!(of(COMPRESS, 0x8421).and_then(|c| c.hull()), Some(0..16));
    }

    #[test]
    fn permutations_access_all_of_it() {
        assert_eq!(of(PERMUTE, 0).and_then(|c| c.hull()), Some(0..64));
    }

    #[test]
    fn a_part_is_checked_whole_and_written_by_mask() {
        assert_eq!(
            of(EXTRACT, 0b0101),
            Some(Chosen { bytes: 0x0f0f, element: 4, checked: 0xffff, aligned: 16 })
        );
    }

    #[test]
    fn an_unmasked_instruction_accesses_all() {
        assert_eq!(of(&[0x62, 0xf1, 0x7c, 0x48, 0x10, 0x00], 0), None);
    }

    #[test]
    fn elements_are_cut_at_the_end_of_a_page() {
        let chosen = Chosen { bytes: 0xff0, element: 4, checked: 0xff0, aligned: 4 };
        assert_eq!(chosen.pieces(16, 6).collect::<Vec<_>>(), [4..6, 6..8, 8..12]);
    }
}
