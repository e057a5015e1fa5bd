//! What translated code asks of Rust: accesses that miss the TLB, commits, system instructions.

// UNSAFETY: called from machine code with the processor's address; hands out host addresses of guest memory.
#![allow(unsafe_code)]

use crate::breakpoints::Touch;
use crate::code::at_page;
use crate::cpu::{Cpu, Privilege};
use crate::data::opmask;
use crate::data::{mxcsr, vector as registers, xsave_area};
use crate::fault::{Fault, Next};
use crate::hooks;
use crate::pending::{Chosen, Pending, Target};
use crate::routine::Routine;
use crate::single_copy;
use iced_x86::{CpuidFeature, EncodingKind, FlowControl, Instruction, Mnemonic, Register};
use ireko_nested::Shadow;
use ireko_translate::{Site, SiteKind};
use ireko_x86::Exception;
use ireko_x86::exception::vector;
use ireko_x86::regs::seg;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// Runs `body` on the processor; a panic of ours becomes a report instead of unwinding into machine code.
fn guarded<T>(context: u64, failed: T, body: impl FnOnce(&mut Cpu) -> T) -> T {
    // SAFETY: `context` is the address of the processor that runs this code, on this thread; nobody else uses it now.
    let cpu = unsafe { &mut *(context as *mut Cpu) };
    match catch_unwind(AssertUnwindSafe(|| body(cpu))) {
        Ok(value) => value,
        Err(_) => {
            cpu.handoff.outcome = Some(Fault::Engine("a routine panicked".into()));
            failed
        }
    }
}

pub extern "C" fn access(context: u64, site: u64, address: u64) -> u64 {
    guarded(context, 0, |cpu| {
        let site = cpu.site(site);
        match hooks::access(cpu, &site, address, Cpu::slow_access) {
            Ok(host) => host as u64,
            Err(fault) => {
                cpu.processor.regs.rip = site.insn.ip();
                cpu.handoff.outcome = Some(fault);
                0
            }
        }
    })
}

pub extern "C" fn commit(context: u64, site: u64) -> u32 {
    guarded(context, 1, |cpu| {
        let site = cpu.site(site);
        cpu.code.undone = false;
        cpu.commit();
        let leave = cpu.code.undone && site.may_leave;
        if leave {
            cpu.processor.regs.rip = cpu.processor.regs.behind(site.insn.ip(), site.insn.len());
        }
        leave as u32
    })
}

pub extern "C" fn system(context: u64, site: u64) -> u32 {
    guarded(context, 1, |cpu| {
        let site = cpu.site(site);
        hooks::system(cpu, &site, Cpu::system_instruction) as u32
    })
}

impl Cpu {
    /// The site that code which is running now calls from.
    #[inline]
    fn site(&mut self, site: u64) -> Site {
        let site = self.code.site(site as u32);
        if site.relative { at_page(*site, self.code_page()) } else { *site }
    }
}

/// Routines by iced's code number.
fn routine(code: iced_x86::Code) -> Option<Routine> {
    static TABLE: OnceLock<Vec<Option<Routine>>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        iced_x86::Code::values()
            .map(|code| crate::routines::routine(code).or_else(|| mxcsr::routine(code)))
            .collect()
    });
    table[code as usize]
}

/// Where byte `n` of two places is, the first of which has `first` bytes.
fn within(places: [Target; 2], first: usize, n: usize) -> Target {
    let (place, offset) = if n < first { (places[0], n) } else { (places[1], n - first) };
    match place {
        Target::Ram(host) => Target::Ram(host.wrapping_add(offset)),
        Target::Mmio(physical) => Target::Mmio(physical + offset as u64),
    }
}

