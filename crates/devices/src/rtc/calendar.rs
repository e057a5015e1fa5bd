//! Seconds since 1970 and the calendar (days from civil, proleptic Gregorian).

/// One second of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub year: u64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
}

const DAY: u64 = 86400;
/// Days in 400 years.
const ERA: u64 = 146_097;
/// Days from March 1st of year 0 to 1970.
const EPOCH: u64 = 719_468;

impl Date {
    pub fn from_unix(seconds: u64) -> Self {
        let days = seconds / DAY + EPOCH;
        let (era, of_era) = (days / ERA, days % ERA);
        let year = (of_era - of_era / 1460 + of_era / 36524 - of_era / (ERA - 1)) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        // Months counted from March.
        let march = (5 * of_year + 2) / 153;
        let month = if march < 10 { march + 3 } else { march - 9 };
        Self {
            year: year + era * 400 + (month <= 2) as u64,
            month,
            day: of_year - (153 * march + 2) / 5 + 1,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }

    /// Years before 1970 count as 1970; months and days out of range are brought into it.
    pub fn to_unix(self) -> u64 {
        let (month, day) = (self.month.clamp(1, 12), self.day.clamp(1, 31));
        let year = self.year.max(1970) - (month <= 2) as u64;
        let march = (month + 9) % 12;
        let of_year = (153 * march + 2) / 5 + day - 1;
        let of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + of_year;
        let days = year / 400 * ERA + of_era - EPOCH;
        days * DAY + self.hour * 3600 + self.minute * 60 + self.second
    }

    /// 1 is Sunday.
    pub fn weekday(self) -> u64 {
        (self.to_unix() / DAY + 4) % 7 + 1
    }
}
