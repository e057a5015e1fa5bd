//! Registers of a VGA (IBM VGA/XGA Technical Reference; FreeVGA's names) and of the Bochs display interface (Bochs,
//! `iodev/display/vga.h`; QEMU, `docs/specs/standard-vga.rst`).

pub const VENDOR: u16 = 0x1234;
pub const DEVICE: u16 = 0x1111;
pub const REVISION: u8 = 2;
pub const CLASS: u32 = 0x03_00_00;
/// Video memory, and registers as memory.
pub const FRAMEBUFFER_BAR: usize = 0;
pub const REGISTERS_BAR: usize = 2;
pub const REGISTERS_SIZE: u64 = 0x1000;
/// In the registers' BAR: VGA ports from 3C0h on, the Bochs registers, and how large what follows is, byte order.
pub const MMIO_PORTS: u64 = 0x400;
pub const MMIO_PORTS_END: u64 = 0x420;
pub const MMIO_DISPI: u64 = 0x500;
pub const MMIO_DISPI_END: u64 = 0x516;
pub const MMIO_EXTENSION: u64 = 0x600;
pub const EXTENSION: [u8; 8] = [8, 0, 0, 0, 0x1e, 0x1e, 0x1e, 0x1e];

/// Bytes of video memory.
pub const MEMORY: u64 = 16 << 20;
/// The window of video memory below 1 MiB.
pub const WINDOW: u64 = 0xa_0000;
pub const WINDOW_SIZE: u64 = 0x2_0000;
/// Ports from here on, and those of the Bochs registers: index, data, data again at an even port.
pub const PORTS: u64 = 0x3b0;
pub const PORTS_SIZE: u64 = 0x30;
pub const DISPI_PORTS: u64 = 0x1ce;
pub const DISPI_PORTS_SIZE: u64 = 3;

pub const ATTRIBUTE: u16 = 0x3c0;
pub const ATTRIBUTE_READ: u16 = 0x3c1;
/// Read: input status 0. Written: miscellaneous output.
pub const MISC_WRITE: u16 = 0x3c2;
pub const SEQUENCER: u16 = 0x3c4;
pub const DAC_MASK: u16 = 0x3c6;
/// Read: DAC state. Written: index for reading.
pub const DAC_READ: u16 = 0x3c7;
pub const DAC_WRITE: u16 = 0x3c8;
pub const DAC_DATA: u16 = 0x3c9;
pub const FEATURE_READ: u16 = 0x3ca;
pub const MISC_READ: u16 = 0x3cc;
pub const GRAPHICS: u16 = 0x3ce;
/// Of the colour adapter's place; a monochrome adapter's is 20h below.
pub const CRTC: u16 = 0x3d4;
/// Read: input status 1. Written: feature control.
pub const STATUS1: u16 = 0x3da;

/// Miscellaneous output: the CRTC is at the colour adapter's place.
pub const MISC_COLOUR: u8 = 1 << 0;
/// Attribute index: the palette is in use and the picture is shown.
pub const ATTRIBUTE_SHOWN: u8 = 1 << 5;
/// Input status 1: not displaying; vertical retrace.
pub const STATUS1_BITS: u8 = 1 << 0 | 1 << 3;

/// Sequencer: clocking mode, map mask, character map select, memory mode.
pub const SR_CLOCK: usize = 1;
pub const SR_MAP_MASK: usize = 2;
pub const SR_FONTS: usize = 3;
pub const SR_MEMORY: usize = 4;
pub const CLOCK_8_DOTS: u8 = 1 << 0;
pub const MEMORY_NO_ODD_EVEN: u8 = 1 << 2;
pub const MEMORY_CHAIN4: u8 = 1 << 3;

/// Graphics controller: set/reset, its enable, colour compare, rotate, read map, mode, miscellaneous, don't care, bit mask.
pub const GR_SET: usize = 0;
pub const GR_SET_ENABLE: usize = 1;
pub const GR_COMPARE: usize = 2;
pub const GR_ROTATE: usize = 3;
pub const GR_READ_MAP: usize = 4;
pub const GR_MODE: usize = 5;
pub const GR_MISC: usize = 6;
pub const GR_CARE: usize = 7;
pub const GR_BIT_MASK: usize = 8;
pub const MODE_READ_COMPARE: u8 = 1 << 3;
pub const MODE_ODD_EVEN: u8 = 1 << 4;
pub const MODE_SHIFT: u8 = 5;
pub const MISC_GRAPHICS: u8 = 1 << 0;

/// CRTC: the last column, the last lines' upper bits, lines of a row, cursor, start, the last line, offset, mode.
pub const CR_COLUMNS: usize = 0x01;
pub const CR_OVERFLOW: usize = 0x07;
pub const CR_ROW: usize = 0x09;
pub const CR_CURSOR_START: usize = 0x0a;
pub const CR_CURSOR_END: usize = 0x0b;
pub const CR_START: usize = 0x0c;
pub const CR_CURSOR: usize = 0x0e;
pub const CR_RETRACE_END: usize = 0x11;
pub const CR_LINES: usize = 0x12;
pub const CR_OFFSET: usize = 0x13;
pub const CR_MODE: usize = 0x17;
pub const ROW_DOUBLE: u8 = 1 << 7;
pub const CURSOR_OFF: u8 = 1 << 5;
/// Registers 0 to 7 cannot be written, but for one bit of the overflow register.
pub const RETRACE_PROTECT: u8 = 1 << 7;
pub const OVERFLOW_UNPROTECTED: u8 = 1 << 4;
/// Row scan counter's bit 0 is address bit 13, as on a CGA, if this is 0.
pub const MODE_NOT_CGA: u8 = 1 << 0;

/// Attribute controller: mode, colour plane enable, colour select.
pub const AR_MODE: usize = 0x10;
pub const AR_PLANES: usize = 0x12;
pub const AR_SELECT: usize = 0x14;
pub const AR_COUNT: usize = 0x15;
pub const MODE_LINE_GRAPHICS: u8 = 1 << 2;
pub const MODE_BLINK: u8 = 1 << 3;
pub const MODE_SELECT: u8 = 1 << 7;

/// Bochs registers by their index.
pub const DISPI_ID: usize = 0;
pub const DISPI_XRES: usize = 1;
pub const DISPI_YRES: usize = 2;
pub const DISPI_BPP: usize = 3;
pub const DISPI_ENABLE: usize = 4;
pub const DISPI_BANK: usize = 5;
pub const DISPI_VIRT_WIDTH: usize = 6;
pub const DISPI_VIRT_HEIGHT: usize = 7;
pub const DISPI_X: usize = 8;
pub const DISPI_Y: usize = 9;
pub const DISPI_MEMORY: usize = 10;
pub const DISPI_COUNT: usize = 11;
pub const ID_FIRST: u16 = 0xb0c0;
pub const ID_LAST: u16 = 0xb0c5;
pub const ENABLED: u16 = 1 << 0;
pub const ENABLE_CAPABILITIES: u16 = 1 << 1;
pub const ENABLE_8_BIT_DAC: u16 = 1 << 5;
pub const ENABLE_NO_CLEAR: u16 = 1 << 7;
/// The largest picture: with 32 bits for each pixel it is nearly all of video memory.
pub const MOST_WIDTH: u16 = 2560;
pub const MOST_HEIGHT: u16 = 1600;
pub const MOST_BPP: u16 = 32;
