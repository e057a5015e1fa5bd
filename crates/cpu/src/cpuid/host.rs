//! What the host's processor has.

use crate::cpuid::features::BASELINE;
use crate::host;
use crate::xstate::AVX512;
use ireko_x86::cpuid::{EAX, Feature};

/// The host's CPUID and XCR0, or a made-up host in a test.
#[derive(Clone, Copy)]
pub struct Host {
    pub cpuid: fn(u32, u32) -> [u32; 4],
    pub xcr0: u64,
}

impl Host {
    /// This machine.
    pub fn native() -> Self {
        Self { cpuid: host::cpuid, xcr0: host::xcr0() }
    }

    pub fn has(&self, feature: Feature) -> bool {
        let max = (self.cpuid)(feature.leaf & 0x8000_0000, 0)[EAX];
        feature.leaf <= max && feature.is_in(&(self.cpuid)(feature.leaf, feature.subleaf))
    }

    /// x87, SSE and AVX state are all kept by the system.
    pub fn avx(&self) -> bool {
        self.xcr0 & 7 == 7
    }

    /// And what AVX-512 adds.
    pub fn avx512(&self) -> bool {
        self.avx() && self.xcr0 & AVX512 == AVX512
    }

    /// Whether the engine can run here; else what is missing.
    pub fn supported(&self) -> Result<(), String> {
        let missing: Vec<_> = BASELINE.iter().filter(|(f, _)| !self.has(*f)).map(|(_, name)| *name).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let list = missing.join(", ");
        Err(format!(
            "this processor is below x86-64-v3 (it lacks {list}): use a newer machine or expose them to this VM"
        ))
    }
}

/// Whether this machine can run the engine; else one sentence.
pub fn supported() -> Result<(), String> {
    Host::native().supported()
}
