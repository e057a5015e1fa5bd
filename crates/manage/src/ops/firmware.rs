//! Get-VMFirmware and Set-VMFirmware: firmware, or kernel, initrd and command line.

use super::targets::{Ambiguity, FIRMWARE, VSTD, change, only_off, vms};
use crate::operation::parameter::{one_of, path, text};
use crate::operation::{
    Arguments, Call, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::state::State;
use crate::store::Config;
use crate::store::config::StartWith;
use crate::value::Kind;
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
        verbs: &[],
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
];

/// Of Set-VMFirmware, Set-VM and New-VM.
pub const START_WITH: Parameter = one_of(
    "StartWith",
    &["Kernel", "Firmware"],
    "Kernel: started directly, the fast way. Firmware: SeaBIOS (generation 1) or OVMF (generation 2), which loads from a disk; kernel, initrd and command line then rest.",
)
.flag("start-with");

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Allowed)?;
    for vm in call.host.vms(configs) {
        let record = records::firmware(&vm);
        call.give(record);
    }
    Ok(())
}

fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    let body = |call: &mut Call<'_>, config: &mut Config, state| apply(call.arguments, config, state);
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
    if boot.kernel.is_none() && boot.initrd.is_some() {
        return Err(Failure::invalid("An initrd without a kernel cannot be; give -Kernel too."));
    }
    if boot != config.boot {
        only_off(state, &config.name, "What it boots")?;
        config.boot = boot;
    }
    Ok(())
}

fn file(arguments: &Arguments, name: &str) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = arguments.text(name).filter(|path| !path.is_empty()) else { return Ok(None) };
    let path = super::disk::absolute(path)?;
    let why = match path.metadata() {
        Ok(meta) if meta.is_file() => return Ok(Some(path)),
        Ok(_) => "is no file; give one",
        Err(_) => "does not exist; check the path",
    };
    let shown = path.display().to_string();
    Err(Failure::invalid(format!("The file '{shown}' {why}.")).about(shown))
}
