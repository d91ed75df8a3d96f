//! Mounts of a container as asked for: `-v src:dst:mode`, `--mount`, `--volumes-from`, `--tmpfs`.
//!
//! Parsing and checking only; volumes are made and paths looked up by [`super::create`].

use dray_store::LayerId;
use std::path::Path;

use dray_api::container::{BindOptions, Mount, MountType, TmpfsOptions};
use serde::{Deserialize, Serialize};

use super::idmap::Ids;

/// Why a mount is refused, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A `-v` value of the wrong shape.
    #[error("invalid volume specification: '{0}'")]
    Spec(String),
    /// A `-v` value of the right shape with something wrong in it.
    #[error("invalid volume specification: '{spec}': {reason}")]
    SpecBecause {
        /// The value.
        spec: String,
        /// What is wrong.
        reason: Box<Error>,
    },
    /// An unknown or contradictory mode.
    #[error("invalid mode: {0}")]
    Mode(String),
    /// A mount of the API with something wrong in it.
    #[error("invalid mount config for type \"{kind}\": {reason}")]
    Config {
        /// Its type.
        kind: String,
        /// What is wrong.
        reason: Box<Error>,
    },
    /// A required field is missing.
    #[error("field {0} must not be empty")]
    Missing(&'static str),
    /// A field of another type of mount.
    #[error("field {0} must not be specified")]
    Extra(&'static str),
    /// Nothing may be mounted over the root.
    #[error("invalid specification: destination can't be '/'")]
    Root,
    /// A relative path.
    #[error("invalid mount path: '{0}' mount path must be absolute")]
    Relative(String),
    /// No such type of mount.
    #[error("mount type unknown")]
    UnknownType,
    /// The source is not there.
    #[error("bind source path does not exist: {0}")]
    MissingSource(String),
    /// No such propagation.
    #[error("invalid propagation mode: {0}")]
    Propagation(String),
    /// A part of a volume that has no name.
    #[error("must not set Subpath when using anonymous volumes")]
    AnonymousSubpath,
    /// A subpath that leaves its volume.
    #[error("subpath must be a relative path within the volume")]
    Subpath,
    /// A tmpfs option with more or fewer than two parts.
    #[error("invalid option array length")]
    TmpfsOptionLength,
    /// No such tmpfs option.
    #[error("invalid option: {0}")]
    TmpfsOption(String),
    /// `--volumes-from` without a container.
    #[error("volumes-from specification cannot be an empty string")]
    EmptyVolumesFrom,
    /// A container whose volumes are wanted, and which is not there.
    #[error("{0}")]
    From(String),
    /// Two mounts at one place.
    #[error("Duplicate mount point: {0}")]
    Duplicate(String),
    /// Read-only options on a mount that is not read-only, or both at once.
    #[error("mount options conflict: {0}")]
    Conflict(&'static str),
    /// Nothing to take away.
    #[error("nothing is mounted at {0}")]
    NotMounted(String),
    /// A kind of mount that only a new container can have.
    #[error("mounts of type {0} cannot be added to a container that exists")]
    NotLive(&'static str),
    /// A mapping of ids that is none.
    #[error(
        "invalid id mapping {0:?}: it is written uids=DISK-CONTAINER-COUNT#…;gids=DISK-CONTAINER-COUNT#…"
    )]
    IdMap(String),
}

/// A mount that a container has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs` or `image`.
    pub kind: MountType,
    /// Path on the host; for a volume where its content lies, for an image its id.
    pub source: String,
    /// Path in the container, clean.
    pub destination: String,
    /// Name of the volume.
    pub name: String,
    /// Driver of the volume.
    pub driver: String,
    /// Made for this container, and removed with it on request.
    pub anonymous: bool,
    /// The mode as given to `-v`.
    pub mode: String,
    /// May be written to.
    pub rw: bool,
    /// How mounts below it spread.
    pub propagation: String,
    /// Copy what the image has at the destination into a new volume.
    pub copy: bool,
    /// Mount only this part of the volume or image.
    pub subpath: String,
    /// Make a missing source directory (`-v` does, `--mount` does not).
    pub create_source: bool,
    /// Options of a bind mount.
    pub bind: Option<BindOptions>,
    /// Options of a tmpfs.
    pub tmpfs: Option<TmpfsOptions>,
    /// Labels and driver options for a volume that is to be made.
    pub labels: dray_api::Labels,
    /// Driver options for a volume that is to be made.
    pub options: dray_api::Labels,
    /// Layers of an image that is mounted, the bottom one first.
    pub layers: Vec<LayerId>,
    /// Who owns its files in the container.
    pub ids: Ids,
}

const PROPAGATIONS: &[&str] = &["private", "rprivate", "slave", "rslave", "shared", "rshared"];
const DEFAULT_PROPAGATION: &str = "rprivate";

