//! From a container's record to the OCI runtime configuration it is started with.
//!
//! [`generate`] is pure: what it needs of the host is looked up before and handed in, so that golden
//! files hold what comes out.

mod devices;
mod limits;
mod mounts;
mod user;

use std::collections::BTreeMap;
use std::path::PathBuf;

use dray_api::container::HostConfig;
use dray_spec::runtime::{
    Capabilities, ConsoleSize, Linux, MountPropagation, Namespace as OciNamespace, NamespaceKind, Process,
    Root, Spec, User as OciUser,
};

use super::record::Record;
use super::validate::{Invalid, Namespace, SecurityOptions, granted_capabilities, namespace};

pub use devices::{Devices, device_rule, devices};
pub use limits::{resources, rlimits};
pub use mounts::one as mount;
pub use user::{Error as UserError, User, resolve as resolve_user};

/// The driver of device requests that name CDI devices.
pub const CDI: &str = "cdi";
/// Where programs are looked for when the image says nothing.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where the init of `--init` lies in a container.
pub const INIT_PATH: &str = "/sbin/docker-init";

/// Paths of `/proc` and `/sys` that a container does not see.
pub const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Paths of `/proc` that a container cannot write to.
pub const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Why no configuration can be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A device that is not there.
    #[error("error gathering device information while adding custom device \"{path}\": {source}")]
    Device {
        /// Its path on the host.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something that is no device.
    #[error("error gathering device information while adding custom device \"{0}\": not a device node")]
    NoDevice(String),
    /// An unknown user or group.
    #[error(transparent)]
    User(#[from] UserError),
    /// A device by its name in the Container Device Interface.
    #[error(transparent)]
    Cdi(#[from] crate::cdi::Error),
    /// Something that validation should have refused.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Which namespace of each kind a container gets, beside its own mount namespace. A path is joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    /// Network namespace; none is the host's.
    pub network: Option<PathBuf>,
    /// Process ids of another container.
    pub pid: Option<PathBuf>,
    /// IPC of another container.
    pub ipc: Option<PathBuf>,
    /// Host names of another container, where its network is shared.
    pub uts: Option<PathBuf>,
}

/// Where the source of a mount lies, and who owns it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Path on the host.
    pub path: PathBuf,
    /// Its owner on the disk.
    pub owner: super::idmap::Owner,
}

/// All that the configuration is made of.
#[derive(Debug)]
pub struct Input<'a> {
    /// The container.
    pub record: &'a Record,
    /// Who it runs as.
    pub user: User,
    /// Its security options, read.
    pub security: SecurityOptions,
    /// Its devices, looked up.
    pub devices: Devices,
    /// Namespaces to join.
    pub joined: Joined,
    /// Files of the engine over files of the image: source and destination.
    pub files: Vec<(PathBuf, &'static str)>,
    /// Further read-only mounts: source and destination.
    pub read_only: Vec<(PathBuf, String)>,
    /// Where the sources of volumes lie, by destination, where it is not as recorded.
    pub sources: BTreeMap<String, Source>,
    /// A shared `/dev/shm`.
    pub shm: Option<PathBuf>,
    /// Variables below those of the configuration.
    pub env: Vec<String>,
    /// Run the program under our init.
    pub init: bool,
    /// Where the container's cgroup is made.
    pub cgroup: String,
    /// Capabilities that can be given here at all.
    pub bounding: fn(&str) -> bool,
}

/// Makes the configuration.
///
/// # Errors
/// For limits on devices that are not there.
pub fn generate(input: &Input<'_>) -> Result<Spec, Error> {
    let record = input.record;
    let mut resources = limits::resources(&record.host.resources)?;
    resources.devices.clone_from(&input.devices.rules);
    Ok(Spec {
        process: Some(process(input)?),
        root: Some(Root { path: PathBuf::from("rootfs"), readonly: record.host.readonly_rootfs }),
        hostname: (record.host.uts_mode != "host").then(|| record.config.hostname.clone()),
        domainname: Some(record.config.domainname.clone())
            .filter(|name| !name.is_empty() && record.host.uts_mode != "host"),
        mounts: mounts::mounts(input),
        annotations: record.host.annotations.clone().unwrap_or_default(),
        linux: Some(Linux {
            namespaces: namespaces(input),
            devices: input.devices.nodes.clone(),
            cgroups_path: Some(input.cgroup.clone()),
            resources: Some(resources),
            sysctl: sysctls(record),
            rootfs_propagation: propagation(record),
            masked_paths: paths(record.host.masked_paths.as_ref(), record),
            readonly_paths: paths(record.host.readonly_paths.as_ref(), record),
            ..Linux::default()
        }),
        ..Spec::default()
    })
}

/// The names of the CDI devices that a container asks for.
#[must_use]
pub fn cdi_devices(host: &HostConfig) -> Vec<String> {
    let requests = host.resources.device_requests.iter().flatten();
    let of_cdi = requests.filter(|request| request.driver == CDI);
    of_cdi.flat_map(|request| request.device_ids.iter().flatten().cloned()).collect()
}

fn process(input: &Input<'_>) -> Result<Process, Error> {
    let record = input.record;
    let (config, host) = (&record.config, &record.host);
    let capabilities = granted_capabilities(
        host.cap_add.as_deref().unwrap_or_default(),
        host.cap_drop.as_deref().unwrap_or_default(),
        host.privileged,
        &input.bounding,
    )?;
    let mut args: Vec<String> = if input.init { vec![INIT_PATH.into(), "--".into()] } else { Vec::new() };
    args.push(record.path.clone());
    args.extend(record.args.iter().cloned());
    let [height, width] = host.console_size.map(|side| u16::try_from(side).unwrap_or(u16::MAX));
    Ok(Process {
        terminal: config.tty,
        console_size: (config.tty && height > 0).then_some(ConsoleSize { height, width }),
        user: oci_user(&input.user),
        args,
        env: environment(input),
        cwd: PathBuf::from(if config.working_dir.is_empty() { "/" } else { &config.working_dir }),
        capabilities: Some(capability_sets(capabilities, input.user.uid)),
        rlimits: limits::rlimits(host.resources.ulimits.as_deref().unwrap_or_default()),
        no_new_privileges: input.security.no_new_privileges,
        oom_score_adj: i32::try_from(host.oom_score_adj).ok(),
        ..Process::default()
    })
}

/// The user as the runtime has it.
pub fn oci_user(user: &User) -> OciUser {
    OciUser { uid: user.uid, gid: user.gid, additional_gids: user.groups.clone(), ..OciUser::default() }
}

/// Capabilities in their sets. Only root has them in effect; another user's programs can still gain
/// them from files, so they stay in the bounding set.
pub fn capability_sets(granted: Vec<String>, uid: u32) -> Capabilities {
    let held = if uid == 0 { granted.clone() } else { Vec::new() };
    Capabilities { bounding: granted, permitted: held.clone(), effective: held, ..Capabilities::default() }
}

/// The environment: defaults, then what links and the host's CAs add, then the configuration's own.
/// A name without `=` takes the variable away.
fn environment(input: &Input<'_>) -> Vec<String> {
    let config = &input.record.config;
    let mut env = base_env(&config.hostname, config.tty, &input.env);
    overlay_env(&mut env, config.env.as_deref().unwrap_or_default());
    add_home(&mut env, &input.user.home);
    env
}

/// What every program's environment begins with.
pub fn base_env(hostname: &str, tty: bool, more: &[String]) -> Vec<String> {
    let mut env = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={hostname}")];
    if tty {
        env.push("TERM=xterm".into());
    }
    env.extend(more.iter().cloned());
    env
}

/// Puts `over` over `env`, keeping places; a line without `=` removes.
pub fn overlay_env(env: &mut Vec<String>, over: &[String]) {
    let key = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    for line in over {
        let at = env.iter().position(|old| key(old) == key(line));
        match (at, line.contains('=')) {
            (Some(at), true) => env[at].clone_from(line),
            (None, true) => env.push(line.clone()),
            (Some(at), false) => drop(env.remove(at)),
            (None, false) => {}
        }
    }
}

/// `HOME` of the user, when nothing else is said.
pub fn add_home(env: &mut Vec<String>, home: &str) {
    if !env.iter().any(|line| line.starts_with("HOME=") && line.len() > "HOME=".len()) {
        env.retain(|line| !line.starts_with("HOME="));
        env.push(format!("HOME={home}"));
    }
}

fn namespaces(input: &Input<'_>) -> Vec<OciNamespace> {
    let host = &input.record.host;
    let mut made = vec![OciNamespace::new(NamespaceKind::Mount)];
    let mut add = |kind, mode: &Namespace, path: Option<&PathBuf>| match (mode, path) {
        (Namespace::Host, _) => {}
        (_, Some(path)) => made.push(OciNamespace::joined(kind, path)),
        (_, None) => made.push(OciNamespace::new(kind)),
    };
    add(NamespaceKind::Network, &namespace(&host.network_mode), input.joined.network.as_ref());
    let uts = if host.uts_mode == "host" { Namespace::Host } else { Namespace::Private };
    add(NamespaceKind::Uts, &uts, input.joined.uts.as_ref());
    add(NamespaceKind::Pid, &namespace(&host.pid_mode), input.joined.pid.as_ref());
    add(NamespaceKind::Ipc, &namespace(&host.ipc_mode), input.joined.ipc.as_ref());
    if host.cgroupns_mode == "private" {
        add(NamespaceKind::Cgroup, &Namespace::Private, None);
    }
    made
}

/// Defaults that are safe in a network namespace of one's own, then those asked for.
fn sysctls(record: &Record) -> BTreeMap<String, String> {
    let mut set = BTreeMap::new();
    if namespace(&record.host.network_mode) == Namespace::Private {
        set.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
        set.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
    }
    set.extend(record.host.sysctls.clone().unwrap_or_default());
    set
}

/// How the root spreads mounts: as widely as the widest bind mount asks.
fn propagation(record: &Record) -> Option<MountPropagation> {
    let asked =
        |names: &[&str]| record.mounts.iter().any(|mount| names.contains(&mount.propagation.as_str()));
    if asked(&["shared", "rshared"]) {
        return Some(MountPropagation::Shared);
    }
    asked(&["slave", "rslave"]).then_some(MountPropagation::Rslave)
}

fn paths(recorded: Option<&Vec<String>>, record: &Record) -> Vec<String> {
    if record.host.privileged { Vec::new() } else { recorded.cloned().unwrap_or_default() }
}

#[cfg(test)]
mod tests;
