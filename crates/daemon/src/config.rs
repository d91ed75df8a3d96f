//! The daemon's configuration: flags, and `daemon.json` with Docker's names.
//!
//! The file is turned into flags (`"dns": ["1.1.1.1"]` is `--dns=1.1.1.1`), so there is one meaning
//! for both. A key that no flag has is an error, and so is one given in both places.

mod file;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use dray_api::container::Ulimit;
use dray_engine::build::{GcPolicy, GcRule, HistoryLimits};
use dray_network::{Cidr, DefaultBridge, Pool, PublishMode};
use dray_registry::InsecureRegistry;

use crate::listener::{Host, HostError, TcpTrust};
use crate::tls::TlsFiles;

pub use file::FileError;

/// Where the configuration file is looked for when no flag names one; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/dray/daemon.json";

/// Serve Docker's Engine API.
#[derive(Debug, Clone, Parser)]
#[command(name = "dray daemon", bin_name = "dray daemon", version, max_term_width = 100)]
pub struct Config {
    /// Where everything that lasts is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/dray")]
    pub data_root: PathBuf,
    /// Where sockets, namespaces and the state of running containers are kept
    #[arg(long, visible_alias = "exec-root", value_name = "DIR", default_value = "/run/dray")]
    pub run_root: PathBuf,
    /// Where to listen: unix:///path, tcp://host:port or fd://; may be given several times
    /// [default: unix://<run-root>/dray.sock]
    #[arg(short = 'H', long = "host", value_name = "ADDRESS", value_parser = host)]
    pub hosts: Vec<Host>,
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub config_file: PathBuf,
    /// Check the configuration and exit
    #[arg(long)]
    pub validate: bool,
    /// Group of the unix sockets
    #[arg(short = 'G', long, value_name = "GROUP", default_value = "docker")]
    pub group: String,
    /// File that holds the daemon's process id
    #[arg(short, long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Descriptor on which a line is written when the daemon is ready
    #[arg(long, value_name = "FD")]
    pub ready_fd: Option<u32>,

