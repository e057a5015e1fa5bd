//! Dates from text: ISO 8601, the American order of numbers, names of months; and exactly by a pattern.

use super::date::{DateKind, DateTime, Parts};
use super::date_format::MONTHS;
use super::span::{SECOND, TimeSpan};

/// What of a date a word is.
#[derive(Debug, PartialEq)]
enum Word {
    Number(i64, usize),
    Name(String),
    Mark(char),
}

fn words(text: &str) -> Option<Vec<Word>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while let Some(c) = rest.chars().next() {
        let run = |fits: fn(char) -> bool| rest.find(|c| !fits(c)).unwrap_or(rest.len());
        let length = if c.is_ascii_digit() {
            let length = run(|c| c.is_ascii_digit());
            found.push(Word::Number(rest[..length].parse().ok()?, length));
            length
        } else if c.is_alphabetic() {
            let length = run(char::is_alphabetic);
            found.push(Word::Name(rest[..length].to_ascii_lowercase()));
            length
        } else {
            if !c.is_whitespace() {
                found.push(Word::Mark(c));
            }
            c.len_utf8()
        };
        rest = &rest[length..];
    }
    Some(found)
}

fn month(name: &str) -> Option<i64> {
    let fits = |month: &str| name.len() >= 3 && month.to_ascii_lowercase().starts_with(name);
    MONTHS.iter().position(|month| fits(month)).map(|at| at as i64 + 1)
}

fn is_weekday(name: &str) -> bool {
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
        .iter()
        .any(|day| name.len() >= 3 && day.starts_with(name))
}

/// As `[datetime]'…'` takes it.
pub fn parse_date(text: &str) -> Option<DateTime> {
    let words = words(text)?;
    let mut numbers: Vec<(i64, usize)> = Vec::new();
    let mut parts = Parts::default();
    let (mut named_month, mut time_read, mut afternoon) = (None, false, None);
    let mut kind = DateKind::Unspecified;
    let mut offset = None;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match word {
            Word::Number(..) if matches!(words.get(at + 1), Some(Word::Mark(':'))) && !time_read => {
                at = clock(&words, at, &mut parts)?;
                time_read = true;
                continue;
            }
            Word::Number(hour, _) if matches!(words.get(at + 1), Some(Word::Name(half)) if half == "am" || half == "pm") =>
            {
                parts.hour = *hour;
                time_read = true;
            }
            Word::Number(number, length) => numbers.push((*number, *length)),
            Word::Name(name) if name == "am" || name == "pm" => afternoon = Some(name == "pm"),
            Word::Name(name) if name == "t" && !numbers.is_empty() => {}
            Word::Name(name) if name == "z" || name == "gmt" || name == "utc" => offset = Some(0),
            Word::Name(name) if is_weekday(name) => {}
            Word::Name(name) => named_month = Some(month(name)?),
            Word::Mark(sign @ ('+' | '-')) if time_read => {
                let (seconds, next) = zone(&words, at + 1)?;
                offset = Some(if *sign == '-' { -seconds } else { seconds });
                at = next;
                continue;
            }
            Word::Mark('/' | '-' | ',' | '.') => {}
            Word::Mark(_) => return None,
        }
        at += 1;
    }
    if let Some(afternoon) = afternoon {
        if !(1..=12).contains(&parts.hour) {
            return None;
        }
        parts.hour = parts.hour % 12 + if afternoon { 12 } else { 0 };
    }
    day(&mut parts, &numbers, named_month, time_read)?;
    if offset.is_some() {
        kind = DateKind::Utc;
    }
    let date = DateTime::of_parts(parts, kind)?;
    match offset {
        Some(offset) => date.plus(TimeSpan { ticks: -offset * SECOND }).map(DateTime::to_local),
        None => Some(date),
    }
}

/// `hh:mm[:ss[.fffffff]]`; where it ends.
fn clock(words: &[Word], mut at: usize, parts: &mut Parts) -> Option<usize> {
    let number = |at: usize| {
        if let Some(Word::Number(number, length)) = words.get(at) { Some((*number, *length)) } else { None }
    };
    parts.hour = number(at)?.0;
    parts.minute = number(at + 2)?.0;
    at += 3;
    if matches!(words.get(at), Some(Word::Mark(':'))) {
        parts.second = number(at + 1)?.0;
        at += 2;
        if let (Some(Word::Mark('.')), Some((fraction, length))) = (words.get(at), number(at + 1)) {
            parts.fraction = if length <= 7 {
                fraction * 10i64.pow(7 - length as u32)
            } else {
                fraction / 10i64.checked_pow(length as u32 - 7)?
            };
            at += 2;
        }
    }
    Some(at)
}

