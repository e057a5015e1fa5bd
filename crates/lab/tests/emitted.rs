//! What the translator makes of any bytes keeps to the checker's rules: instructions of the table, byte strings, noise.

use ireko_cpu::isa::engine_could;
use ireko_lab::oracle::bytes::generate::sample;
use ireko_lab::oracle::generate::Generator;
use ireko_lab::rng::Rng;
use ireko_translate::block::Request;
use ireko_translate::classify::Env;
use ireko_translate::relocate::move_to;
use ireko_translate::verify::verify;
use ireko_translate::{Key, Translator};

/// Modes that code is translated under; the rest of a key is random.
fn key(rng: &mut Rng) -> Key {
    let modes = [Key::CODE64 | Key::USER, Key::CODE64 | Key::KERNEL, Key::CODE32 | Key::USER, Key::CODE32, 0];
    let mode = rng.pick(&modes);
    let mmu = rng.below(3) as u32;
    let mut bits = mode | mmu << Key::MMU_SHIFT | Key::SSE | Key::AVX;
    let rest =
        [Key::STACK32, Key::BACKWARD, Key::SINGLE, Key::PLAIN, Key::UNGROUPED, Key::ROUTINES, Key::SMAP];
    for bit in rest.into_iter().filter(|_| rng.percent(12)) {
        bits |= bit;
    }
    // In 64-bit mode FAR, OWN, BASES and EVEX64 are among them.
    bits |= rng.next() as u32 & (0x3f << Key::FLAT_SHIFT | 0x3f << Key::ZERO_SHIFT);
    bits |= if rng.percent(80) { Key::EVEX64 | Key::EVEX32 } else { 0 };
    if rng.percent(5) {
        bits &= !(Key::SSE | Key::AVX);
    }
    Key(bits)
}

fn judge(translator: &mut Translator, bytes: &[u8], key: Key, rip: u64) {
    let page_offset = rip as usize & 0xfff;
    let request = Request {
        bytes,
        rip: if key.relative() { page_offset as u64 } else { rip },
        in_page: bytes.len().min(0x1000 - page_offset),
        page_offset,
        key,
        first_site: 100,
        first_link: 9,
        block: 1,
    };
    let Some(made) = translator.translate(&request) else { return };
    if let Err(wrong) = verify(&request, &made) {
        if let Ok(path) = std::env::var("IREKO_LAB_CODE") {
            let _ = std::fs::write(path, &made.code);
        }
        panic!("{wrong}\nkey {:#x} rip {rip:#x} bytes {bytes:02x?}", key.0);
    }
}

/// What the sites of relative code tell of an instruction is what it is where the page is.
#[test]
fn instructions_of_relative_code_are_those_of_their_page() {
    const PAGE: u64 = 0x7f12_9876_5000;
    let (mut generator, mut translators) = (Generator::with(engine_could), translators());
    let mut sites = 0;
    for n in cases(12_000) {
        let mut rng = Rng::new(n ^ 0x3333);
        let bytes: Vec<u8> = (0..1 + rng.below(6) as u64)
            .flat_map(|part| sample(&mut generator, n * 8 + part).bytes)
            .collect();
        let page_offset = rng.below(0x1000);
        let key = Key(key(&mut rng).0 & !Key::CODE32 | Key::CODE64);
        let request = |rip: u64, relative: u32| Request {
            bytes: &bytes,
            rip,
            in_page: bytes.len().min(0x1000 - page_offset),
            page_offset,
            key: Key(key.0 & !Key::RELATIVE | relative),
            first_site: 100,
            first_link: 9,
            block: 1,
        };
        let translator = &mut translators[n as usize & 1];
        let offset = page_offset as u64;
        let Some(relative) = translator.translate(&request(offset, Key::RELATIVE)) else { continue };
        let there = translator.translate(&request(PAGE + offset, 0)).expect("the same bytes");
        assert_eq!(relative.sites.len(), there.sites.len());
        for (site, wanted) in relative.sites.iter().zip(&there.sites) {
            sites += 1;
            let mut moved = site.insn;
            move_to(&mut moved, PAGE);
            assert!(moved.eq_all_bits(&wanted.insn), "{moved} {}", wanted.insn);
        }
    }
    assert!(sites > cases(12_000).end, "only {sites}");
}

/// With routines for everything that may have one, and for nothing. AVX-512 is judged though the host may not have it.
fn translators() -> [Translator; 2] {
    let env = |routine| Env { routine, feature: engine_could };
    let mut both = [Translator::new(env(ireko_cpu::isa::has_routine)), Translator::new(env(|_| false))];
    both.iter_mut().for_each(|translator| translator.unrolls = true);
    both
}

