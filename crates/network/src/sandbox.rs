//! A container's network namespace, bound at `<run-root>/netns/<container id>`.
//!
//! Namespaces are made ahead of time ([`Nursery`]): loopback up, settings made, a netlink socket opened inside.
//! Ready ones are held by a descriptor alone, so that a daemon which is killed leaves none behind.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dray_sys::netns;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::config::DnsConfig;
use crate::dns;
use crate::error::{Error, Result};
use crate::host::inside;
use crate::netlink::{Family, Socket, route};
use crate::sysctl;

/// How long after one was taken the next is made.
const BREATH: Duration = Duration::from_millis(5);
/// The index of the loopback interface in every namespace.
const LOOPBACK: u32 = 1;

/// A container's network namespace.
#[derive(Clone, Debug)]
pub struct Sandbox {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    container_id: String,
    path: PathBuf,
    ready: Ready,
    /// What the embedded resolver knows of this container, once it serves.
    pub(crate) dns: Mutex<Option<dns::Served>>,
    pub(crate) dns_config: Mutex<DnsConfig>,
    /// Whether a table inside may say where services are.
    virtuals: AtomicBool,
}

/// A namespace that nobody uses yet.
#[derive(Debug)]
struct Ready {
    namespace: OwnedFd,
    route: Mutex<Socket>,
    /// The resolver's sockets, until they are used or known not to be needed.
    dns: Mutex<Option<dns::Sockets>>,
}

impl Sandbox {
    fn new(container_id: &str, path: PathBuf, ready: Ready, found: bool) -> Self {
        let container_id = container_id.to_owned();
        let (dns, dns_config) = (Mutex::default(), Mutex::default());
        let inner = Inner { container_id, path, ready, dns, dns_config, virtuals: found.into() };
        Self { inner: Arc::new(inner) }
    }

    /// The container it belongs to.
    #[must_use]
    pub fn container_id(&self) -> &str {
        &self.inner.container_id
    }

    /// Where the namespace is bound: what the OCI configuration's network namespace path says.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The resolver's sockets, if they were made ahead and not taken yet.
    pub(crate) fn take_dns_sockets(&self) -> Option<dns::Sockets> {
        self.inner.ready.dns.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn has_virtuals(&self) -> bool {
        self.inner.virtuals.load(Ordering::Relaxed)
    }

    pub(crate) fn set_virtuals(&self, has: bool) {
        self.inner.virtuals.store(has, Ordering::Relaxed);
    }

    pub(crate) fn namespace(&self) -> BorrowedFd<'_> {
        self.inner.ready.namespace.as_fd()
    }

