//! What takes its time: checking, resizing, converting, merging, compacting. Nobody else may use the images meanwhile.

use super::super::disk::absolute;
use super::super::image::{self, refused};
use super::{New, each, format_of, give, make};
use crate::operation::{Call, Failure};
use crate::render::printable;
use crate::value::{Kind, Record};
use crate::worker::disks;
use ireko_machine::layers::Found;
use ireko_machine::{DiskFiles, Format, Layer as Named};
use ireko_storage::{Image, Link, Report, Store, chain, copy, create};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn found(call: &Call<'_>, path: &Path) -> Result<Found, Failure> {
    image::find(call.arguments, path, image::format(call.arguments, "Format")?)
}

/// An image that a parameter names, which must be given.
fn named(call: &Call<'_>, name: &str) -> Result<PathBuf, Failure> {
    absolute(call.arguments.text(name).unwrap_or_default())
}

fn layers(found: &Found) -> Vec<Named> {
    let own = Named { path: found.path.clone(), format: found.facts.format };
    [own].into_iter().chain(found.behind.iter().cloned()).collect()
}

/// The files of a chain, locked, from one of its images on.
pub fn take(call: &Call<'_>, layers: &[Named], read_only: bool) -> Result<DiskFiles, Failure> {
    let files = ireko_machine::open_layers(layers, read_only)
        .map_err(|(number, error)| refused(&layers[number].path, error))?;
    files.lock().map_err(|(number, user)| {
        let path = &layers[number].path;
        refused(path, format_args!("it is in use by {}", disks::who(&call.host.store, path, &user)))
    })?;
    Ok(files)
}

pub fn links(files: &DiskFiles, layers: &[Named]) -> Result<Vec<Link>, Failure> {
    let link = |(file, layer): (&std::fs::File, &Named)| -> io::Result<Link> {
        let store: Arc<dyn Store> = Arc::new(file.try_clone()?);
        Ok(Link { store, format: layer.format })
    };
    files
        .files()
        .zip(layers)
        .map(link)
        .collect::<io::Result<_>>()
        .map_err(|error| Failure::failed(error.to_string()))
}

pub fn broken(path: &Path, why: impl std::fmt::Display) -> Failure {
    refused(path, printable(&why.to_string()))
}

pub fn test(call: &mut Call<'_>) -> Result<(), Failure> {
    let (repair, format) = (call.arguments.switch("Repair"), image::format(call.arguments, "Format")?);
    each(call, |call, path| {
        let opened = image::open(&path, format)?;
        let layers = [Named { path: path.clone(), format: opened.link.format }];
        if repair && !call.should("repair the virtual hard disk", &path.to_string_lossy()) {
            return Ok(());
        }
        let files = take(call, &layers, !repair)?;
        let links = links(&files, &layers)?;
        let report = chain::check(&links[0], repair).map_err(|error| broken(&path, error))?;
        call.give(told(&path, &report));
        match report.sound() {
            true => Ok(()),
            false => Err(Failure::failed(format!("The disk '{}': {report}.", path.display()))),
        }
    });
    Ok(())
}

fn told(path: &Path, report: &Report) -> Record {
    Record::new(Kind::VHDReport)
        .with("Path", path.display().to_string())
        .with("VhdFormat", report.format.name().to_uppercase())
        .with("Result", report.sound())
        .with("Damaged", report.broken)
        .with("Miscounted", report.counts)
        .with("Unused", report.leaks)
        .with("Repaired", report.repaired)
        .with("Allocated", report.allocated)
        .with(
            "Found",
            crate::value::Value::list(report.sentences.iter().map(|one| printable(one).to_string())),
        )
}

pub fn resize(call: &mut Call<'_>) -> Result<(), Failure> {
    let size = call.arguments.int("SizeBytes").unwrap_or(0) as u64;
    each(call, |call, path| {
        let found = found(call, &path)?;
        if size < found.facts.size && !call.arguments.switch("Shrink") {
            return Err(refused(
                &found.path,
                format_args!(
                    "its disk has {} bytes, and what is behind {size} would be lost; say -Shrink if that is meant",
                    found.facts.size
                ),
            ));
        }
        if !call.should("resize the virtual hard disk", &found.path.to_string_lossy()) {
            return Ok(());
        }
        let layers = layers(&found);
        let files = take(call, &layers, false)?;
        let links = links(&files, &layers)?;
        chain::resize(&links[0], size, &links[1..]).map_err(|error| broken(&found.path, error))?;
        give(call, &found.path, Some(found.facts.format))
    });
    Ok(())
}

