//! MAC addresses, and ids made of chance.

use std::net::Ipv4Addr;

use crate::error::{Error, Result};
use crate::netlink::route::Mac;

/// Reads `02:42:ac:11:00:02`.
pub fn parse(text: &str) -> Result<Mac> {
    let bad = || Error::InvalidMac(text.to_owned());
    let octets: Vec<u8> = text
        .split([':', '-'])
        .map(|p| if p.len() == 2 { u8::from_str_radix(p, 16).ok() } else { None })
        .collect::<Option<_>>()
        .ok_or_else(bad)?;
    let mac = Mac::try_from(octets).map_err(|_| bad())?;
    // A group address is nobody's.
    if mac[0] & 1 == 0 && mac != [0; 6] { Ok(mac) } else { Err(bad()) }
}

/// Writes `02:42:ac:11:00:02`.
pub fn format(mac: Mac) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

/// The address that goes with an IPv4 address: a neighbour that remembers one for the other stays right when the
/// next container gets the same.
pub fn of_address(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    [0x02, 0x42, a, b, c, d]
}

/// Whether a MAC address is the one that goes with an IPv4 address: then it was not asked for, and does not stay with a
/// container that gets another one.
#[must_use]
pub fn follows(mac: &str, ip: &str) -> bool {
    ip.parse().is_ok_and(|ip| parse(mac).is_ok_and(|mac| mac == of_address(ip)))
}

/// An address made of chance.
pub fn random() -> Mac {
    let mut mac = [0x02, 0x42, 0, 0, 0, 0];
    fill(&mut mac[2..]);
    mac
}

/// 64 hex digits of chance.
pub fn random_id() -> String {
    let mut bytes = [0; 32];
    fill(&mut bytes);
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn fill(bytes: &mut [u8]) {
    // Up to 256 bytes come whole; the call fails only on kernels that lack it, which are older than what we need.
    let _ = rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_goes_with_its_address_alone() {
        assert!(follows("02:42:0a:d6:00:45", "10.214.0.69"));
        assert!(!follows("02:42:0a:d6:00:45", "10.214.0.68"));
        assert!(!follows("02:42:0a:d6:00:45", "") && !follows("", "10.214.0.69"));
    }

    #[test]
    fn macs_are_read_and_written() {
        assert_eq!(format(parse("02:42:AC:11:00:02").expect("a MAC")), "02:42:ac:11:00:02");
        assert_eq!(format(of_address(Ipv4Addr::new(172, 17, 0, 2))), "02:42:ac:11:00:02");
        for bad in
            ["", "02:42", "02:42:ac:11:00:0g", "01:00:5e:00:00:01", "2:42:ac:11:0:2", "00:00:00:00:00:00"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_64_hex_digits_and_differ() {
        let (a, b) = (random_id(), random_id());
        assert_eq!(a.len(), 64);
        assert_ne!(a, b);
    }
}
