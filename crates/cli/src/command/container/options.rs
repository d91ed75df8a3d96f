//! The flags of `run` and `create`, and the create request that they make.

use std::collections::BTreeMap;

use dray_client::api::container::{
    ContainerConfig, ContainerCreateRequest, DeviceRequest, HealthConfig, HostConfig, LogConfig,
    NetworkingConfig, Resources,
};

use crate::command_error::Sys;
use crate::flag::{Flag, NONE, Parsed, bytes, duration, int, list, switch, text};
use crate::opts::network::Attachment;
use crate::opts::{device, env, host, limit, mount, network, pairs, port, volume};

/// Flags of a container, in the order of their names.
pub const FLAGS: &[Flag] = &[
    list("add-host", NONE, "Add a line to the container's hosts file (name:address)")
        .check(host::check_extra_host),
    list("annotation", NONE, "Add an annotation, which the OCI runtime gets to see").shown("map"),
    list("attach", 'a', "Attach to STDIN, STDOUT or STDERR").check(host::check_attach),
    int("blkio-weight", NONE, "Weight of block I/O, from 10 to 1000, 0 for none")
        .shown("uint16")
        .default("0"),
    list("blkio-weight-device", NONE, "Weight of block I/O on one device")
        .check(|v| limit::weight(v).map(|_| ())),
    list("cap-add", NONE, "Add a Linux capability"),
    list("cap-drop", NONE, "Drop a Linux capability"),
    text("cgroup-parent", NONE, "Cgroup to make the container's in"),
    text("cgroupns", NONE, "Cgroup namespace: host or private; empty for the daemon's default"),
    text("cidfile", NONE, "Write the container's id to this file"),
    int("cpu-count", NONE, "Number of CPUs (Windows)").default("0").hidden(),
    int("cpu-percent", NONE, "Share of the CPUs (Windows)").default("0").hidden(),
    int("cpu-period", NONE, "Period of the CPU quota in microseconds").default("0"),
    int("cpu-quota", NONE, "CPU time per period in microseconds").default("0"),
    int("cpu-rt-period", NONE, "Period of real-time scheduling in microseconds").default("0"),
    int("cpu-rt-runtime", NONE, "Real-time CPU time per period in microseconds").default("0"),
    int("cpu-shares", 'c', "CPU weight, relative to other containers").default("0"),
    text("cpus", NONE, "How many CPUs it may use").shown("decimal").check(limit::check_cpus),
    text("cpuset-cpus", NONE, "CPUs that it may run on (0-3, 0,1)"),
    text("cpuset-mems", NONE, "Memory nodes that it may use (0-3, 0,1)"),
    list("device", NONE, "Add a device of the host"),
    list("device-cgroup-rule", NONE, "Add a rule on devices to its cgroup").check(device::check_cgroup_rule),
    list("device-read-bps", NONE, "Limit bytes read per second from a device")
        .check(|v| limit::bytes_rate(v).map(|_| ())),
    list("device-read-iops", NONE, "Limit reads per second from a device")
        .check(|v| limit::operations_rate(v).map(|_| ())),
    list("device-write-bps", NONE, "Limit bytes written per second to a device")
        .check(|v| limit::bytes_rate(v).map(|_| ())),
    list("device-write-iops", NONE, "Limit writes per second to a device")
        .check(|v| limit::operations_rate(v).map(|_| ())),
    switch("disable-content-trust", NONE, "Kept for old scripts").default("true").hidden(),
    list("dns", NONE, "Ask this DNS server").check(host::check_ip),
    list("dns-opt", NONE, "Option of the resolver").hidden(),
    list("dns-option", NONE, "Option of the resolver"),
    list("dns-search", NONE, "Domain to search names in").check(host::check_dns_search),
    text("domainname", NONE, "NIS domain name"),
    text("entrypoint", NONE, "Program to run instead of the image's entry point"),
    list("env", 'e', "Set an environment variable").check(env::check_env),
    list("env-file", NONE, "Read environment variables from a file"),
    list("expose", NONE, "Expose a port or a range of ports"),
    list("gpus", NONE, "GPUs to add ('all' for all of them)").shown("gpu-request").check(device::check_gpus),
    list("group-add", NONE, "Join another group"),
    text("health-cmd", NONE, "Command that checks health"),
    duration("health-interval", NONE, "Time between two checks").default("0s"),
    int("health-retries", NONE, "Failures in a row that mean unhealthy").default("0"),
    duration("health-start-interval", NONE, "Time between two checks while it starts").default("0s"),
    duration("health-start-period", NONE, "Time it has to start before failures count").default("0s"),
    duration("health-timeout", NONE, "Longest time that a check may take").default("0s"),
    text("hostname", 'h', "Host name inside"),
    switch("init", NONE, "Run a small init as process 1 that passes signals and reaps processes"),
    switch("interactive", 'i', "Keep standard input open even if nothing is attached"),
    bytes("io-maxbandwidth", NONE, "Limit of I/O on the system drive (Windows)").hidden(),
    int("io-maxiops", NONE, "Limit of I/O on the system drive (Windows)").default("0").hidden(),
    text("ip", NONE, "IPv4 address").shown("ip").check(host::check_ip_flag),
    text("ip6", NONE, "IPv6 address").shown("ip").check(host::check_ip_flag),
    text("ipc", NONE, "IPC namespace to use"),
    text("isolation", NONE, "Kind of isolation (Windows)").hidden(),
    bytes("kernel-memory", NONE, "Limit of kernel memory").hidden(),
    list("label", 'l', "Set a label").check(env::check_label),
    list("label-file", NONE, "Read labels from a file"),
    list("link", NONE, "Link to another container").check(host::check_link),
    list("link-local-ip", NONE, "Link-local address").check(host::check_ip),
    text("log-driver", NONE, "Where its output is logged to"),
    list("log-opt", NONE, "Option of the logging driver"),
    text("mac-address", NONE, "Hardware address (92:d0:c6:0a:29:33)"),
    bytes("memory", 'm', "Limit of memory"),
    bytes("memory-reservation", NONE, "Memory it keeps when memory is short"),
    text("memory-swap", NONE, "Limit of memory and swap together; -1 for unlimited swap")
        .shown("bytes")
        .check(limit::check_swap),
    int("memory-swappiness", NONE, "How eagerly its memory is swapped (0 to 100)").default("-1"),
    list("mount", NONE, "Mount a file system").shown("mount").check(mount::check_value),
    text("name", NONE, "Name of the container"),
    list("net", NONE, "Connect to a network").shown("network").check(network::check).hidden(),
    list("net-alias", NONE, "Another name in the network").hidden(),
    list("network", NONE, "Connect to a network").shown("network").check(network::check),
    list("network-alias", NONE, "Another name in the network"),
    switch("no-healthcheck", NONE, "Do not run the image's health check"),
    switch("oom-kill-disable", NONE, "Do not kill it when memory runs out"),
    int("oom-score-adj", NONE, "How willingly the host kills it when memory runs out (-1000 to 1000)")
        .default("0"),
    text("pid", NONE, "PID namespace to use"),
    int("pids-limit", NONE, "How many processes it may have (-1 for any number)").default("0"),
    text("platform", NONE, "Platform of the image, if there are several"),
    switch("privileged", NONE, "Give it all privileges"),
    list("publish", 'p', "Publish a port on the host"),
    switch("publish-all", 'P', "Publish all exposed ports on random ports"),
    text("pull", NONE, "Pull the image first: always, missing or never").default("missing"),
    switch("quiet", 'q', "Do not show the pull"),
    switch("read-only", NONE, "Make its root file system read-only"),
    text("restart", NONE, "When to start it again after it ended").default("no"),
    switch("rm", NONE, "Remove it and its anonymous volumes when it ends"),
    text("runtime", NONE, "OCI runtime to use"),
    list("security-opt", NONE, "Security option"),
    bytes("shm-size", NONE, "Size of /dev/shm"),
    text("stop-signal", NONE, "Signal that stops it"),
    int("stop-timeout", NONE, "Seconds it has to stop").default("0"),
    list("storage-opt", NONE, "Option of the storage driver"),
    list("sysctl", NONE, "Set a kernel parameter").shown("map").check(host::check_sysctl),
    list("tmpfs", NONE, "Mount a tmpfs"),
    switch("tty", 't', "Give it a terminal"),
    list("ulimit", NONE, "Set a limit of its processes").shown("ulimit").check(limit::check_ulimit),
    text("user", 'u', "User name or id, with a group after a colon"),
    text("userns", NONE, "User namespace to use"),
    text("uts", NONE, "UTS namespace to use"),
    list("volume", 'v', "Mount a volume or a folder of the host"),
    text("volume-driver", NONE, "Driver for its volumes"),
    list("volumes-from", NONE, "Mount the volumes of another container"),
    text("workdir", 'w', "Working directory inside"),
    switch("help", NONE, "Print this").hidden(),
];

