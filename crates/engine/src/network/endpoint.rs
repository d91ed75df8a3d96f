//! Endpoints: what is asked of them, checked, and how they are shown.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use dray_api::network::{EndpointIpamConfig, EndpointSettings};
use dray_network::{Cidr, Endpoint};

use super::record::{Record, lone_endpoint_id};
use super::{Error, short};
use crate::container::NetworkedContainer;

/// The name of the interface in the container.
pub(super) const IFNAME: &str = "com.docker.network.endpoint.ifname";
/// Its settings, `net.ipv4.conf.IFNAME.log_martians=1,…`.
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// An option of an endpoint, if it says something.
pub(super) fn driver_opt<'a>(settings: &'a EndpointSettings, key: &str) -> Option<&'a str> {
    settings.driver_opts.as_ref()?.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

/// Another container and what it is called here, of `db:database` or `db`.
pub(super) fn split_link(link: &str) -> (String, String) {
    let (target, alias) = link.split_once(':').unwrap_or((link, link));
    (target.trim_start_matches('/').to_owned(), alias.to_owned())
}

/// Settings of the interface below `net/`, with `IFNAME` in the interface's place. The error is Docker's.
pub(super) fn sysctls(settings: &EndpointSettings) -> Result<Vec<(String, String)>, String> {
    let Some(text) = driver_opt(settings, SYSCTLS) else { return Ok(Vec::new()) };
    text.split(',').map(|one| sysctl(one).ok_or_else(|| wrong_sysctl(one))).collect()
}

fn sysctl(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let parts: Vec<&str> = key.splitn(5, '.').collect();
    // Docker's client writes the options of a network in lower case.
    let ["net", family @ ("ipv4" | "ipv6" | "mpls"), kind, "IFNAME" | "ifname", name] = parts[..] else {
        return None;
    };
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    (plain(kind) && plain(name)).then(|| (format!("{family}.{kind}.IFNAME.{name}"), value.to_owned()))
}

fn wrong_sysctl(text: &str) -> String {
    format!(
        "unrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as \
         'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
    )
}

/// The endpoint that gives the default route, and thereby the published ports.
pub(super) fn gateway_endpoint(made: &[(Arc<Record>, Endpoint)]) -> Option<&Endpoint> {
    let leads_out = |e: &Endpoint| e.gateway.is_some() || e.gateway6.is_some() || e.routed;
    let some = made.iter().any(|(_, endpoint)| leads_out(endpoint));
    let routed = made.iter().filter(|(record, endpoint)| !record.internal && (leads_out(endpoint) || !some));
    let best = routed.min_by(|(a, x), (b, y)| {
        y.gateway_priority.cmp(&x.gateway_priority).then_with(|| a.name.cmp(&b.name))
    });
    best.or(made.first()).map(|(_, endpoint)| endpoint)
}

/// Checks what is asked of an endpoint, all of it, in Docker's words. `record` is none for a network that is not known
/// yet.
pub(super) fn check_settings(
    record: Option<&Record>,
    name: &str,
    settings: &EndpointSettings,
) -> Result<(), Error> {
    let mut wrong = Vec::new();
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    if matches!(name, "bridge" | "host" | "none" | "default") {
        if !ipam.ipv4_address.is_empty() || !ipam.ipv6_address.is_empty() {
            wrong.push("user specified IP address is supported on user defined networks only".to_owned());
        }
        if settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
            wrong.push(
                "network-scoped alias is supported only for containers in user defined networks".to_owned(),
            );
        }
    }
    check_addresses(&ipam, &mut wrong);
    if let Some(record) = record {
        check_in_range(record, &ipam, &mut wrong);
    }
    wrong.extend(sysctls(settings).err());
    if !settings.mac_address.is_empty() && dray_network::parse_mac(&settings.mac_address).is_err() {
        return Err(Error::MacAddress(settings.mac_address.clone()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::Endpoint(wrong)) }
}

fn check_addresses(ipam: &EndpointIpamConfig, wrong: &mut Vec<String>) {
    let usable = |text: &str| parse::<IpAddr>(text).filter(|ip| !ip.is_unspecified());
    for (text, v4, family) in [(&ipam.ipv4_address, true, "IPv4"), (&ipam.ipv6_address, false, "IPv6")] {
        if !text.is_empty() && usable(text).is_none_or(|ip| ip.is_ipv4() != v4) {
            wrong.push(format!("invalid {family} address: {text}"));
        }
    }
    let local = ipam.link_local_ips.iter().flatten().filter(|text| usable(text).is_none());
    wrong.extend(local.map(|text| format!("invalid link-local IP address: {text}")));
}

