//! `--network name` and `--network name=…,alias=…,ip=…`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dray_client::api::Labels;
use dray_client::api::network::{EndpointIpamConfig, EndpointSettings};

use super::csv;
use super::host::is_mac;

/// A container's place in a network as flags ask for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attachment {
    /// Name or id of the network.
    pub target: String,
    /// Names in the network.
    pub aliases: Vec<String>,
    /// Links to other containers.
    pub links: Vec<String>,
    /// IPv4 address.
    pub ip: String,
    /// IPv6 address.
    pub ip6: String,
    /// Link-local addresses.
    pub link_local: Vec<String>,
    /// Hardware address.
    pub mac: String,
    /// Options of the driver.
    pub driver_opts: Labels,
    /// The network with the highest gives the default route.
    pub gw_priority: i64,
}

/// Reads one value of `--network`.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn parse(value: &str) -> Result<Attachment, String> {
    if !is_long(value) {
        return Ok(Attachment { target: value.to_owned(), ..Attachment::default() });
    }
    let mut a = Attachment::default();
    for field in csv(value)? {
        let lower = field.to_lowercase();
        let (key, text) = match lower.split_once('=') {
            Some((k, v)) if !k.is_empty() => (k.trim().to_owned(), v.trim().to_owned()),
            _ => return Err(format!("invalid field {field}")),
        };
        match key.as_str() {
            "name" => a.target = text,
            "alias" => a.aliases.push(text),
            "ip" => a.ip = text,
            "ip6" => a.ip6 = text,
            "mac-address" => a.mac = text,
            "link-local-ip" => a.link_local.push(text),
            "driver-opt" => {
                let wrong = "invalid key value pair format in driver options";
                let (k, v) = text.split_once('=').filter(|(k, _)| !k.is_empty()).ok_or(wrong)?;
                a.driver_opts.insert(k.trim().to_owned(), v.trim().to_owned());
            }
            "gw-priority" => {
                a.gw_priority =
                    text.parse().map_err(|_| format!("invalid gw-priority ({text}): invalid syntax"))?;
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if a.target.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok(a)
}

/// For the flag's check.
///
/// # Errors
/// As [`parse`].
pub fn check(value: &str) -> Result<(), String> {
    parse(value).map(|_| ())
}

fn is_long(value: &str) -> bool {
    value.split_once('=').is_some_and(|(key, rest)| {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        key.ends_with(word) && rest.starts_with(word)
    })
}

/// Whether a network mode names a user-defined network.
pub fn is_user_defined(mode: &str) -> bool {
    !matches!(mode, "default" | "bridge" | "host" | "none" | "nat" | "") && !mode.starts_with("container:")
}

/// What the API takes for an attachment.
///
/// # Errors
/// Something that its network cannot have; the text is Docker's.
pub fn endpoint(a: &Attachment) -> Result<EndpointSettings, String> {
    if a.target.trim().is_empty() {
        return Err("no name set for network".into());
    }
    if !is_user_defined(&a.target) {
        if !a.aliases.is_empty() {
            return Err("network-scoped aliases are only supported for user-defined networks".into());
        }
        if !a.links.is_empty() {
            return Err("links are only supported for user-defined networks".into());
        }
    }
    let address = |text: &str| match text {
        "" => Ok(String::new()),
        t => t.parse::<IpAddr>().map(|ip| ip.to_string()).map_err(|_| format!("invalid IP address: {t}")),
    };
    let ipam = EndpointIpamConfig {
        ipv4_address: address(&a.ip)?,
        ipv6_address: address(&a.ip6)?,
        link_local_ips: some(&a.link_local),
    };
    if !a.mac.is_empty() && !is_mac(&a.mac) {
        return Err(format!("{} is not a valid mac address", a.mac));
    }
    Ok(EndpointSettings {
        ipam_config: (ipam != EndpointIpamConfig::default()).then_some(ipam),
        links: some(&a.links),
        aliases: some(&a.aliases),
        mac_address: a.mac.trim().to_owned(),
        driver_opts: (!a.driver_opts.is_empty()).then(|| a.driver_opts.clone()),
        gw_priority: a.gw_priority,
        ..EndpointSettings::default()
    })
}

fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// Endpoints by network; `common` are the older flags, which go to the first network.
///
/// # Errors
/// Flags that contradict each other; the text is Docker's.
pub fn endpoints(
    networks: &[Attachment],
    common: &Attachment,
) -> Result<BTreeMap<String, Option<EndpointSettings>>, String> {
    let default = [Attachment { target: "default".into(), ..Attachment::default() }];
    let list = if networks.is_empty() { &default[..] } else { networks };
    let user = list.iter().filter(|n| is_user_defined(&n.target)).count();
    let mut out = BTreeMap::new();
    for (i, network) in list.iter().enumerate() {
        let mut network = network.clone();
        if i == 0 {
            merge(&mut network, common)?;
        }
        let endpoint = endpoint(&network)?;
        if out.contains_key(&network.target) {
            return Err(format!("network \"{}\" is specified multiple times", network.target));
        }
        if i == 0 && networks.len() == 1 && endpoint == EndpointSettings::default() {
            continue;
        }
        out.insert(network.target, Some(endpoint));
    }
    if user > 0 && user < list.len() {
        let what = "conflicting options: cannot attach both user-defined and non-user-defined network-modes";
        return Err(what.into());
    }
    Ok(out)
}

fn merge(to: &mut Attachment, common: &Attachment) -> Result<(), String> {
    let clash = |a: bool, b: bool, what: &str| {
        if a && b { Err(format!("conflicting options: cannot specify both {what}")) } else { Ok(()) }
    };
    let has = |l: &[String]| !l.is_empty();
    clash(has(&to.aliases), has(&common.aliases), "--network-alias and per-network alias")?;
    clash(!to.ip.is_empty(), !common.ip.is_empty(), "--ip and per-network IPv4 address")?;
    clash(!to.ip6.is_empty(), !common.ip6.is_empty(), "--ip6 and per-network IPv6 address")?;
    clash(!to.mac.is_empty(), !common.mac.is_empty(), "--mac-address and per-network MAC address")?;
    let what = "--link-local-ip and per-network link-local IP addresses";
    clash(has(&to.link_local), has(&common.link_local), what)?;
    to.aliases.extend(common.aliases.iter().cloned());
    if is_user_defined(&to.target) {
        to.links.extend(common.links.iter().cloned());
    }
    to.link_local.extend(common.link_local.iter().cloned());
    for (mine, theirs) in [(&mut to.ip, &common.ip), (&mut to.ip6, &common.ip6), (&mut to.mac, &common.mac)] {
        if mine.is_empty() {
            mine.clone_from(theirs);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_form() {
        assert_eq!(parse("mynet").unwrap().target, "mynet");
        let a = parse("name=n,alias=x,alias=y,ip=10.0.0.2,driver-opt=a=b,gw-priority=3").unwrap();
        assert_eq!(
            (a.target.as_str(), a.aliases.len(), a.ip.as_str(), a.gw_priority),
            ("n", 2, "10.0.0.2", 3)
        );
        assert_eq!(parse("name=foo,bar").unwrap_err(), "invalid field bar");
        assert_eq!(parse("alias=x").unwrap_err(), "network name/id is not specified");
    }

    #[test]
    fn older_flags_go_to_the_first_network() {
        let common = Attachment { aliases: vec!["db".into()], ..Attachment::default() };
        let nets = [parse("a").unwrap(), parse("b").unwrap()];
        let out = endpoints(&nets, &common).unwrap();
        assert_eq!(out["a"].as_ref().unwrap().aliases, Some(vec!["db".into()]));
        assert_eq!(out["b"].as_ref().unwrap().aliases, None);
        assert!(endpoints(&[parse("a").unwrap()], &Attachment::default()).unwrap().is_empty());
        let error = endpoints(&[parse("bridge").unwrap()], &common).unwrap_err();
        assert_eq!(error, "network-scoped aliases are only supported for user-defined networks");
        assert!(endpoints(&[parse("a").unwrap(), parse("host").unwrap()], &Attachment::default()).is_err());
    }
}
