//! `network create`.

use std::net::IpAddr;

use dray_client::api::Labels;
use dray_client::api::network::{ConfigReference, Ipam, IpamConfig, NetworkCreateRequest};

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, commas, list, switch, text};
use crate::opts::env::check_label;
use crate::opts::pairs;
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    switch("attachable", NONE, "Let containers be attached by hand"),
    list("aux-address", NONE, "Address that the driver uses (name=address)").shown("map"),
    text("config-from", NONE, "Network to take the configuration from"),
    switch("config-only", NONE, "Keep a configuration only"),
    text("driver", 'd', "Driver of the network").default("bridge"),
    commas("gateway", NONE, "Gateway of the subnet").shown("ipSlice").check(check_addresses),
    switch("ingress", NONE, "Make the routing mesh of a swarm"),
    switch("internal", NONE, "Let nothing go out of it"),
    commas("ip-range", NONE, "Part of the subnet that addresses are taken from")
        .shown("ipNetSlice")
        .check(check_subnets),
    text("ipam-driver", NONE, "Driver that manages addresses").default("default"),
    list("ipam-opt", NONE, "Option of that driver").shown("map"),
    switch("ipv4", NONE, "Assign IPv4 addresses").default("true"),
    switch("ipv6", NONE, "Assign IPv6 addresses"),
    list("label", NONE, "Set a label").check(check_label),
    list("opt", 'o', "Option of the driver").shown("map"),
    text("scope", NONE, "Where it is known"),
    commas("subnet", NONE, "Subnet with its prefix length"),
];

/// `network create`
pub static COMMAND: Command =
    Command::new("create", &["[OPTIONS] NETWORK"], Args::Exactly(1), "Create a network", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS]);

fn check_addresses(value: &str) -> Result<(), String> {
    for part in value.split(',').map(str::trim) {
        part.parse::<IpAddr>()
            .map_err(|_| format!("invalid string being converted to IP address: {part}"))?;
    }
    Ok(())
}

fn check_subnets(value: &str) -> Result<(), String> {
    for part in value.split(',').map(str::trim) {
        Subnet::parse(part).ok_or_else(|| format!("invalid string being converted to CIDR: {part}"))?;
    }
    Ok(())
}

/// A network address with its length.
#[derive(Clone, Copy)]
struct Subnet {
    bits: u128,
    length: u32,
    v6: bool,
}

fn bits_of(ip: IpAddr) -> (u128, bool) {
    match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, false),
        IpAddr::V6(ip) => (u128::from(ip), true),
    }
}

impl Subnet {
    fn parse(text: &str) -> Option<Subnet> {
        let (ip, length) = text.split_once('/')?;
        let (bits, v6) = bits_of(ip.parse().ok()?);
        let length: u32 = length.parse().ok().filter(|l| *l <= if v6 { 128 } else { 32 })?;
        Some(Subnet { bits, length, v6 })
    }

    fn contains(&self, ip: IpAddr) -> bool {
        let (bits, v6) = bits_of(ip);
        let mask = if self.length == 0 { 0 } else { u128::MAX << (128 - self.length) };
        v6 == self.v6 && bits & mask == self.bits & mask
    }

    fn overlaps(&self, other: &Subnet) -> bool {
        let shorter = self.length.min(other.length);
        let mask = if shorter == 0 { 0 } else { u128::MAX << (128 - shorter) };
        self.v6 == other.v6 && self.bits & mask == other.bits & mask
    }
}

fn subnet_of(text: &str) -> Result<Subnet, String> {
    Subnet::parse(text).ok_or_else(|| format!("invalid CIDR address: {text}"))
}

