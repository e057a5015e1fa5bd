//! System.TimeSpan: ticks of 100 nanoseconds.

use std::fmt;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeSpan {
    pub ticks: i64,
}

pub const SECOND: i64 = 10_000_000;
pub const DAY: i64 = 86_400 * SECOND;

impl TimeSpan {
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let ticks = seconds * SECOND as f64;
        (ticks.abs() < 9.2e18).then(|| Self { ticks: ticks.round() as i64 })
    }

    pub fn of_parts(days: i64, hours: i64, minutes: i64, seconds: i64) -> Option<Self> {
        let seconds = i128::from(days) * 86_400
            + i128::from(hours) * 3600
            + i128::from(minutes) * 60
            + i128::from(seconds);
        Some(Self { ticks: i64::try_from(seconds * i128::from(SECOND)).ok()? })
    }

    pub fn seconds(self) -> f64 {
        self.ticks as f64 / SECOND as f64
    }

    /// `[-][d.]hh:mm[:ss[.fffffff]]`, or days alone.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let digits =
            |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i64>().ok()).flatten();
        let sign = |ticks: i64| Self { ticks: if negative { -ticks } else { ticks } };
        let mut parts: Vec<&str> = text.split(':').collect();
        if parts.len() == 1 {
            return digits(text)?.checked_mul(DAY).map(sign);
        }
        let mut days = 0;
        if let Some((day, hour)) = parts[0].split_once('.') {
            days = digits(day)?;
            parts[0] = hour;
        }
        if parts.len() == 4 {
            days = digits(parts.remove(0))?;
        }
        if parts.len() > 3 {
            return None;
        }
        let (hours, minutes) = (digits(parts[0])?, digits(parts[1])?);
        let (seconds, fraction) = match parts.get(2) {
            Some(part) => part.split_once('.').unwrap_or((part, "")),
            None => ("0", ""),
        };
        let fraction: i64 = if fraction.is_empty() { 0 } else { digits(&format!("{fraction:0<7}"))? };
        let seconds = digits(seconds)?;
        if hours > 23 || minutes > 59 || seconds > 59 || fraction >= SECOND {
            return None;
        }
        Some(sign(Self::of_parts(days, hours, minutes, seconds)?.ticks.checked_add(fraction)?))
    }

    /// Custom patterns (`hh\:mm\:ss`) and `c`, `g`, `G`.
    pub fn format(self, pattern: &str) -> Option<String> {
        if matches!(pattern, "" | "c" | "t" | "T") {
            return Some(self.to_string());
        }
        let ticks = self.ticks.unsigned_abs();
        let seconds = ticks / SECOND as u64;
        let fraction = format!("{:07}", ticks % SECOND as u64);
        if matches!(pattern, "g" | "G") {
            return Some(self.to_string());
        }
        let mut made = String::new();
        let chars: Vec<char> = pattern.chars().collect();
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            let run = chars[at..].iter().take_while(|other| **other == c).count();
            let number = match c {
                'd' => seconds / 86_400,
                'h' => seconds / 3600 % 24,
                'm' => seconds / 60 % 60,
                's' => seconds % 60,
                'f' | 'F' if run <= 7 => {
                    made += &fraction[..run];
                    at += run;
                    continue;
                }
                '\\' => {
                    made.extend(chars.get(at + 1));
                    at += 2;
                    continue;
                }
                '\'' | '"' => {
                    let length = chars[at + 1..].iter().position(|other| *other == c)?;
                    made.extend(&chars[at + 1..at + 1 + length]);
                    at += length + 2;
                    continue;
                }
                ' ' | ':' | '.' | '-' => {
                    made.push(c);
                    at += 1;
                    continue;
                }
                _ => return None,
            };
            made += &format!("{number:0width$}", width = run.min(8));
            at += run;
        }
        Some(made)
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ticks < 0 {
            f.write_str("-")?;
        }
        let ticks = self.ticks.unsigned_abs();
        let (seconds, fraction) = (ticks / SECOND as u64, ticks % SECOND as u64);
        if seconds >= 86_400 {
            write!(f, "{}.", seconds / 86_400)?;
        }
        write!(f, "{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)?;
        if fraction > 0 { write!(f, ".{fraction:07}") } else { Ok(()) }
    }
}