/// What a comma-separated mode says; none when it says nonsense.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mode {
    read_only: bool,
    propagation: Option<String>,
    copy: Option<bool>,
}

impl Mode {
    fn parse(mode: &str) -> Option<Self> {
        let mut read = Self::default();
        let (mut access, mut label, mut consistency) = (0, 0, 0);
        for part in mode.split(',').filter(|_| !mode.is_empty()) {
            match part {
                "rw" => access += 1,
                "ro" => {
                    access += 1;
                    read.read_only = true;
                }
                "z" | "Z" => label += 1,
                "consistent" | "cached" | "delegated" => consistency += 1,
                "nocopy" if read.copy.is_none() => read.copy = Some(false),
                spread if PROPAGATIONS.contains(&spread) && read.propagation.is_none() => {
                    read.propagation = Some(spread.to_owned());
                }
                _ => return None,
            }
        }
        (access <= 1 && label <= 1 && consistency <= 1).then_some(read)
    }
}

/// Reads a `-v` value: `dst`, `src:dst` or `src:dst:mode`.
///
/// # Errors
/// When it is none of these, or names a place that cannot be mounted on.
pub fn parse_bind(raw: &str, volume_driver: &str) -> Result<MountPoint, Error> {
    let wrong = || Error::Spec(raw.to_owned());
    let parts: Vec<&str> = raw.splitn(4, ':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [""] | ["", ..] => return Err(wrong()),
        [target] => ("", *target, ""),
        [_, mode] if Mode::parse(mode).is_some() => return Err(wrong()),
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        _ => return Err(wrong()),
    };
    let read = Mode::parse(mode).ok_or_else(|| Error::Mode(mode.to_owned()))?;
    let because = |reason| Error::SpecBecause { spec: raw.to_owned(), reason: Box::new(reason) };
    let bind = source.starts_with('/');
    let kind = if bind { MountType::Bind } else { MountType::Volume };
    let in_config =
        |reason| because(Error::Config { kind: kind.as_str().to_owned(), reason: Box::new(reason) });
    check_target(target).map_err(in_config)?;
    let extra = |field| Err(in_config(Error::Extra(field)));
    if bind && read.copy.is_some() {
        return extra("VolumeOptions");
    }
    if !bind && read.propagation.is_some() {
        return extra("BindOptions");
    }
    let spread = || read.propagation.clone().unwrap_or_else(|| DEFAULT_PROPAGATION.to_owned());
    Ok(MountPoint {
        source: if bind { clean(source) } else { String::new() },
        name: if bind { String::new() } else { source.to_owned() },
        anonymous: source.is_empty(),
        destination: clean(target),
        driver: if bind { String::new() } else { volume_driver.to_owned() },
        mode: mode.to_owned(),
        rw: !read.read_only,
        propagation: if bind { spread() } else { String::new() },
        copy: !bind && read.copy.unwrap_or(true),
        create_source: bind,
        kind,
        ..MountPoint::default()
    })
}

/// Reads a mount of the API (`--mount`).
///
/// # Errors
/// When fields are missing, contradict each other or belong to another type, and when the source of
/// a bind mount does not exist.
pub fn parse_mount(mount: &Mount) -> Result<MountPoint, Error> {
    check_mount(mount)
        .map_err(|reason| Error::Config { kind: mount.kind.as_str().to_owned(), reason: Box::new(reason) })?;
    let mut point = MountPoint {
        kind: mount.kind.clone(),
        destination: clean(&mount.target),
        rw: !mount.read_only,
        ids: Ids::parse(&mount.id_map, mount.match_user).map_err(|reason| Error::Config {
            kind: mount.kind.as_str().to_owned(),
            reason: Box::new(reason),
        })?,
        ..MountPoint::default()
    };
    match mount.kind {
        MountType::Bind => {
            let options = mount.bind_options.clone().unwrap_or_default();
            point.source = clean(&mount.source);
            point.propagation = match options.propagation.as_str() {
                "" => DEFAULT_PROPAGATION.to_owned(),
                given => given.to_owned(),
            };
            point.create_source = options.create_mountpoint;
            point.bind = Some(options);
        }
        MountType::Volume => {
            let options = mount.volume_options.clone().unwrap_or_default();
            let driver = options.driver_config.unwrap_or_default();
            point.name.clone_from(&mount.source);
            point.anonymous = mount.source.is_empty();
            point.driver = driver.name;
            point.options = driver.options.unwrap_or_default();
            point.labels = options.labels.unwrap_or_default();
            point.copy = !options.no_copy;
            point.subpath = options.subpath;
        }
        MountType::Tmpfs => point.tmpfs = Some(mount.tmpfs_options.clone().unwrap_or_default()),
        MountType::Image => {
            point.source.clone_from(&mount.source);
            point.subpath = mount.image_options.clone().unwrap_or_default().subpath;
            point.propagation = DEFAULT_PROPAGATION.to_owned();
            point.rw = false;
        }
        _ => {}
    }
    Ok(point)
}

