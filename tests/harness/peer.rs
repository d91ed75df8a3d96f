//! Debian's dockerd as a peer, alone in a network and mount namespace of its own: its bridge, firewall rules
//! and mounts die with it, and the host's are never touched. Clients reach it through its unix socket.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::client::{Client, eventually, wait_within};
use crate::{docker_binary, http};

/// A running dockerd.
pub struct Dockerd {
    process: Child,
    root: TempDir,
}

impl Dockerd {
    /// Starts a dockerd in its own namespaces.
    pub fn start() -> Self {
        Self::launch(true)
    }

    /// Starts a dockerd in the caller's namespaces, for callers who are in private ones already.
    pub fn here() -> Self {
        Self::launch(false)
    }

    fn launch(alone: bool) -> Self {
        let root = tempfile::Builder::new().prefix("dray-peer-").tempdir().expect("a folder for dockerd");
        fs::create_dir(root.path().join("client")).expect("client folder");
        let script = format!(
            "ip link set lo up; mount --make-rprivate /; exec dockerd --data-root {r}/data --exec-root {r}/exec -H unix://{r}/docker.sock -p {r}/pid",
            r = root.path().display()
        );
        let log = File::create(root.path().join("log")).expect("log of dockerd");
        let mut command = if alone { Command::new("unshare") } else { Command::new("sh") };
        if alone {
            command.args(["--net", "--mount", "sh"]);
        }
        let process = command
            .args(["-c", &script])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sh");
        let peer = Self { process, root };
        eventually("dockerd answers", || http::unix_get(&peer.socket(), "/_ping").is_ok());
        peer
    }

    /// Docker's command line at this dockerd.
    pub fn client(&self) -> Client {
        Client::new(
            docker_binary(),
            format!("unix://{}", self.socket().display()),
            &self.root.path().join("client"),
        )
    }

    /// Docker's buildx at this dockerd: builds with the BuildKit in it.
    pub fn buildx(&self) -> Client {
        let host = format!("unix://{}", self.socket().display());
        Client::new(crate::fixture::buildx(), host, &self.root.path().join("client"))
    }

    /// Loads an archive.
    pub fn load(&self, archive: &Path) {
        self.client().run([Path::new("load"), Path::new("-qi"), archive]).expect_success();
    }

    /// The process id of dockerd, whose namespaces hold its networks.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The folder of its roots, which the command lines of its processes name.
    pub fn root(&self) -> String {
        self.root.path().display().to_string()
    }

    fn socket(&self) -> PathBuf {
        self.root.path().join("docker.sock")
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let client = self.client();
        let ids = client.sh("ps -aq").stdout;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            client.run(["rm", "-fv"].into_iter().chain(ids));
        }
        if let Some(pid) = rustix::process::Pid::from_raw(self.process.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = wait_within(&mut self.process, Duration::from_secs(20));
    }
}
