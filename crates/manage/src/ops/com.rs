//! Get- and Set-VMComPort: serial ports as Unix sockets; and Get-VMConsoleLog.

use super::targets::{Ambiguity, VSTD, change, only_off, vms};
use crate::host::Vm;
use crate::operation::parameter::{int, path};
use crate::operation::{
    Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest, Verb, View,
};
use crate::state::State;
use crate::store::Config;
use crate::value::{Kind, Record};
use crate::worker::console_log::{Reader, plain, tail};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

const fn verb(name: &'static str, doc: &'static str) -> Verb {
    Verb { name, doc, view: View::Table, needs_name: true }
}

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Get-VMComPort",
        aliases: &[],
        verbs: &[verb("com-ports", "List serial ports.")],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/com-ports" },
        doc: "Gives the serial ports of virtual machines: COM 1, which is the console, and COM 2.",
        parameters: &[&VSTD, NUMBER],
        prints: Prints::Always,
        result: Some(Kind::VMComPort),
        impact: Impact::None,
        run: get,
    },
    Operation {
        cmdlet: "Set-VMComPort",
        aliases: &[],
        verbs: &[verb("com-set", "Make a serial port a Unix socket.")],
        rest: Rest { method: Method::Patch, route: "/vms/{VMName}/com-ports/{Number}" },
        doc: "Makes a serial port a Unix socket, which its machine makes when it starts; who connects has the other end of the wire, one at a time. COM 2 is there only if it has one.",
        parameters: &[&VSTD, SET],
        prints: Prints::Passthru,
        result: Some(Kind::VMComPort),
        impact: Impact::Change,
        run: |call| change(call, "change a serial port of", set, |vm, _| ports(vm, None)),
    },
    Operation {
        cmdlet: "Get-VMConsoleLog",
        aliases: &[],
        // `ireko vm log` can follow it, too.
        verbs: &[],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/console-log" },
        doc: "Gives what virtual machines have printed on their consoles, as text: the last one to two mebibytes, also of earlier runs.",
        parameters: &[&VSTD, LOG],
        prints: Prints::Always,
        result: Some(Kind::VMConsoleLog),
        impact: Impact::None,
        run: log,
    },
];

const NUMBER: &[Parameter] =
    &[int("Number", 1, 2, "Which port.").at(1).pipe(Pipeline::ByPropertyName).flag("number")];
const SET: &[Parameter] = &[
    int("Number", 1, 2, "Which port.").required().at(1).pipe(Pipeline::ByPropertyName).flag("number"),
    path("Path", "The socket's path; empty, there is none.").at(2).flag("path"),
];
const LOG: &[Parameter] = &[int("Tail", 0, i64::MAX, "Only so many lines, the last.")];

/// A socket's address has room for so many bytes (unix(7)).
const LONGEST: usize = 107;

fn ports(vm: &Vm, wanted: Option<i64>) -> Vec<Record> {
    let port = |(number, path): (i64, &Option<PathBuf>)| {
        Record::new(Kind::VMComPort)
            .with("VMName", vm.config.name.as_str())
            .with("Name", format!("COM {number}"))
            .with("Path", path.as_ref().map(|path| path.display().to_string()).unwrap_or_default())
            .with("Number", number)
            .with("VMId", vm.config.id)
    };
    let all = (1..).zip(&vm.config.com_ports);
    all.filter(|(number, _)| wanted.is_none_or(|wanted| wanted == *number)).map(port).collect()
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Allowed)?;
    for vm in call.host.vms(configs) {
        let records = ports(&vm, call.arguments.int("Number"));
        records.into_iter().for_each(|record| call.give(record));
    }
    Ok(())
}

fn set(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    let path = call.arguments.text("Path").filter(|path| !path.is_empty()).map(socket).transpose()?;
    let number = call.arguments.int("Number").unwrap_or(1).clamp(1, 2) as usize;
    let other = &config.com_ports[2 - number];
    if path.is_some() && *other == path {
        return Err(Failure::invalid(format!("COM {} has that socket already; name another.", 3 - number)));
    }
    if config.com_ports[number - 1] != path {
        only_off(state, &config.name, "What its serial ports are")?;
        config.com_ports[number - 1] = path;
    }
    Ok(())
}

