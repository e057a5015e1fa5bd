//! Registers, and those of a hypervisor that a VMRUN has put aside.

use super::SavedProcessor;
use crate::processor::model::Model;
use ireko_nested::svm::Host;
use ireko_nested::svm::saved::{SavedSegment, pair, table};
use ireko_vmcore::saved::RestoreError;
use ireko_x86::Registers;
use ireko_x86::bits::{cr0, cr4, efer, rflags};
use ireko_x86::regs::seg;
use serde::{Deserialize, Serialize};

/// All registers but vectors, APIC and MSRs that are elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedRegisters {
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub segments: [SavedSegment; 6],
    pub ldtr: SavedSegment,
    pub tr: SavedSegment,
    pub gdtr: (u64, u16),
    pub idtr: (u64, u16),
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub xcr0: u64,
    pub dr: [u64; 4],
    pub dr6: u64,
    pub dr7: u64,
    pub cpl: u8,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub tsc_aux: u64,
    pub pkru: u32,
    pub debugctl: u64,
    pub smbase: u64,
    pub smm_addr: u64,
    pub smm_mask: u64,
    pub lbr: [u64; 4],
    pub pdpte: [u64; 4],
}

impl SavedRegisters {
    pub(super) fn of(regs: &Registers) -> Self {
        Self {
            gpr: regs.gpr,
            rip: regs.rip,
            rflags: regs.rflags,
            segments: regs.seg.each_ref().map(SavedSegment::of),
            ldtr: SavedSegment::of(&regs.ldtr),
            tr: SavedSegment::of(&regs.tr),
            gdtr: pair(&regs.gdtr),
            idtr: pair(&regs.idtr),
            cr0: regs.cr0,
            cr2: regs.cr2,
            cr3: regs.cr3,
            cr4: regs.cr4,
            efer: regs.efer,
            xcr0: regs.xcr0,
            dr: regs.dr,
            dr6: regs.dr6,
            dr7: regs.dr7,
            cpl: regs.cpl,
            star: regs.star,
            lstar: regs.lstar,
            cstar: regs.cstar,
            sfmask: regs.sfmask,
            kernel_gs_base: regs.kernel_gs_base,
            sysenter_cs: regs.sysenter_cs,
            sysenter_esp: regs.sysenter_esp,
            sysenter_eip: regs.sysenter_eip,
            pat: regs.pat,
            tsc_aux: regs.tsc_aux,
            pkru: regs.pkru,
            debugctl: regs.debugctl,
            smbase: regs.smbase,
            smm_addr: regs.smm_addr,
            smm_mask: regs.smm_mask,
            lbr: regs.lbr,
            pdpte: regs.pdpte,
        }
    }

    pub(super) fn registers(&self, model: &Model) -> Result<Registers, RestoreError> {
        let regs = Registers {
            gpr: self.gpr,
            rip: self.rip,
            rflags: self.rflags,
            seg: self.segments.map(|segment| segment.segment()),
            ldtr: self.ldtr.segment(),
            tr: self.tr.segment(),
            gdtr: table(self.gdtr),
            idtr: table(self.idtr),
            cr0: self.cr0,
            cr2: self.cr2,
            cr3: self.cr3,
            cr4: self.cr4,
            efer: self.efer,
            xcr0: self.xcr0,
            dr: self.dr,
            dr6: self.dr6,
            dr7: self.dr7,
            cpl: self.cpl,
            star: self.star,
            lstar: self.lstar,
            cstar: self.cstar,
            sfmask: self.sfmask,
            kernel_gs_base: self.kernel_gs_base,
            sysenter_cs: self.sysenter_cs,
            sysenter_esp: self.sysenter_esp,
            sysenter_eip: self.sysenter_eip,
            pat: self.pat,
            tsc_aux: self.tsc_aux,
            pkru: self.pkru,
            debugctl: self.debugctl,
            smbase: self.smbase,
            smm_addr: self.smm_addr,
            smm_mask: self.smm_mask,
            lbr: self.lbr,
            pdpte: self.pdpte,
        };
        possible(&regs, model).map_or(Ok(regs), |what| Err(RestoreError::invalid::<SavedProcessor>(what)))
    }
}

