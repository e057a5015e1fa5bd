//! What the plain run of the lockstep mode does that must be taken back, or cannot be.

use crate::Cpu;
use crate::pending::{Pending, Target};
use iced_x86::{Instruction, Mnemonic, OpKind};
use ireko_translate::{Site, SiteKind};

/// A system instruction of the plain path: it is kept, unless all that it changes is the processor's own state, as of those that
/// the fast path does in place.
pub fn record_system(cpu: &mut Cpu, insn: &Instruction) {
    let own_state = moves_state(insn) && !cpu.handoff.waits;
    let Some(lockstep) = cpu.instruments.inspect.as_deref_mut().and_then(|i| i.lockstep.as_mut()) else {
        return;
    };
    if !own_state {
        lockstep.spoil();
    }
}

fn moves_state(insn: &Instruction) -> bool {
    use Mnemonic::*;
    let register = insn.op0_kind() == OpKind::Register;
    match insn.mnemonic() {
        Cli | Sti | Swapgs | Stac | Clac | Rdfsbase | Rdgsbase | Wrfsbase | Wrgsbase => true,
        Mov => register && (insn.op1_register().is_segment_register() || insn.op1_register().is_cr()),
        _ => false,
    }
}

/// A slow access of the plain path: its writes go to the journal before they happen.
pub fn record(cpu: &mut Cpu, site: &Site, host: *mut u8, devices: u64) {
    let touched_device = cpu.instruments.counters.mmio != devices;
    let pending = cpu.handoff.pending;
    let Some(lockstep) = cpu.instruments.inspect.as_deref_mut().and_then(|i| i.lockstep.as_mut()) else {
        return;
    };
    if !lockstep.recording {
        return;
    }
    lockstep.spoiled |= touched_device;
    if !matches!(site.kind, SiteKind::Access { write: true, .. }) {
        return;
    }
    match pending {
        Some(Pending::Bounced { size, first, places: [one, two], .. }) => {
            for (place, size) in [(one, first), (two, size - first)] {
                match place {
                    Target::Ram(host) if size > 0 => lockstep.note(host, size),
                    Target::Ram(_) => {}
                    Target::Mmio(_) => lockstep.spoiled = true,
                }
            }
        }
        Some(Pending::Code { .. }) => lockstep.spoiled = true,
        None => lockstep.note(host, usize::from(site.size)),
    }
}