/// The create request; the error's text is Docker's.
///
/// # Errors
/// Flags that contradict each other, values that cannot be, files that cannot be read.
pub fn request(p: &Parsed) -> Result<ContainerCreateRequest, String> {
    let config = config(p)?;
    let host = host_config(p)?;
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    let networks = networks(p)?;
    let common = Attachment {
        aliases: either(p, "network-alias", "net-alias"),
        links: p.all("link"),
        ip: p.get("ip").to_owned(),
        ip6: p.get("ip6").to_owned(),
        link_local: p.all("link-local-ip"),
        mac: p.get("mac-address").to_owned(),
        ..Attachment::default()
    };
    let mut endpoints = network::endpoints(&networks, &common)?;
    if endpoints
        .get("default")
        .is_some_and(|e| *e == Some(dray_client::api::network::EndpointSettings::default()))
    {
        endpoints = BTreeMap::new();
    }
    let networking = NetworkingConfig { endpoints_config: Some(endpoints) };
    Ok(ContainerCreateRequest { host_config: Some(host), networking_config: Some(networking), config })
}

fn either(p: &Parsed, name: &str, older: &str) -> Vec<String> {
    let mut all = p.all(name);
    all.extend(p.all(older));
    all
}

fn networks(p: &Parsed) -> Result<Vec<Attachment>, String> {
    either(p, "network", "net").iter().map(|n| network::parse(n)).collect()
}

