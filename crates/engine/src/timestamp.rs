//! Times as Docker reads and prints them.

use jiff::Timestamp;

use crate::ErrorKind;

/// What Docker answers for a time that never was.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

/// A `since` or `until` that is no time.
#[derive(Debug, thiserror::Error)]
#[error(
    "invalid value for \"{field}\": {value}: expected seconds[.nanoseconds] since the epoch or an RFC 3339 time"
)]
pub struct Error {
    field: &'static str,
    value: String,
}

impl Error {
    /// Always the request's own fault.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidParameter
    }
}

/// Reads a query parameter: `seconds[.nanoseconds]` since the epoch, or RFC 3339. Empty and `0`
/// are none.
///
/// # Errors
/// When it is neither.
pub fn parse(field: &'static str, value: &str) -> Result<Option<Timestamp>, Error> {
    if value.is_empty() || value == "0" {
        return Ok(None);
    }
    let read = epoch(value).or_else(|| value.parse().ok());
    read.map(Some).ok_or_else(|| Error { field, value: value.to_owned() })
}

/// Reads a moment as prune filters give it: as [`parse`], or a duration before now (`10m`, `1h30m`).
///
/// # Errors
/// When it is neither.
pub fn moment(field: &'static str, value: &str, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    match value.parse::<jiff::SignedDuration>() {
        Ok(ago) if value.ends_with(|c: char| c.is_ascii_alphabetic()) => {
            now.checked_sub(ago).map(Some).map_err(|_| Error { field, value: value.to_owned() })
        }
        _ => parse(field, value),
    }
}

fn epoch(value: &str) -> Option<Timestamp> {
    let (seconds, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    let nanos = if seconds.starts_with('-') { -nanos } else { nanos };
    Timestamp::new(seconds.parse().ok()?, nanos).ok()
}

/// RFC 3339 with nanoseconds, trailing zeros dropped: what JSON documents hold.
pub fn rfc3339(time: Timestamp) -> String {
    time.to_string()
}

/// The same for a time that may never have been.
pub fn rfc3339_or_zero(time: Option<Timestamp>) -> String {
    time.map_or_else(|| ZERO.to_owned(), rfc3339)
}

/// RFC 3339 with all nine digits, so that columns of times are even: what `logs -t` prints.
pub fn rfc3339_fixed(time: Timestamp) -> String {
    format!("{time:.9}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clients_send() {
        let time = |value| parse("since", value).unwrap().map(rfc3339_fixed);
        assert_eq!(time("1700000000"), Some("2023-11-14T22:13:20.000000000Z".into()));
        assert_eq!(time("1700000000.000000001"), Some("2023-11-14T22:13:20.000000001Z".into()));
        assert_eq!(time("1700000000.5"), Some("2023-11-14T22:13:20.500000000Z".into()));
        assert_eq!(time("2023-11-14T22:13:20Z"), Some("2023-11-14T22:13:20.000000000Z".into()));
        assert_eq!(time(""), None);
        assert_eq!(time("0"), None);
        assert!(parse("until", "soon").is_err());
        assert!(parse("until", "1.0000000000").is_err());
    }

    #[test]
    fn prints_trimmed_fraction() {
        let time = parse("since", "1700000000.5").unwrap().unwrap();
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.5Z");
        assert_eq!(rfc3339_or_zero(None), ZERO);
    }
}
