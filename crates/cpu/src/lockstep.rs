//! The lockstep mode: each block runs twice from the same state, instruction by instruction on the plain path and then
//! as translated for speed; the first difference in registers, flags, x87/SSE/AVX state or written memory ends the run.
//!
//! The plain run is always a valid run. If it did something that cannot be taken back or done twice (a device register, a
//! system instruction, a write to translated code), it is kept and nothing is compared. Otherwise its writes are
//! taken back from a journal, and the fast path runs. Nothing is linked in this mode, so that a block is all that runs.

// UNSAFETY: runs translated code.
#![allow(unsafe_code)]

use crate::cpu::Privilege;
use crate::inspect::lockstep::Lockstep;
use crate::inspect::registers::describe_registers;
use crate::processor::x87::Pointers;
use crate::{Cpu, Fault};
use iced_x86::{Decoder, FlowControl, Instruction, Mnemonic};
use ireko_nested::Shadow;
use ireko_translate::thunk::Reason;
use ireko_translate::{Key, liveness};
use ireko_x86::Registers;
use std::fmt::Write;

/// Attempts before a difference is believed: a device that writes memory between the two runs makes one, too.
const ATTEMPTS: u32 = 3;
/// Every so many comparisons the fast path begins with an empty TLB, so that its misses are compared as well.
const EMPTY_TLB: u64 = 16;
/// Bytes of the XSAVE area: legacy, header, AVX, and what AVX-512 adds, wherever the host has that.
const XSAVE: usize = 3072;

/// RFLAGS bit of each bit that liveness counts.
const FLAGS: [(u8, u64); 6] =
    [(1, 1 << 11), (2, 1 << 7), (4, 1 << 6), (8, 1 << 4), (0x10, 1), (0x20, 1 << 2)];
const ARITHMETIC: u64 = 0x8d5;

/// Everything that a block may change, apart from memory.
#[derive(Clone)]
struct Snapshot {
    regs: Registers,
    fpu: [u8; XSAVE],
    x87: (Pointers, bool),
    shadow: Shadow,
}

/// How a run ended, and in what state.
struct Ran {
    end: Result<(), Fault>,
    state: Snapshot,
    memory: Vec<Vec<u8>>,
}

/// Behind it the fast path needs no look around after STI, which is in place then.
fn is_plain(insn: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(insn.mnemonic(), Nop | Add | Sub | And | Or | Xor | Cmp | Test | Inc | Dec | Lea)
}

impl Cpu {
    fn lockstep(&mut self) -> Option<&mut Lockstep> {
        self.instruments.inspect.as_deref_mut()?.lockstep.as_mut()
    }

    /// As `run_blocks`, one block after the other, some of them compared.
    pub(crate) fn run_in_lockstep(&mut self) -> Result<(), Fault> {
        loop {
            let block = self.block(self.key())?;
            if !self.lockstep().is_some_and(Lockstep::due) {
                self.go_through(block)?;
            } else {
                match self.comparable(self.code.block_length(block)) {
                    Some(instructions) => self.compare(&instructions)?,
                    None => self.go_through(block)?,
                }
            }
            // Only now: something may wait for as long as interrupts are off.
            if self.must_look() {
                return Ok(());
            }
        }
    }

    /// The instructions of the block at RIP, if none of them is known to change from run to run.
    fn comparable(&mut self, length: usize) -> Option<Vec<Instruction>> {
        if !self.processor.regs.code64() {
            return None;
        }
        let mut bytes = vec![0; length];
        self.read_linear(self.processor.regs.rip, &mut bytes, Privilege::Current).ok()?;
        let mut decoder =
            Decoder::with_ip(64, &bytes, self.processor.regs.rip, ireko_translate::block::DECODER_OPTIONS);
        let instructions: Vec<_> = decoder.iter().collect();
        let twice = |insn: &Instruction| {
            use Mnemonic::*;
            let time = matches!(insn.mnemonic(), Rdtsc | Rdtscp | Rdpmc | Rdrand | Rdseed);
            // A taken branch to the next instruction looks like one that is not taken.
            let nowhere = insn.near_branch_target() == insn.next_ip();
            !time && !nowhere && !insn.is_invalid() && !insn.is_string_instruction()
        };
        // A block that ends for its length ends elsewhere when the block without shared checks begins in its middle.
        let last = instructions.last()?;
        let ends = last.flow_control() != FlowControl::Next
            || matches!(last.mnemonic(), Mnemonic::Stac | Mnemonic::Clac);
        let natural = ends || (last.next_ip() ^ self.processor.regs.rip) >> 12 != 0;
        let in_place =
            instructions.windows(2).all(|pair| pair[0].mnemonic() != Mnemonic::Sti || is_plain(&pair[1]));
        let goes_on = last.mnemonic() != Mnemonic::Sti && in_place;
        (natural && goes_on && instructions.iter().all(twice)).then_some(instructions)
    }

