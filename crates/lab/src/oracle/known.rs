//! Where the engine is known to differ from silicon, each with its reason. They are counted, not reported as mismatches;
//! a row goes when its cause goes.

use super::case::Case;
use super::state::Outcome;
use iced_x86::{CpuidFeature, Instruction, Mnemonic, OpKind, Register};
use ireko_cpu::cpuid::host::Host;
use ireko_cpu::isa::SETS;
use std::sync::LazyLock;

/// A run that disagrees, as the rows see it.
pub struct Seen<'a> {
    pub case: &'a Case,
    pub native: &'a Outcome,
    pub soft: &'a Outcome,
    pub differences: &'a [String],
}

type Row = (&'static str, fn(&Seen) -> bool);

const ROWS: [Row; 14] = [
    (
        "a fault in a repeated SCAS or CMPS leaves the last comparison's flags on AMD's, those from before it on Intel's",
        |s| {
            let compares = |i: &Instruction| i.is_string_instruction() && i.rflags_written() != 0;
            s.native.end.vector == 14
                && s.differences.iter().all(|d| d.starts_with("rflags"))
                && s.at_end(compares)
        },
    ),
    ("VZEROALL and VZEROUPPER of 32-bit code reach registers 8 to 15, which only 64-bit code can see", |s| {
        let wide =
            |d: &String| ["xmm", "ymm", "zmm"].iter().find_map(|p| number_after(d, p)).is_some_and(|n| n > 7);
        s.case.bits == 32
            && s.differences.iter().all(wide)
            && s.has(|i| matches!(i.mnemonic(), Mnemonic::Vzeroall | Mnemonic::Vzeroupper))
    }),
    ("a pending #MF comes after the memory operand's fault", |s| s.vectors(16, &[12, 13, 14, 17])),
    ("the #XM of a conversion on its way to memory comes after the store's fault", |s| s.vectors(19, &[14])),
    (
        "the mask of a gather that faults is not yet normalised, and its destination's upper half not yet zeroed",
        |s| {
            s.native.end.vector != 3
                && s.at_end(|i| i.is_vsib())
                && s.differences.iter().all(|d| s.of_gather(d))
        },
    ),
    ("an x87 store that its own unmasked exception keeps from storing still writes or faults", |s| {
        let status = s.native.state.word(2) & 0x80 != 0;
        let effect = s.differences.iter().all(|d| d.starts_with('[') || d.starts_with('…'))
            || matches!(s.soft.end.vector, 12..=14);
        status && effect && s.has(x87_store)
    }),
    ("MOVS checks its destination's form before it reads its source", |s| {
        s.vectors(14, &[12, 13, 17]) && s.at_end(|i| i.is_string_instruction())
    }),
    (
        "an instruction that the host's processor lacks, and the engine does by a routine (AMD's, on Intel's)",
        |s| s.native.end.vector == 6 && s.at_end(|i| i.cpuid_features().iter().any(|&set| host_lacks(set))),
    ),
    ("Bochs 2.7 in the place of silicon refuses vector indices from register 16 on", |s| {
        let high = |i: &Instruction| i.is_vsib() && i.memory_index().number() >= 16;
        s.native.end.vector == 6 && s.at_end(high)
    }),
    (
        "Bochs 2.7 leaves the upper half of a gather's destination that is half as long as its indices (SDM vol. 2, VGATHERQPS: zeros)",
        |s| {
            let half = |i: &Instruction| {
                i.is_vsib()
                    && i.op_mask() != Register::None
                    && i.op0_register().size() < i.memory_index().size()
            };
            s.native.end.vector == 3 && s.has(half) && s.differences.iter().all(|d| d.starts_with("zmm"))
        },
    ),
    (
        "the alignment that SHA's instructions want on Intel's, and not on AMD's, is looked at after the page",
        |s| s.vectors(13, &[14]) && s.at_end(|i| i.cpuid_features().contains(&CpuidFeature::SHA)),
    ),
    ("an alignment check comes before its page's fault on some models, and after it here", |s| {
        s.vectors(17, &[12, 13, 14])
    }),
    (
        "how far vectors have to be aligned for an alignment check is the model's: here, as family 1Ah has it",
        |s| {
            let vector = |i: &Instruction| {
                i.is_vsib()
                    || (0..i.op_count())
                        .any(|n| i.op_register(n).is_vector_register() || i.op_register(n).is_mm())
            };
            !family_1a() && (s.native.end.vector == 17 || s.soft.end.vector == 17) && s.has(vector)
        },
    ),
    ("an ignored segment prefix chooses between #SS and #GP", |s| {
        s.vectors(13, &[12]) || s.vectors(12, &[13])
    }),
];

fn host_lacks(set: CpuidFeature) -> bool {
    SETS.iter().any(|(own, feature)| *own == set && !Host::native().has(*feature))
}

fn number_after(text: &str, prefix: &str) -> Option<u32> {
    let digits: String = text.strip_prefix(prefix)?.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn x87_store(insn: &Instruction) -> bool {
    use Mnemonic::{Fbstp, Fist, Fistp, Fisttp, Fst, Fstp};
    insn.op0_kind() == OpKind::Memory && matches!(insn.mnemonic(), Fst | Fstp | Fist | Fistp | Fisttp | Fbstp)
}

impl Seen<'_> {
    fn vectors(&self, native: u64, soft: &[u64]) -> bool {
        self.native.end.vector == native && soft.contains(&self.soft.end.vector)
    }
    fn has(&self, wanted: fn(&Instruction) -> bool) -> bool {
        self.case.pieces.iter().any(|p| wanted(&p.insn))
    }
    /// The difference is in a gather's mask or in the upper half of its destination.
    fn of_gather(&self, difference: &str) -> bool {
        let number = ["xmm", "ymm", "zmm"].iter().find_map(|prefix| number_after(difference, prefix));
        self.case.pieces.iter().filter(|p| p.insn.ip() == self.native.state.rip).any(|p| {
            let is = |register: iced_x86::Register| number == Some(register.number() as u32);
            is(p.insn.op2_register()) || !difference.starts_with("xmm") && is(p.insn.op0_register())
        })
    }
    /// The instruction that the native run ended at.
    fn at_end(&self, wanted: fn(&Instruction) -> bool) -> bool {
        self.case.pieces.iter().any(|p| p.insn.ip() == self.native.state.rip && wanted(&p.insn))
    }
}

/// Whether silicon here is Intel's: the processor that guests are shown is AMD's.
pub fn intel() -> bool {
    static INTEL: LazyLock<bool> =
        LazyLock::new(|| (Host::native().cpuid)(0, 0)[1] == u32::from_le_bytes(*b"Genu"));
    *INTEL
}

/// Whether the host's processor is one that the rules of alignment checks and of undefined opcodes were seen on.
pub fn family_1a() -> bool {
    static FAMILY_1A: LazyLock<bool> = LazyLock::new(|| {
        let version = ireko_cpu::host::cpuid(1, 0)[0];
        !intel() && (version >> 8 & 0xf) + (version >> 20 & 0xff) == 0x1a
    });
    *FAMILY_1A
}

/// The reason, if the disagreement is a known one.
pub fn reason(seen: &Seen) -> Option<&'static str> {
    ROWS.iter().find(|row| row.1(seen)).map(|row| row.0)
}
