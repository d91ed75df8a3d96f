//! What is kept of a container: its record in the store, and the state in it.
//!
//! A record is written before what it says is acknowledged. The state goes
//!
//! ```text
//! created ──▶ starting ──▶ running ──▶ exited ──▶ starting …
//!                │           ▲ │ paused
//!                ▼           └─┘ restarting (waits for its next start)
//!             exited                          any of them ──▶ removing ──▶ (gone)
//! ```
//!
//! A daemon that finds `starting` or `running` at its own start asks the shim what is true.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dray_api::container::{ContainerConfig, Health, HostConfig, PortMap};
use dray_api::duration;
use dray_api::network::EndpointSettings;
use dray_store::LayerId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::mount::MountPoint;

/// Everything durable about a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// 64 hex digits.
    pub id: String,
    /// Without the leading slash.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The portable configuration, the image's merged in.
    pub config: ContainerConfig,
    /// The host's part.
    pub host: HostConfig,
    /// Id of the image, as `sha256:…`.
    pub image: String,
    /// The image's layers, the bottom one first.
    pub layers: Vec<LayerId>,
    /// Operating system and architecture of the image, as `linux/amd64`.
    pub platform: String,
    /// Its mounts, by destination in order.
    pub mounts: Vec<MountPoint>,
    /// Its endpoints by network name.
    pub endpoints: BTreeMap<String, EndpointSettings>,
    /// Published and exposed ports while it runs.
    pub ports: PortMap,
    /// `NetworkSettings.SandboxID` while it runs.
    pub sandbox_id: String,
    /// Path of the network namespace while it runs.
    pub netns: Option<PathBuf>,
    /// What it is doing.
    pub state: State,
    /// How often its restart policy has started it again.
    pub restart_count: u32,
    /// Stopped by a request: its restart policy leaves it alone.
    pub manually_stopped: bool,
    /// It has run at least once.
    pub started_before: bool,
}

/// What a container is doing. `running`, `paused` and `restarting` are not exclusive, as in Docker:
/// a container that waits for its restart counts as running.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// A start is under way: the shim may exist already.
    pub starting: bool,
    /// It runs.
    pub running: bool,
    /// It is frozen.
    pub paused: bool,
    /// It waits for its next start.
    pub restarting: bool,
    /// It is being removed.
    pub removing: bool,
    /// Its removal has failed half-way.
    pub dead: bool,
    /// Its anonymous volumes are to go with it.
    pub removing_volumes: bool,
    /// Process id of its init on the host, 0 when it does not run.
    pub pid: i32,
    /// Start time of the init, so that a recycled process id is told apart.
    pub pid_start: u64,
    /// Exit code of its last run.
    pub exit_code: i32,
    /// Why its last start failed.
    pub error: String,
    /// The kernel killed one of its processes for lack of memory.
    pub oom_killed: bool,
    /// When it was last started.
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    pub finished_at: Option<Timestamp>,
    /// What the health checks say, while there are any.
    pub health: Option<Health>,
}

impl State {
    /// The one word for it.
    pub fn status(&self) -> &'static str {
        if self.running {
            return match (self.paused, self.restarting) {
                (true, _) => "paused",
                (false, true) => "restarting",
                (false, false) => "running",
            };
        }
        match self {
            Self { removing: true, .. } => "removing",
            Self { dead: true, .. } => "dead",
            Self { started_at: None, .. } => "created",
            _ => "exited",
        }
    }

    /// The sentence for it in `docker ps`.
    pub fn sentence(&self, now: Timestamp) -> String {
        let since = |time: Option<Timestamp>| {
            duration::human(time.map_or(0, |time| now.duration_since(time).as_secs()))
        };
        if self.running {
            if self.paused {
                return format!("Up {} (Paused)", since(self.started_at));
            }
            if self.restarting {
                return format!("Restarting ({}) {} ago", self.exit_code, since(self.finished_at));
            }
            return match &self.health {
                Some(health) if health.status == "starting" => {
                    format!("Up {} (health: starting)", since(self.started_at))
                }
                Some(health) if !health.status.is_empty() && health.status != "none" => {
                    format!("Up {} ({})", since(self.started_at), health.status)
                }
                _ => format!("Up {}", since(self.started_at)),
            };
        }
        match self {
            Self { removing: true, .. } => "Removal In Progress".into(),
            Self { dead: true, .. } => "Dead".into(),
            Self { started_at: None, .. } => "Created".into(),
            Self { finished_at: None, .. } => String::new(),
            _ => format!("Exited ({}) {} ago", self.exit_code, since(self.finished_at)),
        }
    }

    /// It now runs, with this init.
    pub fn set_running(&mut self, pid: i32, pid_start: u64, started_at: Timestamp) {
        let health = self.health.take();
        *self = Self {
            running: true,
            pid,
            pid_start,
            started_at: Some(started_at),
            finished_at: self.finished_at,
            health,
            ..Self::default()
        };
    }

    /// It has ended.
    pub fn set_stopped(&mut self, exit_code: i32, oom_killed: bool, finished_at: Timestamp) {
        (self.starting, self.running, self.paused, self.restarting) = (false, false, false, false);
        (self.pid, self.pid_start) = (0, 0);
        (self.exit_code, self.oom_killed) = (exit_code, oom_killed);
        self.finished_at = Some(finished_at);
    }

    /// It has ended and waits for its next start.
    pub fn set_restarting(&mut self, exit_code: i32, oom_killed: bool, finished_at: Timestamp) {
        self.set_stopped(exit_code, oom_killed, finished_at);
        (self.running, self.restarting) = (true, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_in_words() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut state = State::default();
        assert_eq!((state.status(), state.sentence(at(0)).as_str()), ("created", "Created"));
        state.set_running(7, 1, at(100));
        assert_eq!((state.status(), state.sentence(at(105)).as_str()), ("running", "Up 5 seconds"));
        state.paused = true;
        assert_eq!((state.status(), state.sentence(at(105)).as_str()), ("paused", "Up 5 seconds (Paused)"));
        state.set_restarting(3, false, at(110));
        assert_eq!(
            (state.status(), state.sentence(at(112)).as_str()),
            ("restarting", "Restarting (3) 2 seconds ago")
        );
        state.set_stopped(137, true, at(120));
        assert_eq!(
            (state.status(), state.sentence(at(180)).as_str()),
            ("exited", "Exited (137) About a minute ago")
        );
        assert!(state.oom_killed && state.pid == 0);
        state.set_running(8, 1, at(200));
        state.health = Some(Health { status: "healthy".into(), ..Health::default() });
        assert_eq!(state.sentence(at(205)), "Up 5 seconds (healthy)");
    }
}
