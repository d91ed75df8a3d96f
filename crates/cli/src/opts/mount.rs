//! `--mount type=bind,src=/a,dst=/b,readonly`.

use dray_client::api::container::{
    BindOptions, Driver, ImageOptions, Mount, MountType, TmpfsOptions, VolumeOptions,
};

use super::{absolute_if_relative, csv};
use dray_client::api::size::parse_binary;

/// Reads one value of `--mount`.
///
/// # Errors
/// It is no mount; the text is Docker's.
pub fn parse(value: &str) -> Result<Mount, String> {
    let value = value.trim();
    if value.is_empty() {
        return Err("value is empty".into());
    }
    let mut mount = Mount { kind: MountType::Volume, ..Mount::default() };
    for field in csv(value)? {
        let (key, value) = match field.split_once('=') {
            Some((k, v)) => (k, Some(v)),
            None => (field.as_str(), None),
        };
        if key.trim() != key {
            let key = key.trim();
            return Err(format!("invalid option '{key}' in '{field}': option should not have whitespace"));
        }
        if let Some(v) = value {
            if v.trim().is_empty() {
                return Err(format!("invalid value for '{key}': value is empty"));
            }
            if v.trim() != v {
                return Err(format!(
                    "invalid value for '{key}' in '{field}': value should not have whitespace"
                ));
            }
        }
        set(&mut mount, &key.to_lowercase(), value, &field)?;
    }
    check(&mount)?;
    Ok(mount)
}

/// For the flag's check.
///
/// # Errors
/// As [`parse`].
pub fn check_value(value: &str) -> Result<(), String> {
    parse(value).map(|_| ())
}

fn boolean(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!(
            "invalid value for '{key}': invalid boolean value (\"{other}\"): must be one of \"true\", \"1\", \"false\", or \"0\" (default \"true\")"
        )),
    }
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_default()
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_default()
}

fn driver(mount: &mut Mount) -> &mut Driver {
    volume(mount).driver_config.get_or_insert_default()
}

