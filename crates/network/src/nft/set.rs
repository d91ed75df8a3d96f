//! Sets and maps: what they hold, and elements in the form the kernel compares.

use std::net::IpAddr;

use super::expression::{Expression, row, written};
use super::rule::{Family, octets};
use super::{Batch, DELSETELEM, NEWSET, NEWSETELEM, SLOTS};
use crate::cidr::{Cidr, from_bits};
use crate::netlink::wire;

const MAP: u32 = 8;
const INTERVAL: u32 = 4;
const INTERVAL_END: u32 = 1;
/// As many elements as stay far below the 64 KiB that an attribute can hold.
const CHUNK: usize = 256;

// nft's own numbers of data types, for listings.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
const TYPE_INTEGER: u32 = 4;
const TYPE_INTERFACE: u32 = 41;

/// What a set or map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Interface names.
    Interfaces,
    /// Prefixes of a family (true: IPv4).
    Prefixes(bool),
    /// `protocol . address . port : address . port`, of a family.
    ByAddress(bool),
    /// `protocol . port : address . port`, of a family.
    ByPort(bool),
    /// `protocol . address . port . slot : address . port`, of a family.
    SpreadByAddress(bool),
    /// `protocol . port . slot : address . port`, of a family.
    SpreadByPort(bool),
    /// `address . slot : address`, of a family.
    Virtual(bool),
    /// `protocol . address . port`, of a family.
    Addresses(bool),
    /// `protocol . port`.
    Ports,
}

/// A named set or map of a table.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// The table's family.
    pub family: Family,
    /// The table.
    pub table: &'a str,
    /// The set's name.
    pub name: &'a str,
    /// What it holds.
    pub kind: Kind,
}

/// An element in the form that the kernel compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    key: Vec<u8>,
    data: Vec<u8>,
    end: bool,
}

impl Element {
    /// An interface's name.
    pub fn interface(name: &str) -> Self {
        let mut key = name.as_bytes().to_vec();
        key.resize(16, 0);
        Self { key, data: Vec::new(), end: false }
    }

    /// A prefix: where it begins, and where what follows it begins.
    pub fn prefix(prefix: &Cidr) -> Vec<Self> {
        let v4 = prefix.is_ipv4();
        let first = Self { key: octets(prefix.network().addr()), data: Vec::new(), end: false };
        let top = if v4 { u128::from(u32::MAX) } else { u128::MAX };
        let next = (prefix.last() < top).then(|| Self {
            key: octets(from_bits(prefix.last() + 1, v4)),
            data: Vec::new(),
            end: true,
        });
        std::iter::once(first).chain(next).collect()
    }

    /// Where packets to a protocol, host address (any if absent) and port go.
    pub fn translation(proto: u8, host: Option<IpAddr>, port: u16, to: IpAddr, to_port: u16) -> Self {
        let mut data = octets(to);
        data.extend(word(to_port));
        Self { data, ..Self::destination(proto, host, port) }
    }

    /// The same for connections that fall on a slot.
    pub fn spread(mut self, slot: u32) -> Self {
        self.key.extend(slot.to_ne_bytes());
        self
    }

    /// Where packets to a service's address go that fall on a slot.
    pub fn virtual_address(address: IpAddr, slot: u32, to: IpAddr) -> Self {
        Self { key: octets(address), data: octets(to), end: false }.spread(slot)
    }

    /// A protocol, host address (any if absent) and port.
    pub fn destination(proto: u8, host: Option<IpAddr>, port: u16) -> Self {
        let mut key = vec![proto, 0, 0, 0];
        key.extend(host.map(octets).unwrap_or_default());
        key.extend(word(port));
        Self { key, data: Vec::new(), end: false }
    }
}

