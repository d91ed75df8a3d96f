//! Splits a template into text and the tokens of its actions.

use super::Error;

/// A token, with the byte where it begins and ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.Name`
    Field(String),
    /// `.` alone
    Dot,
    /// `$` or `$name`
    Variable(String),
    /// A function's name.
    Identifier(String),
    /// `if`, `range`, `end`, …
    Keyword(&'static str),
    /// A quoted or raw string, unquoted.
    Str(String),
    /// A number as written.
    Int(i128),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`
    Bool(bool),
    /// `|`
    Pipe,
    /// `(`
    Left,
    /// `)`
    Right,
    /// `,`
    Comma,
    /// `=`
    Assign,
    /// `:=`
    Declare,
    /// White space between arguments.
    Space,
}

const KEYWORDS: &[&str] =
    &["if", "else", "end", "range", "with", "define", "template", "block", "break", "continue", "nil"];

/// The line of a byte, from 1.
pub fn line_of(source: &str, at: usize) -> usize {
    source.as_bytes()[..at.min(source.len())].iter().filter(|b| **b == b'\n').count() + 1
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

/// Splits the whole template.
///
/// # Errors
/// An action that does not end, an unterminated string, a character that no token begins with.
pub fn lex(source: &str) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer { source, at: 0, tokens: Vec::new() };
    lexer.text()?;
    Ok(lexer.tokens)
}

impl Lexer<'_> {
    fn fail<T>(&self, what: impl Into<String>) -> Result<T, Error> {
        Err(Error::Parse { line: line_of(self.source, self.at), what: what.into() })
    }

    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn push(&mut self, kind: Kind, start: usize) {
        self.tokens.push(Token { kind, start, end: self.at });
    }

    fn text(&mut self) -> Result<(), Error> {
        let mut trim_left = false;
        loop {
            let start = self.at;
            let rest = self.rest().to_owned();
            let found = rest.find("{{");
            let mut text = &rest[..found.unwrap_or(rest.len())];
            if trim_left {
                text = text.trim_start_matches([' ', '\t', '\r', '\n']);
            }
            let Some(open) = found else {
                self.at = self.source.len();
                if !text.is_empty() {
                    self.push(Kind::Text(text.to_owned()), start);
                }
                return Ok(());
            };
            let mut inner = open + 2;
            let bytes = rest.as_bytes();
            if bytes.get(inner) == Some(&b'-') && bytes.get(inner + 1).is_some_and(|b| b" \t\r\n".contains(b))
            {
                text = text.trim_end_matches([' ', '\t', '\r', '\n']);
                inner += 2;
            }
            if !text.is_empty() {
                self.push(Kind::Text(text.to_owned()), start);
            }
            self.at = start + inner;
            trim_left =
                if rest[inner..].starts_with("/*") { self.comment()? } else { self.action(start + open)? };
        }
    }

    fn comment(&mut self) -> Result<bool, Error> {
        let Some(end) = self.rest().find("*/") else { return self.fail("unclosed comment") };
        self.at += end + 2;
        let trim = self.rest().starts_with(" -}}")
            || self.rest().starts_with("\t-}}")
            || self.rest().starts_with("\n-}}");
        if trim {
            self.at += 4;
        } else if self.rest().starts_with("}}") {
            self.at += 2;
        } else {
            return self.fail("comment ends before closing delimiter");
        }
        Ok(trim)
    }

    /// One action up to and with its `}}`; says whether the text after it is trimmed.
    fn action(&mut self, open: usize) -> Result<bool, Error> {
        self.push(Kind::Open, open);
        let mut parens = 0usize;
        loop {
            let start = self.at;
            let rest = self.rest();
            let Some(c) = rest.chars().next() else { return self.fail("unclosed action") };
            let space = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            if space > 0 {
                if rest[space..].starts_with("-}}") {
                    self.at += space + 3;
                    return self.close(parens, start).map(|()| true);
                }
                self.at += space;
                self.push(Kind::Space, start);
                continue;
            }
            if rest.starts_with("}}") {
                self.at += 2;
                return self.close(parens, start).map(|()| false);
            }
            match c {
                '(' => parens += 1,
                ')' if parens == 0 => return self.fail("unexpected right paren"),
                ')' => parens -= 1,
                _ => {}
            }
            self.token(c, start)?;
        }
    }

    fn close(&mut self, parens: usize, start: usize) -> Result<(), Error> {
        if parens > 0 {
            return self.fail("unclosed left paren");
        }
        self.push(Kind::Close, start);
        Ok(())
    }

    fn token(&mut self, c: char, start: usize) -> Result<(), Error> {
        let next = self.rest()[c.len_utf8()..].chars().next();
        match c {
            '"' => self.quoted(start),
            '`' => self.raw(start),
            '\'' => self.character(start),
            '$' => {
                self.at += 1;
                let name = self.word();
                self.push(Kind::Variable(format!("${name}")), start);
                self.terminator()
            }
            '.' if next.is_none_or(|n| !n.is_ascii_digit()) => {
                self.at += 1;
                let name = self.word();
                let kind = if name.is_empty() { Kind::Dot } else { Kind::Field(name) };
                self.push(kind, start);
                self.terminator()
            }
            ':' if next == Some('=') => self.symbol(2, Kind::Declare, start),
            ':' => self.fail("expected :="),
            '|' => self.symbol(1, Kind::Pipe, start),
            '(' => self.symbol(1, Kind::Left, start),
            ')' => self.symbol(1, Kind::Right, start),
            ',' => self.symbol(1, Kind::Comma, start),
            '=' => self.symbol(1, Kind::Assign, start),
            '+' | '-' | '.' | '0'..='9' => self.number(start),
            c if c.is_alphanumeric() || c == '_' => self.identifier(start),
            c => self.fail(format!("unexpected bad character U+{:04X}{} in command", c as u32, shown(c))),
        }
    }

    fn symbol(&mut self, len: usize, kind: Kind, start: usize) -> Result<(), Error> {
        self.at += len;
        self.push(kind, start);
        Ok(())
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let len = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let word = rest[..len].to_owned();
        self.at += len;
        word
    }

    /// A name must be followed by something that ends it.
    fn terminator(&self) -> Result<(), Error> {
        match self.rest().chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(' | '=') => Ok(()),
            _ if self.rest().starts_with("}}") => Ok(()),
            Some(c) => {
                self.fail(format!("unexpected bad character U+{:04X}{} in command", c as u32, shown(c)))
            }
        }
    }

    fn identifier(&mut self, start: usize) -> Result<(), Error> {
        let word = self.word();
        self.terminator()?;
        let kind = match word.as_str() {
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            w => match KEYWORDS.iter().find(|k| **k == w) {
                Some(k) => Kind::Keyword(k),
                None => Kind::Identifier(word),
            },
        };
        self.push(kind, start);
        Ok(())
    }

    fn number(&mut self, start: usize) -> Result<(), Error> {
        let rest = self.rest();
        let len = rest
            .char_indices()
            .find(|(i, c)| {
                !(c.is_alphanumeric()
                    || *c == '.'
                    || *c == '_'
                    || (matches!(c, '+' | '-') && (*i == 0 || rest[..*i].ends_with(['e', 'E']))))
            })
            .map_or(rest.len(), |(i, _)| i);
        let text = rest[..len].to_owned();
        let Some(kind) = number(&text) else { return self.fail(format!("bad number syntax: \"{text}\"")) };
        self.at += len;
        self.push(kind, start);
        Ok(())
    }

    fn raw(&mut self, start: usize) -> Result<(), Error> {
        let Some(len) = self.rest()[1..].find('`') else {
            return self.fail("unterminated raw quoted string");
        };
        let text = self.rest()[1..=len].to_owned();
        self.at += len + 2;
        self.push(Kind::Str(text), start);
        Ok(())
    }

    fn quoted(&mut self, start: usize) -> Result<(), Error> {
        let Some((text, len)) = unquote(self.rest(), '"') else {
            return self.fail("unterminated quoted string");
        };
        self.at += len;
        self.push(Kind::Str(text), start);
        Ok(())
    }

    fn character(&mut self, start: usize) -> Result<(), Error> {
        let Some((text, len)) = unquote(self.rest(), '\'') else {
            return self.fail("unterminated character constant");
        };
        let mut chars = text.chars();
        let (Some(c), None) = (chars.next(), chars.next()) else {
            return self.fail(format!("malformed character constant: '{text}'"));
        };
        self.at += len;
        self.push(Kind::Int(i128::from(c as u32)), start);
        Ok(())
    }
}

fn shown(c: char) -> String {
    if c.is_control() { String::new() } else { format!(" '{c}'") }
}

fn number(text: &str) -> Option<Kind> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(d) => (-1, d),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix = |r, d: &str| i128::from_str_radix(d, r).ok().map(|i| Kind::Int(sign * i));
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return radix(16, hex);
    }
    if let Some(bin) = digits.strip_prefix("0b") {
        return radix(2, bin);
    }
    if let Some(oct) = digits.strip_prefix("0o") {
        return radix(8, oct);
    }
    if let Ok(i) = digits.parse::<i128>() {
        return Some(Kind::Int(sign * i));
    }
    if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        let f: f64 = plain.parse().ok()?;
        return Some(Kind::Float(f));
    }
    None
}

/// The content of a quoted text and how many bytes it took.
fn unquote(text: &str, quote: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        if c == quote {
            return Some((out, i + c.len_utf8()));
        }
        if c == '\n' {
            return None;
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let (_, e) = chars.next()?;
        match e {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'v' => out.push('\u{b}'),
            'x' | 'u' | 'U' => {
                let len = match e {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let digits: String = chars.by_ref().take(len).map(|(_, c)| c).collect();
                out.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
            }
            c => out.push(c),
        }
    }
    None
}