/// Sorts ranges, gateways and addresses into the subnets that hold them.
fn ipam(p: &Parsed) -> Result<Ipam, String> {
    let (subnets, ranges, gateways) = (p.all("subnet"), p.all("ip-range"), p.all("gateway"));
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".into());
    }
    if let [lone] = &subnets[..]
        && Subnet::parse(lone).is_none()
        && ranges.is_empty()
        && gateways.is_empty()
        && p.all("aux-address").is_empty()
    {
        // Nothing is to be sorted into it: what is wrong with it is for the daemon to say.
        return Ok(whole(p, vec![IpamConfig { subnet: lone.clone(), ..IpamConfig::default() }]));
    }
    let mut configs: Vec<(Subnet, IpamConfig)> = Vec::new();
    for text in subnets {
        let subnet = subnet_of(&text)?;
        if configs.iter().any(|(s, _)| s.overlaps(&subnet)) {
            return Err("multiple overlapping subnet configuration is not supported".into());
        }
        configs.push((subnet, IpamConfig { subnet: text, ..IpamConfig::default() }));
    }
    for range in ranges {
        let ip = range.split('/').next().and_then(|ip| ip.parse().ok()).ok_or("invalid ip-range")?;
        let found = configs.iter_mut().find(|(s, _)| s.contains(ip));
        let (_, config) = found.ok_or_else(|| format!("no matching subnet for range {range}"))?;
        if !config.ip_range.is_empty() {
            return Err(format!(
                "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                config.ip_range, config.subnet
            ));
        }
        config.ip_range = range;
    }
    for gateway in gateways {
        let ip = gateway.parse().map_err(|_| format!("invalid gateway: {gateway}"))?;
        let found = configs.iter_mut().find(|(s, _)| s.contains(ip));
        let (_, config) = found.ok_or_else(|| format!("no matching subnet for gateway {gateway}"))?;
        if !config.gateway.is_empty() {
            return Err(format!(
                "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                config.gateway, config.subnet
            ));
        }
        config.gateway = gateway;
    }
    for (name, address) in pairs(&p.all("aux-address")) {
        let found = address.parse().ok().and_then(|ip| configs.iter_mut().find(|(s, _)| s.contains(ip)));
        let (_, config) = found.ok_or_else(|| format!("no matching subnet for aux-address {address}"))?;
        config.auxiliary_addresses.get_or_insert_default().insert(name, address);
    }
    Ok(whole(p, configs.into_iter().map(|(_, c)| c).collect()))
}

fn whole(p: &Parsed, configs: Vec<IpamConfig>) -> Ipam {
    Ipam {
        driver: p.get("ipam-driver").to_owned(),
        options: Some(pairs(&p.all("ipam-opt"))),
        config: Some(configs),
    }
}

async fn run(app: &App, p: Parsed) -> Done {
    let some = |map: Labels| Some(map);
    let from = p.get("config-from");
    let request = NetworkCreateRequest {
        name: p.args[0].clone(),
        driver: p.get("driver").to_owned(),
        scope: p.get("scope").to_owned(),
        enable_ipv4: p.given("ipv4").then(|| p.is("ipv4")),
        enable_ipv6: p.given("ipv6").then(|| p.is("ipv6")),
        ipam: Some(ipam(&p).map_err(Error::Refused)?),
        internal: p.is("internal"),
        attachable: p.is("attachable"),
        ingress: p.is("ingress"),
        config_only: p.is("config-only"),
        config_from: (!from.is_empty()).then(|| ConfigReference { network: from.to_owned() }),
        options: some(pairs(&p.all("opt"))),
        labels: some(pairs(&p.all("label"))),
    };
    let made = app.client()?.network_create(&request).await?;
    if !made.warning.is_empty() {
        app.warn(format!("WARNING: {}", made.warning));
    }
    app.print(format!("{}\n", made.id))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(line: &str) -> Result<Ipam, String> {
        let words = line.split(' ').map(std::ffi::OsString::from);
        ipam(&crate::flag::parse(&[FLAGS], true, words).map_err(|e| e.to_string())?)
    }

    #[test]
    fn addresses_go_to_their_subnets() {
        let ipam = made(
            "--subnet 10.0.0.0/16,fd00::/64 --gateway 10.0.0.1 --gateway fd00::1 --ip-range 10.0.1.0/24 n",
        )
        .unwrap();
        let configs = ipam.config.unwrap();
        assert_eq!((configs[0].gateway.as_str(), configs[0].ip_range.as_str()), ("10.0.0.1", "10.0.1.0/24"));
        assert_eq!(configs[1].gateway, "fd00::1");
        assert_eq!(
            made("--gateway 10.0.0.1 n").unwrap_err(),
            "every ip-range or gateway must have a corresponding subnet"
        );
        assert_eq!(
            made("--subnet 10.0.0.0/8 --gateway 11.0.0.1 n").unwrap_err(),
            "no matching subnet for gateway 11.0.0.1"
        );
        assert!(made("--subnet 10.0.0.0/8 --subnet 10.1.0.0/16 n").unwrap_err().contains("overlapping"));
    }
}
