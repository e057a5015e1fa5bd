//! Memory by linear address, as Rust routines reach it: through the same TLB as translated code, else by a walk.

// UNSAFETY: copies to and from guest memory by host pointer.
#![allow(unsafe_code)]

use crate::breakpoints::Touch;
use crate::cpu::{Cpu, Privilege};
use crate::fault::Fault;
use crate::mmu::bank::Second;
use crate::mmu::walk::{Kind, Page, WalkFault};
use crate::pending::Target;
use crate::single_copy;
use ireko_nested::Exit;
use ireko_translate::layout::LARGE_SHIFT;
use ireko_vmcore::Space;
use ireko_x86::Exception;
use ireko_x86::bits::{cr0, rflags};
use ireko_x86::exception::vector;
use std::sync::atomic::{AtomicU8, Ordering};

/// Bytes of a large entry of the TLB's second level.
const LARGE: u64 = 1 << LARGE_SHIFT;

impl Cpu {
    /// Walks the tables for an access with the rights of a TLB table.
    pub fn walk(&mut self, address: u64, kind: Kind, mode: usize) -> Result<Page, Fault> {
        self.instruments.counters.walks += 1;
        self.mmu.walk(&self.processor, address, kind, mode).map_err(|fault| match fault {
            WalkFault::Page { error } => Exception::page_fault(address, error).into(),
            WalkFault::Stage2(fault) => Fault::Exit(Exit::Stage2(fault)),
        })
    }

    /// Finds the place of a byte for reading or writing, and remembers it in the TLB.
    pub fn target(&mut self, address: u64, write: bool, mode: usize) -> Result<Target, Fault> {
        if let Some(host) = self.mmu.find(mode, address, write) {
            return Ok(Target::Ram(host));
        }
        // Whoever makes an address checks it; this is so that no table can be filled for one that was forgotten.
        if self.processor.regs.long_mode() && !self.processor.regs.canonical(address) {
            return Err(Fault::gp(0));
        }
        let page = self.walk(address, if write { Kind::Write } else { Kind::Read }, mode)?;
        let physical = page.physical;
        if self.is_apic(physical) {
            return Ok(Target::Mmio(physical));
        }
        let writable = self.mmu.physical.writable(physical);
        let Some(host) = self.mmu.physical.host(physical).filter(|_| !write || writable) else {
            return Ok(Target::Mmio(physical));
        };
        let start = host.wrapping_sub((physical & 0xfff) as usize);
        let may_write = page.write && writable;
        self.mmu.fill(mode, address, start, physical, may_write, page.global);
        if let Some(key) = page.key {
            self.mmu.banks.current().mark_key(mode, address, key);
        }
        // The second level has no pages with a key: they are few, and what PKRU allows of them may change often.
        if self.platform.tuning.second_level && page.key.unwrap_or(0) == 0 {
            self.fill_second(mode, address, &page);
        }
        Ok(Target::Ram(host))
    }

    /// Sets PKRU. Translations that it makes wrong are forgotten.
    pub(crate) fn set_pkru(&mut self, value: u32) {
        self.processor.regs.pkru = value;
        self.mmu.heed_keys(&self.processor);
    }

    /// Enters a walk's result in the second level: all of a large page's 2 MiB if they are plain memory.
    fn fill_second(&mut self, mode: usize, address: u64, page: &Page) {
        let large = page.size >= LARGE && self.plain_chunk(page.physical);
        let size = if large { LARGE } else { 4096 };
        let physical = page.physical & !(size - 1);
        let watch = self.mmu.physical.memory().watch().byte(physical >> 12);
        if let (Some(host), Some(watch)) = (self.mmu.physical.host(physical), watch) {
            let write = page.write && self.mmu.physical.writable(physical);
            let second = Second { large, host, watch, write, global: page.global };
            self.mmu.banks.current().fill_second(mode, address, second);
        }
    }

    /// Whether the 2 MiB around a physical address are memory from end to end.
    fn plain_chunk(&self, physical: u64) -> bool {
        let start = physical & !(LARGE - 1);
        self.mmu.physical.is_memory(start, LARGE) && !self.processor.apic.within(start, LARGE)
    }

