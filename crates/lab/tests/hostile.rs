//! Guests that do what guests should not: the host process stays alive, and every run ends in a report.

use ireko_lab::board::{Board, Caught, DEVICE, PRESENT, USER, WRITE};
use ireko_lab::rng::Rng;
use ireko_vmcore::{CpuState, Halt};
use ireko_x86::{Registers, vmcb};

/// Linear and physical place of the code pages, of plain memory, and of what is no memory.
const CODE: u64 = 0x40_0000;
const CODE_AT: u64 = 0x10_0000;
const DATA: u64 = 0x50_0000;
const DATA_AT: u64 = 0x11_0000;
const DEVICES: u64 = 0x60_0000;

/// Seeds of a test: `cases` of them, times `IREKO_LAB_TIMES` for a longer run.
fn seeds(cases: u64) -> std::ops::Range<u64> {
    let times = std::env::var("IREKO_LAB_TIMES").ok().and_then(|t| t.parse::<u64>().ok()).unwrap_or(1);
    0..cases * times
}

fn board() -> Board {
    board_with(&[])
}

fn board_with(options: &[&str]) -> Board {
    let mut board = Board::new(options).expect("a board");
    for page in 0..4 {
        board.map(CODE + page * 4096, CODE_AT + page * 4096, PRESENT | WRITE | USER);
        board.map(DATA + page * 4096, DATA_AT + page * 4096, PRESENT | WRITE | USER);
    }
    for (page, physical) in
        [DEVICE, 0xe000_0000, 0xfee0_0000, 0xffff_ffff_f000 & 0xff_ffff_f000].into_iter().enumerate()
    {
        board.map(DEVICES + page as u64 * 4096, physical, PRESENT | WRITE | USER);
    }
    board
}

fn state(board: &Board, cpl: u8) -> CpuState {
    let mut state = CpuState::reset();
    state.regs = board.registers(cpl);
    state.regs.rip = CODE;
    state.regs.gpr[4] = DATA + 0x2000;
    state.xsave[512] = 7;
    state
}

/// Runs; the end must be one that the engine means.
fn run(board: &mut Board, state: &CpuState) -> (Halt, Option<Caught>, Registers) {
    let (halt, caught, after) = board.run(state).expect("state goes in and out");
    match &halt {
        Halt::Failed(text) => panic!("the engine's own fault: {text}"),
        Halt::Unsupported(text) | Halt::Shutdown(text) => {
            assert!(text.len() > 20, "a report says what happened: {text:?}");
        }
        _ => {}
    }
    (halt, caught, after.regs)
}

/// Puts code at its place, then runs it at CPL 0.
fn run_code(code: &[u8], prepare: impl FnOnce(&mut Registers)) -> (Option<Caught>, Registers) {
    let mut board = board();
    board.write(CODE_AT, code);
    let mut state = state(&board, 0);
    prepare(&mut state.regs);
    let (_, caught, regs) = run(&mut board, &state);
    (caught, regs)
}

/// How a run of this code under the lockstep mode ended.
fn in_lockstep(code: &[u8], more: &str) -> Halt {
    let mut board = board_with(&["lockstep=on", more]);
    board.write(CODE_AT, code);
    let state = state(&board, 0);
    board.run(&state).expect("state goes in and out").0
}

/// Ten rounds of a loop with loads, stores and flags: mov ecx, 10; (add [rsp], rcx; adc rax, [rsp]; dec ecx; jnz); ud2
const LOADS_AND_STORES: &[u8] =
    &[0xb9, 10, 0, 0, 0, 0x48, 0x01, 0x0c, 0x24, 0x48, 0x13, 0x04, 0x24, 0xff, 0xc9, 0x75, 0xf4, 15, 11];

/// And of one with what is done in place of the processor's own state: mov ecx, 10; (swapgs; cli; mov rax, cr0; mov edx, ds; sti;
/// nop; dec ecx; jnz); ud2
const IN_PLACE: &[u8] = &[
    0xb9, 10, 0, 0, 0, 0x0f, 0x01, 0xf8, 0xfa, 0x0f, 0x20, 0xc0, 0x8c, 0xda, 0xfb, 0x90, 0xff, 0xc9, 0x75,
    0xf1, 15, 11,
];

#[test]
fn the_fast_path_is_in_lockstep_with_the_plain_one() {
    for code in [LOADS_AND_STORES, IN_PLACE] {
        let halt = in_lockstep(code, "lockstep-every=1");
        assert!(!matches!(halt, Halt::Failed(_)), "{halt:?}");
    }
}

#[test]
fn lockstep_finds_a_fast_path_that_is_wrong() {
    for code in [LOADS_AND_STORES, IN_PLACE] {
        let halt = in_lockstep(code, "lockstep-wrong-from=3");
        assert!(matches!(&halt, Halt::Failed(text) if text.contains("rbx")), "{halt:?}");
    }
}

