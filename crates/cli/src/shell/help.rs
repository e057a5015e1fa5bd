//! The manual of an operation, from the table itself.

use super::enter;
use super::native::Native;
use ireko_manage::{Kind, Operation, Parameter, Pipeline, Prints, Type};

fn summary(doc: &str) -> &str {
    doc.split("\n\n").next().unwrap_or(doc)
}

fn section(title: &str, text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect();
    format!("{title}\n{lines}\n")
}

/// `called`: the one of its names that somebody asked for.
pub fn operation(operation: &'static Operation, called: &'static str) -> String {
    let own: Vec<&Parameter> = operation.all_parameters().collect();
    let sets = sets(&own);
    let lines: Vec<String> = sets
        .iter()
        .map(|set| {
            let in_set = own.iter().copied().filter(|p| p.set.is_empty() || p.set == *set);
            syntax(called, in_set)
        })
        .collect();
    let names = std::iter::once(&operation.cmdlet).chain(operation.aliases);
    let others: Vec<&str> = names.copied().filter(|name| *name != called).collect();
    let aliases = if others.is_empty() { "None".into() } else { others.join(", ") };
    let parameters: Vec<String> = own.iter().copied().map(parameter).collect();
    let verbs: Vec<String> =
        operation.verbs.iter().map(|verb| format!("ireko vm {}: {}", verb.name, verb.doc)).collect();
    let verbs = if verbs.is_empty() { "None".into() } else { verbs.join("\n") };
    section("NAME", called)
        + &section("SYNOPSIS", summary(operation.doc))
        + &section("SYNTAX", &lines.join("\n\n"))
        + &section("DESCRIPTION", operation.doc)
        + &section("PARAMETERS", &parameters.join("\n"))
        + &section("OUTPUTS", &outputs(operation))
        + &section("ALIASES", &aliases)
        + &section("COMMAND LINE", &verbs)
        + &section("REMARKS", REMARKS)
}

const REMARKS: &str = "It also takes -ErrorAction, -ErrorVariable, -WarningAction, -WarningVariable, -OutVariable and the\n\
                       other parameters that every cmdlet has, and -ComputerName for this host.";

fn outputs(operation: &Operation) -> String {
    let what = operation.result.map_or("None".to_owned(), |kind| format!("{kind:?}"));
    match operation.prints {
        Prints::Always => what,
        Prints::Passthru => format!("None, or with -Passthru {what}"),
        Prints::Never => "None".into(),
    }
}

fn sets(own: &[&Parameter]) -> Vec<&'static str> {
    let mut sets: Vec<&str> = Vec::new();
    for parameter in own {
        if !parameter.set.is_empty() && !sets.contains(&parameter.set) {
            sets.push(parameter.set);
        }
    }
    if sets.is_empty() {
        sets.push("");
    }
    sets
}

/// One line as Get-Help shows it: positional ones first, optional ones in brackets.
fn syntax<'a>(name: &str, parameters: impl Iterator<Item = &'a Parameter>) -> String {
    let mut all: Vec<&Parameter> = parameters.collect();
    all.sort_by_key(|parameter| (parameter.position.unwrap_or(u8::MAX), !parameter.required));
    let words = all.into_iter().map(|parameter| {
        let value = placeholder(parameter);
        let name = match parameter.position {
            Some(_) => format!("[-{}]", parameter.name),
            None => format!("-{}", parameter.name),
        };
        let whole = if value.is_empty() { name } else { format!("{name} {value}") };
        if parameter.required { whole } else { format!("[{whole}]") }
    });
    std::iter::once(name.to_owned())
        .chain(words)
        .chain(["[<CommonParameters>]".to_owned()])
        .collect::<Vec<_>>()
        .join(" ")
}

fn placeholder(parameter: &Parameter) -> String {
    let many = if parameter.many { "[]" } else { "" };
    match parameter.kind {
        Type::Switch => String::new(),
        Type::Text | Type::Path => format!("<string{many}>"),
        Type::Int(..) | Type::Bytes => format!("<long{many}>"),
        Type::Bool => format!("<bool{many}>"),
        Type::Guid => format!("<guid{many}>"),
        Type::Enum(words) => format!("{{{}}}", words.join(" | ")),
        Type::AnyOf(_) => format!("<Object{many}>"),
        Type::Object(Kind::Custom) => format!("<Object{many}>"),
        Type::Object(kind) => format!("<{kind:?}{many}>"),
    }
}

/// One parameter's paragraph.
fn parameter(parameter: &Parameter) -> String {
    let mut text = format!("-{} {}", parameter.name, placeholder(parameter)).trim_end().to_owned() + "\n";
    let mut line = |words: &str| text += &format!("    {words}\n");
    line(parameter.doc);
    match parameter.kind {
        Type::Int(least, i64::MAX) => line(&format!("At least {least}.")),
        Type::Int(least, most) => line(&format!("From {least} to {most}.")),
        Type::Bytes => line("An amount like 512MB or 4GB."),
        _ => {}
    }
    let position = parameter.position.map_or("named".to_owned(), |at| at.to_string());
    let pipeline = match parameter.pipeline {
        Pipeline::No => "no",
        Pipeline::ByValue => "by value",
        Pipeline::ByPropertyName => "by property name",
        Pipeline::ByValueOrPropertyName => "by value, by property name",
    };
    let required = if parameter.required { "yes" } else { "no" };
    line(&format!("Required: {required}; position: {position}; from the pipeline: {pipeline}"));
    if !parameter.aliases.is_empty() {
        line(&format!("Aliases: {}", parameter.aliases.join(", ")));
    }
    text
}

/// Of the one that is a shell in a virtual machine.
pub fn enter() -> String {
    section("NAME", enter::NAME)
        + &section("SYNOPSIS", enter::DOC)
        + &section("SYNTAX", "Enter-PSSession -VMName <string> [-Credential <string>]")
        + &section("ALIASES", &enter::ALIASES.join(", "))
        + &section("COMMAND LINE", "ireko vm ssh: a shell in a virtual machine, or a command")
}

/// Of one that is a program on Windows.
pub fn native(native: &Native) -> String {
    let aliases = if native.aliases.is_empty() { "None".into() } else { native.aliases.join(", ") };
    section("NAME", native.name)
        + &section("SYNOPSIS", native.doc)
        + &section("SYNTAX", native.name)
        + &section("ALIASES", &aliases)
}