    /// One block of the fast path, to its end.
    fn one_block(&mut self) -> Result<(), Fault> {
        let block = self.block(self.key())?;
        self.go_through(block)
    }

    fn go_through(&mut self, mut block: u32) -> Result<(), Fault> {
        loop {
            let hot = self.arm();
            self.code.synchronize();
            // SAFETY: as in `run_blocks`: the bank is armed and the block is for the current key.
            let reason = unsafe { self.enter(hot, self.code.entry(block)) };
            // SAFETY: code has left; the bank is ours again.
            let (rip, site) = unsafe { ((*hot).rip, (*hot).site) };
            let rip = self.goes_on_at(reason, rip, site);
            match reason {
                Reason::Routine => return self.handoff.outcome.take().map_or(Ok(()), Err),
                Reason::Signal => return Err(self.signalled(rip, site)),
                Reason::Ungrouped => {
                    self.processor.regs.rip = rip;
                    block = self.block(Key(self.key().0 | Key::UNGROUPED))?;
                }
                _ => {
                    self.processor.regs.rip = rip;
                    return Ok(());
                }
            }
        }
    }

    /// The same instructions one by one, each access by routine, up to a taken branch or the end.
    fn one_by_one(&mut self, instructions: &[Instruction]) -> Result<(), Fault> {
        for insn in instructions {
            let shadow = self.processor.shadow;
            self.run_alone(Key::PLAIN)?;
            if shadow.is_on() {
                self.processor.shadow = Shadow::None;
            }
            if self.processor.regs.rip != insn.next_ip() || self.lockstep().is_none_or(|l| l.spoiled) {
                break;
            }
        }
        Ok(())
    }

    fn compare(&mut self, instructions: &[Instruction]) -> Result<(), Fault> {
        let mut difference = String::new();
        for attempt in 0..ATTEMPTS {
            let before = self.now();
            let plain = self.run_plain(instructions);
            let Some(lockstep) = self.lockstep() else { return plain.end };
            if lockstep.spoiled {
                lockstep.kept += 1;
                return plain.end;
            }
            lockstep.compared += 1;
            let empty = lockstep.compared.is_multiple_of(EMPTY_TLB);
            let wrong = lockstep.options.wrong_from.is_some_and(|from| lockstep.compared > from);
            lockstep.take_back();
            self.put_back(&before);
            if empty {
                self.mmu.banks.current().flush(false);
            }
            let end = self.one_block();
            self.processor.regs.gpr[3] ^= u64::from(wrong);
            let state = self.now();
            let memory = self.lockstep().map(|l| l.contents()).unwrap_or_default();
            let fast = Ran { end, state, memory };
            let found = self.differences(instructions, &plain, &fast);
            if found.is_empty() {
                return fast.end;
            }
            difference = report(instructions, &before, &plain, &fast, &found);
            if attempt + 1 < ATTEMPTS {
                if let Some(lockstep) = self.lockstep() {
                    lockstep.take_back();
                }
                self.put_back(&before);
            }
        }
        Err(Fault::Engine(difference))
    }

    fn run_plain(&mut self, instructions: &[Instruction]) -> Ran {
        let invalidations = self.instruments.counters.invalidations;
        if let Some(lockstep) = self.lockstep() {
            lockstep.journal.clear();
            (lockstep.recording, lockstep.spoiled) = (true, false);
        }
        let end = self.one_by_one(instructions);
        let undone = self.instruments.counters.invalidations != invalidations;
        let mut memory = Vec::new();
        if let Some(lockstep) = self.lockstep() {
            lockstep.recording = false;
            lockstep.spoiled |= undone;
            memory = lockstep.contents();
        }
        Ran { end, state: self.now(), memory }
    }

    fn now(&mut self) -> Snapshot {
        self.fpu_normalise();
        let mut fpu = [0; XSAVE];
        fpu.copy_from_slice(&self.processor.fpu.0[..XSAVE]);
        let x87 = (self.processor.x87, self.processor.ignne);
        Snapshot { regs: self.processor.regs, fpu, x87, shadow: self.processor.shadow }
    }

    fn put_back(&mut self, state: &Snapshot) {
        self.processor.regs = state.regs;
        self.processor.shadow = state.shadow;
        self.processor.fpu.0[..XSAVE].copy_from_slice(&state.fpu);
        self.processor.ignne = state.x87.1;
        self.set_x87(state.x87.0);
        self.handoff.outcome = None;
        self.forget_pending();
    }

