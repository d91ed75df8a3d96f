//! `daemon.json` as flags.

use serde_json::{Map, Value};

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{0}")]
    Read(std::io::Error),
    /// It is no JSON object.
    #[error("{0}")]
    Syntax(serde_json::Error),
    /// Keys that no option has.
    #[error("the following directives don't match any configuration option: {}", .0.join(", "))]
    Unknown(Vec<String>),
    /// Keys that are flags too.
    #[error(
        "the following directives are specified both as a flag and in the configuration file: {}",
        .0.join(", ")
    )]
    Conflict(Vec<String>),
    /// A value of the wrong type.
    #[error("{key}: expected {expected}")]
    Type {
        /// The key.
        key: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A value that the option does not take.
    #[error("{0}")]
    Value(clap::Error),
}

/// What a key's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    /// A flag without a value.
    Switch,
    /// A flag that takes `=true` and `=false`.
    Bool,
    List,
    Map,
    /// Options by driver: `{"bridge": {"key": "value"}}`.
    Maps,
    Pools,
    TextOrNumber,
    /// Limits by name: `{"nofile": {"Name": "nofile", "Soft": 1, "Hard": 2}}`.
    Ulimits,
    /// Names that are true or false.
    Truths,
    /// Docker's `{"gc": {"enabled": …, "policy": […]}}`.
    Builder,
    /// No flag: Dray does what this value says, and cannot do the other.
    Only(bool),
    /// No flag: true or false make no difference.
    Any,
}

