//! The host's time zone: `TZ` as an offset, or the system's zone file (RFC 8536).

use std::sync::OnceLock;

/// Where times change, and to what; then the rule for what is later.
#[derive(Debug, Default)]
struct Zone {
    changes: Vec<(i64, i64)>,
    first: i64,
    rule: Option<Rule>,
}

/// A POSIX TZ string: `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Debug)]
struct Rule {
    standard: i64,
    summer: Option<(i64, Change, Change)>,
}

#[derive(Debug)]
struct Change {
    month: i64,
    week: i64,
    day: i64,
    seconds: i64,
}

/// Seconds east of Greenwich at a time in seconds since 1970.
pub fn offset(unix: i64) -> i64 {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    ZONE.get_or_init(zone).offset(unix)
}

fn zone() -> Zone {
    let named = std::env::var("TZ").ok().filter(|name| !name.is_empty());
    let path = match &named {
        Some(name) => {
            let name = name.trim_start_matches(':');
            if let Some(rule) = rule(name) {
                return Zone { first: rule.standard, rule: Some(rule), changes: Vec::new() };
            }
            if name.starts_with('/') { name.to_owned() } else { format!("/usr/share/zoneinfo/{name}") }
        }
        None => "/etc/localtime".into(),
    };
    std::fs::read(path).ok().and_then(|bytes| file(&bytes)).unwrap_or_default()
}

impl Zone {
    fn offset(&self, unix: i64) -> i64 {
        let behind = self.changes.partition_point(|(at, _)| *at <= unix);
        match (&self.rule, behind.checked_sub(1)) {
            (Some(rule), last) if last.is_none_or(|last| last + 1 == self.changes.len()) => rule.offset(unix),
            (_, Some(last)) => self.changes[last].1,
            (_, None) => self.first,
        }
    }
}

fn file(bytes: &[u8]) -> Option<Zone> {
    let header = |at: usize| -> Option<[usize; 6]> {
        let counts = bytes.get(at + 20..at + 44)?;
        let mut found = [0; 6];
        for (count, four) in found.iter_mut().zip(counts.chunks(4)) {
            *count = u32::from_be_bytes(four.try_into().ok()?) as usize;
        }
        (bytes.get(at..at + 4)? == b"TZif").then_some(found)
    };
    let [utc, standard, leap, times, kinds, letters] = header(0)?;
    // The first block has 32 bits a time; the second one, which all files have now, has 64.
    let second = 44 + times * 5 + kinds * 6 + letters + leap * 8 + standard + utc;
    let [utc, standard, leap, times, kinds, letters] = header(second)?;
    let start = second + 44;
    let whens = bytes.get(start..start + times * 8)?;
    let which = bytes.get(start + times * 8..start + times * 9)?;
    let table = bytes.get(start + times * 9..start + times * 9 + kinds * 6)?;
    let offset = |index: u8| -> Option<i64> {
        let four = table.get(usize::from(index) * 6..usize::from(index) * 6 + 4)?;
        Some(i64::from(i32::from_be_bytes(four.try_into().ok()?)))
    };
    let mut changes = Vec::new();
    for (eight, index) in whens.chunks(8).zip(which) {
        changes.push((i64::from_be_bytes(eight.try_into().ok()?), offset(*index)?));
    }
    let footer = start + times * 9 + kinds * 6 + letters + leap * 12 + standard + utc;
    let text = std::str::from_utf8(bytes.get(footer..)?).ok()?.trim();
    Some(Zone { changes, first: offset(0)?, rule: rule(text) })
}

fn rule(text: &str) -> Option<Rule> {
    let mut parts = text.split(',');
    let head = parts.next()?;
    let (rest, standard) = named_offset(head)?;
    if rest.is_empty() {
        return Some(Rule { standard, summer: None });
    }
    let rest_name = name_length(rest)?;
    let summer = if rest.len() == rest_name { standard + 3600 } else { named_offset(rest)?.1 };
    let changes = (change(parts.next()?)?, change(parts.next()?)?);
    Some(Rule { standard, summer: Some((summer, changes.0, changes.1)) })
}

fn name_length(text: &str) -> Option<usize> {
    let length = match text.strip_prefix('<') {
        Some(rest) => rest.find('>')? + 2,
        None => text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len()),
    };
    (length >= 3).then_some(length)
}

/// A name and an offset, which counts to the west; and what stands behind.
fn named_offset(text: &str) -> Option<(&str, i64)> {
    let rest = &text[name_length(text)?..];
    let length =
        rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | ':'))).unwrap_or(rest.len());
    if length == 0 {
        return None;
    }
    Some((&rest[length..], -clock(&rest[..length])?))
}

fn clock(text: &str) -> Option<i64> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text.trim_start_matches('+')), |text| (-1, text));
    let mut seconds = 0;
    for (part, unit) in text.split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<i64>().ok().filter(|part| *part <= 167)? * unit;
    }
    Some(sign * seconds)
}

fn change(text: &str) -> Option<Change> {
    let (date, time) = text.split_once('/').unwrap_or((text, "2"));
    let numbers: Vec<i64> =
        date.strip_prefix('M')?.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [month, week, day] = numbers[..] else { return None };
    Some(Change { month, week, day, seconds: clock(time)? })
}

impl Rule {
    fn offset(&self, unix: i64) -> i64 {
        let Some((summer, start, end)) = &self.summer else { return self.standard };
        let ticks = unix.saturating_mul(10_000_000).saturating_add(719_162 * 864_000_000_000);
        let Some(date) = super::DateTime::new(ticks, super::DateKind::Utc) else { return self.standard };
        let year = date.parts().year;
        let (from, to) = (start.at(year) - self.standard, end.at(year) - summer);
        let is_summer = if from < to { (from..to).contains(&unix) } else { !(to..from).contains(&unix) };
        if is_summer { *summer } else { self.standard }
    }
}

impl Change {
    /// Seconds since 1970 in a year, by the clock on the wall.
    fn at(&self, year: i64) -> i64 {
        let parts = super::date::Parts { year, month: self.month, day: 1, ..Default::default() };
        let Some(first) = super::DateTime::of_parts(parts, super::DateKind::Utc) else { return 0 };
        let mut day = 1 + (self.day - first.day_of_week()).rem_euclid(7) + (self.week - 1) * 7;
        while day > super::date::days_in_month(year, self.month) {
            day -= 7;
        }
        first.unix_seconds() + (day - 1) * 86_400 + self.seconds
    }
}
