//! What may follow at the cursor: cmdlets, parameters, names of VMs, words of a definition, variables, paths.

use super::signature::Parameters;
use super::{native, reference};
use ireko_manage::{Parameter, Type, find, operations};
use ireko_script::bind::common_parameters;
use ireko_script::characters::{is_dash, is_double_quote, is_single_quote};
use ireko_script::cmdlet;

/// What this session has.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub vms: Vec<String>,
    pub variables: Vec<String>,
    pub functions: Vec<String>,
}

/// One word of a command: where it begins, what it says without its quote, and whether it has one.
#[derive(Clone, Debug, Default)]
struct Word {
    start: usize,
    text: String,
    quoted: bool,
}

/// Where the word at the cursor begins, and what it may become.
pub fn complete(line: &str, at: usize, known: &Known) -> (usize, Vec<String>) {
    let (before, word) = words(line.get(..at).unwrap_or(line));
    let found = candidates(&before, &word, known);
    (word.start, found)
}

fn candidates(before: &[Word], word: &Word, known: &Known) -> Vec<String> {
    if let (Some(name), false) = (word.text.strip_prefix('$'), word.quoted) {
        let preset = ["true", "false", "null", "_", "ErrorActionPreference"].map(str::to_owned);
        let all = known.variables.iter().chain(&preset);
        return fitting(all.map(String::as_str), name).map(|name| format!("${name}")).collect();
    }
    let Some((command, arguments)) = before.split_first() else { return commands(&word.text, known) };
    if command.text.eq_ignore_ascii_case("vmconnect") {
        return quoted(fitting(known.vms.iter().map(String::as_str), &word.text));
    }
    let Some(takes) = takes(&command.text) else { return paths(&word.text) };
    if word.text.starts_with(is_dash) && !word.quoted {
        let name = word.text.trim_start_matches(is_dash);
        let names = takes.iter().map(|slot| slot.names[0].as_str());
        return fitting(names, name).map(|name| format!("-{name}")).collect();
    }
    match slot(&takes, arguments) {
        Some(slot) => values(slot, &command.text, &word.text, known),
        None => Vec::new(),
    }
}

/// A parameter, whoever has it.
struct Slot {
    /// Its name, then its aliases.
    names: Vec<String>,
    position: Option<i64>,
    is_switch: bool,
    of_operation: Option<&'static Parameter>,
}

/// What a command takes.
fn takes(name: &str) -> Option<Vec<Slot>> {
    let of_script = |parameter: &ireko_script::bind::Parameter| Slot {
        names: parameter.names().map(|name| name.to_string()).collect(),
        position: parameter.sets[0].position,
        is_switch: parameter.is_switch(),
        of_operation: None,
    };
    if let Some(operation) = find(name) {
        let parameters = Parameters::of(operation);
        let there = |parameter: &&&'static Parameter| !reference::is_absent(operation, parameter);
        let own = parameters.own.iter().chain(&parameters.risk).filter(there).map(|parameter| Slot {
            names: parameter.names().map(str::to_owned).collect(),
            position: parameter.position.map(i64::from),
            is_switch: parameter.kind == Type::Switch,
            of_operation: Some(parameter),
        });
        return Some(own.chain(common_parameters().iter().map(of_script)).collect());
    }
    let cmdlet = cmdlet::find(name)?;
    Some(cmdlet::signature(cmdlet).parameters.iter().map(of_script).collect())
}

fn fitting<'a>(all: impl Iterator<Item = &'a str>, prefix: &str) -> impl Iterator<Item = &'a str> {
    let prefix = prefix.to_lowercase();
    all.filter(move |one| one.to_lowercase().starts_with(&prefix))
}

fn commands(prefix: &str, known: &Known) -> Vec<String> {
    let natives = native::NATIVES.iter().map(|native| native.name);
    let names = operations()
        .map(|operation| operation.cmdlet)
        .chain(cmdlet::cmdlets().map(|own| own.name))
        .chain(natives);
    let names = names.chain(known.functions.iter().map(String::as_str));
    let mut found: Vec<String> = fitting(names, prefix).map(str::to_owned).collect();
    found.sort();
    found
}

/// The parameter that the next word is for: the last one named, or the next by position.
fn slot<'a>(takes: &'a [Slot], arguments: &[Word]) -> Option<&'a Slot> {
    let mut position = 0;
    let mut pending: Option<&Slot> = None;
    for argument in arguments {
        if argument.text.starts_with(is_dash) && !argument.quoted {
            let name = argument.text.trim_start_matches(is_dash).to_lowercase();
            let exact =
                takes.iter().find(|slot| slot.names.iter().any(|own| own.eq_ignore_ascii_case(&name)));
            let begins = |slot: &&Slot| slot.names.iter().any(|own| own.to_lowercase().starts_with(&name));
            pending = exact.or_else(|| takes.iter().find(begins)).filter(|slot| !slot.is_switch);
        } else if pending.take().is_none() {
            position += 1;
        }
    }
    pending.or_else(|| takes.iter().find(|slot| slot.position == Some(position)))
}

