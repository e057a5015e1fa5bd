//! Processor state between KVM's structures and [`CpuState`].

use crate::ioctl;
use ireko_vmcore::{CpuState, HvError};
use ireko_x86::msr;
use ireko_x86::regs::{Registers, Segment, Table};
use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs, kvm_xcrs,
};
use kvm_ioctls::VcpuFd;

/// A failed ioctl as the engine's error.
pub fn failed(what: &str) -> impl Fn(kvm_ioctls::Error) -> HvError + '_ {
    move |e| HvError::System { what: what.into(), why: std::io::Error::from_raw_os_error(e.errno()) }
}

/// The same of a request of our own.
pub fn refused(what: &'static str) -> impl Fn(std::io::Error) -> HvError {
    move |why| HvError::System { what: what.into(), why }
}

pub fn segment_to_kvm(segment: &Segment) -> kvm_segment {
    let attr = segment.attr;
    let bit = |n: u16| (attr >> n & 1) as u8;
    kvm_segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        type_: (attr & 0xf) as u8,
        s: bit(4),
        dpl: (attr >> 5 & 3) as u8,
        present: bit(7),
        avl: bit(8),
        l: bit(9),
        db: bit(10),
        g: bit(11),
        unusable: 1 - bit(7),
        padding: 0,
    }
}

pub fn segment_from_kvm(segment: &kvm_segment) -> Segment {
    let bit = |value: u8, n: u16| u16::from(value & 1) << n;
    let attr = u16::from(segment.type_ & 0xf)
        | bit(segment.s, 4)
        | u16::from(segment.dpl & 3) << 5
        | bit(segment.present, 7)
        | bit(segment.avl, 8)
        | bit(segment.l, 9)
        | bit(segment.db, 10)
        | bit(segment.g, 11);
    let attr = if segment.unusable != 0 { attr & !(1 << 7) } else { attr };
    Segment { base: segment.base, limit: segment.limit, attr, selector: segment.selector }
}

