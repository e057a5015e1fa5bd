//! Static members that need neither the script nor the host: `[math]::Round(…)`, `[string]::Join(…)`, `[IO.Path]::Combine(…)`.

use super::date::{DateKind, DateTime, Parts, days_in_month, is_leap_year};
use super::span::TimeSpan;
use super::text_methods::{invoke_pattern, pattern_of, whole};
use super::{Guid, Type, Version, composite, convert, date_parse, text};
use crate::error::ErrorRecord;
use crate::value::{Array, ArrayKind, IntegerKind, Number, Object, Value};
use std::rc::Rc;

/// One use of a static member; `arguments` is nothing for a property.
pub struct StaticCall<'a> {
    pub kind: &'a Type,
    pub name: &'a str,
    pub arguments: Option<&'a [Value]>,
}

type Found = Result<Option<Value>, ErrorRecord>;

impl StaticCall<'_> {
    fn text(&self, at: usize) -> String {
        self.value(at).map(text).unwrap_or_default()
    }

    fn value(&self, at: usize) -> Option<&Value> {
        self.arguments?.get(at)
    }

    fn real(&self, at: usize) -> Result<f64, ErrorRecord> {
        match convert::convert(self.value(at).unwrap_or(&Value::Null), &Type::Double)? {
            Value::Number(number) => Ok(number.as_f64()),
            _ => Ok(0.0),
        }
    }

    fn count(&self) -> usize {
        self.arguments.map_or(0, <[Value]>::len)
    }

    pub(super) fn refuse(&self, exception: &str, message: &str) -> ErrorRecord {
        ErrorRecord::method(exception, self.name, self.count(), message)
    }
}