    /// CR0.AM, RFLAGS.AC and CPL 3: misaligned accesses are #AC (APM vol. 2, 8.2.18).
    pub(crate) fn checks_alignment(&self) -> bool {
        self.processor.regs.cpl == 3
            && self.processor.regs.rflags & rflags::AC != 0
            && self.processor.regs.cr0 & cr0::AM != 0
    }

    /// #AC(0) for an access of `size` bytes that is not aligned as APM vol. 2, table 8-7 has it: x87's ten bytes to eight, its
    /// environments and states to the words that they are made of. Of larger structures nothing is asked.
    pub(crate) fn check_alignment(&self, address: u64, size: usize) -> Result<(), Fault> {
        let boundary = match size {
            2 | 4 | 8 => size as u64,
            10 => 8,
            28 | 108 => 4,
            14 | 94 => 2,
            _ => 1,
        };
        self.check_boundary(address, boundary)
    }

    /// The same of a vector: to its size, and at most to 16 bytes (seen on family 1Ah).
    pub(crate) fn check_vector_alignment(&self, address: u64, size: usize) -> Result<(), Fault> {
        match size {
            16 | 32 | 64 => self.check_boundary(address, 16),
            _ => self.check_alignment(address, size),
        }
    }

    fn check_boundary(&self, address: u64, boundary: u64) -> Result<(), Fault> {
        if !address.is_multiple_of(boundary) && self.checks_alignment() {
            return Err(Exception::with_error(vector::AC, 0).into());
        }
        Ok(())
    }

    /// The same of an access that nobody has translated: its page's fault comes first, as silicon has it.
    fn check_alignment_behind_page(&mut self, address: u64, size: usize, write: bool) -> Result<(), Fault> {
        let checked = self.check_alignment(address, size);
        if checked.is_err() {
            let mode = self.processor.mmu_mode(Privilege::Current);
            self.target(self.wrap(address), write, mode)?;
        }
        checked
    }

    /// Reads `data.len()` bytes at a linear address. MMIO is read in naturally sized pieces.
    pub fn read_linear(&mut self, address: u64, data: &mut [u8], privilege: Privilege) -> Result<(), Fault> {
        let mode = self.processor.mmu_mode(privilege);
        if privilege == Privilege::Current {
            self.watch(address, data.len(), Touch::Read);
            self.check_alignment_behind_page(address, data.len(), false)?;
        }
        self.read_places(address, None, data, mode)
    }

    /// Reads an operand, or (if `element` is a size) elements of which none goes across pages.
    fn read_places(
        &mut self,
        address: u64,
        element: Option<usize>,
        data: &mut [u8],
        mode: usize,
    ) -> Result<(), Fault> {
        let mut done = 0;
        while done < data.len() {
            let at = self.wrap(address.wrapping_add(done as u64));
            let count = (4096 - (at & 0xfff) as usize).min(data.len() - done);
            let part = &mut data[done..done + count];
            match self.target(at, false, mode)? {
                // SAFETY: a RAM place is valid to the end of its page.
                Target::Ram(host) => unsafe {
                    match element {
                        Some(size) => single_copy::copy(size, host, part.as_mut_ptr(), count / size),
                        None => single_copy::operand(host, part.as_mut_ptr(), count),
                    }
                },
                Target::Mmio(physical) => self.mmio_read(physical, part),
            }
            done += count;
        }
        Ok(())
    }

    /// Writes; all pages are checked before the first byte is written.
    pub fn write_linear(&mut self, address: u64, data: &[u8], privilege: Privilege) -> Result<(), Fault> {
        if privilege == Privilege::Current {
            self.watch(address, data.len(), Touch::Write);
            self.check_alignment_behind_page(address, data.len(), true)?;
        }
        self.write_places(address, None, data, privilege)
    }

    /// Reads a run of elements of `size` bytes within one page, whose alignment has been checked.
    pub(crate) fn read_elements(&mut self, address: u64, size: usize, data: &mut [u8]) -> Result<(), Fault> {
        self.watch(address, data.len(), Touch::Read);
        let mode = self.processor.mmu_mode(Privilege::Current);
        self.read_places(address, Some(size), data, mode)
    }

