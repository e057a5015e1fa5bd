//! The switches of the software CPU's short cuts: each leads to what a slower way does, too, and can be taken away to find
//! out whose a fault is.

/// Which loops are translated several turns in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unroll {
    None,
    /// Those that are found running.
    #[default]
    Running,
    All,
}

impl Unroll {
    pub fn parse(value: &str) -> Result<Self, String> {
        match value {
            "off" => Ok(Self::None),
            "on" => Ok(Self::Running),
            "all" => Ok(Self::All),
            _ => Err(format!("option unroll={value} is not among on, off and all")),
        }
    }
}

/// All on, but where the host lacks something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// A flush of a whole ASID is spared while no table behind its translations was written.
    pub spare_flushes: bool,
    /// What misses the TLB looks at its second level before Rust walks.
    pub second_level: bool,
    /// What misses the jump table looks at the second level before Rust.
    pub jump_cache: bool,
    /// Direct jumps to other pages of the kernel's are links.
    pub far_links: bool,
    /// XSAVEC and XRSTOR go straight to guest memory.
    pub xsavec: bool,
    /// REP MOVS and REP STOS are done in assembly.
    pub strings: bool,
    /// After an exception on to its handler without a look around.
    pub direct_exceptions: bool,
    /// SYSCALL and SYSRET are done in assembly.
    pub syscalls: bool,
    pub unroll: Unroll,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            spare_flushes: true,
            second_level: true,
            jump_cache: true,
            far_links: true,
            xsavec: crate::host::has_xsavec(),
            strings: true,
            direct_exceptions: true,
            syscalls: true,
            unroll: Unroll::Running,
        }
    }
}
