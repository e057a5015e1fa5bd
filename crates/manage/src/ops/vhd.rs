//! New-VHD, Get-VHD and what else is done with disk images that no machine uses: of every format.

use super::disk::{FORMATS, absolute};
use super::image::{self, refused, unfit};
use crate::operation::parameter::{bytes, one_of, path, switch};
use crate::operation::{
    Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest, Verb, View,
};
use crate::rules;
use crate::value::{Kind, Record, Value};
use ireko_machine::Format;
use ireko_machine::layers::Opened;
use ireko_storage::{Facts, create};
use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const fn verb(name: &'static str, doc: &'static str, view: View) -> Verb {
    Verb { name, doc, view, needs_name: true }
}

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "New-VHD",
        aliases: &[],
        verbs: &[verb("create", "Make a disk image.", View::List)],
        rest: Rest { method: Method::Post, route: "/vhds" },
        doc: "Makes a disk image, of the format that its name ends in: vhdx, vhd, qcow2, img or raw.",
        parameters: &[NEW],
        prints: Prints::Always,
        result: Some(Kind::VHD),
        impact: Impact::Change,
        run: new,
    },
    Operation {
        cmdlet: "Get-VHD",
        aliases: &[],
        verbs: &[verb("info", "Say what disk images are.", View::List)],
        rest: Rest { method: Method::Get, route: "/vhds" },
        doc: "Says what disk images are: format, sizes, and what is behind them.",
        parameters: &[PATHS, FORMAT],
        prints: Prints::Always,
        result: Some(Kind::VHD),
        impact: Impact::None,
        run: get,
    },
];

const PATHS: &[Parameter] = &[path("Path", "The image.")
    .alias(&["FullName"])
    .many()
    .required()
    .at(0)
    .pipe(Pipeline::ByValueOrPropertyName)
    .positional()];

const FORMAT: &[Parameter] =
    &[one_of("Format", FORMATS, "What the image is; without it its content tells (Ireko's own).")
        .flag("format")];

const NEW: &[Parameter] = &[
    path("Path", "The image to be made.")
        .many()
        .required()
        .at(0)
        .pipe(Pipeline::ByValueOrPropertyName)
        .positional(),
    bytes("SizeBytes", "The disk's size; a differencing one has its parent's if nothing is said.")
        .at(1)
        .flag("size"),
    switch("Dynamic", "It takes room as it is used.").set("Dynamic").flag("dynamic"),
    switch("Fixed", "It takes all its room from the beginning.").set("Fixed").flag("fixed"),
    switch("Differencing", "It holds what differs from a parent, which must not change any more.")
        .set("Differencing")
        .flag("differencing"),
    path("ParentPath", "The image that a differencing one is over.").set("Differencing").flag("parent"),
    bytes("BlockSizeBytes", "What is given out at once.").flag("block-size"),
    one_of("LogicalSectorSizeBytes", &["512", "4096"], "Of VHDX: bytes of a sector, as the guest is told.")
        .flag("logical-sector-size"),
    one_of("PhysicalSectorSizeBytes", &["512", "4096"], "Of VHDX: bytes of a sector, as they are.")
        .flag("physical-sector-size"),
    one_of("Format", FORMATS, "The format, whatever the name ends in (Ireko's own).").flag("format"),
];

/// What a new image's name says that it is.
fn format_of(path: &Path) -> Result<Format, Failure> {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    Format::of_extension(&extension).ok_or_else(|| {
        refused(path, "its name says nothing of a format; let it end in .vhdx, .vhd, .qcow2, .img or .raw")
    })
}

/// What a new image is to be.
pub struct New(create::Plan);

impl New {
    /// By its name, and raw if that says nothing.
    pub fn of(path: &Path, size: u64) -> Self {
        Self(create::Plan::new(format_of(path).unwrap_or(Format::Raw), size))
    }
}

/// Makes an image; what was begun and not finished is gone again.
pub fn make(path: &Path, New(new): &New) -> Result<(), Failure> {
    rules::name::check_characters("path", &path.to_string_lossy()).map_err(Failure::invalid)?;
    let mut options = File::options();
    let made = options.read(true).write(true).create_new(true).mode(0o600).open(path);
    let cannot = |error: &dyn std::fmt::Display| {
        let shown = path.display().to_string();
        Failure::invalid(format!("The disk '{shown}' cannot be made: {error}.")).about(shown)
    };
    let file = made.map_err(|error| cannot(&error))?;
    create::create(&file, new).map_err(|error| {
        let _ = std::fs::remove_file(path);
        cannot(&error)
    })
}

