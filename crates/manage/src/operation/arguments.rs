//! Typed arguments of one call, whatever surface they come from.

use super::{Failure, Operation, Parameter, Type};
use crate::guid::Guid;
use crate::value::Value;
use std::collections::BTreeMap;

/// Values by the parameters' whole names. Every value has the parameter's type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments {
    values: BTreeMap<&'static str, Value>,
}

impl Arguments {
    /// Sets a parameter, found by its whole name or alias. Later wins.
    pub fn set(&mut self, operation: &Operation, name: &str, value: impl Into<Value>) -> Result<(), Failure> {
        let parameter = operation.parameter(name).ok_or_else(|| {
            Failure::invalid(format!("A parameter cannot be found that matches parameter name '{name}'."))
        })?;
        self.bind(parameter, value.into())
    }

    /// As [`Arguments::set`], with the parameter at hand.
    pub fn bind(&mut self, parameter: &'static Parameter, value: Value) -> Result<(), Failure> {
        self.values.insert(parameter.name, parameter.convert(value)?);
        Ok(())
    }

    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name).filter(|value| **value != Value::Null)
    }
    /// Whether it was given at all; `$null` counts.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
    pub fn items(&self, name: &str) -> &[Value] {
        self.value(name).map_or(&[], Value::items)
    }
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name).and_then(Value::as_text)
    }
    pub fn int(&self, name: &str) -> Option<i64> {
        self.value(name).and_then(Value::as_int)
    }
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.value(name).and_then(Value::as_bool)
    }
    /// A switch that is given and not `:$false`.
    pub fn switch(&self, name: &str) -> bool {
        self.bool(name) == Some(true)
    }

    /// The first parameter that must be given and is not. Where there are sets, the one counts of which something is
    /// given, or the first.
    pub fn missing(&self, operation: &Operation) -> Option<&'static Parameter> {
        let set = self.set_in_use(operation);
        operation.all_parameters().find(|parameter| {
            parameter.required
                && (parameter.set.is_empty() || parameter.set == set)
                && !self.values.contains_key(parameter.name)
        })
    }

    fn set_in_use(&self, operation: &Operation) -> &'static str {
        let with_set = || operation.all_parameters().filter(|parameter| !parameter.set.is_empty());
        let given = with_set().find(|parameter| self.values.contains_key(parameter.name));
        given.or_else(|| with_set().next()).map_or("", |parameter| parameter.set)
    }
}

impl Parameter {
    /// The value as this parameter's type, or why it is none.
    pub fn convert(&self, value: Value) -> Result<Value, Failure> {
        if !self.many {
            // A list of one is its element, as in PowerShell.
            return match value {
                Value::List(mut items) if items.len() == 1 => self.one(items.remove(0)),
                other => self.one(other),
            };
        }
        let items = match value {
            Value::List(items) => items,
            other => vec![other],
        };
        items.into_iter().map(|item| self.one(item)).collect::<Result<Vec<_>, _>>().map(Value::List)
    }

    fn one(&self, value: Value) -> Result<Value, Failure> {
        let refuse = |why: &str| Err(self.refuse(&value, why));
        match (self.kind, &value) {
            (_, Value::Null) if !matches!(self.kind, Type::Bool | Type::Switch) => Ok(value),
            (Type::Text | Type::Path, Value::Text(_)) => Ok(value),
            (Type::Text | Type::Path, Value::List(_)) => refuse("it takes one value"),
            (Type::Text | Type::Path, Value::Record(record)) => match record.property("Name") {
                Some(name @ Value::Text(_)) => Ok(name.clone()),
                _ => refuse("it takes text"),
            },
            (Type::Text | Type::Path, other) => Ok(Value::Text(other.to_string())),
            (Type::Int(least, most), _) => match integer(&value) {
                Some(number) if (least..=most).contains(&number) => Ok(Value::Int(number)),
                Some(_) => refuse(&format!("it must be between {least} and {most}")),
                None => refuse("it takes a whole number"),
            },
            (Type::Bytes, _) => match integer(&value).or_else(|| size(&value)) {
                Some(number @ 0..) => Ok(Value::Int(number)),
                _ => refuse("it takes an amount like 512MB or 4GB"),
            },
            (Type::Bool | Type::Switch, Value::Bool(_)) => Ok(value),
            (Type::Bool | Type::Switch, Value::Int(number)) => Ok(Value::Bool(*number != 0)),
            (Type::Bool | Type::Switch, _) => refuse("it takes $true or $false"),
            (Type::Enum(words), _) => {
                let text = value.to_string();
                match words.iter().find(|word| word.eq_ignore_ascii_case(&text)) {
                    Some(word) => Ok(Value::text(*word)),
                    None => refuse(&format!("it takes one of: {}", words.join(", "))),
                }
            }
            (Type::Guid, Value::Guid(_)) => Ok(value),
            (Type::Guid, _) => match value.to_string().parse::<Guid>() {
                Ok(guid) => Ok(guid.into()),
                Err(error) => refuse(&error.to_string()),
            },
            (Type::Object(kind), Value::Record(record)) if record.kind == kind => Ok(value),
            (Type::AnyOf(kinds), Value::Record(record)) if kinds.contains(&record.kind) => Ok(value),
            (Type::AnyOf(_), Value::Text(_)) => Ok(value),
            (Type::AnyOf(kinds), _) => refuse(&format!("it takes an object of one of the types {kinds:?}")),
            (Type::Object(kind), _) => refuse(&format!("it takes an object of type {kind:?}")),
        }
    }

    fn refuse(&self, value: &Value, why: &str) -> Failure {
        let shown: String = value.to_string().chars().take(64).collect();
        Failure {
            id: "ParameterArgumentValidationError",
            ..Failure::invalid(format!(
                "Cannot validate argument on parameter '{}'. \"{shown}\" does not fit: {why}.",
                self.name
            ))
        }
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(*number as i64),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn size(value: &Value) -> Option<i64> {
    let bytes = ireko_machine::parse_memory(value.as_text()?).ok()?;
    i64::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::parameter::*;
    use super::*;

    #[test]
    fn the_text_true_is_no_boolean() {
        assert!(boolean("B", "").convert("true".into()).is_err());
        assert_eq!(boolean("B", "").convert(Value::Int(1)).unwrap(), true.into());
    }

    #[test]
    fn amounts_are_numbers_or_text() {
        let amount = bytes("M", "");
        assert_eq!(amount.convert("4GB".into()).unwrap(), Value::Int(4 << 30));
        assert_eq!(amount.convert(Value::Int(5)).unwrap(), Value::Int(5));
        assert!(amount.convert(Value::Int(-5)).is_err());
    }

    #[test]
    fn words_take_the_case_of_the_definition() {
        assert_eq!(one_of("E", ON_OFF, "").convert("oFF".into()).unwrap(), "Off".into());
        assert!(one_of("E", ON_OFF, "").convert("maybe".into()).unwrap_err().message.contains("On, Off"));
    }

    #[test]
    fn numbers_outside_the_range_are_refused_with_the_range() {
        assert!(int("N", 1, 8, "").convert(Value::Int(9)).unwrap_err().message.contains("between 1 and 8"));
    }
}
