//! Debian's own registry server on a free loopback port: the real peer of pull and push.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::client::eventually;
use crate::{dray_binary, http};

/// A running registry; dropping it ends it and removes what it stored.
pub struct Registry {
    process: Child,
    port: u16,
    root: TempDir,
}

impl Registry {
    /// A registry that anybody may use.
    pub fn start() -> Self {
        Self::launch("docker-registry".as_ref(), None)
    }

    /// The same of another release of the program.
    pub fn of(program: &Path) -> Self {
        Self::launch(program, None)
    }

    /// A registry that asks for this user and password (basic authentication).
    pub fn with_user(user: &str, password: &str) -> Self {
        let output = Command::new("htpasswd").args(["-Bbn", user, password]).output().expect("htpasswd");
        let users = String::from_utf8(output.stdout).expect("htpasswd");
        Self::launch("docker-registry".as_ref(), Some(users))
    }

    fn launch(program: &Path, htpasswd: Option<String>) -> Self {
        let root = tempfile::Builder::new().prefix("dray-registry-").tempdir().expect("registry folder");
        let port = free_port();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  cache:\n    blobdescriptor: inmemory\n  delete:\n    enabled: true\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            root.path().join("data").display()
        );
        if let Some(lines) = htpasswd {
            let file = root.path().join("htpasswd");
            fs::write(&file, lines).expect("htpasswd file");
            config.push_str(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display()));
        }
        let file = root.path().join("config.yml");
        fs::write(&file, config).expect("registry configuration");
        let process = Command::new(program)
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry: installed by `cargo xtask test`");
        let registry = Self { process, port, root };
        eventually("the registry answers", || http::get(("127.0.0.1", port), "/v2/").is_ok());
        registry
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `localhost:PORT`, the prefix of its images' names.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// GET of a path of its API.
    pub fn get(&self, path: &str) -> http::Answer {
        http::get(("127.0.0.1", self.port), path).expect("the registry answers")
    }
}

impl Registry {
    /// The file of a blob, by the hex digits of its digest.
    pub fn blob(&self, hex: &str) -> PathBuf {
        let blobs = self.root.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(hex.get(..2).unwrap_or(hex)).join(hex).join("data")
    }

    /// The digests of all manifests and indexes of a repository.
    pub fn revisions(&self, repository: &str) -> Vec<String> {
        let repositories = self.root.path().join("data/docker/registry/v2/repositories");
        let entries = fs::read_dir(repositories.join(repository).join("_manifests/revisions/sha256"));
        let named = |entry: std::io::Result<fs::DirEntry>| {
            format!("sha256:{}", entry.expect("a manifest").file_name().to_string_lossy())
        };
        entries.expect("the repository").map(named).collect()
    }

    /// A manifest or an index of a repository, by tag or digest.
    pub fn manifest(&self, repository: &str, reference: &str) -> serde_json::Value {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = http::get_manifest(("127.0.0.1", self.port), &path).expect("the registry answers");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Dray's own registry server, as a process of its own; dropping it ends it and removes what it stored.
pub struct DrayRegistry {
    process: Child,
    port: u16,
    root: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl DrayRegistry {
    /// A registry with these flags of `dray registry serve`.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, Vec::new())
    }

    /// A registry with these flags and this environment.
    pub fn start_with(arguments: &[&str], environment: Vec<(String, String)>) -> Self {
        let root = tempfile::Builder::new().prefix("dray-registry-").tempdir().expect("registry folder");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (process, port) = Self::launch(root.path(), &arguments, &environment, 0);
        Self { process, port, root, arguments, environment }
    }

    fn launch(
        root: &Path,
        arguments: &[String],
        environment: &[(String, String)],
        port: u16,
    ) -> (Child, u16) {
        let mut process = Command::new(dray_binary())
            .args(["registry", "serve", "--address", &format!("127.0.0.1:{port}"), "--data-root"])
            .arg(root.join("data"))
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(root.join("log")).expect("log of the registry"))
            .spawn()
            .expect("dray");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("its first line");
        let port = line.split("://127.0.0.1:").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
        let log = || fs::read_to_string(root.join("log")).unwrap_or_default();
        (process, port.unwrap_or_else(|| panic!("the registry did not start: {line}{}", log())))
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.process.id().cast_signed()) {
            rustix::process::kill_process(pid, signal).expect("a signal");
        }
    }

    /// Starts it again at the same address, on what it left.
    pub fn start_again(&mut self) {
        (self.process, self.port) =
            Self::launch(self.root.path(), &self.arguments, &self.environment, self.port);
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `localhost:PORT`, the prefix of its images' names.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

impl Drop for DrayRegistry {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
