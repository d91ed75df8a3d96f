//! A side of the comparison: an engine that runs, and the client that its users type.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use dray_harness::peer::Dockerd;
use dray_harness::{Daemon, host};
use tempfile::TempDir;

/// Who is measured.
pub struct Side {
    /// `dray`, `docker` or `podman`.
    pub name: &'static str,
    engine: Engine,
}

enum Engine {
    Dray(Box<Daemon>),
    Docker(Dockerd),
    Podman(TempDir),
}

impl Side {
    /// A private Dray daemon with Dray's client.
    pub fn dray() -> Self {
        Self { name: "dray", engine: Engine::Dray(Box::new(Daemon::spawn_with_flags(&[]))) }
    }

    /// Debian's dockerd with Docker's client.
    pub fn docker() -> Self {
        Self { name: "docker", engine: Engine::Docker(Dockerd::here()) }
    }

    /// Debian's Podman, which has no daemon, on roots of its own.
    pub fn podman() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("dray-peer-podman-").tempdir()?;
        // Its own defaults raise limits, which a root without CAP_SYS_RESOURCE may not, and Podman lowers those of
        // its own processes: these are below both.
        let text = "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n";
        std::fs::write(root.path().join("containers.conf"), text)?;
        Ok(Self { name: "podman", engine: Engine::Podman(root) })
    }

    /// Whether figures go on without this side when it fails.
    pub fn is_optional(&self) -> bool {
        matches!(self.engine, Engine::Podman(_))
    }

    /// The client with these arguments, ready to be run.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        match &self.engine {
            Engine::Dray(daemon) => daemon.dray().command(arguments),
            Engine::Docker(peer) => peer.client().command(arguments),
            Engine::Podman(root) => {
                let mut command = Command::new("podman");
                command.env("CONTAINERS_CONF", root.path().join("containers.conf"));
                for (flag, folder) in [("--root", "data"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
                    command.arg(flag).arg(root.path().join(folder));
                }
                command
                    .arg("--network-config-dir")
                    .arg(root.path().join("net"))
                    .args(["--cgroup-manager=cgroupfs", "--events-backend=file", "--storage-driver=overlay"])
                    .args(arguments);
                command
            }
        }
    }

    /// Loads an image archive.
    pub fn load(&self, archive: &Path) -> Result<()> {
        self.run(["load", "-qi", &archive.to_string_lossy()]).map(drop)
    }

    /// Runs a command line to its end and gives what it printed.
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        finished(self.command(arguments))
    }

    /// Builds quietly: Docker with buildx and its BuildKit, as its users do.
    pub fn build<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let arguments = ["build", "-q"].into_iter().chain(arguments);
        match &self.engine {
            Engine::Docker(peer) => finished(peer.buildx().command(arguments)).map(drop),
            _ => self.run(arguments).map(drop),
        }
    }

    /// A line without blanks inside its arguments.
    pub fn sh(&self, line: &str) -> Result<String> {
        self.run(line.split_whitespace())
    }

    /// Starts a command line.
    pub fn spawn(&self, line: &str) -> Result<Child> {
        let mut command = self.command(line.split_whitespace());
        Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// Removes every container.
    pub fn remove_containers(&self) -> Result<()> {
        let ids = self.sh("ps -aq")?;
        if ids.is_empty() {
            return Ok(());
        }
        // Podman asks first, as `stop` does, unless told not to.
        let remove: &[&str] = if self.is_optional() { &["rm", "-f", "-t", "0"] } else { &["rm", "-f"] };
        self.run(remove.iter().copied().chain(ids.split_whitespace())).map(drop)
    }

    /// Pulls or pushes `image` of a registry on loopback without TLS.
    pub fn transfer(&self, verb: &str, image: &str) -> Result<()> {
        match &self.engine {
            Engine::Podman(_) => self.run([verb, "-q", "--tls-verify=false", image]).map(drop),
            _ => self.run([verb, "-q", image]).map(drop),
        }
    }

    /// Process ids of the engine's own long-lived processes (no per-container ones); none where it has no daemon.
    pub fn engine_pids(&self) -> Vec<u32> {
        match &self.engine {
            Engine::Dray(daemon) => vec![daemon.pid()],
            Engine::Docker(peer) => {
                let mut pids = vec![peer.pid()];
                pids.extend(children(peer.pid()));
                pids
            }
            Engine::Podman(_) => Vec::new(),
        }
    }

    /// Process ids that each container costs beside its own program.
    pub fn shim_pids(&self) -> Vec<u32> {
        match &self.engine {
            Engine::Dray(daemon) => {
                daemon.processes().into_iter().filter(|pid| *pid != daemon.pid()).collect()
            }
            Engine::Docker(peer) => naming("containerd-shim", &peer.root()),
            Engine::Podman(root) => naming("conmon", &root.path().to_string_lossy()),
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // The daemons take their containers down by themselves; Podman's would outlive it.
        if let Engine::Podman(_) = self.engine {
            let _ = self.remove_containers();
            let _ = self.sh("rmi -af");
        }
    }
}

fn finished(mut command: Command) -> Result<String> {
    let line = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| line.clone())?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn naming(program: &str, root: &str) -> Vec<u32> {
    let of_root = |pid: &u32| host::command_line(*pid).contains(root);
    host::processes_naming(program).into_iter().filter(of_root).collect()
}

fn children(parent: u32) -> Vec<u32> {
    // Any thread may have started them.
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    tasks
        .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default())
        .flat_map(|text| {
            text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()).collect::<Vec<_>>()
        })
        .collect()
}

/// Brings up the loopback interface of the bench's namespace.
pub fn loopback_up() -> Result<()> {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("ip")?;
    ensure!(status.success(), "ip link set lo up ended with {status}");
    Ok(())
}