fn check_mount(mount: &Mount) -> Result<(), Error> {
    let foreign = [
        (MountType::Bind, mount.bind_options.is_some(), "BindOptions"),
        (MountType::Volume, mount.volume_options.is_some(), "VolumeOptions"),
        (MountType::Image, mount.image_options.is_some(), "ImageOptions"),
        (MountType::Tmpfs, mount.tmpfs_options.is_some(), "TmpfsOptions"),
        (MountType::Cluster, mount.cluster_options.is_some(), "ClusterOptions"),
    ];
    if let Some((_, _, field)) = foreign.iter().find(|(kind, given, _)| *given && *kind != mount.kind) {
        return Err(Error::Extra(field));
    }
    if !matches!(mount.kind, MountType::Bind | MountType::Volume) {
        if !mount.id_map.is_empty() {
            return Err(Error::Extra("IDMap"));
        }
        if mount.match_user {
            return Err(Error::Extra("MatchUser"));
        }
    }
    if mount.target.is_empty() {
        return Err(Error::Missing("Target"));
    }
    check_target(&mount.target)?;
    match mount.kind {
        MountType::Bind => check_bind(mount),
        MountType::Volume => {
            let subpath = mount.volume_options.as_ref().map_or("", |options| options.subpath.as_str());
            if !subpath.is_empty() && mount.source.is_empty() {
                return Err(Error::AnonymousSubpath);
            }
            check_subpath(subpath)
        }
        MountType::Tmpfs if !mount.source.is_empty() => Err(Error::Extra("Source")),
        MountType::Tmpfs => mount.tmpfs_options.as_ref().map_or(Ok(()), check_tmpfs),
        MountType::Image if mount.source.is_empty() => Err(Error::Missing("Source")),
        MountType::Image => check_subpath(mount.image_options.as_ref().map_or("", |o| o.subpath.as_str())),
        _ => Err(Error::UnknownType),
    }
}

fn check_bind(mount: &Mount) -> Result<(), Error> {
    let options = mount.bind_options.clone().unwrap_or_default();
    if mount.source.is_empty() {
        return Err(Error::Missing("Source"));
    }
    if !options.propagation.is_empty() && !PROPAGATIONS.contains(&options.propagation.as_str()) {
        return Err(Error::Propagation(options.propagation));
    }
    if !mount.source.starts_with('/') {
        return Err(Error::Relative(mount.source.clone()));
    }
    let (non, force) = (options.read_only_non_recursive, options.read_only_force_recursive);
    if non && !mount.read_only {
        return Err(Error::Conflict("!ReadOnly && BindOptions.ReadOnlyNonRecursive"));
    }
    if force && !mount.read_only {
        return Err(Error::Conflict("!ReadOnly && BindOptions.ReadOnlyForceRecursive"));
    }
    if non && force {
        return Err(Error::Conflict("ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive"));
    }
    if !options.create_mountpoint && !Path::new(&mount.source).exists() {
        return Err(Error::MissingSource(mount.source.clone()));
    }
    Ok(())
}

fn check_subpath(subpath: &str) -> Result<(), Error> {
    let inside = Path::new(subpath)
        .components()
        .all(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir));
    if inside { Ok(()) } else { Err(Error::Subpath) }
}

fn check_tmpfs(options: &TmpfsOptions) -> Result<(), Error> {
    for option in options.options.iter().flatten() {
        match option.as_slice() {
            [name] | [name, _] if name == "exec" || name == "noexec" => {}
            [name] | [name, _] => return Err(Error::TmpfsOption(name.clone())),
            _ => return Err(Error::TmpfsOptionLength),
        }
    }
    Ok(())
}

/// Whether something may be mounted there: an absolute path that is not the root.
///
/// # Errors
/// When it is not.
pub fn check_target(target: &str) -> Result<(), Error> {
    if clean(target) == "/" {
        return Err(Error::Root);
    }
    if target.starts_with('/') { Ok(()) } else { Err(Error::Relative(target.to_owned())) }
}

/// Reads `--volumes-from`: the container, and whether its mounts become read-only.
///
/// # Errors
/// For an empty value or a mode that cannot be given here.
pub fn parse_volumes_from(raw: &str) -> Result<(&str, bool), Error> {
    if raw.is_empty() {
        return Err(Error::EmptyVolumesFrom);
    }
    let (container, mode) = raw.split_once(':').unwrap_or((raw, "rw"));
    match Mode::parse(mode) {
        Some(read) if read.propagation.is_none() && read.copy.is_none() => Ok((container, read.read_only)),
        _ => Err(Error::Mode(mode.to_owned())),
    }
}