    /// Writes them, likewise.
    pub(crate) fn write_elements(&mut self, address: u64, size: usize, data: &[u8]) -> Result<(), Fault> {
        self.watch(address, data.len(), Touch::Write);
        self.write_places(address, Some(size), data, Privilege::Current)
    }

    /// Reads an operand whose alignment has been checked, or that a mask or an index has chosen: of those none is asked (seen on
    /// family 1Ah).
    pub(crate) fn read_unaligned(&mut self, address: u64, data: &mut [u8]) -> Result<(), Fault> {
        self.watch(address, data.len(), Touch::Read);
        let mode = self.processor.mmu_mode(Privilege::Current);
        self.read_places(address, None, data, mode)
    }

    /// One element of up to eight bytes that a mask or an index has chosen.
    pub(crate) fn load_element(&mut self, address: u64, size: usize) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read_unaligned(address, &mut bytes[..size])?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn store_element(&mut self, address: u64, size: usize, value: u64) -> Result<(), Fault> {
        self.watch(address, size, Touch::Write);
        self.write_places(address, None, &value.to_le_bytes()[..size], Privilege::Current)
    }

    /// Writes an operand, or elements, as [`Cpu::read_places`] reads them.
    fn write_places(
        &mut self,
        address: u64,
        element: Option<usize>,
        data: &[u8],
        privilege: Privilege,
    ) -> Result<(), Fault> {
        let mode = self.processor.mmu_mode(privilege);
        if (address & 0xfff) as usize + data.len() > 4096 {
            self.probe_write(address, data.len(), privilege)?;
        }
        let mut done = 0;
        while done < data.len() {
            let at = self.wrap(address.wrapping_add(done as u64));
            let count = (4096 - (at & 0xfff) as usize).min(data.len() - done);
            let part = &data[done..done + count];
            match self.target(at, true, mode)? {
                Target::Ram(host) => {
                    // SAFETY: a RAM place is valid to the end of its page.
                    unsafe {
                        match element {
                            Some(size) => single_copy::copy(size, part.as_ptr(), host, count / size),
                            None => single_copy::operand(part.as_ptr(), host, count),
                        }
                    };
                    self.wrote_code(host, count);
                }
                Target::Mmio(physical) => self.mmio_write(physical, part),
            }
            done += count;
        }
        Ok(())
    }

    /// Sets some bits of a byte, or clears some, in one locked access, as the processor does in descriptors (SDM vol. 3, "Automatic
    /// Locking"). Returns what the byte was.
    pub(crate) fn change_byte(&mut self, address: u64, set: u8, clear: u8) -> Result<u8, Fault> {
        let mode = self.processor.mmu_mode(Privilege::System);
        match self.target(address, true, mode)? {
            Target::Ram(host) => {
                // SAFETY: a RAM place is valid to the end of its page; others write it at any time, so it is an atomic.
                let byte = unsafe { &*host.cast::<AtomicU8>() };
                let old = if clear == 0 {
                    byte.fetch_or(set, Ordering::SeqCst)
                } else {
                    byte.fetch_and(!clear, Ordering::SeqCst)
                };
                self.wrote_code(host, 1);
                Ok(old)
            }
            Target::Mmio(physical) => {
                let mut byte = [0];
                self.mmio_read(physical, &mut byte);
                self.mmio_write(physical, &[(byte[0] | set) & !clear]);
                Ok(byte[0])
            }
        }
    }

    /// Reads 1, 2, 4 or 8 bytes, zero-extended.
    pub fn load(&mut self, address: u64, size: usize, privilege: Privilege) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read_linear(address, &mut bytes[..size], privilege)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes the low 1, 2, 4 or 8 bytes of `value`.
    pub fn store(
        &mut self,
        address: u64,
        size: usize,
        value: u64,
        privilege: Privilege,
    ) -> Result<(), Fault> {
        self.write_linear(address, &value.to_le_bytes()[..size], privilege)
    }

