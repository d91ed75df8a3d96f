//! Socket options that rustix does not know: a filter that drops everything, strict netlink dumps, and UDP
//! datagrams with the local address they came to (`IPV6_PKTINFO`).

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, c_void, socklen_t};

/// Sets an integer socket option.
///
/// # Errors
/// The kernel's.
pub fn set_int(socket: impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set(socket, level, name, &value)
}

/// Makes a socket drop everything that it receives: it holds its port and nothing else.
///
/// # Errors
/// The kernel's.
pub fn drop_all(socket: impl AsFd) -> io::Result<()> {
    // One BPF instruction: return 0, the number of bytes to keep.
    let mut code = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    let program = libc::sock_fprog { len: 1, filter: code.as_mut_ptr() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Makes a netlink dump obey the filters in its header instead of ignoring them.
///
/// # Errors
/// The kernel's; kernels before 4.20 do not know the option.
pub fn strict_dumps(socket: impl AsFd) -> io::Result<()> {
    set_int(socket, libc::SOL_NETLINK, libc::NETLINK_GET_STRICT_CHK, 1)
}

/// Makes a UDP socket tell to which local address each datagram came.
///
/// # Errors
/// The kernel's.
pub fn want_local_address(socket: impl AsFd) -> io::Result<()> {
    set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
}

fn set<T>(socket: impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is a live reference to a plain C value of the size passed; the kernel copies it (and, for a
    // filter, the instructions that it points to, which outlive the call in `drop_all`).
    let rc = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast::<c_void>(),
            socklen_t::try_from(mem::size_of::<T>()).unwrap_or(0),
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for one `in6_pktinfo` control message, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// A datagram: its length in the buffer, who sent it, and the local address it came to.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Bytes of the buffer that were filled.
    pub len: usize,
    /// The sender.
    pub from: SocketAddrV6,
    /// The local address.
    pub to: Ipv6Addr,
}

/// Receives a datagram from an IPv6 UDP socket on which [`want_local_address`] was called.
///
/// # Errors
/// The kernel's; `WouldBlock` if the socket does not block and nothing is there.
pub fn recv_datagram(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut from = MaybeUninit::<libc::sockaddr_in6>::zeroed();
    let mut control = Control([0; 64]);
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is a C struct of integers and pointers, for which all zeroes is a valid value.
    let mut msg: libc::msghdr = unsafe { mem::zeroed() };
    msg.msg_name = from.as_mut_ptr().cast();
    msg.msg_namelen = socklen_t::try_from(mem::size_of::<libc::sockaddr_in6>()).unwrap_or(0);
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast();
    msg.msg_controllen = control.0.len() as _;
    // SAFETY: every pointer in `msg` refers to a local that lives until the end of this function, with its true size.
    let len = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut msg, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: it was zeroed above, which is a valid sockaddr_in6, and the kernel wrote nothing but one of those.
    let from = unsafe { from.assume_init() };
    let mut to = Ipv6Addr::UNSPECIFIED;
    // SAFETY: `msg` was filled by recvmsg; the CMSG macros stay within msg_control and its returned length, and an
    // IPV6_PKTINFO message carries an in6_pktinfo, read unaligned.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(&raw const msg);
        while !cmsg.is_null() {
            if (*cmsg).cmsg_level == libc::IPPROTO_IPV6 && (*cmsg).cmsg_type == libc::IPV6_PKTINFO {
                let info = libc::CMSG_DATA(cmsg).cast::<libc::in6_pktinfo>().read_unaligned();
                to = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            }
            cmsg = libc::CMSG_NXTHDR(&raw const msg, cmsg);
        }
    }
    let addr = Ipv6Addr::from(from.sin6_addr.s6_addr);
    let from = SocketAddrV6::new(addr, u16::from_be(from.sin6_port), from.sin6_flowinfo, from.sin6_scope_id);
    Ok(Datagram { len, from, to })
}

/// Sends a datagram from a certain local address.
///
/// # Errors
/// The kernel's; `WouldBlock` if the socket does not block and its buffer is full.
pub fn send_datagram(socket: impl AsFd, data: &[u8], to: SocketAddrV6, from: Ipv6Addr) -> io::Result<usize> {
    // SAFETY: sockaddr_in6, msghdr and in6_pktinfo are C structs of integers and pointers; all zeroes is valid.
    let (mut name, mut msg, mut info): (libc::sockaddr_in6, libc::msghdr, libc::in6_pktinfo) =
        unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
    name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    name.sin6_port = to.port().to_be();
    name.sin6_addr.s6_addr = to.ip().octets();
    name.sin6_scope_id = to.scope_id();
    info.ipi6_addr.s6_addr = from.octets();
    let mut control = Control([0; 64]);
    let mut iov = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let info_len = u32::try_from(mem::size_of::<libc::in6_pktinfo>()).unwrap_or(0);
    msg.msg_name = (&raw mut name).cast();
    msg.msg_namelen = socklen_t::try_from(mem::size_of::<libc::sockaddr_in6>()).unwrap_or(0);
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: the control buffer (64 bytes, aligned to 8) has room for one header and an in6_pktinfo (CMSG_SPACE is
    // 40); the kernel only reads what the pointers in `msg` refer to, all of which live until the call returns.
    let sent = unsafe {
        msg.msg_controllen = libc::CMSG_SPACE(info_len) as _;
        let cmsg = libc::CMSG_FIRSTHDR(&raw const msg);
        (*cmsg).cmsg_level = libc::IPPROTO_IPV6;
        (*cmsg).cmsg_type = libc::IPV6_PKTINFO;
        (*cmsg).cmsg_len = libc::CMSG_LEN(info_len) as _;
        libc::CMSG_DATA(cmsg).cast::<libc::in6_pktinfo>().write_unaligned(info);
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const msg, libc::MSG_NOSIGNAL)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
