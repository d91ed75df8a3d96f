//! What a client is told when it is made: which registries may be spoken to without verified TLS, extra
//! certificate authorities, mirrors, proxies, time limits and how often to try again.
//!
//! Nothing here reads the environment by itself; [`ClientConfig::from_env`] does, once, when the caller asks.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use crate::pace::Pace;
use crate::proxy::ProxyConfig;

/// How a [`crate::Client`] behaves. `Default` is Docker's behaviour without any configuration.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Registries which may be spoken to over plain HTTP or TLS with an unknown certificate, besides
    /// loopback, which always may.
    pub insecure: Vec<InsecureRegistry>,
    /// PEM bundles of certificate authorities trusted besides the host's.
    pub ca_certs: Vec<Vec<u8>>,
    /// Base URLs asked before a registry for its images, in this order: `https://mirror` for Docker Hub,
    /// `registry=https://mirror` for another.
    pub mirrors: Vec<String>,
    /// Folders with a `certs.d` tree: authorities, client certificates and mirrors of single registries.
    pub certs_dirs: Vec<std::path::PathBuf>,
    /// Value of the `User-Agent` header.
    pub user_agent: String,
    /// Proxies to reach registries through.
    pub proxy: ProxyConfig,
    /// Limit for making one TCP connection.
    pub connect_timeout: Duration,
    /// Limit for the silence of a registry while an answer or a body is awaited.
    pub idle_timeout: Duration,
    /// How much of a body must at least come in a while; one that comes slower counts as interrupted.
    pub pace: Pace,
    /// How often and how fast a request is tried again.
    pub retry: RetryPolicy,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            insecure: Vec::new(),
            ca_certs: Vec::new(),
            mirrors: Vec::new(),
            certs_dirs: Vec::new(),
            user_agent: concat!("dray/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy: ProxyConfig::default(),
            connect_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
            pace: Pace::default(),
            retry: RetryPolicy::default(),
        }
    }
}

impl ClientConfig {
    /// The defaults with the proxies named by `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (either case).
    pub fn from_env() -> Self {
        ClientConfig { proxy: ProxyConfig::from_env(), ..Self::default() }
    }

    /// The mirrors of Docker Hub.
    pub fn hub_mirrors(&self) -> Vec<String> {
        self.mirrors.iter().filter(|mirror| !is_of_another(mirror)).cloned().collect()
    }

    /// Whether `host` (`name[:port]`) may be spoken to over plain HTTP or unverified TLS.
    pub fn is_insecure(&self, host: &str) -> bool {
        is_loopback(host_name(host)) || self.insecure.iter().any(|rule| rule.matches(host))
    }
}

/// Whether a mirror is written `registry=https://mirror`.
pub(crate) fn is_of_another(mirror: &str) -> bool {
    mirror.split_once('=').is_some_and(|(domain, url)| !domain.contains('/') && url.contains("://"))
}

/// Attempts and pauses of a request which fails for a reason that may pass.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// How many times a request is sent at most.
    pub attempts: u32,
    /// Pause before the second attempt; each further pause is twice as long, with jitter.
    pub base: Duration,
    /// Longest pause, also for a `Retry-After` that the registry asks for: a longer one fails at once.
    pub max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy { attempts: 5, base: Duration::from_millis(250), max: Duration::from_secs(30) }
    }
}

impl RetryPolicy {
    /// Pause before attempt number `attempt` (the first retry is 1): exponential, between half and all of
    /// the step, so that many clients don't come back at the same moment.
    pub fn pause(&self, attempt: u32) -> Duration {
        let step = self.base.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(self.max);
        step.mul_f64(0.5 + 0.5 * random_fraction())
    }
}

/// A number in `0..1` from the standard library's per-process random hash keys: enough for jitter.
fn random_fraction() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::hash::RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// One entry of `--insecure-registry`: `host`, `host:port` or a CIDR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsecureRegistry {
    /// A host as it stands in a reference; without a port it means any port.
    Host(String),
    /// All registries whose address, written as a literal, lies in this network.
    Cidr(Cidr),
}

impl InsecureRegistry {
    fn matches(&self, host: &str) -> bool {
        match self {
            InsecureRegistry::Host(rule) => {
                rule.eq_ignore_ascii_case(host) || rule.eq_ignore_ascii_case(host_name(host))
            }
            InsecureRegistry::Cidr(net) => parse_ip(host_name(host)).is_some_and(|ip| net.contains(ip)),
        }
    }
}

