//! The end of a start and the end of a daemon: what is left of others goes, what is needed stays.

use std::collections::BTreeSet;

use crate::bridge;
use crate::config::NetworkState;
use crate::error::{Error, Result};
use crate::gate;
use crate::netlink::route::{self, Link};
use crate::network::Inner;
use crate::share::Shares;

/// Makes the packet path what the restored networks, endpoints and ports need, and removes the rest.
pub fn restore_done(inner: &Inner) -> Result<()> {
    let mut errors = Vec::new();
    {
        let _alone = inner.unpublishing();
        let mut state = inner.state();
        state.restoring = false;
        if !state.networks.is_empty() {
            errors.extend(bridge::write_rules(inner, &state, true).err());
            errors.extend(bridge::apply(inner, &state).err());
        } else if inner.firewall.exists() {
            errors.extend(inner.firewall.delete().err());
            errors.extend(gate::remove(inner).err());
        }
    }
    errors.extend(crate::virtual_ip::write_all(inner).err());
    errors.extend(remove_strangers(inner).err());
    let live: BTreeSet<String> = inner.state().sandboxes.keys().cloned().collect();
    for id in inner.nursery.bound() {
        if !live.contains(&id) {
            errors.extend(inner.nursery.unbind(&id).err());
        }
    }
    Error::from_all(errors)
}

/// Removes interfaces that carry our mark and belong to nothing that is known.
fn remove_strangers(inner: &Inner) -> Result<()> {
    let links = our_links(inner)?;
    let state = inner.state();
    let prefix = inner.alias_prefix();
    let known = |l: &Link| {
        let id = l.alias.strip_prefix(&prefix).unwrap_or_default();
        // The gate goes by itself where it is not needed.
        state.endpoints.contains_key(id) || state.networks.contains_key(id) || id == gate::ALIAS
    };
    let mut errors = Vec::new();
    for link in links.iter().filter(|l| !known(l)) {
        match route::delete_link(&inner.route(), link.index) {
            Err(e) if !e.is(libc::ENODEV) => errors.push(e.of(format!("remove interface {}", link.name))),
            _ => {}
        }
    }
    Error::from_all(errors)
}

fn our_links(inner: &Inner) -> Result<Vec<Link>> {
    let links = route::links(&inner.route())
        .map_err(|source| Error::Netlink { operation: "list interfaces".into(), source })?;
    let prefix = inner.alias_prefix();
    Ok(links.into_iter().filter(|l| l.alias.starts_with(&prefix)).collect())
}

/// Stops serving; what running containers need stays.
pub fn shutdown(inner: &Inner) -> Result<()> {
    stop(inner, false)
}

/// Stops serving and removes everything.
pub fn purge(inner: &Inner) -> Result<()> {
    let containers: Vec<String> = inner.state().sandboxes.keys().cloned().collect();
    let removed = containers.iter().filter_map(|id| crate::endpoint::remove_sandbox(inner, id).err());
    let mut errors: Vec<Error> = removed.collect();
    errors.extend(stop(inner, true).err());
    Error::from_all(errors)
}

fn stop(inner: &Inner, everything: bool) -> Result<()> {
    inner.nursery.drain();
    inner.reaper.stop();
    // The watch ends with the thread: nobody puts back what is removed below.
    inner.service.stop();
    let mut errors: Vec<Error> = Vec::new();
    let (networks, idle): (Vec<NetworkState>, bool) = {
        let mut state = inner.state();
        // Forwarders and sockets of published ports are served by nobody from here on.
        state.published.clear();
        state.shares = Shares::default();
        (state.all_networks(), state.sandboxes.is_empty())
    };
    if idle || everything {
        // Not before: where the host drops what is forwarded, running containers live by these rules.
        errors.extend(inner.host_firewall.remove().err());
        errors.extend(inner.firewall.delete().err());
        errors.extend(gate::remove(inner).err());
        for network in &networks {
            inner.state().networks.remove(&network.id);
            errors.extend(bridge::remove_link(inner, &inner.state(), network).err());
        }
        errors.extend(inner.settings.restore(&inner.host).err());
        inner.state().networks.clear();
    }
    Error::from_all(errors)
}