    /// Asks the kernel something about the links, addresses and routes inside.
    pub(crate) fn with_route<T>(&self, ask: impl FnOnce(&Socket) -> T) -> T {
        ask(&self.inner.ready.route.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where sandboxes are made and kept.
#[derive(Debug)]
pub struct Nursery {
    folder: PathBuf,
    target: usize,
    ready: Arc<Mutex<Vec<Ready>>>,
    filling: Arc<AtomicBool>,
}

impl Nursery {
    /// A nursery that keeps this many namespaces ready.
    pub fn open(run_root: &Path, target: usize) -> Result<Self> {
        let folder = run_root.join("netns");
        fs::create_dir_all(&folder).map_err(|source| Error::Io {
            operation: "create",
            path: folder.clone(),
            source,
        })?;
        let nursery = Self { folder, target, ready: Arc::default(), filling: Arc::default() };
        nursery.refill();
        Ok(nursery)
    }

    /// A namespace for a container, bound at its place.
    pub fn sandbox(&self, container_id: &str) -> Result<Sandbox> {
        let taken = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop();
        self.refill();
        let ready = match taken {
            Some(ready) => ready,
            None => make(false)?,
        };
        let path = self.path(container_id);
        bind(&ready, &path)?;
        Ok(Sandbox::new(container_id, path, ready, false))
    }

    /// The namespace that an earlier daemon bound for a container.
    pub fn reopen(&self, container_id: &str) -> Result<Sandbox> {
        let path = self.path(container_id);
        let gone = |_| Error::UnknownSandbox(container_id.to_owned());
        let namespace: OwnedFd = File::open(&path).map_err(gone)?.into();
        let opened = inside(&namespace, || Socket::open(Family::Route));
        // A file without its mount is what a reboot leaves, and no namespace to enter.
        let route = opened
            .map_err(gone)?
            .map_err(|source| Error::System { operation: "open a route socket in a sandbox", source })?;
        Ok(Sandbox::new(
            container_id,
            path,
            Ready { namespace, route: Mutex::new(route), dns: Mutex::default() },
            true,
        ))
    }

    /// Unbinds a container's namespace. The kernel ends it when its last process is gone.
    pub fn unbind(&self, container_id: &str) -> Result<()> {
        let path = self.path(container_id);
        match unmount(&path, UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(e) => return Err(Error::Io { operation: "unmount", path, source: e.into() }),
        }
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Io { operation: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// The containers that have a namespace bound.
    pub fn bound(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()).collect()
    }

    /// Lets the ready namespaces go.
    pub fn drain(&self) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn path(&self, container_id: &str) -> PathBuf {
        // An id is a file name: nothing that a caller passes may lead out of the folder.
        self.folder.join(container_id.replace('/', "_"))
    }

    /// Makes namespaces in the background until enough are ready. It waits a moment first: making one keeps the
    /// kernel's network locks, and whoever took the last one is about to need them.
    fn refill(&self) {
        if self.target == 0 || self.filling.swap(true, Ordering::AcqRel) {
            return;
        }
        let (ready, filling, target) = (Arc::clone(&self.ready), Arc::clone(&self.filling), self.target);
        let fill = move || {
            std::thread::sleep(BREATH);
            while ready.lock().unwrap_or_else(PoisonError::into_inner).len() < target {
                match make(true) {
                    Ok(one) => ready.lock().unwrap_or_else(PoisonError::into_inner).push(one),
                    Err(e) => {
                        tracing::warn!("no network namespace made ahead: {e}");
                        break;
                    }
                }
            }
            filling.store(false, Ordering::Release);
        };
        // Without a thread there is nothing ready, and sandboxes are made when they are asked for.
        if std::thread::Builder::new().name("netns-ahead".into()).spawn(fill).is_err() {
            self.filling.store(false, Ordering::Release);
        }
    }
}

fn bind(ready: &Ready, path: &Path) -> Result<()> {
    let fail = |operation| {
        let path = path.to_owned();
        move |source| Error::Io { operation, path, source }
    };
    fs::File::create(path).map_err(fail("create"))?;
    let source = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&ready.namespace));
    mount_bind(source, path).map_err(|e| {
        let _ = fs::remove_file(path);
        fail("bind a network namespace at")(e.into())
    })
}

/// Makes a namespace: on a thread of its own, which ends in it.
fn make(ahead: bool) -> Result<Ready> {
    let failed = |operation| move |source| Error::System { operation, source };
    let make_here = || -> Result<Ready> {
        netns::unshare().map_err(failed("make a network namespace"))?;
        let namespace = netns::current().map_err(failed("open a network namespace"))?;
        let route = Socket::open(Family::Route).map_err(failed("open a route socket in a sandbox"))?;
        route::set_up(&route, LOOPBACK).map_err(|e| e.of("set up loopback in a sandbox"))?;
        settings();
        // Only made ahead: whoever waits for a namespace may not need them.
        let dns = if ahead { dns::open_sockets().ok() } else { None };
        Ok(Ready { namespace, route: Mutex::new(route), dns: Mutex::new(dns) })
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns-make".into())
            .spawn_scoped(scope, make_here)
            .map_err(failed("start a thread"))?;
        thread.join().unwrap_or_else(|_| {
            Err(failed("make a network namespace")(io::Error::other("the thread panicked")))
        })
    })
}

/// What Docker sets in a container's namespace: ports below 1024 and ping for every user, and no IPv6 but where an
/// address was given. A kernel that lacks one of them is as it was before they existed.
fn settings() {
    for (key, value) in [
        ("net/ipv4/ip_unprivileged_port_start", "0"),
        ("net/ipv4/ping_group_range", "0 2147483647"),
        ("net/ipv6/conf/default/disable_ipv6", "1"),
    ] {
        if let Err(e) = sysctl::write(key, value) {
            tracing::debug!("{e}");
        }
    }
}
