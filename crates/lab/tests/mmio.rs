//! Registers of devices under any instruction: done as on memory. Each instruction runs once on a page of memory and once on a
//! page of a device that behaves as memory does, with the same contents.

use ireko_lab::board::{Board, DEVICE, PRESENT, WRITE};
use ireko_vmcore::CpuState;

const CODE: u64 = 0x40_0000;
const CODE_AT: u64 = 0x10_0000;
/// The page of memory or of the device, and another page of memory.
const TESTED: u64 = 0x50_0000;
const OTHER: u64 = 0x60_0000;
const MEMORY_AT: u64 = 0x11_0000;
const OTHER_AT: u64 = 0x12_0000;

/// What of the processor and of memory an instruction leaves behind.
#[derive(PartialEq, Eq)]
struct Left {
    vector: Option<u64>,
    gpr: [u64; 16],
    flags: u64,
    vectors: Vec<u8>,
    tested: Vec<u8>,
    other: Vec<u8>,
}

fn pattern(salt: u8) -> Vec<u8> {
    (0..4096u32).map(|n| (n.wrapping_mul(37) >> 3) as u8 ^ salt).collect()
}

/// RDI and RSI at 400h of the tested and the other page, or the other way round; RSP in the tested page for `stack`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Destination {
    Target,
    Source,
    Stack,
}