#[test]
fn a_jump_to_unmapped_memory_is_a_page_fault_there() {
    let (caught, _) = run_code(&[], |regs| regs.rip = 0xdead_0000);
    let caught = caught.expect("an exception");
    assert_eq!((caught.vector, caught.rip, caught.error & !4), (14, 0xdead_0000, 0x10));
}

#[test]
fn a_loop_that_changes_its_own_operand_sees_every_change() {
    // mov al, 0; inc byte [rip-7] (that 0); dec ecx; jnz; ud2
    let code = [0xb0, 0, 0xfe, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75, 0xf4, 0x0f, 0x0b];
    let (_, regs) = run_code(&code, |regs| regs.gpr[1] = 100);
    assert_eq!(regs.gpr[0] & 0xff, 99);
}

#[test]
fn a_store_over_the_next_instruction_of_its_block_takes_effect() {
    // mov word [rip], UD2; nop; nop; then what must not run.
    let code = [0x66, 0xc7, 0x05, 0, 0, 0, 0, 0x0f, 0x0b, 0x90, 0x90, 0xcc];
    let (caught, _) = run_code(&code, |_| {});
    let caught = caught.expect("an exception");
    assert_eq!((caught.vector, caught.rip), (6, CODE + 9));
}

#[test]
fn a_string_store_over_itself_ends_in_what_it_wrote() {
    // rep stosb of INT3 over everything, from its own first byte on.
    let (caught, _) = run_code(&[0xf3, 0xaa, 0x90, 0x90], |regs| {
        (regs.gpr[0], regs.gpr[1], regs.gpr[7]) = (0xcc, 0x100, CODE);
    });
    assert_eq!(caught.map(|c| c.vector), Some(3));
}

#[test]
fn an_endless_loop_is_stopped_from_outside() {
    let mut board = board();
    board.write(CODE_AT, &[0xeb, 0xfe]);
    board.budget = 50;
    let state = state(&board, 0);
    assert_eq!(run(&mut board, &state).0, Halt::Stopped);
}

#[test]
fn a_halt_that_nothing_ends_is_reported_or_stopped() {
    let mut board = board();
    board.write(CODE_AT, &[0xfa, 0xf4, 0xeb, 0xfd]);
    board.budget = 200;
    let state = state(&board, 0);
    assert!(matches!(run(&mut board, &state).0, Halt::Idle | Halt::Stopped));
}

/// Random registers that mostly point somewhere.
fn scatter(rng: &mut Rng, regs: &mut Registers) {
    for value in &mut regs.gpr {
        let base = rng.pick(&[DATA, CODE, DEVICES, 0, 0x9000]);
        *value = if rng.percent(50) { base + rng.below(0x3000) as u64 } else { rng.value() };
    }
}

fn random_code(cpl: u8, cases: u64) {
    for seed in seeds(cases) {
        let mut rng = Rng::new(seed << 8 | u64::from(cpl));
        let mut board = board();
        board.budget = 30;
        let mut bytes = vec![0; 0x4000];
        rng.fill(&mut bytes);
        board.write(CODE_AT, &bytes);
        let mut state = state(&board, cpl);
        scatter(&mut rng, &mut state.regs);
        run(&mut board, &state);
    }
}

#[test]
fn random_bytes_at_cpl_0_end_in_a_report() {
    random_code(0, 60);
}

#[test]
fn random_bytes_at_cpl_3_end_in_a_report() {
    random_code(3, 60);
}

#[test]
fn random_16_and_32_bit_code_ends_in_a_report() {
    for seed in seeds(60) {
        let mut rng = Rng::new(seed);
        let mut board = board();
        board.budget = 30;
        let mut bytes = vec![0; 0x4000];
        rng.fill(&mut bytes);
        board.write(CODE_AT, &bytes);
        board.write(0, &bytes);
        let mut state = CpuState::reset();
        state.regs.seg[1].base = 0;
        state.regs.rip = 0x100;
        state.regs.cr0 |= rng.next() & 1;
        state.regs.seg[1].attr |= (rng.next() as u16 & 1) << 10;
        for value in &mut state.regs.gpr {
            *value = rng.next() & rng.pick(&[0xffff, 0xffff_ffff]);
        }
        run(&mut board, &state);
    }
}