/// A path where a socket can be.
fn socket(path: &str) -> Result<PathBuf, Failure> {
    if path.starts_with(r"\\") {
        let why = format!("'{path}' is a pipe of Windows; give the path of a Unix socket, as /run/vm.com2.");
        return Err(Failure::invalid(why));
    }
    let path = super::disk::absolute(path)?;
    let shown = path.display().to_string();
    let refused = |why: String| Err(Failure::invalid(why).about(&shown));
    if shown.len() > LONGEST {
        return refused(format!(
            "The path '{shown}' is longer than {LONGEST} bytes, which a socket's is not."
        ));
    }
    if !path.parent().is_some_and(std::path::Path::is_dir) {
        return refused(format!("The directory of the socket '{shown}' is not there; make it first."));
    }
    match path.symlink_metadata() {
        Ok(meta) if !meta.file_type().is_socket() => {
            refused(format!("There is something at '{shown}' that is no socket; name another path."))
        }
        _ => Ok(path),
    }
}

fn log(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Allowed)?;
    let lines = call.arguments.int("Tail").map(|lines| lines as usize);
    call.each(configs, |call, config| {
        let bytes = Reader::new(&call.host.store.directory(config.id)).read().map_err(|error| {
            Failure::failed(format!("The console's log of '{}' cannot be read: {error}.", config.name))
                .about(&config.name)
        })?;
        let text = plain(&bytes);
        let text = lines.map_or(text.as_str(), |lines| tail(&text, lines));
        let record = Record::new(Kind::VMConsoleLog)
            .with("VMName", config.name.as_str())
            .with("Text", text)
            .with("VMId", config.id);
        call.give(record);
        Ok(())
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::ops::tests::World;
    use crate::value::Value;

    fn set(world: &World, number: i64, path: Value) -> String {
        let given = [("VMName", "vm".into()), ("Number", Value::Int(number)), ("Path", path)];
        world.error("Set-VMComPort", &given)
    }

    #[test]
    fn a_serial_port_gets_a_socket_and_loses_it() {
        let world = World::with(&["vm"]);
        let path = world.host.store.home().join("com2").display().to_string();
        assert_eq!(set(&world, 2, path.as_str().into()), "");
        let ports = world.ok("Get-VMComPort", &[("VMName", "vm".into())]).records;
        let paths: Vec<_> = ports.iter().map(|port| port.property("Path").unwrap().to_string()).collect();
        assert_eq!(paths, [String::new(), path.clone()]);
        assert!(set(&world, 1, path.as_str().into()).contains("COM 2 has that socket"));
        assert_eq!(set(&world, 2, Value::Null), "");
        assert_eq!(set(&world, 1, path.as_str().into()), "");
    }

    #[test]
    fn where_no_socket_can_be_is_refused() {
        let world = World::with(&["vm"]);
        assert!(set(&world, 1, r"\\.\pipe\debug".into()).contains("pipe of Windows"));
        assert!(set(&world, 1, "/dev/null".into()).contains("no socket"));
        assert!(set(&world, 1, "/no/such/place/com".into()).contains("make it first"));
        assert!(set(&world, 1, format!("/tmp/{}", "x".repeat(120)).as_str().into()).contains("107 bytes"));
    }

    #[test]
    fn the_log_of_a_console_outlives_the_machine() {
        let world = World::with(&["vm"]);
        let name = || ("Name", Value::text("vm"));
        for _ in 0..2 {
            world.ok("Start-VM", &[name()]);
            world.ok("Stop-VM", &[name(), ("TurnOff", true.into())]);
        }
        let text = world.property("Get-VMConsoleLog", "Text");
        assert_eq!(
            (text.matches("[ireko: started at ").count(), text.matches("boot").count()),
            (2, 2),
            "{text}"
        );
        let last = world.ok("Get-VMConsoleLog", &[("VMName", "vm".into()), ("Tail", Value::Int(1))]);
        assert_eq!(last.records[0].property("Text").unwrap().to_string().trim(), "boot");
    }
}
