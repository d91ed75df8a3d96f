//! `.dockerignore`: which files of the context do not count.
//!
//! Patterns are tried in order and the last that matches wins; one that matches a folder matches everything in
//! it. `!` takes files back in.

use crate::glob::{BadPattern, Glob, clean_path};

/// The patterns of a `.dockerignore`.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    takes_back: bool,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    glob: Glob,
    /// `!`: what matches is not ignored.
    exception: bool,
}

/// A pattern that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// `!` alone.
    #[error("illegal exclusion pattern: \"!\"")]
    EmptyException,
    /// Brackets or a backslash that do not end.
    #[error("{pattern}: {source}")]
    Syntax {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        source: BadPattern,
    },
}

/// Which patterns matched a folder: what is in it need not be tried again.
#[derive(Clone, Debug, Default)]
pub struct FolderMatch {
    matched: Vec<bool>,
}

impl Patterns {
    /// Reads the content of an ignore file.
    ///
    /// # Errors
    /// When a pattern cannot be read.
    pub fn parse(text: &str) -> Result<Patterns, PatternError> {
        Self::new(lines(text))
    }

    /// Makes patterns of single lines, as `--exclude` gives them.
    ///
    /// # Errors
    /// When a pattern cannot be read.
    pub fn new(lines: impl IntoIterator<Item = String>) -> Result<Patterns, PatternError> {
        let mut patterns = Patterns::default();
        for line in lines {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let cleaned = clean_path(line);
            let (exception, text) = match cleaned.strip_prefix('!') {
                Some("") => return Err(PatternError::EmptyException),
                Some(text) => (true, text),
                None => (false, cleaned.as_str()),
            };
            let bad = |source| PatternError::Syntax { pattern: text.to_owned(), source };
            Glob::path(text).map_err(bad)?;
            let glob = Glob::ignore(text).map_err(bad)?;
            patterns.takes_back |= exception;
            patterns.patterns.push(Pattern { text: text.to_owned(), glob, exception });
        }
        Ok(patterns)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether any of them takes files back in.
    pub fn has_exceptions(&self) -> bool {
        self.takes_back
    }

    /// The patterns as they are matched, without `!`.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|pattern| pattern.text.as_str())
    }

    /// Whether `path` (relative, with `/`) is ignored, by itself or because of a folder above it.
    pub fn ignores(&self, path: &str) -> bool {
        let mut ignored = false;
        for pattern in &self.patterns {
            if pattern.exception == ignored && prefixes(path).any(|prefix| pattern.glob.matches(prefix)) {
                ignored = !pattern.exception;
            }
        }
        ignored
    }

    /// Whether `path` is ignored, given what was found for the folder it is in. For walks from the top down.
    pub fn ignores_within(&self, path: &str, folder: &FolderMatch) -> (bool, FolderMatch) {
        let mut ignored = false;
        let mut found = FolderMatch { matched: vec![false; self.patterns.len()] };
        for (i, pattern) in self.patterns.iter().enumerate() {
            let inherited = folder.matched.get(i).copied().unwrap_or(false);
            let matched = inherited || pattern.glob.matches(path);
            found.matched[i] = matched;
            if matched {
                ignored = !pattern.exception;
            }
        }
        (ignored, found)
    }

    /// Whether an ignored folder may hold something that a `!` pattern takes back.
    pub fn may_take_back_in(&self, folder: &str) -> bool {
        let folder = format!("{folder}/");
        self.takes_back
            && self.patterns.iter().any(|pattern| {
                // A pattern with wildcards up front can match anywhere.
                let literal_end = pattern.text.find(['*', '?', '[', '\\']).unwrap_or(pattern.text.len());
                let literal = &pattern.text[..literal_end];
                pattern.exception
                    && (format!("{}/", pattern.text).starts_with(&folder)
                        || (literal_end < pattern.text.len() && folder.starts_with(literal)))
            })
    }
}

/// The lines of an ignore file that are patterns, cleaned: what clients of BuildKit are told to leave out.
pub fn lines(text: &str) -> impl Iterator<Item = String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
    lines.filter(|line| !line.is_empty()).map(normalised)
}