    /// Log debug messages
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Log level: debug, info, warn, error or fatal
    #[arg(short, long, value_name = "LEVEL", default_value = "info",
          value_parser = ["trace", "debug", "info", "warn", "error", "fatal"])]
    pub log_level: String,

    /// Use TLS on TCP; implied by --tlsverify
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = false)]
    pub tls: bool,
    /// Use TLS on TCP and let in clients only with a certificate of the CA
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = false)]
    pub tlsverify: bool,
    /// Trust only clients' certificates that this CA signed
    #[arg(long, value_name = "FILE", default_value = "/etc/dray/tls/ca.pem")]
    pub tlscacert: PathBuf,
    /// The daemon's TLS certificate
    #[arg(long, value_name = "FILE", default_value = "/etc/dray/tls/cert.pem")]
    pub tlscert: PathBuf,
    /// The daemon's TLS key
    #[arg(long, value_name = "FILE", default_value = "/etc/dray/tls/key.pem")]
    pub tlskey: PathBuf,
    /// Serve TCP without verifying clients; only on loopback addresses
    #[arg(long)]
    pub allow_insecure_tcp: bool,

    /// Name of the default network's bridge [default: dray0, or one of its own for another run root]
    #[arg(short, long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// Address and subnet of the default bridge (172.17.0.1/16)
    #[arg(long, value_name = "CIDR", value_parser = cidr)]
    pub bip: Option<Cidr>,
    /// IPv6 address and subnet of the default bridge (fd00:1::1/64)
    #[arg(long, value_name = "CIDR", value_parser = cidr)]
    pub bip6: Option<Cidr>,
    /// Give containers on the default bridge IPv6 addresses
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = false,
          action = clap::ArgAction::Set)]
    pub ipv6: bool,
    /// Where IPv4 addresses on the default bridge are taken from
    #[arg(long, value_name = "CIDR", value_parser = cidr)]
    pub fixed_cidr: Option<Cidr>,
    /// Where IPv6 addresses on the default bridge are taken from
    #[arg(long = "fixed-cidr-v6", value_name = "CIDR", value_parser = cidr)]
    pub fixed_cidr_v6: Option<Cidr>,
    /// The IPv4 gateway of containers on the default bridge, in place of the bridge's address
    #[arg(long, value_name = "ADDRESS")]
    pub default_gateway: Option<Ipv4Addr>,
    /// The IPv6 gateway of containers on the default bridge, in place of the bridge's address
    #[arg(long = "default-gateway-v6", value_name = "ADDRESS")]
    pub default_gateway_v6: Option<Ipv6Addr>,
    /// Let containers on the default bridge talk with each other
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = true,
          action = clap::ArgAction::Set)]
    pub icc: bool,
    /// Hide containers on the default bridge behind the host's address
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = true,
          action = clap::ArgAction::Set)]
    pub ip_masq: bool,
    /// Address at which ports of the default bridge are published that name none
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub ip: IpAddr,
    /// Option of networks that do not set it: driver=key=value
    #[arg(long = "default-network-opt", value_name = "OPTION", value_parser = network_opt)]
    pub default_network_opts: Vec<(String, String, String)>,
    /// Pool for new networks' subnets: base=10.10.0.0/16,size=24
    #[arg(long = "default-address-pool", value_name = "POOL", value_parser = pool)]
    pub default_address_pools: Vec<Pool>,
    /// MTU of bridges
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u32>,
    /// How ports are published on networks that do not say: nat, as Docker's, before the host's INPUT rules; or
    /// firewall-aware, if those let them
    #[arg(long, value_name = "MODE", default_value = "nat", value_parser = publish_mode)]
    pub publish_mode: PublishMode,
    /// DNS server of containers
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<IpAddr>,
    /// DNS option of containers
    #[arg(long = "dns-opt", visible_alias = "dns-option", value_name = "OPTION")]
    pub dns_opts: Vec<String>,
    /// DNS search domain of containers
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// What `host-gateway` in --add-host means [default: the default bridge's address]
    #[arg(long = "host-gateway-ip", value_name = "ADDRESS")]
    pub host_gateway_ips: Vec<IpAddr>,

    /// Registry that may be spoken to without verified TLS: name[:port] or CIDR
    #[arg(long = "insecure-registry", value_name = "REGISTRY", value_parser = insecure)]
    pub insecure_registries: Vec<InsecureRegistry>,
    /// Mirror of Docker Hub, or REGISTRY=URL for one of another registry
    #[arg(long = "registry-mirror", value_name = "URL")]
    pub registry_mirrors: Vec<String>,
    /// Folder with registries' certificates and hosts.toml; may be given several times
    #[arg(long = "certs-dir", value_name = "DIR",
          default_values = ["/etc/dray/certs.d", "/etc/docker/certs.d"])]
    pub certs_dirs: Vec<PathBuf>,
    /// Layers downloaded at once
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrent_downloads: u32,
    /// Layers uploaded at once
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrent_uploads: u32,
    /// How often a download is tried without any progress
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_download_attempts: u32,
    /// Policy that images are held against when they are pulled (containers-policy.json)
    #[arg(long, value_name = "FILE", default_value = "/etc/dray/policy.json")]
    pub trust_policy: PathBuf,
    /// Make the host's CA certificates available to containers and build steps
    #[arg(long)]
    pub trust_host_ca: bool,

    /// Folder with the sockets and addresses of volume plugins; may be given several times
    #[arg(long = "plugin-dir", value_name = "DIR",
          default_values = ["/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins"])]
    pub plugin_dirs: Vec<PathBuf>,

    /// Label of the daemon: key=value
    #[arg(long = "label", value_name = "LABEL", value_parser = label)]
    pub labels: Vec<String>,
    /// Default log driver of containers
    #[arg(long, value_name = "DRIVER", default_value = "json-file")]
    pub log_driver: String,
    /// Option of the default log driver: key=value
    #[arg(long = "log-opt", value_name = "OPTION", value_parser = key_value)]
    pub log_opts: Vec<(String, String)>,
    /// Storage driver: overlay2 is the only one
    #[arg(short, long, value_name = "DRIVER", value_parser = ["overlay2", "overlayfs"])]
    pub storage_driver: Option<String>,
    /// Leave containers running when the daemon stops; =false stops them with it
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = true,
          action = clap::ArgAction::Set)]
    pub live_restore: bool,
    /// Seconds that containers have to stop with the daemon; -1 for no limit
    #[arg(long, value_name = "SECONDS", default_value_t = 15, allow_negative_numbers = true)]
    pub shutdown_timeout: i64,

    /// Run an init in containers that do not say
    #[arg(long)]
    pub init: bool,
    /// Size of /dev/shm of containers that do not say
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = size)]
    pub default_shm_size: i64,
    /// Limit of containers that do not say: name=soft[:hard]
    #[arg(long = "default-ulimit", value_name = "LIMIT", value_parser = ulimit)]
    pub default_ulimits: Vec<Ulimit>,
    /// IPC namespace of containers that do not say: private or shareable
    #[arg(long, value_name = "MODE", default_value = "private", value_parser = ["private", "shareable"])]
    pub default_ipc_mode: String,
    /// Cgroup namespace of containers that do not say: private or host [default: host with cgroup v1]
    #[arg(long, value_name = "MODE", value_parser = ["private", "host"])]
    pub default_cgroupns_mode: Option<String>,
    /// Where containers that do not say have their cgroups
    #[arg(long, value_name = "CGROUP")]
    pub cgroup_parent: Option<String>,
    /// Set no-new-privileges in containers that do not say
    #[arg(long)]
    pub no_new_privileges: bool,
    /// File with the seccomp profile of containers that do not say; or unconfined, or builtin
    #[arg(long, value_name = "FILE")]
    pub seccomp_profile: Option<String>,
    /// Runtime of containers that do not say: dray-runtime under one of its names
    #[arg(long, value_name = "NAME", default_value = "dray", value_parser = ["dray", "dray-runtime", "runc", "io.containerd.runc.v2"])]
    pub default_runtime: String,
    /// A feature to turn on or off: name=true
    #[arg(long = "feature", value_name = "FEATURE", value_parser = feature)]
    pub features: Vec<(String, bool)>,
    /// A rule for what of the build cache is collected (max-used-space=20GB,keep-duration=48h,…), in place of the usual
    /// ones; or off
    #[arg(long = "builder-gc", value_name = "RULE", value_parser = gc_rule)]
    pub builder_gc: Vec<Option<GcRule>>,
    /// Which builds the history keeps: so many, and beyond these what is younger
    #[arg(long = "builder-history", value_name = "LIMITS", default_value = "max-entries=50,max-age=48h")]
    pub builder_history: HistoryLimits,
    /// Folder with specifications of devices (CDI)
    #[arg(long = "cdi-spec-dir", value_name = "FOLDER", default_values = dray_engine::cdi::DEFAULT_DIRS)]
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Option of the runtime: native.cgroupdriver=cgroupfs
    #[arg(long = "exec-opt", value_name = "OPTION", value_parser = exec_option)]
    pub exec_opts: Vec<String>,
}

