//! What operators do. Text is compared without case, and the left side decides what is compared.

use super::fault::Fault;
use super::item::{Item, NULL};
use super::syntax::{Case, Comparison, Operator};
use ireko_manage::{Value, select};
use regex_lite::{Regex, RegexBuilder};
use std::cmp::Ordering;

type Result = std::result::Result<Item, Fault>;

/// The most elements or characters that one operator makes.
const MOST: usize = 1 << 20;

pub fn operate(operator: Operator, left: Item, right: Item) -> Result {
    match operator {
        Operator::And => Ok((left.is_true() && right.is_true()).into()),
        Operator::Or => Ok((left.is_true() || right.is_true()).into()),
        Operator::Xor => Ok((left.is_true() != right.is_true()).into()),
        Operator::Compare(which, case) => compare(which, case, &left, &right),
        Operator::Add => add(left, right),
        Operator::Multiply => multiply(left, &right),
        Operator::Subtract | Operator::Divide | Operator::Remainder => arithmetic(operator, &left, &right),
        Operator::Format => format(&left, &right).map(Item::from),
        Operator::Range => range(&left, &right),
        Operator::Join => Ok(join(left, &right.text()).into()),
        Operator::Split => split(&left, &right),
        Operator::Replace(case) => replace(&left, right, case),
        Operator::Is => Ok(is_type(&left, &right.text()).into()),
        Operator::As => Ok(cast(&right.text(), left).unwrap_or(NULL)),
    }
}

/// Of a list on the left, the elements that fit; else whether it fits.
pub fn compare(which: Comparison, case: Case, left: &Item, right: &Item) -> Result {
    use Comparison::{Contains, In, NotContains, NotIn};
    match which {
        Contains => Ok(contains(left, right, case).into()),
        NotContains => Ok((!contains(left, right, case)).into()),
        In => Ok(contains(right, left, case).into()),
        NotIn => Ok((!contains(right, left, case)).into()),
        _ => match left {
            Item::List(items) => {
                let mut kept = Vec::new();
                for item in items {
                    if holds(which, case, item, right)? {
                        kept.push(item.clone());
                    }
                }
                Ok(Item::List(kept))
            }
            left => holds(which, case, left, right).map(Item::from),
        },
    }
}

fn contains(list: &Item, wanted: &Item, case: Case) -> bool {
    match list {
        Item::List(items) => items.iter().any(|item| equal(item, wanted, case)),
        one => equal(one, wanted, case),
    }
}

fn holds(which: Comparison, case: Case, left: &Item, right: &Item) -> std::result::Result<bool, Fault> {
    use Comparison as C;
    let ordered = |fits: fn(Ordering) -> bool| order(left, right, case).is_some_and(fits);
    Ok(match which {
        C::Equal => equal(left, right, case),
        C::NotEqual => !equal(left, right, case),
        C::Greater => ordered(Ordering::is_gt),
        C::GreaterOrEqual => ordered(Ordering::is_ge),
        C::Less => ordered(Ordering::is_lt),
        C::LessOrEqual => ordered(Ordering::is_le),
        C::Like => select::wildcard(&right.text(), &left.text()),
        C::NotLike => !select::wildcard(&right.text(), &left.text()),
        C::Match => pattern(&right.text(), case)?.is_match(&left.text()),
        C::NotMatch => !pattern(&right.text(), case)?.is_match(&left.text()),
        C::Contains | C::NotContains | C::In | C::NotIn => false,
    })
}

fn equal(left: &Item, right: &Item, case: Case) -> bool {
    match (left.is_null(), right.is_null()) {
        (true, true) => true,
        (true, false) | (false, true) => false,
        _ => order(left, right, case) == Some(Ordering::Equal),
    }
}

