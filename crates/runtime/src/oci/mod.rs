//! The command line other engines call: create, start, state, kill, delete, exec, … with runc's flags.
//!
//! ```text
//! <root>/<id>/            --root, default /run/dray-runtime
//!   state.json            what later commands need: init and its start time, bundle, cgroup
//!   config.json           the configuration as it was at create
//!   seccomp.bpf           its compiled filter, for execs
//!   exec.fifo             the init waits on it; gone once started
//! ```
//!
//! Errors go to stderr and, in the asked format, to the log file, where containerd looks for them.

mod args;
mod create;
mod describe;
mod exec;
mod foreground;
mod lifecycle;
mod store;
mod update;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use args::{Args, switch, value};

use crate::cgroup::CgroupError;
use crate::clock::Stamp;
use crate::error::StartError;
use crate::seccomp::SeccompError;

/// A command that failed. The texts are those callers of runc look for.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// Wrong words on the command line.
    #[error("{text}")]
    Usage {
        /// What is wrong.
        text: String,
    },
    /// An id with characters it must not have.
    #[error("invalid container ID format: {id:?}")]
    BadId {
        /// The id.
        id: String,
    },
    /// An id that is taken.
    #[error("container with given ID already exists: {id}")]
    Exists {
        /// The id.
        id: String,
    },
    /// No such container.
    #[error("container does not exist: {id}")]
    Missing {
        /// The id.
        id: String,
    },
    /// The container's state does not allow it.
    #[error("{text}")]
    WrongState {
        /// What is not possible in which state.
        text: String,
    },
    /// Signalling a container that has ended.
    #[error("container not running")]
    NotRunning,
    /// A file could not be read or written.
    #[error("{op} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A document that is not what it should be.
    #[error("{}: {source}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Creating or running failed.
    #[error("unable to start container process: {0}")]
    Start(#[from] StartError),
    /// A limit, or freezing.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The filter of the configuration.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// What this runtime does not do.
    #[error("{what} is not supported")]
    Unsupported {
        /// The command or flag.
        what: String,
    },
}

/// Adds what was tried on which file.
fn io_error(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> OciError {
    let path = path.into();
    move |source| OciError::Io { op, path, source }
}

/// Flags before the command.
struct Global {
    root: PathBuf,
    log: Option<PathBuf>,
    json: bool,
    /// The whole command line, for being run again from a read-only view.
    argv: Vec<OsString>,
}

const GLOBAL: [args::Flag; 10] = [
    value("root", ""),
    value("log", ""),
    value("log-format", ""),
    value("criu", ""),
    value("rootless", ""),
    switch("debug", ""),
    switch("systemd-cgroup", ""),
    switch("version", "v"),
    switch("help", "h"),
    value("cgroup-manager", ""),
];

/// `dray-runtime [flags] command …`
pub fn main(argv: Vec<OsString>) -> ExitCode {
    let words: Vec<String> = argv.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let mut global = Global { root: PathBuf::from("/run/dray-runtime"), log: None, json: false, argv };
    match run(&words, &mut global) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&global, &error);
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &OciError) -> u8 {
    match error {
        OciError::Start(error) => u8::try_from(error.kind().exit_code()).unwrap_or(1).min(127),
        _ => 1,
    }
}

fn report(global: &Global, error: &OciError) {
    let stamp = Stamp::now();
    let line = if global.json {
        let text = serde_json::json!({"level": "error", "msg": error.to_string(), "time": stamp.to_string()});
        format!("{text}\n")
    } else {
        format!("time=\"{stamp}\" level=error msg={:?}\n", error.to_string())
    };
    let logged = global.log.as_ref().is_some_and(|path| {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).is_ok()
    });
    let text = if logged { format!("{error}\n") } else { line };
    // Nowhere else to say it.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn run(words: &[String], global: &mut Global) -> Result<u8, OciError> {
    let args = Args::parse(words, &GLOBAL, true)?;
    if let Some(root) = args.get("root") {
        global.root = PathBuf::from(root);
    }
    global.log = args.get("log").filter(|path| !path.is_empty()).map(PathBuf::from);
    global.json = args.get("log-format") == Some("json");
    if args.is_set("systemd-cgroup") || args.get("cgroup-manager") == Some("systemd") {
        return Err(OciError::Unsupported { what: "the systemd cgroup manager (use cgroupfs)".to_owned() });
    }
    if args.is_set("version") {
        return describe::version();
    }
    let (Some((command, rest)), false) = (args.rest.split_first(), args.is_set("help")) else {
        return describe::help();
    };
    match command.as_str() {
        "create" => create::create(global, rest),
        "run" => create::run(global, rest),
        "start" => lifecycle::start(global, rest),
        "state" => lifecycle::state(global, rest),
        "kill" => lifecycle::kill(global, rest),
        "delete" => lifecycle::delete(global, rest),
        "list" => lifecycle::list(global, rest),
        "ps" => lifecycle::ps(global, rest),
        "pause" => lifecycle::pause(global, rest),
        "resume" => lifecycle::resume(global, rest),
        "exec" => exec::exec(global, rest),
        "update" => update::update(global, rest),
        "events" => update::events(global, rest),
        "features" => describe::features(),
        "spec" => describe::spec(rest),
        "version" => describe::version(),
        "help" => describe::help(),
        other => Err(OciError::Unsupported { what: format!("the command {other:?}") }),
    }
}

/// Writes to stdout; a reader that has gone ends nothing.
fn print(text: &str) -> u8 {
    let _ = io::stdout().write_all(text.as_bytes());
    0
}
