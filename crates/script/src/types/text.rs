//! Values as text: inside strings, in cells of tables, and the names of their types.

use super::date_format::format_date;
use crate::value::{Array, ArrayKind, MapKind, Object, Property, Value};
use std::net::IpAddr;

/// Objects within objects, as far as text goes.
const DEEPEST: usize = 16;

/// What `"$value"` says.
pub fn text(value: &Value) -> String {
    written(value, DEEPEST)
}

fn written(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Char(c) => c.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) | Value::Formatted(text) => text.to_string(),
        Value::Array(array) if depth > 0 => {
            let items = array.items();
            items.iter().map(|item| inside(item, depth - 1)).collect::<Vec<_>>().join(" ")
        }
        Value::Object(object) => object_text(object, depth),
        Value::Block(closure) => closure.block.text().to_owned(),
        Value::Enum(value) => value.text(),
        Value::Date(date) => format_date(*date, "MM/dd/yyyy HH:mm:ss").unwrap_or_default(),
        Value::Span(span) => span.to_string(),
        Value::Guid(guid) => guid.to_string(),
        Value::Version(version) => version.to_string(),
        Value::Address(IpAddr::V4(address)) => address.to_string(),
        Value::Address(IpAddr::V6(address)) => address.to_string(),
        Value::Type(kind) => short_name_of(&kind.full_name()),
        Value::Error(record) => record.message().to_owned(),
        Value::Exception(exception) => match &exception.inner {
            Some(inner) => format!(
                "{}: {} ---> {}: {}",
                exception.type_name, exception.message, inner.type_name, inner.message
            ),
            None => format!("{}: {}", exception.type_name, exception.message),
        },
        Value::Regex(pattern) => pattern.text.to_string(),
        Value::Array(_) | Value::Map(_) | Value::Reference(_) => type_name(value),
    }
}

/// An array inside an array says what it is.
fn inside(value: &Value, depth: usize) -> String {
    match value {
        Value::Array(_) => type_name(value),
        other => written(other, depth),
    }
}

/// `System.Int32` is `int` where PowerShell has a short name.
pub fn short_type_name(full: &str) -> String {
    short_name_of(full)
}

fn short_name_of(full: &str) -> String {
    let short = match full {
        "System.String" => "string",
        "System.Int32" => "int",
        "System.Int64" => "long",
        "System.Boolean" => "bool",
        "System.Double" => "double",
        "System.Decimal" => "decimal",
        "System.Object" => "System.Object",
        "System.DateTime" => "datetime",
        "System.Collections.Hashtable" => "hashtable",
        "System.Byte" => "byte",
        "System.Char" => "char",
        "System.Guid" => "guid",
        "System.Version" => "version",
        "System.Management.Automation.ScriptBlock" => "scriptblock",
        "System.Text.RegularExpressions.Regex" => "regex",
        other => other,
    };
    short.into()
}

fn object_text(object: &Object, depth: usize) -> String {
    if let Some(shown) = &object.shown {
        return shown.to_string();
    }
    if !object.is_custom() {
        return match object.note("Name").or_else(|| object.note("Path")) {
            Some(name) => written(&name, depth.saturating_sub(1)),
            None => object.type_name.to_string(),
        };
    }
    if depth == 0 {
        return "@{...}".into();
    }
    let pairs = object.all().into_iter().filter_map(|(name, property)| {
        let Property::Note(value) = property else { return None };
        Some(format!("{name}={}", inside(&value, depth - 1)))
    });
    format!("@{{{}}}", pairs.collect::<Vec<_>>().join("; "))
}

/// What a cell of a table says: lists have braces.
pub fn cell(value: &Value) -> String {
    cell_at(value, 3)
}

fn cell_at(value: &Value, depth: usize) -> String {
    match value {
        Value::Array(array) if depth > 0 => {
            let items = array.items();
            let cells: Vec<String> = items.iter().map(|item| cell_at(item, depth - 1)).collect();
            format!("{{{}}}", cells.join(", "))
        }
        Value::Map(map) => {
            let keys: Vec<String> = map.pairs().iter().map(|(key, _)| text(key)).collect();
            format!("{{{}}}", keys.join(", "))
        }
        Value::Date(date) => format_date(*date, "G").unwrap_or_default(),
        Value::Array(_) => "{...}".into(),
        other => text(other),
    }
}

/// How a date stands by itself in output.
pub fn long_date(date: super::DateTime) -> String {
    format_date(date, "F").unwrap_or_default()
}

/// The whole .NET name of a value's type.
pub fn type_name(value: &Value) -> String {
    match value {
        Value::Null => "Null".into(),
        Value::Bool(_) => "System.Boolean".into(),
        Value::Char(_) => "System.Char".into(),
        Value::Number(number) => format!("System.{}", number.type_name()),
        Value::Text(_) => "System.String".into(),
        Value::Array(array) => array_type_name(array),
        Value::Map(map) => match map.kind {
            MapKind::Hashtable => "System.Collections.Hashtable".into(),
            MapKind::Ordered => "System.Collections.Specialized.OrderedDictionary".into(),
            MapKind::Dictionary => {
                "System.Collections.Generic.Dictionary`2[System.Object,System.Object]".into()
            }
        },
        Value::Object(object) if object.is_custom() => crate::value::CUSTOM.into(),
        Value::Object(object) => object.type_name.to_string(),
        Value::Block(_) => "System.Management.Automation.ScriptBlock".into(),
        Value::Enum(value) => value.kind.name.to_string(),
        Value::Date(_) => "System.DateTime".into(),
        Value::Span(_) => "System.TimeSpan".into(),
        Value::Guid(_) => "System.Guid".into(),
        Value::Version(_) => "System.Version".into(),
        Value::Address(_) => "System.Net.IPAddress".into(),
        Value::Type(_) => "System.RuntimeType".into(),
        Value::Error(_) => "System.Management.Automation.ErrorRecord".into(),
        Value::Exception(exception) => exception.type_name.to_string(),
        Value::Regex(_) => "System.Text.RegularExpressions.Regex".into(),
        Value::Reference(_) => "System.Management.Automation.PSReference".into(),
        Value::Formatted(_) => "Microsoft.PowerShell.Commands.Internal.Format.FormatEntryData".into(),
    }
}

fn array_type_name(array: &Array) -> String {
    match &array.kind {
        ArrayKind::Fixed => "System.Object[]".into(),
        ArrayKind::Typed(element) => element.full_name() + "[]",
        ArrayKind::ArrayList => "System.Collections.ArrayList".into(),
        ArrayKind::List(element) => format!("System.Collections.Generic.List`1[{}]", element.full_name()),
        ArrayKind::Queue => "System.Collections.Queue".into(),
        ArrayKind::Stack => "System.Collections.Stack".into(),
        ArrayKind::HashSet => "System.Collections.Generic.HashSet`1[System.Object]".into(),
    }
}
