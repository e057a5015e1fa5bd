//! Get-VMFirmware and Set-VMFirmware: firmware and what it tries, or kernel, initrd and command line.

use super::drive::place_of;
use super::targets::{Ambiguity, FIRMWARE, VSTD, change, only_off, vms};
use crate::operation::parameter::{ON_OFF, any_of, one_of, path, text};
use crate::operation::{
    Arguments, Call, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::rules::drives;
use crate::state::State;
use crate::store::config::{BootEntry, ControllerType, DriveAddress, Module, StartWith, Startup};
use crate::store::{Boot, Config};
use crate::value::{Kind, Record, Value};
use std::path::PathBuf;

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Get-VMFirmware",
        aliases: &["Get-VMBios"],
        verbs: &[Verb { name: "firmware", doc: "Show what is booted.", view: View::Table, needs_name: true }],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/firmware" },
        doc: "Gives what virtual machines boot: firmware, or kernel, initrd and command line.",
        parameters: &[&VSTD],
        prints: Prints::Always,
        result: Some(Kind::VMFirmware),
        impact: Impact::None,
        run: get,
    },
    Operation {
        cmdlet: "Set-VMFirmware",
        aliases: &["Set-VMBios"],
        verbs: &[Verb {
            name: "firmware-set",
            doc: "Change what is booted, and what firmware tries first.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Patch, route: "/vms/{VMName}/firmware" },
        doc: "Changes what virtual machines boot.",
        parameters: &[&VSTD, &FIRMWARE, SET],
        prints: Prints::Passthru,
        result: Some(Kind::VMFirmware),
        impact: Impact::Change,
        run: set,
    },
];

const SET: &[Parameter] = &[
    START_WITH,
    path("Kernel", "A kernel (bzImage, ELF, multiboot); empty, it is the built-in image."),
    path("Initrd", "The initial root file system; empty, there is none."),
    text("CommandLine", "The kernel's command line, or more of the built-in image's."),
    MODULE,
    BOOT_PROTOCOL,
    any_of(
        "FirstBootDevice",
        BOOTABLE,
        "What firmware tries first (generation 2): a drive, an adapter or a boot source; or CD, Disk, Network, or a place like SATA:0:1.",
    )
    .flag("first-boot-device"),
    any_of("BootOrder", BOOTABLE, "The same as a list, in the order in which firmware tries.")
        .many()
        .flag("boot-order"),
    one_of(
        "StartupOrder",
        &["CD", "IDE", "LegacyNetworkAdapter", "Floppy"],
        "Kinds of devices in the order in which a BIOS tries them (generation 1); IDE stands for all disks.",
    )
    .many()
    .flag("startup-order"),
    one_of(
        "EnableSecureBoot",
        ON_OFF,
        "Whether UEFI starts only what is signed (generation 2); Off if nothing is said. It needs the engine soft. Kernels that are started directly are not looked at.",
    )
    .flag("secure-boot"),
];

/// What can stand in a boot order.
const BOOTABLE: &[Kind] = &[Kind::HardDiskDrive, Kind::DvdDrive, Kind::VMNetworkAdapter, Kind::VMBootSource];

/// Of Set-VMFirmware, Set-VM and New-VM.
pub const START_WITH: Parameter = one_of(
    "StartWith",
    &["Kernel", "Firmware"],
    "Kernel: started directly, the fast way. Firmware: SeaBIOS (generation 1) or OVMF (generation 2), which loads from a disk; kernel, initrd and command line then rest.",
)
.flag("start-with");

/// Of Set-VMFirmware, Set-VM and New-VM.
pub const MODULE: Parameter = path(
    "Module",
    "Modules for a multiboot or PVH kernel, each a file and behind a blank its command line; empty, there are none.",
)
.many()
.flag("module");

/// Of Set-VMFirmware, Set-VM and New-VM.
pub const BOOT_PROTOCOL: Parameter = one_of(
    "BootProtocol",
    &["Auto", "Linux", "PVH", "Multiboot", "Multiboot2"],
    "How the kernel is started, for kernels that know several ways.",
)
.flag("protocol");

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Allowed)?;
    for vm in call.host.vms(configs) {
        let record = records::firmware(&vm);
        call.give(record);
    }
    Ok(())
}

fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    let body = |call: &mut Call<'_>, config: &mut Config, state| {
        apply(call.arguments, config, state)?;
        check_engine(call.arguments, config)
    };
    change(call, "change the firmware of", body, |vm, _| vec![records::firmware(vm)])
}

