//! What a plain scalar is: the rules of Go's YAML library, by which Docker Compose reads.

use super::node::Value;

/// The value of a plain scalar.
pub fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes()[0] {
        b'.' => float(text),
        b'+' | b'-' | b'0'..=b'9' => number(text),
        _ => None,
    }
    .unwrap_or_else(|| Value::Str(text.to_owned()))
}

/// Whether text stays text when it is written without quotes.
pub fn is_plain_text(text: &str) -> bool {
    if is_timestamp(text) {
        return false;
    }
    matches!(resolve(text), Value::Str(_))
}

fn float(text: &str) -> Option<Value> {
    let body = text.trim_start_matches(['+', '-']);
    if text.len() - body.len() > 1 || !is_float(body) {
        return None;
    }
    text.parse().ok().map(Value::Float)
}

/// `.5`, `1`, `1.`, `1.5`, each with or without an exponent.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(i) => (&text[..i], Some(&text[i + 1..])),
        None => (text, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    mantissa_ok && exponent_ok
}

fn number(text: &str) -> Option<Value> {
    if is_timestamp(text) {
        return None;
    }
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| float(&plain))
}

/// Go's `ParseInt` of base 0, and YAML 1.2's `0o`.
fn integer(text: &str) -> Option<Value> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = body.to_ascii_lowercase();
    let (digits, radix) = if let Some(rest) = lower.strip_prefix("0x") {
        (rest, 16)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (rest, 2)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (rest, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (&lower[1..], 8)
    } else {
        (lower.as_str(), 10)
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    let number = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0i64.checked_sub_unsigned(number).map(Value::Int);
    }
    Some(i64::try_from(number).map_or(Value::Uint(number), Value::Int))
}

/// `2001-12-14`, with a time or without: text for us, but never written without quotes.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return false;
    }
    let mut parts = text[5..].splitn(2, '-');
    let (Some(month), Some(rest)) = (parts.next(), parts.next()) else { return false };
    let split = rest.find(['T', 't', ' ']);
    let (day, time) = match split {
        Some(i) => (&rest[..i], Some(&rest[i + 1..])),
        None => (rest, None),
    };
    let within = |s: &str, max: u32| {
        s.len() <= 2
            && s.bytes().all(|b| b.is_ascii_digit())
            && s.parse::<u32>().is_ok_and(|n| (1..=max).contains(&n))
    };
    within(month, 12)
        && within(day, 31)
        && time.is_none_or(|t| {
            t.split(':').count() == 3 && t.bytes().all(|b| b.is_ascii_digit() || b":.Zz+-".contains(&b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_what_go_makes_of_them() {
        let cases: &[(&str, Value)] = &[
            ("0777", Value::Int(511)),
            ("0440", Value::Int(288)),
            ("0o17", Value::Int(15)),
            ("0x1F", Value::Int(31)),
            ("-0b11", Value::Int(-3)),
            ("1_000", Value::Int(1000)),
            ("3.10", Value::Float(3.1)),
            ("1e3", Value::Float(1000.0)),
            (".5", Value::Float(0.5)),
            ("18446744073709551615", Value::Uint(u64::MAX)),
            ("yes", Value::Str("yes".into())),
            ("1.2.3", Value::Str("1.2.3".into())),
            ("08", Value::Float(8.0)),
            ("22:22", Value::Str("22:22".into())),
            ("-", Value::Str("-".into())),
            ("2001-12-14", Value::Str("2001-12-14".into())),
        ];
        for (text, value) in cases {
            assert_eq!(resolve(text), *value, "{text}");
        }
    }

    #[test]
    fn text_that_would_be_something_else_is_quoted() {
        for text in ["", "true", "null", "1", "1.5", "~", "2001-12-14", "0x10"] {
            assert!(!is_plain_text(text), "{text}");
        }
        for text in ["a", "1.2.3", "nginx:1.27", "2001-99-14"] {
            assert!(is_plain_text(text), "{text}");
        }
    }
}
