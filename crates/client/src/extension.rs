//! What Dray's API has beyond Docker's: `/dray/…`.

use std::os::fd::BorrowedFd;

use dray_api::auth::AUTH_HEADER;
use dray_api::container::ContainerUpdateResponse;
use dray_api::extension::{
    ContainerLiveUpdateRequest, ImageFileChange, ImageMount, ImageTree, NetworkExposure, ServiceScale,
    SquashResponse, VolumeBackup, VolumeCloneRequest, VolumeSpace, VolumeUpdateRequest,
};
use dray_api::volume::Volume;
use dray_api::{Filters, Labels};
use http::Method;

use crate::Result;
use crate::error::Error;
use crate::image::{loading, saving};
use crate::query::Query;
use crate::request::{Call, Client, Upload};
use crate::stream::Body;

impl Client {
    /// Takes images from a tar that is a file here; none if the daemon cannot have it.
    ///
    /// # Errors
    /// As [`Client::hand_over`].
    pub async fn image_load_file(
        &self,
        quiet: bool,
        platform: &str,
        file: BorrowedFd<'_>,
    ) -> Result<Option<Body>> {
        let call = Call::new(Method::POST, "/dray/images/load").query(loading(quiet, platform));
        self.hand_over(call, file).await
    }

    /// Writes images as a tar into a file here; false if the daemon cannot have it.
    ///
    /// # Errors
    /// As [`Client::hand_over`].
    pub async fn image_save_file(
        &self,
        names: &[String],
        platform: &str,
        file: BorrowedFd<'_>,
    ) -> Result<bool> {
        let call = Call::new(Method::POST, "/dray/images/save").query(saving(names, platform));
        let Some(mut answer) = self.hand_over(call, file).await? else { return Ok(false) };
        let end = tokio::io::copy(&mut answer, &mut tokio::io::sink()).await;
        end.map(|_| true).map_err(|source| Error::Stream { what: "waiting for the archive", source })
    }

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

    /// Changes ports, mounts and limits of a container, running or not: all or nothing.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_update_live(
        &self,
        name: &str,
        request: &ContainerLiveUpdateRequest,
    ) -> Result<ContainerUpdateResponse> {
        let query = Query::new().with("container", name);
        let call = Call::new(Method::POST, "/dray/containers/update").query(query);
        self.json(call.upload(Upload::json(request)?)).await
    }

    /// The services whose number of containers follows their load.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn service_scales(&self) -> Result<Vec<ServiceScale>> {
        self.json(Call::new(Method::GET, "/dray/services/scale")).await
    }

    /// What each volume takes.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_df(&self) -> Result<Vec<VolumeSpace>> {
        self.json(Call::new(Method::GET, "/dray/volumes/df")).await
    }

    /// Gives a volume other labels.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_update(&self, name: &str, request: &VolumeUpdateRequest) -> Result<Volume> {
        let query = Query::new().with("volume", name);
        let call = Call::new(Method::POST, "/dray/volumes/update").query(query);
        self.json(call.upload(Upload::json(request)?)).await
    }

    /// Gives a volume another name.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_rename(&self, old: &str, new: &str) -> Result<Volume> {
        let query = Query::new().with("volume", old).with("name", new);
        self.json(Call::new(Method::POST, "/dray/volumes/rename").query(query)).await
    }

    /// Makes a volume with the content of another; as a snapshot, one that containers have read-only.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_clone(
        &self,
        source: &str,
        name: &str,
        labels: Labels,
        pause: bool,
        snapshot: bool,
    ) -> Result<Volume> {
        let query = Query::new().with("volume", source).with("name", name);
        let query = query.with("pause", u8::from(pause).to_string()).with_flag("snapshot", snapshot);
        let call = Call::new(Method::POST, "/dray/volumes/clone").query(query);
        self.json(call.upload(Upload::json(&VolumeCloneRequest { labels })?)).await
    }

    /// Takes a backup as an archive; with a base, the documents of an earlier one.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_backup(&self, name: &str, pause: bool, base: Option<Upload>) -> Result<Body> {
        let query = Query::new().with("volume", name).with("pause", u8::from(pause).to_string());
        let call =
            Call::new(Method::POST, "/dray/volumes/backup").query(query.with_flag("base", base.is_some()));
        self.stream(call.upload(base.unwrap_or(Upload::Empty))).await
    }

    /// Takes a backup into a registry.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_backup_to(
        &self,
        name: &str,
        pause: bool,
        to: &str,
        full: bool,
        auth: &str,
    ) -> Result<VolumeBackup> {
        let query = Query::new().with("volume", name).with("pause", u8::from(pause).to_string());
        let query = query.with("to", to).with_flag("full", full);
        self.json(Call::new(Method::POST, "/dray/volumes/backup").query(query).header(AUTH_HEADER, auth))
            .await
    }

    /// Makes a volume of an archive that is in order.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_restore(&self, name: &str, labels: &Labels, archive: Upload) -> Result<Volume> {
        let query = Query::new().with("volume", name).with("labels", text(labels)?);
        self.json(Call::new(Method::POST, "/dray/volumes/restore").query(query).upload(archive)).await
    }

    /// Makes a volume of a backup in a registry.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn volume_restore_from(
        &self,
        name: &str,
        labels: &Labels,
        from: &str,
        auth: &str,
    ) -> Result<Volume> {
        let query = Query::new().with("volume", name).with("labels", text(labels)?).with("from", from);
        self.json(Call::new(Method::POST, "/dray/volumes/restore").query(query).header(AUTH_HEADER, auth))
            .await
    }
}

fn text(labels: &Labels) -> Result<String> {
    serde_json::to_string(labels).map_err(|source| Error::Json { what: "labels".into(), source })
}