fn config(p: &Parsed) -> Result<ContainerConfig, String> {
    let attach: Vec<String> = p.all("attach").iter().map(|a| a.to_lowercase()).collect();
    let attached = |stream: &str| attach.iter().any(|a| a == stream);
    if !p.get("mac-address").is_empty() && !host::is_mac(p.get("mac-address")) {
        return Err(format!("{} is not a valid mac address", p.get("mac-address")));
    }
    let ports = port::parse(&p.all("publish"), &p.all("expose"))?;
    let volumes = volume::parse(&p.all("volume"))?;
    let env = env::environment(&p.all("env-file"), &p.all("env"))?;
    let labels = env::labels(&p.all("label-file"), &p.all("label"))?;
    let entrypoint = match p.get("entrypoint") {
        "" if p.given("entrypoint") => Some(vec![String::new()].into()),
        "" => None,
        program => Some(vec![program.to_owned()].into()),
    };
    let command = p.args[1..].to_vec();
    let (stdin, tty) = (p.is("interactive"), p.is("tty"));
    let attach_stdin = stdin || attached("stdin");
    Ok(ContainerConfig {
        hostname: p.get("hostname").to_owned(),
        domainname: p.get("domainname").to_owned(),
        user: p.get("user").to_owned(),
        attach_stdin,
        attach_stdout: attach.is_empty() || attached("stdout"),
        attach_stderr: attach.is_empty() || attached("stderr"),
        exposed_ports: (!ports.exposed.is_empty()).then_some(ports.exposed),
        tty,
        open_stdin: stdin,
        stdin_once: stdin && attach_stdin,
        env: Some(env),
        cmd: (!command.is_empty()).then(|| command.into()),
        healthcheck: health(p)?,
        image: p.args[0].clone(),
        volumes: Some(volumes.anonymous),
        working_dir: p.get("workdir").to_owned(),
        entrypoint,
        labels: Some(pairs(&labels)),
        stop_signal: p.get("stop-signal").to_owned(),
        stop_timeout: p.given("stop-timeout").then(|| p.int("stop-timeout")),
        ..ContainerConfig::default()
    })
}

