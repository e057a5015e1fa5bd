//! Protection keys: RDPKRU and WRPKRU (APM vol. 2, 5.6.7; vol. 3).

use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;
use ireko_x86::bits::cr4;
use ireko_x86::regs::gpr;

/// #UD without CR4.PKE; the registers that must be 0 are #GP(0).
fn offered(cpu: &Cpu, zeros: &[usize]) -> Result<(), Fault> {
    if cpu.processor.regs.cr4 & cr4::PKE == 0 {
        return Err(Fault::ud());
    }
    let zero = zeros.iter().all(|&register| cpu.processor.regs.gpr[register] as u32 == 0);
    if zero { Ok(()) } else { Err(Fault::gp(0)) }
}

pub fn rdpkru(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    offered(cpu, &[gpr::RCX])?;
    cpu.processor.regs.gpr[gpr::RAX] = cpu.processor.regs.pkru.into();
    cpu.processor.regs.gpr[gpr::RDX] = 0;
    Ok(Next::Advance)
}

pub fn wrpkru(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    offered(cpu, &[gpr::RCX, gpr::RDX])?;
    cpu.set_pkru(cpu.processor.regs.gpr[gpr::RAX] as u32);
    Ok(Next::Advance)
}
