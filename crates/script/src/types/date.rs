//! System.DateTime: ticks of 100 nanoseconds since the year 1, and whose time it is.

use super::span::{DAY, SECOND, TimeSpan};
use super::time_zone;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug)]
pub struct DateTime {
    pub ticks: i64,
    pub kind: DateKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateKind {
    Unspecified,
    Utc,
    Local,
}

/// A day and a time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    /// Ticks within the second.
    pub fraction: i64,
}

/// 1970-01-01.
const UNIX_TICKS: i64 = 719_162 * DAY;
pub const MOST_TICKS: i64 = 3_652_059 * DAY - 1;

/// Days since 0001-01-01 of a day of the proleptic Gregorian calendar, by eras of 400 years.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 306
}

pub fn is_leap_year(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap_year(year) => 29,
        2 => 28,
        _ => 31,
    }
}

impl DateTime {
    pub fn new(ticks: i64, kind: DateKind) -> Option<Self> {
        (0..=MOST_TICKS).contains(&ticks).then_some(Self { ticks, kind })
    }

    pub fn of_parts(parts: Parts, kind: DateKind) -> Option<Self> {
        let Parts { year, month, day, hour, minute, second, fraction } = parts;
        let fits = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..60).contains(&second)
            && (0..SECOND).contains(&fraction);
        if !fits {
            return None;
        }
        let time = ((hour * 60 + minute) * 60 + second) * SECOND + fraction;
        Self::new(days(year, month, day) * DAY + time, kind)
    }

    pub fn parts(self) -> Parts {
        // Eras begin on the first of March of the year 0.
        let all = self.ticks / DAY + 306;
        let (era, day_of_era) = (all.div_euclid(146_097), all.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let time = self.ticks % DAY;
        let seconds = time / SECOND;
        Parts {
            year,
            month,
            day,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            fraction: time % SECOND,
        }
    }

    /// 0 is Sunday.
    pub fn day_of_week(self) -> i64 {
        (self.ticks / DAY + 1) % 7
    }

    pub fn day_of_year(self) -> i64 {
        self.ticks / DAY - days(self.parts().year, 1, 1) + 1
    }

    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ticks = i64::try_from(since.as_nanos() / 100).unwrap_or_default();
        Self { ticks: UNIX_TICKS + ticks, kind: DateKind::Utc }.to_local()
    }

    /// Of seconds since 1970.
    pub fn from_unix(seconds: i64) -> Self {
        let ticks = seconds.checked_mul(SECOND).and_then(|ticks| ticks.checked_add(UNIX_TICKS));
        let ticks = ticks.unwrap_or(UNIX_TICKS).clamp(0, MOST_TICKS);
        Self { ticks, kind: DateKind::Utc }.to_local()
    }

    pub fn unix_seconds(self) -> i64 {
        (self.to_universal().ticks - UNIX_TICKS).div_euclid(SECOND)
    }

    pub fn to_local(self) -> Self {
        if self.kind == DateKind::Local {
            return self;
        }
        let offset = time_zone::offset((self.ticks - UNIX_TICKS).div_euclid(SECOND));
        Self { ticks: (self.ticks + offset * SECOND).clamp(0, MOST_TICKS), kind: DateKind::Local }
    }

    pub fn to_universal(self) -> Self {
        if self.kind == DateKind::Utc {
            return self;
        }
        Self { ticks: (self.ticks - self.offset() * SECOND).clamp(0, MOST_TICKS), kind: DateKind::Utc }
    }

    /// Seconds east of Greenwich.
    pub fn offset(self) -> i64 {
        if self.kind == DateKind::Utc {
            return 0;
        }
        let local = (self.ticks - UNIX_TICKS).div_euclid(SECOND);
        time_zone::offset(local - time_zone::offset(local))
    }

    pub fn plus(self, span: TimeSpan) -> Option<Self> {
        Self::new(self.ticks.checked_add(span.ticks)?, self.kind)
    }

    pub fn add_months(self, months: i64) -> Option<Self> {
        let parts = self.parts();
        let all = parts.year.checked_mul(12)?.checked_add(parts.month - 1)?.checked_add(months)?;
        let (year, month) = (all.div_euclid(12), all.rem_euclid(12) + 1);
        let day = parts.day.min(days_in_month(year, month));
        Self::of_parts(Parts { year, month, day, ..parts }, self.kind)
    }
}
