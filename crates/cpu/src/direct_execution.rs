//! Programs' code as it stands: when, for how long, and what each reason to leave it means.

use crate::Cpu;
use crate::direct::frame::{GENERAL, Left};
use crate::direct::layout::SLOT_START;
use crate::direct::space::Space;
use crate::direct::stub::{self, Backing, Ran};
use crate::direct::{Heeded, RESTLESS, Runs, Scanned, child, scan};
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
/// The next time twice as often as the last, if that did not pay, up to this.
const BACKOFF: u32 = 1 << 12;
/// What was left for so many points is judged. To be left is one; for a page that is there from then on and was not before, a
/// quarter.
const JUDGED: u32 = 64;
const POINTS: u32 = 4;
/// Nanoseconds that a stretch must last in the mean so that it pays, beside what it costs to come and go.
const PAYS: u64 = 4000;
/// Pages that are mapped at most beside one that is.
const BESIDE: u64 = 32;
const LARGE: u64 = 2 << 20;
/// XCR0's bit of the extended registers, which bring a prefix with the opcodes of 0F (Intel APX specification, 3.1.1.2).
const APX: u64 = 1 << 19;
/// What a #DB of ICEBP is to the kernel (sigaction(2)); single steps are TRAP_TRACE.
const TRAP_BRKPT: i32 = 1;
/// Points for coming to a page that may not run.
const REFUSED: u32 = 4 * POINTS;

