//! Conversions between types (language specification 6; about_Type_Conversion).

use super::{DateTime, Guid, Pattern, TimeSpan, Type, Version, exception_is, parse_date, text, type_name};
use crate::error::{ErrorRecord, Exception};
use crate::syntax::Case;
use crate::value::{Array, ArrayKind, Closure, IntegerKind, Map, MapKind, Number, Object, Property, Value};
use std::rc::Rc;

type Converted = Result<Value, ErrorRecord>;

fn refuse(value: &Value, kind: &Type, id: &str, why: &str) -> ErrorRecord {
    let shown: String = text(value).chars().take(200).collect();
    let why = if why.is_empty() { String::new() } else { format!(" Error: \"{why}\"") };
    let message = format!("Cannot convert value \"{shown}\" to type \"{}\".{why}", kind.full_name());
    ErrorRecord::runtime(id, message)
        .in_category("InvalidArgument")
        .of_inner_type("System.Management.Automation.PSInvalidCastException")
}

const FORMAT: &str = "Input string was not in a correct format.";

/// `$value -as [type]`
pub fn convert_or_none(value: &Value, kind: &Type) -> Option<Value> {
    convert(value, kind).ok()
}

/// `[type]$value`
pub fn convert(value: &Value, kind: &Type) -> Converted {
    match kind {
        Type::Object | Type::PSObject => Ok(value.clone()),
        Type::Void => Ok(Value::Null),
        Type::String => Ok(Value::from(text(value))),
        Type::Bool | Type::Switch => Ok(Value::Bool(value.is_true())),
        Type::Char => character(value, kind),
        Type::Integer(integer_kind) => integer(value, kind, *integer_kind),
        Type::Single => real(value, kind).map(|number| Value::Number(Number::Single(number as f32))),
        Type::Double => real(value, kind).map(Value::double),
        Type::Decimal => decimal(value, kind),
        Type::Array(element) => array(value, element),
        Type::ArrayList => Ok(list(value.some_elements(), ArrayKind::ArrayList)),
        Type::List(element) => {
            let items =
                value.some_elements().iter().map(|item| convert(item, element)).collect::<Result<_, _>>()?;
            Ok(list(items, ArrayKind::List(element.clone())))
        }
        Type::Queue => Ok(list(value.some_elements(), ArrayKind::Queue)),
        Type::Stack => Ok(list(value.some_elements(), ArrayKind::Stack)),
        Type::HashSet => Ok(list(value.some_elements(), ArrayKind::HashSet)),
        Type::Nullable(_) if value.is_null() => Ok(Value::Null),
        Type::Nullable(inner) => convert(value, inner),
        Type::Enum(enumeration) => match value {
            Value::Number(number) => {
                let value_of = number.as_integer().and_then(|number| i64::try_from(number).ok());
                let known = |number: &i64| {
                    enumeration.flags || enumeration.members.iter().any(|(_, own)| own == number)
                };
                match value_of.filter(known) {
                    Some(value) => {
                        Ok(Value::Enum(crate::value::EnumValue { kind: enumeration.clone(), value }))
                    }
                    None => Err(no_such_member(value, kind, enumeration)),
                }
            }
            Value::Enum(own) if Rc::ptr_eq(&own.kind, enumeration) => Ok(value.clone()),
            other => enumeration
                .parse(&text(other))
                .map(Value::Enum)
                .ok_or_else(|| no_such_member(value, kind, enumeration)),
        },
        _ => special(value, kind),
    }
}

fn no_such_member(value: &Value, kind: &Type, enumeration: &crate::value::EnumType) -> ErrorRecord {
    let names: Vec<&str> = enumeration.members.iter().map(|(name, _)| &**name).collect();
    let why = format!(
        "Unable to match the identifier name {} to a valid enumerator name. Specify one of the following enumerator names and try again:\n{}",
        text(value),
        names.join(", ")
    );
    refuse(value, kind, "InvalidCastFromStringToEnumeration", &why)
}

