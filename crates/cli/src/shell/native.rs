//! Commands that are programs on Windows: their arguments have no dashes.

use super::session::SharedTerminal;
use ireko_manage::{Arguments, Failure, Host};
use ireko_script::bind::{Argument, Bound, Signature, Words};
use ireko_script::error::ErrorRecord;
use ireko_script::host::Command;
use ireko_script::interpret::{Interpreter, Sink, Stage};
use ireko_script::types::text;
use ireko_script::{Outcome, Value};
use std::rc::Rc;

pub struct Native {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub doc: &'static str,
    run: fn(&Host, &SharedTerminal<'_>, &[String]) -> Result<(), ErrorRecord>,
}

pub static NATIVES: [Native; 2] = [
    Native {
        name: "netsh",
        aliases: &["netsh.exe"],
        doc: "netsh interface ip add dnsserver NAME address=ADDRESS: gives a network adapter a DNS server.",
        run: netsh,
    },
    Native {
        name: "vmconnect",
        aliases: &["vmconnect.exe"],
        doc: "vmconnect NAME, or vmconnect localhost NAME: attaches to the console; Ctrl-A X detaches.",
        run: connect,
    },
];

pub fn find(name: &str) -> Option<&'static Native> {
    let fits = |native: &&Native| {
        std::iter::once(&native.name).chain(native.aliases).any(|own| own.eq_ignore_ascii_case(name))
    };
    NATIVES.iter().find(fits)
}

pub struct NativeCommand<'h> {
    pub native: &'static Native,
    pub host: &'h Host,
    pub terminal: Rc<SharedTerminal<'h>>,
}

impl<'h> Command<'h> for NativeCommand<'h> {
    fn signature(&self) -> Rc<Signature> {
        let name = self.native.name;
        Rc::new(Signature {
            name: name.into(),
            class: "".into(),
            parameters: Vec::new(),
            default_set: None,
            loose: true,
            words: Words::Program,
        })
    }

    fn start(&self, _: &mut Interpreter<'_>, bound: Bound) -> Outcome<Box<dyn Stage + 'h>> {
        let (native, host, terminal) = (self.native, self.host, self.terminal.clone());
        Ok(Box::new(Call { native, host, terminal, words: words(&bound.arguments) }))
    }
}

struct Call<'h> {
    native: &'static Native,
    host: &'h Host,
    terminal: Rc<SharedTerminal<'h>>,
    words: Vec<String>,
}

impl Stage for Call<'_> {
    fn process(&mut self, _: &mut Interpreter<'_>, _: Value, _: &mut dyn Sink) -> Outcome {
        Ok(())
    }

    fn end(&mut self, _: &mut Interpreter<'_>, _: &mut dyn Sink) -> Outcome {
        Ok((self.native.run)(self.host, &self.terminal, &self.words)?)
    }
}

/// The arguments as words.
fn words(given: &[Argument]) -> Vec<String> {
    let mut words = Vec::new();
    for one in given {
        match one {
            Argument::Value { value: Value::Number(_), written: Some(written) } => {
                words.push(written.to_string())
            }
            Argument::Value { value, .. } => words.extend(value.elements().iter().map(text)),
            Argument::Named { typed, value, .. } => {
                words.push(format!(
                    "{typed}{}",
                    value.as_ref().map(|(value, _)| text(value)).unwrap_or_default()
                ));
            }
        }
    }
    words
}

fn refuse(name: &str, id: &str, message: impl AsRef<str>) -> ErrorRecord {
    ErrorRecord::cmdlet(name, id, message)
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

fn netsh(host: &Host, _: &SharedTerminal<'_>, words: &[String]) -> Result<(), ErrorRecord> {
    let path: Vec<String> = words.iter().take(4).map(|word| word.to_lowercase()).collect();
    let rest = words.get(4..).unwrap_or_default();
    let known = matches!(
        path.iter().map(String::as_str).collect::<Vec<_>>().as_slice(),
        ["interface" | "int", "ip" | "ipv4", "add", "dnsserver" | "dnsservers" | "dns"]
    );
    let Some(server) = dns_server(rest).filter(|_| known) else {
        let message = format!("This command is not there; the one that is meant to be is: {SYNTAX}");
        return Err(refuse("netsh", "NotSupported", message).in_category("NotImplemented"));
    };
    add_dns_server(host, &server).map_err(|failure| refuse("netsh", "OperationFailed", failure.message))
}

fn connect(host: &Host, terminal: &SharedTerminal<'_>, words: &[String]) -> Result<(), ErrorRecord> {
    let name = match words {
        [name] => name,
        [host, name, ..] if matches!(host.to_lowercase().as_str(), "localhost" | "." | "127.0.0.1") => name,
        [host, _, ..] => {
            let message =
                format!("The consoles of '{host}' cannot be reached from here; use ireko shell there.");
            return Err(refuse("vmconnect", "RemoteNotSupported", message));
        }
        [] => return Err(refuse("vmconnect", "MissingArgument", "Say which: vmconnect NAME.")),
    };
    terminal
        .console(host, name)
        .map_err(|error| refuse("vmconnect", "OperationFailed", format!("{error:#}.")))
}
