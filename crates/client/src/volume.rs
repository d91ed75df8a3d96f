//! Volumes: `/volumes/…`.

use dray_api::Filters;
use dray_api::volume::{Volume, VolumeCreateRequest, VolumeListResponse, VolumesPruneReport};
use http::Method;

use crate::Result;
use crate::query::{Query, segment};
use crate::request::{Call, Client, Upload};

impl Client {
    /// Lists volumes.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_list(&self, filters: &Filters) -> Result<VolumeListResponse> {
        self.json(Call::new(Method::GET, "/volumes").query(Query::new().with_filters(filters))).await
    }

    /// Everything known of a volume, as it came over the wire.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_inspect_raw(&self, name: &str) -> Result<bytes::Bytes> {
        self.raw(Call::new(Method::GET, &format!("/volumes/{}", segment(name)))).await
    }

    /// Creates a volume.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_create(&self, request: &VolumeCreateRequest) -> Result<Volume> {
        self.json(Call::new(Method::POST, "/volumes/create").upload(Upload::json(request)?)).await
    }

    /// Removes a volume.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        let path = format!("/volumes/{}", segment(name));
        self.done(Call::new(Method::DELETE, &path).query(Query::new().with_flag("force", force))).await
    }

    /// Removes volumes that nothing uses.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_prune(&self, filters: &Filters) -> Result<VolumesPruneReport> {
        self.json(Call::new(Method::POST, "/volumes/prune").query(Query::new().with_filters(filters))).await
    }
}
