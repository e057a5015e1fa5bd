//! Commands that are programs on Windows: their arguments have no dashes.

use super::{Builtin, Call, Words};
use crate::shell::bind::Given;
use crate::shell::fault::{Fault, Flow};
use crate::shell::item::Item;
use crate::shell::session::Session;
use ireko_manage::{Arguments, Failure, Host};

type Items = Result<Vec<Item>, Flow>;

pub static BUILTINS: &[Builtin] = &[
    Builtin {
        name: "netsh",
        aliases: &["netsh.exe"],
        doc: "netsh interface ip add dnsserver NAME address=ADDRESS: gives a network adapter a DNS server.",
        parameters: &[],
        words: Words::Program,
        run: netsh,
    },
    Builtin {
        name: "vmconnect",
        aliases: &["vmconnect.exe"],
        doc: "vmconnect NAME, or vmconnect localhost NAME: attaches to the console; Ctrl-A X detaches.",
        parameters: &[],
        words: Words::Program,
        run: connect,
    },
];

/// The arguments as words.
fn words(given: &[Given]) -> Vec<String> {
    let mut words = Vec::new();
    for one in given {
        match one {
            Given::Value(item) => words.extend(item.clone().elements().iter().map(Item::text)),
            Given::Named { typed, value, .. } => {
                let value = value.as_ref().map(|value| format!(":{}", value.text()));
                words.push(typed.clone() + &value.unwrap_or_default());
            }
        }
    }
    words
}

/// What `netsh interface ip add dnsserver` is told (reference: 2.4).
#[derive(Debug, Default, PartialEq)]
pub struct DnsServer {
    pub name: String,
    pub address: String,
    pub index: Option<String>,
    pub validate: Option<String>,
}

/// `[name=]NAME [address=]ADDRESS [[index=]N] [[validate=]yes|no]`
pub fn dns_server(words: &[String]) -> Option<DnsServer> {
    let mut values: [Option<String>; 4] = Default::default();
    let tags = ["name", "address", "index", "validate"];
    for word in words {
        let tagged = word.split_once('=').and_then(|(tag, value)| {
            let at = tags.iter().position(|own| own.eq_ignore_ascii_case(tag))?;
            Some((at, value))
        });
        let (at, value) = match tagged {
            Some(found) => found,
            None => (values.iter().position(Option::is_none)?, word.as_str()),
        };
        if values[at].replace(value.to_owned()).is_some() {
            return None;
        }
    }
    let [name, address, index, validate] = values;
    Some(DnsServer { name: name?, address: address?, index, validate })
}

/// As the operation of the table does it, behind the servers that are there.
fn add_dns_server(host: &Host, server: &DnsServer) -> Result<(), Failure> {
    let operation = ireko_manage::find("Set-DnsClientServerAddress")
        .ok_or_else(|| Failure::later("DNS servers cannot be set here."))?;
    let mut arguments = Arguments::default();
    arguments.set(operation, "InterfaceAlias", server.name.as_str())?;
    arguments.set(operation, "ServerAddresses", server.address.as_str())?;
    arguments.set(operation, "Append", true)?;
    let mut surface = crate::vm::TerminalSurface::default();
    let mut answer = ireko_manage::invoke(host, operation, &arguments, &mut surface);
    answer.errors.pop().map_or(Ok(()), Err)
}

const SYNTAX: &str =
    "netsh interface ip add dnsserver [name=]NAME [address=]ADDRESS [[index=]N] [[validate=]yes|no]";

fn netsh(session: &mut Session<'_>, call: &Call) -> Items {
    let words = words(&call.given);
    let path: Vec<String> = words.iter().take(4).map(|word| word.to_lowercase()).collect();
    let rest = words.get(4..).unwrap_or_default();
    let known = matches!(
        path.iter().map(String::as_str).collect::<Vec<_>>().as_slice(),
        ["interface" | "int", "ip" | "ipv4", "add", "dnsserver" | "dnsservers" | "dns"]
    );
    let Some(server) = dns_server(rest).filter(|_| known) else {
        let message = format!("This command is not there; the one that is meant to be is: {SYNTAX}");
        return Err(Fault { category: "NotImplemented".into(), ..call.fault("NotSupported", message) }.into());
    };
    match add_dns_server(session.host, &server) {
        Ok(()) => Ok(Vec::new()),
        Err(failure) => Err(call.fault("OperationFailed", failure.message).into()),
    }
}

fn connect(session: &mut Session<'_>, call: &Call) -> Items {
    let words = words(&call.given);
    let name = match words.as_slice() {
        [name] => name,
        [host, name, ..] if matches!(host.to_lowercase().as_str(), "localhost" | "." | "127.0.0.1") => name,
        [host, _, ..] => {
            let message =
                format!("The consoles of '{host}' cannot be reached from here; use ireko shell there.");
            return Err(call.fault("RemoteNotSupported", message).into());
        }
        [] => return Err(call.fault("MissingArgument", "Say which: vmconnect NAME.").into()),
    };
    let host = session.host;
    session
        .terminal
        .console(host, name)
        .map_err(|error| call.fault("OperationFailed", format!("{error:#}.")))?;
    Ok(Vec::new())
}
