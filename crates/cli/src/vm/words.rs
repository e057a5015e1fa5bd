//! Sentences of operations as the command line has them: cmdlets become verbs and parameters options, by the table of operations.

use ireko_manage::operation::{Cli, Operation, Parameter, Type};
use ireko_manage::{command, find, operations};

/// What Set-VM does for cmdlets that have no verb: the parameter, and its name there.
const OF_SET_VM: [(&str, &str, &str); 5] = [
    ("Set-VMMemory", "StartupBytes", "MemoryStartupBytes"),
    ("Set-VMMemory", "MinimumBytes", "MemoryMinimumBytes"),
    ("Set-VMMemory", "MaximumBytes", "MemoryMaximumBytes"),
    ("Set-VMProcessor", "Count", "ProcessorCount"),
    ("Set-VMProcessor", "ExposeVirtualizationExtensions", "ExposeVirtualizationExtensions"),
];

/// A sentence of this operation. What is in quotes is somebody's word and stays.
pub fn for_command_line(sentence: &str, of: &'static Operation) -> String {
    let mut words = Words { of, cmdlet: None, said: String::with_capacity(sentence.len()) };
    let (mut rest, mut before, mut quote) = (sentence, ' ', None);
    while let Some(first) = rest.chars().next() {
        let word = if quote.is_none() && !is_inside(before) { words.replaced(rest) } else { None };
        if let Some(length) = word {
            before = rest[..length].chars().next_back().unwrap_or(' ');
            rest = &rest[length..];
            continue;
        }
        let behind = rest[first.len_utf8()..].chars().next().unwrap_or(' ');
        match quote {
            Some(open) if open == first && !behind.is_alphanumeric() => quote = None,
            None if matches!(first, '\'' | '"') && !before.is_alphanumeric() => quote = Some(first),
            _ => {}
        }
        if first == '.' && behind.is_whitespace() {
            words.cmdlet = None;
        }
        words.said.push(first);
        (rest, before) = (&rest[first.len_utf8()..], first);
    }
    words.said
}

/// Whether what follows goes on with a word or a path.
fn is_inside(before: char) -> bool {
    before.is_alphanumeric() || matches!(before, '-' | '_' | '/' | '.')
}

struct Words {
    /// The operation that speaks.
    of: &'static Operation,
    /// What the sentence tells to use.
    cmdlet: Option<&'static str>,
    said: String,
}

impl Words {
    /// The length of what stands at the start and was said in other words.
    fn replaced(&mut self, rest: &str) -> Option<usize> {
        match rest.strip_prefix('-') {
            Some(name) => self.parameter(name).map(|length| 1 + length),
            None => self.cmdlet(rest),
        }
    }

