//! The shim process: makes one container, stays with it to its end, tells how it ended.
//!
//! ```text
//! descriptor 3 ── start request ─▶ launch ── Started or Failed ─▶
//! loop: SIGCHLD · shim.sock · streams · attachments            (one thread, one poll)
//! the init has ended: drain streams, remove cgroup, write exit.json, tell everybody, go
//! ```
//!
//! Its memory is paid for by every container: the request is dropped before the loop, buffers grow only while
//! they are needed.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dray_sys::process as proc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::control::Connection;
use super::log::JsonLog;
use super::request::{AttachStreams, ExitStatus, ShimRequest, ShimState, Started};
use super::session::{READ_SIZE, Session, Streams};
use super::wire::{self, StartMessage, StartReply};
use crate::cgroup::Cgroup;
use crate::clock::{Stamp, monotonic, process_start};
use crate::error::{StartError, Step};
use crate::init::launch::{Launch, Launched, launch};
use crate::init::{At, Trace};

/// How long attachments may take to read the last output of a container that has ended.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// Ends of execs remembered for those who ask late.
const MAX_ENDED: usize = 32;

/// `dray-runtime shim`.
pub fn main(_args: &[OsString]) -> ExitCode {
    let Ok(socket) = proc::inherited_fd(3) else {
        eprintln!("dray-runtime shim is started by the daemon, not by hand");
        return ExitCode::FAILURE;
    };
    // Names and rights that cannot fail in a way that matters.
    let _ = proc::set_name(c"dray-shim");
    let _ = proc::become_subreaper();
    // The daemon's directory must not be held for as long as the container lives.
    let _ = rustix::process::chdir("/");
    let Ok(signals) = proc::signal_fd(&SIGNALS) else { return ExitCode::FAILURE };
    let born = monotonic();
    let parent = rustix::process::getppid();
    match wire::receive_start(socket.as_fd()) {
        Ok(Some(message)) => match start(message, &socket, born) {
            Ok((mut shim, started)) => {
                reply(&socket, &StartReply::Started(started));
                drop(socket);
                proc::trim_heap();
                shim.signals = Some(signals);
                let cgroup = shim.cgroup.as_ref().map(|cgroup| cgroup.path().to_owned());
                shim.run();
                if rustix::process::getppid() != parent
                    && let Some((shared, _)) = cgroup.as_deref().and_then(|path| path.rsplit_once('/'))
                {
                    // No daemon is there any more to see to it.
                    crate::cgroup::remove_unused_parent(shared);
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                reply(&socket, &StartReply::Failed(error));
                ExitCode::FAILURE
            }
        },
        // The daemon has changed its mind, or died.
        Ok(None) | Err(_) => ExitCode::FAILURE,
    }
}

/// Signals a shim reads from a descriptor, since none of them may end it: hang-up, interrupt, broken pipe, terminate,
/// and that of an ended child.
pub(super) const SIGNALS: [i32; 5] = [1, 2, 13, 15, 17];

fn reply(socket: &OwnedFd, reply: &StartReply) {
    // A daemon that died meanwhile finds the container by its run directory.
    if let Ok(socket) = socket.try_clone() {
        let _ = wire::write_message(fs::File::from(socket), reply);
    }
}

/// A shim with its container.
pub struct Shim {
    run_dir: PathBuf,
    listener: Option<UnixListener>,
    signals: Option<OwnedFd>,
    pub(super) init: OwnedFd,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) user_namespace: bool,
    /// Compiled system call filter, for execs.
    pub(super) filter: Vec<u8>,
    log: Option<JsonLog>,
    /// The container's own, then those of execs.
    pub(super) sessions: Vec<Session>,
    connections: Vec<Connection>,
    ended: Vec<(String, ExitStatus)>,
    buffer: Vec<u8>,
    lock: OwnedFd,
}

fn start(message: StartMessage, daemon: &OwnedFd, born: u64) -> Result<(Shim, Started), StartError> {
    let request: ShimRequest = serde_json::from_slice(&message.request)
        .map_err(|e| StartError::because(Step::Config, "start request", e.to_string()))?;
    let mut trace = Trace::since(message.begun, request.trace);
    trace.mark_at("spawn shim", born);
    trace.mark("request");
    let run_dir = request.run_dir.clone();
    let lock = lock(&run_dir)?;
    // A daemon that is there knows that we come; the next one has seen that nobody holds the lock, and may have given
    // the container up.
    if hung_up(daemon) {
        return Err(StartError::because(Step::Shim, &request.id, "the daemon is gone"));
    }
    let made = make(&request, message, &run_dir, lock, trace);
    if made.is_err() {
        for file in ["shim.sock", "state.json"] {
            let _ = fs::remove_file(run_dir.join(file));
        }
    }
    made
}

