//! The oracle of byte strings: what a program may put into memory and jump to ends as on silicon, whether it is an
//! instruction or not.
//!
//! The oracle of the table makes instructions that mean something; this one makes bytes, and so asks the decoder, too: maps,
//! prefixes, page ends, breakpoints, the trap flag. Strings run in batches in the native child; each runs on the fast path,
//! some on the plain and the stepped one.

pub mod generate;
mod known;
mod skipped;

use super::arena;
use super::case::Case;
use super::compare;
use super::generate::Generator;
use super::native::{ENDLESS, Job, Native, SYSTEM_CALL};
use super::soft::Soft;
use super::state::Outcome;
use super::{Mismatch, nops, way_flags};
use anyhow::Result;
use generate::{SHARED_IMAGE, Sample};
use iced_x86::{FlowControl, Instruction, Mnemonic};
use std::collections::BTreeMap;

/// Milliseconds that a string may take on the software CPU. On silicon it ended.
const BUDGET: u64 = 2_000;

/// What became of the strings.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub strings: u64,
    /// Run on silicon and on the software CPU, and compared.
    pub executions: u64,
    pub faults: u64,
    /// Not run: what they do is the machine's own affair.
    pub skipped: u64,
    /// Run, but not judged: system calls, endless loops, overwritten strings, lost children.
    pub strayed: u64,
    /// Explained differences, by reason.
    pub known: BTreeMap<&'static str, u64>,
    /// Differences that did not come again in a new child.
    pub fleeting: u64,
    pub mismatches: u64,
}

pub struct Strings {
    native: Native,
    soft: [Soft; 3],
    generator: Generator,
    pub tally: Tally,
}

const FAST: usize = 0;
const PLAIN: usize = 1;
const STEP: usize = 2;

impl Strings {
    pub fn new() -> Result<Self> {
        let soft = [
            Soft::catching_debug("fast", &[], BUDGET)?,
            Soft::catching_debug("plain", &["plain=on"], BUDGET)?,
            Soft::new("step", &[], true)?,
        ];
        Ok(Self { native: Native::new()?, soft, generator: Generator::default(), tally: Tally::default() })
    }

    /// Runs the strings of these numbers until `found` says that it is enough.
    pub fn run(
        &mut self,
        numbers: std::ops::Range<u64>,
        mut found: impl FnMut(&Mismatch) -> bool,
    ) -> Result<()> {
        let mut next = numbers.start;
        while next < numbers.end {
            let end = (next / SHARED_IMAGE + 1).saturating_mul(SHARED_IMAGE).min(numbers.end);
            for mismatch in self.batch(next..end)? {
                if !found(&mismatch) {
                    return Ok(());
                }
            }
            next = end;
        }
        Ok(())
    }

    /// Strings that share an image.
    fn batch(&mut self, numbers: std::ops::Range<u64>) -> Result<Vec<Mismatch>> {
        let image = generate::image(numbers.start);
        let mut samples: Vec<Sample> =
            numbers.map(|number| generate::sample(&mut self.generator, number)).collect();
        self.tally.strings += samples.len() as u64;
        samples.retain(|s| !s.instructions().iter().any(skipped::skipped));
        self.tally.skipped =
            self.tally.strings - self.tally.executions - self.tally.strayed - samples.len() as u64;
        let jobs: Vec<Job> = samples.iter().map(Sample::job).collect();
        let outcomes = self.native.run_batch(&image, &jobs)?;
        let mut mismatches = Vec::new();
        for (sample, outcome) in samples.iter().zip(outcomes) {
            match outcome.filter(|o| judged(sample, o)) {
                Some(native) => mismatches.extend(self.judge(sample, &image, &native)?),
                None => self.tally.strayed += 1,
            }
        }
        Ok(mismatches)
    }

    fn judge(&mut self, sample: &Sample, image: &[u8], native: &Outcome) -> Result<Option<Mismatch>> {
        self.tally.executions += 1;
        self.tally.faults += u64::from(native.end.vector != 3);
        let case = sample.case(native.state.rip);
        for way in ways(sample, &case) {
            if way == STEP && native.end.vector == 1 {
                continue;
            }
            let Some(first) = self.compare(sample, &case, (image, native), way)? else { continue };
            if self.stray(native, first.soft.as_ref()) {
                return Ok(None);
            }
            if let Some(reason) = known::reason(&first) {
                *self.tally.known.entry(reason).or_default() += 1;
                return Ok(None);
            }
            // A string may have changed the child itself: only what a new one answers, too, counts.
            self.native.renew();
            if self.again(sample, &case, image, way)?.is_none() {
                self.tally.fleeting += 1;
                return Ok(None);
            }
            self.tally.mismatches += 1;
            return Ok(Some(self.minimise(sample.clone(), image, first, way)?));
        }
        Ok(None)
    }

    fn compare(
        &mut self,
        sample: &Sample,
        case: &Case,
        (image, native): (&[u8], &Outcome),
        way: usize,
    ) -> Result<Option<Mismatch>> {
        let soft = &mut self.soft[way];
        let name = soft.name;
        let (differences, outcome) = match soft.run_job(&sample.job(), image)? {
            Ok(outcome) => (differences(case, native, &outcome, way), Some(outcome)),
            Err(halt) if halt.contains("where there is no memory") => return Ok(None),
            Err(halt) => (vec![format!("the engine stopped: {halt}")], None),
        };
        if differences.is_empty() {
            return Ok(None);
        }
        let (case, native) = (case.clone(), native.clone());
        Ok(Some(Mismatch { case, way: name, differences, native, soft: outcome }))
    }

