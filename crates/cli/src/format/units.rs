//! Sizes as people read them: `12.3MB`, `1.95GiB`.

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
}
