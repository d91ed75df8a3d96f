//! From limits to file writes, without any I/O: one planner for v1, one for v2.

use dray_spec::runtime::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};

/// One value to write into one file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// v1 controller; on v2 the controller that must be enabled.
    pub controller: &'static str,
    /// File name.
    pub file: String,
    /// Value.
    pub value: String,
    /// The kernel may lack the file: then the limit does not apply, as Docker warns at its start.
    pub optional: bool,
}

fn write(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Write {
    Write { controller, file: file.into(), value: value.to_string(), optional: false }
}

fn maybe(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Write {
    Write { optional: true, ..write(controller, file, value) }
}

/// A limit that cannot be expressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Memory and swap together below memory alone.
    #[error("memory+swap limit {swap} is less than the memory limit {limit}")]
    SwapBelowMemory {
        /// Memory and swap.
        swap: i64,
        /// Memory.
        limit: i64,
    },
    /// v2 files on a machine without v2.
    #[error("unified resource {name:?} needs cgroup v2")]
    UnifiedOnV1 {
        /// The file.
        name: String,
    },
    /// A name that leaves the cgroup's directory.
    #[error("unified resource {name:?} is not a file name")]
    BadUnifiedName {
        /// The name.
        name: String,
    },
}

/// The writes of a v1 machine. Device rules are not among them.
pub fn v1(resources: &Resources) -> Result<Vec<Write>, PlanError> {
    if let Some(name) = resources.unified.keys().next() {
        return Err(PlanError::UnifiedOnV1 { name: name.clone() });
    }
    let mut writes = Vec::new();
    if let Some(memory) = &resources.memory {
        v1_memory(memory, &mut writes);
    }
    if let Some(cpu) = &resources.cpu {
        v1_cpu(cpu, &mut writes);
    }
    if let Some(pids) = &resources.pids {
        writes.push(write("pids", "pids.max", pids_max(pids.limit)));
    }
    if let Some(io) = &resources.block_io {
        v1_blkio(io, &mut writes);
    }
    for limit in &resources.hugepage_limits {
        let file = format!("hugetlb.{}.limit_in_bytes", limit.page_size);
        writes.push(write("hugetlb", file, limit.limit));
    }
    if let Some(network) = &resources.network {
        if let Some(class) = network.class_id.filter(|&class| class != 0) {
            writes.push(write("net_cls", "net_cls.classid", class));
        }
        for entry in &network.priorities {
            writes.push(write(
                "net_prio",
                "net_prio.ifpriomap",
                format!("{} {}", entry.name, entry.priority),
            ));
        }
    }
    rdma(resources, &mut writes);
    Ok(writes)
}

fn v1_memory(memory: &Memory, writes: &mut Vec<Write>) {
    let mut set = |file: &str, value: Option<i64>| {
        if let Some(value) = value.filter(|&value| value != 0) {
            writes.push(write("memory", file, value));
        }
    };
    set("memory.limit_in_bytes", memory.limit);
    set("memory.soft_limit_in_bytes", memory.reservation);
    if let Some(swap) = memory.swap.filter(|&swap| swap != 0) {
        writes.push(maybe("memory", "memory.memsw.limit_in_bytes", swap));
    }
    if let Some(tcp) = memory.kernel_tcp.filter(|&tcp| tcp != 0) {
        writes.push(maybe("memory", "memory.kmem.tcp.limit_in_bytes", tcp));
    }
    if let Some(swappiness) = memory.swappiness.filter(|&value| value <= 100) {
        writes.push(write("memory", "memory.swappiness", swappiness));
    }
    if memory.disable_oom_killer == Some(true) {
        writes.push(write("memory", "memory.oom_control", 1));
    }
}

fn v1_cpu(cpu: &Cpu, writes: &mut Vec<Write>) {
    let mut set = |file: &str, value: Option<String>| {
        if let Some(value) = value {
            writes.push(write("cpu", file, value));
        }
    };
    let nonzero = |value: Option<u64>| value.filter(|&v| v != 0).map(|v| v.to_string());
    set("cpu.shares", nonzero(cpu.shares));
    set("cpu.cfs_period_us", nonzero(cpu.period));
    set("cpu.cfs_quota_us", cpu.quota.filter(|&quota| quota != 0).map(|quota| quota.to_string()));
    set("cpu.cfs_burst_us", cpu.burst.map(|burst| burst.to_string()));
    set("cpu.rt_period_us", nonzero(cpu.realtime_period));
    set("cpu.rt_runtime_us", cpu.realtime_runtime.filter(|&v| v != 0).map(|v| v.to_string()));
    set("cpu.idle", cpu.idle.map(|idle| idle.to_string()));
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            writes.push(write("cpuset", file, value));
        }
    }
}

