//! Dates, waiting, and how long things take; random numbers.

use super::Cmdlet;
use super::stages::{all, once};
use crate::bind::Bound;
use crate::error::Outcome;
use crate::interpret::{Interpreter, Sink};
use crate::types::{DateTime, TimeSpan, Type, convert, format_date, number};
use crate::value::{Number, Value};
use std::time::{Duration, Instant};

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Get-Date",
        aliases: &[],
        synopsis: "Gives the time.",
        parameters: "\
Date/LastWriteTime:any@0< Another time than now.
Format:string By this pattern of .NET's, as text.
UFormat:string By this pattern of Unix', as text.
Year:int Another year.
Month:int Another month.
Day:int Another day.
Hour:int Another hour.
Minute:int Another minute.
Second:int Another second.
DisplayHint:string Accepted.
AsUTC:switch In universal time.",
        make: |_, bound| {
            all(bound, "Date", |interpreter, bound, items, out| {
                if items.is_empty() {
                    return date(interpreter, bound, DateTime::now(), out);
                }
                for item in items {
                    if let Value::Date(own) = convert(&item, &Type::DateTime)? {
                        date(interpreter, bound, own, out)?;
                    }
                }
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "New-TimeSpan",
        aliases: &[],
        synopsis: "Makes a span of time.",
        parameters: "\
Start/LastWriteTime:any@0< From when.
End:any@1 Until when.
Days:int So many days.
Hours:int So many hours.
Minutes:int So many minutes.
Seconds:int So many seconds.
Milliseconds:int So many thousandths of a second.",
        make: |_, bound| {
            once(bound, |interpreter, bound, out| {
                let end_of = |name: &str| -> Outcome<Option<DateTime>> {
                    match bound.item(name).map(|value| convert(value, &Type::DateTime)).transpose()? {
                        Some(Value::Date(date)) => Ok(Some(date)),
                        _ => Ok(None),
                    }
                };
                let span = match (end_of("Start")?, end_of("End")?) {
                    (None, None) => {
                        let part = |name: &str| bound.integer(name).unwrap_or(0);
                        let span =
                            TimeSpan::of_parts(part("Days"), part("Hours"), part("Minutes"), part("Seconds"));
                        span.map(|span| TimeSpan { ticks: span.ticks + part("Milliseconds") * 10_000 })
                    }
                    (start, end) => Some(TimeSpan {
                        ticks: end.unwrap_or_else(DateTime::now).ticks
                            - start.unwrap_or_else(DateTime::now).ticks,
                    }),
                };
                out.put(interpreter, span.map_or(Value::Null, Value::Span))
            })
        },
    },
    Cmdlet {
        name: "Start-Sleep",
        aliases: &["sleep"],
        synopsis: "Waits.",
        parameters: "\
Seconds:any@0< How long; a fraction is allowed.
Milliseconds/ms:any How long, in thousandths of a second.
Duration:any How long, as a span of time.",
        make: |_, bound| {
            once(bound, |interpreter, bound, _| {
                let seconds =
                    match (bound.item("Seconds"), bound.item("Milliseconds"), bound.item("Duration")) {
                        (Some(value), ..) => real(value)?,
                        (None, Some(value), _) => real(value)? / 1000.0,
                        (None, None, Some(value)) => match convert(value, &Type::TimeSpan)? {
                            Value::Span(span) => span.seconds(),
                            _ => 0.0,
                        },
                        _ => {
                            return Err(bound
                                .refuse("MissingMandatoryParameter", "Say how long: Start-Sleep 5.")
                                .into());
                        }
                    };
                match Duration::try_from_secs_f64(seconds) {
                    Ok(duration) => wait(interpreter, duration),
                    Err(_) => {
                        let message = format!(
                            "Cannot validate argument on parameter 'Seconds'. {seconds} is no time to wait."
                        );
                        Err(bound.refuse("ParameterArgumentValidationError", message).into())
                    }
                }
            })
        },
    },
    Cmdlet {
        name: "Measure-Command",
        aliases: &[],
        synopsis: "Says how long a script block takes.",
        parameters: "\
Expression:block@0! The script block.
InputObject:any< What is $_.",
        make: |_, bound| {
            once(bound, |interpreter, bound, out| {
                let Some(Value::Block(closure)) = bound.item("Expression").cloned() else {
                    return Err(bound
                        .refuse("MissingMandatoryParameter", "Say what to measure: Measure-Command { … }.")
                        .into());
                };
                let since = Instant::now();
                interpreter.block_for(&closure, Value::Null)?;
                let span = TimeSpan::from_seconds(since.elapsed().as_secs_f64());
                out.put(interpreter, span.map_or(Value::Null, Value::Span))
            })
        },
    },
    Cmdlet {
        name: "Get-Random",
        aliases: &[],
        synopsis: "Gives random numbers, or some of the objects.",
        parameters: "\
InputObject:any[]< The objects.
Maximum:any@0 Less than this.
Minimum:any At least this.
Count:int How many.
Shuffle:switch All of them, in any order.
SetSeed:int So that the same ones come again.",
        make: |_, bound| all(bound, "InputObject", random),
    },
    Cmdlet {
        name: "New-Guid",
        aliases: &[],
        synopsis: "Makes a GUID.",
        parameters: "Empty:switch The one of zeros.",
        make: |_, bound| {
            once(bound, |interpreter, bound, out| {
                let guid = if bound.switch("Empty") {
                    Ok(crate::types::Guid::default())
                } else {
                    crate::types::Guid::random()
                };
                let guid = guid.map_err(|error| bound.refuse("NotSpecified", error.to_string()))?;
                out.put(interpreter, Value::Guid(guid))
            })
        },
    },
];

fn real(value: &Value) -> Result<f64, crate::error::ErrorRecord> {
    match convert(value, &Type::Double)? {
        Value::Number(number) => Ok(number.as_f64()),
        _ => Ok(0.0),
    }
}

/// In small pieces, so that Ctrl-C ends it.
pub fn wait(interpreter: &Interpreter<'_>, duration: Duration) -> Outcome {
    const PIECE: Duration = Duration::from_millis(50);
    let since = Instant::now();
    while let Some(left) = duration.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
        interpreter.heed()?;
        std::thread::sleep(left.min(PIECE));
    }
    Ok(())
}

