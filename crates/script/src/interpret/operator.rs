//! Operators (about_Operators; language specification 7).

use super::order::{equal, order};
use crate::error::ErrorRecord;
use crate::syntax::{Binary, Case, Comparison};
use crate::types::{Pattern, TimeSpan, Type, composite, convert, number, text, type_name};
use crate::value::{Array, ArrayKind, IntegerKind, Map, Number, Value};
use std::cmp::Ordering;
use std::rc::Rc;

type Result<T = Value> = std::result::Result<T, ErrorRecord>;

/// No operator makes more elements or characters than this.
const MOST: usize = 1 << 24;

pub fn operate(operator: Binary, left: &Value, right: &Value) -> Result {
    match operator {
        Binary::Compare(which, case) => compare(which, case, left, right),
        Binary::Add => add(left, right),
        Binary::Subtract => subtract(left, right),
        Binary::Multiply => multiply(left, right),
        Binary::Divide | Binary::Remainder => arithmetic(operator, left, right),
        Binary::Format => {
            let items = match right {
                Value::Array(array) => array.items().clone(),
                other => vec![other.clone()],
            };
            composite(&text(left), &items).map(Value::from)
        }
        Binary::Range => range(left, right),
        Binary::Join => Ok(join(left, &text(right)).into()),
        Binary::Split(case) => split(left, right, case),
        Binary::BitAnd | Binary::BitOr | Binary::BitXor | Binary::ShiftLeft | Binary::ShiftRight => {
            bits(operator, left, right)
        }
        // These need a script's types and blocks.
        Binary::Replace(_) | Binary::Is | Binary::IsNot | Binary::As => Ok(Value::Null),
    }
}

/// Of an array on the left, the elements that fit; else whether it fits.
pub fn compare(which: Comparison, case: Case, left: &Value, right: &Value) -> Result {
    use Comparison::{Contains, In, NotContains, NotIn};
    match which {
        Contains => Ok(contains(left, right, case).into()),
        NotContains => Ok((!contains(left, right, case)).into()),
        In => Ok(contains(right, left, case).into()),
        NotIn => Ok((!contains(right, left, case)).into()),
        _ => match left {
            Value::Array(array) => {
                let mut kept = Vec::new();
                for item in array.items().iter() {
                    if holds(which, case, item, right)? {
                        kept.push(item.clone());
                    }
                }
                Ok(Value::array(kept))
            }
            left => holds(which, case, left, right).map(Value::from),
        },
    }
}

fn contains(list: &Value, wanted: &Value, case: Case) -> bool {
    match list {
        Value::Array(array) => array.items().iter().any(|item| equal(item, wanted, case)),
        one => equal(one, wanted, case),
    }
}

fn holds(which: Comparison, case: Case, left: &Value, right: &Value) -> Result<bool> {
    use Comparison as C;
    let ordered = |fits: fn(Ordering) -> bool| -> Result<bool> {
        match order(left, right, case) {
            Some(order) => Ok(fits(order)),
            None => Err(not_comparable(left, right)),
        }
    };
    Ok(match which {
        C::Equal => equal(left, right, case),
        C::NotEqual => !equal(left, right, case),
        C::Greater => ordered(Ordering::is_gt)?,
        C::GreaterOrEqual => ordered(Ordering::is_ge)?,
        C::Less => ordered(Ordering::is_lt)?,
        C::LessOrEqual => ordered(Ordering::is_le)?,
        C::Like => wildcard(&text(right), &text(left), case),
        C::NotLike => !wildcard(&text(right), &text(left), case),
        C::Match => Pattern::new(&text(right), case)?.is_match(&text(left))?,
        C::NotMatch => !Pattern::new(&text(right), case)?.is_match(&text(left))?,
        C::Contains | C::NotContains | C::In | C::NotIn => false,
    })
}

fn not_comparable(left: &Value, right: &Value) -> ErrorRecord {
    let message = format!("Could not compare \"{}\" to \"{}\".", text(left), text(right));
    let why = format!(
        "{message} Error: \"Cannot convert value \"{}\" to type \"{}\".\"",
        text(right),
        type_name(left)
    );
    ErrorRecord::runtime("ComparisonFailure", why)
}

/// `*`, `?` and `[a-z]`; a backtick makes the next character plain.
pub fn wildcard(pattern: &str, text: &str, case: Case) -> bool {
    let fold = |text: &str| -> Vec<char> {
        if case == Case::Ignored {
            text.chars().flat_map(char::to_lowercase).collect()
        } else {
            text.chars().collect()
        }
    };
    let (pattern, text) = (fold(pattern), fold(text));
    // Where to go on if what follows the last star does not fit.
    let (mut p, mut t, mut again) = (0, 0, None);
    loop {
        match pattern.get(p) {
            Some('*') => {
                again = Some((p + 1, t));
                p += 1;
                continue;
            }
            None if t == text.len() => return true,
            _ => {}
        }
        if let Some(length) = text.get(t).and_then(|c| one_fits(&pattern[p..], *c)) {
            p += length;
            t += 1;
            continue;
        }
        match again {
            Some((star, from)) if from < text.len() => {
                again = Some((star, from + 1));
                (p, t) = (star, from + 1);
            }
            _ => return false,
        }
    }
}

