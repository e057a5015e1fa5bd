//! Numbers as text, by .NET's patterns (standard and custom numeric format strings; English marks).

use crate::value::{IntegerKind, Number};

/// Nothing if the pattern does not fit the number.
pub fn format_number(number: Number, pattern: &str) -> Option<String> {
    let mut chars = pattern.chars();
    let Some(letter) = chars.next() else { return Some(number.to_string()) };
    let digits = chars.as_str();
    let standard =
        letter.is_ascii_alphabetic() && digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit());
    if !standard {
        return Some(custom(number, pattern));
    }
    let precision = digits.parse::<usize>().ok();
    let value = number.as_f64();
    Some(match letter.to_ascii_uppercase() {
        'D' => {
            let Number::Integer(whole, _) = number else { return None };
            let sign = if whole < 0 { "-" } else { "" };
            format!("{sign}{:0width$}", whole.unsigned_abs(), width = precision.unwrap_or(0))
        }
        'X' => {
            let Number::Integer(whole, kind) = number else { return None };
            let bits = (whole as u128) & (u128::MAX >> (128 - kind.bits()));
            let width = precision.unwrap_or(0);
            if letter == 'X' { format!("{bits:0width$X}") } else { format!("{bits:0width$x}") }
        }
        'F' => fixed(number, precision.unwrap_or(2)),
        'N' => grouped(&fixed(number, precision.unwrap_or(2))),
        'C' => {
            let text = grouped(&fixed(number, precision.unwrap_or(2)));
            text.strip_prefix('-').map_or(format!("${text}"), |text| format!("-${text}"))
        }
        'P' => grouped(&fixed(Number::Double(value * 100.0), precision.unwrap_or(2))) + "%",
        'E' => {
            let text = format!("{value:.*e}", precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e')?;
            let exponent: i32 = exponent.parse().ok()?;
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}{letter}{sign}{:03}", exponent.abs())
        }
        'B' => {
            let Number::Integer(whole, kind) = number else { return None };
            let bits = (whole as u128) & (u128::MAX >> (128 - kind.bits()));
            format!("{bits:0width$b}", width = precision.unwrap_or(0))
        }
        'G' | 'R' => match precision {
            Some(digits @ 1..) => general(value, digits),
            _ => number.to_string(),
        },
        _ => return None,
    })
}

/// To so many significant digits.
fn general(value: f64, digits: usize) -> String {
    let text = format!("{value:.*e}", digits - 1);
    let rounded: f64 = text.parse().unwrap_or(value);
    Number::Double(rounded).to_string()
}

fn fixed(number: Number, places: usize) -> String {
    match number {
        Number::Integer(whole, _) if places == 0 => whole.to_string(),
        Number::Integer(whole, _) => format!("{whole}.{}", "0".repeat(places)),
        Number::Decimal(decimal) => rounded(&decimal.to_string(), places),
        _ => rounded(&format!("{:.*}", places + 60, number.as_f64()), places),
    }
}

/// Digits to so many places; a half goes away from zero, as .NET formats.
fn rounded(text: &str, places: usize) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let up = fraction.as_bytes().get(places).is_some_and(|digit| *digit >= b'5');
    let kept = &fraction[..fraction.len().min(places)];
    let mut all: Vec<u8> = format!("{whole}{kept:0<places$}").into_bytes();
    if up {
        let mut at = all.len();
        loop {
            match at.checked_sub(1) {
                Some(before) if all[before] == b'9' => all[before] = b'0',
                Some(before) if all[before].is_ascii_digit() => {
                    all[before] += 1;
                    break;
                }
                _ => {
                    all.insert(0, b'1');
                    break;
                }
            }
            at -= 1;
        }
    }
    let text = String::from_utf8_lossy(&all).into_owned();
    let (whole, fraction) = text.split_at(text.len() - places);
    let point = if places > 0 { "." } else { "" };
    let nothing = whole.bytes().chain(fraction.bytes()).all(|digit| digit == b'0');
    format!("{}{whole}{point}{fraction}", if nothing { "" } else { sign })
}

