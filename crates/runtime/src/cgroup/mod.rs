//! Limits and accounting of a container: its cgroup on v1, v2 and hybrid machines.
//!
//! `layout` finds the trees, `plan` turns limits into file writes and `devices` device rules into lines or a
//! program, all without I/O; this file does the I/O. A cgroup is known by its path below the cgroup root
//! (`/dray/<id>`), the same in every v1 tree.
//!
//! Joining is the dear part on v1: moving a process by its id waits for an RCU grace period in each tree. A
//! task that writes `0` into `tasks` moves itself without that wait, so the init joins by itself through
//! descriptors its parent has opened ([`Cgroup::entry`]); on v2 it is cloned straight into its cgroup.

mod devices;
mod freeze;
mod layout;
mod plan;
mod stats;

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dray_spec::runtime::{DeviceRule, Resources};
use rustix::io::Errno;

pub use layout::Layout;
pub use plan::PlanError;
pub use stats::{BlkioEntry, BlkioStats, CgroupStats, CpuStats, MemoryStats, PidsStats};

/// Parent of the cgroups of containers whose configuration names none. All daemons of a machine share it.
pub const PARENT: &str = "/dray";

/// Mark of a parent that was made for containers, so that one which the machine's administrator made stays.
const MADE: &str = "trusted.dray";

/// Removes a parent of containers if none is in it, and it was made for them. Whoever makes one meanwhile makes it
/// again.
pub fn remove_unused_parent(path: &str) {
    let Ok(parent) = Cgroup::open(path) else { return };
    if parent.path == PARENT {
        parent.remove_if_empty();
    }
    let levels = parent.path.matches('/').count();
    for dir in parent.dirs() {
        for level in dir.ancestors().take(levels) {
            let made = rustix::fs::getxattr(level, MADE, &mut [0; 8]).is_ok();
            if !made || fs::remove_dir(level).is_err() {
                break;
            }
        }
    }
}

/// A cgroup operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroups are mounted where they belong.
    #[error("no cgroup hierarchy is mounted at /sys/fs/cgroup")]
    NotMounted,
    /// A controller that a limit needs is not there.
    #[error("cgroup controller {controller} is not available, which {file} needs")]
    NoController {
        /// The controller.
        controller: String,
        /// The limit's file.
        file: String,
    },
    /// A path that leaves the tree, or names a systemd slice.
    #[error("invalid cgroup path {path:?}")]
    BadPath {
        /// The path.
        path: String,
    },
    /// A limit that cannot be expressed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A file of a cgroup could not be read or written.
    #[error("cgroup: {op} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A value was refused.
    #[error("cgroup: write {value:?} to {}: {source}", .path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// The refusal.
        source: io::Error,
    },
    /// Processes would not freeze.
    #[error("cgroup {path} did not freeze in time")]
    NotFrozen {
        /// The cgroup.
        path: String,
    },
    /// Processes would not end.
    #[error("cgroup {path} still has processes")]
    Busy {
        /// The cgroup.
        path: String,
    },
}

pub(crate) type Result<T> = std::result::Result<T, CgroupError>;

/// The cgroup of one container.
#[derive(Debug, Clone)]
pub struct Cgroup {
    layout: Layout,
    path: String,
}

/// How a child gets into a cgroup.
#[derive(Debug)]
pub enum Entry {
    /// `tasks` files (v1); the child writes `0` into each.
    Tasks(Vec<(PathBuf, OwnedFd)>),
    /// Directory (v2) to be cloned into.
    Directory(PathBuf, OwnedFd),
}

impl Entry {
    /// Moves the calling task, which must have no other threads, into the cgroup. Nothing to do on v2.
    ///
    /// # Errors
    /// Names the file that refused.
    pub fn join(self) -> Result<()> {
        let Entry::Tasks(files) = self else { return Ok(()) };
        for (path, file) in files {
            rustix::io::write(&file, b"0").map_err(|e| failed("join", &path)(e.into()))?;
        }
        Ok(())
    }
}

