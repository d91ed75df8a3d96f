//! Numbers and truths.

use std::cmp::Ordering;

use super::Takes::{Any, Bool, Number as Num, Text};
use super::{Function, fixed, num, open, str, whole};
use crate::error::Result;
use crate::eval::Machine;
use crate::value::{Number, Value};

pub(super) static ALL: &[Function] = &[
    fixed("absolute", &[("num", Num)], |_, a| {
        let n = num(&a[0]);
        Ok((if n.compare(zero()) == Ordering::Less { n.negative() } else { n }).into())
    }),
    fixed("add", &[("a", Num), ("b", Num)], |_, a| within(num(&a[0]).add(num(&a[1])))),
    fixed("subtract", &[("a", Num), ("b", Num)], |_, a| within(num(&a[0]).subtract(num(&a[1])))),
    fixed("multiply", &[("a", Num), ("b", Num)], |_, a| within(num(&a[0]).multiply(num(&a[1])))),
    fixed("divide", &[("a", Num), ("b", Num)], |_, a| by(num(&a[1]), num(&a[0]).divide(num(&a[1])))),
    fixed("modulo", &[("a", Num), ("b", Num)], |_, a| by(num(&a[1]), num(&a[0]).modulo(num(&a[1])))),
    fixed("negate", &[("num", Num)], |_, a| Ok(num(&a[0]).negative().into())),
    fixed("ceil", &[("num", Num)], |_, a| Ok(num(&a[0]).rounded(true).into())),
    fixed("floor", &[("num", Num)], |_, a| Ok(num(&a[0]).rounded(false).into())),
    fixed("int", &[("num", Num)], |_, a| {
        let n = num(&a[0]);
        Ok(n.rounded(n.compare(zero()) == Ordering::Less).into())
    }),
    fixed("signum", &[("num", Num)], |_, a| {
        let sign = num(&a[0]).compare(zero()) as i8;
        Ok(Number::from(i128::from(sign)).into())
    }),
    fixed("pow", &[("num", Num), ("power", Num)], |_, a| within(num(&a[0]).power(num(&a[1])))),
    fixed("log", &[("num", Num), ("base", Num)], |_, a| {
        let log = num(&a[0]).float().ln() / num(&a[1]).float().ln();
        within(Number::parse(&log.to_string()))
    }),
    open("max", &[], ("numbers", Num), |_, a| extreme(a, Ordering::Greater)),
    open("min", &[], ("numbers", Num), |_, a| extreme(a, Ordering::Less)),
    fixed("parseint", &[("number", Any), ("base", Num)], parse_int),
    fixed("greaterthan", &[("a", Num), ("b", Num)], |_, a| order(a, &[Ordering::Greater])),
    fixed("greaterthanorequalto", &[("a", Num), ("b", Num)], |_, a| {
        order(a, &[Ordering::Greater, Ordering::Equal])
    }),
    fixed("lessthan", &[("a", Num), ("b", Num)], |_, a| order(a, &[Ordering::Less])),
    fixed("lessthanorequalto", &[("a", Num), ("b", Num)], |_, a| {
        order(a, &[Ordering::Less, Ordering::Equal])
    }),
    fixed("equal", &[("a", super::Takes::Nullable), ("b", super::Takes::Nullable)], |_, a| {
        Ok((a[0] == a[1]).into())
    }),
    fixed("notequal", &[("a", super::Takes::Nullable), ("b", super::Takes::Nullable)], |_, a| {
        Ok((a[0] != a[1]).into())
    }),
    fixed("and", &[("a", Bool), ("b", Bool)], |_, a| Ok((truth(&a[0]) && truth(&a[1])).into())),
    fixed("or", &[("a", Bool), ("b", Bool)], |_, a| Ok((truth(&a[0]) || truth(&a[1])).into())),
    fixed("not", &[("val", Bool)], |_, a| Ok((!truth(&a[0])).into())),
    fixed("byteslen", &[("buf", Text)], |_, a| Ok(Number::from(str(&a[0]).len()).into())),
];

fn zero() -> Number {
    Number::from(0i128)
}

fn truth(value: &Value) -> bool {
    *value == Value::Bool(true)
}

fn within(number: Option<Number>) -> Result<Value> {
    number.map(Value::Number).ok_or_else(|| "the result is no number, or too large".into())
}

fn by(divisor: Number, number: Option<Number>) -> Result<Value> {
    if divisor == zero() {
        return Err("divide by zero".into());
    }
    within(number)
}

fn order(arguments: &[Value], wanted: &[Ordering]) -> Result<Value> {
    Ok(wanted.contains(&num(&arguments[0]).compare(num(&arguments[1]))).into())
}

fn extreme(arguments: &[Value], wanted: Ordering) -> Result<Value> {
    let better = |best: Number, one: Number| if one.compare(best) == wanted { one } else { best };
    let all = arguments.iter().map(num);
    all.reduce(better).map(Value::Number).ok_or_else(|| "must pass at least one number".into())
}

fn parse_int(_: &Machine, arguments: &[Value]) -> Result<Value> {
    let text = match &arguments[0] {
        Value::Text(text) => text.to_string(),
        other => {
            return Err(format!(
                "first argument must be a string, not {}",
                crate::value::Type::of(other).name()
            )
            .into());
        }
    };
    let base = whole(&arguments[1])?;
    let Some(base) = u32::try_from(base).ok().filter(|base| (2..=36).contains(base)) else {
        return Err("base must be a whole number between 2 and 62 inclusive".into());
    };
    let read = i128::from_str_radix(&text, base).map(|n| Number::from(n).into());
    read.map_err(|_| format!("cannot parse {text:?} as a base {base} integer").into())
}