/// Nothing if the type has no such member.
pub fn static_member(call: &StaticCall<'_>) -> Found {
    let name = call.name.to_ascii_lowercase();
    match call.kind {
        Type::String => string(call, &name),
        Type::Integer(kind) => integer(call, &name, *kind),
        Type::Double | Type::Single | Type::Decimal => real(call, &name),
        Type::Char => character(call, &name),
        Type::DateTime => date(call, &name),
        Type::TimeSpan => span(call, &name),
        Type::Guid => guid(call, &name),
        Type::Bool if name == "parse" => Ok(Some(call.text(0).trim().eq_ignore_ascii_case("true").into())),
        Type::Bool if name == "truestring" => Ok(Some("True".into())),
        Type::Version if name == "parse" => convert::convert(&call.text(0).into(), &Type::Version).map(Some),
        Type::Address => address(call, &name),
        Type::Regex => regex(call, &name),
        Type::Array(_) => array(call, &name),
        Type::Enum(kind) if call.arguments.is_none() => Ok(kind
            .members
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(call.name))
            .map(|(_, value)| Value::Enum(crate::value::EnumValue { kind: kind.clone(), value: *value }))),
        Type::ScriptBlock if name == "create" => {
            convert::convert(&call.text(0).into(), &Type::ScriptBlock).map(Some)
        }
        Type::Class(class) => match &**class {
            "System.Math" => math(call, &name),
            "System.Array" => array(call, &name),
            "System.Convert" => conversion(call, &name),
            "System.IO.Path" => path(call, &name),
            "System.Enum" => enumeration(call, &name),
            "System.Uri" => match name.as_str() {
                "escapedatastring" => Ok(Some(escaped(&call.text(0)).into())),
                "unescapedatastring" => Ok(Some(unescaped(&call.text(0)).into())),
                _ => Ok(None),
            },
            "System.Text.Encoding" => encoding(&name),
            "System.BitConverter" if name == "tostring" => {
                let all: Vec<String> = call
                    .value(0)
                    .map(Value::elements)
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|b| whole(Some(b)))
                    .map(|b| format!("{b:02X}"))
                    .collect();
                Ok(Some(all.join("-").into()))
            }
            "System.Globalization.CultureInfo" => Ok(Some(culture())),
            "System.GC" => Ok(Some(Value::int(0))),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

pub fn culture() -> Value {
    Object::new("System.Globalization.CultureInfo")
        .with("Name", "en-US")
        .with("DisplayName", "English (United States)")
        .shown_as("en-US")
        .into_value()
}

fn string(call: &StaticCall<'_>, name: &str) -> Found {
    let all = call.arguments.unwrap_or_default();
    Ok(Some(match name {
        "empty" => "".into(),
        "isnullorempty" => call.text(0).is_empty().into(),
        "isnullorwhitespace" => call.text(0).trim().is_empty().into(),
        "join" => {
            let items = if all.len() == 2 {
                all[1].some_elements()
            } else {
                all.get(1..).unwrap_or_default().to_vec()
            };
            items.iter().map(text).collect::<Vec<_>>().join(&call.text(0)).into()
        }
        "concat" => all.iter().flat_map(Value::elements).map(|item| text(&item)).collect::<String>().into(),
        "format" => {
            let items: Vec<Value> = match all.get(1..) {
                Some([one @ Value::Array(_)]) => one.elements(),
                Some(items) => items.to_vec(),
                None => Vec::new(),
            };
            composite(&call.text(0), &items)?.into()
        }
        "compare" => {
            let exact = !call.value(2).is_some_and(Value::is_true);
            let (one, other) = (call.text(0), call.text(1));
            let order = if exact {
                super::text_methods::order(&one, &other)
            } else {
                one.to_lowercase().cmp(&other.to_lowercase()) as i64
            };
            Value::int(order)
        }
        "equals" => (call.text(0) == call.text(1)).into(),
        "new" => match (call.value(0), whole(call.value(1))) {
            (Some(Value::Array(chars)), _) => chars.items().iter().map(text).collect::<String>().into(),
            (Some(c), Some(count)) => {
                text(c).repeat(usize::try_from(count.clamp(0, 1 << 20)).unwrap_or(0)).into()
            }
            (Some(value), None) => text(value).into(),
            (None, _) => "".into(),
        },
        _ => return Ok(None),
    }))
}

fn integer(call: &StaticCall<'_>, name: &str, kind: IntegerKind) -> Found {
    let (least, most) = kind.range();
    let number = |value| Some(Value::Number(Number::Integer(value, kind)));
    match name {
        "maxvalue" => Ok(number(most)),
        "minvalue" => Ok(number(least)),
        "parse" => {
            let said = call.text(0);
            let base = call.text(1).to_ascii_lowercase();
            let parsed = if base.contains("hex") {
                i128::from_str_radix(said.trim(), 16).ok()
            } else {
                said.trim().parse::<i128>().ok()
            };
            let parsed = parsed.ok_or_else(|| {
                call.refuse("System.FormatException", "Input string was not in a correct format.")
            })?;
            if !kind.holds(parsed) {
                return Err(call.refuse(
                    "System.OverflowException",
                    &format!("Value was either too large or too small for an {}.", kind.name()),
                ));
            }
            Ok(number(parsed))
        }
        "tryparse" => Ok(try_parse(call, said_integer(call, kind), call.kind)),
        _ => Ok(None),
    }
}

fn said_integer(call: &StaticCall<'_>, kind: IntegerKind) -> Option<Value> {
    let parsed = call.text(0).trim().parse::<i128>().ok().filter(|value| kind.holds(*value))?;
    Some(Value::Number(Number::Integer(parsed, kind)))
}

/// Puts what was found, or the type's own nothing, into the `[ref]` behind the text.
fn try_parse(call: &StaticCall<'_>, found: Option<Value>, kind: &Type) -> Option<Value> {
    let parsed = found.is_some();
    let target = call
        .arguments
        .unwrap_or_default()
        .iter()
        .rev()
        .find_map(|value| if let Value::Reference(reference) = value { Some(reference) } else { None });
    if let Some(reference) = target {
        reference.scope.note(&reference.name, found.unwrap_or_else(|| kind.default_value()));
    }
    Some(parsed.into())
}

fn real(call: &StaticCall<'_>, name: &str) -> Found {
    let of = |value: f64| convert::convert(&Value::double(value), call.kind).map(Some);
    match (name, call.kind) {
        ("maxvalue", Type::Single) => Ok(Some(Value::Number(Number::Single(f32::MAX)))),
        ("minvalue", Type::Single) => Ok(Some(Value::Number(Number::Single(f32::MIN)))),
        ("maxvalue", Type::Decimal) => {
            convert::convert(&"79228162514264337593543950335".into(), call.kind).map(Some)
        }
        ("minvalue", Type::Decimal) => {
            convert::convert(&"-79228162514264337593543950335".into(), call.kind).map(Some)
        }
        ("maxvalue", _) => of(f64::MAX),
        ("minvalue", _) => of(f64::MIN),
        ("nan", _) => of(f64::NAN),
        ("positiveinfinity", _) => of(f64::INFINITY),
        ("negativeinfinity", _) => of(f64::NEG_INFINITY),
        ("epsilon", _) => of(f64::from_bits(1)),
        ("isnan", _) => Ok(Some(call.real(0)?.is_nan().into())),
        ("isinfinity", _) => Ok(Some(call.real(0)?.is_infinite().into())),
        ("parse", _) => {
            let parsed = call.text(0).trim().parse::<f64>().is_ok();
            if !parsed {
                return Err(
                    call.refuse("System.FormatException", "Input string was not in a correct format.")
                );
            }
            convert::convert(&call.text(0).into(), call.kind).map(Some)
        }
        ("tryparse", _) => {
            let said = call.text(0);
            let found = said
                .trim()
                .parse::<f64>()
                .ok()
                .and_then(|_| convert::convert(&said.trim().into(), call.kind).ok());
            Ok(try_parse(call, found, call.kind))
        }
        _ => Ok(None),
    }
}

fn character(call: &StaticCall<'_>, name: &str) -> Found {
    let at = whole(call.value(1)).and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
    let c = call.text(0).chars().nth(at).unwrap_or('\0');
    Ok(Some(match name {
        "isdigit" | "isnumber" => c.is_numeric().into(),
        "isletter" => c.is_alphabetic().into(),
        "isletterordigit" => c.is_alphanumeric().into(),
        "iswhitespace" => c.is_whitespace().into(),
        "isupper" => c.is_uppercase().into(),
        "islower" => c.is_lowercase().into(),
        "ispunctuation" => c.is_ascii_punctuation().into(),
        "iscontrol" => c.is_control().into(),
        "toupper" => Value::Char(c.to_uppercase().next().unwrap_or(c)),
        "tolower" => Value::Char(c.to_lowercase().next().unwrap_or(c)),
        "convertfromutf32" => u32::try_from(whole(call.value(0)).unwrap_or(0))
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
            .to_string()
            .into(),
        "maxvalue" => Value::Char('\u{fffd}'),
        "minvalue" => Value::Char('\0'),
        _ => return Ok(None),
    }))
}

fn date(call: &StaticCall<'_>, name: &str) -> Found {
    let now = DateTime::now;
    let number = |at: usize| whole(call.value(at)).unwrap_or(0);
    let not_a_date =
        || call.refuse("System.FormatException", "String was not recognized as a valid DateTime.");
    Ok(Some(Value::Date(match name {
        "now" => now(),
        "utcnow" => now().to_universal(),
        "today" => DateTime { ticks: now().ticks - now().ticks % super::span::DAY, kind: DateKind::Local },
        "minvalue" => DateTime { ticks: 0, kind: DateKind::Unspecified },
        "maxvalue" => DateTime { ticks: super::date::MOST_TICKS, kind: DateKind::Unspecified },
        "unixepoch" => DateTime::from_unix(0).to_universal(),
        "parse" => date_parse::parse_date(&call.text(0)).ok_or_else(not_a_date)?,
        "parseexact" => {
            let patterns = call.value(1).map(Value::elements).unwrap_or_default();
            patterns
                .iter()
                .find_map(|pattern| date_parse::parse_exact(&call.text(0), &text(pattern)))
                .ok_or_else(not_a_date)?
        }
        "tryparse" => {
            return Ok(try_parse(call, date_parse::parse_date(&call.text(0)).map(Value::Date), call.kind));
        }
        "new" => {
            let parts = Parts {
                year: number(0),
                month: number(1),
                day: number(2),
                hour: number(3),
                minute: number(4),
                second: number(5),
                fraction: 0,
            };
            let made = if call.count() == 1 {
                DateTime::new(number(0), DateKind::Unspecified)
            } else {
                DateTime::of_parts(parts, DateKind::Unspecified)
            };
            made.ok_or_else(|| {
                call.refuse(
                    "System.ArgumentOutOfRangeException",
                    "Year, Month, and Day parameters describe an un-representable DateTime.",
                )
            })?
        }
        "daysinmonth" => return Ok(Some(Value::int(days_in_month(number(0), number(1))))),
        "isleapyear" => return Ok(Some(is_leap_year(number(0)).into())),
        "fromfiletime" => DateTime {
            ticks: number(0).saturating_add(504_911_232_000_000_000).clamp(0, super::date::MOST_TICKS),
            kind: DateKind::Utc,
        }
        .to_local(),
        "compare" => {
            return Ok(call
                .value(0)
                .zip(call.value(1))
                .and_then(|(one, other)| crate::interpret::order(one, other, crate::syntax::Case::Exact))
                .map(|order| Value::int(order as i64)));
        }
        _ => return Ok(None),
    })))
}

fn span(call: &StaticCall<'_>, name: &str) -> Found {
    let seconds = |unit: f64| -> Found {
        let span = TimeSpan::from_seconds(call.real(0)? * unit);
        span.map(|span| Some(Value::Span(span))).ok_or_else(|| {
            call.refuse("System.OverflowException", "TimeSpan overflowed because the duration is too long.")
        })
    };
    let number = |at: usize| whole(call.value(at)).unwrap_or(0);
    match name {
        "fromdays" => seconds(86_400.0),
        "fromhours" => seconds(3600.0),
        "fromminutes" => seconds(60.0),
        "fromseconds" => seconds(1.0),
        "frommilliseconds" => seconds(0.001),
        "fromticks" => Ok(Some(Value::Span(TimeSpan { ticks: number(0) }))),
        "zero" => Ok(Some(Value::Span(TimeSpan::default()))),
        "maxvalue" => Ok(Some(Value::Span(TimeSpan { ticks: i64::MAX }))),
        "parse" => TimeSpan::parse(&call.text(0)).map(|span| Some(Value::Span(span))).ok_or_else(|| {
            call.refuse("System.FormatException", "String was not recognized as a valid TimeSpan.")
        }),
        "tryparse" => Ok(try_parse(call, TimeSpan::parse(&call.text(0)).map(Value::Span), call.kind)),
        "new" => {
            let span = match call.count() {
                1 => Some(TimeSpan { ticks: number(0) }),
                3 => TimeSpan::of_parts(0, number(0), number(1), number(2)),
                _ => TimeSpan::of_parts(number(0), number(1), number(2), number(3)),
            };
            span.map(|span| Some(Value::Span(span))).ok_or_else(|| {
                call.refuse(
                    "System.ArgumentOutOfRangeException",
                    "TimeSpan overflowed because the duration is too long.",
                )
            })
        }
        _ => Ok(None),
    }
}

fn guid(call: &StaticCall<'_>, name: &str) -> Found {
    match name {
        "newguid" => Guid::random()
            .map(|guid| Some(Value::Guid(guid)))
            .map_err(|error| call.refuse("System.IO.IOException", &error.to_string())),
        "empty" => Ok(Some(Value::Guid(Guid::default()))),
        "parse" | "new" => convert::convert(&call.text(0).into(), &Type::Guid).map(Some),
        "tryparse" => Ok(try_parse(call, Guid::parse(&call.text(0)).map(Value::Guid), call.kind)),
        _ => Ok(None),
    }
}

fn address(call: &StaticCall<'_>, name: &str) -> Found {
    let parsed = || super::address::parse(&call.text(0)).map(Value::Address);
    match name {
        "parse" => parsed()
            .map(Some)
            .ok_or_else(|| call.refuse("System.FormatException", "An invalid IP address was specified.")),
        "tryparse" => Ok(try_parse(call, parsed(), call.kind)),
        "loopback" => Ok(Some(Value::Address(std::net::Ipv4Addr::LOCALHOST.into()))),
        "any" => Ok(Some(Value::Address(std::net::Ipv4Addr::UNSPECIFIED.into()))),
        "broadcast" => Ok(Some(Value::Address(std::net::Ipv4Addr::BROADCAST.into()))),
        _ => Ok(None),
    }
}

fn regex(call: &StaticCall<'_>, name: &str) -> Found {
    match name {
        "escape" => {
            let marks = "\\*+?|{[()^$.# ";
            let escaped: String = call
                .text(0)
                .chars()
                .flat_map(|c| if marks.contains(c) { vec!['\\', c] } else { vec![c] })
                .collect();
            Ok(Some(escaped.into()))
        }
        "unescape" => Ok(Some(call.text(0).replace('\\', "").into())),
        "new" => pattern_of(call.value(0), call.value(1)).map(|pattern| Some(Value::Regex(pattern))),
        _ => {
            let options_at = if name == "replace" { 3 } else { 2 };
            let pattern = pattern_of(call.value(1), call.value(options_at))?;
            let arguments: Vec<Value> = [call.value(0), call.value(2).filter(|_| name == "replace")]
                .into_iter()
                .flatten()
                .cloned()
                .collect();
            invoke_pattern(&pattern, name, &arguments)
        }
    }
}

type Function = fn(f64) -> f64;

fn math(call: &StaticCall<'_>, name: &str) -> Found {
    let first = call.value(0).cloned().unwrap_or_default();
    let number = convert::number(&first).unwrap_or(Number::Double(f64::NAN));
    let of = |value: f64| Ok(Some(Value::double(value)));
    match (name, number) {
        ("pi", _) => of(std::f64::consts::PI),
        ("e", _) => of(std::f64::consts::E),
        ("abs", Number::Integer(value, kind)) => Ok(Some(Value::Number(Number::Integer(value.abs(), kind)))),
        ("abs", Number::Decimal(value)) if value.compare(&crate::value::Decimal::ZERO).is_lt() => {
            Ok(Some(Value::Number(Number::Decimal(value.negate()))))
        }
        ("max" | "min", _) if call.count() == 2 => extreme(call, name == "max"),
        ("sign", _) => Ok(Some(Value::int(if number.is_zero() {
            0
        } else if number.as_f64() < 0.0 {
            -1
        } else {
            1
        }))),
        ("round", Number::Decimal(value)) => {
            let places = whole(call.value(1)).unwrap_or(0).clamp(0, 28) as u32;
            Ok(Some(Value::Number(Number::Decimal(value.round(places)))))
        }
        ("round", _) => {
            let places = call
                .arguments
                .unwrap_or_default()
                .iter()
                .skip(1)
                .find(|value| matches!(value, Value::Number(_)));
            let away = call
                .arguments
                .unwrap_or_default()
                .iter()
                .any(|value| text(value).eq_ignore_ascii_case("AwayFromZero"));
            of(rounded(call.real(0)?, whole(places).unwrap_or(0).clamp(0, 15) as i32, away))
        }
        ("pow", _) => of(call.real(0)?.powf(call.real(1)?)),
        ("log", _) if call.count() == 2 => of(call.real(0)?.log(call.real(1)?)),
        ("atan2", _) => of(call.real(0)?.atan2(call.real(1)?)),
        ("divrem", _) => {
            let (one, other) = (whole(call.value(0)).unwrap_or(0), whole(call.value(1)).unwrap_or(0));
            let quotient = one
                .checked_div(other)
                .ok_or_else(|| call.refuse("System.DivideByZeroException", "Attempted to divide by zero."))?;
            if let Some(Value::Reference(rest)) = call.value(2) {
                rest.scope.note(&rest.name, Value::int(one % other));
            }
            Ok(Some(Value::int(quotient)))
        }
        _ => {
            let functions: [(&str, Function); 17] = [
                ("floor", f64::floor),
                ("ceiling", f64::ceil),
                ("truncate", f64::trunc),
                ("abs", f64::abs),
                ("sqrt", f64::sqrt),
                ("cbrt", f64::cbrt),
                ("exp", f64::exp),
                ("log", f64::ln),
                ("log10", f64::log10),
                ("log2", f64::log2),
                ("sin", f64::sin),
                ("cos", f64::cos),
                ("tan", f64::tan),
                ("asin", f64::asin),
                ("acos", f64::acos),
                ("atan", f64::atan),
                ("sinh", f64::sinh),
            ];
            match functions.iter().find(|(own, _)| *own == name) {
                Some((_, function)) => of(function(call.real(0)?)),
                None => Ok(None),
            }
        }
    }
}

fn rounded(value: f64, places: i32, away: bool) -> f64 {
    let scale = 10f64.powi(places);
    let scaled = value * scale;
    if !scaled.is_finite() {
        return value;
    }
    (if away { scaled.round() } else { scaled.round_ties_even() }) / scale
}

fn extreme(call: &StaticCall<'_>, greater: bool) -> Found {
    let (Some(one), Some(other)) =
        (call.value(0).and_then(convert::number), call.value(1).and_then(convert::number))
    else {
        return call.real(0).map(|_| None);
    };
    let first = one.compare(other).is_some_and(|order| if greater { order.is_ge() } else { order.is_le() });
    let chosen = if first { one } else { other };
    Ok(Some(Value::Number(match (one, other) {
        (Number::Integer(_, a), Number::Integer(_, b)) => {
            Number::Integer(chosen.as_integer().unwrap_or(0), a.max(b))
        }
        (Number::Decimal(_), _) | (_, Number::Decimal(_)) => {
            chosen.as_decimal().map_or(chosen, Number::Decimal)
        }
        _ => Number::Double(chosen.as_f64()),
    })))
}

fn array(call: &StaticCall<'_>, name: &str) -> Found {
    let Some(Value::Array(own)) = call.value(0) else {
        return Ok((name == "empty" || name == "new").then(|| Value::array(Vec::new())));
    };
    match name {
        "reverse" => own.items_mut().reverse(),
        "sort" => {
            let sorted = crate::interpret::sorted(own.items().clone());
            *own.items_mut() = sorted;
        }
        "indexof" => {
            let wanted = call.value(1).cloned().unwrap_or_default();
            let at = own
                .items()
                .iter()
                .position(|item| crate::interpret::equal(item, &wanted, crate::syntax::Case::Exact));
            return Ok(Some(at.map_or(Value::int(-1), Value::from)));
        }
        "clear" => own.items_mut().iter_mut().for_each(|item| *item = Value::Null),
        _ => return Ok(None),
    }
    Ok(Some(Value::Null))
}

pub fn bytes(all: &[u8]) -> Value {
    let kind = ArrayKind::Typed(Rc::new(Type::Integer(IntegerKind::Byte)));
    let items =
        all.iter().map(|byte| Value::Number(Number::Integer((*byte).into(), IntegerKind::Byte))).collect();
    Value::Array(Rc::new(Array::new(items, kind)))
}

pub fn to_bytes(value: &Value) -> Vec<u8> {
    value.some_elements().iter().filter_map(|item| u8::try_from(whole(Some(item))?).ok()).collect()
}

fn conversion(call: &StaticCall<'_>, name: &str) -> Found {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let kinds = [
        ("tobyte", IntegerKind::Byte),
        ("toint16", IntegerKind::Int16),
        ("touint16", IntegerKind::UInt16),
        ("toint32", IntegerKind::Int32),
        ("touint32", IntegerKind::UInt32),
        ("toint64", IntegerKind::Int64),
        ("touint64", IntegerKind::UInt64),
    ];
    if let Some((_, kind)) = kinds.iter().find(|(own, _)| *own == name) {
        return match whole(call.value(1)) {
            Some(base @ (2 | 8 | 10 | 16)) => {
                let said = call.text(0).to_lowercase();
                let digits = if base == 16 { said.trim_start_matches("0x") } else { &said };
                let parsed =
                    i128::from_str_radix(digits, base as u32).ok().filter(|value| kind.holds(*value));
                let value = parsed.ok_or_else(|| {
                    call.refuse("System.FormatException", "Could not find any recognizable digits.")
                })?;
                Ok(Some(Value::Number(Number::Integer(value, *kind))))
            }
            _ => convert::convert(call.value(0).unwrap_or(&Value::Null), &Type::Integer(*kind)).map(Some),
        };
    }
    Ok(Some(match name {
        "tostring" => match (whole(call.value(0)), whole(call.value(1))) {
            (Some(value), Some(2)) => format!("{value:b}").into(),
            (Some(value), Some(8)) => format!("{value:o}").into(),
            (Some(value), Some(16)) => format!("{value:x}").into(),
            _ => call.text(0).into(),
        },
        "toboolean" => match call.value(0) {
            Some(Value::Text(text)) => text.trim().eq_ignore_ascii_case("true").into(),
            value => value.is_some_and(Value::is_true).into(),
        },
        "todouble" => Value::double(call.real(0)?),
        "todecimal" => convert::convert(call.value(0).unwrap_or(&Value::Null), &Type::Decimal)?,
        "tochar" => convert::convert(call.value(0).unwrap_or(&Value::Null), &Type::Char)?,
        "todatetime" => convert::convert(call.value(0).unwrap_or(&Value::Null), &Type::DateTime)?,
        "tobase64string" => {
            let all = call.value(0).map(to_bytes).unwrap_or_default();
            let mut made = String::new();
            for three in all.chunks(3) {
                let bits = three
                    .iter()
                    .enumerate()
                    .fold(0u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
                for at in 0..4 {
                    let letter = char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]);
                    made.push(if at <= three.len() { letter } else { '=' });
                }
            }
            made.into()
        }
        "frombase64string" => {
            let wrong = || call.refuse("System.FormatException", "The input is not a valid Base-64 string.");
            let said: Vec<u8> = call.text(0).bytes().filter(|b| !b.is_ascii_whitespace()).collect();
            let mut all = Vec::new();
            for four in said.chunks(4) {
                let count = four.iter().take_while(|b| **b != b'=').count();
                let mut bits = 0u32;
                for (at, byte) in four.iter().take(count).enumerate() {
                    let value = LETTERS.iter().position(|own| own == byte).ok_or_else(wrong)?;
                    bits |= (value as u32) << (18 - 6 * at);
                }
                if four.len() != 4 || count < 2 {
                    return Err(wrong());
                }
                all.extend(&bits.to_be_bytes()[1..count]);
            }
            bytes(&all)
        }
        _ => return Ok(None),
    }))
}