/// Whether the first part of a pattern takes this character, and how long that part is.
fn one_fits(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        [] => None,
        ['?', ..] => Some(1),
        ['`', plain, ..] => (*plain == c).then_some(2),
        ['[', inside @ ..] => match inside.iter().position(|c| *c == ']') {
            Some(length) => in_set(&inside[..length], c).then_some(length + 2),
            None => (c == '[').then_some(1),
        },
        [plain, ..] => (*plain == c).then_some(1),
    }
}

fn in_set(mut set: &[char], c: char) -> bool {
    loop {
        match set {
            [] => return false,
            [from, '-', to, rest @ ..] => {
                if (*from..=*to).contains(&c) {
                    return true;
                }
                set = rest;
            }
            [one, rest @ ..] => {
                if *one == c {
                    return true;
                }
                set = rest;
            }
        }
    }
}

fn too_much() -> ErrorRecord {
    ErrorRecord::runtime(
        "OutOfMemory",
        format!("The result would have more than {MOST} elements or characters."),
    )
    .of_type("System.OutOfMemoryException")
}

fn add(left: &Value, right: &Value) -> Result {
    match (left, right) {
        (Value::Array(array), right) => {
            let mut items = array.items().clone();
            items.extend(right.elements());
            if items.len() > MOST { Err(too_much()) } else { Ok(Value::array(items)) }
        }
        (Value::Map(one), Value::Map(other)) => {
            let sum = Map::new(one.kind);
            for (key, value) in one.pairs() {
                sum.set(key, value);
            }
            for (key, value) in other.pairs() {
                if sum.contains(&key) {
                    let message = format!(
                        "Item has already been added. Key in dictionary: '{0}'  Key being added: '{0}'",
                        text(&key)
                    );
                    return Err(ErrorRecord::runtime("System.ArgumentException", message)
                        .of_type("System.ArgumentException"));
                }
                sum.set(key, value);
            }
            Ok(Value::Map(Rc::new(sum)))
        }
        (Value::Null, right) => Ok(right.clone()),
        (Value::Text(one), right) => joined(one, &text(right)),
        (Value::Char(one), Value::Text(_) | Value::Char(_)) => joined(&one.to_string(), &text(right)),
        (Value::Date(date), Value::Span(span)) => date.plus(*span).map(Value::Date).ok_or_else(too_much),
        (Value::Span(one), Value::Span(other)) => one
            .ticks
            .checked_add(other.ticks)
            .map(|ticks| Value::Span(TimeSpan { ticks }))
            .ok_or_else(too_much),
        (Value::Span(_), Value::Date(_)) => add(right, left),
        (Value::Date(date), Value::Text(_)) => match convert(right, &Type::TimeSpan)? {
            Value::Span(span) => date.plus(span).map(Value::Date).ok_or_else(too_much),
            _ => Err(no_method(left, "op_Addition")),
        },
        (Value::Map(_) | Value::Object(_) | Value::Block(_) | Value::Type(_) | Value::Guid(_), _) => {
            Err(no_method(left, "op_Addition"))
        }
        _ => arithmetic(Binary::Add, left, right),
    }
}

fn joined(one: &str, other: &str) -> Result {
    if one.len() + other.len() > MOST * 4 { Err(too_much()) } else { Ok(format!("{one}{other}").into()) }
}

fn no_method(value: &Value, method: &str) -> ErrorRecord {
    let message = format!(
        "Method invocation failed because [{}] does not contain a method named '{method}'.",
        type_name(value)
    );
    ErrorRecord::runtime("MethodNotFound", message)
}

fn subtract(left: &Value, right: &Value) -> Result {
    match (left, right) {
        (Value::Date(one), Value::Date(other)) => {
            Ok(Value::Span(TimeSpan { ticks: one.ticks - other.ticks }))
        }
        (Value::Date(date), Value::Span(span)) => {
            date.plus(TimeSpan { ticks: -span.ticks }).map(Value::Date).ok_or_else(too_much)
        }
        (Value::Date(_), Value::Text(_)) => subtract(left, &convert(right, &Type::DateTime)?),
        (Value::Span(one), Value::Span(other)) => one
            .ticks
            .checked_sub(other.ticks)
            .map(|ticks| Value::Span(TimeSpan { ticks }))
            .ok_or_else(too_much),
        (Value::Array(_) | Value::Map(_) | Value::Object(_), _) => Err(no_method(left, "op_Subtraction")),
        _ => arithmetic(Binary::Subtract, left, right),
    }
}

