use super::*;
use crate::code::region::REGIONS;
use crate::construct::CpuSpec;
use ireko_x86::Segment;

const START: u64 = 0x1_0000;
const SIZE: u64 = 0x2_0000;

/// In real mode, with `code` again and again from START on.
fn cpu(code: &[u8]) -> Cpu {
    let mut cpu = Cpu::new(&CpuSpec::uniprocessor(&[(0, START + SIZE)]).unwrap()).unwrap();
    for (at, byte) in (START..START + SIZE).zip(code.iter().cycle()) {
        cpu.write_physical(at, &[*byte]);
    }
    cpu
}

/// The block of the `n`th of all ways to get at the code: the same bytes are another block for each RIP.
fn block(cpu: &mut Cpu, n: u64, length: u64) -> u32 {
    let places = SIZE / length;
    let (physical, rip) = (START + n % places * length, n / places * length);
    cpu.processor.regs.seg[seg::CS].base = physical.wrapping_sub(rip);
    cpu.processor.regs.rip = rip;
    cpu.block(cpu.key()).unwrap()
}

/// The most that was noted while the cache was filled twice, and how many bytes it has.
fn fill(code: &[u8]) -> (usize, usize) {
    let mut cpu = cpu(code);
    let (start, end) = cpu.code.cache.range();
    let mut most = 0;
    for n in 0..8_000_000 {
        block(&mut cpu, n, code.len() as u64);
        most = most.max(cpu.code.noted());
        // Twice around, and nothing is left of the first time.
        if cpu.code.generation == 2 * REGIONS as u64 {
            assert!((cpu.code.count() as u64) < n);
            return (most, end - start);
        }
    }
    panic!("never full: {} blocks, {most} bytes of notes", cpu.code.count());
}

/// What one block can add.
const ONE: usize = 64 << 10;

#[test]
fn notes_of_the_smallest_blocks_take_no_more_than_the_cache() {
    // jmp $+2
    let (noted, cache) = fill(&[0xeb, 0]);
    assert!(noted <= cache + ONE, "{noted} {cache}");
}

#[test]
fn notes_of_blocks_full_of_routines_take_no_more_than_the_cache() {
    // str ax (which raises #UD in real mode), as often as fits into a block
    let (noted, cache) = fill(&[0x0f, 0x00, 0xc8].repeat(63));
    assert!(noted <= cache + ONE, "{noted} {cache}");
}

/// Straight code has no jump to look around at: fresh block after fresh block, a stop would wait for all of memory.
#[test]
fn code_that_only_goes_straight_on_is_left_when_somebody_wants_attention() {
    let mut cpu = cpu(&[0x90]);
    cpu.processor.regs.seg[seg::CS].base = START;
    cpu.processor.regs.rip = 0;
    cpu.platform.wake.wake();
    cpu.run_blocks().unwrap();
    assert!(cpu.processor.regs.rip < 0x100, "{:#x}", cpu.processor.regs.rip);
}

/// Jumps by table to anywhere, also where the entries belong that are looked at while somebody wants attention.
#[test]
fn a_jump_by_table_that_leads_back_is_left_when_somebody_wants_attention() {
    use crate::system::bench::{long, set_level, write};
    use ireko_translate::layout::{JUMP_ENTRIES, jump_index};
    let first = (0x5000..0x9000).find(|&at| jump_index(at) == 0).expect("an address at entry 0");
    for (at, level) in
        [first, JUMP_ENTRIES as u64 / 2, 0x4000, 0x4567].into_iter().zip([0, 3].into_iter().cycle())
    {
        let mut cpu = long();
        set_level(&mut cpu, level);
        write(&mut cpu, at, &[0xff, 0xe0]); // jmp rax
        (cpu.processor.regs.rip, cpu.processor.regs.gpr[0]) = (at, at);
        let wake = cpu.platform.wake.clone();
        let asks = std::thread::spawn(move || {
            for _ in 0..3 {
                std::thread::sleep(std::time::Duration::from_millis(5));
                wake.wake();
            }
        });
        cpu.run_blocks().unwrap();
        asks.join().unwrap();
        assert_eq!(cpu.processor.regs.rip, at);
    }
}