/// Flags that a program has and changes: arithmetic ones, TF, DF, NT, AC and ID.
const FLAGS: u64 = 0x8d5 | rflags::TF | rflags::DF | rflags::NT | rflags::AC | rflags::ID;
/// Selectors of programs as the host has them.
const CODE: u16 = 0x33;
const DATA: u16 = 0x2b;
const INT3: u8 = 0xcc;
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
        // Of what a hypervisor may intercept, these run at CPL 3 without a trap and are not looked for in pages.
        const UNSEEN: [Intercept; 3] = [Intercept::Pushf, Intercept::Popf, Intercept::Iret];
        let watched = |control: &ireko_nested::Control| UNSEEN.into_iter().any(|what| control.has(what));
        regs.code64()
            && selectors
            && regs.canonical(regs.rip)
            && regs.cr0 & (cr0::TS | cr0::EM | cr0::PG) == cr0::PG
            && regs.cr4 & (ON | cr4::LA57) == ON
            && regs.rflags & (rflags::IF | rflags::IOPL) == rflags::IF
            && regs.xcr0 & xstate::SSE != 0
            && self.vectors.host_xcr0 & APX == 0
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

    /// What a look at a page heeds now, and whether the page is a program's text.
    fn heeded(&self, text: bool) -> Heeded {
        let regs = &self.processor.regs;
        let areas =
            xstate::moved() != 0 || regs.xcr0 != self.vectors.host_xcr0 || regs.xcr0 & xstate::PKRU != 0;
        let pauses = self.control().is_some_and(|control| control.has(Intercept::Pause));
        Heeded { areas, pauses, text }
    }

    fn scanned(&self, frame: u64) -> Option<&Scanned> {
        self.direct.as_ref()?.scanned.get(&frame)
    }

    fn how_page_runs(&mut self, linear: u64, physical: u64) -> Runs {
        let frame = physical >> 12;
        let text = self.mmu.peek(&self.processor, linear).is_some_and(|page| !page.write);
        let heeded = self.heeded(text);
        let known = self.scanned(frame);
        let written = known.map_or(0, |known| known.written);
        let verdict =
            known.and_then(|known| Some((known.runs?, known.heeded == heeded, known.front.is_some())));
        if let Some((runs, same_rules, of_front)) = verdict {
            let front = if of_front { Some(self.front_of(linear).map(|(_, bytes)| bytes)) } else { None };
            if same_rules && self.scanned(frame).is_some_and(|known| known.front == front) {
                return runs;
            }
            self.forget_verdict(frame);
        }
        let there = self.mmu.physical.memory().in_file(physical).is_some();
        let (runs, front) = match there && written < RESTLESS {
            true => self.look_at_code(linear, frame, heeded),
            false => (Runs::Never, None),
        };
        let Some(direct) = &mut self.direct else { return Runs::Never };
        direct.scanned.insert(frame, Scanned { runs: Some(runs), heeded, front, written });
        direct.looked();
        runs
    }

    /// The page in front of an address's, by its number, and its last bytes, if its code may run into that.
    fn front_of(&mut self, linear: u64) -> Option<(u64, Box<scan::Front>)> {
        let before = (linear & !0xfff).wrapping_sub(scan::FROM as u64);
        let page = self.mmu.peek(&self.processor, before).filter(|page| page.user && page.execute)?;
        let mut bytes = Box::new([0; scan::FROM]);
        self.mmu.physical.read_code(page.physical, &mut bytes[..]).then_some((page.physical >> 12, bytes))
    }

    /// How a page's code runs; and what is in front of it, if that is so because of that. Writes to either are heard of from here on.
    fn look_at_code(
        &mut self,
        linear: u64,
        frame: u64,
        heeded: Heeded,
    ) -> (Runs, Option<Option<Box<scan::Front>>>) {
        let mut page = [0; 4096];
        self.watch_direct(frame);
        if !self.mmu.physical.read_code(frame << 12, &mut page) {
            return (Runs::Never, None);
        }
        let mut front = self.front_of(linear);
        let (mut verdict, of_front) = scan::judge(front.as_ref().map(|(_, bytes)| &**bytes), &page, heeded);
        if let Some((before, _)) = front.as_ref().filter(|_| of_front) {
            self.watch_direct(*before);
            // It may have been written before it was watched.
            front = self.front_of(linear);
            verdict = scan::judge(front.as_ref().map(|(_, bytes)| &**bytes), &page, heeded).0;
            if let (Some(direct), Some((before, _))) = (&mut self.direct, &front)
                && !direct.depends(frame, *before)
            {
                verdict = scan::Verdict::Refused;
            }
        }
        let runs = match verdict {
            scan::Verdict::Runs => Runs::AsItStands,
            scan::Verdict::Refused => Runs::Never,
            scan::Verdict::Patched(patches) => {
                patches.into_iter().for_each(|(place, byte)| page[place] = byte);
                let kept = self.direct.as_mut().and_then(|direct| direct.copies.keep(&page));
                kept.map_or(Runs::Never, Runs::Patched)
            }
        };
        (runs, of_front.then(|| front.map(|(_, bytes)| bytes)))
    }

    /// Runs the program as it stands, until the engine has to look around or its code is none that may.
    pub(crate) fn run_direct(&mut self) -> Result<(), Fault> {
        loop {
            if self.platform.wake.wanted() {
                return Ok(());
            }
            let left = match self.visit() {
                Ok(Some(left)) => left,
                Ok(None) => return Ok(()),
                Err(_) => {
                    // What it was doing is not known: to the guest's system it is a fault of the program.
                    self.give_up_process();
                    return Err(Fault::gp(0));
                }
            };
            self.answer(left)?;
            if self.must_look() || !self.goes_direct() {
                return Ok(());
            }
        }
    }

    /// Its process ends, and the program is translated.
    fn give_up_process(&mut self) {
        self.mmu.banks.current().space = None;
        self.give_up(u32::MAX);
    }

    /// The program runs until a signal. None: somebody wants attention, or it does not run so any more.
    fn visit(&mut self) -> io::Result<Option<Left>> {
        if self.mmu.root_entry(&self.processor, SLOT_START).is_none_or(|entry| entry & 1 != 0) {
            self.give_up(u32::MAX);
            return Ok(None);
        }
        self.fpu_normalise();
        self.map_expected();
        let heeded = self.heeded(false);
        let bank = self.mmu.banks.current();
        let mut space = bank.space.take().ok_or(io::ErrorKind::NotFound)?;
        space.heed(heeded);
        let visited = self.visit_in(&mut space);
        let bank = self.mmu.banks.current();
        bank.space = Some(space);
        match visited? {
            // What could not be mapped is no fault of the program's, and who was in the stub's own code goes on where nothing is.
            (Ran::NotBegun, _) => self.give_up_process(),
            (Ran::Left, Some(left)) if !child::is_code(self.processor.regs.rip) => return Ok(Some(left)),
            (Ran::Left, Some(_)) => self.give_up_process(),
            (Ran::Left, None) => {}
        }
        Ok(None)
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

    /// Nothing was left: it was not begun.
    fn visit_in(&mut self, space: &mut Space) -> io::Result<(Ran, Option<Left>)> {
        self.put_state(space)?;
        self.platform.wake.signals(Some(space.stub().handle()));
        if self.platform.wake.wanted() {
            self.platform.wake.signals(None);
            return Ok((Ran::Left, None));
        }
        self.instruments.counters.direct_runs += 1;
        let wake = self.platform.wake.clone();
        let ran = space.run(|| wake.wanted());
        self.platform.wake.signals(None);
        if ran? == Ran::NotBegun {
            return Ok((Ran::NotBegun, None));
        }
        let left = space.stub().left().clone();
        self.take_state(space, &left)?;
        self.judge(space);
        Ok((Ran::Left, Some(left)))
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
        if pays {
            trial.backoff = FOUND;
            return;
        }
        trial.backoff = (trial.backoff * 2).clamp(FOUND, BACKOFF);
        let wanted = trial.found.saturating_add(trial.backoff);
        self.give_up(wanted);
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
        let (there, bases) = space.stub().begins();
        *bases = [regs.seg[seg::FS].base, regs.seg[seg::GS].base];
        for (place, value) in GENERAL.into_iter().zip(regs.gpr) {
            there.context.set_register(place, value);
        }
        there.context.set_register(libc::REG_RIP, regs.rip);
        there.context.set_register(libc::REG_EFL, regs.rflags & FLAGS | rflags::IF | 2);
        let own = &self.processor.fpu.0;
        let components = u64::from(own[xstate::HEADER]) & self.vectors.held;
        there.set_area(own, components, &xstate::vectors());
        Ok(())
    }

    /// The processor's registers are what the program left, if a processor could have left it.
    fn take_state(&mut self, space: &mut Space, left: &Left) -> io::Result<()> {
        let regs = &mut self.processor.regs;
        let sound = left.bases.into_iter().all(|base| regs.canonical(base))
            && left.mxcsr() & !space.stub().begins().0.mxcsr_mask() == 0
            && child::SIGNALS.contains(&left.signal);
        if !sound {
            return Err(io::Error::other("a program's process has left what no processor leaves"));
        }
        [regs.seg[seg::FS].base, regs.seg[seg::GS].base] = left.bases;
        for (place, value) in GENERAL.into_iter().zip(&mut regs.gpr) {
            *value = left.context.register(place);
        }
        regs.rip = left.context.register(libc::REG_RIP);
        regs.rflags = regs.rflags & !FLAGS | left.context.register(libc::REG_EFL) & FLAGS;
        let held = self.vectors.held;
        let own = &mut self.processor.fpu.0;
        own[..xstate::LEGACY].copy_from_slice(&left.area[..xstate::LEGACY]);
        own[xstate::HEADER] = (left.present() & held) as u8;
        let parts = xstate::vectors().into_iter().filter(|part| part.at >= xstate::HEADER);
        for part in parts.filter(|part| held & part.component != 0) {
            own[part.here()].copy_from_slice(&left.area[part.here()]);
        }
        own[thunk::IN_MEMORY] = 1;
        Ok(())
    }

    /// Deals with what ended a stretch. What is said of it may be a program's word: whatever that is, what is done is what the
    /// program may do at the place where it is.
    fn answer(&mut self, left: Left) -> Result<(), Fault> {
        self.load_selectors(&left)?;
        let vector = left.context.register(libc::REG_TRAPNO);
        match left.signal {
            libc::SIGURG => {
                self.found_program();
                Ok(())
            }
            libc::SIGSEGV if vector == u64::from(vector::PF) => self.map_or_step(&left),
            // The host has returned from a call into the page of its old system calls; nothing else happened.
            libc::SIGSYS if left.call >> 12 == VSYSCALL => {
                self.processor.regs.rip = left.call;
                let stack = &mut self.processor.regs.gpr[gpr::RSP];
                *stack = stack.wrapping_sub(8);
                self.step_direct()
            }
            // The system call, or a call of the interface for 32-bit programs: two bytes, of which nothing happened.
            libc::SIGSYS => self.step_before(2),
            libc::SIGTRAP if vector == u64::from(vector::BP) => match self.byte_before() {
                Some(INT3) => self.step_before(1),
                // INT with the number in a byte of its own (APM vol. 3, "INT").
                _ => self.step_before(2),
            },
            libc::SIGSEGV if vector == u64::from(vector::OF) => self.step_before(2),
            libc::SIGTRAP if left.code == TRAP_BRKPT => self.step_before(left.icebp_bytes),
            libc::SIGTRAP if self.processor.regs.rflags & rflags::TF != 0 => {
                Err(Exception::debug(dr6::BS).into())
            }
            _ => self.step_direct(),
        }
    }

    /// The byte in front of RIP.
    fn byte_before(&mut self) -> Option<u8> {
        let mut byte = [0];
        let place = self.mmu.peek(&self.processor, self.processor.regs.rip.wrapping_sub(1))?;
        self.mmu.physical.read_code(place.physical, &mut byte).then_some(byte[0])
    }

    /// The instruction that ends at RIP, of so many bytes, is the engine's.
    fn step_before(&mut self, bytes: u64) -> Result<(), Fault> {
        self.processor.regs.rip = self.processor.regs.rip.wrapping_sub(bytes);
        self.step_direct()
    }

    /// The program has loaded selectors, or gone on in another code segment: the guest's descriptors say what they are.
    fn load_selectors(&mut self, left: &Left) -> Result<(), Fault> {
        for (index, selector) in [seg::DS, seg::ES, seg::FS, seg::GS].into_iter().zip(left.selectors) {
            if selector != self.processor.regs.seg[index].selector {
                let base = self.processor.regs.seg[index].base;
                self.processor.regs.seg[index] = descriptor::checked_data(self, selector, vector::GP)?;
                if matches!(index, seg::FS | seg::GS) {
                    self.processor.regs.seg[index].base = base;
                }
            }
        }
        let selectors = left.context.register(libc::REG_CSGSFS);
        let (code, stack) = (selectors as u16, (selectors >> 48) as u16);
        if stack != DATA {
            self.processor.regs.seg[seg::SS] = descriptor::checked_stack(self, stack, 3, vector::GP)?;
        }
        if code != CODE {
            let entry = descriptor::fetch(self, code, vector::GP)?;
            let segment = descriptor::checked_code(self, &entry)?;
            let outer = segment.dpl() == 3 || segment.conforming();
            if !outer || !segment.present() {
                return Err(entry.fault(vector::GP));
            }
            self.processor.regs.seg[seg::CS] = descriptor::accessed(self, entry, 3)?;
        }
        Ok(())
    }

    /// The instruction at RIP is the engine's. Under TF, or behind the program's limits, it is the main loop's.
    fn step_direct(&mut self) -> Result<(), Fault> {
        self.instruments.counters.direct_steps += 1;
        let regs = &self.processor.regs;
        if self.single() || !regs.code64() || !regs.canonical(regs.rip) {
            return Ok(());
        }
        self.run_alone(0).map(|_| ())
    }

    /// A page is missing: it is mapped if the guest's tables have it, else it is the guest's fault.
    fn map_or_step(&mut self, left: &Left) -> Result<(), Fault> {
        self.instruments.counters.direct_faults += 1;
        let address = left.context.register(libc::REG_CR2);
        let error = left.context.register(libc::REG_ERR) as u32;
        let kind = match error {
            _ if error & pf::FETCH != 0 => Kind::Fetch,
            _ if error & pf::WRITE != 0 => Kind::Write,
            _ => Kind::Read,
        };
        let rip = self.processor.regs.rip;
        // What a processor fetches is at RIP, and an instruction has 15 bytes at most.
        let elsewhere = kind == Kind::Fetch && address.wrapping_sub(rip) >= 15;
        if stub::is_own(address) || elsewhere || !self.may_go_direct() {
            return self.step_direct();
        }
        if let Some(direct) = &mut self.direct {
            let again = (direct.last_fault.0, direct.last_fault.1) == (rip, address);
            direct.last_fault = (rip, address, if again { direct.last_fault.2 + 1 } else { 0 });
            if direct.last_fault.2 > 3 {
                return self.step_direct();
            }
        }
        let page = match self.walk(address, kind, USER) {
            Ok(page) => page,
            Err(fault) => {
                // The guest's system most likely brings it now.
                if let Some(direct) = &mut self.direct {
                    direct.expected = Some(address);
                }
                return Err(fault);
            }
        };
        if self.map_page(address, kind, &page) {
            let bank = self.mmu.banks.current();
            if bank.space.as_ref().is_some_and(|space| !space.maps_again()) {
                bank.direct.left = bank.direct.left.saturating_sub(POINTS - 1);
            }
            self.map_beside(address, &page);
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
        let looked = kind == Kind::Fetch || page.execute && !page.write;
        let mut runs = if looked { self.how_page_runs(address, physical) } else { Runs::Never };
        if runs != Runs::Never && self.straddled(address, physical) {
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

    /// Whether an instruction that may not run may begin in the page before and go on in this one, or begin here and go on in the
    /// next. Both are asked when either is mapped.
    fn straddled(&mut self, address: u64, physical: u64) -> bool {
        let (start, physical) = (address & !0xfff, physical & !0xfff);
        let (before, after) = (start.wrapping_sub(4096), start.wrapping_add(4096));
        let [before, after] = [before, after].map(|address| {
            let page = self.mmu.peek(&self.processor, address)?;
            (page.user && page.execute).then_some(page.physical & !0xfff)
        });
        let heeded = self.heeded(true);
        let both = |front: u64, behind: u64| {
            let (mut end, mut next) = ([0; scan::END], [0; scan::BEHIND]);
            let read = self.mmu.physical.read_code(front + 4096 - scan::END as u64, &mut end)
                && self.mmu.physical.read_code(behind, &mut next);
            !read || scan::straddles(&end, &next, heeded)
        };
        before.is_some_and(|before| both(before, physical))
            || after.is_some_and(|after| both(physical, after))
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

#[cfg(test)]
#[path = "direct_execution_hostile_tests.rs"]
mod hostile_tests;
