//! Env files: `.env` and `env_file`, by the rules of Compose: `export`, quotes of both kinds, escapes in double
//! quotes, comments after ` #`, values over several lines in quotes, variables of the environment and of lines above.

use std::collections::BTreeMap;

use super::allowance::Allowance;
use super::template::{self, Lookup};

/// Why an env file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name has a space in it.
    #[error("line {line}: key cannot contain a space")]
    Space {
        /// Where.
        line: usize,
    },
    /// A name has a character that no name has.
    #[error("line {line}: unexpected character {character:?} in variable name {text:?}")]
    Name {
        /// Where.
        line: usize,
        /// The character.
        character: String,
        /// The line's text.
        text: String,
    },
    /// A quote that nothing closes.
    #[error("line {line}: unterminated quoted value {text}")]
    Quote {
        /// Where.
        line: usize,
        /// From the quote on.
        text: String,
    },
    /// Nothing stands where a name is wanted.
    #[error("zero length string")]
    Empty,
    /// A value's variables.
    #[error(transparent)]
    Template(#[from] template::Error),
}

/// Adds the variables of a text to those that are there. `outer` is asked first for what values refer to.
///
/// # Errors
/// A name or a value is none; the line is named.
pub fn parse(text: &str, vars: &mut BTreeMap<String, String>, outer: &dyn Lookup) -> Result<(), Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1 };
    while reader.go_to_statement() {
        let (key, inherited) = reader.key()?;
        if key.contains(' ') {
            return Err(Error::Space { line: reader.line });
        }
        if inherited {
            if let Some(value) = outer.get(&key) {
                vars.insert(key, value);
            }
            continue;
        }
        let value = reader.value(vars, outer)?;
        vars.insert(key, value);
    }
    Ok(())
}

/// Space that does not end a line.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Goes to the next statement, past empty lines and comments.
    fn go_to_statement(&mut self) -> bool {
        loop {
            let trimmed = self.rest.trim_start();
            self.line += self.rest[..self.rest.len() - trimmed.len()].matches('\n').count();
            self.rest = trimmed;
            if !trimmed.starts_with('#') {
                return !trimmed.is_empty();
            }
            match trimmed.find('\n') {
                Some(end) => self.rest = &trimmed[end..],
                None => return false,
            }
        }
    }

    /// A name, and whether its value is the environment's.
    fn key(&mut self) -> Result<(String, bool), Error> {
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with(|c: char| c.is_whitespace())
        {
            self.rest = after.trim_start_matches(is_space);
        }
        let src = self.rest;
        let mut end = None;
        for (i, c) in src.char_indices() {
            match c {
                c if is_space(c) => {}
                '=' | ':' | '\n' => {
                    end = Some((i, c));
                    break;
                }
                '_' | '.' | '-' | '[' | ']' => {}
                c if c.is_alphanumeric() => {}
                c => {
                    let text = src.split('\n').next().unwrap_or(src).to_owned();
                    return Err(Error::Name { line: self.line, character: c.to_string(), text });
                }
            }
        }
        if src.is_empty() {
            return Err(Error::Empty);
        }
        let Some((i, separator)) = end else {
            // The text ends in a name: Docker Compose takes it for the value of a variable without a name.
            self.rest = src.trim_start_matches(is_space);
            return Ok((String::new(), false));
        };
        let inherited = separator == '\n';
        let key = src[..i].trim_end().to_owned();
        if inherited && !key.contains(' ') {
            self.line += 1;
        }
        self.rest = src[i + 1..].trim_start_matches(is_space);
        Ok((key, inherited))
    }

    fn value(&mut self, vars: &BTreeMap<String, String>, outer: &dyn Lookup) -> Result<String, Error> {
        let scope = Scope { vars, outer };
        match self.rest.as_bytes().first() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(*quote, &scope),
            _ => {
                let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
                self.rest = rest;
                self.line += 1;
                let value = line.split_once(" #").map_or(line, |(value, _)| value).trim_end();
                Ok(template::substitute(value, &scope)?)
            }
        }
    }

    fn quoted(&mut self, quote: u8, scope: &Scope<'_>) -> Result<String, Error> {
        let bytes = self.rest.as_bytes();
        let mut text = Vec::new();
        let mut escaped = false;
        for (i, &byte) in bytes.iter().enumerate().skip(1) {
            if byte == b'\n' {
                self.line += 1;
            }
            if byte == quote && !escaped {
                let text = String::from_utf8_lossy(&text).into_owned();
                self.rest = &self.rest[i + 1..];
                if quote == b'"' {
                    return Ok(template::substitute(&unescape(&text), scope)?);
                }
                return Ok(text);
            }
            if byte != quote && !escaped && byte == b'\\' {
                escaped = true;
                continue;
            }
            if escaped && byte != quote {
                text.push(b'\\');
            }
            escaped = false;
            text.push(byte);
        }
        let text = self.rest.split('\n').next().unwrap_or_default().to_owned();
        Err(Error::Quote { line: self.line, text })
    }
}

