//! Which subnets networks have and which addresses containers: arithmetic only.
//!
//! Subnets of networks never overlap. Those taken from the default pools also keep clear of what the host itself
//! routes. Addresses are given out lowest first, as Docker does.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use crate::cidr::{Cidr, from_bits, to_bits};
use crate::config::{DEFAULT_GATEWAYS, Pool, SubnetConfig, SubnetState};
use crate::error::{Error, Result};

/// All subnets and addresses that are in use.
#[derive(Debug, Default)]
pub struct Ipam {
    pools: Vec<Pool>,
    subnets: HashMap<String, Vec<Allocator>>,
}

/// The addresses of one subnet.
#[derive(Debug)]
struct Allocator {
    subnet: Cidr,
    range: Cidr,
    used: BTreeSet<u128>,
}

impl Allocator {
    fn new(state: &SubnetState) -> Self {
        let mut used: BTreeSet<u128> = state.aux.values().copied().map(to_bits).collect();
        used.extend(state.gateway.map(to_bits));
        let subnet = state.subnet;
        if (subnet.is_ipv4() && subnet.prefix() < 31) || (!subnet.is_ipv4() && subnet.prefix() < 127) {
            used.insert(subnet.first());
        }
        if subnet.is_ipv4() && subnet.prefix() < 31 {
            used.insert(subnet.last());
        }
        Self { subnet, range: state.ip_range.unwrap_or(subnet).network(), used }
    }

    fn take_lowest(&mut self) -> Result<IpAddr> {
        let mut candidate = self.range.first();
        for used in self.used.range(self.range.first()..=self.range.last()) {
            if *used != candidate {
                break;
            }
            candidate += 1;
        }
        if candidate > self.range.last() {
            return Err(Error::NoAddress);
        }
        self.used.insert(candidate);
        Ok(from_bits(candidate, self.subnet.is_ipv4()))
    }

    fn take(&mut self, addr: IpAddr) -> Result<IpAddr> {
        if self.used.insert(to_bits(addr)) { Ok(addr) } else { Err(Error::AddressInUse) }
    }
}

impl Ipam {
    /// Nothing in use; new subnets come from these pools.
    pub fn new(pools: Vec<Pool>) -> Self {
        Self { pools, subnets: HashMap::new() }
    }

    /// Chooses a network's subnets without reserving them: what was asked for, and what is missing from the pools.
    pub fn plan(
        &self,
        id: &str,
        wanted: &[SubnetConfig],
        (v4, v6): (bool, bool),
        host: &[Cidr],
    ) -> Result<Vec<SubnetState>> {
        let mut planned: Vec<SubnetState> = Vec::new();
        for config in wanted {
            let subnet = match config.subnet {
                Some(subnet) => self.check(subnet.network(), &planned)?,
                None if config.gateway.iter().chain(config.aux.values()).any(IpAddr::is_ipv6) => {
                    self.next_six(id, host)?
                }
                None => self.next_of_pools(true, host)?,
            };
            planned.push(complete(subnet, config)?);
        }
        if v4 && !planned.iter().any(|s| s.subnet.is_ipv4()) {
            planned.insert(0, complete(self.next_of_pools(true, host)?, &SubnetConfig::default())?);
        }
        if v6 && planned.iter().all(|s| s.subnet.is_ipv4()) {
            planned.push(complete(self.next_six(id, host)?, &SubnetConfig::default())?);
        }
        planned.sort_by_key(|s| !s.subnet.is_ipv4());
        Ok(planned)
    }

    fn check(&self, subnet: Cidr, planned: &[SubnetState]) -> Result<Cidr> {
        let taken =
            self.in_use().any(|s| s.overlaps(&subnet)) || planned.iter().any(|s| s.subnet.overlaps(&subnet));
        if taken { Err(Error::PoolOverlap) } else { Ok(subnet) }
    }

    fn in_use(&self) -> impl Iterator<Item = &Cidr> {
        self.subnets.values().flatten().map(|a| &a.subnet)
    }

    /// An IPv6 subnet of the pools where some are of IPv6, else a unique local one.
    fn next_six(&self, id: &str, host: &[Cidr]) -> Result<Cidr> {
        let configured = self.pools.iter().any(|p| !p.base.is_ipv4());
        if configured { self.next_of_pools(false, host) } else { Ok(self.unique_local(id)) }
    }