/// `cases` of them, times `IREKO_LAB_TIMES` for a longer run.
fn cases(count: u64) -> std::ops::Range<u64> {
    let times = std::env::var("IREKO_LAB_TIMES").ok().and_then(|t| t.parse::<u64>().ok()).unwrap_or(1);
    0..count * times
}

#[test]
fn fuzz_emitted_code_of_instructions() {
    let (mut generator, mut translators) = (Generator::with(engine_could), translators());
    for n in cases(6000) {
        let mut rng = Rng::new(n);
        let key = key(&mut rng);
        let bits = if key.has(Key::CODE64) { 64 } else { 32 };
        let forms = generator.forms(bits).len();
        let first = generator.forms(bits)[n as usize % forms];
        let case = generator.case(n, bits, Some(first));
        let bytes: Vec<u8> = case.pieces.iter().flat_map(|p| p.bytes.iter().copied()).collect();
        judge(&mut translators[n as usize & 1], &bytes, key, case.start.rip);
    }
}

#[test]
fn fuzz_emitted_code_of_byte_strings() {
    let (mut generator, mut translators) = (Generator::with(engine_could), translators());
    for n in cases(15_000) {
        let mut rng = Rng::new(n ^ 0x5555);
        let mut bytes = Vec::new();
        for part in 0..1 + rng.below(6) as u64 {
            bytes.extend(sample(&mut generator, n * 8 + part).bytes);
        }
        let rip = rng.pick(&[0x1000, 0x1ff0, 0xffff_8000_0000_0ff8, 0x7fff_ffff_f000]);
        judge(&mut translators[n as usize & 1], &bytes, key(&mut rng), rip);
    }
}

#[test]
fn fuzz_emitted_code_of_noise() {
    let mut translators = translators();
    for n in cases(10_000) {
        let mut rng = Rng::new(n ^ 0xaaaa);
        let mut bytes = vec![0; 1 + rng.below(300)];
        rng.fill(&mut bytes);
        judge(&mut translators[n as usize & 1], &bytes, key(&mut rng), 0x1000 + rng.below(0x1000) as u64);
    }
}

/// Loops to the start of their block, whose turns are translated in a row.
#[test]
fn fuzz_emitted_code_of_loops() {
    let (mut generator, mut translators) = (Generator::with(engine_could), translators());
    for n in cases(8000) {
        let mut rng = Rng::new(n ^ 0x7777);
        let mut bytes = Vec::new();
        for part in 0..1 + rng.below(4) as u64 {
            bytes.extend(sample(&mut generator, n * 8 + part).bytes);
        }
        // Accesses off bases that move: a group goes over turns.
        let moves: [&[u8]; 10] = [
            // mov rax, [rsi-80000000h]; sub rsi, 8, and at the other end of what a displacement can be
            &[0x48, 0x8b, 0x86, 0, 0, 0, 0x80, 0x48, 0x83, 0xee, 8],
            &[0x48, 0x89, 0x86, 0xf8, 0xff, 0xff, 0x7f, 0x48, 0x83, 0xc6, 8],
            // mov rbx, rdi; mov rax, [rbx]; mov rdx, [rdi+8]
            &[0x48, 0x89, 0xfb, 0x48, 0x8b, 0x03, 0x48, 0x8b, 0x57, 8],
            // lea rcx, [rsi+rdi]; mov [rcx+10h], rax; mov rdx, [rsi+rdi]
            &[0x48, 0x8d, 0x0c, 0x3e, 0x48, 0x89, 0x41, 0x10, 0x48, 0x8b, 0x14, 0x3e],
            &[0x48, 0x8b, 0x06, 0x48, 0x83, 0xc6, 8],
            &[0x48, 0x89, 0x04, 0xcf, 0x48, 0xff, 0xc1],
            &[0x53, 0x5a],
            &[0x4a, 0x8b, 0x54, 0xc3, 0x10, 0x49, 0x83, 0xe8, 1],
            &[0x48, 0x01, 0x47, 0xf8, 0x48, 0x8d, 0x7f, 0xf8],
            &[0x72, 0x02, 0x50, 0x58],
        ];
        for _ in 0..rng.below(3) {
            bytes.extend(rng.pick(&moves));
        }
        let back = -(bytes.len() as i64 + 2);
        let Ok(back) = i8::try_from(back) else { continue };
        bytes.extend([rng.pick(&[0x75, 0x72, 0x7f, 0xeb]), back as u8, 0x0f, 0x0b]);
        let key = Key(key(&mut rng).0 & !(Key::CODE32 | Key::SINGLE | Key::PLAIN) | Key::CODE64);
        judge(&mut translators[n as usize & 1], &bytes, key, 0x1000 + rng.below(0xf00) as u64);
    }
}