fn list(items: Vec<Value>, kind: ArrayKind) -> Value {
    Value::Array(Rc::new(Array::new(items, kind)))
}

fn array(value: &Value, element: &Rc<Type>) -> Converted {
    if value.is_null() {
        return Ok(Value::Null);
    }
    if matches!(**element, Type::Char)
        && let Value::Text(text) = value
    {
        return Ok(list(text.chars().map(Value::Char).collect(), ArrayKind::Typed(element.clone())));
    }
    let items = value.elements().iter().map(|item| convert(item, element)).collect::<Result<Vec<_>, _>>()?;
    let kind =
        if matches!(**element, Type::Object) { ArrayKind::Fixed } else { ArrayKind::Typed(element.clone()) };
    Ok(list(items, kind))
}

/// One value where one is wanted: an array of one is its element.
fn single(value: &Value) -> Value {
    match value {
        Value::Array(array) if array.len() == 1 => array.items()[0].clone(),
        other => other.clone(),
    }
}

fn character(value: &Value, kind: &Type) -> Converted {
    match value {
        Value::Char(_) => Ok(value.clone()),
        Value::Number(number) => {
            let code = number.as_integer().and_then(|code| u32::try_from(code).ok()).and_then(char::from_u32);
            code.map(Value::Char).ok_or_else(|| {
                refuse(
                    value,
                    kind,
                    "InvalidCastIConvertible",
                    "Value was either too large or too small for a character.",
                )
            })
        }
        other => {
            let text = text(other);
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Ok(Value::Char(c)),
                _ => Err(refuse(
                    value,
                    kind,
                    "InvalidCastParseTargetInvocation",
                    "String must be exactly one character long.",
                )),
            }
        }
    }
}

/// The number that a value is or says; text may be hexadecimal and have a multiplier.
pub(crate) fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Null => Some(Number::of(0)),
        Value::Bool(value) => Some(Number::of(i128::from(*value))),
        Value::Number(number) => Some(*number),
        Value::Char(c) => Some(Number::of(i128::from(*c as u32))),
        Value::Enum(value) => Some(Number::of(i128::from(value.value))),
        Value::Text(text) => {
            let text = text.trim();
            if text.is_empty() {
                return Some(Number::of(0));
            }
            crate::parse::number(text)
                .or_else(|| crate::parse::number(&text.replace(',', "")).filter(|_| text.contains(',')))
        }
        Value::Array(array) if array.len() == 1 && !matches!(array.items()[0], Value::Array(_)) => {
            number(&array.items()[0])
        }
        _ => None,
    }
}

fn source_name(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "InvalidCastFromStringToInteger",
        _ => "ConvertToFinalInvalidCastException",
    }
}

fn integer(value: &Value, kind: &Type, integer_kind: IntegerKind) -> Converted {
    if let Value::Map(_) | Value::Object(_) | Value::Date(_) = value {
        let message = format!(
            "Cannot convert the \"{}\" value of type \"{}\" to type \"{}\".",
            text(value),
            type_name(value),
            kind.full_name()
        );
        return Err(ErrorRecord::runtime("ConvertToFinalInvalidCastException", message)
            .in_category("InvalidArgument")
            .of_inner_type("System.Management.Automation.PSInvalidCastException"));
    }
    let found = number(value).ok_or_else(|| refuse(value, kind, source_name(value), FORMAT))?;
    let too_large = || {
        let why = format!("Value was either too large or too small for an {}.", integer_kind.name());
        refuse(value, kind, source_name(value), &why)
    };
    let whole = found.as_integer().filter(|whole| integer_kind.holds(*whole)).ok_or_else(too_large)?;
    Ok(Value::Number(Number::Integer(whole, integer_kind)))
}

