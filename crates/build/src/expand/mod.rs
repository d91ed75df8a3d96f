//! Expansion of variables in the words of a Dockerfile: `$x`, `${x}` and its modifiers, quotes and escapes.
//!
//! It behaves as BuildKit's shell lexer does, which is close to a shell but not one: quotes are removed, `\x` is
//! `x` outside of quotes, an unset variable is empty. The grammar, from a word's point of view:
//!
//! ```text
//! $x ${x}                 the value
//! ${x:-w} ${x-w}          w if x is unset (with `:` also if empty)
//! ${x:+w} ${x+w}          w if x is set (with `:` and not empty), else nothing
//! ${x:?w} ${x?w}          an error that says w if x is unset (with `:` or empty)
//! ${x#p} ${x##p}          the value without the shortest / longest prefix that matches p
//! ${x%p} ${x%%p}          the same for suffixes
//! ${x/p/r} ${x//p/r}      the first / every match of p replaced by r
//! ```
//!
//! `w` is expanded itself; in `p`, `*` stands for any text and `?` for any character.

mod pattern;

use std::collections::BTreeMap;

use pattern::Pattern;

/// Where variables come from.
pub trait Env {
    /// The value of `name`, or `None` if it is not set.
    fn get(&self, name: &str) -> Option<&str>;

    /// Called after each word, for those who note which names it asks for.
    fn end_of_word(&self) {}
}

impl Env for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        BTreeMap::get(self, name).map(String::as_str)
    }
}

/// No variables at all.
pub struct NoEnv;

impl Env for NoEnv {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// Why a word could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A `'` or `"` without its end.
    #[error("unexpected end of statement while looking for matching {0}")]
    Unterminated(&'static str),
    /// A `${` without `}`.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// A `${x/` without second `/`.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// Nothing that could be a name after `${`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// An unknown modifier after the name.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// `${x?message}` of an unset variable.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the Dockerfile says about it.
        message: String,
    },
    /// A pattern with a bad escape.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    Pattern {
        /// The pattern as written.
        pattern: String,
        /// The character that cannot be escaped.
        escaped: char,
    },
    /// Any of these, with the whole word.
    #[error("failed to process {word:?}: {source}")]
    InWord {
        /// The word.
        word: String,
        /// What is wrong in it.
        source: Box<ExpandError>,
    },
}

/// How words are read. The default removes quotes and escapes and treats unset variables as empty.
#[derive(Clone, Copy, Debug)]
pub struct Expander {
    /// The escape character: `\` or, by directive, `` ` ``.
    pub escape: char,
    /// Keep quotes.
    pub raw_quotes: bool,
    /// Keep escapes.
    pub raw_escapes: bool,
    /// Treat quotes as any other character (for the content of heredocs).
    pub ignore_quotes: bool,
    /// Leave references to unset variables as written.
    pub keep_unset: bool,
}

impl Expander {
    /// An expander with the given escape character.
    pub fn new(escape: char) -> Self {
        Expander { escape, raw_quotes: false, raw_escapes: false, ignore_quotes: false, keep_unset: false }
    }

    /// Expands `text` to one word: blanks stay as they are.
    ///
    /// # Errors
    /// When `text` is malformed or a required variable is missing.
    pub fn word(&self, text: &str, env: &dyn Env) -> Result<String, ExpandError> {
        Ok(self.expand(text, env)?.0)
    }

    /// Expands `text` and splits the result at unquoted blanks. Empty words vanish.
    ///
    /// # Errors
    /// When `text` is malformed or a required variable is missing.
    pub fn words(&self, text: &str, env: &dyn Env) -> Result<Vec<String>, ExpandError> {
        Ok(self.expand(text, env)?.1)
    }

    fn expand(&self, text: &str, env: &dyn Env) -> Result<(String, Vec<String>), ExpandError> {
        let chars: Vec<char> = text.chars().collect();
        let mut scanner = Scanner { rules: *self, env, chars: &chars, at: 0, depth: 0 };
        let expanded = scanner.until(None, self.raw_escapes);
        env.end_of_word();
        expanded.map_err(|error| ExpandError::InWord { word: text.to_owned(), source: Box::new(error) })
    }
}

