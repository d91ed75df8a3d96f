//! Limits: memory, processors, block I/O, processes.

use dray_api::container::Resources;

use super::Invalid;
use crate::container::host::{Host, list_within};

/// Least memory of a container, as Docker has it.
const LEAST_MEMORY: i64 = 6 * 1024 * 1024;

/// Checks limits against each other and the machine; drops those that the kernel lacks, with a
/// warning for each. `update` says that they are added to limits set before.
///
/// # Errors
/// For the first limit that cannot be.
pub fn resources(
    limits: &mut Resources,
    host: &Host,
    update: bool,
    warnings: &mut Vec<String>,
) -> Result<(), Invalid> {
    memory(limits, host, update, warnings)?;
    processors(limits, host)?;
    block_io(limits, host, warnings)?;
    if limits.pids_limit.is_some() && !host.pids_limit {
        if limits.pids_limit.is_some_and(|limit| limit > 0) {
            warnings.push("Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.".into());
        }
        limits.pids_limit = None;
    }
    for limit in limits.ulimits.iter().flatten() {
        if !ULIMITS.contains(&limit.name.as_str()) {
            return Err(Invalid::Ulimit(limit.name.clone()));
        }
        let unlimited = |value: i64| if value < 0 { u64::MAX } else { value.unsigned_abs() };
        if unlimited(limit.soft) > unlimited(limit.hard) {
            return Err(Invalid::UlimitRange { soft: limit.soft, hard: limit.hard });
        }
    }
    Ok(())
}

const ULIMITS: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn memory(
    limits: &mut Resources,
    host: &Host,
    update: bool,
    warnings: &mut Vec<String>,
) -> Result<(), Invalid> {
    if limits.memory != 0 && limits.memory < LEAST_MEMORY {
        return Err(Invalid::MemoryTooSmall);
    }
    if limits.memory > 0 && limits.memory_swap != -1 && !host.swap_limit {
        warnings.push("Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.".into());
        limits.memory_swap = -1;
    }
    if limits.memory > 0 && limits.memory_swap > 0 && limits.memory_swap < limits.memory {
        return Err(Invalid::SwapBelowMemory);
    }
    if limits.memory == 0 && limits.memory_swap > 0 && !update {
        return Err(Invalid::SwapWithoutMemory);
    }
    if limits.memory_swappiness == Some(-1) {
        limits.memory_swappiness = None;
    }
    if limits.memory_swappiness.is_some() && !host.swappiness {
        warnings.push("Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.".into());
        limits.memory_swappiness = None;
    }
    if let Some(swappiness) = limits.memory_swappiness.filter(|value| !(0..=100).contains(value)) {
        return Err(Invalid::Swappiness(swappiness));
    }
    if limits.memory_reservation > 0 && limits.memory_reservation < LEAST_MEMORY {
        return Err(Invalid::ReservationTooSmall);
    }
    if limits.memory > 0 && limits.memory_reservation > limits.memory {
        return Err(Invalid::ReservationAboveLimit);
    }
    if limits.oom_kill_disable.is_some() && !host.oom_kill_disable {
        if limits.oom_kill_disable == Some(true) {
            warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".into());
        }
        limits.oom_kill_disable = None;
    }
    if limits.oom_kill_disable == Some(true) && limits.memory == 0 {
        warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".into());
    }
    Ok(())
}

fn processors(limits: &Resources, host: &Host) -> Result<(), Invalid> {
    if limits.nano_cpus > 0 && limits.cpu_period > 0 {
        return Err(Invalid::NanoCpus("Period"));
    }
    if limits.nano_cpus > 0 && limits.cpu_quota > 0 {
        return Err(Invalid::NanoCpus("Quota"));
    }
    if limits.nano_cpus < 0 || limits.nano_cpus > i64::from(host.cpus) * 1_000_000_000 {
        return Err(Invalid::CpuRange(host.cpus));
    }
    if limits.cpu_shares < 0 {
        return Err(Invalid::CpuShares(limits.cpu_shares));
    }
    if limits.cpu_period != 0 && !(1000..=1_000_000).contains(&limits.cpu_period) {
        return Err(Invalid::CpuPeriod);
    }
    if limits.cpu_quota > 0 && limits.cpu_quota < 1000 {
        return Err(Invalid::CpuQuota);
    }
    cpuset(&limits.cpuset_cpus, &host.cpu_list, "cpus", "CPUs")?;
    cpuset(&limits.cpuset_mems, &host.memory_list, "mems", "memory nodes")
}

