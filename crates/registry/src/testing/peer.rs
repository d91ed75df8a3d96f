//! Debian's `docker-registry` as a real peer, on a free port of loopback with storage of its own.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A running `docker-registry`; it stops and its storage goes when dropped.
pub struct DockerRegistry {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl DockerRegistry {
    /// Starts one which anybody may use.
    ///
    /// # Errors
    /// If it isn't installed or doesn't come up.
    pub fn start() -> io::Result<Self> {
        Self::run(None)
    }

    /// Starts one for this user and password only.
    ///
    /// # Errors
    /// If it or `htpasswd` isn't installed or doesn't come up.
    pub fn start_guarded(user: &str, password: &str) -> io::Result<Self> {
        let made = Command::new("htpasswd").args(["-nbB", user, password]).output()?;
        Self::run(Some(String::from_utf8_lossy(&made.stdout).trim().to_owned() + "\n"))
    }

    fn run(htpasswd: Option<String>) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("dray-registry-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("data"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let auth = match htpasswd {
            None => String::new(),
            Some(line) => {
                fs::write(folder.join("htpasswd"), line)?;
                format!("auth:\n  htpasswd:\n    realm: test\n    path: {}/htpasswd\n", folder.display())
            }
        };
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {}/data\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{auth}",
            folder.display()
        );
        fs::write(folder.join("config.yml"), config)?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let registry = DockerRegistry { child, folder, port };
        registry.wait_until_up()?;
        Ok(registry)
    }

    fn wait_until_up(&self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match std::net::TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
