//! Companions: the images of other platforms that were made together with an image. The index that names all of them
//! is known by the one for this machine; the others need no name of their own, are found by its name and their
//! platform, and go when it goes.

use std::collections::HashSet;

use dray_spec::{Digest, Platform};

use crate::{Image, Images, Result, origin, whole};

/// `image-companions/<image> → [image]`
const KIND: &str = "image-companions";

impl Images {
    /// Remembers the companions of an image, in place of those it had.
    ///
    /// # Errors
    /// If the store fails.
    pub fn set_companions(&self, image: &Digest, companions: &[Digest]) -> Result<()> {
        let others: Vec<&Digest> = companions.iter().filter(|other| *other != image).collect();
        if others.is_empty() {
            self.store().records().delete(KIND, image.as_str())?;
        } else {
            self.store().records().put(KIND, image.as_str(), None, &others)?;
        }
        Ok(())
    }

    /// The companions of an image.
    ///
    /// # Errors
    /// If the store fails.
    pub fn companions(&self, image: &Digest) -> Result<Vec<Digest>> {
        Ok(self.store().records().get(KIND, image.as_str())?.unwrap_or_default())
    }

    /// All images that are another's companions.
    ///
    /// # Errors
    /// If the store fails.
    pub fn all_companions(&self) -> Result<HashSet<Digest>> {
        let records = self.store().records().list::<Vec<Digest>>(KIND)?;
        Ok(records.into_iter().flat_map(|record| record.document).collect())
    }

    /// The image if it is for a platform, else the companion that fits best, else the one that was pulled by the same
    /// index.
    ///
    /// # Errors
    /// If the store fails.
    pub fn for_platform(&self, image: Image, wanted: &Platform) -> Result<Option<Image>> {
        if wanted.accepts(&image.config.platform()) {
            return Ok(Some(image));
        }
        let mut found: Option<(u32, Image)> = None;
        for id in self.companions(&image.id)? {
            let Some(companion) = self.get(&id)? else { continue };
            if let Some(distance) = wanted.distance(&companion.config.platform())
                && found.as_ref().is_none_or(|(best, _)| distance < *best)
            {
                found = Some((distance, companion));
            }
        }
        match found {
            Some((_, companion)) => Ok(Some(companion)),
            None => self.pulled_for(&image, wanted),
        }
    }

    /// The image of a platform that an index names by which this image came; it is known by its digest.
    fn pulled_for(&self, image: &Image, wanted: &Platform) -> Result<Option<Image>> {
        for index in origin::indexes_of(self.store(), &image.id) {
            let Some(entry) = whole::entry_for(self.store(), &index, wanted) else { continue };
            for name in image.tags.iter().chain(&image.repo_digests) {
                let pinned = name.with_digest(entry.digest.clone());
                if let Some(id) = self.store().tags().get(&pinned)?
                    && let Some(found) = self.get(&id)?
                {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}
