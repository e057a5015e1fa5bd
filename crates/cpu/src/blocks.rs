//! Which code runs at RIP: the mode bits that it is translated under, blocks found or made, where jumps lead, and what a write to code undoes.

use crate::Cpu;
use crate::code::BlockId;
use crate::fault::Fault;
use crate::mmu::walk::Kind;
use ireko_nested::Intercept;
use ireko_nested::core::InstructionBytes;
use ireko_translate::Key;
use ireko_translate::layout::{JUMP_SLOTS, JumpEntry, LAST_SLOT, RELATIVE_END, USER_SLOT};
use ireko_x86::bits::{cr0, cr4, rflags};
use ireko_x86::regs::seg;

fn no_memory(physical: u64) -> Fault {
    Fault::Unsupported(format!(
        "code at physical address {physical:#x}, where there is no memory, cannot be executed"
    ))
}

/// The longest instruction.
const LONGEST: usize = 15;

impl Cpu {
    /// The mode bits that code runs under now.
    pub(crate) fn key(&self) -> Key {
        let regs = &self.processor.regs;
        let long = regs.code64();
        // Elsewhere that bit is another.
        let mut key = self.code.always.0 & if long { u32::MAX } else { !Key::PUSHF_ROUTINE };
        let mut set = |on: bool, bit: u32| key |= if on { bit } else { 0 };
        set(long, Key::CODE64);
        // Alignment is looked at, and made, where accesses go by routine.
        set(self.checks_alignment() || self.processor.mm == Some(true), Key::PLAIN);
        set(long && self.control().is_none(), Key::OWN);
        set(long && regs.cr4 & cr4::FSGSBASE != 0, Key::BASES);
        set(long && self.platform.tuning.far_links && self.control().is_none(), Key::FAR);
        set(!long && regs.seg[seg::CS].big(), Key::CODE32);
        set(regs.cpl == 3, Key::USER);
        set(long && regs.cpl == 3 && regs.rip < RELATIVE_END, Key::RELATIVE);
        set(!long && regs.seg[seg::SS].big(), Key::STACK32);
        set(regs.rflags & rflags::DF != 0, Key::BACKWARD);
        set(regs.cr0 & cr0::TS != 0, Key::TASK_SWITCHED);
        set(regs.cr0 & cr0::EM != 0, Key::EMULATE);
        set(regs.cr0 & cr0::MP != 0, Key::MONITOR);
        set(regs.cr4 & cr4::OSFXSR != 0, Key::SSE);
        set(regs.cr4 & cr4::OSXSAVE != 0 && regs.xcr0 & 6 == 6, Key::AVX);
        let evex = if long { Key::EVEX64 } else { Key::EVEX32 };
        set(crate::xstate::evex_on(regs), evex);
        set(regs.cpl == 0, Key::KERNEL);
        set(regs.cr4 & cr4::SMAP != 0, Key::SMAP);
        set(self.rdtsc_routine() || regs.cr4 & cr4::TSD != 0 && regs.cpl != 0, Key::RDTSC_ROUTINE);
        set(long && self.control().is_some_and(|c| c.has(Intercept::Pushf)), Key::PUSHF_ROUTINE);
        key |= (self.processor.mmu_mode(crate::cpu::Privilege::Current) as u32) << Key::MMU_SHIFT;
        if !long {
            key |= self.segment_bits();
        }
        Key(key)
    }

    /// RDTSC is intercepted, or not the processor's own plus an offset.
    pub(crate) fn rdtsc_routine(&self) -> bool {
        self.control().is_some_and(|c| c.has(Intercept::Rdtsc) || !c.tsc_scale.is_one())
    }

    fn segment_bits(&self) -> u32 {
        let protected = self.processor.regs.protected() && !self.processor.regs.v86();
        // 16-bit code looks at 64 KiB where accesses are, so a limit may be greater.
        let wide = self.processor.regs.seg[seg::CS].big();
        let whole = |limit: u32| if wide { protected && limit == u32::MAX } else { limit >= 0xffff };
        let mut bits = 0;
        for (index, segment) in self.processor.regs.seg.iter().enumerate() {
            let usable = if index == seg::CS {
                segment.readable() && (segment.is_code() || !segment.expand_down())
            } else {
                segment.present()
                    && segment.is_user()
                    && !segment.is_code()
                    && segment.writable()
                    && !segment.expand_down()
            };
            bits |= u32::from(usable && whole(segment.limit)) << (Key::FLAT_SHIFT + index as u32);
            bits |= u32::from(segment.base == 0) << (Key::ZERO_SHIFT + index as u32);
        }
        bits
    }

    /// Links a direct jump to the block at RIP. One to another page is linked only to code of global pages, which is there
    /// in all address spaces; [`Cpu::forget_shared`] undoes it.
    pub(crate) fn link(&mut self, link: u32, block: u32) {
        if !self.code.is_far(link) {
            return self.code.link_in_page(link, block);
        }
        if self.code.crosses(block) || !self.shared_code(self.processor.regs.rip) {
            return self.code.link_to_table(link);
        }
        self.code.link_far(link, block);
    }