fn v1_blkio(io: &BlockIo, writes: &mut Vec<Write>) {
    if let Some(weight) = io.weight.filter(|&weight| weight != 0) {
        writes.push(maybe("blkio", "blkio.bfq.weight", weight));
        writes.push(maybe("blkio", "blkio.weight", weight));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            writes.push(maybe("blkio", "blkio.bfq.weight_device", &value));
            writes.push(maybe("blkio", "blkio.weight_device", &value));
        }
    }
    let throttles = [
        ("blkio.throttle.read_bps_device", &io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &io.throttle_write_iops_device),
    ];
    for (file, devices) in throttles {
        for ThrottleDevice { major, minor, rate } in devices {
            writes.push(write("blkio", file, format!("{major}:{minor} {rate}")));
        }
    }
}

fn rdma(resources: &Resources, writes: &mut Vec<Write>) {
    for (device, limit) in &resources.rdma {
        let part = |key: &str, value: Option<u32>| value.map(|v| format!(" {key}={v}")).unwrap_or_default();
        let value = format!(
            "{device}{}{}",
            part("hca_handle", limit.hca_handles),
            part("hca_object", limit.hca_objects)
        );
        writes.push(write("rdma", "rdma.max", value));
    }
}

fn pids_max(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".to_owned() }
}

/// The writes of a v2 machine. Device rules are not among them.
pub fn v2(resources: &Resources) -> Result<Vec<Write>, PlanError> {
    let mut writes = Vec::new();
    if let Some(memory) = &resources.memory {
        v2_memory(memory, &mut writes)?;
    }
    if let Some(cpu) = &resources.cpu {
        v2_cpu(cpu, &mut writes);
    }
    if let Some(pids) = &resources.pids {
        writes.push(write("pids", "pids.max", pids_max(pids.limit)));
    }
    if let Some(io) = &resources.block_io {
        v2_io(io, &mut writes);
    }
    for limit in &resources.hugepage_limits {
        writes.push(write("hugetlb", format!("hugetlb.{}.max", limit.page_size), limit.limit));
        writes.push(maybe("hugetlb", format!("hugetlb.{}.rsvd.max", limit.page_size), limit.limit));
    }
    rdma(resources, &mut writes);
    for (name, value) in &resources.unified {
        if name.contains('/') || name.is_empty() {
            return Err(PlanError::BadUnifiedName { name: name.clone() });
        }
        let controller = match name.split('.').next() {
            Some("memory") => "memory",
            Some("cpu") => "cpu",
            Some("cpuset") => "cpuset",
            Some("io") => "io",
            Some("pids") => "pids",
            Some("hugetlb") => "hugetlb",
            Some("rdma") => "rdma",
            _ => "",
        };
        writes.extend(value.lines().map(|line| write(controller, name, line)));
    }
    Ok(writes)
}

fn max_or(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn v2_memory(memory: &Memory, writes: &mut Vec<Write>) -> Result<(), PlanError> {
    let limit = memory.limit.filter(|&limit| limit != 0);
    if let Some(swap) = memory.swap.filter(|&swap| swap != 0) {
        let value = match limit {
            _ if swap < 0 => "max".to_owned(),
            Some(limit) if limit > 0 && swap < limit => {
                return Err(PlanError::SwapBelowMemory { swap, limit });
            }
            Some(limit) if limit > 0 => (swap - limit).to_string(),
            _ => swap.to_string(),
        };
        writes.push(maybe("memory", "memory.swap.max", value));
    } else if limit.is_some_and(|limit| limit < 0) {
        writes.push(maybe("memory", "memory.swap.max", "max"));
    }
    if let Some(limit) = limit {
        writes.push(write("memory", "memory.max", max_or(limit)));
    }
    if let Some(reservation) = memory.reservation.filter(|&value| value != 0) {
        writes.push(write("memory", "memory.low", max_or(reservation)));
    }
    Ok(())
}

/// `cpu.weight` (1 to 10000) of v1 shares (2 to 262144).
pub fn cpu_weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// `io.weight` (1 to 10000) of a v1 weight (10 to 1000).
pub fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

fn v2_cpu(cpu: &Cpu, writes: &mut Vec<Write>) {
    if let Some(idle) = cpu.idle {
        writes.push(write("cpu", "cpu.idle", idle));
    }
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
        writes.push(write("cpu", "cpu.weight", cpu_weight(shares)));
    }
    let quota = cpu.quota.filter(|&quota| quota != 0);
    let period = cpu.period.filter(|&period| period != 0);
    match (quota, period) {
        (None, None) => {}
        (quota, None) => writes.push(write("cpu", "cpu.max", max_or(quota.unwrap_or(-1)))),
        (quota, Some(period)) => {
            writes.push(write("cpu", "cpu.max", format!("{} {period}", max_or(quota.unwrap_or(-1)))));
        }
    }
    if let Some(burst) = cpu.burst {
        writes.push(write("cpu", "cpu.max.burst", burst));
    }
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            writes.push(write("cpuset", file, value));
        }
    }
}

