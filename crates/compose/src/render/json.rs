//! JSON as Go's `encoding/json` writes it: on one line or indented, `<`, `>` and `&` escaped or not.

use std::fmt::Write as _;

use super::number;
use crate::model::data::Data;

/// On one line.
pub fn compact(data: &Data) -> String {
    written(data, Style { indent: None, for_html: true })
}

/// Indented by two spaces.
pub fn indented(data: &Data) -> String {
    written(data, Style { indent: Some(2), for_html: true })
}

/// Indented by four spaces and without escapes for HTML: what Docker Compose lists, and is no project.
pub fn listed(data: &Data) -> String {
    written(data, Style { indent: Some(4), for_html: false })
}

#[derive(Clone, Copy)]
struct Style {
    indent: Option<usize>,
    /// `<`, `>` and `&` are escaped.
    for_html: bool,
}

fn written(data: &Data, style: Style) -> String {
    let mut out = String::new();
    write(data, style, 0, &mut out);
    out
}

fn line(style: Style, depth: usize, out: &mut String) {
    if let Some(step) = style.indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', step * depth));
    }
}

fn write(data: &Data, style: Style, depth: usize, out: &mut String) {
    match data {
        Data::Null => out.push_str("null"),
        Data::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Data::Int(i) => _ = write!(out, "{i}"),
        Data::Uint(u) => _ = write!(out, "{u}"),
        Data::Float(f) => out.push_str(&number::json_float(*f)),
        Data::Float32(f) => out.push_str(&number::json_float32(*f)),
        Data::Str(text) => quoted(text, style, out),
        Data::Raw(text) => out.push_str(text),
        Data::List(list) if list.is_empty() => out.push_str("[]"),
        Data::Map(map) if map.is_empty() => out.push_str("{}"),
        Data::List(list) => {
            out.push('[');
            for (i, entry) in list.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                line(style, depth + 1, out);
                write(entry, style, depth + 1, out);
            }
            line(style, depth, out);
            out.push(']');
        }
        Data::Map(map) => {
            out.push('{');
            for (i, (name, value)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                line(style, depth + 1, out);
                quoted(name, style, out);
                out.push(':');
                if style.indent.is_some() {
                    out.push(' ');
                }
                write(value, style, depth + 1, out);
            }
            line(style, depth, out);
            out.push('}');
        }
    }
}

fn quoted(text: &str, style: Style, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' if !style.for_html => out.push(c),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c if u32::from(c) < 0x20 => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
}
