//! Flags of `dray registry serve`, and its configuration file.
//!
//! The file is JSON with the flags' names, and with what is too long for a command line: rules of access, immutable
//! tags, quotas, warnings. A flag wins over the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Deserialize;

use crate::access::{AccessRule, Challenge, Policy};
use crate::cache::{CacheBounds, UpstreamRule};
use crate::duration::Span;
use crate::metadata::{self, Metadata, Postgres, Sqlite};
use crate::remote::RemoteRule;
use crate::replication::ReplicationRule;
use crate::report::{AuditBounds, Overflow, WebhookRule};
use crate::retention::RetentionRule;
use crate::rules::{ImmutableTags, QuotaRule, Rules, WarningRule};
use crate::storage::{self, Bucket, Disk, Environment, Storage};

/// Where the configuration file is looked for when no flag names one; it need not be there.
const DEFAULT_FILE: &str = "/etc/dray/registry.json";
const DEFAULT_ADDRESS: &str = "127.0.0.1:5000";
const DEFAULT_ROOT: &str = "/var/lib/dray-registry";

/// Where the registry's data are.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Place {
    /// Configuration file (JSON) [default: /etc/dray/registry.json, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where blobs and metadata are kept [default: /var/lib/dray-registry]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_root: Option<PathBuf>,
    /// Where blobs are kept instead: s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, with
    /// credentials from the environment
    #[arg(long, value_name = "URL")]
    pub(crate) storage: Option<String>,
    /// Where metadata are kept instead: postgres://user:password@host/database, which servers can share
    #[arg(long, value_name = "URL", env = "DRAY_REGISTRY_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<String>,
}

/// Flags of `dray registry serve`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeFlags {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Address to listen on [default: 127.0.0.1:5000]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// TLS certificate chain (PEM); read again when it changes, and on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of the TLS certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Password file (htpasswd -B); without it anybody may do anything
    #[arg(long, value_name = "FILE")]
    pub(crate) htpasswd: Option<PathBuf>,
    /// Let anybody pull
    #[arg(long)]
    pub(crate) anonymous_pull: bool,
    /// The registry's address as clients see it, https://host[:port]
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Append what happens, and who did it, to this file (JSON lines)
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_log: Option<PathBuf>,
    /// What goes first when the audit log cannot be written: wait refuses requests, drop loses lines [default: wait]
    #[arg(long, value_name = "HOW")]
    pub(crate) audit_overflow: Option<Overflow>,
    /// Refuse to delete anything
    #[arg(long)]
    pub(crate) no_delete: bool,
    /// Take manifests whose layers or manifests are not there
    #[arg(long)]
    pub(crate) sparse: bool,
    /// Be a cache of this registry (https://host[:port]), for Docker's registry-mirrors
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// How often garbage is collected; 0s for never [default: 1h]
    #[arg(long, value_name = "DURATION")]
    pub(crate) gc_interval: Option<Span>,
    /// How long a blob that no manifest needs is kept [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub(crate) gc_grace: Option<Span>,
    /// Collect manifests without a tag when they are so old [default: never]
    #[arg(long, value_name = "DURATION")]
    pub(crate) gc_untagged: Option<Span>,
    /// How long an upload may rest [default: 7d]
    #[arg(long, value_name = "DURATION")]
    pub(crate) upload_expiry: Option<Span>,
    /// How long requests at work may take when the registry stops [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) drain: Option<Span>,
    /// Descriptor on which a line is written when the registry is ready
    #[arg(long, value_name = "FD")]
    pub(crate) ready_fd: Option<u32>,
    /// Log level: error, warn, info, debug or trace [default: info]
    #[arg(short, long, value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub(crate) log_level: Option<String>,
}

/// The configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct File {
    data_root: Option<PathBuf>,
    storage: Option<String>,
    database: Option<String>,
    address: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    htpasswd: Option<PathBuf>,
    anonymous_pull: bool,
    public_url: Option<String>,
    audit_log: Option<PathBuf>,
    audit: AuditBounds,
    no_delete: bool,
    sparse: bool,
    gc_interval: Option<Span>,
    gc_grace: Option<Span>,
    gc_untagged: Option<Span>,
    upload_expiry: Option<Span>,
    drain: Option<Span>,
    log_level: Option<String>,
    challenge: Challenge,
    access: Vec<AccessRule>,
    immutable_tags: Vec<ImmutableTags>,
    quotas: Vec<QuotaRule>,
    warnings: Vec<WarningRule>,
    retention: Vec<RetentionRule>,
    webhooks: Vec<WebhookRule>,
    upstream: Option<String>,
    upstreams: Vec<UpstreamRule>,
    cache: CacheBounds,
    replication: Vec<ReplicationRule>,
}

