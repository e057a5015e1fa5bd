//! What is in files: Get-, Set-, Add- and Clear-Content, Out-File, Tee-Object.

use super::stages::{all, each};
use super::{Cmdlet, files};
use crate::bind::Bound;
use crate::error::Outcome;
use crate::interpret::{Interpreter, Sink, Stage, append, decoded};
use crate::types::text;
use crate::value::Value;

/// Of those that write lines.
const LINES: &str = "\
Path/LiteralPath/FilePath:string[]@0! The file.
Value:any[]@1< The lines.
NoNewline:switch Without line ends.
Encoding:any Accepted; it is UTF-8.
Force:switch Accepted.
PassThru:switch Gives the lines.";

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Get-Content",
        aliases: &["gc", "cat", "type"],
        synopsis: "Gives the lines of files.",
        parameters: "\
Path/LiteralPath/FullName:string[]@0!< The files; wildcards count.
TotalCount/First/Head:int Only so many from the beginning.
Tail/Last:int Only so many from the end.
Raw:switch All of it as one text.
Encoding:any Accepted.
ReadCount:int Accepted.
Delimiter:string Accepted.
AsByteStream:switch As bytes.
Wait:switch Not here.",
        make: |_, bound| each(bound, "Path", read),
    },
    Cmdlet {
        name: "Set-Content",
        aliases: &["sc"],
        synopsis: "Writes lines to a file.",
        parameters: LINES,
        make: |_, bound| {
            all(bound, "Value", |interpreter, bound, items, out| write(interpreter, bound, items, false, out))
        },
    },
    Cmdlet {
        name: "Add-Content",
        aliases: &["ac"],
        synopsis: "Writes lines behind those that a file has.",
        parameters: LINES,
        make: |_, bound| {
            all(bound, "Value", |interpreter, bound, items, out| write(interpreter, bound, items, true, out))
        },
    },
    Cmdlet {
        name: "Clear-Content",
        aliases: &["clc"],
        synopsis: "Empties files.",
        parameters: "Path/LiteralPath:string[]@0!< The files.",
        make: |_, bound| {
            each(bound, "Path", |_, _, item, _| {
                let path = files::path(&text(&item));
                Ok(std::fs::write(&path, "")
                    .map_err(|error| files::failed("Clear-Content", &path, &error))?)
            })
        },
    },
    Cmdlet {
        name: "Out-File",
        aliases: &[],
        synopsis: "Writes what would be shown to a file.",
        parameters: "\
FilePath/Path/LiteralPath:string@0! The file.
Append:switch After what is there.
Encoding:any@1 Accepted; it is UTF-8.
NoClobber:switch Not over a file that is there.
NoNewline:switch Without line ends.
Width:int Accepted.
Force:switch Accepted.
InputObject:any[]< The objects; usually they come through the pipeline.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, _| {
                let path = files::path(&bound.text("FilePath").unwrap_or_default());
                let shown = crate::format::view(interpreter, &items)?;
                let shown = if bound.switch("NoNewline") { shown.replace('\n', "") } else { shown };
                if bound.switch("NoClobber") && std::path::Path::new(&path).exists() {
                    return Err(bound
                        .refuse("NoClobber", format!("The file '{path}' already exists."))
                        .into());
                }
                let written =
                    if bound.switch("Append") { append(&path, &shown) } else { std::fs::write(&path, shown) };
                Ok(written.map_err(|error| files::failed("Out-File", &path, &error))?)
            })
        },
    },
    Cmdlet {
        name: "Tee-Object",
        aliases: &["tee"],
        synopsis: "Keeps objects in a file or a variable, and passes them on.",
        parameters: "\
FilePath/Path:string@0 The file.
Variable:string The variable.
Append:switch After what is there.
InputObject:any< The objects.",
        make: |_, bound| Ok(Box::new(Tee { bound, kept: Vec::new() })),
    },
];

fn read(interpreter: &mut Interpreter<'_>, bound: &Bound, item: Value, out: &mut dyn Sink) -> Outcome {
    let said = match &item {
        Value::Object(object) => object.note("FullName").map_or_else(|| text(&item), |name| text(&name)),
        other => text(other),
    };
    if let Some(name) = said.to_lowercase().strip_prefix("env:") {
        let value = crate::interpret::environment(name.trim_start_matches(['\\', '/']));
        return out.put(interpreter, value);
    }
    let paths = files::found(&said);
    if paths.is_empty() {
        let message =
            format!("Cannot find path '{}' because it does not exist.", files::absolute(&files::path(&said)));
        let record =
            bound.refuse("PathNotFound", message).in_category("ObjectNotFound").about(Value::text(&said));
        return interpreter.report(record.of_type("System.Management.Automation.ItemNotFoundException"));
    }
    for path in paths {
        let shown = path.display().to_string();
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) => {
                interpreter.report(files::failed("Get-Content", &shown, &error))?;
                continue;
            }
        };
        if bound.switch("AsByteStream") {
            interpreter.put_each(&crate::types::bytes(&content), out)?;
            continue;
        }
        let content = decoded(content);
        if bound.switch("Raw") {
            out.put(interpreter, content.into())?;
            continue;
        }
        let lines: Vec<&str> = content.lines().collect();
        let from = bound.count("Tail")?.map_or(0, |tail| lines.len().saturating_sub(tail));
        let most = bound.count("TotalCount")?.unwrap_or(usize::MAX);
        for line in lines.into_iter().skip(from).take(most) {
            out.put(interpreter, line.into())?;
        }
    }
    Ok(())
}

fn write(
    interpreter: &mut Interpreter<'_>,
    bound: &Bound,
    items: Vec<Value>,
    behind: bool,
    out: &mut dyn Sink,
) -> Outcome {
    let end = if bound.switch("NoNewline") { "" } else { "\n" };
    let content: String = items.iter().flat_map(Value::some_elements).map(|item| text(&item) + end).collect();
    for path in bound.texts("Path") {
        let path = files::path(&path);
        let written = if behind { append(&path, &content) } else { std::fs::write(&path, &content) };
        if let Err(error) = written {
            interpreter.report(files::failed(&bound.signature.name, &path, &error))?;
        }
    }
    if bound.switch("PassThru") {
        for item in items {
            out.put(interpreter, item)?;
        }
    }
    Ok(())
}

struct Tee {
    bound: Bound,
    kept: Vec<Value>,
}

impl Stage for Tee {
    fn process(&mut self, interpreter: &mut Interpreter<'_>, item: Value, out: &mut dyn Sink) -> Outcome {
        self.kept.push(item.clone());
        out.put(interpreter, item)
    }

    fn end(&mut self, interpreter: &mut Interpreter<'_>, _: &mut dyn Sink) -> Outcome {
        if let Some(name) = self.bound.text("Variable") {
            let kept = Value::of(std::mem::take(&mut self.kept));
            interpreter.context.scope.note(&name.to_lowercase(), kept);
            return Ok(());
        }
        let Some(path) = self.bound.text("FilePath") else { return Ok(()) };
        let path = files::path(&path);
        let shown = crate::format::view(interpreter, &self.kept)?;
        let written =
            if self.bound.switch("Append") { append(&path, &shown) } else { std::fs::write(&path, shown) };
        Ok(written.map_err(|error| files::failed("Tee-Object", &path, &error))?)
    }
}
