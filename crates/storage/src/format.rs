//! Which format a file is of.

use crate::Store;
use std::fmt;
use std::io;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// The file's content is the disk's. An ISO image is one.
    #[default]
    Raw,
    Qcow2,
    Vhd,
    Vhdx,
}

impl Format {
    pub const ALL: [Self; 4] = [Self::Raw, Self::Qcow2, Self::Vhd, Self::Vhdx];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
        }
    }

    /// By a name's ending, for an image that is to be made.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "raw" | "img" | "iso" | "bin" => Some(Self::Raw),
            "qcow2" | "qcow" => Some(Self::Qcow2),
            "vhd" | "avhd" | "vpc" => Some(Self::Vhd),
            "vhdx" | "avhdx" => Some(Self::Vhdx),
            _ => None,
        }
    }

    /// By its content. To be asked once, when whoever brings an image says nothing: later a guest may have written to it.
    pub fn of(store: &dyn Store) -> io::Result<Self> {
        let size = store.size()?;
        let mut head = [0; 8];
        if size >= 8 {
            store.read_at(0, &mut head)?;
        }
        if head.starts_with(crate::qcow2::header::MAGIC) {
            return Ok(Self::Qcow2);
        }
        if &head == b"vhdxfile" {
            return Ok(Self::Vhdx);
        }
        if &head == b"conectix" {
            return Ok(Self::Vhd);
        }
        // A fixed VHD has its footer at its end alone.
        if size >= 1024 {
            store.read_at(size - 512, &mut head)?;
            if &head == b"conectix" {
                return Ok(Self::Vhd);
            }
        }
        Ok(Self::Raw)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("there is no disk format `{text}`; use raw, qcow2, vhd or vhdx"))
    }
}
