//! `GET /containers/{id}/stats`.

use std::collections::BTreeMap;

use crate::json::empty;

wire! {
    /// One sample, with the previous one's CPU beside it.
    pub struct Stats {
        #[serde(skip_serializing_if = "empty")]
        pub name: String,
        #[serde(skip_serializing_if = "empty")]
        pub id: String,
        #[serde(serialize_with = "crate::json::time")]
        pub read: String,
        #[serde(serialize_with = "crate::json::time")]
        pub preread: String,
        pub pids_stats: PidsStats,
        pub blkio_stats: BlkioStats,
        pub num_procs: u32,
        pub storage_stats: StorageStats,
        pub cpu_stats: CpuStats,
        pub precpu_stats: CpuStats,
        pub memory_stats: MemoryStats,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub networks: Option<BTreeMap<String, NetworkStats>>,
    }

    /// Processes in the cgroup; a limit of 0 is none.
    pub struct PidsStats {
        #[serde(skip_serializing_if = "empty")]
        pub current: u64,
        #[serde(skip_serializing_if = "empty")]
        pub limit: u64,
    }

    /// CPU time and how often the cgroup was throttled.
    pub struct CpuStats {
        pub cpu_usage: CpuUsage,
        #[serde(skip_serializing_if = "empty")]
        pub system_cpu_usage: u64,
        #[serde(skip_serializing_if = "empty")]
        pub online_cpus: u32,
        pub throttling_data: ThrottlingData,
    }

    /// CPU time in nanoseconds.
    pub struct CpuUsage {
        pub total_usage: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub percpu_usage: Option<Vec<u64>>,
        pub usage_in_kernelmode: u64,
        pub usage_in_usermode: u64,
    }

    /// CFS throttling.
    pub struct ThrottlingData {
        pub periods: u64,
        pub throttled_periods: u64,
        pub throttled_time: u64,
    }

    /// Memory of the cgroup.
    pub struct MemoryStats {
        #[serde(skip_serializing_if = "empty")]
        pub usage: u64,
        #[serde(skip_serializing_if = "empty")]
        pub max_usage: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stats: Option<BTreeMap<String, u64>>,
        #[serde(skip_serializing_if = "empty")]
        pub failcnt: u64,
        #[serde(skip_serializing_if = "empty")]
        pub limit: u64,
    }

    /// Block I/O.
    pub struct BlkioStats {
        pub io_service_bytes_recursive: Option<Vec<BlkioStatEntry>>,
        pub io_serviced_recursive: Option<Vec<BlkioStatEntry>>,
        #[serde(rename = "io_queue_recursive")]
        pub io_queued_recursive: Option<Vec<BlkioStatEntry>>,
        pub io_service_time_recursive: Option<Vec<BlkioStatEntry>>,
        pub io_wait_time_recursive: Option<Vec<BlkioStatEntry>>,
        pub io_merged_recursive: Option<Vec<BlkioStatEntry>>,
        pub io_time_recursive: Option<Vec<BlkioStatEntry>>,
        pub sectors_recursive: Option<Vec<BlkioStatEntry>>,
    }

    /// One figure of one block device.
    pub struct BlkioStatEntry {
        pub major: u64,
        pub minor: u64,
        pub op: String,
        pub value: u64,
    }

    /// Always empty on Linux.
    pub struct StorageStats {
        #[serde(skip_serializing_if = "empty")]
        pub read_count_normalized: u64,
        #[serde(skip_serializing_if = "empty")]
        pub read_size_bytes: u64,
        #[serde(skip_serializing_if = "empty")]
        pub write_count_normalized: u64,
        #[serde(skip_serializing_if = "empty")]
        pub write_size_bytes: u64,
    }

    /// Counters of one interface.
    pub struct NetworkStats {
        pub rx_bytes: u64,
        pub rx_packets: u64,
        pub rx_errors: u64,
        pub rx_dropped: u64,
        pub tx_bytes: u64,
        pub tx_packets: u64,
        pub tx_errors: u64,
        pub tx_dropped: u64,
    }
}
