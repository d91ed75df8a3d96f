//! The socket between an init and the process that cloned it.
//!
//! ```text
//! init → parent   Console (+ fd), Hooks, Ready, Failed; the end of the stream is the exec
//! parent → init   one byte: go on (id maps are written, hooks have run)
//! ```
//!
//! A packet socket keeps messages apart; it is close-on-exec, so a program that runs has let go of it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::error::StartError;
use crate::shim::request::TraceStep;

/// Longest message.
const MAX: usize = 16 << 10;

/// What an init says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Note {
    /// Here is the master of the terminal.
    Console,
    /// The namespaces are there, the root is not switched: run the hooks and let me go on.
    Hooks,
    /// The program is about to be run, or waited for.
    Ready(Vec<TraceStep>),
    /// It will not run.
    Failed(StartError),
}

/// One end of the socket.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    pub fn pair() -> rustix::io::Result<(Channel, Channel)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(a), Channel(b)))
    }

    /// Says something, with a descriptor if there is one.
    pub fn say(&self, note: &Note, fd: Option<BorrowedFd<'_>>) -> rustix::io::Result<()> {
        let mut bytes = serde_json::to_vec(note).map_err(|_| Errno::INVAL)?;
        bytes.truncate(MAX);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// The next note; `None` at the end of the stream.
    pub fn hear(&self) -> rustix::io::Result<Option<(Note, Option<OwnedFd>)>> {
        let mut bytes = vec![0; MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let got = loop {
            match recvmsg(&self.0, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        if got.bytes == 0 {
            return Ok(None);
        }
        let note = serde_json::from_slice(&bytes[..got.bytes]).map_err(|_| Errno::BADMSG)?;
        Ok(Some((note, fd)))
    }

    /// Lets the other side go on.
    pub fn go(&self) -> rustix::io::Result<()> {
        rustix::net::send(&self.0, b"g", SendFlags::NOSIGNAL).map(drop)
    }

    /// Waits until the other side lets us go on.
    pub fn wait(&self) -> rustix::io::Result<()> {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut [0; 1]))? {
            0 => Err(Errno::PIPE),
            _ => Ok(()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
