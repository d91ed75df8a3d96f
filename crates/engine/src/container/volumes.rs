//! What containers need of volumes: implemented by the engine's volume service.

use std::path::PathBuf;

use dray_api::Labels;

use crate::ServiceError;

/// A volume to be found or made.
#[derive(Debug, Clone, Default)]
pub struct VolumeRequest {
    /// Its name; none makes an anonymous one.
    pub name: Option<String>,
    /// Its driver; empty is `local`.
    pub driver: String,
    /// Driver options, used when it is made.
    pub options: Labels,
    /// Labels, used when it is made.
    pub labels: Labels,
    /// The container that is being made with it; it counts as a user until [`ContainerVolumes::settle`].
    pub container: String,
}

/// A volume that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeHandle {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Where its content lies on the host.
    pub mountpoint: PathBuf,
    /// It was made by this call, so an image's content may be copied into it.
    pub created: bool,
    /// Nobody may write to it (a snapshot).
    pub read_only: bool,
}

/// The volumes' side of a container's life. Whether a volume is in use is answered by
/// [`super::Registry::volume_users`].
pub trait ContainerVolumes: Send + Sync {
    /// Finds the volume, or makes it durably and emits `volume create`.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad name, `NotFound` for an unknown driver, `Conflict` when it exists
    /// with another driver.
    fn ensure(&self, request: &VolumeRequest) -> Result<VolumeHandle, ServiceError>;

    /// The container is recorded, or was not made: its record says from now on what it uses.
    fn settle(&self, container: &str);

    /// Where an existing volume's content lies, made ready for use (a `local` volume with `type=` and
    /// `device=` options is mounted).
    ///
    /// # Errors
    /// `NotFound` when the volume is gone.
    fn mount(&self, name: &str, container: &str) -> Result<PathBuf, ServiceError>;

    /// All containers that still run have said what they use, after a start of the daemon: what is mounted for others,
    /// which ended while no daemon was there, is taken off.
    fn release_unused(&self);

    /// The container no longer uses the volume that it mounted.
    fn unmount(&self, name: &str, container: &str);

    /// Removes an anonymous volume with its container, if nobody else uses it. Failures are logged.
    fn remove_anonymous(&self, name: &str, container: &str);
}
