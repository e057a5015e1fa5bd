//! The MC146818's registers as a function of the time since the machine was made.

use super::calendar::Date;
use super::regs::*;

pub(super) const SECOND: u64 = 1_000_000_000;
/// Seconds of a long sleep whose alarms are looked for one by one: a day has them all.
const LOOK_BACK: u64 = 86400;
/// Periodic interrupts that are kept, at most: about a second of the usual rate.
pub(super) const MOST_OWED: u64 = 1000;

/// All that the chip remembers. Times are nanoseconds of the machine's clock.
pub(super) struct Chip {
    pub bytes: [u8; SIZE],
    pub(super) index: u8,
    /// Unix seconds at time 0.
    pub(super) base: i64,
    /// Nanoseconds by which the calendar is behind: less than a second.
    pub(super) behind: u64,
    /// The time up to which flags have been worked out.
    pub(super) seen: u64,
    /// Periodic interrupts that came while the one before them was not served yet.
    pub(super) owed: u64,
    /// Register C was read, and one of them has taken the place of what it said.
    pub again: bool,
}

impl Chip {
    pub fn new(unix_seconds: u64, now: u64) -> Self {
        let mut bytes = [0; SIZE];
        bytes[usize::from(A)] = A_RESET;
        bytes[usize::from(B)] = B_24_HOURS;
        let base = i64::try_from(unix_seconds).unwrap_or(0) - (now / SECOND) as i64;
        Self { bytes, index: 0, base, behind: 0, seen: now, owed: 0, again: false }
    }

    fn register(&self, index: u8) -> u8 {
        self.bytes[usize::from(index) % SIZE]
    }

    fn unix(&self, now: u64) -> u64 {
        u64::try_from(self.base + (now / SECOND) as i64).unwrap_or(0)
    }

    /// Updates are stopped by SET, or with the divider in reset.
    fn stopped(&self) -> bool {
        self.register(B) & B_SET != 0 || self.register(A) & A_DIVIDER_RESET == A_DIVIDER_RESET
    }

    fn encode(&self, value: u64) -> u8 {
        if self.register(B) & B_BINARY != 0 {
            value as u8
        } else {
            (((value / 10) << 4) | (value % 10)) as u8
        }
    }

    fn decode(&self, byte: u8) -> u64 {
        let byte = u64::from(byte);
        if self.register(B) & B_BINARY != 0 { byte } else { (byte >> 4) * 10 + (byte & 0xf) }
    }

    fn encode_hour(&self, hour: u64) -> u8 {
        if self.register(B) & B_24_HOURS != 0 {
            return self.encode(hour);
        }
        let pm = if hour >= 12 { PM } else { 0 };
        self.encode((hour + 11) % 12 + 1) | pm
    }

    fn decode_hour(&self, byte: u8) -> u64 {
        if self.register(B) & B_24_HOURS != 0 {
            return self.decode(byte) % 24;
        }
        self.decode(byte & !PM) % 12 + if byte & PM != 0 { 12 } else { 0 }
    }

    /// Brings the time bytes up to `now`.
    fn store_time(&mut self, now: u64) {
        let date = Date::from_unix(self.unix(now));
        let fields = [
            (SECONDS, self.encode(date.second)),
            (MINUTES, self.encode(date.minute)),
            (HOURS, self.encode_hour(date.hour)),
            (WEEKDAY, self.encode(date.weekday())),
            (DAY, self.encode(date.day)),
            (MONTH, self.encode(date.month)),
            (YEAR, self.encode(date.year % 100)),
            (CENTURY, self.encode(date.year / 100)),
        ];
        for (index, byte) in fields {
            self.bytes[usize::from(index)] = byte;
        }
    }

    /// Takes the time from the bytes.
    fn load_time(&mut self, now: u64) {
        let field = |index: u8| self.decode(self.register(index));
        let date = Date {
            year: field(CENTURY) * 100 + field(YEAR) % 100,
            month: field(MONTH),
            day: field(DAY),
            hour: self.decode_hour(self.register(HOURS)),
            minute: field(MINUTES) % 60,
            second: field(SECONDS) % 60,
        };
        self.base = date.to_unix() as i64 - (now / SECOND) as i64;
    }

    /// Nanoseconds between periodic interrupts (data sheet, table 5).
    fn period(&self) -> Option<u64> {
        let ticks = match self.register(A) & A_RATE {
            0 => return None,
            // The two slowest codes' ranges wrap to 256 and 128 Hz.
            rate @ 1..=2 => 1 << (rate + 6),
            rate => 1u64 << (rate - 1),
        };
        Some(ticks * SECOND / CRYSTAL)
    }

    fn alarm_at(&self, unix: u64) -> bool {
        let date = Date::from_unix(unix);
        let fields = [
            (SECONDS_ALARM, self.encode(date.second)),
            (MINUTES_ALARM, self.encode(date.minute)),
            (HOURS_ALARM, self.encode_hour(date.hour)),
        ];
        fields.into_iter().all(|(index, time)| {
            let alarm = self.register(index);
            alarm >= DONT_CARE || alarm == time
        })
    }

