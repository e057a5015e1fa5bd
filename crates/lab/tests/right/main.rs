//! What the manuals say of single instructions, on the whole processor: each was once answered wrongly.

mod avx512;
mod features;
mod keys;
mod la57;
mod misaligned;

use ireko_lab::board::{Board, Caught, PRESENT, USER, WRITE};
use ireko_vmcore::{Changes, CpuModel, CpuState, Halt};
use ireko_x86::Registers;
use ireko_x86::cpuid::Feature;
use std::cell::RefCell;

const CODE: u64 = 0x40_0000;
const CODE_AT: u64 = 0x10_0000;
const DATA: u64 = 0x50_0000;
const DATA_AT: u64 = 0x11_0000;
const STACK: u64 = DATA + 0x800;
/// Not canonical.
const STRAY: u64 = 0x8000_0000_0000;
const UD: u64 = 6;
const GP: u64 = 13;
const UD2: [u8; 2] = [0x0f, 0x0b];

/// Runs `code` and UD2 behind it; gives what was caught, and the registers there.
fn run(cpl: u8, code: &[u8], prepare: impl FnOnce(&Board, &mut Registers)) -> (Caught, Registers) {
    BOARD.with_borrow_mut(|board| run_on(board, cpl, code, prepare))
}

thread_local! {
    static BOARD: RefCell<Board> = RefCell::new(board());
}

fn board() -> Board {
    board_of(CpuModel::Amd)
}

/// All that can be had, with features more and less.
fn changed(more: &[Feature], less: &[Feature]) -> CpuModel {
    CpuModel::Changed(None, Changes { more: more.to_vec(), less: less.to_vec() })
}

fn board_of(cpu: CpuModel) -> Board {
    laid_out(Board::of(cpu, &[]))
}

fn board_with(options: &[&str]) -> Board {
    laid_out(Board::new(options))
}

fn laid_out(board: anyhow::Result<Board>) -> Board {
    let mut board = board.expect("a board");
    board.map(CODE, CODE_AT, PRESENT | WRITE | USER);
    board.map(DATA, DATA_AT, PRESENT | WRITE | USER);
    board
}

fn run_on(
    board: &mut Board,
    cpl: u8,
    code: &[u8],
    prepare: impl FnOnce(&Board, &mut Registers),
) -> (Caught, Registers) {
    board.write(CODE_AT, &[code, &UD2].concat());
    let mut state = CpuState::reset();
    state.regs = board.registers(cpl);
    (state.regs.rip, state.regs.gpr[4]) = (CODE, STACK);
    state.xsave[512] = 7;
    prepare(board, &mut state.regs);
    let (halt, caught, after) = board.run(&state).expect("state goes in and out");
    (caught.unwrap_or_else(|| panic!("no exception: {halt:?}")), after.regs)
}

/// Vector, offset of RIP in the code, and the stack pointer relative to where it was.
fn fault(code: &[u8], prepare: impl FnOnce(&Board, &mut Registers)) -> (u64, u64, i64) {
    let (caught, _) = run(3, code, prepare);
    (caught.vector, caught.rip.wrapping_sub(CODE), caught.rsp.wrapping_sub(STACK) as i64)
}

/// Goes on behind itself: the UD2 there is what is caught.
fn does_nothing(code: &[u8]) -> bool {
    fault(code, |_, regs| regs.gpr[7] = DATA) == (UD, code.len() as u64, 0)
}