pub fn general_to_kvm(regs: &Registers) -> kvm_regs {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = regs.gpr;
    let (rip, rflags) = (regs.rip, regs.rflags);
    kvm_regs { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
}

pub fn general_from_kvm(kvm: &kvm_regs, regs: &mut Registers) {
    regs.gpr = [
        kvm.rax, kvm.rcx, kvm.rdx, kvm.rbx, kvm.rsp, kvm.rbp, kvm.rsi, kvm.rdi, kvm.r8, kvm.r9, kvm.r10,
        kvm.r11, kvm.r12, kvm.r13, kvm.r14, kvm.r15,
    ];
    regs.rip = kvm.rip;
    regs.rflags = kvm.rflags;
}

fn system_to_kvm(regs: &Registers, kvm: &mut kvm_sregs) {
    let table = |t: &Table| kvm_dtable { base: t.base, limit: t.limit, padding: [0; 3] };
    let [es, cs, ss, ds, fs, gs] = regs.seg.map(|s| segment_to_kvm(&s));
    (kvm.es, kvm.cs, kvm.ss, kvm.ds, kvm.fs, kvm.gs) = (es, cs, ss, ds, fs, gs);
    kvm.ldt = segment_to_kvm(&regs.ldtr);
    kvm.tr = segment_to_kvm(&regs.tr);
    kvm.gdt = table(&regs.gdtr);
    kvm.idt = table(&regs.idtr);
    (kvm.cr0, kvm.cr2, kvm.cr3, kvm.cr4) = (regs.cr0, regs.cr2, regs.cr3, regs.cr4);
    kvm.efer = regs.efer;
}

fn system_from_kvm(kvm: &kvm_sregs, regs: &mut Registers) {
    let table = |t: &kvm_dtable| Table { base: t.base, limit: t.limit };
    regs.seg = [kvm.es, kvm.cs, kvm.ss, kvm.ds, kvm.fs, kvm.gs].map(|s| segment_from_kvm(&s));
    regs.ldtr = segment_from_kvm(&kvm.ldt);
    regs.tr = segment_from_kvm(&kvm.tr);
    regs.gdtr = table(&kvm.gdt);
    regs.idtr = table(&kvm.idt);
    (regs.cr0, regs.cr2, regs.cr3, regs.cr4) = (kvm.cr0, kvm.cr2, kvm.cr3, kvm.cr4);
    regs.efer = kvm.efer;
    regs.cpl = kvm.ss.dpl & 3;
}

const DEBUGCTL: u32 = 0x1d9;

/// An MSR and its place in [`Registers`].
type MsrField = (u32, fn(&mut Registers) -> &mut u64);

const MSRS: [MsrField; 11] = [
    (msr::STAR, |r| &mut r.star),
    (msr::LSTAR, |r| &mut r.lstar),
    (msr::CSTAR, |r| &mut r.cstar),
    (msr::SFMASK, |r| &mut r.sfmask),
    (msr::KERNEL_GS_BASE, |r| &mut r.kernel_gs_base),
    (msr::SYSENTER_CS, |r| &mut r.sysenter_cs),
    (msr::SYSENTER_ESP, |r| &mut r.sysenter_esp),
    (msr::SYSENTER_EIP, |r| &mut r.sysenter_eip),
    (msr::PAT, |r| &mut r.pat),
    (msr::TSC_AUX, |r| &mut r.tsc_aux),
    (DEBUGCTL, |r| &mut r.debugctl),
];

/// Reads one MSR; `None` if this KVM does not know it.
pub fn read_msr(vcpu: &VcpuFd, index: u32) -> Option<u64> {
    let mut msrs = Msrs::from_entries(&[kvm_msr_entry { index, ..Default::default() }]).ok()?;
    (vcpu.get_msrs(&mut msrs).ok()? == 1).then(|| msrs.as_slice()[0].data)
}

/// Writes one MSR; false if this KVM does not take it.
pub fn write_msr(vcpu: &VcpuFd, index: u32, data: u64) -> bool {
    Msrs::from_entries(&[kvm_msr_entry { index, data, ..Default::default() }])
        .is_ok_and(|msrs| vcpu.set_msrs(&msrs) == Ok(1))
}

pub fn read(vcpu: &VcpuFd) -> Result<CpuState, HvError> {
    let mut state = CpuState::reset();
    let regs = &mut state.regs;
    general_from_kvm(&vcpu.get_regs().map_err(failed("KVM_GET_REGS"))?, regs);
    system_from_kvm(&vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?, regs);
    for (index, field) in MSRS {
        *field(regs) = read_msr(vcpu, index).unwrap_or(0);
    }
    let debug = vcpu.get_debug_regs().map_err(failed("KVM_GET_DEBUGREGS"))?;
    (regs.dr, regs.dr6, regs.dr7) = (debug.db, debug.dr6, debug.dr7);
    if let Ok(xcrs) = vcpu.get_xcrs() {
        regs.xcr0 = xcrs.xcrs.iter().take(xcrs.nr_xcrs as usize).find(|x| x.xcr == 0).map_or(1, |x| x.value);
    }
    let xsave = vcpu.get_xsave().map_err(failed("KVM_GET_XSAVE"))?;
    state.xsave = xsave.region.iter().flat_map(|word| word.to_le_bytes()).collect();
    Ok(state)
}

pub fn write(vcpu: &VcpuFd, state: &CpuState) -> Result<(), HvError> {
    let mut regs = state.regs;
    let mut sregs = vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?;
    system_to_kvm(&regs, &mut sregs);
    vcpu.set_sregs(&sregs).map_err(failed("KVM_SET_SREGS"))?;
    vcpu.set_regs(&general_to_kvm(&regs)).map_err(failed("KVM_SET_REGS"))?;
    write_extended(vcpu, &regs, &state.xsave)?;
    for (index, field) in MSRS {
        let value = *field(&mut regs);
        // Not every KVM knows every one; zero is what it has then.
        let needless = value == 0 && read_msr(vcpu, index).unwrap_or(0) == 0;
        if !needless && !write_msr(vcpu, index, value) {
            return Err(HvError::Unsupported(format!("KVM does not take {value:#x} for MSR {index:#x}")));
        }
    }
    let debug = kvm_debugregs { db: regs.dr, dr6: regs.dr6, dr7: regs.dr7, ..Default::default() };
    vcpu.set_debug_regs(&debug).map_err(failed("KVM_SET_DEBUGREGS"))
}

/// XCR0, then x87 and vector state. Hosts without XSAVE keep KVM's reset values.
fn write_extended(vcpu: &VcpuFd, regs: &Registers, xsave: &[u8]) -> Result<(), HvError> {
    let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
    xcrs.xcrs[0].value = regs.xcr0;
    if vcpu.set_xcrs(&xcrs).is_err() {
        return Ok(());
    }
    let mut region = [0; 4096];
    let given = xsave.len().min(region.len());
    region[..given].copy_from_slice(&xsave[..given]);
    ioctl::set_xsave(vcpu, &region).map_err(|why| HvError::System { what: "KVM_SET_XSAVE".into(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_survives_the_way_to_kvm_and_back() {
        let segment = Segment { base: 0x1000, limit: 0xffff_ffff, attr: 0xa9b, selector: 0x10 };
        assert_eq!(segment_from_kvm(&segment_to_kvm(&segment)), segment);
    }

    #[test]
    fn a_64_bit_code_segment_has_its_bits_where_kvm_wants_them() {
        let kvm = segment_to_kvm(&Segment { attr: 0xa9b, ..Segment::default() });
        assert_eq!((kvm.type_, kvm.s, kvm.present, kvm.l, kvm.db, kvm.g), (0xb, 1, 1, 1, 0, 1));
    }

    #[test]
    fn a_segment_that_is_not_present_is_unusable() {
        assert_eq!(segment_to_kvm(&Segment::default()).unusable, 1);
    }

    #[test]
    fn general_registers_survive_the_way_to_kvm_and_back() {
        let mut regs = Registers { rip: 99, rflags: 0x202, ..Registers::default() };
        regs.gpr = std::array::from_fn(|n| n as u64 + 1);
        let mut back = Registers::default();
        general_from_kvm(&general_to_kvm(&regs), &mut back);
        assert_eq!(back, regs);
    }
}
