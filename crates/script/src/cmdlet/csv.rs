//! Comma-separated values as PowerShell writes and reads them.

use crate::error::Outcome;
use crate::interpret::{Interpreter, shown_names};
use crate::types::text;
use crate::value::{Object, Property, Value};

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A line of titles, then one for each object; the properties are the first one's.
pub fn write(interpreter: &mut Interpreter<'_>, items: &[Value], between: &str) -> Outcome<Vec<String>> {
    let Some(first) = items.first() else { return Ok(Vec::new()) };
    let names = shown_names(first);
    let mut lines = vec![names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(between)];
    for item in items {
        let mut cells = Vec::new();
        for name in &names {
            let value = interpreter.member(item, name)?;
            let said = match &value {
                Value::Null => String::new(),
                Value::Array(array) if !array.items().is_empty() => quoted(&crate::types::type_name(&value)),
                other => quoted(&text(other)),
            };
            cells.push(said);
        }
        lines.push(cells.join(between));
    }
    Ok(lines)
}

/// The fields of all lines; a field in quotes may have line ends.
fn fields(content: &str, between: char) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row: Vec<String> = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = content.chars().peekable();
    let mut any = false;
    while let Some(c) = chars.next() {
        any = true;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
                any = false;
            }
            c if c == between && !quoted => row.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if any {
        row.push(field);
        rows.push(row);
    }
    rows.retain(|row| row.len() > 1 || row.first().is_some_and(|field| !field.is_empty()));
    rows
}

pub fn read(content: &str, between: char, header: Vec<String>) -> Vec<Value> {
    let mut rows = fields(content, between).into_iter().filter(|row| !row[0].starts_with("#TYPE"));
    let header = if header.is_empty() { rows.next().unwrap_or_default() } else { header };
    let object = |row: Vec<String>| {
        let object = Object::custom();
        for (at, name) in header.iter().enumerate() {
            object.set(
                name.trim(),
                Property::Note(row.get(at).map_or(Value::Null, |field| field.as_str().into())),
            );
        }
        object.into_value()
    };
    rows.map(object).collect()
}
