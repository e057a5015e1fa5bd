//! VMRUN (APM vol. 2, 15.5).

use super::check::{self, Subject};
use super::vmcb::guest_efer;
use super::{Host, State, Vmcb, exit, msr};
use crate::{Control, Core, Exit, ExitContext, Flush};
use ireko_x86::Registers;
use ireko_x86::bits::{cr0, cr4, debugctl, efer, rflags};
use ireko_x86::regs::gpr::{RAX, RSP};
use ireko_x86::regs::seg;
use ireko_x86::vmcb::{control, save, tlb_control};

/// Enters the guest of the VMCB at `address`, which [`super::Caps::vmcb_address`] allows; the processor goes on at
/// `next_rip` when it comes back. With `None` the #VMEXIT has been done and the processor is still (again) its own.
/// The caller puts the control into force, and does what [`Control::inject`] asks before the first instruction.
pub fn enter<C: Core>(core: &mut C, state: &mut State, address: u64, next_rip: u64) -> Option<Control> {
    let vmcb = Vmcb::load(core, address);
    state.vmcb = address;
    state.host = save_host(core.regs(), next_rip);
    let host = *core.regs();
    let pdpte = own_pdptes(core, &vmcb);
    let made = vmcb.control(&host, msr::tsc_scale(state.tsc_ratio));
    state.refused = check::refusal(&Subject { vmcb: &vmcb, caps: &state.caps, host: &host, pdpte });
    if state.refused.is_some() {
        exit::exit(core, state, &made, &ExitContext::of(&Exit::Invalid));
        return None;
    }
    if let Some(what) = flush(&vmcb) {
        core.flush(what);
    }
    load_guest(core.regs(), &vmcb, state);
    if made.virtual_lbr {
        load_lbr(core.regs(), &vmcb);
    }
    core.regs().pdpte = pdpte;
    core.set_shadow(made.entry_shadow);
    core.set_gif(true);
    Some(made)
}

fn save_host(regs: &Registers, rip: u64) -> Host {
    let [es, cs, ss, ds, ..] = regs.seg;
    Host {
        seg: [es, cs, ss, ds],
        gdtr: regs.gdtr,
        idtr: regs.idtr,
        efer: regs.efer,
        cr0: regs.cr0,
        cr3: regs.cr3,
        cr4: regs.cr4,
        rflags: regs.rflags,
        rip,
        rsp: regs.gpr[RSP],
        rax: regs.gpr[RAX],
        pat: regs.pat,
        pdpte: regs.pdpte,
        debugctl: regs.debugctl,
        lbr: regs.lbr,
    }
}

/// The PDPEs of a guest with PAE legacy paging and no nested paging. With it they are read at each walk (15.25.10).
fn own_pdptes<C: Core>(core: &mut C, vmcb: &Vmcb) -> [u64; 4] {
    let paging = vmcb.u64(save::CR0) & cr0::PG != 0 && vmcb.u64(save::CR4) & cr4::PAE != 0;
    if !paging || vmcb.u64(save::EFER) & efer::LME != 0 || vmcb.nested_paging() {
        return [0; 4];
    }
    let mut bytes = [0; 32];
    core.read_physical(vmcb.u64(save::CR3) & 0xffff_ffe0, &mut bytes);
    let (entries, _) = bytes.as_chunks::<8>();
    [0, 1, 2, 3].map(|i| u64::from_le_bytes(entries[i]))
}

/// TLB_CONTROL (15.16.1). What the checks refuse does not come here.
fn flush(vmcb: &Vmcb) -> Option<Flush> {
    let asid = vmcb.u32(control::ASID);
    match vmcb.u8(control::TLB_CONTROL) {
        tlb_control::FLUSH_ALL => Some(Flush::All),
        tlb_control::FLUSH_ASID => Some(Flush::Asid { asid, keep_global: false }),
        tlb_control::FLUSH_ASID_LOCAL => Some(Flush::Asid { asid, keep_global: true }),
        _ => None,
    }
}

/// What VMRUN loads; the rest is VMLOAD's.
fn load_guest(regs: &mut Registers, vmcb: &Vmcb, state: &State) {
    regs.seg[seg::ES] = vmcb.segment(save::ES);
    regs.seg[seg::CS] = vmcb.segment(save::CS);
    regs.seg[seg::SS] = vmcb.segment(save::SS);
    regs.seg[seg::DS] = vmcb.segment(save::DS);
    regs.gdtr = vmcb.table(save::GDTR);
    regs.idtr = vmcb.table(save::IDTR);
    regs.efer = guest_efer(vmcb, &state.caps);
    regs.cr0 = vmcb.u64(save::CR0) | cr0::ET;
    regs.cr2 = vmcb.u64(save::CR2);
    regs.cr3 = vmcb.u64(save::CR3);
    regs.cr4 = vmcb.u64(save::CR4);
    regs.dr6 = vmcb.u64(save::DR6) & DR6_WRITABLE | ireko_x86::bits::dr6::FIXED;
    regs.dr7 = vmcb.u64(save::DR7) & DR7_WRITABLE | ireko_x86::bits::dr7::FIXED;
    regs.rflags = vmcb.u64(save::RFLAGS) & rflags::DEFINED | 2;
    regs.rip = vmcb.u64(save::RIP);
    regs.gpr[RSP] = vmcb.u64(save::RSP);
    regs.gpr[RAX] = vmcb.u64(save::RAX);
    regs.cpl = guest_cpl(regs, vmcb.u8(save::CPL));
    if vmcb.nested_paging() {
        regs.pat = vmcb.u64(save::G_PAT);
    }
}

/// 15.23.1.
fn load_lbr(regs: &mut Registers, vmcb: &Vmcb) {
    regs.debugctl = vmcb.u64(save::DBGCTL) & debugctl::WRITABLE;
    regs.lbr = [0, 8, 16, 24].map(|at| vmcb.u64(save::LBR + at));
}

/// B3:B0, BD, BS, BT.
const DR6_WRITABLE: u64 = 0xe00f;
/// Enables, GD, and the four conditions.
const DR7_WRITABLE: u64 = 0xffff_23ff;

/// Real mode runs at 0 and virtual-8086 mode at 3, whatever the VMCB says (15.5.1).
fn guest_cpl(regs: &Registers, cpl: u8) -> u8 {
    match (regs.protected(), regs.v86()) {
        (false, _) => 0,
        (true, true) => 3,
        _ => cpl & 3,
    }
}
