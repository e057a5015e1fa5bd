//! A kernel that does what no kernel should: thousands of small pieces of ring-0 code with wild operands, one after the other,
//! and a handler for every exception that goes on with the next piece.

use crate::rng::Rng;
use ireko_x86::vmcb::{control, save};

/// Where everything lies, physical and (before the pieces change it) linear.
const LOAD: u32 = 0x10_0000;
const PML4: u32 = LOAD + 0x1000;
const GDT: u32 = LOAD + 0x7000;
/// Operands of LGDT and LIDT.
const GDTR: u32 = LOAD + 0x7800;
const IDTR: u32 = LOAD + 0x7810;
const IDT: u32 = LOAD + 0x8000;
const TSS: u32 = LOAD + 0x9000;
const HANDLER: u32 = LOAD + 0xa000;
const COUNTER: u32 = LOAD + 0xb000;
const VMCBS: u32 = LOAD + 0xc000;
const MAPS: u32 = LOAD + 0x14000;
const RINGS: u32 = LOAD + 0x18000;
const PIECES: u32 = LOAD + 0x20000;
const PIECE: u32 = 64;
const COUNT: u32 = 4096;
const END: u32 = PIECES + COUNT * PIECE;
const STACK: u32 = 0x1f_0000;
const HANDLER_STACK: u32 = 0x1e_0000;

const CR0: u32 = 0x8000_0033;
const CR4: u32 = 0x6a0;
/// SCE, LME, NXE, SVME.
const EFER: u32 = 0x1901;

struct Image(Vec<u8>);

