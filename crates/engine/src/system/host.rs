//! What the host is: kernel, distribution, memory, cgroups.

use std::fs;

/// Kernel release, as `uname -r`.
pub(super) fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Machine, as `uname -m`.
pub(super) fn machine() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}

/// The host's name.
pub(super) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Go's name of this architecture.
pub(super) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// `PRETTY_NAME` and `VERSION_ID` of the distribution.
pub(super) fn distribution() -> (String, String) {
    let text =
        ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| fs::read_to_string(path).ok());
    release(&text.unwrap_or_default())
}

fn release(text: &str) -> (String, String) {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
    };
    let name = value("PRETTY_NAME");
    (if name.is_empty() { "Linux".to_owned() } else { name }, value("VERSION_ID"))
}

/// Bytes of memory.
pub(super) fn memory() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<i64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Processors this daemon may use.
pub(super) fn cpus() -> i64 {
    std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(i64::MAX))
}

/// Open descriptors of this process.
pub(super) fn descriptors() -> i64 {
    fs::read_dir("/proc/self/fd").map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(0))
}

/// Threads of this process.
pub(super) fn threads() -> i64 {
    fs::read_dir("/proc/self/task").map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(0))
}

/// Whether IPv4 packets are forwarded.
pub(super) fn forwards_ipv4() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1")
}

/// The cgroup hierarchy that limits containers here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cgroups {
    V1,
    V2,
}

impl Cgroups {
    pub fn detect() -> Self {
        if fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false) {
            Cgroups::V2
        } else {
            Cgroups::V1
        }
    }

    pub fn version(self) -> &'static str {
        match self {
            Cgroups::V1 => "1",
            Cgroups::V2 => "2",
        }
    }

    /// Whether a controller is there; on v1 also one of its files.
    pub fn has(self, controller: &str, file: &str) -> bool {
        match self {
            Cgroups::V1 => {
                let folder = format!("/sys/fs/cgroup/{controller}");
                if file.is_empty() { fs::exists(&folder) } else { fs::exists(format!("{folder}/{file}")) }
                    .unwrap_or(false)
            }
            Cgroups::V2 => {
                let list = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
                list.split_whitespace().any(|name| name == controller)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_distribution() {
        let text = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID='13'\n";
        assert_eq!(release(text), ("Debian GNU/Linux 13 (trixie)".into(), "13".into()));
        assert_eq!(release(""), ("Linux".into(), String::new()));
    }

    #[test]
    fn this_host_has_something() {
        assert!(memory() > 0 && cpus() > 0 && descriptors() > 0 && threads() > 0);
        assert!(!kernel().is_empty() && !hostname().is_empty());
    }
}
