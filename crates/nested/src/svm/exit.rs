//! #VMEXIT (APM vol. 2, 15.6).

use super::{Host, State, Vmcb, encode, event};
use crate::core::{INSTRUCTION, InstructionBytes};
use crate::{Control, Core, Exit, ExitContext, Shadow, Virtualization};
use ireko_x86::Registers;
use ireko_x86::bits::{cr0, dr7, rflags};
use ireko_x86::exception::vector;
use ireko_x86::regs::gpr::{RAX, RSP};
use ireko_x86::regs::seg;
use ireko_x86::vmcb::{control, save};

/// What #VMEXIT writes into the state save area: (offset, bytes).
const SAVED: [(usize, usize); 9] = [
    (save::ES, 0x40),
    (save::GDTR, 0x10),
    (save::IDTR, 0x10),
    (save::CPL, 1),
    (save::EFER, 8),
    (save::CR4, save::RIP + 8 - save::CR4),
    (save::RSP, 8),
    (save::RAX, 8),
    (save::CR2, 8),
];
const SAVED_PAT: (usize, usize) = (save::G_PAT, 8);
const SAVED_LBR: (usize, usize) = (save::DBGCTL, 5 * 8);

/// What it writes into the control area: virtual interrupt state, shadow, exit code and information; nRIP and bytes.
const TOLD: [(usize, usize); 3] = [
    (control::VIRTUAL_INTERRUPT, control::NESTED - control::VIRTUAL_INTERRUPT),
    (control::EVENTINJ, 8),
    (control::NRIP, 24),
];
/// After a refused VMRUN the guest's state and the event to inject stay as they were.
const TOLD_INVALID: (usize, usize) = (control::EXITCODE, control::NESTED - control::EXITCODE);

impl Virtualization for State {
    /// GIF is clear afterwards.
    fn exit<C: Core>(&mut self, core: &mut C, control: &Control, context: &ExitContext<'_>) {
        exit(core, self, control, context);
    }
}

/// #VMEXIT.
pub(super) fn exit<C: Core>(core: &mut C, state: &mut State, made: &Control, context: &ExitContext<'_>) {
    let why = context.why;
    // DR6 is as a handler of the intercepted exception would find it (15.12.2).
    if let Exit::Exception { exception, .. } = why
        && exception.vector == vector::DB
    {
        core.regs().dr6 = core.regs().dr6 & !0xf | exception.payload;
    }
    let mut image = Vmcb::blank();
    // A hypervisor's VMCB may have its other bits of the field at 060h changed by nobody but itself: keep them.
    let mut bytes = [0; 8];
    core.read_physical(state.vmcb + control::VIRTUAL_INTERRUPT as u64, &mut bytes);
    image.put(control::VIRTUAL_INTERRUPT, &bytes);
    tell(core, &mut image, made, context);
    if matches!(why, Exit::Invalid) {
        image.store(core, state.vmcb, &[TOLD_INVALID]);
    } else {
        save_guest(core.regs(), &mut image);
        image.store(core, state.vmcb, &TOLD);
        image.store(core, state.vmcb, &SAVED);
        if made.stage2.is_some() {
            image.store(core, state.vmcb, &[SAVED_PAT]);
        }
        if made.virtual_lbr {
            image.store(core, state.vmcb, &[SAVED_LBR]);
        }
    }
    load_host(core.regs(), &state.host);
    if made.virtual_lbr {
        (core.regs().debugctl, core.regs().lbr) = (state.host.debugctl, state.host.lbr);
    }
    core.set_shadow(Shadow::None);
    core.set_gif(false);
}

fn tell<C: Core>(core: &mut C, image: &mut Vmcb, made: &Control, context: &ExitContext<'_>) {
    let why = context.why;
    let record = encode::encode(why, made, core.regs());
    image.set(control::EXITCODE, record.code);
    image.set(control::EXITINFO1, record.information[0]);
    image.set(control::EXITINFO2, record.information[1]);
    if matches!(why, Exit::Invalid) {
        return;
    }
    image.set(control::EXITINTINFO, context.in_flight.or(made.inject).map_or(0, event::encode));
    image.set(control::VIRTUAL_INTERRUPT, image.virtual_interrupt(made));
    image.set(control::INTERRUPT_SHADOW, core.shadow().is_on().into());
    image.set(control::NRIP, next_rip(context));
    if why.of_data_access() {
        let InstructionBytes { bytes, count } = context.instruction;
        let count = count.min(INSTRUCTION);
        image.put(control::BYTES_FETCHED, &[count as u8]);
        image.put(control::BYTES, &bytes[..count]);
    }
    // The event was injected: EVENTINJ is cleared. Linux's KVM takes anything else for an event that is still to come, and
    // then does not step over IRET while an NMI waits.
    image.set(control::EVENTINJ, 0);
}

fn next_rip(context: &ExitContext<'_>) -> u64 {
    match context.why {
        Exit::Io(access) => access.next_rip,
        why if encode::by_instruction(why) => context.next_rip,
        _ => 0,
    }
}

fn save_guest(regs: &Registers, image: &mut Vmcb) {
    image.set_segment(save::ES, &regs.seg[seg::ES]);
    image.set_segment(save::CS, &regs.seg[seg::CS]);
    image.set_segment(save::SS, &regs.seg[seg::SS]);
    image.set_segment(save::DS, &regs.seg[seg::DS]);
    image.set_table(save::GDTR, &regs.gdtr);
    image.set_table(save::IDTR, &regs.idtr);
    image.put(save::CPL, &[regs.cpl]);
    image.set(save::EFER, regs.efer);
    image.set(save::CR4, regs.cr4);
    image.set(save::CR3, regs.cr3);
    image.set(save::CR0, regs.cr0);
    image.set(save::DR7, regs.dr7);
    image.set(save::DR6, regs.dr6);
    image.set(save::RFLAGS, regs.rflags);
    image.set(save::RIP, regs.rip);
    image.set(save::RSP, regs.gpr[RSP]);
    image.set(save::RAX, regs.gpr[RAX]);
    image.set(save::CR2, regs.cr2);
    image.set(save::G_PAT, regs.pat);
    image.set(save::DBGCTL, regs.debugctl);
    regs.lbr.iter().enumerate().for_each(|(n, value)| image.set(save::LBR + 8 * n, *value));
}

fn load_host(regs: &mut Registers, host: &Host) {
    let [es, cs, ss, ds] = host.seg;
    regs.seg[seg::ES] = es;
    regs.seg[seg::CS] = cs;
    regs.seg[seg::SS] = ss;
    regs.seg[seg::DS] = ds;
    regs.gdtr = host.gdtr;
    regs.idtr = host.idtr;
    regs.efer = host.efer;
    regs.cr0 = host.cr0 | cr0::PE;
    regs.cr3 = host.cr3;
    regs.cr4 = host.cr4;
    regs.rflags = host.rflags & !rflags::VM;
    regs.rip = host.rip;
    regs.gpr[RSP] = host.rsp;
    regs.gpr[RAX] = host.rax;
    regs.pat = host.pat;
    regs.pdpte = host.pdpte;
    regs.dr7 = dr7::FIXED;
    regs.cpl = 0;
}
