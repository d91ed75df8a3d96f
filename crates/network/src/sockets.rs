//! What the programs of a container listen on, and who is connected there: read from the kernel's lists.

use std::collections::BTreeSet;
use std::io;

use crate::host::inside;
use crate::sandbox::Sandbox;

/// The TCP sockets of a namespace, those at the loopback's addresses aside.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// The ports that are listened on.
    pub listening: BTreeSet<u16>,
    /// The own ports of connections that have not ended.
    connected: Vec<u16>,
}

impl Sockets {
    /// Those of a container.
    ///
    /// # Errors
    /// Its namespace cannot be entered, or the kernel does not list them.
    pub fn of(sandbox: &Sandbox) -> io::Result<Self> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
        let text = inside(sandbox.namespace(), || {
            // A kernel without IPv6 has no second list.
            read("tcp").map(|text| text + &read("tcp6").unwrap_or_default())
        })??;
        Ok(Self::parse(&text))
    }

    /// How many connections there are by ports that are listened on.
    pub fn served(&self) -> usize {
        self.connected.iter().filter(|port| self.listening.contains(port)).count()
    }

    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for (port, state) in text.lines().filter_map(socket) {
            match state {
                "0A" => {
                    found.listening.insert(port);
                }
                // Established, begun by the other side, about to be closed by this one, closed by the other one: there
                // may be something to say still.
                "01" | "03" | "04" | "08" => found.connected.push(port),
                _ => {}
            }
        }
        found
    }
}

/// The port and state of a line, unless it is of the loopback's.
fn socket(line: &str) -> Option<(u16, &str)> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    // Addresses are in the machine's own order; all machines of ours begin with the low byte.
    let loopback = match address.len() {
        8 => address.ends_with("7F"),
        _ => {
            address == "00000000000000000000000001000000"
                || (address.starts_with("0000000000000000FFFF0000") && address.ends_with("7F"))
        }
    };
    u16::from_str_radix(port, 16).ok().filter(|_| !loopback).map(|port| (port, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read() {
        let text = "  sl  local_address rem_address   st tx_queue\n   \
            0: 00000000:0050 00000000:0000 0A 00000000:00000000\n   \
            1: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   \
            2: 0200000A:0050 0100000A:C001 01 00000000:00000000\n   \
            3: 0200000A:C123 0100000A:0050 01 00000000:00000000\n   \
            4: 0100007F:0050 0100007F:C002 01 00000000:00000000\n   \
            5: 0200000A:0050 0100000A:C003 06 00000000:00000000\n  sl  local_address\n   \
            0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0\n   \
            1: 00000000000000000000000001000000:2382 00000000000000000000000000000000:0000 0A 0\n   \
            2: 0000000000000000FFFF00000200000A:01BB 0000000000000000FFFF00000100000A:C004 08 0\n   \
            3: 0000000000000000FFFF00000100007F:01BB 0000000000000000FFFF00000100007F:C005 01 0\n";
        let sockets = Sockets::parse(text);
        assert_eq!(sockets.listening, BTreeSet::from([80, 443]));
        assert_eq!(sockets.served(), 2, "{sockets:?}");
    }
}
