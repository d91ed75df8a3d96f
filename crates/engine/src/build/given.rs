//! Images that a client gives its build, known there by their ids alone.

use std::io::Read;
use std::sync::Arc;

use dray_build::{BaseImage, Built};
use dray_image::{Claim, Images, LoadOptions};
use dray_spec::{Digest, Platform};

use super::{Error, Service};
use crate::image;

/// An image that stays as long as this value.
#[derive(Clone, Debug)]
pub struct GivenImage {
    image: BaseImage,
    _kept: Arc<Kept>,
}

/// What keeps it. One that came for a build goes with it, unless somebody names or uses it meanwhile.
#[derive(Debug)]
struct Kept {
    claim: Option<Claim>,
    loaded: Option<(Images, Digest)>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Its own claim would keep it from being removed.
        drop(self.claim.take());
        let Some((images, id)) = &self.loaded else { return };
        let nameless = images.get(id).is_ok_and(|image| image.is_some_and(|image| image.tags.is_empty()));
        if nameless && let Err(error) = images.remove(id.as_str(), false, false, &|_| Vec::new()) {
            tracing::debug!(%error, %id, "an image of a build's context stays");
        }
    }
}

impl GivenImage {
    /// Its id, by which the build finds it.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.image.id
    }

    pub(super) fn image(&self) -> &BaseImage {
        &self.image
    }

    fn new(image: dray_image::Image, claim: Claim, loaded: Option<Images>) -> Self {
        let loaded = loaded.map(|images| (images, image.id.clone()));
        GivenImage {
            image: BaseImage { id: image.id, config: image.config, layers: image.layers, digest: None },
            _kept: Arc::new(Kept { claim: Some(claim), loaded }),
        }
    }
}

impl From<&Built> for GivenImage {
    fn from(built: &Built) -> Self {
        GivenImage::new(built.content.clone(), built.claim.clone(), None)
    }
}

impl Service {
    /// An image that is here already.
    ///
    /// # Errors
    /// If the store fails.
    pub fn given_image(&self, id: &Digest) -> Result<Option<GivenImage>, Error> {
        let images = self.images.images();
        match images.claim(id.as_str(), "a build") {
            Ok((image, claim)) => Ok(Some(GivenImage::new(image, claim, None))),
            Err(error) if error.kind() == dray_image::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(image::Error::from(error).into()),
        }
    }

    /// Loads an image from an archive for a build. Blocks.
    ///
    /// # Errors
    /// If it is no archive of an image for the platform, or the store fails.
    pub fn load_given(&self, archive: impl Read + Send, platform: &Platform) -> Result<GivenImage, Error> {
        let images = self.images.images();
        let _lease = images.lease();
        let options = LoadOptions { platform: Some(platform.clone()) };
        let loaded = images.load_with(archive, &options, &|_| {}).map_err(image::Error::from)?;
        let missing = || image::Error::from(dray_image::Error::NotFound(platform.to_string()));
        let id = loaded.into_iter().next().ok_or_else(missing)?.id;
        let (image, claim) = images.claim(id.as_str(), "a build").map_err(image::Error::from)?;
        Ok(GivenImage::new(image, claim, Some(images.clone())))
    }
}
