//! What is asked of the host's processor directly.
// UNSAFETY: RDTSC and XGETBV have no safe intrinsic, and the thread's time comes by a system call.
#![allow(unsafe_code)]

/// The host's time-stamp counter.
#[inline]
pub fn rdtsc() -> u64 {
    // SAFETY: RDTSC is in every x86-64 processor and touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Nanoseconds for which the host has run this thread.
pub fn thread_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// One CPUID leaf: EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// The host's XCR0; 0 if it has no XSAVE or its system does not use it.
pub fn xcr0() -> u64 {
    if !ireko_x86::cpuid::OSXSAVE.is_in(&cpuid(1, 0)) {
        return 0;
    }
    // SAFETY: OSXSAVE is set, so XGETBV exists and ECX = 0 is valid; it touches no memory.
    unsafe { xgetbv() }
}

/// Whether the host has XSAVEC, and AVX state to save.
pub fn has_xsavec() -> bool {
    const XSAVEC: u32 = 1 << 1;
    xcr0() & 7 == 7 && cpuid(0xd, 1)[0] & XSAVEC != 0
}

#[target_feature(enable = "xsave")]
fn xgetbv() -> u64 {
    // SAFETY: XCR0 is always there with XSAVE.
    unsafe { core::arch::x86_64::_xgetbv(0) }
}
