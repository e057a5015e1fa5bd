//! What a PVH kernel is told (Xen, public/arch-x86/hvm/start_info.h).

use super::modules::{self, Loaded};
use super::told::{Told, words};
use super::{Payload, check_command_line};
use crate::MachineError;
use crate::layout::{self, Layout};
use ireko_vmcore::memory::GuestRam;
use std::ops::Range;

const MAGIC: u64 = 0x336e_c578;
/// With a memory map.
const VERSION: u64 = 1;
const SIZE: usize = 56;
/// What Linux takes (COMMAND_LINE_SIZE of x86).
const COMMAND_LINE_MAX: usize = 2047;

pub fn write(
    ram: &GuestRam,
    layout: &Layout,
    payload: &Payload,
    loaded: &[Loaded],
    place: Range<u64>,
) -> Result<(), MachineError> {
    check_command_line(payload.command_line, COMMAND_LINE_MAX)?;
    let mut told = Told::behind(SIZE, place);
    let line = told.add_text(payload.command_line);
    // Address, size, command line (of its own: without a name in front), reserved.
    let list: Vec<_> = loaded
        .iter()
        .flat_map(|module| [module.address, module.size, told.add_text(modules::arguments(module)), 0])
        .collect();
    let list = told.add(&words(&list));
    let map = layout.e820();
    let entries: Vec<_> = map.iter().flat_map(|e| [e.start, e.size, u64::from(e.kind as u32)]).collect();
    let entries = told.add(&words(&entries));
    let (flags, modules) = (0, loaded.len() as u64);
    let fields = [
        MAGIC | VERSION << 32,
        flags | modules << 32,
        if modules > 0 { list } else { 0 },
        line,
        layout::ACPI.start,
        entries,
        map.len() as u64,
    ];
    told.write(ram, &words(&fields))
}