/// What the registry is to be.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) data: Data,
    pub(crate) address: String,
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) htpasswd: Option<PathBuf>,
    pub(crate) policy: Policy,
    pub(crate) rules: Rules,
    pub(crate) retention: Vec<RetentionRule>,
    pub(crate) webhooks: Vec<WebhookRule>,
    pub(crate) upstreams: Vec<UpstreamRule>,
    pub(crate) cache: CacheBounds,
    pub(crate) replication: Vec<ReplicationRule>,
    pub(crate) audit_log: Option<PathBuf>,
    pub(crate) audit: AuditBounds,
    pub(crate) gc_interval: Span,
    pub(crate) gc_grace: Span,
    pub(crate) gc_untagged: Option<Span>,
    pub(crate) upload_expiry: Span,
    pub(crate) drain: Span,
    pub(crate) ready_fd: Option<u32>,
    pub(crate) log_level: String,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says what nobody understands.
    #[error("configuration file {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// One of two things that go together.
    #[error("tls-cert and tls-key go together")]
    HalfTls,
    /// A rule that would delete every tag.
    #[error("a retention rule needs keep-last, keep-within or keep-tags")]
    KeepsNothing,
    /// Rules for users, and no users.
    #[error("access rules and anonymous-pull need a password file (htpasswd)")]
    NoUsers,
    /// An address that clients could not use.
    #[error("public-url {0:?} is not http://host[:port] or https://host[:port]")]
    PublicUrl(String),
}

impl Config {
    /// Reads the file and lays the flags over it.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn load(flags: ServeFlags) -> Result<Self, ConfigError> {
        let file = read(flags.place.config.as_deref())?;
        let tls = match (flags.tls_cert.or(file.tls_cert), flags.tls_key.or(file.tls_key)) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(ConfigError::HalfTls),
        };
        let htpasswd = flags.htpasswd.or(file.htpasswd);
        let anonymous_pull = flags.anonymous_pull || file.anonymous_pull;
        if htpasswd.is_none() && (anonymous_pull || !file.access.is_empty()) {
            return Err(ConfigError::NoUsers);
        }
        if !file.retention.iter().all(RetentionRule::keeps_something) {
            return Err(ConfigError::KeepsNothing);
        }
        let public_url = flags.public_url.or(file.public_url).map(checked_url).transpose()?;
        let whole = flags.upstream.or(file.upstream).map(RemoteRule::at);
        let whole = whole.map(|registry| UpstreamRule { prefix: String::new(), registry, ttl: None });
        let seconds = |seconds| Span(std::time::Duration::from_secs(seconds));
        Ok(Self {
            data: Data::of(
                flags.place.data_root.or(file.data_root),
                flags.place.storage.or(file.storage),
                flags.place.database.or(file.database),
            ),
            address: flags.address.or(file.address).unwrap_or_else(|| DEFAULT_ADDRESS.into()),
            tls,
            policy: Policy {
                open: htpasswd.is_none(),
                rules: file.access,
                anonymous_pull,
                challenge: file.challenge,
                public_url,
            },
            htpasswd,
            rules: Rules {
                sparse: flags.sparse || file.sparse,
                keep_all: flags.no_delete || file.no_delete,
                immutable: file.immutable_tags,
                quotas: file.quotas,
                warnings: file.warnings,
            },
            retention: file.retention,
            webhooks: file.webhooks,
            upstreams: file.upstreams.into_iter().chain(whole).collect(),
            cache: file.cache,
            replication: file.replication,
            audit_log: flags.audit_log.or(file.audit_log),
            audit: AuditBounds {
                overflow: flags.audit_overflow.unwrap_or(file.audit.overflow),
                ..file.audit
            },
            gc_interval: flags.gc_interval.or(file.gc_interval).unwrap_or(seconds(60 * 60)),
            gc_grace: flags.gc_grace.or(file.gc_grace).unwrap_or(seconds(24 * 60 * 60)),
            gc_untagged: flags.gc_untagged.or(file.gc_untagged),
            upload_expiry: flags.upload_expiry.or(file.upload_expiry).unwrap_or(seconds(7 * 24 * 60 * 60)),
            drain: flags.drain.or(file.drain).unwrap_or(seconds(30)),
            ready_fd: flags.ready_fd,
            log_level: flags.log_level.or(file.log_level).unwrap_or_else(|| "info".into()),
        })
    }
}

impl Place {
    /// Where the data are, as flags and file say.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(crate) fn data(&self) -> Result<Data, ConfigError> {
        let file = read(self.config.as_deref())?;
        Ok(Data::of(
            self.data_root.clone().or(file.data_root),
            self.storage.clone().or(file.storage),
            self.database.clone().or(file.database),
        ))
    }
}

