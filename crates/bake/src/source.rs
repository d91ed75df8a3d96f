//! The files that were read, and places in them.

/// A file, by its name as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The name; `-` for standard input.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub file: usize,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

impl Place {
    /// From the beginning of this to the end of another.
    pub fn to(self, other: Place) -> Place {
        Place { end: other.end.max(self.start), ..self }
    }

    /// Where it begins, without what is there.
    pub fn start(self) -> Place {
        Place { end: self.start, ..self }
    }

    /// What comes between this and the end of another.
    pub fn after(self, whole: Place) -> Place {
        Place { start: self.end.min(whole.end), ..whole }
    }

    /// One byte at its beginning.
    pub fn first(self) -> Place {
        Place { end: self.start + 1, ..self }
    }
}

/// Line and column, both from 1; columns count characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// `file:line,column-column`, or with the line of the end where that is another.
pub fn range(files: &[File], place: Place) -> String {
    let Some(file) = files.get(place.file) else { return String::new() };
    let ((line, column), (last, end)) = (position(&file.text, place.start), position(&file.text, place.end));
    match line == last {
        true => format!("{}:{line},{column}-{end}", file.name),
        false => format!("{}:{line},{column}-{last},{end}", file.name),
    }
}

/// The lines of a place with some around them, as BuildKit shows sources.
pub fn excerpt(files: &[File], place: Place) -> String {
    let Some(file) = files.get(place.file) else { return String::new() };
    let lines: Vec<&str> = file.text.split('\n').collect();
    let (first, last) = (position(&file.text, place.start).0, position(&file.text, place.end).0);
    let last = last.min(lines.len()).max(first);
    let (mut from, mut to, mut padding) = (first, last, 0);
    // Each round counts once for itself.
    while padding < if first == last { 4 } else { 2 } {
        padding += 1;
        if from > 1 {
            from -= 1;
            padding += 1;
        }
        if to < lines.len() {
            to += 1;
            padding += 1;
        }
    }
    let mut out = format!("{}:{first}\n--------------------\n", file.name);
    for number in from..=to {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        let line = lines.get(number - 1).copied().unwrap_or_default();
        out.push_str(&format!("{number:4} | {mark} {}\n", line.chars().take(400).collect::<String>()));
    }
    out.push_str("--------------------\n");
    out
}
