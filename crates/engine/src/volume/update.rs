//! `volume update`: other labels.

use dray_api::Labels;
use dray_api::volume::Volume;

use super::{ANONYMOUS, Error, KIND, SNAPSHOT, Service};

impl Service {
    /// Adds labels to a volume, over those of the same name, and takes others off. What makes a volume anonymous or a
    /// snapshot stays.
    ///
    /// # Errors
    /// [`Error::NotFound`], a label without a name or one of Dray's own, or if the disk fails.
    pub fn update(&self, name: &str, add: Labels, remove: &[String]) -> Result<Volume, Error> {
        let own = |label: &&String| matches!(label.as_str(), "" | ANONYMOUS | SNAPSHOT);
        if let Some(label) = add.keys().chain(remove).find(own) {
            return Err(Error::Label(label.clone()));
        }
        let _changing = self.changing(name);
        let mut record = self.find(name)?;
        let mut labels = record.labels.take().unwrap_or_default();
        labels.retain(|label, _| !remove.contains(label));
        labels.extend(add);
        record.labels = Some(labels).filter(|labels| !labels.is_empty());
        self.store.records().put(KIND, name, Some(name), &record)?;
        self.announce("update", &record);
        Ok(self.to_wire(&record))
    }
}
