//! Published ports: which are taken, and the sockets that hold them.
//!
//! Every published port is also bound by a socket of this process, so that a program of the host cannot take it
//! unnoticed and we notice what is taken. IPv4 sockets only hold the port (they drop whatever reaches them: packets
//! are translated long before). IPv6 ones serve: nothing in the kernel translates ::1, or IPv6 to IPv4.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};

use crate::config::{Bound, PortBinding, Proto};
use crate::error::{Error, Result};

/// A taken port.
#[derive(Clone, Debug)]
struct Claim {
    host_ip: IpAddr,
    container_id: String,
    /// Containers of one group share their ports.
    group: Option<String>,
}

/// A socket that holds a published port.
#[derive(Debug)]
pub struct Held {
    /// What it holds.
    pub bound: Bound,
    /// The socket; none for a protocol that the kernel lacks.
    pub socket: Option<OwnedFd>,
}

/// A process that is being started has this process's descriptors until it is another program: closing one alone does
/// not always free its port at once.
impl Drop for Held {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.as_ref().filter(|_| self.bound.proto == Proto::Tcp) {
            listens_no_more(socket);
        }
    }
}

/// Ends listening at a TCP socket, whoever else has a descriptor of it.
pub(crate) fn listens_no_more(socket: &impl std::os::fd::AsFd) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// Who publishes: for error messages.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The container.
    pub container_id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The endpoint.
    pub endpoint_id: &'a str,
    /// The group that it shares its ports with.
    pub group: Option<&'a str>,
}

impl Owner<'_> {
    /// Whether a claim is one that it shares the port with.
    fn shares(&self, claim: &Claim, ip: IpAddr) -> bool {
        self.group.is_some()
            && claim.group.as_deref() == self.group
            && claim.host_ip == ip
            && claim.container_id != self.container_id
    }
}

/// The ports that this daemon's containers have taken.
#[derive(Debug)]
pub struct Ports {
    claims: HashMap<(Proto, u16), Vec<Claim>>,
    ephemeral: RangeInclusive<u16>,
    next: u16,
    ipv6: bool,
}

impl Ports {
    /// Nothing taken. Ports that nobody chose come from `ephemeral`.
    pub fn new(ephemeral: RangeInclusive<u16>, ipv6: bool) -> Self {
        Self { claims: HashMap::new(), next: *ephemeral.start(), ephemeral, ipv6 }
    }

    /// Takes ports for wanted publications: all or none. `default_ip` is where those without an address go; only
    /// addresses of these `families` (IPv4, IPv6) are taken.
    pub fn take(
        &mut self,
        owner: Owner<'_>,
        wanted: &[PortBinding],
        default_ip: Option<IpAddr>,
        families: [bool; 2],
    ) -> Result<Vec<Held>> {
        let mut all = Vec::new();
        for binding in wanted {
            match self.take_one(owner, binding, default_ip, families) {
                Ok(held) => all.extend(held),
                Err(e) => {
                    self.release(all.iter().map(|h: &Held| &h.bound), owner.container_id);
                    return Err(e);
                }
            }
        }
        Ok(all)
    }

    fn take_one(
        &mut self,
        owner: Owner<'_>,
        binding: &PortBinding,
        default_ip: Option<IpAddr>,
        families: [bool; 2],
    ) -> Result<Vec<Held>> {
        let chosen = binding.host_ip.or(default_ip.filter(|ip| !ip.is_unspecified()));
        let mut addresses: Vec<(IpAddr, bool)> = match chosen {
            Some(ip) => vec![(ip, true)],
            None if self.ipv6 => {
                vec![(Ipv4Addr::UNSPECIFIED.into(), true), (Ipv6Addr::UNSPECIFIED.into(), false)]
            }
            None => vec![(Ipv4Addr::UNSPECIFIED.into(), true)],
        };
        addresses.retain(|(ip, _)| families[usize::from(ip.is_ipv6())]);
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        if binding.host_port != 0 && binding.host_port_end <= binding.host_port {
            return self.take_at(owner, binding, &addresses, binding.host_port);
        }
        // Only a port that was asked for can be shared.
        self.take_any(owner, binding, &addresses)
    }