pub fn convert(call: &mut Call<'_>) -> Result<(), Failure> {
    let source = found(call, &named(call, "Path")?)?;
    let to = named(call, "DestinationPath")?;
    let format = match image::format(call.arguments, "DestinationFormat")? {
        Some(format) => format,
        None => format_of(&to)?,
    };
    if !call.should("convert the virtual hard disk", &source.path.to_string_lossy()) {
        return Ok(());
    }
    let layers = layers(&source);
    let files = take(call, &layers, true)?;
    let image = files.image().map_err(|error| broken(&source.path, error))?;
    let fixed = match call.arguments.text("VHDType") {
        Some(kind) => kind.eq_ignore_ascii_case("Fixed"),
        None => {
            source.facts.fixed
                && matches!(format, Format::Vhd | Format::Vhdx)
                && source.facts.format != Format::Raw
        }
    };
    let plan = create::Plan {
        fixed: fixed && format != Format::Raw,
        block: call.arguments.int("BlockSizeBytes").map(|block| block as u64),
        logical_sector: source.facts.logical_sector,
        ..create::Plan::new(format, source.facts.size)
    };
    make(&to, &New(plan))?;
    let copied = copied(call, image.as_ref(), &to, format, !source.behind.is_empty());
    if let Err(failure) = copied {
        let _ = std::fs::remove_file(&to);
        return Err(failure);
    }
    if call.arguments.switch("DeleteSource") {
        std::fs::remove_file(&source.path).map_err(|error| refused(&source.path, error))?;
    }
    give(call, &to, Some(format))
}

fn copied(
    call: &mut Call<'_>,
    from: &dyn Image,
    to: &Path,
    format: Format,
    layered: bool,
) -> Result<(), Failure> {
    let layers = [Named { path: to.to_owned(), format }];
    let files = take(call, &layers, false)?;
    let new = files.image().map_err(|error| broken(to, error))?;
    let (size, surface) = (from.size(), &mut *call.surface);
    let what = format!("converting to {}", to.display());
    copy::copy(from, new.as_ref(), layered, &mut |done| surface.progress(&what, done, size))
        .map_err(|error| broken(to, error))
}

pub fn merge(call: &mut Call<'_>) -> Result<(), Failure> {
    let source = found(call, &named(call, "Path")?)?;
    let layers = layers(&source);
    if layers.len() == 1 {
        return Err(refused(&source.path, "no image is behind it to merge it into"));
    }
    let into = match call.arguments.text("DestinationPath") {
        None => 1,
        Some(to) => position(&layers, &absolute(to)?)?,
    };
    if !call.should("merge the virtual hard disk", &source.path.to_string_lossy()) {
        return Ok(());
    }
    merge_layers(call, &layers, into)?;
    for merged in &layers[..into] {
        std::fs::remove_file(&merged.path).map_err(|error| refused(&merged.path, error))?;
    }
    give(call, &layers[into].path, Some(layers[into].format))
}

fn position(layers: &[Named], to: &Path) -> Result<usize, Failure> {
    let same = |path: &PathBuf| path.canonicalize().ok() == to.canonicalize().ok();
    let found = layers.iter().skip(1).position(|layer| same(&layer.path));
    found.map(|at| at + 1).ok_or_else(|| refused(to, "it is not behind the image that is to be merged"))
}

/// The layers in front of `into`, the nearest to it first. All are opened before anything is written.
fn merge_layers(call: &mut Call<'_>, layers: &[Named], into: usize) -> Result<(), Failure> {
    let target = &layers[into].path;
    let mut opened = Vec::new();
    let above = take(call, &layers[..into], true)?;
    let files = take(call, &layers[into..], false)?;
    let own = links(&files, &layers[into..])?;
    let all = [links(&above, &layers[..into])?, own.clone()].concat();
    for number in (0..into).rev() {
        let image =
            chain::open(&all[number..], false).map_err(|error| broken(&layers[number].path, error))?;
        opened.push((number, image));
    }
    let size = opened.iter().map(|(_, image)| image.size()).max().unwrap_or(0);
    let facts = chain::facts(&own[0]).map_err(|error| broken(target, error))?;
    if facts.size < size {
        chain::resize(&own[0], size, &own[1..]).map_err(|error| broken(target, error))?;
    }
    let image = chain::open(&own, true).map_err(|error| broken(target, error))?;
    for (number, layer) in opened {
        let (size, surface) = (layer.size(), &mut *call.surface);
        let what = format!("merging {}", layers[number].path.display());
        copy::merge(layer.as_ref(), image.as_ref(), &mut |done| surface.progress(&what, done, size))
            .map_err(|error| broken(target, error))?;
    }
    Ok(())
}

pub fn optimize(call: &mut Call<'_>) -> Result<(), Failure> {
    each(call, |call, path| {
        let found = found(call, &path)?;
        if found.facts.fixed && found.facts.format != Format::Raw {
            return Err(refused(&found.path, "it is fixed, and keeps its room"));
        }
        if !call.should("optimize the virtual hard disk", &found.path.to_string_lossy()) {
            return Ok(());
        }
        let layers = layers(&found);
        let files = take(call, &layers, false)?;
        let image = files.image().map_err(|error| broken(&found.path, error))?;
        let (size, surface) = (image.size(), &mut *call.surface);
        let what = format!("compacting {}", found.path.display());
        let block = found.facts.block.unwrap_or(1 << 16);
        copy::compact(image.as_ref(), block, &mut |done| surface.progress(&what, done, size))
            .map_err(|error| broken(&found.path, error))?;
        give(call, &found.path, Some(found.facts.format))
    });
    Ok(())
}
