//! Get-Help, Get-Command, Get-Alias: what there is and how it is used, from the tables themselves.

use super::stages::once;
use super::{Cmdlet, find, info, signature};
use crate::bind::{Accepts, Bound, Parameter};
use crate::error::{ErrorRecord, Outcome};
use crate::host::CommandInfo;
use crate::interpret::{Interpreter, Sink, Stage, wildcard};
use crate::syntax::Case;
use crate::value::{Object, Value};

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Get-Help",
        aliases: &["help", "man"],
        synopsis: "Explains a cmdlet; with a wildcard or a part of a name, lists cmdlets.",
        parameters: "\
Name:string@0 A cmdlet or alias, a wildcard, or a word.
Full:switch Accepted; it is always all.
Detailed:switch Accepted; it is always all.
Examples:switch Accepted; it is always all.
ShowWindow:switch Accepted.
Online:switch Accepted.
Parameter:string Only this parameter; wildcards count.",
        make: |_, bound| once(bound, help),
    },
    Cmdlet {
        name: "Get-Command",
        aliases: &["gcm"],
        synopsis: "Lists what can be typed.",
        parameters: "\
Name:string[]@0 Names; wildcards count.
Verb:string[] Only with these verbs.
Noun:string[] Only with these nouns.
Module:string[] Hyper-V or Ireko.
CommandType/Type:string Accepted.
All:switch Accepted.
Syntax:switch Accepted.",
        make: |_, bound| once(bound, commands),
    },
    Cmdlet {
        name: "Get-Alias",
        aliases: &["gal"],
        synopsis: "Lists short names of cmdlets.",
        parameters: "\
Name:string[]@0 Names; wildcards count.
Definition:string[] Of these commands.",
        make: |_, bound| once(bound, aliases),
    },
];

const OVERVIEW: &str = "\
This is the shell of Ireko. It speaks PowerShell's language as far as it is about virtual machines.

    Get-Command              lists the cmdlets
    Get-Help Start-VM        explains one; Start-VM -? does too
    Get-Help *disk*          finds cmdlets
    Get-VM | Get-Member      lists the properties of objects

    New-VM lab 2GB; Set-VMProcessor lab -ExposeVirtualizationExtensions $true; Start-VM lab
    vmconnect lab            attaches to the console; Ctrl-A X detaches
    Get-VM | Where-Object State -eq Running | Stop-VM
    exit                     ends the shell; virtual machines run on
";

fn entries(interpreter: &Interpreter<'_>) -> Vec<CommandInfo> {
    let mut all: Vec<CommandInfo> = interpreter.modules.iter().flat_map(|module| module.commands()).collect();
    all.extend(info());
    all
}

/// The manual of a cmdlet of ours or a module's.
pub fn help_text(interpreter: &Interpreter<'_>, name: &str) -> Option<String> {
    let of_module = interpreter.modules.iter().find_map(|module| module.help(name));
    of_module.or_else(|| find(name).map(manual))
}

/// `Cmdlet -?`
pub fn help_stage<'h>(interpreter: &mut Interpreter<'_>, name: &str) -> Outcome<Box<dyn Stage + 'h>> {
    let text = help_text(interpreter, name).unwrap_or_default();
    struct Shown(String);
    impl Stage for Shown {
        fn process(&mut self, _: &mut Interpreter<'_>, _: Value, _: &mut dyn Sink) -> Outcome {
            Ok(())
        }
        fn end(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
            out.put(interpreter, Value::Formatted(self.0.as_str().into()))
        }
    }
    Ok(Box::new(Shown(text)))
}