fn new(call: &mut Call<'_>) -> Result<(), Failure> {
    let paths: Vec<String> = call.arguments.items("Path").iter().map(ToString::to_string).collect();
    call.each(paths, |call, path| {
        let path = absolute(&path)?;
        let new = wanted(call, &path)?;
        if !call.should("create the virtual hard disk", &path.to_string_lossy()) {
            return Ok(());
        }
        make(&path, &New(new))?;
        let opened = image::open(&path, None)?;
        let facts = opened.facts().map_err(|why| unfit(&path, &why))?;
        let record = record(&opened, &facts);
        call.give(record);
        Ok(())
    });
    Ok(())
}

fn wanted(call: &Call<'_>, path: &Path) -> Result<create::Plan, Failure> {
    let arguments = call.arguments;
    let format = match arguments.text("Format") {
        Some(format) => format.parse().map_err(Failure::invalid)?,
        None => format_of(path)?,
    };
    let parent = arguments.text("ParentPath").map(|parent| parent_of(path, parent)).transpose()?;
    if arguments.switch("Differencing") && parent.is_none() {
        return Err(Failure::invalid("A differencing disk is over another; give -ParentPath."));
    }
    let given = arguments.int("SizeBytes").map(|size| size as u64);
    let of_parent = parent.as_ref().map(|parent| parent.facts.size);
    let size = given.or(of_parent).ok_or_else(|| Failure::invalid("How large? Give -SizeBytes."))?;
    let sector = |name, usual| arguments.text(name).and_then(|text| text.parse().ok()).unwrap_or(usual);
    Ok(create::Plan {
        fixed: arguments.switch("Fixed"),
        block: arguments.int("BlockSizeBytes").map(|block| block as u64),
        logical_sector: sector("LogicalSectorSizeBytes", 512),
        physical_sector: sector("PhysicalSectorSizeBytes", 4096),
        behind: parent,
        ..create::Plan::new(format, size)
    })
}

fn parent_of(child: &Path, parent: &str) -> Result<create::Parent, Failure> {
    let path = absolute(parent)?;
    let opened = image::open(&path, None)?;
    let facts = opened.facts().map_err(|why| unfit(&path, &why))?;
    let text = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| refused(path, "its name is no text in UTF-8; rename it"))
    };
    Ok(create::Parent { absolute: text(&path)?, relative: text(&relative(child, &path))?, facts })
}

/// A path from a file's directory.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let directory = from.parent().unwrap_or(Path::new("/"));
    let shared = directory.components().zip(to.components()).take_while(|(one, other)| one == other).count();
    let up = directory.components().skip(shared).map(|_| Path::new(".."));
    let down = to.components().skip(shared).map(|part| Path::new(part.as_os_str()));
    up.chain(down).collect()
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let paths: Vec<String> = call.arguments.items("Path").iter().map(ToString::to_string).collect();
    let format = call.arguments.text("Format").map(str::parse).transpose().map_err(Failure::invalid)?;
    call.each(paths, |call, path| {
        let path = absolute(&path)?;
        let opened = image::open(&path, format)?;
        let facts = opened.facts().map_err(|why| unfit(&path, &why))?;
        let record = record(&opened, &facts);
        call.give(record);
        Ok(())
    });
    Ok(())
}

fn record(opened: &Opened, facts: &Facts) -> Record {
    let kind = match (&facts.behind, facts.block) {
        (Some(_), _) => "Differencing",
        (None, Some(_)) => "Dynamic",
        (None, None) => "Fixed",
    };
    let parent = facts.behind.as_ref().and_then(|behind| behind.names.first().cloned());
    let identifier = facts.identifier.map(|bytes| crate::Guid::of(bytes).to_string());
    Record::new(Kind::VHD)
        .with("Path", opened.path.display().to_string())
        .with("VhdFormat", facts.format.name().to_uppercase())
        .with("VhdType", kind)
        .with("FileSize", opened.meta.len())
        .with("SizeOnDisk", opened.meta.blocks() * 512)
        .with("Size", facts.size)
        .with("MinimumSize", Value::Null)
        .with("LogicalSectorSize", facts.logical_sector)
        .with("PhysicalSectorSize", facts.physical_sector)
        .with("BlockSize", facts.block)
        .with("ParentPath", parent)
        .with("DiskIdentifier", identifier)
        .with("Notes", facts.notes.join(", "))
}