impl Image {
    fn put(&mut self, at: u32, bytes: &[u8]) {
        let at = (at - LOAD) as usize;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fn word(&mut self, at: u32, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}

/// The whole kernel file of a seed.
pub fn kernel(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut image = Image(vec![0; (END - LOAD) as usize]);
    start(&mut image);
    tables(&mut image);
    handler(&mut image);
    for n in 0..8 {
        let block = vmcb(&mut rng);
        image.put(VMCBS + n * 4096, &block);
    }
    rings(&mut image, &mut rng);
    for n in 0..COUNT {
        let piece = piece(&mut rng);
        image.put(PIECES + n * PIECE, &piece);
    }
    image.0
}

fn start(image: &mut Image) {
    const MAGIC: u32 = 0x1bad_b002;
    const HAS_ADDRESSES: u32 = 1 << 16;
    let sum = 0u32.wrapping_sub(MAGIC).wrapping_sub(HAS_ADDRESSES);
    let header = [MAGIC, HAS_ADDRESSES, sum, LOAD, LOAD, END, END, LOAD + 32];
    let mut code: Vec<u8> = header.iter().flat_map(|field| field.to_le_bytes()).collect();
    let long = LOAD + 0x100;
    let with = |opcode: &[u8], value: u32| [opcode, &value.to_le_bytes()].concat();
    // mov eax, …; mov cr4, eax; mov cr3, eax; EFER; mov cr0, eax; lgdt; a far jump to 64-bit code.
    code.extend(with(&[0xfa, 0xb8], CR4));
    code.extend([0x0f, 0x22, 0xe0]);
    code.extend(with(&[0xb8], PML4));
    code.extend([0x0f, 0x22, 0xd8]);
    code.extend(with(&[0xb9], 0xc000_0080));
    code.extend(with(&[0x31, 0xd2, 0xb8], EFER));
    code.extend(with(&[0x0f, 0x30, 0xb8], CR0));
    code.extend([0x0f, 0x22, 0xc0]);
    code.extend(with(&[0x0f, 0x01, 0x15], GDTR));
    code.extend(with(&[0xea], long));
    code.extend([0x10, 0]);
    image.put(LOAD, &code);
    // lidt; mov eax, 18h; mov ss, eax; mov ds, eax; mov es, eax; mov eax, 28h; ltr ax; mov esp; to the handler.
    let mut code = with(&[0x0f, 0x01, 0x1c, 0x25], IDTR);
    code.extend(with(&[0xb8], 0x18));
    code.extend([0x8e, 0xd0, 0x8e, 0xd8, 0x8e, 0xc0]);
    code.extend(with(&[0xb8], 0x28));
    code.extend([0x0f, 0x00, 0xd8]);
    code.extend(with(&[0xbc], STACK));
    code.extend(with(&[0xb8], HANDLER));
    code.extend([0xff, 0xe0]);
    image.put(long, &code);
}

/// 4 GiB one to one, in pages of 2 MiB; segments; every vector to the handler, on a stack of its own.
fn tables(image: &mut Image) {
    image.word(PML4, u64::from(PML4 + 0x1000) | 7);
    for n in 0..4 {
        image.word(PML4 + 0x1000 + 8 * n, u64::from(PML4 + 0x2000 + 0x1000 * n) | 7);
    }
    for n in 0..2048 {
        image.word(PML4 + 0x2000 + 8 * n, u64::from(n) << 21 | 0x87);
    }
    let task = u64::from(TSS);
    let low = 0x67 | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24) << 56;
    for (n, raw) in [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, low, 0].into_iter().enumerate() {
        image.word(GDT + 8 * n as u32, raw);
    }
    image.put(GDTR, &[0x37, 0]);
    image.word(GDTR + 2, GDT.into());
    image.put(IDTR, &[0xff, 0x0f]);
    image.word(IDTR + 2, IDT.into());
    let to = u64::from(HANDLER);
    for n in 0..256 {
        image
            .word(IDT + 16 * n, to & 0xffff | 0x10 << 16 | 1 << 32 | 0xee00 << 32 | (to & 0xffff_0000) << 32);
    }
    image.word(TSS + 4, STACK.into());
    image.word(TSS + 0x24, HANDLER_STACK.into());
}

/// Puts page tables and descriptor tables right again, and goes on with a piece that the counter chooses.
fn handler(image: &mut Image) {
    let with = |opcode: &[u8], value: u32| [opcode, &value.to_le_bytes()].concat();
    let mut code = with(&[0xb8], PML4);
    code.extend([0x0f, 0x22, 0xd8]);
    code.extend(with(&[0x0f, 0x01, 0x1c, 0x25], IDTR));
    code.extend(with(&[0x0f, 0x01, 0x14, 0x25], GDTR));
    code.extend(with(&[0xbc], STACK));
    code.extend(with(&[0xf0, 0xff, 0x04, 0x25], COUNTER));
    code.extend(with(&[0x8b, 0x04, 0x25], COUNTER));
    // imul eax, eax, …; shr eax, 20; shl eax, 6; add eax, PIECES; jmp rax
    code.extend(with(&[0x69, 0xc0], 0x9e37_79b1));
    code.extend([0xc1, 0xe8, 20, 0xc1, 0xe0, 6]);
    code.extend(with(&[0x05], PIECES));
    code.extend([0xff, 0xe0]);
    image.put(HANDLER, &code);
}

/// A VMCB whose guest is this kernel itself, with some bytes wrong.
fn vmcb(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let mut put = |at: usize, value: u64, size: usize| {
        bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size])
    };
    put(control::CR_INTERCEPTS, rng.next() & rng.next(), 8);
    put(control::EXCEPTION_INTERCEPTS, rng.next() & rng.next(), 8);
    put(control::INTERCEPTS_4, 1 | rng.next() & 0xffff, 4);
    put(control::IOPM_BASE, MAPS.into(), 8);
    put(control::MSRPM_BASE, MAPS.into(), 8);
    put(control::ASID, 1 + rng.next() % 3, 4);
    put(control::TLB_CONTROL, rng.pick(&[0, 1, 3, 7]), 1);
    put(control::NESTED, rng.next() & 1, 8);
    put(control::N_CR3, PML4.into(), 8);
    for (field, selector, attr) in [
        (save::CS, 0x10u64, 0xa9bu64),
        (save::SS, 0x18, 0xc93),
        (save::DS, 0x18, 0xc93),
        (save::ES, 0x18, 0xc93),
        (save::TR, 0x28, 0x8b),
    ] {
        put(field, selector | attr << 16 | 0xffff_ffff << 32, 8);
    }
    put(save::TR + 8, TSS.into(), 8);
    put(save::GDTR + 4, 0x37, 4);
    put(save::GDTR + 8, GDT.into(), 8);
    put(save::IDTR + 4, 0xfff, 4);
    put(save::IDTR + 8, IDT.into(), 8);
    put(save::EFER, u64::from(EFER) | 0x400, 8);
    put(save::CR4, CR4.into(), 8);
    put(save::CR3, PML4.into(), 8);
    put(save::CR0, CR0.into(), 8);
    put(save::DR7, 0x400, 8);
    put(save::DR6, 0xffff_0ff0, 8);
    put(save::RFLAGS, 2, 8);
    put(save::RIP, HANDLER.into(), 8);
    put(save::RSP, STACK.into(), 8);
    put(save::G_PAT, 0x0007_0406_0007_0406, 8);
    for _ in 0..rng.pick(&[0, 0, 1, 3]) {
        let at = rng.below(0x680);
        bytes[at] = rng.next() as u8;
    }
    bytes
}