const ACTIONS: [&str; 6] = ["Continue", "Ignore", "Inquire", "SilentlyContinue", "Stop", "Suspend"];

fn values(slot: &Slot, command: &str, prefix: &str, known: &Known) -> Vec<String> {
    let vms = || quoted(fitting(known.vms.iter().map(String::as_str), prefix));
    if slot.names[0].ends_with("Action") && slot.of_operation.is_none() {
        return fitting(ACTIONS.into_iter(), prefix).map(str::to_owned).collect();
    }
    let Some(parameter) = slot.of_operation else {
        let of_commands = ["Get-Help", "Get-Command", "help", "man", "gcm"]
            .iter()
            .any(|own| own.eq_ignore_ascii_case(command));
        return if of_commands { commands(prefix, known) } else { paths(prefix) };
    };
    match parameter.kind {
        Type::Enum(words) => fitting(words.iter().copied(), prefix).map(str::to_owned).collect(),
        Type::Bool => fitting(["$true", "$false"].into_iter(), prefix).map(str::to_owned).collect(),
        Type::Path => paths(prefix),
        Type::Text if parameter.is_called("VMName") => vms(),
        Type::Text if command.eq_ignore_ascii_case("Get-NestedVmStatus") => vms(),
        _ => Vec::new(),
    }
}

/// In quotes where it must be.
fn quoted<'a>(all: impl Iterator<Item = &'a str>) -> Vec<String> {
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with(is_dash)
            && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    all.map(|name| if plain(name) { name.to_owned() } else { format!("'{}'", name.replace('\'', "''")) })
        .collect()
}

/// Names in a directory.
fn paths(prefix: &str) -> Vec<String> {
    let (directory, start) =
        prefix.rsplit_once('/').map_or(("", prefix), |(directory, start)| (directory, start));
    let shown = if prefix.contains('/') { format!("{directory}/") } else { String::new() };
    let opened = match (directory, prefix.starts_with('/')) {
        ("", true) => "/",
        ("", false) => ".",
        (directory, _) => directory,
    };
    let entries = std::fs::read_dir(opened).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| name.starts_with(start))?;
            let slash = if entry.path().is_dir() { "/" } else { "" };
            Some(format!("{shown}{name}{slash}"))
        })
        .collect();
    found.sort();
    found
}

/// The words of the command at the end of the text, and the last one, which may be empty.
fn words(text: &str) -> (Vec<Word>, Word) {
    let mut done: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote: Option<bool> = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(single) if (single && is_single_quote(c)) || (!single && is_double_quote(c)) => quote = None,
            Some(_) => word.get_or_insert_with(Word::default).text.push(c),
            None if is_single_quote(c) || is_double_quote(c) => {
                quote = Some(is_single_quote(c));
                word.get_or_insert(Word { start: at, quoted: true, ..Word::default() });
            }
            None if matches!(c, '|' | ';' | '(' | '{' | '&' | '\n' | '=' | ')' | '}') => {
                done.clear();
                word = None;
            }
            // A further value of the same argument.
            None if c == ',' => word = None,
            None if c.is_whitespace() => done.extend(word.take()),
            None => word.get_or_insert(Word { start: at, ..Word::default() }).text.push(c),
        }
    }
    (done, word.unwrap_or(Word { start: text.len(), ..Word::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_end(line: &str) -> Vec<String> {
        let known = Known {
            vms: vec!["lab".into(), "my vm".into()],
            variables: vec!["vm".into()],
            functions: vec!["Start-All".into()],
        };
        complete(line, line.len(), &known).1
    }

    #[test]
    fn the_first_word_is_a_command() {
        assert_eq!(at_end("set-vmp"), ["Set-VMProcessor"]);
        assert_eq!(at_end("Get-VM | Out-N"), ["Out-Null"]);
        assert_eq!(at_end("start-a"), ["Start-All"]);
    }

    #[test]
    fn a_dash_begins_a_parameter() {
        assert_eq!(at_end("Set-VMProcessor lab -Exp"), ["-ExposeVirtualizationExtensions"]);
        assert_eq!(at_end("Set-VMProcessor lab \u{2013}exp"), ["-ExposeVirtualizationExtensions"]);
    }

    #[test]
    fn values_follow_their_parameter() {
        assert_eq!(at_end("Set-VMNetworkAdapter lab -MacAddressSpoofing "), ["On", "Off"]);
        assert_eq!(at_end("Set-VMProcessor lab -ExposeVirtualizationExtensions $t"), ["$true"]);
        assert_eq!(at_end("Get-VM -ErrorAction S"), ["SilentlyContinue", "Stop", "Suspend"]);
    }

    #[test]
    fn names_of_machines_are_quoted_where_they_must_be() {
        assert_eq!(at_end("Start-VM "), ["lab", "'my vm'"]);
        assert_eq!(at_end("Start-VM -Name lab,m"), ["'my vm'"]);
        assert_eq!(at_end("Start-VM 'my"), ["'my vm'"]);
        assert_eq!(at_end("vmconnect l"), ["lab"]);
    }

    #[test]
    fn variables_are_known() {
        assert_eq!(at_end("Start-VM $v"), ["$vm"]);
    }
}
