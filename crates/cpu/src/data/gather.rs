//! VGATHERxxx and VPGATHERxx (AVX2): element after element, each done one struck off the mask, so that a fault in the
//! middle can be restarted (APM vol. 4, VGATHERDPD).

use super::vector::{self, element, set_element, sign};
use crate::operand::segment_index;
use crate::{Cpu, Fault, Next};
use iced_x86::{Instruction, Mnemonic};
use ireko_x86::regs::seg;

/// Bytes of an element and of an index.
pub(super) fn sizes(mnemonic: Mnemonic) -> (usize, usize) {
    use Mnemonic::*;
    match mnemonic {
        Vgatherdps | Vpgatherdd | Vscatterdps | Vpscatterdd => (4, 4),
        Vgatherqps | Vpgatherqd | Vscatterqps | Vpscatterqd => (4, 8),
        Vgatherdpd | Vpgatherdq | Vscatterdpd | Vpscatterdq => (8, 4),
        _ => (8, 8),
    }
}

/// The segment of the elements. 64-bit mode ignores CS, DS, ES and SS prefixes, so there the base register decides
/// whether an address that is not canonical is #SS or #GP.
pub(super) fn segment(cpu: &Cpu, insn: &Instruction) -> usize {
    match segment_index(insn.memory_segment()) {
        given @ (seg::FS | seg::GS) => given,
        given if !cpu.processor.regs.code64() => given,
        _ if matches!(insn.memory_base().number(), 4 | 5) && insn.memory_base().is_gpr() => seg::SS,
        _ => seg::DS,
    }
}

/// Loads the elements whose mask is set into `destination`, clearing their mask; stops at the first fault.
fn load_elements(
    cpu: &mut Cpu,
    insn: &Instruction,
    count: usize,
    destination: &mut [u8; 32],
    chosen: &mut [u8; 32],
) -> Result<(), Fault> {
    let (size, index_size) = sizes(insn.mnemonic());
    let indices = vector::read(cpu, insn.memory_index());
    let segment = segment(cpu, insn);
    for n in 0..count {
        if !sign(chosen, n, size) {
            continue;
        }
        let offset = vector::vsib_offset(cpu, insn, element(&indices, n, index_size), index_size);
        let address = cpu.linear(segment, offset, size as u64, false)?;
        let value = cpu.load_element(address, size)?;
        set_element(destination, n, size, value);
        set_element(chosen, n, size, 0);
    }
    Ok(())
}

pub fn gather(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let (target, index, selector) = (insn.op0_register(), insn.memory_index(), insn.op2_register());
    let numbers = [target.number(), index.number(), selector.number()];
    if numbers[0] == numbers[1] || numbers[0] == numbers[2] || numbers[1] == numbers[2] {
        return Err(Fault::ud());
    }
    vector::require_avx(cpu)?;
    let (size, index_size) = sizes(insn.mnemonic());
    let count = (target.size() / size).min(index.size() / index_size);
    let mut destination = vector::read(cpu, target);
    let mut chosen = vector::read(cpu, selector);
    // Silicon widens the signs of the whole vector length first, also of what is no element.
    let length = target.size().max(index.size());
    for n in 0..length / size {
        let all = if sign(&chosen, n, size) { u64::MAX } else { 0 };
        set_element(&mut chosen, n, size, all);
    }
    chosen[length..].fill(0);
    let before = chosen;
    let result = load_elements(cpu, insn, count, &mut destination, &mut chosen);
    if result.is_err() && chosen == before {
        vector::write_lower(cpu, selector, &chosen);
        return result.map(|()| Next::Advance);
    }
    // The first element written clears what lies above the vector length.
    destination[length..].fill(0);
    if result.is_ok() {
        // What lies between the elements and the vector length goes last, so a fault leaves it.
        destination[count * size..].fill(0);
        chosen = [0; 32];
    }
    vector::write(cpu, target, &destination);
    vector::write(cpu, selector, &chosen);
    result.map(|()| Next::Advance)
}
