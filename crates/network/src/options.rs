//! Docker's driver options of bridge networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::{GatewayMode, PublishMode};
use crate::error::{Error, Result};

const NAME: &str = "com.docker.network.bridge.name";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const INHIBIT: &str = "com.docker.network.bridge.inhibit_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";
const PREFIX: &str = "com.docker.network.container_iface_prefix";
const GATEWAY_MODES: [&str; 2] =
    ["com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6"];
const TRUSTED: &str = "com.docker.network.bridge.trusted_host_interfaces";
const HOST_ADDRESSES: [&str; 2] = ["com.docker.network.host_ipv4", "com.docker.network.host_ipv6"];
/// Dray's own.
const PUBLISH_MODE: &str = "dray.network.publish_mode";

/// The options of a bridge network, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The bridge's name.
    pub bridge: Option<String>,
    /// Hide containers behind the host's address.
    pub masquerade: bool,
    /// Let containers talk with each other.
    pub icc: bool,
    /// Where ports without a host address are published.
    pub host_binding: Option<IpAddr>,
    /// No address for the bridge.
    pub inhibit_ipv4: bool,
    /// The interfaces' MTU.
    pub mtu: Option<u32>,
    /// The prefix of interface names in containers.
    pub container_iface_prefix: Option<String>,
    /// How ports are published.
    pub publish_mode: Option<PublishMode>,
    /// How containers are joined to the world: by IPv4, by IPv6.
    pub gateway_modes: [GatewayMode; 2],
    /// Interfaces by which published ports may be asked for at the containers' own addresses.
    pub trusted_interfaces: Vec<String>,
    /// The host's addresses that containers are hidden behind.
    pub host_addresses: Vec<IpAddr>,
}

impl Options {
    /// Reads options. Unknown keys are other drivers' or other tools' business, as with Docker.
    pub fn parse(map: &BTreeMap<String, String>) -> Result<Self> {
        let prefix = map.get(PREFIX).filter(|p| !p.is_empty());
        // Room for a number behind it.
        prefix.map_or(Ok(()), |p| check_interface_name(&format!("{p}99")))?;
        let bridge = map.get(NAME).filter(|n| !n.is_empty());
        bridge.map_or(Ok(()), |n| check_interface_name(n))?;
        let trusted = map.get(TRUSTED).map(String::as_str).unwrap_or_default();
        let trusted: Vec<String> = trusted.split(':').filter(|n| !n.is_empty()).map(str::to_owned).collect();
        trusted.iter().try_for_each(|n| check_interface_name(n))?;
        let [four, six] = GATEWAY_MODES.map(|key| gateway_mode(map, key));
        Ok(Self {
            bridge: bridge.cloned(),
            masquerade: boolean(map, MASQUERADE)?.unwrap_or(true),
            icc: boolean(map, ICC)?.unwrap_or(true),
            host_binding: address(map, HOST_BINDING)?,
            inhibit_ipv4: boolean(map, INHIBIT)?.unwrap_or(false),
            mtu: mtu(map)?,
            container_iface_prefix: prefix.cloned(),
            publish_mode: publish_mode(map)?,
            gateway_modes: [four?, six?],
            trusted_interfaces: trusted,
            host_addresses: host_addresses(map)?,
        })
    }
}

/// An option that says something.
fn said<'a>(map: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    map.get(key).map(String::as_str).filter(|text| !text.is_empty())
}

fn refused(key: &str, value: &str, reason: String) -> Error {
    Error::InvalidOption { key: key.into(), value: value.into(), reason }
}

fn address(map: &BTreeMap<String, String>, key: &str) -> Result<Option<IpAddr>> {
    let parse = |text: &str| text.parse().map_err(|_| refused(key, text, "nil ip".into()));
    said(map, key).map(parse).transpose()
}

fn host_addresses(map: &BTreeMap<String, String>) -> Result<Vec<IpAddr>> {
    let [four, six] = HOST_ADDRESSES.map(|key| address(map, key));
    let [four, six] = [four?.filter(IpAddr::is_ipv4), six?.filter(IpAddr::is_ipv6)];
    Ok(four.into_iter().chain(six).collect())
}

fn mtu(map: &BTreeMap<String, String>) -> Result<Option<u32>> {
    let parse = |text: &str| {
        text.parse::<u32>()
            .map_err(|_| refused(MTU, text, format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
    };
    Ok(said(map, MTU).map(parse).transpose()?.filter(|m| *m != 0))
}

fn publish_mode(map: &BTreeMap<String, String>) -> Result<Option<PublishMode>> {
    let parse = |text: &str| {
        text.parse::<PublishMode>().map_err(|_| refused(PUBLISH_MODE, text, "nat or firewall-aware".into()))
    };
    said(map, PUBLISH_MODE).map(parse).transpose()
}

fn gateway_mode(map: &BTreeMap<String, String>, key: &str) -> Result<GatewayMode> {
    let unknown = |text: &str| refused(key, text, format!("unknown gateway mode {text}"));
    let parse = |text: &str| GatewayMode::from_name(text).ok_or_else(|| unknown(text));
    said(map, key).map_or(Ok(GatewayMode::default()), parse)
}

/// The spellings of truth that Docker takes.
fn boolean(map: &BTreeMap<String, String>, key: &str) -> Result<Option<bool>> {
    match map.get(key).map(String::as_str) {
        None | Some("") => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => {
            Err(refused(key, other, format!("strconv.ParseBool: parsing {other:?}: invalid syntax")))
        }
    }
}

/// Whether the kernel would take a name for an interface.
pub fn check_interface_name(name: &str) -> Result<()> {
    let fits = (1..=15).contains(&name.len());
    let plain = name.bytes().all(|b| b.is_ascii_graphic() && !b"/:%\"".contains(&b));
    if fits && plain && name != "." && name != ".." && name != "all" && name != "default" {
        Ok(())
    } else {
        Err(Error::InvalidInterfaceName(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options> {
        Options::parse(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn defaults_are_dockers() {
        let options = parse(&[]).expect("no options");
        assert!(options.masquerade && options.icc && !options.inhibit_ipv4);
        assert_eq!((options.bridge, options.mtu), (None, None));
    }

    #[test]
    fn options_are_read() {
        let options =
            parse(&[(NAME, "br-x"), (ICC, "false"), (MASQUERADE, "0"), (MTU, "1400")]).expect("options");
        assert_eq!(options.bridge.as_deref(), Some("br-x"));
        assert!(!options.icc && !options.masquerade);
        assert_eq!(options.mtu, Some(1400));
    }

    #[test]
    fn nonsense_is_named() {
        let error = parse(&[(ICC, "maybe")]).expect_err("no boolean").to_string();
        assert_eq!(
            error,
            format!(
                "failed to parse {ICC} value: maybe (strconv.ParseBool: parsing \"maybe\": invalid syntax)"
            )
        );
        let told = |key: &str, value: &str| parse(&[(key, value)]).expect_err(value).to_string();
        let mode = GATEWAY_MODES[1];
        assert_eq!(
            told(mode, "open"),
            format!("failed to parse {mode} value: open (unknown gateway mode open)")
        );
        assert!(told(MTU, "x").ends_with("x (strconv.Atoi: parsing \"x\": invalid syntax)"));
        assert!(told(HOST_BINDING, "x").ends_with("value: x (nil ip)"));
        for name in ["a/b", "sixteen-letters-", "..", "with space"] {
            assert!(parse(&[(NAME, name)]).is_err(), "{name}");
        }
    }
}
