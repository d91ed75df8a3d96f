//! What containers need of images: implemented by the engine's image service.

use std::path::PathBuf;

use dray_api::Labels;
use dray_api::container::ContainerConfig;
use dray_store::LayerId;

use crate::ServiceError;

/// An image a container is made from.
#[derive(Debug, Clone, Default)]
pub struct ContainerImage {
    /// Its id, as `sha256:…`.
    pub id: String,
    /// What it says of how to run it.
    pub config: ContainerConfig,
    /// Its layers, the bottom one first.
    pub layers: Vec<LayerId>,
    /// Its platform, as `linux/amd64`.
    pub platform: String,
    /// Keeps it until the container is recorded, if it was asked for that.
    pub claim: Option<dray_image::Claim>,
}

/// A new image from what a container has written.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// The read-write layer, in overlay form. It is copied, the container goes on using it.
    pub upper: PathBuf,
    /// Id of the image below it; empty for none.
    pub parent: String,
    /// Layers below it, the bottom one first.
    pub layers: Vec<LayerId>,
    /// The new image's configuration.
    pub config: ContainerConfig,
    /// What the container ran: kept as `container_config` is in Docker's history.
    pub command: Vec<String>,
    /// Name to give it, as `repo:tag`; empty for none.
    pub reference: String,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Dockerfile instructions (`CMD …`, `ENV …`) that change the configuration.
    pub changes: Vec<String>,
    /// Attributes of the `commit` event.
    pub attributes: Labels,
}

/// The images' side of a container's life.
pub trait ContainerImages: Send + Sync {
    /// The image of this name or id, for this platform (`os/arch[/variant]`) when one is asked for.
    ///
    /// # Errors
    /// `NotFound` with `No such image: x:latest`.
    fn resolve(&self, called: &str, platform: Option<&str>) -> Result<ContainerImage, ServiceError>;

    /// As [`ContainerImages::resolve`], for a container about to be made: the image is kept as long as its
    /// claim.
    ///
    /// # Errors
    /// As [`ContainerImages::resolve`].
    fn claim(
        &self,
        called: &str,
        platform: Option<&str>,
        container: &str,
    ) -> Result<ContainerImage, ServiceError>;

    /// Makes an image of a container's read-write layer and gives its id.
    ///
    /// # Errors
    /// For a name that is none, or when the layer cannot be read.
    fn commit(&self, request: &CommitRequest) -> Result<String, ServiceError>;
}