/// Boot settings of Set-VMFirmware, Set-VM and New-VM.
pub fn apply(arguments: &Arguments, config: &mut Config, state: State) -> Result<(), Failure> {
    let mut boot = config.boot.clone();
    match arguments.text("StartWith") {
        Some("Firmware") => boot.start_with = StartWith::Firmware,
        Some(_) => boot.start_with = StartWith::Kernel,
        None => {}
    }
    if arguments.has("Kernel") {
        boot.kernel = file(arguments, "Kernel")?;
    }
    if arguments.has("Initrd") {
        boot.initrd = file(arguments, "Initrd")?;
    }
    if let Some(line) = arguments.text("CommandLine") {
        if line.contains(['\0', '\n']) {
            return Err(Failure::invalid(
                "The command line must be one line; take out the line break or NUL.",
            ));
        }
        boot.command_line = line.to_owned();
    }
    if arguments.has("Module") {
        let given = arguments.items("Module").iter().filter_map(Value::as_text);
        boot.modules = given.filter(|text| !text.is_empty()).map(module).collect::<Result<_, _>>()?;
    }
    match arguments.text("BootProtocol") {
        Some("Auto") => boot.protocol = None,
        Some(protocol) => boot.protocol = Some(protocol.to_ascii_lowercase()),
        None => {}
    }
    order(arguments, config, &mut boot)?;
    match arguments.text("EnableSecureBoot") {
        Some("On") if config.generation == 1 => {
            return Err(Failure::invalid(format!(
                "'{}' is of generation 1, whose firmware knows no secure boot; make one with -Generation 2.",
                config.name
            ))
            .about(&config.name));
        }
        Some(word) => boot.secure_boot = word == "On",
        None => {}
    }
    if boot.kernel.is_none() && boot.initrd.is_some() {
        return Err(Failure::invalid("An initrd without a kernel cannot be; give -Kernel too."));
    }
    if boot.kernel.is_none() && !(boot.modules.is_empty() && boot.protocol.is_none()) {
        return Err(Failure::invalid(
            "Modules and a boot protocol are for a kernel of your own; give -Kernel too.",
        ));
    }
    if boot != config.boot {
        only_off(state, &config.name, "What it boots")?;
        config.boot = boot;
    }
    Ok(())
}

/// Secure boot and an engine that cannot have it, whichever of them comes second.
pub fn check_engine(arguments: &Arguments, config: &Config) -> Result<(), Failure> {
    let asked = arguments.has("EnableSecureBoot") || arguments.has("Engine");
    if !(asked && config.boot.secure_boot && config.engine == "kvm") {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "'{}' cannot have both secure boot and the engine kvm, which has no system-management mode; use Set-VM -Engine soft, or Set-VMFirmware -EnableSecureBoot Off.",
        config.name
    ))
    .about(&config.name))
}

fn file(arguments: &Arguments, name: &str) -> Result<Option<PathBuf>, Failure> {
    arguments.text(name).filter(|path| !path.is_empty()).map(plain_file).transpose()
}

/// A file and its command line. A file's name may hold blanks: the first one behind a file counts.
fn module(text: &str) -> Result<Module, Failure> {
    let blanks = text.match_indices(' ').map(|(at, _)| at).chain([text.len()]);
    let named = |at: &usize| super::disk::absolute(&text[..*at]).is_ok_and(|path| path.is_file());
    let first = text.find(' ').unwrap_or(text.len());
    let (path, line) = text.split_at(blanks.into_iter().find(named).unwrap_or(first));
    if line.contains(['\0', '\n']) {
        return Err(Failure::invalid(
            "A module's command line must be one line; take out the line break or NUL.",
        ));
    }
    Ok(Module { path: plain_file(path)?, command_line: line.trim().to_owned() })
}

fn plain_file(path: &str) -> Result<PathBuf, Failure> {
    let path = super::disk::absolute(path)?;
    let why = match path.metadata() {
        Ok(meta) if meta.is_file() => return Ok(path),
        Ok(_) => "is no file; give one",
        Err(_) => "does not exist; check the path",
    };
    let shown = path.display().to_string();
    Err(Failure::invalid(format!("The file '{shown}' {why}.")).about(shown))
}