fn failed(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError::Io { op, path, source }
}

/// Checks a configured path and gives it its one form.
pub fn normalise(path: &str) -> Result<String> {
    let bad = || CgroupError::BadPath { path: path.to_owned() };
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() || parts.contains(&"..") || path.contains(':') || path.contains('\0') {
        return Err(bad());
    }
    Ok(format!("/{}", parts.join("/")))
}

impl Cgroup {
    /// The cgroup of a path below the cgroup root.
    ///
    /// # Errors
    /// `NotMounted` or `BadPath`.
    pub fn open(path: &str) -> Result<Cgroup> {
        let layout = Layout::detect().ok_or(CgroupError::NotMounted)?;
        Ok(Cgroup { layout, path: normalise(path)? })
    }

    /// Makes the cgroup and sets its limits. It is removed again if one is refused.
    ///
    /// # Errors
    /// Names the file and the value.
    pub fn create(path: &str, resources: &Resources) -> Result<Cgroup> {
        let cgroup = Cgroup::open(path)?;
        let made = cgroup.make(resources);
        if made.is_err() {
            let _ = cgroup.remove_dirs();
        }
        made.map(|()| cgroup)
    }

    /// Its path below the cgroup root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The machine's hierarchies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    fn make(&self, resources: &Resources) -> Result<()> {
        match &self.layout {
            Layout::V2 { root } => {
                make_dir(&self.dir(""))?;
                enable_controllers(root, &self.path);
            }
            Layout::V1 { .. } => {
                for controller in layout::BASE.into_iter().filter(|c| self.layout.has(c)) {
                    make_dir(&self.dir(controller))?;
                }
            }
        }
        self.set_devices(&resources.devices)?;
        self.apply(resources)
    }

    fn dir(&self, controller: &str) -> PathBuf {
        self.layout.dir(controller, &self.path)
    }

    /// Changes limits; what is absent stays as it is.
    ///
    /// # Errors
    /// Names the file and the value.
    pub fn update(&self, resources: &Resources) -> Result<()> {
        if !resources.devices.is_empty() {
            self.set_devices(&resources.devices)?;
        }
        self.apply(resources)
    }

    fn apply(&self, resources: &Resources) -> Result<()> {
        match &self.layout {
            Layout::V2 { .. } => plan::v2(resources)?.iter().try_for_each(|w| put(&self.dir(""), w)),
            Layout::V1 { unified, .. } => {
                let mut later = Vec::new();
                for write in plan::v1(resources)? {
                    if write.controller == "hugetlb" && !self.layout.has("hugetlb") && unified.is_some() {
                        continue;
                    }
                    self.ensure(write.controller, &write.file)?;
                    // Memory and memory+swap bound each other: which one must go first depends on what is
                    // set, so a refused one is tried again after the rest.
                    match put(&self.dir(write.controller), &write) {
                        Err(_) if write.controller == "memory" => later.push(write),
                        done => done?,
                    }
                }
                later.iter().rev().try_for_each(|w| put(&self.dir(w.controller), w))?;
                self.apply_unified(resources, unified.as_deref())
            }
        }
    }

    /// Huge pages of a hybrid machine, whose v2 tree may hold their controller.
    fn apply_unified(&self, resources: &Resources, unified: Option<&Path>) -> Result<()> {
        let Some(root) =
            unified.filter(|_| !resources.hugepage_limits.is_empty() && !self.layout.has("hugetlb"))
        else {
            return Ok(());
        };
        let only = Resources { hugepage_limits: resources.hugepage_limits.clone(), ..Resources::default() };
        let dir = root.join(self.path.trim_start_matches('/'));
        let fresh = !dir.exists();
        make_dir(&dir)?;
        enable_controllers(root, &self.path);
        if fresh {
            self.move_into(&dir)?;
        }
        plan::v2(&only)?.iter().try_for_each(|w| put(&dir, w))
    }

    /// Makes the cgroup of a controller that only some limits need, with the container's processes in it.
    fn ensure(&self, controller: &str, file: &str) -> Result<()> {
        if layout::BASE.contains(&controller) && self.layout.has(controller) {
            return Ok(());
        }
        if !self.layout.has(controller) {
            return Err(CgroupError::NoController {
                controller: controller.to_owned(),
                file: file.to_owned(),
            });
        }
        let dir = self.dir(controller);
        if dir.exists() {
            return Ok(());
        }
        make_dir(&dir)?;
        if controller == "cpuset" {
            self.fill_cpuset(&dir)?;
        }
        self.move_into(&dir)
    }

    /// A new v1 cpuset is empty and cannot be joined: it and its parents get their parents' sets.
    fn fill_cpuset(&self, dir: &Path) -> Result<()> {
        let root = self.layout.dir("cpuset", "/");
        let mut chain: Vec<&Path> = dir.ancestors().take_while(|d| *d != root).collect();
        chain.reverse();
        for level in chain {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let path = level.join(file);
                if !read(&path)?.trim().is_empty() {
                    continue;
                }
                let above = level.parent().unwrap_or(&root).join(file);
                let value = read(&above)?;
                fs::write(&path, value.trim()).map_err(failed("write", &path))?;
            }
        }
        Ok(())
    }

    fn move_into(&self, dir: &Path) -> Result<()> {
        let procs = dir.join("cgroup.procs");
        // Until nobody is left outside: a process may fork while it is moved.
        for _ in 0..8 {
            let inside = pids_below(dir);
            let outside: Vec<i32> = self.pids()?.into_iter().filter(|pid| !inside.contains(pid)).collect();
            if outside.is_empty() {
                break;
            }
            for pid in outside {
                match fs::write(&procs, pid.to_string()) {
                    Err(e) if e.raw_os_error() != Some(Errno::SRCH.raw_os_error()) => {
                        return Err(failed("join", &procs)(e));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn set_devices(&self, configured: &[DeviceRule]) -> Result<()> {
        let rules = devices::effective(configured);
        match &self.layout {
            Layout::V2 { .. } => {
                let dir = self.dir("");
                let attach = || {
                    let program = dray_sys::bpf::load_device_filter(&devices::v2_program(&rules))?;
                    let target = fs::File::open(&dir)?;
                    dray_sys::bpf::replace_device_filter(target.as_fd(), program.as_fd())
                };
                attach().map_err(failed("attach device filter to", &dir))
            }
            Layout::V1 { .. } if self.layout.has("devices") => self.write_device_rules(&rules),
            Layout::V1 { .. } => Ok(()),
        }
    }

    fn write_device_rules(&self, rules: &[DeviceRule]) -> Result<()> {
        let dir = self.dir("devices");
        let open = |name: &str| {
            let path = dir.join(name);
            fs::OpenOptions::new().write(true).open(&path).map_err(failed("open", &path))
        };
        let (mut allow, mut deny) = (open("devices.allow")?, open("devices.deny")?);
        for rule in rules {
            let (name, line) = devices::v1_line(rule);
            let file = if rule.allow { &mut allow } else { &mut deny };
            file.write_all(line.as_bytes()).map_err(|source| CgroupError::Refused {
                path: dir.join(name),
                value: line,
                source,
            })?;
        }
        Ok(())
    }

    /// A way in for a child of the caller.
    ///
    /// # Errors
    /// Names the file that could not be opened.
    pub fn entry(&self) -> Result<Entry> {
        let Layout::V1 { controllers, unified, .. } = &self.layout else {
            let dir = self.dir("");
            let file = fs::File::open(&dir).map_err(failed("open", &dir))?;
            return Ok(Entry::Directory(dir, file.into()));
        };
        let mut files = Vec::with_capacity(controllers.len());
        let on_demand = |c: &&str| layout::BASE.contains(c) || self.dir(c).exists();
        for path in controllers.iter().filter(|c| on_demand(c)).map(|c| self.dir(c).join("tasks")) {
            let file = fs::OpenOptions::new().write(true).open(&path).map_err(failed("open", &path))?;
            files.push((path, file.into()));
        }
        if let Some(path) = unified.as_ref().map(|root| root.join(self.path.trim_start_matches('/'))) {
            let path = path.join("cgroup.procs");
            if let Ok(file) = fs::OpenOptions::new().write(true).open(&path) {
                files.push((path, file.into()));
            }
        }
        Ok(Entry::Tasks(files))
    }

    /// A way in beside a process of the container, for where it has made groups of its own: on v2, no process may be in
    /// a group that hands controllers down.
    ///
    /// # Errors
    /// Names the file that could not be read or opened.
    pub fn entry_beside(&self, pid: i32) -> Result<Entry> {
        let Layout::V2 { root } = &self.layout else { return self.entry() };
        let list = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = read(&list)?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        // It may have been moved by somebody on the host, and must not take us along.
        let dir = root.join(path.trim_start_matches('/'));
        if !dir.starts_with(self.main_dir()) {
            return self.entry();
        }
        let file = fs::File::open(&dir).map_err(failed("open", &dir))?;
        Ok(Entry::Directory(dir, file.into()))
    }

    /// Moves a process in by its id.
    ///
    /// # Errors
    /// Names the file that refused.
    pub fn add(&self, pid: i32) -> Result<()> {
        for dir in self.dirs().into_iter().filter(|dir| dir.exists()) {
            let procs = dir.join("cgroup.procs");
            fs::write(&procs, pid.to_string()).map_err(failed("join", &procs))?;
        }
        Ok(())
    }

    /// All directories the cgroup may have.
    fn dirs(&self) -> Vec<PathBuf> {
        match &self.layout {
            Layout::V2 { .. } => vec![self.dir("")],
            Layout::V1 { controllers, unified, .. } => {
                let below = self.path.trim_start_matches('/');
                let unified = unified.iter().map(|root| root.join(below));
                controllers.iter().map(|c| self.dir(c)).chain(unified).collect()
            }
        }
    }

    /// Directories of the container's v1 cgroups by controller.
    pub fn mounts(&self) -> Vec<(&'static str, PathBuf)> {
        match &self.layout {
            Layout::V2 { .. } => Vec::new(),
            Layout::V1 { controllers, .. } => {
                controllers.iter().map(|&c| (c, self.dir(c))).filter(|(_, dir)| dir.exists()).collect()
            }
        }
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.main_dir().exists()
    }

    /// The directory whose process list speaks for all.
    pub(crate) fn main_dir(&self) -> PathBuf {
        let first = match &self.layout {
            Layout::V2 { .. } => "",
            Layout::V1 { controllers, .. } => controllers.first().copied().unwrap_or("memory"),
        };
        self.dir(first)
    }

    /// Ids of all processes in the cgroup and below it.
    ///
    /// # Errors
    /// None at present: a cgroup that is gone has no processes.
    pub fn pids(&self) -> Result<Vec<i32>> {
        Ok(pids_below(&self.main_dir()))
    }

    /// How often a process of the cgroup was killed for lack of memory.
    pub fn oom_kills(&self) -> u64 {
        let (file, key) = match &self.layout {
            Layout::V2 { .. } => ("memory.events", "oom_kill"),
            Layout::V1 { .. } => ("memory.oom_control", "oom_kill"),
        };
        let text = fs::read_to_string(self.dir("memory").join(file)).unwrap_or_default();
        stats::flat(&text).get(key).copied().unwrap_or(0)
    }

    /// What has been used.
    ///
    /// # Errors
    /// If the cgroup is gone.
    pub fn stats(&self) -> Result<CgroupStats> {
        let dir = self.main_dir();
        if !dir.exists() {
            return Err(failed("read", &dir)(io::ErrorKind::NotFound.into()));
        }
        Ok(match &self.layout {
            Layout::V2 { .. } => stats::read_v2(&dir),
            Layout::V1 { .. } => stats::read_v1(&|controller| self.dir(controller)),
        })
    }

    /// Kills what is left inside and removes the cgroup.
    ///
    /// # Errors
    /// `Busy` if a process survives for seconds.
    pub fn remove(&self) -> Result<()> {
        if self.remove_dirs().is_ok() {
            return Ok(());
        }
        self.kill_all()?;
        let mut pause = Duration::from_micros(500);
        for _ in 0..12 {
            if self.remove_dirs().is_ok() {
                return Ok(());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        Err(CgroupError::Busy { path: self.path.clone() })
    }

    fn remove_dirs(&self) -> io::Result<()> {
        let mut result = Ok(());
        for dir in self.dirs() {
            if let Err(error) = remove_tree(&dir) {
                result = Err(error);
            }
        }
        result
    }

    /// Removes the cgroup if nothing is in it, and says whether it is gone. For the parents containers shared.
    pub fn remove_if_empty(&self) -> bool {
        let mut gone = true;
        for dir in self.dirs() {
            gone &= fs::remove_dir(&dir).is_ok() || !dir.exists();
        }
        gone
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// Makes a cgroup with its parents. The last container of a parent may be taking it away meanwhile.
fn make_dir(dir: &Path) -> Result<()> {
    const TRIES: u32 = 16;
    let mut made = fs::create_dir(dir);
    for _ in 0..TRIES {
        match &made {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_parents(dir);
                made = fs::create_dir(dir);
            }
            _ => break,
        }
    }
    made.map_err(failed("make", dir))
}

/// Makes and marks what is missing above a cgroup. What stands in the way shows when the cgroup itself is made.
fn make_parents(dir: &Path) {
    let missing: Vec<&Path> = dir.ancestors().skip(1).take_while(|level| !level.exists()).collect();
    for level in missing.into_iter().rev() {
        if fs::create_dir(level).is_ok() {
            let _ = rustix::fs::setxattr(level, MADE, b"1", rustix::fs::XattrFlags::empty());
        }
    }
}

fn put(dir: &Path, write: &plan::Write) -> Result<()> {
    let path = dir.join(&write.file);
    let result = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(write.value.as_bytes()));
    match result {
        Err(e) if write.optional && e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| CgroupError::Refused { path, value: write.value.clone(), source }),
    }
}

/// Hands all controllers down from the root of a v2 tree to the parent of a cgroup. One that is not there
/// shows when a limit is written.
fn enable_controllers(root: &Path, path: &str) {
    let available = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let mut level = root.to_owned();
    for part in path.trim_start_matches('/').split('/') {
        let control = level.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&control).unwrap_or_default();
        for controller in available.split_whitespace() {
            if !enabled.split_whitespace().any(|e| e == controller) {
                let _ = fs::write(&control, format!("+{controller}"));
            }
        }
        level.push(part);
    }
}

fn pids_below(dir: &Path) -> Vec<i32> {
    let list = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = list.lines().filter_map(|line| line.parse().ok()).collect();
    for child in children(dir) {
        pids.extend(pids_below(&child));
    }
    pids
}

fn children(dir: &Path) -> Vec<PathBuf> {
    // A directory with no children has two links: one open and a long listing saved.
    use std::os::unix::fs::MetadataExt;
    if fs::metadata(dir).is_ok_and(|meta| meta.nlink() <= 2) {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes a cgroup directory with its children, which a container may have made.
fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) if !children(dir).is_empty() => {
            for child in children(dir) {
                remove_tree(&child)?;
            }
            fs::remove_dir(dir)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(normalise("/dray//abc/").unwrap(), "/dray/abc");
        assert_eq!(normalise("dray/abc").unwrap(), "/dray/abc");
        for bad in ["/", "", "/a/../..", "system.slice:docker:abc"] {
            assert!(matches!(normalise(bad), Err(CgroupError::BadPath { .. })), "{bad}");
        }
    }
}