    /// Sets the flags of everything that happened since this was last called. True while IRQ is asserted.
    pub fn advance(&mut self, now: u64) -> bool {
        let (from, to) = (self.seen / SECOND, now / SECOND);
        let mut flags = 0;
        if to > from && !self.stopped() {
            let (last, count) = (self.unix(now), (to - from).min(LOOK_BACK));
            flags |= UPDATED;
            if self.register(C) & ALARM == 0 && (0..count).any(|ago| self.alarm_at(last.saturating_sub(ago)))
            {
                flags |= ALARM;
            }
        }
        let times = self.period().map_or(0, |period| (now / period).saturating_sub(self.seen / period));
        if times > 0 {
            let waits = self.register(C) & PERIODIC != 0;
            self.owe(if waits { times } else { times - 1 });
            flags |= PERIODIC;
        }
        self.seen = self.seen.max(now);
        self.bytes[usize::from(C)] |= flags;
        self.interrupt()
    }

    /// The calendar leaves out so much time; parts of a second are kept for the next time.
    pub fn pass(&mut self, nanoseconds: u64, now: u64) {
        self.advance(now);
        let left_out = self.behind.saturating_add(nanoseconds);
        self.behind = left_out % SECOND;
        let seconds = left_out / SECOND;
        if self.stopped() || seconds == 0 {
            return;
        }
        self.base = self.base.saturating_add_unsigned(seconds);
        let (last, count) = (self.unix(now), seconds.min(LOOK_BACK));
        if (0..count).any(|ago| self.alarm_at(last.saturating_sub(ago))) {
            self.bytes[usize::from(C)] |= ALARM;
        }
    }

    /// A guest that counts these to know the time gets those that it was too late for when it has served one.
    fn owe(&mut self, times: u64) {
        let wanted = self.register(B) & PERIODIC != 0;
        self.owed = if wanted { self.owed.saturating_add(times).min(MOST_OWED) } else { 0 };
    }

    fn interrupt(&self) -> bool {
        self.register(B) & self.register(C) & ENABLES != 0
    }

    /// When something that is enabled happens next.
    pub fn next_event(&self, now: u64) -> Option<u64> {
        let enabled = self.register(B);
        let second = (enabled & (ALARM | UPDATED) != 0).then_some((now / SECOND + 1) * SECOND);
        let periodic = self.period().filter(|_| enabled & PERIODIC != 0);
        let periodic = periodic.map(|period| (now / period + 1) * period);
        [second, periodic].into_iter().flatten().min()
    }

    pub fn select(&mut self, value: u8) {
        // Bit 7 masks NMI, which nothing here sends.
        self.index = value & 0x7f;
    }

    pub fn read(&mut self, now: u64) -> u8 {
        self.advance(now);
        match self.index {
            A => self.read_a(now),
            C => self.read_c(),
            D => D_VALID,
            index => {
                if !self.stopped() {
                    self.store_time(now);
                }
                self.register(index)
            }
        }
    }

    fn read_a(&self, now: u64) -> u8 {
        let soon = SECOND - now % SECOND <= UIP_NANOSECONDS;
        let uip = if soon && !self.stopped() { A_UIP } else { 0 };
        self.register(A) | uip
    }

    /// Reading register C clears it; but a periodic interrupt that is owed comes again.
    fn read_c(&mut self) -> u8 {
        let irqf = if self.interrupt() { C_IRQF } else { 0 };
        let flags = std::mem::take(&mut self.bytes[usize::from(C)]);
        if flags & PERIODIC != 0 && self.owed > 0 {
            self.owed -= 1;
            self.bytes[usize::from(C)] = PERIODIC;
            self.again = true;
        }
        flags | irqf
    }

    pub fn write(&mut self, value: u8, now: u64) {
        self.advance(now);
        match self.index {
            C | D => {}
            A | B => self.write_control(value, now),
            SECONDS | MINUTES | HOURS | WEEKDAY | DAY | MONTH | YEAR | CENTURY => self.write_time(value, now),
            index => self.bytes[usize::from(index)] = value,
        }
    }

    fn write_control(&mut self, value: u8, now: u64) {
        let was_stopped = self.stopped();
        if !was_stopped {
            self.store_time(now);
        }
        // UIP is read only; SET also clears the update-ended enable (data sheet, "Register B").
        let kept = match self.index {
            A => value & !A_UIP,
            _ if value & B_SET != 0 => value & !UPDATED,
            _ => value,
        };
        if self.bytes[usize::from(self.index)] != kept {
            self.owed = 0;
        }
        self.bytes[usize::from(self.index)] = kept;
        if was_stopped && !self.stopped() {
            self.load_time(now);
        }
    }

    fn write_time(&mut self, value: u8, now: u64) {
        if !self.stopped() {
            self.store_time(now);
        }
        self.bytes[usize::from(self.index)] = value;
        if !self.stopped() {
            self.load_time(now);
        }
    }
}
