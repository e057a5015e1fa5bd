//! New-VM and Get-VM.

use super::targets::{Ambiguity, vms};
use super::{image, set};
use crate::guid::Guid;
use crate::host::now;
use crate::operation::parameter::{bytes, guid, int, object, one_of, path, switch, text};
use crate::operation::{
    Arguments, Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::rules::{self, drives};
use crate::store::config::{DriveAddress, StartWith, Startup};
use crate::store::switch::DEFAULT;
use crate::store::{Config, ConfigVersion};
use crate::value::{Kind, Value};
use std::path::{Path, PathBuf};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "New-VM",
        aliases: &[],
        verbs: &[Verb {
            name: "create",
            doc: "Create a virtual machine; without --kernel it boots --disk or --iso, and without those the built-in Debian image.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms" },
        doc: "Creates a virtual machine. Without a kernel it boots the disk or the ISO image that it is given, and without those the built-in Debian image.",
        parameters: &[NEW, &super::system::PARAMETERS, &super::installer::PARAMETERS, &set::IREKO],
        prints: Prints::Always,
        result: Some(Kind::VirtualMachine),
        impact: Impact::Change,
        run: new,
    },
    Operation {
        cmdlet: "Get-VM",
        aliases: &["gvm"],
        verbs: &[
            Verb { name: "list", doc: "List virtual machines.", view: View::Table, needs_name: false },
            Verb {
                name: "show",
                doc: "Show everything of virtual machines.",
                view: View::List,
                needs_name: true,
            },
        ],
        rest: Rest { method: Method::Get, route: "/vms" },
        doc: "Gives virtual machines: all, or those of the given names.",
        parameters: &[GET],
        prints: Prints::Always,
        result: Some(Kind::VirtualMachine),
        impact: Impact::None,
        run: get,
    },
];

const NEW: &[Parameter] = &[
    text("Name", "The name; it need not be unique.")
        .alias(&["VMName"])
        .at(0)
        .pipe(Pipeline::ByValueOrPropertyName)
        .positional(),
    bytes("MemoryStartupBytes", "Memory, a multiple of 2 MB.").at(1).flag("memory"),
    int("Generation", 1, 2, "1 or 2: whether its firmware is a BIOS or UEFI, if it starts with firmware.")
        .at(2)
        .flag("generation"),
    one_of(
        "BootDevice",
        &["Floppy", "CD", "IDE", "LegacyNetworkAdapter", "NetworkAdapter", "VHD"],
        "What firmware tries first; the machine then starts with firmware. No floppy.",
    ),
    text(
        "SwitchName",
        "The virtual switch for its network adapter; without this 'Default Switch', empty: none.",
    )
    .flag("switch"),
    path(
        "Path",
        "A directory, made where it is missing: a new disk whose name says none goes there. The configuration is kept in IREKO_HOME.",
    ),
    text("Version", "The configuration version, like 9.0.").flag("config-version"),
    switch("NoVHD", "Without a disk.").set("No VHD"),
    path("NewVHDPath", "A disk image to be made, of the format that its name ends in.")
        .set("New VHD")
        .required()
        .flag("new-disk"),
    bytes("NewVHDSizeBytes", "Its size.").set("New VHD").required().flag("new-disk-size"),
    path("VHDPath", "A disk image that is there.").set("Existing VHD").required().flag("disk"),
    one_of(
        "VHDFormat",
        super::disk::FORMATS,
        "What the image is; without it its content tells, now and never again (Ireko's own).",
    )
    .set("Existing VHD")
    .flag("disk-format"),
    path("ParentPath", "The image behind it, which it names; again for the one behind that (Ireko's own).")
        .many()
        .set("Existing VHD")
        .flag("disk-parent"),
    path("ISOPath", "An ISO image for its DVD drive, which is booted first (Ireko's own).").flag("iso"),
    switch("Force", "Accepted; nothing is asked."),
];

const GET: &[Parameter] = &[
    text("Name", "Names or ids; wildcards count.")
        .alias(&["VMName"])
        .many()
        .at(0)
        .pipe(Pipeline::ByValue)
        .set("Name")
        .positional(),
    guid("Id", "The id.").at(0).pipe(Pipeline::ByValueOrPropertyName).set("Id"),
    object("VM", Kind::VirtualMachine, "The same virtual machine as it is now.").many().set("VM"),
    switch("Nested", "Instead, the levels that run inside: processor time and exits of each (Ireko's own).")
        .flag("nested"),
];

fn new(call: &mut Call<'_>) -> Result<(), Failure> {
    let name = call.arguments.text("Name").unwrap_or("New virtual machine").to_owned();
    rules::name::check(&name).map_err(Failure::invalid)?;
    let id = Guid::random().map_err(|error| Failure::failed(format!("No random id: {error}")))?;
    let mut config = Config::new(id, &name, now());
    basics(call, &mut config)?;
    set::apply(call, &mut config, crate::state::State::Off)?;
    let installer = super::installer::find(call)?;
    if !call.should("create the virtual machine", &name) {
        return Ok(());
    }
    disks(call, &mut config)?;
    let begun = match installer {
        Some(files) => Some(super::installer::bring(call, &mut config, &files)?),
        None => super::system::bring(call, &mut config)?,
    };
    starts_with_what_it_brings(call.arguments, &mut config);
    boot_device(call.arguments, &mut config)?;
    disc(call.arguments, &mut config)?;
    match begun {
        Some(begun) => begun.keep(&config)?,
        None => call.host.store.create(&config)?,
    }
    if call.arguments.switch("Start") {
        super::lifecycle::start_one(call, &config)?;
    }
    let record = records::vm(&call.host.vm(config), &call.host.system.host());
    call.give(record);
    Ok(())
}

