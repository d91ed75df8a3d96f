//! The seam to images: what `FROM` and `COPY --from` name.

use dray_image::Progress;
use dray_spec::{Digest, ImageConfig, Platform};
use dray_store::LayerId;

use crate::Cancel;

/// Finds the images that a Dockerfile names, pulling them if need be. The engine implements it.
pub trait BaseImages: Send + Sync {
    /// The image `name` for `platform`. With `force_pull` the registry is asked even if the image is there.
    ///
    /// # Errors
    /// When there is no such image, it cannot be pulled, or the build is cancelled.
    fn resolve(
        &self,
        name: &str,
        platform: &Platform,
        force_pull: bool,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<BaseImage, BaseImageError>;

    /// The configuration of the image `name` for `platform`, for who needs nothing else of it.
    ///
    /// # Errors
    /// As [`BaseImages::resolve`].
    fn config(
        &self,
        name: &str,
        platform: &Platform,
        cancel: &Cancel,
    ) -> Result<ImageConfig, BaseImageError> {
        Ok(self.resolve(name, platform, false, &|_| {}, cancel)?.config)
    }
}

/// An image as the builder needs it.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// Its id.
    pub id: Digest,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its unpacked layers, bottom first.
    pub layers: Vec<LayerId>,
    /// What its name stands for at its registry, if that is known.
    pub digest: Option<Digest>,
}

/// Why an image cannot be had. The text is the source's.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BaseImageError(#[from] pub Box<dyn std::error::Error + Send + Sync>);
