//! The checker of emitted code: it lets pass what the translator makes, and nothing that is wrong in one place.

use ireko_translate::block::Request;
use ireko_translate::classify::Env;
use ireko_translate::verify::verify;
use ireko_translate::{Key, SiteKind, Translated, Translator};

const KEY: Key = Key(Key::CODE64 | Key::SSE | Key::AVX | Key::USER);

fn request(bytes: &[u8], key: Key) -> Request<'_> {
    Request {
        bytes,
        rip: 0x1000,
        in_page: bytes.len(),
        page_offset: 0,
        key,
        first_site: 40,
        first_link: 7,
        block: 3,
    }
}

fn translate(bytes: &[u8], key: Key) -> Translated {
    let mut translator = Translator::new(Env { routine: |_| false, feature: |_| true });
    translator.translate(&request(bytes, key)).expect("whole instructions")
}

fn judge(bytes: &[u8], made: &Translated) -> Result<(), String> {
    verify(&request(bytes, KEY), made)
}

/// The block is right; with `wrong` done to its code it is refused with these words.
fn refused(bytes: &[u8], wrong: impl Fn(&mut Translated), words: &str) {
    let mut made = translate(bytes, KEY);
    assert_eq!(judge(bytes, &made), Ok(()));
    wrong(&mut made);
    let verdict = judge(bytes, &made).expect_err("code that is wrong");
    assert!(verdict.contains(words), "{verdict}");
}

/// Puts bytes in place of the first ones that are these.
fn replace(made: &mut Translated, from: &[u8], to: &[u8]) {
    let at = made.code.windows(from.len()).position(|w| w == from).expect("code as this test knows it");
    made.code[at..at + to.len()].copy_from_slice(to);
}

// mov rax, [rbx]; mov [rbx + rcx], al; jmp $+2
const LOAD: [u8; 5] = [0x48, 0x8b, 0x03, 0xeb, 0x00];
const STORE: [u8; 5] = [0x48, 0x89, 0x03, 0xeb, 0x00];
/// cmp r14, 4096 - 8
const COMPARE: [u8; 7] = [0x49, 0x81, 0xfe, 0xf8, 0x0f, 0, 0];

#[test]
fn what_the_translator_makes_passes() {
    let blocks: [&[u8]; 8] = [
        &LOAD,
        &STORE,
        // push rbx; push [rbx]; pop rcx; call; ret
        &[0x53, 0xff, 0x33, 0x59, 0xe8, 0, 0, 0, 0],
        &[0xc3],
        // mov rax, [rsp+8]; mov [rsp+16], rax; add rsp, 32; pop r15; loop
        &[
            0x48, 0x8b, 0x44, 0x24, 8, 0x48, 0x89, 0x44, 0x24, 16, 0x48, 0x83, 0xc4, 32, 0x41, 0x5f, 0xe2,
            0xfe,
        ],
        // lock bts [rdi], r15; shl qword [r13], cl; mov ah, [rcx]; jmp [rax]
        &[0xf0, 0x4c, 0x0f, 0xab, 0x3f, 0x49, 0xd3, 0x65, 0, 0x8a, 0x21, 0xff, 0x20],
        // rdtsc; pushfq; movups xmm1, [r14 + r11*8]; vmovaps [r12], ymm3; hlt
        &[0x0f, 0x31, 0x9c, 0x43, 0x0f, 0x10, 0x0c, 0xde, 0xc4, 0xc1, 0x7c, 0x29, 0x1c, 0x24, 0xf4],
        // cmpxchg16b [rcx]; mov rax, fs:[0]; lea rsp, [rsp - 8]; xadd [rsp], rsp; jz
        &[
            0x48, 0x0f, 0xc7, 0x09, 0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x8d, 0x64, 0x24, 0xf8,
            0x48, 0x0f, 0xc1, 0x24, 0x24, 0x74, 0x10,
        ],
    ];
    for bytes in blocks {
        for more in [0, Key::UNGROUPED, Key::SINGLE, Key::PLAIN, 1 << Key::MMU_SHIFT, Key::ROUTINES] {
            let key = Key(KEY.0 | more);
            assert_eq!(verify(&request(bytes, key), &translate(bytes, key)), Ok(()), "{bytes:02x?} {more:x}");
        }
    }
}

#[test]
fn a_check_of_fewer_bytes_is_refused() {
    refused(&LOAD, |m| replace(m, &COMPARE, &[0x49, 0x81, 0xfe, 0xf9, 0x0f, 0, 0]), "that were checked");
}

#[test]
fn a_check_that_goes_on_anyway_is_refused() {
    // JA becomes JE.
    refused(&LOAD, |m| replace(m, &[0x0f, 0x87], &[0x0f, 0x84]), "nobody checked");
}

#[test]
fn a_comparison_whose_flags_are_gone_is_refused() {
    refused(&LOAD, |m| replace(m, &COMPARE, &[0x49, 0x81, 0xc6, 0xf8, 0x0f, 0, 0]), "nobody checked");
}

