//! Firmware: its image in memory, and what it is told about the machine.

mod items;
mod kernel;
mod loader;
mod option_rom;
mod uefi;
mod variable_store;

pub use items::fw_cfg;
pub use kernel::{Items, Loadable};
pub use uefi::Uefi;
pub use variable_store::Damage;

use crate::layout::{BIOS_SHADOW, FIRMWARE_END};
use crate::{MachineError, Source, boot};
use ireko_vmcore::Memory;
use std::sync::Arc;

/// The image of a BIOS, and those of devices.
pub struct Bios {
    image: Arc<Vec<u8>>,
    video: Option<Arc<Vec<u8>>>,
    network: Option<Arc<Vec<u8>>>,
}

/// What a BIOS runs for devices that it does not know.
#[derive(Clone, Copy, Default)]
pub struct OptionRoms<'a> {
    pub video: Option<&'a [u8]>,
    pub network: Option<&'a [u8]>,
}

impl Bios {
    /// SeaBIOS' images have 128 and 256 KiB.
    const SIZES: [usize; 3] = [128 << 10, 256 << 10, 512 << 10];

    pub fn read(
        source: &Source,
        video: Option<&Source>,
        network: Option<&Source>,
    ) -> Result<Self, MachineError> {
        let most = Self::SIZES[2] as u64;
        let wrong = |size| MachineError::FirmwareSize { name: source.name(), size };
        let image = source.read("firmware", most).map_err(|error| match error {
            MachineError::FileTooLarge { .. } => wrong(format!("more than {most}")),
            other => other,
        })?;
        if !Self::SIZES.contains(&image.len()) {
            return Err(wrong(image.len().to_string()));
        }
        // What fits below the other parts of a BIOS, at C0000h.
        const MOST: u64 = 128 << 10;
        let video = video.map(|video| video.read("video BIOS", MOST)).transpose()?;
        let network = network.map(|network| network.read("network adapter's BIOS", MOST)).transpose()?;
        Ok(Self { image, video, network })
    }

    pub fn size(&self) -> u64 {
        self.image.len() as u64
    }

    pub fn option_roms(&self) -> OptionRoms<'_> {
        let [video, network] = [&self.video, &self.network].map(|rom| rom.as_ref().map(|rom| rom.as_slice()));
        OptionRoms { video, network }
    }

    /// Where processors start, and its last part below 1 MiB.
    pub fn load(&self, memory: &Memory) -> Result<(), MachineError> {
        boot::put(memory.ram(), FIRMWARE_END - self.size(), &self.image)?;
        let shadow = (BIOS_SHADOW.end - BIOS_SHADOW.start) as usize;
        boot::put(memory.ram(), BIOS_SHADOW.start, &self.image[self.image.len() - shadow..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(size: usize) -> Source {
        Source::Bytes { name: "bios".into(), data: Arc::new(vec![7; size]) }
    }

    #[test]
    fn an_image_of_another_size_is_refused_with_its_size() {
        for size in [0, 1, 200_000, (256 << 10) + 1] {
            let error = Bios::read(&source(size), None, None).err().unwrap().to_string();
            assert!(error.contains(&format!("has {size} bytes")), "{error}");
        }
    }

    #[test]
    fn an_image_without_end_is_refused() {
        let error = Bios::read(&Source::File("/dev/zero".into()), None, None).err().unwrap().to_string();
        assert!(error.contains("has more than 524288 bytes"), "{error}");
    }
}