fn date(interpreter: &mut Interpreter<'_>, bound: &Bound, own: DateTime, out: &mut dyn Sink) -> Outcome {
    let mut parts = own.parts();
    let slots = [
        ("Year", &mut parts.year),
        ("Month", &mut parts.month),
        ("Day", &mut parts.day),
        ("Hour", &mut parts.hour),
        ("Minute", &mut parts.minute),
        ("Second", &mut parts.second),
    ];
    for (name, slot) in slots {
        if let Some(given) = bound.integer(name) {
            *slot = given;
        }
    }
    let Some(mut own) = DateTime::of_parts(parts, own.kind) else {
        return Err(bound.refuse("ParameterArgumentValidationError", "There is no such day or time.").into());
    };
    if bound.switch("AsUTC") {
        own = own.to_universal();
    }
    if let Some(pattern) = bound.text("UFormat") {
        return out.put(interpreter, unix_format(own, &pattern).into());
    }
    let Some(pattern) = bound.text("Format") else { return out.put(interpreter, Value::Date(own)) };
    let universal = pattern.to_ascii_lowercase();
    let said = match universal.as_str() {
        "filedate" => format_date(own, "yyyyMMdd"),
        "filedatetime" => format_date(own, "yyyyMMddTHHmmssffff"),
        "filedateuniversal" => format_date(own.to_universal(), "yyyyMMddZ"),
        "filedatetimeuniversal" => format_date(own.to_universal(), "yyyyMMddTHHmmssffffZ"),
        _ => format_date(own, &pattern),
    };
    match said {
        Some(said) => out.put(interpreter, said.into()),
        None => Err(bound
            .refuse(
                "FormatError",
                format!("Input string was not in a correct format: '{pattern}' is no pattern of a date."),
            )
            .into()),
    }
}

fn unix_format(date: DateTime, pattern: &str) -> String {
    const LETTERS: [(char, &str); 21] = [
        ('Y', "yyyy"),
        ('y', "yy"),
        ('m', "MM"),
        ('d', "dd"),
        ('H', "HH"),
        ('I', "hh"),
        ('M', "mm"),
        ('S', "ss"),
        ('p', "tt"),
        ('A', "dddd"),
        ('a', "ddd"),
        ('B', "MMMM"),
        ('b', "MMM"),
        ('F', "yyyy-MM-dd"),
        ('T', "HH:mm:ss"),
        ('R', "HH:mm"),
        ('D', "MM/dd/yy"),
        ('Z', "zz"),
        ('r', "hh:mm:ss tt"),
        ('c', "ddd MMM dd HH:mm:ss yyyy"),
        ('x', "MM/dd/yy"),
    ];
    let mut made = String::new();
    let mut chars = pattern.trim_start_matches('+').chars();
    while let Some(c) = chars.next() {
        match (c, if c == '%' { chars.next() } else { None }) {
            ('%', Some('s')) => made += &date.unix_seconds().to_string(),
            ('%', Some('j')) => made += &format!("{:03}", date.day_of_year()),
            ('%', Some('n')) => made.push('\n'),
            ('%', Some('%')) => made.push('%'),
            ('%', Some(letter)) => {
                let pattern = LETTERS.iter().find(|(own, _)| *own == letter).map(|(_, pattern)| *pattern);
                made += &pattern.and_then(|pattern| format_date(date, pattern)).unwrap_or_default();
            }
            (c, _) => made.push(c),
        }
    }
    made
}

fn random(
    interpreter: &mut Interpreter<'_>,
    bound: &Bound,
    items: Vec<Value>,
    out: &mut dyn Sink,
) -> Outcome {
    if let Some(seed) = bound.integer("SetSeed") {
        interpreter.random = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    }
    let count = bound.count("Count")?;
    if !items.is_empty() {
        let mut left = items;
        let wanted = if bound.switch("Shuffle") { left.len() } else { count.unwrap_or(1) };
        for _ in 0..wanted.min(left.len()) {
            let at = (interpreter.next_random() % left.len() as u64) as usize;
            let chosen = left.swap_remove(at);
            out.put(interpreter, chosen)?;
        }
        return Ok(());
    }
    let end = |name: &str| bound.item(name).and_then(number);
    let (least, most) =
        (end("Minimum").unwrap_or(Number::of(0)), end("Maximum").unwrap_or(Number::of(i128::from(i32::MAX))));
    for _ in 0..count.unwrap_or(1) {
        let drawn = interpreter.next_random();
        let value = match (least, most) {
            (Number::Integer(least, _), Number::Integer(most, _)) if most > least => {
                Value::Number(Number::of(least + i128::from(drawn) % (most - least)))
            }
            _ if most.as_f64() > least.as_f64() => Value::double(
                least.as_f64()
                    + (drawn >> 11) as f64 / (1u64 << 53) as f64 * (most.as_f64() - least.as_f64()),
            ),
            _ => {
                return Err(bound
                    .refuse(
                        "MinGreaterThanOrEqualMax",
                        "The Minimum value must be less than the Maximum value.",
                    )
                    .into());
            }
        };
        out.put(interpreter, value)?;
    }
    Ok(())
}
