//! Add-, Get-, Set- and Remove-VMHardDiskDrive.

use super::drive::{self, PLACE};
use super::image;
use super::targets::{DRIVE, VSTD, change, only_off, runs};
use crate::host::Host;
use crate::operation::parameter::{boolean, bytes, int, one_of, path};
use crate::operation::{
    Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::rules::drives::FOR_DISKS;
use crate::state::State;
use crate::store::config::{DriveAddress, DriveFiles};
use crate::store::{Config, Disk};
use crate::value::{Kind, Record};
use crate::worker::disks;
use crate::worker::protocol::Request;
use ireko_machine::disk_errors::NoErrorPolicy;
use ireko_machine::layers::Found;
use ireko_machine::{DiskFiles, ErrorPolicy, Format};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Add-VMHardDiskDrive",
        aliases: &[],
        verbs: &[Verb {
            name: "disk-add",
            doc: "Give a virtual machine a disk image.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/disks" },
        doc: "Gives a virtual machine a disk: an image of any format, which is found out now and kept.",
        parameters: &[&VSTD, PLACE, ADD],
        prints: Prints::Passthru,
        result: Some(Kind::HardDiskDrive),
        impact: Impact::Change,
        run: |call| change(call, "add a disk to", add, drives),
    },
    Operation {
        cmdlet: "Get-VMHardDiskDrive",
        aliases: &[],
        verbs: &[Verb { name: "disks", doc: "List disks.", view: View::Table, needs_name: true }],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/disks" },
        doc: "Gives the disks of virtual machines.",
        parameters: &[&VSTD, PLACE],
        prints: Prints::Always,
        result: Some(Kind::HardDiskDrive),
        impact: Impact::None,
        run: |call| drive::get(call, records::disks),
    },
    Operation {
        cmdlet: "Set-VMHardDiskDrive",
        aliases: &[],
        verbs: &[Verb {
            name: "disk-set",
            doc: "Limit the use of a disk, say what is done about its errors, or put another image into its place.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Patch, route: "/vms/{VMName}/disks" },
        doc: "Puts another image into the place of a disk, limits its use, or says what is done about its errors; the latter two count at once.",
        parameters: &[&VSTD, &DRIVE, PLACE, SET],
        prints: Prints::Passthru,
        result: Some(Kind::HardDiskDrive),
        impact: Impact::Change,
        run: |call| change(call, "change a disk of", set, drives),
    },
    Operation {
        cmdlet: "Remove-VMHardDiskDrive",
        aliases: &[],
        verbs: &[Verb {
            name: "disk-remove",
            doc: "Take a disk away; its file stays.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Delete, route: "/vms/{VMName}/disks/{ControllerLocation}" },
        doc: "Takes a disk away from a virtual machine; its file stays.",
        parameters: &[&VSTD, &DRIVE, PLACE],
        prints: Prints::Passthru,
        result: Some(Kind::HardDiskDrive),
        impact: Impact::Change,
        run: |call| change(call, "remove a disk of", remove, drives),
    },
];

const ADD: &[Parameter] = &[
    path("Path", "The image.").at(4).required().pipe(Pipeline::ByPropertyName).positional(),
    FORMAT,
    PARENT,
    boolean("ReadOnly", "The guest cannot write (Ireko's own).").flag("read-only"),
    ERROR_POLICY,
];

const ERROR_POLICY: Parameter = one_of(
    "ErrorPolicy",
    ErrorPolicy::NAMES,
    "What is done about what the host cannot read or write: Report tells the guest; Stop holds the machine until it can be done, and StopWhenFull only while the host's storage is full (Ireko's own).",
)
.flag("error-policy");

fn error_policy(call: &Call<'_>) -> Result<Option<ErrorPolicy>, Failure> {
    let given = call.arguments.text("ErrorPolicy").map(str::parse);
    given.transpose().map_err(|why: NoErrorPolicy| Failure::invalid(why.to_string()))
}

/// What an image is.
pub const FORMAT: Parameter = one_of(
    "Format",
    FORMATS,
    "What the image is; without it its content tells, now and never again (Ireko's own).",
)
.flag("format");

pub const FORMATS: &[&str] = &["raw", "qcow2", "vhd", "vhdx"];

/// What is behind an image.
pub const PARENT: Parameter =
    path("ParentPath", "The image behind it, which it names; again for the one behind that.")
        .many()
        .flag("parent");

const SET: &[Parameter] = &[
    path("Path", "The image.").at(4).flag("path"),
    FORMAT,
    PARENT,
    int("MaximumIOPS", 0, MOST_LIMIT, "Operations of 8 KiB in a second at most; 0 is no limit.")
        .flag("maximum-iops"),
    bytes("MaximumBytesPerSecond", "Bytes in a second at most; 0 is no limit (Ireko's own).")
        .flag("maximum-bytes-per-second"),
    ERROR_POLICY,
];

/// More than any host can do.
const MOST_LIMIT: i64 = 1 << 40;

/// So many PCI slots there are between those of other devices.
const MOST: u32 = 16;

fn drives(vm: &crate::host::Vm, _: &crate::host::HostFacts) -> Vec<Record> {
    records::disks(vm)
}

fn named(call: &Call<'_>, config: &Config) -> Result<DriveAddress, Failure> {
    let places: Vec<DriveAddress> = config.disks.iter().map(|disk| disk.place).collect();
    drive::named(call, config, ("disk", "VMHardDiskDrive"), &places)
}

fn add(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let found = found(call, call.arguments.text("Path").unwrap_or_default())?;
    let place = drive::free(call, config, FOR_DISKS)?;
    only_hot(state, &config.name, place)?;
    if config.disks.len() as u32 >= MOST {
        return Err(Failure::invalid(format!("'{}' has {MOST} disks, which are the most.", config.name)));
    }
    let disk = Disk {
        error_policy: error_policy(call)?.unwrap_or_default(),
        ..of(place, found, call.arguments.switch("ReadOnly"))
    };
    config.disks.push(disk.clone());
    config.disks.sort_by_key(|disk| disk.place);
    if state == State::Off {
        return Ok(());
    }
    let files = taken(call.host, config, &DriveFiles::from(&disk))?;
    let files: Vec<&File> = files.files().collect();
    call.host.ask_with(config, &Request::AddDisk { disk: disk.clone() }, &files)
}

fn found(call: &Call<'_>, path: &str) -> Result<Found, Failure> {
    image::find(call.arguments, &absolute(path)?, image::format(call.arguments, "Format")?)
}

/// A disk at a place, in an image.
pub fn of(place: DriveAddress, found: Found, read_only: bool) -> Disk {
    let behind = found.behind.into_iter().map(Into::into).collect();
    let format = found.facts.format;
    Disk { format, behind, ..Disk::new(place, found.path, read_only) }
}

/// Disks at controllers of these types come and go while the machine runs.
fn only_hot(state: State, name: &str, place: DriveAddress) -> Result<(), Failure> {
    match (runs(state), place.hot()) {
        (true, true) => Ok(()),
        (_, true) => only_off(state, name, "The set of disks"),
        _ => {
            let controller = place.controller.name();
            only_off(
                state,
                name,
                &format!("The set of disks at {controller} controllers (not at SCSI and NVMe)"),
            )
        }
    }
}

/// A drive's files, open and locked for the worker that gets them. `config`: as the machine is to be.
pub fn taken(host: &Host, config: &Config, drive: &DriveFiles) -> Result<DiskFiles, Failure> {
    disks::take(&host.store, config, drive).map_err(|why| {
        let about = drive.layers.first().map(|layer| layer.path.display().to_string());
        Failure::refused(format!("'{}' does not get it: {why}.", config.name))
            .about(about.unwrap_or_default())
    })
}

fn set(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let found = call.arguments.text("Path").map(|path| found(call, path)).transpose()?;
    let new = found.map(|found| of(DriveAddress::default(), found, false));
    if new.is_some() {
        only_off(state, &config.name, "The set of disks")?;
    }
    let place = named(call, config)?;
    let policy = error_policy(call)?;
    let limit = |name, old| call.arguments.int(name).map_or(old, |limit| limit.unsigned_abs());
    for disk in config.disks.iter_mut().filter(|disk| disk.place == place) {
        if let Some(Disk { path, format, behind, .. }) = new.clone() {
            (disk.path, disk.format, disk.behind) = (path, format, behind);
        }
        disk.maximum_iops = limit("MaximumIOPS", disk.maximum_iops);
        disk.maximum_bytes_per_second = limit("MaximumBytesPerSecond", disk.maximum_bytes_per_second);
        disk.error_policy = policy.unwrap_or(disk.error_policy);
    }
    if state == State::Off {
        return Ok(());
    }
    call.host.ask(config, &Request::Disks { disks: config.disks.clone() })
}

fn remove(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let place = named(call, config)?;
    only_hot(state, &config.name, place)?;
    config.disks.retain(|disk| disk.place != place);
    if state == State::Off { Ok(()) } else { call.host.ask(config, &Request::RemoveDisk { place }) }
}

pub fn absolute(path: &str) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::invalid(format!("The path '{path}' is no path: {error}.")))
}

/// The same, with a file system of discs in it (ECMA-119, 8.1; ECMA-167, part 2, 9.1).
pub fn existing_disc(path: &str) -> Result<PathBuf, Failure> {
    let path = existing_medium(path)?;
    let (mut word, shown) = ([0; 5], path.display());
    let read = File::open(&path).and_then(|file| file.read_exact_at(&mut word, 0x8001));
    if read.is_err() || !matches!(&word, b"CD001" | b"BEA01") {
        let told = format!("'{shown}' is no ISO image: no disc's file system is in it; give an ISO image.");
        return Err(Failure::invalid(told).about(shown.to_string()));
    }
    Ok(path)
}

/// An image of a CD or DVD that is there.
pub fn existing_medium(path: &str) -> Result<PathBuf, Failure> {
    let opened = image::open(&absolute(path)?, None).map_err(|failure| {
        // Of a disc the same sentence names another kind of image.
        Failure { message: failure.message.replace("give a disk image", "give an ISO image"), ..failure }
    })?;
    let shown = opened.path.display();
    let refused = |why: String| Err(Failure::invalid(why).about(shown.to_string()));
    if opened.link.format != Format::Raw {
        let format = opened.link.format;
        return refused(format!("'{shown}' is a {format} image and no ISO image; give it as a disk."));
    }
    let length = opened.meta.len();
    if opened.meta.is_file() && (length == 0 || length % 512 != 0) {
        return refused(format!(
            "The image '{shown}' has {length} bytes, no multiple of 512; give an ISO image."
        ));
    }
    Ok(opened.path)
}
