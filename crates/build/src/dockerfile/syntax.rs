//! A logical line to a statement: name, flags and arguments, each with its bytes in the line.

use std::ops::Range;

use crate::dockerfile::error::{Fault, Located};
use crate::dockerfile::heredoc::Heredoc;
use crate::dockerfile::logical::Logical;

/// A word and where it stands in the logical line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) at: Range<usize>,
}

/// A split line.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) line: Logical,
    pub(super) call: Call,
    pub(super) heredocs: Vec<Heredoc>,
}

/// Name, flags and arguments of an instruction.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: Word,
    pub(super) flags: Vec<Word>,
    pub(super) args: Args,
    /// Bytes of everything behind name and flags.
    pub(super) args_at: Range<usize>,
}

/// Arguments, split as the instruction wants them.
#[derive(Debug)]
pub(super) enum Args {
    /// Words; for a shell form there is one, with its blanks.
    Words(Vec<Word>),
    /// A JSON array.
    Json(Vec<Word>),
    /// `name value` or `name=value …`.
    Pairs(Vec<Pair>),
    /// `HEALTHCHECK`: its type and what follows.
    Health(Word, Box<Args>),
    /// `ONBUILD`: the instruction inside.
    Sub(Box<Call>),
}

/// A pair of `ENV` or `LABEL`.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) value: String,
    /// Whether they were joined by `=`.
    pub(super) delimited: bool,
    pub(super) at: Range<usize>,
}

impl Statement {
    /// Whether `<<` can open a heredoc here.
    pub(super) fn takes_heredocs(&self) -> bool {
        let inner = match &self.call.args {
            Args::Sub(call) => call,
            _ => &self.call,
        };
        ["add", "copy", "run"].iter().any(|name| inner.name.text.eq_ignore_ascii_case(name))
            && !matches!(inner.args, Args::Json(_))
    }
}

/// Splits a logical line.
pub(super) fn statement(line: Logical, escape: char) -> Result<Statement, Box<(Logical, Located)>> {
    match call(&line.text, line.whole(), escape) {
        Ok(call) => Ok(Statement { line, call, heredocs: Vec::new() }),
        Err(located) => Err(Box::new((line, located))),
    }
}

fn call(text: &str, at: Range<usize>, escape: char) -> Result<Call, Located> {
    let is_blank = |c: char| matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ');
    let body = &text[at.clone()];
    let name_end = at.start + body.find(is_blank).unwrap_or(body.len());
    let name = Word { text: text[at.start..name_end].to_owned(), at: at.start..name_end };
    let (flags, rest) = flags(text, name_end..at.end, escape);
    let args_at = trimmed(text, rest..at.end);
    let args = arguments(&name.text.to_ascii_lowercase(), text, args_at.clone(), escape)?;
    Ok(Call { name, flags, args, args_at })
}

fn arguments(name: &str, text: &str, at: Range<usize>, escape: char) -> Result<Args, Located> {
    match name {
        "add" | "copy" | "volume" => match json(text, at.clone())? {
            Some(words) => Ok(Args::Json(words)),
            None => Ok(Args::Words(blank_delimited(text, at))),
        },
        "cmd" | "entrypoint" | "run" | "shell" => shell_or_json(text, at),
        "env" => pairs(text, at, "ENV", escape),
        "label" => pairs(text, at, "LABEL", escape),
        "arg" => Ok(Args::Words(quoted_words(text, at, escape))),
        "expose" | "from" => Ok(Args::Words(blank_delimited(text, at))),
        "healthcheck" => health(text, at),
        "onbuild" if !at.is_empty() => Ok(Args::Sub(Box::new(call(text, at, escape)?))),
        _ => Ok(Args::Words(one_word(text, at))),
    }
}

fn trimmed(text: &str, at: Range<usize>) -> Range<usize> {
    let body = &text[at.clone()];
    let start = at.start + (body.len() - body.trim_start().len());
    start..(at.start + body.trim_end().len()).max(start)
}

fn one_word(text: &str, at: Range<usize>) -> Vec<Word> {
    if at.is_empty() { Vec::new() } else { vec![Word { text: text[at.clone()].to_owned(), at }] }
}

