//! Static members that need the session: the environment, the console, files, and whose rights a script has.

use super::{Interpreter, automatic, files};
use crate::error::{ErrorRecord, Outcome};
use crate::types::{StaticCall, Type, bytes, static_member, text, to_bytes};
use crate::value::{Object, Value};
use std::io;
use std::rc::Rc;

impl Interpreter<'_> {
    /// `[type]::name` and `[type]::name(arguments)`
    pub(super) fn static_use(
        &mut self,
        target: &Value,
        name: &str,
        arguments: Option<&[Value]>,
    ) -> Outcome<Value> {
        let kind = match target {
            Value::Type(kind) => kind.clone(),
            // `$object::Member` means its type.
            other => Rc::new(crate::types::type_of(other)),
        };
        if let (true, Some(arguments)) = (name.eq_ignore_ascii_case("new"), arguments) {
            return self.construct(&kind, arguments);
        }
        let call = StaticCall { kind: &kind, name, arguments };
        if let Some(found) = static_member(&call)? {
            return Ok(found);
        }
        if let Type::Class(class) = &*kind
            && let Some(found) = self.of_session(class, &call)?
        {
            return Ok(found);
        }
        if arguments.is_none() {
            let message = format!(
                "The property '{name}' cannot be found on this object: [{}] has no such static member here.",
                kind.name()
            );
            return Err(ErrorRecord::runtime("PropertyNotFoundStrict", message).into());
        }
        let message = format!(
            "Method invocation failed because [{}] does not contain a method named '{name}'.",
            kind.full_name()
        );
        Err(ErrorRecord::runtime("MethodNotFound", message).into())
    }

    fn of_session(&mut self, class: &str, call: &StaticCall<'_>) -> Outcome<Option<Value>> {
        let name = call.name.to_ascii_lowercase();
        let arguments = call.arguments.unwrap_or_default();
        match class {
            "System.Environment" => self.environment_member(&name, arguments),
            "System.Console" => self.console_member(&name, arguments),
            "System.IO.Path" => Ok(path_member(&name, arguments)),
            "System.IO.File" => file_member(call, &name, arguments),
            "System.IO.Directory" => directory_member(call, &name, arguments),
            "System.Security.Principal.WindowsIdentity" if name == "getcurrent" => {
                let identity = Object::new("System.Security.Principal.WindowsIdentity")
                    .with("Name", format!("{}\\{}", automatic::host_name(), automatic::user_name()))
                    .with("IsAuthenticated", true)
                    .with("IsSystem", false);
                Ok(Some(identity.into_value()))
            }
            "System.Diagnostics.Process" if name == "start" => {
                // What would start PowerShell anew, as another user.
                let what = arguments.first().map(|value| match value {
                    Value::Object(object) => {
                        object.note("FileName").map_or_else(String::new, |name| text(&name))
                    }
                    other => text(other),
                });
                let message = format!(
                    "'{}' cannot be started as another user from here: run ireko shell as the owner of the store instead.",
                    what.unwrap_or_default()
                );
                Err(ErrorRecord::method(
                    "System.ComponentModel.Win32Exception",
                    "Start",
                    arguments.len(),
                    &message,
                )
                .into())
            }
            "System.Diagnostics.Process" if name == "getcurrentprocess" => Ok(Some(
                Object::new("System.Diagnostics.Process")
                    .with("Id", i64::from(std::process::id()))
                    .with("ProcessName", "ireko")
                    .into_value(),
            )),
            "System.Diagnostics.Stopwatch" if name == "startnew" => {
                Ok(Some(super::construct::stopwatch(true)))
            }
            "System.Net.Dns" if name == "gethostname" => Ok(Some(automatic::host_name().into())),
            "System.Threading.Thread" if name == "sleep" => {
                let span = arguments
                    .first()
                    .and_then(crate::types::number)
                    .map_or(0.0, |number| number.as_f64() / 1000.0);
                crate::cmdlet::wait(self, std::time::Duration::try_from_secs_f64(span).unwrap_or_default())?;
                Ok(Some(Value::Null))
            }
            "System.Runtime.InteropServices.RuntimeInformation" => Ok(match name.as_str() {
                "isosplatform" => Some(
                    arguments.first().is_some_and(|value| text(value).eq_ignore_ascii_case("Linux")).into(),
                ),
                "osdescription" => Some("Linux".into()),
                "frameworkdescription" => Some("ireko".into()),
                _ => None,
            }),
            _ => Ok(None),
        }
    }

    fn environment_member(&mut self, name: &str, arguments: &[Value]) -> Outcome<Option<Value>> {
        let first = arguments.first().map(text).unwrap_or_default();
        Ok(Some(match name {
            "machinename" => automatic::host_name().into(),
            "username" => automatic::user_name().into(),
            "userdomainname" => automatic::host_name().into(),
            "newline" => "\n".into(),
            "processorcount" => std::thread::available_parallelism().map_or(1, usize::from).into(),
            "currentdirectory" => {
                std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default().into()
            }
            "is64bitoperatingsystem" | "is64bitprocess" => true.into(),
            "userinteractive" => self.interactive.into(),
            "processid" => i64::from(std::process::id()).into(),
            "commandline" => std::env::args().collect::<Vec<_>>().join(" ").into(),
            "osversion" => {
                let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
                Object::new("System.OperatingSystem")
                    .with("Platform", "Unix")
                    .with("VersionString", format!("Unix {}", kernel.trim()))
                    .into_value()
            }
            "tickcount" | "tickcount64" => {
                let up = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
                let seconds: f64 = up.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
                Value::int((seconds * 1000.0) as i64)
            }
            "getenvironmentvariable" => super::variable::environment(&first),
            "setenvironmentvariable" => {
                super::variable::set_environment(&first, &first, arguments.get(1).unwrap_or(&Value::Null));
                Value::Null
            }
            "getfolderpath" => {
                let home = text(&super::variable::environment("home"));
                match first.to_ascii_lowercase().as_str() {
                    "desktop" => format!("{home}/Desktop"),
                    "applicationdata" => format!("{home}/.config"),
                    "localapplicationdata" => format!("{home}/.local/share"),
                    _ => home,
                }
                .into()
            }
            "getcommandlineargs" => super::expression::texts(std::env::args()),
            "expandenvironmentvariables" => first.into(),
            "exit" => {
                let code = arguments
                    .first()
                    .and_then(crate::types::number)
                    .and_then(crate::value::Number::as_integer)
                    .unwrap_or(0);
                return Err(crate::error::Flow::Exit(Some(code as i64)));
            }
            _ => return Ok(None),
        }))
    }

    fn console_member(&mut self, name: &str, arguments: &[Value]) -> Outcome<Option<Value>> {
        let said = match arguments {
            [] => String::new(),
            [one] => text(one),
            [pattern, items @ ..] => crate::types::composite(&text(pattern), items)?,
        };
        Ok(Some(match name {
            "writeline" => {
                self.inform(&said, "\n", true)?;
                Value::Null
            }
            "write" => {
                self.inform(&said, "", true)?;
                Value::Null
            }
            "readline" => self.terminal.read_line("").map_or(Value::Null, Value::from),
            "windowwidth" | "bufferwidth" => self.terminal.width().into(),
            "windowheight" => Value::int(50),
            "clear" => {
                self.terminal.clear();
                Value::Null
            }
            "beep" | "resetcolor" => Value::Null,
            "outputencoding" | "inputencoding" => {
                Object::new("System.Text.Encoding").with("WebName", "utf-8").into_value()
            }
            "isoutputredirected" | "isinputredirected" => (!self.terminal.is_screen()).into(),
            _ => return Ok(None),
        }))
    }

    /// `[type]::name = value`
    pub(super) fn set_static(&mut self, target: &Value, name: &str, value: &Value) -> Outcome {
        let class = match target {
            Value::Type(kind) => kind.full_name(),
            other => crate::types::type_name(other),
        };
        match (class.as_str(), name.to_ascii_lowercase().as_str()) {
            ("System.Environment", "currentdirectory") => {
                let path = files::native(&text(value));
                std::env::set_current_dir(&path)
                    .map_err(|error| files::failed("Set-Location", &path, &error))?;
                Ok(())
            }
            ("System.Environment", _) if name.eq_ignore_ascii_case("ExitCode") => {
                self.last_exit_code = crate::types::number(value)
                    .and_then(crate::value::Number::as_integer)
                    .unwrap_or(0) as i64;
                Ok(())
            }
            ("System.Console", "title") => {
                self.terminal.set_title(&crate::characters::printable(&text(value)));
                Ok(())
            }
            ("System.Console", _) | ("System.Net.ServicePointManager", _) => Ok(()),
            _ => {
                let message = format!(
                    "The property '{name}' cannot be found on this object. Verify that the property exists and can be set."
                );
                Err(ErrorRecord::runtime("PropertyNotFound", message).into())
            }
        }
    }
}

