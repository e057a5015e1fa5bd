//! The translator alone, with guest addresses that are host addresses: what a block does to registers and memory.

// UNSAFETY: runs translated code.
#![allow(unsafe_code)]

use ireko_translate::block::{Request, SiteKind};
use ireko_translate::classify::Env;
use ireko_translate::layout::{
    BANK, JUMP_ENTRIES, JUMP_MASK, JUMP_SLOT_BYTES, JUMP_SLOTS, JUMP_TAGS, STACK, TLB, TLB_ENTRIES,
    jump_no_tag,
};
use ireko_translate::refill;
use ireko_translate::thunk::{self, Reason};
use ireko_translate::{CodeCache, Hot, Key, TlbEntry, Translator};
use ireko_x86::Registers;
use std::sync::atomic::{AtomicU64, Ordering};

extern "C" fn identity(_: u64, _: u64, address: u64) -> u64 {
    address
}
extern "C" fn leave(_: u64, _: u64) -> u32 {
    1
}

#[repr(C, align(4096))]
struct Bank([u8; BANK]);

#[repr(C, align(64))]
struct Area([u8; 4096]);

fn bank() -> Box<Bank> {
    let mut bank = Box::<Bank>::new_uninit();
    // SAFETY: bytes, for which zero is valid.
    let mut bank = unsafe {
        bank.as_mut_ptr().write_bytes(0, 1);
        bank.assume_init()
    };
    let base = bank.0.as_mut_ptr();
    for n in 0..3 * TLB_ENTRIES {
        // SAFETY: inside the bank.
        unsafe {
            base.add(STACK + TLB + 32 * n).cast::<TlbEntry>().write(TlbEntry::empty(n % TLB_ENTRIES, 0))
        };
    }
    for slot in 0..JUMP_SLOTS {
        for n in 0..JUMP_ENTRIES {
            // SAFETY: inside the bank.
            unsafe {
                base.add(STACK + JUMP_TAGS + slot * JUMP_SLOT_BYTES + 16 * n)
                    .cast::<u64>()
                    .write(jump_no_tag(n))
            };
        }
    }
    bank
}

