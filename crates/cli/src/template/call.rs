//! The functions of templates: Go's and Docker's.

use std::cmp::Ordering;

use super::Mode;
use super::print::{html, inner, js, sprint, sprintf, sprintln, type_name, urlquery};
use crate::value::Value;

const NAMES: &[&str] = &[
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "html", "js", "urlquery",
    "call", "eq", "ne", "lt", "le", "gt", "ge", "json", "join", "split", "lower", "upper", "title", "pad",
    "truncate",
];

/// Whether a function of this name exists.
pub fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function; the error is the text after `error calling NAME: `, unless it says the call itself is wrong.
///
/// # Errors
/// A wrong number or kind of arguments, or the function's own refusal.
pub fn call(name: &str, args: &[Value], mode: Mode) -> Result<Value, String> {
    let (min, max) = arity(name);
    if args.len() < min || args.len() > max {
        let want = if max == usize::MAX { format!("at least {min}") } else { min.to_string() };
        return Err(format!("wrong number of args for {name}: want {want} got {}", args.len()));
    }
    if mode == Mode::Header
        && matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate")
    {
        return Ok(args[0].clone());
    }
    run(name, args).map_err(|e| format!("error calling {name}: {e}"))
}

fn arity(name: &str) -> (usize, usize) {
    match name {
        "not" | "len" | "json" | "lower" | "upper" | "title" => (1, 1),
        "ne" | "lt" | "le" | "gt" | "ge" | "join" | "split" | "truncate" => (2, 2),
        "pad" => (3, 3),
        "index" | "slice" | "and" | "or" | "eq" | "printf" | "call" => (1, usize::MAX),
        _ => (0, usize::MAX),
    }
}

fn run(name: &str, args: &[Value]) -> Result<Value, String> {
    Ok(match name {
        "not" => Value::Bool(!args[0].truthy()),
        "and" => args.iter().find(|a| !a.truthy()).unwrap_or(&args[args.len() - 1]).clone(),
        "or" => args.iter().find(|a| a.truthy()).unwrap_or(&args[args.len() - 1]).clone(),
        "len" => Value::Int(len(&args[0])? as i128),
        "index" => index(&args[0], &args[1..])?,
        "slice" => slice(&args[0], &args[1..])?,
        "print" => Value::Str(sprint(args)),
        "println" => Value::Str(sprintln(args)),
        "printf" => Value::Str(sprintf(&string(&args[0])?, &args[1..])),
        "html" => Value::Str(html(&sprint(args))),
        "js" => Value::Str(js(&sprint(args))),
        "urlquery" => Value::Str(urlquery(&sprint(args))),
        "call" => return Err(format!("non-function of type {}", type_name(&args[0]))),
        "eq" => equal(args)?,
        "ne" => match equal(args)? {
            Value::Bool(b) => Value::Bool(!b),
            v => v,
        },
        "lt" => Value::Bool(compare(args)? == Ordering::Less),
        "le" => Value::Bool(compare(args)? != Ordering::Greater),
        "gt" => Value::Bool(compare(args)? == Ordering::Greater),
        "ge" => Value::Bool(compare(args)? != Ordering::Less),
        "json" => Value::Str(args[0].to_json()),
        "join" => join(&args[0], &string(&args[1])?)?,
        "split" => {
            let (text, sep) = (string(&args[0])?, string(&args[1])?);
            let parts: Vec<String> = if sep.is_empty() {
                text.chars().map(String::from).collect()
            } else {
                text.split(&sep).map(str::to_owned).collect()
            };
            Value::List(parts.into_iter().map(Value::Str).collect())
        }
        "lower" => Value::Str(string(&args[0])?.to_lowercase()),
        "upper" => Value::Str(string(&args[0])?.to_uppercase()),
        "title" => Value::Str(title(&string(&args[0])?)),
        "pad" => pad(&string(&args[0])?, &args[1], &args[2])?,
        "truncate" => truncate(string(&args[0])?, &args[1])?,
        _ => return Err("no such function".into()),
    })
}

/// A string argument; a missing value counts as an empty one.
fn string(v: &Value) -> Result<String, String> {
    match v {
        Value::Str(s) => Ok(s.clone()),
        Value::Nil | Value::Absent => Ok(String::new()),
        v => Err(format!("wrong type for value; expected string; got {}", type_name(v))),
    }
}

fn count(v: &Value) -> Result<usize, String> {
    match v {
        Value::Int(i) => Ok(usize::try_from(*i).unwrap_or(0).min(1 << 16)),
        v => Err(format!("expected integer; found {}", inner(v))),
    }
}

fn len(v: &Value) -> Result<usize, String> {
    match v {
        Value::Str(s) => Ok(s.len()),
        Value::List(l) => Ok(l.len()),
        Value::Map(m) => Ok(m.len()),
        Value::Struct(f) => Ok(f.len()),
        Value::Nil | Value::NilMap | Value::NilList | Value::Absent => Ok(0),
        Value::NilPointer => Err("len of nil pointer".into()),
        v => Err(format!("len of type {}", type_name(v))),
    }
}