/// Key in the file, flag, field of `Config`, kind.
const OPTIONS: &[(&str, &str, &str, Kind)] = &[
    ("data-root", "data-root", "data_root", Kind::Text),
    ("run-root", "run-root", "run_root", Kind::Text),
    ("exec-root", "run-root", "run_root", Kind::Text),
    ("hosts", "host", "hosts", Kind::List),
    ("group", "group", "group", Kind::Text),
    ("pidfile", "pidfile", "pidfile", Kind::Text),
    ("debug", "debug", "debug", Kind::Switch),
    ("log-level", "log-level", "log_level", Kind::Text),
    ("tls", "tls", "tls", Kind::Bool),
    ("tlsverify", "tlsverify", "tlsverify", Kind::Bool),
    ("tlscacert", "tlscacert", "tlscacert", Kind::Text),
    ("tlscert", "tlscert", "tlscert", Kind::Text),
    ("tlskey", "tlskey", "tlskey", Kind::Text),
    ("allow-insecure-tcp", "allow-insecure-tcp", "allow_insecure_tcp", Kind::Switch),
    ("bridge", "bridge", "bridge", Kind::Text),
    ("bip", "bip", "bip", Kind::Text),
    ("bip6", "bip6", "bip6", Kind::Text),
    ("ipv6", "ipv6", "ipv6", Kind::Bool),
    ("fixed-cidr", "fixed-cidr", "fixed_cidr", Kind::Text),
    ("fixed-cidr-v6", "fixed-cidr-v6", "fixed_cidr_v6", Kind::Text),
    ("default-gateway", "default-gateway", "default_gateway", Kind::Text),
    ("default-gateway-v6", "default-gateway-v6", "default_gateway_v6", Kind::Text),
    ("icc", "icc", "icc", Kind::Bool),
    ("ip-masq", "ip-masq", "ip_masq", Kind::Bool),
    ("ip", "ip", "ip", Kind::Text),
    ("default-network-opts", "default-network-opt", "default_network_opts", Kind::Maps),
    ("default-address-pools", "default-address-pool", "default_address_pools", Kind::Pools),
    ("mtu", "mtu", "mtu", Kind::Number),
    ("publish-mode", "publish-mode", "publish_mode", Kind::Text),
    ("dns", "dns", "dns", Kind::List),
    ("dns-opts", "dns-opt", "dns_opts", Kind::List),
    ("dns-search", "dns-search", "dns_search", Kind::List),
    ("host-gateway-ip", "host-gateway-ip", "host_gateway_ips", Kind::Text),
    ("host-gateway-ips", "host-gateway-ip", "host_gateway_ips", Kind::List),
    ("insecure-registries", "insecure-registry", "insecure_registries", Kind::List),
    ("registry-mirrors", "registry-mirror", "registry_mirrors", Kind::List),
    ("certs-dirs", "certs-dir", "certs_dirs", Kind::List),
    ("trust-policy", "trust-policy", "trust_policy", Kind::Text),
    ("max-concurrent-downloads", "max-concurrent-downloads", "max_concurrent_downloads", Kind::Number),
    ("max-concurrent-uploads", "max-concurrent-uploads", "max_concurrent_uploads", Kind::Number),
    ("max-download-attempts", "max-download-attempts", "max_download_attempts", Kind::Number),
    ("trust-host-ca", "trust-host-ca", "trust_host_ca", Kind::Switch),
    ("plugin-dirs", "plugin-dir", "plugin_dirs", Kind::List),
    ("labels", "label", "labels", Kind::List),
    ("log-driver", "log-driver", "log_driver", Kind::Text),
    ("log-opts", "log-opt", "log_opts", Kind::Map),
    ("storage-driver", "storage-driver", "storage_driver", Kind::Text),
    ("live-restore", "live-restore", "live_restore", Kind::Bool),
    ("shutdown-timeout", "shutdown-timeout", "shutdown_timeout", Kind::Number),
    ("init", "init", "init", Kind::Switch),
    ("default-shm-size", "default-shm-size", "default_shm_size", Kind::TextOrNumber),
    ("default-ulimits", "default-ulimit", "default_ulimits", Kind::Ulimits),
    ("default-ipc-mode", "default-ipc-mode", "default_ipc_mode", Kind::Text),
    ("default-cgroupns-mode", "default-cgroupns-mode", "default_cgroupns_mode", Kind::Text),
    ("cgroup-parent", "cgroup-parent", "cgroup_parent", Kind::Text),
    ("no-new-privileges", "no-new-privileges", "no_new_privileges", Kind::Switch),
    ("seccomp-profile", "seccomp-profile", "seccomp_profile", Kind::Text),
    ("default-runtime", "default-runtime", "default_runtime", Kind::Text),
    ("features", "feature", "features", Kind::Truths),
    ("cdi-spec-dirs", "cdi-spec-dir", "cdi_spec_dirs", Kind::List),
    ("builder", "builder-gc", "builder_gc", Kind::Builder),
    ("exec-opts", "exec-opt", "exec_opts", Kind::List),
    ("userland-proxy", "", "", Kind::Only(false)),
    ("experimental", "", "", Kind::Any),
    ("iptables", "", "", Kind::Only(true)),
    ("ip6tables", "", "", Kind::Only(true)),
    ("ip-forward", "", "", Kind::Only(true)),
    ("selinux-enabled", "", "", Kind::Only(false)),
    ("raw-logs", "", "", Kind::Any),
];

/// The file's content as flags. `given` says whether a field was set on the command line, `shown` as
/// what.
pub(super) fn flags(
    text: &str,
    given: impl Fn(&str) -> bool,
    shown: impl Fn(&str) -> String,
) -> Result<Vec<String>, FileError> {
    let file: Map<String, Value> = serde_json::from_str(text).map_err(FileError::Syntax)?;
    let option = |key: &str| OPTIONS.iter().find(|(name, ..)| *name == key);
    let unknown: Vec<String> = file.keys().filter(|key| option(key).is_none()).cloned().collect();
    if !unknown.is_empty() {
        return Err(FileError::Unknown(unknown));
    }
    let (mut flags, mut conflicts) = (Vec::new(), Vec::new());
    for (key, value) in &file {
        let Some((_, flag, field, kind)) = option(key) else { continue };
        if !field.is_empty() && given(field) {
            let from_file = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            conflicts.push(format!("{key}: (from flag: {}, from file: {from_file})", shown(field)));
        }
        add(&mut flags, key, flag, *kind, value)?;
    }
    if conflicts.is_empty() { Ok(flags) } else { Err(FileError::Conflict(conflicts)) }
}

