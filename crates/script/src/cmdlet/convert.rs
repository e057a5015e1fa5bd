//! ConvertTo- and ConvertFrom-Json, -Csv, -StringData, -SecureString; Import-Csv and Export-Csv.

use super::stages::{all, once};
use super::{Cmdlet, csv, files, json};
use crate::bind::Bound;
use crate::error::ErrorRecord;
use crate::interpret::{append, decoded, secret, secure};
use crate::types::text;
use crate::value::{Map, MapKind, Value};
use std::rc::Rc;

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "ConvertTo-Json",
        aliases: &[],
        synopsis: "Gives JSON.",
        parameters: "\
InputObject:any@0< The objects.
Depth:int How many levels; what is deeper is its text. 20, if nobody says.
Compress:switch On one line.
AsArray:switch An array also of one object.
EnumsAsStrings:switch Accepted: enumerations are text.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let value = match (bound.switch("AsArray"), bound.item("InputObject")) {
                    (true, _) => Value::array(items),
                    (false, Some(given)) => given.clone(),
                    (false, None) => Value::of(items),
                };
                let depth = bound.count("Depth")?.unwrap_or(20).min(100) + 1;
                let made = json::write(interpreter, &value, depth, bound.switch("Compress"), true)?;
                out.put(interpreter, made.into())
            })
        },
    },
    Cmdlet {
        name: "ConvertFrom-Json",
        aliases: &[],
        synopsis: "Makes objects of JSON.",
        parameters: "\
InputObject:any[]@0!< The text; lines are put together.
AsHashtable:switch Hashtables instead of objects.
Depth:int Accepted.
NoEnumerate:switch An array as one object.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let content = items.iter().map(text).collect::<Vec<_>>().join("\n");
                let value = json::read(&content, bound.switch("AsHashtable"))
                    .map_err(|why| bound.refuse("System.ArgumentException", why))?;
                if bound.switch("NoEnumerate") {
                    out.put(interpreter, value)
                } else {
                    interpreter.put_each(&value, out)
                }
            })
        },
    },
    Cmdlet {
        name: "ConvertTo-Csv",
        aliases: &[],
        synopsis: "Gives lines of comma-separated values.",
        parameters: "\
InputObject:any@0< The objects.
Delimiter:string@1 What stands between, instead of a comma.
NoTypeInformation/NTI:switch Accepted; there is no line of type information.
UseQuotes:string Accepted.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let lines = csv::write(interpreter, &items, &delimiter(bound))?;
                lines.into_iter().try_for_each(|line| out.put(interpreter, line.into()))
            })
        },
    },
    Cmdlet {
        name: "ConvertFrom-Csv",
        aliases: &[],
        synopsis: "Makes objects of comma-separated values.",
        parameters: "\
InputObject:any[]@0!< The lines.
Delimiter:string@1 What stands between, instead of a comma.
Header:string[] The names, if the first line does not say them.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let content = items.iter().map(text).collect::<Vec<_>>().join("\n");
                let between = delimiter(bound).chars().next().unwrap_or(',');
                csv::read(&content, between, bound.texts("Header"))
                    .into_iter()
                    .try_for_each(|row| out.put(interpreter, row))
            })
        },
    },
    Cmdlet {
        name: "Export-Csv",
        aliases: &["epcsv"],
        synopsis: "Writes objects to a file of comma-separated values.",
        parameters: "\
Path/FilePath/LiteralPath:string@0! The file.
Delimiter:string@1 What stands between, instead of a comma.
NoTypeInformation/NTI:switch Accepted; there is no line of type information.
Append:switch Behind what is there.
NoClobber:switch Not over a file that is there.
Encoding:any Accepted; it is UTF-8.
Force:switch Accepted.
UseCulture:switch Accepted.
InputObject:any< The objects.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, _| {
                let path = files::path(&bound.text("Path").unwrap_or_default());
                let behind = bound.switch("Append") && std::path::Path::new(&path).exists();
                if bound.switch("NoClobber") && !behind && std::path::Path::new(&path).exists() {
                    return Err(bound
                        .refuse("NoClobber", format!("The file '{path}' already exists."))
                        .into());
                }
                let mut lines = csv::write(interpreter, &items, &delimiter(bound))?;
                if behind && !lines.is_empty() {
                    lines.remove(0);
                }
                let content: String = lines.iter().map(|line| format!("{line}\n")).collect();
                let written = if behind { append(&path, &content) } else { std::fs::write(&path, content) };
                Ok(written.map_err(|error| files::failed("Export-Csv", &path, &error))?)
            })
        },
    },
    Cmdlet {
        name: "Import-Csv",
        aliases: &["ipcsv"],
        synopsis: "Reads objects from a file of comma-separated values.",
        parameters: "\
Path/FilePath/LiteralPath:string[]@0! The files.
Delimiter:string@1 What stands between, instead of a comma.
Header:string[] The names, if the first line does not say them.
Encoding:any Accepted.
UseCulture:switch Accepted.",
        make: |_, bound| {
            once(bound, |interpreter, bound, out| {
                for path in bound.texts("Path") {
                    let path = files::path(&path);
                    let content =
                        std::fs::read(&path).map_err(|error| files::failed("Import-Csv", &path, &error))?;
                    let between = delimiter(bound).chars().next().unwrap_or(',');
                    for row in csv::read(&decoded(content), between, bound.texts("Header")) {
                        out.put(interpreter, row)?;
                    }
                }
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "ConvertFrom-StringData",
        aliases: &[],
        synopsis: "Makes a hashtable of lines like name = value.",
        parameters: "\
StringData:string@0!< The lines.
Delimiter:string@1 What stands between, instead of an equals sign.",
        make: |_, bound| {
            all(bound, "StringData", |interpreter, bound, items, out| {
                let between = bound.text("Delimiter").unwrap_or_else(|| "=".into());
                for item in items {
                    let map = Map::new(MapKind::Hashtable);
                    for line in text(&item)
                        .lines()
                        .map(str::trim)
                        .filter(|line| !line.is_empty() && !line.starts_with('#'))
                    {
                        let Some((name, value)) = line.split_once(&between) else {
                            return Err(bound
                                .refuse(
                                    "InvalidOperation",
                                    format!("The line '{line}' is not in the form name{between}value."),
                                )
                                .into());
                        };
                        map.set(Value::from(name.trim()), value.trim().into());
                    }
                    out.put(interpreter, Value::Map(Rc::new(map)))?;
                }
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "ConvertTo-SecureString",
        aliases: &[],
        synopsis: "Makes a secure string of text.",
        parameters: "\
String:string@0!< The text.
AsPlainText:switch It is the text itself.
Force:switch Accepted.
Key:any Not here.",
        make: |_, bound| {
            all(bound, "String", |interpreter, bound, items, out| {
                if !bound.switch("AsPlainText") {
                    let message = "Only plain text can be made secure here: use -AsPlainText -Force.";
                    return Err(bound.refuse("NotSupported", message).into());
                }
                items.into_iter().try_for_each(|item| out.put(interpreter, secure(text(&item))))
            })
        },
    },
    Cmdlet {
        name: "ConvertFrom-SecureString",
        aliases: &[],
        synopsis: "Gives the text of a secure string.",
        parameters: "\
SecureString:any@0!< The secure string.
AsPlainText:switch As it is.",
        make: |_, bound| {
            all(bound, "SecureString", |interpreter, bound, items, out| {
                for item in items {
                    match secret(&item).filter(|_| bound.switch("AsPlainText")) {
                        Some(said) => out.put(interpreter, said.into())?,
                        None => return Err(not_encrypted(bound).into()),
                    }
                }
                Ok(())
            })
        },
    },
];

fn not_encrypted(bound: &Bound) -> ErrorRecord {
    bound.refuse(
        "NotSupported",
        "Windows' data protection is not there to encrypt it: only -AsPlainText is supported.",
    )
}

fn delimiter(bound: &Bound) -> String {
    bound.text("Delimiter").filter(|said| !said.is_empty()).unwrap_or_else(|| ",".into())
}
