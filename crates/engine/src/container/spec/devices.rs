//! Devices of a container: which nodes are made, and which the cgroup lets it use.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use dray_api::container::HostConfig;
use dray_spec::runtime::{Device, DeviceRule};

use super::Error;

/// Nodes and rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Devices {
    /// Nodes beside those that every container has.
    pub nodes: Vec<Device>,
    /// Rules of the device cgroup, the first denying everything.
    pub rules: Vec<DeviceRule>,
}

/// Devices that every container may use: null, zero, full, random, urandom, tty, console, ptmx and
/// pseudo-terminals.
const ALWAYS: &[(i64, Option<i64>)] = &[
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// The devices of a container. Looks at the host's `/dev` for those asked for, or for all of it when
/// the container is privileged.
///
/// # Errors
/// When a device that was asked for is none.
pub fn devices(host: &HostConfig) -> Result<Devices, Error> {
    let mut made = Devices::default();
    if host.privileged {
        walk(Path::new("/dev"), Path::new("/dev"), &mut |device| made.nodes.push(device));
        made.rules.push(DeviceRule { allow: true, access: Some("rwm".into()), ..DeviceRule::default() });
    } else {
        made.rules = default_rules();
    }
    for mapping in host.resources.devices.iter().flatten() {
        let inside = if mapping.path_in_container.is_empty() {
            &mapping.path_on_host
        } else {
            &mapping.path_in_container
        };
        if host.privileged && *inside == mapping.path_on_host {
            continue;
        }
        let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
        let found = gather(&mapping.path_on_host, inside)?;
        if !host.privileged {
            made.rules.extend(found.iter().map(|device| allow(device, access)));
        }
        made.nodes.extend(found);
    }
    if !host.privileged {
        made.rules
            .extend(host.resources.device_cgroup_rules.iter().flatten().filter_map(|rule| device_rule(rule)));
    }
    Ok(made)
}

fn default_rules() -> Vec<DeviceRule> {
    let rule = |allow, kind: Option<&str>, major, minor, access: &str| DeviceRule {
        allow,
        kind: kind.map(str::to_owned),
        major,
        minor,
        access: Some(access.to_owned()),
    };
    let mut rules = vec![
        rule(false, None, None, None, "rwm"),
        // Nodes may be made of anything; using them is another matter.
        rule(true, Some("c"), None, None, "m"),
        rule(true, Some("b"), None, None, "m"),
    ];
    rules.extend(ALWAYS.iter().map(|(major, minor)| rule(true, Some("c"), Some(*major), *minor, "rwm")));
    rules
}

fn allow(device: &Device, access: &str) -> DeviceRule {
    DeviceRule {
        allow: true,
        kind: Some(device.kind.clone()),
        major: Some(device.major),
        minor: Some(device.minor),
        access: Some(access.to_owned()),
    }
}

/// The device at a path of the host, or all devices below it when it is a directory.
fn gather(on_host: &str, inside: &str) -> Result<Vec<Device>, Error> {
    let failed = |source| Error::Device { path: on_host.to_owned(), source };
    let path = std::fs::canonicalize(on_host).map_err(failed)?;
    if let Some(device) = device_at(&path, PathBuf::from(inside)) {
        return Ok(vec![device]);
    }
    let mut found = Vec::new();
    walk(&path, Path::new(inside), &mut |device| found.push(device));
    if found.is_empty() { Err(Error::NoDevice(on_host.to_owned())) } else { Ok(found) }
}

fn device_at(path: &Path, inside: PathBuf) -> Option<Device> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    let kind = if meta.file_type().is_char_device() {
        "c"
    } else if meta.file_type().is_block_device() {
        "b"
    } else {
        return None;
    };
    Some(Device {
        path: inside,
        kind: kind.to_owned(),
        major: i64::from(rustix::fs::major(meta.rdev())),
        minor: i64::from(rustix::fs::minor(meta.rdev())),
        file_mode: Some(meta.mode() & 0o7777),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
    })
}

/// Folders of `/dev` that hold no devices of the host's own, or that every container has for itself.
const SKIPPED: &[&str] = &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];

fn walk(folder: &Path, inside: &Path, found: &mut dyn FnMut(Device)) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let (path, target) = (entry.path(), inside.join(&name));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, &target, found);
        } else if let Some(device) = device_at(&path, target) {
            found(device);
        }
    }
}

/// Reads a rule like `c 1:3 rwm` or `b *:* m`; none when it is none.
pub fn device_rule(raw: &str) -> Option<DeviceRule> {
    let mut parts = raw.split(' ');
    let (kind, numbers, access) = (parts.next()?, parts.next()?, parts.next()?);
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| match text {
        "*" => Some(None),
        digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok().map(Some)
        }
        _ => None,
    };
    let known = matches!(kind, "a" | "b" | "c")
        && (1..=3).contains(&access.len())
        && access.chars().all(|c| "rwm".contains(c))
        && parts.next().is_none();
    known.then_some(())?;
    Some(DeviceRule {
        allow: true,
        kind: Some(kind.to_owned()),
        major: number(major)?,
        minor: number(minor)?,
        access: Some(access.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dray_api::container::{DeviceMapping, Resources};

    fn with(mapping: DeviceMapping) -> HostConfig {
        let resources = Resources { devices: Some(vec![mapping]), ..Resources::default() };
        HostConfig { resources, ..HostConfig::default() }
    }

    #[test]
    fn rules() {
        let rule = device_rule("c 1:* rw").unwrap();
        assert_eq!((rule.major, rule.minor, rule.access.as_deref()), (Some(1), None, Some("rw")));
        for wrong in ["", "c 1:3", "x 1:3 r", "c 1 r", "c 1:3 rx", "c 1:3 r more", "c -1:3 r"] {
            assert!(device_rule(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_device_of_the_host() {
        let mapping = DeviceMapping {
            path_on_host: "/dev/null".into(),
            path_in_container: "/dev/nil".into(),
            cgroup_permissions: "r".into(),
        };
        let made = devices(&with(mapping)).unwrap();
        assert_eq!(
            (made.nodes[0].path.to_str(), made.nodes[0].major, made.nodes[0].minor),
            (Some("/dev/nil"), 1, 3)
        );
        assert_eq!(made.rules.last().unwrap().access.as_deref(), Some("r"));
        assert!(!made.rules[0].allow);
    }

    #[test]
    fn what_is_no_device() {
        let mapping = |path: &str| DeviceMapping { path_on_host: path.into(), ..DeviceMapping::default() };
        assert!(devices(&with(mapping("/dev/nosuch"))).is_err());
        let error = devices(&with(mapping("/etc/hostname"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "error gathering device information while adding custom device \"/etc/hostname\": not a device node"
        );
    }
}
