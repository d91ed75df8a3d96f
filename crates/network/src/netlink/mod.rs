//! Plain netlink sockets: requests out, answers in, no copy of the kernel's state.
//!
//! The kernel handles a request inside of the `send` call, so an acknowledgement is there when `send` returns and
//! nothing here ever waits. A socket belongs to the network namespace in which it was opened, whoever uses it.

pub mod conntrack;
pub mod route;
pub mod wire;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname, recv, sendto,
    socket_with, sockopt,
};

use self::wire::{Message, Messages};

/// Room for the largest answer the kernel gives in one piece.
const RECEIVE: usize = 64 * 1024;
/// Room for a batch that makes everything anew.
const SEND_BUFFER: usize = 8 * 1024 * 1024;

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes.
    Route,
    /// nftables and connection tracking.
    Netfilter,
}

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: AtomicU32,
    port: u32,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(family: Family) -> io::Result<Self> {
        Self::subscribe(family, 0)
    }

    /// Opens a socket that also gets the notifications of these groups (bit n-1 for group n).
    ///
    /// # Errors
    /// The kernel's.
    pub fn subscribe(family: Family, groups: u32) -> io::Result<Self> {
        let protocol: Option<Protocol> = match family {
            // NETLINK_ROUTE is protocol 0.
            Family::Route => None,
            Family::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        // Larger buffers need CAP_NET_ADMIN; without it nothing else here works either, and says so.
        let _ = sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER);
        let _ = sockopt::set_socket_recv_buffer_size_force(&fd, SEND_BUFFER);
        if family == Family::Route {
            let _ = dray_sys::netsock::strict_dumps(&fd);
        }
        let port = SocketAddrNetlink::try_from(getsockname(&fd)?).map(|addr| addr.pid())?;
        Ok(Self { fd, sequence: AtomicU32::new(1), port })
    }

    /// The kernel's number of this socket, by which notifications name who made a change.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Sends messages in one system call and gives the first error of any. Each message that asks for an
    /// acknowledgement must get one.
    ///
    /// # Errors
    /// The first that the kernel reports, with the place of the message that failed.
    pub fn send(&self, mut messages: Messages) -> Result<(), Failed> {
        let base = self.sequence.fetch_add(messages.count().max(1), Ordering::Relaxed);
        let count = messages.count();
        let bytes = messages.seal(base);
        sendto(&self.fd, bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))
            .map_err(|e| Failed { index: 0, source: e.into() })?;
        let mut first: Option<Failed> = None;
        self.drain(|message| {
            let index = message.sequence.wrapping_sub(base);
            if let Some(errno) = message.errno()
                && errno != 0
                && index < count
                && first.as_ref().is_none_or(|f| index < f.index)
            {
                first = Some(Failed { index, source: io::Error::from_raw_os_error(errno) });
            }
        });
        first.map_or(Ok(()), Err)
    }

    /// Sends one message that asks for answers (a dump, or one object) and shows each to `each`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn query(&self, mut messages: Messages, mut each: impl FnMut(&Message<'_>)) -> io::Result<()> {
        let base = self.sequence.fetch_add(messages.count().max(1), Ordering::Relaxed);
        let bytes = messages.seal(base);
        sendto(&self.fd, bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut buffer = vec![0; RECEIVE];
        loop {
            let len = match recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, len)) => len,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            for message in wire::messages(&buffer[..len.min(RECEIVE)]) {
                if message.sequence != base {
                    continue;
                }
                match message.errno() {
                    Some(0) => return Ok(()),
                    Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    None if message.kind == wire::DONE => return Ok(()),
                    None => each(&message),
                }
            }
        }
    }

    /// Reads what has arrived, without waiting. Says whether notifications were lost for want of room.
    pub fn drain(&self, mut each: impl FnMut(&Message<'_>)) -> bool {
        let mut buffer = [0u8; 16 * 1024];
        let mut lost = false;
        loop {
            match recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, len)) => wire::messages(&buffer[..len.min(16 * 1024)]).for_each(|m| each(&m)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::NOBUFS) => lost = true,
                Err(_) => return lost,
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// A message of a batch that the kernel refused.
#[derive(Debug)]
pub struct Failed {
    /// Which message of the batch.
    pub index: u32,
    /// Why.
    pub source: io::Error,
}

impl Failed {
    /// Whether it failed with this error number.
    pub fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }

    /// As the error of a named operation.
    pub fn of(self, operation: impl Into<String>) -> crate::Error {
        crate::Error::Netlink { operation: operation.into(), source: self.source }
    }
}
