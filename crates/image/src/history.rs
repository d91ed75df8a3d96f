//! How an image came to be, the last step first, as `docker history` shows it.

use crate::{Error, Image, Images, Result};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The ID of the image after this step if that is known here, else `<missing>`.
    pub id: String,
    /// RFC 3339, empty if unknown.
    pub created: String,
    /// The command.
    pub created_by: String,
    /// A note.
    pub comment: String,
    /// What the step added.
    pub size: u64,
    /// The names of the image after this step.
    pub tags: Vec<String>,
}

impl Images {
    /// The steps of an image, the last one first.
    ///
    /// # Errors
    /// If its history names more layers than there are, or the store fails.
    pub fn history(&self, image: &Image) -> Result<Vec<HistoryEntry>> {
        let mut layers = image.layers.iter();
        let mut entries = Vec::new();
        for step in &image.config.history {
            let size = match step.empty_layer {
                true => 0,
                false => self.store().layers().get(*layers.next().ok_or(Error::History)?)?.size,
            };
            entries.push(HistoryEntry {
                id: "<missing>".into(),
                created: step.created.clone().unwrap_or_default(),
                created_by: step.created_by.clone(),
                comment: step.comment.clone(),
                size,
                tags: Vec::new(),
            });
        }
        entries.reverse();
        self.name_steps(image, &mut entries)?;
        Ok(entries)
    }

    /// The steps whose images are here get their IDs and names, going down from parent to parent.
    fn name_steps(&self, image: &Image, entries: &mut [HistoryEntry]) -> Result<()> {
        let mut current = Some(image.clone());
        for entry in entries {
            let Some(image) = current else { break };
            entry.id = image.id.to_string();
            entry.tags = image.tags.iter().map(|tag| tag.familiar()).collect();
            current = match &image.parent {
                Some(parent) => self.get(parent)?,
                None => None,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dray_spec::{History, ImageConfig};

    use super::*;
    use crate::NewImage;
    use crate::images::tests::{Fixture, diff_id};

    fn step(command: &str, empty_layer: bool) -> History {
        History { created_by: command.into(), empty_layer, ..History::default() }
    }

    #[test]
    fn sizes_names_and_missing_ids() {
        let fixture = Fixture::new();
        let base = fixture.image(1, &["base"], &["base"]);
        let mut config = ImageConfig {
            history: vec![step("ADD rootfs", false), step("ENV a", true), step("RUN b", false)],
            ..base.config.clone()
        };
        config.rootfs.diff_ids.push(diff_id("second"));
        let layers = vec![base.layers[0], fixture.layer("second")];
        let new = NewImage {
            config: config.to_bytes(),
            layers,
            parent: Some(base.id.clone()),
            names: vec!["app".parse().unwrap()],
            ..NewImage::default()
        };
        let image = fixture.images.create(new).unwrap();
        let entries = fixture.images.history(&image).unwrap();
        let shown: Vec<_> = entries
            .iter()
            .map(|entry| (entry.id.as_str(), entry.created_by.as_str(), entry.size, entry.tags.join(" ")))
            .collect();
        assert_eq!(
            shown,
            [
                (image.id.as_str(), "RUN b", 6, "app:latest".to_string()),
                (base.id.as_str(), "ENV a", 0, "base:latest".into()),
                ("<missing>", "ADD rootfs", 4, String::new()),
            ]
        );
    }

    #[test]
    fn more_steps_than_layers() {
        let fixture = Fixture::new();
        let config = ImageConfig { history: vec![step("x", false)], ..ImageConfig::default() };
        let image = fixture.images.create_from(&config, Vec::new()).unwrap();
        assert!(matches!(fixture.images.history(&image), Err(Error::History)));
    }
}
