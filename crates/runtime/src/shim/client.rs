//! The engine's side: start a shim, find it again after a restart of the daemon, speak with it.
//!
//! Nothing here needs the process that started the shim to be the one that speaks with it: a [`Shim`] is a run
//! directory. Signals, execs and streams go through the shim, which is the parent of the init and so can never
//! hit a recycled process id; limits, freezing and statistics go straight to the cgroup.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dray_spec::runtime::Resources;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::reaper;
use super::request::{AttachStreams, ExecRequest, ExitStatus, ShimRequest, ShimState, Started};
use super::wire::{self, Command, Reply, StartReply};
use crate::cgroup::{Cgroup, CgroupError, CgroupStats};
use crate::error::{StartError, Step};
use crate::init::live::MountChange;

/// A command a shim could not carry out.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// The container has ended, or is ending.
    #[error("container is not running")]
    NotRunning,
    /// The shim does not answer: it was killed.
    #[error("shim of {} is gone", .run_dir.display())]
    Gone {
        /// Run directory of the container.
        run_dir: PathBuf,
    },
    /// No exec of that id.
    #[error("no such exec: {id}")]
    NoSuchExec {
        /// The id.
        id: String,
    },
    /// An exec of that id exists.
    #[error("exec {id} already exists")]
    ExecExists {
        /// The id.
        id: String,
    },
    /// Resizing something without a terminal.
    #[error("no terminal to resize")]
    NoTerminal,
    /// The program of an exec could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A limit could not be set, or a figure not be read.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The shim was refused by the kernel.
    #[error("{op}: {source}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// The refusal.
        source: io::Error,
    },
    /// An answer that makes no sense here.
    #[error("shim answered {answer} to {op}")]
    Protocol {
        /// What was asked.
        op: &'static str,
        /// The answer.
        answer: String,
    },
}

/// Makes a container and starts its program. Returns when the program runs (its exec has succeeded).
///
/// `exe` is the `dray` binary; it is run as `dray-runtime shim` from a read-only view of its own, so that
/// nothing in a container can write to it through `/proc/<pid>/exe`.
///
/// # Errors
/// Says which step failed on what. Nothing is left of the container then, except its run directory.
pub fn start(exe: &Path, mut request: ShimRequest) -> Result<Started, StartError> {
    let begun = crate::clock::monotonic();
    let attach = std::mem::take(&mut request.attach);
    make_run_dir(&request.run_dir)?;
    let filter = crate::seccomp::filter_for(&request)?;
    let body = serde_json::to_vec(&request)
        .map_err(|e| StartError::because(Step::Config, &request.id, e.to_string()))?;
    let spawn_error = |e: io::Error| StartError::io(Step::Spawn, exe.display().to_string(), &e);
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|e| spawn_error(e.into()))?;
    // The run directory is there for those who look at `ps`: it names the daemon and the container.
    let named = std::ffi::CString::new(request.run_dir.as_os_str().as_bytes()).unwrap_or_default();
    let argv = [c"dray-runtime".to_owned(), c"shim".to_owned(), named];
    let view = crate::sealed::read_only_view(exe)?;
    let program = PathBuf::from(format!("/proc/self/fd/{}", view.as_raw_fd()));
    let pid = dray_sys::spawn::spawn_with_fd(&program, &argv, &[], theirs.as_fd()).map_err(spawn_error)?;
    reaper::watch(pid);
    drop(theirs);
    wire::send_start(ours.as_fd(), &body, &filter, &attach, begun).map_err(spawn_error)?;
    drop(attach);
    match wire::read_message(fs::File::from(ours)) {
        Ok(StartReply::Started(started)) => Ok(started),
        Ok(StartReply::Failed(error)) => Err(error),
        Err(e) => {
            // It was killed half-way. What it had made is taken down; a failure of that shows at the next start.
            let _ = reap_lost(&request.run_dir);
            let detail = format!("the shim ended before it answered: {e}");
            Err(StartError::because(Step::Spawn, request.id, detail))
        }
    }
}

fn make_run_dir(dir: &Path) -> Result<(), StartError> {
    let error = |e: io::Error| StartError::io(Step::Shim, dir.display().to_string(), &e);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(error)?;
    match fs::remove_file(dir.join("exit.json")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(error(e)),
        _ => Ok(()),
    }
}

