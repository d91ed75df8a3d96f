//! The daemon's life: configure, listen, open the engine, serve, stop.
//!
//! Containers belong to their shims: a daemon that ends, however it ends, finds them again when it starts. Only a
//! regular end without live restore stops them.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use dray_engine::container::Defaults;
use dray_engine::network::DnsDefaults;
use dray_engine::{Engine, EngineConfig, OpenError, Transfers};
use dray_registry::ClientConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError};
use crate::connection::{Server, ServerError};
use crate::listener::{ListenError, Listener};
use crate::reload::{Reload, log_to_stderr};
use crate::routes;
use crate::state::App;
use crate::tls::TlsError;

/// Requests are handled on few threads; work that blocks has its own, which end when idle.
const WORKERS: usize = 2;
const MAX_BLOCKING: usize = 256;
const BLOCKING_KEEP_ALIVE: Duration = Duration::from_secs(3);
/// How long answers at work may take when the daemon stops.
const DRAIN: Duration = Duration::from_secs(1);
/// How long threads that block may take after that.
pub(crate) const SHUTDOWN: Duration = Duration::from_millis(500);

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A flag, or a key of the configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address that cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The data root, the networks, or what an earlier daemon left.
    #[error(transparent)]
    Engine(#[from] OpenError),
    /// Accepting connections.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The operating system refused something.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: String,
        /// The refusal.
        source: std::io::Error,
    },
    /// The pid file is another daemon's.
    #[error("process with PID {pid} is still running: stop it, or delete {}", path.display())]
    Running {
        /// Its process id.
        pid: u32,
        /// The pid file.
        path: PathBuf,
    },
}

pub(crate) fn system(operation: impl Into<String>) -> impl FnOnce(std::io::Error) -> DaemonError {
    let operation = operation.into();
    move |source| DaemonError::System { operation, source }
}

/// `dray daemon …`: the whole process. `commit` is what the program is built of, where that is known.
#[must_use]
pub fn main(args: Vec<OsString>, commit: Option<&'static str>) -> ExitCode {
    match run(&args, commit) {
        Ok(()) => ExitCode::SUCCESS,
        Err(DaemonError::Config(ConfigError::Flags(error))) => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
        Err(error) => {
            eprintln!("failed to start daemon: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[OsString], commit: Option<&'static str>) -> Result<(), DaemonError> {
    let config = Config::load(args)?;
    if config.validate {
        println!("configuration OK");
        return Ok(());
    }
    dray_sys::heap::bound();
    let log_level = log_to_stderr(&config);
    let _pidfile = config.pidfile.as_deref().map(Pidfile::claim).transpose()?;
    let exe = std::env::current_exe().map_err(system("find the program's own path"))?;
    let runtime = runtime().build().map_err(system("start the runtime"))?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        let stopper = stop_on_signal(stop.clone())?;
        let told = config.clone();
        let program = Program { exe: exe.clone(), commit };
        let reload = Reload { args: args.to_vec(), program: program.clone(), log_level };
        let ready = |listeners: &[Listener], engine: &Arc<Engine>| {
            if let Err(error) = reload.on_hangup(Arc::clone(engine)) {
                tracing::error!(%error, "the configuration cannot be read again");
            }
            announce(&told, listeners);
        };
        let result = serve(config, &program, stop, ready).await;
        stopper.abort();
        result
    });
    runtime.shutdown_timeout(SHUTDOWN);
    result
}

/// The threads of a daemon.
pub(crate) fn runtime() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(WORKERS)
        .max_blocking_threads(MAX_BLOCKING)
        .thread_keep_alive(BLOCKING_KEEP_ALIVE)
        .thread_name("dray")
        .enable_all();
    builder
}

/// The program that a daemon is.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Its file, from which shims and `docker-init` run.
    pub exe: PathBuf,
    /// The commit it is built of, where that is known.
    pub commit: Option<&'static str>,
}

/// Serves until `stop`; `ready` is called when requests are answered from then on.
pub(crate) async fn serve(
    config: Config,
    program: &Program,
    stop: CancellationToken,
    ready: impl FnOnce(&[Listener], &Arc<Engine>),
) -> Result<(), DaemonError> {
    let tls = config.tls_files().map(|files| files.acceptor(config.tlsverify)).transpose()?;
    let mut listeners = Vec::new();
    for host in config.listen_on() {
        listeners.extend(Listener::open(&host, Some(&config.group), config.tcp_trust()).await?);
    }
    let engine = open_engine(&config, program).await?;
    let app = App::new(Arc::clone(&engine));
    let buildkit = app.buildkit();
    let server = Server::new(routes::router(app), stop.clone()).with_buildkit(buildkit);
    ready(&listeners, &engine);

    let mut serving = tokio::task::JoinSet::new();
    for listener in listeners {
        let (server, tls) = (server.clone(), tls.clone());
        serving.spawn(async move { server.serve(&listener, tls).await });
    }
    let mut result = Ok(());
    while let Some(ended) = serving.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::error!(%error, "stop serving");
            result = Err(error.into());
            stop.cancel();
        }
    }
    server.drain(DRAIN).await;
    engine.stop_containers().await;
    let closing = tokio::task::spawn_blocking(move || engine.close());
    let _ = tokio::time::timeout(DRAIN, closing).await;
    tracing::info!("stopped");
    result
}

