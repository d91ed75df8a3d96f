//! A daemon inside another program: for tests, which then need no process of their own for it.
//!
//! It is the same daemon, without what belongs to a process: signals, the pid file, the log on standard error.
//! Its threads log into a file that its host names.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Config;
use crate::daemon::{DaemonError, Program, SHUTDOWN, runtime, serve, system};
use crate::reload::log_filter;

/// A running daemon of this process. Dropping it stops it, as [`Hosted::stop`] does; its containers go on.
#[derive(Debug)]
pub struct Hosted {
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), DaemonError>>>,
}

impl Hosted {
    /// Starts a daemon with the flags of `dray daemon` (the first argument is the program's name, the second
    /// `daemon`). `exe` is the `dray` binary, from which shims are run. It serves soon, not at once.
    ///
    /// # Errors
    /// If the flags or the configuration file are wrong, or no thread can be had. What fails later is told by
    /// [`Hosted::stop`].
    pub fn start(arguments: &[OsString], exe: PathBuf, log: File) -> Result<Self, DaemonError> {
        let config = Config::load(arguments)?;
        let log = Arc::new(log);
        let runtime =
            runtime().on_thread_start(move || log_into(&log)).build().map_err(system("start the runtime"))?;
        let program = Program { exe, commit: None };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let life = move || {
            // On a thread of the runtime, whose log is the file.
            let served = runtime.block_on(async {
                let serving = tokio::spawn(async move { serve(config, &program, stopped, |_, _| ()).await });
                serving.await.map_err(|error| system("serve")(error.into()))?
            });
            runtime.shutdown_timeout(SHUTDOWN);
            served
        };
        let thread = std::thread::Builder::new().name("dray-hosted".to_owned()).spawn(life);
        Ok(Self { stop, thread: Some(thread.map_err(system("start a thread"))?) })
    }

    /// Whether it has ended, by itself or because it was stopped.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it and waits for its end.
    ///
    /// # Errors
    /// Why it could not serve, if so.
    pub fn stop(mut self) -> Result<(), DaemonError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), DaemonError> {
        self.stop.cancel();
        let ended = self.thread.take().map_or(Ok(Ok(())), JoinHandle::join);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            let _ = self.end();
        }
    }
}

/// Everything that this thread logs goes into `log`, as long as it lives.
fn log_into(log: &Arc<File>) {
    let subscriber = tracing_subscriber::fmt().with_writer(Arc::clone(log)).with_ansi(false);
    std::mem::forget(subscriber.with_env_filter(log_filter("info")).finish().set_default());
}
