//! Files in and out of a container: `docker cp`, `docker export`, `docker diff`.
//!
//! Both the container's tree and an archive from a client are hostile. Every path is resolved by the
//! kernel inside the container's root, and nothing is written through a link that leads out of it.

mod changes;
mod pack;
mod unpack;

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dray_api::container::{FilesystemChange, MountType, PathStat};
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::live::Container;
use super::mount::clean;
use super::record::Record;
use super::rootfs::{Bind, open_in};
use super::service::Service;
use super::{Error, rootfs::of_running, rootfs::of_stopped, spec};

pub use unpack::UnpackOptions;

impl Service {
    /// Runs `work` with a container's root. A stopped one cannot be started meanwhile.
    fn with_root<T: Send>(
        &self,
        container: &Container,
        work: impl FnOnce(BorrowedFd<'_>) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let order = container.lifecycle.blocking_lock();
        let record = container.record();
        if record.state.running && !record.state.restarting {
            drop(order);
            return work(of_running(record.state.pid, record.state.pid_start)?.as_fd());
        }
        of_stopped(&self.layers(&record), &binds(&record), &self.scratch(), work)
    }

    /// What a path in a container is.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn stat_path(self: &Arc<Self>, called: &str, path: &str) -> Result<PathStat, Error> {
        let (container, called, path) = (self.registry.find(called)?, called.to_owned(), path.to_owned());
        self.blocking(move |service| {
            service.with_root(&container, |root| Ok(Node::open(root, &path, &called)?.path_stat(&path)))
        })
        .await
    }

    /// Writes a path of a container as a tar. Must be called on a blocking thread.
    ///
    /// # Errors
    /// When it is not there, or the writer fails.
    pub fn get_archive(
        self: &Arc<Self>,
        called: &str,
        path: &str,
        out: impl Write + Send,
    ) -> Result<(), Error> {
        let container = self.registry.find(called)?;
        self.with_root(&container, |root| {
            let node = Node::open(root, path, called)?;
            self.announce(&container, "archive-path", &[]);
            pack::node(node.fd.as_fd(), Path::new(&base(path)), out).map_err(Error::io("archive", path))
        })
    }

    /// Unpacks a tar into a folder of a container.
    ///
    /// # Errors
    /// When the folder is not there or read-only, or the archive would leave it.
    pub fn put_archive(
        self: &Arc<Self>,
        called: &str,
        path: &str,
        options: UnpackOptions,
        archive: impl Read + Send,
    ) -> Result<(), Error> {
        let container = self.registry.find(called)?;
        let record = container.record();
        check_writable(&record, path)?;
        self.with_root(&container, |root| {
            let target = format!("{}/", path.trim_end_matches('/'));
            let node = Node::open(root, &target, called).map_err(|error| match error {
                Error::NoSuchPath { .. } if Node::open(root, path, called).is_ok() => Error::NotADirectory,
                other => other,
            })?;
            if !node.is_folder() {
                return Err(Error::NotADirectory);
            }
            self.announce(&container, "extract-to-dir", &[]);
            unpack::unpack(root, Path::new(&clean(path)), &options, archive)
        })
    }

    /// Whom files belong to that are copied in as the container's own user.
    ///
    /// # Errors
    /// When that user is not in the container.
    pub fn owner(&self, called: &str) -> Result<(u32, u32), Error> {
        let record = self.registry.find(called)?.record();
        let layers = self.layers(&record);
        let text = |path: &str| Ok::<_, Error>(layers.read_file(path)?.unwrap_or_default());
        let user = spec::resolve_user(&record.config.user, &[], &text("/etc/passwd")?, &text("/etc/group")?);
        user.map(|user| (user.uid, user.gid)).map_err(Error::User)
    }

    /// Writes a container's whole file system as a tar. Must be called on a blocking thread.
    ///
    /// # Errors
    /// When it cannot be read, or the writer fails.
    pub fn export(self: &Arc<Self>, called: &str, out: impl Write + Send) -> Result<(), Error> {
        let container = self.registry.find(called)?;
        let record = container.record();
        self.announce(&container, "export", &[]);
        let root = if record.state.running && !record.state.restarting {
            // The overlay's own root: a running container's mounts are no part of it.
            of_running(record.state.pid, record.state.pid_start)?
        } else {
            let _order = container.lifecycle.blocking_lock();
            self.layers(&record).detached()?
        };
        pack::tree(root.as_fd(), out).map_err(Error::io("export", &container.id))
    }