fn zone(words: &[Word], at: usize) -> Option<(i64, usize)> {
    match (words.get(at)?, words.get(at + 1), words.get(at + 2)) {
        (Word::Number(hours @ 0..=14, _), Some(Word::Mark(':')), Some(Word::Number(minutes @ 0..=59, _))) => {
            Some((hours * 3600 + minutes * 60, at + 3))
        }
        (Word::Number(number, 4), ..) => Some((number / 100 * 3600 + number % 100 * 60, at + 1)),
        (Word::Number(hours @ 0..=14, _), ..) => Some((hours * 3600, at + 1)),
        _ => None,
    }
}

fn day(parts: &mut Parts, numbers: &[(i64, usize)], named: Option<i64>, time_read: bool) -> Option<()> {
    let today = DateTime::now().parts();
    let full = |(year, length): (i64, usize)| {
        if length <= 2 { if year < 50 { 2000 + year } else { 1900 + year } } else { year }
    };
    let (year, month, day) = match (numbers, named) {
        ([], None) if time_read => (today.year, today.month, today.day),
        ([day, year], Some(month)) => (full(*year), month, day.0),
        ([(year, 4)], Some(month)) => (*year, month, 1),
        ([day], Some(month)) => (today.year, month, day.0),
        ([(year, 4), month, day], None) => (*year, month.0, day.0),
        ([month, day, year], None) => (full(*year), month.0, day.0),
        ([(year, 4), month], None) => (*year, month.0, 1),
        ([month, day], None) => (today.year, month.0, day.0),
        ([(number, 8)], None) => (number / 10_000, number / 100 % 100, number % 100),
        _ => return None,
    };
    (parts.year, parts.month, parts.day) = (year, month, day);
    Some(())
}

/// `[datetime]::ParseExact(text, pattern, …)`
pub fn parse_exact(text: &str, pattern: &str) -> Option<DateTime> {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut rest = text;
    let today = DateTime::now().parts();
    let mut parts = Parts { year: today.year, month: 1, day: 1, ..Parts::default() };
    let mut afternoon = None;
    let mut at = 0;
    while let Some(&c) = pattern.get(at) {
        let run = pattern[at..].iter().take_while(|other| **other == c).count();
        at += run;
        let mut number = |least: usize, most: usize| -> Option<i64> {
            let length = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
            let found = (length >= least).then(|| rest[..length].parse().ok())??;
            rest = &rest[length..];
            Some(found)
        };
        match c {
            'y' if run <= 2 => parts.year = 2000 + number(run, 2)?,
            'y' => parts.year = number(run, run.max(4))?,
            'M' if run <= 2 => parts.month = number(run, 2)?,
            'M' => {
                let length = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
                parts.month = month(&rest[..length].to_ascii_lowercase())?;
                rest = &rest[length..];
            }
            'd' if run <= 2 => parts.day = number(run, 2)?,
            'd' => rest = rest.trim_start_matches(char::is_alphabetic),
            'H' | 'h' => parts.hour = number(run.min(2), 2)?,
            'm' => parts.minute = number(run.min(2), 2)?,
            's' => parts.second = number(run.min(2), 2)?,
            'f' => parts.fraction = number(run, run)? * 10i64.checked_pow(7u32.checked_sub(run as u32)?)?,
            't' => {
                let half = rest.get(..run.min(2))?.to_ascii_lowercase();
                afternoon = Some(half.starts_with('p'));
                rest = &rest[run.min(2)..];
            }
            '\'' | '"' => {
                let length = pattern[at..].iter().position(|other| *other == c)?;
                let plain: String = pattern[at..at + length].iter().collect();
                rest = rest.strip_prefix(plain.as_str())?;
                at += length + 1;
            }
            other => {
                for _ in 0..run {
                    rest = rest.strip_prefix(other)?;
                }
            }
        }
    }
    if let Some(afternoon) = afternoon {
        parts.hour = parts.hour % 12 + if afternoon { 12 } else { 0 };
    }
    if rest.is_empty() { DateTime::of_parts(parts, DateKind::Unspecified) } else { None }
}
