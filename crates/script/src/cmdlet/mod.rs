//! Cmdlets that work on objects of any kind, on files, and on the session.

mod about;
mod content;
mod convert;
mod csv;
mod each;
mod files;
mod formatting;
mod group;
pub mod job;
mod json;
mod location;
mod measure;
mod members;
mod messages;
mod object;
mod pick;
mod select;
mod session;
mod sort;
mod stages;
mod string;
mod time;
mod wherever;

pub use about::{help_stage, help_text};
pub use files::{absolute, file_object};
pub use job::Job;
pub use time::wait;

use crate::bind::{Bound, Signature, Words, common_parameters, parameters};
use crate::error::{Outcome, qualified};
use crate::host::{Command, CommandInfo};
use crate::interpret::{Interpreter, Stage};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

pub struct Cmdlet {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub synopsis: &'static str,
    /// Lines as `bind::specification` has them.
    pub parameters: &'static str,
    pub make: fn(&mut Interpreter<'_>, Bound) -> Outcome<Box<dyn Stage>>,
}

static TABLES: [&[Cmdlet]; 18] = [
    object::CMDLETS,
    each::CMDLETS,
    wherever::CMDLETS,
    select::CMDLETS,
    sort::CMDLETS,
    group::CMDLETS,
    measure::CMDLETS,
    members::CMDLETS,
    messages::CMDLETS,
    formatting::CMDLETS,
    convert::CMDLETS,
    content::CMDLETS,
    files::CMDLETS,
    location::CMDLETS,
    session::CMDLETS,
    string::CMDLETS,
    time::CMDLETS,
    about::CMDLETS,
];

pub fn cmdlets() -> impl Iterator<Item = &'static Cmdlet> {
    TABLES.iter().copied().flatten().chain(job::CMDLETS)
}

/// By name or alias, in any case.
pub fn find(name: &str) -> Option<&'static Cmdlet> {
    cmdlets().find(|cmdlet| {
        cmdlet.name.eq_ignore_ascii_case(name)
            || cmdlet.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    })
}

pub fn info() -> Vec<CommandInfo> {
    let one = |cmdlet: &Cmdlet| CommandInfo {
        name: cmdlet.name.into(),
        aliases: cmdlet.aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        synopsis: cmdlet.synopsis.into(),
        module: "Ireko".into(),
    };
    cmdlets().map(one).collect()
}

/// A cmdlet of ours as a pipeline takes it.
struct Own(&'static Cmdlet);

pub fn command<'h>(cmdlet: &'static Cmdlet) -> Rc<dyn Command<'h> + 'h> {
    Rc::new(Own(cmdlet))
}

/// Made once for each cmdlet: loops call the same ones again and again.
pub fn signature(cmdlet: &'static Cmdlet) -> Rc<Signature> {
    thread_local! {
        static MADE: RefCell<HashMap<&'static str, Rc<Signature>>> = RefCell::default();
    }
    MADE.with_borrow_mut(|all| all.entry(cmdlet.name).or_insert_with(|| make_signature(cmdlet)).clone())
}

fn make_signature(cmdlet: &'static Cmdlet) -> Rc<Signature> {
    let mut all = parameters(cmdlet.parameters);
    all.extend(common_parameters());
    let class = qualified("", cmdlet.name).trim_start_matches(',').into();
    Rc::new(Signature {
        name: cmdlet.name.into(),
        class,
        parameters: all,
        default_set: None,
        loose: false,
        words: Words::Parameters,
    })
}

impl<'h> Command<'h> for Own {
    fn signature(&self) -> Rc<Signature> {
        signature(self.0)
    }

    fn start(&self, interpreter: &mut Interpreter<'_>, bound: Bound) -> Outcome<Box<dyn Stage + 'h>> {
        let missing = bound.signature.missing(&bound, "");
        let mut bound = bound;
        let signature = bound.signature.clone();
        let must: Vec<usize> = missing
            .into_iter()
            .filter(|at| !signature.parameters[*at].sets.iter().any(|own| own.by_value))
            .collect();
        if !must.is_empty() {
            interpreter.prompt_for(&signature, &must, &mut bound)?;
        }
        (self.0.make)(interpreter, bound)
    }
}

/// Why a command of other systems is not there.
pub fn instead_of(name: &str) -> Option<String> {
    const INSTEAD: [(&str, &str); 18] = [
        (
            "Get-WmiObject",
            "WMI is Windows' own and is not there: Get-VM, Get-VMHost and their kin give what its classes tell of virtual machines.",
        ),
        (
            "Get-CimInstance",
            "CIM is not there: Get-VM, Get-VMHost and their kin give what its classes tell of virtual machines.",
        ),
        ("Invoke-CimMethod", "CIM is not there: the cmdlets of the Hyper-V module do what its methods do."),
        (
            "Invoke-WmiMethod",
            "WMI is Windows' own and is not there: the cmdlets of the Hyper-V module do what its methods do.",
        ),
        (
            "New-PSSession",
            "Sessions on other computers are not there: log in to the other host and use its own ireko shell.",
        ),
        ("Exit-PSSession", "A shell in a virtual machine ends by exit: that is typed there."),
        ("Out-GridView", "There are no windows here: use Format-Table, or Select-Object with Where-Object."),
        (
            "Start-Process",
            "Programs are called by their names here: & program arguments; -Verb RunAs has no meaning.",
        ),
        ("Invoke-WebRequest", "The web is not reached from here: the programs curl and wget do."),
        (
            "Invoke-RestMethod",
            "The web is not reached from here: the program curl does, and ConvertFrom-Json reads what it gives.",
        ),
        (
            "Get-Service",
            "Windows' services are not there: Get-VM says what runs, and the program systemctl knows the host's services.",
        ),
        ("Start-Transcript", "Transcripts are not there: the program script keeps what a terminal shows."),
        ("Stop-Transcript", "Transcripts are not there."),
        ("Export-Clixml", "Export-Clixml is not there: ConvertTo-Json keeps objects as text."),
        ("Import-Clixml", "Import-Clixml is not there: ConvertFrom-Json reads objects from text."),
        (
            "ConvertTo-Html",
            "ConvertTo-Html is not there: ConvertTo-Csv and ConvertTo-Json give tables for others.",
        ),
        ("Add-Type", "C# and assemblies cannot be loaded: functions and [pscustomobject] do without."),
        (
            "Get-EventLog",
            "Windows' event log is not there: `ireko vm log NAME` shows what a virtual machine's console said.",
        ),
    ];
    let also = [
        ("gwmi", "Get-WmiObject"),
        ("gcim", "Get-CimInstance"),
        ("ogv", "Out-GridView"),
        ("exsn", "Exit-PSSession"),
    ];
    let whole =
        also.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map_or(name, |(_, whole)| whole);
    INSTEAD
        .iter()
        .find(|(own, _)| own.eq_ignore_ascii_case(whole))
        .map(|(_, sentence)| (*sentence).to_owned())
}