pub fn order(left: &Item, right: &Item, case: Case) -> Option<Ordering> {
    let (one, other) = (left.value(), right.value());
    match (&one, &other) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Null, _) => Some(Ordering::Less),
        (_, Value::Null) => Some(Ordering::Greater),
        (Value::Int(one), Value::Int(other)) => Some(one.cmp(other)),
        (Value::Bool(one), _) => Some(one.cmp(&right.is_true())),
        (Value::Int(_) | Value::Float(_), _) => numeric(&one)?.partial_cmp(&numeric(&other)?),
        (Value::Duration(one), Value::Duration(other)) => Some(one.cmp(other)),
        (Value::Duration(one), Value::Text(text)) => one.as_secs_f64().partial_cmp(&time_span(text)?),
        (Value::Time(one), Value::Time(other)) => Some(one.cmp(other)),
        (Value::Record(one), Value::Record(other)) if one == other => Some(Ordering::Equal),
        _ => Some(text_order(&left.text(), &right.text(), case)),
    }
}

fn text_order(one: &str, other: &str, case: Case) -> Ordering {
    match case {
        Case::Seen => one.cmp(other),
        Case::Ignored => one.to_lowercase().cmp(&other.to_lowercase()),
    }
}

/// `hh:mm:ss` in seconds.
fn time_span(text: &str) -> Option<f64> {
    let mut parts = text.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes) = (parts.next()??, parts.next()??);
    Some(hours * 3600.0 + minutes * 60.0 + parts.next().unwrap_or(Some(0.0))?)
}

fn numeric(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(0.0),
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Text(text) => numeric(&super::parse::number(text.trim())?),
        Value::Duration(duration) => Some(duration.as_nanos() as f64 / 100.0),
        Value::Time(seconds) => Some(*seconds as f64),
        _ => None,
    }
}

fn pattern(text: &str, case: Case) -> std::result::Result<Regex, Fault> {
    RegexBuilder::new(text).case_insensitive(case == Case::Ignored).build().map_err(|error| {
        Fault::runtime("InvalidRegularExpression", format!("The pattern '{text}' is not valid: {error}."))
    })
}

fn too_much() -> Fault {
    Fault::runtime("OutOfMemory", format!("The result would have more than {MOST} elements or characters."))
}

fn add(left: Item, right: Item) -> Result {
    match (left, right) {
        (Item::List(mut items), right) => {
            items.extend(right.elements());
            Ok(Item::List(items))
        }
        (Item::Map(mut pairs), Item::Map(more)) => {
            for (name, item) in more {
                if pairs.iter().any(|(own, _)| own.eq_ignore_ascii_case(&name)) {
                    return Err(Fault::runtime(
                        "System.ArgumentException",
                        format!("Item has already been added. Key in dictionary: '{name}'."),
                    ));
                }
                pairs.push((name, item));
            }
            Ok(Item::Map(pairs))
        }
        (left, right) if left.is_null() => Ok(right),
        (Item::Value(Value::Text(text)), right) => Ok((text + &right.text()).into()),
        (left, right) => arithmetic(Operator::Add, &left, &right),
    }
}

fn multiply(left: Item, right: &Item) -> Result {
    let times = |length: usize| -> std::result::Result<usize, Fault> {
        let count =
            numeric(&right.value()).filter(|n| *n >= 0.0).ok_or_else(|| not_a_number(right))? as usize;
        // Nothing so often is nothing, at once.
        let count = if length == 0 { 0 } else { count };
        if length.saturating_mul(count) > MOST { Err(too_much()) } else { Ok(count) }
    };
    match left {
        Item::Value(Value::Text(text)) => Ok(text.repeat(times(text.len())?).into()),
        Item::List(items) => {
            let count = times(items.len())?;
            Ok(Item::List(std::iter::repeat_n(items, count).flatten().collect()))
        }
        left => arithmetic(Operator::Multiply, &left, right),
    }
}

fn not_a_number(item: &Item) -> Fault {
    Fault::runtime(
        "InvalidCastFromStringToInteger",
        format!("Cannot convert value \"{}\" to type \"System.Int32\".", item.cell()),
    )
}

