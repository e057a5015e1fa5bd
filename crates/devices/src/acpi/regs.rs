//! ACPI fixed hardware registers (ACPI specification, section 4.8) and where this machine has them.

/// The PM block's first port; the registers below lie in it.
pub const BASE: u64 = 0x600;
pub const SIZE: usize = 0x40;

/// PM1a event block: status and enable, two bytes each.
pub const PM1A_EVT: u64 = 0x600;
/// PM1a control block, two bytes.
pub const PM1A_CNT: u64 = 0x604;
/// PM timer, four bytes.
pub const PM_TMR: u64 = 0x608;
/// General-purpose event block 0: status and enable, two bytes each.
pub const GPE0: u64 = 0x620;

pub(super) const PM1_STATUS: usize = 0x00;
pub(super) const PM1_ENABLE: usize = 0x02;
pub(super) const PM1_CONTROL: usize = 0x04;
pub(super) const TIMER: usize = 0x08;
pub(super) const GPE_STATUS: usize = 0x20;
pub(super) const GPE_ENABLE: usize = 0x22;

/// PM1 status and enable bits (tables 4.11 and 4.12).
pub const TIMER_CARRY: u16 = 1 << 0;
pub const POWER_BUTTON: u16 = 1 << 8;
pub const RTC_ALARM: u16 = 1 << 10;
/// WAK_STS: the system was asleep and is awake again.
pub const WAKE: u16 = 1 << 15;
pub const PM1_STATUS_BITS: u16 = 0x8731;
pub const PM1_ENABLE_BITS: u16 = 0x0721;

/// PM1 control bits (table 4.13).
pub const SCI_EN: u16 = 1 << 0;
pub const SLP_TYP_SHIFT: u16 = 10;
pub const SLP_EN: u16 = 1 << 13;
/// BM_RLD and SLP_TYP keep what is written; GBL_RLS and SLP_EN read as zero.
pub const PM1_CONTROL_KEPT: u16 = 0x1c02;
/// The sleep types that the objects `_S3` and `_S5` name.
pub const SLP_TYP_S3: u16 = 1;
pub const SLP_TYP_S5: u16 = 5;

/// The PM timer counts at three times the 8254's rate, 32 bits.
pub const PM_TIMER_FREQUENCY: u64 = 3_579_545;

/// SMI command port: what the FADT says to write there.
pub const SMI_CMD: u64 = 0xb2;
pub const ACPI_ENABLE: u8 = 0xa1;
pub const ACPI_DISABLE: u8 = 0xa0;

/// ICH9: SMI control and status (data sheet, 13.8.3.5 and 13.8.3.6).
pub const SMI_EN: u64 = 0x630;
pub(super) const SMI_ENABLE: usize = 0x30;
pub(super) const SMI_STATUS: usize = 0x34;
/// PIIX4: GLBCTL with SMI_EN, and GLBSTS (82371AB, 7.2.9 and 7.2.5). APMC_EN is in configuration space.
pub(super) const PIIX4_CONTROL: usize = 0x28;
pub(super) const PIIX4_STATUS: usize = 0x18;
/// GBL_SMI_EN, and APMC_EN: writes to the APM port raise SMI#.
pub const GLOBAL_SMI: u32 = 1 << 0;
pub const APM_SMI: u32 = 1 << 5;
/// APM_STS.
pub const APM_STATUS: u32 = 1 << 5;

/// Reset register (PCI chipsets' reset control): written value and its bits.
pub const RESET_REG: u64 = 0xcf9;
pub const RESET_VALUE: u8 = 0x06;
pub const RESET_CPU: u8 = 1 << 2;

/// Keyboard controller command: pulse output bit 0, the CPU's reset.
pub const I8042_PULSE_RESET: u8 = 0xfe;

/// System control port A (PIIX data sheet, "Port 92"): a rising bit 0 resets, bit 1 is A20.
pub const PORT92_RESET: u8 = 1 << 0;
pub const PORT92_A20: u8 = 1 << 1;
