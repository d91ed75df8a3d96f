//! macvlan and ipvlan: containers linked to an interface of the host, as machines of its network.
//!
//! ```text
//! eth0 (the parent) ── eth0.10, made here if it is asked for and missing ── eth0 of each container
//! ```
//! There is no bridge, no translation and no published port; what a container listens on is reached from the parent's
//! network. A network without a parent gets one of its own that leads nowhere (`dm-<id>`, `di-<id>`), and is internal.
//! The kernel lets the host itself reach none of its sub-interfaces. Options and errors are Docker's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Driver, Endpoint, NetworkConfig, NetworkState};
use crate::error::{Error, Result};
use crate::host::inside;
use crate::mac;
use crate::netlink::route::{self, Sub, SubKind};
use crate::network::{Inner, State};
use crate::options;
use crate::sandbox::Sandbox;
use crate::sysctl;

const PARENT: &str = "parent";
const MACVLAN_MODE: &str = "macvlan_mode";
const IPVLAN_MODE: &str = "ipvlan_mode";
const IPVLAN_FLAG: &str = "ipvlan_flag";

/// The interface that a network's containers are linked to, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its name.
    pub name: String,
    /// Whether it was made for this network or another of the same parent, and goes with the last of them.
    pub owned: bool,
    /// How its sub-interfaces behave.
    pub mode: Mode,
}

/// How sub-interfaces behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// macvlan: they reach each other.
    Bridge,
    /// macvlan: they do not.
    Private,
    /// macvlan: they do if the switch sends it back.
    Vepa,
    /// macvlan: one container takes the parent over.
    Passthru,
    /// ipvlan: layer 2.
    L2(Flag),
    /// ipvlan: layer 3, routed by the parent.
    L3(Flag),
    /// The same, seen by the host's firewall.
    L3s(Flag),
}

/// Who reaches whom among an ipvlan's containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// They reach each other.
    Bridge,
    /// They do not.
    Private,
    /// They do if the switch sends it back.
    Vepa,
}

impl Mode {
    /// Whether the default route leads into the interface, to nobody in particular.
    pub fn is_routed(self) -> bool {
        matches!(self, Self::L3(_) | Self::L3s(_))
    }

    fn kind(self) -> SubKind {
        let flag = |flag| match flag {
            Flag::Bridge => 0,
            Flag::Private => 1,
            Flag::Vepa => 2,
        };
        match self {
            Self::Private => SubKind::Macvlan(1),
            Self::Vepa => SubKind::Macvlan(2),
            Self::Bridge => SubKind::Macvlan(4),
            Self::Passthru => SubKind::Macvlan(8),
            Self::L2(f) => SubKind::Ipvlan { mode: 0, flags: flag(f) },
            Self::L3(f) => SubKind::Ipvlan { mode: 1, flags: flag(f) },
            Self::L3s(f) => SubKind::Ipvlan { mode: 2, flags: flag(f) },
        }
    }
}

/// What the options ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    parent: Option<String>,
    mode: Mode,
}

fn read(driver: Driver, options: &BTreeMap<String, String>) -> Result<Wanted> {
    let get = |key| options.get(key).map(String::as_str).unwrap_or_default();
    let parent = Some(get(PARENT)).filter(|p| !p.is_empty()).map(str::to_owned);
    if parent.as_deref() == Some("lo") {
        return Err(Error::ParentIsLoopback(driver.as_str()));
    }
    let refused = |what: &'static str, value: &str, default: &'static str| {
        Err(Error::DriverMode { what, value: value.to_owned(), default })
    };
    let mode = if driver == Driver::Macvlan {
        match get(MACVLAN_MODE) {
            "" | "bridge" => Mode::Bridge,
            "private" => Mode::Private,
            "vepa" => Mode::Vepa,
            "passthru" => Mode::Passthru,
            other => return refused("macvlan mode", other, "'bridge' mode is the macvlan driver default"),
        }
    } else {
        let flag = match get(IPVLAN_FLAG) {
            "" | "bridge" => Flag::Bridge,
            "private" => Flag::Private,
            "vepa" => Flag::Vepa,
            other => return refused("ipvlan flag", other, "'bridge' is the ipvlan driver default"),
        };
        match get(IPVLAN_MODE) {
            "" | "l2" => Mode::L2(flag),
            "l3" => Mode::L3(flag),
            "l3s" => Mode::L3s(flag),
            other => return refused("ipvlan mode", other, "'l2' mode is the ipvlan driver default"),
        }
    };
    Ok(Wanted { parent, mode })
}

