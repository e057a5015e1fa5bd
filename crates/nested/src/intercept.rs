//! What a hypervisor can ask to be told of, by name.

/// One interceptable instruction or event without operands of its own. CR, DR, exception, I/O and MSR intercepts
/// have their own masks in [`crate::Control`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Intercept {
    Intr,
    Nmi,
    Smi,
    Init,
    Vintr,
    Cr0SelWrite,
    IdtrRead,
    GdtrRead,
    LdtrRead,
    TrRead,
    IdtrWrite,
    GdtrWrite,
    LdtrWrite,
    TrWrite,
    Rdtsc,
    Rdpmc,
    Pushf,
    Popf,
    Cpuid,
    Rsm,
    Iret,
    SoftwareInterrupt,
    Invd,
    Pause,
    Hlt,
    Invlpg,
    Invlpga,
    /// I/O is looked up in the permission map.
    Io,
    /// MSR accesses are looked up in the permission map.
    Msr,
    TaskSwitch,
    FerrFreeze,
    Shutdown,
    Vmrun,
    Vmmcall,
    Vmload,
    Vmsave,
    Stgi,
    Clgi,
    Skinit,
    Rdtscp,
    Icebp,
    Wbinvd,
    Monitor,
    Mwait,
    MwaitArmed,
    Xsetbv,
    Rdpru,
    EferWriteTrap,
    Invlpgb,
    IllegalInvlpgb,
    Invpcid,
    Mcommit,
    Tlbsync,
}

/// A set of [`Intercept`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InterceptSet(pub u64);

impl InterceptSet {
    pub const fn has(self, what: Intercept) -> bool {
        self.0 >> what as u8 & 1 != 0
    }
    pub const fn with(self, what: Intercept) -> Self {
        Self(self.0 | 1 << what as u8)
    }
}
