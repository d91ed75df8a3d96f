//! Lines of a Dockerfile shown with those around them, as BuildKit shows where something is.

use std::fmt::Write;

/// A Dockerfile may have a line of megabytes, and an instruction thousands of lines: nobody reads more than this.
const MAX_COLUMNS: usize = 2_000;
const MAX_LINES: usize = 500;

/// The lines from `first` to `last` (from 1), marked, and some around them:
///
/// ```text
/// Dockerfile:2
/// --------------------
///    1 |     FROM busybox
///    2 | >>> RUNN x
/// --------------------
/// ```
///
/// Nothing if there is no such line.
pub fn excerpt(name: &str, text: &str, (first, last): (usize, usize)) -> String {
    // The line behind the last line end counts, as it does for BuildKit.
    let lines: Vec<&str> = text.split('\n').collect();
    if first < 1 || first > lines.len() {
        return String::new();
    }
    let last = last.clamp(first, first + MAX_LINES);
    let marked = first..=last;
    let (mut start, mut end) = (first, last.min(lines.len()));
    let wanted = if start == end { 4 } else { 2 };
    let mut around = 0;
    while around < wanted {
        if start > 1 {
            start -= 1;
            around += 1;
        }
        if end < lines.len() {
            end += 1;
            around += 1;
        }
        around += 1;
    }
    let mut out = format!("{name}:{first}\n--------------------\n");
    for number in start..=end {
        let mark = if marked.contains(&number) { ">>>" } else { "   " };
        let _ = writeln!(out, " {number:3} | {mark} {}", shown(lines[number - 1]));
    }
    out.push_str("--------------------\n");
    out
}

fn shown(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    match line.char_indices().nth(MAX_COLUMNS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_with_their_neighbours() {
        let text = "FROM a\nRUN b\nRUN c \\\n  d\nRUN e\n";
        assert_eq!(
            excerpt("Dockerfile", text, (1, 1)),
            "Dockerfile:1\n--------------------\n   1 | >>> FROM a\n   2 |     RUN b\n   3 |     RUN c \\\n--------------------\n"
        );
        assert_eq!(
            excerpt("D", text, (3, 4)),
            "D:3\n--------------------\n   2 |     RUN b\n   3 | >>> RUN c \\\n   4 | >>>   d\n   5 |     RUN e\n--------------------\n"
        );
        let long = format!("FROM a\nLABEL x={}\n{}", "ä".repeat(5_000), "RUN y\n".repeat(5_000));
        let shown = excerpt("D", &long, (2, 5_000));
        assert!(shown.contains("ä…\n") && shown.lines().count() < 520, "{}", shown.lines().count());
        assert_eq!(excerpt("D", text, (9, 9)), "");
        assert_eq!(excerpt("D", text, (0, 0)), "");
    }
}
