//! How containers resolve names: the texts of their `hosts` and `resolv.conf`, at start and when they
//! join or leave a network while they run.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use dray_network::dns::{HostsEntry, ResolvMode, ResolvOverrides, resolv_conf};
use dray_network::{DnsConfig, Endpoint};

use super::endpoint::{addresses, unique};
use super::record::Record;
use super::{Error, Service};
use crate::container::NetworkedContainer;

impl Service {
    /// A running container learns of its new network: its own address there, and on a user-defined
    /// network the embedded resolver. The files are mounted in it, so they are changed in place.
    pub(super) fn tell_container(
        &self,
        container: &NetworkedContainer,
        record: &Record,
        endpoint: &Endpoint,
    ) -> Result<(), Error> {
        let folder = self.store.container_dir(&container.id);
        if !record.predefined() {
            write_in_place(&folder.join("resolv.conf"), &self.resolv_conf(container, ResolvMode::Embedded)?)?;
        }
        let path = folder.join("hosts");
        let mut hosts = std::fs::read_to_string(&path).unwrap_or_default();
        for ip in addresses(endpoint) {
            hosts.push_str(&format!("{ip}\t{}\n", container.hostname));
        }
        write_in_place(&path, &hosts)
    }

    /// The container's address on a network that it left is no longer its own.
    pub(super) fn untell_container(
        &self,
        container: &NetworkedContainer,
        endpoint: &Endpoint,
    ) -> Result<(), Error> {
        let path = self.store.container_dir(&container.id).join("hosts");
        let gone: Vec<String> = addresses(endpoint).iter().map(ToString::to_string).collect();
        let hosts = std::fs::read_to_string(&path).unwrap_or_default();
        let stays =
            |line: &&str| !line.split_whitespace().next().is_some_and(|ip| gone.iter().any(|g| g == ip));
        let kept: String = hosts.lines().filter(stays).map(|line| format!("{line}\n")).collect();
        write_in_place(&path, &kept)
    }

    pub(super) fn servers(&self, container: &NetworkedContainer) -> Result<Vec<IpAddr>, Error> {
        if container.dns.is_empty() {
            return Ok(self.dns.servers.clone());
        }
        let parsed = container.dns.iter().map(|server| {
            server.parse().map_err(|_| Error::Address { what: "DNS server", value: server.clone() })
        });
        parsed.collect()
    }

    /// What a container's resolver needs to know of it.
    pub(super) fn dns_config(&self, container: &NetworkedContainer) -> Result<DnsConfig, Error> {
        let options =
            if container.dns_options.is_empty() { &self.dns.options } else { &container.dns_options };
        let mut ndots =
            options.iter().filter_map(|option| option.strip_prefix("ndots:")?.parse::<u32>().ok());
        let dotless_stay = ndots.next_back().is_some_and(|n| n > 0);
        Ok(DnsConfig { servers: self.servers(container)?, dotless_stay })
    }

    pub(super) fn resolv_conf(
        &self,
        container: &NetworkedContainer,
        mode: ResolvMode,
    ) -> Result<String, Error> {
        let or =
            |own: &[String], default: &[String]| if own.is_empty() { default.to_vec() } else { own.to_vec() };
        let overrides = ResolvOverrides {
            servers: self.servers(container)?,
            search: or(&container.dns_search, &self.dns.search),
            options: or(&container.dns_options, &self.dns.options),
        };
        // A host without the file resolves nothing; containers then get Docker's fallback servers.
        let host = std::fs::read_to_string(&self.dns.resolv_conf).unwrap_or_default();
        Ok(resolv_conf(&host, mode, &overrides))
    }

    /// In host mode the host's own names count.
    pub(super) fn host_hosts(&self, container: &NetworkedContainer) -> Result<String, Error> {
        let mut text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for entry in self.extra_hosts(container)? {
            text.push_str(&format!("{}\t{}\n", entry.ip, entry.names.join(" ")));
        }
        Ok(text)
    }

    /// `--add-host` and links.
    pub(super) fn extra_hosts(&self, container: &NetworkedContainer) -> Result<Vec<HostsEntry>, Error> {
        let mut entries = Vec::new();
        for extra in &container.extra_hosts {
            let invalid = || Error::Address { what: "extra host", value: extra.clone() };
            let (name, target) = extra.split_once(':').ok_or_else(invalid)?;
            let names = vec![name.to_owned()];
            if target == "host-gateway" {
                entries.extend(
                    self.host_gateways().into_iter().map(|ip| HostsEntry { ip, names: names.clone() }),
                );
                continue;
            }
            let plain = target.trim_start_matches('[').trim_end_matches(']');
            entries.push(HostsEntry { ip: plain.parse().map_err(|_| invalid())?, names });
        }
        for link in &container.links {
            let Some(ip) = link.ip.as_ref().and_then(|ip| ip.parse().ok()) else { continue };
            let names = unique(vec![link.alias.clone(), link.hostname.clone(), link.name.clone()]);
            entries.push(HostsEntry { ip, names });
        }
        Ok(entries)
    }

    pub(super) fn host_gateways(&self) -> Vec<IpAddr> {
        if !self.dns.host_gateway.is_empty() {
            return self.dns.host_gateway.clone();
        }
        let bridge = self.find("bridge").ok().and_then(|record| record.state.clone());
        bridge
            .map(|state| state.subnets.iter().filter_map(|subnet| subnet.gateway).collect())
            .unwrap_or_default()
    }
}

/// Writes a file that is mounted somewhere: a new file in its place would not be seen there.
fn write_in_place(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::ContainerFile { path: path.to_owned(), source };
    let mut file = match std::fs::File::options().write(true).open(path) {
        Ok(file) => file,
        // A container of a daemon's own making, like a build step's, keeps its files elsewhere.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    file.write_all(text.as_bytes()).and_then(|()| file.set_len(text.len() as u64)).map_err(failed)
}
