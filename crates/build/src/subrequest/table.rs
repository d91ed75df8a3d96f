//! Columns as Go's tabwriter aligns them.

/// Rows of cells; a column is as wide as its widest cell and `padding` blanks, the last as each cell is.
pub(super) fn table(rows: &[Vec<String>], padding: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + padding
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths).take(row.len().saturating_sub(1)) {
            out.push_str(&format!("{cell:width$}"));
        }
        out.push_str(row.last().map(String::as_str).unwrap_or_default());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["A", "LONG", "C"], ["bcd", "e", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows, 3), "A     LONG   C\nbcd   e      \n");
    }
}
