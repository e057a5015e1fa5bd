//! The session: variables, aliases, modules, expressions of text, objects of types.

use super::stages::{each, once};
use super::{Cmdlet, files};
use crate::bind::{Argument, Bound};
use crate::error::{ErrorRecord, Outcome};
use crate::interpret::{Called, Interpreter, Sink, wildcard, with_properties};
use crate::scope::{Frozen, Scope, Slot};
use crate::syntax::Case;
use crate::types::text;
use crate::value::{Closure, Object, Value};
use std::rc::Rc;

/// Of those that give a command another name.
const ALIAS: &str = "\
Name:string@0! The other name.
Value:string@1! The command.
Scope:any Accepted.
Option:string Accepted.
Force:switch Accepted.";

/// The text of a script block as a command line of another system.
fn in_machines(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    let Some(Value::Block(closure)) = bound.item("ScriptBlock").cloned() else {
        return Err(bound.refuse("MissingMandatoryParameter", "Say what to run: -ScriptBlock { … }.").into());
    };
    let command = closure.block.text();
    let words = bound.texts("ArgumentList");
    for machine in bound.texts("VMName").into_iter().chain(bound.texts("VMId")) {
        let modules = interpreter.modules.clone();
        let ran = modules
            .iter()
            .find_map(|module| module.run_in(interpreter, &machine, (command.trim(), &words), out));
        ran.unwrap_or_else(|| {
            let message = "There are no virtual machines here.";
            Err(bound.refuse("NotSupported", message).in_category("NotImplemented").into())
        })?;
    }
    Ok(())
}

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Get-Variable",
        aliases: &["gv"],
        synopsis: "Gives variables.",
        parameters: "\
Name:string[]@0 Names; wildcards count.
ValueOnly:switch Only what they hold.
Scope:any Global, Script, Local, or how many scopes outwards.",
        make: |_, bound| once(bound, variables),
    },
    Cmdlet {
        name: "Set-Variable",
        aliases: &["sv", "set"],
        synopsis: "Sets a variable.",
        parameters: "\
Name:string[]@0! Its name.
Value:any@1 What it shall hold.
Scope:any Global, Script, Local, or how many scopes outwards.
Option:string ReadOnly or Constant.
Description:string Accepted.
Force:switch Also if it is read-only.
PassThru:switch Gives the variable.",
        make: |_, bound| once(bound, |interpreter, bound, out| set(interpreter, bound, false, out)),
    },
    Cmdlet {
        name: "New-Variable",
        aliases: &["nv"],
        synopsis: "Makes a variable.",
        parameters: "\
Name:string[]@0! Its name.
Value:any@1 What it shall hold.
Scope:any Global, Script, Local, or how many scopes outwards.
Option:string ReadOnly or Constant.
Description:string Accepted.
Force:switch Also if it is there.
PassThru:switch Gives the variable.",
        make: |_, bound| once(bound, |interpreter, bound, out| set(interpreter, bound, true, out)),
    },
    Cmdlet {
        name: "Clear-Variable",
        aliases: &["clv"],
        synopsis: "Empties variables.",
        parameters: "Name:string[]@0! Their names.",
        make: |_, bound| {
            once(bound, |interpreter, bound, _| {
                let scope = interpreter.context.scope.clone();
                bound
                    .texts("Name")
                    .iter()
                    .try_for_each(|name| interpreter.set_in(&scope, &name.to_lowercase(), Value::Null))
            })
        },
    },
    Cmdlet {
        name: "Remove-Variable",
        aliases: &["rv"],
        synopsis: "Takes variables away.",
        parameters: "\
Name:string[]@0! Their names.
Scope:any Global, Script, Local, or how many scopes outwards.
Force:switch Also if they are read-only.",
        make: |_, bound| {
            once(bound, |interpreter, bound, _| {
                for name in bound.texts("Name") {
                    let scope = scope(interpreter, bound)?;
                    let holder = scope.holder(&name.to_lowercase());
                    if holder.and_then(|holder| holder.forget(&name.to_lowercase())).is_none() {
                        interpreter.report(unknown(bound, &name))?;
                    }
                }
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "Set-Alias",
        aliases: &["sal"],
        synopsis: "Gives a command another name.",
        parameters: ALIAS,
        make: |_, bound| once(bound, alias),
    },
    Cmdlet {
        name: "New-Alias",
        aliases: &["nal"],
        synopsis: "Gives a command another name.",
        parameters: ALIAS,
        make: |_, bound| once(bound, alias),
    },
    Cmdlet {
        name: "Import-Module",
        aliases: &["ipmo"],
        synopsis: "Takes in a module: Hyper-V, or a file .psm1 or .psd1.",
        parameters: "\
Name:any[]@0! Names or files.
Force:switch Once more.
PassThru:switch Gives the module.
Global:switch Accepted.
DisableNameChecking:switch Accepted.
Prefix:string Accepted.
MinimumVersion/Version:any Accepted.
RequiredVersion:any Accepted.
Function:string[] Accepted.
Cmdlet:string[] Accepted.
SkipEditionCheck:switch Accepted.",
        make: |_, bound| once(bound, import),
    },
    Cmdlet {
        name: "Remove-Module",
        aliases: &["rmo"],
        synopsis: "Forgets a module.",
        parameters: "\
Name:string[]@0!< Names.
Force:switch Accepted.",
        make: |_, bound| {
            once(bound, |interpreter, bound, _| {
                let names = bound.texts("Name");
                interpreter.imported.retain(|own| !names.iter().any(|name| name.eq_ignore_ascii_case(own)));
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "Get-Module",
        aliases: &["gmo"],
        synopsis: "Lists modules.",
        parameters: "\
Name:string[]@0 Names; wildcards count.
ListAvailable:switch Those that could be taken in.
All:switch Accepted.",
        make: |_, bound| {
            once(bound, |interpreter, bound, out| {
                let names = bound.texts("Name");
                let mut known = vec!["Hyper-V".to_owned()];
                known.retain(|name| interpreter.has_module(name));
                known.extend(interpreter.imported.clone());
                for own in known {
                    if names.is_empty() || names.iter().any(|name| wildcard(name, &own, Case::Ignored)) {
                        let module = Object::new("System.Management.Automation.PSModuleInfo")
                            .with("ModuleType", "Script")
                            .with("Version", env!("CARGO_PKG_VERSION"))
                            .with("Name", own.as_str())
                            .shown_as(&own);
                        out.put(interpreter, module.into_value())?;
                    }
                }
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "Export-ModuleMember",
        aliases: &[],
        synopsis: "Accepted: of a module all functions are seen.",
        parameters: "\
Function:string[]@0 Accepted.
Variable:string[] Accepted.
Alias:string[] Accepted.
Cmdlet:string[] Accepted.",
        make: |_, bound| once(bound, |_, _, _| Ok(())),
    },
    Cmdlet {
        name: "Invoke-Expression",
        aliases: &["iex"],
        synopsis: "Runs text as a script.",
        parameters: "Command:string@0!< The text.",
        make: |_, bound| {
            each(bound, "Command", |interpreter, _, item, out| {
                let block = crate::parse::script(&text(&item), "")
                    .map_err(|error| ErrorRecord { ends_script: false, ..ErrorRecord::parsing(&error) })?;
                let closure = Rc::new(Closure { block, scope: None });
                let called = Called {
                    name: "".into(),
                    closure,
                    is_function: false,
                    dotted: true,
                    is_file: false,
                    line: "".into(),
                };
                interpreter.run_block(called, Vec::new(), out)
            })
        },
    },
    Cmdlet {
        name: "Invoke-Command",
        aliases: &["icm"],
        synopsis: "Runs a script block here, or its text as a command line in virtual machines (-VMName).",
        parameters: "\
ScriptBlock:block@0! The script block.
ArgumentList/Args:any[] Its arguments.
ComputerName/Cn:string[] Only this host: localhost or a dot.
Credential:any Accepted for this host.
NoNewScope:switch In the scope that is there.
VMName:string[] In these virtual machines: the block's text is a command line of their system's shell.
VMId:any[] The same by id.
Session:any Not here.
InputObject:any< What is $input.",
        make: |_, bound| {
            once(bound, |interpreter, bound, out| {
                if bound.has("Session") {
                    let message = "-Session is not there: -VMName runs a command in a virtual machine.";
                    return Err(bound.refuse("NotSupported", message).in_category("NotImplemented").into());
                }
                if bound.has("VMName") || bound.has("VMId") {
                    return in_machines(interpreter, bound, out);
                }
                let own = crate::interpret::host_name();
                if let Some(other) = bound.texts("ComputerName").into_iter().find(|name| {
                    !["localhost", ".", "127.0.0.1", own.as_str()]
                        .iter()
                        .any(|own| own.eq_ignore_ascii_case(name))
                }) {
                    let message = format!(
                        "Other hosts cannot be reached from here: log in to '{other}' and use its own ireko shell."
                    );
                    return Err(bound.refuse("RemoteNotSupported", message).into());
                }
                let Some(Value::Block(closure)) = bound.item("ScriptBlock").cloned() else {
                    return Err(bound
                        .refuse("MissingMandatoryParameter", "Say what to run: -ScriptBlock { … }.")
                        .into());
                };
                let arguments = bound
                    .items("ArgumentList")
                    .into_iter()
                    .map(|value| Argument::Value { value, written: None })
                    .collect();
                let called = Called {
                    name: "".into(),
                    closure,
                    is_function: false,
                    dotted: bound.switch("NoNewScope"),
                    is_file: false,
                    line: "".into(),
                };
                interpreter.run_block(called, arguments, out)
            })
        },
    },
    Cmdlet {
        name: "New-Object",
        aliases: &[],
        synopsis: "Makes an object of a type.",
        parameters: "\
TypeName:string@0 The type.
ArgumentList/Args:any[]@1+ What it is made of.
Property:hash Properties that it gets.
ComObject:string Not here.
Strict:switch Accepted.",
        make: |_, bound| once(bound, new_object),
    },
    Cmdlet {
        name: "Set-StrictMode",
        aliases: &[],
        synopsis: "Accepted: what is not set stays empty.",
        parameters: "\
Version:any The version.
Off:switch No strictness.",
        make: |_, bound| once(bound, |_, _, _| Ok(())),
    },
    Cmdlet {
        name: "Set-ExecutionPolicy",
        aliases: &[],
        synopsis: "Accepted: scripts always run.",
        parameters: "\
ExecutionPolicy:string@0 Accepted.
Scope:string@1 Accepted.
Force:switch Accepted.",
        make: |_, bound| once(bound, |_, _, _| Ok(())),
    },
    Cmdlet {
        name: "Get-ExecutionPolicy",
        aliases: &[],
        synopsis: "Says that scripts always run.",
        parameters: "\
Scope:string@0 Accepted.
List:switch Accepted.",
        make: |_, bound| once(bound, |interpreter, _, out| out.put(interpreter, "Unrestricted".into())),
    },
    Cmdlet {
        name: "Get-Host",
        aliases: &[],
        synopsis: "Gives $Host.",
        parameters: "",
        make: |_, bound| {
            once(bound, |interpreter, _, out| {
                let host = interpreter.named("host");
                out.put(interpreter, host)
            })
        },
    },
    Cmdlet {
        name: "hostname",
        aliases: &[],
        synopsis: "Gives this host's name.",
        parameters: "",
        make: |_, bound| {
            once(bound, |interpreter, _, out| {
                interpreter.last_exit_code = 0;
                out.put(interpreter, crate::interpret::host_name().into())
            })
        },
    },
];

fn unknown(bound: &Bound, name: &str) -> ErrorRecord {
    let message = format!("Cannot find a variable with the name '{name}'.");
    let record =
        bound.refuse("VariableNotFound", message).in_category("ObjectNotFound").about(Value::text(name));
    record.of_type("System.Management.Automation.ItemNotFoundException")
}

fn scope(interpreter: &Interpreter<'_>, bound: &Bound) -> Outcome<Rc<Scope>> {
    let own = interpreter.context.scope.clone();
    let Some(said) = bound.text("Scope") else { return Ok(own) };
    Ok(match said.to_ascii_lowercase().as_str() {
        "global" => own.outermost(),
        "script" => own.script(),
        "local" | "private" => own,
        number => {
            let Ok(outwards) = number.parse::<usize>() else {
                return Err(bound
                    .refuse(
                        "InvalidScope",
                        format!("There is no scope '{said}': it is Global, Script, Local or a number."),
                    )
                    .into());
            };
            let mut scope = own;
            for _ in 0..outwards {
                scope = scope.parent.clone().unwrap_or(scope);
            }
            scope
        }
    })
}

fn variables(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    let patterns = bound.texts("Name");
    let start = scope(interpreter, bound)?;
    let mut found: Vec<(String, Value)> = Vec::new();
    let mut at = Some(start);
    while let Some(scope) = at {
        for name in scope.names() {
            let wanted =
                patterns.is_empty() || patterns.iter().any(|pattern| wildcard(pattern, &name, Case::Ignored));
            if wanted && !found.iter().any(|(own, _)| **own == *name) {
                let value = scope.own(&name).map(|slot| slot.value).unwrap_or_default();
                found.push((name.to_string(), value));
            }
        }
        at = if bound.has("Scope") { None } else { scope.parent.clone() };
    }
    for pattern in patterns.iter().filter(|pattern| !pattern.contains(['*', '?', '['])) {
        if found.iter().any(|(own, _)| own.eq_ignore_ascii_case(pattern)) {
            continue;
        }
        let variable = crate::syntax::Variable {
            scope: None,
            name: pattern.to_lowercase().into(),
            written: pattern.as_str().into(),
        };
        if interpreter.is_set(&variable) {
            let value = interpreter.named(&pattern.to_lowercase());
            found.push((pattern.clone(), value));
        } else {
            interpreter.report(unknown(bound, pattern))?;
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    for (name, value) in found {
        if bound.switch("ValueOnly") {
            interpreter.put_each(&value, out)?;
        } else {
            // As the caller wrote it.
            let name =
                patterns.iter().find(|pattern| pattern.eq_ignore_ascii_case(&name)).cloned().unwrap_or(name);
            out.put(
                interpreter,
                Object::new("System.Management.Automation.PSVariable")
                    .with("Name", name)
                    .with("Value", value)
                    .into_value(),
            )?;
        }
    }
    Ok(())
}

fn set(interpreter: &mut Interpreter<'_>, bound: &Bound, new: bool, out: &mut dyn Sink) -> Outcome {
    let value = bound.item("Value").cloned().unwrap_or_default();
    let option = bound.text("Option").unwrap_or_default().to_ascii_lowercase();
    let scope = scope(interpreter, bound)?;
    for name in bound.texts("Name") {
        let key = name.to_lowercase();
        let own = scope.own(&key);
        if new && own.is_some() && !bound.switch("Force") {
            let message = format!("A variable with name '{name}' already exists.");
            interpreter.report(
                bound
                    .refuse("VariableAlreadyExists", message)
                    .in_category("ResourceExists")
                    .about(Value::text(&name)),
            )?;
            continue;
        }
        let frozen = match option.as_str() {
            "constant" => Frozen::Constant,
            "readonly" => Frozen::ReadOnly,
            _ => Frozen::No,
        };
        let forced =
            bound.switch("Force") && own.as_ref().is_some_and(|slot| slot.frozen == Frozen::ReadOnly);
        if frozen != Frozen::No || new || forced {
            scope.put(&key, Slot { value: value.clone(), frozen, ..Slot::default() });
        } else {
            interpreter.set_in(&scope, &key, value.clone())?;
        }
        if bound.switch("PassThru") {
            out.put(
                interpreter,
                Object::new("System.Management.Automation.PSVariable")
                    .with("Name", name)
                    .with("Value", value.clone())
                    .into_value(),
            )?;
        }
    }
    Ok(())
}

fn alias(interpreter: &mut Interpreter<'_>, bound: &Bound, _: &mut dyn Sink) -> Outcome {
    let name = bound.text("Name").unwrap_or_default();
    interpreter.context.scope.set_alias(&name, &bound.text("Value").unwrap_or_default());
    Ok(())
}

fn import(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    for name in bound.texts("Name") {
        if interpreter.has_module(&name) {
            continue;
        }
        let path = ["", ".psm1", ".psd1"]
            .iter()
            .map(|ending| format!("{}{ending}", files::path(&name)))
            .find(|path| std::path::Path::new(path).is_file())
            .map(std::path::PathBuf::from);
        let Some(path) = path else {
            let message = format!(
                "The specified module '{name}' was not loaded because no valid module file was found in any module directory."
            );
            let record = bound
                .refuse("Modules_ModuleNotFound", message)
                .in_category("ResourceUnavailable")
                .about(Value::text(&name));
            interpreter.report(record.of_type("System.IO.FileNotFoundException"))?;
            continue;
        };
        module(interpreter, &path, out)?;
        let shown = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if !interpreter.imported.contains(&shown) {
            interpreter.imported.push(shown);
        }
    }
    Ok(())
}

/// A module's file runs in a scope of its own; its functions are seen from then on.
fn module(interpreter: &mut Interpreter<'_>, path: &std::path::Path, out: &mut dyn Sink) -> Outcome {
    let script = interpreter.load(path)?;
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("psd1")) {
        let closure = Rc::new(Closure { block: script, scope: None });
        let manifest = Value::of(interpreter.invoke_block(&closure, Vec::new())?);
        let root = interpreter.member(&manifest, "RootModule")?;
        let root = if root.is_null() { interpreter.member(&manifest, "ModuleToProcess")? } else { root };
        if !root.is_null() {
            return module(interpreter, &path.with_file_name(files::path(&text(&root))), out);
        }
        return Ok(());
    }
    interpreter.require(&script)?;
    let closure = Rc::new(Closure { block: script.clone(), scope: None });
    let running = crate::scope::Running {
        name: path.display().to_string().into(),
        closure,
        line: "".into(),
        is_function: false,
        invocation: "".into(),
    };
    let global = interpreter.context.scope.outermost();
    let scope = Scope::within(&global, true, Some(running));
    let context = interpreter.context.in_scope(scope.clone()).of_source(&script.source);
    let Some(body) = script.end.clone() else { return Ok(()) };
    let result = interpreter.within(context, |interpreter| interpreter.statements(&body, out));
    for function in scope.own_functions() {
        global.define(&function.name.clone(), function);
    }
    for (name, to) in scope.own_aliases() {
        global.set_alias(&name, &to);
    }
    match result {
        Err(crate::error::Flow::Return) => Ok(()),
        other => other,
    }
}

fn new_object(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    if let Some(name) = bound.text("ComObject") {
        let message = format!("COM objects like '{name}' are Windows' own and cannot be made here.");
        return Err(bound.refuse("ComObjectNotSupported", message).in_category("NotImplemented").into());
    }
    let name = bound.text("TypeName").unwrap_or_default();
    let Some(kind) = interpreter.type_by_text(&name) else {
        let message =
            format!("Cannot find type [{name}]: verify that the assembly containing this type is loaded.");
        return Err(bound.refuse("TypeNotFound", message).in_category("InvalidType").into());
    };
    let arguments = match bound.item("ArgumentList") {
        // `New-Object type (,$array)` and `New-Object type a, b`
        Some(Value::Array(array)) => array.items().clone(),
        Some(value) => vec![value.clone()],
        None => Vec::new(),
    };
    let made = interpreter.construct(&kind, &arguments)?;
    if let Some(Value::Map(properties)) = bound.item("Property") {
        with_properties(interpreter, &made, properties)?;
    }
    out.put(interpreter, made)
}
