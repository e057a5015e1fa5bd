//! Add-, Get-, Set- and Remove-VMDvdDrive.

use super::disk;
use super::drive::{self, DVD_PLACE};
use super::targets::{DVD, VSTD, change, only_off, runs};
use crate::operation::parameter::path;
use crate::operation::{
    Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::rules::drives::for_dvds;
use crate::state::State;
use crate::store::Config;
use crate::store::config::{ControllerType, DriveAddress, DriveFiles, Dvd};
use crate::value::{Kind, Record};
use crate::worker::protocol::Request;
use ireko_machine::DiskFiles;
use std::fs::File;
use std::path::PathBuf;

const fn verb(name: &'static str, doc: &'static str) -> Verb {
    Verb { name, doc, view: View::Table, needs_name: true }
}

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Add-VMDvdDrive",
        aliases: &[],
        verbs: &[verb("dvd-add", "Give a virtual machine a DVD drive, with an ISO image or empty.")],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/dvds" },
        doc: "Gives a virtual machine a DVD drive, with an ISO image in it or empty.",
        parameters: &[&VSTD, DVD_PLACE, MEDIUM],
        prints: Prints::Passthru,
        result: Some(Kind::DvdDrive),
        impact: Impact::Change,
        run: |call| change(call, "add a DVD drive to", add, dvds),
    },
    Operation {
        cmdlet: "Get-VMDvdDrive",
        aliases: &[],
        verbs: &[verb("dvds", "List DVD drives.")],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/dvds" },
        doc: "Gives the DVD drives of virtual machines.",
        parameters: &[&VSTD, DVD_PLACE],
        prints: Prints::Always,
        result: Some(Kind::DvdDrive),
        impact: Impact::None,
        run: |call| drive::get(call, records::dvds),
    },
    Operation {
        cmdlet: "Set-VMDvdDrive",
        aliases: &[],
        verbs: &[verb("dvd-set", "Put another ISO image into a DVD drive; without one, take it out.")],
        rest: Rest { method: Method::Patch, route: "/vms/{VMName}/dvds" },
        doc: "Puts another ISO image into a DVD drive; $null takes it out. A running machine sees it at once, whether its system has locked the drive or not.",
        parameters: &[&VSTD, &DVD, DVD_PLACE, MEDIUM],
        prints: Prints::Passthru,
        result: Some(Kind::DvdDrive),
        impact: Impact::Change,
        run: |call| change(call, "change the DVD drive of", set, dvds),
    },
    Operation {
        cmdlet: "Remove-VMDvdDrive",
        aliases: &[],
        verbs: &[verb("dvd-remove", "Take a DVD drive away; its image stays.")],
        rest: Rest { method: Method::Delete, route: "/vms/{VMName}/dvds/{ControllerLocation}" },
        doc: "Takes a DVD drive away from a virtual machine; its image stays.",
        parameters: &[&VSTD, &DVD, DVD_PLACE],
        prints: Prints::Passthru,
        result: Some(Kind::DvdDrive),
        impact: Impact::Change,
        run: |call| change(call, "remove a DVD drive of", remove, dvds),
    },
];

const MEDIUM: &[Parameter] =
    &[path("Path", "An ISO image; empty, there is none.").at(4).pipe(Pipeline::ByPropertyName).flag("path")];

const WHAT: (&str, &str) = ("DVD drive", "VMDvdDrive");

fn dvds(vm: &crate::host::Vm, _: &crate::host::HostFacts) -> Vec<Record> {
    records::dvds(vm)
}

/// The image that a call names, if it is one.
fn medium(call: &Call<'_>) -> Result<Option<PathBuf>, Failure> {
    call.arguments.text("Path").filter(|path| !path.is_empty()).map(disk::existing_medium).transpose()
}

fn add(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    only_off(state, &config.name, "The set of DVD drives")?;
    let path = medium(call)?;
    let place = drive::free(call, config, for_dvds(config.generation))?;
    put(config, Dvd { place, path });
    Ok(())
}

fn put(config: &mut Config, dvd: Dvd) {
    config.dvds.push(dvd);
    config.dvds.sort_by_key(|dvd| dvd.place);
}

/// Gives a machine that has no DVD drive the usual one of its generation, empty; of generation 1 where Hyper-V has it.
pub fn usual(config: &mut Config) {
    const OF_A_BIOS: DriveAddress = DriveAddress { controller: ControllerType::Ide, number: 1, location: 0 };
    const OF_UEFI: DriveAddress = DriveAddress { controller: ControllerType::Sata, number: 0, location: 0 };
    let place = if config.generation == 1 { OF_A_BIOS } else { OF_UEFI };
    if config.dvds.is_empty() && config.places().all(|taken| taken != place) {
        put(config, Dvd { place, path: None });
    }
}

/// Hyper-V's machines of generation 1 come with the drive.
pub fn usual_of_a_bios(config: &mut Config) {
    if config.generation == 1 {
        usual(config);
    }
}

fn set(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    if !runs(state) {
        only_off(state, &config.name, "The medium")?;
    }
    if state == State::Off && drive::wanted(call) == Default::default() {
        usual_of_a_bios(config);
    }
    let place = named(call, config)?;
    let path = medium(call)?;
    for dvd in config.dvds.iter_mut().filter(|dvd| dvd.place == place) {
        dvd.path.clone_from(&path);
    }
    if state == State::Off {
        return Ok(());
    }
    let drive = path.as_deref().map(DriveFiles::medium);
    let files = drive.map(|drive| disk::taken(call.host, config, &drive)).transpose()?;
    let files: Vec<&File> = files.iter().flat_map(DiskFiles::files).collect();
    call.host.ask_with(config, &Request::Medium { dvd: Dvd { place, path } }, &files)
}

fn remove(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    only_off(state, &config.name, "The set of DVD drives")?;
    let place = named(call, config)?;
    config.dvds.retain(|dvd| dvd.place != place);
    Ok(())
}

fn named(call: &Call<'_>, config: &Config) -> Result<DriveAddress, Failure> {
    let places: Vec<DriveAddress> = config.dvds.iter().map(|dvd| dvd.place).collect();
    drive::named(call, config, WHAT, &places)
}
