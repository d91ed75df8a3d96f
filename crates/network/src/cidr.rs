//! An address with its prefix length, as written `172.17.0.1/16`.
//!
//! The host bits are kept: `172.17.0.1/16` is both the gateway's address and its subnet, as in `--bip`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An IPv4 or IPv6 address and the length of its network prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    addr: IpAddr,
    prefix: u8,
}

/// The text is no address with a prefix length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct ParseCidrError(pub String);

impl Cidr {
    /// Joins an address and a prefix length; `None` where the length is too long for the family.
    #[must_use]
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= width(addr)).then_some(Self { addr, prefix })
    }

    /// The address as it was given, host bits included.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// The length of the prefix in bits.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether this is an IPv4 prefix.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.addr.is_ipv4()
    }

    /// The same prefix with its host bits zeroed: the subnet.
    #[must_use]
    pub fn network(&self) -> Cidr {
        Cidr { addr: from_bits(self.first(), self.is_ipv4()), prefix: self.prefix }
    }

    /// Whether an address lies in the prefix.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        addr.is_ipv4() == self.is_ipv4() && (self.first()..=self.last()).contains(&to_bits(addr))
    }

    /// Whether the two prefixes share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.is_ipv4() == other.is_ipv4() && self.first() <= other.last() && other.first() <= self.last()
    }

    /// Whether every address of `other` lies in this prefix.
    #[must_use]
    pub fn contains_prefix(&self, other: &Cidr) -> bool {
        self.is_ipv4() == other.is_ipv4() && self.first() <= other.first() && other.last() <= self.last()
    }

    /// The lowest address, as a number.
    pub(crate) fn first(&self) -> u128 {
        to_bits(self.addr) & !self.host_mask()
    }

    /// The highest address, as a number.
    pub(crate) fn last(&self) -> u128 {
        to_bits(self.addr) | self.host_mask()
    }

    fn host_mask(&self) -> u128 {
        let bits = u32::from(width(self.addr) - self.prefix);
        if bits == 128 { u128::MAX } else { (1u128 << bits) - 1 }
    }
}

/// An address as a number, so that ranges can be walked.
pub(crate) fn to_bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address of a number that `to_bits` gave.
pub(crate) fn from_bits(bits: u128, v4: bool) -> IpAddr {
    if v4 {
        IpAddr::V4(Ipv4Addr::from(u32::try_from(bits & 0xffff_ffff).unwrap_or(0)))
    } else {
        IpAddr::V6(Ipv6Addr::from(bits))
    }
}

fn width(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseCidrError(text.to_owned());
        let (addr, prefix) = text.split_once('/').ok_or_else(bad)?;
        let addr: IpAddr = addr.parse().map_err(|_| bad())?;
        if !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        Cidr::new(addr, prefix.parse().map_err(|_| bad())?).ok_or_else(bad)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect(text)
    }

    #[test]
    fn keeps_host_bits_and_knows_its_subnet() {
        let bip = cidr("172.17.0.1/16");
        assert_eq!(bip.to_string(), "172.17.0.1/16");
        assert_eq!(bip.network().to_string(), "172.17.0.0/16");
        assert_eq!(cidr("fd00::5/64").network().to_string(), "fd00::/64");
        assert_eq!(cidr("::/0").network().to_string(), "::/0");
    }

    #[test]
    fn overlap_is_symmetric_and_within_a_family() {
        assert!(cidr("10.0.0.0/8").overlaps(&cidr("10.1.0.0/16")));
        assert!(cidr("10.1.0.0/16").overlaps(&cidr("10.0.0.0/8")));
        assert!(!cidr("10.1.0.0/16").overlaps(&cidr("10.2.0.0/16")));
        assert!(!cidr("0.0.0.0/0").overlaps(&cidr("::/0")));
        assert!(cidr("10.0.0.0/8").contains_prefix(&cidr("10.1.0.0/16")));
        assert!(!cidr("10.1.0.0/16").contains_prefix(&cidr("10.0.0.0/8")));
    }

    #[test]
    fn refuses_what_is_no_prefix() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/+8", "10.0.0.0/"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