    /// One side went where only the other has something.
    fn stray(&mut self, native: &Outcome, soft: Option<&Outcome>) -> bool {
        let mut elsewhere = |at: u64| arena::offset(at).is_none() && self.native.has_mapped(at);
        soft.is_some_and(|s| s.end.vector == 14 && s.end != native.end && elsewhere(s.end.cr2))
    }

    fn again(&mut self, sample: &Sample, case: &Case, image: &[u8], way: usize) -> Result<Option<Mismatch>> {
        let native = self.native.run_batch(image, &[sample.job()])?.pop().flatten();
        match native.filter(|o| judged(sample, o)) {
            Some(native) => self.compare(sample, case, (image, &native), way),
            None => Ok(None),
        }
    }

    /// NOPs in place of instructions for as long as the mismatch stays.
    fn minimise(
        &mut self,
        mut sample: Sample,
        image: &[u8],
        mut last: Mismatch,
        way: usize,
    ) -> Result<Mismatch> {
        for n in 0..last.case.pieces.len() {
            let Some(nop) = nops(&last.case.pieces[n]).filter(|_| !last.case.pieces[n].prelude) else {
                continue;
            };
            let mut less = sample.clone();
            let at: usize = last.case.pieces[..n].iter().map(|p| p.bytes.len()).sum();
            for (to, from) in less.bytes.iter_mut().skip(at).zip(&nop.bytes) {
                *to = *from;
            }
            let case = less.case(last.native.state.rip);
            if case.pieces.len() == last.case.pieces.len()
                && let Some(mismatch) = self.again(&less, &case, image, way)?
                && known::reason(&mismatch).is_none()
            {
                (sample, last) = (less, mismatch);
            }
        }
        Ok(last)
    }
}

/// Differences that count. At a fault off the string's own instructions, which flags the fast path must have is not known.
fn differences(case: &Case, native: &Outcome, soft: &Outcome, way: usize) -> Vec<String> {
    let name = ["fast", "plain", "step"][way];
    let mut found = compare::differences(case, native, soft, way_flags(name));
    let known = matches!(native.end.vector, 1 | 3)
        || case.pieces.iter().any(|p| !p.prelude && p.insn.ip() == native.state.rip);
    if way != PLAIN && !known {
        found.retain(|d| !d.starts_with("rflags"));
    }
    // What VZEROALL and VZEROUPPER do to registers 8 to 15 there, only 64-bit code can see.
    let zeroes = |i: &Instruction| matches!(i.mnemonic(), Mnemonic::Vzeroall | Mnemonic::Vzeroupper);
    if case.bits == 32 && case.pieces.iter().any(|p| zeroes(&p.insn)) {
        found.retain(|d| (8..16).all(|n| !d.starts_with(&format!("ymm{n} "))));
    }
    // Whether Linux has put a page of the arena into the child's tables yet is its own affair.
    if native.end.cr2 == soft.end.cr2
        && arena::offset(native.end.cr2).is_some()
        && native.end.error ^ soft.end.error == 1
    {
        found.retain(|d| !d.starts_with("error code"));
    }
    found
}

/// Which ways of running a string takes: every one the fast path, some another, too.
fn ways(sample: &Sample, case: &Case) -> Vec<usize> {
    let traps = sample.start.rflags & 0x100 != 0 || case.pieces.iter().any(|p| shows_traps(&p.insn));
    match sample.number % 4 {
        1 => vec![FAST, PLAIN],
        3 if !traps => vec![FAST, STEP],
        _ => vec![FAST],
    }
}

/// Reads or sets the trap flag, traps by itself, or leads to bytes that may: not for a run that steps.
fn shows_traps(insn: &Instruction) -> bool {
    use Mnemonic::*;
    let flow = insn.flow_control() != FlowControl::Next;
    flow && insn.flow_control() != FlowControl::Exception
        || matches!(
            insn.mnemonic(),
            Int1 | Pushf | Pushfd | Pushfq | Popf | Popfd | Popfq | Iret | Iretd | Iretq
        )
}

/// The string ended by an exception, and is still there.
fn judged(sample: &Sample, native: &Outcome) -> bool {
    let job = sample.job();
    let there = &native.memory[job.patch_at..job.patch_at + job.patch.len()];
    !matches!(native.end.vector, SYSTEM_CALL | ENDLESS) && there == job.patch
}

/// What the instructions of a mismatch are called that remain after minimising, and what differs first.
pub fn signature(mismatch: &Mismatch) -> String {
    let names: Vec<String> = mismatch
        .case
        .pieces
        .iter()
        .filter(|p| !p.prelude && p.insn.mnemonic() != Mnemonic::Nop)
        .map(|p| format!("{:?}", p.insn.code()))
        .collect();
    let first = mismatch.differences.first().map_or("", |d| d.split(':').next().unwrap_or(""));
    let first = if first.starts_with('[') { "memory" } else { first };
    let ends = match &mismatch.soft {
        Some(soft) => format!("{} {}", mismatch.native.end.vector, soft.end.vector),
        None => "the engine stopped".into(),
    };
    format!("{}: {first} ({ends})", names.join(" "))
}