fn index(of: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut at = of.clone();
    for key in keys {
        at = match (&at, key) {
            (Value::List(l), Value::Int(i)) => usize::try_from(*i)
                .ok()
                .and_then(|i| l.get(i).cloned())
                .ok_or_else(|| format!("index out of range: {i}"))?,
            (Value::Str(s), Value::Int(i)) => usize::try_from(*i)
                .ok()
                .and_then(|i| s.as_bytes().get(i))
                .map(|b| Value::Int((*b).into()))
                .ok_or_else(|| format!("index out of range: {i}"))?,
            (Value::Map(m), Value::Str(k)) => m.get(k).cloned().unwrap_or_else(|| zero_of(m.values())),
            (Value::Struct(f), Value::Str(k)) => {
                f.iter().find(|(n, _)| n == k).map_or_else(|| Value::Str(String::new()), |(_, v)| v.clone())
            }
            (Value::List(_) | Value::Str(_), k) => {
                return Err(format!("cannot index slice/array with type {}", type_name(k)));
            }
            (Value::Map(_) | Value::Struct(_), k) => {
                return Err(format!("value has type {}; should be string", type_name(k)));
            }
            (Value::Nil | Value::NilList, Value::Int(i)) => return Err(format!("index out of range: {i}")),
            (Value::Nil | Value::NilMap, Value::Str(_)) => Value::Str(String::new()),
            (Value::Nil | Value::NilPointer, _) => return Err("index of untyped nil".into()),
            (v, _) => return Err(format!("can't index item of type {}", type_name(v))),
        };
    }
    Ok(at)
}

/// What a key that a map lacks gives: the zero of what the map holds.
fn zero_of<'a>(mut values: impl Iterator<Item = &'a Value>) -> Value {
    match values.next() {
        None | Some(Value::Str(_)) => Value::Str(String::new()),
        Some(Value::List(_)) => Value::List(Vec::new()),
        Some(_) => Value::NilPointer,
    }
}

fn slice(of: &Value, bounds: &[Value]) -> Result<Value, String> {
    let total = match of {
        Value::Str(s) => s.len(),
        Value::List(l) => l.len(),
        Value::Nil | Value::NilList => 0,
        v => return Err(format!("can't slice item of type {}", type_name(v))),
    };
    let from = bounds.first().map(count).transpose()?.unwrap_or(0);
    let to = bounds.get(1).map(count).transpose()?.unwrap_or(total);
    if to > total || from > to {
        return Err(format!("index out of range: {}", if to > total { to } else { from }));
    }
    Ok(match of {
        Value::Str(s) => Value::Str(String::from_utf8_lossy(&s.as_bytes()[from..to]).into_owned()),
        Value::List(l) => Value::List(l[from..to].to_vec()),
        _ => Value::Nil,
    })
}

fn is_nil(v: &Value) -> bool {
    matches!(v, Value::Nil | Value::NilPointer | Value::NilMap | Value::NilList)
}

fn is_basic(v: &Value) -> bool {
    matches!(v, Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_))
}

fn equal(args: &[Value]) -> Result<Value, String> {
    if args.len() < 2 {
        return Err("missing argument for comparison".into());
    }
    for other in &args[1..] {
        let same = match (&args[0], other) {
            (a, b) if is_nil(a) || is_nil(b) => is_nil(a) && is_nil(b),
            (a, b) if is_basic(a) && is_basic(b) => {
                if std::mem::discriminant(a) != std::mem::discriminant(b) {
                    return Err("incompatible types for comparison".into());
                }
                a == b
            }
            (a, b) if std::mem::discriminant(a) == std::mem::discriminant(b) => {
                return Err(format!("non-comparable type {}: {}", inner(a), type_name(b)));
            }
            _ => return Err("incompatible types for comparison".into()),
        };
        if same {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn compare(args: &[Value]) -> Result<Ordering, String> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => Ok(a.total_cmp(b)),
        (Value::Str(a), Value::Str(b)) => Ok(a.cmp(b)),
        (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".into()),
        (a, b) if is_basic(a) && is_basic(b) => Err("incompatible types for comparison".into()),
        _ => Err("invalid type for comparison".into()),
    }
}

fn join(of: &Value, sep: &str) -> Result<Value, String> {
    Ok(Value::Str(match of {
        Value::Nil | Value::NilMap | Value::NilList => String::new(),
        Value::List(l) => l.iter().map(inner).collect::<Vec<_>>().join(sep),
        Value::Map(m) => {
            let mut values: Vec<String> = m.values().map(inner).collect();
            values.sort();
            values.join(sep)
        }
        v => return Err(format!("expected slice, got {}", type_name(v))),
    }))
}

/// The first letter of each word in upper case; the rest as it is.
fn title(s: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in s.chars() {
        let in_word = before.is_alphanumeric() || before == '_' || before == '\'';
        if in_word {
            out.push(c)
        } else {
            out.extend(c.to_uppercase())
        }
        before = c;
    }
    out
}

fn pad(s: &str, before: &Value, after: &Value) -> Result<Value, String> {
    if s.is_empty() {
        return Ok(Value::Str(String::new()));
    }
    Ok(Value::Str(format!("{}{s}{}", " ".repeat(count(before)?), " ".repeat(count(after)?))))
}

fn truncate(s: String, to: &Value) -> Result<Value, String> {
    let to = count(to)?;
    if s.len() < to {
        return Ok(Value::Str(s));
    }
    Ok(Value::Str(String::from_utf8_lossy(&s.as_bytes()[..to]).into_owned()))
}
