//! Help texts of flags, wrapped to the terminal.

use super::{Flag, Kind};

/// How wide help may be: the terminal's width, or 80.
pub fn columns() -> usize {
    crate::terminal::size(rustix::stdio::stdout()).map_or(80, |(_, width)| usize::from(width)).clamp(40, 200)
}

/// The lines of a flag table.
pub fn flags_text<'a>(flags: impl Iterator<Item = &'a Flag>, width: usize) -> String {
    let mut flags: Vec<&Flag> = flags.filter(|f| !f.hidden).collect();
    flags.sort_by_key(|f| f.long);
    let left: Vec<String> = flags.iter().map(|f| left_part(f)).collect();
    let indent = left.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (flag, left) in flags.iter().zip(&left) {
        let mut about = flag.about.to_owned();
        if let Some(default) = shown_default(flag) {
            about.push_str(&format!(" (default {default})"));
        }
        let lines = wrap(&about, width.saturating_sub(indent + 1).max(24));
        out.push_str(&format!("{left:indent$}{}\n", lines.first().map_or("", String::as_str)));
        for line in lines.iter().skip(1) {
            out.push_str(&format!("{:indent$}{line}\n", ""));
        }
    }
    out
}

fn left_part(flag: &Flag) -> String {
    let short = flag.short.map_or("    ".into(), |c| format!("-{c}, "));
    let shown = if flag.shown.is_empty() { String::new() } else { format!(" {}", flag.shown) };
    format!("  {short}--{}{shown}", flag.long)
}

fn shown_default(flag: &Flag) -> Option<String> {
    match (flag.kind, flag.default) {
        (_, "" | "0" | "false") => None,
        (Kind::One, d) if flag.shown == "string" => Some(format!("\"{d}\"")),
        (_, d) => Some(d.to_owned()),
    }
}

/// Breaks text into lines at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::{NONE, int, switch};
    use super::*;

    #[test]
    fn tables_line_up_and_wrap() {
        const FLAGS: &[Flag] = &[
            switch("rm", NONE, "Remove it when it ends, with its volumes"),
            int("last", 'n', "So many").default("-1"),
        ];
        let want = "  -n, --last int   So many (default -1)\n      --rm         Remove it when it ends,\n                   with its volumes\n";
        assert_eq!(flags_text(FLAGS.iter(), 44), want);
    }
}