fn path_member(name: &str, arguments: &[Value]) -> Option<Value> {
    let said = arguments.first().map(text).unwrap_or_default();
    Some(match name {
        "gettemppath" => "/tmp/".into(),
        "gettempfilename" => {
            let guid = crate::types::Guid::random().ok()?;
            let path = format!("/tmp/tmp{}.tmp", &guid.format("N")?[..8]);
            std::fs::write(&path, "").ok()?;
            path.into()
        }
        "getfullpath" => crate::cmdlet::absolute(&files::native(&said)).into(),
        _ => return None,
    })
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn file_member(call: &StaticCall<'_>, name: &str, arguments: &[Value]) -> Outcome<Option<Value>> {
    let path = files::native(&arguments.first().map(text).unwrap_or_default());
    let second = arguments.get(1).cloned().unwrap_or_default();
    let failed = |error: io::Error| {
        let record = files::failed("", &path, &error);
        ErrorRecord::method(record.exception.cause(), call.name, arguments.len(), record.message())
    };
    let all_lines =
        |value: &Value| value.some_elements().iter().map(|line| text(line) + "\n").collect::<String>();
    let read = || std::fs::read(&path).map(files::decoded);
    let done = |result: io::Result<()>| result.map(|()| Some(Value::Null));
    let result = match name {
        "exists" => return Ok(Some(std::path::Path::new(&path).is_file().into())),
        "readalltext" => read().map(|text| Some(text.into())),
        "readalllines" | "readlines" => read().map(|text| Some(super::expression::texts(lines(&text)))),
        "readallbytes" => std::fs::read(&path).map(|all| Some(bytes(&all))),
        "writealltext" => done(std::fs::write(&path, text(&second))),
        "writealllines" => done(std::fs::write(&path, all_lines(&second))),
        "writeallbytes" => done(std::fs::write(&path, to_bytes(&second))),
        "appendalltext" => done(files::append(&path, &text(&second))),
        "appendalllines" => done(files::append(&path, &all_lines(&second))),
        "delete" => done(match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }),
        "copy" => done(std::fs::copy(&path, files::native(&text(&second))).map(drop)),
        "move" => done(std::fs::rename(&path, files::native(&text(&second)))),
        "getlastwritetime" => std::fs::metadata(&path).and_then(|facts| facts.modified()).map(|time| {
            let seconds = time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            Some(Value::Date(crate::types::DateTime::from_unix(seconds as i64)))
        }),
        _ => return Ok(None),
    };
    Ok(result.map_err(failed)?)
}