/// Mostly sensible system instructions with random operands.
fn system_storm(rng: &mut Rng) -> Vec<u8> {
    let mut code = Vec::new();
    for _ in 0..40 {
        let value = if rng.percent(50) { rng.value() } else { rng.next() & 0x7f_ffff };
        code.extend([0x48, 0xb8]);
        code.extend(value.to_le_bytes());
        match rng.below(8) {
            0 => code.extend([0x0f, 0x22, rng.pick(&[0xc0, 0xd0, 0xd8, 0xe0])]),
            1 => code.extend([0x44, 0x0f, 0x22, 0xc0]),
            2 => code.extend([0x0f, 0x23, 0xc0 | (rng.next() as u8 & 7) << 3]),
            3 => {
                let msr = rng.pick(&[
                    0xc000_0080u32,
                    0x1b,
                    0x277,
                    0xc000_0100,
                    0xc001_0117,
                    0x6e0,
                    0x830,
                    0x200,
                    0x174,
                ]);
                code.push(0xb9);
                code.extend(msr.to_le_bytes());
                code.extend([0x0f, rng.pick(&[0x30, 0x32])]);
            }
            4 => code.extend([0x8e, 0xc0 | (rng.next() as u8 & 0x38)]),
            5 => code.extend([0x0f, 0x00, 0xd0 | (rng.next() as u8 & 8)]),
            6 => code.extend([0x0f, 0x01, rng.pick(&[0xd1, 0xd8, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xf8])]),
            _ => code.extend([0x0f, 0x01, 0x14 | (rng.next() as u8 & 8), 0x25, 0, 0, 0x50, 0]),
        }
    }
    code.extend([0x0f, 0x0b]);
    code
}

#[test]
fn random_control_register_writes_end_in_a_report() {
    for seed in seeds(100) {
        let mut rng = Rng::new(seed);
        let mut board = board();
        board.budget = 30;
        let code = system_storm(&mut rng);
        // Every stub goes on with the storm where it can: the exceptions come back by IRETQ.
        board.write(CODE_AT, &code);
        let state = state(&board, 0);
        run(&mut board, &state);
        for skip in [15, 60, 150] {
            let mut later = state.clone();
            later.regs.rip += skip;
            run(&mut board, &later);
        }
    }
}

#[test]
fn garbage_in_descriptor_tables_ends_in_a_report() {
    for seed in seeds(60) {
        let mut rng = Rng::new(seed);
        let mut board = board();
        board.budget = 30;
        let table = rng.pick(&[0x8000u64, 0x9000, 0xa000]);
        let mut bytes = vec![0; 0x200];
        rng.fill(&mut bytes);
        board.write(table, &bytes);
        let code = rng.pick(&[[0x0f, 0x0b], [0xcd, 0x03], [0xcd, 0x0d], [0xcd, 0x80], [0x8e, 0xd8]]);
        board.write(CODE_AT, &code);
        let cpl = if rng.percent(50) { 3 } else { 0 };
        let mut state = state(&board, cpl);
        state.regs.gpr[0] = rng.next() & 0x3f;
        run(&mut board, &state);
    }
}

#[test]
fn port_fuzz_comes_back() {
    for seed in seeds(20) {
        let mut rng = Rng::new(seed);
        let mut code = Vec::new();
        for _ in 0..300 {
            code.extend([0x66, 0xba]);
            let port = rng.next() as u16;
            code.extend(if (0x40..0x60).contains(&port) { 0x80 } else { port }.to_le_bytes());
            code.extend(rng.pick(&[
                [0x90, 0xec],
                [0x90, 0xed],
                [0x66, 0xed],
                [0x90, 0xee],
                [0x90, 0xef],
                [0x66, 0xef],
            ]));
        }
        code.extend([0x0f, 0x0b]);
        let (caught, _) = run_code(&code, |_| {});
        assert_eq!(caught.map(|c| c.vector), Some(6));
    }
}

#[test]
fn mmio_fuzz_comes_back() {
    for seed in seeds(40) {
        let mut rng = Rng::new(seed);
        let mut code = Vec::new();
        for _ in 0..200 {
            // An instruction on [disp32] somewhere in the device pages, also across their ends.
            let opcode: &[u8] = rng.pick(&[
                &[0x8b][..],
                &[0x48, 0x8b],
                &[0x88],
                &[0x66, 0x89],
                &[0x48, 0x01],
                &[0xf0, 0x48, 0x01],
                &[0x0f, 0x10],
                &[0x0f, 0x11],
                &[0xc5, 0xfc, 0x11],
                &[0xdd],
                &[0xdb],
            ]);
            code.extend(opcode);
            code.extend([0x04 | (rng.next() as u8 & 0x18), 0x25]);
            let mut at = DEVICES as u32 + rng.below(0x3fe0) as u32;
            if opcode[0] == 0xf0 {
                at &= !7;
            }
            code.extend(at.to_le_bytes());
        }
        code.extend([0x0f, 0x0b]);
        let (caught, _) = run_code(&code, |_| {});
        assert!(caught.is_some());
    }
}