#[test]
fn code_of_a_program_is_known_by_where_it_lies_if_it_ends_in_its_page() {
    let mut cpu = Cpu::new(&CpuSpec::uniprocessor(&[(0, 1 << 20)]).unwrap()).unwrap();
    cpu.processor.regs.efer = ireko_x86::bits::efer::LME | ireko_x86::bits::efer::LMA;
    cpu.processor.regs.seg[ireko_x86::regs::seg::CS].attr = 0xa9b;
    let placed = |cpu: &mut Cpu, rip: u64, cpl: u8| {
        cpu.processor.regs.cpl = cpl;
        [0xe9, 0, 0, 0, 0].iter().zip(rip..).for_each(|(byte, at)| cpu.write_physical(at, &[*byte]));
        cpu.processor.regs.rip = rip;
        let key = cpu.key();
        let block = cpu.block(key).unwrap();
        cpu.code.placed(block)
    };
    let places = [(0x1010, 3), (0x1ffe, 3), (0x1010, 0)].map(|(rip, cpl)| placed(&mut cpu, rip, cpl));
    assert_eq!(places, [Some(0x1010), None, None]);
}

#[test]
fn a_programs_code_is_relative_but_where_a_jump_may_leave_the_canonical_addresses() {
    let mut cpu = cpu(&[0x90]);
    let regs = &mut cpu.processor.regs;
    (regs.cr0, regs.cr4) = (cr0::PE | cr0::PG, cr4::PAE);
    regs.efer = ireko_x86::bits::efer::LME | ireko_x86::bits::efer::LMA;
    (regs.seg[seg::CS].attr, regs.cpl) = (0xafb, 3);
    let mut relative = |rip: u64, cpl: u8| {
        (cpu.processor.regs.rip, cpu.processor.regs.cpl) = (rip, cpl);
        cpu.key().relative()
    };
    assert!(relative(RELATIVE_END - 1, 3) && !relative(RELATIVE_END - 1, 0));
    assert!(!relative(RELATIVE_END, 3) && !relative(0xffff_8000_0000_0000, 3));
}

/// Two pages of 32-bit code without paging: the last one below 4 GiB, and the first one.
fn around_4gib(start: u64, code: &[u8]) -> Cpu {
    let spec = CpuSpec::uniprocessor(&[(0, 0x1000), (0xffff_f000, 0x1000)]).unwrap();
    let mut cpu = Cpu::new(&spec).unwrap();
    cpu.processor.regs.cr0 |= cr0::PE;
    for segment in &mut cpu.processor.regs.seg {
        *segment = Segment { selector: 8, base: 0, limit: u32::MAX, attr: 0xc93 };
    }
    cpu.processor.regs.seg[seg::CS].attr = 0xc9b;
    for (n, byte) in (0..).zip(code) {
        cpu.write_physical((start + n) & 0xffff_ffff, &[*byte]);
    }
    cpu.processor.regs.rip = start;
    cpu
}

#[test]
fn code_of_32_bits_goes_on_at_0_behind_4_gib() {
    // Three times INC EAX, HLT; behind the last byte or in the middle of MOV EBX, 1.
    for (start, code, bx) in [
        (0xffff_fffe, &[0x40, 0x40, 0x40, 0xf4][..], 0),
        (0xffff_fffd, &[0xbb, 1, 0, 0, 0, 0x40, 0x40, 0x40, 0xf4], 1),
    ] {
        let mut cpu = around_4gib(start, code);
        cpu.processor.regs.gpr = [0; 16];
        cpu.round().unwrap();
        let behind = (start + code.len() as u64) & 0xffff_ffff;
        let found = (cpu.processor.regs.rip, cpu.processor.regs.gpr[0], cpu.processor.regs.gpr[3]);
        assert_eq!((found, cpu.processor.halted), ((behind, 3, bx), true), "{start:#x}");
    }
}
