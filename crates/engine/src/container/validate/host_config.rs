//! The host's part: modes of namespaces, privileges, ports, restart policy.

use dray_api::container::{DeviceRequest, HostConfig, PortMap, RestartPolicy};

use super::capability::normalise;
use super::config::is_port;
use super::{Invalid, resources};
use crate::container::host::Host;
use crate::container::mount;
use crate::log::Driver;

/// Names that `--runtime` may have: all are this program.
const RUNTIMES: &[&str] = &["", "dray", "runc", "io.containerd.runc.v2", "dray-runtime"];

/// Checks the host's part and fills in what Docker fills in before it looks (limits that the kernel
/// lacks are dropped). Gives warnings for the client.
///
/// # Errors
/// For the first thing that cannot be.
pub fn host_config(host_config: &mut HostConfig, host: &Host) -> Result<Vec<String>, Invalid> {
    let mut warnings = Vec::new();
    let given = host_config;
    if given.auto_remove && !matches!(given.restart_policy.name.as_str(), "" | "no") {
        return Err(Invalid::AutoRemoveRestart);
    }
    for mount in given.mounts.iter().flatten() {
        mount::parse_mount(mount)?;
    }
    for bind in given.binds.iter().flatten() {
        mount::parse_bind(bind, &given.volume_driver)?;
    }
    for from in given.volumes_from.iter().flatten() {
        mount::parse_volumes_from(from)?;
    }
    given.tmpfs.iter().flat_map(|tmpfs| tmpfs.keys()).try_for_each(|target| mount::check_target(target))?;
    given.extra_hosts.iter().flatten().try_for_each(|entry| extra_host(entry))?;
    given.port_bindings.as_ref().map_or(Ok(()), ports)?;
    restart_policy(&given.restart_policy)?;
    normalise("CapAdd", given.cap_add.as_deref().unwrap_or_default())?;
    normalise("CapDrop", given.cap_drop.as_deref().unwrap_or_default())?;
    if !matches!(given.isolation.as_str(), "" | "default") {
        return Err(Invalid::Isolation(given.isolation.clone()));
    }
    if given.annotations.iter().any(|annotations| annotations.contains_key("")) {
        return Err(Invalid::Annotation);
    }
    resources(&mut given.resources, host, false, &mut warnings)?;
    modes(given)?;
    if given.shm_size < 0 {
        return Err(Invalid::ShmSize);
    }
    if !(-1000..=1000).contains(&given.oom_score_adj) {
        return Err(Invalid::OomScore(given.oom_score_adj));
    }
    if given.network_mode == "host" && given.port_bindings.iter().any(|ports| !ports.is_empty()) {
        warnings.push("Published ports are discarded when using host network mode".into());
    }
    if !RUNTIMES.contains(&given.runtime.as_str()) {
        return Err(Invalid::Runtime(given.runtime.clone()));
    }
    if given.storage_opt.iter().any(|options| !options.is_empty()) {
        return Err(Invalid::StorageOption);
    }
    devices(given)?;
    sysctls(given)?;
    security_options(given)?;
    Driver::check(&given.log_config.driver, given.log_config.config.as_ref().unwrap_or(&Default::default()))?;
    Ok(warnings)
}

/// Checks a restart policy.
///
/// # Errors
/// For an unknown name, or a count that cannot be.
pub fn restart_policy(policy: &RestartPolicy) -> Result<(), Invalid> {
    match policy.name.as_str() {
        "no" | "always" | "unless-stopped" => match policy.maximum_retry_count {
            0 => Ok(()),
            1.. => Err(Invalid::RestartCount("")),
            _ => Err(Invalid::RestartCount(" and cannot be negative")),
        },
        "on-failure" if policy.maximum_retry_count < 0 => Err(Invalid::RestartCountNegative),
        "on-failure" | "" => Ok(()),
        other => Err(Invalid::RestartPolicy(other.to_owned())),
    }
}

/// What a namespace mode says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// One of its own.
    Private,
    /// The host's.
    Host,
    /// That of the container of this name or id.
    Container(String),
}

/// Reads the mode of a namespace. `shareable` and `none` are private ones, for IPC.
pub fn namespace(mode: &str) -> Namespace {
    match mode.split_once(':') {
        Some(("container", id)) => Namespace::Container(id.to_owned()),
        _ if mode == "host" => Namespace::Host,
        _ => Namespace::Private,
    }
}

