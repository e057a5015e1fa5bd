//! Variables that are there without anybody having set them (about_Automatic_Variables, about_Preference_Variables).

use super::Interpreter;
use crate::types::Version;
use crate::value::{Map, MapKind, Object, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

const CONSTANTS: [&str; 12] = [
    "true",
    "false",
    "null",
    "?",
    "error",
    "pid",
    "home",
    "host",
    "psversiontable",
    "islinux",
    "iswindows",
    "ismacos",
];

pub fn is_constant(name: &str) -> bool {
    CONSTANTS.contains(&name)
}

/// What no scope may have.
pub fn constant(interpreter: &mut Interpreter<'_>, name: &str) -> Option<Value> {
    Some(match name {
        "true" => true.into(),
        "false" => false.into(),
        "null" => Value::Null,
        "?" => interpreter.fine.into(),
        "error" => Value::Array(interpreter.errors.clone()),
        "psitem" => return interpreter.context.scope.find("_"),
        _ => return None,
    })
}

/// What is there if nobody has set it.
pub fn value(interpreter: &mut Interpreter<'_>, name: &str) -> Option<Value> {
    Some(match name {
        "home" => super::variable::environment("home"),
        "pid" => Value::from(i64::from(std::process::id())),
        "pwd" => {
            let path = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
            Object::new("System.Management.Automation.PathInfo")
                .with("Path", path.as_str())
                .with("ProviderPath", path.as_str())
                .shown_as(&path)
                .into_value()
        }
        "erroractionpreference" | "warningpreference" | "progresspreference" => "Continue".into(),
        "verbosepreference" | "debugpreference" | "informationpreference" => "SilentlyContinue".into(),
        "confirmpreference" => "High".into(),
        "whatifpreference" => false.into(),
        "formatenumerationlimit" => Value::int(4),
        "maximumhistorycount" => Value::int(4096),
        "ofs" => return None,
        "islinux" => true.into(),
        "iswindows" | "ismacos" | "iscoreclr" => (name == "iscoreclr").into(),
        "psedition" => "Core".into(),
        "psculture" | "psuiculture" => "en-US".into(),
        "lastexitcode" => Value::int(interpreter.last_exit_code),
        "psversiontable" => version_table(),
        "host" => host_object(interpreter),
        "shellid" => "Microsoft.PowerShell".into(),
        "pshome" => std::env::current_exe()
            .ok()
            .and_then(|path| Some(path.parent()?.display().to_string()))
            .unwrap_or_default()
            .into(),
        "profile" | "nestedpromptlevel" => {
            if name == "profile" {
                "".into()
            } else {
                Value::int(0)
            }
        }
        "psscriptroot" => script_path(interpreter).map_or("".into(), |path| {
            let folder = std::path::Path::new(&path)
                .parent()
                .map(|folder| folder.display().to_string())
                .unwrap_or_default();
            folder.into()
        }),
        "pscommandpath" => script_path(interpreter).unwrap_or_default().into(),
        "myinvocation" => invocation(interpreter),
        "psboundparameters" => Value::Map(Rc::new(Map::new(MapKind::Hashtable))),
        "args" | "input" => Value::array(Vec::new()),
        "pscmdlet" => return None,
        _ => return None,
    })
}

fn version_table() -> Value {
    let map = Map::new(MapKind::Hashtable);
    map.set("PSVersion".into(), Value::Version(Version::of(&[5, 1, 0])));
    map.set("PSEdition".into(), "Ireko".into());
    map.set("IrekoVersion".into(), env!("CARGO_PKG_VERSION").into());
    map.set("OS".into(), "Linux".into());
    map.set("Platform".into(), "Unix".into());
    let compatible =
        ["3.0", "4.0", "5.0", "5.1"].into_iter().filter_map(Version::parse).map(Value::Version).collect();
    map.set("PSCompatibleVersions".into(), Value::array(compatible));
    Value::Map(Rc::new(map))
}

pub const RAW_UI: &str = "System.Management.Automation.Internal.Host.InternalHostRawUserInterface";

/// The same object every time, so that what is set in it stays.
fn host_object(interpreter: &mut Interpreter<'_>) -> Value {
    if let Some(host) = &interpreter.host_object {
        return host.clone();
    }
    let width = interpreter.terminal.width();
    let size = || {
        Object::new("System.Management.Automation.Host.Size")
            .with("Width", width)
            .with("Height", 50usize)
            .shown_as(&format!("{width},50"))
            .into_value()
    };
    let raw = Object::new(RAW_UI)
        .with("ForegroundColor", "Gray")
        .with("BackgroundColor", "Black")
        .with("WindowTitle", "ireko")
        .with("WindowSize", size())
        .with("BufferSize", size())
        .with("CursorPosition", Value::Null)
        .into_value();
    let ui = Object::new("System.Management.Automation.Internal.Host.InternalHostUserInterface")
        .with("RawUI", raw)
        .into_value();
    let host = Object::new("System.Management.Automation.Internal.Host.InternalHost")
        .with("Name", "ireko")
        .with("Version", Value::Version(Version::of(&[5, 1, 0])))
        .with("UI", ui)
        .with("CurrentCulture", "en-US")
        .with("CurrentUICulture", "en-US")
        .into_value();
    interpreter.host_object = Some(host.clone());
    host
}

/// Where the innermost script file lies.
pub fn script_path(interpreter: &Interpreter<'_>) -> Option<String> {
    let source = interpreter.source()?;
    if source.path.is_empty() {
        return None;
    }
    let path = std::fs::canonicalize(&source.path).map(|path| path.display().to_string());
    Some(path.unwrap_or_else(|_| source.path.clone()))
}

fn invocation(interpreter: &mut Interpreter<'_>) -> Value {
    let running = interpreter.context.scope.running.clone();
    let bound = interpreter.context.scope.own("psboundparameters").map_or(Value::Null, |slot| slot.value);
    let unbound = interpreter.context.scope.own("args").map_or(Value::Null, |slot| slot.value);
    let path = script_path(interpreter);
    let (name, line, is_function) = match &running {
        Some(running) => (running.name.to_string(), running.line.to_string(), running.is_function),
        None => Default::default(),
    };
    let text = running.as_ref().map(|running| running.closure.block.text().to_owned()).unwrap_or_default();
    let command = match (&path, is_function) {
        (Some(path), false) => {
            let file = path.rsplit('/').next().unwrap_or_default().to_owned();
            Object::new("System.Management.Automation.ExternalScriptInfo")
                .with("Name", file.as_str())
                .with("Path", path.as_str())
                .with("Definition", path.as_str())
                .with("Source", path.as_str())
                .with("CommandType", "ExternalScript")
                .shown_as(&file)
        }
        _ => {
            let kind = if is_function { "Function" } else { "Script" };
            Object::new("System.Management.Automation.FunctionInfo")
                .with("Name", name.as_str())
                .with("Definition", text)
                .with("CommandType", kind)
                .shown_as(&name)
        }
    };
    Object::new("System.Management.Automation.InvocationInfo")
        .with("MyCommand", command.into_value())
        .with("BoundParameters", bound)
        .with("UnboundArguments", unbound)
        .with(
            "InvocationName",
            running.as_ref().map_or(Value::Null, |running| Value::Text(running.invocation.clone())),
        )
        .with("Line", line)
        .with(
            "PSScriptRoot",
            path.as_ref().and_then(|path| Some(path.rsplit_once('/')?.0.to_owned())).unwrap_or_default(),
        )
        .with("PSCommandPath", path.unwrap_or_default())
        .into_value()
}

type Changed = BTreeMap<String, (String, Option<String>)>;

thread_local! {
    /// What scripts have made of the environment: the name as it is written, and its value.
    static ENVIRONMENT: RefCell<Changed> = const { RefCell::new(BTreeMap::new()) };
}

pub fn own_environment(name: &str) -> Option<Value> {
    let found = ENVIRONMENT.with_borrow(|all| all.get(&name.to_ascii_lowercase()).cloned())?;
    Some(found.1.map_or(Value::Null, Value::from))
}

pub fn note_environment(name: &str, written: &str, value: Option<String>) {
    // A name that is there keeps its case.
    let own = std::env::vars_os().find(|(own, _)| own.to_string_lossy().eq_ignore_ascii_case(name));
    let written = own.map_or_else(|| written.to_owned(), |(own, _)| own.to_string_lossy().into_owned());
    ENVIRONMENT.with_borrow_mut(|all| all.insert(name.to_ascii_lowercase(), (written, value)));
}

/// For programs that are started.
pub fn changed_environment() -> Vec<(String, Option<String>)> {
    ENVIRONMENT.with_borrow(|all| all.values().cloned().collect())
}

/// All of it, in order of names.
pub fn whole_environment() -> Vec<(String, String)> {
    let mut all: BTreeMap<String, String> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    for (name, value) in changed_environment() {
        match value {
            Some(value) => all.insert(name, value),
            None => all.remove(&name),
        };
    }
    all.into_iter().collect()
}

pub fn host_name() -> String {
    let read = |path: &str| {
        std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname")).unwrap_or_else(|| "localhost".into())
}

pub fn user_name() -> String {
    let named = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    named.or_else(user_of_process).unwrap_or_else(|| "root".into())
}

/// By the owner of our own process and the system's list of users.
fn user_of_process() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let id = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    })
}
