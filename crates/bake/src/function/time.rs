//! Times.

use jiff::{SignedDuration, Timestamp, ZonedDateTime, tz::Offset};

use super::Takes::Text;
use super::{Function, fixed, str};
use crate::error::Result;

pub(super) static ALL: &[Function] = &[
    fixed("timestamp", &[], |_, _| Ok(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())),
    fixed("timeadd", &[("timestamp", Text), ("duration", Text)], |_, a| {
        let time = read(str(&a[0]))?;
        let added = dray_spec::golang::parse_duration(str(&a[1])).map_err(|error| error.to_string())?;
        let sum =
            time.checked_add(SignedDuration::from_nanos(added as _)).map_err(|error| error.to_string())?;
        Ok(rfc3339(&sum).into())
    }),
    fixed("formatdate", &[("format", Text), ("time", Text)], |_, a| {
        Ok(formatted(&read(str(&a[1]))?, str(&a[0]))?.into())
    }),
];

/// A time of RFC 3339 in the zone that it names.
fn read(text: &str) -> Result<ZonedDateTime> {
    let wrong = || format!("not a valid RFC3339 timestamp: {text:?}");
    let time: Timestamp = text.parse().map_err(|_| wrong())?;
    let zone = match text.strip_suffix(['Z', 'z']) {
        Some(_) => Offset::UTC,
        None => {
            let at = text.rfind(['+', '-']).ok_or_else(wrong)?;
            let (hours, minutes) = text[at + 1..].split_once(':').ok_or_else(wrong)?;
            let seconds =
                |text: &str, unit: i32| text.parse::<u8>().map(|n| i32::from(n) * unit).map_err(|_| wrong());
            let sum = seconds(hours, 3600)? + seconds(minutes, 60)?;
            let signed = if text[at..].starts_with('-') { -sum } else { sum };
            Offset::from_seconds(signed).map_err(|_| wrong())?
        }
    };
    Ok(time.to_zoned_datetime(jiff::tz::TimeZone::fixed(zone)))
}

fn rfc3339(time: &ZonedDateTime) -> String {
    let zone = match time.offset().seconds() {
        0 => "Z".to_owned(),
        _ => time.strftime("%:z").to_string(),
    };
    format!("{}{zone}", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// Runs of letters are parts of the time; what is in `'` is as it is.
fn formatted(time: &ZonedDateTime, format: &str) -> Result<String> {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            loop {
                match chars.next() {
                    Some('\'') if chars.peek() == Some(&'\'') => {
                        chars.next();
                        out.push('\'');
                    }
                    Some('\'') => break,
                    Some(c) => out.push(c),
                    None => return Err("unterminated literal '".into()),
                }
            }
        } else if c.is_ascii_alphabetic() {
            let mut run = String::from(c);
            while let Some(next) = chars.next_if_eq(&c) {
                run.push(next);
            }
            out.push_str(&part(time, &run)?);
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

fn part(time: &ZonedDateTime, run: &str) -> Result<String> {
    let utc = time.offset().seconds() == 0;
    let directive = match run {
        "YYYY" => "%Y",
        "YY" => "%y",
        "MMMM" => "%B",
        "MMM" => "%b",
        "MM" => "%m",
        "M" => "%-m",
        "DD" => "%d",
        "D" => "%-d",
        "EEEE" => "%A",
        "EEE" => "%a",
        "hh" => "%H",
        "h" => "%-H",
        "HH" => "%I",
        "H" => "%-I",
        "AA" => "%p",
        "aa" => "%P",
        "mm" => "%M",
        "m" => "%-M",
        "ss" => "%S",
        "s" => "%-S",
        "Z" if utc => return Ok("Z".to_owned()),
        "ZZZ" if utc => return Ok("UTC".to_owned()),
        "ZZZZ" | "ZZZ" => "%z",
        "ZZZZZ" | "Z" => "%:z",
        other => return Err(format!("invalid date format verb {other:?}").into()),
    };
    Ok(time.strftime(directive).to_string())
}
