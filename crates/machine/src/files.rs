//! The files of a VM, read and checked before anything is made: what its first processor starts with.

use crate::boot::{self, Payload};
use crate::firmware::{Bios, Uefi};
use crate::image::Image;
use crate::layout::{self, Board, Layout};
use crate::{Firmware, MachineError, Spec, acpi, pirq, smbios};
use ireko_devices::Flash;
use ireko_vmcore::{Bus, CpuState, Memory, OnThread};
use std::sync::Arc;

pub enum Files {
    Kernel { image: Image, kernel: Arc<Vec<u8>>, initrd: Option<Arc<Vec<u8>>> },
    Bios(Bios),
    Uefi(Uefi),
}

impl Files {
    pub fn read(spec: &Spec) -> Result<Self, MachineError> {
        match (&spec.firmware, &spec.kernel) {
            (Some(Firmware::Bios { image, video }), _) => Ok(Self::Bios(Bios::read(image, video.as_ref())?)),
            (Some(Firmware::Uefi { code, variables }), _) => {
                Uefi::check_memory(spec.memory)?;
                Ok(Self::Uefi(Uefi::read(code, variables)?))
            }
            (None, Some(source)) => {
                let kernel = source.read("kernel", spec.memory)?;
                let image = Image::parse(&source.name(), &kernel)?;
                let initrd = spec.initrd.as_ref().map(|source| source.read("initrd", spec.memory));
                Ok(Self::Kernel { image, kernel, initrd: initrd.transpose()? })
            }
            (None, None) => Err(MachineError::NothingToStart),
        }
    }

    /// The same RAM, with what the files need beside it.
    pub fn layout(&self, layout: Layout) -> Layout {
        match self {
            Self::Kernel { .. } => layout,
            Self::Bios(bios) => layout.with_firmware(Board::I440fx, bios.size()),
            Self::Uefi(uefi) => layout.with_firmware(Board::Q35, uefi.size()),
        }
    }

    /// Puts everything into memory. Gives the state in which processor 0 starts.
    pub fn load(&self, memory: &Memory, layout: &Layout, spec: &Spec) -> Result<CpuState, MachineError> {
        match self {
            Self::Kernel { image, kernel, initrd } => {
                let name =
                    |source: &Option<crate::Source>| source.as_ref().map(|s| s.name()).unwrap_or_default();
                let payload = Payload {
                    name: name(&spec.kernel),
                    image,
                    bytes: kernel,
                    initrd: initrd.as_ref().map(|data| (name(&spec.initrd), data.as_slice())),
                    command_line: &spec.command_line,
                };
                let state = boot::load(memory, layout, &payload)?;
                write_tables(memory, layout, spec)?;
                Ok(state)
            }
            Self::Bios(bios) => {
                bios.load(memory)?;
                Ok(CpuState::reset())
            }
            Self::Uefi(uefi) => {
                uefi.load(memory)?;
                Ok(CpuState::reset())
            }
        }
    }

    /// Programs what a BIOS would have programmed for who starts from these files.
    pub fn program(&self, bus: &dyn Bus) {
        if let Self::Kernel { image: Image::Multiboot(_), .. } = self {
            boot::bios::program(bus);
        }
    }

    /// The display's BIOS, which firmware runs.
    pub fn video(&self) -> Option<&[u8]> {
        if let Self::Bios(bios) = self { bios.video() } else { None }
    }

    /// The flash memory that the machine has beside RAM, and where.
    pub fn flash(&self, first: &OnThread) -> Result<Option<(Flash, u64)>, MachineError> {
        match self {
            Self::Uefi(uefi) => uefi.flash(first).map(Some),
            _ => Ok(None),
        }
    }
}

/// What firmware would have left in memory.
fn write_tables(memory: &Memory, layout: &Layout, spec: &Spec) -> Result<(), MachineError> {
    boot::put(memory.ram(), layout::ACPI.start, &acpi::tables(layout, spec.vcpus)?)?;
    let tables = smbios::tables(&spec.smbios, layout::SMBIOS.start);
    boot::put(memory.ram(), layout::SMBIOS.start, &tables)?;
    boot::put(memory.ram(), layout::PCI_INTERRUPTS, &pirq::table())
}
