//! Cleaning up after a shim that was killed.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::client::{ShimError, exit_status, read_state};
use super::request::{ExitStatus, ShimState};
use super::server::write_exit;
use crate::cgroup::{Cgroup, CgroupError};
use crate::clock::{Stamp, process_start};

/// How long the init may take to end.
const KILL_TIME: Duration = Duration::from_secs(10);

/// Kills what is left, removes the cgroup, writes exit status 137.
pub fn reap(run_dir: &Path) -> Result<ExitStatus, ShimError> {
    let io = |op| move |source| ShimError::Io { op, source };
    let state = read_state(run_dir);
    if let Some(state) = &state {
        kill_init(state.init_pid, state.init_start_time);
    }
    let oom_killed = match cgroup_of(run_dir, state.as_ref()) {
        Some(path) => remove_cgroup(&path)?,
        None => false,
    };
    let _ = std::fs::remove_file(run_dir.join("shim.sock"));
    if let Some(status) = exit_status(run_dir) {
        return Ok(status);
    }
    let status = ExitStatus { code: 137, oom_killed, finished_at: Stamp::now().to_string() };
    let file = write_exit(run_dir, &status).map_err(io("write exit.json"))?;
    file.sync_all().map_err(io("sync exit.json"))?;
    Ok(status)
}

/// Where the container's cgroup is. A shim that was killed before it could say was in the usual place.
fn cgroup_of(run_dir: &Path, state: Option<&ShimState>) -> Option<String> {
    let usual = || Some(format!("{}/{}", crate::cgroup::PARENT, run_dir.file_name()?.to_str()?));
    state.map(|state| state.cgroup.clone()).or_else(usual)
}

/// Removes the cgroup and says whether memory had run out in it.
fn remove_cgroup(path: &str) -> Result<bool, CgroupError> {
    match Cgroup::open(path) {
        Ok(cgroup) => {
            let oom_killed = cgroup.oom_kills() > 0;
            cgroup.remove()?;
            Ok(oom_killed)
        }
        Err(CgroupError::NotMounted) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Kills the init if it is still the process it was, and waits until it is gone.
fn kill_init(pid: i32, start_time: u64) {
    let Some(raw) = Pid::from_raw(pid) else { return };
    let Ok(pidfd) = pidfd_open(raw, PidfdFlags::empty()) else { return };
    // Looked at after the pidfd is there: from now on the id cannot become another process unnoticed.
    if process_start(pid) != Some(start_time) {
        return;
    }
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    let deadline = Instant::now() + KILL_TIME;
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    while Instant::now() < deadline {
        let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        // Readable once it is a zombie; who reaps it is its new parent's business.
        if rustix::event::poll(&mut fds, Some(&wait)).is_ok_and(|ready| ready > 0) {
            return;
        }
    }
}
