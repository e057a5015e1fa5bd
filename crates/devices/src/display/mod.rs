//! The display: a VGA with the Bochs interface for larger modes, as QEMU's `stdvga` (PCI 1234:1111).
//!
//! Video memory is an [`Aperture`](ireko_vmcore::memory::Aperture): at its BAR the guest has it as ordinary memory. The window
//! at A0000h, where planes are, is trapped.

mod dispi;
mod picture;
mod planes;
pub mod regs;
pub mod saved;
#[cfg(test)]
mod tests;
mod text;
mod vga;

pub use picture::Picture;

use crate::access::{copy_out, fill, value};
use crate::pci::{Bar, Bars, ConfigSpace, Function, Identity};
use crate::{lock, shared};
use ireko_vmcore::{Device, Memory, Record, RestoreError, SavedState, Space};
use regs::*;
use std::sync::{Arc, Mutex};
use vga::Vga;

/// The window, the VGA's ports, the Bochs interface's.
pub const PLACES: [u64; 3] = [WINDOW, PORTS, DISPI_PORTS];
const WINDOW_REGION: usize = 0;
const PORTS_REGION: usize = 1;

/// A picture from elsewhere, which covers the VGA's while there is one.
pub trait Overlay: Send + Sync {
    fn picture(&self) -> Option<Picture>;
    /// Whether there is one.
    fn covers(&self) -> bool;
}

/// What others see of a display. Cheap to clone.
#[derive(Clone)]
pub struct Screen {
    vga: Arc<Mutex<Vga>>,
    overlay: Option<Arc<dyn Overlay>>,
}

impl Screen {
    pub fn picture(&self) -> Picture {
        let over = self.overlay.as_ref().and_then(|overlay| overlay.picture());
        over.unwrap_or_else(|| lock(&self.vga).picture())
    }
    /// A line for each row of characters; `None` in graphics modes.
    pub fn text(&self) -> Option<String> {
        let covered = self.overlay.as_ref().is_some_and(|overlay| overlay.covers());
        if covered { None } else { lock(&self.vga).characters() }
    }
}

/// A display: its PCI function, what it has at fixed places, and its screen.
pub struct Parts<F> {
    pub function: Arc<Mutex<F>>,
    pub legacy: Arc<Mutex<Legacy>>,
    pub screen: Screen,
}

/// `None` where memory has no aperture.
pub fn display(memory: &Arc<Memory>) -> Option<Parts<Display>> {
    display_as(memory, None, |bars| shared(Display::new(bars)))
}

/// The VGA as a part of another function, which is made of its BARs.
pub fn display_as<F>(
    memory: &Arc<Memory>,
    overlay: Option<Arc<dyn Overlay>>,
    function: impl FnOnce(VgaBars) -> Arc<Mutex<F>>,
) -> Option<Parts<F>> {
    let vga = Arc::new(Mutex::new(Vga::new(memory.aperture()?.clone())));
    let function = function(VgaBars { vga: vga.clone(), memory: memory.clone() });
    Some(Parts { function, legacy: shared(Legacy(vga.clone())), screen: Screen { vga, overlay } })
}

/// Video memory and the registers as memory.
pub struct VgaBars {
    vga: Arc<Mutex<Vga>>,
    memory: Arc<Memory>,
}

