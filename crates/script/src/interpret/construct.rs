//! Objects of .NET's types: `New-Object` and `::new`, and what their methods do.

use super::Interpreter;
use crate::error::{ErrorRecord, Exception, Outcome};
use crate::types::{StaticCall, TimeSpan, Type, convert, static_member, text};
use crate::value::{Array, ArrayKind, Map, MapKind, Number, Object, Property, Value};
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A stopwatch's time so far, and since when it runs.
struct Watch(RefCell<(Duration, Option<Instant>)>);

struct Builder(RefCell<String>);

fn object(type_name: &str, payload: Rc<dyn Any>) -> Value {
    Object::new(type_name).with_payload(payload).into_value()
}

pub fn stopwatch(running: bool) -> Value {
    object(
        "System.Diagnostics.Stopwatch",
        Rc::new(Watch(RefCell::new((Duration::ZERO, running.then(Instant::now))))),
    )
}

pub fn builder_member(own: &Object, name: &str) -> Option<Value> {
    let builder = own.payload.as_ref()?.downcast_ref::<Builder>()?;
    name.eq_ignore_ascii_case("Length").then(|| builder.0.borrow().chars().count().into())
}

pub fn stopwatch_member(own: &Object, name: &str) -> Option<Value> {
    let watch = own.payload.as_ref()?.downcast_ref::<Watch>()?;
    let (before, since) = *watch.0.borrow();
    let elapsed = before + since.map_or(Duration::ZERO, |since| since.elapsed());
    Some(match name.to_ascii_lowercase().as_str() {
        "elapsed" => Value::Span(TimeSpan::from_seconds(elapsed.as_secs_f64())?),
        "elapsedmilliseconds" => Value::int(elapsed.as_millis() as i64),
        "elapsedticks" => Value::int((elapsed.as_nanos() / 100) as i64),
        "isrunning" => since.is_some().into(),
        _ => return None,
    })
}

