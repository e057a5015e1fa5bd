//! Programs' code as it stands: when, for how long, and what each reason to leave it means.

// UNSAFETY: reads and writes the registers of a stub's program in memory that both have.
#![allow(unsafe_code)]

use crate::Cpu;
use crate::direct::space::Space;
use crate::direct::stub::{self, Backing, GENERAL, Trap};
use crate::direct::{Runs, Scanned, scan};
use crate::fault::Fault;
use crate::mmu::view::USER;
use crate::mmu::walk::{Kind, Page};
use crate::segmentation::descriptor;
use crate::xstate;
use ireko_nested::Intercept;
use ireko_translate::thunk;
use ireko_x86::Exception;
use ireko_x86::bits::{cr0, cr4, dr6, pf, rflags};
use ireko_x86::exception::vector;
use ireko_x86::regs::{gpr, seg};
use std::io;

/// A program is found running so often before it is given a process.
const FOUND: u32 = 4;
/// What was left for so many points is judged. To be left is one; for a page that is there from then on, a quarter.
const JUDGED: u32 = 256;
const POINTS: u32 = 4;
/// Nanoseconds that a stretch must last in the mean so that it pays, beside what it costs to come and go.
const PAYS: u64 = 4000;
/// Pages that are mapped at most beside one that is.
const BESIDE: u64 = 32;
/// Pages that change so often do not run as they stand.
const RESTLESS: u32 = 16;
const LARGE: u64 = 2 << 20;
const NOP: u8 = 0x90;
/// Points for coming to a page that may not run.
const REFUSED: u32 = 4 * POINTS;

/// Flags that a program has and changes: arithmetic ones, DF and AC.
const FLAGS: u64 = 0x8d5 | rflags::DF | rflags::AC;
/// Selectors of programs as the host has them.
const CODE: u16 = 0x33;
const DATA: u16 = 0x2b;
/// The page of Linux's old system calls.
const VSYSCALL: u64 = 0xf_ffff_ffff_f600;

impl Cpu {
    /// Somebody wanted attention, and a program was running.
    pub(crate) fn found_program(&mut self) {
        if self.direct.is_none() || self.processor.regs.cpl != 3 {
            return;
        }
        let bank = self.mmu.banks.current();
        bank.direct.found = bank.direct.found.saturating_add(1);
        let wanted = bank.direct.wanted.max(FOUND);
        if bank.direct.found < wanted || !self.may_go_direct() {
            return;
        }
        if !self.mmu.banks.current().direct.on {
            self.give_space();
        }
    }

    fn give_space(&mut self) {
        if self.mmu.banks.current().space.is_some() {
            return self.switch_on();
        }
        let Some(direct) = &mut self.direct else { return };
        let stub = direct.free.pop().or_else(|| {
            let number = self.mmu.banks.number();
            let oldest = (0..64).filter(|&other| other != number).filter_map(|other| {
                let bank = self.mmu.banks.get(other)?;
                bank.space.is_some().then_some((bank.last_used, other))
            });
            let (_, oldest) = oldest.collect::<Vec<_>>().into_iter().min()?;
            let bank = self.mmu.banks.get(oldest)?;
            bank.direct = Default::default();
            bank.space.take()?.into_stub()
        });
        let Some(stub) = stub else { return };
        self.mmu.banks.current().space = Some(Space::new(stub));
        self.switch_on();
    }

    fn switch_on(&mut self) {
        self.instruments.counters.direct_started += 1;
        let bank = self.mmu.banks.current();
        let began = bank.space.as_mut().map_or(0, |space| space.stub().processor_time());
        (bank.direct.left, bank.direct.began, bank.direct.on) = (0, began, true);
        bank.flush_jumps();
    }

    /// Whether the code at RIP runs as it stands.
    pub(crate) fn goes_direct(&mut self) -> bool {
        if self.processor.regs.cpl != 3 || self.direct.is_none() {
            return false;
        }
        let bank = self.mmu.banks.current();
        if bank.space.is_none() || !bank.direct.on {
            return false;
        }
        let may = self.may_go_direct();
        let linear = self.processor.regs.rip;
        may && self.fetch(linear).is_ok_and(|physical| self.page_runs(linear, physical))
    }

