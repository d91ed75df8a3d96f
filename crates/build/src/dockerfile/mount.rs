//! `RUN --mount`: a comma-separated list of settings, whose values may hold variables.

use crate::dockerfile::csv;
use crate::dockerfile::suggest::{closest, did_you_mean};
use crate::expand::ExpandError;
use dray_spec::golang::{parse_bool, quoted};

/// A mount of `RUN --mount`, with its variables expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// `type`.
    pub kind: MountKind,
    /// `from`: a stage or image instead of the context.
    pub from: Option<String>,
    /// `source`.
    pub source: String,
    /// `target`.
    pub target: String,
    /// Whether the step cannot write.
    pub readonly: bool,
    /// `size` of a tmpfs in bytes.
    pub size: Option<u64>,
    /// `id` of a cache or secret.
    pub id: Option<String>,
    /// `sharing` of a cache.
    pub sharing: Sharing,
    /// `required` secret or agent.
    pub required: bool,
    /// `env` of a secret.
    pub env: Option<String>,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

/// `type=`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountKind {
    /// A directory of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that stays between builds.
    Cache,
    /// Memory.
    Tmpfs,
    /// A file with a secret.
    Secret,
    /// An SSH agent.
    Ssh,
}

impl Mount {
    /// The cache of this id, wherever it is mounted.
    pub(crate) fn of_cache(id: &str) -> Self {
        let (id, target) = (Some(id.to_owned()), id.to_owned());
        Mount { kind: MountKind::Cache, id, target, ..Mount::default() }
    }
}

impl MountKind {
    const ALL: [(&'static str, MountKind); 5] = [
        ("bind", MountKind::Bind),
        ("cache", MountKind::Cache),
        ("tmpfs", MountKind::Tmpfs),
        ("secret", MountKind::Secret),
        ("ssh", MountKind::Ssh),
    ];

    /// The word in the Dockerfile.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| *name)
    }
}

/// `sharing=`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Steps use the cache at the same time.
    #[default]
    Shared,
    /// A step that finds it in use gets one of its own.
    Private,
    /// A step that finds it in use waits.
    Locked,
}

