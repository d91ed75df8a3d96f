//! One program's standard streams and everybody attached to them.
//!
//! Output is read only while every attachment has taken what came before: the program waits for its slowest
//! reader, as with Docker, and the shim's memory stays bounded. A reader that hangs up is dropped.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::frame::{FRAME_HEADER, Frame, StreamKind};
use super::log::JsonLog;
use super::request::{AttachStreams, ExitStatus};
use super::wire::{self, Reply};

/// Most bytes read from a program at once.
pub const READ_SIZE: usize = 32 << 10;

/// Streams of the container's own program or of an exec.
#[derive(Debug)]
pub struct Session {
    /// Exec, or the container itself.
    pub exec_id: Option<String>,
    /// Process id.
    pub pid: i32,
    /// Master of its terminal.
    pub terminal: Option<OwnedFd>,
    /// The program's side of it, held so that the terminal lives while nobody has it open.
    _slave: Option<OwnedFd>,
    /// Writing end of its stdin.
    pub stdin: Option<OwnedFd>,
    /// Reading ends of stdout and stderr; with a terminal the master is read instead.
    pub outputs: [Option<OwnedFd>; 2],
    /// Close stdin when an attachment has ended its own.
    pub stdin_once: bool,
    /// Who is attached.
    pub attachments: Vec<Attachment>,
    /// Who waits for the end.
    pub waiters: Vec<UnixStream>,
    /// How it ended.
    pub status: Option<ExitStatus>,
    stdin_pending: Vec<u8>,
    stdin_ending: bool,
}

impl Session {
    /// Streams of a program that has just been started.
    pub fn new(exec_id: Option<String>, pid: i32, streams: Streams, stdin_once: bool) -> Session {
        Session {
            exec_id,
            pid,
            terminal: streams.terminal,
            _slave: streams.slave,
            stdin: streams.stdin,
            outputs: streams.outputs,
            stdin_once,
            attachments: Vec::new(),
            waiters: Vec::new(),
            status: None,
            stdin_pending: Vec::new(),
            stdin_ending: false,
        }
    }

    /// Adds somebody to the streams.
    pub fn attach(&mut self, socket: UnixStream, streams: AttachStreams) {
        if socket.set_nonblocking(true).is_ok() {
            self.attachments.push(Attachment::new(socket, streams));
        }
    }

    /// Whether stdin of attachments can be taken.
    pub fn takes_stdin(&self) -> bool {
        self.stdin_pending.is_empty()
    }

    /// Whether output can be handed on.
    pub fn takes_output(&self) -> bool {
        self.attachments.iter().all(|attachment| attachment.pending.is_empty())
    }

