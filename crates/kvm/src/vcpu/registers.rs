//! What is saved of a vCPU's registers, and of what is pending at it.

use crate::state::{general_from_kvm, general_to_kvm, segment_from_kvm, segment_to_kvm};
use ireko_x86::Registers;
use ireko_x86::regs::Segment;
use kvm_bindings::{
    KVM_SREGS2_FLAGS_PDPTRS_VALID, kvm_debugregs, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs2,
    kvm_vcpu_events,
};
use serde::{Deserialize, Serialize};

/// All registers but vectors, the local APIC's and MSRs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedRegisters {
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [SavedSegment; 6],
    pub ldtr: SavedSegment,
    pub tr: SavedSegment,
    pub gdtr: (u64, u16),
    pub idtr: (u64, u16),
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub cr8: u64,
    pub efer: u64,
    pub apic_base: u64,
    /// With PAE's paging, as they were loaded.
    pub pdptes: Option<[u64; 4]>,
    pub dr: [u64; 4],
    pub dr6: u64,
    pub dr7: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedSegment {
    pub selector: u16,
    pub base: u64,
    pub limit: u32,
    /// Bits 40 to 47 and 52 to 55 of the descriptor; a segment that cannot be used is not present.
    pub attributes: u16,
}

impl SavedSegment {
    fn of(segment: &kvm_segment) -> Self {
        let Segment { selector, base, limit, attr } = segment_from_kvm(segment);
        Self { selector, base, limit, attributes: attr }
    }
    fn segment(&self) -> kvm_segment {
        let Self { selector, base, limit, attributes } = *self;
        segment_to_kvm(&Segment { selector, base, limit, attr: attributes })
    }
}

fn pair(table: &kvm_dtable) -> (u64, u16) {
    (table.base, table.limit)
}

fn table((base, limit): (u64, u16)) -> kvm_dtable {
    kvm_dtable { base, limit, padding: [0; 3] }
}

impl SavedRegisters {
    pub fn of(general: &kvm_regs, system: &kvm_sregs2, debug: &kvm_debugregs) -> Self {
        let mut regs = Registers::default();
        general_from_kvm(general, &mut regs);
        let s = system;
        let has_pdptes = s.flags & u64::from(KVM_SREGS2_FLAGS_PDPTRS_VALID) != 0;
        Self {
            gpr: regs.gpr,
            rip: regs.rip,
            rflags: regs.rflags,
            segments: [&s.es, &s.cs, &s.ss, &s.ds, &s.fs, &s.gs].map(SavedSegment::of),
            ldtr: SavedSegment::of(&s.ldt),
            tr: SavedSegment::of(&s.tr),
            gdtr: pair(&s.gdt),
            idtr: pair(&s.idt),
            cr0: s.cr0,
            cr2: s.cr2,
            cr3: s.cr3,
            cr4: s.cr4,
            cr8: s.cr8,
            efer: s.efer,
            apic_base: s.apic_base,
            pdptes: has_pdptes.then_some(s.pdptrs),
            dr: debug.db,
            dr6: debug.dr6,
            dr7: debug.dr7,
        }
    }

    pub fn general(&self) -> kvm_regs {
        let (gpr, rip, rflags) = (self.gpr, self.rip, self.rflags);
        general_to_kvm(&Registers { gpr, rip, rflags, ..Registers::default() })
    }

    pub fn system(&self) -> kvm_sregs2 {
        let [es, cs, ss, ds, fs, gs] = self.segments.map(|segment| segment.segment());
        kvm_sregs2 {
            cs,
            ds,
            es,
            fs,
            gs,
            ss,
            tr: self.tr.segment(),
            ldt: self.ldtr.segment(),
            gdt: table(self.gdtr),
            idt: table(self.idtr),
            cr0: self.cr0,
            cr2: self.cr2,
            cr3: self.cr3,
            cr4: self.cr4,
            cr8: self.cr8,
            efer: self.efer,
            apic_base: self.apic_base,
            flags: self.pdptes.map_or(0, |_| u64::from(KVM_SREGS2_FLAGS_PDPTRS_VALID)),
            pdptrs: self.pdptes.unwrap_or_default(),
        }
    }

    pub fn debug(&self) -> kvm_debugregs {
        kvm_debugregs { db: self.dr, dr6: self.dr6, dr7: self.dr7, ..Default::default() }
    }
}

