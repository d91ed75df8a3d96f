//! `format`: `%s`, `%05.2f`, `%-10q`, `%[2]d` and their like.

use super::Takes::{Nullable, Text};
use super::{Function, items, open, str};
use crate::error::Result;
use crate::eval::Machine;
use crate::value::{Number, Type, Value, json};

/// The widest field, and the most digits.
const MAX_WIDTH: usize = 4096;

pub(super) static ALL: &[Function] =
    &[
        open("format", &[("format", Text)], ("args", Nullable), |m, a| {
            Ok(format(m, str(&a[0]), &a[1..])?.into())
        }),
        open("formatlist", &[("format", Text)], ("args", Nullable), format_list),
    ];

/// One text for each item of the lists among the arguments.
fn format_list(machine: &Machine, a: &[Value]) -> Result<Value> {
    let mut length: Option<(usize, usize)> = None;
    for (number, argument) in a.iter().enumerate().skip(1) {
        let Value::List(_, list) = argument else { continue };
        match length {
            Some((first, count)) if count != list.all.len() => {
                let why = format!(
                    "argument {number} has length {}, which is inconsistent with argument {first} of length {count}",
                    list.all.len()
                );
                return Err(why.into());
            }
            _ => length = Some((number, list.all.len())),
        }
    }
    let mut all = Vec::new();
    for at in 0..length.map_or(1, |(_, count)| count) {
        let one = |argument: &Value| match argument {
            Value::List(..) => items(argument)[at].clone(),
            other => other.clone(),
        };
        let arguments: Vec<Value> = a[1..].iter().map(one).collect();
        let text = format(machine, str(&a[0]), &arguments);
        all.push(text.map_err(|why| format!("error on format iteration {at}: {}", why.text()))?);
    }
    Ok(Value::texts(all))
}

/// What stands between `%` and the value.
#[derive(Default)]
struct Verb {
    raw: String,
    mode: char,
    sharp: bool,
    plus: bool,
    minus: bool,
    zero: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
    argument: usize,
}

fn format(machine: &Machine, pattern: &str, arguments: &[Value]) -> Result<String> {
    let mut out = String::new();
    let mut chars = pattern.char_indices().peekable();
    let (mut next, mut highest, mut indexed) = (0, 0, false);
    while let Some((offset, c)) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if(|(_, c)| *c == '%').is_some() {
            out.push('%');
            continue;
        }
        let verb = verb(pattern, offset, &mut chars, &mut next, &mut indexed)?;
        let Some(value) = arguments.get(verb.argument) else {
            let (raw, needed, count) = (&verb.raw, verb.argument + 1, arguments.len());
            return Err(format!(
                "not enough arguments for {raw:?} at {offset}: need index {needed} but have {count} total"
            )
            .into());
        };
        highest = highest.max(verb.argument + 1);
        let text = shown(&verb, value).map_err(|why| match why.is_empty() {
            true => format!("unsupported format verb {:?} in {:?} at offset {offset}", verb.mode, verb.raw),
            false => format!("unsupported value for {:?} at {offset}: {why}", verb.raw),
        })?;
        out.push_str(&text);
        machine.charge(text.len() as u64)?;
    }
    if !indexed && highest < arguments.len() {
        let used = match highest {
            0 => "no verbs in format string".to_owned(),
            n => format!("only {n} used by format string"),
        };
        return Err(format!("too many arguments; {used}").into());
    }
    Ok(out)
}

type Chars<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

fn verb(
    pattern: &str,
    offset: usize,
    chars: &mut Chars<'_>,
    next: &mut usize,
    indexed: &mut bool,
) -> Result<Verb> {
    let mut verb = Verb::default();
    while let Some((_, flag)) = chars.next_if(|(_, c)| matches!(c, '#' | '+' | '-' | '0' | ' ')) {
        match flag {
            '#' => verb.sharp = true,
            '+' => verb.plus = true,
            '-' => verb.minus = true,
            '0' => verb.zero = true,
            _ => verb.space = true,
        }
    }
    verb.width = number(chars)?;
    if chars.next_if(|(_, c)| *c == '.').is_some() {
        verb.precision = Some(number(chars)?.unwrap_or(0));
    }
    if chars.next_if(|(_, c)| *c == '[').is_some() {
        let index = number(chars)?.filter(|n| *n > 0);
        let closed = chars.next_if(|(_, c)| *c == ']').is_some();
        let index = index
            .filter(|_| closed)
            .ok_or_else(|| format!("unrecognized format character in {pattern:?} at offset {offset}"))?;
        *next = index - 1;
        *indexed = true;
    }
    let Some((end, mode)) = chars.next() else {
        return Err(format!("unterminated format sequence at {offset}").into());
    };
    verb.mode = mode;
    verb.raw = pattern[offset..end + mode.len_utf8()].to_owned();
    verb.argument = *next;
    *next += 1;
    Ok(verb)
}