impl Bars for VgaBars {
    fn add(&self, config: &mut ConfigSpace) {
        config.add_bar(FRAMEBUFFER_BAR, Bar::Memory32(MEMORY));
        config.add_bar(REGISTERS_BAR, Bar::Memory32(REGISTERS_SIZE));
    }
    fn placed(&mut self, config: &ConfigSpace) {
        let place = config.decoded().find(|(bar, ..)| *bar == FRAMEBUFFER_BAR);
        self.memory.place_aperture(place.map(|(.., address)| address));
    }
    /// The framebuffer is memory, and gets here only where it lies over other memory.
    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if bar != REGISTERS_BAR {
            return;
        }
        let mut vga = lock(&self.vga);
        match offset {
            MMIO_PORTS..MMIO_PORTS_END => {
                let ports = (ATTRIBUTE + (offset - MMIO_PORTS) as u16)..;
                data.iter_mut().zip(ports).for_each(|(byte, port)| *byte = vga.read_port(port));
            }
            MMIO_DISPI..MMIO_DISPI_END => {
                fill(data, vga.dispi.read((offset - MMIO_DISPI) as usize / 2).into());
            }
            MMIO_EXTENSION.. => copy_out(&EXTENSION, offset - MMIO_EXTENSION, data),
            _ => data.fill(0),
        }
    }
    fn write(&mut self, bar: usize, offset: u64, data: &[u8]) {
        if bar != REGISTERS_BAR {
            return;
        }
        let mut vga = lock(&self.vga);
        match offset {
            MMIO_PORTS..MMIO_PORTS_END => {
                let ports = (ATTRIBUTE + (offset - MMIO_PORTS) as u16)..;
                data.iter().zip(ports).for_each(|(byte, port)| vga.write_port(port, *byte));
            }
            MMIO_DISPI..MMIO_DISPI_END => {
                vga.write_dispi((offset - MMIO_DISPI) as usize / 2, value(data) as u16);
            }
            _ => {}
        }
    }
    fn reset(&mut self) {
        lock(&self.vga).reset();
    }
    fn record(&self) -> Record {
        SavedState::record(self)
    }
    fn restore(&mut self, record: &Record) -> Result<(), RestoreError> {
        self.restore_record(record)
    }
}

/// The PCI function.
pub struct Display {
    bars: VgaBars,
    config: ConfigSpace,
}

impl Display {
    fn new(bars: VgaBars) -> Self {
        let mut config = ConfigSpace::new(Identity {
            vendor: VENDOR,
            device: DEVICE,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
            revision: REVISION,
            class: CLASS,
        });
        bars.add(&mut config);
        Self { bars, config }
    }
}

impl Function for Display {
    fn name(&self) -> &'static str {
        "display"
    }
    fn config(&self) -> &ConfigSpace {
        &self.config
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
    fn placed(&mut self) {
        self.bars.placed(&self.config);
    }
    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        self.bars.read(bar, offset, data);
    }
    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8]) {
        self.bars.write(bar, offset, data);
    }
    fn reset(&mut self) {
        self.bars.reset();
    }
    fn saved(&mut self) -> &mut dyn SavedState {
        self
    }
}

/// What a VGA has at fixed places.
pub struct Legacy(Arc<Mutex<Vga>>);

impl Device for Legacy {
    fn name(&self) -> &'static str {
        "vga"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Mmio, WINDOW_SIZE), (Space::Port, PORTS_SIZE), (Space::Port, DISPI_PORTS_SIZE)]
    }
    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        let mut vga = lock(&self.0);
        match region {
            WINDOW_REGION => data.iter_mut().zip(offset..).for_each(|(byte, at)| *byte = vga.read_window(at)),
            PORTS_REGION => {
                let ports = PORTS as u16 + offset as u16..;
                data.iter_mut().zip(ports).for_each(|(byte, port)| *byte = vga.read_port(port));
            }
            _ if offset == 0 => fill(data, vga.dispi.selected().into()),
            _ => fill(data, vga.dispi.read(vga.dispi.selected().into()).into()),
        }
    }
    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        let mut vga = lock(&self.0);
        match region {
            WINDOW_REGION => data.iter().zip(offset..).for_each(|(byte, at)| vga.write_window(at, *byte)),
            PORTS_REGION => {
                let ports = PORTS as u16 + offset as u16..;
                data.iter().zip(ports).for_each(|(byte, port)| vga.write_port(port, *byte));
            }
            _ if offset == 0 => vga.dispi.select(value(data) as u16),
            _ => {
                let index = vga.dispi.selected();
                vga.write_dispi(index.into(), value(data) as u16);
            }
        }
    }
    fn reset(&mut self) {}
    /// It is its function's.
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        None
    }
}