/// Makes a network.
pub fn create(inner: &Inner, config: &NetworkConfig) -> Result<NetworkState> {
    let wanted = read(config.driver, &config.options)?;
    let common = options::Options::parse(&config.options)?;
    let mut state = inner.state();
    if state.networks.remove(&config.id).is_some() {
        inner.ipam().release_network(&config.id);
    }
    let name = wanted.parent.clone().unwrap_or_else(|| own_name(config.driver, &config.id));
    check_company(&state, config.driver, &name, wanted.mode)?;
    let families = (!config.no_ipv4, config.ipv6);
    let host = crate::bridge::host_prefixes(inner, "")?;
    let mut subnets = inner.ipam().plan(&config.id, &config.subnets, families, &host)?;
    // A gateway is a machine of the parent's network: nobody is one because nothing was said.
    for subnet in &mut subnets {
        let asked = |s: &crate::SubnetConfig| s.subnet.map(|c| c.network()) == Some(subnet.subnet);
        let said = config.subnets.iter().any(|s| asked(s) && s.gateway.is_some());
        subnet.gateway = subnet.gateway.filter(|_| said && !wanted.mode.is_routed());
    }
    let made = prepare(inner, config.driver, &config.id, &name)?;
    let shared = state.networks.values().filter_map(|n| n.parent.as_ref()).any(|p| p.name == name && p.owned);
    let network = NetworkState {
        id: config.id.clone(),
        name: config.name.clone(),
        bridge: String::new(),
        owns_bridge: false,
        subnets,
        internal: config.internal || wanted.parent.is_none(),
        icc: true,
        masquerade: false,
        mtu: common.mtu,
        host_binding: None,
        default_bridge: false,
        inhibit_ipv4: false,
        container_iface_prefix: common.container_iface_prefix,
        publish_mode: None,
        gateway_modes: Default::default(),
        trusted_interfaces: Vec::new(),
        host_addresses: Vec::new(),
        driver: config.driver,
        parent: Some(Parent { name, owned: made || shared, mode: wanted.mode }),
    };
    inner.ipam().reserve(&network.id, &network.subnets);
    state.networks.insert(network.id.clone(), network.clone());
    Ok(network)
}

/// Which networks may share a parent.
fn check_company(state: &State, driver: Driver, parent: &str, mode: Mode) -> Result<()> {
    let of_parent = |n: &&NetworkState| n.parent.as_ref().is_some_and(|p| p.name == parent);
    for other in state.networks.values().filter(of_parent) {
        let taken =
            |whole| Error::ParentTaken { network: other.id.clone(), parent: parent.to_owned(), whole };
        if mode == Mode::Passthru {
            return Err(taken(true));
        }
        if other.parent.as_ref().is_some_and(|p| p.mode == Mode::Passthru) {
            return Err(taken(false));
        }
        if other.driver != driver {
            return Err(Error::ParentOfOther {
                parent: parent.to_owned(),
                driver: other.driver.as_str(),
                network: other.name.clone(),
            });
        }
    }
    Ok(())
}

/// The name of a parent that leads nowhere.
fn own_name(driver: Driver, id: &str) -> String {
    let prefix = if driver == Driver::Macvlan { "dm-" } else { "di-" };
    format!("{prefix}{}", id.get(..12).unwrap_or(id))
}

fn index_of(inner: &Inner, name: &str) -> Result<Option<u32>> {
    let failed = |source| Error::Netlink { operation: format!("look up interface {name}"), source };
    Ok(route::link(&inner.route(), name).map_err(failed)?.map(|l| l.index))
}

