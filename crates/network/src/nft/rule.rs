//! Rules: matches and verdicts as the kernel's register machine runs them.
//!
//! Each match loads something into register 1 and compares it there; a lookup in a map of concatenated keys lays
//! its parts into consecutive 32-bit registers.

use std::net::IpAddr;

use super::SLOTS;
use crate::cidr::Cidr;
use crate::netlink::wire::Messages;

/// `NFT_REG_1`.
const REGISTER: u32 = 1;
/// `NFT_REG32_00`: the first of the 32-bit registers; four of them make up `REGISTER`.
const WORD: u32 = 8;
/// `NFTA_LIST_ELEM`.
const ELEMENT: u16 = 1;

const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// An address family of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// IPv6.
    Ip6 = 10,
}

impl Family {
    /// The family of a number.
    pub fn of(number: u8) -> Self {
        match number {
            2 => Self::Ip,
            10 => Self::Ip6,
            _ => Self::Inet,
        }
    }

    /// `inet`, `ip` or `ip6`, of a family's number.
    pub fn name(number: u8) -> &'static str {
        match number {
            2 => "ip",
            10 => "ip6",
            _ => "inet",
        }
    }
}

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// Which interface of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Where it came in.
    In,
    /// Where it goes out.
    Out,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It passes this base chain.
    Accept,
    /// It is gone.
    Drop,
    /// The caller's chain goes on.
    Return,
    /// Another chain decides, then this one goes on.
    Jump(&'a str),
}

/// A rule under construction: matches from left to right, then what to do.
#[derive(Debug, Default)]
pub struct Rule {
    expressions: Messages,
    comment: Option<String>,
}

impl Rule {
    /// A rule that matches everything and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The written expressions.
    pub(super) fn expressions(&self) -> &[u8] {
        self.expressions.since(0)
    }

    /// The comment as `nft` and `iptables-nft` keep it.
    pub(super) fn userdata(&self) -> Option<Vec<u8>> {
        let comment = self.comment.as_ref()?;
        let len = u8::try_from(comment.len() + 1).ok()?;
        Some([&[0, len], comment.as_bytes(), &[0]].concat())
    }

    fn expression(mut self, name: &str, data: impl FnOnce(&mut Messages)) -> Self {
        self.expressions.nest(ELEMENT, |m| {
            m.attr_str(1, name);
            m.nest(2, data);
        });
        self
    }

    fn meta(self, key: u32, register: u32) -> Self {
        self.expression("meta", |m| {
            m.attr_be32(1, register);
            m.attr_be32(2, key);
        })
    }

    fn payload(self, base: u32, offset: u32, len: u32, register: u32) -> Self {
        self.expression("payload", |m| {
            m.attr_be32(1, register);
            m.attr_be32(2, base);
            m.attr_be32(3, offset);
            m.attr_be32(4, len);
        })
    }

    fn compare(self, equal: bool, value: &[u8]) -> Self {
        self.expression("cmp", |m| {
            m.attr_be32(1, REGISTER);
            m.attr_be32(2, u32::from(!equal));
            m.nest(3, |m| m.attr(1, value));
        })
    }

    fn mask(self, mask: &[u8]) -> Self {
        let len = u32::try_from(mask.len()).unwrap_or(0);
        self.expression("bitwise", |m| {
            m.attr_be32(1, REGISTER);
            m.attr_be32(2, REGISTER);
            m.attr_be32(3, len);
            m.nest(4, |m| m.attr(1, mask));
            m.nest(5, |m| m.attr(1, &vec![0; mask.len()]));
        })
    }

    fn find(self, set: &str, register: u32, result: Option<u32>, negate: bool) -> Self {
        self.expression("lookup", |m| {
            m.attr_str(1, set);
            m.attr_be32(2, register);
            if let Some(result) = result {
                m.attr_be32(3, result);
            }
            if negate {
                m.attr_be32(5, 1);
            }
        })
    }

