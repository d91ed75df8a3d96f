//! The PORTS column: `0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 9000-9002/tcp`.

use std::collections::HashMap;
use std::net::IpAddr;

/// A port of a container in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Host address, if published.
    pub ip: Option<IpAddr>,
    /// Port in the container.
    pub private: u16,
    /// Port on the host, 0 if not published.
    pub public: u16,
    /// `tcp`, `udp` or `sctp`.
    pub kind: String,
}

fn join_host(ip: IpAddr, port: &str) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

/// One run of ports that follow each other and map to themselves.
struct Group {
    ip: Option<IpAddr>,
    kind: String,
    first: u16,
    last: u16,
}

impl Group {
    fn text(&self) -> String {
        let range = if self.first == self.last {
            self.first.to_string()
        } else {
            format!("{}-{}", self.first, self.last)
        };
        match self.ip {
            Some(ip) => format!("{}->{range}/{}", join_host(ip, &range), self.kind),
            None => format!("{range}/{}", self.kind),
        }
    }
}

/// The text for all ports of a container: runs are merged, ports published under another number come last.
pub fn display(ports: &[Port]) -> String {
    let mut ports = ports.to_vec();
    ports.sort_by(|a, b| {
        (a.private, ip_key(a.ip), a.public, &a.kind).cmp(&(b.private, ip_key(b.ip), b.public, &b.kind))
    });
    let mut closed = Vec::new();
    let mut order = Vec::new();
    let mut open: HashMap<(Option<IpAddr>, String), Group> = HashMap::new();
    let mut moved = Vec::new();
    for port in &ports {
        if let Some(ip) = port.ip
            && port.public != port.private
        {
            moved.push(format!(
                "{}->{}/{}",
                join_host(ip, &port.public.to_string()),
                port.private,
                port.kind
            ));
            continue;
        }
        let key = (port.ip, port.kind.clone());
        match open.get_mut(&key) {
            Some(group) if group.last.checked_add(1) == Some(port.private) => group.last = port.private,
            Some(group) => {
                closed.push(group.text());
                (group.first, group.last) = (port.private, port.private);
            }
            None => {
                order.push(key.clone());
                let group =
                    Group { ip: port.ip, kind: port.kind.clone(), first: port.private, last: port.private };
                open.insert(key, group);
            }
        }
    }
    closed.extend(order.iter().filter_map(|key| open.get(key)).map(Group::text));
    closed.extend(moved);
    closed.join(", ")
}

/// Unpublished first, then IPv4 before IPv6.
fn ip_key(ip: Option<IpAddr>) -> (u8, Vec<u8>) {
    match ip {
        None => (0, Vec::new()),
        Some(IpAddr::V4(ip)) => (1, ip.octets().to_vec()),
        Some(IpAddr::V6(ip)) => (2, ip.octets().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private: u16, public: u16, kind: &str) -> Port {
        Port { ip: ip.parse().ok(), private, public, kind: kind.into() }
    }

    #[test]
    fn ports_read_as_in_ps() {
        assert_eq!(
            display(&[port("0.0.0.0", 80, 8080, "tcp"), port("::", 80, 8080, "tcp")]),
            "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
        assert_eq!(
            display(&[
                port("", 9002, 0, "tcp"),
                port("", 9000, 0, "tcp"),
                port("", 9001, 0, "tcp"),
                port("", 53, 0, "udp")
            ]),
            "53/udp, 9000-9002/tcp"
        );
        assert_eq!(
            display(&[
                port("127.0.0.1", 81, 81, "tcp"),
                port("127.0.0.1", 80, 80, "tcp"),
                port("127.0.0.1", 90, 90, "tcp")
            ]),
            "127.0.0.1:80-81->80-81/tcp, 127.0.0.1:90->90/tcp"
        );
        assert_eq!(display(&[]), "");
    }
}
