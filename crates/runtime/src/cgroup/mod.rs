//! Limits and accounting of a container.

mod stats;

pub use stats::{BlkioEntry, BlkioStats, CgroupStats, CpuStats, MemoryStats, PidsStats};

use std::path::PathBuf;

use dray_spec::runtime::Resources;

/// A cgroup operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file of a cgroup could not be read or written.
    #[error("cgroup: {op} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: std::io::Error,
    },
}

/// The cgroup of one container.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    fn later<T>(&self) -> Result<T, CgroupError> {
        Err(CgroupError::Io {
            op: "open",
            path: self.path.clone(),
            source: std::io::ErrorKind::Unsupported.into(),
        })
    }
    /// The existing cgroup of a path below the cgroup root.
    pub fn open(path: &str) -> Result<Cgroup, CgroupError> {
        Ok(Cgroup { path: path.into() })
    }
    /// Freezes all processes.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.later()
    }
    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.later()
    }
    /// Whether they are frozen.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        self.later()
    }
    /// Changes limits.
    pub fn update(&self, _resources: &Resources) -> Result<(), CgroupError> {
        self.later()
    }
    /// What has been used.
    pub fn stats(&self) -> Result<CgroupStats, CgroupError> {
        self.later()
    }
    /// All process ids.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        self.later()
    }
    /// Kills all processes.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        self.later()
    }
}
