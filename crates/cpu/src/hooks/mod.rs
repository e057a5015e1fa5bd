//! What the engine calls at the places where an instrument may want to look. Each costs one test when all are off.
//! When one is on, the guest's x87 and AVX state goes to memory first: instruments may use any library code.

mod levels;
mod lockstep;
pub mod nesting;
mod report;
mod symbols;

use crate::inspect::trace::{TraceEntry, What};
use crate::inspect::worlds::{Entered, Slow, Worlds};
use crate::pending::Pending;
use crate::{Cpu, Fault, host};
use ireko_nested::vendor::ExitRecord;
use ireko_nested::{Event, EventKind};
use ireko_translate::thunk::Reason;
use ireko_translate::{Site, SiteKind};
use ireko_x86::Exception;
use std::time::Duration;

/// Does a system instruction by `act`.
#[inline]
pub fn system(cpu: &mut Cpu, site: &Site, act: impl FnOnce(&mut Cpu, &Site) -> bool) -> bool {
    if cpu.instruments.inspect.is_none() {
        return act(cpu, site);
    }
    cpu.fpu_sync();
    lockstep::record_system(cpu, &site.insn);
    // The instruction belongs to the world that it begins in.
    let world = worlds(cpu).map_or(0, |worlds| worlds.number_now());
    let start = host::rdtsc();
    let leave = act(cpu, site);
    let ticks = host::rdtsc().wrapping_sub(start);
    if let Some(worlds) = worlds(cpu) {
        match site.kind {
            SiteKind::System => worlds.list[world].did(site.insn.code(), ticks),
            _ => worlds.list[world].raised.add(ticks),
        }
    }
    leave
}

/// Does a slow access by `act`.
#[inline]
pub fn access(
    cpu: &mut Cpu,
    site: &Site,
    address: u64,
    act: impl FnOnce(&mut Cpu, &Site, u64) -> Result<*mut u8, Fault>,
) -> Result<*mut u8, Fault> {
    if cpu.instruments.inspect.is_none() {
        return act(cpu, site, address);
    }
    cpu.fpu_sync();
    let (start, walks, devices) =
        (host::rdtsc(), cpu.instruments.counters.walks, cpu.instruments.counters.mmio);
    let result = act(cpu, site, address);
    let ticks = host::rdtsc().wrapping_sub(start);
    if let Ok(host) = result {
        lockstep::record(cpu, site, host, devices);
    }
    let crossing = (address & 0xfff) + u64::from(site.size) > 4096;
    let bounce = std::ptr::from_ref(&*cpu.handoff.bounce) as u64;
    let why = match (&result, &cpu.handoff.pending) {
        (Err(_), _) => Slow::Fault,
        _ if crossing => Slow::Crossing,
        (_, Some(Pending::Code { .. })) => Slow::CodePage,
        (Ok(host), _) if (*host as u64).wrapping_sub(bounce) < 1024 => Slow::Device,
        _ if cpu.instruments.counters.walks != walks => Slow::Miss,
        _ => Slow::Plain,
    };
    if let Some(worlds) = worlds(cpu) {
        worlds.slow_access(site.insn.ip(), why, ticks);
    }
    result
}

fn worlds(cpu: &mut Cpu) -> Option<&mut Worlds> {
    cpu.instruments.inspect.as_deref_mut()?.worlds.as_mut()
}

/// Translated code was left.
#[inline]
pub fn left(cpu: &mut Cpu, reason: Reason, target: u64) {
    if cpu.instruments.inspect.is_none() {
        return;
    }
    cpu.fpu_sync();
    if let Some(worlds) = worlds(cpu) {
        worlds.left(reason, target);
    }
}

/// An exception is about to be raised.
pub fn exception(cpu: &mut Cpu, exception: &Exception) {
    if cpu.instruments.inspect.is_none() {
        return;
    }
    cpu.fpu_sync();
    if let Some(worlds) = worlds(cpu) {
        *worlds.current().exceptions.entry(exception.vector).or_default() += 1;
    }
    trace(cpu, What::Exception(*exception));
}

/// An exit is about to be done.
pub fn exit(cpu: &mut Cpu, record: &ExitRecord, in_flight: Option<&Event>) {
    if cpu.instruments.inspect.is_none() {
        return;
    }
    cpu.fpu_sync();
    if let Some(worlds) = worlds(cpu) {
        worlds.exit(host::rdtsc(), record.code);
    }
    trace(cpu, What::Exit { record: *record, in_flight: in_flight.copied() });
}

/// An interrupt is taken.
pub fn interrupt(cpu: &mut Cpu, event: &Event) {
    if cpu.instruments.inspect.is_none() {
        return;
    }
    cpu.fpu_sync();
    if event.kind == EventKind::External
        && let Some(worlds) = worlds(cpu)
    {
        *worlds.current().interrupts.entry(event.vector).or_default() += 1;
    }
    trace(cpu, What::Deliver(*event));
}

/// Whether blocks run in lockstep.
#[inline]
pub fn lockstep_on(cpu: &Cpu) -> bool {
    cpu.instruments.inspect.as_deref().is_some_and(|inspect| inspect.lockstep.is_some())
}

/// The world changed.
pub fn switched(cpu: &mut Cpu) {
    if cpu.instruments.inspect.is_none() {
        return;
    }
    cpu.fpu_sync();
    let Some(inspect) = cpu.instruments.inspect.as_deref_mut() else { return };
    let (id, level) = cpu.instruments.ledger.current();
    let control_block = cpu.processor.vendor().current().unwrap_or(0);
    let guest = cpu.processor.control().map(|control| Entered { id, level, control_block, control });
    let what = match guest {
        Some(Entered { control, .. }) => {
            let root = control.stage2.map(|stage2| stage2.root);
            Some(What::Entry { asid: control.asid, root, inject: control.inject })
        }
        None => cpu.processor.vendor().refused().map(What::Refused),
    };
    if let Some(worlds) = &mut inspect.worlds {
        worlds.switch(host::rdtsc(), &cpu.instruments.counters, guest);
    }
    if let Some(what) = what {
        trace(cpu, what);
    }
}

fn trace(cpu: &mut Cpu, what: What) {
    if cpu.instruments.inspect.as_deref().is_none_or(|inspect| inspect.trace.is_none()) {
        return;
    }
    let entry = TraceEntry {
        ticks: cpu.own_tsc().read(),
        world: cpu.world_id(),
        asid: cpu.asid(),
        rip: cpu.processor.regs.rip,
        cpl: cpu.processor.regs.cpl,
        what,
    };
    let Some(trace) = cpu.instruments.inspect.as_deref_mut().and_then(|i| i.trace.as_mut()) else { return };
    trace.keep(entry);
    if !trace.writes(&what) {
        return;
    }
    // Between an entry or exit and its end there is no address space to look into.
    if !matches!(what, What::Entry { .. } | What::Refused(_)) {
        cpu.find_kernel();
    }
    let symbol = |world, address| cpu.symbol(world, address);
    let line = entry.line(cpu.platform.counter.khz(), cpu.processor.vendor(), symbol);
    if let Some(trace) = cpu.instruments.inspect.as_deref_mut().and_then(|i| i.trace.as_mut()) {
        trace.write(&line);
    }
}

/// Sleeps in HLT.
pub fn sleep(cpu: &mut Cpu, most: Duration) {
    let start = host::rdtsc();
    cpu.platform.wake.sleep(most);
    let ticks = host::rdtsc().wrapping_sub(start);
    cpu.instruments.ledger.slept(ticks);
    if let Some(worlds) = worlds(cpu) {
        worlds.current().idle += ticks;
    }
}
