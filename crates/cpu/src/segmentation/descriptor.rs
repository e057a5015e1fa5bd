//! Descriptors in the GDT and LDT: fetching them, and setting their accessed and busy bits.

use crate::cpu::Privilege;
use crate::{Cpu, Fault};
use ireko_x86::descriptor::{ACCESS_BYTE, ACCESSED, ATTR_V86, BUSY, RPL, TI, is_null, segment};
use ireko_x86::exception::vector;
use ireko_x86::{Exception, Segment};

/// A descriptor and where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub selector: u16,
    /// Linear address.
    pub address: u64,
    /// The low eight bytes.
    pub raw: u64,
}

impl Entry {
    pub const fn segment(&self) -> Segment {
        segment(self.selector, self.raw)
    }
    /// A fault that names this selector.
    pub fn fault(&self, vector: u8) -> Fault {
        fault(vector, self.selector)
    }
}

/// A fault with a selector error code (APM vol. 2, 8.4.1).
pub fn fault(vector: u8, selector: u16) -> Fault {
    Exception::with_error(vector, (selector & !RPL).into()).into()
}

/// Linear address of a descriptor of `size` bytes, if its table has it.
fn place(cpu: &Cpu, selector: u16, size: u64) -> Option<u64> {
    let (base, limit) = if selector & TI == 0 {
        (cpu.processor.regs.gdtr.base, cpu.processor.regs.gdtr.limit.into())
    } else if cpu.processor.regs.ldtr.present() {
        (cpu.processor.regs.ldtr.base, u64::from(cpu.processor.regs.ldtr.limit))
    } else {
        return None;
    };
    let offset = u64::from(selector & !(RPL | TI));
    (offset + size - 1 <= limit).then(|| cpu.system_linear(base.wrapping_add(offset)))
}

/// The descriptor of a selector; `vector` with the selector if it is null or beyond its table.
pub fn fetch(cpu: &mut Cpu, selector: u16, vector: u8) -> Result<Entry, Fault> {
    if is_null(selector) {
        return Err(fault(vector, 0));
    }
    let address = place(cpu, selector, 8).ok_or_else(|| fault(vector, selector))?;
    let raw = cpu.load(address, 8, Privilege::System)?;
    Ok(Entry { selector, address, raw })
}

/// The high eight bytes of a long-mode system descriptor.
pub fn upper(cpu: &mut Cpu, entry: &Entry, vector: u8) -> Result<u64, Fault> {
    place(cpu, entry.selector, 16).ok_or_else(|| entry.fault(vector))?;
    cpu.load(cpu.system_linear(entry.address.wrapping_add(8)), 8, Privilege::System)
}

/// Sets bits of the access byte in memory and in `entry`, and returns what it was in memory.
fn mark(cpu: &mut Cpu, entry: &mut Entry, bits: u8) -> Result<u8, Fault> {
    entry.raw |= u64::from(bits) << 40;
    cpu.change_byte(cpu.system_linear(entry.address.wrapping_add(ACCESS_BYTE)), bits, 0)
}

/// Marks a task's descriptor busy; `vector` if another processor was first: the test is in the same locked access (SDM vol. 3, "Automatic
/// Locking": "When setting the B (busy) flag in the TSS descriptor, the processor tests and sets").
pub fn mark_busy(cpu: &mut Cpu, entry: &mut Entry, vector: u8) -> Result<(), Fault> {
    let old = mark(cpu, entry, BUSY)?;
    if old & BUSY != 0 { Err(entry.fault(vector)) } else { Ok(()) }
}

/// Clears bits of the access byte in memory and in `entry`.
pub fn clear(cpu: &mut Cpu, entry: &mut Entry, bits: u8) -> Result<(), Fault> {
    entry.raw &= !(u64::from(bits) << 40);
    cpu.change_byte(cpu.system_linear(entry.address.wrapping_add(ACCESS_BYTE)), 0, bits).map(|_| ())
}

