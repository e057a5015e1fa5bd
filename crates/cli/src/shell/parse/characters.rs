//! Which characters count as what, and numbers.

use ireko_manage::Value;

/// Hyphen, en dash, em dash, horizontal bar.
pub fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2013}' | '\u{2014}' | '\u{2015}')
}

pub fn is_double_quote(c: char) -> bool {
    matches!(c, '"' | '\u{201c}' | '\u{201d}' | '\u{201e}')
}

pub fn is_single_quote(c: char) -> bool {
    matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}')
}

/// What ends a word that is an argument.
pub fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, ';' | '|' | '&' | '(' | ')' | '{' | '}' | ',' | '<' | '>')
}

pub fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A number with its suffixes, if all of the text is one: `4GB`, `0x10Gb`, `1.5`, `-3`, `7l`.
pub fn number(text: &str) -> Option<Value> {
    let (negative, digits) = match text.chars().next() {
        Some(c) if is_dash(c) => (true, &text[c.len_utf8()..]),
        Some('+') => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !digits.is_ascii() {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let (lower, scale) = scale(&lower);
    let value = match lower.strip_prefix("0x") {
        Some(hex) => integer(hex.strip_suffix('l').unwrap_or(hex), 16, scale)?,
        None => decimal(lower, scale)?,
    };
    Some(match value {
        Value::Int(number) if negative => {
            number.checked_neg().map_or(Value::Float(-(number as f64)), Value::Int)
        }
        Value::Float(number) if negative => Value::Float(-number),
        other => other,
    })
}

fn scale(text: &str) -> (&str, i128) {
    let powers = [("kb", 10), ("mb", 20), ("gb", 30), ("tb", 40), ("pb", 50)];
    let found = powers.iter().find_map(|(suffix, power)| Some((text.strip_suffix(suffix)?, 1 << power)));
    found.unwrap_or((text, 1))
}

fn integer(digits: &str, radix: u32, scale: i128) -> Option<Value> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let exact = i128::from_str_radix(digits, radix).ok().and_then(|n| n.checked_mul(scale));
    match exact.and_then(|n| i64::try_from(n).ok()) {
        Some(number) => Some(Value::Int(number)),
        None if radix == 10 => Some(Value::Float(digits.parse::<f64>().ok()? * scale as f64)),
        None => {
            let digit = |c: char| f64::from(c.to_digit(radix).unwrap_or(0));
            let about = digits.chars().fold(0.0, |sum, c| sum * f64::from(radix) + digit(c));
            Some(Value::Float(about * scale as f64))
        }
    }
}

fn decimal(text: &str, scale: i128) -> Option<Value> {
    let plain = text.strip_suffix(['l', 'd']).unwrap_or(text);
    if plain.chars().all(|c| c.is_ascii_digit()) {
        return integer(plain, 10, scale);
    }
    // Rust reads "infinity" and the like as well.
    if !plain.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | '+' | '-'))
        || plain.ends_with('.')
    {
        return None;
    }
    Some(Value::Float(plain.parse::<f64>().ok()? * scale as f64))
}