/// Why the daemon cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line, or `--help`: clap says it best.
    #[error("{0}")]
    Flags(clap::Error),
    /// The default log driver or one of its options.
    #[error("failed to set log opts: {0}")]
    LogOptions(#[source] dray_engine::log::Error),
    /// The configuration file.
    #[error("unable to configure the daemon with file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FileError,
    },
    /// A root that cannot be made absolute.
    #[error("resolve {path}: {source}")]
    Root {
        /// The root as it was given.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
}

impl Config {
    /// Reads the command line (`argv[0]` and the word `daemon` included) and the file it names. The roots are
    /// absolute from here on, wherever they are used.
    ///
    /// # Errors
    /// [`ConfigError`] in Docker's words.
    pub fn load(args: &[OsString]) -> Result<Self, ConfigError> {
        let mut config = Config::read(args)?;
        for root in [&mut config.data_root, &mut config.run_root] {
            *root = std::path::absolute(&*root)
                .map_err(|source| ConfigError::Root { path: root.clone(), source })?;
        }
        Ok(config)
    }

    fn read(args: &[OsString]) -> Result<Self, ConfigError> {
        let after = args.iter().skip(1).skip_while(|word| *word == "daemon");
        let mut argv: Vec<OsString> = vec!["dray daemon".into()];
        argv.extend(after.cloned());
        let matches = Config::command().try_get_matches_from(&argv).map_err(ConfigError::Flags)?;
        let config = Config::from_arg_matches(&matches).map_err(ConfigError::Flags)?;

        let path = config.config_file.clone();
        let named = matches.value_source("config_file") == Some(ValueSource::CommandLine);
        let failed = |source| ConfigError::File { path: path.clone(), source };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => return config.checked(),
            Err(error) => return Err(failed(FileError::Read(error))),
        };
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let flags = file::flags(&text, given, |id| as_given(&matches, id)).map_err(failed)?;
        argv.extend(flags.into_iter().map(OsString::from));
        Config::try_parse_from(&argv).map_err(|error| failed(FileError::Value(error)))?.checked()
    }

    /// What no single value shows.
    fn checked(self) -> Result<Self, ConfigError> {
        let options = self.log_opts.iter().cloned().collect();
        dray_engine::log::Driver::check(&self.log_driver, &options).map_err(ConfigError::LogOptions)?;
        Ok(self)
    }

    /// The addresses to listen on.
    #[must_use]
    pub fn listen_on(&self) -> Vec<Host> {
        if self.hosts.is_empty() {
            vec![Host::Unix(self.run_root.join("dray.sock"))]
        } else {
            self.hosts.clone()
        }
    }

    /// How TCP may be served.
    #[must_use]
    pub fn tcp_trust(&self) -> TcpTrust {
        match (self.tlsverify, self.allow_insecure_tcp) {
            (true, _) => TcpTrust::MutualTls,
            (false, true) => TcpTrust::Loopback,
            (false, false) => TcpTrust::Refused,
        }
    }

    /// The files of TLS, if it is to be used.
    #[must_use]
    pub fn tls_files(&self) -> Option<TlsFiles> {
        (self.tls || self.tlsverify).then(|| TlsFiles {
            ca: self.tlscacert.clone(),
            cert: self.tlscert.clone(),
            key: self.tlskey.clone(),
        })
    }

    /// What of the build cache is collected.
    #[must_use]
    pub fn build_gc(&self) -> GcPolicy {
        match self.builder_gc.as_slice() {
            [] => GcPolicy::default(),
            rules => GcPolicy { rules: rules.iter().flatten().cloned().collect() },
        }
    }

    /// The networking's part. Table and bridge have names of their own for each run root, so that
    /// daemons side by side do not meet.
    #[must_use]
    pub fn network(&self) -> dray_network::Config {
        let suffix = own_suffix(&self.run_root);
        let mut network = dray_network::Config::new(&self.run_root);
        if let Some(suffix) = &suffix {
            network.table = format!("dray-{suffix}");
            network.bridge_name = format!("dray-{suffix}");
        }
        if let Some(bridge) = &self.bridge {
            network.bridge_name.clone_from(bridge);
        }
        network.bip = self.bip;
        network.default_bridge = self.default_bridge();
        for (driver, key, value) in &self.default_network_opts {
            let of_driver = network.default_options.entry(driver.clone()).or_default();
            of_driver.insert(key.clone(), value.clone());
        }
        if !self.default_address_pools.is_empty() {
            network.pools.clone_from(&self.default_address_pools);
        }
        network.mtu = self.mtu;
        network.publish_mode = self.publish_mode;
        network
    }
}

