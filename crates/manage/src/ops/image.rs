//! Images by name, for operations: of which format they are, and what is behind them.

use super::disk::absolute;
use crate::operation::Failure;
use crate::render::printable;
use ireko_machine::Format;
use ireko_machine::layers::{self, Found, Opened, Unfit};
use std::path::{Path, PathBuf};

pub fn refused(path: &Path, why: impl std::fmt::Display) -> Failure {
    let shown = path.display().to_string();
    Failure::invalid(format!("The disk '{shown}' cannot be used: {why}.")).about(shown)
}

pub fn unfit(path: &Path, why: &Unfit) -> Failure {
    let why = match why {
        Unfit::Unlinked(_) => format!("{why}; say where it is: -ParentPath"),
        Unfit::Unnamed(name) => format!("{why}; if you trust it, say so: -ParentPath '{name}'"),
        _ => printable(&why.to_string()).to_string(),
    };
    refused(path, why)
}

/// `format`: what it is said to be; otherwise its content tells.
pub fn open(path: &Path, format: Option<Format>) -> Result<Opened, Failure> {
    Opened::open(path, format).map_err(|why| unfit(path, &why))
}

/// Finds out what an image is, and those behind it, which are named in their order.
pub fn find(path: &str, format: Option<&str>, parents: &[String]) -> Result<Found, Failure> {
    let format = format.map(str::parse).transpose().map_err(Failure::invalid)?;
    let parents: Vec<PathBuf> = parents.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?;
    layers::find(&absolute(path)?, format, &parents).map_err(|(path, why)| unfit(&path, &why))
}
