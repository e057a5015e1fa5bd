//! Files and folders: Test-Path, Get-ChildItem, New-, Copy-, Move-, Rename- and Remove-Item, Join-, Split- and Resolve-Path.

use super::Cmdlet;
use super::stages::{all, each, once};
use crate::bind::Bound;
use crate::error::Outcome;
use crate::interpret::{Interpreter, Sink, native, wildcard};
use crate::syntax::Case;
use crate::types::{DateTime, text};
use crate::value::{Object, Value};
use std::io;
use std::path::{Path, PathBuf};

pub use crate::interpret::failed;

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Test-Path",
        aliases: &[],
        synopsis: "Says whether a file or folder is there.",
        parameters: "\
Path/LiteralPath:string[]@0!< The paths; wildcards count.
PathType/Type:string Leaf for files, Container for folders.
IsValid:switch Only whether it could be one.",
        make: |_, bound| {
            each(bound, "Path", |interpreter, bound, item, out| {
                let said = text(&item);
                let lower = said.to_lowercase();
                let there = if let Some(name) = lower.strip_prefix("variable:") {
                    interpreter.context.scope.find(name.trim_start_matches(['\\', '/'])).is_some()
                } else if let Some(name) = lower.strip_prefix("env:") {
                    !crate::interpret::environment(name.trim_start_matches(['\\', '/'])).is_null()
                } else if let Some(name) = lower.strip_prefix("function:") {
                    interpreter.context.scope.function(name.trim_start_matches(['\\', '/'])).is_some()
                } else {
                    let kind = bound.text("PathType").unwrap_or_default().to_ascii_lowercase();
                    bound.switch("IsValid")
                        || found(&said).iter().any(|path| match kind.as_str() {
                            "leaf" => path.is_file(),
                            "container" => path.is_dir(),
                            _ => true,
                        })
                };
                out.put(interpreter, there.into())
            })
        },
    },
    Cmdlet {
        name: "Get-ChildItem",
        aliases: &["gci", "dir", "ls"],
        synopsis: "Lists what is in folders.",
        parameters: "\
Path/LiteralPath:string[]@0< The folders; wildcards count.
Filter:string@1 Only names like this.
Include:string[] Only names like these.
Exclude:string[] No names like these.
Recurse:switch With what is in the folders in it.
Depth:int How deep.
File:switch Only files.
Directory:switch Only folders.
Name:switch Only the names.
Force:switch With hidden ones.",
        make: |_, bound| once(bound, children),
    },
    Cmdlet {
        name: "Get-Item",
        aliases: &["gi"],
        synopsis: "Gives files or folders.",
        parameters: "\
Path/LiteralPath:string[]@0!< The paths; wildcards count.
Force:switch Accepted.",
        make: |_, bound| {
            each(bound, "Path", |interpreter, bound, item, out| {
                let paths = existing(interpreter, bound, &text(&item))?;
                paths.iter().try_for_each(|path| out.put(interpreter, file_object(path)))
            })
        },
    },
    Cmdlet {
        name: "New-Item",
        aliases: &["ni", "mkdir", "md"],
        synopsis: "Makes a file or a folder.",
        parameters: "\
Path:string[]@0 Where.
Name:string Its name, in the folder of -Path.
ItemType/Type:string File or Directory.
Value:any What is in the file.
Force:switch Also if it is there, and with the folders above it.
InputObject:any< Accepted.",
        make: |_, bound| once(bound, new),
    },
    Cmdlet {
        name: "Remove-Item",
        aliases: &["ri", "rm", "del", "erase", "rd", "rmdir"],
        synopsis: "Removes files and folders.",
        parameters: "\
Path/LiteralPath/FullName:string[]@0!< The paths; wildcards count.
Recurse:switch Folders with what is in them.
Force:switch Accepted.
Include:string[] Only names like these.
Exclude:string[] No names like these.
Confirm:switch Accepted.
WhatIf:switch Says what would be removed.",
        make: |_, bound| {
            each(bound, "Path", |interpreter, bound, item, _| {
                if let Some(name) = text(&item).to_lowercase().strip_prefix("variable:") {
                    interpreter.context.scope.forget(name);
                    return Ok(());
                }
                for path in existing(interpreter, bound, &said(&item))? {
                    remove(interpreter, bound, &path)?;
                }
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "Copy-Item",
        aliases: &["cp", "copy", "cpi"],
        synopsis: "Copies files and folders.",
        parameters: "\
Path/LiteralPath/FullName:string[]@0!< What; wildcards count.
Destination:string@1 Where to.
Recurse:switch Folders with what is in them.
Force:switch Accepted.
PassThru:switch Gives what was made.",
        make: |_, bound| {
            each(bound, "Path", |interpreter, bound, item, out| {
                for path in existing(interpreter, bound, &said(&item))? {
                    let to = target(bound, &path);
                    let copied = if path.is_dir() {
                        copy_folder(&path, &to, bound.switch("Recurse"))
                    } else {
                        std::fs::copy(&path, &to).map(drop)
                    };
                    done(interpreter, bound, &path, copied)?;
                    if bound.switch("PassThru") {
                        out.put(interpreter, file_object(&to))?;
                    }
                }
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "Move-Item",
        aliases: &["mv", "move", "mi"],
        synopsis: "Moves files and folders.",
        parameters: "\
Path/LiteralPath/FullName:string[]@0!< What; wildcards count.
Destination:string@1 Where to.
Force:switch Accepted.
PassThru:switch Gives what was moved.",
        make: |_, bound| {
            each(bound, "Path", |interpreter, bound, item, out| {
                for path in existing(interpreter, bound, &said(&item))? {
                    let to = target(bound, &path);
                    done(interpreter, bound, &path, std::fs::rename(&path, &to))?;
                    if bound.switch("PassThru") {
                        out.put(interpreter, file_object(&to))?;
                    }
                }
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "Rename-Item",
        aliases: &["ren", "rni"],
        synopsis: "Gives a file or folder another name.",
        parameters: "\
Path/LiteralPath:string@0!< Which.
NewName:string@1! Its new name.
Force:switch Accepted.
PassThru:switch Gives what was renamed.",
        make: |_, bound| {
            each(bound, "Path", |interpreter, bound, item, _| {
                let name = bound.text("NewName").unwrap_or_default();
                for path in existing(interpreter, bound, &said(&item))? {
                    done(interpreter, bound, &path, std::fs::rename(&path, path.with_file_name(&name)))?;
                }
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "Join-Path",
        aliases: &[],
        synopsis: "Puts a path together.",
        parameters: "\
Path:string[]@0!< The first part.
ChildPath:string@1! The second part.
AdditionalChildPath:string[]+ Further parts.
Resolve:switch Only if it is there.",
        make: |_, bound| {
            each(bound, "Path", |interpreter, bound, item, out| {
                let mut made = text(&item);
                let mut parts = vec![bound.text("ChildPath").unwrap_or_default()];
                parts.extend(bound.texts("AdditionalChildPath"));
                for part in parts {
                    let separator = if made.contains('\\') && !made.contains('/') { '\\' } else { '/' };
                    let head = made.trim_end_matches(['/', '\\']);
                    made = format!("{head}{separator}{}", part.trim_start_matches(['/', '\\']));
                }
                out.put(interpreter, made.into())
            })
        },
    },
    Cmdlet {
        name: "Split-Path",
        aliases: &[],
        synopsis: "Gives a part of a path.",
        parameters: "\
Path/LiteralPath:string[]@0!< The paths.
Parent:switch The folder; that is what it gives otherwise, too.
Leaf:switch The last part.
LeafBase:switch The last part without its ending.
Extension:switch The ending.
Qualifier:switch The drive.
NoQualifier:switch Without the drive.
IsAbsolute:switch Whether it begins at the root.
Resolve:switch Accepted.",
        make: |_, bound| {
            each(bound, "Path", |interpreter, bound, item, out| {
                let said = text(&item);
                let trimmed = if said.len() > 1 { said.trim_end_matches(['/', '\\']) } else { &said };
                let (parent, leaf) = match trimmed.rfind(['/', '\\']) {
                    Some(0) => (&trimmed[..1], &trimmed[1..]),
                    Some(at) => (&trimmed[..at], &trimmed[at + 1..]),
                    None => ("", trimmed),
                };
                let (base, ending) =
                    leaf.rfind('.').filter(|at| *at > 0).map_or((leaf, ""), |at| (&leaf[..at], &leaf[at..]));
                let drive = trimmed.find(':').map_or("", |at| &trimmed[..=at]);
                let part: Value = match () {
                    () if bound.switch("Leaf") => leaf.into(),
                    () if bound.switch("LeafBase") => base.into(),
                    () if bound.switch("Extension") => ending.into(),
                    () if bound.switch("Qualifier") => drive.into(),
                    () if bound.switch("NoQualifier") => trimmed[drive.len()..].into(),
                    () if bound.switch("IsAbsolute") => {
                        (trimmed.starts_with(['/', '\\']) || !drive.is_empty()).into()
                    }
                    () => parent.into(),
                };
                out.put(interpreter, part)
            })
        },
    },
    Cmdlet {
        name: "Resolve-Path",
        aliases: &["rvpa"],
        synopsis: "Gives whole paths of what is there.",
        parameters: "\
Path/LiteralPath:string[]@0!< The paths; wildcards count.
Relative:switch From the current folder.",
        make: |_, bound| {
            each(bound, "Path", |interpreter, bound, item, out| {
                for path in existing(interpreter, bound, &text(&item))? {
                    let whole = absolute(&path.display().to_string());
                    let object = Object::new("System.Management.Automation.PathInfo")
                        .with("Path", whole.as_str())
                        .shown_as(&whole);
                    out.put(interpreter, object.into_value())?;
                }
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "Convert-Path",
        aliases: &["cvpa"],
        synopsis: "Gives whole paths of what is there, as text.",
        parameters: "Path/LiteralPath:string[]@0!< The paths; wildcards count.",
        make: |_, bound| {
            all(bound, "Path", |interpreter, bound, items, out| {
                for item in items {
                    for path in existing(interpreter, bound, &text(&item))? {
                        out.put(interpreter, absolute(&path.display().to_string()).into())?;
                    }
                }
                Ok(())
            })
        },
    },
];

pub fn path(said: &str) -> String {
    native(said)
}

/// A file's object says its whole path.
fn said(item: &Value) -> String {
    match item {
        Value::Object(object) => object.note("FullName").map_or_else(|| text(item), |name| text(&name)),
        other => text(other),
    }
}

pub fn absolute(path: &str) -> String {
    let joined = std::env::current_dir().unwrap_or_default().join(path);
    let mut made = PathBuf::new();
    for part in joined.components() {
        match part {
            std::path::Component::ParentDir => {
                made.pop();
            }
            std::path::Component::CurDir => {}
            part => made.push(part),
        }
    }
    made.display().to_string()
}

/// What a path with wildcards means.
pub fn found(said: &str) -> Vec<PathBuf> {
    let path = native(said);
    if path.is_empty() {
        return Vec::new();
    }
    if Path::new(&path).symlink_metadata().is_ok() {
        return vec![PathBuf::from(path)];
    }
    if !path.contains(['*', '?', '[']) {
        return Vec::new();
    }
    let mut all = vec![if path.starts_with('/') { PathBuf::from("/") } else { PathBuf::new() }];
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in &all {
            if !part.contains(['*', '?', '[']) {
                next.push(folder.join(part));
                continue;
            }
            let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let entries = std::fs::read_dir(listed).into_iter().flatten().flatten();
            next.extend(
                entries
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .filter(|name| wildcard(part, name, Case::Ignored))
                    .map(|name| folder.join(name)),
            );
        }
        all = next;
    }
    all.retain(|path| path.symlink_metadata().is_ok());
    all.sort();
    all
}

fn existing(interpreter: &mut Interpreter<'_>, bound: &Bound, said: &str) -> Outcome<Vec<PathBuf>> {
    let paths = found(said);
    if paths.is_empty() && !said.contains(['*', '?']) {
        let message = format!("Cannot find path '{}' because it does not exist.", absolute(&native(said)));
        let record =
            bound.refuse("PathNotFound", message).in_category("ObjectNotFound").about(Value::text(said));
        interpreter.report(record.of_type("System.Management.Automation.ItemNotFoundException"))?;
    }
    Ok(paths)
}

fn done(interpreter: &mut Interpreter<'_>, bound: &Bound, path: &Path, result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Ok(()),
        Err(error) => interpreter.report(failed(&bound.signature.name, &path.display().to_string(), &error)),
    }
}

fn target(bound: &Bound, from: &Path) -> PathBuf {
    let to = PathBuf::from(native(&bound.text("Destination").unwrap_or_else(|| ".".into())));
    match from.file_name() {
        Some(name) if to.is_dir() => to.join(name),
        _ => to,
    }
}

fn copy_folder(from: &Path, to: &Path, deep: bool) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    if !deep {
        return Ok(());
    }
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&from, &to, true)?;
        } else {
            std::fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

fn remove(interpreter: &mut Interpreter<'_>, bound: &Bound, path: &Path) -> Outcome {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let fits = |patterns: &[String]| patterns.iter().any(|pattern| wildcard(pattern, &name, Case::Ignored));
    let (include, exclude) = (bound.texts("Include"), bound.texts("Exclude"));
    if (!include.is_empty() && !fits(&include)) || fits(&exclude) {
        return Ok(());
    }
    if bound.switch("WhatIf") {
        let said = format!("What if: Performing the operation \"Remove\" on target \"{}\".", path.display());
        return interpreter.inform(&said, "\n", true);
    }
    let is_folder = path.symlink_metadata().is_ok_and(|facts| facts.is_dir());
    let empty = || path.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if is_folder && !bound.switch("Recurse") && !empty() {
        let message =
            format!("The folder '{}' is not empty: -Recurse removes it with what is in it.", path.display());
        return interpreter.report(bound.refuse("DirectoryNotEmpty", message).in_category("WriteError"));
    }
    let removed = if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    done(interpreter, bound, path, removed)
}

fn new(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    let name = bound.text("Name");
    let mut paths = bound.texts("Path");
    if paths.is_empty() && name.is_some() {
        paths.push(".".into());
    }
    for path in paths {
        let path = native(&name.as_ref().map_or(path.clone(), |name| format!("{path}/{name}")));
        let kind = bound.text("ItemType").unwrap_or_default().to_ascii_lowercase();
        let target = Path::new(&path);
        let refuse = |message: String, id: &str| {
            bound
                .refuse(id, message)
                .in_category("WriteError")
                .about(Value::text(&path))
                .of_type("System.IO.IOException")
        };
        if kind.starts_with("dir") || kind.starts_with("container") {
            if target.exists() && !bound.switch("Force") {
                interpreter.report(refuse(
                    format!("An item with the specified name {} already exists.", absolute(&path)),
                    "DirectoryExist",
                ))?;
                continue;
            }
            std::fs::create_dir_all(target).map_err(|error| failed("New-Item", &path, &error))?;
        } else {
            if target.exists() && !bound.switch("Force") {
                interpreter.report(refuse(
                    format!("The file '{}' already exists.", absolute(&path)),
                    "NewItemIOError",
                ))?;
                continue;
            }
            if let (true, Some(folder)) = (bound.switch("Force"), target.parent()) {
                std::fs::create_dir_all(folder).map_err(|error| failed("New-Item", &path, &error))?;
            }
            let content = bound.item("Value").map(text).unwrap_or_default();
            std::fs::write(target, content).map_err(|error| failed("New-Item", &path, &error))?;
        }
        out.put(interpreter, file_object(target))?;
    }
    Ok(())
}

fn children(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    let mut paths = bound.texts("Path");
    if paths.is_empty() {
        paths.push(".".into());
    }
    for said in paths {
        if said.to_lowercase().trim_end_matches(['\\', '/']) == "env:" {
            for (name, value) in crate::interpret::whole_environment() {
                out.put(interpreter, crate::types::entry(name.into(), value.into()))?;
            }
            continue;
        }
        for path in existing(interpreter, bound, &said)? {
            if path.is_dir() && !said.contains(['*', '?']) {
                list(interpreter, bound, &path, 0, out)?;
            } else {
                give(interpreter, bound, &path, out)?;
                if path.is_dir() && bound.switch("Recurse") {
                    list(interpreter, bound, &path, 1, out)?;
                }
            }
        }
    }
    Ok(())
}

fn list(
    interpreter: &mut Interpreter<'_>,
    bound: &Bound,
    folder: &Path,
    depth: usize,
    out: &mut dyn Sink,
) -> Outcome {
    interpreter.heed()?;
    let read = match std::fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) => {
            return interpreter.report(failed("Get-ChildItem", &folder.display().to_string(), &error));
        }
    };
    let mut entries: Vec<PathBuf> = read.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let most = bound.count("Depth")?;
    for path in entries {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden && !bound.switch("Force") {
            continue;
        }
        give(interpreter, bound, &path, out)?;
        let deeper = bound.switch("Recurse") || most.is_some_and(|most| depth < most);
        let is_folder = path.symlink_metadata().is_ok_and(|facts| facts.is_dir());
        if is_folder && deeper && most.is_none_or(|most| depth < most) {
            list(interpreter, bound, &path, depth + 1, out)?;
        }
    }
    Ok(())
}

fn give(interpreter: &mut Interpreter<'_>, bound: &Bound, path: &Path, out: &mut dyn Sink) -> Outcome {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let fits = |patterns: &[String]| patterns.iter().any(|pattern| wildcard(pattern, &name, Case::Ignored));
    let filter: Vec<String> = bound.text("Filter").into_iter().collect();
    let (include, exclude) = (bound.texts("Include"), bound.texts("Exclude"));
    let wanted =
        (filter.is_empty() || fits(&filter)) && (include.is_empty() || fits(&include)) && !fits(&exclude);
    let kind = (!bound.switch("File") || path.is_file()) && (!bound.switch("Directory") || path.is_dir());
    if !wanted || !kind {
        return Ok(());
    }
    if bound.switch("Name") {
        out.put(interpreter, name.into())
    } else {
        out.put(interpreter, file_object(path))
    }
}

/// System.IO.FileInfo or DirectoryInfo.
pub fn file_object(path: &Path) -> Value {
    use std::os::unix::fs::PermissionsExt;
    let whole = absolute(&path.display().to_string());
    let whole_path = Path::new(&whole);
    let facts = whole_path.symlink_metadata().ok();
    let is_folder = facts.as_ref().is_some_and(std::fs::Metadata::is_dir);
    let name =
        whole_path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| "/".into());
    let time = |time: io::Result<std::time::SystemTime>| {
        let seconds = time
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_secs());
        Value::Date(DateTime::from_unix(seconds as i64))
    };
    let written = facts.as_ref().map_or(Value::Null, |facts| time(facts.modified()));
    let read_only = facts.as_ref().is_some_and(|facts| facts.permissions().mode() & 0o222 == 0);
    let (base, ending) =
        name.rfind('.').filter(|at| *at > 0).map_or((name.as_str(), ""), |at| (&name[..at], &name[at..]));
    let mode = format!("{}{}---", if is_folder { "d" } else { "-" }, if read_only { "r" } else { "-" });
    let object = Object::new(if is_folder { "System.IO.DirectoryInfo" } else { "System.IO.FileInfo" })
        .with("Mode", mode)
        .with("LastWriteTime", written.clone())
        .with(
            "Length",
            if is_folder {
                Value::Null
            } else {
                Value::Number(crate::value::Number::of(facts.as_ref().map_or(0, |facts| facts.len().into())))
            },
        )
        .with("Name", name.as_str())
        .with("FullName", whole.as_str())
        .with("BaseName", base)
        .with("Extension", ending)
        .with(
            "DirectoryName",
            whole_path.parent().map(|folder| folder.display().to_string()).unwrap_or_default(),
        )
        .with("Exists", facts.is_some())
        .with("IsReadOnly", read_only)
        .with("PSIsContainer", is_folder)
        .with(
            "CreationTime",
            facts.as_ref().map_or(Value::Null, |facts| time(facts.created().or_else(|_| facts.modified()))),
        );
    object.shown_as(&whole).into_value()
}
