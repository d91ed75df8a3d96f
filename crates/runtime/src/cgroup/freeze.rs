//! Stopping all processes of a cgroup at once, and ending them.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Cgroup, CgroupError, Layout, Result, failed, pids_below, read};

/// How long processes may take to freeze.
const FREEZE_TIME: Duration = Duration::from_secs(10);
/// How long processes may take to end.
const KILL_TIME: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Freezes all processes.
    ///
    /// # Errors
    /// `NotFrozen` if one of them resists for seconds; all go on then.
    pub fn freeze(&self) -> Result<()> {
        let deadline = Instant::now() + FREEZE_TIME;
        let mut pause = Duration::from_micros(100);
        loop {
            // v1 has to be asked again while a new process slips through.
            self.set_frozen(true)?;
            if self.is_frozen()? {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.set_frozen(false)?;
                return Err(CgroupError::NotFrozen { path: self.path.clone() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Lets all processes go on.
    ///
    /// # Errors
    /// Names the file that refused.
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        let (file, value) = match (&self.layout, frozen) {
            (Layout::V2 { .. }, true) => ("cgroup.freeze", "1"),
            (Layout::V2 { .. }, false) => ("cgroup.freeze", "0"),
            (Layout::V1 { .. }, true) => ("freezer.state", "FROZEN"),
            (Layout::V1 { .. }, false) => ("freezer.state", "THAWED"),
        };
        let path = self.dir("freezer").join(file);
        fs::write(&path, value).map_err(failed("write", &path))
    }

    /// Whether all processes are frozen.
    ///
    /// # Errors
    /// Names the file that could not be read.
    pub fn is_frozen(&self) -> Result<bool> {
        Ok(match &self.layout {
            Layout::V2 { .. } => {
                read(&self.dir("").join("cgroup.events"))?.lines().any(|line| line == "frozen 1")
            }
            Layout::V1 { .. } => read(&self.dir("freezer").join("freezer.state"))?.trim() == "FROZEN",
        })
    }

    /// Sends a signal to every process.
    ///
    /// # Errors
    /// None at present: a process that ended meanwhile is no error.
    pub fn signal_all(&self, signal: i32) -> Result<()> {
        for pid in self.pids()? {
            signal_process(pid, signal);
        }
        Ok(())
    }

    /// Kills every process, and waits until they are gone or only zombies remain for their parents.
    ///
    /// # Errors
    /// `Busy` if one survives for seconds.
    pub fn kill_all(&self) -> Result<()> {
        if let Layout::V2 { .. } = self.layout {
            match fs::write(self.dir("").join("cgroup.kill"), "1") {
                Ok(()) => return self.wait_empty(|_| ()),
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Ok(()),
                Err(_) => {}
            }
        }
        // Frozen processes neither fork nor give their ids away between the look and the signal. One that is
        // killed while frozen dies when it is thawed.
        self.wait_empty(|cgroup| {
            let frozen = cgroup.set_frozen(true).is_ok();
            for pid in pids_below(&cgroup.main_dir()) {
                signal_process(pid, 9);
            }
            if frozen {
                let _ = cgroup.set_frozen(false);
            }
        })
    }

    fn wait_empty(&self, again: impl Fn(&Cgroup)) -> Result<()> {
        let deadline = Instant::now() + KILL_TIME;
        let mut pause = Duration::from_micros(200);
        loop {
            again(self);
            if !pids_below(&self.main_dir()).into_iter().any(is_alive) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(CgroupError::Busy { path: self.path.clone() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

fn signal_process(pid: i32, signal: i32) {
    if pid > 0 {
        // It may have ended: then there is nothing to do.
        let _ = dray_sys::process::signal_pid(pid, signal);
    }
}

/// Whether a process is more than a zombie.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}
