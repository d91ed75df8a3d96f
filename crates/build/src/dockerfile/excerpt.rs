//! Lines of a Dockerfile shown with those around them, as BuildKit shows where something is.

use std::fmt::Write;

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
    let marked = first..=last.max(first);
    let (mut start, mut end) = (first, last.max(first).min(lines.len()));
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
        let _ = writeln!(out, " {number:3} | {mark} {}", lines[number - 1].trim_end_matches('\r'));
    }
    out.push_str("--------------------\n");
    out
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
        assert_eq!(excerpt("D", text, (9, 9)), "");
        assert_eq!(excerpt("D", text, (0, 0)), "");
    }
}
