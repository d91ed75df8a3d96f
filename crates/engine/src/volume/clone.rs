//! `volume clone` and `volume snapshot`: a new volume with the content of another. Where the file system can share
//! blocks between files (btrfs, xfs, bcachefs), nothing is copied.

use std::os::fd::AsFd;

use dray_api::Labels;
use dray_api::volume::Volume;
use rustix::fs::{Mode, OFlags};

use super::hold::Hold;
use super::{ANONYMOUS, Error, SNAPSHOT, Service};
use crate::container::copy;

/// How a volume is cloned.
#[derive(Debug, Clone, Default)]
pub struct CloneOptions {
    /// Labels of the new one beside those of the old one.
    pub labels: Labels,
    /// Containers that write to it go on meanwhile.
    pub no_pause: bool,
    /// The new one is a snapshot: containers have it read-only.
    pub snapshot: bool,
}

impl Service {
    /// Makes volume `name` with the content, owners and labels of `source`. Options that mount a file system are not
    /// taken over: the new one lies on the daemon's disk.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Exists`], a bad name, or if the disk fails; nothing is left then.
    pub fn clone_volume(&self, source: &str, name: &str, options: &CloneOptions) -> Result<Volume, Error> {
        let operation = if options.snapshot { "snapshot" } else { "clone" };
        let reading = self.reading(source, operation)?;
        let mut labels = self.find(source)?.labels.unwrap_or_default();
        labels.remove(ANONYMOUS);
        labels.remove(SNAPSHOT);
        labels.extend(options.labels.clone());
        if options.snapshot {
            labels.insert(SNAPSHOT.to_owned(), source.to_owned());
        }
        let draft = self.draft(operation, name)?;
        let hold = if options.no_pause { Hold::None } else { Hold::Pause };
        self.held(source, hold, || {
            let folder = |path: &std::path::Path| {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::open(path, flags, Mode::empty()).map_err(std::io::Error::from)
            };
            let copied = folder(&reading.path)
                .and_then(|from| copy::tree(from.as_fd(), folder(&draft.data())?.as_fd()));
            copied.map_err(Error::io("copy volume", &reading.path))
        })?;
        draft.name(operation, name, labels)
    }
}