/// The environment around, then what the file has said so far.
struct Scope<'a> {
    vars: &'a BTreeMap<String, String>,
    outer: &'a dyn Lookup,
}

impl Lookup for Scope<'_> {
    fn allowance(&self) -> &Allowance {
        self.outer.allowance()
    }

    fn get(&self, name: &str) -> Option<String> {
        self.outer.get(name).or_else(|| self.vars.get(name).cloned())
    }

    fn missing(&self, name: &str) {
        self.outer.missing(name);
    }
}

/// The escapes of double quotes: `\n` and its like, `\0123` octal; `\$` becomes `$$`, a dollar of its own.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let simple = match chars.peek() {
            Some('a') => Some("\u{7}"),
            Some('b') => Some("\u{8}"),
            Some('c') => Some("\\c"),
            Some('f') => Some("\u{c}"),
            Some('n') => Some("\n"),
            Some('r') => Some("\r"),
            Some('t') => Some("\t"),
            Some('v') => Some("\u{b}"),
            Some('$') => Some("$$"),
            Some('"') => Some("\""),
            Some('\\') => Some("\\"),
            _ => None,
        };
        if let Some(simple) = simple {
            chars.next();
            out.push_str(simple);
            continue;
        }
        if chars.peek() == Some(&'0') {
            chars.next();
            out.push_str(&octal(&mut chars));
            continue;
        }
        out.push('\\');
    }
    out
}

/// `\0` and up to three digits; three are a byte, fewer stay as they are.
fn octal(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut digits = String::new();
    while digits.len() < 3
        && let Some(d) = chars.next_if(char::is_ascii_digit)
    {
        digits.push(d);
    }
    match (digits.len(), u32::from_str_radix(&digits, 8)) {
        (3, Ok(code)) if code <= 255 => char::from_u32(code).map(String::from).unwrap_or_default(),
        _ => format!("\\0{digits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Outer(Allowance);

    impl Lookup for Outer {
        fn allowance(&self) -> &Allowance {
            &self.0
        }
        fn get(&self, name: &str) -> Option<String> {
            (name == "OUTER").then(|| "outer".to_owned())
        }
        fn missing(&self, _: &str) {}
    }

    fn read(text: &str) -> Result<BTreeMap<String, String>, Error> {
        let mut vars = BTreeMap::new();
        parse(text, &mut vars, &Outer(Allowance::new(1 << 20))).map(|()| vars)
    }

    #[test]
    fn values_of_all_forms() {
        let text = "\u{feff}# comment\n\nA=1\nexport B = two words # not this\nC='sin$gle #'\nD=\"x\\n$A\\$A\"\nE: yaml\n\
                    F=\nG=\"a\nb\"\nOUTER\nMISSING\nH=${A}-${OUTER}-${Z:-z}\nI=a#b\nJ=\"q\\\"q\"\nK=\"\\0101\"\nL='it\\'s'\n";
        let vars = read(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "sin$gle #"),
            ("D", "x\n1$A"),
            ("E", "yaml"),
            ("F", ""),
            ("G", "a\nb"),
            ("H", "1-outer-z"),
            ("I", "a#b"),
            ("J", "q\"q"),
            ("K", "A"),
            ("L", "it's"),
            ("OUTER", "outer"),
        ];
        let got: Vec<(&str, &str)> = vars.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn lines_that_double_come_to_an_end() {
        let mut text = String::from("A0=ab\n");
        for i in 1..64 {
            text.push_str(&format!("A{i}=$A{0}$A{0}\n", i - 1));
        }
        assert_eq!(read(&text).unwrap_err(), Error::Template(template::Error::TooLong));
    }

    #[test]
    fn lines_are_named() {
        assert_eq!(
            read("A=1\nB!=2\n").unwrap_err().to_string(),
            "line 2: unexpected character \"!\" in variable name \"B!=2\""
        );
        assert_eq!(read("A=1\n\nB='x\n").unwrap_err().to_string(), "line 4: unterminated quoted value 'x");
        assert_eq!(read("A B=1\n").unwrap_err().to_string(), "line 1: key cannot contain a space");
    }
}