fn hung_up(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Waits until an earlier shim of this container has gone for good.
fn lock(run_dir: &Path) -> Result<OwnedFd, StartError> {
    let subject = || run_dir.display().to_string();
    let dir = rustix::fs::open(run_dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Shim, subject())?;
    rustix::fs::flock(&dir, FlockOperation::LockExclusive).at(Step::Shim, subject())?;
    Ok(dir)
}

fn make(
    request: &ShimRequest,
    message: StartMessage,
    run_dir: &Path,
    lock: OwnedFd,
    mut trace: Trace,
) -> Result<(Shim, Started), StartError> {
    let log = JsonLog::open(&request.log).at(Step::Shim, "log file")?;
    let listener = listen(&lock, run_dir)?;
    let (mut streams, theirs) = if request.tty {
        (Streams::default(), None)
    } else {
        let wanted = AttachStreams { stdin: request.open_stdin, ..AttachStreams::ALL };
        let (ours, theirs) = Streams::pipes(wanted).at(Step::Shim, "pipes")?;
        (ours, Some(theirs))
    };
    let cgroup_path = cgroup_path(request);
    trace.mark("shim files");
    let launched = launch(Launch {
        id: &request.id,
        bundle: run_dir.to_owned(),
        spec: &request.spec,
        rootfs: &request.rootfs,
        staging: run_dir,
        cgroup_path: &cgroup_path,
        filter: &message.filter,
        filter_flags: crate::seccomp::policy_flags(&request.seccomp),
        tty: request.tty,
        console_size: request.console_size,
        streams: theirs,
        start_pipe: None,
        keyring: true,
        pivot: true,
        preserve_fds: 0,
        dies_with_parent: true,
        trace,
    })?;
    let Launched { pid, pidfd, cgroup, console, mut trace } = launched;
    if let Some(master) = console {
        streams = Streams::terminal(master).at(Step::Console, "terminal")?;
    }
    let mut session = Session::new(None, pid, streams, request.stdin_once);
    let StartMessage { attach, filter, .. } = message;
    for socket in attach {
        session.attach(UnixStream::from(socket), AttachStreams::ALL);
    }
    let mut started = Started {
        shim_pid: std::process::id() as i32,
        init_pid: pid,
        init_start_time: process_start(pid).unwrap_or(0),
        trace: Vec::new(),
    };
    write_state(run_dir, request, &started, &cgroup_path)?;
    trace.mark("state");
    started.trace = trace.take();
    let shim = Shim {
        run_dir: run_dir.to_owned(),
        listener: Some(listener),
        signals: None,
        init: pidfd,
        cgroup,
        user_namespace: has_user_namespace(request),
        filter,
        log,
        sessions: vec![session],
        connections: Vec::new(),
        ended: Vec::new(),
        buffer: Vec::new(),
        lock,
    };
    Ok((shim, started))
}

fn cgroup_path(request: &ShimRequest) -> String {
    let configured = request.spec.linux.as_ref().and_then(|linux| linux.cgroups_path.clone());
    configured
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| format!("{}/{}", crate::cgroup::PARENT, request.id))
}

fn has_user_namespace(request: &ShimRequest) -> bool {
    use dray_spec::runtime::NamespaceKind;
    let namespaces = request.spec.linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
    namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User)
}

/// Listens on shim.sock, through a descriptor: the path may be longer than a socket address.
fn listen(dir: &OwnedFd, run_dir: &Path) -> Result<UnixListener, StartError> {
    let _ = fs::remove_file(run_dir.join("shim.sock"));
    let old = rustix::process::umask(Mode::from_raw_mode(0o077));
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/shim.sock", dir.as_raw_fd()));
    rustix::process::umask(old);
    let listener = listener.at(Step::Shim, "shim.sock")?;
    listener.set_nonblocking(true).at(Step::Shim, "shim.sock")?;
    Ok(listener)
}