    fn next_of_pools(&self, v4: bool, host: &[Cidr]) -> Result<Cidr> {
        let (mut any_free, width) = (false, if v4 { 32 } else { 128 });
        for pool in self.pools.iter().filter(|p| p.base.is_ipv4() == v4 && (1..=width).contains(&p.size)) {
            let step = 1u128 << (width - pool.size);
            let mut first = pool.base.first();
            while first <= pool.base.last() {
                let Some(subnet) = Cidr::new(from_bits(first, v4), pool.size) else { break };
                if !self.in_use().any(|s| s.overlaps(&subnet)) {
                    any_free = true;
                    if !host.iter().any(|r| r.overlaps(&subnet)) {
                        return Ok(subnet);
                    }
                }
                // The last subnet of all ends where numbers do.
                let Some(next) = first.checked_add(step) else { break };
                first = next;
            }
        }
        let family = if v4 { "IPv4" } else { "IPv6" };
        Err(if any_free { Error::NoFreePool(family) } else { Error::PoolsExhausted })
    }

    /// A unique local IPv6 subnet made of the network's id (RFC 4193 with the id for randomness).
    fn unique_local(&self, id: &str) -> Cidr {
        let mut global = [0u8; 5];
        for (i, byte) in id.bytes().enumerate() {
            let slot = &mut global[i % 5];
            *slot = slot.rotate_left(3) ^ byte;
        }
        let [a, b, c, d, e] = global;
        let join = |x: u8, y: u8| u16::from_be_bytes([x, y]);
        for subnet_id in 0..=u16::MAX {
            let addr = Ipv6Addr::new(join(0xfd, a), join(b, c), join(d, e), subnet_id, 0, 0, 0, 0);
            if let Some(subnet) = Cidr::new(addr.into(), 64)
                && !self.in_use().any(|s| s.overlaps(&subnet))
            {
                return subnet;
            }
        }
        // 65,536 networks with the same id do not exist.
        Cidr::new(Ipv6Addr::UNSPECIFIED.into(), 64).unwrap_or_else(|| unreachable!("a /64 is a prefix"))
    }

    /// Reserves a network's subnets, its gateways and auxiliary addresses. Known ones stay as they are.
    pub fn reserve(&mut self, id: &str, subnets: &[SubnetState]) {
        if !self.subnets.contains_key(id) {
            self.subnets.insert(id.to_owned(), subnets.iter().map(Allocator::new).collect());
        }
    }

    /// Forgets a network's subnets.
    pub fn release_network(&mut self, id: &str) {
        self.subnets.remove(id);
    }

    /// Takes a wanted address, or the lowest that is free. `None` if the network has no subnet of the family.
    pub fn take(&mut self, id: &str, v4: bool, wanted: Option<IpAddr>) -> Result<Option<IpAddr>> {
        let of_network = self.subnets.get_mut(id).map(Vec::as_mut_slice).unwrap_or_default();
        let mut of_family = of_network.iter_mut().filter(|a| a.subnet.is_ipv4() == v4).peekable();
        if let Some(addr) = wanted {
            let fitting = of_family.find(|a| a.subnet.contains(addr));
            return fitting.ok_or(Error::AddressOutOfRange(addr))?.take(addr).map(Some);
        }
        if of_family.peek().is_none() {
            return Ok(None);
        }
        of_family.find_map(|a| a.take_lowest().ok()).map(Some).ok_or(Error::NoAddress)
    }

    /// Gives an address back.
    pub fn release(&mut self, id: &str, addr: IpAddr) {
        for allocator in self.subnets.get_mut(id).into_iter().flatten() {
            if allocator.subnet.contains(addr) {
                allocator.used.remove(&to_bits(addr));
            }
        }
    }
}

