//! What the machine can do, as far as container limits depend on it.

use std::path::Path;

/// Facts about the machine, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Processors that can be used.
    pub cpus: u32,
    /// Their numbers, as a list like `0-3,6`.
    pub cpu_list: String,
    /// Memory nodes, as a list.
    pub memory_list: String,
    /// The unified cgroup hierarchy has the controllers.
    pub cgroup_v2: bool,
    /// Swap can be limited.
    pub swap_limit: bool,
    /// The OOM killer can be turned off for a cgroup (v1 only).
    pub oom_kill_disable: bool,
    /// Swappiness can be set for a cgroup (v1 only).
    pub swappiness: bool,
    /// Numbers of processes can be limited.
    pub pids_limit: bool,
    /// Block I/O can be weighed.
    pub blkio_weight: bool,
}

impl Host {
    /// Looks at the machine.
    pub fn detect() -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let cgroup_v2 = root.join("cgroup.controllers").exists();
        let memory = root.join("memory");
        let has = |path: &str| root.join(path).exists();
        let controllers = std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let controls = |name: &str| controllers.split_whitespace().any(|there| there == name);
        let list = |path: &str, fallback: String| {
            std::fs::read_to_string(path).map_or(fallback, |text| text.trim().to_owned())
        };
        let cpus = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        Self {
            cpus,
            cpu_list: list("/sys/devices/system/cpu/online", format!("0-{}", cpus.saturating_sub(1))),
            memory_list: list("/sys/devices/system/node/online", "0".to_owned()),
            cgroup_v2,
            swap_limit: if cgroup_v2 {
                v2_swap()
            } else {
                memory.join("memory.memsw.limit_in_bytes").exists()
            },
            oom_kill_disable: !cgroup_v2 && memory.join("memory.oom_control").exists(),
            swappiness: !cgroup_v2 && memory.join("memory.swappiness").exists(),
            pids_limit: if cgroup_v2 { controls("pids") } else { has("pids") },
            blkio_weight: if cgroup_v2 { controls("io") } else { has("blkio/blkio.weight") },
        }
    }
}

/// On v2 the root has no `memory.swap.max`, but that of a container has; so has any group below if the kernel counts
/// swap.
fn v2_swap() -> bool {
    let root = Path::new("/sys/fs/cgroup");
    let groups = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    groups.chain([root.to_owned()]).any(|group| group.join("memory.swap.max").exists())
}

/// Whether every number of `wanted` (a list like `0-2,5`) is in `available`; none if `wanted` cannot
/// be read.
pub fn list_within(wanted: &str, available: &str) -> Option<bool> {
    let wanted = read_list(wanted)?;
    let available = read_list(available)?;
    Some(
        wanted
            .iter()
            .all(|(from, to)| (*from..=*to).all(|n| available.iter().any(|(a, b)| (*a..=*b).contains(&n)))),
    )
}

/// The ranges of a list like `0-2,5`; none if it is none. Numbers past 8191 are no processors.
fn read_list(list: &str) -> Option<Vec<(u32, u32)>> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n < 8192);
    let ranges = list.split(',').filter(|part| !part.is_empty()).map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (number(from)?, number(to)?);
        (from <= to).then_some((from, to))
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(list_within("0-1", "0-3"), Some(true));
        assert_eq!(list_within("", "0"), Some(true));
        assert_eq!(list_within("0,2", "0-1"), Some(false));
        assert_eq!(list_within("1-0", "0-3"), None);
        assert_eq!(list_within("a", "0-3"), None);
        assert_eq!(list_within("0-99999999", "0"), None);
    }

    #[test]
    fn this_machine() {
        let host = Host::detect();
        assert!(host.cpus > 0 && list_within("0", &host.cpu_list) == Some(true));
    }
}
