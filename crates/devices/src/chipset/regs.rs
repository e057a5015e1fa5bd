//! Configuration registers of the host bridges i440FX (Intel 82441FX data sheet, 3.2) and Q35 (Intel 3 Series), and of the south
//! bridges PIIX3, PIIX4 (82371SB and 82371AB data sheets) and ICH9.

pub const INTEL: u16 = 0x8086;
/// By the host bridge's subsystem firmware knows whose machine it is on.
pub const SUBSYSTEM_VENDOR: u16 = 0x1af4;
pub const SUBSYSTEM: u16 = 0x1100;

pub const HOST_BRIDGE_CLASS: u32 = 0x06_00_00;
/// Programmable attribute map: two areas a register, but for the first, which has the BIOS area in its upper half.
pub const PAM_WRITABLE: [u8; 7] = [0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33];
/// RE and WE of an area.
pub const PAM_READ: u8 = 1 << 0;
pub const PAM_WRITE: u8 = 1 << 1;
/// System management RAM control.
pub const SMRAM_RESET: u8 = 0x02;
pub const SMRAM_WRITABLE: u8 = 0x78;
pub const SMRAM_OPEN: u8 = 1 << 6;
pub const SMRAM_LOCKED: u8 = 1 << 4;
/// D_CLS: data references go to the display from the mode, too.
pub const SMRAM_CLOSED: u8 = 1 << 5;
/// G_SMRAME.
pub const SMRAM_ENABLED: u8 = 1 << 3;
/// Where it is.
pub const SMRAM_SEGMENT: std::ops::Range<u64> = 0xa_0000..0xc_0000;

/// Q35 (Intel 3 Series data sheet, 5.1.20 and 5.1.31): extended SMRAM control, with which TSEG is on, and its size.
pub const ESMRAMC: usize = 0x9e;
/// SM_CACHE, SM_L1 and SM_L2: always on, by which firmware knows that there is SMRAM.
pub const ESMRAMC_RESET: u8 = 0x38;
pub const ESMRAMC_WRITABLE: u8 = TSEG_ENABLED | TSEG_SIZE;
pub const TSEG_ENABLED: u8 = 1 << 0;
pub const TSEG_SIZE: u8 = 3 << 1;
/// MiB by TSEG_SIZE. What the data sheet reserves is what the register below says.
pub const TSEG_MIB: [u64; 4] = [1, 2, 8, EXTENDED_TSEG_MIB as u64];
/// By it firmware asks for a larger TSEG: it writes all ones and reads the size, in MiB. Of QEMU's Q35, which OVMF is for.
pub const EXTENDED_TSEG: usize = 0x50;
pub const EXTENDED_TSEG_MIB: u16 = 16;

/// What firmware says of memory's end and TSEG's beginning (5.1.15, 5.1.33 to 5.1.36): GGC, GBSM, BGSM, TSEGMB and TOLUD, and what of
/// each it can write until D_LCK. Here they are kept and nothing else: memory is where it is.
pub const Q35_MEMORY_MAP: [(usize, &[u8]); 5] = [
    (0x52, &[0xf2, 0x0f]),
    (0xa4, &[0, 0, 0xf0, 0xff]),
    (0xa8, &[0, 0, 0xf0, 0xff]),
    (0xac, &[0, 0, 0xf0, 0xff]),
    (0xb0, &[0xf0, 0xff]),
];

/// Where configuration space is as memory (Intel 3 Series data sheet, 5.1.18).
pub const Q35_PCIEXBAR: usize = 0x60;
pub const Q35_PCIEXBAR_WRITABLE: u64 = 0xf_fc00_0007;

pub const PIIX3: u16 = 0x7000;
pub const ISA_BRIDGE_CLASS: u32 = 0x06_01_00;
/// X-Bus chip select.
pub const XBCS: usize = 0x4e;
/// PIRQ route control: where PIRQA# to PIRQD# go.
pub const PIRQ_ROUTES: usize = 0x60;
pub const PIRQS: usize = 4;
/// ICH9 (data sheet, 13.1): power management base, its enable, routes of PIRQA# to D# and of PIRQE# to H#, root complex base.
pub const ICH9_LPC: u16 = 0x2918;
pub const ICH9_REVISION: u8 = 2;
pub const ICH9_ACPI_CONTROL: usize = 0x44;
pub const ICH9_ACPI_ENABLE: u8 = 1 << 7;
/// GEN_PMCON_1 (data sheet, 13.8.1.1), in its low byte SMI_LOCK.
pub const ICH9_GEN_PMCON_1: usize = 0xa0;
pub const ICH9_SMI_LOCK: u8 = 1 << 4;
pub const ICH9_PIRQ_ROUTES_A: usize = 0x60;
pub const ICH9_PIRQ_ROUTES_E: usize = 0x68;
pub const ICH9_ROOT_COMPLEX_BASE: usize = 0xf0;
/// Not routed.
pub const PIRQ_OFF: u8 = 1 << 7;
pub const PIRQ_IRQ: u8 = 0x0f;
/// The IRQs that can be routed to (82371SB, 4.1.10).
pub const PIRQ_ALLOWED: u16 = 0xdef8;

pub const PIIX4_PM: u16 = 0x7113;
pub const PIIX4_REVISION: u8 = 3;
pub const OTHER_BRIDGE_CLASS: u32 = 0x06_80_00;
/// Power management base address; the block itself does not move.
pub const PM_BASE: usize = 0x40;
pub const PM_BASE_IO: u16 = 1;
pub const PM_BASE_WRITABLE: u16 = 0xffc0;
/// Device activity B. That writes to the APM port raise SMI# says to firmware, too, that system-management mode is set up: it always reads as on
/// where there is none.
pub const DEVACTB: usize = 0x58;
pub const DEVACTB_APMC_EN: u32 = 1 << 25;
pub const PM_MISC: usize = 0x80;
pub const SMBUS_BASE: usize = 0x90;
pub const SMBUS_HOST: usize = 0xd2;