impl Interpreter<'_> {
    pub fn construct(&mut self, kind: &Type, arguments: &[Value]) -> Outcome<Value> {
        let first = arguments.first().cloned().unwrap_or_default();
        let list = |kind: ArrayKind| {
            // A number is the room to begin with.
            let items = if matches!(first, Value::Number(_)) { Vec::new() } else { first.some_elements() };
            Value::Array(Rc::new(Array::new(items, kind)))
        };
        Ok(match kind {
            Type::Object | Type::PSObject | Type::Custom => match (&first, arguments.is_empty()) {
                (_, true) => Object::custom().into_value(),
                (Value::Map(_), false) if matches!(kind, Type::Custom) => convert(&first, &Type::Custom)?,
                _ => first,
            },
            Type::Hashtable | Type::Ordered | Type::Dictionary => {
                let map_kind = match kind {
                    Type::Ordered => MapKind::Ordered,
                    Type::Dictionary => MapKind::Dictionary,
                    _ => MapKind::Hashtable,
                };
                let map = Map::new(map_kind);
                if let Value::Map(own) = &first {
                    for (key, value) in own.pairs() {
                        map.set(key, value);
                    }
                }
                Value::Map(Rc::new(map))
            }
            Type::ArrayList => list(ArrayKind::ArrayList),
            Type::List(element) => match list(ArrayKind::List(element.clone())) {
                Value::Array(array) if !array.is_empty() => convert(&Value::Array(array), kind)?,
                other => other,
            },
            Type::Queue => list(ArrayKind::Queue),
            Type::Stack => list(ArrayKind::Stack),
            Type::HashSet => match list(ArrayKind::HashSet) {
                Value::Array(array) => {
                    let set = Value::Array(Rc::new(Array::new(Vec::new(), ArrayKind::HashSet)));
                    for item in array.items().iter() {
                        crate::types::invoke_plain(&set, "Add", std::slice::from_ref(item))?;
                    }
                    set
                }
                other => other,
            },
            Type::Array(element) => {
                let count = crate::types::number(&first)
                    .and_then(Number::as_integer)
                    .and_then(|count| usize::try_from(count).ok())
                    .filter(|count| *count <= 1 << 24);
                let count = count.ok_or_else(|| {
                    ErrorRecord::method(
                        "System.OverflowException",
                        "new",
                        arguments.len(),
                        "Array dimensions exceeded supported range.",
                    )
                })?;
                let kind = if matches!(**element, Type::Object) {
                    ArrayKind::Fixed
                } else {
                    ArrayKind::Typed(element.clone())
                };
                Value::Array(Rc::new(Array::new(vec![element.default_value(); count], kind)))
            }
            Type::Exception(name) => {
                let inner = match arguments.get(1) {
                    Some(Value::Exception(inner)) => Some(inner.clone()),
                    _ => None,
                };
                let message = if arguments.is_empty() {
                    format!("Exception of type '{name}' was thrown.")
                } else {
                    text(&first)
                };
                Value::Exception(Rc::new(Exception {
                    type_name: name.clone(),
                    message: message.into(),
                    inner,
                }))
            }
            Type::ErrorRecord => self.error_record(arguments),
            Type::Version if arguments.len() > 1 => crate::types::version(arguments).ok_or_else(|| {
                ErrorRecord::method(
                    "System.ArgumentException",
                    "new",
                    arguments.len(),
                    "Version's parameters must be greater than or equal to zero.",
                )
            })?,
            Type::Guid if arguments.is_empty() => kind.default_value(),
            Type::Class(class) => return self.instance(class, arguments),
            Type::DateTime | Type::TimeSpan if arguments.is_empty() => match kind {
                Type::TimeSpan => Value::Span(TimeSpan::default()),
                _ => convert(&Value::int(0), kind)?,
            },
            _ => {
                let call = StaticCall { kind, name: "new", arguments: Some(arguments) };
                match static_member(&call)? {
                    Some(made) => made,
                    None => self.converted(&first, kind)?,
                }
            }
        })
    }

    fn error_record(&mut self, arguments: &[Value]) -> Value {
        let said = |at: usize| arguments.get(at).map(text).unwrap_or_default();
        let mut record = ErrorRecord::runtime(&said(1), said(0)).in_category(if arguments.len() > 2 {
            ""
        } else {
            "NotSpecified"
        });
        if let Some(Value::Exception(exception)) = arguments.first() {
            record.exception = exception.clone();
        }
        if arguments.len() > 2 {
            record.category = said(2).into();
        }
        record.target = arguments.get(3).filter(|target| !target.is_null()).cloned().map(Box::new);
        Value::Error(Rc::new(record))
    }

    /// An object of a class of which no value is.
    pub(super) fn instance(&mut self, class: &str, arguments: &[Value]) -> Outcome<Value> {
        let first = arguments.first().cloned().unwrap_or_default();
        let made = match class {
            "System.Text.StringBuilder" => {
                let text = if let Value::Text(text) = &first { text.to_string() } else { String::new() };
                return Ok(object(class, Rc::new(Builder(RefCell::new(text)))));
            }
            "System.Diagnostics.Stopwatch" => return Ok(stopwatch(false)),
            "System.Random" => return Ok(Object::new(class).into_value()),
            "System.Diagnostics.ProcessStartInfo" => Object::new(class)
                .with("FileName", text(&first))
                .with("Arguments", "")
                .with("Verb", "")
                .with("UseShellExecute", false),
            "System.Security.Principal.WindowsPrincipal" => Object::new(class).with("Identity", first),
            "System.Management.Automation.PSCredential" => Object::new(class)
                .with("UserName", text(&first))
                .with("Password", arguments.get(1).cloned().unwrap_or_default()),
            "System.Net.NetworkCredential" => Object::new(class)
                .with("UserName", text(&first))
                .with("Password", arguments.get(1).map(text).unwrap_or_default()),
            "System.Uri" => return Ok(convert(&first, &Type::Class(class.into()))?),
            "System.IO.FileInfo" | "System.IO.DirectoryInfo" => {
                return Ok(crate::cmdlet::file_object(std::path::Path::new(&super::native(&text(&first)))));
            }
            "System.Text.UTF8Encoding" => Object::new("System.Text.Encoding").with("WebName", "utf-8"),
            "System.Management.Automation.Host.ChoiceDescription" => Object::new(class)
                .with("Label", text(&first))
                .with("HelpMessage", arguments.get(1).map(text).unwrap_or_default()),
            _ => {
                let message = format!("Objects of the type [{class}] cannot be made here.");
                return Err(ErrorRecord::cmdlet("New-Object", "TypeNotSupported", message)
                    .in_category("NotImplemented")
                    .into());
            }
        };
        Ok(made.into_value())
    }
}