/// SSE and AVX forms whose memory operand must be aligned to its size.
fn demands_alignment(insn: &Instruction) -> bool {
    use Mnemonic::*;
    if !matches!(insn.memory_size().size(), 16 | 32 | 64) {
        return false;
    }
    match insn.code().encoding() {
        EncodingKind::VEX => matches!(
            insn.mnemonic(),
            Vmovaps | Vmovapd | Vmovdqa | Vmovntps | Vmovntpd | Vmovntdq | Vmovntdqa
        ),
        EncodingKind::EVEX => matches!(
            insn.mnemonic(),
            Vmovaps | Vmovapd | Vmovdqa32 | Vmovdqa64 | Vmovntps | Vmovntpd | Vmovntdq | Vmovntdqa
        ),
        _ => {
            let vector =
                (0..insn.op_count()).any(|n| insn.op_register(n).is_xmm() || insn.op_register(n).is_mm());
            insn.mnemonic() == Cmpxchg16b
                || vector
                    && !matches!(
                        insn.mnemonic(),
                        Movups
                            | Movupd
                            | Movdqu
                            | Lddqu
                            | Pcmpestri
                            | Pcmpestri64
                            | Pcmpestrm
                            | Pcmpestrm64
                            | Pcmpistri
                            | Pcmpistrm
                    )
                    && !insn.cpuid_features().contains(&CpuidFeature::SHA)
        }
    }
}

/// Reads and writes its memory operand in one (SDM vol. 3, "Bus Locking"): XCHG does without a prefix.
fn is_locked(insn: &Instruction) -> bool {
    insn.has_lock_prefix() || insn.mnemonic() == Mnemonic::Xchg
}

/// Moves that are aligned by their name, whatever MXCSR says.
fn aligned_by_name(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, Movaps | Movapd | Movdqa | Movntps | Movntpd | Movntdq | Movntdqa | Cmpxchg16b)
}

impl Cpu {
    /// MXCSR.MM: operands of other legacy SSE instructions need no alignment (APM vol. 1, 4.3.2).
    fn waives_alignment(&mut self, site: &Site) -> bool {
        let legacy = site.insn.code().encoding() == EncodingKind::Legacy;
        if !legacy || aligned_by_name(site.insn.mnemonic()) {
            return false;
        }
        self.fpu_sync();
        xsave_area::mxcsr_value(self) & xsave_area::MM != 0
    }

    fn slow_access(&mut self, site: &Site, address: u64) -> Result<*mut u8, Fault> {
        self.instruments.counters.slow_accesses += 1;
        let SiteKind::Access { read, write, offset } = site.kind else { return Err(Fault::ud()) };
        if let Some(chosen) = self.chosen(&site.insn) {
            return self.masked_access(site, address, chosen);
        }
        let size = usize::from(site.size);
        let linear = if offset {
            self.linear(site.segment.into(), address, size as u64, write)?
        } else {
            self.checked(site, address, size as u64)?
        };
        let misaligned = linear & (size as u64 - 1) != 0 && demands_alignment(&site.insn);
        if misaligned && !self.waives_alignment(site) {
            // Before any page fault (SDM vol. 1, 4.1.1).
            return Err(Fault::gp(0));
        }
        // The host's own instruction wants it aligned, unless it knows MM.
        let start = if misaligned && self.processor.mm.is_some() { 0 } else { (linear & 63) as usize };
        let direct = start as u64 == linear & 63;
        let first = size.min(4096 - (linear & 0xfff) as usize);
        // In two pages it is done in two pieces, which nobody must come between.
        if first < size && read && write && is_locked(&site.insn) && !self.platform.seat.is_alone() {
            return Err(Fault::Together);
        }
        self.watch(linear, size, if write { Touch::Write } else { Touch::Read });
        let mode = self.processor.mmu_mode(Privilege::Current);
        let place = self.target(linear, write, mode)?;
        self.check_vector_alignment(linear, size)?;
        if first == size && direct {
            return Ok(self.one_target(place, start, size, read, write));
        }
        if first == size {
            return Ok(self.bounce(start, size, size, [place, place], read, write));
        }
        let next = self.target(linear.wrapping_add(first as u64), write, mode)?;
        Ok(self.bounce(start, size, first, [place, next], read, write))
    }

    /// Which bytes of its operand a masked instruction accesses.
    fn chosen(&mut self, insn: &Instruction) -> Option<Chosen> {
        if insn.op_mask() == Register::None {
            return None;
        }
        let mask = registers::opmask(self, insn.op_mask());
        opmask::chosen(insn, mask)
    }