/// Makes the parent if it is not there: one that leads nowhere, or a VLAN's. Says whether it was made.
fn prepare(inner: &Inner, driver: Driver, id: &str, name: &str) -> Result<bool> {
    if index_of(inner, name)?.is_some() {
        return Ok(false);
    }
    let alias = inner.alias(id);
    if name == own_name(driver, id) {
        return make_nowhere(inner, name, &alias).map(|()| true);
    }
    let vlan = Vlan::parse(name)?;
    let master =
        index_of(inner, vlan.master)?.ok_or_else(|| Error::ParentNotFound(vlan.master.to_owned()))?;
    if !(1..=4094).contains(&vlan.id) {
        return Err(Error::VlanRange(vlan.id));
    }
    let id = u16::try_from(vlan.id).unwrap_or(0);
    route::add_vlan(&inner.route(), name, &alias, master, id)
        .map_err(|e| e.of(format!("make interface {name} of VLAN {id}")))?;
    Ok(true)
}

/// A dummy interface; where the kernel has none, a bridge without ports does the same.
fn make_nowhere(inner: &Inner, name: &str, alias: &str) -> Result<()> {
    let socket = inner.route();
    match route::add_plain(&socket, "dummy", name, alias) {
        Err(e) if e.is(libc::EOPNOTSUPP) => route::add_plain(&socket, "bridge", name, alias),
        other => other,
    }
    .map_err(|e| e.of(format!("make interface {name}")))
}

/// `eth0.10`.
struct Vlan<'a> {
    master: &'a str,
    id: i64,
}

impl<'a> Vlan<'a> {
    fn parse(name: &'a str) -> Result<Self> {
        if !name.contains('.') {
            return Err(Error::NoVlanName(name.to_owned()));
        }
        let mut parts = name.split('.');
        let (Some(master), Some(id), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::VlanName(name.to_owned()));
        };
        let id = id.parse().map_err(|_| Error::VlanId(id.to_owned()))?;
        Ok(Self { master, id })
    }
}

/// Makes a known network again.
pub fn restore(inner: &Inner, network: &NetworkState) -> Result<()> {
    let mut state = inner.state();
    state.restoring = true;
    inner.ipam().reserve(&network.id, &network.subnets);
    state.networks.insert(network.id.clone(), network.clone());
    match &network.parent {
        Some(parent) if parent.owned => prepare(inner, network.driver, &network.id, &parent.name).map(|_| ()),
        _ => Ok(()),
    }
}

/// Removes the parent of a network that is gone, if it was made here and nobody else needs it.
pub fn remove_parent(inner: &Inner, state: &State, network: &NetworkState) -> Result<()> {
    let Some(parent) = network.parent.as_ref().filter(|p| p.owned) else { return Ok(()) };
    let needed =
        |n: &NetworkState| n.id != network.id && n.parent.as_ref().is_some_and(|p| p.name == parent.name);
    if state.networks.values().any(needed) {
        return Ok(());
    }
    let Some(index) = index_of(inner, &parent.name)? else { return Ok(()) };
    match route::delete_link(&inner.route(), index) {
        Err(e) if !e.is(libc::ENODEV) => Err(e.of(format!("remove interface {}", parent.name))),
        _ => Ok(()),
    }
}