/// Descriptors that lead to themselves, to each other and out of memory; rings whose indices run ahead.
fn rings(image: &mut Image, rng: &mut Rng) {
    for n in 0..256u32 {
        let address =
            rng.pick(&[u64::from(RINGS), 0, 0xfee0_0000, 0xffff_ffff_ffff_f000, 0x3ff_fff0, 0x20_0000]);
        image.word(RINGS + 16 * n, address);
        let length = rng.pick(&[16u64, 0, 0xffff_ffff, 0x1000, 0x20_0000]);
        let next = rng.pick(&[n, n + 1, 0, 0xffff]) & 0xffff;
        image.word(RINGS + 16 * n + 8, length | (rng.next() % 8) << 32 | u64::from(next) << 48);
    }
    for at in (RINGS + 0x1000..RINGS + 0x3000).step_by(8) {
        image.word(at, rng.next() & rng.pick(&[0xff, 0x00ff_00ff_00ff_00ff, u64::MAX]));
    }
}

/// An address that hurts: tables, rings, devices, nothing.
fn address(rng: &mut Rng) -> u64 {
    match rng.below(10) {
        0..2 => 0x20_0000 + rng.next() % 0x3e0_0000,
        2 => u64::from(PML4) + 8 * (rng.next() % 0xc00),
        3 => 0xfee0_0000 + (rng.next() & 0x3f0),
        4 => 0xfec0_0000 + (rng.next() & 0x50),
        5 => {
            0xc000_0000
                + (rng.next() % 0x10) * 0x8000
                + rng.pick(&[0, 0, 0x1000, 0x2000, 0x3000])
                + rng.next() % 0x40
        }
        6 => 0xe000_0000 + ((rng.next() % 8) << 15) + rng.next() % 0x100,
        7 => u64::from(rng.pick(&[RINGS, VMCBS, MAPS])) + rng.next() % 0x1000,
        8 => rng.next() % 0x10_0000,
        _ => rng.value(),
    }
}

/// One piece; a jump to the handler ends it.
fn piece(rng: &mut Rng) -> Vec<u8> {
    let mut code = Vec::new();
    for _ in 0..6 {
        let more = operation(rng);
        if code.len() + more.len() + 7 <= PIECE as usize {
            code.extend(more);
        }
    }
    code.push(0xb8);
    code.extend(HANDLER.to_le_bytes());
    code.extend([0xff, 0xe0]);
    code.resize(PIECE as usize, 0x90);
    code
}

fn load(register: u8, value: u64) -> Vec<u8> {
    [&[0x48, 0xb8 + register][..], &value.to_le_bytes()].concat()
}

fn load32(register: u8, value: u32) -> Vec<u8> {
    [&[0xb8 + register][..], &value.to_le_bytes()].concat()
}

