//! Members of values: properties, methods, and those that every object has (about_Properties, about_Methods).

use super::Interpreter;
use crate::error::{ErrorRecord, Outcome};
use crate::scope::Scope;
use crate::types::{self, invoke_plain, plain_member, text, type_name, type_of};
use crate::value::{Closure, Map, MapKind, Number, Object, Property, Value};
use std::rc::Rc;

impl Interpreter<'_> {
    /// `.name`; an array gives what its elements have, and nothing has nothing.
    pub fn member(&mut self, value: &Value, name: &str) -> Outcome<Value> {
        if let Some(found) = self.own_member(value, name)? {
            return Ok(found);
        }
        let Value::Array(array) = value else { return Ok(Value::Null) };
        let items = array.items().clone();
        let mut found = Vec::new();
        for item in &items {
            // An array may hold itself.
            let member = self.nested(|interpreter| interpreter.member(item, name))?;
            if !member.is_null() || self.has_member(item, name) {
                found.extend(member.elements());
            }
        }
        Ok(Value::of(found))
    }

    fn has_member(&self, value: &Value, name: &str) -> bool {
        match value {
            Value::Object(object) => object.property(name).is_some(),
            Value::Map(map) => map.by_name(name).is_some(),
            _ => false,
        }
    }

    pub fn own_member(&mut self, value: &Value, name: &str) -> Outcome<Option<Value>> {
        if let Value::Object(object) = value {
            match object.property(name) {
                Some(Property::Note(value)) => return Ok(Some(value)),
                Some(Property::Alias(other)) => {
                    return self.nested(|interpreter| interpreter.own_member(value, &other));
                }
                Some(Property::Script(get, _)) => {
                    let found = self.method_block(&get, value.clone(), Vec::new())?;
                    return Ok(Some(Value::of(found)));
                }
                Some(Property::Method(_)) | None => {}
            }
            if let Some(found) = self.object_member(object, name) {
                return Ok(Some(found));
            }
        }
        if let Value::Reference(reference) = value
            && name.eq_ignore_ascii_case("Value")
        {
            return Ok(Some(reference.scope.find(&reference.name).unwrap_or_default()));
        }
        if let Some(found) = plain_member(value, name) {
            return Ok(Some(found));
        }
        Ok(self.of_every_object(value, name))
    }

    /// Properties that are worked out of what an object holds.
    fn object_member(&self, object: &Rc<Object>, name: &str) -> Option<Value> {
        match &*object.type_name {
            "System.Diagnostics.Stopwatch" => super::construct::stopwatch_member(object, name),
            "System.Text.StringBuilder" => super::construct::builder_member(object, name),
            _ => None,
        }
    }

    fn of_every_object(&mut self, value: &Value, name: &str) -> Option<Value> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("Count") || is("Length") {
            // One value counts as one (about_Arrays).
            return Some(Value::int(i64::from(!value.is_null())));
        }
        if value.is_null() {
            return None;
        }
        if is("PSObject") {
            return Some(self.mirror(value));
        }
        if is("PSTypeNames") {
            return Some(Value::array(vec![type_name(value).into(), "System.Object".into()]));
        }
        None
    }

    /// `.PSObject` with Properties, Methods, TypeNames and BaseObject.
    fn mirror(&mut self, value: &Value) -> Value {
        let properties = Map::new(MapKind::Ordered);
        for name in property_names(value) {
            let own = self.member(value, &name).unwrap_or_default();
            let kind = match value {
                Value::Object(object) => match object.property(&name) {
                    Some(Property::Script(..)) => "ScriptProperty",
                    Some(Property::Alias(_)) => "AliasProperty",
                    _ => "NoteProperty",
                },
                _ => "Property",
            };
            let entry = Object::new("System.Management.Automation.PSNoteProperty")
                .with("Name", name.as_str())
                .with("Value", own.clone())
                .with("MemberType", kind)
                .with("TypeNameOfValue", type_name(&own))
                .with("IsSettable", true);
            properties.set(name.as_str().into(), entry.into_value());
        }
        let properties = properties.pairs().into_iter().map(|(_, entry)| entry).collect();
        Object::new("System.Management.Automation.PSObjectMirror")
            .with("Properties", Value::array(properties))
            .with("BaseObject", value.clone())
            .with("TypeNames", Value::array(vec![type_name(value).into(), "System.Object".into()]))
            .into_value()
    }

    /// `.name(arguments)`
    pub fn invoke(&mut self, value: &Value, name: &str, arguments: &[Value]) -> Outcome<Value> {
        if value.is_null() {
            return Err(ErrorRecord::runtime(
                "InvokeMethodOnNull",
                "You cannot call a method on a null-valued expression.",
            )
            .into());
        }
        if let Some(found) = self.own_method(value, name, arguments)? {
            return Ok(found);
        }
        if let Value::Array(array) = value
            && !array.items().is_empty()
        {
            let items = array.items().clone();
            let all = items
                .iter()
                .map(|item| self.nested(|interpreter| interpreter.invoke(item, name, arguments)))
                .collect::<Outcome<Vec<_>>>();
            return match all {
                Ok(all) => Ok(Value::of(all.into_iter().filter(|item| !item.is_null()).collect())),
                Err(crate::error::Flow::Error(record)) if &*record.id == "MethodNotFound" => {
                    Err(no_method(value, name).into())
                }
                Err(other) => Err(other),
            };
        }
        Err(no_method(value, name).into())
    }

    fn own_method(&mut self, value: &Value, name: &str, arguments: &[Value]) -> Outcome<Option<Value>> {
        let lower = name.to_ascii_lowercase();
        if let Value::Object(object) = value {
            if let Some(Property::Method(closure)) = object.property(name) {
                return self
                    .method_block(&closure, value.clone(), arguments.to_vec())
                    .map(|items| Some(Value::of(items)));
            }
            if let Some(found) = self.object_method(object, &lower, arguments)? {
                return Ok(Some(found));
            }
        }
        match (lower.as_str(), value) {
            ("gettype", _) => return Ok(Some(Value::Type(Rc::new(type_of(value))))),
            ("where", _) => return self.where_method(value, arguments).map(Some),
            ("foreach", _) => return self.foreach_method(value, arguments).map(Some),
            ("invoke" | "invokereturnasis", Value::Block(closure)) => {
                let items = self.invoke_block(closure, arguments.to_vec())?;
                return Ok(Some(Value::of(items)));
            }
            ("getnewclosure", Value::Block(closure)) => return Ok(Some(self.new_closure(closure))),
            ("replace", Value::Regex(pattern)) if matches!(arguments, [_, Value::Block(_), ..]) => {
                let pattern = Value::Regex(pattern.clone());
                let pair = Value::array(vec![pattern, arguments[1].clone()]);
                return self
                    .binary(crate::syntax::Binary::Replace(crate::syntax::Case::Exact), &arguments[0], &pair)
                    .map(Some);
            }
            _ => {}
        }
        Ok(invoke_plain(value, name, arguments)?)
    }

    fn object_method(
        &mut self,
        object: &Rc<Object>,
        name: &str,
        arguments: &[Value],
    ) -> Outcome<Option<Value>> {
        match &*object.type_name {
            "System.Management.Automation.PSObjectMirror" if name == "copy" => {
                Ok(Some(object.note("BaseObject").map_or(Value::Null, |base| copy(&base))))
            }
            _ => super::construct::instance_method(self, object, name, arguments),
        }
    }

    /// `.Where({ … }, mode, count)`
    fn where_method(&mut self, value: &Value, arguments: &[Value]) -> Outcome<Value> {
        let Some(Value::Block(closure)) = arguments.first() else {
            return Err(no_method(value, "Where").into());
        };
        let mode = arguments.get(1).map(text).unwrap_or_default().to_ascii_lowercase();
        let count = arguments
            .get(2)
            .and_then(types::number)
            .and_then(Number::as_integer)
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(0);
        let items = value.elements();
        let (mut kept, mut rest) = (Vec::new(), Vec::new());
        let mut met = false;
        for item in items {
            let fits = match mode.as_str() {
                "skipuntil" | "until" if met => true,
                _ => Value::of(self.block_for(closure, item.clone())?).is_true(),
            };
            met |= fits;
            match mode.as_str() {
                "until" if met => break,
                "until" => kept.push(item),
                _ if fits => kept.push(item),
                _ => rest.push(item),
            }
            if mode == "first" && kept.len() >= count.max(1) {
                break;
            }
        }
        Ok(match mode.as_str() {
            "split" => Value::array(vec![Value::array(kept), Value::array(rest)]),
            "last" => Value::array(kept.split_off(kept.len().saturating_sub(count.max(1)))),
            _ => Value::array(kept),
        })
    }

    /// `.ForEach({ … })`, `.ForEach('Property')`, `.ForEach([type])`
    fn foreach_method(&mut self, value: &Value, arguments: &[Value]) -> Outcome<Value> {
        let mut made = Vec::new();
        for item in value.elements() {
            match arguments.first() {
                Some(Value::Block(closure)) => made.extend(self.block_for(closure, item)?),
                Some(Value::Type(kind)) => made.push(self.converted(&item, kind)?),
                Some(name) => {
                    let name = text(name);
                    let member = self.own_member(&item, &name)?;
                    match (member, arguments.len()) {
                        (Some(found), 1) => made.extend(found.elements()),
                        _ => made.extend(self.invoke(&item, &name, &arguments[1..])?.some_elements()),
                    }
                }
                None => return Err(no_method(value, "ForEach").into()),
            }
        }
        Ok(Value::array(made))
    }

    /// `GetNewClosure()`: what the variables hold now.
    fn new_closure(&mut self, closure: &Rc<Closure>) -> Value {
        let kept = Scope::within(&self.context.scope.script(), false, self.context.scope.running.clone());
        let mut scope = Some(self.context.scope.clone());
        while let Some(own) = scope {
            if own.is_script {
                break;
            }
            for name in own.names() {
                if let (None, Some(slot)) = (kept.own(&name), own.own(&name)) {
                    kept.put(&name, slot);
                }
            }
            scope = own.parent.clone();
        }
        for name in self.context.scope.script().names() {
            if let (None, Some(slot)) = (kept.own(&name), self.context.scope.script().own(&name)) {
                kept.put(&name, slot);
            }
        }
        Value::Block(Rc::new(Closure { block: closure.block.clone(), scope: Some(kept) }))
    }
}

