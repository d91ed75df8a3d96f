//! SIGHUP: the command line and the configuration file are read again, and what may change while containers run
//! changes, as with Docker: debug messages, labels, registries and mirrors, bounds of transfers, live restore and the
//! time that containers have to stop.
//!
//! A configuration that is wrong changes nothing, and is said.

use std::ffi::OsString;
use std::sync::Arc;

use dray_engine::Engine;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::Config;
use crate::daemon::{DaemonError, Program, engine_config};

/// Changes which messages are logged.
pub type LogLevel = Box<dyn Fn(&Config) + Send + Sync>;

/// What a reload needs.
pub struct Reload {
    /// The command line, which names the file.
    pub args: Vec<OsString>,
    /// The program.
    pub program: Program,
    /// The log.
    pub log_level: LogLevel,
}

impl Reload {
    /// Reads the configuration again whenever the signal comes.
    ///
    /// # Errors
    /// The signal cannot be listened for.
    pub fn on_hangup(self, engine: Arc<Engine>) -> Result<tokio::task::JoinHandle<()>, DaemonError> {
        let mut hangup = signal(SignalKind::hangup())
            .map_err(|source| DaemonError::System { operation: "listen for SIGHUP".into(), source })?;
        Ok(tokio::spawn(async move {
            let reload = Arc::new(self);
            while hangup.recv().await.is_some() {
                let (reload, engine) = (Arc::clone(&reload), Arc::clone(&engine));
                let done = tokio::task::spawn_blocking(move || reload.now(&engine)).await;
                if let Ok(Err(error)) = done {
                    tracing::error!(%error, "Error reconfiguring the daemon");
                }
            }
        }))
    }

    fn now(&self, engine: &Engine) -> Result<(), DaemonError> {
        let config = Config::load(&self.args)?;
        engine.reload(&engine_config(&config, &self.program)?)?;
        (self.log_level)(&config);
        tracing::info!(
            debug = config.debug,
            labels = ?config.labels,
            insecure_registries = ?config.insecure_registries,
            registry_mirrors = ?config.registry_mirrors,
            live_restore = config.live_restore,
            "Reloaded configuration"
        );
        Ok(())
    }
}

/// Logs to standard error from now on. What is given back changes how much.
pub fn log_to_stderr(config: &Config) -> LogLevel {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_env_filter(filter(config))
        .with_filter_reloading();
    let handle = builder.reload_handle();
    let _ = builder.try_init();
    // The log is for as long as the process: that it is gone cannot be.
    Box::new(move |config| drop(handle.reload(filter(config))))
}

fn filter(config: &Config) -> EnvFilter {
    match config.log_level.as_str() {
        _ if config.debug => log_filter("debug"),
        "fatal" => log_filter("error"),
        level => log_filter(level),
    }
}

/// Our own crates at `level`; libraries are heard only when they warn.
pub fn log_filter(level: &str) -> EnvFilter {
    const OURS: [&str; 10] = [
        "dray",
        "dray_daemon",
        "dray_engine",
        "dray_network",
        "dray_image",
        "dray_build",
        "dray_registry",
        "dray_store",
        "dray_runtime",
        "dray_trust",
    ];
    let ours = OURS.map(|name| format!("{name}={level}")).join(",");
    EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(ours)
}
