//! Dates as text, by .NET's patterns (standard and custom date and time format strings; English names).

use super::date::{DateKind, DateTime};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A pattern of one letter stands for a longer one.
fn standard(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "M/d/yyyy",
        'D' => "dddd, MMMM d, yyyy",
        'f' => "dddd, MMMM d, yyyy h:mm tt",
        'F' | 'U' => "dddd, MMMM d, yyyy h:mm:ss tt",
        'g' => "M/d/yyyy h:mm tt",
        'G' => "M/d/yyyy h:mm:ss tt",
        'm' | 'M' => "MMMM d",
        'o' | 'O' => "yyyy-MM-ddTHH:mm:ss.fffffffK",
        'r' | 'R' => "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
        's' => "yyyy-MM-ddTHH:mm:ss",
        't' => "h:mm tt",
        'T' => "h:mm:ss tt",
        'u' => "yyyy-MM-dd HH:mm:ss'Z'",
        'y' | 'Y' => "MMMM yyyy",
        _ => return None,
    })
}

/// Nothing if the pattern is none.
pub fn format_date(date: DateTime, pattern: &str) -> Option<String> {
    let mut chars = pattern.chars();
    let pattern = match (chars.next(), chars.next()) {
        (None, _) => standard('G')?,
        (Some(letter), None) => standard(letter)?,
        (Some('%'), Some(_)) => &pattern[1..],
        _ => pattern,
    };
    custom(date, pattern)
}

fn custom(date: DateTime, pattern: &str) -> Option<String> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut made = String::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let run = chars[at..].iter().take_while(|other| **other == c).count();
        match c {
            '\\' => {
                made.push(*chars.get(at + 1)?);
                at += 2;
            }
            '\'' | '"' => {
                let length = chars[at + 1..].iter().position(|other| *other == c)?;
                made.extend(&chars[at + 1..at + 1 + length]);
                at += length + 2;
            }
            _ => {
                made += &field(date, c, run);
                at += run;
            }
        }
    }
    Some(made)
}

fn field(date: DateTime, letter: char, run: usize) -> String {
    let parts = date.parts();
    let number = |number: i64| format!("{number:0width$}", width = run.min(2));
    match letter {
        'd' if run <= 2 => number(parts.day),
        'd' => name(DAYS[date.day_of_week() as usize], run),
        'M' if run <= 2 => number(parts.month),
        'M' => name(MONTHS[parts.month as usize - 1], run),
        'y' if run <= 2 => number(parts.year % 100),
        'y' => format!("{:0width$}", parts.year, width = run.min(9)),
        'h' => number((parts.hour + 11) % 12 + 1),
        'H' => number(parts.hour),
        'm' => number(parts.minute),
        's' => number(parts.second),
        'f' => format!("{:07}", parts.fraction)[..run.min(7)].to_owned(),
        'F' => format!("{:07}", parts.fraction)[..run.min(7)].trim_end_matches('0').to_owned(),
        't' => {
            let half = if parts.hour < 12 { "AM" } else { "PM" };
            half[..run.min(2)].to_owned()
        }
        'K' => match date.kind {
            DateKind::Utc => "Z".into(),
            DateKind::Local => zone(date, 3),
            DateKind::Unspecified => String::new(),
        },
        'z' => zone(date, run),
        'g' => "A.D.".into(),
        other => other.to_string().repeat(run),
    }
}

fn name(name: &str, run: usize) -> String {
    if run == 3 { name[..3].to_owned() } else { name.to_owned() }
}

fn zone(date: DateTime, run: usize) -> String {
    let minutes = date.offset() / 60;
    let (sign, minutes) = if minutes < 0 { ('-', -minutes) } else { ('+', minutes) };
    match run {
        1 => format!("{sign}{}", minutes / 60),
        2 => format!("{sign}{:02}", minutes / 60),
        _ => format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60),
    }
}