/// Methods of the objects above; nothing if there is none of that name.
pub fn instance_method(
    interpreter: &mut Interpreter<'_>,
    own: &Rc<Object>,
    name: &str,
    arguments: &[Value],
) -> Outcome<Option<Value>> {
    match &*own.type_name {
        "System.Text.StringBuilder" => builder(own, name, arguments),
        "System.Diagnostics.Stopwatch" => Ok(watch(own, name)),
        "System.Random" => Ok(random(interpreter, name, arguments)),
        "System.Text.Encoding" => Ok(match name {
            "getbytes" => {
                Some(crate::types::bytes(arguments.first().map(text).unwrap_or_default().as_bytes()))
            }
            "getstring" => Some(
                String::from_utf8_lossy(&arguments.first().map(crate::types::to_bytes).unwrap_or_default())
                    .into_owned()
                    .into(),
            ),
            _ => None,
        }),
        "System.Security.Principal.WindowsPrincipal" if name == "isinrole" => {
            let wanted = arguments.first().map(text).unwrap_or_default();
            let administrator =
                wanted == "Administrator" || wanted.ends_with("Administrators") || wanted == "544";
            Ok(Some(
                (!administrator || interpreter.modules.iter().any(|module| module.is_administrator())).into(),
            ))
        }
        "System.Management.Automation.PSCredential" if name == "getnetworkcredential" => {
            let password = own.note("Password").and_then(|password| secret(&password)).unwrap_or_default();
            let user = own.note("UserName").unwrap_or_default();
            Ok(Some(
                Object::new("System.Net.NetworkCredential")
                    .with("UserName", user)
                    .with("Password", password)
                    .into_value(),
            ))
        }
        "System.Management.Automation.PSScriptCmdlet" => script_cmdlet(interpreter, own, name, arguments),
        super::automatic::RAW_UI if name == "readkey" => {
            let line = interpreter.terminal.read_line("").unwrap_or_default();
            let key = line.chars().next().unwrap_or('\r');
            Ok(Some(
                Object::new("System.Management.Automation.Host.KeyInfo")
                    .with("Character", Value::Char(key))
                    .with("VirtualKeyCode", i64::from(key.to_ascii_uppercase() as u32))
                    .with("KeyDown", true)
                    .into_value(),
            ))
        }
        "System.Management.Automation.Internal.Host.InternalHostUserInterface" => {
            user_interface(interpreter, name, arguments)
        }
        _ => Ok(None),
    }
}

/// What is kept of a secure string: itself, for we have nowhere safer.
pub struct Secret(pub String);

pub fn secure(text: String) -> Value {
    object("System.Security.SecureString", Rc::new(Secret(text)))
}

pub fn secret(value: &Value) -> Option<String> {
    let Value::Object(own) = value else { return None };
    Some(own.payload.as_ref()?.downcast_ref::<Secret>()?.0.clone())
}

