//! `-p` and `--expose`: `[[address:][host port[-end]]:]port[-end][/protocol]`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dray_client::api::container::{PortBinding, PortMap};
use dray_client::api::{Empty, StringSet};

/// Published and exposed ports of a container.
#[derive(Debug, Default, PartialEq)]
pub struct Ports {
    /// All that it exposes.
    pub exposed: StringSet,
    /// Those that are published.
    pub bindings: PortMap,
}

/// Reads the values of `-p` and `--expose`.
///
/// # Errors
/// A value that is no port; the text is Docker's.
pub fn parse(publish: &[String], expose: &[String]) -> Result<Ports, String> {
    let mut ports = Ports::default();
    for spec in publish {
        let spec = long_form(spec)?;
        for (port, binding) in published(&spec)? {
            ports.exposed.insert(port.clone(), Empty);
            ports
                .bindings
                .entry(port)
                .or_insert_with(|| Some(Vec::new()))
                .get_or_insert_with(Vec::new)
                .push(binding);
        }
    }
    for spec in expose {
        if spec.contains(':') {
            return Err(format!("invalid port format for --expose: {spec}"));
        }
        let (range, protocol) = split_protocol(spec);
        let (first, last) = parse_range(range)
            .map_err(|e| format!("invalid range format for --expose: {spec}, error: {e}"))?;
        for port in first..=last {
            ports.exposed.insert(format!("{port}/{protocol}"), Empty);
        }
    }
    Ok(ports)
}

/// `published=8080,target=80,protocol=tcp` as the short form.
fn long_form(spec: &str) -> Result<String, String> {
    if !spec.contains('=') {
        return Ok(spec.to_owned());
    }
    let mut fields = BTreeMap::from([("protocol", "tcp")]);
    for field in spec.split(',') {
        match field.split_once('=') {
            Some((key, value)) if !key.is_empty() => fields.insert(key, value),
            _ => return Err(format!("invalid publish opts format (should be name=value but got '{field}')")),
        };
    }
    let get = |key| fields.get(key).copied().unwrap_or_default();
    Ok(format!("{}:{}/{}", get("published"), get("target"), get("protocol")))
}

fn split_protocol(spec: &str) -> (&str, String) {
    match spec.split_once('/') {
        Some((port, protocol)) if !protocol.is_empty() => (port, protocol.to_lowercase()),
        Some((port, _)) => (port, "tcp".into()),
        None => (spec, "tcp".into()),
    }
}

/// The address, the host's part and the container's part.
fn split_parts(spec: &str) -> (&str, &str, &str) {
    let mut parts = spec.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let host = parts.next().unwrap_or_default();
    let address = parts.next().unwrap_or_default();
    (address, host, container)
}

fn published(spec: &str) -> Result<Vec<(String, PortBinding)>, String> {
    let (rest, protocol) = split_protocol(spec);
    let (address, host, container) = split_parts(rest);
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {address}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let (first, last) = parse_range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let host_range = match host {
        "" => None,
        host => Some(parse_range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    if let Some((from, to)) = host_range
        && to - from != last - first
        && first != last
    {
        return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    let one = |port: u16| {
        let host_port = match host_range {
            None => String::new(),
            Some((from, to)) if first == last && from != to => format!("{from}-{to}"),
            Some((from, _)) => (from + (port - first)).to_string(),
        };
        (format!("{port}/{protocol}"), PortBinding { host_ip: address.to_owned(), host_port })
    };
    Ok((first..=last).map(one).collect())
}

/// `80` or `80-90`.
fn parse_range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".into());
    }
    let Some((from, to)) = text.split_once('-') else {
        let port = parse_port(text)?;
        return Ok((port, port));
    };
    let (from, to) = (parse_port(from)?, parse_port(to)?);
    if to < from {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((from, to))
}

fn parse_port(text: &str) -> Result<u16, String> {
    let go = |what| format!("strconv.ParseUint: parsing \"{text}\": {what}");
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(go("invalid syntax"));
    }
    text.parse().map_err(|_| go("value out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(spec: &str) -> Result<String, String> {
        let ports = parse(&[spec.to_owned()], &[])?;
        let one = |(port, bindings): (String, Option<Vec<PortBinding>>)| {
            let hosts: Vec<_> = bindings
                .unwrap_or_default()
                .iter()
                .map(|b| format!("{}:{}", b.host_ip, b.host_port))
                .collect();
            format!("{port}={}", hosts.join("+"))
        };
        Ok(ports.bindings.into_iter().map(one).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn published_ports() {
        for (spec, want) in [
            ("80", "80/tcp=:"),
            ("8080:80", "80/tcp=:8080"),
            ("127.0.0.1:8080:80/udp", "80/udp=127.0.0.1:8080"),
            ("127.0.0.1::80", "80/tcp=127.0.0.1:"),
            ("[::1]:8080:80", "80/tcp=::1:8080"),
            ("8000-8001:80-81", "80/tcp=:8000 81/tcp=:8001"),
            ("8000-8010:80", "80/tcp=:8000-8010"),
            ("published=8080,target=80", "80/tcp=:8080"),
        ] {
            assert_eq!(shown(spec).as_deref(), Ok(want), "{spec}");
        }
    }

    #[test]
    fn wrong_ports_are_named() {
        for (spec, want) in [
            ("99999999:80", "invalid hostPort: 99999999"),
            ("80:x", "invalid containerPort: x"),
            ("80-81:80-85", "invalid ranges specified for container and host Ports: 80-85 and 80-81"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            ("80/foo", "invalid proto: foo"),
        ] {
            assert_eq!(shown(spec).unwrap_err(), want, "{spec}");
        }
        let error = parse(&[], &["foo".into()]).unwrap_err();
        let want = "invalid range format for --expose: foo, error: strconv.ParseUint: parsing \"foo\": invalid syntax";
        assert_eq!(error, want);
        assert_eq!(parse(&[], &["8000-8002/udp".into()]).unwrap().exposed.len(), 3);
    }
}