/// The image that FXRSTOR and XRSTOR find: of an initial state, so that it may be loaded.
fn image(page: &mut [u8]) {
    let area = &mut page[0x400..0x400 + 832];
    area.fill(0);
    area[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
    area[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
    area[160..176].fill(0x5a);
    area[512] = 7;
}

fn run(board: &mut Board, code: &[u8], place: Destination, device: bool, with_image: bool) -> Left {
    let physical = if device { DEVICE } else { MEMORY_AT };
    board.map(TESTED, physical, PRESENT | WRITE);
    board.write(CODE_AT, &[code, &[0x0f, 0x0b]].concat());
    let (mut tested, other) = (pattern(0), pattern(0x81));
    if with_image {
        image(&mut tested);
    }
    board.write(MEMORY_AT, &tested);
    *board.bus.device() = tested;
    board.write(OTHER_AT, &other);
    let mut state = CpuState::reset();
    state.regs = board.registers(0);
    state.xsave[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
    state.xsave[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
    state.xsave[160..288].iter_mut().enumerate().for_each(|(n, byte)| *byte = n as u8 ^ 0xc3);
    state.xsave[512] = 7;
    let regs = &mut state.regs;
    regs.gpr =
        [0x1122_3344_5566_7788, 4, 7, 0x99, OTHER + 0x800, OTHER + 0x700, 0, 0, 8, 9, 10, 11, 12, 13, 14, 15];
    (regs.gpr[7], regs.gpr[6]) = (TESTED + 0x400, OTHER + 0x400);
    match place {
        Destination::Target => {}
        Destination::Source => regs.gpr.swap(6, 7),
        Destination::Stack => regs.gpr[4] = TESTED + 0x800,
    }
    regs.rip = CODE;
    let (_, caught, after) = board.run(&state).expect("state goes in and out");
    let mut memory = vec![0; 4096];
    board.read(MEMORY_AT, &mut memory);
    let tested = if device { board.bus.device().clone() } else { memory };
    let mut other = vec![0; 4096];
    board.read(OTHER_AT, &mut other);
    Left {
        vector: caught.map(|c| c.vector),
        gpr: after.regs.gpr,
        flags: after.regs.rflags,
        vectors: after.xsave[..832].to_vec(),
        tested,
        other,
    }
}

/// Name, bytes, where the device is.
const INSTRUCTIONS: &[(&str, &[u8], Destination)] = &[
    ("test [rdi], eax", &[0x85, 0x07], Destination::Target),
    ("bt [rdi], ecx", &[0x0f, 0xa3, 0x0f], Destination::Target),
    ("bts dword [rdi], 5", &[0x0f, 0xba, 0x2f, 5], Destination::Target),
    ("lock btc [rdi], ecx", &[0xf0, 0x0f, 0xbb, 0x0f], Destination::Target),
    ("xchg [rdi], eax", &[0x87, 0x07], Destination::Target),
    ("cmpxchg [rdi], ebx", &[0x0f, 0xb1, 0x1f], Destination::Target),
    ("lock xadd [rdi], rax", &[0xf0, 0x48, 0x0f, 0xc1, 0x07], Destination::Target),
    ("cmpxchg8b [rdi]", &[0x0f, 0xc7, 0x0f], Destination::Target),
    ("cmpxchg16b [rdi]", &[0x48, 0x0f, 0xc7, 0x0f], Destination::Target),
    ("not qword [rdi]", &[0x48, 0xf7, 0x17], Destination::Target),
    ("neg byte [rdi]", &[0xf6, 0x1f], Destination::Target),
    ("adc word [rdi], ax", &[0x66, 0x11, 0x07], Destination::Target),
    ("shl dword [rdi], cl", &[0xd3, 0x27], Destination::Target),
    ("shld [rdi], rax, 9", &[0x48, 0x0f, 0xa4, 0x07, 9], Destination::Target),
    ("imul eax, [rdi]", &[0x0f, 0xaf, 0x07], Destination::Target),
    ("mul byte [rdi]", &[0xf6, 0x27], Destination::Target),
    ("movzx eax, byte [rdi+1]", &[0x0f, 0xb6, 0x47, 1], Destination::Target),
    ("movnti [rdi], rax", &[0x48, 0x0f, 0xc3, 0x07], Destination::Target),
    ("movbe eax, [rdi]", &[0x0f, 0x38, 0xf0, 0x07], Destination::Target),
    ("setc [rdi]", &[0x0f, 0x92, 0x07], Destination::Target),
    ("cmovz eax, [rdi]", &[0x0f, 0x44, 0x07], Destination::Target),
    ("crc32 eax, dword [rdi]", &[0xf2, 0x0f, 0x38, 0xf1, 0x07], Destination::Target),
    ("rep movsb, from", &[0xf3, 0xa4], Destination::Source),
    ("rep movsb, to", &[0xf3, 0xa4], Destination::Target),
    ("rep movsq, from", &[0xf3, 0x48, 0xa5], Destination::Source),
    ("rep movsq, to", &[0xf3, 0x48, 0xa5], Destination::Target),
    ("rep stosd", &[0xf3, 0xab], Destination::Target),
    ("rep stosb", &[0xf3, 0xaa], Destination::Target),
    ("lodsq", &[0x48, 0xad], Destination::Source),
    ("repe cmpsb", &[0xf3, 0xa6], Destination::Target),
    ("repne scasd", &[0xf2, 0xaf], Destination::Target),
    ("movsw", &[0x66, 0xa5], Destination::Target),
    ("push qword [rdi]", &[0xff, 0x37], Destination::Target),
    ("pop qword [rdi]", &[0x8f, 0x07], Destination::Target),
    ("push rax; pop rbx", &[0x50, 0x5b], Destination::Stack),
    ("pushf; popf", &[0x9c, 0x9d], Destination::Stack),
    ("enter 16, 0; leave", &[0xc8, 16, 0, 0, 0xc9], Destination::Stack),
    ("enter 16, 2", &[0xc8, 16, 0, 2], Destination::Stack),
    ("call +0", &[0xe8, 0, 0, 0, 0], Destination::Stack),
    ("call +1; nop; ret", &[0xe8, 1, 0, 0, 0, 0x90, 0x58], Destination::Stack),
    ("clflush [rdi]", &[0x0f, 0xae, 0x3f], Destination::Target),
    ("prefetcht0 [rdi]", &[0x0f, 0x18, 0x0f], Destination::Target),
    ("movups xmm0, [rdi+3]", &[0x0f, 0x10, 0x47, 3], Destination::Target),
    ("movaps [rdi], xmm1", &[0x0f, 0x29, 0x0f], Destination::Target),
    ("vmovdqu ymm2, [rdi]", &[0xc5, 0xfe, 0x6f, 0x17], Destination::Target),
    ("vmovups [rdi], ymm1", &[0xc5, 0xfc, 0x11, 0x0f], Destination::Target),
    ("movntdq [rdi], xmm0", &[0x66, 0x0f, 0xe7, 0x07], Destination::Target),
    ("paddb xmm1, [rdi]", &[0x66, 0x0f, 0xfc, 0x0f], Destination::Target),
    ("pinsrb xmm0, [rdi], 3", &[0x66, 0x0f, 0x3a, 0x20, 0x07, 3], Destination::Target),
    ("movhps [rdi], xmm0", &[0x0f, 0x17, 0x07], Destination::Target),
    ("maskmovdqu xmm0, xmm1", &[0x66, 0x0f, 0xf7, 0xc1], Destination::Target),
    ("vmaskmovps [rdi], ymm0, ymm1", &[0xc4, 0xe2, 0x7d, 0x2e, 0x0f], Destination::Target),
    (
        "vpgatherdd xmm0, [rdi+xmm2], xmm1",
        &[0xc5, 0xe9, 0xef, 0xd2, 0xc4, 0xe2, 0x71, 0x90, 0x04, 0x17],
        Destination::Target,
    ),
    ("movq mm0, [rdi]; movq [rdi+8], mm0", &[0x0f, 0x6f, 0x07, 0x0f, 0x7f, 0x47, 8], Destination::Target),
    ("fild qword [rdi]; fistp qword [rdi+8]", &[0xdf, 0x2f, 0xdf, 0x7f, 8], Destination::Target),
    ("fld1; fstp tbyte [rdi]", &[0xd9, 0xe8, 0xdb, 0x3f], Destination::Target),
    ("fnstenv [rdi]", &[0xd9, 0x37], Destination::Target),
    ("fnsave [rdi]; frstor [rdi]", &[0xdd, 0x37, 0xdd, 0x27], Destination::Target),
    ("stmxcsr [rdi]", &[0x0f, 0xae, 0x1f], Destination::Target),
    ("sgdt [rdi]", &[0x0f, 0x01, 0x07], Destination::Target),
    ("mov [rdi], ds", &[0x8c, 0x1f], Destination::Target),
    ("xlat", &[0x48, 0x89, 0xfb, 0xd7], Destination::Target),
    (
        "jmp by rdi, which leads back",
        &[0x48, 0x8d, 0x05, 5, 0, 0, 0, 0x48, 0x89, 0x07, 0xff, 0x27],
        Destination::Target,
    ),
    ("fxsave [rdi]", &[0x0f, 0xae, 0x07], Destination::Target),
    ("movups across the page's end", &[0x0f, 0x11, 0x87, 0xf4, 0x0b, 0, 0], Destination::Target),
];

/// With the image of a state in the page: EDX:EAX = 7.
const STATES: &[(&str, &[u8])] = &[
    ("fxrstor [rdi]", &[0x0f, 0xae, 0x0f]),
    ("xrstor [rdi]", &[0x31, 0xd2, 0xb8, 7, 0, 0, 0, 0x0f, 0xae, 0x2f]),
    ("xsave [rdi]", &[0x31, 0xd2, 0xb8, 7, 0, 0, 0, 0x0f, 0xae, 0x27]),
    ("xsavec [rdi]", &[0x31, 0xd2, 0xb8, 7, 0, 0, 0, 0x48, 0x0f, 0xc7, 0x27]),
    ("ldmxcsr [rdi+24]", &[0x0f, 0xae, 0x57, 24]),
];

fn differs(memory: &Left, device: &Left) -> Option<String> {
    let at = |a: &[u8], b: &[u8]| a.iter().zip(b).position(|(a, b)| a != b);
    if memory.vector != Some(6) || device.vector != Some(6) {
        return Some(format!("ends with {:?} on memory, {:?} on a device", memory.vector, device.vector));
    }
    if memory.gpr != device.gpr || memory.flags != device.flags {
        return Some(format!(
            "{:x?} {:x} and {:x?} {:x}",
            memory.gpr, memory.flags, device.gpr, device.flags
        ));
    }
    let parts = [
        ("vector state", at(&memory.vectors, &device.vectors)),
        ("the page", at(&memory.tested, &device.tested)),
        ("the other page", at(&memory.other, &device.other)),
    ];
    parts.into_iter().find_map(|(what, at)| at.map(|at| format!("{what} at {at:#x}")))
}

fn compare(code: &[u8], place: Destination, with_image: bool) -> Option<String> {
    // A board each: the page is mapped anew.
    let new = || {
        let mut board = Board::new(&[]).expect("a board");
        board.map(CODE, CODE_AT, PRESENT | WRITE);
        board.map(OTHER, OTHER_AT, PRESENT | WRITE);
        board.map(TESTED + 0x1000, OTHER_AT, PRESENT | WRITE);
        board
    };
    let memory = run(&mut new(), code, place, false, with_image);
    let device = run(&mut new(), code, place, true, with_image);
    differs(&memory, &device)
}

#[test]
fn every_kind_of_instruction_does_to_a_device_what_it_does_to_memory() {
    let plain = INSTRUCTIONS.iter().map(|&(name, code, place)| (name, compare(code, place, false)));
    let states = STATES.iter().map(|&(name, code)| (name, compare(code, Destination::Target, true)));
    let wrong: Vec<_> = plain.chain(states).filter_map(|(name, found)| Some((name, found?))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
