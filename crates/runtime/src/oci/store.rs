//! What is kept of a container between two commands.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dray_spec::runtime::{Spec, State, Status};
use std::os::fd::AsFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::{Global, OciError, io_error};
use crate::cgroup::{Cgroup, CgroupError};
use crate::clock::process_start;
use crate::shim::server::replace_file;

/// `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Container id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root.
    pub rootfs: PathBuf,
    /// Process id of the init.
    pub pid: i32,
    /// Start time of the init, which tells it from a later process of the same id.
    pub start_time: u64,
    /// Path of the cgroup.
    pub cgroup: String,
    /// When it was made.
    pub created: String,
    /// It has a user namespace of its own.
    pub user_namespace: bool,
}

/// A container of this root.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub dir: PathBuf,
    /// What is kept of it.
    pub record: Record,
}

/// Checks an id as runc does.
pub fn check_id(id: &str) -> Result<(), OciError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if !id.is_empty() && id.len() <= 1024 && id != "." && id != ".." && id.chars().all(good) {
        Ok(())
    } else {
        Err(OciError::BadId { id: id.to_owned() })
    }
}

impl Container {
    /// The container of an id.
    pub fn load(global: &Global, id: &str) -> Result<Container, OciError> {
        check_id(id)?;
        let dir = global.root.join(id);
        let path = dir.join("state.json");
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(OciError::Missing { id: id.to_owned() });
            }
            other => other.map_err(io_error("read", &path))?,
        };
        let record = serde_json::from_slice(&bytes).map_err(|source| OciError::Json { path, source })?;
        Ok(Container { dir, record })
    }

    /// All containers of a root.
    pub fn all(global: &Global) -> Vec<Container> {
        let Ok(entries) = fs::read_dir(&global.root) else { return Vec::new() };
        let mut ids: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        ids.sort();
        ids.iter().filter_map(|id| Container::load(global, id).ok()).collect()
    }

    /// Writes its record.
    pub fn save(&self) -> Result<(), OciError> {
        let path = self.dir.join("state.json");
        let text = serde_json::to_vec(&self.record)
            .map_err(|source| OciError::Json { path: path.clone(), source })?;
        replace_file(&self.dir, "state.json", &text).map(drop).map_err(io_error("write", path))
    }

    /// Its configuration at create.
    pub fn spec(&self) -> Result<Spec, OciError> {
        read_spec(&self.dir.join("config.json"))
    }

    /// Where in its life it is.
    pub fn status(&self) -> Status {
        if !self.is_alive() {
            Status::Stopped
        } else if self.fifo().exists() {
            Status::Created
        } else if self.cgroup().is_ok_and(|cgroup| cgroup.is_some_and(|c| c.is_frozen().unwrap_or(false))) {
            Status::Paused
        } else {
            Status::Running
        }
    }

    fn is_alive(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.record.pid)).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        !matches!(state, None | Some('Z' | 'X'))
            && process_start(self.record.pid) == Some(self.record.start_time)
    }

    /// The pipe its init waits on.
    pub fn fifo(&self) -> PathBuf {
        self.dir.join("exec.fifo")
    }

    /// Its cgroup; `None` where the machine has none.
    pub fn cgroup(&self) -> Result<Option<Cgroup>, OciError> {
        match Cgroup::open(&self.record.cgroup) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(CgroupError::NotMounted) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Its init; an error if it has ended.
    pub fn init(&self) -> Result<std::os::fd::OwnedFd, OciError> {
        let pid = Pid::from_raw(self.record.pid).ok_or(OciError::NotRunning)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| OciError::NotRunning)?;
        // Looked at after the pidfd is there: it is the init, or the id has become another process.
        if self.is_alive() { Ok(pidfd) } else { Err(OciError::NotRunning) }
    }

    /// Sends a signal to its init.
    pub fn signal(&self, signal: i32) -> Result<(), OciError> {
        dray_sys::process::signal(self.init()?.as_fd(), signal).map_err(|error| {
            match rustix::io::Errno::from_io_error(&error) {
                Some(rustix::io::Errno::SRCH) => OciError::NotRunning,
                _ => io_error("signal", self.record.pid.to_string())(error),
            }
        })
    }

    /// The state document.
    pub fn state(&self, status: Status) -> State {
        let spec = self.spec().unwrap_or_default();
        State {
            oci_version: spec.oci_version,
            id: self.record.id.clone(),
            status,
            pid: Some(if status == Status::Stopped { 0 } else { self.record.pid }),
            bundle: self.record.bundle.clone(),
            annotations: spec.annotations,
        }
    }
}

/// Reads a configuration.
pub fn read_spec(path: &Path) -> Result<Spec, OciError> {
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| OciError::Json { path: path.to_owned(), source })
}

/// Number of a signal by name or number: `KILL`, `SIGTERM`, `9`, `RTMIN+3`.
pub fn signal(text: &str) -> Result<i32, OciError> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    const RTMIN: i32 = 34;
    const MAX: i32 = 64;
    let upper = text.to_ascii_uppercase();
    let plain = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().position(|&known| known == plain).and_then(|at| i32::try_from(at + 1).ok());
    let real_time = plain.strip_prefix("RTMIN").and_then(|rest| match rest {
        "" => Some(RTMIN),
        offset => offset.strip_prefix('+')?.parse().ok().map(|offset: i32| RTMIN.saturating_add(offset)),
    });
    let number = plain.parse().ok().or(named).or(real_time);
    number
        .filter(|number| (1..=MAX).contains(number))
        .ok_or_else(|| OciError::Usage { text: format!("unknown signal {text:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_signals() {
        assert!(check_id("a_b-c.d+1").is_ok());
        for bad in ["", "..", "a/b", "a b"] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
        assert_eq!(signal("KILL").unwrap(), 9);
        assert_eq!(signal("sigterm").unwrap(), 15);
        assert_eq!(signal("RTMIN+3").unwrap(), 37);
        assert!(signal("NOSUCH").is_err());
    }
}