fn builder(own: &Rc<Object>, name: &str, arguments: &[Value]) -> Outcome<Option<Value>> {
    let Some(builder) = own.payload.as_ref().and_then(|payload| payload.downcast_ref::<Builder>()) else {
        return Ok(None);
    };
    let said = arguments.first().map(text).unwrap_or_default();
    let mut content = builder.0.borrow_mut();
    match name {
        "append" => *content += &said,
        "appendline" => *content += &format!("{said}\n"),
        "appendformat" => {
            *content += &crate::types::composite(&said, arguments.get(1..).unwrap_or_default())?
        }
        "clear" => content.clear(),
        "replace" => *content = content.replace(&said, &arguments.get(1).map(text).unwrap_or_default()),
        "insert" => {
            let at = arguments
                .first()
                .and_then(crate::types::number)
                .and_then(Number::as_integer)
                .and_then(|at| usize::try_from(at).ok())
                .unwrap_or(0);
            let at = content.char_indices().nth(at).map_or(content.len(), |(at, _)| at);
            content.insert_str(at, &arguments.get(1).map(text).unwrap_or_default());
        }
        "tostring" => return Ok(Some(content.as_str().into())),
        _ => return Ok(None),
    }
    Ok(Some(Value::Object(own.clone())))
}

fn watch(own: &Rc<Object>, name: &str) -> Option<Value> {
    let watch = own.payload.as_ref()?.downcast_ref::<Watch>()?;
    let mut state = watch.0.borrow_mut();
    match name {
        "start" => state.1 = state.1.or_else(|| Some(Instant::now())),
        "stop" => {
            if let Some(since) = state.1.take() {
                state.0 += since.elapsed();
            }
        }
        "reset" => *state = (Duration::ZERO, None),
        "restart" => *state = (Duration::ZERO, Some(Instant::now())),
        _ => return None,
    }
    Some(Value::Null)
}

fn random(interpreter: &mut Interpreter<'_>, name: &str, arguments: &[Value]) -> Option<Value> {
    let bound = |at: usize| {
        arguments
            .get(at)
            .and_then(crate::types::number)
            .and_then(Number::as_integer)
            .map(|bound| bound as i64)
    };
    let (least, most) = match arguments.len() {
        0 => (0, i64::from(i32::MAX)),
        1 => (0, bound(0)?),
        _ => (bound(0)?, bound(1)?),
    };
    match name {
        "next" => Some(Value::int(
            least + (interpreter.next_random() % u64::try_from(most - least).unwrap_or(1).max(1)) as i64,
        )),
        "nextdouble" => Some(Value::double((interpreter.next_random() >> 11) as f64 / (1u64 << 53) as f64)),
        _ => None,
    }
}

/// `$PSCmdlet`
fn script_cmdlet(
    interpreter: &mut Interpreter<'_>,
    own: &Rc<Object>,
    name: &str,
    arguments: &[Value],
) -> Outcome<Option<Value>> {
    let said = |at: usize| arguments.get(at).map(text).unwrap_or_default();
    match name {
        "shouldprocess" => {
            let (target, action) = if arguments.len() > 1 {
                (said(0), said(1))
            } else {
                (said(0), own.note("CommandName").map(|name| text(&name)).unwrap_or_default())
            };
            let what_if = own.note("WhatIf").is_some_and(|on| on.is_true())
                || interpreter.named("whatifpreference").is_true();
            if what_if {
                interpreter.inform(
                    &format!("What if: Performing the operation \"{action}\" on target \"{target}\"."),
                    "\n",
                    true,
                )?;
                return Ok(Some(false.into()));
            }
            if own.note("Confirm").is_some_and(|on| on.is_true()) {
                let question = format!("Performing the operation \"{action}\" on target \"{target}\".");
                return Ok(Some(
                    asked(interpreter, "Are you sure you want to perform this action?", &question).into(),
                ));
            }
            Ok(Some(true.into()))
        }
        "shouldcontinue" => Ok(Some(asked(interpreter, &said(1), &said(0)).into())),
        "throwterminatingerror" => match arguments.first() {
            Some(Value::Error(record)) => Err(ErrorRecord {
                activity: own.note("CommandName").map_or_else(String::new, |name| text(&name)).into(),
                ..(**record).clone()
            }
            .into()),
            _ => Err(ErrorRecord::runtime("NotSpecified", said(0)).into()),
        },
        "writeerror" => match arguments.first() {
            Some(Value::Error(record)) => interpreter.report((**record).clone()).map(|()| Some(Value::Null)),
            _ => {
                interpreter.report(ErrorRecord::runtime("NotSpecified", said(0))).map(|()| Some(Value::Null))
            }
        },
        "writewarning" => interpreter.warn(&said(0)).map(|()| Some(Value::Null)),
        "writeverbose" => interpreter.verbose(&said(0)).map(|()| Some(Value::Null)),
        "writedebug" => interpreter.debug(&said(0)).map(|()| Some(Value::Null)),
        _ => Ok(None),
    }
}