fn path(call: &StaticCall<'_>, name: &str) -> Found {
    let said = call.text(0);
    let slash = |text: &str| text.rfind(['/', '\\']);
    let file = slash(&said).map_or(said.as_str(), |at| &said[at + 1..]);
    let dot = file.rfind('.');
    Ok(Some(match name {
        "combine" => {
            let parts: Vec<String> = call
                .arguments
                .unwrap_or_default()
                .iter()
                .flat_map(Value::elements)
                .map(|part| text(&part))
                .collect();
            let mut made = String::new();
            for part in parts.iter().filter(|part| !part.is_empty()) {
                if part.starts_with('/') || made.is_empty() {
                    made = part.clone();
                } else {
                    if !made.ends_with('/') {
                        made.push('/');
                    }
                    made += part;
                }
            }
            made.into()
        }
        "getfilename" => file.into(),
        "getextension" => dot.map_or("", |at| &file[at..]).into(),
        "getfilenamewithoutextension" => dot.map_or(file, |at| &file[..at]).into(),
        "getdirectoryname" => slash(&said).map_or("", |at| if at == 0 { "/" } else { &said[..at] }).into(),
        "changeextension" => {
            let stem = &said[..said.len() - dot.map_or(0, |at| file.len() - at)];
            let extension = call.text(1);
            let point = if extension.is_empty() || extension.starts_with('.') { "" } else { "." };
            format!("{stem}{point}{extension}").into()
        }
        "hasextension" => dot.is_some().into(),
        "ispathrooted" => (said.starts_with(['/', '\\']) || said.get(1..2) == Some(":")).into(),
        "directoryseparatorchar" => Value::Char('/'),
        "pathseparator" => Value::Char(':'),
        "getrandomfilename" => {
            let bits = Guid::random().map_or(0, |guid| guid.0);
            let letters: String = (0..11)
                .map(|at| char::from(b"abcdefghijklmnopqrstuvwxyz012345"[(bits >> (5 * at) & 31) as usize]))
                .collect();
            format!("{}.{}", &letters[..8], &letters[8..]).into()
        }
        "getinvalidfilenamechars" | "getinvalidpathchars" => {
            Value::array(vec![Value::Char('\0'), Value::Char('/')])
        }
        _ => return Ok(None),
    }))
}

