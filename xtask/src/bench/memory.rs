//! Memory of processes as the kernel accounts it.

use std::fs;

/// Private memory (clean and dirty) of processes together, in KiB: what would be free without them.
pub fn private_kib(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| rollup(*pid, "Private_Clean:") + rollup(*pid, "Private_Dirty:")).sum()
}

fn rollup(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}
