//! Which processor it is: its CPUID leaves, and what they imply. How a model is made is in `cpuid`.

use ireko_nested::svm;
use ireko_x86::bits::cr4;
use ireko_x86::cpuid::Feature;
use ireko_x86::paging::{LINEAR_BITS, LINEAR_BITS_5, PHYSICAL_BITS};

/// One leaf and subleaf with EAX, EBX, ECX, EDX.
pub type Leaf = ((u32, u32), [u32; 4]);

/// The leaves that do not depend on a processor's state, and what they imply for control registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Ascending.
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) vcpus: u32,
    pub(crate) cr4: u64,
    pub(crate) efer: u64,
    pub(crate) xcr0: u64,
}

impl Model {
    /// A leaf as it is whatever the processor's state; zeros where there is none.
    pub fn leaf(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        // One after the other: they are few, and the first are those that are asked for.
        match self.leaves.iter().find(|(key, _)| *key >= (leaf, subleaf)) {
            Some((key, registers)) if *key == (leaf, subleaf) => *registers,
            _ => [0; 4],
        }
    }

    /// Logical processors of the machine.
    pub fn vcpus(&self) -> u32 {
        self.vcpus
    }

    pub fn has(&self, feature: Feature) -> bool {
        feature.is_in(&self.leaf(feature.leaf, feature.subleaf))
    }

    /// The bits of CR4 that may be set.
    pub fn cr4(&self) -> u64 {
        self.cr4
    }
    /// Bits of linear addresses, with the widest paging.
    pub fn linear_bits(&self) -> u32 {
        if self.cr4 & cr4::LA57 != 0 { LINEAR_BITS_5 } else { LINEAR_BITS }
    }
    /// The bits of EFER that may be set.
    pub fn efer(&self) -> u64 {
        self.efer
    }
    /// The bits of XCR0 that may be set.
    pub fn xcr0(&self) -> u64 {
        self.xcr0
    }
    /// What AMD-V's checks need to know of this model.
    pub fn svm_caps(&self) -> svm::Caps {
        svm::Caps {
            physical_bits: PHYSICAL_BITS as u8,
            cr4: self.cr4,
            efer: self.efer,
            ..svm::Caps::default()
        }
    }
}