/// Waits while a shim that an earlier daemon has spawned is making its container: until it has written what it has made,
/// has ended, or this time is over.
pub fn await_start(run_dir: &Path, most: Duration) {
    let begun = Instant::now();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::open(run_dir, flags, Mode::empty()) else { return };
    let settled = || {
        let written = ["state.json", "exit.json"].iter().any(|name| run_dir.join(name).exists());
        // The shim holds the lock as long as it lives; ours is given back when `dir` is closed.
        written || rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok()
    };
    while !settled() && begun.elapsed() < most {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How a container ended, once it has.
pub fn exit_status(run_dir: &Path) -> Option<ExitStatus> {
    serde_json::from_slice(&fs::read(run_dir.join("exit.json")).ok()?).ok()
}

/// An exec that runs.
#[derive(Debug)]
pub struct ExecStarted {
    /// Process id on the host.
    pub pid: i32,
    /// Its streams as frames; absent for a detached one.
    pub stream: Option<UnixStream>,
}

/// A shim, by its run directory.
#[derive(Debug, Clone)]
pub struct Shim {
    run_dir: PathBuf,
}

impl Shim {
    /// The shim of a run directory, if one answers there.
    pub fn open(run_dir: &Path) -> Option<Shim> {
        let shim = Shim { run_dir: run_dir.to_owned() };
        shim.connect().ok().map(|_| shim)
    }

    /// Its run directory.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// What the shim has written about its container.
    pub fn state(&self) -> Option<ShimState> {
        read_state(&self.run_dir)
    }

    /// Joins all streams of the container. Frames both ways, the last one `{"exit":N}`.
    ///
    /// # Errors
    /// `Gone` once the shim has ended.
    pub fn attach(&self) -> Result<UnixStream, ShimError> {
        self.attach_streams(AttachStreams::ALL)
    }

    /// Joins some streams of the container.
    ///
    /// # Errors
    /// `Gone` once the shim has ended.
    pub fn attach_streams(&self, streams: AttachStreams) -> Result<UnixStream, ShimError> {
        self.ask("attach", &Command::Attach(streams)).map(|(stream, _)| stream)
    }

    /// Runs a further program in the container.
    ///
    /// # Errors
    /// `Start` with the same words as a container's own program; `NotRunning` after the container has ended.
    pub fn exec(&self, request: ExecRequest) -> Result<ExecStarted, ShimError> {
        let (id, detach) = (request.exec_id.clone(), request.detach);
        match self.ask("exec", &Command::Exec(Box::new(request))) {
            Ok((stream, Reply::ExecStarted { pid })) => {
                Ok(ExecStarted { pid, stream: (!detach).then_some(stream) })
            }
            Ok((_, answer)) => Err(protocol("exec", &answer)),
            Err(error) => Err(named(error, &id)),
        }
    }

    /// Changes the size of the container's terminal, or of an exec's.
    ///
    /// # Errors
    /// `NoTerminal` or `NoSuchExec`.
    pub fn resize(&self, exec_id: Option<&str>, height: u16, width: u16) -> Result<(), ShimError> {
        let exec_id = exec_id.map(str::to_owned);
        let id = exec_id.clone().unwrap_or_default();
        self.ask("resize", &Command::Resize { exec_id, height, width }).map(drop).map_err(|e| named(e, &id))
    }

    /// Attaches a mount to the running container, or detaches one.
    ///
    /// # Errors
    /// `Start` in the words of a container's start; nothing is changed then.
    pub fn change_mount(&self, change: MountChange) -> Result<(), ShimError> {
        self.ask("change a mount", &Command::Mount(change)).map(drop)
    }

    /// Sends a signal to the container's init.
    ///
    /// # Errors
    /// `NotRunning` once it has ended.
    pub fn kill(&self, signal: i32) -> Result<(), ShimError> {
        self.ask("kill", &Command::Kill(signal)).map(drop)
    }

    /// Kills the program of an exec. By the shim, whose child it is: the process id cannot be another's.
    ///
    /// # Errors
    /// `NoSuchExec` when it has ended, or never was.
    pub fn kill_exec(&self, exec_id: &str) -> Result<(), ShimError> {
        let command = Command::KillExec { exec_id: exec_id.to_owned() };
        self.ask("kill an exec", &command).map(drop).map_err(|error| named(error, exec_id))
    }

    /// Kills every process of the container's cgroup.
    ///
    /// # Errors
    /// Of the cgroup.
    pub fn kill_all(&self) -> Result<(), ShimError> {
        Ok(self.cgroup()?.kill_all()?)
    }

    /// A connection that becomes readable when the container ends; see [`ExitWait`].
    ///
    /// # Errors
    /// `Gone` if the shim has ended already: look at [`exit_status`] then.
    pub fn wait(&self) -> Result<ExitWait, ShimError> {
        self.wait_for(None)
    }

    /// The same for an exec.
    ///
    /// # Errors
    /// `Gone` or, when it is read, `NoSuchExec`.
    pub fn exec_wait(&self, exec_id: &str) -> Result<ExitWait, ShimError> {
        self.wait_for(Some(exec_id.to_owned()))
    }

    fn wait_for(&self, exec_id: Option<String>) -> Result<ExitWait, ShimError> {
        let mut stream = self.connect()?;
        let id = exec_id.clone().unwrap_or_default();
        wire::write_message(&mut stream, &Command::Wait { exec_id }).map_err(|e| self.lost(e))?;
        Ok(ExitWait { stream, exec_id: id, run_dir: self.run_dir.clone() })
    }

    /// Freezes all processes of the container.
    ///
    /// # Errors
    /// Of the cgroup.
    pub fn pause(&self) -> Result<(), ShimError> {
        Ok(self.cgroup()?.freeze()?)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// Of the cgroup.
    pub fn resume(&self) -> Result<(), ShimError> {
        Ok(self.cgroup()?.thaw()?)
    }

    /// Whether the container is frozen.
    ///
    /// # Errors
    /// Of the cgroup.
    pub fn is_paused(&self) -> Result<bool, ShimError> {
        Ok(self.cgroup()?.is_frozen()?)
    }

    /// Changes limits; what is absent stays as it is.
    ///
    /// # Errors
    /// Of the cgroup, naming the file and the value.
    pub fn update(&self, resources: &Resources) -> Result<(), ShimError> {
        Ok(self.cgroup()?.update(resources)?)
    }

    /// What the container has used.
    ///
    /// # Errors
    /// Of the cgroup.
    pub fn stats(&self) -> Result<CgroupStats, ShimError> {
        Ok(self.cgroup()?.stats()?)
    }

    /// Process ids of the container on the host.
    ///
    /// # Errors
    /// Of the cgroup.
    pub fn pids(&self) -> Result<Vec<i32>, ShimError> {
        Ok(self.cgroup()?.pids()?)
    }

    fn cgroup(&self) -> Result<Cgroup, ShimError> {
        let state = self.state().ok_or_else(|| self.gone())?;
        Ok(Cgroup::open(&state.cgroup)?)
    }

    fn gone(&self) -> ShimError {
        ShimError::Gone { run_dir: self.run_dir.clone() }
    }

    fn lost(&self, error: io::Error) -> ShimError {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionRefused | ConnectionReset | NotFound | UnexpectedEof => self.gone(),
            _ => ShimError::Io { op: "speak with shim", source: error },
        }
    }

    /// Connects through a descriptor of the run directory: its path may be longer than a socket address.
    fn connect(&self) -> Result<UnixStream, ShimError> {
        let dir = rustix::fs::open(
            &self.run_dir,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| self.lost(e.into()))?;
        let path = format!("/proc/self/fd/{}/shim.sock", dir.as_raw_fd());
        UnixStream::connect(path).map_err(|e| self.lost(e))
    }

    fn ask(&self, op: &'static str, command: &Command) -> Result<(UnixStream, Reply), ShimError> {
        let mut stream = self.connect()?;
        wire::write_message(&mut stream, command).map_err(|e| self.lost(e))?;
        match wire::read_message(&mut stream).map_err(|e| self.lost(e))? {
            reply @ (Reply::Done | Reply::ExecStarted { .. } | Reply::Exited(_)) => Ok((stream, reply)),
            Reply::NotRunning => Err(ShimError::NotRunning),
            Reply::NoSuchExec => Err(ShimError::NoSuchExec { id: String::new() }),
            Reply::ExecExists => Err(ShimError::ExecExists { id: String::new() }),
            Reply::NoTerminal => Err(ShimError::NoTerminal),
            Reply::StartFailed(error) => Err(error.into()),
            Reply::Os(errno) => Err(ShimError::Io { op, source: io::Error::from_raw_os_error(errno) }),
            answer @ Reply::Malformed(_) => Err(protocol(op, &answer)),
        }
    }
}

fn protocol(op: &'static str, answer: &Reply) -> ShimError {
    ShimError::Protocol { op, answer: format!("{answer:?}") }
}

fn named(error: ShimError, id: &str) -> ShimError {
    match error {
        ShimError::NoSuchExec { .. } => ShimError::NoSuchExec { id: id.to_owned() },
        ShimError::ExecExists { .. } => ShimError::ExecExists { id: id.to_owned() },
        other => other,
    }
}

/// A wait for the end of a container or an exec.
#[derive(Debug)]
pub struct ExitWait {
    stream: UnixStream,
    exec_id: String,
    run_dir: PathBuf,
}

impl ExitWait {
    /// Blocks until it has ended.
    ///
    /// # Errors
    /// `Gone` if the shim was killed meanwhile: [`reap_lost`] cleans up after it.
    pub fn recv(mut self) -> Result<ExitStatus, ShimError> {
        match wire::read_message(&mut self.stream) {
            Ok(Reply::Exited(status)) => Ok(status),
            Ok(Reply::NoSuchExec) => Err(ShimError::NoSuchExec { id: self.exec_id }),
            Ok(answer) => Err(protocol("wait", &answer)),
            Err(_) => Err(ShimError::Gone { run_dir: self.run_dir }),
        }
    }

    /// The connection itself, readable when [`ExitWait::recv`] would not block any more.
    pub fn as_stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Gives the connection up for a poll loop: one length-prefixed message comes over it.
    pub fn into_fd(self) -> OwnedFd {
        self.stream.into()
    }
}

pub(super) fn read_state(run_dir: &Path) -> Option<ShimState> {
    serde_json::from_slice(&fs::read(run_dir.join("state.json")).ok()?).ok()
}

/// Cleans up after a shim that was killed: kills what is left of the container, removes its cgroup and writes
/// exit status 137. Returns the status; one that the shim has written itself before its death wins.
///
/// # Errors
/// Of the cgroup or the exit file.
pub fn reap_lost(run_dir: &Path) -> Result<ExitStatus, ShimError> {
    super::lost::reap(run_dir)
}