impl Config {
    fn default_bridge(&self) -> DefaultBridge {
        let option = |key: &str, value: String| (format!("com.docker.network.bridge.{key}"), value);
        let binding = (!self.ip.is_unspecified()).then(|| option("host_binding_ipv4", self.ip.to_string()));
        let options = [
            option("enable_icc", self.icc.to_string()),
            option("enable_ip_masquerade", self.ip_masq.to_string()),
        ];
        DefaultBridge {
            ipv6: self.ipv6,
            bip6: self.bip6,
            fixed_cidr: self.fixed_cidr,
            fixed_cidr_v6: self.fixed_cidr_v6,
            gateway: self.default_gateway,
            gateway_v6: self.default_gateway_v6,
            options: options.into_iter().chain(binding).collect(),
        }
    }
}

/// Eight digits of the run root's path; none for the usual one.
fn own_suffix(run_root: &Path) -> Option<String> {
    if run_root == Path::new("/run/dray") {
        return None;
    }
    let digest = dray_spec::Digest::sha256_of(run_root.as_os_str().as_encoded_bytes());
    Some(digest.hex().chars().take(8).collect())
}

fn as_given(matches: &ArgMatches, id: &str) -> String {
    let raw = matches.get_raw(id).into_iter().flatten();
    raw.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(",")
}