fn enumeration(call: &StaticCall<'_>, name: &str) -> Found {
    let Some(Value::Type(kind)) = call.value(0) else { return Ok(None) };
    let Type::Enum(kind) = &**kind else { return Ok(None) };
    let member = |value: i64| Value::Enum(crate::value::EnumValue { kind: kind.clone(), value });
    Ok(Some(match name {
        "getnames" => Value::array(kind.members.iter().map(|(name, _)| Value::Text(name.clone())).collect()),
        "getvalues" => Value::array(kind.members.iter().map(|(_, value)| member(*value)).collect()),
        "parse" => convert::convert(call.value(1).unwrap_or(&Value::Null), &Type::Enum(kind.clone()))?,
        "isdefined" => kind.parse(&call.text(1)).is_some().into(),
        "getname" => whole(call.value(1)).map(member).map_or(Value::Null, |value| text(&value).into()),
        _ => return Ok(None),
    }))
}

fn encoding(name: &str) -> Found {
    let known = ["utf8", "ascii", "unicode", "default", "utf32", "bigendianunicode", "latin1"];
    if !known.contains(&name) {
        return Ok(None);
    }
    Ok(Some(
        Object::new("System.Text.Encoding")
            .with("WebName", if name == "utf8" || name == "default" { "utf-8" } else { name })
            .into_value(),
    ))
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut made = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let code = behind
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                made.push(code);
                rest = &behind[2..];
            }
            _ => {
                made.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&made).into_owned()
}

/// System.Uri, of an absolute address.
pub fn uri(text: &str) -> Option<Value> {
    let (scheme, rest) = text.split_once("://")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| (&rest[..at], &rest[at..]));
    let (host, port) =
        authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, port.parse::<i64>().ok()));
    let standard = if scheme == "https" { 443 } else { 80 };
    let (path, query) = path.find('?').map_or((path, ""), |at| (&path[..at], &path[at..]));
    let object = Object::new("System.Uri")
        .with("Scheme", scheme)
        .with("Host", host)
        .with("Port", port.unwrap_or(standard))
        .with("AbsolutePath", path)
        .with("Query", query)
        .with("AbsoluteUri", text)
        .with("OriginalString", text);
    Some(object.shown_as(text).into_value())
}

/// `[version]::new(1, 2)`
pub fn version(arguments: &[Value]) -> Option<Value> {
    let numbers: Vec<i32> =
        arguments.iter().map(|value| i32::try_from(whole(Some(value))?).ok()).collect::<Option<_>>()?;
    (2..=4).contains(&numbers.len()).then(|| Value::Version(Version::of(&numbers)))
}