/// Exceptions, interrupts, NMI and SMI that are pending or under way (KVM_GET_VCPU_EVENTS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedEvents {
    /// Which of what follows this KVM tells.
    pub told: u32,
    pub exception: SavedException,
    /// The vector of an interrupt whose delivery has begun; whether it is a software interrupt.
    pub interrupt: (u8, u8, u8),
    /// 1: of MOV SS, 2: of STI.
    pub shadow: u8,
    /// Under way, pending, blocked.
    pub nmi: (u8, u8, u8),
    pub sipi_vector: u32,
    /// In system-management mode, pending, inside an NMI, with an INIT that waits.
    pub smi: (u8, u8, u8, u8),
    pub triple_fault: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedException {
    pub injected: u8,
    pub pending: u8,
    pub vector: u8,
    pub has_error_code: u8,
    pub error_code: u32,
    /// What DR6 or CR2 becomes.
    pub has_payload: u8,
    pub payload: u64,
}

impl SavedEvents {
    pub fn of(events: &kvm_vcpu_events) -> Self {
        let (exception, interrupt, nmi, smi) = (events.exception, events.interrupt, events.nmi, events.smi);
        Self {
            told: events.flags,
            exception: SavedException {
                injected: exception.injected,
                pending: exception.pending,
                vector: exception.nr,
                has_error_code: exception.has_error_code,
                error_code: exception.error_code,
                has_payload: events.exception_has_payload,
                payload: events.exception_payload,
            },
            interrupt: (interrupt.injected, interrupt.nr, interrupt.soft),
            shadow: interrupt.shadow,
            nmi: (nmi.injected, nmi.pending, nmi.masked),
            sipi_vector: events.sipi_vector,
            smi: (smi.smm, smi.pending, smi.smm_inside_nmi, smi.latched_init),
            triple_fault: events.triple_fault.pending,
        }
    }

    pub fn events(&self) -> kvm_vcpu_events {
        let mut events = kvm_vcpu_events { flags: self.told, ..Default::default() };
        events.exception.injected = self.exception.injected;
        events.exception.pending = self.exception.pending;
        events.exception.nr = self.exception.vector;
        events.exception.has_error_code = self.exception.has_error_code;
        events.exception.error_code = self.exception.error_code;
        events.exception_has_payload = self.exception.has_payload;
        events.exception_payload = self.exception.payload;
        (events.interrupt.injected, events.interrupt.nr, events.interrupt.soft) = self.interrupt;
        events.interrupt.shadow = self.shadow;
        (events.nmi.injected, events.nmi.pending, events.nmi.masked) = self.nmi;
        events.sipi_vector = self.sipi_vector;
        (events.smi.smm, events.smi.pending, events.smi.smm_inside_nmi, events.smi.latched_init) = self.smi;
        events.triple_fault.pending = self.triple_fault;
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_way_from_kvm_and_back() {
        let mut events = kvm_vcpu_events { flags: 0x3d, sipi_vector: 9, ..Default::default() };
        (events.exception.nr, events.exception.error_code) = (14, 7);
        (events.exception_has_payload, events.exception_payload) = (1, 0x1234);
        (events.interrupt.injected, events.interrupt.nr, events.interrupt.shadow) = (1, 0x20, 2);
        (events.nmi.pending, events.smi.latched_init, events.triple_fault.pending) = (1, 1, 1);
        assert_eq!(SavedEvents::of(&events).events(), events);
    }

    #[test]
    fn registers_survive_the_way_to_kvm_and_back() {
        let segment = |n: u16| SavedSegment { selector: n, base: 1 << n, limit: 0xffff, attributes: 0xa9b };
        let saved = SavedRegisters {
            gpr: std::array::from_fn(|n| n as u64),
            rip: 16,
            rflags: 2,
            segments: std::array::from_fn(|n| segment(n as u16)),
            ldtr: segment(6),
            tr: segment(7),
            gdtr: (1, 2),
            idtr: (3, 4),
            cr0: 5,
            cr2: 6,
            cr3: 7,
            cr4: 8,
            cr8: 9,
            efer: 10,
            apic_base: 11,
            pdptes: Some([1, 2, 3, 4]),
            dr: [4, 3, 2, 1],
            dr6: 12,
            dr7: 13,
        };
        assert_eq!(SavedRegisters::of(&saved.general(), &saved.system(), &saved.debug()), saved);
    }
}
