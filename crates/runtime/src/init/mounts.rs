//! The mounts of a configuration, made one after the other inside the new root.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use dray_spec::runtime::{Mount, NamespaceKind, Spec};
use dray_sys::mount::{MountAttr, attr};
use rustix::fs::CWD;
use rustix::io::Errno;

use super::options::Options;
use super::tree::{Tree, is_dir, normal};
use super::{At, copy_up};
use crate::cgroup::Cgroup;
use crate::error::{StartError, Step};

/// What the parent has prepared, by the number of the mount.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Detached sources of binds, which the user namespace of the container might not let it open.
    pub sources: BTreeMap<usize, OwnedFd>,
    /// User namespaces of id-mapped mounts.
    pub id_maps: BTreeMap<usize, OwnedFd>,
}

impl Prepared {
    /// Opens in the parent what the child cannot.
    pub fn make(spec: &Spec, user_namespace: bool) -> Result<Prepared, StartError> {
        let mut prepared = Prepared::default();
        for (number, mount) in spec.mounts.iter().enumerate() {
            let options = Options::parse(&mount.options);
            if let (true, Some(recursive)) = (user_namespace && is_bind(mount, &options), Some(options.bind))
            {
                let source = bind_source(mount, recursive.unwrap_or(false))?;
                prepared.sources.insert(number, source);
            }
            if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
                let (uids, gids) = (&mount.uid_mappings, &mount.gid_mappings);
                let maps = (super::namespaces::id_map(uids), super::namespaces::id_map(gids));
                let namespace = dray_sys::mount::user_namespace(&maps.0, &maps.1)
                    .at(Step::Mount, format!("{} (id mapping)", mount.destination.display()))?;
                prepared.id_maps.insert(number, namespace);
            }
        }
        Ok(prepared)
    }
}

/// Makes all mounts. Returns those that become read-only once their content is there.
pub fn make_all(
    root: &Tree,
    spec: &Spec,
    prepared: &Prepared,
    cgroup: Option<&Cgroup>,
) -> Result<Vec<OwnedFd>, StartError> {
    let mut later = Vec::new();
    let namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    let own_cgroups = namespaces.into_iter().any(|namespace| namespace.kind == NamespaceKind::Cgroup);
    for (number, mount) in spec.mounts.iter().enumerate() {
        let maker = Maker { root, mount, number, prepared, options: Options::parse(&mount.options) };
        maker.check_destination()?;
        if mount.kind.as_deref() == Some("cgroup") || mount.kind.as_deref() == Some("cgroup2") {
            if let Some(cgroup) = cgroup {
                super::cgroup_mount::make(root, mount, &maker.options, cgroup, own_cgroups)?;
            }
            continue;
        }
        if let Some(fd) = maker.make()? {
            later.push(fd);
        }
    }
    Ok(later)
}

/// Changes attributes, without the newest system call where the kernel lacks it.
pub fn set_attr(mount: BorrowedFd<'_>, change: MountAttr, recursive: bool) -> std::io::Result<()> {
    if change == MountAttr::default() {
        return Ok(());
    }
    match dray_sys::mount::set_attr(mount, change, recursive) {
        Err(e) if e.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => remount(mount, change),
        other => other,
    }
}

/// Before Linux 5.12: through the path of the descriptor, for one mount at a time.
fn remount(mount: BorrowedFd<'_>, change: MountAttr) -> std::io::Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount_change, mount_remount};
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    let mut flags = MountFlags::BIND;
    let words = [
        (attr::RDONLY, MountFlags::RDONLY),
        (attr::NOSUID, MountFlags::NOSUID),
        (attr::NODEV, MountFlags::NODEV),
        (attr::NOEXEC, MountFlags::NOEXEC),
        (attr::NOATIME, MountFlags::NOATIME),
        (attr::NODIRATIME, MountFlags::NODIRATIME),
        (attr::STRICTATIME, MountFlags::STRICTATIME),
    ];
    for (bit, flag) in words {
        if change.set & bit != 0 {
            flags |= flag;
        }
    }
    if change.set != 0 || change.clear != 0 {
        mount_remount(path.as_str(), flags, "")?;
    }
    if change.propagation != 0 {
        mount_change(path.as_str(), MountPropagationFlags::from_bits_retain(change.propagation as u32))?;
    }
    Ok(())
}

fn is_bind(mount: &Mount, options: &Options) -> bool {
    options.bind.is_some() || mount.kind.as_deref() == Some("bind")
}

fn bind_source(mount: &Mount, recursive: bool) -> Result<OwnedFd, StartError> {
    let source = mount.source.as_deref().unwrap_or_default();
    dray_sys::mount::clone_detached(CWD, Path::new(source), recursive).map_err(|error| {
        let subject = mount.destination.display().to_string();
        let error = StartError::io(Step::Mount, subject, &error);
        match error.errno.map(Errno::from_raw_os_error) {
            Some(Errno::NOENT) => error.with_detail(format!("bind source path does not exist: {source}")),
            Some(errno) => error.with_detail(format!(
                "bind source {source}: {}",
                crate::error::errno_text(errno.raw_os_error())
            )),
            None => error,
        }
    })
}

/// Files of /proc that other tools put their own in the place of.
const PROC_REPLACEABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

