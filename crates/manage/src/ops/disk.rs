//! Add-, Get-, Set- and Remove-VMHardDiskDrive, for raw images.

use super::drive::{self, PLACE};
use super::targets::{DRIVE, VSTD, change, only_off};
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
    only_off(state, &config.name, "The set of disks")?;
    let path = existing(call.arguments.text("Path").unwrap_or_default())?;
    let place = drive::free(call, config, FOR_DISKS)?;
    if config.disks.len() as u32 >= MOST {
        return Err(Failure::invalid(format!("'{}' has {MOST} disks, which are the most.", config.name)));
    }
    config.disks.push(Disk::new(place, path, call.arguments.switch("ReadOnly")));
    config.disks.sort_by_key(|disk| disk.place);
    Ok(())
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
    only_off(state, &config.name, "The set of disks")?;
    let place = named(call, config)?;
    config.disks.retain(|disk| disk.place != place);
    Ok(())
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
