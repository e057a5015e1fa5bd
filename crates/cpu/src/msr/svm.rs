//! The MSRs of AMD-V.

use crate::{Cpu, Fault};
use ireko_nested::svm::msr;
use ireko_x86::bits::efer;
use ireko_x86::msr::TSC_RATIO;

/// `None`: not an MSR of AMD-V.
pub fn read(cpu: &Cpu, msr: u32) -> Option<u64> {
    msr::read(&cpu.processor.virtualization, msr)
}

/// `None`: not an MSR of AMD-V. A guest that may write TSC_RATIO changes its own time at once.
pub fn write(cpu: &mut Cpu, msr: u32, value: u64) -> Option<Result<(), Fault>> {
    let svme = cpu.processor.regs.efer & efer::SVME != 0;
    let done = msr::write(&mut cpu.processor.virtualization, msr, value, svme)?;
    if msr == TSC_RATIO
        && done.is_ok()
        && let Some(control) = cpu.processor.control_mut()
    {
        control.tsc_scale = msr::tsc_scale(value);
    }
    Some(done.map_err(|_| Fault::gp(0)))
}
