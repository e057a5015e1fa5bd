//! A processor on a bench: small descriptor tables and page tables in memory, and single instructions run by their
//! routines. For tests.

use crate::construct::CpuSpec;
use crate::{Cpu, Fault, Next};
use iced_x86::{Decoder, DecoderOptions, Instruction};
use ireko_nested::{Control, Intercept, InterceptSet};
use ireko_x86::bits::{cr0, cr4, efer};
use ireko_x86::descriptor::segment;
use ireko_x86::regs::{gpr, seg};
use ireko_x86::{Registers, Segment};

pub const GDT: u64 = 0x1000;
pub const IDT: u64 = 0x2000;
pub const TSS: u64 = 0x3000;
pub const CODE: u64 = 0x4000;
/// Where the current stack ends, the inner one, and an interrupt stack.
pub const STACK: u64 = 0x8000;
pub const INNER: u64 = 0x9000;
pub const IST: u64 = 0xa000;
/// Where handlers are.
pub const HANDLER: u64 = 0x5000;
const TABLES: u64 = 0x10000;

/// Selectors: code and data of levels 0 and 3, the TSS, 16-bit code and data, a call gate.
pub const KERNEL_CODE: u16 = 0x08;
pub const KERNEL_DATA: u16 = 0x10;
pub const USER_CODE: u16 = 0x1b;
pub const USER_DATA: u16 = 0x23;
pub const TASK: u16 = 0x28;
pub const COMPAT_CODE: u16 = 0x3b;
pub const CODE16: u16 = 0x40;
pub const GATE: u16 = 0x50;
pub const CONFORMING: u16 = 0x60;

const CODE32: u64 = 0x00cf_9b00_0000_ffff;
const CODE64: u64 = 0x00af_9b00_0000_ffff;
const DATA32: u64 = 0x00cf_9300_0000_ffff;
const LEVEL3: u64 = 3 << 45;

fn cpu() -> Cpu {
    let spec = CpuSpec::uniprocessor(&[(0, 0x10_0000)]).expect("memory");
    Cpu::new(&spec).expect("a processor")
}

pub fn write(cpu: &mut Cpu, address: u64, bytes: &[u8]) {
    cpu.write_physical(address, bytes);
}

pub fn write64(cpu: &mut Cpu, address: u64, value: u64) {
    write(cpu, address, &value.to_le_bytes());
}

fn read<const SIZE: usize>(cpu: &mut Cpu, address: u64) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    cpu.read_physical(address, &mut bytes);
    bytes
}

pub fn read64(cpu: &mut Cpu, address: u64) -> u64 {
    u64::from_le_bytes(read(cpu, address))
}

pub fn read32(cpu: &mut Cpu, address: u64) -> u32 {
    u32::from_le_bytes(read(cpu, address))
}

pub fn read16(cpu: &mut Cpu, address: u64) -> u16 {
    u16::from_le_bytes(read(cpu, address))
}

fn tables(cpu: &mut Cpu, code: u64) {
    let tss = 0x67 | (TSS & 0xffff) << 16 | 0x8900 << 32;
    let gdt = [
        0,
        code,
        DATA32,
        code | LEVEL3,
        DATA32 | LEVEL3,
        tss,
        0,
        CODE32 | LEVEL3,
        0x9b00_0000_ffff,
        0x9300_0000_ffff,
    ];
    for (n, descriptor) in gdt.into_iter().enumerate() {
        write64(cpu, GDT + 8 * n as u64, descriptor);
    }
    write64(cpu, GDT + u64::from(CONFORMING), code | 4 << 40);
    cpu.processor.regs.gdtr.base = GDT;
    cpu.processor.regs.gdtr.limit = 0x7f;
    cpu.processor.regs.idtr.base = IDT;
    cpu.processor.regs.idtr.limit = 0xfff;
    cpu.processor.regs.tr = Segment { base: TSS, limit: 0x67, attr: 0x8b, selector: TASK };
    cpu.processor.regs.gpr[gpr::RSP] = STACK;
    cpu.processor.regs.rip = CODE;
    set_level(cpu, 0);
}

/// Runs at privilege level 0 or 3 from here on.
pub fn set_level(cpu: &mut Cpu, cpl: u8) {
    let (code, data) = if cpl == 0 { (KERNEL_CODE, KERNEL_DATA) } else { (USER_CODE, USER_DATA) };
    let load = |cpu: &mut Cpu, selector: u16| segment(selector, read64(cpu, GDT + u64::from(selector & !7)));
    cpu.processor.regs.seg[seg::CS] = load(cpu, code);
    for index in [seg::SS, seg::DS, seg::ES] {
        cpu.processor.regs.seg[index] = load(cpu, data);
    }
    cpu.processor.regs.cpl = cpl;
}

/// 64-bit code, the first MiB mapped to itself for everybody.
pub fn long() -> Cpu {
    long_on(cpu())
}

