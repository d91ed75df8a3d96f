//! Physical lines to logical ones: parser directives, comments, continuations and the bodies of heredocs.
//!
//! A logical line remembers from where each of its pieces came, so that a fault in it can be shown in the file.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::dockerfile::error::{Fault, Located, ParseError};
use crate::dockerfile::heredoc::{self, Heredoc};
use crate::dockerfile::syntax::{self, Statement};

/// An instruction's line with its continuations joined.
#[derive(Clone, Debug)]
pub(super) struct Logical {
    pub(super) text: String,
    pieces: Vec<Piece>,
    /// The comments right above it.
    pub(super) comments: Vec<String>,
    /// First and last physical line, from 1; heredoc bodies count.
    pub(super) first: usize,
    pub(super) last: usize,
}

/// Where a part of the logical line comes from: it begins at byte `at` there, at byte `column` of `line`.
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: usize,
    line: usize,
    column: usize,
}

impl Logical {
    fn beginning_at(line: usize) -> Self {
        Logical { text: String::new(), pieces: Vec::new(), comments: Vec::new(), first: line, last: line }
    }

    fn push(&mut self, text: &str, line: usize, column: usize) {
        self.pieces.push(Piece { at: self.text.len(), line, column });
        self.text.push_str(text);
    }

    /// The range of everything but surrounding blanks.
    pub(super) fn whole(&self) -> Range<usize> {
        let start = self.text.len() - self.text.trim_start().len();
        start..self.text.trim_end().len().max(start)
    }

    /// Line and byte column (from 0) of a byte of the text.
    fn locate(&self, at: usize) -> (usize, usize) {
        let piece = self.pieces.iter().rev().find(|piece| piece.at <= at).or(self.pieces.first());
        piece.map_or((self.first, 0), |piece| (piece.line, piece.column + (at - piece.at)))
    }
}

/// Reads a Dockerfile statement by statement.
pub(super) struct Reader<'a> {
    pub(super) name: &'a str,
    /// Physical lines with their line ends.
    lines: Vec<&'a str>,
    /// How many lines have been read.
    read: usize,
    directives: Directives,
    any: bool,
    whole: &'a str,
    pub(super) warnings: Vec<String>,
    pub(super) empty_continuations: Vec<usize>,
}

