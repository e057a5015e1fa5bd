//! Firmware, from Debian's own packages like the guest image and kept beside it.

use super::{apt, cache};
use crate::progress::Progress;
use anyhow::{Context, Result};
use ireko_manage::place;
use std::path::{Path, PathBuf};

/// A package, and what of it is kept.
pub struct Package {
    name: &'static str,
    files: &'static [&'static str],
}

pub const SEABIOS: Package = Package { name: "seabios", files: &["usr/share/seabios/bios-256k.bin"] };

/// Ends the names of what is kept; another whenever what is kept changes.
const RECIPE: &str = "r1";

/// The files of a package, in its order; got by apt first if they are not there.
pub fn ensure(package: &Package, progress: &Progress) -> Result<Vec<PathBuf>> {
    let cache = cache::directory()?;
    place::check(&cache).context("the cache of firmware is not used; IREKO_CACHE can name another place")?;
    let directory = match cache::newest(&cache, &start(package), RECIPE) {
        Some(directory) => directory,
        None => fetch(package, &cache, progress)?,
    };
    Ok(package.files.iter().map(|path| directory.join(name(path))).collect())
}

fn start(package: &Package) -> String {
    format!("firmware-{}_", package.name)
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn fetch(package: &Package, cache: &Path, progress: &Progress) -> Result<PathBuf> {
    apt::know(package.name, progress)?;
    let draft = cache::Draft::new(cache)?;
    let files = apt::download(&[package.name], draft.path(), progress)?;
    let kept = draft.path().join("files");
    std::fs::create_dir(&kept)?;
    let mut missing: Vec<_> = package.files.to_vec();
    let wanted = |path: &str| package.files.contains(&path);
    apt::unpack(&files[0], wanted, |path, data| {
        missing.retain(|other| *other != path);
        std::fs::write(kept.join(name(&path)), data).context("cannot keep firmware in the cache")
    })?;
    anyhow::ensure!(missing.is_empty(), "the package {} has no {}", package.name, missing.join(" and no "));
    draft.keep("files", &format!("firmware-{}+{RECIPE}", apt::stem(&files[0])))
}
