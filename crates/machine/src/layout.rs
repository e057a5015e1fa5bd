//! Where everything lies in guest physical memory.

use crate::MachineError;
use crate::spec::MIB;
use ireko_vmcore::Memory;
use ireko_vmcore::memory::{AREAS, Inside};
use std::ops::Range;

pub const GIB: u64 = 1 << 30;

// Boot structures, all in the first 640 KiB; the kernel is done with them before it uses that memory.
pub const GDT: u64 = 0x500;
pub const ZERO_PAGE: u64 = 0x7000;
/// PML4, PDPT and four page directories, for 4 GiB.
pub const PAGE_TABLES: u64 = 0x9000;
pub const BOOT_STACK: u64 = 0x8ff0;
/// What kernels of the other protocols are told lies at the first of these where the kernel is not. The second is where kernels make
/// room for code of real mode, below what they take for the extended BIOS data area.
pub const BOOT_INFORMATION: [Range<u64>; 2] = [0x1_0000..0x2_0000, 0x9_0000..CONVENTIONAL_END];
/// A kernel's command line may have so much of it.
pub const MULTIBOOT_COMMAND_LINE_ROOM: usize = 0xec00;
/// Below 1 MiB a multiboot kernel may be loaded here.
pub const MULTIBOOT_LOW: Range<u64> = 0x1000..0x9_0000;
pub const COMMAND_LINE: u64 = 0x2_0000;
pub const COMMAND_LINE_ROOM: usize = 0x1_0000;
/// The end of conventional memory: what follows is the extended BIOS data area and video memory.
pub const CONVENTIONAL_END: u64 = 0x9_fc00;

/// System-management mode of a machine without firmware: a handler that goes back at once. Memory under the video memory, which is
/// the mode's alone.
const MANAGEMENT: u64 = 0xa_0000;
/// The same where a display has that place: between video memory and the tables, where systems look for ROMs only.
const MANAGEMENT_BESIDE_DISPLAY: u64 = 0xc_0000;
/// A display's window: no memory.
pub const VIDEO: Range<u64> = 0xa_0000..0xc_0000;

/// The RSDP is looked for from here on, in steps of 16 bytes (ACPI 6.5, 5.2.5.1).
pub const ACPI: Range<u64> = 0xe_0000..0xf_0000;
/// The SMBIOS entry point is looked for here (SMBIOS 3.6, 5.2.2).
pub const SMBIOS: Range<u64> = 0xf_0000..0x10_0000;
/// Behind the tables of the above. The routing table of PCI's interrupts is looked for from F0000h on, in steps of 16 bytes.
pub const PCI_INTERRUPTS: u64 = 0xf_f000;
/// Handlers of real-mode interrupts.
pub const BIOS_HANDLERS: u64 = 0xf_f800;
pub const HIGH_MEMORY: u64 = MIB;

/// RAM below 4 GiB ends here at most.
pub const LOW_RAM_END: u64 = 3 * GIB;
const PCI_MMIO32: Range<u64> = 0xc000_0000..0xe000_0000;
pub const PCI_ECAM: u64 = 0xe000_0000;
pub const PCI_PORTS: Range<u64> = 0xc000..0x1_0000;
const HIGH_RAM: u64 = 4 * GIB;
/// With firmware, PCI has all between RAM and the IOAPIC: SeaBIOS places BARs from there downwards.
const FIRMWARE_PCI_END: u64 = 0xfec0_0000;
/// Where OVMF puts configuration space, with room for 256 buses, and where RAM ends below it.
const Q35_ECAM: u64 = 0xb000_0000;
const Q35_ECAM_ROOM: u64 = 256 * MIB;
const Q35_LOW_RAM_END: u64 = 2 * GIB;
/// Where processors start: firmware ends here.
pub const FIRMWARE_END: u64 = 4 * GIB;
/// The last part of a BIOS is here as well, as if it had been shadowed.
pub const BIOS_SHADOW: Range<u64> = 0xe_0000..0x10_0000;
const PCI_MMIO64_LEAST: u64 = 64 * GIB;
const PCI_MMIO64_SIZE: u64 = 16 * GIB;
/// OVMF's first address for BARs of 64 bits, in a guest whose memory ends below it.
const FIRMWARE_MMIO64_LEAST: u64 = 32 * GIB;
/// AMD's processors keep what follows, up to 1 TiB, to themselves.
const FIRMWARE_MMIO64_END: u64 = 0xfd_0000_0000;