/// Why a `--mount` cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// A quote at the wrong place.
    #[error("failed to parse csv mounts: {0}")]
    Csv(&'static str),
    /// A setting without value.
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    /// A setting that does not exist.
    #[error("unexpected key '{key}' in '{field}'{}", did_you_mean(.suggestion))]
    UnknownKey {
        /// The key.
        key: String,
        /// The whole setting.
        field: String,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// A setting of another type of mount.
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    KeyForKind {
        /// The key.
        key: String,
        /// The type.
        kind: &'static str,
    },
    /// A type that does not exist.
    #[error("unsupported mount type {}{}", quoted(.kind), did_you_mean(.suggestion))]
    UnknownKind {
        /// The type.
        kind: String,
        /// The type that was probably meant.
        suggestion: Option<String>,
    },
    /// A sharing mode that does not exist.
    #[error("unsupported sharing value {mode}", mode = quoted(.0))]
    UnknownSharing(String),
    /// A value that cannot be read.
    #[error("invalid value for {key}: {value}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A number that cannot be read.
    #[error("invalid value {value} for {key}")]
    Number {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// A variable in `from`.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    FromVariable,
    /// `mode`, `uid` or `gid` where they mean nothing.
    #[error("{key} not allowed for {} type mounts", quoted(.kind))]
    OwnerForKind {
        /// The key.
        key: &'static str,
        /// The type.
        kind: &'static str,
    },
    /// `sharing` of something that is no cache.
    #[error("invalid cache sharing set for {0} mount")]
    SharingForKind(&'static str),
    /// `from` of a secret.
    #[error("secret mount should not have a from")]
    SecretFrom,
    /// A secret without name.
    #[error("invalid secret mount. one of source, target required")]
    SecretUnnamed,
    /// A secret with two names.
    #[error("both source and id can't be set")]
    SecretTwoNames,
    /// A value cannot be expanded.
    #[error(transparent)]
    Expand(ExpandError),
}

/// Expands the variables of a value.
pub(crate) type Expand<'a> = &'a dyn Fn(&str) -> Result<String, ExpandError>;

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl Mount {
    /// Reads a `--mount` value.
    ///
    /// # Errors
    /// When a setting is unknown, malformed or not for this type of mount.
    pub(crate) fn parse(text: &str, expand: Expand<'_>) -> Result<Mount, MountError> {
        let mut settings = Settings::default();
        for field in csv::fields(text).map_err(MountError::Csv)? {
            match field.split_once('=') {
                Some((key, value)) => {
                    let value = expand(value).map_err(MountError::Expand)?;
                    settings.set(&key.to_lowercase(), value, &field)?;
                }
                None => settings.set_bare(&field)?,
            }
        }
        settings.checked()
    }

    /// What can be told before variables are known: the list itself, and everything if there are none.
    pub(super) fn precheck(text: &str) -> Result<(), MountError> {
        let fields = csv::fields(text).map_err(MountError::Csv)?;
        for value in fields.iter().filter_map(|field| field.strip_prefix("from=")) {
            if value.trim_end_matches('$').contains('$') {
                return Err(MountError::FromVariable);
            }
        }
        if !text.contains(['$', '\\', '`', '"', '\'']) {
            Mount::parse(text, &|value| Ok(value.to_owned()))?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Settings {
    mount: Mount,
    readonly: Option<bool>,
    sharing: Option<Sharing>,
}

impl Settings {
    fn set_bare(&mut self, field: &str) -> Result<(), MountError> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => self.readonly = Some(true),
            "readwrite" | "rw" => self.readonly = Some(false),
            "required" => self.require("required", true)?,
            _ => return Err(MountError::NoValue(field.to_owned())),
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: String, field: &str) -> Result<(), MountError> {
        let mount = &mut self.mount;
        match key {
            "type" => mount.kind = kind(&value)?,
            "from" => mount.from = Some(value),
            "source" | "src" => mount.source = value,
            "target" | "dst" | "destination" => mount.target = value,
            "readonly" | "ro" => self.readonly = Some(boolean(key, &value)?),
            "readwrite" | "rw" => self.readonly = Some(!boolean(key, &value)?),
            "required" => {
                let required = boolean(key, &value)?;
                self.require(key, required)?;
            }
            "size" if mount.kind != MountKind::Tmpfs => return Err(self.not_for_kind(key)),
            "size" => mount.size = Some(bytes(key, &value)?),
            "id" => mount.id = Some(value),
            "sharing" => self.sharing = Some(sharing(&value)?),
            "mode" => mount.mode = Some(number("mode", &value, 8)?),
            "uid" => mount.uid = Some(number("uid", &value, 10)?),
            "gid" => mount.gid = Some(number("gid", &value, 10)?),
            "env" => mount.env = Some(value),
            _ => {
                let suggestion = closest(key, &KEYS, false);
                return Err(MountError::UnknownKey {
                    key: key.to_owned(),
                    field: field.to_owned(),
                    suggestion,
                });
            }
        }
        Ok(())
    }

    fn require(&mut self, key: &str, required: bool) -> Result<(), MountError> {
        if !matches!(self.mount.kind, MountKind::Secret | MountKind::Ssh) {
            return Err(self.not_for_kind(key));
        }
        self.mount.required = required;
        Ok(())
    }

    fn not_for_kind(&self, key: &str) -> MountError {
        MountError::KeyForKind { key: key.to_owned(), kind: self.mount.kind.name() }
    }

    fn checked(self) -> Result<Mount, MountError> {
        let mut mount = self.mount;
        let kind = mount.kind;
        if matches!(kind, MountKind::Bind | MountKind::Tmpfs) {
            let given =
                [("mode", mount.mode.is_some()), ("uid", mount.uid.is_some()), ("gid", mount.gid.is_some())];
            if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
                return Err(MountError::OwnerForKind { key, kind: kind.name() });
            }
        }
        mount.readonly = self.readonly.unwrap_or(!matches!(kind, MountKind::Cache | MountKind::Tmpfs));
        if kind == MountKind::Secret {
            if mount.from.is_some() {
                return Err(MountError::SecretFrom);
            }
            if mount.source.is_empty() && mount.target.is_empty() && mount.id.is_none() {
                return Err(MountError::SecretUnnamed);
            }
            if !mount.source.is_empty() && mount.id.is_some() {
                return Err(MountError::SecretTwoNames);
            }
        }
        if self.sharing.is_some() && kind != MountKind::Cache {
            return Err(MountError::SharingForKind(kind.name()));
        }
        mount.sharing = self.sharing.unwrap_or_default();
        Ok(mount)
    }
}

fn kind(value: &str) -> Result<MountKind, MountError> {
    let wanted = value.to_lowercase();
    MountKind::ALL.iter().find(|(name, _)| *name == wanted).map(|(_, kind)| *kind).ok_or_else(|| {
        let names = MountKind::ALL.map(|(name, _)| name);
        MountError::UnknownKind { kind: value.to_owned(), suggestion: closest(value, &names, false) }
    })
}

fn sharing(value: &str) -> Result<Sharing, MountError> {
    match value.to_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        _ => Err(MountError::UnknownSharing(value.to_owned())),
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, MountError> {
    parse_bool(value).ok_or_else(|| MountError::Value { key: key.to_owned(), value: value.to_owned() })
}

fn number(key: &'static str, value: &str, radix: u32) -> Result<u32, MountError> {
    u32::from_str_radix(value, radix).map_err(|_| MountError::Number { key, value: value.to_owned() })
}

/// `64m`, `1.5g`, `100`: a size in bytes.
fn bytes(key: &str, value: &str) -> Result<u64, MountError> {
    let bad = || MountError::Value { key: key.to_owned(), value: value.to_owned() };
    let lower = value.trim().to_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let lower = lower.strip_suffix('i').unwrap_or(lower);
    let (digits, shift) = match lower.chars().last() {
        Some('k') => (&lower[..lower.len() - 1], 10),
        Some('m') => (&lower[..lower.len() - 1], 20),
        Some('g') => (&lower[..lower.len() - 1], 30),
        Some('t') => (&lower[..lower.len() - 1], 40),
        Some('p') => (&lower[..lower.len() - 1], 50),
        _ => (lower, 0),
    };
    let number: f64 = digits.trim().parse().map_err(|_| bad())?;
    if !number.is_finite() || number < 0.0 {
        return Err(bad());
    }
    Ok((number * (1_u64 << shift) as f64) as u64)
}