fn multiply(left: &Value, right: &Value) -> Result {
    let times = |length: usize| -> Result<usize> {
        let count = number(right).and_then(Number::as_integer).and_then(|count| usize::try_from(count).ok());
        let count = count.ok_or_else(|| not_a_number(right))?;
        // Nothing so often is nothing, at once.
        let count = if length == 0 { 0 } else { count };
        if length.saturating_mul(count) > MOST { Err(too_much()) } else { Ok(count) }
    };
    match left {
        Value::Text(text) => Ok(text.repeat(times(text.len())?).into()),
        Value::Array(array) => {
            let items = array.items();
            let count = times(items.len())?;
            Ok(Value::array(std::iter::repeat_n(items.clone(), count).flatten().collect()))
        }
        Value::Null => Ok(Value::Null),
        Value::Span(span) => {
            let factor = number(right).ok_or_else(|| not_a_number(right))?;
            TimeSpan::from_seconds(span.seconds() * factor.as_f64()).map(Value::Span).ok_or_else(too_much)
        }
        left => arithmetic(Binary::Multiply, left, right),
    }
}

fn not_a_number(value: &Value) -> ErrorRecord {
    match convert(value, &Type::Integer(IntegerKind::Int32)) {
        Err(record) => record,
        Ok(_) => {
            ErrorRecord::runtime("InvalidCast", format!("'{}' is no number that fits here.", text(value)))
        }
    }
}

/// How .NET's type codes rank the types of two numbers.
fn rank(number: Number) -> u8 {
    match number {
        Number::Integer(_, kind) if kind <= IntegerKind::Int32 => 0,
        Number::Integer(_, IntegerKind::UInt32 | IntegerKind::Int64) => 1,
        Number::Integer(..) => 2,
        Number::Single(_) | Number::Double(_) => 3,
        Number::Decimal(_) => 4,
    }
}

fn arithmetic(operator: Binary, left: &Value, right: &Value) -> Result {
    let operand = |value: &Value| number(value).ok_or_else(|| not_a_number(value));
    if let Value::Map(_) | Value::Object(_) | Value::Block(_) = left {
        return Err(no_method(
            left,
            match operator {
                Binary::Multiply => "op_Multiply",
                Binary::Divide => "op_Division",
                Binary::Remainder => "op_Modulus",
                _ => "op_Addition",
            },
        ));
    }
    let (one, other) = (operand(left)?, operand(right)?);
    let divides = matches!(operator, Binary::Divide | Binary::Remainder);
    let highest = rank(one).max(rank(other));
    if divides && other.is_zero() && highest != 3 {
        return Err(ErrorRecord::runtime("RuntimeException", "Attempted to divide by zero.")
            .in_category("NotSpecified")
            .of_inner_type("System.DivideByZeroException"));
    }
    if highest == 4 {
        return decimal(operator, one, other);
    }
    if highest < 3
        && let (Number::Integer(a, _), Number::Integer(b, _)) = (one, other)
    {
        let exact = match operator {
            Binary::Add => a.checked_add(b),
            Binary::Subtract => a.checked_sub(b),
            Binary::Multiply => a.checked_mul(b),
            Binary::Remainder => a.checked_rem(b),
            _ => a.checked_rem(b).filter(|rest| *rest == 0).and_then(|_| a.checked_div(b)),
        };
        let kind = [IntegerKind::Int32, IntegerKind::Int64, IntegerKind::UInt64][usize::from(highest)];
        if let Some(value) = exact.filter(|value| kind.holds(*value)) {
            return Ok(Value::Number(Number::Integer(value, kind)));
        }
    }
    let (a, b) = (one.as_f64(), other.as_f64());
    Ok(Value::double(match operator {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Remainder => a % b,
        _ => a / b,
    }))
}

fn decimal(operator: Binary, one: Number, other: Number) -> Result {
    let overflow = || {
        ErrorRecord::runtime("RuntimeException", "Value was either too large or too small for a Decimal.")
            .of_type("System.OverflowException")
    };
    let (a, b) = one.as_decimal().zip(other.as_decimal()).ok_or_else(overflow)?;
    let made = match operator {
        Binary::Add => a.add(&b),
        Binary::Subtract => a.subtract(&b),
        Binary::Multiply => a.multiply(&b),
        Binary::Remainder => a.remainder(&b),
        _ => a.divide(&b),
    };
    made.map(|made| Value::Number(Number::Decimal(made))).ok_or_else(overflow)
}

