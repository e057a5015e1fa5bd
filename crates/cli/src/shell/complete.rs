//! What may follow at the cursor: cmdlets, parameters, names of VMs, words of a definition, variables, paths.

use super::bind::Signature;
use super::builtin;
use super::parse::{is_dash, is_double_quote, is_single_quote};
use ireko_manage::{Parameter, Type, find, operations};

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
    let signature = match (builtin::find(&command.text), find(&command.text)) {
        (Some(builtin), _) => builtin.signature(),
        (None, Some(operation)) => Signature::of(operation),
        (None, None) => return paths(&word.text),
    };
    if word.text.starts_with(is_dash) && !word.quoted {
        let name = word.text.trim_start_matches(is_dash);
        return fitting(signature.all().map(|p| p.name), name).map(|name| format!("-{name}")).collect();
    }
    match parameter(&signature, arguments) {
        Some(parameter) => values(parameter, &signature, &word.text, known),
        None => Vec::new(),
    }
}

fn fitting<'a>(all: impl Iterator<Item = &'a str>, prefix: &str) -> impl Iterator<Item = &'a str> {
    let prefix = prefix.to_lowercase();
    all.filter(move |one| one.to_lowercase().starts_with(&prefix))
}

fn commands(prefix: &str, known: &Known) -> Vec<String> {
    let names = operations().map(|operation| operation.cmdlet).chain(builtin::builtins().map(|b| b.name));
    let names = names.chain(known.functions.iter().map(String::as_str));
    let mut found: Vec<String> = fitting(names, prefix).map(str::to_owned).collect();
    found.sort();
    found
}

/// The parameter that the next word is for: the last one named, or the next by position.
fn parameter(signature: &Signature, arguments: &[Word]) -> Option<&'static Parameter> {
    let mut position = 0;
    let mut pending: Option<&'static Parameter> = None;
    for argument in arguments {
        if argument.text.starts_with(is_dash) && !argument.quoted {
            let name = argument.text.trim_start_matches(is_dash);
            let exact = signature.all().find(|p| p.is_called(name));
            pending = exact.or_else(|| signature.all().find(|p| p.starts_with(name)));
            pending = pending.filter(|parameter| parameter.kind != Type::Switch);
        } else if pending.take().is_none() {
            position += 1;
        }
    }
    pending.or_else(|| signature.own.iter().copied().find(|parameter| parameter.position == Some(position)))
}

fn values(parameter: &Parameter, signature: &Signature, prefix: &str, known: &Known) -> Vec<String> {
    match parameter.kind {
        Type::Enum(words) => fitting(words.iter().copied(), prefix).map(str::to_owned).collect(),
        Type::Bool => fitting(["$true", "$false"].into_iter(), prefix).map(str::to_owned).collect(),
        Type::Path => paths(prefix),
        Type::Text if parameter.is_called("VMName") => {
            quoted(fitting(known.vms.iter().map(String::as_str), prefix))
        }
        Type::Text if matches!(signature.cmdlet, "Get-Help" | "Get-Command") => commands(prefix, known),
        Type::Text if signature.cmdlet == "Get-NestedVmStatus" => {
            quoted(fitting(known.vms.iter().map(String::as_str), prefix))
        }
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
