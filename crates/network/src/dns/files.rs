//! The texts of a container's `/etc/resolv.conf` and `/etc/hosts`: pure functions.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Which resolver a container is told to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolvMode {
    /// The host's file as it is (`--network host`, without overrides).
    Host,
    /// The host's servers, without those that only the host can reach (default bridge, `none`).
    Filtered,
    /// The embedded resolver at 127.0.0.11 (user-defined networks).
    Embedded,
}

/// `--dns`, `--dns-search`, `--dns-option`: each replaces what the host's file says where not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvOverrides {
    /// Servers.
    pub servers: Vec<IpAddr>,
    /// Search domains; a single `.` means none.
    pub search: Vec<String>,
    /// Options, as `ndots:2`.
    pub options: Vec<String>,
}

/// A line of a `hosts` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsEntry {
    /// The address.
    pub ip: IpAddr,
    /// Its names, the canonical one first.
    pub names: Vec<String>,
}

/// The address at which containers find the embedded resolver.
pub const EMBEDDED: &str = "127.0.0.11";

/// Servers of last resort where the host's file leaves none that a container can reach.
const FALLBACK: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

#[derive(Default)]
struct Parsed {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => parsed.servers.extend(words.next()),
            Some("search" | "domain") => parsed.search = words.collect(),
            Some("options") => parsed.options.extend(words),
            _ => {}
        }
    }
    parsed
}

/// A server that a resolver configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameserver {
    /// Where it is.
    pub ip: IpAddr,
    /// The interface behind which it is, of an address that means nothing without (`fe80::1%eth0`).
    pub zone: Option<String>,
}

impl From<IpAddr> for Nameserver {
    fn from(ip: IpAddr) -> Self {
        Nameserver { ip, zone: None }
    }
}

/// The servers that a resolver configuration names, without those that are no addresses.
#[must_use]
pub fn nameservers(text: &str) -> Vec<Nameserver> {
    let read = |server: &String| {
        let (ip, zone) = match server.split_once('%') {
            Some((ip, zone)) => (ip, Some(zone.to_owned())),
            None => (server.as_str(), None),
        };
        Some(Nameserver { ip: ip.parse().ok()?, zone })
    };
    parse(text).servers.iter().filter_map(read).collect()
}

/// A container's `/etc/resolv.conf`, made from the host's.
#[must_use]
pub fn resolv_conf(host: &str, mode: ResolvMode, overrides: &ResolvOverrides) -> String {
    if mode == ResolvMode::Host && *overrides == ResolvOverrides::default() {
        return host.to_owned();
    }
    let mut conf = parse(host);
    if !overrides.search.is_empty() {
        conf.search = overrides.search.iter().filter(|s| *s != ".").cloned().collect();
    }
    if !overrides.options.is_empty() {
        conf.options.clone_from(&overrides.options);
    }
    conf.servers = servers(&conf.servers, mode, overrides);
    if mode == ResolvMode::Embedded && !conf.options.iter().any(|o| o.starts_with("ndots:")) {
        conf.options.push("ndots:0".into());
    }
    write_resolv(&conf)
}

fn servers(host: &[String], mode: ResolvMode, overrides: &ResolvOverrides) -> Vec<String> {
    if mode == ResolvMode::Embedded {
        return vec![EMBEDDED.to_owned()];
    }
    if !overrides.servers.is_empty() {
        return overrides.servers.iter().map(ToString::to_string).collect();
    }
    let reachable = |s: &&String| {
        let addr: Option<IpAddr> = s.split('%').next().and_then(|s| s.parse().ok());
        mode == ResolvMode::Host || addr.is_some_and(|a| !a.is_loopback())
    };
    let kept: Vec<String> = host.iter().filter(reachable).cloned().collect();
    if kept.is_empty() { FALLBACK.iter().map(ToString::to_string).collect() } else { kept }
}

fn write_resolv(conf: &Parsed) -> String {
    let mut text = String::new();
    for server in &conf.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !conf.search.is_empty() {
        let _ = writeln!(text, "search {}", conf.search.join(" "));
    }
    if !conf.options.is_empty() {
        let _ = writeln!(text, "options {}", conf.options.join(" "));
    }
    text
}

/// A container's `/etc/hosts`: the usual entries, those that were asked for, and its own addresses.
#[must_use]
pub fn hosts(hostname: &str, domain: &str, own: &[IpAddr], extra: &[HostsEntry]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for entry in extra {
        let _ = writeln!(text, "{}\t{}", entry.ip, entry.names.join(" "));
    }
    for ip in own {
        if domain.is_empty() {
            let _ = writeln!(text, "{ip}\t{hostname}");
        } else {
            let _ = writeln!(text, "{ip}\t{hostname}.{domain} {hostname}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# made by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.1 # first\nsearch a.example b.example\noptions edns0 trust-ad\n";

    #[test]
    fn host_mode_is_the_hosts_file() {
        assert_eq!(resolv_conf(HOST, ResolvMode::Host, &ResolvOverrides::default()), HOST);
    }

    #[test]
    fn default_bridge_drops_loopback_servers() {
        let text = resolv_conf(HOST, ResolvMode::Filtered, &ResolvOverrides::default());
        assert_eq!(text, "nameserver 192.0.2.1\nsearch a.example b.example\noptions edns0 trust-ad\n");
        let alone = resolv_conf("nameserver 127.0.0.53\n", ResolvMode::Filtered, &ResolvOverrides::default());
        assert_eq!(alone, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    }

    #[test]
    fn embedded_resolver_keeps_search_and_adds_ndots() {
        let text = resolv_conf(HOST, ResolvMode::Embedded, &ResolvOverrides::default());
        assert_eq!(
            text,
            "nameserver 127.0.0.11\nsearch a.example b.example\noptions edns0 trust-ad ndots:0\n"
        );
    }

    #[test]
    fn overrides_replace_what_they_name() {
        let overrides = ResolvOverrides {
            servers: vec!["9.9.9.9".parse().expect("address")],
            search: vec![".".into()],
            options: vec!["ndots:3".into()],
        };
        let text = resolv_conf(HOST, ResolvMode::Filtered, &overrides);
        assert_eq!(text, "nameserver 9.9.9.9\noptions ndots:3\n");
        let text = resolv_conf(HOST, ResolvMode::Embedded, &overrides);
        assert_eq!(text, "nameserver 127.0.0.11\noptions ndots:3\n");
    }

    #[test]
    fn nameservers_keeps_order_and_drops_noise() {
        let found = nameservers("nameserver fe80::1%eth0\nnameserver nonsense\nnameserver 192.0.2.1\n");
        let text: Vec<(String, Option<&str>)> =
            found.iter().map(|server| (server.ip.to_string(), server.zone.as_deref())).collect();
        assert_eq!(text, [("fe80::1".to_owned(), Some("eth0")), ("192.0.2.1".to_owned(), None)]);
    }

    #[test]
    fn hosts_file_names_the_container() {
        let own = ["172.17.0.2".parse().expect("address")];
        let extra = [HostsEntry { ip: "10.0.0.1".parse().expect("address"), names: vec!["db".into()] }];
        let text = hosts("web", "example.org", &own, &extra);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.ends_with("10.0.0.1\tdb\n172.17.0.2\tweb.example.org web\n"), "{text}");
        assert!(hosts("web", "", &own, &[]).ends_with("172.17.0.2\tweb\n"));
    }
}