fn no_method(value: &Value, name: &str) -> ErrorRecord {
    let kind = match value {
        Value::Array(array) if array.is_fixed() => "Object[]".to_owned(),
        other => type_of(other).full_name(),
    };
    let kind =
        kind.strip_prefix("System.").filter(|short| !short.contains('.')).map_or(kind.clone(), str::to_owned);
    let message =
        format!("Method invocation failed because [{kind}] does not contain a method named '{name}'.");
    ErrorRecord::runtime("MethodNotFound", message)
}

/// A copy whose properties are its own.
fn copy(value: &Value) -> Value {
    let Value::Object(object) = value else { return value.clone() };
    let mut made = Object::new(&object.type_name);
    made.payload = object.payload.clone();
    made.shown = object.shown.clone();
    for (name, property) in object.all() {
        made.set(&name, property);
    }
    made.into_value()
}

/// The names of the properties that a value shows, in order.
pub fn property_names(value: &Value) -> Vec<String> {
    let fixed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    match value {
        Value::Object(object) => object.names().iter().map(|name| name.to_string()).collect(),
        Value::Text(_) => vec!["Length".into()],
        Value::Date(_) => fixed(&[
            "Date",
            "Day",
            "DayOfWeek",
            "DayOfYear",
            "Hour",
            "Kind",
            "Millisecond",
            "Minute",
            "Month",
            "Second",
            "Ticks",
            "TimeOfDay",
            "Year",
        ]),
        Value::Span(_) => fixed(&[
            "Days",
            "Hours",
            "Minutes",
            "Seconds",
            "Milliseconds",
            "Ticks",
            "TotalDays",
            "TotalHours",
            "TotalMinutes",
            "TotalSeconds",
            "TotalMilliseconds",
        ]),
        Value::Version(_) => fixed(&["Major", "Minor", "Build", "Revision"]),
        Value::Error(_) => fixed(&[
            "Exception",
            "TargetObject",
            "CategoryInfo",
            "FullyQualifiedErrorId",
            "ErrorDetails",
            "InvocationInfo",
            "ScriptStackTrace",
        ]),
        Value::Exception(_) => fixed(&["Message", "Data", "InnerException", "StackTrace", "HResult"]),
        Value::Type(_) => fixed(&["Name", "FullName", "Namespace", "BaseType"]),
        Value::Address(_) => fixed(&["AddressFamily", "IPAddressToString"]),
        Value::Enum(_) => fixed(&["value__"]),
        Value::Map(_) => fixed(&["Keys", "Values", "Count"]),
        Value::Array(_) => fixed(&["Count", "Length"]),
        _ => Vec::new(),
    }
}

/// As a table or `Select-Object *` shows it: of a hashtable, its entries.
pub fn shown_names(value: &Value) -> Vec<String> {
    match value {
        Value::Map(map) => map.pairs().iter().map(|(key, _)| text(key)).collect(),
        other => property_names(other),
    }
}