pub const LEAST_MEMORY: u64 = 8 * MIB;
/// What fits under a 40-bit physical address with the 64-bit PCI window above it.
const MOST_MEMORY: u64 = 512 * GIB;

/// What firmware and kernels find their devices by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Board {
    /// For kernels that are started directly: placed by the machine, described by ACPI.
    #[default]
    Direct,
    /// i440FX with PIIX, as SeaBIOS expects it.
    I440fx,
    /// Q35 with ICH9, as OVMF expects it.
    Q35,
}

/// The RAM of one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub board: Board,
    /// There is a display.
    pub display: bool,
    /// Disks may come and go.
    pub hot_plug: bool,
    /// There is a second serial port.
    pub second_serial: bool,
    /// There is an event timer of high precision.
    pub hpet: bool,
    /// There is memory behind a display's window, for system-management mode.
    pub smram: bool,
    /// Bytes of firmware below 4 GiB.
    pub firmware_size: u64,
    /// RAM from 0 to here.
    pub low_end: u64,
    /// Bytes of RAM from 4 GiB on.
    pub high_size: u64,
    /// Room above all RAM for memory that is added while the VM runs, not in the firmware's map.
    pub hot_size: u64,
}

impl Layout {
    pub fn new(memory: u64) -> Result<Self, MachineError> {
        if memory < LEAST_MEMORY {
            return Err(MachineError::MemoryTooSmall { has_bytes: memory, least_mib: LEAST_MEMORY / MIB });
        }
        if !memory.is_multiple_of(2 * MIB) {
            return Err(MachineError::MemoryOdd(memory));
        }
        if memory > MOST_MEMORY {
            return Err(MachineError::MemoryBeyondHost {
                asked_mib: memory / MIB,
                free_mib: MOST_MEMORY / MIB,
            });
        }
        let low_end = memory.min(LOW_RAM_END);
        let (board, display) = (Board::default(), false);
        Ok(Self {
            board,
            display,
            hot_plug: false,
            second_serial: false,
            hpet: false,
            smram: false,
            firmware_size: 0,
            low_end,
            high_size: memory - low_end,
            hot_size: 0,
        })
    }

    /// With so many bytes of firmware, on the board that it is for.
    pub fn with_firmware(self, board: Board, bytes: u64) -> Self {
        let low_end = if board == Board::Q35 { self.low_end.min(Q35_LOW_RAM_END) } else { self.low_end };
        let high_size = self.high_size + self.low_end - low_end;
        Self { board, firmware_size: bytes, low_end, high_size, ..self }
    }

    /// With a display, or without.
    pub fn with_display(self, display: bool) -> Self {
        Self { display, ..self }
    }

    /// With slots whose disks may come and go, or without.
    pub fn with_hot_plug(self, hot_plug: bool) -> Self {
        Self { hot_plug, ..self }
    }

    /// With a second serial port, or without.
    pub fn with_second_serial(self, second_serial: bool) -> Self {
        Self { second_serial, ..self }
    }

    /// With the event timer that boards have which firmware knows, unless an engine brings timers that know nothing of it.
    pub fn with_timers_of(self, irqchip: bool) -> Self {
        Self { hpet: self.board != Board::Direct && !irqchip, ..self }
    }

    /// With what the chipset has for system-management mode, where the engine has that.
    pub fn with_management(self, management: bool) -> Self {
        Self { smram: self.board != Board::Direct && management, ..self }
    }

    /// Whether there are keyboard and mouse: on every board that firmware knows, and for a display.
    pub fn keyboard(&self) -> bool {
        self.display || self.board != Board::Direct
    }

    /// Where system-management mode has its memory on a machine without firmware, and whether that is its alone.
    pub fn management(&self) -> (u64, bool) {
        if self.display { (MANAGEMENT_BESIDE_DISPLAY, false) } else { (MANAGEMENT, true) }
    }

    /// With room for `bytes` to be added while the VM runs, as far as addresses reach.
    pub fn with_hot(self, bytes: u64) -> Self {
        let most = MOST_MEMORY - self.memory();
        Self { hot_size: bytes.min(most) / (2 * MIB) * (2 * MIB), ..self }
    }

    /// For `Memory::with_room`.
    pub fn room(&self) -> Option<(u64, u64)> {
        (self.hot_size > 0).then(|| (self.hot().start, self.hot_size))
    }

    /// Where memory can be added. Linux adds memory in sections of up to 2 GiB; an odd start would cost it a part.
    pub fn hot(&self) -> Range<u64> {
        let start = (HIGH_RAM + self.high_size).next_multiple_of(2 * GIB);
        start..start + self.hot_size
    }

