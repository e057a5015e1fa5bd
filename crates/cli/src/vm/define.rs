//! The command line of `ireko vm`, made from the table of operations.

use super::ip::Asked;
use super::ssh::Session;
use super::vsock::Port;
use super::words::for_command_line;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use ireko_manage::operation::{Cli, Operation, Parameter, Prints, Type, Verb, View};
use ireko_manage::{Arguments, Value, command, operations};
use std::ffi::OsString;
use std::path::PathBuf;

/// What was asked for.
pub enum VmCommand {
    Operation(Box<Call>),
    /// Attach to the console of the VM of this name.
    Console(String),
    Log(Log),
    Ssh(Session),
    /// At which addresses it is.
    Ip(Asked),
    /// A port of a VM's.
    Vsock(Port),
}

/// What follows once it is created and started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Console,
    Ssh,
}

/// One operation with its arguments.
pub struct Call {
    pub operation: &'static Operation,
    pub arguments: Arguments,
    pub view: View,
    pub json: bool,
    pub then: Option<Then>,
}

/// What a VM has printed on its console.
pub struct Log {
    pub name: String,
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<usize>,
}

const CONSOLE: &str = "console";
const LOG: &str = "log";
const JSON: &str = "json";
const ATTACH: &str = "console";
const SSH: &str = "ssh";
const IP: &str = "ip";
const VSOCK: &str = "vsock";
const WAIT: &str = "wait";
/// The cmdlet whose verb can go on to the console.
const CREATES: &str = "New-VM";
/// What a machine brings that more than our own image is on.
const BRINGS: [&str; 3] = ["System", "VHDPath", "ISOPath"];
const VM: &str = "vm";
const DISK: &str = "disk";
const SWITCH: &str = "switch";
const CAPTURE: &str = "capture";