fn health(p: &Parsed) -> Result<Option<HealthConfig>, String> {
    let command = p.get("health-cmd");
    let times = ["health-interval", "health-timeout", "health-start-period", "health-start-interval"];
    let any = !command.is_empty() || times.iter().any(|t| p.nanos(t) != 0) || p.int("health-retries") != 0;
    if p.is("no-healthcheck") {
        if any {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()].into()),
            ..HealthConfig::default()
        }));
    }
    if !any {
        return Ok(None);
    }
    for name in ["health-interval", "health-timeout"] {
        if p.nanos(name) < 0 {
            return Err(format!("--{name} cannot be negative"));
        }
    }
    if p.int("health-retries") < 0 {
        return Err("--health-retries cannot be negative".into());
    }
    for name in ["health-start-period", "health-start-interval"] {
        if p.nanos(name) < 0 {
            return Err(format!("--{name} cannot be negative"));
        }
    }
    let test = (!command.is_empty()).then(|| vec!["CMD-SHELL".to_owned(), command.to_owned()].into());
    Ok(Some(HealthConfig {
        test,
        interval: p.nanos("health-interval"),
        timeout: p.nanos("health-timeout"),
        start_period: p.nanos("health-start-period"),
        start_interval: p.nanos("health-start-interval"),
        retries: p.int("health-retries"),
    }))
}

fn host_config(p: &Parsed) -> Result<HostConfig, String> {
    let swappiness = p.int("memory-swappiness");
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(format!("invalid value: {swappiness}. Valid memory swappiness range is 0-100"));
    }
    let ports = port::parse(&p.all("publish"), &[])?;
    let volumes = volume::parse(&p.all("volume"))?;
    let resources = resources(p)?;
    check_namespaces(p)?;
    let restart_policy = limit::restart_policy(p.get("restart"))?;
    let (driver, options) = (p.get("log-driver"), p.all("log-opt"));
    if driver == "none" && !options.is_empty() {
        return Err(format!("invalid logging opts for driver {driver}"));
    }
    let (security_opt, unconfined) = security(p.all("security-opt"))?;
    let unmasked = || unconfined.then(Vec::new);
    let mounts: Vec<_> = p.all("mount").iter().map(|m| mount::parse(m)).collect::<Result<_, _>>()?;
    let hosts: Vec<_> = p.all("add-host").iter().map(|h| host::extra_host(h)).collect::<Result<_, _>>()?;
    let mode = networks(p)?.first().map_or("default".to_owned(), |n| n.target.clone());
    let or_none = |map: BTreeMap<String, String>| (!map.is_empty()).then_some(map);
    Ok(HostConfig {
        binds: (!volumes.binds.is_empty()).then_some(volumes.binds),
        container_id_file: p.get("cidfile").to_owned(),
        log_config: LogConfig { driver: driver.to_owned(), config: Some(pairs(&options)) },
        network_mode: mode,
        port_bindings: Some(ports.bindings),
        restart_policy,
        auto_remove: p.is("rm"),
        volume_driver: p.get("volume-driver").to_owned(),
        volumes_from: p.some("volumes-from"),
        annotations: or_none(pairs(&p.all("annotation"))),
        cap_add: p.some("cap-add"),
        cap_drop: p.some("cap-drop"),
        cgroupns_mode: p.get("cgroupns").to_owned(),
        dns: Some(p.all("dns")),
        dns_options: Some(either(p, "dns-option", "dns-opt")),
        dns_search: Some(p.all("dns-search")),
        extra_hosts: (!hosts.is_empty()).then_some(hosts),
        group_add: p.some("group-add"),
        ipc_mode: p.get("ipc").to_owned(),
        links: p.some("link"),
        oom_score_adj: p.int("oom-score-adj"),
        pid_mode: p.get("pid").to_owned(),
        privileged: p.is("privileged"),
        publish_all_ports: p.is("publish-all"),
        readonly_rootfs: p.is("read-only"),
        security_opt: (!security_opt.is_empty()).then_some(security_opt),
        storage_opt: or_none(storage(&p.all("storage-opt"))?),
        tmpfs: or_none(tmpfs(&p.all("tmpfs"))),
        uts_mode: p.get("uts").to_owned(),
        userns_mode: p.get("userns").to_owned(),
        shm_size: p.size("shm-size"),
        sysctls: or_none(pairs(&p.all("sysctl"))),
        runtime: p.get("runtime").to_owned(),
        isolation: p.get("isolation").to_owned(),
        mounts: (!mounts.is_empty()).then_some(mounts),
        masked_paths: unmasked(),
        readonly_paths: unmasked(),
        init: p.given("init").then(|| p.is("init")),
        resources,
        ..HostConfig::default()
    })
}

