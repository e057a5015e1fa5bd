//! Slow accesses with a mask register: what is masked off is neither read nor written, and does not fault. No host needs
//! AVX-512 for it.

use super::*;
use crate::construct::CpuSpec;
use crate::data::vector as registers;
use iced_x86::{Decoder, DecoderOptions};
use ireko_x86::Segment;
use ireko_x86::bits::{cr0, cr4, efer, rflags};

/// Everything above is device registers.
const MEMORY: u64 = 0x20_0000;
/// Half of an operand here is memory.
const EDGE: u64 = MEMORY - 32;
/// An operand here ends beyond the canonical addresses.
const LAST: u64 = 0x7fff_ffff_ffe0;

/// VMOVUPS ZMM0 {K1}, [RAX]; its store; VCOMPRESSPS [RAX] {K1}, ZMM0; VADDPS ZMM0 {K1}, ZMM1, [RAX]{1to16}; VMOVAPS.
const LOAD: &[u8] = &[0x62, 0xf1, 0x7c, 0x49, 0x10, 0x00];
const STORE: &[u8] = &[0x62, 0xf1, 0x7c, 0x49, 0x11, 0x00];
const COMPRESS: &[u8] = &[0x62, 0xf2, 0x7d, 0x49, 0x8a, 0x00];
const ADD_ONE: &[u8] = &[0x62, 0xf1, 0x74, 0x59, 0x58, 0x00];
const ALIGNED: &[u8] = &[0x62, 0xf1, 0x7c, 0x49, 0x28, 0x00];

fn cpu(mask: u64) -> Cpu {
    let mut cpu = Cpu::new(&CpuSpec::uniprocessor(&[(0, MEMORY)]).unwrap()).unwrap();
    cpu.processor.regs.cr0 = cr0::PE | cr0::NE;
    cpu.processor.regs.cr4 = cr4::OSFXSR | cr4::OSXSAVE;
    cpu.processor.regs.xcr0 = 0xe7;
    cpu.processor.regs.efer = efer::LME | efer::LMA;
    cpu.processor.regs.seg = [Segment { base: 0, limit: u32::MAX, attr: 0xc93, selector: 0x10 }; 6];
    cpu.processor.regs.seg[seg::CS].attr = 0xa9b;
    registers::set_opmask(&mut cpu, Register::K1, mask);
    cpu
}

fn site(bytes: &[u8]) -> Site {
    let insn = Decoder::new(64, bytes, DecoderOptions::AMD).decode();
    let write = insn.op0_kind() == iced_x86::OpKind::Memory;
    let kind = SiteKind::Access { read: true, write, offset: false };
    Site {
        insn,
        kind,
        size: insn.memory_size().size() as u16,
        segment: seg::DS as u8,
        relative: false,
        may_leave: true,
        block: 0,
    }
}

fn poke(cpu: &mut Cpu, address: u64, bytes: &[u8]) {
    cpu.write_linear(address, bytes, Privilege::System).unwrap();
}

fn peek(cpu: &mut Cpu, address: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    cpu.read_linear(address, &mut bytes, Privilege::System).unwrap();
    bytes
}

/// Does a slow access as the copied instruction would find it, in the bounce buffer: `write` is what that stores.
fn access(cpu: &mut Cpu, bytes: &[u8], address: u64, write: Option<[u8; 64]>) -> Result<[u8; 64], Fault> {
    let host = cpu.slow_access(&site(bytes), address)?;
    let at = host as usize - cpu.handoff.bounce.0.as_ptr() as usize;
    let place = &mut cpu.handoff.bounce.0[at..at + 64];
    let mut seen = [0; 64];
    seen.copy_from_slice(place);
    if let Some(bytes) = write {
        place.copy_from_slice(&bytes);
    }
    cpu.commit();
    Ok(seen)
}

