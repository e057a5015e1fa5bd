//! Hyper-V's module as its reference lists it (the set of Windows Server 2025), against the table of operations: what is there, and why the
//! rest is not. `docs/cmdlets.md` is made of it.

mod absent;
mod table;

#[cfg(test)]
pub use absent::PARAMETERS;
pub use table::markdown;

use ireko_manage::operation::parameter::{switch, text};
use ireko_manage::{Operation, Parameter, find};
use std::sync::OnceLock;

/// A cmdlet a line with its parameters, but for those that all have. `:switch` is behind those that take no value.
const LIST: &str = include_str!("cmdlets.txt");

pub struct Listed {
    pub cmdlet: &'static str,
    /// Its parameters in the reference.
    pub names: Vec<&'static str>,
    /// Those of them that the operation does not have.
    pub absent: Vec<Parameter>,
}

const NOT_HERE: &str = "A parameter of Hyper-V's that is not there.";

fn one(line: &'static str) -> Option<Listed> {
    let mut words = line.split_whitespace();
    let cmdlet = words.next()?;
    let operation = find(cmdlet);
    let (mut names, mut absent) = (Vec::new(), Vec::new());
    for word in words {
        let (name, takes_value) = word.strip_suffix(":switch").map_or((word, true), |name| (name, false));
        names.push(name);
        if operation.is_some_and(|operation| operation.parameter(name).is_none()) {
            absent.push(if takes_value { text(name, NOT_HERE).many() } else { switch(name, NOT_HERE) });
        }
    }
    Some(Listed { cmdlet, names, absent })
}

/// In the order of their nouns.
pub fn listed() -> &'static [Listed] {
    static ALL: OnceLock<Vec<Listed>> = OnceLock::new();
    ALL.get_or_init(|| LIST.lines().filter_map(one).collect())
}

fn by_name(cmdlet: &str) -> Option<&'static Listed> {
    listed().iter().find(|listed| listed.cmdlet.eq_ignore_ascii_case(cmdlet))
}

/// What Hyper-V's cmdlet of this name takes and the operation does not.
pub fn absent(operation: &Operation) -> &'static [Parameter] {
    by_name(operation.cmdlet).map_or(&[], |listed| listed.absent.as_slice())
}

pub fn is_absent(operation: &Operation, parameter: &Parameter) -> bool {
    absent(operation).iter().any(|own| std::ptr::eq(own, parameter))
}

/// Why a cmdlet of the module is not there, and what does instead.
pub fn instead_of(name: &str) -> Option<String> {
    // Hyper-V's other names for what it calls snapshots.
    let whole = name.to_ascii_lowercase().replace("vmcheckpoint", "vmsnapshot");
    by_name(&whole).map(|listed| absent::cmdlet(listed.cmdlet).sentence.to_owned())
}

/// Why a parameter of the module is not there.
pub fn instead_of_parameter(cmdlet: &str, name: &str) -> String {
    match absent::parameter(cmdlet, name) {
        Some(row) => format!("-{name} is not there: {}", row.sentence),
        None => format!("-{name} of {cmdlet} is not there yet; leave it out."),
    }
}