#[test]
fn hints_that_nobody_knows_do_nothing() {
    let prefixes: [&[u8]; 8] =
        [&[], &[0x66], &[0xf3], &[0xf2], &[0x48], &[0x66, 0x48], &[0xf3, 0x48], &[0xf2, 0x48]];
    // With [RDI], and with a register.
    let memory = (0..8).map(|reg| reg << 3 | 7);
    let register = (0..8).map(|reg| 0xc0 | reg << 3 | 1);
    let mut wrong = Vec::new();
    for opcode in [0x0d, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f] {
        for modrm in memory.clone().chain(register.clone().filter(|_| opcode != 0x0d)) {
            for prefix in prefixes {
                let code = [prefix, &[0x0f, opcode, modrm]].concat();
                if !does_nothing(&code) {
                    wrong.push(code);
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<Vec<u8>>::new());
}

/// APM vol. 3, "PREFETCH": the operand is memory. Of a register it is what the host's processor makes of it: undefined for AMD's,
/// nothing for Intel's.
#[test]
fn a_prefetch_of_a_register_is_the_hosts_business() {
    let intel = ireko_cpu::host::cpuid(0, 0)[1] == u32::from_le_bytes(*b"Genu");
    assert_eq!(fault(&[0x0f, 0x0d, 0xc9], |_, _| ()), (UD, if intel { 3 } else { 0 }, 0));
}

/// APM vol. 3, "JMP (Near)", "CALL (Near)", "RET (Near)": #GP(0) if the target is not canonical, before anything is committed.
#[test]
fn a_transfer_to_an_address_that_is_not_canonical_faults_where_it_is() {
    let target = |_: &Board, regs: &mut Registers| regs.gpr[0] = STRAY;
    let on_stack = |board: &Board, _: &mut Registers| board.poke(DATA_AT + (STACK - DATA), STRAY);
    // Two NOPs in front, so that the fault is not at the start of a block.
    assert_eq!(fault(&[0x90, 0x90, 0xff, 0xe0], target), (GP, 2, 0), "jmp rax");
    assert_eq!(fault(&[0x90, 0x90, 0xff, 0xd0], target), (GP, 2, 0), "call rax");
    assert_eq!(fault(&[0x90, 0x90, 0xc3], on_stack), (GP, 2, 0), "ret");
    assert_eq!(fault(&[0x90, 0x90, 0xc2, 0x18, 0], on_stack), (GP, 2, 0), "ret 18h");
    assert_eq!(fault(&[0x90, 0x90, 0xff, 0x24, 0x24], on_stack), (GP, 2, 0), "jmp [rsp]");
    assert_eq!(fault(&[0x90, 0x90, 0xff, 0x14, 0x24], on_stack), (GP, 2, 0), "call [rsp]");
}

/// What the processor fetches, SMAP has no say in.
#[test]
fn so_does_one_of_a_program_whose_kernel_has_smap() {
    let smap = |_: &Board, regs: &mut Registers| (regs.gpr[0], regs.cr4) = (STRAY, regs.cr4 | 1 << 21);
    assert_eq!(fault(&[0x90, 0x90, 0xff, 0xe0], smap), (GP, 2, 0), "jmp rax");
    assert_eq!(fault(&[0x90, 0x90, 0xff, 0xd0], smap), (GP, 2, 0), "call rax");
}

#[test]
fn so_does_one_whose_target_is_missed_again_and_again() {
    // mov ecx, 3; again: call next (jmp short +2; next: ret); loop again; jmp rax
    let code = [0xb9, 3, 0, 0, 0, 0xe8, 2, 0, 0, 0, 0xeb, 1, 0xc3, 0xe2, 0xf6, 0xff, 0xe0];
    assert_eq!(fault(&code, |_, regs| regs.gpr[0] = STRAY), (GP, 15, 0));
}

/// APM vol. 3, 1.1: more than 15 bytes are #GP.
#[test]
fn an_instruction_of_sixteen_bytes_is_a_general_protection_fault() {
    // Prefixes of ADD EAX, EAX, of ADD EAX, [RDI + disp32], and of MOV RAX, imm64.
    let tails: [&[u8]; 3] = [&[0x01, 0xc0], &[0x03, 0x87, 0, 0, 0, 0], &[0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8]];
    for tail in tails {
        let of = |length: usize| [&vec![0x3e; length - tail.len()][..], tail].concat();
        let ends = |code: &[u8]| fault(code, |_, regs| regs.gpr[7] = DATA);
        assert_eq!((ends(&of(15)), ends(&of(16)), ends(&of(17))), ((UD, 15, 0), (GP, 0, 0), (GP, 0, 0)));
    }
}

#[test]
fn prefixes_without_end_are_a_general_protection_fault() {
    assert_eq!(fault(&[0x66; 40], |_, _| ()), (GP, 0, 0));
}

/// CR0.AM and RFLAGS.AC at CPL 3: APM vol. 2, 8.2.18.
fn misaligned(cpl: u8, code: &[u8], address: u64, flags: u64) -> (u64, u64) {
    let (caught, _) = run(cpl, code, |_, regs| {
        (regs.gpr[7], regs.gpr[6], regs.gpr[1]) = (address, DATA, 1);
        regs.rflags |= flags;
    });
    (caught.vector, caught.rip - CODE)
}

const AC_FLAG: u64 = 1 << 18;
const AC: u64 = 17;

#[test]
fn a_misaligned_access_of_a_checked_program_is_an_alignment_check() {
    // mov eax, [rdi]; mov [rdi], ax; movsd; push qword [rdi]; rep stosq
    let codes: [&[u8]; 5] = [&[0x8b, 0x07], &[0x66, 0x89, 0x07], &[0xa5], &[0xff, 0x37], &[0xf3, 0x48, 0xab]];
    for code in codes {
        let length = code.len() as u64;
        assert_eq!(misaligned(3, code, DATA + 0x101, AC_FLAG), (AC, 0), "{code:x?}");
        assert_eq!(misaligned(3, code, DATA + 0x100, AC_FLAG), (UD, length), "{code:x?}, aligned");
        assert_eq!(misaligned(3, code, DATA + 0x101, 0), (UD, length), "{code:x?}, not checked");
        assert_eq!(misaligned(0, code, DATA + 0x101, AC_FLAG), (UD, length), "{code:x?}, at CPL 0");
    }
}

/// What INT3 behind a watched load of SS leaves: the vector that comes first, and where it returns to.
/// APM vol. 2, table 8-7: x87's words by their size, environments and states by the width of the code.
#[test]
fn alignment_is_checked_of_x87_operands() {
    // fld m80; fstp m80; fnstenv; fldenv; fnsave; fnstenv of 16 bits; fld m64; fxsave is checked by its own rule.
    let codes: [(&[u8], u64); 7] = [
        (&[0xdb, 0x2f], 8),
        (&[0xdb, 0x3f], 8),
        (&[0xd9, 0x37], 4),
        (&[0xd9, 0x27], 4),
        (&[0xdd, 0x37], 4),
        (&[0x66, 0xd9, 0x37], 2),
        (&[0xdd, 0x07], 8),
    ];
    for (code, boundary) in codes {
        let length = code.len() as u64;
        assert_eq!(misaligned(3, code, DATA + 0x100 + boundary / 2, AC_FLAG), (AC, 0), "{code:x?}");
        assert_eq!(misaligned(3, code, DATA + 0x100 + boundary, AC_FLAG), (UD, length), "{code:x?}, aligned");
    }
}

/// APM vol. 2, table 8-7 has vectors at 16 bytes, far pointers at their offset; what is less is as family 1Ah has it.
#[test]
fn alignment_is_checked_of_vectors_and_pointers() {
    // movups xmm0, [rdi]; lddqu; vmovups ymm0; lgs eax, [rdi]; the same of 16 bits; fxsave [rdi].
    let codes: [(&[u8], u64); 6] = [
        (&[0x0f, 0x10, 0x07], 16),
        (&[0xf2, 0x0f, 0xf0, 0x07], 16),
        (&[0xc5, 0xfc, 0x10, 0x07], 16),
        (&[0x0f, 0xb5, 0x07], 4),
        (&[0x66, 0x0f, 0xb5, 0x07], 2),
        (&[0x0f, 0xae, 0x07], 4),
    ];
    for (code, boundary) in codes {
        assert_eq!(misaligned(3, code, DATA + 0x100 + boundary / 2, AC_FLAG), (AC, 0), "{code:x?}");
        let aligned = DATA + 0x100 + if code[1] == 0xae { 16 } else { boundary };
        assert_eq!(misaligned(3, code, aligned, AC_FLAG), (UD, code.len() as u64), "{code:x?}, aligned");
    }
}

/// Nothing is asked of an element that a mask or an index chooses, and of a word of a repeated string only the word's own.
#[test]
fn alignment_is_not_asked_of_chosen_elements() {
    // pcmpeqd xmm1, xmm1; vpmaskmovd xmm0, xmm1, [rdi]
    let masked = [0x66, 0x0f, 0x76, 0xc9, 0xc4, 0xe2, 0x71, 0x8c, 0x07];
    assert_eq!(misaligned(3, &masked, DATA + 0x101, AC_FLAG), (UD, 9));
    // std; mov ecx, 3; rep stosw, downwards from an even address.
    let down = [0xfd, 0xb9, 3, 0, 0, 0, 0x66, 0xf3, 0xab];
    assert_eq!(misaligned(3, &down, DATA + 0x106, AC_FLAG), (UD, 9));
}

/// An undefined opcode at the end of a page faults without a look at the next one, if it stands for nothing; with operands that
/// would be there, their page's fault comes first. As family 1Ah has it.
#[test]
fn an_undefined_opcode_at_the_end_of_a_page_takes_what_its_form_takes() {
    let at_end = |code: &[u8]| {
        let start = CODE + 0x1000 - code.len() as u64;
        let mut board = board();
        board.write(CODE_AT + 0x1000 - code.len() as u64, code);
        let (caught, _) = run_on(&mut board, 3, &[0x90], |_, regs| regs.rip = start);
        (caught.vector, caught.rip - start)
    };
    let alone: [&[u8]; 6] =
        [&[0x06], &[0xd6], &[0x0f, 0x04], &[0xdf, 0xe1], &[0xc5, 0xf8, 0x04], &[0x48, 0xc4, 0xe1]];
    alone.iter().for_each(|code| assert_eq!(at_end(code), (UD, 0), "{code:x?}"));
    let longer: [&[u8]; 5] =
        [&[0xc6, 0xc8], &[0x0f, 0xba, 0xc0], &[0x9a], &[0x0f, 0x38, 0xff], &[0xc4, 0xe2, 0x79, 0xff]];
    longer.iter().for_each(|code| assert_eq!(at_end(code), (14, 0), "{code:x?}"));
}

/// APM vol. 2, 13.1.1.2, "Resume Flag": RF holds off a breakpoint on an instruction until that has ended, repeats and all.
#[test]
fn a_breakpoint_on_a_repeated_instruction_is_held_off_for_all_of_it() {
    const FAR: u64 = 0x80_0000;
    let mut board = board();
    board.catch_debug();
    for page in 0..64 {
        board.map(FAR + page * 4096, DATA_AT, PRESENT | WRITE | USER);
    }
    let (caught, _) = run_on(&mut board, 3, &[0xf3, 0xaa], |_, regs| {
        (regs.gpr[1], regs.gpr[7]) = (64 * 4096, FAR);
        (regs.dr[0], regs.dr7) = (CODE, 0x402);
        regs.rflags |= 1 << 16;
    });
    assert_eq!((caught.vector, caught.rip - CODE), (UD, 2));
}

/// Vector, offset of RIP, RCX and RFLAGS.RF of what a program meets that has a breakpoint on writes to the byte at `address`.
fn watched(code: &[u8], address: u64, flags: u64) -> (u64, u64, u64, bool) {
    let mut board = board();
    board.catch_debug();
    let (caught, after) = run_on(&mut board, 3, code, |_, regs| {
        (regs.gpr[1], regs.gpr[6], regs.gpr[7]) = (5, DATA, DATA + 0x100);
        (regs.dr[0], regs.dr7) = (address, 0x401 | flags);
    });
    (caught.vector, caught.rip - CODE, after.gpr[1], caught.rflags & 1 << 16 != 0)
}

/// APM vol. 2, 13.1.1.2: a breakpoint on data traps behind the iteration that meets it, and is to come back with RF.
#[test]
fn a_watched_byte_in_a_repeated_move_traps_at_its_iteration() {
    const WRITES: u64 = 1 << 16;
    for code in [&[0xf3, 0xa4][..], &[0xf3, 0xaa]] {
        assert_eq!(watched(code, DATA + 0x102, WRITES), (1, 0, 2, true), "{code:x?}");
        assert_eq!(watched(code, DATA + 0x104, WRITES), (1, 2, 0, false), "{code:x?}, the last");
    }
}

/// A breakpoint on reads and writes, as family 1Ah has it.
#[test]
fn a_flush_of_a_watched_line_is_a_read_of_its_byte() {
    assert_eq!(watched(&[0x0f, 0xae, 0x3f], DATA + 0x100, 3 << 16), (1, 3, 5, false));
}

/// RF has held off the breakpoint on INT3 itself, and ends with it.
#[test]
fn int3_pushes_no_resume_flag() {
    let (caught, _) = run(0, &[0xcc], |_, regs| regs.rflags |= 1 << 16);
    assert_eq!((caught.vector, caught.rip - CODE, caught.rflags & 1 << 16), (3, 1, 0));
}

/// However a page's translation came into the first level of the TLB: here out of the second, behind another of the same index.
#[test]
fn a_page_that_is_executed_is_watched() {
    const PAGE: u64 = 0x80_0000;
    const SAME_INDEX: u64 = PAGE + (2048 << 12);
    // mov [rdi], al; mov [rsi], al; mov [rdi], al; call rdi; mov byte [rdi + 1], 2; call rdi
    let code = [0x88, 0x07, 0x88, 0x06, 0x88, 0x07, 0xff, 0xd7, 0xc6, 0x47, 1, 2, 0xff, 0xd7];
    let mut board = board();
    board.map(PAGE, DATA_AT + 0x1000, PRESENT | WRITE | USER);
    board.map(SAME_INDEX, DATA_AT + 0x2000, PRESENT | WRITE | USER);
    // mov al, 1; ret
    board.write(DATA_AT + 0x1000, &[0xb0, 1, 0xc3]);
    let (caught, after) = run_on(&mut board, 3, &code, |_, regs| {
        (regs.gpr[7], regs.gpr[6], regs.gpr[0]) = (PAGE, SAME_INDEX, 0xb0);
    });
    assert_eq!((caught.vector, caught.rip - CODE, after.gpr[0]), (UD, code.len() as u64, 2));
}

/// An interrupt that the program's own write to its APIC brings comes between STI and CLI.
#[test]
fn an_interrupt_that_the_processor_sends_itself_comes_behind_sti() {
    const APIC: u64 = 0x60_2000;
    // mov dword [rdi + f0h], 1ffh; mov dword [rdi + 300h], 40040h; sti; nop; nop; cli
    let code = [
        0xc7, 0x87, 0xf0, 0, 0, 0, 0xff, 1, 0, 0, 0xc7, 0x87, 0, 3, 0, 0, 0x40, 0, 4, 0, 0xfb, 0x90, 0x90,
        0xfa,
    ];
    for _ in 0..4 {
        let mut board = board();
        board.map(APIC, 0xfee0_0000, PRESENT | WRITE);
        let (caught, _) = run_on(&mut board, 0, &code, |_, regs| regs.gpr[7] = APIC);
        assert_eq!((caught.vector, caught.error, caught.rip - CODE), (GP, 0x40 << 3 | 3, 22));
    }
}

#[test]
fn a_load_of_ss_holds_a_watchpoint_off_for_one_instruction() {
    // mov ss, [rdi]; nop; nop: the trap comes behind the first NOP. (#DB goes back; DR6 tells.)
    let (_, regs) = run(0, &[0x8e, 0x17, 0x90, 0x90], |board, regs| {
        board.poke(DATA_AT, 0x18);
        regs.gpr[7] = DATA;
        (regs.dr[0], regs.dr7) = (DATA, 0xf0402);
    });
    assert_eq!(regs.dr6 & 0xf, 1);
}

/// A breakpoint on the instruction behind a watched load of SS: one #DB for both, as silicon has it.
#[test]
fn a_breakpoint_behind_a_watched_load_of_ss_traps_once_for_both() {
    let mut board = board();
    board.catch_debug();
    board.write(CODE_AT, &[0x8e, 0x17, 0x90, 0x0f, 0x0b]);
    board.poke(DATA_AT, 0x18);
    let mut state = CpuState::reset();
    state.regs = board.registers(0);
    (state.regs.rip, state.regs.gpr[7]) = (CODE, DATA);
    (state.regs.dr[0], state.regs.dr[1], state.regs.dr7) = (DATA, CODE + 2, 0xf040a);
    let (_, caught, after) = board.run(&state).expect("state goes in and out");
    assert_eq!(caught.map(|c| (c.vector, c.rip)), Some((1, CODE + 2)));
    assert_eq!(after.regs.dr6 & 0xf, 3);
}

/// APM vol. 2, 13.2.1: counters without a CPUID bit. RDPMC of counter 0 after it was set.
#[test]
fn a_performance_counter_is_written_and_read() {
    // mov ecx, 0c0010004h; mov eax, 1234h; xor edx, edx; wrmsr; xor ecx, ecx; rdpmc
    let code = [0xb9, 4, 0, 1, 0xc0, 0xb8, 0x34, 0x12, 0, 0, 0x31, 0xd2, 0x0f, 0x30, 0x31, 0xc9, 0x0f, 0x33];
    let (caught, regs) = run(0, &code, |_, _| ());
    assert_eq!((caught.vector, regs.gpr[0], regs.gpr[2]), (UD, 0x1234, 0));
}

/// APM vol. 2, 16.3.1: the CPUID bit follows APIC_BASE.AE.
#[test]
fn cpuid_hides_a_local_apic_that_is_off() {
    // mov ecx, 1bh; rdmsr; and eax, ~800h; wrmsr; mov eax, 1; cpuid
    let code = [
        0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, 0x25, 0xff, 0xf7, 0xff, 0xff, 0x0f, 0x30, 0xb8, 1, 0, 0, 0, 0x0f,
        0xa2,
    ];
    let (_, regs) = run(0, &code, |_, _| ());
    assert_eq!(regs.gpr[2] >> 9 & 1, 0);
}

/// APM vol. 3, SYSRET: with TF in R11 the trap comes before the first instruction at the target.
#[test]
fn sysret_that_sets_the_trap_flag_traps_at_its_target() {
    // mov rcx, r8; sysretq, to a NOP and UD2.
    let code = [0x4c, 0x89, 0xc1, 0x48, 0x0f, 0x07, 0x90];
    let (_, regs) = run(0, &code, |_, regs| {
        (regs.gpr[8], regs.gpr[11]) = (CODE + 6, 0x102);
        regs.star = 0x23 << 48 | 0x10 << 32;
    });
    assert_eq!(regs.dr6 >> 14 & 1, 1);
}

/// APM vol. 2, 13.1.1: from and to of the last branch, while DEBUGCTL.LBR is on.
#[test]
fn the_last_branch_is_recorded() {
    // mov ecx, 1d9h; mov eax, 1; xor edx, edx; wrmsr; jmp +1 (at offset 14); nop; xor eax, eax (at 17); wrmsr;
    // mov ecx, 1dbh; rdmsr; mov ebx, eax; inc ecx; rdmsr
    let code = [
        0xb9, 0xd9, 1, 0, 0, 0xb8, 1, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30, 0xeb, 1, 0x90, 0x31, 0xc0, 0x0f, 0x30,
        0xb9, 0xdb, 1, 0, 0, 0x0f, 0x32, 0x89, 0xc3, 0xff, 0xc1, 0x0f, 0x32,
    ];
    let (_, regs) = run(0, &code, |_, _| ());
    assert_eq!((regs.gpr[3], regs.gpr[0]), (CODE + 14, CODE + 17));
}

/// An exception is a branch, and keeps the one before it.
#[test]
fn an_exception_is_recorded_as_a_branch() {
    // mov ecx, 1d9h; mov eax, 1; xor edx, edx; wrmsr; jmp +1 (at offset 14); nop; and UD2 at 17.
    let code = [0xb9, 0xd9, 1, 0, 0, 0xb8, 1, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30, 0xeb, 1, 0x90];
    let (_, regs) = run(0, &code, |_, _| ());
    assert_eq!(regs.lbr[0], CODE + 17);
    assert_eq!(regs.lbr[2..], [CODE + 14, CODE + 17]);
}

/// In 64-bit mode a stack fault is one of an address with rSP or rBP as base, whatever prefix of ES, CS, SS or DS there is.
#[test]
fn stack_faults_are_by_base_register() {
    const SS: u64 = 12;
    // mov eax, [rbx]; mov eax, [rbp]; then each with a prefix; lodsb ss:; fld qword ds:[rbp]; mov eax, fs:[rbp].
    for (code, vector) in [
        (&[0x8b, 0x03][..], GP),
        (&[0x8b, 0x45, 0], SS),
        (&[0x36, 0x8b, 0x03], GP),
        (&[0x3e, 0x8b, 0x45, 0], SS),
        (&[0x26, 0x8b, 0x45, 0], SS),
        (&[0x36, 0xac], GP),
        (&[0x3e, 0xdd, 0x45, 0], SS),
        (&[0x64, 0x8b, 0x45, 0], GP),
        (&[0x64, 0x36, 0x8b, 0x03], GP),
    ] {
        let found = fault(code, |_, regs| {
            (regs.gpr[3], regs.gpr[5], regs.gpr[6]) = (1 << 63, 1 << 63, 1 << 63);
        });
        assert_eq!(found, (vector, 0, 0), "{code:x?}");
    }
}

/// `code` with RDI = 50_0000h, where 1.5 is, and RBX 100h further on; gives the 64 bytes there.
fn x87(code: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    BOARD.with_borrow_mut(|board| {
        let (caught, _) = run_on(board, 3, code, |board, regs| {
            board.write(DATA_AT, &1.5f64.to_le_bytes());
            board.write(DATA_AT + 8, &0u64.to_le_bytes());
            board.write(DATA_AT + 16, &0x37bu16.to_le_bytes());
            board.write(DATA_AT + 0x100, &[0xaa; 64]);
            (regs.gpr[7], regs.gpr[3]) = (DATA, DATA + 0x100);
        });
        assert_eq!((caught.vector, caught.rip - CODE), (UD, code.len() as u64));
        board.read(DATA_AT + 0x100, &mut bytes);
    });
    bytes
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

const FNINIT: [u8; 2] = [0xdb, 0xe3];
/// FLD qword [rdi], at offset 2; FNSTENV [rbx]; FXSAVE64 [rbx].
const FLD: [u8; 2] = [0xdd, 0x07];
const FNSTENV: [u8; 2] = [0xd9, 0x33];
const FXSAVE64: [u8; 4] = [0x48, 0x0f, 0xae, 0x03];
/// FLDCW [rdi+16] (divisions by zero are not masked); FLD [rdi]; FDIV qword [rdi+8], at offset 7.
const DIVIDE: [u8; 8] = [0xd9, 0x6f, 0x10, 0xdd, 0x07, 0xdc, 0x77, 0x08];

/// APM vol. 2, figure 11-3, and vol. 1, 6.2.6: control words, tags, then where the last instruction was and its operand.
#[test]
fn the_x87_environment_has_the_guests_addresses() {
    let env = words(&x87(&[&FNINIT[..], &FLD, &FNSTENV].concat()));
    assert_eq!(env[..3], [0xffff_037f, 0xffff_3800, 0xffff_3fff]);
    assert_eq!(env[3], CODE as u32 + 2);
    assert_eq!(env[4] >> 16, 0x507);
    assert_eq!(env[5], DATA as u32);
    assert_eq!(env[4] as u16 & 3, 3);
}

/// An instruction without an operand leaves the operand's pointer alone, one that controls the unit leaves both.
#[test]
fn x87_pointers_are_of_instructions_that_compute() {
    // FLD [rdi]; FLD1 (offset 4); FLDCW [rdi+16]; FNSTENV [rbx].
    let code = [&FNINIT[..], &FLD, &[0xd9, 0xe8, 0xd9, 0x6f, 0x10], &FNSTENV].concat();
    let env = words(&x87(&code));
    assert_eq!((env[3], env[4] >> 16, env[5]), (CODE as u32 + 4, 0x1e8, DATA as u32));
}

/// APM vol. 2, 11.4.4.3: FXSAVE has the pointers only while an exception is pending.
#[test]
fn fxsave_keeps_x87_pointers_to_itself_unless_an_exception_is_pending() {
    let quiet = words(&x87(&[&FNINIT[..], &FLD, &FXSAVE64].concat()));
    assert_eq!((quiet[1], &quiet[2..6]), (0x80, &[0; 4][..]));
    let pending = words(&x87(&[&FNINIT[..], &DIVIDE, &FXSAVE64, &FNINIT].concat()));
    assert_eq!(pending[1], 0x0477_0080);
    assert_eq!(pending[2..6], [CODE as u32 + 7, 0, DATA as u32 + 8, 0]);
}

/// FXRSTOR loads them as they are in memory; FNINIT and FNSAVE clear them.
#[test]
fn x87_pointers_are_loaded_and_cleared() {
    // FXSAVE64 [rbx]; mov qword [rbx+8], 12345678h; mov qword [rbx+16], 87654h; FXRSTOR64 [rbx]; FNSTENV [rbx].
    let load = [
        0x48, 0xc7, 0x43, 0x08, 0x78, 0x56, 0x34, 0x12, 0x48, 0xc7, 0x43, 0x10, 0x54, 0x76, 0x08, 0x00, 0x48,
        0x0f, 0xae, 0x0b,
    ];
    let env = words(&x87(&[&FNINIT[..], &FXSAVE64, &load, &FNSTENV].concat()));
    assert_eq!((env[3], env[5]), (0x1234_5678, 0x8_7654));
    let fnsave = [0xdd, 0x33];
    for clear in [&FNINIT, &fnsave] {
        let env = words(&x87(&[&FNINIT[..], &FLD, clear, &FNSTENV].concat()));
        assert_eq!(env[3..6], [0; 3], "{clear:x?}");
    }
}

/// The environment after XRSTOR of an image with pointers, with this XSTATE_BV and XCOMP_BV.
fn x87_after_xrstor(state: u64, format: u64) -> [u32; 3] {
    // FNINIT; FLD [rdi]; mov eax, 7; xor edx, edx; XRSTOR64 [rdi]; FNSTENV [rbx]
    let code =
        [&FNINIT[..], &FLD, &[0xb8, 7, 0, 0, 0, 0x31, 0xd2, 0x48, 0x0f, 0xae, 0x2f], &FNSTENV].concat();
    let mut bytes = vec![0; 64];
    let mut board = board();
    run_on(&mut board, 3, &code, |board, regs| {
        [(0, 0x0123_0000_0000_037f), (8, 0x1234_5678), (16, 0x8_7654), (24, 0x1f80)]
            .iter()
            .chain(&[(512, state), (520, format)])
            .for_each(|&(offset, value)| board.poke(DATA_AT + offset, value));
        (regs.gpr[7], regs.gpr[3]) = (DATA, DATA + 0x100);
    });
    board.read(DATA_AT + 0x100, &mut bytes);
    let env = words(&bytes);
    [env[4] >> 16 & 0x7ff, env[3], env[5]]
}

/// APM vol. 3, Fn8000_0008 EBX, RstrFpErrPtrs: XRSTOR loads error pointers though no exception is pending. (To be saved they need
/// one, with that bit, too, as silicon of family 19h has it.)
#[test]
fn xrstor_loads_x87_pointers_whether_or_not_an_exception_is_pending() {
    for format in [0, 1 << 63 | 7] {
        assert_eq!(x87_after_xrstor(1, format), [0x123, 0x1234_5678, 0x8_7654]);
        assert_eq!(x87_after_xrstor(0, format), [0; 3]);
    }
}

/// APM vol. 1, 6.2.6: the offset in the segment, whatever the segment's base.
#[test]
fn the_x87_data_pointer_is_an_offset() {
    // FLD qword gs:[abs 0x100]
    let fld = [0x65, 0xdd, 0x04, 0x25, 0x00, 0x01, 0x00, 0x00];
    let mut bytes = vec![0; 64];
    BOARD.with_borrow_mut(|board| {
        run_on(board, 3, &[&FNINIT[..], &fld, &FNSTENV].concat(), |_, regs| {
            regs.seg[5].base = DATA - 0x100;
            regs.gpr[3] = DATA + 0x100;
        });
        board.read(DATA_AT + 0x100, &mut bytes);
    });
    let env = words(&bytes);
    assert_eq!((env[3], env[5]), (CODE as u32 + 2, 0x100));
}

/// APM vol. 2, 8.2.17: with CR0.NE = 0 an x87 exception is FERR#, and the processor waits for an interrupt before the next x87
/// instruction; a write to port F0h is IGNNE#, under which x87 goes on.
#[test]
fn an_x87_exception_without_ne_is_an_interrupts() {
    // FNINIT; FLDCW, FLD, FDIV; FLD1 at offset 10, which waits.
    let code = [&FNINIT[..], &DIVIDE, &[0xd9, 0xe8]].concat();
    // out 0f0h, al; FLD1; FNSTENV [rbx]; FNCLEX.
    let on = [&[0xe6, 0xf0, 0xd9, 0xe8][..], &FNSTENV, &[0xdb, 0xe2]].concat();
    let mut board = board();
    board.write(DATA_AT, &[&1.5f64.to_le_bytes()[..], &[0; 8], &0x37bu16.to_le_bytes()].concat());
    board.write(CODE_AT, &code);
    let mut state = CpuState::reset();
    state.regs = board.registers(0);
    state.regs.cr0 &= !(1 << 5);
    (state.regs.rip, state.regs.gpr[7], state.regs.gpr[3]) = (CODE, DATA, DATA + 0x100);
    let (halt, caught, after) = board.run(&state).expect("state goes in and out");
    assert_eq!((halt, caught.map(|c| c.vector)), (Halt::Idle, None));
    assert_eq!((after.regs.rip, board.bus.has_x87_error()), (CODE + 10, true));
    board.write(CODE_AT, &[&on[..], &UD2].concat());
    state = after;
    state.regs.rip = CODE;
    let (_, caught, _) = board.run(&state).expect("state goes in and out");
    assert_eq!((caught.map(|c| c.vector), board.bus.has_x87_error()), (Some(UD), false));
    // The quotient and 1.0; division by zero is still pending, with its summary.
    assert_eq!(board.peek(DATA_AT + 0x104) as u16, 0xb084);
}