    /// RAM at the start, and where the firmware is: address and size.
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges = match self.display && !self.smram {
            true => vec![(0, VIDEO.start), (VIDEO.end, self.low_end - VIDEO.end)],
            false => vec![(0, self.low_end)],
        };
        if self.firmware_size > 0 {
            ranges.push((FIRMWARE_END - self.firmware_size, self.firmware_size));
        }
        if self.high_size > 0 {
            ranges.push((HIGH_RAM, self.high_size));
        }
        ranges
    }

    /// What firmware finds that cannot be written: itself, and where its chipset has shadow RAM all of that, until it is opened.
    pub fn protect(&self, memory: &Memory) {
        if self.board != Board::Direct {
            memory.make_rom(FIRMWARE_END - self.firmware_size..FIRMWARE_END);
            memory.protect(u32::MAX >> (u32::BITS - AREAS));
            memory.shadow(u32::MAX >> (u32::BITS - AREAS));
            memory.hide([VIDEO, 0..0]);
            memory.show_inside(Inside::Nothing);
        }
    }

    /// Bytes at the start.
    pub fn memory(&self) -> u64 {
        self.low_end + self.high_size
    }

    /// The PCI window below 4 GiB.
    pub fn pci_mmio32(&self) -> Range<u64> {
        match self.board {
            Board::Direct => PCI_MMIO32,
            Board::I440fx => self.low_end..FIRMWARE_PCI_END,
            Board::Q35 => Q35_ECAM + Q35_ECAM_ROOM..FIRMWARE_PCI_END,
        }
    }

    /// Configuration space as memory, where the board has it.
    pub fn pci_ecam(&self) -> Option<u64> {
        match self.board {
            Board::Direct => Some(PCI_ECAM),
            Board::I440fx => None,
            Board::Q35 => Some(Q35_ECAM),
        }
    }

    /// The PCI window above all RAM. Firmware chooses its own part of what there is.
    pub fn pci_mmio64(&self) -> Range<u64> {
        let free = self.hot().end.next_multiple_of(GIB);
        match self.board {
            Board::Direct => {
                let start = free.max(PCI_MMIO64_LEAST);
                start..start + PCI_MMIO64_SIZE
            }
            Board::I440fx | Board::Q35 => free.max(FIRMWARE_MMIO64_LEAST)..FIRMWARE_MMIO64_END,
        }
    }

    /// RAM, for firmware that makes the memory map itself.
    pub fn e820_for_firmware(&self) -> Vec<E820> {
        let ram = |start, size| E820 { start, size, kind: E820Kind::Ram };
        let high = (self.high_size > 0).then_some(ram(HIGH_RAM, self.high_size));
        [ram(0, self.low_end)].into_iter().chain(high).collect()
    }

    /// The memory map that firmware would give (ACPI 6.5, 15).
    pub fn e820(&self) -> Vec<E820> {
        let entry =
            |range: Range<u64>, kind| E820 { start: range.start, size: range.end - range.start, kind };
        let mut map = vec![
            entry(0..CONVENTIONAL_END, E820Kind::Ram),
            entry(CONVENTIONAL_END..0xa_0000, E820Kind::Reserved),
            entry(ACPI.start..SMBIOS.end, E820Kind::Reserved),
            entry(HIGH_MEMORY..self.low_end, E820Kind::Ram),
            entry(PCI_ECAM..PCI_ECAM + MIB, E820Kind::Reserved),
        ];
        if self.high_size > 0 {
            map.push(entry(HIGH_RAM..HIGH_RAM + self.high_size, E820Kind::Ram));
        }
        map
    }
}

/// Address range types (ACPI 6.5, table 15.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum E820Kind {
    Ram = 1,
    Reserved = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct E820 {
    pub start: u64,
    pub size: u64,
    pub kind: E820Kind,
}

/// Refuses what this host cannot back: `MemAvailable` of `/proc/meminfo`, where there is one.
pub fn check_host_memory(memory: u64) -> Result<(), MachineError> {
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else { return Ok(()) };
    match available(&text) {
        Some(free) if memory > free => {
            Err(MachineError::MemoryBeyondHost { asked_mib: memory / MIB, free_mib: free / MIB })
        }
        _ => Ok(()),
    }
}