fn write_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StartError> {
    replace_file(dir, name, bytes).map(drop).at(Step::Shim, dir.join(name).display().to_string())
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<fs::File> {
    let draft = dir.join(format!(".{name}.new"));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    fs::rename(&draft, dir.join(name))?;
    Ok(file)
}

fn write_state(
    run_dir: &Path,
    request: &ShimRequest,
    started: &Started,
    cgroup: &str,
) -> Result<(), StartError> {
    let state = ShimState {
        id: request.id.clone(),
        shim_pid: started.shim_pid,
        shim_start_time: process_start(started.shim_pid).unwrap_or(0),
        init_pid: started.init_pid,
        init_start_time: started.init_start_time,
        cgroup: cgroup.to_owned(),
    };
    let text = serde_json::to_vec(&state)
        .map_err(|e| StartError::because(Step::Shim, "state.json", e.to_string()))?;
    write_file(run_dir, "state.json", &text)
}

/// What a polled descriptor stands for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Connection(usize),
    Output(usize, usize),
    Stdin(usize),
    Attachment(usize, usize),
}

impl Shim {
    /// The container's own session.
    pub(super) fn main(&mut self) -> &mut Session {
        &mut self.sessions[0]
    }

    fn run(&mut self) {
        // A child may have ended before its signal was waited for.
        self.reap();
        let mut deadline: Option<Instant> = None;
        loop {
            if self.sessions[0].status.is_some() {
                let until = *deadline.get_or_insert_with(|| Instant::now() + LAST_WORDS);
                let busy = self.sessions.iter().any(|session| !session.attachments.is_empty());
                if !busy || Instant::now() > until {
                    return;
                }
            }
            for (source, events) in self.poll(deadline) {
                self.handle(source, events);
            }
            self.forget_ended();
        }
    }

