//! What is saved of a processor's AMD-V state, and of segment registers as a VMCB has them.

use super::{Host, State};
use ireko_x86::{Segment, Table};
use serde::{Deserialize, Serialize};

/// AMD-V's own state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedSvm {
    pub vm_cr: u64,
    pub hsave_pa: u64,
    pub tsc_ratio: u64,
    pub key: u64,
    /// Of the guest that runs, or ran last.
    pub vmcb: u64,
    pub host: SavedHost,
}

impl State {
    pub fn save(&self) -> SavedSvm {
        SavedSvm {
            vm_cr: self.vm_cr,
            hsave_pa: self.hsave_pa,
            tsc_ratio: self.tsc_ratio,
            key: self.key,
            vmcb: self.vmcb,
            host: SavedHost::of(&self.host),
        }
    }

    /// On the model that it is.
    pub fn restore(&mut self, saved: SavedSvm) {
        let SavedSvm { vm_cr, hsave_pa, tsc_ratio, key, vmcb, host } = saved;
        *self = Self { vm_cr, hsave_pa, tsc_ratio, key, vmcb, host: host.host(), ..Self::new(self.caps) };
    }
}

/// A segment register; attributes as in a VMCB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedSegment {
    pub base: u64,
    pub limit: u32,
    pub attributes: u16,
    pub selector: u16,
}

impl SavedSegment {
    pub fn of(segment: &Segment) -> Self {
        let Segment { base, limit, attr, selector } = *segment;
        Self { base, limit, attributes: attr, selector }
    }
    pub fn segment(&self) -> Segment {
        let Self { base, limit, attributes, selector } = *self;
        Segment { base, limit, attr: attributes, selector }
    }
}

/// A table's base and limit.
pub fn pair(table: &Table) -> (u64, u16) {
    (table.base, table.limit)
}
/// And back.
pub fn table((base, limit): (u64, u16)) -> Table {
    Table { base, limit }
}

/// A hypervisor's registers while its guest runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedHost {
    pub segments: [SavedSegment; 4],
    pub gdtr: (u64, u16),
    pub idtr: (u64, u16),
    pub efer: u64,
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub rflags: u64,
    pub rip: u64,
    pub rsp: u64,
    pub rax: u64,
    pub pat: u64,
    pub pdpte: [u64; 4],
    pub debugctl: u64,
    pub lbr: [u64; 4],
}

impl SavedHost {
    fn of(host: &Host) -> Self {
        Self {
            segments: host.seg.each_ref().map(SavedSegment::of),
            gdtr: pair(&host.gdtr),
            idtr: pair(&host.idtr),
            efer: host.efer,
            cr0: host.cr0,
            cr3: host.cr3,
            cr4: host.cr4,
            rflags: host.rflags,
            rip: host.rip,
            rsp: host.rsp,
            rax: host.rax,
            pat: host.pat,
            pdpte: host.pdpte,
            debugctl: host.debugctl,
            lbr: host.lbr,
        }
    }

    fn host(&self) -> Host {
        Host {
            seg: self.segments.map(|segment| segment.segment()),
            gdtr: table(self.gdtr),
            idtr: table(self.idtr),
            efer: self.efer,
            cr0: self.cr0,
            cr3: self.cr3,
            cr4: self.cr4,
            rflags: self.rflags,
            rip: self.rip,
            rsp: self.rsp,
            rax: self.rax,
            pat: self.pat,
            pdpte: self.pdpte,
            debugctl: self.debugctl,
            lbr: self.lbr,
        }
    }
}