/// A port in a register of its own.
fn word(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// `a . b` in nft's numbering of concatenated types.
fn concat(types: &[u32]) -> u32 {
    types.iter().fold(0, |sum, t| (sum << 6) | t)
}

impl Kind {
    /// nft's number of the key's type, and its length.
    fn key(self) -> (u32, u32) {
        let (address, len) = self.address();
        match self {
            Self::Interfaces => (TYPE_INTERFACE, 16),
            Self::Prefixes(_) => (address, len),
            Self::ByAddress(_) | Self::Addresses(_) => {
                (concat(&[TYPE_PROTOCOL, address, TYPE_PORT]), 8 + len)
            }
            Self::ByPort(_) | Self::Ports => (concat(&[TYPE_PROTOCOL, TYPE_PORT]), 8),
            Self::SpreadByAddress(_) => {
                (concat(&[TYPE_PROTOCOL, address, TYPE_PORT, TYPE_INTEGER]), 12 + len)
            }
            Self::Virtual(_) => (concat(&[address, TYPE_INTEGER]), len + 4),
            Self::SpreadByPort(_) => (concat(&[TYPE_PROTOCOL, TYPE_PORT, TYPE_INTEGER]), 12),
        }
    }

    fn address(self) -> (u32, u32) {
        match self {
            Self::Prefixes(false)
            | Self::ByAddress(false)
            | Self::ByPort(false)
            | Self::SpreadByAddress(false)
            | Self::SpreadByPort(false)
            | Self::Virtual(false)
            | Self::Addresses(false) => (TYPE_IPV6, 16),
            _ => (TYPE_IPV4, 4),
        }
    }

    /// nft's number of a map's data type, and its length.
    fn data(self) -> (u32, u32) {
        let (address, len) = self.address();
        match self {
            Self::Virtual(_) => (address, len),
            _ => (concat(&[address, TYPE_PORT]), len + 4),
        }
    }

    fn is_map(self) -> bool {
        self.flags() == MAP
    }

    fn flags(self) -> u32 {
        match self {
            Self::Interfaces | Self::Addresses(_) | Self::Ports => 0,
            Self::Prefixes(_) => INTERVAL,
            Self::ByAddress(_)
            | Self::ByPort(_)
            | Self::SpreadByAddress(_)
            | Self::SpreadByPort(_)
            | Self::Virtual(_) => MAP,
        }
    }

    /// The expressions that key and data are made of, where types do not say it.
    fn expressions(self) -> Option<(Vec<Expression>, Vec<Expression>)> {
        use Expression::{Destination, Port, Protocol, Random, TcpPort};
        Some(match self {
            Self::SpreadByAddress(v4) => {
                (vec![Protocol, Destination(v4), Port, Random(SLOTS)], vec![Destination(v4), TcpPort])
            }
            Self::SpreadByPort(v4) => (vec![Protocol, Port, Random(SLOTS)], vec![Destination(v4), TcpPort]),
            Self::Virtual(v4) => (vec![Destination(v4), Random(SLOTS)], vec![Destination(v4)]),
            _ => return None,
        })
    }

    /// Byte orders of key and data, without which listings print numbers swapped, and what they are made of.
    fn userdata(self) -> Vec<u8> {
        const HOST: u32 = 1;
        const NETWORK: u32 = 2;
        let order = if self == Self::Interfaces { HOST } else { NETWORK };
        let mut bytes = row(0, &order.to_ne_bytes());
        if self.is_map() {
            bytes.extend(row(1, &NETWORK.to_ne_bytes()));
        }
        if let Some((key, data)) = self.expressions() {
            bytes.extend(row(3, &written(&key)));
            bytes.extend(row(4, &written(&data)));
        }
        bytes
    }
}

impl Batch {
    /// Makes a set or map if it is not there.
    pub fn add_set(&mut self, set: &Set<'_>) {
        let (key_type, key_len) = set.kind.key();
        self.begin(NEWSET, wire::CREATE, set.family);
        let m = &mut self.messages;
        m.attr_str(1, set.table);
        m.attr_str(2, set.name);
        m.attr_be32(3, set.kind.flags());
        m.attr_be32(4, key_type);
        m.attr_be32(5, key_len);
        if set.kind.is_map() {
            let (kind, len) = set.kind.data();
            m.attr_be32(6, kind);
            m.attr_be32(7, len);
        }
        // An id by which this batch's own messages may refer to it; the kernel insists on one.
        m.attr_be32(10, 1);
        m.attr(13, &set.kind.userdata());
    }

    /// Removes all elements.
    pub fn flush_set(&mut self, set: &Set<'_>) {
        self.begin(DELSETELEM, 0, set.family);
        self.messages.attr_str(1, set.table);
        self.messages.attr_str(2, set.name);
    }

    /// Adds elements; those that are there with the same data stay.
    pub fn add_elements(&mut self, set: &Set<'_>, elements: &[Element]) {
        self.write_elements(NEWSETELEM, wire::CREATE, set, elements);
    }

    /// Removes elements.
    pub fn delete_elements(&mut self, set: &Set<'_>, elements: &[Element]) {
        self.write_elements(DELSETELEM, 0, set, elements);
    }

    fn write_elements(&mut self, message: u16, flags: u16, set: &Set<'_>, elements: &[Element]) {
        for chunk in elements.chunks(CHUNK) {
            self.begin(message, flags, set.family);
            self.messages.attr_str(1, set.table);
            self.messages.attr_str(2, set.name);
            self.messages.nest(3, |m| {
                for element in chunk {
                    m.nest(1, |m| {
                        if element.end {
                            m.attr_be32(3, INTERVAL_END);
                        }
                        m.nest(1, |m| m.attr(1, &element.key));
                        if !element.data.is_empty() && message == NEWSETELEM {
                            m.nest(2, |m| m.attr(1, &element.data));
                        }
                    });
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_two_elements_unless_it_ends_the_space() {
        let cidr = |t: &str| t.parse::<Cidr>().expect(t);
        let found = Element::prefix(&cidr("172.17.0.0/16"));
        assert_eq!((found[0].key.as_slice(), found[0].end), ([172, 17, 0, 0].as_slice(), false));
        assert_eq!((found[1].key.as_slice(), found[1].end), ([172, 18, 0, 0].as_slice(), true));
        assert_eq!(Element::prefix(&cidr("255.0.0.0/8")).len(), 1);
    }

    #[test]
    fn keys_are_padded_to_registers() {
        let to = "172.17.0.2".parse().expect("address");
        let any = Element::translation(6, None, 8080, to, 80);
        assert_eq!(any.key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert_eq!(any.data, [172, 17, 0, 2, 0, 80, 0, 0]);
        let one = Element::translation(17, Some(to), 53, to, 53);
        assert_eq!(one.key.len(), 12);
    }
}
