//! From the mounts asked for to those a container has: volumes found or made, content copied into
//! new ones.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dray_api::container::{ContainerConfig, HostConfig, MountType};
use rustix::fs::OFlags;

use super::idmap::{Ids, Owner};
use super::mount::{self, MountPoint, clean, parse_bind, parse_mount, parse_volumes_from};
use super::record::Record;
use super::rootfs::open_in;
use super::service::Service;
use super::spec::Source;
use super::volumes::VolumeRequest;
use super::{Error, copy};

/// Mounts by destination, in order.
type Points = BTreeMap<String, MountPoint>;

/// A container being made, and the anonymous volumes made for it so far.
struct Making<'a> {
    container: &'a str,
    volumes: Vec<String>,
}

impl Service {
    /// The mounts of a container being created. Volumes are made here; anonymous ones made before a
    /// failure are removed again. The container counts as a user of them until they are settled.
    pub(super) fn resolve_mounts(
        &self,
        container: &str,
        config: &ContainerConfig,
        host: &HostConfig,
    ) -> Result<Vec<MountPoint>, Error> {
        let mut making = Making { container, volumes: Vec::new() };
        match self.gather(config, host, &mut making) {
            Ok(points) => Ok(points.into_values().collect()),
            Err(error) => {
                self.volumes.settle(container);
                making.volumes.iter().for_each(|name| self.volumes.remove_anonymous(name, container));
                Err(error)
            }
        }
    }

    fn gather(
        &self,
        config: &ContainerConfig,
        host: &HostConfig,
        making: &mut Making<'_>,
    ) -> Result<Points, Error> {
        let mut points = Points::new();
        for from in host.volumes_from.iter().flatten() {
            let (called, read_only) = parse_volumes_from(from)?;
            // Not a 404: clients would take it for a missing image and pull that.
            let other = self.registry.find(called).map_err(|error| mount::Error::From(error.to_string()))?;
            for point in other.with(|record| record.mounts.clone()) {
                let rw = point.rw && !read_only;
                points.insert(
                    point.destination.clone(),
                    MountPoint { rw, copy: false, anonymous: false, ..point },
                );
            }
        }
        let tmpfs: Vec<String> =
            host.tmpfs.iter().flat_map(|all| all.keys()).map(|path| clean(path)).collect();
        let mut asked: Vec<String> = Vec::new();
        let binds = host.binds.iter().flatten().map(|raw| parse_bind(raw, &host.volume_driver));
        let mounts = host.mounts.iter().flatten().map(parse_mount);
        for point in binds.chain(mounts) {
            let mut point = point?;
            if asked.contains(&point.destination) || tmpfs.contains(&point.destination) {
                return Err(mount::Error::Duplicate(point.destination).into());
            }
            self.find_source(&mut point, making)?;
            asked.push(point.destination.clone());
            points.insert(point.destination.clone(), point);
        }
        for target in config.volumes.iter().flat_map(|volumes| volumes.keys()) {
            let destination = clean(target);
            if points.contains_key(&destination) || tmpfs.contains(&destination) {
                continue;
            }
            let driver = host.volume_driver.clone();
            let mut point = MountPoint {
                kind: MountType::Volume,
                destination,
                driver,
                anonymous: true,
                rw: true,
                copy: true,
                ..MountPoint::default()
            };
            self.find_source(&mut point, making)?;
            points.insert(point.destination.clone(), point);
        }
        Ok(points)
    }

    /// Finds or makes the source of a mount that comes to a container that exists. Anonymous volumes that were made are
    /// named in `made`.
    pub(super) fn find_live_source(
        &self,
        point: &mut MountPoint,
        container: &str,
        made: &mut Vec<String>,
    ) -> Result<(), Error> {
        let mut making = Making { container, volumes: Vec::new() };
        let found = self.find_source(point, &mut making);
        made.append(&mut making.volumes);
        found
    }

