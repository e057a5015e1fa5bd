//! The host's time-stamp counter.

// UNSAFETY: RDTSC is an intrinsic.
#![allow(unsafe_code)]

/// The host's TSC now.
pub fn host_tsc() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and Linux leaves it enabled.
    unsafe { core::arch::x86_64::_rdtsc() }
}
