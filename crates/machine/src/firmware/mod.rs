//! Firmware: its image in memory, and what it is told about the machine.

mod items;
mod kernel;
mod loader;
mod option_rom;
mod uefi;

pub use items::fw_cfg;
pub use kernel::{Items, Loadable};
pub use uefi::Uefi;

use crate::layout::{BIOS_SHADOW, FIRMWARE_END};
use crate::{MachineError, Source, boot};
use ireko_vmcore::Memory;
use std::sync::Arc;

/// The image of a BIOS, and the display's.
pub struct Bios {
    image: Arc<Vec<u8>>,
    video: Option<Arc<Vec<u8>>>,
}

impl Bios {
    /// SeaBIOS' images have 128 and 256 KiB.
    const SIZES: [usize; 3] = [128 << 10, 256 << 10, 512 << 10];

    pub fn read(source: &Source, video: Option<&Source>) -> Result<Self, MachineError> {
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
        const MOST_VIDEO: u64 = 128 << 10;
        let video = video.map(|video| video.read("video BIOS", MOST_VIDEO)).transpose()?;
        Ok(Self { image, video })
    }

    pub fn size(&self) -> u64 {
        self.image.len() as u64
    }

    pub fn video(&self) -> Option<&[u8]> {
        self.video.as_ref().map(|video| video.as_slice())
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
            let error = Bios::read(&source(size), None).err().unwrap().to_string();
            assert!(error.contains(&format!("has {size} bytes")), "{error}");
        }
    }

    #[test]
    fn an_image_without_end_is_refused() {
        let error = Bios::read(&Source::File("/dev/zero".into()), None).err().unwrap().to_string();
        assert!(error.contains("has more than 524288 bytes"), "{error}");
    }
}