    /// What the processor's state must be so that programs' code does the same in a process of the host.
    fn may_go_direct(&self) -> bool {
        let regs = &self.processor.regs;
        let plain = |number: usize| regs.seg[number].selector == 0;
        let selectors = regs.seg[seg::CS].selector == CODE
            && regs.seg[seg::SS].selector == DATA
            && [seg::DS, seg::ES, seg::FS, seg::GS].into_iter().all(plain);
        const ON: u64 = cr4::OSFXSR | cr4::OSXSAVE | cr4::FSGSBASE;
        let watched = |control: &ireko_nested::Control| {
            [Intercept::Pushf, Intercept::Popf].into_iter().any(|what| control.has(what))
        };
        regs.code64()
            && selectors
            && regs.canonical(regs.rip)
            && regs.cr0 & (cr0::TS | cr0::EM | cr0::PG) == cr0::PG
            && regs.cr4 & (ON | cr4::LA57) == ON
            && regs.rflags & (rflags::IF | rflags::IOPL) == rflags::IF
            && regs.xcr0 & xstate::SSE != 0
            && (!self.processor.checks_keys() || regs.pkru & 3 == 0)
            && self.processor.mm != Some(true)
            && self.processor.smm.is_none()
            && !self.processor.halted
            && !self.single()
            && !self.control().is_some_and(watched)
            && self.code.always.0 == 0
    }

    /// Whether a page's code may run; it is looked at if it was not since it was last written.
    fn page_runs(&mut self, linear: u64, physical: u64) -> bool {
        self.how_page_runs(linear, physical) != Runs::Never
    }

    fn how_page_runs(&mut self, linear: u64, physical: u64) -> Runs {
        let frame = physical >> 12;
        let Some(direct) = &self.direct else { return Runs::Never };
        let known = direct.scanned.get(&frame).copied().unwrap_or_default();
        if let Some(runs) = known.runs {
            return runs;
        }
        let there = self.mmu.physical.memory().in_file(physical).is_some();
        let restless = known.written >= RESTLESS;
        if !restless {
            self.watch_direct(frame);
        }
        let runs = match there {
            true if restless => match self.look_at_code(linear, frame) {
                Runs::AsItStands => Runs::Restless,
                // It stays as it is.
                _ => Runs::Never,
            },
            true => self.look_at_code(linear, frame),
            false => Runs::Never,
        };
        if runs == Runs::Restless
            && let Some(direct) = &mut self.direct
        {
            direct.restless.insert(frame, linear & !0xfff);
        }
        if let Some(direct) = &mut self.direct {
            direct.scanned.insert(frame, Scanned { runs: Some(runs), ..known });
        }
        runs
    }

    /// Pages that are written all the time are looked at anew now and then.
    fn look_at_restless(&mut self) {
        let Some(direct) = &self.direct else { return };
        let pages: Vec<(u64, u64)> =
            direct.restless.iter().map(|(frame, linear)| (*frame, *linear)).collect();
        for (frame, linear) in pages {
            if self.look_at_code(linear, frame) == Runs::AsItStands {
                continue;
            }
            if let Some(direct) = &mut self.direct {
                direct.restless.remove(&frame);
                direct.scanned.insert(frame, Scanned { runs: Some(Runs::Never), written: RESTLESS });
            }
            self.take_code(frame);
        }
    }

