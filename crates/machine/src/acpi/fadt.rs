//! The fixed hardware, as it really is (ACPI 6.5, 5.2.9), and the FACS (5.2.10).

use super::{OEM, OEM_REVISION, OEM_TABLE, SCI, serialized};
use crate::layout::Layout;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use ireko_devices::acpi as pm;

/// IA-PC boot flags: no VGA; a keyboard controller. That what is not there is not claimed spares looking for it.
const VGA_NOT_PRESENT: u16 = 1 << 2;
const KEYBOARD_CONTROLLER: u16 = 1 << 1;
/// CMOS index of the century (table 5.9, CENTURY).
const CENTURY: u8 = 0x32;

pub fn table(layout: &Layout, dsdt: u64, facs: u64) -> Vec<u8> {
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup)
        .gpe_info(pm::GPE0 as u32, 0, 4, 0, 0);
    fadt.dsdt = (dsdt as u32).into();
    fadt.x_dsdt = dsdt.into();
    fadt.firmware_ctrl = (facs as u32).into();
    fadt.sci_int = (SCI as u16).into();
    fadt.smi_cmd = (pm::SMI_CMD as u32).into();
    fadt.acpi_enable = pm::ACPI_ENABLE;
    fadt.acpi_disable = pm::ACPI_DISABLE;
    fadt.pm1a_evt_blk = (pm::PM1A_EVT as u32).into();
    fadt.pm1_evt_len = 4;
    fadt.pm1a_cnt_blk = (pm::PM1A_CNT as u32).into();
    fadt.pm1_cnt_len = 2;
    fadt.pm_tmr_blk = (pm::PM_TMR as u32).into();
    fadt.pm_tmr_len = 4;
    // More than 100 and 1000 µs: there are no C2 and C3.
    fadt.p_lvl2_lat = 0xfff.into();
    fadt.p_lvl3_lat = 0xfff.into();
    fadt.century = CENTURY;
    let flags = [(!layout.display, VGA_NOT_PRESENT), (layout.keyboard(), KEYBOARD_CONTROLLER)];
    fadt.iapc_boot_arch = flags.iter().filter(|(on, _)| *on).fold(0, |sum, (_, flag)| sum | flag).into();
    fadt.reset_reg = GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, pm::RESET_REG);
    fadt.reset_value = pm::RESET_VALUE;
    serialized(&fadt.finalize())
}

pub fn facs() -> Vec<u8> {
    const LENGTH: u8 = 64;
    const VERSION: u8 = 2;
    let mut bytes = b"FACS".to_vec();
    bytes.extend(u32::from(LENGTH).to_le_bytes());
    bytes.resize(usize::from(LENGTH), 0);
    bytes[32] = VERSION;
    bytes
}
