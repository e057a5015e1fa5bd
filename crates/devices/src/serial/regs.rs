//! 16550A registers (National Semiconductor PC16550D data sheet, section 8).

/// Receiver buffer, transmitter holding register; divisor latch low.
pub const DATA: u64 = 0;
/// Interrupt enable; divisor latch high.
pub const IER: u64 = 1;
/// Interrupt identification (read).
pub const IIR: u64 = 2;
/// FIFO control (write).
pub const FCR: u64 = 2;
pub const LCR: u64 = 3;
pub const PORTS: u64 = 8;

/// IER: received data available.
pub const IER_RDA: u8 = 1 << 0;
/// IER: transmitter holding register empty.
pub const IER_THRE: u8 = 1 << 1;

/// IIR: nothing pending.
pub const IIR_NONE: u8 = 0x01;
/// IIR: transmitter holding register empty.
pub const IIR_THRE: u8 = 0x02;
/// IIR: received data available.
pub const IIR_RDA: u8 = 0x04;
/// IIR: FIFOs enabled, which tells a 16550A.
pub const IIR_FIFO: u8 = 0xc0;

/// FCR: clear the receive FIFO.
pub const FCR_CLEAR_RX: u8 = 1 << 1;
/// LCR: divisor latch access.
pub const LCR_DLAB: u8 = 1 << 7;
