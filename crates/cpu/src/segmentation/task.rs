//! Hardware task switches (APM vol. 2, 12.3 and 12.4).

use super::descriptor::{
    Entry, accessed, checked_data, checked_stack, clear, fault, fetch, mark_busy, v86_segment,
};
use super::stack::Stack;
use crate::control_registers;
use crate::cpu::Privilege;
use crate::{Cpu, Fault};
use ireko_nested::Shadow;
use ireko_nested::{Exit, Intercept};
use ireko_x86::Segment;
use ireko_x86::bits::{cr0, dr6, dr7, rflags};
use ireko_x86::descriptor::{BUSY, Gate, RPL, TI, is_null, kind};
use ireko_x86::exception::{Exception, vector};
use ireko_x86::regs::{gpr, seg};

/// What switches tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Jump,
    Call,
    /// IRET with RFLAGS.NT.
    Return,
    /// An event through a task gate, with its error code.
    Event(Option<u32>),
}

impl Cause {
    /// The new task can return to the old one, which stays busy.
    fn nests(self) -> bool {
        matches!(self, Self::Call | Self::Event(_))
    }
    /// What a task-state segment that will not do raises before anything has changed.
    fn fault(self) -> u8 {
        if self == Self::Return { vector::TS } else { vector::GP }
    }
}

/// Where a task-state segment has what (APM vol. 2, figures 12-3 and 12-4).
#[derive(Clone, Copy)]
struct Layout {
    size: usize,
    /// IP, flags, eight general registers, then the segments.
    state: u64,
    word: usize,
    segments: usize,
    ldt: usize,
}

const LAYOUT16: Layout = Layout { size: 0x2c, state: 0x0e, word: 2, segments: 4, ldt: 0x2a };
const LAYOUT32: Layout = Layout { size: 0x68, state: 0x20, word: 4, segments: 6, ldt: 0x60 };
const CR3: usize = 0x1c;
const TRAP: usize = 0x64;
const LONGEST: usize = LAYOUT32.size;

impl Layout {
    fn of(tss: &Segment) -> Self {
        if tss.kind() & 8 != 0 { LAYOUT32 } else { LAYOUT16 }
    }
    fn at(self, n: usize) -> usize {
        self.state as usize + n * self.word
    }
    fn value(self, bytes: &[u8; LONGEST], at: usize) -> u64 {
        (0..self.word).rev().fold(0, |sum, n| sum << 8 | u64::from(bytes[at + n]))
    }
}

/// Switches to the task of `selector`; the old one goes on at `back`, with `flags`.
pub fn switch(cpu: &mut Cpu, selector: u16, cause: Cause, back: u64, flags: u64) -> Result<(), Fault> {
    let mut entry = incoming(cpu, selector, cause)?;
    intercepted(cpu, selector, cause)?;
    let (tss, old) = (entry.segment(), cpu.processor.regs.tr);
    let (layout, outgoing) = (Layout::of(&tss), Layout::of(&old));
    if tss.limit < layout.size as u32 - 1 {
        return Err(entry.fault(vector::TS));
    }
    if old.limit < outgoing.size as u32 - 1 {
        return Err(fault(vector::TS, old.selector));
    }
    let place = cpu.system_linear(tss.base);
    let mut bytes = [0; LONGEST];
    cpu.read_linear(place, &mut bytes[..layout.size], Privilege::System)?;
    cpu.probe_write(cpu.system_linear(old.base), outgoing.size, Privilege::System)?;
    let left = if cause.nests() {
        cpu.probe_write(place, layout.size, Privilege::System)?;
        None
    } else {
        Some(fetch(cpu, old.selector, vector::TS)?)
    };
    // What another processor took meanwhile is found while nothing has changed.
    if cause != Cause::Return {
        mark_busy(cpu, &mut entry, cause.fault())?;
    }
    // A task that nobody returns to is not busy any more, unless it is the one that is jumped to.
    let again = |left: &Entry| cause != Cause::Return && left.address == entry.address;
    if let Some(mut left) = left.filter(|left| !again(left)) {
        clear(cpu, &mut left, BUSY)?;
    }
    let flags = if cause == Cause::Return { flags & !rflags::NT } else { flags };
    save(cpu, outgoing, back, flags)?;
    if cause.nests() {
        cpu.store(place, 2, old.selector.into(), Privilege::System)?;
    }
    cpu.processor.regs.tr = Segment { attr: tss.attr | u16::from(BUSY), ..tss };
    load(cpu, layout, &bytes, cause.nests())?;
    enter(cpu, layout, &bytes, cause)
}

