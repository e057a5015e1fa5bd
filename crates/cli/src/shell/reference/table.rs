//! `docs/cmdlets.md`: the module's list beside what is there.

use super::absent::{self, Kind};
use super::{Listed, listed};
use std::fmt::Write;

const HEAD: &str = "\
# Cmdlets

Hyper-V's PowerShell module, as its reference for Windows Server 2025 lists it, and what of it `ireko shell` has. A cmdlet that is not there answers with the
sentence of this table, and so does a parameter; both end a script with exit code 1, and nothing is half made. This file is made of the code:
`REGENERATE=1 cargo test -p ireko the_table_of_cmdlets_is_what_the_code_says`.

All cmdlets also take `-ComputerName` (this host: `.`, `localhost` or its name), `-AsJob`, and, if they change something, `-WhatIf` and `-Confirm`. `-CimSession` and `-Credential` are for
other hosts, which cannot be managed from here.

";

fn code<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}

fn there(text: &mut String) {
    let _ = writeln!(text, "## There\n\n| cmdlet | parameters | of Hyper-V's, not there |\n|---|---|---|");
    for Listed { cmdlet, names, absent } in listed() {
        if !absent::is_there(cmdlet) {
            continue;
        }
        let missing = |name: &str| absent.iter().any(|own| own.name == name);
        let done = code(names.iter().copied().filter(|name| !missing(name)));
        let rest = code(absent.iter().map(|own| own.name));
        let _ = writeln!(text, "| {cmdlet} | {done} | {rest} |");
    }
}

fn not_there(text: &mut String, title: &str, kind: Kind) {
    let _ = writeln!(text, "\n## {title}\n\n| cmdlet | what it says |\n|---|---|");
    for Listed { cmdlet, .. } in listed() {
        let row = absent::cmdlet(cmdlet);
        if !absent::is_there(cmdlet) && row.kind == kind {
            let _ = writeln!(text, "| {cmdlet} | {} |", row.sentence);
        }
    }
}

fn parameters(text: &mut String) {
    let _ = writeln!(
        text,
        "\n## Parameters that are not there\n\nOthers that are missing above are not there yet, and say that.\n\n| parameter | of | why |\n|---|---|---|"
    );
    for row in absent::PARAMETERS {
        let of = if row.of.is_empty() { "all" } else { row.of };
        for name in row.names {
            let _ = writeln!(text, "| `-{name}` | {of} | {} |", row.sentence);
        }
    }
}

pub fn markdown() -> String {
    let count = listed().iter().filter(|listed| absent::is_there(listed.cmdlet)).count();
    let meaningless = |listed: &&Listed| {
        !absent::is_there(listed.cmdlet) && absent::cmdlet(listed.cmdlet).kind == Kind::NoMeaning
    };
    let none = listed().iter().filter(meaningless).count();
    let mut text = HEAD.to_owned();
    let _ = writeln!(
        text,
        "Of {} cmdlets {count} are there, {none} have no meaning here, and {} are not there yet.\n",
        listed().len(),
        listed().len() - count - none
    );
    there(&mut text);
    not_there(&mut text, "Without a meaning here", Kind::NoMeaning);
    not_there(&mut text, "Not there yet", Kind::NotYet);
    parameters(&mut text);
    text
}
