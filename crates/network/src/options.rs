//! Docker's driver options of bridge networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::PublishMode;
use crate::error::{Error, Result};

const NAME: &str = "com.docker.network.bridge.name";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const INHIBIT: &str = "com.docker.network.bridge.inhibit_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";
const PREFIX: &str = "com.docker.network.container_iface_prefix";
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
}

impl Options {
    /// Reads options. Unknown keys are other drivers' or other tools' business, as with Docker.
    pub fn parse(map: &BTreeMap<String, String>) -> Result<Self> {
        let prefix = map.get(PREFIX).filter(|p| !p.is_empty());
        // Room for a number behind it.
        prefix.map_or(Ok(()), |p| check_interface_name(&format!("{p}99")))?;
        let bridge = map.get(NAME).filter(|n| !n.is_empty());
        bridge.map_or(Ok(()), |n| check_interface_name(n))?;
        Ok(Self {
            bridge: bridge.cloned(),
            masquerade: boolean(map, MASQUERADE)?.unwrap_or(true),
            icc: boolean(map, ICC)?.unwrap_or(true),
            host_binding: value(map, HOST_BINDING)?,
            inhibit_ipv4: boolean(map, INHIBIT)?.unwrap_or(false),
            mtu: value(map, MTU)?.filter(|m| *m != 0),
            container_iface_prefix: prefix.cloned(),
            publish_mode: value(map, PUBLISH_MODE)?,
        })
    }
}

fn value<T: std::str::FromStr>(map: &BTreeMap<String, String>, key: &str) -> Result<Option<T>> {
    let Some(text) = map.get(key).filter(|t| !t.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Error::InvalidOption { key: key.into(), value: text.clone() })
}

/// The spellings of truth that Docker takes.
fn boolean(map: &BTreeMap<String, String>, key: &str) -> Result<Option<bool>> {
    match map.get(key).map(String::as_str) {
        None | Some("") => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => Err(Error::InvalidOption { key: key.into(), value: other.into() }),
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
        assert_eq!(error, format!("invalid value for network option {ICC}: maybe"));
        for name in ["a/b", "sixteen-letters-", "..", "with space"] {
            assert!(parse(&[(NAME, name)]).is_err(), "{name}");
        }
    }
}