fn add(flags: &mut Vec<String>, key: &str, flag: &str, kind: Kind, value: &Value) -> Result<(), FileError> {
    let wrong = |expected| FileError::Type { key: key.to_owned(), expected };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match kind {
        Kind::Only(only) => {
            if value.as_bool().ok_or_else(|| wrong("a boolean"))? != only {
                return Err(wrong(if only {
                    "true, since Dray has nothing else"
                } else {
                    "false, since Dray has none"
                }));
            }
        }
        Kind::Any => value.as_bool().map(drop).ok_or_else(|| wrong("a boolean"))?,
        Kind::TextOrNumber => {
            let text = text(value).or_else(|| value.as_u64().map(|number| number.to_string()));
            flags.push(format!("--{flag}={}", text.ok_or_else(|| wrong("a string"))?));
        }
        Kind::Truths => {
            for (name, item) in value.as_object().ok_or_else(|| wrong("an object of booleans"))? {
                let item = item.as_bool().ok_or_else(|| wrong("an object of booleans"))?;
                flags.push(format!("--{flag}={name}={item}"));
            }
        }
        Kind::Builder => {
            let rules = builder_rules(value).ok_or_else(|| wrong("an object with gc: enabled, policy"))?;
            flags.extend(rules.into_iter().map(|rule| format!("--{flag}={rule}")));
            let limits =
                history_limits(value).ok_or_else(|| wrong("an object with history: maxEntries, maxAge"))?;
            flags.extend(limits.map(|limits| format!("--builder-history={limits}")));
        }
        Kind::Ulimits => {
            let expected = "an object of limits with Name, Soft and Hard";
            for (key, limit) in value.as_object().ok_or_else(|| wrong(expected))? {
                let name = limit["Name"].as_str().unwrap_or(key);
                let (Some(soft), Some(hard)) = (limit["Soft"].as_i64(), limit["Hard"].as_i64()) else {
                    return Err(wrong(expected));
                };
                flags.push(format!("--{flag}={name}={soft}:{hard}"));
            }
        }
        Kind::Text => flags.push(format!("--{flag}={}", text(value).ok_or_else(|| wrong("a string"))?)),
        Kind::Number => flags.push(format!("--{flag}={}", value.as_i64().ok_or_else(|| wrong("a number"))?)),
        Kind::Bool => flags.push(format!("--{flag}={}", value.as_bool().ok_or_else(|| wrong("a boolean"))?)),
        Kind::Switch => {
            if value.as_bool().ok_or_else(|| wrong("a boolean"))? {
                flags.push(format!("--{flag}"));
            }
        }
        Kind::List => {
            for item in value.as_array().ok_or_else(|| wrong("a list of strings"))? {
                flags.push(format!("--{flag}={}", text(item).ok_or_else(|| wrong("a list of strings"))?));
            }
        }
        Kind::Map => {
            for (name, item) in value.as_object().ok_or_else(|| wrong("an object of strings"))? {
                let item = text(item).ok_or_else(|| wrong("an object of strings"))?;
                flags.push(format!("--{flag}={name}={item}"));
            }
        }
        Kind::Maps => {
            let expected = "an object of objects of strings";
            for (name, options) in value.as_object().ok_or_else(|| wrong(expected))? {
                for (key, item) in options.as_object().ok_or_else(|| wrong(expected))? {
                    let item = text(item).ok_or_else(|| wrong(expected))?;
                    flags.push(format!("--{flag}={name}={key}={item}"));
                }
            }
        }
        Kind::Pools => {
            let expected = "a list of objects with base and size";
            for pool in value.as_array().ok_or_else(|| wrong(expected))? {
                let (Some(base), Some(size)) = (pool["base"].as_str(), pool["size"].as_u64()) else {
                    return Err(wrong(expected));
                };
                flags.push(format!("--{flag}=base={base},size={size}"));
            }
        }
    }
    Ok(())
}

