//! Numbers with their .NET types.

use super::Decimal;
use std::cmp::Ordering;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Integer(i128, IntegerKind),
    Single(f32),
    Double(f64),
    Decimal(Decimal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IntegerKind {
    SByte,
    Byte,
    Int16,
    UInt16,
    Int32,
    UInt32,
    Int64,
    UInt64,
}

impl IntegerKind {
    pub fn range(self) -> (i128, i128) {
        match self {
            Self::SByte => (i8::MIN.into(), i8::MAX.into()),
            Self::Byte => (0, u8::MAX.into()),
            Self::Int16 => (i16::MIN.into(), i16::MAX.into()),
            Self::UInt16 => (0, u16::MAX.into()),
            Self::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Self::UInt32 => (0, u32::MAX.into()),
            Self::Int64 => (i64::MIN.into(), i64::MAX.into()),
            Self::UInt64 => (0, u64::MAX.into()),
        }
    }

    pub fn holds(self, value: i128) -> bool {
        let (least, most) = self.range();
        (least..=most).contains(&value)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::SByte => "SByte",
            Self::Byte => "Byte",
            Self::Int16 => "Int16",
            Self::UInt16 => "UInt16",
            Self::Int32 => "Int32",
            Self::UInt32 => "UInt32",
            Self::Int64 => "Int64",
            Self::UInt64 => "UInt64",
        }
    }

    pub fn bits(self) -> u32 {
        match self {
            Self::SByte | Self::Byte => 8,
            Self::Int16 | Self::UInt16 => 16,
            Self::Int32 | Self::UInt32 => 32,
            Self::Int64 | Self::UInt64 => 64,
        }
    }
}

impl Number {
    /// An Int32, or an Int64 where that is too small.
    pub fn of(value: i128) -> Self {
        if IntegerKind::Int32.holds(value) {
            Self::Integer(value, IntegerKind::Int32)
        } else if IntegerKind::Int64.holds(value) {
            Self::Integer(value, IntegerKind::Int64)
        } else if IntegerKind::UInt64.holds(value) {
            Self::Integer(value, IntegerKind::UInt64)
        } else {
            Self::Double(value as f64)
        }
    }

    pub fn is_zero(self) -> bool {
        match self {
            Self::Integer(value, _) => value == 0,
            Self::Single(value) => value == 0.0,
            Self::Double(value) => value == 0.0,
            Self::Decimal(value) => value.is_zero(),
        }
    }

    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value, _) => value as f64,
            Self::Single(value) => value.into(),
            Self::Double(value) => value,
            Self::Decimal(value) => value.as_f64(),
        }
    }

    /// Rounded half to even, as .NET converts; nothing beyond 128 bits.
    pub fn as_integer(self) -> Option<i128> {
        match self {
            Self::Integer(value, _) => Some(value),
            Self::Decimal(value) => Some(value.round(0).integer_part()),
            Self::Single(_) | Self::Double(_) => {
                let value = self.as_f64();
                (value.abs() < 1e38).then(|| value.round_ties_even() as i128)
            }
        }
    }

    pub fn as_decimal(self) -> Option<Decimal> {
        match self {
            Self::Integer(value, _) => Decimal::try_from_integer(value),
            Self::Decimal(value) => Some(value),
            Self::Single(_) | Self::Double(_) => Decimal::from_f64(self.as_f64()),
        }
    }

    pub fn type_name(self) -> &'static str {
        match self {
            Self::Integer(_, kind) => kind.name(),
            Self::Single(_) => "Single",
            Self::Double(_) => "Double",
            Self::Decimal(_) => "Decimal",
        }
    }

    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(one, _), Self::Integer(other, _)) => Some(one.cmp(&other)),
            (Self::Decimal(_), Self::Integer(..) | Self::Decimal(_))
            | (Self::Integer(..), Self::Decimal(_)) => Some(self.as_decimal()?.compare(&other.as_decimal()?)),
            _ => self.as_f64().partial_cmp(&other.as_f64()),
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(value, _) => write!(f, "{value}"),
            Self::Single(value) => f.write_str(&real(f64::from(*value), &format!("{value:e}"), 7)),
            Self::Double(value) => f.write_str(&real(*value, &format!("{value:e}"), 15)),
            Self::Decimal(value) => write!(f, "{value}"),
        }
    }
}

/// The shortest text that means the number, with an exponent where .NET has one: from 1E+15, and below 1E-05.
fn real(value: f64, scientific: &str, digits: i32) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "\u{221e}" } else { "-\u{221e}" }.into();
    }
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific.into() };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..digits).contains(&exponent) {
        if digits == 7 {
            return format!("{}", value as f32);
        }
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}E{sign}{:02}", exponent.abs())
}
