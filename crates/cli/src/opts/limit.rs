//! `--ulimit`, `--cpus`, `--restart`, `--memory-swap`, block I/O limits.

use dray_client::api::container::{RestartPolicy, ThrottleDevice, Ulimit, WeightDevice};

use dray_client::api::size::parse_binary;

/// Limits that a process can have.
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `nofile=1024:2048`.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn ulimit(value: &str) -> Result<Ulimit, String> {
    let (name, limits) = value.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {value}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| {
        crate::flag::parse_int(text)
            .map_err(|_| format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((s, h)) if h.contains(':') => {
            return Err(format!(
                "too many limit value arguments - {s}:{h}, can only have up to two, `soft[:hard]`"
            ));
        }
        Some((s, h)) => (number(s)?, number(h)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// For the flag's check.
///
/// # Errors
/// As [`ulimit`].
pub fn check_ulimit(value: &str) -> Result<(), String> {
    ulimit(value).map(|_| ())
}

/// `1.5` CPUs as billionths.
///
/// # Errors
/// It is no number; the text is Docker's.
pub fn nano_cpus(value: &str) -> Result<i64, String> {
    let not_rational = || format!("failed to parse {value} as a rational number");
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(not_rational());
    }
    if fraction.trim_end_matches('0').len() > 9 {
        return Err("value is too precise".into());
    }
    let nanos = format!("{:0<9}", fraction.get(..9).unwrap_or(fraction));
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| not_rational())? };
    let nanos: i64 = nanos.parse().map_err(|_| not_rational())?;
    whole.checked_mul(1_000_000_000).and_then(|w| w.checked_add(nanos)).ok_or_else(not_rational)
}

/// For the flag's check.
///
/// # Errors
/// As [`nano_cpus`].
pub fn check_cpus(value: &str) -> Result<(), String> {
    nano_cpus(value).map(|_| ())
}

/// A size, or `-1` for none.
///
/// # Errors
/// It is neither; the text is Docker's.
pub fn swap(value: &str) -> Result<i64, String> {
    if value == "-1" { Ok(-1) } else { parse_binary(value) }
}

/// For the flag's check.
///
/// # Errors
/// As [`swap`].
pub fn check_swap(value: &str) -> Result<(), String> {
    swap(value).map(|_| ())
}

/// `no`, `always`, `unless-stopped`, `on-failure[:max]`.
///
/// # Errors
/// The count is no number; the text is Docker's.
pub fn restart_policy(value: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match value.split_once(':') {
        Some(("", _)) => return Err("invalid restart policy format: no policy provided before colon".into()),
        Some((name, count)) => (name, count),
        None => (value, ""),
    };
    let wrong = |_| "invalid restart policy format: maximum retry count must be an integer".to_owned();
    let maximum_retry_count = if count.is_empty() { 0 } else { count.parse().map_err(wrong)? };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

fn device(value: &str) -> Result<(&str, &str), String> {
    let (path, amount) = value.split_once(':').ok_or_else(|| format!("bad format: {value}"))?;
    if path.is_empty() {
        return Err(format!("bad format: {value}"));
    }
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {value}"));
    }
    Ok((path, amount))
}

/// `/dev/sda:500`.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn weight(value: &str) -> Result<WeightDevice, String> {
    let (path, weight) = device(value)?;
    let number: u16 = weight.parse().map_err(|_| format!("invalid weight for device: {value}"))?;
    if number > 0 && !(10..=1000).contains(&number) {
        return Err(format!("invalid weight for device: {value}"));
    }
    Ok(WeightDevice { path: path.to_owned(), weight: number })
}

/// `/dev/sda:1mb`.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn bytes_rate(value: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device(value)?;
    let wrong = "The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb";
    let rate = parse_binary(rate).map_err(|_| format!("invalid rate for device: {value}. {wrong}"))?;
    Ok(ThrottleDevice { path: path.to_owned(), rate: rate.unsigned_abs() })
}

/// `/dev/sda:1000`.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn operations_rate(value: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device(value)?;
    let wrong = "The correct format is <device-path>:<number>. Number must be a positive integer";
    let rate = rate.parse().map_err(|_| format!("invalid rate for device: {value}. {wrong}"))?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let u = ulimit("nofile=1024:2048").unwrap();
        assert_eq!((u.soft, u.hard), (1024, 2048));
        assert_eq!(ulimit("foo").unwrap_err(), "invalid ulimit argument: foo");
        assert_eq!(ulimit("foo=1").unwrap_err(), "invalid ulimit type: foo");
        assert!(ulimit("nofile=2:1").unwrap_err().contains("2 > 1"));
        assert_eq!(nano_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(nano_cpus(".25"), Ok(250_000_000));
        assert_eq!(nano_cpus("foo").unwrap_err(), "failed to parse foo as a rational number");
        assert_eq!(swap("-1"), Ok(-1));
        let r = restart_policy("on-failure:3").unwrap();
        assert_eq!((r.name.as_str(), r.maximum_retry_count), ("on-failure", 3));
        assert!(restart_policy("foo:x").is_err());
        assert_eq!(bytes_rate("a").unwrap_err(), "bad format: a");
        assert_eq!(bytes_rate("/dev/a:1mb").unwrap().rate, 1 << 20);
        assert_eq!(weight("/dev/a:5").unwrap_err(), "invalid weight for device: /dev/a:5");
    }
}