/// The limits of `builder.history`, as the flag has them; none if it says nothing. A time that is a number is in
/// seconds, as BuildKit takes it.
fn history_limits(value: &Value) -> Option<Option<String>> {
    let Some(history) = value.get("history").filter(|history| !history.is_null()) else { return Some(None) };
    let history = history.as_object()?;
    let mut fields = Vec::new();
    for (name, value) in history {
        fields.push(match (name.to_lowercase().as_str(), value) {
            ("maxentries", Value::Number(number)) => format!("max-entries={number}"),
            ("maxage", Value::Number(number)) => format!("max-age={number}s"),
            ("maxage", Value::String(text)) => format!("max-age={text}"),
            _ => return None,
        });
    }
    Some(Some(fields.join(",")).filter(|limits| !limits.is_empty()))
}

/// The rules of `builder.gc`, as flags have them. `default…` fields make one of their own.
fn builder_rules(value: &Value) -> Option<Vec<String>> {
    let builder = value.as_object()?;
    let Some(gc) = builder.get("gc") else { return Some(Vec::new()) };
    let gc = gc.as_object()?;
    if gc.get("enabled").is_some_and(|enabled| enabled == &Value::Bool(false)) {
        return Some(vec!["off".to_owned()]);
    }
    const SPACES: [(&str, &str); 4] = [
        ("keepStorage", "reserved-space"),
        ("reservedSpace", "reserved-space"),
        ("maxUsedSpace", "max-used-space"),
        ("minFreeSpace", "min-free-space"),
    ];
    let mut rules = Vec::new();
    for rule in gc.get("policy").map_or(Some(&Vec::new()), Value::as_array)? {
        let rule = rule.as_object()?;
        let mut fields = Vec::new();
        if rule.get("all").is_some_and(|all| all == &Value::Bool(true)) {
            fields.push("all=true".to_owned());
        }
        for (name, field) in SPACES.iter().chain(&[("keepDuration", "keep-duration")]) {
            if let Some(text) = rule.get(*name) {
                fields.push(format!("{field}={}", text.as_str()?));
            }
        }
        for filter in rule.get("filter").map_or(Some(&Vec::new()), Value::as_array)? {
            // A time in the filter is the rule's own.
            let filter = filter.as_str()?;
            fields.push(match filter.strip_prefix("unused-for=") {
                Some(duration) => format!("keep-duration={duration}"),
                None => format!("filter={filter}"),
            });
        }
        rules.push(fields.join(","));
    }
    let spaces = SPACES.iter().filter_map(|(name, field)| {
        let name = format!("default{}{}", name[..1].to_uppercase(), &name[1..]);
        Some(format!("{field}={}", gc.get(&name)?.as_str()?))
    });
    let usual: Vec<String> = spaces.collect();
    if rules.is_empty() && !usual.is_empty() {
        rules.push(usual.join(","));
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_s_rules_for_the_build_cache_are_flags() {
        let flags = |text: &str| flags(text, |_| false, |_| String::new());
        let policy = r#"{"builder":{"gc":{"enabled":true,"policy":[
            {"keepStorage":"512MB","filter":["unused-for=168h","type==exec.cachemount"]},
            {"maxUsedSpace":"50GB","all":true}]}}}"#;
        let expected = [
            "--builder-gc=reserved-space=512MB,keep-duration=168h,filter=type==exec.cachemount",
            "--builder-gc=all=true,max-used-space=50GB",
        ];
        assert_eq!(flags(policy).unwrap(), expected);
        assert_eq!(flags(r#"{"builder":{"gc":{"enabled":false}}}"#).unwrap(), ["--builder-gc=off"]);
        let history = r#"{"builder":{"history":{"maxAge":"12h","maxEntries":7}}}"#;
        assert_eq!(flags(history).unwrap(), ["--builder-history=max-age=12h,max-entries=7"]);
        assert!(matches!(flags(r#"{"builder":{"history":{"x":1}}}"#), Err(FileError::Type { .. })));
        let usual = r#"{"builder":{"gc":{"defaultMaxUsedSpace":"20GB"}}}"#;
        assert_eq!(flags(usual).unwrap(), ["--builder-gc=max-used-space=20GB"]);
        assert!(matches!(flags(r#"{"builder":[]}"#), Err(FileError::Type { .. })));
    }
}