/// SIGTERM and SIGINT stop the daemon, a second one at once.
fn stop_on_signal(stop: CancellationToken) -> Result<tokio::task::JoinHandle<()>, DaemonError> {
    let listen = |kind, name: &str| signal(kind).map_err(system(format!("listen for {name}")));
    let mut terminate = listen(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
    Ok(tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(1);
            }
            tracing::info!("stopping");
            stop.cancel();
        }
    }))
}

async fn open_engine(config: &Config, program: &Program) -> Result<Arc<Engine>, DaemonError> {
    let config = engine_config(config, program)?;
    let opened = tokio::task::spawn_blocking(move || Engine::open(config)).await;
    Ok(opened.map_err(|error| system("open the engine")(error.into()))??)
}

/// The flags as the engine takes them.
pub(crate) fn engine_config(config: &Config, program: &Program) -> Result<EngineConfig, DaemonError> {
    let network = config.network();
    let mut registry = ClientConfig::from_env();
    registry.insecure.clone_from(&config.insecure_registries);
    registry.mirrors.clone_from(&config.registry_mirrors);
    registry.certs_dirs.clone_from(&config.certs_dirs);
    Ok(EngineConfig {
        data_root: config.data_root.clone(),
        run_root: config.run_root.clone(),
        exe: program.exe.clone(),
        dns: DnsDefaults {
            servers: config.dns.clone(),
            search: config.dns_search.clone(),
            options: config.dns_opts.clone(),
            host_gateway: config.host_gateway_ips.clone(),
            resolv_conf: network.resolv_conf.clone(),
        },
        network,
        registry,
        trust_policy: config.trust_policy.clone(),
        trust_host_ca: config.trust_host_ca,
        plugin_dirs: config.plugin_dirs.clone(),
        log_driver: config.log_driver.clone(),
        log_options: config.log_opts.iter().cloned().collect(),
        labels: config.labels.clone(),
        debug: config.debug,
        commit: program.commit,
        defaults: container_defaults(config)?,
        transfers: Transfers {
            downloads: config.max_concurrent_downloads as usize,
            uploads: config.max_concurrent_uploads as usize,
            attempts: config.max_download_attempts,
        },
        build_gc: config.build_gc(),
        build_history: config.builder_history,
        cdi_spec_dirs: config.cdi_spec_dirs.clone(),
        live_restore: config.live_restore,
        shutdown_timeout: u64::try_from(config.shutdown_timeout).ok(),
    })
}

fn container_defaults(config: &Config) -> Result<Defaults, DaemonError> {
    let seccomp = match config.seccomp_profile.as_deref() {
        None | Some("" | "builtin") => None,
        Some("unconfined") => Some("unconfined".to_owned()),
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(system(format!("opening seccomp profile ({path}) failed")))?,
        ),
    };
    let usual = Defaults::default();
    Ok(Defaults {
        cgroup_parent: config.cgroup_parent.clone().unwrap_or(usual.cgroup_parent),
        shm_size: config.default_shm_size,
        init: config.init,
        ulimits: config.default_ulimits.clone(),
        ipc_mode: config.default_ipc_mode.clone(),
        cgroupns_mode: config.default_cgroupns_mode.clone(),
        no_new_privileges: config.no_new_privileges,
        seccomp,
        runtime: config.default_runtime.clone(),
    })
}

/// Says that requests are answered from now on: to people, and to whoever waits at `--ready-fd`.
fn announce(config: &Config, listeners: &[Listener]) {
    let addresses: Vec<String> = listeners.iter().map(ToString::to_string).collect();
    let line = format!("dray daemon ready on {}, pid {}\n", addresses.join(" "), std::process::id());
    let _ = std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush());
    if let Some(fd) = config.ready_fd {
        let path = format!("/proc/self/fd/{fd}");
        let told =
            std::fs::File::options().write(true).open(&path).and_then(|mut fd| fd.write_all(line.as_bytes()));
        if let Err(error) = told {
            tracing::warn!(%error, "write to --ready-fd {fd}");
        }
    }
}

/// The file with our process id, removed when we end.
#[derive(Debug)]
struct Pidfile(PathBuf);

impl Pidfile {
    fn claim(path: &Path) -> Result<Self, DaemonError> {
        let holder = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
        if let Some(pid) = holder.filter(|pid| *pid != std::process::id() && is_running(*pid)) {
            return Err(DaemonError::Running { pid, path: path.to_owned() });
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(system(format!("create {}", parent.display())))?;
        }
        let written = std::fs::write(path, std::process::id().to_string());
        written.map_err(system(format!("write {}", path.display())))?;
        Ok(Pidfile(path.to_owned()))
    }
}

/// Whether a process is there and not only waiting to be reaped.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pidfile_is_for_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/dray.pid");
        let claimed = Pidfile::claim(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(claimed);
        assert!(!path.exists());
        std::fs::write(&path, "1").unwrap();
        let error = Pidfile::claim(&path).unwrap_err().to_string();
        assert!(error.starts_with("process with PID 1 is still running"), "{error}");
        std::fs::write(&path, "4194999").unwrap();
        Pidfile::claim(&path).unwrap();
    }
}