    /// Matches IPv4 or IPv6 packets, in tables for both.
    pub fn version(self, v4: bool) -> Self {
        self.meta(META_NFPROTO, REGISTER).compare(true, &[if v4 { 2 } else { 10 }])
    }

    /// Matches (or excludes) an interface.
    pub fn interface(self, which: Interface, equal: bool, name: &str) -> Self {
        let mut value = name.as_bytes().to_vec();
        value.resize(16, 0);
        self.meta(which.key(), REGISTER).compare(equal, &value)
    }

    /// Matches an interface as `iptables-nft` writes it: the name with one zero byte.
    pub fn interface_as_iptables(self, which: Interface, name: &str) -> Self {
        let mut value = name.as_bytes().to_vec();
        value.push(0);
        self.meta(which.key(), REGISTER).compare(true, &value)
    }

    /// Matches interfaces that a set names.
    pub fn interface_in(self, which: Interface, set: &str) -> Self {
        self.meta(which.key(), REGISTER).find(set, REGISTER, None, false)
    }

    /// Matches (or excludes) addresses of a prefix.
    pub fn address(self, field: Field, equal: bool, prefix: &Cidr) -> Self {
        let v4 = prefix.is_ipv4();
        let (offset, len) = field.place(v4);
        let loaded = self.payload(NETWORK_HEADER, offset, len, REGISTER);
        let value = octets(prefix.network().addr());
        let whole = u32::from(prefix.prefix()) == len * 8;
        let masked = if whole { loaded } else { loaded.mask(&mask(prefix.prefix(), value.len())) };
        masked.compare(equal, &value)
    }

    /// Matches addresses that a set holds.
    pub fn address_in(self, field: Field, v4: bool, set: &str) -> Self {
        let (offset, len) = field.place(v4);
        self.payload(NETWORK_HEADER, offset, len, REGISTER).find(set, REGISTER, None, false)
    }

    /// Matches a transport protocol.
    pub fn protocol(self, number: u8) -> Self {
        self.meta(META_L4PROTO, REGISTER).compare(true, &[number])
    }

    /// Matches a destination port of the transport protocol.
    pub fn destination_port(self, port: u16) -> Self {
        self.payload(TRANSPORT_HEADER, 2, 2, REGISTER).compare(true, &port.to_be_bytes())
    }

    /// Matches packets whose destination is an address of this host.
    pub fn local_destination(self) -> Self {
        const RESULT_TYPE: u32 = 3;
        const BY_DESTINATION: u32 = 2;
        const LOCAL: u32 = 2;
        self.expression("fib", |m| {
            m.attr_be32(1, REGISTER);
            m.attr_be32(2, RESULT_TYPE);
            m.attr_be32(3, BY_DESTINATION);
        })
        .compare(true, &LOCAL.to_ne_bytes())
    }

    /// Matches packets of connections that were let through before.
    pub fn established(self) -> Self {
        // Bits of ct state: established 2, related 4.
        self.connection(0, 6)
    }

    /// Matches packets that begin a connection.
    pub fn beginning(self) -> Self {
        // Bit of ct state: new.
        self.connection(0, 8)
    }

    /// Matches packets of connections whose destination was translated.
    pub fn translated(self) -> Self {
        // IPS_DST_NAT of ct status.
        self.connection(2, 0x20)
    }

    fn connection(self, key: u32, bits: u32) -> Self {
        self.expression("ct", |m| {
            m.attr_be32(1, REGISTER);
            m.attr_be32(2, key);
        })
        .mask(&bits.to_ne_bytes())
        .compare(false, &[0; 4])
    }