fn modes(given: &HostConfig) -> Result<(), Invalid> {
    let valid = |kind, mode: &str, plain: &[&str], join: bool| {
        let joins = join && mode.strip_prefix("container:").is_some_and(|id| !id.is_empty());
        if plain.contains(&mode) || joins {
            Ok(())
        } else {
            Err(Invalid::NamespaceMode { kind, mode: mode.to_owned() })
        }
    };
    valid("IPC", &given.ipc_mode, &["", "none", "private", "shareable", "host"], true)?;
    valid("PID", &given.pid_mode, &["", "host"], true)?;
    valid("UTS", &given.uts_mode, &["", "host"], false)?;
    valid("cgroup namespace", &given.cgroupns_mode, &["", "private", "host"], false)?;
    valid("user namespace", &given.userns_mode, &["", "host"], false)?;
    if let Some(id) = given.network_mode.strip_prefix("container:") {
        if id.is_empty() {
            return Err(Invalid::NetworkContainer);
        }
        if given.links.iter().any(|links| !links.is_empty()) {
            return Err(Invalid::Conflicting(
                "container type network can't be used with links. This would result in undefined behavior",
            ));
        }
        if given.publish_all_ports || given.port_bindings.iter().any(|ports| !ports.is_empty()) {
            return Err(Invalid::Conflicting("port publishing and the container type network mode"));
        }
        if given.dns.iter().any(|dns| !dns.is_empty()) {
            return Err(Invalid::Conflicting("dns and the network mode"));
        }
        if given.extra_hosts.iter().any(|hosts| !hosts.is_empty()) {
            return Err(Invalid::Conflicting("custom host-to-IP mapping and the network mode"));
        }
    }
    if given.network_mode == "host" && given.links.iter().any(|links| !links.is_empty()) {
        return Err(Invalid::Conflicting(
            "host type networking can't be used with links. This would result in undefined behavior",
        ));
    }
    Ok(())
}