fn real(value: &Value, kind: &Type) -> Result<f64, ErrorRecord> {
    if let Some(found) = number(value) {
        return Ok(found.as_f64());
    }
    let said = text(value);
    match said.trim().to_ascii_lowercase().as_str() {
        "infinity" | "\u{221e}" => Ok(f64::INFINITY),
        "-infinity" | "-\u{221e}" => Ok(f64::NEG_INFINITY),
        "nan" => Ok(f64::NAN),
        _ => Err(refuse(value, kind, "InvalidCastFromStringToDoubleOrSingle", FORMAT)),
    }
}

fn decimal(value: &Value, kind: &Type) -> Converted {
    if let Value::Text(text) = value
        && let Some(decimal) = crate::value::Decimal::parse(text.trim())
    {
        return Ok(Value::Number(Number::Decimal(decimal)));
    }
    let found = number(value).and_then(Number::as_decimal);
    found
        .map(|decimal| Value::Number(Number::Decimal(decimal)))
        .ok_or_else(|| refuse(value, kind, "InvalidCastFromStringToDecimal", FORMAT))
}

fn special(value: &Value, kind: &Type) -> Converted {
    if is_instance(value, kind) {
        return Ok(value.clone());
    }
    let one = single(value);
    let said = text(&one);
    let parsed = |found: Option<Value>, why: &str| {
        found.ok_or_else(|| refuse(value, kind, "InvalidCastParseTargetInvocation", why))
    };
    match kind {
        Type::DateTime => match &one {
            Value::Number(Number::Integer(ticks, _)) => {
                let date = i64::try_from(*ticks)
                    .ok()
                    .and_then(|ticks| DateTime::new(ticks, super::DateKind::Unspecified));
                parsed(
                    date.map(Value::Date),
                    "Ticks must be between DateTime.MinValue.Ticks and DateTime.MaxValue.Ticks.",
                )
            }
            _ => parsed(parse_date(&said).map(Value::Date), "String was not recognized as a valid DateTime."),
        },
        Type::TimeSpan => match &one {
            Value::Number(Number::Integer(ticks, _)) => {
                let ticks = i64::try_from(*ticks).ok();
                parsed(ticks.map(|ticks| Value::Span(TimeSpan { ticks })), "TimeSpan overflowed.")
            }
            _ => parsed(
                TimeSpan::parse(&said).map(Value::Span),
                "String was not recognized as a valid TimeSpan.",
            ),
        },
        Type::Guid => parsed(
            Guid::parse(&said).map(Value::Guid),
            "Guid should contain 32 digits with 4 dashes (xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx).",
        ),
        Type::Version => parsed(
            Version::parse(&said).map(Value::Version),
            "Version string portion was too short or too long.",
        ),
        Type::Address => {
            parsed(super::address::parse(&said).map(Value::Address), "An invalid IP address was specified.")
        }
        Type::Regex => Pattern::new(&said, Case::Exact).map(Value::Regex),
        Type::ScriptBlock => {
            let block = crate::parse::script(&said, "").map_err(|error| ErrorRecord::parsing(&error))?;
            Ok(Value::Block(Rc::new(Closure { block, scope: None })))
        }
        Type::Hashtable | Type::Ordered | Type::Dictionary => map(value, kind),
        Type::Custom => Ok(custom(value)),
        Type::Exception(name) => Ok(Value::Exception(Exception::new(name, &said))),
        _ if value.is_null() => Ok(Value::Null),
        Type::Class(name) if &**name == "System.Uri" => super::statics::uri(&said)
            .ok_or_else(|| refuse(value, kind, "InvalidCastParseTargetInvocation", "Invalid URI.")),
        _ => {
            let message = format!(
                "Cannot convert the \"{}\" value of type \"{}\" to type \"{}\".",
                said.chars().take(200).collect::<String>(),
                type_name(value),
                kind.full_name()
            );
            Err(ErrorRecord::runtime("ConvertToFinalInvalidCastException", message)
                .in_category("InvalidArgument")
                .of_inner_type("System.Management.Automation.PSInvalidCastException"))
        }
    }
}

