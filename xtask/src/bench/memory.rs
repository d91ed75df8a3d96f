//! Memory of processes as the kernel accounts it.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::side::Side;
use super::table::{Line, Table, median};

/// Private memory of the daemon when nothing happens.
pub fn idle(sides: &[Side], table: &Table) -> Result<()> {
    std::thread::sleep(Duration::from_secs(2));
    let numbers = sides.iter().map(|side| Some(side.engine_pids()).filter(|pids| !pids.is_empty()));
    let numbers: Vec<_> = numbers.map(|pids| pids.map(|pids| private_kib(&pids) / 1024.0)).collect();
    table.line(Line::memory("memory of the idle daemon (private)", 5.0), &numbers);
    Ok(())
}

/// Private memory of what a running container needs beside its own program.
pub fn per_container(sides: &[Side], table: &Table) -> Result<()> {
    let mut numbers = Vec::new();
    for side in sides {
        for _ in 0..10 {
            side.sh("run -d busybox sleep 600")?;
        }
        let each = side.shim_pids().into_iter().map(|pid| private_kib(&[pid])).collect();
        numbers.push(Some(median(each) / 1024.0));
        side.remove_containers()?;
    }
    table.line(Line::memory("memory per running container (private)", 10.0), &numbers);
    Ok(())
}

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
