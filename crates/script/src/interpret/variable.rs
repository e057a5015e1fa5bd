//! Variables of any scope, and what environment and function drives hold (about_Variables, about_Scopes).

use super::{Interpreter, automatic};
use crate::error::{ErrorRecord, Outcome};
use crate::scope::{Frozen, Scope, Slot};
use crate::source::Source;
use crate::syntax::{TypeName, Variable};
use crate::types::{Type, convert, lookup, text};
use crate::value::{Closure, Value};
use std::rc::Rc;

impl<'h> Interpreter<'h> {
    /// The text that is run.
    pub fn source(&self) -> Option<Rc<Source>> {
        self.context.source.clone()
    }

    pub fn variable(&mut self, variable: &Variable) -> Outcome<Value> {
        let name = &variable.name;
        match variable.scope.as_deref() {
            None => {}
            Some("env") => return Ok(environment(name)),
            Some("global") => return Ok(self.found_in(&self.context.scope.outermost(), name)),
            Some("script") => return Ok(self.found_in(&self.context.scope.script(), name)),
            Some("local" | "private") => {
                return Ok(self
                    .context
                    .scope
                    .own(name)
                    .map_or_else(|| automatic::value(self, name).unwrap_or_default(), |slot| slot.value));
            }
            Some("variable" | "using") => {}
            Some("function") => {
                let function = self.context.scope.function(name);
                return Ok(function.map_or(Value::Null, |function| Value::Block(function.closure)));
            }
            Some("alias") => return Ok(self.context.scope.alias(name).map_or(Value::Null, Value::Text)),
            Some(_) => {
                let whole = variable.written.to_lowercase();
                return Ok(self.context.scope.find(&whole).unwrap_or_default());
            }
        }
        Ok(self.named(name))
    }

    fn found_in(&mut self, scope: &Rc<Scope>, name: &str) -> Value {
        let own = scope.own(name).map(|slot| slot.value).or_else(|| scope.find(name));
        match own {
            Some(value) => value,
            None => {
                let context = self.context.in_scope(scope.clone());
                let before = std::mem::replace(&mut self.context, context);
                let value = automatic::value(self, name).unwrap_or_default();
                self.context = before;
                value
            }
        }
    }

    /// By its name in lower case, from here outwards.
    pub fn named(&mut self, name: &str) -> Value {
        if let Some(value) = automatic::constant(self, name) {
            return value;
        }
        match self.context.scope.find(name) {
            Some(value) => value,
            None => automatic::value(self, name).unwrap_or_default(),
        }
    }

    pub fn is_set(&mut self, variable: &Variable) -> bool {
        automatic::constant(self, &variable.name).is_some()
            || self.context.scope.find(&variable.name).is_some()
            || automatic::value(self, &variable.name).is_some()
    }

    fn scope_of(&self, variable: &Variable) -> Rc<Scope> {
        match variable.scope.as_deref() {
            Some("global") => self.context.scope.outermost(),
            Some("script") => self.context.scope.script(),
            _ => self.context.scope.clone(),
        }
    }

    pub fn set_variable(&mut self, variable: &Variable, value: Value) -> Outcome {
        let name = &variable.name;
        match variable.scope.as_deref() {
            Some("env") => {
                set_environment(name, &variable.written, &value);
                return Ok(());
            }
            Some("function") => {
                let closure = match value {
                    Value::Block(closure) => closure,
                    other => {
                        let block = crate::parse::script(&text(&other), "")
                            .map_err(|error| ErrorRecord::parsing(&error))?;
                        Rc::new(Closure { block, scope: None })
                    }
                };
                self.context.scope.define(name, crate::scope::Function { name: name.clone(), closure });
                return Ok(());
            }
            Some("global" | "script" | "local" | "private" | "variable") | None => {}
            Some("using") => {
                return Err(ErrorRecord::runtime(
                    "UsingVariable",
                    "A variable with $using: cannot be assigned to.",
                )
                .into());
            }
            Some(_) => {
                self.context.scope.note(&variable.written.to_lowercase(), value);
                return Ok(());
            }
        }
        // What is assigned to it is thrown away.
        if &**name == "null" {
            return Ok(());
        }
        if automatic::is_constant(name) {
            return Err(not_writable(name).into());
        }
        let scope = self.scope_of(variable);
        self.set_in(&scope, name, value)
    }

    /// Converted and checked as the variable wants it.
    pub fn set_in(&mut self, scope: &Rc<Scope>, name: &str, value: Value) -> Outcome {
        let Some(slot) = scope.own(name) else {
            if scope.find(name).is_some() && self.is_frozen_outside(scope, name) {
                return Err(not_writable(name).into());
            }
            scope.note(name, value);
            return Ok(());
        };
        if slot.frozen != Frozen::No {
            return Err(not_writable(name).into());
        }
        let value = match &slot.kind {
            Some(kind) => self.converted(&value, kind).map_err(|record| conversion_of(name, record))?,
            None => value,
        };
        if let Some(validated) = slot.validated.clone() {
            self.validate_variable(&validated, &value)?;
        }
        scope.note(name, value);
        Ok(())
    }