/// Where the data are.
#[derive(Clone)]
pub(crate) struct Data {
    /// The folder of the metadata, and of the blobs if nothing else is said.
    pub(crate) root: PathBuf,
    /// The bucket of the blobs.
    pub(crate) storage: Option<String>,
    /// The database of the metadata, with its password.
    database: Option<String>,
}

impl std::fmt::Debug for Data {
    /// Without the database's address, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let database = self.database.as_ref().map(|_| "postgres");
        f.debug_struct("Data")
            .field("root", &self.root)
            .field("storage", &self.storage)
            .field("database", &database)
            .finish()
    }
}

impl Data {
    fn of(root: Option<PathBuf>, storage: Option<String>, database: Option<String>) -> Self {
        Self { root: root.unwrap_or_else(|| DEFAULT_ROOT.into()), storage, database }
    }

    /// Where a blob lies while it comes from another registry, if the storage is no disk.
    pub(crate) fn spool(&self) -> PathBuf {
        if self.needs_root() { self.root.join("spool") } else { std::env::temp_dir() }
    }

    /// Whether the data root holds anything: then one server at a time may use it.
    pub(crate) fn needs_root(&self) -> bool {
        self.storage.is_none() || self.database.is_none()
    }

    /// Opens the storage.
    ///
    /// # Errors
    /// Its folders cannot be made, or the bucket's address is wrong.
    pub(crate) fn open_storage(&self) -> storage::Result<Arc<dyn Storage>> {
        Ok(match &self.storage {
            Some(address) => Arc::new(Bucket::open(address, &Environment::of_this_process())?),
            None => Arc::new(Disk::open(&self.root.join("blobs"))?),
        })
    }

    /// Opens the metadata.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub(crate) async fn open_metadata(&self) -> metadata::Result<Arc<dyn Metadata>> {
        Ok(match &self.database {
            Some(address) => Arc::new(Postgres::open(address).await?),
            None => Arc::new(Sqlite::open(&self.root.join("registry.db"))?),
        })
    }
}

fn read(named: Option<&Path>) -> Result<File, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE)).to_path_buf();
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            return Ok(File::default());
        }
        Err(source) => return Err(ConfigError::Read { path, source }),
        Ok(text) => text,
    };
    serde_json::from_str(&text).map_err(|source| ConfigError::Parse { path, source })
}

fn checked_url(text: String) -> Result<String, ConfigError> {
    let usable = url::Url::parse(&text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
    });
    if usable { Ok(text) } else { Err(ConfigError::PublicUrl(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str, flags: ServeFlags) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.json");
        std::fs::write(&path, text).unwrap();
        let place = Place { config: Some(path.clone()), ..flags.place.clone() };
        Config::load(ServeFlags { place, ..flags })
            .map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let flags = ServeFlags { address: Some("0.0.0.0:1".into()), ..ServeFlags::default() };
        let text = r#"{"address":"127.0.0.1:2","data-root":"/x","gc-grace":"2h","htpasswd":"/p",
            "access":[{"users":["ann"],"repositories":["a/**"],"actions":["pull","push"]}],
            "quotas":[{"prefix":"a","bytes":5}],"challenge":"basic"}"#;
        let config = with_file(text, flags).unwrap();
        assert_eq!(config.address, "0.0.0.0:1");
        assert_eq!(config.data.root, Path::new("/x"));
        assert_eq!(config.gc_grace.0.as_secs(), 7200);
        assert!(!config.policy.open && config.policy.challenge == Challenge::Basic);
        assert_eq!(config.rules.quotas[0].bytes, 5);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let bad = |text| with_file(text, ServeFlags::default()).unwrap_err();
        assert!(bad(r#"{"adress":"x"}"#).starts_with("configuration file FILE: unknown field `adress`"));
        assert!(bad(r#"{"gc-grace":"5"}"#).contains("is no duration"));
        assert_eq!(bad(r#"{"tls-cert":"/c"}"#), "tls-cert and tls-key go together");
        assert!(bad(r#"{"retention":[{"repositories":["**"]}]}"#).contains("keep-last"));
        assert!(bad(r#"{"anonymous-pull":true}"#).contains("need a password file"));
        assert!(bad(r#"{"public-url":"registry.test"}"#).contains("public-url"));
        let place = Place { config: Some("/nonexistent/x".into()), ..Place::default() };
        assert!(Config::load(ServeFlags { place, ..ServeFlags::default() }).is_err());
    }

    #[test]
    fn without_users_it_is_open_and_local() {
        let config = with_file("{}", ServeFlags::default()).unwrap();
        assert!(config.policy.open);
        assert_eq!(config.address, DEFAULT_ADDRESS);
    }
}