    fn cmdlet(&mut self, rest: &str) -> Option<usize> {
        let name = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len())];
        let name = name.trim_end_matches('-');
        if !(name.contains('-') && name.starts_with(|c: char| c.is_ascii_uppercase())) {
            return None;
        }
        let found = find(name)?;
        let stands_for = OF_SET_VM.iter().any(|(cmdlet, ..)| *cmdlet == found.cmdlet);
        let verb = if stands_for { Some("set") } else { found.verbs.first().map(|verb| verb.name) };
        self.cmdlet = Some(found.cmdlet);
        self.said.push_str(&format!("ireko {} {}", command(found), verb?));
        Some(name.len())
    }

    fn parameter(&mut self, rest: &str) -> Option<usize> {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = &rest[..end];
        if !name.starts_with(|c: char| c.is_ascii_uppercase()) {
            return None;
        }
        let parameter = self.find(name)?;
        match parameter.cli {
            Cli::Flag(flag) => self.said.push_str(&format!("--{flag}")),
            Cli::Positional => self.said.push_str(&format!("<{}>", parameter.name)),
            Cli::Hidden => return None,
        }
        let values = [(" $true", ""), (" $false", "=false")];
        let value = values.into_iter().find(|(value, _)| rest[end..].starts_with(value));
        match value.filter(|_| parameter.kind == Type::Bool) {
            Some((value, said)) => {
                self.said.push_str(said);
                Some(end + value.len())
            }
            None => Some(end),
        }
    }

    /// Of the cmdlet that was named, else of the operation that speaks, else of any.
    fn find(&self, name: &str) -> Option<&'static Parameter> {
        if let Some((.., own)) =
            OF_SET_VM.iter().find(|(cmdlet, own, _)| self.cmdlet == Some(cmdlet) && *own == name)
        {
            return find("Set-VM")?.parameter(own);
        }
        let of = |operation: &'static Operation| {
            operation.all_parameters().find(|own| own.is_called(name) && own.cli != Cli::Hidden)
        };
        let named = self.cmdlet.and_then(find).and_then(of);
        named
            .or_else(|| of(self.of))
            .or_else(|| operations().filter(|one| !one.verbs.is_empty()).find_map(of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn said(cmdlet: &str, sentence: &str) -> String {
        for_command_line(sentence, find(cmdlet).unwrap())
    }

    #[test]
    fn parameters_are_the_options_of_the_verb() {
        let sentence = "Which disk of 'vm'? Give -ControllerType, -ControllerNumber and -ControllerLocation.";
        assert_eq!(
            said("Remove-VMHardDiskDrive", sentence),
            "Which disk of 'vm'? Give --controller, --controller-number and --location."
        );
    }

    #[test]
    fn a_cmdlet_is_a_verb_and_its_parameter_that_verbs_option() {
        assert_eq!(said("Get-VM", "use Stop-VM -TurnOff."), "use ireko vm stop --turn-off.");
    }

    #[test]
    fn what_set_does_is_said_of_set() {
        assert_eq!(said("Start-VM", "use Set-VMProcessor -Count 2"), "use ireko vm set --processors 2");
        let nested = "use Set-VMProcessor -ExposeVirtualizationExtensions $true";
        assert_eq!(said("Start-VM", nested), "use ireko vm set --nested");
    }

    #[test]
    fn what_somebody_named_stays_as_it_is() {
        for sentence in
            ["'Stop-VM -TurnOff' is Off.", "no machine \"a -Force\"", "UEFI's /x/Stop-VM, a-Force"]
        {
            assert_eq!(said("Stop-VM", sentence), sentence);
        }
    }

    fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(path);
            }
        }
    }

    /// The texts in quotes of a source, without its tests.
    fn literals(source: &str) -> Vec<String> {
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let source = lines.collect::<Vec<_>>().join("\n").replace("\\\n", "").replace("'\"'", "''");
        source.replace("\\\"", "'").split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// `-Name`, which only a cmdlet takes.
    fn names_a_parameter(text: &str) -> bool {
        let starts = |at: usize| !text[..at].ends_with(|before| is_inside(before) || before == '}');
        let name = |at: usize| text[at + 1..].starts_with(|c: char| c.is_ascii_uppercase());
        text.match_indices('-').any(|(at, _)| starts(at) && name(at))
    }

    /// Of what is said by shells only: of cmdlets that no verb has, or where a verb needs a name, and of parameters that it has not.
    const OF_SHELLS: [&str; 7] = [
        "Whose? Give -VMName, -ManagementOS or -All",
        "-ExternalIPInterfaceAddressPrefix is not there yet",
        "Give -InterfaceAlias or -InterfaceIndex",
        "Give -IPAddress or -InterfaceAlias",
        "Give -ServerAddresses or -ResetServerAddresses",
        "`-Confirm:$false`",
        // No verb has it.
        "-ManagementOS",
    ];

    #[test]
    fn no_sentence_to_the_command_line_names_a_parameter_of_a_cmdlet() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../manage/src"), &mut files);
        files.retain(|path| !path.to_string_lossy().contains("tests"));
        let texts = files.iter().flat_map(|path| literals(&std::fs::read_to_string(path).unwrap()));
        let texts: Vec<String> = texts.filter(|text| names_a_parameter(text)).collect();
        assert!(texts.len() > 20, "{texts:?}");
        let of_verbs = texts.iter().filter(|text| !OF_SHELLS.iter().any(|own| text.contains(own)));
        let said = of_verbs.map(|text| said("Get-VM", text));
        assert_eq!(said.filter(|said| names_a_parameter(said)).collect::<Vec<_>>(), [""; 0]);
    }
}
