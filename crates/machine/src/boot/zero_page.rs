//! Linux's `boot_params` (Documentation/arch/x86/zero-page.rst).

use super::modules::Loaded;
use super::{put, write_command_line};
use crate::MachineError;
use crate::image::bzimage::BzImage;
use crate::layout::{self, Layout};
use ireko_vmcore::memory::GuestRam;
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use vm_memory::ByteValued;

/// "A loader that has no number" (boot protocol, type_of_loader).
const LOADER_UNKNOWN: u8 = 0xff;
const HDRS: u32 = u32::from_le_bytes(*b"HdrS");
/// What Linux takes where the header does not say (COMMAND_LINE_SIZE of x86).
const COMMAND_LINE_MAX: usize = 2047;

/// Writes zero page and command line. `image` is `None` for a vmlinux, which has no setup header to copy.
pub fn write(
    ram: &GuestRam,
    layout: &Layout,
    command_line: &str,
    initrd: Option<&Loaded>,
    image: Option<&BzImage>,
) -> Result<(), MachineError> {
    let most = image.map_or(COMMAND_LINE_MAX, |i| i.command_line_max).min(layout::COMMAND_LINE_ROOM - 1);
    write_command_line(ram, layout::COMMAND_LINE, command_line, most)?;
    let mut params = boot_params::default();
    match image {
        Some(image) => {
            let header = params.hdr.as_mut_slice();
            let size = header.len().min(image.header.len());
            header[..size].copy_from_slice(&image.header[..size]);
        }
        None => {
            params.hdr.boot_flag = 0xaa55;
            params.hdr.header = HDRS;
            params.hdr.kernel_alignment = 0x100_0000;
        }
    }
    params.hdr.type_of_loader = LOADER_UNKNOWN;
    params.hdr.cmd_line_ptr = layout::COMMAND_LINE as u32;
    if let Some(initrd) = initrd {
        params.hdr.ramdisk_image = initrd.address as u32;
        params.hdr.ramdisk_size = initrd.size as u32;
    }
    params.acpi_rsdp_addr = layout::ACPI.start;
    let map = layout.e820();
    for (slot, entry) in params.e820_table.iter_mut().zip(&map) {
        *slot = boot_e820_entry { addr: entry.start, size: entry.size, r#type: entry.kind as u32 };
    }
    params.e820_entries = map.len() as u8;
    put(ram, layout::ZERO_PAGE, params.as_slice())
}