/// Runs one block at 0x1000 from `regs`; gives why it left and where to.
fn run(code: &[u8], regs: &mut Registers) -> (Reason, u64) {
    let mut translator = Translator::new(Env { routine: |_| false, feature: |_| true });
    let key = Key(Key::CODE64 | Key::SSE | Key::AVX);
    let request = Request {
        bytes: code,
        rip: 0x1000,
        in_page: code.len(),
        page_offset: 0,
        key,
        first_site: 0,
        first_link: 0,
        block: 0,
    };
    let made = translator.translate(&request).expect("whole instructions");
    let mut cache = CodeCache::new(1 << 20, 1).unwrap();
    let at = cache.add(&made.code).unwrap();
    cache.synchronize();
    let mut bank = bank();
    let mut fpu = Box::new(Area([0; 4096]));
    fpu.0[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
    fpu.0[ireko_translate::thunk::IN_MEMORY] = 1;
    fpu.0[512] = 3;
    // SAFETY: Hot lies in the bank.
    let hot = unsafe { &mut *bank.0.as_mut_ptr().add(STACK).cast::<Hot>() };
    thunk::prepare(hot, identity, leave, leave);
    refill::prepare(hot, false);
    hot.regs = std::ptr::from_mut(regs) as u64;
    hot.fpu = fpu.0.as_mut_ptr() as u64;
    *hot.attention.get_mut() = JUMP_MASK;
    // SAFETY: the bank is complete and the code was made for it.
    let reason = unsafe { thunk::enter(hot, cache.address(at)) };
    let rip = if reason == Reason::Link { made.links[hot.site as usize].target } else { hot.rip };
    (reason, rip)
}

#[test]
fn registers_that_live_elsewhere_are_added() {
    let mut regs = Registers::default();
    regs.gpr[1] = 5; // rcx
    regs.gpr[11] = 7;
    regs.gpr[4] = 100;
    // add rcx, r11; add r15, rsp; lea r13, [rcx + r15*2 + 1]; jmp $
    let left =
        run(&[0x4c, 0x01, 0xd9, 0x49, 0x01, 0xe7, 0x4e, 0x8d, 0x6c, 0x79, 0x01, 0xeb, 0xfe], &mut regs);
    assert_eq!((regs.gpr[1], regs.gpr[15], regs.gpr[13]), (12, 100, 213));
    assert_eq!(left, (Reason::Link, 0x100b));
}

#[test]
fn memory_is_read_and_written_through_the_routine() {
    let mut words = [1u64, 2, 3];
    let mut regs = Registers::default();
    regs.gpr[3] = words.as_mut_ptr() as u64;
    regs.gpr[14] = 1;
    // add r14, [rbx+8]; xadd [rbx+r14*8-8], r14 ; hlt
    run(&[0x4c, 0x03, 0x73, 0x08, 0x4e, 0x0f, 0xc1, 0x74, 0xf3, 0xf8, 0xf4], &mut regs);
    assert_eq!(words, [1, 2, 6]);
    assert_eq!(regs.gpr[14], 3);
}

#[test]
fn flags_survive_a_memory_access() {
    let words = [0u64];
    let mut regs = Registers::default();
    regs.gpr[3] = words.as_ptr() as u64;
    regs.gpr[0] = 0x7fff_ffff_ffff_ffff;
    // add rax, 1 (sets OF, SF); mov rdx, [rbx]; seto cl; sets ch; hlt
    run(&[0x48, 0x83, 0xc0, 0x01, 0x48, 0x8b, 0x13, 0x0f, 0x90, 0xc1, 0x0f, 0x98, 0xc5, 0xf4], &mut regs);
    assert_eq!(regs.gpr[1], 0x0101);
    assert_eq!(regs.gpr[0], 0x8000_0000_0000_0000);
}

#[test]
fn calls_push_and_returns_pop() {
    let mut stack = [0u64; 4];
    let mut regs = Registers::default();
    regs.gpr[4] = stack.as_mut_ptr() as u64 + 32;
    // call +0x10
    let left = run(&[0xe8, 0x0b, 0x00, 0x00, 0x00, 0xf4], &mut regs);
    assert_eq!(stack[3], 0x1005);
    assert_eq!(left, (Reason::Link, 0x1010));
    // ret
    let left = run(&[0xc3], &mut regs);
    assert_eq!(left, (Reason::Lookup, 0x1005));
    assert_eq!(regs.gpr[4], stack.as_ptr() as u64 + 32);
}

#[test]
fn a_bit_far_away_is_set() {
    let mut words = [0u64; 4];
    let mut regs = Registers::default();
    regs.gpr[7] = words.as_mut_ptr() as u64 + 8;
    regs.gpr[15] = (-3i64) as u64;
    // lock bts [rdi], r15; setc al; hlt
    run(&[0xf0, 0x4c, 0x0f, 0xab, 0x3f, 0x0f, 0x92, 0xc0, 0xf4], &mut regs);
    assert_eq!(words, [1 << 61, 0, 0, 0]);
    assert_eq!(regs.gpr[0], 0);
}

#[test]
fn shifts_by_cl_and_high_bytes_find_rcx() {
    let bytes = [0x11u8, 0x22];
    let mut regs = Registers::default();
    regs.gpr[1] = 0x0304;
    regs.gpr[13] = 1;
    regs.gpr[3] = bytes.as_ptr() as u64;
    // shl r13, cl; add ch, [rbx+1]; mov ah, ch; hlt
    run(&[0x49, 0xd3, 0xe5, 0x02, 0x6b, 0x01, 0x88, 0xec, 0xf4], &mut regs);
    assert_eq!(regs.gpr[13], 16);
    assert_eq!(regs.gpr[1], 0x2504);
    assert_eq!(regs.gpr[0], 0x2500);
}

/// Whatever the address size (APM vol. 3, POP).
#[test]
fn a_pop_to_memory_off_the_stack_pointer_has_it_moved_already() {
    // The program is linked to lie below 4 GiB, so that 32-bit addresses reach its static data.
    static WORDS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
    for prefix in [None, Some(0x67)] {
        WORDS.iter().zip([7, 0, 0, 0]).for_each(|(word, value)| word.store(value, Ordering::SeqCst));
        let mut regs = Registers::default();
        regs.gpr[4] = WORDS.as_ptr() as u64;
        // pop [rsp + 8]; hlt
        let code: Vec<u8> = prefix.into_iter().chain([0x8f, 0x44, 0x24, 8, 0xf4]).collect();
        run(&code, &mut regs);
        let words: Vec<u64> = WORDS.iter().map(|word| word.load(Ordering::SeqCst)).collect();
        assert_eq!(words, [7, 0, 7, 0], "{prefix:?}");
    }
}

/// Whether the first instruction of 32-bit code raises #UD and does nothing else.
fn is_undefined_in_32_bit_code(code: &[u8]) -> bool {
    let mut translator = Translator::new(Env { routine: |_| false, feature: |_| true });
    let request = Request {
        bytes: code,
        rip: 0x1000,
        in_page: code.len(),
        page_offset: 0,
        key: Key(Key::CODE32 | Key::SSE | Key::AVX),
        first_site: 0,
        first_link: 0,
        block: 0,
    };
    let made = translator.translate(&request).expect("whole instructions");
    matches!(made.sites.first(), Some(site) if site.kind == SiteKind::Raise(6))
}

#[test]
fn quadword_elements_are_undefined_in_32_bit_code() {
    // vpinsrq xmm0, xmm0, rax, 0; vpextrq rax, xmm0, 0; the first behind a prefix, and from memory
    for code in [
        &[0xc4, 0xe3, 0xf9, 0x22, 0xc0, 0][..],
        &[0xc4, 0xe3, 0xf9, 0x16, 0xc0, 0],
        &[0x3e, 0xc4, 0xe3, 0xf9, 0x22, 0xc0, 0],
        &[0xc4, 0xe3, 0xf9, 0x22, 0x03, 0],
    ] {
        assert!(is_undefined_in_32_bit_code(code), "{code:02x?}");
    }
}

#[test]
fn doublewords_ignore_the_width_bit_in_32_bit_code() {
    // vpinsrd, vpextrd with W = 0 (an immediate and a displacement of C4 mean nothing); vmovd, vcvtsi2sd, vcvttsd2si, andn, vpinsrb
    // with W = 1
    for code in [
        &[0xc4, 0xe3, 0x79, 0x22, 0xc0, 0xc4][..],
        &[0xc4, 0xe3, 0x79, 0x16, 0x43, 0xc4, 0],
        &[0xc4, 0xe1, 0xf9, 0x6e, 0xc0],
        &[0xc4, 0xe1, 0xf9, 0x7e, 0xc0],
        &[0xc4, 0xe1, 0xfb, 0x2a, 0xc0],
        &[0xc4, 0xe1, 0xfb, 0x2c, 0xc0],
        &[0xc4, 0xe2, 0xf8, 0xf2, 0xc0],
        &[0xc4, 0xe3, 0xf9, 0x20, 0xc0, 0],
    ] {
        assert!(!is_undefined_in_32_bit_code(code), "{code:02x?}");
    }
}
