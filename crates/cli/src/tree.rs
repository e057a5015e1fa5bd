//! `ireko tree`: running VMs with the levels inside them, as their engines see them from outside.

use crate::size;
use crate::{out, say};
use anyhow::Result;
use clap::Args;
use ireko_manage::render::printable;
use ireko_manage::{Arguments, Host, Kind, Record, Value, find, invoke};
use serde_json::{Value as Json, json};
use std::fmt::Write;
use std::process::ExitCode;

#[derive(Args)]
pub struct TreeArgs {
    /// Names or ids of virtual machines; none is all that run.
    pub names: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &TreeArgs) -> Result<ExitCode> {
    let host = crate::vm::host()?;
    let answer = records(&host, "Get-VM", &args.names, true)?;
    for error in &answer.errors {
        say!("ireko: {}", printable(&error.message));
    }
    for warning in &answer.warnings {
        say!("ireko: warning: {}", printable(warning));
    }
    if args.json {
        let trees: Vec<Json> = trees(&answer.records).iter().map(|tree| document(tree)).collect();
        out!("{}", serde_json::to_string_pretty(&trees)?)?;
    } else if !answer.records.is_empty() || answer.errors.is_empty() {
        // Whoever does not answer is not asked again.
        let vms = records(&host, "Get-VM", &args.names, false)?;
        crate::output::out(text(&answer.records, &vms.records).as_bytes())?;
    }
    Ok(if answer.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn records(host: &Host, cmdlet: &str, names: &[String], nested: bool) -> Result<ireko_manage::Answer> {
    let operation = find(cmdlet).ok_or_else(|| anyhow::anyhow!("there is no {cmdlet}"))?;
    let mut arguments = Arguments::default();
    let set = |arguments: &mut Arguments, name: &str, value: Value| {
        arguments.set(operation, name, value).map_err(|failure| anyhow::anyhow!(failure.message))
    };
    if !names.is_empty() {
        set(&mut arguments, "Name", Value::list(names.iter().map(String::as_str)))?;
    }
    if nested {
        set(&mut arguments, "Nested", Value::Bool(true))?;
    }
    Ok(invoke(host, operation, &arguments, &mut crate::vm::TerminalSurface::default()))
}

/// The records of each VM; every tree begins with the VM itself.
fn trees(records: &[Record]) -> Vec<&[Record]> {
    let worlds = records.iter().all(|record| record.kind == Kind::NestedWorld);
    if !worlds {
        return Vec::new();
    }
    records.chunk_by(|a, b| a.property("VMId") == b.property("VMId")).collect()
}

fn number(record: &Record, name: &str) -> Option<i64> {
    record.property(name).and_then(Value::as_int)
}

fn children<'a>(tree: &'a [Record], parent: &Record) -> Vec<&'a Record> {
    let own = number(parent, "World");
    tree.iter().filter(|record| own.is_some() && number(record, "Parent") == own).collect()
}

/// The VM, and below each world those that it runs.
fn document(tree: &[Record]) -> Json {
    fn of(tree: &[Record], record: &Record) -> Json {
        let mut own = serde_json::to_value(record).unwrap_or_else(|_| json!({}));
        let below: Vec<Json> = children(tree, record).iter().map(|child| of(tree, child)).collect();
        if let Json::Object(properties) = &mut own {
            properties.insert("Below".into(), below.into());
        }
        own
    }
    tree.first().map_or(Json::Null, |root| of(tree, root))
}

/// `vms`: the same VMs as they are, for their first lines.
fn text(worlds: &[Record], vms: &[Record]) -> String {
    let mut out = String::new();
    for tree in trees(worlds) {
        let Some(root) = tree.first() else { continue };
        let vm = vms.iter().find(|vm| vm.guid("VMId") == root.guid("VMId"));
        let _ = writeln!(out, "{}  {}", shown(root, "VMName"), head(root, vm));
        draw(&mut out, tree, root, "");
    }
    if out.is_empty() {
        out.push_str("No virtual machine runs.\n");
    }
    out
}

fn shown(record: &Record, name: &str) -> String {
    record.property(name).map(|value| printable(&value.to_string())).unwrap_or_default()
}

fn head(root: &Record, vm: Option<&Record>) -> String {
    let about = vm.map_or_else(String::new, |vm| {
        let memory = number(vm, "MemoryAssigned").unwrap_or(0);
        let memory = size::show(memory.unsigned_abs());
        format!("{}, engine {}, {memory}", shown(vm, "State"), shown(vm, "Engine"))
    });
    let inside = match root.property("HypervisorRunning").and_then(Value::as_bool) {
        Some(true) => "a hypervisor runs inside",
        Some(false) => "no hypervisor runs inside",
        None => "what runs inside is not known",
    };
    format!("level 1  {:>5}%  {about}, {inside}", shown(root, "ProcessorShare"))
}

fn draw(out: &mut String, tree: &[Record], parent: &Record, indent: &str) {
    let below = children(tree, parent);
    for (number, world) in below.iter().enumerate() {
        let last = number + 1 == below.len();
        let (branch, more) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let _ = writeln!(out, "{indent}{branch}{}", line(world));
        draw(out, tree, world, &format!("{indent}{more}"));
    }
}

fn line(world: &Record) -> String {
    let reasons: Vec<String> = world
        .property("ExitReasons")
        .map_or(&[][..], Value::items)
        .iter()
        .take(3)
        .map(|reason| reason.to_string().replacen("VMEXIT_", "", 1))
        .collect();
    let hypervisor = match world.property("HypervisorRunning").and_then(Value::as_bool) {
        Some(true) => ", runs a hypervisor",
        _ => "",
    };
    format!(
        "level {}  {:>5}%  {}, {} exits/s ({}){hypervisor}",
        shown(world, "Level"),
        shown(world, "ProcessorShare"),
        shown(world, "ControlBlock"),
        shown(world, "ExitsPerSecond"),
        reasons.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(number: u64, parent: Option<u64>, level: u32) -> Record {
        Record::new(Kind::NestedWorld)
            .with("VMName", "lab")
            .with("Level", level)
            .with("World", number)
            .with("Parent", parent)
            .with("HypervisorRunning", level < 3)
            .with("ProcessorShare", Value::Float(12.5))
            .with("ExitReasons", Value::list(["VMEXIT_NPF 3"]))
            .with("ExitsPerSecond", 7u64)
            .with("ControlBlock", "VMCB 0x1000")
    }

    #[test]
    fn levels_hang_below_their_parents() {
        let worlds = [world(0, None, 1), world(1, Some(0), 2), world(2, Some(1), 3), world(3, Some(0), 2)];
        let lines: Vec<String> = text(&worlds, &[]).lines().map(str::to_owned).collect();
        let starts: Vec<&str> = lines.iter().map(|line| line.split("  ").next().unwrap()).collect();
        assert_eq!(starts[..2], ["lab", "├─ level 2"]);
        assert!(lines[2].starts_with("│  └─ level 3") && lines[3].starts_with("└─ level 2"), "{lines:#?}");
    }

    #[test]
    fn the_document_has_the_same_shape() {
        let worlds = [world(0, None, 1), world(1, Some(0), 2), world(2, Some(1), 3)];
        let tree = document(&worlds);
        assert_eq!(tree.pointer("/Below/0/Below/0/Level"), Some(&json!(3)));
    }

    #[test]
    fn without_a_running_vm_it_says_so() {
        assert_eq!(text(&[], &[]), "No virtual machine runs.\n");
    }
}