    /// Takes the first port of a range that is free everywhere it has to be.
    fn take_any(
        &mut self,
        owner: Owner<'_>,
        binding: &PortBinding,
        addresses: &[(IpAddr, bool)],
    ) -> Result<Vec<Held>> {
        let dynamic = binding.host_port == 0;
        let range = if dynamic { self.ephemeral.clone() } else { binding.host_port..=binding.host_port_end };
        let first = if dynamic { self.next } else { *range.start() };
        for port in (first..=*range.end()).chain(*range.start()..first) {
            match self.take_at(Owner { group: None, ..owner }, binding, addresses, port) {
                Ok(held) => {
                    self.mark(&held, owner);
                    if dynamic {
                        self.next = if port == *range.end() { *range.start() } else { port + 1 };
                    }
                    return Ok(held);
                }
                Err(Error::PortAllocated { .. }) => {}
                Err(e @ Error::PortBind { .. }) if e.errno() != Some(libc::EADDRINUSE) => return Err(e),
                Err(Error::PortBind { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::PortsExhausted { name: owner.name.to_owned(), id: owner.endpoint_id.to_owned() })
    }

    fn take_at(
        &mut self,
        owner: Owner<'_>,
        binding: &PortBinding,
        addresses: &[(IpAddr, bool)],
        port: u16,
    ) -> Result<Vec<Held>> {
        let mut held = Vec::new();
        for (ip, required) in addresses {
            if self.is_claimed(owner, binding.proto, *ip, port) {
                return Err(Error::PortAllocated {
                    name: owner.name.to_owned(),
                    id: owner.endpoint_id.to_owned(),
                    ip: *ip,
                    port,
                });
            }
            let held_by_group = self.is_shared(owner, binding.proto, *ip, port);
            let socket =
                if held_by_group { Ok(None) } else { hold(binding.proto, SocketAddr::new(*ip, port)) };
            match socket {
                Ok(socket) => {
                    let bound = Bound {
                        proto: binding.proto,
                        container_port: binding.container_port,
                        host_ip: *ip,
                        host_port: port,
                    };
                    held.push(Held { bound, socket });
                }
                // A host without IPv6 publishes on IPv4 alone.
                Err(e)
                    if !required
                        && matches!(e.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {}
                Err(source) => {
                    return Err(Error::PortBind {
                        name: owner.name.to_owned(),
                        id: owner.endpoint_id.to_owned(),
                        addr: SocketAddr::new(*ip, port),
                        proto: binding.proto.as_str(),
                        source,
                    });
                }
            }
        }
        for one in &held {
            self.claim(&one.bound, owner);
        }
        Ok(held)
    }

    /// Ports that were found are the group's as well: no other container of it may be given them by chance.
    fn mark(&mut self, held: &[Held], owner: Owner<'_>) {
        for one in held {
            let claims = self.claims.get_mut(&(one.bound.proto, one.bound.host_port));
            let own = claims.into_iter().flatten().filter(|c| c.container_id == owner.container_id);
            own.for_each(|claim| claim.group = owner.group.map(str::to_owned));
        }
    }

    /// Takes ports again that a running container had, whoever may hold them now.
    pub fn retake(&mut self, owner: Owner<'_>, bound: &[Bound]) -> Vec<Held> {
        let hold_again = |b: &Bound| {
            let addr = SocketAddr::new(b.host_ip, b.host_port);
            if self.is_shared(owner, b.proto, b.host_ip, b.host_port) {
                return Held { bound: *b, socket: None };
            }
            let socket = hold(b.proto, addr).unwrap_or_else(|e| {
                tracing::warn!("published port {addr}/{} is held by another program: {e}", b.proto.as_str());
                None
            });
            Held { bound: *b, socket }
        };
        let held: Vec<Held> = bound.iter().map(hold_again).collect();
        for one in &held {
            self.claim(&one.bound, owner);
        }
        held
    }

    fn claim(&mut self, bound: &Bound, owner: Owner<'_>) {
        let claim = Claim {
            host_ip: bound.host_ip,
            container_id: owner.container_id.to_owned(),
            group: owner.group.map(str::to_owned),
        };
        self.claims.entry((bound.proto, bound.host_port)).or_default().push(claim);
    }

    /// Whether others have this port.
    fn is_claimed(&self, owner: Owner<'_>, proto: Proto, ip: IpAddr, port: u16) -> bool {
        let clash = |c: &Claim| {
            c.host_ip.is_ipv4() == ip.is_ipv4()
                && (c.host_ip == ip || c.host_ip.is_unspecified() || ip.is_unspecified())
                && !owner.shares(c, ip)
        };
        self.claims.get(&(proto, port)).is_some_and(|claims| claims.iter().any(clash))
    }

    /// Whether others of the same group have this port.
    fn is_shared(&self, owner: Owner<'_>, proto: Proto, ip: IpAddr, port: u16) -> bool {
        self.claims.get(&(proto, port)).is_some_and(|claims| claims.iter().any(|c| owner.shares(c, ip)))
    }

    /// Whether this port is taken at an IPv6 address, beside claims (address, container) that do not count.
    pub fn serves(&self, proto: Proto, port: u16, not: impl Fn(IpAddr, &str) -> bool) -> bool {
        let theirs = |c: &Claim| c.host_ip.is_ipv6() && !not(c.host_ip, &c.container_id);
        self.claims.get(&(proto, port)).is_some_and(|claims| claims.iter().any(theirs))
    }

    /// Gives ports of a container back.
    pub fn release<'a>(&mut self, bound: impl IntoIterator<Item = &'a Bound>, container_id: &str) {
        for one in bound {
            let key = (one.proto, one.host_port);
            if let Some(claims) = self.claims.get_mut(&key) {
                claims.retain(|c| c.container_id != container_id || c.host_ip != one.host_ip);
                if claims.is_empty() {
                    self.claims.remove(&key);
                }
            }
        }
    }
}

/// Binds a socket to a port. TCP ones listen: only then does the kernel refuse the port to others.
fn hold(proto: Proto, addr: SocketAddr) -> io::Result<Option<OwnedFd>> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, protocol) = match proto {
        Proto::Tcp => (SocketType::STREAM, ipproto::TCP),
        Proto::Udp => (SocketType::DGRAM, ipproto::UDP),
        Proto::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match socket_with(family, kind, flags, Some(protocol)) {
        Err(rustix::io::Errno::PROTONOSUPPORT) if proto == Proto::Sctp => return Ok(None),
        other => other?,
    };
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    } else {
        dray_sys::netsock::drop_all(&socket)?;
    }
    if proto == Proto::Udp && addr.is_ipv6() {
        dray_sys::netsock::want_local_address(&socket)?;
    }
    if proto != Proto::Udp {
        // Connections of an earlier user that still wait for their end do not keep a port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &addr)?;
    if proto != Proto::Udp {
        listen(&socket, 1024)?;
    }
    Ok(Some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner<'_> = Owner { container_id: "c1", name: "web", endpoint_id: "e1", group: None };

    fn binding(ip: Option<&str>, from: u16, to: u16) -> PortBinding {
        PortBinding {
            proto: Proto::Tcp,
            container_port: 80,
            host_ip: ip.map(|t| t.parse().expect(t)),
            host_port: from,
            host_port_end: to,
        }
    }

    fn free_port() -> u16 {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        probe.local_addr().expect("address").port()
    }

    #[test]
    fn a_port_is_taken_once_and_can_be_given_back() {
        let mut ports = Ports::new(32768..=60999, false);
        let port = free_port();
        let held =
            ports.take(OWNER, &[binding(Some("127.0.0.1"), port, port)], None, [true; 2]).expect("free");
        let error = ports.take(OWNER, &[binding(None, port, port)], None, [true; 2]).expect_err("taken");
        assert_eq!(
            error.to_string(),
            format!(
                "driver failed programming external connectivity on endpoint web (e1): Bind for 0.0.0.0:{port} failed: port is already allocated"
            )
        );
        ports.release(held.iter().map(|h| &h.bound), "c1");
        drop(held);
        ports.take(OWNER, &[binding(Some("127.0.0.1"), port, port)], None, [true; 2]).expect("free again");
    }

    #[test]
    fn a_port_of_another_program_is_refused_with_its_address() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = other.local_addr().expect("address").port();
        let mut ports = Ports::new(32768..=60999, false);
        let error =
            ports.take(OWNER, &[binding(Some("127.0.0.1"), port, port)], None, [true; 2]).expect_err("taken");
        assert_eq!(
            error.to_string(),
            format!(
                "driver failed programming external connectivity on endpoint web (e1): failed to bind host port 127.0.0.1:{port}/tcp: address already in use"
            )
        );
    }

    #[test]
    fn all_or_none() {
        let mut ports = Ports::new(32768..=60999, false);
        let (one, two) = (free_port(), free_port());
        let blocker =
            ports.take(OWNER, &[binding(Some("127.0.0.1"), two, two)], None, [true; 2]).expect("free");
        let wanted = [binding(Some("127.0.0.1"), one, one), binding(Some("127.0.0.1"), two, two)];
        ports.take(OWNER, &wanted, None, [true; 2]).expect_err("the second is taken");
        ports.take(OWNER, &wanted[..1], None, [true; 2]).expect("the first was given back");
        drop(blocker);
    }

    #[test]
    fn a_group_shares_a_port_and_nobody_else_does() {
        let mut ports = Ports::new(32768..=60999, false);
        let port = free_port();
        let of = |container_id, group| Owner { container_id, group, ..OWNER };
        let wanted = [binding(None, port, port)];
        let both = [true; 2];
        let first = ports.take(of("c1", Some("web")), &wanted, None, both).expect("free");
        let second = ports.take(of("c2", Some("web")), &wanted, None, both).expect("shared");
        assert!(first[0].socket.is_some() && second[0].socket.is_none());
        for (owner, ip) in [
            (of("c3", None), None),
            (of("c3", Some("other")), None),
            (of("c3", Some("web")), Some("127.0.0.1")),
            (of("c2", Some("web")), None),
        ] {
            let error = ports.take(owner, &[binding(ip, port, port)], None, both).expect_err("taken");
            assert!(matches!(error, Error::PortAllocated { .. }), "{owner:?}: {error}");
        }
        ports.release(first.iter().map(|h| &h.bound), "c1");
        ports.take(of("c3", None), &wanted, None, both).expect_err("the second has it still");
        ports.release(second.iter().map(|h| &h.bound), "c2");
        drop(first);
        ports.take(of("c3", None), &wanted, None, both).expect("free again");
    }

    #[test]
    fn ranges_skip_what_is_taken() {
        let mut ports = Ports::new(32768..=60999, false);
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = other.local_addr().expect("address").port();
        if port > 60000 {
            return;
        }
        let held = ports
            .take(OWNER, &[binding(Some("127.0.0.1"), port, port + 50)], None, [true; 2])
            .expect("one is free");
        assert!(held[0].bound.host_port > port);
    }
}
