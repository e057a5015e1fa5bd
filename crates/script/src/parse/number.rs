//! Numbers with their suffixes (language specification 2.3.5.1; about_Numeric_Literals for the suffixes of version 7).

use crate::characters::is_dash;
use crate::value::{Decimal, IntegerKind, Number};

const MULTIPLIERS: [(&str, i128); 5] =
    [("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30), ("tb", 1 << 40), ("pb", 1 << 50)];

/// The number that the whole text is.
pub fn number(text: &str) -> Option<Number> {
    let (negative, rest) = match text.chars().next()? {
        c if is_dash(c) => (true, &text[c.len_utf8()..]),
        '+' => (false, &text[1..]),
        _ => (false, text),
    };
    // A byte beyond ASCII is in no number, and would be cut through.
    if !rest.is_ascii() || rest.is_empty() {
        return None;
    }
    let lower = rest.to_ascii_lowercase();
    let (digits, multiplier) = MULTIPLIERS
        .iter()
        .find_map(|(suffix, factor)| Some((lower.strip_suffix(suffix)?, *factor)))
        .unwrap_or((&lower, 1));
    match (digits.strip_prefix("0x"), digits.strip_prefix("0b")) {
        (Some(hex), _) => in_base(16, hex, negative, multiplier),
        (None, Some(bits)) => in_base(2, bits, negative, multiplier),
        (None, None) => decimal(digits, negative, multiplier),
    }
}

/// Which type a suffix asks for.
fn suffix(text: &str) -> (&str, Option<IntegerKind>) {
    use IntegerKind::{Byte, Int64, SByte, UInt16, UInt32, UInt64};
    let kinds = [
        ("ul", UInt64),
        ("us", UInt16),
        ("uy", Byte),
        ("u", UInt32),
        ("l", Int64),
        ("s", IntegerKind::Int16),
        ("y", SByte),
    ];
    let found = kinds.into_iter().find_map(|(suffix, kind)| Some((text.strip_suffix(suffix)?, Some(kind))));
    found.unwrap_or((text, None))
}

fn whole(value: i128, kind: Option<IntegerKind>) -> Option<Number> {
    let fits = |kind: IntegerKind| kind.holds(value).then_some(Number::Integer(value, kind));
    match kind {
        Some(IntegerKind::UInt32) => fits(IntegerKind::UInt32).or_else(|| fits(IntegerKind::UInt64)),
        Some(kind) => fits(kind),
        None => fits(IntegerKind::Int32).or_else(|| fits(IntegerKind::Int64)),
    }
}

/// Written with as many digits as the type has, it is in two's complement.
fn in_base(base: u32, text: &str, negative: bool, multiplier: i128) -> Option<Number> {
    let (digits, kind) = suffix(text);
    let most = if base == 2 { 64 } else { 16 };
    if digits.is_empty() || digits.len() > most || !digits.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    let bits = u64::from_str_radix(digits, base).ok()?;
    let unsigned = matches!(
        kind,
        Some(IntegerKind::Byte | IntegerKind::UInt16 | IntegerKind::UInt32 | IntegerKind::UInt64)
    );
    let value = match bits {
        _ if unsigned => i128::from(bits),
        0..=0xffff_ffff if kind.is_none() => i128::from(bits as u32 as i32),
        bits => i128::from(bits as i64),
    };
    whole((if negative { -value } else { value }).checked_mul(multiplier)?, kind)
}

fn decimal(text: &str, negative: bool, multiplier: i128) -> Option<Number> {
    let sign = if negative { "-" } else { "" };
    if let Some(digits) = text.strip_suffix('d') {
        let number = is_real(digits).then(|| Decimal::parse(&format!("{sign}{digits}")))??;
        return Some(Number::Decimal(number.multiply(&Decimal::from_integer(multiplier))?));
    }
    let (digits, kind) = suffix(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let value = digits
            .parse::<i128>()
            .ok()
            .and_then(|value| (if negative { -value } else { value }).checked_mul(multiplier));
        let found = value.and_then(|value| whole(value, kind));
        if found.is_some() || kind.is_some() {
            return found;
        }
        if let Some(value) = value.filter(|_| multiplier == 1).and_then(Decimal::try_from_integer) {
            return Some(Number::Decimal(value));
        }
    }
    if !is_real(digits) {
        return None;
    }
    let real = format!("{sign}{digits}").parse::<f64>().ok()? * multiplier as f64;
    match kind {
        Some(kind) => whole(real.round_ties_even() as i128, Some(kind)),
        None => Some(Number::Double(real)),
    }
}

/// Digits, with a fraction and an exponent if need be.
fn is_real(text: &str) -> bool {
    let (mantissa, exponent) =
        text.split_once('e').map_or((text, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let (whole, fraction) =
        mantissa.split_once('.').map_or((mantissa, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)));
    let mantissa_fits = match fraction {
        None => digits(whole),
        Some(fraction) => digits(fraction) && (whole.is_empty() || digits(whole)),
    };
    exponent_fits && mantissa_fits
}