    fn look_at_code(&mut self, linear: u64, frame: u64) -> Runs {
        let mut page = [0; 4096];
        if !self.mmu.physical.read_code(frame << 12, &mut page) {
            return Runs::Never;
        }
        let mut front = [0; scan::FROM];
        let before = (linear & !0xfff).wrapping_sub(front.len() as u64);
        let seen = self.mmu.peek(&self.processor, before).filter(|page| page.user && page.execute);
        let has_front = seen.is_some_and(|seen| self.mmu.physical.read_code(seen.physical, &mut front));
        // Who goes on in a page that is not there yet comes by when it is: see `goes_on_from_page_before`.
        let mut behind = [NOP; 16];
        if page[4093..].contains(&0x0f) {
            let seen = self.mmu.peek(&self.processor, (linear | 0xfff).wrapping_add(1));
            if let Some(seen) = seen.filter(|page| page.user && page.execute) {
                let _ = self.mmu.physical.read_code(seen.physical, &mut behind);
            }
        }
        let regs = &self.processor.regs;
        let areas = xstate::moved() != 0 || regs.xcr0 != self.vectors.host_xcr0;
        let front = if has_front { front.as_slice() } else { &[] };
        let text = self.mmu.peek(&self.processor, linear).is_some_and(|page| !page.write);
        let verdict = scan::Code { front, page: &page, behind: &behind, areas, text }.judge();
        match verdict {
            scan::Verdict::Runs => Runs::AsItStands,
            scan::Verdict::Refused => Runs::Never,
            scan::Verdict::Patched(places) => {
                places.into_iter().for_each(|place| page[place + 1] = scan::UD2);
                let kept = self.direct.as_mut().and_then(|direct| direct.copies.keep(&page));
                kept.map_or(Runs::Never, Runs::Patched)
            }
        }
    }

    /// Runs the program as it stands, until the engine has to look around or its code is none that may.
    pub(crate) fn run_direct(&mut self) -> Result<(), Fault> {
        loop {
            if self.platform.wake.wanted() {
                return Ok(());
            }
            let trap = match self.visit() {
                Ok(Some(trap)) => trap,
                Ok(None) => return Ok(()),
                Err(_) => {
                    // What it was doing is not known: to the guest's system it is a fault of the program.
                    let bank = self.mmu.banks.current();
                    bank.space = None;
                    bank.direct = Default::default();
                    return Err(Fault::gp(0));
                }
            };
            self.answer(trap)?;
            if self.must_look() || !self.goes_direct() {
                return Ok(());
            }
        }
    }

    /// The program runs until a signal. None: somebody wants attention.
    fn visit(&mut self) -> io::Result<Option<Trap>> {
        if self.mmu.root_entry(&self.processor, stub::BASE).is_none_or(|entry| entry & 1 != 0) {
            self.give_up(u32::MAX);
            return Ok(None);
        }
        self.fpu_normalise();
        self.map_expected();
        let bank = self.mmu.banks.current();
        let mut space = bank.space.take().ok_or(io::ErrorKind::NotFound)?;
        let visited = self.visit_in(&mut space);
        let bank = self.mmu.banks.current();
        bank.space = Some(space);
        visited
    }

    /// Maps the page that the program asked for last and did not have, if it has it now.
    fn map_expected(&mut self) {
        let Some(address) = self.direct.as_mut().and_then(|direct| direct.expected.take()) else { return };
        let Some(space) = &self.mmu.banks.current().space else { return };
        if stub::is_own(address) || space.has(address) {
            return;
        }
        if let Some(found) = self.mmu.peek(&self.processor, address).filter(|found| found.user) {
            self.map_page(address, Kind::Read, &found);
            self.map_beside(address, &found);
        }
    }

    fn visit_in(&mut self, space: &mut Space) -> io::Result<Option<Trap>> {
        self.put_state(space)?;
        self.platform.wake.signals(Some(space.stub().handle()));
        if self.platform.wake.wanted() {
            self.platform.wake.signals(None);
            return Ok(None);
        }
        self.instruments.counters.direct_runs += 1;
        let wake = self.platform.wake.clone();
        let ran = space.run(|| wake.wanted());
        self.platform.wake.signals(None);
        ran?;
        self.take_state(space)?;
        self.judge(space);
        space.stub().trap().map(Some)
    }

    /// A program that is left all the time is better off translated.
    fn judge(&mut self, space: &mut Space) {
        let trial = &mut self.mmu.banks.current().direct;
        trial.left += POINTS;
        if trial.left < JUDGED * POINTS {
            return;
        }
        let stub = space.stub();
        let now = stub.processor_time();
        let spent = now.saturating_sub(trial.began);
        let pays = (stub.visit_costs + PAYS) * u64::from(trial.left / POINTS) <= spent;
        (trial.left, trial.began) = (0, now);
        let wanted = trial.found.saturating_add(trial.wanted.clamp(FOUND, 64) * 2);
        if !pays {
            self.give_up(wanted);
        }
    }