    /// Translates the destination to what a map says for `protocol . address . port`.
    pub fn translate_by_address(self, v4: bool, map: &str) -> Self {
        let (offset, len) = Field::Destination.place(v4);
        let words = len / 4;
        self.meta(META_L4PROTO, WORD)
            .payload(NETWORK_HEADER, offset, len, WORD + 1)
            .payload(TRANSPORT_HEADER, 2, 2, WORD + 1 + words)
            .find(map, WORD, Some(WORD), false)
            .destination(v4, WORD, WORD + words)
    }

    /// Translates the destination to what a map says for `protocol . port`.
    pub fn translate_by_port(self, v4: bool, map: &str) -> Self {
        let words = if v4 { 1 } else { 4 };
        self.meta(META_L4PROTO, WORD)
            .payload(TRANSPORT_HEADER, 2, 2, WORD + 1)
            .find(map, WORD, Some(WORD), false)
            .destination(v4, WORD, WORD + words)
    }

    /// Translates the destination to what a map says for `protocol . address . port . slot`, with one of the slots by
    /// chance.
    pub fn spread_by_address(self, v4: bool, map: &str) -> Self {
        let (offset, len) = Field::Destination.place(v4);
        let words = len / 4;
        self.meta(META_L4PROTO, WORD)
            .payload(NETWORK_HEADER, offset, len, WORD + 1)
            .payload(TRANSPORT_HEADER, 2, 2, WORD + 1 + words)
            .random(SLOTS, WORD + 2 + words)
            .find(map, WORD, Some(WORD), false)
            .destination(v4, WORD, WORD + words)
    }

    /// Translates the destination to what a map says for `protocol . port . slot`, with one of the slots by
    /// chance.
    pub fn spread_by_port(self, v4: bool, map: &str) -> Self {
        let words = if v4 { 1 } else { 4 };
        self.meta(META_L4PROTO, WORD)
            .payload(TRANSPORT_HEADER, 2, 2, WORD + 1)
            .random(SLOTS, WORD + 2)
            .find(map, WORD, Some(WORD), false)
            .destination(v4, WORD, WORD + words)
    }

    /// Translates the destination to what a map says for `address . slot`, with one of the slots by chance. The port
    /// stays.
    pub fn spread_addresses(self, v4: bool, map: &str) -> Self {
        let (offset, len) = Field::Destination.place(v4);
        self.payload(NETWORK_HEADER, offset, len, WORD)
            .random(SLOTS, WORD + len / 4)
            .find(map, WORD, Some(WORD), false)
            .nat_to(v4, WORD, None)
    }

    /// Loads a number below another one: any of them, each time.
    fn random(self, below: u32, register: u32) -> Self {
        const RANDOM: u32 = 1;
        self.expression("numgen", |m| {
            m.attr_be32(1, register);
            m.attr_be32(2, below);
            m.attr_be32(3, RANDOM);
        })
    }

    /// Matches packets whose `protocol . address . port` of the destination a set holds.
    pub fn goes_to_address(self, v4: bool, set: &str) -> Self {
        let (offset, len) = Field::Destination.place(v4);
        self.meta(META_L4PROTO, WORD)
            .payload(NETWORK_HEADER, offset, len, WORD + 1)
            .payload(TRANSPORT_HEADER, 2, 2, WORD + 1 + len / 4)
            .find(set, WORD, None, false)
    }

    /// Matches packets whose `protocol . port` of the destination a set holds.
    pub fn goes_to_port(self, set: &str) -> Self {
        self.meta(META_L4PROTO, WORD).payload(TRANSPORT_HEADER, 2, 2, WORD + 1).find(set, WORD, None, false)
    }

    /// Sends a copy to a neighbour of an interface, without asking what it is to be translated to. In tables of one
    /// family only.
    pub fn copy_to(self, neighbour: IpAddr, interface: u32) -> Self {
        self.immediate(REGISTER, &octets(neighbour)).immediate(2, &interface.to_ne_bytes()).expression(
            "dup",
            |m| {
                m.attr_be32(1, REGISTER);
                m.attr_be32(2, 2);
            },
        )
    }