    /// Makes the source of such a mount ready.
    pub(super) fn prepare_live_source(
        &self,
        point: &MountPoint,
        record: &Record,
    ) -> Result<Option<Source>, Error> {
        self.prepare_source(point, record)?.map(|path| with_owner(point, path)).transpose()
    }

    fn find_source(&self, point: &mut MountPoint, making: &mut Making<'_>) -> Result<(), Error> {
        match point.kind {
            MountType::Volume => {
                let handle = self.volumes.ensure(&VolumeRequest {
                    name: (!point.anonymous).then(|| point.name.clone()),
                    driver: point.driver.clone(),
                    options: point.options.clone(),
                    labels: point.labels.clone(),
                    container: making.container.to_owned(),
                })?;
                if point.anonymous {
                    making.volumes.push(handle.name.clone());
                }
                point.source = handle.mountpoint.display().to_string();
                if handle.read_only {
                    (point.rw, point.copy) = (false, false);
                }
                (point.name, point.driver) = (handle.name, handle.driver);
                if point.mode.is_empty() {
                    point.mode = "z".into();
                }
            }
            MountType::Image => {
                let image = self.images.resolve(&point.source, None)?;
                point.name = std::mem::replace(&mut point.source, image.id);
                point.layers = image.layers;
            }
            _ => {}
        }
        Ok(())
    }

    /// Copies what the image has at a volume's destination into the volume, if that is empty. A file
    /// of the image cannot be covered by a volume of the image's own.
    pub(super) fn fill_volumes(&self, record: &Record) -> Result<(), Error> {
        let volumes = || record.mounts.iter().filter(|point| point.kind == MountType::Volume && point.copy);
        if volumes().next().is_none() {
            return Ok(());
        }
        let root = self.layers(record).detached()?;
        for point in volumes() {
            let inside = Path::new(point.destination.trim_start_matches('/'));
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
            let Ok(from) = open_in(root.as_fd(), inside, flags) else { continue };
            let is_folder = rustix::fs::fstat(&from)
                .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
            if !is_folder {
                if point.anonymous {
                    return Err(Error::VolumeOverFile(point.destination.clone()));
                }
                continue;
            }
            self.fill_volume(point, from.as_fd(), &record.id)?;
        }
        Ok(())
    }