fn each<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<Vec<T>>, String> {
    let all: Vec<T> = texts.iter().map(|t| parse(t)).collect::<Result<_, _>>()?;
    Ok((!all.is_empty()).then_some(all))
}

/// Limits, as `run`, `create` and `update` share them.
///
/// # Errors
/// A value that cannot be; the text is Docker's.
pub fn resources(p: &Parsed) -> Result<Resources, String> {
    let (cdi, devices): (Vec<String>, Vec<String>) =
        p.all("device").into_iter().partition(|d| device::is_cdi(d));
    let mut requests = each(&p.all("gpus"), device::gpus)?.unwrap_or_default();
    if !cdi.is_empty() {
        requests.push(DeviceRequest {
            driver: "cdi".into(),
            device_ids: Some(cdi),
            ..DeviceRequest::default()
        });
    }
    let swap = p.get("memory-swap");
    let cpus = p.get("cpus");
    let swappiness = p.int("memory-swappiness");
    Ok(Resources {
        cpu_shares: p.int("cpu-shares"),
        memory: p.size("memory"),
        nano_cpus: if cpus.is_empty() { 0 } else { limit::nano_cpus(cpus)? },
        cgroup_parent: p.get("cgroup-parent").to_owned(),
        blkio_weight: u16::try_from(p.int("blkio-weight")).unwrap_or(u16::MAX),
        blkio_weight_device: each(&p.all("blkio-weight-device"), limit::weight)?,
        blkio_device_read_bps: each(&p.all("device-read-bps"), limit::bytes_rate)?,
        blkio_device_write_bps: each(&p.all("device-write-bps"), limit::bytes_rate)?,
        blkio_device_read_iops: each(&p.all("device-read-iops"), limit::operations_rate)?,
        blkio_device_write_iops: each(&p.all("device-write-iops"), limit::operations_rate)?,
        cpu_period: p.int("cpu-period"),
        cpu_quota: p.int("cpu-quota"),
        cpu_realtime_period: p.int("cpu-rt-period"),
        cpu_realtime_runtime: p.int("cpu-rt-runtime"),
        cpuset_cpus: p.get("cpuset-cpus").to_owned(),
        cpuset_mems: p.get("cpuset-mems").to_owned(),
        devices: each(&devices, device::device)?,
        device_cgroup_rules: p.some("device-cgroup-rule"),
        device_requests: (!requests.is_empty()).then_some(requests),
        memory_reservation: p.size("memory-reservation"),
        memory_swap: if swap.is_empty() { 0 } else { limit::swap(swap)? },
        memory_swappiness: (swappiness >= 0).then_some(swappiness),
        oom_kill_disable: p.given("oom-kill-disable").then(|| p.is("oom-kill-disable")),
        pids_limit: p.given("pids-limit").then(|| p.int("pids-limit")),
        ulimits: each(&p.all("ulimit"), limit::ulimit)?,
        ..Resources::default()
    })
}

fn check_namespaces(p: &Parsed) -> Result<(), String> {
    let container = |mode: &str| mode.strip_prefix("container:").is_some_and(|c| !c.is_empty());
    if !matches!(p.get("pid"), "" | "host") && !container(p.get("pid")) {
        return Err("--pid: invalid PID mode".into());
    }
    if !matches!(p.get("uts"), "" | "host") {
        return Err("--uts: invalid UTS mode".into());
    }
    if !matches!(p.get("userns"), "" | "host") {
        return Err("--userns: invalid USER mode".into());
    }
    if !matches!(p.get("cgroupns"), "" | "host" | "private") {
        return Err("--cgroupns: invalid CGROUP mode".into());
    }
    Ok(())
}