fn v2_io(io: &BlockIo, writes: &mut Vec<Write>) {
    if let Some(weight) = io.weight.filter(|&weight| weight != 0) {
        writes.push(maybe("io", "io.bfq.weight", weight));
        writes.push(maybe("io", "io.weight", io_weight(weight)));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            writes.push(maybe("io", "io.bfq.weight", format!("{}:{} {weight}", device.major, device.minor)));
        }
    }
    let throttles = [
        ("rbps", &io.throttle_read_bps_device),
        ("wbps", &io.throttle_write_bps_device),
        ("riops", &io.throttle_read_iops_device),
        ("wiops", &io.throttle_write_iops_device),
    ];
    for (key, devices) in throttles {
        for ThrottleDevice { major, minor, rate } in devices {
            writes.push(write("io", "io.max", format!("{major}:{minor} {key}={rate}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dray_spec::runtime::Pids;

    fn resources() -> Resources {
        Resources {
            memory: Some(Memory {
                limit: Some(64 << 20),
                swap: Some(128 << 20),
                reservation: Some(32 << 20),
                ..Memory::default()
            }),
            cpu: Some(Cpu {
                shares: Some(1024),
                quota: Some(50_000),
                period: Some(100_000),
                cpus: Some("0-1".to_owned()),
                ..Cpu::default()
            }),
            pids: Some(Pids { limit: 100 }),
            block_io: Some(BlockIo {
                weight: Some(1000),
                throttle_read_bps_device: vec![ThrottleDevice { major: 8, minor: 0, rate: 1 << 20 }],
                ..BlockIo::default()
            }),
            ..Resources::default()
        }
    }

    fn lines(writes: &[Write]) -> Vec<String> {
        writes.iter().map(|w| format!("{}={}", w.file, w.value)).collect()
    }

    #[test]
    fn v1_writes_each_limit_into_its_controller() {
        assert_eq!(
            lines(&v1(&resources()).unwrap()),
            [
                "memory.limit_in_bytes=67108864",
                "memory.soft_limit_in_bytes=33554432",
                "memory.memsw.limit_in_bytes=134217728",
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "cpuset.cpus=0-1",
                "pids.max=100",
                "blkio.bfq.weight=1000",
                "blkio.weight=1000",
                "blkio.throttle.read_bps_device=8:0 1048576",
            ]
        );
    }

    #[test]
    fn v2_converts_shares_weights_and_swap() {
        assert_eq!(
            lines(&v2(&resources()).unwrap()),
            [
                "memory.swap.max=67108864",
                "memory.max=67108864",
                "memory.low=33554432",
                "cpu.weight=39",
                "cpu.max=50000 100000",
                "cpuset.cpus=0-1",
                "pids.max=100",
                "io.bfq.weight=1000",
                "io.weight=10000",
                "io.max=8:0 rbps=1048576",
            ]
        );
        assert_eq!((cpu_weight(2), cpu_weight(262_144)), (1, 10_000));
        assert_eq!((io_weight(10), io_weight(1000)), (1, 10_000));
    }

    #[test]
    fn unlimited_and_impossible_values() {
        let memory = |limit, swap| Resources {
            memory: Some(Memory { limit: Some(limit), swap: Some(swap), ..Memory::default() }),
            ..Resources::default()
        };
        assert_eq!(lines(&v2(&memory(-1, -1)).unwrap()), ["memory.swap.max=max", "memory.max=max"]);
        let error = v2(&memory(200, 100)).unwrap_err();
        assert_eq!(error, PlanError::SwapBelowMemory { swap: 100, limit: 200 });
        let pids = Resources { pids: Some(Pids { limit: -1 }), ..Resources::default() };
        assert_eq!(lines(&v1(&pids).unwrap()), ["pids.max=max"]);
        let mut unified = Resources::default();
        unified.unified.insert("../memory.max".into(), "1".into());
        assert!(matches!(v2(&unified), Err(PlanError::BadUnifiedName { .. })));
        assert!(matches!(v1(&unified), Err(PlanError::UnifiedOnV1 { .. })));
    }
}
