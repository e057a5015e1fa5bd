//! The files of a VM, read and checked before anything is made: what its first processor starts with.

use crate::boot::{self, Module, Payload};
use crate::firmware::{Bios, Items, Loadable, OptionRoms, Uefi};
use crate::image::{Image, Protocol, gzip};
use crate::layout::{self, Board, Layout};
use crate::{Firmware, MachineError, ModuleSpec, Source, Spec, acpi, pirq, smbios};
use ireko_devices::Flash;
use ireko_vmcore::{Bus, CpuState, Memory, OnThread};
use std::sync::Arc;

pub enum Files {
    Kernel(Kernel),
    /// With a kernel, firmware starts that.
    Bios(Bios, Option<Loadable>),
    Uefi(Uefi, Option<Loadable>),
}

/// A kernel and what is loaded beside it.
pub struct Kernel {
    image: Image,
    bytes: Arc<Vec<u8>>,
    initrd: Option<Arc<Vec<u8>>>,
    modules: Vec<Arc<Vec<u8>>>,
}

impl Kernel {
    fn read(source: &Source, spec: &Spec) -> Result<Self, MachineError> {
        let (name, memory) = (source.name(), spec.memory);
        let mut bytes = source.read("kernel", memory)?;
        if gzip::is(&bytes) {
            bytes = Arc::new(gzip::unpack(&name, &bytes, memory)?);
        }
        let initrd = spec.initrd.as_ref().map(|source| source.read("initrd", memory));
        let modules = spec.modules.iter().map(|module| module.source.read("module", memory));
        Ok(Self {
            image: Image::parse(&name, &bytes, spec.protocol)?,
            bytes,
            initrd: initrd.transpose()?,
            modules: modules.collect::<Result<_, _>>()?,
        })
    }

    fn load(&self, memory: &Memory, layout: &Layout, spec: &Spec) -> Result<CpuState, MachineError> {
        let name = |source: &Option<Source>| source.as_ref().map(Source::name).unwrap_or_default();
        let payload = Payload {
            name: name(&spec.kernel),
            image: &self.image,
            bytes: &self.bytes,
            initrd: self.initrd.as_ref().map(|data| (name(&spec.initrd), data.as_slice())),
            modules: spec.modules.iter().zip(&self.modules).map(|(spec, data)| module(spec, data)).collect(),
            command_line: &spec.command_line,
        };
        let state = boot::load(memory, layout, spec.vcpus, &payload)?;
        write_tables(memory, layout, spec)?;
        Ok(state)
    }
}

fn module<'a>(spec: &'a ModuleSpec, data: &'a [u8]) -> Module<'a> {
    Module { name: spec.source.name(), command_line: &spec.command_line, data }
}

impl Files {
    pub fn read(spec: &Spec) -> Result<Self, MachineError> {
        match (&spec.firmware, &spec.kernel) {
            (Some(Firmware::Bios { image, video, network }), _) => {
                let bios = Bios::read(image, video.as_ref(), network.as_ref())?;
                Ok(Self::Bios(bios, Loadable::read(spec)?))
            }
            (Some(Firmware::Uefi { code, variables, secure_boot }), _) => {
                Uefi::check_memory(spec.memory)?;
                let uefi = Uefi::read(code, variables, *secure_boot)?;
                let kernel = Loadable::read(spec)?;
                if let Some(kernel) = kernel.as_ref().filter(|_| *secure_boot) {
                    kernel.check_memory_for_secure_boot(spec.memory)?;
                }
                Ok(Self::Uefi(uefi, kernel))
            }
            (None, Some(source)) => Ok(Self::Kernel(Kernel::read(source, spec)?)),
            (None, None) => Err(MachineError::NothingToStart),
        }
    }

    /// The same RAM, with what the files need beside it.
    pub fn layout(&self, layout: Layout) -> Layout {
        match self {
            Self::Kernel(_) => layout,
            Self::Bios(bios, _) => layout.with_firmware(Board::I440fx, bios.size()),
            Self::Uefi(uefi, _) => layout.with_firmware(Board::Q35, uefi.size()),
        }
    }

    /// Puts everything into memory. Gives the state in which processor 0 starts.
    pub fn load(&self, memory: &Memory, layout: &Layout, spec: &Spec) -> Result<CpuState, MachineError> {
        match self {
            Self::Kernel(kernel) => kernel.load(memory, layout, spec),
            Self::Bios(bios, _) => {
                bios.load(memory)?;
                Ok(CpuState::reset())
            }
            Self::Uefi(uefi, _) => {
                uefi.load(memory)?;
                Ok(CpuState::reset())
            }
        }
    }

    /// Programs what a BIOS would have programmed for who starts from these files.
    pub fn program(&self, bus: &dyn Bus) {
        if let Self::Kernel(kernel) = self
            && matches!(kernel.image.protocol(), Protocol::Multiboot | Protocol::Multiboot2)
        {
            boot::bios::program(bus);
        }
    }

    /// What firmware is told of the kernel that it is to start.
    pub fn for_firmware(&self, layout: &Layout) -> Result<Items, MachineError> {
        let items = match self {
            Self::Kernel(_) => None,
            Self::Bios(_, kernel) => kernel.as_ref().map(|kernel| kernel.for_bios(layout)).transpose()?,
            Self::Uefi(uefi, kernel) => {
                kernel.as_ref().map(|kernel| kernel.for_uefi(uefi.secure_boot())).transpose()?
            }
        };
        Ok(items.unwrap_or_default())
    }

    /// What firmware runs for devices.
    pub fn option_roms(&self) -> OptionRoms<'_> {
        if let Self::Bios(bios, _) = self { bios.option_roms() } else { OptionRoms::default() }
    }

    /// The flash memory that the machine has beside RAM, and where.
    pub fn flash(&self, first: &OnThread) -> Result<Option<(Flash, u64)>, MachineError> {
        match self {
            Self::Uefi(uefi, _) => uefi.flash(first).map(Some),
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
