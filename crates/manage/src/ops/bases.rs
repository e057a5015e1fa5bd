//! Get-VMSystem and Remove-VMSystem: the disks of systems that are kept, over which those of machines are layers.

use crate::operation::parameter::{switch, text};
use crate::operation::{
    Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest, Verb, View,
};
use crate::select::wildcard;
use crate::store::{Config, Store};
use crate::value::{Kind, Record, Value};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Get-VMSystem",
        aliases: &[],
        verbs: &[Verb {
            name: "systems",
            doc: "List the systems that are kept, and the virtual machines over them.",
            view: View::Table,
            needs_name: false,
        }],
        rest: Rest { method: Method::Get, route: "/host/systems" },
        doc: "Gives the disks of systems that New-VM -System has made or got (Ireko's own).",
        parameters: &[GET],
        prints: Prints::Always,
        result: Some(Kind::VMSystem),
        impact: Impact::None,
        run: get,
    },
    Operation {
        cmdlet: "Remove-VMSystem",
        aliases: &[],
        verbs: &[Verb {
            name: "system-remove",
            doc: "Remove systems that no virtual machine is over: those of these names, or all.",
            view: View::Table,
            needs_name: false,
        }],
        rest: Rest { method: Method::Delete, route: "/host/systems" },
        doc: "Removes disks of systems that no virtual machine is over; New-VM makes or gets them again (Ireko's own).",
        parameters: &[REMOVE],
        prints: Prints::Passthru,
        result: Some(Kind::VMSystem),
        impact: Impact::Change,
        run: remove,
    },
];

const NAME: Parameter = text("Name", "Names of systems that are kept; wildcards count.")
    .many()
    .at(0)
    .pipe(Pipeline::ByPropertyName)
    .positional();
const GET: &[Parameter] = &[NAME];
const REMOVE: &[Parameter] = &[NAME, switch("Unused", "All that no virtual machine is over.").flag("unused")];

/// A system that is kept.
struct Base {
    name: String,
    directory: PathBuf,
    /// Bytes of the host's storage.
    takes: u64,
    /// Names of virtual machines.
    users: Vec<String>,
}

impl Base {
    fn record(&self) -> Record {
        Record::new(Kind::VMSystem)
            .with("Name", self.name.as_str())
            .with("SizeOnDisk", self.takes)
            .with("UsedBy", Value::list(self.users.iter().map(String::as_str)))
            .with("Path", self.directory.display().to_string())
    }
}

fn all(store: &Store, configs: &[Config]) -> Vec<Base> {
    let entries = fs::read_dir(store.systems()).into_iter().flatten().flatten();
    let base = |entry: fs::DirEntry| {
        let (name, directory) = (entry.file_name().into_string().ok()?, entry.path());
        if name.starts_with('.') || !entry.file_type().ok()?.is_dir() {
            return None;
        }
        let files = fs::read_dir(&directory).into_iter().flatten().flatten();
        let takes = files.filter_map(|file| file.metadata().ok()).map(|meta| meta.blocks() * 512).sum();
        let over = |config: &&Config| {
            let mut files = config.drive_files();
            files.any(|(_, drive)| drive.layers.iter().any(|layer| layer.path.starts_with(&directory)))
        };
        let users = configs.iter().filter(over).map(|config| config.name.clone()).collect();
        Some(Base { name, directory, takes, users })
    };
    let mut bases: Vec<Base> = entries.filter_map(base).collect();
    bases.sort_by(|one, other| one.name.cmp(&other.name));
    bases
}

fn wanted(call: &mut Call<'_>) -> Result<Vec<Base>, Failure> {
    let bases = all(&call.host.store, &call.host.configs()?);
    let names: Vec<String> = call.arguments.items("Name").iter().map(ToString::to_string).collect();
    for name in &names {
        if !bases.iter().any(|base| wildcard(name, &base.name)) {
            let told =
                format!("There is no system '{}' that is kept; see Get-VMSystem.", name.escape_debug());
            call.answer.errors.push(Failure::invalid(told).about(name.clone()));
        }
    }
    let named = |base: &Base| names.is_empty() || names.iter().any(|name| wildcard(name, &base.name));
    Ok(bases.into_iter().filter(named).collect())
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    wanted(call)?.iter().for_each(|base| call.give(base.record()));
    Ok(())
}

fn remove(call: &mut Call<'_>) -> Result<(), Failure> {
    let unused = call.arguments.switch("Unused");
    if !unused && !call.arguments.has("Name") {
        return Err(Failure::invalid(
            "Which systems? Give -Name, or -Unused for all that no virtual machine is over.",
        ));
    }
    // Who makes a machine over one meanwhile is waited for, and waits for this.
    let held = call.host.store.hold_systems(true);
    let _held = held.map_err(|error| Failure::failed(format!("The systems cannot be locked: {error}.")))?;
    let mut found = wanted(call)?;
    if unused {
        found.retain(|base| base.users.is_empty());
    }
    call.each(found, |call, base| {
        if let Some(user) = base.users.first() {
            let told = format!(
                "The system '{}' is under the virtual machine '{user}'; remove that first.",
                base.name
            );
            return Err(Failure::refused(told).about(&base.name));
        }
        if call.should("remove the system", &base.name) {
            fs::remove_dir_all(&base.directory)
                .map_err(|error| Failure::failed(format!("'{}' cannot be removed: {error}.", base.name)))?;
            call.give(base.record());
        }
        Ok(())
    });
    Ok(())
}
