//! What a cgroup has used, in one form for v1 and v2.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Use of resources at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupStats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes.
    pub pids: PidsStats,
    /// Block devices.
    pub blkio: BlkioStats,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuStats {
    /// All of it.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub kernel: u64,
    /// By processor (cgroup v1 only).
    pub per_cpu: Vec<u64>,
    /// Periods of the quota gone by.
    pub periods: u64,
    /// Periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Time spent throttled.
    pub throttled_time: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// In use, page cache included.
    pub usage: u64,
    /// Most ever in use (cgroup v1, and v2 from Linux 5.19).
    pub max_usage: u64,
    /// Limit; `u64::MAX` if there is none.
    pub limit: u64,
    /// How often the limit was hit (v1), or could not be kept (v2).
    pub failcnt: u64,
    /// Kills for lack of memory.
    pub oom_kills: u64,
    /// `memory.stat` as it is.
    pub detail: BTreeMap<String, u64>,
}

/// Processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// Limit; if there is none `None` on v1 and `u64::MAX` on v2, which is what Docker tells of them.
    pub limit: Option<u64>,
}

/// Block devices, as Docker's API lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioStats {
    /// Bytes by device and operation.
    pub service_bytes: Vec<BlkioEntry>,
    /// Operations by device and operation.
    pub serviced: Vec<BlkioEntry>,
}

/// One figure of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `Read`, `Write`, …
    pub op: String,
    /// Figure.
    pub value: u64,
}

fn text(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap_or_default()
}

fn number(dir: &Path, file: &str) -> u64 {
    text(dir, file).trim().parse().unwrap_or(0)
}

/// The figures of a v1 machine; `dir` tells a controller's directory.
pub fn read_v1(dir: &dyn Fn(&str) -> PathBuf) -> CgroupStats {
    let (cpuacct, cpu, memory) = (dir("cpuacct"), dir("cpu"), dir("memory"));
    let throttling = flat(&text(&cpu, "cpu.stat"));
    let throttled = |key: &str| throttling.get(key).copied().unwrap_or(0);
    CgroupStats {
        cpu: CpuStats {
            total: number(&cpuacct, "cpuacct.usage"),
            user: number(&cpuacct, "cpuacct.usage_user"),
            kernel: number(&cpuacct, "cpuacct.usage_sys"),
            per_cpu: text(&cpuacct, "cpuacct.usage_percpu")
                .split_whitespace()
                .filter_map(|value| value.parse().ok())
                .collect(),
            periods: throttled("nr_periods"),
            throttled_periods: throttled("nr_throttled"),
            throttled_time: throttled("throttled_time"),
        },
        memory: MemoryStats {
            usage: number(&memory, "memory.usage_in_bytes"),
            max_usage: number(&memory, "memory.max_usage_in_bytes"),
            limit: limit(&text(&memory, "memory.limit_in_bytes")),
            failcnt: number(&memory, "memory.failcnt"),
            oom_kills: flat(&text(&memory, "memory.oom_control")).get("oom_kill").copied().unwrap_or(0),
            detail: flat(&text(&memory, "memory.stat")),
        },
        pids: pids(&dir("pids")),
        blkio: BlkioStats {
            service_bytes: blkio_v1(&text(&dir("blkio"), "blkio.throttle.io_service_bytes_recursive")),
            serviced: blkio_v1(&text(&dir("blkio"), "blkio.throttle.io_serviced_recursive")),
        },
    }
}

/// The figures of a v2 machine.
pub fn read_v2(dir: &Path) -> CgroupStats {
    let cpu = flat(&text(dir, "cpu.stat"));
    let nanos = |key: &str| cpu.get(key).copied().unwrap_or(0) * 1000;
    let events = flat(&text(dir, "memory.events"));
    CgroupStats {
        cpu: CpuStats {
            total: nanos("usage_usec"),
            user: nanos("user_usec"),
            kernel: nanos("system_usec"),
            per_cpu: Vec::new(),
            periods: cpu.get("nr_periods").copied().unwrap_or(0),
            throttled_periods: cpu.get("nr_throttled").copied().unwrap_or(0),
            throttled_time: nanos("throttled_usec"),
        },
        memory: MemoryStats {
            usage: number(dir, "memory.current"),
            max_usage: number(dir, "memory.peak"),
            limit: limit(&text(dir, "memory.max")),
            failcnt: events.get("oom").copied().unwrap_or(0),
            oom_kills: events.get("oom_kill").copied().unwrap_or(0),
            detail: flat(&text(dir, "memory.stat")),
        },
        pids: PidsStats { limit: pids(dir).limit.or(Some(u64::MAX)), ..pids(dir) },
        blkio: blkio_v2(&text(dir, "io.stat")),
    }
}

fn pids(dir: &Path) -> PidsStats {
    let limit = text(dir, "pids.max").trim().parse().ok();
    PidsStats { current: number(dir, "pids.current"), limit }
}

/// Numbers of a flat file (`name value` lines).
pub fn flat(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

/// A limit file: a number, `max`, or v1's "as good as none".
pub fn limit(text: &str) -> u64 {
    match text.trim().parse::<u64>() {
        Ok(value) if value < 0x7fff_ffff_ffff_f000 => value,
        _ => u64::MAX,
    }
}

/// Entries of a v1 blkio file (`8:0 Read 4096`); totals over devices are left out.
pub fn blkio_v1(text: &str) -> Vec<BlkioEntry> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.split_whitespace();
            let (major, minor) = device(parts.next()?)?;
            let op = parts.next()?.to_owned();
            Some(BlkioEntry { major, minor, op, value: parts.next()?.parse().ok()? })
        })
        .collect()
}

/// Entries of `io.stat` (`8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`).
pub fn blkio_v2(text: &str) -> BlkioStats {
    let mut stats = BlkioStats::default();
    for line in text.lines() {
        let mut parts = line.split_whitespace();
        let Some((major, minor)) = parts.next().and_then(device) else { continue };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let entry = |op: &str| BlkioEntry { major, minor, op: op.to_owned(), value };
            match key {
                "rbytes" => stats.service_bytes.push(entry("read")),
                "wbytes" => stats.service_bytes.push(entry("write")),
                "rios" => stats.serviced.push(entry("read")),
                "wios" => stats.serviced.push(entry("write")),
                _ => {}
            }
        }
    }
    stats
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_block_figures() {
        let v1 = blkio_v1("8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n");
        assert_eq!(v1.len(), 2);
        assert_eq!(v1[0], BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 4096 });
        let v2 = blkio_v2("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n");
        assert_eq!(v2.service_bytes[1].value, 20);
        assert_eq!(v2.serviced.len(), 2);
    }

    #[test]
    fn no_limit_is_one_number() {
        assert_eq!(limit("max\n"), u64::MAX);
        assert_eq!(limit("9223372036854771712\n"), u64::MAX);
        assert_eq!(limit("67108864\n"), 67_108_864);
        assert_eq!(flat("cache 1\nrss 22\n").get("rss"), Some(&22));
    }
}
