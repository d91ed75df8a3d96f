//! Debian's own registry server on a free loopback port: the real peer of pull and push.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::client::eventually;
use crate::http;

/// A running registry; dropping it ends it and removes what it stored.
pub struct Registry {
    process: Child,
    port: u16,
    _root: TempDir,
}

impl Registry {
    /// A registry that anybody may use.
    pub fn start() -> Self {
        Self::launch(None)
    }

    /// A registry that asks for this user and password (basic authentication).
    pub fn with_user(user: &str, password: &str) -> Self {
        let output = Command::new("htpasswd").args(["-Bbn", user, password]).output().expect("htpasswd");
        Self::launch(Some(String::from_utf8(output.stdout).expect("htpasswd")))
    }

    fn launch(htpasswd: Option<String>) -> Self {
        let root = tempfile::Builder::new().prefix("dray-registry-").tempdir().expect("registry folder");
        let port = free_port();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  delete:\n    enabled: true\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            root.path().join("data").display()
        );
        if let Some(lines) = htpasswd {
            let file = root.path().join("htpasswd");
            fs::write(&file, lines).expect("htpasswd file");
            config.push_str(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display()));
        }
        let file = root.path().join("config.yml");
        fs::write(&file, config).expect("registry configuration");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry: installed by `cargo xtask test`");
        let registry = Self { process, port, _root: root };
        eventually("the registry answers", || http::get(("127.0.0.1", port), "/v2/").is_ok());
        registry
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

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
