//! Port accesses of the guest's, behind its permission checks.

use crate::Cpu;
use crate::breakpoints::Touch;
use ireko_vmcore::Space;

impl Cpu {
    pub fn port_read(&mut self, port: u16, size: usize) -> u32 {
        self.fpu_sync();
        self.watch(port.into(), size, Touch::Port);
        let mut bytes = [0xff; 4];
        if let Some(bus) = &self.platform.bus {
            bus.read(Space::Port, port.into(), &mut bytes[..size]);
        }
        u32::from_le_bytes(bytes)
    }
    pub fn port_write(&mut self, port: u16, size: usize, value: u32) {
        self.fpu_sync();
        self.watch(port.into(), size, Touch::Port);
        if matches!(port, 0xf0 | 0xf1) {
            self.x87_answered();
        }
        if let Some(bus) = &self.platform.bus {
            bus.write(Space::Port, port.into(), &value.to_le_bytes()[..size]);
        }
        self.mmu.drop_unplugged();
    }

    /// A write to port F0h is the answer: FERR# ends, IGNNE# begins.
    fn x87_answered(&mut self) {
        if std::mem::take(&mut self.processor.ferr) {
            if let Some(bus) = &self.platform.bus {
                bus.x87_error(false);
            }
            self.processor.ignne = true;
            self.lend_x87();
        }
    }
}