    /// What a container has changed in its file system.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn changes(self: &Arc<Self>, called: &str) -> Result<Vec<FilesystemChange>, Error> {
        let container = self.registry.find(called)?;
        self.blocking(move |service| {
            let layers = service.layers(&container.record());
            changes::changes(&layers.lower, &layers.upper).map_err(Error::io("compare", &layers.upper))
        })
        .await
    }
}

/// What is mounted into a stopped container's root, folders before what is in them.
fn binds(record: &Record) -> Vec<Bind> {
    let mut binds: Vec<Bind> = record
        .mounts
        .iter()
        .filter(|point| matches!(point.kind, MountType::Bind | MountType::Volume))
        .map(|point| (PathBuf::from(&point.source), point.destination.clone()))
        .collect();
    binds.sort_by_key(|(_, destination)| destination.matches('/').count());
    binds
}

/// Whether a path may be written to by a copy: not in a read-only root or mount.
fn check_writable(record: &Record, path: &str) -> Result<(), Error> {
    let path = PathBuf::from(clean(&format!("/{path}")));
    let over = record.mounts.iter().filter(|point| path.starts_with(&point.destination));
    match over.max_by_key(|point| point.destination.len()) {
        Some(point) if !point.rw => Err(Error::ReadOnlyVolume),
        None if record.host.readonly_rootfs => Err(Error::ReadOnlyRoot),
        _ => Ok(()),
    }
}

/// Last part of a path, as entries of its archive begin: `.` stays, and is what the root has.
fn base(path: &str) -> String {
    match path.trim_end_matches('/').rsplit('/').next() {
        None | Some("") => ".".into(),
        Some(last) => last.to_owned(),
    }
}

/// Something in a container, held open.
struct Node {
    fd: OwnedFd,
    stat: Stat,
}

impl Node {
    /// What `path` is; a link itself, unless the path ends in `/` or `/.`.
    fn open(root: BorrowedFd<'_>, path: &str, container: &str) -> Result<Self, Error> {
        let follow = path.ends_with('/') || path.ends_with("/.");
        let inside = clean(&format!("/{path}"));
        let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
        let missing = || Error::NoSuchPath { path: path.to_owned(), container: container.to_owned() };
        let opened = open_in(root, Path::new(inside.trim_start_matches('/')), flags);
        let fd = opened.map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => missing(),
            errno => Error::io("open", path)(errno.into()),
        })?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::io("stat", path)(errno.into()))?;
        let node = Self { fd, stat };
        if follow && path.ends_with('/') && !node.is_folder() && !path.trim_matches('/').is_empty() {
            return Err(missing());
        }
        Ok(node)
    }

    fn is_folder(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode).is_dir()
    }

    fn path_stat(&self, path: &str) -> PathStat {
        let target = match FileType::from_raw_mode(self.stat.st_mode) {
            FileType::Symlink => rustix::fs::readlinkat(&self.fd, "", Vec::new())
                .map(|target| target.to_string_lossy().into_owned())
                .unwrap_or_default(),
            _ => String::new(),
        };
        let mtime =
            jiff::Timestamp::new(self.stat.st_mtime, i32::try_from(self.stat.st_mtime_nsec).unwrap_or(0));
        PathStat {
            name: match base(path) {
                name if name == "." && path.trim_matches('/').is_empty() => "/".into(),
                name => name,
            },
            size: self.stat.st_size,
            mode: go_mode(self.stat.st_mode),
            mtime: crate::timestamp::rfc3339_or_zero(mtime.ok()),
            link_target: target,
        }
    }
}

/// A mode with the bits of Go's `os.FileMode`.
fn go_mode(mode: u32) -> u32 {
    const DEVICE: u32 = 1 << 26;
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => DEVICE,
        FileType::CharacterDevice => DEVICE | 1 << 21,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special: u32 = special.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, go)| go).sum();
    kind | special | mode & 0o777
}

/// Opens what a path-only descriptor stands for, to read it.
fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    rustix::fs::open(path, flags | OFlags::CLOEXEC, rustix::fs::Mode::empty())
}

#[cfg(test)]
mod tests;
