//! Images by name, for operations: of which format they are, and what is behind them.

use super::disk::absolute;
use crate::operation::{Arguments, Failure};
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

/// A format that a parameter names.
pub fn format(arguments: &Arguments, name: &str) -> Result<Option<Format>, Failure> {
    arguments.text(name).map(str::parse).transpose().map_err(Failure::invalid)
}

/// Finds out what an image is, and those behind it, which -ParentPath names in their order.
pub fn find(arguments: &Arguments, path: &Path, format: Option<Format>) -> Result<Found, Failure> {
    let parents = arguments.items("ParentPath").iter().map(|path| absolute(&path.to_string()));
    let parents: Vec<PathBuf> = parents.collect::<Result<_, _>>()?;
    layers::find(path, format, &parents).map_err(|(path, why)| unfit(&path, &why))
}
