//! Numbers: decimal and exact where they fit, as HCL's are within 512 bits; else of 64 bits.

use std::cmp::Ordering;

/// The most digits behind the point that stay exact.
const MAX_SCALE: u32 = 36;

/// A number.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// `digits / 10^scale`, without zeros at its end.
    Exact { digits: i128, scale: u32 },
    /// What does not fit into the other.
    Float(f64),
}

impl From<i128> for Number {
    fn from(digits: i128) -> Number {
        Number::Exact { digits, scale: 0 }
    }
}

impl From<usize> for Number {
    fn from(n: usize) -> Number {
        Number::from(n as i128)
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.compare(*other) == Ordering::Equal
    }
}

impl Number {
    /// Reads what the syntax lets through: digits, a point, an exponent. What is no number is 0.
    pub fn read(text: &str) -> Number {
        Number::parse(text).unwrap_or(Number::from(0i128))
    }

    /// Reads a number.
    pub fn parse(text: &str) -> Option<Number> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let float: f64 = compact.parse().ok().filter(|f: &f64| f.is_finite())?;
        if compact.bytes().any(|b| b.is_ascii_alphabetic() && !matches!(b, b'e' | b'E')) {
            return None;
        }
        let (mantissa, exponent) = compact.split_once(['e', 'E']).unwrap_or((&compact, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(i32::MAX);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exact = || {
            let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
            let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
            match u32::try_from(scale) {
                Ok(scale) if scale <= MAX_SCALE => Some(Number::Exact { digits, scale }),
                Ok(_) => None,
                Err(_) => Some(Number::from(digits.checked_mul(10i128.checked_pow(scale.unsigned_abs())?)?)),
            }
        };
        Some(exact().map_or(Number::Float(float), Number::short))
    }

    /// Without zeros at the end.
    fn short(self) -> Number {
        match self {
            Number::Exact { mut digits, mut scale } => {
                while scale > 0 && digits % 10 == 0 {
                    (digits, scale) = (digits / 10, scale - 1);
                }
                Number::Exact { digits, scale }
            }
            float => float,
        }
    }

    /// As a float, perhaps not exactly.
    pub fn float(self) -> f64 {
        match self {
            // Through text, so that 0.1 is 0.1.
            Number::Exact { .. } => self.to_string().parse().unwrap_or(f64::NAN),
            Number::Float(float) => float,
        }
    }

    /// The number, if it is whole.
    pub fn whole(self) -> Option<i128> {
        match self.short() {
            Number::Exact { digits, scale: 0 } => Some(digits),
            Number::Exact { .. } => None,
            Number::Float(float) => (float.fract() == 0.0 && float.abs() < 1e37).then_some(float as i128),
        }
    }

    fn from_float(float: f64) -> Option<Number> {
        if !float.is_finite() {
            return None;
        }
        Number::parse(&float.to_string())
    }

    /// Both with as many digits behind the point.
    fn aligned(self, other: Number) -> Option<(i128, i128, u32)> {
        match (self, other) {
            (Number::Exact { digits: a, scale: s }, Number::Exact { digits: b, scale: t }) => {
                let scale = s.max(t);
                let a = a.checked_mul(10i128.checked_pow(scale - s)?)?;
                Some((a, b.checked_mul(10i128.checked_pow(scale - t)?)?, scale))
            }
            _ => None,
        }
    }

    /// The order of two.
    pub fn compare(self, other: Number) -> Ordering {
        match self.aligned(other) {
            Some((a, b, _)) => a.cmp(&b),
            None => self.float().total_cmp(&other.float()),
        }
    }

    /// The sum; none if it is too large.
    pub fn add(self, other: Number) -> Option<Number> {
        let exact = self.aligned(other).and_then(|(a, b, scale)| Some((a.checked_add(b)?, scale)));
        match exact {
            Some((digits, scale)) => Some(Number::Exact { digits, scale }.short()),
            None => Number::from_float(self.float() + other.float()),
        }
    }

    /// The difference; none if it is too large.
    pub fn subtract(self, other: Number) -> Option<Number> {
        self.add(other.negative())
    }

    /// The product; none if it is too large.
    pub fn multiply(self, other: Number) -> Option<Number> {
        if let (Number::Exact { digits: a, scale: s }, Number::Exact { digits: b, scale: t }) = (self, other)
            && let Some(digits) = a.checked_mul(b)
            && s + t <= MAX_SCALE
        {
            return Some(Number::Exact { digits, scale: s + t }.short());
        }
        Number::from_float(self.float() * other.float())
    }

    /// The quotient; none for one by zero.
    pub fn divide(self, other: Number) -> Option<Number> {
        if other.compare(Number::from(0i128)) == Ordering::Equal {
            return None;
        }
        let exact = || {
            let (mut a, b, _) = self.aligned(other)?;
            let mut scale = 0;
            while a.checked_rem(b)? != 0 {
                a = a.checked_mul(10)?;
                scale += 1;
                if scale > 30 {
                    return None;
                }
            }
            Some(Number::Exact { digits: a.checked_div(b)?, scale }.short())
        };
        exact().or_else(|| Number::from_float(self.float() / other.float()))
    }

    /// What is left of a division, with the sign of the first; none for one by zero.
    pub fn modulo(self, other: Number) -> Option<Number> {
        match self.aligned(other) {
            Some((_, 0, _)) => None,
            Some((a, b, scale)) => Some(Number::Exact { digits: a.checked_rem(b)?, scale }.short()),
            None => Number::from_float(self.float() % other.float()),
        }
    }

    /// With the other sign.
    pub fn negative(self) -> Number {
        match self {
            Number::Exact { digits, scale } => Number::Exact { digits: -digits.max(-i128::MAX), scale },
            Number::Float(float) => Number::Float(-float),
        }
    }

    /// To the power of another, by floats as HCL does it; none if that is too large or no number.
    pub fn power(self, other: Number) -> Option<Number> {
        Number::from_float(self.float().powf(other.float()))
    }

    /// The next whole number up, or down.
    pub fn rounded(self, up: bool) -> Number {
        match self {
            Number::Exact { digits, scale } => {
                let unit = 10i128.pow(scale.min(MAX_SCALE));
                let down = digits.div_euclid(unit);
                Number::from(if up && digits.rem_euclid(unit) != 0 { down + 1 } else { down })
            }
            Number::Float(float) => Number::Float(if up { float.ceil() } else { float.floor() }),
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Exact { digits, scale: 0 } => write!(f, "{digits}"),
            Number::Exact { digits, scale } => {
                let scale = *scale as usize;
                let text = format!("{:0>width$}", digits.unsigned_abs(), width = scale + 1);
                let (whole, fraction) = text.split_at(text.len() - scale);
                write!(f, "{}{whole}.{fraction}", if *digits < 0 { "-" } else { "" })
            }
            Number::Float(float) => write!(f, "{float}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> Number {
        Number::parse(text).expect(text)
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(n("0.1").add(n("0.2")).unwrap().to_string(), "0.3");
        assert_eq!(n("10").divide(n("4")).unwrap().to_string(), "2.5");
        assert_eq!(n("1").divide(n("3")).unwrap().to_string(), "0.3333333333333333");
        assert_eq!(n("1.50").to_string(), "1.5");
        assert_eq!(n("2e3").to_string(), "2000");
        assert_eq!(n("-0.05").to_string(), "-0.05");
        assert_eq!(n("-7").modulo(n("3")).unwrap().to_string(), "-1");
        assert_eq!(n("1").divide(n("0")), None);
        assert_eq!(n("2.5").rounded(true).to_string(), "3");
        assert_eq!(n("-2.5").rounded(false).to_string(), "-3");
        assert_eq!(Number::parse("nan"), None);
        assert_eq!(Number::parse("0x10"), None);
        assert_eq!(n("10").power(n("1000000000")), None);
    }
}
