//! Methods of System.String and System.Char.

use super::{Pattern, convert, text};
use crate::error::ErrorRecord;
use crate::value::{ArrayKind, Value};
use std::rc::Rc;

pub type Called = Result<Option<Value>, ErrorRecord>;

pub(super) fn whole(value: Option<&Value>) -> Option<i64> {
    convert::number(value?)?.as_integer().and_then(|number| i64::try_from(number).ok())
}

fn out_of_range(method: &str, count: usize) -> ErrorRecord {
    let message = "Index and length must refer to a location within the string.";
    ErrorRecord::method("System.ArgumentOutOfRangeException", method, count, message)
}

/// Characters that an argument names: one, several, or a text's.
fn marks(arguments: &[Value]) -> Vec<char> {
    arguments
        .iter()
        .flat_map(|argument| argument.elements())
        .flat_map(|value| text(&value).chars().collect::<Vec<_>>())
        .collect()
}

fn ignores_case(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(ignore)) => *ignore,
        Some(value) => text(value).to_ascii_lowercase().ends_with("ignorecase"),
        None => false,
    }
}

/// Nothing if there is no such method.
pub fn invoke_text(own: &str, name: &str, arguments: &[Value]) -> Called {
    let argument = |at: usize| arguments.get(at).map(text).unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    let found = match (lower.as_str(), arguments.len()) {
        ("toupper" | "toupperinvariant", _) => own.to_uppercase().into(),
        ("tolower" | "tolowerinvariant", _) => own.to_lowercase().into(),
        ("trim", _) => own.trim_matches(cutter(arguments)).into(),
        ("trimstart", _) => own.trim_start_matches(cutter(arguments)).into(),
        ("trimend", _) => own.trim_end_matches(cutter(arguments)).into(),
        ("contains", 1 | 2) => {
            folded(own, arguments.get(1)).contains(&folded(&argument(0), arguments.get(1))).into()
        }
        ("startswith", 1..=3) => {
            folded(own, arguments.get(1)).starts_with(&folded(&argument(0), arguments.get(1))).into()
        }
        ("endswith", 1..=3) => {
            folded(own, arguments.get(1)).ends_with(&folded(&argument(0), arguments.get(1))).into()
        }
        ("equals", 1 | 2) => (folded(own, arguments.get(1)) == folded(&argument(0), arguments.get(1))).into(),
        ("compareto", 1) => Value::int(order(own, &argument(0))),
        ("indexof" | "lastindexof", 1..=3) => index_of(own, &lower, arguments),
        ("indexofany", 1) => position(own, own.find(|c| marks(arguments).contains(&c))),
        ("replace", 2..) => {
            if argument(0).is_empty() {
                return Err(ErrorRecord::method(
                    "System.ArgumentException",
                    "Replace",
                    arguments.len(),
                    "String cannot be of zero length.",
                ));
            }
            own.replace(&argument(0), &argument(1)).into()
        }
        ("split", _) => split(own, arguments),
        ("substring", 1 | 2) => {
            let length = own.chars().count() as i64;
            let from = whole(arguments.first()).filter(|from| (0..=length).contains(from));
            let from = from.ok_or_else(|| out_of_range("Substring", arguments.len()))?;
            let count = if arguments.len() == 2 { whole(arguments.get(1)) } else { Some(length - from) };
            let count = count.filter(|count| (0..=length - from).contains(count));
            let count = count.ok_or_else(|| out_of_range("Substring", arguments.len()))?;
            own.chars().skip(from as usize).take(count as usize).collect::<String>().into()
        }
        ("remove", 1 | 2) => {
            let chars: Vec<char> = own.chars().collect();
            let from = whole(arguments.first())
                .and_then(|from| usize::try_from(from).ok())
                .filter(|from| *from <= chars.len());
            let from = from.ok_or_else(|| out_of_range("Remove", arguments.len()))?;
            let count =
                whole(arguments.get(1)).map_or(Some(chars.len() - from), |count| usize::try_from(count).ok());
            let count = count
                .filter(|count| from + count <= chars.len())
                .ok_or_else(|| out_of_range("Remove", arguments.len()))?;
            chars[..from].iter().chain(&chars[from + count..]).collect::<String>().into()
        }
        ("insert", 2) => {
            let at = whole(arguments.first())
                .and_then(|at| usize::try_from(at).ok())
                .filter(|at| *at <= own.chars().count());
            let at = at.ok_or_else(|| out_of_range("Insert", 2))?;
            let head: String = own.chars().take(at).collect();
            (head.clone() + &argument(1) + &own[head.len()..]).into()
        }
        ("padleft" | "padright", 1 | 2) => pad(own, lower == "padleft", arguments)?,
        ("tochararray", 0) => Value::Array(Rc::new(crate::value::Array::new(
            own.chars().map(Value::Char).collect(),
            ArrayKind::Typed(Rc::new(super::Type::Char)),
        ))),
        ("chars" | "get_chars", 1) => {
            let at = whole(arguments.first()).and_then(|at| usize::try_from(at).ok());
            let c = at.and_then(|at| own.chars().nth(at));
            c.map(Value::Char).ok_or_else(|| {
                ErrorRecord::method(
                    "System.IndexOutOfRangeException",
                    "Chars",
                    1,
                    "Index was outside the bounds of the array.",
                )
            })?
        }
        ("normalize" | "clone" | "tostring", _) => own.into(),
        ("gethashcode", 0) => Value::int(i64::from(
            own.bytes().fold(5381i32, |hash, byte| hash.wrapping_mul(33) ^ i32::from(byte)),
        )),
        ("getenumerator", 0) => Value::array(own.chars().map(Value::Char).collect()),
        ("gettypecode", 0) => "String".into(),
        _ => return Ok(None),
    };
    Ok(Some(found))
}