/// Bytes of `MemAvailable` in the text of `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_beyond_3_gib_continues_at_4_gib() {
        let layout = Layout::new(5 * GIB).unwrap();
        assert_eq!(layout.ranges(), [(0, 3 * GIB), (4 * GIB, 2 * GIB)]);
    }

    #[test]
    fn firmware_ends_at_4_gib_and_pci_before_it() {
        let layout = Layout::new(5 * GIB).unwrap().with_firmware(Board::I440fx, 256 << 10);
        assert_eq!(layout.ranges()[1], (4 * GIB - (256 << 10), 256 << 10));
        assert_eq!(layout.pci_mmio32(), 3 * GIB..0xfec0_0000);
        assert_eq!(layout.memory(), 5 * GIB);
    }

    #[test]
    fn generation_2_has_no_memory_where_configuration_space_is() {
        let layout = Layout::new(5 * GIB).unwrap().with_firmware(Board::Q35, 4 * MIB);
        assert_eq!(layout.ranges(), [(0, 2 * GIB), (4 * GIB - 4 * MIB, 4 * MIB), (4 * GIB, 3 * GIB)]);
        assert_eq!(layout.pci_mmio32(), 3 * GIB..0xfec0_0000);
    }

    #[test]
    fn where_a_display_has_its_window_is_no_memory() {
        let layout = Layout::new(GIB).unwrap().with_display(true);
        assert_eq!(layout.ranges(), [(0, 0xa_0000), (0xc_0000, GIB - 0xc_0000)]);
        assert!(!layout.ranges().iter().any(|(start, size)| (*start..start + size).contains(&VIDEO.start)));
    }

    #[test]
    fn behind_the_window_is_memory_where_system_management_mode_can_have_it() {
        let layout = |board| Layout { board, ..Layout::new(GIB).unwrap().with_display(true) };
        assert_eq!(layout(Board::Q35).with_management(true).ranges(), [(0, GIB)]);
        assert_eq!(layout(Board::Q35).with_management(false).ranges().len(), 2);
        assert_eq!(layout(Board::Direct).with_management(true).ranges().len(), 2);
    }

    #[test]
    fn the_memory_map_is_ascending_and_disjoint() {
        let map = Layout::new(5 * GIB).unwrap().e820();
        assert!(map.windows(2).all(|w| w[0].start + w[0].size <= w[1].start));
    }

    #[test]
    fn the_memory_map_gives_all_ram_but_the_bios_area() {
        let ram: u64 =
            Layout::new(GIB).unwrap().e820().iter().filter(|e| e.kind == E820Kind::Ram).map(|e| e.size).sum();
        assert_eq!(ram, GIB - (HIGH_MEMORY - CONVENTIONAL_END));
    }

    #[test]
    fn the_64_bit_pci_window_is_above_all_ram() {
        let layout = Layout::new(200 * GIB).unwrap();
        assert!(layout.pci_mmio64().start >= 4 * GIB + layout.high_size);
    }

    /// OVMF takes a multiple of 32 GiB above RAM, as large as its base.
    #[test]
    fn firmwares_64_bit_bars_are_decoded_wherever_it_puts_them() {
        for (gib, base) in [(1, 32), (31, 32), (100, 128)] {
            let layout = Layout { board: Board::Q35, ..Layout::new(gib * GIB).unwrap() };
            assert!(layout.pci_mmio64().contains(&(base * GIB)), "{gib} GiB");
        }
    }

    #[test]
    fn memory_can_be_added_above_all_ram_and_outside_the_memory_map() {
        let layout = Layout::new(5 * GIB).unwrap().with_hot(100 * GIB + 7);
        assert_eq!((layout.ranges().len(), layout.room()), (2, Some((6 * GIB, 100 * GIB))));
        assert!(layout.e820().iter().all(|e| e.start + e.size <= layout.hot().start));
        assert!(layout.pci_mmio64().start >= layout.hot().end);
        assert_eq!(layout.memory(), 5 * GIB);
    }

    #[test]
    fn no_more_memory_can_be_added_than_addresses_reach() {
        assert!(Layout::new(GIB).unwrap().with_hot(u64::MAX).pci_mmio64().end <= 1 << 40);
    }

    #[test]
    fn too_little_memory_says_the_minimum() {
        assert!(Layout::new(MIB).unwrap_err().to_string().contains("at least 8 MiB"));
    }

    #[test]
    fn odd_memory_is_refused() {
        assert!(matches!(Layout::new(64 * MIB + 4096), Err(MachineError::MemoryOdd(_))));
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn more_memory_than_the_host_has_is_refused() {
        assert!(matches!(check_host_memory(1 << 60), Err(MachineError::MemoryBeyondHost { .. })));
    }
}