fn basics(call: &mut Call<'_>, config: &mut Config) -> Result<(), Failure> {
    let arguments = call.arguments;
    let switch = match arguments.text("SwitchName") {
        None => Some(DEFAULT),
        Some("") => None,
        Some(name) => Some(super::switch::by_name(call, name)?.id),
    };
    config.adapters.iter_mut().for_each(|adapter| adapter.switch = switch);
    for number in 0..config.adapters.len() {
        let (adapter, others) = (&config.adapters[number], &config.adapters[..number]);
        config.adapters[number] = super::network::addressed(call, adapter.clone(), others)?;
    }
    if arguments.has("Path") && !arguments.has("NewVHDPath") {
        call.warn(format!(
            "The configuration of '{}' is kept in '{}'; -Path is for a new disk, and there is none.",
            config.name,
            call.host.store.home().display()
        ));
    }
    if let Some(generation) = arguments.int("Generation") {
        config.generation = generation as u8;
    }
    if let Some(version) = arguments.text("Version") {
        config.version = version.parse().map_err(Failure::invalid)?;
        if !ConfigVersion::SUPPORTED.contains(&config.version) {
            return Err(Failure::invalid(format!(
                "Configuration version {version} is not supported by this host; see Get-VMHostSupportedVersion."
            )));
        }
    }
    Ok(())
}

fn disks(call: &Call<'_>, config: &mut Config) -> Result<(), Failure> {
    let arguments = call.arguments;
    let found = if let Some(path) = arguments.text("NewVHDPath") {
        let path = place(call, path)?;
        let size = arguments.int("NewVHDSizeBytes").unwrap_or(0) as u64;
        super::vhd::make(&path, &super::vhd::New::of(&path, size))?;
        image::find(arguments, &path, None)?
    } else if let Some(path) = arguments.text("VHDPath") {
        image::find(arguments, &super::disk::absolute(path)?, image::format(arguments, "VHDFormat")?)?
    } else {
        return Ok(());
    };
    config.disks.push(super::disk::of(DriveAddress::scsi(0), found, false));
    Ok(())
}

/// Where a new disk goes: what its name says, else the machine's directory, else the host's.
fn place(call: &Call<'_>, path: &str) -> Result<PathBuf, Failure> {
    let directory = call.arguments.text("Path").map(super::disk::absolute).transpose()?;
    if let Some(directory) = &directory {
        std::fs::create_dir_all(directory).map_err(|error| {
            Failure::failed(format!("The directory '{}' cannot be made: {error}.", directory.display()))
        })?;
    }
    let is_bare = Path::new(path).components().count() == 1;
    match directory.or(call.host.store.host_settings()?.hard_disk_path).filter(|_| is_bare) {
        Some(directory) => Ok(directory.join(path)),
        None => super::disk::absolute(path),
    }
}

/// What is on a disk that somebody brings is what starts, unless a kernel is given or something else is said.
fn starts_with_what_it_brings(arguments: &Arguments, config: &mut Config) {
    let brings = arguments.has("VHDPath") || arguments.has("ISOPath");
    if brings && config.boot.kernel.is_none() && !arguments.has("StartWith") {
        config.boot.start_with = StartWith::Firmware;
    }
}

/// A disc in the usual drive, which firmware tries first unless something else is said.
fn disc(arguments: &Arguments, config: &mut Config) -> Result<(), Failure> {
    let Some(path) = arguments.text("ISOPath") else { return Ok(()) };
    let path = super::disk::existing_disc(path)?;
    super::dvd::usual(config);
    if let Some(drive) = config.dvds.first_mut() {
        drive.path = Some(path);
    }
    if !arguments.has("BootDevice") {
        match config.generation {
            1 => config.boot.startup = vec![Startup::CD],
            _ => config.boot.order = drives::of_kind(config, Startup::CD),
        }
    }
    Ok(())
}

/// What firmware tries first. A machine of generation 1 that starts with firmware has a DVD drive from the beginning.
fn boot_device(arguments: &Arguments, config: &mut Config) -> Result<(), Failure> {
    let first = match arguments.text("BootDevice") {
        Some("Floppy") => {
            return Err(Failure::later("There are no floppy disks; boot a VHD, a CD or the network."));
        }
        Some("CD") => Some(Startup::CD),
        Some("NetworkAdapter" | "LegacyNetworkAdapter") => Some(Startup::LegacyNetworkAdapter),
        Some(_) => Some(Startup::IDE),
        None => None,
    };
    if let Some(kind) = first {
        config.boot.start_with = StartWith::Firmware;
        if kind == Startup::CD {
            super::dvd::usual(config);
        }
        match config.generation {
            1 => config.boot.startup = vec![kind],
            _ => config.boot.order = drives::of_kind(config, kind),
        }
    }
    if config.boot.start_with == StartWith::Firmware {
        super::dvd::usual_of_a_bios(config);
    }
    Ok(())
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let arguments = call.arguments;
    let configs = if let Some(Value::Guid(id)) = arguments.value("Id") {
        vec![call.host.store.load(*id).map_err(|_| crate::select::not_found(&id.to_string()))?]
    } else if arguments.has("Name") || arguments.has("VM") {
        vms(call, Ambiguity::Allowed)?
    } else {
        for error in call.host.damaged()? {
            call.answer.errors.push(error.into());
        }
        call.host.configs()?
    };
    if arguments.switch("Nested") {
        let named = arguments.has("Name") || arguments.has("Id") || arguments.has("VM");
        return super::introspection::give(call, configs, named);
    }
    let facts = call.host.system.host();
    for vm in call.host.vms(configs) {
        let record = records::vm(&vm, &facts);
        call.give(record);
    }
    Ok(())
}
