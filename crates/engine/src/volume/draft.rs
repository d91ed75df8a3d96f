//! A volume on its way: filled under a name that no volume can have, then named at once.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use dray_api::Labels;
use dray_api::volume::Volume;
use jiff::Timestamp;

use super::{Error, KIND, Record, Service, check_name, seconds};

const PREFIX: &str = ".draft-";

/// A folder that becomes a volume, or goes away when it is dropped.
pub(super) struct Draft<'a> {
    service: &'a Service,
    folder: PathBuf,
    kept: bool,
}

/// The folder of a volume that is no more.
#[derive(Debug, Default)]
#[must_use = "the folder is there until it is deleted"]
pub(super) struct Gone(Option<PathBuf>);

impl Gone {
    /// Deletes it. The volume is gone for everybody: what cannot be deleted is reported, not hidden.
    pub fn delete(self) -> Result<(), Error> {
        match self.0 {
            Some(folder) => super::quota::remove_tree(&folder).map_err(Error::io("remove volume", folder)),
            None => Ok(()),
        }
    }
}

impl Service {
    /// Puts the folder of a volume without a record out of the way, at once and whole: under a name that the next start
    /// sweeps.
    pub(super) fn put_away(&self, name: &str) -> Result<Gone, Error> {
        let folder = self.store.volume_dir(name);
        if !folder.exists() {
            return Ok(Gone::default());
        }
        if let Some(other) = self.records()?.iter().find(|other| other.renamed_from.as_deref() == Some(name))
        {
            // A rename that could not be finished: it is that volume's.
            return Err(Error::Exists { operation: "create", name: other.name.clone() });
        }
        let away = self.new_draft();
        std::fs::rename(&folder, &away).map_err(Error::io("remove volume", folder))?;
        Ok(Gone(Some(away)))
    }

    fn new_draft(&self) -> PathBuf {
        self.store.volumes_dir().join(format!("{PREFIX}{}", crate::container::names::new_id()))
    }

    /// Writes the names of the volumes' folders to the disk.
    pub(super) fn flush_names(&self) -> Result<(), Error> {
        let volumes = self.store.volumes_dir();
        let flush = || std::fs::File::open(&volumes)?.sync_all();
        flush().map_err(Error::io("write back", &volumes))
    }

    /// An empty draft for a volume that is not there yet.
    pub(super) fn draft(&self, operation: &'static str, name: &str) -> Result<Draft<'_>, Error> {
        check_name(name)?;
        self.must_be_new(operation, name)?;
        let folder = self.new_draft();
        let draft = Draft { service: self, folder, kept: false };
        let make = |path: &Path, mode| std::fs::DirBuilder::new().mode(mode).create(path);
        make(&draft.folder, 0o701).map_err(Error::io("create volume", &draft.folder))?;
        make(&draft.data(), 0o755).map_err(Error::io("create volume", draft.data()))?;
        Ok(draft)
    }

    pub(super) fn must_be_new(&self, operation: &'static str, name: &str) -> Result<(), Error> {
        match self.find(name) {
            Err(Error::NotFound(_)) => Ok(()),
            Ok(_) => Err(Error::Exists { operation, name: name.to_owned() }),
            Err(error) => Err(error),
        }
    }

    /// Removes what a killed daemon has left half made: drafts, and folders that no record came to. Those are empty; one
    /// that holds anything is put away when its name is used again.
    pub(super) fn sweep_drafts(&self) {
        let Ok(entries) = std::fs::read_dir(self.store.volumes_dir()) else { return };
        let Ok(records) = self.records() else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(PREFIX) {
                let its =
                    |record: &Record| record.name == name || record.renamed_from.as_ref() == Some(&name);
                if !records.iter().any(its) {
                    let _ = std::fs::remove_dir(entry.path().join("_data"));
                    let _ = std::fs::remove_dir(entry.path());
                }
                continue;
            }
            if let Err(error) = super::quota::remove_tree(&entry.path()) {
                tracing::warn!(%error, path = %entry.path().display(), "remove half a volume");
            }
        }
    }
}

impl Draft<'_> {
    /// Where its content goes.
    pub fn data(&self) -> PathBuf {
        self.folder.join("_data")
    }

    /// Writes everything to the disk and makes it a volume, unless one of this name has come meanwhile.
    pub fn name(mut self, operation: &'static str, name: &str, labels: Labels) -> Result<Volume, Error> {
        let flush = || {
            let folder = std::fs::File::open(&self.folder)?;
            Ok(rustix::fs::syncfs(&folder)?)
        };
        flush().map_err(Error::io("write back", &self.folder))?;
        let service = self.service;
        let _changing = service.changing(name);
        service.must_be_new(operation, name)?;
        let target = service.store.volume_dir(name);
        service.put_away(name)?.delete()?;
        std::fs::rename(&self.folder, &target).map_err(Error::io("rename", &self.folder))?;
        self.folder = target;
        // Before the record says that it is there.
        service.flush_names()?;
        let record = Record {
            name: name.to_owned(),
            created: seconds(Timestamp::now()),
            options: None,
            labels: Some(labels).filter(|labels| !labels.is_empty()),
            driver: super::local_driver(),
            renamed_from: None,
        };
        service.store.records().put(KIND, name, Some(name), &record)?;
        self.kept = true;
        service.announce("create", &record);
        Ok(service.to_wire(&record))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = dray_store::remove_tree(&self.folder) {
            tracing::warn!(%error, path = %self.folder.display(), "remove half a volume");
        }
    }
}
