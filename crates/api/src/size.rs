//! Sizes as people write them for Docker: `512m`, `1.5GiB`, `64KB`, `1000`; the same for flags of the client and for
//! options that the daemon reads.

/// Bytes of a size, a `k` being 1024: limits of memory, buffers.
///
/// # Errors
/// It is not a size; the text is Docker's.
pub fn parse_binary(text: &str) -> Result<i64, String> {
    parse(text, 1024.0)
}

/// Bytes of a size, a `k` being 1000: what is kept on disk.
///
/// # Errors
/// It is not a size; the text is Docker's.
pub fn parse_decimal(text: &str) -> Result<i64, String> {
    parse(text, 1000.0)
}

fn parse(text: &str, base: f64) -> Result<i64, String> {
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
    // Far inside what a float holds exactly for anything that is there to be measured.
    Ok((value * base.powi(power)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed() {
        assert_eq!(parse_binary("512m"), Ok(512 << 20));
        assert_eq!(parse_binary("1.5GiB"), Ok(1_610_612_736));
        assert_eq!(parse_binary("64KB"), Ok(65536));
        assert_eq!(parse_binary("42"), Ok(42));
        assert_eq!(parse_decimal("10m"), Ok(10_000_000));
        assert_eq!(parse_decimal("1.5 kb"), Ok(1500));
        for bad in ["foo", "", "-1", "1x", "1.2.3m", "m", "1e3"] {
            assert!(parse_binary(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_binary("foo").unwrap_err(), "invalid size: 'foo'");
        assert_eq!(parse_decimal("1q").unwrap_err(), "invalid suffix: 'q'");
    }
}
