//! Debian's PostgreSQL server for tests: an unprivileged process with a folder, a socket and a port of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::{eventually, wait_within};
use crate::registry::free_port;

/// Who it runs as where the tests run as root, which it refuses to; Debian's package makes the account.
const ACCOUNT: &str = "postgres";

/// A running server with an empty database; it ends when dropped.
pub struct Postgres {
    process: Option<Child>,
    root: TempDir,
    port: u16,
    settings: Vec<String>,
}

impl Postgres {
    /// Starts one.
    pub fn start() -> Self {
        Self::with_settings(&[])
    }

    /// Starts one that speaks TLS with this certificate and key (PEM), and nothing else over TCP.
    pub fn with_tls(certificate: &str, key: &str) -> Self {
        let server = Self::prepare();
        let (cert_file, key_file) = (server.root.path().join("cert.pem"), server.root.path().join("key.pem"));
        fs::write(&cert_file, certificate).expect("certificate");
        fs::write(&key_file, key).expect("key");
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("the key's mode");
        own(&key_file);
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n";
        fs::write(server.root.path().join("data/pg_hba.conf"), rules).expect("pg_hba.conf");
        server.launched(&[
            "ssl=on",
            &format!("ssl_cert_file={}", cert_file.display()),
            &format!("ssl_key_file={}", key_file.display()),
        ])
    }

    /// Starts one with these settings (`name=value`).
    pub fn with_settings(settings: &[&str]) -> Self {
        Self::prepare().launched(settings)
    }

    fn prepare() -> Self {
        let root = tempfile::Builder::new().prefix("dray-postgres-").tempdir().expect("a folder");
        own(root.path());
        let data = root.path().join("data");
        let output = unprivileged("initdb")
            .args(["--auth=trust", "--username=dray", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .current_dir(root.path())
            .output()
            .expect("initdb: Debian's package postgresql is installed by `cargo xtask test`");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { process: None, root, port: free_port(), settings: Vec::new() }
    }

    fn launched(mut self, settings: &[&str]) -> Self {
        let fixed = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            format!("unix_socket_directories={}", self.root.path().display()),
            // The machine does not lose its power in a test.
            "fsync=off".to_owned(),
            "shared_buffers=16MB".to_owned(),
        ];
        self.settings =
            fixed.into_iter().chain(settings.iter().map(|setting| (*setting).to_owned())).collect();
        self.start_again();
        self
    }

    /// Starts it again on what it left.
    pub fn start_again(&mut self) {
        let mut command = unprivileged("postgres");
        command.arg("-D").arg(self.root.path().join("data")).current_dir(self.root.path());
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = fs::File::options().create(true).append(true).open(self.root.path().join("log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("the log"));
        self.process = Some(command.spawn().expect("postgres"));
        eventually("PostgreSQL answers", || self.sql("SELECT 1").is_some());
    }

    /// Ends it; whoever is connected is thrown out.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Ends it without a goodbye to anybody.
    pub fn crash(&mut self) {
        self.end(Signal::QUIT);
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut process) = self.process.take() else { return };
        if let Some(pid) = Pid::from_raw(process.id().cast_signed()) {
            let _ = kill_process(pid, signal);
        }
        let _ = wait_within(&mut process, Duration::from_secs(20));
    }

    /// What a statement gives, as text; nothing if it fails.
    pub fn sql(&self, statement: &str) -> Option<String> {
        let output = unprivileged("psql")
            .args(["-XAtq", "-U", "dray", "-d", "postgres", "-p", &self.port.to_string(), "-h"])
            .arg(self.root.path())
            .args(["-c", statement])
            .current_dir(self.root.path())
            .output()
            .expect("psql");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The address of the database over the server's socket.
    pub fn address(&self) -> String {
        let folder = self.root.path().display().to_string().replace('/', "%2F");
        format!("postgres://dray@{folder}:{}/postgres", self.port)
    }

    /// The address over TCP, with these parameters.
    pub fn tcp_address(&self, parameters: &str) -> String {
        format!("postgres://dray@localhost:{}/postgres?hostaddr=127.0.0.1&{parameters}", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.crash();
    }
}

/// One of the server's programs, run as somebody who is not root.
fn unprivileged(program: &str) -> Command {
    let mut command = Command::new(folder().join(program));
    if let Some((user, group)) = account() {
        command.uid(user).gid(group);
    }
    command
}

/// The programs of the newest version that is installed.
fn folder() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let numbered =
        versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry)));
    let newest = numbered.max_by_key(|(version, _)| *version).map(|(_, entry)| entry.path().join("bin"));
    newest.expect("Debian's package postgresql: `cargo xtask test` installs it")
}

/// User and group of the account, where this process is root.
fn account() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().find(|line| line.starts_with(&format!("{ACCOUNT}:")))?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn own(path: &Path) {
    if let Some((user, group)) = account() {
        chown(path, Some(user), Some(group)).expect("chown");
    }
}