/// The descriptor of the task to switch to: in the GDT, present, and idle, or for a return busy.
fn incoming(cpu: &mut Cpu, selector: u16, cause: Cause) -> Result<Entry, Fault> {
    let entry = fetch(cpu, selector, cause.fault())?;
    let descriptor = entry.segment();
    let wanted = match cause {
        Cause::Return => [kind::TSS16_BUSY, kind::TSS32_BUSY],
        _ => [kind::TSS16_AVAILABLE, kind::TSS32_AVAILABLE],
    };
    let good = selector & TI == 0 && !descriptor.is_user() && wanted.contains(&descriptor.kind());
    if !good {
        return Err(entry.fault(cause.fault()));
    }
    if descriptor.present() { Ok(entry) } else { Err(entry.fault(vector::NP)) }
}

/// The intercept comes once the incoming task is known to be one, before anything changes (APM vol. 2, 15.14.1).
fn intercepted(cpu: &Cpu, selector: u16, cause: Cause) -> Result<(), Fault> {
    if !cpu.control().is_some_and(|control| control.has(Intercept::TaskSwitch)) {
        return Ok(());
    }
    let error = if let Cause::Event(error) = cause { error } else { None };
    let (iret, jump) = (cause == Cause::Return, cause == Cause::Jump);
    Err(Fault::Exit(Exit::TaskSwitch { selector, error, iret, jump }))
}

/// General registers in the order of a task-state segment, which is that of their numbers.
const GENERAL: usize = 8;

fn save(cpu: &mut Cpu, layout: Layout, back: u64, flags: u64) -> Result<(), Fault> {
    let base = cpu.processor.regs.tr.base;
    let mut values = [0; 2 + GENERAL + 6];
    (values[0], values[1]) = (back, flags);
    values[2..10].copy_from_slice(&cpu.processor.regs.gpr[..GENERAL]);
    for (value, segment) in values[10..].iter_mut().zip(&cpu.processor.regs.seg) {
        *value = segment.selector.into();
    }
    for (n, value) in values[..10 + layout.segments].iter().enumerate() {
        let size = if n < 10 { layout.word } else { 2 };
        let address = cpu.system_linear(base.wrapping_add(layout.at(n) as u64));
        cpu.store(address, size, *value, Privilege::System)?;
    }
    Ok(())
}

/// What can be loaded without a look at descriptors. What faults from here on, faults in the new task.
fn load(cpu: &mut Cpu, layout: Layout, bytes: &[u8; LONGEST], nested: bool) -> Result<(), Fault> {
    let value = |n| layout.value(bytes, layout.at(n));
    let regs = &mut cpu.processor.regs;
    regs.rip = value(0);
    let linked = if nested { rflags::NT } else { 0 };
    regs.rflags = value(1) & rflags::DEFINED | linked | 2;
    for n in 0..GENERAL {
        regs.gpr[n] = value(2 + n);
    }
    for n in 0..6 {
        let selector = if n < layout.segments { value(10 + n) as u16 } else { 0 };
        regs.seg[n] = Segment { selector, ..Segment::default() };
    }
    let selector = layout.value(bytes, layout.ldt) as u16;
    regs.ldtr = Segment { selector, ..Segment::default() };
    regs.cpl = if regs.v86() { 3 } else { (regs.seg[seg::CS].selector & RPL) as u8 };
    regs.cr0 |= cr0::TS;
    regs.dr7 &= !dr7::LOCAL;
    cpu.processor.shadow = Shadow::None;
    if layout.word == 4 && cpu.processor.regs.cr0 & cr0::PG != 0 {
        control_registers::load_cr3(cpu, layout.value(bytes, CR3), false)
            .map_err(|_| fault(vector::TS, cpu.processor.regs.tr.selector))?;
    }
    Ok(())
}