fn help(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    let Some(name) = bound.text("Name") else {
        return out.put(interpreter, Value::Formatted(OVERVIEW.into()));
    };
    if let Some(wanted) = bound.text("Parameter") {
        return parameter_help(interpreter, bound, &name, &wanted, out);
    }
    if let Some(text) = help_text(interpreter, &name) {
        return out.put(interpreter, Value::Formatted(text.into()));
    }
    if let Some(function) = interpreter.context.scope.function(&name) {
        let comment = comment_help(function.closure.block.text());
        let text = format!("NAME\n    {}\n\n{comment}", function.name);
        return out.put(interpreter, Value::Formatted(text.into()));
    }
    let pattern = if name.contains(['*', '?', '[']) { name.clone() } else { format!("*{name}*") };
    let fits = |entry: &CommandInfo| {
        wildcard(&pattern, &entry.name, Case::Ignored) || wildcard(&pattern, &entry.synopsis, Case::Ignored)
    };
    let found: Vec<CommandInfo> = entries(interpreter).into_iter().filter(fits).collect();
    if found.is_empty() {
        let message =
            format!("Get-Help could not find {name} in this session; Get-Command lists what there is.");
        return interpreter.report(bound.refuse("HelpNotFound", message).in_category("ResourceUnavailable"));
    }
    for entry in found {
        let summary = entry.synopsis.split("\n\n").next().unwrap_or_default().to_owned();
        out.put(
            interpreter,
            Object::custom().with("Name", entry.name).with("Synopsis", summary).into_value(),
        )?;
    }
    Ok(())
}

/// Comment-based help: `.SYNOPSIS` and the lines under it.
fn comment_help(body: &str) -> String {
    let Some(start) = body.find("<#") else { return String::new() };
    let comment = body[start + 2..].split("#>").next().unwrap_or_default();
    let mut made = String::new();
    for line in comment.lines().map(str::trim) {
        match line.strip_prefix('.') {
            Some(keyword) => made += &format!("\n{}\n", keyword.to_uppercase()),
            None if !line.is_empty() => made += &format!("    {line}\n"),
            None => {}
        }
    }
    made
}

fn section(title: &str, text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect();
    format!("{title}\n{lines}\n")
}

fn manual(cmdlet: &'static Cmdlet) -> String {
    let own: Vec<Parameter> =
        signature(cmdlet).parameters.iter().filter(|parameter| !parameter.common).cloned().collect();
    let aliases = if cmdlet.aliases.is_empty() { "None".into() } else { cmdlet.aliases.join(", ") };
    let parameters: Vec<String> = own.iter().map(paragraph).collect();
    section("NAME", cmdlet.name)
        + &section("SYNOPSIS", cmdlet.synopsis)
        + &section("SYNTAX", &syntax(cmdlet.name, &own))
        + &section("PARAMETERS", &parameters.join("\n"))
        + &section("ALIASES", &aliases)
}

fn syntax(name: &str, parameters: &[Parameter]) -> String {
    let words = parameters.iter().map(|parameter| {
        let own = &parameter.sets[0];
        let value = placeholder(parameter);
        let name = if own.position.is_some() {
            format!("[-{}]", parameter.name)
        } else {
            format!("-{}", parameter.name)
        };
        let whole = if value.is_empty() { name } else { format!("{name} {value}") };
        if own.mandatory { whole } else { format!("[{whole}]") }
    });
    std::iter::once(name.to_owned())
        .chain(words)
        .chain(["[<CommonParameters>]".to_owned()])
        .collect::<Vec<_>>()
        .join(" ")
}

fn placeholder(parameter: &Parameter) -> String {
    match &parameter.accepts {
        Accepts::Switch => String::new(),
        Accepts::Anything => "<Object>".into(),
        Accepts::Type(kind) => format!("<{}>", kind.name()),
        Accepts::Host(kind) => format!("<{}>", kind.name()),
    }
}

fn paragraph(parameter: &Parameter) -> String {
    let own = &parameter.sets[0];
    let yes = |is: bool| if is { "yes" } else { "no" };
    let position = own.position.map_or("named".to_owned(), |at| at.to_string());
    let pipeline = if own.by_value { "by value" } else { "no" };
    let mut text = format!("-{} {}", parameter.name, placeholder(parameter)).trim_end().to_owned() + "\n";
    text += &format!("    {}\n", parameter.doc);
    text += &format!(
        "    Required: {}; position: {position}; from the pipeline: {pipeline}\n",
        yes(own.mandatory)
    );
    if !parameter.aliases.is_empty() {
        let aliases: Vec<&str> = parameter.aliases.iter().map(|alias| &**alias).collect();
        text += &format!("    Aliases: {}\n", aliases.join(", "));
    }
    text
}

