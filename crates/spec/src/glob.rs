//! Path patterns: those of Go's `filepath.Match`, which `COPY` uses, and those of `.dockerignore`, which add `**`.
//!
//! A pattern is compiled to tokens and matched by keeping the set of tokens that may come next, so that no
//! pattern takes more than its length × the path's.

/// A compiled pattern that matches whole paths.
#[derive(Clone, Debug)]
pub struct Glob {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`: any character but `/`.
    One,
    /// `*`: any text without `/`.
    Star,
    /// `**` at the end: any text.
    All,
    /// `**/` and `**` before something: nothing, or any text that ends with `/`.
    Folders,
    /// `[a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// The pattern's syntax is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

impl Glob {
    /// A pattern of `filepath.Match`: `*`, `?`, `[…]` and `\` before a character taken as it is.
    pub fn path(text: &str) -> Result<Glob, BadPattern> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::One,
                '[' => class(&mut chars)?,
                '\\' => Token::Char(chars.next().ok_or(BadPattern)?),
                c => Token::Char(c),
            });
        }
        Ok(Glob { tokens })
    }

    /// A pattern of `.dockerignore`: also `**`, for any number of folders.
    pub fn ignore(text: &str) -> Result<Glob, BadPattern> {
        // `**name` at the beginning, and nothing else of meaning in it, matches whatever ends with `name`.
        if let Some(end) = text.strip_prefix("**")
            && !end.starts_with('/')
            && !end.contains(['*', '?', '[', ']', '\\'])
        {
            let mut tokens = vec![Token::All];
            tokens.extend(end.chars().map(Token::Char));
            return Ok(Glob { tokens });
        }
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    if chars.peek().is_some() { Token::Folders } else { Token::All }
                }
                '*' => Token::Star,
                '?' => Token::One,
                '[' => class(&mut chars)?,
                '\\' => Token::Char(chars.next().ok_or(BadPattern)?),
                c => Token::Char(c),
            });
        }
        Ok(Glob { tokens })
    }

    /// Whether the whole of `path` matches.
    pub fn matches(&self, path: &str) -> bool {
        // `next[i]`: what is left of the path may be matched by tokens i and following. `inside[i]`: token i, a
        // `Folders`, has begun and waits for a `/`.
        let count = self.tokens.len();
        let mut next = vec![false; count + 1];
        let mut inside = vec![false; count];
        next[0] = true;
        self.skip_optional(&mut next);
        for c in path.chars() {
            let mut after = vec![false; count + 1];
            let mut still_inside = vec![false; count];
            for (i, token) in self.tokens.iter().enumerate() {
                if inside[i] || (next[i] && *token == Token::Folders) {
                    still_inside[i] = true;
                    after[i + 1] |= c == '/';
                }
                if !next[i] {
                    continue;
                }
                match token {
                    Token::Char(wanted) => after[i + 1] |= *wanted == c,
                    Token::One => after[i + 1] |= c != '/',
                    Token::Star => after[i] |= c != '/',
                    Token::All => after[i] = true,
                    Token::Folders => {}
                    Token::Class { negated, ranges } => {
                        let listed = ranges.iter().any(|(from, to)| (*from..=*to).contains(&c));
                        after[i + 1] |= listed != *negated;
                    }
                }
            }
            self.skip_optional(&mut after);
            (next, inside) = (after, still_inside);
        }
        next[count]
    }

    /// Stars may match nothing.
    fn skip_optional(&self, next: &mut [bool]) {
        for (i, token) in self.tokens.iter().enumerate() {
            if next[i] && matches!(token, Token::Star | Token::All | Token::Folders) {
                next[i + 1] = true;
            }
        }
    }
}

/// Whether a path of `COPY` is a pattern.
pub fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// A class, from behind its `[`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, BadPattern> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Token::Class { negated, ranges });
        }
        let from = class_char(chars)?;
        let to = if chars.next_if_eq(&'-').is_some() { class_char(chars)? } else { from };
        ranges.push((from, to));
    }
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, BadPattern> {
    match chars.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => chars.next().ok_or(BadPattern),
        Some(c) => Ok(c),
    }
}

/// The shortest path that means the same, as Go's `filepath.Clean`: no `.`, no doubled `/`, `..` taken back.
pub fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_patterns_match_as_in_go() {
        // pattern, path, whether it matches
        for (pattern, path, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("a?b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("*x", "xxx", true),
            ("", "", true),
            ("", "a", false),
            ("**", "a/b", false),
            ("**", "x", true),
            ("*", "app", true),
            ("app*", "app-1", true),
            ("a?p", "app", true),
            ("[a-c]x", "bx", true),
            ("app", "app1", false),
            ("[^a]x", "ax", false),
            ("?", "", false),
            (&"*a".repeat(200), &"a".repeat(400), true),
        ] {
            let glob = Glob::path(pattern).expect("valid");
            assert_eq!(glob.matches(path), expected, "{pattern} on {path}");
        }
        for bad in ["[", "[a", "[]a]", "[-]", "[x-]", "a[", "\\", "[a-"] {
            assert!(Glob::path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_cleaned_as_in_go() {
        for (path, clean) in [
            ("", "."),
            ("a/./b//c/", "a/b/c"),
            ("a/../b", "b"),
            ("../../a", "../../a"),
            ("/../a", "/a"),
            ("a/..", "."),
            ("/", "/"),
            ("!a//b", "!a/b"),
            ("./a//b/../c/", "a/c"),
            ("../../x", "../../x"),
            ("/..", "/"),
            ("/a/./b", "/a/b"),
            ("a//b/./c/", "a/b/c"),
            ("../a/..", ".."),
            ("a/../..", ".."),
        ] {
            assert_eq!(clean_path(path), clean, "{path}");
        }
    }
}
