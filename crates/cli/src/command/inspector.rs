//! What all `inspect` commands do: get each thing as it came over the wire, print it indented, or through a template.

use std::future::Future;

use bytes::Bytes;

use crate::app::App;
use crate::command_error::Error;
use crate::json;
use crate::spec::Done;
use crate::template::{Mode, Template};
use crate::value::Value;

/// Exit code for a template that does not parse.
const BAD_TEMPLATE: u8 = 64;

/// Shows each thing by the format; errors of some come after what was found.
///
/// # Errors
/// A template that does not parse, things that were not found.
pub async fn inspect<F>(app: &App, names: &[String], format: &str, get: impl Fn(String) -> F) -> Done
where
    F: Future<Output = Result<Bytes, Error>>,
{
    let template = match format {
        "" | "json" => None,
        text => {
            let parsed = Template::parse(text);
            Some(parsed.map_err(|e| {
                Error::Refused(format!("template parsing error: {e}")).with_code(BAD_TEMPLATE)
            })?)
        }
    };
    let (mut errors, mut found, mut text) = (Vec::new(), Vec::new(), String::new());
    for name in names {
        let raw = match get(name.clone()).await {
            Ok(raw) => raw,
            Err(e) => {
                errors.push(e);
                continue;
            }
        };
        match &template {
            None => found.push(raw),
            Some(template) => {
                if let Err(e) = line(template, &raw, &mut text) {
                    errors.push(e);
                }
            }
        }
    }
    match template {
        None => app.print(as_list(&found, format))?,
        Some(_) if text.is_empty() => app.print("\n")?,
        Some(_) => app.print(text)?,
    }
    Error::all(errors).map(|()| 0)
}

fn as_list(found: &[Bytes], format: &str) -> Vec<u8> {
    if found.is_empty() {
        return b"[]\n".to_vec();
    }
    let mut list = vec![b'['];
    list.extend(found.join(&b','));
    list.push(b']');
    let mut out = if format == "json" { json::compact(&list) } else { json::indent(&list) };
    out.push(b'\n');
    out
}

/// A network's creation is a time in Go, that of other things a text.
fn read_times(value: &mut Value) {
    let Value::Struct(fields) = value else { return };
    if !fields.iter().any(|(name, _)| name == "IPAM") {
        return;
    }
    for (name, field) in fields {
        if let ("Created", Value::Str(stamp)) = (name.as_str(), &*field) {
            *field = Value::Time(stamp.clone());
        }
    }
}

fn line(template: &Template, raw: &[u8], out: &mut String) -> Result<(), Error> {
    let unreadable = |source| Error::Json { what: "unable to read inspect data".into(), source };
    let mut value = Value::from_json(raw).map_err(unreadable)?;
    read_times(&mut value);
    let mut text = String::new();
    template
        .run(&value, Mode::Data, &mut text)
        .map_err(|e| Error::Refused(format!("template parsing error: {e}")))?;
    out.push_str(&text);
    out.push('\n');
    Ok(())
}
