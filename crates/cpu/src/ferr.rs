//! #MF as the PC/AT has it, with CR0.NE = 0: FERR# tells the machine, and IGNNE# is its answer (APM vol. 2, 8.2.17).

use crate::data::x87;
use crate::{Cpu, Fault};
use iced_x86::Mnemonic::{Fldcw, Fldenv, Frstor};
use ireko_nested::Intercept;

impl Cpu {
    /// An exception is pending: the processor says so by FERR#, and waits before the instruction for an interrupt; or it goes on
    /// regardless, once the machine has answered.
    pub(crate) fn x87_error(&mut self) -> Result<(), Fault> {
        self.intercept(Intercept::FerrFreeze)?;
        self.fpu_sync();
        if self.processor.ignne {
            return self.x87_regardless();
        }
        if let Some(bus) = &self.platform.bus {
            bus.x87_error(true);
        }
        self.processor.ferr = true;
        self.halt(None);
        Ok(())
    }

    /// Does the instruction at RIP as if nothing were pending: with all exceptions masked meanwhile.
    fn x87_regardless(&mut self) -> Result<(), Fault> {
        self.fpu_normalise();
        let masks = x87::mask_all(self);
        let done = self.run_alone(0);
        self.fpu_normalise();
        let page = self.code_page();
        let insn = done.as_ref().ok().and_then(|block| self.code.first_instruction(*block, page));
        // What it loads itself stays.
        if !insn.is_some_and(|insn| matches!(insn.mnemonic(), Fldcw | Fldenv | Frstor)) {
            x87::unmask(self, masks);
        }
        done.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use crate::Cpu;
    use crate::construct::CpuSpec;
    use ireko_x86::regs::seg;

    /// In real mode before this code, with a division by zero pending that is not masked, and IGNNE# on.
    fn pending(code: &[u8]) -> Cpu {
        crate::signal::prepare_thread();
        let mut cpu = Cpu::new(&CpuSpec::uniprocessor(&[(0, 0x1_0000)]).unwrap()).unwrap();
        cpu.processor.regs.seg[seg::CS].base = 0;
        cpu.processor.regs.rip = 0x1000;
        cpu.write_physical(0x1000, code);
        cpu.write_physical(0x2000, &0x1372u16.to_le_bytes());
        cpu.fpu_normalise();
        cpu.processor.fpu.0[..4].copy_from_slice(&[0x7b, 0x03, 0x84, 0x80]);
        cpu.processor.ignne = true;
        cpu
    }

    fn control_after(code: &[u8]) -> u16 {
        let mut cpu = pending(code);
        // The instruction raises #MF, and is done all the same.
        let fault = cpu.run_alone(0).unwrap_err();
        assert!(matches!(fault, crate::Fault::Exception(e) if e.vector == ireko_x86::exception::vector::MF));
        cpu.x87_error().unwrap();
        assert_eq!(cpu.processor.regs.rip, 0x1000 + code.len() as u64);
        u16::from_le_bytes([cpu.processor.fpu.0[0], cpu.processor.fpu.0[1]])
    }

    #[test]
    fn an_instruction_that_is_done_regardless_leaves_the_masks() {
        // fld1
        assert_eq!(control_after(&[0xd9, 0xe8]), 0x037b);
    }

    #[test]
    fn masks_that_it_loads_itself_stay() {
        // fldcw [2000h]
        assert_eq!(control_after(&[0xd9, 0x2e, 0, 0x20]) & 0xf3f, 0x0332);
    }
}
