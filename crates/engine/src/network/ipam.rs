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
        let Ok(subnet) = config.subnet.parse::<Cidr>() else {
            wrong.push(format!("invalid subnet {}: invalid CIDR block notation", config.subnet));
            continue;
        };
        if !ipv6 && !subnet.is_ipv4() {
            continue;
        }
        subnets.push(check(config, subnet, &mut wrong));
    }
    if wrong.is_empty() { Ok(subnets) } else { Err(Error::Ipam(wrong)) }
}

/// One subnet with its settings; what is wrong with them goes to `wrong`.
fn check(config: &IpamConfig, subnet: Cidr, wrong: &mut Vec<String>) -> SubnetConfig {
    if subnet.network() != subnet {
        wrong.push(format!("invalid subnet {subnet}: it should be {}", subnet.network()));
    }
    let ip_range = range(&config.ip_range, subnet, wrong);
    let mut inside = |what: String, text: &str| {
        if text.is_empty() {
            return None;
        }
        match address(text, subnet) {
            Ok(address) => Some(address),
            Err(reason) => {
                wrong.push(format!("{what}: {reason}"));
                None
            }
        }
    };
    let gateway = inside(format!("invalid gateway {}", config.gateway), &config.gateway);
    let mut aux = BTreeMap::new();
    for (name, text) in config.auxiliary_addresses.iter().flatten() {
        if let Some(address) = inside(format!("invalid auxiliary address {name}"), text) {
            aux.insert(name.clone(), address);
        }
    }
    SubnetConfig { subnet: Some(subnet), ip_range, gateway, aux }
}

fn address(text: &str, subnet: Cidr) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "invalid address".to_owned())?;
    if address.is_ipv4() != subnet.is_ipv4() {
        return Err(format!("parent subnet is an {} block", family(subnet)));
    }
    if !subnet.contains(address) {
        return Err(format!("parent subnet {subnet} doesn't contain this address"));
    }
    Ok(address)
}

fn range(text: &str, subnet: Cidr, wrong: &mut Vec<String>) -> Option<Cidr> {
    if text.is_empty() {
        return None;
    }
    let Ok(range) = text.parse::<Cidr>() else {
        wrong.push(format!("invalid ip-range {text}: invalid CIDR block notation"));
        return None;
    };
    if range.is_ipv4() != subnet.is_ipv4() {
        wrong.push(format!("invalid ip-range {range}: parent subnet is an {} block", family(subnet)));
        return None;
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
    Some(range)
}

fn family(subnet: Cidr) -> &'static str {
    if subnet.is_ipv4() { "IPv4" } else { "IPv6" }
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
             * invalid subnet 10.5.1.0/16: it should be 10.5.0.0/16\n\
             * invalid ip-range 10.6.0.1/24: it should be 10.6.0.0/24\n\
             * invalid ip-range 10.6.0.1/24: parent subnet 10.5.1.0/16 doesn't contain ip-range\n\
             * invalid gateway 10.9.0.1: parent subnet 10.5.1.0/16 doesn't contain this address"
        );
    }

    #[test]
    fn one_contradiction_stands_alone() {
        let said = |subnet, range, gateway| {
            subnets(&[config(subnet, range, gateway)], true).unwrap_err().to_string()
        };
        let words = |text: &str| format!("invalid network config:\n{text}");
        assert_eq!(said("10.5", "", ""), words("invalid subnet 10.5: invalid CIDR block notation"));
        assert_eq!(said("10.5.0.0/16", "x", ""), words("invalid ip-range x: invalid CIDR block notation"));
        assert_eq!(said("10.5.0.0/16", "", "x"), words("invalid gateway x: invalid address"));
        assert_eq!(
            said("10.5.0.0/16", "", "fd00::1"),
            words("invalid gateway fd00::1: parent subnet is an IPv4 block")
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