fn host(text: &str) -> Result<Host, HostError> {
    text.parse()
}

fn publish_mode(text: &str) -> Result<PublishMode, dray_network::ParsePublishModeError> {
    text.parse()
}

/// `driver=key=value`, as Docker's flag takes it.
fn network_opt(text: &str) -> Result<(String, String, String), String> {
    let wrong = || format!("invalid argument {text:?}: must be driver=key=value");
    let (driver, option) = text.split_once('=').ok_or_else(wrong)?;
    let (key, value) = option.split_once('=').ok_or_else(wrong)?;
    Ok((driver.to_owned(), key.to_owned(), value.to_owned()))
}

fn cidr(text: &str) -> Result<Cidr, String> {
    text.parse().map_err(|_| format!("invalid CIDR address: {text}"))
}

fn insecure(text: &str) -> Result<InsecureRegistry, String> {
    text.parse().map_err(|error: dray_registry::InvalidInsecureRegistry| error.to_string())
}

fn label(text: &str) -> Result<String, String> {
    if text.contains('=') { Ok(text.to_owned()) } else { Err(format!("bad attribute format: {text}")) }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("invalid logger option: {text}"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn size(text: &str) -> Result<i64, String> {
    dray_api::size::parse_binary(text)
}

fn ulimit(text: &str) -> Result<Ulimit, String> {
    let wrong = || format!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
    Ok(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
}

fn feature(text: &str) -> Result<(String, bool), String> {
    let (name, on) = text.split_once('=').unwrap_or((text, "true"));
    let on = on.parse().map_err(|_| format!("invalid value {on:?} for feature {name:?}"))?;
    Ok((name.to_owned(), on))
}

/// A rule of collection; none for `off`.
fn gc_rule(text: &str) -> Result<Option<GcRule>, String> {
    if text == "off" { Ok(None) } else { text.parse().map(Some) }
}

/// Docker's options of runc: Dray writes cgroups itself.
fn exec_option(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("native.cgroupdriver", "cgroupfs")) => Ok(text.to_owned()),
        Some(("native.cgroupdriver", driver)) => {
            Err(format!("native.cgroupdriver={driver}: cgroups are always written directly (cgroupfs)"))
        }
        _ => Err(format!("Unknown option: {text:?}")),
    }
}

fn pool(text: &str) -> Result<Pool, String> {
    let (mut base, mut size) = (None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("base", value)) => base = Some(cidr(value)?),
            Some(("size", value)) => {
                size = Some(
                    value
                        .parse::<u8>()
                        .map_err(|_| format!("invalid size value: {value} (must be integer)"))?,
                );
            }
            _ => return Err(format!("invalid field '{field}' must be a key=value pair of base and size")),
        }
    }
    let (Some(base), Some(size)) = (base, size) else {
        return Err(format!("{text}: base and size are needed"));
    };
    let bits = if base.is_ipv4() { 32 } else { 128 };
    if size < base.prefix() || size > bits {
        return Err(format!("invalid pool size {size} for {base}"));
    }
    Ok(Pool { base, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: &[&str]) -> Result<Config, ConfigError> {
        let mut argv: Vec<OsString> = vec!["dray".into(), "daemon".into()];
        argv.extend(args.iter().map(OsString::from));
        Config::load(&argv)
    }

    fn with_file(text: &str, args: &[&str]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        std::fs::write(&path, text).unwrap();
        let mut all = vec!["--config-file", path.to_str().unwrap()];
        all.extend(args);
        load(&all).map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
    }

    #[test]
    fn the_definition_is_sound() {
        Config::command().debug_assert();
    }

    #[test]
    fn defaults() {
        let config = load(&["--config-file=/dev/null"]);
        assert!(config.is_err(), "an empty file is no JSON");
        let config = load(&["--run-root=/tmp/r", "--data-root=/tmp/d"]).unwrap();
        assert_eq!(config.listen_on(), [Host::Unix("/tmp/r/dray.sock".into())]);
        assert_eq!(config.tcp_trust(), TcpTrust::Refused);
        let network = config.network();
        assert!(network.bridge_name.len() <= 15 && network.bridge_name.starts_with("dray-"));
        assert_eq!(load(&[]).unwrap().network().bridge_name, "dray0");
        let here = std::env::current_dir().unwrap();
        let config = load(&["--run-root=r", "--data-root=d"]).unwrap();
        assert_eq!((config.run_root, config.data_root), (here.join("r"), here.join("d")));
    }

    #[test]
    fn the_file_speaks_docker_s_names() {
        let config = with_file(
            r#"{"hosts":["unix:///a","tcp://127.0.0.1:1"],"debug":true,"log-opts":{"max-size":"1m"},
                "default-address-pools":[{"base":"10.0.0.0/8","size":24}],"insecure-registries":["r:5000"],
                "storage-driver":"overlay2","live-restore":true,"max-concurrent-downloads":7,"certs-dirs":["/c"],"bip":"10.1.0.1/24","tlsverify":false,
                "publish-mode":"firewall-aware"}"#,
            &["--label=a=b"],
        )
        .unwrap();
        assert_eq!(config.hosts.len(), 2);
        assert_eq!((config.max_concurrent_downloads, config.max_concurrent_uploads), (7, 5));
        assert_eq!(config.certs_dirs, [PathBuf::from("/c")]);
        assert!(config.debug && !config.tlsverify);
        assert_eq!(config.log_opts, [("max-size".to_owned(), "1m".to_owned())]);
        assert_eq!(config.default_address_pools[0].size, 24);
        assert_eq!(config.bip.unwrap().to_string(), "10.1.0.1/24");
        assert_eq!(config.network().publish_mode, PublishMode::FirewallAware);
        assert_eq!(config.labels, ["a=b"]);
    }

    #[test]
    fn the_default_bridge_is_what_the_file_says() {
        let config = with_file(
            r#"{"ipv6":true,"fixed-cidr-v6":"fd00:7::/64","fixed-cidr":"10.1.2.0/24","bip":"10.1.0.1/16","icc":false,
                "ip-masq":false,"ip":"192.0.2.1","default-gateway":"10.1.0.254","default-gateway-v6":"fd00:7::fe",
                "default-network-opts":{"bridge":{"com.docker.network.driver.mtu":"1400"},"macvlan":{"a":"b=c"}}}"#,
            &[],
        )
        .unwrap();
        let network = config.network();
        let bridge = &network.default_bridge;
        assert!(bridge.ipv6);
        assert_eq!(bridge.fixed_cidr.unwrap().to_string(), "10.1.2.0/24");
        assert_eq!(bridge.fixed_cidr_v6.unwrap().to_string(), "fd00:7::/64");
        assert_eq!(bridge.gateway.unwrap().to_string(), "10.1.0.254");
        assert_eq!(bridge.gateway_v6.unwrap().to_string(), "fd00:7::fe");
        for (key, value) in
            [("enable_icc", "false"), ("enable_ip_masquerade", "false"), ("host_binding_ipv4", "192.0.2.1")]
        {
            assert_eq!(bridge.options[&format!("com.docker.network.bridge.{key}")], value);
        }
        assert_eq!(network.default_options["bridge"]["com.docker.network.driver.mtu"], "1400");
        assert_eq!(network.default_options["macvlan"]["a"], "b=c");
        let network = load(&[]).unwrap().network();
        assert!(!network.default_bridge.ipv6 && network.default_options.is_empty());
        let wrong = with_file(r#"{"default-network-opts":{"bridge":"x"}}"#, &[]).unwrap_err();
        assert!(wrong.contains("default-network-opts: expected an object of objects of strings"), "{wrong}");
    }

    #[test]
    fn the_file_s_errors_are_docker_s() {
        assert_eq!(
            with_file(r#"{"graph":"/x","nope":1}"#, &[]).unwrap_err(),
            "unable to configure the daemon with file FILE: the following directives don't match any configuration option: graph, nope"
        );
        assert_eq!(
            with_file(r#"{"bip":"10.0.0.1/8"}"#, &["--bip=10.1.0.1/16"]).unwrap_err(),
            "unable to configure the daemon with file FILE: the following directives are specified both as a flag and in the configuration file: bip: (from flag: 10.1.0.1/16, from file: 10.0.0.1/8)"
        );
        assert!(with_file("{", &[]).unwrap_err().contains("EOF while parsing"));
        let wrong = with_file(r#"{"publish-mode":"open"}"#, &[]).unwrap_err();
        assert!(wrong.contains("invalid publish mode \"open\": it is nat or firewall-aware"), "{wrong}");
        assert!(with_file(r#"{"bip":"x"}"#, &[]).unwrap_err().contains("invalid CIDR address: x"));
        assert!(with_file(r#"{"bip":["x"]}"#, &[]).unwrap_err().contains("bip: expected a string"));
    }

    #[test]
    fn defaults_of_containers() {
        let config = with_file(
            r#"{"default-ulimits":{"nofile":{"Name":"nofile","Soft":1024,"Hard":2048}},"init":true,
                "default-shm-size":"128M","live-restore":false,"shutdown-timeout":30,"features":{"buildkit":false},
                "exec-opts":["native.cgroupdriver=cgroupfs"],"max-concurrent-downloads":7,"userland-proxy":false}"#,
            &[],
        )
        .unwrap();
        assert_eq!((config.default_ulimits[0].soft, config.default_ulimits[0].hard), (1024, 2048));
        assert!(config.init && !config.live_restore);
        assert_eq!((config.default_shm_size, config.shutdown_timeout), (128 << 20, 30));
        assert_eq!((config.max_concurrent_downloads, config.max_concurrent_uploads), (7, 5));
        assert_eq!(config.features, [("buildkit".to_owned(), false)]);
        assert!(load(&[]).unwrap().live_restore, "containers outlive the daemon when nothing is said");
        let wrong = |text: &str| with_file(text, &[]).unwrap_err();
        assert!(wrong(r#"{"exec-opts":["native.cgroupdriver=systemd"]}"#).contains("cgroupfs"));
        assert!(wrong(r#"{"max-concurrent-uploads":0}"#).contains("max-concurrent-uploads"));
        assert!(wrong(r#"{"default-runtime":"kata"}"#).contains("kata"));
        assert!(wrong(r#"{"userland-proxy":true}"#).contains("userland-proxy"));
    }

    #[test]
    fn a_file_that_is_named_must_be_there() {
        assert!(matches!(load(&["--config-file=/nonexistent/x.json"]), Err(ConfigError::File { .. })));
    }

    #[test]
    fn pools() {
        assert!(pool("base=10.0.0.0/8,size=24").is_ok());
        assert!(pool("base=10.0.0.0/8").is_err());
        assert!(pool("base=10.0.0.0/8,size=4").is_err());
    }
}
