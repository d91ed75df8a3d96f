//! Time stamps as Docker writes them: RFC 3339 in UTC, nanoseconds without trailing zeros.

use std::fs;
use std::io::Write;

use rustix::time::{ClockId, clock_gettime};

/// A moment in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    seconds: i64,
    nanos: u32,
}

impl Stamp {
    /// This moment.
    pub fn now() -> Stamp {
        let time = clock_gettime(ClockId::Realtime);
        Stamp { seconds: time.tv_sec, nanos: u32::try_from(time.tv_nsec).unwrap_or(0) }
    }

    /// Appends the text of the moment.
    pub fn write(self, out: &mut Vec<u8>) {
        let days = self.seconds.div_euclid(86_400);
        let second = self.seconds.rem_euclid(86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        // Writing into a vector cannot fail.
        let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        if self.nanos != 0 {
            let digits = format!("{:09}", self.nanos);
            let _ = write!(out, ".{}", digits.trim_end_matches('0'));
        }
        out.push(b'Z');
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(32);
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar. Years begin in March here,
/// so that the day that comes and goes is the last one.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let days = days + 719_468;
    let era = days.div_euclid(DAYS_OF_400_YEARS);
    let day_of_era = days.rem_euclid(DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The monotonic clock in nanoseconds, the same for all processes.
pub fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Start time of a process in clock ticks since boot; `None` if there is no such process.
pub fn process_start(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, so fields are counted from its end: state is the third.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_what_date_says() {
        let text = |seconds, nanos| Stamp { seconds, nanos }.to_string();
        assert_eq!(text(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(text(951_827_696, 120_000_000), "2000-02-29T12:34:56.12Z");
        assert_eq!(text(1_709_251_199, 1), "2024-02-29T23:59:59.000000001Z");
        assert_eq!(text(4_102_444_800, 999_999_999), "2100-01-01T00:00:00.999999999Z");
    }

    #[test]
    fn a_process_has_a_start() {
        assert!(process_start(std::process::id() as i32).is_some_and(|ticks| ticks > 0));
        assert_eq!(process_start(-1), None);
    }
}