    /// The program is translated until it was found running so often.
    fn give_up(&mut self, wanted: u32) {
        self.instruments.counters.direct_given_up += 1;
        let bank = self.mmu.banks.current();
        (bank.direct.on, bank.direct.wanted) = (false, wanted);
        bank.flush_jumps();
    }

    /// The program's registers are the processor's.
    fn put_state(&mut self, space: &mut Space) -> io::Result<()> {
        let regs = &self.processor.regs;
        let stub = space.stub();
        stub.set_bases([regs.seg[seg::FS].base, regs.seg[seg::GS].base]);
        // SAFETY: the context lies in the memory that both have, and its program does not run.
        unsafe {
            let there = &mut *stub.registers()?;
            for (place, value) in GENERAL.into_iter().zip(regs.gpr) {
                there[place as usize] = value as i64;
            }
            there[libc::REG_RIP as usize] = regs.rip as i64;
            there[libc::REG_EFL as usize] = (regs.rflags & FLAGS | rflags::IF | 2) as i64;
            let selectors = there[libc::REG_CSGSFS as usize] as u64 & 0x0000_ffff_ffff_0000;
            there[libc::REG_CSGSFS as usize] = (u64::from(DATA) << 48 | selectors | u64::from(CODE)) as i64;
        }
        let size = self.area_size();
        let area = stub.area(size)?;
        let own = &self.processor.fpu.0;
        let held = self.vectors.held;
        // SAFETY: as above.
        unsafe {
            area.copy_from_nonoverlapping(own.as_ptr(), 464);
            let present = area.add(512).cast::<u64>();
            let components = u64::from(own[512]) & held;
            present.write(present.read() & !held | components);
            for part in
                xstate::vectors().into_iter().filter(|part| part.at >= 512 && held & part.component != 0)
            {
                area.add(part.at).copy_from_nonoverlapping(own.as_ptr().add(part.at), part.size);
            }
        }
        Ok(())
    }

    fn area_size(&self) -> usize {
        let parts = xstate::vectors().into_iter().filter(|part| self.vectors.held & part.component != 0);
        parts.map(|part| part.at + part.size).max().unwrap_or(576).max(576)
    }

    /// The processor's registers are what the program left.
    fn take_state(&mut self, space: &mut Space) -> io::Result<()> {
        let size = self.area_size();
        let stub = space.stub();
        let regs = &mut self.processor.regs;
        [regs.seg[seg::FS].base, regs.seg[seg::GS].base] = stub.bases();
        // SAFETY: as in `put_state`.
        unsafe {
            let there = &*stub.registers()?;
            for (place, value) in GENERAL.into_iter().zip(&mut regs.gpr) {
                *value = there[place as usize] as u64;
            }
            regs.rip = there[libc::REG_RIP as usize] as u64;
            let flags = there[libc::REG_EFL as usize] as u64;
            regs.rflags = regs.rflags & !FLAGS | flags & FLAGS;
            let area = stub.area(size)?;
            let held = self.vectors.held;
            let own = &mut self.processor.fpu.0;
            own.as_mut_ptr().copy_from_nonoverlapping(area, 464);
            let present = area.add(512).cast::<u64>().read() & held;
            own[512] = present as u8;
            for part in
                xstate::vectors().into_iter().filter(|part| part.at >= 512 && held & part.component != 0)
            {
                own.as_mut_ptr().add(part.at).copy_from_nonoverlapping(area.add(part.at), part.size);
            }
            own[thunk::IN_MEMORY] = 1;
        }
        Ok(())
    }

