//! Sizes as people write and read them: `12.3MB`, `512m`, `1.5GiB`.

/// `%.{precision}g`: at most that many digits, no trailing zeros, an exponent where it is shorter.
pub fn general(value: f64, precision: usize) -> String {
    let precision = precision.max(1);
    if value == 0.0 || !value.is_finite() {
        return crate::template::text_of_float(value);
    }
    let scientific = format!("{value:.*e}", precision - 1);
    let Some((mantissa, exp)) = scientific.split_once('e') else { return scientific };
    let exp: i32 = exp.parse().unwrap_or(0);
    if exp < -4 || exp >= i32::try_from(precision).unwrap_or(i32::MAX) {
        let mantissa = trim_zeros(mantissa);
        let sign = if exp < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exp.abs());
    }
    let decimals = usize::try_from(precision as i32 - 1 - exp).unwrap_or(0);
    trim_zeros(&format!("{value:.decimals$}"))
}

fn trim_zeros(text: &str) -> String {
    if !text.contains('.') {
        return text.to_owned();
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn scaled(mut size: f64, base: f64, units: &[&'static str]) -> (f64, &'static str) {
    let mut i = 0;
    while size >= base && i < units.len() - 1 {
        size /= base;
        i += 1;
    }
    (size, units[i])
}

const DECIMAL: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: &[&str] = &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// A size in powers of 1000 with some digits: `12.3MB` for 3.
pub fn human_size_with(size: f64, precision: usize) -> String {
    let (size, unit) = scaled(size, 1000.0, DECIMAL);
    format!("{}{unit}", general(size, precision))
}

/// A size in powers of 1000 with four digits.
pub fn human_size(size: f64) -> String {
    human_size_with(size, 4)
}

/// A size in powers of 1024 with four digits: `1.95GiB`.
pub fn binary_size(size: f64) -> String {
    let (size, unit) = scaled(size, 1024.0, BINARY);
    format!("{}{unit}", general(size, 4))
}

/// Bytes of a text such as `512m`, `1.5g`, `64KiB` or `1000`, in powers of 1024.
///
/// # Errors
/// It is not a size; the text is Docker's.
pub fn parse_binary_size(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let Some(last) = text.rfind(|c: char| c.is_ascii_digit() || c == '.') else { return Err(invalid()) };
    let split = last + 1;
    let number = text[..split].trim_end();
    let suffix = text[split..].strip_prefix(' ').unwrap_or(&text[split..]).to_ascii_lowercase();
    if number.starts_with(['-', '+']) || number.contains(['e', 'E']) {
        return Err(invalid());
    }
    let value: f64 = number.parse().map_err(|_| invalid())?;
    let power = match suffix.as_str() {
        "" | "b" => 0,
        _ => {
            let mut letters = suffix.chars();
            let power = match letters.next() {
                Some('k') => 1,
                Some('m') => 2,
                Some('g') => 3,
                Some('t') => 4,
                Some('p') => 5,
                _ => return Err(format!("invalid suffix: '{suffix}'")),
            };
            if !matches!(letters.as_str(), "" | "b" | "ib") {
                return Err(format!("invalid suffix: '{suffix}'"));
            }
            power
        }
    };
    Ok((value * 1024f64.powi(power)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_docker_shows_them() {
        for (size, three, four) in [
            (0.0, "0B", "0B"),
            (999.0, "999B", "999B"),
            (1000.0, "1kB", "1kB"),
            (12_345_678.0, "12.3MB", "12.35MB"),
            (999_999.0, "1e+03kB", "1000kB"),
            (133_000_000.0, "133MB", "133MB"),
        ] {
            assert_eq!(human_size_with(size, 3), three);
            assert_eq!(human_size(size), four);
        }
        assert_eq!(binary_size(2_094_000_000.0), "1.95GiB");
        assert_eq!(binary_size(512.0), "512B");
    }

    #[test]
    fn sizes_are_parsed() {
        assert_eq!(parse_binary_size("512m"), Ok(512 << 20));
        assert_eq!(parse_binary_size("1.5GiB"), Ok(1_610_612_736));
        assert_eq!(parse_binary_size("64KB"), Ok(65536));
        assert_eq!(parse_binary_size("42"), Ok(42));
        for bad in ["foo", "", "-1", "1x", "1.2.3m", "m"] {
            assert!(parse_binary_size(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_binary_size("foo").unwrap_err(), "invalid size: 'foo'");
    }
}