fn map(value: &Value, kind: &Type) -> Converted {
    match value {
        Value::Null => Ok(Value::Null),
        Value::Map(own) => {
            let made = Map::new(match kind {
                Type::Ordered => MapKind::Ordered,
                Type::Dictionary => MapKind::Dictionary,
                _ => MapKind::Hashtable,
            });
            for (key, value) in own.pairs() {
                made.set(key, value);
            }
            Ok(Value::Map(Rc::new(made)))
        }
        other => Err(refuse(other, kind, "ConvertToFinalInvalidCastException", "")),
    }
}

/// `[pscustomobject]@{ … }`
fn custom(value: &Value) -> Value {
    match value {
        Value::Map(map) => {
            let object = Object::custom();
            for (key, value) in map.pairs() {
                object.set(&text(&key), Property::Note(value));
            }
            object.into_value()
        }
        other => other.clone(),
    }
}

/// `-is`
pub fn is_instance(value: &Value, kind: &Type) -> bool {
    match (kind, value) {
        (_, Value::Null) => false,
        (Type::Object, _)
        | (Type::String, Value::Text(_) | Value::Formatted(_))
        | (Type::Char, Value::Char(_))
        | (Type::Bool | Type::Switch, Value::Bool(_))
        | (Type::Single, Value::Number(Number::Single(_)))
        | (Type::Double, Value::Number(Number::Double(_)))
        | (Type::Decimal, Value::Number(Number::Decimal(_)))
        | (Type::DateTime, Value::Date(_))
        | (Type::TimeSpan, Value::Span(_))
        | (Type::Guid, Value::Guid(_))
        | (Type::Version, Value::Version(_))
        | (Type::Address, Value::Address(_))
        | (Type::Regex, Value::Regex(_))
        | (Type::ScriptBlock, Value::Block(_))
        | (Type::Type, Value::Type(_))
        | (Type::Reference, Value::Reference(_))
        | (Type::ErrorRecord, Value::Error(_)) => true,
        (Type::PSObject | Type::Custom, Value::Object(object)) => object.is_custom(),
        (Type::Integer(kind), Value::Number(Number::Integer(_, own))) => kind == own,
        (Type::Hashtable, Value::Map(map)) => map.kind == MapKind::Hashtable,
        (Type::Ordered, Value::Map(map)) => map.kind == MapKind::Ordered,
        (Type::Dictionary, Value::Map(map)) => map.kind == MapKind::Dictionary,
        (Type::Array(element), Value::Array(array)) => match &array.kind {
            ArrayKind::Fixed => matches!(**element, Type::Object),
            ArrayKind::Typed(own) => {
                matches!(**element, Type::Object) || own.full_name() == element.full_name()
            }
            _ => false,
        },
        (Type::ArrayList, Value::Array(array)) => matches!(array.kind, ArrayKind::ArrayList),
        (Type::List(_), Value::Array(array)) => matches!(array.kind, ArrayKind::List(_)),
        (Type::Queue, Value::Array(array)) => matches!(array.kind, ArrayKind::Queue),
        (Type::Stack, Value::Array(array)) => matches!(array.kind, ArrayKind::Stack),
        (Type::HashSet, Value::Array(array)) => matches!(array.kind, ArrayKind::HashSet),
        (Type::Enum(kind), Value::Enum(own)) => Rc::ptr_eq(kind, &own.kind),
        (Type::Exception(name), Value::Exception(exception)) => exception_is(&exception.type_name, name),
        (Type::Nullable(inner), value) => is_instance(value, inner),
        (Type::Class(name), Value::Object(object)) => name.eq_ignore_ascii_case(&object.type_name),
        (Type::Class(name), Value::Array(array)) if &**name == "System.Array" => array.is_fixed(),
        (Type::Class(name), Value::Enum(_)) => &**name == "System.Enum",
        _ => false,
    }
}
