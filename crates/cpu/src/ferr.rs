//! #MF as the PC/AT has it, with CR0.NE = 0: FERR# tells the machine, and IGNNE# is its answer (APM vol. 2, 8.2.17).

use crate::data::x87;
use crate::{Cpu, Fault};
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
        x87::unmask(self, masks);
        done.map(|_| ())
    }
}