/// Segments by their descriptors, then the error code, the limit, and the task's debug trap.
fn enter(cpu: &mut Cpu, layout: Layout, bytes: &[u8; LONGEST], cause: Cause) -> Result<(), Fault> {
    load_ldt(cpu)?;
    if cpu.processor.regs.v86() {
        cpu.processor.regs.seg = cpu.processor.regs.seg.map(|segment| v86_segment(segment.selector));
    } else {
        load_segments(cpu)?;
    }
    if let Cause::Event(Some(error)) = cause {
        let size = layout.word;
        cpu.processor.regs.gpr[gpr::RSP] = Stack::current(cpu).push_all(cpu, size, &[error.into()])?;
    }
    if cpu.processor.regs.rip > cpu.processor.regs.seg[seg::CS].limit.into() {
        return Err(Fault::gp(0));
    }
    let traps = layout.word == 4 && bytes[TRAP] & 1 != 0;
    if traps { Err(Exception::debug(dr6::BT).into()) } else { Ok(()) }
}

fn load_ldt(cpu: &mut Cpu) -> Result<(), Fault> {
    let selector = cpu.processor.regs.ldtr.selector;
    if is_null(selector) {
        return Ok(());
    }
    let refused = fault(vector::TS, selector);
    if selector & TI != 0 {
        return Err(refused);
    }
    let found = fetch(cpu, selector, vector::TS)?.segment();
    if found.is_user() || found.kind() != kind::LDT || !found.present() {
        return Err(refused);
    }
    cpu.processor.regs.ldtr = found;
    Ok(())
}

fn load_segments(cpu: &mut Cpu) -> Result<(), Fault> {
    let selectors = cpu.processor.regs.seg.map(|segment| segment.selector);
    cpu.processor.regs.seg[seg::CS] = code(cpu, selectors[seg::CS])?;
    cpu.processor.regs.seg[seg::SS] =
        checked_stack(cpu, selectors[seg::SS], cpu.processor.regs.cpl, vector::TS)?;
    for index in [seg::ES, seg::DS, seg::FS, seg::GS] {
        cpu.processor.regs.seg[index] = checked_data(cpu, selectors[index], vector::TS)?;
    }
    Ok(())
}

/// A code segment's privilege is that of the selector (APM vol. 2, 12.4).
fn code(cpu: &mut Cpu, selector: u16) -> Result<Segment, Fault> {
    let entry = fetch(cpu, selector, vector::TS)?;
    let code = entry.segment();
    let rpl = (selector & RPL) as u8;
    let right = if code.conforming() { code.dpl() <= rpl } else { code.dpl() == rpl };
    if !code.is_code() || !right {
        return Err(entry.fault(vector::TS));
    }
    if !code.present() {
        return Err(entry.fault(vector::NP));
    }
    accessed(cpu, entry, rpl)
}

/// IRET with RFLAGS.NT: back to the task that the current one is linked to. #GP in long mode.
pub fn back(cpu: &mut Cpu, rip: u64) -> Result<(), Fault> {
    if cpu.processor.regs.long_mode() {
        return Err(Fault::gp(0));
    }
    let selector = cpu.load_tss(0, 2)? as u16;
    switch(cpu, selector, Cause::Return, rip, cpu.processor.regs.rflags)
}

/// The selector of the task that a far transfer to this descriptor switches to: its own, or the one in a task gate.
pub fn named(target: &Entry) -> Option<u16> {
    match target.segment().kind() {
        kind::TASK => Some(Gate::new(target.raw, 0).selector),
        kind::TSS16_AVAILABLE | kind::TSS32_AVAILABLE => Some(target.selector),
        _ => None,
    }
}