    /// Deals with what ended a stretch.
    fn answer(&mut self, trap: Trap) -> Result<(), Fault> {
        if trap.code_selector != CODE || trap.selectors != [0; 4] {
            self.load_selectors(&trap)?;
        }
        match trap.signal {
            libc::SIGURG => {
                self.look_at_restless();
                self.found_program();
                Ok(())
            }
            libc::SIGSEGV if trap.vector == u64::from(vector::PF) => self.map_or_step(trap),
            // The host has returned from a call into the page of its old system calls; nothing else happened.
            libc::SIGSYS if trap.call >> 12 == VSYSCALL => {
                self.processor.regs.rip = trap.call;
                let stack = &mut self.processor.regs.gpr[gpr::RSP];
                *stack = stack.wrapping_sub(8);
                self.step_direct()
            }
            // The system call, or a call of the interface for 32-bit programs: two bytes, of which nothing happened.
            libc::SIGSYS => {
                self.processor.regs.rip = self.processor.regs.rip.wrapping_sub(2);
                self.step_direct()
            }
            libc::SIGTRAP if trap.vector == u64::from(vector::BP) => {
                self.processor.regs.rip = self.processor.regs.rip.wrapping_sub(1);
                self.step_direct()
            }
            libc::SIGTRAP => Err(Exception::debug(dr6::BS).into()),
            _ => self.step_direct(),
        }
    }

    /// The program has loaded selectors, or gone on in another code segment: the guest's descriptors say what they are.
    fn load_selectors(&mut self, trap: &Trap) -> Result<(), Fault> {
        for (index, selector) in [seg::DS, seg::ES, seg::FS, seg::GS].into_iter().zip(trap.selectors) {
            if selector != self.processor.regs.seg[index].selector {
                let base = self.processor.regs.seg[index].base;
                self.processor.regs.seg[index] = descriptor::checked_data(self, selector, vector::GP)?;
                if matches!(index, seg::FS | seg::GS) {
                    self.processor.regs.seg[index].base = base;
                }
            }
        }
        if trap.code_selector != CODE {
            let entry = descriptor::fetch(self, trap.code_selector, vector::GP)?;
            descriptor::checked_code(self, &entry)?;
            self.processor.regs.seg[seg::CS] = descriptor::accessed(self, entry, 3)?;
        }
        Ok(())
    }

    /// The instruction at RIP is the engine's.
    fn step_direct(&mut self) -> Result<(), Fault> {
        self.instruments.counters.direct_steps += 1;
        self.run_alone(0).map(|_| ())
    }

    /// A page is missing: it is mapped if the guest's tables have it, else it is the guest's fault.
    fn map_or_step(&mut self, trap: Trap) -> Result<(), Fault> {
        self.instruments.counters.direct_faults += 1;
        let error = trap.error as u32;
        let kind = match error {
            _ if error & pf::FETCH != 0 => Kind::Fetch,
            _ if error & pf::WRITE != 0 => Kind::Write,
            _ => Kind::Read,
        };
        let rip = self.processor.regs.rip;
        if stub::is_own(trap.address) || !self.processor.regs.canonical(rip) {
            return self.step_direct();
        }
        if let Some(direct) = &mut self.direct {
            let again = (direct.last_fault.0, direct.last_fault.1) == (rip, trap.address);
            direct.last_fault = (rip, trap.address, if again { direct.last_fault.2 + 1 } else { 0 });
            if direct.last_fault.2 > 3 {
                return self.step_direct();
            }
        }
        let page = match self.walk(trap.address, kind, USER) {
            Ok(page) => page,
            Err(fault) => {
                // The guest's system most likely brings it now.
                if let Some(direct) = &mut self.direct {
                    direct.expected = Some(trap.address);
                }
                return Err(fault);
            }
        };
        if self.map_page(trap.address, kind, &page) {
            let trial = &mut self.mmu.banks.current().direct;
            trial.left = trial.left.saturating_sub(POINTS - 1);
            self.map_beside(trap.address, &page);
            return Ok(());
        }
        if kind == Kind::Fetch {
            // What is entered all the time and may not run costs more than it gains.
            self.mmu.banks.current().direct.left += REFUSED;
            return Ok(());
        }
        self.step_direct()
    }