fn number(chars: &mut Chars<'_>) -> Result<Option<usize>> {
    let mut digits = String::new();
    while let Some((_, digit)) = chars.next_if(|(_, c)| c.is_ascii_digit()) {
        digits.push(digit);
    }
    match digits.as_str() {
        "" => Ok(None),
        digits => match digits.parse() {
            Ok(n) if n <= MAX_WIDTH => Ok(Some(n)),
            _ => Err(format!("a width or precision of more than {MAX_WIDTH}").into()),
        },
    }
}

/// A value by its verb; why not, and nothing for a verb that there is not.
fn shown(verb: &Verb, value: &Value) -> Result<String, String> {
    if value.is_null() && verb.mode != 'v' {
        return Err("null value cannot be formatted".to_owned());
    }
    match verb.mode {
        'v' => Ok(padded(
            verb,
            match value {
                Value::Text(text) if !verb.sharp => text.to_string(),
                Value::Number(number) if !verb.sharp => number.to_string(),
                other => json::compact(other),
            },
        )),
        't' => value.convert(&Type::Bool).map(|value| json::compact(&value)),
        'b' | 'd' | 'o' | 'x' | 'X' => {
            let n = numeric(value)?.whole().ok_or("an integer is required")?;
            let digits = match verb.mode {
                'b' => format!("{:b}", n.unsigned_abs()),
                'o' => format!("{:o}", n.unsigned_abs()),
                'x' => format!("{:x}", n.unsigned_abs()),
                'X' => format!("{:X}", n.unsigned_abs()),
                _ => n.unsigned_abs().to_string(),
            };
            Ok(signed(verb, n < 0, digits))
        }
        'e' | 'E' | 'f' | 'g' | 'G' => {
            let number = numeric(value)?;
            let float = number.float();
            let precision = verb.precision.unwrap_or(6).min(300);
            let digits = match verb.mode {
                'f' => format!("{:.precision$}", float.abs()),
                'g' | 'G' if verb.precision.is_none() => {
                    number.to_string().trim_start_matches('-').to_owned()
                }
                _ => exponent(&format!("{:.precision$e}", float.abs())),
            };
            let digits = if verb.mode.is_uppercase() { digits.to_uppercase() } else { digits };
            Ok(signed(verb, float < 0.0, digits))
        }
        's' | 'q' => {
            let text = value.text()?;
            let cut = text.chars().take(verb.precision.unwrap_or(usize::MAX)).collect::<String>();
            Ok(padded(verb, if verb.mode == 'q' { json::quoted(&cut) } else { cut }))
        }
        _ => Err(String::new()),
    }
}

fn numeric(value: &Value) -> Result<Number, String> {
    match value.convert(&Type::Number)? {
        Value::Number(number) => Ok(number),
        _ => Err("number required".to_owned()),
    }
}

/// Go writes at least two digits and a sign.
fn exponent(text: &str) -> String {
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let exponent: i32 = exponent.parse().unwrap_or(0);
            format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
        None => text.to_owned(),
    }
}

fn signed(verb: &Verb, negative: bool, digits: String) -> String {
    let sign = match (negative, verb.plus, verb.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    let width = verb.width.unwrap_or(0).saturating_sub(sign.len());
    if verb.zero && !verb.minus {
        return format!("{sign}{digits:0>width$}");
    }
    padded(verb, format!("{sign}{digits}"))
}

fn padded(verb: &Verb, text: String) -> String {
    let width = verb.width.unwrap_or(0);
    match (verb.minus, verb.zero) {
        (true, _) => format!("{text:<width$}"),
        (false, true) => format!("{text:0>width$}"),
        (false, false) => format!("{text:>width$}"),
    }
}