struct Maker<'a> {
    root: &'a Tree,
    mount: &'a Mount,
    number: usize,
    prepared: &'a Prepared,
    options: Options,
}

impl Maker<'_> {
    fn subject(&self) -> String {
        self.mount.destination.display().to_string()
    }

    fn error(&self, detail: impl Into<String>) -> StartError {
        StartError::because(Step::Mount, self.subject(), detail)
    }

    /// Nothing but procfs itself may be put into /proc: masks and read-only paths rely on it.
    fn check_destination(&self) -> Result<(), StartError> {
        let path = normal(&self.mount.destination);
        let inside = path.starts_with("/proc") && path != Path::new("/proc");
        if inside && !PROC_REPLACEABLE.iter().any(|known| path == Path::new(known)) {
            return Err(self.error("nothing can be mounted inside /proc"));
        }
        if path == Path::new("/") {
            return Err(self.error("the root is not a mount point of its own"));
        }
        Ok(())
    }

    fn make(&self) -> Result<Option<OwnedFd>, StartError> {
        let kind = self.mount.kind.as_deref().unwrap_or("none");
        let bind = is_bind(self.mount, &self.options);
        let mount = if bind { self.source()? } else { self.file_system(kind)? };
        let target = self.target(kind, bind, &mount)?;
        if self.options.copy_up {
            copy_up::copy(target.as_fd(), mount.as_fd()).at(Step::Mount, self.subject())?;
        }
        if bind {
            let attrs = self.options.attrs;
            set_attr(mount.as_fd(), attrs, false).at(Step::Mount, self.subject())?;
        }
        self.map_ids(&mount)?;
        set_attr(mount.as_fd(), self.options.recursive, true).at(Step::Mount, self.subject())?;
        dray_sys::mount::attach(mount.as_fd(), target.as_fd()).at(Step::Mount, self.subject())?;
        for &(propagation, recursive) in &self.options.propagation {
            let change = MountAttr { propagation, ..MountAttr::default() };
            set_attr(mount.as_fd(), change, recursive).at(Step::Mount, self.subject())?;
        }
        let readonly_later = self.deferred_readonly(bind);
        Ok(readonly_later.then_some(mount))
    }

    /// /dev is filled after it is mounted.
    fn deferred_readonly(&self, bind: bool) -> bool {
        !bind && self.options.attrs.set & attr::RDONLY != 0 && self.mount.destination == Path::new("/dev")
    }

    fn source(&self) -> Result<OwnedFd, StartError> {
        match self.prepared.sources.get(&self.number) {
            Some(source) => source.try_clone().at(Step::Mount, self.subject()),
            None => bind_source(self.mount, self.options.bind.unwrap_or(false)),
        }
    }

    fn file_system(&self, kind: &str) -> Result<OwnedFd, StartError> {
        let mut attrs = self.options.attrs.set;
        if self.deferred_readonly(false) {
            attrs &= !attr::RDONLY;
        }
        let data = self.options.data();
        dray_sys::mount::new_detached(kind, self.mount.source.as_deref(), &data, attrs).map_err(|error| {
            let detail = match (error.errno, &error.option) {
                (Errno::NODEV, None) => format!("unknown file system type {kind:?}"),
                _ => error.to_string(),
            };
            StartError::os(Step::Mount, self.subject(), error.errno).with_detail(detail)
        })
    }

    fn target(&self, kind: &str, bind: bool, mount: &OwnedFd) -> Result<OwnedFd, StartError> {
        let path = self.mount.destination.as_path();
        let is_file = bind && !is_dir(mount.as_fd()).at(Step::Mount, self.subject())?;
        let made = if is_file { self.root.make_file(path) } else { self.root.make_dir(path) };
        let target = made.at(Step::Mount, self.subject())?;
        if is_dir(target.as_fd()).at(Step::Mount, self.subject())? == is_file {
            return Err(StartError::os(Step::Mount, self.subject(), Errno::NOTDIR).with_detail(
                "not a directory: Are you trying to mount a directory onto a file (or vice-versa)? \
                 Check if the specified host path exists and is the expected type",
            ));
        }
        if !bind && matches!(kind, "proc" | "sysfs") {
            // Masks are looked for at these very paths.
            return self.root.find_plain(path).map_err(|_| {
                self.error(format!("{kind} must be mounted on a plain directory, not through a symlink"))
            });
        }
        Ok(target)
    }

    fn map_ids(&self, mount: &OwnedFd) -> Result<(), StartError> {
        use std::os::fd::AsRawFd;
        let Some(namespace) = self.prepared.id_maps.get(&self.number) else {
            return match self.options.id_map {
                Some(_) => Err(self.error("idmap asked for without id mappings")),
                None => Ok(()),
            };
        };
        let change = MountAttr {
            set: attr::IDMAP,
            userns_fd: u64::from(namespace.as_raw_fd().unsigned_abs()),
            ..MountAttr::default()
        };
        let recursive = self.options.id_map == Some(true);
        dray_sys::mount::set_attr(mount.as_fd(), change, recursive).map_err(|error| {
            let wrong = StartError::io(Step::Mount, self.subject(), &error);
            match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::INVAL | Errno::NOSYS) => wrong.with_detail(format!(
                    "the file system of {} cannot map ids, or is mapped already",
                    self.mount.source.as_deref().unwrap_or_default()
                )),
                _ => wrong,
            }
        })
    }
}