    /// Maps a page that a walk has found. False: it is none that the program reaches without the engine.
    fn map_page(&mut self, address: u64, kind: Kind, page: &Page) -> bool {
        let physical = page.physical & !0xfff;
        let Some(offset) = self.mmu.physical.memory().in_file(physical) else { return false };
        let plain =
            self.mmu.physical.is_memory(physical, 4096) && !self.processor.apic.within(physical, 4096);
        let Some(host) = self.mmu.physical.host(physical).filter(|_| plain) else { return false };
        if page.key.unwrap_or(0) != 0 {
            return false;
        }
        let watch = self.mmu.physical.memory().watch().clone();
        let write = page.write && !watch.watched(physical >> 12);
        if kind == Kind::Write && !write {
            return false;
        }
        if kind != Kind::Fetch && !page.execute && page.size >= LARGE && page.linear_size >= LARGE {
            let start = physical & !(LARGE - 1);
            let inside = start..start + LARGE;
            let watched = (inside.start >> 12..inside.end >> 12).any(|frame| watch.watched(frame));
            let whole =
                self.mmu.physical.is_memory(start, LARGE) && !self.processor.apic.within(start, LARGE);
            if whole && !watched && offset >= physical - start {
                let host = host.wrapping_sub((physical - start) as usize);
                let Some(space) = &mut self.mmu.banks.current().space else { return false };
                space.map_large(address, host, offset - (physical - start), page.write);
                self.instruments.counters.direct_pages += 1;
                return true;
            }
        }
        // What may be run and not be written will be run.
        let frame = physical >> 12;
        let restless = self.direct.as_ref().is_some_and(|direct| direct.restless.contains_key(&frame));
        let looked = kind == Kind::Fetch || page.execute && (!page.write || restless);
        let mut runs = if looked { self.how_page_runs(address, physical) } else { Runs::Never };
        if runs != Runs::Never && self.goes_on_from_page_before(address, physical) {
            runs = Runs::Never;
        }
        let execute = runs != Runs::Never;
        let place = match runs {
            Runs::Patched(number) => Backing::Copy(number),
            _ => Backing::Memory(offset),
        };
        if kind == Kind::Fetch && !execute {
            return false;
        }
        // To look at its code is to watch it.
        let write = write && !watch.watched(physical >> 12);
        let Some(space) = &mut self.mmu.banks.current().space else { return false };
        space.map(address, host, place, write, execute);
        self.instruments.counters.direct_pages += 1;
        true
    }

    /// Whether an instruction that may not run begins in the page before and goes on in this one.
    fn goes_on_from_page_before(&mut self, address: u64, physical: u64) -> bool {
        let before = (address & !0xfff).wrapping_sub(1);
        let Some(page) = self.mmu.peek(&self.processor, before).filter(|page| page.user && page.execute)
        else {
            return false;
        };
        let mut both = [0; 4];
        let (front, behind) = both.split_at_mut(2);
        let read = self.mmu.physical.read_code(page.physical - 1, front)
            && self.mmu.physical.read_code(physical & !0xfff, behind);
        !read || scan::begins_between(both)
    }

    /// Maps what lies beside a page, here and in the file, and was used lately: that costs nothing more.
    fn map_beside(&mut self, address: u64, page: &Page) {
        for forward in [true, false] {
            let (mut near, mut last) = (address & !0xfff, page.physical & !0xfff);
            for _ in 0..BESIDE {
                let (next, there) = match forward {
                    true => (near.wrapping_add(4096), last + 4096),
                    false => (near.wrapping_sub(4096), last.wrapping_sub(4096)),
                };
                let space = &self.mmu.banks.current().space;
                if stub::is_own(next) || space.as_ref().is_none_or(|space| space.has(next)) {
                    break;
                }
                let Some(found) = self.mmu.peek(&self.processor, next) else { break };
                let alike = found.user && found.size < LARGE && found.physical == there;
                if !alike || !self.map_page(next, Kind::Read, &found) {
                    break;
                }
                (near, last) = (next, there);
            }
        }
    }
}

#[cfg(test)]
#[path = "direct_execution_tests.rs"]
mod tests;