/// The same with memory in a file.
pub fn long_in_file() -> Cpu {
    let memory = ireko_vmcore::Memory::made(&[(0, 0x10_0000)], None, 0, true).expect("memory");
    let spec = CpuSpec::uniprocessor(&[(0, 0x10_0000)]).expect("memory");
    long_on(Cpu::new(&CpuSpec { memory: memory.into(), ..spec }).expect("a processor"))
}

fn long_on(mut cpu: Cpu) -> Cpu {
    const TABLE: u64 = 7;
    write64(&mut cpu, TABLES, (TABLES + 0x1000) | TABLE);
    write64(&mut cpu, TABLES + 0x1000, (TABLES + 0x2000) | TABLE);
    write64(&mut cpu, TABLES + 0x2000, 0x80 | TABLE);
    cpu.processor.regs.cr3 = TABLES;
    cpu.processor.regs.cr4 = cr4::PAE;
    cpu.processor.regs.cr0 = cr0::PG | cr0::PE | cr0::ET | cr0::WP;
    cpu.processor.regs.efer = efer::LME | efer::LMA | efer::SCE;
    cpu.flush_tlb(false);
    tables(&mut cpu, CODE64);
    write64(&mut cpu, TSS + 4, INNER);
    write64(&mut cpu, TSS + 0x24, IST);
    for vector in 0..=255 {
        long_gate(&mut cpu, vector, 0x8e00);
    }
    cpu
}

/// An interrupt gate to `HANDLER` + 16 * vector. `rights` are descriptor bits 47:32, the IST among them.
pub fn long_gate(cpu: &mut Cpu, vector: u8, rights: u64) {
    let handler = HANDLER + 16 * u64::from(vector);
    let low = handler & 0xffff | u64::from(KERNEL_CODE) << 16 | rights << 32;
    write64(cpu, IDT + 16 * u64::from(vector), low);
    write64(cpu, IDT + 16 * u64::from(vector) + 8, 0);
}

/// 32-bit protected mode without paging.
pub fn protected() -> Cpu {
    let mut cpu = cpu();
    cpu.processor.regs.cr0 = cr0::PE | cr0::ET;
    tables(&mut cpu, CODE32);
    write64(&mut cpu, TSS + 4, INNER | u64::from(KERNEL_DATA) << 32);
    for vector in 0..=255 {
        gate(&mut cpu, vector, 0x8e00);
    }
    cpu
}

pub fn gate(cpu: &mut Cpu, vector: u8, rights: u64) {
    let handler = HANDLER + 16 * u64::from(vector);
    let low = handler & 0xffff | u64::from(KERNEL_CODE) << 16 | rights << 32;
    write64(cpu, IDT + 8 * u64::from(vector), low);
}

/// Real mode at 0400:0000, with the stack at 0800:0000 and vectors that point to 0500:16n.
pub fn real() -> Cpu {
    let mut cpu = cpu();
    cpu.processor.regs = Registers { rip: 0, ..Registers::reset() };
    cpu.processor.regs.seg[seg::CS].base = CODE;
    cpu.processor.regs.seg[seg::CS].selector = 0x400;
    cpu.processor.regs.seg[seg::SS].base = 0x8000;
    cpu.processor.regs.seg[seg::SS].selector = 0x800;
    cpu.processor.regs.gpr[gpr::RSP] = 0x100;
    for vector in 0..=255u64 {
        write(&mut cpu, vector * 4, &(0x500_0000 | (vector as u32 * 16)).to_le_bytes());
    }
    cpu
}

/// Puts the processor into a guest with these intercepts.
pub fn guest(cpu: &mut Cpu, intercepts: &[Intercept]) {
    let set = intercepts.iter().fold(InterceptSet::default(), |set, &what| set.with(what));
    let control = Control { intercepts: set, ..Control::default() };
    cpu.processor.world = crate::cpu::World::Guest(control);
    cpu.world_switched();
}

/// The instruction of these bytes at the current place.
pub fn decode(cpu: &Cpu, bytes: &[u8]) -> Instruction {
    let bits = match (cpu.processor.regs.code64(), cpu.processor.regs.seg[seg::CS].big()) {
        (true, _) => 64,
        (_, true) => 32,
        _ => 16,
    };
    Decoder::with_ip(bits, bytes, cpu.processor.regs.rip, DecoderOptions::AMD).decode()
}

/// Runs one instruction by its routine, as the run loop would.
pub fn run(cpu: &mut Cpu, bytes: &[u8]) -> Result<Next, Fault> {
    let insn = decode(cpu, bytes);
    assert_eq!(insn.len(), bytes.len(), "{bytes:x?} is not one instruction");
    let routine = crate::routines::routine(insn.code()).expect("a routine");
    let next = routine(cpu, &insn)?;
    if next != Next::Jump {
        cpu.processor.regs.rip = cpu.following(&insn);
    }
    Ok(next)
}
