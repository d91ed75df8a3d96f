//! Git repositories behind `git daemon` on a free loopback port.

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::client::eventually;
use crate::registry::free_port;

/// A server of what is committed to it; it ends when dropped.
pub struct GitServer {
    child: Child,
    port: u16,
    root: TempDir,
}

impl GitServer {
    /// Starts one without repositories.
    pub fn start() -> Self {
        let root = tempfile::Builder::new().prefix("dray-git-").tempdir().expect("a folder");
        let port = free_port();
        let child = Command::new("git")
            .args(["daemon", "--export-all", "--listen=127.0.0.1", "--reuseaddr"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", root.path().display()))
            .arg(root.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("git daemon");
        eventually("git daemon listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port, root }
    }

    /// Commits these files to the branch `main` of a repository, beside what it has; makes it if it is not there.
    pub fn commit(&self, name: &str, files: &[(&str, &str)]) {
        let work = self.root.path().join(format!("{name}.work"));
        fs::create_dir_all(&work).expect("a folder");
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-C"]).arg(&work).args(args);
            let output = command.output().expect("git");
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        git(&["init", "-q", "-b", "main"]);
        for (path, text) in files {
            let path = work.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        git(&["add", "."]);
        git(&["commit", "-qm", "files"]);
        let bare = self.root.path().join(name);
        if !bare.exists() {
            git(&["clone", "-q", "--bare", ".", &bare.to_string_lossy()]);
        }
        git(&["push", "-q", &bare.to_string_lossy(), "main"]);
    }

    /// The address of a repository.
    pub fn address(&self, name: &str) -> String {
        format!("git://127.0.0.1:{}/{name}", self.port)
    }

    /// The folder of a repository, for `git` itself.
    pub fn folder(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(Path::new(name))
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        // In a group of its own: what git has started ends with it.
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}
