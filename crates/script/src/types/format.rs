//! The `-f` operator and `ToString` with a pattern (about_Operators; .NET's composite formatting).

use super::date_format::format_date;
use super::number_format::format_number;
use super::text;
use crate::error::ErrorRecord;
use crate::value::Value;

fn wrong(message: &str) -> ErrorRecord {
    ErrorRecord::runtime("FormatError", format!("Error formatting a string: {message}."))
        .of_type("System.FormatException")
}

/// `{0}`, `{0,-10}`, `{0:N2}`
pub fn composite(pattern: &str, items: &[Value]) -> Result<String, ErrorRecord> {
    let mut made = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        made += &rest[..at];
        let brace = &rest[at..=at];
        if rest[at + 1..].starts_with(brace) {
            made += brace;
            rest = &rest[at + 2..];
            continue;
        }
        let end = rest[at..].find('}').filter(|_| brace == "{");
        let end = end.ok_or_else(|| wrong("Input string was not in a correct format"))?;
        made += &item(&rest[at + 1..at + end], items)?;
        rest = &rest[at + end + 1..];
    }
    Ok(made + rest)
}

fn item(hole: &str, items: &[Value]) -> Result<String, ErrorRecord> {
    let malformed = || wrong("Input string was not in a correct format");
    let (head, pattern) = hole.split_once(':').unwrap_or((hole, ""));
    let (index, width) = head.split_once(',').unwrap_or((head, "0"));
    let index: usize = index.trim().parse().map_err(|_| malformed())?;
    let missing = "Index (zero based) must be greater than or equal to zero and less than the size of the argument list";
    let value = items.get(index).ok_or_else(|| wrong(missing))?;
    let width: i32 =
        width.trim().parse().ok().filter(|width: &i32| width.abs() <= 100_000).ok_or_else(malformed)?;
    let text = formatted(value, pattern).ok_or_else(malformed)?;
    let size = width.unsigned_abs() as usize;
    Ok(crate::characters::pad(&text, size, width >= 0))
}

/// Nothing if the pattern does not fit; what has no patterns is as it is.
pub fn formatted(value: &Value, pattern: &str) -> Option<String> {
    match value {
        Value::Date(date) => format_date(*date, pattern),
        _ if pattern.is_empty() => Some(text(value)),
        Value::Number(number) => format_number(*number, pattern),
        Value::Span(span) => span.format(pattern),
        Value::Guid(guid) => guid.format(pattern),
        Value::Enum(value) => match pattern {
            "d" | "D" => Some(value.value.to_string()),
            "x" | "X" => Some(format!("{:08X}", value.value)),
            _ => Some(value.text()),
        },
        other => Some(text(other)),
    }
}