    fn is_frozen_outside(&self, scope: &Rc<Scope>, name: &str) -> bool {
        let holder = scope.holder(name);
        holder.and_then(|holder| holder.own(name)).is_some_and(|slot| slot.frozen == Frozen::Constant)
    }

    /// With the type that it has from now on.
    pub fn declare(&mut self, variable: &Variable, kind: Type, value: Value) -> Outcome {
        if automatic::is_constant(&variable.name) {
            return Err(not_writable(&variable.name).into());
        }
        let scope = self.scope_of(variable);
        let kind = Rc::new(kind);
        if scope.own(&variable.name).is_some_and(|slot| slot.frozen != Frozen::No) {
            return Err(not_writable(&variable.name).into());
        }
        let value = self.converted(&value, &kind).map_err(|record| conversion_of(&variable.name, record))?;
        scope.put(&variable.name, Slot { value, kind: Some(kind), ..Slot::default() });
        Ok(())
    }

    /// Conversions that need scripts: everything else is [`convert`].
    pub fn converted(&mut self, value: &Value, kind: &Type) -> Result<Value, ErrorRecord> {
        match (kind, value) {
            (Type::Class(name), Value::Map(map)) if !name.starts_with("System.") => {
                let object = crate::value::Object::new(name);
                for (key, value) in map.pairs() {
                    object.set(&text(&key), crate::value::Property::Note(value));
                }
                Ok(object.into_value())
            }
            _ => convert(value, kind),
        }
    }

    pub fn find_type(&self, name: &TypeName) -> Result<Type, ErrorRecord> {
        self.known_type(name).ok_or_else(|| {
            let instead = match name.name.to_ascii_lowercase().as_str() {
                "xml" | "system.xml.xmldocument" => {
                    " XML documents are not there: [regex] and Select-String find text in them."
                }
                "wmi" | "wmiclass" | "wmisearcher" | "adsi" | "adsisearcher" => {
                    " It is Windows' own: the cmdlets of the Hyper-V module tell of virtual machines."
                }
                _ => "",
            };
            let message = format!("Unable to find type [{}].{instead}", name.name);
            let position = self.position(name.extent);
            ErrorRecord::runtime("TypeNotFound", message).about(Value::text(&name.name)).at(position)
        })
    }

    fn known_type(&self, name: &TypeName) -> Option<Type> {
        let class = || {
            let class = self.modules.iter().find_map(|module| module.class(&name.name))?;
            let kind = Type::Class(class.into());
            Some(if name.arrays > 0 { Type::Array(Rc::new(kind)) } else { kind })
        };
        lookup(name, &|name| self.enumeration(name)).or_else(class)
    }

    /// `name` as it is written in a string.
    pub fn type_by_text(&self, name: &str) -> Option<Type> {
        let name = name.trim();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let source = Source::new("", &format!("[{bare}]"));
        self.known_type(&crate::parse::type_name(&source)?)
    }
}

fn conversion_of(name: &str, record: ErrorRecord) -> ErrorRecord {
    let exception = crate::error::Exception::new(
        "System.Management.Automation.ArgumentTransformationMetadataException",
        &record.exception.message,
    );
    ErrorRecord {
        category: "MetadataError".into(),
        target: Some(Box::new(Value::text(name))),
        id: "RuntimeException".into(),
        exception,
        ..record
    }
}

pub fn not_writable(name: &str) -> ErrorRecord {
    let message = format!("Cannot overwrite variable {name} because it is read-only or constant.");
    ErrorRecord::runtime("VariableNotWritable", message)
        .in_category("WriteError")
        .about(Value::text(name))
        .of_type("System.Management.Automation.SessionStateUnauthorizedAccessException")
}

/// The environment in any case, as on Windows; with what scripts expect of Windows' own names.
pub fn environment(name: &str) -> Value {
    if let Some(set) = super::automatic::own_environment(name) {
        return set;
    }
    let found = std::env::vars_os().find(|(own, _)| own.to_string_lossy().eq_ignore_ascii_case(name));
    if let Some((_, value)) = found {
        return value.to_string_lossy().into_owned().into();
    }
    match name.to_ascii_lowercase().as_str() {
        "computername" => super::automatic::host_name().into(),
        "username" => super::automatic::user_name().into(),
        "userprofile" => environment("home"),
        "temp" | "tmp" => "/tmp".into(),
        _ => Value::Null,
    }
}

/// Our own process has it no other way than its children do, and threads forbid to change that: so we keep it.
pub fn set_environment(name: &str, written: &str, value: &Value) {
    let written = written.split_once(':').map_or(written, |(_, name)| name);
    super::automatic::note_environment(name, written, if value.is_null() { None } else { Some(text(value)) });
}
