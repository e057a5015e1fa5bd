//! The silicon oracle: random strings of instructions run natively in a child process and on the software CPU, on the
//! fast path, the one-instruction path and stepped; all must end alike.

pub mod arena;
pub mod bytes;
pub mod case;
mod child;
pub mod compare;
pub mod forms;
pub mod generate;
mod known;
pub mod native;
mod operands;
mod quirks;
pub mod report;
pub mod soft;
pub mod state;

use anyhow::Result;
use case::{Case, Piece};
use compare::Flags;
use iced_x86::{Code, Mnemonic};
use native::Native;
use soft::Soft;
use state::Outcome;

/// The host's processor and the engine's ways of running code.
pub struct Oracle {
    native: Native,
    soft: Vec<Soft>,
    pub tally: Tally,
    /// Known differences are mismatches, too.
    pub strict: bool,
}

/// What became of the cases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub cases: usize,
    pub instructions: usize,
    /// Ended by another exception than the final INT3.
    pub faults: usize,
    /// Not judged: they took the child process down, or overwrote their own string.
    pub strayed: usize,
    /// Disagreements that `known` explains.
    pub known: usize,
    pub mismatches: usize,
}

/// One disagreement.
pub struct Mismatch {
    pub case: Case,
    /// Which way of running.
    pub way: &'static str,
    pub differences: Vec<String>,
    pub native: Outcome,
    pub soft: Option<Outcome>,
}

impl Oracle {
    pub fn new() -> Result<Self> {
        let soft = vec![
            Soft::new("fast", &[], false)?,
            Soft::new("plain", &["plain=on"], false)?,
            Soft::new("step", &[], true)?,
        ];
        Ok(Self { native: Native::new()?, soft, tally: Tally::default(), strict: false })
    }

    /// Runs one case in every way; the mismatches are minimised.
    pub fn judge(&mut self, case: &Case) -> Result<Vec<Mismatch>> {
        self.tally.cases += 1;
        self.tally.instructions += case.pieces.len();
        let mut mismatches = Vec::new();
        let Some(native) = self.native.run(&case.start, case.bits, &case.image())? else {
            self.tally.strayed += 1;
            return Ok(mismatches);
        };
        if case.overwritten(&native.memory) {
            self.tally.strayed += 1;
            return Ok(mismatches);
        }
        self.tally.faults += usize::from(native.end.vector != 3);
        for way in 0..self.soft.len() {
            if self.try_way(case, &native, way)?.is_some() {
                mismatches.extend(self.minimise(case.clone(), way)?);
            }
        }
        self.tally.mismatches += mismatches.len();
        Ok(mismatches)
    }

    /// The disagreement of one way with the outcome, if there is one.
    fn try_way(&mut self, case: &Case, native: &Outcome, way: usize) -> Result<Option<Mismatch>> {
        let soft = &mut self.soft[way];
        if soft.steps() && shows_trap_flag(case) {
            return Ok(None);
        }
        let name = soft.name;
        let result = soft.run(&case.start, case.bits, &case.image())?;
        let (differences, outcome) = match result {
            Ok(outcome) => (compare::differences(case, native, &outcome, way_flags(name)), Some(outcome)),
            Err(halt) => (vec![format!("the engine stopped: {halt}")], None),
        };
        if differences.is_empty() || outcome.as_ref().is_some_and(|soft| self.strayed(native, soft)) {
            return Ok(None);
        }
        if let (false, Some(soft)) = (self.strict, &outcome) {
            let seen = known::Seen { case, native, soft, differences: &differences };
            if known::reason(&seen).is_some() {
                self.tally.known += 1;
                return Ok(None);
            }
        }
        Ok(Some(Mismatch {
            case: case.clone(),
            way: name,
            differences,
            native: native.clone(),
            soft: outcome,
        }))
    }

    /// Whether the string found memory of the child's own (its heap, say) where the guest has none.
    fn strayed(&mut self, native: &Outcome, soft: &Outcome) -> bool {
        let at = soft.end.cr2;
        let alike = native.end.vector == 14 && native.end.cr2 >> 12 == at >> 12;
        soft.end.vector == 14 && !alike && arena::offset(at).is_none() && self.native.has_mapped(at)
    }

