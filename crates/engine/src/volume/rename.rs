//! `volume rename`.

use dray_api::volume::Volume;

use super::{ANONYMOUS, Error, KIND, Record, Service, check_name, local};

impl Service {
    /// Gives a volume that no container has another name. An anonymous one is anonymous no longer.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InUse`], [`Error::Exists`], a bad name, or if the disk fails.
    pub fn rename(&self, old: &str, new: &str) -> Result<Volume, Error> {
        check_name(new)?;
        let _changing = self.changing.hold(&[old, new]);
        let record = self.find(old)?;
        if !record.is_local() {
            return Err(Error::NotLocal { operation: "rename", name: old.to_owned(), driver: record.driver });
        }
        self.must_be_new("rename", new)?;
        let users = self.users_of(old);
        if !users.is_empty() {
            return Err(Error::InUse { operation: "rename", name: old.to_owned(), users });
        }
        let data = self.data(old);
        if local::is_mounted(&data) {
            local::unmount_from(&data)?;
        }
        let mut labels = record.labels.clone();
        if let Some(labels) = &mut labels {
            labels.remove(ANONYMOUS);
        }
        let renamed = Record { name: new.to_owned(), labels, renamed_from: Some(old.to_owned()), ..record };
        self.store.records().batch(|tx| {
            tx.delete(KIND, old)?;
            tx.put(KIND, new, Some(new), &renamed)
        })?;
        let renamed = self.move_folder(renamed)?;
        self.announce_with("rename", new, &[("oldName", old.to_owned())]);
        Ok(self.to_wire(&renamed))
    }

    /// Moves the folder to where the record says that it is.
    fn move_folder(&self, mut record: Record) -> Result<Record, Error> {
        let Some(old) = record.renamed_from.take() else { return Ok(record) };
        let (from, to) = (self.store.volume_dir(&old), self.store.volume_dir(&record.name));
        if from.exists() {
            self.put_away(&record.name)?.delete()?;
            std::fs::rename(&from, &to).map_err(Error::io("rename", &from))?;
            self.flush_names()?;
        }
        self.store.records().put(KIND, &record.name, Some(&record.name), &record)?;
        Ok(record)
    }

    /// Finishes what a killed daemon was at.
    pub(super) fn finish_renames(&self) {
        let records = self.records().unwrap_or_default();
        for record in records.into_iter().filter(|record| record.renamed_from.is_some()) {
            let name = record.name.clone();
            if let Err(error) = self.move_folder(record) {
                tracing::error!(%error, volume = name, "finish the rename of a volume");
            }
        }
    }
}
