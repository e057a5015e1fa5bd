//! An image of a disk, or one behind it, in a configuration: what it is was said when it was given.

use ireko_machine::Format;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    pub path: PathBuf,
    #[serde(with = "self")]
    pub format: Format,
}

impl From<Layer> for ireko_machine::Layer {
    fn from(layer: Layer) -> Self {
        Self { path: layer.path, format: layer.format }
    }
}

impl From<ireko_machine::Layer> for Layer {
    fn from(layer: ireko_machine::Layer) -> Self {
        Self { path: layer.path, format: layer.format }
    }
}

/// By its name.
pub fn serialize<S: Serializer>(format: &Format, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(format.name())
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map_err(serde::de::Error::custom)
}
