//! Spans of time in Docker's words, which the daemon (`Status`) and the client (`CREATED`) must put alike.

/// A span in words, as the function `units.HumanDuration` that all of Docker's programs use: `Less than a second`,
/// `5 minutes`, `About an hour`, `3 weeks`. Hours are rounded, everything else is cut off, years too.
#[must_use]
pub fn human(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = seconds.saturating_add(1800) / 3600;
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn spans_in_words() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        for (seconds, words) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (179, "2 minutes"),
            (HOUR - 1, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 1799, "About an hour"),
            (HOUR + 1800, "2 hours"),
            (47 * HOUR, "47 hours"),
            (47 * HOUR + 1800, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (730 * DAY, "2 years"),
            // Rounded up to three years by hours, cut off to two by seconds.
            (3 * 365 * DAY - 1, "2 years"),
            (3 * 365 * DAY, "3 years"),
            (i64::MAX, "292471208677 years"),
        ] {
            assert_eq!(human(seconds), words, "{seconds}");
        }
    }
}