fn directory_member(call: &StaticCall<'_>, name: &str, arguments: &[Value]) -> Outcome<Option<Value>> {
    let path = files::native(&arguments.first().map(text).unwrap_or_default());
    let failed = |error: io::Error| {
        let record = files::failed("", &path, &error);
        ErrorRecord::method(record.exception.cause(), call.name, arguments.len(), record.message())
    };
    let entries = |wanted: fn(&std::path::Path) -> bool| -> io::Result<Option<Value>> {
        let mut found: Vec<String> = std::fs::read_dir(&path)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| wanted(path))
            .map(|path| path.display().to_string())
            .collect();
        found.sort();
        Ok(Some(super::expression::texts(found)))
    };
    let result = match name {
        "exists" => return Ok(Some(std::path::Path::new(&path).is_dir().into())),
        "createdirectory" => std::fs::create_dir_all(&path)
            .map(|()| Some(crate::cmdlet::file_object(std::path::Path::new(&path)))),
        "delete" if arguments.get(1).is_some_and(Value::is_true) => {
            std::fs::remove_dir_all(&path).map(|()| Some(Value::Null))
        }
        "delete" => std::fs::remove_dir(&path).map(|()| Some(Value::Null)),
        "getfiles" => entries(std::path::Path::is_file),
        "getdirectories" => entries(std::path::Path::is_dir),
        "getcurrentdirectory" => std::env::current_dir().map(|path| Some(path.display().to_string().into())),
        _ => return Ok(None),
    };
    Ok(result.map_err(failed)?)
}