    /// As [`Cpu::slow_access`], for what is chosen of an operand: the rest may lie where there is nothing.
    fn masked_access(&mut self, site: &Site, address: u64, chosen: Chosen) -> Result<*mut u8, Fault> {
        let SiteKind::Access { write, offset, .. } = site.kind else { return Err(Fault::ud()) };
        let whole = usize::from(site.size);
        let base = if offset { self.processor.regs.seg[usize::from(site.segment)].base } else { 0 };
        let start = (base.wrapping_add(address) & 63) as usize;
        // Nothing chosen, nothing misaligned: silicon faults if one element is chosen, whichever it is.
        let Some(hull) = chosen.hull() else { return Ok(self.handoff.bounce.0[start..].as_mut_ptr()) };
        if start & (whole - 1) != 0 && demands_alignment(&site.insn) {
            return Err(Fault::gp(0));
        }
        let (low, size) = (hull.start, hull.len());
        let from = self.processor.regs.in_mode(address.wrapping_add(low as u64));
        let linear = if offset {
            self.linear(site.segment.into(), from, size as u64, write)?
        } else {
            self.checked(site, from, size as u64)?
        };
        self.watch(linear, size, if write { Touch::Write } else { Touch::Read });
        let mode = self.processor.mmu_mode(Privilege::Current);
        let first = size.min(4096 - (linear & 0xfff) as usize);
        let place = self.target(linear, write, mode)?;
        self.check_vector_alignment(base.wrapping_add(address), chosen.aligned)?;
        let in_page = (low..=4096 - (whole - low)).contains(&((linear & 0xfff) as usize));
        if let (Target::Ram(host), true) = (place, in_page) {
            if write {
                self.note_code_write(host, size);
            }
            return Ok(host.wrapping_sub(low));
        }
        let next =
            if first < size { self.target(linear.wrapping_add(first as u64), write, mode)? } else { place };
        let places = [place, next];
        self.bounce_chosen(start + low, size, first, places, chosen.from(low), write);
        Ok(self.handoff.bounce.0[start..].as_mut_ptr())
    }

    /// Readies the chosen bytes of an operand in the bounce buffer: for a load they are read, for a store they will be written.
    fn bounce_chosen(
        &mut self,
        start: usize,
        size: usize,
        first: usize,
        places: [Target; 2],
        chosen: Chosen,
        write: bool,
    ) {
        if write {
            let chosen = Some(chosen);
            return self.set_pending(Pending::Bounced { start, size, first, places, chosen });
        }
        for piece in chosen.pieces(size, first) {
            let mut bytes = [0; 64];
            let bytes = &mut bytes[..piece.len()];
            self.read_target(within(places, first, piece.start), bytes);
            self.handoff.bounce.0[start + piece.start..][..bytes.len()].copy_from_slice(bytes);
        }
    }

    /// A linear address that translated code has computed: canonical in 64-bit mode, elsewhere in a segment of 4 GiB, past
    /// whose limit an operand must not reach (APM vol. 2, 4.12).
    fn checked(&self, site: &Site, address: u64, size: u64) -> Result<u64, Fault> {
        const TOP: u64 = 0xffff_ffff;
        if !self.processor.regs.code64() {
            let offset = address.wrapping_sub(self.processor.regs.seg[usize::from(site.segment)].base) & TOP;
            if offset + size <= TOP + 1 {
                return Ok(address & TOP);
            }
        } else if self.processor.regs.canonical(address)
            && self.processor.regs.canonical(address.wrapping_add(size - 1))
        {
            return Ok(address);
        }
        let stack = usize::from(site.segment) == seg::SS;
        Err(Exception::with_error(if stack { vector::SS } else { vector::GP }, 0).into())
    }

    fn one_target(&mut self, place: Target, start: usize, size: usize, read: bool, write: bool) -> *mut u8 {
        match place {
            Target::Ram(host) => {
                if write {
                    self.note_code_write(host, size);
                }
                host
            }
            Target::Mmio(_) => self.bounce(start, size, size, [place, place], read, write),
        }
    }

    fn note_code_write(&mut self, host: *mut u8, size: usize) {
        let Some(physical) = self.mmu.physical.guest(host) else { return };
        if self.mmu.physical.memory().watch().watched(physical >> 12) {
            self.set_pending(Pending::Code { physical, size });
        }
    }

    fn set_pending(&mut self, pending: Pending) {
        self.handoff.pending = Some(pending);
        self.mmu.banks.current().hot_mut().pending = 1;
    }

