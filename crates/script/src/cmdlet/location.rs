//! The current folder.

use super::stages::once;
use super::{Cmdlet, files};
use crate::bind::Bound;
use crate::error::Outcome;
use crate::interpret::Interpreter;
use crate::value::Object;
use std::path::PathBuf;

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Get-Location",
        aliases: &["gl", "pwd"],
        synopsis: "Gives the current folder.",
        parameters: "",
        make: |_, bound| {
            once(bound, |interpreter, _, out| {
                let path = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
                let object = Object::new("System.Management.Automation.PathInfo")
                    .with("Path", path.as_str())
                    .shown_as(&path);
                out.put(interpreter, object.into_value())
            })
        },
    },
    Cmdlet {
        name: "Set-Location",
        aliases: &["sl", "cd", "chdir"],
        synopsis: "Goes to another folder.",
        parameters: "\
Path/LiteralPath:string@0< The folder; - is the one before.
PassThru:switch Accepted.",
        make: |_, bound| {
            once(bound, |interpreter, bound, _| {
                let said = bound.text("Path").unwrap_or_else(|| "~".into());
                let path = match (said.as_str(), interpreter.previous_folder.clone()) {
                    ("-", Some(before)) => before,
                    _ => PathBuf::from(files::path(&said)),
                };
                go(interpreter, bound, path)
            })
        },
    },
    Cmdlet {
        name: "Push-Location",
        aliases: &["pushd"],
        synopsis: "Goes to another folder, and keeps the one before.",
        parameters: "Path/LiteralPath:string@0< The folder.",
        make: |_, bound| {
            once(bound, |interpreter, bound, _| {
                interpreter.location_stack.push(std::env::current_dir().unwrap_or_default());
                match bound.text("Path") {
                    Some(path) => go(interpreter, bound, PathBuf::from(files::path(&path))),
                    None => Ok(()),
                }
            })
        },
    },
    Cmdlet {
        name: "Pop-Location",
        aliases: &["popd"],
        synopsis: "Goes back to the folder that was kept last.",
        parameters: "",
        make: |_, bound| {
            once(bound, |interpreter, bound, _| match interpreter.location_stack.pop() {
                Some(path) => go(interpreter, bound, path),
                None => Ok(()),
            })
        },
    },
];

fn go(interpreter: &mut Interpreter<'_>, bound: &Bound, path: PathBuf) -> Outcome {
    let before = std::env::current_dir().ok();
    match std::env::set_current_dir(&path) {
        Ok(()) => {
            interpreter.previous_folder = before;
            Ok(())
        }
        Err(_) => {
            let message = format!(
                "Cannot find path '{}' because it does not exist.",
                files::absolute(&path.display().to_string())
            );
            let record = bound.refuse("PathNotFound", message).in_category("ObjectNotFound");
            Err(record.of_type("System.Management.Automation.ItemNotFoundException").into())
        }
    }
}
