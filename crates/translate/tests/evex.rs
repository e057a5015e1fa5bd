//! AVX-512's instructions as the translator takes them; nothing of it runs, so that no host needs to have it.

use ireko_translate::block::{Request, SiteKind};
use ireko_translate::classify::Env;
use ireko_translate::verify::verify;
use ireko_translate::{Key, Translated, Translator};

const OFF: u32 = Key::CODE64 | Key::SSE | Key::AVX | Key::USER;
const ON: u32 = OFF | Key::EVEX64;
const UD: SiteKind = SiteKind::Raise(6);

/// VMOVUPS ZMM17 {K1}, [RAX]; its store; KMOVQ K1, [RAX]; KORTESTW K1, K2; VADDPS ZMM0, ZMM1, ZMM2, {RZ-SAE};
/// VPBROADCASTD ZMM20, R13D; VPGATHERDD ZMM0 {K1}, [RAX+ZMM1].
const LOAD: &[u8] = &[0x62, 0xe1, 0x7c, 0x49, 0x10, 0x08];
const STORE: &[u8] = &[0x62, 0xe1, 0x7c, 0x49, 0x11, 0x08];
const KMOV: &[u8] = &[0xc4, 0xe1, 0xf8, 0x90, 0x08];
const KORTEST: &[u8] = &[0xc5, 0xf8, 0x98, 0xca];
const ROUNDED: &[u8] = &[0x62, 0xf1, 0x74, 0x78, 0x58, 0xc2];
const BROADCAST: &[u8] = &[0x62, 0xc2, 0x7d, 0x48, 0x7c, 0xe5];
const GATHER: &[u8] = &[0x62, 0xf2, 0x7d, 0x49, 0x90, 0x04, 0x08];
const ALL: [&[u8]; 7] = [LOAD, STORE, KMOV, KORTEST, ROUNDED, BROADCAST, GATHER];

fn request(bytes: &[u8], key: u32) -> Request<'_> {
    Request {
        bytes,
        rip: 0x1000,
        in_page: bytes.len(),
        page_offset: 0,
        key: Key(key),
        first_site: 0,
        first_link: 0,
        block: 0,
    }
}

fn translate(bytes: &[u8], key: u32) -> Translated {
    let env = Env { routine: |code| code.mnemonic() == iced_x86::Mnemonic::Vpgatherdd, feature: |_| true };
    let request = request(bytes, key);
    let made = Translator::new(env).translate(&request).expect("one whole instruction");
    assert_eq!(verify(&request, &made), Ok(()), "{bytes:02x?}");
    made
}

/// Kinds of the instruction's sites, with the bytes that they are for.
fn sites(bytes: &[u8], key: u32) -> Vec<(SiteKind, u16)> {
    translate(bytes, key).sites.iter().map(|site| (site.kind, site.size)).collect()
}

#[test]
fn without_its_state_switched_on_it_is_undefined() {
    for bytes in ALL {
        assert_eq!(sites(bytes, OFF), [(UD, 0)], "{bytes:02x?}");
    }
}

/// CR0.TS: #NM (APM vol. 2, 3.1.1).
#[test]
fn with_the_task_switched_it_is_unavailable() {
    for bytes in ALL {
        assert_eq!(sites(bytes, ON | Key::TASK_SWITCHED), [(SiteKind::Raise(7), 0)], "{bytes:02x?}");
        assert_eq!(sites(bytes, OFF | Key::TASK_SWITCHED), [(UD, 0)], "{bytes:02x?}");
    }
}

#[test]
fn its_state_has_a_bit_of_its_own_outside_of_64_bit_mode() {
    let flat = (0x3f << Key::FLAT_SHIFT) | (0x3f << Key::ZERO_SHIFT);
    let code32 = Key::CODE32 | Key::SSE | Key::AVX | Key::USER | flat;
    assert_eq!(sites(ROUNDED, code32), [(UD, 0)]);
    assert_eq!(sites(ROUNDED, code32 | Key::EVEX32), []);
}

#[test]
fn what_has_no_memory_operand_is_only_copied() {
    assert_eq!([KORTEST, ROUNDED, BROADCAST].map(|bytes| sites(bytes, ON).len()), [0; 3]);
}

/// A masked store may leave what was there: it reads, too, where it is not the fast path that does it.
#[test]
fn an_access_is_as_large_as_the_whole_operand() {
    let access = |read, write| SiteKind::Access { read, write, offset: false };
    assert_eq!(sites(LOAD, ON), [(access(true, false), 64)]);
    assert_eq!(sites(STORE, ON), [(access(true, true), 64)]);
    assert_eq!(sites(KMOV, ON), [(access(true, false), 8)]);
}

/// VADDPS ZMM0, ZMM1, [RAX]{1to16}.
#[test]
fn one_element_for_all_is_an_access_of_one_element() {
    let access = SiteKind::Access { read: true, write: false, offset: false };
    assert_eq!(sites(&[0x62, 0xf1, 0x74, 0x58, 0x58, 0x00], ON), [(access, 4)]);
}

#[test]
fn gathers_are_routines() {
    assert_eq!(sites(GATHER, ON), [(SiteKind::System, 0)]);
}

/// VMOVUPS ZMM0, [RDI + 4 * 40h], whose displacement is one byte, is still the same access behind R14 and RCX.
#[test]
fn compressed_displacements_are_unpacked() {
    let access = SiteKind::Access { read: true, write: false, offset: false };
    let code = [0x62, 0xf1, 0x7c, 0x48, 0x10, 0x47, 0x04];
    assert_eq!(sites(&code, ON), [(access, 64)]);
}

/// The checker counts a masked access as a whole one, in its own copy of the code.
#[test]
fn the_checker_wants_the_whole_operand_checked() {
    // cmp r14, 4096 - 64: with 60 in its place.
    let (right, wrong) = ([0x49, 0x81, 0xfe, 0xc0, 0x0f, 0, 0], [0x49, 0x81, 0xfe, 0xc4, 0x0f, 0, 0]);
    for bytes in [LOAD, STORE] {
        let mut made = translate(bytes, ON);
        let at = made.code.windows(7).position(|w| w == right).expect("the comparison");
        made.code[at..at + 7].copy_from_slice(&wrong);
        let verdict = verify(&request(bytes, ON), &made).expect_err("four bytes short");
        assert!(verdict.contains("that were checked"), "{verdict}");
    }
}