fn arithmetic(operator: Operator, left: &Item, right: &Item) -> Result {
    let (one, other) = (left.value(), right.value());
    let number = |value: &Value, item| numeric(value).ok_or_else(|| not_a_number(item));
    let (a, b) = (number(&one, left)?, number(&other, right)?);
    let zero = matches!(operator, Operator::Divide | Operator::Remainder) && b == 0.0;
    if zero {
        return Err(Fault::runtime("RuntimeException", "Attempted to divide by zero."));
    }
    let exact = whole(&one).zip(whole(&other)).and_then(|(a, b)| match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Remainder => a.checked_rem(b),
        _ => a.checked_rem(b).filter(|rest| *rest == 0).and_then(|_| a.checked_div(b)),
    });
    Ok(Item::Value(match (exact, operator) {
        (Some(number), _) => Value::Int(number),
        (None, Operator::Add) => Value::Float(a + b),
        (None, Operator::Subtract) => Value::Float(a - b),
        (None, Operator::Multiply) => Value::Float(a * b),
        (None, Operator::Remainder) => Value::Float(a % b),
        (None, _) => Value::Float(a / b),
    }))
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Null => Some(0),
        Value::Bool(value) => Some(i64::from(*value)),
        Value::Int(number) => Some(*number),
        Value::Text(text) => super::parse::number(text.trim())?.as_int(),
        _ => None,
    }
}

fn range(left: &Item, right: &Item) -> Result {
    let end = |item: &Item| whole(&item.value()).ok_or_else(|| not_a_number(item));
    let (from, to) = (end(left)?, end(right)?);
    if from.abs_diff(to) >= MOST as u64 {
        return Err(too_much());
    }
    let numbers: Vec<Item> = if from <= to {
        (from..=to).map(Item::from).collect()
    } else {
        (to..=from).rev().map(Item::from).collect()
    };
    Ok(Item::List(numbers))
}

pub fn join(items: Item, between: &str) -> String {
    items.elements().iter().map(Item::text).collect::<Vec<_>>().join(between)
}

fn split(left: &Item, right: &Item) -> Result {
    let pattern = pattern(&right.text(), Case::Ignored)?;
    let text = left.text();
    Ok(Item::List(pattern.split(&text).map(Item::from).collect()))
}

fn replace(left: &Item, right: Item, case: Case) -> Result {
    let mut words = right.elements().into_iter().map(|item| item.text());
    let pattern = pattern(&words.next().unwrap_or_default(), case)?;
    let with = words.next().unwrap_or_default();
    let one = |item: &Item| Item::from(pattern.replace_all(&item.text(), with.as_str()).into_owned());
    Ok(match left {
        Item::List(items) => Item::List(items.iter().map(one).collect()),
        left => one(left),
    })
}

/// `{0}`, `{0,-10}`, `{0:N2}`, `{0:X}`, `{0:D4}`, `{0:P0}`.
fn format(left: &Item, right: &Item) -> std::result::Result<String, Fault> {
    let wrong =
        || Fault::runtime("FormatError", "Error formatting a string: the format or an index does not fit.");
    let items = right.clone().elements();
    let (text, mut made) = (left.text(), String::new());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['{', '}']) {
        made += &rest[..at];
        let brace = &rest[at..at + 1];
        if rest[at + 1..].starts_with(brace) {
            made += brace;
            rest = &rest[at + 2..];
            continue;
        }
        let end = rest[at..].find('}').filter(|_| brace == "{").ok_or_else(wrong)?;
        made += &placed(&rest[at + 1..at + end], &items).ok_or_else(wrong)?;
        rest = &rest[at + end + 1..];
    }
    Ok(made + rest)
}

fn placed(hole: &str, items: &[Item]) -> Option<String> {
    let (head, style) = hole.split_once(':').unwrap_or((hole, ""));
    let (index, width) = head.split_once(',').unwrap_or((head, "0"));
    let item = items.get(index.trim().parse::<usize>().ok()?)?;
    let width: i32 = width.trim().parse().ok().filter(|width: &i32| width.abs() <= 1000)?;
    let text = styled(item, style)?;
    let size = width.unsigned_abs() as usize;
    Some(if width < 0 { format!("{text:<size$}") } else { format!("{text:>size$}") })
}