    /// Physical address of the code byte at a linear address.
    pub(crate) fn fetch(&mut self, linear: u64) -> Result<u64, Fault> {
        let user = self.processor.regs.cpl == 3;
        if let Some(physical) = self.mmu.banks.current().fetch(linear, user) {
            return Ok(physical);
        }
        let asid = self.asid();
        if let Some(physical) = self.mmu.shared_fetch.find(asid, linear, user) {
            self.mmu.banks.current().set_fetch(linear, user, physical, true);
            return Ok(physical);
        }
        let mode = if user { crate::mmu::view::USER } else { crate::mmu::view::SUPERVISOR };
        let page = self.walk(linear, Kind::Fetch, mode)?;
        // What system-management mode alone has is no code outside. Whatever changes that empties all banks.
        if self.mmu.physical.hides_code(page.physical) {
            return Err(no_memory(page.physical));
        }
        let shared = page.global && page.linear_size <= 2 << 20 && asid == 0;
        self.mmu.banks.current().set_fetch(linear, user, page.physical, shared);
        if shared {
            self.share_fetch(asid, linear, user, page.physical);
        }
        Ok(page.physical)
    }

    /// The page behind that of a linear address.
    fn fetch_behind(&mut self, linear: u64) -> Result<u64, Fault> {
        self.fetch(self.processor.regs.in_mode((linear | 0xfff).wrapping_add(1)))
    }

    /// Linear address of RIP, after the checks of a fetch.
    pub(crate) fn fetch_address(&self) -> Result<u64, Fault> {
        let rip = self.processor.regs.rip;
        if self.processor.regs.code64() {
            return if self.processor.regs.canonical(rip) { Ok(rip) } else { Err(Fault::gp(0)) };
        }
        if rip > self.processor.regs.seg[seg::CS].limit.into() {
            return Err(Fault::gp(0));
        }
        Ok(self.processor.regs.in_mode(self.processor.regs.seg[seg::CS].base.wrapping_add(rip)))
    }