    /// What differs, in words; empty if nothing does.
    fn differences(&mut self, instructions: &[Instruction], plain: &Ran, fast: &Ran) -> Vec<String> {
        let mut found = Vec::new();
        if plain.end != fast.end {
            found.push(format!("end: plain {:?}, fast {:?}", plain.end, fast.end));
        }
        let (mut one, mut two) = (plain.state.regs, fast.state.regs);
        let flags = if plain.end.is_err() { 0 } else { self.flags_needed() & !undefined(instructions) };
        if (one.rflags ^ two.rflags) & (flags | !ARITHMETIC) != 0 {
            found.push(format!(
                "rflags: plain {:#x}, fast {:#x} (of which {flags:#x} matter)",
                one.rflags, two.rflags
            ));
        }
        (one.rflags, two.rflags) = (0, 0);
        if one != two {
            found.push("registers".to_owned());
        }
        if plain.state.shadow != fast.state.shadow {
            found.push(format!(
                "interrupt shadow: plain {:?}, fast {:?}",
                plain.state.shadow, fast.state.shadow
            ));
        }
        if plain.state.x87 != fast.state.x87 {
            found.push(format!(
                "x87 pointers and IGNNE#: plain {:?}, fast {:?}",
                plain.state.x87, fast.state.x87
            ));
        }
        for at in 0..XSAVE {
            let (one, two) = (plain.state.fpu[at], fast.state.fpu[at]);
            if one != two {
                found.push(format!("XSAVE area at {at:#x}: plain {one:#04x}, fast {two:#04x}"));
                break;
            }
        }
        let pairs = plain.memory.iter().zip(&fast.memory).enumerate();
        found.extend(
            pairs
                .filter(|(_, (one, two))| one != two)
                .map(|(n, (one, two))| format!("write {n} of the block: plain {one:02x?}, fast {two:02x?}")),
        );
        found
    }

    /// Arithmetic flags that code at RIP may read, as RFLAGS bits.
    fn flags_needed(&mut self) -> u64 {
        let rip = self.processor.regs.rip;
        // As many as the translator looks at.
        let mut bytes = [0; 160];
        let size = (4096 - (rip & 0xfff) as usize).min(bytes.len());
        if self.read_linear(rip, &mut bytes[..size], Privilege::Current).is_err() {
            return ARITHMETIC;
        }
        let (needed, _) = liveness::needed_at(&bytes[..size], 64, rip);
        FLAGS.iter().filter(|(bit, _)| needed & bit != 0).map(|(_, flag)| flag).sum()
    }
}

/// Arithmetic flags that the last instruction to change them leaves undefined, wherever the block was left: they may depend on
/// what they were before, and that only the plain path keeps.
fn undefined(instructions: &[Instruction]) -> u64 {
    let (mut now, mut anywhere) = (0, 0);
    for insn in instructions {
        now = now & !insn.rflags_modified() | insn.rflags_undefined();
        anywhere |= if insn.flow_control() == FlowControl::Next { 0 } else { now };
    }
    let bits = anywhere | now;
    FLAGS.iter().filter(|(bit, _)| bits & u32::from(*bit) != 0).map(|(_, flag)| flag).sum()
}

fn report(
    instructions: &[Instruction],
    before: &Snapshot,
    plain: &Ran,
    fast: &Ran,
    found: &[String],
) -> String {
    let mut out = String::from("lockstep: the fast path differs from the plain path\n");
    for insn in instructions {
        let _ = writeln!(out, "  {:#x}: {:?} {insn:?}", insn.ip(), insn.code());
    }
    for line in found {
        let _ = writeln!(out, "{line}");
    }
    for (name, state) in [("before", before), ("plain", &plain.state), ("fast", &fast.state)] {
        let _ = writeln!(out, "--- {name}:\n{}", describe_registers(&state.regs));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undefined_after(bytes: &[u8]) -> u64 {
        undefined(&Decoder::new(64, bytes, 0).into_iter().collect::<Vec<_>>())
    }

    /// IMUL leaves SF, ZF, AF and PF undefined (APM vol. 3, IMUL); what comes after it may define them, unless a jump comes before.
    #[test]
    fn undefined_flags_are_those_that_nobody_has_defined_since() {
        const OTHERS: u64 = 0x80 | 0x40 | 0x10 | 4;
        let (imul, add, js) = ([0x48, 0x0f, 0xaf, 0xc1], [0x01, 0xc0], [0x78, 0]);
        assert_eq!(undefined_after(&imul), OTHERS);
        assert_eq!(undefined_after(&[&imul[..], &add].concat()), 0);
        assert_eq!(undefined_after(&[&imul[..], &js, &add].concat()), OTHERS);
    }
}
