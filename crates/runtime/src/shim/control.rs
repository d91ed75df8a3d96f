//! Commands of the control socket, carried out one after the other between two looks at the streams.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::process::Pid;

use super::request::{AttachStreams, ExecRequest};
use super::server::Shim;
use super::session::{Session, Streams};
use super::wire::{self, Command, Reply};
use crate::error::{StartError, Step};
use crate::exec::{Exec, exec};

/// Longest command.
const MAX_COMMAND: usize = 4 << 20;

/// A connection whose command has not come whole yet.
pub struct Connection {
    stream: UnixStream,
    bytes: Vec<u8>,
}

impl Connection {
    /// A new connection.
    pub fn new(stream: UnixStream) -> Option<Connection> {
        stream.set_nonblocking(true).ok()?;
        Some(Connection { stream, bytes: Vec::new() })
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Its socket, blocking again.
    pub fn into_stream(self) -> UnixStream {
        // It worked the other way round; a failure shows at the first write.
        let _ = self.stream.set_nonblocking(false);
        self.stream
    }

    /// Reads on; the command once it is there, an error if there will be none.
    pub fn read(&mut self) -> Result<Option<Command>, ()> {
        loop {
            let wanted = self.wanted()?;
            if wanted == 0 {
                return match serde_json::from_slice(&self.bytes[4..]) {
                    Ok(command) => Ok(Some(command)),
                    Err(error) => {
                        // Never more than is needed was read, so the answer is the last of it.
                        let _ = wire::write_message(&self.stream, &Reply::Malformed(error.to_string()));
                        Err(())
                    }
                };
            }
            let at = self.bytes.len();
            self.bytes.resize(at + wanted, 0);
            let got = self.stream.read(&mut self.bytes[at..]);
            self.bytes.truncate(at + *got.as_ref().unwrap_or(&0));
            match got {
                Ok(0) => return Err(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(()),
            }
        }
    }

    /// Bytes still missing: what follows the command belongs to its stream and is not touched.
    fn wanted(&self) -> Result<usize, ()> {
        let Some(header) = self.bytes.first_chunk::<4>() else { return Ok(4 - self.bytes.len()) };
        let len = u32::from_le_bytes(*header) as usize;
        if len > MAX_COMMAND { Err(()) } else { Ok(4 + len - self.bytes.len()) }
    }

    /// Answers whoever came too late.
    pub fn refuse(&mut self) {
        let _ = wire::write_message(&self.stream, &Reply::NotRunning);
    }
}

impl Shim {
    /// Carries out a command; the connection is answered, and kept where it goes on as a stream or a wait.
    pub(super) fn command(&mut self, command: Command, stream: UnixStream) {
        let reply = match command {
            Command::Attach(streams) => {
                // Answered before the first frame.
                if wire::write_message(&stream, &Reply::Done).is_ok() {
                    self.main().attach(stream, streams);
                }
                return;
            }
            Command::Wait { exec_id } => return self.wait(exec_id.as_deref(), stream),
            Command::Exec(request) => return self.exec(*request, stream),
            Command::Kill(signal) => self.kill(signal),
            Command::KillExec { exec_id } => self.kill_exec(&exec_id),
            Command::Mount(change) => match crate::init::live::change(self.init.as_fd(), &change) {
                Ok(()) => Reply::Done,
                Err(error) => Reply::StartFailed(error),
            },
            Command::Resize { exec_id, height, width } => match self.session(exec_id.as_deref()) {
                Some(session) => session.resize(height, width),
                None => Reply::NoSuchExec,
            },
        };
        // Whoever hung up does not want the answer.
        let _ = wire::write_message(&stream, &reply);
    }

    fn session(&mut self, exec_id: Option<&str>) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.exec_id.as_deref() == exec_id)
    }

    fn kill(&self, signal: i32) -> Reply {
        use rustix::io::Errno;
        match dray_sys::process::signal(self.init.as_fd(), signal) {
            Ok(()) => Reply::Done,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::SRCH) => Reply::NotRunning,
                errno => Reply::Os(errno.unwrap_or(Errno::IO).raw_os_error()),
            },
        }
    }

    fn kill_exec(&self, exec_id: &str) -> Reply {
        let runs =
            |session: &&Session| session.exec_id.as_deref() == Some(exec_id) && session.status.is_none();
        let Some(pid) = self.sessions.iter().find(runs).and_then(|session| Pid::from_raw(session.pid)) else {
            return Reply::NoSuchExec;
        };
        // Not reaped yet, so the id is nobody else's.
        match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
            Ok(()) => Reply::Done,
            Err(errno) => Reply::Os(errno.raw_os_error()),
        }
    }

    fn wait(&mut self, exec_id: Option<&str>, stream: UnixStream) {
        if let Some(id) = exec_id
            && let Some(status) = self.ended_exec(id)
        {
            let _ = wire::write_message(&stream, &Reply::Exited(status.clone()));
            return;
        }
        match self.session(exec_id) {
            Some(session) => session.waiters.push(stream),
            None => drop(wire::write_message(&stream, &Reply::NoSuchExec)),
        }
    }

    fn exec(&mut self, request: ExecRequest, stream: UnixStream) {
        let id = request.exec_id.clone();
        let (detach, streams) = (request.detach, request.streams);
        let taken = self.session(Some(&id)).is_some() || self.ended_exec(&id).is_some();
        let started = if taken { Err(Reply::ExecExists) } else { self.start_exec(request) };
        match started {
            Ok(mut session) => {
                let answer = Reply::ExecStarted { pid: session.pid };
                let heard = wire::write_message(&stream, &answer).is_ok();
                if heard && !detach {
                    session.attach(stream, streams);
                }
                self.sessions.push(session);
            }
            Err(reply) => drop(wire::write_message(&stream, &reply)),
        }
    }

    fn start_exec(&mut self, request: ExecRequest) -> Result<Session, Reply> {
        let failed =
            |step, subject: &str, error: &io::Error| Reply::StartFailed(StartError::io(step, subject, error));
        if self.cgroup.as_ref().is_some_and(|cgroup| cgroup.is_frozen().unwrap_or(false)) {
            let detail = "the container is paused";
            return Err(Reply::StartFailed(StartError::because(Step::Cgroup, "", detail)));
        }
        let filter: &[u8] = if request.unconfined { &[] } else { &self.filter };
        let wanted = if request.detach { AttachStreams::NONE } else { request.streams };
        let (mut streams, theirs) = if request.tty {
            (Streams::default(), None)
        } else {
            let (ours, theirs) = Streams::pipes(wanted).map_err(|e| failed(Step::Shim, "pipes", &e))?;
            (ours, Some(theirs))
        };
        let executed = exec(Exec {
            init: self.init.as_fd(),
            user_namespace: self.user_namespace,
            cgroup: self.cgroup.as_ref(),
            process: &request.process,
            filter,
            tty: request.tty,
            console_size: request.console_size,
            streams: theirs,
            preserve_fds: 0,
        })
        .map_err(|error| match error.errno {
            // The pid namespace takes no more processes: its init is going.
            Some(errno) if errno == rustix::io::Errno::NOMEM.raw_os_error() => Reply::NotRunning,
            Some(errno) if errno == rustix::io::Errno::SRCH.raw_os_error() => Reply::NotRunning,
            _ => Reply::StartFailed(error),
        })?;
        if let Some(master) = executed.console {
            streams = Streams::terminal(master).map_err(|e| failed(Step::Console, "terminal", &e))?;
        }
        Ok(Session::new(Some(request.exec_id), executed.pid, streams, true))
    }
}