fn operation(rng: &mut Rng) -> Vec<u8> {
    const MSRS: [u32; 14] = [
        0xc000_0080,
        0x1b,
        0x277,
        0xc000_0100,
        0xc000_0101,
        0xc001_0117,
        0xc001_0114,
        0x6e0,
        0x830,
        0x200,
        0x174,
        0xc000_0081,
        0xc000_0082,
        0x10,
    ];
    const PORTS: [u32; 12] = [0x20, 0x21, 0x40, 0x43, 0x60, 0x64, 0x70, 0x3f8, 0x3f9, 0xcf8, 0xcfc, 0x600];
    let place = address(rng);
    let value = if rng.percent(50) { address(rng) } else { rng.value() };
    let byte = rng.next() as u8;
    match rng.below(16) {
        // mov [rax], ecx and mov ecx, [rax], and of 8 bytes
        0..3 => [
            load(0, place),
            rng.pick(&[[0x89, 0x08, 0x90], [0x8b, 0x08, 0x90], [0x48, 0x89, 0x08], [0x48, 0x8b, 0x08]])
                .to_vec(),
        ]
        .concat(),
        3 => [load(0, value), vec![0x0f, 0x22, rng.pick(&[0xc0, 0xd0, 0xd8, 0xe0])]].concat(),
        4 => [
            load32(1, rng.pick(&MSRS)),
            load32(0, value as u32),
            load32(2, (value >> 32) as u32),
            vec![0x0f, 0x30],
        ]
        .concat(),
        5 => [load32(1, rng.pick(&MSRS)), vec![0x0f, 0x32]].concat(),
        // vmrun and its like, mostly of a block that may be one
        6 | 7 => {
            let block = if rng.percent(85) { u64::from(VMCBS) + 4096 * (rng.next() % 8) } else { value };
            [
                load(0, block),
                vec![0x0f, 0x01, rng.pick(&[0xd8, 0xd8, 0xd8, 0xda, 0xdb, 0xdc, 0xdd, 0xdf, 0xd9])],
            ]
            .concat()
        }
        8 => [
            load32(2, rng.pick(&PORTS) + u32::from(byte & 3)),
            load32(0, value as u32),
            vec![rng.pick(&[0xec, 0xed, 0xee, 0xef])],
        ]
        .concat(),
        // A write to PCI configuration space: BARs over memory and APIC.
        9 => {
            let register =
                0x8000_0000 | u32::from(byte & 7) << 11 | rng.pick(&[4, 0x10, 0x14, 0x18, 0x20, 0x24, 0x34]);
            let target =
                rng.pick(&[0, 0x10_0000, 0xfee0_0000, 0xfec0_0000, 0xe000_0000, 0xffff_ffff, 0xc000_0004, 7]);
            [
                load32(2, 0xcf8),
                load32(0, register),
                vec![0xef],
                load32(2, 0xcfc),
                load32(0, target),
                vec![0xef],
            ]
            .concat()
        }
        // Page-table entries: recursive, of anything; then invlpg [rax]
        10 => {
            let any = rng.next();
            let entry = rng.pick(&[u64::from(PML4) | 7, value, any, 0x87, place | 0x67]);
            let at = PML4 + 8 * (rng.next() % 0xc00) as u32;
            [
                load(0, entry),
                [&[0x48, 0x89, 0x04, 0x25][..], &at.to_le_bytes()].concat(),
                vec![0x0f, 0x01, 0x38],
            ]
            .concat()
        }
        11 => (0..1 + rng.below(15)).map(|_| rng.next() as u8).collect(),
        // lgdt, lidt of [rax]; lldt, ltr; mov to a segment; int n
        12 => [
            load(0, place),
            rng.pick(&[
                [0x0f, 0x01, 0x10],
                [0x0f, 0x01, 0x18],
                [0x0f, 0x00, 0xd0],
                [0x0f, 0x00, 0xd8],
                [0x8e, 0xd8, 0x90],
                [0xcd, byte, 0x90],
            ])
            .to_vec(),
        ]
        .concat(),
        // A register of a virtio device: features, status, queues that lie in the rings; then the doorbell.
        13 => {
            let device = 0xc000_0000 + u64::from(byte & 7) * 0x8000;
            let register =
                rng.pick(&[0x08u64, 0x0c, 0x14, 0x16, 0x18, 0x1c, 0x20, 0x28, 0x30, 0x3000, 0x3004]);
            let word = rng.pick(&[RINGS, RINGS + 0x1000, RINGS + 0x2000, 0, 1, 11, 15, 256, u32::MAX]);
            [load(0, device + register), [&[0xc7, 0x00][..], &word.to_le_bytes()].concat()].concat()
        }
        // sti; hlt, or rep stos/movs over something
        14 if byte & 1 == 0 => vec![0xfb, 0xf4],
        14 => [
            load(7, place),
            load32(1, value as u32 & 0xffff),
            vec![0xf3, rng.pick(&[0xaa, 0xab, 0xa4, 0x6c])],
        ]
        .concat(),
        // An IPI.
        _ => [load(0, 0xfee0_0300), [&[0xc7, 0x00][..], &(value as u32).to_le_bytes()].concat()].concat(),
    }
}
