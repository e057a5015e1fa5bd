//! AVX-512's VGATHERxxx, VPGATHERxx, VSCATTERxxx and VPSCATTERxx: element after element, each done one struck off the mask
//! register, so that a fault in the middle can be restarted (SDM vol. 2, VGATHERDPS and VSCATTERDPS).

use super::gather::{segment, sizes};
use super::vector::{self, Whole, element, set_element};
use crate::routine::Routine;
use crate::{Cpu, Fault, Next};
use iced_x86::{Instruction, Mnemonic, Register};

pub fn routine(mnemonic: Mnemonic) -> Option<Routine> {
    use Mnemonic::*;
    match mnemonic {
        Vgatherdps | Vgatherdpd | Vgatherqps | Vgatherqpd => Some(gather),
        Vpgatherdd | Vpgatherdq | Vpgatherqd | Vpgatherqq => Some(gather),
        Vscatterdps | Vscatterdpd | Vscatterqps | Vscatterqpd => Some(scatter),
        Vpscatterdd | Vpscatterdq | Vpscatterqd | Vpscatterqq => Some(scatter),
        _ => None,
    }
}

/// The elements of one instruction.
struct Elements {
    size: usize,
    index_size: usize,
    count: usize,
    indices: Whole,
    segment: usize,
}

impl Elements {
    fn new(cpu: &mut Cpu, insn: &Instruction, data: Register) -> Self {
        let (size, index_size) = sizes(insn.mnemonic());
        let index = insn.memory_index();
        Self {
            size,
            index_size,
            count: (data.size() / size).min(index.size() / index_size),
            indices: vector::read_whole(cpu, index),
            segment: segment(cpu, insn),
        }
    }

    fn address(&self, cpu: &Cpu, insn: &Instruction, n: usize, write: bool) -> Result<u64, Fault> {
        let index = element(&self.indices, n, self.index_size);
        let offset = vector::vsib_offset(cpu, insn, index, self.index_size);
        cpu.linear(self.segment, offset, self.size as u64, write)
    }

    /// Does `one` for each element whose bit in the mask register is set, and clears it; the whole register at the end.
    fn each(
        &self,
        cpu: &mut Cpu,
        insn: &Instruction,
        mut one: impl FnMut(&mut Cpu, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut mask = vector::opmask(cpu, insn.op_mask());
        for n in (0..self.count).filter(|n| mask >> n & 1 != 0).collect::<Vec<_>>() {
            if let Err(fault) = one(cpu, n) {
                vector::set_opmask(cpu, insn.op_mask(), mask);
                return Err(fault);
            }
            mask &= !(1 << n);
        }
        vector::set_opmask(cpu, insn.op_mask(), 0);
        Ok(())
    }
}

fn gather(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let target = insn.op0_register();
    if target.number() == insn.memory_index().number() {
        return Err(Fault::ud());
    }
    vector::require_evex(cpu)?;
    let elements = Elements::new(cpu, insn, target);
    let mut destination = vector::read_whole(cpu, target);
    let result = elements.each(cpu, insn, |cpu, n| {
        let address = elements.address(cpu, insn, n, false)?;
        let value = cpu.load_element(address, elements.size)?;
        set_element(&mut destination, n, elements.size, value);
        Ok(())
    });
    if result.is_ok() {
        destination[elements.count * elements.size..].fill(0);
    }
    vector::write_whole(cpu, target, &destination);
    result.map(|()| Next::Advance)
}

/// From the lowest element on, so that of those at one address the highest stays.
fn scatter(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    vector::require_evex(cpu)?;
    let source = insn.op1_register();
    let elements = Elements::new(cpu, insn, source);
    let data = vector::read_whole(cpu, source);
    elements.each(cpu, insn, |cpu, n| {
        let address = elements.address(cpu, insn, n, true)?;
        cpu.store_element(address, elements.size, element(&data, n, elements.size))
    })?;
    Ok(Next::Advance)
}