fn bits(operator: Binary, left: &Value, right: &Value) -> Result {
    let operand = |value: &Value| {
        number(value)
            .and_then(|number| Some((number.as_integer()?, rank(number))))
            .ok_or_else(|| not_a_number(value))
    };
    let ((a, one), (b, other)) = (operand(left)?, operand(right)?);
    let shift = matches!(operator, Binary::ShiftLeft | Binary::ShiftRight);
    let highest = if shift { one } else { one.max(other) };
    let kind = [IntegerKind::Int32, IntegerKind::Int64, IntegerKind::UInt64][usize::from(highest.min(2))];
    let value = match operator {
        Binary::BitAnd => a & b,
        Binary::BitOr => a | b,
        Binary::BitXor => a ^ b,
        // The count is taken by the bits of the type.
        Binary::ShiftLeft => a << (b as u32 & (kind.bits() - 1)),
        _ => a >> (b as u32 & (kind.bits() - 1)),
    };
    let value = match kind {
        IntegerKind::Int32 => i128::from(value as i32),
        IntegerKind::Int64 => i128::from(value as i64),
        _ => i128::from(value as u64),
    };
    // The bits of an enumeration stay one.
    if let Value::Enum(own) = left
        && !shift
    {
        return Ok(Value::Enum(crate::value::EnumValue { kind: own.kind.clone(), value: value as i64 }));
    }
    Ok(Value::Number(Number::Integer(value, kind)))
}

pub fn bit_not(value: &Value) -> Result {
    match number(value).ok_or_else(|| not_a_number(value))? {
        Number::Integer(value, kind) if kind <= IntegerKind::Int32 => {
            Ok(Value::Number(Number::Integer(!value, IntegerKind::Int32)))
        }
        Number::Integer(value, kind) => Ok(Value::Number(Number::Integer(
            if kind == IntegerKind::UInt64 { i128::from(!(value as u64)) } else { !value },
            kind,
        ))),
        other => Ok(Value::int(!(other.as_integer().unwrap_or(0) as i64))),
    }
}

fn range(left: &Value, right: &Value) -> Result {
    if let (Some(from), Some(to)) = (letter(left), letter(right)) {
        let (from, to) = (u32::from(from), u32::from(to));
        let all: Vec<u32> = if from <= to { (from..=to).collect() } else { (to..=from).rev().collect() };
        return Ok(Value::array(all.into_iter().filter_map(char::from_u32).map(Value::Char).collect()));
    }
    let end = |value: &Value| number(value).and_then(Number::as_integer).ok_or_else(|| not_a_number(value));
    let (from, to) = (end(left)?, end(right)?);
    if from.abs_diff(to) >= MOST as u128 {
        return Err(too_much());
    }
    let of = |value: i128| Value::Number(Number::of(value));
    let numbers: Vec<Value> =
        if from <= to { (from..=to).map(of).collect() } else { (to..=from).rev().map(of).collect() };
    Ok(Value::array(numbers))
}

/// `'a'..'f'`
fn letter(value: &Value) -> Option<char> {
    match value {
        Value::Char(c) => Some(*c),
        Value::Text(text) if text.chars().count() == 1 && !text.starts_with(|c: char| c.is_ascii_digit()) => {
            text.chars().next()
        }
        _ => None,
    }
}

pub fn join(items: &Value, between: &str) -> String {
    items.some_elements().iter().map(text).collect::<Vec<_>>().join(between)
}

/// `'a,b' -split ',', 2`, with `SimpleMatch` and the like.
fn split(left: &Value, right: &Value, case: Case) -> Result {
    let words = right.some_elements();
    let pattern = words.first().map(text).unwrap_or_default();
    let most = words.get(1).and_then(number).and_then(Number::as_integer).unwrap_or(0);
    let options = words.get(2).map(|value| text(value).to_ascii_lowercase()).unwrap_or_default();
    let pattern =
        if options.contains("simplematch") { fancy_regex::escape(&pattern).into_owned() } else { pattern };
    let pattern = Pattern::new(&pattern, case)?;
    let mut parts = Vec::new();
    for item in left.elements() {
        let said = text(&item);
        let most_parts = usize::try_from(most).unwrap_or(0);
        parts.extend(pattern.split(&said, most_parts)?.into_iter().map(Value::from));
    }
    let kind = ArrayKind::Typed(Rc::new(Type::String));
    Ok(Value::Array(Rc::new(Array::new(parts, kind))))
}

pub fn split_words(value: &Value) -> Value {
    let all: Vec<Value> = value
        .elements()
        .iter()
        .flat_map(|item| text(item).split_whitespace().map(Value::from).collect::<Vec<_>>())
        .collect();
    Value::Array(Rc::new(Array::new(all, ArrayKind::Typed(Rc::new(Type::String)))))
}
