//! Addresses of networks: `10.0.0.0/8`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Takes::{Number as Num, Text};
use super::{Function, fixed, open, str, whole};
use crate::error::Result;
use crate::value::Value;

pub(super) static ALL: &[Function] = &[
    fixed("cidrhost", &[("prefix", Text), ("hostnum", Num)], |_, a| {
        let network = Network::read(str(&a[0]))?;
        let number = whole(&a[1])?;
        let size = network.size();
        let place =
            if number < 0 { size.checked_sub(number.unsigned_abs()) } else { Some(number.unsigned_abs()) };
        let place = place.filter(|place| *place < size || size == 0);
        let place = place.ok_or_else(|| {
            format!("prefix of {} does not accommodate a host numbered {number}", network.length)
        })?;
        Ok(network.address(network.first | place).into())
    }),
    fixed("cidrnetmask", &[("prefix", Text)], |_, a| {
        let network = Network::read(str(&a[0]))?;
        Ok(network.address(network.mask()).into())
    }),
    fixed("cidrsubnet", &[("prefix", Text), ("newbits", Num), ("netnum", Num)], |_, a| {
        let network = Network::read(str(&a[0]))?;
        let (more, number) = (bits(&a[1])?, whole(&a[2])?);
        let number = u128::try_from(number).ok().filter(|n| *n < 1 << more);
        let number = number.ok_or_else(|| {
            format!(
                "prefix extension of {more} does not accommodate a subnet numbered {}",
                a[2].text().unwrap_or_default()
            )
        })?;
        let length = network.longer(more)?;
        let shift = u32::from(network.width - length);
        Ok(Network { first: network.first | number.checked_shl(shift).unwrap_or(0), length, ..network }
            .text()
            .into())
    }),
    open("cidrsubnets", &[("prefix", Text)], ("newbits", Num), |_, a| {
        let network = Network::read(str(&a[0]))?;
        let (mut next, mut all) = (network.first, Vec::new());
        for more in &a[1..] {
            let more = bits(more)?;
            if more < 1 {
                return Err("must extend prefix by at least one bit".into());
            }
            let length = network.longer(more)?;
            let subnet = Network { first: next, length, ..network };
            let size = subnet.size();
            // Where one of this size can begin.
            let first = next.div_ceil(size.max(1)).saturating_mul(size.max(1));
            let last = first.saturating_add(size.wrapping_sub(1));
            if last > network.last() {
                return Err(format!(
                    "not enough remaining address space for a subnet with a prefix of {length} bits"
                )
                .into());
            }
            all.push(Network { first, ..subnet }.text());
            next = last.saturating_add(1);
        }
        Ok(Value::texts(all))
    }),
];

fn bits(value: &Value) -> Result<u8> {
    let more = u8::try_from(whole(value)?).ok().filter(|more| *more <= 32);
    more.ok_or_else(|| "may not extend prefix by more than 32 bits".into())
}

#[derive(Clone, Copy)]
struct Network {
    first: u128,
    length: u8,
    width: u8,
}

impl Network {
    fn read(text: &str) -> Result<Network> {
        let wrong = || format!("invalid CIDR expression: invalid CIDR address: {text}");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let (bits, width) = match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let length: u8 = length.parse().ok().filter(|length| *length <= width).ok_or_else(wrong)?;
        let network = Network { first: bits, length, width };
        Ok(Network { first: bits & network.mask(), ..network })
    }

    /// How many addresses; 0 for all of IPv6.
    fn size(self) -> u128 {
        1u128.checked_shl(u32::from(self.width - self.length)).unwrap_or(0)
    }

    /// Its last address.
    fn last(self) -> u128 {
        self.first | self.size().wrapping_sub(1)
    }

    fn mask(self) -> u128 {
        let all = if self.width == 32 { u128::from(u32::MAX) } else { u128::MAX };
        all & !self.size().wrapping_sub(1)
    }

    fn longer(self, more: u8) -> Result<u8> {
        let length = self.length + more;
        match length <= self.width {
            true => Ok(length),
            false => {
                Err(format!("insufficient address space to extend prefix of {} by {more}", self.length)
                    .into())
            }
        }
    }

    fn address(self, bits: u128) -> String {
        match self.width {
            32 => Ipv4Addr::from(bits as u32).to_string(),
            _ => Ipv6Addr::from(bits).to_string(),
        }
    }

    fn text(self) -> String {
        format!("{}/{}", self.address(self.first), self.length)
    }
}