/// Words between blanks, quotes without meaning.
fn blank_delimited(text: &str, at: Range<usize>) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    for (i, c) in text[at.clone()].char_indices().chain([(at.len(), ' ')]) {
        let here = at.start + i;
        match (matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' '), start) {
            (false, None) => start = Some(here),
            (true, Some(from)) => {
                words.push(Word { text: text[from..here].to_owned(), at: from..here });
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// Words between blanks; quotes and escapes protect blanks and are kept.
fn quoted_words(text: &str, at: Range<usize>, escape: char) -> Vec<Word> {
    let mut words = Vec::new();
    let mut chars = text[at.clone()].char_indices().map(|(i, c)| (at.start + i, c)).peekable();
    while let Some(&(start, c)) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = String::new();
        let mut quote = None;
        let mut end = at.end;
        while let Some(&(here, c)) = chars.peek() {
            if quote.is_none() && c.is_whitespace() {
                end = here;
                break;
            }
            chars.next();
            if c == escape && quote != Some('\'') {
                // At the end of the line it means nothing; else it and its successor are kept for expansion.
                let Some((_, escaped)) = chars.next() else { continue };
                word.push(c);
                word.push(escaped);
                continue;
            }
            match quote {
                Some(open) if open == c => quote = None,
                None if c == '\'' || c == '"' => quote = Some(c),
                _ => {}
            }
            word.push(c);
        }
        if !word.is_empty() {
            words.push(Word { text: word, at: start..end });
        }
    }
    words
}

fn pairs(text: &str, at: Range<usize>, name: &'static str, escape: char) -> Result<Args, Located> {
    let words = quoted_words(text, at.clone(), escape);
    let Some(first) = words.first() else { return Ok(Args::Pairs(Vec::new())) };
    if !first.text.contains('=') {
        return single_pair(text, at, name);
    }
    let mut pairs = Vec::new();
    for word in words {
        let Some((key, value)) = word.text.split_once('=') else {
            return Err(Fault::MissingEquals(word.text.clone()).at(word.at));
        };
        pairs.push(Pair {
            key: key.to_owned(),
            value: value.to_owned(),
            delimited: true,
            at: word.at.clone(),
        });
    }
    Ok(Args::Pairs(pairs))
}

/// The old form: everything behind the first blank is the value.
fn single_pair(text: &str, at: Range<usize>, name: &'static str) -> Result<Args, Located> {
    let is_blank = |c: char| matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ');
    let body = &text[at.clone()];
    let Some((key, value)) = body.split_once(is_blank) else {
        return Err(Fault::TwoArguments(name).at(at));
    };
    let value = value.trim_start_matches(is_blank).to_owned();
    Ok(Args::Pairs(vec![Pair { key: key.to_owned(), value, delimited: false, at }]))
}

fn shell_or_json(text: &str, at: Range<usize>) -> Result<Args, Located> {
    if at.is_empty() {
        return Ok(Args::Words(Vec::new()));
    }
    match json(text, at.clone())? {
        Some(words) => Ok(Args::Json(words)),
        None => Ok(Args::Words(one_word(text, at))),
    }
}

fn health(text: &str, at: Range<usize>) -> Result<Args, Located> {
    let body = &text[at.clone()];
    let end = at.start + body.find(char::is_whitespace).unwrap_or(body.len());
    if end == at.start {
        return Ok(Args::Words(Vec::new()));
    }
    let kind = Word { text: text[at.start..end].to_owned(), at: at.start..end };
    let rest = shell_or_json(text, trimmed(text, end..at.end))?;
    Ok(Args::Health(kind, Box::new(rest)))
}

/// A JSON array of strings; `None` if the text is no JSON array at all and has to be taken as it is.
fn json(text: &str, at: Range<usize>) -> Result<Option<Vec<Word>>, Located> {
    let body = &text[at.clone()];
    if !body.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(body) else { return Ok(None) };
    let mut words = Vec::new();
    for value in values {
        match value {
            serde_json::Value::String(text) => words.push(Word { text, at: at.clone() }),
            _ => return Err(Fault::JsonNotStrings.at(at)),
        }
    }
    Ok(Some(words))
}

/// The `--flags` in front of the arguments, and where the rest begins. Quotes and escapes are taken off.
fn flags(text: &str, at: Range<usize>, escape: char) -> (Vec<Word>, usize) {
    let mut flags = Vec::new();
    let mut from = at.start;
    loop {
        let rest = &text[from..at.end];
        let start = from + (rest.len() - rest.trim_start().len());
        if !text[start..at.end].starts_with("--") {
            return (flags, start);
        }
        let (word, end, blank_ok) = flag(text, start..at.end, escape);
        if word == "--" {
            return (flags, end);
        }
        if blank_ok || !word.is_empty() {
            flags.push(Word { text: word, at: start..end });
        }
        from = end;
    }
}

/// One flag: its text, where it ends, and whether it had quotes.
fn flag(text: &str, at: Range<usize>, escape: char) -> (String, usize, bool) {
    let mut word = String::new();
    let mut quote = None;
    let mut quoted = false;
    let mut chars = text[at.clone()].char_indices();
    while let Some((i, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, at.start + i, quoted),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                quoted = true;
            }
            Some(open) if open == c => quote = None,
            _ if c == escape => word.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => word.push(c),
        }
    }
    (word, at.end, quoted)
}
