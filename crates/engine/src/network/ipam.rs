//! Reading the address settings of a network to be made.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dray_api::network::IpamConfig;
use dray_network::{Cidr, SubnetConfig};

use super::Error;

/// The subnets asked for, checked as Docker checks them.
///
/// # Errors
/// All contradictions at once, in Docker's words.
pub(super) fn subnets(configs: &[IpamConfig], ipv6: bool) -> Result<Vec<SubnetConfig>, Error> {
    let (mut subnets, mut wrong) = (Vec::new(), Vec::new());
    for config in configs {
        let subnet = read(config)?;
        if !ipv6 && subnet.subnet.is_some_and(|subnet| !subnet.is_ipv4()) {
            continue;
        }
        check(&subnet, &mut wrong);
        subnets.push(subnet);
    }
    if wrong.is_empty() { Ok(subnets) } else { Err(Error::Ipam(wrong)) }
}

fn read(config: &IpamConfig) -> Result<SubnetConfig, Error> {
    let aux = config.auxiliary_addresses.clone().unwrap_or_default();
    let aux = aux.into_iter().map(|(name, ip)| Ok((name, address("auxiliary address", &ip)?)));
    Ok(SubnetConfig {
        subnet: cidr("subnet", &config.subnet)?,
        ip_range: cidr("ip-range", &config.ip_range)?,
        gateway: match config.gateway.as_str() {
            "" => None,
            gateway => Some(address("gateway", gateway)?),
        },
        aux: aux.collect::<Result<BTreeMap<_, _>, Error>>()?,
    })
}

fn cidr(what: &'static str, text: &str) -> Result<Option<Cidr>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || Error::Address { what, value: format!("{text}: invalid CIDR block notation") };
    text.parse().map(Some).map_err(|_| invalid())
}

fn address(what: &'static str, text: &str) -> Result<IpAddr, Error> {
    // A gateway may come with its prefix length.
    let plain = text.split('/').next().unwrap_or(text);
    plain.parse().map_err(|_| Error::Address { what, value: format!("{text}: invalid address") })
}

fn check(config: &SubnetConfig, wrong: &mut Vec<String>) {
    let Some(subnet) = config.subnet else { return };
    let family = if subnet.is_ipv4() { 4 } else { 6 };
    if subnet.network() != subnet {
        wrong.push(format!("invalid subnet {subnet}: it should be {}", subnet.network()));
    }
    if let Some(range) = config.ip_range {
        check_range(range, subnet, family, wrong);
    }
    let mut inside = |what: String, ip: IpAddr| {
        if ip.is_ipv4() != subnet.is_ipv4() {
            wrong.push(format!("{what}: parent subnet is an IPv{family} block"));
        } else if !subnet.contains(ip) {
            wrong.push(format!("{what}: parent subnet {subnet} doesn't contain this address"));
        }
    };
    if let Some(gateway) = config.gateway {
        inside(format!("invalid gateway {gateway}"), gateway);
    }
    for (name, ip) in &config.aux {
        inside(format!("invalid auxiliary address {name}"), *ip);
    }
}

fn check_range(range: Cidr, subnet: Cidr, family: u8, wrong: &mut Vec<String>) {
    if range.is_ipv4() != subnet.is_ipv4() {
        wrong.push(format!("invalid ip-range {range}: parent subnet is an IPv{family} block"));
        return;
    }
    if range.prefix() < subnet.prefix() {
        wrong.push(format!("invalid ip-range {range}: CIDR block is bigger than its parent subnet {subnet}"));
    }
    if range.network() != range {
        wrong.push(format!("invalid ip-range {range}: it should be {}", range.network()));
    }
    if !subnet.overlaps(&range) {
        wrong.push(format!("invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(subnet: &str, range: &str, gateway: &str) -> IpamConfig {
        IpamConfig {
            subnet: subnet.into(),
            ip_range: range.into(),
            gateway: gateway.into(),
            auxiliary_addresses: None,
        }
    }

    #[test]
    fn contradictions_are_told_all_at_once() {
        let error = subnets(&[config("10.5.1.0/16", "10.6.0.1/24", "10.9.0.1")], false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid network config:\n\
             invalid subnet 10.5.1.0/16: it should be 10.5.0.0/16\n\
             invalid ip-range 10.6.0.1/24: it should be 10.6.0.0/24\n\
             invalid ip-range 10.6.0.1/24: parent subnet 10.5.1.0/16 doesn't contain ip-range\n\
             invalid gateway 10.9.0.1: parent subnet 10.5.1.0/16 doesn't contain this address"
        );
    }

    #[test]
    fn ipv6_subnets_are_skipped_without_ipv6() {
        let both = [config("10.5.0.0/16", "", ""), config("fd00::/64", "", "")];
        assert_eq!(subnets(&both, false).unwrap().len(), 1);
        assert_eq!(subnets(&both, true).unwrap().len(), 2);
        assert!(subnets(&[config("nonsense", "", "")], false).is_err());
    }
}
