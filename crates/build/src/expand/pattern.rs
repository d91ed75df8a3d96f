//! Shell patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*`, `?` and escapes, no brackets.
//!
//! A pattern is matched by keeping the set of positions that a match may have reached, so that no pattern takes
//! more than length of pattern × length of text.

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`: any character but a line break.
    Any,
    /// `*`: any text without line breaks.
    Star,
}

impl Pattern {
    /// Compiles `text`; the error is a character that must not be escaped.
    pub(super) fn parse(text: &str) -> Result<Pattern, char> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::Any,
                // `}` and `/` are escaped because of the `${}` around, not because of the pattern.
                '\\' if matches!(chars.peek(), Some('}' | '/')) => continue,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\')) => Token::Char(c),
                    other => return Err(other.unwrap_or(char::REPLACEMENT_CHARACTER)),
                },
                c => Token::Char(c),
            });
        }
        Ok(Pattern { tokens })
    }

    /// `value` without the shortest or longest prefix that matches.
    pub(super) fn without_prefix(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        match match_end(&self.tokens, &chars, longest) {
            Some(end) => chars[end..].iter().collect(),
            None => value.to_owned(),
        }
    }

    /// `value` without the shortest or longest suffix that matches.
    pub(super) fn without_suffix(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().rev().collect();
        let tokens: Vec<Token> = self.tokens.iter().rev().copied().collect();
        match match_end(&tokens, &chars, longest) {
            Some(end) => chars[end..].iter().rev().collect(),
            None => value.to_owned(),
        }
    }

    /// `value` with its first match, or every match, replaced. Matches are leftmost and longest.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let mut at = 0;
        let mut after_match = false;
        while at <= chars.len() {
            match match_end(&self.tokens, &chars[at..], true) {
                // An empty match right behind another match does not count.
                Some(length) if length > 0 || !after_match => {
                    result.push_str(replacement);
                    at += length;
                    after_match = true;
                    if !all {
                        result.extend(&chars[at..]);
                        return result;
                    }
                    if length > 0 {
                        continue;
                    }
                }
                _ => {}
            }
            if let Some(c) = chars.get(at) {
                result.push(*c);
            }
            after_match = false;
            at += 1;
        }
        result
    }
}

/// Where the shortest or longest match of `tokens` that begins at the start of `chars` ends.
fn match_end(tokens: &[Token], chars: &[char], longest: bool) -> Option<usize> {
    let mut reached = vec![false; tokens.len() + 1];
    reached[0] = true;
    let mut found = None;
    for at in 0..=chars.len() {
        // A star may match nothing.
        for i in 0..tokens.len() {
            if reached[i] && tokens[i] == Token::Star {
                reached[i + 1] = true;
            }
        }
        if reached[tokens.len()] {
            found = Some(at);
            if !longest {
                break;
            }
        }
        let Some(&c) = chars.get(at) else { break };
        let mut next = vec![false; tokens.len() + 1];
        for (i, token) in tokens.iter().enumerate().filter(|(i, _)| reached[*i]) {
            match token {
                Token::Char(wanted) if *wanted == c => next[i + 1] = true,
                Token::Any if c != '\n' => next[i + 1] = true,
                Token::Star if c != '\n' => next[i] = true,
                _ => {}
            }
        }
        if !next.contains(&true) {
            break;
        }
        reached = next;
    }
    found
}
