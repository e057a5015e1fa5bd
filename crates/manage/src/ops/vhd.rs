//! New-VHD, Get-VHD and what else is done with disk images that no machine uses: of every format.

mod mount;
mod set;
mod work;

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
    Operation {
        cmdlet: "Test-VHD",
        aliases: &[],
        verbs: &[verb("check", "Look for damage in disk images, and put right what can be.", View::List)],
        rest: Rest { method: Method::Post, route: "/vhds/check" },
        doc: "Looks for damage in disk images that no machine uses.",
        parameters: &[PATHS, FORMAT, REPAIR],
        prints: Prints::Always,
        result: Some(Kind::VHDReport),
        impact: Impact::Change,
        run: work::test,
    },
    Operation {
        cmdlet: "Resize-VHD",
        aliases: &[],
        verbs: &[verb("resize", "Give the disk in an image another size.", View::List)],
        rest: Rest { method: Method::Post, route: "/vhds/resize" },
        doc: "Gives the disk in an image another size. What is behind a smaller one's end is lost.",
        parameters: &[PATHS, FORMAT, RESIZE],
        prints: Prints::Passthru,
        result: Some(Kind::VHD),
        impact: Impact::Change,
        run: work::resize,
    },
    Operation {
        cmdlet: "Convert-VHD",
        aliases: &[],
        verbs: &[verb("convert", "Copy the disk in an image to a new one of another format.", View::List)],
        rest: Rest { method: Method::Post, route: "/vhds/convert" },
        doc: "Copies the disk in an image, with all that is behind it, to a new image.",
        parameters: &[CONVERT, FORMAT],
        prints: Prints::Passthru,
        result: Some(Kind::VHD),
        impact: Impact::Change,
        run: work::convert,
    },
    Operation {
        cmdlet: "Merge-VHD",
        aliases: &[],
        verbs: &[verb("merge", "Write a layer into the image behind it.", View::List)],
        rest: Rest { method: Method::Post, route: "/vhds/merge" },
        doc: "Writes what a layer holds into the image behind it, or one further behind; the layers that were merged are removed.",
        parameters: &[MERGE, FORMAT],
        prints: Prints::Passthru,
        result: Some(Kind::VHD),
        impact: Impact::Change,
        run: work::merge,
    },
    Operation {
        cmdlet: "Optimize-VHD",
        aliases: &[],
        verbs: &[verb("compact", "Give back what an image keeps for zeros.", View::List)],
        rest: Rest { method: Method::Post, route: "/vhds/optimize" },
        doc: "Gives back the room that an image keeps for zeros.",
        parameters: &[PATHS, FORMAT, OPTIMIZE],
        prints: Prints::Passthru,
        result: Some(Kind::VHD),
        impact: Impact::Change,
        run: work::optimize,
    },
    Operation {
        cmdlet: "Set-VHD",
        aliases: &[],
        verbs: &[verb("set", "Say anew what is behind an image, and how it is known.", View::List)],
        rest: Rest { method: Method::Post, route: "/vhds/set" },
        doc: "Says anew which image is behind another, how large its sectors are, or gives it another identifier.",
        parameters: &[PATHS, FORMAT, SET],
        prints: Prints::Passthru,
        result: Some(Kind::VHD),
        impact: Impact::Change,
        run: set::set,
    },
    Operation {
        cmdlet: "Mount-VHD",
        aliases: &[],
        verbs: &[verb(
            "mount",
            "Make the disk in an image a file of this host, until it is unmounted.",
            View::List,
        )],
        rest: Rest { method: Method::Post, route: "/vhds/mount" },
        doc: "Makes the disk in an image a file of this host (by FUSE, without root), until it is dismounted. No machine can have the image meanwhile.",
        parameters: &[PATHS, FORMAT, MOUNT],
        prints: Prints::Always,
        result: Some(Kind::VHD),
        impact: Impact::Change,
        run: mount::mount,
    },
    Operation {
        cmdlet: "Dismount-VHD",
        aliases: &[],
        verbs: &[verb("unmount", "Take the disk in an image off this host's files.", View::List)],
        rest: Rest { method: Method::Post, route: "/vhds/dismount" },
        doc: "Takes the disk in an image off this host's files; all that was written to it is in the image then.",
        parameters: &[PATHS],
        prints: Prints::Passthru,
        result: Some(Kind::VHD),
        impact: Impact::Change,
        run: mount::dismount,
    },
];

const SET: &[Parameter] = &[
    path("ParentPath", "The image that is behind it.").at(1).flag("parent"),
    switch("IgnoreIdMismatch", "It may be another than the one that the image was made over.")
        .flag("ignore-id-mismatch"),
    one_of("PhysicalSectorSizeBytes", &["512", "4096"], "Of VHDX: bytes of a sector, as they are.")
        .flag("physical-sector-size"),
    switch("ResetDiskIdentifier", "Another identifier. Images over a VHD know it by that.")
        .flag("reset-identifier"),
    switch("Force", "Accepted; nothing is asked."),
];

const MOUNT: &[Parameter] = &[
    switch("ReadOnly", "Nobody writes to it.").flag("read-only"),
    path("MountPoint", "The file that is the disk; without it PATH.disk, which goes again (Ireko's own).")
        .flag("at"),
    switch("NoDriveLetter", "Accepted; there are none."),
    PARENTS,
];

