//! How Go prints values: `%v`, `%q`, and the printf verbs that templates use.

use dray_spec::golang::quoted;

use crate::value::Value;

/// `fmt.Sprint` of one value at the top of an action.
pub fn text(v: &Value) -> String {
    match v {
        Value::Nil => "<no value>".into(),
        v => inner(v),
    }
}

/// `%v` of a value, also inside of lists and maps.
pub fn inner(v: &Value) -> String {
    match v {
        Value::Nil | Value::NilPointer => "<nil>".into(),
        Value::NilMap => "map[]".into(),
        Value::NilList => "[]".into(),
        Value::Time(t) => crate::format::time::go_utc(t),
        Value::Absent => String::new(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => float(*f),
        Value::Str(s) => s.clone(),
        Value::List(l) => format!("[{}]", l.iter().map(inner).collect::<Vec<_>>().join(" ")),
        Value::Struct(f) => format!("{{{}}}", f.iter().map(|(_, v)| inner(v)).collect::<Vec<_>>().join(" ")),
        Value::Map(m) => {
            format!(
                "map[{}]",
                m.iter().map(|(k, v)| format!("{k}:{}", inner(v))).collect::<Vec<_>>().join(" ")
            )
        }
        Value::Row(r) => {
            format!("{{{}}}", r.fields.iter().map(|(_, v)| inner(v)).collect::<Vec<_>>().join(" "))
        }
    }
}

/// The shortest text of a float, with an exponent from 1e21 on, as `%v` gives it.
pub fn float(f: f64) -> String {
    if f.is_nan() {
        return "NaN".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if f != 0.0 && (f.abs() < 1e-4 || f.abs() >= 1e21) {
        return exponent(&format!("{f:e}"));
    }
    format!("{f}")
}

/// Rust's `1e-7` as Go's `1e-07`.
fn exponent(text: &str) -> String {
    let Some((mantissa, exp)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match exp.strip_prefix('-') {
        Some(d) => ('-', d),
        None => ('+', exp),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// The name of a value's type in Go's error texts.
pub fn type_name(v: &Value) -> &'static str {
    match v {
        Value::Nil | Value::NilPointer => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float64",
        Value::Str(_) | Value::Absent => "string",
        Value::List(_) | Value::NilList => "[]interface {}",
        Value::Time(_) => "time.Time",
        Value::Struct(_) | Value::Map(_) | Value::NilMap => "map[string]interface {}",
        Value::Row(r) => r.type_name,
    }
}

/// `fmt.Sprint`: a space between two operands when neither is a string.
pub fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    for (i, a) in args.iter().enumerate() {
        let strings =
            matches!(a, Value::Str(_)) || matches!(args.get(i.wrapping_sub(1)), Some(Value::Str(_)));
        if i > 0 && !strings {
            out.push(' ');
        }
        out.push_str(&inner(a));
    }
    out
}

/// `fmt.Sprintln`.
pub fn sprintln(args: &[Value]) -> String {
    let mut out = args.iter().map(inner).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf`.
pub fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut args = args.iter();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(f) = chars.peek() {
            match f {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '0' => flags.zero = true,
                ' ' => flags.space = true,
                '#' => flags.sharp = true,
                _ => break,
            }
            chars.next();
        }
        flags.width = amount(&mut chars, &mut args);
        if chars.peek() == Some(&'.') {
            chars.next();
            flags.precision = Some(amount(&mut chars, &mut args).unwrap_or(0));
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(arg) = args.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let text = one(verb, &flags, arg);
        out.push_str(&padded(&text, &flags, arg));
    }
    let extra: Vec<_> = args.map(|a| format!("{}={}", type_name(a), inner(a))).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn amount<'a>(
    chars: &mut std::iter::Peekable<std::str::Chars>,
    args: &mut impl Iterator<Item = &'a Value>,
) -> Option<usize> {
    if chars.peek() == Some(&'*') {
        chars.next();
        return match args.next() {
            Some(Value::Int(i)) => usize::try_from(*i).ok().map(|w| w.min(4096)),
            _ => None,
        };
    }
    let mut digits = String::new();
    while let Some(d) = chars.peek().filter(|d| d.is_ascii_digit()) {
        digits.push(*d);
        chars.next();
    }
    digits.parse::<usize>().ok().map(|w| w.min(4096))
}

fn one(verb: char, flags: &Flags, arg: &Value) -> String {
    match (verb, arg) {
        ('v' | 's', Value::Str(s)) => cut(s, flags),
        ('v', Value::Float(_)) if flags.precision.is_some() => float_verb('g', flags, arg),
        ('v', v) => inner(v),
        ('s', Value::List(_) | Value::Map(_) | Value::Struct(_)) => inner(arg),
        ('q', Value::Str(s)) => quoted(&cut(s, flags)),
        ('q', Value::Int(i)) => {
            format!("'{}'", u32::try_from(*i).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'))
        }
        ('q', Value::List(l)) => {
            format!("[{}]", l.iter().map(|v| one('q', flags, v)).collect::<Vec<_>>().join(" "))
        }
        ('d', Value::Int(i)) if flags.plus && *i >= 0 => format!("+{i}"),
        ('d', Value::Int(i)) if flags.space && *i >= 0 => format!(" {i}"),
        ('d', Value::Int(i)) => i.to_string(),
        ('d', Value::List(l)) => {
            format!("[{}]", l.iter().map(|v| one('d', flags, v)).collect::<Vec<_>>().join(" "))
        }
        ('x', Value::Int(i)) => format!("{}{i:x}", if flags.sharp { "0x" } else { "" }),
        ('X', Value::Int(i)) => format!("{}{i:X}", if flags.sharp { "0X" } else { "" }),
        ('x', Value::Str(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Str(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
        ('o', Value::Int(i)) => format!("{i:o}"),
        ('b', Value::Int(i)) => format!("{i:b}"),
        ('c', Value::Int(i)) => {
            u32::try_from(*i).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('t', Value::Bool(b)) => b.to_string(),
        ('f' | 'F' | 'e' | 'g', Value::Float(_)) => float_verb(verb, flags, arg),
        ('T', v) => type_name(v).to_owned(),
        (_, Value::Nil | Value::NilPointer) => format!("%!{verb}(<nil>)"),
        (verb, v) => format!("%!{verb}({}={})", type_name(v), inner(v)),
    }
}

fn float_verb(verb: char, flags: &Flags, arg: &Value) -> String {
    let Value::Float(f) = *arg else { return inner(arg) };
    let text = match (verb, flags.precision) {
        ('f' | 'F', p) => format!("{f:.*}", p.unwrap_or(6)),
        ('e', p) => exponent(&format!("{f:.*e}", p.unwrap_or(6))),
        (_, Some(p)) => crate::format::units::general(f, p),
        (_, None) => float(f),
    };
    if flags.plus && f >= 0.0 { format!("+{text}") } else { text }
}

fn cut(s: &str, flags: &Flags) -> String {
    match flags.precision {
        Some(p) => s.chars().take(p).collect(),
        None => s.to_owned(),
    }
}

fn padded(text: &str, flags: &Flags, arg: &Value) -> String {
    let have = text.chars().count();
    let pad = flags.width.unwrap_or(0).saturating_sub(have);
    if flags.minus {
        return format!("{text}{}", " ".repeat(pad));
    }
    if flags.zero && matches!(arg, Value::Int(_) | Value::Float(_)) {
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(d) => (&text[..1], d),
            None => ("", text),
        };
        return format!("{sign}{}{digits}", "0".repeat(pad));
    }
    format!("{}{text}", " ".repeat(pad))
}

/// `html`: the five characters that HTML gives a meaning to.
pub fn html(s: &str) -> String {
    let mut out = String::new();
    for c in s.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `js`: text for a JavaScript string.
pub fn js(s: &str) -> String {
    let mut out = String::new();
    for c in s.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' => out.push_str("\\u003C"),
            '>' => out.push_str("\\u003E"),
            '&' => out.push_str("\\u0026"),
            '=' => out.push_str("\\u003D"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// `urlquery`: a query component, with `+` for a space.
pub fn urlquery(s: &str) -> String {
    let mut out = String::new();
    for b in s.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(b as char),
            b' ' => out.push('+'),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}