    /// Raises what a write of `size` bytes would raise, and sets A and D bits, without writing.
    pub fn probe_write(&mut self, address: u64, size: usize, privilege: Privilege) -> Result<(), Fault> {
        let mode = self.processor.mmu_mode(privilege);
        let last = address.wrapping_add(size.max(1) as u64 - 1);
        let mut page = address & !0xfff;
        loop {
            let at = self.wrap(page.max(address.min(page | 0xfff)));
            self.target(at, true, mode)?;
            if page == last & !0xfff {
                return Ok(());
            }
            page = page.wrapping_add(4096);
        }
    }

    /// Linear addresses are 32 bits wide outside 64-bit mode.
    fn wrap(&self, address: u64) -> u64 {
        if self.processor.regs.long_mode() { address } else { address & 0xffff_ffff }
    }

    /// Host address of a byte that may be read (or written) up to the end of its page without further checks, for bulk
    /// copies; `None` for MMIO and for pages that need a look at every write. Faults are the access's own.
    pub fn host_page(
        &mut self,
        address: u64,
        write: bool,
        privilege: Privilege,
    ) -> Result<Option<*mut u8>, Fault> {
        let mode = self.processor.mmu_mode(privilege);
        let place = self.target(address, write, mode)?;
        if write {
            return Ok(self.mmu.banks.current().lookup(mode, address, true));
        }
        Ok(match place {
            Target::Ram(host) => Some(host),
            Target::Mmio(_) => None,
        })
    }

    /// Whether an access goes to the local APIC's registers. Who moves them over the memory of system-management mode finds them there
    /// outside of it, and its handler does not.
    fn is_apic(&self, physical: u64) -> bool {
        self.processor.apic.decode(physical).is_some() && !self.mmu.physical.manages(physical)
    }

    /// Reads memory or MMIO at a physical address within one page.
    pub fn read_physical(&mut self, address: u64, data: &mut [u8]) {
        if self.is_apic(address) || !self.mmu.physical.read(address, data) {
            self.mmio_read(address, data);
        }
    }

    pub fn write_physical(&mut self, address: u64, data: &[u8]) {
        if self.is_apic(address) || !self.mmu.physical.write(address, data) {
            self.mmio_write(address, data);
        } else if let Some(host) = self.mmu.physical.host(address) {
            self.wrote_code(host, data.len());
        }
    }

    /// Reads device registers in naturally sized and aligned pieces.
    pub fn mmio_read(&mut self, address: u64, data: &mut [u8]) {
        self.instruments.counters.mmio += 1;
        if let Some(offset) = self.processor.apic.decode(address) {
            return self.apic().read_mmio(offset, data);
        }
        // Of what cannot be written, for an instruction that reads and writes.
        if self.mmu.physical.read(address, data) {
            return;
        }
        // A device may run any library code, AVX and all.
        self.fpu_sync();
        for (at, range) in pieces(address, data.len()) {
            let part = &mut data[range];
            match &self.platform.bus {
                Some(bus) => bus.read(Space::Mmio, at, part),
                None => part.fill(0xff),
            }
        }
    }

    pub fn mmio_write(&mut self, address: u64, data: &[u8]) {
        self.instruments.counters.mmio += 1;
        if let Some(offset) = self.processor.apic.decode(address) {
            self.apic().write_mmio(offset, data);
            // EOI, TPR or ICR: an interrupt may be deliverable now.
            return self.request_attention();
        }
        // Shadow RAM that is written and not read is no device, and what was translated there is not of it.
        if self.mmu.physical.write(address, data) {
            return;
        }
        self.fpu_sync();
        if let Some(bus) = &self.platform.bus {
            for (at, range) in
                pieces(address, data.len()).filter(|piece| self.mmu.physical.reaches_device(piece.0))
            {
                bus.write(Space::Mmio, at, &data[range]);
            }
        }
        self.mmu.drop_unplugged();
    }
}

/// Cuts an access into pieces of 1, 2, 4 or 8 bytes, each naturally aligned.
fn pieces(address: u64, size: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= size {
            return None;
        }
        let at = address + done as u64;
        let mut count = 8;
        while count > size - done || !at.is_multiple_of(count as u64) {
            count /= 2;
        }
        let range = done..done + count;
        done += count;
        Some((at, range))
    })
}
