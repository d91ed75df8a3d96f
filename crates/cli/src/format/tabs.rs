//! Columns that end at tabs.

const TAB: usize = 8;

/// Columns that end at tabs, as Go's tabwriter sets them for buildx.
pub fn tabbed(rows: &[Vec<&str>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let length = |text: &str| text.chars().count();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| length(cell));
        (cells.max().unwrap_or(0) + 1).div_ceil(TAB) * TAB
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let tabs = (widths[column] - length(cell)).div_ceil(TAB);
                text.extend(std::iter::repeat_n('\t', tabs));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_end_at_tabs() {
        let rows = vec![vec!["Name:", "a"], vec!["VCS Repository:", "b"]];
        assert_eq!(tabbed(&rows), "Name:\t\ta\nVCS Repository:\tb\n");
        assert_eq!(tabbed(&[]), "");
    }
}
