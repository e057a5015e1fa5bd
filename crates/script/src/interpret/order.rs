//! What is equal, and what comes first.

use crate::syntax::Case;
use crate::types::{Type, convert, text};
use crate::value::Value;
use std::cmp::Ordering;

/// The right side is converted to the left one's type (about_Comparison_Operators).
pub fn order(left: &Value, right: &Value, case: Case) -> Option<Ordering> {
    match (left, right) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Null, _) => Some(Ordering::Less),
        (_, Value::Null) => Some(Ordering::Greater),
        (Value::Number(one), Value::Number(other)) => one.compare(*other),
        (Value::Number(one), other) => one.compare(crate::types::number(other)?),
        (Value::Bool(one), other) => Some(one.cmp(&other.is_true())),
        (Value::Char(one), Value::Char(other)) => {
            Some(text_order(&one.to_string(), &other.to_string(), case))
        }
        (Value::Date(one), other) => {
            let Value::Date(other) = convert(other, &Type::DateTime).ok()? else { return None };
            Some(one.ticks.cmp(&other.ticks))
        }
        (Value::Span(one), other) => {
            let Value::Span(other) = convert(other, &Type::TimeSpan).ok()? else { return None };
            Some(one.cmp(&other))
        }
        (Value::Version(one), other) => {
            let Value::Version(other) = convert(other, &Type::Version).ok()? else { return None };
            Some(one.cmp(&other))
        }
        (Value::Guid(one), other) => {
            let Value::Guid(other) = convert(other, &Type::Guid).ok()? else { return None };
            Some(one.cmp(&other))
        }
        (Value::Enum(one), Value::Enum(other)) => Some(one.value.cmp(&other.value)),
        (Value::Enum(one), other) => match crate::types::number(other) {
            Some(number) if !matches!(other, Value::Text(_)) => {
                Some(i128::from(one.value).cmp(&number.as_integer()?))
            }
            _ => {
                let other = one.kind.parse(&text(other))?;
                Some(one.value.cmp(&other.value))
            }
        },
        (Value::Text(_), Value::Enum(_)) => Some(text_order(&text(left), &text(right), case)),
        (Value::Type(one), Value::Type(other)) => {
            (one.full_name() == other.full_name()).then_some(Ordering::Equal)
        }
        (Value::Type(one), other) => {
            one.full_name().eq_ignore_ascii_case(&text(other)).then_some(Ordering::Equal)
        }
        (Value::Array(_) | Value::Map(_) | Value::Block(_), _) => left.same(right).then_some(Ordering::Equal),
        (Value::Object(own), Value::Object(other)) => {
            if left.same(right) {
                return Some(Ordering::Equal);
            }
            // Two pictures of the same thing of a host's.
            let identity = |object: &crate::value::Object| {
                object.note("Id").map(|id| text(&id)).filter(|id| !id.is_empty())
            };
            let alike = !own.is_custom()
                && own.type_name == other.type_name
                && identity(own).is_some()
                && identity(own) == identity(other);
            if alike {
                Some(Ordering::Equal)
            } else if own.is_custom() {
                None
            } else {
                Some(text_order(&text(left), &text(right), case))
            }
        }
        _ => Some(text_order(&text(left), &text(right), case)),
    }
}

pub fn equal(left: &Value, right: &Value, case: Case) -> bool {
    match (left.is_null(), right.is_null()) {
        (true, true) => true,
        (true, false) | (false, true) => false,
        _ => order(left, right, case) == Some(Ordering::Equal),
    }
}

fn text_order(one: &str, other: &str, case: Case) -> Ordering {
    match case {
        Case::Exact if one == other => Ordering::Equal,
        Case::Exact => (crate::types::text_order(one, other)).cmp(&0),
        Case::Ignored => one.to_lowercase().cmp(&other.to_lowercase()),
    }
}

/// In ascending order. A merge sort of our own: values of different types have no total order, and the library's sort may
/// refuse that.
pub fn sorted(items: Vec<Value>) -> Vec<Value> {
    merge_sorted(items, &|one, other| order(one, other, Case::Ignored).unwrap_or(Ordering::Equal))
}

pub fn merge_sorted<T>(mut items: Vec<T>, compare: &impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if items.len() < 2 {
        return items;
    }
    let right = merge_sorted(items.split_off(items.len() / 2), compare);
    let left = merge_sorted(items, compare);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let right_first = compare(other, one).is_lt();
        merged.extend(if right_first { right.next() } else { left.next() });
    }
    merged.extend(left.chain(right));
    merged
}