/// Why an entry of `--insecure-registry` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("insecure registry {value} is not valid: {reason}")]
pub struct InvalidInsecureRegistry {
    /// What was given.
    pub value: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for InsecureRegistry {
    type Err = InvalidInsecureRegistry;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| InvalidInsecureRegistry { value: value.to_owned(), reason };
        let host = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://")).unwrap_or(value);
        if host.contains("://") {
            return Err(refuse("insecure registry should not contain '://'"));
        }
        if host.is_empty() {
            return Err(refuse("it is empty"));
        }
        if let Some(net) = Cidr::parse(host) {
            return Ok(InsecureRegistry::Cidr(net));
        }
        if host.contains(|c: char| c == '/' || c.is_whitespace()) {
            return Err(refuse("neither a host, a host with a port nor a CIDR"));
        }
        Ok(InsecureRegistry::Host(host.to_ascii_lowercase()))
    }
}

/// An IP network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl Cidr {
    /// Reads `10.0.0.0/8`; `None` when it isn't a network.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (base, prefix) = text.split_once('/')?;
        let base: IpAddr = base.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        (prefix <= if base.is_ipv4() { 32 } else { 128 }).then_some(Cidr { base, prefix })
    }

    /// Whether `ip` lies in the network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                same_prefix(base.to_bits().into(), ip.to_bits().into(), 32 - u32::from(self.prefix))
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                same_prefix(base.to_bits(), ip.to_bits(), 128 - u32::from(self.prefix))
            }
            _ => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, host_bits: u32) -> bool {
    a.checked_shr(host_bits).unwrap_or(0) == b.checked_shr(host_bits).unwrap_or(0)
}

/// The name or address in `host[:port]`, without brackets around an IPv6 address.
pub(crate) fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Reads an address literal, mapped IPv4 addresses as IPv4.
pub(crate) fn parse_ip(name: &str) -> Option<IpAddr> {
    match name.parse().ok()? {
        IpAddr::V6(ip) => Some(unmapped(ip)),
        ip => Some(ip),
    }
}

fn unmapped(ip: Ipv6Addr) -> IpAddr {
    ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
}

/// Whether `name` (without port) is this machine: `localhost`, 127.0.0.0/8 or `::1`.
pub(crate) fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || parse_ip(name).is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rules: &[&str]) -> ClientConfig {
        ClientConfig { insecure: rules.iter().map(|r| r.parse().unwrap()).collect(), ..Default::default() }
    }

    #[test]
    fn loopback_is_always_insecure() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "::1"] {
            assert!(config(&[]).is_insecure(host), "{host}");
        }
        for host in ["example.test", "localhost.example.test:5000", "10.0.0.1:5000", "[2001:db8::1]:5000"] {
            assert!(!config(&[]).is_insecure(host), "{host}");
        }
    }

    #[test]
    fn rules_name_a_host_a_port_or_a_network() {
        let c = config(&["reg.test", "other.test:5000", "10.1.0.0/16", "2001:db8::/32", "http://third.test"]);
        for host in
            ["reg.test", "reg.test:1", "other.test:5000", "10.1.2.3:80", "[2001:db8::7]:1", "third.test"]
        {
            assert!(c.is_insecure(host), "{host}");
        }
        for host in ["a.reg.test", "other.test:5001", "other.test", "10.2.0.1", "[2001:db9::7]:1"] {
            assert!(!c.is_insecure(host), "{host}");
        }
    }

    #[test]
    fn bad_rules_are_refused_with_their_text() {
        let error = "ftp://x".parse::<InsecureRegistry>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "insecure registry ftp://x is not valid: insecure registry should not contain '://'"
        );
        assert!("a/b".parse::<InsecureRegistry>().is_err());
        assert!("".parse::<InsecureRegistry>().is_err());
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let policy =
            RetryPolicy { attempts: 9, base: Duration::from_millis(100), max: Duration::from_secs(1) };
        for (attempt, upper) in [(1, 100), (2, 200), (3, 400), (5, 1000), (60, 1000)] {
            let pause = policy.pause(attempt).as_millis();
            assert!(pause <= upper && pause >= upper / 2, "attempt {attempt}: {pause} ms");
        }
    }
}
