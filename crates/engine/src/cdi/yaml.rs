//! A document in YAML, as the value that the same document in JSON is: mappings, lists, scalars. No anchors, no tags:
//! nobody writes such specifications with them.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Number, Value};

/// How deep values may nest.
const MAX_DEPTH: usize = 32;

/// Reads the first document of a text.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut events = Parser::new_from_str(text);
    loop {
        match next(&mut events)? {
            Event::StreamStart | Event::DocumentStart(_) => {}
            Event::StreamEnd => return Ok(Value::Null),
            event => return value(event, &mut events, 0),
        }
    }
}

fn next<'a>(events: &mut Parser<'a, StrInput<'a>>) -> Result<Event<'a>, String> {
    match events.next_event() {
        None => Ok(Event::StreamEnd),
        Some(Ok((event, _))) => Ok(event),
        Some(Err(error)) => Err(error.to_string()),
    }
}

fn value<'a>(event: Event<'a>, events: &mut Parser<'a, StrInput<'a>>, depth: usize) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err("values nest too deeply".to_owned());
    }
    match event {
        Event::Scalar(text, style, ..) => Ok(scalar(&text, style == ScalarStyle::Plain)),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match next(events)? {
                    Event::SequenceEnd => return Ok(Value::Array(items)),
                    event => items.push(value(event, events, depth + 1)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut fields = Map::new();
            loop {
                let name = match next(events)? {
                    Event::MappingEnd => return Ok(Value::Object(fields)),
                    Event::Scalar(text, ..) => text.into_owned(),
                    _ => return Err("a name that is no text".to_owned()),
                };
                let event = next(events)?;
                fields.insert(name, value(event, events, depth + 1)?);
            }
        }
        Event::Alias(_) => Err("aliases are not supported".to_owned()),
        _ => Err("unexpected end".to_owned()),
    }
}

fn scalar(text: &str, plain: bool) -> Value {
    match text {
        _ if !plain => text.into(),
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        _ => match (number(text), text.parse::<f64>().ok().and_then(Number::from_f64)) {
            (Some(number), _) => number.into(),
            (None, Some(number)) if text.contains('.') => number.into(),
            _ => text.into(),
        },
    }
}

/// A whole number; one that begins with a zero is octal, as modes of files are written.
fn number(text: &str) -> Option<i64> {
    let octal = text.strip_prefix("0o").or_else(|| text.strip_prefix('0').filter(|rest| !rest.is_empty()));
    match octal {
        Some(digits) => i64::from_str_radix(digits, 8).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_specification_in_yaml_is_what_it_is_in_json() {
        let text = "---\ncdiVersion: \"0.6.0\"\nkind: vendor.com/class\ndevices:\n- name: \"0\"\n  containerEdits:\n    \
                    deviceNodes:\n    - path: /dev/x\n      fileMode: 0660\n      major: 1\n    env: [A=b, 'C=true']\n\
                    containerEdits: {}\nempty:\nflag: true\n";
        let expected = json!({
            "cdiVersion": "0.6.0",
            "kind": "vendor.com/class",
            "devices": [{
                "name": "0",
                "containerEdits": {
                    "deviceNodes": [{"path": "/dev/x", "fileMode": 0o660, "major": 1}],
                    "env": ["A=b", "C=true"],
                },
            }],
            "containerEdits": {},
            "empty": null,
            "flag": true,
        });
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_is_no_yaml_is_an_error() {
        assert!(parse("a: [").is_err());
        assert!(parse("a: &x 1\nb: *x\n").is_err());
        assert!(parse(&"[".repeat(50)).is_err());
        assert_eq!(parse(""), Ok(Value::Null));
    }
}