/// Refuses what no #VMEXIT could bring back, in the middle of a guest whose registers these are.
pub(super) fn check_host(host: &Host, guest: &Registers, model: &Model) -> Result<(), RestoreError> {
    let mut regs = *guest;
    regs.seg[..host.seg.len()].copy_from_slice(&host.seg);
    (regs.cr0, regs.cr3, regs.cr4, regs.efer) = (host.cr0, host.cr3, host.cr4, host.efer);
    (regs.rflags, regs.rip, regs.cpl, regs.pat) = (host.rflags, host.rip, 0, host.pat);
    possible(&regs, model).map_or(Ok(()), |what| {
        Err(RestoreError::invalid::<SavedProcessor>(format!("of its guest's hypervisor, {what}")))
    })
}

/// The flags that there are; bit 1 is always set.
const FLAGS: u64 = 0x3f_7fd7;
/// Memory types that PAT can have: UC, WC, WT, WP, WB, UC-.
const PAT_TYPES: [u8; 6] = [0, 1, 4, 5, 6, 7];

/// What no processor of the model could be in, as far as the engine relies on it; `None`: nothing (APM vol. 2, 15.5.1 has such a list for
/// guests).
fn possible(regs: &Registers, model: &Model) -> Option<&'static str> {
    let caps = model.svm_caps();
    let long = regs.long_mode();
    // Addresses that wait for another world are canonical there.
    let bits = if model.cr4() & cr4::LA57 != 0 { 57 } else { 48 };
    let canonical = |address: u64| ireko_x86::paging::canonicalize(address, bits) == address;
    let bases = [regs.seg[seg::FS].base, regs.seg[seg::GS].base, regs.ldtr.base, regs.tr.base];
    let entries = [regs.kernel_gs_base, regs.lstar, regs.cstar, regs.sysenter_esp, regs.sysenter_eip];
    let checks = [
        (regs.cr0 >> 32 != 0, "CR0 has reserved bits"),
        (regs.cr0 & (cr0::PG | cr0::PE) == cr0::PG, "paging is on without protected mode"),
        (regs.cr0 & (cr0::CD | cr0::NW) == cr0::NW, "CR0.NW is set without CD"),
        (!caps.reaches(regs.cr3), "CR3 reaches beyond memory"),
        (regs.cr4 & !model.cr4() != 0, "CR4 has bits that its model lacks"),
        (regs.efer & !model.efer() != 0, "EFER has bits that its model lacks"),
        (long != (regs.efer & efer::LME != 0 && regs.cr0 & cr0::PG != 0), "EFER.LMA is not LME and paging"),
        (long && regs.cr4 & cr4::PAE == 0, "long mode is on without PAE"),
        (long && regs.seg[seg::CS].long() && regs.seg[seg::CS].big(), "a code segment has L and D"),
        (regs.xcr0 & !model.xcr0() != 0 || regs.xcr0 & 1 == 0, "XCR0 has components that its model lacks"),
        (regs.xcr0 & 6 == 4, "XCR0 has AVX without SSE"),
        (regs.rflags & !FLAGS != 0 || regs.rflags & 2 == 0, "RFLAGS has reserved bits"),
        (regs.rflags & rflags::VM != 0 && (long || regs.cpl != 3), "virtual-8086 mode is not at level 3"),
        (regs.cpl > 3 || (!regs.protected() && regs.cpl != 0), "its privilege level is not one"),
        (regs.dr6 >> 32 != 0 || regs.dr7 >> 32 != 0, "debug registers have reserved bits"),
        (
            !regs.pat.to_le_bytes().iter().all(|kind| PAT_TYPES.contains(kind)),
            "PAT has an unknown memory type",
        ),
        (long && !bases.into_iter().all(canonical), "a segment's base is not canonical"),
        (!entries.into_iter().all(canonical), "an entry point is not canonical"),
        (!regs.code64() && regs.rip >> 32 != 0, "RIP has more than 32 bits"),
        (regs.code64() && !regs.canonical(regs.rip), "RIP is not canonical"),
    ];
    checks.into_iter().find(|(fails, _)| *fails).map(|(_, what)| what)
}
