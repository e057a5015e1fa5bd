//! Copies and fills of guest memory in which each element is loaded once and stored once, whole.
//!
//! Another processor never sees half an element, and what it writes into one is not overwritten by a second store of the same
//! (APM vol. 2, 7.3.2: single-copy atomic accesses). The functions of [`crate::memory_functions`] promise that of accesses whose
//! size is a power of two only: of other sizes they store some bytes twice, and a long run goes byte by byte.

// UNSAFETY: string instructions of the host's, on guest memory by host pointer.
#![allow(unsafe_code)]

use core::arch::asm;

/// Up to so many elements go one by one: the host's string instructions take longer to begin.
const FEW: usize = 8;

macro_rules! by_element {
    ($copy:ident, $fill:ident, $type:ty, $load:literal, $store:literal, $repeat_move:literal, $repeat_store:literal) => {
        /// # Safety
        /// As of [`copy`].
        unsafe fn $copy(from: *const u8, to: *mut u8, elements: usize) {
            let ahead = (to as usize).wrapping_sub(from as usize);
            // So few elements behind what was written last, the host's string instruction goes one by one, too, and slower.
            if elements <= FEW || ahead < FEW * size_of::<$type>() {
                // SAFETY: the caller's promise; one element a turn, upwards.
                unsafe {
                    asm!(
                        "test rcx, rcx",
                        "jz 3f",
                        "2:",
                        $load,
                        $store,
                        "add rsi, {size}",
                        "add rdi, {size}",
                        "dec rcx",
                        "jnz 2b",
                        "3:",
                        size = const size_of::<$type>(),
                        inout("rcx") elements => _, inout("rsi") from => _, inout("rdi") to => _, out("rax") _,
                        options(nostack)
                    );
                }
                return;
            }
            // SAFETY: the caller's promise; the direction flag is clear in Rust code.
            unsafe {
                asm!(
                    $repeat_move,
                    inout("rcx") elements => _, inout("rsi") from => _, inout("rdi") to => _,
                    options(nostack, preserves_flags)
                );
            }
        }

        /// # Safety
        /// As of [`fill`].
        unsafe fn $fill(value: u64, to: *mut u8, elements: usize) {
            if elements <= FEW {
                // SAFETY: the caller's promise; one element a turn, upwards.
                unsafe {
                    asm!(
                        "test rcx, rcx",
                        "jz 3f",
                        "2:",
                        $store,
                        "add rdi, {size}",
                        "dec rcx",
                        "jnz 2b",
                        "3:",
                        size = const size_of::<$type>(),
                        inout("rcx") elements => _, inout("rdi") to => _, in("rax") value,
                        options(nostack)
                    );
                }
                return;
            }
            // SAFETY: the caller's promise; the direction flag is clear in Rust code.
            unsafe {
                asm!(
                    $repeat_store,
                    inout("rcx") elements => _, inout("rdi") to => _, in("rax") value,
                    options(nostack, preserves_flags)
                );
            }
        }
    };
}

by_element!(copy_1, fill_1, u8, "movzx eax, byte ptr [rsi]", "mov [rdi], al", "rep movsb", "rep stosb");
by_element!(copy_2, fill_2, u16, "movzx eax, word ptr [rsi]", "mov [rdi], ax", "rep movsw", "rep stosw");
by_element!(copy_4, fill_4, u32, "mov eax, [rsi]", "mov [rdi], eax", "rep movsd", "rep stosd");
by_element!(copy_8, fill_8, u64, "mov rax, [rsi]", "mov [rdi], rax", "rep movsq", "rep stosq");

/// Copies elements of `size` bytes (1, 2, 4 or 8), upwards: one that an earlier one of the run wrote is read as written.
///
/// # Safety
/// All of them can be read at `from` and written at `to`.
pub unsafe fn copy(size: usize, from: *const u8, to: *mut u8, elements: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => copy_1(from, to, elements),
            2 => copy_2(from, to, elements),
            4 => copy_4(from, to, elements),
            _ => copy_8(from, to, elements),
        }
    }
}

/// Stores the low `size` bytes (1, 2, 4 or 8) of `value` in each of a run of elements.
///
/// # Safety
/// All of them can be written at `to`.
pub unsafe fn fill(size: usize, value: u64, to: *mut u8, elements: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => fill_1(value, to, elements),
            2 => fill_2(value, to, elements),
            4 => fill_4(value, to, elements),
            _ => fill_8(value, to, elements),
        }
    }
}

/// Copies an operand between guest memory and a buffer: whole if its size is a power of two, else in such pieces from its start on, as
/// the parts of a far pointer or of an 80-bit number are.
///
/// # Safety
/// `size` bytes can be read at `from` and written at `to`, which do not overlap.
#[inline]
pub unsafe fn operand(from: *const u8, to: *mut u8, size: usize) {
    let mut done = 0;
    while done < size {
        let piece = 1 << (size - done).ilog2();
        // SAFETY: the caller's promise; `memcpy` takes such a size in one access, or in one for each 16 bytes.
        unsafe { std::ptr::copy_nonoverlapping(from.add(done), to.add(done), piece) };
        done += piece;
    }
}
