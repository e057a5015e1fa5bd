//! Routines on a processor without paging: an instruction is bytes, its effect is registers and memory.

mod bcd;
mod control;
mod evex;
mod port;
mod single_copy;
mod strings;
mod vectors;

use crate::construct::CpuSpec;
use crate::cpu::Privilege;
use crate::{Cpu, Fault, Next};
use iced_x86::{Decoder, DecoderOptions};
use ireko_x86::Segment;
use ireko_x86::bits::{cr0, cr4, efer};
use ireko_x86::regs::seg;

/// Bytes of memory; everything above is MMIO.
const MEMORY: u64 = 0x20_0000;

/// Flat protected mode with 32-bit code at CPL 0, SSE and AVX enabled, stack pointer at 8000h.
fn flat32() -> Cpu {
    let spec = CpuSpec::uniprocessor(&[(0, MEMORY)]).unwrap();
    let mut cpu = Cpu::new(&spec).unwrap();
    cpu.processor.regs.cr0 = cr0::PE | cr0::NE;
    cpu.processor.regs.cr4 = cr4::OSFXSR | cr4::OSXSAVE;
    cpu.processor.regs.xcr0 = 7;
    let data = Segment { base: 0, limit: u32::MAX, attr: 0xc93, selector: 0x10 };
    cpu.processor.regs.seg = [data; 6];
    cpu.processor.regs.seg[seg::CS] = Segment { attr: 0xc9b, selector: 8, ..data };
    cpu.processor.regs.rip = 0x1000;
    cpu.processor.regs.gpr[4] = 0x8000;
    cpu
}

/// The same in 64-bit mode (with paging off, which the routines do not mind).
fn flat64() -> Cpu {
    let mut cpu = flat32();
    cpu.processor.regs.efer = efer::LME | efer::LMA;
    cpu.processor.regs.seg[seg::CS].attr = 0xa9b;
    cpu
}

/// Real mode with all segments at 0.
fn real() -> Cpu {
    let mut cpu = flat32();
    cpu.processor.regs.cr0 = 0;
    cpu.processor.regs.seg = [Segment { base: 0, limit: 0xffff, attr: 0x93, selector: 0 }; 6];
    cpu.processor.regs.seg[seg::CS].attr = 0x9b;
    cpu
}

/// Does the instruction once.
fn step(cpu: &mut Cpu, bytes: &[u8]) -> Result<Next, Fault> {
    let bits = match (cpu.processor.regs.code64(), cpu.processor.regs.seg[seg::CS].big()) {
        (true, _) => 64,
        (_, true) => 32,
        _ => 16,
    };
    let insn = Decoder::with_ip(bits, bytes, cpu.processor.regs.rip, DecoderOptions::AMD).decode();
    let routine =
        crate::routines::routine(insn.code()).unwrap_or_else(|| panic!("no routine for {:?}", insn.code()));
    routine(cpu, &insn)
}

/// Repeats the instruction until it lets execution go on.
fn finish(cpu: &mut Cpu, bytes: &[u8]) -> usize {
    let rip = cpu.processor.regs.rip;
    (1..1000).find(|_| step(cpu, bytes) != Ok(Next::Jump) || cpu.processor.regs.rip != rip).unwrap()
}

fn poke(cpu: &mut Cpu, address: u64, bytes: &[u8]) {
    cpu.write_linear(address, bytes, Privilege::System).unwrap();
}

fn peek(cpu: &mut Cpu, address: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    cpu.read_linear(address, &mut bytes, Privilege::System).unwrap();
    bytes
}

fn quad(cpu: &mut Cpu, address: u64) -> u64 {
    cpu.load(address, 8, Privilege::System).unwrap()
}
