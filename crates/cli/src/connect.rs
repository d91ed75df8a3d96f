//! Finds the daemon: `-H`, `--context`, `DRAY_HOST`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context, the
//! default socket; and starts Dray's own daemon where nothing was named and none runs.
//!
//! ```text
//! dray ps ──connect──> <run-root>/dray.sock      answers: go on
//!    │ nothing there
//!    ├─ lock <run-root>/daemon.lock               two commands start one daemon
//!    ├─ spawn self __daemon  ──setsid──exec──> dray daemon, stdio to <run-root>/daemon.log
//!    └─ wait until the socket answers
//! ```

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dray_client::{Client, Endpoint, Host, Tls};

use crate::app::App;
use crate::command_error::Error;
use crate::context;

/// Docker's socket.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// The word that makes this program become the daemon, in a session of its own.
pub const BECOME_DAEMON: &str = "__daemon";
/// A daemon that takes longer than this to answer is given up.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Where the daemon is, and whether it may be started here.
pub struct Found {
    /// The address.
    pub endpoint: Endpoint,
    /// Whether nothing named the daemon, so that it may be started.
    pub may_start: bool,
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// `<run-root>`: `DRAY_RUN_ROOT` or `/run/dray`.
fn run_root() -> PathBuf {
    env("DRAY_RUN_ROOT").map_or_else(|| "/run/dray".into(), PathBuf::from)
}

/// The client of the daemon that is meant.
///
/// # Errors
/// The address is wrong, or the daemon does not start.
pub fn client(app: &App) -> Result<Client, Error> {
    let found = find(app)?;
    if let (true, Host::Unix(socket)) = (found.may_start, &found.endpoint.host)
        && let Err(e) = UnixStream::connect(socket)
        && matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
    {
        start(socket)?;
    }
    Ok(client_at(found.endpoint))
}

/// The client of the daemon at an address, with the version of the API that is asked for.
pub fn client_at(endpoint: Endpoint) -> Client {
    Client::new(endpoint, env("DOCKER_API_VERSION").map(|v| v.trim_start_matches('v').to_owned()))
}

/// The endpoint that is meant.
///
/// # Errors
/// The address is wrong.
pub fn find(app: &App) -> Result<Found, Error> {
    let hosts = app.globals.all("host");
    let named = |endpoint| Found { endpoint, may_start: false };
    if hosts.len() > 1 {
        return Err(Error::Refused("Specify only one -H".into()));
    }
    if let Some(host) = hosts.first() {
        let host = if host.contains("://") { host.clone() } else { format!("tcp://{host}") };
        return Ok(named(Endpoint::parse(&host, tls(app)?)?));
    }
    let name = context::current(app);
    if name != context::DEFAULT {
        return context::endpoint(app, &name).map(named);
    }
    if let Some(host) = env("DRAY_HOST").filter(|_| app.name != "docker").or_else(|| env("DOCKER_HOST")) {
        return Ok(named(Endpoint::parse(&host, tls(app)?)?));
    }
    let own = run_root().join("dray.sock");
    if app.name == "docker" && (!own.exists() || UnixStream::connect(DOCKER_SOCKET).is_ok()) {
        return Ok(named(Endpoint::unix(DOCKER_SOCKET)));
    }
    Ok(Found { endpoint: Endpoint::unix(own), may_start: app.name != "docker" })
}

/// TLS as flags and environment ask for it.
///
/// # Errors
/// None yet.
pub fn tls(app: &App) -> Result<Option<Tls>, Error> {
    let verify = if app.globals.given("tlsverify") {
        app.globals.is("tlsverify")
    } else {
        env("DOCKER_TLS_VERIFY").is_some()
    };
    if !verify && !app.globals.is("tls") && env("DOCKER_TLS").is_none() {
        return Ok(None);
    }
    let dir = env("DOCKER_CERT_PATH").map_or_else(|| app.config().borrow().dir().to_owned(), PathBuf::from);
    let file = |flag: &str, name: &str| {
        let given = app.globals.get(flag);
        if given.is_empty() { dir.join(name) } else { PathBuf::from(given) }
    };
    Ok(Some(Tls {
        ca: Some(file("tlscacert", "ca.pem")),
        cert: Some(file("tlscert", "cert.pem")),
        key: Some(file("tlskey", "key.pem")),
        verify,
    }))
}

fn start(socket: &Path) -> Result<(), Error> {
    let root = run_root();
    std::fs::create_dir_all(&root).map_err(Error::file("mkdir", &root))?;
    let lock_path = root.join("daemon.lock");
    let lock = std::fs::File::create(&lock_path).map_err(Error::file("open", &lock_path))?;
    lock.lock().map_err(Error::file("lock", &lock_path))?;
    if UnixStream::connect(socket).is_ok() {
        return Ok(());
    }
    let log_path = root.join("daemon.log");
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(Error::file("open", &log_path))?;
    let from = log.metadata().map(|m| m.len()).unwrap_or(0);
    let stderr = log.try_clone().map_err(Error::file("open", &log_path))?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("dray")
        .arg(BECOME_DAEMON)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(stderr)
        .current_dir("/")
        .spawn()
        .map_err(Error::file("exec", "dray daemon"))?;
    let began = Instant::now();
    loop {
        if UnixStream::connect(socket).is_ok() {
            eprintln!("dray: started a daemon (pid {}, log {})", child.id(), log_path.display());
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            let said = written_since(&log_path, from);
            return Err(Error::Refused(format!(
                "dray: the daemon did not start ({status}); its log {} says:\n{said}",
                log_path.display()
            )));
        }
        if began.elapsed() > START_LIMIT {
            return Err(Error::Refused(format!(
                "dray: the daemon (pid {}) does not answer at {} after {} s; see {}",
                child.id(),
                socket.display(),
                START_LIMIT.as_secs(),
                log_path.display()
            )));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn written_since(path: &Path, from: u64) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let new = bytes.get(usize::try_from(from).unwrap_or(0)..).unwrap_or_default();
    let text = String::from_utf8_lossy(new);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Becomes the daemon, in a session of its own, so that it outlives the terminal.
pub fn become_daemon() -> Error {
    // Fails only for the leader of a process group, which has what it asks for.
    let _ = rustix::process::setsid();
    let mut args: Vec<OsString> = vec!["daemon".into()];
    for (name, flag) in [("DRAY_DATA_ROOT", "--data-root"), ("DRAY_RUN_ROOT", "--run-root")] {
        if let Some(value) = std::env::var_os(name).filter(|v| !v.is_empty()) {
            args.extend([flag.into(), value]);
        }
    }
    let failed = Command::new("/proc/self/exe").arg0("dray").args(args).exec();
    Error::file("exec", "dray daemon")(failed)
}

/// The address that flags and environment name when no context does, for listings.
pub fn default_host(app: &App) -> String {
    if let Some(host) = app.globals.all("host").first() {
        return host.clone();
    }
    if let Some(host) = env("DRAY_HOST").filter(|_| app.name != "docker").or_else(|| env("DOCKER_HOST")) {
        return host;
    }
    if app.name == "docker" {
        return format!("unix://{DOCKER_SOCKET}");
    }
    format!("unix://{}", run_root().join("dray.sock").display())
}