fn cutter(arguments: &[Value]) -> impl Fn(char) -> bool {
    let marks = marks(arguments);
    move |c: char| if marks.is_empty() { c.is_whitespace() } else { marks.contains(&c) }
}

fn folded(text: &str, comparison: Option<&Value>) -> String {
    if ignores_case(comparison) { text.to_lowercase() } else { text.to_owned() }
}

/// Letters in the order of a dictionary, small ones first.
pub(crate) fn order(one: &str, other: &str) -> i64 {
    let ordering = one.to_lowercase().cmp(&other.to_lowercase()).then_with(|| other.cmp(one));
    ordering as i64
}

fn position(own: &str, at: Option<usize>) -> Value {
    at.map_or(Value::int(-1), |at| Value::from(own[..at].chars().count()))
}

fn index_of(own: &str, method: &str, arguments: &[Value]) -> Value {
    let comparison = arguments.get(1).filter(|value| !matches!(value, Value::Number(_)));
    let (own_folded, wanted) =
        (folded(own, comparison), folded(&arguments.first().map(text).unwrap_or_default(), comparison));
    if method == "lastindexof" {
        return position(&own_folded, own_folded.rfind(&wanted));
    }
    let from = match arguments.get(1) {
        Some(value @ Value::Number(_)) => {
            whole(Some(value)).and_then(|from| usize::try_from(from).ok()).unwrap_or(0)
        }
        _ => 0,
    };
    let start = own_folded.char_indices().nth(from).map_or(own_folded.len(), |(at, _)| at);
    position(&own_folded, own_folded[start..].find(&wanted).map(|at| at + start))
}

