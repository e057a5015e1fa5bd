//! 5-level paging (APM vol. 2, 5.3 and 5.3.1).

use super::*;
use ireko_x86::bits::cr4;
use ireko_x86::cpuid as f;

const PML5: u64 = 0x3_f000;
/// Canonical with five levels only; and with neither.
const FAR: u64 = 1 << 48;
const NOWHERE: u64 = 1 << 56;

fn wide_board() -> Board {
    board_of(changed(&[f::LA57], &[]))
}

/// The board's tables, and the same again from `FAR` on, by way of a fifth level; the registers are as of 64-bit code under it.
fn five(code: &[u8], prepare: impl FnOnce(&mut Registers)) -> (Caught, Registers) {
    run_on(&mut wide_board(), 0, code, |board, regs| {
        [0, 1, 511].iter().for_each(|n| board.poke(PML5 + 8 * n, regs.cr3 | PRESENT | WRITE | USER));
        (regs.cr3, regs.cr4) = (PML5, regs.cr4 | cr4::LA57);
        prepare(regs);
    })
}

fn ends(code: &[u8], prepare: impl FnOnce(&mut Registers)) -> (u64, u64) {
    let (caught, _) = five(code, prepare);
    (caught.vector, caught.rip)
}

/// mov eax, [rdi].
const READ: [u8; 2] = [0x8b, 0x07];

#[test]
fn addresses_have_57_bits() {
    assert_eq!(ends(&READ, |regs| regs.gpr[7] = FAR + DATA), (UD, CODE + 2));
    assert_eq!(ends(&READ, |regs| regs.gpr[7] = NOWHERE + DATA), (GP, CODE));
    assert_eq!(ends(&READ, |regs| regs.gpr[7] = STRAY + DATA), (14, CODE));
}

#[test]
fn with_four_levels_they_have_48() {
    let (caught, _) = run_on(&mut wide_board(), 3, &READ, |_, regs| regs.gpr[7] = FAR + DATA);
    assert_eq!((caught.vector, caught.rip), (GP, CODE));
}

#[test]
fn code_and_its_stack_are_anywhere() {
    // push rax; pop rbx; call rdi
    let code = [0x50, 0x5b, 0xff, 0xd7];
    let far = |regs: &mut Registers| {
        (regs.rip, regs.gpr[4]) = (FAR + CODE, FAR + STACK);
        regs.gpr[7] = FAR + CODE + 4;
    };
    assert_eq!(ends(&code, far), (UD, FAR + CODE + 4));
    assert_eq!(ends(&code, |regs| regs.gpr[7] = NOWHERE), (GP, CODE + 2));
}

/// jmp short +1; nop: a direct jump, to the UD2 behind.
#[test]
fn direct_jumps_lead_on_there() {
    assert_eq!(ends(&[0xeb, 1, 0x90], |regs| regs.rip = FAR + CODE), (UD, FAR + CODE + 3));
}

/// A base is checked for the widest addresses that the processor has, whatever paging is on. WRFSBASE RAX.
#[test]
fn bases_may_be_as_wide_as_the_processor_has_addresses() {
    let code = [0xf3, 0x48, 0x0f, 0xae, 0xd0];
    let of = |mut board: Board, base| run_on(&mut board, 3, &code, |_, regs| regs.gpr[0] = base).0.vector;
    assert_eq!((of(wide_board(), FAR), of(wide_board(), NOWHERE), of(board(), FAR)), (UD, GP, GP));
}

/// CR4.LA57 cannot change in long mode. MOV RAX, CR4; XOR EAX, 1000h; MOV CR4, RAX.
#[test]
fn the_levels_are_chosen_before_long_mode() {
    let code = [0x0f, 0x20, 0xe0, 0x35, 0, 0x10, 0, 0, 0x0f, 0x22, 0xe0];
    assert_eq!(ends(&code, |_| ()), (GP, CODE + 8));
    let (caught, _) = run(0, &code, |_, _| ());
    assert_eq!((caught.vector, caught.rip), (GP, CODE + 8));
}