/// Makes a container's interface in its sandbox.
pub fn attach(
    inner: &Inner,
    sandbox: &Sandbox,
    parent: &Parent,
    mtu: Option<u32>,
    endpoint: &Endpoint,
) -> Result<()> {
    let index = index_of(inner, &parent.name)?.ok_or_else(|| Error::ParentNotFound(parent.name.clone()))?;
    let mac = if endpoint.mac.is_empty() { None } else { Some(mac::parse(&endpoint.mac)?) };
    // The host has an `eth0` of its own, and the kernel may take the new one for it.
    let passing = format!("sub{}", mac::random_id().get(..8).unwrap_or_default());
    let sub = Sub {
        parent: index,
        name: &passing,
        kind: parent.mode.kind(),
        mac,
        mtu,
        namespace: sandbox.namespace(),
    };
    // A parent that is down carries nothing.
    let socket = inner.route();
    route::set_up(&socket, index).map_err(|e| e.of(format!("set up interface {}", parent.name)))?;
    let what = || format!("link {} of {} to interface {}", endpoint.interface, endpoint.name, parent.name);
    route::add_sub(&socket, &sub).map_err(|e| e.of(what()))?;
    drop(socket);
    sandbox.with_route(|socket| {
        route::rename(socket, &passing, &endpoint.interface).map_err(|e| e.of(what()))
    })?;
    inside(sandbox.namespace(), || tell_neighbours(&endpoint.interface))
        .map_err(|source| Error::System { operation: "enter a sandbox", source })
}

/// Lets the interface announce its addresses: others may remember who had them before. Without it they find out later.
fn tell_neighbours(interface: &str) {
    for key in ["ipv4/conf/{}/arp_notify", "ipv6/conf/{}/ndisc_notify"] {
        if let Err(e) = sysctl::write(&format!("net/{}", key.replace("{}", interface)), "1") {
            tracing::debug!("{e}");
        }
    }
}

/// Removes a container's interface at once: its address may be somebody else's next.
pub fn detach(sandbox: &Sandbox, endpoint: &Endpoint) -> Result<()> {
    let name = &endpoint.interface;
    sandbox.with_route(|socket| {
        let failed = |source| Error::Netlink { operation: format!("look up interface {name}"), source };
        let Some(link) = route::link(socket, name).map_err(failed)? else { return Ok(()) };
        match route::delete_link(socket, link.index) {
            Err(e) if !e.is(libc::ENODEV) => Err(e.of(format!("remove interface {name}"))),
            _ => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(driver: Driver, pairs: &[(&str, &str)]) -> Result<Wanted> {
        read(driver, &pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn options_are_dockers() {
        let found = wanted(Driver::Macvlan, &[(PARENT, "eth0.10"), (MACVLAN_MODE, "vepa")]).expect("options");
        assert_eq!(found, Wanted { parent: Some("eth0.10".into()), mode: Mode::Vepa });
        assert_eq!(wanted(Driver::Macvlan, &[]).expect("none").mode, Mode::Bridge);
        let found =
            wanted(Driver::Ipvlan, &[(IPVLAN_MODE, "l3s"), (IPVLAN_FLAG, "private")]).expect("options");
        assert_eq!(found.mode, Mode::L3s(Flag::Private));
        assert!(found.mode.is_routed());
        for (driver, options, words) in [
            (
                Driver::Macvlan,
                (MACVLAN_MODE, "l2"),
                "requested macvlan mode 'l2' is not valid, 'bridge' mode is the macvlan driver default",
            ),
            (
                Driver::Ipvlan,
                (IPVLAN_MODE, "bridge"),
                "requested ipvlan mode 'bridge' is not valid, 'l2' mode is the ipvlan driver default",
            ),
            (
                Driver::Ipvlan,
                (IPVLAN_FLAG, "x"),
                "requested ipvlan flag 'x' is not valid, 'bridge' is the ipvlan driver default",
            ),
            (Driver::Ipvlan, (PARENT, "lo"), "loopback interface is not a valid ipvlan parent link"),
        ] {
            assert_eq!(wanted(driver, &[options]).expect_err(words).to_string(), words);
        }
    }

    #[test]
    fn names_of_vlans_are_read() {
        let vlan = Vlan::parse("eth0.10").expect("a VLAN");
        assert_eq!((vlan.master, vlan.id), ("eth0", 10));
        for (name, words) in [
            ("eth9", "invalid subinterface vlan name eth9, example formatting is eth0.10"),
            (
                "a.b.c",
                "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received a.b.c",
            ),
            ("eth0.x", "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)"),
        ] {
            assert_eq!(Vlan::parse(name).err().expect(words).to_string(), words);
        }
    }
}
