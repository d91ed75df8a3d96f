//! Heredocs: `<<EOF`, `<<-EOF`, `<<"EOF"`, `3<<EOF`.

use crate::expand::{ExpandError, Expander, NoEnv};

/// A heredoc that a `RUN`, `COPY` or `ADD` line opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, without quotes.
    pub name: String,
    /// File descriptor before `<<`; 0 if none.
    pub fd: u32,
    /// Whether variables in it are expanded: not if any part of the word is quoted.
    pub expand: bool,
    /// `<<-`: leading tabs do not count.
    pub chomp: bool,
    /// The lines, with their line ends.
    pub content: String,
}

impl Heredoc {
    /// The content with leading tabs taken off if `<<-` says so.
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// The heredocs that a logical line opens, without content. Text that cannot be split opens none.
pub(super) fn opened_in(line: &str) -> Result<Vec<Heredoc>, ExpandError> {
    let rules = Expander { raw_quotes: true, raw_escapes: true, keep_unset: true, ..Expander::new('\\') };
    let words = rules.words(line, &NoEnv).unwrap_or_default();
    let mut opened = Vec::new();
    for word in words {
        opened.extend(parse(&word)?);
    }
    Ok(opened)
}

/// Reads a word as the opening of a heredoc: digits, `<<`, perhaps `-`, and a name without `<`.
pub(super) fn parse(word: &str) -> Result<Option<Heredoc>, ExpandError> {
    let after_fd = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let fd = &word[..word.len() - after_fd.len()];
    let Some(rest) = after_fd.strip_prefix("<<") else { return Ok(None) };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let rules = Expander { keep_unset: true, ..Expander::new('\\') };
    let words = rules.words(rest, &NoEnv)?;
    let [name] = words.as_slice() else { return Ok(None) };
    let raw = Expander { raw_quotes: true, ..rules }.words(rest, &NoEnv)?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = raw.first().is_some_and(|raw| quotes(raw) == quotes(name));
    Ok(Some(Heredoc {
        name: name.clone(),
        fd: fd.parse().unwrap_or(0),
        expand,
        chomp,
        content: String::new(),
    }))
}
