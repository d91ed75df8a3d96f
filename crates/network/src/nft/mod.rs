//! nftables through netlink: tables, chains, rules, sets and maps, in atomic batches.
//!
//! A [`Batch`] is applied whole or not at all. The shape of the messages is that of the kernel's
//! `linux/netfilter/nf_tables.h`; numbers are in network order.

mod expression;
mod list;
mod rule;
mod set;

pub use list::{Chain, chains, rules, tables};
pub use rule::{Family, Field, Interface, Rule, Verdict};
pub use set::{Element, Kind, Set};

use crate::netlink::wire::{self, Messages};
use crate::netlink::{Failed, Socket};

/// How many slots a spread port or address has: divided without rest by most numbers of containers.
pub const SLOTS: u32 = 120;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const SUBSYSTEM: u16 = 10;

const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const GETCHAIN: u16 = 4;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_HANDLE: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUM: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;

/// A message type of the nftables subsystem.
fn kind(message: u16) -> u16 {
    (SUBSYSTEM << 8) | message
}

/// A base chain's place in the packet path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before routing, as it came in.
    Prerouting,
    /// For this host itself.
    Input,
    /// Routed through this host.
    Forward,
    /// Made on this host.
    Output,
    /// Before it leaves.
    Postrouting,
}

impl Hook {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

/// Changes that are applied together.
#[derive(Debug)]
pub struct Batch {
    messages: Messages,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        let mut messages = Messages::new();
        // The header of a batch names the subsystem where others name their family.
        messages.begin(BATCH_BEGIN, 0, &[0, 0, 0, SUBSYSTEM as u8]);
        Self { messages }
    }

    fn begin(&mut self, message: u16, flags: u16, family: Family) {
        self.messages.begin(kind(message), flags, &[family as u8, 0, 0, 0]);
    }

    /// Makes a table if it is not there.
    pub fn add_table(&mut self, family: Family, table: &str) {
        self.begin(NEWTABLE, wire::CREATE, family);
        self.messages.attr_str(TABLE_NAME, table);
    }

    /// Removes a table with all in it.
    pub fn delete_table(&mut self, family: Family, table: &str) {
        self.begin(DELTABLE, 0, family);
        self.messages.attr_str(TABLE_NAME, table);
    }

    /// Makes a chain that others jump to, and empties it.
    pub fn add_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.begin(NEWCHAIN, wire::CREATE, family);
        self.messages.attr_str(CHAIN_TABLE, table);
        self.messages.attr_str(CHAIN_NAME, chain);
        self.flush_chain(family, table, chain);
    }

    /// Makes a chain in the packet path (`filter` or `nat`) that lets pass what no rule decides, and empties it.
    pub fn add_base_chain(
        &mut self,
        family: Family,
        table: &str,
        chain: &str,
        kind: &str,
        hook: Hook,
        priority: i32,
    ) {
        self.begin(NEWCHAIN, wire::CREATE, family);
        self.messages.attr_str(CHAIN_TABLE, table);
        self.messages.attr_str(CHAIN_NAME, chain);
        self.messages.nest(CHAIN_HOOK, |m| {
            m.attr_be32(HOOK_NUM, hook.number());
            m.attr_be32(HOOK_PRIORITY, priority.cast_unsigned());
        });
        self.messages.attr_be32(CHAIN_POLICY, 1);
        self.messages.attr_str(CHAIN_TYPE, kind);
        self.flush_chain(family, table, chain);
    }

    /// Empties a chain.
    pub fn flush_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.begin(DELRULE, 0, family);
        self.messages.attr_str(RULE_TABLE, table);
        self.messages.attr_str(RULE_CHAIN, chain);
    }

    /// Adds a rule to the end of a chain.
    pub fn add_rule(&mut self, family: Family, table: &str, chain: &str, rule: &Rule) {
        self.write_rule(wire::CREATE | wire::APPEND, family, table, chain, rule);
    }

    /// Adds a rule to the beginning of a chain.
    pub fn insert_rule(&mut self, family: Family, table: &str, chain: &str, rule: &Rule) {
        self.write_rule(wire::CREATE, family, table, chain, rule);
    }

    fn write_rule(&mut self, flags: u16, family: Family, table: &str, chain: &str, rule: &Rule) {
        self.begin(NEWRULE, flags, family);
        self.messages.attr_str(RULE_TABLE, table);
        self.messages.attr_str(RULE_CHAIN, chain);
        self.messages.nest(RULE_EXPRESSIONS, |m| m.raw(rule.expressions()));
        if let Some(userdata) = rule.userdata() {
            self.messages.attr(RULE_USERDATA, &userdata);
        }
    }

    /// Removes one rule.
    pub fn delete_rule(&mut self, family: Family, table: &str, chain: &str, handle: u64) {
        self.begin(DELRULE, 0, family);
        self.messages.attr_str(RULE_TABLE, table);
        self.messages.attr_str(RULE_CHAIN, chain);
        self.messages.attr(RULE_HANDLE, &handle.to_be_bytes());
    }

    /// Applies all of it, or nothing.
    ///
    /// # Errors
    /// The first that the kernel reports.
    pub fn commit(mut self, socket: &Socket) -> Result<(), Failed> {
        self.messages.begin(BATCH_END, 0, &[0, 0, 0, SUBSYSTEM as u8]);
        socket.send(self.messages)
    }
}