/// How deep `${x:-${y:-…}}` may nest; no Dockerfile comes near, and it keeps the stack bounded.
const MAX_DEPTH: usize = 200;

struct Scanner<'a> {
    rules: Expander,
    env: &'a dyn Env,
    chars: &'a [char],
    at: usize,
    depth: usize,
}

/// Collects words while the text is expanded.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
    in_word: bool,
}

impl Words {
    /// A character that ends the word if it is blank.
    fn push(&mut self, c: char) {
        if !c.is_whitespace() {
            self.push_raw(c);
        } else if self.in_word && !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
            self.in_word = false;
        }
    }

    fn push_raw(&mut self, c: char) {
        self.current.push(c);
        self.in_word = true;
    }

    fn push_str(&mut self, text: &str) {
        text.chars().for_each(|c| self.push(c));
    }

    fn push_raw_str(&mut self, text: &str) {
        self.current.push_str(text);
        self.in_word = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Expands up to `stop` (which is consumed) or to the end of the text.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>), ExpandError> {
        let outer = std::mem::replace(&mut self.rules.raw_escapes, raw_escapes);
        self.depth += 1;
        let result =
            if self.depth > MAX_DEPTH { Err(ExpandError::BadSubstitution) } else { self.until_inner(stop) };
        self.depth -= 1;
        self.rules.raw_escapes = outer;
        result
    }

    fn until_inner(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ExpandError> {
        let mut result = String::new();
        let mut words = Words::default();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.next();
                return Ok((result, words.finish()));
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    words.push_str(&value);
                    result.push_str(&value);
                }
                '<' => {
                    let text = self.less_than();
                    words.push_raw_str(&text);
                    result.push_str(&text);
                }
                '\'' | '"' if !self.rules.ignore_quotes => {
                    let text = if c == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    words.push_raw_str(&text);
                    result.push_str(&text);
                }
                _ => self.plain(c, &mut result, &mut words),
            }
        }
        match stop {
            None => Ok((result, words.finish())),
            Some('/') => Err(ExpandError::Unterminated("/")),
            Some(_) => Err(ExpandError::Unterminated("}")),
        }
    }

    /// A character without meaning, or the escape character and what it escapes.
    fn plain(&mut self, c: char, result: &mut String, words: &mut Words) {
        self.next();
        if c != self.rules.escape {
            words.push(c);
            result.push(c);
            return;
        }
        if self.rules.raw_escapes {
            words.push_raw(c);
            result.push(c);
        }
        if let Some(escaped) = self.next() {
            words.push_raw(escaped);
            result.push(escaped);
        }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        self.next();
        let start = self.at;
        while let Some(c) = self.next() {
            if c == '\'' {
                let text: String = self.chars[start..self.at - 1].iter().collect();
                return Ok(if self.rules.raw_quotes { format!("'{text}'") } else { text });
            }
        }
        Err(ExpandError::Unterminated("single-quote"))
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        self.next();
        let mut result = String::new();
        if self.rules.raw_quotes {
            result.push('"');
        }
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.next();
                    if self.rules.raw_quotes {
                        result.push('"');
                    }
                    return Ok(result);
                }
                '$' => result.push_str(&self.dollar()?),
                _ => {
                    self.next();
                    self.in_double_quotes(c, &mut result);
                }
            }
        }
        Err(ExpandError::Unterminated("double-quote"))
    }

    /// Inside double quotes only `"`, `$` and the escape character can be escaped; before anything else the
    /// escape character stands for itself.
    fn in_double_quotes(&mut self, c: char, result: &mut String) {
        if c != self.rules.escape {
            result.push(c);
            return;
        }
        if self.rules.raw_escapes {
            result.push(c);
        }
        match self.peek() {
            None => {}
            Some(escaped) if escaped == '"' || escaped == '$' || escaped == self.rules.escape => {
                self.next();
                result.push(escaped);
            }
            Some(_) => result.push(c),
        }
    }

    /// `<<` and the blanks after it belong to the word: `<< EOF` names one heredoc.
    fn less_than(&mut self) -> String {
        self.next();
        if self.peek() != Some('<') {
            return "<".to_owned();
        }
        self.next();
        let mut text = "<<".to_owned();
        while let Some(c @ ('\t' | '\r' | ' ')) = self.peek() {
            self.next();
            text.push(c);
        }
        text
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.env.get(&name) {
                Some(value) => value.to_owned(),
                None if self.rules.keep_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err(ExpandError::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        self.braced(&name)
    }

    /// What follows the name in `${name`.
    fn braced(&mut self, name: &str) -> Result<String, ExpandError> {
        match self.next() {
            Some('}') => Ok(match self.env.get(name) {
                Some(value) => value.to_owned(),
                None if self.rules.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => {
                let operator = self.next();
                self.modified(name, operator, true)
            }
            Some('/') => self.replaced(name),
            operator @ Some('+' | '-' | '?' | '#' | '%') => self.modified(name, operator, false),
            other => Err(ExpandError::Modifier(shown(other))),
        }
    }

    fn modified(&mut self, name: &str, operator: Option<char>, colon: bool) -> Result<String, ExpandError> {
        let modifier = format!("{}{}", if colon { ":" } else { "" }, shown(operator));
        let is_pattern = matches!(operator, Some('#' | '%'));
        if colon && is_pattern {
            return Err(ExpandError::Modifier(modifier));
        }
        let word = self.operand('}', is_pattern, ExpandError::MissingBrace)?;
        let value = self.env.get(name);
        if self.rules.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        }
        let present = value.filter(|value| !(colon && value.is_empty()));
        match operator {
            Some('-') => Ok(present.map_or(word, str::to_owned)),
            Some('+') => Ok(present.map_or(String::new(), |_| word)),
            Some('?') => match present {
                Some(value) => Ok(value.to_owned()),
                None => Err(required(name, word, value.is_none())),
            },
            Some(operator @ ('#' | '%')) => trimmed(value.unwrap_or_default(), operator, &word),
            _ => Err(ExpandError::Modifier(modifier)),
        }
    }

    /// `${name/pattern/replacement}`, from after the first slash.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.operand('/', true, ExpandError::MissingSlash)?;
        let replacement = self.operand('}', true, ExpandError::MissingBrace)?;
        match self.env.get(name) {
            None if self.rules.keep_unset => Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => Ok(compile(&pattern)?.replace(value.unwrap_or_default(), &replacement, all)),
        }
    }

    fn operand(&mut self, stop: char, raw: bool, at_end: ExpandError) -> Result<String, ExpandError> {
        match self.until(Some(stop), raw) {
            Ok((word, _)) => Ok(word),
            Err(_) if self.peek().is_none() => Err(at_end),
            Err(error) => Err(error),
        }
    }

    /// Reads a name: letters, digits and `_`; a number; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(c) if c.is_numeric() => {
                while self.peek().is_some_and(char::is_numeric) {
                    self.next();
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                self.next();
            }
            _ => {
                while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    self.next();
                }
            }
        }
        self.chars[start..self.at].iter().collect()
    }
}

fn shown(c: Option<char>) -> String {
    c.unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
}

fn required(name: &str, word: String, unset: bool) -> ExpandError {
    let message = match (word.is_empty(), unset) {
        (false, _) => word,
        (true, true) => "is not allowed to be unset".to_owned(),
        (true, false) => "is not allowed to be empty".to_owned(),
    };
    ExpandError::Required { name: name.to_owned(), message }
}

/// `${x#p}` and `${x%p}`; a doubled operator asks for the longest match.
fn trimmed(value: &str, operator: char, word: &str) -> Result<String, ExpandError> {
    let (longest, pattern) = match word.strip_prefix(operator) {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let pattern = compile(pattern)?;
    Ok(if operator == '#' {
        pattern.without_prefix(value, longest)
    } else {
        pattern.without_suffix(value, longest)
    })
}

fn compile(pattern: &str) -> Result<Pattern, ExpandError> {
    Pattern::parse(pattern).map_err(|escaped| ExpandError::Pattern { pattern: pattern.to_owned(), escaped })
}

#[cfg(test)]
mod tests;