#[test]
fn a_load_reads_only_what_it_wants() {
    let mut cpu = cpu(0b1000_0010);
    poke(&mut cpu, EDGE, &[0x77; 32]);
    let seen = access(&mut cpu, LOAD, EDGE, None).unwrap();
    assert_eq!(
        (seen[4..8].to_vec(), seen[28..32].to_vec(), cpu.instruments.counters.mmio),
        (vec![0x77; 4], vec![0x77; 4], 0)
    );
}

#[test]
fn an_element_of_a_device_is_read_alone() {
    let mut cpu = cpu(1 << 8 | 1 << 15);
    access(&mut cpu, LOAD, EDGE, None).unwrap();
    assert_eq!(cpu.instruments.counters.mmio, 2);
}

#[test]
fn a_store_writes_only_what_it_wants() {
    let mut cpu = cpu(0b0100_0001);
    poke(&mut cpu, EDGE, &[0x11; 32]);
    access(&mut cpu, STORE, EDGE, Some([0x99; 64])).unwrap();
    let mut expected = [0x11; 32];
    expected[..4].fill(0x99);
    expected[24..28].fill(0x99);
    assert_eq!((peek(&mut cpu, EDGE), cpu.instruments.counters.mmio), (expected, 0));
}

#[test]
fn compressed_elements_are_written_from_the_start() {
    let mut cpu = cpu(0xf001);
    access(&mut cpu, COMPRESS, EDGE, Some([0x99; 64])).unwrap();
    let mut expected = [0; 32];
    expected[..20].fill(0x99);
    assert_eq!((peek(&mut cpu, EDGE), cpu.instruments.counters.mmio), (expected, 0));
}

#[test]
fn what_is_masked_off_has_no_fault() {
    let ends = [0xff, 0x100, 0].map(|mask| access(&mut cpu(mask), LOAD, LAST, None).map(|_| ()));
    assert_eq!(ends, [Ok(()), Err(Fault::gp(0)), Ok(())]);
}

#[test]
fn an_element_for_all_is_not_read_for_none() {
    let ends = [0x1_0000, 1].map(|mask| access(&mut cpu(mask), ADD_ONE, LAST + 30, None).map(|_| ()));
    assert_eq!(ends, [Ok(()), Err(Fault::gp(0))]);
}

/// As silicon has it: whichever element is chosen, all of the operand has to be aligned.
#[test]
fn alignment_is_asked_for_if_anything_is_chosen() {
    let ends = [1, 0x8000, 0].map(|mask| access(&mut cpu(mask), ALIGNED, EDGE, None).map(|_| ()));
    assert_eq!(ends, [Err(Fault::gp(0)), Err(Fault::gp(0)), Ok(())]);
}

/// As silicon has it (family 1Ah): of a vector of which two elements of four bytes are chosen those have to be aligned, no more.
#[test]
fn alignment_is_checked_of_the_elements_of_a_vectors_chosen_part() {
    let mut cpu = cpu(0b11);
    (cpu.processor.regs.cpl, cpu.processor.regs.rflags) = (3, rflags::AC);
    cpu.processor.regs.cr0 |= cr0::AM;
    assert!(cpu.checks_alignment());
    let ends = [0x1f01, 0x1f04].map(|address| cpu.slow_access(&site(LOAD), address).map(|_| ()));
    assert_eq!(ends, [Err(Exception::with_error(vector::AC, 0).into()), Ok(())]);
}

/// An operand that lies in one page of memory goes straight there.
#[test]
fn within_a_page_of_memory_the_host_masks() {
    let mut cpu = cpu(0b100);
    let host = cpu.slow_access(&site(LOAD), 0x1fc0).unwrap();
    assert_eq!(cpu.mmu.physical.guest(host), Some(0x1fc0));
}

/// `held` is what the host has: elsewhere these registers lie in memory only.
#[test]
fn mask_registers_are_read_and_written() {
    let mut cpu = cpu(0x1234_5678_9abc_def0);
    registers::set_opmask(&mut cpu, Register::K7, u64::MAX);
    let read = [Register::K1, Register::K2, Register::K7].map(|k| registers::opmask(&mut cpu, k));
    assert_eq!(read, [0x1234_5678_9abc_def0, 0, u64::MAX]);
}