    fn bounce(
        &mut self,
        start: usize,
        size: usize,
        first: usize,
        places: [Target; 2],
        read: bool,
        write: bool,
    ) -> *mut u8 {
        // A store that does not happen after all (x87, with an unmasked exception) must leave what was there.
        let memory = places.iter().all(|p| matches!(p, Target::Ram(_)));
        if read || !write || memory {
            let mut bytes = [0; 512];
            self.read_target(places[0], &mut bytes[..first]);
            self.read_target(places[1], &mut bytes[first..size]);
            self.handoff.bounce.0[start..start + size].copy_from_slice(&bytes[..size]);
        }
        if write {
            self.set_pending(Pending::Bounced { start, size, first, places, chosen: None });
        }
        self.handoff.bounce.0[start..].as_mut_ptr()
    }

    fn read_target(&mut self, place: Target, data: &mut [u8]) {
        match place {
            // SAFETY: a RAM place is valid to the end of its page, and `data` does not reach beyond.
            Target::Ram(host) => unsafe { single_copy::operand(host, data.as_mut_ptr(), data.len()) },
            Target::Mmio(physical) if !data.is_empty() => self.mmio_read(physical, data),
            Target::Mmio(_) => {}
        }
    }

    fn write_target(&mut self, place: Target, data: &[u8]) {
        match place {
            // What was written before, to a device, may have made the memory go.
            Target::Ram(host) if !data.is_empty() && self.mmu.physical.holds(host) => {
                // SAFETY: as in `read_target`.
                unsafe { single_copy::operand(data.as_ptr(), host, data.len()) };
                self.wrote_code(host, data.len());
            }
            Target::Mmio(physical) if !data.is_empty() => self.mmio_write(physical, data),
            Target::Ram(_) | Target::Mmio(_) => {}
        }
    }

    fn commit(&mut self) {
        self.mmu.banks.current().hot_mut().pending = 0;
        match self.handoff.pending.take() {
            Some(Pending::Code { physical, size }) => self.wrote_physical(physical, size),
            Some(Pending::Bounced { start, size, first, places, chosen: None }) => {
                let mut bytes = [0; 512];
                bytes[..size].copy_from_slice(&self.handoff.bounce.0[start..start + size]);
                self.write_target(places[0], &bytes[..first]);
                self.write_target(places[1], &bytes[first..size]);
            }
            Some(Pending::Bounced { start, size, first, places, chosen: Some(chosen) }) => {
                let mut bytes = [0; 64];
                bytes[..size].copy_from_slice(&self.handoff.bounce.0[start..start + size]);
                for piece in chosen.pieces(size, first) {
                    self.write_target(within(places, first, piece.start), &bytes[piece]);
                }
            }
            None => {}
        }
    }

    /// Does a system instruction; `true` if translated code must be left.
    fn system_instruction(&mut self, site: &Site) -> bool {
        self.instruments.counters.system += 1;
        let insn = &site.insn;
        self.processor.regs.rip = insn.ip();
        let result = match site.kind {
            SiteKind::System => {
                self.processor.next_rip = self.processor.regs.behind(insn.ip(), insn.len());
                self.code.undone = false;
                if insn.is_save_restore_instruction() {
                    self.fpu_normalise();
                }
                let shadow = self.processor.shadow;
                let result = match routine(insn.code()) {
                    Some(routine) => routine(self, insn),
                    None => Err(Fault::ud()),
                };
                if shadow.is_on() && result.is_ok() {
                    self.processor.shadow = Shadow::None;
                }
                result
            }
            SiteKind::Raise(vector::GP) => Err(Fault::gp(0)),
            SiteKind::Raise(vector) => Err(Exception::new(vector).into()),
            SiteKind::Access { .. } => Err(Fault::ud()),
        };
        match result {
            Ok(Next::Jump) => true,
            Ok(next) => {
                self.processor.regs.rip = self.processor.regs.behind(insn.ip(), insn.len());
                if insn.mnemonic() == Mnemonic::Wrmsr || insn.op0_register() == Register::CR8 {
                    // EOI, TPR, ICR or a timer: an interrupt may be deliverable now.
                    self.request_attention();
                }
                let flows = insn.flow_control() == FlowControl::Next;
                // An instruction that serializes finds what other processors have written of its code.
                next == Next::Resync || !flows || self.code.undone || self.platform.seat.is_asked()
            }
            Err(fault) => {
                self.handoff.outcome = Some(fault);
                true
            }
        }
    }
}

#[cfg(test)]
#[path = "slow_tests.rs"]
mod tests;