    /// Translates the destination to an IPv4 address and port.
    pub fn translate_to(self, addr: IpAddr, port: u16) -> Self {
        let v4 = addr.is_ipv4();
        self.immediate(REGISTER, &octets(addr)).immediate(2, &port.to_be_bytes()).destination(v4, REGISTER, 2)
    }

    fn immediate(self, register: u32, value: &[u8]) -> Self {
        self.expression("immediate", |m| {
            m.attr_be32(1, register);
            m.nest(2, |m| m.attr(1, value));
        })
    }

    fn destination(self, v4: bool, addr: u32, port: u32) -> Self {
        self.nat_to(v4, addr, Some(port))
    }

    fn nat_to(self, v4: bool, addr: u32, port: Option<u32>) -> Self {
        const DNAT: u32 = 1;
        self.expression("nat", |m| {
            m.attr_be32(1, DNAT);
            m.attr_be32(2, if v4 { 2 } else { 10 });
            m.attr_be32(3, addr);
            if let Some(port) = port {
                m.attr_be32(5, port);
            }
        })
    }

    /// Hides the source behind the address of the interface it leaves by.
    pub fn masquerade(self) -> Self {
        self.expression("masq", |_| {})
    }

    /// Hides the source behind an address.
    pub fn hide_behind(self, addr: IpAddr) -> Self {
        const SNAT: u32 = 0;
        self.immediate(REGISTER, &octets(addr)).expression("nat", |m| {
            m.attr_be32(1, SNAT);
            m.attr_be32(2, if addr.is_ipv4() { 2 } else { 10 });
            m.attr_be32(3, REGISTER);
        })
    }

    /// Counts packets and bytes, as every rule of `iptables-nft` does.
    pub fn counter(self) -> Self {
        self.expression("counter", |m| {
            m.attr(1, &[0; 8]);
            m.attr(2, &[0; 8]);
        })
    }

    /// Ends the rule with a verdict.
    pub fn verdict(self, verdict: Verdict<'_>) -> Self {
        let (code, chain): (i32, _) = match verdict {
            Verdict::Drop => (0, None),
            Verdict::Accept => (1, None),
            Verdict::Jump(chain) => (-3, Some(chain)),
            Verdict::Return => (-5, None),
        };
        self.expression("immediate", |m| {
            m.attr_be32(1, 0);
            m.nest(2, |m| {
                m.nest(2, |m| {
                    m.attr_be32(1, code.cast_unsigned());
                    if let Some(chain) = chain {
                        m.attr_str(2, chain);
                    }
                });
            });
        })
    }

    /// Adds a comment that listings show.
    pub fn comment(mut self, text: &str) -> Self {
        self.comment = Some(text.to_owned());
        self
    }
}

impl Interface {
    fn key(self) -> u32 {
        match self {
            Self::In => META_IIFNAME,
            Self::Out => META_OIFNAME,
        }
    }
}

impl Field {
    /// Offset and length in the IP header.
    fn place(self, v4: bool) -> (u32, u32) {
        match (self, v4) {
            (Self::Source, true) => (12, 4),
            (Self::Destination, true) => (16, 4),
            (Self::Source, false) => (8, 16),
            (Self::Destination, false) => (24, 16),
        }
    }
}

/// An address as bytes in network order.
pub(super) fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn mask(prefix: u8, len: usize) -> Vec<u8> {
    let bits = |i: usize| usize::from(prefix).saturating_sub(i * 8).min(8);
    (0..len).map(|i| (0xff00u16 >> bits(i)) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_their_leading_bits_set() {
        assert_eq!(mask(0, 4), [0, 0, 0, 0]);
        assert_eq!(mask(12, 4), [255, 240, 0, 0]);
        assert_eq!(mask(32, 4), [255; 4]);
        assert_eq!(mask(65, 16)[..10], [255, 255, 255, 255, 255, 255, 255, 255, 128, 0]);
    }
}