/// Security options as the daemon takes them: seccomp profiles by content; and whether system paths are unmasked,
/// which the client does itself.
fn security(options: Vec<String>) -> Result<(Vec<String>, bool), String> {
    let mut out = Vec::new();
    let mut unconfined = false;
    for option in options {
        let parts = option.split_once('=').or_else(|| option.split_once(':'));
        let bare = option == "no-new-privileges";
        if !bare && parts.is_none_or(|(_, v)| v.is_empty()) {
            return Err(format!("Invalid --security-opt: \"{option}\""));
        }
        match parts {
            _ if option == "systempaths=unconfined" => unconfined = true,
            Some(("seccomp", file)) if !matches!(file, "unconfined" | "builtin") => {
                let failed = |e| format!("opening seccomp profile ({file}) failed: open {file}: {}", Sys(e));
                let profile = std::fs::read(file).map_err(failed)?;
                serde_json::from_slice::<serde::de::IgnoredAny>(&profile)
                    .map_err(|e| format!("compacting json for seccomp profile ({file}) failed: {e}"))?;
                out.push(format!("seccomp={}", String::from_utf8_lossy(&crate::json::compact(&profile))));
            }
            _ => out.push(option),
        }
    }
    Ok((out, unconfined))
}

fn storage(options: &[String]) -> Result<BTreeMap<String, String>, String> {
    let pair = |o: &String| o.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    options.iter().map(|o| pair(o).ok_or_else(|| "invalid storage option".to_owned())).collect()
}

fn tmpfs(values: &[String]) -> BTreeMap<String, String> {
    let pair = |v: &String| {
        v.split_once(':').map_or_else(|| (v.clone(), String::new()), |(k, o)| (k.into(), o.into()))
    };
    values.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::parse;

    fn made(line: &str) -> Result<ContainerCreateRequest, String> {
        let words = line.split(' ').map(std::ffi::OsString::from);
        request(&parse(&[FLAGS], false, words).map_err(|e| e.to_string())?)
    }

    #[test]
    fn flags_become_a_request() {
        let r = made("-d=false").is_err();
        assert!(r, "-d is a flag of run alone");
        let r =
            made("--rm -it -p 8080:80 -v /a:/b -e A=b -m 64m --cpus 1.5 --name web --restart=no img sh -c x")
                .unwrap();
        let host = r.host_config.unwrap();
        assert!(host.auto_remove && r.config.tty && r.config.stdin_once);
        assert_eq!(host.resources.memory, 64 << 20);
        assert_eq!(host.resources.nano_cpus, 1_500_000_000);
        assert_eq!(host.binds, Some(vec!["/a:/b".into()]));
        assert_eq!(host.port_bindings.unwrap()["80/tcp"].as_ref().unwrap()[0].host_port, "8080");
        assert_eq!(host.network_mode, "default");
        assert_eq!(r.config.cmd.unwrap().0, ["sh", "-c", "x"]);
        assert_eq!(r.networking_config.unwrap().endpoints_config.unwrap().len(), 0);
    }

    #[test]
    fn contradictions_are_named() {
        for (line, want) in [
            ("--rm --restart always x", "conflicting options: cannot specify both --restart and --rm"),
            ("--memory-swappiness 200 x", "invalid value: 200. Valid memory swappiness range is 0-100"),
            ("--pid foo x", "--pid: invalid PID mode"),
            ("--health-interval=-1s x", "--health-interval cannot be negative"),
            ("--no-healthcheck --health-cmd a x", "--no-healthcheck conflicts with --health-* options"),
            (
                "--security-opt seccomp=/nope x",
                "opening seccomp profile (/nope) failed: open /nope: no such file or directory",
            ),
            ("--storage-opt a x", "invalid storage option"),
            ("--network= x", "no name set for network"),
        ] {
            assert_eq!(made(line).unwrap_err(), want, "{line}");
        }
    }
}
