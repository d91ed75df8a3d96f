//! Texts and values as Go's standard library reads and writes them: users see them in Docker's messages.

use std::fmt::Write;

/// `%q`: the text in double quotes.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A JSON string as `encoding/json` writes it; with `html`, `<`, `>` and `&` are escaped, as it does unless it is told
/// not to.
pub fn write_json_string(text: &str, html: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' if !html => out.push(c),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..'\u{20}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A text in a query, as `url.QueryEscape` writes it.
#[must_use]
pub fn query_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// A yes-or-no value as `strconv.ParseBool` reads it; `None` if it is neither.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a number with a unit.
    #[error("time: invalid duration {0}")]
    Invalid(String),
    /// A number without unit.
    #[error("time: missing unit in duration {0}")]
    MissingUnit(String),
    /// A number with an unknown unit.
    #[error("time: unknown unit {0} in duration {1}")]
    UnknownUnit(String, String),
}

/// Nanoseconds of a second.
pub const SECOND: i64 = 1_000_000_000;

/// Reads `1h30m`, `1.5s`, `300ms`, `-2us` as nanoseconds.
///
/// # Errors
/// [`DurationError`], in Go's words.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    parse_with(text, unit)
}

/// The same with days and weeks, as Compose files have them: `1d12h`, `2w`.
///
/// # Errors
/// [`DurationError`], in Go's words.
pub fn parse_duration_with_days(text: &str) -> Result<i64, DurationError> {
    parse_with(text, |name| match name {
        "d" => Some(24 * 3_600 * SECOND),
        "w" => Some(7 * 24 * 3_600 * SECOND),
        name => unit(name),
    })
}

fn unit(name: &str) -> Option<i64> {
    Some(match name {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        _ => return None,
    })
}

fn parse_with(text: &str, unit_of: impl Fn(&str) -> Option<i64>) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(quoted(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let unit_end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, next) = behind.split_at(unit_end);
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(quoted(text)));
        }
        let scale = unit_of(unit).ok_or_else(|| DurationError::UnknownUnit(quoted(unit), quoted(text)))?;
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let part = whole.checked_mul(scale).ok_or_else(invalid)?.checked_add(part_of(fraction, scale));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
        rest = next;
    }
    Ok(if negative { -total } else { total })
}

/// `0.fraction` of `scale`, rounded down.
fn part_of(fraction: &str, scale: i64) -> i64 {
    let mut result = 0;
    let mut weight = scale;
    for digit in fraction.bytes() {
        weight /= 10;
        result += i64::from(digit - b'0') * weight;
    }
    result
}

/// A duration in nanoseconds as Go prints it: `1m30s`, `300ms`, `0s`.
#[must_use]
pub fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    let decimal = |whole: u64, fraction: u64, digits: usize| {
        let text = format!("{whole}.{fraction:0digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match n {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{n}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(n / 1_000, n % 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(n / 1_000_000, n % 1_000_000, 6)),
        _ => {
            let (minutes, rest) = (n / 60_000_000_000, n % 60_000_000_000);
            let seconds = decimal(rest / 1_000_000_000, rest % 1_000_000_000, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_in_go() {
        for (text, nanos) in [
            ("0", 0),
            ("1s", 1_000_000_000),
            ("1.5s", 1_500_000_000),
            ("1h30m", 5_400_000_000_000),
            ("300ms", 300_000_000),
            (".5us", 500),
            ("-2ns", -2),
        ] {
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
        }
        assert_eq!(parse_duration_with_days("1w2d1h"), Ok((9 * 24 + 1) * 3_600 * SECOND));
        let message = |text: &str| parse_duration(text).expect_err("invalid").to_string();
        assert_eq!(message("5"), "time: missing unit in duration \"5\"");
        assert_eq!(message("5x"), "time: unknown unit \"x\" in duration \"5x\"");
        assert_eq!(message("2d"), "time: unknown unit \"d\" in duration \"2d\"");
        assert_eq!(message("abc"), "time: invalid duration \"abc\"");
        assert_eq!(message("9999999999h"), "time: invalid duration \"9999999999h\"");
        for text in ["0s", "1ns", "1.5µs", "300ms", "1.5s", "1m30s", "2h0m0s"] {
            assert_eq!(duration_text(parse_duration(text).expect("valid")), text);
        }
    }
}
