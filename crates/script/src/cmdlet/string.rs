//! Select-String, Join-String.

use super::stages::{all, once};
use super::{Cmdlet, files};
use crate::bind::Bound;
use crate::error::Outcome;
use crate::interpret::{Interpreter, Sink, Stage, decoded};
use crate::syntax::Case;
use crate::types::{Pattern, text};
use crate::value::{Object, Value};
use std::rc::Rc;

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Select-String",
        aliases: &["sls"],
        synopsis: "Finds text in text and files.",
        parameters: "\
Pattern:string[]@0! Regular expressions.
Path/LiteralPath/FullName:string[]@1 The files.
InputObject:any< The text; usually it comes through the pipeline.
SimpleMatch:switch The patterns are plain text.
CaseSensitive:switch Letters in their own case.
AllMatches:switch All of a line.
NotMatch:switch Lines that do not fit.
Quiet:switch Only whether there is one.
List:switch Only the first of each file.
Raw:switch Only the lines.
Context:int[] Accepted.
NoEmphasis:switch Accepted.
Encoding:any Accepted.",
        make: |_, bound| Ok(Box::new(Find { bound, number: 0, found: false })),
    },
    Cmdlet {
        name: "Join-String",
        aliases: &[],
        synopsis: "Puts texts together.",
        parameters: "\
Property:any@0 A property of each object.
Separator:string@1 What stands between.
OutputPrefix/op:string What stands before all.
OutputSuffix/os:string What stands behind all.
SingleQuote:switch Each in single quotes.
DoubleQuote:switch Each in double quotes.
FormatString:string Each by this format.
InputObject:any< The objects.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let picks = super::pick::picks("Join-String", bound.items("Property"))?;
                let mut parts = Vec::new();
                for item in items {
                    let said = match picks.first() {
                        Some(pick) => text(&interpreter.key(pick, &item)?),
                        None => text(&item),
                    };
                    parts.push(match () {
                        () if bound.switch("SingleQuote") => format!("'{said}'"),
                        () if bound.switch("DoubleQuote") => format!("\"{said}\""),
                        () => match bound.text("FormatString") {
                            Some(pattern) => crate::types::composite(&pattern, &[said.into()])?,
                            None => said,
                        },
                    });
                }
                let end = |name: &str| bound.text(name).unwrap_or_default();
                out.put(
                    interpreter,
                    format!(
                        "{}{}{}",
                        end("OutputPrefix"),
                        parts.join(&end("Separator")),
                        end("OutputSuffix")
                    )
                    .into(),
                )
            })
        },
    },
    Cmdlet {
        name: "Get-FileHash",
        aliases: &[],
        synopsis: "Not here; says what gives a file's sum.",
        parameters: "\
Path:string[]@0 The files.
Algorithm:string Which sum.",
        make: |_, bound| {
            once(bound, |_, bound, _| {
                Err(bound
                    .refuse("NotSupported", "Sums are not worked out here: the program sha256sum gives them.")
                    .into())
            })
        },
    },
];

struct Find {
    bound: Bound,
    number: usize,
    found: bool,
}

impl Find {
    fn patterns(&self) -> Outcome<Vec<Rc<Pattern>>> {
        let case = if self.bound.switch("CaseSensitive") { Case::Exact } else { Case::Ignored };
        let simple = self.bound.switch("SimpleMatch");
        let mut all = Vec::new();
        for pattern in self.bound.texts("Pattern") {
            let pattern = if simple { fancy_regex::escape(&pattern).into_owned() } else { pattern };
            all.push(Pattern::new(&pattern, case)?);
        }
        Ok(all)
    }

    /// One line; whether it was found.
    fn line(
        &mut self,
        interpreter: &mut Interpreter<'_>,
        line: &str,
        path: Option<&str>,
        number: usize,
        out: &mut dyn Sink,
    ) -> Outcome<bool> {
        let mut matches = Vec::new();
        let mut shown_pattern = Value::Null;
        for pattern in self.patterns()? {
            let all = pattern.all(line)?;
            let first_only = !self.bound.switch("AllMatches");
            if !all.is_empty() {
                shown_pattern = Value::Text(pattern.text.clone());
                matches.extend(
                    all.iter()
                        .take(if first_only { 1 } else { usize::MAX })
                        .map(|found| pattern.match_object(line, Some(found))),
                );
                break;
            }
        }
        if matches.is_empty() != self.bound.switch("NotMatch") {
            return Ok(false);
        }
        self.found = true;
        if self.bound.switch("Quiet") {
            return Ok(true);
        }
        if self.bound.switch("Raw") {
            out.put(interpreter, line.into())?;
            return Ok(true);
        }
        let shown = path.map_or_else(|| line.to_owned(), |path| format!("{path}:{number}:{line}"));
        let object = Object::new("Microsoft.PowerShell.Commands.MatchInfo")
            .with("IgnoreCase", !self.bound.switch("CaseSensitive"))
            .with("LineNumber", number)
            .with("Line", line)
            .with("Filename", path.map_or("InputStream", |path| path.rsplit('/').next().unwrap_or(path)))
            .with("Path", path.unwrap_or("InputStream"))
            .with("Pattern", shown_pattern)
            .with("Matches", Value::array(matches))
            .shown_as(&shown);
        out.put(interpreter, object.into_value())?;
        Ok(true)
    }
}

impl Stage for Find {
    fn process(&mut self, interpreter: &mut Interpreter<'_>, item: Value, out: &mut dyn Sink) -> Outcome {
        if let Value::Object(object) = &item
            && object.type_name.starts_with("System.IO.")
        {
            let path = object.note("FullName").map(|name| text(&name)).unwrap_or_default();
            return self.file(interpreter, &path, out);
        }
        self.number += 1;
        let number = self.number;
        self.line(interpreter, &text(&item), None, number, out).map(drop)
    }

    fn alone(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        if let Some(item) = self.bound.item("InputObject").cloned() {
            return item.elements().into_iter().try_for_each(|item| self.process(interpreter, item, out));
        }
        for said in self.bound.texts("Path") {
            let paths = files::found(&said);
            if paths.is_empty() {
                let message = format!("Cannot find path '{said}' because it does not exist.");
                interpreter
                    .report(self.bound.refuse("PathNotFound", message).in_category("ObjectNotFound"))?;
            }
            for path in paths {
                self.file(interpreter, &path.display().to_string(), out)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        if self.bound.switch("Quiet") { out.put(interpreter, self.found.into()) } else { Ok(()) }
    }
}

impl Find {
    fn file(&mut self, interpreter: &mut Interpreter<'_>, path: &str, out: &mut dyn Sink) -> Outcome {
        let content = std::fs::read(path).map_err(|error| files::failed("Select-String", path, &error))?;
        for (at, line) in decoded(content).lines().enumerate() {
            let found = self.line(interpreter, line, Some(path), at + 1, out)?;
            if found && self.bound.switch("List") {
                break;
            }
        }
        Ok(())
    }
}