/// A VMCB whose guest is the board's own world at the code page's second half.
fn plausible_vmcb(board: &Board, rng: &mut Rng) -> Vec<u8> {
    let regs = board.registers(0);
    let mut bytes = vec![0; 4096];
    let mut put = |at: usize, value: u64, size: usize| {
        bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size])
    };
    put(0x0c, rng.next() & 0xffff_ffff, 4);
    put(0x10, 1 | rng.next() & 0xffff, 4);
    put(0x58, 1, 4);
    put(0x40, DATA_AT, 8);
    put(0x48, DATA_AT, 8);
    put(0x90, rng.next() & 1, 8);
    put(0xb0, regs.cr3, 8);
    const SAVE: usize = 0x400;
    for (n, segment) in regs.seg.iter().enumerate() {
        let at = SAVE + 16 * n;
        put(at, segment.selector.into(), 2);
        put(at + 2, segment.attr.into(), 2);
        put(at + 4, segment.limit.into(), 4);
        put(at + 8, segment.base, 8);
    }
    put(SAVE + 0x68, regs.gdtr.base, 8);
    put(SAVE + 0x64, regs.gdtr.limit.into(), 4);
    put(SAVE + 0x88, regs.idtr.base, 8);
    put(SAVE + 0x84, regs.idtr.limit.into(), 4);
    put(SAVE + 0xd0, regs.efer | 1 << 12, 8);
    put(SAVE + 0x148, regs.cr4, 8);
    put(SAVE + 0x150, regs.cr3, 8);
    put(SAVE + 0x158, regs.cr0, 8);
    put(SAVE + 0x160, 0x400, 8);
    put(SAVE + 0x168, 0xffff_0ff0, 8);
    put(SAVE + 0x170, 2, 8);
    put(SAVE + 0x178, CODE + 0x800, 8);
    put(SAVE + 0x1d8, DATA + 0x1000, 8);
    bytes
}

/// VMRUN of a VMCB, then UD2; the guest has some instructions that may exit.
fn vmrun(board: &mut Board, vmcb: &[u8], address: u64) -> Option<Caught> {
    board.write(CODE_AT, &[0x0f, 0x01, 0xd8, 0x0f, 0x0b]);
    board.write(
        CODE_AT + 0x800,
        &[0x0f, 0xa2, 0x0f, 0x01, 0xd9, 0xf4, 0xe4, 0x80, 0x0f, 0x20, 0xc0, 0x0f, 0x0b, 0xeb, 0xfe],
    );
    board.write(DATA_AT, vmcb);
    let mut state = state(board, 0);
    state.regs.efer |= 1 << 12;
    state.regs.gpr[0] = address;
    run(board, &state).1
}

#[test]
fn vmrun_of_bad_addresses_comes_back() {
    let mut rng = Rng::new(1);
    for n in 0..60 {
        let mut board = board();
        board.budget = 30;
        let address = if n < 4 { [1, 0xfff, 1 << 52, u64::MAX][n] } else { rng.value() };
        vmrun(&mut board, &[0; 4096], address);
    }
}

#[test]
fn vmrun_of_random_blocks_is_refused() {
    let mut board = board();
    for seed in seeds(2000) {
        let mut bytes = vec![0; 4096];
        Rng::new(seed).fill(&mut bytes);
        let caught = vmrun(&mut board, &bytes, DATA_AT);
        assert_eq!(caught.map(|c| (c.vector, c.rip)), Some((6, CODE + 3)), "seed {seed}");
        assert_eq!(board.peek(DATA_AT + 0x70), vmcb::exitcode::INVALID, "seed {seed}");
    }
}

#[test]
fn vmrun_of_half_right_blocks_ends_in_a_report() {
    let mut world = board();
    for seed in seeds(1500) {
        world.budget = 30;
        let mut rng = Rng::new(seed);
        let mut bytes = plausible_vmcb(&world, &mut rng);
        for _ in 0..rng.below(6) {
            let at = rng.below(0x700);
            bytes[at] = rng.next() as u8;
        }
        let caught = vmrun(&mut world, &bytes, DATA_AT);
        // Whatever did not come back to the host's UD2 is still in the guest: a new machine.
        if caught.is_none_or(|c| c.rip != CODE + 3) {
            world = board();
        }
    }
}

#[test]
fn a_plausible_block_enters_its_guest_and_comes_back() {
    let mut board = board();
    let mut bytes = plausible_vmcb(&board, &mut Rng::new(3));
    bytes[0x0c..0x14].copy_from_slice(&(1u64 << 18 | 1 << 32).to_le_bytes());
    bytes[0x90] = 0;
    let caught = vmrun(&mut board, &bytes, DATA_AT).expect("back in the host");
    assert_eq!((caught.rip, board.peek(DATA_AT + 0x70)), (CODE + 3, vmcb::exitcode::CPUID));
}