/// A comma after every three digits.
fn grouped(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) =
        rest.split_once('.').map_or((rest, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut made = String::from(sign);
    for (at, c) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            made.push(',');
        }
        made.push(c);
    }
    fraction.map_or(made.clone(), |fraction| format!("{made}.{fraction}"))
}

/// Digits of a pattern that count.
const MOST_PLACES: usize = 300;

/// `0`, `#`, `.`, `,`, `%`; up to three sections.
fn custom(number: Number, pattern: &str) -> String {
    let sections: Vec<&str> = split_sections(pattern);
    let value = number.as_f64();
    let (section, number) = match sections.as_slice() {
        [_, negative, ..] if value < 0.0 && !negative.is_empty() => (*negative, negated(number)),
        [_, _, zero] if value == 0.0 => (*zero, number),
        [first, ..] => (*first, number),
        [] => ("", number),
    };
    one_section(number, section)
}

fn negated(number: Number) -> Number {
    match number {
        Number::Integer(value, kind) => {
            Number::Integer(-value, if kind == IntegerKind::Int32 { IntegerKind::Int64 } else { kind })
        }
        Number::Decimal(value) => Number::Decimal(value.negate()),
        other => Number::Double(-other.as_f64()),
    }
}

fn split_sections(pattern: &str) -> Vec<&str> {
    let mut quoted = None;
    pattern
        .split(move |c: char| {
            match quoted {
                Some(mark) if c == mark => quoted = None,
                None if c == '\'' || c == '"' => quoted = Some(c),
                None => return c == ';',
                Some(_) => {}
            }
            false
        })
        .collect()
}

fn one_section(number: Number, pattern: &str) -> String {
    let is_digit = |c: char| c == '0' || c == '#';
    let first = pattern.find(|c| is_digit(c) || c == '.');
    let Some(first) = first else { return unquoted(pattern) };
    let last = pattern.rfind(|c| is_digit(c) || c == '.').map_or(first, |at| at + 1);
    let (head, body, tail) = (&pattern[..first], &pattern[first..last], &pattern[last..]);
    let scale = tail.chars().take_while(|c| *c == ',').count() as i32;
    let percent = pattern.contains('%');
    let scaled = match (scale, percent) {
        (0, false) => number,
        _ => Number::Double(number.as_f64() / 1000f64.powi(scale) * if percent { 100.0 } else { 1.0 }),
    };
    let (whole_pattern, fraction_pattern) = body.split_once('.').unwrap_or((body, ""));
    let most = fraction_pattern.chars().filter(|c| is_digit(*c)).count().min(MOST_PLACES);
    let least = fraction_pattern
        .rfind('0')
        .map_or(0, |at| fraction_pattern[..=at].chars().filter(|c| is_digit(*c)).count().min(MOST_PLACES));
    let text = fixed(scaled, most);
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |text| ("-", text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let zeros = whole_pattern
        .find('0')
        .map_or(0, |at| whole_pattern[at..].chars().filter(|c| is_digit(*c)).count().min(MOST_PLACES));
    let whole = whole.trim_start_matches('0');
    let mut whole = format!("{whole:0>zeros$}");
    if whole_pattern.trim_end_matches(',').contains(',') {
        whole = grouped(&whole);
    }
    let mut fraction = fraction.to_owned();
    while fraction.len() > least && fraction.ends_with('0') {
        fraction.pop();
    }
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{whole}{point}{fraction}{}", unquoted(head), unquoted(tail.trim_start_matches(',')))
}

fn unquoted(text: &str) -> String {
    let mut chars = text.chars();
    let mut made = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => made.extend(chars.next()),
            '\'' | '"' => {}
            c => made.push(c),
        }
    }
    made
}
