//! One line of comma-separated values, as Go's csv reader splits it and writes it.

/// The fields of a line.
///
/// # Errors
/// A quote where none may be, or one that does not end.
pub fn fields(line: &str) -> Result<Vec<String>, String> {
    separated(line, ',')
}

/// The fields of a line with another separator.
///
/// # Errors
/// As [`fields`].
pub fn separated(line: &str, separator: char) -> Result<Vec<String>, String> {
    const QUOTED: &str = "parse error on line 1: extraneous or missing \" in quoted-field";
    let mut fields = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        let mut field = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next().ok_or(QUOTED)? {
                    '"' if chars.next_if_eq(&'"').is_some() => field.push('"'),
                    '"' => break,
                    c => field.push(c),
                }
            }
            if chars.peek().is_some_and(|c| *c != separator) {
                return Err(QUOTED.to_owned());
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != separator) {
                if c == '"' {
                    return Err("parse error on line 1: bare \" in non-quoted field".to_owned());
                }
                field.push(c);
            }
        }
        fields.push(field);
        if chars.next().is_none() {
            return Ok(fields);
        }
    }
}

/// `key=value` pairs as one line.
pub fn line<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let quoted = |(key, value): (&str, &str)| {
        let pair = format!("{key}={value}");
        match pair.contains([',', '"', '\n']) {
            true => format!("\"{}\"", pair.replace('"', "\"\"")),
            false => pair,
        }
    };
    pairs.into_iter().map(quoted).collect::<Vec<_>>().join(",")
}
