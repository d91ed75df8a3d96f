//! Ports in their short form: `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, each a number or a range.

use super::node::{Map, Node, Value};

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    ip: String,
    published: String,
    target: u16,
    protocol: String,
}

impl Port {
    /// The long form.
    pub fn node(self) -> Node {
        let mut map = Map::from([
            ("mode".to_owned(), "ingress".into()),
            ("protocol".to_owned(), self.protocol.into()),
            ("target".to_owned(), Value::Int(self.target.into()).into()),
        ]);
        if !self.ip.is_empty() {
            map.insert("host_ip".into(), self.ip.into());
        }
        if !self.published.is_empty() {
            map.insert("published".into(), self.published.into());
        }
        map.into()
    }
}

/// Reads a short form; a range gives many ports.
///
/// # Errors
/// It is none; the text says why, in Docker's words.
pub fn parse(spec: &str) -> Result<Vec<Port>, String> {
    let (ip, host, container) = split(spec);
    let (container, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    let ip = bare(ip);
    if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let (first, last) = range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    let published = if host.is_empty() {
        None
    } else {
        Some(range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?)
    };
    if let Some((a, b)) = published
        && b - a != last - first
        && first != last
    {
        return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    let one = |i: u16| Port {
        ip: ip.to_owned(),
        published: match published {
            None => String::new(),
            Some((a, b)) if first == last && a != b => format!("{a}-{b}"),
            Some((a, _)) => (a + i).to_string(),
        },
        target: first + i,
        protocol: protocol.clone(),
    };
    let mut ports: Vec<Port> = (0..=last - first).map(one).collect();
    ports.sort_by_key(|p| format!("{}/{}", p.target, p.protocol));
    Ok(ports)
}

fn split(spec: &str) -> (&str, &str, &str) {
    match spec.rsplit_once(':') {
        None => ("", "", spec),
        Some((left, container)) => match left.rsplit_once(':') {
            None => ("", left, container),
            Some((ip, host)) => (ip, host, container),
        },
    }
}

fn bare(ip: &str) -> &str {
    ip.strip_prefix('[').and_then(|i| i.strip_suffix(']')).unwrap_or(ip)
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(spec: &str) -> String {
        match parse(spec) {
            Ok(ports) => ports
                .iter()
                .map(|p| format!("{}|{}|{}/{}", p.ip, p.published, p.target, p.protocol))
                .collect::<Vec<_>>()
                .join(" "),
            Err(e) => e,
        }
    }

    #[test]
    fn forms() {
        assert_eq!(shown("80"), "||80/tcp");
        assert_eq!(shown("8080:80/udp"), "|8080|80/udp");
        assert_eq!(shown("127.0.0.1:8080:80"), "127.0.0.1|8080|80/tcp");
        assert_eq!(shown("[::1]:8080:80"), "::1|8080|80/tcp");
        assert_eq!(shown("127.0.0.1::80"), "127.0.0.1||80/tcp");
        assert_eq!(shown("8000-8001:80-81"), "|8000|80/tcp |8001|81/tcp");
        assert_eq!(shown("8000-8010:80"), "|8000-8010|80/tcp");
        assert_eq!(shown("9-10"), "||10/tcp ||9/tcp");
    }

    #[test]
    fn what_is_none() {
        assert_eq!(shown("x"), "invalid containerPort: x");
        assert_eq!(shown("1:99999"), "invalid containerPort: 99999");
        assert_eq!(shown("1-3:1-2"), "invalid ranges specified for container and host Ports: 1-2 and 1-3");
        assert_eq!(shown("host:1:1"), "invalid IP address: host");
        assert_eq!(shown("1:"), "no port specified: 1:<empty>");
        assert_eq!(shown("1/icmp"), "invalid proto: icmp");
    }
}