    /// What output number `index` is read from.
    pub fn output(&self, index: usize) -> Option<BorrowedFd<'_>> {
        match (index, &self.terminal) {
            (0, Some(master)) => Some(master.as_fd()),
            (_, Some(_)) => None,
            (_, None) => self.outputs[index].as_ref().map(AsFd::as_fd),
        }
    }

    /// What stdin is written to while there is something left to write.
    pub fn blocked_stdin(&self) -> Option<BorrowedFd<'_>> {
        if self.stdin_pending.is_empty() { None } else { self.stdin_target() }
    }

    fn stdin_target(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().or(self.stdin.as_ref()).map(AsFd::as_fd)
    }

    /// Reads one piece of output and hands it on. `false` if there was none.
    pub fn read_output(&mut self, index: usize, buffer: &mut [u8], log: Option<&mut JsonLog>) -> bool {
        let Some(fd) = self.output(index) else { return false };
        match rustix::io::read(fd, &mut *buffer) {
            Ok(0) => self.close_output(index),
            Ok(len) => {
                let bytes = &buffer[..len];
                if let Some(log) = log {
                    log.write(index, bytes);
                }
                let stream = if index == 0 { StreamKind::Stdout } else { StreamKind::Stderr };
                self.broadcast(stream, bytes);
                return true;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // EIO: nobody has the terminal open any more.
            Err(_) => self.close_output(index),
        }
        false
    }

    fn close_output(&mut self, index: usize) {
        if self.terminal.is_none() {
            self.outputs[index] = None;
        }
    }

    fn broadcast(&mut self, stream: StreamKind, bytes: &[u8]) {
        for attachment in &mut self.attachments {
            let wanted = match stream {
                StreamKind::Stderr => attachment.streams.stderr,
                _ => attachment.streams.stdout,
            };
            if wanted {
                attachment.send(stream, bytes);
            }
        }
        self.drop_lost();
    }

    /// Reads what an attachment has sent.
    pub fn read_attachment(&mut self, index: usize, buffer: &mut [u8]) {
        let Some(attachment) = self.attachments.get_mut(index) else { return };
        let (got, ended) = attachment.receive(buffer);
        let takes = attachment.streams.stdin;
        if takes && !got.is_empty() {
            self.write_stdin(&got);
        }
        if ended && takes {
            if let Some(attachment) = self.attachments.get_mut(index) {
                attachment.streams.stdin = false;
            }
            self.end_stdin();
        }
        self.drop_lost();
    }

    fn write_stdin(&mut self, bytes: &[u8]) {
        let written = match self.stdin_target() {
            Some(target) if self.stdin_pending.is_empty() => match rustix::io::write(target, bytes) {
                Ok(len) => len,
                Err(Errno::AGAIN | Errno::INTR) => 0,
                // The program has closed its stdin: what is left has nobody to go to.
                Err(_) => bytes.len(),
            },
            Some(_) => 0,
            None => bytes.len(),
        };
        self.stdin_pending.extend_from_slice(&bytes[written..]);
    }

    /// Goes on writing stdin.
    pub fn flush_stdin(&mut self) {
        let Some(target) = self.stdin_target() else {
            self.stdin_pending = Vec::new();
            return;
        };
        match rustix::io::write(target, &self.stdin_pending) {
            Ok(len) => drop(self.stdin_pending.drain(..len)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.stdin_pending.clear(),
        }
        if self.stdin_pending.is_empty() {
            self.stdin_pending = Vec::new();
            if self.stdin_ending {
                self.stdin = None;
            }
        }
    }

    /// An attachment has no more stdin. A terminal has no end of file of its own.
    fn end_stdin(&mut self) {
        if !self.stdin_once || self.terminal.is_some() {
            return;
        }
        if self.stdin_pending.is_empty() {
            self.stdin = None;
        } else {
            self.stdin_ending = true;
        }
    }

    /// Goes on sending to an attachment.
    pub fn flush_attachment(&mut self, index: usize) {
        if let Some(attachment) = self.attachments.get_mut(index) {
            attachment.flush();
        }
        self.drop_lost();
    }

    fn drop_lost(&mut self) {
        let before = self.attachments.iter().filter(|a| a.streams.stdin).count();
        self.attachments.retain(|attachment| !attachment.lost);
        let after = self.attachments.iter().filter(|a| a.streams.stdin).count();
        if after < before {
            self.end_stdin();
        }
    }

    /// The program has ended: reads what is left, as far as attachments can take it without waiting.
    pub fn drain(&mut self, buffer: &mut [u8], mut log: Option<&mut JsonLog>) {
        for index in 0..2 {
            while self.read_output(index, buffer, log.as_deref_mut()) {}
        }
        self.outputs = [None, None];
        self.terminal = None;
        self.stdin = None;
    }

    /// Tells everybody how it ended.
    pub fn finish(&mut self, status: &ExitStatus) {
        let text = format!("{{\"exit\":{}}}", status.code);
        for attachment in &mut self.attachments {
            attachment.send(StreamKind::Control, text.as_bytes());
            attachment.last = true;
        }
        for waiter in self.waiters.drain(..) {
            // Whoever has gone does not want to know.
            let _ = wire::write_message(&waiter, &Reply::Exited(status.clone()));
        }
        self.status = Some(status.clone());
        self.drop_finished();
    }

    /// Lets attachments go that have got everything.
    pub fn drop_finished(&mut self) {
        self.attachments.retain(|a| !(a.lost || a.last && a.pending.is_empty()));
    }

    /// Changes the size of the terminal.
    pub fn resize(&self, rows: u16, columns: u16) -> Reply {
        let Some(master) = &self.terminal else { return Reply::NoTerminal };
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        match rustix::termios::tcsetwinsize(master, size) {
            Ok(()) => Reply::Done,
            Err(errno) => Reply::Os(errno.raw_os_error()),
        }
    }
}

/// The shim's ends of a program's streams.
#[derive(Debug, Default)]
pub struct Streams {
    /// Master of a terminal.
    pub terminal: Option<OwnedFd>,
    /// The program's side of it.
    slave: Option<OwnedFd>,
    /// Writing end of stdin.
    pub stdin: Option<OwnedFd>,
    /// Reading ends of stdout and stderr.
    pub outputs: [Option<OwnedFd>; 2],
}

impl Streams {
    /// Pipes for the wanted streams and /dev/null for the others. Returns the program's ends too.
    pub fn pipes(wanted: AttachStreams) -> io::Result<(Streams, [OwnedFd; 3])> {
        let mut streams = Streams::default();
        let stdin = if wanted.stdin {
            let (read, write) = pipe()?;
            set_nonblocking(&write)?;
            streams.stdin = Some(write);
            read
        } else {
            null()?
        };
        let mut output = |index: usize, wanted: bool| -> io::Result<OwnedFd> {
            if !wanted {
                return null();
            }
            let (read, write) = pipe()?;
            set_nonblocking(&read)?;
            streams.outputs[index] = Some(read);
            Ok(write)
        };
        let stdout = output(0, wanted.stdout)?;
        let stderr = output(1, wanted.stderr)?;
        Ok((streams, [stdin, stdout, stderr]))
    }

    /// A terminal.
    pub fn terminal(master: OwnedFd) -> io::Result<Streams> {
        use rustix::pty::OpenptFlags;
        set_nonblocking(&master)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).ok();
        Ok(Streams { terminal: Some(master), slave, ..Streams::default() })
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

fn null() -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    Ok(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}

/// One connection that takes part in the streams.
#[derive(Debug)]
pub struct Attachment {
    /// The connection.
    pub socket: UnixStream,
    /// What it takes part in.
    pub streams: AttachStreams,
    /// Bytes it has not taken yet.
    pub pending: Vec<u8>,
    /// The other side has gone.
    pub lost: bool,
    /// Everything there will be is in `pending`.
    pub last: bool,
    header: [u8; FRAME_HEADER],
    header_len: usize,
    payload_left: usize,
    skips: bool,
}

impl Attachment {
    fn new(socket: UnixStream, streams: AttachStreams) -> Attachment {
        Attachment {
            socket,
            streams,
            pending: Vec::new(),
            lost: false,
            last: false,
            header: [0; FRAME_HEADER],
            header_len: 0,
            payload_left: 0,
            skips: false,
        }
    }

    fn send(&mut self, stream: StreamKind, bytes: &[u8]) {
        let header = Frame { stream, len: bytes.len() }.encode();
        let mut sent = 0;
        if self.pending.is_empty() && !self.lost {
            let parts = [io::IoSlice::new(&header), io::IoSlice::new(bytes)];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let mut none = rustix::net::SendAncillaryBuffer::default();
            match rustix::net::sendmsg(&self.socket, &parts, &mut none, flags) {
                Ok(len) => sent = len,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.lost = true,
            }
        }
        if sent < header.len() {
            self.pending.extend_from_slice(&header[sent..]);
        }
        self.pending.extend_from_slice(&bytes[sent.saturating_sub(header.len())..]);
    }

    fn flush(&mut self) {
        match rustix::net::send(&self.socket, &self.pending, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(len) => drop(self.pending.drain(..len)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.lost = true,
        }
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
    }

    /// Reads frames: the stdin bytes among them, and whether stdin has ended.
    fn receive(&mut self, buffer: &mut [u8]) -> (Vec<u8>, bool) {
        let mut stdin = Vec::new();
        let len = match rustix::io::read(&self.socket, &mut *buffer) {
            Ok(0) => {
                self.lost = true;
                return (stdin, true);
            }
            Ok(len) => len,
            Err(Errno::AGAIN | Errno::INTR) => return (stdin, false),
            Err(_) => {
                self.lost = true;
                return (stdin, true);
            }
        };
        let mut bytes = &buffer[..len];
        let mut ended = false;
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let take = self.payload_left.min(bytes.len());
                if !self.skips {
                    stdin.extend_from_slice(&bytes[..take]);
                }
                self.payload_left -= take;
                bytes = &bytes[take..];
                continue;
            }
            let take = (FRAME_HEADER - self.header_len).min(bytes.len());
            self.header[self.header_len..self.header_len + take].copy_from_slice(&bytes[..take]);
            self.header_len += take;
            bytes = &bytes[take..];
            if self.header_len < FRAME_HEADER {
                break;
            }
            self.header_len = 0;
            match Frame::decode(self.header) {
                Some(Frame { stream: StreamKind::Stdin, len: 0 }) => ended = true,
                Some(frame) => {
                    self.payload_left = frame.len;
                    self.skips = frame.stream != StreamKind::Stdin;
                }
                None => {
                    // Not our protocol: nothing after it can be trusted.
                    self.lost = true;
                    break;
                }
            }
        }
        (stdin, ended)
    }
}
