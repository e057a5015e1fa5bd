//! The C library's memory functions, without AVX.
//!
//! While Rust code runs between two stretches of translated code, the guest's YMM upper halves and x87 registers stay in
//! the host's registers: our own code is compiled for SSE2 and leaves them alone. The C library would choose AVX or AVX-512
//! versions of these functions when the program starts, and those do not. So they are replaced, for the whole program.

// UNSAFETY: these are the functions that copy memory.
#![allow(unsafe_code)]

use core::arch::global_asm;

global_asm!(
    ".pushsection .text.ireko_memory,\"ax\",@progbits",
    ".p2align 4",
    ".globl memcpy",
    ".type memcpy,@function",
    "memcpy:",
    ".globl memmove",
    ".type memmove,@function",
    "memmove:",
    "mov rax, rdi",
    "cmp rdx, 16",
    "jb 5f",
    "mov rcx, rdi",
    "sub rcx, rsi",
    "cmp rcx, rdx",
    "jb 3f", // the destination starts inside the source: backwards
    "cmp rdx, 1024",
    "jae 2f",
    "movups xmm0, [rsi + rdx - 16]",
    "lea r8, [rdi + rdx - 16]",
    "cmp rdi, r8",
    "jae 14f", // 16 bytes are stored once
    "1: movups xmm1, [rsi]",
    "movups [rdi], xmm1",
    "add rsi, 16",
    "add rdi, 16",
    "cmp rdi, r8",
    "jb 1b",
    "14: movups [r8], xmm0",
    "ret",
    "2: mov rcx, rdx",
    "rep movsb",
    "ret",
    "3: movups xmm0, [rsi]",
    "4: movups xmm1, [rsi + rdx - 16]",
    "movups [rdi + rdx - 16], xmm1",
    "sub rdx, 16",
    "cmp rdx, 16",
    "ja 4b",
    "movups [rdi], xmm0",
    "ret",
    // 1, 2, 4 and 8 bytes go by one load and one store: a guest's access is single-copy atomic (APM vol. 2, 7.3.2).
    "5: cmp edx, 8",
    "jb 6f",
    "mov rcx, [rsi]",
    "je 9f",
    "mov r8, [rsi + rdx - 8]",
    "mov [rdi], rcx",
    "mov [rdi + rdx - 8], r8",
    "ret",
    "9: mov [rdi], rcx",
    "ret",
    "6: cmp edx, 4",
    "jb 7f",
    "mov ecx, [rsi]",
    "je 9f",
    "mov r8d, [rsi + rdx - 4]",
    "mov [rdi], ecx",
    "mov [rdi + rdx - 4], r8d",
    "ret",
    "9: mov [rdi], ecx",
    "ret",
    "7: cmp edx, 2",
    "jb 9f",
    "movzx ecx, word ptr [rsi]",
    "je 7f",
    "movzx r8d, byte ptr [rsi + 2]",
    "mov [rdi + 2], r8b",
    "7: mov [rdi], cx",
    "ret",
    "9: test edx, edx",
    "jz 8f",
    "movzx ecx, byte ptr [rsi]",
    "mov [rdi], cl",
    "8: ret",
    ".p2align 4",
    ".globl memset",
    ".type memset,@function",
    "memset:",
    "mov r9, rdi",
    "movzx eax, sil",
    "mov r8, 0x0101010101010101",
    "imul rax, r8",
    "cmp rdx, 256",
    "jae 3f",
    "cmp rdx, 8",
    "jb 2f",
    "lea r8, [rdi + rdx - 8]",
    "1: mov [rdi], rax",
    "add rdi, 8",
    "cmp rdi, r8",
    "jb 1b",
    "mov [r8], rax",
    "mov rax, r9",
    "ret",
    "2: test edx, edx",
    "jz 4f",
    "mov [rdi], al",
    "inc rdi",
    "dec edx",
    "jmp 2b",
    "3: mov rcx, rdx",
    "rep stosb",
    "4: mov rax, r9",
    "ret",
    ".p2align 4",
    ".globl memcmp",
    ".type memcmp,@function",
    "memcmp:",
    ".globl bcmp",
    ".type bcmp,@function",
    "bcmp:",
    "1: cmp rdx, 8",
    "jb 2f",
    "mov rax, [rdi]",
    "mov rcx, [rsi]",
    "add rdi, 8",
    "add rsi, 8",
    "sub rdx, 8",
    "cmp rax, rcx",
    "je 1b",
    "bswap rax",
    "bswap rcx",
    "cmp rax, rcx",
    "sbb eax, eax",
    "or eax, 1",
    "ret",
    "2: test edx, edx",
    "jz 3f",
    "movzx eax, byte ptr [rdi]",
    "movzx ecx, byte ptr [rsi]",
    "inc rdi",
    "inc rsi",
    "dec edx",
    "sub eax, ecx",
    "jz 2b",
    "ret",
    "3: xor eax, eax",
    "ret",
    ".p2align 4",
    ".globl memchr",
    ".type memchr,@function",
    "memchr:",
    "1: test rdx, rdx",
    "jz 2f",
    "cmp [rdi], sil",
    "je 3f",
    "inc rdi",
    "dec rdx",
    "jmp 1b",
    "2: xor edi, edi",
    "3: mov rax, rdi",
    "ret",
    ".globl memrchr",
    ".type memrchr,@function",
    "memrchr:",
    "1: test rdx, rdx",
    "jz 2f",
    "cmp [rdi + rdx - 1], sil",
    "je 3f",
    "dec rdx",
    "jmp 1b",
    "2: xor eax, eax",
    "ret",
    "3: lea rax, [rdi + rdx - 1]",
    "ret",
    ".globl strlen",
    ".type strlen,@function",
    "strlen:",
    "xor eax, eax",
    "1: cmp byte ptr [rdi + rax], 0",
    "je 2f",
    "inc rax",
    "jmp 1b",
    "2: ret",
    ".popsection",
);

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    /// Every length up to 80 and some long ones, at every distance of source and destination around each other.
    #[test]
    fn overlapping_moves_keep_the_source() {
        for length in (0..80).chain([1023, 1024, 3000]) {
            for shift in -40i64..=40 {
                let start: Vec<u8> = (0..4096).map(|n| (n % 251) as u8).collect();
                let mut moved = start.clone();
                let to = (100 + shift) as usize;
                moved.copy_within(black_box(100..100 + length), to);
                for (n, &byte) in moved.iter().enumerate() {
                    let inside = n >= to && n < to + length;
                    assert_eq!(
                        byte,
                        if inside { start[n - to + 100] } else { start[n] },
                        "{length} {shift} {n}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_fill_stays_inside() {
        for length in (0..70).chain([255, 256, 1000]) {
            let mut bytes = vec![1u8; 1100];
            bytes[20..20 + black_box(length)].fill(black_box(7));
            let inside = |n: usize| n >= 20 && n < 20 + length;
            assert!(bytes.iter().enumerate().all(|(n, &b)| b == if inside(n) { 7 } else { 1 }), "{length}");
        }
    }

    #[test]
    fn slices_compare_by_their_first_difference() {
        let a: Vec<u8> = (0..40).collect();
        for n in 0..40 {
            let mut b = a.clone();
            b[n] = 0xff;
            assert!(black_box(&a[..]) < black_box(&b[..]), "{n}");
            assert!(black_box(&b[..]) > black_box(&a[..]), "{n}");
        }
        assert!(black_box(&a[..]) == black_box(&a.clone()[..]));
    }
}