    /// The bytes of code at a linear address, as a fetch gets them: those in front of the first page that it may not have.
    pub(crate) fn code_bytes(&mut self, linear: u64, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let at = linear.wrapping_add(done as u64);
            let end = bytes.len().min(done + 4096 - (at & 0xfff) as usize);
            let Ok(physical) = self.fetch(self.processor.regs.in_mode(at)) else { break };
            if !self.mmu.physical.read_code(physical, &mut bytes[done..end]) {
                break;
            }
            done = end;
        }
        done
    }

    /// Bytes of the instruction at RIP. Stops at the first page that is not there or not memory: reading a device here
    /// would be felt.
    pub(crate) fn instruction_bytes(&mut self) -> InstructionBytes {
        let mut got = InstructionBytes::default();
        got.count = self.fetch_address().map_or(0, |start| self.code_bytes(start, &mut got.bytes));
        got
    }

    /// The block at RIP under `key`, translated if need be.
    pub(crate) fn block(&mut self, key: Key) -> Result<u32, Fault> {
        let linear = self.fetch_address()?;
        let physical = self.fetch(linear)?;
        let rip = self.processor.regs.rip;
        let id = BlockId { physical, rip: if key.relative() { rip & 0xfff } else { rip }, key };
        match self.code.known(&id) {
            Some((number, None)) => return Ok(number),
            Some((number, Some(second))) => {
                if second == self.fetch_behind(linear)? {
                    return Ok(number);
                }
                self.undo(&[number], None);
            }
            None => {}
        }
        let crossing = self.with_next_page(linear, &id);
        match crossing.and_then(|id| self.code.known(&id)) {
            Some((number, _)) => Ok(number),
            None => self.translate(linear, id, crossing),
        }
    }

    /// What a block of relative code is called if it goes on in the next page, as far as that is there: with the same page behind it
    /// in two address spaces it is one block, else it is not.
    fn with_next_page(&mut self, linear: u64, id: &BlockId) -> Option<BlockId> {
        if !id.key.relative() || id.rip as usize <= 4096 - LONGEST {
            return None;
        }
        let second = self.fetch_behind(linear).ok()?;
        Some(BlockId { rip: second & !0xfff | id.rip, ..*id })
    }

    /// `crossing`: what it is called if it goes on in the next page, if that is another name.
    fn translate(&mut self, linear: u64, id: BlockId, crossing: Option<BlockId>) -> Result<u32, Fault> {
        if self.code.is_full() {
            self.make_room();
        }
        if let Some((of, second)) = self.code.to_copy(&id).or_else(|| self.code.to_copy(crossing.as_ref()?))
            && second.is_none_or(|second| self.fetch_behind(linear) == Ok(second))
        {
            self.instruments.counters.copied_blocks += 1;
            return Ok(self.code.enter_copy(of));
        }
        self.instruments.counters.blocks += 1;
        let mut bytes = std::mem::take(&mut self.code.buffer);
        let made = self.translate_bytes(linear, id, crossing, &mut bytes);
        self.code.buffer = bytes;
        if made.is_err() {
            self.unwatch_code(id.physical >> 12);
        }
        made
    }

    /// `bytes` is a buffer.
    fn translate_bytes(
        &mut self,
        linear: u64,
        id: BlockId,
        crossing: Option<BlockId>,
        bytes: &mut Vec<u8>,
    ) -> Result<u32, Fault> {
        let in_page = 4096 - (id.physical & 0xfff) as usize;
        bytes.clear();
        bytes.resize(in_page, 0);
        self.watch_code(id.physical >> 12);
        if !self.mmu.physical.read_code(id.physical, bytes) {
            return Err(no_memory(id.physical));
        }
        if let Some(made) = self.code.translate(bytes, in_page, id) {
            return Ok(self.code.enter(id, None, in_page, made));
        }
        let second = self.fetch_behind(linear)?;
        bytes.resize(in_page + LONGEST, 0);
        // Where that waits for other processors, what was read may be other by now, and the first page watched no more.
        while self.watch_code(second >> 12) | self.watch_code(id.physical >> 12) {}
        if !self.mmu.physical.read_code(id.physical, &mut bytes[..in_page]) {
            return Err(no_memory(id.physical));
        }
        if !self.mmu.physical.read_code(second, &mut bytes[in_page..]) {
            self.unwatch_code(second >> 12);
            return Err(no_memory(second));
        }
        match self.code.translate(bytes, in_page, id) {
            Some(made) => Ok(self.code.enter(crossing.unwrap_or(id), Some(second), in_page, made)),
            None => {
                self.unwatch_code(second >> 12);
                // Fifteen bytes and still no end of the instruction.
                Err(Fault::gp(0))
            }
        }
    }

    /// What the keys of all slots but the last have in common; RDTSC's differs by privilege where CR4.TSD is on.
    fn family(&self, key: Key) -> u64 {
        let disabled = self.processor.regs.cr4 & cr4::TSD != 0;
        let routine = self.rdtsc_routine();
        u64::from(key.family()) | u64::from(disabled) << 32 | u64::from(routine) << 33
    }

    /// Code of one slot jumps to another without a look at keys, so the tables of a bank are of one family.
    pub(crate) fn join_family(&mut self, key: Key) {
        if key.slot() == LAST_SLOT {
            return;
        }
        let family = self.family(key);
        let bank = self.mmu.banks.current();
        if bank.family != family {
            bank.flush_jumps();
            bank.family = family;
        }
    }

    /// Enters the block at `rip` in the second level: relative code by where it lies, if it is all in one page, other code by its address.
    pub(crate) fn remember_jump(&mut self, slot: usize, rip: u64, block: u32) {
        let user = self.processor.regs.cpl == 3;
        // What goes on in the next page is another in each address space that has another page there.
        let global = self.shared_code(rip) && !self.code.crosses(block);
        self.mmu.banks.current().local_kernel |= !global && !user;
        // The last slot changes its key too often for a second level.
        if slot == LAST_SLOT || !self.platform.tuning.jump_cache {
            return;
        }
        let ids = self.jump_ids();
        self.mmu.banks.current().hot_mut().jump_ids = ids;
        let [own, shared] = ids[slot];
        let (rip, id) = match self.code.placed(block) {
            Some(physical) => (physical, shared),
            None => (rip, if global && !user { shared } else { own }),
        };
        self.code.jumps.insert(JumpEntry { rip, id, code: self.code.offset(block) });
    }

    /// The numbers of the entries that the current bank may use: its own, and the shared ones.
    pub(crate) fn jump_ids(&mut self) -> [[u32; 2]; JUMP_SLOTS] {
        if self.code.jumps.spent() {
            self.mmu.banks.all().for_each(|bank| bank.flush_jumps());
            self.code.jumps.wipe();
        }
        let bank = self.mmu.banks.current();
        let own_world = bank.tag.is_some_and(|t| t.asid == 0);
        let mut numbers = self.code.jumps.numbers(&mut bank.jump_id, own_world, bank.family);
        if bank.direct.on {
            numbers[USER_SLOT] = [0; 2];
        }
        numbers
    }

    /// Whether the code at an address, which was just fetched, is the same in all address spaces of the processor's own
    /// world.
    pub(crate) fn shared_code(&mut self, address: u64) -> bool {
        let user = self.processor.regs.cpl == 3;
        let bank = self.mmu.banks.current();
        let shared = bank.tag.is_some_and(|t| t.asid == 0) && bank.fetch_global(address, user);
        if shared {
            self.code.jumps.share(address);
        }
        shared
    }

    /// Code was fetched from a global page at `address`, for all banks.
    pub(crate) fn share_fetch(&mut self, asid: u32, address: u64, user: bool, physical: u64) {
        self.mmu.shared_fetch.keep(asid, address, user, physical);
        self.code.jumps.share(address);
    }
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "other_code_tests.rs"]
mod other_code;

#[cfg(test)]
#[path = "unroll_tests.rs"]
mod unroll;
