//! AMD-V on the neutral core (APM vol. 2, chapter 15).
//!
//! [`enter`] is VMRUN, [`exit`] is #VMEXIT. Nothing outside this module knows what a VMCB is.

pub mod caps;
pub mod check;
pub mod encode;
pub mod enter;
pub mod event;
pub mod exit;
pub mod insn;
mod instruments;
pub mod msr;
pub mod saved;
pub mod vmcb;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use caps::Caps;
pub use vmcb::Vmcb;

use ireko_x86::{Segment, Table};

/// The processor's own state that VMRUN saves and #VMEXIT brings back (15.5.1). A processor may keep it in the area
/// that VM_HSAVE_PA names in a form of its own, or not there at all; ours is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// ES CS SS DS.
    pub seg: [Segment; 4],
    pub gdtr: Table,
    pub idtr: Table,
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

/// All of a processor's AMD-V state but GIF and the controls in force. Plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub caps: Caps,
    pub vm_cr: u64,
    pub hsave_pa: u64,
    pub tsc_ratio: u64,
    pub key: u64,
    /// System-physical address of the VMCB of the running (or last) guest.
    pub vmcb: u64,
    pub host: Host,
    /// Number of the entry check ([`check::CHECKS`]) that refused the last VMRUN, if one did.
    pub refused: Option<usize>,
}

impl Default for State {
    fn default() -> Self {
        Self::new(Caps::default())
    }
}

impl State {
    /// After RESET.
    pub fn new(caps: Caps) -> Self {
        Self {
            caps,
            vm_cr: 0,
            hsave_pa: 0,
            tsc_ratio: ireko_x86::vmcb::TSC_RATIO_ONE,
            key: 0,
            vmcb: 0,
            host: Host::default(),
            refused: None,
        }
    }

    /// RESET: the processor stays the model that it is.
    pub fn reset(&mut self) {
        *self = Self::new(self.caps);
    }

    /// Whether EFER.SVME may be set (15.30.1).
    pub const fn svme_allowed(&self) -> bool {
        self.vm_cr & ireko_x86::vmcb::vm_cr::SVMDIS == 0
    }
}