#[test]
fn a_write_behind_the_tag_for_reading_is_refused() {
    let tag = |made: &mut Translated| {
        // add r14, [rsp + 8*rcx + tag]: 16 less is the tag for reading.
        let at =
            made.code.windows(4).position(|w| w == [0x4c, 0x03, 0x74, 0xcc] || w == [0x4c, 0x03, 0xb4, 0xcc]);
        let at = at.expect("the tag is added") + 4;
        let old = u32::from_le_bytes(made.code[at..at + 4].try_into().expect("four bytes"));
        made.code[at..at + 4].copy_from_slice(&(old - 16).to_le_bytes());
    };
    refused(&STORE, tag, "only reading was checked");
}

#[test]
fn another_index_than_the_address_has_is_refused() {
    // and ecx, 2047*4: one bit more.
    refused(&LOAD, |m| replace(m, &[0x81, 0xe1, 0xfc, 0x1f], &[0x81, 0xe1, 0xfc, 0x3f]), "not for this");
}

#[test]
fn an_operand_elsewhere_than_what_was_checked_is_refused() {
    // mov rax, [r14 + rcx]: [r14 + 2*rcx].
    refused(&LOAD, |m| replace(m, &[0x49, 0x8b, 0x04, 0x0e], &[0x49, 0x8b, 0x04, 0x4e]), "nobody checked");
}

#[test]
fn an_operand_on_the_bank_is_refused() {
    // mov [rsp + rcx], rax
    refused(&STORE, |m| replace(m, &[0x49, 0x89, 0x04, 0x0e], &[0x48, 0x89, 0x04, 0x0c]), "not for this");
}

#[test]
fn a_larger_access_than_its_site_says_is_refused() {
    let smaller = |made: &mut Translated| made.sites.iter_mut().for_each(|site| site.size = 4);
    refused(&LOAD, smaller, "another size");
}

#[test]
fn a_site_of_reading_for_a_write_is_refused() {
    let reads = |made: &mut Translated| {
        made.sites
            .iter_mut()
            .for_each(|site| site.kind = SiteKind::Access { read: true, write: false, offset: false });
    };
    refused(&STORE, reads, "another right");
}

#[test]
fn a_member_outside_its_group_is_refused() {
    // mov rax, [rbx]; mov rdx, [rbx + 8]: [rbx + 16].
    let pair = [0x48, 0x8b, 0x03, 0x48, 0x8b, 0x53, 8, 0xeb, 0];
    refused(&pair, |m| replace(m, &[0x0b, 8], &[0x0b, 9]), "that were checked");
}

#[test]
fn a_group_whose_base_has_moved_is_refused() {
    // mov rax, [rbx]; add rbx, 8; mov rdx, [rbx]: the constant is another.
    let pair = [0x48, 0x8b, 0x03, 0x48, 0x83, 0xc3, 8, 0x48, 0x8b, 0x13, 0xeb, 0];
    refused(&pair, |m| replace(m, &[0x48, 0x83, 0xc3, 8], &[0x48, 0x83, 0xc3, 9]), "that were checked");
}

#[test]
fn instructions_of_the_host_are_refused() {
    // Over MOV RAX, RBX and a NOP.
    let plain = [0x48, 0x89, 0xd8, 0x48, 0x89, 0xd8, 0xeb, 0];
    let wrong: [(&[u8], &str); 12] = [
        (&[0x0f, 0x05, 0x90], "not for guests"),
        (&[0x0f, 0x01, 0xd0], "not for guests"),
        (&[0xcd, 0x80, 0x90], "by itself"),
        (&[0xc3, 0x90, 0x90], "by itself"),
        (&[0xf4, 0x90, 0x90], "privileged"),
        (&[0x8e, 0xd8, 0x90], "segment"),
        (&[0x48, 0x89, 0xc4], "RSP"),
        (&[0x48, 0xff, 0xe0], "by itself"),
        (&[0x50, 0x58, 0x90], "RSP"),
        (&[0xf3, 0xa4, 0x90], "nobody checks"),
        (&[0x48, 0x8b, 0x03], "nobody checked"),
        (&[0x65, 0x8b, 0x00], "segment"),
    ];
    for (bytes, words) in wrong {
        refused(&plain, |m| replace(m, &[0x48, 0x89, 0xd8], bytes), words);
    }
}

/// A prefix of a segment in front of a register means nothing, also where the register lies in memory.
#[test]
fn prefixes_of_segments_do_not_reach_the_bank() {
    // add r13, rax; inc r13; mov rax, r13; cmp r13b, al
    for insn in [[0x49, 0x01, 0xc5], [0x49, 0xff, 0xc5], [0x49, 0x8b, 0xc5], [0x41, 0x38, 0xc5]] {
        for prefix in [0x64, 0x65] {
            let code = [&[prefix][..], &insn, &[0xeb, 0]].concat();
            assert_eq!(judge(&code, &translate(&code, KEY)), Ok(()));
        }
    }
}

#[test]
fn a_jump_into_an_instruction_is_refused() {
    let into = |made: &mut Translated| {
        let at = made.links[0].patch as usize;
        made.code[at] += 1;
    };
    refused(&LOAD, into, "no instruction begins there");
}

#[test]
fn code_that_does_not_end_is_refused() {
    let cut = |made: &mut Translated| {
        let end = made.links[0].stub as usize;
        made.code.truncate(end);
    };
    refused(&LOAD, cut, "");
}
