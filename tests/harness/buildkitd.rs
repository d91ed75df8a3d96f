//! BuildKit's own daemon as a peer, in a mount namespace of its own. It needs runc, which comes with Debian's docker.io.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::client::{Client, eventually, wait_within};
use crate::golang;

/// A running buildkitd.
pub struct Buildkitd {
    process: Child,
    root: TempDir,
}

impl Buildkitd {
    /// Starts one without a cache.
    pub fn start() -> Self {
        let program =
            golang::program_in_place("github.com/moby/buildkit@v0.25.1", "./cmd/buildkitd", "buildkitd");
        let root = tempfile::Builder::new().prefix("dray-buildkitd-").tempdir().expect("a folder");
        let path = root.path().display().to_string();
        let config = format!(
            "root = \"{path}/data\"\n[grpc]\n  address = [\"unix://{path}/sock\"]\n\
             [worker.oci]\n  enabled = true\n  networkMode = \"host\"\n  defaultCgroupParent = \"{}\"\n\
             [worker.containerd]\n  enabled = false\n",
            cgroup(std::process::id())
        );
        let file = root.path().join("buildkitd.toml");
        fs::write(&file, config).expect("the configuration");
        let process = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(program)
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(root.path().join("log")).expect("a log"))
            .spawn()
            .expect("unshare");
        let peer = Self { process, root };
        eventually("buildkitd listens", || {
            std::os::unix::net::UnixStream::connect(peer.root.path().join("sock")).is_ok()
        });
        peer
    }

    /// buildx with this daemon as its builder.
    pub fn buildx(&self) -> Client {
        let config = self.root.path().join("client");
        fs::create_dir_all(&config).expect("a folder");
        // It asks no Docker daemon.
        let client = Client::new(crate::fixture::buildx(), "unix:///nonexistent", &config);
        let socket = format!("unix://{}/sock", self.root.path().display());
        client.run(["create", "--name=peer", "--driver=remote", "--use", &socket]).expect_success();
        client
    }
}

fn cgroup(pid: u32) -> String {
    format!("dray-buildkitd-{pid}")
}

/// The folders of its control group, in each hierarchy that there is; what is inside comes first.
fn cgroups() -> Vec<PathBuf> {
    let name = cgroup(std::process::id());
    let base = PathBuf::from("/sys/fs/cgroup");
    let below = fs::read_dir(&base).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = std::iter::once(base.clone()).chain(below).map(|folder| folder.join(&name));
    all.filter(|path| path.is_dir()).flat_map(|path| [path.join("buildkit"), path]).collect()
}

impl Drop for Buildkitd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        if wait_within(&mut self.process, Duration::from_secs(20)).is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        // Those of steps are gone; what they were in stays otherwise.
        cgroups().into_iter().for_each(|folder| drop(fs::remove_dir(folder)));
    }
}
