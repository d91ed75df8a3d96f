//! The bar of a layer: `[==>   ]  12.3MB/45.6MB`.

use dray_client::api::progress::ProgressDetail;

use crate::format::units::human_size;

/// Terminals of this width or less get numbers without a bar.
const NARROW: usize = 110;
const CELLS: usize = 50;

/// The text for how far something is; empty when nothing is known.
pub fn bar(detail: &ProgressDetail, width: usize) -> String {
    let (current, total) = (detail.current, detail.total);
    if current <= 0 && total <= 0 {
        return String::new();
    }
    let amount = |n: i64| {
        if detail.units.is_empty() { human_size(n as f64) } else { n.to_string() }
    };
    let unit = if detail.units.is_empty() { String::new() } else { format!(" {}", detail.units) };
    if total <= 0 {
        return format!("{:>8}{unit}", amount(current));
    }
    let filled = usize::try_from(current.saturating_mul(100) / total / 2).unwrap_or(0).min(CELLS);
    let drawn = if width > NARROW {
        let spaces = " ".repeat(CELLS - filled);
        format!("[{}>{spaces}] ", "=".repeat(filled))
    } else {
        String::new()
    };
    let numbers = match () {
        () if detail.hidecounts => String::new(),
        () if current > total => format!("{:>8}{unit}", amount(current)),
        () => format!("{:>8}/{}{unit}", amount(current), amount(total)),
    };
    format!("{drawn}{numbers}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        let detail = |current, total| ProgressDetail { current, total, ..ProgressDetail::default() };
        assert_eq!(bar(&detail(0, 0), 200), "");
        assert_eq!(bar(&detail(12_300_000, 0), 200), "  12.3MB");
        assert_eq!(bar(&detail(1, 2), 80), "      1B/2B");
        let full = bar(&detail(100, 100), 200);
        assert_eq!(full, format!("[{}>]     100B/100B", "=".repeat(50)));
    }
}