    fn again(&mut self, case: &Case, way: usize) -> Result<Option<Mismatch>> {
        match self.native.run(&case.start, case.bits, &case.image())? {
            Some(native) if !case.overwritten(&native.memory) => self.try_way(case, &native, way),
            _ => Ok(None),
        }
    }

    /// Replaces instructions by NOPs of the same length for as long as the mismatch stays.
    fn minimise(&mut self, mut case: Case, way: usize) -> Result<Option<Mismatch>> {
        for n in 0..case.pieces.len() {
            let mut less = case.clone();
            less.pieces.splice(n..=n, nops(&case.pieces[n]));
            if less.pieces.len() == case.pieces.len()
                && less.is_defined()
                && self.again(&less, way)?.is_some()
            {
                case = less;
            }
        }
        self.again(&case, way)
    }
}

/// How strictly a way of running keeps flags at a fault.
pub(crate) fn way_flags(name: &str) -> Flags {
    match name {
        "plain" => Flags::All,
        "step" => Flags::LiveStepped,
        _ => Flags::Live,
    }
}

/// The trap flag of a stepped run would be seen.
pub(crate) fn shows_trap_flag(case: &Case) -> bool {
    use Mnemonic::*;
    case.pieces.iter().any(|p| matches!(p.insn.mnemonic(), Pushf | Pushfq | Pushfd | Popfq))
}

/// One NOP as long as the piece (prefixes, then NOP).
pub(crate) fn nops(piece: &Piece) -> Option<Piece> {
    const MULTI: [&[u8]; 9] = [
        &[0x90],
        &[0x66, 0x90],
        &[0x0f, 0x1f, 0x00],
        &[0x0f, 0x1f, 0x40, 0],
        &[0x0f, 0x1f, 0x44, 0, 0],
        &[0x66, 0x0f, 0x1f, 0x44, 0, 0],
        &[0x0f, 0x1f, 0x80, 0, 0, 0, 0],
        &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
        &[0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
    ];
    let length = piece.bytes.len();
    let tail = MULTI[length.min(9) - 1];
    let mut bytes = vec![0x2e; length - tail.len()];
    bytes.extend_from_slice(tail);
    let mut insn = iced_x86::Decoder::with_ip(64, &bytes, piece.insn.ip(), 0).decode();
    insn.set_code(if insn.is_invalid() { Code::Nopd } else { insn.code() });
    Some(Piece { insn, bytes, prelude: true })
}

/// Runs `count` cases from `seed`, each form in turn first; every mismatch goes to `found`.
pub fn campaign(oracle: &mut Oracle, plan: &Plan, mut found: impl FnMut(&Mismatch) -> bool) -> Result<Tally> {
    let mut generator = generate::Generator::default();
    let forms: Vec<Code> = generator.forms(plan.bits).iter().copied().filter(|c| plan.wants(*c)).collect();
    anyhow::ensure!(
        !forms.is_empty(),
        "no form of that mnemonic is tried in {}-bit code; see oracle/forms.rs",
        plan.bits
    );
    for n in 0..plan.cases {
        let seed = plan.seed.wrapping_mul(0x1_0000_0001).wrapping_add(n as u64);
        let case = generator.case(seed, plan.bits, Some(forms[n % forms.len()]));
        for mismatch in oracle.judge(&case)? {
            if !found(&mismatch) {
                return Ok(oracle.tally);
            }
        }
    }
    Ok(oracle.tally)
}

/// Which cases to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub cases: usize,
    pub seed: u64,
    pub bits: u32,
    pub mnemonic: Option<String>,
    /// Of those, AVX-512's.
    pub avx512: bool,
}

impl Plan {
    fn wants(&self, code: Code) -> bool {
        let avx512 = |f: &iced_x86::CpuidFeature| format!("{f:?}").starts_with("AVX512");
        if self.avx512 && !code.cpuid_features().iter().any(avx512) {
            return false;
        }
        self.mnemonic.as_ref().is_none_or(|m| format!("{:?}", code.mnemonic()).eq_ignore_ascii_case(m))
    }
}