    fn fill_volume(
        &self,
        point: &MountPoint,
        from: std::os::fd::BorrowedFd<'_>,
        container: &str,
    ) -> Result<(), Error> {
        let path = self.volumes.mount(&point.name, container)?;
        let failed = |error| Error::io("copy image content into", &path)(error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let copied = rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
            .map_err(std::io::Error::from)
            .and_then(|to| match copy::is_empty(to.as_fd())? {
                true => copy::tree(from, to.as_fd()),
                false => Ok(()),
            });
        self.volumes.unmount(&point.name, container);
        copied.map_err(failed)
    }

    /// Makes the sources of a container's mounts ready for a start: volumes mounted, missing folders of
    /// `-v` made. Gives where each lies; [`Service::release_sources`] undoes it.
    pub(super) fn prepare_sources(&self, record: &Record) -> Result<BTreeMap<String, Source>, Error> {
        let mut sources = BTreeMap::new();
        for point in &record.mounts {
            let prepared = self.prepare_source(point, record);
            match prepared.and_then(|path| path.map(|path| with_owner(point, path)).transpose()) {
                Ok(Some(source)) => drop(sources.insert(point.destination.clone(), source)),
                Ok(None) => {}
                Err(error) => {
                    self.release_sources(record);
                    return Err(error);
                }
            }
        }
        Ok(sources)
    }

    fn prepare_source(&self, point: &MountPoint, record: &Record) -> Result<Option<PathBuf>, Error> {
        match point.kind {
            MountType::Volume => {
                let failed = |source| Error::MountVolume { path: point.source.clone(), source };
                let path = self.volumes.mount(&point.name, &record.id).map_err(failed)?;
                self.events.publish("volume", "mount", &point.name, mount_attributes(point, &record.id));
                if point.subpath.is_empty() {
                    Ok(Some(path))
                } else {
                    subpath(&path, &point.subpath).map(Some)
                }
            }
            MountType::Bind => {
                let source = PathBuf::from(&point.source);
                if point.create_source && !source.exists() {
                    std::fs::create_dir_all(&source).map_err(Error::io("create", &source))?;
                }
                Ok(Some(source))
            }
            MountType::Image => {
                let path = self.mount_image(point, record)?;
                if point.subpath.is_empty() {
                    return Ok(Some(path));
                }
                subpath(&path, &point.subpath).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Mounts an image, read-only, where the container's init finds it. It stays until the container has ended.
    fn mount_image(&self, point: &MountPoint, record: &Record) -> Result<PathBuf, Error> {
        let path = self.image_mount(point, record);
        let failed = |error| Error::io("mount image on", &path)(error);
        // Left by a daemon that was killed at this point.
        unmount(&path);
        std::fs::create_dir_all(&path).map_err(failed)?;
        let mut lower = self.store.layers().folders_of(point.layers.iter().rev());
        // An image without layers is an empty folder.
        lower.push(self.store.root().join("base"));
        let overlay = dray_sys::mount::Overlay { lower: &lower, upper: None, options: &[] };
        let mounted = dray_sys::mount::overlay(&overlay).and_then(|mount| {
            let target = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
            dray_sys::mount::attach(mount.as_fd(), target.as_fd())
        });
        mounted.map_err(failed)?;
        Ok(path)
    }

    /// One folder for each place of each container. Not in its run directory: the init mounts the root over that.
    fn image_mount(&self, point: &MountPoint, record: &Record) -> PathBuf {
        let place = dray_spec::Digest::sha256_of(point.destination.as_bytes());
        self.images_folder(&record.id).join(&place.hex()[..16])
    }

    fn images_folder(&self, container: &str) -> PathBuf {
        self.config.run_root.join("image").join(container)
    }

    /// The container no longer uses its volumes and images.
    pub(super) fn release_sources(&self, record: &Record) {
        for point in record.mounts.iter().filter(|point| point.kind == MountType::Image) {
            unmount(&self.image_mount(point, record));
            let _ = std::fs::remove_dir(self.images_folder(&record.id));
        }
        for point in record.mounts.iter().filter(|point| point.kind == MountType::Volume) {
            self.volumes.unmount(&point.name, &record.id);
            let attributes = [("container", record.id.clone()), ("driver", point.driver.clone())];
            let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            self.events.publish("volume", "unmount", &point.name, attributes);
        }
    }
}

/// A source with its owner, where that matters.
fn with_owner(point: &MountPoint, path: PathBuf) -> Result<Source, Error> {
    let owner = if point.ids == Ids::Same {
        Owner::default()
    } else {
        let found = std::fs::metadata(&path).map_err(Error::io("look at", &path))?;
        (found.uid(), found.gid())
    };
    Ok(Source { path, owner })
}

/// Takes a mount away with its folder. Not mounted, not there: both are what is wanted.
fn unmount(path: &Path) {
    let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
    let _ = std::fs::remove_dir(path);
}

fn mount_attributes(point: &MountPoint, container: &str) -> dray_api::Labels {
    [
        ("driver", point.driver.clone()),
        ("container", container.to_owned()),
        ("destination", point.destination.clone()),
        ("read/write", point.rw.to_string()),
        ("propagation", point.propagation.clone()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// A part of a volume or an image, links resolved inside it.
fn subpath(volume: &Path, part: &str) -> Result<PathBuf, Error> {
    let failed = Error::io("open subpath", volume.join(part));
    let root = rustix::fs::open(volume, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty());
    let found = root
        .and_then(|root| open_in(root.as_fd(), Path::new(part), OFlags::PATH))
        .map_err(std::io::Error::from);
    let path = found.and_then(|found| {
        std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found)))
    });
    path.map_err(failed)
}