#[derive(Debug)]
struct Directives {
    over: bool,
    seen: BTreeSet<String>,
    escape: char,
    syntax: Option<String>,
    check: Option<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, name: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Reader {
            name,
            lines: text.split_inclusive('\n').collect(),
            read: 0,
            directives: Directives {
                over: false,
                seen: BTreeSet::new(),
                escape: '\\',
                syntax: None,
                check: None,
            },
            any: false,
            whole: text,
            warnings: Vec::new(),
            empty_continuations: Vec::new(),
        }
    }

    pub(super) fn escape(&self) -> char {
        self.directives.escape
    }

    pub(super) fn syntax(&self) -> Option<String> {
        self.directives.syntax.clone()
    }

    pub(super) fn check(&self) -> Option<String> {
        self.directives.check.clone()
    }

    /// The whole text, without a byte order mark.
    pub(super) fn text(&self) -> &'a str {
        self.whole
    }

    /// The next instruction, or `None` at the end of the file.
    pub(super) fn next_statement(&mut self) -> Result<Option<Statement>, ParseError> {
        let Some(line) = self.next_logical()? else {
            return if self.any { Ok(None) } else { Err(self.no_instructions()) };
        };
        self.any = true;
        let mut statement = syntax::statement(line, self.directives.escape)
            .map_err(|failed| self.place(&failed.0, failed.1))?;
        if statement.takes_heredocs() && statement.line.text.contains("<<") {
            statement.heredocs = self.heredocs(&statement.line)?;
            statement.line.last = self.read;
        }
        Ok(Some(statement))
    }

    pub(super) fn no_instructions(&self) -> ParseError {
        ParseError::whole_file(self.name, Fault::NoInstructions)
    }

    /// Turns a fault in a logical line into an error with its place in the file.
    pub(super) fn place(&self, line: &Logical, located: Located) -> ParseError {
        let (number, column) = line.locate(located.at.start);
        let source = self.lines.get(number.saturating_sub(1)).copied().unwrap_or_default();
        let source = source.trim_end_matches(['\r', '\n']);
        let before = source.get(..column).unwrap_or_default().chars().count();
        let wanted = line.text.get(located.at.clone()).unwrap_or_default().chars().count();
        let available = source.chars().count().saturating_sub(before);
        ParseError {
            file: self.name.to_owned(),
            line: number,
            column: before + 1,
            width: wanted.min(available).max(1),
            source_line: source.to_owned(),
            instruction_line: line.first,
            fault: located.fault,
        }
    }

    fn next_line(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.read).copied()?;
        self.read += 1;
        Some(line)
    }

    /// The next line that is neither blank nor a comment, joined with its continuations.
    fn next_logical(&mut self) -> Result<Option<Logical>, ParseError> {
        let mut comments = Vec::new();
        while let Some(raw) = self.next_line() {
            let unended = raw.trim_end_matches(['\r', '\n']);
            let text = unended.trim_start();
            let directive = self.directive(text, unended.len() - text.len())?;
            if text.starts_with('#') {
                if !directive {
                    comment(unended, &mut comments);
                }
                continue;
            }
            let mut line = Logical::beginning_at(self.read);
            let (content, continued) = without_continuation(text, self.directives.escape);
            if content.is_empty() && !continued {
                continue;
            }
            line.push(content, self.read, unended.len() - text.len());
            if continued {
                self.continuations(&mut line);
            }
            line.last = self.read;
            line.comments = comments;
            return Ok(Some(line));
        }
        Ok(None)
    }

    fn continuations(&mut self, line: &mut Logical) {
        let mut blank = false;
        while let Some(raw) = self.next_line() {
            let text = raw.trim_end_matches(['\r', '\n']);
            if text.trim_start().starts_with('#') {
                continue;
            }
            if text.trim().is_empty() {
                blank = true;
                continue;
            }
            let (content, continued) = without_continuation(text, self.directives.escape);
            line.push(content, self.read, 0);
            if !continued {
                break;
            }
        }
        if blank {
            self.warnings.push(format!("Empty continuation line found in: {}", line.text));
            self.empty_continuations.push(self.read);
        }
    }

    /// Reads a parser directive, if the line is one and none but directives came before; says whether it was.
    fn directive(&mut self, text: &str, indent: usize) -> Result<bool, ParseError> {
        if self.directives.over {
            return Ok(false);
        }
        let Some((key, value)) = text.strip_prefix('#').and_then(split_directive) else {
            self.directives.over = true;
            return Ok(false);
        };
        let line = |fault: Fault, reader: &Self| {
            let mut line = Logical::beginning_at(reader.read);
            line.push(text, reader.read, indent);
            let whole = line.whole();
            Err(reader.place(&line, fault.at(whole)))
        };
        if !self.directives.seen.insert(key.clone()) {
            return line(Fault::DuplicateDirective(key), self);
        }
        match (key.as_str(), value) {
            ("escape", "\\") => self.directives.escape = '\\',
            ("escape", "`") => self.directives.escape = '`',
            ("escape", other) => return line(Fault::EscapeToken(other.to_owned()), self),
            ("syntax", value) => self.directives.syntax = Some(value.to_owned()),
            ("check", value) => self.directives.check = Some(value.to_owned()),
            _ => {}
        }
        Ok(true)
    }

    /// Reads the bodies of the heredocs that the line opens.
    fn heredocs(&mut self, line: &Logical) -> Result<Vec<Heredoc>, ParseError> {
        let mut heredocs = heredoc::opened_in(&line.text)
            .map_err(|error| self.place(line, Fault::HeredocName(error).at(line.whole())))?;
        for heredoc in &mut heredocs {
            loop {
                let Some(raw) = self.next_line() else {
                    let at = line.text.find("<<").map_or(line.whole(), |at| at..line.whole().end);
                    return Err(self.place(line, Fault::UnterminatedHeredoc.at(at)));
                };
                let end = raw.trim_end_matches(['\r', '\n']);
                let end = if heredoc.chomp { end.trim_start_matches('\t') } else { end };
                if end == heredoc.name {
                    break;
                }
                heredoc.content.push_str(raw);
            }
        }
        Ok(heredocs)
    }
}

/// Adds a comment to those above the next instruction. An empty one parts them from it. Only the first character
/// of the line is taken off, which BuildKit expects to be the `#`.
fn comment(line: &str, comments: &mut Vec<String>) {
    let mut rest = line.chars();
    rest.next();
    match rest.as_str().trim() {
        "" => comments.clear(),
        text => comments.push(text.to_owned()),
    }
}

/// `key = value` of a directive; `None` if the comment is no directive.
fn split_directive(comment: &str) -> Option<(String, &str)> {
    let (key, value) = comment.trim_start().split_once('=')?;
    let (key, value) = (key.trim_end(), value.trim());
    let known = ["syntax", "escape", "check"].iter().any(|known| key.eq_ignore_ascii_case(known));
    (known && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}

/// Takes the escape character off the end of a line if it continues there. A doubled one does not.
fn without_continuation(line: &str, escape: char) -> (&str, bool) {
    let Some(content) = line.trim_end_matches([' ', '\t']).strip_suffix(escape) else {
        return (line, false);
    };
    if content.ends_with(escape) { (line, false) } else { (content, true) }
}
