//! Published ports: from `HostConfig.PortBindings` to what the network publishes, and back.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dray_api::StringSet;
use dray_api::container::{PortBinding as WireBinding, PortMap};
use dray_network::{Bound, PortBinding, Proto};

use super::Error;

/// What to publish: the bindings, and with `publish_all` a random port for each other exposed one.
///
/// # Errors
/// [`Error::Port`] for what is no port, protocol or address.
pub(super) fn wanted(
    bindings: &PortMap,
    exposed: &StringSet,
    publish_all: bool,
) -> Result<Vec<PortBinding>, Error> {
    let mut ports = Vec::new();
    for (key, hosts) in bindings {
        let Some(hosts) = hosts else { continue };
        for (proto, container_port) in container_ports(key)? {
            for host in hosts {
                ports.push(binding(proto, container_port, host)?);
            }
        }
    }
    if publish_all {
        for key in exposed.keys() {
            for (proto, container_port) in container_ports(key)? {
                let bound = |p: &PortBinding| p.proto == proto && p.container_port == container_port;
                if !ports.iter().any(bound) {
                    ports.push(binding(proto, container_port, &WireBinding::default())?);
                }
            }
        }
    }
    Ok(ports)
}

/// `NetworkSettings.Ports`: what was bound, and exposed ports that are not published.
pub(super) fn shown(bound: &[Bound], exposed: &StringSet, bindings: &PortMap) -> PortMap {
    let mut ports: PortMap = BTreeMap::new();
    for key in exposed.keys().chain(bindings.keys()) {
        for (proto, port) in container_ports(key).unwrap_or_default() {
            ports.entry(format!("{port}/{}", proto.as_str())).or_insert(None);
        }
    }
    for bound in bound {
        let key = format!("{}/{}", bound.container_port, bound.proto.as_str());
        ports
            .entry(key)
            .or_insert(None)
            .get_or_insert_default()
            .push(WireBinding { host_ip: bound.host_ip.to_string(), host_port: host_port(bound) });
    }
    ports
}

fn host_port(bound: &Bound) -> String {
    if bound.host_port == 0 { String::new() } else { bound.host_port.to_string() }
}

/// What was bound, read back from `NetworkSettings.Ports`.
pub(super) fn bound(ports: &PortMap) -> Vec<Bound> {
    let mut all = Vec::new();
    for (key, hosts) in ports {
        for (proto, container_port) in container_ports(key).unwrap_or_default() {
            all.extend(hosts.iter().flatten().filter_map(|host| {
                // None of the host's is used where containers are routed to.
                let host_port = if host.host_port.is_empty() { 0 } else { host.host_port.parse().ok()? };
                let host_ip = host.host_ip.parse().ok()?;
                Some(Bound { proto, container_port, host_ip, host_port })
            }));
        }
    }
    all
}

/// `80`, `80/tcp` or `8000-8010/udp`.
fn container_ports(key: &str) -> Result<Vec<(Proto, u16)>, Error> {
    let invalid = || Error::Port(key.to_owned());
    let (ports, proto) = key.split_once('/').unwrap_or((key, "tcp"));
    let proto = Proto::from_name(&proto.to_ascii_lowercase()).ok_or_else(invalid)?;
    let (first, last) = range(ports).ok_or_else(invalid)?;
    if first == 0 {
        return Err(invalid());
    }
    Ok((first..=last).map(|port| (proto, port)).collect())
}

fn binding(proto: Proto, container_port: u16, host: &WireBinding) -> Result<PortBinding, Error> {
    let invalid = || Error::Port(format!("{}:{}", host.host_ip, host.host_port));
    let host_ip = match host.host_ip.as_str() {
        "" => None,
        ip => Some(ip.parse::<IpAddr>().map_err(|_| invalid())?),
    };
    let (host_port, host_port_end) = match host.host_port.as_str() {
        "" => (0, 0),
        ports => range(ports).ok_or_else(invalid)?,
    };
    Ok(PortBinding { proto, container_port, host_ip, host_port, host_port_end })
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use dray_api::Empty;

    use super::*;

    fn map(key: &str, ip: &str, port: &str) -> PortMap {
        let host = WireBinding { host_ip: ip.into(), host_port: port.into() };
        PortMap::from([(key.into(), Some(vec![host]))])
    }

    #[test]
    fn bindings_become_ports_and_come_back() {
        let exposed = StringSet::from([("80/tcp".into(), Empty), ("53/udp".into(), Empty)]);
        let ports = wanted(&map("80/tcp", "127.0.0.1", "8080-8090"), &exposed, true).unwrap();
        assert_eq!(ports.len(), 2);
        assert_eq!((ports[0].host_port, ports[0].host_port_end), (8080, 8090));
        assert_eq!((ports[1].proto, ports[1].host_port), (Proto::Udp, 0));

        let host_ip = "127.0.0.1".parse().unwrap();
        let done = [Bound { proto: Proto::Tcp, container_port: 80, host_ip, host_port: 8081 }];
        let wire = shown(&done, &exposed, &PortMap::new());
        assert_eq!(wire["53/udp"], None);
        assert_eq!(wire["80/tcp"].as_ref().unwrap()[0].host_port, "8081");
        assert_eq!(bound(&wire), done);
    }

    #[test]
    fn nonsense_is_named() {
        for (key, ip, port) in [("x/tcp", "", ""), ("80/abc", "", ""), ("80", "host", ""), ("80", "", "9-8")]
        {
            assert!(wanted(&map(key, ip, port), &StringSet::new(), false).is_err(), "{key} {ip} {port}");
        }
    }
}
