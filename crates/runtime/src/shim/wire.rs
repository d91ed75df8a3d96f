//! Messages between engine and shim: a little-endian length, then JSON.
//!
//! The start request goes over the socket the shim is born with (descriptor 3) and carries the initial
//! attachments as SCM_RIGHTS on its first bytes, so many with each; everything later is one command per connection to
//! shim.sock.
//!
//! ```text
//! request length, filter length, begun, batches │ one byte for each further batch │ request │ filter
//! ```

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::request::{AttachStreams, ExecRequest, ExitStatus, Started};
use crate::error::StartError;
use crate::init::live::MountChange;

/// Most attachments that go with one message.
const MAX_FDS: usize = 16;
const HEADER: usize = 20;

/// Largest message either side accepts.
const MAX_MESSAGE: usize = 16 << 20;

/// Answer to a start request.
#[derive(Debug, Serialize, Deserialize)]
pub enum StartReply {
    /// The user's program runs.
    Started(Started),
    /// Nothing of the container is left.
    Failed(StartError),
}

/// One command of the control socket.
#[derive(Debug, Serialize, Deserialize)]
pub enum Command {
    /// Join the container's streams; frames follow the answer.
    Attach(AttachStreams),
    /// Run a further program; frames follow the answer unless detached.
    Exec(Box<ExecRequest>),
    /// Change the size of a terminal: of the container, or of an exec.
    Resize {
        /// Exec, or the container itself.
        exec_id: Option<String>,
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    },
    /// Change the container's mounts.
    Mount(MountChange),
    /// Send a signal to the init.
    Kill(i32),
    /// Kill an exec.
    KillExec {
        /// Which.
        exec_id: String,
    },
    /// Answer with [`Reply::Exited`] when the container, or the exec, has ended.
    Wait {
        /// Exec, or the container itself.
        exec_id: Option<String>,
    },
}

/// Answer to a command.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// The exec runs.
    ExecStarted {
        /// Process id on the host.
        pid: i32,
    },
    /// It has ended.
    Exited(ExitStatus),
    /// The container has ended, or is ending.
    NotRunning,
    /// No exec of that id.
    NoSuchExec,
    /// An exec of that id exists.
    ExecExists,
    /// No terminal to resize.
    NoTerminal,
    /// The exec could not be started.
    StartFailed(StartError),
    /// The kernel refused.
    Os(i32),
    /// The command could not be read.
    Malformed(String),
}

/// Writes one message.
pub fn write_message<T: Serialize>(mut to: impl Write, message: &T) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let len = length(bytes.len() - 4)?;
    bytes[..4].copy_from_slice(&len);
    to.write_all(&bytes)
}

/// Reads one message; an end of the stream before its first byte is `UnexpectedEof` as well.
pub fn read_message<T: for<'de> Deserialize<'de>>(mut from: impl Read) -> io::Result<T> {
    let mut header = [0; 4];
    from.read_exact(&mut header)?;
    let mut bytes = vec![0; checked(u32::from_le_bytes(header))?];
    from.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// The parts of a start request as they come off the socket.
pub struct StartMessage {
    /// [`super::request::ShimRequest`] as JSON.
    pub request: Vec<u8>,
    /// Compiled system call filter; empty for none.
    pub filter: Vec<u8>,
    /// Initial attachments.
    pub attach: Vec<OwnedFd>,
    /// When the engine began, on the monotonic clock, in nanoseconds.
    pub begun: u64,
}

/// Sends a start request.
pub fn send_start(
    socket: BorrowedFd<'_>,
    request: &[u8],
    filter: &[u8],
    attach: &[OwnedFd],
    begun: u64,
) -> io::Result<()> {
    let (first, more) = attach.split_at(attach.len().min(MAX_FDS));
    let batches = more.chunks(MAX_FDS);
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&length(request.len())?);
    header[4..8].copy_from_slice(&length(filter.len())?);
    header[8..16].copy_from_slice(&begun.to_le_bytes());
    header[16..].copy_from_slice(&length(batches.len())?);
    send_with(socket, &header, first)?;
    for batch in batches {
        send_with(socket, &[0], batch)?;
    }
    send_all(socket, request)?;
    send_all(socket, filter)
}

fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], attach: &[OwnedFd]) -> io::Result<()> {
    let fds: Vec<BorrowedFd<'_>> = attach.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::from(io::ErrorKind::ArgumentListTooLong));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a start request; `None` if the other side hung up without one.
pub fn receive_start(socket: BorrowedFd<'_>) -> io::Result<Option<StartMessage>> {
    let mut header = [0; HEADER];
    let mut attach = Vec::new();
    if !receive_with(socket, &mut header, &mut attach)? {
        return Ok(None);
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    for _ in 0..number(16) {
        if !receive_with(socket, &mut [0], &mut attach)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let request = receive_exact(socket, checked(number(0))?)?;
    let filter = receive_exact(socket, checked(number(4))?)?;
    let begun = u64::from(number(8)) | u64::from(number(12)) << 32;
    Ok(Some(StartMessage { request, filter, attach, begun }))
}

/// Fills `bytes` and takes the descriptors that come along; whether the other side is still there.
fn receive_with(socket: BorrowedFd<'_>, bytes: &mut [u8], attach: &mut Vec<OwnedFd>) -> io::Result<bool> {
    let wanted = bytes.len();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            attach.extend(fds);
        }
    }
    match got.bytes {
        0 => Ok(false),
        bytes if bytes < wanted => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(true),
    }
}

fn send_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

fn receive_exact(socket: BorrowedFd<'_>, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match rustix::io::read(socket, &mut bytes[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(bytes)
}

fn length(len: usize) -> io::Result<[u8; 4]> {
    u32::try_from(len).map(u32::to_le_bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn checked(len: u32) -> io::Result<usize> {
    let len = len as usize;
    if len > MAX_MESSAGE { Err(io::ErrorKind::InvalidData.into()) } else { Ok(len) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn any_number_of_attachments_goes_along() {
        for count in [0, 1, MAX_FDS, MAX_FDS + 1, 5 * MAX_FDS] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let pairs: Vec<(UnixStream, UnixStream)> =
                (0..count).map(|_| UnixStream::pair().unwrap()).collect();
            let attach: Vec<OwnedFd> = pairs.iter().map(|(_, far)| far.try_clone().unwrap().into()).collect();
            send_start(ours.as_fd(), b"request", b"filter", &attach, u64::MAX - 1).unwrap();
            let message = receive_start(theirs.as_fd()).unwrap().unwrap();
            assert_eq!((message.request, message.filter), (b"request".to_vec(), b"filter".to_vec()));
            assert_eq!((message.begun, message.attach.len()), (u64::MAX - 1, count));
            // In their order.
            for ((near, _), far) in pairs.iter().zip(message.attach) {
                UnixStream::from(far).write_all(b"x").unwrap();
                let mut byte = [0];
                (&mut &*near).read_exact(&mut byte).unwrap();
            }
        }
    }
}
