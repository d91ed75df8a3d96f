//! YAML as Go's `yaml.v3` writes it with two spaces of indent: when text is quoted and how, how long text is broken
//! (never), in which order names stand.

use std::cmp::Ordering;

use super::number;
use crate::model::data::Data;
use crate::parse::scalar::is_plain_text;

/// Writes a document. Mappings keep their order; see [`sorted`].
pub fn document(data: &Data) -> String {
    let mut out = String::new();
    match data {
        Data::Map(map) if !map.is_empty() => mapping(map, 0, false, &mut out),
        Data::List(list) if !list.is_empty() => sequence(list, 0, false, &mut out),
        other => {
            scalar(other, 0, false, &mut out);
            end(&mut out);
        }
    }
    out
}

/// Mappings of mappings of scalars, with four spaces of indent: what `yaml.Marshal` writes of its own accord.
pub fn wide(data: &Data) -> String {
    let Data::Map(outer) = data else { return document(data) };
    let mut out = String::new();
    for (name, inner) in outer {
        key(name, 0, &mut out);
        out.push_str(":\n");
        let Data::Map(fields) = inner else { continue };
        for (name, value) in fields {
            pad(4, &mut out);
            key(name, 4, &mut out);
            out.push_str(": ");
            scalar(value, 4, false, &mut out);
            end(&mut out);
        }
    }
    if outer.is_empty() { "{}\n".to_owned() } else { out }
}