const REPAIR: &[Parameter] = &[
    switch("Repair", "Put right what can be: counts, logs, footers (Ireko's own).").flag("repair"),
    PARENTS,
];

const RESIZE: &[Parameter] = &[
    bytes("SizeBytes", "The new size.").at(1).required().flag("size"),
    switch("Shrink", "The new size may be smaller, and what is behind it is lost (Ireko's own).")
        .flag("shrink"),
    PARENTS,
];

const CONVERT: &[Parameter] = &[
    SOURCE,
    path("DestinationPath", "The new image, whose name ends in its format.").required().at(1).positional(),
    one_of("VHDType", &["Fixed", "Dynamic"], "Whether it takes all its room from the beginning.")
        .flag("type"),
    one_of("DestinationFormat", FORMATS, "The format, whatever the name ends in (Ireko's own).")
        .flag("to-format"),
    bytes("BlockSizeBytes", "What is given out at once.").flag("block-size"),
    switch("DeleteSource", "Remove the image that was converted.").flag("delete-source"),
    PARENTS,
];

const MERGE: &[Parameter] = &[
    SOURCE,
    path("DestinationPath", "Into which image; without it the one behind the layer.").at(1).flag("to"),
    PARENTS,
];

const OPTIMIZE: &[Parameter] = &[
    one_of("Mode", &["Full", "Quick", "Retrim", "Pretrimmed", "Prezeroed"], "Accepted; all is looked at."),
    PARENTS,
];

const SOURCE: Parameter = path("Path", "The image.")
    .alias(&["FullName"])
    .required()
    .at(0)
    .pipe(Pipeline::ByValueOrPropertyName)
    .positional();

const PARENTS: Parameter =
    path("ParentPath", "The image behind it, which it names; again for the one behind that.")
        .many()
        .flag("parent");

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

    /// One that holds what differs from a parent, of its parent's size or a larger one.
    pub fn over(path: &Path, parent: &Path, size: Option<u64>) -> Result<Self, Failure> {
        let parent = parent_of(path, &parent.to_string_lossy())?;
        let least = parent.facts.size;
        let size = size.unwrap_or(least);
        if size < least {
            let why = format!("its disk has {least} bytes already, and {size} are fewer; give more");
            return Err(refused(Path::new(&parent.absolute), why));
        }
        let format = format_of(path)?;
        Ok(Self(create::Plan { behind: Some(parent), ..create::Plan::new(format, size) }))
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

/// The images of a call, each for itself.
fn each(call: &mut Call<'_>, mut body: impl FnMut(&mut Call<'_>, PathBuf) -> Result<(), Failure>) {
    let paths: Vec<String> = call.arguments.items("Path").iter().map(ToString::to_string).collect();
    call.each(paths, |call, path| body(call, absolute(&path)?));
}

/// Gives what an image is, of the format that it is said to be.
fn give(call: &mut Call<'_>, path: &Path, format: Option<Format>) -> Result<(), Failure> {
    let opened = image::open(path, format)?;
    let facts = opened.facts().map_err(|why| unfit(path, &why))?;
    let mounted = crate::mount::of(&call.host.store, path).map(|(_, mounted)| mounted.point);
    call.give(record(&opened, &facts, mounted));
    Ok(())
}

fn new(call: &mut Call<'_>) -> Result<(), Failure> {
    each(call, |call, path| {
        let new = wanted(call, &path)?;
        if !call.should("create the virtual hard disk", &path.to_string_lossy()) {
            return Ok(());
        }
        make(&path, &New(new))?;
        give(call, &path, None)
    });
    Ok(())
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let format = image::format(call.arguments, "Format")?;
    each(call, |call, path| give(call, &path, format));
    Ok(())
}

fn wanted(call: &Call<'_>, path: &Path) -> Result<create::Plan, Failure> {
    let arguments = call.arguments;
    let format = match image::format(arguments, "Format")? {
        Some(format) => format,
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

/// `mounted`: the file that is its disk.
fn record(opened: &Opened, facts: &Facts, mounted: Option<PathBuf>) -> Record {
    let kind = match (&facts.behind, facts.fixed) {
        (Some(_), _) => "Differencing",
        (None, false) => "Dynamic",
        (None, true) => "Fixed",
    };
    let parent = facts.behind.as_ref().and_then(|behind| behind.names.first().cloned());
    let identifier = facts.identifier.map(|id| id.to_string());
    Record::new(Kind::VHD)
        .with("ComputerName", crate::server::host_name())
        .with("Path", opened.path.display().to_string())
        .with("VhdFormat", facts.format.name().to_uppercase())
        .with("VhdType", kind)
        .with("FileSize", opened.meta.len())
        .with("Size", facts.size)
        .with("MinimumSize", Value::Null)
        .with("LogicalSectorSize", facts.logical_sector)
        .with("PhysicalSectorSize", facts.physical_sector)
        .with("BlockSize", facts.block)
        .with("ParentPath", parent)
        .with("DiskIdentifier", identifier)
        .with("FragmentationPercentage", Value::Null)
        .with("Alignment", 1)
        .with("Attached", opened.is_used())
        .with("DiskNumber", Value::Null)
        .with("SizeOnDisk", opened.meta.blocks() * 512)
        .with("MountPoint", mounted.map(|point| point.display().to_string()))
        .with("Notes", facts.notes.join(", "))
}
