//! Mounts of a container, in the order they are made.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dray_api::container::MountType;
use dray_spec::runtime::Mount;

use super::{Input, Source};
use crate::container::idmap::Owner;
use crate::container::mount::{MountPoint, tmpfs_data};

/// What every container has mounted.
fn defaults(shm_size: i64) -> Vec<Mount> {
    let shm = format!("size={shm_size}");
    let safe = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&safe[..], more].concat();
    vec![
        Mount::new("/proc", "proc", "proc", &safe),
        Mount::new("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        Mount::new(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        Mount::new("/sys", "sysfs", "sysfs", &with(&["ro"])),
        Mount::new("/sys/fs/cgroup", "cgroup", "cgroup", &with(&["ro"])),
        Mount::new("/dev/mqueue", "mqueue", "mqueue", &safe),
        Mount::new("/dev/shm", "tmpfs", "shm", &[&safe[..], &["mode=1777", &shm]].concat()),
    ]
}

/// All mounts: the defaults that nobody has put something else over, then those asked for, a folder
/// before what is in it.
pub fn mounts(input: &Input<'_>) -> Vec<Mount> {
    let host = &input.record.host;
    let asked = asked_for(input);
    let over: BTreeSet<&PathBuf> = asked.iter().map(|mount| &mount.destination).collect();
    let own_dev = over.contains(&PathBuf::from("/dev"));
    let shadowed = |mount: &Mount| {
        over.contains(&mount.destination)
            || (own_dev && mount.destination.starts_with("/dev/") && mount.destination.as_os_str() != "/dev")
            || (host.ipc_mode == "none" && mount.destination.as_os_str() == "/dev/shm")
    };
    let mut all: Vec<Mount> = defaults(host.shm_size).into_iter().filter(|mount| !shadowed(mount)).collect();
    if host.readonly_rootfs {
        for mount in &mut all {
            let writable = ["/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"];
            let keep = writable.iter().any(|path| mount.destination.as_os_str() == *path);
            if !keep && !mount.options.iter().any(|option| option == "ro") {
                mount.options.push("ro".into());
            }
        }
    }
    if host.privileged {
        set_writable(&mut all, "/sys");
    }
    if input.security.writable_cgroups.unwrap_or(host.privileged) {
        set_writable(&mut all, "/sys/fs/cgroup");
    }
    all.extend(asked);
    all
}

fn set_writable(mounts: &mut [Mount], destination: &str) {
    for mount in mounts.iter_mut().filter(|mount| mount.destination.as_os_str() == destination) {
        mount.options.retain(|option| option != "ro");
    }
}

fn asked_for(input: &Input<'_>) -> Vec<Mount> {
    let record = input.record;
    let tmpfs = record.host.tmpfs.iter().flatten().map(|(target, data)| {
        let given = data.split(',').filter(|option| !option.is_empty());
        let options: Vec<&str> = ["noexec", "nosuid", "nodev"].into_iter().chain(given).collect();
        Mount::new(crate::container::mount::clean(target), "tmpfs", "tmpfs", &options)
    });
    let mut asked: Vec<Mount> = tmpfs.collect();
    let taken =
        |destination: &str, asked: &[Mount]| asked.iter().any(|m| m.destination.as_os_str() == destination);
    for point in &record.mounts {
        if !taken(&point.destination, &asked) {
            let source = input.sources.get(&point.destination);
            asked.push(one(point, source, (input.user.uid, input.user.gid)));
        }
    }
    for (source, destination) in &input.files {
        if !taken(destination, &asked) {
            let access = if record.host.readonly_rootfs { "ro" } else { "rw" };
            let source = source.display().to_string();
            asked.push(Mount::new(*destination, "bind", source, &["rbind", access, DEFAULT_SPREAD]));
        }
    }
    if let Some(shm) = input.shm.as_ref().filter(|_| !taken("/dev/shm", &asked)) {
        asked.push(Mount::new(
            "/dev/shm",
            "bind",
            shm.display().to_string(),
            &["rbind", "rw", DEFAULT_SPREAD],
        ));
    }
    for (source, destination) in &input.read_only {
        if !taken(destination, &asked) {
            let source = source.display().to_string();
            asked.push(Mount::new(destination.as_str(), "bind", source, &["rbind", "ro", DEFAULT_SPREAD]));
        }
    }
    asked.sort_by_key(|mount| mount.destination.components().count());
    asked
}

const DEFAULT_SPREAD: &str = "rprivate";

/// A mount of a container with this user.
pub fn one(point: &MountPoint, known: Option<&Source>, user: Owner) -> Mount {
    if point.kind == MountType::Tmpfs {
        let options = tmpfs_data(&point.tmpfs.clone().unwrap_or_default(), !point.rw);
        let given = options.iter().map(String::as_str);
        let all: Vec<&str> = ["noexec", "nosuid", "nodev"].into_iter().chain(given).collect();
        return Mount::new(point.destination.as_str(), "tmpfs", "tmpfs", &all);
    }
    let bind = point.bind.clone().unwrap_or_default();
    let source = known.map_or_else(|| PathBuf::from(&point.source), |known| known.path.clone());
    let spread = if point.propagation.is_empty() { DEFAULT_SPREAD } else { &point.propagation };
    let how = if bind.non_recursive { "bind" } else { "rbind" };
    let access = match (point.rw, bind.read_only_non_recursive) {
        // A source that is mounted read-only stays so.
        (true, _) => None,
        (false, true) => Some("ro"),
        (false, false) => Some("rro"),
    };
    let mut options: Vec<&str> = [how].into_iter().chain(access).chain([spread]).collect();
    let owner = known.map(|known| known.owner).unwrap_or_default();
    let mappings = point.ids.mappings(owner, user);
    if mappings.is_some() {
        options.push("idmap");
    }
    let mut mount = Mount::new(point.destination.as_str(), "bind", source.display().to_string(), &options);
    (mount.uid_mappings, mount.gid_mappings) = mappings.unwrap_or_default();
    mount
}