/// A mapping's names in the order in which Go's YAML library writes those of its maps.
pub fn sorted(data: &mut Data) {
    match data {
        Data::Map(map) => {
            map.sort_by(|a, b| order(&a.0, &b.0));
            map.iter_mut().for_each(|(_, value)| sorted(value));
        }
        Data::List(list) => list.iter_mut().for_each(sorted),
        _ => {}
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn end(out: &mut String) {
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

/// `inline`: the first name goes on the line that is begun (`- name: …`).
fn mapping(map: &[(String, Data)], indent: usize, inline: bool, out: &mut String) {
    for (i, (name, value)) in map.iter().enumerate() {
        if i > 0 || !inline {
            pad(indent, out);
        }
        key(name, indent, out);
        out.push(':');
        below(value, indent, out);
    }
}

fn key(name: &str, indent: usize, out: &mut String) {
    if name.len() > 128 || name.contains('\n') {
        out.push_str("? ");
        text(name, indent, false, out);
        end(out);
        pad(indent, out);
    } else {
        text(name, indent, true, out);
    }
}

fn below(value: &Data, indent: usize, out: &mut String) {
    match value {
        Data::Map(map) if !map.is_empty() => {
            out.push('\n');
            mapping(map, indent + 2, false, out);
        }
        Data::List(list) if !list.is_empty() => {
            out.push('\n');
            sequence(list, indent + 2, false, out);
        }
        other => {
            out.push(' ');
            scalar(other, indent, false, out);
            end(out);
        }
    }
}

fn sequence(list: &[Data], indent: usize, inline: bool, out: &mut String) {
    for (i, entry) in list.iter().enumerate() {
        if i > 0 || !inline {
            pad(indent, out);
        }
        out.push_str("- ");
        match entry {
            Data::Map(map) if !map.is_empty() => mapping(map, indent + 2, true, out),
            Data::List(list) if !list.is_empty() => sequence(list, indent + 2, true, out),
            other => {
                scalar(other, indent, false, out);
                end(out);
            }
        }
    }
}

fn scalar(data: &Data, indent: usize, simple_key: bool, out: &mut String) {
    match data {
        Data::Null => out.push_str("null"),
        Data::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Data::Int(i) => out.push_str(&i.to_string()),
        Data::Uint(u) => out.push_str(&u.to_string()),
        Data::Float(f) => out.push_str(&float(&number::go_float(*f))),
        Data::Float32(f) => out.push_str(&float(&number::go_float32(*f))),
        Data::Str(s) | Data::Raw(s) => text(s, indent, simple_key, out),
        Data::List(_) => out.push_str("[]"),
        Data::Map(_) => out.push_str("{}"),
    }
}

fn float(text: &str) -> String {
    match text {
        "+Inf" => ".inf".into(),
        "-Inf" => "-.inf".into(),
        "NaN" => ".nan".into(),
        other => other.into(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

fn text(text: &str, indent: usize, simple_key: bool, out: &mut String) {
    match style(text, simple_key) {
        Style::Plain => out.push_str(text),
        Style::Single => {
            out.push('\'');
            out.push_str(&text.replace('\'', "''"));
            out.push('\'');
        }
        Style::Double => double(text, out),
        Style::Literal => literal(text, indent, out),
    }
}

/// What the encoder asks for, and what the emitter makes of it.
fn style(text: &str, simple_key: bool) -> Style {
    let facts = Facts::of(text);
    let wanted = if text.contains('\n') {
        Style::Literal
    } else if is_plain_text(text) && !is_base_60(text) && !is_old_bool(text) {
        Style::Plain
    } else {
        Style::Double
    };
    match wanted {
        Style::Plain if facts.plain => Style::Plain,
        Style::Plain if facts.single => Style::Single,
        Style::Literal if facts.block && !simple_key => Style::Literal,
        _ => Style::Double,
    }
}

/// What the emitter finds out of a text.
struct Facts {
    plain: bool,
    single: bool,
    block: bool,
}

impl Facts {
    fn of(text: &str) -> Facts {
        if text.is_empty() {
            return Facts { plain: true, single: true, block: false };
        }
        let chars: Vec<char> = text.chars().collect();
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut tabs, mut breaks) = (false, false, false);
        let (mut break_space, mut space_break) = (false, false);
        let (mut after_space, mut after_break, mut after_blank) = (false, false, true);
        for (i, &c) in chars.iter().enumerate() {
            let before_blank = chars.get(i + 1).is_none_or(|n| *n == ' ' || *n == '\t');
            indicators |= match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                | '`'
                    if i == 0 =>
                {
                    true
                }
                '?' | ':' | '-' if i == 0 => before_blank,
                ':' => before_blank,
                '#' => after_blank,
                _ => false,
            };
            tabs |= c == '\t';
            special |= c != '\t' && !is_printable(c);
            let (space, line_break) = (c == ' ', is_break(c));
            break_space |= space && after_break;
            space_break |= line_break && after_space;
            breaks |= line_break;
            (after_space, after_break) = (space, line_break);
            after_blank = c == ' ' || c == '\t' || line_break || c == '\0';
        }
        let edge = |c: Option<&char>| c.is_some_and(|c| *c == ' ' || is_break(*c));
        let edges = edge(chars.first()) || edge(chars.last());
        let odd = space_break || tabs || special;
        Facts {
            plain: !(indicators || edges || breaks || break_space || odd),
            single: !(break_space || odd),
            block: !(chars.last() == Some(&' ') || space_break || special),
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What the emitter writes as it is.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && c != '\u{feff}'
}

fn is_base_60(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (body, fraction) = body.split_once('.').unwrap_or((body, ""));
    let mut parts = body.split(':');
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let first = parts.next().is_some_and(|p| p.starts_with(|c: char| c.is_ascii_digit()) && digits(p));
    let mut count = 0;
    let rest = parts.all(|p| {
        count += 1;
        match p.as_bytes() {
            [d] => d.is_ascii_digit(),
            [a, b] => (b'0'..=b'5').contains(a) && b.is_ascii_digit(),
            _ => false,
        }
    });
    first && rest && count > 0 && digits(fraction)
}

fn is_old_bool(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let title = text.len() == 1 || text == lower || text == text.to_ascii_uppercase() || {
        let (first, rest) = text.split_at(1.min(text.len()));
        first == first.to_ascii_uppercase() && rest == rest.to_ascii_lowercase()
    };
    title && matches!(lower.as_str(), "y" | "yes" | "on" | "n" | "no" | "off")
}

fn double(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        let short = match c {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            c if is_printable(c) => {
                out.push(c);
                continue;
            }
            _ => {
                let code = u32::from(c);
                out.push_str(&match code {
                    0..=0xff => format!("\\x{code:02X}"),
                    0x100..=0xffff => format!("\\u{code:04X}"),
                    _ => format!("\\U{code:08X}"),
                });
                continue;
            }
        };
        out.push('\\');
        out.push(short);
    }
    out.push('"');
}

fn literal(text: &str, indent: usize, out: &mut String) {
    out.push('|');
    if text.starts_with(|c| c == ' ' || is_break(c)) {
        out.push('2');
    }
    if !text.ends_with(is_break) {
        out.push('-');
    } else if text.chars().rev().nth(1).is_none_or(is_break) {
        out.push('+');
    }
    out.push('\n');
    let mut fresh = true;
    for c in text.chars() {
        if is_break(c) {
            out.push(c);
            fresh = true;
            continue;
        }
        if fresh {
            pad(indent + 2, out);
            fresh = false;
        }
        out.push(c);
    }
}

/// Natural order: numbers in names by their value, letters after all else.
pub fn order(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    if less(a, b) { Ordering::Less } else { Ordering::Greater }
}

fn less(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let is_digit = char::is_numeric;
    let mut digits = false;
    for i in 0..a.len().min(b.len()) {
        if a[i] == b[i] {
            digits = is_digit(a[i]);
            continue;
        }
        let (al, bl) = (a[i].is_alphabetic(), b[i].is_alphabetic());
        if al && bl {
            return a[i] < b[i];
        }
        if al || bl {
            return if digits { al } else { bl };
        }
        let lead = if a[i] == '0' || b[i] == '0' {
            a[..i].iter().rev().take_while(|c| is_digit(**c)).any(|c| *c != '0')
        } else {
            false
        };
        let number = |chars: &[char]| {
            let run = chars[i..].iter().take_while(|c| is_digit(**c));
            let start = i64::from(lead);
            let value = run.clone().fold(start, |n, c| {
                n.wrapping_mul(10).wrapping_add(i64::from(u32::from(*c)) - i64::from(u32::from('0')))
            });
            (value, run.count())
        };
        let ((an, ai), (bn, bi)) = (number(&a), number(&b));
        if an != bn {
            return an < bn;
        }
        if ai != bi {
            return ai < bi;
        }
        return a[i] < b[i];
    }
    a.len() < b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut out = String::new();
        super::text(text, 0, false, &mut out);
        out
    }

    #[test]
    fn text_is_quoted_where_go_quotes_it() {
        let cases = [
            ("a", "a"),
            ("", "\"\""),
            ("true", "\"true\""),
            ("yes", "\"yes\""),
            ("No", "\"No\""),
            ("yEs", "yEs"),
            ("1", "\"1\""),
            ("80:80", "80:80"),
            ("22:22", "\"22:22\""),
            ("a: b", "'a: b'"),
            ("a #b", "'a #b'"),
            ("*x", "'*x'"),
            ("it's", "it's"),
            ("'x", "'''x'"),
            (" x", "' x'"),
            ("a\tb", "\"a\\tb\""),
            ("-", "'-'"),
            ("-x", "-x"),
            ("2001-01-01", "\"2001-01-01\""),
            ("é", "é"),
            ("a\nb", "|-\n  a\n  b"),
            ("a\n", "|\n  a\n"),
            ("a\n\n", "|+\n  a\n\n"),
            (" a\nb", "|2-\n   a\n  b"),
            ("a \nb", "\"a \\nb\""),
        ];
        for (text, wanted) in cases {
            assert_eq!(shown(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn names_are_in_natural_order() {
        let mut names = vec!["a10", "a2", "b", "a", "A", "a-b", "1", "_x"];
        names.sort_by(|a, b| order(a, b));
        assert_eq!(names, ["_x", "1", "A", "a", "a-b", "a2", "a10", "b"]);
    }
}
