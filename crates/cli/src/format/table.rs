//! Aligns the columns of a table by Go's text/tabwriter rules: a cell ends with a tab; cells of one column in
//! neighbouring lines share a width; the last cell of a line, without a tab, belongs to no column.

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// The shape of a table.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// No column is narrower.
    pub min_width: usize,
    /// Spaces after the widest cell.
    pub padding: usize,
}

impl Default for Shape {
    /// That of Docker's listings.
    fn default() -> Self {
        Shape { min_width: MIN_WIDTH, padding: PADDING }
    }
}

/// Aligns text whose cells are divided by tabs.
pub fn align(text: &str, shape: Shape) -> String {
    let ends_with_newline = text.ends_with('\n');
    let lines: Vec<Vec<&str>> =
        text.strip_suffix('\n').unwrap_or(text).split('\n').map(|l| l.split('\t').collect()).collect();
    if text.is_empty() {
        return String::new();
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut widths = Vec::new();
    emit(&lines, 0, lines.len(), &mut widths, shape, &mut out);
    if !ends_with_newline {
        out.pop();
    }
    out
}

/// Writes `lines[from..to]`, with the widths of the columns to the left already known.
fn emit(
    lines: &[Vec<&str>],
    from: usize,
    to: usize,
    widths: &mut Vec<usize>,
    shape: Shape,
    out: &mut String,
) {
    let column = widths.len();
    let mut start = from;
    let mut at = from;
    while at < to {
        if column + 1 >= lines[at].len() {
            at += 1;
            continue;
        }
        write_lines(&lines[start..at], widths, out);
        let mut end = at;
        let mut width = shape.min_width;
        while end < to && column + 1 < lines[end].len() {
            width = width.max(lines[end][column].chars().count() + shape.padding);
            end += 1;
        }
        widths.push(width);
        emit(lines, at, end, widths, shape, out);
        widths.pop();
        at = end;
        start = end;
    }
    write_lines(&lines[start..to], widths, out);
}

fn write_lines(lines: &[Vec<&str>], widths: &[usize], out: &mut String) {
    for line in lines {
        for (i, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(i)
                && i + 1 < line.len()
            {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let text = "CONTAINER ID\tIMAGE\tNAMES\n0123456789ab\tnginx:latest\tweb\n";
        let want = "CONTAINER ID   IMAGE          NAMES\n0123456789ab   nginx:latest   web\n";
        assert_eq!(align(text, Shape::default()), want);
    }

    #[test]
    fn a_column_ends_where_lines_lack_it() {
        let text = "a\tb\tc\nlong line without tabs\nx\ty\n";
        let want = "a         b         c\nlong line without tabs\nx         y\n";
        assert_eq!(align(text, Shape::default()), want);
    }

    #[test]
    fn empty_cells_keep_their_width() {
        assert_eq!(align("a\t\tb\n", Shape::default()), "a                   b\n");
        assert_eq!(align("", Shape::default()), "");
    }
}