fn asked(interpreter: &mut Interpreter<'_>, title: &str, question: &str) -> bool {
    let printable = crate::characters::printable;
    let prompt = format!(
        "\nConfirm\n{}\n{}\n[Y] Yes  [N] No  (default is \"Y\"): ",
        printable(title),
        printable(question)
    );
    let answer = interpreter.terminal.ask(&prompt);
    answer.is_some_and(|line| matches!(line.trim().to_lowercase().as_str(), "" | "y" | "yes" | "a"))
}

/// `$Host.UI`
fn user_interface(
    interpreter: &mut Interpreter<'_>,
    name: &str,
    arguments: &[Value],
) -> Outcome<Option<Value>> {
    let said = |at: usize| arguments.get(at).map(text).unwrap_or_default();
    match name {
        "write" => {
            interpreter.inform(&said(arguments.len().saturating_sub(1)), "", true).map(|()| Some(Value::Null))
        }
        "writeline" => interpreter
            .inform(&said(arguments.len().saturating_sub(1)), "\n", true)
            .map(|()| Some(Value::Null)),
        "writewarningline" => interpreter.warn(&said(0)).map(|()| Some(Value::Null)),
        "writeerrorline" => {
            interpreter.terminal.error(&(crate::characters::printable(&said(0)) + "\n"));
            Ok(Some(Value::Null))
        }
        "readline" => Ok(Some(interpreter.terminal.read_line("").map_or(Value::Null, Value::from))),
        "promptforchoice" => choice(interpreter, arguments).map(Some),
        _ => Ok(None),
    }
}

fn choice(interpreter: &mut Interpreter<'_>, arguments: &[Value]) -> Outcome<Value> {
    let said = |at: usize| arguments.get(at).map(text).unwrap_or_default();
    let mut labels = Vec::new();
    for value in arguments.get(2).map(Value::some_elements).unwrap_or_default() {
        let label = match &value {
            Value::Object(_) => interpreter.member(&value, "Label")?,
            other => other.clone(),
        };
        labels.push(text(&label));
    }
    let default = arguments.get(3).and_then(crate::types::number).and_then(Number::as_integer).unwrap_or(0);
    let key = |label: &str| {
        label
            .split_once('&')
            .and_then(|(_, rest)| rest.chars().next())
            .or_else(|| label.chars().next())
            .map(|c| c.to_uppercase().to_string())
            .unwrap_or_default()
    };
    let shown: Vec<String> =
        labels.iter().map(|label| format!("[{}] {}", key(label), label.replace('&', ""))).collect();
    let prompt = format!("\n{}\n{}\n{}: ", said(0), said(1), shown.join("  "));
    let printable: Vec<String> = prompt.split('\n').map(crate::characters::printable).collect();
    let Some(line) = interpreter.terminal.read_line(&printable.join("\n")) else {
        let message = "There is nobody to ask.";
        return Err(
            ErrorRecord { ends_script: true, ..ErrorRecord::runtime("InvalidOperation", message) }.into()
        );
    };
    let line = line.trim();
    let found = labels.iter().position(|label| {
        label.replace('&', "").eq_ignore_ascii_case(line) || key(label).eq_ignore_ascii_case(line)
    });
    Ok(found.map_or(Value::int(default as i64), Value::from))
}

/// New-Object's `-Property`
pub fn with_properties(interpreter: &mut Interpreter<'_>, value: &Value, properties: &Map) -> Outcome {
    for (name, property) in properties.pairs() {
        match value {
            Value::Object(object) => object.set(&text(&name), Property::Note(property)),
            other => interpreter.set_member(other, &text(&name), property)?,
        }
    }
    Ok(())
}
