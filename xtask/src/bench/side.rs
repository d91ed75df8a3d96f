//! A side of the comparison: a daemon that runs, and the client that its users type.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use dray_harness::peer::Dockerd;
use dray_harness::{Client, Daemon};

/// Who is measured.
pub struct Side {
    /// `dray` or `docker`.
    pub name: &'static str,
    /// The client.
    pub client: Client,
    engine: Engine,
}

enum Engine {
    Dray(Box<Daemon>),
    Docker(Dockerd),
}

impl Side {
    /// A private Dray daemon with Dray's client.
    pub fn dray() -> Result<Self> {
        let daemon = Daemon::empty();
        Ok(Self { name: "dray", client: daemon.dray(), engine: Engine::Dray(Box::new(daemon)) })
    }

    /// Debian's dockerd with Docker's client.
    pub fn docker() -> Result<Self> {
        let peer = Dockerd::here();
        Ok(Self { name: "docker", client: peer.client(), engine: Engine::Docker(peer) })
    }

    /// Loads an image archive.
    pub fn load(&self, archive: &Path) -> Result<()> {
        self.run(["load", "-qi", &archive.to_string_lossy()]).map(drop)
    }

    /// Runs a command line to its end and gives what it printed.
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let mut command = self.client.command(arguments);
        let line = format!("{command:?}");
        let output = command.stdin(Stdio::null()).output().with_context(|| line.clone())?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A line without blanks inside its arguments.
    pub fn sh(&self, line: &str) -> Result<String> {
        self.run(line.split_whitespace())
    }

    /// Starts a command line.
    pub fn spawn(&self, line: &str) -> Result<Child> {
        let mut command = self.client.command(line.split_whitespace());
        Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// Removes every container.
    pub fn remove_containers(&self) -> Result<()> {
        let ids = self.sh("ps -aq")?;
        if ids.is_empty() {
            return Ok(());
        }
        self.run(["rm", "-f"].into_iter().chain(ids.split_whitespace())).map(drop)
    }

    /// Process ids of the engine's own long-lived processes (no per-container ones).
    pub fn engine_pids(&self) -> Vec<u32> {
        match &self.engine {
            Engine::Dray(daemon) => vec![daemon.pid()],
            Engine::Docker(peer) => {
                let mut pids = vec![peer.pid()];
                pids.extend(children(peer.pid()));
                pids
            }
        }
    }

    /// Process ids that each container costs beside its own program.
    pub fn shim_pids(&self) -> Vec<u32> {
        match &self.engine {
            Engine::Dray(daemon) => {
                daemon.processes().into_iter().filter(|pid| *pid != daemon.pid()).collect()
            }
            Engine::Docker(peer) => dray_harness::host::processes_naming("containerd-shim")
                .into_iter()
                .filter(|pid| dray_harness::host::command_line(*pid).contains(&peer.root()))
                .collect(),
        }
    }
}

fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut pids: Vec<u32> = text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    if pids.is_empty() {
        // Threads other than the first may have started them.
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            pids.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    pids
}

/// Brings up the loopback interface of the bench's namespace.
pub fn loopback_up() -> Result<()> {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("ip")?;
    ensure!(status.success(), "ip link set lo up ended with {status}");
    Ok(())
}
