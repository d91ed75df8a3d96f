//! The rules of our tables: pure functions of the networks.

use std::net::IpAddr;

use super::{ADMITTED, ADMITTED_ANY, BRIDGES, FOREIGN, HELD, SEALED, open_of};
use crate::cidr::Cidr;
use crate::config::{GatewayMode, NetworkState};
use crate::gate::{self, Gate};
use crate::nft::{Field, Interface, Rule, Verdict};

pub(super) fn subnets_of(v4: bool) -> &'static str {
    if v4 { "subnets4" } else { "subnets6" }
}

pub(super) fn subnets(networks: &[NetworkState], v4: bool) -> impl Iterator<Item = (&NetworkState, Cidr)> {
    let of = move |n: &NetworkState| {
        n.subnets.iter().map(|s| s.subnet).filter(move |s| s.is_ipv4() == v4).collect::<Vec<_>>()
    };
    networks.iter().flat_map(move |n| of(n).into_iter().map(move |s| (n, s)))
}

fn loopback(v4: bool) -> Option<Cidr> {
    let (addr, prefix) = if v4 { ([127, 0, 0, 0].into(), 8) } else { (IpAddr::V6(1.into()), 128) };
    Cidr::new(addr, prefix)
}

/// Bridges let 127.0.0.0/8 pass (`route_localnet`), so that localhost reaches published ports. Containers must not
/// use that to reach what listens on the host's localhost.
pub(super) fn guard() -> Vec<Rule> {
    let drop = |net| {
        Rule::new()
            .interface_in(Interface::In, BRIDGES)
            .version(true)
            .address(Field::Destination, true, &net)
            .verdict(Verdict::Drop)
            .comment("no way to localhost")
    };
    loopback(true).map(drop).into_iter().collect()
}

/// What comes in. 127.0.0.0/8 from the wire is no localhost, whatever it says. What asks for a port behind the gate
/// is translated when it comes back from there.
pub(super) fn prerouting(gate: Option<&Gate>) -> Vec<Rule> {
    let keep = loopback(true).map(|net| {
        Rule::new().version(true).address(Field::Destination, true, &net).verdict(Verdict::Return)
    });
    let back = |gate: &Gate| {
        let from = || Rule::new().interface(Interface::In, true, &gate.back);
        translated_by(from, ASKED)
    };
    keep.into_iter()
        .chain(translated_by(Rule::new, PORTS))
        .chain(gate.map(back).into_iter().flatten())
        .collect()
}

/// What programs of this host send. ::1 cannot be translated to an address elsewhere: a forwarder serves it.
pub(super) fn output() -> Vec<Rule> {
    let keep = loopback(false).map(|net| {
        Rule::new().version(false).address(Field::Destination, true, &net).verdict(Verdict::Return)
    });
    keep.into_iter().chain(translated_by(Rule::new, PORTS)).chain(translated_by(Rule::new, ASKED)).collect()
}

