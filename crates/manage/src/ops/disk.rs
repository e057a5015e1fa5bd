//! Add-, Get-, Set- and Remove-VMHardDiskDrive, for raw images.

use super::targets::{Ambiguity, DRIVE, VSTD, change, only_off, vms};
use crate::operation::parameter::{boolean, bytes, int, one_of, path};
use crate::operation::{
    Arguments, Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::state::State;
use crate::store::{Config, Disk};
use crate::value::{Kind, Record, Value};
use crate::worker::protocol::Request;
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
        run: get,
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

const PLACE: &[Parameter] = &[
    one_of("ControllerType", &["IDE", "SCSI"], "Only SCSI.").at(1).pipe(Pipeline::ByPropertyName),
    int("ControllerNumber", 0, 3, "Only 0.").at(2).pipe(Pipeline::ByPropertyName),
    int("ControllerLocation", 0, 63, "The place on the controller.")
        .at(3)
        .pipe(Pipeline::ByPropertyName)
        .flag("location"),
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

/// The first location behind the PCI slots of other devices is 0; so many slots are left.
const MOST: u32 = 19;

fn drives(vm: &crate::host::Vm, _: &crate::host::HostFacts) -> Vec<Record> {
    records::disks(vm)
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let location = place(call.arguments)?;
    let configs = vms(call, Ambiguity::Allowed)?;
    for vm in call.host.vms(configs) {
        for record in records::disks(&vm) {
            let there = record.property("ControllerLocation").and_then(Value::as_int);
            if location.is_none() || there == location.map(i64::from) {
                call.give(record);
            }
        }
    }
    Ok(())
}

/// The location that is named, if any; only SCSI controller 0 is there.
fn place(arguments: &Arguments) -> Result<Option<u32>, Failure> {
    if arguments.text("ControllerType") == Some("IDE") {
        return Err(Failure::later("IDE controllers are not there yet; use -ControllerType SCSI."));
    }
    if let Some(number @ 1..) = arguments.int("ControllerNumber") {
        return Err(Failure::invalid(format!(
            "There is no SCSI controller {number}; use -ControllerNumber 0."
        )));
    }
    Ok(arguments.int("ControllerLocation").map(|location| location as u32))
}

/// The location by number, or of the object from the pipeline.
fn named_place(call: &Call<'_>, config: &Config) -> Result<u32, Failure> {
    let of_object = |value: &Value| match value {
        Value::Record(record) if record.guid("VMId") == Some(config.id) => {
            record.property("ControllerLocation").and_then(Value::as_int)
        }
        _ => None,
    };
    let from_object = call.arguments.items("VMHardDiskDrive").iter().find_map(of_object);
    let location = place(call.arguments)?.or(from_object.map(|location| location as u32));
    location.ok_or_else(|| Failure::invalid("Which disk? Give -ControllerLocation.").about(&config.name))
}

fn no_disk(config: &Config, location: u32) -> Failure {
    Failure::invalid(format!(
        "'{}' has no disk at SCSI location {location}; see Get-VMHardDiskDrive.",
        config.name
    ))
    .about(&config.name)
    .absent()
}

fn add(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    only_off(state, &config.name, "The set of disks")?;
    let path = existing(call.arguments.text("Path").unwrap_or_default())?;
    let used = |location: &u32| config.disks.iter().any(|disk| disk.location == *location);
    let location = match place(call.arguments)? {
        Some(location) if used(&location) => {
            return Err(Failure::invalid(format!(
                "'{}' has a disk at SCSI location {location} already; take another -ControllerLocation.",
                config.name
            )));
        }
        Some(location) => location,
        None => (0..64).find(|location| !used(location)).unwrap_or(64),
    };
    if config.disks.len() as u32 >= MOST || location >= 64 {
        return Err(Failure::invalid(format!("'{}' has {MOST} disks, which are the most.", config.name)));
    }
    let read_only = call.arguments.switch("ReadOnly");
    config.disks.push(Disk::new(location, path, read_only));
    config.disks.sort_by_key(|disk| disk.location);
    Ok(())
}

fn set(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let path = call.arguments.text("Path").map(existing).transpose()?;
    if path.is_some() {
        only_off(state, &config.name, "The set of disks")?;
    }
    let location = named_place(call, config)?;
    let limit = |name, old| call.arguments.int(name).map_or(old, |limit| limit.unsigned_abs());
    let Some(disk) = config.disks.iter_mut().find(|disk| disk.location == location) else {
        return Err(no_disk(config, location));
    };
    disk.path = path.unwrap_or_else(|| disk.path.clone());
    disk.maximum_iops = limit("MaximumIOPS", disk.maximum_iops);
    disk.maximum_bytes_per_second = limit("MaximumBytesPerSecond", disk.maximum_bytes_per_second);
    if state == State::Off {
        return Ok(());
    }
    call.host.ask(config, &Request::Disks { disks: config.disks.clone() })
}

fn remove(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    only_off(state, &config.name, "The set of disks")?;
    let location = named_place(call, config)?;
    let before = config.disks.len();
    config.disks.retain(|disk| disk.location != location);
    if config.disks.len() == before { Err(no_disk(config, location)) } else { Ok(()) }
}

pub fn absolute(path: &str) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::invalid(format!("The path '{path}' is no path: {error}.")))
}

/// A raw image that is there.
pub fn existing(path: &str) -> Result<PathBuf, Failure> {
    let path = absolute(path)?;
    check_format(&path)?;
    let meta = std::fs::metadata(&path).map_err(|error| {
        Failure::invalid(format!("The disk '{}' cannot be used: {error}; check the path.", path.display()))
            .about(path.display().to_string())
    })?;
    if meta.is_dir() {
        return Err(Failure::invalid(format!("'{}' is a directory; give a raw disk image.", path.display())));
    }
    if meta.is_file() && (meta.len() == 0 || meta.len() % 512 != 0) {
        return Err(Failure::invalid(format!(
            "The disk '{}' has {} bytes, no multiple of 512; give a raw disk image.",
            path.display(),
            meta.len()
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
