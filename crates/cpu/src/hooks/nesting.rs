//! What the ledger of worlds hears, which is always on.

use crate::{Cpu, host};
use ireko_nested::Exit;

/// A guest was entered.
pub fn entered(cpu: &mut Cpu) {
    let vendor = cpu.processor.vendor();
    let (Some(control), Some(at)) = (cpu.processor.control(), vendor.current()) else { return };
    cpu.instruments.ledger.enter(host::rdtsc(), at, control, vendor.return_rip());
}

/// An exit is about to be done, of this code.
pub fn left(cpu: &mut Cpu, exit: &Exit, code: u64) {
    let wants = cpu.processor.vendor().wants(exit, &cpu.processor.regs);
    cpu.instruments.ledger.exit(host::rdtsc(), code, wants, cpu.processor.regs.rip);
}

/// Shows how things are, to whom asked for it.
pub fn show(cpu: &mut Cpu) {
    cpu.fpu_sync();
    let in_guest = cpu.control().is_some();
    let vendor = cpu.processor.vendor();
    let on = vendor.switched_on(&cpu.processor.regs, in_guest);
    if !on && !in_guest {
        cpu.instruments.ledger.forget();
    }
    let nesting = cpu.instruments.ledger.nesting(host::rdtsc(), cpu.platform.counter.khz(), on, vendor);
    cpu.instruments.ledger.window.show(nesting);
}
