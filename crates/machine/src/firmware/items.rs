//! What firmware reads by fw_cfg.

use super::kernel::Items;
use super::{OptionRoms, loader, option_rom};
use crate::layout::{E820, Layout};
use crate::{Display, Spec, smbios};
use ireko_devices::FwCfg;
use ireko_vmcore::Memory;
use std::sync::Arc;

/// Firmware's text goes to COM1, beside the screen if there is one.
const TEXT_PORT: u16 = 0x3f8;
/// Without a bootable device: say so and stay, instead of a reset after a minute.
const STAY: u32 = u32::MAX;

/// What SeaBIOS runs for the PCI function with this vendor and device. SeaBIOS' part for one serves both.
fn video_rom(display: Display) -> &'static str {
    match display {
        Display::Vga => "pci1234,1111.rom",
        Display::Virtio => "pci1af4,1050.rom",
    }
}

/// The same for a network adapter, whose function is a modern one. iPXE's part for virtio knows both kinds.
const NETWORK_ROM: &str = "pci1af4,1041.rom";

/// fw_cfg with everything that describes this machine. `disks` are their names to firmware, in the order of booting; `roms` are
/// for the devices that have them; `kernel` is booted before them.
pub fn fw_cfg(
    spec: &Spec,
    layout: &Layout,
    memory: &Arc<Memory>,
    disks: &[String],
    roms: OptionRoms<'_>,
    kernel: Items,
) -> FwCfg {
    let rom = kernel.option_rom.iter().map(|_| option_rom::BOOT_PATH);
    let order: Vec<_> = rom.chain(disks.iter().map(String::as_str)).collect();
    let mut fw_cfg = FwCfg::new(spec.vcpus as u16, layout.memory(), memory.clone());
    let acpi = loader::files(layout, spec.vcpus);
    let (anchor, structures) = smbios::for_firmware(&spec.smbios);
    for (name, data) in [
        ("etc/e820", layout.e820_for_firmware().iter().flat_map(e820).collect()),
        (loader::RSDP_FILE, acpi.rsdp),
        (loader::TABLES_FILE, acpi.tables),
        ("etc/table-loader", acpi.loader),
        ("etc/smbios/smbios-anchor", anchor),
        ("etc/smbios/smbios-tables", structures),
        ("etc/sercon-port", TEXT_PORT.to_le_bytes().to_vec()),
        ("etc/boot-fail-wait", STAY.to_le_bytes().to_vec()),
        ("bootorder", boot_order(&order)),
    ] {
        fw_cfg.add_file(name, data);
    }
    if let Some((video, display)) = roms.video.zip(spec.display) {
        fw_cfg.add_file(video_rom(display), video.to_vec());
    }
    if let Some(network) = roms.network.filter(|_| !spec.nics.is_empty()) {
        fw_cfg.add_file(NETWORK_ROM, network.to_vec());
    }
    if let Some(rom) = kernel.option_rom {
        fw_cfg.add_file(option_rom::FILE, rom);
    }
    kernel.numbered.into_iter().for_each(|(key, data)| fw_cfg.add_item(key, data));
    fw_cfg
}

fn e820(entry: &E820) -> Vec<u8> {
    [&entry.start.to_le_bytes()[..], &entry.size.to_le_bytes(), &(entry.kind as u32).to_le_bytes()].concat()
}

/// Open Firmware's paths, a line each (SeaBIOS, `Runtime_config`).
fn boot_order(names: &[&str]) -> Vec<u8> {
    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
    lines.into_bytes().into_iter().chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_order_has_a_line_for_each_disk() {
        assert_eq!(boot_order(&["/a", "/b"]), b"/a\n/b\n\0");
    }
}
