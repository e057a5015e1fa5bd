//! .NET's Decimal: 96 bits and a power of ten from 0 to 28.

use std::cmp::Ordering;
use std::fmt;

#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
}

const MOST: i128 = (1 << 96) - 1;
const MOST_SCALE: u32 = 28;

fn power(exponent: u32) -> i128 {
    10i128.pow(exponent)
}

/// Half to even.
fn divide_rounding(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value / by, value % by);
    let twice = rest.abs().saturating_mul(2);
    let up = twice > by.abs() || (twice == by.abs() && quotient % 2 != 0);
    let sign = if (value < 0) == (by < 0) { 1 } else { -1 };
    if up { quotient + sign } else { quotient }
}

impl Decimal {
    pub const ZERO: Self = Self { mantissa: 0, scale: 0 };

    /// With as many places as there is room for.
    fn fitted(mut mantissa: i128, mut scale: u32) -> Option<Self> {
        while scale > MOST_SCALE || (mantissa.abs() > MOST && scale > 0) {
            mantissa = divide_rounding(mantissa, 10);
            scale -= 1;
        }
        (mantissa.abs() <= MOST).then_some(Self { mantissa, scale })
    }

    pub fn try_from_integer(value: i128) -> Option<Self> {
        (value.abs() <= MOST).then_some(Self { mantissa: value, scale: 0 })
    }

    pub fn from_integer(value: i128) -> Self {
        Self::try_from_integer(value).unwrap_or(Self { mantissa: MOST, scale: 0 })
    }

    /// With the fifteen digits that a Double surely has.
    pub fn from_f64(value: f64) -> Option<Self> {
        if !value.is_finite() || value.abs() > 7.9e28 {
            return None;
        }
        Self::parse(&format!("{value:.14e}")).map(|decimal| decimal.trimmed())
    }

    fn trimmed(mut self) -> Self {
        while self.scale > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.scale -= 1;
        }
        self
    }

    /// Digits with a sign, a point and an exponent if need be.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.starts_with(['+', '-']) || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        // More digits than the type has are cut; it is rounded to 28 places anyway.
        let fraction = &fraction[..fraction.len().min(30)];
        let digits = format!("{whole}{fraction}");
        let mantissa: i128 = digits.parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()? - exponent;
        match u32::try_from(scale) {
            Ok(scale) if scale <= 60 => Self::fitted(mantissa, scale),
            Ok(_) => Some(Self::ZERO),
            Err(_) => Self::fitted(mantissa.checked_mul(10i128.checked_pow(scale.unsigned_abs())?)?, 0),
        }
    }

    pub fn as_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    pub fn integer_part(self) -> i128 {
        self.mantissa / power(self.scale)
    }

    pub fn round(self, places: u32) -> Self {
        if places >= self.scale {
            return self;
        }
        Self { mantissa: divide_rounding(self.mantissa, power(self.scale - places)), scale: places }
    }

    fn aligned(&self, other: &Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let one = self.mantissa.checked_mul(power(scale - self.scale));
        let two = other.mantissa.checked_mul(power(scale - other.scale));
        match (one, two) {
            (Some(one), Some(two)) => Some((one, two, scale)),
            _ => {
                let least = self.scale.min(other.scale);
                Some((self.round(least).mantissa, other.round(least).mantissa, least))
            }
        }
    }

    pub fn add(&self, other: &Self) -> Option<Self> {
        let (one, two, scale) = self.aligned(other)?;
        Self::fitted(one.checked_add(two)?, scale)
    }

    pub fn subtract(&self, other: &Self) -> Option<Self> {
        self.add(&Self { mantissa: -other.mantissa, scale: other.scale })
    }

    pub fn multiply(&self, other: &Self) -> Option<Self> {
        let (mut one, mut two) = (*self, *other);
        loop {
            if let Some(mantissa) = one.mantissa.checked_mul(two.mantissa) {
                return Self::fitted(mantissa, one.scale + two.scale);
            }
            let longer = if one.scale >= two.scale { &mut one } else { &mut two };
            *longer = longer.round(longer.scale.checked_sub(1)?);
        }
    }

    pub fn divide(&self, other: &Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        let (mut mantissa, mut scale) = (self.mantissa, 0i64);
        while mantissa != 0 && scale < 29 && mantissa.abs() < i128::MAX / 10 {
            mantissa *= 10;
            scale += 1;
        }
        let quotient = divide_rounding(mantissa, other.mantissa);
        let scale = scale + i64::from(self.scale) - i64::from(other.scale);
        match u32::try_from(scale) {
            Ok(scale) => Self::fitted(quotient, scale).map(Self::trimmed),
            Err(_) => Self::fitted(quotient.checked_mul(power(u32::try_from(-scale).ok()?))?, 0),
        }
    }

    pub fn remainder(&self, other: &Self) -> Option<Self> {
        let (one, two, scale) = self.aligned(other)?;
        Self::fitted(one.checked_rem(two)?, scale)
    }

    pub fn compare(&self, other: &Self) -> Ordering {
        match self.aligned(other) {
            Some((one, two, _)) => one.cmp(&two),
            None => self.mantissa.cmp(&other.mantissa),
        }
    }

    pub fn negate(self) -> Self {
        Self { mantissa: -self.mantissa, ..self }
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.compare(other) == Ordering::Equal
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:0width$}", self.mantissa.unsigned_abs(), width = self.scale as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - self.scale as usize);
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}
