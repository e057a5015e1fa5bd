//! What disks and DVD drives have in common: places at controllers.

use super::targets::{Ambiguity, vms};
use crate::host::Vm;
use crate::operation::parameter::{int, one_of};
use crate::operation::{Call, Failure, Parameter, Pipeline};
use crate::rules::drives::{self, Wanted};
use crate::store::Config;
use crate::store::config::{ControllerType, DriveAddress};
use crate::value::{Record, Value};

/// Of a disk.
pub const PLACE: &[Parameter] = &[
    one_of(
        "ControllerType",
        &["IDE", "SCSI", "SATA", "NVMe"],
        "SCSI is virtio. IDE (generation 1), SATA and NVMe (Ireko's own) are what any system knows.",
    )
    .at(1)
    .pipe(Pipeline::ByPropertyName)
    .flag("controller"),
    NUMBER,
    LOCATION,
];

/// Of a DVD drive.
pub const DVD_PLACE: &[Parameter] = &[
    one_of(
        "ControllerType",
        &["IDE", "SCSI", "SATA"],
        "IDE (generation 1) and SATA are what any system knows; SCSI is virtio's, for systems with a driver.",
    )
    .at(1)
    .pipe(Pipeline::ByPropertyName)
    .flag("controller"),
    NUMBER,
    LOCATION,
];

const NUMBER: Parameter = int("ControllerNumber", 0, 63, "Which controller of that type.")
    .at(2)
    .pipe(Pipeline::ByPropertyName)
    .flag("controller-number");

const LOCATION: Parameter = int("ControllerLocation", 0, 63, "The place on the controller.")
    .at(3)
    .pipe(Pipeline::ByPropertyName)
    .flag("location");

/// The place that a call says.
pub fn wanted(call: &Call<'_>) -> Wanted {
    let number = |name| call.arguments.int(name).map(|number| number as u32);
    Wanted {
        controller: call.arguments.text("ControllerType").and_then(ControllerType::named),
        number: number("ControllerNumber"),
        location: number("ControllerLocation"),
    }
}

/// Gives the drives of the meant VMs, of those that `records` makes the ones at the place that is said.
pub fn get(call: &mut Call<'_>, records: fn(&Vm) -> Vec<Record>) -> Result<(), Failure> {
    let wanted = wanted(call);
    let configs = vms(call, Ambiguity::Allowed)?;
    for vm in call.host.vms(configs) {
        let fits = |record: &Record| place_of(record, &vm.config).is_some_and(|place| wanted.fits(&place));
        records(&vm).into_iter().filter(fits).for_each(|record| call.give(record));
    }
    Ok(())
}

/// The place in a record of a drive of this VM.
pub fn place_of(record: &Record, config: &Config) -> Option<DriveAddress> {
    if record.guid("VMId") != Some(config.id) {
        return None;
    }
    let number = |name| record.property(name).and_then(Value::as_int).map(|number| number as u32);
    Some(DriveAddress {
        controller: ControllerType::named(record.property("ControllerType")?.as_text()?)?,
        number: number("ControllerNumber")?,
        location: number("ControllerLocation")?,
    })
}

/// The one place that is meant, of those of `what`: by an object in the parameter `object`, or by numbers.
pub fn named(
    call: &Call<'_>,
    config: &Config,
    (what, object): (&str, &str),
    places: &[DriveAddress],
) -> Result<DriveAddress, Failure> {
    let of_object = |value: &Value| match value {
        Value::Record(record) => place_of(record, config),
        _ => None,
    };
    let by_object = call.arguments.items(object).iter().find_map(of_object);
    let wanted = by_object.map_or_else(|| wanted(call), Wanted::from);
    drives::check(&wanted, config.generation).map_err(|why| Failure::invalid(why).about(&config.name))?;
    let mut fitting = places.iter().filter(|place| wanted.fits(place));
    match (fitting.next(), fitting.next()) {
        (Some(place), None) => Ok(*place),
        (None, _) => Err(none_there(config, what, &wanted)),
        (Some(_), Some(_)) => Err(Failure::invalid(format!(
            "Which {what} of '{}'? Give -ControllerType, -ControllerNumber and -ControllerLocation.",
            config.name
        ))
        .about(&config.name)),
    }
}

fn none_there(config: &Config, what: &str, wanted: &Wanted) -> Failure {
    let controller = wanted.controller.map_or("any", ControllerType::name);
    let place = match wanted.location {
        Some(location) => format!("{controller} location {location}"),
        None => format!("{controller} controller"),
    };
    let cmdlet = if what == "disk" { "Get-VMHardDiskDrive" } else { "Get-VMDvdDrive" };
    Failure::invalid(format!("'{}' has no {what} at {place}; see {cmdlet}.", config.name))
        .about(&config.name)
        .absent()
}

/// A free place for a new drive.
pub fn free(call: &Call<'_>, config: &Config, types: &[ControllerType]) -> Result<DriveAddress, Failure> {
    drives::free(config, &wanted(call), types).map_err(|why| Failure::invalid(why).about(&config.name))
}
