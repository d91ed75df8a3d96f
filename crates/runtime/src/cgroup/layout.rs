//! Where the machine keeps its cgroups: v1, v2, or v1 with a v2 tree beside it (hybrid).
//!
//! Only the standard places are looked at, with one statfs each; a mountinfo of thousands of lines is never
//! read on the way to a container.

use std::path::{Path, PathBuf};

/// Where hierarchies are mounted.
pub const ROOT: &str = "/sys/fs/cgroup";

const CGROUP_MAGIC: u64 = 0x0027_e0eb;
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// v1 controllers every container joins, for limits that may come later and for accounting.
pub const BASE: [&str; 7] = ["memory", "cpu", "cpuacct", "pids", "devices", "freezer", "blkio"];

/// v1 controllers a container joins only when its limits speak of them.
pub const ON_DEMAND: [&str; 5] = ["cpuset", "hugetlb", "net_cls", "net_prio", "rdma"];

/// The hierarchies of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One tree for all controllers.
    V2 {
        /// Its mount point.
        root: PathBuf,
    },
    /// A tree for each controller.
    V1 {
        /// Directory of the mount points.
        root: PathBuf,
        /// Controllers that are mounted there.
        controllers: Vec<&'static str>,
        /// The v2 tree of a hybrid machine.
        unified: Option<PathBuf>,
    },
}

impl Layout {
    /// Looks at the machine. `None` if no cgroups are mounted.
    pub fn detect() -> Option<Layout> {
        detect_with(Path::new(ROOT), |path| rustix::fs::statfs(path).ok().map(|stat| stat.f_type as u64))
    }

    /// Directory of a controller's cgroup.
    pub fn dir(&self, controller: &str, path: &str) -> PathBuf {
        let below = path.trim_start_matches('/');
        match self {
            Layout::V2 { root } => root.join(below),
            Layout::V1 { root, .. } => root.join(controller).join(below),
        }
    }

    /// Whether a v1 controller is mounted.
    pub fn has(&self, controller: &str) -> bool {
        match self {
            Layout::V2 { .. } => false,
            Layout::V1 { controllers, .. } => controllers.contains(&controller),
        }
    }
}

/// The same with the look at the machine handed in: `magic` tells the file system type of a path.
pub fn detect_with(root: &Path, magic: impl Fn(&Path) -> Option<u64>) -> Option<Layout> {
    if magic(root)? == CGROUP2_MAGIC {
        return Some(Layout::V2 { root: root.to_owned() });
    }
    let mounted = |name: &&str| magic(&root.join(name)) == Some(CGROUP_MAGIC);
    let controllers: Vec<&'static str> =
        BASE.into_iter().chain(ON_DEMAND).filter(|name| mounted(name)).collect();
    let unified = root.join("unified");
    let unified = (magic(&unified) == Some(CGROUP2_MAGIC)).then_some(unified);
    if controllers.is_empty() && unified.is_none() {
        return None;
    }
    Some(Layout::V1 { root: root.to_owned(), controllers, unified })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_v2_hybrid_and_none_apart() {
        let root = Path::new("/c");
        let v2 = detect_with(root, |_| Some(CGROUP2_MAGIC));
        assert_eq!(v2, Some(Layout::V2 { root: root.to_owned() }));
        assert_eq!(v2.unwrap().dir("memory", "/dray/x"), Path::new("/c/dray/x"));
        let hybrid = detect_with(root, |path| {
            Some(match path.file_name().and_then(|n| n.to_str()) {
                Some("memory" | "pids") => CGROUP_MAGIC,
                Some("unified") => CGROUP2_MAGIC,
                _ => 0x0102_1994,
            })
        });
        let expected = Layout::V1 {
            root: root.to_owned(),
            controllers: vec!["memory", "pids"],
            unified: Some(root.join("unified")),
        };
        assert_eq!(hybrid, Some(expected.clone()));
        assert_eq!(expected.dir("pids", "/dray/x"), Path::new("/c/pids/dray/x"));
        assert_eq!(detect_with(root, |_| Some(0x0102_1994)), None);
        assert_eq!(detect_with(root, |_| None), None);
    }
}