    fn poll(&mut self, deadline: Option<Instant>) -> Vec<(Source, PollFlags)> {
        let mut sources = Vec::with_capacity(8);
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(8);
        let mut add = |source, fd, events| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, events));
        };
        if let Some(signals) = &self.signals {
            add(Source::Signals, signals.as_fd(), PollFlags::IN);
        }
        if let Some(listener) = &self.listener {
            add(Source::Listener, listener.as_fd(), PollFlags::IN);
        }
        for (number, connection) in self.connections.iter().enumerate() {
            add(Source::Connection(number), connection.as_fd(), PollFlags::IN);
        }
        for (number, session) in self.sessions.iter().enumerate() {
            if session.takes_output() {
                for index in 0..2 {
                    if let Some(fd) = session.output(index) {
                        add(Source::Output(number, index), fd, PollFlags::IN);
                    }
                }
            }
            if let Some(fd) = session.blocked_stdin() {
                add(Source::Stdin(number), fd, PollFlags::OUT);
            }
            for (index, attachment) in session.attachments.iter().enumerate() {
                let mut events = PollFlags::empty();
                if !attachment.pending.is_empty() {
                    events |= PollFlags::OUT;
                }
                if session.takes_stdin() {
                    events |= PollFlags::IN;
                }
                if !events.is_empty() {
                    add(Source::Attachment(number, index), attachment.socket.as_fd(), events);
                }
            }
        }
        let timeout = deadline.map(|until| {
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        let ready = sources.into_iter().zip(fds.iter().map(PollFd::revents));
        // Later entries first: handling one may remove it, and must not move those still to be handled.
        let mut ready: Vec<_> = ready.filter(|(_, events)| !events.is_empty()).collect();
        ready.reverse();
        ready
    }

    fn handle(&mut self, source: Source, events: PollFlags) {
        match source {
            Source::Signals => {
                while self.signals.as_ref().and_then(|fd| proc::take_signal(fd.as_fd())).is_some() {}
                self.reap();
            }
            Source::Listener => self.accept(),
            Source::Connection(number) => self.serve(number),
            Source::Output(number, index) => self.read_output(number, index),
            Source::Stdin(number) => {
                if let Some(session) = self.sessions.get_mut(number) {
                    session.flush_stdin();
                }
            }
            Source::Attachment(number, index) => self.attachment(number, index, events),
        }
    }

    fn read_output(&mut self, number: usize, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(READ_SIZE, 0);
        let log = if number == 0 { self.log.as_mut() } else { None };
        if let Some(session) = self.sessions.get_mut(number) {
            session.read_output(index, &mut buffer, log);
        }
        self.buffer = buffer;
    }

    fn attachment(&mut self, number: usize, index: usize, events: PollFlags) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(READ_SIZE, 0);
        if let Some(session) = self.sessions.get_mut(number) {
            if events.contains(PollFlags::OUT) {
                session.flush_attachment(index);
            }
            if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                session.read_attachment(index, &mut buffer);
            }
            if session.status.is_some() {
                session.drop_finished();
            }
        }
        self.buffer = buffer;
    }

    fn accept(&mut self) {
        let accepted = self.listener.as_ref().and_then(|listener| listener.accept().ok());
        if let Some((stream, _)) = accepted
            && let Some(connection) = Connection::new(stream)
        {
            self.connections.push(connection);
        }
    }

    fn serve(&mut self, number: usize) {
        match self.connections[number].read() {
            Ok(None) => {}
            Ok(Some(command)) => {
                let connection = self.connections.remove(number);
                self.command(command, connection.into_stream());
            }
            Err(()) => drop(self.connections.remove(number)),
        }
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.child_ended(pid, status);
        }
    }

    fn child_ended(&mut self, pid: Pid, status: WaitStatus) {
        let pid = pid.as_raw_nonzero().get();
        let Some(number) =
            self.sessions.iter().position(|session| session.pid == pid && session.status.is_none())
        else {
            // An orphan of the container that came to us.
            return;
        };
        let code = exit_code(status);
        if number == 0 {
            self.container_ended(code);
        } else {
            self.session_ended(number, &exit_status(code, false));
        }
    }

    fn session_ended(&mut self, number: usize, status: &ExitStatus) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(READ_SIZE, 0);
        let log = if number == 0 { self.log.as_mut() } else { None };
        let session = &mut self.sessions[number];
        session.drain(&mut buffer, log);
        session.finish(status);
        self.buffer = buffer;
    }

    /// The end: nothing of the container may be left when somebody hears of it.
    fn container_ended(&mut self, code: i32) {
        let oom_killed = self.cgroup.as_ref().is_some_and(|cgroup| cgroup.oom_kills() > 0);
        self.end_execs();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(READ_SIZE, 0);
        self.sessions[0].drain(&mut buffer, self.log.as_mut());
        self.buffer = buffer;
        if let Some(log) = &mut self.log {
            log.finish();
        }
        if let Some(cgroup) = self.cgroup.take() {
            // A process that cannot be killed (stuck in the kernel) keeps its cgroup; the end is told all the
            // same.
            let _ = cgroup.remove();
        }
        let status = exit_status(code, oom_killed);
        let written = write_exit(&self.run_dir, &status);
        self.listener = None;
        let _ = fs::remove_file(self.run_dir.join("shim.sock"));
        self.sessions[0].finish(&status);
        for mut connection in std::mem::take(&mut self.connections) {
            connection.refuse();
        }
        // The next shim of this container need not wait for the disk.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
        if let Ok(file) = written {
            // The status survives a killed shim as it is; this is for a power cut.
            let _ = file.sync_all();
        }
    }

    /// Execs do not outlive the container. Inside its pid namespace the kernel has killed them already.
    fn end_execs(&mut self) {
        for number in 1..self.sessions.len() {
            if self.sessions[number].status.is_some() {
                continue;
            }
            let Some(pid) = Pid::from_raw(self.sessions[number].pid) else { continue };
            // Still our child, so the id is nobody else's.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let code = match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => exit_code(status),
                _ => 137,
            };
            self.session_ended(number, &exit_status(code, false));
        }
    }

    /// Execs that have ended and whose readers have gone give their memory back.
    fn forget_ended(&mut self) {
        let mut number = 1;
        while number < self.sessions.len() {
            let session = &self.sessions[number];
            match &session.status {
                Some(status) if session.attachments.is_empty() => {
                    let id = session.exec_id.clone().unwrap_or_default();
                    self.ended.push((id, status.clone()));
                    self.sessions.remove(number);
                    if self.ended.len() > MAX_ENDED {
                        self.ended.remove(0);
                    }
                }
                _ => number += 1,
            }
        }
    }

    /// How an exec that is over has ended.
    pub(super) fn ended_exec(&self, id: &str) -> Option<&ExitStatus> {
        let still_read = self.sessions.iter().skip(1).find(|s| s.exec_id.as_deref() == Some(id));
        still_read
            .and_then(|session| session.status.as_ref())
            .or_else(|| self.ended.iter().rev().find(|(ended, _)| ended == id).map(|(_, status)| status))
    }
}

/// 128 + signal for a program killed by one.
pub fn exit_code(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    }
}

fn exit_status(code: i32, oom_killed: bool) -> ExitStatus {
    ExitStatus { code, oom_killed, finished_at: Stamp::now().to_string() }
}

/// Writes exit.json; what is left to do is to sync it.
pub(super) fn write_exit(run_dir: &Path, status: &ExitStatus) -> io::Result<fs::File> {
    replace_file(run_dir, "exit.json", &serde_json::to_vec(status)?)
}
