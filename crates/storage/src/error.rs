//! Why an image cannot be used.

use crate::Format;
use std::io;

/// Without the image's name, which whoever opens it knows: `the disk 'NAME' cannot be used: …`.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no {0} image; say what it is, or leave the format out to have it found")]
    NotOfFormat(Format),
    #[error("this {format} image is damaged: {what}")]
    Damaged { format: Format, what: String },
    #[error("this {format} image {what}, which Ireko does not support; {instead}")]
    Unsupported { format: Format, what: String, instead: &'static str },
    #[error("{0}")]
    Wrong(String),
}

impl ImageError {
    pub(crate) fn damaged(format: Format, what: impl Into<String>) -> Self {
        Self::Damaged { format, what: what.into() }
    }

    pub(crate) fn wrong(what: impl Into<String>) -> Self {
        Self::Wrong(what.into())
    }
}

/// What a guest's request ends with when the image's tables cannot be right.
pub(crate) fn damaged(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the image is damaged: {what}"))
}

pub(crate) fn read_only() -> io::Error {
    io::ErrorKind::PermissionDenied.into()
}

/// A range that does not lie on the disk.
pub(crate) fn beyond() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the range is not on the disk")
}
