//! What the shell brings to the language: the table of operations, and commands that are programs on Windows.

use super::operation::OperationCommand;
use super::session::SharedTerminal;
use super::{enter, help, native, reference, value};
use ireko_manage::{Host, find, operations, view};
use ireko_script::host::{Cell, Command, CommandInfo, Module};
use ireko_script::interpret::{Interpreter, Sink};
use ireko_script::value::EnumType;
use ireko_script::{Outcome, Value};
use std::rc::Rc;

pub struct HyperV<'h> {
    pub host: &'h Host,
    pub terminal: Rc<SharedTerminal<'h>>,
}

impl<'h> Module<'h> for HyperV<'h> {
    fn command(&self, name: &str) -> Option<Rc<dyn Command<'h> + 'h>> {
        if let Some(native) = native::find(name) {
            return Some(Rc::new(native::NativeCommand {
                native,
                host: self.host,
                terminal: self.terminal.clone(),
            }));
        }
        if enter::is_called(name) {
            return Some(Rc::new(enter::Enter { host: self.host, terminal: self.terminal.clone() }));
        }
        let operation = find(name)?;
        Some(Rc::new(OperationCommand { host: self.host, operation, name: name.to_owned() }))
    }

    fn commands(&self) -> Vec<CommandInfo> {
        let of = |name: &str, aliases: &[&str], doc: &str, module: &str| CommandInfo {
            name: name.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            synopsis: doc.to_owned(),
            module: module.to_owned(),
        };
        let all =
            operations().map(|operation| of(operation.cmdlet, operation.aliases, operation.doc, "Hyper-V"));
        let enter = of(enter::NAME, enter::ALIASES, enter::DOC, "Ireko");
        all.chain(native::NATIVES.iter().map(|native| of(native.name, native.aliases, native.doc, "Ireko")))
            .chain([enter])
            .collect()
    }

    fn help(&self, name: &str) -> Option<String> {
        match (find(name), native::find(name)) {
            (Some(operation), _) => Some(help::operation(operation, operation.called(name))),
            (None, Some(native)) => Some(help::native(native)),
            (None, None) if enter::is_called(name) => Some(help::enter()),
            (None, None) => None,
        }
    }

    fn is_called(&self, name: &str) -> bool {
        ["Hyper-V", "NetAdapter", "NetTCPIP", "NetNat", "DnsClient"]
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name))
    }

    fn instead_of(&self, name: &str) -> Option<String> {
        reference::instead_of(name)
    }

    fn run_in(
        &self,
        interpreter: &mut Interpreter<'_>,
        machine: &str,
        (command, words): (&str, &[String]),
        out: &mut dyn Sink,
    ) -> Option<Outcome> {
        Some(super::operation::run_in(self.host, interpreter, machine, (command, words), out))
    }

    fn enumeration(&self, name: &str) -> Option<Rc<EnumType>> {
        value::enumeration(name)
    }

    fn class(&self, name: &str) -> Option<String> {
        value::class(name)
    }

    fn cells(&self, object: &Value) -> Option<Vec<Cell>> {
        let record = value::record(object)?;
        let columns = view::columns(&record);
        let cell = |column: &view::Column| Cell {
            title: column.title.to_owned(),
            text: column.cell(&record),
            is_number: column.is_number(&record),
        };
        (!columns.is_empty()).then(|| columns.iter().map(cell).collect())
    }

    /// The owner of the store may do anything to its machines.
    fn is_administrator(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let own = std::fs::metadata("/proc/self").map(|facts| facts.uid());
        let store = std::fs::metadata(self.host.store.home()).map(|facts| facts.uid());
        match (own, store) {
            (Ok(own), Ok(store)) => own == store || own == 0,
            // A store that is not there yet will be the user's.
            _ => true,
        }
    }
}
