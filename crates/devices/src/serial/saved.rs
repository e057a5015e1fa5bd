//! What is saved of a serial port.

use super::{BACKLOG, NoTrigger, Serial, Uart};
use ireko_vmcore::saved::{Blob, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};
use vm_superio::serial::{NoEvents, SerialState};

/// Registers in the words of the 16550A's data sheet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedSerial {
    /// The divisor latch.
    pub dll: u8,
    pub dlm: u8,
    pub ier: u8,
    /// What waits to be told, as `vm-superio` has it.
    pub iir: u8,
    pub lcr: u8,
    pub lsr: u8,
    pub mcr: u8,
    pub msr: u8,
    pub scr: u8,
    /// The receiver's FIFO.
    pub fifo: Blob,
    /// Input that waits for room there.
    pub backlog: Blob,
    /// The wire's level.
    pub level: bool,
}

impl Saved for SavedSerial {
    const NAME: &'static str = "serial";
    const VERSION: u32 = 1;
}

impl SaveRestore for Serial {
    type Saved = SavedSerial;

    fn save(&self) -> SavedSerial {
        let uart = self.uart.state();
        SavedSerial {
            dll: uart.baud_divisor_low,
            dlm: uart.baud_divisor_high,
            ier: uart.interrupt_enable,
            iir: uart.interrupt_identification,
            lcr: uart.line_control,
            lsr: uart.line_status,
            mcr: uart.modem_control,
            msr: uart.modem_status,
            scr: uart.scratch,
            fifo: Blob(uart.in_buffer),
            backlog: Blob(self.backlog.iter().copied().collect()),
            level: self.level,
        }
    }

    fn restore(&mut self, saved: SavedSerial) -> Result<(), RestoreError> {
        let backlog = saved.backlog.0;
        ensure::<SavedSerial>(backlog.len() <= BACKLOG, format!("{} bytes wait", backlog.len()))?;
        let state = SerialState {
            baud_divisor_low: saved.dll,
            baud_divisor_high: saved.dlm,
            interrupt_enable: saved.ier,
            interrupt_identification: saved.iir,
            line_control: saved.lcr,
            line_status: saved.lsr,
            modem_control: saved.mcr,
            modem_status: saved.msr,
            scratch: saved.scr,
            in_buffer: saved.fifo.0,
        };
        let sink = || -> Box<dyn std::io::Write + Send> { Box::new(std::io::sink()) };
        // Checked before the output is taken.
        Uart::from_state(&state, NoTrigger, NoEvents, sink())
            .map_err(|_| RestoreError::invalid::<SavedSerial>("more is in the FIFO than it has room for"))?;
        let output = std::mem::replace(self.uart.writer_mut(), sink());
        self.uart = Uart::from_state(&state, NoTrigger, NoEvents, output)
            .map_err(|_| RestoreError::invalid::<SavedSerial>("more is in the FIFO than it has room for"))?;
        self.backlog = backlog.into();
        self.level = saved.level;
        Ok(())
    }
}