/// Fills in a subnet's gateway and checks what was given.
fn complete(subnet: Cidr, config: &SubnetConfig) -> Result<SubnetState> {
    if let Some(range) = config.ip_range
        && !subnet.contains_prefix(&range)
    {
        return Err(Error::RangeOutside(range));
    }
    for (name, addr) in &config.aux {
        if !subnet.contains(*addr) {
            if DEFAULT_GATEWAYS.contains(&name.as_str()) {
                return Err(Error::DefaultGateway(*addr));
            }
            return Err(Error::NotInSubnet { what: "auxiliary address", addr: *addr });
        }
    }
    let gateway = match config.gateway {
        Some(addr) if !subnet.contains(addr) => return Err(Error::NotInSubnet { what: "gateway", addr }),
        Some(addr) => addr,
        None => first_free(subnet, config)?,
    };
    Ok(SubnetState {
        subnet,
        ip_range: config.ip_range.map(|r| r.network()),
        gateway: Some(gateway),
        aux: config.aux.clone(),
    })
}

/// The lowest host address: of the range where there is one, as Docker does, and clear of auxiliary addresses.
fn first_free(subnet: Cidr, config: &SubnetConfig) -> Result<IpAddr> {
    let range = config.ip_range.map_or(subnet, |r| r.network());
    let small = if subnet.is_ipv4() { subnet.prefix() >= 31 } else { subnet.prefix() >= 127 };
    let mut candidate = range.first();
    if candidate == subnet.first() && !small {
        candidate += 1;
    }
    while candidate <= range.last() {
        let addr = from_bits(candidate, subnet.is_ipv4());
        if !config.aux.values().any(|a| *a == addr) {
            return Ok(addr);
        }
        candidate += 1;
    }
    Err(Error::NoAddress)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect(text)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn ipam() -> Ipam {
        Ipam::new(Pool::defaults())
    }

    fn reserve(ipam: &mut Ipam, id: &str, config: SubnetConfig) -> Vec<SubnetState> {
        let planned = ipam.plan(id, &[config], (true, false), &[]).expect("plan");
        ipam.reserve(id, &planned);
        planned
    }

    #[test]
    fn networks_get_dockers_pools_in_turn_and_skip_the_hosts() {
        let mut ipam = ipam();
        let first = ipam.plan("a", &[], (true, false), &[]).expect("plan");
        assert_eq!(first[0].subnet, cidr("172.17.0.0/16"));
        assert_eq!(first[0].gateway, Some(ip("172.17.0.1")));
        ipam.reserve("a", &first);
        let host = [cidr("172.18.5.0/24"), cidr("172.19.0.1/32")];
        let second = ipam.plan("b", &[], (true, false), &host).expect("plan");
        assert_eq!(second[0].subnet, cidr("172.20.0.0/16"));
    }

    #[test]
    fn used_up_pools_say_why() {
        let pools = vec![Pool { base: cidr("10.9.0.0/23"), size: 24 }];
        let mut ipam = Ipam::new(pools);
        for id in ["a", "b"] {
            let planned = ipam.plan(id, &[], (true, false), &[]).expect("plan");
            ipam.reserve(id, &planned);
        }
        assert!(matches!(ipam.plan("c", &[], (true, false), &[]), Err(Error::PoolsExhausted)));
        ipam.release_network("b");
        let blocked = ipam.plan("c", &[], (true, false), &[cidr("10.9.1.0/24")]);
        assert!(matches!(blocked, Err(Error::NoFreePool("IPv4"))));
        assert_eq!(ipam.plan("c", &[], (true, false), &[]).expect("plan")[0].subnet, cidr("10.9.1.0/24"));
    }

    #[test]
    fn overlapping_subnets_are_refused() {
        let mut ipam = ipam();
        reserve(&mut ipam, "a", SubnetConfig { subnet: Some(cidr("10.1.0.0/16")), ..Default::default() });
        let wanted = SubnetConfig { subnet: Some(cidr("10.1.2.0/24")), ..Default::default() };
        assert!(matches!(ipam.plan("b", &[wanted], (true, false), &[]), Err(Error::PoolOverlap)));
    }

    #[test]
    fn addresses_go_lowest_first_and_come_back() {
        let mut ipam = ipam();
        reserve(&mut ipam, "a", SubnetConfig { subnet: Some(cidr("10.0.0.0/29")), ..Default::default() });
        let mut take = |wanted: Option<&str>| ipam.take("a", true, wanted.map(ip));
        assert_eq!(take(None).expect("free"), Some(ip("10.0.0.2")));
        assert_eq!(take(Some("10.0.0.4")).expect("free"), Some(ip("10.0.0.4")));
        assert_eq!(take(None).expect("free"), Some(ip("10.0.0.3")));
        assert!(matches!(take(Some("10.0.0.4")), Err(Error::AddressInUse)));
        assert!(matches!(take(Some("10.0.0.1")), Err(Error::AddressInUse)), "the gateway");
        assert!(matches!(take(Some("10.0.1.1")), Err(Error::AddressOutOfRange(_))));
        assert_eq!(take(None).expect("free"), Some(ip("10.0.0.5")));
        assert_eq!(take(None).expect("free"), Some(ip("10.0.0.6")));
        assert!(matches!(take(None), Err(Error::NoAddress)), "the broadcast address is none");
        ipam.release("a", ip("10.0.0.3"));
        assert_eq!(ipam.take("a", true, None).expect("free"), Some(ip("10.0.0.3")));
        assert_eq!(ipam.take("a", false, None).expect("no IPv6"), None);
    }

    #[test]
    fn ranges_gateways_and_auxiliaries_are_kept() {
        let mut ipam = ipam();
        let config = SubnetConfig {
            subnet: Some(cidr("10.0.0.0/16")),
            ip_range: Some(cidr("10.0.5.0/24")),
            gateway: Some(ip("10.0.9.9")),
            aux: [("printer".to_owned(), ip("10.0.5.1"))].into(),
        };
        reserve(&mut ipam, "a", config.clone());
        assert_eq!(ipam.take("a", true, None).expect("free"), Some(ip("10.0.5.0")));
        assert_eq!(ipam.take("a", true, None).expect("free"), Some(ip("10.0.5.2")));
        let bad = SubnetConfig { gateway: Some(ip("10.1.0.1")), ..config };
        let other = Ipam::new(Vec::new());
        assert!(matches!(other.plan("b", &[bad], (true, false), &[]), Err(Error::NotInSubnet { .. })));
    }

    #[test]
    fn ipv6_subnets_come_from_pools_where_there_are_some() {
        let four = Pool { base: cidr("10.9.0.0/16"), size: 24 };
        let mut ipam = Ipam::new(vec![four, Pool { base: cidr("fd12::/63"), size: 64 }]);
        let host = [cidr("fd12:0:0:1::7/128")];
        let planned = ipam.plan("a", &[], (true, true), &host).expect("plan");
        assert_eq!((planned[0].subnet, planned[1].subnet), (cidr("10.9.0.0/24"), cidr("fd12::/64")));
        ipam.reserve("a", &planned);
        let blocked = ipam.plan("b", &[], (true, true), &host).expect_err("the host's own");
        assert_eq!(
            blocked.to_string(),
            "could not find an available, non-overlapping IPv6 address pool among the defaults to assign to the network"
        );
        let planned = ipam.plan("b", &[], (true, true), &[]).expect("plan");
        assert_eq!(planned[1].subnet, cidr("fd12:0:0:1::/64"));
        ipam.reserve("b", &planned);
        assert!(matches!(ipam.plan("c", &[], (true, true), &[]), Err(Error::PoolsExhausted)));
        let top = Ipam::new(vec![Pool { base: cidr("ffff:ffff:ffff:ffff::/64"), size: 64 }]);
        assert!(top.plan("d", &[], (false, true), &[]).is_ok());
        assert!(top.plan("d", &[], (false, true), &[cidr("ffff::/16")]).is_err());
    }

    #[test]
    fn ipv6_without_a_subnet_is_unique_local() {
        let mut ipam = ipam();
        let planned = ipam.plan("0123abcd", &[], (true, true), &[]).expect("plan");
        assert!(cidr("fd00::/8").contains_prefix(&planned[1].subnet), "{planned:?}");
        ipam.reserve("x", &planned);
        let again = ipam.plan("0123abcd", &[], (false, true), &[]).expect("plan");
        assert_ne!(again[0].subnet, planned[1].subnet);
        assert!(ipam.take("x", false, None).expect("free").is_some());
    }
}
