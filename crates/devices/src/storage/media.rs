//! What is at a port of an ATA controller.

use super::scsi::Kind;
use super::unit::Unit;
use super::{Drive, Tray, ata};

pub enum Media {
    Disk(Drive),
    Cd(Unit),
}

impl Media {
    pub fn cd(drive: Drive) -> Self {
        Self::Cd(Unit::new(Kind::Cd, drive))
    }

    /// Where another medium goes; a disk has none.
    pub fn tray(&self) -> Option<Tray> {
        match self {
            Self::Disk(_) => None,
            Self::Cd(unit) => Some(unit.tray()),
        }
    }

    /// Takes a medium that the host has put into the tray.
    pub(super) fn look(&mut self) {
        if let Self::Cd(unit) = self {
            unit.look();
        }
    }

    pub(super) fn drive(&mut self) -> &mut Drive {
        match self {
            Self::Disk(drive) => drive,
            Self::Cd(unit) => &mut unit.drive,
        }
    }

    pub(super) fn signature(&self) -> [u8; 4] {
        match self {
            Self::Disk(_) => ata::DISK_SIGNATURE,
            Self::Cd(_) => ata::PACKET_SIGNATURE,
        }
    }
}
