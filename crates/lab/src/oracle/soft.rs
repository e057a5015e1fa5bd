//! The software CPU as the oracle runs it: the arena mapped at the same linear addresses, CPL 3.

use super::arena::{self, Kind, PAGE, PAGES};
use super::native::Job;
use super::state::{ArchitecturalState, End, Outcome, XSAVE};
use crate::board::{self, Board};
use anyhow::Result;
use ireko_vmcore::CpuState;
use ireko_x86::Segment;
use ireko_x86::bits::rflags;
use ireko_x86::regs::seg;

/// Physical address of the arena's first page.
const ARENA: u64 = 0x10_0000;

pub struct Soft {
    board: Board,
    /// Steps with the trap flag.
    step: bool,
    pub name: &'static str,
}

impl Soft {
    pub fn new(name: &'static str, options: &[&str], step: bool) -> Result<Self> {
        let mut board = Board::new(options)?;
        for (n, &(linear, kind)) in PAGES.iter().enumerate() {
            let physical = if kind == Kind::Device { board::DEVICE } else { physical(n) };
            let write = if kind == Kind::ReadOnly { 0 } else { board::WRITE };
            board.map(linear, physical, board::PRESENT | board::USER | write);
        }
        Ok(Self { board, step, name })
    }

    /// One on which #DB ends a run, and whose runs may take so many milliseconds.
    pub fn catching_debug(name: &'static str, options: &[&str], budget: u64) -> Result<Self> {
        let mut soft = Self::new(name, options, false)?;
        soft.board.catch_debug();
        soft.board.budget = budget;
        Ok(soft)
    }

    pub fn steps(&self) -> bool {
        self.step
    }

    /// Runs one string; `Err` is the engine's own failure, in its words.
    pub fn run(
        &mut self,
        start: &ArchitecturalState,
        bits: u32,
        memory: &[u8],
    ) -> Result<Result<Outcome, String>> {
        self.load(memory);
        self.go(start, bits)
    }

    /// Runs one string that is not in `image` yet.
    pub fn run_job(&mut self, job: &Job, image: &[u8]) -> Result<Result<Outcome, String>> {
        self.load(image);
        // In two pages at most.
        let (first, second) = job.patch.split_at(job.patch.len().min(PAGE - job.patch_at % PAGE));
        for (at, bytes) in [(job.patch_at, first), (job.patch_at + first.len(), second)] {
            if !bytes.is_empty() {
                self.board.write(physical(at / PAGE) + (at % PAGE) as u64, bytes);
            }
        }
        self.go(&job.start, job.bits)
    }

    fn go(&mut self, start: &ArchitecturalState, bits: u32) -> Result<Result<Outcome, String>> {
        let mut regs = self.board.registers(3);
        regs.gpr = start.gpr;
        regs.rip = start.rip;
        regs.rflags = start.rflags | if self.step { rflags::TF } else { 0 };
        regs.seg[seg::FS].base = start.fs;
        regs.seg[seg::GS].base = start.gs;
        if bits == 32 {
            regs.seg[seg::CS].attr = 0xcfb;
            regs.seg[seg::CS].selector = 0x23;
            // Natively both hold the null selector, which only 64-bit code may use.
            regs.seg[seg::FS] = Segment::default();
            regs.seg[seg::GS] = Segment::default();
        }
        let mut xsave = vec![0; 4096];
        xsave[..XSAVE].copy_from_slice(&start.xsave);
        let (halt, caught, after) = self.board.run(&CpuState { regs, xsave })?;
        let Some(caught) = caught else { return Ok(Err(format!("{halt:?}"))) };
        let mut state =
            ArchitecturalState { rip: caught.rip, rflags: caught.rflags & !rflags::TF, ..start.clone() };
        state.gpr = after.regs.gpr;
        state.gpr[4] = caught.rsp;
        state.xsave.copy_from_slice(&after.xsave[..XSAVE]);
        state.normalise();
        let end = End { vector: caught.vector, error: caught.error, cr2: after.regs.cr2 };
        Ok(Ok(Outcome { end, state, memory: self.image() }))
    }

    fn load(&mut self, memory: &[u8]) {
        for (n, page) in memory.chunks(PAGE).enumerate() {
            match PAGES[n].1 {
                Kind::Device => self.board.bus.device().copy_from_slice(page),
                _ => self.board.write(physical(n), page),
            }
        }
    }

    fn image(&self) -> Vec<u8> {
        let mut image = vec![0; arena::SIZE];
        for (n, page) in image.chunks_mut(PAGE).enumerate() {
            match PAGES[n].1 {
                Kind::Device => page.copy_from_slice(&self.board.bus.device()),
                _ => self.board.read(physical(n), page),
            }
        }
        image
    }
}

fn physical(page: usize) -> u64 {
    ARENA + (page * PAGE) as u64
}
