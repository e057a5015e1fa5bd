//! What a guest's processor lacks of what its engine could do. Its instructions are undefined, or others (APM vol. 3, "LZCNT": where
//! it is not supported, the prefix means nothing and the opcode is BSR).

use iced_x86::{CpuidFeature, DecoderOptions, Instruction};

/// Sets of instructions, and how those that are left decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// One bit a [`CpuidFeature`].
    sets: [u64; 4],
    options: u32,
}

impl Lacking {
    pub fn add(&mut self, set: CpuidFeature) {
        self.sets[set as usize >> 6] |= 1 << (set as usize & 63);
        self.options |= match set {
            CpuidFeature::LZCNT => DecoderOptions::NO_MPFX_0FBD,
            CpuidFeature::BMI1 => DecoderOptions::NO_MPFX_0FBC,
            CpuidFeature::WBNOINVD => DecoderOptions::NO_WBNOINVD,
            _ => 0,
        };
    }

    /// LAHF and SAHF in 64-bit mode, which have a CPUID bit and no set.
    pub fn add_flags_to_ah(&mut self) {
        self.options |= DecoderOptions::NO_LAHF_SAHF_64;
    }

    /// To be added to the decoder's options.
    pub fn options(&self) -> u32 {
        self.options
    }

    /// Whether an instruction belongs to something that is lacking.
    pub fn covers(&self, insn: &Instruction) -> bool {
        let lacks = |set: CpuidFeature| self.sets[set as usize >> 6] >> (set as usize & 63) & 1 != 0;
        insn.cpuid_features().iter().any(|&set| lacks(set))
    }
}