fn cpuset(wanted: &str, available: &str, field: &'static str, what: &'static str) -> Result<(), Invalid> {
    match list_within(wanted, available) {
        Some(true) => Ok(()),
        None => Err(Invalid::Cpuset(wanted.to_owned(), field)),
        Some(false) => Err(Invalid::CpusetUnavailable {
            what,
            requested: wanted.to_owned(),
            available: available.to_owned(),
        }),
    }
}

fn block_io(limits: &mut Resources, host: &Host, warnings: &mut Vec<String>) -> Result<(), Invalid> {
    if limits.blkio_weight > 0 && !host.blkio_weight {
        warnings.push(
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
                .into(),
        );
        limits.blkio_weight = 0;
    }
    if limits.blkio_weight > 0 && !(10..=1000).contains(&limits.blkio_weight) {
        return Err(Invalid::BlkioWeight);
    }
    if limits.io_maximum_bandwidth != 0 || limits.io_maximum_iops != 0 {
        return Err(Invalid::WindowsIo);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            cpus: 2,
            cpu_list: "0-1".into(),
            memory_list: "0".into(),
            cgroup_v2: false,
            swap_limit: true,
            oom_kill_disable: true,
            swappiness: true,
            pids_limit: true,
            blkio_weight: true,
        }
    }

    fn refused(edit: impl FnOnce(&mut Resources)) -> String {
        let mut limits = Resources::default();
        edit(&mut limits);
        resources(&mut limits, &host(), false, &mut Vec::new()).unwrap_err().to_string()
    }

    #[test]
    fn refuses_in_dockers_words() {
        assert_eq!(refused(|r| r.memory = 1024), "Minimum memory limit allowed is 6MB");
        assert_eq!(refused(|r| r.memory = -5), "Minimum memory limit allowed is 6MB");
        assert_eq!(
            refused(|r| (r.memory, r.memory_swap) = (64 << 20, 32 << 20)),
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        );
        assert_eq!(
            refused(|r| r.nano_cpus = 3_000_000_000),
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"
        );
        assert_eq!(
            refused(|r| r.cpuset_cpus = "4".into()),
            "Requested CPUs are not available - requested 4, available: 0-1"
        );
        assert_eq!(refused(|r| r.cpuset_cpus = "x".into()), "Invalid value x for cpuset cpus");
        assert_eq!(
            refused(|r| (r.nano_cpus, r.cpu_quota) = (1, 5000)),
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set"
        );
        assert_eq!(refused(|r| r.blkio_weight = 5), "Range of blkio weight is from 10 to 1000");
        assert_eq!(
            refused(|r| r.memory_swappiness = Some(101)),
            "Invalid value: 101, valid memory swappiness range is 0-100"
        );
        let limit = |name: &str, soft, hard| dray_api::container::Ulimit { name: name.into(), soft, hard };
        assert_eq!(refused(|r| r.ulimits = Some(vec![limit("nope", 1, 1)])), "invalid ulimit type: nope");
        assert_eq!(
            refused(|r| r.ulimits = Some(vec![limit("nofile", 9, 1)])),
            "ulimit soft limit must be less than or equal to hard limit: 9 > 1"
        );
    }

    #[test]
    fn what_the_kernel_lacks_is_dropped_with_a_warning() {
        let without = Host { swap_limit: false, pids_limit: false, ..host() };
        let mut limits = Resources { memory: 64 << 20, pids_limit: Some(5), ..Resources::default() };
        let mut warnings = Vec::new();
        resources(&mut limits, &without, false, &mut warnings).unwrap();
        assert_eq!((limits.memory_swap, limits.pids_limit, warnings.len()), (-1, None, 2));
    }
}