fn extra_host(entry: &str) -> Result<(), Invalid> {
    let wrong = || Invalid::ExtraHost(format!("bad format for add-host: \"{entry}\""));
    let at = entry.find(['=', ':']).ok_or_else(wrong)?;
    let (name, address) = (&entry[..at], &entry[at + 1..]);
    if name.is_empty() {
        return Err(wrong());
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if address == "host-gateway" || bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    Err(Invalid::ExtraHost(format!("invalid IP address in add-host: \"{address}\"")))
}

fn ports(ports: &PortMap) -> Result<(), Invalid> {
    for (port, bindings) in ports {
        if !is_port(port) {
            return Err(Invalid::Port(port.clone()));
        }
        for binding in bindings.iter().flatten().filter(|binding| !binding.host_port.is_empty()) {
            let (from, to) =
                binding.host_port.split_once('-').unwrap_or((&binding.host_port, &binding.host_port));
            let range = from.parse::<u16>().ok().zip(to.parse::<u16>().ok());
            if range.is_none_or(|(from, to)| from > to) {
                return Err(Invalid::Port(binding.host_port.clone()));
            }
        }
    }
    Ok(())
}

fn devices(given: &HostConfig) -> Result<(), Invalid> {
    for device in given.resources.devices.iter().flatten() {
        let permissions = device.cgroup_permissions.as_str();
        if !permissions.chars().all(|c| "rwm".contains(c)) {
            let device = device.path_on_host.clone();
            return Err(Invalid::DevicePermissions { device, permissions: permissions.to_owned() });
        }
    }
    for rule in given.resources.device_cgroup_rules.iter().flatten() {
        if crate::container::spec::device_rule(rule).is_none() {
            return Err(Invalid::DeviceRule(rule.clone()));
        }
    }
    let of_cdi = |request: &&DeviceRequest| {
        request.driver == crate::container::spec::CDI && request.device_ids.iter().flatten().next().is_some()
    };
    match given.resources.device_requests.iter().flatten().find(|request| !of_cdi(request)) {
        None => Ok(()),
        Some(request) => {
            let sets = request.capabilities.iter().flatten().map(|set| format!("[{}]", set.join(" ")));
            let capabilities = format!("[{}]", sets.collect::<Vec<_>>().join(" "));
            Err(Invalid::DeviceRequest { driver: request.driver.clone(), capabilities })
        }
    }
}

/// Only kernel parameters that belong to a namespace of the container may be set.
fn sysctls(given: &HostConfig) -> Result<(), Invalid> {
    const IPC: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let host_net = matches!(namespace(&given.network_mode), Namespace::Host | Namespace::Container(_));
    let host_ipc = !matches!(namespace(&given.ipc_mode), Namespace::Private);
    for name in given.sysctls.iter().flat_map(|sysctls| sysctls.keys()) {
        let dotted = name.replace('/', ".");
        let allowed = (dotted.starts_with("net.") && !host_net)
            || ((IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.")) && !host_ipc)
            || (dotted == "kernel.domainname" && given.uts_mode != "host");
        if !allowed || dotted.contains("..") {
            return Err(Invalid::Sysctl(name.clone()));
        }
    }
    Ok(())
}

/// What the security options of a container say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityOptions {
    /// Programs cannot gain rights by setuid or file capabilities.
    pub no_new_privileges: bool,
    /// The cgroup file system is mounted writable.
    pub writable_cgroups: Option<bool>,
    /// The seccomp profile: none given, `unconfined`, `builtin`, or the JSON itself.
    pub seccomp: Option<String>,
}

/// Reads `--security-opt`. Labels and AppArmor profiles are taken and mean nothing here: this
/// kernel's are not used.
///
/// # Errors
/// For an unknown option, a value that is none, or a seccomp profile that cannot be read.
pub fn security_options(given: &HostConfig) -> Result<SecurityOptions, Invalid> {
    let mut read = SecurityOptions::default();
    for option in given.security_opt.iter().flatten() {
        match option.as_str() {
            "no-new-privileges" => read.no_new_privileges = true,
            "writable-cgroups" => read.writable_cgroups = Some(true),
            "disable" => {}
            _ => {
                let at = option.find('=').or_else(|| option.find(':'));
                let at = at.ok_or_else(|| Invalid::SecurityOptionShape(option.clone()))?;
                one_security_option(&mut read, option, &option[..at], &option[at + 1..])?;
            }
        }
    }
    Ok(read)
}

fn one_security_option(
    read: &mut SecurityOptions,
    option: &str,
    key: &str,
    value: &str,
) -> Result<(), Invalid> {
    let wrong = || Invalid::SecurityOption(option.to_owned());
    let flag = || match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(wrong()),
    };
    match key {
        "label" | "apparmor" => {}
        "seccomp" => {
            if !matches!(value, "unconfined" | "builtin" | "") {
                serde_json::from_str::<serde_json::Value>(value)
                    .map_err(|error| Invalid::SeccompProfile(error.to_string()))?;
            }
            read.seccomp = Some(value.to_owned());
        }
        "no-new-privileges" => read.no_new_privileges = flag()?,
        "writable-cgroups" => read.writable_cgroups = Some(flag()?),
        _ => return Err(wrong()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dray_api::container::PortBinding;

    fn refused(edit: impl FnOnce(&mut HostConfig)) -> String {
        let mut given = HostConfig::default();
        edit(&mut given);
        host_config(&mut given, &Host::detect()).unwrap_err().to_string()
    }

    fn list(values: &[&str]) -> Option<Vec<String>> {
        Some(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn an_empty_one_is_fine() {
        assert_eq!(host_config(&mut HostConfig::default(), &Host::detect()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn refuses_in_dockers_words() {
        assert_eq!(
            refused(|h| (h.auto_remove, h.restart_policy.name) = (true, "always".into())),
            "can't create 'AutoRemove' container with restart policy"
        );
        assert_eq!(refused(|h| h.ipc_mode = "bad".into()), "invalid IPC mode: bad");
        assert_eq!(refused(|h| h.pid_mode = "container:".into()), "invalid PID mode: container:");
        assert_eq!(
            refused(|h| h.cap_add = list(&["nope"])),
            "invalid CapAdd: unknown capability: \"CAP_NOPE\""
        );
        assert_eq!(
            refused(|h| h.oom_score_adj = 2000),
            "Invalid value 2000, range for oom score adj is [-1000, 1000]"
        );
        assert_eq!(refused(|h| h.runtime = "kata".into()), "unknown or invalid runtime name: kata");
        assert_eq!(refused(|h| h.extra_hosts = list(&["nope"])), "bad format for add-host: \"nope\"");
        assert_eq!(refused(|h| h.extra_hosts = list(&["a:x"])), "invalid IP address in add-host: \"x\"");
        assert_eq!(refused(|h| h.security_opt = list(&["what=1"])), "invalid --security-opt 2: \"what=1\"");
        assert_eq!(refused(|h| h.binds = list(&["/a:/b:what"])), "invalid mode: what");
        assert_eq!(
            refused(|h| h.sysctls = Some([("vm.swappiness".into(), "1".into())].into())),
            "sysctl 'vm.swappiness' is not allowed as it affects the host, or cannot be set in this container"
        );
        assert_eq!(
            refused(|h| h.restart_policy.name = "sometimes".into()),
            "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        );
        assert_eq!(
            refused(|h| h.log_config.driver = "smoke".into()),
            "error looking up logging plugin smoke: plugin \"smoke\" not found"
        );
    }

    #[test]
    fn ports_and_ranges() {
        let bound = |port: &str, host: &str| {
            let binding = PortBinding { host_port: host.into(), ..PortBinding::default() };
            Some(PortMap::from([(port.to_owned(), Some(vec![binding]))]))
        };
        assert_eq!(
            refused(|h| h.port_bindings = bound("80/xyz", "1")),
            "invalid port specification: \"80/xyz\""
        );
        assert_eq!(
            refused(|h| h.port_bindings = bound("80/tcp", "99999")),
            "invalid port specification: \"99999\""
        );
        let mut fine = HostConfig { port_bindings: bound("80/tcp", "8000-8010"), ..HostConfig::default() };
        assert!(host_config(&mut fine, &Host::detect()).is_ok());
    }

    #[test]
    fn security() {
        let options = list(&["no-new-privileges:true", "seccomp=unconfined", "label=disable", "apparmor=x"]);
        let read = security_options(&HostConfig { security_opt: options, ..HostConfig::default() }).unwrap();
        assert!(read.no_new_privileges && read.seccomp.as_deref() == Some("unconfined"));
        assert!(
            refused(|h| h.security_opt = list(&["seccomp={"])).starts_with("Decoding seccomp profile failed")
        );
        assert_eq!(refused(|h| h.security_opt = list(&["plain"])), "invalid --security-opt 1: \"plain\"");
    }
}
