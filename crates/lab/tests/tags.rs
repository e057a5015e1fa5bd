//! Addresses that a table of the engine might take for one of its own: an unprivileged program that uses them gets its exception,
//! whatever lies in the table, and changes nothing.

use ireko_lab::board::{Board, PRESENT, USER, WRITE};
use ireko_translate::layout::{OTHER_ENTRY, TLB_ENTRIES};
use ireko_vmcore::CpuState;

const CODE: u64 = 0x40_0000;
const CODE_AT: u64 = 0x10_0000;
const STACK: u64 = 0x50_0000;
const STACK_AT: u64 = 0x11_0000;
/// A page for each entry of the TLB, all the same memory, for reading only.
const VICTIMS: u64 = 0x4000_0000;
const VICTIM_AT: u64 = 0x12_0000;

/// What a program does with the address in RDI; the exceptions that it may get.
struct Use {
    name: &'static str,
    code: &'static [u8],
    cpl: u8,
}

const USES: &[Use] = &[
    Use { name: "mov al, [rdi]", code: &[0x8a, 0x07], cpl: 3 },
    Use { name: "mov [rdi], eax", code: &[0x89, 0x07], cpl: 3 },
    Use { name: "add [rdi+8], eax; add [rdi+16], eax", code: &[1, 0x47, 8, 1, 0x47, 16], cpl: 3 },
    Use { name: "lock xadd [rdi], rax", code: &[0xf0, 0x48, 0x0f, 0xc1, 0x07], cpl: 3 },
    Use { name: "movups [rdi], xmm0", code: &[0x0f, 0x11, 0x07], cpl: 3 },
    Use { name: "push qword [rdi]", code: &[0xff, 0x37], cpl: 3 },
    Use { name: "pop qword [rdi]", code: &[0x8f, 0x07], cpl: 3 },
    Use { name: "stosb", code: &[0xaa], cpl: 3 },
    Use { name: "rep stosb", code: &[0xf3, 0xaa], cpl: 3 },
    Use { name: "rep stosq", code: &[0xf3, 0x48, 0xab], cpl: 3 },
    Use { name: "rep movsb", code: &[0xf3, 0xa4], cpl: 3 },
    Use { name: "xchg rsi, rdi; rep movsq", code: &[0x48, 0x87, 0xfe, 0xf3, 0x48, 0xa5], cpl: 3 },
    Use { name: "xsavec64 [rdi]", code: &[0x48, 0x0f, 0xc7, 0x27], cpl: 3 },
    Use { name: "xrstor64 [rdi]", code: &[0x48, 0x0f, 0xae, 0x2f], cpl: 3 },
    Use { name: "jmp rdi", code: &[0xff, 0xe7], cpl: 3 },
    Use { name: "call rdi", code: &[0xff, 0xd7], cpl: 3 },
    Use { name: "jmp [rdi]", code: &[0xff, 0x27], cpl: 3 },
    Use { name: "push rdi; ret", code: &[0x57, 0xc3], cpl: 3 },
    Use { name: "mov rsp, rdi; push rax", code: &[0x48, 0x89, 0xfc, 0x50], cpl: 3 },
    Use { name: "mov rsp, rdi; ret", code: &[0x48, 0x89, 0xfc, 0xc3], cpl: 3 },
    Use { name: "mov rcx, rdi; sysretq", code: &[0x48, 0x89, 0xf9, 0x48, 0x0f, 0x07], cpl: 0 },
    Use { name: "jmp rdi, by the supervisor", code: &[0xff, 0xe7], cpl: 0 },
];

/// Entries of the TLB whose number has something special about it, and some others.
fn indices() -> impl Iterator<Item = u64> {
    let last = TLB_ENTRIES as u64 - 1;
    let half = OTHER_ENTRY >> 12;
    [0, 1, 2, half - 1, half, half + 1, last - 1, last].into_iter().chain((5..last).step_by(23))
}

/// None of these is mapped, at any index.
fn addresses() -> Vec<u64> {
    let bits = [23, 30, 46, 47, 48, 55, 61, 62, 63].map(|bit| 1u64 << bit);
    let uppers = bits.into_iter().flat_map(|bit| [bit, bit.wrapping_neg()]).chain([0x5555_5555_5580_0000]);
    let uppers: Vec<u64> = uppers.map(|upper| upper & !0x7f_ffff).filter(|&upper| upper != VICTIMS).collect();
    indices()
        .flat_map(|index| uppers.iter().map(move |upper| upper | index << 12).collect::<Vec<_>>())
        .collect()
}

fn board() -> Board {
    let mut board = Board::new(&[]).expect("a board");
    board.map(CODE, CODE_AT, PRESENT | USER);
    board.map(STACK, STACK_AT, PRESENT | WRITE | USER);
    for index in 0..TLB_ENTRIES as u64 {
        board.map(VICTIMS + (index << 12), VICTIM_AT, PRESENT | USER);
    }
    board
}

fn state(board: &Board, cpl: u8, address: u64) -> CpuState {
    let mut state = CpuState::reset();
    state.regs = board.registers(cpl);
    (state.regs.rip, state.regs.star) = (CODE, 0x23 << 48 | 0x10 << 32);
    let gpr = &mut state.regs.gpr;
    // RAX: components; RBX: the page for reading at the same entry; RCX: a count; R11: flags for SYSRET.
    (gpr[0], gpr[1], gpr[2], gpr[11]) = (7, 1, 0, 2);
    (gpr[3], gpr[6]) = (VICTIMS | address & 0x7f_f000, STACK);
    (gpr[4], gpr[7]) = (STACK + 0x800, address);
    state.xsave[512] = 7;
    state
}

/// The program touches the page that it may read, three times, and then uses the address.
fn exceptions(board: &mut Board, used: &Use, touch: bool) -> Vec<String> {
    // mov al, [rbx]
    let before = if touch { [0x8a, 0x03].repeat(3) } else { vec![] };
    board.write(CODE_AT, &[&before, used.code, &[0x0f, 0x0b][..]].concat());
    let wrong = |board: &mut Board, address: u64| {
        let mut state = state(board, used.cpl, address);
        state.regs.gpr[0] = if touch { state.regs.gpr[0] } else { 7 };
        let (halt, caught, _) = board.run(&state).expect("state goes in and out");
        let vector = caught.map(|caught| caught.vector);
        let right = matches!(vector, Some(12..=14));
        (!right).then(|| format!("{} at {address:#x}: {vector:?}, {halt:?}", used.name))
    };
    addresses().into_iter().filter_map(|address| wrong(board, address)).collect()
}

#[test]
fn every_use_of_an_address_that_is_not_mapped_is_an_exception() {
    let mut board = board();
    let wrong: Vec<_> = USES.iter().flat_map(|used| exceptions(&mut board, used, false)).collect();
    assert!(wrong.is_empty(), "{} wrong, first {:?}", wrong.len(), wrong[0]);
}

#[test]
fn what_may_only_be_read_is_not_written_through_any_address() {
    let mut board = board();
    board.write(VICTIM_AT, &[0x5a; 4096]);
    let wrong: Vec<_> = USES.iter().flat_map(|used| exceptions(&mut board, used, true)).collect();
    assert!(wrong.is_empty(), "{} wrong, first {:?}", wrong.len(), wrong[0]);
    let mut victim = [0; 4096];
    board.read(VICTIM_AT, &mut victim);
    assert_eq!(victim, [0x5a; 4096]);
}