/// Marks a code or data descriptor accessed and gives the segment it makes, with this RPL in the selector.
pub fn accessed(cpu: &mut Cpu, mut entry: Entry, rpl: u8) -> Result<Segment, Fault> {
    if entry.raw & u64::from(ACCESSED) << 40 == 0 {
        mark(cpu, &mut entry, ACCESSED)?;
    }
    Ok(segment(entry.selector & !RPL | u16::from(rpl), entry.raw))
}

/// The code segment to enter with privilege `cpl`: present, and not of both sizes in long mode.
pub fn checked_code(cpu: &Cpu, entry: &Entry) -> Result<Segment, Fault> {
    let code = entry.segment();
    if !code.is_code() || (cpu.processor.regs.long_mode() && code.long() && code.big()) {
        return Err(entry.fault(vector::GP));
    }
    Ok(code)
}

/// Where execution may go on in `code`: canonical in 64-bit code, else within the limit.
pub fn checked_target(cpu: &Cpu, code: &Segment, target: u64) -> Result<u64, Fault> {
    let fits = if cpu.processor.regs.long_mode() && code.long() {
        cpu.processor.regs.canonical(target)
    } else {
        target <= code.limit.into()
    };
    if fits { Ok(target) } else { Err(Fault::gp(0)) }
}

/// The stack segment for privilege `dpl` (APM vol. 2, 4.12.2): writable data, RPL and DPL as told, present.
pub fn checked_stack(cpu: &mut Cpu, selector: u16, dpl: u8, vector: u8) -> Result<Segment, Fault> {
    let entry = fetch(cpu, selector, vector)?;
    let stack = entry.segment();
    let data = stack.is_user() && !stack.is_code() && stack.writable();
    if !data || stack.dpl() != dpl || (selector & RPL) as u8 != dpl {
        return Err(entry.fault(vector));
    }
    if !stack.present() {
        return Err(entry.fault(vector::SS));
    }
    accessed(cpu, entry, dpl)
}

/// The null stack segment of 64-bit mode at privilege `cpl`.
pub const fn null_stack(cpl: u8) -> Segment {
    Segment { base: 0, limit: 0, attr: 0, selector: cpl as u16 }
}

/// A data segment, or code that can be read; `vector` if the selector is of neither.
pub fn checked_data(cpu: &mut Cpu, selector: u16, vector: u8) -> Result<Segment, Fault> {
    if is_null(selector) {
        return Ok(Segment { selector, ..Segment::default() });
    }
    let entry = fetch(cpu, selector, vector)?;
    let data = entry.segment();
    let rpl = (selector & RPL) as u8;
    let kind = data.is_user() && (!data.is_code() || data.readable());
    let open = data.is_code() && data.conforming();
    if !kind || (!open && data.dpl() < rpl.max(cpu.processor.regs.cpl)) {
        return Err(entry.fault(vector));
    }
    if !data.present() {
        return Err(entry.fault(vector::NP));
    }
    accessed(cpu, entry, rpl)
}

/// A segment of virtual-8086 mode.
pub const fn v86_segment(selector: u16) -> Segment {
    Segment { base: (selector as u64) << 4, limit: 0xffff, attr: ATTR_V86, selector }
}

impl Cpu {
    /// A linear address of the system tables: 32 bits wide outside long mode.
    pub fn system_linear(&self, address: u64) -> u64 {
        if self.processor.regs.long_mode() { address } else { address & 0xffff_ffff }
    }

    /// Reads `size` bytes of the current TSS at `offset`; #TS if beyond its limit.
    pub fn load_tss(&mut self, offset: u64, size: usize) -> Result<u64, Fault> {
        let tr = self.processor.regs.tr;
        if offset + size as u64 - 1 > tr.limit.into() {
            return Err(fault(vector::TS, tr.selector));
        }
        self.load(self.system_linear(tr.base.wrapping_add(offset)), size, Privilege::System)
    }
}
