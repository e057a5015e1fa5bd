//! Add-, Get-, Set- and Remove-VMHardDiskDrive, for raw images.

use super::drive::{self, PLACE};
use super::targets::{DRIVE, VSTD, change, only_off, runs};
use crate::host::Host;
use crate::operation::parameter::{boolean, bytes, int, path};
use crate::operation::{
    Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::rules::drives::FOR_DISKS;
use crate::state::State;
use crate::store::config::Place;
use crate::store::{Config, Disk};
use crate::value::{Kind, Record};
use crate::worker::disks;
use crate::worker::protocol::Request;
use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Add-VMHardDiskDrive",
        aliases: &[],
        verbs: &[Verb {
            name: "disk-add",
            doc: "Give a virtual machine a raw disk image.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/disks" },
        doc: "Gives a virtual machine a disk: a raw image.",
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
            doc: "Limit the use of a disk, or put another image into its place.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Patch, route: "/vms/{VMName}/disks" },
        doc: "Puts another image into the place of a disk, or limits its use; limits count at once.",
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
    path("Path", "The raw image.").at(4).required().pipe(Pipeline::ByPropertyName).positional(),
    boolean("ReadOnly", "The guest cannot write (Ireko's own).").flag("read-only"),
];
const SET: &[Parameter] = &[
    path("Path", "The raw image.").at(4).flag("path"),
    int("MaximumIOPS", 0, MOST_LIMIT, "Operations of 8 KiB in a second at most; 0 is no limit.")
        .flag("maximum-iops"),
    bytes("MaximumBytesPerSecond", "Bytes in a second at most; 0 is no limit (Ireko's own).")
        .flag("maximum-bytes-per-second"),
];

/// More than any host can do.
const MOST_LIMIT: i64 = 1 << 40;

/// So many PCI slots there are between those of other devices.
const MOST: u32 = 16;

fn drives(vm: &crate::host::Vm, _: &crate::host::HostFacts) -> Vec<Record> {
    records::disks(vm)
}

fn named(call: &Call<'_>, config: &Config) -> Result<Place, Failure> {
    let places: Vec<Place> = config.disks.iter().map(|disk| disk.place).collect();
    drive::named(call, config, ("disk", "VMHardDiskDrive"), &places)
}

fn add(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let path = existing(call.arguments.text("Path").unwrap_or_default())?;
    let place = drive::free(call, config, FOR_DISKS)?;
    only_hot(state, &config.name, place)?;
    if config.disks.len() as u32 >= MOST {
        return Err(Failure::invalid(format!("'{}' has {MOST} disks, which are the most.", config.name)));
    }
    let disk = Disk::new(place, path, call.arguments.switch("ReadOnly"));
    config.disks.push(disk.clone());
    config.disks.sort_by_key(|disk| disk.place);
    if state == State::Off {
        return Ok(());
    }
    let file = taken(call.host, config, &disk.path, disk.read_only)?;
    call.host.ask_with(config, &Request::AddDisk { disk }, Some(&file))
}

/// Disks at controllers of these types come and go while the machine runs.
fn only_hot(state: State, name: &str, place: Place) -> Result<(), Failure> {
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

/// A drive's file, open and locked for the worker that gets it. `config`: as the machine is to be.
pub fn taken(host: &Host, config: &Config, path: &Path, read_only: bool) -> Result<File, Failure> {
    disks::take(&host.store, config, path, read_only).map_err(|why| {
        Failure::refused(format!("'{}' does not get it: {why}.", config.name))
            .about(path.display().to_string())
    })
}

fn set(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let path = call.arguments.text("Path").map(existing).transpose()?;
    if path.is_some() {
        only_off(state, &config.name, "The set of disks")?;
    }
    let place = named(call, config)?;
    let limit = |name, old| call.arguments.int(name).map_or(old, |limit| limit.unsigned_abs());
    for disk in config.disks.iter_mut().filter(|disk| disk.place == place) {
        disk.path = path.clone().unwrap_or_else(|| disk.path.clone());
        disk.maximum_iops = limit("MaximumIOPS", disk.maximum_iops);
        disk.maximum_bytes_per_second = limit("MaximumBytesPerSecond", disk.maximum_bytes_per_second);
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

/// A raw image that is there.
pub fn existing(path: &str) -> Result<PathBuf, Failure> {
    image(path, "disk", "a raw disk image")
}

/// An image of a CD or DVD that is there.
pub fn existing_medium(path: &str) -> Result<PathBuf, Failure> {
    image(path, "image", "an ISO image")
}

fn image(path: &str, what: &str, wanted: &str) -> Result<PathBuf, Failure> {
    let path = absolute(path)?;
    check_format(&path)?;
    let shown = path.display().to_string();
    let refused = |why: String| Failure::invalid(why).about(&shown);
    let meta = std::fs::metadata(&path)
        .map_err(|error| refused(format!("The {what} '{shown}' cannot be used: {error}; check the path.")))?;
    let kind = meta.file_type();
    if meta.is_dir() {
        return Err(refused(format!("'{shown}' is a directory; give {wanted}.")));
    }
    if !(meta.is_file() || kind.is_block_device()) {
        return Err(refused(format!("'{shown}' is neither a file nor a block device; give {wanted}.")));
    }
    if meta.is_file() && (meta.len() == 0 || meta.len() % 512 != 0) {
        let length = meta.len();
        return Err(refused(format!(
            "The {what} '{shown}' has {length} bytes, no multiple of 512; give {wanted}."
        )));
    }
    Ok(path)
}

pub fn check_format(path: &Path) -> Result<(), Failure> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if matches!(extension.as_str(), "vhd" | "vhdx" | "avhd" | "avhdx" | "vhds" | "qcow2" | "vmdk") {
        return Err(Failure::later(format!(
            "Disks of the format {extension} are not there yet; use a raw image ('{}').",
            path.display()
        )));
    }
    Ok(())
}