fn parameter_help(
    interpreter: &mut Interpreter<'_>,
    bound: &Bound,
    name: &str,
    wanted: &str,
    out: &mut dyn Sink,
) -> Outcome {
    let of_module =
        interpreter.modules.iter().find_map(|module| module.command(name)).map(|command| command.signature());
    let Some(signature) = of_module.or_else(|| find(name).map(signature)) else {
        return Err(ErrorRecord::not_found(name).into());
    };
    let found: Vec<String> = signature
        .parameters
        .iter()
        .filter(|parameter| wildcard(wanted, &parameter.name, Case::Ignored))
        .map(paragraph)
        .collect();
    if found.is_empty() {
        return Err(bound
            .refuse("NoMatchingParameter", format!("No parameter of {name} matches '{wanted}'."))
            .into());
    }
    out.put(interpreter, Value::Formatted(found.join("\n").into()))
}

fn any_fits(patterns: &[String], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| wildcard(pattern, text, Case::Ignored))
}

fn row(kind: &str, name: &str, source: &str) -> Value {
    Object::new("System.Management.Automation.CommandInfo")
        .with("CommandType", kind)
        .with("Name", name)
        .with("Version", env!("CARGO_PKG_VERSION"))
        .with("Source", source)
        .shown_as(name)
        .into_value()
}

fn commands(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    let [names, verbs, nouns, modules] = ["Name", "Verb", "Noun", "Module"].map(|name| bound.texts(name));
    let fits = |entry: &CommandInfo| {
        let (verb, noun) = entry.name.split_once('-').unwrap_or(("", &entry.name));
        let named = any_fits(&names, &entry.name)
            || entry.aliases.iter().any(|alias| names.iter().any(|name| name.eq_ignore_ascii_case(alias)));
        named && any_fits(&verbs, verb) && any_fits(&nouns, noun) && any_fits(&modules, &entry.module)
    };
    let mut found: Vec<Value> = entries(interpreter)
        .iter()
        .filter(|entry| fits(entry))
        .map(|entry| row("Cmdlet", &entry.name, &entry.module))
        .collect();
    if verbs.is_empty() && nouns.is_empty() && modules.is_empty() {
        let mut scope = Some(interpreter.context.scope.clone());
        while let Some(own) = scope {
            found.extend(
                own.own_functions()
                    .iter()
                    .filter(|function| any_fits(&names, &function.name))
                    .map(|function| row("Function", &function.name, "")),
            );
            scope = own.parent.clone();
        }
    }
    for name in names.iter().filter(|name| !name.contains(['*', '?', '['])) {
        if found.is_empty() {
            if let Some(crate::interpret::Meaning::Program(path)) = interpreter.meaning(name) {
                let path = path.display().to_string();
                found.push(row("Application", name, &path));
                continue;
            }
            interpreter
                .report(ErrorRecord { activity: "Get-Command".into(), ..ErrorRecord::not_found(name) })?;
        }
    }
    found.into_iter().try_for_each(|row| out.put(interpreter, row))
}

fn aliases(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    let (names, definitions) = (bound.texts("Name"), bound.texts("Definition"));
    let mut all: Vec<(String, String)> = interpreter
        .context
        .scope
        .outermost()
        .own_aliases()
        .into_iter()
        .map(|(name, to)| (name, to.to_string()))
        .collect();
    for entry in entries(interpreter) {
        all.extend(entry.aliases.into_iter().map(|alias| (alias, entry.name.clone())));
    }
    all.retain(|(alias, to)| any_fits(&names, alias) && any_fits(&definitions, to));
    for (alias, to) in all {
        let object = Object::new("System.Management.Automation.AliasInfo")
            .with("CommandType", "Alias")
            .with("Name", alias.as_str())
            .with("Definition", to.as_str());
        out.put(interpreter, object.shown_as(&alias).into_value())?;
    }
    Ok(())
}