fn split(own: &str, arguments: &[Value]) -> Value {
    let is_option = |value: &Value| {
        matches!(value, Value::Enum(_))
            || matches!(value.as_text(), Some("None" | "RemoveEmptyEntries" | "TrimEntries"))
    };
    let options: Vec<&Value> = arguments.iter().skip(1).filter(|value| is_option(value)).collect();
    let without_empty = options.iter().any(|value| {
        text(value) == "RemoveEmptyEntries" || whole(Some(value)).is_some_and(|bits| bits & 1 == 1)
    });
    let most = arguments
        .iter()
        .skip(1)
        .find_map(|value| if let Value::Number(_) = value { whole(Some(value)) } else { None });
    // A text is one separator where a list of them is not given; that is what version 7 does.
    let separators: Vec<String> = match arguments.first() {
        None => Vec::new(),
        Some(Value::Array(array)) => array.items().iter().map(text).collect(),
        Some(value) => vec![text(value)],
    };
    let mut parts: Vec<String> = Vec::new();
    let mut rest = own;
    loop {
        if most.is_some_and(|most| parts.len() as i64 + 1 >= most) {
            break;
        }
        let next = if separators.iter().all(String::is_empty) {
            rest.char_indices().find(|(_, c)| c.is_whitespace()).map(|(at, c)| (at, c.len_utf8()))
        } else {
            let found = separators
                .iter()
                .filter(|mark| !mark.is_empty())
                .filter_map(|mark| Some((rest.find(mark.as_str())?, mark.len())));
            found.min_by_key(|(at, length)| (*at, usize::MAX - length))
        };
        let Some((at, length)) = next else { break };
        parts.push(rest[..at].to_owned());
        rest = &rest[at + length..];
    }
    parts.push(rest.to_owned());
    if without_empty {
        parts.retain(|part| !part.is_empty());
    }
    let items = parts.into_iter().map(Value::from).collect();
    Value::Array(Rc::new(crate::value::Array::new(items, ArrayKind::Typed(Rc::new(super::Type::String)))))
}

fn pad(own: &str, left: bool, arguments: &[Value]) -> Result<Value, ErrorRecord> {
    const WIDEST: i64 = 1 << 20;
    let method = if left { "PadLeft" } else { "PadRight" };
    let width = whole(arguments.first()).filter(|width| (0..=WIDEST).contains(width));
    let width = width.ok_or_else(|| {
        ErrorRecord::method(
            "System.ArgumentOutOfRangeException",
            method,
            arguments.len(),
            "Non-negative number required, and not more than 1048576.",
        )
    })?;
    let with = arguments.get(1).and_then(|value| text(value).chars().next()).unwrap_or(' ');
    let missing = (width as usize).saturating_sub(own.chars().count());
    let filling: String = std::iter::repeat_n(with, missing).collect();
    Ok(if left { filling + own } else { own.to_owned() + &filling }.into())
}

/// `[regex]` objects.
pub fn invoke_pattern(own: &Rc<Pattern>, name: &str, arguments: &[Value]) -> Called {
    let input = arguments.first().map(text).unwrap_or_default();
    Ok(Some(match name.to_ascii_lowercase().as_str() {
        "ismatch" => own.is_match(&input)?.into(),
        "match" => own.match_object(&input, own.find_at(&input, 0)?.as_ref()),
        "matches" => {
            Value::array(own.all(&input)?.iter().map(|found| own.match_object(&input, Some(found))).collect())
        }
        "replace" => {
            let most = whole(arguments.get(2)).and_then(|most| usize::try_from(most).ok()).unwrap_or(0);
            own.replace(&input, &arguments.get(1).map(text).unwrap_or_default(), most)?.into()
        }
        "split" => {
            let most = whole(arguments.get(1)).and_then(|most| usize::try_from(most).ok()).unwrap_or(0);
            Value::array(own.split(&input, most)?.into_iter().map(Value::from).collect())
        }
        "getgroupnames" => Value::array(own.names().into_iter().map(Value::from).collect()),
        "tostring" => Value::Text(own.text.clone()),
        _ => return Ok(None),
    }))
}

/// `[regex]::Match(text, pattern, options)`: the pattern stands second.
pub fn pattern_of(value: Option<&Value>, options: Option<&Value>) -> Result<Rc<Pattern>, ErrorRecord> {
    let said = options.map(text).unwrap_or_default().to_ascii_lowercase();
    let bits = whole(options).unwrap_or(0);
    let flags = [
        ("ignorecase", 1, 'i'),
        ("multiline", 2, 'm'),
        ("singleline", 16, 's'),
        ("ignorepatternwhitespace", 32, 'x'),
    ];
    let letters: String = flags
        .iter()
        .filter(|(word, bit, _)| said.contains(word) || bits & bit != 0)
        .map(|(.., letter)| letter)
        .collect();
    let prefix = if letters.is_empty() { String::new() } else { format!("(?{letters})") };
    match value {
        Some(Value::Regex(pattern)) => Ok(pattern.clone()),
        value => Pattern::with_options(&value.map(text).unwrap_or_default(), &prefix),
    }
}
