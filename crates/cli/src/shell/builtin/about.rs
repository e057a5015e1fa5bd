//! Get-Help, Get-Command, Get-Alias, Get-Member: what there is and how it is used, from the tables themselves.

use super::{Builtin, Call, Words, any, builtins, find};
use crate::shell::bind::{REMOTE, Signature};
use crate::shell::fault::Flow;
use crate::shell::item::{Item, record};
use crate::shell::session::Session;
use ireko_manage::operation::parameter::{switch, text};
use ireko_manage::{Kind, Operation, Parameter, Pipeline, Prints, Type, operations, select};

type Items = Result<Vec<Item>, Flow>;

pub static BUILTINS: &[Builtin] = &[
    Builtin {
        name: "Get-Help",
        aliases: &["help", "man"],
        doc: "Explains a cmdlet; with a wildcard or a part of a name, lists cmdlets.",
        parameters: &[
            text("Name", "A cmdlet or alias, a wildcard, or a word.").at(0),
            switch("Full", "Accepted; it is always all."),
            switch("Detailed", "Accepted; it is always all."),
            switch("Examples", "Accepted; it is always all."),
            text("Parameter", "Only this parameter; wildcards count."),
        ],
        words: Words::Parameters,
        run: |session, call| match call.bound.text("Name") {
            None => Ok(vec![Item::Formatted(OVERVIEW.into())]),
            Some(name) => match call.bound.text("Parameter") {
                None => help(session, &name),
                Some(wanted) => parameter_help(call, &name, &wanted),
            },
        },
    },
    Builtin {
        name: "Get-Command",
        aliases: &["gcm"],
        doc: "Lists what can be typed.",
        parameters: &[
            text("Name", "Names; wildcards count.").many().at(0),
            text("Verb", "Only with these verbs.").many(),
            text("Noun", "Only with these nouns.").many(),
            text("Module", "Hyper-V or Ireko."),
        ],
        words: Words::Parameters,
        run: commands,
    },
    Builtin {
        name: "Get-Alias",
        aliases: &["gal"],
        doc: "Lists short names of cmdlets.",
        parameters: &[text("Name", "Names; wildcards count.").many().at(0)],
        words: Words::Parameters,
        run: aliases,
    },
    Builtin {
        name: "Get-Member",
        aliases: &["gm"],
        doc: "Lists the properties of objects.",
        parameters: &[
            text("Name", "Names; wildcards count.").many().at(0),
            any("InputObject", "The objects."),
        ],
        words: Words::Parameters,
        run: members,
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

/// Something that can be typed.
struct Entry {
    name: &'static str,
    aliases: &'static [&'static str],
    doc: &'static str,
    source: &'static str,
}

fn entries() -> impl Iterator<Item = Entry> {
    let ours = builtins().map(|b| Entry { name: b.name, aliases: b.aliases, doc: b.doc, source: "Ireko" });
    operations()
        .map(|o| Entry { name: o.cmdlet, aliases: o.aliases, doc: o.doc, source: "Hyper-V" })
        .chain(ours)
}

fn summary(doc: &str) -> &str {
    doc.split("\n\n").next().unwrap_or(doc)
}

/// The help of one cmdlet, or a list of those that the word may mean.
pub fn help(session: &mut Session<'_>, name: &str) -> Items {
    if let Some(builtin) = find(name) {
        return Ok(vec![Item::Formatted(builtin_help(builtin))]);
    }
    if let Some(operation) = ireko_manage::find(name) {
        return Ok(vec![Item::Formatted(operation_help(operation, operation.called(name)))]);
    }
    let pattern = if select::has_wildcard(name) { name.to_owned() } else { format!("*{name}*") };
    let fits =
        |entry: &Entry| select::wildcard(&pattern, entry.name) || select::wildcard(&pattern, entry.doc);
    let found: Vec<Item> = entries()
        .filter(fits)
        .map(|entry| {
            record(&[("Name".into(), entry.name.into()), ("Synopsis".into(), summary(entry.doc).into())])
                .into()
        })
        .collect();
    if found.is_empty() {
        let message =
            format!("Get-Help could not find {name} in this session; Get-Command lists what there is.");
        let fault = crate::shell::fault::Fault::builtin("Get-Help", "HelpNotFound", message);
        session.report(crate::shell::fault::Fault { category: "ResourceUnavailable".into(), ..fault })?;
    }
    Ok(found)
}

fn section(title: &str, text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect();
    format!("{title}\n{lines}\n")
}

fn builtin_help(builtin: &'static Builtin) -> String {
    let syntax = if builtin.words == Words::Program {
        builtin.name.to_owned()
    } else {
        syntax(builtin.name, builtin.parameters.iter())
    };
    let aliases = if builtin.aliases.is_empty() { "None".into() } else { builtin.aliases.join(", ") };
    section("NAME", builtin.name)
        + &section("SYNOPSIS", builtin.doc)
        + &section("SYNTAX", &syntax)
        + &section("PARAMETERS", &builtin.parameters.iter().map(parameter).collect::<Vec<_>>().join("\n"))
        + &section("ALIASES", &aliases)
}

/// `called`: the one of its names that somebody asked for.
fn operation_help(operation: &'static Operation, called: &'static str) -> String {
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

fn parameter_help(call: &Call, name: &str, wanted: &str) -> Items {
    let signature = match (find(name), ireko_manage::find(name)) {
        (Some(builtin), _) => builtin.signature(),
        (None, Some(operation)) => Signature::called(operation, name),
        (None, None) => return Err(crate::shell::fault::Fault::not_found(name).into()),
    };
    let ours = |parameter: &&Parameter| !REMOTE.iter().any(|remote| std::ptr::eq(*parameter, remote));
    let found: Vec<String> =
        signature.all().filter(ours).filter(|p| select::wildcard(wanted, p.name)).map(parameter).collect();
    if found.is_empty() {
        let message = format!("No parameter of {name} matches '{wanted}'.");
        return Err(call.fault("NoMatchingParameter", message).into());
    }
    Ok(vec![Item::Formatted(found.join("\n"))])
}

fn any_fits(patterns: &[Item], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| select::wildcard(&pattern.text(), text))
}

fn commands(session: &mut Session<'_>, call: &Call) -> Items {
    let [names, verbs, nouns, modules] =
        ["Name", "Verb", "Noun", "Module"].map(|name| call.bound.items(name));
    let row = |kind: &str, name: &str, source: &str| {
        let pairs = [
            ("CommandType", kind),
            ("Name", name),
            ("Version", env!("CARGO_PKG_VERSION")),
            ("Source", source),
        ];
        Item::from(record(&pairs.map(|(name, value)| (name.to_owned(), Item::from(value)))))
    };
    let fits = |entry: &Entry| {
        let (verb, noun) = entry.name.split_once('-').unwrap_or(("", entry.name));
        let named = any_fits(&names, entry.name)
            || entry.aliases.iter().any(|alias| names.iter().any(|n| n.text().eq_ignore_ascii_case(alias)));
        named && any_fits(&verbs, verb) && any_fits(&nouns, noun) && any_fits(&modules, entry.source)
    };
    let mut found: Vec<Item> =
        entries().filter(fits).map(|entry| row("Cmdlet", entry.name, entry.source)).collect();
    if verbs.is_empty() && nouns.is_empty() && modules.is_empty() {
        let own = session.functions.keys().filter(|name| any_fits(&names, name));
        found.extend(own.map(|name| row("Function", name, "")));
    }
    for name in names.iter().map(Item::text).filter(|name| !select::has_wildcard(name)) {
        if found.is_empty() {
            session.report(crate::shell::fault::Fault {
                activity: "Get-Command",
                ..crate::shell::fault::Fault::not_found(&name)
            })?;
        }
    }
    Ok(found)
}

fn aliases(_: &mut Session<'_>, call: &Call) -> Items {
    let names = call.bound.items("Name");
    let all = entries().flat_map(|entry| entry.aliases.iter().map(move |alias| (*alias, entry.name)));
    let found = all.filter(|(alias, _)| any_fits(&names, alias)).map(|(alias, name)| {
        record(&[
            ("CommandType".into(), "Alias".into()),
            ("Name".into(), alias.into()),
            ("Definition".into(), name.into()),
        ])
        .into()
    });
    Ok(found.collect())
}

fn members(_: &mut Session<'_>, call: &Call) -> Items {
    let names = call.bound.items("Name");
    let mut found: Vec<Item> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for item in call.objects("InputObject") {
        let type_name = item.type_name();
        if seen.contains(&type_name) {
            continue;
        }
        for name in item.names().iter().filter(|name| any_fits(&names, name)) {
            found.push(
                record(&[
                    ("TypeName".into(), type_name.as_str().into()),
                    ("Name".into(), name.as_str().into()),
                    ("MemberType".into(), "Property".into()),
                    ("Definition".into(), format!("{} {name}", item.member(name).type_name()).into()),
                ])
                .into(),
            );
        }
        seen.push(type_name);
    }
    Ok(found)
}
