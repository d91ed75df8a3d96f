//! Points and spans of time: `3 minutes ago`, `2 minutes`, Go's durations and time stamps.

use dray_client::api::duration;
use dray_spec::golang;
use jiff::{Timestamp, ZonedDateTime, tz::TimeZone};

/// Seconds since the epoch, now.
pub fn now() -> i64 {
    Timestamp::now().as_second()
}

/// How long ago a Unix time was, in words.
pub fn ago(unix: i64) -> String {
    format!("{} ago", duration::human(now() - unix))
}

/// The instant of an RFC 3339 text.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Go's `time.Time.String()` in the local zone: `2025-01-02 03:04:05 +0000 UTC`.
pub fn go_local(unix: i64) -> String {
    let Ok(t) = Timestamp::from_second(unix) else { return unix.to_string() };
    go_text(&t.to_zoned_datetime(TimeZone::system()))
}

/// Go's `time.Time.String()`.
pub fn go_text(t: &ZonedDateTime) -> String {
    let nanos = t.subsec_nanosecond();
    let fraction =
        if nanos == 0 { String::new() } else { format!(".{nanos:09}").trim_end_matches('0').to_owned() };
    let offset = t.offset().seconds();
    let sign = if offset < 0 { '-' } else { '+' };
    let (h, m) = (offset.abs() / 3600, offset.abs() / 60 % 60);
    let zone = t.time_zone().to_offset_info(t.timestamp()).abbreviation().to_owned();
    format!("{}{fraction} {sign}{h:02}{m:02} {zone}", t.strftime("%Y-%m-%d %H:%M:%S"))
}

/// A time stamp of the API as Go prints a `time.Time` read from JSON: in the zone it was written in.
pub fn go_utc(rfc3339: &str) -> String {
    let Some(t) = parse_rfc3339(rfc3339) else { return rfc3339.to_owned() };
    let zone = match rfc3339.strip_suffix('Z') {
        Some(_) => TimeZone::UTC,
        None => TimeZone::system(),
    };
    go_text(&t.to_zoned_datetime(zone))
}

/// RFC 3339 with nine digits of a second in the local zone, as `events` prints: `…05.000000001Z`.
pub fn rfc3339_nano_local(nanos: i128) -> String {
    let Ok(t) = Timestamp::from_nanosecond(nanos) else { return nanos.to_string() };
    let z = t.to_zoned_datetime(TimeZone::system());
    let offset = z.offset().seconds();
    let zone = if offset == 0 {
        "Z".to_owned()
    } else {
        let sign = if offset < 0 { '-' } else { '+' };
        format!("{sign}{:02}:{:02}", offset.abs() / 3600, offset.abs() / 60 % 60)
    };
    format!("{}.{:09}{zone}", z.strftime("%Y-%m-%dT%H:%M:%S"), z.subsec_nanosecond())
}

/// RFC 3339 to the second in the local zone.
pub fn rfc3339_local(unix: i64) -> String {
    let Ok(t) = Timestamp::from_second(unix) else { return unix.to_string() };
    let z = t.to_zoned_datetime(TimeZone::system());
    let text = z.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    text.strip_suffix("+00:00").map(|t| format!("{t}Z")).unwrap_or(text)
}

/// A `--since`/`--until` value as the API wants it: seconds with nanoseconds, from a Unix time, a date, a time stamp
/// or a duration before now.
///
/// # Errors
/// It is none of them; the text is Docker's.
pub fn parse_since(text: &str) -> Result<String, String> {
    let is_unix = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (seconds, nanos) = text.split_once('.').unwrap_or((text, "0"));
    if text.is_empty() || (is_unix(seconds) && is_unix(nanos)) {
        return Ok(text.to_owned());
    }
    let stamp = |t: Timestamp| format!("{}.{:09}", t.as_second(), t.subsec_nanosecond());
    if let Ok(nanos) = golang::parse_duration(text) {
        return Ok(format!("{}", Timestamp::now().as_second() - nanos / 1_000_000_000));
    }
    if let Ok(t) = text.parse::<Timestamp>() {
        return Ok(stamp(t));
    }
    let local = text
        .parse::<jiff::civil::DateTime>()
        .or_else(|_| text.parse::<jiff::civil::Date>().map(|d| d.at(0, 0, 0, 0)))
        .or_else(|_| format!("{text}:00").parse::<jiff::civil::DateTime>());
    match local.ok().and_then(|d| d.to_zoned_datetime(TimeZone::system()).ok()) {
        Some(z) => Ok(stamp(z.timestamp())),
        None => Err(format!("failed to parse value as time or duration: {text:?}")),
    }
}

/// A time stamp, or seconds with nanoseconds, in the form that logs have: the order of such texts is that of the times.
/// What is neither stays.
pub fn fixed(time: &str) -> String {
    let unix = || {
        let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
        let nanos = format!("{fraction:0<9}").parse().ok()?;
        Timestamp::new(seconds.parse().ok()?, nanos).ok()
    };
    let read = time.parse::<Timestamp>().ok().or_else(unix);
    read.map_or_else(|| time.to_owned(), |time| format!("{time:.9}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_times_are_as_long_as_any_other() {
        assert_eq!(fixed("2026-01-01T00:00:01.5Z"), "2026-01-01T00:00:01.500000000Z");
        assert_eq!(fixed("1700000000.05"), "2023-11-14T22:13:20.050000000Z");
        assert_eq!(fixed("0001-01-01T00:00:00Z"), "0001-01-01T00:00:00.000000000Z");
        assert_eq!(fixed(""), "");
    }

    #[test]
    fn since_takes_stamps_and_spans() {
        assert_eq!(parse_since("1700000000").unwrap(), "1700000000");
        assert_eq!(parse_since("1700000000.5").unwrap(), "1700000000.5");
        assert_eq!(parse_since("").unwrap(), "");
        assert_eq!(parse_since("2023-11-14T22:13:20Z").unwrap(), "1700000000.000000000");
        assert_eq!(parse_since("x").unwrap_err(), "failed to parse value as time or duration: \"x\"");
        let ten = now() - 600;
        let got: i64 = parse_since("10m").unwrap().parse().unwrap();
        assert!((got - ten).abs() <= 1);
    }
}