/// The mount options of a tmpfs asked for with `--mount`.
pub fn tmpfs_data(options: &TmpfsOptions, read_only: bool) -> Vec<String> {
    let mut data = Vec::new();
    if read_only {
        data.push("ro".to_owned());
    }
    if options.mode != 0 {
        data.push(format!("mode={:o}", options.mode));
    }
    if options.size_bytes != 0 {
        data.push(format!("size={}", options.size_bytes));
    }
    for option in options.options.iter().flatten() {
        data.push(option.join("="));
    }
    data
}

/// The path without `.`, `..`, doubled and trailing slashes, by its text alone.
pub fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if matches!(parts.last(), Some(last) if *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(raw: &str) -> MountPoint {
        parse_bind(raw, "").unwrap()
    }

    fn refused(raw: &str) -> String {
        parse_bind(raw, "").unwrap_err().to_string()
    }

    #[test]
    fn volume_values() {
        let host = bind("/src/../data:/dst/:ro,rslave");
        assert_eq!((host.source.as_str(), host.destination.as_str(), host.rw), ("/data", "/dst", false));
        assert_eq!((host.propagation.as_str(), host.mode.as_str()), ("rslave", "ro,rslave"));
        assert!(host.create_source && !host.copy);
        let named = bind("data:/var/lib:nocopy");
        assert_eq!(
            (named.kind, named.name.as_str(), named.copy, named.rw),
            (MountType::Volume, "data", false, true)
        );
        assert!(bind("/anon").anonymous);
        assert_eq!(parse_bind("v:/d", "nfs").unwrap().driver, "nfs");
    }

    #[test]
    fn wrong_volume_values() {
        assert_eq!(refused(""), "invalid volume specification: ''");
        assert_eq!(refused(":/x"), "invalid volume specification: ':/x'");
        assert_eq!(refused("/a:ro"), "invalid volume specification: '/a:ro'");
        assert_eq!(refused("a:/b:rw:x"), "invalid volume specification: 'a:/b:rw:x'");
        assert_eq!(refused("/a:/b:huh"), "invalid mode: huh");
        assert_eq!(refused("/a:/b:ro,rw"), "invalid mode: ro,rw");
        assert_eq!(
            refused("/a:/"),
            "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'"
        );
        assert_eq!(
            refused("name:rel"),
            "invalid volume specification: 'name:rel': invalid mount config for type \"volume\": invalid mount path: 'rel' mount path must be absolute"
        );
    }

    #[test]
    fn api_mounts() {
        let refuse = |mount: Mount| parse_mount(&mount).unwrap_err().to_string();
        let bind = Mount {
            kind: MountType::Bind,
            source: "/no/such".into(),
            target: "/x".into(),
            ..Mount::default()
        };
        assert_eq!(
            refuse(bind.clone()),
            "invalid mount config for type \"bind\": bind source path does not exist: /no/such"
        );
        assert_eq!(
            refuse(Mount { target: String::new(), ..bind.clone() }),
            "invalid mount config for type \"bind\": field Target must not be empty"
        );
        assert_eq!(
            refuse(Mount { kind: MountType::Unknown("what".into()), ..bind.clone() }),
            "invalid mount config for type \"what\": mount type unknown"
        );
        let tmpfs = TmpfsOptions { size_bytes: 65536, mode: 0o1770, ..TmpfsOptions::default() };
        let mount = Mount {
            kind: MountType::Tmpfs,
            source: String::new(),
            tmpfs_options: Some(tmpfs.clone()),
            ..bind.clone()
        };
        assert_eq!(parse_mount(&mount).unwrap().tmpfs, Some(tmpfs.clone()));
        assert_eq!(tmpfs_data(&tmpfs, true), ["ro", "mode=1770", "size=65536"]);
        let volume = Mount {
            kind: MountType::Volume,
            source: "v".into(),
            volume_options: Some(dray_api::container::VolumeOptions {
                subpath: "../x".into(),
                ..Default::default()
            }),
            ..bind
        };
        assert_eq!(
            refuse(volume),
            "invalid mount config for type \"volume\": subpath must be a relative path within the volume"
        );
    }

    #[test]
    fn volumes_from() {
        assert_eq!(parse_volumes_from("c1").unwrap(), ("c1", false));
        assert_eq!(parse_volumes_from("c1:ro").unwrap(), ("c1", true));
        assert_eq!(parse_volumes_from("c1:nocopy").unwrap_err().to_string(), "invalid mode: nocopy");
        assert!(parse_volumes_from("").is_err());
    }

    #[test]
    fn clean_paths() {
        for (dirty, want) in
            [("/a/../../b/", "/b"), ("//", "/"), ("a/./b", "a/b"), ("../a", "../a"), ("", ".")]
        {
            assert_eq!(clean(dirty), want);
        }
    }
}
