//! CPUID: what this processor says it is. Never more than the engine and the host do.

mod caches;
pub mod features;
pub mod host;
pub mod model;

pub use crate::processor::model::Model;
pub use host::supported;
pub use model::ModelSpec;

use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;
use ireko_nested::Intercept;
use ireko_x86::bits::cr4;
use ireko_x86::cpuid::{
    APIC, EAX, EBX, ECX, EDX, MONITOR, OSPKE, OSXSAVE, TOPOLOGY_EXTENSIONS, XSAVE, XSAVEC,
};
use ireko_x86::msr::HWCR_MONITOR_OFF;
use ireko_x86::regs::gpr;

/// AE in APIC_BASE.
const APIC_ENABLE: u64 = 1 << 11;

/// The processor's name, as leaves 8000_0002h to 8000_0004h give it.
pub fn name() -> &'static str {
    let text = model::NAME.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text).unwrap_or_default()
}

/// The CPUID instruction.
pub fn routine(cpu: &mut Cpu, _insn: &Instruction) -> Result<Next, Fault> {
    cpu.intercept(Intercept::Cpuid)?;
    let (leaf, subleaf) = (cpu.processor.regs.gpr[gpr::RAX] as u32, cpu.processor.regs.gpr[gpr::RCX] as u32);
    let registers = cpuid(cpu, leaf, subleaf);
    for (n, register) in [(EAX, gpr::RAX), (EBX, gpr::RBX), (ECX, gpr::RCX), (EDX, gpr::RDX)] {
        cpu.processor.regs.gpr[register] = registers[n].into();
    }
    Ok(Next::Advance)
}

/// EAX, EBX, ECX and EDX of a leaf on this processor, now.
pub fn cpuid(cpu: &Cpu, leaf: u32, subleaf: u32) -> [u32; 4] {
    let apic_on = cpu.processor.apic.base() & APIC_ENABLE != 0;
    let monitor_on = cpu.processor.msrs.hwcr & HWCR_MONITOR_OFF == 0;
    let now = Now {
        apic_id: cpu.processor.apic.id(),
        apic_on,
        monitor_on,
        cr4: cpu.processor.regs.cr4,
        xcr0: cpu.processor.regs.xcr0,
    };
    let mut registers = cpu.processor.model.cpuid(leaf, subleaf, &now);
    if let Some(n) = levelled(leaf, subleaf)
        && let Some(shown) = cpu.processor.msrs.levelling[n]
    {
        let (low, high) = LEVELLED[n].1;
        registers[low] &= shown as u32;
        if let Some(high) = high {
            registers[high] &= (shown >> 32) as u32;
        }
    }
    registers
}

/// The leaf that each levelling MSR is about, and the registers that its halves are.
const LEVELLED: [(u32, (usize, Option<usize>)); 4] =
    [(7, (EBX, Some(EAX))), (6, (ECX, None)), (1, (EDX, Some(ECX))), (0x8000_0001, (EDX, Some(ECX)))];

/// Which levelling MSR a leaf goes by.
fn levelled(leaf: u32, subleaf: u32) -> Option<usize> {
    LEVELLED.iter().position(|row| row.0 == leaf && (leaf != 7 || subleaf == 0))
}

impl Cpu {
    /// What levelling MSR `n` holds: at first all that CPUID shows, with the bits on that follow the processor's state.
    pub(crate) fn levelling(&self, n: usize) -> u64 {
        let (leaf, (low, high)) = LEVELLED[n];
        self.processor.msrs.levelling[n].unwrap_or_else(|| {
            let now = Now { apic_id: 0, apic_on: true, monitor_on: true, cr4: cr4::OSXSAVE, xcr0: 0 };
            let registers = self.processor.model.cpuid(leaf, 0, &now);
            u64::from(registers[low]) | high.map_or(0, |high| u64::from(registers[high]) << 32)
        })
    }
}

/// The state of a processor that shows in its CPUID.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub apic_id: u32,
    /// APIC_BASE.AE: the feature bit follows it (APM vol. 2, 16.3.1).
    pub apic_on: bool,
    /// HWCR.MonMwaitDis is clear.
    pub monitor_on: bool,
    pub cr4: u64,
    pub xcr0: u64,
}

impl Model {
    /// A leaf on a processor in the state `now`.
    pub fn cpuid(&self, leaf: u32, subleaf: u32, now: &Now) -> [u32; 4] {
        let mut registers = self.leaf(leaf, if indexed(leaf) { subleaf } else { 0 });
        match (leaf, subleaf) {
            (1, _) => {
                registers[EBX] |= now.apic_id << 24;
                if !now.apic_on {
                    registers[APIC.register] &= !(1 << APIC.bit);
                }
                if !now.monitor_on {
                    registers[MONITOR.register] &= !(1 << MONITOR.bit);
                }
                if now.cr4 & cr4::OSXSAVE != 0 {
                    registers[OSXSAVE.register] |= 1 << OSXSAVE.bit;
                }
            }
            (0xb, _) => registers = self.topology(subleaf, now.apic_id),
            (0xd, 0) if self.has(XSAVE) => registers[EBX] = Self::xsave_size(now.xcr0),
            (0xd, 1) if XSAVEC.is_in(&registers) => registers[EBX] = Self::compacted_size(now.xcr0),
            (7, 0) if now.cr4 & cr4::PKE != 0 => registers[OSPKE.register] |= 1 << OSPKE.bit,
            // One thread a core, one node (APM vol. 3, Fn8000_001E).
            (0x8000_001e, _) if self.has(TOPOLOGY_EXTENSIONS) => {
                registers = [now.apic_id, now.apic_id & 0xff, 0, 0]
            }
            _ => {}
        }
        registers
    }

    /// Leaf 0xb: one thread a core, all cores in one package.
    fn topology(&self, subleaf: u32, apic_id: u32) -> [u32; 4] {
        match subleaf {
            0 => [0, 1, 1 << 8, apic_id],
            1 => [model::core_bits(self.vcpus), self.vcpus, 2 << 8 | 1, apic_id],
            _ => [0, 0, subleaf & 0xff, apic_id],
        }
    }
}

/// Leaves that heed ECX.
fn indexed(leaf: u32) -> bool {
    matches!(leaf, 7 | 0xb | 0xd | 0x8000_001d)
}

#[cfg(test)]
mod tests;