fn styled(item: &Item, style: &str) -> Option<String> {
    let Some(letter) = style.chars().next() else { return Some(item.text()) };
    let digits = style.get(letter.len_utf8()..)?.parse::<usize>().ok().filter(|digits| *digits <= 99);
    let number = numeric(&item.value());
    Some(match letter {
        'N' | 'n' => thousands(number?, digits.unwrap_or(2)),
        'F' | 'f' => format!("{:.*}", digits.unwrap_or(2), number?),
        'P' | 'p' => thousands(number? * 100.0, digits.unwrap_or(2)) + " %",
        'X' => format!("{:0width$X}", whole(&item.value())?, width = digits.unwrap_or(0)),
        'x' => format!("{:0width$x}", whole(&item.value())?, width = digits.unwrap_or(0)),
        'D' | 'd' => format!("{:0width$}", whole(&item.value())?, width = digits.unwrap_or(0)),
        _ => item.text(),
    })
}

fn thousands(number: f64, digits: usize) -> String {
    let plain = format!("{:.digits$}", number.abs());
    let (whole, part) = plain.split_once('.').map_or((plain.as_str(), None), |(a, b)| (a, Some(b)));
    let mut grouped = String::from(if number < 0.0 { "-" } else { "" });
    for (at, c) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(c);
    }
    part.map_or(grouped.clone(), |part| grouped + "." + part)
}

fn short(type_name: &str) -> String {
    type_name.to_ascii_lowercase().trim_start_matches("system.").to_owned()
}

fn is_type(item: &Item, wanted: &str) -> bool {
    let own = item.type_name().to_ascii_lowercase();
    match short(wanted).as_str() {
        "int" | "int32" => own == "int32",
        "long" | "int64" => own == "int64",
        "bool" => own == "boolean",
        "array" => own == "object[]",
        other => own == other,
    }
}

/// `[type]value`
pub fn cast(type_name: &str, item: Item) -> Result {
    let number = |item: &Item| match item.value() {
        Value::Int(number) => Some(Value::Int(number)),
        value => numeric(&value).map(Value::Float),
    };
    let whole = |item: &Item| match number(item)? {
        Value::Float(number) if number.abs() < 9e18 => Some(Value::Int(number.round_ties_even() as i64)),
        Value::Int(number) => Some(Value::Int(number)),
        _ => None,
    };
    match short(type_name).as_str() {
        "string" => Ok(item.text().into()),
        "bool" | "boolean" | "switch" => Ok(item.is_true().into()),
        "int" | "int32" | "long" | "int64" | "uint32" | "uint64" | "int16" | "byte" => {
            whole(&item).map(Item::Value).ok_or_else(|| not_a_number(&item))
        }
        "double" | "float" | "single" | "decimal" => {
            let number = numeric(&item.value()).ok_or_else(|| not_a_number(&item))?;
            Ok(Item::Value(Value::Float(number)))
        }
        "array" | "object[]" | "string[]" | "int[]" => Ok(Item::List(item.elements())),
        "guid" => match item.text().parse::<ireko_manage::Guid>() {
            Ok(guid) => Ok(Item::Value(guid.into())),
            Err(error) => Err(Fault::runtime("InvalidCastParseTargetInvocation", error.to_string())),
        },
        "pscustomobject" | "psobject" => match item {
            Item::Map(pairs) => Ok(super::item::record(&pairs).into()),
            other => Ok(other),
        },
        "void" => Ok(NULL),
        "object" | "hashtable" | "ordered" | "scriptblock" | "psobject[]" => Ok(item),
        _ => Err(Fault::runtime("TypeNotFound", format!("Unable to find type [{type_name}]."))),
    }
}