/// What firmware tries: of generation 2 single devices, of generation 1 kinds of them.
fn order(arguments: &Arguments, config: &Config, boot: &mut Boot) -> Result<(), Failure> {
    let (uefi, bios) = (config.generation != 1, arguments.items("StartupOrder"));
    let (first, all) = (arguments.items("FirstBootDevice"), arguments.items("BootOrder"));
    let wrong = |which: &str, right: &str| {
        let generation = config.generation;
        Failure::invalid(format!(
            "'{}' is of generation {generation}, whose firmware has no {which}; use {right}.",
            config.name
        ))
        .about(&config.name)
    };
    match (uefi, first.is_empty() && all.is_empty(), bios.is_empty()) {
        (false, false, _) => return Err(wrong("order of single devices", "-StartupOrder")),
        (true, _, false) => return Err(wrong("order of kinds of devices", "-BootOrder or -FirstBootDevice")),
        _ => {}
    }
    if let Some(name) = ["StartupOrder", "FirstBootDevice", "BootOrder"]
        .into_iter()
        .find(|name| arguments.has(name) && arguments.items(name).is_empty())
    {
        return Err(Failure::invalid(format!("The {name} is empty; name what firmware is to try first.")));
    }
    if !bios.is_empty() {
        boot.startup.clear();
        for value in bios {
            let Some(kind) = value.as_text().and_then(kind) else { continue };
            if boot.startup.contains(&kind) {
                return Err(twice("StartupOrder", value));
            }
            boot.startup.push(kind);
        }
    }
    once_each("FirstBootDevice", config, first)?;
    once_each("BootOrder", config, all)?;
    for value in all.iter().rev().chain(first.iter()) {
        let entries = entries(config, value)?;
        boot.order.retain(|entry| !entries.contains(entry));
        boot.order.splice(0..0, entries);
    }
    Ok(())
}

fn twice(parameter: &str, value: &Value) -> Failure {
    Failure::invalid(format!("The {parameter} has '{value}' twice; name each device once."))
}

/// A device may be named by itself and again as one of its kind, behind it: the rest of the kind follows then.
fn once_each(parameter: &str, config: &Config, values: &[Value]) -> Result<(), Failure> {
    let mut seen = Vec::new();
    for value in values {
        let one = value.as_text().and_then(place).is_some() || matches!(value, Value::Record(_));
        let named = (one, entries(config, value)?);
        if seen.contains(&named) {
            return Err(twice(parameter, value));
        }
        seen.push(named);
    }
    Ok(())
}

fn kind(name: &str) -> Option<Startup> {
    Startup::ORDER.into_iter().find(|kind| format!("{kind:?}") == name)
}

/// The devices that an object or words mean.
fn entries(config: &Config, value: &Value) -> Result<Vec<BootEntry>, Failure> {
    if let Value::Record(record) = value {
        of_this_machine(config, record)?;
    }
    let found = match value {
        Value::Record(record) => entry(config, record).into_iter().collect(),
        other => by_words(config, &other.to_string()),
    };
    let there = drives::boot_order(config);
    if found.is_empty() || found.iter().any(|entry| !there.contains(entry)) {
        let why = format!(
            "'{}' has nothing to boot that is called '{value}'; see the BootOrder of Get-VMFirmware.",
            config.name
        );
        return Err(Failure::invalid(why).about(&config.name));
    }
    Ok(found)
}

/// A device of another virtual machine may be called as one of this one's.
fn of_this_machine(config: &Config, record: &Record) -> Result<(), Failure> {
    if let (Kind::VMBootSource, Some(Value::Record(device))) = (record.kind, record.property("Device")) {
        return of_this_machine(config, device);
    }
    if record.guid("VMId").is_none_or(|id| id == config.id) {
        return Ok(());
    }
    let owner = record.property("VMName").map(Value::to_string).unwrap_or_default();
    Err(Failure::invalid(format!(
        "This device is of '{owner}' and not of '{0}', whose firmware cannot start from it; give one of '{0}' (see the BootOrder of Get-VMFirmware).",
        config.name
    ))
    .about(&config.name))
}

fn entry(config: &Config, record: &Record) -> Option<BootEntry> {
    match (record.kind, record.property("Device")) {
        (Kind::VMBootSource, Some(Value::Record(device))) => entry(config, device),
        (Kind::VMNetworkAdapter, _) => {
            let id = record.property("Id")?.to_string();
            let own = |adapter: &&crate::store::Adapter| id.ends_with(&adapter.id.to_string());
            config.adapters.iter().find(own).map(|adapter| BootEntry::Network(adapter.id))
        }
        _ => place_of(record, config).map(BootEntry::Drive),
    }
}

fn by_words(config: &Config, words: &str) -> Vec<BootEntry> {
    let kind = match words.to_ascii_lowercase().as_str() {
        "cd" | "dvd" => Some(Startup::CD),
        "disk" | "vhd" => Some(Startup::IDE),
        "network" => Some(Startup::LegacyNetworkAdapter),
        _ => None,
    };
    match kind {
        Some(kind) => drives::of_kind(config, kind),
        None => place(words).map(BootEntry::Drive).into_iter().collect(),
    }
}

/// `TYPE:NUMBER:LOCATION`.
fn place(words: &str) -> Option<DriveAddress> {
    let mut parts = words.split(':');
    let controller = ControllerType::named(parts.next()?)?;
    let (number, location) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(DriveAddress { controller, number, location })
}