/// An address may be chosen only where somebody chose the subnet: one that the daemon chose may be another tomorrow.
fn check_in_range(record: &Record, ipam: &EndpointIpamConfig, wrong: &mut Vec<String>) {
    let asked = record.ipam.config.as_deref().unwrap_or_default();
    let asked = asked.iter().filter_map(|config| {
        let range = if config.ip_range.is_empty() { &config.subnet } else { &config.ip_range };
        parse::<Cidr>(range)
    });
    let state = record.state.iter().filter(|_| record.predefined());
    let made = state.flat_map(|state| state.subnets.iter().map(|subnet| subnet.subnet));
    let subnets: Vec<Cidr> = asked.chain(made).collect();
    for (text, v4) in [(&ipam.ipv4_address, true), (&ipam.ipv6_address, false)] {
        if text.is_empty() {
            continue;
        }
        let mut family = subnets.iter().filter(|subnet| subnet.is_ipv4() == v4).peekable();
        if family.peek().is_none() {
            wrong.push(
                "user specified IP address is supported only when connecting to networks with user configured \
                 subnets"
                    .to_owned(),
            );
        } else if !parse::<IpAddr>(text).is_some_and(|ip| family.any(|subnet| subnet.contains(ip))) {
            wrong.push(format!("no configured subnet or ip-range contain the IP address {text}"));
        }
    }
}

/// An endpoint as inspect shows it.
pub(super) fn shown(
    record: &Record,
    container: &NetworkedContainer,
    asked: &EndpointSettings,
    endpoint: &Endpoint,
) -> EndpointSettings {
    let text = |ip: Option<String>| ip.unwrap_or_default();
    EndpointSettings {
        ipam_config: asked.ipam_config.clone(),
        links: asked.links.clone(),
        aliases: asked.aliases.clone(),
        mac_address: endpoint.mac.clone(),
        driver_opts: asked.driver_opts.clone(),
        gw_priority: asked.gw_priority,
        network_id: record.id.clone(),
        endpoint_id: endpoint.id.clone(),
        gateway: text(endpoint.gateway.map(|ip| ip.to_string())),
        ip_address: text(endpoint.ip.map(|ip| ip.to_string())),
        ip_prefix_len: endpoint.prefix.into(),
        ipv6_gateway: text(endpoint.gateway6.map(|ip| ip.to_string())),
        global_ipv6_address: text(endpoint.ip6.map(|ip| ip.to_string())),
        global_ipv6_prefix_len: endpoint.prefix6.into(),
        dns_names: dns_names(record, container, asked),
    }
}

/// On user-defined networks: the name, the aliases, the short id, the host name.
pub(super) fn dns_names(
    record: &Record,
    container: &NetworkedContainer,
    asked: &EndpointSettings,
) -> Option<Vec<String>> {
    if record.predefined() {
        return None;
    }
    let mut names = vec![container.name.clone()];
    names.extend(asked.aliases.clone().unwrap_or_default());
    names.push(short(&container.id).to_owned());
    names.push(container.hostname.clone());
    Some(unique(names))
}

pub(super) fn lone_endpoint(
    record: &Record,
    container: &NetworkedContainer,
) -> BTreeMap<String, EndpointSettings> {
    let asked = container.endpoints.get(&record.name).cloned().unwrap_or_default();
    let endpoint_id = lone_endpoint_id(&record.id, &container.id);
    let settings = EndpointSettings { network_id: record.id.clone(), endpoint_id, ..asked };
    BTreeMap::from([(record.name.clone(), settings)])
}

pub(super) fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    endpoint.ip.map(IpAddr::V4).into_iter().chain(endpoint.ip6.map(IpAddr::V6)).collect()
}

pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

pub(super) fn unique(names: Vec<String>) -> Vec<String> {
    let mut seen = Vec::new();
    for name in names {
        if !name.is_empty() && !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_interfaces_name_none() {
        let settings = |text: &str| EndpointSettings {
            driver_opts: Some([(SYSCTLS.to_owned(), text.to_owned())].into()),
            ..EndpointSettings::default()
        };
        let read = |text: &str| sysctls(&settings(text));
        assert_eq!(
            read("net.ipv4.conf.ifname.log_martians=1,net.ipv6.neigh.IFNAME.retrans_time_ms=7"),
            Ok(vec![
                ("ipv4.conf.IFNAME.log_martians".to_owned(), "1".to_owned()),
                ("ipv6.neigh.IFNAME.retrans_time_ms".to_owned(), "7".to_owned())
            ])
        );
        for wrong in [
            "net.ipv4.conf.eth0.log_martians=1",
            "net.core.conf.IFNAME.x=1",
            "kernel.ipv4.conf.IFNAME.x=1",
            "net.ipv4.conf.IFNAME.a/b=1",
            "net.ipv4.conf.IFNAME.x",
            "",
        ] {
            let told = read(&format!("net.ipv4.conf.IFNAME.forwarding=0,{wrong}")).unwrap_err();
            assert!(
                told.starts_with(&format!("unrecognised network interface sysctl '{wrong}'; ")),
                "{told}"
            );
        }
    }

    #[test]
    fn links_are_split() {
        assert_eq!(split_link("/db:database"), ("db".to_owned(), "database".to_owned()));
        assert_eq!(split_link("db"), ("db".to_owned(), "db".to_owned()));
    }
}
