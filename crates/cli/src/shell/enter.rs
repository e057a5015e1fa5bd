//! Enter-PSSession -VMName: a shell in a virtual machine, on this terminal.

use super::session::SharedTerminal;
use crate::vm::ssh::Session;
use ireko_manage::Host;
use ireko_script::bind::{Bound, Signature, Words, common_parameters, parameters};
use ireko_script::error::ErrorRecord;
use ireko_script::host::Command;
use ireko_script::interpret::{Interpreter, Sink, Stage};
use ireko_script::types::text;
use ireko_script::{Outcome, Value};
use std::rc::Rc;

pub const NAME: &str = "Enter-PSSession";
pub const ALIASES: &[&str] = &["etsn"];
pub const DOC: &str = "Opens a shell in a virtual machine on this terminal, by SSH over its socket device: as `ireko vm ssh` does. Its exit code is $LASTEXITCODE.";

/// Seconds for a system that starts to listen.
const PATIENCE: u64 = 60;

const PARAMETERS: &str = "\
VMName:string@1 The virtual machine.
VMId:any The same by its id.
Credential:any Who logs in; without it who was named when the virtual machine was made. SSH asks for the password itself.
ComputerName/Cn:string@0 Not here.
Session:any Not here.
HostName:string Not here.";

pub fn is_called(name: &str) -> bool {
    std::iter::once(&NAME).chain(ALIASES).any(|own| own.eq_ignore_ascii_case(name))
}

pub struct Enter<'h> {
    pub host: &'h Host,
    pub terminal: Rc<SharedTerminal<'h>>,
}

impl<'h> Command<'h> for Enter<'h> {
    fn signature(&self) -> Rc<Signature> {
        let mut all = parameters(PARAMETERS);
        all.extend(common_parameters());
        Rc::new(Signature {
            name: NAME.into(),
            class: "Microsoft.PowerShell.Commands.EnterPSSessionCommand".into(),
            parameters: all,
            default_set: None,
            loose: false,
            words: Words::Parameters,
        })
    }

    fn start(&self, _: &mut Interpreter<'_>, bound: Bound) -> Outcome<Box<dyn Stage + 'h>> {
        Ok(Box::new(Entering { host: self.host, terminal: self.terminal.clone(), bound }))
    }
}

struct Entering<'h> {
    host: &'h Host,
    terminal: Rc<SharedTerminal<'h>>,
    bound: Bound,
}

impl Entering<'_> {
    fn machine(&self) -> Result<String, ErrorRecord> {
        let named = self.bound.text("VMName").or_else(|| self.bound.text("VMId"));
        if let Some(name) = named.filter(|name| !name.is_empty()) {
            return Ok(name);
        }
        for other in ["ComputerName", "HostName", "Session"] {
            if let Some(name) = self.bound.text(other) {
                let message = format!(
                    "Sessions on other computers are not there: log in to '{name}' and use its own ireko shell; -VMName enters a virtual machine."
                );
                return Err(self.bound.refuse("RemoteNotSupported", message));
            }
        }
        Err(self.bound.refuse("MissingArgument", "Say which virtual machine: Enter-PSSession -VMName NAME."))
    }

    /// Of what Get-Credential gives, or of a name.
    fn user(&self) -> Option<String> {
        let credential = self.bound.item("Credential")?;
        let named = match credential {
            Value::Object(object) => object.note("UserName").map(|name| text(&name)),
            other => Some(text(other)),
        };
        named.filter(|name| !name.is_empty())
    }
}

impl Stage for Entering<'_> {
    fn process(&mut self, _: &mut Interpreter<'_>, _: Value, _: &mut dyn Sink) -> Outcome {
        Ok(())
    }

    fn end(&mut self, interpreter: &mut Interpreter<'_>, _: &mut dyn Sink) -> Outcome {
        let name = self.machine()?;
        let session = Session { name, user: self.user(), wait: PATIENCE, command: Vec::new() };
        let code = self
            .terminal
            .enter(self.host, &session)
            .map_err(|error| self.bound.refuse("OperationFailed", format!("{error:#}.")))?;
        interpreter.last_exit_code = code.into();
        interpreter.fine &= code == 0;
        Ok(())
    }
}