/// Maps of published ports: those of an IPv4 address, of any, of an IPv6 address, of any; then of ports that several
/// containers share.
struct Maps {
    one: [&'static str; 4],
    shared: [&'static str; 4],
}

const PORTS: Maps = Maps {
    one: ["ports4", "ports4_any", "ports6", "ports6_any"],
    shared: ["spread4", "spread4_any", "spread6", "spread6_any"],
};
/// The same of ports behind the gate.
const ASKED: Maps = Maps {
    one: ["asked4", "asked4_any", "asked6", "asked6_any"],
    shared: ["spread_asked4", "spread_asked4_any", "spread_asked6", "spread_asked6_any"],
};

fn translated_by(from: impl Fn() -> Rule, maps: Maps) -> Vec<Rule> {
    let [four, four_any, six, six_any] = maps.one;
    let [spread4, spread4_any, spread6, spread6_any] = maps.shared;
    let any = |v4| from().version(v4).local_destination();
    vec![
        from().version(true).translate_by_address(true, four),
        any(true).translate_by_port(true, four_any),
        from().version(false).translate_by_address(false, six),
        any(false).translate_by_port(false, six_any),
        from().version(true).spread_by_address(true, spread4),
        any(true).spread_by_port(true, spread4_any),
        from().version(false).spread_by_address(false, spread6),
        any(false).spread_by_port(false, spread6_any),
    ]
}

/// What is for this host itself. The daemon's own sockets, which carry IPv6 to containers, know nothing of networks
/// without a way out: those may not use them.
pub(super) fn input() -> Vec<Rule> {
    vec![
        Rule::new()
            .interface_in(Interface::In, SEALED)
            .goes_to_port(HELD)
            .verdict(Verdict::Drop)
            .comment("internal"),
    ]
}

/// What all of the host's INPUT rules let pass, in a table of one family.
pub(super) fn admit(networks: &[NetworkState], gate: &Gate, v4: bool) -> Vec<Rule> {
    let from = |interface| Rule::new().interface(Interface::In, true, interface);
    let mut rules = vec![
        // What this host's programs ask of ::1, which a socket of the daemon's serves.
        from("lo").verdict(Verdict::Return),
        // Once around is enough: its port was withdrawn on the way.
        from(&gate.back).verdict(Verdict::Drop),
    ];
    for network in networks.iter().filter(|n| n.internal) {
        rules.push(from(&network.bridge).verdict(Verdict::Return).comment("internal"));
    }
    let around = |rule: Rule| rule.copy_to(gate::next_hop(v4), gate.out).verdict(Verdict::Drop);
    rules.push(around(Rule::new().beginning().goes_to_address(v4, ADMITTED)));
    rules.push(around(Rule::new().beginning().local_destination().goes_to_port(ADMITTED_ANY)));
    rules
}

pub(super) fn postrouting() -> Vec<Rule> {
    let mut rules = Vec::new();
    // A program of this host that asked for 127.0.0.1: containers answer to the bridge's address.
    rules.extend(loopback(true).map(|net| {
        Rule::new()
            .interface_in(Interface::Out, BRIDGES)
            .version(true)
            .address(Field::Source, true, &net)
            .masquerade()
            .comment("localhost to a published port")
    }));
    for v4 in [true, false] {
        rules.push(
            Rule::new()
                .version(v4)
                .address_in(Field::Source, v4, subnets_of(v4))
                .verdict(Verdict::Jump("leave")),
        );
    }
    rules
}

pub(super) fn leave(networks: &[NetworkState]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for v4 in [true, false] {
        for (network, subnet) in subnets(networks, v4).filter(|(n, _)| !n.internal) {
            let from = || Rule::new().version(v4).address(Field::Source, true, &subnet);
            if !network.gateway_mode(v4).translates() {
                continue;
            }
            if network.masquerade {
                let leaving = from().interface(Interface::In, true, &network.bridge).interface(
                    Interface::Out,
                    false,
                    &network.bridge,
                );
                let hidden = match network.host_addresses.iter().find(|a| a.is_ipv4() == v4) {
                    Some(address) => leaving.hide_behind(*address),
                    None => leaving.masquerade(),
                };
                rules.push(hidden.comment(&network.name));
            }
            // To a published port of the same bridge: the answer has to come back this way. The way in is not
            // known here when the kernel bridges such a packet instead of routing it.
            rules.push(
                from()
                    .interface(Interface::Out, true, &network.bridge)
                    .translated()
                    .masquerade()
                    .comment("hairpin"),
            );
        }
    }
    rules
}

pub(super) fn forward() -> Vec<Rule> {
    vec![
        Rule::new().established().verdict(Verdict::Accept),
        Rule::new().interface_in(Interface::Out, BRIDGES).verdict(Verdict::Jump("between")),
        Rule::new().interface_in(Interface::In, BRIDGES).verdict(Verdict::Jump("between")),
    ]
}

pub(super) fn between(networks: &[NetworkState]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for network in networks.iter().filter(|n| n.internal) {
        for (this, that) in [(Interface::In, Interface::Out), (Interface::Out, Interface::In)] {
            rules.push(
                Rule::new()
                    .interface(this, true, &network.bridge)
                    .interface(that, false, &network.bridge)
                    .verdict(Verdict::Drop)
                    .comment("internal"),
            );
        }
    }
    for network in networks {
        let within = || {
            Rule::new().interface(Interface::Out, true, &network.bridge).interface(
                Interface::In,
                true,
                &network.bridge,
            )
        };
        let to = || Rule::new().interface(Interface::Out, true, &network.bridge);
        if network.icc {
            rules.push(within().verdict(Verdict::Accept).comment(&network.name));
        }
        rules.push(to().translated().verdict(Verdict::Accept).comment("published"));
        rules.extend(direct(network));
        rules.push(to().verdict(Verdict::Drop).comment("not published"));
    }
    let to_foreign = || Rule::new().interface_in(Interface::Out, FOREIGN);
    rules.push(to_foreign().translated().verdict(Verdict::Accept).comment("published by Docker"));
    rules.push(to_foreign().verdict(Verdict::Drop).comment("not published by Docker"));
    rules
}

/// Who may ask a container at its own address.
fn direct(network: &NetworkState) -> Vec<Rule> {
    const ICMP: [u8; 2] = [1, 58];
    let mut rules = Vec::new();
    for v4 in [true, false] {
        let to = || Rule::new().interface(Interface::Out, true, &network.bridge).version(v4);
        let open = |rule: Rule| rule.goes_to_address(v4, open_of(v4)).verdict(Verdict::Accept);
        match network.gateway_mode(v4) {
            GatewayMode::NatUnprotected => {
                rules.push(to().verdict(Verdict::Accept).comment("unprotected"));
            }
            GatewayMode::Routed => {
                let ping = to().protocol(ICMP[usize::from(!v4)]);
                rules.push(ping.verdict(Verdict::Accept).comment("routed"));
                rules.push(open(to()).comment("published, routed"));
            }
            GatewayMode::Nat | GatewayMode::Isolated => {}
        }
        for name in &network.trusted_interfaces {
            rules.push(open(to().interface(Interface::In, true, name)).comment("published, trusted"));
        }
    }
    rules
}
