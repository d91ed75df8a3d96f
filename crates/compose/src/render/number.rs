//! Numbers as Go prints them.

/// `%v` and `strconv`'s `'g'` with the shortest digits.
pub fn go_float(value: f64) -> String {
    general(value.is_nan(), value.is_infinite(), value < 0.0, &format!("{:e}", value.abs()))
}

/// The same at single precision.
pub fn go_float32(value: f32) -> String {
    general(value.is_nan(), value.is_infinite(), value < 0.0, &format!("{:e}", value.abs()))
}

fn general(nan: bool, infinite: bool, negative: bool, scientific: &str) -> String {
    if nan {
        return "NaN".into();
    }
    let sign = if negative { "-" } else { "" };
    if infinite {
        return format!("{}Inf", if negative { "-" } else { "+" });
    }
    let (digits, exponent) = parts(scientific);
    // With the shortest digits Go decides as if six had been asked for.
    if !(-4..6).contains(&exponent) {
        return format!("{sign}{}", exponential(&digits, exponent));
    }
    format!("{sign}{}", positional(&digits, exponent))
}

/// As `encoding/json` writes it.
pub fn json_float(value: f64) -> String {
    json(value < 0.0, value == 0.0, value.abs() < 1e-6 || value.abs() >= 1e21, &format!("{:e}", value.abs()))
}

/// The same at single precision.
pub fn json_float32(value: f32) -> String {
    json(value < 0.0, value == 0.0, value.abs() < 1e-6 || value.abs() >= 1e21, &format!("{:e}", value.abs()))
}

fn json(negative: bool, zero: bool, extreme: bool, scientific: &str) -> String {
    let sign = if negative { "-" } else { "" };
    let (digits, exponent) = parts(scientific);
    if extreme && !zero {
        let text = exponential(&digits, exponent);
        // e-09 becomes e-9.
        let text = match text.split_once("e-0") {
            Some((mantissa, rest)) => format!("{mantissa}e-{rest}"),
            None => text,
        };
        return format!("{sign}{text}");
    }
    format!("{sign}{}", positional(&digits, exponent))
}

/// The digits of Rust's `1.5e3`, and the power of ten of the first of them.
fn parts(scientific: &str) -> (String, i32) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    (mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

fn exponential(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:02}", exponent.abs())
}

fn positional(digits: &str, exponent: i32) -> String {
    if exponent < 0 {
        let zeros = usize::try_from(-exponent - 1).unwrap_or(0);
        return format!("0.{}{digits}", "0".repeat(zeros));
    }
    let whole = usize::try_from(exponent).unwrap_or(0) + 1;
    if digits.len() <= whole {
        return format!("{digits}{}", "0".repeat(whole - digits.len()));
    }
    format!("{}.{}", &digits[..whole], &digits[whole..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_prints_them() {
        let cases = [
            (0.0, "0", "0"),
            (0.5, "0.5", "0.5"),
            (100_000.0, "100000", "100000"),
            (1_000_000.0, "1e+06", "1000000"),
            (1_234_567.5, "1.2345675e+06", "1234567.5"),
            (0.0001, "0.0001", "0.0001"),
            (-1.5e-7, "-1.5e-07", "-1.5e-7"),
            (1e21, "1e+21", "1e+21"),
        ];
        for (value, general, json) in cases {
            assert_eq!((go_float(value).as_str(), json_float(value).as_str()), (general, json), "{value}");
        }
        assert_eq!(go_float32(0.1), "0.1");
    }
}