fn set(mount: &mut Mount, key: &str, value: Option<&str>, field: &str) -> Result<(), String> {
    let flags =
        ["readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src", "idmap", "match-user"];
    if value.is_none() && !flags.contains(&key) {
        return Err(format!("invalid field '{field}' must be a key=value pair"));
    }
    let text = value.unwrap_or_default();
    let pair = || {
        text.split_once('=').map_or((text.to_owned(), String::new()), |(k, v)| (k.to_owned(), v.to_owned()))
    };
    match key {
        "type" => mount.kind = kind(&text.to_lowercase()),
        "source" | "src" => mount.source = absolute_if_relative(text),
        "target" | "dst" | "destination" => mount.target = text.to_owned(),
        "readonly" | "ro" => mount.read_only = boolean(key, value)?,
        "consistency" => mount.consistency = text.to_lowercase(),
        // Dray's own.
        "idmap" => mount.id_map = value.unwrap_or("true").to_owned(),
        "match-user" => mount.match_user = boolean(key, value)?,
        "bind-propagation" => bind(mount).propagation = text.to_lowercase(),
        "bind-nonrecursive" => bind(mount).non_recursive = boolean(key, value)?,
        "bind-create-src" => bind(mount).create_mountpoint = boolean(key, value)?,
        "bind-recursive" => match text {
            "enabled" => {}
            "disabled" => bind(mount).non_recursive = true,
            "writable" => bind(mount).read_only_non_recursive = true,
            "readonly" => bind(mount).read_only_force_recursive = true,
            _ => {
                let known = "must be \"enabled\", \"disabled\", \"writable\", or \"readonly\"";
                return Err(format!("invalid value for {key}: {text} ({known})"));
            }
        },
        "volume-subpath" => volume(mount).subpath = text.to_owned(),
        "volume-nocopy" => volume(mount).no_copy = boolean(key, value)?,
        "volume-label" => {
            let (k, v) = pair();
            volume(mount).labels.get_or_insert_default().insert(k, v);
        }
        "volume-driver" => driver(mount).name = text.to_owned(),
        "volume-opt" => {
            let (k, v) = pair();
            driver(mount).options.get_or_insert_default().insert(k, v);
        }
        "image-subpath" => {
            mount.image_options.get_or_insert_with(ImageOptions::default).subpath = text.to_owned()
        }
        "tmpfs-size" => {
            let size = parse_binary(text).map_err(|_| format!("invalid value for {key}: {text}"))?;
            mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default).size_bytes = size;
        }
        "tmpfs-mode" => {
            let mode =
                u32::from_str_radix(text, 8).map_err(|_| format!("invalid value for {key}: {text}"))?;
            mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default).mode = mode;
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn kind(name: &str) -> MountType {
    match name {
        "bind" => MountType::Bind,
        "volume" => MountType::Volume,
        "tmpfs" => MountType::Tmpfs,
        "npipe" => MountType::Npipe,
        "cluster" => MountType::Cluster,
        "image" => MountType::Image,
        other => MountType::Unknown(other.to_owned()),
    }
}

fn check(mount: &Mount) -> Result<(), String> {
    if mount.kind == MountType::Unset {
        return Err("type is required".into());
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    let kind = mount.kind.as_str();
    let mixed = |options: &str| Err(format!("cannot mix '{options}' options with mount type '{kind}'"));
    if mount.volume_options.is_some() && mount.kind != MountType::Volume {
        return mixed("volume-*");
    }
    if mount.image_options.is_some() && mount.kind != MountType::Image {
        return mixed("image-*");
    }
    if mount.bind_options.is_some() && mount.kind != MountType::Bind {
        return mixed("bind-*");
    }
    if mount.tmpfs_options.is_some() && mount.kind != MountType::Tmpfs {
        return mixed("tmpfs-*");
    }
    if let Some(bind) = &mount.bind_options {
        if bind.read_only_non_recursive && !mount.read_only {
            return Err(
                "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction".into(),
            );
        }
        if bind.read_only_force_recursive {
            if !mount.read_only {
                return Err(
                    "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction"
                        .into(),
                );
            }
            if bind.propagation != "rprivate" {
                let what = "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction";
                return Err(what.into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_mounts() {
        let m = parse("type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave").unwrap();
        assert_eq!(
            (m.kind, m.source.as_str(), m.target.as_str(), m.read_only),
            (MountType::Bind, "/a", "/b", true)
        );
        assert_eq!(m.bind_options.unwrap().propagation, "rslave");
        let m = parse("type=bind,src=/a,dst=/b,match-user").unwrap();
        assert!(m.match_user && m.id_map.is_empty());
        let m = parse("type=bind,src=/a,dst=/b,idmap").unwrap();
        assert_eq!((m.id_map.as_str(), m.match_user), ("true", false));
        let m = parse("type=bind,src=/a,dst=/b,idmap=uids=0-1-10#10-11-10;gids=0-100-10").unwrap();
        assert_eq!(m.id_map, "uids=0-1-10#10-11-10;gids=0-100-10");
        let m = parse("source=data,target=/d,volume-label=a=b,volume-nocopy").unwrap();
        assert_eq!(m.kind, MountType::Volume);
        assert!(m.volume_options.unwrap().no_copy);
        let m = parse("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
        let t = m.tmpfs_options.unwrap();
        assert_eq!((t.size_bytes, t.mode), (1 << 20, 0o1770));
    }

    #[test]
    fn wrong_mounts_are_named() {
        for (value, want) in [
            ("foo", "invalid field 'foo' must be a key=value pair"),
            ("type=bind,src=/a", "target is required"),
            ("type=bind,dst=/a,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
            ("dst=/a,foo=b", "unexpected key 'foo' in 'foo=b'"),
            ("dst=/a,tmpfs-size=x,type=tmpfs", "invalid value for tmpfs-size: x"),
            ("", "value is empty"),
        ] {
            assert_eq!(parse(value).unwrap_err(), want, "{value}");
        }
    }
}
