//! Which proxy a registry is reached through: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` with the meaning
//! that Docker's daemon gives them. Pure: the environment is read in [`ProxyConfig::from_env`] only.

use std::net::IpAddr;

use base64::Engine as _;
use url::Url;

use crate::config::{Cidr, host_name, is_loopback, parse_ip};

/// The proxies for plain and for TLS connections, and the hosts to reach without.
#[derive(Debug, Clone, Default)]
pub struct ProxyConfig {
    http: Option<Proxy>,
    https: Option<Proxy>,
    bypass: Vec<Bypass>,
}

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `name:port` to connect to.
    pub(crate) authority: String,
    /// Value of `Proxy-Authorization`, from the URL's user and password.
    pub(crate) authorization: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("authority", &self.authority)
            .field("authorization", &self.authorization.as_ref().map(|_| "…"))
            .finish()
    }
}

#[derive(Debug, Clone)]
enum Bypass {
    All,
    Net(Cidr),
    Ip(IpAddr, Option<u16>),
    /// `foo.test` means itself and all below it, `.foo.test` only all below it.
    Domain {
        suffix: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl ProxyConfig {
    /// Reads the variables of the environment, upper or lower case.
    pub fn from_env() -> Self {
        let var = |name: &str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .iter()
                .find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()))
                .unwrap_or_default()
        };
        Self::new(&var("HTTP_PROXY"), &var("HTTPS_PROXY"), &var("NO_PROXY"))
    }

    /// Makes it from the variables' values; an empty one means none.
    pub fn new(http: &str, https: &str, no_proxy: &str) -> Self {
        ProxyConfig {
            http: parse_proxy(http),
            https: parse_proxy(https),
            bypass: no_proxy
                .split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .filter_map(parse_bypass)
                .collect(),
        }
    }

    /// The proxy for a connection to `host[:port]`, if any. Loopback is never proxied.
    pub(crate) fn for_host(&self, tls: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if tls { self.https.as_ref() } else { self.http.as_ref() }?;
        let name = host_name(host);
        let bypassed = is_loopback(name) || self.bypass.iter().any(|rule| rule.matches(name, port));
        (!bypassed).then_some(proxy)
    }
}

/// Only HTTP proxies are spoken to; a proxy with another scheme is reported and not used.
fn parse_proxy(value: &str) -> Option<Proxy> {
    if value.is_empty() {
        return None;
    }
    let text = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&text).ok()?;
    if url.scheme() != "http" {
        tracing::warn!(scheme = url.scheme(), "proxy ignored: only http:// proxies are supported");
        return None;
    }
    let authority = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
    let decode = |s: &str| percent_encoding::percent_decode_str(s).decode_utf8_lossy().into_owned();
    let authorization = (!url.username().is_empty()).then(|| {
        let pair = format!("{}:{}", decode(url.username()), decode(url.password().unwrap_or_default()));
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    });
    Some(Proxy { authority, authorization })
}

fn parse_bypass(entry: &str) -> Option<Bypass> {
    if entry == "*" {
        return Some(Bypass::All);
    }
    if let Some(net) = Cidr::parse(entry) {
        return Some(Bypass::Net(net));
    }
    let name = host_name(entry);
    let port = entry.rsplit_once(':').filter(|_| name.len() < entry.len()).and_then(|(_, p)| p.parse().ok());
    if let Some(ip) = parse_ip(name) {
        return Some(Bypass::Ip(ip, port));
    }
    let lower = name.to_ascii_lowercase();
    let bare = lower.trim_start_matches('*');
    match bare.strip_prefix('.') {
        Some("") => None,
        Some(rest) => Some(Bypass::Domain { suffix: rest.to_owned(), itself: false, port }),
        None => Some(Bypass::Domain { suffix: bare.to_owned(), itself: true, port }),
    }
}

impl Bypass {
    fn matches(&self, name: &str, at: u16) -> bool {
        match self {
            Bypass::All => true,
            Bypass::Net(net) => parse_ip(name).is_some_and(|ip| net.contains(ip)),
            Bypass::Ip(ip, port) => parse_ip(name) == Some(*ip) && port.is_none_or(|p| p == at),
            Bypass::Domain { suffix, itself, port } => {
                let name = name.to_ascii_lowercase();
                let below = name.strip_suffix(suffix.as_str()).is_some_and(|head| head.ends_with('.'));
                port.is_none_or(|p| p == at) && (below || (*itself && name == *suffix))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(no_proxy: &str, host: &str, port: u16) -> bool {
        ProxyConfig::new("proxy.test:3128", "http://proxy.test:3128", no_proxy)
            .for_host(true, host, port)
            .is_some()
    }

    #[test]
    fn no_proxy_names_hosts_domains_networks_and_ports() {
        assert!(proxied("", "reg.test", 443));
        assert!(!proxied("*", "reg.test", 443));
        assert!(!proxied("other, reg.test", "reg.test", 443));
        assert!(!proxied("reg.test", "a.reg.test", 443));
        assert!(proxied(".reg.test", "reg.test", 443));
        assert!(!proxied(".reg.test", "a.reg.test", 443));
        assert!(!proxied("*.reg.test", "a.reg.test", 443));
        assert!(proxied("reg.test", "areg.test", 443));
        assert!(!proxied("reg.test:5000", "reg.test", 5000));
        assert!(proxied("reg.test:5000", "reg.test", 443));
        assert!(!proxied("10.0.0.0/8", "10.1.2.3", 443));
        assert!(!proxied("10.1.2.3", "10.1.2.3", 443));
        assert!(proxied("10.1.2.3", "10.1.2.4", 443));
    }

    #[test]
    fn loopback_is_reached_directly() {
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            assert!(!proxied("", host, 5000), "{host}");
        }
    }

    #[test]
    fn credentials_of_the_url_are_sent_but_not_shown() {
        let config = ProxyConfig::new("", "http://us%40er:se%3Acret@proxy.test:3128", "");
        let proxy = config.for_host(true, "reg.test", 443).unwrap();
        assert_eq!(proxy.authority, "proxy.test:3128");
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dXNAZXI6c2U6Y3JldA=="));
        assert!(!format!("{proxy:?}").contains("dXNA"));
        assert!(config.for_host(false, "reg.test", 80).is_none());
    }

    #[test]
    fn other_kinds_of_proxies_are_not_used() {
        assert!(
            ProxyConfig::new("", "socks5://proxy.test:1080", "").for_host(true, "reg.test", 443).is_none()
        );
    }
}
