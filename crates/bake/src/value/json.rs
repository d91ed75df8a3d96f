//! Values as JSON, in the form that Go writes: `<`, `>` and `&` are escaped.

use std::collections::BTreeMap;

use dray_spec::golang::write_json_string;

use super::{Mapping, Number, Sequence, Type, Value};

/// A text in quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_json_string(text, true, &mut out);
    out
}

/// A value without blanks.
pub fn compact(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::Text(text) => write_json_string(text, true, out),
        Value::List(_, items) => {
            out.push('[');
            for (number, item) in items.all.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(_, members) => {
            out.push('{');
            for (number, (name, member)) in members.all.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                write_json_string(name, true, out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
    }
}

/// Reads a value; lists become tuples and objects objects.
///
/// # Errors
/// It is no JSON.
pub fn read(text: &str) -> Result<Value, String> {
    let read: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(from(&read))
}

/// Reads a value of a type.
///
/// # Errors
/// It is no JSON, or of another type.
pub fn read_as(text: &str, kind: &Type) -> Result<Value, String> {
    read(text)?.convert(kind)
}

fn from(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => Value::Number(Number::read(&number.to_string())),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => Value::list(Sequence::Tuple, items.iter().map(from).collect()),
        serde_json::Value::Object(members) => {
            let all: BTreeMap<String, Value> = members.iter().map(|(k, v)| (k.clone(), from(v))).collect();
            Value::object(Mapping::Object, all)
        }
    }
}
