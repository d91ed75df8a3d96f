//! Reading tables, chains and rules: those of the host's own firewall.

use std::io;

use super::rule::Family;
use super::{
    CHAIN_HANDLE, CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TABLE, CHAIN_TYPE, GETCHAIN, GETRULE, GETTABLE,
    HOOK_NUM, Hook, RULE_CHAIN, RULE_EXPRESSIONS, RULE_HANDLE, RULE_TABLE, RULE_USERDATA, TABLE_NAME, kind,
};
use crate::netlink::Socket;
use crate::netlink::wire::{self, Attrs, Messages};

const HEADER: usize = 4;
// Families whose hooks have the same numbers and other meanings.
const ARP: u16 = 3;
const NETDEV: u16 = 5;
const BRIDGE: u16 = 7;

/// A chain as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its family's number.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: u64,
    /// The hook's number, if it is in the packet path.
    pub hook: Option<u32>,
    /// Whether it drops what no rule decides.
    pub drops: bool,
    /// Whether it is for filtering, not for translating.
    pub filters: bool,
}

impl Chain {
    /// Whether it sees packets that are for this host.
    pub fn receives(&self) -> bool {
        self.hook == Some(Hook::Input.number())
            && !matches!(u16::from(self.family), NETDEV | ARP | BRIDGE)
            && self.filters
    }

    /// Whether it sees packets as they come in, before it is known whom they are for.
    pub fn arrives(&self) -> bool {
        self.hook == Some(Hook::Prerouting.number())
            && !matches!(u16::from(self.family), NETDEV | ARP | BRIDGE)
            && self.filters
    }

    /// Whether it sees packets that are routed through this host.
    pub fn forwards(&self) -> bool {
        self.hook == Some(Hook::Forward.number())
    }
}

/// A rule as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its chain.
    pub chain: String,
    /// Its handle.
    pub handle: u64,
    /// Its comment.
    pub comment: Option<String>,
    /// The chain that it leads to.
    pub jump: Option<String>,
    /// Whether it looks up how packets go back to where they come from: `fib saddr …`, `-m rpfilter`.
    pub checks_source: bool,
}

/// The names of a family's tables.
pub fn tables(socket: &Socket, family: Family) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    dump(
        socket,
        GETTABLE,
        family as u8,
        |_| {},
        |m| {
            found.extend(m.attrs(HEADER).str(TABLE_NAME).map(str::to_owned));
        },
    )?;
    Ok(found)
}

/// All chains of all families.
pub fn chains(socket: &Socket) -> io::Result<Vec<Chain>> {
    let mut found = Vec::new();
    dump(
        socket,
        GETCHAIN,
        0,
        |_| {},
        |m| {
            let attrs = m.attrs(HEADER);
            let (Some(table), Some(name)) = (attrs.str(CHAIN_TABLE), attrs.str(CHAIN_NAME)) else { return };
            found.push(Chain {
                family: m.body.first().copied().unwrap_or(0),
                table: table.to_owned(),
                name: name.to_owned(),
                handle: attrs.be64(CHAIN_HANDLE).unwrap_or(0),
                hook: attrs.nested(CHAIN_HOOK).be32(HOOK_NUM),
                drops: attrs.be32(CHAIN_POLICY) == Some(0),
                filters: attrs.str(CHAIN_TYPE) == Some("filter"),
            });
        },
    )?;
    Ok(found)
}

/// The rules of a chain, in their order.
pub fn rules(socket: &Socket, family: Family, table: &str, chain: &str) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    let narrow = |m: &mut Messages| {
        m.attr_str(RULE_TABLE, table);
        m.attr_str(RULE_CHAIN, chain);
    };
    dump(socket, GETRULE, family as u8, narrow, |m| {
        let attrs = m.attrs(HEADER);
        if attrs.str(RULE_TABLE) == Some(table) && attrs.str(RULE_CHAIN) == Some(chain) {
            let expressions = || Expressions { list: attrs.nested(RULE_EXPRESSIONS) };
            found.push(Listed {
                chain: chain.to_owned(),
                handle: attrs.be64(RULE_HANDLE).unwrap_or(0),
                comment: attrs.find(RULE_USERDATA).and_then(comment),
                jump: expressions().find_map(|(name, data)| jump(name, data)),
                checks_source: expressions().any(|(name, data)| checks_source(name, data)),
            });
        }
    })?;
    Ok(found)
}

fn dump(
    socket: &Socket,
    message: u16,
    family: u8,
    narrow: impl FnOnce(&mut Messages),
    each: impl FnMut(&wire::Message<'_>),
) -> io::Result<()> {
    let mut request = Messages::new();
    request.begin(kind(message), wire::DUMP, &[family, 0, 0, 0]);
    narrow(&mut request);
    match socket.query(request, each) {
        // Tables that vanish while they are listed are not there.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// What a rule is made of: names with their data.
struct Expressions<'a> {
    list: Attrs<'a>,
}

impl<'a> Iterator for Expressions<'a> {
    type Item = (&'a str, Attrs<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        const NAME: u16 = 1;
        const DATA: u16 = 2;
        let one = Attrs::of(self.list.next()?.1);
        Some((one.str(NAME).unwrap_or_default(), one.nested(DATA)))
    }
}

fn jump(name: &str, data: Attrs<'_>) -> Option<String> {
    const IMMEDIATE_DATA: u16 = 2;
    const DATA_VERDICT: u16 = 2;
    const VERDICT_CHAIN: u16 = 2;
    let verdict = (name == "immediate").then(|| data.nested(IMMEDIATE_DATA).nested(DATA_VERDICT))?;
    verdict.str(VERDICT_CHAIN).map(str::to_owned)
}

fn checks_source(name: &str, data: Attrs<'_>) -> bool {
    const FIB_FLAGS: u16 = 3;
    const FIB_SOURCE: u32 = 1;
    const MATCH_NAME: u16 = 1;
    match name {
        "fib" => data.be32(FIB_FLAGS).is_some_and(|flags| flags & FIB_SOURCE != 0),
        // What iptables-nft has of iptables' own matches.
        "match" => data.str(MATCH_NAME) == Some("rpfilter"),
        _ => false,
    }
}

/// The comment among a rule's user data: a list of type, length, bytes.
fn comment(mut userdata: &[u8]) -> Option<String> {
    while let [kind, len, rest @ ..] = userdata {
        let value = rest.get(..usize::from(*len))?;
        if *kind == 0 {
            let text = value.split(|b| *b == 0).next().unwrap_or_default();
            return String::from_utf8(text.to_vec()).ok();
        }
        userdata = rest.get(usize::from(*len)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comments_are_found_behind_other_user_data() {
        assert_eq!(comment(&[9, 1, 7, 0, 3, b'h', b'i', 0]).as_deref(), Some("hi"));
        assert_eq!(comment(&[]), None);
        assert_eq!(comment(&[0, 200, 1]), None);
    }

    proptest! {
        #[test]
        fn hostile_user_data_ends(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = comment(&bytes);
        }
    }
}
