//! What a container uses, as `docker stats` reads it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dray_api::container::{
    BlkioStatEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats,
    ThrottlingData,
};
use dray_runtime::cgroup::{BlkioEntry, CgroupStats};
use jiff::Timestamp;

use super::Error;
use super::live::Container;
use super::service::Service;
use crate::timestamp::rfc3339;

/// Between two samples.
const PAUSE: Duration = Duration::from_secs(1);

/// Samples of one container, each with the one before it.
#[derive(Debug)]
pub struct StatsReader {
    service: Arc<Service>,
    container: Arc<Container>,
    last: Option<Stats>,
}

impl Service {
    /// Begins to read what a container uses.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn stats(self: &Arc<Self>, called: &str) -> Result<StatsReader, Error> {
        let container = self.registry.find(called)?;
        Ok(StatsReader { service: Arc::clone(self), container, last: None })
    }

    fn sample(&self, container: &Container) -> Stats {
        let record = container.record();
        let mut stats =
            Stats { name: format!("/{}", record.name), id: record.id.clone(), ..Stats::default() };
        if !record.state.running || record.state.restarting {
            return stats;
        }
        let Ok(used) = self.shim(container).and_then(|shim| Ok(shim.stats()?)) else { return stats };
        stats.read = rfc3339(Timestamp::now());
        fill(&mut stats, &used, self.host.cpus);
        if self.host.cgroup_v2 {
            // Docker tells it of v1 alone.
            stats.memory_stats.max_usage = 0;
        }
        if record.netns.is_some() {
            stats.networks = Some(networks(record.state.pid));
        }
        stats
    }
}

impl StatsReader {
    /// A sample now, with the last one's processor time beside it.
    ///
    /// # Errors
    /// When the daemon is shutting down.
    pub async fn next(&mut self) -> Result<Stats, Error> {
        let container = Arc::clone(&self.container);
        let mut stats = self.service.blocking(move |service| Ok(service.sample(&container))).await?;
        if let Some(last) = self.last.replace(stats.clone()) {
            stats.precpu_stats = last.cpu_stats;
            stats.preread = last.read;
        }
        Ok(stats)
    }

    /// Waits until the next sample is due; false when the container is gone.
    pub async fn pause(&self) -> bool {
        tokio::time::sleep(PAUSE).await;
        self.service.registry.get(&self.container.id).is_some()
    }
}

fn fill(stats: &mut Stats, used: &CgroupStats, cpus: u32) {
    let (cpu, memory) = (&used.cpu, &used.memory);
    stats.cpu_stats = CpuStats {
        cpu_usage: CpuUsage {
            total_usage: cpu.total,
            percpu_usage: Some(cpu.per_cpu.clone()).filter(|list| !list.is_empty()),
            usage_in_kernelmode: cpu.kernel,
            usage_in_usermode: cpu.user,
        },
        system_cpu_usage: system_cpu(),
        online_cpus: cpus,
        throttling_data: ThrottlingData {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_time,
        },
    };
    let total = total_memory();
    stats.memory_stats = MemoryStats {
        usage: memory.usage,
        max_usage: memory.max_usage,
        stats: Some(memory.detail.clone()),
        failcnt: memory.failcnt,
        limit: memory.limit.min(total),
    };
    stats.pids_stats = PidsStats { current: used.pids.current, limit: used.pids.limit.unwrap_or(0) };
    let entries = |list: &[BlkioEntry]| {
        let one = |entry: &BlkioEntry| BlkioStatEntry {
            major: entry.major,
            minor: entry.minor,
            op: entry.op.to_ascii_lowercase(),
            value: entry.value,
        };
        Some(list.iter().map(one).collect::<Vec<_>>()).filter(|list| !list.is_empty())
    };
    stats.blkio_stats = BlkioStats {
        io_service_bytes_recursive: entries(&used.blkio.service_bytes),
        io_serviced_recursive: entries(&used.blkio.serviced),
        ..BlkioStats::default()
    };
}

/// Processor time of the whole machine in nanoseconds.
fn system_cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    system_cpu_of(&stat)
}

fn system_cpu_of(stat: &str) -> u64 {
    const NANOS_PER_TICK: u64 = 10_000_000;
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks: u64 =
        line.split_ascii_whitespace().take(7).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks * NANOS_PER_TICK
}

fn total_memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.split_ascii_whitespace()
        .next()
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(u64::MAX, |kib| kib * 1024)
}

/// Counters of the interfaces a process sees, but the loopback.
fn networks(pid: i32) -> BTreeMap<String, NetworkStats> {
    networks_of(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

fn networks_of(table: &str) -> BTreeMap<String, NetworkStats> {
    let one = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let n: Vec<u64> = counters.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
        let name = name.trim();
        (name != "lo" && n.len() >= 12).then(|| {
            let stats = NetworkStats {
                rx_bytes: n[0],
                rx_packets: n[1],
                rx_errors: n[2],
                rx_dropped: n[3],
                tx_bytes: n[8],
                tx_packets: n[9],
                tx_errors: n[10],
                tx_dropped: n[11],
            };
            (name.to_owned(), stats)
        })
    };
    table.lines().skip(2).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_proc() {
        let table = "Inter-| Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
        let networks = networks_of(table);
        assert_eq!(networks.len(), 1);
        let eth = &networks["eth0"];
        assert_eq!((eth.rx_bytes, eth.rx_dropped, eth.tx_bytes, eth.tx_errors), (10, 4, 50, 7));
        assert_eq!(system_cpu_of("cpu  1 2 3 4 5 6 7 100 0 0\ncpu0 1\n"), 28 * 10_000_000);
        assert!(total_memory() > 0 && system_cpu() > 0);
    }
}
