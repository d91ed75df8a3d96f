//! What Dray's API has beyond Docker's: `/dray/…`.

use dray_api::Filters;
use dray_api::extension::{ImageFileChange, ImageMount, ImageTree, NetworkExposure, SquashResponse};
use http::Method;

use crate::Result;
use crate::query::Query;
use crate::request::{Call, Client};

impl Client {
    /// An image layer by layer, with what each wastes.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_tree(&self, name: &str) -> Result<ImageTree> {
        let query = Query::new().with("image", name);
        self.json(Call::new(Method::GET, "/dray/images/tree").query(query)).await
    }

    /// The files that differ between two images.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_diff(&self, from: &str, to: &str) -> Result<Vec<ImageFileChange>> {
        let query = Query::new().with("from", from).with("to", to);
        self.json(Call::new(Method::GET, "/dray/images/diff").query(query)).await
    }

    /// Makes an image with the same files in fewer layers.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_squash(
        &self,
        name: &str,
        onto: &str,
        tags: &[String],
        comment: &str,
    ) -> Result<SquashResponse> {
        let mut query =
            Query::new().with("image", name).with_some("onto", onto).with_some("comment", comment);
        tags.iter().for_each(|tag| query.add("tag", tag));
        self.json(Call::new(Method::POST, "/dray/images/squash").query(query)).await
    }

    /// Mounts an image on the daemon's host, read-only; on a folder of the daemon's own if `target` is empty.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_mount(&self, name: &str, target: &str) -> Result<ImageMount> {
        let query = Query::new().with("image", name).with_some("target", target);
        self.json(Call::new(Method::POST, "/dray/images/mount").query(query)).await
    }

    /// The mounted images.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_mounts(&self) -> Result<Vec<ImageMount>> {
        self.json(Call::new(Method::GET, "/dray/images/mounts")).await
    }

    /// Takes an image off, by its target or by its name; gives the targets.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_unmount(&self, name: &str) -> Result<Vec<String>> {
        let query = Query::new().with("name", name);
        self.json(Call::new(Method::POST, "/dray/images/unmount").query(query)).await
    }

    /// What of containers is reachable from where, and why.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn network_exposure(&self, filters: &Filters) -> Result<Vec<NetworkExposure>> {
        let query = Query::new().with_filters(filters);
        self.json(Call::new(Method::GET, "/dray/networks/exposure").query(query)).await
    }
}