impl Args for VmCommand {
    fn augment_args(command: Command) -> Command {
        let console = Command::new(CONSOLE)
            .about("Attach to the console (Ctrl-A X detaches); output from before comes first.")
            .arg(Arg::new("Name").required(true).help("A name or id."));
        behind(command, VM)
            .subcommand(console)
            .subcommand(log())
            .subcommand(ssh())
            .subcommand(ip())
            .subcommand(vsock())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn log() -> Command {
    Command::new(LOG)
        .about("Show what was printed on the console, also in earlier runs.")
        .after_help("The cmdlet is Get-VMConsoleLog.")
        .arg(Arg::new("Name").required(true).help("A name or id."))
        .arg(Arg::new("Follow").long("follow").action(ArgAction::SetTrue).help("Go on with what comes."))
        .arg(
            Arg::new("Tail")
                .long("tail")
                .value_name("N")
                .value_parser(clap::value_parser!(usize))
                .help("Only so many lines, the last."),
        )
}

fn wait(seconds: &'static str) -> Arg {
    Arg::new(WAIT)
        .long(WAIT)
        .value_name("SECONDS")
        .value_parser(clap::value_parser!(u64))
        .default_value(seconds)
        .help("For somebody to listen there.")
}

fn ssh() -> Command {
    Command::new(SSH)
        .about("A shell in it, or a command, by this host's client for SSH and without a network.")
        .after_help("The exit status is the command's. Its system must listen for SSH at its socket device (vsock), as those of --os do.")
        .arg(Arg::new("Name").required(true).help("A name or id."))
        .arg(
            Arg::new("User")
                .long("user")
                .short('l')
                .allow_hyphen_values(true)
                .help("Who logs in; without it who was named when it was created."),
        )
        .arg(wait("0"))
        .arg(
            Arg::new("Command")
                .num_args(0..)
                .last(true)
                .value_parser(clap::value_parser!(OsString))
                .help("What to do there, instead of a shell."),
        )
}

fn ip() -> Command {
    Command::new(IP)
        .about("Show its addresses, one a line: as its guest's agent tells them, or as the router of its switch has seen them.")
        .arg(Arg::new("Name").required(true).help("A name or id."))
        .arg(wait("0").help("For it to have one."))
}

fn vsock() -> Command {
    Command::new(VSOCK)
        .about("Connect standard input and output with a port of its socket device (vsock).")
        .arg(Arg::new("Name").required(true).help("A name or id."))
        .arg(
            Arg::new("Port")
                .required(true)
                .value_parser(clap::value_parser!(u32))
                .help("The port that somebody listens at in the machine."),
        )
        .arg(wait("0"))
}

/// A word of the command line with the verbs behind it.
fn behind(command: Command, word: &'static str) -> Command {
    let json = Arg::new(JSON).long(JSON).global(true).action(ArgAction::SetTrue);
    command
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(json.help("Print JSON."))
        .subcommands(verbs(word).map(|(operation, verb)| subcommand(operation, verb)))
}

/// The verbs behind a word of the command line.
fn verbs(word: &'static str) -> impl Iterator<Item = (&'static Operation, &'static Verb)> {
    let of_word = operations().filter(move |operation| command(operation) == word);
    of_word.flat_map(|operation| operation.verbs.iter().map(move |verb| (operation, verb)))
}

/// `ireko disk …`: what is done with images that no machine uses.
pub struct DiskCommand(pub Box<Call>);

impl Args for DiskCommand {
    fn augment_args(command: Command) -> Command {
        behind(command, DISK)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DiskCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        called(DISK, matches).map(|call| Self(Box::new(call)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        Self::from_arg_matches(matches).map(|new| *self = new)
    }
}

/// `ireko switch …`: who is where on virtual switches, and what goes over them.
pub enum SwitchCommand {
    Operation(Box<Call>),
    Capture(Capture),
}

/// What is to be captured, and where it goes.
pub struct Capture {
    pub switch: String,
    /// Only what this machine sends and hears.
    pub port: Option<String>,
    pub output: PathBuf,
    /// No longer than so many seconds.
    pub seconds: Option<u64>,
    /// No more than so many frames.
    pub count: Option<u64>,
}

impl Args for SwitchCommand {
    fn augment_args(command: Command) -> Command {
        behind(command, SWITCH).subcommand(capture())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn capture() -> Command {
    let number = |name: &'static str, long: &'static str, help: &'static str| {
        Arg::new(name).long(long).value_name("N").value_parser(clap::value_parser!(u64)).help(help)
    };
    Command::new(CAPTURE)
        .about("Write the frames on a virtual switch to a file in the format pcapng, until Ctrl-C.")
        .after_help("Tags of VLANs are in it. What a port may not send is not on the switch: ireko switch show counts it.")
        .arg(Arg::new("Name").required(true).help("A switch's name or id."))
        .arg(Arg::new("Port").long("port").value_name("VM").help("Only what this machine sends and hears."))
        .arg(
            Arg::new("Output")
                .short('o')
                .long("output")
                .value_name("FILE")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The file; - is standard output."),
        )
        .arg(number("Seconds", "seconds", "End after so many seconds."))
        .arg(number("Count", "count", "End after so many frames."))
}

impl FromArgMatches for SwitchCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        if let Some((CAPTURE, given)) = matches.subcommand() {
            return Ok(Self::Capture(Capture {
                switch: given.get_one::<String>("Name").cloned().unwrap_or_default(),
                port: given.get_one::<String>("Port").cloned(),
                output: given.get_one::<PathBuf>("Output").cloned().unwrap_or_default(),
                seconds: given.get_one::<u64>("Seconds").copied(),
                count: given.get_one::<u64>("Count").copied(),
            }));
        }
        called(SWITCH, matches).map(|call| Self::Operation(Box::new(call)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        Self::from_arg_matches(matches).map(|new| *self = new)
    }
}

/// The operation that a verb behind a word is of, with its arguments.
fn called(word: &'static str, matches: &ArgMatches) -> Result<Call, Error> {
    let (name, given) = matches.subcommand().ok_or_else(|| {
        Error::raw(ErrorKind::MissingSubcommand, format!("say what to do; see ireko {word} --help"))
    })?;
    let found = verbs(word).find(|(_, verb)| verb.name == name);
    let (operation, verb) =
        found.ok_or_else(|| Error::raw(ErrorKind::InvalidSubcommand, format!("there is no verb {name}")))?;
    call(operation, verb, given)
}

fn on_command_line(operation: &'static Operation) -> impl Iterator<Item = &'static Parameter> {
    operation.all_parameters().filter(|parameter| parameter.cli != Cli::Hidden)
}

fn subcommand(operation: &'static Operation, verb: &'static Verb) -> Command {
    let positionals = on_command_line(operation).filter(|p| p.cli == Cli::Positional).count();
    let arguments = on_command_line(operation).map(|p| argument(p, operation, verb, positionals == 1));
    let attach = Arg::new(ATTACH)
        .long(ATTACH)
        .action(ArgAction::SetTrue)
        .conflicts_with(JSON)
        .help("Start it, too, and attach to its console (Ctrl-A X detaches).");
    let shell = Arg::new(SSH)
        .long(SSH)
        .action(ArgAction::SetTrue)
        .conflicts_with_all([JSON, ATTACH])
        .help("Start it, too, and open a shell in it (as ireko vm ssh) once its system listens.");
    Command::new(verb.name)
        .about(verb.doc)
        .after_help(format!("The cmdlet is {}.", operation.cmdlet))
        .args(arguments)
        .args((operation.cmdlet == CREATES).then_some([attach, shell]).into_iter().flatten())
}

/// `alone`: it is the only positional one, so it may take several values.
fn argument(parameter: &'static Parameter, operation: &'static Operation, verb: &Verb, alone: bool) -> Arg {
    let arg = Arg::new(parameter.name).help(for_command_line(parameter.doc, operation));
    let arg = match parameter.cli {
        Cli::Flag(flag) => {
            let arg = arg.long(flag).required(parameter.required && parameter.set.is_empty());
            // A list, by saying it again, and with commas where nothing in it can have one.
            match (parameter.many, parameter.kind) {
                (false, _) => arg,
                (true, Type::Path) => arg.action(ArgAction::Append),
                (true, _) => arg.value_delimiter(',').action(ArgAction::Append),
            }
        }
        _ => arg
            .required(parameter.required || verb.needs_name && parameter.position == Some(0))
            .num_args(if parameter.many && alone { 1..=4096 } else { 1..=1 }),
    };
    let named = |arg: Arg, name: &'static str| arg.value_name(name);
    match parameter.kind {
        Type::Switch => arg.action(ArgAction::SetTrue),
        Type::Bool => named(arg, "BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(clap::builder::BoolishValueParser::new()),
        Type::Enum(words) => arg.value_parser(PossibleValuesParser::new(words)).ignore_case(true),
        Type::Bytes => named(arg, "SIZE"),
        Type::Int(..) => named(arg, "N").allow_negative_numbers(true),
        Type::Path => named(arg, "FILE").value_hint(clap::ValueHint::FilePath),
        _ => arg.allow_hyphen_values(matches!(parameter.cli, Cli::Flag(_))),
    }
}

impl FromArgMatches for VmCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let (name, given) = matches
            .subcommand()
            .ok_or_else(|| Error::raw(ErrorKind::MissingSubcommand, "say what to do; see ireko vm --help"))?;
        if name == CONSOLE {
            return Ok(Self::Console(given.get_one::<String>("Name").cloned().unwrap_or_default()));
        }
        if name == LOG {
            return Ok(Self::Log(Log {
                name: given.get_one::<String>("Name").cloned().unwrap_or_default(),
                follow: given.get_flag("Follow"),
                tail: given.get_one::<usize>("Tail").copied(),
            }));
        }
        if name == SSH {
            return Ok(Self::Ssh(Session {
                name: given.get_one::<String>("Name").cloned().unwrap_or_default(),
                user: given.get_one::<String>("User").cloned(),
                wait: given.get_one::<u64>(WAIT).copied().unwrap_or_default(),
                command: given.get_many::<OsString>("Command").into_iter().flatten().cloned().collect(),
            }));
        }
        if name == IP {
            return Ok(Self::Ip(Asked {
                name: given.get_one::<String>("Name").cloned().unwrap_or_default(),
                wait: given.get_one::<u64>(WAIT).copied().unwrap_or_default(),
            }));
        }
        if name == VSOCK {
            return Ok(Self::Vsock(Port {
                name: given.get_one::<String>("Name").cloned().unwrap_or_default(),
                port: given.get_one::<u32>("Port").copied().unwrap_or_default(),
                wait: given.get_one::<u64>(WAIT).copied().unwrap_or_default(),
            }));
        }
        called(VM, matches).map(|call| Self::Operation(Box::new(call)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        Self::from_arg_matches(matches).map(|new| *self = new)
    }
}

fn call(operation: &'static Operation, verb: &'static Verb, given: &ArgMatches) -> Result<Call, Error> {
    let mut arguments = Arguments::default();
    let json = given.get_flag(JSON);
    // With the usage of this verb, not of the whole program.
    let refused = |why: &str| {
        let name = format!("ireko {} {}", command(operation), verb.name);
        let mut command = subcommand(operation, verb).bin_name(name);
        Error::raw(ErrorKind::ValueValidation, format!("{why}\n")).format(&mut command)
    };
    let wrong =
        |failure: ireko_manage::Failure, name: &str| refused(&of_option(&failure.message, operation, name));
    for parameter in on_command_line(operation) {
        if let Some(value) = value(parameter, given) {
            let failed = |failure| wrong(failure, parameter.name);
            arguments.bind(parameter, value).map_err(failed)?;
        }
    }
    if json && operation.prints == Prints::Passthru {
        arguments.set(operation, "Passthru", true).map_err(|failure| wrong(failure, "Passthru"))?;
    }
    let asked = |flag| operation.cmdlet == CREATES && given.get_flag(flag);
    let then = if asked(ATTACH) { Some(Then::Console) } else { asked(SSH).then_some(Then::Ssh) };
    if then == Some(Then::Ssh) && !BRINGS.iter().any(|name| arguments.has(name)) {
        return Err(refused(
            "--ssh is for a machine with a system that listens for SSH; give --os, --disk or --iso",
        ));
    }
    if then.is_some() {
        arguments.set(operation, "Start", true).map_err(|failure| wrong(failure, "Start"))?;
    }
    Ok(Call { operation, arguments, view: verb.view, json, then })
}

/// What is said of a parameter, with its option.
fn of_option(sentence: &str, operation: &'static Operation, name: &str) -> String {
    let option = for_command_line(&format!("-{name}"), operation);
    sentence.replace(&format!("parameter '{name}'"), &option)
}

/// What the command line gives for a parameter. An empty path or text takes the old one away.
fn value(parameter: &Parameter, given: &ArgMatches) -> Option<Value> {
    match parameter.kind {
        Type::Switch => given.get_flag(parameter.name).then_some(Value::Bool(true)),
        Type::Bool => given.get_one::<bool>(parameter.name).map(|on| Value::Bool(*on)),
        _ if parameter.many => {
            Some(Value::list(given.get_many::<String>(parameter.name)?.map(String::as_str)))
        }
        _ => given.get_one::<String>(parameter.name).map(|text| Value::text(text.as_str())),
    }
}
