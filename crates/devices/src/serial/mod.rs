//! 16550A serial port: `vm-superio`'s registers, with the interrupt output as a level and input without bound.

mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use ireko_vmcore::{Device, Line, SavedState, Space};
use regs::*;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, SerialState};

/// COM1.
pub const PLACES: [u64; 1] = [0x3f8];
/// COM2, at GSI 3.
pub const COM2: u64 = 0x2f8;
/// Input that waits for room in the FIFO; what comes beyond this is lost, as on a wire without flow control.
const BACKLOG: usize = 1 << 16;

/// The level is worked out from the registers after each access, so `vm-superio`'s edges go nowhere.
struct NoTrigger;

impl Trigger for NoTrigger {
    type E = Infallible;
    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

type Uart = vm_superio::Serial<NoTrigger, NoEvents, Box<dyn Write + Send>>;

/// One serial port.
pub struct Serial {
    uart: Uart,
    line: Line,
    backlog: VecDeque<u8>,
    level: bool,
}

impl Serial {
    /// What the guest sends goes to `output`, byte by byte and flushed; errors of `output` are the far end's loss.
    pub fn new(output: Box<dyn Write + Send>, line: Line) -> Self {
        Self { uart: Uart::new(NoTrigger, output), line, backlog: VecDeque::new(), level: false }
    }

    /// Bytes arriving at the port.
    pub fn input(&mut self, data: &[u8]) {
        let room = BACKLOG.saturating_sub(self.backlog.len());
        self.backlog.extend(data.iter().take(room));
        self.update();
    }

    /// Fills the FIFO from the backlog and sets the interrupt line by what is pending and enabled.
    fn update(&mut self) {
        while !self.backlog.is_empty() && self.uart.fifo_capacity() > 0 {
            let (front, _) = self.backlog.as_slices();
            match self.uart.enqueue_raw_bytes(front) {
                // Loopback mode takes nothing.
                Ok(0) | Err(_) => break,
                Ok(taken) => drop(self.backlog.drain(..taken)),
            }
        }
        let level = pending(&self.uart.state()) != IIR_NONE;
        if level != self.level {
            self.level = level;
            self.line.set(level);
        }
    }

    fn read_register(&mut self, offset: u64) -> u8 {
        let before = self.uart.state();
        let value = self.uart.read(offset as u8);
        match offset {
            // `vm-superio` clears all sources when IIR is read; received data must stay pending until it is read.
            IIR => {
                let identified = pending(&before);
                if identified == IIR_RDA && before.interrupt_identification & IIR_THRE != 0 {
                    self.rearm_transmit(&before);
                }
                IIR_FIFO | identified
            }
            _ => value,
        }
    }

    /// Reading IIR acknowledges only the source that it reports: an unreported empty transmitter stays pending.
    fn rearm_transmit(&mut self, before: &SerialState) {
        let _ = self.uart.write(IER as u8, before.interrupt_enable);
    }

    fn write_register(&mut self, offset: u64, value: u8) {
        let dlab = self.uart.state().line_control & LCR_DLAB != 0;
        if offset == FCR && value & FCR_CLEAR_RX != 0 {
            self.clear_receiver();
        }
        if offset == IER && !dlab && value & IER_THRE == 0 {
            // Disabling the source takes its pending interrupt back; reading IIR is how to tell `vm-superio`.
            let _ = self.uart.read(IIR as u8);
        }
        let _ = self.uart.write(offset as u8, value);
    }

    fn clear_receiver(&mut self) {
        let dlab = self.uart.state().line_control;
        let _ = self.uart.write(LCR as u8, dlab & !LCR_DLAB);
        for _ in 0..self.uart.state().in_buffer.len() {
            self.uart.read(DATA as u8);
        }
        let _ = self.uart.write(LCR as u8, dlab);
    }
}

/// What IIR reports: the highest enabled source (data sheet, table "Interrupt Control Functions").
fn pending(state: &SerialState) -> u8 {
    if state.interrupt_enable & IER_RDA != 0 && !state.in_buffer.is_empty() {
        return IIR_RDA;
    }
    if state.interrupt_enable & IER_THRE != 0 && state.interrupt_identification & IIR_THRE != 0 {
        return IIR_THRE;
    }
    IIR_NONE
}

impl Device for Serial {
    fn name(&self) -> &'static str {
        "serial"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, PORTS)]
    }
    fn read(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        for (i, byte) in (offset..).zip(data) {
            *byte = if i < PORTS { self.read_register(i) } else { 0xff };
        }
        self.update();
    }
    fn write(&mut self, _: usize, offset: u64, data: &[u8]) {
        for (i, byte) in (offset..PORTS).zip(data) {
            self.write_register(i, *byte);
        }
        self.update();
    }
    fn reset(&mut self) {
        let out = std::mem::replace(self.uart.writer_mut(), Box::new(std::io::sink()));
        self.uart = Uart::new(NoTrigger, out);
        self.update();
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
