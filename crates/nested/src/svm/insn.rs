//! VMLOAD and VMSAVE: the state that VMRUN leaves alone (APM vol. 2, 15.5.2).

use super::Vmcb;
use crate::Core;
use ireko_x86::Registers;
use ireko_x86::regs::seg;
use ireko_x86::vmcb::save;

/// A register by name.
type Field = fn(&mut Registers) -> &mut u64;

/// MSRs that VMLOAD and VMSAVE carry: field, and whether VMLOAD makes the value canonical.
const MSRS: [(usize, bool, Field); 8] = [
    (save::STAR, false, |r| &mut r.star),
    (save::LSTAR, true, |r| &mut r.lstar),
    (save::CSTAR, true, |r| &mut r.cstar),
    (save::SFMASK, false, |r| &mut r.sfmask),
    (save::KERNEL_GS_BASE, true, |r| &mut r.kernel_gs_base),
    (save::SYSENTER_CS, false, |r| &mut r.sysenter_cs),
    (save::SYSENTER_ESP, true, |r| &mut r.sysenter_esp),
    (save::SYSENTER_EIP, true, |r| &mut r.sysenter_eip),
];

/// FS and GS, LDTR, TR, the MSRs.
const RUNS: [(usize, usize); 4] =
    [(save::FS, 0x20), (save::LDTR, 0x10), (save::TR, 0x10), (save::STAR, save::CR2 - save::STAR)];

/// `address` is system-physical, and [`super::Caps::vmcb_address`] allows it.
pub fn vmload<C: Core>(core: &mut C, address: u64) {
    let vmcb = Vmcb::load_save(core, address);
    let regs = core.regs();
    regs.seg[seg::FS] = vmcb.segment(save::FS);
    regs.seg[seg::GS] = vmcb.segment(save::GS);
    regs.ldtr = vmcb.segment(save::LDTR);
    regs.tr = vmcb.segment(save::TR);
    for (offset, canonical, register) in MSRS {
        *register(regs) = if canonical { vmcb.canonical(offset) } else { vmcb.u64(offset) };
    }
}

pub fn vmsave<C: Core>(core: &mut C, address: u64) {
    let mut image = Vmcb::blank();
    let regs = core.regs();
    image.set_segment(save::FS, &regs.seg[seg::FS]);
    image.set_segment(save::GS, &regs.seg[seg::GS]);
    image.set_segment(save::LDTR, &regs.ldtr);
    image.set_segment(save::TR, &regs.tr);
    for (offset, _, register) in MSRS {
        image.set(offset, *register(regs));
    }
    image.store(core, address, &RUNS);
}