/// A line without a leading `/`, cleaned, its `!` kept in front.
fn normalised(line: &str) -> String {
    let (mark, path) = match line.strip_prefix('!') {
        Some(path) => ("!", path.trim()),
        None => ("", line),
    };
    if path.is_empty() {
        return mark.to_owned();
    }
    let path = clean_path(path);
    let path = path.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&path);
    format!("{mark}{path}")
}

/// `a`, `a/b`, `a/b/c` of `a/b/c`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).chain([path])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ignore file (`;` for line breaks) | ignored paths | kept paths
    const TABLE: &str = "
        *.log             | a.log                       | a/b.log a.logs log
        **/*.log          | a.log a/b.log a/b/c.log     | a.txt
        node_modules      | node_modules node_modules/x/y | a/node_modules
        **/node_modules   | node_modules/x a/node_modules/y | nodemodules
        /rooted           | rooted rooted/a             | a/rooted
        ./dotted          | dotted                      | a/dotted
        dir/              | dir dir/a                   | a
        dir/*             | dir/a dir/a/b               | dir
        dir/**            | dir/a dir/a/b               | dir dire
        **                | a a/b                       |
        *                 | a a/b                       |
        *;!keep           | a b/c                       | keep keep/x
        *;!a/keep         | a a/b b                     | a/keep a/keep/x
        a;!a/b;a/b/c      | a a/x a/b/c                 | a/b a/b/d
        !a;a              | a                           | b
        *.md;!README.md;README-secret.md | CHANGES.md README-secret.md | README.md
        # no;a#b          | a#b                         | # no
        a?c               | abc                         | ac a/c abcd
        a[b-d]e           | abe ade                     | aee
        a\\*              | a*                          | ab
        **/x/**           | x/a a/x/b/c                 | x a/x xa/b
        a/**/b            | a/b a/c/b a/c/d/b           | ab a/bc
        **end             | end end/x a/theend          | ender
        **/               | a a/b                       |
        a/../b            | b                           | a
        x//y              | x/y                         | x
    ";

    #[test]
    fn table_of_patterns() {
        for line in TABLE.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            let patterns = Patterns::parse(&columns[0].replace(';', "\n")).expect("valid");
            for (paths, expected) in [(columns[1], true), (columns[2], false)] {
                for path in paths.split_whitespace().filter(|path| *path != "#") {
                    assert_eq!(patterns.ignores(path), expected, "{:?} on {path}", columns[0]);
                }
            }
        }
    }

    #[test]
    fn an_unreadable_pattern_is_an_error() {
        assert_eq!(Patterns::parse("!").unwrap_err().to_string(), "illegal exclusion pattern: \"!\"");
        assert_eq!(Patterns::parse("a[").unwrap_err().to_string(), "a[: syntax error in pattern");
    }

    #[test]
    fn only_folders_with_exceptions_must_be_entered() {
        let patterns = Patterns::parse("*\n!src/keep\n!lib/*/x").expect("valid");
        assert!(patterns.may_take_back_in("src"));
        assert!(patterns.may_take_back_in("lib/a"));
        assert!(!patterns.may_take_back_in("target"));
    }

    proptest::proptest! {
        /// Walking down folder by folder finds the same as asking for the path at once.
        #[test]
        fn walking_agrees_with_asking(
            lines in proptest::collection::vec("!?[ab*?/]{1,6}", 1..5),
            path in "[ab](/[ab]{1,2}){0,3}",
        ) {
            let Ok(patterns) = Patterns::new(lines) else { return Ok(()) };
            let mut folder = FolderMatch::default();
            let mut ignored = false;
            for prefix in prefixes(&path) {
                (ignored, folder) = patterns.ignores_within(prefix, &folder);
            }
            proptest::prop_assert_eq!(ignored, patterns.ignores(&path));
        }

        #[test]
        fn patterns_never_panic(text in "\\PC*", path in "\\PC*") {
            if let Ok(patterns) = Patterns::parse(&text) {
                patterns.ignores(&path);
            }
        }
    }
}
